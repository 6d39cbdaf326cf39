"""Latency budgets as tests: which stage of a pipeline takes too long, found over thousands of single calls.

A `LatencyGate` holds budgets: for each stage, for spans of stages, for the whole call. It makes the call so many times,
one by one, gathers what every stage took, and names what broke its budget at the percentile asked for. It works with
any `Pipeline`, with a `City`, and with calls that have no stages; alone or inside pytest-benchmark.

This is the one kind of test that may fail because a machine is slow. Choose budgets that stand far above what the code
takes.

Example:
    >>> from city_chain.composer import Pipeline, Stage
    >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
    >>> pipeline = Pipeline("doubling", [double], inputs=("x",), outputs=("y",))
    >>> gate = LatencyGate(stage_ms=80, call_ms=800, rounds=200)
    >>> report = gate.measure(lambda: pipeline.run({"x": 21}, on_stage=gate.on_stage))
    >>> report.check()
    >>> [row["what"] for row in report.rows()]
    ['stage double', 'the call']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

from city_chain.composer import StageEvent
from city_chain.errors import InputError

__all__ = ["Figures", "LatencyGate", "LatencyReport", "Span"]

_ROUNDS_MAX = 10_000_000


class Span(NamedTuple):
    """Several stages under one budget: from the start of the first of them to the end of the last, in every call."""

    stages: tuple[str, ...]
    limit_ms: float


class Figures(NamedTuple):
    """What one thing took, in milliseconds, beside its budget (None: it has none)."""

    what: str
    samples: int
    p50_ms: float
    at_ms: float
    """At the gate's percentile."""
    max_ms: float
    limit_ms: float | None

    @property
    def broken(self) -> bool:
        """Whether the percentile is over the budget."""
        return self.limit_ms is not None and self.at_ms > self.limit_ms


class Benchmark(Protocol):
    """The part of pytest-benchmark's fixture that a gate uses."""

    @property
    def enabled(self) -> bool:
        """False under ``--benchmark-disable``: then a call is made once, untimed."""

    def pedantic(self, target: Callable[..., Any], **options: Any) -> Any:
        """Calls `target` so many times."""


