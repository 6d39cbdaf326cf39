"""The city: the unit in which transactions are dispersed, committed, restored and proven.

An embedded city runs all its nodes in this process, over one storage. `City.local` makes or opens one, `City.open`
opens one. What a city does is in its pipelines (`city_chain.pipelines`): `sends` runs those that send, `reads` those
that read; `embedded` has the nodes, the storage and the commit engine under them.
"""

from __future__ import annotations

import os
from collections.abc import Buffer, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Self

from city_chain import records
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.algorithms.tes import kem
from city_chain.composer import Pipeline, StageEvent
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels.bursts import bursts
from city_chain.levels.checks import (
    check_batch,
    check_callback,
    check_deadline,
    check_sending,
    checked_addresses,
    checked_id,
    checked_path,
    checked_payload,
    checked_reader,
    checked_receipt,
    checked_seal,
)
from city_chain.levels.embedded import Embedded, Parts
from city_chain.levels.gate import Gate
from city_chain.levels.opening import opened, reopened
from city_chain.levels.owner import Owner
from city_chain.levels.reads import Reads, payloads_of, transactions_of
from city_chain.levels.reports import Health, NodeInfo, Recovery, RepairReport, TransactionHealth
from city_chain.levels.sends import Outcome, Payload, Sends, size_of
from city_chain.levels.settings import DEFAULT_ENGINE, Founding, Places, Settings, founder, load
from city_chain.pipelines import HEALTH, OPENING, RECEIVING, REPAIRING, SENDING
from city_chain.ports import Clock, Entropy, Presence, Storage, Transport

__all__ = ["City"]

_DEADLINE_S = 10.0


