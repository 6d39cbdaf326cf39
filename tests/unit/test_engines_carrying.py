"""The carrier of delegates' messages, over a made-up transport: deadlines, rests, bursts, and who is asked what."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from city_chain import records
from city_chain.errors import UnavailableError
from city_chain.node.agreeing import EVERYBODY, WANTED, place_of
from city_chain.node.engines.carrying import CarryingEngine
from city_chain.node.judge import Case
from city_chain.ports import Request, Response
from city_chain.proofs import dpos
from city_chain.stages import messages

pytestmark = pytest.mark.unit

NODES = sorted(records.Identity.child(bytes(32), b"node", at).id for at in range(4))
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(node, 1) for node in NODES]))

type Answer = Callable[[int, records.Message], bytes | OSError | None]


class Time:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)


class Wire:
    """A transport, and gather, that answers at once or never; waiting moves the clock."""

    def __init__(self, time: Time, answer: Answer) -> None:
        self.time = time
        self.answer = answer
        self.asked: list[tuple[float, int, records.Message]] = []
        self.pending = 0
        self._count = 0
        self._there: list[Response] = []

    def gather(self, requests: Sequence[Request], deadline: float) -> Wire:
        self.deadline = deadline
        assert not requests
        return self

    def send(self, requests: Sequence[Request]) -> int:
        first = self._count
        for request in requests:
            message = messages.parse(request.body)
            place = int(request.address)
            self.asked.append((self.time.now, place, message))
            body = self.answer(place, message)
            self.pending += 1
            if isinstance(body, OSError):
                self._there.append(Response(self._count, request.address, None, body))
            elif body is not None:
                self._there.append(Response(self._count, request.address, body))
            self._count += 1
        return first

    def take(self, until: float) -> Iterator[Response]:
        if not self._there:
            self.time.now = max(self.time.now, until)
        while self._there:
            self.pending -= 1
            yield self._there.pop(0)


class Carrying(CarryingEngine):
    name = "carrying"


def engine(answer: Answer) -> tuple[Carrying, Wire, Any]:
    time = Time()
    wire = Wire(time, answer)
    ledger: Any = SimpleNamespace(tip=SimpleNamespace(height=0), epoch=EPOCH, receipts=lambda ids: [])
    members = SimpleNamespace(addresses={node: str(place) for place, node in enumerate(NODES)})
    roster: Any = SimpleNamespace(members=lambda: members)
    made = Carrying(ledger, SimpleNamespace(), roster, wire, time, "x")  # type: ignore[arg-type]
    monkey: Any = made
    monkey._tell = monkey._teach = lambda *_: None
    return made, wire, ledger


def said(height: int, rest_us: int, accepted: int, rest: Sequence[bytes] = ()) -> bytes:
    return messages.message("said", [*map(messages.integer, (height, rest_us, accepted)), *rest])


def move_time(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    """Pauses of the carrier move the clock too."""

    class Pause:
        def wait(self, seconds: float) -> None:
            wire.time.now += seconds

    monkeypatch.setattr("city_chain.node.engines.carrying.threading.Event", Pause)


def test_nothing_under_way_is_found_out_with_one_question_each() -> None:
    made, wire, _ = engine(lambda place, message: said(0, 100_000, 0))
    assert made.decide(None, wire.time.now + 5) == []
    assert [place for _, place, _ in wire.asked] == [0, 1, 2, 3]
    assert wire.time.now == 1000.0


def test_the_deadline_is_kept_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made, wire, _ = engine(lambda place, message: None)
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError) as caught:
        made.decide(None, wire.time.now + 2)
    assert 1002.0 <= wire.time.now < 1002.01
    assert (caught.value.needed, caught.value.had) == (3, 0)
    assert len(wire.asked) <= 4 * 9  # what was not answered counts as lost after a quarter of a second


def test_who_rests_is_not_asked_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is under way, and all wait for their rounds to end: nobody is asked in between."""
    made, wire, _ = engine(lambda place, message: said(0, 100_000, 1))
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError):
        made.decide(None, wire.time.now + 2)
    for place in range(4):
        times = [at for at, who, _ in wire.asked if who == place]
        assert len(times) <= 21
        assert all(later - earlier > 0.099 for earlier, later in itertools.pairwise(times))


