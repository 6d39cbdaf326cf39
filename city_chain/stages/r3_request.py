"""R3 request: signed requests to the holders in parallel, more as refusals and deadlines come in."""

from __future__ import annotations

from collections.abc import Sequence

from city_chain.composer import stage
from city_chain.ports import Transport
from city_chain.stages.fetcher import Fetcher, Search
from city_chain.stages.model import Members, Sender
from city_chain.stages.patience import leaving_time
from city_chain.stages.vitals import Vitals

__all__ = ["r3_request"]


@stage(inputs=("searches", "sender", "members", "transport", "vitals", "deadline"), output="findings", budget_ms=80)
def r3_request(
    searches: Sequence[Search],
    sender: Sender,
    members: Members,
    transport: Transport,
    vitals: Vitals,
    deadline: float,
) -> Sequence[Search]:
    """Fetches fragments; only those whose hash is right are kept.

    Args:
        searches: What to find (R2).
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        vitals: Learns who worked and who did not.
        deadline: When to give up, on the sender's monotonic clock.

    Returns:
        The searches, with what was found in them.
    """
    until = leaving_time(sender.clock.monotonic(), deadline)
    Fetcher(searches, sender, members, transport, vitals, until).run()
    return searches
