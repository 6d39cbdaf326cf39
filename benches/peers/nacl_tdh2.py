"""TDH2 (Shoup, Gennaro 2002) written over PyNaCl: what a careful user would write where no package has it.

Points and scalars are libsodium's, of edwards25519; hashes are SHA-512, the body is a secretbox.
Not for use: points are not checked for small order.
"""

from __future__ import annotations

import os
from hashlib import sha512
from typing import Any

from nacl import bindings

_any: Any = bindings
_add, _sub = _any.crypto_core_ed25519_add, _any.crypto_core_ed25519_sub
_mul, _base = _any.crypto_scalarmult_ed25519_noclamp, _any.crypto_scalarmult_ed25519_base_noclamp
_times, _plus = _any.crypto_core_ed25519_scalar_mul, _any.crypto_core_ed25519_scalar_add
_minus, _inverse = _any.crypto_core_ed25519_scalar_sub, _any.crypto_core_ed25519_scalar_invert
_SECOND = _any.crypto_core_ed25519_from_uniform(sha512(b"second generator").digest()[:32])
_NONCE = bytes(24)


class ForgedError(Exception):
    """A ciphertext or share is not right."""


def _scalar(*parts: bytes) -> bytes:
    data = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return bytes(_any.crypto_core_ed25519_scalar_reduce(sha512(data).digest()))


def _small(number: int) -> bytes:
    return number.to_bytes(32, "little")


def deal(threshold: int, parties: int) -> tuple[bytes, dict[int, bytes], dict[int, bytes]]:
    """The group's key, each party's secret and public share."""
    terms = [_scalar(os.urandom(64)) for _ in range(threshold)]
    secrets = {}
    for index in range(1, parties + 1):
        value = bytes(32)
        for term in reversed(terms):
            value = _plus(_times(value, _small(index)), term)
        secrets[index] = value
    return _base(terms[0]), secrets, {index: _base(secret) for index, secret in secrets.items()}


def encrypt(key: bytes, label: bytes, plain: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """u, ū, e, f and the body."""
    r, s = _scalar(os.urandom(64)), _scalar(os.urandom(64))
    u, second = _base(r), _mul(r, _SECOND)
    body = _any.crypto_secretbox(plain, _NONCE, sha512(_mul(r, key)).digest()[:32])
    e = _scalar(body, label, u, _base(s), second, _mul(s, _SECOND))
    return u, second, e, _plus(s, _times(r, e)), body


def check(label: bytes, ciphertext: tuple[bytes, bytes, bytes, bytes, bytes]) -> None:
    """Raises if the ciphertext was changed."""
    u, second, e, f, body = ciphertext
    w, w_second = _sub(_base(f), _mul(e, u)), _sub(_mul(f, _SECOND), _mul(e, second))
    if _scalar(body, label, u, w, second, w_second) != e:
        raise ForgedError("the ciphertext")


def share(
    index: int, secret: bytes, label: bytes, ciphertext: tuple[bytes, bytes, bytes, bytes, bytes]
) -> tuple[int, bytes, bytes, bytes]:
    """A party's share, with its proof. The ciphertext is checked first."""
    check(label, ciphertext)
    u, k = ciphertext[0], _scalar(os.urandom(64))
    value = _mul(secret, u)
    c = _scalar(_base(secret), u, value, _base(k), _mul(k, u))
    return index, value, c, _plus(k, _times(c, secret))


def check_share(public: bytes, u: bytes, made: tuple[int, bytes, bytes, bytes]) -> None:
    """Raises if the share is wrong."""
    _, value, c, z = made
    if _scalar(public, u, value, _sub(_base(z), _mul(c, public)), _sub(_mul(z, u), _mul(c, value))) != c:
        raise ForgedError("the share")


def combine(
    ciphertext: tuple[bytes, bytes, bytes, bytes, bytes], shares: list[tuple[int, bytes, bytes, bytes]]
) -> bytes:
    """The plaintext, from as many shares as the threshold, taken as they are: the secretbox's tag decides."""
    total = None
    for index, value, _, _ in shares:
        above, below = _small(1), _small(1)
        for other, *_ in shares:
            if other != index:
                above, below = _times(above, _small(other)), _times(below, _minus(_small(other), _small(index)))
        part = _mul(_times(above, _inverse(below)), value)
        total = part if total is None else _add(total, part)
    return bytes(_any.crypto_secretbox_open(ciphertext[4], _NONCE, sha512(total or b"").digest()[:32]))
