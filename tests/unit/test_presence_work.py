"""How much work one call of a presence does: counted in lines executed and rows written, whatever came before it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType

import hypothesis.strategies as st
import pytest
from hypothesis import given

from city_chain.adapters.presence import sqlite
from city_chain.adapters.presence.leases import LeaseTable, Limits, Row
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.presence.ordered import Deadlines, SortedNodes
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError
from city_chain.ports import PresenceEntry

pytestmark = pytest.mark.unit

MILLION = 1_000_000
LIMITS = Limits(ttl_s_max=60.0, drift_s=5.0, region_entries_max=MILLION, rows_max=MILLION)
ROWS_AT_ONCE = 10_000
LINES_OF_A_ROW = 1_000
"""More than a row can cost: some thirty lines, and three for each of the twenty levels of three heaps."""


def lines_of(call: Callable[[], object]) -> tuple[object, int]:
    """What a call returns, and how many lines of the presence it executes."""
    count = 0
    tool = sys.monitoring.PROFILER_ID

    def line(code: CodeType, _: int) -> object:
        nonlocal count
        if "/presence/" not in code.co_filename.replace("\\", "/"):
            return sys.monitoring.DISABLE
        count += 1
        return None

    sys.monitoring.use_tool_id(tool, "lines")
    try:
        sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, line)
        sys.monitoring.set_events(tool, sys.monitoring.events.LINE)
        result = call()
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.restart_events()
        sys.monitoring.free_tool_id(tool)
    return result, count


def name(number: int) -> bytes:
    return number.to_bytes(8, "big")


def filled(presence: LeaseTable, count: int) -> None:
    """One live entry of each number, as `register` makes it."""
    presence.register(0.0, PresenceEntry(name(0), "tokyo", 1, b""), ttl=10.0)
    row = presence._rows[name(0)]
    for number in range(1, count):
        presence._place(name(number), row)


def swept_in_bounds(presence: LeaseTable, written: list[int]) -> None:
    """A million entries run out at one instant, and so do their tombstones: no call does more than it was asked for."""
    for now, revisions, turns in ((10.0, MILLION, MILLION // ROWS_AT_ONCE), (1000.0, 0, 5)):
        before = presence.revision()
        assert lines_of(partial(presence.list, now, "tokyo", limit=10))[1] < 1_000 * 20  # passes over a thousand
        assert lines_of(partial(presence.find, now, name(7)))[1] < LINES_OF_A_ROW
        for turn in range(turns):
            written.clear()
            if turn % 40 == 0:  # counting is slow
                swept, lines = lines_of(partial(presence.expire, now, ROWS_AT_ONCE))
                assert lines < ROWS_AT_ONCE * LINES_OF_A_ROW
            else:
                swept = presence.expire(now, ROWS_AT_ONCE)
            assert swept == ROWS_AT_ONCE
            assert sum(written) <= ROWS_AT_ONCE + 1  # and the revision
        assert presence.revision() - before == revisions
        assert presence._regions == {}
    assert len(presence._rows) == len(presence._tombs) == MILLION - 5 * ROWS_AT_ONCE


@pytest.mark.timeout(900)
def test_a_million_expiries_in_memory() -> None:
    with MemoryPresence(LIMITS) as presence:
        written: list[int] = []
        presence._save = lambda rows, _: written.append(len(rows))
        filled(presence, MILLION)
        swept_in_bounds(presence, written)


@pytest.mark.timeout(900)
def test_a_million_expiries_in_sqlite(tmp_path: Path) -> None:
    row = sqlite._packed(Row(1, "tokyo", b"", 1, 10.0, 0.0))
    with SqliteStorage(tmp_path / "presence.db") as storage:
        for begin in range(0, MILLION, 100_000):
            storage.put_many({b"presence/n" + name(number): row for number in range(begin, begin + 100_000)})
        storage.put_many({b"presence/r": (MILLION).to_bytes(8, "little")})
        with SqlitePresence(storage, LIMITS) as presence:
            assert presence.list(0.0, "tokyo", limit=2).entries[1].node == name(1)
            written: list[int] = []
            put = presence._storage.put_many

            def counted(items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
                gone = list(delete)
                written.append(len(items) + len(gone))
                put(items, delete=gone)

            presence._storage.put_many = counted  # type: ignore[method-assign]
            swept_in_bounds(presence, written)


@pytest.mark.parametrize("renewed", [False, True])
def test_making_room_sweeps_one_row(renewed: bool) -> None:
    """A full region, or table, of which all has run out at once: a newcomer does not pay for that."""
    count = 20_000
    with MemoryPresence(LIMITS._replace(region_entries_max=count, rows_max=count + 1)) as presence:
        filled(presence, count)
        if renewed:  # all places in the queue are outdated
            for number in range(count):
                presence.renew(9.0, name(number), ttl=1.5)
        new = [PresenceEntry(b"new%d" % number, "tokyo", 1, b"") for number in range(3)]
        _, lines = lines_of(lambda: presence.register(10.5, new[0], ttl=60.0))
        assert lines < 2 * LINES_OF_A_ROW
        assert len(presence._rows) == count + 1
        with pytest.raises(InputError, match="remembers"):
            presence.register(10.5, new[1], ttl=60.0)
        _, lines = lines_of(lambda: presence.register(10.5 + 65.0, new[2], ttl=60.0))
        assert lines < 2 * LINES_OF_A_ROW
        assert len(presence._rows) == count + 1


def test_following_looks_at_no_more_than_asked() -> None:
    with MemoryPresence(LIMITS) as presence:
        filled(presence, 20_000)
        cookie = presence.changes(0.0, "osaka").cookie
        first, lines = lines_of(lambda: presence.changes(0.0, "tokyo", limit=10))
        assert lines < 10 * LINES_OF_A_ROW
        assert len(first.entries) == 10  # type: ignore[attr-defined]
        _, lines = lines_of(lambda: presence.changes(0.0, "osaka", limit=10, cookie=cookie))
        assert lines < 10 * LINES_OF_A_ROW
        _, lines = lines_of(lambda: presence.changes(10.0, "osaka", limit=10, cookie=cookie))
        assert lines < 10 * LINES_OF_A_ROW


# --- the orders under the table --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.one_of(st.none(), st.integers(0, 9))), max_size=200))
def test_deadlines_are_as_a_sorted_list(moves: list[tuple[str, int | None]]) -> None:
    deadlines = Deadlines[str]()
    known: dict[str, int] = {}
    for key, due in moves:
        if due is None:
            known.pop(key, None)
            deadlines.drop(key)
        else:
            known[key] = due
            deadlines.set(key, due)
        assert deadlines.first == min(((of, key) for key, of in known.items()), default=None)
        assert len(deadlines) == len(known)


def test_sorted_nodes_are_as_a_sorted_list() -> None:
    """Enough of them for blocks to part and to join again."""
    chance = random.Random(7)
    nodes, known = SortedNodes(), set[bytes]()
    blocks = 0
    for add in [True] * 6_000 + [chance.random() < 0.5 for _ in range(2_000)] + [False] * 20_000:
        node = chance.randrange(9_000).to_bytes(2, "big")
        (nodes.add if add else nodes.discard)(node)
        (known.add if add else known.discard)(node)
        blocks = max(blocks, len(nodes._blocks))
        if chance.random() < 0.01:
            assert list(nodes.after(None)) == sorted(known)
            assert list(nodes.after(node)) == sorted(other for other in known if other > node)
            assert len(nodes) == len(known)
    assert blocks > 3
    assert len(nodes._blocks) <= 3
    assert list(nodes.after(None)) == sorted(known)
