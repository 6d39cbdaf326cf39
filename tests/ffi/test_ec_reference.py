"""`gf8` against a slow implementation of its own: the field by shift and reduction, restoring by Gauss."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import ec

pytestmark = pytest.mark.ffi


def multiply(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


TIMES = [bytes(multiply(a, b) for b in range(256)) for a in range(256)]
"""Row a translates bytes to their products with a."""
INVERSE = [0, *(TIMES[a].index(1) for a in range(1, 256))]


def add(rows: list[tuple[int, bytes]], size: int) -> bytes:
    """The sum of factor times row."""
    total = 0
    for factor, row in rows:
        total ^= int.from_bytes(row.translate(TIMES[factor]))
    return total.to_bytes(size)


def generator(k: int, index: int) -> list[int]:
    """The factors of the data fragments in fragment `index`."""
    if index < k:
        return [int(index == column) for column in range(k)]
    return [INVERSE[index ^ column] for column in range(k)]


def encode(data: bytes, k: int, p: int) -> list[bytes]:
    size = max(1, -(-len(data) // k))
    padded = data.ljust(k * size, b"\0")
    pieces = [padded[at * size : (at + 1) * size] for at in range(k)]
    return pieces + [add(list(zip(generator(k, k + at), pieces, strict=True)), size) for at in range(p)]


def solve(fragments: dict[int, bytes], k: int, length: int) -> bytes:
    """Gauss elimination on all k equations."""
    rows = [(generator(k, index), fragment) for index, fragment in list(fragments.items())[:k]]
    size = len(rows[0][1])
    for column in range(k):
        pivot = next(at for at in range(column, k) if rows[at][0][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = INVERSE[rows[column][0][column]]
        factors = [TIMES[inverse][factor] for factor in rows[column][0]]
        rows[column] = (factors, rows[column][1].translate(TIMES[inverse]))
        for at in range(k):
            factor = rows[at][0][column]
            if at != column and factor:
                left = [a ^ TIMES[factor][b] for a, b in zip(rows[at][0], factors, strict=True)]
                rows[at] = (left, add([(1, rows[at][1]), (factor, rows[column][1])], size))
    return b"".join(row for _, row in rows)[:length]


def test_the_reference_knows_the_published_fragments() -> None:
    data = bytes((7 * i + 1) & 255 for i in range(800))
    assert [f.hex() for f in encode(data[:32], 4, 2)[4:]] == ["514aaabb74b6dfee", "f92bcb1b81282a04"]
    parity = encode(data, 100, 100)[100:]
    assert (parity[0].hex(), parity[-1].hex()) == ("590e3876cdc15d20", "6f945df51a0619d8")


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    p = draw(st.integers(0, 64))
    return draw(st.one_of(st.integers(1, 12), st.integers(1, 256 - p))), p


@settings(max_examples=60)
@given(counts=counts(), data=st.binary(max_size=600), random=st.randoms(use_true_random=False))
def test_random_counts_equal_the_reference(counts: tuple[int, int], data: bytes, random: Random) -> None:
    k, p = counts
    expected = encode(data, k, p)
    encoded = ec.encode(data, k, p)
    assert (encoded.code, [bytes(fragment) for fragment in encoded]) == ("gf8", expected)
    kept = random.sample(range(k + p), k)
    survivors = {index: expected[index] for index in kept}
    if k <= 40:
        assert solve(survivors, k, len(data)) == data
    assert ec.decode(survivors, k, p, len(data)) == data
    missing = sorted(set(range(k + p)) - set(kept))
    assert ec.rebuild(survivors, missing, k, p, len(data)) == {index: expected[index] for index in missing}


@settings(max_examples=60)
@given(k=st.integers(1, 30), p=st.integers(1, 30), size=st.integers(1, 200), random=st.randoms(use_true_random=False))
@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_it_is_linear(code: str, k: int, p: int, size: int, random: Random) -> None:
    codec = ec.Codec(k, p, code=code)
    a, b = random.randbytes(k * size), random.randbytes(k * size)
    total = bytes(x ^ y for x, y in zip(a, b, strict=True))
    left, right, both = (bytes(codec.encode(data, fragment_hash=None).parity) for data in (a, b, total))
    assert bytes(x ^ y for x, y in zip(left, right, strict=True)) == both


@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_any_flipped_bit_is_caught(code: str) -> None:
    """Parity does not notice; the hash of the fragment does."""
    encoded = ec.encode(bytes(range(60)), 3, 2, code=code)
    for index, fragment in enumerate(encoded):
        for bit in range(8 * len(fragment)):
            wrong = bytearray(fragment)
            wrong[bit // 8] ^= 1 << bit % 8
            assert ec.encode(wrong, 1, 0).hashes[0] != encoded.hashes[index]
