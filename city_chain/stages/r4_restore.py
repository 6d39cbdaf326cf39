"""R4 restore: any k good fragments decode; the result must be the transaction that the receipt is about.

What is sealed stays sealed here; `r4_open` opens it. For a repair, what is absent or corrupt is made anew and placed on
healthy nodes, with new acks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from city_chain import records
from city_chain.algorithms import ec
from city_chain.composer import stage
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.ports import Transport
from city_chain.stages.courier import Courier, Order, sign_requests
from city_chain.stages.fetcher import Search
from city_chain.stages.model import Members, Placement, Restored, Sender
from city_chain.stages.patience import leaving_time
from city_chain.stages.vitals import Vitals

__all__ = ["r4_repair", "r4_restore"]


@stage(inputs=("placements", "findings"), output="restored", budget_ms=80)
def r4_restore(placements: Sequence[Placement], findings: Sequence[Search]) -> list[Restored]:
    """Decodes and checks every transaction.

    Args:
        placements: Where they were looked for (R1).
        findings: What was found (R3).

    Returns:
        One result each; one that could not be restored carries the error that says why.
    """
    return [restore(placement, found) for placement, found in zip(placements, findings, strict=True)]


@stage(
    inputs=("placements", "findings", "sender", "members", "transport", "vitals", "deadline"),
    output="restored",
    budget_ms=80,
)
def r4_repair(
    placements: Sequence[Placement],
    findings: Sequence[Search],
    sender: Sender,
    members: Members,
    transport: Transport,
    vitals: Vitals,
    deadline: float,
) -> list[Restored]:
    """Decodes and checks every transaction, and places anew what is absent or corrupt.

    Args:
        placements: Where they were looked for (R1).
        findings: What was found (R3), all holders having been asked.
        sender: Who signs the repair.
        members: The nodes to choose from.
        transport: Carries the messages.
        vitals: Who failed lately is chosen last.
        deadline: When to give up, on the sender's monotonic clock.

    Returns:
        One result each. What needed no repair has none; what could not be repaired whole carries the error.
    """
    restored = [restore(placement, found) for placement, found in zip(placements, findings, strict=True)]
    orders: list[tuple[Restored, Order]] = []
    for result, found in zip(restored, findings, strict=True):
        missing = [index for index in range(result.placement.manifest.n) if index not in result.good]
        if result.error is None and missing:
            orders.append((result, _order(result.placement, found, missing, members, vitals)))
    _place([order for _, order in orders], sender, members, transport, deadline)
    for result, order in orders:
        _certify(result, order, sender, members)
    return restored


def restore(placement: Placement, found: Search) -> Restored:
    """Decodes one transaction out of what was found of it."""
    manifest = placement.manifest
    result = Restored(placement, good=set(found.fragments), bad=dict(found.bad))
    try:
        if len(found.fragments) < manifest.k:
            raise UnavailableError(
                f"fragments of transaction {manifest.tx_id.hex()}: needed {manifest.k}, had {len(found.fragments)}",
                manifest.k,
                len(found.fragments),
            )
        data = ec.decode(found.fragments, manifest.k, manifest.n - manifest.k, manifest.length, code=manifest.code)
        transaction = _transaction(manifest, data)
        placement.receipt.verify_transaction(transaction)
        result.transaction = transaction
    except CityChainError as error:
        result.error = error
    return result


def _transaction(manifest: records.Manifest, data: bytes) -> records.Transaction:
    """What good fragments decode to is the sender's doing: what is no transaction is not the one of the manifest."""
    try:
        return records.Transaction.from_bytes(data)
    except InputError as error:
        raise VerificationError(f"the fragments of {manifest.tx_id.hex()} decode to no transaction: {error}") from error


def _order(placement: Placement, found: Search, missing: Sequence[int], members: Members, vitals: Vitals) -> Order:
    """What is to be placed anew, and on whom: nodes that hold nothing of it first, then those that lost theirs."""
    manifest = placement.manifest
    p = manifest.n - manifest.k
    fragments = ec.rebuild(found.fragments, missing, manifest.k, p, manifest.length, code=manifest.code)
    keepers = {node for index, node in placement.holders.items() if index in found.fragments}
    seed = manifest.manifest_hash + (placement.generation + 1).to_bytes(8, "little")
    ranked = members.candidates.choose(seed, len(members.candidates), exclude=keepers)
    losers = set(placement.holders.values())
    ranked.sort(key=lambda node: (node in losers, vitals.doubt(node)))
    return Order(
        manifest=manifest,
        fragments=fragments,
        hashes=placement.receipt.availability.fragment_hashes,
        requests=[],
        spares=deque(ranked),
        needed=len(missing),
    )


def _place(orders: Sequence[Order], sender: Sender, members: Members, transport: Transport, deadline: float) -> None:
    wanted = [
        (order, (order.manifest, order.hashes[index], order.spares.popleft(), index))
        for order in orders
        for index in order.missing
        if order.spares
    ]
    requests = sign_requests(sender, members, [item for _, item in wanted], deadline)
    for order in orders:
        order.requests = [r for (owner, _), r in zip(wanted, requests, strict=True) if owner is order]
    if orders:
        Courier(orders, sender, members, transport, leaving_time(sender.clock.monotonic(), deadline)).run()


def _certify(result: Restored, order: Order, sender: Sender, members: Members) -> None:
    result.error = order.why()
    if not order.acks:
        return
    acks = list(order.acks.values())
    repair = records.Repair(
        sender.identity,
        network=order.manifest.network,
        tx_id=order.manifest.tx_id,
        manifest_hash=order.manifest.manifest_hash,
        generation=result.placement.generation + 1,
        candidates_root=members.candidates.root,
        moves=[(ack.index, ack.node) for ack in acks],
        hlc=sender.stamp(),
    )
    result.repair = records.RepairCertificate(repair, acks)
