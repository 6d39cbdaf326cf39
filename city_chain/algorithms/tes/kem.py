"""Key encapsulation that a quantum computer does not open: X-Wing, and NTRU Prime with X25519.

Whoever has a public key makes a fresh secret of 32 bytes and a ciphertext; the holder of the secret key gets the secret
back. Both suites are hybrids, safe while either half is: `x-wing` (X25519 and ML-KEM-768 of FIPS 203, as
draft-connolly-cfrg-xwing-kem combines them) and `sntrup761-x25519` (Streamlined NTRU Prime 761 and X25519), which is
experimental. Neither lattice scheme is offered alone.

A wrong ciphertext gives another secret and no error, so that nobody learns from errors. Use the secret as a key of
authenticated encryption, whose tag then tells.

Sizes with `x-wing`: seed 32, public key 1218, ciphertext 1120, secret 32 bytes; with `sntrup761-x25519` the public key
has 1192, the ciphertext 1071. Keys begin with two letters that say what they are.

Example:
    >>> key = SecretKey(bytes(range(32)))     # in earnest: SecretKey.generate()
    >>> ciphertext, secret = encapsulate(key.public_key)
    >>> key.decapsulate(ciphertext) == secret
    True
"""

from __future__ import annotations

from collections.abc import Buffer
from typing import Literal

from city_chain import _native
from city_chain._native import KemPublicKey as PublicKey
from city_chain._native import KemSecretKey as SecretKey

__all__ = ["PublicKey", "SecretKey", "ciphertext_len", "encapsulate"]

type Suite = Literal["x-wing", "sntrup761-x25519"]


def encapsulate(public: Buffer) -> tuple[bytes, bytes]:
    """A fresh secret, and the ciphertext that carries it to the holder of the secret key.

    Args:
        public: The typed public key. For many secrets to one holder `PublicKey` decodes it once.

    Returns:
        Ciphertext and secret, the secret of 32 bytes.

    Raises:
        InputError: The bytes are no public key of a suite, or of another length.
        VerificationError: The ML-KEM half is not canonical, or the X25519 half not canonical or of small order.

    Example:
        >>> key = SecretKey(bytes(32), suite="sntrup761-x25519")
        >>> ciphertext, secret = encapsulate(key.public_key)
        >>> len(ciphertext), len(secret)
        (1071, 32)
    """
    return _native.kem_encapsulate(public)


def ciphertext_len(suite: Suite = "x-wing") -> int:
    """How many bytes a ciphertext of a suite has.

    Args:
        suite: The suite's name.

    Returns:
        The number of bytes.

    Raises:
        InputError: There is no such suite.

    Example:
        >>> ciphertext_len(), ciphertext_len("sntrup761-x25519")
        (1120, 1071)
    """
    return _native.kem_ciphertext_len(suite)
