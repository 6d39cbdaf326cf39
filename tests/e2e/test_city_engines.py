"""All commit engines, in a city: stopped, lying and restarted delegates, receipts offline, elections, old cities."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import CityChainError, DeadlineError, InputError, UnavailableError, VerificationError
from city_chain.node import ENGINES
from city_chain.node.agreeing import BEGIN, EVERYBODY, PUSH, Agreeing, place_of
from city_chain.ports import Handler, Request
from city_chain.stages import messages

pytestmark = pytest.mark.e2e

AGREEING = [name for name in ENGINES if name != "dpos"]
SETTINGS: dict[str, Any] = {"nodes": 8, "validators": 4, "k": 2, "n": 4}


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


def opened(engine: str, storage: MemoryStorage | None = None, **more: Any) -> City:
    return City.local(engine=engine, storage=storage or Kept(), **{**SETTINGS, **more})


def delegates(city: City) -> list[bytes]:
    return [node.id for node in city.nodes() if node.delegate]


def copied(storage: MemoryStorage) -> Kept:
    """What a process that is killed now leaves behind."""
    copy = Kept()
    copy.put_many(dict(storage.scan(b"")))
    return copy


# --- what they all do ------------------------------------------------------------------------------------------------


def test_the_default_is_hotstuff() -> None:
    with City.local(**SETTINGS) as city:
        assert city.settings.engine == "hotstuff"
        assert city.send(b"x").certificate.engine == "hotstuff"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_city_keeps_its_engine_where_none_is_named(engine: str) -> None:
    storage = Kept()
    with opened(engine, storage) as city:
        city.send(b"x")
    with City.local(storage=storage, **SETTINGS) as again:
        assert again.settings.engine == engine
        assert again.send(b"y").certificate.engine == engine
    other = next(name for name in ENGINES if name != engine)
    with pytest.raises(InputError, match="open it with City"):
        opened(other, storage)
    with pytest.raises(InputError, match="open it with City"):
        City.local(storage=storage, **{**SETTINGS, "n": 5})


@pytest.mark.parametrize("engine", ENGINES)
def test_receipts_verify_offline_whole_and_compressed(engine: str) -> None:
    with opened(engine) as city, opened(engine) as other:
        outcomes = city.send_many([b"%d" % at for at in range(20)], batch=6)
        receipts = [outcome for outcome in outcomes if isinstance(outcome, records.Receipt)]
        assert len(receipts) == 20
        assert city.height == 4
        trust = records.Trust.from_bytes(city.trust.to_bytes())
        small = city.compress(receipts[-1])
        foreign = other.send(b"x")
    for receipt in receipts:
        again = records.Receipt.from_bytes(receipt.to_bytes())
        again.verify(trust)
        assert again.certificate.engine == engine
        assert again.certificate.batch == again.header.digest
    assert (small.certificate.engine, small.certificate.batch) == ("bls", small.header.digest)
    small.verify(trust)
    with pytest.raises(VerificationError):
        small.verify(records.Trust(trust.network, trust.epochs))  # without the city's key
    with pytest.raises(VerificationError):
        receipts[0].with_certificate(receipts[-1].certificate)
    with pytest.raises(VerificationError):
        foreign.certificate.verify(receipts[0].epoch, receipts[0].header)
    with pytest.raises(VerificationError):
        receipts[0].certificate.verify(receipts[-1].epoch, receipts[-1].header)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_flip_of_a_certificate_is_refused(engine: str) -> None:
    with opened(engine) as city:
        receipt, trust = city.send(b"x"), city.trust
    encoded = receipt.certificate.to_bytes()
    dice = random.Random(3)
    for at in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[at] ^= 1 << dice.randrange(8)
        try:
            certificate = records.CommitCertificate.from_bytes(bytes(damaged))
            receipt.with_certificate(certificate).verify(trust)
        except (InputError, VerificationError, UnavailableError):
            continue
        pytest.fail(f"byte {at} of the certificate changes nothing")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("validators", [1, 2, 3, 7])
def test_any_number_of_delegates(engine: str, validators: int) -> None:
    with opened(engine, nodes=8, validators=validators) as city:
        for at in range(2 * validators):
            city.send(b"%d" % at).verify(city.trust)
        assert city.height == 2 * validators


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_delegate_costs_little_and_two_stop_everything(engine: str) -> None:
    with opened(engine) as city:
        city.send(b"before")
        for stopped in delegates(city):
            city.stop_node(stopped)
            for at in range(5):
                began = time.monotonic()
                city.send(b"%d" % at, deadline_s=20).verify(city.trust)
                assert time.monotonic() - began < 10
            city.start_node(stopped)
        city.send(b"all are there again").verify(city.trust)
        first, second, *_ = delegates(city)
        city.stop_node(first)
        city.stop_node(second)
        height, began = city.height, time.monotonic()
        with pytest.raises((UnavailableError, DeadlineError)):
            city.send(b"too few", deadline_s=0.7)
        assert time.monotonic() - began < 3
        assert city.height == height
        city.start_node(first)
        city.start_node(second)
        city.send(b"well again", deadline_s=20).verify(city.trust)


@pytest.mark.parametrize("engine", AGREEING)
def test_a_delegate_that_was_long_away_counts_again(engine: str) -> None:
    """Longer than the others keep blocks for it: it goes on from the ledger, also after another restart."""
    storage = Kept()
    with opened(engine, storage) as city:
        first, second, *_ = delegates(city)
        city.stop_node(first)
        for at in range(40):
            city.send(b"%d" % at)
        city.start_node(first)
        city.stop_node(second)
        city.send(b"without it there is no quorum", deadline_s=20).verify(city.trust)
        before = copied(storage)
    for kept in (storage, before):
        with opened(engine, kept) as again:
            again.send(b"and after an opening", deadline_s=20).verify(again.trust)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_deadline_is_kept_while_delegates_hang(engine: str) -> None:
    transport = InProcessTransport()
    with opened(engine, transport=transport) as city:
        city.send(b"before")
        hanging = [node.address for node in city.nodes() if node.delegate][:2]
        for address in hanging:
            transport.set_fault(address, Fault(hang=True))
        began = time.monotonic()
        with pytest.raises((UnavailableError, DeadlineError)):
            city._city.engine.recover(city._city.clock.monotonic() + 0.5)
        assert 0.4 < time.monotonic() - began < 2
        for address in hanging:
            transport.set_fault(address, None)
        city.send(b"after", deadline_s=20).verify(city.trust)


@pytest.mark.parametrize("engine", ENGINES)
def test_slow_lossy_and_corrupting_links(engine: str) -> None:
    transport = InProcessTransport(seed=5)
    with opened(engine, transport=transport) as city:
        for at, node in enumerate(node for node in city.nodes() if node.delegate):
            transport.set_fault(node.address, Fault(latency_ms=3 * at, loss=0.05, corrupt=0.02, corrupt_request=0.02))
        for at in range(6):
            city.send(b"%d" % at, deadline_s=60).verify(city.trust)
        assert city.height >= 6


@pytest.mark.parametrize("engine", ENGINES)
def test_elections_under_every_engine(engine: str) -> None:
    storage = Kept()
    with opened(engine, storage) as city:
        receipts = [city.send(b"first")]
        for count in (3, 4, 1, 4):
            assert len(city.elect(count).validators.items) == count
            receipts += [city.send(b"%d" % at) for at in range(2)]
        for receipt in receipts:
            receipt.verify(city.trust)
        assert {receipt.epoch.number for receipt in receipts} == set(range(5))
    with opened(engine, storage) as again:
        for receipt in receipts:
            receipt.verify(again.trust)
        again.send(b"later").verify(again.trust)
        assert again.height == len(receipts) + 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_delegate_that_was_away_for_long_takes_part_again(engine: str) -> None:
    storage = Kept()
    with opened(engine, storage) as city:
        city.send(b"before")
        away, *others = delegates(city)
        city.stop_node(away)
        for at in range(60):
            city.send(b"%d" % at, deadline_s=20)
        city.start_node(away)
        city.stop_node(others[0])  # it is needed now
        for at in range(4):
            city.send(b"again %d" % at, deadline_s=30).verify(city.trust)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("validators", [1, 4])
def test_an_opening_goes_on_from_any_write(engine: str, validators: int) -> None:
    """What a process leaves that is killed between any two writes: nothing acknowledged is lost, and it goes on."""
    snapshots: list[tuple[int, Kept]] = []
    acknowledged = 0

    class Copying(Kept):
        """Keeps what is there before every write."""

        is_copying = False

        def put_many(self, items: Any, *, delete: Any = ()) -> None:
            if self.is_copying:
                snapshots.append((acknowledged, copied(self)))
            super().put_many(items, delete=delete)

    storage = Copying()
    with opened(engine, storage, nodes=5, validators=validators) as city:
        city.send(b"first")
        city.settle()
        acknowledged = 1
        storage.is_copying = True
        for at in range(3):
            city.send(b"%d" % at)
            acknowledged += 1
        city.settle()
        storage.is_copying = False
    assert len(snapshots) >= 12
    for count, left in snapshots:
        with opened(engine, left, nodes=5, validators=validators) as city:
            assert not city.recovery.pending
            assert city.height >= count
            city.send(b"later", deadline_s=20).verify(city.trust)
            payloads = [t.payload for t in city.receive_many(city.tx_ids()) if isinstance(t, records.Transaction)]
            assert len(payloads) == len(set(payloads)) == city.height
        # And once more, from what that left.
        with opened(engine, copied(left), nodes=5, validators=validators) as city:
            city.send(b"still later", deadline_s=20).verify(city.trust)


@pytest.mark.parametrize("engine", AGREEING)
def test_what_a_commit_rests_on_is_written_once_and_before_it(engine: str) -> None:
    """In one process the rows of all bursts up to a commit are one write, and the commit comes after it."""
    writes: list[str] = []

    class Watched(Kept):
        def put_many(self, items: Any, *, delete: Any = ()) -> None:
            if any(key[:2] == b"hn" and key[6:7] == b"a" for key in items):
                writes.append("votes")
            if b"lhead" in items:
                assert not city._city._host._bodies._waiting
                writes.append("commit")
            super().put_many(items, delete=delete)

    with opened(engine, Watched()) as city:
        city.send(b"first")
        writes.clear()
        for at in range(5):
            city.send(b"%d" % at)
        assert writes == ["votes", "commit"] * 5
        # Who stops is as it would be after a restart: nothing of it is in memory only.
        first, second, *others = delegates(city)
        city.stop_node(first)
        city.stop_node(second)
        with pytest.raises((UnavailableError, DeadlineError)):
            city.send(b"too few", deadline_s=0.5)
        assert city._city._host._bodies._waiting
        city.stop_node(others[0])
        assert not city._city._host._bodies._waiting


# --- lying delegates -------------------------------------------------------------------------------------------------


type Lie = Callable[[records.Message, bytes], bytes]


class Evil:
    """A city some of whose delegates lie, and what was said in it."""

    def __init__(self, engine: str) -> None:
        self.storage = Kept()
        self.transport = InProcessTransport()
        self.said: list[Request] = []
        self.lies: dict[str, Lie] = {}
        serve = self.transport.serve

        def lying(handler: Handler, address: str | None = None) -> str:
            self.honest = handler
            return serve(self.handle, address)

        self.transport.serve = lying  # type: ignore[method-assign]
        self.city = opened(engine, self.storage, transport=self.transport)

    def handle(self, burst: Sequence[Request]) -> Sequence[bytes]:
        self.said += burst
        answers = list(self.honest(burst))
        for at, request in enumerate(burst):
            lie = self.lies.get(request.address)
            if lie is not None:
                answers[at] = lie(messages.parse(request.body), answers[at])
        return answers

    @contextmanager
    def turned(self, nodes: Sequence[bytes], lie: Lie) -> Iterator[None]:
        """While these nodes lie."""
        addresses = {node.id: node.address for node in self.city.nodes()}
        self.lies = {addresses[node]: lie for node in nodes}
        yield
        self.lies = {}

    def state(self) -> dict[bytes, bytes]:
        """All rows but the bound of the stamps, which follows the clock (`node.bounds`)."""
        return {key: row for key, row in self.storage.scan(b"") if key not in (b"hu0", b"hu1")}

    def __enter__(self) -> Evil:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()


DICE = random.Random(5)
OLD: dict[str, bytes] = {}


def flipped(body: bytes) -> bytes:
    damaged = bytearray(body)
    damaged[DICE.randrange(len(body))] ^= 1 << DICE.randrange(8)
    return bytes(damaged)


def replaced(honest: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    answer = messages.parse(honest)
    return messages.message(answer.kind, change(list(answer.parts)))


def said(head: list[int], rest: Sequence[bytes] = ()) -> bytes:
    return messages.message("said", [*map(messages.integer, head), *rest])


def forged(_: records.Message, honest: bytes) -> bytes:
    return replaced(honest, lambda parts: [p[:-1] + bytes([p[-1] ^ 1]) if p else p for p in parts])


LIES: dict[str, Lie] = {
    "garbage": lambda m, h: DICE.randbytes(DICE.choice([0, 1, 10, 1000])),
    "flipped": lambda m, h: flipped(h),
    "forged": forged,
    "old answers": lambda m, h: OLD.setdefault(m.kind, h),
    "cut": lambda m, h: h[: len(h) // 2],
    "huge": lambda m, h: messages.message(messages.parse(h).kind, [bytes(8 << 20)]),
    "many parts": lambda m, h: messages.message(messages.parse(h).kind, [b""] * 10_000),
    "no parts": lambda m, h: messages.message(messages.parse(h).kind, []),
    "another kind": lambda m, h: messages.message("tip", [messages.integer(2**64 - 1)]),
    "the question": lambda m, h: m.to_bytes(),
    "far ahead": lambda m, h: said([2**64 - 1, 0, 1]),
    "far behind": lambda m, h: said([0, 0, 1]),
    "never again": lambda m, h: said([1, 2**64 - 1, 0]),
    "wants bodies": lambda m, h: said([0, 0, 1], [b"\xfe\xff" + DICE.randbytes(32) for _ in range(20)]),
    "noise to all": lambda m, h: said([0, 0, 1], [place_of(EVERYBODY) + DICE.randbytes(200) for _ in range(50)]),
    "says nothing": lambda m, h: replaced(h, lambda parts: parts[:3]),
    "says all twice": lambda m, h: replaced(h, lambda parts: parts[:3] + 2 * parts[3:]),
    "to the wrong ones": lambda m, h: replaced(
        h, lambda parts: parts[:3] + [place_of(DICE.randrange(5)) + part[2:] for part in parts[3:]]
    ),
}


@pytest.mark.parametrize("engine", AGREEING)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_delegate(engine: str, lie: Lie) -> None:
    """Each of the four in turn."""
    with Evil(engine) as evil:
        for liar in delegates(evil.city):
            OLD.clear()
            with evil.turned([liar], lie):
                for at in range(3):
                    evil.city.send(b"%d" % at, deadline_s=30).verify(evil.city.trust)
        height = evil.city.height
        assert height >= 12
        evil.city.send(b"all are honest again", deadline_s=20)
        assert evil.city.height == height + 1
    with opened(engine, evil.storage) as again:
        again.send(b"later", deadline_s=20).verify(again.trust)


@pytest.mark.parametrize("engine", AGREEING)
def test_two_lying_delegates_commit_nothing(engine: str) -> None:
    with Evil(engine) as evil:
        with (
            evil.turned(delegates(evil.city)[:2], LIES["says nothing"]),
            pytest.raises((UnavailableError, DeadlineError)),
        ):
            evil.city.send(b"x", deadline_s=1)
        evil.city.send(b"y", deadline_s=20).verify(evil.city.trust)


def carry_all(evil: Evil, requests: Sequence[Request], addresses: Sequence[str]) -> None:
    """Carries real messages to everybody, until nobody learns anything new from them."""
    bodies = [request.body for request in requests if not pushes(request.body)]
    for _ in range(8):
        before = evil.state()
        for address in addresses:
            evil.honest([Request(address, body) for body in bodies])
        if evil.state() == before:
            return
    pytest.fail("the same messages are news again and again")


def pushes(body: bytes) -> bool:
    """Whether it is a right request that a leader goes on though there is nothing to agree on."""
    try:
        kind, parts = (message := messages.parse(body)).kind, message.parts
    except CityChainError:
        return False
    return kind == "agree" and len(parts) > 0 and len(parts[0]) == 1 and bool(parts[0][0] & PUSH)


@pytest.mark.parametrize("engine", AGREEING)
def test_hostile_messages_change_nothing(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real messages, changed in every way: none is taken, and none makes a row."""
    with Evil(engine) as evil:
        city = evil.city
        for at in range(3):
            city.send(b"%d" % at)
        city.settle()
        addresses = [node.address for node in city.nodes() if node.delegate]
        by_kind: dict[str, list[Request]] = {}
        for request in evil.said:
            by_kind.setdefault(messages.parse(request.body).kind, []).append(request)
        by_kind["proven"] = [Request(addresses[0], messages.message("proven", [messages.integer(1)]))]
        assert {"offer", "agree"} <= by_kind.keys()
        now = Agreeing._now
        frozen = now(city._city._host._agreeing)
        monkeypatch.setattr(Agreeing, "_now", lambda _: frozen)  # no round times out
        carry_all(evil, [request for kind in ("offer", "agree") for request in by_kind[kind]], addresses)
        dice = random.Random(6)
        hostile: list[Request] = []
        for kind in ("offer", "agree", "proven"):
            for request in dice.sample(by_kind[kind], k=min(len(by_kind[kind]), 6)):
                parts = messages.parse(request.body).parts
                bodies = [request.body[:length] for length in range(0, len(request.body), 97)]
                for _ in range(40):
                    damaged = bytearray(request.body)
                    damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
                    bodies.append(bytes(damaged))
                bodies += [messages.message(kind, cut) for cut in ([], parts[1:], parts * 2, [b""] * 3)]
                bodies += [messages.message(kind, [bytes([BEGIN]), *parts[1:]])]
                hostile += [Request(dice.choice(addresses), body) for body in bodies if not pushes(body)]
        before, height = evil.state(), city.height
        for request in hostile:
            (answer,) = evil.honest([request])
            messages.parse(answer)
        assert len(evil.honest(hostile)) == len(hostile)
        after = evil.state()
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        changed = [key for key in changed if key not in (b"hu0", b"hu1")]  # bounds of stamps: time goes on
        assert not changed, [(key[:8], key[-8:]) for key in changed]
        assert city.height == height
        monkeypatch.setattr(Agreeing, "_now", now)
        city.send(b"still well", deadline_s=20).verify(city.trust)


