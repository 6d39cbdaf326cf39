"""Entropy: the system's, and a repeatable one for tests and simulations."""

from __future__ import annotations

import hashlib
import os
from threading import Lock

from city_chain.errors import InputError

__all__ = ["OsEntropy", "SeededEntropy"]

_COUNT_MAX = 16 << 20
"""Most bytes that one call gives."""

_SEED_BYTES_MAX = 1024
"""Longest seed, bytes."""


class OsEntropy:
    """Randomness of the operating system, fit for keys.

    Example:
        >>> entropy = OsEntropy()
        >>> len(entropy.bytes(32)), entropy.bytes(32) == entropy.bytes(32)
        (32, False)
    """

    def bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can predict.

        Raises:
            TypeError: `count` is not an int.
            InputError: It is not 0 to 16 MiB.
        """
        return os.urandom(_checked_count(count))


class SeededEntropy:
    """Repeatable bytes: the same seed gives the same stream. **Not secret**: whoever knows the seed knows all of it.

    For tests and simulations only; a key made with it is a published key. The stream is SHAKE-256 of the seed and the
    number of the call, so two calls never give the same bytes. Safe to use from several threads, but then the order of
    the calls decides who gets what.

    Args:
        seed: An int of 0 or more, or up to 1024 bytes.

    Raises:
        TypeError: The seed is neither.
        InputError: It is negative or too long.

    Example:
        >>> SeededEntropy(7).bytes(4) == SeededEntropy(7).bytes(4)
        True
        >>> stream = SeededEntropy(7)
        >>> stream.bytes(4) == stream.bytes(4)
        False
    """

    def __init__(self, seed: int | bytes = 0) -> None:
        self._seed = _checked_seed(seed)
        self._calls = 0
        self._lock = Lock()

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes of the stream. Errors as for `OsEntropy.bytes`."""
        checked = _checked_count(count)
        with self._lock:
            call = self._calls
            self._calls += 1
        return hashlib.shake_256(self._seed + call.to_bytes(8, "little")).digest(checked)


def _checked_count(count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"count must be an int, not {type(count).__name__}")
    if not 0 <= count <= _COUNT_MAX:
        raise InputError(f"count must be 0 to {_COUNT_MAX}, not {count}")
    return count


def _checked_seed(seed: int | bytes) -> bytes:
    if isinstance(seed, bool) or not isinstance(seed, int | bytes):
        raise TypeError(f"a seed must be an int or bytes, not {type(seed).__name__}")
    if isinstance(seed, int) and seed < 0:
        raise InputError(f"a seed must be 0 or more, not {seed}")
    length = (seed.bit_length() + 7) // 8 if isinstance(seed, int) else len(seed)
    if length > _SEED_BYTES_MAX:
        raise InputError(f"a seed has at most {_SEED_BYTES_MAX} bytes, this one has {length}")
    return b"int:" + seed.to_bytes(length, "little") if isinstance(seed, int) else b"bytes:" + seed
