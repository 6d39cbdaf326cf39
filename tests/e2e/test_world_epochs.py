"""New delegates for the cities of a world: every city begins the epoch, what is under way ends the same everywhere."""

from __future__ import annotations

import time

import pytest

from city_chain.algorithms import sc
from city_chain.errors import InputError, UnavailableError, VerificationError
from city_chain.levels.crossing import Step
from city_chain.levels.rulings import need_shard, rule
from tests.e2e.worlds import NORTH, SOUTH, A, B, CutError, Ground, is_free, versions, world_of

pytestmark = pytest.mark.e2e

BOTH = {NORTH: [A], SOUTH: [B]}
LARGER = {"nodes": 8, "validators": 4}


def test_receipts_of_all_epochs_verify() -> None:
    with world_of(**LARGER) as world:
        first = world.send(b"before", BOTH)
        seated = {name: set(dict(world.city(name).epoch.validators.items)) for name in world.names}
        assert world.elect(moves_max=1) == 1
        for name in world.names:
            now = set(dict(world.city(name).epoch.validators.items))
            assert len(now - seated[name]) == 1, "moves are bounded"
        second = world.send(b"after", BOTH)
        for receipt in (first, second):
            receipt.verify(world.trust)
        epochs = {sc.Certificate.from_bytes(word).statement.epoch for word in second.certificates}
        assert epochs == {1}


def test_new_delegates_in_the_middle_of_a_transaction() -> None:
    for name in ("vote", "end", "close", "tell"):
        with world_of(**LARGER) as world:
            before = versions(world, BOTH)
            seen = []

            def meanwhile(step: Step, name: str = name, seen: list[int] = seen) -> None:
                if (step.name, step.city) in {(name, SOUTH), (name, ""), (name, NORTH)} and not seen:
                    if step.name == "vote" and step.city == NORTH:
                        return  # between the votes
                    seen.append(world.elect(moves_max=4))

            world.watch(meanwhile)
            receipt = world.send(b"in between", BOTH, deadline_s=30)
            assert seen == [1]
            receipt.verify(world.trust)
            after = versions(world, BOTH)
            assert all(after[key] > before[key] for key in after)
            assert is_free(world, BOTH)
            assert world.pending() == []


def test_a_change_of_epochs_that_is_cut_off_is_ended_by_the_next_opening() -> None:
    for city in (NORTH, SOUTH):
        ground = Ground()
        world = world_of(ground, **LARGER)
        receipt = world.send(b"before", BOTH)

        def cut(step: Step, city: str = city) -> None:
            if (step.name, step.city) == ("epoch", city):
                raise CutError

        world.watch(cut)
        with pytest.raises(CutError):
            world.elect(moves_max=2)
        world.close()
        with world_of(ground, **LARGER) as again:
            epochs = {need_shard(again.city(name)._city).layouts[-1].epoch for name in again.names}
            assert epochs == {1}
            receipt.verify(again.trust)
            again.send(b"after", BOTH).verify(again.trust)


def test_a_layout_that_seats_strangers_is_refused() -> None:
    with world_of(**LARGER) as world:
        layout = world._layouts.layout()
        strangers = [(shard, [(bytes([9]) * 32, 1)] if shard else layout.members(shard)) for shard in layout.shards]
        command = sc.Command.boundary(layout.next(strangers), bytes(32))
        with pytest.raises(VerificationError, match="other delegates in office"):
            rule(world.city(NORTH), command.to_bytes(), time.monotonic() + 5)
        assert world.city(NORTH).height == 0


def test_an_election_that_moves_nobody_begins_no_epoch_of_the_world() -> None:
    with world_of(**LARGER) as world:
        seated = {name: world.city(name).epoch.validators.items for name in world.names}
        assert world.elect(moves_max=0) == 0
        for name in world.names:
            assert world.city(name).epoch.number == 1
            assert sorted(world.city(name).epoch.validators.items) == sorted(seated[name])
        assert world.elect(moves_max=1) == 1
        assert world.city(NORTH).epoch.number == 2


def test_elections_that_cannot_be_are_refused() -> None:
    with world_of(**LARGER) as world:
        with pytest.raises(InputError, match="must be new"):
            world.elect(6, moves_max=1)
        world.city(NORTH).stop_node(world.city(NORTH).nodes()[0].id)
        with pytest.raises(UnavailableError, match="running nodes"):
            world.elect(8)
        world.stop(SOUTH)
        with pytest.raises(UnavailableError, match="'south' does not run"):
            world.elect()
