"""The composer: plain functions strung into pipelines by the names of their values.

A `Stage` is a function with declared inputs and one output; a `Pipeline` is a graph of stages, checked once and frozen,
that runs as a flat loop or, on any `concurrent.futures.Executor`, with its branches side by side; a `Run` holds the
outputs and a `Trace` of `StageEvent`s; `WriteBehind` keeps what may happen later. It knows no algorithm of this project
and needs only the standard library.

Example:
    >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y", budget_ms=80)
    >>> pipeline = Pipeline("twice", [double], inputs=("x",), outputs=("y",))
    >>> pipeline.run({"x": 21})["y"]
    42
"""

from __future__ import annotations

from city_chain.composer.declaration import Stage, stage
from city_chain.composer.pipeline import Pipeline
from city_chain.composer.reservation import Reservation
from city_chain.composer.run import Run
from city_chain.composer.tasks import DeadLetter
from city_chain.composer.trace import Attempt, StageEvent, Trace
from city_chain.composer.write_behind import WriteBehind

__all__ = [
    "Attempt",
    "DeadLetter",
    "Pipeline",
    "Reservation",
    "Run",
    "Stage",
    "StageEvent",
    "Trace",
    "WriteBehind",
    "stage",
]
