"""The roster: Presence's list of a region as verified snapshots, and every candidate list that was ever made of it.

A selection names the root of the candidate list that it was drawn from. Whoever votes on it recomputes the draw, so
lists are kept by root, in a storage where one is given.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, UnavailableError
from city_chain.node.grader import Grader
from city_chain.ports import Clock, Presence, Storage
from city_chain.stages.model import Members

__all__ = ["Roster", "near_of"]

_LISTS_MAX = 256


def near_of(candidates: records.Candidates) -> frozenset[bytes]:
    """The candidates that witnesses saw in the home municipality: those of grade 2 or 3 there.

    Args:
        candidates: A list, with places or without.

    Example:
        >>> near_of(records.Candidates(bytes(32), "Utrecht", [(bytes(32), 1, "north")]))
        frozenset()
    """
    rules = candidates.rules
    if rules is None:
        return frozenset()
    return frozenset(
        node
        for (node, _, _), (municipality, grade, _) in zip(candidates.items, candidates.standings, strict=True)
        if grade >= 2 and municipality == rules.home
    )


class Roster:
    """Reads Presence.

    Args:
        presence: Where nodes are logged in.
        clock: The clock whose monotonic time the leases count on.
        region: The region to read.
        epoch: The delegates and seed in force.
        storage: Keeps candidate lists by root; None keeps the newest 256 in memory.
        grader: Grades the places of nodes; None where they do not count.
    """

    def __init__(
        self,
        presence: Presence,
        clock: Clock,
        region: str,
        epoch: records.Epoch,
        storage: Storage | None = None,
        grader: Grader | None = None,
    ) -> None:
        self._presence = presence
        self._clock = clock
        self._region = region
        self._epoch = epoch
        self._storage = storage
        self._grader = grader
        self._until_ms = 0  # until when weights that hang on places are as they are
        self._lock = threading.Lock()
        self._verified: dict[bytes, records.NodeRecord] = {}
        self._lists: dict[bytes, records.Candidates] = {}
        self._snapshot: tuple[int, Members] | None = None

    def members(self) -> Members:
        """The nodes logged in now; the same object for as long as the list does not change.

        Raises:
            UnavailableError: No holder is logged in.
        """
        now = self._clock.monotonic()
        self._presence.expire(now, 1000)
        revision = self._presence.revision()
        with self._lock:
            if self._snapshot is None or self._snapshot[0] != revision or self._is_over():
                self._snapshot = (revision, self._read(now))
            return self._snapshot[1]

    def _is_over(self) -> bool:
        """Whether weights have changed by time alone."""
        return self._grader is not None and self._clock.now_ms() >= self._until_ms

    def candidates(self, root: bytes) -> records.Candidates | None:
        """The candidate list of that root, if it was ever this region's."""
        with self._lock:
            known = self._lists.get(root)
            if known is None and self._storage is not None:
                (row,) = self._storage.get_many([root])
                if row is not None:
                    known = records.Candidates.from_bytes(row)
                    self._remember(known)
            return known

    def lists(self) -> list[records.Candidates]:
        """Every candidate list that is kept."""
        with self._lock:
            if self._storage is None:
                return list(self._lists.values())
            return [records.Candidates.from_bytes(row) for _, row in self._storage.scan(b"")]

    def learn(self, lists: Sequence[records.Candidates]) -> None:
        """Keeps candidate lists of this region that somebody else made of what is logged in there: all or none.

        Raises:
            InputError: One is of another network or region.
        """
        if any((known.network, known.region) != (self._epoch.network, self._region) for known in lists):
            raise InputError("candidate list: of another network or region")
        with self._lock:
            for known in lists:
                self._keep(known)

    def _keep(self, candidates: records.Candidates) -> None:
        if candidates.root not in self._lists:
            if self._storage is not None:
                self._storage.put_many({candidates.root: candidates.to_bytes()})
            self._remember(candidates)

    def _read(self, now: float) -> Members:
        entries: list[tuple[bytes, int, str]] = []
        shown: dict[bytes, records.PlaceAttestation] = {}
        addresses: dict[bytes, str] = {}
        kem: dict[bytes, bytes] = {}
        cookie = None
        while True:
            page = self._presence.list(now, self._region, cookie=cookie)
            for entry in page.entries:
                record = self._record(entry.node, entry.record)
                if record is None:
                    continue
                addresses[record.node] = record.address
                kem[record.node] = record.kem
                if record.roles & records.HOLDER and record.weight:
                    entries.append((record.node, record.weight, record.domain))
                    attestation = None if self._grader is None else self._grader.shown_by(record)
                    if attestation is not None:
                        shown[record.node] = attestation
            cookie = page.cookie
            if cookie is None:
                break
        if not entries:
            raise UnavailableError(f"no holder is logged in to the region {self._region!r}", 1, 0)
        if self._grader is None:
            candidates = records.Candidates(self._epoch.network, self._region, entries)
            self._keep(candidates)
            return Members(self._epoch, candidates, addresses, kem)
        placing = self._grader.placing()
        placed = [(*entry, shown.get(entry[0])) for entry in entries]
        candidates = records.Candidates(self._epoch.network, self._region, placed, placing)
        self._until_ms = self._grader.changes_at_ms(list(shown.values()), placing[2])
        self._keep(candidates)
        able = sum(1 for weight in candidates.weights if weight)
        return Members(self._epoch, candidates, addresses, kem, near_of(candidates), able)

    def _remember(self, candidates: records.Candidates) -> None:
        self._lists[candidates.root] = candidates
        while len(self._lists) > _LISTS_MAX:
            del self._lists[next(iter(self._lists))]

    def _record(self, node: bytes, encoding: bytes) -> records.NodeRecord | None:
        """The record, if it is right: Presence keeps records and does not judge them."""
        known = self._verified.get(encoding)
        if known is not None:
            # A right record under another node's id would be there twice.
            return known if known.node == node else None
        try:
            record = records.NodeRecord.from_bytes(encoding)
            if (record.node, record.network, record.region) != (node, self._epoch.network, self._region):
                raise InputError("node record: of another node, network or region")
            record.verify()
        except CityChainError:
            return None
        if len(self._verified) >= 1 << 16:
            self._verified.clear()
        self._verified[encoding] = record
        return record
