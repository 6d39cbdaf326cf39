"""The host: the nodes of one process behind one handler.

Requests that arrive together are a burst: their signatures are checked in one batch, and what they store is one durable
write for all nodes of the process. Each node keeps its own keys, space and votes; what is public (the ledger, the
judging of a batch) is shared. Nothing leaves before what it rests on is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError
from city_chain.node.agreeing import Agreeing, Party, Shelf
from city_chain.node.attesting import Attesting
from city_chain.node.bodies import Bodies
from city_chain.node.holder import fragment_keys, leased
from city_chain.node.inventory import Inventory, taking_in
from city_chain.node.judge import Judge
from city_chain.node.keeping import Keeping
from city_chain.node.ledger import Ledger
from city_chain.node.node import Node
from city_chain.node.testifying import Testifying
from city_chain.node.voter import Voter
from city_chain.node.voting import Voting
from city_chain.node.witnessing import Witnessing
from city_chain.ports import Put, Request, Storage, Transport
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.r1_ingress import Ingress

__all__ = ["Host"]

type _Item = tuple[int, Node, records.Message]


@dataclass(slots=True)
class _Asked:
    """What a burst asks one node to hold: of each message its place and how many requests it has, then all of these.

    Fragments are as they came, and with each is the sealed session of its message, or nothing.
    """

    node: Node
    messages: list[tuple[int, int]] = field(default_factory=list)
    requests: list[poh.HoldRequest] = field(default_factory=list)
    fragments: list[bytes] = field(default_factory=list)
    offered: list[bytes] = field(default_factory=list)


class Host:
    """Answers for some nodes.

    Args:
        storage: What the nodes' spaces are part of; one write to it covers them all.
        ledger: What is committed.
        judge: Judges batches.
        ingress: The door.
        put: How rows are written before what rests on them is said. The default, `storage.put_many`, waits for the disk
            and is right wherever somebody may hear the answer who outlives the loss of this machine's power. Where all
            who hear it are lost with it, and keep what they do in the same storage and its order, `defer_many` is as
            good: what was said and what was done upon it are lost together or not at all.
        transport: What its nodes ask others by as witnesses of their places; without it they are none.
    """

    def __init__(
        self,
        storage: Storage,
        ledger: Ledger,
        judge: Judge,
        ingress: Ingress,
        put: Put | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._storage = storage
        self._put: Put = put or storage.put_many
        self._ledger = ledger
        self._judge = judge
        self._ingress = ingress
        self._nodes: dict[str, Node] = {}
        self._inventories: dict[bytes, Inventory] = {}
        self._voting = threading.RLock()
        self._bodies = Bodies(storage, ledger, judge, self._put, may_wait=put is not None)
        self._agreeing: Agreeing[Node] = Agreeing(
            Shelf(ledger, self._bodies),
            judge.clock,
            self._voting,
            _party,
            lambda node: node.space,
            lambda node: node.keeper.is_resting(ledger.epoch.number + 1, ledger.tip.height),
        )
        self._answers: dict[str, Callable[[Sequence[_Item], list[bytes]], None]] = {
            "hold": self._hold,
            "fetch": self._fetch,
            "release": self._release,
            "inventory": self._inventory,
            "countersign": self._countersign,
            "open": self._open,
            "body": self._body,
            "announce": self._announce,
            "append": self._append,
            **Voting(ledger, self._bodies, self._voting).answers(),
            **Keeping(ledger, judge, self._put, self._voting).answers(),
            **Attesting(ledger, judge).answers(),
            **Testifying().answers(),
            **Witnessing(partial(self._repair_requests, has_more=True), transport, judge.clock).answers(),
            **self._agreeing.answers(),
        }

    def answer_also(self, answers: Mapping[str, Callable[[Sequence[_Item], list[bytes]], None]]) -> None:
        """Answers further kinds of messages, each by what is given for it."""
        self._answers.update(answers)

    def add(self, node: Node) -> None:
        """Takes a node in under its address."""
        self._inventories[node.space] = node.holder.inventory
        self._nodes[node.address] = node

    def make_ready(self, nodes: Sequence[Node]) -> None:
        """Writes down for some nodes that they stand ready in the epoch, before any of them says anything."""
        self._agreeing.make_ready([node for node in nodes if not isinstance(node.voter, Voter | None)])

    def remove(self, address: str) -> None:
        """Lets a node go; what it stored stays."""
        self._nodes.pop(address, None)
        self.flush()

    def flush(self) -> None:
        """Writes what the nodes' rows of an agreement that goes on have waited with.

        Raises:
            StorageError: It could not be written.
        """
        with self._voting:
            self._bodies.flush()

    def handle(self, requests: Sequence[Request]) -> list[bytes]:
        """Answers a burst (a `ports.Handler`): one answer each, in order. Never raises for what a request holds."""
        answers = [b""] * len(requests)
        with self._ingress.admit([request.body for request in requests]) as admitted:
            by_kind: dict[str, list[_Item]] = {}
            for at, (request, message) in enumerate(zip(requests, admitted, strict=True)):
                node = self._nodes.get(request.address)
                if isinstance(message, CityChainError):
                    answers[at] = messages.refused(messages.reason(message))
                elif node is None:
                    answers[at] = messages.refused("no such node here")
                elif message.kind not in self._answers:
                    answers[at] = messages.refused(f"{message.kind!r} is not known here")
                else:
                    by_kind.setdefault(message.kind, []).append((at, node, message))
            for kind, items in by_kind.items():
                try:
                    self._answers[kind](items, answers)
                except CityChainError as error:
                    for at, _, _ in items:
                        answers[at] = answers[at] or messages.refused(messages.reason(error))
        return answers

    # --- holding -----------------------------------------------------------------------------------------------------

    def _hold(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        by_node: dict[bytes, _Asked] = {}
        for at, node, message in items:
            try:
                session, requests, fragments = records.read_holds(message)
            except (InputError, ProtocolError) as error:
                answers[at] = messages.refused(messages.reason(error))
                continue
            asked = by_node.setdefault(node.id, _Asked(node))
            asked.messages.append((at, len(requests)))
            asked.requests += requests
            asked.fragments += fragments
            asked.offered += [session] * len(requests)
        flat = [request for asked in by_node.values() for request in asked.requests]
        sizes = [len(fragment) for asked in by_node.values() for fragment in asked.fragments]
        with self._ingress.admit_holds(flat, sizes) as verdicts:
            self._hold_admitted(list(by_node.values()), verdicts, answers)

    def _hold_admitted(
        self, asked: Sequence[_Asked], verdicts: Sequence[CityChainError | None], answers: list[bytes]
    ) -> None:
        """One look at the storage, one write to it and one signature of each node for all that it is asked."""
        keys = [fragment_keys(some.requests) for some in asked]
        places = [some.node.space + key for some, of in zip(asked, keys, strict=True) for key in of]
        there = iter(self._storage.get_many(places))
        rest = iter(verdicts)
        wanted = [
            some.node.holder.wanted(
                some.requests,
                some.fragments,
                some.offered,
                [next(rest) for _ in some.requests],
                some.node.stamp(),
                [next(there) for _ in some.requests],
            )
            for some in asked
        ]
        held = records.hold_burst(wanted)
        rows: dict[bytes, bytes] = {}
        for some, of, (_, fresh) in zip(asked, keys, held, strict=True):
            rows.update((some.node.space + key, row) for key, row in leased(some.requests, of, fresh).items())
        if rows:
            with taking_in(self._inventories, rows) as gone:
                self._put(rows, delete=gone)
        for some, (said, _) in zip(asked, held, strict=True):
            parts = iter(said)
            for at, count in some.messages:
                answers[at] = messages.message("held", [next(parts) for _ in range(count)])

    def _repair_requests(
        self, items: Sequence[_Item], answers: list[bytes], *, has_more: bool = False
    ) -> list[tuple[int, Node, records.RepairRequest]]:
        """The repair requests that are let in; the others are answered. Other parts may follow one if it `has_more`."""
        asked: list[tuple[int, Node, records.RepairRequest]] = []
        for at, node, message in items:
            try:
                parts = message.parts
                if len(parts) != 1 and not (has_more and parts):
                    raise ProtocolError(f"{message.kind}: {len(parts)} parts, 1 is needed")
                request = records.RepairRequest.from_bytes(parts[0])
                if request.node != node.id:
                    raise ProtocolError(f"repair request: for node {request.node.hex()[:16]}, not for this one")
                asked.append((at, node, request))
            except (InputError, ProtocolError) as error:
                answers[at] = messages.refused(messages.reason(error))
        verdicts = self._ingress.admit_repairs([request for _, _, request in asked])
        for (at, _, _), verdict in zip(asked, verdicts, strict=True):
            if verdict is not None:
                answers[at] = messages.refused(messages.reason(verdict))
        return [item for item, verdict in zip(asked, verdicts, strict=True) if verdict is None]

    def _fetch(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, request in self._repair_requests(items, answers):
            try:
                answers[at] = messages.message("fragments", node.holder.fetch(request.items))
            except ProtocolError as error:
                answers[at] = messages.refused(messages.reason(error))

    def _release(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, request in self._repair_requests(items, answers):
            inventory = node.holder.inventory
            with inventory.lock:
                keys = [key for key in node.holder.release(request) if not self._ledger.committed([key[1:33]])[0]]
                if keys:
                    self._storage.delete_many(node.space + key for key in [*keys, *inventory.rows_to_delete()])
                    inventory.struck_out([key[1:] for key in keys])
            answers[at] = messages.message("done")

    def _inventory(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        said: dict[bytes, bytes] = {}  # a node's answer is made once for a burst: a filter may have megabytes
        for at, node, _ in self._repair_requests(items, answers):
            if node.id not in said:
                said[node.id] = _filter_of(node)
            answers[at] = said[node.id]

    def _countersign(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        asked = {at: message.parts[1:] for at, _, message in items}
        for at, node, request in self._repair_requests(items, answers, has_more=True):
            try:
                answers[at] = node.countersign(request, asked[at])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))

    # --- opening what is sealed --------------------------------------------------------------------------------------

    def _open(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        """Gives decryption shares for what is committed and sealed to the city with that very capsule."""
        parts = {at: message.parts for at, _, message in items}
        for at, node, request in self._repair_requests(items, answers, has_more=True):
            if len(parts[at]) != 1 + len(request.items):
                wanted = f"the request and a capsule for each of its {len(request.items)} items are needed"
                answers[at] = messages.refused(f"open: {len(parts[at])} parts, {wanted}")
                continue
            tx_ids = [tx_id for tx_id, _ in request.items]
            receipts = self._ledger.receipts(tx_ids)
            asked = zip(tx_ids, receipts, parts[at][1:], strict=True)
            answers[at] = messages.message("shares", [_share(node, *one) for one in asked])

    # --- bodies and the ledger ---------------------------------------------------------------------------------------

    def _body(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, _, message in items:
            digest = b"".join(message.parts[:1])[:32]
            body = self._bodies.get(digest)
            answers[at] = messages.refused("no such batch was voted on here") if body is None else body

    def _announce(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, _, _ in items:
            answers[at] = messages.message("tip", [messages.integer(self._ledger.tip.height)])

    def _append(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        with self._voting:
            for at, _, message in items:
                try:
                    self._judge.learn(message.parts)
                    answers[at] = messages.message("tip", [messages.integer(self._ledger.tip.height)])
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))


def _filter_of(node: Node) -> bytes:
    """What a node answers to those who ask for its inventory."""
    try:
        summary = node.holder.inventory.summary()
    except UnavailableError as error:
        return messages.refused(messages.reason(error))
    return messages.message("filter", [] if summary is None else [summary])


def _share(node: Node, tx_id: bytes, receipt: records.Receipt | None, capsule: bytes) -> bytes:
    """A delegate's decryption share, or why there is none. The label is that of what is committed; nobody names it."""
    try:
        if receipt is None:
            raise ProtocolError(f"transaction {tx_id.hex()} is not committed here: it is not opened before it is")
        return node.keeper.decrypt_share(capsule, receipt.manifest.opening_label(capsule))
    except CityChainError as error:
        return messages.refused(messages.reason(error))


def _party(node: Node) -> Party:
    if node.voter is None:
        raise ProtocolError("this node is no delegate, or its journal is damaged")
    if isinstance(node.voter, Voter):
        raise ProtocolError("this city commits through another engine")
    return node.voter
