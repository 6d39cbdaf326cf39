"""BLS signatures on BLS12-381: signing, checking, batches, threshold signatures.

All peers but arkworks have keys in G1 and signatures in G2 ("min_pk"); ours are the other way round ("min_sig"), as in
drand: signatures are half as long and cheaper to make, keys are twice as long and dearer to read. What can be compared
byte by byte is cross-checked with arkworks and py_ecc.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from city_chain.algorithms.tes import bls, dkg
from peers.harness import OURS, Contest, Entry, Peers, Target, present

TITLE = "BLS signatures"
LEFT_OUT: dict[str, str] = {}

ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"

_BATCH = 128
_PARTIES, _THRESHOLD = 100, 67
_MIN_PK = "key in G1, signature in G2"
_BY_USER = "its user's own code"


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """One signature, many, a threshold's."""
    found = {name: peers.find(name) for name in ("chia_rs", "blspy", "milagro_bls_binding", "py_ecc.bls")}
    ark = peers.find("py_arkworks_bls12381")
    yield from _alone(found, ark)
    yield _many(found)
    yield _aggregate(found)
    yield _threshold(ark, bad=False)
    yield _threshold(ark, bad=True)


def _points(ark: Any, message: bytes, public: bytes, signature: bytes) -> tuple[list[Any], list[Any]]:
    """What must pair to 1, as arkworks has it."""
    minus_one = ark.Scalar.from_le_bytes((ORDER - 1).to_bytes(32, "little"))
    base = ark.G2Point()
    left = [ark.G1Point.hash_to_curve(message, DST), ark.G1Point.from_compressed_bytes(signature)]
    return left, [ark.G2Point.from_compressed_bytes(public[2:]), base * minus_one]


def _cross_check(ark: Any, message: bytes, public: bytes, signature: bytes) -> None:
    if ark is not None:
        assert ark.GT.pairing_check(*_points(ark, message, public, signature))
        assert not ark.GT.pairing_check(*_points(ark, message + b"!", public, signature))


def _with_py_ecc(message: bytes, public: bytes, signature: bytes) -> None:
    """The same equation in py_ecc, an implementation that shares no code with blst."""
    curve = importlib.import_module("py_ecc.optimized_bls12_381")
    hashing = importlib.import_module("py_ecc.bls.hash_to_curve")
    reading = importlib.import_module("py_ecc.bls.point_compression")
    point = reading.decompress_G1(int.from_bytes(signature, "big"))
    key = reading.decompress_G2((int.from_bytes(public[2:50], "big"), int.from_bytes(public[50:], "big")))
    product = curve.pairing(key, hashing.hash_to_G1(message, DST, hashlib.sha256), False)
    product *= curve.pairing(curve.neg(curve.G2), point, False)
    assert curve.final_exponentiate(product) == type(product).one()


