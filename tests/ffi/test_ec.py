"""Erasure coding across the boundary: known answers, every survivor set, zero copy, threads."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import ec
from city_chain.errors import InputError, UnavailableError

pytestmark = pytest.mark.ffi


def sample(length: int) -> bytes:
    """The design's input: byte i is (7i + 1) mod 256."""
    return bytes((7 * i + 1) & 255 for i in range(length))


def by_index(encoded: ec.Encoded) -> dict[int, memoryview]:
    return dict(enumerate(encoded.fragments))


@pytest.mark.parametrize(
    ("k", "p", "size", "prefix"),
    [
        (4, 2, 64, "2431dd9983c64023"),
        (4, 2, 66, "c061e72cb83c207c"),
        (20, 10, 64, "9d9d63a9c58dd1cf"),
        (100, 100, 64, "0e7e06f7cd8a4e6b"),
    ],
)
def test_known_answers_of_rs16(k: int, p: int, size: int, prefix: str) -> None:
    encoded = ec.encode(sample(k * size), k, p, code="rs16")
    assert (encoded.k, encoded.p, encoded.n, len(encoded)) == (k, p, k + p, k + p)
    assert (encoded.fragment_len, encoded.length, encoded.code, encoded.code_id) == (size, k * size, "rs16", 1)
    assert hashlib.sha256(b"".join(encoded.fragments[k:])).hexdigest()[:16] == prefix


@pytest.mark.parametrize(
    ("k", "p", "first", "last"),
    [(4, 2, "514aaabb74b6dfee", "f92bcb1b81282a04"), (10, 4, "95973338195f4d4e", "5dbffa4f05892465")],
)
def test_known_answers_of_gf8(k: int, p: int, first: str, last: str) -> None:
    encoded = ec.encode(sample(k * 8), k, p)
    assert (encoded.fragment_len, encoded.length, encoded.code, encoded.code_id) == (8, k * 8, "gf8", 2)
    assert (encoded[k].hex(), encoded[-1].hex()) == (first, last)
    assert encoded.parity == b"".join(encoded.fragments[k:])


def test_the_code_follows_from_the_counts_alone() -> None:
    for k, p in [(1, 0), (6, 4), (192, 64), (256, 0)]:
        assert ec.code_for(k, p) == ("gf8", 2)
    for k, p in [(193, 64), (257, 0), (1, 65), (100, 100), (32_768, 32_768)]:
        assert ec.code_for(k, p) == ("rs16", 1)
    for name, code in [("rs16", 1), ("gf8", 2)]:
        by_name, by_id = ec.encode(b"payload", 3, 2, code=name), ec.encode(b"payload", 3, 2, code=code)
        assert list(by_name) == list(by_id)
        assert (by_name.code, by_name.code_id) == (by_id.code, by_id.code_id) == (name, code)
    for wrong in ("RS16", "", "gf16", "\ud800", 0, 3, 258, -1, 2**64):
        with pytest.raises(InputError):
            ec.encode(b"payload", 3, 2, code=wrong)
    for wrong in (1.0, True, b"gf8", [1]):
        with pytest.raises(TypeError):
            ec.encode(b"payload", 3, 2, code=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="k = 100, p = 100: gf8 needs"):
        ec.encode(b"payload", 100, 100, code="gf8")


@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_the_code_that_encoded_must_decode(code: str) -> None:
    """What an older version dispersed by `rs16` is read by its id, whatever (k, p) takes today."""
    data = sample(1003)
    encoded = ec.encode(data, 6, 4, code=code)
    survivors = {i: bytes(encoded[i]) for i in (0, 2, 4, 7, 8, 9)}
    for name in (encoded.code, encoded.code_id):
        assert ec.decode(survivors, 6, 4, 1003, code=name) == data
        assert ec.rebuild(survivors, [1, 6], 6, 4, 1003, code=name) == {1: bytes(encoded[1]), 6: bytes(encoded[6])}
    other = "gf8" if code == "rs16" else "rs16"
    assert ec.decode(survivors, 6, 4, 1003, code=other) != data, "the same sizes, and nothing that could tell"
    assert ec.fragment_len(1003, 6, 4, code=code) == encoded.fragment_len == 168
    assert [ec.fragment_len(100, 6, 4, code=name) for name in (None, "rs16", "gf8")] == [17, 18, 17]


