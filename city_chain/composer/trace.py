"""What happened in a run: one `StageEvent` per stage, gathered in a `Trace`.

A run that nobody watches leaves only one clock reading per stage; the events are made when somebody asks. Times are
nanoseconds of `time.perf_counter_ns`: only their differences mean anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from city_chain.composer.declaration import Stage
from city_chain.composer.drawing import timeline
from city_chain.errors import InputError

__all__ = ["Attempt", "StageEvent", "Trace"]

_ERROR_TEXT_MAX = 300


class Attempt(NamedTuple):
    """One call of a stage's function: start and end in `perf_counter_ns`, and the error's text (None: it went well)."""

    start_ns: int
    end_ns: int
    error: str | None = None


class StageEvent(NamedTuple):
    """One stage of one run, when it has ended.

    `outcome` is one of

    - `"ok"`: it gave its value;
    - `"error"`: it raised, after its last attempt;
    - `"deadline"`: it was not started, for the deadline had passed;
    - `"cancelled"`: it was handed to the executor, and another stage failed before it began;
    - `"queued"`: it is write-behind, and its task was stored.

    `start_ns` to `end_ns` holds all attempts and the waits between them; `thread` is the name of the thread that
    ran it.
    """

    pipeline: str
    stage: str
    outcome: str
    start_ns: int
    end_ns: int
    attempts: tuple[Attempt, ...]
    budget_ms: float | None
    thread: str
    error: str | None = None

    @property
    def took_ms(self) -> float:
        """Milliseconds from the start of the first attempt to the end of the last."""
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def over_budget(self) -> bool:
        """Whether it took longer than its budget."""
        return self.budget_ms is not None and self.took_ms > self.budget_ms


class Trace:
    """The record of one run.

    Every `Run` has one. To have it when a run fails, make one and pass it: `pipeline.run(..., trace=trace)`. One trace
    records one run.

    Example:
        >>> from city_chain.composer import Pipeline, Stage
        >>> pipeline = Pipeline("p", [Stage("half", lambda x: 1 // x, inputs=("x",), output="y")], ["x"], ["y"])
        >>> trace = Trace()
        >>> try:
        ...     pipeline.run({"x": 0}, trace=trace)
        ... except ZeroDivisionError:
        ...     [(event.stage, event.outcome) for event in trace.events]
        [('half', 'error')]
    """

    __slots__ = ("_explicit", "_marks", "_pipeline", "_stages", "_thread")

    def __init__(self) -> None:
        self._pipeline: str | None = None
        self._stages: Sequence[Stage] = ()
        self._thread = ""
        self._marks: list[int] = []
        """Start of each stage of the flat loop, then the end of the last."""
        self._explicit: dict[str, StageEvent] = {}
        """Events that are more than two marks, by stage name."""

    def _begin(self, pipeline: str, stages: Sequence[Stage], thread: str) -> None:
        if self._pipeline is not None:
            raise InputError(f"this trace already holds a run of {self._pipeline!r}; make a new Trace for each run")
        self._pipeline = pipeline
        self._stages = stages
        self._thread = thread

    def _add(self, event: StageEvent) -> None:
        self._explicit[event.stage] = event

    @property
    def pipeline(self) -> str:
        """The pipeline's name; empty before the run."""
        return self._pipeline or ""

    @property
    def events(self) -> tuple[StageEvent, ...]:
        """One event per stage that has ended, in order of their starts."""
        events = list(self._explicit.values())
        for index in range(len(self._marks) - 1):
            stage = self._stages[index]
            if stage.name not in self._explicit:
                attempt = Attempt(self._marks[index], self._marks[index + 1])
                events.append(
                    StageEvent(self.pipeline, stage.name, "ok", *attempt[:2], (attempt,), stage.budget_ms, self._thread)
                )
        return tuple(sorted(events, key=lambda event: event.start_ns))

    @property
    def over_budget(self) -> tuple[str, ...]:
        """Names of the stages that took longer than their budget, in order of their starts."""
        return tuple(event.stage for event in self.events if event.over_budget)

    @property
    def took_ms(self) -> float:
        """Milliseconds from the first start to the last end; 0 for an empty trace."""
        events = self.events
        return (max(event.end_ns for event in events) - events[0].start_ns) / 1e6 if events else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """One flat dict per event, as data frames take them.

        Returns:
            Dicts with the keys `pipeline`, `stage`, `outcome`, `start_ms` (since the run's first stage), `took_ms`,
            `budget_ms`, `over_budget`, `attempts`, `thread`, `error`.

        Example:
            >>> Trace().rows()
            []
        """
        events = self.events
        origin_ns = events[0].start_ns if events else 0
        return [
            {
                "pipeline": event.pipeline,
                "stage": event.stage,
                "outcome": event.outcome,
                "start_ms": (event.start_ns - origin_ns) / 1e6,
                "took_ms": event.took_ms,
                "budget_ms": event.budget_ms,
                "over_budget": event.over_budget,
                "attempts": len(event.attempts),
                "thread": event.thread,
                "error": event.error,
            }
            for event in events
        ]

    def table(self) -> str:
        """The events as lines of text, stages over their budget marked `OVER`.

        Example:
            >>> print(Trace().table())
            stage  outcome  attempts  start ms  took ms  budget ms  thread
        """
        lines = [("stage", "outcome", "attempts", "start ms", "took ms", "budget ms", "thread", "")]
        for row in self.rows():
            budget = "" if row["budget_ms"] is None else f"{row['budget_ms']:g}"
            lines.append(
                (
                    row["stage"],
                    row["outcome"],
                    str(row["attempts"]),
                    f"{row['start_ms']:.3f}",
                    f"{row['took_ms']:.3f}",
                    budget,
                    row["thread"],
                    "OVER" if row["over_budget"] else "",
                )
            )
        widths = [max(len(line[column]) for line in lines) for column in range(8)]
        right = {2, 3, 4, 5}
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        """An SVG timeline, for notebooks."""
        return timeline(self.pipeline, self.rows())

    def __repr__(self) -> str:
        return f"<Trace of {self.pipeline!r}: {len(self.events)} stages, {self.took_ms:.3f} ms>"


def describe(error: BaseException) -> str:
    """An error as one short line; never raises.

    Example:
        >>> describe(ValueError("too small"))
        'ValueError: too small'
    """
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # a hostile __str__ must not hide the error itself
        text = type(error).__name__
    text = "".join(character if character.isprintable() else " " for character in text[:_ERROR_TEXT_MAX])
    return text.strip()
