"""A delegate that signs two things that exclude each other: the evidence is kept, shown, right, and costs its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from city_chain import City, World
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.algorithms import hs
from city_chain.errors import ProtocolError, VerificationError
from city_chain.levels import NodeHost
from city_chain.node.agreeing import place_of
from city_chain.node.testifying import PIECES_MAX, pieces_of
from city_chain.node.validator import evidence_in
from city_chain.ports import Request
from city_chain.stages import messages

pytestmark = pytest.mark.e2e


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


@pytest.fixture
def storage() -> Kept:
    return Kept()


@pytest.fixture
def city(storage: Kept) -> Iterator[City]:
    with opened(storage) as city:
        yield city


def opened(storage: Kept) -> City:
    return City.local(nodes=8, validators=4, k=2, n=4, engine="hotstuff", storage=storage)


def proposals(city: City, payloads: list[bytes]) -> tuple[int, bytes, list[bytes]]:
    """What the first leader's twins propose in the same round: its place, its id, and one message for each payload."""
    ledger = city._city.ledger
    epoch = ledger.epoch
    found = []
    for payload in payloads:
        for place, (key, _) in enumerate(epoch.validators.items):
            identity = city._city.node(key)._identity
            twin = hs.HotStuff(epoch.network, epoch.number, epoch.validators.items, identity, ledger.begins[1])
            twin.start(0)
            if any(effect.kind == "need_payload" for effect in hs.effects(twin)):
                twin.propose(payload, 0)
                guilty = place, key
                found += [spoken.data for spoken in durable(twin) if spoken.kind == "broadcast"][:1]
    assert len(found) == len(payloads)
    return *guilty, found


def durable(machine: hs.HotStuff) -> list[hs.Effect]:
    """All that it says, once it is allowed to."""
    said: list[hs.Effect] = []
    while effects := hs.effects(machine):
        said += effects
        for effect in effects:
            if effect.kind == "persist":
                machine.durable(effect.number)
    return said


def hear(city: City, sender: int, said: list[bytes], guilty: bytes) -> None:
    """All others hear it, as a carrier would bring it."""
    parts = [b"\0", *(place_of(sender) + message for message in said)]
    for node in city.nodes():
        if node.delegate and node.id != guilty:
            (answer,) = city._city._host.handle([Request(node.address, messages.message("agree", parts))])
            assert messages.parse(answer).kind == "said"


def equivocated(city: City) -> bytes:
    """Makes the first leader guilty; its id."""
    place, guilty, said = proposals(city, [bytes(32), b"\1" * 32])
    hear(city, place, said, guilty)
    return guilty


def test_honest_delegates_leave_no_evidence(city: City) -> None:
    for at in range(4):
        city.send(b"%d" % at, deadline_s=20)
    assert city.misbehaviour() == []


def test_the_same_thing_said_again_is_no_second_thing(city: City) -> None:
    place, guilty, said = proposals(city, [bytes(32)])
    hear(city, place, said * 3, guilty)
    assert city.misbehaviour() == []


def test_evidence_is_shown_and_verifies_offline(city: City) -> None:
    guilty = equivocated(city)
    ((node, evidence),) = city.misbehaviour()
    assert node == guilty
    epoch = city._city.ledger.epoch
    members = epoch.validators.items
    assert members[hs.verify_evidence(evidence, members, epoch.network, epoch.number)][0] == guilty
    with pytest.raises(VerificationError):
        hs.verify_evidence(evidence, members, bytes(32), epoch.number)
    with pytest.raises(VerificationError):
        hs.verify_evidence(evidence, members, epoch.network, epoch.number + 1)
    strangers = [*members[1:], members[0]]
    with pytest.raises(VerificationError):
        hs.verify_evidence(evidence, strangers, epoch.network, epoch.number)


def test_the_city_commits_all_the_same(city: City) -> None:
    equivocated(city)
    for at in range(3):
        city.send(b"%d" % at, deadline_s=20).verify(city.trust)
    assert city.height == 3


def test_evidence_outlives_the_process_and_is_kept_once(storage: Kept) -> None:
    with opened(storage) as city:
        guilty = equivocated(city)
        equivocated(city)  # the same two things
        found = city.misbehaviour()
    with opened(storage) as city:
        assert city.misbehaviour() == found
        assert found[0][0] == guilty
        city.send(b"x", deadline_s=20)
        assert city.misbehaviour() == found
    rows = [key for key, _ in storage.scan(b"hn") if key[6:7] == b"a" and key[15:16] == b"e"]
    assert len(rows) == 3  # one at each of the others
    for key in rows:  # damaged ones are not shown, and stand in nobody's way
        storage.put_many({key: b"damaged"})
    with opened(storage) as city:
        assert city.misbehaviour() == []
        city.send(b"y", deadline_s=20)


