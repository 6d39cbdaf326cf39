"""The ledger: the batches of a city in their one order, and what follows from them.

One append is one durable write: the batch with its certificate, a receipt for every transaction in it, every repair,
the senders' running numbers and the new tip. All nodes of one process share one ledger: it is public; their votes are
not.

===========================  ======================================================
key                          value
===========================  ======================================================
``head``                     height, digest and stamp of the last batch (JSON)
``b`` height                 message ``batch``: batch, commit certificate
``t`` tx_id                  the transaction's receipt
``r`` tx_id generation       the repair certificate
``g`` tx_id                  the running number of the last repair
``s`` sender                 the sender's numbers (JSON)
``u`` subject height         a ruling about a transaction of several cities
``y`` height                 present where a batch has rulings
===========================  ======================================================
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from city_chain import records
from city_chain.errors import InputError, ProtocolError, StorageError, VerificationError
from city_chain.ports import Storage
from city_chain.stages import messages

__all__ = ["RECENT_MAX", "SEQUENCE_WINDOW", "Certificate", "CommittedBatch", "Ledger", "SenderState", "Tip"]

SEQUENCE_WINDOW = 1024
"""How far a sequence may run ahead of the lowest one that is not committed: a sender can leave gaps (a transaction that
could not be delivered), but cannot wander off to look for a draw that suits it."""

RECENT_MAX = 16
"""How many headers of batches that were appended last are at hand."""

_FAILED_MAX = 3
"""After so many writes in a row that fail nobody waits for the disk any longer."""

type Certificate = records.AvailabilityCertificate | records.RepairCertificate | records.Ruling


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of the ledger.

    Args:
        height: The height of the last batch, 0 if there is none.
        digest: Its digest; the network's id if there is none.
        hlc: Its stamp.
    """

    height: int
    digest: bytes
    hlc: int


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """A committed batch with its certificate."""

    batch: records.Batch
    certificate: records.CommitCertificate


@dataclass(frozen=True, slots=True)
class SenderState:
    """What the ledger knows of a sender.

    Args:
        vrf_public: The key it draws with, which may not change; empty before its first transaction.
        next_sequence: The lowest sequence that is not committed.
        ahead: Committed sequences above it.
    """

    vrf_public: bytes = b""
    next_sequence: int = 0
    ahead: frozenset[int] = frozenset()

    def after(self, entry: records.Entry) -> SenderState:
        """The state with a transaction's entry taken in.

        Raises:
            VerificationError: Another VRF key, a sequence that is committed, or one beyond the window.
        """
        sequence = entry.sequence
        if sequence is None or entry.vrf_public is None:
            raise InputError("ledger: a repair has no sequence")
        if self.vrf_public not in (b"", entry.vrf_public):
            raise VerificationError("ledger: the sender draws with another VRF key than before")
        if sequence < self.next_sequence or sequence in self.ahead:
            raise VerificationError(f"ledger: sequence {sequence} of the sender is committed already")
        if sequence >= self.next_sequence + SEQUENCE_WINDOW:
            raise VerificationError(
                f"ledger: sequence {sequence} of the sender; the lowest that is not committed is "
                f"{self.next_sequence}, and at most {SEQUENCE_WINDOW} may be ahead of it"
            )
        ahead, lowest = set(self.ahead) | {sequence}, self.next_sequence
        while lowest in ahead:
            ahead.remove(lowest)
            lowest += 1
        return SenderState(entry.vrf_public, lowest, frozenset(ahead))


