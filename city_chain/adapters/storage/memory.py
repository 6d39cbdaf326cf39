"""Storage in memory: a dict and an ordered list of its keys. Gone with the process; for tests and simulations.

A write costs a dict entry. The ordered list is brought up to date by the next scan: a few new keys are put in their
place one by one, many are sorted in. A removed key stays in the list, marked, until such keys are half of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Self

from city_chain.adapters.storage.limits import (
    checked_bounds,
    checked_items,
    checked_key,
    checked_keys,
    checked_value,
    prefix_end,
)
from city_chain.errors import StorageError

__all__ = ["MemoryStorage"]

_PAGE_ROWS = 256
"""Keys a scan looks at while it holds the lock."""

_SORT_FROM = 16
"""New keys are sorted in together when they are more than one in this many of those already in order."""

_STALE_MIN = 1024
"""Fewer removed keys than this are never worth a rebuild of the list."""


class MemoryStorage:
    """An ordered map in memory that keeps the contract of `ports.Storage`, save durability.

    Example:
        >>> storage = MemoryStorage()
        >>> storage.put_many({b"tx/2": b"two", b"tx/1": b"one", b"z": b"last"})
        >>> list(storage.scan(b"tx/"))
        [(b'tx/1', b'one'), (b'tx/2', b'two')]
        >>> storage.put_if(b"z", b"new", expected=b"old")
        False
        >>> storage.get_many([b"z", b"absent"])
        [b'last', None]
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._map: dict[bytes, bytes] = {}
        self._order: list[bytes] = []  # sorted; holds every key of _map that is not in _fresh, and every _stale one
        self._fresh: list[bytes] = []  # keys not yet in _order, unsorted
        self._stale: set[bytes] = set()  # keys in _order or _fresh that are no longer in _map
        self._closed = False

    @property
    def durable(self) -> bool:
        """False: nothing outlives the process."""
        return False

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys` in their order; None where there is none.

        Raises:
            TypeError: A key is not `bytes`.
            InputError: A key has a length that is not allowed.
            StorageError: The storage is closed.
        """
        wanted = checked_keys(keys)
        with self._lock:
            self._check_open()
            return [self._map.get(key) for key in wanted]

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Writes all `items` and removes all of `delete`, at once. A key in both is written.

        Raises:
            TypeError: A key or a value is not `bytes`.
            InputError: A key or a value has a length that is not allowed.
            StorageError: The storage is closed.
        """
        own = checked_items(items)
        gone = checked_keys(delete)
        with self._lock:
            self._check_open()
            for key in gone:
                if key not in own:
                    self._remove(key)
            for key, value in own.items():
                self._put(key, value)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """The same as `put_many`: there is no disk to wait for. Errors as there."""
        self.put_many(items, delete=delete)

    def sync(self) -> None:
        """Does nothing: nothing here is ever durable.

        Raises:
            StorageError: The storage is closed.
        """
        self._check_open()

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Removes `keys`, at once; absent ones are ignored. Errors as in `put_many`."""
        self.put_many({}, delete=keys)

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        """Writes `value` if the present value equals `expected` (None: absent); returns whether it did.

        Errors as in `put_many`.
        """
        checked_key(key)
        checked_value(value)
        if expected is not None:
            checked_value(expected)
        with self._lock:
            self._check_open()
            if self._map.get(key) != expected:
                return False
            self._put(key, value)
            return True

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key starts with `prefix` (and is greater than `after`) in ascending key order.

        Arguments are checked at once; each page of keys is read when the iteration reaches it.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: `prefix` or `after` is too long, or `limit` is negative.
            StorageError: The storage is closed.
        """
        checked_bounds(prefix, after, limit)
        self._check_open()
        return self._pages(prefix, after, limit)

    def close(self) -> None:
        """Drops everything. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            self._map, self._order, self._fresh, self._stale = {}, [], [], set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the memory storage is closed; make a new one")

    def _put(self, key: bytes, value: bytes) -> None:
        if key not in self._map:
            if key in self._stale:
                self._stale.discard(key)
            else:
                self._fresh.append(key)
        self._map[key] = value

    def _remove(self, key: bytes) -> None:
        if self._map.pop(key, None) is not None:
            self._stale.add(key)

    def _pages(self, prefix: bytes, after: bytes | None, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
        end = prefix_end(prefix)
        left = limit
        while left is None or left > 0:
            with self._lock:
                self._check_open()
                page, last = self._page(prefix, after, end, _PAGE_ROWS if left is None else min(left, _PAGE_ROWS))
            yield from page
            if last is None:
                return
            after = last
            if left is not None:
                left -= len(page)

    def _page(
        self, prefix: bytes, after: bytes | None, end: bytes | None, rows: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """The next pairs and the last key looked at; None as that key when there are no more."""
        self._bring_up_to_date()
        order = self._order
        low = bisect_left(order, prefix)
        if after is not None:
            low = max(low, bisect_right(order, after))
        high = len(order) if end is None else bisect_left(order, end)
        seen = order[low : min(low + rows, high)]
        page = [(key, self._map[key]) for key in seen if key not in self._stale]
        return page, seen[-1] if low + rows < high else None

    def _bring_up_to_date(self) -> None:
        if len(self._stale) > max(_STALE_MIN, len(self._map)):
            self._order, self._fresh, self._stale = sorted(self._map), [], set()
        elif len(self._fresh) * _SORT_FROM > len(self._order):
            self._order += self._fresh
            self._order.sort()
            self._fresh = []
        else:
            for key in self._fresh:
                insort(self._order, key)
            self._fresh = []
