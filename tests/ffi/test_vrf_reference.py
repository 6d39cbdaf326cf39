"""The VRF against a slow implementation in plain integers, and against every official vector.

The reference follows RFC 9381 (ECVRF), RFC 9380 (the map) and RFC 8032 (points) line by line and shares nothing with
the package. It also makes what an honest prover never makes: proofs and keys with a part of small order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import vrf
from city_chain.errors import CityChainError, VerificationError
from city_chain.records import Identity

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
J = 486662
ROOT = pow(2, (P - 1) // 4, P)

type Point = tuple[int, int]

BASE: Point = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)
IDENTITY: Point = (0, 1)
SUITES = {"ell2": b"\x04", "tai": b"\x03"}
DST = b"ECVRF_edwards25519_XMD:SHA-512_ELL2_NU_\x04"


def sha512(*parts: bytes) -> bytes:
    return hashlib.sha512(b"".join(parts)).digest()


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    cross = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P,
    )


def negative(a: Point) -> Point:
    return -a[0] % P, a[1]


type Extended = tuple[int, int, int, int]


def add_extended(a: Extended, b: Extended) -> Extended:
    """RFC 8032, section 5.1.4: x = X/Z, y = Y/Z, x * y = T/Z. Right for equal points too."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    low, high = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = t1 * 2 * D * t2 % P, z1 * 2 * z2 % P
    e, f, g, h = high - low, d - c, d + c, high + low
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    total: Extended = (0, 1, 1, 0)
    step: Extended = (*point, 1, point[0] * point[1] % P)
    for bit in bin(scalar)[2:]:
        total = add_extended(total, total)
        if bit == "1":
            total = add_extended(total, step)
    inverse = pow(total[2], -1, P)
    return total[0] * inverse % P, total[1] * inverse % P


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def root(square: int) -> int | None:
    found = pow(square, (P + 3) // 8, P)
    if found * found % P != square % P:
        found = found * ROOT % P
    return found if found * found % P == square % P else None


def decode(data: bytes) -> Point | None:
    """RFC 8032, section 5.1.3: one encoding of each point."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    x = root((y * y - 1) * pow(D * y * y + 1, -1, P))
    if x is None or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """RFC 9380, section 5.3.1."""
    dst += bytes([len(dst)])
    first = sha512(bytes(128), message, length.to_bytes(2, "big"), b"\0", dst)
    block = sha512(first, b"\1", dst)
    blocks = [block]
    for count in range(2, -(-length // 64) + 1):
        block = sha512(bytes(a ^ b for a, b in zip(first, block, strict=True)), bytes([count]), dst)
        blocks.append(block)
    return b"".join(blocks)[:length]


def elligator2(u: int) -> Point:
    """RFC 9380, sections 6.7.1 and D.1."""
    x = -J * pow(1 + 2 * u * u, -1, P) % P if (1 + 2 * u * u) % P else -J % P
    y = root(x**3 + J * x**2 + x)
    odd = 1
    if y is None:
        x = (-x - J) % P
        y, odd = root(x**3 + J * x**2 + x), 0
    assert y is not None
    if y & 1 != odd:
        y = -y % P
    if y == 0 or (x + 1) % P == 0:
        return IDENTITY
    factor = root(-486664)
    assert factor is not None
    factor = factor if factor % 2 == 0 else P - factor
    return factor * x * pow(y, -1, P) % P, (x - 1) * pow(x + 1, -1, P) % P


def map_message(message: bytes, dst: bytes) -> tuple[int, Point, Point]:
    """u, Q and P of RFC 9380's vectors."""
    u = int.from_bytes(expand_message_xmd(message, dst, 48), "big") % P
    on_curve = elligator2(u)
    return u, on_curve, times(8, on_curve)


def encode_to_curve(suite: str, public: bytes, alpha: bytes) -> Point:
    if suite == "ell2":
        return map_message(public + alpha, DST)[2]
    for counter in range(256):
        point = decode(sha512(b"\x03\x01", public, alpha, bytes([counter]), b"\0")[:32])
        if point is not None and times(8, point) != IDENTITY:
            return times(8, point)
    raise AssertionError("one input in 2**256")


def challenge(suite: str, *points: bytes) -> int:
    return int.from_bytes(sha512(SUITES[suite], b"\x02", *points, b"\0")[:16], "little")


@dataclass
class Key:
    """A secret key: x, the nonce's prefix, and the public key."""

    x: int
    prefix: bytes
    public: bytes

    @classmethod
    def of(cls, seed: bytes) -> Key:
        digest = sha512(seed)
        x = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        return cls(x, digest[32:], encode(times(x, BASE)))

    def parts(self, suite: str, alpha: bytes) -> tuple[Point, Point, Point, int, int]:
        """Gamma, U, V, c, s."""
        h = encode_to_curve(suite, self.public, alpha)
        nonce = int.from_bytes(sha512(self.prefix, encode(h)), "little") % Q
        gamma, u, v = times(self.x, h), times(nonce, BASE), times(nonce, h)
        c = challenge(suite, self.public, encode(h), encode(gamma), encode(u), encode(v))
        return gamma, u, v, c, (nonce + c * self.x) % Q

    def prove(self, suite: str, alpha: bytes) -> tuple[bytes, bytes]:
        """Both forms."""
        gamma, u, v, c, s = self.parts(suite, alpha)
        last = s.to_bytes(32, "little")
        return encode(gamma) + c.to_bytes(16, "little") + last, encode(gamma) + encode(u) + encode(v) + last


def output(suite: str, gamma: Point) -> bytes:
    return sha512(SUITES[suite], b"\x03", encode(times(8, gamma)), b"\0")


def verify(suite: str, public: bytes, alpha: bytes, proof: bytes) -> bytes | None:
    """The rule of the package: 80 bytes to the letter, 128 bytes times 8."""
    y, gamma, s = decode(public), decode(proof[:32]), int.from_bytes(proof[-32:], "little")
    if y is None or times(8, y) == IDENTITY or gamma is None or s >= Q:
        return None
    h = encode_to_curve(suite, public, alpha)

    def commitments(c: int) -> tuple[Point, Point]:
        return (
            add(times(s, BASE), negative(times(c, y))),
            add(times(s, h), negative(times(c, gamma))),
        )

    if len(proof) == 80:
        c = int.from_bytes(proof[32:48], "little")
        u, v = commitments(c)
        fits = challenge(suite, public, encode(h), proof[:32], encode(u), encode(v)) == c
    else:
        given_u, given_v = decode(proof[32:64]), decode(proof[64:96])
        if given_u is None or given_v is None:
            return None
        u, v = commitments(challenge(suite, public, encode(h), proof[:96]))
        fits = times(8, u) == times(8, given_u) and times(8, v) == times(8, given_v)
    return output(suite, gamma) if fits else None


def small_order() -> list[Point]:
    """The eight points whose order divides 8."""
    points = (decode(y.to_bytes(32, "little")) for y in range(2, 60))
    generator = next(t for t in (times(Q, point) for point in points if point) if times(4, t) != IDENTITY)
    return [times(multiple, generator) for multiple in range(8)]


SMALL = small_order()
SEEDS = st.binary(min_size=32, max_size=32)


def verdict(suite: Any, public: bytes, alpha: bytes, proof: bytes) -> bytes | None:
    """The package's verdict alone, which must be the one that it gives in a batch among good ones."""
    key = vrf.SecretKey(bytes(32))
    good = [(key.public_key, bytes([at]), key.prove_batchable(bytes([at]), suite=suite)) for at in range(5)]
    try:
        alone: bytes | CityChainError = vrf.verify(public, alpha, proof, suite=suite)
    except CityChainError as error:
        alone = error
    among = vrf.verify_many([*good, (public, alpha, proof)], suite=suite)
    assert all(isinstance(beta, bytes) for beta in among[:5])
    if isinstance(alone, bytes):
        assert among[5] == alone
        return alone
    assert (type(among[5]), str(among[5])) == (type(alone), str(alone))
    return None


def test_the_reference_has_the_groups_structure() -> None:
    assert times(Q, BASE) == IDENTITY
    assert len(set(SMALL)) == 8
    assert all(times(8, point) == IDENTITY for point in SMALL)


def test_rfc_9380_map(vectors: Path) -> None:
    file = json.loads((vectors / "rfc9380_edwards25519_sha512_ell2_nu.json").read_text())
    assert len(file["vectors"]) == 5
    for case in file["vectors"]:
        u, on_curve, point = map_message(case["msg"].encode(), file["dst"].encode())
        assert [hex(u)] == [hex(int(u, 16)) for u in case["u"]]
        assert on_curve == tuple(int(case["Q"][axis], 16) for axis in "xy")
        assert point == tuple(int(case["P"][axis], 16) for axis in "xy")


def test_rfc_9381_examples_16_to_21(vectors: Path) -> None:
    cases = json.loads((vectors / "rfc9381_ecvrf_edwards25519.json").read_text())["cases"]
    assert [case["example"] for case in cases] == [16, 17, 18, 19, 20, 21]
    for case in cases:
        suite: Any = {"03": "tai", "04": "ell2"}[case["suite_string"]]
        seed, public, alpha, proof = (bytes.fromhex(case[name]) for name in ("sk", "pk", "alpha", "pi"))
        key = vrf.SecretKey(seed)
        assert key.public_key == public
        assert encode(encode_to_curve(suite, public, alpha)).hex() == case["h"]
        assert key.prove(alpha, suite=suite) == proof
        long = key.prove_batchable(alpha, suite=suite)
        assert long.hex() == proof[:32].hex() + case["u_point"] + case["v_point"] + proof[48:].hex()
        assert vrf.to_batchable(public, alpha, proof, suite=suite) == long
        assert vrf.to_compact(public, alpha, long, suite=suite) == proof
        for form in (proof, long):
            assert verdict(suite, public, alpha, form) == bytes.fromhex(case["beta"])
            assert vrf.proof_to_hash(form, suite=suite).hex() == case["beta"]
        other: Any = "tai" if suite == "ell2" else "ell2"
        assert verdict(other, public, alpha, proof) is None
        assert vrf.proof_to_hash(proof, suite=other).hex() != case["beta"]


def test_cardanos_seven_batch_compatible_vectors(vectors: Path) -> None:
    cases = json.loads((vectors / "cardano_vrf13_batchcompat.json").read_text())["cases"]
    assert len(cases) == 7
    items, outputs = [], []
    for case in cases:
        seed, public, alpha, proof, beta = (bytes.fromhex(case[name]) for name in ("sk", "pk", "alpha", "pi", "beta"))
        assert len(proof) == 128
        key = vrf.SecretKey(seed)
        assert (key.public_key, key.prove_batchable(alpha)) == (public, proof)
        assert vrf.verify(public, alpha, proof) == beta == verify("ell2", public, alpha, proof)
        assert vrf.proof_to_hash(proof) == beta
        short = vrf.to_compact(public, alpha, proof)
        assert short == key.prove(alpha)
        assert vrf.verify(public, alpha, short) == beta
        assert vrf.to_batchable(public, alpha, short) == proof
        items.append((public, alpha, proof))
        outputs.append(beta)
    assert vrf.verify_many(items) == outputs


@settings(max_examples=15)
@given(seed=SEEDS, alpha=st.binary(max_size=200), suite=st.sampled_from(list(SUITES)))
def test_proofs_are_the_references(seed: bytes, alpha: bytes, suite: Any) -> None:
    reference, key = Key.of(seed), vrf.SecretKey(seed)
    assert key.public_key == reference.public
    short, long = reference.prove(suite, alpha)
    assert key.prove(alpha, suite=suite) == short
    assert key.prove_batchable(alpha, suite=suite) == long
    expected = output(suite, times(reference.x, encode_to_curve(suite, reference.public, alpha)))
    for proof in (short, long):
        assert verdict(suite, reference.public, alpha, proof) == expected
        assert verify(suite, reference.public, alpha, proof) == expected


@settings(max_examples=40)
@given(seed=SEEDS, suite=st.sampled_from(list(SUITES)), batchable=st.booleans(), at=st.integers(0, 2**16), change=SEEDS)
def test_verdicts_are_the_references(seed: bytes, suite: Any, batchable: bool, at: int, change: bytes) -> None:
    key = vrf.SecretKey(seed)
    proof = bytearray((key.prove_batchable if batchable else key.prove)(b"input", suite=suite))
    public = bytearray(key.public_key)
    target = public if at % 5 == 0 else proof
    at //= 5
    if at % 3:
        target[at % len(target)] ^= change[0]
    else:
        target[at % (len(target) - 31) :][:32] = change
        target[at % (len(target) - 31) : at % (len(target) - 31) + 32] = change
    expected = verify(suite, bytes(public), b"input", bytes(proof))
    assert verdict(suite, bytes(public), b"input", bytes(proof)) == expected


@pytest.mark.parametrize("suite", list(SUITES))
def test_long_proofs_with_parts_of_small_order_have_one_verdict_and_the_honest_output(suite: Any) -> None:
    key, alpha = Key.of(b"\x05" * 32), b"input"
    gamma, u, v, _, _ = key.parts(suite, alpha)
    h = encode_to_curve(suite, key.public, alpha)
    honest = vrf.verify(key.public, alpha, vrf.SecretKey(b"\x05" * 32).prove(alpha, suite=suite), suite=suite)
    nonce = int.from_bytes(sha512(key.prefix, encode(h)), "little") % Q
    items = []
    for i, j, k in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (4, 2, 6), (1, 3, 5), (7, 7, 7)]:
        points = [encode(add(point, SMALL[part])) for point, part in ((gamma, i), (u, j), (v, k))]
        c = challenge(suite, key.public, encode(h), *points)
        proof = b"".join(points) + ((nonce + c * key.x) % Q).to_bytes(32, "little")
        assert verify(suite, key.public, alpha, proof) == honest
        assert verdict(suite, key.public, alpha, proof) == honest
        if j or k:
            with pytest.raises(VerificationError, match="no short form"):
                vrf.to_compact(key.public, alpha, proof, suite=suite)
        items.append((key.public, alpha, proof))
    assert vrf.verify_many(items * 4, suite=suite) == [honest] * 24


