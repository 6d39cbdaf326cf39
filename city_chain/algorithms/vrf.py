"""VRF: verifiable random function, RFC 9381 ECVRF over edwards25519 with SHA-512.

The holder of a secret key gives for every input one output that nobody can predict, and a proof that everybody can
check. Points must be canonically encoded, public keys of small order are refused, and a proof's scalar must be below
the group's order. Outputs are unique, proofs are not: never use a hash of a proof.

Two suites, the same for everybody who wants the same outputs: `ell2` (ECVRF-EDWARDS25519-SHA512-ELL2, the default) and
`tai` (ECVRF-EDWARDS25519-SHA512-TAI). The time that `tai` takes tells about the input: public inputs only.

Two forms of a proof: the RFC's 80 bytes, and 128 bytes ("batchable") of which many are checked together at less than
half the cost of each alone. Both give the same output. An 80-byte proof is checked to the letter, a 128-byte one up to
a point of small order, which the output does not show; alone or with others makes no difference to either.

Sizes: seed 32, public key 32, proof 80 or 128, output 64 bytes.

Example:
    >>> key = SecretKey(bytes(range(32)))
    >>> output = verify(key.public_key, b"epoch 1", key.prove(b"epoch 1"))
    >>> len(output)
    64
    >>> sortition(output, weight=300, total=1000, expected=10)
    1
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable
from typing import Literal

from city_chain import _native
from city_chain._native import VrfSecretKey as SecretKey
from city_chain.errors import CityChainError

__all__ = [
    "SecretKey",
    "alpha",
    "proof_to_hash",
    "sortition",
    "to_batchable",
    "to_compact",
    "transaction_seed",
    "verify",
    "verify_many",
]

type Suite = Literal["ell2", "tai"]


def verify(public: Buffer, alpha: Buffer, proof: Buffer, *, suite: Suite = "ell2") -> bytes:
    """Checks a proof and returns the output (RFC 9381, section 5.3, with key validation).

    Args:
        public: The public key, 32 bytes.
        alpha: The input, any bytes. `tai` takes a time that tells about it.
        proof: The proof, 80 or 128 bytes.
        suite: The suite that it was made with.

    Returns:
        The output, 64 bytes: uniformly random to whoever lacks the secret key.

    Raises:
        VerificationError: The proof does not fit key and input, or something is not canonical.
        InputError: The key is not of 32 bytes, the proof not of 80 or 128, or there is no such suite.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> len(verify(key.public_key, b"input", key.prove(b"input")))
        64
    """
    return _native.vrf_verify(public, alpha, proof, suite=suite)


def verify_many(
    items: Iterable[tuple[Buffer, Buffer, Buffer]], *, suite: Suite = "ell2"
) -> list[bytes | CityChainError]:
    """Checks many proofs, of either form, on all cores.

    Proofs of 128 bytes are checked together: a random combination of all their equations, halved until the bad ones are
    found. Of 80 bytes each needs its own; they share what can be shared. A key that occurs often is decoded once.

    Args:
        items: Public key, input and proof of each, as for `verify`; at most 1,048,576.
        suite: The suite that they were made with.

    Returns:
        One verdict each: the output, or the error (not raised) that `verify` would raise for it.

    Raises:
        InputError: An item is not a triple, there are too many, or there is no such suite.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> good = (key.public_key, b"input", key.prove_batchable(b"input"))
        >>> outputs = verify_many([good, good, (key.public_key, b"another input", good[2])])
        >>> [type(output).__name__ for output in outputs]
        ['bytes', 'bytes', 'VerificationError']
    """
    return _native.vrf_verify_many(items, suite=suite)


def proof_to_hash(proof: Buffer, *, suite: Suite = "ell2") -> bytes:
    """The output of a proof that is known to be right: this checks nothing but the encoding (RFC 9381, section 5.2).

    Args:
        proof: The proof, 80 or 128 bytes.
        suite: The suite that it was made with.

    Returns:
        The output, 64 bytes.

    Raises:
        VerificationError: The proof is not canonically encoded.
        InputError: It is not of 80 or 128 bytes, or there is no such suite.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> proof_to_hash(key.prove(b"input")) == verify(key.public_key, b"input", key.prove(b"input"))
        True
    """
    return _native.vrf_proof_to_hash(proof, suite=suite)


def to_batchable(public: Buffer, alpha: Buffer, proof: Buffer, *, suite: Suite = "ell2") -> bytes:
    """The 128-byte form of an 80-byte proof; the proof is checked on the way, at the same cost as by `verify`.

    Args:
        public: The public key, 32 bytes.
        alpha: The input, any bytes.
        proof: The proof, 80 bytes.
        suite: The suite that it was made with.

    Returns:
        Gamma, U, V and s: 128 bytes.

    Raises:
        VerificationError: The proof does not fit key and input, or something is not canonical.
        InputError: A length is wrong, or there is no such suite.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> to_batchable(key.public_key, b"input", key.prove(b"input")) == key.prove_batchable(b"input")
        True
    """
    return _native.vrf_to_batchable(public, alpha, proof, suite=suite)


def to_compact(public: Buffer, alpha: Buffer, proof: Buffer, *, suite: Suite = "ell2") -> bytes:
    """The 80-byte form of a 128-byte proof; the proof is checked on the way.

    Args:
        public: The public key, 32 bytes.
        alpha: The input, any bytes.
        proof: The proof, 128 bytes.
        suite: The suite that it was made with.

    Returns:
        Gamma, c and s: 80 bytes.

    Raises:
        VerificationError: The proof does not fit key and input, fits only up to a point of small order (no honest proof
            does, and it has no short form), or something is not canonical.
        InputError: A length is wrong, or there is no such suite.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> to_compact(key.public_key, b"input", key.prove_batchable(b"input")) == key.prove(b"input")
        True
    """
    return _native.vrf_to_compact(public, alpha, proof, suite=suite)


def sortition(beta: Buffer, weight: int, total: int, expected: int) -> int:
    """How many of a holder's units of weight an output elects: Algorand's binomial walk, in integers only.

    Every unit is elected with probability `expected / total`: the count is binomial, and nobody gains by splitting
    weight over many keys. It is the same on every machine, and never less for a greater output (read as a big-endian
    number). Gilad et al., "Algorand" (SOSP 2017), algorithm 1.

    Args:
        beta: The output of a proof that was checked, 64 bytes.
        weight: The holder's units, 0 to `total`.
        total: The units of all, at most 2**64 - 1.
        expected: How many of all units are elected on average, 1 to 65,536 and at most `total`. The time grows with
            `expected * weight / total`: about 0.1 us for each.

    Returns:
        0 to `weight`.

    Raises:
        InputError: The output is not of 64 bytes, or a number is out of range.

    Example:
        >>> sortition(bytes(64), weight=300, total=1000, expected=10)
        0
        >>> sortition(bytes([255] * 64), weight=300, total=1000, expected=1000)
        300
    """
    return _native.vrf_sortition(beta, weight, total, expected)


def alpha(network: Buffer, epoch: int, role: int, seed: Buffer) -> bytes:
    """The input of a draw: tag (16 bytes), network (32), epoch (8), role (2), seed (32); integers little-endian.

    Args:
        network: The network's id, 32 bytes.
        epoch: 0 to 2**64 - 1.
        role: What is drawn for, 0 to 65535.
        seed: The epoch's seed, 32 bytes, which nobody knew when the candidates were fixed.

    Returns:
        90 bytes.

    Raises:
        InputError: A size or number is out of range.

    Example:
        >>> alpha(bytes(32), 1, 0, bytes(32))[:16]
        b'city-chain vrf 1'
    """
    return _native.vrf_alpha(network, epoch, role, seed)


def transaction_seed(beta: Buffer, sender: Buffer, sequence: int) -> bytes:
    """The seed of one transaction's draw: a hash of the epoch's output, the sender and the sequence.

    The sequence is gapless and not chosen, so a sender cannot look for one that suits it.

    Args:
        beta: The sender's output for the epoch, 64 bytes.
        sender: The sender's key, 32 bytes.
        sequence: The transaction's number, 0 to 2**64 - 1.

    Returns:
        32 bytes.

    Raises:
        InputError: A size or number is out of range.

    Example:
        >>> transaction_seed(bytes(64), bytes(32), 0) != transaction_seed(bytes(64), bytes(32), 1)
        True
    """
    return _native.vrf_transaction_seed(beta, sender, sequence)
