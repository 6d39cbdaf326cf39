"""The tables of the HyParView and Plumtree papers, measured here, beside what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from city_chain.sim.overlay import DETECTIONS, Detection, Overlay, Steady, Trees, eclipse

__all__ = ["hyparview", "plumtree"]

SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
"""Of how many percent of all nodes a crash is measured."""

_HEALED = (10, 30, 50, 70, 80, 90)
_ATTACKERS = 5
_FABRICATED = 1_000_000
_CLOSED, _ON_SEND = DETECTIONS

_NODES, _CYCLES = 10_000, 50
"""The size that what is expected holds for."""

type _Row = dict[str, Any]
type _Seen = Callable[[str, float], object] | None


def hyparview(
    nodes: int = 10_000, cycles: int = 50, seed: int = 1, *, on_progress: _Seen = None
) -> Iterator[dict[str, Any]]:
    """The steady state, crashes of 10 to 95 % of all nodes under both ways of detecting failures, attackers, a return.

    Expected is what `docs/algorithms/hvp.md` derives for 10,000 nodes and 50 cycles; other sizes get no verdict.

    Paper: Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based broadcast" (DSN
    2007).

    Args:
        nodes: 2 to 50,000.
        cycles: Periods of SHUFFLE before anything is measured; at most 10,000.
        seed: All chance.
        on_progress: Called about ten times a second with what is being done and the share that is done, 0 to 1; it may
            raise to stop.

    Yields:
        Rows of `measure`; `failures`, how they are detected, or None; `paper`, `expected`, `measured`; `tolerance`, how
        far these may be apart (for what has a bound, `expected` is the bound); `ok`, or None without a verdict.

    Raises:
        InputError: A number out of range.

    Example:
        >>> rows = {row["measure"]: row for row in hyparview(nodes=100, cycles=3)}
        >>> rows["parts of the overlay"]["measured"], rows["clustering coefficient"]["paper"]
        (1, 0.00092)
    """
    lab = _Lab(nodes, cycles, on_progress)
    overlay = Overlay(nodes, cycles, seed, on_progress=lab.doing("growing an overlay"))
    yield from _steady(lab, overlay.steady())
    each: list[tuple[int, Detection]] = [(percent, how) for how in DETECTIONS for percent in SHARES]
    crashed = overlay.crashes(each, on_progress=lab.doing("crashing shares of it"))
    for (percent, how), row in zip(each, crashed, strict=True):
        expected = _RELIABILITY[how].get(percent)
        judged = how == _CLOSED  # the other is a contrast: it rises with every message that finds a failure
        yield lab.row(f"reliability, {percent} % crashed", row.reliability, expected, 0.02, failures=how, judged=judged)
    rejoined = overlay.rejoin(95, on_progress=lab.doing("crashing 95 % of it"))
    yield lab.most("parts after 95 % crashed, contacts known", rejoined.components, 1, failures=_CLOSED)
    if rejoined.one_us is not None:
        yield lab.row("  seconds until one part", rejoined.one_us / 1e6, failures=_CLOSED)
    healed = overlay.partition(on_progress=lab.doing("cutting it into halves"))
    yield lab.row("parts when a network of two halves heals", healed.components_then, failures=_CLOSED)
    yield lab.most("parts after that", healed.components, 1, failures=_CLOSED)
    if healed.one_us is not None:
        yield lab.row("  seconds until one part", healed.one_us / 1e6, failures=_CLOSED)
    held = overlay.fabricated(_FABRICATED, on_progress=lab.doing("announcing what is not there"))
    yield lab.most(f"awaited ids, {held.announced:,} made up at one node", held.awaited, 10_000)
    del overlay
    attacked = eclipse(nodes, cycles, seed, _ATTACKERS, on_progress=lab.doing("attacking another overlay"))
    share = attacked.eclipsed / attacked.honest
    yield lab.most(f"eclipsed, {_ATTACKERS} % are attackers", share, 0.01, failures=_CLOSED)
    yield lab.row("  their share of places in views", attacked.places, failures=_CLOSED)


def plumtree(
    nodes: int = 10_000, cycles: int = 50, seed: int = 1, *, on_progress: _Seen = None
) -> Iterator[dict[str, Any]]:
    """What broadcasts cost with one sender and with many, and how long a tree heals after crashes.

    Paper: Leitão, Pereira, Rodrigues, "Epidemic broadcast trees" (SRDS 2007).

    Args:
        nodes: As for `hyparview`.
        cycles: As for `hyparview`.
        seed: All chance.
        on_progress: As for `hyparview`.

    Yields:
        Rows as of `hyparview`.

    Raises:
        InputError: A number out of range.

    Example:
        >>> rows = {row["measure"]: row["measured"] for row in plumtree(nodes=100, cycles=3)}
        >>> rows["first broadcast: redundancy (RMR)"] > 1 > 0.1 > rows["one sender: redundancy (RMR)"]
        True
    """
    lab = _Lab(nodes, cycles, on_progress)
    overlay = Overlay(nodes, cycles, seed, on_progress=lab.doing("growing an overlay"))
    yield from _trees(lab, overlay.trees(20, on_progress=lab.doing("sending broadcasts")))
    each: list[tuple[int, Detection]] = [(percent, how) for how in DETECTIONS for percent in _HEALED]
    healings = overlay.heal(each, on_progress=lab.doing("crashing shares of it"))
    for (percent, how), row in zip(each, healings, strict=True):
        yield lab.row(f"{percent} % crashed: reach of the broadcast at that instant", row.first, failures=how)
        yield lab.row(f"{percent} % crashed: reach half a minute later", row.last, failures=how)
        yield lab.row(f"{percent} % crashed: seconds until then none reached fewer", row.healed_us / 1e6, failures=how)
        yield lab.row(f"{percent} % crashed: redundancy (RMR) meanwhile", row.rmr, failures=how)


_RELIABILITY: dict[Detection, dict[int, float]] = {
    _CLOSED: {**dict.fromkeys(SHARES, 1.0), 90: 0.997, 95: 0.92},
    _ON_SEND: {90: 0.28},
}


def _steady(lab: _Lab, steady: Steady) -> Iterator[_Row]:
    yield lab.most("parts of the overlay", steady.components, 1)
    yield lab.row("clustering coefficient", steady.clustering, 0.0005, 0.0005, paper=0.00092)
    yield lab.row("shortest path", steady.shortest_path, 6.38, 0.13, paper=6.38542)
    yield lab.row("neighbours of a node", steady.degree)
    yield lab.row("  the fewest", steady.in_degree_least)
    yield lab.row("contacts in reserve", steady.passive)
    yield lab.row("links that both ends know", steady.symmetric, 1.0, 0.02)
    yield lab.row("flood: redundancy (RMR)", steady.flood_rmr, 3.0, 0.06)
    yield lab.row("flood: last hop", steady.flood_last_hop, 8.3, 0.2, paper=9.0)
    yield lab.row("messages per node and cycle", steady.messages)
    yield lab.row("bytes per node and cycle", steady.bytes)


def _trees(lab: _Lab, trees: Trees) -> Iterator[_Row]:
    expected = {
        "first broadcast": (trees.first, 3.0, 0.06, None, 0.0),
        "one sender": (trees.single, 0.0, 0.02, 9.0, 1.0),  # a whole number: it is one sender's
        "many senders": (trees.many, None, 0.0, None, 0.0),
    }
    for who, (means, rmr, rmr_off, hops, hops_off) in expected.items():
        yield lab.row(f"{who}: reliability", means.reliability, 1.0, 0.02)
        yield lab.row(f"{who}: redundancy (RMR)", means.rmr, rmr, rmr_off)
        yield lab.row(f"{who}: last hop", means.last_hop, hops, hops_off)
        yield lab.row(f"{who}: milliseconds to the last node", means.last_us / 1000)
        yield lab.row(f"{who}: control messages per node", means.control)


class _Lab:
    """Rows, and who is told how far it is.

    Args:
        nodes: Verdicts are given at the size that is expected.
        cycles: Likewise.
        on_progress: Who.
    """

    def __init__(self, nodes: int, cycles: int, on_progress: _Seen) -> None:
        self._judges = (nodes, cycles) == (_NODES, _CYCLES)
        self._on_progress = on_progress

    def doing(self, what: str) -> Callable[[float], object] | None:
        on_progress = self._on_progress
        return None if on_progress is None else lambda share: on_progress(what, share)

    def row(
        self,
        measure: str,
        measured: float,
        expected: float | None = None,
        tolerance: float = 0.0,
        *,
        paper: float | None = None,
        failures: Detection | None = None,
        judged: bool = True,
    ) -> _Row:
        judged = judged and self._judges and expected is not None
        ok = abs(measured - (expected or 0.0)) <= tolerance if judged else None
        return self._made(measure, failures, paper, expected, measured, tolerance, ok)

    def most(self, measure: str, measured: float, most: float, *, failures: Detection | None = None) -> _Row:
        """What must not be more; of any size."""
        return self._made(measure, failures, None, most, measured, 0.0, measured <= most)

    def _made(self, *values: object) -> _Row:
        names = ("measure", "failures", "paper", "expected", "measured", "tolerance", "ok")
        return dict(zip(names, values, strict=True))