@pytest.mark.parametrize("suite", list(SUITES))
def test_keys_with_a_part_of_small_order_have_one_verdict(suite: Any) -> None:
    plain = Key.of(b"\x06" * 32)
    for part in SMALL[1:]:
        y = decode(plain.public)
        assert y is not None
        key = Key(plain.x, plain.prefix, encode(add(y, part)))
        accepted = []
        for at in range(3):
            for proof in key.prove(suite, bytes([at])):
                expected = verify(suite, key.public, bytes([at]), proof)
                assert verdict(suite, key.public, bytes([at]), proof) == expected
                accepted.append((len(proof), expected is not None))
        assert all(good for length, good in accepted if length == 128)


@pytest.mark.parametrize("suite", list(SUITES))
def test_proofs_are_not_unique_but_outputs_are(suite: Any) -> None:
    """A prover who looks for a challenge that 8 divides has a second 80-byte proof, with another Gamma."""
    key, alpha = Key.of(b"\x07" * 32), b"input"
    h = encode_to_curve(suite, key.public, alpha)
    gamma = add(times(key.x, h), SMALL[1])
    for nonce in range(2, 200):
        u, v = times(nonce, BASE), times(nonce, h)
        c = challenge(suite, key.public, encode(h), encode(gamma), encode(u), encode(v))
        if c % 8 == 0:
            break
    proof = encode(gamma) + c.to_bytes(16, "little") + ((nonce + c * key.x) % Q).to_bytes(32, "little")
    honest = vrf.SecretKey(b"\x07" * 32).prove(alpha, suite=suite)
    assert proof[:32] != honest[:32]
    assert verdict(suite, key.public, alpha, proof) == vrf.proof_to_hash(honest, suite=suite)
    long = vrf.to_batchable(key.public, alpha, proof, suite=suite)
    assert verdict(suite, key.public, alpha, long) == vrf.proof_to_hash(honest, suite=suite)
    assert vrf.to_compact(key.public, alpha, long, suite=suite) == proof


