"""Shares of a key: reading what dealers published, checking the shares that came with it, putting public keys together.

No Python package makes a key without a dealer. What can be compared is the arithmetic of BLS12-381 under it: a user
would check a share as Feldman (1987) says, with arkworks' sum of products. Such a user checks no proof that the dealer
knows what it dealt; ours does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from city_chain.algorithms.tes import dkg
from peers.harness import OURS, Contest, Entry, Peers

TITLE = "Keys without a dealer"
LEFT_OUT: dict[str, str] = {}

ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001

_PARTIES, _THRESHOLD = 100, 67
_POINT_LEN = 96
_BY_USER = "its user's own code; no proofs of possession"


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """A deal read, a share checked, a hundred shares checked, public keys put together."""
    ark = peers.find("py_arkworks_bls12381")
    parties, threshold = (10, 7) if quick else (_PARTIES, _THRESHOLD)
    setup = dkg.Setup("bls", threshold=threshold, parties=parties, context=os.urandom(32))
    made = [dkg.deal(setup, dealer) for dealer in range(1, parties + 1)]
    deals, shares = [deal for deal, _ in made], [of_dealer[-1] for _, of_dealer in made]
    size = f"{threshold} of {parties}, BLS"
    yield _reading(ark, deals[0].to_bytes(), threshold, size)
    yield _checking(ark, setup, deals, shares, size)
    yield _public(ark, setup, deals, size)
    yield _dealing(setup, size)


def _points(ark: Any, data: bytes, threshold: int) -> list[Any]:
    """The commitments of an encoded deal, each checked to be in the group, and the point of its proof."""
    starts = range(6, 6 + (threshold + 1) * _POINT_LEN, _POINT_LEN)
    return [ark.G2Point.from_compressed_bytes(data[at : at + _POINT_LEN]) for at in starts]


def _at(ark: Any, commitments: list[Any], index: int) -> Any:
    """What the share of a party is times the base point."""
    powers = [ark.Scalar.from_le_bytes(pow(index, k, ORDER).to_bytes(32, "little")) for k in range(len(commitments))]
    return ark.G2Point.multiexp_unchecked(commitments, powers)


def _reading(ark: Any, data: bytes, threshold: int, size: str) -> Contest:
    entries = [Entry(f"{OURS}: Deal.from_bytes", lambda _: dkg.Deal.from_bytes(data))]
    if ark is not None:
        entries.append(Entry("arkworks", lambda _: _points(ark, data, threshold), note=_BY_USER))

    def check() -> None:
        assert dkg.Deal.from_bytes(data).to_bytes() == data
        if ark is not None:
            found = _points(ark, data, threshold)
            assert b"".join(point.to_compressed_bytes() for point in found) == data[6:-32]

    return Contest(f"read a deal, {size}", entries, check, rounds=9)


def _checking(ark: Any, setup: dkg.Setup, deals: list[dkg.Deal], shares: list[dkg.SecretShare], size: str) -> Contest:
    index = setup.parties
    entries = [
        Entry(f"{OURS}: verify_deals, all", lambda _: dkg.verify_deals(setup, index, deals, shares), len(deals)),
        Entry(f"{OURS}: verify_deals, one", lambda _: dkg.verify_deals(setup, index, deals[:1], shares[:1])),
    ]
    if ark is not None:
        commitments = _points(ark, deals[0].to_bytes(), setup.threshold)[:-1]
        number = ark.Scalar.from_le_bytes(shares[0].to_bytes()[4:])
        base = ark.G2Point()
        entries.append(Entry("arkworks, one", lambda _: base * number == _at(ark, commitments, index), note=_BY_USER))

    def check() -> None:
        assert dkg.verify_deals(setup, index, deals, shares) == [None] * len(deals)
        if ark is not None:
            assert entries[-1].run(None)
            assert base * number != _at(ark, commitments, index - 1)

    return Contest(f"check a share, {size}, for each", entries, check, rounds=9)


def _public(ark: Any, setup: dkg.Setup, deals: list[dkg.Deal], size: str) -> Contest:
    few = deals[: setup.threshold]
    entries = [Entry(f"{OURS}: public_keys", lambda _: dkg.public_keys(setup, few), note="checks every deal")]
    if ark is not None:
        columns = list(zip(*(_points(ark, deal.to_bytes(), setup.threshold)[:-1] for deal in few), strict=True))

        def by_user(_: object) -> list[bytes]:
            sums = []
            for column in columns:
                total = column[0]
                for point in column[1:]:
                    total += point
                sums.append(total)
            return [_at(ark, sums, index).to_compressed_bytes() for index in range(setup.parties + 1)]

        entries.append(Entry("arkworks", by_user, note=_BY_USER))

    def check() -> None:
        keys = dkg.public_keys(setup, few)
        if ark is not None:
            group, *shares = by_user(None)
            assert group == keys.group_key[2:]
            assert shares == [share[4:] for share in keys.shares]

    return Contest(f"public keys of {setup.threshold} deals, {size}", entries, check, rounds=5)


def _dealing(setup: dkg.Setup, size: str) -> Contest:
    other = dkg.Setup("tdh2", threshold=setup.threshold, parties=setup.parties, context=setup.context)
    entries = [
        Entry(f"{OURS}: deal, bls", lambda _: dkg.deal(setup, 1)),
        Entry(f"{OURS}: deal, tdh2", lambda _: dkg.deal(other, 1)),
    ]

    def check() -> None:
        for each in (setup, other):
            deal, shares = dkg.deal(each, 1)
            assert dkg.verify_deals(each, 2, [deal], shares[1:2]) == [None]

    return Contest(f"deal, {size}", entries, check, rounds=9)
