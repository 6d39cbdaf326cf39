"""Asks the holders and delegates of a receipt for their ML-DSA countersignatures.

Every node is asked once, for all that it signed of the receipt. What it says counts after its node record and its
countersignature were found right, and to be of what was asked. It ends as soon as there are enough of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, UnavailableError, VerificationError
from city_chain.ports import Request, Response, Transport
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.model import Members, Sender
from city_chain.stages.patience import PATIENCE_MAX_S

__all__ = ["countersign"]

_REASONS_MAX = 4


def countersign(
    receipt: records.Receipt, sender: Sender, members: Members, transport: Transport, deadline: float
) -> records.CountersignedReceipt:
    """Collects countersignatures of a receipt: a write quorum of its holders', and a quorum of its delegates' by stake.

    Args:
        receipt: What they are to sign.
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        deadline: When to give up, on the sender's monotonic clock; at most a minute from now counts.

    Raises:
        UnavailableError: Too few of them answered, still hold their fragments, or sign: `needed` and `had`.
    """
    asking = _Asking(receipt, sender, members)
    gather = transport.gather([], min(deadline, sender.clock.monotonic() + PATIENCE_MAX_S))
    first = gather.send(asking.requests(deadline))
    while gather.pending and asking.lack() is not None and sender.clock.monotonic() < deadline:
        for response in gather.take(deadline):
            asking.take(response.ticket - first, response)
            break
        for response in gather.take(0.0):
            asking.take(response.ticket - first, response)
    lack = asking.lack()
    if lack is not None:
        raise lack
    return records.CountersignedReceipt(receipt, asking.signed)


class _Asking:
    """What is asked of whom, and what came of it."""

    def __init__(self, receipt: records.Receipt, sender: Sender, members: Members) -> None:
        self._receipt = receipt
        self._sender = sender
        self._members = members
        self._acks: dict[bytes, list[poh.Ack]] = {}
        for ack in receipt.availability.acks:
            self._acks.setdefault(ack.node, []).append(ack)
        self._stakes = dict(receipt.epoch.validators.items)
        every = dict.fromkeys([*self._acks, *self._stakes])
        self._nodes = [node for node in every if node in members.addresses]
        self._reasons = [f"node {node.hex()[:8]} is not logged in" for node in every if node not in members.addresses]
        self._holders = 0
        self._stake = 0
        self.signed: list[tuple[records.NodeRecord, records.Countersignature]] = []

    def requests(self, deadline: float) -> list[Request]:
        """One message to every node that is there."""
        sender, receipt = self._sender, self._receipt
        left_s = max(deadline - sender.clock.monotonic(), 0.0)
        height = messages.integer(receipt.header.height)
        made = []
        for node in self._nodes:
            acks = self._acks.get(node, [])
            request = records.RepairRequest(
                sender.identity,
                network=receipt.epoch.network,
                node=node,
                hlc=sender.stamp(),
                deadline_ms=sender.clock.now_ms() + math.ceil(min(left_s, PATIENCE_MAX_S) * 1000),
                items=[(ack.tx_id, ack.index) for ack in acks],
            )
            parts = [request.to_bytes(), height if node in self._stakes else b"", *(ack.to_bytes() for ack in acks)]
            made.append(Request(self._members.addresses[node], messages.message("countersign", parts)))
        return made

    def take(self, place: int, response: Response) -> None:
        """Takes an answer in, of the node at a place; what is wrong with it is kept as a reason."""
        node = self._nodes[place]
        acks = self._acks.get(node, [])
        due = [("ack", ack.digest) for ack in acks]
        due += [("batch", self._receipt.header.digest)] if node in self._stakes else []
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            first, *parts = messages.answer(response.body, "countersigned", 1 + len(due))
            entry = records.NodeRecord.from_bytes(first)
            entry.verify()
        except (CityChainError, OSError) as error:
            self._reasons.append(f"node {node.hex()[:8]}: {messages.reason(error)}")
            return
        for (kind, subject), part in zip(due, parts, strict=True):
            try:
                made = _checked(part, entry, node, kind, subject)
            except CityChainError as error:
                self._reasons.append(f"node {node.hex()[:8]}: {messages.reason(error)}")
                continue
            self.signed.append((entry, made))
            if kind == "ack":
                self._holders += 1
            else:
                self._stake += self._stakes[node]

    def lack(self) -> UnavailableError | None:
        """Why it is not enough yet; None if it is."""
        validators = self._receipt.epoch.validators
        counts: Sequence[tuple[str, int, int]] = (
            ("holders", self._receipt.manifest.quorum, self._holders),
            ("delegates by stake", validators.quorum, self._stake),
        )
        for what, needed, had in counts:
            if had < needed:
                more = f"; and {len(self._reasons) - _REASONS_MAX} more" if len(self._reasons) > _REASONS_MAX else ""
                told = f" ({'; '.join(self._reasons[:_REASONS_MAX])}{more})" if self._reasons else ""
                of = self._receipt.tx_id.hex()
                return UnavailableError(
                    f"countersignatures of {what} for transaction {of}: needed {needed}, had {had}{told}", needed, had
                )
        return None


def _checked(
    part: bytes, entry: records.NodeRecord, node: bytes, kind: str, subject: bytes
) -> records.Countersignature:
    made = messages.countersignature_or_reason(part)
    if isinstance(made, str):
        raise VerificationError(made)
    if entry.node != node or (made.kind, made.subject) != (kind, subject):
        raise VerificationError("it countersigned something else than what was asked")
    made.verify_by(entry)
    return made
