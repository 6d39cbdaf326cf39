"""Wiring: a pipeline's declaration is checked once and laid out as slots and steps.

The rules, in the order in which they are checked:

1. stage names differ;
2. every value has one giver: a pipeline input or one stage (a chain of interceptors counts as one);
3. every input of every stage, and every pipeline output, has a giver;
4. nobody needs what a write-behind stage gives;
5. there is no cycle;
6. every stage is needed by a pipeline output, by a write-behind stage, or is one itself.

The order is the topological order that stays closest to the order of declaration: of all stages that are ready, the one
declared first comes first. Slots hold the pipeline inputs, then the deadline, then one value per stage in run order, so
that the loop only appends. A chain says who intercepts a value: the first stage gives it, each next one takes it from
the one before, and everybody else takes it from the last.
"""

from __future__ import annotations

import graphlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from city_chain.composer.declaration import DEADLINE, Stage
from city_chain.errors import InputError

__all__ = ["Chains", "Edge", "Plan", "wire"]

Chains = Mapping[str, tuple[str, ...]]
"""Value name → names of the stages that give it one after the other."""

Pick = Callable[[Any], Sequence[Any]]
"""Takes a stage's arguments out of the slots."""

Step = tuple[Callable[..., Any], Any, Any, Any, Pick | None]
"""A function and the slots of its arguments: up to three by number, which is the fastest way, or else by `Pick`."""


class Edge(NamedTuple):
    """One arrow of the drawing. `giver` and `taker` are stage names; None is the pipeline's own input or output."""

    giver: str | None
    value: str
    taker: str | None


class Plan(NamedTuple):
    """What the loops run.

    `stages` are the ordinary ones in run order; `steps` are the same for the flat loop, `picks` for all others.
    `behind` are the write-behind ones in order of declaration, `behind_picks` goes with them. `waits[i]` counts the
    stages that stage `i` waits for, `feeds[i]` lists those that wait for it. `outputs` are pairs of a pipeline
    output and its slot.
    """

    stages: tuple[Stage, ...]
    behind: tuple[Stage, ...]
    steps: tuple[Step, ...]
    picks: tuple[Pick, ...]
    behind_picks: tuple[Pick, ...]
    first_slot: int
    waits: tuple[int, ...]
    feeds: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[str, int], ...]
    edges: tuple[Edge, ...]


def wire(pipeline: str, stages: Sequence[Stage], inputs: Sequence[str], outputs: Sequence[str], chains: Chains) -> Plan:
    """Checks a declaration and lays it out.

    Args:
        pipeline: The pipeline's name, for messages.
        stages: In order of declaration.
        inputs: Names of the pipeline's inputs.
        outputs: Names of the pipeline's outputs.
        chains: Who intercepts what.

    Raises:
        InputError: A rule is broken; the message names the stages.

    Example:
        >>> double = Stage("double", lambda x: 2 * x, inputs=("x",), output="y")
        >>> wire("twice", [double], ["x"], ["y"], {}).outputs
        (('y', 2),)
    """
    return _Wiring(pipeline, stages, inputs, outputs, chains).plan()


