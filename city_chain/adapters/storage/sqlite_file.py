"""Opening a SQLite file, and what its failures mean. The inner part of `adapters.storage.sqlite`.

The file is an ordinary SQLite database in WAL mode with one table of pairs. It carries the application id ``CITY`` and
a format version, so that a foreign or newer database is refused before anything is read from it or written to it.

A rowid table with an index on the key is used, not ``WITHOUT ROWID``: for values of 700 bytes to 8 KiB under random
keys it wrote 7 to 29 % less and committed 4 to 10 % faster, and larger pages than 4096 bytes only cost more.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from pathlib import Path
from threading import Lock

from city_chain.errors import StorageError

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "PAGE_BYTES",
    "connect",
    "denied",
    "os_advice",
    "prepare",
    "storage_error",
    "sync_log",
]

APPLICATION_ID = int.from_bytes(b"CITY", "big")
"""Written into every file, so that a database of another program is never touched."""

FORMAT_VERSION = 1
"""Layout of the tables. A higher one is refused."""

PAGE_BYTES = 4096
"""Page size of new files, bytes."""

_BUSY_PAUSE_S = 0.01

_DATABASE_BYTES_MIN = 512
"""Smallest SQLite database: one page of the smallest size. SQLite would take anything shorter for an empty one."""

_STATEMENTS_CACHED = 256
"""Prepared statements kept per connection: one per number of rows and verb."""

_OPENING = Lock()
"""Held while a file is made and first opened: closing a file descriptor would drop the locks of another connection."""

_NEW = "city-chain init DIR makes a city in its folder, as City.create does; create=True makes a bare storage"
"""What to do where there is no storage yet, for whoever came by the command line or by Python."""

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; allow writing (read_only=True opens a bare storage)",
    sqlite3.SQLITE_BUSY: "another process has it locked; try again when it is done (a bare storage: longer timeout_s)",
    sqlite3.SQLITE_LOCKED: "another connection has it locked; try again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database, or its first page is damaged; name another file",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder must exist and let this user make files in it",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed; check the disk and the space left on it",
    sqlite3.SQLITE_PERM: "access is not permitted; change the file's mode",
    sqlite3.SQLITE_NOMEM: "memory ran out; use smaller batches",
    sqlite3.SQLITE_TOOBIG: "the batch is too big for one statement; use smaller batches",
}


def storage_error(path: Path, doing: str, cause: sqlite3.Error) -> StorageError:
    """Says in our words what SQLite reported.

    Args:
        path: The database file.
        doing: What was being done, as a verb in -ing form.
        cause: SQLite's error.

    Example:
        >>> str(storage_error(Path("city.db"), "writing", sqlite3.OperationalError("boom")))
        'writing city.db failed: boom (unknown error)'
    """
    code = getattr(cause, "sqlite_errorcode", None)
    name = getattr(cause, "sqlite_errorname", None)
    advice = None if code is None else _ADVICE.get(code & 0xFF)
    reported = f"{cause} ({name or 'unknown error'})"
    return StorageError(f"{doing} {path} failed: {f'{advice}; SQLite: ' if advice else ''}{reported}")


def connect(path: Path, *, read_only: bool, query_only: bool, timeout_s: float) -> sqlite3.Connection:
    """Opens one connection to an existing file. Every commit is synced; no checkpoint runs within a commit.

    Args:
        path: The file, absolute.
        read_only: Whether to open the file itself for reading only.
        query_only: Whether the connection refuses to write (it may still checkpoint).
        timeout_s: How long to wait for the locks of other processes, seconds.

    Raises:
        sqlite3.Error: SQLite could not open it.
    """
    uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=timeout_s,
        autocommit=True,
        check_same_thread=False,
        cached_statements=_STATEMENTS_CACHED,
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        # What is deleted is overwritten where its page is written anyway: a key share does not outlive its row.
        connection.execute("PRAGMA secure_delete=FAST")
        if query_only:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def sync_log(path: Path) -> None:
    """Syncs the log of a database, so that every commit in it is durable. One that has no log needs nothing.

    Nobody locks the log, so closing a descriptor of it drops no lock.

    Args:
        path: The database file.

    Raises:
        OSError: The disk has failed.
    """
    try:
        log = os.open(f"{path}-wal", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        os.fsync(log)
    finally:
        os.close(log)


def prepare(path: Path, *, create: bool, read_only: bool, timeout_s: float) -> sqlite3.Connection:
    """Opens `path`, making and laying out the file if it is new, and checks that it is ours.

    Returns:
        The first connection: the writer, or a reader when `read_only`.

    Raises:
        StorageError: The file cannot be opened or made, is damaged, foreign or newer.
    """
    with _OPENING:
        try:
            _look(path, create=create and not read_only, read_only=read_only)
            if not path.exists():
                _make(path)
        except OSError as cause:
            raise StorageError(f"opening {path} failed: {cause.strerror}; {os_advice(cause)}") from cause
        until = time.monotonic() + timeout_s
        while True:
            try:
                return _opened(path, create=create, read_only=read_only, timeout_s=timeout_s)
            except sqlite3.Error as cause:
                # Two who lay the file out at the same moment get this at once: SQLite waits for no lock it needs whole.
                busy = getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= until:
                    raise storage_error(path, "opening", cause) from cause
                time.sleep(_BUSY_PAUSE_S)


def _opened(path: Path, *, create: bool, read_only: bool, timeout_s: float) -> sqlite3.Connection:
    connection = connect(path, read_only=read_only, query_only=read_only, timeout_s=timeout_s)
    try:
        _check_or_lay_out(connection, path, create=create, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _look(path: Path, *, create: bool, read_only: bool) -> None:
    """Refuses what SQLite would misread, before SQLite touches it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise StorageError(f"{path} is {kind}; name a file")
    if status is None and not path.parent.is_dir():
        raise StorageError(f"the folder of {path} does not exist; make it first")
    if status is None or status.st_size == 0:
        if not create:
            what = "does not exist" if status is None else "is empty"
            raise StorageError(f"{path} {what}; {_NEW}")
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise StorageError(f"{path} is gone but its log {log.name} holds data; restore the file or remove the log")
    elif status.st_size < _DATABASE_BYTES_MIN:
        raise StorageError(f"{path} is not a SQLite database: it has only {status.st_size} bytes; name another file")
    elif not os.access(path, os.R_OK if read_only else os.R_OK | os.W_OK):
        more = "" if read_only else " (read_only=True opens a bare storage)"
        raise StorageError(f"this user may not open {path}: {denied(path)}{more}")


