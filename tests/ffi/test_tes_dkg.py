"""Key generation and resharing across the boundary: whole ceremonies, hostile dealers, bytes of anybody, secrecy."""

from __future__ import annotations

import copy
import doctest
import inspect
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import dkg
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

SCHEMES = ["bls", "tdh2", "coin"]
POINT_LEN = {"bls": 96, "tdh2": 32, "coin": 32}
ORDER = {
    "bls": 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001,
    "tdh2": 2**252 + 27742317777372353535851937790883648493,
    "coin": 2**252 + 27742317777372353535851937790883648493,
}

# Deals of dealer 3, two of three, made by the first release that had them, and party 2's share of each: bytes, hashes
# and the meaning of both never change.
FROZEN = [
    (
        "tdh2",
        "74640300020002c177cad385d0a0cf7fd70a6eed545bebc35f73b5c45c63130d67f8cf44c643f6799b5ef1cfb69a7760"
        "2b5665ed6aa2bf0cbab98ce0e4d32bf445185da00004728cef182d30a23a537411626304fcc40095e5c1ca51a1ce57fb"
        "2957fb91bf4355a15173d4d858472d872c8c7fb6c960ea4ae7a238085bf8f9326cb017695a09",
        "74780200e6034bfbbb07c536b62b203fe47bfe2fab4fb4fe8fb96b501f0fe5e41025b505",
    ),
    (
        "bls",
        "626403000200a29960aba73b3ff3d82a48dc0375fa8c835fee669206d12090252845e1dae9c8c28b37c597890fe88afb"
        "f4826f04cd5f17983ebde40f124f76264a56d72634e98638624360e911f27774d49930ec7f4ef1856b91d7e0fd9b9d60"
        "36057ea5d9749416f3ce0b5d772dcf80e09cf0413ddf97748eed8b8127f202ddc254bbde0cca48e61bc2473ac9f5fbb8"
        "3530f4c7edf40a0a02873f7c62ae486f7a6aa07f5e06faa43b87a2fab2966fb69d7fc36a6925eda066ca7104f6144703"
        "5cfda737317bac0f5b0e249a7237f7f01bb5ff4c06886e411cdbb547ee8f62b5048f80e0e7f5fca72c99b75e9cbf86f0"
        "7678b1374d3507f96c04c5af75a13c9052bd8f5d0a8ad9e3bba7c9e64c5c9ad82b0cedb54304d60f078d01c826e93378"
        "c152f91a0e2a1300ead0ccc04d3f959fbe17227c2c06eaed999598184733bd616f8f76615314",
        "6278020019b42f0f7e9896966799d3a9818698240b9063b992b668f5758adf929370d231",
    ),
]

type Made = tuple[dkg.Deal, list[dkg.SecretShare]]


def agree(scheme: str, threshold: int, parties: int, context: bytes = b"chain 7, epoch 1") -> dkg.Setup:
    return dkg.Setup(scheme, threshold=threshold, parties=parties, context=context)


def deals_of(made: Sequence[Made]) -> list[dkg.Deal]:
    return [deal for deal, _ in made]


def own(made: Sequence[Made], index: int) -> list[dkg.SecretShare]:
    return [shares[index - 1] for _, shares in made]


def generate(setup: dkg.Setup) -> tuple[list[dkg.SecretShare], dkg.PublicKeys]:
    made = [dkg.deal(setup, dealer) for dealer in range(1, setup.parties + 1)]
    return finish(setup.parties, lambda index: dkg.finalize(setup, index, deals_of(made), own(made, index)))


def hand_on(
    setup: dkg.Setup, old: dkg.PublicKeys, shares: Sequence[dkg.SecretShare]
) -> tuple[list[dkg.SecretShare], dkg.PublicKeys]:
    made = [dkg.reshare_deal(setup, share) for share in shares]
    return finish(
        setup.parties, lambda index: dkg.finalize_reshare(setup, old, index, deals_of(made), own(made, index))
    )


