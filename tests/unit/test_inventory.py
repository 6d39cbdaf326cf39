"""A node's inventory: it never denies what the node holds, whatever is written, lost, damaged or going on at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.algorithms import cbf
from city_chain.errors import StorageError, UnavailableError
from city_chain.node import inventory as module
from city_chain.node.inventory import ROW, Inventory, taking_in
from city_chain.stages import messages

pytestmark = pytest.mark.unit

NODE = bytes(range(32))
TIP = b"t" * 32


def entry(number: int) -> bytes:
    """The entry of a fragment."""
    return number.to_bytes(32, "little") + (number % 10).to_bytes(2, "big")


class Disk(MemoryStorage):
    """Fails its next write, before or after it is done; says which keys every write has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = ""
        self.writes: list[list[bytes]] = []

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise StorageError("the disk is full")
        gone = list(delete)
        self.writes.append([*items, *gone])
        super().put_many(items, delete=gone)
        if fails == "after":
            raise StorageError("the disk did not answer")

    def delete_many(self, keys: Iterable[bytes]) -> None:
        self.put_many({}, delete=keys)


class Place:
    """A node's space with its inventory, as a host uses them."""

    def __init__(self, storage: Disk | None = None, tip: Callable[[], bytes] = lambda: TIP) -> None:
        self.storage = storage or Disk()
        self.inventory = Inventory(self.storage, NODE, tip)

    def hold(self, numbers: Sequence[int]) -> None:
        rows = {b"f" + entry(number): b"fragment" for number in numbers}
        rows[b"x" + bytes(8) + b"f" + entry(0)] = b"a lease, which is no fragment"
        with taking_in({b"": self.inventory}, rows) as gone:
            self.storage.put_many(rows, delete=gone)

    def release(self, numbers: Iterable[int]) -> None:
        with self.inventory.lock:
            wanted = [b"f" + entry(number) for number in numbers]
            there = [key for key, row in zip(wanted, self.storage.get_many(wanted), strict=True) if row is not None]
            self.storage.delete_many(there + self.inventory.rows_to_delete())
            self.inventory.struck_out([key[1:] for key in there])

    def held(self) -> list[bytes]:
        return [key[1:] for key, _ in self.storage.scan(b"f")]

    def keep(self) -> None:
        self.storage.put_many(self.inventory.rows_to_keep())

    def reopened(self, tip: Callable[[], bytes] = lambda: TIP) -> Place:
        return Place(self.storage, tip)

    def summary(self) -> cbf.Cuckoo:
        """What the node says when it is asked until it has an answer."""
        for _ in range(1_000):
            made = self.inventory.summary()
            if made is not None:
                return cbf.Cuckoo.from_bytes(made)
        raise AssertionError("the filter is never ready")

    def check(self) -> cbf.Cuckoo:
        found, held = self.summary(), self.held()
        assert all(key in found for key in held)
        assert all(self.inventory.may_hold(key) for key in held)
        return found


def test_it_holds_what_is_held_and_forgets_what_is_let_go() -> None:
    place = Place()
    place.hold(range(100))
    found = place.check()
    assert len(found) == 100
    assert sum(entry(number) in found for number in range(1_000, 11_000)) < 20
    place.release(range(0, 100, 2))
    found = place.check()
    assert len(found) == 50
    assert sum(entry(number) in found for number in range(0, 100, 2)) <= 1


def test_it_is_kept_over_a_restart_without_a_look_at_the_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.hold(range(100))
    place.keep()
    again = place.reopened()

    def no_scan(*_: object, **__: object) -> Iterator[tuple[bytes, bytes]]:
        raise AssertionError("the kept filter is right; nothing needs to be read")

    with monkeypatch.context() as patched:
        patched.setattr(again.storage, "scan", no_scan)
        assert len(again.summary()) == 100
    again.check()


