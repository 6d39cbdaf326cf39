"""The latency gate: budgets of stages, spans and calls."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain.composer import Attempt, Pipeline, Stage, StageEvent
from city_chain.errors import InputError
from city_chain.testing import LatencyGate, Span

pytestmark = pytest.mark.unit

MS = 1_000_000


def event(stage: str, start_ms: float, end_ms: float) -> StageEvent:
    start, end = int(start_ms * MS), int(end_ms * MS)
    return StageEvent("p", stage, "ok", start, end, (Attempt(start, end),), None, "main")


def figures(gate: LatencyGate, rounds: list[list[StageEvent]], **options: Any) -> dict[str, Any]:
    """What a gate says of calls that leave these events."""
    left = iter(rounds)

    def call() -> None:
        for one in next(left):
            gate.on_stage(one)

    return {row["what"]: row for row in gate.measure(call, **options).rows()}


def test_the_percentile_is_held_to_the_budget() -> None:
    gate = LatencyGate(stage_ms=10, rounds=100, warmup=0)
    fine = [[event("a", 0, 99 if at == 0 else 5)] for at in range(100)]
    assert not figures(gate, fine)["stage a"]["broken"]  # one of a hundred may be slow at p99
    slow = [[event("a", 0, 99 if at < 2 else 5)] for at in range(100)]
    row = figures(gate, slow)["stage a"]
    assert (row["broken"], row["at_ms"], row["p50_ms"], row["samples"], row["limit_ms"]) == (True, 99, 5, 100, 10)


def test_what_broke_is_named() -> None:
    gate = LatencyGate(stage_ms=80, call_ms=10_000, rounds=3, warmup=0)
    pipeline = Pipeline(
        "p",
        [
            Stage("quick", lambda x: x, inputs=("x",), output="y"),
            Stage("slow", lambda y: time.sleep(0.1), inputs=("y",), output="z"),
        ],
        ["x"],
        ["z"],
    )
    report = gate.measure(lambda: pipeline.run({"x": 1}, on_stage=gate.on_stage))
    with pytest.raises(AssertionError, match=r"over budget:\nstage slow: p99 is 1\d\d\.\d+ ms, its budget 80 ms\n\n"):
        report.check()
    assert [broken.what for broken in report.broken] == ["stage slow"]
    assert [line.endswith("OVER") for line in report.table().splitlines()] == [False, False, True, False]


def test_budgets_of_single_stages_and_spans() -> None:
    rounds = [[event("a", 0, 4), event("b", 3, 9), event("c", 9, 30)]]
    gate = LatencyGate(
        stage_ms=25, stages={"c": 20, "b": 6}, spans={"a and b": Span(("a", "b"), 8.5)}, rounds=1, warmup=0
    )
    rows = figures(gate, rounds)
    assert {what: row["broken"] for what, row in rows.items()} == {
        "stage a": False,
        "stage b": False,
        "stage c": True,
        "a and b": True,
        "the call": False,
    }
    assert rows["a and b"]["at_ms"] == 9


def test_an_observer_that_is_not_connected_is_noticed() -> None:
    with pytest.raises(InputError, match="hand the gate's on_stage"):
        LatencyGate(stage_ms=80, rounds=1).measure(lambda: None)
    for budget in ({"stages": {"b": 1.0}}, {"spans": {"both": (("a", "b"), 1.0)}}):
        gate = LatencyGate(**budget, rounds=1, warmup=0)
        with pytest.raises(InputError, match=r"never ran: b; there are \['a'\]"):
            figures(gate, [[event("a", 0, 1)]])


def test_warmup_is_not_counted_and_setup_not_timed() -> None:
    seen: list[int] = []

    def setup() -> tuple[int]:
        time.sleep(0.02)
        return (len(seen),)

    report = LatencyGate(call_ms=15, rounds=5, warmup=3).measure(seen.append, setup=setup)
    report.check()
    assert seen == list(range(8))
    assert report.figures[0].samples == 5


class Bench:
    """pytest-benchmark's fixture as far as a gate goes."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def pedantic(self, target: Callable[..., Any], *, setup: Callable[[], Any], rounds: int, iterations: int) -> None:
        assert iterations == 1
        for _ in range(rounds if self.enabled else 1):
            args, kwargs = setup()
            target(*args, **kwargs)


@pytest.mark.parametrize("enabled", [True, False])
def test_inside_pytest_benchmark(enabled: bool) -> None:
    gate = LatencyGate(stage_ms=1, rounds=4, warmup=2)
    left = iter([[event("a", 0, 5), event("b", 5, 6)]] * 6)

    def call() -> None:
        for one in next(left):
            gate.on_stage(one)

    report = gate.measure(call, benchmark=Bench(enabled))
    assert [figures.samples for figures in report.figures] == ([4, 4, 4] if enabled else [1, 1, 1])
    assert [broken.what for broken in report.broken] == (["stage a"] if enabled else [])
    if enabled:
        with pytest.raises(AssertionError, match="stage a"):
            report.check()
    else:
        report.check()


def test_the_real_fixture(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> None:
    if not pytestconfig.pluginmanager.hasplugin("benchmark"):
        pytest.skip("pytest-benchmark is not installed")
    benchmark = request.getfixturevalue("benchmark")
    report = LatencyGate(call_ms=1000, rounds=7, warmup=1).measure(lambda: None, benchmark=benchmark)
    assert report.figures[-1].samples == (7 if benchmark.enabled else 1)
    report.check()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.floats(1, 100))
def test_percentiles_are_of_the_nearest_rank(taken: list[float], percentile: float) -> None:
    gate = LatencyGate(stage_ms=1, rounds=len(taken), percentile=percentile, warmup=0)
    row = figures(gate, [[event("a", 0, one)] for one in taken])["stage a"]
    samples = sorted(int(one * MS) / 1e6 for one in taken)
    assert row["at_ms"] in samples
    not_above = sum(one <= row["at_ms"] for one in samples)
    assert not_above * 100 >= percentile * len(samples) * (1 - 1e-12)
    below = sum(one < row["at_ms"] for one in samples)
    assert below * 100 < percentile * len(samples)
    assert row["max_ms"] == samples[-1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stage_ms": 0},
        {"stage_ms": -1},
        {"call_ms": float("nan")},
        {"call_ms": float("inf")},
        {"stages": {"a": 0}},
        {"spans": {"s": ((), 1)}},
        {"spans": {"s": ("abc", 1)}},
        {"spans": {"s": (("a",), 0)}},
        {"call_ms": 1, "percentile": 0},
        {"call_ms": 1, "percentile": 100.5},
        {"call_ms": 1, "percentile": float("nan")},
        {"call_ms": 1, "rounds": 0},
        {"call_ms": 1, "rounds": 10**9},
        {"call_ms": 1, "warmup": -1},
    ],
)
def test_wrong_values(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LatencyGate(**options)


@pytest.mark.parametrize("options", [{"stage_ms": "80"}, {"call_ms": True}, {"stages": {"a": None}}])
def test_wrong_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        LatencyGate(**options)


def test_the_gates_of_this_library_need_no_peer() -> None:
    program = (
        "import sys, pytest; sys.modules |= dict.fromkeys(['blake3', 'nacl', 'pyeclib', 'xxhash', 'zfec']);"
        "sys.exit(pytest.main(['benches', '-m', 'gate', '--collect-only', '-q', '-p', 'no:cacheprovider']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