def test_an_election_by_number_leaves_the_guilty_out(city: City) -> None:
    guilty = equivocated(city)
    city.send(b"before", deadline_s=20)
    epoch = city.elect(4, deadline_s=20)
    assert len(epoch.validators.items) == 4
    assert guilty not in dict(epoch.validators.items)
    assert [node for node, _ in city.misbehaviour()] == [guilty]  # it is not forgotten in the next epoch
    city.send(b"after", deadline_s=20).verify(city.trust)
    again = city.elect(7, deadline_s=20)
    assert guilty not in dict(again.validators.items)


def test_no_evidence_is_in_an_empty_space() -> None:
    assert evidence_in(MemoryStorage()) == []


def moved_out(folder: Path) -> tuple[bytes, list[bytes]]:
    """A city whose honest delegates have moved out into processes before the first leader is guilty.

    Returns:
        The guilty, and the requests that make it so.
    """
    with City.local(folder / "city.db", nodes=8, validators=4, k=2, n=4, engine="hotstuff") as city:
        place, guilty, said = proposals(city, [bytes(32), b"\1" * 32])
        for at, node in enumerate([node.id for node in city.nodes() if node.delegate and node.id != guilty]):
            city.move_out(node, folder / f"node{at}")
    return guilty, [b"\0", *(place_of(place) + message for message in said)]


def test_evidence_in_processes_of_their_own_is_shown_and_costs_the_place(tmp_path: Path) -> None:
    guilty, said = moved_out(tmp_path)
    with NodeHost.open([tmp_path / f"node{at}" for at in range(3)], tmp_path / "hosts.db") as hosts:
        assert hosts.misbehaviour() == []
        for address in hosts.addresses.values():
            (answer,) = hosts._handle([Request(address, messages.message("agree", said))])
            assert messages.parse(answer).kind == "said"
        ((node, evidence),) = hosts.misbehaviour()
        assert node == guilty
        with City.open(tmp_path / "city.db", elsewhere=hosts.addresses) as city:
            assert city.misbehaviour() == [(guilty, evidence)]
            assert guilty not in dict(city.elect(4, deadline_s=20).validators.items)
        assert hosts.misbehaviour() == [(guilty, evidence)]
    with City.open(tmp_path / "city.db") as city:  # nobody answers any more
        assert city.misbehaviour() == [(guilty, evidence)]


def test_evidence_in_processes_is_heard_without_being_asked_for(tmp_path: Path) -> None:
    guilty, said = moved_out(tmp_path)
    with NodeHost.open([tmp_path / "node0"], tmp_path / "hosts.db") as hosts:
        hosts._handle([Request(address, messages.message("agree", said)) for address in hosts.addresses.values()])
        with City.open(tmp_path / "city.db", elsewhere=hosts.addresses) as city:
            until = time.monotonic() + 10
            while not list(city._city._own.scan(b"t")) and time.monotonic() < until:
                time.sleep(0.02)
    with City.open(tmp_path / "city.db") as city:
        assert [node for node, _ in city.misbehaviour()] == [guilty]


def test_what_is_told_and_proves_nothing_is_not_kept(city: City, storage: Kept) -> None:
    guilty = equivocated(city)
    ((_, evidence),) = city.misbehaviour()
    there = city._city._misbehaviour
    damaged = bytes([*evidence[:-1], evidence[-1] ^ 1])
    there.hear([(0, damaged), (0, b""), (1, evidence), (2**64 - 1, evidence)])
    assert list(storage.scan(b"ct")) == []
    there.hear([(0, damaged), (0, evidence), (0, evidence)])
    there.hear([(0, evidence)])
    assert list(storage.scan(b"ct")) == [(b"ct" + bytes(8) + guilty, evidence)]
    storage.put_many({b"ct" + bytes(8) + guilty: damaged, b"ctx": evidence})
    assert city.misbehaviour() == [(guilty, evidence)]  # once, as the city's own nodes keep it


@pytest.mark.parametrize(
    "parts", [[b"x"], [b"x", b"y"], [messages.integer(0)], [messages.integer(0), b"e"] * (PIECES_MAX + 1)]
)
def test_answers_that_are_no_evidence_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        pieces_of(parts)


def test_an_answer_has_no_more_than_it_may(city: City, storage: Kept) -> None:
    node = next(node for node in city.nodes() if node.delegate)
    rows = {b"a" + at.to_bytes(8, "big") + b"e" + bytes(32): b"some evidence" for at in range(PIECES_MAX + 2)}
    city._city.node(node.id)._storage.put_many(rows)
    (answer,) = city._city._host.handle([Request(node.address, messages.message("evidence"))])
    pieces = pieces_of(messages.answer(answer, "evidence"))
    assert [number for number, _ in pieces] == list(range(PIECES_MAX + 1, 1, -1))
    assert city.misbehaviour() == []


def test_an_election_of_the_world_leaves_the_guilty_out() -> None:
    with World.local(["north", "south"], nodes=8, validators=4, k=2, n=4) as world:
        north = world.city("north")
        guilty = equivocated(north)
        north.send(b"it goes on", deadline_s=20)
        for moves_max in (None, 1, None):
            world.elect(moves_max=moves_max, deadline_s=60)
            assert guilty not in dict(north.epoch.validators.items), north.epoch.number
