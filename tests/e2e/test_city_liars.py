"""Nodes that lie, and hostile messages to honest ones: refused or survived, and nothing changes that should not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from city_chain import City, ec, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import CityChainError, DeadlineError, UnavailableError, VerificationError
from city_chain.node.engines.dpos import DposEngine
from city_chain.ports import Handler, Request
from city_chain.proofs import dpos, poh
from city_chain.stages import messages
from city_chain.stages.model import Dispersal
from city_chain.stages.s1_select import s1_select
from city_chain.stages.s2_encode import s2_encode
from city_chain.stages.s3_hold import s3_hold
from city_chain.stages.s4_deliver import s4_deliver
from city_chain.stages.s5_commit import s5_commit

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 14, "validators": 4, "engine": "dpos"}


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


type Lie = Callable[[records.Message, bytes], bytes]
"""What an evil node answers: to this message, to which the honest answer would be this."""


class Evil:
    """A city some of whose nodes lie, and what was said in it."""

    def __init__(self, storage: Kept | None = None) -> None:
        self.storage = storage or Kept()
        self.transport = InProcessTransport()
        self.said: list[Request] = []
        serve = self.transport.serve

        def recorded(handler: Handler, address: str | None = None) -> str:
            def answer(burst: Sequence[Request]) -> Sequence[bytes]:
                self.said.extend(burst)
                return handler(burst)

            self.honest = handler
            return serve(answer, address)

        self._serves = serve, recorded
        with self.recording():
            self.city = City.local(storage=self.storage, transport=self.transport, **SETTINGS)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What nodes that start meanwhile are told is kept; `honest` is what answers for them."""
        serve, recorded = self._serves
        self.transport.serve = recorded  # type: ignore[method-assign]
        yield
        self.transport.serve = serve  # type: ignore[method-assign]

    def turn(self, nodes: Sequence[bytes], lie: Lie) -> None:
        """These nodes lie from now on."""
        addresses = {node.id: node.address for node in self.city.nodes()}
        for node in nodes:
            address = addresses[node]

            def answer(burst: Sequence[Request]) -> Sequence[bytes]:
                honest = self.honest(burst)
                return [lie(messages.parse(r.body), h) for r, h in zip(burst, honest, strict=True)]

            self.transport.stop(address)
            self.transport.serve(answer, address)

    @property
    def holders(self) -> list[bytes]:
        return [node.id for node in self.city.nodes() if not node.delegate]

    @property
    def delegates(self) -> list[bytes]:
        return [node.id for node in self.city.nodes() if node.delegate]

    def state(self) -> dict[bytes, bytes]:
        """All rows but the bound of the stamps, which follows the clock (`node.bounds`)."""
        return {key: row for key, row in self.storage.scan(b"") if key not in (b"hu0", b"hu1")}

    def __enter__(self) -> Evil:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()


DICE = random.Random(5)


def flipped(body: bytes) -> bytes:
    damaged = bytearray(body)
    damaged[DICE.randrange(len(body))] ^= 1 << DICE.randrange(8)
    return bytes(damaged)


def reordered(_: records.Message, honest: bytes) -> bytes:
    """The parts in another order: acks for other requests, fragments of other transactions."""
    answer = messages.parse(honest)
    return messages.message(answer.kind, [*answer.parts[1:], *answer.parts[:1]])


OLD: dict[str, bytes] = {}


def old(message: records.Message, honest: bytes) -> bytes:
    """The answer to the first message of that kind, again and again."""
    return OLD.setdefault(message.kind, honest)


def forged(_: records.Message, honest: bytes) -> bytes:
    """The signature's last byte is wrong in every part."""
    answer = messages.parse(honest)
    return messages.message(answer.kind, [part[:-1] + bytes([part[-1] ^ 1]) if part else part for part in answer.parts])


