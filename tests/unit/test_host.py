"""Nothing leaves a host before what it rests on is durable: no ack, proposal, vote or report without its row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import CityChainError, StorageError
from city_chain.node.holder import fragment_key
from city_chain.ports import Handler, Request
from city_chain.proofs import dpos, poh
from city_chain.stages import messages

pytestmark = pytest.mark.unit

BINDING = {"ack", "proposal", "vote", "report"}
"""What binds whoever says it."""


class Disk(MemoryStorage):
    """Counts what is written, and fails when told to: before the write, or when it is done already."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = ""
        self.written: list[Mapping[bytes, bytes]] = []

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        if self.fails == "before":
            raise StorageError("the disk is full")
        super().put_many(items, delete=delete)
        self.written.append(dict(items))
        if self.fails == "after":
            raise StorageError("the disk has failed")


class Watched:
    """A city over such a disk, whose requests and answers are seen."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.transport = InProcessTransport()
        self.handler: Handler | None = None
        self.failing: dict[str, str] = {}
        self.answered: list[tuple[Request, str, bytes, Sequence[Mapping[bytes, bytes]]]] = []
        serve = self.transport.serve

        def watched(handler: Handler, address: str | None = None) -> str:
            self.handler = handler
            return serve(self.handle, address)

        self.transport.serve = watched  # type: ignore[method-assign]
        shape = {"nodes": 12, "validators": 4, "k": 2, "n": 4}
        self.city = City.local(storage=self.disk, transport=self.transport, engine="dpos", **shape)

    def handle(self, burst: Sequence[Request]) -> Sequence[bytes]:
        """Lets the host answer, with a disk that fails for some kinds of messages; keeps what was said."""
        assert self.handler is not None
        kinds = {messages.parse(request.body).kind for request in burst}
        self.disk.fails = next((self.failing[kind] for kind in kinds if kind in self.failing), "")
        first = len(self.disk.written)
        try:
            answers = self.handler(burst)
        finally:
            self.disk.fails = ""
        rows = self.disk.written[first:]
        for request, answer in zip(burst, answers, strict=True):
            message = messages.parse(answer)
            if message.kind == "held":
                for part in message.parts:
                    said = messages.ack_or_reason(part)
                    self.answered.append((request, "ack" if isinstance(said, poh.Ack) else "refused", part, rows))
            else:
                self.answered.append((request, message.kind, b"".join(message.parts), rows))
        return answers

    def to(self, kind: str) -> list[str]:
        """The kinds of the answers to messages of that kind, since the last look."""
        found = [said for request, said, _, _ in self.answered if messages.parse(request.body).kind == kind]
        self.answered.clear()
        return found

    def row(self, node: bytes, key: bytes) -> bytes:
        return b"h" + self.city._city.node(node).space + key

    @property
    def delegates(self) -> list[bytes]:
        return [node.id for node in self.city.nodes() if node.delegate]


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    with found.city:
        yield found


def prepare(watched: Watched, attempt: int) -> list[str]:
    """Asks every delegate to promise an attempt."""
    height = watched.city.height + 1
    body = messages.message("prepare", [messages.integer(height), messages.integer(attempt)])
    watched.handle([Request(watched.city._city.node(node).address, body) for node in watched.delegates])
    return watched.to("prepare")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["hold", "lead", "vote"])
def test_what_could_not_be_written_is_not_said(watched: Watched, kind: str, when: str) -> None:
    watched.failing[kind] = when
    with pytest.raises(CityChainError):
        watched.city.send(b"x", deadline_s=0.3)
    said = watched.to(kind)
    assert said
    assert set(said) == {"refused"}
    assert watched.city.height == 0
    # When the disk works again, it is said: the rows that were not written are given once more.
    watched.failing.clear()
    watched.city.send(b"y", deadline_s=20).verify(watched.city.trust)
    assert BINDING & set(watched.to(kind))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_promise_that_could_not_be_written_is_not_reported(watched: Watched, when: str) -> None:
    watched.failing["prepare"] = when
    for attempt in (1, 2):
        assert prepare(watched, attempt) == ["refused"] * 4
    watched.failing.clear()
    assert prepare(watched, 3) == ["report"] * 4
    watched.city.send(b"y", deadline_s=20).verify(watched.city.trust)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["adopt", "handover"])
def test_keys_and_a_handover_that_could_not_be_written_are_not_signed(watched: Watched, kind: str, when: str) -> None:
    watched.city.settle()
    watched.answered.clear()
    watched.failing[kind] = when
    with pytest.raises(CityChainError):
        watched.city.elect(4)
    said = watched.to(kind)
    assert said
    assert set(said) == {"refused"}
    assert watched.city.epoch.number == 0
    watched.failing.clear()
    assert watched.city.elect(4).number == 1
    assert {"adopt": "adopted", "handover": "handed"}[kind] in watched.to(kind)


def test_a_signature_of_keys_or_a_handover_rests_on_a_row_of_its_burst(watched: Watched) -> None:
    watched.city.settle()
    before = {watched.city._city.node(node).address: node for node in watched.delegates}
    watched.answered.clear()
    watched.city.elect(4)
    counts = {"adopted": 0, "handed": 0}
    for request, said, body, rows in watched.answered:
        if said not in counts:
            continue
        counts[said] += 1
        node = next(node.id for node in watched.city.nodes() if node.address == request.address)
        keys = watched.city.keys
        if said == "adopted":
            key, start = watched.row(node, b"k" + keys.epoch_root), keys.digest
        else:
            assert request.address in before
            key, start = watched.row(node, b"y"), messages.integer(1)
        (row,) = [written[key] for written in rows if key in written]
        assert row.startswith(start)
        assert len(body) >= 64
    assert counts == {"adopted": 4, "handed": counts["handed"]}
    assert counts["handed"] >= 3


def test_of_two_key_sets_in_one_burst_one_is_signed(watched: Watched) -> None:
    watched.city.settle()
    inside = watched.city._city
    nodes = [inside.node(node) for node in watched.delegates]
    recipients = [node.keeper.recipient(watched.city.network) for node in nodes]
    # As if no keys had been made: a delegate signs one key set for an epoch, and the rows of this burst come last.
    watched.disk.delete_many([watched.row(node.id, b"k" + watched.city.epoch.root) for node in nodes])
    for node in nodes:
        node.keeper._keys = None

    def adopt() -> bytes:
        dealt = [node.keeper.deal(watched.city.epoch, recipients, None).to_bytes() for node in nodes]
        return messages.message("adopt", [b"", b"", *dealt])

    first, second = adopt(), adopt()
    answers = watched.handle([Request(nodes[0].address, body) for body in (first, second, first)])
    assert [messages.parse(answer).kind for answer in answers] == ["adopted", "refused", "adopted"]
    assert "another key set" in b"".join(messages.parse(answers[1]).parts).decode()


def called(watched: Watched, height: int) -> records.Election:
    """An election of the same delegates after the batch of that height."""
    inside = watched.city._city
    validators = dpos.ValidatorSet(1, [(node, 1) for node in watched.delegates])
    tip = inside.node(watched.delegates[0])._ledger.tip
    return records.Election(inside.sender.identity, watched.city.epoch, height, tip.digest, validators)


def test_a_delegate_that_has_handed_over_says_nothing_more_in_its_epoch(watched: Watched) -> None:
    assert prepare(watched, 1) == ["report"] * 4
    for node in watched.delegates:
        election = called(watched, watched.city.height)
        watched.city._city.node(node).keeper.sign_handover(election, watched.city.keys)
    assert prepare(watched, 2) == ["refused"] * 4


def test_a_handover_with_keys_or_a_height_that_is_wrong_is_not_signed(watched: Watched) -> None:
    node = watched.city._city.node(watched.delegates[0])
    for height in (watched.city.height, watched.city.height + 1):
        parts = [called(watched, height).to_bytes(), watched.city.keys.to_bytes()]
        (answer,) = watched.handle([Request(node.address, messages.message("handover", parts))])
        assert messages.parse(answer).kind == "refused"


def test_every_ack_rests_on_a_row_of_its_burst(watched: Watched) -> None:
    watched.city.send_many([b"%d" % at for at in range(5)])
    watched.city.settle()
    acks = [(poh.Ack.from_bytes(body), rows) for _, said, body, rows in watched.answered if said == "ack"]
    assert len(acks) == 20
    for ack, rows in acks:
        key = watched.row(ack.node, fragment_key(ack.tx_id, ack.index))
        (row,) = [written[key] for written in rows if key in written]
        request, fragment = messages.answer(row, "held", 2)
        ack.verify_answers(poh.HoldRequest.from_bytes(request))
        ack.verify_held(fragment)


def test_every_word_of_a_delegate_rests_on_its_journal(watched: Watched) -> None:
    """The row that was written with a word makes a delegate that stands by it, and contradicts what differs."""
    epoch = watched.city._city.epoch
    watched.city.send(b"x")
    assert prepare_and_look(watched)
    votes = proposals = 0
    for _, said, body, rows in watched.answered:
        if said == "vote":
            slot, speaker = dpos.Vote.from_bytes(body).slot, dpos.Vote.from_bytes(body).voter
            votes += 1
        elif said == "proposal":
            slot = dpos.Proposal.from_bytes(body).slot
            speaker = dpos.leader(epoch.validators, epoch.seed, slot.height, slot.attempt)
            proposals += 1
        else:
            continue
        key = watched.row(speaker, b"d")
        (row,) = [written[key] for written in rows if key in written]
        identity = watched.city._city.node(speaker)._identity
        delegate = dpos.Delegate.restore(identity, epoch.validators, epoch.network, epoch.seed, row)
        assert delegate.tip[0] == slot.height - 1
        bodies = [value for written in rows for key, value in written.items() if key[2:] == slot.digest]
        assert bodies, "what was accepted is kept with it"
    assert (votes, proposals) == (4, 1)


def prepare_and_look(watched: Watched) -> bool:
    """Whether each report of the next height came with a row in its node's journal."""
    height = watched.city.height + 1
    body = messages.message("prepare", [messages.integer(height), messages.integer(1)])
    first = len(watched.answered)
    watched.handle([Request(watched.city._city.node(node).address, body) for node in watched.delegates])
    reports = [(dpos.Report.from_bytes(b), rows) for _, said, b, rows in watched.answered[first:] if said == "report"]
    keys = [{key for written in rows for key in written} for _, rows in reports]
    assert {report.voter for report, _ in reports} == set(watched.delegates)
    return all(watched.row(report.voter, b"d") in there for (report, _), there in zip(reports, keys, strict=True))