class City:
    """A city of nodes. Made by `local`, `create` or `open`; safe to use from several threads; a context manager.

    Example:
        >>> with City.local(nodes=20, validators=4) as city:
        ...     receipt = city.send(b"hello")
        ...     receipt.verify(city.trust)
        ...     city.receive(receipt.tx_id)
        b'hello'
    """

    def __init__(self, founding: Founding, parts: Parts, owner: Owner | None) -> None:
        """Use `local`, `create` or `open`."""
        self._owner, self._closed = owner, False
        self._parts, self._gate = parts, Gate()
        self._city = Embedded(founding, parts)
        if self._city.carry_on():
            self._city = self._next()
        self._sends, self._reads = Sends(self._city, self._gate), Reads(self._city, self._gate)
        self._recovery = self._sends.recover(_DEADLINE_S)

    # --- making and opening ------------------------------------------------------------------------------------------

    @classmethod
    def local(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str = "city",
        nodes: int = 20,
        validators: int = 4,
        k: int = 6,
        n: int = 10,
        districts: int = 3,
        engine: str | None = None,
        session: str = "x-wing",
        places: Places | None = None,
        storage: Storage | None = None,
        presence: Presence | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> Self:
        """Opens the city at `path`, making it first if there is none; without a path it lives in memory only.

        Args:
            path: The city's SQLite file; it holds the city's keys and is created for its owner only.
            name: The city's name.
            nodes: How many nodes, 1 to 1024.
            validators: How many of them are elected delegates.
            k: Fragments that restore a transaction.
            n: Fragments there are.
            districts: Failure domains that the nodes are spread over.
            engine: The commit engine: ``"hotstuff"``, ``"abba"`` or ``"dpos"`` (see the page on engines). Without it
                that of the city that is there, and ``"hotstuff"`` for a new one.
            session: The KEM suite to which fragments are sealed on their way to nodes.
            places: Where the nodes are, if that is to count when they are chosen; a city that is there keeps its own.
            storage: Where to keep the city instead of `path`.
            presence: The list of nodes (default: in memory).
            transport: What carries messages (default: in process).
            clock: Physical and monotonic time (default: the system's).
            entropy: Where secrets come from (default: the system's).

        Raises:
            InputError: A setting is out of range, or the city that is there was made with others.
            StorageError: The file cannot be opened or made, or another process has it open.

        Example:
            >>> city = City.local(nodes=4, validators=1, k=2, n=4)
            >>> city.close()
        """
        chosen = DEFAULT_ENGINE if engine is None else engine
        settings = Settings(name, nodes, validators, k, n, districts, chosen, session)
        founding = founder(settings, places, keeps_engine=engine is None)
        return opened(path, Parts(storage, presence, transport, clock, entropy), founding, cls, create=True)

    @classmethod
    def create(cls, path: str | os.PathLike[str], **settings: Any) -> Self:
        """Makes a new city at `path`; the settings are those of `local`, places among them.

        Raises:
            StorageError: There is a city already, or the file cannot be made.
            InputError: A setting is out of range.

        Example:
            >>> import tempfile
            >>> folder = tempfile.TemporaryDirectory()
            >>> City.create(f"{folder.name}/city.db", nodes=4, validators=1, k=2, n=4).close()
            >>> folder.cleanup()
        """
        founding = founder(places=settings.pop("places", None), settings=Settings(**settings), is_new=True)
        return opened(checked_path(path), Parts(), founding, cls, create=True)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        elsewhere: Mapping[int, str] | None = None,
        transport: Transport | None = None,
    ) -> Self:
        """Opens the city at `path`, and finishes or reports what a crash had cut off (see `recovery`).

        Args:
            path: The city's file.
            elsewhere: Index → where a node that has moved out answers now (``tcp:HOST:PORT``); it is remembered.
            transport: What carries messages (default: TCP, or in process where no node has moved out).

        Raises:
            InputError: A node of `elsewhere` has not moved out (see `move_out`).
            StorageError: There is no city, it is damaged or of a newer version, or another process has it open.

        Example:
            >>> City.open("/nowhere/city.db")  # doctest: +IGNORE_EXCEPTION_DETAIL
            Traceback (most recent call last):
            ...
            city_chain.errors.StorageError: ...
        """
        where = checked_path(path)
        founding = partial(reopened, where, checked_addresses(elsewhere))
        return opened(where, Parts(transport=transport), founding, cls, create=False)

    def close(self) -> None:
        """Stops nodes and storage. Stragglers are not waited for: see `settle`. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        self._city.close()
        if self._owner is not None:
            self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        settings = self._city.settings
        return f"<City {settings.name!r} network={self.network.hex()[:16]} nodes={settings.nodes} height={self.height}>"

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def network(self) -> bytes:
        """The network's id, 32 bytes."""
        return self._city.epoch.network

    @property
    def settings(self) -> Settings:
        """What the city was made with."""
        return self._city.settings

    @property
    def trust(self) -> records.Trust:
        """What a verifier must know beforehand to check this city's receipts."""
        return self._city.trust

    @property
    def epoch(self) -> records.Epoch:
        """The epoch in force: its delegates and their stake."""
        return self._city.epoch

    @property
    def keys(self) -> records.CityKeys:
        """The city's threshold keys, made when it is founded; made now if too few delegates were there before.

        Raises:
            UnavailableError: They are not made yet, and too few delegates take part.
            StorageError: They are damaged.

        Example:
            >>> with City.local() as city:
            ...     city.keys.threshold, len(city.keys.delegates)
            (3, 4)
        """
        self._check_open()
        return self._city.need_keys()

    @property
    def height(self) -> int:
        """How many batches are committed."""
        return self._city.ledger.tip.height

    @property
    def durable(self) -> bool:
        """Whether what is committed survives the loss of power."""
        return self._city.storage.durable

    @property
    def sender(self) -> bytes:
        """The public key that this city sends with."""
        return self._city.sender.identity.id

    @property
    def recovery(self) -> Recovery:
        """What opening found unfinished, and what became of it."""
        return self._recovery

    def watch(self, on_stage: Callable[[StageEvent], None] | None) -> None:
        """Calls `on_stage` with every stage that ends from now on, in whatever thread it ran; None ends it."""
        check_callback("on_stage", on_stage)
        self._city.on_stage = on_stage

    def use(self, sending: Pipeline) -> None:
        """Sends through another pipeline from now on: `pipelines.SENDING` with stages put in, replaced or left out.

        What a crash cuts off is finished by `pipelines.RESUMING`, so a stage of one's own may not be what a receipt
        needs. An error of `CityChainError`'s kind that a stage raises is the outcome of its whole burst; any other
        comes out of `send_many` as it is, and nothing that was not journalled yet is sent.

        Args:
            sending: Its inputs are among those of `pipelines.SENDING`, and it gives ``outcomes``.

        Raises:
            TypeError: It is no `Pipeline`.
            InputError: It needs an input that a city does not give, or does not give ``outcomes``.

        Example:
            >>> from city_chain.composer import stage
            >>> @stage(inputs=("dispersals",), output="dispersals")
            ... def measure(dispersals):
            ...     print([len(dispersal.fragments) for dispersal in dispersals])
            ...     return dispersals
            >>> with City.local() as city:
            ...     city.use(SENDING.insert(measure, after="s2_encode"))
            ...     receipt = city.send(b"hello")
            [10]
        """
        check_sending(sending, SENDING)
        self._sends.pipeline = sending

    # --- sending -----------------------------------------------------------------------------------------------------
    def transaction(
        self,
        payload: Buffer,
        *,
        place: tuple[str, int, int] | None = None,
        touched: Iterable[bytes] = (),
        terms: bytes | None = None,
        seal: str | Iterable[bytes] | None = None,
    ) -> records.Transaction:
        """Makes and signs a transaction with the sender's next number, to be sent with `send`. Sends nothing.

        Args:
            payload: Any bytes, at most 64 MiB.
            place: Where the sender says it is: region, latitude and longitude in 1e-7 degrees.
            touched: Keys of the ledger that it touches, at most 64 of at most 64 bytes.
            terms: What it does to them in the cities of a world (`sc.Manifest.terms`); `World.send` gives it.
            seal: To whom the payload is sealed, see `send`.

        Raises:
            InputError: A field is too large or out of range.
        """
        self._check_open()
        return self._sends.make(payload, place, touched, checked_seal(seal), terms)

    def send(
        self,
        payload: Payload,
        *,
        touched: Iterable[bytes] = (),
        seal: str | Iterable[bytes] | None = None,
        deadline_s: float = _DEADLINE_S,
    ) -> records.Receipt:
        """Disperses and commits one transaction; returns when it is durable.

        Args:
            payload: Any bytes, at most 64 MiB, or a transaction made by `transaction`. The same transaction sent again
                gives the receipt of the first time; the same bytes sent again are another transaction.
            touched: Keys of the ledger that it touches (see `transaction`), of a payload that is bytes.
            seal: To whom the payload is sealed: None (to nobody: every holder of enough fragments can read it),
                ``"city"`` (once it is committed, no fewer than a threshold of delegates open it), or 1 to 64 readers'
                public keys (`city_chain.algorithms.tes.kem`). A transaction is sealed when it is made, or not at all.
            deadline_s: When to give up, seconds.

        Returns:
            The receipt; it proves everything offline.

        Example:
            >>> with City.local() as city:
            ...     receipt = city.send(b"nobody reads this before it is committed", seal="city")
            ...     city.receive(receipt.tx_id)
            b'nobody reads this before it is committed'

        Raises:
            InputError: The payload is too large, or the transaction is not this sender's.
            UnavailableError: Too few nodes acknowledged (nothing is committed), or too few delegates voted (the
                transaction is journalled and may still be committed; sending the same transaction again is safe).
            DeadlineError: The time was up.
            StorageError: The disk is full, read-only or broken; nothing that was acknowledged is lost.
        """
        keys = list(touched)
        if keys:
            if isinstance(payload, records.Transaction):
                raise InputError("a transaction is signed and touches what it touches; make it with touched=…")
            payload, seal = self.transaction(payload, touched=keys, seal=seal), None
        (outcome,) = self.send_many([payload], seal=seal, deadline_s=deadline_s)
        if isinstance(outcome, CityChainError):
            raise outcome
        return outcome

    def send_many(
        self,
        payloads: Iterable[Payload],
        *,
        seal: str | Iterable[bytes] | None = None,
        batch: int = 64,
        deadline_s: float = _DEADLINE_S,
        on_outcome: Callable[[int, Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Sends many; those of a batch travel together and are committed at once.

        Args:
            payloads: What to send (see `send`), in order.
            seal: To whom all of them are sealed, see `send`.
            batch: How many travel together, 1 to 4096.
            deadline_s: When to give up a batch, seconds.
            on_outcome: Called with the position and outcome of each as soon as its batch is done.

        Returns:
            One outcome each: the receipt, or the error that `send` would have raised. One that fails does not stop
            the others.

        Raises:
            TypeError: A payload is neither bytes nor a transaction; nothing was sent then.
            InputError: `seal`, `batch` or `deadline_s` is out of range, or a transaction was to be sealed; nothing was
                sent then.
        """
        self._check_open()
        check_deadline(deadline_s)
        check_batch(batch)
        check_callback("on_outcome", on_outcome)
        to = checked_seal(seal)
        items = [checked_payload(payload) for payload in payloads]
        if to is not None and any(isinstance(item, records.Transaction) for item in items):
            raise InputError(
                "a transaction is signed and cannot be sealed any more; make it with transaction(…, seal=…)"
            )
        outcomes: list[Outcome] = []
        for burst in bursts([(item, size_of(item)) for item in items], batch):
            done = self._sends.send(burst, deadline_s, to)
            for outcome in done:
                if on_outcome is not None:
                    on_outcome(len(outcomes), outcome)
                outcomes.append(outcome)
        return outcomes

    def settle(self, timeout_s: float = _DEADLINE_S) -> None:
        """Waits until the stragglers of everything sent so far are done, so that placements are as whole as they get.

        Raises:
            DeadlineError: They are not done within `timeout_s` seconds.
        """
        self._check_open()
        check_deadline(timeout_s)
        self._city.behind.settle(timeout_s)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def receive(self, tx_id: bytes, *, key: kem.SecretKey | None = None, deadline_s: float = _DEADLINE_S) -> bytes:
        """Restores a transaction from its holders, opens it if it is sealed, and returns its payload.

        Args:
            tx_id: The transaction's id, 32 bytes.
            key: The secret key of a reader, for what is sealed to readers.
            deadline_s: When to give up, seconds.

        Raises:
            InputError: No such transaction is committed here, or it is sealed to readers and `key` is none of theirs;
                the message says whose keys open it.
            UnavailableError: Fewer than k good fragments could be fetched, or fewer decryption shares than open it:
                `needed` and `had`.
            VerificationError: What was restored is not the transaction, or what is sealed was changed.
        """
        (outcome,) = self.receive_payloads([tx_id], key=key, deadline_s=deadline_s)
        if isinstance(outcome, CityChainError):
            raise outcome
        return outcome

    def receive_payloads(
        self, tx_ids: Iterable[bytes], *, key: kem.SecretKey | None = None, deadline_s: float = _DEADLINE_S
    ) -> list[bytes | CityChainError]:
        """Restores many transactions and opens those that are sealed; one outcome each, as `receive` has it.

        Raises:
            InputError: One of them is not committed here.
        """
        self._check_open()
        check_deadline(deadline_s)
        return self._reads.outcomes(OPENING, tx_ids, deadline_s, payloads_of, reader=checked_reader(key))

    def receive_many(
        self, tx_ids: Iterable[bytes], *, deadline_s: float = _DEADLINE_S
    ) -> list[records.Transaction | CityChainError]:
        """Restores many transactions as they were signed; one outcome each. What is sealed stays sealed.

        Raises:
            InputError: One of them is not committed here.
        """
        self._check_open()
        check_deadline(deadline_s)
        return self._reads.outcomes(RECEIVING, tx_ids, deadline_s, transactions_of)

    def receipt(self, tx_id: bytes) -> records.Receipt:
        """The receipt of a committed transaction.

        Raises:
            InputError: No such transaction is committed here.
        """
        self._check_open()
        receipt = self._city.ledger.receipt(checked_id(tx_id))
        if receipt is None:
            raise InputError(f"no transaction {tx_id.hex()} is committed here")
        return receipt

    def candidates(self, root: bytes) -> records.Candidates:
        """The candidate list of that root (`Selection.candidates_root`), for `records.verify_selection`.

        Raises:
            InputError: Nodes were never drawn from such a list here.
        """
        self._check_open()
        return self._city.candidates(root)

    def countersign(self, tx_id: bytes, *, deadline_s: float = _DEADLINE_S) -> records.CountersignedReceipt:
        """Has a committed transaction's receipt countersigned with ML-DSA, against the day when Ed25519 can be forged.

        Args:
            tx_id: The transaction's id, 32 bytes.
            deadline_s: When to give up, seconds.

        Returns:
            The receipt with ML-DSA-65 signatures of its holders, each of its own ack and only while it holds the
            fragment, and of the delegates, of the batch: as many as the receipt itself needs, at least.

        Raises:
            InputError: No such transaction is committed here.
            UnavailableError: Too few nodes answered or still hold their fragments: `needed` and `had`.

        Example:
            >>> with City.local(nodes=4, validators=1, k=2, n=4) as city:
            ...     countersigned = city.countersign(city.send(b"hello").tx_id)
            ...     believed = countersigned.verify(city.trust)
            >>> len(countersigned.delegates)
            1
        """
        check_deadline(deadline_s)
        return self._city.countersign(self.receipt(tx_id), deadline_s)

    def compress(self, receipt: records.Receipt) -> records.Receipt:
        """The same receipt with the delegates' votes replaced by one signature of the city, which is smaller.

        A threshold of the delegates sign, each after it has checked the votes. It verifies against `trust`, which has
        the city's public key.

        Args:
            receipt: A receipt of this city.

        Raises:
            UnavailableError: Too few delegates gave a right share, or the receipt is not of a batch of this city.

        Example:
            >>> with City.local() as city:
            ...     receipt = city.send(b"hello")
            ...     small = city.compress(receipt)
            ...     small.verify(city.trust)
            ...     len(small.to_bytes()) < len(receipt.to_bytes())
            True
        """
        self._check_open()
        with self._gate.through():
            return self._city.compress(checked_receipt(receipt))

    def tx_ids(self) -> Iterator[bytes]:
        """The ids of all committed transactions, ascending."""
        self._check_open()
        return self._city.ledger.tx_ids()

    def health(
        self,
        tx_ids: Iterable[bytes] | None = None,
        *,
        deadline_s: float = _DEADLINE_S,
        on_progress: Callable[[int], None] | None = None,
    ) -> Health:
        """Fetches every fragment of some transactions (default: all) and checks it.

        Args:
            tx_ids: Which transactions.
            deadline_s: When to give up a burst of them, seconds.
            on_progress: Called with how many were checked so far.
        """
        self._check_open()
        check_deadline(deadline_s)
        check_callback("on_progress", on_progress)
        until = self._city.clock.monotonic() + deadline_s
        found: list[TransactionHealth] = []
        errors: dict[bytes, CityChainError] = {}
        for burst, run in self._reads.run(HEALTH, self.tx_ids() if tx_ids is None else tx_ids, deadline_s):
            if isinstance(run, StorageError):
                errors.update(dict.fromkeys(burst, run))
            else:
                found += map(TransactionHealth.of, run["placements"], run["findings"])
            if on_progress is not None:
                on_progress(len(found) + len(errors))
        self._city.learn(until)
        return Health(found, errors, self._city.clock_health())

    def repair(
        self,
        tx_ids: Iterable[bytes] | None = None,
        *,
        deadline_s: float = _DEADLINE_S,
        on_progress: Callable[[int], None] | None = None,
    ) -> RepairReport:
        """Makes absent and corrupt fragments of some transactions (default: all) anew on healthy nodes, and commits it.

        Args:
            tx_ids: Which transactions.
            deadline_s: When to give up a burst of them, seconds.
            on_progress: Called with how many were seen to so far.

        Raises:
            UnavailableError: Too few delegates vote, so no repair can be committed.
            DeadlineError: Others' batches were still under way at the deadline.
        """
        self._check_open()
        check_deadline(deadline_s)
        check_callback("on_progress", on_progress)
        until = self._city.clock.monotonic() + deadline_s
        report = RepairReport.of([])
        for burst, run in self._reads.run(REPAIRING, self.tx_ids() if tx_ids is None else tx_ids, deadline_s):
            if isinstance(run, StorageError):
                report += RepairReport(len(burst), 0, 0, 0, dict.fromkeys(burst, run))
            else:
                report += RepairReport.of(run["results"])
            if on_progress is not None:
                on_progress(report.checked)
        self._city.learn(until)
        return report

    # --- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[NodeInfo]:
        """The nodes, in the order in which they were made."""
        self._check_open()
        return self._city.nodes()

    def move_out(self, node: bytes, path: str | os.PathLike[str]) -> int:
        """Has a node run in a process of its own from now on, and writes the file with its keys for `NodeHost.open`.

        It stops here before the file has its name, and stays if that cannot be written. One that moved out before gets
        another file, without fragments and votes: with that it votes for nothing until the next epoch.

        Args:
            node: The node's id.
            path: Where to write the file, a secret.

        Returns:
            The node's index, for `open`'s `elsewhere`.

        Raises:
            InputError: There is no such node, or it holds more than 192 MiB.
            StorageError: The file cannot be written.
        """
        self._check_open()
        with self._gate.alone():
            try:
                return self._city.move_out(node, checked_path(path))
            finally:
                if self._city.is_outdated:  # it may be out even where that failed
                    self._enter_next()

    def stop_node(self, node: bytes) -> None:
        """Stops a node for good, as a crash would: it answers nothing, and nobody is told. `start_node` brings it back.

        Raises:
            InputError: There is no such node.
        """
        self._check_open()
        self._city.stop_node(node)

    def start_node(self, node: bytes) -> None:
        """Starts a stopped node again; what it had stored is still there.

        Raises:
            InputError: There is no such node.
        """
        self._check_open()
        self._city.start_node(node)

    def elect(self, validators: int | Iterable[bytes], *, deadline_s: float = _DEADLINE_S) -> records.Epoch:
        """Hands over to the next epoch with other delegates (or the same, whose key shares are then fresh).

        A quorum of those in office certifies it; the threshold keys are handed on: their public part stays, old shares
        are erased. Receipts of all epochs verify against `trust`. Whatever fails, one epoch or the other is whole.

        Args:
            validators: The ids of the next delegates, or how many to elect of the nodes that run, 1 to 128.
            deadline_s: How long to wait for stragglers and for what is being committed, seconds.

        Returns:
            The new epoch.

        Raises:
            InputError: There is no such node, one is named twice, or they are too few or too many.
            UnavailableError: Something is being sent or received, a send is not ended, or too few delegates take part.
            DeadlineError: Stragglers are not done in time.
            StorageError: The disk failed.

        Example:
            >>> with City.local() as city:
            ...     city.elect(7).number, city.keys.threshold
            (1, 5)
        """
        self._check_open()
        check_deadline(deadline_s)
        with self._gate.alone():
            self._city.behind.settle(deadline_s)
            if self._city.carry_on():  # one that a failing disk cut off
                self._enter_next()
            self._city.hand_over(self._city.chosen(validators), self._city.clock.monotonic() + deadline_s)
            self._enter_next()
        return self._city.epoch

    def misbehaviour(self) -> list[tuple[bytes, bytes]]:
        """(node, evidence of two things signed that exclude each other): see `city_chain.algorithms.hs`.

        Nodes elsewhere are asked for it; what they told once is kept.
        """
        self._check_open()
        return self._city.misbehaviour()

    def _enter_next(self) -> None:
        self._city = self._next()
        self._sends.move(self._city)
        self._reads.move(self._city)

    def _next(self) -> Embedded:
        """The insides in the epoch that the storage has now, with the same adapters."""
        self._city.rest()
        try:
            return self._city.again(load(NamespacedStorage(self._city.storage, b"c")), self._parts)
        except BaseException:
            self.close()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the city is closed; open it again")
