"""ECVRF-EDWARDS25519-SHA512 after RFC 9381, TAI and ELL2, written over PyNaCl: what a careful user would write.

Points and scalars are libsodium's; the Elligator map of ELL2, which libsodium has with another encoding only, is in
Python integers. The proof has 80 bytes, as the RFC has it. Public inputs only: nothing here is constant-time.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Any

from nacl import bindings

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
_SQRT_M1 = pow(2, (P - 1) // 4, P)
_A = 486662
_SQRT_M486664 = 6853475219497561581579357271197624642482790079785650197046958215289687604742
"""The square root of -486664 that the map of RFC 9380, section 6.8.2 uses (the one with sign 0)."""

TAI, ELL2 = 3, 4
_H2C = b"ECVRF_edwards25519_XMD:SHA-512_ELL2_NU_\x04"


class ForgedError(Exception):
    """A proof is not right."""


_any: Any = bindings
_add, _sub = _any.crypto_core_ed25519_add, _any.crypto_core_ed25519_sub
_mul, _base = _any.crypto_scalarmult_ed25519_noclamp, _any.crypto_scalarmult_ed25519_base_noclamp


def _cofactor(point: bytes) -> bytes:
    for _ in range(3):
        point = _add(point, point)
    return point


def _tai(public: bytes, alpha: bytes) -> bytes:
    for counter in range(256):
        tried = sha512(bytes([TAI, 1]) + public + alpha + bytes([counter, 0])).digest()[:32]
        if int.from_bytes(tried, "little") & (2**255 - 1) >= P:
            continue
        try:
            return _cofactor(tried)
        except Exception:  # libsodium's wrapper raises RuntimeError where the bytes are no point
            continue
    raise ForgedError("no point was found")


def _expand(message: bytes, tag: bytes, length: int) -> bytes:
    """`expand_message_xmd` with SHA-512 for up to 64 bytes (RFC 9380, section 5.3.1)."""
    tail = tag + bytes([len(tag)])
    first = sha512(bytes(128) + message + length.to_bytes(2, "big") + b"\0" + tail).digest()
    return sha512(first + b"\1" + tail).digest()[:length]


def _elligator2(u: int) -> bytes:
    """The map to edwards25519 (RFC 9380, sections 6.7.1 and 6.8.2), encoded."""
    tv1 = 2 * u * u % P
    if tv1 == P - 1:
        tv1 = 0
    x1 = -_A * pow(1 + tv1, -1, P) % P
    gx1 = (x1 * x1 * x1 + _A * x1 * x1 + x1) % P
    is_square = pow(gx1, (P - 1) // 2, P) in (0, 1)
    x = x1 if is_square else (-x1 - _A) % P
    gx = gx1 if is_square else (x * x * x + _A * x * x + x) % P
    y = pow(gx, (P + 3) // 8, P)
    if y * y % P != gx:
        y = y * _SQRT_M1 % P
    if (y & 1) != is_square:  # sgn0(y) is 1 for the first candidate, 0 for the second
        y = P - y
    if y == 0 or x == P - 1:
        ex, ey = 0, 1
    else:
        inverse = pow(y * (x + 1), -1, P)
        ex = _SQRT_M486664 * x * inverse % P * (x + 1) % P
        ey = (x - 1) * inverse % P * y % P
    return (ey | (ex & 1) << 255).to_bytes(32, "little")


def _ell2(public: bytes, alpha: bytes) -> bytes:
    uniform = _expand(public + alpha, _H2C, 48)
    return _cofactor(_elligator2(int.from_bytes(uniform, "big") % P))


_ENCODE = {TAI: _tai, ELL2: _ell2}


def _challenge(suite: int, *points: bytes) -> bytes:
    return sha512(bytes([suite, 2]) + b"".join(points) + b"\0").digest()[:16]


def _hash(suite: int, gamma: bytes) -> bytes:
    return sha512(bytes([suite, 3]) + _cofactor(gamma) + b"\0").digest()


class SecretKey:
    """A key out of a seed of 32 bytes."""

    def __init__(self, seed: bytes, suite: int = ELL2) -> None:
        self.public_key, _ = bindings.crypto_sign_seed_keypair(seed)
        hashed = sha512(seed).digest()
        clamped = int.from_bytes(hashed[:32], "little") & ~7 & ~(1 << 255) | 1 << 254
        self._x = (clamped % Q).to_bytes(32, "little")
        self._prefix = hashed[32:]
        self._suite = suite

    def prove(self, alpha: bytes) -> bytes:
        """The proof (RFC 9381, section 5.1)."""
        h = _ENCODE[self._suite](self.public_key, alpha)
        gamma = _mul(self._x, h)
        nonce = _any.crypto_core_ed25519_scalar_reduce(sha512(self._prefix + h).digest())
        c = _challenge(self._suite, self.public_key, h, gamma, _base(nonce), _mul(nonce, h))
        product = _any.crypto_core_ed25519_scalar_mul(c.ljust(32, b"\0"), self._x)
        return gamma + c + _any.crypto_core_ed25519_scalar_add(product, nonce)


def verify(public: bytes, alpha: bytes, proof: bytes, suite: int = ELL2) -> bytes:
    """The output of a right proof (RFC 9381, section 5.3).

    Raises:
        ForgedError: It is not right.
    """
    if len(proof) != 80 or int.from_bytes(proof[48:], "little") >= Q:
        raise ForgedError("a proof of another length, or with a scalar too large")
    gamma, c, s = proof[:32], proof[32:48].ljust(32, b"\0"), proof[48:]
    try:
        if not bindings.crypto_core_ed25519_is_valid_point(public):  # small order, non-canonical
            raise ForgedError("no public key")
        h = _ENCODE[suite](public, alpha)
        u = _sub(_base(s), _mul(c, public))
        v = _sub(_mul(s, h), _mul(c, gamma))
        found = _challenge(suite, public, h, gamma, u, v)
    except ForgedError:
        raise
    except Exception as error:
        raise ForgedError("a point that is none") from error
    if found != proof[32:48]:
        raise ForgedError("the challenge is another one")
    return _hash(suite, gamma)