@pytest.mark.parametrize("engine", AGREEING)
def test_who_pushes_without_end_holds_nobody_up(engine: str) -> None:
    with Evil(engine) as evil:
        city = evil.city
        for _ in range(50):
            for node in city.nodes():
                if node.delegate:
                    evil.honest([Request(node.address, messages.message("agree", [bytes([PUSH | BEGIN])]))])
        city.send(b"x", deadline_s=20).verify(city.trust)
        assert city.height == 1


# --- journals --------------------------------------------------------------------------------------------------------


def own_rows(storage: MemoryStorage, node: int) -> dict[bytes, bytes]:
    """The rows of a delegate's agreement."""
    return dict(storage.scan(b"hn" + node.to_bytes(4, "big") + b"a"))


@pytest.mark.parametrize("engine", AGREEING)
def test_a_lost_journal_is_never_voted_without(engine: str) -> None:
    storage = Kept()
    with opened(engine, storage) as city:
        city.send(b"one")
        at, node = next((at, node) for at, node in enumerate(city.nodes()) if node.delegate)
    storage.delete_many(own_rows(storage, at))
    with opened(engine, storage) as city:
        others = [one for one in delegates(city) if one != node.id]
        city.send(b"two", deadline_s=20).verify(city.trust)
        city.stop_node(others[0])
        with pytest.raises((UnavailableError, DeadlineError)):
            city.send(b"three", deadline_s=1)  # two of four are left that may vote
        city.start_node(others[0])
    with opened(engine, storage) as city:  # nor after another opening
        city.stop_node(others[0])
        with pytest.raises((UnavailableError, DeadlineError)):
            city.send(b"four", deadline_s=1)
        city.start_node(others[0])
    with opened(engine, storage) as city:  # which ends the sends that were begun
        assert not city.recovery.pending
        city.elect(4, deadline_s=20)
        city.stop_node(others[0])  # it votes in the next epoch
        city.send(b"five", deadline_s=20).verify(city.trust)