def test_hashes_are_plain_blake3() -> None:
    # BLAKE3's official vector for the two bytes 0, 1.
    encoded = ec.encode(b"\x00\x01", 1, 1)
    assert encoded.hashes[0].hex() == "7b7015bb92cf0b318037702a6cdd81dee41224f734684c2c122cd6359cb1ee63"
    assert encoded.hashes[1] == encoded.hashes[0], "the parity of one fragment is that fragment"
    assert [len(digest) for digest in encoded.hashes] == [32, 32]


@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_every_survivor_set_up_to_sixteen_restores(code: str) -> None:
    for n in range(1, 17):
        for k in range(1, n + 1):
            data = sample(k * 2)
            codec = ec.Codec(k, n - k, code=code)
            fragments = [(i, bytes(f)) for i, f in enumerate(codec.encode(data, fragment_hash=None))]
            assert all(codec.decode(dict(kept), 2 * k) == data for kept in combinations(fragments, k)), (k, n)


def test_every_survivor_set_restores_and_one_less_does_not() -> None:
    random = Random(1)
    for n in range(1, 13):
        for k in range(1, n + 1):
            data = sample(k * 6 - 1)
            codecs = [ec.Codec(k, n - k, code=code) for code in ("rs16", "gf8")]
            encoded = [by_index(codec.encode(data)) for codec in codecs]
            survivors = list(combinations(range(n), k))
            for kept in random.sample(survivors, min(len(survivors), 80)):
                for codec, fragments in zip(codecs, encoded, strict=True):
                    assert codec.decode({i: fragments[i] for i in kept}, len(data)) == data, (codec, kept)
            fragments = by_index(ec.encode(data, k, n - k))
            too_few = list(combinations(range(n), k - 1))
            for kept in random.sample(too_few, min(len(too_few), 40)):
                with pytest.raises(UnavailableError, match=f"needed {k}, had {k - 1}") as caught:
                    ec.decode({i: fragments[i] for i in kept}, k, n - k, len(data))
                assert (caught.value.needed, caught.value.had) == (k, k - 1)


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=500), k=st.integers(1, 24), p=st.integers(0, 24), random=st.randoms(use_true_random=False)
)
def test_any_k_restore_and_rebuild_is_encode(data: bytes, k: int, p: int, random: Random) -> None:
    encoded = ec.encode(data, k, p)
    fragments = by_index(encoded)
    kept = sorted(random.sample(range(k + p), k))
    survivors = {i: bytes(fragments[i]) for i in kept}
    assert ec.decode(survivors, k, p, len(data)) == data
    missing = [i for i in range(k + p) if i not in survivors]
    assert ec.rebuild(survivors, missing, k, p, len(data)) == {i: bytes(fragments[i]) for i in missing}
    assert encoded.fragment_len == ec.fragment_len(len(data), k, p)
    assert b"".join(fragments[i] for i in range(k))[: len(data)] == data


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 63, 64, 65, 4096, 100_000, 3_000_001])
@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_lengths(length: int, code: str) -> None:
    data = sample(length)
    encoded = ec.encode(data, 6, 4, code=code)
    fragments = by_index(encoded)
    assert ec.decode({i: fragments[i] for i in (1, 3, 6, 7, 8, 9)}, 6, 4, length, code=code) == data
    assert ec.decode({i: fragments[i] for i in range(6)}, 6, 4, length, code=code) == data
    whole = {i: bytes(fragments[i]) for i in range(10)}
    for lost in ([0], [5], [9], [0, 5, 6, 9]):
        kept = {i: whole[i] for i in range(10) if i not in lost}
        assert ec.rebuild(kept, lost, 6, 4, length, code=code) == {i: whole[i] for i in lost}
        assert ec.rebuild(kept, range(10), 6, 4, length, code=code) == whole, "what is there is given back"
    assert encoded.hashes == [ec.encode(whole[i], 1, 0).hashes[0] for i in range(10)]
    assert ec.encode(data, 6, 4, code=code, fragment_hash=None).hashes == []
    assert list(ec.encode(data, 6, 4, code=code, fragment_hash=None)) == list(encoded)


