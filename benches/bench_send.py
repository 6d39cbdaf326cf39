"""What a city costs: send, send_many, receive, health, repair, opening, verifying.

The city is the one of the design's goals: 20 nodes, 4 delegates, k = 6 of n = 10, transactions of 4 KiB. *durable* is a
city in one SQLite file (WAL; the commit that a receipt waits for is synced), *memory* the same without a file. The
sentinel of every round is one commit of plain sqlite3 on the same disk. Goals for one durable send: 1.5 ms p50 and 3 ms
p99.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, Receipt, Trust
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.composer import StageEvent
from city_chain.ports import DeferringStorage

pytestmark = pytest.mark.bench

SIZE = 4096


class Counted:
    """A storage that counts the writing calls, which are its commits, and those among them that are not synced."""

    def __init__(self, storage: DeferringStorage) -> None:
        self._storage = storage
        self.writes = 0
        self.deferred = 0

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self.writes += 1
        self._storage.put_many(items, delete=delete)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self.writes += 1
        self.deferred += 1
        self._storage.defer_many(items, delete=delete)

    def sync(self) -> None:
        self._storage.sync()

    def delete_many(self, keys: Iterable[bytes]) -> None:
        self.writes += 1
        self._storage.delete_many(keys)

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        self.writes += 1
        return self._storage.put_if(key, value, expected)

    @property
    def durable(self) -> bool:
        return self._storage.durable

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._storage.get_many(keys)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._storage.scan(prefix, after=after, limit=limit)

    def close(self) -> None:
        self._storage.close()


class Bench:
    """A city with what is needed to look into it."""

    def __init__(self, storage: DeferringStorage) -> None:
        self.storage = Counted(storage)
        self.transport = InProcessTransport()
        self.city = City.local(storage=self.storage, transport=self.transport)
        self.events: list[StageEvent] = []
        self.city.watch(self.events.append)

    def address(self, node: bytes) -> str:
        """Where a node answers."""
        return next(info.address for info in self.city.nodes() if info.id == node)

    def note(self, benchmark: Any, pipeline: str, runs: int) -> None:
        """Puts the stages of the last `runs` runs of a pipeline into the results."""
        stages: dict[str, list[float]] = {}
        for event in self.events:
            if event.pipeline == pipeline:
                stages.setdefault(event.stage, []).append(event.took_ms)
        benchmark.extra_info["stages_ms"] = {stage: taken[-runs:] for stage, taken in stages.items()}
        benchmark.extra_info["budgets_ms"] = {event.stage: event.budget_ms for event in self.events}


@pytest.fixture(params=["durable", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(SqliteStorage(tmp_path / "city.db") if request.param == "durable" else MemoryStorage())
    with made.city:
        yield made


@pytest.fixture
def payloads() -> Callable[[int], list[bytes]]:
    """Fresh random payloads."""
    return lambda count: [os.urandom(SIZE) for _ in range(count)]


def receipts(outcomes: Sequence[object]) -> list[Receipt]:
    """The outcomes, which must all be receipts."""
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Receipt)]


def test_send(
    measure: Any, benchmark: Any, bench: Bench, commit: Callable[[], None], payloads: Callable[[int], list[bytes]]
) -> None:
    """One transaction of 4 KiB, from call to receipt."""
    rounds = 1000
    receipt = measure(bench.city.send, setup=lambda: tuple(payloads(1)), beside=commit, rounds=rounds, warmup=50)
    bench.note(benchmark, "sending", rounds)
    before = bench.storage.writes, bench.storage.deferred
    bench.city.send(b"counted")
    benchmark.extra_info["writes"] = bench.storage.writes - before[0]
    benchmark.extra_info["synced"] = bench.storage.writes - before[0] - (bench.storage.deferred - before[1])
    receipt.verify(bench.city.trust)


@pytest.mark.parametrize("count", [1, 64, 256])
def test_send_many(
    measure: Any,
    benchmark: Any,
    bench: Bench,
    commit: Callable[[], None],
    payloads: Callable[[int], list[bytes]],
    count: int,
) -> None:
    """As many transactions of 4 KiB in one batch."""
    rounds = {1: 300, 64: 40, 256: 25}[count]

    def send(batch: list[bytes]) -> list[Receipt]:
        return receipts(bench.city.send_many(batch, batch=count))

    sent = measure(send, setup=lambda: (payloads(count),), beside=commit, rounds=rounds, calls=count, warmup=2)
    bench.note(benchmark, "sending", rounds)
    assert len(sent) == count


def test_receive(
    measure: Any, benchmark: Any, bench: Bench, commit: Callable[[], None], payloads: Callable[[int], list[bytes]]
) -> None:
    """Restoring one transaction of 4 KiB."""
    (payload,) = payloads(1)
    tx_id = bench.city.send(payload).tx_id
    bench.city.settle()
    assert measure(lambda: bench.city.receive(tx_id), beside=commit, rounds=500) == payload
    bench.note(benchmark, "receiving", 500)


def test_health(
    measure: Any, benchmark: Any, bench: Bench, commit: Callable[[], None], payloads: Callable[[int], list[bytes]]
) -> None:
    """Fetching and checking all fragments of 64 transactions of 4 KiB."""
    receipts(bench.city.send_many(payloads(64)))
    bench.city.settle()
    health = measure(bench.city.health, beside=commit, rounds=40, calls=64)
    bench.note(benchmark, "health", 40)
    assert health.counts["whole"] == 64


def test_repair(
    measure: Any, benchmark: Any, bench: Bench, commit: Callable[[], None], payloads: Callable[[int], list[bytes]]
) -> None:
    """One fragment of one transaction made anew on another node, and committed."""
    addresses: list[str] = []

    def damaged() -> tuple[bytes]:
        for address in addresses:
            bench.transport.set_fault(address, None)
        receipt = bench.city.send(payloads(1)[0])
        bench.city.settle()
        addresses[:] = [bench.address(receipt.availability.holders[0][1])]
        bench.transport.set_fault(addresses[0], Fault(refuse=True))
        return (receipt.tx_id,)

    report = measure(lambda tx_id: bench.city.repair([tx_id]), setup=damaged, beside=commit, rounds=100)
    bench.note(benchmark, "repairing", 100)
    assert (report.repaired, report.fragments) == (1, 1), report


MAKE_RECEIPTS = """
import os, pickle, sys
from city_chain import City
with City.local() as city:
    receipts = [city.send(os.urandom(int(sys.argv[1]))).to_bytes() for _ in range(int(sys.argv[2]))]
    sys.stdout.buffer.write(pickle.dumps((city.trust.to_bytes(), receipts)))
"""


def test_verify_receipt(measure: Any, benchmark: Any, commit: Callable[[], None]) -> None:
    """Everything that a receipt proves, from its bytes and the trust anchor.

    Another process makes the receipts: this one would remember which of its own signatures are right.
    """
    rounds = 300
    count = rounds + 10 if benchmark.enabled else 1
    made = subprocess.run(
        [sys.executable, "-c", MAKE_RECEIPTS, str(SIZE), str(count)], capture_output=True, check=True
    ).stdout
    trusted, receipts_made = pickle.loads(made)
    trust, fresh = Trust.from_bytes(trusted), iter(receipts_made)
    measure(
        lambda kept: Receipt.from_bytes(kept).verify(trust),
        setup=lambda: (next(fresh),),
        beside=commit,
        rounds=rounds,
        warmup=10,
    )


def test_open(measure: Any, tmp_path: Path, commit: Callable[[], None]) -> None:
    """Opening a city of 64 transactions, and closing it."""
    path = tmp_path / "other.db"
    with City.local(path) as city:
        receipts(city.send_many([os.urandom(SIZE) for _ in range(64)]))
    measure(lambda: City.open(path).close(), beside=commit, rounds=20)
    with City.open(path) as city:
        assert city.height == 1
