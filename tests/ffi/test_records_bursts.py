"""Calls for a whole burst give what the single calls give, item by item, and what is wrong costs itself only."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, VerificationError
from city_chain.proofs import poh
from city_chain.records import AvailabilityCertificate, Manifest, Message, Transaction

pytestmark = pytest.mark.ffi

COUNT = 200  # enough that the core spreads them over its threads


@pytest.fixture(scope="module")
def burst(city):
    """Many transactions with their manifests."""
    made = [city.transaction(at, b"%d" % at) for at in range(COUNT)]
    return made, [city.manifest(transaction) for transaction in made]


def held_row(request: poh.HoldRequest, fragment: bytes) -> bytes:
    return Message("held", [request.to_bytes(), fragment]).to_bytes()


def reason(answer: bytes) -> str:
    refused = Message.from_bytes(answer)
    assert refused.kind == "refused"
    return b"".join(refused.parts).decode()


# --- making ----------------------------------------------------------------------------------------------------------


def test_transactions(city, burst):
    made, _ = burst
    items = [(at, at + 1, b"%d" % at) for at in range(COUNT)]
    assert Transaction.many(city.sender, city.epoch.network, items) == made
    assert Transaction.many(city.sender, city.epoch.network, iter(items[:1])) == made[:1]
    assert Transaction.many(city.sender, city.epoch.network, []) == []
    assert records.verify_transactions(Transaction.many(city.sender, city.epoch.network, items)) == [None] * COUNT
    with pytest.raises(InputError):
        Transaction.many(city.sender, city.epoch.network, [*items, (0, 1, bytes((64 << 20) + 1))])
    with pytest.raises(InputError, match="one of 3"):
        Transaction.many(city.sender, city.epoch.network, [(0, 1)])


def test_manifests(city, burst):
    made, manifests = burst
    items = [
        (transaction, len(transaction.to_bytes()), city.hashes, manifest.selection)
        for transaction, manifest in zip(made, manifests, strict=True)
    ]
    assert Manifest.many(city.sender, items, k=2, n=4, quorum=3) == manifests
    assert Manifest.many(city.sender, items[:1], k=2, n=4, quorum=3) == manifests[:1]
    with pytest.raises(InputError, match="n hashes"):
        Manifest.many(city.sender, [*items, (made[0], 9, city.hashes[1:], items[0][3])], k=2, n=4, quorum=3)
    with pytest.raises(InputError):
        Manifest.many(city.delegates[0], items, k=2, n=4, quorum=3)


def test_certificates(city, burst):
    _, manifests = burst
    acks = [city.acks(manifest) for manifest in manifests[:80]]
    items = [(manifest, city.hashes, of) for manifest, of in zip(manifests, acks, strict=False)]
    expected = [AvailabilityCertificate(*item) for item in items]
    assert AvailabilityCertificate.many(items) == expected
    assert AvailabilityCertificate.many(items[:1]) == expected[:1]
    with pytest.raises(VerificationError):
        AvailabilityCertificate.many([*items, (manifests[0], city.hashes, acks[1])])


def test_an_encoding_is_made_once_and_is_the_one_that_it_was_read_from(city):
    certificate = city.availability(city.manifest(city.transaction()))
    encoding = certificate.to_bytes()
    assert certificate.to_bytes() is encoding
    assert AvailabilityCertificate.from_bytes(encoding).to_bytes() is encoding
    for other in (bytearray(encoding), memoryview(encoding), Bytes(encoding)):
        read = AvailabilityCertificate.from_bytes(other)
        assert type(read.to_bytes()) is bytes
        assert read.to_bytes() == encoding
        assert read == certificate


class Bytes(bytes):
    pass


# --- asking ----------------------------------------------------------------------------------------------------------


def test_requests(city, burst):
    _, manifests = burst
    seeds = [bytes([at % 256]) * 32 for at in range(COUNT)]
    times = {"hlc": 7, "deadline_ms": 1_000, "hold_until_ms": 2_000}
    items = [(manifest, city.hashes, seed) for manifest, seed in zip(manifests, seeds, strict=True)]
    expected = poh.request_many(
        city.sender,
        [
            (manifest, city.hashes[at], node, at, poh.challenge(seed, node, at))
            for manifest, seed in zip(manifests, seeds, strict=True)
            for at, node in enumerate(manifest.selection.nodes[:4])
        ],
        **times,
    )
    found = records.request_holds(city.sender, items, **times)
    assert [len(of) for of in found] == [4] * COUNT
    assert [request for of in found for request in of] == expected
    assert poh.verify_requests(expected) == [None] * (4 * COUNT)
    assert records.request_holds(city.sender, [], **times) == []
    with pytest.raises(InputError, match="3 hashes where n = 4"):
        records.request_holds(city.sender, [(manifests[0], city.hashes[1:], bytes(32))], **times)


def test_messages(city, burst):
    _, manifests = burst
    requests = [city.request(manifest, 1, manifest.selection.nodes[1]) for manifest in manifests[:3]]
    pairs = [(request, city.fragments[1]) for request in requests]
    runs = [pairs, pairs[:1], []]
    parts: list[list[bytes]] = [
        [b"", *(part for request, f in run for part in (request.to_bytes(), f))] for run in runs
    ]
    expected = [Message("hold", of).to_bytes() for of in parts]
    assert records.hold_messages([(None, True, run) for run in runs]) == expected
    assert records.hold_messages(iter([(None, False, iter(pairs))])) == [records.encode_message("hold", parts[0])]
    assert records.read_holds(Message("hold", parts[0])) == (b"", requests, [city.fragments[1]] * 3)
    assert records.read_holds(Message("hold", [b"session", *parts[0][1:]]))[0] == b"session"
    for wrong, error in (([], ProtocolError), (parts[0][:2], ProtocolError), ([b"", b"?", b""], InputError)):
        with pytest.raises(error):
            records.read_holds(Message("hold", wrong))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("x", []), ("hold", [b"", b"a" * 1000]), ("", []), ("X", []), ("x" * 33, []), ("é", [b""]), ("x", [b""] * 65_537)],
)
def test_a_message_is_encoded_or_refused_as_by_its_class(kind, parts):
    try:
        expected = Message(kind, parts).to_bytes()
    except CityChainError as error:
        with pytest.raises(type(error)):
            records.encode_message(kind, parts)
    else:
        assert records.encode_message(kind, parts) == expected


def test_terms(city):
    manifest = city.manifest(city.transaction())
    node = manifest.selection.nodes[0]
    item = (manifest, city.hashes[0], node, 0, bytes(32))
    one, other = (
        poh.request_many(city.sender, [item] * 2, hlc=1, deadline_ms=at, hold_until_ms=at + 1) for at in (5, 9)
    )
    network, sender = city.epoch.network, city.sender.id
    assert records.hold_terms([one[0], other[0], one[1], other[1], one[0]]) == [
        (network, sender, 5, 6, [0, 2, 4]),
        (network, sender, 9, 10, [1, 3]),
    ]
    assert records.hold_terms([]) == []


# --- holding ---------------------------------------------------------------------------------------------------------


def asked_of(city, manifests: Sequence[Manifest], index: int = 0):
    """What one node is asked, whichever the draw was for: every request names it."""
    node = next(iter(city.nodes.values()))
    requests = [city.request(manifest, index, node.id) for manifest in manifests]
    return node, requests


@pytest.mark.parametrize("count", [1, 3, COUNT])
def test_rows_and_acks_are_those_of_single_calls(city, burst, count):
    _, manifests = burst
    node, requests = asked_of(city, manifests[:count])
    fragments = [city.fragments[0]] * count
    acks = poh.hold_many(node, list(zip(requests, fragments, strict=True)), 3)
    rows = [held_row(request, city.fragments[0]) for request in requests]
    opened, none = poh.OpenedSessions(), [b""] * count
    asked = (node, opened, 3, requests, fragments, none, [None] * count, [None] * count)
    assert records.hold_burst([asked]) == [([ack.to_bytes() for ack in acks], rows)]
    # Several nodes at once, and rows that are there already.
    again = (node, opened, 3, requests, fragments, none, rows, [None] * count)
    assert records.hold_burst([asked, again, asked]) == [
        ([ack.to_bytes() for ack in acks], written) for written in (rows, [None] * count, rows)
    ]
    assert records.hold_burst([]) == []


def test_what_is_refused_takes_nothing_along(city, burst):
    _, manifests = burst
    node, requests = asked_of(city, manifests[:6])
    stranger = city.request(manifests[6], 0, list(city.nodes)[1])
    fragment = city.fragments[0]
    other = Message("held", [city.request(manifests[3], 1, node.id).to_bytes(), city.fragments[1]]).to_bytes()
    rotten = other[:-1] + bytes([other[-1] ^ 1])
    opened = poh.OpenedSessions()
    asked = (
        node,
        opened,
        3,
        [requests[0], requests[1], stranger, requests[2], requests[3], requests[4], requests[5], requests[5]],
        [fragment, fragment + b"?", fragment, fragment, fragment, fragment, fragment, fragment],
        [b""] * 8,
        [None, None, None, None, other, rotten, b"no row", b"no row"],
        [None, None, None, "it is late", None, None, None, None],
    )
    [(answers, rows)] = records.hold_burst([asked])
    assert "its hash is" in reason(answers[1])
    assert reason(answers[2]) == f"hold request: for node {stranger.node.hex()[:16]}, not for this one"
    assert reason(answers[3]) == "it is late"
    assert "another fragment 0 of the transaction is held here" in reason(answers[4])
    good = [0, 5, 6, 7]
    expected = poh.hold_many(node, [(asked[3][at], fragment) for at in good], 3)
    assert [answers[at] for at in good] == [ack.to_bytes() for ack in expected]
    assert [row is not None for row in rows] == [True, False, False, False, False, True, True, False]
    [(answers, _)] = records.hold_burst([(node, opened, 3, requests[:1], [fragment], [b""], [None], ["x" * 600])])
    assert reason(answers[0]) == "x" * 500
    for wrong in (
        (node, opened, 3, requests, [fragment], [b""] * 6, [None] * 6, [None] * 6),
        (node, opened, 3, requests, [fragment] * 6, [b""], [None] * 6, [None] * 6),
        (node, opened, 3, [], [], [], [None], []),
    ):
        with pytest.raises(InputError, match="requests"):
            records.hold_burst([wrong])


# --- acks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, COUNT, 3 * COUNT])
def test_acks_are_accepted_as_by_single_calls(city, burst, count):
    _, manifests = burst
    node, requests = asked_of(city, (manifests * 3)[:count])
    fragment = city.fragments[0]
    acks = poh.hold_many(node, [(request, fragment) for request in requests], 3)
    answers = [(ack.to_bytes(), request, fragment) for ack, request in zip(acks, requests, strict=True)]
    assert records.accept_acks(answers) == acks
    assert records.accept_acks([]) == []


def test_every_kind_of_wrong_ack_is_told_apart_and_takes_nothing_along(city, burst):
    _, manifests = burst
    node, requests = asked_of(city, manifests[:3])
    fragment = city.fragments[0]
    acks = poh.hold_many(node, [(request, fragment) for request in requests], 3)
    refused = Message("refused", [b"no room"]).to_bytes()
    good = acks[0].to_bytes()
    forged = good[:-1] + bytes([good[-1] ^ 1])
    found = records.accept_acks(
        [
            (good, requests[0], fragment),
            (forged, requests[0], fragment),
            (good, requests[1], fragment),
            (good, requests[0], city.fragments[1]),
            (refused, requests[0], fragment),
            (b"", requests[0], fragment),
            (acks[2].to_bytes(), requests[2], fragment),
        ]
    )
    assert found[0] == acks[0]
    assert found[6] == acks[2]
    assert found[4:6] == [None, None]
    for error, says in zip(found[1:4], ("signature", "another request", "its hash is"), strict=True):
        assert isinstance(error, VerificationError)
        assert says in str(error)


def test_every_flipped_bit_of_an_ack_is_refused_after_the_right_one_was_seen(city, burst):
    _, manifests = burst
    node, requests = asked_of(city, manifests[:1])
    fragment = city.fragments[0]
    [ack] = poh.hold_many(node, [(requests[0], fragment)], 3)
    good = ack.to_bytes()
    assert records.accept_acks([(good, requests[0], fragment)]) == [ack]
    flipped = [good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(len(good)) for bit in range(8)]
    found = records.accept_acks([(part, requests[0], fragment) for part in flipped])
    assert not any(isinstance(said, poh.Ack) for said in found)
