"""Key encapsulation across the boundary: vectors, hostile bytes, secrecy; halves recomputed by other libraries."""

from __future__ import annotations

import copy
import doctest
import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import kem
from city_chain.errors import InputError, VerificationError

pytestmark = pytest.mark.ffi

SUITES: tuple[Any, ...] = ("x-wing", "sntrup761-x25519")
SIZES = {"x-wing": (1218, 1120), "sntrup761-x25519": (1192, 1071)}
PREFIXES = {"x-wing": (b"xs", b"xp"), "sntrup761-x25519": (b"ns", b"np")}
PRIME = 2**255 - 19
SEEDS = st.binary(min_size=32, max_size=32)
# The u-coordinates of small order on Curve25519 and its twist (RFC 7748, section 7; "May the Fourth Be With You").
SMALL_ORDER = [
    0,
    1,
    PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]


def test_doctests() -> None:
    failed, attempted = doctest.testmod(kem)
    assert not failed
    assert attempted >= 8
    for thing in (kem.SecretKey, kem.PublicKey):
        assert thing.__doc__ is not None
        assert ">>>" in thing.__doc__
        assert all(value.__doc__ for name, value in vars(thing).items() if not name.startswith("_"))
        assert thing.__module__ == kem.__name__


def test_vectors_of_the_draft() -> None:
    folder = os.environ.get("CITY_CHAIN_VECTORS")
    if folder is None:
        pytest.skip("CITY_CHAIN_VECTORS is not set")
    cases = json.loads((Path(folder) / "xwing_kem.json").read_text())
    assert len(cases) == 3
    for case in cases:
        key = kem.SecretKey(bytes.fromhex(case["sk"]))
        assert key.public_key.hex() == b"xp".hex() + case["pk"]
        assert key.decapsulate(bytes.fromhex(case["ct"])).hex() == case["ss"]


def test_a_fixed_key_stays_the_same() -> None:
    # So that stored seeds open what was encapsulated to them under any later version.
    ids = {suite: kem.PublicKey(kem.SecretKey(bytes(range(32)), suite=suite).public_key).id.hex() for suite in SUITES}
    assert ids == {
        "x-wing": "030900b834e943eb24e8dc7faf8f02c13870e3e52637a95376cc3160e986d041",
        "sntrup761-x25519": "ccbccf473d250229f0c4b6c848492a9145543be8c59e97cddecf72a08807ece0",
    }


@pytest.mark.parametrize("suite", SUITES)
def test_both_ends_have_the_secret(suite: Any) -> None:
    key = kem.SecretKey.generate(suite)
    public = kem.PublicKey(bytearray(key.public_key))
    assert (len(key.public_key), kem.ciphertext_len(suite)) == SIZES[suite]
    assert (key.suite, public.suite, public.to_bytes()) == (suite, suite, key.public_key)
    seen = set()
    for ciphertext, secret in (kem.encapsulate(memoryview(key.public_key)), public.encapsulate(), public.encapsulate()):
        assert (len(ciphertext), len(secret)) == (SIZES[suite][1], 32)
        assert key.decapsulate(bytearray(ciphertext)) == secret
        seen |= {ciphertext, secret}
    assert len(seen) == 6
    again = kem.SecretKey.from_bytes(key.to_bytes())
    assert again.public_key == key.public_key
    assert again.decapsulate(ciphertext) == secret
    assert key.to_bytes()[:2] == PREFIXES[suite][0]
    assert key.public_key[:2] == PREFIXES[suite][1]
    assert kem.SecretKey(key.to_bytes()[2:], suite=suite).public_key == key.public_key
    assert kem.SecretKey.generate(suite).public_key != key.public_key


def test_the_suite_is_named() -> None:
    assert kem.SecretKey(bytes(32)).suite == kem.SecretKey.generate().suite == "x-wing"
    for name in ("", "X-Wing", "xwing", "sntrup761", "x-wing\0", "ml-kem-768", "ntru"):
        calls: list[Callable[[Any], object]] = [
            kem.SecretKey.generate,
            kem.ciphertext_len,
            lambda name: kem.SecretKey(bytes(32), suite=name),
        ]
        for call in calls:
            with pytest.raises(InputError, match='"x-wing" or "sntrup761-x25519" is needed'):
                call(name)
    with pytest.raises(TypeError):
        kem.SecretKey(bytes(32), "x-wing")  # type: ignore[call-arg]


