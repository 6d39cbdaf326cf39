"""Following a region by cookies, checked records, and nodes that move while others look."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain.adapters.presence.history import COOKIE_BYTES_MAX, Place
from city_chain.adapters.presence.leases import LeaseTable, Limits
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import InputError, StorageError, VerificationError
from city_chain.ports import PresenceDelta, PresenceEntry

pytestmark = pytest.mark.unit

LIMITS = Limits(ttl_s_max=60.0, drift_s=5.0, region_entries_max=100, rows_max=1000, history_max=8)

type Make = Callable[..., LeaseTable]

ADAPTERS: dict[str, Callable[[Path], Make]] = {
    "memory": lambda _folder: MemoryPresence,
    "sqlite": lambda folder: lambda *rest: SqlitePresence(folder / "presence.db", *rest),
}


@pytest.fixture(params=ADAPTERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a presence of each kind."""
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def presence(make: Make) -> Iterator[LeaseTable]:
    with make(LIMITS) as opened:
        yield opened


def entry(node: bytes, sequence: int, region: str = "tokyo", record: bytes = b"record") -> PresenceEntry:
    return PresenceEntry(node, region, sequence, record)


def all_of(presence: LeaseTable, now: float, region: str = "tokyo", cookie: bytes | None = None) -> PresenceDelta:
    delta = presence.changes(now, region, cookie=cookie)
    assert not delta.more
    return delta


# --- deltas ----------------------------------------------------------------------------------------------------------


def test_a_cookie_gets_what_is_new_since(presence: LeaseTable) -> None:
    empty = all_of(presence, 0.0)
    assert empty == PresenceDelta([], [], empty.cookie, True, False)
    presence.register(0.0, entry(b"b", 1), ttl=30.0)
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    presence.register(0.0, entry(b"c", 1, "osaka"), ttl=30.0)
    first = all_of(presence, 0.0, cookie=empty.cookie)
    assert (first.entries, first.removed, first.anew) == ([entry(b"b", 1), entry(b"a", 1)], [], False)
    presence.register(1.0, entry(b"b", 2), ttl=30.0)
    presence.remove(1.0, b"a", 1)
    second = all_of(presence, 1.0, cookie=first.cookie)
    assert (second.entries, second.removed, second.anew) == ([entry(b"b", 2)], [b"a"], False)
    again = all_of(presence, 1.0, cookie=second.cookie)
    assert (again.entries, again.removed, again.cookie) == ([], [], second.cookie)


def test_what_runs_out_has_left(presence: LeaseTable) -> None:
    for number in range(4):
        presence.register(0.0, entry(b"%d" % number, 1), ttl=10.0 + number)
    cookie = all_of(presence, 0.0).cookie
    presence.renew(5.0, b"1", ttl=50.0)
    assert all_of(presence, 9.9, cookie=cookie).removed == []
    seen = []
    more = True
    while more:  # one row is swept by each call, as it asks for one
        delta = presence.changes(12.0, "tokyo", limit=1, cookie=cookie)
        seen += delta.removed
        cookie, more = delta.cookie, delta.more
    assert sorted(seen) == [b"0", b"2"]


def test_a_move_is_seen_from_both_regions(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 1, "tokyo"), ttl=30.0)
    cookies = {region: all_of(presence, 0.0, region).cookie for region in ("tokyo", "osaka")}
    presence.register(0.0, entry(b"a", 2, "osaka"), ttl=30.0)
    left = all_of(presence, 0.0, "tokyo", cookies["tokyo"])
    came = all_of(presence, 0.0, "osaka", cookies["osaka"])
    assert (left.entries, left.removed, came.entries, came.removed) == ([], [b"a"], [entry(b"a", 2, "osaka")], [])


