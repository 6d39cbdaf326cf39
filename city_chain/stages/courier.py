"""Carries fragments to nodes and brings their acks back: the engine of S4, and of R4 when it places fragments anew.

All nodes are asked at once. A node that refuses, or stays silent for the hedge time, is given up for its fragment and
the next spare is asked as well; whichever acks first holds it. An ack counts after it was found to answer its request,
its proof to be over the fragment's bytes, and its signature to be right; signatures are checked in batches.

Fragments go out sealed under the session that their request names, and never otherwise. A node that does not know the
session is told it once more.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Buffer, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, UnavailableError
from city_chain.ports import Request, Response, Transport
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.model import Members, Sender
from city_chain.stages.patience import PATIENCE_MAX_S

__all__ = ["Courier", "Order", "Times", "sign_requests", "times"]

_REASONS_MAX = 4
_LOOK_S = 0.25


@dataclass(slots=True)
class Order:
    """One transaction's fragments on their way.

    Args:
        manifest: What they belong to.
        fragments: The fragments to place, by index.
        hashes: The hashes of all fragments of the manifest.
        requests: The first request for every index.
        spares: Who stands in for silent nodes, best first.
        needed: How many acks are enough.
        acks: Valid acks so far, by index.
        refusals: The last thing that went wrong, by index.
    """

    manifest: records.Manifest
    fragments: Mapping[int, Buffer]
    hashes: Sequence[bytes]
    requests: Sequence[poh.HoldRequest]
    spares: deque[bytes]
    needed: int
    acks: dict[int, poh.Ack] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The indices without an ack."""
        return [index for index in self.fragments if index not in self.acks]

    def why(self) -> CityChainError | None:
        """The error if the acks are too few, with the first few reasons."""
        if len(self.acks) >= self.needed:
            return None
        reasons = [f"fragment {index}: {self.refusals[index]}" for index in self.missing if index in self.refusals]
        more = f"; and {len(reasons) - _REASONS_MAX} more" if len(reasons) > _REASONS_MAX else ""
        told = f" ({'; '.join(reasons[:_REASONS_MAX])}{more})" if reasons else ""
        return UnavailableError(
            f"acks for transaction {self.manifest.tx_id.hex()}: needed {self.needed}, had {len(self.acks)}{told}",
            self.needed,
            len(self.acks),
        )


@dataclass(slots=True)
class _Flight:
    """One message on its way: what it carries, and when it was sent."""

    cargo: Sequence[tuple[Order, poh.HoldRequest]]
    sent_at: float


def sign_requests(
    sender: Sender, members: Members, wanted: Sequence[tuple[records.Manifest, bytes, bytes, int]], deadline: float
) -> list[poh.HoldRequest]:
    """Hold requests for (manifest, fragment hash, node, index), signed with one signature and challenged afresh.

    Args:
        sender: Who asks.
        members: The nodes' keys.
        wanted: What is asked of whom.
        deadline: Until when acks are of use, on the sender's monotonic clock.
    """
    if not wanted:
        return []
    seeds: defaultdict[bytes, bytes] = defaultdict(lambda: sender.entropy.bytes(32))
    items = [
        (manifest, fragment_hash, node, index, poh.challenge(seeds[manifest.tx_id], node, index))
        for manifest, fragment_hash, node, index in wanted
    ]
    sessions = sender.sessions.with_nodes([node for _, _, node, _ in wanted], members.kem)
    return poh.request_many(sender.identity, items, sessions, hlc=sender.stamp(), **times(sender, deadline))


class Times(TypedDict):
    """Until when an ack is of use, and until when fragments are to be held: UTC epoch milliseconds."""

    deadline_ms: int
    hold_until_ms: int


def times(sender: Sender, deadline: float) -> Times:
    """The times in a request to hold that is made now.

    Args:
        sender: Who asks.
        deadline: Until when acks are of use, on the sender's monotonic clock; at most a minute from now counts.
    """
    now_ms = sender.clock.now_ms()
    left_s = min(max(deadline - sender.clock.monotonic(), 0.0), PATIENCE_MAX_S)
    return {"deadline_ms": now_ms + math.ceil(left_s * 1000), "hold_until_ms": now_ms + sender.terms.hold_ms}


