r"""Everything that is hashed, signed, sent or stored: one class and one versioned encoding each.

The way of a transaction through the records::

    Identity ─signs→ Transaction ─cut into fragments→ Manifest ←chosen by─ Selection ←from─ Draw, Candidates, Epoch
    Manifest + acks (city_chain.proofs.poh) → AvailabilityCertificate → Entry ─put into→ Batch
    Batch + votes (city_chain.proofs.dpos) → CommitCertificate
    AvailabilityCertificate + Epoch + Batch + CommitCertificate → Receipt ─checked against→ Trust

A `CountersignedReceipt` is a receipt with ML-DSA signatures of its holders and delegates, each a `Countersignature`.
A city's threshold keys (`CityKeys`) come from each delegate's `Dealing` to every `Recipient`; `Dealings` are right ones
together, a delegate's secret part are `KeyShares`. An `Election`, certified as a `Handover`, brings the next epoch.

`seal_to_city` and `seal_to_readers` make payloads that holders cannot read, `Sealed` reads them. `Repair` and
`RepairCertificate` move fragments later, `RepairRequest` asks for them, `NodeRecord` is a node's entry in Presence,
`Message` carries records between nodes, a `Letter` is from one party to another. `KeyFile` and `PublicKeyFile` are
keys at rest. A `Ruling` is what a city says to a transaction of several cities, and a `TransactionHead` shows it what
the sender has signed.

Where a node is says a `PlaceAttestation`: its own `PlaceClaim` with witnesses' `PlaceTestimony`s, graded by
`PlaceRules`. `verify_selection` computes a whole choice of nodes again, grades too, from bytes alone.

All are immutable and safe to share between threads; they compare and hash by their encoding (`to_bytes`, `from_bytes`),
and pickle by it. `from_bytes` takes bytes from anywhere: what is not well-formed is an `InputError`. It checks no
signature; `verify` does. Encodings are borsh behind a four-letter tag and a version (little-endian, one encoding per
value); digests are BLAKE3 and signatures Ed25519, each in a domain of its own.

Example:
    The whole way, with one delegate and three holders. The examples of the classes go on from here.

    >>> from city_chain.proofs import dpos, poh
    >>> from city_chain.records import *
    >>> identity, delegate = Identity(b"\x01" * 32), Identity(b"\x02" * 32)
    >>> validators = dpos.ValidatorSet(0, [(delegate.id, 10)])
    >>> epoch = Epoch.first("Utrecht", bytes(32), validators)
    >>> nodes = [Identity.child(bytes(32), b"node", at) for at in range(4)]
    >>> candidates = Candidates(epoch.network, "Utrecht", [(node.id, 65536, "north") for node in nodes])
    >>> transaction = Transaction(identity, network=epoch.network, sequence=0, hlc=1, payload=b"hello")

    Disperse it: cut, choose, ask, hold.

    >>> fragments = [b"a", b"b", b"c", b"d"]        # in earnest: city_chain.ec.encode(transaction.to_bytes(), 2, 4)
    >>> hashes = [poh.hash_fragment(fragment) for fragment in fragments]
    >>> [selection] = Draw(identity, epoch).select_many(candidates, identity.id, [0], 4)
    >>> manifest = Manifest(identity, transaction=transaction, length=len(transaction.to_bytes()), k=2, n=4,
    ...                     quorum=poh.write_quorum(2, 4), fragment_hashes=hashes, selection=selection)
    >>> asked = [(manifest, hashes[at], selection.nodes[at], at, poh.challenge(bytes(32), selection.nodes[at], at))
    ...          for at in range(3)]
    >>> requests = poh.request_many(identity, asked, hlc=2, deadline_ms=1_000, hold_until_ms=2_000)
    >>> holders = [next(node for node in nodes if node.id == request.node) for request in requests]
    >>> acks = [poh.hold_many(holder, [(request, fragment)], 3)[0]
    ...         for holder, request, fragment in zip(holders, requests, fragments)]
    >>> availability = AvailabilityCertificate(manifest, hashes, acks)

    Commit it: batch, vote, receipt.

    >>> batch = Batch(epoch, height=1, previous=epoch.network, unit="Utrecht", hlc=4,
    ...               entries=[Entry.transaction(manifest)])
    >>> slot = dpos.Slot(epoch.network, 0, 1, 0, epoch.network, batch.digest)
    >>> votes = [dpos.Vote(delegate, slot)]
    >>> certificate, _ = dpos.collect(validators, slot, votes)
    >>> commit = CommitCertificate.dpos(certificate)
    >>> receipt = Receipt(availability, epoch, batch, commit, 0)
    >>> receipt.verify(Trust.of(epoch))

    Say where somebody is, have a witness say so too, and grade it.

    >>> claim = PlaceClaim(identity, network=epoch.network, epoch=0, municipality="Utrecht",
    ...                    lat_e7=520_907_000, lon_e7=51_214_000, nonce=bytes(32), hlc=1_000 << 16)
    >>> testimony = PlaceTestimony(holders[0], claim, rtt_us=400, hlc=1_001 << 16)
    >>> attestation = PlaceAttestation(claim, [testimony])
    >>> rules = PlaceRules("Utrecht", needed=1, witnesses=[(holders[0].id, "Utrecht", 520_907_000, 51_214_000)])
    >>> rules.grade(attestation, network=epoch.network, epoch=0, at_ms=2_000)[0]
    3
"""

from collections.abc import Buffer, Iterable

