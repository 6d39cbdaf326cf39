"""Filters across the boundary: Parquet's vector, promises, hostile encodings, threads."""

from __future__ import annotations

import array
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import cbf
from city_chain.errors import InputError, UnavailableError

pytestmark = pytest.mark.ffi

KEYS = st.lists(st.binary(max_size=40), max_size=60)
GOLDEN = Path(__file__).parents[2] / "native" / "tests" / "vectors" / "cbf_filters.txt"


def packed(start: int, count: int) -> bytes:
    """Different keys of 8 bytes each, one after another."""
    return b"".join(at.to_bytes(8, "little") for at in range(start, start + count))


def ones(bits: bytes) -> int:
    return int.from_bytes(bits, "little").bit_count()


def test_known_answer_of_xxh64_and_of_the_block() -> None:
    # XXH64("hello") = 0x26c7827d889f6da3: block 4 of 32, one bit in each of its eight words.
    bloom = cbf.Bloom.from_bitset(bytes(1024), 4)
    assert bloom.insert(b"hello")
    expected = bytearray(1024)
    for word, bit in enumerate((20, 9, 10, 7, 9, 31, 28, 27)):
        expected[4 * 32 + word * 4 + bit // 8] |= 1 << bit % 8
    assert bloom.bitset() == expected


def test_the_file_of_parquet_testing_is_rebuilt() -> None:
    folder = os.environ.get("CITY_CHAIN_VECTORS")
    if folder is None:
        pytest.skip("CITY_CHAIN_VECTORS is not set")
    bitset = (Path(folder) / "parquet_bloom_filter.xxhash.bin").read_bytes()[16:]
    words = [b"hello", b"parquet", b"bloom", b"filter"]
    made = cbf.Bloom.from_bitset(bytes(1024), 4)
    assert made.insert_many(words) == 4
    assert made.bitset() == bitset
    assert cbf.Bloom.from_bitset(bitset, 4).contains_many(words) == b"\x0f"


def test_encodings_are_frozen() -> None:
    lines = dict(line.split(" ", 1) for line in GOLDEN.read_text().splitlines() if not line.startswith("#"))
    bloom, cuckoo = cbf.Bloom.from_bitset(bytes(32), 3, 0.25, seed=9), cbf.Cuckoo(1, seed=9)
    bloom.insert(b"a")
    cuckoo.insert(b"a")
    assert bloom.to_bytes().hex() == lines["bloom"]
    assert cuckoo.to_bytes().hex() == lines["cuckoo"]


@settings(deadline=None, max_examples=100)
@given(a=KEYS, b=KEYS, seed=st.integers(0, 2**64 - 1))
def test_bloom_behaves(a: list[bytes], b: list[bytes], seed: int) -> None:
    def build(*parts: list[bytes]) -> cbf.Bloom:
        bloom = cbf.Bloom(100, 0.01, seed=seed)
        for part in parts:
            bloom.insert_many(part)
        return bloom

    left, right = build(a), build(b)
    both = left.union(right)
    assert both.to_bytes() == (left | right).to_bytes() == build(a, b).to_bytes()
    assert left.union(left).to_bytes() == left.to_bytes()
    assert all(key in both for key in a + b)
    verdicts = left.contains_many(a + b)
    assert [verdicts[at // 8] >> at % 8 & 1 for at in range(len(a + b))] == [int(key in left) for key in a + b]
    again = cbf.Bloom.from_bytes(both.to_bytes())
    assert again.to_bytes() == both.to_bytes()
    assert (again.capacity, again.fpr, again.seed, len(again)) == (100, 0.01, seed, len(both))
    assert abs(len(both) - len({*a, *b})) <= 4


@settings(deadline=None, max_examples=100)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200), seed=st.integers(0, 2**64 - 1))
def test_cuckoo_is_a_multiset_that_never_denies(steps: list[tuple[bool, int]], seed: int) -> None:
    cuckoo, model = cbf.Cuckoo(60, seed=seed), dict.fromkeys(range(31), 0)
    for add, number in steps:
        key, before = bytes([number]), cuckoo.to_bytes()
        if add:
            try:
                cuckoo.insert(key)
                model[number] += 1
            except UnavailableError:
                assert cuckoo.saturated
                assert cuckoo.to_bytes() == before
            except InputError:
                assert model[number] >= 4
                assert cuckoo.to_bytes() == before
        elif model[number]:
            cuckoo.remove(key)
            model[number] -= 1
        elif key not in cuckoo:
            with pytest.raises(InputError, match="cannot be removed"):
                cuckoo.remove(key)
            assert cuckoo.to_bytes() == before
        assert len(cuckoo) == sum(model.values())
        assert all(bytes([at]) in cuckoo for at, count in model.items() if count)
    assert cbf.Cuckoo.from_bytes(cuckoo.to_bytes()).to_bytes() == cuckoo.to_bytes()


@settings(deadline=None, max_examples=50)
@given(keys=st.lists(st.binary(min_size=3, max_size=3), max_size=80, unique=True))
def test_batch_is_single_in_every_form(keys: list[bytes]) -> None:
    joined = b"".join(keys)
    for make in (lambda: cbf.Bloom(100), lambda: cbf.Cuckoo(100)):
        one, many, wide, lazy = make(), make(), make(), make()
        for key in keys:
            one.insert(key)
        many.insert_many(keys)
        wide.insert_many(array.array("B", joined), width=3)
        lazy.insert_many(bytearray(key) for key in keys)
        assert one.to_bytes() == many.to_bytes() == wide.to_bytes() == lazy.to_bytes()
        assert one.contains_many(joined, width=3) == one.contains_many(keys)
        assert ones(one.contains_many(keys)) == len(keys)
        assert len(one.contains_many(keys)) == -(-len(keys) // 8)


@pytest.mark.parametrize(("capacity", "fpr"), [(20_000, 0.01), (50_000, 0.01), (50_000, 0.2), (20_000, 0.0005)])
def test_bloom_at_its_capacity_and_past_it(capacity: int, fpr: float) -> None:
    bloom = cbf.Bloom(capacity, fpr, seed=5)
    bloom.insert_many(packed(0, capacity), width=8)
    assert ones(bloom.contains_many(packed(0, capacity), width=8)) == capacity
    assert not bloom.saturated
    assert bloom.estimated_fpr <= fpr
    assert 0 < bloom.load < 1
    strangers = 200_000
    passed = ones(bloom.contains_many(packed(2**40, strangers), width=8))
    rate = bloom.estimated_fpr
    assert abs(passed - rate * strangers) <= 5 * (rate * (1 - rate) * strangers) ** 0.5 + 1
    bloom.insert_many(packed(2**50, capacity), width=8)
    assert bloom.saturated
    assert bloom.estimated_fpr > fpr


def test_cuckoo_at_its_capacity_and_past_it() -> None:
    cuckoo = cbf.Cuckoo(100_000, seed=5)
    cuckoo.insert_many(packed(0, 100_000), width=8)
    assert (len(cuckoo), cuckoo.saturated) == (100_000, True)
    assert ones(cuckoo.contains_many(packed(0, 100_000), width=8)) == 100_000
    strangers, rate = 1_000_000, cuckoo.estimated_fpr
    passed = ones(cuckoo.contains_many(packed(2**40, strangers), width=8))
    assert abs(passed - rate * strangers) <= 5 * (rate * strangers) ** 0.5
    assert rate < 0.0002
    before = cuckoo.to_bytes()
    with pytest.raises(UnavailableError, match="holds 100000 of 100000 keys: needed 1, had 0"):
        cuckoo.insert(b"one more")
    assert cuckoo.to_bytes() == before
    cuckoo.remove(packed(7, 1))
    with pytest.raises(UnavailableError) as caught:
        cuckoo.insert_many([b"two", b"more"])
    assert (caught.value.needed, caught.value.had) == (2, 1)
    cuckoo.insert(b"one more")
    assert b"one more" in cuckoo


def test_copies_and_batches_that_fail_whole() -> None:
    cuckoo = cbf.Cuckoo(1_000)
    cuckoo.insert_many([b"again"] * 8)
    before = cuckoo.to_bytes()
    with pytest.raises(InputError, match="8 copies"):
        cuckoo.insert(b"again")
    with pytest.raises(InputError, match="key 2 of the batch"):
        cuckoo.insert_many([b"x", b"y", b"again", b"z"])
    with pytest.raises(TypeError, match=r"keys\[1\]"):
        cuckoo.insert_many([b"x", "y"])  # type: ignore[list-item]
    assert cuckoo.to_bytes() == before
    for _ in range(8):
        cuckoo.remove(b"again")
    assert (len(cuckoo), b"again" in cuckoo) == (0, False)


def test_sizes_are_within_the_design() -> None:
    assert cbf.Bloom(1_000_000, 0.006).table_len * 8 <= 12_000_000
    assert cbf.Cuckoo(1_000_000).table_len * 8 <= 18_000_000


def test_damaged_and_hostile_encodings_are_refused() -> None:
    bloom, cuckoo = cbf.Bloom(20), cbf.Cuckoo(20)
    bloom.insert(b"a")
    cuckoo.insert(b"a")
    for kind, data in ((cbf.Bloom, bloom.to_bytes()), (cbf.Cuckoo, cuckoo.to_bytes())):
        assert b"a" in kind.from_bytes(bytearray(data))
        hostile = [data[:end] for end in range(len(data))]
        hostile += [data + b"\0", bytes(100), b"", b"CCbl" * 40, b"CCcf\x01\x00" + b"\xff" * 60]
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            hostile.append(bytes(flipped))
        for wrong in hostile:
            with pytest.raises(InputError):
                kind.from_bytes(wrong)
    # A claimed length of 4 GiB, and one within the limit that is not there: refused before anything is made of it.
    for claim in (2**32 - 1, 2**30):
        with pytest.raises(InputError, match=r"length|claimed"):
            cbf.Bloom.from_bytes(bloom.to_bytes()[:30] + claim.to_bytes(4, "little") + bytes(40))
    with pytest.raises(InputError, match="version 2"):
        cbf.Cuckoo.from_bytes(b"CCcf\x02\x00" + cuckoo.to_bytes()[6:])


def test_a_filter_of_ones_holds_anything() -> None:
    full = cbf.Bloom.from_bitset(b"\xff" * 64, 1)
    assert b"anything" in full
    assert full.saturated
    assert (full.load, full.estimated_fpr) == (1.0, 1.0)
    assert len(full) == 2**63 - 1


def test_numbers_that_make_no_sense_are_refused() -> None:
    for capacity in (0, -1, 2**32 + 1, 2**63, 2**64, 10**40):
        for kind in (cbf.Bloom, cbf.Cuckoo):
            with pytest.raises(InputError):
                kind(capacity)
    for fpr in (0, 1, 0.6, -0.1, 1e-12, float("nan"), float("inf"), 10**400):
        with pytest.raises(InputError, match=r"rate|float"):
            cbf.Bloom(10, fpr)
    with pytest.raises(InputError, match="need more than"):
        cbf.Bloom(2**32)
    with pytest.raises(InputError, match="seed 1"):
        cbf.Bloom(10).union(cbf.Bloom(10, seed=1))
    with pytest.raises(InputError, match="multiple of 32"):
        cbf.Bloom.from_bitset(bytes(33), 1)
    with pytest.raises(InputError, match="multiple of the width"):
        cbf.Bloom(10).insert_many(b"12345", width=2)
    with pytest.raises(TypeError, match="needs its width"):
        cbf.Bloom(10).insert_many(b"12345")
    with pytest.raises(TypeError):
        cbf.Bloom(10) | 3  # type: ignore[operator]


def test_many_threads_share_a_filter() -> None:
    bloom, cuckoo, errors = cbf.Bloom(20_000), cbf.Cuckoo(20_000), []

    def hammer(seed: int) -> None:
        random, mine = Random(seed), [seed.to_bytes(4, "big") + bytes([at]) for at in range(200)]
        for key in mine:
            bloom.insert(key)
            cuckoo.insert(key)
        batch = packed(seed << 32, 1_000)  # long enough to release the GIL
        cuckoo.insert_many(batch, width=8)
        bloom.insert_many(batch, width=8)
        for key in random.sample(mine, 100):
            cuckoo.remove(key)
        bloom.union(bloom).to_bytes()
        cuckoo.to_bytes()
        if not all(key in bloom for key in mine) or ones(cuckoo.contains_many(batch, width=8)) != 1_000:
            errors.append(seed)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))
    assert not errors
    assert len(cuckoo) == 8 * 1_100
    assert abs(len(bloom) - 8 * 1_200) <= 2 * (8 * 1_200) ** 0.5
