"""What the composer costs per stage, beside the same calls written by hand.

Run with ``pytest benches/bench_composer.py -m bench -s``. Each way of running is timed in turn with the calls by hand
(A/B/A/B, 25 rounds, median and interquartile range), so that a drift of the machine meets both. The functions do
nothing: what is left is the composer. Goal: 0.2 µs per stage; figures are printed, never asserted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

import pytest

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.composer import Pipeline, Stage, WriteBehind

pytestmark = pytest.mark.bench

ROUNDS = 25
BUDGET_MS = 80.0


def nothing(value: Any) -> Any:
    """A stage that costs one call."""
    return value


def line(count: int) -> Pipeline:
    """A pipeline of `count` stages, one after the other."""
    stages = [
        Stage(f"s{index}", nothing, inputs=(f"v{index}",), output=f"v{index + 1}", budget_ms=BUDGET_MS)
        for index in range(count)
    ]
    return Pipeline("line", stages, ("v0",), (f"v{count}",))


def by_hand(count: int) -> Callable[[], Any]:
    """The same calls without a pipeline."""
    lines = "\n".join(["def calls(f=nothing):", "    v = 1", *["    v = f(v)"] * count, "    return v"])
    names: dict[str, Any] = {"nothing": nothing}
    exec(lines, names)
    return names["calls"]  # type: ignore[no-any-return]


def once_ns(function: Callable[[], Any], repeats: int) -> float:
    """Nanoseconds per call."""
    started = perf_counter_ns()
    for _ in range(repeats):
        function()
    return (perf_counter_ns() - started) / repeats


def compare(run: Callable[[], Any], hand: Callable[[], Any], count: int, repeats: int) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the added nanoseconds per stage."""
    run(), hand()
    added = [(once_ns(run, repeats) - once_ns(hand, repeats)) / count for _ in range(ROUNDS)]
    low, middle, high = statistics.quantiles(added, n=4)
    return middle, low, high


@pytest.mark.parametrize("count", [1, 5, 10, 100])
@pytest.mark.parametrize("way", ["plain", "deadline", "on_stage"])
def test_added_per_stage(way: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline, inputs = line(count), {"v0": 1}
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "deadline": {"deadline": 1e12},
        "on_stage": {"on_stage": nothing},
    }
    options = ways[way]
    middle, low, high = compare(lambda: pipeline.run(inputs, **options), by_hand(count), count, 40_000 // (10 + count))
    assert pipeline.run(inputs, **options)[f"v{count}"] == 1
    with capsys.disabled():
        print(
            f"\n{way:9} {count:4} stages: {middle / 1e3:6.3f} µs per stage (IQR {low / 1e3:.3f}–{high / 1e3:.3f})",
            end="",
        )


@pytest.mark.parametrize("count", [1, 10, 100])
def test_run(benchmark: Any, count: int) -> None:
    """A whole run, as pytest-benchmark sees it."""
    pipeline, inputs = line(count), {"v0": 1}
    benchmark.extra_info["stages"] = count
    benchmark.pedantic(lambda: pipeline.run(inputs), iterations=1, rounds=2000, warmup_rounds=200)


def test_two_branches_on_threads(benchmark: Any) -> None:
    """Two branches and a stage that gathers them, on two threads: what handing over costs."""
    stages = [Stage(f"b{index}", nothing, inputs=("x",), output=f"y{index}") for index in range(2)]
    pipeline = Pipeline("fan", [*stages, Stage("all", max, inputs=("y0", "y1"), output="z")], ("x",), ("z",))
    with ThreadPoolExecutor(2) as executor:
        run = benchmark.pedantic(
            lambda: pipeline.run({"x": 1}, executor=executor), iterations=1, rounds=2000, warmup_rounds=200
        )
    assert run["z"] == 1


def test_build(benchmark: Any) -> None:
    """Checking and laying out a pipeline of ten stages."""
    assert len(benchmark.pedantic(lambda: line(10), iterations=1, rounds=500, warmup_rounds=50).stages) == 10


def test_queue_in_memory(benchmark: Any) -> None:
    """Putting one task on a queue in memory; the storage's own durability comes on top."""
    with WriteBehind(MemoryStorage(), {"h": nothing}, capacity=100_000) as queue:
        benchmark.pedantic(lambda: queue.put("h", [b"receipt"]), iterations=1, rounds=2000, warmup_rounds=200)
        queue.flush(timeout=60)
