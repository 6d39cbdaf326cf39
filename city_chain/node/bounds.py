"""Stamps that never go back, also over a restart whose physical clock is behind.

A bound is made durable ahead of the stamps, so that one write serves for seconds of them: no stamp is given out above
it, and a restart begins after it. All hybrid logical clocks of a process (its nodes' and its sender's) share one bound,
as they share one physical clock. A clean end puts the bound back to the last stamp given.

====================  ================================================================
key                   value
====================  ================================================================
``u`` 0, ``u`` 1      the bound, twice: a stamp of 8 bytes, big-endian, and its CRC-32
====================  ================================================================
"""

from __future__ import annotations

import logging
import threading
import zlib

from city_chain.algorithms import tnh
from city_chain.errors import StorageError
from city_chain.node.city_clock import sure
from city_chain.ports import Clock, Put, Storage

__all__ = ["AHEAD_MS", "Bounds"]

_log = logging.getLogger("city_chain")

AHEAD_MS = 4_000
"""How far ahead of the physical clock the bound is put, milliseconds. After a crash the stamps may be as far ahead, so
it is less than the 5 s of skew that others put up with (see `stages.r1_ingress`)."""

_STEP = 16 << 16
"""How far above the last stamp the bound is at least: 16 ms of stamps, for a physical clock that is far behind them."""

_KEYS = (b"u0", b"u1")


class Bounds:
    """What all stamps of this process stay under.

    Args:
        storage: Where the bound is kept.
        clock: Physical time (see `city_clock.kept`).
        floor: A stamp to begin after in any case, such as the ledger's last one.
        put: How the bound is written; the default, `storage.put_many`, waits for the disk. Where whatever carries a
            stamp is written to the same storage later, and in its order, `defer_many` is as good (see `node.Host`).

    Raises:
        StorageError: Both copies of the bound are damaged, so nobody knows which stamps were given out.

    Example:
        >>> from city_chain.adapters.clock import ManualClock
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> storage, clock = MemoryStorage(), ManualClock(now_ms=1_000_000)
        >>> last = Bounds(storage, clock).hlc(500).now()
        >>> clock.set_now_ms(999_000)  # the process is killed, and the clock is set back by a second
        >>> Bounds(storage, clock).hlc(10_000).now() > last
        True
    """

    def __init__(self, storage: Storage, clock: Clock, floor: int = 0, put: Put | None = None) -> None:
        self._put: Put = put or storage.put_many
        self._clock = clock
        self._lock = threading.Lock()
        self._start = max(_read(storage), floor)
        self._bound = self._start
        self._given: list[tnh.Hlc] = []

    def hlc(self, max_drift_ms: int) -> _Stamps:
        """A hybrid logical clock that begins after the bound and stays under it.

        Args:
            max_drift_ms: As in `tnh.Hlc`.
        """
        made = tnh.Hlc(max_drift_ms, last=self._start)
        with self._lock:
            self._given.append(made)
        return _Stamps(made, self._clock, self)

    @property
    def bound(self) -> int:
        """The highest stamp that may be given out without another write."""
        return self._bound

    def raise_above(self, stamp: int) -> None:
        """Makes a higher bound durable, if `stamp` is above the present one.

        Raises:
            StorageError: It could not be written; the stamp must not be used.
        """
        with self._lock:
            if stamp <= self._bound:
                return
            now_ms = min(self._clock.now_ms(), (1 << 48) - 2 - AHEAD_MS)
            bound = min(max(tnh.Hlc(1).upper_bound(now_ms, AHEAD_MS), stamp + _STEP), (1 << 64) - 1)
            self._write(bound)
            self._bound = bound

    def close(self) -> None:
        """Puts the bound back to the last stamp that was given out, so that the next start is not ahead for nothing.

        Raises:
            StorageError: It could not be written; the bound stays where it was, which is as safe.
        """
        with self._lock:
            last = max([self._start, *(hlc.last for hlc in self._given)])
            if self._bound > last:
                self._write(last)
                self._bound = last

    def _write(self, bound: int) -> None:
        stamp = bound.to_bytes(8, "big")
        self._put(dict.fromkeys(_KEYS, stamp + zlib.crc32(stamp).to_bytes(4, "big")))


class _Stamps:
    """A hybrid logical clock under a bound. Safe to share between threads."""

    __slots__ = ("_bounds", "_clock", "_hlc", "_sure")

    def __init__(self, hlc: tnh.Hlc, clock: Clock, bounds: Bounds) -> None:
        self._hlc = hlc
        self._clock = clock
        self._sure = sure(clock)
        self._bounds = bounds

    def now(self) -> int:
        """The next stamp.

        Raises:
            StorageError: The bound had to be raised and could not be written; no stamp is given.
            ProtocolError: The clock's drift is used up.
            UnavailableError: The clock is not synchronised.
        """
        return self._within(self._hlc.now(self._sure.now_ms()))

    def next(self) -> int:
        """The next stamp where it must be above the last one and promises nothing about time.

        Raises:
            StorageError: As `now`.
            ProtocolError: As `now`.
        """
        return self._within(self._hlc.now(self._clock.now_ms()))

    def _within(self, stamp: int) -> int:
        if stamp > self._bounds.bound:
            self._bounds.raise_above(stamp)
        return stamp


def _read(storage: Storage) -> int:
    """The bound that is kept; 0 if none ever was."""
    rows = [row for row in storage.get_many(_KEYS) if row is not None]
    if not rows:
        return 0
    whole = [int.from_bytes(row[:8], "big") for row in rows if row[8:] == zlib.crc32(row[:8]).to_bytes(4, "big")]
    if not whole:
        raise StorageError("the bound of the stamps cannot be read: both of its rows are damaged")
    if len(whole) < len(_KEYS):
        _log.warning("one of the two copies of the bound of the stamps is damaged or missing; the other is used")
    return max(whole)
