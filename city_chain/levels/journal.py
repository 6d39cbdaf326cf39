"""The journal of a city's sends: what must be finished, or reported, by whoever opens the city next.

===================  ==========================================================
key                  value
===================  ==========================================================
``i`` tx_id          message ``intent``: transaction, manifest
``c`` tx_id          its availability certificate
``a`` tx_id index    an ack that came after the certificate was made
===================  ==========================================================

Rows of what is committed are deleted with the next write, so that a commit costs no write of its own here.

What is written before the next stage acts on it is put in order before whatever that stage writes (`put`); where the
nodes keep what they do in the same storage, it need not be on the disk before.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from city_chain import records
from city_chain.errors import InputError, StorageError
from city_chain.ports import Put, Storage
from city_chain.proofs import poh
from city_chain.stages import messages
from city_chain.stages.model import Hold

__all__ = ["Pending", "SendJournal"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A send that was begun and whose end is not known.

    Args:
        transaction: What was sent.
        manifest: Its manifest.
        certificate: Its availability certificate, if it came that far.
    """

    transaction: records.Transaction
    manifest: records.Manifest
    certificate: records.AvailabilityCertificate | None


class SendJournal:
    """The journal in a storage (see `stages.model.Journal`).

    Args:
        storage: Where it is kept; nothing else may write there.
        put: How `begin` and `delivered` write; the default, `storage.put_many`, waits for the disk (see `node.Host`).
    """

    def __init__(self, storage: Storage, put: Put | None = None) -> None:
        self._storage = storage
        self._put: Put = put or storage.put_many
        self._lock = threading.Lock()
        self._open: set[bytes] = {key[1:] for key, _ in storage.scan(b"i")}
        self._settled: set[bytes] = set()

    def begin(self, holds: Sequence[Hold]) -> None:
        """Writes transactions and manifests down, as `put` does."""
        rows = {
            b"i" + hold.manifest.tx_id: messages.message(
                "intent", [hold.transaction.to_bytes(), hold.manifest.to_bytes()]
            )
            for hold in holds
        }
        tx_ids = [hold.manifest.tx_id for hold in holds]
        with self._lock:
            self._open.update(tx_ids)
        try:
            self._write(rows, self._put)
        except Exception:
            self.settle(tx_ids)  # nothing will be sent; should a row be there after all, the next write deletes it
            raise

    def delivered(self, certificates: Sequence[records.AvailabilityCertificate]) -> None:
        """Writes availability certificates down, as `put` does."""
        rows = {b"c" + certificate.manifest.tx_id: certificate.to_bytes() for certificate in certificates}
        self._write(rows, self._put)

    def failed(self, transactions: Sequence[records.Transaction]) -> None:
        """Forgets transactions that will not be committed; durable when it returns.

        Raises:
            StorageError: The rows are still there, so the next opening may still send them.
        """
        tx_ids = [transaction.tx_id for transaction in transactions if self.is_open(transaction.tx_id)]
        if not tx_ids:
            return
        self.settle(tx_ids)
        try:
            self._write({})
        except Exception as error:
            with self._lock:
                self._settled.difference_update(tx_ids)
                self._open.update(tx_ids)
            raise StorageError(
                f"{len(tx_ids)} transactions could not be sent, nor taken out of the journal: {error}; "
                f"the next opening of the city may still send them"
            ) from error

    def settle(self, tx_ids: Sequence[bytes]) -> None:
        """The end of these sends is known; their rows go with the next write."""
        with self._lock:
            self._settled.update(tx_id for tx_id in tx_ids if tx_id in self._open)
            self._open.difference_update(tx_ids)

    def is_open(self, tx_id: bytes) -> bool:
        """Whether the end of this send is not known."""
        return tx_id in self._open

    def late(self, acks: Sequence[poh.Ack]) -> None:
        """Keeps acks that came when the certificate was made already."""
        if acks:
            self._write({b"a" + ack.tx_id + ack.index.to_bytes(2, "big"): ack.to_bytes() for ack in acks})

    def late_holders(self, tx_id: bytes) -> dict[int, bytes]:
        """Who acknowledged which fragment of a transaction late."""
        try:
            found = [poh.Ack.from_bytes(row) for _, row in self._storage.scan(b"a" + tx_id)]
        except InputError as error:
            raise StorageError(f"journal: a late ack for {tx_id.hex()} cannot be read: {error}") from error
        return {ack.index: ack.node for ack in found}

    def pending(self) -> list[Pending]:
        """Every send whose end is not known, as far as it came.

        Raises:
            StorageError: A row cannot be read.
        """
        found = []
        for key, row in self._storage.scan(b"i"):
            if key[1:] not in self._open:
                continue
            try:
                transaction, manifest = messages.answer(row, "intent", 2)
                (certificate,) = self._storage.get_many([b"c" + key[1:]])
                found.append(
                    Pending(
                        records.Transaction.from_bytes(transaction),
                        records.Manifest.from_bytes(manifest),
                        None if certificate is None else records.AvailabilityCertificate.from_bytes(certificate),
                    )
                )
            except Exception as error:
                raise StorageError(f"journal: the row of {key[1:].hex()} cannot be read: {error}") from error
        return found

    def close(self) -> None:
        """Deletes what is settled."""
        self._write({})

    def _write(self, rows: dict[bytes, bytes], put: Put | None = None) -> None:
        with self._lock:
            settled, self._settled = self._settled, set()
        try:
            if rows or settled:
                gone = [prefix + tx_id for tx_id in settled for prefix in (b"i", b"c")]
                (put or self._storage.put_many)(rows, delete=[key for key in gone if key not in rows])
        except Exception:
            with self._lock:
                self._settled |= settled
            raise
