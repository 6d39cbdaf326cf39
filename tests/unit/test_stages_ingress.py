"""A node's door: bounded, shared out, and open again when what was let in is done."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain import records
from city_chain.adapters.clock import ManualClock
from city_chain.errors import ProtocolError, UnavailableError, VerificationError
from city_chain.proofs import dpos, poh
from city_chain.stages import messages
from city_chain.stages.r1_ingress import Ingress, Limits

pytestmark = pytest.mark.unit

SENDER = records.Identity(b"\x01" * 32)
STRANGER = records.Identity(b"\x02" * 32)
NODE = records.Identity(b"\x03" * 32)
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(NODE.id, 1)]))
NOW_MS = 1_700_000_000_000


def manifest(epoch: records.Epoch = EPOCH) -> records.Manifest:
    transaction = records.Transaction(SENDER, network=epoch.network, sequence=0, hlc=1, payload=b"")
    candidates = records.Candidates(epoch.network, "x", [(NODE.id, 1 << 16, "d")])
    (selection,) = records.Draw(SENDER, epoch).select_many(candidates, SENDER.id, [0], 1)
    return records.Manifest(
        SENDER,
        transaction=transaction,
        length=len(transaction.to_bytes()),
        k=1,
        n=1,
        quorum=1,
        fragment_hashes=[bytes(32)],
        selection=selection,
    )


def hold(
    who: records.Identity = SENDER, epoch: records.Epoch = EPOCH, deadline_ms: int = 1000, until_ms: int = 10_000
) -> poh.HoldRequest:
    (request,) = poh.request_many(
        who,
        [(manifest(epoch), bytes(32), NODE.id, 0, bytes(32))],
        hlc=1,
        deadline_ms=NOW_MS + deadline_ms,
        hold_until_ms=NOW_MS + until_ms,
    )
    return request


def door(limits: Limits | None = None) -> Ingress:
    clock = ManualClock(NOW_MS)
    return Ingress(EPOCH.network, lambda key: key == SENDER.id, clock, limits)


def is_fresh(ingress: Ingress) -> bool:
    return (ingress._bodies, ingress._bytes, ingress._peers) == (0, 0, {})


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 6), st.integers(1, 100))
def test_what_is_let_in_is_bounded(sizes: list[int], bodies_max: int, bytes_max: int) -> None:
    ingress = door(Limits(bodies_max, bytes_max, 1 << 20))
    bodies = [bytes(size) for size in sizes]
    with ingress.admit(bodies) as admitted:
        let_in = [body for body, found in zip(bodies, admitted, strict=True) if not isinstance(found, UnavailableError)]
        assert all(isinstance(found, ProtocolError | UnavailableError) for found in admitted)
        assert len(let_in) <= bodies_max
        assert sum(map(len, let_in)) <= bytes_max
        assert ingress._bodies == len(let_in)
        if sum(sizes) <= bytes_max and len(sizes) <= bodies_max:
            assert let_in == bodies
    assert is_fresh(ingress)


def test_an_empty_body_is_malformed_and_not_too_much() -> None:
    with door().admit([b"", messages.message("announce")]) as (empty, right):
        assert isinstance(empty, ProtocolError)
        assert isinstance(right, records.Message)


def test_the_door_opens_again_after_an_error() -> None:
    ingress = door()
    with pytest.raises(RuntimeError), ingress.admit([b"x"]), ingress.admit_holds([hold()], [10]):
        raise RuntimeError
    assert is_fresh(ingress)


def test_a_second_burst_is_busy_while_the_first_is_under_work() -> None:
    ingress = door(Limits(bodies_max=2, bytes_max=1000, peer_bytes_max=15))
    with ingress.admit([b"a", b"b"]):
        with ingress.admit([b"c"]) as (found,):
            assert isinstance(found, UnavailableError)
        with ingress.admit_holds([hold()], [10]) as (first,):
            assert first is None
            with ingress.admit_holds([hold()], [10]) as (second,):
                assert isinstance(second, UnavailableError)
                assert "this sender" in str(second)
    with ingress.admit_holds([hold(), hold()], [10, 10]) as verdicts:
        assert [verdict is None for verdict in verdicts] == [True, False]
    assert is_fresh(ingress)


def test_who_may_ask_what() -> None:
    other = records.Epoch.first("y", bytes(32), EPOCH.validators)
    asked = {
        "right": hold(),
        "stranger": hold(STRANGER),
        "network": hold(epoch=other),
        "late": hold(deadline_ms=-60_000),
        "a little late": hold(deadline_ms=-1000),
        "until the past": hold(until_ms=0),
    }
    with door().admit_holds(list(asked.values()), [0] * len(asked)) as found:
        verdicts = dict(zip(asked, found, strict=True))
    assert verdicts["right"] is None
    assert verdicts["a little late"] is None  # clocks differ by seconds
    assert isinstance(verdicts["stranger"], VerificationError)
    assert isinstance(verdicts["network"], VerificationError)
    assert isinstance(verdicts["late"], ProtocolError)
    assert isinstance(verdicts["until the past"], ProtocolError)


def test_signatures_are_checked_alone_and_together() -> None:
    right = hold()
    damaged = bytearray(right.to_bytes())
    damaged[-1] ^= 1
    forged = poh.HoldRequest.from_bytes(bytes(damaged))
    for requests in ([forged], [right, forged, right]):
        with door().admit_holds(requests, [0] * len(requests)) as verdicts:
            assert [verdict is None for verdict in verdicts] == [request == right for request in requests]
    with door().admit_holds([], []) as none:
        assert none == []


def test_from_many_threads() -> None:
    ingress = door(Limits(bodies_max=3, bytes_max=30, peer_bytes_max=20))
    request = hold()

    def knock() -> None:
        for _ in range(200):
            with ingress.admit([b"0123456789"]), ingress.admit_holds([request], [10]):
                assert ingress._bodies <= 3
                assert ingress._bytes <= 30
                assert ingress._peers.get(SENDER.id, 0) <= 20

    threads = [threading.Thread(target=knock) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_fresh(ingress)
