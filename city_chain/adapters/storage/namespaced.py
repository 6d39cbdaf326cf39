"""A storage inside a storage: every key gets a prefix.

Several parts of a program share one engine, hence one file and one commit, without seeing each other's keys. Prefixes
must not start with one another (``b"n/1/"`` and ``b"n/10/"`` are apart, ``b"n/1"`` and ``b"n/10"`` are not).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from city_chain.adapters.storage.limits import (
    KEY_BYTES_MAX,
    checked_bounds,
    checked_items,
    checked_key,
    checked_keys,
    checked_value,
)
from city_chain.errors import InputError, StorageError
from city_chain.ports import DeferringStorage, Storage

__all__ = ["NamespacedStorage"]

_PREFIX_BYTES_MAX = KEY_BYTES_MAX - 128
"""Leaves every namespace keys of at least 128 bytes."""


class NamespacedStorage:
    """The part of `storage` whose keys start with `prefix`, as a storage of its own. Its keys do not show the prefix.

    Args:
        storage: Where the pairs live. `close` does not close it.
        prefix: 1 to 384 bytes. Keys of the namespace have at most 512 bytes less the prefix.

    Raises:
        TypeError: `storage` is no `ports.Storage`, or `prefix` is not `bytes`.
        InputError: The prefix has a length that is not allowed.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> whole = MemoryStorage()
        >>> part = NamespacedStorage(whole, b"node/7/")
        >>> part.put_many({b"a": b"1"})
        >>> list(part.scan(b"")), list(whole.scan(b""))
        ([(b'a', b'1')], [(b'node/7/a', b'1')])
    """

    def __init__(self, storage: Storage, prefix: bytes) -> None:
        if not isinstance(storage, Storage):
            raise TypeError(f"storage must be a ports.Storage, not {type(storage).__name__}")
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix must be bytes, not {type(prefix).__name__}")
        if not 0 < len(prefix) <= _PREFIX_BYTES_MAX:
            raise InputError(f"a prefix has 1 to {_PREFIX_BYTES_MAX} bytes, this one has {len(prefix)}")
        self._inner = storage
        self._deferring = storage if isinstance(storage, DeferringStorage) else None
        self._prefix = prefix
        self._key_bytes_max = KEY_BYTES_MAX - len(prefix)
        self._closed = False

    @property
    def durable(self) -> bool:
        """Whether the inner storage is durable."""
        return self._inner.durable

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys` in their order; None where there is none. Errors are those of `ports.Storage`."""
        wanted = checked_keys(keys, self._key_bytes_max)
        self._check_open()
        return self._inner.get_many([self._prefix + key for key in wanted])

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Writes all `items` and removes all of `delete`, at once. Errors are those of `ports.Storage`."""
        own, gone = self._prefixed(items, delete)
        self._inner.put_many(own, delete=gone)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """As `ports.DeferringStorage` has it; where the inner storage cannot defer, `put_many`. Errors as there."""
        own, gone = self._prefixed(items, delete)
        if self._deferring is not None:
            self._deferring.defer_many(own, delete=gone)
        else:
            self._inner.put_many(own, delete=gone)

    def sync(self) -> None:
        """Returns when everything that was written to the inner storage is durable. Errors as in `put_many`."""
        self._check_open()
        if self._deferring is not None:
            self._deferring.sync()

    def _prefixed(
        self, items: Mapping[bytes, bytes], delete: Iterable[bytes]
    ) -> tuple[dict[bytes, bytes], list[bytes]]:
        own = checked_items(items, self._key_bytes_max)
        gone = checked_keys(delete, self._key_bytes_max)
        self._check_open()
        prefix = self._prefix
        return {prefix + key: value for key, value in own.items()}, [prefix + key for key in gone]

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Removes `keys`, at once; absent ones are ignored. Errors are those of `ports.Storage`."""
        gone = checked_keys(keys, self._key_bytes_max)
        self._check_open()
        self._inner.delete_many([self._prefix + key for key in gone])

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        """Writes `value` if the present value equals `expected` (None: absent); returns whether it did.

        Errors are those of `ports.Storage`.
        """
        checked_key(key, self._key_bytes_max)
        checked_value(value)
        self._check_open()
        return self._inner.put_if(self._prefix + key, value, expected)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key starts with `prefix` (and is greater than `after`) in ascending key order.

        Errors are those of `ports.Storage`.
        """
        checked_bounds(prefix, after, limit, self._key_bytes_max)
        self._check_open()
        return self._stripped(
            self._inner.scan(self._prefix + prefix, after=None if after is None else self._prefix + after, limit=limit)
        )

    def close(self) -> None:
        """Ends the use of this namespace; the inner storage stays open. Closing twice is allowed."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the namespace {self._prefix!r} is closed; make a new one")

    def _stripped(self, pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        skip = len(self._prefix)
        for key, value in pairs:
            self._check_open()
            yield key[skip:], value
