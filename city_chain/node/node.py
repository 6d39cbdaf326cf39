"""A node: an identity with a place, a space of its own and roles. It holds fragments, and votes if it is a delegate."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import (
    CityChainError,
    InputError,
    ProtocolError,
    StorageError,
    UnavailableError,
    VerificationError,
)
from city_chain.node.agreeing import Party
from city_chain.node.bounds import Bounds
from city_chain.node.engines import ENGINES
from city_chain.node.holder import Holder
from city_chain.node.keeper import Keeper
from city_chain.node.ledger import Ledger
from city_chain.node.placed import Placed
from city_chain.node.validator import evidence_in
from city_chain.node.voter import Voter
from city_chain.ports import Clock, Presence, PresenceEntry, Storage
from city_chain.proofs import poh
from city_chain.stages import messages

__all__ = ["NODE_WEIGHT", "OWN_DRIFT_MAX_MS", "Node"]

_log = logging.getLogger("city_chain")

NODE_WEIGHT = 1 << 16
"""The weight of every node of a city in its candidate lists."""

OWN_DRIFT_MAX_MS = (1 << 48) - 1
"""One's own stamps go on wherever the physical clock is set; it is the stamps of others that are held against it."""


class Node:
    """One node.

    Args:
        identity: Its keys; their id is the node's.
        space: The prefix of the node's own rows, distinct for each node of a storage.
        storage: The node's own space: what is under `space`.
        ledger: What is committed.
        clock: Physical and monotonic time.
        domain: Its failure domain (a district).
        address: Where it answers.
        stake: Its stake.
        bounds: What its stamps stay under; without it the node keeps a bound in its own space.
        suite: Of which suite the KEM key is that its record shows.
        engine: The commit engine in which it takes part if it is a delegate, one of `ENGINES`.
        place: Where it is: municipality, latitude and longitude in 1e-7 degrees; None if it claims no place.

    Example:
        A node is made by a city: see `city_chain.City.local`.
    """

    def __init__(
        self,
        identity: records.Identity,
        space: bytes,
        storage: Storage,
        ledger: Ledger,
        clock: Clock,
        *,
        domain: str,
        address: str,
        engine: str,
        stake: int = 1,
        bounds: Bounds | None = None,
        suite: str = "x-wing",
        place: tuple[str, int, int] | None = None,
    ) -> None:
        self.id = identity.id
        self.space = space
        self.domain = domain
        self.address = address
        self.stake = stake
        self.holder = Holder(identity, storage, lambda: ledger.tip.digest)
        self.is_delegate = ledger.epoch.validators.position(identity.id) is not None
        self.keeper = Keeper(identity, storage)
        self.voter = self._make_voter(identity, storage, ledger, engine)
        self._identity = identity
        self.place = Placed(identity, ledger.epoch, place, self.stamp)
        self._suite = suite
        self._ledger = ledger
        self._record: bytes | None = None
        self.observes_until: int | None = None
        self._network = ledger.epoch.network
        self._storage = storage
        self._clock = clock
        self._hlc = (bounds or Bounds(storage, clock, ledger.tip.hlc)).hlc(OWN_DRIFT_MAX_MS)
        self._lock = threading.Lock()

    def _make_voter(
        self, identity: records.Identity, storage: Storage, ledger: Ledger, engine: str
    ) -> Voter | Party | None:
        """The voting half of a delegate. One whose journal is damaged might contradict itself: it does not vote."""
        if not self.is_delegate:
            return None
        try:
            return ENGINES[engine].voter(identity, storage, ledger, self.keeper)
        except InputError as error:
            _log.error("delegate %s does not vote: its journal is damaged: %s", identity.id.hex()[:16], error)
            return None

    def observe(self, until: int) -> None:
        """Votes for nothing from now on, as long as this object lasts: it may have forgotten what it voted for.

        Args:
            until: The last epoch in which the node does so.
        """
        self.voter = None
        self.observes_until = until

    @property
    def has_logged_in(self) -> bool:
        """Whether it has, since it was made."""
        return self._record is not None

    @property
    def record(self) -> bytes:
        """The signed record that it logged in with last.

        Raises:
            UnavailableError: It has not logged in since it was made.
        """
        if self._record is None:
            raise UnavailableError("this node has not logged in", 1, 0)
        return self._record

    def evidence(self) -> list[tuple[int, bytes]]:
        """What it keeps of delegates that signed two things that exclude each other: (number of the epoch, bytes)."""
        return evidence_in(self._storage)

    def stamp(self) -> int:
        """The node's next stamp."""
        return self._hlc.now()

    def attest(self, statement: bytes) -> bytes:
        """Signs what its city ruled about a transaction of several cities, once the ledger has committed it.

        Raises:
            InputError: It is no statement.
        """
        return sc.Statement.from_bytes(statement).sign(self._identity)

    def hand_over(self, handover: bytes) -> bytes:
        """Signs what its city hands over to others, once the ledger has committed the boundary.

        Raises:
            InputError: It is no handover.
        """
        return sc.sign_handover(handover, self._identity)

    def countersign(self, request: records.RepairRequest, parts: Sequence[bytes]) -> bytes:
        """Answers a message ``countersign`` (see `stages.messages`).

        Args:
            request: Which fragments are asked about.
            parts: What follows it in the message.

        Raises:
            ProtocolError: The acks are not as many as the fragments.
            UnavailableError: The node has not logged in.
        """
        if len(parts) != 1 + len(request.items):
            raise ProtocolError(f"countersign: {len(parts)} parts after the request for {len(request.items)} fragments")
        if self._record is None:
            raise UnavailableError("countersign: this node has not logged in", 1, 0)
        makers: list[Callable[[], records.Countersignature]] = []
        for (tx_id, index), part in zip(request.items, parts[1:], strict=True):
            makers.append(partial(self._countersign_ack, tx_id, index, part))
        if parts[0]:
            makers.append(partial(self._countersign_batch, parts[0]))
        found = [self._record]
        for make in makers:
            try:
                found.append(make().to_bytes())
            except CityChainError as error:
                found.append(messages.refused(messages.reason(error)))
        return messages.message("countersigned", found)

    def _countersign_ack(self, tx_id: bytes, index: int, part: bytes) -> records.Countersignature:
        ack = poh.Ack.from_bytes(part)
        if ack.tx_id != tx_id or ack.network != self._network:
            raise VerificationError(f"ack: of transaction {ack.tx_id.hex()}, not of {tx_id.hex()}")
        return self.holder.countersign(index, ack)

    def _countersign_batch(self, height: bytes) -> records.Countersignature:
        if not self.is_delegate:
            raise ProtocolError("countersign: this node is no delegate")
        committed = self._ledger.batch(messages.integer_of(height))
        if committed is None:
            raise UnavailableError(f"countersign: no batch is committed at height {messages.integer_of(height)}", 1, 0)
        return records.Countersignature.of_batch(self._identity, self._network, committed.batch.header.digest)

    @staticmethod
    def log_in(nodes: Sequence[Node], storage: Storage, presence: Presence, region: str, ttl_s: float) -> list[float]:
        """Puts nodes on the region's list, with signed records and sequences higher than any before.

        The sequences of all nodes are durable, by one write, before the first record is shown to anybody.

        Args:
            nodes: Who logs in.
            storage: What the nodes' spaces are part of.
            presence: The list.
            region: The region.
            ttl_s: The lease asked for, seconds.

        Returns:
            The leases granted, seconds.
        """
        with ExitStack() as locks:
            for node in sorted(nodes, key=lambda node: node.id):
                locks.enter_context(node._lock)
            sequences = [max(node._last_sequence() + 1, node._clock.now_ms()) for node in nodes]
            rows = {node.space + b"n": of.to_bytes(8, "big") for node, of in zip(nodes, sequences, strict=True)}
            if rows:
                storage.put_many(rows)
            return [
                node._register(presence, region, ttl_s, sequence)
                for node, sequence in zip(nodes, sequences, strict=True)
            ]

    def _register(self, presence: Presence, region: str, ttl_s: float, sequence: int) -> float:
        record = records.NodeRecord(
            self._identity,
            network=self._network,
            region=region,
            domain=self.domain,
            address=self.address,
            roles=records.HOLDER | (records.VALIDATOR if self.stake else 0),
            weight=NODE_WEIGHT,
            stake=self.stake,
            sequence=sequence,
            hlc=self._hlc.next(),
            suite=self._suite,
            place=self.place.attestation,
        )
        self._record = record.to_bytes()
        entry = PresenceEntry(self.id, region, sequence, self._record)
        return presence.register(self._clock.monotonic(), entry, ttl=ttl_s)[1]

    def _last_sequence(self) -> int:
        (row,) = self._storage.get_many([b"n"])
        if row is None:
            return 0
        sequence = int.from_bytes(row, "big")
        if len(row) != 8 or sequence >> 63:
            raise StorageError(f"node {self.id.hex()[:16]}: its last sequence cannot be read; the row is damaged")
        return sequence
