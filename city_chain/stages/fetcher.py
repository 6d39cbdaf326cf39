"""Fetches fragments from their holders: the engine of R3, and of every health check.

One signed request a node asks for all that is wanted of it. A fragment counts only if its hash is the one that the
receipt names. More holders are asked as refusals and silence come in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError
from city_chain.ports import Request, Response, Transport
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.model import Members, Sender
from city_chain.stages.patience import PATIENCE_MAX_S
from city_chain.stages.vitals import Vitals

__all__ = ["ABSENT", "Fetcher", "Search"]

ABSENT = "absent"
"""What is wrong with a fragment that its holder says it has not."""


@dataclass(slots=True)
class Search:
    """What is sought of one transaction.

    Args:
        manifest: What the fragments belong to.
        hashes: The hashes of all fragments.
        holders: (index, node) in the order in which to ask.
        needed: How many good fragments are enough; all of `holders` are asked where this is their number.
        fragments: Good fragments so far, by index.
        bad: What was wrong with the others that were asked for, by index.
        asked: How many of `holders` were asked so far.
    """

    manifest: records.Manifest
    hashes: Sequence[bytes]
    holders: Sequence[tuple[int, bytes]]
    needed: int
    fragments: dict[int, bytes] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    asked: int = 0


@dataclass(slots=True)
class _Flight:
    cargo: Sequence[tuple[Search, int, bytes]]
    sent_at: float


class Fetcher:
    """Runs some searches.

    Args:
        searches: What to find; what is found is filled in.
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        vitals: Remembers who worked and who did not.
        deadline: When to give up, on the sender's monotonic clock; at most a minute from now counts.
    """

    def __init__(
        self,
        searches: Sequence[Search],
        sender: Sender,
        members: Members,
        transport: Transport,
        vitals: Vitals,
        deadline: float,
    ) -> None:
        self._searches = searches
        self._sender = sender
        self._members = members
        self._vitals = vitals
        self._deadline = min(deadline, sender.clock.monotonic() + PATIENCE_MAX_S)
        self._gather = transport.gather([], self._deadline)
        self._flights: dict[int, _Flight] = {}

    def run(self) -> None:
        """Asks until every search has enough, or no more can come, or time is up.

        Silent nodes are given up after the silence time where k good fragments are there already.
        """
        clock, terms = self._sender.clock, self._sender.terms
        hedge_s, silence_s = terms.hedge_ms / 1000, terms.silence_ms / 1000
        self._ask(math.inf)
        while any(len(search.fragments) < search.needed for search in self._searches):
            now = clock.monotonic()
            if now >= self._deadline:
                break
            self._ask(now - hedge_s)
            if not self._gather.pending or self._is_idle(now - silence_s):
                break
            waited_for = [flight.sent_at for flight in self._flights.values() if flight.sent_at > now - hedge_s]
            until = min([self._deadline, now + hedge_s, *(sent_at + hedge_s for sent_at in waited_for)])
            for response in self._gather.take(until):
                self._receive(response)
                break
            for response in self._gather.take(0.0):
                self._receive(response)
        for flight in self._flights.values():
            for search, index, node in flight.cargo:
                if index not in search.fragments:
                    search.bad.setdefault(index, "silent")
                    self._vitals.failed(node)

    def _is_idle(self, sent_before: float) -> bool:
        """Whether all could be restored, and those who have not answered yet were asked before `sent_before`."""
        return all(len(search.fragments) >= search.manifest.k for search in self._searches) and all(
            flight.sent_at < sent_before for flight in self._flights.values()
        )

    def _ask(self, sent_before: float) -> None:
        """Asks further holders, so that every search may get enough from those sent to since `sent_before`."""
        expected: dict[bytes, int] = {}
        for flight in self._flights.values():
            if flight.sent_at > sent_before:
                for search, _, _ in flight.cargo:
                    tx_id = search.manifest.tx_id
                    expected[tx_id] = expected.get(tx_id, 0) + 1
        by_node: dict[bytes, list[tuple[int, tuple[Search, int, bytes]]]] = {}
        for search in self._searches:
            lacking = search.needed - len(search.fragments) - expected.get(search.manifest.tx_id, 0)
            while lacking > 0 and search.asked < len(search.holders):
                index, node = search.holders[search.asked]
                search.asked += 1
                if node not in self._members.addresses:
                    search.bad[index] = "its holder is not logged in"
                    continue
                size = search.manifest.length // search.manifest.k + 1024
                by_node.setdefault(node, []).append((size, (search, index, node)))
                lacking -= 1
        self._send([(node, run) for node, items in by_node.items() for run in messages.split(items)])

    def _send(self, runs: Sequence[tuple[bytes, Sequence[tuple[Search, int, bytes]]]]) -> None:
        if not runs:
            return
        sender, now = self._sender, self._sender.clock.monotonic()
        deadline_ms = sender.clock.now_ms() + math.ceil(max(self._deadline - now, 0.0) * 1000)
        outgoing = []
        for node, run in runs:
            request = records.RepairRequest(
                sender.identity,
                network=self._members.epoch.network,
                node=node,
                hlc=sender.stamp(),
                deadline_ms=deadline_ms,
                items=[(search.manifest.tx_id, index) for search, index, _ in run],
            )
            outgoing.append(Request(self._members.addresses[node], messages.message("fetch", [request.to_bytes()])))
        first = self._gather.send(outgoing)
        for ticket, (_, run) in enumerate(runs, first):
            self._flights[ticket] = _Flight(run, now)

    def _receive(self, response: Response) -> None:
        flight = self._flights.pop(response.ticket)
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            parts = messages.answer(response.body, "fragments", len(flight.cargo))
        except (CityChainError, OSError) as error:
            for search, index, node in flight.cargo:
                search.bad[index] = messages.reason(error)
                self._vitals.failed(node)
            return
        for (search, index, node), part in zip(flight.cargo, parts, strict=True):
            if not part:
                search.bad[index] = ABSENT
            elif poh.hash_fragment(part) != search.hashes[index]:
                search.bad[index] = "corrupt"
            else:
                search.fragments[index] = part
                search.bad.pop(index, None)
                self._vitals.worked(node)
                continue
            self._vitals.failed(node)
