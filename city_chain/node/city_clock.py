"""What a city makes of a clock that says how wrong it can be (`ports.KeptClock`).

Two questions are asked of a clock. *What may be stamped?* needs a time that is known to be good: `sure` gives it, and
refuses while the clock is not synchronised. *Until when is this request of use?* needs none: `CityClock` itself then
goes on from the last good time with the steady clock of the machine, so that what is committed can be read, checked
and opened however long the clock is lost.

Stamps are made of the **latest** instant that it can be, as Spanner does (Corbett et al., OSDI 2012, section 4.1.2):
who stamps after an instant has passed on every right clock (`commit_wait`) stamps above it, wherever they are.
"""

from __future__ import annotations

import time

from city_chain.errors import DeadlineError, InputError, UnavailableError
from city_chain.ports import Clock, ClockStatus, KeptClock, TimeInterval

__all__ = ["CityClock", "commit_wait", "kept", "state", "sure"]

_WAIT_S_MAX = 0.05
_TIMEOUT_S_MAX = 86_400.0


class _Sure:
    """The clock that stamps are made of."""

    def __init__(self, given: KeptClock) -> None:
        self._given = given

    def now_ms(self) -> int:
        """The latest instant that it can be, milliseconds since the Unix epoch.

        Raises:
            UnavailableError: The clock is not synchronised.
        """
        interval = self._given.interval()
        if interval.status != "synchronised":
            self._given.now_ms()  # says why
            raise UnavailableError(f"the clock is {interval.status}", needed=1, had=0)
        return interval.latest_ns // 1_000_000

    def monotonic(self) -> float:
        """As the clock that is given."""
        return self._given.monotonic()


class CityClock:
    """A clock to bound requests by. Implements `ports.Clock`; safe to use from several threads.

    Args:
        given: The clock that it follows.

    Example:
        >>> from city_chain.adapters.kernel_clock import KernelClock, KernelState
        >>> states = [KernelState(word, 2_000_000, 0, 0.0, 37) for word in ("unsynchronised", "synchronised")]
        >>> clock = CityClock(KernelClock(state=states.pop))
        >>> good = clock.now_ms()
        >>> clock.now_ms() >= good  # nobody keeps it any more
        True
    """

    def __init__(self, given: KeptClock) -> None:
        self.given = given
        self.sure: Clock = _Sure(given)
        self._last: tuple[int, float] | None = None

    def now_ms(self) -> int:
        """The time, milliseconds since the Unix epoch; while the clock is lost, the last good one and what has passed.

        Raises:
            UnavailableError: The clock was never synchronised.
        """
        try:
            now_ms = self.given.now_ms()
        except UnavailableError:
            if self._last is None:
                raise
            last_ms, then = self._last
            return last_ms + int((self.given.monotonic() - then) * 1000)
        self._last = now_ms, self.given.monotonic()
        return now_ms

    def monotonic(self) -> float:
        """As the clock that is given."""
        return self.given.monotonic()


def kept(clock: Clock) -> Clock:
    """What a city bounds requests by.

    Args:
        clock: The clock that it was given.

    Returns:
        A `CityClock` where the clock says how wrong it can be; else the clock itself.

    Raises:
        TypeError: It is no clock.
        UnavailableError: It is not synchronised.

    Example:
        >>> from city_chain.adapters.clock import SystemClock
        >>> clock = SystemClock()
        >>> kept(clock) is clock
        True
    """
    if not isinstance(clock, Clock):
        raise TypeError(f"clock must keep the contract of ports.Clock, not {type(clock).__name__}")
    made = CityClock(clock) if isinstance(clock, KeptClock) else clock
    made.now_ms()
    return made


def sure(clock: Clock) -> Clock:
    """What is stamped with.

    Args:
        clock: What `kept` gave.

    Example:
        >>> from city_chain.adapters.clock import SystemClock
        >>> clock = SystemClock()
        >>> sure(clock) is clock
        True
    """
    return clock.sure if isinstance(clock, CityClock) else clock


def state(clock: Clock) -> tuple[ClockStatus, int, str] | None:
    """What a clock says of itself.

    Args:
        clock: What `kept` gave.

    Returns:
        Its status, the nanoseconds from the earliest to the latest instant that it can be, and why it gives no time
        (empty where it does); None of a clock that says nothing of itself, like the system's.

    Example:
        >>> from city_chain.adapters.clock import SystemClock
        >>> state(SystemClock()) is None
        True
    """
    if not isinstance(clock, CityClock):
        return None
    interval, reason = clock.given.interval(), ""
    if interval.status != "synchronised":
        try:
            clock.given.now_ms()
        except UnavailableError as error:
            reason = str(error)
    return interval.status, interval.width_ns, reason


def commit_wait(clock: KeptClock, ms: int, *, timeout_s: float = 10.0) -> TimeInterval:
    """Waits until a millisecond is over for certain (commit wait: Corbett et al., OSDI 2012, section 4.1.2).

    Whatever a city on a right clock stamps after that is later, in any process and on any machine.

    Args:
        clock: A clock that says how wrong it can be: `ntp_clock.NtpClock`, `adapters.kernel_clock.KernelClock`.
        ms: The millisecond since the Unix epoch, 0 to 2**48 - 1. Of a receipt: ``tnh.ms(receipt.header.hlc)``.
        timeout_s: How long to wait, seconds, 0 to 86,400.

    Returns:
        The interval that the clock then gives: all of it is after that millisecond.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument is out of range.
        UnavailableError: The clock is not synchronised.
        DeadlineError: It is not over for certain within `timeout_s`.

    Example:
        >>> from city_chain.adapters.kernel_clock import KernelClock, KernelState
        >>> clock = KernelClock(state=lambda: KernelState("synchronised", 2_000_000, 0, 0.0, 37))
        >>> stamped_ms = clock.now_ms()
        >>> commit_wait(clock, stamped_ms).earliest_ns >= (stamped_ms + 1) * 1_000_000
        True
    """
    if not isinstance(clock, KeptClock):
        raise TypeError(f"clock must keep the contract of ports.KeptClock, not {type(clock).__name__}")
    if isinstance(ms, bool) or not isinstance(ms, int):
        raise TypeError(f"ms must be an int, not {type(ms).__name__}")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s must be a number, not {type(timeout_s).__name__}")
    if not 0 <= ms < 1 << 48 or not 0 <= timeout_s <= _TIMEOUT_S_MAX:
        raise InputError(f"commit wait: ms {ms} (0 to 2**48 - 1), timeout_s {timeout_s} (0 to {_TIMEOUT_S_MAX:g})")
    until = clock.monotonic() + timeout_s
    over_ns = (ms + 1) * 1_000_000
    while True:
        interval = clock.interval()
        if interval.status != "synchronised":
            clock.now_ms()  # says why
            raise UnavailableError(f"the clock is {interval.status}", needed=1, had=0)
        left_s = (over_ns - interval.earliest_ns) / 1e9
        if left_s <= 0:
            return interval
        allowed_s = until - clock.monotonic()
        if allowed_s <= 0:
            raise DeadlineError(f"commit wait: {ms} ms is not over for certain: {left_s:.3f} s are left")
        time.sleep(max(0.0, min(left_s + 1e-6, allowed_s, _WAIT_S_MAX)))
