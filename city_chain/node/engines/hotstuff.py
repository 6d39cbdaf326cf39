"""The commit engine ``"hotstuff"``: two-chain HotStuff among the delegates, messages carried by who commits.

What it promises, and what not, is said in `city_chain.algorithms.hs`; how messages travel, in `node.agreeing` and
`node.engines.carrying`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from city_chain.node.engines.carrying import CarryingEngine
from city_chain.node.judge import Case
from city_chain.stages import messages

__all__ = ["HotStuffEngine"]


class HotStuffEngine(CarryingEngine):
    """Commits by two certified blocks of consecutive rounds (see `Engine` for the arguments)."""

    name = "hotstuff"

    def _dealt(self, case: Case, nodes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """All are offered the whole case: any of them may lead."""
        return dict.fromkeys(nodes, messages.message("offer", case.parts()))
