"""The composer's runs: values, deadlines, retries, budgets, traces, and executors of threads and processes."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import importlib
import math
import multiprocessing
import operator
import sys
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from city_chain.composer import Pipeline, Stage, StageEvent, Trace
from city_chain.errors import DeadlineError, InputError

pytestmark = pytest.mark.unit

WAYS = ["flat", "watched", "threads"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Options of `run` for each of the loops."""
    if request.param == "threads":
        with ThreadPoolExecutor(4) as executor:
            yield {"executor": executor}
    else:
        yield {} if request.param == "flat" else {"on_stage": lambda event: None}


def line(*functions: Callable[..., Any], **options: Any) -> Pipeline:
    """Functions of one argument, one after the other: v0 -> v1 -> ..."""
    stages = [
        Stage(f"s{index}", function, inputs=(f"v{index}",), output=f"v{index + 1}", **options)
        for index, function in enumerate(functions)
    ]
    return Pipeline("line", stages, ("v0",), (f"v{len(functions)}",))


def fan(*functions: Callable[..., Any], **options: Any) -> Pipeline:
    """Functions of one argument side by side, and one stage that gathers their values."""
    stages = [
        Stage(f"b{index}", function, inputs=("x",), output=f"y{index}", **options)
        for index, function in enumerate(functions)
    ]
    values = tuple(one.output for one in stages)
    return Pipeline("fan", [*stages, Stage("all", lambda *got: got, inputs=values, output="z")], ("x",), ("z",))


def failing(times: int, error: BaseException | None = None) -> tuple[Callable[[Any], Any], list[float]]:
    """A function that fails so many times and then gives its argument, and the instants of its calls."""
    calls: list[float] = []

    def function(value: Any) -> Any:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error or OSError(f"failure {len(calls)}")
        return value

    return function, calls


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(7))
def test_functions_get_their_inputs_in_order(way: dict[str, Any], count: int) -> None:
    names = tuple(f"x{index}" for index in range(count))
    taken = tuple(reversed(names))
    pipeline = Pipeline("p", [Stage("s", lambda *got: got, inputs=taken, output="y")], names, ("y",))
    run = pipeline.run(dict(zip(names, range(count), strict=True)), **way)
    assert run["y"] == tuple(reversed(range(count)))
    assert [event.outcome for event in run.trace.events] == ["ok"]


def test_one_value_may_be_taken_twice(way: dict[str, Any]) -> None:
    pipeline = Pipeline("p", [Stage("square", operator.mul, inputs=("x", "x"), output="y")], ("x",), ("y",))
    assert pipeline.run({"x": 7}, **way)["y"] == 49


def test_inputs_must_be_exactly_those_declared() -> None:
    pipeline = line(abs)
    with pytest.raises(InputError, match="was not given 'v0'"):
        pipeline.run({})
    with pytest.raises(InputError, match=r"has no input 'more'; it has: 'v0'"):
        pipeline.run({"v0": 1, "more": 2})
    with pytest.raises(InputError, match="was not given"):
        pipeline.run(defaultdict(int))
    with pytest.raises(TypeError, match="mapping"):
        pipeline.run([1])  # type: ignore[arg-type]


def test_a_run_gives_only_the_outputs_and_cannot_be_written() -> None:
    run = line(abs, abs).run({"v0": -1})
    assert dict(run.outputs) == {"v2": 1}
    with pytest.raises(TypeError):
        run.outputs["v2"] = 3  # type: ignore[index]
    with pytest.raises(InputError, match="no output 'v1'; it has: 'v2'"):
        run["v1"]
    with pytest.raises(TypeError):
        run[3]  # type: ignore[index]
    with pytest.raises(TypeError):
        run[[]]  # type: ignore[index]
    assert "line" in repr(run)


def test_many_threads_may_run_one_pipeline() -> None:
    pipeline = line(*[lambda value: value + 1] * 20)
    with ThreadPoolExecutor(8) as callers:
        runs = list(callers.map(lambda start: pipeline.run({"v0": start})["v20"], range(200)))
    assert runs == [start + 20 for start in range(200)]


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_the_deadline_is_handed_to_those_who_ask(way: dict[str, Any]) -> None:
    pipeline = Pipeline("p", [Stage("s", lambda until: until, inputs=("deadline",), output="y")], (), ("y",))
    until = time.monotonic() + 60
    assert pipeline.run({}, deadline=until, **way)["y"] == until
    assert pipeline.run({}, **way)["y"] == math.inf
    assert pipeline.run({}, deadline=math.inf, **way)["y"] == math.inf


