"""Runs of a pipeline on an executor: stages whose inputs are ready run side by side.

One thread, the caller's, decides everything; workers only call functions. Each attempt is one task of the executor, so
a wait between attempts holds no worker. A stage that is alone (nothing else runs or could run) is called by the
caller's thread itself, since handing it over would only cost time; so a pipeline may run inside a worker of its own
executor as long as it has no branches there.

After the first error nothing new starts: what has not begun is cancelled, what has is awaited. Nothing outlives
the run.
"""

from __future__ import annotations

import contextvars
import heapq
import os
import queue
import threading
import time
from concurrent.futures import Executor, Future
from time import perf_counter_ns
from typing import Any

from city_chain.composer.declaration import Stage
from city_chain.composer.run import Task, fail, raise_late, report, wait_before_retry
from city_chain.composer.trace import Attempt, describe

__all__ = ["Work", "run_parallel"]

Answer = tuple[Any, int, int, str]
"""A stage's value, start and end in `perf_counter_ns`, and where it ran."""


class Work:
    """One attempt of one stage, as handed to an executor.

    In a thread it runs in a copy of the caller's context. Where it is pickled (a process, another machine) the context
    stays behind, for contexts cannot be sent.
    """

    __slots__ = ("arguments", "context", "home", "stage", "started_ns", "thread")

    def __init__(
        self, stage: Stage, arguments: tuple[Any, ...], context: contextvars.Context | None, home: int
    ) -> None:
        self.stage = stage
        self.arguments = arguments
        self.context = context
        self.home = home
        self.started_ns = 0
        self.thread = ""

    def __reduce__(self) -> tuple[type[Work], tuple[Stage, tuple[Any, ...], None, int]]:
        return Work, (self.stage, self.arguments, None, self.home)

    def __call__(self) -> Answer:
        """Calls the function."""
        process = os.getpid()
        name = threading.current_thread().name
        self.thread = name if process == self.home else f"process {process}"
        self.started_ns = perf_counter_ns()
        if self.context is None:
            value = self.stage.function(*self.arguments)
        else:
            value = self.context.run(self.stage.function, *self.arguments)
        return value, self.started_ns, perf_counter_ns(), self.thread


def run_parallel(task: Task, executor: Executor) -> None:
    """Runs all stages, branches side by side, and fills the slots.

    Args:
        task: The run.
        executor: Any executor that calls callables; it is not shut down.

    Raises:
        DeadlineError: The deadline passed before a stage could start.
        Exception: The first error of a stage, or of the executor.
    """
    task.slots.extend([None] * len(task.plan.stages))
    branches = _Branches(task, executor)
    try:
        branches.run()
    finally:
        branches.end()


class _Branches:
    """The state of one run on an executor."""

    def __init__(self, task: Task, executor: Executor) -> None:
        self.task = task
        self.executor = executor
        self.waits = list(task.plan.waits)
        self.ready = [index for index, count in enumerate(self.waits) if count == 0]
        self.running: dict[Future[Answer], tuple[int, Work, int]] = {}
        self.done: queue.SimpleQueue[Future[Answer]] = queue.SimpleQueue()
        self.later: list[tuple[float, int]] = []
        """When (instant of `time.monotonic`) which stage is tried again: a heap."""
        self.attempts: dict[int, list[Attempt]] = {}

    def run(self) -> None:
        while self.ready or self.running or self.later:
            while self.ready:
                index = heapq.heappop(self.ready)
                # A stage that is tried again has had its time checked when the wait began.
                if index not in self.attempts and self.task.deadline <= time.monotonic():
                    raise_late(self.task, self.task.plan.stages[index])
                if self.ready or self.running or self.later:
                    self._submit(index)
                else:
                    self._call(index)
            self._await()

    def end(self) -> None:
        """Cancels what has not begun and awaits what has; does nothing after a good run."""
        for future in list(self.running):
            future.cancel()
        while self.running:
            future = self.done.get()
            index, work, submitted_ns = self.running.pop(future)
            stage = self.task.plan.stages[index]
            if future.cancelled():
                report(self.task, stage, "cancelled", self.attempts.get(index, ()), "")
                continue
            error = future.exception()
            if error is None:
                self._finished(index, future.result(), submitted_ns, pass_on=False)
            else:
                attempts = self._failed(index, error, work, submitted_ns)
                report(self.task, stage, "error", attempts, work.thread, describe(error))

    def _arguments(self, index: int) -> tuple[Any, ...]:
        return tuple(self.task.plan.picks[index](self.task.slots))

    def _submit(self, index: int) -> None:
        stage = self.task.plan.stages[index]
        work = Work(stage, self._arguments(index), contextvars.copy_context(), os.getpid())
        submitted_ns = perf_counter_ns()
        try:
            future = self.executor.submit(work)
        except Exception as error:  # shut down or broken: it is this stage that cannot run
            fail(self.task, stage, error, self._failed(index, error, work, submitted_ns), work.thread)
        self.running[future] = (index, work, submitted_ns)
        future.add_done_callback(self.done.put)

    def _call(self, index: int) -> None:
        work = Work(self.task.plan.stages[index], self._arguments(index), contextvars.copy_context(), os.getpid())
        started_ns = perf_counter_ns()
        try:
            answer = work()
        except BaseException as error:
            self._retry_or_fail(index, error, work, started_ns)
        else:
            self._finished(index, answer, started_ns)

    def _await(self) -> None:
        """Waits for one stage to end or for one to be tried again."""
        if not (self.running or self.later):
            return
        timeout_s = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
        try:
            future = self.done.get(timeout=timeout_s)
        except queue.Empty:
            heapq.heappush(self.ready, heapq.heappop(self.later)[1])
            return
        index, work, submitted_ns = self.running.pop(future)
        try:
            answer = future.result()
        except BaseException as error:
            self._retry_or_fail(index, error, work, submitted_ns)
        else:
            self._finished(index, answer, submitted_ns)

    def _finished(self, index: int, answer: Answer, submitted_ns: int, *, pass_on: bool = True) -> None:
        value, start_ns, end_ns, thread = answer
        now_ns = perf_counter_ns()
        if not submitted_ns <= start_ns <= end_ns <= now_ns:  # another machine's clock
            start_ns, end_ns = submitted_ns, now_ns
        attempts = [*self.attempts.get(index, ()), Attempt(start_ns, end_ns)]
        report(self.task, self.task.plan.stages[index], "ok", attempts, thread)
        if not pass_on:
            return
        self.task.slots[self.task.plan.first_slot + index] = value
        for following in self.task.plan.feeds[index]:
            self.waits[following] -= 1
            if self.waits[following] == 0:
                heapq.heappush(self.ready, following)

    def _failed(self, index: int, error: BaseException, work: Work, submitted_ns: int) -> list[Attempt]:
        attempts = self.attempts.setdefault(index, [])
        attempts.append(Attempt(work.started_ns or submitted_ns, perf_counter_ns(), describe(error)))
        return attempts

    def _retry_or_fail(self, index: int, error: BaseException, work: Work, submitted_ns: int) -> None:
        try:
            stage = self.task.plan.stages[index]
            attempts = self._failed(index, error, work, submitted_ns)
            wait_s = wait_before_retry(stage, error, len(attempts), self.task.deadline)
            if wait_s is None:
                fail(self.task, stage, error, attempts, work.thread)
            heapq.heappush(self.later, (time.monotonic() + wait_s, index))
        finally:
            del error  # the error holds this frame; it must not hold the error
