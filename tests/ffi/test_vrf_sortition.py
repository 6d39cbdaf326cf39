"""Sortition against its definition in plain integers, against exact binomials, and against its published vectors."""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import vrf
from city_chain.errors import InputError

VECTORS = Path(__file__).parents[2] / "native" / "tests" / "vectors" / "vrf_sortition.txt"
HIGHEST = 2**64 - 1
ONE = 2**512


def cut(mantissa: int, exponent: int) -> tuple[int, int]:
    shift = mantissa.bit_length() - 256
    return (mantissa >> shift if shift > 0 else mantissa << -shift), exponent + shift


def defined(beta: bytes, weight: int, total: int, expected: int) -> int:
    """The definition, as the documentation gives it."""
    rest = total - expected
    if weight == 0 or rest == 0:
        return weight
    q, term = cut((rest << 256) // total, -256), cut(1, 0)
    for bit in bin(weight)[2:]:
        term = cut(term[0] * term[0], 2 * term[1])
        if bit == "1":
            term = cut(term[0] * q[0], term[1] + q[1])
    x, total_so_far, count = int.from_bytes(beta[:32], "big"), 0, 0
    while True:
        shift = term[1] + 256
        fraction = term[0] << shift if shift >= 0 else term[0] >> -shift
        total_so_far += fraction
        if x < total_so_far or count == weight:
            return count
        up, down = (weight - count) * expected, (count + 1) * rest
        if fraction == 0 and up <= down:
            return count
        term = cut((term[0] * up << 128) // down, term[1] - 128)
        count += 1


def exact(beta: bytes, weight: int, total: int, expected: int) -> int:
    """The smallest j with beta / 2**512 < P(X <= j), in fractions."""
    p = Fraction(expected, total)
    below = Fraction(0)
    for j in range(weight):
        below += comb(weight, j) * p**j * (1 - p) ** (weight - j)
        if Fraction(int.from_bytes(beta, "big"), ONE) < below:
            return j
    return weight


def output(*parts: object) -> bytes:
    return hashlib.sha512(repr(parts).encode()).digest()


@st.composite
def draws(draw: st.DrawFn, most: int = HIGHEST) -> tuple[bytes, int, int, int]:
    total = draw(st.one_of(st.integers(1, min(most, 40)), st.integers(1, most), st.just(most)))
    weight = draw(st.one_of(st.integers(0, total), st.integers(0, min(total, 20)), st.just(total)))
    expected = draw(st.one_of(st.integers(1, min(total, 50)), st.integers(1, min(total, 2000))))
    beta = draw(st.one_of(st.binary(min_size=64, max_size=64), st.sampled_from([bytes(64), b"\xff" * 64])))
    return beta, weight, total, expected


@settings(max_examples=200)
@given(draws())
def test_the_count_is_the_defined_one(draw: tuple[bytes, int, int, int]) -> None:
    assert vrf.sortition(*draw) == defined(*draw)


@settings(max_examples=100)
@given(draws(most=60))
def test_the_count_is_the_exact_quantile(draw: tuple[bytes, int, int, int]) -> None:
    if draw[0] not in (bytes(64), b"\xff" * 64):
        assert vrf.sortition(*draw) == exact(*draw)


@pytest.mark.parametrize(("weight", "total", "expected"), [(1, 2, 1), (7, 90, 30), (60, 61, 60), (100, 10**15, 9)])
def test_the_borders_are_exact(weight: int, total: int, expected: int) -> None:
    """2**-150 below and above each border of the distribution."""
    p, below, checked = Fraction(expected, total), Fraction(0), 0
    near = Fraction(1, 2**150)
    for j in range(weight):
        term = comb(weight, j) * p**j * (1 - p) ** (weight - j)
        below += term
        if term > 2 * near and below < 1 - near:
            for border, count in ((below - near, j), (below + near, j + 1)):
                assert vrf.sortition(int(border * ONE).to_bytes(64, "big"), weight, total, expected) == count
            checked += 1
    assert checked >= {1: 1, 7: 7, 60: 30, 100: 3}[weight]


@pytest.mark.parametrize(
    ("weight", "total", "expected"),
    [(HIGHEST, HIGHEST, 300), (10**12, 10**15, 65_536), (HIGHEST // 2, HIGHEST, 3), (70_000, 131_071, 1_000)],
)
def test_the_borders_of_great_weights_are_exact(weight: int, total: int, expected: int) -> None:
    with localcontext(prec=420, Emin=-(10**9), Emax=10**9):
        p = Decimal(expected) / Decimal(total)
        term = (1 - p) ** weight
        below, near = Decimal(0), Decimal(2) ** -150
        mean, checked = weight * expected // total, 0
        for j in range(mean * 2 + 10):
            below += term
            if term > 2 * near and below < 1 - near and j % max(1, mean // 20) == 0:
                for border, count in ((below - near, j), (below + near, j + 1)):
                    beta = int(border * ONE).to_bytes(64, "big")
                    assert vrf.sortition(beta, weight, total, expected) == count
                checked += 1
            term = term * (weight - j) * p / ((j + 1) * (1 - p))
        assert checked > 5


@settings(max_examples=100)
@given(draws(), st.binary(min_size=64, max_size=64))
def test_a_greater_output_never_elects_less(draw: tuple[bytes, int, int, int], other: bytes) -> None:
    beta, weight, total, expected = draw
    low, high = sorted([beta, other])
    counts = [vrf.sortition(one, weight, total, expected) for one in (bytes(64), low, high, b"\xff" * 64)]
    assert counts == sorted(counts)
    assert counts[0] >= 0
    assert counts[3] <= weight


def test_the_distribution_is_binomial_within_five_sigma() -> None:
    rounds = 20_000
    for weight, total, expected in ((10, 100, 20), (1_000, 10**6, 3_000), (2**60, 2**64 - 1, 40)):
        counts = Counter(vrf.sortition(output(at, weight), weight, total, expected) for at in range(rounds))
        with localcontext(prec=60):
            p = Decimal(expected) / Decimal(total)
            term, left = (1 - p) ** weight, rounds
            for j in range(min(weight, 60) + 1):
                share = float(term)
                sigma = sqrt(rounds * share * (1 - share))
                assert abs(counts[j] - rounds * share) <= 5 * sigma + 1e-3 or rounds * share < 1, (weight, j)
                left -= counts[j]
                term = term * (weight - j) * p / ((j + 1) * (1 - p))
        assert left <= 2
        mean = sum(count * times for count, times in counts.items()) / rounds
        variance = weight * (expected / total) * (1 - expected / total)
        assert abs(mean - weight * expected / total) <= 5 * sqrt(variance / rounds)


def test_splitting_a_weight_over_keys_gains_nothing() -> None:
    rounds, total, expected = 4_000, 10_000, 200
    whole = sum(vrf.sortition(output("whole", at), 500, total, expected) for at in range(rounds))
    parts = sum(
        vrf.sortition(output("part", at, part), 50, total, expected) for at in range(rounds) for part in range(10)
    )
    assert abs(whole - parts) <= 5 * sqrt(2 * rounds * 500 * 0.02 * 0.98)


def test_published_vectors() -> None:
    lines = [line for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 128
    for line in lines:
        beta, *numbers = line.split()
        weight, total, expected, count = map(int, numbers)
        assert vrf.sortition(bytes.fromhex(beta), weight, total, expected) == count
        assert defined(bytes.fromhex(beta), weight, total, expected) == count


def test_published_vectors_are_made_as_their_file_says() -> None:
    lines = [line for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    for at, line in enumerate(lines):
        beta = hashlib.sha512(b"city-chain sortition" + at.to_bytes(8, "little")).digest()
        numbers = hashlib.sha512(beta).digest()
        total = (int.from_bytes(numbers[:8], "little") >> at % 64) or 1
        weight = int.from_bytes(numbers[8:16], "little") % (total + 1)
        expected = int.from_bytes(numbers[16:24], "little") % min(total, (10, 100, 1_000, 65_536)[at % 4]) + 1
        beta = {0: bytes(64), 1: b"\xff" * 64}.get(at % 16, beta)
        assert line.split()[:4] == [beta.hex(), str(weight), str(total), str(expected)]


def test_the_ends() -> None:
    for beta in (bytes(64), b"\xff" * 64, output()):
        assert vrf.sortition(beta, 0, 1, 1) == 0
        assert vrf.sortition(beta, 1, 1, 1) == 1
        assert vrf.sortition(beta, 0, HIGHEST, 65_536) == 0
        assert vrf.sortition(beta, 65_536, 65_536, 65_536) == 65_536
    half = 1 << 511
    assert vrf.sortition((half - 1).to_bytes(64, "big"), 1, 2, 1) == 0
    assert vrf.sortition(half.to_bytes(64, "big"), 1, 2, 1) == 1


def test_hostile_numbers_end_soon() -> None:
    """The longest walks that the limits allow, with outputs that nobody draws."""
    for beta in (bytes(64), b"\xff" * 64):
        for weight, total, expected in (
            (HIGHEST, HIGHEST, 65_536),
            (65_537, 65_537, 65_536),
            (131_071, 131_071, 65_536),
            (HIGHEST, HIGHEST, 1),
            (HIGHEST - 1, HIGHEST, 65_535),
        ):
            count = vrf.sortition(beta, weight, total, expected)
            assert 0 <= count <= 80_000
            assert count == defined(beta, weight, total, expected)


def test_numbers_out_of_range_are_refused() -> None:
    beta = bytes(64)
    for weight, total, expected in ((11, 10, 1), (1, 10, 0), (1, 10, 11), (1, 10**9, 65_537), (0, 0, 0), (0, 0, 1)):
        with pytest.raises(InputError, match=r"weight|expected"):
            vrf.sortition(beta, weight, total, expected)
    for numbers in ((-1, 10, 1), (2**64, 10, 1), (1, 2**64, 1), (1, -1, 1), (1, 10, 2**64), (1, 10, -1)):
        with pytest.raises(InputError, match="must be 0 to"):
            vrf.sortition(beta, *numbers)
    for length in (0, 32, 63, 65):
        with pytest.raises(InputError, match="exactly 64"):
            vrf.sortition(bytes(length), 1, 2, 1)
