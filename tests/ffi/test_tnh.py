"""The hybrid logical clock across the boundary: its cases, hostile stamps, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import tnh
from city_chain.errors import InputError, ProtocolError

pytestmark = pytest.mark.ffi

T = 1_800_000_000_000


def test_cases() -> None:
    clock = tnh.Hlc()
    assert clock.max_drift_ms == 500
    assert clock.last == 0
    assert clock.now(T) == T << 16
    assert clock.now(T) == T << 16 | 1, "frozen clock"
    assert clock.now(T - 9) == T << 16 | 2, "clock going back"
    assert clock.now(T + 1) == (T + 1) << 16
    remote = tnh.pack(T + 300, 7)
    assert clock.update(remote, T + 2) == remote + 1, "remote ahead"
    assert clock.update(tnh.pack(T, 0), T + 2) == remote + 2, "remote behind"
    assert clock.update(remote + 2, T + 2) == remote + 3, "equal"
    assert clock.now_many(T + 400, 10) == range((T + 400) << 16, ((T + 400) << 16) + 10)
    assert clock.last == (T + 400) << 16 | 9


@pytest.mark.parametrize("skew", [100, 200, 250, 499, 500])
def test_skews_within_the_drift_are_taken(skew: int) -> None:
    assert tnh.Hlc(500).update((T + skew) << 16, T) == (T + skew) << 16 | 1


@pytest.mark.parametrize(
    "remote",
    [2**64 - 1, 253_402_300_799_000 << 16, (T + 501) << 16, (T + 500) << 16 | 0xFFFF, (T + 5000) << 16],
)
def test_hostile_stamps_are_refused_and_change_nothing(remote: int) -> None:
    clock = tnh.Hlc(500)
    clock.now(T)
    before = clock.last
    with pytest.raises(ProtocolError, match="at most 500 are allowed"):
        clock.update(remote, T)
    assert clock.last == before


def test_a_strobing_clock_never_goes_back() -> None:
    clock = tnh.Hlc(5_000)
    stamps = [clock.now(T + (5_000 if at % 2 else 0)) for at in range(1_000)]
    assert stamps == sorted(set(stamps))


def test_the_counter_carries_only_within_the_drift() -> None:
    clock = tnh.Hlc(1)
    clock.now_many(T, 0x10000)
    assert clock.now(T) == (T + 1) << 16
    with pytest.raises(ProtocolError):
        clock.now_many(T, 0x10000)
    clock.now_many(T, 0xFFFF)
    with pytest.raises(ProtocolError):
        clock.now(T)
    clock.now(T + 1)


def test_a_restart_with_the_clock_behind_does_not_go_back() -> None:
    clock = tnh.Hlc(500)
    bound = clock.upper_bound(T, 1_000)
    last = max(clock.now(t) for t in range(T, T + 1_000))
    assert last <= bound
    assert tnh.Hlc(2_000, last=bound).now(T) > last


def test_the_end_of_time() -> None:
    end = 2**48 - 1
    clock = tnh.Hlc(500)
    stamps = clock.now_many(end, 0x10000)
    assert (stamps[-1], clock.last) == (2**64 - 1, 2**64 - 1)
    with pytest.raises(ProtocolError):
        clock.now(end)
    assert tnh.Hlc(500, last=2**64 - 1).last == 2**64 - 1
    with pytest.raises(InputError):
        tnh.pack(end + 1, 0)
    with pytest.raises(InputError):
        clock.now(end + 1)
    for physical, ahead in [(end, 1), (T, 2**64 - 1), (2**63, 0)]:
        with pytest.raises(InputError, match="at most"):
            clock.upper_bound(physical, ahead)


@settings(deadline=None)
@given(ms=st.integers(0, 2**48 - 1), counter=st.integers(0, 2**16 - 1))
def test_parts(ms: int, counter: int) -> None:
    stamp = tnh.pack(ms, counter)
    assert (tnh.ms(stamp), tnh.counter(stamp)) == (ms, counter)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 40), st.integers(0, 499)),
        min_size=1,
        max_size=80,
    )
)
def test_causes_come_before_effects(events: list[tuple[int, int, int, int]]) -> None:
    clocks, skews, time = [tnh.Hlc(500) for _ in range(3)], [0, 0, 0], T
    for source, target, step, skew in events:
        time += step
        skews[source] = skew
        before = clocks[source].last
        try:
            sent = clocks[source].now(time + skew)
        except ProtocolError:
            assert clocks[source].last == before
            continue
        assert sent > before
        earlier = clocks[target].last
        try:
            received = clocks[target].update(sent, time + skews[target])
        except ProtocolError:
            assert clocks[target].last == earlier
        else:
            assert received > max(sent, earlier)
            assert tnh.ms(received) <= time + skews[target] + 500


def test_many_threads_share_a_clock() -> None:
    clock = tnh.Hlc(2**40)

    def hammer(seed: int) -> list[int]:
        stamps = []
        for at in range(400):
            stamps.append(clock.now(T + at))
            stamps.extend(clock.now_many(T, 3))
            stamps.append(clock.update(tnh.pack(T + seed, 0), T))
            assert clock.last >= stamps[-1]
            assert clock.upper_bound(T, 0) >= stamps[-1]
        assert stamps == sorted(stamps)
        return stamps

    with ThreadPoolExecutor(8) as pool:
        stamps = [stamp for made in pool.map(hammer, range(8)) for stamp in made]
    assert len(set(stamps)) == len(stamps) == 8 * 400 * 5
