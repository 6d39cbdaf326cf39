"""The records across the boundary: the whole way, and everything hostile that may come instead."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.proofs import dpos
from city_chain.records import (
    HOLDER,
    VALIDATOR,
    AvailabilityCertificate,
    Batch,
    Candidates,
    Draw,
    Entry,
    Epoch,
    Identity,
    Manifest,
    Message,
    NodeRecord,
    Receipt,
    Repair,
    RepairCertificate,
    RepairRequest,
    Transaction,
    Trust,
    verify_availability,
    verify_message,
    verify_repair_requests,
    verify_selections,
    verify_transactions,
)

pytestmark = pytest.mark.ffi


def flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


# --- the whole way ---------------------------------------------------------------------------------------------------


def test_a_transaction_travels_to_its_receipt(city):
    transactions = [city.transaction(sequence) for sequence in range(3)]
    manifests = [city.manifest(transaction) for transaction in transactions]
    availabilities = [city.availability(manifest) for manifest in manifests]
    repair = city.repair(manifests[0])
    batch = city.batch([*map(Entry.transaction, manifests), Entry.repair(repair.repair)])
    commit = city.commit(batch)
    receipts = Receipt.many(availabilities, city.epoch, batch, commit, range(3))

    assert verify_transactions(transactions) == [None] * 3
    assert verify_selections(manifests, city.epoch, city.candidates) == [None] * 3
    assert verify_availability(availabilities, city.epoch) == [None] * 3
    repair.verify(city.epoch.network, city.hashes)
    for position, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
        again = Receipt.from_bytes(receipt.to_bytes())
        again.verify(city.trust)
        again.verify_transaction(transaction)
        assert again == receipt == Receipt(availabilities[position], city.epoch, batch, commit, position)
        assert again.tx_id == transaction.tx_id
        assert again.position == position
        assert again.manifest == manifests[position]
        assert again.availability == availabilities[position]
        assert again.epoch == city.epoch
        assert again.header == batch.header
        assert again.certificate == commit
        assert again.availability.holders == [(index, manifests[position].selection.nodes[index]) for index in range(3)]
        with pytest.raises(VerificationError, match="receipt: of transaction"):
            again.verify_transaction(transactions[position - 1])


def test_properties_say_what_was_put_in(city):
    place = ("Utrecht", 520_907_000, -51_214_000)
    transaction = Transaction(
        city.sender,
        network=bytearray(city.epoch.network),
        sequence=2**64 - 1,
        hlc=7,
        payload=memoryview(b"content"),
        place=place,
        touched=[b"b", b"a", b"b"],
    )
    assert transaction.network == city.epoch.network
    assert transaction.sender == city.sender.id
    assert (transaction.sequence, transaction.hlc, transaction.payload) == (2**64 - 1, 7, b"content")
    assert (transaction.place, transaction.touched) == (place, [b"a", b"b"])
    verify = Transaction.from_bytes(transaction.to_bytes())
    verify.verify()
    assert city.transaction().place is None

    manifest = city.manifest(city.transaction())
    assert (manifest.k, manifest.n, manifest.quorum, manifest.code, manifest.sequence) == (2, 4, 3, 2, 0)
    assert manifest.sender == city.sender.id
    assert manifest.selection is manifest.selection, "made once"

    entry, moved = city.batch([Entry.transaction(manifest), Entry.repair(city.repair(manifest).repair)]).entries
    assert (entry.kind, entry.sender, entry.sequence) == ("transaction", city.sender.id, 0)
    assert (entry.manifest_hash, entry.vrf_public) == (manifest.manifest_hash, city.sender.vrf_public)
    assert (entry.repair_hash, entry.generation) == (None, None)
    assert (moved.kind, moved.tx_id, moved.generation) == ("repair", manifest.tx_id, 1)
    assert moved.repair_hash == city.repair(manifest).repair.repair_hash
    assert (moved.manifest_hash, moved.sender, moved.vrf_public, moved.sequence) == (None, None, None, None)

    record = NodeRecord(
        city.sender,
        network=city.epoch.network,
        region="Zürich",
        domain="d",
        address="a",
        roles=HOLDER | VALIDATOR,
        weight=2**32 - 1,
        stake=2**64 - 1,
        sequence=3,
        hlc=4,
    )
    record.verify()
    assert (record.region, record.roles, record.weight, record.stake) == ("Zürich", 3, 2**32 - 1, 2**64 - 1)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_every_record_comes_back_from_its_bytes(city):
    for record in city.records():
        data = record.to_bytes()
        for again in (type(record).from_bytes(data), type(record).from_bytes(bytearray(data)), copy.copy(record)):
            assert again == record
            assert hash(again) == hash(record)
        assert pickle.loads(pickle.dumps(record)) == record
        assert repr(record).startswith(type(record).__name__ + "(")
        assert len(repr(record)) < 60
        assert record != data


def test_no_record_is_read_from_anything_else(city):
    records = city.records()
    for record in records:
        data = record.to_bytes()
        for wrong in (b"", data[:5], data[:-1], data + b"\0", b"XXXX" + data[4:], flip(data, 4, 0)):
            with pytest.raises(InputError):
                type(record).from_bytes(wrong)
        for other in records:
            if type(other) is not type(record):
                with pytest.raises(InputError, match=r"starts with|at most"):
                    type(record).from_bytes(other.to_bytes())
                assert other != record


def test_every_truncated_record_is_refused(city):
    for record in city.records():
        data = record.to_bytes()
        for end in range(0, len(data), max(1, len(data) // 97)):
            with pytest.raises(InputError):
                type(record).from_bytes(data[:end])


def test_every_flipped_receipt_is_refused(city):
    receipt = city.receipt()
    data = receipt.to_bytes()
    for at in range(len(data)):
        try:
            read = Receipt.from_bytes(flip(data, at, at % 8))
        except InputError:
            continue
        assert read != receipt
        with pytest.raises((VerificationError, UnavailableError)):
            read.verify(city.trust)


def test_noise_is_refused(city):
    source = random.Random(7)
    for record in city.records():
        data = record.to_bytes()
        for _ in range(50):
            noise = bytearray(data)
            for _ in range(source.randrange(1, 9)):
                noise[source.randrange(len(noise))] = source.randrange(256)
            try:
                read = type(record).from_bytes(noise)
            except InputError:
                continue
            assert read.to_bytes() == noise, "what is accepted is the one encoding"


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_receipt_of_another_network_or_trust_is_refused(city, other_city):
    receipt = city.receipt()
    with pytest.raises(VerificationError, match="of network"):
        receipt.verify(other_city.trust)
    with pytest.raises(VerificationError, match="not among the trusted"):
        receipt.verify(Trust(city.epoch.network, [(1, city.epoch.root)]))
    with pytest.raises(VerificationError, match="has root"):
        receipt.verify(Trust(city.epoch.network, [(0, bytes(32))]))
    with pytest.raises(InputError, match="at least one"):
        Trust(city.epoch.network, [])
    with pytest.raises(InputError, match="distinct"):
        Trust(city.epoch.network, [(0, bytes(32)), (0, bytes(32))])


def test_what_does_not_belong_together_does_not_construct(city, other_city):
    manifests = [city.manifest(city.transaction(sequence)) for sequence in range(2)]
    availability = city.availability(manifests[0])
    batch = city.batch([Entry.transaction(manifest) for manifest in manifests])
    commit = city.commit(batch)
    with pytest.raises(VerificationError, match="not in the batch"):
        Receipt(availability, city.epoch, batch, commit, 1)
    with pytest.raises(CityChainError):
        Receipt(availability, city.epoch, batch, commit, 2)
    with pytest.raises(InputError, match="1 availability certificates for 2 positions"):
        Receipt.many([availability], city.epoch, batch, commit, [0, 1])
    with pytest.raises(VerificationError, match="not about this manifest"):
        AvailabilityCertificate(manifests[1], city.hashes, availability.acks)
    with pytest.raises(VerificationError):
        AvailabilityCertificate(manifests[0], city.hashes[::-1], availability.acks)
    with pytest.raises(InputError):
        AvailabilityCertificate(manifests[0], city.hashes, availability.acks + availability.acks[:1])
    with pytest.raises(InputError, match="twice"):
        city.batch([Entry.transaction(manifests[0])] * 2)
    with pytest.raises(InputError):
        city.batch([])
    with pytest.raises(InputError, match="not that of the signer"):
        Manifest(
            city.delegates[0],
            transaction=city.transaction(),
            length=10,
            k=2,
            n=4,
            quorum=3,
            fragment_hashes=city.hashes,
            selection=city.selection(),
        )
    with pytest.raises(InputError, match="does not belong to the move"):
        RepairCertificate(city.repair(manifests[0]).repair, availability.acks[:1])
    with pytest.raises(VerificationError, match="of network"):
        city.repair(manifests[0]).verify(other_city.epoch.network, city.hashes)


@pytest.mark.parametrize(
    ("k", "n", "quorum", "hashes"), [(0, 4, 3, 4), (5, 4, 4, 4), (2, 4, 1, 4), (2, 4, 5, 4), (2, 4, 3, 3), (2, 0, 0, 0)]
)
def test_numbers_of_a_manifest_must_fit(city, k, n, quorum, hashes):
    with pytest.raises(InputError, match="manifest"):
        Manifest(
            city.sender,
            transaction=city.transaction(),
            length=10,
            k=k,
            n=n,
            quorum=quorum,
            fragment_hashes=city.hashes[:hashes],
            selection=city.selection(),
        )


def test_a_manifest_may_name_any_code_that_has_its_counts(city):
    make = {
        "transaction": city.transaction(),
        "length": 10,
        "k": 2,
        "n": 4,
        "quorum": 3,
        "fragment_hashes": city.hashes,
        "selection": city.selection(),
    }
    for code in (1, 2):
        manifest = Manifest(city.sender, **make, code=code)
        manifest.verify()
        assert Manifest.from_bytes(manifest.to_bytes()).code == code
    assert Manifest(city.sender, **make).code == Manifest(city.sender, **make, code=None).code == 2
    for code in (0, 3, 257):
        with pytest.raises(InputError, match=f"code {code} is not known"):
            Manifest(city.sender, **make, code=code)
    with pytest.raises(InputError, match="gf8 needs"):
        Manifest(city.sender, **make | {"n": 300, "quorum": 151, "fragment_hashes": city.hashes * 75}, code=2)


def test_too_few_acks_say_needed_and_had(city):
    manifest = city.manifest(city.transaction())
    few = AvailabilityCertificate(manifest, city.hashes, city.acks(manifest, 2))
    with pytest.raises(UnavailableError) as error:
        few.verify(city.epoch)
    assert (error.value.needed, error.value.had) == (3, 2)
    good = city.availability(manifest)
    verdicts = verify_availability([good, few, good], city.epoch)
    assert [type(verdict) for verdict in verdicts] == [type(None), UnavailableError, type(None)]
    assert (verdicts[1].needed, verdicts[1].had) == (3, 2)


def test_batch_verdicts_are_those_of_single_calls(city, other_city):
    good = city.transaction()
    data = good.to_bytes()
    bad = Transaction.from_bytes(flip(data, len(data) - 1, 0))
    assert [type(verdict) for verdict in verify_transactions([good, bad] * 5)] == [type(None), VerificationError] * 5
    with pytest.raises(VerificationError, match="transaction: signature"):
        bad.verify()
    assert verify_transactions(iter([])) == []

    wanted = [record for record in city.records() if isinstance(record, RepairRequest)]
    data = wanted[0].to_bytes()
    wanted.append(RepairRequest.from_bytes(flip(data, len(data) - 1, 0)))
    assert [type(verdict) for verdict in verify_repair_requests(wanted)] == [type(None), VerificationError]

    manifests = [city.manifest(city.transaction(sequence)) for sequence in range(2)]
    others = [*manifests, other_city.manifest(other_city.transaction())]
    kinds = [type(verdict) for verdict in verify_selections(others, city.epoch, city.candidates)]
    assert kinds == [type(None), type(None), VerificationError]
    for manifest in others[:2]:
        manifest.selection.verify(city.epoch, city.candidates, manifest.sender, manifest.sequence)
    with pytest.raises(VerificationError, match="not those that the draw gives"):
        manifests[0].selection.verify(city.epoch, city.candidates, city.sender.id, 1)
    with pytest.raises(VerificationError, match="candidate list"):
        manifests[0].selection.verify(city.epoch, other_city.candidates, city.sender.id, 0)


# --- candidates and draws --------------------------------------------------------------------------------------------


def test_choosing_is_bounded_and_leaves_out_what_it_is_told(city):
    nodes = list(city.nodes)
    chosen = city.candidates.choose(b"seed", 8)
    assert sorted(chosen) == sorted(nodes)
    assert city.candidates.choose(b"seed", 2**63) == chosen
    assert city.candidates.choose(b"seed", 0) == []
    without = city.candidates.choose(b"seed", 8, [chosen[0], bytes(32), chosen[0]])
    assert chosen[0] not in without
    assert len(without) == 7
    assert city.candidates.choose(b"seed", 8, nodes) == []
    assert nodes[0] in city.candidates
    assert bytes(32) not in city.candidates
    assert "text" not in city.candidates
    assert b"short" not in city.candidates
    resting = Candidates(bytes(32), "r", [(nodes[0], 0, "d"), (nodes[1], 1, "d")])
    assert resting.choose(b"", 5) == [nodes[1]]
    assert nodes[0] not in resting
    with pytest.raises(UnavailableError):
        Candidates(bytes(32), "r", [])
    with pytest.raises(InputError, match="distinct"):
        Candidates(bytes(32), "r", [(nodes[0], 1, "d")] * 2)


@given(st.permutations(range(8)), st.integers(0, 12), st.lists(st.integers(0, 2**64 - 1), max_size=4))
@settings(max_examples=40, deadline=None)
def test_selections_do_not_depend_on_the_order_of_the_list(city, order, count, sequences):
    items = city.candidates.items
    turned = Candidates(city.candidates.network, city.candidates.region, [items[at] for at in order])
    assert turned == city.candidates
    assert turned.root == city.candidates.root
    assert turned.items == items
    selections = city.draw.select_many(turned, city.sender.id, sequences, count)
    assert len(selections) == len(sequences)
    for sequence, selection in zip(sequences, selections, strict=True):
        assert len(selection.nodes) == len(set(selection.nodes)) == min(count, 8)
        selection.verify(city.epoch, city.candidates, city.sender.id, sequence)


def test_a_draw_is_of_its_epoch_and_sender(city, other_city):
    assert Draw(city.sender, city.epoch) == city.draw
    assert hash(Draw(city.sender, city.epoch)) == hash(city.draw)
    assert city.draw != other_city.draw
    assert (city.draw.epoch, city.draw.vrf_public) == (0, city.sender.vrf_public)
    assert city.selection().proof == city.draw.proof
    with pytest.raises(VerificationError, match="selection: vrf"):
        city.selection().verify(other_city.epoch, city.candidates, city.sender.id, 0)


# --- properties ------------------------------------------------------------------------------------------------------

keys = st.binary(min_size=32, max_size=32)
counts = st.integers(0, 2**64 - 1)
short_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
places = st.tuples(short_text, st.integers(-900_000_000, 900_000_000), st.integers(-1_800_000_000, 1_800_000_000))


@given(keys, counts, counts, st.binary(max_size=300), st.none() | places, st.lists(st.binary(max_size=64), max_size=8))
@settings(max_examples=60, deadline=None)
def test_transactions_round_trip(city, network, sequence, hlc, payload, place, touched):
    made = Transaction(
        city.sender, network=network, sequence=sequence, hlc=hlc, payload=payload, place=place, touched=touched
    )
    again = Transaction.from_bytes(made.to_bytes())
    again.verify()
    assert (again.network, again.sequence, again.hlc) == (network, sequence, hlc)
    assert (again.payload, again.place, again.touched) == (payload, place, sorted(set(touched)))
    assert again.tx_id == made.tx_id


@given(st.from_regex(r"[a-z_]{1,32}", fullmatch=True), st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=60, deadline=None)
def test_messages_round_trip(kind, parts):
    again = Message.from_bytes(Message(kind, parts).to_bytes())
    assert (again.kind, again.parts) == (kind, parts)


@given(st.dictionaries(st.integers(0, 65535), keys, min_size=1, max_size=20), st.randoms())
@settings(max_examples=30, deadline=None)
def test_moves_are_sorted_for_the_caller(city, moves, source):
    pairs = list(moves.items())
    source.shuffle(pairs)
    make = {"network": bytes(32), "tx_id": bytes(32), "manifest_hash": bytes(32), "candidates_root": bytes(32)}
    if len(set(moves.values())) < len(moves):
        with pytest.raises(InputError, match="two fragments"):
            Repair(city.sender, moves=pairs, generation=1, hlc=0, **make)
        return
    repair = Repair(city.sender, moves=pairs, generation=1, hlc=0, **make)
    repair.verify()
    assert repair.moves == sorted(pairs)


def test_a_large_transaction_is_whole(city):
    payload = random.Random(1).randbytes(8 << 20)
    transaction = city.transaction(payload=payload)
    again = Transaction.from_bytes(transaction.to_bytes())
    again.verify()
    assert again.payload == payload
    with pytest.raises(InputError, match="at most 67108864"):
        city.transaction(payload=bytes((64 << 20) + 1))


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_secrets_do_not_come_out(city):
    master = bytes(range(100, 132))
    identity = Identity(master)
    shown = repr(identity) + str(identity) + repr(Draw(identity, city.epoch)) + repr(city.machine(0))
    assert master.hex()[:8] not in shown
    assert repr(master)[2:10] not in shown
    for secret in (identity, city.machine(0), city.draw):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(secret)
        with pytest.raises(TypeError, match="pickle"):
            copy.deepcopy(secret)
    with pytest.raises(InputError) as error:
        Identity(master[:31])
    assert "31 bytes" in str(error.value)
    assert master.hex()[:8] not in str(error.value)
    assert not hasattr(identity, "__dict__")
    told = [name for name in dir(identity) if "secret" in name or "master" in name or "seed" in name]
    assert told == ["child_seed"], "which makes the seed of one node out of a master seed that its caller has"
    assert Identity.child_seed(master, b"node", 0) not in shown.encode()


def test_identities_sign_messages_in_a_domain_of_their_own(city):
    identity = Identity.child(bytes(32), b"node", 2**64 - 1)
    assert identity == Identity.child(bytes(32), b"node", 2**64 - 1)
    assert identity != Identity.child(bytes(32), b"node", 0)
    assert identity.id != identity.vrf_public
    signature = identity.sign(b"hello")
    verify_message(identity.id, bytearray(b"hello"), signature)
    for at in range(64):
        with pytest.raises(VerificationError):
            verify_message(identity.id, b"hello", flip(signature, at, 3))
    with pytest.raises(VerificationError):
        verify_message(identity.id, b"hellp", signature)
    transaction = city.transaction()
    with pytest.raises(VerificationError):
        verify_message(transaction.sender, transaction.tx_id, transaction.signature)


def test_epochs_of_one_name_differ_by_their_nonce(city):
    one, two = (Epoch.first("x", bytes([nonce]) * 32, city.validators) for nonce in (1, 2))
    assert one.network != two.network
    assert one.root != two.root
    assert one.validators == city.validators
    assert Epoch.first("x", bytes([1]) * 32, city.validators) == one
    assert isinstance(one.validators, dpos.ValidatorSet)


def test_headers_name_their_batch(city):
    batch = city.batch([Entry.transaction(city.manifest(city.transaction()))])
    assert batch.digest == batch.header.digest
    after = city.batch(batch.entries, 2, batch.digest)
    assert after.header.previous == batch.digest
    assert (after.header.height, after.header.count, after.header.unit) == (2, 1, city.name)
    commit = city.commit(batch)
    commit.verify(city.epoch, batch.header)
    with pytest.raises(VerificationError, match="another batch"):
        commit.verify(city.epoch, after.header)
    assert Batch.from_bytes(batch.to_bytes()).entries == batch.entries
