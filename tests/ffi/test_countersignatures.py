"""Countersignatures across the boundary: types, hostile bytes, and everything that is not what it says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import records
from city_chain.errors import InputError, UnavailableError, VerificationError
from city_chain.records import Countersignature, CountersignedReceipt, NodeRecord

pytestmark = pytest.mark.ffi


class Signed:
    """A receipt and everybody's countersignatures of it."""

    def __init__(self, city) -> None:
        self.city = city
        self.receipt = city.receipt()
        self.acks = self.receipt.availability.acks
        self.holders = [(self.entry(city.nodes[ack.node]), self.of_ack(ack)) for ack in self.acks]
        self.delegates = [(self.entry(delegate), self.of_batch(delegate)) for delegate in city.delegates]

    def entry(self, identity: records.Identity, network: bytes | None = None) -> NodeRecord:
        return NodeRecord(
            identity,
            network=network or self.city.epoch.network,
            region="Utrecht",
            domain="north",
            address="local:1",
            roles=3,
            weight=65536,
            stake=1,
            sequence=1,
            hlc=1,
        )

    def of_ack(self, ack) -> Countersignature:
        return Countersignature.of_ack(self.city.nodes[ack.node], ack)

    def of_batch(self, identity: records.Identity, digest: bytes | None = None) -> Countersignature:
        return Countersignature.of_batch(identity, self.city.epoch.network, digest or self.receipt.header.digest)

    def receipt_of(self, signed) -> CountersignedReceipt:
        return CountersignedReceipt(self.receipt, signed)


@pytest.fixture(scope="module")
def signed(city) -> Signed:
    return Signed(city)


def test_a_countersignature_says_what_it_is_of(city, signed: Signed) -> None:
    (entry, made), (_, whole) = signed.holders[0], signed.delegates[0]
    assert (made.kind, made.subject, made.node) == ("ack", signed.acks[0].digest, signed.acks[0].node)
    assert (whole.kind, whole.subject) == ("batch", signed.receipt.header.digest)
    assert made.network == city.epoch.network
    assert made.public == city.nodes[made.node].ml_dsa_public
    assert len(made.signature) == 3309
    made.verify()
    made.verify_by(entry)
    assert Countersignature.from_bytes(made.to_bytes()) == made
    assert signed.of_ack(signed.acks[0]).signature != made.signature, "hedged"
    with pytest.raises(VerificationError, match="not of"):
        made.verify_by(signed.holders[1][0])
    with pytest.raises(InputError, match="the ack is of node"):
        Countersignature.of_ack(city.sender, signed.acks[0])
    ack = bytearray(signed.acks[0].to_bytes())
    ack[-1] ^= 1
    with pytest.raises(VerificationError):
        signed.of_ack(type(signed.acks[0]).from_bytes(bytes(ack)))
    for network, digest in ((b"", bytes(32)), (bytes(32), bytes(31))):
        with pytest.raises(InputError):
            Countersignature.of_batch(city.sender, network, digest)


def test_a_whole_receipt(city, signed: Signed) -> None:
    made = signed.receipt_of([*signed.delegates, *reversed(signed.holders)])
    assert made.receipt == signed.receipt
    assert made.holders == sorted(ack.node for ack in signed.acks)
    assert made.delegates == sorted(delegate.id for delegate in city.delegates)
    assert made.verify(city.trust) == sorted({*made.holders, *made.delegates})
    again = CountersignedReceipt.from_bytes(made.to_bytes())
    assert again == made
    assert sorted(again.signed(), key=lambda pair: pair[1].to_bytes()) == sorted(
        [*signed.holders, *signed.delegates], key=lambda pair: pair[1].to_bytes()
    )
    keys = [(entry.node, entry.ml_dsa) for entry, _ in made.signed()]
    assert made.verify(city.trust, iter(keys)) == []
    assert "CountersignedReceipt(" in repr(made)


