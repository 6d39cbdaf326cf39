"""The commit engine ``"abba"``: an asynchronous common subset of what the delegates propose, at every height.

What it promises, and what not, is said in `city_chain.algorithms.abba`; what a delegate does, in `node.subset`; how
messages travel, in `node.agreeing` and `node.engines.carrying`.
"""

from __future__ import annotations

from city_chain.node.engines.carrying import CarryingEngine

__all__ = ["AbbaEngine"]


class AbbaEngine(CarryingEngine):
    """Commits by a common subset and a quorum's signatures (see `Engine` for the arguments)."""

    name = "abba"
