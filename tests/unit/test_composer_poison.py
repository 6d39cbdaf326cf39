"""Poison into every public callable of the composer: a documented error or a right answer, never anything else."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import city_chain.composer
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.composer import Pipeline, Stage, Trace, WriteBehind, stage
from city_chain.errors import CityChainError

pytestmark = pytest.mark.unit


class Hostile:
    """An object that refuses to be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    __hash__ = None  # type: ignore[assignment]


class Name(str):
    """A kind of str."""


POISON: list[Any] = [
    None, True, False, 0, -1, 1, 2, 255, 256, 2**31, 2**32, 2**63, 2**64, -(2**64), 10**400, sys.maxsize,
    0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan, 1j, Decimal(1), Fraction(1, 3),
    "", " ", "a", "x", "deadline", "a" * 129, "a" * 100_000, "\0", "\n", "\ud800", "\u202e", "é", "😀", Name("x"),
    b"", b"x", b"\xff" * 1000, bytearray(b"x"), memoryview(b"x"),
    [], [None], ["x"], ["x", "x"], [[]], (), ("x",), (1, 2), set(), {"x"}, frozenset(), {}, {"x": 1}, {1: 2},
    {None: None},
    range(3), range(10**12), iter(()), object(), object, type, int, Exception, KeyboardInterrupt, ValueError("x"),
    NotImplemented, ..., len, print, lambda: None, lambda *a: None, sys, Hostile(), Hostile, Stage, Trace(),
    MemoryStorage(),
]  # fmt: skip


def one(**fields: Any) -> Stage:
    return Stage(**{"name": "s", "function": lambda x: x, "inputs": ("x",), "output": "y", **fields})


def pipeline() -> Pipeline:
    return Pipeline("p", [one()], ("x",), ("y",))


QUEUE = WriteBehind(MemoryStorage(), {"h": len})
QUEUE.close()


def opened(**options: Any) -> None:
    arguments = {"storage": MemoryStorage(), "handlers": {"h": len}, **options}
    WriteBehind(arguments.pop("storage"), arguments.pop("handlers"), **arguments).close()


def queued(call: Callable[[WriteBehind], object]) -> None:
    with WriteBehind(MemoryStorage(), {"h": lambda *data: None}, capacity=4) as queue:
        call(queue)


CALLS: dict[str, Callable[[Any], object]] = {
    **{f"Stage({field})": (lambda value, field=field: one(**{field: value})) for field in Stage.__slots__},
    **{
        f"stage({field})": (lambda value, field=field: stage(**{"inputs": ("x",), "output": "y", field: value})(abs))
        for field in inspect.signature(stage).parameters
    },
    "stage()(function)": stage(inputs=("x",), output="y"),
    "Pipeline(name)": lambda value: Pipeline(value, [one()], ("x",), ("y",)),
    "Pipeline(stages)": lambda value: Pipeline("p", value, ("x",), ("y",)),
    "Pipeline([stage])": lambda value: Pipeline("p", [value], ("x",), ("y",)),
    "Pipeline(inputs)": lambda value: Pipeline("p", [one()], value, ("y",)),
    "Pipeline(outputs)": lambda value: Pipeline("p", [one()], ("x",), value),
    "run(inputs)": lambda value: pipeline().run(value),
    "run(value)": lambda value: pipeline().run({"x": value}),
    "run(deadline)": lambda value: pipeline().run({"x": 1}, deadline=value),
    "run(executor)": lambda value: pipeline().run({"x": 1}, executor=value),
    "run(on_stage)": lambda value: pipeline().run({"x": 1}, on_stage=value),
    "run(trace)": lambda value: pipeline().run({"x": 1}, trace=value if not isinstance(value, Trace) else Trace()),
    "run(write_behind)": lambda value: pipeline().run({"x": 1}, write_behind=value),
    "run[]": lambda value: pipeline().run({"x": 1})[value],
    "replace(name)": lambda value: pipeline().replace(value, one()),
    "replace(stage)": lambda value: pipeline().replace("s", value),
    "insert(stage)": lambda value: pipeline().insert(value, after="s"),
    "insert(after)": lambda value: pipeline().insert(one(name="t"), after=value),
    "without": lambda value: pipeline().without(value),
    "with_write_behind": lambda value: pipeline().with_write_behind(value),
    **{
        f"WriteBehind({field})": (lambda value, field=field: opened(**{field: value}))
        for field in list(inspect.signature(WriteBehind).parameters)
    },
    "put(name)": lambda value: queued(lambda queue: queue.put(value, [b""])),
    "put(arguments)": lambda value: queued(lambda queue: queue.put("h", value)),
    "put(argument)": lambda value: queued(lambda queue: queue.put("h", [value])),
    "put(deadline)": lambda value: queued(lambda queue: queue.put("h", [b""], deadline=value)),
    "reserve(count)": lambda value: queued(lambda queue: queue.reserve(value).release()),
    "reserve(deadline)": lambda value: queued(lambda queue: queue.reserve(1, value).release()),
    "put_many(tasks)": lambda value: queued(lambda queue: queue.reserve(1).put_many(value)),
    "put_many(task)": lambda value: queued(lambda queue: queue.reserve(1).put_many([value])),
    "flush": lambda value: queued(lambda queue: queue.flush(value)),
    "close": lambda value: queued(lambda queue: queue.close(value)),
    "dead_letters(limit)": lambda value: queued(lambda queue: queue.dead_letters(limit=value)),
    "dead_letters(after)": lambda value: queued(lambda queue: queue.dead_letters(after=value)),
    "replay": lambda value: queued(lambda queue: queue.replay(value)),
    "discard": lambda value: queued(lambda queue: queue.discard(value)),
    "check_stages": lambda value: queued(lambda queue: queue.check_stages(value)),
}


@pytest.mark.parametrize("call", CALLS)
def test_poison(call: str) -> None:
    assert len(POISON) >= 60
    for value in POISON:
        try:
            CALLS[call](value)
        except (CityChainError, TypeError) as error:
            text = str(error)
            if not 10 < len(text) < 1000:
                pytest.fail(f"{call} with a {type(value).__name__} says {text[:1000]!r}")
        except BaseException as error:
            pytest.fail(f"{call} with a {type(value).__name__} raised {type(error).__name__}")


def test_the_list_of_calls_is_whole() -> None:
    """A public function that nobody poisons makes this fail."""
    named = " ".join(CALLS)
    for cls in (Pipeline, WriteBehind, city_chain.composer.Reservation):
        for name, member in vars(cls).items():
            takes = inspect.isfunction(member) and len(inspect.signature(member).parameters) > 1
            if takes and not name.startswith("_"):
                assert name in named, f"{cls.__name__}.{name}"
