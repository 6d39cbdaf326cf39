"""Storage audits and plain Ed25519 verification from Python."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import InputError, VerificationError
from city_chain.proofs import poh

pytestmark = pytest.mark.ffi


def pattern(length: int) -> bytes:
    """The official cases' input."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def official(vectors: Path, name: str) -> object:
    return json.loads((vectors / name).read_text())


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases(vectors):
    found = official(vectors, "ed25519vectors.json")
    assert len(found) == 914
    return [
        (case["number"], (bytes.fromhex(case["key"]), case["msg"].encode(), bytes.fromhex(case["sig"])))
        for case in found
    ]


@pytest.fixture(scope="module")
def accepted(vectors):
    def lists(value):
        if isinstance(value, dict):
            for inner in value.values():
                yield from lists(inner)
        elif isinstance(value, list):
            yield value

    [numbers] = [found for found in lists(official(vectors, "ed25519_accept_sets.json")) if len(found) == 212]
    return set(numbers)


def test_212_of_the_914_official_cases_are_accepted_alone(cases, accepted):
    good = {number for number, case in cases if poh.verify_signatures([case]) == [None]}
    assert good == accepted


@pytest.mark.parametrize("width", [2, 3, 7, 50, 200, 914])
def test_212_of_the_914_official_cases_are_accepted_among_any_neighbours(cases, accepted, width):
    mixed = list(cases)
    random.Random(width).shuffle(mixed)
    good = set()
    for start in range(0, len(mixed), width):
        part = mixed[start : start + width]
        for (number, _), verdict in zip(part, poh.verify_signatures([case for _, case in part]), strict=True):
            if verdict is None:
                good.add(number)
            else:
                assert isinstance(verdict, VerificationError)
    assert good == accepted


def test_signatures_of_a_wrong_size_are_refused():
    for wrong in ((bytes(31), b"", bytes(64)), (bytes(32), b"", bytes(63)), (bytes(32), b"")):
        with pytest.raises(InputError):
            poh.verify_signatures([wrong])
    with pytest.raises(TypeError):
        poh.verify_signatures([(bytes(32), "text", bytes(64))])
    assert poh.verify_signatures([]) == []


# --- audits ----------------------------------------------------------------------------------------------------------


def test_official_hashes_are_the_roots_of_the_trees(vectors):
    found = official(vectors, "blake3_test_vectors.json")["cases"]
    assert len(found) == 35
    for case in found:
        length, root = case["input_len"], bytes.fromhex(case["hash"])[:32]
        fragment = pattern(length)
        assert poh.hash_fragment(fragment) == root
        total = poh.audit_blocks(length)
        for blocks in ([0], [total - 1], list(range(total)), list(range(0, total, 2))):
            poh.audit_verify(root, length, blocks, poh.audit_answer(fragment, blocks))


