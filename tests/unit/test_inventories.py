"""What a city remembers of its holders' filters: how long, how much, and how it asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import cbf, records
from city_chain.adapters.clock import ManualClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import InputError
from city_chain.ports import Request
from city_chain.proofs import dpos
from city_chain.stages import inventories as module
from city_chain.stages import messages
from city_chain.stages.inventories import AGE_MAX_S, BYTES_MAX, Inventories, entry, refresh
from city_chain.stages.model import Members, Sender, Terms
from city_chain.stages.sessions import Sessions

pytestmark = pytest.mark.unit

TX = bytes(range(32))
IDENTITY = records.Identity(b"\x01" * 32)
NODES = [records.Identity.child(bytes(32), b"node", at).id for at in range(4)]
EPOCH = records.Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(IDENTITY.id, 10)]))


def holding(*indices: int, capacity: int = 100) -> bytes:
    held = cbf.Cuckoo(capacity)
    held.insert_many([entry(TX, index) for index in indices])
    return held.to_bytes()


def test_a_filter_denies_what_it_does_not_hold_and_nothing_that_came_later() -> None:
    inventories = Inventories(ManualClock())
    assert not inventories
    inventories.learn(NODES[0], holding(0, 2), height=5)
    assert len(inventories) == 1
    assert [inventories.denies(NODES[0], TX, index, 5) for index in range(4)] == [False, True, False, True]
    assert not inventories.denies(NODES[0], TX, 1, 6), "committed after the filter was asked for"
    assert not inventories.denies(NODES[1], TX, 1, 5), "nothing is known of this node"
    inventories.learn(NODES[0], holding(1), height=6)
    assert [inventories.denies(NODES[0], TX, index, 6) for index in range(2)] == [True, False]
    inventories.forget([NODES[0], NODES[1]])
    assert not inventories.denies(NODES[0], TX, 0, 5)
    assert not inventories


def test_an_old_filter_is_forgotten() -> None:
    clock = ManualClock()
    inventories = Inventories(clock)
    inventories.learn(NODES[0], holding(), height=1)
    clock.advance(AGE_MAX_S - 1)
    assert inventories.denies(NODES[0], TX, 0, 1)
    clock.advance(1)
    assert not inventories.denies(NODES[0], TX, 0, 1)
    assert not inventories


def test_the_bytes_of_all_filters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = cbf.Cuckoo(1_000).table_len
    monkeypatch.setattr(module, "TOTAL_BYTES_MAX", 3 * size)
    inventories = Inventories(ManualClock())
    for at in range(20):
        inventories.learn(at.to_bytes(32, "big"), holding(capacity=1_000), height=1)
        assert len(inventories) == min(at + 1, 3)
        assert inventories.denies(at.to_bytes(32, "big"), TX, 0, 1)
    for _ in range(20):
        inventories.learn(NODES[0], holding(capacity=1_000), height=1)
    assert len(inventories) == 3


@pytest.mark.parametrize("wrong", [b"", b"?", holding(1)[:-1], holding(1) + b"\0", cbf.Bloom(9).to_bytes()])
def test_bytes_that_are_no_filter_are_refused(wrong: bytes) -> None:
    inventories = Inventories(ManualClock())
    with pytest.raises(InputError):
        inventories.learn(NODES[0], wrong, height=1)
    assert not inventories


def test_a_node_is_not_asked_twice_in_a_moment() -> None:
    clock = ManualClock()
    inventories = Inventories(clock)
    assert inventories.worth_asking([NODES[0], NODES[0], NODES[1]]) == NODES[:2]
    assert inventories.worth_asking(NODES) == NODES[2:]
    clock.advance(5.0)
    assert inventories.worth_asking(NODES) == NODES


class World:
    """Some nodes that answer what they are told to."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_800_000_000_000)
        self.transport = InProcessTransport(self.clock)
        self.answers: dict[str, list[bytes]] = {}
        self.asked: list[tuple[str, records.RepairRequest]] = []
        self.addresses = {node: self.transport.serve(self.handle) for node in NODES}
        self.members = Members(
            EPOCH,
            records.Candidates(EPOCH.network, "Utrecht", sorted((node, 1 << 16, "north") for node in NODES)),
            self.addresses,
            {},
        )
        sessions = Sessions(EPOCH.network, IDENTITY.id, self.clock)
        self.sender = Sender(
            IDENTITY, records.Draw(IDENTITY, EPOCH), Terms(2, 4), self.clock, OsEntropy(), lambda: 7 << 16, sessions
        )
        self.inventories = Inventories(self.clock)

    def handle(self, requests: Sequence[Request]) -> list[bytes]:
        said = []
        for request in requests:
            message = messages.parse(request.body)
            assert message.kind == "inventory"
            asked = records.RepairRequest.from_bytes(message.parts[0])
            assert records.verify_repair_requests([asked]) == [None]
            assert (asked.network, asked.items) == (EPOCH.network, [])
            self.asked.append((request.address, asked))
            left = self.answers[request.address]
            said.append(left.pop(0) if len(left) > 1 else left[0])
        return said

    def tell(self, node: int, *answers: bytes) -> None:
        self.answers[self.addresses[NODES[node]]] = list(answers)

    def refresh(self, nodes: Sequence[bytes] = NODES) -> int:
        deadline = self.clock.monotonic() + 1.0
        return refresh(self.inventories, nodes, self.sender, self.members, self.transport, 9, deadline)


def test_every_kind_of_answer() -> None:
    world = World()
    world.tell(0, messages.message("filter", [holding(0)]))
    world.tell(1, messages.message("filter"), messages.message("filter"), messages.message("filter", [holding(1)]))
    world.tell(2, messages.refused("no"))
    world.tell(3, messages.message("filter", [b"no filter"]))
    for node in NODES:
        world.inventories.learn(node, holding(3), 1)
    assert world.refresh([*NODES, bytes(32)]) == 2
    assert len(world.inventories) == 2
    assert [world.inventories.denies(NODES[0], TX, index, 9) for index in range(2)] == [False, True]
    assert [world.inventories.denies(NODES[1], TX, index, 9) for index in range(2)] == [True, False]
    assert len(world.asked) == 4 + 1 + 1
    assert all(asked.node in NODES for _, asked in world.asked)


def test_one_that_is_never_ready_is_not_asked_for_ever() -> None:
    world = World()
    for at in range(4):
        world.tell(at, messages.message("filter"))
    assert world.refresh() == 0
    assert len(world.asked) == 4 * 64


@pytest.mark.parametrize("body", [b"", b"rubbish", messages.message("tip", [bytes(8)]), bytes(BYTES_MAX + 100)])
def test_rubbish_is_no_filter(body: bytes) -> None:
    world = World()
    for at in range(4):
        world.tell(at, body)
    assert world.refresh() == 0
    assert not world.inventories


def test_a_filter_over_the_limit_is_refused() -> None:
    world = World()
    large = cbf.Cuckoo(9_000_000).to_bytes()
    assert len(large) > BYTES_MAX
    world.tell(0, messages.message("filter", [large]))
    assert world.refresh(NODES[:1]) == 0


def test_nodes_that_are_gone_are_forgotten() -> None:
    world = World()
    world.inventories.learn(NODES[0], holding(0), 9)
    world.transport.stop(world.addresses[NODES[0]])
    assert world.refresh(NODES[:1]) == 0
    assert not world.inventories
    world.members = Members(EPOCH, world.members.candidates, {}, {})
    world.inventories.learn(NODES[0], holding(0), 9)
    assert world.refresh() == 0
    assert len(world.inventories) == 1, "who is not logged in was not asked"