def _min_pk(
    found: dict[str, Any], seed: bytes, message: bytes
) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Of each peer: its name, a call that signs, and one that checks from bytes."""
    chia, spy, milagro, ecc = (found[name] for name in ("chia_rs", "blspy", "milagro_bls_binding", "py_ecc.bls"))
    if chia is not None:
        scheme = chia.AugSchemeMPL
        key = scheme.key_gen(seed)
        public, signature = bytes(key.get_g1()), bytes(scheme.sign(key, message))
        yield (
            "chia_rs",
            lambda: scheme.sign(key, message),
            lambda: scheme.verify(chia.G1Element.from_bytes(public), message, chia.G2Element.from_bytes(signature)),
        )
    if spy is not None:
        spy_scheme = spy.PopSchemeMPL
        spy_key = spy_scheme.key_gen(seed)
        spy_public, spy_signature = bytes(spy_key.get_g1()), bytes(spy_scheme.sign(spy_key, message))
        yield (
            "blspy",
            lambda: spy_scheme.sign(spy_key, message),
            lambda: spy_scheme.verify(
                spy.G1Element.from_bytes(spy_public), message, spy.G2Element.from_bytes(spy_signature)
            ),
        )
    if milagro is not None:
        secret = (int.from_bytes(seed, "big") % ORDER).to_bytes(32, "big")
        m_public, m_signature = milagro.SkToPk(secret), milagro.Sign(secret, message)
        yield (
            "milagro_bls_binding",
            lambda: milagro.Sign(secret, message),
            lambda: milagro.Verify(m_public, message, m_signature),
        )
    if ecc is not None:
        number = int.from_bytes(seed, "big") % ORDER
        pop = ecc.G2ProofOfPossession
        e_public, e_signature = pop.SkToPk(number), pop.Sign(number, message)
        yield "py_ecc", lambda: pop.Sign(number, message), lambda: pop.Verify(e_public, message, e_signature)


def _alone(found: dict[str, Any], ark: Any) -> Iterator[Contest]:
    seed, message = os.urandom(32), os.urandom(100)
    key = bls.SecretKey(seed)
    public, signature = key.public_key, key.sign(message)
    peers = list(_min_pk(found, seed, message))

    def check() -> None:
        bls.verify(public, message, signature)
        _cross_check(ark, message, public, signature)
        if found["py_ecc.bls"] is not None:
            _with_py_ecc(message, public, signature)
        assert all(verify() for _, _, verify in peers)

    signing = [Entry(f"{OURS}: sign", lambda _: key.sign(message), target=Target(200e-6, "seconds"))]
    signing += [Entry(name, lambda _, sign=sign: sign(), note=_MIN_PK) for name, sign, _ in peers]
    yield Contest("sign", signing, check, rounds=9)

    fresh = iter([bls.SecretKey(os.urandom(32)) for _ in range(4096)])

    def never_seen() -> tuple[bytes, bytes]:
        other = next(fresh)
        return other.public_key, other.sign(message)

    verifying = [
        Entry(
            f"{OURS}: verify, a key never seen",
            lambda new: bls.verify(new[0], message, new[1]),
            setup=never_seen,
            target=Target(1250e-6, "seconds"),
        ),
        Entry(f"{OURS}: verify, a key seen before", lambda _: bls.verify(public, message, signature)),
    ]
    verifying += [Entry(name, lambda _, verify=verify: verify(), note=_MIN_PK) for name, _, verify in peers]
    yield Contest("verify, from bytes", verifying, check, rounds=9)


def _many(found: dict[str, Any]) -> Contest:
    keys = [bls.SecretKey(os.urandom(32)) for _ in range(_BATCH)]
    messages = [os.urandom(32) for _ in keys]
    items = [(key.public_key, message, key.sign(message)) for key, message in zip(keys, messages, strict=True)]
    of_one = [(keys[0].public_key, message, keys[0].sign(message)) for message in messages]
    spoilt = [*items[:50], (items[50][0], b"another", items[50][2]), *items[51:]]
    milagro = found["milagro_bls_binding"]
    entries = [
        Entry(
            f"{OURS}: verify_many, {_BATCH} keys",
            lambda _: bls.verify_many(items),
            _BATCH,
            target=Target(420e-6, "seconds"),
        ),
        Entry(f"{OURS}: verify_many, {_BATCH} keys, one signature wrong", lambda _: bls.verify_many(spoilt), _BATCH),
        Entry(f"{OURS}: verify_many, one key", lambda _: bls.verify_many(of_one), _BATCH),
    ]
    if milagro is not None:
        secrets = [(int.from_bytes(os.urandom(32), "big") % ORDER).to_bytes(32, "big") for _ in keys]
        sets = [
            (milagro.Sign(secret, message), milagro.SkToPk(secret), message)
            for secret, message in zip(secrets, messages, strict=True)
        ]
        note = f"{_MIN_PK}; one verdict on all"
        entries.append(
            Entry("milagro_bls_binding", lambda _: milagro.VerifyMultipleAggregateSignatures(sets), _BATCH, note=note)
        )

    def check() -> None:
        assert bls.verify_many(items) == [None] * _BATCH == bls.verify_many(of_one)
        assert [at for at, verdict in enumerate(bls.verify_many(spoilt)) if verdict] == [50]
        assert milagro is None or milagro.VerifyMultipleAggregateSignatures(sets)

    return Contest(f"verify {_BATCH} signatures of different messages, for each", entries, check, rounds=7)


def _aggregate(found: dict[str, Any]) -> Contest:
    keys = [bls.SecretKey(os.urandom(32)) for _ in range(_THRESHOLD)]
    proven = [bls.ProvenKey(key.public_key, key.prove_possession()) for key in keys]
    message = os.urandom(32)
    signature = bls.aggregate(key.sign(message) for key in keys)
    spy = found["blspy"]
    peer = None
    if spy is not None:
        scheme = spy.PopSchemeMPL
        secrets = [scheme.key_gen(os.urandom(32)) for _ in keys]
        publics = [secret.get_g1() for secret in secrets]
        total = scheme.aggregate([scheme.sign(secret, message) for secret in secrets])
        peer = Entry("blspy", lambda _: scheme.fast_aggregate_verify(publics, message, total), note=_MIN_PK)
    entries = present(
        Entry(f"{OURS}: aggregate_verify", lambda _: bls.aggregate_verify(proven, message, signature)),
        peer,
    )

    def check() -> None:
        bls.aggregate_verify(proven, message, signature)
        assert spy is None or scheme.fast_aggregate_verify(publics, message, total)

    return Contest(f"verify one message signed by {_THRESHOLD} proven keys", entries, check, rounds=9)


def _shared() -> tuple[bytes, list[bytes], list[dkg.SecretShare]]:
    """The key of a random polynomial: the group's key, public shares, secret shares."""
    terms = [random.SystemRandom().randrange(1, ORDER) for _ in range(_THRESHOLD)]

    def share(index: int, at: int) -> dkg.SecretShare:
        value = 0
        for term in reversed(terms):
            value = (value * at + term) % ORDER
        return dkg.SecretShare.from_bytes(b"bx" + index.to_bytes(2, "little") + value.to_bytes(32, "little"))

    secrets = [share(index, index) for index in range(1, _PARTIES + 1)]
    return b"bp" + share(1, 0).public_share[4:], [secret.public_share for secret in secrets], secrets


