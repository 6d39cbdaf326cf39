"""Clocks: the system's, and one that moves only by hand for tests and simulations."""

from __future__ import annotations

import math
import time
from threading import Lock

from city_chain.errors import InputError

__all__ = ["ManualClock", "SystemClock"]

_MS_MAX = (1 << 48) - 1
"""Latest instant a hybrid logical clock can carry, milliseconds since the Unix epoch (year 10889)."""

_ADVANCE_S_MAX = 1e9
"""Longest single advance, seconds (about 32 years)."""


class SystemClock:
    """The time of the operating system.

    Example:
        >>> clock = SystemClock()
        >>> before = clock.monotonic()
        >>> clock.monotonic() >= before and clock.now_ms() > 1_700_000_000_000
        True
    """

    def now_ms(self) -> int:
        """Physical time in milliseconds since the Unix epoch (UTC). It may jump, also backwards."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved. Safe to use from several threads.

    Args:
        now_ms: Physical time to begin with, milliseconds since the Unix epoch, 0 to 2^48 - 1.
        monotonic: What `monotonic` shows to begin with, seconds.

    Raises:
        TypeError: An argument is not a number.
        InputError: An argument is out of range.

    Example:
        >>> clock = ManualClock(now_ms=1_000)
        >>> clock.advance(1.5)
        >>> clock.now_ms(), clock.monotonic()
        (2500, 1.5)
        >>> clock.set_now_ms(0)  # somebody sets the wall clock back; `monotonic` does not see it
        >>> clock.now_ms(), clock.monotonic()
        (0, 1.5)
    """

    def __init__(self, now_ms: int = 0, monotonic: float = 0.0) -> None:
        self._lock = Lock()
        self._start_ms = _checked_ms(now_ms)
        self._start_s = _checked_seconds("monotonic", monotonic)
        self._passed_s = 0.0
        self._offset_s = 0.0

    def now_ms(self) -> int:
        """Physical time in milliseconds since the Unix epoch."""
        with self._lock:
            return self._start_ms + round((self._passed_s - self._offset_s) * 1000)

    def monotonic(self) -> float:
        """Seconds since wherever this clock began."""
        with self._lock:
            return self._start_s + self._passed_s

    def advance(self, seconds: float) -> None:
        """Moves both times on by `seconds`.

        Raises:
            TypeError: It is not a number.
            InputError: It is negative, not finite or above 1e9.
        """
        step = _checked_seconds("seconds", seconds)
        if step < 0:
            raise InputError(f"seconds must be 0 or more, not {seconds}; use set_now_ms to set the wall clock back")
        with self._lock:
            self._passed_s += step

    def set_now_ms(self, now_ms: int) -> None:
        """Sets physical time alone, as an operator or a time service would; it may go back.

        Raises:
            TypeError: It is not an int.
            InputError: It is out of range.
        """
        checked = _checked_ms(now_ms)
        with self._lock:
            self._start_ms = checked
            self._offset_s = self._passed_s


def _checked_ms(now_ms: int) -> int:
    if isinstance(now_ms, bool) or not isinstance(now_ms, int):
        raise TypeError(f"now_ms must be an int, not {type(now_ms).__name__}")
    if not 0 <= now_ms <= _MS_MAX:
        raise InputError(f"now_ms must be 0 to {_MS_MAX}, not {now_ms}")
    return now_ms


def _checked_seconds(name: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not -_ADVANCE_S_MAX <= seconds <= _ADVANCE_S_MAX or not math.isfinite(seconds):
        raise InputError(f"{name} must be finite and at most {_ADVANCE_S_MAX:g} seconds, not {seconds}")
    return float(seconds)
