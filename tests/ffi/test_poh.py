"""Proof of Hold from Python."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import InputError, VerificationError
from city_chain.proofs import poh
from city_chain.records import Identity

pytestmark = pytest.mark.ffi


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def requests(city, count: int) -> list[poh.HoldRequest]:
    """`count` requests to one node under one signature."""
    node = next(iter(city.nodes))
    manifest = city.manifest(city.transaction())
    items = [(manifest, city.hashes[at % 4], node, at % 4, bytes([at]) * 32) for at in range(count)]
    return poh.request_many(city.sender, items, hlc=2, deadline_ms=1_000, hold_until_ms=2_000)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_one_signature_serves_many(city, count):
    asked = requests(city, count)
    node = city.nodes[asked[0].node]
    acks = poh.hold_many(node, [(request, city.fragments[request.index]) for request in asked], 9)
    assert poh.verify_requests(asked) == [None] * count
    assert poh.verify_acks(acks) == [None] * count
    for request, ack in zip(asked, acks, strict=True):
        request.verify()
        ack.verify()
        ack.verify_answers(request)
        ack.verify_held(city.fragments[request.index])
        assert (ack.hlc, ack.hold_until_ms, ack.index, ack.n) == (9, 2_000, request.index, 4)
        assert (ack.node, ack.challenge, ack.tx_id) == (node.id, request.challenge, request.tx_id)
        assert (ack.manifest_hash, ack.fragment_hash) == (request.manifest_hash, request.fragment_hash)
        assert (request.sender, request.hlc, request.deadline_ms) == (city.sender.id, 2, 1_000)


def test_an_ack_answers_one_request_only(city):
    asked = requests(city, 4)
    node = city.nodes[asked[0].node]
    acks = poh.hold_many(node, [(request, city.fragments[request.index]) for request in asked], 9)
    for at, ack in enumerate(acks):
        for other, request in enumerate(asked):
            if at != other:
                with pytest.raises(VerificationError, match="another request"):
                    ack.verify_answers(request)
        with pytest.raises(VerificationError, match="its hash is"):
            ack.verify_held(b"something else")


def test_what_is_not_held_is_not_acknowledged(city):
    [request] = requests(city, 1)
    with pytest.raises(VerificationError, match="for node"):
        poh.hold_many(city.sender, [(request, city.fragments[0])], 1)
    with pytest.raises(VerificationError, match="fragment 0: its hash"):
        poh.hold_many(city.nodes[request.node], [(request, city.fragments[1])], 1)
    assert poh.hold_many(city.sender, [], 1) == []
    assert poh.request_many(city.sender, [], hlc=0, deadline_ms=0, hold_until_ms=0) == []
    assert poh.verify_acks([]) == poh.verify_requests([]) == []


def test_every_flipped_ack_and_request_is_refused(city):
    asked = requests(city, 3)
    acks = poh.hold_many(city.nodes[asked[0].node], [(request, city.fragments[request.index]) for request in asked], 9)
    for record, verify_many in ((acks[1], poh.verify_acks), (asked[1], poh.verify_requests)):
        data = record.to_bytes()
        for at in range(len(data)):
            try:
                wrong = type(record).from_bytes(flip(data, at))
            except InputError:
                continue
            with pytest.raises(VerificationError):
                wrong.verify()
            verdicts = verify_many([record, wrong, record])
            assert [type(verdict) for verdict in verdicts] == [type(None), VerificationError, type(None)]


@given(st.binary(max_size=5000), st.binary(min_size=32, max_size=32), st.integers(0, 65535))
@settings(max_examples=50, deadline=None)
def test_fragments_and_challenges(fragment, seed, index):
    digest = poh.hash_fragment(fragment)
    poh.verify_fragment(digest, bytearray(fragment), index)
    with pytest.raises(VerificationError, match=f"fragment {index}"):
        poh.verify_fragment(digest, fragment + b"\0", index)
    challenge = poh.challenge(seed, digest, index)
    assert challenge == poh.challenge(seed, digest, index)
    assert challenge not in (poh.challenge(seed, digest, index ^ 1), poh.challenge(digest, seed, index), seed)


def test_fragment_hashes_are_plain_blake3():
    # The first official test case of BLAKE3, and "abc".
    assert poh.hash_fragment(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert poh.hash_fragment(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def test_write_quorums():
    assert [poh.write_quorum(k, n) for k, n in [(1, 1), (1, 2), (2, 4), (6, 10), (1, 10)]] == [1, 1, 3, 8, 5]
    for k, n in [(0, 0), (0, 1), (2, 1)]:
        with pytest.raises(InputError, match="1 ≤ k ≤ n"):
            poh.write_quorum(k, n)


def test_indices_must_exist(city):
    manifest = city.manifest(city.transaction())
    item = (manifest, city.hashes[0], bytes(32), 4, bytes(32))
    with pytest.raises(InputError, match="fragment 4 of 4"):
        poh.request_many(city.sender, [item], hlc=0, deadline_ms=0, hold_until_ms=0)


def test_a_repairer_may_ask_for_somebody_elses_transaction(city):
    repairer = Identity(b"\x09" * 32)
    manifest = city.manifest(city.transaction())
    node = manifest.selection.nodes[0]
    [request] = poh.request_many(
        repairer, [(manifest, city.hashes[0], node, 0, bytes(32))], hlc=0, deadline_ms=0, hold_until_ms=0
    )
    request.verify()
    assert (request.sender, request.tx_id) == (repairer.id, manifest.tx_id)
