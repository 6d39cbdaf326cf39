"""Wrong types and absurd sizes into every public callable of records, poh and dpos: the documented errors only.

The table below must name every public callable; a test holds it to that. Each argument in turn is replaced by each
poison.
"""

from __future__ import annotations

import array
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from city_chain import abba, hs, proofs, records, sc
from city_chain.algorithms.tes import kem
from city_chain.errors import InputError, ProtocolError, UnavailableError, VerificationError
from city_chain.proofs import dpos, poh, pop

pytestmark = pytest.mark.ffi

ALLOWED = (TypeError, InputError, VerificationError, ProtocolError, UnavailableError)

POISONS: list[Callable[[], object]] = [
    lambda: None,
    object,
    lambda: True,
    lambda: 1.5,
    lambda: float("nan"),
    lambda: -1,
    lambda: 0,
    lambda: 2**16,
    lambda: 2**32,
    lambda: 2**63,
    lambda: 2**64,
    lambda: 10**40,
    lambda: -(10**40),
    lambda: "text",
    lambda: "\ud800",
    lambda: "x" * 100_000,
    lambda: b"",
    lambda: bytes(31),
    lambda: bytes(33),
    lambda: bytes(1 << 20),
    lambda: bytearray(32),
    lambda: memoryview(bytes(64))[::2],
    lambda: memoryview(array.array("Q", [1] * 4)),
    lambda: array.array("d", [1.0] * 4),
    list,
    tuple,
    dict,
    lambda: [None],
    lambda: [[]],
    lambda: [()],
    lambda: [b""],
    lambda: [bytes(32)] * 5000,
    lambda: [(bytes(32), 1)] * 2,
    lambda: [(bytes(32), 2**64)],
    lambda: [(bytes(32), 1, "x" * 65)],
    lambda: [(b"", 0), (b"", 0)],
    lambda: [(bytes(32), 1, [None])],
    lambda: [("x", "x", "x", "x", "x")],
    lambda: [(0, bytes(32), bytes(32), 0, bytes(32))],
    lambda: ("x", 2**31, 0),
    lambda: ("\udfff", 0, 0),
    lambda: ("x", 0),
    lambda: itertools.repeat(bytes(32)),
    lambda: itertools.repeat(0),
    lambda: range(10**7),
    lambda: {1, 2, 3},
    lambda: type,
    lambda: records.Identity,
    lambda: records.Identity(bytes(32)),
    lambda: records.Message("x", []),
    lambda: [records.Message("x", [])],
]


ALONE = records.Identity(bytes(32))


def hotstuff_proof() -> bytes:
    """The proof of the first commit of a validator that is alone."""
    machine = hs.HotStuff(bytes(32), 0, [(ALONE.id, 1)], ALONE, bytes(32))
    machine.start(0)
    while True:
        for effect in hs.effects(machine):
            match effect.kind:
                case "persist":
                    machine.durable(effect.number)
                case "need_payload":
                    machine.propose(bytes(32), 0)
                case "validate":
                    machine.payload_result(effect.block, True, 0)
                case "commit":
                    return effect.extra


def subset_certificate() -> bytes:
    """The certificate of a party that is alone."""
    party = abba.Subset(bytes(32), 0, bytes(32), [(ALONE.id, 1)], ALONE)
    party.input(b"x")
    while True:
        for kind, number, round_, data in party.drain():
            match kind:
                case "persist":
                    party.durable(number)
                case "validate":
                    party.payload_result(number, True)
                case "coin":
                    party.coin_result(number, round_, True)
                case "output":
                    party.confirm(bytes(32))
                case "confirmed":
                    return data


