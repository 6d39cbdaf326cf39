"""What this machine's own time daemon says of its clock, read honestly.

`kernel_state` asks the kernel (``adjtimex``, reading only) whether a daemon keeps its clock, and how far it may be off:
chronyd, ntpd, systemd-timesyncd and phc2sys all leave their answer there. `hardware_clocks` reads the clocks of network
cards that PTP keeps (IEEE 1588), through ``PTP_SYS_OFFSET_EXTENDED``. Both ask the system and change nothing. Where it
cannot be found out, the state is unknown, never good.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from city_chain.errors import InputError, UnavailableError
from city_chain.ports import ClockStatus, TimeInterval

__all__ = ["HardwareClock", "KernelClock", "KernelState", "hardware_clocks", "kernel_state"]

_TIME_ERROR = 5
_STA_UNSYNC = 0x0040
_STA_CLOCKERR = 0x1000
_STA_NANO = 0x2000
_LATEST_NS = ((1 << 48) - 1) * 1_000_000

_SAMPLES = 9
_PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09
"""``_IOWR('=', 9, struct ptp_sys_offset_extended)`` of 1,216 bytes, where ioctl numbers are like x86's."""
_PTP_HEAD = struct.Struct("=I12x")
_PTP_TIME = struct.Struct("=qII")
_PTP_SAMPLES_MAX = 25


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("counters", ctypes.c_long * 4),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


class KernelState(NamedTuple):
    """What the kernel knows of its clock.

    Args:
        status: ``synchronised`` only if a daemon keeps it and no fault is noted; ``unknown`` where the kernel cannot be
            asked.
        max_error_ns: How far it may be off, nanoseconds; None where it is unknown.
        offset_ns: What the daemon still has to correct, nanoseconds; None where it is unknown.
        frequency_ppm: By how much the clock is sped up, parts per million; None where it is unknown.
        tai_offset_s: Seconds between international atomic time and UTC; None where nobody told the kernel.

    Example:
        >>> kernel_state().status in ("synchronised", "unsynchronised", "unknown")
        True
    """

    status: ClockStatus
    max_error_ns: int | None
    offset_ns: int | None
    frequency_ppm: float | None
    tai_offset_s: int | None


class HardwareClock(NamedTuple):
    """The clock of a network card, next to the system's.

    Args:
        device: Its file, such as ``/dev/ptp0``.
        name: What the driver calls it; None where it does not say.
        offset_ns: What to add to the system's clock to have this one, nanoseconds; None where it cannot be read. A PTP
            clock usually shows international atomic time, which is some 37 s ahead of UTC.
        uncertainty_ns: How far `offset_ns` may be off: half of the time that reading took; None as above.
        reason: Why it cannot be read; empty where it can.

    Example:
        >>> [clock.device for clock in hardware_clocks("/nonexistent")]
        []
    """

    device: str
    name: str | None
    offset_ns: int | None
    uncertainty_ns: int | None
    reason: str


_UNKNOWN = KernelState("unknown", None, None, None, None)


def kernel_state() -> KernelState:
    """Asks the kernel about its clock.

    Returns:
        What it says; unknown on other systems than Linux, and where the call is refused.

    Example:
        >>> state = kernel_state()
        >>> state.status == "synchronised" and state.max_error_ns is None
        False
    """
    found = _adjtimex()
    return _UNKNOWN if found is None else _state(*found)


def hardware_clocks(folder: str | os.PathLike[str] = "/dev") -> list[HardwareClock]:
    """Reads every PTP hardware clock that there is.

    Args:
        folder: Where their device files are.

    Returns:
        One for each device, by number; none where there is no such device.
    """
    devices = [path for path in Path(folder).glob("ptp*") if path.name[3:].isdecimal()]
    return [_read(path) for path in sorted(devices, key=lambda path: int(path.name[3:]))]


