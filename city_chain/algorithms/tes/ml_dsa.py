"""ML-DSA: signatures that a quantum computer does not forge (FIPS 204), in the three parameter sets.

A key is stored as its seed of 32 bytes and kept expanded while it is in use. Signing is hedged: the nonce is a hash of
the key, the message and 32 fresh random bytes, so that neither bad randomness nor a fault that repeats gives the key
away. Every signature names its use, the context, which must not be empty: a signature for one use verifies for no
other.

Dilithium of the third round is not ML-DSA, and is not offered: its keys and signatures do not verify here.

Sizes in bytes, keys with the two letters that say what they are:

===========  ====  ==========  =========
parameters   seed  public key  signature
===========  ====  ==========  =========
`ml-dsa-44`  34    1314        2420
`ml-dsa-65`  34    1954        3309
`ml-dsa-87`  34    2594        4627
===========  ====  ==========  =========

Example:
    >>> key = SigningKey(bytes(range(32)))     # in earnest: SigningKey.generate()
    >>> signature = key.sign(b"message", context=b"example")
    >>> verify(key.public_key, b"message", signature, context=b"example")
"""

from __future__ import annotations

from collections.abc import Buffer
from typing import Literal

from city_chain import _native
from city_chain._native import MlDsaPublicKey as PublicKey
from city_chain._native import MlDsaSigningKey as SigningKey

__all__ = ["PublicKey", "SigningKey", "verify"]

type Parameters = Literal["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]


def verify(public: Buffer, message: Buffer, signature: Buffer, *, context: Buffer) -> None:
    """Checks a signature (FIPS 204, algorithm 3).

    Args:
        public: The typed public key. For many signatures of one signer `PublicKey` expands it once.
        message: Any bytes.
        signature: What `SigningKey.sign` gave.
        context: What the signature is for, 1 to 255 bytes.

    Raises:
        VerificationError: The signature does not fit key, context and message, or is not canonically encoded.
        InputError: The key is of another kind or length, the signature of another length, or the context is empty or
            too long.

    Example:
        >>> key = SigningKey(bytes(32), parameters="ml-dsa-87")
        >>> verify(key.public_key, b"yes", key.sign(b"yes", context=b"votes"), context=b"votes")
        >>> verify(key.public_key, b"no", key.sign(b"yes", context=b"votes"), context=b"votes")
        Traceback (most recent call last):
            ...
        city_chain.errors.VerificationError: ml-dsa: the signature does not fit key, context and message
    """
    _native.ml_dsa_verify(public, message, signature, context=context)
