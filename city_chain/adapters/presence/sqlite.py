"""Presence that survives a restart, in a SQLite file or in any other storage.

Every change is one durable commit. A renewal is not: it would cost a disk sync per node and lease, and after a restart
it would mean nothing, since the instants of a monotonic clock end with their process. So a lease is kept as its length:
after reopening, all leases and tombstones count anew from the first call's `now`. A node that vanished may thus be
listed for one more lease; a tombstone may last longer, never shorter.

One presence at a time may use a storage: the table is held in memory and written through.

Layout: the key ``n`` + node id holds a row, the key ``r`` the revision, all under the prefix ``presence/``. A row is
version u8, kind u8 (0 tombstone, 1 entry), sequence u64, revision u64, lease f64, region's length u16, region, record;
little-endian. It is neither hashed nor signed nor sent.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from city_chain.adapters.presence.leases import (
    NODE_BYTES_MAX,
    RECORD_BYTES_MAX,
    REGION_BYTES_MAX,
    Check,
    LeaseTable,
    Limits,
    Row,
)
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import StorageError
from city_chain.ports import Storage

__all__ = ["Limits", "SqlitePresence"]

_PREFIX = b"presence/"
_ROW_PREFIX = b"n"
_REVISION_KEY = b"r"
_REVISION_BYTES = 8
_ROW_VERSION = 1
_HEAD = struct.Struct("<BBQQdH")


class SqlitePresence(LeaseTable):
    """A presence that keeps the contract of `ports.Presence` and what it was told.

    Args:
        where: The path of a SQLite file, opened and closed with the presence, or an open storage to live in.
        limits: What to grant and to hold.
        check: Raises where an entry's record is not right; None: records are not judged here. What a storage holds
            already was taken in once, and is not checked again.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: A limit or the path is out of range.
        StorageError: The file cannot be opened, or what it holds is damaged or of a newer version.

    Example:
        >>> import tempfile
        >>> from city_chain.ports import PresenceEntry
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with SqlitePresence(folder + "/presence.db") as presence:
        ...         revision, lease_s = presence.register(900.0, PresenceEntry(b"n1", "tokyo", 1, b"signed"), ttl=30.0)
        ...     with SqlitePresence(folder + "/presence.db") as presence:
        ...         early, late = presence.list(2.0, "tokyo"), presence.list(32.0, "tokyo")
        >>> [entry.node for entry in early.entries], late.entries
        ([b'n1'], [])
    """

    def __init__(
        self,
        where: str | os.PathLike[str] | Storage,
        limits: Limits = Limits(),  # noqa: B008
        check: Check | None = None,
    ) -> None:
        super().__init__(limits, self._keep, check)
        self._owned: SqliteStorage | None = None
        if isinstance(where, Storage):
            storage: Storage = where
        else:
            storage = self._owned = SqliteStorage(where)
        self._storage = NamespacedStorage(storage, _PREFIX)
        self._unplaced: dict[bytes, Row] = {}  # rows as loaded, until the first instant is known
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Releases the list, and the file if the presence opened it. Closing twice is allowed."""
        super().close()
        self._storage.close()
        if self._owned is not None:
            self._owned.close()

    def _begin(self, now: float) -> None:
        super()._begin(now)
        if self._unplaced:
            loaded, self._unplaced = self._unplaced, {}
            for node, row in loaded.items():
                self._place(node, row._replace(deadline=self._now + row.lease_s))

    def _keep(self, rows: Mapping[bytes, Row | None], revision: int) -> None:
        items = {_ROW_PREFIX + node: _packed(row) for node, row in rows.items() if row is not None}
        gone = [_ROW_PREFIX + node for node, row in rows.items() if row is None]
        items[_REVISION_KEY] = revision.to_bytes(_REVISION_BYTES, "little")
        self._storage.put_many(items, delete=gone)

    def _load(self) -> None:
        revision = self._storage.get_many([_REVISION_KEY])[0]
        if revision is None:
            return
        if len(revision) != _REVISION_BYTES:
            raise StorageError(f"the presence's revision is damaged ({len(revision)} bytes, not {_REVISION_BYTES})")
        self._revision = int.from_bytes(revision, "little") + 1  # hidden entries are listed again: another list
        self._keep({}, self._revision)
        for key, value in self._storage.scan(_ROW_PREFIX):
            node = key[len(_ROW_PREFIX) :]
            self._unplaced[node] = _unpacked(node, value, self._keep_s)


def _packed(row: Row) -> bytes:
    region = (row.region or "").encode()
    listed = row.region is not None
    return _HEAD.pack(_ROW_VERSION, listed, row.sequence, row.revision, row.lease_s, len(region)) + region + row.record


def _unpacked(node: bytes, value: bytes, keep_s: float) -> Row:
    """Reads a row; the lease of a tombstone is how long it is kept. Raises StorageError when it cannot be one."""
    problem = f"the presence's row of node {node.hex()} is damaged"
    if len(value) < _HEAD.size or not 0 < len(node) <= NODE_BYTES_MAX:
        raise StorageError(f"{problem} ({len(value)} bytes)")
    version, kind, sequence, revision, lease_s, region_bytes = _HEAD.unpack_from(value)
    if version != _ROW_VERSION:
        raise StorageError(f"the presence's rows have version {version}, this city-chain reads {_ROW_VERSION}")
    end = _HEAD.size + region_bytes
    sizes_fit = end <= len(value) <= end + RECORD_BYTES_MAX and region_bytes <= REGION_BYTES_MAX
    kind_fits = (kind == 1 and region_bytes > 0 and lease_s > 0) or (kind == 0 and len(value) == _HEAD.size)
    if not sizes_fit or not kind_fits:
        raise StorageError(f"{problem} (kind {kind}, region of {region_bytes} bytes, lease {lease_s} s)")
    try:
        region = value[_HEAD.size : end].decode() if kind else None
    except UnicodeDecodeError as cause:
        raise StorageError(f"{problem} (its region is not UTF-8)") from cause
    return Row(sequence, region, value[end:], revision, lease_s if kind else keep_s, 0.0)
