"""A pipeline: stages as a graph of named values, checked once, frozen, and run as often as wanted.

A pipeline never changes. `replace`, `insert` and `without` give new ones, checked anew; the stages are shared. One
pipeline may run in many threads at once, for all that a run needs is its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from time import perf_counter_ns
from typing import Any

from city_chain.composer.checks import check_instant, check_name, check_names, shown
from city_chain.composer.declaration import DEADLINE, Stage
from city_chain.composer.drawing import flowchart
from city_chain.composer.parallel import run_parallel
from city_chain.composer.reservation import Reservation
from city_chain.composer.run import OnStage, Run, Task, note, report, run_flat, run_watched
from city_chain.composer.trace import Attempt, Trace, describe
from city_chain.composer.wiring import Chains, wire
from city_chain.composer.write_behind import WriteBehind
from city_chain.errors import InputError

__all__ = ["Pipeline"]

STAGES_MAX = 1024
"""Most stages of one pipeline: what is larger is not a recipe that anybody reads."""

NAMES_MAX = 255
"""Most inputs, and most outputs, of one pipeline."""


class Pipeline:
    """Stages strung together by the names of their values.

    Args:
        name: What it is called, 1 to 128 printable characters.
        stages: 1 to 1024 stages. Their order decides only between stages that could both come next.
        inputs: Names of the values that every run is given.
        outputs: Names of the values that a run gives back.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: The stages do not fit together: duplicate names, two givers of one value, an input or output that
            nobody gives, a cycle, a stage that nobody needs. The message names the stages.

    Example:
        >>> from city_chain.composer import Stage
        >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
        >>> total = Stage("total", lambda x, y: x + y, inputs=("x", "y"), output="z")
        >>> pipeline = Pipeline("sum", [total, double], inputs=("x",), outputs=("z",))
        >>> pipeline.order
        ('double', 'total')
        >>> pipeline.run({"x": 5})["z"]
        15
    """

    __slots__ = ("_chains", "_inputs", "_name", "_outputs", "_plan", "_queue", "_stages")

    def __init__(self, name: str, stages: Iterable[Stage], inputs: Iterable[str], outputs: Iterable[str]) -> None:
        self._lay(
            check_name(name, "pipeline name"),
            _check_stages(stages),
            check_names(inputs, "pipeline input", NAMES_MAX),
            check_names(outputs, "pipeline output", NAMES_MAX),
            {},
            None,
        )

    def _lay(
        self,
        name: str,
        stages: tuple[Stage, ...],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        chains: Chains,
        queue: WriteBehind | None,
    ) -> None:
        if not stages:
            raise InputError(f"pipeline {name!r} has no stages; it needs at least one")
        for names, what in ((inputs, "input"), (outputs, "output")):
            if len(set(names)) < len(names):
                raise InputError(f"pipeline {name!r} names an {what} twice: {', '.join(map(repr, names[:16]))}")
        if DEADLINE in inputs or DEADLINE in outputs:
            raise InputError(f"pipeline {name!r} declares {DEADLINE!r}; every run gives that to its stages by itself")
        self._name = name
        self._stages = stages
        self._inputs = inputs
        self._outputs = outputs
        self._chains = chains
        self._plan = wire(name, stages, inputs, outputs, chains)
        self._queue = queue
        if queue is not None:
            queue.check_stages(self._plan.behind)

    def _with(self, stages: tuple[Stage, ...], chains: Chains) -> Pipeline:
        pipeline = Pipeline.__new__(Pipeline)
        pipeline._lay(self._name, stages, self._inputs, self._outputs, chains, self._queue)
        return pipeline

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._name

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order of declaration."""
        return self._stages

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values that a run is given."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values that a run gives back."""
        return self._outputs

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the stages in the order in which a run without an executor calls them, write-behind ones last."""
        return tuple(stage.name for stage in (*self._plan.stages, *self._plan.behind))

    # --- running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        deadline: float | None = None,
        executor: Executor | None = None,
        on_stage: OnStage | None = None,
        trace: Trace | None = None,
        write_behind: WriteBehind | None = None,
    ) -> Run:
        """Runs all stages.

        Without an executor they run one after the other in this thread, in `order`. With one, stages whose inputs are
        ready run side by side; this thread waits, and itself calls a stage that is alone. A function that is running is
        never interrupted: it is handed the deadline if it declares it, and has to keep it.

        Write-behind stages are queued, in one write, when all others have succeeded. Room for them is reserved before
        the first stage starts, so that a full queue refuses the run before anything is done. If the storage fails at
        the end, its `StorageError` is raised although the other stages have done their work.

        Args:
            inputs: Exactly the values that the pipeline declares.
            deadline: Instant of `time.monotonic` after which no stage is started; None is never.
            executor: Where branches run; it is not shut down.
            on_stage: Called in this thread with a `StageEvent` after each stage. Its errors are logged, never raised.
            trace: An empty trace to fill, so that it is at hand if the run fails.
            write_behind: The queue for write-behind stages; the bound one if None.

        Returns:
            The outputs and the trace.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An input is missing or unknown, or there is no queue for the write-behind stages.
            DeadlineError: The deadline passed before a stage could start; the message names it.
            UnavailableError: The write-behind queue had no room by the deadline (at once, if there is none).
            Exception: What a stage raised, unchanged, with a note that names the stage.

        Example:
            >>> from city_chain.composer import Stage
            >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
            >>> Pipeline("twice", [double], ("x",), ("y",)).run({"x": 4}).outputs["y"]
            8
        """
        slots = self._slots(inputs)
        if deadline is not None or executor is not None or on_stage is not None:
            deadline = _check_options(deadline, executor, on_stage)
        until = math.inf if deadline is None else deadline
        slots.append(until)
        plan = self._plan
        if trace is None:
            trace = Trace()
        elif not isinstance(trace, Trace):
            raise TypeError(f"trace must be a Trace, not {type(trace).__name__}")
        trace._begin(self._name, plan.stages, threading.current_thread().name)
        if write_behind is not None:
            _check_queue(write_behind)
        if executor is None and on_stage is None and not plan.behind:
            run_flat(self._name, plan, slots, trace, until)
            return Run({name: slots[slot] for name, slot in plan.outputs}, trace)
        task = Task(self._name, plan, slots, trace, until, on_stage)
        if plan.behind:
            with self._reserve(write_behind, until, deadline is not None) as room:
                self._run_stages(task, executor)
                self._enqueue(task, room)
        else:
            self._run_stages(task, executor)
        return Run({name: slots[slot] for name, slot in plan.outputs}, trace)

    def _slots(self, inputs: Mapping[str, Any]) -> list[Any]:
        if type(inputs) is not dict:
            if not isinstance(inputs, Mapping):
                raise TypeError(f"inputs of pipeline {self._name!r} must be a mapping, not {type(inputs).__name__}")
            inputs = dict(inputs)
        try:
            slots = [inputs[name] for name in self._inputs]
        except KeyError:
            missing = [name for name in self._inputs if name not in inputs]
            raise InputError(
                f"pipeline {self._name!r} was not given {', '.join(map(repr, missing))}; it needs: "
                f"{', '.join(map(repr, self._inputs))}"
            ) from None
        if len(inputs) != len(slots):
            unknown = [shown(name) for name in inputs if name not in self._inputs][:8]
            wanted = ", ".join(map(repr, self._inputs)) or "none"
            raise InputError(f"pipeline {self._name!r} has no input {', '.join(unknown)}; it has: {wanted}")
        return slots

    @staticmethod
    def _run_stages(task: Task, executor: Executor | None) -> None:
        if executor is not None:
            run_parallel(task, executor)
        elif task.on_stage is not None:
            run_watched(task)
        else:
            run_flat(task.pipeline, task.plan, task.slots, task.trace, task.deadline)

    def _reserve(self, queue: WriteBehind | None, deadline: float, bounded: bool) -> Reservation:
        if queue is not None:
            queue.check_stages(self._plan.behind)
        else:
            queue = self._queue
        if queue is None:
            who = ", ".join(repr(stage.name) for stage in self._plan.behind)
            raise InputError(
                f"pipeline {self._name!r} has write-behind stages ({who}) and no queue; give run(write_behind=...) one "
                "or bind one by with_write_behind"
            )
        return queue.reserve(len(self._plan.behind), deadline if bounded else None)

    @staticmethod
    def _enqueue(task: Task, room: Reservation) -> None:
        plan, thread = task.plan, threading.current_thread().name
        started_ns = perf_counter_ns()
        tasks = [
            (stage.name, tuple(pick(task.slots))) for stage, pick in zip(plan.behind, plan.behind_picks, strict=True)
        ]
        try:
            room.put_many(tasks)
        except BaseException as error:
            attempts = (Attempt(started_ns, perf_counter_ns(), describe(error)),)
            for stage in plan.behind:
                report(task, stage, "error", attempts, thread, describe(error))
                note(error, task.pipeline, stage)
            raise
        attempts = (Attempt(started_ns, perf_counter_ns()),)
        for stage in plan.behind:
            report(task, stage, "queued", attempts, thread)

    # --- changing ----------------------------------------------------------------------------------------------------

    def replace(self, name: str, stage: Stage) -> Pipeline:
        """A new pipeline with `stage` in the place of the stage `name`.

        Args:
            name: The stage that goes.
            stage: What comes; it may be called otherwise. If the old one intercepts a value, or is intercepted, the new
                one must give the same value (and take it, if the old one took it).

        Raises:
            TypeError: An argument has the wrong type.
            InputError: There is no such stage, or the result does not fit together.

        Example:
            >>> from city_chain.composer import Stage
            >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
            >>> treble = Stage("treble", lambda x: 3 * x, inputs=("x",), output="y")
            >>> Pipeline("p", [double], ("x",), ("y",)).replace("double", treble).run({"x": 5})["y"]
            15
        """
        position = self._position(name)
        old, new = self._stages[position], _check_stage(stage)
        chains = dict(self._chains)
        if name in chains.get(old.output, ()):
            chain = chains[old.output]
            if new.output != old.output or new.write_behind or (name != chain[0] and old.output not in new.inputs):
                raise InputError(
                    f"stage {name!r} of pipeline {self._name!r} is one of {chain} that give {old.output!r} one after "
                    f"the other; stage {new.name!r} must take and give it as {name!r} does"
                )
            chains[old.output] = tuple(new.name if member == name else member for member in chain)
        return self._with((*self._stages[:position], new, *self._stages[position + 1 :]), chains)

    def insert(self, stage: Stage, *, after: str) -> Pipeline:
        """A new pipeline with one stage more.

        If `stage` takes the value that the stage `after` gives, and gives a value of the same name, it *intercepts*: it
        alone gets the old value, and everybody else gets the new one. Otherwise it is an ordinary stage, declared after
        `after`, and must be needed by another stage or be write-behind.

        Args:
            stage: The new stage.
            after: Name of the stage that it follows.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: There is no stage `after`, or the result does not fit together.

        Example:
            >>> from city_chain.composer import Stage
            >>> read = Stage("read", lambda x: [x], inputs=("x",), output="batch")
            >>> count = Stage("count", len, inputs=("batch",), output="n")
            >>> twice = Stage("twice", lambda batch: batch * 2, inputs=("batch",), output="batch")
            >>> pipeline = Pipeline("p", [read, count], ("x",), ("n",))
            >>> pipeline.run({"x": 1})["n"], pipeline.insert(twice, after="read").run({"x": 1})["n"]
            (1, 2)
        """
        new = _check_stage(stage)
        position = self._position(after)
        before = self._stages[position]
        chains = dict(self._chains)
        if new.output == before.output and before.output in new.inputs:
            if new.write_behind or before.write_behind:
                raise InputError(
                    f"stage {new.name!r} cannot intercept {new.output!r} of stage {after!r} in pipeline "
                    f"{self._name!r}: one of them is write-behind and gives nothing to the run"
                )
            chain = chains.get(before.output, (after,))
            cut = chain.index(after) + 1
            chains[before.output] = (*chain[:cut], new.name, *chain[cut:])
        return self._with((*self._stages[: position + 1], new, *self._stages[position + 1 :]), chains)

    def without(self, name: str) -> Pipeline:
        """A new pipeline without the stage `name`; an interceptor's value goes back to the one before it.

        Args:
            name: The stage that goes.

        Raises:
            TypeError: `name` is not a `str`.
            InputError: There is no such stage, or what is left does not fit together.

        Example:
            >>> from city_chain.composer import Stage
            >>> one = Stage("one", lambda: 1, inputs=(), output="x")
            >>> more = Stage("more", lambda x: x + 1, inputs=("x",), output="x")
            >>> pipeline = Pipeline("p", [one], (), ("x",)).insert(more, after="one")
            >>> pipeline.run({})["x"], pipeline.without("more").run({})["x"]
            (2, 1)
        """
        position = self._position(name)
        chains = dict(self._chains)
        output = self._stages[position].output
        chain = chains.get(output, ())
        if name in chain:
            if name == chain[0]:
                raise InputError(
                    f"stage {name!r} of pipeline {self._name!r} gives {output!r} to {chain[1]!r}, which intercepts it; "
                    f"remove {chain[1]!r} first"
                )
            rest = tuple(member for member in chain if member != name)
            if len(rest) > 1:
                chains[output] = rest
            else:
                del chains[output]
        return self._with((*self._stages[:position], *self._stages[position + 1 :]), chains)

    def with_write_behind(self, queue: WriteBehind) -> Pipeline:
        """A new pipeline whose runs put write-behind stages on `queue`.

        Args:
            queue: A queue whose handlers are the write-behind stages' own functions, under their names.

        Raises:
            TypeError: It is no `WriteBehind`.
            InputError: It has no handler for one of the stages, or another function.

        Example:
            >>> from city_chain.composer import Stage
            >>> one = Stage("one", lambda: 1, inputs=(), output="x")
            >>> Pipeline("p", [one], (), ("x",)).with_write_behind(None)
            Traceback (most recent call last):
            TypeError: write_behind must be a WriteBehind, not NoneType
        """
        _check_queue(queue)
        pipeline = Pipeline.__new__(Pipeline)
        pipeline._lay(self._name, self._stages, self._inputs, self._outputs, self._chains, queue)
        return pipeline

    def _position(self, name: str) -> int:
        check_name(name, "stage name")
        for position, stage in enumerate(self._stages):
            if stage.name == name:
                return position
        known = ", ".join(repr(stage.name) for stage in self._stages[:16])
        raise InputError(f"pipeline {self._name!r} has no stage {name!r}; it has: {known}")

    # --- showing -----------------------------------------------------------------------------------------------------

    def mermaid(self) -> str:
        """The pipeline as a Mermaid flowchart.

        Example:
            >>> from city_chain.composer import Stage
            >>> print(Pipeline("p", [Stage("one", lambda: 1, inputs=(), output="x")], (), ("x",)).mermaid())
            flowchart LR
                s0["one"]
                out0(["x"])
                s0 --> out0
        """
        return flowchart(self._stages, self._inputs, self._outputs, self._plan.edges)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/vnd.mermaid": self.mermaid(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        parts = ", ".join(self._inputs), " > ".join(self.order), ", ".join(self._outputs)
        return f"<Pipeline {self._name!r}: {' -> '.join(part for part in parts if part)}>"


def _check_stage(stage: object) -> Stage:
    if not isinstance(stage, Stage):
        raise TypeError(f"a stage must be a Stage, not {type(stage).__name__}")
    return stage


def _check_stages(stages: object) -> tuple[Stage, ...]:
    if not isinstance(stages, Iterable):
        raise TypeError(f"stages must be a sequence of Stage, not {type(stages).__name__}")
    checked: list[Stage] = []
    for stage in stages:
        if len(checked) == STAGES_MAX:
            raise InputError(f"there are more than {STAGES_MAX} stages")
        checked.append(_check_stage(stage))
    return tuple(checked)


def _check_queue(queue: object) -> WriteBehind:
    if not isinstance(queue, WriteBehind):
        raise TypeError(f"write_behind must be a WriteBehind, not {type(queue).__name__}")
    return queue


def _check_options(deadline: object, executor: object, on_stage: object) -> float | None:
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
    if on_stage is not None and not callable(on_stage):
        raise TypeError(f"on_stage must be callable, not {type(on_stage).__name__}")
    return None if deadline is None else check_instant(deadline, "deadline")
