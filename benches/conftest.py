"""How the benchmarks time: one call a round, beside something well known that is timed in the same round.

The machine's speed drifts. So every round first times a *sentinel* (a commit of SQLite, a function of CPython) and then
the thing itself; what is reported is both, and their ratio. `report.py` reads what is gathered here.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

import pytest

import city_chain

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `peers` and `glued`, as when report.py is run
collect_ignore_glob = ["glued/*", "peers/*"]
"""They hold no test, and pytest imports what it looks for examples in: some of it needs peers that may be absent."""

SENTINEL_BYTES = 16 << 10
"""What one commit of the sentinel writes: about as much as one fragment set of a 4 KiB transaction."""


class Measure(Protocol):
    """Times `target`, see `measure`."""

    def __call__(
        self,
        target: Callable[..., Any],
        *,
        rounds: int,
        beside: Callable[[], Any],
        calls: int = 1,
        warmup: int = 5,
        setup: Callable[[], tuple[Any, ...]] | None = None,
    ) -> Any: ...


@pytest.fixture
def measure(benchmark: Any) -> Measure:
    """Times a call round by round, each time after the sentinel `beside`.

    `calls` says how many calls of what is measured the target and the sentinel make; `setup` gives the target's
    arguments and is not timed. Returns what the last call of the target returned.
    """

    def run(
        target: Callable[..., Any],
        *,
        rounds: int,
        beside: Callable[[], Any],
        calls: int = 1,
        warmup: int = 5,
        setup: Callable[[], tuple[Any, ...]] | None = None,
    ) -> Any:
        taken: list[int] = []

        def before() -> tuple[tuple[Any, ...], dict[str, Any]]:
            arguments = setup() if setup is not None else ()
            started = perf_counter_ns()
            beside()
            taken.append(perf_counter_ns() - started)
            return arguments, {}

        for _ in range(warmup if benchmark.enabled else 0):
            arguments, _ = before()
            target(*arguments)
        taken.clear()
        result = benchmark.pedantic(target, setup=before, iterations=1, rounds=rounds)
        benchmark.extra_info["calls"] = calls
        benchmark.extra_info["beside_s"] = [ns / 1e9 for ns in taken]
        return result

    return run


@pytest.fixture
def commit(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """The sentinel of everything durable: one synced commit of one row with plain sqlite3 (WAL, synchronous=FULL)."""
    connection = sqlite3.connect(tmp_path / "sentinel.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE kept (at INTEGER PRIMARY KEY, row BLOB)")
    row = os.urandom(SENTINEL_BYTES)
    yield lambda: connection.execute("INSERT INTO kept (row) VALUES (?)", (row,)).close()
    connection.close()


def cpu_name() -> str:
    """The processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else "unknown"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What a figure means nothing without."""
    machine_info["city_chain"] = {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "version": city_chain.__version__,
        "python": sys.version.split()[0],
    }
