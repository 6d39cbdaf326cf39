"""ML-DSA across the boundary: contexts, hostile bytes, secrecy. The vectors run in Rust, peers in the benchmarks."""

from __future__ import annotations

import copy
import doctest
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import ml_dsa
from city_chain.errors import InputError, VerificationError

pytestmark = pytest.mark.ffi

SETS: tuple[Any, ...] = ("ml-dsa-44", "ml-dsa-65", "ml-dsa-87")
SIZES = {"ml-dsa-44": (1314, 2420), "ml-dsa-65": (1954, 3309), "ml-dsa-87": (2594, 4627)}


def test_doctests() -> None:
    failed, attempted = doctest.testmod(ml_dsa)
    assert not failed
    assert attempted >= 8
    for thing in (ml_dsa.SigningKey, ml_dsa.PublicKey):
        assert thing.__doc__ is not None
        assert ">>>" in thing.__doc__
        assert all(value.__doc__ for name, value in vars(thing).items() if not name.startswith("_"))
        assert thing.__module__ == ml_dsa.__name__


@pytest.mark.parametrize("parameters", SETS)
def test_signs_and_verifies(parameters: Any) -> None:
    key = ml_dsa.SigningKey.generate(parameters)
    public = ml_dsa.PublicKey(bytearray(key.public_key))
    one = key.sign(b"message", context=b"test")
    two = key.sign(bytearray(b"message"), context=memoryview(b"test"))
    assert one != two, "hedged: no two are alike"
    assert (len(key.public_key), len(one)) == SIZES[parameters]
    assert (key.parameters, public.parameters, public.to_bytes()) == (parameters, parameters, key.public_key)
    for signature in (one, two):
        ml_dsa.verify(key.public_key, b"message", signature, context=b"test")
        public.verify(b"message", bytearray(signature), context=b"test")
    again = ml_dsa.SigningKey.from_bytes(key.to_bytes())
    assert again.public_key == key.public_key
    public.verify(b"", again.sign(b"", context=b"test"), context=b"test")
    assert ml_dsa.SigningKey(key.to_bytes()[2:], parameters=parameters).public_key == key.public_key
    assert ml_dsa.SigningKey.generate(parameters).public_key != key.public_key
    assert ml_dsa.SigningKey(bytes(32)).parameters == ml_dsa.SigningKey.generate().parameters == "ml-dsa-65"


@pytest.mark.parametrize("parameters", SETS)
def test_another_key_context_or_message_does_not_verify(parameters: Any) -> None:
    key, other = ml_dsa.SigningKey(bytes(32), parameters=parameters), ml_dsa.SigningKey.generate(parameters)
    signature = key.sign(b"message", context=b"test")
    for public, message, context in (
        (other.public_key, b"message", b"test"),
        (key.public_key, b"messagf", b"test"),
        (key.public_key, b"message", b"tes"),
        (key.public_key, b"tmessage", b"tes"),
        (key.public_key, b"essage", b"testm"),
        (key.public_key, b"", b"testmessage"),
    ):
        with pytest.raises(VerificationError, match="does not fit key, context and message"):
            ml_dsa.verify(public, message, signature, context=context)


def test_contexts_are_needed_and_bounded() -> None:
    key = ml_dsa.SigningKey(bytes(32), parameters="ml-dsa-44")
    longest = key.sign(b"m", context=bytes(255))
    ml_dsa.verify(key.public_key, b"m", longest, context=bytes(255))
    for context in (b"", bytes(256), bytes(1 << 20)):
        with pytest.raises(InputError, match=f"a context of {len(context)} bytes, 1 to 255 are needed"):
            key.sign(b"m", context=context)
        with pytest.raises(InputError, match=f"a context of {len(context)} bytes, 1 to 255 are needed"):
            ml_dsa.verify(key.public_key, b"m", longest, context=context)
    with pytest.raises(TypeError, match="context"):
        key.sign(b"m")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ml_dsa.verify(key.public_key, b"m", longest, bytes(255))  # type: ignore[call-arg]


