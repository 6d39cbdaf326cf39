"""The table of leases under every presence: what is live, what is hidden, what is remembered.

A node has at most one row. It goes through::

    register ──▶ live ──(deadline passes)──▶ hidden ──(expire)──▶ tombstone ──(forget passes, expire)──▶ gone
                   └──────────────────────(remove)──────────────────▲

A hidden row behaves like the tombstone it becomes, and a tombstone past its time like none, so nothing that a caller
sees depends on when `expire` runs, save the revision. A tombstone lasts the longest lease plus the drift of clocks,
counted from the end of the entry: by then the signed record it guards against has run out. The instant of the table is
the latest that any caller has named: time never goes back, also when two threads call in the wrong order.

Every change is saved first and applied then (`save`), so a storage that fails leaves the table as it was.

No call does work for more rows than it was asked about, however many leases have run out or were renewed before: what
makes room for a new entry takes the one row that is in its way, and sweeping takes `limit` rows at most.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from threading import Lock
from typing import NamedTuple, Self

from city_chain.adapters.presence.arguments import (
    NODE_BYTES_MAX,
    RECORD_BYTES_MAX,
    REGION_BYTES_MAX,
    SEQUENCE_MAX,
    Limits,
    checked_entry,
    checked_instant,
    checked_int,
    checked_limits,
    checked_node,
    checked_region,
    checked_ttl,
)
from city_chain.adapters.presence.history import History, Place
from city_chain.adapters.presence.ordered import Deadlines, SortedNodes
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.ports import PresenceDelta, PresenceEntry, PresencePage

__all__ = [
    "NODE_BYTES_MAX",
    "RECORD_BYTES_MAX",
    "REGION_BYTES_MAX",
    "SEQUENCE_MAX",
    "Check",
    "LeaseTable",
    "Limits",
    "Row",
]

_PAGE_ENTRIES_MAX = 10_000
"""Most entries of one page."""

_SWEEP_LIMIT_MAX = 1_000_000
"""Most rows that one call of `expire` may be asked to sweep."""

_HIDDEN_MAX = 1000
"""Hidden entries that one page of a list passes over at most."""


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

Check = Callable[[PresenceEntry], object]
"""Raises, `VerificationError` by custom, when an entry's record is not right; what it returns is not looked at."""


class _Region:
    """Who is listed in one region, hidden entries too, and whose lease runs out first."""

    __slots__ = ("due", "nodes")

    def __init__(self) -> None:
        self.nodes = SortedNodes()
        self.due = Deadlines[bytes]()


