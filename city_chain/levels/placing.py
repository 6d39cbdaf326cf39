"""How a city learns where its nodes are: they are asked when it is opened, and again before that is too old."""

from __future__ import annotations

import math
from collections.abc import Sequence

from city_chain.levels.settings import Founding, node_identity
from city_chain.node import Node
from city_chain.node.grader import Grader
from city_chain.node.witnessing import attest
from city_chain.ports import Clock, Entropy, Transport
from city_chain.stages.model import Sender

__all__ = ["Placing", "grader_of"]

_ASK_S = 10.0
_AGAIN_MS = 10_000


def grader_of(founding: Founding, clock: Clock, entropy: Entropy) -> Grader | None:
    """Who grades places in a city; None where they do not count.

    Args:
        founding: What the city is.
        clock: Physical time.
        entropy: Where nonces come from.
    """
    if founding.places is None:
        return None
    rules = founding.places.rules(lambda index: node_identity(founding.master, index).id)
    network, number = founding.epoch.network, founding.epoch.number
    return Grader(rules, network, number, clock, entropy, founding.places.map)


class Placing:
    """Keeps the attestations of a city's own nodes fresh.

    Args:
        grader: Who grades; None where places do not count.
        transport: What carries the asking.
        clock: Time.
    """

    def __init__(self, grader: Grader | None, transport: Transport, clock: Clock) -> None:
        self._grader = grader
        self._transport = transport
        self._clock = clock
        self._due_ms = 0

    @property
    def due_s(self) -> float:
        """In how many seconds nodes are to be asked where they are."""
        return math.inf if self._grader is None else max(self._due_ms - self._clock.now_ms(), 0) / 1000

    def is_due(self) -> bool:
        """Whether nodes are to be asked where they are."""
        return self._grader is not None and self._clock.now_ms() >= self._due_ms

    def ask(self, nodes: Sequence[Node], sender: Sender) -> None:
        """Asks nodes where they are, and has witnesses testify; they show it with their next login.

        Args:
            nodes: Nodes that answer.
            sender: Who asks.
        """
        if self._grader is None:
            return
        addresses = {node.id: node.address for node in nodes if node.place.is_known}
        until = self._clock.monotonic() + _ASK_S
        found = attest(addresses, self._grader, sender, self._transport, until)
        for node in nodes:
            node.place.attestation = found.get(node.id)
        wait_ms = self._grader.rules.age_ms_max // 4
        if len(found) < len(addresses):  # one did not answer, or had no time that it was sure of
            wait_ms = min(wait_ms, _AGAIN_MS)
        self._due_ms = self._clock.now_ms() + wait_ms