def test_keys_and_signatures_of_another_kind_are_refused() -> None:
    keys = {parameters: ml_dsa.SigningKey(bytes([1]) * 32, parameters=parameters) for parameters in SETS}
    for parameters, key in keys.items():
        signature = key.sign(b"m", context=b"c")
        digit = parameters[-2:-1]
        for other in SETS:
            if other == parameters:
                continue
            with pytest.raises(InputError, match=f"a signature of {len(signature)} bytes, one of {other}"):
                ml_dsa.verify(keys[other].public_key, b"m", signature, context=b"c")
            swapped = other[-2:-1].encode() + key.public_key[1:]
            with pytest.raises(InputError, match=f"{len(swapped)} bytes, an {other.upper()} public key has"):
                ml_dsa.verify(swapped, b"m", signature, context=b"c")
        with pytest.raises(InputError, match=f"it is an {parameters.upper()} secret key"):
            ml_dsa.PublicKey(key.to_bytes())
        with pytest.raises(InputError, match=f"it is an {parameters.upper()} public key"):
            ml_dsa.SigningKey.from_bytes(key.public_key)
        assert key.public_key[:2].decode() == digit + "p"
        for wrong in (b"", signature[:-1], signature + b"\0"):
            with pytest.raises(InputError, match=f"a signature of {len(wrong)} bytes"):
                ml_dsa.verify(key.public_key, b"m", wrong, context=b"c")
        for cut in (key.public_key[:-1], key.public_key + b"\0", key.public_key[:2]):
            with pytest.raises(InputError, match=f"{len(cut)} bytes"):
                ml_dsa.PublicKey(cut)
        for wrong in (b"", b"??" + bytes(32), key.public_key[2:]):
            with pytest.raises(InputError, match="its type is not known"):
                ml_dsa.PublicKey(wrong)
        # The same seed under other parameters is another key.
        assert len({bytes(key.public_key[2:34]) for key in keys.values()}) == 3
    with pytest.raises(InputError, match="it is an X-Wing public key"):
        ml_dsa.PublicKey(b"xp" + bytes(1216))
    for seed in (b"", bytes(31), bytes(33), bytes(4032)):
        with pytest.raises(InputError, match=f"the seed: {len(seed)} bytes"):
            ml_dsa.SigningKey(seed)


def test_the_parameters_are_named() -> None:
    for name in ("", "ML-DSA-65", "ml-dsa-65\0", "dilithium3", "ml-dsa", "65"):
        with pytest.raises(InputError, match='"ml-dsa-44", "ml-dsa-65" or "ml-dsa-87" are needed'):
            ml_dsa.SigningKey.generate(name)
        with pytest.raises(InputError, match='"ml-dsa-44", "ml-dsa-65" or "ml-dsa-87" are needed'):
            ml_dsa.SigningKey(bytes(32), parameters=name)


@pytest.mark.parametrize("parameters", SETS)
def test_every_changed_byte_is_refused(parameters: Any) -> None:
    key = ml_dsa.SigningKey(bytes([2]) * 32, parameters=parameters)
    public = ml_dsa.PublicKey(key.public_key)
    signature = key.sign(b"message", context=b"test")
    hints = len(signature) - 90
    for at in [*range(0, hints, 211), *range(hints, len(signature), 3)]:
        wrong = bytearray(signature)
        wrong[at] ^= 1
        with pytest.raises(VerificationError):
            public.verify(b"message", wrong, context=b"test")
    for filling in (b"\0", b"\xff"):
        with pytest.raises(VerificationError):
            public.verify(b"message", filling * len(signature), context=b"test")


def test_a_signing_key_shows_and_gives_away_nothing() -> None:
    for parameters in SETS:
        seed = bytes(range(100, 132))
        key = ml_dsa.SigningKey(seed, parameters=parameters)
        public = ml_dsa.PublicKey(key.public_key)
        shown = repr(key) + str(key) + f"{key}"
        assert public.id.hex() in shown
        assert parameters in shown
        assert public.id.hex() in repr(public)
        assert seed.hex() not in shown
        assert repr(seed)[2:-1] not in shown
        assert not hasattr(key, "__dict__")
        names = {"from_bytes", "generate", "parameters", "public_key", "sign", "to_bytes"}
        assert {name for name in dir(key) if not name.startswith("_")} == names
        gives: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview]
        for give in gives:
            with pytest.raises(TypeError):
                give(key)
        with pytest.raises(AttributeError):
            key.public_key = b""  # type: ignore[misc]
        for wrong in (b"6s" + seed + b"!", b"??" + seed, b"6p" + seed):
            with pytest.raises(InputError) as caught:
                ml_dsa.SigningKey.from_bytes(wrong)
            assert seed.hex() not in str(caught.value)
            assert "defg" not in str(caught.value)