def finish(
    parties: int, one: Callable[[int], tuple[dkg.SecretShare, dkg.PublicKeys]]
) -> tuple[list[dkg.SecretShare], dkg.PublicKeys]:
    shares, keys = zip(*(one(index) for index in range(1, parties + 1)), strict=True)
    assert set(keys) == {keys[0]}, "all parties see the same keys"
    return list(shares), keys[0]


def value(share: dkg.SecretShare) -> int:
    """The number that a share is, out of its documented encoding."""
    return int.from_bytes(share.to_bytes()[4:], "little")


def together(shares: Sequence[dkg.SecretShare]) -> int:
    """Lagrange's formula in Python's own integers: the secret that these shares are of."""
    order, total = ORDER[shares[0].scheme], 0
    for share in shares:
        weight = 1
        for other in shares:
            if other is not share:
                weight = weight * other.index * pow(other.index - share.index, -1, order) % order
        total = (total + weight * value(share)) % order
    return total


def moved(share: dkg.SecretShare, by: int = 1) -> dkg.SecretShare:
    number = (value(share) + by) % ORDER[share.scheme]
    return dkg.SecretShare.from_bytes(share.to_bytes()[:4] + number.to_bytes(32, "little"))


def changed(deal: dkg.Deal, at: int, new: bytes) -> dkg.Deal:
    data = deal.to_bytes()
    return dkg.Deal.from_bytes(data[:at] + new + data[at + len(new) :])


def said(verdicts: Sequence[CityChainError | None]) -> list[str]:
    return [str(verdict) if verdict else "" for verdict in verdicts]


