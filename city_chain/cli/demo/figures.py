"""The figures of the demo: times of stages, and the table at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

from city_chain.composer import StageEvent
from city_chain.levels.reports import table

__all__ = ["Figures", "StageTimes", "percentile"]


class StageTimes(NamedTuple):
    """How long one stage of one pipeline took, milliseconds."""

    pipeline: str
    stage: str
    runs: int
    p50_ms: float
    p99_ms: float
    budget_ms: float | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank).

    Example:
        >>> percentile([3.0, 1.0, 2.0, 4.0], 50), percentile([3.0, 1.0, 2.0, 4.0], 99)
        (2.0, 4.0)
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


class Figures:
    """Gathers stage events; give `add` to `City.watch`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._took: dict[tuple[str, str], list[float]] = {}
        self._budgets: dict[tuple[str, str], float | None] = {}

    def add(self, event: StageEvent) -> None:
        """Takes one stage's end in."""
        key = (event.pipeline, event.stage)
        with self._lock:
            self._took.setdefault(key, []).append(event.took_ms)
            self._budgets[key] = event.budget_ms

    def stages(self) -> list[StageTimes]:
        """Every stage that ran, in the order in which they first did."""
        with self._lock:
            return [
                StageTimes(*key, len(took), percentile(took, 50), percentile(took, 99), self._budgets[key])
                for key, took in self._took.items()
            ]

    def table(self, facts: Sequence[tuple[str, str]], verdict: Sequence[tuple[str, str]]) -> str:
        """One table: facts, the stages' times, the verdict."""
        stages = [
            [f"{times.pipeline} {times.stage}", f"{times.p50_ms:.1f}", f"{times.p99_ms:.1f}", _budget(times.budget_ms)]
            for times in self.stages()
        ]
        title = "stage, for a whole burst"
        width = max(len(name) for name, *_ in [*facts, *stages, *verdict, [title]])
        head = [f"{name.ljust(width)}  {value}" for name, value in facts]
        tail = [f"{name.ljust(width)}  {value}" for name, value in verdict]
        middle = table([title.ljust(width), "p50 ms", "p99 ms", "budget ms"], stages)
        return "\n".join([*head, *middle.splitlines(), *tail])


def _budget(budget_ms: float | None) -> str:
    return "-" if budget_ms is None else f"{budget_ms:.0f}"
