"""DKG: makes a key that nobody has, and hands it on to other parties.

Feldman's verifiable secret sharing (1987), dealt by everybody at once (Pedersen 1991); resharing after Desmedt and
Jajodia (1997). All of it is functions of deals and shares: who sends what to whom, seals the shares on the way and
settles on the deals that count is the caller's business. **Every party must finish with the same deals.**

1. Each dealer makes a `Deal` for everybody and a `SecretShare` for each party, for its eyes only: `deal`.
2. Each party checks what it got, and names the dealers whose deal or share is wrong: `verify_deals`.
3. Each party makes its share of the key of the deals that count: `finalize`. Those who have no share get the same
   `PublicKeys` from the deals alone: `public_keys`.

To hand a key on, the old parties deal their shares to the new ones (`reshare_deal`, `verify_reshare_deals`,
`finalize_reshare`, `reshared_public_keys`). The group's key stays; old shares and new ones do not add up, so old
parties should wipe theirs. To refresh shares is to hand the key on to the same parties.

As many parties as the threshold have the key together: it must be above the number that may be faulty. As many deals
must count, so that one of them at least is an honest party's. Who deals last can choose among a few keys by dealing or
not (Gennaro, Jarecki, Krawczyk, Rabin 1999). It learns nothing about the secret, which is all that `bls`, `tdh2` and
`coin` need; but do not take a group's public key for a random number.

Example:
    >>> setup = Setup("bls", threshold=2, parties=3, context=b"chain 7, epoch 1")
    >>> made = {dealer: deal(setup, dealer) for dealer in (1, 2, 3)}
    >>> deals = [published for published, _ in made.values()]
    >>> own = [[shares[index - 1] for _, shares in made.values()] for index in (1, 2, 3)]  # sent sealed, in earnest
    >>> verify_deals(setup, 2, deals, own[1])
    [None, None, None]
    >>> share, keys = finalize(setup, 2, deals, own[1])
    >>> share, keys
    (<SecretShare 2 of bls>, <PublicKeys of bls: 2 of 3>)
    >>> share.public_share == keys.shares[1], keys == public_keys(setup, deals)
    (True, True)
"""

from __future__ import annotations

from collections.abc import Iterable

from city_chain import _native
from city_chain._native import DkgDeal as Deal
from city_chain._native import DkgPublicKeys as PublicKeys
from city_chain._native import DkgSecretShare as SecretShare
from city_chain._native import DkgSetup as Setup
from city_chain.errors import CityChainError

__all__ = [
    "Deal",
    "PublicKeys",
    "SecretShare",
    "Setup",
    "deal",
    "finalize",
    "finalize_reshare",
    "public_keys",
    "reshare_deal",
    "reshared_public_keys",
    "verify_deals",
    "verify_reshare_deals",
]


def deal(setup: Setup, dealer: int) -> tuple[Deal, list[SecretShare]]:
    """A deal of a random secret, and each party's share of it.

    Args:
        setup: What the parties have agreed on.
        dealer: The index of the party that deals.

    Returns:
        The deal, for everybody, and the shares of parties 1, 2, 3, …, each for its party alone.

    Raises:
        InputError: There is no such party.
        UnavailableError: The system has no randomness.

    Example:
        >>> published, shares = deal(Setup("tdh2", threshold=2, parties=3, context=b"epoch 1"), 1)
        >>> published, shares[2]
        (<Deal of dealer 1 of tdh2, threshold 2>, <SecretShare 3 of tdh2>)
    """
    return _native.dkg_deal(setup, dealer)


def verify_deals(
    setup: Setup, index: int, deals: Iterable[Deal], shares: Iterable[SecretShare]
) -> list[CityChainError | None]:
    """Whether each deal, and a party's share of it, is right. All are checked at once, and each only if that fails.

    Args:
        setup: What the parties have agreed on.
        index: The index of the party that checks.
        deals: The deals, each of another dealer.
        shares: What came with each deal for this party, in the same order.

    Returns:
        For each deal, in order, ``None`` or the error, which names the dealer and says what is wrong.

    Raises:
        InputError: There is no such party, a dealer stands twice, or there is not one share for each deal.

    Example:
        >>> setup = Setup("coin", threshold=2, parties=3, context=b"epoch 1")
        >>> (first, shares), (second, others) = deal(setup, 1), deal(setup, 2)
        >>> verify_deals(setup, 3, [first, second], [shares[2], others[1]])
        [None, VerificationError("share from dealer 2: it is party 2's, party 3's is needed")]
    """
    return _native.dkg_verify_deals(setup, index, deals, shares)


def finalize(
    setup: Setup, index: int, deals: Iterable[Deal], shares: Iterable[SecretShare]
) -> tuple[SecretShare, PublicKeys]:
    """A party's share of the key that deals make. Checks all that `verify_deals` does.

    Args:
        setup: What the parties have agreed on.
        index: The index of the party.
        deals: The deals that count, the same for all parties; at least as many as the threshold.
        shares: What came with each deal for this party, in the same order.

    Returns:
        The party's share of the key, and what is public of the key.

    Raises:
        InputError: There is no such party, a dealer stands twice, or there is not one share for each deal.
        VerificationError: A deal or share is wrong; the message names the dealer.
        UnavailableError: There are fewer deals than the threshold.

    Example:
        >>> setup = Setup("coin", threshold=2, parties=3, context=b"epoch 1")
        >>> (first, shares), (second, others) = deal(setup, 1), deal(setup, 3)
        >>> share, keys = finalize(setup, 2, [first, second], [shares[1], others[1]])
        >>> share.public_share == keys.shares[1]
        True
    """
    return _native.dkg_finalize(setup, index, deals, shares)


