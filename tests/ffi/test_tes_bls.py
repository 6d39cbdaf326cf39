"""BLS signatures across the boundary: keys, aggregates, batches, threshold signatures, hostile bytes, secrecy."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import bls, dkg
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

KEYS = [bls.SecretKey(bytes([seed]) * 32) for seed in range(1, 6)]
KEY = KEYS[0]
SIGNATURE = KEY.sign(b"message")

# A point of the curve outside the subgroup (x = 4); the field's order, which is no coordinate; the subgroup's order.
OUTSIDE_G1 = bytes([0x80]) + bytes(46) + bytes([4])
FIELD = bytes.fromhex(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab"
)
ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001


def shared(threshold: int, parties: int) -> tuple[dkg.PublicKeys, list[dkg.SecretShare]]:
    """A key that `parties` have shares of, made by as many dealers as the threshold asks."""
    setup = dkg.Setup("bls", threshold=threshold, parties=parties, context=b"test")
    made = [dkg.deal(setup, dealer) for dealer in range(1, threshold + 1)]
    deals = [deal for deal, _ in made]
    own = [[shares[at] for _, shares in made] for at in range(parties)]
    finished = [dkg.finalize(setup, at + 1, deals, own[at]) for at in range(parties)]
    return finished[0][1], [share for share, _ in finished]


PUBLIC, SECRETS = shared(3, 5)
SHARES = [bls.sign_share(secret, b"block") for secret in SECRETS]


def wrong_share(share: bytes) -> bytes:
    """The same index with another point of the group."""
    return share[:2] + SIGNATURE


def test_sign_and_verify() -> None:
    assert (len(KEY.public_key), len(SIGNATURE)) == (98, 48)
    bls.verify(KEY.public_key, b"message", SIGNATURE)
    assert KEY.sign(b"message") == SIGNATURE
    for public, message in ((KEYS[1].public_key, b"message"), (KEY.public_key, b"massage")):
        with pytest.raises(VerificationError, match="does not fit key and message"):
            bls.verify(public, message, SIGNATURE)
    bls.verify(bytearray(KEY.public_key), memoryview(b"message"), bytearray(SIGNATURE))


def test_a_known_answer() -> None:
    """EIP-2333's second test case (its `derive_master_SK` is the draft's `KeyGen`)."""
    key = bls.SecretKey(bytes.fromhex("3141592653589793238462643383279502884197169399375105820974944592"))
    value = 29757020647961307431480504535336562678282505419141012933316116377660817309383
    assert key.to_bytes() == b"bs" + value.to_bytes(32, "little")


def test_keys_are_written_and_read_again() -> None:
    key = bls.SecretKey.generate()
    assert bls.SecretKey.from_bytes(key.to_bytes()).public_key == key.public_key
    assert bls.SecretKey.generate().public_key != key.public_key
    assert key.to_bytes()[:2] == b"bs"
    assert key.public_key[:2] == b"bp"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 48 * 8 - 1))
def test_every_flipped_bit_is_refused(bit: int) -> None:
    flipped = bytearray(SIGNATURE)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(VerificationError):
        bls.verify(KEY.public_key, b"message", flipped)
    assert isinstance(bls.verify_many([(KEY.public_key, b"message", flipped)])[0], VerificationError)


@pytest.mark.parametrize(
    ("signature", "error", "reason"),
    [
        (SIGNATURE[:47], InputError, "47 bytes, exactly 48"),
        (SIGNATURE + b"\0", InputError, "49 bytes, exactly 48"),
        (b"", InputError, "0 bytes, exactly 48"),
        (KEY.public_key, InputError, "98 bytes, exactly 48"),
        (bytes([0xC0]) + bytes(47), VerificationError, "it is the neutral element"),
        (bytes([0xC0]) + bytes(46) + b"\1", VerificationError, "says neutral element and holds other bits"),
        (bytes([SIGNATURE[0] & 0x7F]) + SIGNATURE[1:], VerificationError, "does not say compressed"),
        (bytes([FIELD[0] | 0x80]) + FIELD[1:], VerificationError, "not below the field's order"),
        (OUTSIDE_G1, VerificationError, "not in the subgroup of prime order"),
        (bytes([0x80]) + bytes(46) + b"\1", VerificationError, "not on the curve"),
    ],
)
def test_what_is_no_signature_is_refused_with_the_reason(
    signature: bytes, error: type[CityChainError], reason: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: bls.verify(KEY.public_key, b"message", signature),
        lambda: bls.ProvenKey(KEY.public_key, signature),
        lambda: bls.aggregate([SIGNATURE, signature]),
    ]
    for call in calls:
        with pytest.raises(error, match=reason):
            call()
    verdict = bls.verify_many([(KEY.public_key, b"message", signature)])[0]
    assert isinstance(verdict, error)
    assert reason in str(verdict)


@pytest.mark.parametrize(
    ("public", "reason"),
    [
        (b"tp" + KEY.public_key[2:], "it is a public key of threshold encryption, a BLS public key is needed"),
        (b"bv" + KEY.public_key[2:], "it is a public share of a BLS key"),
        (KEY.to_bytes(), "it is a BLS secret key"),
        (KEY.public_key[2:], "its type is not known"),
        (KEY.public_key[:-1], "97 bytes, a BLS public key has 98"),
        (b"bp" + bytes([0xC0]) + bytes(95), "it is the neutral element"),
        (b"bp" + bytes([KEY.public_key[2] & 0x7F]) + KEY.public_key[3:], "does not say compressed"),
        (b"bp" + bytes([0xBF]) * 96, "not below the field's order"),
        (b"bp" + SIGNATURE * 2, "G2 of BLS12-381"),
        (b"", "its type is not known"),
    ],
)
def test_what_is_no_public_key_is_refused_with_the_reason(public: bytes, reason: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: bls.verify(public, b"message", SIGNATURE),
        lambda: bls.ProvenKey(public, KEY.prove_possession()),
        lambda: bls.combine(public, 3, PUBLIC.shares, b"block", SHARES),
    ]
    for call in calls:
        with pytest.raises(InputError, match=reason):
            call()
    assert reason in str(bls.verify_many([(public, b"message", SIGNATURE)])[0])


def test_what_is_no_secret_key_is_refused_without_showing_it() -> None:
    secret = bytes(range(100, 132))
    for data, reason in (
        (b"bx" + secret, "a secret share of a BLS key, a BLS secret key is needed"),
        (b"bs" + secret + b"\0", "35 bytes, a BLS secret key has 34"),
        (b"bs" + bytes(32), "is 0"),
        (b"bs" + ORDER.to_bytes(32, "little"), "not below the group's order"),
        (b"bs" + b"\xff" * 32, "not below the group's order"),
        (secret, "its type is not known"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            bls.SecretKey.from_bytes(data)
        assert secret[:8].hex() not in str(caught.value)
    for length in (0, 31, 33, 64):
        with pytest.raises(InputError, match=f"{length} bytes, exactly 32"):
            bls.SecretKey(bytes(length))


def test_aggregates() -> None:
    signature = bls.aggregate(key.sign(b"batch") for key in KEYS)
    proven = [bls.ProvenKey(key.public_key, key.prove_possession()) for key in KEYS]
    bls.aggregate_verify(proven, b"batch", signature)
    bls.aggregate_verify(iter(proven[::-1]), b"batch", signature)
    for keys, message in ((proven[:-1], b"batch"), (proven, b"other")):
        with pytest.raises(VerificationError, match="does not fit"):
            bls.aggregate_verify(keys, message, signature)
    with pytest.raises(InputError, match=r"keys\[0\] and keys\[5\] are the same"):
        bls.aggregate_verify([*proven, proven[0]], b"batch", signature)
    with pytest.raises(InputError, match="no keys"):
        bls.aggregate_verify([], b"batch", signature)
    with pytest.raises(InputError, match="no signatures"):
        bls.aggregate([])
    with pytest.raises(TypeError, match=r"bls: keys\[0\]"):
        bls.aggregate_verify([KEY.public_key], b"batch", signature)  # type: ignore[list-item]


def test_only_proven_keys_are_summed() -> None:
    assert bls.ProvenKey(KEY.public_key, KEY.prove_possession()).public_key == KEY.public_key
    for possession in (KEYS[1].prove_possession(), KEY.sign(KEY.public_key[2:]), KEY.sign(KEY.public_key)):
        with pytest.raises(VerificationError, match="does not fit the key"):
            bls.ProvenKey(KEY.public_key, possession)
    with pytest.raises(TypeError):
        pickle.dumps(bls.ProvenKey(KEY.public_key, KEY.prove_possession()))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=2), st.integers(0, 7)), max_size=20))
def test_a_batch_has_the_verdicts_of_each_alone(kinds: list[tuple[int, bytes, int]]) -> None:
    items = []
    for by, message, fault in kinds:
        public, signature = KEYS[by].public_key, KEYS[by].sign(message)
        if fault == 0:
            signature = SIGNATURE
        elif fault == 1:
            signature = signature[:-1]
        elif fault == 2:
            public = b"??" + public[2:]
        items.append((public, message, signature))

    def alone(item: tuple[bytes, bytes, bytes]) -> str:
        try:
            bls.verify(*item)
        except CityChainError as error:
            return repr(error)
        return "None"

    assert [repr(verdict) for verdict in bls.verify_many(items)] == [alone(item) for item in items]


def test_any_enough_shares_make_the_one_signature() -> None:
    whole, wrong = bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", SHARES)
    assert wrong == {}
    bls.verify(PUBLIC.group_key, b"block", whole)
    for count in (3, 4, 5):
        for picked in itertools.permutations(SHARES, count):
            assert bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", picked) == (whole, {})
    for few in (*itertools.combinations(SHARES, 2), ()):
        with pytest.raises(UnavailableError, match="signature shares") as caught:
            bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", few)
        assert (caught.value.needed, caught.value.had) == (3, len(few))
        if few:  # nor do they sign anything when somebody claims that they are enough
            with pytest.raises(VerificationError, match="does not fit the group key"):
                bls.combine(PUBLIC.group_key, 2, (), b"block", few)


def test_wrong_shares_are_named_and_left_out() -> None:
    whole, _ = bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", SHARES)
    shares = [wrong_share(SHARES[0]), SHARES[1], SHARES[2][:2] + OUTSIDE_G1, *SHARES[3:]]
    signature, wrong = bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", shares)
    assert signature == whole
    assert {index: type(error) for index, error in wrong.items()} == {1: VerificationError, 3: VerificationError}
    assert str(wrong[1]) == "bls: share 1 does not fit its public share and the message"
    assert "not in the subgroup" in str(wrong[3])
    verdicts = bls.verify_shares(PUBLIC.shares, b"block", shares)
    assert [str(verdict) for verdict in verdicts] == [str(wrong[1]), "None", str(wrong[3]), "None", "None"]

    with pytest.raises(UnavailableError, match=r"wrong: 1, 3\): needed 3, had 2") as caught:
        bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", shares[:4])
    assert (caught.value.needed, caught.value.had) == (3, 2)
    with pytest.raises(VerificationError, match="no telling which"):
        bls.combine(PUBLIC.group_key, 3, [], b"block", shares)
    # Shares of another message are wrong, all of them.
    with pytest.raises(UnavailableError, match="wrong: 1, 2, 3, 4, 5"):
        bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"another block", SHARES)


def test_one_share_alone() -> None:
    for share, public in zip(SHARES, PUBLIC.shares, strict=True):
        bls.verify_share(public, b"block", share)
    with pytest.raises(VerificationError, match="share 1 does not fit"):
        bls.verify_share(PUBLIC.shares[0], b"block", wrong_share(SHARES[0]))
    with pytest.raises(VerificationError, match="no public share with this index"):
        bls.verify_share(PUBLIC.shares[0], b"block", SHARES[1])


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ([SHARES[0], b"\0\0" + SHARES[1][2:], SHARES[2]], r"shares\[1\]: index: 0 is the index of no party"),
        ([SHARES[0], SHARES[1], SHARES[0]], "1 stands twice"),
        ([SHARES[0], SHARES[1], SHARES[2][:-1]], r"shares\[2\]: 49 bytes, exactly 50"),
        ([SHARES[0][2:], SHARES[1], SHARES[2]], r"shares\[0\]: 48 bytes, exactly 50"),
        ([b""], r"shares\[0\]: 0 bytes"),
        ([b"x"] * 1025, "more than 1024 items"),
    ],
)
def test_shares_that_no_party_sends_are_errors(shares: list[bytes], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        bls.combine(PUBLIC.group_key, 3, PUBLIC.shares, b"block", shares)
    with pytest.raises(InputError, match=reason):
        bls.verify_shares(PUBLIC.shares, b"block", shares)


def test_wrong_public_shares_and_thresholds_are_errors() -> None:
    for publics, reason in (
        ([PUBLIC.shares[0], PUBLIC.group_key], r"public shares\[1\]: key: it is a BLS public key"),
        ([PUBLIC.shares[0], PUBLIC.shares[0]], "1 stands twice"),
        ([b"bv\0\0" + PUBLIC.shares[0][4:]], "0 is the index of no party"),
        ([b"bv\1\0" + bytes([0xC0]) + bytes(95)], "neutral element"),
        ([PUBLIC.shares[0][:-1]], r"public shares\[0\]: key: 99 bytes"),
    ):
        with pytest.raises(InputError, match=reason):
            bls.combine(PUBLIC.group_key, 3, publics, b"block", SHARES)
    with pytest.raises(InputError, match="a threshold of 0"):
        bls.combine(PUBLIC.group_key, 0, PUBLIC.shares, b"block", SHARES)
    with pytest.raises(VerificationError, match="not of the group key"):
        bls.combine(KEY.public_key, 3, PUBLIC.shares, b"block", SHARES)
    for threshold in (-1, 65536):
        with pytest.raises(InputError):
            bls.combine(PUBLIC.group_key, threshold, PUBLIC.shares, b"block", SHARES)


def test_a_share_of_another_scheme_signs_nothing() -> None:
    for prefix, words in ((b"tx", "a threshold encryption key"), (b"cx", "a coin")):
        share = dkg.SecretShare.from_bytes(prefix + SECRETS[0].to_bytes()[2:4] + bytes([1]) * 31 + b"\0")
        with pytest.raises(InputError, match=f"it is a secret share of {words}, a secret share of a BLS key is needed"):
            bls.sign_share(share, b"block")
    zero = dkg.SecretShare.from_bytes(b"bx\1\0" + bytes(32))
    with pytest.raises(InputError, match="secret value is 0"):
        bls.sign_share(zero, b"block")


def test_secrets_are_not_shown_copied_or_pickled() -> None:
    key = bls.SecretKey(bytes(range(32)))
    secret = key.to_bytes()[2:]
    for text in (repr(key), str(key), f"{key}"):
        assert key.public_key.hex() in text
        assert secret.hex() not in text
        assert secret[::-1].hex() not in text
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(key)
    assert not hasattr(key, "__dict__")
    assert secret not in repr(vars(type(key))).encode()


POISONS: list[object] = [
    None, True, -1, 0, 1, 2**16, 2**64, -(2**200), 0.5, float("nan"), "text", "\ud800", b"", b"x", bytes(48), bytes(50),
    b"\xff" * 48, bytes(98), bytes(1 << 20), bytearray(b"abc"), memoryview(b"abcdef")[::2], [], [None], [b"a"], ["b"],
    [-1], [b"x"] * 2000, (), {}, {0: b""}, set(), object(), int, KEY,
]  # fmt: skip

CALLS: list[tuple[Callable[..., object], tuple[object, ...]]] = [
    (bls.SecretKey, (bytes(32),)),
    (bls.SecretKey.from_bytes, (KEY.to_bytes(),)),
    (KEY.sign, (b"message",)),
    (bls.ProvenKey, (KEY.public_key, KEY.prove_possession())),
    (bls.verify, (KEY.public_key, b"message", SIGNATURE)),
    (bls.verify_many, ([(KEY.public_key, b"message", SIGNATURE)],)),
    (lambda *item: bls.verify_many([item]), (KEY.public_key, b"message", SIGNATURE)),
    (bls.aggregate, ([SIGNATURE],)),
    (bls.aggregate_verify, ([bls.ProvenKey(KEY.public_key, KEY.prove_possession())], b"message", SIGNATURE)),
    (bls.sign_share, (SECRETS[0], b"block")),
    (bls.verify_share, (PUBLIC.shares[0], b"block", SHARES[0])),
    (bls.verify_shares, (PUBLIC.shares, b"block", SHARES)),
    (bls.combine, (PUBLIC.group_key, 3, PUBLIC.shares, b"block", SHARES)),
]


@pytest.mark.parametrize(("call", "args"), CALLS)
def test_poison(call: Callable[..., Any], args: tuple[object, ...]) -> None:
    call(*args)
    for poison in POISONS:
        for at in range(len(args)):
            try:
                call(*args[:at], poison, *args[at + 1 :])
            except (TypeError, InputError, VerificationError, UnavailableError) as error:
                if not str(error):
                    pytest.fail(f"{poison!r}: {type(error).__name__} does not say what was wrong")


def test_the_calls_are_all_that_there_are() -> None:
    named = {call.__name__ for call, _ in CALLS}
    assert {name for name in bls.__all__ if not isinstance(getattr(bls, name), type)} <= named