def test_a_fixed_key_stays_the_same() -> None:
    # So that stored seeds stay the same signers under any later version.
    keys = [ml_dsa.SigningKey(bytes(range(32)), parameters=parameters) for parameters in SETS]
    assert [ml_dsa.PublicKey(key.public_key).id.hex()[:16] for key in keys] == [
        "926f0352f8825abc",
        "26dcce10fdc354fa",
        "f22d3a8c55c76d99",
    ]


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=2700), prefix=st.sampled_from([b"", b"4p", b"6p", b"8p", b"4s", b"6s", b"8s", b"xp"]))
def test_hostile_keys_are_refused_or_read(data: bytes, prefix: bytes) -> None:
    for read in (ml_dsa.PublicKey, ml_dsa.SigningKey.from_bytes):
        try:
            read(prefix + data)
        except InputError:
            continue
        else:
            assert len(data) in {32, 1312, 1952, 2592}


@settings(deadline=None, max_examples=30)
@given(
    seed=st.binary(min_size=32, max_size=32),
    parameters=st.sampled_from(SETS),
    context=st.binary(min_size=1, max_size=255),
    message=st.binary(max_size=500),
    noise=st.binary(min_size=50, max_size=50),
)
def test_every_seed_serves_and_noise_never_verifies(
    seed: bytes, parameters: Any, context: bytes, message: bytes, noise: bytes
) -> None:
    key = ml_dsa.SigningKey(seed, parameters=parameters)
    ml_dsa.verify(key.public_key, message, key.sign(message, context=context), context=context)
    hostile = (noise * 100)[: SIZES[parameters][1]]
    with pytest.raises(VerificationError):
        ml_dsa.verify(key.public_key, message, hostile, context=context)


def test_wrong_types() -> None:
    key = ml_dsa.SigningKey(bytes(32), parameters="ml-dsa-44")
    signature = key.sign(b"m", context=b"c")
    calls: list[Callable[[Any], object]] = [
        ml_dsa.SigningKey,
        ml_dsa.SigningKey.from_bytes,
        ml_dsa.PublicKey,
        lambda wrong: key.sign(wrong, context=b"c"),
        lambda wrong: key.sign(b"m", context=wrong),
        lambda wrong: ml_dsa.verify(wrong, b"m", signature, context=b"c"),
        lambda wrong: ml_dsa.verify(key.public_key, wrong, signature, context=b"c"),
        lambda wrong: ml_dsa.verify(key.public_key, b"m", wrong, context=b"c"),
        lambda wrong: ml_dsa.verify(key.public_key, b"m", signature, context=wrong),
        lambda wrong: ml_dsa.PublicKey(key.public_key).verify(wrong, signature, context=b"c"),
    ]
    for call in calls:
        for wrong in (None, 1, 1.5, "text", [1], object(), ml_dsa):
            with pytest.raises(TypeError):
                call(wrong)
    for wrong in (None, 1, b"ml-dsa-65", ["ml-dsa-65"]):
        with pytest.raises(TypeError):
            ml_dsa.SigningKey.generate(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        ml_dsa.SigningKey.generate("\ud800")


def test_many_threads_share_a_key() -> None:
    key = ml_dsa.SigningKey(bytes([7]) * 32, parameters="ml-dsa-44")
    public = ml_dsa.PublicKey(key.public_key)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda at: key.sign(str(at).encode(), context=b"c"), range(64)))
        list(pool.map(lambda at: public.verify(str(at).encode(), made[at], context=b"c"), range(64)))
    assert len(set(made)) == 64