class Ledger:
    """The ledger in a storage.

    Args:
        storage: Where it is kept; nothing else may write there.
        epoch: The epoch in force.
        earlier: The epochs before it, each verified by the handover to the next.
        begins: The height after which the epoch in force begins, and the digest of the batch there.

    Raises:
        StorageError: What is there is not this network's ledger.
    """

    def __init__(
        self,
        storage: Storage,
        epoch: records.Epoch,
        earlier: Sequence[records.Epoch] = (),
        begins: tuple[int, bytes] | None = None,
    ) -> None:
        self._storage = storage
        self._epoch = epoch
        self._epochs = {known.number: known for known in (*earlier, epoch)}
        self._begins = begins or (0, epoch.network)
        self._lock = threading.RLock()
        self._senders: dict[bytes, SenderState] = {}
        self._tip = self._read_tip()
        self._appended: tuple[int, records.CommitCertificate] | None = None
        self._recent: deque[tuple[records.BatchHeader, records.CommitCertificate]] = deque(maxlen=RECENT_MAX)
        self.failure: Exception | None = None
        """What went wrong when a batch was last to be appended: whoever waits for it may give up."""
        self._failed = 0

    def _read_tip(self) -> Tip:
        (row,) = self._storage.get_many([b"head"])
        if row is None:
            return Tip(0, self._epoch.network, 0)
        try:
            tip = orjson.loads(row)
            if tip["network"] != self._epoch.network.hex():
                raise StorageError(f"ledger: of network {tip['network']}, not of {self._epoch.network.hex()}")
            return Tip(int(tip["height"]), bytes.fromhex(tip["digest"]), int(tip["hlc"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"ledger: its tip cannot be read: {error}") from error

    @property
    def tip(self) -> Tip:
        """The end of the ledger."""
        return self._tip

    @property
    def epoch(self) -> records.Epoch:
        """The epoch in force."""
        return self._epoch

    @property
    def epochs(self) -> list[records.Epoch]:
        """All epochs so far, ascending by number."""
        return [self._epochs[number] for number in sorted(self._epochs)]

    @property
    def begins(self) -> tuple[int, bytes]:
        """The height after which the epoch in force begins, and the digest of the batch there."""
        return self._begins

    def epoch_of(self, number: int) -> records.Epoch:
        """The epoch of that number.

        Raises:
            VerificationError: There is no such epoch here.
        """
        found = self._epochs.get(number)
        if found is None:
            raise VerificationError(f"ledger: there is no epoch {number} here")
        return found

    def receipt(self, tx_id: bytes) -> records.Receipt | None:
        """The receipt of a committed transaction."""
        return self.receipts([tx_id])[0]

    def receipts(self, tx_ids: Sequence[bytes]) -> list[records.Receipt | None]:
        """The receipts of many transactions, None where one is not committed."""
        rows = self._storage.get_many([b"t" + tx_id for tx_id in tx_ids])
        return [None if row is None else _receipt(tx_id, row) for tx_id, row in zip(tx_ids, rows, strict=True)]

    def committed(self, tx_ids: Sequence[bytes]) -> list[bool]:
        """Whether each transaction is committed."""
        return [row is not None for row in self._storage.get_many([b"t" + tx_id for tx_id in tx_ids])]

    def repairs(self, tx_id: bytes) -> list[records.RepairCertificate]:
        """The repairs of a transaction, in their order."""
        with _reading("a repair of", tx_id):
            return [records.RepairCertificate.from_bytes(row) for _, row in self._storage.scan(b"r" + tx_id)]

    def generation(self, tx_id: bytes) -> int:
        """The running number of a transaction's last repair, 0 if there was none."""
        return self.generations([tx_id])[0]

    def generations(self, tx_ids: Sequence[bytes]) -> list[int]:
        """The running numbers of many transactions' last repairs."""
        found = []
        for tx_id, row in zip(tx_ids, self._storage.get_many([b"g" + tx_id for tx_id in tx_ids]), strict=True):
            with _reading("the generation of", tx_id):
                found.append(0 if row is None else messages.integer_of(row))
        return found

    def sender(self, sender: bytes) -> SenderState:
        """What is known of a sender."""
        known = self._senders.get(sender)
        if known is None:
            (row,) = self._storage.get_many([b"s" + sender])
            known = SenderState()
            if row is not None:
                with _reading("sender", sender):
                    state = orjson.loads(row)
                    known = SenderState(
                        bytes.fromhex(state["vrf_public"]),
                        int(state["next_sequence"]),
                        frozenset(map(int, state["ahead"])),
                    )
            if len(self._senders) >= 1 << 16:
                self._senders.clear()
            self._senders[sender] = known
        return known

    def batch(self, height: int) -> CommittedBatch | None:
        """The batch at a height with its certificate."""
        (row,) = self._storage.get_many([b"b" + height.to_bytes(8, "big")])
        if row is None:
            return None
        with _reading("the batch at height", str(height)):
            batch, certificate = messages.answer(row, "batch", 2)
            return CommittedBatch(records.Batch.from_bytes(batch), records.CommitCertificate.from_bytes(certificate))

    def proven(self, height: int) -> list[bytes] | None:
        """The batch at a height as others `learn` it (see `Judge`): batch, certificate, the evidence of each entry."""
        committed = self.batch(height)
        if committed is None:
            return None
        evidence = [piece.to_bytes() for piece in self.evidence(committed.batch)]
        return [committed.batch.to_bytes(), committed.certificate.to_bytes(), *evidence]

    def certificate(self, height: int) -> records.CommitCertificate | None:
        """The certificate of the batch at a height: that of the last append is at hand, others are read."""
        appended = self._appended
        if appended is not None and appended[0] == height:
            return appended[1]
        committed = self.batch(height)
        return None if committed is None else committed.certificate

    def committed_after(self, height: int) -> list[tuple[records.BatchHeader, records.CommitCertificate]]:
        """The headers and certificates of the batches above a height, ascending: the last `RECENT_MAX` of them at most.

        Those that were appended here are at hand; of those that were there before, the last one alone is read.
        """
        with self._lock:
            tip, recent = self._tip.height, [known for known in self._recent if known[0].height > height]
        if recent or tip <= height:
            return recent
        last = self.batch(tip)
        return [] if last is None else [(last.batch.header, last.certificate)]

    def evidence(self, batch: records.Batch) -> list[Certificate]:
        """The certificates behind the entries of a committed batch, in their order."""
        found: list[Certificate] = []
        for entry in batch.entries:
            if entry.kind == "sharding":
                found.append(self._ruling(entry.tx_id, batch.header.height))
            elif entry.generation is None:
                receipt = self.receipt(entry.tx_id)
                if receipt is None:
                    raise StorageError(f"ledger: the receipt of {entry.tx_id.hex()} is missing")
                found.append(receipt.availability)
            else:
                (row,) = self._storage.get_many([_repair_key(entry.tx_id, entry.generation)])
                if row is None:
                    raise StorageError(f"ledger: repair {entry.generation} of {entry.tx_id.hex()} is missing")
                with _reading("a repair of", entry.tx_id):
                    found.append(records.RepairCertificate.from_bytes(row))
        return found

    def rulings(self, subject: bytes) -> list[records.Ruling]:
        """What the city ruled about a transaction of several cities, in its order."""
        with _reading("a ruling about", subject):
            return [records.Ruling.from_bytes(row) for _, row in self._storage.scan(b"u" + subject)]

    def ruling_heights(self, after: int) -> Iterator[int]:
        """The heights above `after` of the batches that have rulings, ascending."""
        for key, _ in self._storage.scan(b"y", after=b"y" + after.to_bytes(8, "big")):
            yield int.from_bytes(key[1:], "big")

    def _ruling(self, subject: bytes, height: int) -> records.Ruling:
        (row,) = self._storage.get_many([_ruling_key(subject, height)])
        if row is None:
            raise StorageError(f"ledger: the ruling about {subject.hex()} at height {height} is missing")
        with _reading("the ruling about", subject):
            return records.Ruling.from_bytes(row)

    def has(self, entry: records.Entry) -> bool:
        """Whether a repair or a ruling is committed."""
        if entry.kind == "sharding":
            return any(ruling.digest == entry.ruling_hash for ruling in self.rulings(entry.tx_id))
        return any(records.Entry.repair(known.repair) == entry for known in self.repairs(entry.tx_id))

    def tx_ids(self, after: bytes | None = None, limit: int | None = None) -> Iterator[bytes]:
        """The committed transactions by ascending id, from the one after `after`, at most `limit`."""
        start = None if after is None else b"t" + after
        for key, _ in self._storage.scan(b"t", after=start, limit=limit):
            yield key[1:]

    def append(
        self, batch: records.Batch, certificate: records.CommitCertificate, evidence: Sequence[Certificate]
    ) -> list[records.Receipt]:
        """Appends a batch whose entries and evidence were judged; durable when it returns.

        Args:
            batch: The batch after the tip.
            certificate: What the engine produced for it.
            evidence: The certificate behind each entry, in order.

        Returns:
            The receipts of the transactions in it, in order.

        Raises:
            VerificationError: The batch does not follow the tip, or the certificate is not right.
            StorageError: It could not be written; the ledger is as the storage has it.
        """
        with self._lock:
            header = batch.header
            if (header.height, header.previous) != (self._tip.height + 1, self._tip.digest):
                raise VerificationError(
                    f"ledger: a batch of height {header.height} does not follow the tip at {self._tip.height}"
                )
            certificate.verify(self._epoch, header)
            rows, senders, receipts = self._rows(batch, certificate, evidence)
            tip = Tip(header.height, batch.digest, header.hlc)
            rows[b"head"] = orjson.dumps(
                {
                    "network": self._epoch.network.hex(),
                    "height": tip.height,
                    "digest": tip.digest.hex(),
                    "hlc": tip.hlc,
                }
            )
            try:
                self._storage.put_many(rows)
            except Exception as failure:
                # A disk that fails may have written all the same: what is there counts.
                self.failure = failure
                self._senders.clear()
                self._tip = self._read_tip()
                raise
            self.failure = None
            self._appended = tip.height, certificate
            self._recent.append((header, certificate))
            self._tip = tip
            self._senders.update(senders)
            return receipts

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While what a batch rests on is written: a disk that fails again and again is a `failure`."""
        try:
            yield
        except Exception as failure:
            self._failed += 1
            if self._failed >= _FAILED_MAX:
                self.failure = failure
            raise
        self._failed = 0

    def _rows(
        self, batch: records.Batch, certificate: records.CommitCertificate, evidence: Sequence[Certificate]
    ) -> tuple[dict[bytes, bytes], Mapping[bytes, SenderState], list[records.Receipt]]:
        key = b"b" + batch.header.height.to_bytes(8, "big")
        rows = {key: messages.message("batch", [batch.to_bytes(), certificate.to_bytes()])}
        senders: dict[bytes, SenderState] = {}
        placed: list[tuple[int, records.AvailabilityCertificate]] = []
        for position, (entry, piece) in enumerate(zip(batch.entries, evidence, strict=True)):
            if isinstance(piece, records.AvailabilityCertificate) and entry.sender is not None:
                senders[entry.sender] = senders.get(entry.sender, self.sender(entry.sender)).after(entry)
                placed.append((position, piece))
            elif isinstance(piece, records.RepairCertificate) and entry.generation is not None:
                rows[_repair_key(entry.tx_id, entry.generation)] = piece.to_bytes()
                rows[b"g" + entry.tx_id] = messages.integer(entry.generation)
            elif isinstance(piece, records.Ruling) and entry.kind == "sharding":
                rows[_ruling_key(entry.tx_id, batch.header.height)] = piece.to_bytes()
                rows[b"y" + batch.header.height.to_bytes(8, "big")] = b""
            else:
                raise InputError(f"ledger: the evidence of entry {position} is of another kind")
        receipts = records.Receipt.many(
            [piece for _, piece in placed], self._epoch, batch, certificate, [position for position, _ in placed]
        )
        for receipt in receipts:
            rows[b"t" + receipt.tx_id] = receipt.to_bytes()
        for sender, state in senders.items():
            rows[b"s" + sender] = orjson.dumps(
                {
                    "vrf_public": state.vrf_public.hex(),
                    "next_sequence": state.next_sequence,
                    "ahead": sorted(state.ahead),
                }
            )
        return rows, senders, receipts


def _repair_key(tx_id: bytes, generation: int) -> bytes:
    return b"r" + tx_id + generation.to_bytes(4, "big")


def _ruling_key(subject: bytes, height: int) -> bytes:
    return b"u" + subject + height.to_bytes(8, "big")


def _receipt(tx_id: bytes, row: bytes) -> records.Receipt:
    with _reading("the receipt of", tx_id):
        receipt = records.Receipt.from_bytes(row)
        if receipt.tx_id != tx_id:
            raise ValueError(f"it is of {receipt.tx_id.hex()}")
        return receipt


@contextmanager
def _reading(what: str, of: bytes | str) -> Iterator[None]:
    """A row that cannot be read is the storage's fault."""
    try:
        yield
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        shown = of if isinstance(of, str) else of.hex()
        raise StorageError(f"ledger: {what} {shown} cannot be read, the row is damaged: {error}") from error
