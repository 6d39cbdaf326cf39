"""What the tests across the boundary share: one whole way from an identity to a receipt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from city_chain import ec
from city_chain.algorithms.ec.layout import Header
from city_chain.errors import CityChainError
from city_chain.proofs import dpos, poh
from city_chain.records import (
    AvailabilityCertificate,
    Batch,
    Candidates,
    CommitCertificate,
    Countersignature,
    CountersignedReceipt,
    Dealing,
    Dealings,
    Draw,
    Election,
    Entry,
    Epoch,
    Handover,
    Identity,
    KeyFile,
    Manifest,
    Message,
    NodeRecord,
    Receipt,
    Recipient,
    Repair,
    RepairCertificate,
    RepairRequest,
    Selection,
    Transaction,
    Trust,
)

K, N = 2, 4
SEED = bytes(range(32))


@dataclass
class City:
    """A city of eight nodes and four delegates, and everything that its records are made with."""

    name: str = "Utrecht"
    sender: Identity = field(default_factory=lambda: Identity(b"\x01" * 32))
    fragments: list[bytes] = field(default_factory=lambda: [bytes([at]) * (at + 1) for at in range(N)])

    def __post_init__(self) -> None:
        self.hashes = [poh.hash_fragment(fragment) for fragment in self.fragments]
        self.delegates = [Identity.child(bytes(32), b"delegate", at) for at in range(4)]
        self.validators = dpos.ValidatorSet(0, [(delegate.id, 10 + at) for at, delegate in enumerate(self.delegates)])
        self.epoch = Epoch.first(self.name, bytes(32), self.validators)
        self.nodes = {node.id: node for node in (Identity.child(bytes(32), b"node", at) for at in range(8))}
        domains = ["north", "south"]
        self.candidates = Candidates(
            self.epoch.network, self.name, [(node, 65536, domains[at % 2]) for at, node in enumerate(self.nodes)]
        )
        self.draw = Draw(self.sender, self.epoch)
        self.trust = Trust.of(self.epoch)

    def transaction(self, sequence: int = 0, payload: bytes = b"hello") -> Transaction:
        return Transaction(
            self.sender, network=self.epoch.network, sequence=sequence, hlc=sequence + 1, payload=payload
        )

    def selection(self, sequence: int = 0, count: int = N + 2) -> Selection:
        [selection] = self.draw.select_many(self.candidates, self.sender.id, [sequence], count)
        return selection

    def manifest(self, transaction: Transaction) -> Manifest:
        return Manifest(
            self.sender,
            transaction=transaction,
            length=len(transaction.to_bytes()),
            k=K,
            n=N,
            quorum=poh.write_quorum(K, N),
            fragment_hashes=self.hashes,
            selection=self.selection(transaction.sequence),
        )

    def request(self, manifest: Manifest, index: int, node: bytes) -> poh.HoldRequest:
        item = (manifest, self.hashes[index], node, index, poh.challenge(SEED, node, index))
        [request] = poh.request_many(self.sender, [item], hlc=2, deadline_ms=1_000, hold_until_ms=2_000)
        return request

    def ack(self, request: poh.HoldRequest) -> poh.Ack:
        [ack] = poh.hold_many(self.nodes[request.node], [(request, self.fragments[request.index])], 3)
        return ack

    def acks(self, manifest: Manifest, count: int = N - 1) -> list[poh.Ack]:
        nodes = manifest.selection.nodes
        return [self.ack(self.request(manifest, index, nodes[index])) for index in range(count)]

    def availability(self, manifest: Manifest) -> AvailabilityCertificate:
        return AvailabilityCertificate(manifest, self.hashes, self.acks(manifest))

    def repair(self, manifest: Manifest, index: int = N - 1) -> RepairCertificate:
        node = manifest.selection.nodes[N]
        repair = Repair(
            self.sender,
            network=self.epoch.network,
            tx_id=manifest.tx_id,
            manifest_hash=manifest.manifest_hash,
            generation=1,
            candidates_root=self.candidates.root,
            moves=[(index, node)],
            hlc=9,
        )
        return RepairCertificate(repair, [self.ack(self.request(manifest, index, node))])

    def batch(self, entries: list[Entry], height: int = 1, previous: bytes | None = None) -> Batch:
        previous = self.epoch.network if previous is None else previous
        return Batch(self.epoch, height=height, previous=previous, unit=self.name, hlc=4, entries=entries)

    def slot(self, batch: Batch, attempt: int = 0) -> dpos.Slot:
        header = batch.header
        return dpos.Slot(header.network, header.epoch, header.height, attempt, header.previous, header.digest)

    def commit(self, batch: Batch) -> CommitCertificate:
        slot = self.slot(batch)
        certificate, refused = dpos.collect(self.validators, slot, [dpos.Vote(d, slot) for d in self.delegates])
        assert refused == []
        return CommitCertificate.dpos(certificate)

    def receipt(self, sequence: int = 0) -> Receipt:
        manifest = self.manifest(self.transaction(sequence))
        batch = self.batch([Entry.transaction(manifest)])
        return Receipt(self.availability(manifest), self.epoch, batch, self.commit(batch), 0)

    def machine(self, at: int) -> dpos.Delegate:
        return dpos.Delegate(
            self.delegates[at], self.validators, self.epoch.network, self.epoch.seed, self.epoch.network
        )

    def leader(self, height: int, attempt: int) -> int:
        leading = dpos.leader(self.validators, self.epoch.seed, height, attempt)
        return [delegate.id for delegate in self.delegates].index(leading)

    def records(self) -> list[object]:
        """One of every kind of record."""
        transaction = self.transaction()
        manifest = self.manifest(transaction)
        certificate = self.repair(manifest)
        batch = self.batch([Entry.transaction(manifest), Entry.repair(certificate.repair)])
        commit = self.commit(batch)
        availability = self.availability(manifest)
        request = self.request(manifest, 0, manifest.selection.nodes[0])
        slot = self.slot(batch)
        wanted = RepairRequest(
            self.sender,
            network=self.epoch.network,
            node=manifest.selection.nodes[0],
            hlc=1,
            deadline_ms=2,
            items=[(manifest.tx_id, 0)],
        )
        node = NodeRecord(
            self.delegates[0],
            network=self.epoch.network,
            region=self.name,
            domain="north",
            address="local:1",
            roles=3,
            weight=65536,
            stake=10,
            sequence=1,
            hlc=1,
        )
        people = sorted(self.delegates, key=lambda delegate: delegate.id)
        recipients = [Recipient(delegate, self.epoch.network) for delegate in people]
        dealt = [Dealing.deal(delegate, self.epoch, recipients) for delegate in people]
        dealings, _ = Dealings.sort(self.epoch, dealt)
        assert dealings is not None
        keys = dealings.keys.certified(self.epoch, [(one.id, dealings.keys.sign(one)) for one in people])
        following = dpos.ValidatorSet(1, self.validators.items)
        election = Election(self.sender, self.epoch, 1, batch.digest, following)
        handed = [(delegate.id, Handover.sign(delegate, election, keys)) for delegate in people]
        machine = self.machine(0)
        machine.prepare(1, 1)
        [(_, ticket, _)] = machine.drain()
        machine.durable(ticket)
        [(_, _, report)] = machine.drain()
        receipt = Receipt(availability, self.epoch, batch, commit, 0)
        whole = Countersignature.of_batch(self.delegates[0], self.epoch.network, batch.digest)
        return [
            self.validators,
            self.epoch,
            self.candidates,
            manifest.selection,
            transaction,
            manifest,
            request,
            self.ack(request),
            availability,
            *batch.entries,
            batch.header,
            batch,
            dpos.Vote(self.delegates[0], slot),
            dpos.Report.from_bytes(report),
            dpos.Proposal(self.delegates[0], slot, [dpos.Report.from_bytes(report)]),
            commit.certificate,
            commit,
            receipt,
            self.trust,
            certificate.repair,
            certificate,
            wanted,
            node,
            whole,
            CountersignedReceipt(receipt, [(node, whole)]),
            recipients[0],
            dealt[0],
            keys,
            election,
            Handover(election, keys, self.epoch, handed),
            Message("hold", [transaction.to_bytes(), b""]),
            KeyFile.generate("x-wing", None).public,
        ]


@pytest.fixture(scope="session")
def city() -> City:
    """A city; all its records are immutable, so one serves all tests."""
    return City()


@pytest.fixture(scope="session")
def other_city() -> City:
    """Another network, with the same people."""
    return City(name="Lviv")


class Place:
    """A folder with one file in it, its fragments, and what it must be again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "letter.txt"

    def encode(self, size: int = 500, k: int = 3, p: int = 2, **more: object) -> ec.EncodedFile:
        self.data = Random(1).randbytes(size)
        self.file.write_bytes(self.data)
        return ec.encode_file(self.file, k=k, p=p, **{"block_len": 64, "sync": False, **more})  # type: ignore[arg-type]

    def restores(self, fragments: object, **more: object) -> ec.RestoredFile:
        target = self.folder / "restored"
        made = ec.decode_file(fragments, target, force=True, sync=False, **more)  # type: ignore[arg-type]
        assert target.read_bytes() == self.data
        target.unlink()
        return made

    def fails(self, error: type[CityChainError], fragments: object, match: str = "", **more: object) -> CityChainError:
        before = self.names()
        with pytest.raises(error, match=match) as caught:
            ec.decode_file(fragments, self.folder / "restored", sync=False, **more)  # type: ignore[arg-type]
        assert self.names() == before
        return caught.value

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    @staticmethod
    def flip(path: Path, at: int, by: int = 1) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= by
        path.write_bytes(data)

    @staticmethod
    def header(path: Path) -> Header:
        return Header.from_bytes(path.read_bytes())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder for one file."""
    return Place(tmp_path)