def test_a_damaged_journal_is_not_voted_with() -> None:
    """Of HotStuff: an ABBA journal of a height that is over is of no use to anybody, and dropped unread."""
    storage = Kept()
    with opened("hotstuff", storage) as city:
        city.send(b"one")
        at = next(at for at, node in enumerate(city.nodes()) if node.delegate)
    rows = {key: row for key, row in own_rows(storage, at).items() if row}
    assert rows
    storage.put_many({key: row[:-1] for key, row in rows.items()})
    with opened("hotstuff", storage) as city:
        assert [node.votes for node in city.nodes() if node.delegate].count(False) == 1
        city.send(b"two", deadline_s=20).verify(city.trust)


# --- old cities ------------------------------------------------------------------------------------------------------


def test_a_city_of_dpos_stays_one() -> None:
    storage = Kept()
    with opened("dpos", storage) as city:
        receipt = city.send(b"one")
    (row,) = storage.get_many([b"csettings"])
    assert row is not None
    assert orjson.loads(row)["engine"] == "dpos"
    with opened("dpos", storage) as city:
        receipt.verify(city.trust)
        assert city.send(b"two").certificate.engine == "dpos"
    with pytest.raises(InputError, match="the city that is there has"):
        opened("hotstuff", storage).close()


@pytest.mark.parametrize(("engine", "other"), list(itertools.permutations(ENGINES, 2)))
def test_messages_of_another_engine_are_refused(engine: str, other: str) -> None:
    kinds = {"dpos": ["lead", "vote", "prepare", "weigh"]}
    with opened(engine) as city:
        address = next(node.address for node in city.nodes() if node.delegate)
        for kind in kinds.get(other, [] if other in AGREEING and engine in AGREEING else ["agree"]):
            parts = [b"\0"] if kind == "agree" else [messages.integer(1), messages.integer(1)]
            (answer,) = city._city._host.handle([Request(address, messages.message(kind, parts))])
            assert messages.parse(answer).kind == "refused"
        assert isinstance(city.send(b"x"), records.Receipt)


def test_an_engine_that_is_not_known() -> None:
    with pytest.raises(CityChainError, match="hotstuff"):
        City.local(engine="paxos")
