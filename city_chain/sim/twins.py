"""Twins: scenarios of HotStuff in which validators run twice with one key, under every cut of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from city_chain import _native

__all__ = ["TwinsReport", "twins"]

_CHUNK = 2_000


class TwinsReport(NamedTuple):
    """What scenarios came to: nobody honest disagreed in any of them."""

    scenarios: int
    """How many were run."""
    commits: int
    """Blocks that honest machines committed."""
    evidence: int
    """How often an honest machine found a validator that signed two things."""
    healed: int
    """Scenarios after which the network became whole and had to make progress."""
    messages: int
    """Messages that reached a machine."""


def twins(
    validators: int,
    scenarios: int,
    seed: int = 1,
    *,
    only: int | None = None,
    aggregates: bool = False,
    on_progress: Callable[[int], object] | None = None,
) -> TwinsReport:
    """Runs scenarios of HotStuff in which f of n validators run twice, with the same key, on all cores.

    A scenario fixes for each of its first five rounds who leads it and into which groups (at most three) the machines
    are cut. All of them are numbered; if there are more than are asked for, they are drawn from the seed. After every
    eighth scenario the network becomes whole, and all honest machines must commit more. Keys and signatures are real.

    Method: Bano et al., "Twins: BFT systems made robust" (OPODIS 2021).

    Args:
        validators: 4 to 10; (n - 1) // 3 of them run twice.
        scenarios: At most 1,000,000,000.
        seed: Which ones are drawn.
        only: The number of the one scenario that is run, from 0; it is the same one as among all. Default: all.
        aggregates: Whether quorum certificates are one signature, as with many validators; the scenarios are the same.
        on_progress: Called with the number of scenarios that are done; it may raise to stop.

    Raises:
        InputError: A number is out of range.
        ProtocolError: Honest machines disagree, one of them is accused, or a whole network makes no progress. The
            message names the scenario, and the command that runs it again.

    Example:
        >>> report = twins(4, 16)
        >>> report.scenarios, report.healed, report.commits > 16
        (16, 2, True)
        >>> twins(4, 100_000, only=77_777).scenarios
        1
    """
    if only is not None:
        return TwinsReport(*_native.sim_twins(validators, scenarios, seed, only, 1, aggregates))
    total, first = TwinsReport(0, 0, 0, 0, 0), 0
    while True:
        count = min(_CHUNK, scenarios - first) if scenarios > first else 0
        part = _native.sim_twins(validators, scenarios, seed, first, count, aggregates)
        total = TwinsReport(*(one + other for one, other in zip(total, part, strict=True)))
        first += count
        if on_progress is not None:
            on_progress(first)
        if first >= scenarios:
            return total
