"""A node's door: what is let in at once is bounded, and whoever leaves makes room."""

from __future__ import annotations

import pytest

from city_chain.adapters.clock import ManualClock
from city_chain.errors import ProtocolError, UnavailableError
from city_chain.proofs import poh
from city_chain.proofs.dpos import ValidatorSet
from city_chain.records import Candidates, Draw, Epoch, Identity, Manifest, Message, Transaction
from city_chain.stages import messages
from city_chain.stages.r1_ingress import Ingress, Limits

NETWORK = bytes(32)


def door(limits: Limits, *, network: bytes = NETWORK) -> Ingress:
    return Ingress(network, lambda _: True, ManualClock(now_ms=1_000), limits)


@pytest.mark.parametrize("body", [b"", b"?", messages.message("announce", [messages.integer(1)])])
def test_whoever_leaves_makes_room(body: bytes) -> None:
    ingress = door(Limits(bodies_max=4, bytes_max=10_000))
    for _ in range(50):
        with ingress.admit([body] * 3) as admitted:
            assert not any(isinstance(item, UnavailableError) for item in admitted)
    with ingress.admit([messages.message("announce")] * 4) as admitted:
        assert all(isinstance(item, Message) for item in admitted)


def test_what_is_over_is_busy_and_the_rest_is_let_in() -> None:
    good = messages.message("announce")
    ingress = door(Limits(bodies_max=3))
    with ingress.admit([good, b"garbage"]) as first:
        assert isinstance(first[0], Message)
        assert isinstance(first[1], ProtocolError)
        with ingress.admit([good, good]) as second:
            assert isinstance(second[0], Message)
            assert isinstance(second[1], UnavailableError)
            assert "busy" in str(second[1])
    ingress = door(Limits(bytes_max=len(good) + 1))
    with ingress.admit([good, good]) as admitted:
        assert [type(item) for item in admitted] == [Message, UnavailableError]


def test_room_is_made_when_the_work_fails() -> None:
    ingress = door(Limits(bodies_max=1))

    def work() -> None:
        with ingress.admit([messages.message("announce")]) as admitted:
            assert isinstance(admitted[0], Message)
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            work()


def test_every_sender_has_a_share() -> None:
    sender, other = Identity(b"\x01" * 32), Identity(b"\x02" * 32)
    epoch = Epoch.first("x", bytes(32), ValidatorSet(0, [(sender.id, 1)]))
    candidates = Candidates(epoch.network, "x", [(other.id, 65536, "d")])

    def asked(identity: Identity) -> poh.HoldRequest:
        transaction = Transaction(identity, network=epoch.network, sequence=0, hlc=1, payload=b"p")
        (selection,) = Draw(identity, epoch).select_many(candidates, identity.id, [0], 1)
        fragment = b"ab"
        manifest = Manifest(
            identity,
            transaction=transaction,
            length=len(transaction.to_bytes()),
            k=1,
            n=1,
            quorum=1,
            fragment_hashes=[poh.hash_fragment(fragment)],
            selection=selection,
        )
        item = (manifest, poh.hash_fragment(fragment), other.id, 0, bytes(32))
        return poh.request_many(identity, [item], hlc=1, deadline_ms=2_000, hold_until_ms=9_000)[0]

    ingress = door(Limits(peer_bytes_max=10), network=epoch.network)
    mine, others = asked(sender), asked(other)
    for _ in range(3):
        with ingress.admit_holds([mine, mine, others], [6, 6, 6]) as verdicts:
            assert [type(verdict) for verdict in verdicts] == [type(None), UnavailableError, type(None)]
            with ingress.admit_holds([mine, others], [6, 4]) as later:
                assert [type(verdict) for verdict in later] == [UnavailableError, type(None)]