class LeaseTable:
    """Keeps the contract of `ports.Presence` over a `save` function. Safe to use from several threads.

    Args:
        limits: What to grant and to hold.
        save: Called with every change before it is made.
        check: Called with every entry before it is taken in, after all cheaper checks and outside the lock; the entry
            is refused with what it raises. None: records are not judged here.

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

    def __init__(self, limits: Limits, save: Save, check: Check | None = None) -> None:
        self._limits = checked_limits(limits)
        if check is not None and not callable(check):
            raise TypeError(f"check must be callable or None, not {type(check).__name__}")
        self._keep_s = limits.ttl_s_max + limits.drift_s
        self._save = save
        self._check = check
        self._lock = Lock()
        self._now = -math.inf
        self._rows: dict[bytes, Row] = {}
        self._regions: dict[str, _Region] = {}  # none is empty
        self._first = Deadlines[str]()  # each region by its earliest deadline
        self._tombs = Deadlines[bytes]()
        self._revision = 0
        self._history = History(limits.history_max)
        self._mark = secrets.token_bytes(8)  # tells this opening from others in cookies
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
            VerificationError: The table's `check` refuses the record (or whatever else it raises).
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        checked_entry(entry, self._limits.record_bytes_max)
        lease_s = min(checked_ttl(ttl), self._limits.ttl_s_max)
        if if_revision is not None:
            checked_int("if_revision", if_revision, SEQUENCE_MAX)
        if self._check is not None:
            with self._lock:
                self._begin(now)
                self._refuse(entry, if_revision)
            self._check(entry)
        with self._lock:
            self._begin(now)
            self._refuse(entry, if_revision)
            self._make_room(entry)
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
        checked_node(node)
        lease_s = min(checked_ttl(ttl), self._limits.ttl_s_max)
        with self._lock:
            self._begin(now)
            row = self._rows.get(node)
            if row is None or not self._is_live(row):
                raise UnavailableError(f"node {node.hex()} is not logged in; register it", needed=1, had=0)
            longer = row._replace(lease_s=max(row.lease_s, lease_s), deadline=max(row.deadline, self._now + lease_s))
            if longer.lease_s > row.lease_s:
                self._save({node: longer}, self._revision)
            self._rows[node] = longer
            self._queue(node, longer)
            return lease_s

    def remove(self, now: float, node: bytes, sequence: int) -> None:
        """Removes a node's entry (logout) and remembers `sequence` as used. An absent node's is remembered too.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range, the sequence is lower than that of the live entry, or the table is
                full.
            StorageError: The presence is closed, or cannot keep the change; nothing was changed.
        """
        checked_node(node)
        checked_int("sequence", sequence, SEQUENCE_MAX)
        with self._lock:
            self._begin(now)
            row = self._rows.get(node)
            if row is not None and self._is_live(row) and sequence < row.sequence:
                raise InputError(f"sequence {sequence} of node {node.hex()} is lower than its entry's, {row.sequence}")
            if row is None:
                self._refuse_row()
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

        Returns:
            At most `limit` entries. There may be fewer and yet a cookie, where many leases have run out.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            StorageError: The presence is closed.
        """
        checked_region(region)
        checked_int("limit", limit, _PAGE_ENTRIES_MAX, least=1)
        if cookie is not None:
            checked_node(cookie, "a cookie")
        with self._lock:
            self._begin(now)
            held = self._regions.get(region)
            entries: list[PresenceEntry] = []
            hidden = 0
            for node in held.nodes.after(cookie) if held is not None else ():
                row = self._rows[node]
                if self._is_live(row):
                    if len(entries) == limit:
                        return PresencePage(entries, entries[-1].node)
                    entries.append(PresenceEntry(node, region, row.sequence, row.record))
                    continue
                hidden += 1
                if hidden == _HIDDEN_MAX:
                    return PresencePage(entries, node)
            return PresencePage(entries, None)

    def find(self, now: float, node: bytes) -> PresenceEntry | None:
        """The live entry of a node, in whatever region; None if it is not logged in.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            StorageError: The presence is closed.
        """
        checked_node(node)
        with self._lock:
            self._begin(now)
            row = self._rows.get(node)
            if row is None or row.region is None or not self._now < row.deadline:
                return None
            return PresenceEntry(node, row.region, row.sequence, row.record)

    def changes(self, now: float, region: str, *, limit: int = 1000, cookie: bytes | None = None) -> PresenceDelta:
        """What came to, changed in and left a region since a cookie was given; see `ports.Presence.changes`.

        What has run out is swept first, `limit` rows at most, so that it counts as having left.

        Args:
            now: The present instant, seconds.
            region: The region's name.
            limit: Most entries and removed nodes of the answer, 1 to 10,000.
            cookie: What the call before gave; None at the beginning.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range, or the cookie is none of these.
            StorageError: The presence is closed, or cannot keep that something is swept.
        """
        checked_region(region)
        checked_int("limit", limit, _PAGE_ENTRIES_MAX, least=1)
        if cookie is not None and not isinstance(cookie, bytes):
            raise TypeError(f"a cookie must be bytes, not {type(cookie).__name__}")
        place = None if cookie is None else Place.from_cookie(cookie, region)
        with self._lock:
            self._begin(now)
            self._sweep(limit)
            known = place is not None and place.presence == self._mark
            if place is None or not known or not self._history.floor <= place.revision <= self._revision:
                place = Place(self._mark, region, self._revision, b"")
            anew = place.node == b""
            if place.node is None:
                return self._followed(place, limit)
            return self._read(place, limit, anew)

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
        checked_int("limit", limit, _SWEEP_LIMIT_MAX)
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
        self._now = max(self._now, checked_instant(now))

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

    def _refuse(self, entry: PresenceEntry, if_revision: int | None) -> None:
        """Raises where an entry cannot be registered; changes nothing."""
        row = self._rows.get(entry.node)
        live = row is not None and self._is_live(row)
        if if_revision is not None and if_revision != (row.revision if row is not None and live else 0):
            has = f"has revision {row.revision}" if row is not None and live else "is absent (revision 0)"
            raise InputError(f"the entry of node {entry.node.hex()} {has}, not the expected {if_revision}")
        if row is not None and self._is_known(row) and entry.sequence <= row.sequence:
            used = f"sequence {entry.sequence} of node {entry.node.hex()} was used before"
            raise InputError(f"{used}; use {row.sequence + 1} or higher")
        if self._is_full(entry):
            held, most = self._regions[entry.region], self._limits.region_entries_max
            if len(held.nodes) > most or not self._is_past(held.due.first):  # above it: opened with a lower limit
                raise InputError(f"region {entry.region!r} is full: it has {most} live entries")
        if row is None:
            self._refuse_row()

    def _refuse_row(self) -> None:
        most = self._limits.rows_max
        if len(self._rows) > most or (len(self._rows) == most and self._forgotten() is None):
            raise InputError(f"the presence is full: it remembers {most} nodes")

    def _is_full(self, entry: PresenceEntry) -> bool:
        """Whether the entry's region, hidden entries counted, has no place for it."""
        row = self._rows.get(entry.node)
        if row is not None and row.region == entry.region:
            return False  # it keeps the place it has
        held = self._regions.get(entry.region)
        return held is not None and len(held.nodes) >= self._limits.region_entries_max

    def _make_room(self, entry: PresenceEntry) -> None:
        """Sweeps the one entry and the one row that are in the way of an entry which is not refused."""
        first = self._regions[entry.region].due.first if self._is_full(entry) else None
        if first is not None:
            self._retire([first[1]])
        if entry.node not in self._rows:
            self._make_room_for_row()

    def _make_room_for_row(self) -> None:
        forgotten = self._forgotten() if len(self._rows) >= self._limits.rows_max else None
        if forgotten is not None:
            self._retire([forgotten])

    def _forgotten(self) -> bytes | None:
        """A node whose sequence no longer counts, if there is any: what goes first, is first to be looked at."""
        tomb, region = self._tombs.first, self._first.first
        if tomb is not None and self._is_past(tomb):
            return tomb[1]
        first = None if region is None else self._regions[region[1]].due.first
        return first[1] if first is not None and not self._is_known(self._rows[first[1]]) else None

    def _is_past(self, first: tuple[float, object] | None) -> bool:
        return first is not None and first[0] <= self._now

    def _is_due(self) -> bool:
        """Whether there is anything to sweep."""
        return self._is_past(self._first.first) or self._is_past(self._tombs.first)

    def _sweep(self, limit: int) -> int:
        """Turns hidden entries into tombstones and drops those past their time, at most `limit` in all."""
        nodes: list[bytes] = []
        while len(nodes) < limit and self._is_due():
            tomb, region = self._tombs.first, self._first.first
            if region is None or (tomb is not None and tomb[0] <= region[0]):
                first = tomb
            else:
                first = self._regions[region[1]].due.first
            if first is None:
                break
            nodes.append(first[1])
            self._unqueue(first[1], self._rows[first[1]])
        if nodes:
            try:
                self._retire(nodes)
            except BaseException:
                for node in nodes:
                    self._queue(node, self._rows[node])
                raise
        return len(nodes)

    def _retire(self, nodes: Iterable[bytes]) -> None:
        """Makes rows that are past their deadline what they come to next: tombstones, or nothing."""
        changes: dict[bytes, Row | None] = {}
        revision = self._revision
        for node in nodes:
            row = self._rows[node]
            changes[node] = None
            if row.region is not None:
                revision += 1
                if self._is_known(row):
                    changes[node] = self._tombstone(row.sequence, revision, row.deadline)
        self._change(changes, revision)

    def _followed(self, place: Place, limit: int) -> PresenceDelta:
        """What changed since a place, of a reader who has the whole list."""
        nodes, revision, more = self._history.since(place.region, place.revision, revision=self._revision, limit=limit)
        entries, removed = [], []
        for node in nodes:
            row = self._rows.get(node)
            if row is not None and row.region == place.region and self._is_live(row):
                entries.append(PresenceEntry(node, place.region, row.sequence, row.record))
            else:
                removed.append(node)
        cookie = place._replace(revision=revision).cookie
        return PresenceDelta(entries, removed, cookie, False, more or self._is_due())

    def _read(self, place: Place, limit: int, anew: bool) -> PresenceDelta:
        """The next part of a whole list, for a reader who follows it afterwards from where the reading began."""
        held = self._regions.get(place.region)
        nodes = [] if held is None else list(islice(held.nodes.after(place.node), limit + 1))
        rows = [(node, self._rows[node]) for node in nodes[:limit]]
        entries = [
            PresenceEntry(node, place.region, row.sequence, row.record) for node, row in rows if self._is_live(row)
        ]
        if len(nodes) > limit:
            return PresenceDelta(entries, [], place._replace(node=nodes[limit - 1]).cookie, anew, True)
        more = place.revision < self._revision or self._is_due()
        return PresenceDelta(entries, [], place._replace(node=None).cookie, anew, more)

    def _change(self, changes: Mapping[bytes, Row | None], revision: int) -> None:
        """Saves the changes, then makes them. The only place that changes what is listed."""
        self._save(changes, revision)
        for node, row in changes.items():
            before = self._rows.get(node)
            regions = {of.region for of in (before, row) if of is not None and of.region is not None}
            if regions:
                self._revision += 1
                self._history.note(self._revision, node, regions)
            self._place(node, row)
        self._revision = revision

    def _place(self, node: bytes, row: Row | None) -> None:
        before = self._rows.get(node)
        was = before.region if before is not None else None
        becomes = row.region if row is not None else None
        if before is not None:
            self._unqueue(node, before)
        if was is not None and was != becomes:
            held = self._regions[was]
            held.nodes.discard(node)
            if not held.nodes:
                del self._regions[was]
        if row is None:
            self._rows.pop(node, None)
            return
        self._rows[node] = row
        if becomes is not None:
            self._regions.setdefault(becomes, _Region()).nodes.add(node)
        self._queue(node, row)

    def _queue(self, node: bytes, row: Row) -> None:
        """Notes when a row is to be looked at again."""
        if row.region is None:
            self._tombs.set(node, row.deadline)
            return
        due = self._regions[row.region].due
        due.set(node, row.deadline)
        self._order(row.region, due)

    def _unqueue(self, node: bytes, row: Row) -> None:
        if row.region is None:
            self._tombs.drop(node)
            return
        due = self._regions[row.region].due
        due.drop(node)
        self._order(row.region, due)

    def _order(self, region: str, due: Deadlines[bytes]) -> None:
        if due.first is None:
            self._first.drop(region)
        else:
            self._first.set(region, due.first[0])
