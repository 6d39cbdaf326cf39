"""What a presence may be given, and the limits of one."""

from __future__ import annotations

from typing import NamedTuple

from city_chain.errors import InputError
from city_chain.ports import PresenceEntry

__all__ = [
    "NODE_BYTES_MAX",
    "RECORD_BYTES_MAX",
    "REGION_BYTES_MAX",
    "SEQUENCE_MAX",
    "Limits",
    "checked_entry",
    "checked_instant",
    "checked_int",
    "checked_limits",
    "checked_node",
    "checked_region",
    "checked_ttl",
]

NODE_BYTES_MAX = 64
"""Longest node id, bytes."""

REGION_BYTES_MAX = 256
"""Longest region name, bytes of UTF-8."""

RECORD_BYTES_MAX = 16 << 10
"""Longest signed record, bytes: room for post-quantum keys and signatures."""

SEQUENCE_MAX = (1 << 64) - 1
"""Highest sequence number."""

_SECONDS_MAX = 1e12
"""Latest instant and longest lease that make sense, seconds."""


class Limits(NamedTuple):
    """What one presence grants and holds.

    Args:
        ttl_s_max: Longest lease granted, seconds.
        drift_s: How far clocks may be apart; tombstones last this much longer, seconds.
        region_entries_max: Most live entries of one region.
        rows_max: Most rows in all: entries and tombstones.
        record_bytes_max: Longest record, bytes, at most `RECORD_BYTES_MAX`.
        history_max: How many changes are remembered for those who follow a region; 0: everybody starts anew each time.

    Example:
        >>> Limits().ttl_s_max
        3600.0
    """

    ttl_s_max: float = 3600.0
    drift_s: float = 5.0
    region_entries_max: int = 100_000
    rows_max: int = 1_000_000
    record_bytes_max: int = RECORD_BYTES_MAX
    history_max: int = 65_536


def checked_limits(limits: Limits) -> Limits:
    """The limits of a presence, or TypeError or InputError."""
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
    checked_ttl(limits.ttl_s_max)
    if checked_instant(limits.drift_s) < 0:
        raise InputError(f"drift_s must be 0 or more, not {limits.drift_s}")
    checked_int("region_entries_max", limits.region_entries_max, SEQUENCE_MAX, least=1)
    checked_int("rows_max", limits.rows_max, SEQUENCE_MAX, least=1)
    checked_int("record_bytes_max", limits.record_bytes_max, RECORD_BYTES_MAX)
    checked_int("history_max", limits.history_max, SEQUENCE_MAX)
    return limits


def checked_entry(entry: PresenceEntry, record_bytes_max: int) -> None:
    """An entry, or TypeError or InputError."""
    if not isinstance(entry, PresenceEntry):
        raise TypeError(f"entry must be a ports.PresenceEntry, not {type(entry).__name__}")
    checked_node(entry.node)
    checked_region(entry.region)
    checked_int("sequence", entry.sequence, SEQUENCE_MAX)
    if not isinstance(entry.record, bytes):
        raise TypeError(f"a record must be bytes, not {type(entry.record).__name__}")
    if len(entry.record) > record_bytes_max:
        raise InputError(f"a record has at most {record_bytes_max} bytes, this one has {len(entry.record)}")


def checked_node(node: bytes, what: str = "a node id") -> bytes:
    """A node id, or TypeError or InputError."""
    if not isinstance(node, bytes):
        raise TypeError(f"{what} must be bytes, not {type(node).__name__}")
    if not 0 < len(node) <= NODE_BYTES_MAX:
        raise InputError(f"{what} has 1 to {NODE_BYTES_MAX} bytes, this one has {len(node)}")
    return node


def checked_region(region: str) -> None:
    """A region, or TypeError or InputError."""
    if not isinstance(region, str):
        raise TypeError(f"a region must be a str, not {type(region).__name__}")
    if not 0 < len(region) <= REGION_BYTES_MAX:
        raise InputError(f"a region has 1 to {REGION_BYTES_MAX} bytes of UTF-8, this one has {len(region)} characters")
    try:
        length = len(region.encode())
    except UnicodeEncodeError as cause:
        raise InputError(f"a region must be text that UTF-8 can write, not {region!r}") from cause
    if length > REGION_BYTES_MAX:
        raise InputError(f"a region has 1 to {REGION_BYTES_MAX} bytes of UTF-8, this one has {length}")


def checked_int(name: str, value: int, most: int, least: int = 0) -> None:
    """A whole number within bounds, or TypeError or InputError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise InputError(f"{name} must be {least} to {most}, not {value}")


def checked_instant(now: float) -> float:
    """An instant, or TypeError or InputError."""
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise TypeError(f"an instant must be a number of seconds, not {type(now).__name__}")
    if not abs(now) <= _SECONDS_MAX:
        raise InputError(f"an instant must be within {_SECONDS_MAX:g} seconds of 0, not {now}")
    return float(now)


def checked_ttl(ttl: float) -> float:
    """A lease asked for, or TypeError or InputError."""
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl must be a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl <= _SECONDS_MAX:
        raise InputError(f"ttl must be above 0 and at most {_SECONDS_MAX:g} seconds, not {ttl}")
    return float(ttl)