def lenient_encodings() -> list[bytes]:
    """Every encoding that names a point and is not the one of RFC 8032: y + p, and the sign of x = 0."""
    high = [y | sign << 255 for y in range(P, 2**255) for sign in (0, 1)]
    signed = [1 | 1 << 255, (P - 1) | 1 << 255]
    return [number.to_bytes(32, "little") for number in (*high, *signed)]


@pytest.mark.parametrize("suite", list(SUITES))
def test_points_that_are_not_canonical_are_refused_wherever_they_stand(suite: Any) -> None:
    key = vrf.SecretKey(b"\x08" * 32)
    short, long = key.prove(b"input", suite=suite), key.prove_batchable(b"input", suite=suite)
    encodings = lenient_encodings()
    assert len(encodings) == 40
    for wrong in encodings:
        with pytest.raises(VerificationError, match="the public key is not a canonical point"):
            vrf.verify(wrong, b"input", short, suite=suite)
        places = [(short, 0, "Gamma"), (long, 0, "Gamma"), (long, 32, "U"), (long, 64, "V")]
        for proof, at, name in places:
            spoilt = proof[:at] + wrong + proof[at + 32 :]
            with pytest.raises(VerificationError, match=f"{name} is not a canonical point"):
                vrf.verify(key.public_key, b"input", spoilt, suite=suite)
            with pytest.raises(VerificationError, match=f"{name} is not a canonical point"):
                vrf.proof_to_hash(spoilt, suite=suite)
        items = [(key.public_key, b"input", proof[:at] + wrong + proof[at + 32 :]) for proof, at, _ in places]
        assert all(isinstance(found, VerificationError) for found in vrf.verify_many(items, suite=suite))