def test_rests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wants never to be asked again, or without end, gets neither."""
    made, wire, _ = engine(lambda place, message: said(0, 0 if place == 0 else 2**63, 1))
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError):
        made.decide(None, wire.time.now + 2)
    counts = [sum(who == place for _, who, _ in wire.asked) for place in range(4)]
    assert counts[0] <= 2001
    assert all(4 <= count <= 6 for count in counts[1:])


@pytest.mark.parametrize(
    "wrong", [b"", b"garbage", messages.message("tip", []), messages.refused("no"), said(0, 0, 0)[:9]]
)
def test_who_answers_wrongly_is_asked_less_and_less_often(wrong: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wire, _ = engine(lambda place, message: wrong if place == 2 else said(0, 100_000, 1))
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError, match=NODES[2].hex()[:8]):
        made.decide(None, wire.time.now + 4)
    times = [at for at, who, _ in wire.asked if who == 2]
    rests = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) <= 14
    assert rests == sorted(rests) or max(abs(rest - 0.5) for rest in rests[5:]) < 0.01
    assert rests[-1] >= 0.49


def test_what_is_said_is_carried_to_whom_it_is_for_and_once() -> None:
    spoken: list[int] = []

    def answer(place: int, message: records.Message) -> bytes:
        if place == 1 and not spoken:
            spoken.append(1)
            return said(0, 10_000_000, 1, [place_of(EVERYBODY) + b"all", place_of(3) + b"three", place_of(1) + b"me"])
        ledger.tip.height = len(wire.asked) >= 7
        return said(0, 10_000_000, 1)

    made, wire, ledger = engine(answer)
    made.decide(None, wire.time.now + 5)
    carried = {place: list(message.parts[1:]) for _, place, message in wire.asked[4:]}
    to_all = place_of(1) + b"all"
    assert carried == {0: [to_all], 2: [to_all], 3: [to_all, place_of(1) + b"three"]}
    assert len(wire.asked) == 7


def test_bursts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that talks without end fills no more than its own room at each of the others."""
    noise = [place_of(EVERYBODY) + bytes([at % 256]) for at in range(1000)]
    made, wire, _ = engine(lambda place, message: said(0, 0, 1, noise if place == 0 else ()))
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError):
        made.decide(None, wire.time.now + 0.05)
    assert max(len(message.parts) for _, _, message in wire.asked) == 1 + 256


def test_a_commit_elsewhere_ends_the_carrying() -> None:
    def answer(place: int, message: records.Message) -> bytes:
        ledger.tip.height = 1
        return said(0, 0, 1)

    made, wire, ledger = engine(answer)
    assert made.decide(None, wire.time.now + 5) == []
    assert len(wire.asked) == 4


A, B = b"A" * 32, b"B" * 32


def read_bodies_as_their_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of a batch is made up of its digest alone."""

    def of(parts: Sequence[bytes]) -> Any:
        return SimpleNamespace(batch=SimpleNamespace(digest=parts[0]))

    monkeypatch.setattr(Case, "of", of)


@pytest.mark.parametrize(
    "holders", [{A: [0], B: [0]}, {A: [0], B: [1]}, {A: [1], B: [0]}, {A: [1], B: [1]}], ids=["00", "01", "10", "11"]
)
@pytest.mark.parametrize(
    "lack",
    [messages.refused("no"), messages.message("body", [bytes(32)]), b"garbage"],
    ids=["refused", "another", "garbage"],
)
def test_who_has_not_one_body_is_asked_for_others(
    holders: dict[bytes, list[int]], lack: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 and 3 want two bodies, which others have: each lack is about that body, and costs no time."""
    had = {place: {digest for digest, places in holders.items() if place in places} for place in range(4)}
    read_bodies_as_their_digests(monkeypatch)

    def answer(place: int, message: records.Message) -> bytes:
        if message.kind == "body":
            (digest,) = message.parts
            return messages.message("body", [digest]) if digest in had[place] else lack
        if message.kind == "offer":
            had[place].add(message.parts[0])
        if all(len(had[at]) == 2 for at in (2, 3)):
            ledger.tip.height = 1
        wants = [digest for digest in (A, B) if digest not in had[place]] if place in (2, 3) else []
        return said(0, 20_000, 1, [place_of(WANTED) + digest for digest in wants])

    made, wire, ledger = engine(answer)
    move_time(monkeypatch, wire)
    made.decide(None, wire.time.now + 5)
    assert wire.time.now < 1000.2
    assert sum(message.kind == "body" for _, _, message in wire.asked) <= 12


