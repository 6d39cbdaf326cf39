"""The SQLite file of the glued rival: WAL, and commits that are synced, or only in order, as it is told.

A commit in order (``synchronous=NORMAL``) survives the process; the synced commit after it (``FULL``) makes both
survive the machine. Checkpoints run on a thread of their own, off the commit path.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POINTS = ("intent", "held", "certified", "led", "voted", "ledger")
"""Where something is to be written down before the path goes on, in their order."""

_KEPT_FIRST = ("ledger", "held", "intent", "voted", "led", "certified")
_CHECKPOINT_FROM_BYTES = 8 << 20

_TABLES = """
CREATE TABLE IF NOT EXISTS intents (tx_id BLOB PRIMARY KEY, tx BLOB, manifest BLOB);
CREATE TABLE IF NOT EXISTS held (tx_id BLOB PRIMARY KEY, fragments BLOB);
CREATE TABLE IF NOT EXISTS certified (tx_id BLOB PRIMARY KEY, certificate BLOB);
CREATE TABLE IF NOT EXISTS spoken (who TEXT PRIMARY KEY, record BLOB);
CREATE TABLE IF NOT EXISTS batches (height INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE IF NOT EXISTS receipts (tx_id BLOB PRIMARY KEY, receipt BLOB);
"""


@dataclass(frozen=True, slots=True)
class Durability:
    """How many commits one send or burst makes.

    Args:
        ordered: Commits that are in order but not synced.
        synced: Commits that wait for the disk; the last one always does.
    """

    ordered: int = 0
    synced: int = 1

    def plan(self) -> dict[str, bool]:
        """The points that commit, and whether they are synced; what falls between goes with the next of them.

        >>> Durability(ordered=1, synced=1).plan()
        {'held': False, 'ledger': True}
        """
        if self.synced < 1 or self.ordered < 0:
            raise ValueError(f"{self}: at least the last commit is synced")
        kept = set(_KEPT_FIRST[: self.ordered + self.synced])
        points = [point for point in POINTS if point in kept]
        return {point: at >= len(points) - self.synced for at, point in enumerate(points)}


class Store:
    """The file.

    Args:
        path: Where it is; ``:memory:`` for none.
        durability: Which points commit, and how.
    """

    def __init__(self, path: Path | str, durability: Durability) -> None:
        self._plan = durability.plan()
        self._path = str(path)
        self.connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        self.connection.executescript(_TABLES)
        self._is_open = False
        self._written = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._checkpoints, daemon=True)
        if self._path != ":memory:":
            self._thread.start()

    def write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Writes rows; they are committed at the next point that commits."""
        if not self._is_open:
            self.connection.execute("BEGIN")
            self._is_open = True
        self.connection.executemany(statement, rows)
        self._written += sum(len(cell) for row in rows for cell in row if isinstance(cell, bytes))

    def point(self, name: str) -> None:
        """A point of the path is reached: commits what was written if the plan says so."""
        synced = self._plan.get(name)
        if synced is None or not self._is_open:
            return
        self.connection.execute("COMMIT")
        self._is_open = False
        after = list(self._plan)[(list(self._plan).index(name) + 1) % len(self._plan)]
        if self._plan[after] != synced:  # may be said between transactions only
            self.connection.execute(f"PRAGMA synchronous={'FULL' if self._plan[after] else 'NORMAL'}")
        if self._written > _CHECKPOINT_FROM_BYTES:
            self._written = 0
            self._wake.set()

    def _checkpoints(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        while self._wake.wait() and not self._closing:
            self._wake.clear()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()

    def close(self) -> None:
        """Closes the file."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.connection.close()
