"""Places and their witnesses: nodes claim where they are, witnesses take the time of an echo, a verifier collects it.

===========  ========================================================  ==============================================
kind         parts                                                     answer
===========  ========================================================  ==============================================
``place``    repair request for no items, nonce                        ``placed``: the node's claim
``witness``  repair request for no items, claim, the subject's         ``witnessed``: the witness's testimony
             address
``echo``     claim, the witness's id, challenge                        ``echoed``: the subject's signature
===========  ========================================================  ==============================================

The first two are signed by who may ask here, so a stranger has nobody sign or ask anything. An echo is asked for by
another node: it is given for the newest claim only, and so many times at most.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError
from city_chain.node.grader import Grader
from city_chain.node.node import Node
from city_chain.ports import Clock, Request, Transport
from city_chain.stages import messages
from city_chain.stages.model import Sender

__all__ = ["TESTIMONIES_MAX", "Witnessing", "attest"]

TESTIMONIES_MAX = 16
"""Most witnesses that one claim is shown to."""

_ECHO_S = 2.0
_RTT_US_MAX = (1 << 32) - 1
_ADDRESS_BYTES_MAX = 256

type _Item = tuple[int, Node, records.Message]
type _Admit = Callable[[Sequence[_Item], list[bytes]], Sequence[tuple[int, Node, records.RepairRequest]]]


class Witnessing:
    """Answers ``place``, ``witness`` and ``echo`` for some nodes.

    Args:
        admit: Lets in what is signed by who may ask, and answers the rest.
        transport: What carries echoes; without it nobody is a witness here.
        clock: Whose monotonic time an echo is measured by.
        entropy: Where challenges come from.
    """

    def __init__(
        self, admit: _Admit, transport: Transport | None, clock: Clock, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._entropy = entropy
        self._admit = admit
        self._transport = transport
        self._clock = clock

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {"place": self._place, "witness": self._witness, "echo": self._echo}

    def _place(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        parts = {at: message.parts for at, _, message in items}
        for at, node, _ in self._admit(items, answers):
            try:
                if [len(part) for part in parts[at][1:]] != [32]:
                    raise ProtocolError("place: a request and a nonce of 32 bytes are needed")
                answers[at] = messages.message("placed", [node.place.claim(parts[at][1]).to_bytes()])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))

    def _witness(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        parts = {at: message.parts for at, _, message in items}
        for at, node, _ in self._admit(items, answers):
            try:
                if len(parts[at]) != 3 or len(parts[at][2]) > _ADDRESS_BYTES_MAX:
                    raise ProtocolError("witness: a request, a claim and an address are needed")
                claim = records.PlaceClaim.from_bytes(parts[at][1])
                address = parts[at][2].decode(errors="replace")
                answers[at] = messages.message("witnessed", [self._testimony(node, claim, address).to_bytes()])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))

    def _testimony(self, node: Node, claim: records.PlaceClaim, address: str) -> records.PlaceTestimony:
        if self._transport is None:
            raise UnavailableError("witness: nobody can be asked from here", 1, 0)
        node.place.check_claim(claim)
        challenge = self._entropy(32)
        body = messages.message("echo", [claim.to_bytes(), node.id, challenge])
        start = self._clock.monotonic()
        answer = self._transport.request(address, body, start + _ECHO_S)
        took_us = math.ceil((self._clock.monotonic() - start) * 1_000_000)
        (echo,) = messages.answer(answer, "echoed", 1)
        try:
            claim.verify_echo(node.id, challenge, echo)
        except InputError as error:
            raise ProtocolError(str(error)) from None
        return node.place.testify(claim, min(max(took_us, 1), _RTT_US_MAX))

    def _echo(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, message in items:
            try:
                if len(message.parts) != 3:
                    raise ProtocolError("echo: a claim, a witness and a challenge are needed")
                answers[at] = messages.message("echoed", [node.place.echo(*message.parts)])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))


def attest(
    addresses: Mapping[bytes, str], grader: Grader, sender: Sender, transport: Transport, deadline: float
) -> dict[bytes, records.PlaceAttestation]:
    """Has nodes claim their places, and those witnesses that are among them testify.

    Args:
        addresses: Where each node answers.
        grader: Gives the nonces, and names the witnesses.
        sender: Who asks.
        transport: What carries it.
        deadline: When to give up, on the monotonic clock; what was not answered by then is left out.

    Returns:
        An attestation of every node that claims a place; with the testimonies that came.
    """
    network = grader.network
    asked = {node: grader.nonce(node) for node in addresses}
    requests = [
        _request(sender, network, node, addresses[node], "place", [nonce], deadline) for node, nonce in asked.items()
    ]
    claims: dict[bytes, records.PlaceClaim] = {}
    for node, parts in zip(asked, _answers(transport, requests, "placed", deadline), strict=True):
        claim = _read(records.PlaceClaim, parts)
        if claim is not None and (claim.subject, claim.nonce) == (node, asked[node]):
            claims[node] = claim
    pairs = [(claim, witness) for claim in claims.values() for witness in _witnesses(grader, addresses, claim)]
    requests = [
        _request(
            sender,
            network,
            witness,
            addresses[witness],
            "witness",
            [claim.to_bytes(), addresses[claim.subject].encode()],
            deadline,
        )
        for claim, witness in pairs
    ]
    said: dict[bytes, list[records.PlaceTestimony]] = {node: [] for node in claims}
    for (claim, witness), parts in zip(pairs, _answers(transport, requests, "witnessed", deadline), strict=True):
        testimony = _read(records.PlaceTestimony, parts)
        if testimony is not None and testimony.witness == witness and _is_about(claim, testimony):
            said[claim.subject].append(testimony)
    return {node: records.PlaceAttestation(claim, said[node]) for node, claim in claims.items()}


def _is_about(claim: records.PlaceClaim, testimony: records.PlaceTestimony) -> bool:
    try:
        testimony.verify()
        records.PlaceAttestation(claim, [testimony])
    except CityChainError:
        return False
    return True


def _witnesses(grader: Grader, addresses: Mapping[bytes, str], claim: records.PlaceClaim) -> list[bytes]:
    """Whom a claim is shown to: witnesses of the same municipality first, then by their ids."""
    known = [
        (municipality != claim.municipality, node)
        for node, municipality, _, _ in grader.rules.witnesses
        if node in addresses and node != claim.subject
    ]
    return [node for _, node in sorted(known)[:TESTIMONIES_MAX]]


def _request(
    sender: Sender, network: bytes, node: bytes, address: str, kind: str, parts: Sequence[bytes], deadline: float
) -> Request:
    left_s = max(deadline - sender.clock.monotonic(), 0.0)
    request = records.RepairRequest(
        sender.identity,
        network=network,
        node=node,
        hlc=sender.stamp(),
        deadline_ms=sender.clock.now_ms() + math.ceil(min(left_s, 3600.0) * 1000),
        items=[],
    )
    return Request(address, messages.message(kind, [request.to_bytes(), *parts]))


def _answers(transport: Transport, requests: Sequence[Request], kind: str, deadline: float) -> list[list[bytes]]:
    """The parts of each answer, in the order of the requests; none where none of that kind came."""
    found: list[list[bytes]] = [[] for _ in requests]
    if not requests:
        return found
    for response in transport.gather(requests, deadline).take(deadline):
        try:
            found[response.ticket] = [] if response.body is None else messages.answer(response.body, kind, 1)
        except CityChainError:
            continue
    return found


def _read[T: (records.PlaceClaim, records.PlaceTestimony)](kind: type[T], parts: Sequence[bytes]) -> T | None:
    try:
        return kind.from_bytes(parts[0]) if parts else None
    except CityChainError:
        return None
