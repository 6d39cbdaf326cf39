"""Fragments travel sealed: what is on the wire, nodes that lie or forget, both suites, and cities of before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from city_chain import City, records
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import InputError, UnavailableError
from city_chain.ports import Handler, Request
from city_chain.proofs import poh
from city_chain.stages import messages

pytestmark = pytest.mark.e2e

PAYLOAD = bytes(range(256)) * 40
SUITES = ["x-wing", "sntrup761-x25519"]


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


class Wire:
    """A city, every message to its nodes, and what some of them answer in place of the truth."""

    def __init__(self, storage: Kept | None = None, **settings: object) -> None:
        self.storage = storage or Kept()
        self.transport = InProcessTransport()
        self.bodies: list[tuple[str, bytes]] = []
        self.lies: dict[str, Callable[[Request, bytes], bytes]] = {}
        serve = self.transport.serve

        def recorded(handler: Handler, address: str | None = None) -> str:
            def answer(burst: Sequence[Request]) -> Sequence[bytes]:
                self.bodies += [(request.address, bytes(request.body)) for request in burst]
                honest = handler(burst)
                return [
                    self.lies[request.address](request, said) if request.address in self.lies else said
                    for request, said in zip(burst, honest, strict=True)
                ]

            return serve(answer, address)

        self.transport.serve = recorded  # type: ignore[method-assign]
        self.city = City.local(storage=self.storage, transport=self.transport, **settings)  # type: ignore[arg-type]

    def holds(self) -> list[records.Message]:
        """The messages ``hold`` since the last call."""
        found = [messages.parse(body) for _, body in self.bodies]
        self.bodies.clear()
        return [message for message in found if message.kind == "hold"]

    def nodes(self) -> list[str]:
        return [node.address for node in self.city.nodes()]

    def forget(self) -> None:
        """Every node forgets the sessions that it has opened, as one does that is started again."""
        for node in self.city._city._nodes.values():
            node.holder._sessions = poh.OpenedSessions()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()


def runs_of(payload: bytes, bodies: Sequence[bytes]) -> list[int]:
    """Where a run of 16 bytes of the payload is found in some bodies."""
    return [at for at in range(0, len(payload) - 16) if any(payload[at : at + 16] in body for body in bodies)]


@pytest.mark.parametrize("suite", SUITES)
def test_no_packet_of_a_send_holds_a_run_of_the_payload(suite: str) -> None:
    with Wire(session=suite) as wire:
        payload = b"the quick brown fox jumps over the lazy dog; " * 4
        receipt = wire.city.send(payload)
        wire.city.settle()
        bodies = [body for _, body in wire.bodies]
        assert runs_of(payload, bodies) == []
        found = wire.holds()
        assert len(found) == 10
        prefix = {"x-wing": b"xp", "sntrup761-x25519": b"np"}[suite]
        assert all(message.parts[0].startswith(prefix) for message in found), "each told its session"
        # That the search finds what is there: the nodes store what they opened, in the clear.
        stored = [row for _, row in wire.storage.scan(b"")]
        assert runs_of(payload, stored)
        assert wire.city.receive(receipt.tx_id) == payload
        # The sessions are known now, and not told again.
        wire.holds()
        again = wire.city.send(payload)
        wire.city.settle()
        assert runs_of(payload, [body for _, body in wire.bodies]) == []
        told = {bool(message.parts[0]) for message in wire.holds() if message.parts[0] == b""}
        assert told == {False}
        assert wire.city.receive(again.tx_id) == payload


def test_a_session_is_told_once_and_again_to_a_node_that_forgot_it() -> None:
    with Wire(nodes=10, validators=1) as wire:
        wire.city.send(PAYLOAD)
        wire.city.settle()
        told = {bytes(message.parts[0]) for message in wire.holds()}
        assert len(told) == 10
        wire.city.send(PAYLOAD)
        wire.city.settle()
        assert {bytes(message.parts[0]) for message in wire.holds()} == {b""}
        wire.forget()
        receipt = wire.city.send(PAYLOAD)
        wire.city.settle()
        found = wire.holds()
        assert [bytes(message.parts[0]) for message in found].count(b"") == 10
        assert {bytes(message.parts[0]) for message in found} - {b""} == told, "the same sessions, told again"
        assert len(receipt.availability.acks) >= receipt.manifest.quorum
        assert wire.city.receive(receipt.tx_id) == PAYLOAD


def test_a_node_that_never_knows_its_session_is_given_up() -> None:
    with Wire(nodes=12, validators=1) as wire:
        liar = wire.city.nodes()[3]

        def lie(request: Request, honest: bytes) -> bytes:
            if messages.parse(honest).kind != "held":
                return honest
            count = len(messages.parse(honest).parts)
            return messages.message("held", [messages.message("session")] * count)

        wire.lies[liar.address] = lie
        for _ in range(4):
            receipt = wire.city.send(PAYLOAD)
            wire.city.settle()
            assert liar.id not in {node for _, node in receipt.availability.holders}
        asked = [body for address, body in wire.bodies if address == liar.address and b"hold" in body[:20]]
        assert 0 < len(asked) <= 8, "once, and once more with the session"


def test_what_is_mauled_on_the_way_is_refused_and_a_spare_takes_it() -> None:
    with Wire(nodes=14, validators=1) as wire:
        victims = {node.address for node in wire.city.nodes()[:3]}
        host = wire.city._city._host
        reasons: list[str] = []

        def maul(request: Request, honest: bytes) -> bytes:
            message = messages.parse(request.body)
            if message.kind != "hold":
                return honest
            parts = message.parts
            parts[2] = parts[2][:-1] + bytes([parts[2][-1] ^ 1])
            (answer,) = host.handle([Request(request.address, messages.message("hold", parts))])
            reasons.extend(str(messages.ack_or_reason(part)) for part in messages.answer(answer, "held"))
            return answer

        for address in victims:
            wire.lies[address] = maul
        for _ in range(3):
            receipt = wire.city.send(PAYLOAD)
            wire.city.settle()
            assert wire.city.receive(receipt.tx_id) == PAYLOAD
        assert reasons
        assert all("it is not what was sealed for this request under session" in reason for reason in reasons)


def test_a_node_whose_key_nobody_can_seal_to_is_not_asked() -> None:
    with Wire(nodes=10, validators=1) as wire:
        inside = wire.city._city
        members = inside._roster.members()
        broken, *others = [node.id for node in wire.city.nodes()]
        inside.sender.sessions.with_nodes([broken], {broken: b"xp" + b"\xff" * 1216})
        inside._roster._snapshot = (
            inside._presence.revision(),
            type(members)(members.epoch, members.candidates, members.addresses, {**members.kem, broken: b"xp"}),
        )
        receipt = wire.city.send(PAYLOAD)
        wire.city.settle()
        assert {node for _, node in receipt.availability.holders} <= set(others)
        address = inside.node(broken).address
        assert not [body for to, body in wire.bodies if to == address and messages.parse(body).kind == "hold"]
        inside._roster._snapshot = (
            inside._presence.revision(),
            type(members)(members.epoch, members.candidates, members.addresses, {}),
        )
        with pytest.raises(UnavailableError, match="it shows no key to seal to"):
            wire.city.send(PAYLOAD)


def test_repair_places_fragments_sealed() -> None:
    with Wire(nodes=14, validators=1) as wire:
        payload = b"what is made anew is sealed as well; " * 6
        receipt = wire.city.send(payload)
        wire.city.settle()
        lost = [node for _, node in receipt.availability.holders][:3]
        for node in lost:
            inside = wire.city._city.node(node)
            keys = [key for key, _ in inside.holder._storage.scan(b"f")]
            inside.holder._storage.delete_many(keys)
        wire.bodies.clear()
        report = wire.city.repair()
        assert (report.repaired, report.fragments, report.errors) == (1, 3, {}), report
        holds = [body for _, body in wire.bodies if messages.parse(body).kind == "hold"]
        assert holds
        assert runs_of(payload, holds) == []
        assert wire.city.receive(receipt.tx_id) == payload


@pytest.mark.parametrize("suite", SUITES)
def test_a_city_keeps_its_suite(suite: str, tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, nodes=10, validators=1, session=suite) as city:
        tx_id = city.send(PAYLOAD).tx_id
    with City.open(path) as city:
        assert city.settings.session == suite
        kinds = {bytes(key[:2]) for key in city._city._roster.members().kem.values()}
        assert kinds == {{"x-wing": b"xp", "sntrup761-x25519": b"np"}[suite]}
        assert city.receive(tx_id) == PAYLOAD
        city.send(PAYLOAD)
    with pytest.raises(InputError, match="the city that is there has"):
        City.local(path, nodes=10, validators=1, session=SUITES[SUITES.index(suite) - 1])


def test_a_city_file_without_the_setting_opens_as_before(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, nodes=10, validators=1) as city:
        tx_id = city.send(PAYLOAD).tx_id
    storage = SqliteStorage(path)
    own = NamespacedStorage(storage, b"c")
    (row,) = own.get_many([b"settings"])
    kept = orjson.loads(row or b"")
    assert kept.pop("session") == "x-wing"
    own.put_many({b"settings": orjson.dumps(kept)})
    storage.close()
    with City.local(path, nodes=10, validators=1) as city:
        assert city.settings.session == "x-wing"
        assert city.receive(tx_id) == PAYLOAD
        city.send(PAYLOAD).verify(city.trust)


def test_settings_of_no_suite() -> None:
    for wrong in ("", "xwing", "kyber"):
        with pytest.raises(InputError, match="x-wing, sntrup761-x25519"):
            City.local(session=wrong)
    with pytest.raises(TypeError):
        City.local(session=None)  # type: ignore[arg-type]


def test_what_an_earlier_process_listed_is_listed_anew(tmp_path: Path) -> None:
    """A list that outlives the process may hold records of an earlier version, or of another suite."""
    storage = Kept()
    sequences = []
    for _ in range(2):
        presence = SqlitePresence(tmp_path / "presence.db")
        with City.local(storage=storage, presence=presence, nodes=10, validators=1) as city:
            inside = city._city
            page = presence.list(inside.clock.monotonic(), "city", cookie=None)
            sequences.append({entry.node: entry.sequence for entry in page.entries})
            city.send(PAYLOAD)
    first, second = sequences
    assert len(first) == 10
    assert all(second[node] > first[node] for node in first)
