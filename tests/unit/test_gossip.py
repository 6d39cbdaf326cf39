"""A member of an overlay over a transport: broadcasts, failures, strangers, bounds, threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.algorithms import hvp
from city_chain.errors import InputError, UnavailableError, VerificationError
from city_chain.node import gossip as module
from city_chain.node.gossip import Change, Delivery, Gossip
from city_chain.node.letters import Writer
from city_chain.records import Identity
from city_chain.stages import messages

NETWORK = bytes(32)
QUICK = {"keep_alive_s": 0.1, "patience_s": 0.5, "rejoin_us": 50_000, "rejoin_max_us": 200_000, "answer_us": 500_000}
QUICK["retry_us"] = 500_000  # one whose only link was dropped for another asks again


class Member:
    """A member, what it has heard and how its links have changed."""

    def __init__(self, transport, at: int, **more) -> None:
        self.heard: queue.Queue[Delivery] = queue.Queue()
        self.changes: list[Change] = []
        self.identity = Identity.child(bytes(32), b"member", at)
        settings = {"network": NETWORK, "clock": SystemClock(), "entropy": OsEntropy(), **QUICK, **more}
        self.gossip = Gossip(
            self.identity, transport, on_deliver=self.heard.put, on_change=self.changes.append, **settings
        )

    @property
    def id(self) -> bytes:
        return self.identity.id


@contextmanager
def overlay(count: int, **more) -> Iterator[tuple[InProcessTransport, list[Member]]]:
    """Members that are linked."""
    with InProcessTransport() as transport:
        members = [Member(transport, at, **more) for at in range(count)]
        try:
            for member in members:
                member.gossip.join([members[0].gossip.contact] if member is not members[0] else [])
            until(lambda: all(member.gossip.links for member in members))
            yield transport, members
        finally:
            for member in members:
                member.gossip.close(leave=False)


def until(is_so: Callable[[], bool], patience_s: float = 20.0) -> None:
    give_up = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("city-chain-gossip")]


def test_a_broadcast_reaches_everybody_once_with_its_origin():
    with overlay(12) as (_, members):
        sent = [members[at].gossip.broadcast(b"payload", topic=b"topic") for at in (0, 5)]
        assert len(set(sent)) == 2
        for at, member in enumerate(members):
            due = {(sent[i], members[origin].id) for i, origin in enumerate((0, 5)) if origin != at}
            found = [member.heard.get(timeout=20) for _ in due]
            assert {(one.id, one.origin) for one in found} == due
            assert {(one.payload, one.topic) for one in found} == {(b"payload", b"topic")}
        time.sleep(0.1)
        assert all(member.heard.empty() for member in members)


def test_over_tcp_half_are_killed_and_the_others_find_each_other():
    transports = [TcpTransport(workers=4) for _ in range(8)]
    members = [Member(transport, at, address="tcp:127.0.0.1:0") for at, transport in enumerate(transports)]
    contacts = [member.gossip.contact for member in members[:2]]  # whose second one lives: nobody is alone for good
    try:
        for at, member in enumerate(members):
            member.gossip.join(contacts[:at])
        until(lambda: all(member.gossip.links for member in members))
        for member, transport in zip(members[::2], transports[::2], strict=True):
            member.gossip.close(leave=False)
            transport.close()
        gone, living = {member.id for member in members[::2]}, members[1::2]
        until(lambda: all(m.gossip.links and not gone & set(m.gossip.links) for m in living))

        def all_hear() -> bool:
            sent = living[0].gossip.broadcast(b"still here")
            try:
                for member in living[1:]:
                    while member.heard.get(timeout=0.5).id != sent:
                        pass  # one of the tries before
            except queue.Empty:
                return False
            return True

        until(all_hear)
    finally:
        for member, transport in zip(members, transports, strict=True):
            member.gossip.close(leave=False)
            transport.close()
    assert threads() == []


def test_who_leaves_says_so():
    with overlay(2) as (_, (north, south)):
        south.gossip.close()
        until(lambda: not north.gossip.links)
        until(lambda: Change("down", south.id, "left") in north.changes)
        assert Change("isolated") in north.changes
        with pytest.raises(UnavailableError, match="is closed"):
            south.gossip.broadcast(b"too late")
        with pytest.raises(UnavailableError, match="is closed"):
            south.gossip.join([])


@pytest.mark.parametrize("fault", [Fault(refuse=True), Fault(hang=True), Fault(corrupt=1.0)])
def test_who_cannot_be_reached_is_down_and_comes_back(fault):
    with overlay(2) as (transport, (north, south)):
        for member in (north, south):
            transport.set_fault(member.gossip.contact.address, fault)
        until(lambda: Change("down", south.id, "failed") in north.changes)
        until(lambda: not north.gossip.links and not south.gossip.links)
        for member in (north, south):
            transport.set_fault(member.gossip.contact.address, None)
        until(lambda: bool(north.gossip.links) and bool(south.gossip.links))
        assert south.gossip.wait_for_link(1.0)


def test_who_starts_again_with_its_identity_is_heard():
    with overlay(2) as (transport, (north, south)):
        for _ in range(3):
            south.gossip.close(leave=False)
            time.sleep(0.002)  # a life of its own: milliseconds number them
            with Member(transport, 1).gossip as again:
                again.join([north.gossip.contact])
                assert again.wait_for_link(20)
                again.broadcast(b"again")
                assert north.heard.get(timeout=10).payload == b"again"


def test_an_impostor_at_its_address_does_not_keep_a_link_up():
    with overlay(2) as (transport, (north, south)):
        address = south.gossip.contact.address
        south.gossip.close(leave=False)
        transport.serve(lambda burst: [messages.message("heard", [b"yes"]) for _ in burst], address)
        until(lambda: Change("down", south.id, "failed") in north.changes)


def test_strangers_are_refused_and_hurt_nobody():
    with overlay(2) as (transport, (north, south)):
        address, deadline = north.gossip.contact.address, time.monotonic() + 10
        challenge = messages.answer(transport.request(address, messages.message("greet"), deadline), "challenge", 1)[0]
        forger = Writer(Identity.child(bytes(32), b"forger", 0), NETWORK, north.id)
        forger.challenge = challenge
        letter = forger.write([b"hello"])
        forged = letter.replace(Identity.child(bytes(32), b"forger", 0).id, south.id)
        hostile = [b"", b"?", messages.message("letter"), messages.message("letter", [b"x"]), messages.message("vote")]
        right = messages.message("letter", [letter])
        hostile += [messages.message("letter", [forged]), messages.message("greet", [b""])[:-1]]
        for body in hostile:
            assert messages.parse(transport.request(address, body, deadline)).kind == "refused"
        assert messages.parse(transport.request(address, right, deadline)).kind == "heard"
        until(lambda: north.gossip.stats()["refused"] >= len(hostile) + 1)  # and what the letter said
        south.gossip.broadcast(b"still here")
        assert north.heard.get(timeout=10).payload == b"still here"


def test_only_who_is_admitted_may_speak():
    known: set[bytes] = set()
    with InProcessTransport() as transport:
        north = Member(transport, 0, admits=lambda sender: sender in known)
        south = Member(transport, 1)
        try:
            north.gossip.join([])
            south.gossip.join([north.gossip.contact])
            time.sleep(0.3)
            assert not south.gossip.links
            assert not south.gossip.wait_for_link(0.01)
            known.add(south.id)
            until(lambda: bool(south.gossip.links))
        finally:
            south.gossip.close()
            north.gossip.close()


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "INBOX_BYTES_MAX", 8192)
    blocked, free = threading.Event(), threading.Event()

    def block(_: Delivery) -> None:
        blocked.set()
        free.wait(20)

    with overlay(2) as (transport, (north, south)):
        south.gossip._on_deliver = block
        north.gossip.broadcast(b"1")
        assert blocked.wait(10)
        address, deadline = south.gossip.contact.address, time.monotonic() + 10
        flooder = Writer(Identity.child(bytes(32), b"flooder", 0), NETWORK, south.id)
        flooder.challenge = south.gossip._box.challenge
        kinds = []
        for _ in range(10):
            body = messages.message("letter", [flooder.write([bytes(500)])])
            kinds.append(messages.parse(transport.request(address, body, deadline)).kind)
        assert kinds == ["heard"] * 2 + ["later"] * 8
        free.set()
        until(lambda: not south.gossip._waiting)


def test_what_waits_of_all_senders_together_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "INBOX_BYTES_MAX", 8192)
    blocked, free = threading.Event(), threading.Event()

    def block(_: Delivery) -> None:
        blocked.set()
        free.wait(20)

    with overlay(2) as (transport, (north, south)):
        south.gossip._on_deliver = block
        north.gossip.broadcast(b"1")
        assert blocked.wait(10)
        heard = 0
        for at in range(20):
            one = Writer(Identity.child(bytes(32), b"flooder", at), NETWORK, south.id)
            one.challenge = south.gossip._box.challenge
            letter = one.write([bytes(500)])
            said = transport.request(
                south.gossip.contact.address, messages.message("letter", [letter]), time.monotonic() + 10
            )
            heard += messages.parse(said).kind == "heard"
        free.set()
        assert 5 <= heard <= 8192 // len(letter) < 20


def test_who_is_told_to_come_later_loses_nothing(monkeypatch):
    monkeypatch.setattr(module, "INBOX_BYTES_MAX", 16_384)
    monkeypatch.setattr(module, "_LETTER_BYTES_MAX", 1000)
    free, later = threading.Event(), threading.Event()
    heard: list[bytes] = []

    def hear(delivery: Delivery) -> None:
        free.wait(20)
        heard.append(delivery.payload)

    with overlay(2, patience_s=20.0) as (_, (north, south)):
        south.gossip._on_deliver = hear
        room = south.gossip._has_room

        def has_room(*letter) -> bool:
            there = room(*letter)
            if not there:
                later.set()
            return there

        monkeypatch.setattr(south.gossip, "_has_room", has_room)
        due = [bytes([at]) * 500 for at in range(20)]
        for payload in due:
            north.gossip.broadcast(payload)
        assert later.wait(10)
        free.set()
        until(lambda: sorted(heard) == due)


def test_a_peer_whose_queue_is_full_is_down(monkeypatch):
    monkeypatch.setattr(module, "QUEUE_BYTES_MAX", 100_000)
    with overlay(2, patience_s=30.0) as (transport, (north, south)):
        transport.set_fault(south.gossip.contact.address, Fault(hang=True))
        for _ in range(4):
            north.gossip.broadcast(bytes(60_000))
        until(lambda: Change("down", south.id, "failed") in north.changes, 10.0)


def test_a_callback_that_fails_ends_nothing(caplog):
    with overlay(2) as (_, (north, south)):
        north.gossip._on_deliver = lambda _: 1 // 0
        south.gossip.broadcast(b"1")
        until(lambda: "who hears of gossip has failed" in caplog.text)
        north.gossip._on_deliver = north.heard.put
        south.gossip.broadcast(b"2")
        assert north.heard.get(timeout=10).payload == b"2"


def test_settings_are_checked_and_the_address_is_free_again():
    with InProcessTransport() as transport:
        common = {"network": NETWORK, "clock": SystemClock(), "entropy": OsEntropy(), "address": "one"}
        me = Identity(bytes(32))
        for wrong in ({"keep_alive_s": 0.0}, {"patience_s": 1e9}, {"active": 0}, {"network": b"short"}):
            with pytest.raises(InputError):
                Gossip(me, transport, **(common | wrong))
        with pytest.raises(TypeError):
            Gossip(me, transport, keep_alive_s="1", **common)
        with Gossip(me, transport, **common) as member:
            assert member.contact.address == "one"
            with pytest.raises(InputError, match="before join"):
                member.broadcast(b"too early")
            member.join([])
            with pytest.raises(InputError, match="at most"):
                member.broadcast(bytes(hvp.PAYLOAD_MAX + 1))
            other = hvp.Contact(Identity(bytes(31) + b"1"), network=bytes([1]) * 32, address="two", sequence=1)
            with pytest.raises(VerificationError):
                member.join([other])
        member.close()
        assert "0 links" in repr(member)
        assert threads() == []
