"""A city as a shard: its state follows from the ledger alone, and is made again after any loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.algorithms import sc
from city_chain.errors import InputError, ProtocolError, StorageError, UnavailableError, VerificationError
from city_chain.levels.rulings import certify, rule
from city_chain.node.sharding import SILENT, Membership, Shard, key_digest
from city_chain.stages import messages
from tests.signed import signed

pytestmark = pytest.mark.unit

CHAIN = b"\x07" * 32


class Alone:
    """A city that is the only one of its world."""

    def __init__(self, validators: int = 4) -> None:
        self.city = City.local(nodes=4, validators=validators, k=2, n=4)
        self.layout = sc.Layout(CHAIN, 0, [(0, self.city.epoch.validators.items)])
        self.shard = self.city._city.join(Membership(CHAIN, 0, self.layout.to_bytes()))
        self.warrants: dict[bytes, bytes] = {}

    def deadline(self) -> float:
        return self.city._city.clock.monotonic() + 5

    def manifest(self, *keys: bytes, body: int = 0, expires_ms: int = 60_000) -> sc.Manifest:
        expiry = self.city._city.clock.now_ms() + expires_ms
        inputs = [(0, key, self.shard.version(key)) for key in keys]
        manifest, warrant = signed(lambda of: sc.Manifest(CHAIN, 0, of, expiry, inputs), body)
        self.warrants[manifest.txid] = warrant
        return manifest

    def rule(self, manifest: sc.Manifest, hlc: int) -> records.Ruling:
        command = sc.Command.prepare(manifest)
        ruling = self.shard.rule(command.to_bytes(), hlc, self.warrants[manifest.txid])
        assert ruling is not None
        return ruling

    def prepare(self, *keys: bytes, body: int = 0, **more: Any) -> records.Ruling:
        manifest = self.manifest(*keys, body=body, **more)
        command, warrant = sc.Command.prepare(manifest), self.warrants[manifest.txid]
        ruling = rule(self.city, command.to_bytes(), self.deadline(), warrant=warrant)
        assert ruling is not None
        return ruling


@pytest.fixture
def alone() -> Iterator[Alone]:
    made = Alone()
    yield made
    made.city.close()


A, B = b"\x0a" * 32, b"\x0b" * 32


def test_a_ruling_is_committed_once_and_certified_by_a_quorum(alone: Alone) -> None:
    ruling = alone.prepare(A)
    assert alone.shard.version(A) == 1
    assert rule(alone.city, ruling.command, alone.deadline()) == ruling
    assert alone.city.height == 1
    certificate = sc.Certificate.from_bytes(certify(alone.city, ruling, alone.deadline()))
    certificate.verify([alone.layout])
    assert (certificate.statement.verdict, len(certificate.signers)) == ("prepared", 3)


def test_too_few_delegates_certify_nothing(alone: Alone) -> None:
    ruling = alone.prepare(A)
    for node in alone.city.nodes()[:2]:
        alone.city.stop_node(node.id)
    with pytest.raises(UnavailableError, match="that sign a ruling") as caught:
        certify(alone.city, ruling, alone.deadline())
    assert (caught.value.needed, caught.value.had) == (3, 2)


def test_two_rulings_of_one_batch_are_judged_in_their_order(alone: Alone) -> None:
    hlc = alone.city._city.clock.now_ms() << 16
    first, second = alone.rule(alone.manifest(A, body=1), hlc), alone.rule(alone.manifest(A, body=2), hlc)
    good, late = alone.shard.check([first, second], hlc)
    assert good is None
    assert isinstance(late, VerificationError)
    assert "something else" in str(late)
    assert alone.shard.check([second], hlc) == [None], "judging changes nothing"
    assert alone.shard.version(A) == 0


def test_a_stamp_that_was_overtaken_is_no_obstacle(alone: Alone) -> None:
    """Whoever reads the clock and then waits for another's batch rules as of that batch."""
    earlier = alone.city._city.clock.now_ms() << 16
    alone.prepare(A)
    ruling = alone.rule(alone.manifest(B, body=2), earlier - (1000 << 16))
    later = rule(alone.city, ruling.command, alone.deadline(), warrant=ruling.warrant)
    assert later is not None
    assert later.statement == ruling.statement


def test_a_ruling_that_says_otherwise_is_refused(alone: Alone) -> None:
    hlc = alone.city._city.clock.now_ms() << 16
    good, other = alone.rule(alone.manifest(A), hlc), alone.rule(alone.manifest(B), hlc)
    assert alone.shard.check([good], hlc) == [None]

    def made(of: records.Ruling, command: bytes, statement: bytes, warrant: bytes) -> records.Ruling:
        return records.Ruling(of.subject, command=command, statement=statement, warrant=warrant)

    wrong = [
        made(good, good.command, other.statement, good.warrant),
        made(other, good.command, good.statement, good.warrant),
        made(good, good.command, SILENT, good.warrant),
        made(good, b"?", good.statement, good.warrant),
        made(good, good.command, good.statement, other.warrant),
        made(good, good.command, good.statement, good.warrant[:-1]),
        made(good, good.command, good.statement, b""),
    ]
    for ruling in wrong:
        (verdict,) = alone.shard.check([ruling], hlc)
        assert isinstance(verdict, VerificationError | InputError), verdict


