"""Testifying: delegates show the evidence that they keep of others that signed two things that exclude each other.

============  =======  ======================================================
kind          parts    answer
============  =======  ======================================================
``evidence``  nothing  ``evidence``: (number of the epoch, evidence)…, newest
                       epochs first, `PIECES_MAX` at most
============  =======  ======================================================

Evidence needs no trust: who is told it checks the two signatures in it (`guilty`). So anybody may ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import batched

from city_chain import records
from city_chain.algorithms import hs
from city_chain.errors import CityChainError, ProtocolError
from city_chain.node.ledger import Ledger
from city_chain.node.node import Node
from city_chain.stages import messages

__all__ = ["PIECES_MAX", "Testifying", "guilty", "pieces_of"]

PIECES_MAX = 256
"""The most pieces of evidence in one answer."""

type _Item = tuple[int, Node, records.Message]


def guilty(pieces: Iterable[tuple[int, bytes]], ledger: Ledger) -> dict[tuple[int, bytes], bytes]:
    """What evidence proves: by epoch and node, the first piece that is right.

    Args:
        pieces: Numbers of epochs, and evidence of them. What is wrong, or of an epoch that never was, is left out.
        ledger: Has the epochs.

    Example:
        >>> from types import SimpleNamespace
        >>> epoch = SimpleNamespace(network=bytes(32), validators=SimpleNamespace(items=[(bytes(32), 1)]))
        >>> guilty([(0, b"forged")], SimpleNamespace(epoch_of=lambda number: epoch))
        {}
    """
    found: dict[tuple[int, bytes], bytes] = {}
    for number, evidence in pieces:
        try:
            epoch = ledger.epoch_of(number)
            members = epoch.validators.items
            place = hs.verify_evidence(evidence, members, epoch.network, number)
        except CityChainError:
            continue
        found.setdefault((number, members[place][0]), evidence)
    return found


def pieces_of(parts: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """The numbers of epochs and the evidence in the parts of an answer; nothing of it is checked yet.

    Raises:
        ProtocolError: They are not pairs, or more than there may be.

    Example:
        >>> pieces_of([messages.integer(3), b"evidence"])
        [(3, b'evidence')]
    """
    if len(parts) % 2 or len(parts) > 2 * PIECES_MAX:
        raise ProtocolError(f"evidence: {len(parts)} parts, pairs are needed, at most {PIECES_MAX}")
    return [(messages.integer_of(number), evidence) for number, evidence in batched(parts, 2)]


class Testifying:
    """Answers ``evidence`` for some nodes."""

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {"evidence": self._evidence}

    def _evidence(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        said: dict[bytes, bytes] = {}  # once for a burst
        for at, node, _ in items:
            if node.id not in said:
                newest = sorted(node.evidence(), reverse=True)[:PIECES_MAX]
                parts = [part for number, evidence in newest for part in (messages.integer(number), evidence)]
                said[node.id] = messages.message("evidence", parts)
            answers[at] = said[node.id]
