"""HyParView and Plumtree from Python: a small overlay without sockets; hostile bytes; every argument."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import hvp
from city_chain.errors import CityChainError, InputError, VerificationError
from city_chain.records import Identity
from tests.ffi.test_algorithms_poison import POISONS, Case, check

pytestmark = pytest.mark.ffi

NETWORK = bytes([7]) * 32
IDENTITIES = [Identity.child(bytes(32), b"member", at) for at in range(24)]
STEP_US = 10_000


def contact(at: int, network: bytes = NETWORK, sequence: int = 1) -> hvp.Contact:
    return hvp.Contact(IDENTITIES[at], network=network, address=f"inproc:{at}", sequence=sequence)


def machine(at: int, **more: Any) -> hvp.Hvp:
    return hvp.Hvp(contact(at), IDENTITIES[at], bytes([at]) * 32, network=NETWORK, **more)


class Overlay:
    """Machines, the messages on their way, and what was delivered."""

    def __init__(self, count: int, **more: Any) -> None:
        self.machines = {IDENTITIES[at].id: machine(at, **more) for at in range(count)}
        self.wire: list[tuple[bytes, bytes, bytes]] = []
        self.heard: dict[bytes, list[hvp.Effect]] = defaultdict(list)
        self.now = 0
        first = next(iter(self.machines.values()))
        for one in self.machines.values():
            one.join([] if one is first else [first.me], self.now)
            self.run(5)

    def act(self, me: bytes) -> None:
        for effect in hvp.effects(self.machines[me]):
            if effect.kind == "send":
                assert self.machines[me].contact(effect.peer) is not None
                self.wire.append((me, effect.peer, effect.data))
            elif effect.kind == "deliver":
                self.heard[me].append(effect)

    def run(self, steps: int) -> None:
        """Lets some time pass: everything is carried, and every deadline kept."""
        for _ in range(steps):
            self.now += STEP_US
            for me, one in list(self.machines.items()):
                due = one.deadline
                if due is not None and due <= self.now:
                    one.tick(self.now)
                self.act(me)
            carried, self.wire = self.wire, []
            for sender, to, message in carried:
                if to in self.machines:
                    with suppress(CityChainError):
                        self.machines[to].handle(sender, message, self.now)
                    self.act(to)
                elif sender in self.machines:
                    self.machines[sender].peer_down(to, self.now)
                    self.act(sender)

    def kill(self, dead: list[bytes]) -> None:
        for id in dead:
            del self.machines[id]
        for me, one in self.machines.items():
            for peer in set(one.active()) & set(dead):
                one.peer_down(peer, self.now)
            self.act(me)


def test_all_are_linked_and_links_are_symmetric() -> None:
    overlay = Overlay(20)
    overlay.run(400)  # who was left alone while others joined has joined again
    for me, one in overlay.machines.items():
        assert 1 <= len(one.active()) <= 5
        assert all(me in overlay.machines[peer].active() for peer in one.active())
        assert set(one.eager()) <= set(one.active())
        assert me not in one.passive()
        assert one.stats()["active"] == len(one.active())


def test_a_broadcast_is_delivered_once_everywhere_else() -> None:
    overlay = Overlay(20)
    first, *others = overlay.machines
    ids = [overlay.machines[first].broadcast(b"same", overlay.now, topic=b"topic") for _ in range(2)]
    overlay.run(200)
    assert len(set(ids)) == 2, "the same payload again is another broadcast"
    for me in others:
        assert sorted(effect.id for effect in overlay.heard[me]) == sorted(ids)
        assert {(e.peer, e.data, e.topic) for e in overlay.heard[me]} == {(first, b"same", b"topic")}
        assert all(effect.hops >= 1 for effect in overlay.heard[me])
    assert overlay.heard[first] == []


def test_after_half_have_died_the_others_hear() -> None:
    overlay = Overlay(20)
    overlay.run(100)
    first, *others = list(overlay.machines)
    overlay.kill(others[::2])
    overlay.run(400)
    sent = overlay.machines[first].broadcast(b"to the living", overlay.now)
    overlay.run(400)
    for me in others[1::2]:
        assert [effect.id for effect in overlay.heard[me]] == [sent]


def test_the_same_inputs_give_the_same_bytes() -> None:
    def told() -> list[tuple[bytes, list[hvp.Effect]]]:
        overlay, first = Overlay(8), IDENTITIES[0].id
        overlay.machines[first].broadcast(b"payload", overlay.now)
        overlay.run(50)
        return sorted(overlay.heard.items())

    assert told() == told()


def test_who_leaves_says_goodbye_and_is_quiet() -> None:
    overlay = Overlay(3)
    overlay.run(50)
    first = IDENTITIES[0].id
    overlay.machines[first].leave(overlay.now)
    overlay.run(50)
    assert overlay.machines[first].active() == []
    assert all(first not in one.active() for one in overlay.machines.values())


def test_contacts_are_signed_for_a_network() -> None:
    one = contact(0)
    assert (one.id, one.address, one.sequence) == (IDENTITIES[0].id, "inproc:0", 1)
    again = hvp.Contact.from_bytes(one.to_bytes())
    assert again == one
    assert hash(again) == hash(one)
    one.verify(NETWORK)
    with pytest.raises(VerificationError):
        one.verify(bytes(32))
    with pytest.raises(VerificationError):
        machine(1).join([contact(0, bytes(32))], 0)
    with pytest.raises(VerificationError):
        hvp.Hvp(contact(0, bytes(32)), IDENTITIES[0], bytes(32), network=NETWORK)
    with pytest.raises(InputError, match="not that of the key"):
        hvp.Hvp(contact(1), IDENTITIES[0], bytes(32), network=NETWORK)
    for wrong in ("", "x" * 256, "\ud800"):
        with pytest.raises(InputError):
            hvp.Contact(IDENTITIES[0], network=NETWORK, address=wrong, sequence=1)


def test_a_payload_that_is_too_large_is_refused_aloud() -> None:
    one = machine(0)
    one.join([], 0)
    for payload, topic in ((bytes(hvp.PAYLOAD_MAX + 1), b""), (b"", bytes(hvp.TOPIC_MAX + 1))):
        with pytest.raises(InputError, match="at most"):
            one.broadcast(payload, 0, topic=topic)
    assert len(one.broadcast(bytes(hvp.PAYLOAD_MAX), 0, topic=bytes(hvp.TOPIC_MAX))) == 32


def samples() -> list[tuple[bytes, bytes]]:
    """(sender, message) of an overlay that has begun, to the first member."""
    overlay, first, found = Overlay(6), IDENTITIES[0].id, []
    overlay.machines[IDENTITIES[1].id].broadcast(b"payload", overlay.now)
    for _ in range(100):
        overlay.run(1)
        found += [(sender, message) for sender, to, message in overlay.wire if to == first]
    return found


SAMPLES = samples()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_bytes_are_refused_and_change_nothing(data: st.DataObject) -> None:
    sender, message = data.draw(st.sampled_from([*SAMPLES, (IDENTITIES[1].id, b"")]))
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    one = machine(0)
    one.join([], 0)
    hvp.effects(one)
    before = one.stats()
    try:
        one.handle(sender, cut, 1)
    except CityChainError:
        refused = True
    else:
        refused = False
    told = [(effect.kind, effect.peer) for effect in hvp.effects(one)]
    if refused:
        assert told in ([], [("send", sender)])  # who thinks that there is a link is told that there is none
        assert one.stats() == before


@pytest.mark.parametrize("flood", range(3))
def test_what_strangers_send_is_bounded(flood: int) -> None:
    one = machine(0)
    one.join([], 0)
    for at in range(600):
        stranger = Identity.child(bytes([flood]) * 32, b"stranger", at)
        sender, message = SAMPLES[at % len(SAMPLES)]
        with suppress(CityChainError):
            one.handle(sender if at % 2 else stranger.id, message, at)
        one.drain()
    held = one.stats()
    assert held["active"] <= 5
    assert held["passive"] <= 30
    assert held["outbox"] == 0


def joined() -> hvp.Hvp:
    one = machine(1)
    one.join([], 0)
    return one


ME = machine(23)
ME.join([], 0)
CASES = [
    Case(hvp.Contact, (IDENTITIES[0],), {"network": NETWORK, "address": "x", "sequence": 1}),
    Case(contact(0).verify, (NETWORK,)),
    Case(hvp.Contact.from_bytes, (contact(0).to_bytes(),)),
    Case(
        hvp.Hvp,
        (contact(0), IDENTITIES[0], bytes(32)),
        {
            "network": NETWORK,
            "ordered": True,
            "optimize_hops": None,
            "cache": 8,
            "cache_bytes": 1000,
            "dedup": 16,
            **dict.fromkeys(("active", "passive", "arwl", "prwl", "shuffle_active", "shuffle_ttl", "catch_up"), 3),
            **dict.fromkeys(("shuffle_passive", "joins_per_s", "gap_us", "shuffle_us", "answer_us", "retry_us"), 4),
            **dict.fromkeys(("rejoin_us", "rejoin_max_us", "settled_us", "eviction_us", "ihave_us", "graft_us"), 5),
            **dict.fromkeys(("graft_again_us", "awaited_us"), 6),
        },
    ),
    Case(lambda *args: machine(1).join(*args), ([contact(0)], 0)),
    Case(lambda *args: refused(machine(1).handle, *args), (IDENTITIES[0].id, b"message", 0)),
    Case(lambda *args: machine(1).peer_down(*args), (IDENTITIES[0].id, 0)),
    Case(lambda *args: machine(1).tick(*args), (0,)),
    Case(lambda *args, **more: joined().broadcast(*args, **more), (b"payload", 0), {"topic": b"topic"}),
    Case(lambda *args: machine(1).leave(*args), (0,)),
    Case(ME.contact, (IDENTITIES[0].id,)),
    Case(ME.drain),
    Case(ME.active),
    Case(ME.eager),
    Case(ME.passive),
    Case(ME.stats),
    Case(contact(0).to_bytes),
]


def refused(call: Callable[..., object], sender: object, message: object, now: object) -> None:
    """A call that is refused at best: these bytes are no message."""
    try:
        call(sender, message, now)
    except InputError:
        if message != b"message":
            raise


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_poison(case: Case) -> None:
    case.function(*case.args, **case.kwargs)
    for poison in POISONS:
        for at in range(len(case.args)):
            check(case, (*case.args[:at], poison, *case.args[at + 1 :]), case.kwargs, poison)
        for name in case.kwargs:
            check(case, case.args, case.kwargs | {name: poison}, poison)


def test_every_method_and_setting_is_swept() -> None:
    methods = {name for name, member in vars(hvp.Hvp).items() if not name.startswith("_") and callable(member)}
    named = {"active", "broadcast", "contact", "drain", "eager", "handle", "join", "leave", "passive", "peer_down"}
    assert methods == named | {"stats", "tick"}, "a new one gets a row above"
    assert set(inspect.signature(hvp.Hvp).parameters) == set(CASES[3].kwargs) | {"contact", "identity", "seed"}