def test_data_fragments_are_views_of_the_input_and_parity_of_one_object() -> None:
    data = sample(100)
    encoded = ec.encode(data, 6, 4)
    assert all(fragment.obj is data and fragment.readonly for fragment in encoded.fragments[:5])
    assert bytes(encoded[5]) == data[85:] + bytes(2)
    assert len({id(fragment.obj) for fragment in encoded.fragments[6:]}) == 1
    assert isinstance(encoded[6].obj, bytes)
    view = memoryview(data)[3:90]
    of_view = ec.encode(view, 2, 1)
    view.release()
    assert of_view[0].obj is data
    assert bytes(of_view[0]) == data[3:47]
    assert encoded.parity.obj is encoded[6].obj
    assert encoded.parity.readonly
    assert list(encoded) == list(encoded.fragments)
    assert (encoded[-1], encoded[-10]) == (encoded[9], encoded[0])
    for index in (10, -11):
        with pytest.raises(IndexError, match="there are only 10"):
            encoded[index]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda data: array.array("B", data)])
def test_every_kind_of_buffer(kind: type[bytearray]) -> None:
    data = sample(50)
    encoded = ec.encode(kind(data), 3, 2)
    assert encoded.hashes == ec.encode(data, 3, 2).hashes
    survivors = {i: kind(bytes(encoded[i])) for i in (0, 3, 4)}
    assert ec.decode(survivors, 3, 2, 50) == data
    assert ec.rebuild(survivors, [1], 3, 2, 50) == {1: bytes(encoded[1])}


def test_what_can_change_is_copied_before_it_counts() -> None:
    data = bytearray(sample(60))
    encoded = ec.encode(data, 3, 2)
    before = [bytes(fragment) for fragment in encoded.fragments]
    data[:] = bytes(60)
    assert [bytes(fragment) for fragment in encoded.fragments] == before


def test_views_of_more_dimensions() -> None:
    data = sample(60)
    square = memoryview(data).cast("B", (6, 10))
    assert [bytes(f) for f in ec.encode(square, 3, 2).fragments] == [bytes(f) for f in ec.encode(data, 3, 2).fragments]
    with pytest.raises(InputError, match="without gaps"):
        ec.encode(memoryview(data)[::2], 3, 2)


def test_any_mapping_will_do_but_no_index_twice() -> None:
    fragments = by_index(ec.encode(b"payload", 2, 2))

    class Odd(Mapping[int, memoryview]):
        def __init__(self, *indices: int) -> None:
            self.indices = indices

        def __getitem__(self, index: int) -> memoryview:
            return fragments[index]

        def __iter__(self) -> Iterator[int]:
            return iter(self.indices)

        def __len__(self) -> int:
            return len(self.indices)

    assert ec.decode(Odd(3, 1), 2, 2, 7) == b"payload"
    with pytest.raises(InputError, match="fragment 1 is there twice"):
        ec.decode(Odd(1, 1), 2, 2, 7)


def test_a_dict_that_changes_under_the_call_is_read_as_it_was() -> None:
    fragments = by_index(ec.encode(b"payload", 2, 2))
    given: dict[int, object] = {}

    class Odd:
        def __buffer__(self, flags: int) -> memoryview:
            given.clear()
            given.update(dict.fromkeys(range(100), b""))
            return memoryview(bytes(fragments[0]))

    given |= {0: Odd(), 3: bytes(fragments[3])}
    assert ec.decode(given, 2, 2, 7) == b"payload"  # type: ignore[arg-type]
    assert len(given) == 100


