"""S3 hold: sign a manifest for every dispersal, ask the first n nodes, and write it all down before anything is sent.

The requests of a burst share one signature. Every node gets a challenge of its own that it could not know before, and
is asked under the session that the sender has with it: fragments travel sealed to the node's KEM key (see `sessions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from city_chain import records
from city_chain.composer import stage
from city_chain.proofs import poh
from city_chain.stages import courier
from city_chain.stages.model import Dispersal, Hold, Journal, Members, Sender

__all__ = ["s3_hold", "s3_resume"]


@stage(
    inputs=("transactions", "selections", "dispersals", "sender", "members", "journal", "deadline"),
    output="holds",
    budget_ms=80,
)
def s3_hold(
    transactions: Sequence[records.Transaction],
    selections: Sequence[records.Selection],
    dispersals: Sequence[Dispersal],
    sender: Sender,
    members: Members,
    journal: Journal,
    deadline: float,
) -> list[Hold]:
    """Signs manifests and requests and journals them.

    Args:
        transactions: The burst.
        selections: Its selections (S1).
        dispersals: Its dispersals (S2).
        sender: Who signs.
        members: The nodes' keys.
        journal: Where the burst is written down before it is sent.
        deadline: Until when acks are of use, on the sender's monotonic clock.

    Returns:
        One hold each.

    Raises:
        StorageError: The journal could not be written; nothing was sent.
    """
    manifests = []
    described = zip(transactions, selections, dispersals, strict=True)
    for (k, n, code), run in groupby(described, key=lambda item: (item[2].k, item[2].n, item[2].code)):
        items = [(transaction, dispersal.length, dispersal.hashes, choice) for transaction, choice, dispersal in run]
        quorum = poh.write_quorum(k, n)
        manifests += records.Manifest.many(sender.identity, items, k=k, n=n, quorum=quorum, code=code)
    holds = _sign(transactions, manifests, dispersals, sender, members, deadline)
    journal.begin(holds)
    return holds


@stage(
    inputs=("transactions", "manifests", "dispersals", "sender", "members", "deadline"), output="holds", budget_ms=80
)
def s3_resume(
    transactions: Sequence[records.Transaction],
    manifests: Sequence[records.Manifest],
    dispersals: Sequence[Dispersal],
    sender: Sender,
    members: Members,
    deadline: float,
) -> list[Hold]:
    """Asks anew for what was journalled before a crash: the manifests stay, the requests are fresh.

    Args:
        transactions: What was journalled.
        manifests: Their manifests, in the same order.
        dispersals: Their dispersals, made anew (S2).
        sender: Who signs.
        members: The nodes' keys.
        deadline: Until when acks are of use, on the sender's monotonic clock.

    Returns:
        One hold each.

    Raises:
        VerificationError: A dispersal is not the one that its manifest describes.
    """
    for manifest, dispersal in zip(manifests, dispersals, strict=True):
        manifest.verify_hashes(dispersal.hashes)
    return _sign(transactions, manifests, dispersals, sender, members, deadline)


def _sign(
    transactions: Sequence[records.Transaction],
    manifests: Sequence[records.Manifest],
    dispersals: Sequence[Dispersal],
    sender: Sender,
    members: Members,
    deadline: float,
) -> list[Hold]:
    nodes = [node for manifest in manifests for node in manifest.selection.nodes[: manifest.n]]
    sessions = sender.sessions.with_nodes(nodes, members.kem)
    asked = [
        (manifest, dispersal.hashes, sender.entropy.bytes(32))
        for manifest, dispersal in zip(manifests, dispersals, strict=True)
    ]
    times = courier.times(sender, deadline)
    requests = records.request_holds(sender.identity, asked, sessions, hlc=sender.stamp(), **times)
    return list(map(Hold, transactions, manifests, dispersals, requests))
