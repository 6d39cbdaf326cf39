"""The commit engine ``"dpos"``: one delegate leads, two thirds of the stake sign.

================================================================  =====================================================
what                                                              messages
================================================================  =====================================================
the leader signs a proposal                                       ``lead`` → ``proposal``
every delegate judges the batch and votes                         ``vote`` → ``vote``
no quorum: before the next attempt all say what they accepted     ``prepare`` → ``report``
the next leader weighs that; what was accepted is carried on      ``weigh`` → ``wanted``, ``body`` → ``body``
a certificate: the ledger is appended, the others are told        ``announce``, ``append`` → ``tip``
================================================================  =====================================================

What it promises, and what not, is said in `city_chain.proofs.dpos`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError, UnavailableError
from city_chain.node.engines.base import ROUND_S, Engine
from city_chain.node.judge import Case, Judge
from city_chain.node.ledger import Ledger
from city_chain.node.roster import Roster
from city_chain.node.voter import ATTEMPTS_AHEAD_MAX
from city_chain.ports import Clock, Transport
from city_chain.proofs import dpos
from city_chain.stages import messages

__all__ = ["DposEngine"]

_ROUND_MAX_S = 2.0
_BACKOFF_MIN_S = 0.002
_BACKOFF_MAX_S = 0.25


class DposEngine(Engine):
    """Commits by one leader's proposal and two thirds of the stake, in one round (see `Engine` for the arguments)."""

    name = "dpos"

    def __init__(
        self, ledger: Ledger, judge: Judge, roster: Roster, transport: Transport, clock: Clock, unit: str
    ) -> None:
        super().__init__(ledger, judge, roster, transport, clock, unit)
        self._pause = threading.Event()
        self._promised = 0
        self._attempt = 0

    # --- one height --------------------------------------------------------------------------------------------------

    def decide(self, case: Case | None, deadline: float) -> list[records.Receipt]:
        """Gets one batch committed at the next height: `case`, or one that was accepted there before; its receipts.

        With no `case` it does nothing unless there is such a one.
        """
        validators, height = self._ledger.epoch.validators, self._ledger.tip.height + 1
        trouble: list[str] = []
        attempt = 0 if case is not None else 1
        backoff_s = _BACKOFF_MIN_S
        self._round_s = ROUND_S
        while True:
            reports: list[dpos.Report] = []
            ours = case
            self._promised, self._attempt = 0, attempt
            try:
                if attempt:
                    reports = self._prepare(height, attempt, deadline)
                    accepted = self._weigh(height, attempt, reports, deadline)
                    ours = case if accepted is None else self._case(accepted, case, deadline)
                if ours is None:
                    return []
                certificate = self._vote(ours, attempt, reports, deadline, trouble)
                if certificate is not None:
                    return self._append(ours, records.CommitCertificate.dpos(certificate), deadline)
            except (UnavailableError, ProtocolError) as error:
                trouble.append(str(error))
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                raise UnavailableError(
                    f"commit of height {height}: no quorum of the delegates' stake ({validators.quorum} of "
                    f"{validators.total}) in {attempt + 1} attempts: {'; '.join(trouble[-3:]) or 'no answer'}",
                    validators.quorum,
                    0,
                )
            if self._promised <= attempt:
                self._pause.wait(min(backoff_s, left_s))
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
            attempt = max(attempt, self._promised) + 1
            self._round_s = min(2 * self._round_s, _ROUND_MAX_S)

    def _vote(
        self, case: Case, attempt: int, reports: Sequence[dpos.Report], deadline: float, trouble: list[str]
    ) -> dpos.Certificate | None:
        """One attempt: a proposal by its leader, then everybody's votes; None if there was no quorum."""
        epoch, header = self._ledger.epoch, case.batch.header
        leader = self._leader(header.height, attempt)
        parts = case.parts()
        lead = [
            messages.integer(attempt),
            messages.integer(header.count),
            *parts,
            *(report.to_bytes() for report in reports),
        ]
        answers = self._ask([leader], "lead", lead, "proposal", deadline, trouble)
        if leader not in answers:
            return None
        try:
            proposal = dpos.Proposal.from_bytes(answers[leader][0])
        except (CityChainError, IndexError) as error:
            trouble.append(f"the leader's proposal: {messages.reason(error)}")
            return None
        everybody = self._everybody()
        vote = [proposal.to_bytes(), *parts]
        said = self._ask(everybody, "vote", vote, "vote", deadline, trouble, self._is_quorum)
        votes = []
        for voter, answer in said.items():
            try:
                votes.append(dpos.Vote.from_bytes(answer[0]))
            except (CityChainError, IndexError) as error:
                trouble.append(f"the vote of {voter.hex()[:8]}: {messages.reason(error)}")
        try:
            return dpos.collect(epoch.validators, proposal.slot, votes)[0]
        except CityChainError as error:
            trouble.append(str(error))
            return None

    def _prepare(self, height: int, attempt: int, deadline: float) -> list[dpos.Report]:
        """A quorum's reports for an attempt."""
        validators = self._ledger.epoch.validators
        stakes = dict(validators.items)
        trouble: list[str] = []
        parts = [messages.integer(height), messages.integer(attempt)]
        answers = self._ask(list(stakes), "prepare", parts, "report", deadline, trouble, self._is_quorum)
        reports = {}
        for voter, answer in answers.items():
            try:
                report = dpos.Report.from_bytes(answer[0])
            except (CityChainError, IndexError) as error:
                trouble.append(messages.reason(error))
                continue
            if report.voter == voter and (report.height, report.attempt) == (height, attempt):
                reports[voter] = report
        stake = sum(stakes[voter] for voter in reports)
        if stake < validators.quorum:
            raise UnavailableError(
                f"reports for attempt {attempt} at height {height}: needed a stake of {validators.quorum}, had {stake}"
                + (f" ({'; '.join(trouble[-4:])})" if trouble else ""),
                validators.quorum,
                stake,
            )
        return list(reports.values())

    def _leader(self, height: int, attempt: int) -> bytes:
        epoch = self._ledger.epoch
        return dpos.leader(epoch.validators, epoch.seed, height, attempt)

    def _weigh(self, height: int, attempt: int, reports: Sequence[dpos.Report], deadline: float) -> bytes | None:
        """What the reports ask the attempt's leader to propose, as the leader itself weighs them."""
        leader = self._leader(height, attempt)
        parts = [messages.integer(attempt), *(report.to_bytes() for report in reports)]
        trouble: list[str] = []
        answers = self._ask([leader], "weigh", parts, "wanted", deadline, trouble)
        if leader not in answers:
            raise UnavailableError(f"the leader of attempt {attempt} ({'; '.join(trouble)})", 1, 0)
        return answers[leader][0] if answers[leader] else None

    def _case(self, digest: bytes, ours: Case | None, deadline: float) -> Case:
        """The batch of that digest: ours, or as a delegate that voted for it kept it."""
        if ours is not None and ours.batch.digest == digest:
            return ours
        everybody = self._everybody()
        trouble: list[str] = []
        looked_at: set[bytes] = set()
        found: list[Case] = []

        def is_found(answers: dict[bytes, list[bytes]]) -> bool:
            """A delegate that gives another batch, however fast, stands in nobody's way."""
            for voter in answers.keys() - looked_at:
                looked_at.add(voter)
                try:
                    case = Case.of(answers[voter])
                except CityChainError as error:
                    trouble.append(str(error))
                    continue
                if case.batch.digest == digest:
                    found.append(case)
            return bool(found)

        self._ask(everybody, "body", [digest], "body", deadline, trouble, is_found)
        if not found:
            raise UnavailableError(
                f"the batch {digest.hex()} that was accepted before: nobody has it ({trouble})", 1, 0
            )
        return found[0]

    def _append(self, case: Case, certificate: records.CommitCertificate, deadline: float) -> list[records.Receipt]:
        receipts = self._ledger.append(case.batch, certificate, case.evidence)
        self._tell(deadline)
        return receipts

    def _overhear(self, body: bytes) -> None:
        """A delegate that has promised a later attempt says which: the next one is to be above it."""
        answer = messages.parse(body)
        if answer.kind == "promised" and len(answer.parts) == 1:
            said = messages.integer_of(answer.parts[0])
            self._promised = max(self._promised, min(said, self._attempt + ATTEMPTS_AHEAD_MAX // 2))