def test_a_codec_gives_what_the_functions_give() -> None:
    for code in ("rs16", "gf8"):
        codec = ec.Codec(6, 4, code=code)
        assert (codec.k, codec.p, codec.n, codec.code, codec.code_id) == (6, 4, 10, code, 1 if code == "rs16" else 2)
        for length in (4096, 0, 1, 100_000, 4096):
            data = sample(length)
            encoded, expected = codec.encode(data), ec.encode(data, 6, 4, code=code)
            assert list(encoded) == list(expected)
            assert encoded.hashes == expected.hashes
            assert codec.encode(data, fragment_hash=None).hashes == []
            survivors = {i: encoded[i] for i in range(4, 10)}
            assert codec.decode(survivors, length) == data
            assert codec.rebuild(survivors, [0, 3], length) == {i: bytes(encoded[i]) for i in (0, 3)}
            assert codec.fragment_len(length) == encoded.fragment_len
    assert ec.Codec(6, 4).code == "gf8"
    for length in (0, 6, 7):
        without = ec.Codec(6, 0).encode(sample(length))
        assert (without.parity, without.n, len(without.hashes)) == (b"", 6, 6)
        assert ec.decode(by_index(without), 6, 0, length) == sample(length)
    assert repr(ec.Codec(1000, 4)) == "<Codec rs16: 1000 data and 4 parity fragments>"
    with pytest.raises(InputError, match="gf8 needs"):
        ec.Codec(256, 1, code="gf8")
    with pytest.raises(UnavailableError, match="needed 6, had 0"):
        ec.Codec(6, 4).decode({}, 7)


def test_numbers_that_make_no_sense_say_so() -> None:
    encoded = ec.encode(b"payload", 2, 1)
    good = by_index(encoded)
    for k, p in [(0, 1), (32_769, 1), (1, 32_769), (2**31, 0), (2**63, 2**63)]:
        with pytest.raises(InputError, match="1 ≤ k ≤ 32768"):
            ec.encode(b"payload", k, p)
    with pytest.raises(InputError, match="fragment 3: there are only 3"):
        ec.decode({0: good[0], 3: good[1]}, 2, 1, 7)
    with pytest.raises(InputError, match="fragment 1 has 3 bytes; 7 bytes in 2 fragments make 4 each"):
        ec.decode({0: good[0], 1: good[1][:3]}, 2, 1, 7)
    for length in (0, 20, 2**40, 2**64 - 1):
        with pytest.raises(InputError, match=r"length|make"):
            ec.decode(good, 2, 1, length)
    with pytest.raises(InputError, match="fragment 3: there are only 3"):
        ec.rebuild(good, [3], 2, 1, 7)
    with pytest.raises(InputError, match="of memory"):
        ec.encode(bytes(8 << 20), 1, 32_768)
    for p in (-1, -(2**70)):
        with pytest.raises(InputError, match="the integer must be 0 to"):
            ec.encode(b"payload", 2, p)
        with pytest.raises(InputError, match="the integer must be 0 to"):
            ec.decode({p: good[0]}, 2, 1, 7)
    with pytest.raises(InputError, match="fragment 1 has 5 bytes; 7 bytes in 2 fragments make 4 each"):
        ec.rebuild({0: good[0], 1: bytes(5)}, [2], 2, 1, 7)
    with pytest.raises(InputError, match="blake3"):
        ec.encode(b"payload", 2, 1, fragment_hash="md5")
    with pytest.raises(InputError, match="at most"):
        ec.fragment_len(2**40, 4, 0)


def test_the_largest_counts() -> None:
    data = sample(40_000)
    encoded = ec.encode(data, 32_768, 32_768)
    survivors = {i: encoded[i] for i in range(32_768, 65_536)}
    assert ec.decode(survivors, 32_768, 32_768, len(data)) == data


def test_many_threads_at_once() -> None:
    data = sample(70_000)
    encoded = ec.encode(data, 6, 4)
    expected = encoded.hashes

    def one(seed: int) -> bool:
        kept = Random(seed).sample(range(10), 6)
        restored = ec.decode({i: encoded[i] for i in kept}, 6, 4, len(data))
        return restored == data and ec.encode(restored, 6, 4).hashes == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))