@given(st.integers(0, 70_000), st.binary(min_size=32, max_size=32), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_held_is_shown_and_nothing_else_passes(length, seed, data):
    fragment = pattern(length)
    root = poh.hash_fragment(fragment)
    total = poh.audit_blocks(length)
    blocks = poh.audit_challenge(seed, length, data.draw(st.integers(1, total)))
    assert blocks == sorted(set(blocks))
    assert 0 <= blocks[0] <= blocks[-1] < total
    answer = poh.audit_answer(bytearray(fragment), blocks)
    poh.audit_verify(root, length, blocks, answer)
    at = data.draw(st.integers(0, len(answer) - 1))
    flipped = answer[:at] + bytes([answer[at] ^ 1 << data.draw(st.integers(0, 7))]) + answer[at + 1 :]
    with pytest.raises(VerificationError):
        poh.audit_verify(root, length, blocks, flipped)
    for wrong in (answer[:-1], answer + b"\0", b""):
        with pytest.raises(VerificationError, match="are needed"):
            poh.audit_verify(root, length, blocks, wrong)
    with pytest.raises(VerificationError):
        poh.audit_verify(seed, length, blocks, answer)


def test_a_node_that_dropped_a_block_cannot_answer_for_it():
    fragment = pattern(40_000)
    root = poh.hash_fragment(fragment)
    damaged = fragment[: 5 * 1024] + bytes(1024) + fragment[6 * 1024 :]
    for blocks in ([5], [4, 5], [0], list(range(40))):
        with pytest.raises(VerificationError, match="lead to the hash"):
            poh.audit_verify(root, len(fragment), blocks, poh.audit_answer(damaged, blocks))
    # Who kept the chaining values answers for the blocks that are left, and only for those.
    poh.audit_verify(root, len(fragment), [4], poh.audit_answer(fragment, [4]))


def test_a_block_costs_its_bytes_and_a_path():
    fragment = pattern(1 << 20)
    assert len(poh.audit_answer(fragment, [512])) == 6 + 1024 + 10 * 32
    assert len(poh.audit_answer(fragment, range(1024))) == 6 + (1 << 20)


@pytest.mark.parametrize("blocks", [[], [5], [1, 1], [2, 1], [2**64 - 1], list(range(5000))])
def test_questions_that_are_none_are_refused(blocks):
    fragment = pattern(5000)
    with pytest.raises(InputError):
        poh.audit_answer(fragment, blocks)
    with pytest.raises(InputError):
        poh.audit_verify(poh.hash_fragment(fragment), 5000, blocks, bytes(10))


@pytest.mark.parametrize(("length", "blocks"), [(5000, 0), (5000, 6), (2**40 + 1, 1), (2**40, 4097), (0, 2)])
def test_challenges_have_bounds(length, blocks):
    with pytest.raises(InputError):
        poh.audit_challenge(bytes(32), length, blocks)


def test_challenges_cannot_be_known_without_the_seed():
    seen = {tuple(poh.audit_challenge(bytes([at]) * 32, 1 << 20, 20)) for at in range(50)}
    assert len(seen) == 50
    assert poh.audit_challenge(bytes(32), 0, 1) == [0]


# --- the chance to catch ---------------------------------------------------------------------------------------------


def exact(total: int, lost: int, asked: int, audits: int) -> Fraction:
    missed = Fraction(math.comb(total - lost, asked), math.comb(total, asked))
    return 1 - missed**audits


def test_chances_are_those_of_counting_all_draws():
    for total in range(1, 8):
        for lost in range(total + 1):
            for asked in range(1, total + 1):
                draws = list(combinations(range(total), asked))
                caught = sum(any(block < lost for block in draw) for draw in draws)
                assert poh.audit_chance(total, lost, asked) == pytest.approx(caught / len(draws), rel=1e-12)


@given(st.integers(1, 3000), st.data())
@settings(max_examples=300, deadline=None)
def test_chances_equal_exact_fractions_to_twelve_digits(total, data):
    lost = data.draw(st.integers(0, total))
    asked = data.draw(st.integers(1, total))
    audits = data.draw(st.integers(1, 5))
    expected = exact(total, lost, asked, audits)
    found = poh.audit_chance(total, lost, asked, audits)
    assert abs(Fraction(found) - expected) <= expected * Fraction(1, 10**12)
    assert (found == 1.0) == (expected == 1)
    assert (found == 0.0) == (expected == 0)


@pytest.mark.parametrize(
    ("total", "lost", "asked"), [(2**30, 1, 1), (2**30, 1, 4096), (2**30, 2**20, 4096), (10**6, 999_990, 3)]
)
def test_chances_of_large_fragments_are_exact_too(total, lost, asked):
    missed = Fraction(1)
    for at in range(min(asked, lost)):
        missed *= Fraction(total - max(asked, lost) - at, total - at)
    expected = 1 - missed
    assert abs(Fraction(poh.audit_chance(total, lost, asked)) - expected) <= expected / 10**12


@given(st.integers(1, 400), st.data())
@settings(max_examples=100, deadline=None)
def test_the_fewest_blocks_are_the_fewest(total, data):
    lost = data.draw(st.integers(1, total))
    audits = data.draw(st.integers(1, 4))
    wanted = data.draw(st.floats(0.001, 0.999))
    found = poh.audit_blocks_for(total, lost, wanted, audits)
    expected = next(asked for asked in range(1, total + 1) if poh.audit_chance(total, lost, asked, audits) >= wanted)
    assert found == expected


def test_chances_that_are_none_are_refused():
    for wrong in [(0, 0, 1), (5, 6, 1), (5, 1, 0), (5, 1, 6), (5, 1, 1, 0), (2**31, 1, 1), (2**30, 1, 4097)]:
        with pytest.raises(InputError):
            poh.audit_chance(*wrong)
    for wrong in [(5, 0, 0.5), (5, 1, 0.0), (5, 1, 1.01), (5, 1, math.nan), (5, 1, math.inf)]:
        with pytest.raises(InputError):
            poh.audit_blocks_for(*wrong)
    with pytest.raises(InputError, match="more audits are needed"):
        poh.audit_blocks_for(2**30, 1, 0.5)