def public_keys(setup: Setup, deals: Iterable[Deal]) -> PublicKeys:
    """What is public of the key that deals make, for those who have no share of it.

    Args:
        setup: What the parties have agreed on.
        deals: The deals that count.

    Returns:
        The group's key and the public shares.

    Raises:
        InputError: A dealer stands twice.
        VerificationError: A deal is wrong; the message names the dealer.
        UnavailableError: There are fewer deals than the threshold.

    Example:
        >>> setup = Setup("bls", threshold=2, parties=3, context=b"epoch 1")
        >>> keys = public_keys(setup, [deal(setup, dealer)[0] for dealer in (1, 3)])
        >>> keys, len(keys.group_key), len(keys.shares[0])
        (<PublicKeys of bls: 2 of 3>, 98, 100)
    """
    return _native.dkg_public_keys(setup, deals)


def reshare_deal(setup: Setup, share: SecretShare) -> tuple[Deal, list[SecretShare]]:
    """A deal that hands a party's share of a key on to new parties.

    Args:
        setup: What has been agreed on about the new parties.
        share: The old party's share.

    Returns:
        The deal, for everybody, and the shares of the new parties 1, 2, 3, …, each for its party alone.

    Raises:
        InputError: The share is of another scheme than the setup.
        UnavailableError: The system has no randomness.

    Example:
        >>> setup = Setup("coin", threshold=1, parties=1, context=b"epoch 1")
        >>> published, shares = deal(setup, 1)
        >>> share, keys = finalize(setup, 1, [published], shares)
        >>> reshare_deal(Setup("coin", threshold=2, parties=3, context=b"epoch 2"), share)[0].reshares
        True
    """
    return _native.dkg_reshare_deal(setup, share)


def verify_reshare_deals(
    setup: Setup, old: PublicKeys, index: int, deals: Iterable[Deal], shares: Iterable[SecretShare]
) -> list[CityChainError | None]:
    """Whether each deal that hands a key on, and a new party's share of it, is right.

    Args:
        setup: What has been agreed on about the new parties.
        old: What was public of the key: what each dealer hands on must be the share that it has.
        index: The index of the new party that checks.
        deals: The deals, each of another old party.
        shares: What came with each deal for this party, in the same order.

    Returns:
        For each deal, in order, ``None`` or the error, which names the dealer and says what is wrong.

    Raises:
        InputError: There is no such party, a dealer stands twice, there is not one share for each deal, or ``old`` is
            of another scheme.

    Example:
        >>> setup = Setup("coin", threshold=1, parties=1, context=b"epoch 1")
        >>> published, shares = deal(setup, 1)
        >>> share, keys = finalize(setup, 1, [published], shares)
        >>> new = Setup("coin", threshold=2, parties=3, context=b"epoch 2")
        >>> handed_on, shares = reshare_deal(new, share)
        >>> verify_reshare_deals(new, keys, 3, [handed_on], [shares[2]])
        [None]
    """
    return _native.dkg_verify_reshare_deals(setup, old, index, deals, shares)


def finalize_reshare(
    setup: Setup, old: PublicKeys, index: int, deals: Iterable[Deal], shares: Iterable[SecretShare]
) -> tuple[SecretShare, PublicKeys]:
    """A new party's share of the key that deals hand on. Checks all that `verify_reshare_deals` does.

    Args:
        setup: What has been agreed on about the new parties.
        old: What was public of the key.
        index: The index of the new party.
        deals: The deals that count, the same for all parties; at least as many as the *old* threshold.
        shares: What came with each deal for this party, in the same order.

    Returns:
        The party's share, and what is public of the key: the group's key as before, new shares.

    Raises:
        InputError: There is no such party, a dealer stands twice, there is not one share for each deal, or ``old`` is
            of another scheme.
        VerificationError: A deal or share is wrong; the message names the dealer.
        UnavailableError: There are fewer deals than the old threshold.

    Example:
        >>> setup = Setup("coin", threshold=1, parties=1, context=b"epoch 1")
        >>> published, shares = deal(setup, 1)
        >>> share, keys = finalize(setup, 1, [published], shares)
        >>> new = Setup("coin", threshold=2, parties=3, context=b"epoch 2")
        >>> handed_on, shares = reshare_deal(new, share)
        >>> share, new_keys = finalize_reshare(new, keys, 3, [handed_on], [shares[2]])
        >>> share, new_keys, new_keys.group_key == keys.group_key
        (<SecretShare 3 of coin>, <PublicKeys of coin: 2 of 3>, True)
    """
    return _native.dkg_finalize_reshare(setup, old, index, deals, shares)


def reshared_public_keys(setup: Setup, old: PublicKeys, deals: Iterable[Deal]) -> PublicKeys:
    """What is public of the key that deals hand on, for those who have no share of it.

    Args:
        setup: What has been agreed on about the new parties.
        old: What was public of the key.
        deals: The deals that count.

    Returns:
        The group's key as before, and the new public shares.

    Raises:
        InputError: A dealer stands twice, or ``old`` is of another scheme.
        VerificationError: A deal is wrong; the message names the dealer.
        UnavailableError: There are fewer deals than the old threshold.

    Example:
        >>> setup = Setup("coin", threshold=1, parties=1, context=b"epoch 1")
        >>> published, shares = deal(setup, 1)
        >>> share, keys = finalize(setup, 1, [published], shares)
        >>> new = Setup("coin", threshold=2, parties=3, context=b"epoch 2")
        >>> reshared_public_keys(new, keys, [reshare_deal(new, share)[0]]).group_key == keys.group_key
        True
    """
    return _native.dkg_reshared_public_keys(setup, old, deals)
