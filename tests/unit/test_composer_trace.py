"""The composer's pictures of a run: the table, the rows and the timeline."""

from __future__ import annotations

import doctest
import re
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import city_chain.composer
from city_chain.composer import Pipeline, Stage, Trace
from city_chain.composer.retry import full_jitter

pytestmark = pytest.mark.unit

SVG = "{http://www.w3.org/2000/svg}"


def traced(name: str, pipeline: str = "p", error: str | None = None) -> Trace:
    def function(x: int) -> int:
        if error is not None:
            raise ValueError(error)
        return x

    trace = Trace()
    try:
        Pipeline(pipeline, [Stage(name, function, inputs=("x",), output="y")], ("x",), ("y",)).run(
            {"x": 0}, trace=trace
        )
    except ValueError:
        assert error is not None
    return trace


names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40).filter(
    lambda text: text.isprintable() and not text.isspace()
)


@given(names, names, st.none() | st.text(max_size=400))
def test_the_timeline_is_well_formed_whatever_the_names_are(name: str, pipeline: str, error: str | None) -> None:
    trace = traced(name, pipeline, error)
    root = ET.fromstring(trace._repr_html_())
    assert root.tag == f"{SVG}svg"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "title", "text", "g", "rect", "line"}
    tooltip = root.findall(f"{SVG}g/{SVG}title")[0].text or ""
    assert tooltip.startswith(f"{name}: {'ok' if error is None else 'error'}")
    assert len(trace.table().splitlines()) == 2


def test_markup_in_names_stays_text() -> None:
    name = "</title><script>alert(1)</script>&"
    html = traced(name, name, name)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_timeline_draws_every_stage_where_it_was() -> None:
    stages = [
        Stage("first", lambda x: time.sleep(0.02) or x, inputs=("x",), output="y", budget_ms=5),
        Stage("second", lambda y: time.sleep(0.02) or y, inputs=("y",), output="z"),
    ]
    run = Pipeline("p", stages, ("x",), ("z",)).run({"x": 0})
    html = run._repr_html_()
    bars = [tuple(map(float, bar)) for bar in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', html)]
    assert len(bars) == 2
    assert bars[0][0] + bars[0][1] == pytest.approx(bars[1][0], abs=5)
    assert html.count("<line") == 1
    assert "OVER" in html


def test_an_empty_trace_can_be_shown() -> None:
    trace = Trace()
    assert (trace.events, trace.rows(), trace.over_budget, trace.took_ms, trace.pipeline) == ((), [], (), 0.0, "")
    ET.fromstring(trace._repr_html_())
    assert "0 stages" in repr(trace)


def test_full_jitter_doubles_to_its_cap_and_keeps_the_deadline() -> None:
    waits = [full_jitter(failures, 0.01, 1.0, 60.0, draw=lambda: 0.5) for failures in range(1, 12)]
    assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
    assert waits[-1] == 0.5
    assert full_jitter(10**6, 0.01, 1.0, 60.0, draw=lambda: 1.0) == 1.0
    assert full_jitter(5, 0.01, 1.0, 0.002, draw=lambda: 1.0) == 0.002
    assert full_jitter(5, 0.01, 1.0, -1.0, draw=lambda: 1.0) == 0.0


def test_the_page_about_the_composer_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "composer.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 25
    assert result.failed == 0


def test_every_public_name_is_documented_with_an_example() -> None:
    for name in city_chain.composer.__all__:
        thing = getattr(city_chain.composer, name)
        assert thing.__doc__, name
        for member, value in vars(thing).items() if isinstance(thing, type) else ():
            if callable(value) and not member.startswith("_"):
                assert value.__doc__, f"{name}.{member}"
