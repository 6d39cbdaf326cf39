"""What a process that hosts some of a city's nodes answers to the city it belongs to.

=============  ====================================  ==================================================================
kind           parts                                 answer
=============  ====================================  ==================================================================
``meet``       the city's epoch, and anything more   ``met``: node record, recipient, height of the ledger, digest of
               to have it count                      the city's keys or nothing, fragments held or 0, whether it votes,
                                                     epoch
``lists``      candidate list, …                     ``done``
``keys``       the city's certified threshold keys   ``done``
``epoch``      the handover to the next epoch        ``done``
=============  ====================================  ==================================================================

Whoever reaches the process may say these. A list is taken if all on it are nodes of the city as the process was told
of them when it was set up; keys if a quorum of the delegates certify them. So a liar can at most leave nodes out of a
list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, VerificationError
from city_chain.node.ledger import Ledger
from city_chain.node.node import NODE_WEIGHT, Node
from city_chain.node.roster import Roster
from city_chain.stages import messages

__all__ = ["Joining", "Met"]

_LISTS_MAX = 256

type _Item = tuple[int, Node, records.Message]


class Met:
    """What a node says of itself when it is met, read and checked.

    Args:
        parts: The parts of its answer.
        network: The city's network.

    Raises:
        CityChainError: A record is damaged, forged, or of another network; or the records are of two nodes.

    Example:
        See `city_chain.levels.elsewhere`, which meets nodes.
    """

    def __init__(self, parts: Sequence[bytes], network: bytes) -> None:
        if len(parts) != 7:
            raise ProtocolError(f"met: {len(parts)} parts, 7 are needed")
        self.record = records.NodeRecord.from_bytes(parts[0])
        self.recipient = records.Recipient.from_bytes(parts[1])
        self.height = messages.integer_of(parts[2])
        self.keys = parts[3]
        self.fragments = messages.integer_of(parts[4])
        self.votes = messages.integer_of(parts[5]) != 0
        self.epoch = messages.integer_of(parts[6])
        if (self.record.network, self.recipient.network) != (network, network):
            raise VerificationError("met: a node of another network")
        if self.record.node != self.recipient.node:
            raise VerificationError("met: its records are of two nodes")
        self.record.verify()
        self.recipient.verify()


class Joining:
    """Answers for the nodes of a process.

    Args:
        ledger: What is committed here.
        roster: Keeps candidate lists.
        roll: All nodes of the city, each with its failure domain.
        use: Keeps the city's keys and has the nodes work under them.
        follow: Keeps the handover to the next epoch; raises if it is not certified.
        met: Is told in which epoch the city is.
    """

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        roll: Mapping[bytes, str],
        use: Callable[[records.CityKeys], None],
        follow: Callable[[records.Handover], None],
        met: Callable[[int], None],
    ) -> None:
        self._ledger = ledger
        self._roster = roster
        self._roll = roll
        self._use = use
        self._follow = follow
        self._met = met

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {
            "meet": self._each(self._meet),
            "lists": self._each(self._lists),
            "keys": self._each(self._keys),
            "epoch": self._each(self._epoch),
        }

    def _each(self, answer: Callable[[Node, Sequence[bytes]], bytes]) -> Callable[[Sequence[_Item], list[bytes]], None]:
        def whole(items: Sequence[_Item], answers: list[bytes]) -> None:
            for at, node, message in items:
                try:
                    answers[at] = answer(node, message.parts)
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))

        return whole

    def _meet(self, node: Node, asked: Sequence[bytes]) -> bytes:
        if not asked:
            raise ProtocolError("meet: the city's epoch is needed")
        self._met(messages.integer_of(asked[0]))
        keys = node.keeper.keys
        parts = [
            node.record,
            node.keeper.recipient(self._ledger.epoch.network).to_bytes(),
            messages.integer(self._ledger.tip.height),
            b"" if keys is None else keys.digest,
            messages.integer(node.holder.count() if asked[1:] else 0),  # to count is work
            messages.integer(int(node.voter is not None)),
            messages.integer(self._ledger.epoch.number),
        ]
        return messages.message("met", parts)

    def _lists(self, _: Node, parts: Sequence[bytes]) -> bytes:
        if len(parts) > _LISTS_MAX:
            raise ProtocolError(f"lists: {len(parts)} at once, at most {_LISTS_MAX} are taken")
        found = [records.Candidates.from_bytes(part) for part in parts]
        for candidates in found:
            self._check(candidates)
        for candidates in found:
            self._roster.learn(candidates)
        return messages.message("done")

    def _check(self, candidates: records.Candidates) -> None:
        for node, weight, domain in candidates.items:
            if self._roll.get(node) != domain or weight != NODE_WEIGHT:
                raise VerificationError(f"lists: {node.hex()[:16]} is no such node of this city")

    def _keys(self, _: Node, parts: Sequence[bytes]) -> bytes:
        if len(parts) != 1:
            raise ProtocolError(f"keys: {len(parts)} parts, 1 is needed")
        keys = records.CityKeys.from_bytes(parts[0])
        keys.verify(self._ledger.epoch)
        try:
            self._use(keys)
        except InputError as error:
            raise ProtocolError(str(error)) from error
        return messages.message("done")

    def _epoch(self, _: Node, parts: Sequence[bytes]) -> bytes:
        if len(parts) != 1:
            raise ProtocolError(f"epoch: {len(parts)} parts, 1 is needed")
        handover = records.Handover.from_bytes(parts[0])
        if handover.election.next.number != self._ledger.epoch.number + 1:
            raise ProtocolError(f"epoch: {handover.election.next.number}, {self._ledger.epoch.number} is in force here")
        self._follow(handover)
        return messages.message("done")
