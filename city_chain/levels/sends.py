"""What sends: numbers a city's transactions, runs the sending pipeline, finishes after a crash what was begun."""

from __future__ import annotations

from collections.abc import Buffer, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from city_chain import records
from city_chain.composer import Pipeline
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.levels.embedded import Embedded
from city_chain.levels.numbers import Numbers
from city_chain.levels.reports import Recovery
from city_chain.node.ledger import SEQUENCE_WINDOW, SenderState
from city_chain.pipelines import RESUMING, SENDING
from city_chain.stages.s5_commit import commit

__all__ = ["Outcome", "Payload", "Sends"]

type Outcome = records.Receipt | CityChainError
type Payload = Buffer | records.Transaction


class Sends:
    """The sends of one city. Safe to use from several threads.

    Args:
        city: Its insides.
    """

    def __init__(self, city: Embedded) -> None:
        self._city = city
        self._sender = city.sender.identity.id
        self._network = city.epoch.network
        self._pending = city.journal.pending()
        self._numbers = Numbers(self._state(), {item.transaction.sequence for item in self._pending})
        self.pipeline = SENDING

    def make(
        self, payload: Buffer, place: tuple[str, int, int] | None, touched: Iterable[bytes]
    ) -> records.Transaction:
        """A signed transaction with the sender's next number (see `City.transaction`)."""
        sequence = self._numbers.take(self._state().next_sequence + SEQUENCE_WINDOW // 2)
        try:
            return self._made(sequence, payload, place, touched)
        except BaseException:
            self._numbers.give_back(sequence)
            raise

    def _made(
        self,
        sequence: int,
        payload: Buffer,
        place: tuple[str, int, int] | None = None,
        touched: Iterable[bytes] = (),
    ) -> records.Transaction:
        return records.Transaction(
            self._city.sender.identity,
            network=self._network,
            sequence=sequence,
            hlc=self._city.sender.stamp(),
            payload=payload,
            place=place,
            touched=touched,
        )

    def send(self, payloads: Sequence[Payload], deadline_s: float) -> list[Outcome]:
        """Sends one burst.

        Args:
            payloads: Bytes, or transactions that `make` made.
            deadline_s: When to give up, seconds.

        Returns:
            One outcome each.
        """
        deadline = self._city.clock.monotonic() + deadline_s
        outcomes: list[bytes | CityChainError | None] = [None] * len(payloads)
        ready: dict[bytes, records.Transaction] = {}
        for at, payload in enumerate(payloads):
            if isinstance(payload, records.Transaction):
                try:
                    self._check_mine(payload)
                    ready[payload.tx_id] = payload
                    outcomes[at] = payload.tx_id
                except CityChainError as error:
                    outcomes[at] = error
        used: list[tuple[int, bytes | None]] = [(made.sequence, tx_id) for tx_id, made in ready.items()]
        self._numbers.begin(number for number, _ in used)
        try:
            self._make(payloads, outcomes, ready, used, deadline)
            found = self._send_ready(ready, deadline)
            return [found[outcome] if isinstance(outcome, bytes) else outcome for outcome in outcomes if outcome]
        except CityChainError as error:
            return [outcome if isinstance(outcome, CityChainError) else error for outcome in outcomes]
        finally:
            self._numbers.end(used, self._state(), self._city.journal.is_open)

    def _make(
        self,
        payloads: Sequence[Payload],
        outcomes: list[bytes | CityChainError | None],
        ready: dict[bytes, records.Transaction],
        used: list[tuple[int, bytes | None]],
        deadline: float,
    ) -> None:
        """Makes a transaction of every payload that is none: puts in its id, or why there is none."""
        raw = [at for at, payload in enumerate(payloads) if not isinstance(payload, records.Transaction)]
        if not raw:
            return
        clock, begun = self._city.clock, len(used)
        numbers = self._numbers.take_many(len(raw), begun, self._state, lambda: clock.monotonic() < deadline)
        used += [(number, None) for number in numbers]
        for place, (at, number) in enumerate(zip(raw, numbers, strict=True), begun):
            payload = payloads[at]
            try:
                made = payload if isinstance(payload, records.Transaction) else self._made(number, payload)
                used[place] = (number, made.tx_id)
                ready[made.tx_id] = made
                outcomes[at] = made.tx_id
            except CityChainError as error:
                outcomes[at] = error

    def _send_ready(self, ready: Mapping[bytes, records.Transaction], deadline: float) -> dict[bytes, Outcome]:
        """Sends those that are not committed yet; one outcome by id."""
        receipts = self._city.ledger.receipts(list(ready))
        found: dict[bytes, Outcome] = {receipt.tx_id: receipt for receipt in receipts if receipt is not None}
        fresh = [transaction for tx_id, transaction in ready.items() if tx_id not in found]
        if fresh:
            found.update(self._run(self.pipeline, {"transactions": fresh}, fresh, deadline))
        return found

    def _state(self) -> SenderState:
        return self._city.ledger.sender(self._sender)

    def _run(
        self,
        pipeline: Pipeline,
        given: Mapping[str, Any],
        transactions: Sequence[records.Transaction],
        deadline: float,
    ) -> dict[bytes, Outcome]:
        """Runs a sending pipeline; one outcome by id."""
        outcomes: Sequence[Outcome]
        every = {**given, **self._city.sending()}
        try:
            run = pipeline.run(
                {name: every[name] for name in pipeline.inputs},
                deadline=deadline,
                on_stage=self._city.on_stage,
            )
            outcomes = run["outcomes"]
        except CityChainError as error:
            outcomes = [error] * len(transactions)
        by_id = {transaction.tx_id: outcome for transaction, outcome in zip(transactions, outcomes, strict=True)}
        self._city.journal.settle([tx_id for tx_id, outcome in by_id.items() if isinstance(outcome, records.Receipt)])
        return by_id

    def _check_mine(self, transaction: records.Transaction) -> None:
        if (transaction.sender, transaction.network) != (self._sender, self._network):
            raise InputError(
                f"the transaction is of sender {transaction.sender.hex()[:16]} on network "
                f"{transaction.network.hex()[:16]}; this city sends for {self._sender.hex()[:16]} on "
                f"{self._network.hex()[:16]}"
            )
        known = self._state()
        if (
            not known.next_sequence <= transaction.sequence < known.next_sequence + SEQUENCE_WINDOW
            and not (self._city.ledger.committed([transaction.tx_id])[0])
        ):
            raise InputError(
                f"the transaction has sequence {transaction.sequence}; from {known.next_sequence} on, and less than "
                f"{SEQUENCE_WINDOW} ahead, is what can be sent"
            )
        transaction.verify()

    def recover(self, deadline_s: float) -> Recovery:
        """Finishes, or gives up and reports, what was begun and not ended before the city was opened.

        Args:
            deadline_s: When to leave the rest for the next opening, seconds.
        """
        pending = self._pending
        if not pending:
            return Recovery()
        committed = self._city.ledger.committed([item.transaction.tx_id for item in pending])
        self._city.journal.settle([p.transaction.tx_id for p, done in zip(pending, committed, strict=True) if done])
        left = [item for item, done in zip(pending, committed, strict=True) if not done]
        deadline = self._city.clock.monotonic() + deadline_s
        outcomes: dict[bytes, Outcome] = {}
        self._numbers.begin(item.transaction.sequence for item in left)
        certified = [item.certificate for item in left if item.certificate is not None]
        if certified:
            try:
                self._city.engine.recover(deadline)
            except CityChainError as error:
                outcomes.update({certificate.manifest.tx_id: error for certificate in certified})
            else:
                outcomes.update(commit(certified, self._city.engine, deadline))
        begun = [item for item in left if item.certificate is None]
        if begun:
            transactions = [item.transaction for item in begun]
            given = {"transactions": transactions, "manifests": [item.manifest for item in begun]}
            outcomes.update(self._run(RESUMING, given, transactions, deadline))
        receipts = [outcome for outcome in outcomes.values() if isinstance(outcome, records.Receipt)]
        refused = {tx_id for tx_id, outcome in outcomes.items() if isinstance(outcome, VerificationError)}
        self._city.journal.settle([receipt.tx_id for receipt in receipts])
        with suppress(StorageError):  # what cannot be taken out of the journal is reported as pending
            self._city.journal.failed([item.transaction for item in left if item.transaction.tx_id in refused])
        used = [(item.transaction.sequence, item.transaction.tx_id) for item in left]
        self._numbers.end(used, self._state(), self._city.journal.is_open)
        errors = {tx_id: outcome for tx_id, outcome in outcomes.items() if isinstance(outcome, CityChainError)}
        finished = [
            receipt for receipt in self._city.ledger.receipts([p.transaction.tx_id for p in pending]) if receipt
        ]
        return Recovery(
            finished=finished,
            failed={tx_id: error for tx_id, error in errors.items() if not self._city.journal.is_open(tx_id)},
            pending={tx_id: error for tx_id, error in errors.items() if self._city.journal.is_open(tx_id)},
        )
