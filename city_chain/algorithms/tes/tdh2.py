"""TDH2: encryption to a group's key, which any `threshold` of its parties open together.

Shoup and Gennaro's TDH2 (J. Cryptology 2002) on ristretto255, secure against chosen ciphertexts: parties check a
ciphertext before they make a share of it, and one that was changed, or stands under another label, gets no share. The
label says what a ciphertext belongs to; it is not in the ciphertext, and whoever opens it must name the same.

A ciphertext is a capsule of 144 bytes and a body. The capsule is all that a party needs: it holds a digest of the body
and fits no other. The body is the plaintext, encrypted with BLAKE3 and authenticated with a tag of 32 bytes.

`combine` is optimistic: it takes the first shares as they are, and the body's tag says whether they were right. If not,
it tries a few other choices, one of which opens if a single share is wrong; only if none does are shares checked,
together, and wrong ones left out.

Sizes: public key 34, public share 36, capsule 144, share 130 bytes; a ciphertext is 176 bytes longer than its
plaintext. Keys come from `dkg`.

Example:
    >>> from city_chain.algorithms.tes import dkg
    >>> setup = dkg.Setup("tdh2", threshold=2, parties=3, context=b"epoch 1")
    >>> dealt = [dkg.deal(setup, dealer) for dealer in (1, 2, 3)]
    >>> deals = [deal for deal, _ in dealt]
    >>> keys = dkg.public_keys(setup, deals)
    >>> secrets = [dkg.finalize(setup, i, deals, [own[i - 1] for _, own in dealt])[0] for i in (1, 2, 3)]
    >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"nobody reads this alone")
    >>> capsule = capsule_of(ciphertext)
    >>> shares = [decrypt_share(secret, keys.group_key, b"transaction 12", capsule) for secret in secrets[1:]]
    >>> combine(keys.group_key, 2, keys.shares, b"transaction 12", ciphertext, shares)
    b'nobody reads this alone'
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable

from city_chain import _native
from city_chain._native import DkgSecretShare as SecretShare
from city_chain.errors import CityChainError

__all__ = [
    "capsule_of",
    "combine",
    "decrypt_share",
    "encrypt",
    "share_index",
    "verify_capsule",
    "verify_ciphertext",
    "verify_share",
    "verify_shares",
]


def encrypt(group_key: Buffer, label: Buffer, plain: Buffer) -> bytes:
    """Encrypts for the group.

    Args:
        group_key: The group's public key, 34 bytes.
        label: What the ciphertext belongs to, any bytes. Public.
        plain: The plaintext, any bytes.

    Returns:
        The ciphertext, 176 bytes longer. Another one each time.

    Raises:
        InputError: The key is of another kind or no key.
        UnavailableError: The system has no randomness.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> len(ciphertext) - len(b"secret")
        176
    """
    return _native.tdh2_encrypt(group_key, label, plain)


def capsule_of(ciphertext: Buffer) -> bytes:
    """The part of a ciphertext that parties need: its first 144 bytes. Nothing of it is checked.

    Args:
        ciphertext: What `encrypt` gave.

    Returns:
        The capsule.

    Raises:
        InputError: The ciphertext is shorter than any.

    Example:
        >>> capsule_of(bytes(range(200))) == bytes(range(144))
        True
    """
    return _native.tdh2_capsule_of(ciphertext)


def verify_capsule(group_key: Buffer, label: Buffer, capsule: Buffer) -> None:
    """Checks that a capsule was made for this key and label, by somebody who knows what is sealed under it.

    Args:
        group_key: The group's public key, 34 bytes.
        label: The label.
        capsule: The capsule, 144 bytes.

    Raises:
        VerificationError: It was not, or was changed.
        InputError: The key is of another kind, or the capsule of another length.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> verify_capsule(keys.group_key, b"transaction 12", capsule_of(ciphertext))
        >>> verify_capsule(keys.group_key, b"transaction 13", capsule_of(ciphertext))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        city_chain.errors.VerificationError: tdh2: the capsule: its proof is wrong: ...
    """
    _native.tdh2_verify_capsule(group_key, label, capsule)


def verify_ciphertext(group_key: Buffer, label: Buffer, ciphertext: Buffer) -> None:
    """Checks a ciphertext's capsule, and that its body is the one that the capsule was made for.

    Args:
        group_key: The group's public key, 34 bytes.
        label: The label.
        ciphertext: The ciphertext.

    Raises:
        VerificationError: It was made for another key or label, or was changed.
        InputError: The key is of another kind, or the ciphertext shorter than any.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> verify_ciphertext(keys.group_key, b"transaction 12", ciphertext)
        >>> verify_ciphertext(keys.group_key, b"transaction 12", ciphertext + b"!")
        Traceback (most recent call last):
        city_chain.errors.VerificationError: tdh2: the ciphertext: its body is not the one that its capsule was made for
    """
    _native.tdh2_verify_ciphertext(group_key, label, ciphertext)


def decrypt_share(secret_share: SecretShare, group_key: Buffer, label: Buffer, capsule: Buffer) -> bytes:
    """One party's part of a decryption. The capsule is checked first: of one that is wrong there is no share.

    Whether it may be opened yet is for the caller to know: a share that was given cannot be taken back.

    Args:
        secret_share: The party's secret share, of scheme ``tdh2``.
        group_key: The group's public key, 34 bytes.
        label: The label, which the party should know by itself.
        capsule: The capsule, 144 bytes.

    Returns:
        The share, 130 bytes: index, value, proof.

    Raises:
        VerificationError: The capsule was not made for this key and label.
        InputError: A key is of another kind, or the capsule of another length.
        UnavailableError: The system has no randomness.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> capsule = capsule_of(ciphertext)
        >>> share = decrypt_share(secret, keys.group_key, b"transaction 12", capsule)
        >>> len(share), share_index(share)
        (130, 1)
    """
    return _native.tdh2_decrypt_share(secret_share, group_key, label, capsule)


def share_index(share: Buffer) -> int:
    """The index of the party whose share it says it is. Collect no share whose index is not its sender's.

    Args:
        share: The share, 130 bytes. Nothing else of it is looked at.

    Returns:
        The index.

    Raises:
        InputError: It has another length.

    Example:
        >>> share_index(bytes([7, 0]) + bytes(128))
        7
    """
    return _native.tdh2_share_index(share)


def verify_share(public_share: Buffer, label: Buffer, capsule: Buffer, share: Buffer) -> None:
    """Checks a share against its party's public share. The capsule is taken to be right: `verify_capsule`.

    Args:
        public_share: The party's public share, 36 bytes.
        label: The label.
        capsule: The capsule, 144 bytes.
        share: The share, 130 bytes.

    Raises:
        VerificationError: The share is wrong.
        InputError: The share has another length or is another party's, or the public share is of another kind.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> capsule = capsule_of(ciphertext)
        >>> share = decrypt_share(secret, keys.group_key, b"transaction 12", capsule)
        >>> verify_share(keys.shares[0], b"transaction 12", capsule, share)
    """
    _native.tdh2_verify_share(public_share, label, capsule, share)


def verify_shares(
    public_shares: Iterable[Buffer], label: Buffer, capsule: Buffer, shares: Iterable[Buffer]
) -> list[CityChainError | None]:
    """Checks many shares of one capsule, in one multiplication if all are right; else by halves.

    Args:
        public_shares: The public shares of parties 1, 2, 3, …, in this order; at most 1,024.
        label: The label.
        capsule: The capsule, 144 bytes, taken to be right.
        shares: The shares, in any order; at most 1,024.

    Returns:
        One verdict each: None, or the error (not raised) that `verify_share` would raise for it.

    Raises:
        VerificationError: The capsule has no point in its first place.
        InputError: The capsule has another length, or there are too many of something.
        UnavailableError: The system has no randomness.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> capsule = capsule_of(ciphertext)
        >>> share = decrypt_share(secret, keys.group_key, b"transaction 12", capsule)
        >>> verify_shares(keys.shares, b"transaction 12", capsule, [share])
        [None]
    """
    return _native.tdh2_verify_shares(public_shares, label, capsule, shares)


def combine(
    group_key: Buffer,
    threshold: int,
    public_shares: Iterable[Buffer],
    label: Buffer,
    ciphertext: Buffer,
    shares: Iterable[Buffer],
) -> bytes:
    """The plaintext, from the shares of any `threshold` parties. Wrong shares are left out.

    Args:
        group_key: The group's public key, 34 bytes.
        threshold: How many parties it takes, 1 to their number.
        public_shares: The public shares of parties 1, 2, 3, …, in this order; at most 1,024.
        label: The label.
        ciphertext: The ciphertext.
        shares: Shares of different parties, in any order.

    Returns:
        The plaintext.

    Raises:
        VerificationError: The ciphertext is wrong; also if it was made wrong, so that it opens for nobody.
        UnavailableError: Fewer than `threshold` shares are right; the message names the parties whose are wrong.
        InputError: A number is out of range, a key is of another kind, a share has another length, or an index is 0, of
            no party or twice there.

    Example:
        >>> from city_chain.algorithms.tes import dkg
        >>> setup = dkg.Setup("tdh2", threshold=1, parties=1, context=b"epoch 1")
        >>> deal, own = dkg.deal(setup, 1)
        >>> secret, keys = dkg.finalize(setup, 1, [deal], own)
        >>> ciphertext = encrypt(keys.group_key, b"transaction 12", b"secret")
        >>> capsule = capsule_of(ciphertext)
        >>> share = decrypt_share(secret, keys.group_key, b"transaction 12", capsule)
        >>> combine(keys.group_key, 1, keys.shares, b"transaction 12", ciphertext, [share])
        b'secret'
    """
    return _native.tdh2_combine(group_key, threshold, public_shares, label, ciphertext, shares)
