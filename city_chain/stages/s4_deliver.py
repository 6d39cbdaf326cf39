"""S4 deliver: every fragment and its request straight to its node, all at once, hedged to spares.

Returns as soon as every transaction of the burst has its write quorum of valid acks, or none more can come. Stragglers
finish behind: they bring the placement up to n, and their acks are journalled when they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

from city_chain.composer import stage
from city_chain.ports import Transport
from city_chain.stages.courier import Courier, Order
from city_chain.stages.model import Delivery, Hold, Journal, Members, Sender

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
    behind: Executor,
    deadline: float,
) -> list[Delivery]:
    """Delivers a burst.

    Args:
        holds: What to deliver (S3).
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        journal: Takes the acks of stragglers.
        behind: Runs what goes on after enough acks are in.
        deadline: When to give up, on the sender's monotonic clock.

    Returns:
        One delivery each. One without its quorum carries the `UnavailableError` that says so; the others go on.
    """
    orders = [_order(hold) for hold in holds]
    courier = Courier(orders, sender, members, transport, deadline)
    courier.run()
    deliveries = [Delivery(hold, dict(order.acks), order.why()) for hold, order in zip(holds, orders, strict=True)]
    if any(order.missing for order in orders):
        behind.submit(lambda: journal.late(courier.finish()))
    return deliveries


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
