"""The composer's pipelines: what is refused when one is built, the order, and the changes that give new ones."""

from __future__ import annotations

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain.composer import Pipeline, Stage, stage
from city_chain.errors import InputError

pytestmark = pytest.mark.unit


def give(name: str, inputs: tuple[str, ...], output: str, **options: Any) -> Stage:
    """A stage whose value tells its whole history."""
    return Stage(name, lambda *values: (name, *values), inputs=inputs, output=output, **options)


def sending() -> Pipeline:
    return Pipeline(
        "sending",
        [
            give("s1_select", ("transactions", "city"), "selection", budget_ms=80),
            give("s2_encode", ("transactions",), "dispersal", budget_ms=80),
            give("s3_hold", ("selection", "dispersal"), "requests"),
            give("s5_commit", ("dispersal", "requests", "deadline"), "receipts"),
        ],
        inputs=("transactions", "city"),
        outputs=("receipts",),
    )


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "inputs", "outputs", "words"),
    [
        pytest.param([give("a", ("nope",), "y")], ("x",), ("y",), ["'a'", "'nope'", "'x'"], id="unknown input"),
        pytest.param(
            [give("a", ("x",), "y"), give("b", ("x",), "y")], ("x",), ("y",), ["'a'", "'b'", "'y'"], id="two givers"
        ),
        pytest.param([give("a", ("x",), "x")], ("x",), ("x",), ["'a'", "pipeline input"], id="gives an input"),
        pytest.param(
            [give("a", ("z",), "y"), give("b", ("y",), "z")], (), ("z",), ["cycle", "'a'", "'b'"], id="cycle of two"
        ),
        pytest.param([give("a", ("y",), "y")], (), ("y",), ["cycle", "'a'"], id="cycle of one"),
        pytest.param(
            [give("a", ("x",), "y"), give("b", ("x",), "z"), give("c", ("z",), "w")],
            ("x",),
            ("y",),
            ["unreachable", "'b'", "'c'"],
            id="unreachable",
        ),
        pytest.param([give("a", ("x",), "y"), give("a", ("x",), "z")], ("x",), ("y", "z"), ["two", "'a'"], id="names"),
        pytest.param([give("a", ("x",), "y")], ("x",), ("z",), ["output", "'z'", "'y'"], id="output nobody gives"),
        pytest.param(
            [give("a", ("x",), "y", write_behind=True), give("b", ("y",), "z")],
            ("x",),
            ("z",),
            ["'b'", "'a'", "write-behind"],
            id="needs what is write-behind",
        ),
        pytest.param(
            [give("a", ("x",), "y", write_behind=True)], ("x",), ("y",), ["'a'", "write-behind"], id="gives it out"
        ),
        pytest.param([give("a", ("x",), "y")], ("x", "deadline"), ("y",), ["'deadline'"], id="deadline as an input"),
        pytest.param([give("a", ("x",), "y")], ("x",), ("y", "deadline"), ["'deadline'"], id="deadline as an output"),
        pytest.param([give("a", ("x",), "y")], ("x", "x"), ("y",), ["input twice", "'x'"], id="input twice"),
        pytest.param([give("a", ("x",), "y")], ("x",), ("y", "y"), ["output twice", "'y'"], id="output twice"),
        pytest.param([], ("x",), ("x",), ["no stages"], id="empty"),
    ],
)
def test_a_pipeline_that_does_not_fit_names_its_fault(
    stages: list[Stage], inputs: tuple[str, ...], outputs: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        Pipeline("sending", stages, inputs, outputs)
    assert all(word in str(caught.value) for word in (*words, "stage" if stages and "twice" not in words[0] else "")), (
        str(caught.value)
    )


def test_inputs_that_nobody_uses_and_inputs_given_out_are_allowed() -> None:
    pipeline = Pipeline("p", [give("a", ("x",), "y")], ("x", "unused"), ("y", "x"))
    assert dict(pipeline.run({"x": 1, "unused": 2}).outputs) == {"y": ("a", 1), "x": 1}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, InputError),
        ({"name": "x" * 129}, InputError),
        ({"name": "a\nb"}, InputError),
        ({"name": "a\x00"}, InputError),
        ({"name": "\ud800"}, InputError),
        ({"name": " "}, InputError),
        ({"name": 3}, TypeError),
        ({"function": 3}, TypeError),
        ({"function": lambda: None}, InputError),
        ({"function": lambda x, y: None}, InputError),
        ({"inputs": "x"}, TypeError),
        ({"inputs": ("",)}, InputError),
        ({"inputs": (3,)}, TypeError),
        ({"inputs": ("x",) * 256}, InputError),
        ({"output": "deadline"}, InputError),
        ({"output": None}, TypeError),
        ({"budget_ms": 0}, InputError),
        ({"budget_ms": -1.0}, InputError),
        ({"budget_ms": float("nan")}, InputError),
        ({"budget_ms": float("inf")}, InputError),
        ({"budget_ms": 10**400}, InputError),
        ({"budget_ms": True}, TypeError),
        ({"retries": -1}, InputError),
        ({"retries": 101}, InputError),
        ({"retries": 1.0}, TypeError),
        ({"retries": True}, TypeError),
        ({"retries": 1}, InputError),
        ({"retry_on": (KeyboardInterrupt,)}, TypeError),
        ({"retry_on": [OSError]}, TypeError),
        ({"retry_on": ("OSError",)}, TypeError),
        ({"write_behind": 1}, TypeError),
        ({"write_behind": True, "retries": 1, "retry_on": (OSError,)}, InputError),
    ],
)
def test_a_stage_is_checked_when_it_is_made(fields: dict[str, Any], error: type[Exception]) -> None:
    right: dict[str, Any] = {"name": "s", "function": lambda x: x, "inputs": ("x",), "output": "y"}
    Stage(**right)
    with pytest.raises(error):
        Stage(**{**right, **fields})


