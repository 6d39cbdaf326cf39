"""What a process that hosts some of a city's nodes answers to the city it belongs to.

=============  ====================================  ==================================================================
kind           parts                                 answer
=============  ====================================  ==================================================================
``meet``       the city's epoch, anything to have    ``met``: node record, recipient, height of the ledger, digest of
               it count or nothing, the city's       the city's keys or nothing, fragments held or 0, whether it votes,
               signature or nothing                  epoch, challenge, until which epoch it observes or nothing
``lists``      the city's signature, candidate list, ``done``
               …
``keys``       the city's certified threshold keys   ``done``
``epoch``      the handover to the next epoch        ``done``
=============  ====================================  ==================================================================

Whoever reaches the process may say these. A list is taken if the city signed it and all on it are nodes of the city as
the process was told of them when it was set up; keys if a quorum of the delegates certify them; the epoch in which the
city is if the city signed it together with what this process drew for the purpose. So a stranger changes nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, VerificationError
from city_chain.node.ledger import Ledger
from city_chain.node.node import NODE_WEIGHT, Node
from city_chain.node.roster import Roster
from city_chain.stages import messages

__all__ = ["CHALLENGE_BYTES", "Joining", "Met", "lists_words", "meeting_words"]

CHALLENGE_BYTES = 32
"""What a process draws, so that an earlier word of the city is none."""

_LISTS_MAX = 256

type _Item = tuple[int, Node, records.Message]


def meeting_words(network: bytes, node: bytes, challenge: bytes, epoch: bytes) -> bytes:
    """What the city signs to tell a node in which epoch it is: for this meeting alone, so it cannot be said again.

    Args:
        network: The city's network, 32 bytes.
        node: The node, 32 bytes.
        challenge: What the node drew, 32 bytes.
        epoch: The epoch's number, 8 bytes.

    Example:
        >>> len(meeting_words(bytes(32), bytes(32), bytes(32), bytes(8)))
        122
    """
    return b"city-chain meeting" + network + node + challenge + epoch


def lists_words(network: bytes, lists: Sequence[records.Candidates]) -> bytes:
    """What the city signs to have a node keep candidate lists.

    Args:
        network: The city's network, 32 bytes.
        lists: The lists.

    Example:
        >>> len(lists_words(bytes(32), []))
        48
    """
    return b"city-chain lists" + network + b"".join(known.root for known in lists)


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
        if len(parts) != 9:
            raise ProtocolError(f"met: {len(parts)} parts, 9 are needed")
        self.record = records.NodeRecord.from_bytes(parts[0])
        self.recipient = records.Recipient.from_bytes(parts[1])
        self.height = messages.integer_of(parts[2])
        self.keys = parts[3]
        self.fragments = messages.integer_of(parts[4])
        self.votes = messages.integer_of(parts[5]) != 0
        self.epoch = messages.integer_of(parts[6])
        self.challenge = parts[7]
        self.observes_until = messages.integer_of(parts[8]) if parts[8] else None
        if len(self.challenge) != CHALLENGE_BYTES:
            raise ProtocolError(f"met: a challenge of {len(self.challenge)} bytes, {CHALLENGE_BYTES} are needed")
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
        met: Is told in which epoch the city is, by the city's own word: what a stranger says must not be believed.
        sender: The city's public key.
    """

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        roll: Mapping[bytes, str],
        use: Callable[[records.CityKeys], None],
        follow: Callable[[records.Handover], None],
        met: Callable[[int], None],
        sender: bytes,
    ) -> None:
        self._ledger = ledger
        self._roster = roster
        self._roll = roll
        self._use = use
        self._follow = follow
        self._met = met
        self._sender = sender
        self._challenge = os.urandom(CHALLENGE_BYTES)

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
        if len(asked) != 3:
            raise ProtocolError(f"meet: {len(asked)} parts, 3 are needed")
        number, count, signature = asked
        if self._is_the_city_s(signature, meeting_words(self._network, node.id, self._challenge, number)):
            self._met(messages.integer_of(number))
        keys = node.keeper.keys
        parts = [
            node.record,
            node.keeper.recipient(self._ledger.epoch.network).to_bytes(),
            messages.integer(self._ledger.tip.height),
            b"" if keys is None else keys.digest,
            messages.integer(node.holder.count() if count else 0),  # to count is work
            messages.integer(int(node.voter is not None)),
            messages.integer(self._ledger.epoch.number),
            self._challenge,
            b"" if node.observes_until is None else messages.integer(node.observes_until),
        ]
        return messages.message("met", parts)

    @property
    def _network(self) -> bytes:
        return self._ledger.epoch.network

    def _is_the_city_s(self, signature: bytes, words: bytes) -> bool:
        """Whether the city said so. Without a signature, or after one for an earlier challenge, nobody did."""
        try:
            records.verify_message(self._sender, words, signature)
        except CityChainError:
            return False
        return True

    def _lists(self, _: Node, parts: Sequence[bytes]) -> bytes:
        if not 1 < len(parts) <= _LISTS_MAX + 1:
            raise ProtocolError(f"lists: {len(parts)} parts, a signature and 1 to {_LISTS_MAX} lists are needed")
        found = [records.Candidates.from_bytes(part) for part in parts[1:]]
        if not self._is_the_city_s(parts[0], lists_words(self._network, found)):
            raise VerificationError("lists: they are not signed by this city")
        for candidates in found:
            self._check(candidates)
        self._roster.learn(found)
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
