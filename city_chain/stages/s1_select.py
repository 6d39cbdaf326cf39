"""S1 select: who is to hold each transaction, and the proof that the sender had no say in it.

The candidates come from Presence (`Members`). The sender's VRF proof of the epoch gives every sequence number a seed;
the weighted rendezvous ranking under that seed gives the holders, failure domains first, and after them the spares that
stand in for silent ones. `records.Selection.verify` recomputes all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.composer import stage
from city_chain.errors import UnavailableError
from city_chain.stages.model import Members, Sender

__all__ = ["s1_select"]


@stage(inputs=("transactions", "sender", "members"), output="selections", budget_ms=80)
def s1_select(transactions: Sequence[records.Transaction], sender: Sender, members: Members) -> list[records.Selection]:
    """Chooses n holders and up to n spares for every transaction.

    Args:
        transactions: The burst, all of `sender`.
        sender: Whose draw it is.
        members: The nodes to choose from.

    Returns:
        One selection each; all name the same candidate list and carry the same proof.

    Raises:
        UnavailableError: There are fewer candidates than acks are needed.
    """
    terms = sender.terms
    if len(members.candidates) < terms.quorum:
        raise UnavailableError(
            f"S1: the region {members.candidates.region!r} has {len(members.candidates)} holders; "
            f"{terms.quorum} must acknowledge a transaction",
            terms.quorum,
            len(members.candidates),
        )
    sequences = [transaction.sequence for transaction in transactions]
    return sender.draw.select_many(members.candidates, sender.identity.id, sequences, 2 * terms.n)
