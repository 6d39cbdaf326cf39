"""The journal of an agreement machine: numbered rows in a node's own space, now and then replaced by one snapshot."""

from __future__ import annotations

from collections.abc import Callable

from city_chain.ports import Storage

__all__ = ["Journal"]

_RECORDS_MAX = 64


class Journal:
    """Rows under a prefix, in the order in which they were added.

    A row is due until `written` is called: should a write fail, the next one has it again.

    Args:
        storage: Where the rows are.
        prefix: What is in front of their numbers (8 bytes, big-endian).

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> journal = Journal(MemoryStorage(), b"j")
        >>> journal.add(b"one")
        >>> list(journal.due()[0].values())
        [b'one']
    """

    def __init__(self, storage: Storage, prefix: bytes) -> None:
        self._prefix = prefix
        found = list(storage.scan(prefix))
        self._keys = [key for key, _ in found]
        self.records = [row for _, row in found]
        """What was there at the beginning, in order."""
        self._next = 1 + int.from_bytes(self._keys[-1][len(prefix) :], "big") if found else 0
        self._due: dict[bytes, bytes] = {}
        self._gone: list[bytes] = []

    def add(self, record: bytes) -> None:
        """A record that is to be written."""
        self._due[self._prefix + self._next.to_bytes(8, "big")] = record
        self._next += 1

    def compact(self, snapshot: Callable[[], bytes]) -> None:
        """Puts a snapshot in the place of all rows, where they have become many."""
        if len(self._keys) + len(self._due) > _RECORDS_MAX:
            self._due.clear()
            self.add(snapshot())
            self._gone, self._keys = [*self._gone, *self._keys], []

    def clear(self) -> None:
        """All rows are to go."""
        self._due.clear()
        self._gone, self._keys = [*self._gone, *self._keys], []

    def due(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """What must be written, and what is to be deleted with it."""
        return dict(self._due), list(self._gone)

    def written(self) -> None:
        """What was due is written."""
        self._keys += self._due
        self._due.clear()
        self._gone.clear()