def test_no_stage_starts_after_the_deadline(way: dict[str, Any]) -> None:
    called: list[str] = []
    pipeline = line(lambda _: time.sleep(0.05), lambda _: called.append("late"))
    trace = Trace()
    with pytest.raises(DeadlineError, match=r"pipeline 'line' .* before stage 's1' could start") as caught:
        pipeline.run({"v0": 0}, deadline=time.monotonic() + 0.02, trace=trace, **way)
    assert not called
    assert isinstance(caught.value, TimeoutError)
    assert [(event.stage, event.outcome, len(event.attempts)) for event in trace.events] == [
        ("s0", "ok", 1),
        ("s1", "deadline", 0),
    ]


@pytest.mark.parametrize("deadline", [0, -1.5, -math.inf, -(10**400)])
def test_a_deadline_that_is_over_stops_the_first_stage(way: dict[str, Any], deadline: float) -> None:
    with pytest.raises(DeadlineError, match="'s0'"):
        line(abs).run({"v0": 1}, deadline=deadline, **way)


def test_a_result_that_is_ready_is_given_even_when_late(way: dict[str, Any]) -> None:
    run = line(lambda value: time.sleep(0.03) or value).run({"v0": 7}, deadline=time.monotonic() + 0.01, **way)
    assert run["v1"] == 7


def test_branches_that_run_when_the_deadline_stops_the_rest_are_awaited() -> None:
    ended = threading.Event()

    def slow(_: int) -> None:
        time.sleep(0.8)
        ended.set()

    pipeline = Pipeline(
        "p",
        [
            Stage("slow", slow, inputs=("x",), output="a"),
            Stage("quick", lambda x: time.sleep(0.5), inputs=("x",), output="b"),
            Stage("after", lambda b: b, inputs=("b",), output="c"),
        ],
        ("x",),
        ("a", "c"),
    )
    trace = Trace()
    with ThreadPoolExecutor(2) as executor, pytest.raises(DeadlineError, match="'after'"):
        pipeline.run({"x": 0}, executor=executor, deadline=time.monotonic() + 0.3, trace=trace)
    assert ended.is_set()
    assert {event.stage: event.outcome for event in trace.events} == {"slow": "ok", "quick": "ok", "after": "deadline"}


# --- errors and retries ----------------------------------------------------------------------------------------------


class OddError(Exception):
    """An error of a user."""


