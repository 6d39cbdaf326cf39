"""The commit engine ``"hotstuff"``: two-chain HotStuff among the delegates, messages carried by who commits.

What it promises, and what not, is said in `city_chain.algorithms.hs`; how messages travel, in `node.agreeing` and
`node.engines.carrying`.
"""

from __future__ import annotations

from city_chain.node.engines.carrying import CarryingEngine

__all__ = ["HotStuffEngine"]


class HotStuffEngine(CarryingEngine):
    """Commits by two certified blocks of consecutive rounds (see `Engine` for the arguments)."""

    name = "hotstuff"
