"""Voting: what the delegates of a process answer under the engine ``"dpos"`` (see `node.engines.dpos`).

===========  ===========================================  ====================================================
kind         parts                                        answer
===========  ===========================================  ====================================================
``lead``     attempt, entries, batch, evidence…,          ``proposal``: one proposal
             reports…
``vote``     proposal, batch, evidence…                   ``vote``: one vote
``prepare``  height, attempt                              ``report``: one report, or ``promised``: an attempt
``weigh``    attempt, reports…                            ``wanted``: a digest, or nothing
===========  ===========================================  ====================================================

All rows of a burst are one write, and nothing leaves before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError
from city_chain.node.bodies import LED, VOTED, Bodies
from city_chain.node.ledger import Ledger
from city_chain.node.node import Node
from city_chain.node.voter import Voter
from city_chain.proofs import dpos
from city_chain.stages import messages

__all__ = ["Voting"]

type _Item = tuple[int, Node, records.Message]


class _PromisedError(ProtocolError):
    """A delegate has promised a later attempt: which one is told, so that the next may be above it."""

    def __init__(self, attempt: int) -> None:
        super().__init__(f"attempt {attempt} has been promised")
        self.attempt = attempt


class Voting:
    """Answers for the voters of some nodes.

    Args:
        ledger: What is committed.
        bodies: The bodies of batches that were voted on.
        voting: Held while delegates vote.
    """

    def __init__(self, ledger: Ledger, bodies: Bodies, voting: threading.RLock) -> None:
        self._ledger = ledger
        self._bodies = bodies
        self._voting = voting

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {"lead": self._lead, "vote": self._vote, "prepare": self._prepare, "weigh": self._weigh}

    def _lead(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        bodies: dict[bytes, bytes] = {}

        def consider(voter: Voter, parts: Sequence[bytes]) -> None:
            if len(parts) < 2:
                raise ProtocolError(
                    f"lead: {len(parts)} parts, an attempt, a count, a batch and its evidence are needed"
                )
            attempt, count = messages.integer_of(parts[0]), messages.integer_of(parts[1])
            body = messages.message("body", parts[2 : 3 + count])
            reports = [dpos.Report.from_bytes(part) for part in parts[3 + count :]]
            digest = self._bodies.judged(parts[2 : 3 + count], body)
            voter.lead(attempt, digest, reports)
            bodies[digest] = body

        self._speak(items, answers, "proposal", consider, LED, bodies)

    def _vote(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        judged: dict[int, tuple[dpos.Proposal, bytes, bytes] | CityChainError] = {}
        bodies: dict[bytes, bytes] = {}

        def judge(parts: Sequence[bytes]) -> tuple[dpos.Proposal, bytes, bytes] | CityChainError:
            try:
                if len(parts) < 2:
                    raise ProtocolError(f"vote: {len(parts)} parts, a proposal, a batch and its evidence are needed")
                proposal = dpos.Proposal.from_bytes(parts[0])
                body = messages.message("body", parts[1:])
                digest = self._bodies.judged(parts[1:], body)
                if proposal.slot.digest != digest:
                    raise ProtocolError("vote: the proposal is about another batch")
            except CityChainError as error:
                return error
            return proposal, digest, body

        def consider(voter: Voter, parts: Sequence[bytes]) -> None:
            if id(parts) not in judged:  # the same parts are handed in for the same message
                judged[id(parts)] = judge(parts)
            found = judged[id(parts)]
            if isinstance(found, CityChainError):
                raise found
            proposal, digest, body = found
            voter.propose(proposal)
            bodies[digest] = body

        self._speak(items, answers, "vote", consider, VOTED, bodies)

    def _weigh(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        with self._voting:
            for at, node, message in items:
                try:
                    attempt = messages.integer_of(b"".join(message.parts[:1]))
                    reports = [dpos.Report.from_bytes(part) for part in message.parts[1:]]
                    wanted = _voter(node).weigh(attempt, reports)
                    answers[at] = messages.message("wanted", [] if wanted is None else [wanted])
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))

    def _prepare(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        def consider(voter: Voter, parts: Sequence[bytes]) -> None:
            if len(parts) != 2:
                raise ProtocolError(f"prepare: {len(parts)} parts, 2 are needed")
            height, attempt = messages.integer_of(parts[0]), messages.integer_of(parts[1])
            voter.catch_up()
            if attempt < voter.promised:
                raise _PromisedError(voter.promised)
            voter.prepare(height, attempt)

        self._speak(items, answers, "report", consider, VOTED, {})

    def _speak(
        self,
        items: Sequence[_Item],
        answers: list[bytes],
        kind: str,
        consider: Callable[[Voter, Sequence[bytes]], None],
        prefix: bytes,
        bodies: dict[bytes, bytes],
    ) -> None:
        """Lets every voter consider its message, writes all their rows at once, then lets them speak."""
        with self._voting:
            rows: dict[bytes, bytes] = {}
            considered: list[tuple[int, Voter]] = []
            parts = {id(message): message.parts for message in {id(item[2]): item[2] for item in items}.values()}
            for at, node, message in items:
                try:
                    voter = _voter(node)
                    _check_in_office(node, self._ledger)
                    consider(voter, parts[id(message)])
                    considered.append((at, voter))
                    rows.update((node.space + key, value) for key, value in voter.rows().items())
                except _PromisedError as promised:
                    answers[at] = messages.message("promised", [messages.integer(promised.attempt)])
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))
            # Should the write fail, the voters' rows are due again with the next one, and so is what they rest on.
            for digest, body in bodies.items():
                self._bodies.keep(prefix, digest, body)
            self._bodies.write(rows)
            for at, voter in considered:
                said = [body for what, body in voter.spoken() if what == kind]
                answers[at] = messages.message(kind, said[-1:]) if said else messages.refused("nothing to say")


def _check_in_office(node: Node, ledger: Ledger) -> None:
    """A delegate that has signed the handover after the last batch votes for nothing more in its epoch."""
    if node.keeper.is_resting(ledger.epoch.number + 1, ledger.tip.height):
        raise ProtocolError(f"this delegate has handed over after height {ledger.tip.height}")


def _voter(node: Node) -> Voter:
    if node.voter is None:
        raise ProtocolError("this node is no delegate, or its journal is damaged")
    if not isinstance(node.voter, Voter):
        raise ProtocolError("this city commits through another engine")
    return node.voter
