"""What commit engines have in common: batches out of evidence, one at a time, and the teaching of who is behind.

An engine adds `decide`: how one batch gets its certificate.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, ProtocolError
from city_chain.node.city_clock import sure
from city_chain.node.judge import Case, Judge
from city_chain.node.ledger import Ledger
from city_chain.node.roster import Roster
from city_chain.ports import Clock, Request, Response, Transport
from city_chain.stages import messages
from city_chain.stages.model import Committed, Evidence

__all__ = ["ROUND_S", "Engine"]

ROUND_S = 0.25
"""How long a fan-out waits for the silent, seconds; engines may wait longer when they try again."""

_ENTRIES_MAX = 4096
_CASE_BYTES_MAX = 128 << 20
_TEACH_MAX = 16
_TEACH_S = 0.1
_TEACH_EVERY_S = 5.0


class Engine(ABC):
    """Commits through the delegates of the ledger's epoch.

    Args:
        ledger: What is committed; appended here.
        judge: Sorts out beforehand what no delegate would vote for.
        roster: Where the delegates are.
        transport: Carries the messages.
        clock: Physical and monotonic time.
        unit: The name of the city.
    """

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
        self._taught: dict[bytes, float] = {}
        self._round_s = ROUND_S

    @abstractmethod
    def decide(self, case: Case | None, deadline: float) -> list[records.Receipt]:
        """Gets one batch committed at the next height: `case`, or one that was under way there; its receipts.

        With no `case` it only finishes what may be under way.

        Raises:
            UnavailableError: Too few delegates took part before the deadline.
        """

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
                    made = {receipt.tx_id: receipt for receipt in self.decide(case, deadline)}
                    for at in left:
                        if evidence[at].entry.kind == "transaction":
                            outcomes[at] = made.get(evidence[at].entry.tx_id)
                    left = [at for at in left if outcomes[at] is None]
        return Committed([outcome for outcome in outcomes if outcome is not None])

    def recover(self, deadline: float) -> int:
        """Carries on with what a delegate had accepted before a crash; returns how many batches were committed."""
        with self._turn(deadline):
            before = self._ledger.tip.height
            self.decide(None, deadline)
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
            hlc=max(sure(self._clock).now_ms() << 16, tip.hlc + 1),
            entries=[piece.entry for piece in pieces],
        )

    # --- telling the others ------------------------------------------------------------------------------------------

    def _tell(self, deadline: float) -> None:
        """Tells the delegates how high the ledger is, and teaches those that are behind."""
        height = self._ledger.tip.height
        trouble: list[str] = []
        # Who is silent now is told later; nobody waits for it once a quorum has answered.
        announced = [messages.integer(height)]
        said = self._ask(self._everybody(), "announce", announced, "tip", deadline, trouble, self._is_quorum)
        tips = {voter: tip for voter, answer in said.items() if (tip := _tip(answer)) is not None}
        there: dict[bytes, list[bytes]] = {voter: [] for voter, tip in tips.items() if tip >= height}
        following = [voter for voter, tip in tips.items() if tip == height - 1]
        parts = self._ledger.proven(height) if following else None
        if parts is not None:  # delegates with ledgers of their own
            self._ask(
                following, "append", parts, "tip", deadline, trouble, lambda done: self._is_quorum({**there, **done})
            )
        for voter, tip in tips.items():
            taught = self._taught.get(voter, -math.inf)
            if tip < height - 1 and self._clock.monotonic() >= taught + _TEACH_EVERY_S:
                self._teach(voter, tip, height)

    def _teach(self, voter: bytes, tip: int, height: int) -> None:
        """Sends a delegate that is behind the next few batches that it lacks.

        Others wait for it, so it is bounded: a few batches in little time, and not again for a while. A delegate that
        only says that it is behind cannot hold up more than that.
        """
        trouble: list[str] = []
        until = self._clock.monotonic() + _TEACH_S
        for missing in range(tip + 1, min(height, tip + _TEACH_MAX) + 1):
            parts = self._ledger.proven(missing)
            if parts is None:
                break
            answer = self._ask([voter], "append", parts, "tip", until, trouble).get(voter)
            if answer is None or b"".join(answer) != messages.integer(missing):
                self._taught[voter] = self._clock.monotonic()
                break

    def _everybody(self) -> list[bytes]:
        return [key for key, _ in self._ledger.epoch.validators.items]

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
            self._overhear(response.body)
            answers[node] = messages.answer(response.body, answer_kind)
        except (CityChainError, OSError) as error:
            trouble.append(f"{kind} to delegate {node.hex()[:8]}: {messages.reason(error)}")

    def _overhear(self, body: bytes) -> None:  # noqa: B027 (most engines need not)
        """Sees every answer before it is judged by its kind."""

    def _is_quorum(self, answers: dict[bytes, list[bytes]]) -> bool:
        validators = self._ledger.epoch.validators
        return sum(stake for key, stake in validators.items if key in answers) >= validators.quorum


def _tip(answer: list[bytes]) -> int | None:
    """The height that a delegate says its ledger has; None if it says none: the batch is committed all the same."""
    try:
        return messages.integer_of(b"".join(answer))
    except ProtocolError:
        return None
