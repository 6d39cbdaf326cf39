"""What cities of a world know of each other: roots that they have verified, caught up on; nothing from strangers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from city_chain.levels import spreading
from city_chain.levels.roots import Fork, Root
from city_chain.levels.world import World
from city_chain.node.gossip import Gossip
from city_chain.records import BatchHeader, Identity
from tests.e2e.worlds import NORTH, SOUTH, WEST, A, B, Ground, world_of

pytestmark = pytest.mark.e2e

THREE = (NORTH, SOUTH, WEST)
BOTH = {NORTH: [A], SOUTH: [B]}


def until(is_so: Callable[[], bool], patience_s: float = 30.0) -> None:
    give_up = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.01)


def heights(world: World) -> dict[str, dict[str, int]]:
    """By city, the heights that it knows of the others."""
    return {name: {other: root.height for other, root in roots.items()} for name, roots in world.roots().items()}


def is_known_to_all(world: World) -> bool:
    """Whether every city knows the newest root of every other one that has any."""
    there = {name: world.city(name).height for name in world.names}
    due = {name: {other: there[other] for other in there if other != name and there[other]} for name in there}
    return heights(world) == due


def threads() -> list[str]:
    ours = ("city-chain-gossip", "city-chain-spreading")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(ours)]


@pytest.mark.parametrize("engine", ["hotstuff", "abba", "dpos"])
def test_every_city_learns_the_roots_of_all_others(engine: str) -> None:
    with world_of(names=THREE, engine=engine) as world:
        world.send(b"crossing", BOTH).verify(world.trust)
        world.city(WEST).send(b"alone")
        until(lambda: is_known_to_all(world))
        known = world.roots()[WEST][NORTH]
        tip = world.city(NORTH)._city.ledger.tip
        assert (known.height, known.digest) == (tip.height, tip.digest)
        known.verify(world._layouts.all())
        assert [state.behind for state in world.health().cities] == [0, 0, 0]
        assert world.forks() == []
    assert threads() == []


@pytest.mark.parametrize("keeps", [True, False], ids=["from what the others keep", "by asking"])
def test_a_city_that_was_away_catches_up(keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not keeps:  # as when more was said meanwhile than members tell a newcomer
        monkeypatch.setattr(spreading, "Gossip", lambda *args, **more: Gossip(*args, **{**more, "catch_up": 0}))
    with world_of(names=THREE) as world:
        world.city(NORTH).send(b"1")
        until(lambda: is_known_to_all(world))
        world.stop(WEST)
        until(lambda: WEST not in world.roots())
        for at in range(20):
            world.city(NORTH).send(b"while away %d" % at)
        until(lambda: heights(world)[SOUTH] == {NORTH: world.city(NORTH).height})
        assert [state.behind for state in world.health().cities] == [0, 0, None]
        world.start(WEST)
        until(lambda: is_known_to_all(world))
        world.city(WEST).send(b"back")
        until(lambda: is_known_to_all(world))


def test_a_world_that_is_opened_again_knows_again() -> None:
    ground = Ground()
    with world_of(ground, THREE) as world:
        world.send(b"before", BOTH)
        until(lambda: is_known_to_all(world))
        before = heights(world)
    with world_of(ground, THREE) as world:
        until(lambda: is_known_to_all(world))
        assert heights(world) == before


def test_roots_of_a_new_epoch_are_understood() -> None:
    with world_of(nodes=6, validators=4) as world:
        world.send(b"before", BOTH)
        assert world.elect(moves_max=2) == 1
        world.send(b"after", BOTH).verify(world.trust)
        until(lambda: is_known_to_all(world))
        assert world.roots()[SOUTH][NORTH].epoch == world.city(NORTH).epoch


def test_cities_that_come_and_go() -> None:
    with world_of() as world:
        world.send(b"before", BOTH)
        world.reshard(add=[WEST])
        until(lambda: set(world.roots()) == set(THREE))
        until(lambda: is_known_to_all(world))
        world.reshard(remove=[SOUTH])
        until(lambda: set(world.roots()) == {NORTH, WEST})
        until(lambda: is_known_to_all(world))


def test_a_city_alone_has_nobody_to_tell() -> None:
    with world_of(names=(NORTH,)) as world:
        world.city(NORTH).send(b"alone")
        assert world.roots() == {}
        assert [state.behind for state in world.health().cities] == [None]


def member_of(world: World, name: str) -> Gossip:
    return world._spreading._members[name].gossip


def test_what_is_false_is_refused_by_everybody() -> None:
    with world_of(names=THREE) as world:
        world.city(NORTH).send(b"1")
        until(lambda: is_known_to_all(world))
        first = world.roots()[SOUTH][NORTH]
        world.city(NORTH).send(b"2")
        until(lambda: is_known_to_all(world))
        second, before = world.roots()[SOUTH][NORTH], world.roots()
        header = bytearray(second.header.to_bytes())
        header[-1] ^= 1
        forged = Root(second.shard, second.epoch, BatchHeader.from_bytes(bytes(header)), second.certificate)
        for said in (first.to_bytes(), forged.to_bytes(), second.to_bytes()[:-1], b"", b"?" * 1000):
            member_of(world, WEST).broadcast(said, topic=b"root")
        member_of(world, WEST).broadcast(b"whatever", topic=b"other")
        world.city(WEST).send(b"3")  # comes after them
        until(lambda: is_known_to_all(world))
        for name in (NORTH, SOUTH):
            assert {k: v for k, v in world.roots()[name].items() if k != WEST} == {
                k: v for k, v in before[name].items() if k != WEST
            }
        assert world.forks() == []


def test_a_stranger_does_not_get_in() -> None:
    with world_of() as world:
        world.city(NORTH).send(b"1")
        until(lambda: is_known_to_all(world))
        spreading = world._spreading
        stranger = Gossip(
            Identity(bytes(32)),
            spreading._transport,
            network=world.chain,
            clock=spreading._clock,
            entropy=spreading._entropy,
        )
        try:
            stranger.join([member_of(world, NORTH).contact, member_of(world, SOUTH).contact])
            assert not stranger.wait_for_link(0.5)
            assert len(member_of(world, NORTH).links) == 1
        finally:
            stranger.close()


def test_a_fork_is_shown_with_its_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    with world_of() as world:
        until(lambda: set(world.roots()) == {NORTH, SOUTH})
        world.city(NORTH).send(b"1")
        until(lambda: is_known_to_all(world))
        root = world.roots()[SOUTH][NORTH]
        fork = Fork(root, root)
        monkeypatch.setattr(world._spreading._members[SOUTH].roots, "forks", lambda: [fork])
        assert world.forks() == [fork]
        assert str(fork) in str(world.health())
        world.stop(SOUTH)
        assert world.forks() == [fork], "it outlives who has found it"


def test_sends_do_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with world_of() as world:
        until(lambda: set(world.roots()) == {NORTH, SOUTH})
        free = threading.Event()
        monkeypatch.setattr(Gossip, "broadcast", lambda *_, **__: free.wait(60))
        try:
            world.send(b"at once", BOTH, deadline_s=20).verify(world.trust)
        finally:
            free.set()