def test_an_async_function_is_no_stage() -> None:
    async def later(x: int) -> int:
        return x

    with pytest.raises(InputError, match="async"):
        Stage("later", later, inputs=("x",), output="y")


def test_stages_are_frozen_and_can_be_copied_with_changes() -> None:
    one = give("a", ["x"], "y", budget_ms=8)  # type: ignore[arg-type]
    assert one.inputs == ("x",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]
    assert dataclasses.replace(one, budget_ms=9).budget_ms == 9.0
    assert pickle.loads(pickle.dumps(Stage("n", len, inputs=("x",), output="y"))).function is len


def test_the_decorator_makes_a_stage_that_can_be_called() -> None:
    @stage(inputs=("x",), output="y", budget_ms=80, retries=2, retry_on=(OSError,))
    def double(x: int) -> int:
        return 2 * x

    assert isinstance(double, Stage)
    assert (double.name, double.inputs, double.output, double.budget_ms, double.retries) == (
        "double",
        ("x",),
        "y",
        80,
        2,
    )
    assert double(4) == 8
    assert stage(inputs=("x",), output="y", name="other")(len).name == "other"


# --- order -----------------------------------------------------------------------------------------------------------


def test_the_order_stays_as_close_to_the_declaration_as_it_can() -> None:
    stages = [
        give("d", ("b",), "d"),
        give("c", ("x",), "c"),
        give("a", ("x",), "a"),
        give("b", ("a",), "b"),
    ]
    pipeline = Pipeline("p", stages, ("x",), ("c", "d"))
    assert pipeline.order == ("c", "a", "b", "d")
    assert pipeline.stages == tuple(stages)


@st.composite
def graphs(draw: st.DrawFn) -> Pipeline:
    """A random graph in a random order of declaration; every value is an output, so every stage is needed."""
    inputs = [f"in{index}" for index in range(draw(st.integers(0, 3)))]
    count = draw(st.integers(1, 10))
    values, stages = list(inputs), []
    for index in range(count):
        taken = draw(st.lists(st.sampled_from([*values, "deadline"]), max_size=6))
        stages.append(give(f"stage{index}", tuple(taken), f"v{index}"))
        values.append(f"v{index}")
    return Pipeline("random", draw(st.permutations(stages)), inputs, [f"v{index}" for index in range(count)])


