"""TNH: time. A hybrid logical clock, the client of NTP, and which of several clocks to believe.

A stamp of the hybrid logical clock (Kulkarni, Demirbas, Madeppa, Avva, Leone 2014) is one int below 2**64: 48 bits of
Unix milliseconds above a 16-bit counter. Stamps compare as numbers and respect causality: what was sent before it was
received has the smaller stamp, whatever the clocks show.

Example:
    >>> here, there = Hlc(), Hlc()
    >>> sent = here.now(1_800_000_000_100)
    >>> received = there.update(sent, 1_800_000_000_000)  # this clock is 100 ms behind
    >>> received > sent
    True

`NtpClient` (RFC 5905) makes requests and reads answers without a socket; `intersect` compares what several servers say
(Marzullo 1984). `city_chain.node.ntp_clock.NtpClock` puts both behind sockets and is a clock for a city.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from city_chain import _native
from city_chain._native import Hlc, NtpClient, NtpSample

__all__ = [
    "Agreement",
    "Hlc",
    "NtpClient",
    "NtpSample",
    "counter",
    "intersect",
    "ms",
    "pack",
]


class Agreement(NamedTuple):
    """What a strict majority of clocks agrees on.

    Args:
        earliest_ns: The least offset that can be true, nanoseconds.
        latest_ns: The greatest.
        right: The places of the clocks that can be right, rising.
        wrong: The places of the others, which are false (falsetickers).

    Example:
        >>> intersect([(0, 10), (4, 10), (5_000, 10)]).wrong
        [2]
    """

    earliest_ns: int
    latest_ns: int
    right: list[int]
    wrong: list[int]


def intersect(readings: Sequence[tuple[int, int]], *, total: int | None = None) -> Agreement:
    """Compares clocks: each says an interval that holds the truth if it is right (Marzullo 1984; RFC 5905, 11.2.1).

    Args:
        readings: The offset and the uncertainty of each clock that says anything, nanoseconds.
        total: How many clocks there are, 1 to 64; the silent ones count as false. None: as many as there are readings.

    Returns:
        The first and the last offset that a strict majority shares, and who can be right. If a majority is right, the
        truth lies between.

    Raises:
        TypeError: It is no sequence of pairs of ints.
        InputError: There are none or too many clocks, or a number is out of range.
        UnavailableError: No strict majority has an offset in common.

    Example:
        >>> intersect([(0, 10), (4, 10), (-3, 10), (5_000, 10)])
        Agreement(earliest_ns=-6, latest_ns=7, right=[0, 1, 2], wrong=[3])
        >>> intersect([(0, 9), (1, 9), (5_000, 9), (5_001, 9)])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        city_chain.errors.UnavailableError: tnh: no majority: of 4 clocks, at most 2 can be right together: ...
    """
    return Agreement(*_native.tnh_intersect(readings, len(readings) if total is None else total))


def pack(ms: int, counter: int) -> int:
    """A stamp of its parts.

    Args:
        ms: Unix milliseconds, 0 to 2**48 - 1.
        counter: 0 to 65535.

    Returns:
        The stamp.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> hex(pack(1, 2))
        '0x10002'
    """
    return _native.hlc_pack(ms, counter)


def ms(stamp: int) -> int:
    """The Unix milliseconds of a stamp.

    Args:
        stamp: 0 to 2**64 - 1.

    Returns:
        Milliseconds.

    Raises:
        InputError: The stamp is out of range.

    Example:
        >>> ms(pack(1_800_000_000_000, 7))
        1800000000000
    """
    return _native.hlc_ms(stamp)


def counter(stamp: int) -> int:
    """The counter of a stamp.

    Args:
        stamp: 0 to 2**64 - 1.

    Returns:
        0 to 65535.

    Raises:
        InputError: The stamp is out of range.

    Example:
        >>> counter(pack(1_800_000_000_000, 7))
        7
    """
    return _native.hlc_counter(stamp)