def test_errors_keep_their_type_and_say_where(way: dict[str, Any]) -> None:
    error = OddError("odd")
    function, _ = failing(9, error)
    trace = Trace()
    for _ in range(2):
        with pytest.raises(OddError) as caught:
            line(abs, function, abs).run({"v0": 1}, trace=trace, **way)
        assert caught.value is error
        assert caught.value.__notes__ == ["in stage 's1' of pipeline 'line'"]
        events, trace = trace.events, Trace()
        assert [(event.stage, event.outcome, event.error) for event in events] == [
            ("s0", "ok", None),
            ("s1", "error", "OddError: odd"),
        ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_even_the_hardest_errors_are_recorded_and_never_retried(way: dict[str, Any], error: BaseException) -> None:
    function, calls = failing(9, error)
    trace = Trace()
    with pytest.raises(type(error)):
        line(function, retries=5, retry_on=(Exception,)).run({"v0": 1}, trace=trace, **way)
    assert len(calls) == 1
    assert trace.events[0].outcome == "error"


def test_an_error_that_cannot_be_printed_is_still_raised(way: dict[str, Any]) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    function, _ = failing(9, MuteError())
    with pytest.raises(MuteError):
        line(function).run({"v0": 1}, **way)


def test_a_stage_is_tried_again_on_the_errors_it_names(way: dict[str, Any]) -> None:
    function, calls = failing(2)
    run = line(abs, function, abs, retries=3, retry_on=(OSError,)).run({"v0": -4}, **way)
    assert run["v3"] == 4
    assert len(calls) == 3
    events = run.trace.events
    assert [len(event.attempts) for event in events] == [1, 3, 1]
    assert [attempt.error for attempt in events[1].attempts] == ["OSError: failure 1", "OSError: failure 2", None]
    instants = [instant for attempt in events[1].attempts for instant in attempt[:2]]
    assert instants == sorted(instants)
    assert (events[1].start_ns, events[1].end_ns) == (instants[0], instants[-1])


def test_retries_are_bounded_and_only_for_what_is_named(way: dict[str, Any]) -> None:
    function, calls = failing(99)
    trace = Trace()
    with pytest.raises(OSError, match="failure 3"):
        line(function, retries=2, retry_on=(OSError,)).run({"v0": 1}, trace=trace, **way)
    assert len(calls) == 3
    assert len(trace.events[0].attempts) == 3
    function, calls = failing(99, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        line(function, retries=2, retry_on=(OSError,)).run({"v0": 1}, **way)
    assert len(calls) == 1


def test_retries_end_with_the_deadline(way: dict[str, Any]) -> None:
    function, calls = failing(10**9)
    started = time.monotonic()
    with pytest.raises(OSError, match="failure") as caught:
        line(function, retries=100, retry_on=(OSError,)).run({"v0": 1}, deadline=started + 0.15, **way)
    assert all(call < started + 5 for call in calls)  # a hundred retries would take most of a minute
    assert 1 <= len(calls) < 100
    assert any("the deadline leaves no time" in text for text in caught.value.__notes__)


# --- traces ----------------------------------------------------------------------------------------------------------


def test_budgets_are_recorded_and_never_enforced(way: dict[str, Any]) -> None:
    pipeline = Pipeline(
        "p",
        [
            Stage("slow", lambda x: time.sleep(0.02) or x, inputs=("x",), output="y", budget_ms=5),
            Stage("fast", abs, inputs=("y",), output="z", budget_ms=60_000),
        ],
        ("x",),
        ("z",),
    )
    run = pipeline.run({"x": -3}, **way)
    assert run["z"] == 3
    assert run.trace.over_budget == ("slow",)
    slow, fast = run.trace.rows()
    assert slow["took_ms"] >= 20 > slow["budget_ms"] == 5
    assert (slow["over_budget"], fast["over_budget"]) == (True, False)
    assert fast["start_ms"] >= slow["took_ms"]
    assert run.trace.took_ms >= 20
    table = run.trace.table().splitlines()
    assert [text.endswith("OVER") for text in table] == [False, True, False]


def test_events_tell_what_happened(way: dict[str, Any]) -> None:
    seen: list[StageEvent] = []
    here = threading.current_thread()
    where: list[threading.Thread] = []

    def watch(event: StageEvent) -> None:
        seen.append(event)
        where.append(threading.current_thread())

    run = fan(abs, abs).run({"x": -1}, **{**way, "on_stage": watch})
    assert sorted(seen) == sorted(run.trace.events)
    assert set(where) == {here}
    for event in seen:
        assert (event.pipeline, event.outcome, event.error, event.budget_ms) == ("fan", "ok", None, None)
        assert event.start_ns <= event.end_ns


def test_an_observer_that_fails_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture, way: dict[str, Any]
) -> None:
    def watch(event: StageEvent) -> None:
        raise RuntimeError(event.stage)

    assert line(abs, abs).run({"v0": -1}, **{**way, "on_stage": watch})["v2"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "on_stage failed after stage 's0' of pipeline 'line'",
        "on_stage failed after stage 's1' of pipeline 'line'",
    ]


def test_a_trace_holds_one_run() -> None:
    trace = Trace()
    line(abs).run({"v0": 1}, trace=trace)
    with pytest.raises(InputError, match="already holds a run of 'line'"):
        line(abs).run({"v0": 1}, trace=trace)


def test_errors_do_not_keep_their_run_alive(way: dict[str, Any]) -> None:
    class Heavy:
        pass

    heavy = Heavy()
    gone = weakref.ref(heavy)
    function, _ = failing(9)
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            line(function).run({"v0": heavy}, **way)
        del heavy
        for _ in range(100):  # a worker may still be letting go of its last task
            if gone() is None:
                break
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


# --- executors -------------------------------------------------------------------------------------------------------


def test_branches_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=20)
    with ThreadPoolExecutor(3, thread_name_prefix="branch") as executor:
        run = fan(*[lambda x: (meeting.wait(), x)[1]] * 3).run({"x": 5}, executor=executor)
    assert run["z"] == (5, 5, 5)
    threads = {event.stage: event.thread for event in run.trace.events}
    assert all(threads[f"b{index}"].startswith("branch") for index in range(3))
    assert threads["all"] == threading.current_thread().name


def test_context_variables_are_copied_into_workers() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def look(_: int) -> str:
        found = who.get()
        who.set("changed by a stage")
        return found

    token = who.set("caller")
    try:
        with ThreadPoolExecutor(2) as executor:
            executor.submit(int).result()
            run = fan(look, look).run({"x": 0}, executor=executor)
        assert run["z"] == ("caller", "caller")
        assert who.get() == "caller"
    finally:
        who.reset(token)


