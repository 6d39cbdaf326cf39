"""What a send syncs, and that a loss of power at any moment costs nothing that anybody was told."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import CityChainError, StorageError
from city_chain.ports import Request

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 8, "validators": 4, "k": 2, "n": 4, "districts": 2}


class Watched(MemoryStorage):
    """Notes what is written and how: ``put`` waits for the disk, ``defer`` does not, ``sync`` makes up for it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, set[bytes]]] = []
        self.broken = False

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        super().put_many(items, delete=delete)
        self.calls.append(("put", set(items)))

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        super().put_many(items, delete=delete)
        self.calls.append(("defer", set(items)))

    def sync(self) -> None:
        if self.broken:
            raise StorageError("the disk has failed")
        self.calls.append(("sync", set()))

    def taken(self) -> list[str]:
        """How it was written since the last look, save what came behind a send: the acks of stragglers."""
        kinds = [how for how, keys in self.calls if not all(key.startswith(b"ja") for key in keys or {b""})]
        self.calls.clear()
        return kinds


class Other:
    """A transport of another kind. That it stays in the process is nothing that a city knows of it."""

    def __init__(self) -> None:
        self.inner = InProcessTransport()
        self.request, self.stop, self.close = self.inner.request, self.inner.stop, self.inner.close

    def gather(self, requests: Sequence[Request], deadline: float) -> Any:
        return self.inner.gather(requests, deadline)

    def serve(self, handler: Any, address: str | None = None) -> str:
        return self.inner.serve(handler, address)


# --- what is synced --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "writes"), [("hotstuff", 8), ("abba", 12), ("dpos", 6)])
@pytest.mark.parametrize("count", [1, 2, 64])
def test_one_synced_commit_for_a_burst_and_it_is_the_last(count: int, engine: str, writes: int) -> None:
    storage = Watched()
    with City.local(storage=storage, engine=engine, **SETTINGS) as city:
        city.send(b"the first, with which the list of candidates is kept")
        for round_ in range(3):
            storage.taken()
            outcomes = city.send_many([b"%d/%d" % (round_, at) for at in range(count)], batch=count)
            assert all(isinstance(outcome, records.Receipt) for outcome in outcomes)
            last = storage.calls[-1][1]
            assert b"lhead" in last, "the ledger's append"
            assert {b"lt" + outcome.tx_id for outcome in outcomes if isinstance(outcome, records.Receipt)} <= last
            kinds = storage.taken()
            assert kinds.count("put") == 1
            assert kinds[-1] == "put"
            assert "sync" not in kinds
            assert len(kinds) <= writes


def test_a_repair_syncs_what_it_commits() -> None:
    storage = Watched()
    with City.local(storage=storage, **SETTINGS) as city:
        receipt = city.send(b"x")
        city.settle()
        index, node = receipt.availability.holders[0]
        city.stop_node(node)
        storage.taken()
        assert city.repair().repaired == 1
        kinds = storage.taken()
        assert (kinds.count("put"), kinds[-1]) == (1, "put")
        assert index in range(4)


def test_over_another_transport_everybody_waits_for_the_disk_before_answering() -> None:
    storage = Watched()
    with City.local(storage=storage, transport=Other(), **SETTINGS) as city:
        storage.taken()
        city.send(b"x").verify(city.trust)
        kinds = storage.taken()
        assert set(kinds) == {"put"}
        assert len(kinds) >= 5, "the journal twice, the holders, the delegates, the ledger"


def test_an_error_that_promises_to_go_on_is_told_when_it_is_durable() -> None:
    storage, transport = Watched(), InProcessTransport()
    with City.local(storage=storage, transport=transport, **SETTINGS) as city:
        for node in [info for info in city.nodes() if info.delegate][:2]:
            transport.set_fault(node.address, Fault(refuse=True))
        city._city.sending()  # the list of candidates is kept
        transaction = city.transaction(b"x")
        storage.taken()
        with pytest.raises(CityChainError) as raised:
            city.send(transaction, deadline_s=0.5)
        assert raised.value.__notes__ == ["the transactions are journalled and may still be committed"]
        kinds = storage.taken()
        assert "put" not in kinds
        assert kinds[-1] == "sync"
        # A disk that fails just then: nothing is promised.
        storage.broken = True
        with pytest.raises(StorageError, match="the disk has failed"):
            city.send(transaction, deadline_s=0.5)
        storage.broken = False