def test_too_few(city, signed: Signed) -> None:
    needed = signed.receipt.manifest.quorum
    with pytest.raises(UnavailableError, match="holders") as raised:
        signed.receipt_of([*signed.holders[: needed - 1], *signed.delegates]).verify(city.trust)
    assert (raised.value.needed, raised.value.had) == (needed, needed - 1)
    with pytest.raises(UnavailableError, match="stake of delegates"):
        signed.receipt_of([*signed.holders, signed.delegates[0]]).verify(city.trust)


def test_what_is_of_something_else(city, signed: Signed) -> None:
    other = signed.of_batch(city.delegates[0], bytes(32))
    holder = next(iter(city.nodes.values()))
    for stray in (
        (signed.entry(city.delegates[0]), other),
        (signed.entry(city.delegates[0]), signed.holders[0][1]),
        (signed.holders[1][0], signed.holders[0][1]),
    ):
        with pytest.raises(VerificationError, match="is of something else"):
            signed.receipt_of([stray])
    with pytest.raises(InputError, match="distinct by node"):
        signed.receipt_of([signed.holders[0], signed.holders[0]])
    # A node that is no delegate, a record of another network, and one that somebody else's key is in.
    strayed = signed.receipt_of([*signed.holders, *signed.delegates, (signed.entry(holder), signed.of_batch(holder))])
    with pytest.raises(VerificationError, match="a delegate's vote"):
        strayed.verify(city.trust)
    elsewhere = (signed.entry(city.delegates[0], bytes(32)), signed.delegates[0][1])
    with pytest.raises(VerificationError, match="of the receipt's network"):
        signed.receipt_of([*signed.holders, elsewhere, *signed.delegates[1:]]).verify(city.trust)
    swapped = (signed.entry(city.delegates[0]), signed.delegates[1][1])
    with pytest.raises(VerificationError):
        signed.receipt_of([*signed.holders, swapped, *signed.delegates[2:]]).verify(city.trust)
    known = [(city.delegates[0].id, bytes(32))]
    with pytest.raises(VerificationError, match="is not the one that is known"):
        signed.receipt_of([*signed.holders, *signed.delegates]).verify(city.trust, known)
    for wrong in ([(b"", bytes(32))], [(bytes(32), b"")], [(bytes(32),)]):
        with pytest.raises(InputError):
            signed.receipt_of(signed.holders).verify(city.trust, wrong)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_noticed(signed: Signed, data) -> None:
    made = signed.holders[0][1]
    changed = bytearray(made.to_bytes())
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((InputError, VerificationError)):
        Countersignature.from_bytes(bytes(changed)).verify()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_whole_receipt_is_noticed(city, signed: Signed, data) -> None:
    changed = bytearray(signed.receipt_of([*signed.holders, *signed.delegates]).to_bytes())
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((InputError, VerificationError, UnavailableError)):
        CountersignedReceipt.from_bytes(bytes(changed)).verify(city.trust)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_hostile_bytes(data: bytes) -> None:
    for kind in (Countersignature, CountersignedReceipt):
        for encoding in (data, b"CCcs\x01\0" + data, b"CCcr\x01\0" + data):
            with pytest.raises(InputError):
                kind.from_bytes(encoding)


def test_identities_show_public_keys_only(city) -> None:
    identity = records.Identity(b"\x05" * 32)
    for public in (identity.kem_public(), identity.kem_public("sntrup761-x25519"), identity.ml_dsa_public):
        assert public[1:2] == b"p"
    assert identity.kem_public() == records.Identity(b"\x05" * 32).kem_public("x-wing")
    with pytest.raises(InputError, match="sntrup761-x25519"):
        identity.kem_public("ntru")
    entry = Signed(city).entry(identity)
    assert entry.kem == identity.kem_public()
    assert len(entry.ml_dsa) == 32
    with pytest.raises(InputError):
        NodeRecord.from_bytes(entry.to_bytes().replace(entry.kem[:2], b"xs", 1)).verify()
