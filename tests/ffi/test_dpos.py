"""Delegated Proof of Stake from Python."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError, VerificationError
from city_chain.proofs import dpos
from city_chain.records import Identity

pytestmark = pytest.mark.ffi

BATCHES = [bytes([at]) * 32 for at in (0xA0, 0xB0)]
keys = st.binary(min_size=32, max_size=32)


def settle(machine: dpos.Delegate) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """Carries out all effects as a careful caller does: what is said, and the journal."""
    said, journal = [], []
    while effects := machine.drain():
        for kind, ticket, record in effects:
            if kind == "persist":
                journal.append(record)
                machine.durable(ticket)
            else:
                assert ticket == 0
                said.append((kind, record))
    return said, journal


def slot(city, height=1, attempt=0, previous=None, digest=BATCHES[0]) -> dpos.Slot:
    network = city.epoch.network
    return dpos.Slot(network, 0, height, attempt, network if previous is None else previous, digest)


def proposal(city, asked: dpos.Slot, reports=()) -> dpos.Proposal:
    return dpos.Proposal(city.delegates[city.leader(asked.height, asked.attempt)], asked, reports)


# --- sets, elections, leaders ----------------------------------------------------------------------------------------


def test_sets_know_their_weights(city):
    chosen = city.validators
    assert (chosen.epoch, chosen.total, chosen.quorum, len(chosen)) == (0, 46, 31, 4)
    assert chosen.items == sorted(chosen.items)
    assert [chosen.position(key) for key, _ in chosen.items] == [0, 1, 2, 3]
    assert chosen.position(bytes(32)) is None
    big = dpos.ValidatorSet(2**64 - 1, [(bytes([at]) * 32, 2**64 - 1) for at in range(200)])
    assert (big.total, big.quorum) == (200 * (2**64 - 1), 200 * (2**64 - 1) - (200 * (2**64 - 1) - 1) // 3)
    for wrong in ([], [(bytes(32), 0)], [(bytes(32), 1)] * 2, [(bytes(31), 1)], [(bytes(32), 1, 1)]):
        with pytest.raises(InputError):
            dpos.ValidatorSet(0, wrong)


@given(
    st.dictionaries(keys, st.integers(1, 2**64 - 1), min_size=1, max_size=8),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_elections_do_not_depend_on_the_order(stakes, data):
    voters = sorted(stakes)
    approve = st.lists(st.sampled_from(voters), max_size=4)
    ballots = data.draw(st.lists(st.tuples(st.sampled_from(voters), st.integers(0, 9), approve), max_size=8))
    ballots = list({(voter, sequence): (voter, sequence, who) for voter, sequence, who in ballots}.values())
    seats = data.draw(st.integers(1, len(voters)))
    elected = dpos.elect(3, stakes.items(), ballots, seats)
    again = dpos.elect(3, data.draw(st.permutations(list(stakes.items()))), data.draw(st.permutations(ballots)), seats)
    assert elected == again
    assert (elected.epoch, len(elected)) == (3, seats)
    newest = {voter: who for voter, _, who in sorted(ballots, key=lambda ballot: ballot[1])}
    support = Counter(stakes)
    for voter, who in newest.items():
        support.update(dict.fromkeys(set(who) - {voter}, stakes[voter]))
    ranked = sorted(support, key=lambda key: (-support[key], -stakes[key], key))[:seats]
    assert elected.items == sorted((key, min(support[key], 2**64 - 1)) for key in ranked)


def test_elections_refuse(city):
    a, b = bytes(32), bytes([1]) * 32
    with pytest.raises(UnavailableError) as error:
        dpos.elect(0, [(a, 1), (b, 0)], [], 2)
    assert (error.value.needed, error.value.had) == (2, 1)
    for stakes, ballots in (
        ([(a, 1), (a, 1)], []),
        ([(a, 1)], [(b, 0, [a])]),
        ([(a, 1)], [(a, 0, [b])]),
        ([(a, 1), (b, 1)], [(a, 0, [b]), (a, 0, [])]),
    ):
        with pytest.raises(InputError, match="election"):
            dpos.elect(0, stakes, ballots, 1)


def test_leaders_are_drawn_by_stake():
    light, heavy = bytes(32), bytes([1]) * 32
    validators = dpos.ValidatorSet(0, [(light, 1), (heavy, 3)])
    drawn = Counter(dpos.leader(validators, bytes(32), height, 0) for height in range(4000))
    assert 900 < drawn[light] < 1100
    assert len({dpos.leader(validators, bytes(32), 1, attempt) for attempt in range(50)}) == 2


# --- votes and certificates ------------------------------------------------------------------------------------------


def test_votes_make_a_certificate(city, other_city):
    asked = slot(city)
    votes = [dpos.Vote(delegate, asked) for delegate in city.delegates]
    stranger = dpos.Vote(city.sender, asked)
    elsewhere = dpos.Vote(city.delegates[3], slot(city, digest=BATCHES[1]))
    data = votes[2].to_bytes()
    forged = dpos.Vote.from_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    certificate, refused = dpos.collect(city.validators, asked, [stranger, *votes[:3], votes[0], elsewhere, forged])
    assert [at for at, _ in refused] == [0, 4, 5, 6]
    for (_, why), word in zip(refused, ["not a delegate", "twice", "something else", "signature"], strict=True):
        assert word in why
    certificate.verify(city.validators)
    assert certificate.slot == asked
    assert len(certificate.positions) == 3
    assert certificate.positions == sorted(certificate.positions)
    with pytest.raises(VerificationError):
        certificate.verify(dpos.ValidatorSet(1, city.validators.items))
    with pytest.raises(UnavailableError) as error:
        dpos.collect(city.validators, asked, votes[:2])
    assert (error.value.needed, error.value.had) == (31, 21)
    with pytest.raises(UnavailableError):
        dpos.collect(other_city.validators, slot(other_city), votes)


def test_every_flipped_certificate_is_refused(city):
    asked = slot(city)
    certificate, _ = dpos.collect(city.validators, asked, [dpos.Vote(d, asked) for d in city.delegates[1:]])
    data = certificate.to_bytes()
    for at in range(len(data)):
        try:
            wrong = dpos.Certificate.from_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        except InputError:
            continue
        with pytest.raises(VerificationError):
            wrong.verify(city.validators)


def test_slots_compare_by_value(city):
    assert slot(city) == slot(city)
    assert hash(slot(city)) == hash(slot(city))
    assert slot(city) != slot(city, attempt=1)
    assert slot(city) != "slot"
    assert "height 1" in repr(slot(city))


# --- the machine -----------------------------------------------------------------------------------------------------


def test_nothing_is_said_before_it_is_durable(city):
    machine = city.machine(0)
    asked = proposal(city, slot(city))
    machine.propose(asked)
    [(kind, ticket, record)] = machine.drain()
    assert kind == "persist"
    assert machine.drain() == []
    for wrong in (ticket + 1, 0 if ticket else 1, 2**64 - 1):
        if wrong > ticket:
            with pytest.raises(InputError, match="not handed out"):
                machine.durable(wrong)
    assert machine.drain() == []
    machine.durable(ticket)
    [(kind, _, vote)] = machine.drain()
    assert kind == "vote"
    assert dpos.Vote.from_bytes(vote).slot == asked.slot
    assert record == machine.snapshot()
    assert machine.accepted == asked.slot.digest


def test_a_height_is_led_voted_and_committed(city):
    machines = [city.machine(at) for at in range(4)]
    leading = city.leader(1, 0)
    with pytest.raises(ProtocolError, match="leads attempt"):
        machines[leading - 1].lead(0, BATCHES[0])
    machines[leading].lead(0, BATCHES[0])
    said, _ = settle(machines[leading])
    assert [kind for kind, _ in said] == ["proposal", "vote"]
    asked = dpos.Proposal.from_bytes(said[0][1])
    assert asked == proposal(city, slot(city))
    votes = [dpos.Vote.from_bytes(said[1][1])]
    for at, machine in enumerate(machines):
        if at != leading:
            machine.propose(asked)
            [(kind, vote)], _ = settle(machine)
            assert kind == "vote"
            votes.append(dpos.Vote.from_bytes(vote))
    certificate, refused = dpos.collect(city.validators, asked.slot, votes)
    assert refused == []
    for machine in machines:
        machine.committed(certificate)
        settle(machine)
        assert machine.tip == (1, BATCHES[0])
        assert machine.accepted is None
        assert machine.leader(0) == dpos.leader(city.validators, city.epoch.seed, 2, 0)
        with pytest.raises(ProtocolError):
            machine.committed(certificate)


def test_a_later_leader_carries_on(city):
    machines = [city.machine(at) for at in range(4)]
    machines[0].propose(proposal(city, slot(city)))
    settle(machines[0])
    reports = []
    for machine in machines[:3]:
        machine.prepare(1, 1)
        [(kind, report)], _ = settle(machine)
        assert kind == "report"
        reports.append(dpos.Report.from_bytes(report))
    assert [report.accepted for report in reports] == [(0, BATCHES[0]), None, None]
    assert {report.voter for report in reports} == {delegate.id for delegate in city.delegates[:3]}
    assert dpos.choose(reports) == BATCHES[0]
    assert dpos.choose(reports[1:]) is None
    leading = machines[city.leader(1, 1)]
    counted, digest, refused = leading.weigh(1, [*reports, reports[0]])
    assert (counted, digest) == (reports, BATCHES[0])
    assert [at for at, _ in refused] == [3]
    with pytest.raises(UnavailableError):
        leading.weigh(1, reports[:2])
    with pytest.raises(ProtocolError, match="the reports ask for"):
        machines[3].propose(proposal(city, slot(city, attempt=1, digest=BATCHES[1]), reports))
    asked = proposal(city, slot(city, attempt=1), reports)
    assert asked.reports == reports
    machines[3].propose(asked)
    with pytest.raises(ProtocolError, match="promised"):
        machines[3].propose(proposal(city, slot(city)))
    assert settle(machines[3])[0][0][0] == "vote"


def test_a_crash_forgets_nothing_that_was_said(city):
    machine = city.machine(0)
    asked = proposal(city, slot(city))
    machine.propose(asked)
    said, journal = settle(machine)
    restored = dpos.Delegate.restore(
        city.delegates[0], city.validators, city.epoch.network, city.epoch.seed, journal[-1]
    )
    assert restored.accepted == BATCHES[0]
    assert restored.snapshot() == machine.snapshot()
    with pytest.raises(ProtocolError, match="already proposed"):
        restored.propose(proposal(city, slot(city, digest=BATCHES[1])))
    restored.propose(asked)
    assert settle(restored)[0] == said, "the same vote again"
    for wrong in (b"", journal[-1][:-1], journal[-1] + b"\0"):
        with pytest.raises(InputError):
            dpos.Delegate.restore(city.delegates[0], city.validators, city.epoch.network, city.epoch.seed, wrong)
    with pytest.raises(InputError, match="another delegate"):
        dpos.Delegate.restore(city.delegates[1], city.validators, city.epoch.network, city.epoch.seed, journal[-1])
    with pytest.raises(InputError, match="not one of epoch"):
        dpos.Delegate(city.sender, city.validators, bytes(32), bytes(32), bytes(32))


def test_refused_input_leaves_the_machine_as_it_was(city, other_city):
    machine = city.machine(0)
    before = machine.snapshot()
    data = proposal(city, slot(city)).to_bytes()
    wrong = [
        lambda: machine.prepare(1, 0),
        lambda: machine.prepare(2, 1),
        lambda: machine.propose(proposal(city, slot(city, height=2))),
        lambda: machine.propose(proposal(city, slot(city, previous=bytes(32)))),
        lambda: machine.propose(proposal(other_city, slot(other_city))),
        lambda: machine.propose(dpos.Proposal(city.delegates[city.leader(1, 0) - 1], slot(city))),
        lambda: machine.propose(dpos.Proposal.from_bytes(data[:-1] + bytes([data[-1] ^ 1]))),
        lambda: machine.propose(proposal(city, slot(city, attempt=1))),
        lambda: machine.durable(1),
    ]
    for call in wrong:
        with pytest.raises(CityChainError):
            call()
        assert machine.snapshot() == before
        assert machine.drain() == []


def test_threads_on_one_delegate_make_it_vote_for_one_batch(city):
    machine = city.machine(0)
    proposals = [proposal(city, slot(city, digest=digest)) for digest in BATCHES]
    start = threading.Barrier(8)
    faults: list[BaseException] = []
    effects: list[tuple[str, int, bytes]] = []

    def work(at: int) -> None:
        start.wait()
        for turn in range(40):
            try:
                machine.propose(proposals[(at + turn) % 2])
            except ProtocolError:
                pass
            except BaseException as fault:
                faults.append(fault)
            drained = machine.drain()
            tickets = [ticket for kind, ticket, _ in drained if kind == "persist"]
            if tickets:
                machine.durable(max(tickets))
            effects.extend(drained)
            assert machine.tip == (0, city.epoch.network)
            assert machine.accepted in BATCHES

    threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    effects.extend(machine.drain())
    assert faults == []
    voted = {dpos.Vote.from_bytes(record).slot.digest for kind, _, record in effects if kind == "vote"}
    assert voted == {machine.accepted}
    persisted = [ticket for kind, ticket, _ in effects if kind == "persist"]
    assert len(persisted) == len(set(persisted))


def test_a_delegate_of_one(city):
    alone = Identity(bytes(32))
    validators = dpos.ValidatorSet(7, [(alone.id, 1)])
    machine = dpos.Delegate(alone, validators, bytes(32), bytes(32), bytes(32))
    previous = bytes(32)
    for height in range(1, 20):
        digest = bytes([height]) * 32
        asked = dpos.Slot(bytes(32), 7, height, 0, previous, digest)
        machine.propose(dpos.Proposal(alone, asked))
        [(_, vote)], _ = settle(machine)
        certificate, _ = dpos.collect(validators, asked, [dpos.Vote.from_bytes(vote)])
        machine.committed(certificate)
        settle(machine)
        assert machine.tip == (height, digest)
        previous = digest
