"""BLS: signatures on BLS12-381 of one key, of many keys summed, or of a key that parties have shares of.

The suite is `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_` of draft-irtf-cfrg-bls-signature: public keys in G2,
signatures in G1. For a key and a message there is exactly one signature, so that a threshold signature does not show
who made it, and `verify` does not tell a group's key from one party's.

Every point that comes in is checked: on the curve, in the subgroup of prime order, not the neutral element, canonically
encoded. Keys are summed only as `ProvenKey`, so that nobody can make up a key from others' keys and sign for them.

Sizes: seed 32, public key 98 (``bp`` and 96), signature and proof of possession 48, public share 100 (``bv``, index and
96), signature share 50 (index, little-endian, and 48) bytes.

Example:
    >>> from city_chain.algorithms.tes import dkg
    >>> setup = dkg.Setup("bls", threshold=2, parties=3, context=b"epoch 1")
    >>> made = [dkg.deal(setup, dealer) for dealer in (1, 2)]
    >>> deals = [deal for deal, _ in made]
    >>> parties = [dkg.finalize(setup, index, deals, [own[index - 1] for _, own in made]) for index in (1, 2, 3)]
    >>> keys = parties[0][1]
    >>> shares = [sign_share(share, b"block 7") for share, _ in parties]
    >>> signature, _ = combine(keys.group_key, 2, keys.shares, b"block 7", shares[1:])
    >>> verify(keys.group_key, b"block 7", signature)
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable

from city_chain import _native
from city_chain._native import BlsProvenKey as ProvenKey
from city_chain._native import BlsSecretKey as SecretKey
from city_chain._native import DkgSecretShare as SecretShare
from city_chain.errors import CityChainError

__all__ = [
    "ProvenKey",
    "SecretKey",
    "aggregate",
    "aggregate_verify",
    "combine",
    "sign_share",
    "verify",
    "verify_many",
    "verify_share",
    "verify_shares",
]


def verify(public: Buffer, message: Buffer, signature: Buffer) -> None:
    """Checks a signature of one key, or a threshold signature under the group's key.

    Args:
        public: The public key, 98 bytes.
        message: Any bytes.
        signature: The signature, 48 bytes.

    Raises:
        VerificationError: The signature does not fit key and message, or is no element of the group.
        InputError: The key is none, or the signature is not of 48 bytes.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> verify(key.public_key, b"message", key.sign(b"message"))
        >>> verify(key.public_key, b"another", key.sign(b"message"))
        Traceback (most recent call last):
        city_chain.errors.VerificationError: bls: the signature does not fit key and message
    """
    _native.bls_verify(public, message, signature)


def verify_many(items: Iterable[tuple[Buffer, Buffer, Buffer]]) -> list[CityChainError | None]:
    """Checks many signatures together, on all cores.

    They are combined with random coefficients; signatures of one key, or of one message, share a pairing. If the
    combination fails, the wrong ones are found by halving it.

    Args:
        items: Public key, message and signature of each, as for `verify`; at most 1,048,576.

    Returns:
        One verdict each: None, or the error (not raised) that `verify` would raise for it.

    Raises:
        InputError: An item is not a triple, or there are too many.
        UnavailableError: The system has no randomness.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> good = (key.public_key, b"message", key.sign(b"message"))
        >>> verify_many([good, (key.public_key, b"another", good[2]), good])
        [None, VerificationError('bls: the signature does not fit key and message'), None]
    """
    return _native.bls_verify_many(items)


def aggregate(signatures: Iterable[Buffer]) -> bytes:
    """The sum of signatures, which `aggregate_verify` checks under the keys of all signers.

    Args:
        signatures: 48 bytes each, at least one. Whether they are right is not checked, only that they are points.

    Returns:
        48 bytes.

    Raises:
        VerificationError: One is no element of the group, or they cancel out.
        InputError: There are none, or one is not of 48 bytes.

    Example:
        >>> keys = [SecretKey(bytes([seed]) * 32) for seed in (1, 2, 3)]
        >>> signature = aggregate(key.sign(b"batch 7") for key in keys)
        >>> proven = [ProvenKey(key.public_key, key.prove_possession()) for key in keys]
        >>> aggregate_verify(proven, b"batch 7", signature)
    """
    return _native.bls_aggregate(signatures)


def aggregate_verify(keys: Iterable[ProvenKey], message: Buffer, signature: Buffer) -> None:
    """Checks that all of these keys signed the one message, at the cost of one signature.

    Args:
        keys: The signers' keys, in any order, at least one, none twice.
        message: Any bytes.
        signature: What `aggregate` gave, 48 bytes.

    Raises:
        VerificationError: The signature does not fit keys and message, is no element of the group, or the keys cancel
            out.
        InputError: There are no keys, one stands twice, or the signature is not of 48 bytes.
        TypeError: A key is not a `ProvenKey`.

    Example:
        >>> key = SecretKey(bytes(32))
        >>> proven = ProvenKey(key.public_key, key.prove_possession())
        >>> aggregate_verify([proven, proven], b"message", key.sign(b"message"))
        Traceback (most recent call last):
        city_chain.errors.InputError: bls: keys[0] and keys[1] are the same
    """
    _native.bls_aggregate_verify(keys, message, signature)


def sign_share(share: SecretShare, message: Buffer) -> bytes:
    """One party's share of the group's signature.

    Args:
        share: The party's share of the key, of scheme `bls`.
        message: Any bytes.

    Returns:
        50 bytes: the party's index, little-endian, and a point.

    Raises:
        InputError: The share is of another scheme.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> share = dkg.SecretShare.from_bytes(b"bx" + bytes([3, 0]) + bytes([1]) * 32)
        >>> verify_share(share.public_share, b"block 7", sign_share(share, b"block 7"))
    """
    return _native.bls_sign_share(share, message)


def verify_share(public_share: Buffer, message: Buffer, share: Buffer) -> None:
    """Checks one party's share.

    `combine` checks what it must by itself; this is for those who want to know at once.

    Args:
        public_share: What the party's shares are checked against, 100 bytes.
        message: Any bytes.
        share: What `sign_share` gave, 50 bytes.

    Raises:
        VerificationError: The share does not fit, is another party's, or is no element of the group.
        InputError: The public share is none, the share is not of 50 bytes, or its index is 0.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> share = dkg.SecretShare.from_bytes(b"bx" + bytes([3, 0]) + bytes([1]) * 32)
        >>> verify_share(share.public_share, b"block 8", sign_share(share, b"block 7"))
        Traceback (most recent call last):
        city_chain.errors.VerificationError: bls: share 3 does not fit its public share and the message
    """
    _native.bls_verify_share(public_share, message, share)


def verify_shares(
    public_shares: Iterable[Buffer], message: Buffer, shares: Iterable[Buffer]
) -> list[CityChainError | None]:
    """Checks many parties' shares of one message together: right ones cost two pairings in all.

    Args:
        public_shares: What they are checked against, in any order; at most 1024.
        message: Any bytes.
        shares: What `sign_share` gave, in any order.

    Returns:
        One verdict for each share: None, or the error (not raised) that `verify_share` would raise for it.

    Raises:
        InputError: A public share is none, a share is not of 50 bytes, an index is 0 or stands twice.
        UnavailableError: The system has no randomness.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> one, two = (dkg.SecretShare.from_bytes(b"bx" + bytes([index, 0]) + bytes([1]) * 32) for index in (1, 2))
        >>> shares = [sign_share(two, b"block 7"), sign_share(one, b"block 8")]
        >>> verify_shares([one.public_share, two.public_share], b"block 7", shares)
        [None, VerificationError('bls: share 1 does not fit its public share and the message')]
    """
    return _native.bls_verify_shares(public_shares, message, shares)


def combine(
    public: Buffer, threshold: int, public_shares: Iterable[Buffer], message: Buffer, shares: Iterable[Buffer]
) -> tuple[bytes, dict[int, CityChainError]]:
    """The group's signature, from any `threshold` right shares of it.

    Optimistic: the shares of the least indices are combined and the signature is checked once. Only if it does not fit
    are wrong shares left out. Named are those that the signature is made without, as far as they are wrong, or else all
    that are wrong.

    Args:
        public: The group's key, 98 bytes.
        threshold: How many shares make the signature.
        public_shares: What the shares are checked against, at most 1024. With none, a wrong share is an error, for
            there is no telling which it is.
        message: Any bytes.
        shares: What `sign_share` gave, in any order.

    Returns:
        The signature, 48 bytes, and what is wrong with wrong shares, by the index of their party. Shares that did not
        have to be looked at are not in it, whatever they are.

    Raises:
        UnavailableError: There are fewer right shares than `threshold`; the message names the wrong ones.
        VerificationError: A share is wrong and there are no public shares, or these are not the group key's.
        InputError: A key is none, the threshold is 0, a share is not of 50 bytes, an index is 0 or stands twice.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> alone = dkg.SecretShare.from_bytes(b"bx" + bytes([1, 0]) + bytes([1]) * 32)  # a group of one
        >>> key = b"bp" + alone.public_share[4:]
        >>> signature, wrong = combine(key, 1, [alone.public_share], b"block 7", [sign_share(alone, b"block 7")])
        >>> verify(key, b"block 7", signature), wrong
        (None, {})
    """
    return _native.bls_combine(public, threshold, public_shares, message, shares)
