"""Attesting: delegates sign what their city ruled about transactions of several cities.

A ruling is a line of the city's ledger. A delegate signs its statement once the ledger has committed it, and for
whoever asks: what is signed is public, and a quorum of the signatures is the certificate that other cities act upon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError, UnavailableError
from city_chain.node.judge import Judge
from city_chain.node.ledger import Ledger
from city_chain.node.node import Node
from city_chain.stages import messages

__all__ = ["Attesting"]

type _Item = tuple[int, Node, records.Message]


class Attesting:
    """Answers ``attest`` for some nodes.

    Args:
        ledger: What is committed.
        judge: Has the shard, once the city is in a world.
    """

    def __init__(self, ledger: Ledger, judge: Judge) -> None:
        self._ledger = ledger
        self._judge = judge

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {"attest": self._attest}

    def _attest(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, message in items:
            try:
                if [len(part) for part in message.parts] != [32, 32]:
                    raise ProtocolError("attest: a subject and a digest, 32 bytes each, are needed")
                subject, digest = message.parts
                if self._judge.shard is None:
                    raise ProtocolError("attest: this city is in no world")
                ruling = next((made for made in self._ledger.rulings(subject) if made.digest == digest), None)
                if ruling is None:
                    raise UnavailableError(f"attest: no such ruling about {subject.hex()} is committed here", 1, 0)
                handover = self._judge.shard.handover(ruling)
                signed = node.attest(ruling.statement) if handover is None else node.hand_over(handover)
                answers[at] = messages.message("attested", [signed])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))