@given(graphs())
def test_the_order_respects_the_needs_and_every_way_to_run_gives_the_same(pipeline: Pipeline) -> None:
    place = {name: index for index, name in enumerate(pipeline.order)}
    givers = {one.output: one.name for one in pipeline.stages}
    assert sorted(place) == sorted(one.name for one in pipeline.stages)
    for one in pipeline.stages:
        assert all(place[givers[value]] < place[one.name] for value in one.inputs if value in givers)
    # Of all that could come next, the one declared first comes first.
    left, nearest = list(pipeline.stages), list[str]()
    while left:
        known_now = {one.output for one in pipeline.stages if one.name in nearest}
        ready = next(one for one in left if all(value in known_now for value in one.inputs if value in givers))
        nearest.append(ready.name)
        left.remove(ready)
    assert pipeline.order == tuple(nearest)
    # A slow and plain way to the same values, straight from the declaration.
    known: dict[str, Any] = {name: name.upper() for name in pipeline.inputs} | {"deadline": float("inf")}
    for name in pipeline.order:
        one = next(item for item in pipeline.stages if item.name == name)
        known[one.output] = one.function(*(known[value] for value in one.inputs))
    wanted = {name: known[name] for name in pipeline.outputs}
    given_inputs = {name: name.upper() for name in pipeline.inputs}
    assert dict(pipeline.run(given_inputs).outputs) == wanted
    seen: list[str] = []
    assert dict(pipeline.run(given_inputs, on_stage=lambda event: seen.append(event.stage)).outputs) == wanted
    assert tuple(seen) == pipeline.order
    with ThreadPoolExecutor(3) as executor:
        assert dict(pipeline.run(given_inputs, executor=executor).outputs) == wanted


@given(graphs(), st.data())
def test_changes_never_touch_the_old_pipeline(pipeline: Pipeline, data: st.DataObject) -> None:
    def shape(some: Pipeline) -> tuple[Any, ...]:
        return some.stages, some.inputs, some.outputs, some.order, some.mermaid(), dict(some.run(given_inputs).outputs)

    given_inputs = dict.fromkeys(pipeline.inputs, 0)
    before = shape(pipeline)
    target = data.draw(st.sampled_from(pipeline.stages))
    swapped = pipeline.replace(target.name, dataclasses.replace(target, name="swapped"))
    assert swapped.order == tuple("swapped" if name == target.name else name for name in pipeline.order)
    wrapped = pipeline.insert(
        Stage("wrap", lambda old: ("wrap", old), inputs=(target.output,), output=target.output), after=target.name
    )
    assert wrapped.run(given_inputs)[target.output] == ("wrap", pipeline.run(given_inputs)[target.output])
    with pytest.raises(InputError):
        pipeline.without(target.name)  # its value is an output
    assert shape(pipeline) == before
    assert shape(wrapped.without("wrap")) == before


# --- replace, insert, without ----------------------------------------------------------------------------------------


def test_an_inserted_stage_intercepts_for_all_other_takers() -> None:
    audit = Stage("audit", lambda dispersal: ("audit", dispersal), inputs=("dispersal",), output="dispersal")
    run = sending().insert(audit, after="s2_encode").run({"transactions": "t", "city": "c"})
    dispersal = ("audit", ("s2_encode", "t"))
    requests = ("s3_hold", ("s1_select", "t", "c"), dispersal)
    assert run["receipts"] == ("s5_commit", dispersal, requests, float("inf"))


