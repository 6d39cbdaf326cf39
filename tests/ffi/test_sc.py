"""Sharding from Python: a commit across shards, restarts, resharding, hostile bytes and wrong arguments."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from city_chain.algorithms import sc
from city_chain.errors import InputError, ProtocolError, UnavailableError, VerificationError
from city_chain.records import Identity

pytestmark = pytest.mark.ffi

DOCUMENTED = (TypeError, InputError, VerificationError, UnavailableError, ProtocolError)
CHAIN = b"\x07" * 32
MEMBERS = {shard: [Identity.child(bytes([shard]) * 32, b"member", at) for at in range(4)] for shard in (1, 2, 3)}


def shards_of(numbers: Sequence[int]) -> list[tuple[int, list[tuple[bytes, int]]]]:
    return [(shard, [(member.id, 1) for member in MEMBERS[shard]]) for shard in numbers]


LAYOUT = sc.Layout(CHAIN, 0, shards_of((1, 2)))


def key_of(shard: int, number: int = 0, layout: sc.Layout = LAYOUT) -> bytes:
    keys = (at.to_bytes(32, "little") for at in range(1000))
    return [key for key in keys if layout.shard_of(key) == shard][number]


class Shard:
    """A shard whose consensus orders at once."""

    def __init__(self, number: int) -> None:
        self.machine = sc.Participant(number, LAYOUT)
        self.journal = [self.machine.snapshot()]
        self.done: list[tuple[str, bytes]] = []
        self.handover: sc.Handover | None = None

    def order(self, command: sc.Command) -> list[sc.Certificate]:
        before = self.machine.snapshot()
        try:
            self.machine.on_local_commit(command)
        except DOCUMENTED:
            assert self.machine.snapshot() == before
            raise
        return self.settle()

    def settle(self) -> list[sc.Certificate]:
        said = []
        while effects := self.machine.drain():
            for effect in map(sc.Effect._make, effects):
                if effect.kind == "persist":
                    self.journal.append(effect.data)
                    self.machine.durable(effect.number)
                elif effect.kind == "say":
                    statement = sc.Statement.from_bytes(effect.data)
                    layout = next(one for one in self.machine.layouts if one.epoch == statement.epoch)
                    members = MEMBERS[statement.shard][1:]
                    signatures = [(at, statement.sign(member)) for at, member in enumerate(members, 1)]
                    said.append(sc.Certificate(layout, statement, signatures))
                elif effect.kind == "hand_over":
                    members = MEMBERS[self.machine.shard][:3]
                    signatures = [(at, sc.sign_handover(effect.data, member)) for at, member in enumerate(members)]
                    self.handover = sc.Handover(self.machine.layouts[-2], effect.data, signatures)
                elif effect.kind in ("commit", "abort"):
                    self.done.append((effect.kind, sc.Manifest.from_bytes(effect.data).txid))
        return said

    def restart(self) -> None:
        before = self.machine.snapshot()
        self.machine = sc.Participant.restore(self.machine.shard, LAYOUT, self.journal)
        assert self.machine.snapshot() == before


def manifest(shards: dict[int, Shard], body: int = 1, numbers: tuple[int, int] = (0, 0)) -> sc.Manifest:
    keys = {shard: key_of(shard, number) for shard, number in zip((1, 2), numbers, strict=True)}
    inputs = [(shard, key, shards[shard].machine.version(key)) for shard, key in keys.items()]
    return sc.Manifest(CHAIN, LAYOUT.since, bytes([body]) * 32, 50, inputs)


def drive(shards: dict[int, Shard], transaction: sc.Manifest, heard: list[sc.Certificate]) -> str | None:
    for _ in range(6):
        coordinator = sc.Coordinator(transaction, heard, [LAYOUT])
        if coordinator.finished:
            break
        for shard, command in coordinator.next():
            try:
                heard += shards[shard].order(command)
            except ProtocolError:
                continue
    return sc.Coordinator(transaction, heard, [LAYOUT]).outcome


@pytest.fixture
def shards() -> dict[int, Shard]:
    return {1: Shard(1), 2: Shard(2)}


def test_committee_sizes_of_the_page() -> None:
    assert [sc.committee_size(1000, faulty, -19.931568569) for faulty in (100, 200, 250)] == [52, 181, 382]
    with pytest.raises(InputError, match="52 members would do"):
        sc.check_size(1000, 100, 51, -19.931568569)
    assert sc.failure_log2(10, 0, 4) == float("-inf")


def test_assignments_move_as_few_as_asked() -> None:
    nodes = [bytes([at]) * 32 for at in range(30)]
    first = sc.assign(bytes(32), nodes, 3)
    before = dict(zip(nodes, first, strict=True))
    second = sc.assign(b"\x01" * 32, nodes, 3, previous=before, moves_max=4)
    assert 0 < sum(a != b for a, b in zip(first, second, strict=True)) <= 4
    assert sc.assign(b"\x01" * 32, nodes, 3, previous=before) == first


def test_both_do_it_or_none(shards: dict[int, Shard]) -> None:
    first, stale = manifest(shards), manifest(shards, 2)
    heard: list[sc.Certificate] = []
    assert drive(shards, first, heard) == "committed"
    assert drive(shards, stale, heard) == "aborted"
    assert all(shard.done == [("commit", first.txid)] for shard in shards.values())
    assert shards[2].machine.end_of(first.txid) == "committed"
    assert shards[1].machine.open() == []


def test_a_restart_loses_nothing(shards: dict[int, Shard]) -> None:
    transaction = manifest(shards)
    shards[1].order(sc.Command.prepare(transaction))
    shards[1].restart()
    assert shards[1].machine.locked_by(key_of(1)) == transaction.txid
    shards[1].machine.restate()
    heard = shards[1].settle()
    assert [certificate.statement.verdict for certificate in heard] == ["prepared"]
    assert drive(shards, transaction, heard) == "committed"


def test_nothing_is_said_before_it_is_durable(shards: dict[int, Shard]) -> None:
    machine = shards[1].machine
    machine.on_local_commit(sc.Command.prepare(manifest(shards)))
    [(kind, ticket, _, _)] = machine.drain()
    assert (kind, machine.drain()) == ("persist", [])
    machine.durable(ticket)
    assert [effect[0] for effect in machine.drain()] == ["say"]


def test_the_expiry_is_the_deciders_to_say(shards: dict[int, Shard]) -> None:
    transaction = manifest(shards)
    heard = shards[1].order(sc.Command.prepare(transaction))
    for shard in shards.values():
        shard.machine.tick_height(51)
    decider, expire = sc.Coordinator(transaction, heard, [LAYOUT]).expire()
    assert decider == transaction.decider == 2
    with pytest.raises(ProtocolError, match="shard 2 decides"):
        shards[1].order(expire)
    heard += shards[2].order(expire)
    assert heard[-1].statement.verdict == "expired"
    assert drive(shards, transaction, heard) == "aborted"
    assert shards[1].machine.open() == []


def test_a_shard_comes(shards: dict[int, Shard]) -> None:
    layout = LAYOUT.next(shards_of((1, 2, 3)))
    joined = sc.Participant(3, layout, previous=LAYOUT)
    assert joined.awaited == [1, 2]
    for number, shard in shards.items():
        shard.order(sc.Command.boundary(layout, bytes(32)))
        snapshot = shard.machine.snapshot()
        assert shard.handover is not None
        shard.handover.verify(LAYOUT)
        assert sc.Participant.take_over(snapshot, shard.handover, LAYOUT).snapshot() == snapshot
        [part] = shard.machine.exports()
        assert (part.taker, shard.handover.shard, shard.handover.epoch) == (3, number, 0)
        assert (part.chain_id, part.giver, part.epoch, part.number, part.count) == (CHAIN, number, 1, 0, 1)
        assert (part.keys, part.open) == (0, [])
        digests = [digest for taker, at, digest in shard.handover.parts if (taker, at) == (3, 0)]
        command = sc.Command.take_part(part, shard.handover)
        imported = joined.evaluate(command)
        assert imported is not None
        assert (imported.verdict, [imported.txid]) == ("imported", digests)
        assert not joined.has_arrived(key_of(number))
        joined.on_local_commit(command)
        assert joined.has_arrived(key_of(number))
        signatures = [(at, imported.sign(member)) for at, member in enumerate(MEMBERS[3])]
        shard.order(sc.Command.delivered(sc.Certificate(layout, imported, signatures)))
        assert shard.machine.exports() == []
    assert joined.awaited == []
    assert (joined.keys, joined.handover()) == (0, None)
    assert joined.layouts[-1] == layout


def test_hostile_bytes_change_nothing(shards: dict[int, Shard]) -> None:
    transaction = manifest(shards)
    [vote] = shards[1].order(sc.Command.prepare(transaction))
    before = shards[1].machine.snapshot()
    data = vote.to_bytes()
    for at in range(len(data)):
        wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with contextlib.suppress(DOCUMENTED):
            shards[1].machine.on_certificate(wrong)
        with pytest.raises((InputError, VerificationError)):
            sc.Certificate.from_bytes(wrong).verify([LAYOUT])
        assert shards[1].machine.snapshot() == before
    few = [(at, vote.statement.sign(MEMBERS[1][at])) for at in range(2)]
    with pytest.raises(UnavailableError) as raised:
        sc.Certificate(LAYOUT, vote.statement, few)
    assert (raised.value.needed, raised.value.had) == (3, 2)


class Atomic(RuleBasedStateMachine):
    """Commands in any order, restarts, heights: both shards end a transaction in the same way."""

    def __init__(self) -> None:
        super().__init__()
        self.shards = {1: Shard(1), 2: Shard(2)}
        self.heard: list[sc.Certificate] = []
        self.transactions: list[sc.Manifest] = []
        self.height = 0

    @rule(numbers=st.tuples(st.integers(0, 1), st.integers(0, 1)))
    def begin(self, numbers: tuple[int, int]) -> None:
        if len(self.transactions) < 6:
            self.transactions.append(manifest(self.shards, len(self.transactions), numbers))

    @rule(which=st.integers(0, 5), choice=st.integers(0, 2), expire=st.booleans())
    def step(self, which: int, choice: int, expire: bool) -> None:
        if not self.transactions:
            return
        transaction = self.transactions[which % len(self.transactions)]
        coordinator = sc.Coordinator(transaction, self.heard, [LAYOUT])
        todo = [coordinator.expire()] if expire else coordinator.next()
        if todo:
            shard, command = todo[choice % len(todo)]
            with contextlib.suppress(ProtocolError):
                self.heard += self.shards[shard].order(command)

    @rule(shard=st.integers(1, 2))
    def restart(self, shard: int) -> None:
        self.shards[shard].restart()

    @rule(by=st.integers(0, 30))
    def tick(self, by: int) -> None:
        self.height += by
        for shard in self.shards.values():
            shard.machine.tick_height(self.height)
            shard.settle()

    @invariant()
    def they_agree(self) -> None:
        ends = [{txid: kind for kind, txid in shard.done} for shard in self.shards.values()]
        assert all(ends[1].get(txid, kind) == kind for txid, kind in ends[0].items())


Atomic.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestAtomic = Atomic.TestCase


POISONS: list[object] = [
    None,
    True,
    -1,
    0,
    2**16,
    2**32,
    2**64,
    2**128,
    -(10**400),
    0.5,
    float("nan"),
    1j,
    "text",
    "\ud800",
    b"",
    b"x",
    bytes(32),
    bytes(1 << 16),
    bytearray(b"abc"),
    memoryview(b"abcdef")[::2],
    [],
    [None],
    [b"a"],
    [(1,)],
    [(1, 2)],
    [(1, b"x", 3)],
    [(2**64, bytes(32), 0)],
    (),
    {},
    {b"a": 1},
    {b"a" * 32: -1},
    set(),
    range(3),
    object(),
    int,
]


def cases() -> list[tuple[Callable[..., object], tuple[object, ...], dict[str, Any]]]:
    shard = Shard(1)
    transaction = sc.Manifest(CHAIN, 0, bytes(32), 50, [(1, key_of(1), 0), (2, key_of(2), 0)])
    [vote] = shard.order(sc.Command.prepare(transaction))
    later = LAYOUT.next(shards_of((1, 2, 3)))
    moved = Shard(2)
    moved.order(sc.Command.boundary(later, bytes(32)))
    assert moved.handover is not None
    [part] = moved.machine.exports()
    machine, snapshot = Shard(1).machine, moved.machine.snapshot()
    signatures = [(at, vote.statement.sign(MEMBERS[1][at])) for at in range(3)]
    nodes = [bytes([at]) * 32 for at in range(4)]
    return [
        (sc.assign, (bytes(32), nodes, 2), {"previous": {nodes[0]: 1}, "moves_max": 1}),
        (sc.failure_log2, (100, 10, 20), {}),
        (sc.committee_size, (100, 10, -4.0), {}),
        (sc.check_size, (100, 1, 40, -4.0), {}),
        (sc.Layout, (CHAIN, 0, shards_of((1, 2))), {}),
        (LAYOUT.next, (shards_of((1, 2, 3)),), {}),
        (LAYOUT.shard_of, (bytes(32),), {}),
        (LAYOUT.members, (1,), {}),
        (sc.Manifest, (CHAIN, 0, bytes(32), 9, [(1, bytes(32), 0)], [(2, b"x" * 32)]), {}),
        (vote.statement.sign, (MEMBERS[1][0],), {}),
        (sc.Certificate, (LAYOUT, vote.statement, signatures), {}),
        (vote.verify, ([LAYOUT],), {}),
        (sc.Handover.from_bytes, (moved.handover.to_bytes(),), {}),
        (moved.handover.verify, (LAYOUT,), {}),
        (sc.Command.prepare, (transaction, [vote]), {}),
        (sc.Command.boundary, (later, bytes(32)), {}),
        (sc.Command.take_part, (part, moved.handover), {}),
        (sc.Command.delivered, (vote,), {}),
        (sc.Part.from_bytes, (part.to_bytes(),), {}),
        (machine.has_arrived, (bytes(32),), {}),
        (sc.Participant, (1, LAYOUT), {"open_max": 3, "tombstones_max": 3, "keys_max": 3, "horizon": 3}),
        (sc.Participant, (3, later), {"previous": LAYOUT}),
        (sc.Participant.restore, (1, LAYOUT, shard.journal), {}),
        (sc.Participant.take_over, (snapshot, moved.handover, LAYOUT), {}),
        (machine.on_local_commit, (sc.Command.prepare(transaction),), {}),
        (machine.evaluate, (sc.Command.prepare(transaction),), {}),
        (machine.on_certificate, (vote.to_bytes(),), {}),
        (Shard(1).machine.tick_height, (1,), {}),
        (machine.ask, (transaction,), {}),
        (machine.version, (bytes(32),), {}),
        (machine.locked_by, (bytes(32),), {}),
        (machine.end_of, (bytes(32),), {}),
        (durable, (1,), {}),
        (sc.Coordinator, (transaction, [vote], [LAYOUT]), {}),
        (sc.Layout.from_bytes, (LAYOUT.to_bytes(),), {}),
        (sc.Manifest.from_bytes, (transaction.to_bytes(),), {}),
        (sc.Statement.from_bytes, (vote.statement.to_bytes(),), {}),
        (sc.Certificate.from_bytes, (vote.to_bytes(),), {}),
        (sc.Command.from_bytes, (sc.Command.prepare(transaction).to_bytes(),), {}),
    ]


def durable(ticket: Any) -> None:
    shard = Shard(1)
    shard.machine.on_local_commit(
        sc.Command.prepare(sc.Manifest(CHAIN, 0, bytes(32), 50, [(1, key_of(1), 0), (2, key_of(2), 0)]))
    )
    shard.machine.drain()
    shard.machine.durable(ticket)


def test_poison_is_refused_with_the_documented_errors() -> None:
    refused = 0
    for function, args, kwargs in cases():
        function(*args, **kwargs)
        for at in [*range(len(args)), *kwargs]:
            for poison in POISONS:
                spoilt, named = list(args), dict(kwargs)
                if isinstance(at, int):
                    spoilt[at] = poison
                else:
                    named[at] = poison
                try:
                    function(*spoilt, **named)
                except DOCUMENTED as error:
                    refused += bool(str(error))
    assert refused > 1000


def test_the_table_names_every_public_callable() -> None:
    text = inspect.getsource(cases)
    for name in sc.__all__:
        thing = getattr(sc, name)
        if name in {"Effect", "sign_handover"}:
            continue
        assert f"sc.{name}" in text, name
        if inspect.isclass(thing):
            plain = {
                "to_bytes",
                "from_bytes",
                "drain",
                "snapshot",
                "restate",
                "open",
                "decisions",
                "exports",
                "handover",
                "durable",
                "next",
                "expire",
            }
            methods = [m for m, v in vars(thing).items() if not m.startswith("_") and callable(getattr(thing, m))]
            assert not [m for m in methods if f".{m}" not in text and m not in plain], name
    for poison in POISONS:
        with pytest.raises(DOCUMENTED):
            sc.sign_handover(poison, MEMBERS[1][0])  # type: ignore[arg-type]
