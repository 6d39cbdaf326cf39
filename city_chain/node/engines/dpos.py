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

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, ProtocolError, UnavailableError
from city_chain.node.judge import Case, Judge
from city_chain.node.ledger import Ledger
from city_chain.node.roster import Roster
from city_chain.node.voter import ATTEMPTS_AHEAD_MAX
from city_chain.ports import Clock, Request, Response, Transport
from city_chain.proofs import dpos
from city_chain.stages import messages
from city_chain.stages.model import Committed, Evidence

__all__ = ["DposEngine"]

_ROUND_S = 0.25
_ROUND_MAX_S = 2.0
_BACKOFF_MIN_S = 0.002
_BACKOFF_MAX_S = 0.25
_ENTRIES_MAX = 4096
_CASE_BYTES_MAX = 128 << 20
_TEACH_MAX = 16
_TEACH_S = 0.1
_TEACH_EVERY_S = 5.0


class DposEngine:
    """Commits through the delegates of the ledger's epoch.

    Args:
        ledger: What is committed; appended here.
        judge: Sorts out beforehand what no delegate would vote for.
        roster: Where the delegates are.
        transport: Carries the messages.
        clock: Physical and monotonic time.
        unit: The name of the city.
    """

    name = "dpos"

    def __init__(
        self, ledger: Ledger, judge: Judge, roster: Roster, transport: Transport, clock: Clock, unit: str
    ) -> None:
        self._ledger = ledger
        self._judge = judge
        self._roster = roster
        self._transport = transport
        self._clock = clock
        self._unit = unit
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._promised = 0
        self._attempt = 0
        self._taught: dict[bytes, float] = {}
        self._round_s = _ROUND_S

    def commit(self, evidence: Sequence[Evidence], deadline: float) -> Committed:
        """Commits what can be committed (see `stages.model.CommitEngine`).

        Raises:
            UnavailableError: Too few delegates voted before the deadline.
            DeadlineError: Others' batches were still under way at the deadline.
        """
        outcomes: list[records.Receipt | records.Entry | CityChainError | None] = [None] * len(evidence)
        with self._turn(deadline):
            left = list(range(len(evidence)))
            while left:
                left = self._settle(evidence, left, outcomes)
                run = [evidence[at] for at in self._fitting(evidence, left)]
                if run:
                    case = Case(self._batch(run), [piece.certificate for piece in run])
                    made = {receipt.tx_id: receipt for receipt in self._decide(case, deadline)}
                    for at in left:
                        if evidence[at].entry.kind == "transaction":
                            outcomes[at] = made.get(evidence[at].entry.tx_id)
                    left = [at for at in left if outcomes[at] is None]
        return Committed([outcome for outcome in outcomes if outcome is not None])

    def recover(self, deadline: float) -> int:
        """Carries on with what a delegate had accepted before a crash; returns how many batches were committed."""
        with self._turn(deadline):
            before = self._ledger.tip.height
            self._decide(None, deadline)
            return self._ledger.tip.height - before

    @contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """One batch at a time; nobody waits for the others beyond its own deadline."""
        left_s = min(max(deadline - self._clock.monotonic(), 0.0), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=left_s):
            raise DeadlineError("commit: batches of others were still under way at the deadline")
        try:
            yield
        finally:
            self._lock.release()

    def _settle(
        self,
        evidence: Sequence[Evidence],
        left: Sequence[int],
        outcomes: list[records.Receipt | records.Entry | CityChainError | None],
    ) -> list[int]:
        """Gives an outcome to what has one already; the rest is still to be committed."""
        open_ones = []
        entries = [evidence[at].entry for at in left]
        receipts = self._ledger.receipts([entry.tx_id for entry in entries])
        for at, entry, receipt in zip(left, entries, receipts, strict=True):
            if entry.kind == "transaction" and receipt is not None:
                outcomes[at] = receipt
            elif entry.kind != "transaction" and self._ledger.has(entry):
                outcomes[at] = entry
            else:
                open_ones.append(at)
        verdicts = self._judge.verdicts(
            [evidence[at].entry for at in open_ones], [evidence[at].certificate for at in open_ones]
        )
        for at, verdict in zip(open_ones, verdicts, strict=True):
            outcomes[at] = verdict
        return [at for at, verdict in zip(open_ones, verdicts, strict=True) if verdict is None]

    def _fitting(self, evidence: Sequence[Evidence], left: Sequence[int]) -> list[int]:
        """As many of `left`, in order, as one batch takes, each transaction once."""
        run: list[int] = []
        seen: set[bytes] = set()
        size = 0
        for at in left:
            size += len(evidence[at].certificate.to_bytes())
            if len(run) == _ENTRIES_MAX or (run and size > _CASE_BYTES_MAX):
                break
            if evidence[at].entry.tx_id not in seen:
                seen.add(evidence[at].entry.tx_id)
                run.append(at)
        return run

    def _batch(self, pieces: Sequence[Evidence]) -> records.Batch:
        tip = self._ledger.tip
        return records.Batch(
            self._ledger.epoch,
            height=tip.height + 1,
            previous=tip.digest,
            unit=self._unit,
            hlc=max(self._clock.now_ms() << 16, tip.hlc + 1),
            entries=[piece.entry for piece in pieces],
        )

    # --- one height --------------------------------------------------------------------------------------------------

    def _decide(self, case: Case | None, deadline: float) -> list[records.Receipt]:
        """Gets one batch committed at the next height: `case`, or one that was accepted there before; its receipts.

        With no `case` it does nothing unless there is such a one.
        """
        validators, height = self._ledger.epoch.validators, self._ledger.tip.height + 1
        trouble: list[str] = []
        attempt = 0 if case is not None else 1
        backoff_s = _BACKOFF_MIN_S
        self._round_s = _ROUND_S
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
        everybody = [key for key, _ in epoch.validators.items]
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
        everybody = [key for key, _ in self._ledger.epoch.validators.items]
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
        height = self._ledger.tip.height
        everybody = [key for key, _ in self._ledger.epoch.validators.items]
        trouble: list[str] = []
        # Who is silent now is told later; nobody waits for it once a quorum has answered.
        announced = [messages.integer(height)]
        said = self._ask(everybody, "announce", announced, "tip", deadline, trouble, self._is_quorum)
        tips = {voter: tip for voter, answer in said.items() if (tip := _tip(answer)) is not None}
        there: dict[bytes, list[bytes]] = {voter: [] for voter, tip in tips.items() if tip >= height}
        following = [voter for voter, tip in tips.items() if tip == height - 1]
        if following:  # delegates with ledgers of their own
            parts = [case.batch.to_bytes(), certificate.to_bytes(), *case.parts()[1:]]
            self._ask(
                following, "append", parts, "tip", deadline, trouble, lambda done: self._is_quorum({**there, **done})
            )
        for voter, tip in tips.items():
            taught = self._taught.get(voter, -math.inf)
            if tip < height - 1 and self._clock.monotonic() >= taught + _TEACH_EVERY_S:
                self._teach(voter, tip, height)
        return receipts

    def _teach(self, voter: bytes, tip: int, height: int) -> None:
        """Sends a delegate that is behind the next few batches that it lacks.

        Others wait for it, so it is bounded: a few batches in little time, and not again for a while. A delegate that
        only says that it is behind cannot hold up more than that.
        """
        trouble: list[str] = []
        until = self._clock.monotonic() + _TEACH_S
        for missing in range(tip + 1, min(height, tip + _TEACH_MAX) + 1):
            committed = self._ledger.batch(missing)
            if committed is None:
                break
            evidence = [piece.to_bytes() for piece in self._ledger.evidence(committed.batch)]
            parts = [committed.batch.to_bytes(), committed.certificate.to_bytes(), *evidence]
            answer = self._ask([voter], "append", parts, "tip", until, trouble).get(voter)
            if answer is None or b"".join(answer) != messages.integer(missing):
                self._taught[voter] = self._clock.monotonic()
                break

    def _ask(
        self,
        nodes: Sequence[bytes],
        kind: str,
        parts: Sequence[bytes],
        answer_kind: str,
        deadline: float,
        trouble: list[str],
        enough: Callable[[dict[bytes, list[bytes]]], bool] = lambda _: False,
    ) -> dict[bytes, list[bytes]]:
        """Sends one message to some delegates; the parts of each right answer that came within the round.

        Does not wait any longer once `enough` of the answers so far is true.
        """
        addresses = self._roster.members().addresses
        by_ticket = [node for node in nodes if node in addresses]
        trouble.extend(f"delegate {node.hex()[:8]} is not logged in" for node in nodes if node not in addresses)
        body = messages.message(kind, parts)
        until = min(deadline, self._clock.monotonic() + self._round_s)
        gather = self._transport.gather([Request(addresses[node], body) for node in by_ticket], until)
        answers: dict[bytes, list[bytes]] = {}
        while gather.pending:
            for response in gather.take(0.0 if enough(answers) else until):
                self._take(by_ticket[response.ticket], response, kind, answer_kind, answers, trouble)
                if enough(answers):
                    break
            else:
                break
        return answers

    def _take(
        self,
        node: bytes,
        response: Response,
        kind: str,
        answer_kind: str,
        answers: dict[bytes, list[bytes]],
        trouble: list[str],
    ) -> None:
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            answer = messages.parse(response.body)
            if answer.kind == "promised" and len(answer.parts) == 1:
                said = messages.integer_of(answer.parts[0])
                self._promised = max(self._promised, min(said, self._attempt + ATTEMPTS_AHEAD_MAX // 2))
            answers[node] = messages.answer(response.body, answer_kind)
        except (CityChainError, OSError) as error:
            trouble.append(f"{kind} to delegate {node.hex()[:8]}: {messages.reason(error)}")

    def _is_quorum(self, answers: dict[bytes, list[bytes]]) -> bool:
        validators = self._ledger.epoch.validators
        return sum(stake for key, stake in validators.items if key in answers) >= validators.quorum


def _tip(answer: list[bytes]) -> int | None:
    """The height that a delegate says its ledger has; None if it says none: the batch is committed all the same."""
    try:
        return messages.integer_of(b"".join(answer))
    except ProtocolError:
        return None
