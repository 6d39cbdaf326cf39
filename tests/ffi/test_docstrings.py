"""Every public thing of the records and proofs says what it is, and its examples run.

The examples of the records go on from the one in the docstring of `city_chain.records`, which tells one whole way.
"""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from city_chain import proofs, records
from city_chain.proofs import dpos, poh, pop

pytestmark = pytest.mark.ffi

FACADES = (records, poh, dpos, pop)


def public() -> Iterator[tuple[str, object, bool]]:
    """Every public class and function (True), and every method and property of the classes (False)."""
    for module in FACADES:
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, int):
                continue
            yield f"{module.__name__}.{name}", thing, True
            if inspect.isclass(thing):
                for member, value in sorted(vars(thing).items()):  # PyO3 lists properties in any order
                    if not member.startswith("_"):
                        yield f"{module.__name__}.{name}.{member}", value, False


def run(name: str, text: str, names: dict[str, object]) -> tuple[int, dict[str, object]]:
    """Runs the examples of a docstring: how many there were, and the names afterwards."""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    runner.run(test, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)
    return len(test.examples), test.globs


@pytest.fixture(scope="module")
def story() -> dict[str, object]:
    """The names that the example of `city_chain.records` leaves behind."""
    assert records.__doc__ is not None
    count, names = run(records.__name__, records.__doc__, {})
    assert count > 20
    return names


@pytest.mark.parametrize(("name", "thing", "top"), [pytest.param(*item, id=item[0]) for item in public()])
def test_it_is_documented_and_its_examples_run(story, name, thing, top):
    text = inspect.getdoc(thing)
    assert text, f"{name}: no docstring"
    assert all(len(line) <= 120 for line in text.splitlines())
    count, _ = run(name, text, story)
    assert count or not top, f"{name}: no example"


def test_facades_are_documented_and_say_what_is_public():
    for module in (*FACADES, proofs):
        assert module.__doc__
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_classes_and_functions_show_their_signatures():
    assert str(inspect.signature(records.Transaction)) == (
        "(identity, *, network, sequence, hlc, payload, place=None, touched=(), terms=None)"
    )
    assert str(inspect.signature(dpos.Proposal)) == "(identity, slot, reports=())"
    assert str(inspect.signature(poh.write_quorum)) == "(k, n)"
    for name, thing, _ in public():
        if inspect.isroutine(thing) or isinstance(thing, staticmethod):
            assert inspect.signature(getattr(thing, "__func__", thing)) is not None, name


@pytest.mark.parametrize("name", ["poh", "dpos", "pop"])
def test_programs_of_the_proofs_alone_run(name):
    program = Path(__file__).parents[2] / "examples" / f"{name}_alone.py"
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()