@pytest.mark.parametrize("suite", SUITES)
def test_a_wrong_ciphertext_gives_another_secret_and_no_error(suite: Any) -> None:
    key = kem.SecretKey(bytes([1]) * 32, suite=suite)
    ciphertext, secret = kem.encapsulate(key.public_key)
    secrets = {secret}
    places = [0, 1, len(ciphertext) // 2, len(ciphertext) - 33, len(ciphertext) - 32, len(ciphertext) - 1]
    for at in places:
        wrong = bytearray(ciphertext)
        wrong[at] ^= 0x80
        secrets.add(key.decapsulate(wrong))
        assert key.decapsulate(wrong) == key.decapsulate(bytes(wrong))
    secrets.add(kem.SecretKey(bytes([2]) * 32, suite=suite).decapsulate(ciphertext))
    assert len(secrets) == len(places) + 2


@pytest.mark.parametrize("suite", SUITES)
def test_wrong_lengths_are_refused_with_the_reason(suite: Any) -> None:
    key = kem.SecretKey(bytes([3]) * 32, suite=suite)
    ciphertext, _ = kem.encapsulate(key.public_key)
    for wrong in (b"", ciphertext[:-1], ciphertext + b"\0", bytes(1 << 20)):
        with pytest.raises(InputError, match=f"{len(wrong)} bytes, one of {suite} has {len(ciphertext)}"):
            key.decapsulate(wrong)
    for cut in (key.public_key[:-1], key.public_key + b"\0", key.public_key[:2]):
        for read in (kem.PublicKey, kem.encapsulate):
            with pytest.raises(InputError, match=f"{len(cut)} bytes"):
                read(cut)
    for wrong in (key.to_bytes()[:-1], key.to_bytes() + b"\0"):
        with pytest.raises(InputError, match=f"{len(wrong)} bytes"):
            kem.SecretKey.from_bytes(wrong)
    for seed in (b"", bytes(31), bytes(33)):
        with pytest.raises(InputError, match=f"the seed: {len(seed)} bytes"):
            kem.SecretKey(seed, suite=suite)


def test_keys_of_another_kind_are_refused() -> None:
    xwing, sntrup = (kem.SecretKey(bytes([4]) * 32, suite=suite) for suite in SUITES)
    for read in (kem.PublicKey, kem.encapsulate):
        with pytest.raises(InputError, match="it is an X-Wing secret key, an X-Wing public key is needed"):
            read(xwing.to_bytes())
        with pytest.raises(InputError, match="1218 bytes, an sntrup761-X25519 public key has 1192"):
            read(b"np" + xwing.public_key[2:])
        with pytest.raises(InputError, match="1192 bytes, an X-Wing public key has 1218"):
            read(b"xp" + sntrup.public_key[2:])
        with pytest.raises(InputError, match="its type is not known"):
            read(xwing.public_key[2:])
        with pytest.raises(InputError, match="it is a BLS public key"):
            read(b"bp" + bytes(96))
    with pytest.raises(InputError, match="it is an sntrup761-X25519 public key"):
        kem.SecretKey.from_bytes(sntrup.public_key)
    with pytest.raises(InputError, match="1120 bytes, one of sntrup761-x25519 has 1071"):
        sntrup.decapsulate(kem.encapsulate(xwing.public_key)[0])
    # A seed under the other suite's letters is another key, not the same.
    assert kem.SecretKey.from_bytes(b"ns" + xwing.to_bytes()[2:]).suite == "sntrup761-x25519"


def test_a_lattice_half_that_is_not_canonical_is_refused() -> None:
    public = kem.SecretKey(bytes([5]) * 32).public_key
    for coefficient in (0, 1, 255, 256, 767):
        for value, good in ((3328, True), (3329, False), (4095, False)):
            packed = int.from_bytes(public[2:1154], "little")
            packed = packed & ~(0xFFF << (12 * coefficient)) | value << (12 * coefficient)
            changed = b"xp" + packed.to_bytes(1152, "little") + public[1154:]
            if good:
                kem.encapsulate(changed)
                continue
            with pytest.raises(VerificationError, match="3329 or more"):
                kem.encapsulate(changed)


@pytest.mark.parametrize("suite", SUITES)
def test_a_curve_half_of_small_order_or_not_canonical_is_refused(suite: Any) -> None:
    key = kem.SecretKey(bytes([6]) * 32, suite=suite)
    ciphertext, _ = kem.encapsulate(key.public_key)
    for u in SMALL_ORDER:
        high = 1 << 255  # X25519 does not look at the highest bit
        values = [u, u | high] + [value for value in (u + PRIME, u + PRIME | high) if u + PRIME < high]
        encodings = [value.to_bytes(32, "little") for value in values]
        for encoded in encodings:
            with pytest.raises(VerificationError, match="small order"):
                key.decapsulate(ciphertext[:-32] + encoded)
        with pytest.raises(VerificationError, match="small order"):
            kem.PublicKey(key.public_key[:-32] + encodings[0])
        for encoded in encodings[1:]:
            with pytest.raises(VerificationError, match="not below 2²⁵⁵ − 19"):
                kem.PublicKey(key.public_key[:-32] + encoded)
    assert kem.PublicKey(key.public_key[:-32] + (9).to_bytes(32, "little")).encapsulate()


def test_a_secret_key_shows_and_gives_away_nothing() -> None:
    for suite in SUITES:
        seed = bytes(range(100, 132))
        key = kem.SecretKey(seed, suite=suite)
        public = kem.PublicKey(key.public_key)
        shown = repr(key) + str(key) + f"{key}"
        assert public.id.hex() in shown
        assert suite in shown
        assert public.id.hex() in repr(public)
        assert seed.hex() not in shown
        assert repr(seed)[2:-1] not in shown
        assert not hasattr(key, "__dict__")
        names = {"decapsulate", "from_bytes", "generate", "public_key", "suite", "to_bytes"}
        assert {name for name in dir(key) if not name.startswith("_")} == names
        gives: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview]
        for give in gives:
            with pytest.raises(TypeError):
                give(key)
        with pytest.raises(AttributeError):
            key.public_key = b""  # type: ignore[misc]
        for wrong in (b"xs" + seed + b"!", b"??" + seed, b"xp" + seed):
            with pytest.raises(InputError) as caught:
                kem.SecretKey.from_bytes(wrong)
            assert seed.hex() not in str(caught.value)
            assert "defg" not in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=1300), prefix=st.sampled_from([b"", b"xs", b"xp", b"ns", b"np", b"4p"]))
