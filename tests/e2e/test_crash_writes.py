"""A storage that fails at any one of its writes: before or after it took effect, once or for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import CityChainError, StorageError
from city_chain.node import ENGINES
from city_chain.ports import Storage

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 5, "validators": 4, "k": 2, "n": 4, "districts": 2}


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class Failing:
    """A storage of which one write goes wrong.

    Args:
        inner: Where the rows are.
        at: Which write, from 0; None: none yet.
        how: ``before`` and ``after`` raise `StorageError` before or after the write took effect; ``full`` raises it
            at this and every later write; ``crash`` and ``crash after`` raise `Crash` instead, and nothing is
            written from then on.
    """

    durable = True

    def __init__(self, inner: Storage, at: int | None = None, how: str = "before") -> None:
        self.inner = inner
        self.at = at
        self.how = how
        self.writes = 0
        self.dead = False
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.inner.get_many(keys)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        return self.inner.scan(prefix, after=after, limit=limit)

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self._write(lambda: self.inner.put_many(items, delete=delete))

    def delete_many(self, keys: Iterable[bytes]) -> None:
        self._write(lambda: self.inner.delete_many(keys))

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        raise NotImplementedError("no city uses it")

    def close(self) -> None:
        """What is written stays, for the next city."""

    def _write(self, write: object) -> None:
        assert callable(write)
        with self._lock:
            if self.dead:
                self._fail()
            mine = self.at == self.writes
            self.writes += 1
            if not mine or "after" in self.how:
                write()
            if mine:
                self.dead = self.how not in ("before", "after")
                self._fail()

    def _fail(self) -> None:
        if self.how.startswith("crash") and threading.current_thread() is threading.main_thread():
            raise Crash
        raise StorageError("the disk is full (as this test wants it)")


def opened(storage: Storage) -> City:
    return City.local(storage=storage, **SETTINGS)


def closed(city: City) -> None:
    """Ends a city whose process may be gone already."""
    try:
        city.close()
    except Crash:
        city._city.behind.close()


def whole(city: City) -> dict[bytes, list[int]]:
    """Payload → the sequences it is committed under. Whatever is there is whole."""
    ids = list(city.tx_ids())
    entries = []
    for height in range(1, city.height + 1):
        block = city._city.ledger.batch(height)
        assert block is not None
        entries += [entry.tx_id for entry in block.batch.entries if entry.generation is None]
    assert sorted(entries) == ids
    found: dict[bytes, list[int]] = {}
    for tx_id, transaction in zip(ids, city.receive_many(ids), strict=True):
        assert isinstance(transaction, records.Transaction), transaction
        city.receipt(tx_id).verify(city.trust)
        found.setdefault(transaction.payload, []).append(transaction.sequence)
    sequences = [sequence for taken in found.values() for sequence in taken]
    assert len(sequences) == len(set(sequences))
    state = city._city.ledger.sender(city.sender)
    assert set(sequences) == set(range(state.next_sequence)) | state.ahead
    assert not city._city.journal.pending()
    return found


def founded() -> MemoryStorage:
    """A storage with a city in it that has sent something."""
    storage = MemoryStorage()
    city = opened(Failing(storage))
    city.send(b"before")
    city.settle()
    city.close()
    return storage


def copied(storage: MemoryStorage) -> MemoryStorage:
    copy = MemoryStorage()
    copy.put_many(dict(storage.scan(b"")))
    return copy


def writes_of(start: MemoryStorage) -> tuple[int, int]:
    """How many writes opening makes, and opening with a send."""
    storage = Failing(copied(start))
    city = opened(storage)
    opening = storage.writes
    city.send_many([b"one", b"two"])
    city.settle()
    city.close()
    return opening, storage.writes


@pytest.mark.parametrize("how", ["before", "after", "full", "full after", "crash", "crash after"])
def test_any_write_may_fail(how: str) -> None:
    start = founded()
    opening, total = writes_of(start)
    assert total - opening >= 5, "a send journals, holds, journals, votes and commits"
    for at in range(total + 1):
        storage = Failing(copied(start), at, how)
        outcomes: list[records.Receipt | CityChainError] = []
        city = None
        try:
            city = opened(storage)
            outcomes = city.send_many([b"one", b"two"], deadline_s=0.5)
            if how in ("before", "after"):
                # The disk is well again: the same city goes on at once, and nothing is in its way.
                city.settle()
                storage.at = None
                again = city.send(b"three")
                assert city.receive(again.tx_id) == b"three"
        except (Crash, StorageError):
            assert city is None or how.startswith("crash"), f"write {at}: send_many gives outcomes"
        for outcome in outcomes:
            assert isinstance(outcome, records.Receipt | CityChainError)
        if city is not None:
            closed(city)

        with opened(Failing(storage.inner)) as reopened:
            assert not reopened.recovery.pending, (at, reopened.recovery)
            found = whole(reopened)
            assert found.keys() >= {b"before"}
            for payload, outcome in zip((b"one", b"two"), outcomes, strict=False):
                if isinstance(outcome, records.Receipt):
                    assert payload in found, (at, payload)
                    outcome.verify(reopened.trust)
            assert all(len(taken) == 1 for taken in found.values()), (at, found)
            if how in ("before", "after") and outcomes:
                assert b"three" in found
            receipt = reopened.send(b"later")
            assert reopened.receive(receipt.tx_id) == b"later"
            assert set(whole(reopened)) == {*found, b"later"}
        with opened(Failing(storage.inner)) as third:  # what was reported once is not reported again
            assert str(third.recovery) == "0 sends finished, 0 given up, 0 pending"


class Full(Failing):
    """A disk that has no room for some rows, as long as it is full."""

    is_full = False

    def __init__(self, inner: Storage, is_for: Callable[[bytes], bool]) -> None:
        super().__init__(inner)
        self.is_for = is_for

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        if self.is_full and any(map(self.is_for, items)):
            raise StorageError("No space left on device (as this test wants it)")
        super().put_many(items, delete=delete)


FULL: dict[str, Callable[[bytes], bool]] = {
    "the ledger": lambda key: key == b"lhead",
    "what delegates write": lambda key: key[:2] == b"hn" and key[6:7] == b"a",
}


@pytest.mark.parametrize(
    ("engine", "what"),
    [
        *((engine, "the ledger") for engine in ENGINES),
        *((engine, "what delegates write") for engine in ("hotstuff", "abba")),
    ],
)
def test_a_full_disk_under_a_commit_is_told_long_before_the_deadline(engine: str, what: str) -> None:
    storage = Full(MemoryStorage(), FULL[what])
    with City.local(storage=storage, engine=engine, **SETTINGS) as city:
        city.send(b"before")
        for _ in range(2):
            storage.is_full = True
            began = time.monotonic()
            with pytest.raises(StorageError, match="No space left"):
                city.send(b"x", deadline_s=90)
            assert time.monotonic() - began < 45
        assert city.height == 1
        storage.is_full = False
        assert city.receive(city.send(b"later").tx_id) == b"later"
    with opened(Failing(storage.inner)) as reopened:
        assert not reopened.recovery.pending
        assert {b"before", b"later"} <= whole(reopened).keys() <= {b"before", b"x", b"later"}


@pytest.mark.parametrize("how", ["before", "after", "full", "crash", "crash after"])
def test_any_write_of_a_founding_may_fail(how: str) -> None:
    counted = Failing(MemoryStorage())
    opened(counted).close()
    for at in range(counted.writes):
        storage = Failing(MemoryStorage(), at, how)
        with suppress(Crash, StorageError):
            opened(storage).close()
        with opened(Failing(storage.inner)) as city:
            assert city.receive(city.send(b"x").tx_id) == b"x"


@pytest.mark.parametrize("how", ["before", "after", "full", "full after", "crash", "crash after"])
def test_any_write_of_a_repair_may_fail(how: str) -> None:
    start = founded()
    fragments = {key: value for key, value in start.scan(b"h") if key[6:7] == b"f"}
    assert len(fragments) == 4
    damaged = sorted(fragments)[0]
    start.put_many({damaged: fragments[damaged][:-1] + bytes([fragments[damaged][-1] ^ 1])})
    counted = Failing(copied(start))
    with opened(counted) as city:
        opening = counted.writes
        assert city.repair().repaired == 1
        total = counted.writes
    assert total - opening >= 3, "a repair places, votes and commits"
    for at in range(opening, total):
        storage = Failing(copied(start), at, how)
        city = opened(storage)
        try:
            report = city.repair(deadline_s=0.5)
            assert report.repaired == 1 or report.errors
        except (Crash, CityChainError):
            pass
        closed(city)
        with opened(Failing(storage.inner)) as reopened:
            (tx_id,) = reopened.tx_ids()
            assert reopened.receive(tx_id) == b"before"
            reopened.repair()
            assert reopened.health().counts["whole"] == 1, at
            assert reopened._city.ledger.generation(tx_id) == len(reopened._city.ledger.repairs(tx_id))
            assert reopened.repair().repaired == 0
            reopened.receipt(tx_id).verify(reopened.trust)
