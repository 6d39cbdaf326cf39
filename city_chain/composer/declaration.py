"""A stage: a plain function with declared inputs and one output.

`Stage` is frozen and checked when made, so that a pipeline never meets a half-right one. The decorator `stage` makes
one out of a function in place; the result can still be called like the function.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from city_chain.composer.checks import check_count, check_name, check_names, check_seconds
from city_chain.errors import InputError

__all__ = ["DEADLINE", "STAGE_INPUTS_MAX", "Stage", "stage"]

DEADLINE = "deadline"
"""The one value that every run gives by itself: its deadline, an instant of `time.monotonic` (infinity: none)."""

STAGE_INPUTS_MAX = 255
"""Most inputs of one stage: far more than a readable function has."""

RETRIES_MAX = 100
"""Most retries of one stage: with full jitter up to 1 s each, about a minute."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a pipeline.

    The function is called positionally with the declared inputs, in order, and what it returns becomes the output. It
    must be synchronous, and safe to call from any thread if its pipeline is run on an executor.

    Args:
        name: What the stage is called, 1 to 128 printable characters.
        function: Any callable that takes as many positional arguments as there are inputs.
        inputs: Names of the values it needs; `"deadline"` is the run's deadline.
        output: Name of the value it gives.
        budget_ms: How long it should take, milliseconds; recorded and shown, never enforced.
        retries: How often it is tried again after an error of `retry_on`, 0 to 100.
        retry_on: The exception types that are worth another attempt.
        write_behind: It does not run with the others but is queued when they are done (see `WriteBehind`). Nobody can
            need its output, and its queue does the retrying.

    Raises:
        TypeError: A field has the wrong type.
        InputError: A field has a wrong value, or the function cannot take that many arguments.

    Example:
        >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y", budget_ms=80)
        >>> double(21)
        42
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[str]
    output: str
    budget_ms: float | None = None
    retries: int = 0
    retry_on: tuple[type[Exception], ...] = ()
    write_behind: bool = False

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        inputs: Sequence[str],
        output: str,
        budget_ms: float | None = None,
        retries: int = 0,
        retry_on: tuple[type[Exception], ...] = (),
        write_behind: bool = False,
    ) -> None:
        fill = object.__setattr__
        fill(self, "name", check_name(name, "stage name"))
        fill(self, "inputs", check_names(inputs, f"input name of stage {name!r}", STAGE_INPUTS_MAX))
        fill(self, "output", check_name(output, f"output name of stage {name!r}"))
        if output == DEADLINE:
            raise InputError(f"stage {name!r} gives {DEADLINE!r}; that name is the run's own deadline")
        fill(self, "function", _check_function(name, function, len(self.inputs)))
        if budget_ms is not None:
            budget_ms = check_seconds(budget_ms, f"budget_ms of stage {name!r}", above=True)
        fill(self, "budget_ms", budget_ms)
        fill(self, "retries", check_count(retries, f"retries of stage {name!r}", 0, RETRIES_MAX))
        fill(self, "retry_on", _check_retry_on(name, retry_on))
        if retries and not retry_on:
            raise InputError(f"stage {name!r} has retries={retries} and no retry_on; name the exceptions to retry on")
        if not isinstance(write_behind, bool):
            raise TypeError(f"write_behind of stage {name!r} must be a bool, not {type(write_behind).__name__}")
        if write_behind and retries:
            raise InputError(f"stage {name!r} is write-behind and has retries={retries}; its queue does the retrying")
        fill(self, "write_behind", write_behind)

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function alone, as in a test."""
        return self.function(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles a decorated function by its place, since the stage stands where its function was defined."""
        module, path = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", None)
        if isinstance(module, str) and isinstance(path, str) and _find(sys.modules.get(module), path) is self:
            return _load, (module, path)
        fields = (self.inputs, self.output, self.budget_ms, self.retries, self.retry_on, self.write_behind)
        return _rebuild, (self.name, self.function, *fields)


def stage(
    *,
    inputs: Sequence[str],
    output: str,
    name: str | None = None,
    budget_ms: float | None = None,
    retries: int = 0,
    retry_on: tuple[type[Exception], ...] = (),
    write_behind: bool = False,
) -> Callable[[Callable[..., Any]], Stage]:
    """Makes a `Stage` out of the function below it; the arguments are those of `Stage`.

    Args:
        inputs: Names of the values it needs.
        output: Name of the value it gives.
        name: What the stage is called; the function's own name if None.
        budget_ms: How long it should take, milliseconds.
        retries: How often it is tried again.
        retry_on: The exception types that are worth another attempt.
        write_behind: Whether it is queued instead of run.

    Raises:
        TypeError: A field has the wrong type (raised where the function stands).
        InputError: A field has a wrong value.

    Example:
        >>> @stage(inputs=("x",), output="y")
        ... def double(x):
        ...     return 2 * x
        >>> double.name, double(21)
        ('double', 42)
    """

    def make(function: Callable[..., Any]) -> Stage:
        return Stage(
            getattr(function, "__name__", "stage") if name is None else name,
            function,
            inputs=inputs,
            output=output,
            budget_ms=budget_ms,
            retries=retries,
            retry_on=retry_on,
            write_behind=write_behind,
        )

    return make


def _check_function(name: str, function: object, count: int) -> Callable[..., Any]:
    if not callable(function):
        raise TypeError(f"function of stage {name!r} must be callable, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise InputError(f"function of stage {name!r} is async; stages are plain functions")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some builtins do not tell; the call itself will
        return function
    try:
        signature.bind(*(None,) * count)
    except TypeError as error:
        raise InputError(f"stage {name!r} declares {count} inputs, which its function cannot take: {error}") from None
    return function


def _check_retry_on(name: str, retry_on: object) -> tuple[type[Exception], ...]:
    if not isinstance(retry_on, tuple):
        raise TypeError(f"retry_on of stage {name!r} must be a tuple, not {type(retry_on).__name__}")
    for kind in retry_on:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"retry_on of stage {name!r} must hold exception types, not {type(kind).__name__}")
    return retry_on


def _find(place: object, path: str) -> object:
    for part in path.split("."):
        place = getattr(place, part, None)
    return place


def _load(module: str, path: str) -> Stage:
    found = _find(importlib.import_module(module), path)
    if not isinstance(found, Stage):
        raise TypeError(f"{module}.{path} must be a Stage, not {type(found).__name__}")
    return found


def _rebuild(
    name: str,
    function: Callable[..., Any],
    inputs: Sequence[str],
    output: str,
    budget_ms: float | None,
    retries: int,
    retry_on: tuple[type[Exception], ...],
    write_behind: bool,
) -> Stage:
    return Stage(
        name,
        function,
        inputs=inputs,
        output=output,
        budget_ms=budget_ms,
        retries=retries,
        retry_on=retry_on,
        write_behind=write_behind,
    )