def _threshold(ark: Any, bad: bool) -> Contest:
    public, publics, secrets = _shared()
    message = os.urandom(32)
    right = [bls.sign_share(secret, message) for secret in secrets]
    shares = [*right]
    if bad:
        shares[40] = right[40][:2] + right[41][2:]
    name = f"{OURS}: combine and verify" + (", one share wrong and named" if bad else "")
    target = None if bad else Target(5e-3, "seconds")
    entries = [Entry(name, lambda _: bls.combine(public, _THRESHOLD, publics, message, shares), target=target)]

    def lagrange(indices: list[int]) -> list[Any]:
        weights = []
        for i in indices:
            above = below = 1
            for j in indices:
                if j != i:
                    above, below = above * j % ORDER, below * (j - i) % ORDER
            weights.append(ark.Scalar.from_le_bytes((above * pow(below, -1, ORDER) % ORDER).to_bytes(32, "little")))
        return weights

    def combined() -> bytes:
        taken = right[:_THRESHOLD]
        points = [ark.G1Point.from_compressed_bytes(share[2:]) for share in taken]
        weights = lagrange([int.from_bytes(share[:2], "little") for share in taken])
        return bytes(ark.G1Point.multiexp_unchecked(points, weights).to_compressed_bytes())

    if ark is not None and not bad:
        entries.append(Entry("py_arkworks_bls12381: combine, without verifying", lambda _: combined(), note=_BY_USER))
        verified = lambda _: ark.GT.pairing_check(*_points(ark, message, public, combined()))  # noqa: E731
        entries.append(Entry("py_arkworks_bls12381: combine and verify", verified, note=_BY_USER))

    def check() -> None:
        signature, wrong = bls.combine(public, _THRESHOLD, publics, message, shares)
        bls.verify(public, message, signature)
        assert list(wrong) == ([41] if bad else [])
        assert ark is None or combined() == signature
        _cross_check(ark, message, public, signature)

    what = f"{_THRESHOLD} of {_PARTIES} shares into a signature" + (", one of them wrong" if bad else "")
    return Contest(what, entries, check, rounds=9)
