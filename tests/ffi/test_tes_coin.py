"""The common coin across the boundary, on ristretto255 and of BLS signatures."""

from __future__ import annotations

import itertools
import pickle
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import coin, dkg
from city_chain.errors import InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

NAME = coin.Name(b"chain 7", 1, b"agreement 12", 0)
SHARE_LEN = {"coin": 130, "bls": 50}


class City:
    """A coin of parties that made its key together."""

    def __init__(self, scheme: str, threshold: int, parties: int) -> None:
        setup = dkg.Setup(scheme, threshold=threshold, parties=parties, context=b"epoch 1")
        everybody = range(1, parties + 1)
        dealt = [dkg.deal(setup, dealer) for dealer in everybody]
        deals = [deal for deal, _ in dealt]
        self.scheme, self.keys = scheme, dkg.public_keys(setup, deals)
        self.secrets = [dkg.finalize(setup, i, deals, [own[i - 1] for _, own in dealt])[0] for i in everybody]
        self.coin = coin.Coin(threshold, self.keys.group_key, self.keys.shares)

    def shares(self, name: coin.Name = NAME) -> list[bytes]:
        return [self.coin.share(secret, name) for secret in self.secrets]


CITIES = {scheme: City(scheme, 2, 4) for scheme in ("coin", "bls")}


@pytest.fixture(params=["coin", "bls"])
def city(request: pytest.FixtureRequest) -> City:
    return CITIES[request.param]


def test_all_subsets_see_the_same(city: City) -> None:
    shares = city.shares()
    assert {len(share) for share in shares} == {SHARE_LEN[city.scheme]}
    tosses = {city.coin.combine(NAME, some) for count in (2, 3, 4) for some in itertools.permutations(shares, count)}
    [toss] = tosses
    assert toss.bit is bool(toss.value[0] & 1)
    assert len(toss.value) == 32
    for count in (0, 1):
        with pytest.raises(UnavailableError, match=f"needed 2, had {count}"):
            city.coin.combine(NAME, shares[:count])


def test_bits_are_balanced(city: City) -> None:
    rounds = 400 if city.scheme == "coin" else 120
    heads, values = 0, set()
    for number in range(rounds):
        name = coin.Name(b"chain 7", 1, b"balance", number)
        toss = city.coin.combine(name, [city.coin.share(secret, name) for secret in city.secrets[:2]])
        heads += toss.bit
        values.add(toss.value)
    # Exact: each tail of the binomial distribution beyond the bound has a chance below 2**-40.
    tail, bound = 0, 0
    while (tail := tail + comb(rounds, bound)) * 2**40 < 2**rounds:
        bound += 1
    assert bound <= heads <= rounds - bound
    assert len(values) == rounds


@settings(deadline=None, max_examples=20)
@given(
    chain=st.binary(max_size=50), instance=st.binary(max_size=50), numbers=st.tuples(*[st.integers(0, 2**64 - 1)] * 2)
)
def test_a_name_is_a_value(chain: bytes, instance: bytes, numbers: tuple[int, int]) -> None:
    name = coin.Name(bytearray(chain), numbers[0], memoryview(instance), numbers[1])
    assert (name.chain, name.epoch, name.instance, name.round) == (chain, numbers[0], instance, numbers[1])
    assert name == coin.Name(chain, numbers[0], instance, numbers[1]) == pickle.loads(pickle.dumps(name))
    assert hash(name) == hash(pickle.loads(pickle.dumps(name)))
    city = CITIES["coin"]
    shares = [city.coin.share(secret, name) for secret in city.secrets[2:]]
    assert city.coin.verify_shares(name, shares) == [None, None]
    if name != NAME:
        assert city.coin.combine(name, shares) != city.coin.combine(NAME, city.shares())


