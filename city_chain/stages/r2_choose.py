"""R2 choose: whom to ask for each transaction's fragments, best first.

Holders that failed lately come last; among the others data fragments come before parity, because they need no decoding,
and then the rank that the draw gave them.
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain.composer import stage
from city_chain.stages.fetcher import Search
from city_chain.stages.model import Placement
from city_chain.stages.vitals import Vitals

__all__ = ["r2_choose", "r2_choose_all"]


@stage(inputs=("placements", "vitals"), output="searches", budget_ms=80)
def r2_choose(placements: Sequence[Placement], vitals: Vitals) -> list[Search]:
    """Ranks the holders of every transaction; k good fragments are enough.

    Args:
        placements: Where the fragments are (R1).
        vitals: Who failed lately.

    Returns:
        One search each.
    """
    return [_search(placement, vitals, placement.manifest.k) for placement in placements]


@stage(inputs=("placements", "vitals"), output="searches", budget_ms=80)
def r2_choose_all(placements: Sequence[Placement], vitals: Vitals) -> list[Search]:
    """Asks every holder of every transaction, as health checks and repairs do.

    Args:
        placements: Where the fragments are (R1).
        vitals: Who failed lately.

    Returns:
        One search each.
    """
    return [_search(placement, vitals, placement.manifest.n) for placement in placements]


def _search(placement: Placement, vitals: Vitals, needed: int) -> Search:
    manifest = placement.manifest
    ranked = sorted(placement.holders.items(), key=lambda held: (vitals.doubt(held[1]), held[0] >= manifest.k, held[0]))
    return Search(manifest, placement.receipt.availability.fragment_hashes, ranked, needed)
