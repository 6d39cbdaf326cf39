"""VRF: verifiable random function, RFC 9381 ECVRF-EDWARDS25519-SHA512-ELL2.

The holder of a secret key gives for every input one output that nobody can predict, and a proof that everybody can
check. Points must be canonically encoded, public keys of small order are refused, and a proof's scalar must be below
the group's order. Outputs are unique, proofs are not: never use a hash of a proof.

Sizes: seed 32, public key 32, proof 80, output 64 bytes.

Example:
    >>> key = SecretKey(bytes(range(32)))
    >>> output = verify(key.public_key, b"epoch 1", key.prove(b"epoch 1"))
    >>> len(output)
    64
"""

from __future__ import annotations

from collections.abc import Buffer

from city_chain import _native
from city_chain._native import VrfSecretKey as SecretKey

__all__ = ["SecretKey", "alpha", "proof_to_hash", "transaction_seed", "verify"]


def verify(public: Buffer, alpha: Buffer, proof: Buffer) -> bytes:
    """Checks a proof and returns the output.

    Args:
        public: The public key, 32 bytes.
        alpha: The input, any bytes.
        proof: The proof, 80 bytes.

    Returns:
        The output, 64 bytes: uniformly random to whoever lacks the secret key.

    Raises:
        VerificationError: The proof does not fit key and input, or something is not canonical.
        InputError: The key is not of 32 bytes or the proof not of 80.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> len(verify(key.public_key, b"input", key.prove(b"input")))
        64
    """
    return _native.vrf_verify(public, alpha, proof)


def proof_to_hash(proof: Buffer) -> bytes:
    """The output of a proof that is known to be right: this checks nothing but the encoding.

    Args:
        proof: The proof, 80 bytes.

    Returns:
        The output, 64 bytes.

    Raises:
        VerificationError: The proof is not canonically encoded.
        InputError: It is not of 80 bytes.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> proof_to_hash(key.prove(b"input")) == verify(key.public_key, b"input", key.prove(b"input"))
        True
    """
    return _native.vrf_proof_to_hash(proof)


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
