"""The commit engine ``"abba"``: an asynchronous common subset of what the delegates propose, at every height.

What it promises, and what not, is said in `city_chain.algorithms.abba`; what a delegate does, in `node.subset`; how
messages travel, in `node.agreeing` and `node.engines.carrying`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from city_chain.node.engines.carrying import CarryingEngine
from city_chain.node.judge import Case
from city_chain.stages import messages

__all__ = ["AbbaEngine"]


class AbbaEngine(CarryingEngine):
    """Commits by a common subset and a quorum's signatures (see `Engine` for the arguments)."""

    name = "abba"

    def _dealt(self, case: Case, nodes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """All propose the whole case: they propose its digest, and it gets in whichever of them are silent."""
        return dict.fromkeys(nodes, messages.message("offer", case.parts()))
