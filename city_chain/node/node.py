"""A node: an identity with a place, a space of its own and roles. It holds fragments, and votes if it is a delegate."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from city_chain import records
from city_chain.errors import InputError, StorageError
from city_chain.node.bounds import Bounds
from city_chain.node.holder import Holder
from city_chain.node.ledger import Ledger
from city_chain.node.voter import Voter
from city_chain.ports import Clock, Presence, PresenceEntry, Storage

__all__ = ["OWN_DRIFT_MAX_MS", "Node"]

_log = logging.getLogger("city_chain")

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
        stake: int = 1,
        bounds: Bounds | None = None,
    ) -> None:
        self.id = identity.id
        self.space = space
        self.domain = domain
        self.address = address
        self.stake = stake
        self.holder = Holder(identity, storage, lambda: ledger.tip.digest)
        self.is_delegate = ledger.epoch.validators.position(identity.id) is not None
        self.voter = self._make_voter(identity, storage, ledger)
        self._identity = identity
        self._network = ledger.epoch.network
        self._storage = storage
        self._clock = clock
        self._hlc = (bounds or Bounds(storage, clock, ledger.tip.hlc)).hlc(OWN_DRIFT_MAX_MS)
        self._lock = threading.Lock()

    def _make_voter(self, identity: records.Identity, storage: Storage, ledger: Ledger) -> Voter | None:
        """The voting half of a delegate. One whose journal is damaged might contradict itself: it does not vote."""
        if not self.is_delegate:
            return None
        try:
            return Voter(identity, storage, ledger)
        except InputError as error:
            _log.error("delegate %s does not vote: its journal is damaged: %s", identity.id.hex()[:16], error)
            return None

    def stamp(self) -> int:
        """The node's next stamp."""
        return self._hlc.now()

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
            weight=1 << 16,
            stake=self.stake,
            sequence=sequence,
            hlc=self.stamp(),
        )
        entry = PresenceEntry(self.id, region, sequence, record.to_bytes())
        return presence.register(self._clock.monotonic(), entry, ttl=ttl_s)[1]

    def _last_sequence(self) -> int:
        (row,) = self._storage.get_many([b"n"])
        if row is None:
            return 0
        sequence = int.from_bytes(row, "big")
        if len(row) != 8 or sequence >> 63:
            raise StorageError(f"node {self.id.hex()[:16]}: its last sequence cannot be read; the row is damaged")
        return sequence
