"""What sends: numbers a city's transactions, runs the sending pipeline, finishes after a crash what was begun."""

from __future__ import annotations

from collections.abc import Buffer, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from city_chain import records
from city_chain.composer import Pipeline
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.levels.embedded import Embedded
from city_chain.levels.gate import Gate
from city_chain.levels.numbers import Numbers
from city_chain.levels.reports import Recovery
from city_chain.node.ledger import SEQUENCE_WINDOW, SenderState
from city_chain.pipelines import RESUMING, SENDING
from city_chain.stages.s2_seal import Seal, s2_seal
from city_chain.stages.s5_commit import commit

__all__ = ["Outcome", "Payload", "Sends", "size_of"]

type Outcome = records.Receipt | CityChainError
type Payload = Buffer | records.Transaction


class _Burst:
    """One burst on its way: what was given, the transactions of it, and the numbers that these use."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self.payloads = payloads
        self.ready: dict[bytes, records.Transaction] = {}
        self.used: list[tuple[int, bytes | None]] = []
        self._places: dict[int, bytes | CityChainError] = {}

    def settle[**P](
        self, at: int, make: Callable[P, records.Transaction], *args: P.args, **kwargs: P.kwargs
    ) -> records.Transaction | None:
        """The transaction of the payload at a place, or None where it cannot be made."""
        try:
            made = make(*args, **kwargs)
        except CityChainError as error:
            self._places[at] = error
            return None
        self._places[at] = made.tx_id
        self.ready[made.tx_id] = made
        return made

    def outcomes(self, found: Mapping[bytes, Outcome], otherwise: CityChainError | None = None) -> list[Outcome]:
        """One outcome for every payload: its own error, or what was found of its transaction."""
        outcomes: list[Outcome] = []
        for at in range(len(self.payloads)):
            place = self._places.get(at, otherwise)
            if place is None:
                raise InputError(f"payload {at} was neither made a transaction of nor refused")
            outcomes.append(found[place] if isinstance(place, bytes) else place)
        return outcomes


class Sends:
    """The sends of one city. Safe to use from several threads.

    Args:
        city: Its insides.
        gate: Lets sends through while nothing changes the city.
    """

    def __init__(self, city: Embedded, gate: Gate) -> None:
        self._city = city
        self._gate = gate
        self._sender = city.sender.identity.id
        self._network = city.epoch.network
        self._pending = city.journal.pending()
        # What goes on from where a crash cut it off need not come through S2 again.
        city.sent.enter([item.transaction.tx_id for item in self._pending])
        self._numbers = Numbers(self._state(), {item.transaction.sequence for item in self._pending})
        self.pipeline = SENDING

    def move(self, city: Embedded) -> None:
        """Sends through other insides of the same city from now on: those of its next epoch."""
        self._city = city

    def make(
        self,
        payload: Buffer,
        place: tuple[str, int, int] | None,
        touched: Iterable[bytes],
        seal: Seal | None,
        terms: bytes | None = None,
    ) -> records.Transaction:
        """A signed transaction with the sender's next number (see `City.transaction`)."""
        sequence = self._numbers.take(self._state().next_sequence + SEQUENCE_WINDOW // 2)
        try:
            return self._made(sequence, payload, seal, place, touched, terms)
        except BaseException:
            self._numbers.give_back(sequence)
            raise

    def _made(
        self,
        sequence: int,
        payload: Buffer,
        seal: Seal | None,
        place: tuple[str, int, int] | None = None,
        touched: Iterable[bytes] = (),
        terms: bytes | None = None,
    ) -> records.Transaction:
        (payload,) = self._sealed([payload], [sequence], seal)
        return records.Transaction(
            self._city.sender.identity,
            network=self._network,
            sequence=sequence,
            hlc=self._city.stamp(),
            payload=payload,
            place=place,
            touched=touched,
            terms=terms,
        )

    def _sealed(self, payloads: Sequence[Buffer], sequences: Sequence[int], seal: Seal | None) -> Sequence[Buffer]:
        if seal is None:
            return payloads
        keys = self._city.need_keys() if isinstance(seal, str) else None
        sealed: Sequence[Buffer] = s2_seal(payloads, sequences, self._network, self._sender, seal, keys)
        return sealed

    def send(self, payloads: Sequence[Payload], deadline_s: float, seal: Seal | None) -> list[Outcome]:
        """Sends one burst.

        Args:
            payloads: Bytes, or transactions that `make` made.
            deadline_s: When to give up, seconds.
            seal: To whom the payloads that are bytes are sealed.

        Returns:
            One outcome each.
        """
        with self._gate.through():
            return self._send(payloads, deadline_s, seal)

    def _send(self, payloads: Sequence[Payload], deadline_s: float, seal: Seal | None) -> list[Outcome]:
        deadline = self._city.clock.monotonic() + deadline_s
        burst = _Burst(payloads)
        for at, payload in enumerate(payloads):
            if isinstance(payload, records.Transaction):
                burst.settle(at, self._checked, payload)
        burst.used += [(made.sequence, tx_id) for tx_id, made in burst.ready.items()]
        self._numbers.begin(number for number, _ in burst.used)
        try:
            self._make_rest(burst, deadline, seal)
            return burst.outcomes(self._kept(self._send_ready(burst.ready, deadline)))
        except CityChainError as error:
            return burst.outcomes(dict.fromkeys(burst.ready, error), error)
        finally:
            self._numbers.end(burst.used, self._state(), self._city.journal.is_open)

    def _make_rest(self, burst: _Burst, deadline: float, seal: Seal | None) -> None:
        """Makes a transaction of every payload that is none."""
        raw = [(at, item) for at, item in enumerate(burst.payloads) if not isinstance(item, records.Transaction)]
        if not raw:
            return
        clock, begun = self._city.clock, len(burst.used)
        numbers = self._numbers.take_many(len(raw), begun, self._state, lambda: clock.monotonic() < deadline)
        burst.used += [(number, None) for number in numbers]
        try:
            payloads = self._sealed([item for _, item in raw], numbers, seal)
            items = [(number, self._city.stamp(), item) for number, item in zip(numbers, payloads, strict=True)]
            every = records.Transaction.many(self._city.sender.identity, self._network, items)
        except CityChainError:
            every = []  # one of them cannot be made: each is made for itself, and that one is refused
        for place, (at, payload) in enumerate(raw, begun):
            number, _ = burst.used[place]
            if every:
                made = burst.settle(at, every.__getitem__, place - begun)
            else:
                made = burst.settle(at, self._made, number, payload, seal)
            if made is not None:
                burst.used[place] = (number, made.tx_id)

    def _send_ready(self, ready: Mapping[bytes, records.Transaction], deadline: float) -> dict[bytes, Outcome]:
        """Sends those that are not committed yet; one outcome by id.

        Raises:
            UnavailableError: The clock is lost, and one is not committed yet; nothing was sent.
        """
        asked = [tx_id for tx_id in ready if self._city.sent.may_have(tx_id)]
        receipts = self._city.ledger.receipts(asked) if asked else []
        found: dict[bytes, Outcome] = {receipt.tx_id: receipt for receipt in receipts if receipt is not None}
        fresh = [transaction for tx_id, transaction in ready.items() if tx_id not in found]
        if fresh:
            self._city.check_clock()  # nobody would stamp anything: it is not for the holders to say so
            found.update(self._run(self.pipeline, {"transactions": fresh}, fresh, deadline))
        return found

    def _kept(self, found: dict[bytes, Outcome]) -> dict[bytes, Outcome]:
        """The outcomes, when all that they promise is durable.

        A receipt's is: the ledger's append was synced. An error may say that the transaction is written down and will
        be carried on with, so what was written down is synced before it is told.
        """
        errors = {tx_id: outcome for tx_id, outcome in found.items() if isinstance(outcome, CityChainError)}
        if errors:
            try:
                self._city.sync()
            except StorageError as error:
                found.update(dict.fromkeys(errors, error))
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
        done = [tx_id for tx_id, outcome in by_id.items() if isinstance(outcome, records.Receipt)]
        self._city.journal.settle(done)
        # A pipeline of somebody's own need not enter what it sends.
        self._city.sent.enter([tx_id for tx_id in done if not self._city.sent.may_have(tx_id)])
        return by_id

    def _checked(self, transaction: records.Transaction) -> records.Transaction:
        """A transaction that a caller hands in, if it can be sent here."""
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
        return transaction

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


def size_of(payload: Payload) -> int:
    """The bytes of what is to be sent."""
    return len(payload.payload) if isinstance(payload, records.Transaction) else memoryview(payload).nbytes
