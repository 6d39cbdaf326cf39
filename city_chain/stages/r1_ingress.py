"""R1 ingress: what comes in from outside is bounded, parsed and authenticated before any work is done for it.

`Ingress` stands at a node's door: a bounded number of bodies and bytes is let in at once (what is over is refused as
busy, at no cost), every peer has a share of them, malformed bodies and unknown or forged peers are refused.
`r1_ingress` is the same door for a receiver inside the city: it admits transaction ids and looks up where the fragments
are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from city_chain import records
from city_chain.composer import stage
from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError, VerificationError
from city_chain.ports import Clock
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.model import Placement

__all__ = ["Archive", "Ingress", "Limits", "r1_ingress"]

_SKEW_MAX_MS = 5_000


class Archive(Protocol):
    """Where committed transactions are looked up."""

    def placements(self, tx_ids: Sequence[bytes]) -> Sequence[Placement | None]:
        """Where the fragments of each transaction are; None if it is not committed here."""
        ...


@stage(inputs=("wanted", "archive"), output="placements", budget_ms=80)
def r1_ingress(wanted: Sequence[bytes], archive: Archive) -> list[Placement]:
    """Admits transaction ids and looks up their placements.

    Args:
        wanted: Transaction ids, 32 bytes each.
        archive: Where committed transactions are looked up.

    Returns:
        One placement each.

    Raises:
        InputError: An id has not 32 bytes, or no transaction of that id is committed.
    """
    for tx_id in wanted:
        if len(tx_id) != 32:
            raise InputError(f"R1: a transaction id of {len(tx_id)} bytes, exactly 32 are needed")
    placements = []
    for tx_id, placement in zip(wanted, archive.placements(wanted), strict=True):
        if placement is None:
            raise InputError(f"R1: no transaction {tx_id.hex()} is committed here")
        placements.append(placement)
    return placements


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node lets in at once.

    Args:
        bodies_max: Messages under work.
        bytes_max: Bytes of them.
        peer_bytes_max: Bytes of any one peer.
    """

    bodies_max: int = 4096
    bytes_max: int = 1 << 30
    peer_bytes_max: int = 512 << 20


class Ingress:
    """A node's door.

    Args:
        network: The network whose requests are let in.
        authorised: Whether a key may ask anything at all.
        clock: Tells whether a request is still of use.
        limits: What is let in at once.
    """

    def __init__(
        self, network: bytes, authorised: Callable[[bytes], bool], clock: Clock, limits: Limits | None = None
    ) -> None:
        self._network = network
        self._authorised = authorised
        self._clock = clock
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._bodies = 0
        self._bytes = 0
        self._peers: dict[bytes, int] = {}

    @contextmanager
    def admit(self, bodies: Sequence[bytes]) -> Iterator[list[records.Message | CityChainError]]:
        """Lets bodies in for as long as the context lasts; each is a parsed message or why it is refused."""
        let_in = [False] * len(bodies)
        with self._lock:
            for at, body in enumerate(bodies):
                if self._bodies < self._limits.bodies_max and self._bytes + len(body) <= self._limits.bytes_max:
                    let_in[at] = True
                    self._bodies += 1
                    self._bytes += len(body)
        try:
            # One body to many nodes is one object, which is read once.
            once = {id(body): body for body, inside in zip(bodies, let_in, strict=True) if inside}
            read = {key: _parsed(body) for key, body in once.items()}
            yield [read[id(body)] if inside else _busy() for body, inside in zip(bodies, let_in, strict=True)]
        finally:
            with self._lock:
                self._bodies -= sum(let_in)
                self._bytes -= sum(len(body) for body, inside in zip(bodies, let_in, strict=True) if inside)

    @contextmanager
    def admit_holds(
        self, requests: Sequence[poh.HoldRequest], sizes: Sequence[int]
    ) -> Iterator[list[CityChainError | None]]:
        """Authenticates hold requests, all signatures in one batch; one verdict each.

        Args:
            requests: What is asked.
            sizes: Bytes of the fragment that comes with each.
        """
        terms = records.hold_terms(requests)
        verdicts: list[CityChainError | None] = [None] * len(requests)
        for network, sender, deadline_ms, hold_until_ms, places in terms:
            refusal = self._refusal(network, sender, deadline_ms)
            if refusal is None and hold_until_ms <= self._clock.now_ms():
                refusal = ProtocolError("hold request: it asks to hold until a time that has passed")
            for at in places if refusal is not None else ():
                verdicts[at] = refusal
        _merge(verdicts, requests, poh.verify_requests)
        taken = self._take(terms, sizes, verdicts)
        try:
            yield verdicts
        finally:
            with self._lock:
                for peer, size in taken.items():
                    self._peers[peer] -= size
                    if not self._peers[peer]:
                        del self._peers[peer]

    def _take(
        self,
        terms: Sequence[tuple[bytes, bytes, int, int, list[int]]],
        sizes: Sequence[int],
        verdicts: list[CityChainError | None],
    ) -> Mapping[bytes, int]:
        """The bytes of each sender that are under work from now on; what is too much for one is refused here."""
        taken: dict[bytes, int] = {}
        with self._lock:
            for _, sender, _, _, places in terms:
                used = self._peers.get(sender, 0) + taken.get(sender, 0)
                for at in places:
                    if verdicts[at] is None and used + sizes[at] > self._limits.peer_bytes_max:
                        verdicts[at] = UnavailableError("busy: this sender has too much under work here", 1, 0)
                    elif verdicts[at] is None:
                        used += sizes[at]
                taken[sender] = used - self._peers.get(sender, 0)
            taken = {peer: size for peer, size in taken.items() if size}
            for peer, size in taken.items():
                self._peers[peer] = self._peers.get(peer, 0) + size
        return taken

    def admit_repairs(self, requests: Sequence[records.RepairRequest]) -> list[CityChainError | None]:
        """Authenticates repair requests, all signatures in one batch; one verdict each."""
        verdicts: list[CityChainError | None] = [
            self._refusal(request.network, request.requester, request.deadline_ms) for request in requests
        ]
        _merge(verdicts, requests, records.verify_repair_requests)
        return verdicts

    def _refusal(self, network: bytes, peer: bytes, deadline_ms: int) -> CityChainError | None:
        if network != self._network:
            return VerificationError(f"of network {network.hex()[:16]}, but this is {self._network.hex()[:16]}")
        if not self._authorised(peer):
            return VerificationError(f"{peer.hex()[:16]} may not ask here")
        if deadline_ms + _SKEW_MAX_MS < self._clock.now_ms():
            return ProtocolError("its deadline has passed")
        return None


def _busy() -> CityChainError:
    return UnavailableError("busy: too much is under work here", 1, 0)


def _parsed(body: bytes) -> records.Message | CityChainError:
    try:
        return messages.parse(body)
    except ProtocolError as error:
        return error


def _merge[T](
    verdicts: list[CityChainError | None],
    requests: Sequence[T],
    verify_many: Callable[[Sequence[T]], Sequence[CityChainError | None]],
) -> None:
    """Checks the signatures of those that are not refused yet."""
    if not any(verdicts):
        verdicts[:] = verify_many(requests)
        return
    open_ones = [at for at, verdict in enumerate(verdicts) if verdict is None]
    for at, verdict in zip(open_ones, verify_many([requests[at] for at in open_ones]), strict=True):
        verdicts[at] = verdict
