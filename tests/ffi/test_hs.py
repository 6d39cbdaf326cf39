"""HotStuff from Python: four machines over a bad network; hostile bytes; every argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import hs
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.records import Identity
from tests.ffi.test_algorithms_poison import POISONS, Case, check

pytestmark = pytest.mark.ffi

CHAIN, EPOCH, GENESIS = bytes([7]) * 32, 3, bytes([1]) * 32
KEYS = [Identity(bytes([place]) * 32) for place in range(4)]
VALIDATORS = [(key.id, 1) for key in KEYS]
SEEDS = [bytes([0x40 + place]) * 32 for place in range(4)]
SHOWN = [hs.aggregate_key(seed) for seed in SEEDS]
STEP = 200_000


def shared(place: int) -> dict[str, Any]:
    """What makes certificates one signature."""
    return {"aggregate_keys": SHOWN, "aggregate_seed": SEEDS[place]}


def machine(place: int, **more: Any) -> hs.HotStuff:
    return hs.HotStuff(CHAIN, EPOCH, VALIDATORS, KEYS[place], GENESIS, timeout_us=100_000, **more)


class Town:
    """Four machines, their disks, and the messages on their way."""

    def __init__(self, *, aggregates: bool = False) -> None:
        self.keys = SHOWN if aggregates else None
        self.machines = [machine(place, **shared(place) if aggregates else {}) for place in range(4)]
        self.disks: list[list[bytes]] = [[] for _ in range(4)]
        self.commits: list[list[hs.Effect]] = [[] for _ in range(4)]
        self.wire: list[tuple[int, int, bytes]] = []
        self.now = 0
        for place, one in enumerate(self.machines):
            one.start(0)
            self.act(place)

    def act(self, place: int) -> None:
        one = self.machines[place]
        while effects := hs.effects(one):
            for effect in effects:
                match effect.kind:
                    case "persist":
                        self.disks[place].append(effect.data)
                        one.durable(effect.number)
                    case "send":
                        self.wire.append((place, effect.number, effect.data))
                    case "broadcast":
                        self.wire.extend((place, to, effect.data) for to in range(4) if to != place)
                    case "need_payload" if one.round == effect.number:
                        one.propose(b"round %d" % effect.number, self.now)
                    case "validate":
                        one.payload_result(effect.block, True, self.now)
                    case "commit":
                        self.commits[place].append(effect)

    def deliver(self, at: int, *, keep: bool = False) -> None:
        sender, to, message = self.wire[at] if keep else self.wire.pop(at)
        with suppress(ProtocolError, VerificationError):  # out of date
            self.machines[to].handle(sender, message, self.now)
        self.act(to)

    def tick(self) -> None:
        self.now += STEP
        for place, one in enumerate(self.machines):
            one.tick(self.now)
            self.act(place)

    def restart(self, place: int) -> None:
        more = shared(place) if self.keys else {}
        self.machines[place] = hs.HotStuff.restore(
            CHAIN, EPOCH, VALIDATORS, KEYS[place], GENESIS, self.disks[place], timeout_us=100_000, **more
        )
        self.machines[place].start(self.now)
        self.act(place)

    def check(self) -> int:
        """No fork, and every commit proved; returns how many blocks all have."""
        chains = [list(dict.fromkeys(effect.block for effect in some)) for some in self.commits]
        longest = max(chains, key=len)
        assert all(chain == longest[: len(chain)] for chain in chains)
        for effect in {effect for some in self.commits for effect in some}:
            proven = hs.verify_commit(effect.extra, VALIDATORS, CHAIN, EPOCH, self.keys)
            assert proven == hs.payload_digest(effect.data)
            assert hs.commit_block(effect.extra)[:2] == (effect.number, effect.block)
        return min(map(len, chains))


def test_four_agree() -> None:
    town = Town()
    for _ in range(300):
        town.deliver(0)
    assert town.check() > 40
    assert {one.silent for one in town.machines} == {False}
    assert all(one.committed[0] < one.high_qc[0] < one.round + 1 for one in town.machines)
    assert all(0 < one.pending < 3 for one in town.machines)
    for one in town.machines:
        waiting = one.waiting()
        assert len([payload for _, _, payload in waiting if payload]) >= one.pending
        assert all(one.block(block) == (round_, one.block(block)[1], payload) for round_, block, payload in waiting)
    effect = town.commits[0][5]
    assert {len(one.extra) for some in town.commits for one in some} == {497}  # as docs/algorithms/hs.md says
    others = [*VALIDATORS[:3], (Identity(b"\xee" * 32).id, 1)]
    for wrong in ((others[::-1], CHAIN, EPOCH), (VALIDATORS, GENESIS, EPOCH), (VALIDATORS, CHAIN, EPOCH + 1)):
        with pytest.raises(VerificationError):
            hs.verify_commit(effect.extra, *wrong)
    for at in range(6, len(effect.extra), 7):
        spoilt = bytearray(effect.extra)
        spoilt[at] ^= 1
        with pytest.raises((VerificationError, InputError)):
            hs.verify_commit(spoilt, VALIDATORS, CHAIN, EPOCH)


def test_four_agree_by_certificates_of_one_signature() -> None:
    town, plain = Town(aggregates=True), Town()
    for _ in range(120):
        town.deliver(0)
        plain.deliver(0)
    assert town.check() == plain.check() > 10
    assert {message[:4] for _, _, message in town.wire} <= {b"CChw", b"CChb"}
    proof, other = town.commits[0][5].extra, plain.commits[0][5].extra
    assert (len(proof), len(other)) == (353, 353 + 3 * 64 - 48)
    # Each form is for its committee alone.
    for wrong, keys in ((proof, None), (other, SHOWN), (proof, SHOWN[::-1])):
        with pytest.raises(VerificationError):
            hs.verify_commit(wrong, VALIDATORS, CHAIN, EPOCH, keys)
    for at in range(6, len(proof), 11):
        spoilt = bytearray(proof)
        spoilt[at] ^= 1
        with pytest.raises((VerificationError, InputError)):
            hs.verify_commit(spoilt, VALIDATORS, CHAIN, EPOCH, SHOWN)
    before = town.check()
    town.wire.clear()
    for place in range(4):
        town.restart(place)
    for _ in range(10):
        for _ in range(min(len(town.wire), 40)):
            town.deliver(0)
        town.tick()
    assert town.check() > before


def test_a_share_that_was_signed_twice_is_evidence() -> None:
    votes: list[bytes] = []
    for genesis in (GENESIS, CHAIN):  # one validator in two rooms
        one = hs.HotStuff(CHAIN, EPOCH, VALIDATORS, KEYS[0], genesis, leaders=[0, 1, 2, 3, 0], **shared(0))
        one.start(0)
        leader = hs.HotStuff(CHAIN, EPOCH, VALIDATORS, KEYS[1], genesis, leaders=[0, 1, 2, 3, 0], **shared(1))
        leader.start(0)
        for effect in hs.effects(leader):
            if effect.kind == "need_payload":
                leader.propose(b"one", 0)
        for effect in hs.effects(leader):
            if effect.kind == "persist":
                leader.durable(effect.number)
        (proposal,) = (effect.data for effect in hs.effects(leader) if effect.kind == "broadcast")
        hs.effects(one)
        one.handle(1, proposal, 0)
        for effect in hs.effects(one):
            if effect.kind == "validate":
                one.payload_result(effect.block, True, 0)
        for effect in hs.effects(one):
            if effect.kind == "persist":
                one.durable(effect.number)
        votes += [effect.data for effect in hs.effects(one) if effect.kind == "send"]
    assert [vote[:4] for vote in votes] == [b"CChw", b"CChw"]
    judge = hs.HotStuff(CHAIN, EPOCH, VALIDATORS, KEYS[2], GENESIS, leaders=[0, 1, 2, 3, 0], **shared(2))
    judge.start(0)
    for vote in votes:
        judge.handle(0, vote, 0)
    (evidence,) = (effect.data for effect in hs.effects(judge) if effect.kind == "evidence")
    assert hs.verify_evidence(evidence, VALIDATORS, CHAIN, EPOCH, SHOWN) == 0
    with pytest.raises(VerificationError):
        hs.verify_evidence(evidence, VALIDATORS, CHAIN, EPOCH + 1, SHOWN)


def test_keys_without_a_proof_of_possession_are_refused() -> None:
    swapped = [SHOWN[0], hs.AggregateKey(SHOWN[1].public, SHOWN[0].possession), *SHOWN[2:]]
    with pytest.raises(VerificationError, match=r"keys\[1\].*possession"):
        machine(0, aggregate_keys=swapped, aggregate_seed=SEEDS[0])
    with pytest.raises(VerificationError, match=r"keys\[1\]"):
        hs.verify_commit(started_proof(), VALIDATORS, CHAIN, EPOCH, swapped)
    for keys, words in ((SHOWN[:3], "3 aggregate keys for 4"), ([*SHOWN[:3], SHOWN[0]], "twice")):
        with pytest.raises(InputError, match=words):
            machine(0, aggregate_keys=keys, aggregate_seed=SEEDS[0])
    for more, words in (
        ({"aggregate_keys": SHOWN}, "this validator none"),
        ({"aggregate_seed": SEEDS[0]}, "the committee has none"),
        ({"aggregate_keys": SHOWN, "aggregate_seed": SEEDS[1]}, "not that of place 0"),
        ({"aggregate_keys": SHOWN, "aggregate_seed": b"short"}, "exactly 32"),
        ({"aggregate_keys": [(b"", b"")]}, "exactly 96"),
    ):
        with pytest.raises(InputError, match=words):
            machine(0, **more)
    assert hs.aggregate_key(SEEDS[0]) == SHOWN[0] != hs.aggregate_key(SEEDS[1])
    assert 4 < hs.AGGREGATE_FROM < 200


def started_proof() -> bytes:
    town = Town()
    for _ in range(40):
        town.deliver(0)
    return town.commits[0][0].extra


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "deliver", "deliver", "double", "drop", "tick", "restart"]), st.integers(0, 2**16)
    ),
    min_size=50,
    max_size=250,
)


@given(moves=MOVES)
@settings(max_examples=40, deadline=None)
def test_no_fork_and_progress_whatever_the_network_did(moves: list[tuple[str, int]]) -> None:
    town = Town()
    for move, number in moves:
        match move:
            case "tick":
                town.tick()
            case "restart":
                town.restart(number % 4)
            case _ if not town.wire:
                town.tick()
            case "drop":
                town.wire.pop(number % len(town.wire))
            case _:
                town.deliver(number % len(town.wire), keep=move == "double")
    before = town.check()
    for _ in range(40):
        for _ in range(min(len(town.wire), 400)):
            town.deliver(0)
        town.tick()
    assert town.check() > before


def test_all_are_killed_at_once() -> None:
    town = Town()
    for cut in (50, 61, 72):
        for _ in range(cut):
            town.deliver(0)
        town.wire.clear()
        before = town.check()
        for place in range(4):
            town.restart(place)
        for _ in range(20):
            for _ in range(min(len(town.wire), 100)):
                town.deliver(0)
            town.tick()
        assert town.check() > before


def test_a_snapshot_stands_for_the_journal() -> None:
    town = Town()
    for _ in range(100):
        town.deliver(0)
    snapshot = town.machines[2].snapshot()
    again = hs.HotStuff.restore(CHAIN, EPOCH, VALIDATORS, KEYS[2], GENESIS, [snapshot])
    assert again.snapshot() == snapshot
    lost = hs.HotStuff.restore(CHAIN, EPOCH, VALIDATORS, KEYS[2], GENESIS, [], amnesia=True)
    lost.start(0)
    (persist,) = (effect for effect in hs.effects(lost) if effect.kind == "persist")
    lost.durable(persist.number)
    lost.tick(10**9)
    assert lost.silent
    said = [effect.data[:4] for effect in hs.effects(lost) if effect.kind in ("send", "broadcast")]
    assert set(said) <= {b"CChs"}, "it asks, and signs nothing"
    again = hs.HotStuff.restore(CHAIN, EPOCH, VALIDATORS, KEYS[2], GENESIS, [persist.data])
    assert again.silent, "its new journal knows it"
    for wrong in ((CHAIN, EPOCH + 1, VALIDATORS), (GENESIS, EPOCH, VALIDATORS), (CHAIN, EPOCH, VALIDATORS[::-1])):
        with pytest.raises(InputError, match="journal record 0"):
            hs.HotStuff.restore(*wrong, KEYS[2], GENESIS, [snapshot])


def test_a_seed_is_a_key_too() -> None:
    seed = bytes(range(32))
    with pytest.raises(InputError, match="not in the committee"):
        hs.HotStuff(CHAIN, EPOCH, VALIDATORS, seed, GENESIS)
    with pytest.raises(InputError, match="exactly 32"):
        hs.HotStuff(CHAIN, EPOCH, VALIDATORS, b"short", GENESIS)


@given(
    data=st.binary(max_size=300),
    at=st.integers(0, 2**32),
    tag=st.sampled_from([b"", b"CChb", b"CChv", b"CCht", b"CCha", b"CChw"]),
)
@settings(max_examples=200, deadline=None)
def test_hostile_bytes_change_nothing(data: bytes, at: int, tag: bytes) -> None:
    town = Town()
    _, to, good = town.wire[at % len(town.wire)]
    one = town.machines[to]
    before = one.snapshot()
    spoilt = bytearray(good)
    spoilt[at % len(good)] ^= 1 + at % 255
    for message in (tag + data, bytes(spoilt), good[: at % len(good)]):
        with pytest.raises((InputError, ProtocolError, VerificationError)):
            one.handle(1, message, 0)
    assert one.snapshot() == before


def started(place: int = 1) -> hs.HotStuff:
    one = machine(place)
    one.start(0)
    return one


PROOF = b"no proof"
CASES = [
    Case(
        hs.HotStuff,
        (CHAIN, EPOCH, VALIDATORS, KEYS[0], GENESIS),
        {
            "timeout_us": 1,
            "timeout_max_us": 10,
            "backoff_percent": 200,
            "commit_rule": 3,
            "history": 1,
            "leaders": [0, 1],
            "aggregate_keys": SHOWN,
            "aggregate_seed": SEEDS[0],
        },
    ),
    Case(
        hs.HotStuff.restore,
        (CHAIN, EPOCH, VALIDATORS, KEYS[0], GENESIS, []),
        {
            "amnesia": True,
            "timeout_us": 1,
            "timeout_max_us": 10,
            "backoff_percent": 200,
            "commit_rule": 3,
            "history": 1,
            "leaders": [0, 1],
            "aggregate_keys": SHOWN,
            "aggregate_seed": SEEDS[0],
        },
    ),
    Case(lambda now: machine(0).start(now), (0,)),
    Case(lambda now: started().tick(now), (0,)),
    Case(lambda now: started().resume(now), (0,)),
    Case(lambda timeout_us: started().pace(timeout_us), (1,)),
    Case(lambda payload, now: started().propose(payload, now), (b"", 0)),
    Case(lambda block, ok, now: started().payload_result(block, ok, now), (CHAIN, True, 0)),
    Case(started().leader_of, (0,)),
    Case(lambda block: started().block(block), (CHAIN,)),
    Case(hs.payload_digest, (b"",)),
    Case(hs.aggregate_key, (SEEDS[0],)),
]
REFUSED = [
    Case(lambda sender, message, now: started().handle(sender, message, now), (0, b"", 0)),
    Case(lambda proof, now: started().adopt(proof, now), (PROOF, 0)),
    Case(lambda ticket: started().durable(ticket), (9,)),
    Case(hs.verify_commit, (PROOF, VALIDATORS, CHAIN, EPOCH, SHOWN)),
    Case(hs.verify_evidence, (PROOF, VALIDATORS, CHAIN, EPOCH, SHOWN)),
    Case(hs.commit_block, (PROOF,)),
    Case(hs.effects, (None,)),
]


@pytest.mark.parametrize("case", [*CASES, *REFUSED], ids=lambda case: case.name)
def test_poison(case: Case) -> None:
    if case in CASES:
        case.function(*case.args, **case.kwargs)
    for poison in POISONS:
        if case is REFUSED[-1]:
            with pytest.raises(AttributeError):
                case.function(poison)
            continue
        for at in range(len(case.args)):
            check(case, (*case.args[:at], poison, *case.args[at + 1 :]), case.kwargs, poison)
        for name in case.kwargs:
            check(case, case.args, case.kwargs | {name: poison}, poison)


def test_the_table_names_every_public_callable() -> None:
    text = inspect.getsource(inspect.getmodule(test_poison))  # type: ignore[arg-type]
    for name in hs.__all__:
        assert f"hs.{name}" in text or name == "CommitBlock", name
    for method in (name for name in vars(hs.HotStuff) if not name.startswith("_") and name != "drain"):
        assert f".{method}" in text, method


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"timeout_us": 0}, "timeouts of 0"),
        ({"timeout_us": 10**12}, "timeouts of"),
        ({"timeout_max_us": 5}, "at most 5"),
        ({"backoff_percent": 99}, "99 per cent"),
        ({"commit_rule": 1}, "commit rule 1"),
        ({"commit_rule": 4}, "commit rule 4"),
        ({"leaders": [4]}, "leader 4"),
        ({"leaders": [0] * 5000}, "more than 4096"),
    ],
)
def test_settings_out_of_their_range(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        hs.HotStuff(CHAIN, EPOCH, VALIDATORS, KEYS[0], GENESIS, **({"timeout_us": 100} | more))


def test_before_the_start_and_twice() -> None:
    one = machine(1)
    calls: list[Callable[[], None]] = [
        lambda: one.handle(0, hs.effects(started(1))[0].data or b"CChv", 0),
        lambda: one.tick(0),
        lambda: one.propose(b"", 0),
        lambda: one.resume(0),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
    one.start(0)
    with pytest.raises(InputError, match="already"):
        one.start(0)
    assert (repr(one), one.me) == ("<HotStuff at place 1>", 1)


def test_a_pace_is_for_the_rounds_that_follow_and_failed_ones_still_lengthen_them() -> None:
    one = hs.HotStuff(CHAIN, EPOCH, VALIDATORS[:1], KEYS[0], GENESIS, timeout_us=100_000, timeout_max_us=200_000)

    def deadlines() -> list[int]:
        found = []
        while effects := hs.effects(one):
            found += [effect.number for effect in effects if effect.kind == "deadline"]
            for effect in effects:
                if effect.kind == "persist":
                    one.durable(effect.number)
        return found

    one.start(0)
    assert deadlines() == [100_000]
    one.pace(20_000)
    assert deadlines() == []
    one.resume(7)
    assert deadlines() == [20_007]
    one.tick(20_007)
    assert deadlines()[-1] == 20_007 + 30_000
    one.tick(50_007)
    assert deadlines()[-1] == 50_007 + 45_000
    for wrong in (0, 200_001):
        with pytest.raises(InputError, match="1 to 200000"):
            one.pace(wrong)
    one.pace(200_000)
    one.resume(60_000)
    assert deadlines() == [260_000]


def test_a_retired_machine_signs_nothing_and_still_answers() -> None:
    town = Town()
    for _ in range(60):
        town.deliver(0)
    old = town.machines[0]
    old.retire()
    town.tick()
    assert (old.silent, old.behind) == (True, False)
    assert not [effect for effect in hs.effects(old) if effect.kind in ("send", "broadcast", "persist")]
    late = hs.HotStuff.restore(CHAIN, EPOCH, VALIDATORS, KEYS[3], GENESIS, [], amnesia=True)
    late.start(0)
    for effect in hs.effects(late):
        if effect.kind == "broadcast":
            old.handle(3, effect.data, town.now + 10**6)
    for effect in hs.effects(late):
        if effect.kind == "persist":
            late.durable(effect.number)
    (answer,) = (effect for effect in hs.effects(old) if effect.kind == "send")
    late.handle(0, answer.data, 0)
    assert late.committed == old.committed


def test_one_far_behind_adopts_a_commit() -> None:
    town = Town()
    for _ in range(200):
        town.deliver(0)
    effect = town.commits[0][-1]
    late = machine(3)
    late.start(0)
    late.adopt(effect.extra, 0)
    assert (late.committed, late.behind) == ((effect.number, effect.block), True)
    late.adopt(town.commits[0][0].extra, 0)
    assert late.committed[0] == effect.number, "never backwards"
