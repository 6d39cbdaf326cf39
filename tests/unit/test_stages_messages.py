"""The pure pieces between stages: messages, splitting, sequences, numbers, settings."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain import City, records
from city_chain.adapters.clock import ManualClock
from city_chain.errors import CityChainError, DeadlineError, InputError, ProtocolError, VerificationError
from city_chain.levels.numbers import Numbers
from city_chain.levels.settings import Settings
from city_chain.node import Joining
from city_chain.node.ledger import SEQUENCE_WINDOW, SenderState
from city_chain.proofs import dpos, poh
from city_chain.stages import messages
from city_chain.stages.patience import leaving_time
from city_chain.stages.vitals import Vitals

pytestmark = pytest.mark.unit

sizes = st.lists(st.integers(0, 50), max_size=60)


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_the_table_has_every_kind_that_is_answered() -> None:
    with City.local(nodes=4, k=2, n=4) as city:
        answered = {*city._city._host._answers, *object.__new__(Joining).answers()}
    named = set(re.findall(r"^``(\w+)``", messages.__doc__ or "", re.MULTILINE))
    before = {"token", "log_in", "renew", "log_out"}  # a door answers these, and gossip those, before any node is asked
    assert named == answered | before | {"greet", "letter"}


# --- split -----------------------------------------------------------------------------------------------------------


@given(sizes, st.integers(1, 60), st.integers(1, 9))
def test_split_loses_nothing_and_keeps_the_order(weights: list[int], bytes_max: int, count_max: int) -> None:
    items = list(enumerate(weights))
    runs = messages.split([(weight, (at, weight)) for at, weight in items], bytes_max, count_max)
    assert [item for run in runs for item in run] == items
    for run in runs:
        assert 1 <= len(run) <= count_max
        assert sum(weight for _, weight in run) <= bytes_max or len(run) == 1
    for run, following in pairwise(runs):  # as full as they get
        assert len(run) == count_max or sum(w for _, w in run) + following[0][1] > bytes_max


def test_split_of_nothing() -> None:
    assert messages.split([]) == []


# --- messages --------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=20), st.lists(st.binary(max_size=50), max_size=10))
def test_a_message_is_what_it_was(kind: str, parts: list[bytes]) -> None:
    try:
        body = messages.message(kind, parts)
    except InputError:
        return
    found = messages.parse(body)
    assert (found.kind, found.parts) == (kind, parts)
    if kind != "refused":
        assert messages.answer(body, kind, len(parts)) == parts
        with pytest.raises(ProtocolError):
            messages.answer(body, kind, len(parts) + 1)
        with pytest.raises(ProtocolError):
            messages.answer(body, kind + "x")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    for call in (lambda: messages.parse(body), lambda: messages.answer(body, "held")):
        try:
            call()
        except ProtocolError as error:
            assert len(str(error)) < 2000  # noqa: PT017
    assert isinstance(messages.ack_or_reason(body), str | poh.Ack)


@given(st.text(max_size=2000) | st.binary(max_size=2000))
def test_refusals_are_bounded(reason: str | bytes) -> None:
    body = messages.refused(str(reason))
    assert len(body) < 3000
    with pytest.raises(ProtocolError, match="refused"):
        messages.answer(body, "held")
    hostile = messages.message(
        "refused", [reason if isinstance(reason, bytes) else reason.encode(errors="replace")] * 50
    )
    with pytest.raises(ProtocolError) as caught:
        messages.answer(hostile, "held")
    assert len(str(caught.value)) < 1000


@given(st.integers(0, 2**64 - 1), st.binary(max_size=20))
def test_integers(value: int, part: bytes) -> None:
    assert messages.integer_of(messages.integer(value)) == value
    if len(part) == 8:
        assert messages.integer(messages.integer_of(part)) == part
    else:
        with pytest.raises(ProtocolError):
            messages.integer_of(part)


@given(st.floats(0, 1e9), st.floats(-10, 1e5))
def test_a_fan_out_leaves_time(now: float, left_s: float) -> None:
    deadline = now + left_s
    until = leaving_time(now, deadline)
    assert until <= deadline
    assert deadline - until <= 2.0 + 1e-6
    assert until >= now or left_s <= 0


# --- the sender's window ---------------------------------------------------------------------------------------------


def entry(sequence: int, vrf_seed: int = 1) -> records.Entry:
    """An entry of a transaction with that sequence."""
    identity = records.Identity(bytes([vrf_seed]) * 32)
    return ENTRIES.setdefault((sequence, vrf_seed), _entry(identity, sequence))


ENTRIES: dict[tuple[int, int], records.Entry] = {}
DELEGATE = records.Identity(b"\x09" * 32)
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(DELEGATE.id, 1)]))
CANDIDATES = records.Candidates(EPOCH.network, "x", [(DELEGATE.id, 1 << 16, "d")])


def _entry(identity: records.Identity, sequence: int) -> records.Entry:
    transaction = records.Transaction(identity, network=EPOCH.network, sequence=sequence, hlc=1, payload=b"")
    (selection,) = records.Draw(identity, EPOCH).select_many(CANDIDATES, identity.id, [sequence], 1)
    manifest = records.Manifest(
        identity,
        transaction=transaction,
        length=len(transaction.to_bytes()),
        k=1,
        n=1,
        quorum=1,
        fragment_hashes=[bytes(32)],
        selection=selection,
    )
    return records.Entry.transaction(manifest)


@given(st.lists(st.integers(0, 12), max_size=30))
def test_the_window_is_a_set_of_numbers(sequences: list[int]) -> None:
    state, model = SenderState(), set[int]()
    for sequence in sequences:
        if sequence in model:
            with pytest.raises(VerificationError, match="committed already"):
                state.after(entry(sequence))
            continue
        model.add(sequence)
        state = state.after(entry(sequence))
        assert set(range(state.next_sequence)) | state.ahead == model
        assert state.next_sequence not in model
        assert all(number > state.next_sequence for number in state.ahead)
        assert state.vrf_public == entry(sequence).vrf_public


def test_the_window_has_an_end() -> None:
    state = SenderState(next_sequence=10)
    assert state.after(entry(10 + SEQUENCE_WINDOW - 1)).ahead == {10 + SEQUENCE_WINDOW - 1}
    for sequence in (10 + SEQUENCE_WINDOW, 2**40, 2**64 - 1):
        with pytest.raises(VerificationError, match="may be ahead"):
            state.after(entry(sequence))
    with pytest.raises(VerificationError, match="committed already"):
        state.after(entry(9))


def test_a_sender_keeps_its_key() -> None:
    state = SenderState().after(entry(0))
    with pytest.raises(VerificationError, match="another VRF key"):
        state.after(entry(1, vrf_seed=2))


# --- numbers ---------------------------------------------------------------------------------------------------------


@given(st.data())
def test_numbers_are_given_once(data: st.DataObject) -> None:
    """Taken, sent, failed, committed, sent again: a number has one user at a time, and none is forgotten."""
    committed = set(data.draw(st.sets(st.integers(0, 5))))
    journalled = set(data.draw(st.sets(st.integers(0, 8)))) - committed

    def state() -> SenderState:
        lowest = next(number for number in range(1000) if number not in committed)
        return SenderState(b"", lowest, frozenset(number for number in committed if number > lowest))

    numbers = Numbers(state(), journalled)
    used: set[int] = set()
    sending: list[int] = []
    for _ in range(data.draw(st.integers(0, 25))):
        action = data.draw(st.sampled_from(["take", "burst", "again", "commit", "fail", "journal", "return"]))
        if action == "take":
            number = numbers.take(1 << 20)
            assert number not in used | committed | journalled
            assert number == next(n for n in range(1000) if n not in used | committed | journalled)
            used.add(number)
        elif action == "burst":
            taken = numbers.take_many(3, 0, state, lambda: False)
            assert taken == sorted(taken)
            assert not set(taken) & (used | committed | journalled)
            used.update(taken)
            sending += taken
        elif action == "again" and used:
            number = data.draw(st.sampled_from(sorted(used)))
            numbers.begin([number])
            sending.append(number)
        elif action == "return" and (idle := sorted(used - set(sending))):
            number = data.draw(st.sampled_from(idle))
            numbers.give_back(number)
            used.remove(number)
        elif sending:
            number = data.draw(st.sampled_from(sending))
            sending.remove(number)
            if action == "commit":
                committed.add(number)
            stays = action == "journal"
            numbers.end([(number, b"t")], state(), {b"t": stays}.__getitem__)
            if number not in sending:
                used.discard(number)
                if action == "journal" and number not in committed:
                    journalled.add(number)


def test_a_burst_waits_for_room() -> None:
    state = [SenderState()]
    numbers = Numbers(state[0], ())
    first = numbers.take_many(SEQUENCE_WINDOW, 0, lambda: state[0], lambda: True)
    with pytest.raises(DeadlineError, match="send fewer at once"):
        numbers.take_many(1, 0, lambda: state[0], lambda: False)
    taken: list[list[int]] = []
    waiting = threading.Thread(target=lambda: taken.append(numbers.take_many(5, 0, lambda: state[0], lambda: True)))
    waiting.start()
    state[0] = SenderState(b"", SEQUENCE_WINDOW)
    numbers.end([(number, b"t") for number in first], state[0], lambda _: False)
    waiting.join(10)
    assert taken == [list(range(SEQUENCE_WINDOW, SEQUENCE_WINDOW + 5))]


def test_a_burst_larger_than_the_window_goes_alone() -> None:
    numbers = Numbers(SenderState(), ())
    assert numbers.take_many(5000, 0, SenderState, lambda: False) == list(range(5000))


def test_numbers_of_an_earlier_process() -> None:
    numbers = Numbers(SenderState(), ())
    numbers.begin([3])
    assert [numbers.take(1 << 20) for _ in range(4)] == [0, 1, 2, 4]
    numbers.begin([2**64 - 1])  # none of ours: nothing is set aside for it
    assert numbers.take(1 << 20) == 5


# --- settings --------------------------------------------------------------------------------------------------------

anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.binary(max_size=5)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(asdict(Settings()), anything)))
def test_settings_are_right_or_refused(given_: dict[str, Any]) -> None:
    try:
        settings = Settings(**given_)
    except (TypeError, InputError) as error:
        assert len(str(error)) < 1000  # noqa: PT017
        return
    assert Settings(**asdict(settings)) == settings
    assert 1 <= settings.validators <= settings.nodes
    assert settings.nodes >= poh.write_quorum(settings.k, settings.n)


@given(st.integers(1, 1024), st.integers(1, 128), st.integers(1, 1024), st.integers(1, 1024), st.integers(1, 1024))
def test_settings_in_range(nodes: int, validators: int, k: int, n: int, districts: int) -> None:
    right = validators <= nodes and k <= n and nodes >= poh.write_quorum(min(k, n), n)
    try:
        Settings("x", nodes, validators, k, n, districts)
    except InputError:
        assert not right
    else:
        assert right


# --- vitals ----------------------------------------------------------------------------------------------------------


def test_failures_are_forgotten() -> None:
    clock = ManualClock()
    vitals = Vitals(clock)
    for _ in range(3):
        vitals.failed(b"a")
    assert vitals.doubt(b"a") == 3
    vitals.worked(b"b")
    assert vitals.doubt(b"a") == 3
    clock.advance(61)
    assert vitals.doubt(b"a") == 0
    vitals.failed(b"a")
    vitals.worked(b"a")
    assert vitals.doubt(b"a") == 0


def test_reasons_tell_our_own_errors_only() -> None:
    assert messages.reason(CityChainError("ours")) == "ours"
    assert messages.reason(ValueError("secret")) == "ValueError"