class _Wiring:
    """One pass over the rules."""

    def __init__(
        self, pipeline: str, stages: Sequence[Stage], inputs: Sequence[str], outputs: Sequence[str], chains: Chains
    ) -> None:
        self.pipeline = pipeline
        self.inputs = inputs
        self.outputs = outputs
        self.chains = chains
        self.by_name: dict[str, Stage] = {}
        for stage in stages:
            if stage.name in self.by_name:
                raise InputError(f"pipeline {pipeline!r} has two stages named {stage.name!r}; names must differ")
            self.by_name[stage.name] = stage
        self.givers = self._givers()

    def plan(self) -> Plan:
        edges = self._edges()
        order = self._order(edges)
        self._check_needed(edges)
        ordinary = [name for name in order if not self.by_name[name].write_behind]
        behind = [stage for stage in self.by_name.values() if stage.write_behind]
        first_slot = len(self.inputs) + 1
        place = {name: index for index, name in enumerate(ordinary)}
        stages = tuple(self.by_name[name] for name in ordinary)
        takers: list[list[int]] = [[] for _ in ordinary]
        before: list[set[int]] = [set() for _ in ordinary]
        for giver, _, taker in edges:
            if giver in place and taker in place and place[giver] not in before[place[taker]]:
                before[place[taker]].add(place[giver])
                takers[place[giver]].append(place[taker])
        slots = {name: first_slot + index for name, index in place.items()}
        return Plan(
            stages=stages,
            behind=tuple(behind),
            steps=tuple(_step(stage, self._places(stage, slots)) for stage in stages),
            picks=tuple(_pick(self._places(stage, slots)) for stage in stages),
            behind_picks=tuple(_pick(self._places(stage, slots)) for stage in behind),
            first_slot=first_slot,
            waits=tuple(len(names) for names in before),
            feeds=tuple(tuple(sorted(indices)) for indices in takers),
            outputs=tuple((value, self._slot(None, value, slots)) for value in self.outputs),
            edges=edges,
        )

    def _givers(self) -> dict[str, str | None]:
        """Value → the stage from which everybody takes it who is not in its chain (None: a pipeline input)."""
        givers: dict[str, str | None] = dict.fromkeys(self.inputs)
        for stage in self.by_name.values():
            chain = self.chains.get(stage.output, ())
            if stage.name in chain:
                givers[stage.output] = chain[-1]
            elif stage.output in givers:
                other = givers[stage.output]
                also = "a pipeline input" if other is None else f"given by stage {other!r}"
                raise InputError(
                    f"stage {stage.name!r} of pipeline {self.pipeline!r} gives {stage.output!r}, which is also {also}; "
                    "a value has one giver (insert(stage, after=...) lets a stage intercept a value)"
                )
            else:
                givers[stage.output] = stage.name
        return givers

    def _giver(self, taker: str | None, value: str) -> str | None:
        chain = self.chains.get(value, ())
        if taker in chain:
            position = chain.index(taker)
            return chain[position - 1] if position else chain[-1]
        return self.givers[value]

    def _edges(self) -> tuple[Edge, ...]:
        edges: list[Edge] = []
        for stage in self.by_name.values():
            for value in dict.fromkeys(stage.inputs):
                if value == DEADLINE:
                    continue
                self._check_given(value, f"stage {stage.name!r} of pipeline {self.pipeline!r} needs")
                edges.append(Edge(self._giver(stage.name, value), value, stage.name))
        for value in self.outputs:
            self._check_given(value, f"pipeline {self.pipeline!r} has the output")
            edges.append(Edge(self.givers[value], value, None))
        for giver, value, taker in edges:
            if giver is not None and self.by_name[giver].write_behind:
                who = f"pipeline {self.pipeline!r}" if taker is None else f"stage {taker!r}"
                raise InputError(f"{who} needs {value!r} of stage {giver!r}, which is write-behind: it runs too late")
        return tuple(edges)

    def _check_given(self, value: str, who: str) -> None:
        if value not in self.givers:
            given = ", ".join(repr(name) for name in list(self.givers)[:16]) or "none"
            raise InputError(f"{who} {value!r}, which no stage and no pipeline input gives; given are: {given}")

    def _order(self, edges: Sequence[Edge]) -> list[str]:
        sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter(dict.fromkeys(self.by_name, ()))
        for giver, _, taker in edges:
            if giver is not None and taker is not None:
                sorter.add(taker, giver)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            ring = " -> ".join(repr(name) for name in error.args[1])
            raise InputError(f"pipeline {self.pipeline!r} has a cycle of stages: {ring}") from None
        declared = {name: index for index, name in enumerate(self.by_name)}
        names = list(self.by_name)
        ready = [declared[name] for name in sorter.get_ready()]
        heapq.heapify(ready)
        order: list[str] = []
        while ready:
            name = names[heapq.heappop(ready)]
            order.append(name)
            sorter.done(name)
            for following in sorter.get_ready():
                heapq.heappush(ready, declared[following])
        return order

    def _check_needed(self, edges: Sequence[Edge]) -> None:
        givers_of: dict[str | None, list[str]] = {}
        for giver, _, taker in edges:
            if giver is not None:
                givers_of.setdefault(taker, []).append(giver)
        needed = {stage.name for stage in self.by_name.values() if stage.write_behind}
        open_ends: list[str | None] = [None, *needed]
        while open_ends:
            for giver in givers_of.get(open_ends.pop(), ()):
                if giver not in needed:
                    needed.add(giver)
                    open_ends.append(giver)
        idle = [stage for name, stage in self.by_name.items() if name not in needed]
        if idle:
            who = ", ".join(f"{stage.name!r} (gives {stage.output!r})" for stage in idle[:8])
            raise InputError(
                f"pipeline {self.pipeline!r} has unreachable stages: {who}; nothing that it gives out needs them. "
                "Make their value an output, let a stage take it, or declare them write_behind"
            )

    def _slot(self, taker: str | None, value: str, slots: Mapping[str, int]) -> int:
        if value == DEADLINE:
            return len(self.inputs)
        giver = self._giver(taker, value)
        return self.inputs.index(value) if giver is None else slots[giver]

    def _places(self, stage: Stage, slots: Mapping[str, int]) -> list[int]:
        return [self._slot(stage.name, value, slots) for value in stage.inputs]


def _pick(places: Sequence[int]) -> Pick:
    if not places:
        return _nothing
    if len(places) == 1:  # itemgetter(i) would give the value itself, not a sequence of one
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)


def _step(stage: Stage, places: Sequence[int]) -> Step:
    if 1 <= len(places) <= 3:
        first, second, third = (*places, None, None)[:3]
        return stage.function, first, second, third, None
    return stage.function, None, None, None, _pick(places)


def _nothing(_slots: Any) -> tuple[()]:
    return ()
