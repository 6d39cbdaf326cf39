"""A run: its results, the flat loop that makes them, and what every loop shares.

The flat loop is the whole cost of a run that nobody watches: per stage one clock reading, one comparison with the
deadline, and the call. Errors and retries leave it by one `except` around the loop, which costs nothing until used.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from city_chain.composer.checks import check_name, shown
from city_chain.composer.declaration import Stage
from city_chain.composer.retry import BACKOFF_BASE_S, BACKOFF_MAX_S, full_jitter
from city_chain.composer.trace import Attempt, StageEvent, Trace, describe
from city_chain.composer.wiring import Plan
from city_chain.errors import DeadlineError, InputError

__all__ = ["OnStage", "Run", "Task"]

OnStage = Callable[[StageEvent], object]

_NEVER_NS = 1 << 62
_log = logging.getLogger("city_chain.composer")


class Run:
    """What a pipeline gave: its outputs and its trace.

    Example:
        >>> from city_chain.composer import Pipeline, Stage
        >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
        >>> run = Pipeline("twice", [double], inputs=("x",), outputs=("y",)).run({"x": 21})
        >>> run["y"], dict(run.outputs), run.trace.events[0].outcome
        (42, {'y': 42}, 'ok')
    """

    __slots__ = ("_outputs", "trace")

    trace: Trace

    def __init__(self, outputs: dict[str, Any], trace: Trace) -> None:
        self._outputs = outputs
        self.trace = trace

    def __getitem__(self, name: str) -> Any:
        """The output `name`.

        Raises:
            TypeError: `name` is not a `str`.
            InputError: The pipeline has no such output.
        """
        try:
            return self._outputs[name]
        except (KeyError, TypeError):
            check_name(name, "output name")
        given = ", ".join(repr(output) for output in self._outputs) or "none"
        raise InputError(f"pipeline {self.trace.pipeline!r} has no output {shown(name)}; it has: {given}")

    @property
    def outputs(self) -> Mapping[str, Any]:
        """All outputs by name, read-only."""
        return MappingProxyType(self._outputs)

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()

    def __repr__(self) -> str:
        return f"<Run of {self.trace.pipeline!r}: {', '.join(self._outputs)} in {self.trace.took_ms:.3f} ms>"


class Task(NamedTuple):
    """What the loops share about one run."""

    pipeline: str
    plan: Plan
    slots: list[Any]
    trace: Trace
    deadline: float
    on_stage: OnStage | None


def run_flat(pipeline: str, plan: Plan, slots: list[Any], trace: Trace, deadline: float) -> None:
    """Runs all stages one after the other in this thread, unwatched, and appends their values to the slots."""
    mark, keep, now = trace._marks.append, slots.append, perf_counter_ns
    limit_ns = _NEVER_NS if deadline == math.inf else limit(deadline)
    position = 0
    while True:
        try:
            for function, first, second, third, pick in plan.steps[position:]:
                started = now()
                mark(started)
                if started >= limit_ns:
                    break
                if pick is not None:
                    keep(function(*pick(slots)))
                elif second is None:
                    keep(function(slots[first]))
                elif third is None:
                    keep(function(slots[first], slots[second]))
                else:
                    keep(function(slots[first], slots[second], slots[third]))
            else:
                mark(now())
                return
        except BaseException as error:
            position = len(trace._marks) - 1
            keep(recover(Task(pipeline, plan, slots, trace, deadline, None), position, error, trace._marks[position]))
            position += 1
            continue
        raise_late(Task(pipeline, plan, slots, trace, deadline, None), plan.stages[len(trace._marks) - 1])


def run_watched(task: Task) -> None:
    """Runs all stages one after the other in this thread and reports each to `on_stage`."""
    plan, slots = task.plan, task.slots
    limit_ns, thread = limit(task.deadline), threading.current_thread().name
    for index, stage in enumerate(plan.stages):
        started = perf_counter_ns()
        if started >= limit_ns:
            raise_late(task, stage)
        try:
            value = stage.function(*plan.picks[index](slots))
        except BaseException as error:
            value = recover(task, index, error, started)
        else:
            report(task, stage, "ok", (Attempt(started, perf_counter_ns()),), thread)
        slots.append(value)


def limit(deadline: float) -> int:
    """`deadline` on the clock that the marks are read from, so that one reading serves both."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return 0
    return _NEVER_NS if left_s > 1e9 else perf_counter_ns() + int(left_s * 1e9)


def report(
    task: Task, stage: Stage, outcome: str, attempts: Sequence[Attempt], thread: str, error: str | None = None
) -> None:
    """Adds one stage to the trace and tells `on_stage`, whose errors are logged and never stop a run."""
    now_ns = 0 if attempts else perf_counter_ns()
    event = StageEvent(
        task.pipeline,
        stage.name,
        outcome,
        attempts[0].start_ns if attempts else now_ns,
        attempts[-1].end_ns if attempts else now_ns,
        tuple(attempts),
        stage.budget_ms,
        thread,
        error,
    )
    task.trace._add(event)
    if task.on_stage is not None:
        try:
            task.on_stage(event)
        except Exception:
            _log.exception("on_stage failed after stage %r of pipeline %r", stage.name, task.pipeline)


def recover(task: Task, index: int, error: BaseException, started_ns: int) -> Any:
    """Goes on after the first failure of a stage: its value from a later attempt, or its last error, raised."""
    stage = task.plan.stages[index]
    thread = threading.current_thread().name
    attempts = [Attempt(started_ns, perf_counter_ns(), describe(error))]
    try:
        while True:
            wait_s = wait_before_retry(stage, error, len(attempts), task.deadline)
            if wait_s is None:
                fail(task, stage, error, attempts, thread)
            time.sleep(wait_s)
            started = perf_counter_ns()
            try:
                value = stage.function(*task.plan.picks[index](task.slots))
            except BaseException as again:
                error = again
                attempts.append(Attempt(started, perf_counter_ns(), describe(again)))
            else:
                attempts.append(Attempt(started, perf_counter_ns()))
                report(task, stage, "ok", attempts, thread)
                return value
    finally:
        del error  # the error holds this frame; it must not hold the error


def wait_before_retry(stage: Stage, error: BaseException, failures: int, deadline: float) -> float | None:
    """Seconds to wait before the next attempt; None if there is none."""
    if failures > stage.retries or not isinstance(error, stage.retry_on):
        return None
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        error.add_note(f"after {failures} attempts the deadline leaves no time for another")
        return None
    return full_jitter(failures, BACKOFF_BASE_S, BACKOFF_MAX_S, left_s)


def fail(task: Task, stage: Stage, error: BaseException, attempts: Sequence[Attempt], thread: str) -> NoReturn:
    """Records the failure of a stage and raises its own error, with a note that says where."""
    try:
        report(task, stage, "error", attempts, thread, describe(error))
        note(error, task.pipeline, stage)
        raise error
    finally:
        del error  # the error holds this frame; it must not hold the error


def note(error: BaseException, pipeline: str, stage: Stage) -> None:
    """Says once where an error came from."""
    text = f"in stage {stage.name!r} of pipeline {pipeline!r}"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def raise_late(task: Task, stage: Stage) -> NoReturn:
    """Records that the deadline stood in the way of a stage, and says so."""
    report(task, stage, "deadline", (), threading.current_thread().name)
    late_s = time.monotonic() - task.deadline
    ago = f"{late_s * 1e3:.1f} ms ago" if math.isfinite(late_s) else "long ago"
    raise DeadlineError(
        f"pipeline {task.pipeline!r} had to end {ago}, before stage {stage.name!r} could start; allow more time"
    )
