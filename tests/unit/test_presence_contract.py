"""What every presence keeps: the contract of `ports.Presence`, against each adapter."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from city_chain.adapters.presence.leases import (
    NODE_BYTES_MAX,
    RECORD_BYTES_MAX,
    REGION_BYTES_MAX,
    SEQUENCE_MAX,
    LeaseTable,
    Limits,
)
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.ports import Presence, PresenceEntry, PresencePage

pytestmark = pytest.mark.unit

LIMITS = Limits(ttl_s_max=60.0, drift_s=5.0, region_entries_max=4, rows_max=12)
KEEP_S = LIMITS.ttl_s_max + LIMITS.drift_s

ADAPTERS: dict[str, Callable[[Path, Limits], LeaseTable]] = {
    "memory": lambda _folder, limits: MemoryPresence(limits),
    "sqlite": lambda folder, limits: SqlitePresence(folder / "presence.db", limits),
    "in-a-storage": lambda _folder, limits: SqlitePresence(MemoryStorage(), limits),
}


@pytest.fixture(params=ADAPTERS)
def presence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LeaseTable]:
    """One open presence of each kind, with small limits."""
    with ADAPTERS[request.param](tmp_path, LIMITS) as opened:
        yield opened


def entry(node: bytes, sequence: int, region: str = "tokyo", record: bytes = b"record") -> PresenceEntry:
    return PresenceEntry(node, region, sequence, record)


def nodes(presence: Presence, now: float, region: str = "tokyo") -> list[bytes]:
    return [listed.node for listed in presence.list(now, region).entries]


# --- leases ----------------------------------------------------------------------------------------------------------


def test_is_a_presence(presence: LeaseTable) -> None:
    assert isinstance(presence, Presence)
    assert presence.revision() == 0
    assert presence.list(0.0, "tokyo") == PresencePage([], None)


def test_register_lists_what_was_given(presence: LeaseTable) -> None:
    assert presence.register(10.0, entry(b"b", 3), ttl=30.0) == (1, 30.0)
    assert presence.register(10.0, entry(b"a", 1, record=b""), ttl=1e9) == (2, LIMITS.ttl_s_max)
    page = presence.list(10.0, "tokyo")
    assert page == PresencePage([entry(b"a", 1, record=b""), entry(b"b", 3)], None)
    assert presence.revision() == 2


def test_an_entry_is_hidden_at_its_deadline_and_not_before(presence: LeaseTable) -> None:
    presence.register(10.0, entry(b"a", 1), ttl=30.0)
    assert nodes(presence, 39.999) == [b"a"]
    assert nodes(presence, 40.0) == []
    with pytest.raises(UnavailableError):
        presence.renew(40.0, b"a", ttl=30.0)
    assert presence.revision() == 1
    assert presence.expire(40.0, 10) == 1
    assert presence.revision() == 2
    assert presence.expire(40.0, 10) == 0


def test_time_never_goes_back(presence: LeaseTable) -> None:
    presence.register(10.0, entry(b"a", 1), ttl=30.0)
    assert nodes(presence, 50.0) == []
    assert nodes(presence, 20.0) == []
    assert presence.register(0.0, entry(b"b", 1), ttl=1.0)[1] == 1.0
    assert nodes(presence, 50.5) == [b"b"]


def test_renewal_extends_and_never_shortens(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    assert presence.renew(20.0, b"a", ttl=30.0) == 30.0
    assert presence.renew(21.0, b"a", ttl=1.0) == 1.0
    assert presence.expire(40.0, 10) == 0
    assert nodes(presence, 49.9) == [b"a"]
    assert presence.renew(49.9, b"a", ttl=1000.0) == LIMITS.ttl_s_max
    assert nodes(presence, 109.0) == [b"a"]
    assert nodes(presence, 110.0) == []
    assert presence.revision() == 1
    assert presence.expire(110.0, 10) == 1
    with pytest.raises(UnavailableError, match="register"):
        presence.renew(0.0, b"nobody", ttl=1.0)


def test_renewal_at_the_instant_of_the_deadline_is_too_late(presence: LeaseTable) -> None:
    for name in (b"a", b"b"):
        presence.register(0.1, entry(name, 1), ttl=30.2)
    deadline = 0.1 + 30.2
    assert presence.renew(math.nextafter(deadline, 0.0), b"a", ttl=30.0) == 30.0  # the last instant before it
    assert nodes(presence, deadline) == [b"a"]
    assert presence.find(deadline, b"b") is None
    with pytest.raises(UnavailableError, match="not logged in"):
        presence.renew(deadline, b"b", ttl=30.0)
    assert presence.expire(deadline, 10) == 1


def test_find(presence: LeaseTable) -> None:
    assert presence.find(0.0, b"a") is None
    presence.register(0.0, entry(b"a", 1, "osaka"), ttl=30.0)
    presence.register(0.0, entry(b"b", 1), ttl=30.0)
    presence.remove(0.0, b"b", 1)
    assert presence.find(29.9, b"a") == entry(b"a", 1, "osaka")
    assert presence.find(29.9, b"b") is None
    assert presence.find(30.0, b"a") is None


# --- sequences and tombstones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [0, 6, 7])
def test_only_a_higher_sequence_replaces(presence: LeaseTable, sequence: int) -> None:
    presence.register(0.0, entry(b"a", 7), ttl=30.0)
    with pytest.raises(InputError, match="8 or higher"):
        presence.register(1.0, entry(b"a", sequence, record=b"old"), ttl=30.0)
    assert presence.list(1.0, "tokyo").entries == [entry(b"a", 7)]
    assert presence.revision() == 1
    presence.register(1.0, entry(b"a", 8, record=b"new"), ttl=30.0)
    assert presence.list(1.0, "tokyo").entries == [entry(b"a", 8, record=b"new")]


def test_an_old_record_cannot_come_back_after_logout(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 7), ttl=30.0)
    presence.remove(1.0, b"a", 7)
    assert nodes(presence, 1.0) == []
    assert presence.revision() == 2
    for now in (1.0, 30.0, 1.0 + KEEP_S - 0.001):
        presence.expire(now, 10)
        for sequence in (6, 7):
            with pytest.raises(InputError, match="used before"):
                presence.register(now, entry(b"a", sequence), ttl=30.0)
        with pytest.raises(UnavailableError):
            presence.renew(now, b"a", ttl=30.0)
    presence.register(1.0 + KEEP_S, entry(b"a", 1), ttl=30.0)  # by now no record of then can be valid
    assert nodes(presence, 1.0 + KEEP_S) == [b"a"]


@pytest.mark.parametrize("swept", [False, True])
def test_an_old_record_cannot_come_back_after_expiry(presence: LeaseTable, swept: bool) -> None:
    presence.register(0.0, entry(b"a", 7), ttl=30.0)
    for now in (30.0, 30.0 + KEEP_S - 0.001):
        if swept:
            presence.expire(now, 10)
        with pytest.raises(InputError, match="used before"):
            presence.register(now, entry(b"a", 7), ttl=30.0)
    presence.register(30.0 + KEEP_S, entry(b"a", 7), ttl=30.0)


def test_logout_with_a_higher_sequence_uses_it_up(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 7), ttl=30.0)
    presence.remove(1.0, b"a", 9)
    with pytest.raises(InputError):
        presence.register(1.0, entry(b"a", 9), ttl=30.0)
    presence.remove(1.0, b"a", 3)  # an older logout comes late: nothing to do
    with pytest.raises(InputError):
        presence.register(1.0, entry(b"a", 9), ttl=30.0)
    presence.register(1.0, entry(b"a", 10), ttl=30.0)


def test_logout_with_a_lower_sequence_is_refused(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 7), ttl=30.0)
    with pytest.raises(InputError, match="lower"):
        presence.remove(1.0, b"a", 6)
    assert nodes(presence, 1.0) == [b"a"]
    assert presence.revision() == 1


def test_logout_before_login(presence: LeaseTable) -> None:
    presence.remove(0.0, b"a", 7)
    assert presence.revision() == 0
    with pytest.raises(InputError):
        presence.register(0.0, entry(b"a", 7), ttl=30.0)
    presence.register(0.0, entry(b"a", 8), ttl=30.0)


def test_if_revision(presence: LeaseTable) -> None:
    with pytest.raises(InputError, match="absent"):
        presence.register(0.0, entry(b"a", 1), ttl=30.0, if_revision=1)
    first, _ = presence.register(0.0, entry(b"a", 1), ttl=30.0, if_revision=0)
    presence.register(0.0, entry(b"b", 1), ttl=30.0)
    for wrong in (0, first + 1):
        with pytest.raises(InputError, match=f"revision {first}"):
            presence.register(0.0, entry(b"a", 2), ttl=30.0, if_revision=wrong)
    second, _ = presence.register(0.0, entry(b"a", 2), ttl=30.0, if_revision=first)
    assert second > first
    with pytest.raises(InputError):
        presence.register(30.0, entry(b"a", 3), ttl=30.0, if_revision=second)  # it has run out: absent
    presence.register(30.0, entry(b"a", 3), ttl=30.0, if_revision=0)


# --- regions and pages -----------------------------------------------------------------------------------------------


def test_a_node_is_in_one_region(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 1, "tokyo"), ttl=30.0)
    presence.register(0.0, entry(b"a", 2, "osaka"), ttl=30.0)
    assert nodes(presence, 0.0, "tokyo") == []
    assert presence.list(0.0, "osaka").entries == [entry(b"a", 2, "osaka")]


def test_moving_is_atomic(presence: LeaseTable) -> None:
    """A reader may look between two moves, so it may see the node nowhere in two reads, but never in both regions."""
    presence.register(0.0, entry(b"a", 0, "r0"), ttl=60.0)
    stop = threading.Event()
    wrong: list[object] = []

    def look() -> None:
        while not stop.is_set():
            before = presence.revision()
            seen = [region for region in ("r0", "r1") if nodes(presence, 0.0, region)]
            if presence.revision() == before and len(seen) != 1:
                wrong.append(seen)

    reader = threading.Thread(target=look)
    reader.start()
    for sequence in range(1, 200):
        presence.register(0.0, entry(b"a", sequence, f"r{sequence % 2}"), ttl=60.0)
    stop.set()
    reader.join()
    assert wrong == []


def test_pages() -> None:
    with MemoryPresence() as presence:
        names = [f"{number:03}".encode() for number in range(25)]
        for name in reversed(names):
            presence.register(0.0, entry(name, 1), ttl=30.0 if int(name) % 5 else 10.0)
        live = [name for name in names if int(name) % 5]
        for limit in (1, 3, 4, 5, 19, 20, 21, 10_000):
            found: list[bytes] = []
            cookie = None
            pages = 0
            while pages == 0 or cookie is not None:
                page = presence.list(10.0, "tokyo", limit=limit, cookie=cookie)
                assert len(page.entries) <= limit
                found += [listed.node for listed in page.entries]
                cookie = page.cookie
                pages += 1
            assert found == live
            assert pages == -(-len(live) // limit)  # the last page says that it is the last


def test_pages_are_stable_while_others_come_and_go(presence: LeaseTable) -> None:
    for name in (b"b", b"d", b"f"):
        presence.register(0.0, entry(name, 1), ttl=30.0)
    first = presence.list(0.0, "tokyo", limit=2)
    presence.remove(0.0, b"d", 1)  # the one the cookie stands on
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    presence.register(0.0, entry(b"e", 1), ttl=30.0)
    second = presence.list(0.0, "tokyo", limit=2, cookie=first.cookie)
    assert [listed.node for listed in first.entries + second.entries] == [b"b", b"d", b"e", b"f"]
    assert second.cookie is None


# --- caps and sweeping -----------------------------------------------------------------------------------------------


def test_live_entries_are_never_evicted(presence: LeaseTable) -> None:
    for number in range(4):
        presence.register(0.0, entry(b"%d" % number, 1), ttl=30.0 + number)
    with pytest.raises(InputError, match="full"):
        presence.register(29.9, entry(b"new", 1), ttl=30.0)
    assert nodes(presence, 29.9) == [b"0", b"1", b"2", b"3"]
    presence.register(29.9, entry(b"1", 2), ttl=30.0)  # who is in may come anew
    presence.register(29.9, entry(b"new", 1, "osaka"), ttl=30.0)
    with pytest.raises(InputError, match="full"):
        presence.register(29.9, entry(b"new", 2, "tokyo"), ttl=30.0)
    assert nodes(presence, 29.9, "osaka") == [b"new"]
    presence.register(30.0, entry(b"new", 2, "tokyo"), ttl=30.0)  # one has run out
    assert nodes(presence, 30.0) == [b"1", b"2", b"3", b"new"]


def test_the_whole_table_is_bounded(presence: LeaseTable) -> None:
    for number in range(6):
        presence.register(0.0, entry(b"%d" % number, 1, f"r{number}"), ttl=30.0)
        presence.remove(0.0, b"gone%d" % number, 1)
    for call in (
        lambda: presence.register(29.0, entry(b"new", 1, "r"), ttl=1.0),
        lambda: presence.remove(29.0, b"new", 1),
    ):
        with pytest.raises(InputError, match="full"):
            call()
    presence.register(29.0, entry(b"gone0", 2, "r"), ttl=1.0)  # a place it already has
    with pytest.raises(InputError, match="full"):
        presence.register(KEEP_S - 0.1, entry(b"new", 1, "r"), ttl=1.0)
    presence.register(KEEP_S, entry(b"new", 1, "r"), ttl=1.0)  # tombstones have been forgotten
    assert nodes(presence, KEEP_S, "r") == [b"new"]


def test_expire_does_no_more_than_asked(presence: LeaseTable) -> None:
    for number in range(4):
        presence.register(0.0, entry(b"%d" % number, 1), ttl=10.0 + number)
    assert presence.expire(9.0, 10) == 0
    assert presence.expire(20.0, 0) == 0
    assert presence.revision() == 4
    assert [presence.expire(20.0, 3), presence.revision()] == [3, 7]
    assert [presence.expire(20.0, 3), presence.revision()] == [1, 8]
    assert presence.expire(20.0, 3) == 0
    assert [presence.expire(1000.0, 3), presence.expire(1000.0, 3), presence.revision()] == [3, 1, 8]
    for number in range(4):
        presence.register(1000.0, entry(b"%d" % number, 1), ttl=10.0)


def test_a_lower_limit_evicts_nobody(tmp_path: Path) -> None:
    path = tmp_path / "presence.db"
    with SqlitePresence(path, LIMITS) as presence:
        for number in range(4):
            presence.register(0.0, entry(b"%d" % number, 1), ttl=30.0 + number)
    with SqlitePresence(path, LIMITS._replace(region_entries_max=2)) as presence:
        assert len(nodes(presence, 0.0)) == 4
        with pytest.raises(InputError, match="full: it has 2 live entries"):
            presence.register(30.0, entry(b"new", 1), ttl=30.0)
    with SqlitePresence(path, LIMITS._replace(rows_max=3)) as presence:
        assert len(nodes(presence, 0.0)) == 4
        with pytest.raises(InputError, match="full: it remembers 3 nodes"):
            presence.register(30.0, entry(b"new", 1, "osaka"), ttl=30.0)
        presence.register(30.0, entry(b"3", 2), ttl=30.0)  # who is in may come anew
        assert nodes(presence, 30.0) == [b"1", b"2", b"3"]


def test_the_queue_does_not_grow_with_use() -> None:
    with MemoryPresence() as presence:
        for turn in range(1, 2000):
            presence.register(float(turn), entry(b"a", turn), ttl=30.0)
            presence.renew(float(turn), b"a", ttl=60.0)
        assert [len(presence._first), len(presence._tombs), len(presence._regions["tokyo"].due)] == [1, 0, 1]
        assert presence.expire(1999.0 + 60.0, 10) == 1


# --- restart ---------------------------------------------------------------------------------------------------------


def test_restart_keeps_entries_tombstones_and_revision(tmp_path: Path) -> None:
    path = tmp_path / "presence.db"
    with SqlitePresence(path, LIMITS) as presence:
        presence.register(5000.0, entry(b"a", 7), ttl=30.0)
        presence.register(5000.0, entry(b"b", 1, "大阪"), ttl=10.0)
        presence.renew(5001.0, b"b", ttl=40.0)
        presence.register(5000.0, entry(b"c", 4), ttl=30.0)
        presence.remove(5002.0, b"c", 4)
        before = presence.revision()
    with SqlitePresence(path, LIMITS) as presence:
        assert presence.revision() > before
        assert presence.list(3.0, "tokyo").entries == [entry(b"a", 7)]  # a new clock: leases count from here
        assert nodes(presence, 32.9) == [b"a"]
        assert nodes(presence, 33.0) == []
        assert nodes(presence, 42.9, "大阪") == [b"b"]
        assert nodes(presence, 43.0, "大阪") == []
        for node, sequence in ((b"a", 7), (b"c", 4)):
            with pytest.raises(InputError, match="used before"):
                presence.register(3.0 + KEEP_S - 0.1, entry(node, sequence), ttl=30.0)
        again = presence.revision()
        presence.register(3.0 + KEEP_S, entry(b"c", 4), ttl=30.0)
        assert presence.revision() > again
    with SqlitePresence(path, LIMITS) as presence:
        assert presence.revision() > again + 1


def test_a_storage_may_hold_more_than_the_presence(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "city.db") as storage:
        storage.put_many({b"n": b"theirs", b"presence": b"theirs", b"presence0": b"theirs"})
        with SqlitePresence(storage, LIMITS) as presence:
            presence.register(0.0, entry(b"a", 1), ttl=30.0)
        assert storage.get_many([b"n", b"presence", b"presence0"]) == [b"theirs"] * 3  # still open, untouched
        with SqlitePresence(storage, LIMITS) as presence:
            assert nodes(presence, 0.0) == [b"a"]


class FailingStorage(MemoryStorage):
    """A storage whose disk can be full."""

    full = False

    def put_many(self, *arguments: object, **options: object) -> None:
        if self.full:
            raise StorageError("the disk is full")
        super().put_many(*arguments, **options)  # type: ignore[arg-type]


def test_a_change_that_cannot_be_kept_is_not_made() -> None:
    storage = FailingStorage()
    with SqlitePresence(storage, LIMITS) as presence:
        presence.register(0.0, entry(b"a", 1), ttl=10.0)
        presence.register(0.0, entry(b"b", 1), ttl=30.0)
        storage.full = True
        for call in (
            lambda: presence.register(1.0, entry(b"a", 2, "osaka"), ttl=30.0),
            lambda: presence.register(1.0, entry(b"c", 1), ttl=30.0),
            lambda: presence.remove(1.0, b"a", 1),
            lambda: presence.renew(1.0, b"a", ttl=30.0),
            lambda: presence.expire(10.0, 10),
        ):
            with pytest.raises(StorageError, match="full"):
                call()
            assert presence.revision() == 2
        assert nodes(presence, 10.0) == [b"b"]
        assert nodes(presence, 10.0, "osaka") == []
        storage.full = False
        assert presence.expire(10.0, 10) == 1
        presence.register(10.0, entry(b"a", 2), ttl=30.0)
        assert nodes(presence, 10.0) == [b"a", b"b"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: b"",
        lambda row: row[:20],
        lambda row: b"\x02" + row[1:],
        lambda row: row[:1] + b"\x00" + row[2:],
        lambda row: row[:1] + b"\x07" + row[2:],
        lambda row: row[:26] + b"\xff\xff" + row[28:],
        lambda row: row[:28] + b"\xff" * 5 + row[33:],
        lambda row: row[:18] + b"\xff" * 8 + row[26:],
        lambda row: row + bytes(RECORD_BYTES_MAX),
    ],
)
def test_damaged_rows_are_refused(damage: Callable[[bytes], bytes]) -> None:
    storage = MemoryStorage()
    with SqlitePresence(storage, LIMITS) as presence:
        presence.register(0.0, entry(b"a", 1), ttl=10.0)
    (row,) = storage.get_many([b"presence/na"])
    assert row is not None
    storage.put_many({b"presence/na": damage(row)})
    with pytest.raises(StorageError, match="presence's row"):
        SqlitePresence(storage, LIMITS)
    storage.put_many({b"presence/na": row, b"presence/r": b"\x01"})
    with pytest.raises(StorageError, match="revision"):
        SqlitePresence(storage, LIMITS)


# --- arguments -------------------------------------------------------------------------------------------------------


def test_caps_of_the_fields(presence: LeaseTable) -> None:
    most = PresenceEntry(b"n" * NODE_BYTES_MAX, "é" * (REGION_BYTES_MAX // 2), SEQUENCE_MAX, bytes(RECORD_BYTES_MAX))
    presence.register(0.0, most, ttl=1e-9)
    presence.remove(0.0, most.node, SEQUENCE_MAX)
    for wrong in (
        most._replace(node=b"n" * (NODE_BYTES_MAX + 1)),
        most._replace(node=b""),
        most._replace(region="é" * (REGION_BYTES_MAX // 2 + 1)),
        most._replace(region="e" * (REGION_BYTES_MAX + 1)),
        most._replace(region=""),
        most._replace(region="\ud800"),
        most._replace(sequence=SEQUENCE_MAX + 1),
        most._replace(sequence=-1),
        most._replace(record=bytes(RECORD_BYTES_MAX + 1)),
    ):
        with pytest.raises(InputError):
            presence.register(0.0, wrong, ttl=1.0)
    assert presence.revision() == 2


@pytest.mark.parametrize(
    "wrong", [None, 1.5, "text", bytearray(b"n"), [1], object(), True], ids=lambda wrong: type(wrong).__name__
)
def test_wrong_types(presence: LeaseTable, wrong: object) -> None:
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    fine = entry(b"a", 2)
    calls: list[Callable[[], object]] = [
        lambda: presence.register(0.0, wrong, ttl=1.0),  # type: ignore[arg-type]
        lambda: presence.register(0.0, fine._replace(node=wrong), ttl=1.0),  # type: ignore[arg-type]
        lambda: presence.register(0.0, fine._replace(sequence=wrong), ttl=1.0),  # type: ignore[arg-type]
        lambda: presence.register(0.0, fine._replace(record=wrong), ttl=1.0),  # type: ignore[arg-type]
        lambda: presence.renew(0.0, wrong, ttl=1.0),  # type: ignore[arg-type]
        lambda: presence.remove(0.0, wrong, 1),  # type: ignore[arg-type]
        lambda: presence.remove(0.0, b"a", wrong),  # type: ignore[arg-type]
        lambda: presence.list(0.0, "tokyo", limit=wrong),  # type: ignore[arg-type]
        lambda: presence.expire(0.0, wrong),  # type: ignore[arg-type]
        lambda: presence.find(0.0, wrong),  # type: ignore[arg-type]
        lambda: presence.changes(0.0, "tokyo", limit=wrong),  # type: ignore[arg-type]
    ]
    if not isinstance(wrong, float):
        calls += [
            lambda: presence.register(wrong, fine, ttl=1.0),  # type: ignore[arg-type]
            lambda: presence.register(0.0, fine, ttl=wrong),  # type: ignore[arg-type]
            lambda: presence.renew(wrong, b"a", ttl=1.0),  # type: ignore[arg-type]
            lambda: presence.renew(0.0, b"a", ttl=wrong),  # type: ignore[arg-type]
            lambda: presence.remove(wrong, b"a", 1),  # type: ignore[arg-type]
            lambda: presence.list(wrong, "tokyo"),  # type: ignore[arg-type]
            lambda: presence.expire(wrong, 1),  # type: ignore[arg-type]
            lambda: presence.find(wrong, b"a"),  # type: ignore[arg-type]
            lambda: presence.changes(wrong, "tokyo"),  # type: ignore[arg-type]
        ]
    if not isinstance(wrong, str):
        calls += [
            lambda: presence.register(0.0, fine._replace(region=wrong), ttl=1.0),  # type: ignore[arg-type]
            lambda: presence.list(0.0, wrong),  # type: ignore[arg-type]
            lambda: presence.changes(0.0, wrong),  # type: ignore[arg-type]
        ]
    if wrong is not None:
        calls += [
            lambda: presence.register(0.0, fine, ttl=1.0, if_revision=wrong),  # type: ignore[arg-type]
            lambda: presence.list(0.0, "tokyo", cookie=wrong),  # type: ignore[arg-type]
            lambda: presence.changes(0.0, "tokyo", cookie=wrong),  # type: ignore[arg-type]
        ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert presence.list(0.0, "tokyo").entries == [entry(b"a", 1)]
    assert presence.revision() == 1


def test_wrong_values(presence: LeaseTable) -> None:
    fine = entry(b"a", 1)
    for number in (float("nan"), float("inf"), -float("inf"), 1e13, 10**400):
        for call in (
            lambda number=number: presence.register(number, fine, ttl=1.0),
            lambda number=number: presence.register(0.0, fine, ttl=number),
            lambda number=number: presence.list(number, "tokyo"),
            lambda number=number: presence.expire(number, 1),
            lambda number=number: presence.find(number, b"a"),
            lambda number=number: presence.changes(number, "tokyo"),
        ):
            with pytest.raises(InputError):
                call()
    for ttl in (0.0, -1.0, 0):
        with pytest.raises(InputError):
            presence.register(0.0, fine, ttl=ttl)
    for limit in (0, -1, 10_001, 10**30):
        with pytest.raises(InputError):
            presence.list(0.0, "tokyo", limit=limit)
        with pytest.raises(InputError):
            presence.changes(0.0, "tokyo", limit=limit)
    for limit in (-1, 1_000_001, 10**30):
        with pytest.raises(InputError):
            presence.expire(0.0, limit)
    for cookie in (b"", b"n" * (NODE_BYTES_MAX + 1)):
        with pytest.raises(InputError):
            presence.list(0.0, "tokyo", cookie=cookie)
    with pytest.raises(InputError):
        presence.register(0.0, fine, ttl=1.0, if_revision=-1)
    assert presence.revision() == 0


def test_wrong_limits() -> None:
    for name in Limits._fields:
        for wrong in (None, "1", True):
            with pytest.raises(TypeError):
                MemoryPresence(Limits(**{name: wrong}))  # type: ignore[arg-type]
        with pytest.raises(InputError):
            MemoryPresence(Limits(**{name: -1}))
    for other in (None, (1, 2, 3, 4), "limits"):
        with pytest.raises(TypeError):
            MemoryPresence(other)  # type: ignore[arg-type]
    for where in (None, 3, b"presence.db"):
        with pytest.raises(TypeError):
            SqlitePresence(where)  # type: ignore[arg-type]


def test_closed(presence: LeaseTable) -> None:
    presence.register(0.0, entry(b"a", 1), ttl=30.0)
    presence.close()
    presence.close()
    for call in (
        lambda: presence.register(0.0, entry(b"a", 2), ttl=30.0),
        lambda: presence.renew(0.0, b"a", ttl=30.0),
        lambda: presence.remove(0.0, b"a", 1),
        lambda: presence.list(0.0, "tokyo"),
        lambda: presence.find(0.0, b"a"),
        lambda: presence.changes(0.0, "tokyo"),
        presence.revision,
        lambda: presence.expire(0.0, 1),
    ):
        with pytest.raises(StorageError, match="closed"):
            call()
