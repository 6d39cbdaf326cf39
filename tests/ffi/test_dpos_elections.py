"""Elections by both methods against slow, independent ones; slot leaders in batches; the quorum to the last unit."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import InputError, UnavailableError
from city_chain.proofs import dpos
from city_chain.records import Identity

pytestmark = pytest.mark.ffi

METHODS = ("approval", "seq_phragmen")


def name(at: int) -> bytes:
    return at.to_bytes(2, "big") * 16


def approvals(stakes: dict[bytes, int], ballots) -> dict[bytes, set[bytes]]:
    """Whom every voter with stake approves of: itself, and those on its newest ballot."""
    found = {voter: {voter} for voter, stake in stakes.items() if stake}
    for voter, _, who in sorted(ballots, key=lambda ballot: ballot[1]):
        if stakes[voter]:
            found[voter] = {voter, *who}
    return found


def phragmen(stakes: dict[bytes, int], ballots, seats: int) -> list[bytes]:
    """The sequential rule by its definition, in fractions: who is elected, in order."""
    approved = approvals(stakes, ballots)
    load = dict.fromkeys(approved, Fraction(0))
    elected: list[bytes] = []
    while len(elected) < seats:
        best = None
        for candidate in sorted(approved, key=lambda key: (-stakes[key], key)):
            if candidate in elected:
                continue
            backers = [voter for voter, who in approved.items() if candidate in who]
            total = sum(stakes[voter] for voter in backers)
            sigma = (1 + sum(stakes[voter] * load[voter] for voter in backers)) / Fraction(total)
            if best is None or sigma < best[0]:
                best = (sigma, candidate, backers)
        sigma, candidate, backers = best
        elected.append(candidate)
        load.update(dict.fromkeys(backers, sigma))
    return elected


def keys_of(chosen: dpos.ValidatorSet) -> set[bytes]:
    return {key for key, _ in chosen.items}


# Small stakes tie often; large ones show what a float would get wrong.
stakes_of = st.one_of(st.integers(0, 4), st.integers(0, 2**64 - 1), st.sampled_from([2**64 - 1, 2**64 - 2, 2**53]))


@st.composite
def elections(draw):
    stakes = draw(st.dictionaries(st.integers(0, 40).map(name), stakes_of, min_size=1, max_size=12))
    voters = sorted(stakes)
    candidates = [voter for voter in voters if stakes[voter]]
    who = st.lists(st.sampled_from(candidates), max_size=6) if candidates else st.just([])
    ballots = draw(st.lists(st.tuples(st.sampled_from(voters), st.integers(0, 5), who), max_size=16))
    ballots = list({(voter, sequence): (voter, sequence, who) for voter, sequence, who in ballots}.values())
    return stakes, ballots, draw(st.integers(1, max(1, len(candidates))))


@given(elections(), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_phragmen_is_that_of_the_definition(election, random):
    stakes, ballots, seats = election
    candidates = sum(stake > 0 for stake in stakes.values())
    if candidates < seats:
        with pytest.raises(UnavailableError):
            dpos.elect(0, stakes.items(), ballots, seats, method="seq_phragmen")
        return
    chosen = dpos.elect(0, stakes.items(), ballots, seats, method="seq_phragmen")
    assert keys_of(chosen) == set(phragmen(stakes, ballots, seats))
    # By either method a delegate weighs what is behind it.
    everybody = dict(dpos.elect(0, stakes.items(), ballots, candidates).items)
    assert all(everybody[key] == weight for key, weight in chosen.items)
    items = list(stakes.items())
    random.shuffle(items)
    random.shuffle(ballots)
    doubled = [(voter, sequence, who + who[:1]) for voter, sequence, who in ballots]
    for again in (ballots, doubled):
        assert dpos.elect(0, items, again, seats, method="seq_phragmen") == chosen


@given(elections())
@settings(max_examples=60, deadline=None)
def test_more_seats_keep_those_who_were_elected(election):
    stakes, ballots, _ = election
    candidates = sum(stake > 0 for stake in stakes.values())
    for method in METHODS:
        rounds = [
            keys_of(dpos.elect(0, stakes.items(), ballots, seats, method=method)) for seats in range(1, candidates + 1)
        ]
        assert all(few < more for few, more in pairwise(rounds))


def test_phragmens_own_example():
    """Phragmén 1894, in Janson's survey (2016, section 3): 1034 ABC, 519 PQR, 90 ABQ, 47 APQ elect A, Q and B."""
    letters = {letter: name(100 + at) for at, letter in enumerate("ABCPQR")}
    groups = [(1034, "ABC"), (519, "PQR"), (90, "ABQ"), (47, "APQ")]
    million = 10**6  # so that the candidates' own stake, without which they are none, weighs nothing
    stakes = [(name(at), count * million) for at, (count, _) in enumerate(groups)]
    stakes += [(key, 1) for key in letters.values()]
    ballots = [(name(at), 0, [letters[letter] for letter in who]) for at, (_, who) in enumerate(groups)]
    orders = ["A", "AQ", "ABQ"]
    for seats, elected in enumerate(orders, start=1):
        chosen = dpos.elect(0, stakes, ballots, seats, method="seq_phragmen")
        assert keys_of(chosen) == {letters[letter] for letter in elected}
    assert keys_of(dpos.elect(0, stakes, ballots, 3)) == {letters[letter] for letter in "ABC"}


