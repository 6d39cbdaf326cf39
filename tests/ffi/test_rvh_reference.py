"""The frozen placements against a reference that shares nothing with the Rust code: integers of Python alone."""

from __future__ import annotations

import functools
import operator
import struct
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from city_chain import rvh

pytestmark = pytest.mark.ffi

VECTORS = Path(__file__).parents[2] / "native" / "tests" / "vectors" / "rvh_placement.txt"
KEYS = [f"key-{at}" for at in range(8)]
EXCLUDED = [3, 9, 17]
MASK32, MASK64 = 2**32 - 1, 2**64 - 1


# BLAKE3 of one block, after the specification (sections 2.2 and 2.3).
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
ONE_BLOCK = 1 | 2 | 8  # CHUNK_START, CHUNK_END, ROOT
CONTEXT, MATERIAL = 32, 64


def rotate(word: int, bits: int) -> int:
    return (word >> bits | word << (32 - bits)) & MASK32


def compress(key: Sequence[int], message: bytes, flags: int) -> tuple[int, ...]:
    assert len(message) <= 64
    words = struct.unpack("<16I", message.ljust(64, b"\0"))
    state = [*key, *IV[:4], 0, 0, len(message), flags]
    for _ in range(7):
        columns = [(at, 4 + at, 8 + at, 12 + at) for at in range(4)]
        diagonals = [(at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4) for at in range(4)]
        for at, (a, b, c, d) in enumerate(columns + diagonals):
            for word, first, second in ((words[2 * at], 16, 12), (words[2 * at + 1], 8, 7)):
                state[a] = (state[a] + state[b] + word) & MASK32
                state[d] = rotate(state[d] ^ state[a], first)
                state[c] = (state[c] + state[d]) & MASK32
                state[b] = rotate(state[b] ^ state[c], second)
        words = tuple(words[at] for at in PERMUTATION)
    return tuple(map(operator.xor, state[:8], state[8:]))


@functools.cache
def context_key(context: bytes) -> tuple[int, ...]:
    return compress(IV, context, ONE_BLOCK | CONTEXT)


@functools.cache
def hash64(context: bytes, message: bytes) -> int:
    low, high, *_ = compress(context_key(context), message, ONE_BLOCK | MATERIAL)
    return high << 32 | low


def mix(value: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & MASK64
    return value ^ value >> 33


def cost(draw: int) -> int:
    """64 − log₂(draw + 1) with 48 fractional bits, digit by digit."""
    whole = (draw + 1).bit_length() - 1
    x = (draw + 1) << 63 >> whole
    log = whole
    for _ in range(48):
        x = x * x >> 63
        log <<= 1
        if x >= 2**64:
            x >>= 1
            log += 1
    return (64 << 48) - log


def rank(
    ids: Sequence[bytes], weights: Sequence[int], domains: Sequence[int], key: bytes, excluded: Sequence[int] = ()
) -> list[int]:
    """All nodes, best first: by score, draw and id, then dealt out over the domains."""
    under = hash64(b"city-chain v1 rvh key", key)
    draws = [mix(hash64(b"city-chain v1 rvh node", node) ^ under) for node in ids]
    left = [at for at in range(len(ids)) if weights[at] and at not in excluded]
    left.sort(key=lambda at: (Fraction(cost(draws[at]), weights[at]), -draws[at], ids[at]))
    seen: Counter[int] = Counter()
    rounds = []
    for place, at in enumerate(left):
        rounds.append((seen[domains[at]], place, at))
        seen[domains[at]] += 1
    return [at for _, _, at in sorted(rounds)]


Shape = tuple[list[int], list[int], list[int]]


def shapes() -> dict[str, Shape]:
    """Weights in 1/65536, domains and excluded nodes of every name in the file."""
    few, many = range(20), range(1_000)
    rising, odd = [at * 10_000 for at in few], [1 + at * at * 7_919 % 400_009 for at in many]
    one, three, uneven = [0] * 20, [at % 3 for at in few], [at % 16 if at % 5 else 0 for at in many]
    return {
        "plain": ([65_536] * 20, one, []),
        "weighted": (rising, one, []),
        "spread": (rising, three, []),
        "masked": ([65_536] * 20, one, EXCLUDED),
        "masked-weighted": (rising, one, EXCLUDED),
        "masked-spread": (rising, three, EXCLUDED),
        "wide": ([65_536] * 1_000, [0] * 1_000, []),
        "wide-weighted": (odd, [0] * 1_000, []),
        "wide-spread": (odd, uneven, []),
        "wide-even-spread": ([65_536] * 1_000, uneven, []),
    }


def rows() -> list[tuple[str, str, list[int]]]:
    frozen = []
    for line in VECTORS.read_text().splitlines():
        if not line.startswith("#"):
            name, key, places = line.split(" ", 2)
            frozen.append((name, key, [int(place) for place in places.strip("[]").split(", ")]))
    return frozen


def node_set(shape: Shape) -> rvh.NodeSet:
    weights, domains, _ = shape
    ids = [f"node-{at}".encode() for at in range(len(weights))]
    return rvh.NodeSet(ids, [weight / 65_536 for weight in weights], [str(domain).encode() for domain in domains])


def test_the_file_holds_every_shape_under_every_key() -> None:
    assert sorted((name, key) for name, key, _ in rows()) == sorted((name, key) for name in shapes() for key in KEYS)
    assert all(len(places) == 10 for _, _, places in rows())


def test_the_rows_are_those_of_the_reference() -> None:
    named = shapes()
    for name, key, places in rows():
        weights, domains, excluded = named[name]
        ids = [f"node-{at}".encode() for at in range(len(weights))]
        assert rank(ids, weights, domains, key.encode(), excluded)[:10] == places, (name, key)


@pytest.mark.parametrize("name", shapes())
def test_every_frozen_row_comes_in_every_way(name: str) -> None:
    shape = shapes()[name]
    nodes, excluded = node_set(shape), shape[2]
    mine = [(key.encode(), places) for frozen, key, places in rows() if frozen == name]
    assert len(mine) == len(KEYS)
    for key, places in mine:
        assert nodes.pick(key, 10, exclude=excluded) == places
        assert nodes.rank(key, exclude=excluded)[:10] == places
    every = [place for _, places in mine for place in places]
    listed = nodes.pick_many([key for key, _ in mine], 10, exclude=excluded)
    packed = nodes.pick_many(b"".join(key for key, _ in mine), 10, width=5, exclude=excluded)
    assert memoryview(listed).cast("I").tolist() == memoryview(packed).cast("I").tolist() == every


def test_whole_ranks_are_those_of_the_reference() -> None:
    named = shapes()
    for name in ("spread", "masked-spread", "wide-spread", "wide-weighted"):
        weights, domains, excluded = named[name]
        ids = [f"node-{at}".encode() for at in range(len(weights))]
        expected = rank(ids, weights, domains, b"another key", excluded)
        assert node_set(named[name]).rank(b"another key", exclude=excluded) == expected
