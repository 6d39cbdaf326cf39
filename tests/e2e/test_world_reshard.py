"""Cities come to a world and leave it: keys move once, few of them, and nothing is lost whatever happens in between."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from city_chain.algorithms import sc
from city_chain.errors import (
    CityChainError,
    InputError,
    ProtocolError,
    StorageError,
    UnavailableError,
    VerificationError,
)
from city_chain.levels.cross_receipt import AbortedError, CrossReceipt, WorldTrust
from city_chain.levels.crossing import Step
from city_chain.levels.rulings import certify, need_shard, rule
from city_chain.levels.world import World
from tests.e2e.worlds import NORTH, SOUTH, WEST, A, B, CutError, Ground, cut_at, is_free, versions, world_of
from tests.signed import signed

pytestmark = pytest.mark.e2e

KEYS = [b"key %d" % at for at in range(60)]
BOTH = {NORTH: [A], SOUTH: [B]}
SIGMAS = 4


class Held(NamedTuple):
    city: str
    version: int


def held(world: World) -> dict[bytes, Held]:
    return {key: Held(world.city_of(key), world.version(key)) for key in KEYS}


def counted(world: World) -> int:
    """How many keys the cities have, in all."""
    return sum(need_shard(world.city(name)._city).keys() for name in world.names)


def near(share: float, expected: float, draws: int) -> bool:
    """Whether a share of so many draws is within four standard deviations of what is expected."""
    return abs(share - expected) <= SIGMAS * math.sqrt(expected * (1 - expected) / draws)


def state(world: World, name: str) -> tuple[bytes, int]:
    """All that a city knows as a shard, and its height."""
    city = world._cities.running(name)
    shard = need_shard(city._city)
    shard.keys()
    return shard._participant.snapshot(), city.height


# --- keys move -------------------------------------------------------------------------------------------------------


def test_a_third_city_gets_its_share_and_no_key_is_lost_or_doubled() -> None:
    with world_of() as world:
        old = world.send(b"all of them", KEYS)
        before = held(world)
        seen: list[tuple[int, int]] = []
        report = world.reshard(add=[WEST], on_progress=lambda done, of: seen.append((done, of)))
        after = held(world)
        moved = {key for key in KEYS if after[key].city != before[key].city}
        assert {after[key].city for key in moved} == {WEST}
        assert {key: place.version for key, place in after.items()} == {k: p.version for k, p in before.items()}
        assert (report.moved, report.keys, report.epoch) == (len(moved), len(KEYS), 1)
        assert near(report.share, 1 / 3, len(KEYS)), report
        assert counted(world) == len(KEYS)
        assert (world.names, world.left) == ((NORTH, SOUTH, WEST), ())
        assert seen[-1][0] == seen[-1][1] == 4
        again = world.send(b"and again", KEYS)
        assert len(again.certificates) == 3
        assert all(world.version(key) > after[key].version for key in KEYS)
        trust = WorldTrust.from_bytes(world.trust.to_bytes())
        for receipt in (old, again):
            CrossReceipt.from_bytes(receipt.to_bytes()).verify(trust)
        assert "keys moved" in str(report)
        assert WEST in report._repr_html_()


def test_a_city_that_leaves_gives_all_its_keys_and_stays_an_archive() -> None:
    with world_of(names=(NORTH, SOUTH, WEST)) as world:
        old = world.send(b"from the south", {SOUTH: [B], NORTH: [A]}, home=SOUTH)
        world.send(b"all of them", KEYS)
        before = held(world)
        report = world.reshard(remove=[SOUTH])
        after = held(world)
        stayed = [key for key in KEYS if before[key].city != SOUTH]
        assert all(after[key] == before[key] for key in stayed), "no other key moves"
        assert {after[key].city for key in KEYS} == {NORTH, WEST}
        assert {key: place.version for key, place in after.items()} == {k: p.version for k, p in before.items()}
        assert report.moved == len(KEYS) - len(stayed) + 1
        assert counted(world) == len(KEYS) + 2
        assert (world.names, world.left, report.left) == ((NORTH, WEST), (SOUTH,), [SOUTH])
        assert world.version(B, city=SOUTH) == 1, "a key keeps its name"
        assert world.receive(old) == b"from the south"
        old.verify(world.trust)
        world.send(b"and again", {SOUTH: [B], NORTH: [A]}).verify(world.trust)
        with pytest.raises(InputError, match="has left the world"):
            world.send(b"no", [A], home=SOUTH)
        with pytest.raises(InputError, match="there is or was a city 'south'"):
            world.reshard(add=[SOUTH])
        assert f"left: {SOUTH}" in str(world.health())
        world.stop(SOUTH)
        old.verify(world.trust)
        world.start(SOUTH)
        assert world.receive(old) == b"from the south"


def test_of_many_keys_one_in_three_moves_to_the_third_city() -> None:
    draws = 3000
    keys = [at.to_bytes(32, "little") for at in range(draws)]
    with world_of() as world:
        before = world._layouts.layout()
        world.reshard(add=[WEST])
        after = world._layouts.layout()
        moved = [key for key in keys if before.shard_of(key) != after.shard_of(key)]
        assert {after.shard_of(key) for key in moved} == {2}
        assert near(len(moved) / draws, 1 / 3, draws)
        world.reshard(remove=[WEST])
        back = world._layouts.layout()
        assert all(back.shard_of(key) == before.shard_of(key) for key in keys), "they go back where they came from"


def test_cities_come_and_go_at_once_and_again_and_again() -> None:
    with world_of() as world:
        receipts = [world.send(b"first", KEYS)]
        for at, (add, remove) in enumerate([(["a", "b"], [SOUTH]), (["c"], ["a", NORTH]), ([], ["b"])]):
            before = held(world)
            report = world.reshard(add=add, remove=remove)
            assert (report.came, sorted(report.left)) == (add, sorted(remove))
            after = held(world)
            assert {key: place.version for key, place in after.items()} == {k: p.version for k, p in before.items()}
            assert counted(world) == len(KEYS)
            receipts.append(world.send(b"after %d" % at, KEYS))
        assert world.names == ("c",)
        world.elect()
        for receipt in receipts:
            receipt.verify(world.trust)


def test_receipts_of_more_epochs_than_a_city_remembers_verify() -> None:
    with world_of() as world:
        receipts = [world.send(b"first", BOTH)]
        for at in range(5):
            world.reshard(add=[f"city {at}"])
            world.reshard(remove=[f"city {at}"])
        receipts.append(world.send(b"last", BOTH))
        assert len(need_shard(world.city(NORTH)._city).layouts) < len(world.trust.layouts) == 11
        for receipt in receipts:
            receipt.verify(world.trust)


def test_a_new_city_has_settings_of_its_own_and_keys_named_for_it() -> None:
    with world_of() as world:
        world.reshard(add={WEST: {"nodes": 5}}, validators=1)
        settings = world.city(WEST).settings
        assert (settings.nodes, settings.validators, settings.k) == (5, 1, 2)
        receipt = world.send(b"to the west", {WEST: [A], NORTH: [A]})
        assert world.city_of(A, city=WEST) == WEST
        receipt.verify(world.trust)


# --- openings and crashes --------------------------------------------------------------------------------------------


def test_a_world_in_a_folder_is_opened_again(tmp_path: object) -> None:
    folder = f"{tmp_path}/earth"
    settings = {"nodes": 4, "validators": 4, "k": 2, "n": 4}
    with World.local([NORTH, SOUTH], folder, **settings) as world:
        receipt = world.send(b"all of them", KEYS)
        world.reshard(add=[WEST], remove=[NORTH])
        before = held(world)
    with World.open(folder) as again:
        assert (again.names, again.left) == ((SOUTH, WEST), (NORTH,))
        assert held(again) == before
        assert again.recovery.resharded is None
        receipt.verify(again.trust)
        again.send(b"more", KEYS).verify(again.trust)
    with World.local([NORTH, SOUTH], folder, **settings) as same:
        assert same.names == (SOUTH, WEST), "what it was made with opens it"


def steps_of_a_change() -> list[Step]:
    seen: list[Step] = []
    with world_of() as world:
        world.watch(seen.append)
        world.reshard(add=[WEST], remove=[SOUTH])
    return seen


def test_a_crash_between_any_two_steps_loses_and_doubles_nothing() -> None:
    steps = steps_of_a_change()
    assert [step.name for step in steps] == ["found", "change", *["boundary"] * 2, *["part", "given"] * 3, "changed"]
    certain = [step.name for step in steps].index("change")
    for count in range(len(steps)):
        ground = Ground()
        world = world_of(ground)
        receipt = world.send(b"all of them", KEYS)
        before = held(world)
        world.watch(cut_at(count))
        with pytest.raises(CutError):
            world.reshard(add=[WEST], remove=[SOUTH])
        world.close()
        with world_of(ground) as again:
            done = again.recovery.resharded
            assert (done is not None) == (count > certain), count
            assert again.names == ((NORTH, WEST) if count > certain else (NORTH, SOUTH)), count
            after = held(again)
            assert {key: place.version for key, place in after.items()} == {k: p.version for k, p in before.items()}
            assert counted(again) == len(KEYS)
            assert all(not need_shard(again.city(name)._city).leaving() for name in again.names)
            receipt.verify(again.trust)
            again.send(b"more", KEYS).verify(again.trust)
            if count <= certain:
                again.reshard(add=[WEST], remove=[SOUTH])
                assert counted(again) == len(KEYS)


def test_what_fails_before_it_is_certain_leaves_the_world_as_it_was() -> None:
    with world_of() as world:
        world.send(b"all of them", KEYS)
        before = held(world), [state(world, name) for name in world.names]
        for count in range(2):
            world.watch(cut_at(count))
            with pytest.raises(CutError):
                world.reshard(add=[WEST])
            world.watch(None)
            assert (held(world), [state(world, name) for name in world.names]) == before
            assert world.names == (NORTH, SOUTH)
            with pytest.raises(InputError, match="no city"):
                world.city(WEST)
        assert world.reshard(add=[WEST]).moved > 0


def test_a_city_that_is_lost_in_the_middle_is_waited_for() -> None:
    with world_of() as world:
        world.send(b"all of them", KEYS)
        before = held(world)

        def lose(step: Step) -> None:
            if (step.name, step.city) == ("boundary", SOUTH):
                world.watch(None)
                world.stop(SOUTH)

        world.watch(lose)
        with pytest.raises(UnavailableError, match="'south' does not run"):
            world.reshard(add=[WEST])
        assert world.names == (NORTH, SOUTH)
        assert "on the way in: west" in str(world.health())
        for refused in (lambda: world.city(WEST), lambda: world.reshard(add=["east"]), world.elect):
            with pytest.raises(UnavailableError, match=r"on (its|the) way"):
                refused()
        away = next(key for key in KEYS if world.city_of(key) == WEST)
        with pytest.raises(UnavailableError, match="on its way to city 'west'"):
            world.send(b"too early", [away], deadline_s=0.2)
        done = world.start(SOUTH).resharded
        assert done is not None
        assert done.came == [WEST]
        assert world.names == (NORTH, SOUTH, WEST)
        after = held(world)
        assert {key: place.version for key, place in after.items()} == {k: p.version for k, p in before.items()}
        world.send(b"now", [away]).verify(world.trust)


def test_a_city_that_cannot_be_made_changes_nothing() -> None:
    class Full(Ground):
        def __call__(self, name: str):  # type: ignore[no-untyped-def]
            if name == WEST:
                raise StorageError("west: the disk is full")
            return super().__call__(name)

    with world_of(Full()) as world:
        world.send(b"before", BOTH)
        with pytest.raises(StorageError, match="disk is full"):
            world.reshard(add=[WEST])
        assert world.names == (NORTH, SOUTH)
        world.send(b"after", BOTH).verify(world.trust)
        assert world.reshard(add=["east"]).came == ["east"]


# --- transactions that are under way ---------------------------------------------------------------------------------


def moving(world: World, count: int, new: int = 2) -> list[bytes]:
    """Keys that a city with the next number will get."""
    layout = world._layouts.layout()
    members = [(shard, layout.members(shard)) for shard in layout.shards]
    following = layout.next([*members, (new, layout.members(0))])
    found = [key for key in KEYS if following.shard_of(world._digest(key, None)) == new]
    by_city = {name: [key for key in found if world.city_of(key) == name] for name in world.names}
    assert all(len(keys) >= count for keys in by_city.values())
    return [key for keys in by_city.values() for key in keys[:count]]


def test_a_transaction_that_has_keys_locked_is_ended_first() -> None:
    with world_of() as world:
        keys = moving(world, 1)

        def cut(step: Step) -> None:
            if step.name == "close":
                raise CutError

        world.watch(cut)
        with pytest.raises(CutError):
            world.send(b"not told", keys)
        world.watch(None)
        (tx_id,) = world.pending()
        assert any(world.locked_by(key) for key in keys)
        world.reshard(add=[WEST])
        assert world.pending() == []
        assert {world.city_of(key) for key in keys} == {WEST}
        assert all(world.locked_by(key) is None and world.version(key) > 0 for key in keys)
        world.receipt(tx_id).verify(world.trust)


def test_what_cannot_be_ended_holds_it_up_and_nothing_changes() -> None:
    with world_of() as world:
        first, second = moving(world, 1)
        layout = world._layouts.layout()
        digests = [world._digest(key, None) for key in (first, second)]
        inputs = [(layout.shard_of(digest), digest, 0) for digest in digests]
        expiry = time.time_ns() // 1_000_000 + 60_000
        manifest, warrant = signed(lambda body: sc.Manifest(world.chain, 0, body, expiry, inputs))
        command = sc.Command.prepare(manifest).to_bytes()
        rule(world.city(NORTH), command, time.monotonic() + 5, warrant=warrant)
        assert world.locked_by(first) == manifest.txid
        before = [state(world, name) for name in world.names]
        with pytest.raises(UnavailableError, match="locked that would move"):
            world.reshard(add=[WEST], deadline_s=0.5)
        assert [state(world, name) for name in world.names] == before
        assert world.names == (NORTH, SOUTH)
        assert world.reshard(remove=[SOUTH]).left == [SOUTH], "north's keys stay where they are"


@pytest.mark.parametrize("at", ["vote", "end", "close"])
def test_locks_move_with_their_keys(at: str) -> None:
    """A transaction that begins when it is certain already that cities come, and is cut off."""
    with world_of() as world:
        keys = moving(world, 2)
        seen = {key: world.version(key) for key in keys}
        locked: list[bytes | None] = []

        def meanwhile(step: Step) -> None:
            if step.name == "boundary":
                world.watch(cut)
                with pytest.raises(CutError):
                    world.send(b"in between", keys)
                locked.extend(world.locked_by(key) for key in keys)
                world.watch(None)

        def cut(step: Step) -> None:
            if step.name == at and (at != "vote" or step.city == SOUTH):
                raise CutError

        world.watch(meanwhile)
        world.reshard(add=[WEST])
        (tx_id,) = world.pending()
        assert any(locked)
        assert [world.locked_by(key) for key in keys] == locked, "nothing is let go by moving"
        ended = world.resume(deadline_s=20)
        assert world.pending() == [], ended.pending
        assert all(world.locked_by(key) is None for key in keys)
        after = {key: world.version(key) for key in keys}
        if at == "vote":  # not decided: it ends with the layout that it was begun under
            assert "send it again" in str(ended.aborted[tx_id])
        else:
            assert ended.committed == [tx_id]
            world.receipt(tx_id).verify(world.trust)
            assert all(after[key] > seen[key] for key in keys)
        world.send(b"and again", keys).verify(world.trust)
        assert counted(world) == len(keys)


def until(is_so: Callable[[], bool], most_s: float = 120) -> None:
    """Waits until something is so, and no longer than that."""
    end = time.monotonic() + most_s
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)


def test_transactions_go_on_while_cities_come_and_go() -> None:
    with world_of() as world:
        world.send(b"all of them", KEYS[:20])
        over = threading.Event()
        receipts: list[CrossReceipt] = []
        aborted: list[AbortedError] = []
        wrong: list[CityChainError] = []

        def send(keys: list[bytes]) -> None:
            at = 0
            while not over.is_set():
                at += 1
                try:
                    receipts.append(world.send(b"%d" % at, keys, deadline_s=30))
                except AbortedError as error:
                    aborted.append(error)
                except CityChainError as error:
                    wrong.append(error)

        threads = [threading.Thread(target=send, args=(KEYS[at::2][:10],)) for at in range(2)]
        for thread in threads:
            thread.start()
        try:
            for count, change in enumerate([{"add": [WEST]}, {"remove": [SOUTH]}]):
                until(lambda wanted=2 * count + 2: len(receipts) >= wanted)
                world.reshard(**change)
            until(lambda: len(receipts) >= 6)
        finally:
            over.set()
            for thread in threads:
                thread.join(120)
        assert not wrong, wrong
        assert receipts
        world.resume()
        assert world.pending() == []
        assert all(world.locked_by(key) is None for key in KEYS)
        assert counted(world) == 20
        for receipt in receipts:
            receipt.verify(world.trust)
        now = [world.version(key) for key in KEYS[:20]]
        world.send(b"after", KEYS[:20]).verify(world.trust)
        assert all(world.version(key) > version for key, version in zip(KEYS, now, strict=False))


# --- hostile certificates --------------------------------------------------------------------------------------------


class Caught(NamedTuple):
    """What goes from one city to another, with the word of those who gave it."""

    part: sc.Part
    handover: sc.Handover

    @property
    def command(self) -> bytes:
        return sc.Command.take_part(self.part, self.handover).to_bytes()


def caught(world: World) -> list[Caught]:
    """All that is on its way."""
    found = []
    for name in world.names:
        shard = need_shard(world._cities.running(name)._city)
        for part in shard.leaving():
            assert world._layouts.following is not None
            boundary = sc.Command.boundary(world._layouts.following, bytes(32)).to_bytes()
            ruling = shard.find(boundary)
            assert ruling is not None
            found.append(Caught(part, sc.Handover.from_bytes(certify(world.city(name), ruling, time.monotonic() + 5))))
    return found


def refused(world: World, name: str, command: bytes) -> str:
    """Why a city refuses a command; it stays as it is."""
    before = state(world, name)
    with pytest.raises((InputError, ProtocolError, VerificationError, UnavailableError)) as why:
        rule(world._cities.running(name), command, time.monotonic() + 5)
    assert state(world, name) == before
    return str(why.value)


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_hostile_parts_and_certificates_are_refused_and_change_nothing() -> None:
    checked: list[str] = []
    with world_of() as world, world_of() as other:
        world.send(b"all of them", KEYS)

        def attack(step: Step) -> None:
            if step.name != "part" or checked:
                return
            first, second = caught(world)
            strangers = sc.Handover.from_bytes(flipped(first.handover.to_bytes(), -1))
            changed = sc.Part.from_bytes(flipped(first.part.to_bytes(), -20))
            for command, words in [
                (sc.Command.take_part(first.part, second.handover), "not what the old quorum"),
                (sc.Command.take_part(changed, first.handover), "not what the old quorum|not waited for|belong"),
                (sc.Command.take_part(first.part, strangers), "signature of member"),
            ]:
                checked.append(refused(world, WEST, command.to_bytes()))
                assert any(word in checked[-1] for word in words.split("|")), checked[-1]
            checked.append(refused(world, SOUTH, first.command))  # another shard's
            assert "not waited for" in checked[-1]
            for end in (0, 6, 100, len(first.command) - 1):
                checked.append(refused(world, WEST, first.command[:end]))
            checked.append(refused(other, NORTH, first.command))
            few = sc.Command.boundary(world._layouts.following or world._layouts.layout(), bytes(32))
            shard = need_shard(world.city(NORTH)._city)
            ruling = shard.find(few.to_bytes())
            assert ruling is not None
            handover, abroad = shard.handover(ruling), other.city(NORTH)
            assert handover is not None
            foreign = {node.id: abroad._city.node(node.id).hand_over(handover) for node in abroad.nodes()}
            with pytest.raises(UnavailableError):
                shard.certificate(ruling, foreign)
            replays.extend([first, second])

        replays: list[Caught] = []
        world.watch(attack)
        world.reshard(add=[WEST])
        assert len(checked) == 9
        world.watch(None)
        before = held(world)
        for replay in replays:  # it has been taken over: the ruling that is there is what comes again
            height = world.city(WEST).height
            assert rule(world.city(WEST), replay.command, time.monotonic() + 5) is not None
            assert world.city(WEST).height == height
        assert (held(world), counted(world)) == (before, len(KEYS))
        world.reshard(add=["east"])
        for replay in replays:  # of another epoch
            assert rule(world.city(WEST), replay.command, time.monotonic() + 5) is not None
            assert "not waited for" in refused(world, NORTH, replay.command)
        assert counted(world) == len(KEYS)


def test_a_word_that_is_not_about_a_part_frees_none() -> None:
    with world_of() as world:
        world.send(b"all of them", KEYS)
        words: list[sc.Certificate] = []
        tried: list[str] = []
        whole: Callable[..., sc.Certificate | None] = world._crossings.word

        def attack(step: Step) -> None:
            if step.name == "given" and words:
                north = need_shard(world.city(NORTH)._city)
                before = len(north.leaving())
                wrong = sc.Certificate.from_bytes(flipped(words[0].to_bytes(), -1))
                tried.append(refused(world, step.city, sc.Command.delivered(wrong).to_bytes()))
                assert len(north.leaving()) == before

        def word(shard: int, command: sc.Command, deadline: float, **more: bool) -> sc.Certificate | None:
            said = whole(shard, command, deadline, **more)
            if said is not None and said.statement.verdict == "imported":
                words[:] = [said]
            return said

        world._crossings.word = word  # type: ignore[method-assign]
        world.watch(attack)
        world.reshard(add=[WEST])
        assert len(tried) == 2
        assert all("signature of member" in why for why in tried)


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_changes_that_cannot_be_are_refused_before_anything_happens() -> None:
    with world_of() as world:
        before = [state(world, name) for name in world.names]
        for more, kind, words in [
            ({}, InputError, "no city comes or goes"),
            ({"add": WEST}, TypeError, "several names"),
            ({"remove": SOUTH}, TypeError, "several names"),
            ({"add": [NORTH]}, InputError, "there is or was a city 'north'"),
            ({"add": [WEST, WEST]}, InputError, "twice"),
            ({"remove": ["east"]}, InputError, "no city"),
            ({"remove": [NORTH, SOUTH]}, InputError, "must stay"),
            ({"add": [WEST], "remove": [NORTH, SOUTH]}, InputError, "must stay"),
            ({"add": list("abcde")}, InputError, "4 may at once"),
            ({"add": [WEST], "nodes": 0}, InputError, "nodes"),
            ({"add": [WEST], "deadline_s": -1}, InputError, "deadline"),
            ({"add": [WEST], "on_progress": 5}, TypeError, "on_progress"),
            ({"add": [5]}, TypeError, "name"),
        ]:
            with pytest.raises(kind, match=words):
                world.reshard(**more)  # type: ignore[arg-type]
        world.stop(SOUTH)
        with pytest.raises(UnavailableError, match="'south' does not run"):
            world.reshard(add=[WEST])
        world.start(SOUTH)
        assert [state(world, name) for name in world.names] == before
        assert is_free(world, BOTH)
        assert versions(world, BOTH) == {A: 0, B: 0}
    with world_of(failure_max=1e-6) as strict, pytest.raises(InputError, match="delegates would do"):
        strict.reshard(add=[WEST], nodes=100, k=2, n=4)


def test_one_change_at_a_time() -> None:
    with world_of() as world:
        refusals: list[str] = []

        def meanwhile(step: Step) -> None:
            if step.name == "boundary" and not refusals:
                for change in (world.elect, lambda: world.reshard(add=["east"])):
                    with pytest.raises(UnavailableError, match="laid out anew by somebody else") as refusal:
                        change()
                    refusals.append(str(refusal.value))

        world.watch(meanwhile)
        world.reshard(add=[WEST])
        assert len(refusals) == 2