# --- whole ceremonies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("threshold", "parties"), [(1, 1), (1, 3), (2, 3), (3, 4), (5, 5)])
def test_any_threshold_of_the_shares_are_of_one_secret(scheme: str, threshold: int, parties: int) -> None:
    shares, keys = generate(agree(scheme, threshold, parties))
    assert (keys.scheme, keys.threshold, keys.parties) == (scheme, threshold, parties)
    assert [(share.scheme, share.index) for share in shares] == [(scheme, at) for at in range(1, parties + 1)]
    assert [share.public_share for share in shares] == keys.shares
    secrets = {together(some) for some in itertools.combinations(shares, threshold)}
    assert len(secrets) == 1
    # The secret is a share like any other, at another place: times the base point it is the group's key.
    secret = dkg.SecretShare.from_bytes(shares[0].to_bytes()[:4] + secrets.pop().to_bytes(32, "little"))
    assert secret.public_share[4:] == keys.group_key[2:]
    for count in range(1, threshold):
        for some in itertools.combinations(shares, count):
            assert together(some) != value(secret), "fewer than the threshold say nothing"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_key_is_handed_on_and_its_old_shares_are_worth_nothing(scheme: str) -> None:
    shares, keys = generate(agree(scheme, 3, 4))
    secret = together(shares[:3])
    # To other parties, to more, to fewer, and (a refresh) to the same.
    for threshold, parties, dealers in ((2, 3, [1, 2, 3]), (5, 7, [0, 1, 3]), (1, 1, [0, 1, 2, 3]), (3, 4, [3, 0, 2])):
        setup = agree(scheme, threshold, parties, b"chain 7, epoch 2")
        new, new_keys = hand_on(setup, keys, [shares[at] for at in dealers])
        assert (new_keys.threshold, new_keys.parties) == (threshold, parties)
        assert new_keys.group_key == keys.group_key
        assert together(new[parties - threshold :]) == secret
        assert not set(new_keys.shares) & set(keys.shares)
        assert [share.public_share for share in new] == new_keys.shares
    # The last is the refresh: two old shares and a new one, or the other way round, are of something else.
    for from_new in itertools.product([False, True], repeat=3):
        mixed = [(new if fresh else shares)[at] for at, fresh in enumerate(from_new)]
        assert (together(mixed) == secret) == (len(set(from_new)) == 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_those_without_a_share_see_the_same_keys(scheme: str) -> None:
    setup = agree(scheme, 2, 3)
    made = [dkg.deal(setup, dealer) for dealer in (3, 1)]
    sent = [dkg.Deal.from_bytes(deal.to_bytes()) for deal in deals_of(made)]
    keys = dkg.public_keys(setup, sent)
    assert keys == dkg.public_keys(setup, iter(sent[::-1])) == dkg.finalize(setup, 2, sent, own(made, 2))[1]
    again = dkg.PublicKeys(keys.threshold, keys.group_key, keys.shares)
    assert again == keys
    assert hash(again) == hash(keys)
    assert pickle.loads(pickle.dumps(keys)) == keys

    shares = [dkg.finalize(setup, index, sent, own(made, index))[0] for index in (1, 2, 3)]
    new = agree(scheme, 3, 4, b"epoch 2")
    handed = [dkg.reshare_deal(new, share) for share in shares[1:]]
    seen = dkg.reshared_public_keys(new, keys, deals_of(handed))
    assert seen == dkg.finalize_reshare(new, keys, 4, deals_of(handed), own(handed, 4))[1]
    assert seen.group_key == keys.group_key


@settings(deadline=None, max_examples=25)
@given(data=st.data(), scheme=st.sampled_from(["tdh2", "coin"]), parties=st.integers(1, 7))
def test_whoever_deals_and_whoever_puts_together(data: st.DataObject, scheme: str, parties: int) -> None:
    threshold = data.draw(st.integers(1, parties))
    everybody = list(range(1, parties + 1))
    dealers = data.draw(st.lists(st.sampled_from(everybody), min_size=threshold, unique=True))
    setup = agree(scheme, threshold, parties, data.draw(st.binary(max_size=40)))
    made = [dkg.deal(setup, dealer) for dealer in dealers]
    shares, _ = finish(parties, lambda index: dkg.finalize(setup, index, deals_of(made), own(made, index)))
    some = data.draw(st.lists(st.sampled_from(shares), min_size=threshold, unique_by=lambda share: share.index))
    assert together(some) == sum(together(dealt) for _, dealt in made) % ORDER[scheme]


@pytest.mark.parametrize(("scheme", "deal", "share"), FROZEN, ids=lambda value: value[:4])
def test_deals_of_the_first_release_count(scheme: str, deal: str, share: str) -> None:
    setup = agree(scheme, 2, 3, b"frozen")
    read, own_share = dkg.Deal.from_bytes(bytes.fromhex(deal)), dkg.SecretShare.from_bytes(bytes.fromhex(share))
    assert (read.scheme, read.dealer, read.threshold, own_share.index) == (scheme, 3, 2, 2)
    assert dkg.verify_deals(setup, 2, [read], [own_share]) == [None]
    assert dkg.verify_deals(agree(scheme, 2, 3, b"frozen!"), 2, [read], [own_share]) != [None]


# --- hostile dealers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_wrong_shares_are_named_with_their_dealers(scheme: str) -> None:
    setup, other = agree(scheme, 3, 5), "coin" if scheme != "coin" else "tdh2"
    made = [dkg.deal(setup, dealer) for dealer in range(1, 6)]
    deals, shares = deals_of(made), own(made, 4)
    assert dkg.verify_deals(setup, 4, deals, shares) == [None] * 5
    stranger = dkg.deal(agree(other, 3, 5), 3)[1][3]
    wrong = [shares[0], moved(shares[1]), stranger, made[3][1][0], moved(shares[4], -1)]
    verdicts = dkg.verify_deals(setup, 4, deals, wrong)
    assert said(verdicts)[:2] == ["", "share from dealer 2: it does not fit its deal"]
    assert said(verdicts)[3:] == [
        "share from dealer 4: it is party 1's, party 4's is needed",
        "share from dealer 5: it does not fit its deal",
    ]
    assert said(verdicts)[2].startswith("share from dealer 3: key: it is a secret share of ")
    assert {type(verdict) for verdict in verdicts[1:]} == {VerificationError}
    with pytest.raises(VerificationError, match="share from dealer 2: it does not fit"):
        dkg.finalize(setup, 4, deals, wrong)
    # Without those dealers the others finish, as long as there are enough.
    good = [0, 2, 3]
    dkg.finalize(setup, 4, [deals[at] for at in good], [shares[at] for at in good])
    with pytest.raises(UnavailableError, match="deals that count: needed 3, had 2") as caught:
        dkg.finalize(setup, 4, deals[:2], shares[:2])
    assert (caught.value.needed, caught.value.had) == (3, 2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_deal_counts_for_its_dealer_and_occasion_only(scheme: str) -> None:
    setup, length = agree(scheme, 2, 3), POINT_LEN[scheme]
    (deal, shares), (second, _) = dkg.deal(setup, 1), dkg.deal(setup, 3)
    assert dkg.verify_deals(setup, 1, [deal], shares[:1]) == [None]
    proof = "the proof that its dealer knows what it dealt is wrong, or made for another occasion"
    for elsewhere in (agree(scheme, 2, 3, b"chain 7, epoch 2"), agree(scheme, 2, 3, b""), agree(scheme, 2, 4)):
        assert said(dkg.verify_deals(elsewhere, 1, [deal], shares[:1])) == [f"deal of dealer 1: {proof}"]
    theirs = second.to_bytes()
    for wrong, reason in (
        (changed(deal, 2, b"\x02"), f"deal of dealer 2: {proof}"),
        (changed(deal, 2, b"\x04"), "deal of dealer 4: it is no party, they are 1 to 3"),
        (changed(deal, 1, b"r"), "deal of dealer 1: it is a deal that hands a key on, a deal of a new key is needed"),
        (changed(deal, 6, theirs[6 : 6 + length]), f"deal of dealer 1: {proof}"),
        (changed(deal, 6 + length, theirs[6 + length : 6 + 2 * length]), f"deal of dealer 1: {proof}"),
        (changed(deal, len(theirs) - 32, theirs[-32:]), f"deal of dealer 1: {proof}"),
    ):
        assert said(dkg.verify_deals(setup, 1, [wrong], shares[:1])) == [reason]
        with pytest.raises(VerificationError):
            dkg.public_keys(setup, [wrong, second])
    higher = agree(scheme, 3, 3)
    assert said(dkg.verify_deals(higher, 1, [deal], shares[:1])) == ["deal of dealer 1: threshold 2, it must be 3"]
    other = "coin" if scheme != "coin" else "bls"
    expected = f"deal of dealer 1: it is of {scheme}, {other} is needed"
    assert said(dkg.verify_deals(agree(other, 2, 3), 1, [deal], shares[:1])) == [expected]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_a_share_of_the_key_is_handed_on(scheme: str) -> None:
    shares, keys = generate(agree(scheme, 2, 3))
    new = agree(scheme, 2, 4, b"epoch 2")
    made = [
        dkg.reshare_deal(new, shares[0]),
        dkg.reshare_deal(new, moved(shares[1])),
        dkg.reshare_deal(new, dkg.deal(agree(scheme, 2, 4), 1)[1][3]),
        dkg.deal(new, 3),
    ]
    assert said(dkg.verify_reshare_deals(new, keys, 4, deals_of(made), own(made, 4))) == [
        "",
        "deal of dealer 2: its constant term is not the share that this dealer has of the key",
        "deal of dealer 4: it was no party of the key, they were 1 to 3",
        "deal of dealer 3: it is a deal of a new key, a deal that hands a key on is needed",
    ]
    with pytest.raises(VerificationError, match="dealer 2"):
        dkg.finalize_reshare(new, keys, 4, deals_of(made), own(made, 4))
    with pytest.raises(VerificationError, match="dealer 2"):
        dkg.reshared_public_keys(new, keys, deals_of(made))
    # As many as the old threshold, whatever the new one is.
    alone = agree(scheme, 1, 4, b"epoch 2")
    handed, parts = dkg.reshare_deal(alone, shares[2])
    with pytest.raises(UnavailableError, match="needed 2, had 1"):
        dkg.finalize_reshare(alone, keys, 1, [handed], parts[:1])
    other = "coin" if scheme != "coin" else "bls"
    with pytest.raises(InputError, match=r"it is a secret share of .* is needed"):
        dkg.reshare_deal(agree(other, 2, 4), shares[0])
    with pytest.raises(InputError, match=f"public keys: they are of {scheme}, {other} is needed"):
        dkg.reshared_public_keys(agree(other, 2, 4), keys, [handed])


def test_calls_that_make_no_sense_are_refused() -> None:
    setup = agree("tdh2", 2, 3)
    made = [dkg.deal(setup, dealer) for dealer in (1, 2)]
    deals, shares = deals_of(made), own(made, 1)
    for dealer in (0, 4, 65535):
        with pytest.raises(InputError, match=f"party {dealer}, they are 1 to 3"):
            dkg.deal(setup, dealer)
        with pytest.raises(InputError, match=f"party {dealer}, they are 1 to 3"):
            dkg.verify_deals(setup, dealer, deals, shares)
    for call in (dkg.verify_deals, dkg.finalize):
        with pytest.raises(InputError, match="1 shares for 2 deals"):
            call(setup, 1, deals, shares[:1])
        with pytest.raises(InputError, match="dealer 1 stands twice"):
            call(setup, 1, [deals[0]] * 2, shares)
    with pytest.raises(InputError, match="more than 1024 items"):
        dkg.public_keys(setup, itertools.repeat(deals[0]))
    with pytest.raises(TypeError, match=r"dkg: deals\[1\]"):
        dkg.public_keys(setup, [deals[0], shares[0]])  # type: ignore[list-item]
    for threshold, parties, reason in (
        (0, 3, "threshold 0, for 3 parties it is 1 to 3"),
        (4, 3, "threshold 4, for 3 parties it is 1 to 3"),
        (1, 0, "0 parties, 1 to 1024"),
        (1, 1025, "1025 parties, 1 to 1024"),
    ):
        with pytest.raises(InputError, match=reason):
            agree("bls", threshold, parties)
    for name in ("", "BLS", "bls\0", "ed25519"):
        with pytest.raises(InputError, match="there is none named"):
            agree(name, 2, 3)


# --- bytes of anybody ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_deals_that_are_none_are_refused_with_the_place(scheme: str) -> None:
    deal, _ = dkg.deal(agree(scheme, 3, 4), 3)
    data, length = deal.to_bytes(), POINT_LEN[scheme]
    assert len(data) == 6 + 4 * length + 32
    neutral = b"\xc0" + bytes(95) if scheme == "bls" else bytes(32)
    order = ORDER[scheme].to_bytes(32, "little")
    for at, new, reason in (
        (0, b"?", "no scheme's letter"),
        (1, b"p", "not those of a deal"),
        (2, bytes(2), "its dealer is 0"),
        (4, bytes(2), "dealer 3: threshold 0, 1 to 1024"),
        (4, b"\x01\x04", "dealer 3: threshold 1025, 1 to 1024"),
        (4, b"\x02", "with threshold 2 it has"),
        (6, neutral, "dealer 3: commitment 0: .* neutral"),
        (6 + 2 * length, neutral, "dealer 3: commitment 2: .* neutral"),
        (6 + length, b"\xff" * length, "dealer 3: commitment 1: "),
        (6 + 3 * length, neutral, "dealer 3: the proof: .* neutral"),
        (len(data) - 32, order, "dealer 3: the proof: .* below .*order"),
    ):
        with pytest.raises(InputError, match=reason):
            changed(deal, at, new)
    for end in range(len(data)):
        with pytest.raises(InputError):
            dkg.Deal.from_bytes(data[:end])
    with pytest.raises(InputError, match=f"{len(data) + 1} bytes, with threshold 3 it has {len(data)}"):
        dkg.Deal.from_bytes(data + b"0")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shares_that_are_none_are_refused(scheme: str) -> None:
    share = dkg.deal(agree(scheme, 2, 3), 1)[1][1]
    data = share.to_bytes()
    assert data[:4] == scheme[0].encode() + b"x\x02\x00"
    assert len(data) == 36
    for wrong, reason in (
        (data[:-1], "35 bytes, a secret share .* has 36"),
        (data + b"0", "37 bytes"),
        (data[:2] + bytes(2) + data[4:], "0 is the index of no party"),
        (data[:4] + ORDER[scheme].to_bytes(32, "little"), "below .*order"),
        (data[:4] + b"\xff" * 32, "below .*order"),
        (share.public_share, "a secret share is needed"),
        (b"", "of no known type"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            dkg.SecretShare.from_bytes(wrong)
        assert data[4:].hex() not in str(caught.value)
    assert dkg.SecretShare.from_bytes(bytearray(data)).to_bytes() == data


@pytest.mark.parametrize("scheme", SCHEMES)
def test_public_keys_from_elsewhere_are_of_one_key(scheme: str) -> None:
    shares, keys = generate(agree(scheme, 3, 5))
    group, public = keys.group_key, keys.shares
    assert (len(group), len(public[0])) == (2 + POINT_LEN[scheme], 4 + POINT_LEN[scheme])
    assert dkg.PublicKeys(3, bytearray(group), iter(public)) == keys
    assert dkg.PublicKeys(3, group, public[:4]).parties == 4, "any of the parties are parties of the key"
    exchanged = [public[0], public[1][:4] + public[2][4:], public[2][:4] + public[1][4:], *public[3:]]
    for threshold, key, those in (
        (2, group, public),
        (3, group[:2] + public[0][4:], public),
        (3, group, exchanged),
        (3, group, [*public[:4], moved(shares[4]).public_share]),
    ):
        with pytest.raises(VerificationError, match=f"not of this group key with threshold {threshold}"):
            dkg.PublicKeys(threshold, key, those)
    other = generate(agree("coin" if scheme != "coin" else "bls", 1, 1))[1]
    for threshold, key, those, reason in (
        (0, group, public, "threshold 0"),
        (6, group, public, "threshold 6, for 5 parties"),
        (1, group, [], "0 parties"),
        (3, group, public[::-1], "in place 1 stands that of party 5"),
        (3, other.group_key, public, "it is a public share of .* is needed"),
        (3, public[0], public, "a public key of a group is needed"),
        (3, b"", public, "of no known type"),
        (3, group[:-1], public, "bytes"),
        (3, group, [*public[:4], public[4][:-1]], "bytes"),
    ):
        with pytest.raises(InputError, match=reason):
            dkg.PublicKeys(threshold, key, those)


@settings(deadline=None, max_examples=150)
@given(
    head=st.sampled_from([b"", b"bd", b"td", b"cr", b"tx", b"bx", b"cd\x01\x00\x01\x00"]), data=st.binary(max_size=120)
)
def test_bytes_of_anybody_are_refused_or_read(head: bytes, data: bytes) -> None:
    for read in (dkg.Deal.from_bytes, dkg.SecretShare.from_bytes):
        try:
            again: Any = read(head + data)
        except InputError:
            continue
        assert again.to_bytes() == head + data


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 6 + 3 * 32 + 31), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_deal_is_noticed(at: int, bit: int) -> None:
    setup = agree("tdh2", 2, 3)
    deal, shares = dkg.deal(setup, 1)
    wrong = bytearray(deal.to_bytes())
    wrong[at] ^= 1 << bit
    try:
        read = dkg.Deal.from_bytes(wrong)
    except InputError:
        return
    assert read != deal
    assert isinstance(dkg.verify_deals(setup, 1, [read], shares[:1])[0], VerificationError)


# --- what is shown and kept ------------------------------------------------------------------------------------------


def test_a_secret_share_shows_and_gives_away_nothing() -> None:
    _, shares = dkg.deal(agree("bls", 2, 3), 1)
    share = shares[1]
    assert repr(share) == str(share) == "<SecretShare 2 of bls>"
    assert not hasattr(share, "__dict__")
    gives: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview]
    for give in gives:
        with pytest.raises(TypeError):
            give(share)
    shown = {name for name in dir(share) if not name.startswith("_")}
    assert shown == {"scheme", "index", "public_share", "from_bytes", "to_bytes"}
    with pytest.raises(AttributeError):
        share.index = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        dkg.SecretShare()


def test_two_deals_have_nothing_in_common() -> None:
    setup = agree("coin", 2, 3)
    (first, ours), (second, theirs) = dkg.deal(setup, 1), dkg.deal(setup, 1)
    assert first != second
    assert len({value(share) for share in (*ours, *theirs)}) == 6
    assert first.to_bytes()[6:] != second.to_bytes()[6:]


def test_what_is_public_is_a_value() -> None:
    setup = agree("tdh2", 2, 3, b"occasion")
    assert len({setup, agree("tdh2", 2, 3, b"occasion")}) == 1
    others = [agree("coin", 2, 3, b"occasion"), agree("tdh2", 1, 3, b"occasion"), agree("tdh2", 2, 4, b"occasion")]
    assert not [other for other in [*others, agree("tdh2", 2, 3, b"another")] if other == setup]
    assert (setup.scheme, setup.threshold, setup.parties, setup.context) == ("tdh2", 2, 3, b"occasion")
    assert len({setup, agree("tdh2", 2, 3, b"occasion")}) == 1
    others = [agree("coin", 2, 3, b"occasion"), agree("tdh2", 1, 3, b"occasion"), agree("tdh2", 2, 4, b"occasion")]
    assert not [other for other in [*others, agree("tdh2", 2, 3, b"another")] if other == setup]
    deal, _ = dkg.deal(setup, 3)
    again = pickle.loads(pickle.dumps(deal))
    assert again == deal == copy.deepcopy(deal)
    assert hash(again) == hash(deal)
    assert deal != dkg.deal(setup, 3)[0]
    assert deal != deal.to_bytes()
    assert repr(deal) == "<Deal of dealer 3 of tdh2, threshold 2>"
    keys = dkg.public_keys(setup, [deal, dkg.deal(setup, 1)[0]])
    assert repr(keys) == "<PublicKeys of tdh2: 2 of 3>"
    assert keys != deal


def test_many_threads_share_deals() -> None:
    setup = agree("bls", 3, 5)
    made = [dkg.deal(setup, dealer) for dealer in range(1, 6)]
    deals = deals_of(made)
    with ThreadPoolExecutor(5) as pool:
        ends = list(pool.map(lambda index: dkg.finalize(setup, index, deals, own(made, index)), range(1, 6)))
    assert len({keys for _, keys in ends}) == 1
    assert [share.public_share for share, _ in ends] == ends[0][1].shares


# --- what the documentation shows ------------------------------------------------------------------------------------


def public() -> Iterator[tuple[str, Any]]:
    for name in dkg.__all__:
        thing = getattr(dkg, name)
        yield name, thing
        if inspect.isclass(thing):
            members = sorted(vars(thing).items())  # PyO3 lists properties in any order
            yield from ((f"{name}.{of}", member) for of, member in members if not of.startswith("_"))


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*item, id=item[0]) for item in public()])
def test_everything_is_documented_and_its_examples_run(name: str, thing: Any) -> None:
    text = inspect.getdoc(thing)
    assert text, f"{name}: no docstring"
    assert all(len(line) <= 120 for line in text.splitlines())
    test = doctest.DocTestParser().get_doctest(text, dict(vars(dkg)), name, None, 0)
    assert test.examples or "." in name, f"{name}: no example"
    assert doctest.DocTestRunner().run(test).failed == 0
