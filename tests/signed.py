"""Manifests of several cities that a sender has signed, for tests that ask cities without a world."""

from __future__ import annotations

from collections.abc import Callable

from city_chain import records
from city_chain.algorithms import sc

SENDER = records.Identity(b"\x05" * 32)


def signed(manifest: Callable[[bytes], sc.Manifest], sequence: int = 0) -> tuple[sc.Manifest, bytes]:
    """A manifest whose body is a transaction of the test's sender, and the head that shows it.

    Args:
        manifest: Makes it for a body.
        sequence: The transaction's number.
    """
    draft = manifest(bytes(32))
    keys = [key for _, key, _ in draft.inputs] + [key for _, key in draft.outputs]
    transaction = records.Transaction(
        SENDER, network=bytes(32), sequence=sequence, hlc=1, payload=b"", touched=keys, terms=draft.terms
    )
    head = transaction.head()
    assert head is not None
    return manifest(transaction.tx_id), head.to_bytes()