class LatencyReport:
    """What a gate measured. `check` raises, `rows` and `table` show."""

    __slots__ = ("_complete", "_percentile", "figures")

    figures: tuple[Figures, ...]
    """Stages in the order in which they first ran, then spans, then the call."""

    def __init__(self, figures: Sequence[Figures], percentile: float, *, complete: bool) -> None:
        self.figures = tuple(figures)
        self._percentile = percentile
        self._complete = complete

    @property
    def broken(self) -> tuple[Figures, ...]:
        """What is over its budget. Empty when benchmarks are disabled: one untimed call says nothing."""
        return tuple(figures for figures in self.figures if figures.broken) if self._complete else ()

    def check(self) -> None:
        """Passes when every budget was kept.

        Raises:
            AssertionError: At least one was not; the text names each, and shows the table.
        """
        if self.broken:
            lines = [
                f"{figures.what}: p{self._percentile:g} is {figures.at_ms:.3f} ms, its budget {figures.limit_ms:g} ms"
                for figures in self.broken
            ]
            raise AssertionError("\n".join(["over budget:", *lines, "", self.table()]))

    def rows(self) -> list[dict[str, Any]]:
        """One flat dict for each thing measured, as data frames take them.

        Returns:
            Dicts with the keys `what`, `samples`, `p50_ms`, `at_ms` (at the gate's percentile), `max_ms`, `limit_ms`,
            `broken`.
        """
        return [{**figures._asdict(), "broken": figures in self.broken} for figures in self.figures]

    def table(self) -> str:
        """The figures as lines of text, what is over its budget marked `OVER`."""
        lines = [("what", "samples", "p50 ms", f"p{self._percentile:g} ms", "max ms", "budget ms", "")]
        for figures in self.figures:
            limit = "" if figures.limit_ms is None else f"{figures.limit_ms:g}"
            p50, at, most = (f"{value:.3f}" for value in (figures.p50_ms, figures.at_ms, figures.max_ms))
            over = "OVER" if figures in self.broken else ""
            lines.append((figures.what, str(figures.samples), p50, at, most, limit, over))
        widths = [max(len(line[column]) for line in lines) for column in range(7)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if 0 < column < 6 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def __repr__(self) -> str:
        return f"<LatencyReport: {len(self.figures)} figures, {len(self.broken)} over budget>"


class LatencyGate:
    """Budgets, and the calls that are held to them.

    Args:
        stage_ms: The budget of every stage; None: stages have none.
        call_ms: The budget of the whole call; None: it has none.
        stages: Budgets of single stages by name, instead of `stage_ms`.
        spans: Budgets of several stages together, by a name for messages.
        percentile: Which percentile is held to the budgets (nearest rank), above 0 to 100.
        rounds: How many calls are made, 1 to 10,000,000. A 99th percentile of fewer than a few thousand says little.
        warmup: How many calls are made before, and not counted.

    Raises:
        InputError: A number is out of range, or nothing has a budget.

    Example:
        A user's own gate over a city, with budgets of the layers and of the whole (wide ones: this example is run on
        machines that are busy):

        >>> from city_chain import City
        >>> five = ("s1_select", "s2_encode", "s3_hold", "s4_deliver", "s5_commit")
        >>> gate = LatencyGate(stage_ms=4_000, call_ms=9_000, spans={"S1 to S5": Span(five, 8_000)}, rounds=50)
        >>> with City.local() as city:
        ...     city.watch(gate.on_stage)
        ...     gate.measure(lambda: city.send(b"hello")).check()
    """

    __slots__ = ("_call_ms", "_events", "_percentile", "_rounds", "_spans", "_stage_ms", "_stages", "_warmup")

    def __init__(
        self,
        *,
        stage_ms: float | None = None,
        call_ms: float | None = None,
        stages: Mapping[str, float] | None = None,
        spans: Mapping[str, Span | tuple[Sequence[str], float]] | None = None,
        percentile: float = 99.0,
        rounds: int = 2000,
        warmup: int = 20,
    ) -> None:
        self._stage_ms = None if stage_ms is None else _limit("stage_ms", stage_ms)
        self._call_ms = None if call_ms is None else _limit("call_ms", call_ms)
        self._stages = {name: _limit(f"the budget of {name}", limit) for name, limit in (stages or {}).items()}
        self._spans = {what: _span(what, span) for what, span in (spans or {}).items()}
        if stage_ms is None and call_ms is None and not self._stages and not self._spans:
            raise InputError("nothing has a budget: give stage_ms, call_ms, stages or spans")
        if not 0 < percentile <= 100:
            raise InputError(f"percentile is {percentile}; above 0 to 100 is right")
        if not 1 <= rounds <= _ROUNDS_MAX:
            raise InputError(f"rounds is {rounds}; 1 to {_ROUNDS_MAX} is right")
        if not 0 <= warmup <= _ROUNDS_MAX:
            raise InputError(f"warmup is {warmup}; 0 to {_ROUNDS_MAX} is right")
        self._percentile = percentile
        self._rounds = rounds
        self._warmup = warmup
        self._events: list[StageEvent] = []

    def on_stage(self, event: StageEvent) -> None:
        """The observer: hand it to `Pipeline.run(on_stage=...)` or `City.watch` of what the call runs."""
        self._events.append(event)

    def measure(
        self,
        call: Callable[..., Any],
        *,
        setup: Callable[[], tuple[Any, ...]] | None = None,
        benchmark: Benchmark | None = None,
    ) -> LatencyReport:
        """Makes the call again and again, and says what everything took.

        Args:
            call: What is measured.
            setup: Gives the call's arguments before every round; what it takes is not counted.
            benchmark: pytest-benchmark's fixture: then its table has the calls, too, and under
                ``--benchmark-disable`` the call is made once and no budget is judged.

        Returns:
            The report.

        Raises:
            InputError: A stage that has a budget never ran, or no stage was seen though stages have one: the observer
                is not connected.
        """
        taken: dict[str, list[float]] = {}
        spans: dict[str, list[float]] = {what: [] for what in self._spans}
        calls: list[float] = []

        def once(*arguments: Any) -> Any:
            self._events.clear()
            started = perf_counter_ns()
            result = call(*arguments)
            calls.append((perf_counter_ns() - started) / 1e6)
            return result

        def gather() -> None:
            events = tuple(self._events)
            for event in events:
                taken.setdefault(event.stage, []).append(event.took_ms)
            for what, span in self._spans.items():
                among = [event for event in events if event.stage in span.stages]
                if among:
                    ends = max(event.end_ns for event in among), min(event.start_ns for event in among)
                    spans[what].append((ends[0] - ends[1]) / 1e6)

        enabled = benchmark is None or benchmark.enabled
        for _ in range(self._warmup if enabled else 0):
            once(*(setup() if setup is not None else ()))
        calls.clear()
        if benchmark is None:
            for _ in range(self._rounds):
                once(*(setup() if setup is not None else ()))
                gather()
        else:
            self._pedantic(benchmark, once, setup, gather)
        self._events.clear()
        return self._report(taken, spans, calls, complete=enabled)

    def _pedantic(
        self,
        benchmark: Benchmark,
        once: Callable[..., Any],
        setup: Callable[[], tuple[Any, ...]] | None,
        gather: Callable[[], None],
    ) -> None:
        """The rounds by pytest-benchmark: what the last one left is gathered before the next, outside its clock."""
        self._events.clear()

        def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
            gather()
            self._events.clear()
            return (setup() if setup is not None else ()), {}

        benchmark.pedantic(once, setup=prepare, rounds=self._rounds, iterations=1)
        gather()

    def _report(
        self, taken: dict[str, list[float]], spans: dict[str, list[float]], calls: list[float], *, complete: bool
    ) -> LatencyReport:
        if (self._stage_ms is not None or self._stages or self._spans) and not taken:
            raise InputError("no stage was seen: hand the gate's on_stage to Pipeline.run or City.watch")
        budgeted = [*self._stages, *(stage for span in self._spans.values() for stage in span.stages)]
        silent = sorted({stage for stage in budgeted if stage not in taken})
        if silent:
            raise InputError(f"these stages have a budget and never ran: {', '.join(silent)}; there are {[*taken]}")
        figures = [
            self._figures(f"stage {stage}", samples, self._stages.get(stage, self._stage_ms))
            for stage, samples in taken.items()
        ]
        figures += [self._figures(what, samples, self._spans[what].limit_ms) for what, samples in spans.items()]
        figures.append(self._figures("the call", calls, self._call_ms))
        return LatencyReport(figures, self._percentile, complete=complete)

    def _figures(self, what: str, samples: list[float], limit_ms: float | None) -> Figures:
        ranked = sorted(samples)
        return Figures(
            what, len(ranked), _nearest(ranked, 50), _nearest(ranked, self._percentile), ranked[-1], limit_ms
        )


def _nearest(ranked: Sequence[float], percentile: float) -> float:
    """The nearest-rank percentile: the smallest sample that at least so many per cent of the samples do not exceed."""
    return ranked[max(0, math.ceil(len(ranked) * percentile / 100) - 1)]


def _limit(what: str, limit: float) -> float:
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        raise TypeError(f"{what} must be a number of milliseconds, not {type(limit).__name__}")
    if not 0 < limit < math.inf:
        raise InputError(f"{what} is {limit} ms; above 0 and finite is right")
    return float(limit)


def _span(what: str, span: Span | tuple[Sequence[str], float]) -> Span:
    stages, limit = span
    if isinstance(stages, str) or not stages:
        raise InputError(f"the span {what!r} needs a sequence of one or more stage names")
    return Span(tuple(stages), _limit(f"the budget of {what}", limit))