def table(city) -> dict[str, tuple[Callable[..., Any], list[Any], dict[str, Any]]]:  # noqa: PLR0915
    """Every public callable by its qualified name, with arguments that are right."""
    r, d, p = records, dpos, poh
    network, node = city.epoch.network, next(iter(city.nodes))
    transaction = city.transaction()
    manifest = city.manifest(transaction)
    request = city.request(manifest, 0, manifest.selection.nodes[0])
    ack = city.ack(request)
    availability = city.availability(manifest)
    batch = city.batch([r.Entry.transaction(manifest)])
    commit = city.commit(batch)
    receipt = r.Receipt(availability, city.epoch, batch, commit, 0)
    moved = city.repair(manifest)
    slot = city.slot(batch)
    vote = d.Vote(city.delegates[0], slot)
    proposal = d.Proposal(city.delegates[city.leader(1, 0)], slot)
    machine = city.machine(0)
    wanted = {"network": network, "node": node, "hlc": 1, "deadline_ms": 2, "items": [(bytes(32), 0)]}
    asked = r.RepairRequest(city.sender, **wanted)
    entry = {"region": "r", "domain": "d", "address": "a", "roles": 1, "weight": 1, "stake": 1, "sequence": 1, "hlc": 1}
    member = r.NodeRecord(city.sender, network=network, **entry)
    calls: dict[str, tuple[Callable[..., Any], list[Any], dict[str, Any]]] = {}

    def add(name: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        calls[name] = (call, list(args), kwargs)

    add("Identity", r.Identity, bytes(32))
    add("Identity.child", r.Identity.child, bytes(32), b"node", 0)
    add("Identity.child_seed", r.Identity.child_seed, bytes(32), b"node", 0)
    add("Identity.sign", city.sender.sign, b"message")
    add("Identity.kem_public", city.sender.kem_public, "x-wing")
    add("verify_message", r.verify_message, city.sender.id, b"m", city.sender.sign(b"m"))
    add("Epoch.first", r.Epoch.first, "name", bytes(32), city.validators)
    add("Candidates.choose", city.candidates.choose, b"seed", 3, [node])
    add("Draw", r.Draw, city.sender, city.epoch)
    add("Draw.select_many", city.draw.select_many, city.candidates, city.sender.id, [0], 4)
    add("Selection.verify", manifest.selection.verify, city.epoch, city.candidates, city.sender.id, 0)
    make = {"network": network, "sequence": 0, "hlc": 0, "payload": b"", "place": ("r", 0, 0), "touched": [b"k"]}
    add("Transaction", r.Transaction, city.sender, **make, terms=bytes(32))
    add("Transaction.verify", transaction.verify)
    crossing = r.Transaction(city.sender, **make, terms=bytes(32))
    add("Transaction.head", crossing.head)
    draft = sc.Manifest(bytes(32), 0, bytes(32), 5, [(0, bytes(32), 0)])
    made = r.Transaction(city.sender, **{**make, "touched": [bytes(32)]}, terms=draft.terms)
    crossed = sc.Manifest(bytes(32), 0, made.tx_id, 5, [(0, bytes(32), 0)])
    add("TransactionHead.verify_crossing", made.head().verify_crossing, crossed)
    add("TransactionHead.from_bytes", r.TransactionHead.from_bytes, made.head().to_bytes())
    add("TransactionHead.to_bytes", made.head().to_bytes)
    add("verify_transactions", r.verify_transactions, [transaction])
    make = {"length": 9, "k": 2, "n": 4, "quorum": 3, "fragment_hashes": city.hashes, "selection": city.selection()}
    add("Manifest", r.Manifest, city.sender, transaction=transaction, code=1, **make)
    add("Manifest.verify", manifest.verify)
    add("Manifest.verify_hashes", manifest.verify_hashes, city.hashes)
    add("AvailabilityCertificate", r.AvailabilityCertificate, manifest, city.hashes, city.acks(manifest))
    add("AvailabilityCertificate.verify", availability.verify, city.epoch)
    add("verify_availability", r.verify_availability, [availability], city.epoch)
    add("verify_selections", r.verify_selections, [manifest], city.epoch, city.candidates)
    given = [part.to_bytes() for part in (manifest, city.candidates, city.epoch)]
    add("verify_selection", r.verify_selection, *given, [])
    listed = [(holder, 65_536, "d", None) for holder in city.nodes]
    listed = r.Candidates(network, "r", listed, (r.PlaceRules("Utrecht"), 0, 0))
    (selection,) = city.draw.select_many(listed, city.sender.id, [transaction.sequence], 4)
    terms = {"length": 9, "k": 2, "n": 4, "quorum": 3, "fragment_hashes": city.hashes, "selection": selection}
    placed = r.Manifest(city.sender, transaction=transaction, code=1, **terms)
    given = [part.to_bytes() for part in (placed, listed, city.epoch)]
    add("verify_selection", r.verify_selection, *given, [], places=pop.Places.from_geojson(TOWN))
    where = {"municipality": "Utrecht", "lat_e7": 520_907_000, "lon_e7": 51_214_000}
    claim = r.PlaceClaim(city.sender, network=network, epoch=0, **where, nonce=bytes(32), hlc=1)
    add("PlaceClaim", r.PlaceClaim, city.sender, network=network, epoch=0, **where, nonce=bytes(32), hlc=1)
    add("PlaceClaim.verify", claim.verify)
    witness = city.nodes[node]
    add("PlaceClaim.echo", claim.echo, city.sender, node, bytes(32))
    add("PlaceClaim.verify_echo", claim.verify_echo, node, bytes(32), claim.echo(city.sender, node, bytes(32)))
    testimony = r.PlaceTestimony(witness, claim, 400, 1)
    add("PlaceTestimony", r.PlaceTestimony, witness, claim, 400, 1)
    add("PlaceTestimony.verify", testimony.verify)
    attestation = r.PlaceAttestation(claim, [testimony])
    add("PlaceAttestation", r.PlaceAttestation, claim, [testimony])
    ruled = {"home_bp": 10_000, "grade_bp": (0, 1, 2, 3), "grade_min": 0, "needed": 1, "rtt_us_max": 1, "age_ms_max": 1}
    known = {"witnesses": [(node, "Utrecht", 0, 0)], "events": [("Utrecht", 1, 0, 1)]}
    add("PlaceRules", r.PlaceRules, "Utrecht", **ruled, **known)
    rules = r.PlaceRules("Utrecht", **ruled, **known)
    add("PlaceRules.grade", rules.grade, attestation, network=network, epoch=0, at_ms=0)
    add("PlaceRules.weight", rules.weight, 1, "Utrecht", 1, 0)
    placed = [(node, 1, "d", None), (city.sender.id, 1, "d", attestation)]
    add("Candidates", r.Candidates, network, "r", placed, (rules, 0, 0))
    add("Entry.transaction", r.Entry.transaction, manifest)
    add("Entry.repair", r.Entry.repair, moved.repair)
    ruling = r.Ruling(bytes(32), command=b"c", statement=b"s")
    add("Ruling", r.Ruling, bytes(32), command=b"c", statement=b"s", warrant=b"w")
    add("Entry.sharding", r.Entry.sharding, ruling)
    add("Ruling.from_bytes", r.Ruling.from_bytes, ruling.to_bytes())
    add("Ruling.to_bytes", ruling.to_bytes)
    make = {"height": 1, "previous": network, "unit": "u", "hlc": 1, "entries": batch.entries}
    add("Batch", r.Batch, city.epoch, **make)
    add("CommitCertificate.dpos", r.CommitCertificate.dpos, commit.certificate)
    add("CommitCertificate.hotstuff", r.CommitCertificate.hotstuff, bytes(32), hotstuff_proof())
    add("CommitCertificate.abba", r.CommitCertificate.abba, subset_certificate())
    add("CommitCertificate.verify", commit.verify, city.epoch, batch.header)
    add("Receipt", r.Receipt, availability, city.epoch, batch, commit, 0)
    add("Receipt.many", r.Receipt.many, [availability], city.epoch, batch, commit, [0])
    add("Receipt.verify", receipt.verify, city.trust)
    add("Receipt.verify_transaction", receipt.verify_transaction, transaction)
    add("Trust", r.Trust, network, [(0, bytes(32))])
    add("Trust.of", r.Trust.of, city.epoch)
    make = {
        "tx_id": bytes(32),
        "manifest_hash": bytes(32),
        "generation": 1,
        "candidates_root": bytes(32),
        "moves": [(0, node)],
    }
    add("Repair", r.Repair, city.sender, network=network, hlc=0, **make)
    add("Repair.verify", moved.repair.verify)
    add("RepairCertificate", r.RepairCertificate, moved.repair, moved.acks)
    add("RepairCertificate.verify", moved.verify, network, city.hashes)
    add("RepairRequest", r.RepairRequest, city.sender, **wanted)
    add("RepairRequest.verify", asked.verify)
    add("verify_repair_requests", r.verify_repair_requests, [asked])
    add("NodeRecord", r.NodeRecord, city.sender, network=network, **entry, place=attestation)
    add("NodeRecord.verify", member.verify)
    whom = {"network": network, "receiver": bytes(32), "challenge": bytes(32)}
    letter = r.Letter(city.sender, number=1, bodies=[b"hello"], answer=False, **whom)
    add("Letter", r.Letter, city.sender, number=1, bodies=[b"hello"], answer=False, **whom)
    add("Letter.verify", letter.verify)
    add("Letter.from_bytes", r.Letter.from_bytes, letter.to_bytes())
    add("Letter.to_bytes", letter.to_bytes)
    add("Message", r.Message, "hold", [b"part"])
    add("Transaction.many", r.Transaction.many, city.sender, network, [(0, 1, b"payload")])
    described = (transaction, 9, city.hashes, city.selection())
    add("Manifest.many", r.Manifest.many, city.sender, [described], k=2, n=4, quorum=3)
    certified = (manifest, city.hashes, city.acks(manifest))
    add("AvailabilityCertificate.many", r.AvailabilityCertificate.many, [certified])
    add("encode_message", r.encode_message, "hold", [b"part"])
    times = {"hlc": 1, "deadline_ms": 2, "hold_until_ms": 3}
    add("request_holds", r.request_holds, city.sender, [(manifest, city.hashes, bytes(32))], **times)
    add("read_holds", r.read_holds, r.Message("hold", [b"", request.to_bytes(), b"fragment"]))
    add("hold_terms", r.hold_terms, [request])
    asked_of = (city.nodes[request.node], p.OpenedSessions(), 1, [request], [city.fragments[0]], [b""], [None], [None])
    add("hold_burst", r.hold_burst, [asked_of])
    add("hold_messages", r.hold_messages, [(None, True, [(request, city.fragments[0])])])
    add("accept_acks", r.accept_acks, [(ack.to_bytes(), request, city.fragments[0])])

    made = r.Countersignature.of_ack(city.nodes[ack.node], ack)
    entry = {**entry, "suite": "x-wing"}
    vouched = r.NodeRecord(city.nodes[ack.node], network=network, **entry)
    holders = [city.nodes[held.node] for held in availability.acks]
    signed = [
        (r.NodeRecord(holder, network=network, **entry), r.Countersignature.of_ack(holder, held))
        for holder, held in zip(holders, availability.acks, strict=True)
    ]
    signed += [
        (r.NodeRecord(voter, network=network, **entry), r.Countersignature.of_batch(voter, network, batch.digest))
        for voter in city.delegates
    ]
    whole = r.CountersignedReceipt(receipt, signed)
    add("Countersignature.of_ack", r.Countersignature.of_ack, city.nodes[ack.node], ack)
    add("Countersignature.of_batch", r.Countersignature.of_batch, city.sender, network, bytes(32))
    add("Countersignature.verify", made.verify)
    add("Countersignature.verify_by", made.verify_by, vouched)
    add("CountersignedReceipt", r.CountersignedReceipt, receipt, [(vouched, made)])
    add("CountersignedReceipt.verify", whole.verify, city.trust, [(vouched.node, vouched.ml_dsa)])
    add("CountersignedReceipt.signed", whole.signed)

    add("HoldRequest.verify", request.verify)
    add("Ack.verify", ack.verify)
    add("Ack.verify_answers", ack.verify_answers, request)
    add("Ack.verify_held", ack.verify_held, city.fragments[0])
    add("challenge", p.challenge, bytes(32), node, 0)
    add("seal_sessions", p.seal_sessions, network, city.sender.id, [(node, city.sender.kem_public())])
    add("OpenedSessions", p.OpenedSessions, 16)
    item = (manifest, bytes(32), node, 0, bytes(32))
    add("request_many", p.request_many, city.sender, [item], hlc=1, deadline_ms=2, hold_until_ms=3)
    add("verify_requests", p.verify_requests, [request])
    add("hold_many", p.hold_many, city.nodes[request.node], [(request, city.fragments[0])], 1)
    add("verify_acks", p.verify_acks, [ack])
    add("hash_fragment", p.hash_fragment, b"bytes")
    add("verify_fragment", p.verify_fragment, p.hash_fragment(b""), b"", 0)
    add("write_quorum", p.write_quorum, 2, 4)
    add("verify_signatures", p.verify_signatures, [(bytes(32), b"message", bytes(64))])
    add("audit_challenge", p.audit_challenge, bytes(32), 5000, 2)
    add("audit_answer", p.audit_answer, bytes(5000), [0, 4])
    shown = p.audit_answer(bytes(5000), [1])
    add("audit_verify", p.audit_verify, p.hash_fragment(bytes(5000)), 5000, [1], shown)
    add("audit_blocks", p.audit_blocks, 5000)
    add("audit_chance", p.audit_chance, 100, 10, 5, audits=2)
    add("audit_blocks_for", p.audit_blocks_for, 100, 10, 0.9, audits=2)

    add("ValidatorSet", d.ValidatorSet, 0, [(bytes(32), 1)])
    add("ValidatorSet.position", city.validators.position, bytes(32))
    add("elect", d.elect, 0, [(bytes(32), 1)], [(bytes(32), 0, [bytes(32)])], 1, method="approval")
    add("leader", d.leader, city.validators, bytes(32), 1, 0)
    add("leaders", d.leaders, city.validators, bytes(32), [1, 2], attempt=0)
    add("Slot", d.Slot, network, 0, 1, 0, bytes(32), bytes(32))
    add("Vote", d.Vote, city.delegates[0], slot)
    add("Proposal", d.Proposal, city.delegates[0], slot, [])
    add("Certificate.verify", commit.certificate.verify, city.validators)
    add("collect", d.collect, city.validators, slot, [d.Vote(delegate, slot) for delegate in city.delegates])
    add("choose", d.choose, [])
    add("Delegate", d.Delegate, city.delegates[0], city.validators, network, bytes(32), bytes(32))
    restore = (city.delegates[0], city.validators, network, city.epoch.seed, machine.snapshot())
    add("Delegate.restore", d.Delegate.restore, *restore)
    add("Delegate.prepare", machine.prepare, 1, 1)
    add("Delegate.propose", machine.propose, proposal)
    add("Delegate.lead", machine.lead, 0, bytes(32), [])
    add("Delegate.weigh", machine.weigh, 1, [])
    add("Delegate.committed", machine.committed, commit.certificate)
    add("Delegate.drain", machine.drain)
    add("Delegate.durable", machine.durable, 0)
    add("Delegate.snapshot", machine.snapshot)
    add("Delegate.leader", machine.leader, 0)
    key = r.KeyFile.generate("x-wing", None)
    signing = r.KeyFile.generate("ml-dsa-44", None)
    add("KeyFile.generate", r.KeyFile.generate, "x-wing", b"pass", memory_kib=8192, passes=1, lanes=1)
    add("KeyFile.unlock_kem", key.unlock_kem, None)
    add("KeyFile.unlock_signing", signing.unlock_signing, None)
    add("KeyFile.from_bytes", r.KeyFile.from_bytes, key.to_bytes())
    add("KeyFile.to_bytes", key.to_bytes)
    add("PublicKeyFile", r.PublicKeyFile, key.public_key)
    add("key_words", r.key_words, key.public_key)
    add_keys(city, add, commit, receipt)
    add_sealed(city, add)
    for record in [*city.records(), vote, claim, testimony, attestation, rules]:
        kind = type(record)
        add(f"{kind.__name__}.from_bytes", kind.from_bytes, record.to_bytes())
        add(f"{kind.__name__}.to_bytes", record.to_bytes)
    return calls


def add_keys(city, add, commit, receipt) -> None:
    """The rows of a city's keys and of what is made with them."""
    r = records
    people = sorted(city.delegates, key=lambda delegate: delegate.id)
    one, ids = people[0], [delegate.id for delegate in people]
    recipients = [r.Recipient(delegate, city.epoch.network) for delegate in people]
    dealt = [r.Dealing.deal(delegate, city.epoch, recipients) for delegate in people]
    dealings, _ = r.Dealings.sort(city.epoch, dealt)
    signatures = [(delegate.id, dealings.keys.sign(delegate)) for delegate in people]
    keys = dealings.keys.certified(city.epoch, signatures)
    held = [dealings.open(delegate)[0] for delegate in people]
    election = r.Election(city.sender, city.epoch, 1, bytes(32), dpos.ValidatorSet(1, city.validators.items))
    handed = [(node, r.Handover.sign(delegate, election, keys)) for node, delegate in zip(ids, people, strict=True)]
    handover = r.Handover(election, keys, city.epoch, handed)
    [sealed] = r.seal_to_city(keys.encryption_key, [(0, b"x")], network=city.epoch.network, sender=city.sender.id)
    transaction = city.transaction(payload=sealed)
    manifest, sealed = city.manifest(transaction), r.Sealed.from_bytes(sealed)
    label = manifest.opening_label(sealed.capsule)
    opening = [shares.decrypt(sealed.capsule, label) for shares in held]
    public = {"public_shares": keys.encryption_shares, "shares": opening}

    add("Recipient", r.Recipient, one, city.epoch.network)
    add("Recipient.verify", recipients[0].verify)
    add("Dealing.deal", r.Dealing.deal, one, city.epoch, recipients)
    add("Dealing.reshare", r.Dealing.reshare, one, election.next, recipients, keys, held[0])
    add("Dealing.verify", dealt[0].verify)
    add("Dealings.sort", r.Dealings.sort, city.epoch, dealt, None)
    add("Dealings.open", dealings.open, one)
    add("CityKeys.sign", keys.sign, one)
    add("CityKeys.certified", keys.certified, city.epoch, signatures)
    add("CityKeys.verify", keys.verify, city.epoch)
    add("KeyShares.open", r.KeyShares.open, one, keys, held[0].seal(one))
    add("KeyShares.seal", held[0].seal, one)
    add("KeyShares.sign", held[0].sign, b"message")
    add("KeyShares.decrypt", held[0].decrypt, sealed.capsule, label)
    add("Election", r.Election, city.sender, city.epoch, 1, bytes(32), election.next.validators)
    add("Election.verify", election.verify, city.epoch)
    add("Handover", r.Handover, election, keys, city.epoch, handed)
    add("Handover.message", r.Handover.message, election, keys)
    add("Handover.sign", r.Handover.sign, one, election, keys)
    add("Handover.verify", handover.verify, city.epoch)
    signed = [shares.sign(commit.compressed_message) for shares in held]
    add("CommitCertificate.compressed", commit.compressed, keys, signed)
    add("Receipt.with_certificate", receipt.with_certificate, commit.compressed(keys, signed)[0])
    add("Manifest.opening_label", manifest.opening_label, sealed.capsule)
    add("Sealed.of", r.Sealed.of, transaction)
    add("Sealed.of_committed", r.Sealed.of_committed, manifest, transaction)
    add("Sealed.combine", sealed.combine, keys.encryption_key, threshold=keys.threshold, **public)
    add("Sealed.verify_shares", sealed.verify_shares, keys.encryption_key, **public)
    about = {"network": city.epoch.network, "sender": city.sender.id}
    add("seal_to_city", r.seal_to_city, keys.encryption_key, [(0, b"payload")], **about)


def add_sealed(city, add) -> None:
    """The rows of what is sealed to readers."""
    r = records
    reader = kem.SecretKey(bytes(32))
    about = {"network": city.epoch.network, "sender": city.sender.id}
    [payload] = r.seal_to_readers([reader.public_key], [(0, b"payload")], **about)
    sealed = r.Sealed.from_bytes(payload)
    add("seal_to_readers", r.seal_to_readers, [reader.public_key], [(0, b"payload")], **about)
    add("Sealed.open", sealed.open, reader)
    add("Sealed.from_bytes", r.Sealed.from_bytes, payload)
    add("Sealed.to_bytes", sealed.to_bytes)
    add_places(add)


TOWN = b"""{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "town", "properties": {"name": "Town"},
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}}]}"""


def add_places(add: Callable[..., None]) -> None:
    """The calls of `pop`."""
    places = pop.Places.from_geojson(TOWN)
    table = pop.Multipliers({"town": 20_000}, [(None, 10_000, 1, 2)])
    add("Places.from_geojson", pop.Places.from_geojson, TOWN, name="name", leave_out="rings")
    add("Places.from_bytes", pop.Places.from_bytes, places.to_bytes())
    add("Places.to_bytes", places.to_bytes)
    add("Places.name", places.name, 0)
    add("Places.position", places.position, "town")
    add("Places.locate", places.locate, 0.5, 0.5)
    add("Places.locate_e7", places.locate_e7, 1, 1)
    add("Places.locate_many", places.locate_many, array.array("i", [0, 1]), unit="e7")
    add("faults", pop.faults, TOWN, name="name")
    add("misplaced", pop.misplaced, places, "town", 0, 0)
    add("Multipliers", pop.Multipliers, {"town": 20_000}, [("town", 10_000, 1, 2)])
    add("Multipliers.from_bytes", pop.Multipliers.from_bytes, table.to_bytes())
    add("Multipliers.to_bytes", table.to_bytes)
    add("Multipliers.weight", table.weight, "town", 1)
    add("Multipliers.apply", table.apply, 1, "town", 1)


NOT_CONSTRUCTED = {
    "AvailabilityCertificate",
    "Ack",
    "BatchHeader",
    "Certificate",
    "CommitCertificate",
    "Entry",
    "Epoch",
    "KeyFile",
}
NOT_CONSTRUCTED |= {"HoldRequest", "Report", "Selection", "Session", "Countersignature"}
NOT_CONSTRUCTED |= {"Fault", "Places", "CityKeys", "Dealing", "Dealings", "KeyShares", "Sealed", "TransactionHead"}


PROOFS = [importlib.import_module(f"{proofs.__name__}.{found.name}") for found in pkgutil.iter_modules(proofs.__path__)]
FACADES = (records, *PROOFS)


def public_callables() -> Iterator[str]:
    for module in FACADES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            yield name
            if inspect.isclass(thing):
                for member, value in vars(thing).items():
                    if not member.startswith("_") and not inspect.isdatadescriptor(value):
                        yield f"{name}.{member}"


def test_the_table_names_every_public_callable(city):
    assert {dpos, poh, pop} <= set(PROOFS)
    named = set(table(city))
    assert named <= set(public_callables())
    missing = set(public_callables()) - named
    assert missing <= NOT_CONSTRUCTED
    for name in missing:
        kind = next(getattr(module, name) for module in FACADES if hasattr(module, name))
        with pytest.raises(TypeError):
            kind()


def test_right_arguments_are_accepted(city):
    for name, (call, args, kwargs) in table(city).items():
        if name not in {"Delegate.lead", "Delegate.weigh", "Delegate.committed", "Delegate.propose"}:
            call(*args, **kwargs)


def test_poison_is_refused_with_the_documented_errors(city):
    refused = 0
    for name, (call, args, kwargs) in table(city).items():
        for at in [*range(len(args)), *kwargs]:
            for poison in POISONS:
                poisoned, named = list(args), dict(kwargs)
                if isinstance(at, int):
                    poisoned[at] = poison()
                else:
                    named[at] = poison()
                try:
                    call(*poisoned, **named)
                except ALLOWED:
                    refused += 1
                except BaseException as error:
                    pytest.fail(f"{name}, argument {at}: {error!r}")
    assert refused > 4000


def test_wrong_types_are_type_errors_and_wrong_values_input_errors(city):
    for call in (
        lambda: records.Identity("x" * 32),
        lambda: records.Identity(32),
        lambda: records.Epoch.first(b"name", bytes(32), city.validators),
        lambda: records.verify_transactions([city.manifest(city.transaction())]),
        lambda: records.verify_transactions(None),
        lambda: poh.write_quorum(2.0, 4),
        lambda: poh.write_quorum(True, 4),
        lambda: dpos.ValidatorSet(0, [[bytes(32), 1]]),
        lambda: records.Draw(bytes(32), city.epoch),
        lambda: city.transaction().verify(1),
        lambda: records.Message("x", [1]),
    ):
        with pytest.raises(TypeError):
            call()
    for call in (
        lambda: records.Identity(bytes(31)),
        lambda: records.Epoch.first("\ud800", bytes(32), city.validators),
        lambda: poh.write_quorum(-1, 4),
        lambda: poh.write_quorum(1, 2**64),
        lambda: dpos.ValidatorSet(0, [(bytes(32),)]),
        lambda: dpos.ValidatorSet(2**64, [(bytes(32), 1)]),
        lambda: records.Message("X", []),
        lambda: records.Message("x" * 33, []),
        lambda: records.Message("x", itertools.repeat(b"")),
    ):
        with pytest.raises(InputError):
            call()


def test_an_iterable_that_fails_fails_the_call_with_its_own_error(city):
    def broken():
        yield city.transaction()
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        records.verify_transactions(broken())