def _make(path: Path) -> None:
    """Makes an empty file that only its owner may read (it will hold keys), and syncs its folder."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return  # another process was faster; its file is checked like any other
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def denied(path: Path) -> str:
    """Why a file that is there cannot be opened or written, as far as the system tells, and what to do.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     denied(Path(file.name)).partition(" is ")[0]
        'its mode'
    """
    if hasattr(os, "statvfs") and os.statvfs(path).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only; mount it for writing, or work on a copy"
    return f"its mode is {stat.S_IMODE(path.stat().st_mode):03o}; let this user read and write it"


def os_advice(cause: OSError) -> str:
    """What to do about a file that could not be made.

    Example:
        >>> os_advice(OSError(errno.ENOSPC, "No space left on device"))
        'free some space and try again'
    """
    if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space and try again"
    if cause.errno == errno.EROFS:
        return "mount its file system for writing, or name a file elsewhere"
    if cause.errno in {errno.EACCES, errno.EPERM}:
        return "the folder must let this user make files in it"
    return "name a file in a folder that exists and is writable"


def _check_or_lay_out(connection: sqlite3.Connection, path: Path, *, create: bool, read_only: bool) -> None:
    if _is_blank(connection):
        if read_only or not create:
            raise StorageError(f"{path} is an empty database; {_NEW}")
        _lay_out(connection, path)
    application = _number(connection, "application_id")
    version = _number(connection, "user_version")
    if application != APPLICATION_ID:
        raise StorageError(
            f"{path} belongs to another program (application id {application:#010x}, ours is {APPLICATION_ID:#010x});"
            " name another file"
        )
    if version != FORMAT_VERSION:
        raise StorageError(
            f"{path} has format version {version}, this city-chain reads version {FORMAT_VERSION};"
            " use the city-chain that wrote it, or a newer one"
        )
    connection.execute("SELECT key, value FROM kv LIMIT 1").fetchall()
    if not read_only:
        _turn_on_wal(connection, path)


def _is_blank(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return not (tables or _number(connection, "application_id") or _number(connection, "user_version"))


def _lay_out(connection: sqlite3.Connection, path: Path) -> None:
    """Lays out the tables in one transaction; of several processes that come at once, one does it."""
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    _turn_on_wal(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_blank(connection):
            connection.execute("CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _turn_on_wal(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(f"{path} cannot be used in WAL mode (it stays {mode!r}); put it on a local disk")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