@pytest.mark.parametrize("change", ["hold", "release"])
def test_the_first_change_takes_the_kept_filter_away_in_the_same_write(change: str) -> None:
    place = Place()
    place.hold([1, 2, 3])
    place.keep()
    place = place.reopened()
    assert place.storage.get_many([ROW])[0] is not None
    place.storage.writes.clear()
    if change == "hold":
        place.hold([4])
        place.hold([5])
    else:
        place.release([2])
        place.release([3])
    with_row = [{b"f", b"i"}, {b"f"}]
    assert [{key[:1] for key in keys} - {b"x"} for keys in place.storage.writes] == with_row
    assert place.storage.get_many([ROW]) == [None]
    place.reopened().check()


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_write_that_fails_leaves_nothing_denied(fails: str) -> None:
    place = Place()
    place.hold([1, 2])
    place.keep()
    place = place.reopened()
    place.storage.fails = fails
    with pytest.raises(StorageError):
        place.hold([3])
    place.check()
    place.reopened().check()
    place.hold([4])
    place.check()
    assert place.storage.get_many([ROW]) == [None]
    place.reopened().check()


def test_a_filter_kept_at_another_end_of_the_ledger_is_not_believed() -> None:
    place = Place()
    place.hold([1])
    place.keep()
    # Another program has put a fragment there and knew nothing of filters; the ledger went on.
    place.storage.put_many({b"f" + entry(2): b"fragment"})
    stale = place.reopened()
    assert entry(2) not in stale.summary()
    again = place.reopened(lambda: b"u" * 32)
    assert len(again.check()) == 2
    again.keep()
    assert len(place.reopened(lambda: b"u" * 32).summary()) == 2


def test_a_quiet_node_keeps_its_filter_at_the_new_end_of_the_ledger() -> None:
    tip = [b"1" * 32]
    storage = Disk()
    place = Place(storage)
    place.inventory = Inventory(storage, NODE, lambda: tip[0])
    place.hold([1])
    place.keep()
    for number in (b"2", b"3"):
        quiet = Inventory(storage, NODE, lambda: tip[0])
        assert quiet.rows_to_keep() == {}, "nothing has changed"
        tip[0] = number * 32
        rows = quiet.rows_to_keep()
        assert list(rows) == [ROW]
        storage.put_many(rows)
        assert entry(1) in cbf.Cuckoo.from_bytes(Inventory(storage, NODE, lambda: tip[0]).summary() or b"")


def test_every_damage_to_the_kept_filter_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    place.hold(range(30))
    place.keep()
    (row,) = place.storage.get_many([ROW])
    assert row is not None
    dice = random.Random(1)
    wrong = [b"", b"?", row[:-1], row + b"\0", messages.message("inventory", [TIP]), messages.refused("no")]
    for _ in range(300):
        flipped = bytearray(row)
        bit = dice.randrange(len(row) * 8)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append(bytes(flipped))
    empty = cbf.Cuckoo(10).to_bytes()
    wrong.append(messages.message("inventory", [b"another tip", empty]))
    for damaged in wrong:
        place.storage.put_many({ROW: damaged})
        assert len(place.reopened().check()) == 30
    assert "damaged" in caplog.text
    place.storage.delete_many([ROW])
    assert len(place.reopened().check()) == 30


def test_a_large_store_is_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEYS_AT_ONCE", 100)
    place = Place()
    place.hold(range(1_000))
    again = place.reopened()
    answers = [again.inventory.summary() for _ in range(11)]
    assert answers[:10] == [None] * 10
    assert answers[10] is not None
    again.check()
    # What is taken in and let go meanwhile is right too.
    again = place.reopened()
    assert again.inventory.summary() is None
    again.hold(range(2_000, 2_050))
    again.release(range(40, 60))
    again.release(range(500, 520))
    again.hold([45, 505])
    again.check()
    again.release([45, 505, 2_001])
    again.check()


def test_what_is_being_written_while_a_filter_is_made_is_in_it() -> None:
    place = Place()
    place.hold(range(5))
    again = place.reopened()
    entries = [entry(100)]
    gone = again.inventory.begin(entries)
    assert len(again.summary()) == 6, "made while the row was on its way"
    again.storage.put_many({b"f" + entry(100): b"fragment"}, delete=gone)
    again.inventory.end(entries, True)
    again.check()


def test_a_full_filter_is_followed_by_a_larger_one() -> None:
    place = Place()
    for at in range(0, 3_000, 50):
        place.hold(range(at, at + 50))
        if at % 500 == 0:
            place.check()
    assert place.check().capacity >= 3_000


def test_a_fragment_asked_for_again_and_again_is_no_harm() -> None:
    place = Place()
    for _ in range(30):
        place.hold([7])
    place.check()
    for _ in range(30):
        place.release([7])
        place.hold([7])
        place.check()


