"""The hybrid logical clock under bad physical clocks: frozen, going back, skewed, strobing, behind after a restart."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import tnh
from city_chain.errors import InputError, ProtocolError

pytestmark = pytest.mark.ffi

T = 1_800_000_000_000
YEAR_9999 = 253_402_300_799_000


def test_a_frozen_clock_counts_on() -> None:
    clock = tnh.Hlc()
    stamps = [clock.now(T) for _ in range(70_000)]
    assert stamps == list(range(T << 16, (T << 16) + 70_000))
    assert tnh.ms(stamps[-1]) == T + 1, "the counter has carried"


def test_a_clock_that_goes_back_counts_on_from_where_it_was() -> None:
    clock = tnh.Hlc(500)
    last = clock.now(T)
    for back in (1, 10, 499, 500):
        stamp = clock.now(T - back)
        assert stamp == last + 1
        assert tnh.ms(stamp) <= T - back + 500
        last = stamp
    for back in (501, 3_600_000, T):
        with pytest.raises(ProtocolError, match="ahead of the physical clock, at most 500"):
            clock.now(T - back)
        assert clock.last == last
    assert clock.now(T - 500) == last + 1


def test_equal_physical_times_are_told_apart_by_the_counter() -> None:
    here, there = tnh.Hlc(), tnh.Hlc()
    stamps = []
    for _ in range(100):
        stamps.append(here.now(T))
        stamps.append(there.update(stamps[-1], T))
        stamps.append(there.now(T))
        stamps.append(here.update(stamps[-1], T))
    assert stamps == sorted(set(stamps))
    assert {tnh.ms(stamp) for stamp in stamps} == {T}


@pytest.mark.parametrize("skew", [100, 200, 250, 500, 5_000])
@pytest.mark.parametrize("drift", [100, 500, 5_000])
def test_the_skews_of_jepsen(skew: int, drift: int) -> None:
    """Two nodes, one ahead by the skew, talk to each other: every effect is later, or the message is refused."""
    ahead, behind = tnh.Hlc(drift), tnh.Hlc(drift)
    random, time = Random(skew), T
    for _ in range(200):
        time += random.randrange(3)
        sent, before = ahead.now(time + skew), behind.last
        if tnh.ms(sent) > time + drift:
            with pytest.raises(ProtocolError):
                behind.update(sent, time)
            assert behind.last == before
            continue
        received = behind.update(sent, time)
        assert received > sent
        assert tnh.ms(received) <= time + drift
        answered = behind.now(time)
        assert ahead.update(answered, time + skew) > answered > received
    assert (behind.last == 0) == (skew > drift)


@pytest.mark.parametrize("swing", [100, 200, 250, 500, 5_000])
def test_a_strobing_clock(swing: int) -> None:
    """The clock jumps forward and back at every event: stamps rise within the drift, and are refused beyond it."""
    clock, peer, stamps, refused = tnh.Hlc(500), tnh.Hlc(500), [], 0
    for at in range(1_000):
        physical = T + at + (swing if at % 2 else 0)
        before = clock.last
        try:
            stamp = clock.now(physical)
        except ProtocolError:
            refused += 1
            assert clock.last == before
            continue
        assert stamp > before
        assert tnh.ms(stamp) <= physical + 500
        stamps.append(stamp)
        stamps.append(peer.update(stamp, T + at + swing))
        assert stamps[-1] > stamp
    assert stamps[::2] == sorted(set(stamps[::2]))
    assert stamps[1::2] == sorted(set(stamps[1::2]))
    assert (refused > 0) == (swing > 500)


@pytest.mark.parametrize("ahead_ms", [0, 1, 1_000, 3_600_000])
@pytest.mark.parametrize("back_ms", [0, 1, 500, 5_000, 3_600_000])
def test_a_restart_with_the_clock_behind_issues_nothing_twice(ahead_ms: int, back_ms: int) -> None:
    random, clock = Random(ahead_ms), tnh.Hlc(500)
    bound = clock.upper_bound(T, ahead_ms)
    last = 0
    for _ in range(300):  # everything that may happen while the bound holds
        physical = T + random.randint(0, ahead_ms)
        try:
            if random.random() < 0.3:
                last = clock.update(tnh.pack(physical + random.randint(0, 499), random.randrange(0xFFFF)), physical)
            else:
                last = clock.now_many(physical, random.choice((1, 5, 5_000)))[-1]
        except ProtocolError:
            continue
        assert last <= bound
    resumed = tnh.Hlc(500, last=bound)
    physical = T + ahead_ms - back_ms
    try:
        first = resumed.now(physical)
    except ProtocolError:
        # The physical clock is so far behind that no later stamp may be given yet: none is.
        assert tnh.ms(bound + 1) > physical + 500
        assert resumed.last == bound
        first = resumed.now(tnh.ms(bound + 1) + 1)
    assert first > bound >= last


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        (tnh.pack(T + 500, 0xFFFF), "nothing that follows it is within the drift"),
        (tnh.pack(T + 501, 0), "a millisecond too far ahead"),
        (tnh.pack(T + 501, 0xFFFF), "a millisecond and a full counter"),
        (tnh.pack(YEAR_9999, 0), "the year 9999"),
        (tnh.pack(YEAR_9999, 0xFFFF), "the year 9999, counter full"),
        (tnh.pack(2**48 - 1, 0xFFFF), "the last stamp of all"),
        (tnh.pack(T + 5_000, 0), "five seconds"),
    ],
)
def test_hostile_stamps_move_nothing(remote: int, why: str) -> None:
    clock = tnh.Hlc(500)
    last = clock.now(T)
    for _ in range(3):
        with pytest.raises(ProtocolError, match="remote stamp"):
            clock.update(remote, T)
        assert clock.last == last, why
    assert clock.now(T) == last + 1


def test_a_full_counter_within_the_drift_carries() -> None:
    clock = tnh.Hlc(500)
    assert clock.update(tnh.pack(T + 499, 0xFFFF), T) == tnh.pack(T + 500, 0)


@pytest.mark.parametrize("wrong", [-1, 2**64, 10**30])
def test_numbers_that_fit_no_stamp_are_refused(wrong: int) -> None:
    clock = tnh.Hlc()
    for call in (
        lambda: clock.update(wrong, T),
        lambda: clock.update(T << 16, wrong),
        lambda: clock.now(wrong),
        lambda: clock.now_many(T, wrong),
        lambda: clock.now_packed(T, wrong),
        lambda: clock.upper_bound(T, wrong),
        lambda: tnh.Hlc(wrong),
        lambda: tnh.Hlc(500, wrong),
    ):
        with pytest.raises(InputError):
            call()
    assert clock.last == 0


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.tuples(st.integers(T - 600, T + 600), st.integers(1, 40_000)), min_size=1, max_size=20),
    drift=st.sampled_from([1, 500, 5_000]),
)
def test_a_batch_is_as_many_single_stamps(steps: list[tuple[int, int]], drift: int) -> None:
    ranged, packed, single = tnh.Hlc(drift), tnh.Hlc(drift), tnh.Hlc(drift)
    for physical, count in steps:
        try:
            stamps = ranged.now_many(physical, count)
        except ProtocolError:
            assert ranged.last == packed.last
            with pytest.raises(ProtocolError):
                packed.now_packed(physical, count)
            assert ranged.last == packed.last == single.last
            continue
        data = packed.now_packed(physical, count)
        assert len(stamps) == count
        assert len(data) == 8 * count
        for at in {0, count // 2, count - 1}:
            assert int.from_bytes(data[8 * at : 8 * at + 8]) == stamps[at]
        if count <= 200:
            assert [single.now(physical) for _ in range(count)] == list(stamps)
        else:
            single.now_many(physical, count)
        assert ranged.last == packed.last == single.last == stamps[-1]


def test_packed_stamps_sort_as_bytes_and_are_bounded() -> None:
    clock = tnh.Hlc()
    data = clock.now_packed(T, 5_000) + clock.now_packed(T + 1, 5_000)
    pieces = [data[at : at + 8] for at in range(0, len(data), 8)]
    assert pieces == sorted(pieces)
    assert len(set(pieces)) == 10_000
    for count in (0, 2**24 + 1, 2**63):
        with pytest.raises(InputError, match=r"1 to 16777216|integer must be"):
            clock.now_packed(T, count)
    last = clock.last
    with pytest.raises(ProtocolError):
        tnh.Hlc(1).now_packed(T, 2**18)
    assert clock.last == last