def test_a_list_that_changes_while_it_is_read(presence: LeaseTable) -> None:
    for name in (b"b", b"d", b"f", b"h"):
        presence.register(0.0, entry(name, 1), ttl=30.0)
    copy: dict[bytes, PresenceEntry] = {}
    delta = presence.changes(0.0, "tokyo", limit=2)
    delta.apply(copy)
    assert (list(copy), delta.anew, delta.more) == ([b"b", b"d"], True, True)
    presence.remove(0.0, b"b", 1)  # was read already
    presence.register(0.0, entry(b"a", 1), ttl=30.0)  # would have been read before
    presence.register(0.0, entry(b"h", 2), ttl=30.0)  # is still to be read
    while delta.more:
        delta = presence.changes(0.0, "tokyo", limit=2, cookie=delta.cookie)
        assert not delta.anew
        delta.apply(copy)
    assert sorted(copy.values()) == presence.list(0.0, "tokyo").entries


def test_who_was_away_too_long_starts_anew(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    cookie = all_of(presence, 0.0).cookie
    for sequence in range(2, 2 + LIMITS.history_max):
        presence.register(0.0, entry(b"b", sequence, "osaka"), ttl=30.0)
    assert not all_of(presence, 0.0, cookie=cookie).anew  # exactly what is remembered
    presence.register(0.0, entry(b"b", 100, "osaka"), ttl=30.0)
    late = all_of(presence, 0.0, cookie=cookie)
    assert (late.anew, late.entries) == (True, [entry(b"a", 1)])


def test_a_cookie_from_elsewhere_starts_anew(make: Make) -> None:
    with make(LIMITS) as presence:
        presence.register(0.0, entry(b"a", 1), ttl=30.0)
        cookie = all_of(presence, 0.0).cookie
        assert all_of(presence, 0.0, "osaka", cookie).anew
        with MemoryPresence(LIMITS) as other:
            other.register(0.0, entry(b"z", 1), ttl=30.0)
            assert all_of(other, 0.0, cookie=cookie).entries == [entry(b"z", 1)]
        later = Place.from_cookie(cookie, "tokyo")
        assert later is not None
        forged = all_of(presence, 0.0, cookie=later._replace(revision=1 << 60).cookie)
        assert (forged.anew, forged.entries) == (True, [entry(b"a", 1)])
    with make(LIMITS) as presence:  # opened anew: leases count anew, so what the reader has is not comparable
        assert all_of(presence, 0.0, cookie=cookie).anew


def test_without_history_everybody_starts_anew(make: Make) -> None:
    with make(LIMITS._replace(history_max=0)) as presence:
        cookie = all_of(presence, 0.0).cookie
        assert not all_of(presence, 0.0, cookie=cookie).anew
        presence.register(0.0, entry(b"a", 1), ttl=30.0)
        assert all_of(presence, 0.0, cookie=cookie).anew


@given(st.binary(max_size=COOKIE_BYTES_MAX + 2))
def test_bytes_that_are_no_cookie(cookie: bytes) -> None:
    with MemoryPresence(LIMITS) as presence:
        presence.register(0.0, entry(b"a", 1), ttl=30.0)
        try:
            delta = presence.changes(0.0, "tokyo", cookie=cookie)
        except InputError:
            pass  # it says so
        else:
            assert (delta.anew, delta.entries) == (True, [entry(b"a", 1)])
        assert presence.revision() == 1


def test_a_storage_that_fails_leaves_what_has_run_out_to_be_swept() -> None:
    storage = MemoryStorage()
    with SqlitePresence(storage, LIMITS) as presence:
        presence.register(0.0, entry(b"a", 1), ttl=10.0)
        cookie = all_of(presence, 0.0).cookie
        works, presence._save = presence._save, broken
        for _ in range(2):
            with pytest.raises(StorageError, match="full"):
                presence.changes(10.0, "tokyo", cookie=cookie)
        assert presence.revision() == 1
        presence._save = works
        assert all_of(presence, 10.0, cookie=cookie).removed == [b"a"]


def broken(*_: object) -> None:
    raise StorageError("the disk is full")


# --- checked records -------------------------------------------------------------------------------------------------


def test_a_wrong_record_never_gets_in(make: Make) -> None:
    asked: list[PresenceEntry] = []

    def check(given: PresenceEntry) -> None:
        asked.append(given)
        if not given.record.startswith(b"signed by " + given.node):
            raise VerificationError("the record is not signed by its node")

    with make(LIMITS._replace(region_entries_max=1), check) as presence:
        with pytest.raises(VerificationError, match="not signed"):
            presence.register(0.0, entry(b"a", 1, record=b"unsigned"), ttl=30.0)
        assert (presence.revision(), presence.find(0.0, b"a")) == (0, None)
        right = entry(b"a", 1, record=b"signed by a")  # the sequence of the refused one was not used up
        presence.register(0.0, right, ttl=30.0)
        with pytest.raises(VerificationError, match="not signed"):
            presence.register(0.0, entry(b"a", 2, record=b"signed by b"), ttl=30.0)
        assert presence.list(0.0, "tokyo").entries == [right]
        assert len(asked) == 3
        for refused, why in (
            (entry(b"a", 1, record=b"signed by a"), "used before"),
            (entry(b"b", 1, record=b"signed by b"), "full"),
        ):
            with pytest.raises(InputError, match=why):
                presence.register(0.0, refused, ttl=30.0)
        assert len(asked) == 3, "what is refused anyway costs no check of its record"


def test_wrong_checks() -> None:
    for wrong in (1, "check", b"check", object()):
        with pytest.raises(TypeError, match="check"):
            MemoryPresence(LIMITS, wrong)  # type: ignore[arg-type]


def test_records_may_be_capped_lower(make: Make) -> None:
    with make(LIMITS._replace(record_bytes_max=10)) as presence:
        presence.register(0.0, entry(b"a", 1, record=bytes(10)), ttl=30.0)
        with pytest.raises(InputError, match="at most 10 bytes"):
            presence.register(0.0, entry(b"a", 2, record=bytes(11)), ttl=30.0)
        assert presence.revision() == 1


# --- moving ----------------------------------------------------------------------------------------------------------


def test_a_moved_node_is_never_in_two_regions(make: Make) -> None:
    """Two reads see a node in both regions only if it moved between them: then the later read has a higher sequence."""
    regions = ("r0", "r1")
    names = [b"%d" % number for number in range(4)]
    stop = threading.Event()
    wrong: list[object] = []

    def move(presence: LeaseTable, name: bytes) -> None:
        chance = random.Random(name)
        for sequence in range(1, 60):
            presence.register(0.0, entry(name, sequence, chance.choice(regions)), ttl=60.0)

    def look(presence: LeaseTable) -> None:
        while not stop.is_set():
            early, late = (
                {listed.node: listed.sequence for listed in presence.list(0.0, region).entries} for region in regions
            )
            wrong.extend((name, early[name], late[name]) for name in early.keys() & late if early[name] >= late[name])
            with presence._lock:
                held = [list(of.nodes.after(None)) for of in presence._regions.values()]
            if sorted(name for of in held for name in of) != names:
                wrong.append(held)

    def follow(presence: LeaseTable, copies: dict[str, dict[bytes, PresenceEntry]]) -> None:
        cookies: dict[str, bytes | None] = dict.fromkeys(regions)
        ended = False
        while not ended:
            ended = stop.is_set()  # once more after the last move
            more = True
            while more:
                for region in regions:
                    delta = presence.changes(0.0, region, limit=3, cookie=cookies[region])
                    delta.apply(copies[region])
                    cookies[region] = delta.cookie
                    more = delta.more

    with make(LIMITS) as presence:
        for name in names:
            presence.register(0.0, entry(name, 0, "r0"), ttl=60.0)
        copies: dict[str, dict[bytes, PresenceEntry]] = {region: {} for region in regions}
        readers = [threading.Thread(target=look, args=(presence,)) for _ in range(2)]
        readers.append(threading.Thread(target=follow, args=(presence, copies)))
        movers = [threading.Thread(target=move, args=(presence, name)) for name in names]
        for thread in readers + movers:
            thread.start()
        for thread in movers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
        assert wrong == []
        while any(delta.more for delta in (presence.changes(0.0, region) for region in regions)):
            pass
        for region in regions:
            assert sorted(copies[region].values()) == presence.list(0.0, region).entries
