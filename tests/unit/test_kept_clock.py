"""What a city makes of a clock that says how wrong it can be: stamps of a good time only, requests bounded anyway."""

from __future__ import annotations

import time

import pytest

from city_chain.adapters.clock import ManualClock, SystemClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import DeadlineError, InputError, UnavailableError
from city_chain.node.bounds import Bounds
from city_chain.node.city_clock import CityClock, commit_wait, kept, state, sure
from city_chain.ports import Clock, ClockStatus, KeptClock, TimeInterval

pytestmark = pytest.mark.unit

T = 1_800_000_000_000
NS = 1_000_000


class Kept:
    """A clock of a known error that is lost and found by hand; it stands still, or goes as the steady one."""

    def __init__(self, error_ms: int = 20, *, stands: bool = True) -> None:
        self.error_ms = error_ms
        self.status: ClockStatus = "synchronised"
        self.time = ManualClock(T)
        self._since = None if stands else time.monotonic_ns()

    def _now_ns(self) -> int:
        passed = 0 if self._since is None else time.monotonic_ns() - self._since
        return self.time.now_ms() * NS + passed

    def now_ms(self) -> int:
        if self.status != "synchronised":
            raise UnavailableError(f"no majority: {self.status}", 3, 2)
        return self._now_ns() // NS

    def monotonic(self) -> float:
        return time.monotonic() if self._since is not None else self.time.monotonic()

    def interval(self) -> TimeInterval:
        now_ns = self._now_ns()
        return TimeInterval(now_ns - self.error_ms * NS, now_ns + self.error_ms * NS, self.status)


def test_a_clock_that_says_nothing_of_itself_stays_what_it_is() -> None:
    clock = SystemClock()
    assert kept(clock) is sure(clock) is clock
    assert state(clock) is None
    assert not isinstance(clock, KeptClock)


def test_what_is_no_clock_is_refused() -> None:
    for wrong in (5, None, "clock"):
        with pytest.raises(TypeError, match="contract"):
            kept(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="contract"):
            commit_wait(wrong, T)  # type: ignore[arg-type]


def test_stamps_are_of_the_latest_instant_and_of_a_good_time_only() -> None:
    given = Kept()
    assert isinstance(given, KeptClock)
    clock = kept(given)
    assert isinstance(clock, CityClock)
    assert isinstance(sure(clock), Clock)
    assert (clock.now_ms(), sure(clock).now_ms()) == (T, T + 20)
    assert state(clock) == ("synchronised", 40 * NS, "")
    given.status = "unknown"
    with pytest.raises(UnavailableError, match="no majority"):
        sure(clock).now_ms()
    assert state(clock) == ("unknown", 40 * NS, "no majority: unknown")


def test_a_lost_clock_still_bounds_requests_by_what_has_passed() -> None:
    given = Kept()
    clock = kept(given)
    given.status = "unsynchronised"
    given.time.advance(90.5)
    assert clock.now_ms() == T + 90_500
    given.status = "synchronised"
    given.time.set_now_ms(T)
    assert clock.now_ms() == T, "found again, it counts"


def _lost() -> Kept:
    given = Kept()
    given.status = "unknown"
    return given


def test_a_clock_that_was_never_good_bounds_nothing() -> None:
    with pytest.raises(UnavailableError, match="no majority"):
        kept(_lost())
    with pytest.raises(UnavailableError, match="no majority"):
        CityClock(_lost()).now_ms()


def test_bounds_stamp_nothing_with_a_lost_clock_but_what_promises_no_time() -> None:
    given, storage = Kept(), MemoryStorage()
    bounds = Bounds(storage, kept(given))
    stamps = bounds.hlc(2**40)
    first = stamps.now()
    assert first >> 16 == T + 20
    given.status = "unknown"
    with pytest.raises(UnavailableError):
        stamps.now()
    given.time.advance(3_600)
    last = [stamps.next() for _ in range(100)]
    assert first < last[0]
    assert last == sorted(set(last))
    assert bounds.bound >= last[-1]
    assert Bounds(storage, ManualClock(T)).hlc(2**40).now() > last[-1], "the bound was durable before they were given"


def test_a_millisecond_has_to_be_over_on_every_right_clock() -> None:
    """A stamp has a counter below its millisecond, so that this one has begun is not enough."""
    clock = Kept(error_ms=15, stands=False)
    stamped_ms = sure(kept(clock)).now_ms()
    before = clock.interval()
    found = commit_wait(clock, stamped_ms)
    assert before.earliest_ns < (stamped_ms + 1) * NS <= found.earliest_ns
    # The other extreme of a right clock that is stamped with afterwards: its latest instant is the true time.
    assert found.earliest_ns // NS > stamped_ms


def test_commit_wait_ends_in_an_error_where_nothing_is_certain() -> None:
    clock = Kept()
    with pytest.raises(DeadlineError, match="left"):
        commit_wait(clock, T, timeout_s=0)
    clock.status = "unsynchronised"
    with pytest.raises(UnavailableError, match="unsynchronised"):
        commit_wait(clock, 0)
    for ms, timeout_s in ((-1, 1.0), (2**48, 1.0), (0, -1.0), (0, 86_401.0), (0, float("nan"))):
        with pytest.raises(InputError, match="commit wait"):
            commit_wait(clock, ms, timeout_s=timeout_s)
    for ms, timeout_s in ((True, 1.0), (1.5, 1.0), (0, "1"), (0, True)):
        with pytest.raises(TypeError):
            commit_wait(clock, ms, timeout_s=timeout_s)  # type: ignore[arg-type]
