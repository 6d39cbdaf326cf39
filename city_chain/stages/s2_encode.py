"""S2 encode: cut every transaction into n fragments, any k of which restore it, and hash them.

The transaction is entered in the sender's index, before anything of it is sent.
Needs nothing but the transaction, so it may run beside S1. What is sealed was sealed when the transaction was made
(`s2_seal`): here it is bytes like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.algorithms import ec
from city_chain.composer import stage
from city_chain.stages.model import Dispersal, Sender

__all__ = ["s2_encode", "s2_resume"]


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
    if sender.sent is not None:
        sender.sent.enter([transaction.tx_id for transaction in transactions])
    terms = sender.terms
    return [_encode(transaction, terms.k, terms.n) for transaction in transactions]


@stage(inputs=("transactions", "manifests"), output="dispersals", budget_ms=80)
def s2_resume(transactions: Sequence[records.Transaction], manifests: Sequence[records.Manifest]) -> list[Dispersal]:
    """Encodes what was journalled before a crash as its manifests say, whatever the terms are today.

    Args:
        transactions: What was journalled.
        manifests: Their manifests, in the same order.

    Returns:
        One dispersal each.
    """
    pairs = zip(transactions, manifests, strict=True)
    return [_encode(transaction, manifest.k, manifest.n, manifest.code) for transaction, manifest in pairs]


def _encode(transaction: records.Transaction, k: int, n: int, code: int | None = None) -> Dispersal:
    data = transaction.to_bytes()
    encoded = ec.encode(data, k, n - k, code=code)
    return Dispersal(
        length=len(data), k=k, n=n, fragments=encoded.fragments, hashes=encoded.hashes, code=encoded.code_id
    )
