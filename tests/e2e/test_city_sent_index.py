"""The sender's index at work: a new transaction costs no look at the ledger, a sent one is always known again."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, pipelines
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.composer import stage
from city_chain.errors import StorageError
from city_chain.levels import sent as module
from city_chain.levels.sent import SentIndex
from city_chain.stages import messages, s2_encode

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 4, "validators": 1, "k": 2, "n": 4}


class Kept(MemoryStorage):
    """A memory that outlives the cities on it, and says which keys were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.read += keys
        return super().get_many(keys)

    def close(self) -> None:
        pass

    def receipts_read(self) -> list[bytes]:
        """The receipts that were looked for since the last call."""
        found, self.read = [key for key in self.read if key.startswith(b"lt")], []
        return found


@contextmanager
def opened(storage: MemoryStorage) -> Iterator[City]:
    with City.local(storage=storage, **SETTINGS) as city:
        yield city


def index_of(city: City) -> SentIndex:
    return city._city.sent


def rows(storage: MemoryStorage) -> dict[bytes, bytes]:
    return dict(storage.scan(b"qs"))


def test_a_new_transaction_costs_no_look_at_the_ledger() -> None:
    looks = []
    for knows in (True, False):
        storage = Kept()
        with opened(storage) as city:
            city._city.sent._is_whole = knows
            storage.receipts_read()
            for at in range(20):
                city.send(b"%d" % at)
            looks.append(len(storage.receipts_read()))
    # The engine and the judge look, too; the sender does only where the index does not know.
    assert looks[1] - looks[0] == 20


def test_a_transaction_that_was_sent_is_found_again_over_restarts() -> None:
    storage = Kept()
    with opened(storage) as city:
        made = [city.transaction(b"%d" % at) for at in range(20)]
        fresh = [city.send(transaction) for transaction in made]
        assert [city.send(transaction) for transaction in made] == fresh
    for _ in range(2):
        with opened(storage) as city:
            storage.receipts_read()
            assert [city.send(transaction) for transaction in made] == fresh
            assert set(storage.receipts_read()) == {b"lt" + transaction.tx_id for transaction in made}
            assert city.height == 20


def test_entries_are_made_by_s2_before_anything_is_sent() -> None:
    seen: list[bool] = []
    with opened(Kept()) as city:

        @stage(inputs=("transactions", "dispersals"), output="dispersals")
        def look(transactions: Any, dispersals: Any) -> Any:
            seen.extend(index_of(city).may_have(transaction.tx_id) for transaction in transactions)
            return dispersals

        transaction = city.transaction(b"one")
        assert not index_of(city).may_have(transaction.tx_id)
        city.use(pipelines.SENDING.insert(look, after="s2_encode"))
        city.send(transaction)
        assert seen == [True]


def test_a_pipeline_without_the_entry_is_no_harm() -> None:
    with opened(Kept()) as city:

        @stage(inputs=("transactions", "sender"), output="dispersals")
        def s2_own(transactions: Any, sender: Any) -> Any:

            return s2_encode.function(transactions, dataclasses.replace(sender, sent=None))

        city.use(pipelines.SENDING.replace("s2_encode", s2_own))
        transaction = city.transaction(b"one")
        receipt = city.send(transaction)
        assert index_of(city).may_have(transaction.tx_id)
        assert city.send(transaction) == receipt
        assert city.height == 1


def test_an_index_that_forgot_everything_costs_time_and_no_second_commit() -> None:
    with opened(Kept()) as city:
        transaction = city.transaction(b"one")
        receipt = city.send(transaction)
        city._city.sent._chain = [type(city._city.sent._chain[0])(100)]
        assert not index_of(city).may_have(transaction.tx_id)
        assert city.send(transaction) == receipt
        assert city.height == 1


def test_a_restart_reads_what_came_after_it_was_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Kept()
    with opened(storage) as city:
        sent = [city.send(b"%d" % at).tx_id for at in range(5)]
    assert list(rows(storage)) == [b"qs" + bytes(4)]
    killed = City.local(storage=storage, **SETTINGS)
    sent += [killed.send(b"more %d" % at).tx_id for at in range(5)]
    killed.settle()  # and never closed
    monkeypatch.setattr(module, "_AT_ONCE", 5)
    with opened(storage) as city:
        assert index_of(city).is_whole
        assert all(index_of(city).may_have(tx_id) for tx_id in sent)
        assert not index_of(city).may_have(bytes(32))
    storage.delete_many([b"qs" + bytes(4)])
    with opened(storage) as city:  # ten batches are more than are read at once: the rest is read behind
        assert all(index_of(city).may_have(tx_id) for tx_id in sent)
        city.settle()
        assert index_of(city).is_whole
        assert all(index_of(city).may_have(tx_id) for tx_id in sent)
        assert not index_of(city).may_have(bytes(32))


