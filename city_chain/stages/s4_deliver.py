"""S4 deliver: every fragment and its request straight to its node, all at once, hedged to spares.

Returns as soon as every transaction of the burst has its write quorum of valid acks, or none more can come. Stragglers
finish behind: they bring the placement up to n, and their acks are journalled when they come.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence

from city_chain import records
from city_chain.composer import stage
from city_chain.ports import Request, Transport
from city_chain.stages import messages
from city_chain.stages.courier import Courier, Order
from city_chain.stages.model import Behind, Delivery, Hold, Journal, Members, Sender
from city_chain.stages.patience import PATIENCE_MAX_S, leaving_time

__all__ = ["s4_deliver"]


@stage(
    inputs=("holds", "sender", "members", "transport", "journal", "behind", "deadline"),
    output="deliveries",
    budget_ms=80,
)
def s4_deliver(
    holds: Sequence[Hold],
    sender: Sender,
    members: Members,
    transport: Transport,
    journal: Journal,
    behind: Behind,
    deadline: float,
) -> list[Delivery]:
    """Delivers a burst.

    Args:
        holds: What to deliver (S3).
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        journal: Takes the acks of stragglers.
        behind: Runs what goes on after enough acks are in, and takes back what was stored in vain.
        deadline: When to give up, on the sender's monotonic clock.

    Returns:
        One delivery each. One without its quorum carries the `UnavailableError` that says so; the others go on.
    """
    orders = [_order(hold) for hold in holds]
    courier = Courier(orders, sender, members, transport, leaving_time(sender.clock.monotonic(), deadline))
    courier.run()
    deliveries = [Delivery(hold, dict(order.acks), order.why()) for hold, order in zip(holds, orders, strict=True)]
    if any(order.missing for order, delivery in zip(orders, deliveries, strict=True) if delivery.error is None):
        behind.submit(lambda stop: journal.late(courier.finish(stop)))
    in_vain = _release(deliveries, sender, members)
    if in_vain:
        behind.submit(lambda stop: _send_all(in_vain, sender, transport, stop))
    return deliveries


def _release(deliveries: Sequence[Delivery], sender: Sender, members: Members) -> list[Request]:
    """Requests to let go of fragments whose transaction has no quorum.

    They are stamped here, before the failure is known to anybody: what is asked for again later has a later stamp and
    stays. A node that does not hear of it lets go when the lease ends.
    """
    by_node: dict[bytes, list[tuple[bytes, int]]] = {}
    for delivery in deliveries:
        if delivery.error is not None:
            for index, ack in delivery.acks.items():
                by_node.setdefault(ack.node, []).append((ack.tx_id, index))
    return [
        Request(
            members.addresses[node],
            messages.message(
                "release",
                [
                    records.RepairRequest(
                        sender.identity,
                        network=members.epoch.network,
                        node=node,
                        hlc=sender.stamp(),
                        deadline_ms=sender.clock.now_ms() + math.ceil(PATIENCE_MAX_S * 1000),
                        items=items,
                    ).to_bytes()
                ],
            ),
        )
        for node, items in by_node.items()
    ]


def _send_all(requests: Sequence[Request], sender: Sender, transport: Transport, stop: threading.Event) -> None:
    gather = transport.gather(requests, sender.clock.monotonic() + PATIENCE_MAX_S)
    while gather.pending and not stop.is_set():
        for _ in gather.take(sender.clock.monotonic() + 0.25):
            pass


def _order(hold: Hold) -> Order:
    dispersal, nodes = hold.dispersal, hold.manifest.selection.nodes
    return Order(
        manifest=hold.manifest,
        fragments=dict(enumerate(dispersal.fragments[: len(nodes)])),
        hashes=dispersal.hashes,
        requests=hold.requests,
        spares=deque(nodes[dispersal.n :]),
        needed=hold.manifest.quorum,
    )