def test_the_first_error_wins_and_nothing_outlives_the_run() -> None:
    started, ended, never = threading.Event(), threading.Event(), threading.Event()

    def slow(_: int) -> None:
        started.set()
        time.sleep(0.1)
        ended.set()

    def fails(_: int) -> None:
        started.wait(20)
        raise OddError

    trace = Trace()
    pipeline = fan(slow, fails, *[lambda _: time.sleep(0.2) or never.set()] * 4)
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(OddError):
            pipeline.run({"x": 0}, executor=executor, trace=trace)
        assert ended.is_set()  # when the run has ended, not only when the executor has
    outcomes = {event.stage: event.outcome for event in trace.events}
    assert (outcomes["b0"], outcomes["b1"]) == ("ok", "error")
    assert list(outcomes.values()).count("cancelled") >= 3
    assert "all" not in outcomes


def test_errors_of_branches_that_were_awaited_are_recorded() -> None:
    together = threading.Barrier(2, timeout=20)

    def fails(wait_s: float) -> Callable[[int], None]:
        def function(_: int) -> None:
            together.wait()
            time.sleep(wait_s)
            raise OddError(str(wait_s))

        return function

    trace = Trace()
    with ThreadPoolExecutor(2) as executor, pytest.raises(OddError, match=r"^0\.0"):
        fan(fails(0.0), fails(0.1)).run({"x": 0}, executor=executor, trace=trace)
    assert [event.error for event in trace.events] == ["OddError: 0.0", "OddError: 0.1"]


def test_a_branch_is_tried_again_without_holding_the_others() -> None:
    function, calls = failing(2)
    with ThreadPoolExecutor(1) as executor:
        run = fan(function, abs, retries=3, retry_on=(OSError,)).run({"x": -2}, executor=executor)
    assert run["z"] == (-2, 2)
    assert len(calls) == 3
    assert {event.stage: len(event.attempts) for event in run.trace.events} == {"b0": 3, "b1": 1, "all": 1}


def test_an_executor_that_is_shut_down_is_an_error_that_says_where() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError) as caught:
        fan(abs, abs).run({"x": 0}, executor=executor)
    assert "in stage 'b0' of pipeline 'fan'" in caught.value.__notes__


def test_any_executor_will_do() -> None:
    class Plain(Executor):
        """Runs each task in a thread of its own."""

        def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            future: Future[Any] = Future()

            def work() -> None:
                future.set_running_or_notify_cancel()
                try:
                    future.set_result(fn(*arguments, **named))
                except BaseException as error:
                    future.set_exception(error)

            threading.Thread(target=work).start()
            return future

    assert fan(abs, float).run({"x": -1}, executor=Plain())["z"] == (1, -1.0)


def test_a_pipeline_may_run_inside_a_worker_of_its_own_executor() -> None:
    with ThreadPoolExecutor(1) as executor:
        inner = line(abs, abs)
        outer = fan(lambda x: inner.run({"v0": x}, executor=executor)["v2"], abs)
        assert outer.run({"x": -9}, executor=executor)["z"] == (9, 9)


MODULE = """
import os
from city_chain.composer import stage

@stage(inputs=("x",), output="y0")
def double(x):
    return 2 * x

@stage(inputs=("x",), output="y1")
def fail(x):
    raise KeyError(x)

@stage(inputs=("x",), output="y2")
def where(x):
    return os.getpid()

class Inner:
    @stage(inputs=("x",), output="y3")
    def nested(x):
        return x + 1
"""


def test_processes_run_what_can_be_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "composer_stages_sample.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "composer_stages_sample", raising=False)
    sample = importlib.import_module("composer_stages_sample")
    plain = Stage("sqrt", math.sqrt, inputs=("x",), output="r")
    stages = [sample.double, sample.where, sample.Inner.nested, plain]
    outputs = ("y0", "y2", "y3", "r")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        run = Pipeline("p", stages, ("x",), outputs).run({"x": 9}, executor=executor)
        assert (run["y0"], run["y3"], run["r"]) == (18, 10, 3.0)
        threads = {event.stage: event.thread for event in run.trace.events}
        assert threads["where"] == f"process {run['y2']}"
        assert all(event.start_ns <= event.end_ns for event in run.trace.events)
        with pytest.raises(KeyError) as caught:
            Pipeline("p", [sample.double, sample.fail], ("x",), ("y0", "y1")).run({"x": 9}, executor=executor)
        assert "in stage 'fail' of pipeline 'p'" in caught.value.__notes__
        local = Stage("local", lambda x: x, inputs=("x",), output="y")
        with pytest.raises(Exception, match=r"(?i)pickle|local object") as caught_local:
            Pipeline("p", [sample.double, local], ("x",), ("y0", "y")).run({"x": 9}, executor=executor)
        assert "in stage 'local' of pipeline 'p'" in caught_local.value.__notes__
        assert Pipeline("p", stages, ("x",), outputs).run({"x": 4}, executor=executor)["r"] == 2.0
