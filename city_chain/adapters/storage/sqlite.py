"""Storage in one SQLite file: every writing call is one commit, and every one but a deferred one is synced.

- WAL with ``synchronous=FULL``: what a call wrote survives the loss of power once the call has returned.
- `defer_many` commits with ``synchronous=NORMAL``: its frames are in the log, which is read up to the first frame that
  is torn or missing, so what survives is what came before some moment. The next synced commit syncs the whole log.
- One connection writes, under a lock. Readers take a connection of their own from a pool and never wait for a writer.
- A call with up to 64 pairs is one statement, so the interpreter lock is released and taken again once, not per pair.
- Checkpoints (moving the log into the file) run beside the commits: a short-lived thread starts when about 16 MiB have
  been logged, copies most of it while writers go on, then holds them off for the small rest. A writer that outruns it
  by 64 MiB does the work itself. A reader of another program that keeps a transaction open holds the log back.
- Two processes may use one file; single calls are atomic between them. A storage must not be used across `os.fork`.
- The file is made with mode 0600.

The bits of a value are not checked here: whoever stores what must not rot hashes it.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock, Thread, current_thread
from typing import Any, Self

from city_chain.adapters.storage.limits import (
    checked_bounds,
    checked_items,
    checked_key,
    checked_keys,
    checked_value,
    prefix_end,
)
from city_chain.adapters.storage.sqlite_file import PAGE_BYTES, connect, prepare, storage_error, sync_log
from city_chain.errors import InputError, StorageError

__all__ = ["SqliteStorage"]

_ROWS_PER_STATEMENT = 64
"""Pairs written, read or removed by one statement."""

_SCAN_ROWS = 256
"""Pairs a scan reads at a time, at most."""

_SCAN_BYTES = 1 << 20
"""A scan's page ends once it holds this many bytes of values."""

_IDLE_READERS_MAX = 16
"""Reading connections kept open while nobody reads."""

_CHECKPOINT_PAGES = 4096
"""Pages logged (about 16 MiB) after which a checkpoint starts. SQLite's own default is 1000: then a checkpoint, which
syncs the file, would run beside most commits and slow them down."""

_CHECKPOINT_PAGES_MAX = 4 * _CHECKPOINT_PAGES
"""Pages logged at which the writer stops to do the checkpoint itself."""

_PAGES_PER_ROW = 3
"""Pages that writing one small pair dirties: a leaf of the table, one of the index, one of the free list."""

_TIMEOUT_S_MAX = 3600.0
"""Longest wait for a lock, seconds."""

_Statement = tuple[str, Sequence[bytes]]


