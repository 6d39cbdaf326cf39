"""The bound under which all stamps of a process stay: what is written when, and what a restart begins after."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.adapters.clock import ManualClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import StorageError
from city_chain.node.bounds import AHEAD_MS, Bounds

pytestmark = pytest.mark.unit

T = 1_800_000_000_000
DRIFT = 2**48 - 1


class Counting(MemoryStorage):
    """Counts writes, and fails them when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes, self.broken = 0, False

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        if self.broken:
            raise StorageError("the disk is full")
        self.writes += 1
        super().put_many(items, delete=delete)


def test_one_write_serves_for_seconds_of_stamps() -> None:
    storage, clock = Counting(), ManualClock(T)
    hlc = Bounds(storage, clock).hlc(DRIFT)
    stamps = []
    for _ in range(AHEAD_MS // 10):
        stamps.append(hlc.now())
        clock.advance(0.01)
    assert stamps == sorted(set(stamps))
    assert storage.writes == 1
    clock.advance(1.0)
    hlc.now()
    assert storage.writes == 2


def test_no_stamp_is_above_what_is_written() -> None:
    storage, clock = Counting(), ManualClock(T)
    bounds = Bounds(storage, clock)
    hlcs = [bounds.hlc(DRIFT) for _ in range(3)]
    for at in range(300):
        stamp = hlcs[at % 3].now()
        kept = [int.from_bytes(row[:8], "big") for row in storage.get_many([b"u0", b"u1"]) if row is not None]
        assert len(kept) == 2
        assert stamp <= min(kept) == max(kept) == bounds.bound
        clock.advance(0.1)


def test_a_stamp_that_cannot_be_covered_is_not_given() -> None:
    storage, clock = Counting(), ManualClock(T)
    bounds = Bounds(storage, clock)
    hlc = bounds.hlc(DRIFT)
    first = hlc.now()
    clock.advance(10.0)
    storage.broken = True
    for _ in range(2):
        with pytest.raises(StorageError, match="disk is full"):
            hlc.now()
    with pytest.raises(StorageError):
        bounds.hlc(DRIFT).now()
    storage.broken = False
    assert hlc.now() > first
    assert hlc.now() <= bounds.bound


@settings(deadline=None, max_examples=200)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("stamp"), st.integers(1, 400)),
            st.tuples(st.just("pass"), st.integers(0, 20_000)),
            st.tuples(st.just("set"), st.integers(-10_000_000, 10_000_000)),
            st.tuples(st.just("kill"), st.just(0)),
            st.tuples(st.just("close"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_no_restart_gives_a_stamp_twice(steps: list[tuple[str, int]]) -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    bounds = Bounds(storage, clock)
    hlcs, last, highest = [bounds.hlc(DRIFT), bounds.hlc(DRIFT)], [0, 0], 0
    for what, amount in steps:
        if what == "stamp":
            for at in range(amount):
                stamp = hlcs[at % 2].now()
                assert stamp > last[at % 2]
                last[at % 2] = stamp
                highest = max(highest, stamp)
        elif what == "pass":
            clock.advance(amount / 1000)
        elif what == "set":
            clock.set_now_ms(T + amount)
        else:
            if what == "close":
                bounds.close()
            bounds = Bounds(storage, clock)
            hlcs = [bounds.hlc(DRIFT), bounds.hlc(DRIFT)]
            last = [highest, highest]  # after a restart every clock is above all clocks before it


def test_a_clean_end_leaves_the_stamps_where_they_were() -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    for at in range(50):
        bounds = Bounds(storage, clock)
        assert bounds.hlc(DRIFT).now() == (T << 16) + at
        bounds.close()
        bounds.close()


def test_crashes_do_not_run_away_from_the_physical_clock() -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    for _ in range(50):
        stamp = Bounds(storage, clock).hlc(DRIFT).now()
    # The first one is ahead by as much as a bound reaches; each of the others by a step, not by that much again.
    assert T <= stamp >> 16 <= T + AHEAD_MS + 50 * 17
    clock.advance(60.0)
    assert Bounds(storage, clock).hlc(DRIFT).now() == (T + 60_000) << 16


@pytest.mark.parametrize("copy", [b"u0", b"u1"])
@pytest.mark.parametrize("damage", [b"", b"short", bytes(12), b"\xff" * 12, b"\xff" * 40, None])
def test_one_damaged_copy_costs_nothing(copy: bytes, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    last = Bounds(storage, clock).hlc(DRIFT).now()
    if damage is None:
        storage.delete_many([copy])
    else:
        storage.put_many({copy: damage})
    clock.set_now_ms(T - 1_000_000)
    again = Bounds(storage, clock).hlc(DRIFT)
    assert again.now() > last
    assert "damaged or missing" in caplog.text
    caplog.clear()
    Bounds(storage, clock)
    assert not caplog.text, "the first write has mended the copy"


def test_two_damaged_copies_are_an_error() -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    Bounds(storage, clock).hlc(DRIFT).now()
    (row, _) = storage.get_many([b"u0", b"u1"])
    assert row is not None
    for bit in range(len(row) * 8):
        wrong = bytearray(row)
        wrong[bit // 8] ^= 1 << bit % 8
        storage.put_many({b"u0": bytes(wrong), b"u1": bytes(wrong)})
        with pytest.raises(StorageError, match="bound of the stamps cannot be read"):
            Bounds(storage, clock)


def test_of_two_copies_the_higher_counts() -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    Bounds(storage, clock).hlc(DRIFT).now()
    (earlier, _) = storage.get_many([b"u0", b"u1"])
    assert earlier is not None
    clock.advance(60)
    later = Bounds(storage, clock)
    last = later.hlc(DRIFT).now()
    for key in (b"u0", b"u1"):
        copies = storage.get_many([b"u0", b"u1"])
        storage.put_many({key: earlier})
        assert Bounds(storage, clock).bound == later.bound > last
        storage.put_many({b"u0": copies[0] or b"", b"u1": copies[1] or b""})


def test_it_begins_after_the_floor() -> None:
    storage, clock = MemoryStorage(), ManualClock(T)
    floor = (T + 5_000) << 16
    bounds = Bounds(storage, clock, floor)
    assert bounds.hlc(DRIFT).now() == floor + 1
    bounds.close()
    assert Bounds(storage, clock).hlc(DRIFT).now() == floor + 2


def test_the_end_of_time() -> None:
    clock = ManualClock(2**48 - 1)
    bounds = Bounds(MemoryStorage(), clock)
    assert bounds.hlc(DRIFT).now() == (2**48 - 1) << 16
    assert bounds.bound <= 2**64 - 1


def test_many_threads_share_a_bound() -> None:
    storage, clock = Counting(), ManualClock(T)
    bounds = Bounds(storage, clock)
    hlc, stamps = bounds.hlc(DRIFT), [list[int]() for _ in range(6)]

    def work(mine: list[int]) -> None:
        for _ in range(500):
            mine.append(hlc.now())
            assert mine[-1] <= bounds.bound
            clock.advance(0.01)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in stamps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = [stamp for mine in stamps for stamp in mine]
    assert len(set(given)) == len(given) == 3_000
    assert all(mine == sorted(mine) for mine in stamps)
    assert storage.writes <= 30_000 // AHEAD_MS + 2
