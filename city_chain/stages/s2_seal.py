"""S2 seal: the first half of S2, done when a transaction is made: the payload becomes one that its holders cannot read.

A transaction's id is the hash of what is dispersed, so sealing comes before signing: the journal, the nodes and the
receipt know sealed bytes only, and whoever checks or repairs them needs no key. S3 finds out by itself that a
transaction is sealed, and its manifest says so.
"""

from __future__ import annotations

from collections.abc import Buffer, Sequence
from typing import Literal

from city_chain import records
from city_chain.composer import stage
from city_chain.errors import UnavailableError
from city_chain.stages.model import Keys

__all__ = ["Seal", "s2_seal"]

type Seal = Literal["city"] | tuple[bytes, ...]
"""To whom a payload is sealed: the city, or the readers of these public keys."""


@stage(inputs=("payloads", "sequences", "network", "sender", "seal", "keys"), output="payloads", budget_ms=80)
def s2_seal(
    payloads: Sequence[Buffer],
    sequences: Sequence[int],
    network: bytes,
    sender: bytes,
    seal: Seal | None,
    keys: Keys | None,
) -> Sequence[Buffer]:
    """Seals every payload for the transaction that is to carry it.

    Args:
        payloads: What to seal.
        sequences: The running numbers of their transactions, in the same order.
        network: The network's id.
        sender: The sender's public key.
        seal: To whom; None leaves the payloads as they are.
        keys: The city's public keys.

    Returns:
        What to put into the transactions, in the same order.

    Raises:
        InputError: A payload is too large with its sealing, or a reader's key is none.
        UnavailableError: The city has no keys.
    """
    if seal is None:
        return payloads
    items = list(zip(sequences, payloads, strict=True))
    if not isinstance(seal, str):
        return records.seal_to_readers(seal, items, network=network, sender=sender)
    if keys is None:
        raise UnavailableError("S2: the city has no encryption key yet: needed 1, had 0", 1, 0)
    return records.seal_to_city(keys.encryption_key, items, network=network, sender=sender)
