"""R4 open: the second half of R4: a restored transaction's payload as it was before it was sealed.

What is sealed to a reader opens with that reader's key, here. What is sealed to the city opens with the decryption
shares of its delegates: all of them are asked at once, and as soon as a threshold has answered the shares are put
together. Wrong shares are found out only if that fails; then each is checked for itself, and the wrong ones are left
out and named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from city_chain import records
from city_chain.algorithms.tes import kem
from city_chain.composer import stage
from city_chain.errors import CityChainError, DeadlineError, InputError, UnavailableError
from city_chain.ports import Request, Response, Transport
from city_chain.stages import messages
from city_chain.stages.model import Keys, Members, Restored, Sender
from city_chain.stages.patience import PATIENCE_MAX_S

__all__ = ["r4_open"]

_CAPSULES_MAX = 64
"""Capsules in one message: a delegate needs about 0.2 ms for each."""

_SHOWN_MAX = 5


@dataclass(slots=True)
class _Opening:
    """One payload that is sealed to the city, and what came of asking for its shares."""

    at: int
    tx_id: bytes
    sealed: records.Sealed
    capsule: bytes
    shares: dict[bytes, bytes] = field(default_factory=dict)
    refusals: dict[bytes, str] = field(default_factory=dict)
    each: bool = False  # a wrong share was met: from now on every share is checked when it comes
    outcome: bytes | CityChainError | None = None


@dataclass(frozen=True, slots=True)
class _Flight:
    node: bytes
    cargo: Sequence[_Opening]


@stage(
    inputs=("restored", "sender", "members", "transport", "keys", "reader", "deadline"),
    output="payloads",
    budget_ms=80,
)
def r4_open(
    restored: Sequence[Restored],
    sender: Sender,
    members: Members,
    transport: Transport,
    keys: Keys | None,
    reader: kem.SecretKey | None,
    deadline: float,
) -> list[bytes | CityChainError]:
    """Opens every payload that is sealed.

    Args:
        restored: The transactions (R4).
        sender: Who asks for shares.
        members: Where the delegates are.
        transport: Carries the messages.
        keys: The city's public keys.
        reader: The key of a reader, for what is sealed to readers.
        deadline: When to give up, on the sender's monotonic clock.

    Returns:
        One outcome each: the payload, or why it could not be restored or opened.
    """
    outcomes: list[bytes | CityChainError] = []
    openings: list[_Opening] = []
    for at, result in enumerate(restored):
        try:
            opened = _opened(at, result, reader)
        except CityChainError as error:
            opened = error
        if isinstance(opened, _Opening):
            openings.append(opened)
            opened = UnavailableError("its shares were not asked for", 1, 0)
        outcomes.append(opened)
    if openings:
        _Shares(openings, sender, members, transport, keys, deadline).run()
    for opening in openings:
        if opening.outcome is not None:
            outcomes[opening.at] = opening.outcome
    return outcomes


def _opened(at: int, result: Restored, reader: kem.SecretKey | None) -> bytes | CityChainError | _Opening:
    """The payload where it is there without the city's help."""
    transaction, manifest = result.transaction, result.placement.manifest
    if transaction is None:
        return result.error or UnavailableError("it was not restored", 1, 0)
    sealed = records.Sealed.of_committed(manifest, transaction)
    if sealed is None:
        return transaction.payload
    if sealed.capsule is not None:
        return _Opening(at, manifest.tx_id, sealed, sealed.capsule)
    if reader is None:
        named = "; ".join(reader.hex() for reader in sealed.readers)
        raise InputError(
            f"transaction {manifest.tx_id.hex()} is sealed to readers, and opens with the key of one of these: {named}"
        )
    return sealed.open(reader)


