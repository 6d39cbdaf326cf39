"""Where the time of a send goes: each stage, and within them each kind of work, in memory and durable, one and 256.

Prints Markdown. Times are medians in ms of one burst, measured from outside by timers around a few calls. The clock of
a machine that does something else as well is no measure: the CPU time of the whole process stands beside it, and one
synced commit of plain sqlite3 on the same disk.

Run:
    python benches/profile_send.py [rounds]
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.node.judge import Judge
from city_chain.node.voter import Voter
from city_chain.proofs import dpos, poh

SIZE = 4096

KINDS: dict[str, list[tuple[Any, str]]] = {
    "nodes: rows and acks": [(records, "hold_burst")],
    "nodes: the sender's requests checked": [(poh, "verify_requests")],
    "sender: acks checked": [(records, "accept_acks")],
    "sender: requests signed, messages made": [(records, "request_holds"), (records, "hold_messages")],
    "delegates: batch judged": [(Judge, "verdicts")],
    "delegates: proposal and votes": [(Voter, "lead"), (Voter, "propose"), (dpos, "collect")],
    "storage: reads": [(SqliteStorage, "get_many"), (MemoryStorage, "get_many")],
    "storage: deferred writes": [(SqliteStorage, "defer_many"), (MemoryStorage, "defer_many")],
    "storage: the synced write": [(SqliteStorage, "put_many")],
}
"""What is timed. Kinds do not contain each other, save that a delegate's judging reads the storage."""


@contextmanager
def timed(taken: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of every kind for as long as the context lasts."""

    def timer(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                taken[kind] += time.perf_counter() - start

        return run

    with ExitStack() as stack:
        for kind, calls in KINDS.items():
            for owner, name in calls:
                stack.enter_context(patch.object(owner, name, timer(kind, getattr(owner, name))))
        yield


def sentinel(folder: Path) -> Callable[[], float]:
    """One synced commit of 16 KiB with plain sqlite3: its seconds."""
    connection = sqlite3.connect(folder / "sentinel.db", autocommit=True)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t (v BLOB)"):
        connection.execute(statement)

    def commit() -> float:
        row = os.urandom(16_384)
        start = time.perf_counter()
        connection.execute("INSERT INTO t VALUES (?)", (row,))
        return time.perf_counter() - start

    return commit


def profile(folder: Path, durable: bool, count: int, rounds: int) -> dict[str, float]:
    """Medians in ms of bursts of `count` transactions."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    commit = sentinel(folder)
    with City.local(folder / "city.db" if durable else None) as city:
        city.watch(lambda event: found[event.stage].append(event.took_ms / 1000))
        for round_ in range(rounds + 3):
            payloads = [os.urandom(SIZE) for _ in range(count)]
            taken: dict[str, float] = defaultdict(float)
            with timed(taken):
                start, cpu = time.perf_counter(), time.process_time()
                outcomes = city.send_many(payloads, batch=count)
                end, cpu_end = time.perf_counter(), time.process_time()
            if not all(isinstance(outcome, records.Receipt) for outcome in outcomes):
                raise SystemExit(f"not all were sent: {outcomes}")
            if round_ < 3:
                found.clear()
                continue
            found["all"].append(end - start)
            found["CPU of the process"].append(cpu_end - cpu)
            found["sentinel"].append(commit())
            for kind in KINDS:
                found[kind].append(taken[kind])
    return {name: 1000 * statistics.median(times) for name, times in found.items()}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    columns: dict[str, dict[str, float]] = {}
    for durable in (False, True):
        for count in (1, 256):
            with tempfile.TemporaryDirectory() as folder:
                name = f"{'durable' if durable else 'memory'} {count}"
                columns[name] = profile(Path(folder), durable, count, rounds if count == 1 else max(5, rounds // 20))
    print(f"| ms (median of a burst) | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    stages = ["s1_select", "s2_encode", "s3_hold", "s4_deliver", "s5_commit"]
    for row in ["all", "CPU of the process", "sentinel", *stages, *KINDS]:
        print(f"| {row} | {' | '.join(f'{column.get(row, 0.0):.3f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