def test_hostile_bytes_are_refused_or_serve(data: bytes, prefix: bytes) -> None:
    for read in (kem.PublicKey, kem.encapsulate, kem.SecretKey.from_bytes):
        try:
            read(prefix + data)
        except (InputError, VerificationError):
            continue
        else:
            assert len(data) in {32, 1190, 1216}


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, suite=st.sampled_from(SUITES), noise=SEEDS)
def test_every_seed_serves_and_every_ciphertext_is_answered(seed: bytes, suite: Any, noise: bytes) -> None:
    key = kem.SecretKey(seed, suite=suite)
    ciphertext, secret = kem.encapsulate(key.public_key)
    assert key.decapsulate(ciphertext) == secret
    hostile = (noise * 40)[: len(ciphertext)]
    if int.from_bytes(hostile[-32:], "little") % (1 << 255) % PRIME in SMALL_ORDER:
        with pytest.raises(VerificationError, match="small order"):
            key.decapsulate(hostile)
    else:
        assert key.decapsulate(hostile) != secret


def test_wrong_types() -> None:
    key = kem.SecretKey(bytes(32))
    calls: list[Callable[[Any], object]] = [
        kem.SecretKey,
        kem.SecretKey.from_bytes,
        kem.PublicKey,
        kem.encapsulate,
        key.decapsulate,
    ]
    for call in calls:
        for wrong in (None, 1, 1.5, "text", [1], object(), kem):
            with pytest.raises(TypeError):
                call(wrong)
    for wrong in (None, 1, b"x-wing", ["x-wing"]):
        with pytest.raises(TypeError):
            kem.SecretKey.generate(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            kem.ciphertext_len(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        kem.SecretKey.generate("\ud800")
    with pytest.raises(InputError, match="without gaps"):
        kem.encapsulate(memoryview(key.public_key * 2)[::2])


def test_many_threads_share_a_key() -> None:
    for suite in SUITES:
        key = kem.SecretKey(bytes([7]) * 32, suite=suite)
        public = kem.PublicKey(key.public_key)
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: public.encapsulate(), range(64)))  # noqa: B023
            opened = list(pool.map(lambda pair: key.decapsulate(pair[0]), made))  # noqa: B023
        assert opened == [secret for _, secret in made]
        assert len(set(opened)) == 64