def test_interceptors_form_a_chain_that_can_be_changed_at_every_place() -> None:
    base = Pipeline("p", [give("a", ("x",), "v"), give("z", ("v",), "out")], ("x",), ("out", "v"))
    one = base.insert(give("one", ("v",), "v"), after="a")
    chain = one.insert(give("two", ("v",), "v"), after="one").insert(give("half", ("v",), "v"), after="a")
    assert chain.order == ("a", "half", "one", "two", "z")
    assert chain.run({"x": 0})["v"] == ("two", ("one", ("half", ("a", 0))))
    assert chain.run({"x": 0})["out"] == ("z", chain.run({"x": 0})["v"])
    assert chain.without("one").run({"x": 0})["v"] == ("two", ("half", ("a", 0)))
    assert chain.replace("one", give("uno", ("v", "x"), "v")).run({"x": 0})["v"] == (
        ("two", ("uno", ("half", ("a", 0)), 0))
    )
    assert chain.replace("a", give("b", (), "v")).run({"x": 0})["v"] == ("two", ("one", ("half", ("b",))))
    assert chain.without("half").without("two").without("one").run({"x": 0})["v"] == ("a", 0)
    with pytest.raises(InputError, match="'half', which intercepts"):
        chain.without("a")
    with pytest.raises(InputError, match="must take and give"):
        chain.replace("one", give("uno", ("x",), "v"))
    with pytest.raises(InputError, match="must take and give"):
        chain.replace("a", give("b", ("x",), "w"))
    with pytest.raises(InputError, match="cycle"):
        chain.replace("a", give("b", ("v",), "v"))


def test_an_interceptor_that_needs_what_comes_of_its_own_value_is_a_cycle() -> None:
    with pytest.raises(InputError, match="cycle"):
        sending().insert(give("late", ("dispersal", "requests"), "dispersal"), after="s2_encode")


def test_an_ordinary_inserted_stage_must_be_needed() -> None:
    count = give("count", ("dispersal",), "count")
    with pytest.raises(InputError, match=r"unreachable stages: 'count'"):
        sending().insert(count, after="s2_encode")
    behind = sending().insert(dataclasses.replace(count, write_behind=True), after="s2_encode")
    assert behind.order[-1] == "count"
    with pytest.raises(InputError, match="also given by stage 's2_encode'"):
        sending().insert(give("other", ("transactions",), "dispersal"), after="s2_encode")
    with pytest.raises(InputError, match="write-behind"):
        sending().insert(give("late", ("dispersal",), "dispersal", write_behind=True), after="s2_encode")


def test_unknown_stages_are_named_with_those_there_are() -> None:
    for change in (
        lambda: sending().without("s9"),
        lambda: sending().replace("s9", give("a", (), "b")),
        lambda: sending().insert(give("a", (), "b"), after="s9"),
    ):
        with pytest.raises(InputError, match=r"'sending' has no stage 's9'; it has: 's1_select'"):
            change()


def test_removing_a_stage_that_is_needed_names_who_needs_it() -> None:
    with pytest.raises(InputError, match="'s3_hold' of pipeline 'sending' needs 'selection'"):
        sending().without("s1_select")


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_the_mermaid_drawing() -> None:
    pipeline = sending().insert(give("archive", ("receipts",), "archived", write_behind=True), after="s5_commit")
    assert pipeline.mermaid() == "\n".join(
        [
            "flowchart LR",
            '    in0(["transactions"])',
            '    in1(["city"])',
            '    s0["s1_select<br/>80 ms"]',
            '    s1["s2_encode<br/>80 ms"]',
            '    s2["s3_hold"]',
            '    s3["s5_commit"]',
            '    s4[("archive")]',
            '    out0(["receipts"])',
            "    in0 --> s0",
            "    in1 --> s0",
            "    in0 --> s1",
            '    s0 -->|"selection"| s2',
            '    s1 -->|"dispersal"| s2',
            '    s1 -->|"dispersal"| s3',
            '    s2 -->|"requests"| s3',
            '    s3 -.->|"receipts"| s4',
            "    s3 --> out0",
        ]
    )
    assert pipeline._repr_mimebundle_()["text/vnd.mermaid"] == pipeline.mermaid()
    assert "archive" in repr(pipeline)


def test_hostile_names_cannot_leave_their_label() -> None:
    name = '"]; click s0 "javascript:alert(1)"; <b>#&'
    text = Pipeline("p", [give(name, ("x",), name)], ("x",), (name,)).mermaid()
    label = text.splitlines()[2].removeprefix('    s0["').removesuffix('"]')
    assert not set(label) & set('"<>[]&|')
    assert "#34;" in label
    assert "#60;" in label