def test_one_that_failed_for_good_is_forgotten_durably() -> None:
    storage, transport = Watched(), InProcessTransport()
    with City.local(storage=storage, transport=transport, **SETTINGS) as city:
        for node in city.nodes()[:6]:
            transport.set_fault(node.address, Fault(refuse=True))
        storage.taken()
        with pytest.raises(CityChainError, match="acks"):
            city.send(b"x", deadline_s=0.5)
        kinds = [kind for kind in storage.taken() if kind != "sync"]
        assert "put" in kinds
        assert not city._city.journal.pending()


# --- loss of power ---------------------------------------------------------------------------------------------------


def commits(log: bytes) -> list[int]:
    """Where each commit in a log ends."""
    page = struct.unpack(">I", log[8:12])[0]
    salt = log[16:24]
    found = []
    for start in range(32, len(log) - 24 - page + 1, 24 + page):
        if log[start + 8 : start + 16] != salt:
            break
        if log[start + 4 : start + 8] != bytes(4):
            found.append(start + 24 + page)
    return found


class Images:
    """A city whose file and log are looked at while it works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "city.db"
        City.local(self.path, **SETTINGS).close()
        self.city = City.open(self.path)
        self.told: list[tuple[int, records.Receipt]] = []
        """(bytes of the log that had been synced when it was told, receipt)"""

    @property
    def log(self) -> bytes:
        return (self.folder / "city.db-wal").read_bytes()

    def send(self, *payloads: bytes) -> None:
        for outcome in self.city.send_many(payloads):
            assert isinstance(outcome, records.Receipt)
            self.told.append((commits(self.log)[-1], outcome))

    def after(self, log: bytes) -> City:
        """The city that is found after a loss of power that left so much of the log."""
        other = self.folder / "other"
        shutil.rmtree(other, ignore_errors=True)
        other.mkdir()
        shutil.copy(self.path, other / "city.db")
        (other / "city.db-wal").write_bytes(log)
        return City.open(other / "city.db")


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    made = Images(tmp_path)
    yield made
    made.city.close()


def check(city: City, told: Iterable[records.Receipt], payloads: Mapping[bytes, bytes]) -> None:
    """What was told is there and right, what is there is whole, and the city goes on."""
    assert not city.recovery.pending
    there = set(city.tx_ids())
    for receipt in told:
        assert receipt.tx_id in there
        assert city.receipt(receipt.tx_id) == receipt
    for tx_id in there:
        assert city.receive(tx_id) == payloads[tx_id]
        city.receipt(tx_id).verify(city.trust)
    assert not city._city.journal.pending()
    later = city.send(b"later")
    assert city.receive(later.tx_id) == b"later"


Damage = Callable[[bytes, int], bytes]

DAMAGES: dict[str, Damage] = {
    "cut": lambda log, end: log[:end],
    "torn": lambda log, end: log[: end - 1700],
    "hole": lambda log, end: log[: end - 4096] + bytes(4096) + log[end:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_power_lost_at_any_commit_costs_nothing_that_was_told(images: Images, damage: str) -> None:
    images.send(b"one")
    images.send(b"two", b"three")
    images.send(b"four" * 1000)
    log = images.log
    ends = commits(log)
    payloads = {receipt.tx_id: images.city.receive(receipt.tx_id) for _, receipt in images.told}
    synced = sorted({end for end, _ in images.told})
    assert len(ends) > 3 * len(synced), "most commits of a send are not synced"
    for end in ends:
        whole = end if damage == "cut" else max([at for at in ends if at < end], default=0)
        told = [receipt for at, receipt in images.told if at <= whole]
        with images.after(DAMAGES[damage](log, end)) as city:
            check(city, told, payloads)


def test_power_lost_with_all_that_was_not_synced_while_a_send_is_under_way(images: Images) -> None:
    """The log at every commit of a send, and what is left of it at worst: what had been synced."""
    images.send(b"first")
    synced = images.told[-1][0]
    payloads = {images.told[0][1].tx_id: b"first"}
    images.city.watch(lambda event: seen.append(images.log))
    seen: list[bytes] = []
    images.send(b"second")
    payloads[images.told[1][1].tx_id] = b"second"
    assert len(seen) == 5
    for log in seen:
        at_worst = synced if log is not seen[-1] else images.told[-1][0]
        for end in [end for end in commits(log) if end >= at_worst]:
            with images.after(log[:end]) as city:
                check(city, [receipt for at, receipt in images.told if at <= end], payloads)