@pytest.mark.parametrize(
    ("votes", "seats", "expected"),
    [([100, 80, 30, 20], 8, [4, 3, 1, 0]), ([53, 24, 23], 7, [4, 2, 1]), ([340, 280, 160, 60], 7, [3, 3, 1, 0])],
)
def test_closed_lists_get_their_seats_by_dhondt(votes, seats, expected):
    """Where parties share no candidate the rule is D'Hondt's (Janson 2016, section 11); seats worked by hand."""
    stakes: dict[bytes, int] = {}
    ballots, party = [], {}
    for at, count in enumerate(votes):
        members = [name(at * 50 + member) for member in range(10)]
        stakes |= dict.fromkeys(members, 1) | {members[0]: count * 10**6}
        ballots.append((members[0], 0, members))
        party |= dict.fromkeys(members, at)
    chosen = Counter(
        party[key] for key in keys_of(dpos.elect(0, stakes.items(), ballots, seats, method="seq_phragmen"))
    )
    assert [chosen[at] for at in range(len(votes))] == expected


@given(st.integers(1, 9), st.data())
@settings(max_examples=100, deadline=None)
def test_a_group_gets_its_share_of_the_seats(seats, data):
    """Proportional justified representation: a share a/k of the stake that agrees on a candidates elects a of them."""
    group = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=6))
    others = data.draw(st.lists(st.integers(1, 50), min_size=10, max_size=14))
    voters = [name(at) for at in range(len(group) + len(others))]
    stakes = dict(zip(voters, group + others, strict=True))
    own, rest = voters[: len(group)], voters[len(group) :]
    ballots = [(voter, 0, own) for voter in own]
    ballots += [(voter, 0, data.draw(st.lists(st.sampled_from(rest), max_size=10))) for voter in rest]
    share = min(len(own), sum(group) * seats // sum(stakes.values()))
    chosen = keys_of(dpos.elect(0, stakes.items(), ballots, seats, method="seq_phragmen"))
    assert len(chosen & set(own)) >= share


def test_floats_would_elect_another():
    """Stakes that no float tells apart, and loads that differ in their last digit."""
    most = 2**64 - 1
    stakes = {name(0): most - 1, name(1): most, name(2): 1, name(3): 1}
    for ballots in ([], [(name(0), 0, [name(2)]), (name(1), 0, [name(3)])]):
        for seats in range(1, 5):
            chosen = dpos.elect(0, stakes.items(), ballots, seats, method="seq_phragmen")
            assert keys_of(chosen) == set(phragmen(stakes, ballots, seats))


def test_elections_refuse_by_either_method():
    a, b = name(1), name(2)
    for method in METHODS:
        for stakes, ballots in (
            ([(a, 1), (a, 1)], []),
            ([(a, 1)], [(b, 0, [a])]),
            ([(a, 1)], [(a, 0, [b])]),
            ([(a, 1), (b, 1)], [(a, 0, [b]), (a, 0, [])]),
        ):
            with pytest.raises(InputError, match="election"):
                dpos.elect(0, stakes, ballots, 1, method=method)
        many = [(name(at), 1) for at in range(1025)]
        with pytest.raises(InputError, match="1024"):
            dpos.elect(0, many, [], 1025, method=method)
        with pytest.raises(UnavailableError):
            dpos.elect(0, [(a, 1), (b, 0)], [], 2, method=method)
    for wrong in ("", "Approval", "phragmen"):
        with pytest.raises(InputError, match='"approval" or "seq_phragmen" is needed'):
            dpos.elect(0, [(a, 1)], [], 1, method=wrong)
    with pytest.raises(TypeError):
        dpos.elect(0, [(a, 1)], [], 1, method=1)


def test_a_whole_house_of_equals_is_elected_by_key():
    stakes = [(name(at), 7) for at in range(1024)]
    for method in METHODS:
        chosen = dpos.elect(0, stakes, [], 100, method=method)
        assert [key for key, _ in chosen.items] == [name(at) for at in range(100)]


# --- leaders ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=20), st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_leaders_are_those_of_each_height(stakes, seed):
    chosen = dpos.ValidatorSet(3, [(name(at), stake) for at, stake in enumerate(stakes)])
    heights = [0, 1, 5, 5, 2**64 - 1, *range(20)]
    for attempt in (0, 7):
        assert dpos.leaders(chosen, seed, heights, attempt) == [
            dpos.leader(chosen, seed, height, attempt) for height in heights
        ]
    assert dpos.leaders(chosen, seed, []) == []


def test_leaders_come_as_often_as_their_stake_says():
    stakes = [1, 2, 3, 10, 84, 2**63, 2**63]
    for weights in (stakes[:5], stakes[5:], [2**64 - 1] * 3):
        chosen = dpos.ValidatorSet(0, [(name(at), stake) for at, stake in enumerate(weights)])
        rounds = 50_000
        seen = Counter(dpos.leaders(chosen, b"\x07" * 32, range(rounds)))
        for key, stake in chosen.items:
            share = stake / sum(weights)
            sigma = (rounds * share * (1 - share)) ** 0.5
            assert abs(seen[key] - rounds * share) < 5 * sigma


def test_an_election_that_would_take_minutes_is_refused():
    """Stakes and ballots can be made so that exact numbers must decide again and again."""
    names = [name(at) for at in range(1024)]
    stakes = [(key, 1) for key in names]
    ballots = [(key, 1, names[:300]) for key in names]
    with pytest.raises(InputError, match="take fewer seats"):
        dpos.elect(0, stakes, ballots, 1024, method="seq_phragmen")
    assert len(dpos.elect(0, stakes, ballots, 1024)) == 1024
    assert len(dpos.elect(0, stakes, ballots, 10, method="seq_phragmen")) == 10


# --- the quorum ------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.integers(1, 5), st.integers(1, 2**64 - 1)), min_size=1, max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_a_certificate_needs_its_quorum_to_the_last_unit(stakes, data):
    voters = [Identity.child(bytes(32), b"voter", at) for at in range(len(stakes))]
    chosen = dpos.ValidatorSet(0, [(voter.id, stake) for voter, stake in zip(voters, stakes, strict=True)])
    slot = dpos.Slot(bytes(32), 0, 1, 0, bytes(32), b"\x01" * 32)
    voting = data.draw(st.lists(st.sampled_from(range(len(voters))), unique=True))
    stranger = dpos.Vote(Identity(b"\x09" * 32), slot)
    elsewhere = [dpos.Vote(voter, dpos.Slot(bytes(32), 0, 2, 0, bytes(32), b"\x01" * 32)) for voter in voters]
    votes = [dpos.Vote(voters[at], slot) for at in voting]
    cast = data.draw(st.permutations([*votes, *votes[:2], stranger, *elsewhere]))
    total, had = sum(stakes), sum(stakes[at] for at in voting)
    needed = total - (total - 1) // 3
    assert chosen.quorum == needed
    if had >= needed:
        certificate, refused = dpos.collect(chosen, slot, cast)
        certificate.verify(chosen)
        assert sorted(certificate.positions) == sorted(chosen.position(voters[at].id) for at in voting)
        assert len(refused) == len(cast) - len(voting)
    else:
        with pytest.raises(UnavailableError) as error:
            dpos.collect(chosen, slot, cast)
        assert (error.value.needed, error.value.had) == (min(needed, 2**64 - 1), min(had, 2**64 - 1))
