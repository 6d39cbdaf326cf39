"""Processes that are killed in the middle of sending: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, records
from city_chain.errors import StorageError

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")]

KILLS = 200
ROUNDS_PER_CITY = 10
BATCH = 8  # as in the worker
BATCHES = 8
COUNT = BATCH * BATCHES
SETTINGS: dict[str, Any] = {"nodes": 12, "validators": 4}
WORKER = Path(__file__).with_name("crash_worker.py")


class Server:
    """Processes that send; see `crash_worker`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, path: Path, count: int, seed: int) -> int:
        """Starts one; returns its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\t{count}\t{seed}\n")
        self.process.stdin.flush()
        begin, pid = self.line().split()
        assert begin == "begin"
        return int(pid)

    def line(self) -> str:
        """The next thing said."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the worker has ended"
        return line.rstrip("\n")

    def until(self, last: str) -> list[str]:
        """What is said up to the line that starts like this."""
        said = [self.line()]
        while not said[-1].startswith(last):
            said.append(self.line())
        return said

    def kill(self, pid: int) -> list[str]:
        """Kills a process; what it had said until then, less a last line that was torn."""
        os.kill(pid, signal.SIGKILL)
        said = []
        while not (line := self.line()).endswith("gone"):
            said.append(line)
        return said

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


def payloads(count: int, seed: int) -> list[bytes]:
    """The same as in the worker."""
    dice = random.Random(seed)
    return [b"%d/%d " % (seed, at) + dice.randbytes(dice.choice([0, 1, 100, 3000, 6000])) for at in range(count)]


def acknowledged(said: list[str]) -> dict[int, bytes]:
    """Position → id of what was acknowledged."""
    words = [line.split() for line in said if line.startswith("ack ")]
    return {int(at): bytes.fromhex(tx_id) for _, at, tx_id in words}


def committed(city: City) -> dict[bytes, bytes]:
    """Everything that is committed: payload → id. Whatever is there is whole: ledger, receipts, fragments, numbers."""
    ids = list(city.tx_ids())
    ledger = city._city.ledger
    in_batches = []
    for height in range(1, city.height + 1):
        block = ledger.batch(height)
        assert block is not None
        in_batches += [entry.tx_id for entry in block.batch.entries]
    assert ledger.batch(city.height + 1) is None
    assert sorted(in_batches) == ids
    found: dict[bytes, bytes] = {}
    sequences = set()
    for tx_id, transaction in zip(ids, city.receive_many(ids), strict=True):
        assert isinstance(transaction, records.Transaction), transaction
        city.receipt(tx_id).verify(city.trust)
        assert transaction.payload not in found, "committed twice"
        found[transaction.payload] = tx_id
        sequences.add(transaction.sequence)
    assert len(sequences) == len(ids)
    state = ledger.sender(city.sender)
    assert sequences == set(range(state.next_sequence)) | state.ahead
    return found


def measured(server: Server, path: Path) -> tuple[float, float]:
    """How long opening a city takes, and then how long sending and committing one batch takes, seconds."""
    City.create(path, **SETTINGS).close()
    pid = server.start(path, COUNT, 0)
    begun = time.monotonic()
    server.until("open")
    opened = time.monotonic()
    server.until("end")
    sent = time.monotonic()
    server.kill(pid)
    return opened - begun, (sent - opened) / BATCHES


@pytest.mark.timeout(900)  # about a minute; a disk that syncs slowly may take its time
def test_killed_while_sending(tmp_path: Path, server: Server) -> None:
    dice = random.Random(20)
    open_s, batch_s = measured(server, tmp_path / "measure.db")
    cut_off = finished = unsent = 0
    for number in range(KILLS):
        if number % ROUNDS_PER_CITY == 0:
            path = tmp_path / f"city-{number}.db"
            City.create(path, **SETTINGS).close()
        pid = server.start(path, COUNT, number)
        # Killed while the city is opened, or a random while after the acknowledgement of a random batch: whatever the
        # machine's speed, every moment between the two is met.
        batches = dice.randrange(-1, BATCHES)
        said = server.until("open" if batches == 0 else f"ack {batches * BATCH - 1} ") if batches >= 0 else []
        time.sleep(dice.uniform(0, 1.2 * (batch_s if batches >= 0 else open_s)))
        acks = acknowledged(said + server.kill(pid))
        sent = payloads(COUNT, number)

        with City.open(path) as city:
            recovery = city.recovery
            assert not recovery.failed, recovery
            assert not recovery.pending, recovery
            assert not city._city.journal.pending()
            for receipt in recovery.finished:
                receipt.verify(city.trust)
            for position, transaction in zip(acks, city.receive_many(acks.values()), strict=True):
                assert isinstance(transaction, records.Transaction), transaction
                assert transaction.payload == sent[position]
            for tx_id in acks.values():
                city.receipt(tx_id).verify(city.trust)
            known = committed(city)
            assert known.keys() >= {sent[position] for position in acks}
            assert set(acks.values()) <= set(known.values())
            if number % ROUNDS_PER_CITY == ROUNDS_PER_CITY - 1:
                assert city.health().counts["lost"] == city.health().counts["degraded"] == 0
            after = city.send(b"after kill %d" % number)
            after.verify(city.trust)
            assert city.receive(after.tx_id) == b"after kill %d" % number
        cut_off += 0 < len(acks) < COUNT
        unsent += not acks
        finished += len(recovery.finished)
    # The kills came at all times: before the first acknowledgement, between them, and with sends to be finished.
    assert cut_off > KILLS / 2, (cut_off, unsent, finished)
    assert unsent > KILLS / 20, (cut_off, unsent, finished)
    assert finished > 0, (cut_off, unsent, finished)


def test_one_process_at_a_time(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "city.db"
    City.create(path, **SETTINGS).close()
    pid = server.start(path, COUNT, 1)
    assert server.line() == "open"
    for attempt in (City.open, lambda where: City.local(where, **SETTINGS), City.create):
        started = time.monotonic()
        with pytest.raises(StorageError, match="another process"):
            attempt(path)
        assert time.monotonic() - started < 10
    said = server.kill(pid)
    assert said[-1] == "end"  # the others did not disturb it
    with City.open(path) as city:
        assert len(committed(city)) == COUNT


def test_threads_of_one_process_take_turns_too(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, **SETTINGS) as city:
        with pytest.raises(StorageError, match="open in another process"):
            City.open(path)
        city.send(b"still here")
    with City.open(path) as city:
        assert city.height == 1
