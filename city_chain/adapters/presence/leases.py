"""The table of leases under every presence: what is live, what is hidden, what is remembered.

A node has at most one row. It goes through::

    register ──▶ live ──(deadline passes)──▶ hidden ──(expire)──▶ tombstone ──(forget passes, expire)──▶ gone
                   └──────────────────────(remove)──────────────────▲

A hidden row behaves like the tombstone it becomes, and a tombstone past its time like none, so nothing that a caller
sees depends on when `expire` runs, save the revision. A tombstone lasts the longest lease plus the drift of clocks,
counted from the end of the entry: by then the signed record it guards against has run out. The instant of the table is
the latest that any caller has named: time never goes back, also when two threads call in the wrong order.

Every change is saved first and applied then (`save`), so a storage that fails leaves the table as it was.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from threading import Lock
from typing import NamedTuple, Self

from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.ports import PresenceEntry, PresencePage

__all__ = [
    "NODE_BYTES_MAX",
    "RECORD_BYTES_MAX",
    "REGION_BYTES_MAX",
    "SEQUENCE_MAX",
    "LeaseTable",
    "Limits",
    "Row",
]

NODE_BYTES_MAX = 64
"""Longest node id, bytes."""

REGION_BYTES_MAX = 256
"""Longest region name, bytes of UTF-8."""

RECORD_BYTES_MAX = 16 << 10
"""Longest signed record, bytes: room for post-quantum keys and signatures."""

SEQUENCE_MAX = (1 << 64) - 1
"""Highest sequence number."""

_PAGE_ENTRIES_MAX = 10_000
"""Most entries of one page."""

_SWEEP_LIMIT_MAX = 1_000_000
"""Most rows that one call of `expire` may be asked to sweep."""

_SECONDS_MAX = 1e12
"""Latest instant and longest lease that make sense, seconds."""

_SPARE_MIN = 64
"""Outdated places in the queue are left alone until there are more of them than rows and this many."""


class Limits(NamedTuple):
    """What one presence grants and holds.

    Args:
        ttl_s_max: Longest lease granted, seconds.
        drift_s: How far clocks may be apart; tombstones last this much longer, seconds.
        region_entries_max: Most live entries of one region.
        rows_max: Most rows in all: entries and tombstones.

    Example:
        >>> Limits().ttl_s_max
        3600.0
    """

    ttl_s_max: float = 3600.0
    drift_s: float = 5.0
    region_entries_max: int = 100_000
    rows_max: int = 1_000_000


class Row(NamedTuple):
    """What is kept of one node.

    Args:
        sequence: The highest sequence seen.
        region: Where it is listed; None for a tombstone.
        record: The signed record; empty for a tombstone.
        revision: The revision that its registration made.
        lease_s: What was granted, seconds.
        deadline: When an entry is hidden; for a tombstone when it is forgotten.

    Example:
        >>> Row(sequence=7, region=None, record=b"", revision=1, lease_s=0.0, deadline=60.0).region is None
        True
    """

    sequence: int
    region: str | None
    record: bytes
    revision: int
    lease_s: float
    deadline: float


Save = Callable[[Mapping[bytes, Row | None], int], None]
"""Keeps changed rows (None: gone) and the revision; raises `StorageError` and keeps nothing when it cannot."""


class LeaseTable:
    """Keeps the contract of `ports.Presence` over a `save` function. Safe to use from several threads.

    Args:
        limits: What to grant and to hold.
        save: Called with every change before it is made.

    Raises:
        TypeError: `limits` is no `Limits`, or one of them is not a number.
        InputError: One of them is out of range.

    Example:
        >>> table = LeaseTable(Limits(ttl_s_max=60.0), lambda rows, revision: None)
        >>> table.register(0.0, PresenceEntry(b"node", "tokyo", 1, b"record"), ttl=600.0)
        (1, 60.0)
        >>> [entry.node for entry in table.list(59.9, "tokyo").entries], table.list(60.0, "tokyo").entries
        ([b'node'], [])
    """

    def __init__(self, limits: Limits, save: Save) -> None:
        self._limits = _checked_limits(limits)
        self._keep_s = limits.ttl_s_max + limits.drift_s
        self._save = save
        self._lock = Lock()
        self._now = -math.inf
        self._rows: dict[bytes, Row] = {}
        self._regions: dict[str, list[bytes]] = {}  # node ids in ascending order, hidden ones too
        self._queue: list[tuple[float, bytes]] = []  # when to look at a row again
        self._queued: dict[bytes, float] = {}  # which of its places in the queue counts
        self._revision = 0
        self._closed = False

    def register(
        self, now: float, entry: PresenceEntry, *, ttl: float, if_revision: int | None = None
    ) -> tuple[int, float]:
        """Adds or replaces a node's entry, also from another region; returns the new revision and the lease granted.

        Args:
            now: The present instant, seconds.
            entry: What to keep.
            ttl: The lease asked for, seconds; at most `Limits.ttl_s_max` are granted.
            if_revision: When given, the revision that the live entry must have (0: there must be none).

        Raises:
            TypeError: An argument has the wrong type.
            InputError: A field is too long, the sequence is not higher than any remembered, the revision is another,
                or the region or the whole table is full.
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        _checked_entry(entry)
        lease_s = min(_checked_ttl(ttl), self._limits.ttl_s_max)
        if if_revision is not None:
            _checked_int("if_revision", if_revision, SEQUENCE_MAX)
        with self._lock:
            self._begin(now)
            row = self._rows.get(entry.node)
            live = row is not None and self._is_live(row)
            if if_revision is not None and if_revision != (row.revision if row is not None and live else 0):
                has = f"has revision {row.revision}" if row is not None and live else "is absent (revision 0)"
                raise InputError(f"the entry of node {entry.node.hex()} {has}, not the expected {if_revision}")
            if row is not None and self._is_known(row) and entry.sequence <= row.sequence:
                used = f"sequence {entry.sequence} of node {entry.node.hex()} was used before"
                raise InputError(f"{used}; use {row.sequence + 1} or higher")
            self._make_room(entry, there=live and row is not None and row.region == entry.region)
            revision = self._revision + 1
            fresh = Row(entry.sequence, entry.region, entry.record, revision, lease_s, self._now + lease_s)
            self._change({entry.node: fresh}, revision)
            return revision, lease_s

    def renew(self, now: float, node: bytes, *, ttl: float) -> float:
        """Extends a live entry's lease, never shortens it; returns what was granted, seconds.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            UnavailableError: There is no live entry of that node.
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        _checked_node(node)
        lease_s = min(_checked_ttl(ttl), self._limits.ttl_s_max)
        with self._lock:
            self._begin(now)
            row = self._rows.get(node)
            if row is None or not self._is_live(row):
                raise UnavailableError(f"node {node.hex()} is not logged in; register it", needed=1, had=0)
            longer = row._replace(lease_s=max(row.lease_s, lease_s), deadline=max(row.deadline, self._now + lease_s))
            if longer.lease_s > row.lease_s:
                self._save({node: longer}, self._revision)
            self._rows[node] = longer  # its place in the queue moves when it comes up
            return lease_s

    def remove(self, now: float, node: bytes, sequence: int) -> None:
        """Removes a node's entry (logout) and remembers `sequence` as used. An absent node's is remembered too.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range, the sequence is lower than that of the live entry, or the table is
                full.
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        _checked_node(node)
        _checked_int("sequence", sequence, SEQUENCE_MAX)
        with self._lock:
            self._begin(now)
            row = self._rows.get(node)
            if row is not None and self._is_live(row) and sequence < row.sequence:
                raise InputError(f"sequence {sequence} of node {node.hex()} is lower than its entry's, {row.sequence}")
            if row is None:
                self._make_room_for_row()
            elif self._is_known(row):
                sequence = max(sequence, row.sequence)
            listed = row is not None and row.region is not None
            revision = self._revision + listed
            self._change({node: self._tombstone(sequence, revision, self._now)}, revision)

    def list(self, now: float, region: str, *, limit: int = 1000, cookie: bytes | None = None) -> PresencePage:
        """The live entries of `region`, by ascending node id.

        Args:
            now: The present instant, seconds.
            region: The region's name.
            limit: Most entries of the page, 1 to 10,000.
            cookie: What the page before gave; None for the first. Entries that come or go meanwhile do not make others
                appear twice or be left out.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            StorageError: The presence is closed.
        """
        _checked_region(region)
        _checked_int("limit", limit, _PAGE_ENTRIES_MAX, least=1)
        if cookie is not None:
            _checked_node(cookie, "a cookie")
        with self._lock:
            self._begin(now)
            nodes = self._regions.get(region, [])
            place = 0 if cookie is None else bisect_right(nodes, cookie)
            entries: list[PresenceEntry] = []
            while place < len(nodes):
                node = nodes[place]
                row = self._rows[node]
                if self._is_live(row):
                    if len(entries) == limit:
                        return PresencePage(entries, entries[-1].node)
                    entries.append(PresenceEntry(node, region, row.sequence, row.record))
                place += 1
            return PresencePage(entries, None)

    def revision(self) -> int:
        """Rises with every change of the list: register, remove, and `expire` when it sweeps an entry.

        A lease that runs out hides its entry at once but shows here only when `expire` sweeps it.

        Raises:
            StorageError: The presence is closed.
        """
        with self._lock:
            self._check_open()
            return self._revision

    def expire(self, now: float, limit: int) -> int:
        """Sweeps at most `limit` (0 to 1,000,000) hidden entries and forgotten tombstones; returns how many went.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        _checked_int("limit", limit, _SWEEP_LIMIT_MAX)
        with self._lock:
            self._begin(now)
            return self._sweep(limit)

    def close(self) -> None:
        """Releases the list. Closing twice is allowed; any other call afterwards raises `StorageError`."""
        with self._lock:
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inside, under the lock ---

    def _begin(self, now: float) -> None:
        """Notes the instant of a call."""
        self._check_open()
        self._now = max(self._now, _checked_instant(now))

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the presence is closed; open it again")

    def _is_live(self, row: Row) -> bool:
        return row.region is not None and self._now < row.deadline

    def _is_known(self, row: Row) -> bool:
        """Whether its sequence still counts."""
        return self._now < row.deadline + (0.0 if row.region is None else self._keep_s)

    def _tombstone(self, sequence: int, revision: int, since: float) -> Row:
        return Row(sequence, None, b"", revision, 0.0, since + self._keep_s)

    def _make_room(self, entry: PresenceEntry, *, there: bool) -> None:
        """Sweeps when the region or the table seems full; raises when it still is."""
        most = self._limits.region_entries_max
        if not there and len(self._regions.get(entry.region, [])) >= most:
            self._sweep_all()
            if len(self._regions.get(entry.region, [])) >= most:
                raise InputError(f"region {entry.region!r} is full: it has {most} live entries")
        if entry.node not in self._rows:
            self._make_room_for_row()

    def _make_room_for_row(self) -> None:
        if len(self._rows) >= self._limits.rows_max:
            self._sweep_all()
            if len(self._rows) >= self._limits.rows_max:
                raise InputError(f"the presence is full: it remembers {self._limits.rows_max} nodes")

    def _sweep_all(self) -> None:
        while self._sweep(_SWEEP_LIMIT_MAX):
            pass

    def _sweep(self, limit: int) -> int:
        """Turns hidden entries into tombstones and drops those past their time, at most `limit` in all."""
        changes: dict[bytes, Row | None] = {}
        revision = self._revision
        while len(changes) < limit and self._queue and self._queue[0][0] <= self._now:
            due, node = heapq.heappop(self._queue)
            if self._queued.get(node) != due or node in changes:
                continue  # an outdated place
            row = self._rows[node]
            if row.deadline > self._now:
                self._enqueue(node, row.deadline)  # it was renewed
                continue
            if row.region is not None:
                revision += 1
            changes[node] = (
                self._tombstone(row.sequence, revision, row.deadline)
                if row.region is not None and self._is_known(row)
                else None
            )
        if changes:
            try:
                self._change(changes, revision)
            except BaseException:
                for node in changes:
                    self._enqueue(node, self._rows[node].deadline)
                raise
        return len(changes)

    def _change(self, changes: Mapping[bytes, Row | None], revision: int) -> None:
        """Saves the changes, then makes them. The only place that changes what is listed."""
        self._save(changes, revision)
        self._revision = revision
        for node, row in changes.items():
            self._place(node, row)

    def _place(self, node: bytes, row: Row | None) -> None:
        before = self._rows.get(node)
        was = before.region if before is not None else None
        becomes = row.region if row is not None else None
        if was != becomes:
            if was is not None:
                nodes = self._regions[was]
                del nodes[bisect_left(nodes, node)]
                if not nodes:
                    del self._regions[was]
            if becomes is not None:
                nodes = self._regions.setdefault(becomes, [])
                nodes.insert(bisect_left(nodes, node), node)
        if row is None:
            self._rows.pop(node, None)
            self._queued.pop(node, None)
        else:
            self._rows[node] = row
            self._enqueue(node, row.deadline)

    def _enqueue(self, node: bytes, due: float) -> None:
        self._queued[node] = due
        heapq.heappush(self._queue, (due, node))
        if len(self._queue) > 2 * len(self._queued) + _SPARE_MIN:
            self._queue = [(due, node) for node, due in self._queued.items()]
            heapq.heapify(self._queue)


# --- arguments -------------------------------------------------------------------------------------------------------


def _checked_limits(limits: Limits) -> Limits:
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
    _checked_ttl(limits.ttl_s_max)
    if _checked_instant(limits.drift_s) < 0:
        raise InputError(f"drift_s must be 0 or more, not {limits.drift_s}")
    _checked_int("region_entries_max", limits.region_entries_max, SEQUENCE_MAX, least=1)
    _checked_int("rows_max", limits.rows_max, SEQUENCE_MAX, least=1)
    return limits


def _checked_entry(entry: PresenceEntry) -> None:
    if not isinstance(entry, PresenceEntry):
        raise TypeError(f"entry must be a ports.PresenceEntry, not {type(entry).__name__}")
    _checked_node(entry.node)
    _checked_region(entry.region)
    _checked_int("sequence", entry.sequence, SEQUENCE_MAX)
    if not isinstance(entry.record, bytes):
        raise TypeError(f"a record must be bytes, not {type(entry.record).__name__}")
    if len(entry.record) > RECORD_BYTES_MAX:
        raise InputError(f"a record has at most {RECORD_BYTES_MAX} bytes, this one has {len(entry.record)}")


def _checked_node(node: bytes, what: str = "a node id") -> bytes:
    if not isinstance(node, bytes):
        raise TypeError(f"{what} must be bytes, not {type(node).__name__}")
    if not 0 < len(node) <= NODE_BYTES_MAX:
        raise InputError(f"{what} has 1 to {NODE_BYTES_MAX} bytes, this one has {len(node)}")
    return node


def _checked_region(region: str) -> None:
    if not isinstance(region, str):
        raise TypeError(f"a region must be a str, not {type(region).__name__}")
    if not 0 < len(region) <= REGION_BYTES_MAX:
        raise InputError(f"a region has 1 to {REGION_BYTES_MAX} bytes of UTF-8, this one has {len(region)} characters")
    try:
        length = len(region.encode())
    except UnicodeEncodeError as cause:
        raise InputError(f"a region must be text that UTF-8 can write, not {region!r}") from cause
    if length > REGION_BYTES_MAX:
        raise InputError(f"a region has 1 to {REGION_BYTES_MAX} bytes of UTF-8, this one has {length}")


def _checked_int(name: str, value: int, most: int, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise InputError(f"{name} must be {least} to {most}, not {value}")


def _checked_instant(now: float) -> float:
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise TypeError(f"an instant must be a number of seconds, not {type(now).__name__}")
    if not abs(now) <= _SECONDS_MAX:
        raise InputError(f"an instant must be within {_SECONDS_MAX:g} seconds of 0, not {now}")
    return float(now)


def _checked_ttl(ttl: float) -> float:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl must be a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl <= _SECONDS_MAX:
        raise InputError(f"ttl must be above 0 and at most {_SECONDS_MAX:g} seconds, not {ttl}")
    return float(ttl)
