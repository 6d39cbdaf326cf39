"""One process at a time owns a city's file: two writers with one sender's keys would sign against each other.

The lock is an exclusive transaction on a small SQLite file beside the city's (``city.db`` → ``city.db-owner``). It
works on every system that SQLite works on, and a process that is killed loses it with its file handles.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from city_chain.adapters.storage.sqlite_file import denied, os_advice, storage_error
from city_chain.errors import StorageError

__all__ = ["Owner"]


class Owner:
    """Holds the lock of a city's file until closed.

    Args:
        path: The city's file.
        timeout_s: How long to wait for another process to let go, seconds.

    Raises:
        StorageError: Another process has the city open, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> owner = Owner(Path(folder.name) / "city.db")
        >>> Owner(Path(folder.name) / "city.db", timeout_s=0.0)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        city_chain.errors.StorageError: …/city.db is open in another process
        >>> owner.close(); folder.cleanup()
    """

    def __init__(self, path: Path, timeout_s: float = 2.0) -> None:
        beside = path.with_name(path.name + "-owner")
        self._connection: sqlite3.Connection | None = None
        connection = None
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            if not os.access(beside, os.R_OK | os.W_OK):  # SQLite would open it for reading, and two could share that
                raise StorageError(f"{beside}, the lock of the city, cannot be written: {denied(beside)}")
            connection = sqlite3.connect(beside, timeout=timeout_s, isolation_level=None, check_same_thread=False)
            connection.execute("BEGIN EXCLUSIVE")
        except OSError as error:
            raise StorageError(
                f"{beside}, the lock of the city, cannot be made: {error.strerror}; {os_advice(error)}"
            ) from error
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if "locked" in str(error):
                raise StorageError(
                    f"{path} is open in another process; close it there, or wait until it is done"
                ) from None
            raise storage_error(beside, "locking the city with", error) from error
        self._connection = connection

    def close(self) -> None:
        """Lets go. Closing twice is allowed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
