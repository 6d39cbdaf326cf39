"""Presence against a plain model: a table that looks at every row each time must give the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from city_chain.adapters.presence.leases import LeaseTable, Limits
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.errors import CityChainError
from city_chain.ports import PresenceEntry

pytestmark = pytest.mark.unit

LIMITS = Limits(ttl_s_max=60.0, drift_s=5.0, region_entries_max=4, rows_max=12, history_max=9)
KEEP_S = LIMITS.ttl_s_max + LIMITS.drift_s

ADAPTERS: dict[str, Callable[[Path, Limits], LeaseTable]] = {
    "memory": lambda _folder, limits: MemoryPresence(limits),
    "sqlite": lambda folder, limits: SqlitePresence(folder / "presence.db", limits),
}


class Known(NamedTuple):
    """What the model knows of a node: listed before `until`, its sequence remembered before `forget`."""

    sequence: int
    region: str | None
    record: bytes
    revision: int
    lease_s: float
    until: float
    forget: float


class Reader:
    """Follows a region by its cookies."""

    def __init__(self, region: str, limit: int) -> None:
        self.region, self.limit = region, limit
        self.cookie: bytes | None = None
        self.copy: dict[bytes, PresenceEntry] = {}

    def follow(self, presence: LeaseTable, now: float) -> bool:
        """Asks once; whether there is more."""
        delta = presence.changes(now, self.region, limit=self.limit, cookie=self.cookie)
        assert len(delta.entries) + len(delta.removed) <= self.limit
        assert not {entry.node for entry in delta.entries} & set(delta.removed)
        delta.apply(self.copy)
        self.cookie = delta.cookie
        return delta.more


NODES = st.sampled_from([bytes([number]) for number in range(97, 111)])
REGIONS = st.sampled_from(["tokyo", "osaka"])
TTLS = st.sampled_from([1.0, 10.0, 60.0, 100.0])


class Model(RuleBasedStateMachine):
    """Calls the adapter and the model alike."""

    adapter = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.presence = ADAPTERS[self.adapter](Path(self.folder.name), LIMITS)
        self.now = 0.0
        self.known: dict[bytes, Known] = {}
        self.revision = 0
        self.readers = [Reader(region, limit) for region in ("tokyo", "osaka") for limit in (1, 3, 100)]

    def live(self, region: str | None = None) -> dict[bytes, Known]:
        return {
            node: known
            for node, known in sorted(self.known.items())
            if known.region is not None and self.now < known.until and region in (None, known.region)
        }

    def forget(self) -> None:
        """Drops what no longer counts."""
        self.known = {node: known for node, known in self.known.items() if self.now < known.forget}

    def attempt(self, call: Callable[[], object], refused: bool) -> object | None:
        before = self.presence.revision()
        try:
            result = call()
        except CityChainError:
            if not refused:
                raise
            assert self.presence.revision() >= before
            return None
        assert not refused
        return result

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 9.0, 30.0, 60.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        node=NODES, region=REGIONS, step=st.integers(-1, 2), ttl=TTLS, check=st.sampled_from([None, "right", "wrong"])
    )
    def register(self, node: bytes, region: str, step: int, ttl: float, check: str | None) -> None:
        self.forget()
        known = self.known.get(node)
        sequence = max(0, (known.sequence if known else 3) + step)
        present = self.live().get(node)
        if_revision = None if check is None else (present.revision if present else 0) + (check == "wrong")
        refused = (
            check == "wrong"
            or (known is not None and sequence <= known.sequence)
            or (len(self.live(region)) >= 4 and (present is None or present.region != region))
            or (known is None and len(self.known) >= 12)
        )
        fresh = PresenceEntry(node, region, sequence, bytes([step + 1]))
        result = self.attempt(
            lambda: self.presence.register(self.now, fresh, ttl=ttl, if_revision=if_revision), refused
        )
        if not refused:
            lease_s = min(ttl, 60.0)
            revision = self.presence.revision()
            assert result == (revision, lease_s)
            until = self.now + lease_s
            self.known[node] = Known(sequence, region, fresh.record, revision, lease_s, until, until + KEEP_S)

    @rule(node=NODES, ttl=TTLS)
    def renew(self, node: bytes, ttl: float) -> None:
        known = self.live().get(node)
        result = self.attempt(lambda: self.presence.renew(self.now, node, ttl=ttl), known is None)
        if known is not None:
            lease_s = min(ttl, 60.0)
            assert result == lease_s
            until = max(known.until, self.now + lease_s)
            longest = max(known.lease_s, lease_s)
            self.known[node] = known._replace(until=until, forget=until + KEEP_S, lease_s=longest)

    @rule(node=NODES, step=st.integers(-1, 1))
    def remove(self, node: bytes, step: int) -> None:
        self.forget()
        known = self.known.get(node)
        sequence = max(0, (known.sequence if known else 3) + step)
        refused = (known is None and len(self.known) >= 12) or (
            node in self.live() and known is not None and sequence < known.sequence
        )
        self.attempt(lambda: self.presence.remove(self.now, node, sequence), refused)
        if not refused:
            highest = max(sequence, known.sequence) if known else sequence
            self.known[node] = Known(highest, None, b"", 0, 0.0, 0.0, self.now + KEEP_S)

    @rule(limit=st.integers(0, 5))
    def expire(self, limit: int) -> None:
        before = self.presence.revision()
        swept = self.presence.expire(self.now, limit)
        assert swept <= limit
        assert before <= self.presence.revision() <= before + swept
        if swept < limit:
            assert self.presence.expire(self.now, 100) == 0
            self.forget()
            assert set(self.presence._rows) == set(self.known)  # nothing is kept for longer than it counts

    @rule(which=st.integers(0, 5))
    def follow_once(self, which: int) -> None:
        """Leaves a reader anywhere, also in the middle of its first reading."""
        self.readers[which].follow(self.presence, self.now)

    @rule(which=st.integers(0, 5))
    def follow(self, which: int) -> None:
        reader = self.readers[which]
        while reader.follow(self.presence, self.now):
            pass
        assert reader.copy == {
            node: PresenceEntry(node, reader.region, known.sequence, known.record)
            for node, known in self.live(reader.region).items()
        }

    @rule(node=NODES)
    def find(self, node: bytes) -> None:
        known = self.live().get(node)
        found = self.presence.find(self.now, node)
        assert found == (
            None if known is None else PresenceEntry(node, known.region or "", known.sequence, known.record)
        )

    @rule()
    def reopen(self) -> None:
        if self.adapter != "sqlite":
            return
        self.presence.close()
        before = {node: known for node, known in self.known.items() if node in self.presence._rows}
        listed = {node for node, row in self.presence._rows.items() if row.region is not None}
        unknown = set(self.presence._rows) - set(before)
        self.presence = ADAPTERS[self.adapter](Path(self.folder.name), LIMITS)
        self.now = 1000.0  # another clock; what was not yet swept counts anew
        for node, known in before.items():
            until = self.now + known.lease_s if node in listed else 0.0
            region = known.region if node in listed else None
            since = until if node in listed else self.now
            before[node] = known._replace(region=region, until=until, forget=since + KEEP_S)
        self.known = before
        for node in unknown:  # forgotten but not yet swept: the model has no memory of it, so take it as it is
            row = self.presence._unplaced[node]  # type: ignore[attr-defined]
            until = self.now + row.lease_s if row.region is not None else 0.0
            since = until if row.region is not None else self.now
            self.known[node] = Known(
                row.sequence, row.region, row.record, row.revision, row.lease_s, until, since + KEEP_S
            )

    @invariant()
    def same_lists(self) -> None:
        assert self.presence.revision() >= self.revision
        self.revision = self.presence.revision()
        for region in ("tokyo", "osaka"):
            found: list[PresenceEntry] = []
            page = self.presence.list(self.now, region, limit=3)
            found += page.entries
            while page.cookie is not None:
                page = self.presence.list(self.now, region, limit=3, cookie=page.cookie)
                found += page.entries
            assert found == [
                PresenceEntry(node, region, known.sequence, known.record) for node, known in self.live(region).items()
            ]

    @invariant()
    def in_one_region(self) -> None:
        found = [node for held in self.presence._regions.values() for node in held.nodes.after(None)]
        assert len(found) == len(set(found))
        queued = [len(held.due) for held in self.presence._regions.values()]
        assert sum(queued) + len(self.presence._tombs) == len(self.presence._rows)
        assert len(self.presence._history._kept) <= 9

    def teardown(self) -> None:
        self.presence.close()
        self.folder.cleanup()


def _model_test(name: str) -> type:
    machine = type(f"Model_{name}", (Model,), {"adapter": name})
    case: type = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)  # type: ignore[attr-defined]
    return case


TestModelMemory = _model_test("memory")
TestModelSqlite = _model_test("sqlite")