def test_what_the_sender_has_not_signed_is_refused(alone: Alone) -> None:
    """One transaction has one manifest: whoever carries it has no word in what it touches, when, or how often."""
    manifest = alone.manifest(A)
    warrant, hlc = alone.warrants[manifest.txid], alone.city._city.clock.now_ms() << 16

    def other(*, body: bytes = manifest.body, expiry: int = manifest.expiry, key: bytes = A, version: int = 0) -> bytes:
        forged = sc.Manifest(CHAIN, 0, body, expiry, [(0, key, version)])
        return sc.Command.prepare(forged).to_bytes()

    for forged, words in [
        (other(body=bytes(32)), "another transaction"),
        (other(key=B), "other keys"),
        (other(version=1), "other terms"),
        (other(expiry=manifest.expiry + 1), "other terms"),
    ]:
        with pytest.raises(VerificationError, match=words):
            rule(alone.city, forged, alone.deadline(), warrant=warrant)
        with pytest.raises(VerificationError, match="nothing shows"):
            rule(alone.city, forged, alone.deadline())
    broken = bytes([*warrant[:-1], warrant[-1] ^ 1])
    command = sc.Command.prepare(manifest).to_bytes()
    with pytest.raises(VerificationError, match="signature"):
        rule(alone.city, command, alone.deadline(), warrant=broken)
    with pytest.raises(VerificationError, match="no head"):
        alone.shard.rule(command, hlc, warrant[1:])
    with pytest.raises(VerificationError, match="needs none"):
        alone.shard.rule(sc.Command.boundary(alone.layout, bytes(32)).to_bytes(), hlc, warrant)
    assert (alone.city.height, alone.shard.version(A)) == (0, 0)
    assert rule(alone.city, command, alone.deadline(), warrant=warrant) is not None
    again = rule(alone.city, command, alone.deadline(), again=True)
    assert again is not None, "what was said is said again to anybody"
    assert (alone.shard.version(A), again.warrant) == (1, b"")


def test_the_state_is_made_again_from_the_ledger(alone: Alone) -> None:
    for at in range(40):  # more than there are between two snapshots
        alone.prepare(A, bytes([100 + at]) * 32, body=at)
    alone.city.send(b"in between")
    storage = alone.shard._storage
    ledger = alone.city._city.ledger
    seen = alone.shard.version(A)
    assert seen > 40
    (row,) = storage.get_many([b"n"])
    assert row is not None, "a snapshot was kept"
    again = Shard.of(storage, ledger)
    assert again is not None
    assert again._participant.snapshot() == alone.shard._participant.snapshot()
    storage.delete_many([b"n"])
    whole = Shard.of(storage, ledger)
    assert whole is not None
    assert whole._participant.snapshot() == again._participant.snapshot()
    assert whole.version(A) == seen


def test_damaged_rows_are_named(alone: Alone) -> None:
    storage, ledger = alone.shard._storage, alone.city._city.ledger
    storage.put_many({b"n": messages.message("shard", [messages.integer(1), b"?"])})
    with pytest.raises(StorageError, match="snapshot of the shard"):
        Shard.of(storage, ledger)
    storage.put_many({b"m": b"?"})
    with pytest.raises(StorageError, match="place in its world"):
        Shard.of(storage, ledger)


def test_a_city_is_in_one_world(alone: Alone) -> None:
    inside = alone.city._city
    member = Membership(CHAIN, 0, alone.layout.to_bytes())
    assert inside.join(member).membership == member
    other = sc.Layout(bytes(32), 0, [(0, alone.city.epoch.validators.items)])
    with pytest.raises(InputError, match="is shard 0 of the world 0707"):
        inside.join(Membership(bytes(32), 0, other.to_bytes()))
    assert Membership.from_bytes(member.to_bytes()) == member
    assert Shard.of(MemoryStorage(), inside.ledger) is None


def test_only_what_is_committed_is_attested(alone: Alone) -> None:
    inside = alone.city._city
    ruling = alone.prepare(A)
    address = next(iter(inside.members().addresses.values()))

    def ask(*parts: bytes) -> str | bytes:
        body = messages.message("attest", parts)
        answer = inside.transport.request(address, body, alone.deadline())
        found = messages.parse(answer)
        return found.parts[0] if found.kind == "attested" else b"".join(found.parts).decode()

    assert len(ask(ruling.subject, ruling.digest)) == 64
    assert "no such ruling" in str(ask(ruling.subject, bytes(32)))
    assert "no such ruling" in str(ask(bytes(32), ruling.digest))
    for parts in [(), (ruling.subject,), (b"", b""), (ruling.subject, ruling.digest, b"")]:
        assert "32 bytes each" in str(ask(*parts))
    with City.local(nodes=4, validators=1, k=2, n=4) as plain:
        inside = plain._city
        address = next(iter(inside.members().addresses.values()))
        assert "in no world" in str(ask(ruling.subject, ruling.digest))
        with pytest.raises(InputError, match="is in no world"):
            rule(plain, ruling.command, inside.clock.monotonic() + 1)


def test_keys_go_where_they_are_named_for() -> None:
    layout = sc.Layout(CHAIN, 0, [(shard, [(bytes([shard + 1]) * 32, 1)]) for shard in range(5)])
    names = set()
    for shard in range(5):
        digest = key_digest(b"key", layout, shard)
        assert layout.shard_of(digest) == shard
        names.add(digest)
    names.add(key_digest(b"key", layout))
    assert len(names) == 6
    with pytest.raises(InputError, match="no shard 9"):
        key_digest(b"key", layout, 9)


def test_an_expired_command_is_refused_and_stays_refused(alone: Alone) -> None:
    command = sc.Command.prepare(alone.manifest(A, expires_ms=-10))
    with pytest.raises(ProtocolError, match="expired"):
        rule(alone.city, command.to_bytes(), alone.deadline())
    assert alone.city.height == 0