def test_who_has_not_a_body_hears_the_others_and_is_not_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 wants a body that nobody has, and says something to all while they answer that."""

    def answer(place: int, message: records.Message) -> bytes:
        if message.kind == "body":
            return messages.refused("no such batch was voted on here")
        asked = sum(who == place for _, who, _ in wire.asked)
        what = {1: place_of(WANTED) + A, 2: place_of(EVERYBODY) + b"hello"}
        return said(0, 20_000, 1, [what[asked]] if place == 2 and asked in what else ())

    made, wire, _ = engine(answer)
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError, match="no such batch was voted on here"):
        made.decide(None, wire.time.now + 1)
    heard = {place: at for at, place, message in wire.asked if place_of(2) + b"hello" in message.parts[1:]}
    assert heard.keys() == {0, 1, 3}
    for place in heard:
        times = [at for at, who, _ in wire.asked if who == place]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.021
    assert sum(message.kind == "body" for _, _, message in wire.asked) == 3


def test_who_did_not_answer_about_a_body_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 alone has what 2 wants, and cannot be reached when it is asked first."""
    read_bodies_as_their_digests(monkeypatch)
    lost: list[int] = []

    def answer(place: int, message: records.Message) -> bytes | OSError:
        if message.kind == "body" and place == 0:
            lost.append(0)
            return messages.message("body", [A]) if lost[1:] else OSError("away")
        if message.kind == "body":
            return messages.refused("no")
        if message.kind == "offer" and place == 2:
            ledger.tip.height = 1
        return said(0, 20_000, 1, [place_of(WANTED) + A] if place == 2 else ())

    made, wire, ledger = engine(answer)
    move_time(monkeypatch, wire)
    made.decide(None, wire.time.now + 5)
    assert wire.time.now < 1000.2
    assert lost[1:]


def test_a_body_that_came_twice_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three others are asked at once and have it: who was slower is left alone no longer than the first."""
    read_bodies_as_their_digests(monkeypatch)

    def answer(place: int, message: records.Message) -> bytes:
        if message.kind == "body":
            return messages.message("body", [A])
        wants = place == 2 and not any(message.kind == "offer" for _, _, message in wire.asked)
        return said(0, 20_000, 1, [place_of(WANTED) + A] if wants else ())

    made, wire, _ = engine(answer)
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError, match="no answer"):
        made.decide(None, wire.time.now + 1)
    assert sorted(place for _, place, message in wire.asked if message.kind == "body") == [0, 1, 3]


def test_letters_of_one_sender_have_bounded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar that has megabytes carried to everybody costs nobody more than a few of them, and no other's letters."""
    rubbish = [place_of(EVERYBODY) + bytes(2 << 20)] * 8
    honest = place_of(EVERYBODY) + b"hello"
    heard: list[list[bytes]] = []

    said_by: Counter[int] = Counter()

    def answer(place: int, message: records.Message) -> bytes:
        said_by[place] += 1
        heard.append([letter for letter in message.parts[1:] if place == 2])
        first = {0: [honest], 3: rubbish}.get(place, []) if said_by[place] <= 2 else []
        return said(0, 50_000, 1, first)

    made, wire, _ = engine(answer)
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError):
        made.decide(None, wire.time.now + 1)
    most = max(sum(map(len, letters)) for letters in heard)
    assert 2 << 20 <= most <= (4 << 20) + 100
    assert any(place_of(0) + b"hello" in letters for letters in heard)


def test_a_letter_that_no_machine_says_is_refused_with_all_that_came_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fat = [place_of(EVERYBODY) + b"before", place_of(EVERYBODY) + bytes(5 << 20)]
    made, wire, _ = engine(lambda place, message: said(0, 50_000, 1, fat if place == 3 else []))
    move_time(monkeypatch, wire)
    with pytest.raises(UnavailableError, match="5242882 bytes to be carried"):
        made.decide(None, wire.time.now + 1)
    assert not any(message.parts[1:] for _, place, message in wire.asked)
    asked = [place for _, place, _ in wire.asked]
    assert asked.count(3) < asked.count(2), "it is left alone, longer each time"
