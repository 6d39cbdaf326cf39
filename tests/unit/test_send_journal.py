"""The journal of sends: what was begun, how far it came, and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from city_chain import ec, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import StorageError
from city_chain.levels.journal import SendJournal
from city_chain.proofs import dpos, poh
from city_chain.stages.model import Dispersal, Hold

pytestmark = pytest.mark.unit

SENDER = records.Identity(b"\x01" * 32)
NODES = [records.Identity.child(bytes(32), b"node", at) for at in range(4)]
EPOCH = records.Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(SENDER.id, 10)]))
CANDIDATES = records.Candidates(EPOCH.network, "Utrecht", sorted((node.id, 1 << 16, "north") for node in NODES))
K, N = 2, 4


def send_of(sequence: int) -> tuple[Hold, records.AvailabilityCertificate]:
    """A hold and the certificate that its acks make."""
    transaction = records.Transaction(SENDER, network=EPOCH.network, sequence=sequence, hlc=1, payload=b"x" * 50)
    encoded = ec.encode(transaction.to_bytes(), K, N - K)
    (selection,) = records.Draw(SENDER, EPOCH).select_many(CANDIDATES, SENDER.id, [sequence], N)
    length = len(transaction.to_bytes())
    manifest = records.Manifest(
        SENDER,
        transaction=transaction,
        length=length,
        k=K,
        n=N,
        quorum=poh.write_quorum(K, N),
        fragment_hashes=encoded.hashes,
        selection=selection,
    )
    asked = [(manifest, encoded.hashes[at], node, at, bytes(32)) for at, node in enumerate(selection.nodes)]
    requests = poh.request_many(SENDER, asked, hlc=2, deadline_ms=1_000, hold_until_ms=2_000)
    by_id = {node.id: node for node in NODES}
    acks = [
        poh.hold_many(by_id[request.node], [(request, bytes(encoded.fragments[request.index]))], 3)[0]
        for request in requests
    ]
    certificate = records.AvailabilityCertificate(manifest, encoded.hashes, acks)
    dispersal = Dispersal(length, K, N, encoded.fragments, encoded.hashes)
    return Hold(transaction, manifest, dispersal, requests), certificate


class Disk(MemoryStorage):
    broken = False

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        if self.broken:
            raise StorageError("the disk is full")
        super().put_many(items, delete=delete)


def pending(journal: SendJournal) -> list[tuple[bytes, bytes, bool]]:
    return [(p.transaction.tx_id, p.manifest.manifest_hash, p.certificate is not None) for p in journal.pending()]


def test_what_was_begun_and_what_was_delivered_are_there_at_once_and_after_reopening() -> None:
    storage = Disk()
    journal = SendJournal(storage)
    (hold, certificate), (other, _) = sorted((send_of(0), send_of(1)), key=lambda pair: pair[0].manifest.tx_id)
    journal.begin([hold, other])
    first, second = hold.manifest, other.manifest
    for found in (journal, SendJournal(storage)):
        assert pending(found) == [
            (first.tx_id, first.manifest_hash, False),
            (second.tx_id, second.manifest_hash, False),
        ]
    journal.delivered([certificate])
    for found in (journal, SendJournal(storage)):
        assert pending(found) == [
            (first.tx_id, first.manifest_hash, True),
            (second.tx_id, second.manifest_hash, False),
        ]
        assert [p.certificate for p in found.pending()] == [certificate, None]
        assert [p.transaction for p in found.pending()] == [hold.transaction, other.transaction]
        assert found.is_open(first.tx_id)


def test_what_is_settled_goes_with_the_next_write() -> None:
    storage = Disk()
    journal = SendJournal(storage)
    (hold, certificate), (other, _) = send_of(0), send_of(1)
    journal.begin([hold])
    journal.delivered([certificate])
    journal.settle([hold.manifest.tx_id])
    assert not journal.is_open(hold.manifest.tx_id)
    assert journal.pending() == []
    assert len(SendJournal(storage).pending()) == 1
    journal.begin([other])
    assert pending(SendJournal(storage)) == [(other.manifest.tx_id, other.manifest.manifest_hash, False)]
    journal.settle([other.manifest.tx_id])
    journal.close()
    assert list(storage.scan(b"")) == []


def test_what_failed_is_forgotten_durably() -> None:
    storage = Disk()
    journal = SendJournal(storage)
    hold, certificate = send_of(0)
    journal.begin([hold])
    journal.delivered([certificate])
    storage.broken = True
    with pytest.raises(StorageError, match="may still send them"):
        journal.failed([hold.transaction])
    assert journal.is_open(hold.manifest.tx_id)
    storage.broken = False
    journal.failed([hold.transaction])
    assert list(storage.scan(b"")) == []
    assert SendJournal(storage).pending() == []


def test_what_could_not_be_written_is_said() -> None:
    storage = Disk()
    journal = SendJournal(storage)
    (hold, certificate), (other, _) = send_of(0), send_of(1)
    journal.begin([hold])
    storage.broken = True
    with pytest.raises(StorageError, match="full"):
        journal.begin([other])
    assert not journal.is_open(other.manifest.tx_id)  # nothing of it will be sent
    with pytest.raises(StorageError, match="full"):
        journal.delivered([certificate])
    storage.broken = False
    assert pending(journal) == [(hold.manifest.tx_id, hold.manifest.manifest_hash, False)]


def test_late_acks_name_their_holders() -> None:
    storage = Disk()
    journal = SendJournal(storage)
    hold, certificate = send_of(0)
    journal.late([])
    assert list(storage.scan(b"")) == []
    journal.late(certificate.acks[2:])
    expected = {ack.index: ack.node for ack in certificate.acks[2:]}
    for found in (journal, SendJournal(storage)):
        assert found.late_holders(hold.manifest.tx_id) == expected
        assert found.late_holders(bytes(32)) == {}


@pytest.mark.parametrize("row", [b"", b"garbage"])
def test_a_damaged_row_is_said(row: bytes) -> None:
    storage = Disk()
    hold, certificate = send_of(0)
    SendJournal(storage).begin([hold])
    SendJournal(storage).delivered([certificate])
    for prefix in (b"i", b"c"):
        key = prefix + hold.manifest.tx_id
        (whole,) = storage.get_many([key])
        assert whole is not None
        storage.put_many({key: row})
        with pytest.raises(StorageError, match="cannot be read"):
            SendJournal(storage).pending()
        storage.put_many({key: whole})
    assert len(SendJournal(storage).pending()) == 1