def test_public_keys_of_small_order_are_refused() -> None:
    key = vrf.SecretKey(b"\x09" * 32)
    for suite in ("ell2", "tai"):
        for point in SMALL:
            for proof in (key.prove(b"input"), key.prove_batchable(b"input")):
                assert verdict(suite, encode(point), b"input", proof) is None
                with pytest.raises(VerificationError, match="small order"):
                    vrf.verify(encode(point), b"input", proof, suite=suite)  # type: ignore[arg-type]


def test_s_at_or_above_the_order_is_refused() -> None:
    key = vrf.SecretKey(b"\x0a" * 32)
    for proof in (key.prove(b"input"), key.prove_batchable(b"input")):
        s = int.from_bytes(proof[-32:], "little")
        highest = (2**256 - 1 - s) // Q
        for raised in (*(s + multiple * Q for multiple in range(1, highest + 1)), Q, 2**256 - 1):
            spoilt = proof[:-32] + raised.to_bytes(32, "little")
            with pytest.raises(VerificationError, match="below the group's order"):
                vrf.verify(key.public_key, b"input", spoilt)
            with pytest.raises(VerificationError, match="below the group's order"):
                vrf.proof_to_hash(spoilt)
            assert verdict("ell2", key.public_key, b"input", spoilt) is None


