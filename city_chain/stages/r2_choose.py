"""R2 choose: whom to ask for each transaction's fragments, best first.

Holders whose inventory filter says that they certainly do not hold the fragment come last, and before them those that
failed lately; among the others data fragments come before parity, because they need no decoding; then holders that were
seen in the city's own municipality come before others, and then the rank that the draw gave them. Nobody is left out:
should the others not do, the last are asked all the same.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from city_chain.composer import stage
from city_chain.stages.fetcher import Search
from city_chain.stages.inventories import Inventories
from city_chain.stages.model import Members, Placement
from city_chain.stages.vitals import Vitals

__all__ = ["r2_choose", "r2_choose_all"]


@stage(inputs=("placements", "vitals", "inventories", "members"), output="searches", budget_ms=80)
def r2_choose(
    placements: Sequence[Placement], vitals: Vitals, inventories: Inventories, members: Members
) -> list[Search]:
    """Ranks the holders of every transaction; k good fragments are enough.

    Args:
        placements: Where the fragments are (R1).
        vitals: Who failed lately.
        inventories: What holders say that they hold.
        members: Who is near.

    Returns:
        One search each.
    """
    known = inventories if inventories else None
    near = members.near
    return [_search(placement, vitals, placement.manifest.k, known, near) for placement in placements]


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


def _search(
    placement: Placement,
    vitals: Vitals,
    needed: int,
    known: Inventories | None = None,
    near: Set[bytes] = frozenset(),
) -> Search:
    manifest = placement.manifest
    denied: set[int] = set()
    if known is not None:
        tx_id, height = manifest.tx_id, placement.receipt.header.height
        denied = {index for index, node in placement.holders.items() if known.denies(node, tx_id, index, height)}
    ranked = sorted(
        placement.holders.items(),
        key=lambda held: (
            held[0] in denied,
            vitals.doubt(held[1]),
            held[0] >= manifest.k,
            held[1] not in near,
            held[0],
        ),
    )
    return Search(manifest, placement.receipt.availability.fragment_hashes, ranked, needed)