LIES: dict[str, Lie] = {
    "garbage": lambda m, h: DICE.randbytes(DICE.choice([0, 1, 10, 1000])),
    "nothing": lambda m, h: b"",
    "flipped": lambda m, h: flipped(h),
    "forged": forged,
    "reordered": reordered,
    "old answers": old,
    "cut": lambda m, h: h[: len(h) // 2],
    "longer": lambda m, h: h + b"\0",
    "huge": lambda m, h: messages.message(messages.parse(h).kind, [bytes(8 << 20)]),
    "many parts": lambda m, h: messages.message(messages.parse(h).kind, [b""] * 10_000),
    "no parts": lambda m, h: messages.message(messages.parse(h).kind, []),
    "one part more": lambda m, h: messages.message(messages.parse(h).kind, [*messages.parse(h).parts, b"x"]),
    "another kind": lambda m, h: messages.message("tip", [messages.integer(2**64 - 1)]),
    "a kind that is not known": lambda m, h: messages.message("\x00\u2603", messages.parse(h).parts),
    "the question": lambda m, h: m.to_bytes(),
    "a long refusal": lambda m, h: messages.message("refused", [b"\xff" * 1_000_000]),
    "promised": lambda m, h: messages.message("promised", [messages.integer(2**64 - 1)]),
    "promised badly": lambda m, h: messages.message("promised", [b"123"]),
    "the far end": lambda m, h: messages.message(messages.parse(h).kind, [messages.integer(2**64 - 1)]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_lying_holders(lie: Lie) -> None:
    """Two of the holders lie: spares stand in for them, and what they say about fragments is not believed."""
    OLD.clear()
    with Evil() as evil:
        first = evil.city.send_many([b"before %d" % at for at in range(5)])
        evil.city.settle()
        evil.turn(evil.holders[:2], lie)
        outcomes = evil.city.send_many([b"%d" % at for at in range(16)], deadline_s=10)
        assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
        receipts = [outcome for outcome in [*first, *outcomes] if isinstance(outcome, records.Receipt)]
        for receipt in receipts:
            receipt.verify(evil.city.trust)
        received = evil.city.receive_many([receipt.tx_id for receipt in receipts])
        expected = [b"before %d" % at for at in range(5)] + [b"%d" % at for at in range(16)]
        assert [t.payload for t in received if isinstance(t, records.Transaction)] == expected
        report = evil.city.repair()
        for tx in evil.city.health().transactions:
            assert tx.good >= tx.quorum, (report, tx)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_delegate(lie: Lie) -> None:
    """Each of the four in turn, also where it is the one that leads."""
    with Evil() as evil:
        engine = evil.city._city.engine
        assert isinstance(engine, DposEngine)
        assert len(evil.delegates) == 4
        led = set()
        for liar in evil.delegates:
            OLD.clear()
            evil.turn([liar], lie)
            for number in range(2):
                led.add((liar, engine._leader(evil.city.height + 1, 0) == liar))
                evil.city.send(b"%d" % number, deadline_s=20).verify(evil.city.trust)
            # It goes on lying until it was its turn to lead.
            while (liar, True) not in led:
                led.add((liar, engine._leader(evil.city.height + 1, 0) == liar))
                evil.city.send(b"more", deadline_s=20).verify(evil.city.trust)
            evil.turn([liar], lambda _, honest: honest)
        height = evil.city.height
        assert height >= 8
        assert {liar for liar, leads in led if leads} == set(evil.delegates)
        storage = evil.storage
    with Evil(storage) as again:  # nothing that the liars said has stayed
        again.city.send(b"later", deadline_s=5).verify(again.city.trust)
        assert again.city.height == height + 1


def test_a_delegate_that_gives_another_batch_is_not_believed() -> None:
    """A batch that was accepted is asked for; the liars give another one, well-formed, and are the first to answer."""
    with Evil() as evil:
        city = evil.city
        city.send(b"first")
        city.send(b"second")
        engine, ledger = city._city.engine, city._city.ledger
        assert isinstance(engine, DposEngine)
        first, second = ledger.batch(1), ledger.batch(2)
        assert first is not None
        assert second is not None
        evidence = [piece.to_bytes() for piece in ledger.evidence(first.batch)]
        other = messages.message("body", [first.batch.to_bytes(), *evidence])
        addresses = {node.id: node.address for node in city.nodes()}
        asked: list[bytes] = []

        def lie(message: records.Message, honest: bytes) -> bytes:
            if message.kind == "body":
                asked.append(honest)
                return other
            return honest

        for count in (1, 3, 4):
            evil.turn(evil.delegates[:count], lie)
            for node in evil.delegates[count:]:
                evil.transport.set_fault(addresses[node], Fault(latency_ms=50))
            asked.clear()
            until = city._city.clock.monotonic() + 5
            if count < 4:
                assert engine._case(second.batch.digest, None, until).batch == second.batch
            else:
                with pytest.raises(UnavailableError, match="nobody has it"):
                    engine._case(second.batch.digest, None, until)
            assert len(asked) == count
            for node in evil.delegates:
                evil.transport.set_fault(addresses[node], None)


def test_two_lying_delegates_commit_nothing() -> None:
    with Evil() as evil:
        evil.turn(evil.delegates[:2], LIES["forged"])
        with pytest.raises((UnavailableError, DeadlineError)):
            evil.city.send(b"x", deadline_s=1)
        assert evil.city.height == 0


def test_a_holder_that_acks_and_stores_nothing() -> None:
    with Evil() as evil:
        before = set(evil.state())
        evil.turn(evil.holders[:3], lambda m, h: h)
        receipts = [o for o in evil.city.send_many([b"%d" % at for at in range(10)]) if isinstance(o, records.Receipt)]
        evil.city.settle()
        spaces = [evil.city._city.node(node).space for node in evil.holders[:3]]
        gone = [k for k in evil.state() if k not in before and any(k[1 : 1 + len(s)] == s for s in spaces)]
        evil.storage.delete_many([key for key in gone if key[6:7] in (b"f", b"x")])
        received = evil.city.receive_many([receipt.tx_id for receipt in receipts])
        assert all(isinstance(transaction, records.Transaction) for transaction in received)
        assert evil.city.health().redundancy < 1
        assert evil.city.repair().repaired > 0
        assert evil.city.health().redundancy == 1
        for receipt in receipts:
            evil.city.receipt(receipt.tx_id).verify(evil.city.trust)


def test_a_leader_that_proposes_another_batch() -> None:
    """Signed as it should be, by the leader it should be: but nobody was shown the batch that it is about."""
    with Evil() as evil:
        city = evil.city

        def lie(message: records.Message, honest: bytes) -> bytes:
            answer = messages.parse(honest)
            if answer.kind not in ("proposal", "vote", "report"):
                return honest
            node = next(node for node in city._city._nodes.values() if node.id == evil.delegates[0])
            if answer.kind == "proposal":
                slot = dpos.Proposal.from_bytes(answer.parts[0]).slot
                other = dpos.Slot(slot.network, slot.epoch, slot.height, slot.attempt, slot.previous, bytes(32))
                return messages.message("proposal", [dpos.Proposal(node._identity, other).to_bytes()])
            if answer.kind == "vote":
                slot = dpos.Vote.from_bytes(answer.parts[0]).slot
                other = dpos.Slot(slot.network, slot.epoch, slot.height, slot.attempt, slot.previous, bytes(32))
                return messages.message("vote", [dpos.Vote(node._identity, other).to_bytes()])
            return honest

        evil.turn(evil.delegates[:1], lie)
        for number in range(8):
            city.send(b"%d" % number, deadline_s=20).verify(city.trust)
        assert city.height == 8


def test_a_sender_that_disperses_something_else() -> None:
    """Its key is right, and every hash fits the manifest it signed: only who restores it can tell."""
    with Evil() as evil:
        city, inside = evil.city, evil.city._city
        until = inside.clock.monotonic() + 20
        sender, given = inside.sender, inside.sending()
        terms = sender.terms
        transactions = [
            records.Transaction(
                sender.identity, network=city.network, sequence=100 + at, hlc=sender.stamp(), payload=b"%d" % at
            )
            for at in range(5)
        ]
        honest = s2_encode(transactions, sender)
        forged = records.Transaction(sender.identity, network=city.network, sequence=100, hlc=1, payload=b"?")
        contents = [
            forged.to_bytes(),  # a right transaction, but another one
            transactions[0].to_bytes(),
            DICE.randbytes(honest[2].length),  # no transaction at all
            transactions[3].to_bytes()[:-1] + bytes([transactions[3].to_bytes()[-1] ^ 1]),  # its signature is wrong
        ]
        dispersals = list(honest)
        for at, data in enumerate(contents):
            assert len(data) == honest[at].length
            encoded = ec.encode(data, terms.k, terms.n - terms.k)
            dispersals[at] = Dispersal(len(data), terms.k, terms.n, encoded.fragments, encoded.hashes)
        # Fragments that are of no code word: whoever decodes others of them gets another thing.
        torn = list(honest[4].fragments)
        torn[: terms.k] = [bytes(len(bytes(fragment))) for fragment in torn[: terms.k]]
        hashes = [poh.hash_fragment(fragment) for fragment in torn]
        dispersals[4] = Dispersal(honest[4].length, terms.k, terms.n, torn, hashes)
        selections = s1_select(transactions, sender, given["members"])
        holds = s3_hold(transactions, selections, dispersals, sender, given["members"], inside.journal, until)
        deliveries = s4_deliver(
            holds, sender, given["members"], given["transport"], inside.journal, inside.behind, until
        )
        receipts = s5_commit(deliveries, inside.journal, inside.engine, until)
        assert all(isinstance(receipt, records.Receipt) for receipt in receipts), receipts
        city.settle()
        for transaction, outcome in zip(
            transactions, city.receive_many([transaction.tx_id for transaction in transactions]), strict=True
        ):
            assert isinstance(outcome, VerificationError), (transaction.sequence, outcome)
            with pytest.raises(VerificationError):
                city.receive(transaction.tx_id)
        before = evil.state()
        report = city.repair()
        assert report.repaired == 0, report
        assert evil.state() == before
        good = city.send(b"still well")
        assert city.receive(good.tx_id) == b"still well"


# --- hostile messages to honest nodes --------------------------------------------------------------------------------


def conversation() -> tuple[Evil, dict[str, list[Request]]]:
    """A city, and real messages of (nearly) every kind."""
    evil = Evil()
    city = evil.city
    with evil.recording():
        city.elect(4)
    receipt = city.send(b"x", seal="city")
    city.settle()
    city.receive(receipt.tx_id)
    city.countersign(receipt.tx_id)
    city.compress(receipt)
    # A delegate that answers nothing makes the others go through a second attempt.
    engine = city._city.engine
    assert isinstance(engine, DposEngine)
    quiet = next(node for node in city.nodes() if node.id == engine._leader(2, 0))
    city.stop_node(quiet.id)
    city.send(b"y", deadline_s=20)
    city.start_node(quiet.id)
    city.send(b"z")
    city.health()
    by_kind: dict[str, list[Request]] = {}
    for request in evil.said:
        by_kind.setdefault(messages.parse(request.body).kind, []).append(request)
    block = city._city.ledger.batch(1)
    assert block is not None
    address = city.nodes()[0].address
    evidence = [piece.to_bytes() for piece in city._city.ledger.evidence(block.batch)]
    append = messages.message("append", [block.batch.to_bytes(), block.certificate.to_bytes(), *evidence])
    by_kind.setdefault("append", []).append(Request(address, append))
    by_kind.setdefault("body", []).append(Request(address, messages.message("body", [block.batch.digest])))
    by_kind.setdefault("release", []).append(
        Request(address, messages.message("release", messages.parse(by_kind["fetch"][0].body).parts))
    )
    asking = messages.parse(by_kind["fetch"][0].body).parts[0]
    claim = records.PlaceClaim(
        records.Identity(b"\x08" * 32),
        network=city.network,
        epoch=city.epoch.number,
        municipality="Utrecht",
        lat_e7=0,
        lon_e7=0,
        nonce=bytes(32),
        hlc=city._city.sender.stamp(),
    ).to_bytes()
    others = {  # what a city of this engine that is alone, and of no places, does not say
        "place": [asking, bytes(32)],
        "witness": [asking, claim, address.encode()],
        "echo": [claim, city.nodes()[0].id, bytes(32)],
        "attest": [bytes(32)],
        "offer": [block.batch.to_bytes(), *evidence],
        "agree": [b"\0", b"\0\0" + block.certificate.to_bytes()],
        "proven": [messages.integer(1)],
        "evidence": [],
    }
    assert not by_kind.keys() & others.keys()
    by_kind |= {kind: [Request(address, messages.message(kind, parts))] for kind, parts in others.items()}
    assert by_kind.keys() == city._city._host._answers.keys()
    return evil, by_kind


def test_hostile_messages_change_nothing() -> None:
    evil, by_kind = conversation()
    with evil:
        dice = random.Random(6)
        addresses = [node.address for node in evil.city.nodes()]
        kinds = list(by_kind)
        hostile: list[Request] = [Request(addresses[0], b""), Request(addresses[0], b"\xff" * 100)]
        for kind, requests in by_kind.items():
            for request in [requests[0], requests[-1]]:
                message = messages.parse(request.body)
                bodies = [request.body[:length] for length in sorted(dice.sample(range(len(request.body)), k=6))]
                bodies += [request.body + b"\0"]
                for _ in range(60):
                    damaged = bytearray(request.body)
                    damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
                    bodies.append(bytes(damaged))
                parts = message.parts
                bodies += [messages.message(other, parts) for other in kinds if other != kind]
                bodies += [messages.message(kind, cut) for cut in ([], parts[:1], parts[1:], parts * 2, [b""] * 3)]
                bodies += [messages.message(kind, [b"\xff" * 8, *parts[1:]]), messages.message(kind, [b"\xff" * 8] * 2)]
                if kind not in ("hold", "fetch", "prepare"):
                    bodies.append(request.body)  # a replay
                hostile += [Request(request.address, body) for body in bodies]
                hostile += [Request(dice.choice(addresses), request.body) for _ in range(3) if kind in ("lead", "vote")]
        # What asks for a promise, and is well-formed, is kept by the delegate that made it: it is not in this list.
        hostile = [request for request in hostile if not is_promise(request)]
        before = evil.state()
        height = evil.city.height
        for request in hostile:
            (answer,) = evil.honest([request])
            messages.parse(answer)
        dice.shuffle(hostile)
        assert len(evil.honest(hostile)) == len(hostile)
        after = evil.state()
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        changed = [key for key in changed if key not in (b"hu0", b"hu1")]  # bounds of stamps: time goes on
        assert not changed, [(key[:8], key[-8:]) for key in changed]
        assert evil.city.height == height
        evil.city.send(b"still well", deadline_s=20).verify(evil.city.trust)


def is_promise(request: Request) -> bool:
    try:
        message = messages.parse(request.body)
    except CityChainError:
        return False
    return message.kind == "prepare" and len(message.parts) == 2 and all(len(part) == 8 for part in message.parts)


def test_a_promise_of_the_far_end_does_not_stop_the_city() -> None:
    evil, _ = conversation()
    with evil:
        height = evil.city.height + 1
        for attempt in (2**63, 2**64 - 1, 2**32, 10**6):
            body = messages.message("prepare", [messages.integer(height), messages.integer(attempt)])
            for node in evil.city.nodes():
                (answer,) = evil.honest([Request(node.address, body)])
                assert messages.parse(answer).kind == "refused"
        evil.city.send(b"still well", deadline_s=20).verify(evil.city.trust)


def test_requests_that_are_signed_but_not_allowed() -> None:
    evil, by_kind = conversation()
    with evil, City.local(nodes=4, validators=1, k=2, n=4) as other:
        city = evil.city
        stranger = records.Identity(b"\x07" * 32)
        sender = city._city.sender
        node = next(node for node in city.nodes() if node.delegate)
        node_recipient = city._city.node(node.id).keeper.recipient(city.network)
        another = next(other.id for other in city.nodes() if other.id != node.id)
        receipt = city.receipt(next(city.tx_ids()))
        manifest, hashes = receipt.manifest, receipt.availability.fragment_hashes
        now = sender.clock.now_ms()
        fragment = b"f" * 20

        def hold(
            identity: records.Identity, whom: bytes, deadline_ms: int, until_ms: int, fragment_hash: bytes
        ) -> bytes:
            (request,) = poh.request_many(
                identity,
                [(manifest, fragment_hash, whom, 1, bytes(32))],
                hlc=sender.stamp(),
                deadline_ms=deadline_ms,
                hold_until_ms=until_ms,
            )
            return messages.message("hold", [b"", request.to_bytes(), fragment])

        def called(identity: records.Identity) -> list[bytes]:
            """An election, the keys that are to be handed on, and what they are to be made of."""
            tip, epoch = city._city.ledger.tip, city.epoch
            validators = dpos.ValidatorSet(epoch.number + 1, epoch.validators.items)
            election = records.Election(identity, epoch, tip.height, tip.digest, validators)
            return [election.to_bytes(), city.keys.to_bytes(), node_recipient.to_bytes()]

        def ask(kind: str, identity: records.Identity, whom: bytes, deadline_ms: int, network: bytes) -> bytes:
            request = records.RepairRequest(
                identity,
                network=network,
                node=whom,
                hlc=sender.stamp(),
                deadline_ms=deadline_ms,
                items=[(receipt.tx_id, index) for index in range(10)],
            )
            return messages.message(kind, [request.to_bytes()])

        right = poh.hash_fragment(fragment)
        bodies = {
            "hold: stranger": hold(stranger, node.id, now + 1000, now + 10_000, right),
            "hold: for another node": hold(sender.identity, another, now + 1000, now + 10_000, right),
            "hold: too late": hold(sender.identity, node.id, now - 60_000, now + 10_000, right),
            "hold: until the past": hold(sender.identity, node.id, now + 1000, now - 1, right),
            "hold: another fragment": hold(sender.identity, node.id, now + 1000, now + 10_000, hashes[1]),
            "fetch: stranger": ask("fetch", stranger, node.id, now + 1000, city.network),
            "fetch: another network": ask("fetch", sender.identity, node.id, now + 1000, other.network),
            "fetch: for another node": ask("fetch", sender.identity, another, now + 1000, city.network),
            "fetch: too late": ask("fetch", sender.identity, node.id, now - 60_000, city.network),
            "inventory: stranger": ask("inventory", stranger, node.id, now + 1000, city.network),
            "inventory: another network": ask("inventory", sender.identity, node.id, now + 1000, other.network),
            "inventory: for another node": ask("inventory", sender.identity, another, now + 1000, city.network),
            "inventory: too late": ask("inventory", sender.identity, node.id, now - 60_000, city.network),
            "countersign: stranger": ask("countersign", stranger, node.id, now + 1000, city.network),
            "countersign: another network": ask("countersign", sender.identity, node.id, now + 1000, other.network),
            "countersign: too late": ask("countersign", sender.identity, node.id, now - 60_000, city.network),
            "deal: a stranger calls for it": messages.message("deal", called(stranger)),
            "handover: a stranger calls for it": messages.message("handover", called(stranger)[:2]),
            "handover: the keys are not of the next epoch": messages.message("handover", called(sender.identity)[:2]),
            "release: stranger": ask("release", stranger, node.id, now + 1000, city.network),
            "release: too late": ask("release", sender.identity, node.id, now - 60_000, city.network),
        }
        before = evil.state()
        for name, body in bodies.items():
            (answer,) = evil.honest([Request(node.address, body)])
            found = messages.parse(answer)
            if found.kind == "held":
                (part,) = found.parts
                assert isinstance(messages.ack_or_reason(part), str), name
            else:
                assert found.kind == "refused", (name, found)
        for asked in city.nodes():  # what is committed is not let go of, whoever asks
            (answer,) = evil.honest(
                [Request(asked.address, ask("release", sender.identity, asked.id, now + 1000, city.network))]
            )
            assert messages.parse(answer).kind == "done"
        assert evil.state() == before
        assert by_kind


def test_two_fragments_for_one_place_in_one_burst() -> None:
    """A holder acks one of them at most: it can keep only one."""
    with Evil() as evil:
        city = evil.city
        receipt = city.send(b"x")
        city.settle()
        holding = {node for _, node in receipt.availability.holders}
        node = next(node for node in city.nodes() if node.fragments == 0 and node.id not in holding)
        sender, now = city._city.sender, city._city.sender.clock.now_ms()
        fragments = [b"one", b"two"]
        requests = [
            poh.request_many(
                sender.identity,
                [(receipt.manifest, poh.hash_fragment(fragment), node.id, 1, bytes(32))],
                hlc=sender.stamp(),
                deadline_ms=now + 10_000,
                hold_until_ms=now + 60_000,
            )[0]
            for fragment in fragments
        ]
        pairs = [
            part
            for request, fragment in zip(requests, fragments, strict=True)
            for part in (request.to_bytes(), fragment)
        ]
        bursts = [
            [Request(node.address, messages.message("hold", [b"", *pairs]))],
            [
                Request(node.address, messages.message("hold", [b"", *pairs[:2]])),
                Request(node.address, messages.message("hold", [b"", *pairs[2:]])),
            ],
        ]
        for burst in bursts:
            acks = [
                messages.ack_or_reason(part)
                for answer in evil.honest(burst)
                for part in messages.answer(answer, "held")
            ]
            assert sum(isinstance(ack, poh.Ack) for ack in acks) == 1, acks
            assert isinstance(acks[0], poh.Ack)
            (kept,) = city._city.node(node.id).holder.fetch([(receipt.tx_id, 1)])
            assert kept == b"one"
            city._city.storage.delete_many(
                [key for key in evil.state() if key.startswith(b"h" + city._city.node(node.id).space + b"f")]
            )