def test_one_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_MAX", 1_000)
    place = Place()
    place.hold([1])
    with pytest.raises(UnavailableError, match="too large"):
        place.inventory.summary()
    assert place.inventory.may_hold(entry(1))


class AgainstAStore(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.tip = 0
        self.place = Place(tip=self.tip_bytes)

    def tip_bytes(self) -> bytes:
        return self.tip.to_bytes(32, "big")

    def reopen(self) -> None:
        self.place = self.place.reopened(self.tip_bytes)

    @rule(numbers=st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True))
    def hold(self, numbers: list[int]) -> None:
        self.place.hold(numbers)

    @rule(numbers=st.lists(st.integers(0, 60), max_size=20, unique=True))
    def release(self, numbers: list[int]) -> None:
        self.place.release(numbers)

    @rule(
        numbers=st.lists(st.integers(0, 60), min_size=1, max_size=5, unique=True),
        fails=st.sampled_from(["before", "after"]),
    )
    def a_write_fails(self, numbers: list[int], fails: str) -> None:
        self.place.storage.fails = fails
        with pytest.raises(StorageError):
            self.place.hold(numbers)

    @rule()
    def ask(self) -> None:
        self.place.check()

    @rule()
    def half_ask(self) -> None:
        self.place.inventory.summary()

    @rule(moves=st.booleans())
    def close(self, moves: bool) -> None:
        self.tip += moves
        self.place.keep()
        self.reopen()

    @rule()
    def kill(self) -> None:
        self.reopen()

    @rule()
    def damage(self) -> None:
        if self.place.storage.get_many([ROW])[0] is not None:
            self.place.storage.put_many({ROW: b"rotten"})
            self.reopen()

    @invariant()
    def nothing_held_is_denied(self) -> None:
        assert all(self.place.inventory.may_hold(key) for key in self.place.held())


class TestAgainstAStore(AgainstAStore.TestCase):
    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_many_threads_hold_release_and_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEYS_AT_ONCE", 64)
    monkeypatch.setattr(module, "_ROOM_MIN", 64)
    place = Place()
    place.hold(range(10_000, 10_300))
    place = place.reopened()
    stop, errors = threading.Event(), list[BaseException]()

    def work(seed: int) -> None:
        dice, mine = random.Random(seed), range(seed * 100, seed * 100 + 40)
        try:
            for _ in range(120):
                some = dice.sample(mine, 8)
                place.hold(some)
                assert all(place.inventory.may_hold(entry(number)) for number in some)
                place.release(dice.sample(some, 3))
        except BaseException as error:
            errors.append(error)

    def ask() -> None:
        try:
            while not stop.is_set():
                place.inventory.summary()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    asker = threading.Thread(target=ask)
    for thread in (*workers, asker):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    asker.join()
    assert not errors
    place.check()


ALIKE = [17_090_823, 25_661_901, 25_697_348, 36_614_347, 41_385_188, 45_132_408, 47_282_997, 50_776_531]
"""Numbers of entries that have fingerprint and buckets in common, in the filter of node 0 with room for 512."""


@pytest.mark.parametrize("restarts", [False, True])
def test_fragments_that_were_chosen_to_be_alike_are_not_denied_when_the_others_go(restarts: bool) -> None:
    tail = bytes.fromhex("9e8ceba6a07d1dec25b1b087efe26c07ff0d21d7db0b3377a5c6")
    alike = [bytes.fromhex("457c769f39d8644199c0e5bdbcfbc85b37ce91cbde1fc1b0ea6b44f130436dd769bd")]
    alike += [number.to_bytes(8, "big") + tail for number in ALIKE]
    filter_ = cbf.Cuckoo(512)
    filter_.insert(alike[0])
    assert all(one in filter_ for one in alike), "they are alike"
    storage = Disk()
    inventory = Inventory(storage, bytes(32))
    for one in alike:
        rows = {b"f" + one: b"fragment"}
        with taking_in({b"": inventory}, rows) as gone:
            storage.put_many(rows, delete=gone)
    if restarts:
        storage.put_many(inventory.rows_to_keep())
        inventory = Inventory(storage, bytes(32))
    *others, last = alike
    for one in others:
        with inventory.lock:
            storage.delete_many([b"f" + one, *inventory.rows_to_delete()])
            inventory.struck_out([one])
    assert inventory.may_hold(last)
    made = [inventory.summary() for _ in range(4)][-1]
    assert made is not None
    assert last in cbf.Cuckoo.from_bytes(made)