from city_chain._native import (
    HOLDER,
    VALIDATOR,
    AvailabilityCertificate,
    Batch,
    BatchHeader,
    Candidates,
    CityKeys,
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
    KeyShares,
    Letter,
    Manifest,
    Message,
    NodeRecord,
    PlaceAttestation,
    PlaceClaim,
    PlaceRules,
    PlaceTestimony,
    PublicKeyFile,
    Receipt,
    Recipient,
    Repair,
    RepairCertificate,
    RepairRequest,
    Ruling,
    Sealed,
    Selection,
    Transaction,
    TransactionHead,
    Trust,
    accept_acks,
    encode_message,
    hold_burst,
    hold_messages,
    hold_terms,
    key_words,
    read_holds,
    request_holds,
    seal_to_city,
    seal_to_readers,
    verify_availability,
    verify_message,
    verify_repair_requests,
    verify_selections,
    verify_transactions,
)
from city_chain._native import verify_selection as _verify_selection
from city_chain.errors import InputError, VerificationError
from city_chain.proofs import pop

__all__ = [
    "HOLDER",
    "VALIDATOR",
    "AvailabilityCertificate",
    "Batch",
    "BatchHeader",
    "Candidates",
    "CityKeys",
    "CommitCertificate",
    "Countersignature",
    "CountersignedReceipt",
    "Dealing",
    "Dealings",
    "Draw",
    "Election",
    "Entry",
    "Epoch",
    "Handover",
    "Identity",
    "KeyFile",
    "KeyShares",
    "Letter",
    "Manifest",
    "Message",
    "NodeRecord",
    "PlaceAttestation",
    "PlaceClaim",
    "PlaceRules",
    "PlaceTestimony",
    "PublicKeyFile",
    "Receipt",
    "Recipient",
    "Repair",
    "RepairCertificate",
    "RepairRequest",
    "Ruling",
    "Sealed",
    "Selection",
    "Transaction",
    "TransactionHead",
    "Trust",
    "accept_acks",
    "encode_message",
    "hold_burst",
    "hold_messages",
    "hold_terms",
    "key_words",
    "read_holds",
    "request_holds",
    "seal_to_city",
    "seal_to_readers",
    "verify_availability",
    "verify_message",
    "verify_repair_requests",
    "verify_selection",
    "verify_selections",
    "verify_transactions",
]

_CANDIDATES_MAX = 1 << 16


def verify_selection(
    manifest: Buffer,
    candidates: Buffer,
    epoch: Buffer,
    attestations: Iterable[Buffer] = (),
    *,
    places: pop.Places | None = None,
) -> list[tuple[bytes, str, int, str, int]]:
    """Computes the whole choice of a manifest's nodes again, from bytes alone.

    What is checked: the sender's signature of the manifest, the proof of the draw for the epoch, the root of the
    candidate list, every weight in it, the nodes in their order and their grades; with attestations also the grades of
    their subjects. With a map, no node may have a grade in a municipality that the map does not have, nor for a claim
    whose point the map gives to another municipality or to nobody. Whether the epoch is one to believe (`Trust`), the
    map is the one that the city went by, or somebody is missing on the list, these bytes do not say.

    Args:
        manifest: `Manifest.to_bytes()`.
        candidates: `Candidates.to_bytes()` of the list that it was drawn from.
        epoch: `Epoch.to_bytes()`.
        attestations: `PlaceAttestation.to_bytes()` of some candidates, in any order, at most 65,536.
        places: The map that the city goes by, from somebody who is trusted; None if it has none.

    Returns:
        For every chosen node, the holders in order and then the spares, (node, failure domain, weight, municipality,
        grade). Where places did not count, the municipality is empty and the grade 0.

    Raises:
        VerificationError: The first thing that differs.
        InputError: The bytes are not of such records, or a map is given for a list that says nothing of places.

    Example:
        >>> from city_chain.records import verify_selection
        >>> found = verify_selection(manifest.to_bytes(), candidates.to_bytes(), epoch.to_bytes())
        >>> [node for node, domain, weight, municipality, grade in found] == selection.nodes
        True
    """
    if places is None:
        return _verify_selection(manifest, candidates, epoch, attestations)
    if not isinstance(places, pop.Places):
        raise TypeError(f"places must be a map of pop, not {type(places).__name__}")
    listed = Candidates.from_bytes(candidates)
    if not listed.standings:
        raise InputError("candidate list: it says nothing of places, so there is no map to check it by")
    graded = {node: standing for (node, *_), standing in zip(listed.items, listed.standings, strict=True)}
    misplaced: dict[bytes, str] = {}
    kept: list[Buffer] = []
    for at, data in enumerate(attestations):
        if at == _CANDIDATES_MAX:
            raise InputError(f"attestations: more than {_CANDIDATES_MAX}, which is the most")
        claim = PlaceAttestation.from_bytes(data).claim
        wrong = pop.misplaced(places, claim.municipality, claim.lat_e7, claim.lon_e7)
        if wrong is not None:
            misplaced[claim.subject] = wrong
            if claim.subject in graded and graded[claim.subject][1] == 0:
                continue  # its claim was not accepted, as it must be
        kept.append(data)
    chosen = _verify_selection(manifest, candidates, epoch, kept)
    for node, (municipality, grade, _) in graded.items():
        wrong = misplaced.get(node)
        if places.position(municipality) is None:
            wrong = "the map has no such municipality"
        if grade and wrong is not None:
            raise VerificationError(
                f"candidate list: node {node.hex()} is said to be in {municipality!r} with grade {grade}; {wrong}"
            )
    return chosen