def test_every_bit_of_c_is_compared() -> None:
    key = vrf.SecretKey(b"\x0b" * 32)
    proof = key.prove(b"input")
    for bit in range(128):
        spoilt = bytearray(proof)
        spoilt[32 + bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError, match="does not fit"):
            vrf.verify(key.public_key, b"input", spoilt)


def test_one_seed_for_signing_and_drawing_gives_the_key_away_and_identities_have_two() -> None:
    """Both nonces are SHA-512(prefix, message): a signature of the bytes of H and a proof reveal x."""
    seed, alpha = b"\x0c" * 32, b"input"
    key = Key.of(seed)
    h = encode(encode_to_curve("ell2", key.public, alpha))
    nonce = int.from_bytes(sha512(key.prefix, h), "little") % Q
    r = encode(times(nonce, BASE))
    k = int.from_bytes(sha512(r, key.public, h), "little") % Q
    signed = (nonce + k * key.x) % Q
    proof = vrf.SecretKey(seed).prove(alpha)
    c, s = int.from_bytes(proof[32:48], "little"), int.from_bytes(proof[48:], "little")
    assert (signed - s) * pow(k - c, -1, Q) % Q == key.x % Q
    identity = Identity(seed)
    assert len({identity.id, identity.vrf_public, key.public}) == 3