class KernelClock:
    """The system's clock, which is called good only while a daemon keeps it. Implements `ports.Clock`.

    Args:
        good_ms: Up to which distance between the earliest and the latest instant it is called synchronised,
            milliseconds.
        state: Where its state comes from.

    Raises:
        TypeError: `good_ms` is not a number.
        InputError: It is out of range.

    Example:
        >>> KernelClock(state=lambda: KernelState("unknown", None, None, None, None)).interval().status
        'unknown'
        >>> good = KernelClock(state=lambda: KernelState("synchronised", 2_000_000, 0, 0.0, 37))
        >>> good.interval().width_ns
        4000000
    """

    def __init__(self, *, good_ms: float = 500.0, state: Callable[[], KernelState] = kernel_state) -> None:
        if isinstance(good_ms, bool) or not isinstance(good_ms, int | float):
            raise TypeError(f"good_ms must be a number, not {type(good_ms).__name__}")
        if not 0 < good_ms <= 1e6:
            raise InputError(f"good_ms must be above 0 and at most 1e6, not {good_ms}")
        self._good_ns = round(good_ms * 1e6)
        self._state = state

    def now_ms(self) -> int:
        """The system's time, milliseconds since the Unix epoch.

        Raises:
            UnavailableError: Nobody keeps the clock, or nobody can say how well.
        """
        interval = self.interval()
        if interval.status != "synchronised":
            message = f"the kernel's clock is {interval.status}; a time daemon (chronyd, ntpd, phc2sys) must keep it"
            raise UnavailableError(message, needed=1, had=0)
        return (interval.earliest_ns + interval.latest_ns) // 2 // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        return time.monotonic()

    def interval(self) -> TimeInterval:
        """Between which instants the true time lies, if the daemon is right.

        Returns:
            The interval; as wide as time where nothing is known of the clock.
        """
        state, now_ns = self._state(), time.time_ns()
        if state.max_error_ns is None:
            return TimeInterval(0, _LATEST_NS, state.status)
        # What is still to be corrected is no part of the error: timesyncd tells one of 0 and leaves the rest there.
        error_ns = state.max_error_ns + abs(state.offset_ns or 0)
        earliest, latest = max(0, now_ns - error_ns), min(_LATEST_NS, now_ns + error_ns)
        wide = latest - earliest > self._good_ns
        return TimeInterval(earliest, latest, "unsynchronised" if wide else state.status)


def _adjtimex() -> tuple[int, _Timex] | None:
    """What the kernel answers, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = [ctypes.POINTER(_Timex)], ctypes.c_int
    timex = _Timex()  # modes is 0: nothing is set
    result = call(ctypes.byref(timex))
    return None if result < 0 else (result, timex)


def _state(result: int, timex: _Timex) -> KernelState:
    kept = result != _TIME_ERROR and not timex.status & (_STA_UNSYNC | _STA_CLOCKERR)
    unit_ns = 1 if timex.status & _STA_NANO else 1000
    return KernelState(
        status="synchronised" if kept else "unsynchronised",
        max_error_ns=max(0, timex.maxerror) * 1000,
        offset_ns=timex.offset * unit_ns,
        frequency_ppm=timex.freq / 65536,
        tai_offset_s=timex.tai or None,
    )


def _read(path: Path) -> HardwareClock:
    name = None
    with contextlib.suppress(OSError):
        name = Path(f"/sys/class/ptp/{path.name}/clock_name").read_text(encoding="ascii", errors="replace").strip()
    try:
        import fcntl  # noqa: PLC0415 — not on every system

        request = bytearray(_PTP_HEAD.pack(_SAMPLES) + bytes(_PTP_SAMPLES_MAX * 3 * _PTP_TIME.size))
        with open(path, "rb", buffering=0) as device:
            fcntl.ioctl(device, _PTP_SYS_OFFSET_EXTENDED, request)
        offset_ns, uncertainty_ns = nearest(bytes(request))
    except (OSError, ImportError, InputError) as error:
        return HardwareClock(str(path), name, None, None, f"it cannot be read: {error}")
    return HardwareClock(str(path), name, offset_ns, uncertainty_ns, "")


def nearest(answer: bytes) -> tuple[int, int]:
    """The offset by the sample that took least time, and half of that time.

    Args:
        answer: ``struct ptp_sys_offset_extended``: how many samples, and for each the system's time, the device's, and
            the system's again.

    Returns:
        What to add to the system's clock to have the device's, and how far that may be off, nanoseconds.

    Raises:
        InputError: It has no sample, or fewer bytes than it says; or the system's clock was set back in each.

    Example:
        >>> sample = b"".join(_PTP_TIME.pack(*time, 0) for time in ((5, 100), (42, 150), (5, 300)))
        >>> nearest(_PTP_HEAD.pack(1) + sample)
        (36999999950, 100)
    """
    count = _PTP_HEAD.unpack_from(answer)[0] if len(answer) >= _PTP_HEAD.size else 0
    if not 1 <= count <= _PTP_SAMPLES_MAX or len(answer) < _PTP_HEAD.size + count * 3 * _PTP_TIME.size:
        raise InputError(f"{len(answer)} bytes are no answer with {count} samples of a hardware clock")
    found: list[tuple[int, int]] = []
    for sample in range(count):
        at = _PTP_HEAD.size + sample * 3 * _PTP_TIME.size
        parts = (_PTP_TIME.unpack_from(answer, at + place * _PTP_TIME.size) for place in range(3))
        before, there, after = (seconds * 1_000_000_000 + ns for seconds, ns, _ in parts)
        if before <= after:
            found.append((after - before, there - (before + after) // 2))
    if not found:
        raise InputError("the system's clock was set back while a hardware clock was read")
    took_ns, offset_ns = min(found)
    return offset_ns, (took_ns + 1) // 2