class SqliteStorage:
    """An ordered, durable map in one SQLite file that keeps the contract of `ports.Storage`.

    Args:
        path: The file. Its folder must exist.
        create: Whether to make the file when it is absent or empty.
        read_only: Whether to refuse all writing. The folder must still let SQLite keep its shared-memory file there.
        timeout_s: How long to wait for the locks of other processes, 0 to 3600 seconds.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: The path is empty or holds a NUL, or the timeout is out of range.
        StorageError: The file cannot be opened or made, is damaged, of another program or of a newer version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with SqliteStorage(folder + "/city.db") as storage:
        ...         storage.put_many({b"tx/1": b"one", b"tx/2": b"two"}, delete=[b"tx/0"])
        ...     with SqliteStorage(folder + "/city.db", create=False) as storage:
        ...         list(storage.scan(b"tx/", after=b"tx/1"))
        [(b'tx/2', b'two')]
    """

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, read_only: bool = False, timeout_s: float = 5.0
    ) -> None:
        self._closed = True  # until all is well, for __del__
        self._path = _checked_path(path)
        for name, flag in (("create", create), ("read_only", read_only)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be a bool, not {type(flag).__name__}")
        self._read_only = read_only
        self._timeout_s = _checked_timeout(timeout_s)
        first = prepare(self._path, create=create, read_only=read_only, timeout_s=self._timeout_s)
        self._writer: sqlite3.Connection | None = None if read_only else first
        self._readers: deque[sqlite3.Connection] = deque([first] if read_only else [])
        self._pid = os.getpid()
        self._file = self._identity()
        self._write_lock = Lock()
        self._logged_pages = self._log_bytes() // PAGE_BYTES  # an estimate of what no checkpoint has moved yet
        self._checkpointer: Thread | None = None
        self._waits = True  # whether the writing connection syncs its commits
        self._deferred = self._logged_pages > 0  # whether there may be commits in the log that nobody has synced
        self._doubtful = False  # whether syncing failed while there were
        self._closed = False

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._path

    @property
    def durable(self) -> bool:
        """True: a writing call returns after its commit is synced to the file."""
        return True

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys` in their order, all of one state; None where there is none.

        Raises:
            TypeError: A key is not `bytes`.
            InputError: A key has a length that is not allowed.
            StorageError: The storage is closed or cannot be read.
        """
        wanted = checked_keys(keys)
        found = dict(self._read([(_select(len(part)), part) for part in _parts(wanted)]))
        return [found.get(key) for key in wanted]

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Writes all `items` and removes all of `delete` in one synced commit. A key in both is written.

        Raises:
            TypeError: A key or a value is not `bytes`.
            InputError: A key or a value has a length that is not allowed.
            StorageError: The storage is closed, read-only, full, locked or damaged; nothing was written.
        """
        self._put(items, delete, wait=True)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """As `put_many`, in a commit that is not synced: the next synced one makes it durable, as does `sync`.

        Errors as in `put_many`.
        """
        self._put(items, delete, wait=False)

    def sync(self) -> None:
        """Returns when every commit so far is synced; at once where that is so already.

        Raises:
            StorageError: The storage is closed, or the disk has failed.
        """
        self._check_usable()
        if self._read_only or not self._deferred:
            return
        with self._write_lock:
            self._check_usable()
            self._check_file()
            self._mend(self._writing_connection())
            self._sync_log()

    def _sync_log(self) -> None:
        """Syncs what was deferred, if there is anything. Called under the writer's lock."""
        if not self._deferred:
            return
        try:
            sync_log(self._path)
        except OSError as cause:
            self._doubtful = True
            raise StorageError(f"syncing {self._path}-wal failed: {cause.strerror}; check the disk") from cause
        self._deferred = False

    def _put(self, items: Mapping[bytes, bytes], delete: Iterable[bytes], *, wait: bool) -> None:
        own = checked_items(items)
        gone = [key for key in checked_keys(delete) if key not in own]
        statements: list[_Statement] = [(_delete(len(part)), part) for part in _parts(gone)]
        for part in _parts(list(own)):
            pairs: list[bytes] = []
            for key in part:
                pairs += (key, own[key])
            statements.append((_upsert(len(part)), pairs))
        self._write(statements, _pages(own.values()) + _PAGES_PER_ROW * len(gone), wait=wait)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Removes `keys` in one synced commit; absent ones are ignored. Errors as in `put_many`."""
        self.put_many({}, delete=keys)

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        """Writes `value` if the present value equals `expected` (None: absent); returns whether it did.

        Atomic between threads and between processes. Errors as in `put_many`.
        """
        checked_key(key)
        checked_value(value)
        if expected is None:
            statement: _Statement = (_INSERT_IF_ABSENT, (key, value))
        else:
            statement = (_UPDATE_IF_EQUAL, (value, key, checked_value(expected)))
        return self._write([statement], _pages([value]), is_same=value == expected) == 1

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key starts with `prefix` (and is greater than `after`) in ascending key order.

        Arguments are checked at once; each page of at most 256 pairs is read when the iteration reaches it.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: `prefix` or `after` is too long, or `limit` is negative.
            StorageError: The storage is closed or cannot be read.
        """
        checked_bounds(prefix, after, limit)
        self._check_usable()
        return self._scan_pages(prefix, after, limit)

    def close(self) -> None:
        """Closes all connections after the writing call under way. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # the connections belong to the parent process
        with self._write_lock:
            checkpointer = self._checkpointer  # started by now; the last writer has seen that the storage is closed
        if checkpointer is not None and checkpointer is not current_thread():
            checkpointer.join()
        with self._write_lock:
            self._close_readers()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    # --- reading ---

    def _read(self, statements: Sequence[_Statement]) -> list[tuple[bytes, bytes]]:
        """The rows of all statements, which see one state."""
        connection = self._take_reader()
        try:
            if len(statements) == 1:
                return connection.execute(*statements[0]).fetchall()
            connection.execute("BEGIN")
            rows: list[tuple[bytes, bytes]] = []
            for statement in statements:
                rows += connection.execute(*statement).fetchall()
            return rows
        except sqlite3.Error as cause:
            raise storage_error(self._path, "reading", cause) from cause
        finally:
            self._give_back(connection)

    def _scan_pages(self, prefix: bytes, after: bytes | None, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
        end = prefix_end(prefix)
        left = limit
        while left is None or left > 0:
            rows = _SCAN_ROWS if left is None else min(left, _SCAN_ROWS)
            page, more = self._scan_page(prefix, after, end, rows)
            yield from page
            if not more:
                return
            after = page[-1][0]
            if left is not None:
                left -= len(page)

    def _scan_page(
        self, prefix: bytes, after: bytes | None, end: bytes | None, rows: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The next pairs, and whether there may be more."""
        exclusive = after is not None and after >= prefix
        low = after if after is not None and exclusive else prefix
        bounds: list[Any] = [low] if end is None else [low, end]
        connection = self._take_reader()
        try:
            cursor = connection.execute(_SCANS[exclusive, end is not None], [*bounds, rows])
            page: list[tuple[bytes, bytes]] = []
            held = 0
            for row in cursor:
                page.append(row)
                held += len(row[1])
                if held >= _SCAN_BYTES:
                    break
            cursor.close()
            return page, len(page) == rows or held >= _SCAN_BYTES
        except sqlite3.Error as cause:
            raise storage_error(self._path, "reading", cause) from cause
        finally:
            self._give_back(connection)

    def _take_reader(self) -> sqlite3.Connection:
        self._check_usable()
        try:
            return self._readers.pop()
        except IndexError:
            pass
        try:
            return connect(self._path, read_only=self._read_only, query_only=True, timeout_s=self._timeout_s)
        except sqlite3.Error as cause:
            raise storage_error(self._path, "opening", cause) from cause

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            _roll_back(connection)
        if connection.in_transaction or len(self._readers) >= _IDLE_READERS_MAX:
            connection.close()
            return
        self._readers.append(connection)
        if self._closed:
            self._close_readers()

    def _close_readers(self) -> None:
        while self._readers:
            try:
                self._readers.pop().close()
            except IndexError:
                return  # another thread took the last one

    # --- writing ---

    def _write(self, statements: Sequence[_Statement], pages: int, *, wait: bool = True, is_same: bool = False) -> int:
        """Runs all statements in one commit, synced if `wait`; returns how many rows the last one changed.

        SQLite logs nothing, and so syncs nothing, for a commit that leaves every row as it was (`is_same`: this one
        does, though it counts as a change); what was deferred before is synced here then.
        """
        self._check_usable()
        if self._read_only:
            raise StorageError(f"{self._path} was opened with read_only=True; open it for writing")
        if not statements:
            if wait:
                self.sync()
            return 0
        with self._write_lock:
            self._check_usable()
            self._check_file()
            connection = self._writing_connection()
            self._mend(connection)
            try:
                self._set_waits(connection, wait)
                before = connection.total_changes
                changed = self._commit(connection, statements)
            except BaseException as cause:
                self._doubt(cause)
                self._abandon(connection)
                if isinstance(cause, sqlite3.Error):
                    raise storage_error(self._path, "writing", cause) from cause
                raise
            if is_same or connection.total_changes == before:
                if wait:
                    self._sync_log()
                return changed
            self._deferred = not wait
            self._logged_pages += pages
            if self._logged_pages >= _CHECKPOINT_PAGES:
                self._checkpoint_soon(connection)
        return changed

    def _set_waits(self, connection: sqlite3.Connection, wait: bool) -> None:
        """Makes the writing connection sync its commits, or not.

        NORMAL and not OFF: the log is still synced before a checkpoint copies from it and when it starts anew.
        """
        if wait != self._waits:
            # SQLite may carry a pragma out when it compiles it; a script is compiled each time, whatever is cached.
            connection.executescript(f"PRAGMA synchronous={'FULL' if wait else 'NORMAL'}")
            self._waits = wait

    def _doubt(self, cause: BaseException) -> None:
        """Notes that the disk has failed while there were commits that nobody had synced."""
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
            self._doubtful |= self._deferred

    def _mend(self, connection: sqlite3.Connection) -> None:
        """After a failed write the disk may have lost commits that were deferred before it, and would not say so again.

        The file system still shows them. They are copied into the file, which is synced; then the log starts anew.

        Raises:
            StorageError: That failed, too.
        """
        if not self._doubtful:
            return
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as cause:
            raise storage_error(self._path, "writing", cause) from cause
        if busy:
            raise StorageError(f"{self._path} failed before and cannot be mended while others read it; try again")
        self._doubtful = self._deferred = False
        self._logged_pages = 0

    @staticmethod
    def _commit(connection: sqlite3.Connection, statements: Sequence[_Statement]) -> int:
        if len(statements) == 1:
            return connection.execute(*statements[0]).rowcount  # one statement is a transaction of its own
        connection.execute("BEGIN IMMEDIATE")
        changed = 0
        for statement in statements:
            changed = connection.execute(*statement).rowcount
        connection.execute("COMMIT")
        return changed

    def _abandon(self, connection: sqlite3.Connection) -> None:
        """Undoes what a failed write began; a connection that cannot even do that is replaced."""
        if connection.in_transaction:
            _roll_back(connection)
        if connection.in_transaction:
            self._writer = None
            self._waits = True
            connection.close()

    def _writing_connection(self) -> sqlite3.Connection:
        if self._writer is None:
            try:
                self._writer = connect(self._path, read_only=False, query_only=False, timeout_s=self._timeout_s)
            except sqlite3.Error as cause:
                raise storage_error(self._path, "opening", cause) from cause
        return self._writer

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageError(f"the storage {self._path} is closed; open it again")
        if os.getpid() != self._pid:
            raise StorageError(f"the storage {self._path} was opened before a fork; open it again in this process")

    def _check_file(self) -> None:
        """SQLite would go on writing into a file that nobody can find any more."""
        if self._identity() != self._file:
            raise StorageError(f"{self._path} was removed or replaced while it was open; close it and restore the file")

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    # --- checkpoints ---

    def _log_bytes(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except OSError:
            return 0

    def _checkpoint_soon(self, connection: sqlite3.Connection) -> None:
        """Called by the writer, under its lock, when enough was logged."""
        if self._logged_pages < _CHECKPOINT_PAGES_MAX:
            if self._checkpointer is not None:
                return
            self._checkpointer = Thread(target=self._checkpoint_beside, name="city-chain-checkpoint", daemon=True)
            try:
                self._checkpointer.start()
            except RuntimeError:  # no more threads, as when the interpreter shuts down
                self._checkpointer = None
            else:
                return
        self._logged_pages = 0
        self._checkpoint(connection)

    def _checkpoint_beside(self) -> None:
        """Copies the bulk while writers go on, then the rest while they wait; the next commit reuses the log."""
        try:
            connection = connect(self._path, read_only=False, query_only=True, timeout_s=self._timeout_s)
        except sqlite3.Error:
            self._checkpointer = None
            return
        try:
            self._checkpoint(connection)
            with self._write_lock:
                self._checkpoint(connection)
                self._logged_pages = 0
        finally:
            connection.close()
            self._checkpointer = None

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Moves what it can from the log into the file. A failure loses nothing: the log keeps it for the next time."""
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as cause:
            self._doubt(cause)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Ends a transaction; the caller looks at `in_transaction` to see whether that worked."""
    try:
        connection.execute("ROLLBACK")
    except sqlite3.Error:
        return


def _checked_path(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or a path of str, not {type(path).__name__}")
    if not text or "\0" in text:
        raise InputError(f"path must name a file, not {text!r}")
    return Path(os.path.abspath(text))


def _checked_timeout(timeout_s: float) -> float:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s must be a number of seconds, not {type(timeout_s).__name__}")
    if not 0 <= timeout_s <= _TIMEOUT_S_MAX:
        raise InputError(f"timeout_s must be 0 to {_TIMEOUT_S_MAX:g} seconds, not {timeout_s}")
    return float(timeout_s)


# --- statements ------------------------------------------------------------------------------------------------------

_INSERT_IF_ABSENT = "INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
_UPDATE_IF_EQUAL = "UPDATE kv SET value = ? WHERE key = ? AND value = ?"

_SET_IF_OTHER = "SET value = excluded.value WHERE value IS NOT excluded.value"
"""A row that has the value already does not count as changed: nothing is logged for it (see `SqliteStorage._write`)."""

_SCANS = {
    (exclusive, bounded): f"SELECT key, value FROM kv WHERE key {'>' if exclusive else '>='} ?"  # noqa: S608
    f"{' AND key < ?' if bounded else ''} ORDER BY key LIMIT ?"
    for exclusive in (False, True)
    for bounded in (False, True)
}
"""The four kinds of scan, by (lower bound excluded, upper bound present)."""


def _upsert(rows: int) -> str:
    values = ", ".join(["(?, ?)"] * rows)
    return f"INSERT INTO kv VALUES {values} ON CONFLICT (key) DO UPDATE {_SET_IF_OTHER}"  # noqa: S608


def _select(rows: int) -> str:
    return f"SELECT key, value FROM kv WHERE key IN ({', '.join('?' * rows)})"  # noqa: S608


def _delete(rows: int) -> str:
    return f"DELETE FROM kv WHERE key IN ({', '.join('?' * rows)})"  # noqa: S608


def _parts(keys: list[bytes]) -> list[list[bytes]]:
    return [keys[start : start + _ROWS_PER_STATEMENT] for start in range(0, len(keys), _ROWS_PER_STATEMENT)]


def _pages(values: Iterable[bytes]) -> int:
    """About how many pages of log the values take."""
    return sum(_PAGES_PER_ROW + len(value) // PAGE_BYTES for value in values)
