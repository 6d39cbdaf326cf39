"""What every storage accepts as keys and values, and how it refuses the rest.

One place, so that all storages refuse the same arguments with the same words. Sizes are those of `ports.Storage`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from city_chain.errors import InputError

__all__ = [
    "KEY_BYTES_MAX",
    "VALUE_BYTES_MAX",
    "checked_bounds",
    "checked_items",
    "checked_key",
    "checked_keys",
    "checked_value",
    "prefix_end",
]

KEY_BYTES_MAX = 512
"""Longest key, bytes (the port's contract)."""

VALUE_BYTES_MAX = 256 << 20
"""Longest value, bytes (the port's contract)."""


def checked_key(key: bytes, bytes_max: int = KEY_BYTES_MAX) -> bytes:
    """Returns `key` if it may be one.

    Args:
        key: What is to be a key.
        bytes_max: The longest that is allowed, bytes.

    Raises:
        TypeError: It is not `bytes`.
        InputError: It is empty or too long.

    Example:
        >>> checked_key(b"tx/1")
        b'tx/1'
    """
    if not isinstance(key, bytes):
        raise TypeError(f"a key must be bytes, not {type(key).__name__}")
    if not 0 < len(key) <= bytes_max:
        raise InputError(f"a key has 1 to {bytes_max} bytes, this one has {len(key)}")
    return key


def checked_value(value: bytes) -> bytes:
    """Returns `value` if it may be one.

    Raises:
        TypeError: It is not `bytes`.
        InputError: It is longer than `VALUE_BYTES_MAX`.

    Example:
        >>> checked_value(b"")
        b''
    """
    if not isinstance(value, bytes):
        raise TypeError(f"a value must be bytes, not {type(value).__name__}")
    if len(value) > VALUE_BYTES_MAX:
        raise InputError(f"a value has at most {VALUE_BYTES_MAX} bytes, this one has {len(value)}")
    return value


def checked_keys(keys: Iterable[bytes], bytes_max: int = KEY_BYTES_MAX) -> list[bytes]:
    """Returns the keys as a list of the caller's own, each one checked.

    Raises:
        TypeError: It is not iterable, or one is not `bytes`.
        InputError: One is empty or too long.

    Example:
        >>> checked_keys((b"a", b"b"))
        [b'a', b'b']
    """
    own = list(keys)
    if not _all_within(own, 1, bytes_max):
        for key in own:
            checked_key(key, bytes_max)
    return own


def checked_items(items: Mapping[bytes, bytes], bytes_max: int = KEY_BYTES_MAX) -> dict[bytes, bytes]:
    """Returns the pairs as a dict of the caller's own, each one checked.

    Raises:
        TypeError: It is not a mapping, or a key or a value is not `bytes`.
        InputError: A key or a value has a length that is not allowed.

    Example:
        >>> checked_items({b"a": b"1"})
        {b'a': b'1'}
    """
    if not isinstance(items, Mapping):
        raise TypeError(f"items must be a mapping of bytes to bytes, not {type(items).__name__}")
    own = dict(items)
    if not (_all_within(own, 1, bytes_max) and _all_within(own.values(), 0, VALUE_BYTES_MAX)):
        for key, value in own.items():
            checked_key(key, bytes_max)
            checked_value(value)
    return own


def _all_within(parts: Collection[object], least: int, most: int) -> bool:
    """Whether all are `bytes` of an allowed length, found out without a loop here."""
    if not parts:
        return True
    if set(map(type, parts)) != {bytes}:
        return False
    lengths = list(map(len, cast("Collection[bytes]", parts)))
    return least <= min(lengths) and max(lengths) <= most


def checked_bounds(prefix: bytes, after: bytes | None, limit: int | None, bytes_max: int = KEY_BYTES_MAX) -> None:
    """Checks the arguments of a scan. An empty prefix means every key.

    Raises:
        TypeError: One has the wrong type.
        InputError: A prefix or `after` is too long, or the limit is negative.

    Example:
        >>> checked_bounds(b"tx/", None, 10)
    """
    for name, part in (("prefix", prefix), ("after", after)):
        if part is None and name == "after":
            continue
        if not isinstance(part, bytes):
            raise TypeError(f"{name} must be bytes, not {type(part).__name__}")
        if len(part) > bytes_max:
            raise InputError(f"{name} has at most {bytes_max} bytes, this one has {len(part)}")
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit must be an int or None, not {type(limit).__name__}")
    if limit < 0:
        raise InputError(f"limit must be 0 or more, not {limit}")


def prefix_end(prefix: bytes) -> bytes | None:
    r"""Returns the smallest byte string above every key that starts with `prefix`; None when nothing is above.

    Example:
        >>> prefix_end(b"a"), prefix_end(b"a\xff"), prefix_end(b"\xff")
        (b'b', b'b', None)
    """
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else None