class Courier:
    """Delivers some orders.

    Args:
        orders: What to deliver; their acks are filled in.
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        deadline: When to give up, on the sender's monotonic clock; at most a minute from now counts.
    """

    def __init__(
        self, orders: Sequence[Order], sender: Sender, members: Members, transport: Transport, deadline: float
    ) -> None:
        self._orders = orders
        self._sender = sender
        self._members = members
        self._deadline = min(deadline, sender.clock.monotonic() + PATIENCE_MAX_S)
        self._gather = transport.gather([], self._deadline)
        self._stop = threading.Event()
        self._flights: dict[int, _Flight] = {}
        self._unverified: list[tuple[Order, poh.HoldRequest, bytes]] = []
        self._told_again: set[bytes] = set()

    def run(self) -> None:
        """Sends everything; returns as soon as every order has enough acks, or no more can come, or time is up.

        What has arrived by then is taken in, too. Afterwards `finish` can go on in another thread.
        """
        self._send([(order, request) for order in self._orders for request in order.requests])
        self._pursue(lambda order: len(order.acks) >= order.needed)

    def finish(self, stop: threading.Event) -> list[poh.Ack]:
        """Goes on for the orders that have enough, until they are placed whole, no more can come, or `stop` is set.

        Returns:
            The acks that came meanwhile.
        """
        self._orders = [order for order in self._orders if len(order.acks) >= order.needed]
        self._stop = stop
        before = [set(order.acks) for order in self._orders]
        self._pursue(lambda order: not order.missing)
        return [
            ack
            for order, known in zip(self._orders, before, strict=True)
            for index, ack in order.acks.items()
            if index not in known
        ]

    def _pursue(self, content: Callable[[Order], bool]) -> None:
        clock, hedge_s = self._sender.clock, self._sender.terms.hedge_ms / 1000
        self._take_arrived()
        while not all(map(content, self._orders)):
            now = clock.monotonic()
            if now >= self._deadline or self._stop.is_set():
                break
            self._hedge([order for order in self._orders if not content(order)], now - hedge_s)
            if not self._gather.pending:
                break
            waited_for = [flight.sent_at for flight in self._flights.values() if flight.sent_at > now - hedge_s]
            until = min([self._deadline, now + _LOOK_S, *(sent_at + hedge_s for sent_at in waited_for)])
            for response in self._gather.take(until):
                self._receive(response)
                break
            self._take_arrived()

    def _take_arrived(self) -> None:
        for response in self._gather.take(0.0):
            self._receive(response)
        self._verify()

    def _hedge(self, orders: Iterable[Order], sent_before: float) -> None:
        """Asks a spare for every fragment of `orders` that nobody sent to since `sent_before` may still ack."""
        expected = {
            (order.manifest.tx_id, request.index)
            for flight in self._flights.values()
            if flight.sent_at > sent_before
            for order, request in flight.cargo
        }
        wanted = []
        owners = []
        for order in orders:
            for index in order.missing:
                if (order.manifest.tx_id, index) not in expected and order.spares:
                    wanted.append((order.manifest, order.hashes[index], order.spares.popleft(), index))
                    owners.append(order)
        requests = sign_requests(self._sender, self._members, wanted, self._deadline)
        self._send(list(zip(owners, requests, strict=True)))

    def _send(self, cargo: Sequence[tuple[Order, poh.HoldRequest]]) -> None:
        sessions = self._sender.sessions
        by_place: dict[tuple[str, bytes], list[tuple[int, tuple[Order, poh.HoldRequest]]]] = {}
        last, size = None, 0  # an order's fragments are of one size
        for order, request in cargo:
            address = self._members.addresses.get(request.node)
            if address is None:
                order.refusals[request.index] = f"node {request.node.hex()[:8]} is not logged in"
                continue
            if not request.session:
                order.refusals[request.index] = sessions.why_none(request.node)
                continue
            if order is not last:
                last, size = order, memoryview(order.fragments[request.index]).nbytes + 1024
            by_place.setdefault((address, request.session), []).append((size, (order, request)))
        runs = []
        for (address, session_id), items in by_place.items():
            session = sessions.get(session_id)
            if session is None:
                for _, (order, request) in items:
                    order.refusals[request.index] = "the session that the request names has ended"
                continue
            is_told = not sessions.is_known(session_id)
            runs += [(address, session, is_told, run) for run in messages.split(items)]
        if not runs:
            return
        now = self._sender.clock.monotonic()
        bodies = records.hold_messages(
            [
                (session, is_told, [(request, order.fragments[request.index]) for order, request in run])
                for _, session, is_told, run in runs
            ]
        )
        first = self._gather.send([Request(address, body) for (address, *_), body in zip(runs, bodies, strict=True)])
        for ticket, (*_, run) in enumerate(runs, first):
            self._flights[ticket] = _Flight(run, now)

    def _receive(self, response: Response) -> None:
        flight = self._flights.pop(response.ticket)
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            parts = messages.answer(response.body, "held", len(flight.cargo))
        except (CityChainError, OSError) as error:
            for order, request in flight.cargo:
                order.refusals[request.index] = messages.reason(error)
            return
        self._unverified += [(*cargo, part) for cargo, part in zip(flight.cargo, parts, strict=True)]

    def _verify(self) -> None:
        if not self._unverified:
            return
        unverified, self._unverified = self._unverified, []
        found = records.accept_acks(
            [(part, request, order.fragments[request.index]) for order, request, part in unverified]
        )
        proven: set[bytes] = set()
        again: list[tuple[Order, poh.HoldRequest]] = []
        for (order, request, part), ack in zip(unverified, found, strict=True):
            index = request.index
            if isinstance(ack, poh.Ack):
                proven.add(request.session)
                if index not in order.acks:
                    order.acks[index] = ack
                    order.refusals.pop(index, None)
            elif ack is None and request.session not in self._told_again and messages.is_session_wanted(part):
                again.append((order, request))
            else:
                order.refusals[index] = str(messages.ack_or_reason(part) if ack is None else ack)
        self._sender.sessions.are_known(proven)
        if again:
            forgotten = {request.session for _, request in again}
            self._told_again |= forgotten
            self._sender.sessions.are_forgotten(forgotten)
            self._send(again)