def test_each_part_of_a_name_counts(city: City) -> None:
    names = [
        NAME,
        coin.Name(b"chain 8", 1, b"agreement 12", 0),
        coin.Name(b"chain 7a", 1, b"greement 12", 0),
        coin.Name(b"chain 7", 2, b"agreement 12", 0),
        coin.Name(b"chain 7", 1, b"agreement 13", 0),
        coin.Name(b"chain 7", 1, b"agreement 12", 1),
        coin.Name(b"chain 7", 0, b"agreement 12", 1),
    ]
    assert len({city.coin.combine(name, city.shares(name)).value for name in names}) == len(names)
    share = city.shares()[0]
    for name in names[1:]:
        with pytest.raises(VerificationError):
            city.coin.verify_share(name, share)
    for number in (-1, 2**64):
        with pytest.raises(InputError, match="the integer must be 0 to"):
            coin.Name(b"", number, b"", 0)


def test_wrong_shares_are_refused_and_left_out(city: City) -> None:
    shares = city.shares()
    toss = city.coin.combine(NAME, shares)
    wrong = [shares[0][:2] + shares[1][2:], *shares[1:]]
    assert city.coin.combine(NAME, wrong) == toss
    with pytest.raises(UnavailableError, match="1") as caught:
        city.coin.combine(NAME, wrong[:2])
    assert (caught.value.needed, caught.value.had) == (2, 1)
    verdicts = city.coin.verify_shares(NAME, [*wrong, b""])
    assert [type(one) for one in verdicts] == [VerificationError, *[type(None)] * 3, InputError]
    for index, match in ((0, "0 is the index of no party"), (2, "two|twice")):
        with pytest.raises(InputError, match=match):
            city.coin.combine(NAME, [index.to_bytes(2, "little") + shares[0][2:], shares[1]])
    for length in (0, 1, SHARE_LEN[city.scheme] - 1, SHARE_LEN[city.scheme] + 1):
        with pytest.raises(InputError):
            city.coin.verify_share(NAME, bytes(length))
    for bit in range(16, 8 * SHARE_LEN[city.scheme], 13):
        bad = bytearray(shares[2])
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises((VerificationError, InputError)):
            city.coin.verify_share(NAME, bad)


def test_keys_that_do_not_belong_together_are_refused() -> None:
    mine, theirs, other = CITIES["coin"].keys, CITIES["bls"].keys, City("coin", 2, 4).keys
    with pytest.raises(InputError, match="it is a public share of a BLS key"):
        coin.Coin(2, mine.group_key, theirs.shares)
    with pytest.raises(InputError, match="it is a public share of a coin"):
        coin.Coin(2, theirs.group_key, mine.shares)
    with pytest.raises(VerificationError, match="not of the group's key"):
        coin.Coin(2, other.group_key, mine.shares)
    with pytest.raises(VerificationError, match="not of the group's key"):
        coin.Coin(1, mine.group_key, mine.shares)
    with pytest.raises(InputError, match="index 2 stands where that of index 1"):
        coin.Coin(2, mine.group_key, mine.shares[::-1][2:] + mine.shares[2:])
    for threshold in (0, 5):
        with pytest.raises(InputError, match=f"the threshold {threshold} of 4 parties"):
            coin.Coin(threshold, mine.group_key, mine.shares)
    with pytest.raises(InputError, match="a public key of a coin is needed"):
        coin.Coin(2, b"tp" + mine.group_key[2:], mine.shares)
    with pytest.raises(InputError, match="a secret share of a coin is needed"):
        CITIES["coin"].coin.share(CITIES["bls"].secrets[0], NAME)
    with pytest.raises(InputError, match="a secret share of a BLS key is needed"):
        CITIES["bls"].coin.share(CITIES["coin"].secrets[0], NAME)


def test_what_is_shown() -> None:
    city = CITIES["coin"]
    assert repr(city.coin) == "<Coin: 2 of 4>"
    assert repr(NAME) == "<Name of epoch 1, round 0>"
    toss = city.coin.combine(NAME, city.shares())
    assert repr(toss) == f"<Toss {int(toss.bit)} of {toss.value.hex()}>"
    assert toss != toss.value
    for opaque in (city.coin, toss):
        with pytest.raises(TypeError):
            pickle.dumps(opaque)


def test_no_release_has_a_predictable_coin() -> None:
    assert coin.__all__ == ["Coin", "Name", "Toss"]
    assert not [name for name in dir(coin) if "predict" in name.lower() or "fixed" in name.lower()]
