"""S1 select: who is to hold each transaction, and the proof that the sender had no say in it.

The candidates come from Presence (`Members`). Where places count, a candidate's weight is what it can take times what
its grade of place is worth and its municipality's multipliers (see `records.PlaceRules`); the list says all of it, and
the selection names the grades of the chosen. The sender's VRF proof of the epoch gives every sequence number a seed;
the weighted rendezvous ranking under that seed gives the holders, failure domains first, and after them the spares that
stand in for silent ones. `records.verify_selection` computes all of it again, from bytes alone.
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
    able = len(members.candidates) if members.able is None else members.able
    if able < terms.quorum:
        graded = "" if members.able is None else f" whose place is sure enough (of {len(members.candidates)})"
        raise UnavailableError(
            f"S1: the region {members.candidates.region!r} has {able} holders{graded}; "
            f"{terms.quorum} must acknowledge a transaction",
            terms.quorum,
            able,
        )
    sequences = [transaction.sequence for transaction in transactions]
    return sender.draw.select_many(members.candidates, sender.identity.id, sequences, 2 * terms.n)