class _Shares:
    """Gathers decryption shares for some openings; the outcome is filled in."""

    def __init__(
        self,
        openings: Sequence[_Opening],
        sender: Sender,
        members: Members,
        transport: Transport,
        keys: Keys | None,
        deadline: float,
    ) -> None:
        self._openings = openings
        self._sender = sender
        self._members = members
        self._keys = keys
        self._deadline = min(deadline, sender.clock.monotonic() + PATIENCE_MAX_S)
        self._gather = transport.gather([], self._deadline)
        self._flights: dict[int, _Flight] = {}

    def run(self) -> None:
        """Asks all delegates at once and returns when every payload is open, or no more answers can come."""
        keys = self._keys
        if keys is None:
            for opening in self._openings:
                opening.outcome = UnavailableError("the city has no keys yet: needed 1, had 0", 1, 0)
            return
        self._ask(keys)
        while self._gather.pending and any(opening.outcome is None for opening in self._openings):
            if self._sender.clock.monotonic() >= self._deadline:
                break
            for response in self._gather.take(self._deadline):
                self._receive(response, keys)
                break
            for response in self._gather.take(0.0):
                self._receive(response, keys)
            for opening in self._openings:
                _combine(opening, keys)
        for flight in self._flights.values():
            for opening in flight.cargo:
                opening.refusals.setdefault(flight.node, "silent")
        for opening in self._openings:
            if opening.outcome is None:
                opening.outcome = _too_few(opening, keys)

    def _ask(self, keys: Keys) -> None:
        sender = self._sender
        left = max(self._deadline - sender.clock.monotonic(), 0.0)
        deadline_ms = sender.clock.now_ms() + math.ceil(left * 1000)
        runs = messages.split([(len(of.capsule), of) for of in self._openings], count_max=_CAPSULES_MAX)
        outgoing, flights = [], []
        for node in keys.delegates:
            address = self._members.addresses.get(node)
            if address is None:
                for opening in self._openings:
                    opening.refusals[node] = "not logged in"
                continue
            for run in runs:
                request = records.RepairRequest(
                    sender.identity,
                    network=self._members.epoch.network,
                    node=node,
                    hlc=sender.stamp(),
                    deadline_ms=deadline_ms,
                    items=[(opening.tx_id, 0) for opening in run],
                )
                parts = [request.to_bytes(), *(opening.capsule for opening in run)]
                outgoing.append(Request(address, messages.message("open", parts)))
                flights.append(_Flight(node, run))
        if outgoing:
            first = self._gather.send(outgoing)
            self._flights = dict(enumerate(flights, first))

    def _receive(self, response: Response, keys: Keys) -> None:
        flight = self._flights.pop(response.ticket)
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            parts = messages.answer(response.body, "shares", len(flight.cargo))
        except (CityChainError, OSError) as error:
            for opening in flight.cargo:
                opening.refusals[flight.node] = messages.reason(error)
            return
        for opening, part in zip(flight.cargo, parts, strict=True):
            if opening.outcome is None:
                _take(opening, flight.node, part, keys)


def _take(opening: _Opening, node: bytes, part: bytes, keys: Keys) -> None:
    """Takes one part of an answer: a share, or why there is none."""
    reason = messages.reason_of(part)
    if reason is None and part[:2] != (keys.delegates.index(node) + 1).to_bytes(2, "little"):
        reason = "the share is not this delegate's"
    if reason is None and opening.each:
        (verdict,) = _verdicts(opening, [part], keys)
        reason = None if verdict is None else str(verdict)
    if reason is None:
        opening.shares[node] = part
    else:
        opening.refusals[node] = reason


def _combine(opening: _Opening, keys: Keys) -> None:
    """Puts the shares together while they are a threshold; where that fails, leaves out those that are wrong."""
    while opening.outcome is None and len(opening.shares) >= keys.threshold:
        shares = list(opening.shares.values())
        try:
            opening.outcome = opening.sealed.combine(
                keys.encryption_key, threshold=keys.threshold, public_shares=keys.encryption_shares, shares=shares
            )
        except CityChainError as error:
            verdicts = _verdicts(opening, shares, keys)
            wrong = {node: str(why) for node, why in zip(opening.shares, verdicts, strict=True) if why is not None}
            if not wrong:
                opening.outcome = error  # what right shares do not open is not what was sealed
            for node, why in wrong.items():
                del opening.shares[node]
                opening.refusals[node] = why
            opening.each = True


def _verdicts(opening: _Opening, shares: Sequence[bytes], keys: Keys) -> Sequence[CityChainError | None]:
    try:
        return opening.sealed.verify_shares(keys.encryption_key, public_shares=keys.encryption_shares, shares=shares)
    except CityChainError:  # the capsule itself is wrong: no share is to blame
        return [None] * len(shares)


def _too_few(opening: _Opening, keys: Keys) -> CityChainError:
    reasons = [f"{node.hex()[:8]}: {why}" for node, why in opening.refusals.items()]
    more = f" and {len(reasons) - _SHOWN_MAX} more" if len(reasons) > _SHOWN_MAX else ""
    return UnavailableError(
        f"decryption shares of transaction {opening.tx_id.hex()}: needed {keys.threshold}, "
        f"had {len(opening.shares)} ({'; '.join(reasons[:_SHOWN_MAX])}{more})",
        keys.threshold,
        len(opening.shares),
    )