def test_every_damage_to_the_index_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROOM_MIN", 8)
    monkeypatch.setattr(module, "_WRITE_EVERY", 4)
    storage = Kept()
    with opened(storage) as city:
        made = [city.transaction(b"%d" % at) for at in range(40)]
        for transaction in made:
            city.send(transaction)
    whole = rows(storage)
    assert len(whole) >= 3
    dice = random.Random(2)
    for key, row in whole.items():
        others = [other for name, other in whole.items() if name != key]
        wrong = [None, b"", b"?", row[:-1], row + b"\0", messages.message("sent", [bytes(8)]), others[0]]
        for _ in range(40):
            flipped = bytearray(row)
            bit = dice.randrange(len(row) * 8)
            flipped[bit // 8] ^= 1 << bit % 8
            wrong.append(bytes(flipped))
        for damaged in wrong:
            if damaged is None:
                storage.delete_many([key])
            else:
                storage.put_many({key: damaged})
            index = SentIndex(NamespacedStorage(storage, b"q"), city._city.ledger)
            assert index.is_whole
            assert all(index.may_have(transaction.tx_id) for transaction in made)
            storage.put_many(whole)
    # After damage the whole chain is written anew.
    keys = sorted(whole)
    storage.put_many({keys[1]: b"rotten"})
    with opened(storage) as city:
        assert city.send(made[9]).tx_id == made[9].tx_id
        ledger = city._city.ledger
    kept = module._read(NamespacedStorage(storage, b"q"), ledger)
    assert kept.gone == []
    assert kept.covered.height == ledger.tip.height
    assert all(any(transaction.tx_id in bloom for bloom in kept.chain) for transaction in made)


def test_an_index_of_another_history_is_not_believed() -> None:
    storage, other = Kept(), Kept()
    for which, count in ((storage, 3), (other, 5)):
        with opened(which) as city:
            last = [city.send(b"%d" % at).tx_id for at in range(count)]
    storage.put_many(rows(other))  # somebody has mixed two backups
    with opened(storage) as city:
        assert index_of(city).is_whole
        assert all(index_of(city).may_have(tx_id) for tx_id in city.tx_ids())
    assert last


def test_a_batch_that_cannot_be_read_leaves_it_saying_maybe(caplog: pytest.LogCaptureFixture) -> None:
    storage = Kept()
    with opened(storage) as city:
        transaction = city.transaction(b"one")
        receipt = city.send(transaction)
    storage.delete_many(rows(storage))
    storage.put_many({b"lb" + (1).to_bytes(8, "big"): b"rotten"})
    with opened(storage) as city:
        assert not index_of(city).is_whole
        assert index_of(city).may_have(bytes(32))
        assert city.send(transaction) == receipt
    assert "cannot be made whole" in caplog.text
    assert not rows(storage), "what is not whole is not written down"


def test_a_disk_that_fails_costs_the_index_only(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Kept):
        fails = False

        def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
            if self.fails and any(key.startswith(b"qs") for key in items):
                raise StorageError("the disk is full")
            super().put_many(items, delete=delete)

        def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
            self.put_many(items, delete=delete)

    storage = Failing()
    storage.fails = True
    with opened(storage) as city:
        transaction = city.transaction(b"one")
        receipt = city.send(transaction)
    assert "could not be written down" in caplog.text
    storage.fails = False
    with opened(storage) as city:
        assert city.send(transaction) == receipt
    assert len(rows(storage)) == 1


WORKER = """
import os, signal, sys, threading
from city_chain import City
city = City.open(sys.argv[1])
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
while True:
    for receipt in city.send_many([os.urandom(100) for _ in range(8)]):
        print(receipt.tx_id.hex(), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_forgets_nothing_that_it_sent(tmp_path: Path) -> None:
    path, sent = tmp_path / "city.db", set[bytes]()
    City.create(path, **SETTINGS).close()
    for after_s in ("0.1", "0.3", "0.5"):
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(path), after_s],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        sent |= {bytes.fromhex(line) for line in done.stdout.split("\n") if len(line) == 64}
        with City.open(path) as city:
            city.settle()
            assert index_of(city).is_whole
            assert all(index_of(city).may_have(tx_id) for tx_id in sent | set(city.tx_ids()))
            assert not index_of(city).may_have(bytes(32))
    assert sent
