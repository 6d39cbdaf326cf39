"""TNH: time. Here its hybrid logical clock (Kulkarni, Demirbas, Madeppa, Avva, Leone 2014).

A stamp is one int below 2**64: 48 bits of Unix milliseconds above a 16-bit counter. Stamps compare as numbers and
respect causality: what was sent before it was received has the smaller stamp, whatever the clocks show.

Example:
    >>> here, there = Hlc(), Hlc()
    >>> sent = here.now(1_800_000_000_100)
    >>> received = there.update(sent, 1_800_000_000_000)  # this clock is 100 ms behind
    >>> received > sent
    True
"""

from __future__ import annotations

from city_chain import _native
from city_chain._native import Hlc

__all__ = ["Hlc", "counter", "ms", "pack"]


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
