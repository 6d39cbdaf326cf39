"""S2 encode: cut every transaction into n fragments, any k of which restore it, and hash them.

Needs nothing but the transaction, so it may run beside S1. Sealing has its place here, before the encoding.
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.algorithms import ec
from city_chain.composer import stage
from city_chain.stages.model import Dispersal, Sender, Terms

__all__ = ["s2_encode"]


@stage(inputs=("transactions", "sender"), output="dispersals", budget_ms=80)
def s2_encode(transactions: Sequence[records.Transaction], sender: Sender) -> list[Dispersal]:
    """Encodes every transaction with the sender's (k, n).

    Args:
        transactions: The burst.
        sender: Whose terms apply.

    Returns:
        One dispersal each: the same input gives the same fragments at any time on any machine.

    Raises:
        InputError: (k, n) is not a code.
    """
    return [_encode(transaction, sender.terms) for transaction in transactions]


def _encode(transaction: records.Transaction, terms: Terms) -> Dispersal:
    data = transaction.to_bytes()
    encoded = ec.encode(data, terms.k, terms.n - terms.k)
    return Dispersal(length=len(data), k=terms.k, n=terms.n, fragments=encoded.fragments, hashes=encoded.hashes)
