"""Coins of a common subset: all see the same, whatever shares are put among theirs, and what was lost comes again."""

from __future__ import annotations

import random

import pytest

from city_chain import records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.algorithms.tes import coin
from city_chain.errors import ProtocolError
from city_chain.node.coins import Coins, Of
from city_chain.node.keeper import Keeper
from city_chain.proofs import dpos

pytestmark = pytest.mark.unit

PEOPLE = sorted((records.Identity.child(bytes(32), b"node", at) for at in range(4)), key=lambda person: person.id)
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(person.id, 1) for person in PEOPLE]))


def keepers() -> list[Keeper]:
    """Four who have shares of one key."""
    recipients = [Keeper(person, MemoryStorage()).recipient(EPOCH.network) for person in PEOPLE]
    dealt = [Keeper(person, MemoryStorage()).deal(EPOCH, recipients, None) for person in PEOPLE]
    dealings, faults = records.Dealings.sort(EPOCH, dealt)
    assert dealings is not None
    assert faults == []
    keys = dealings.keys.certified(EPOCH, [(person.id, dealings.keys.sign(person)) for person in PEOPLE])
    made = []
    for person in PEOPLE:
        storage = MemoryStorage()
        keeper = Keeper(person, storage)
        assert keeper.faults(dealings) == []
        storage.put_many(keeper.rows(dealings))
        keeper.sign(dealings)
        keeper.use(keys)
        made.append(keeper)
    return made


KEEPERS = keepers()


def named(of: Of) -> coin.Name:
    return coin.Name(bytes(32), 0, bytes([of[0]]), of[1])


def four() -> list[Coins]:
    return [Coins(keeper, named, 4) for keeper in KEEPERS]


def shares_of(coins: Coins, of: Of) -> list[bytes]:
    coins.ask(of)
    return [share for which, share in coins.step()[0] if which == of]


def test_the_first_two_rounds_need_no_shares() -> None:
    coins = Coins(Keeper(PEOPLE[0], MemoryStorage()), named, 4)  # without any key
    for round_, bit in ((0, True), (1, False)):
        coins.ask((3, round_))
        assert coins.step() == ([], [((3, round_), bit)])
        assert coins.step() == ([], [])
    coins.ask((3, 2))
    assert coins.step() == ([], [])


def test_all_see_the_same_from_different_shares() -> None:
    seen = set()
    bits = []
    for round_ in range(2, 10):
        of = (1, round_)
        parties = four()
        shares = [shares_of(party, of)[0] for party in parties]
        known = []
        for at, party in enumerate(parties):
            for other in ((at + 1) % 4, (at + 2) % 4):
                assert party.step() == ([], [])
                party.take(other, of, shares[other])
            known += party.step()[1]
        assert len(known) == 4
        assert {which for which, _ in known} == {of}
        assert len({bit for _, bit in known}) == 1
        bits.append(known[0][1])
        seen.update(shares)
    assert len(seen) == 32
    assert set(bits) == {True, False}  # 2 in 256 that not; the shares are the same at every run


@pytest.mark.parametrize("seed", range(20))
def test_wrong_shares_hold_nobody_up(seed: int) -> None:
    """Flipped, doubled under other senders, of another coin: each stands in its place until the right one comes."""
    dice = random.Random(seed)
    of = (2, 5)
    parties = four()
    shares = [shares_of(party, of)[0] for party in parties]
    others = [shares_of(party, (2, 6))[0] for party in four()]
    me = parties[0]
    hostile = [
        *(
            share[:at] + bytes([share[at] ^ 1]) + share[at + 1 :]
            for share in shares
            for at in dice.sample(range(50), 4)
        ),
        *others,
        *shares,
        bytes(50),
        b"\xff" * 50,
        *(bytes([at, 0]) + dice.randbytes(48) for at in range(6)),
    ]
    dice.shuffle(hostile)
    for share in hostile[:30]:
        me.take(dice.randrange(4), of, share)
        shown, known = me.step()
        assert shown == []
        if known:
            break
    else:
        for at in (1, 2, 3):
            me.take(at, of, shares[at])
        known = me.step()[1]
    for at in (1, 2):
        parties[3].take(at, of, shares[at])
    assert known == parties[3].step()[1] != []


def test_what_cannot_be_a_share_is_refused_and_takes_no_room() -> None:
    coins = four()[0]
    coins.ask((1, 4))
    coins.step()
    for sender, of, share in [
        (1, (1, 4), bytes(49)),
        (1, (1, 4), bytes(51)),
        (4, (1, 4), bytes(50)),
        (1, (4, 4), bytes(50)),
        (1, (1, 3), bytes(50)),  # it is over
        (1, (1, 13), bytes(50)),  # too far ahead
        (1, (0, 2**32 - 1), bytes(50)),
    ]:
        with pytest.raises(ProtocolError, match="coin"):
            coins.take(sender, of, share)
    assert coins._shares == {}
    for _ in range(100):
        for sender in range(4):
            for proposer in range(4):
                for round_ in range(200):
                    try:
                        coins.take(sender, (proposer, round_), bytes(50))
                    except ProtocolError:
                        continue
    assert sum(map(len, coins._shares.values())) <= 4 * 4 * 9


def test_a_share_that_was_lost_is_shown_again() -> None:
    """Who has gone on still shows what those that stayed behind need."""
    of = (0, 2)
    parties = four()
    shares = [shares_of(party, of)[0] for party in parties]
    for at in (1, 2):
        parties[0].take(at, of, shares[at])
    assert len(parties[0].step()[1]) == 1
    later = shares_of(parties[0], (0, 3))
    assert parties[0].again() == [(of, shares[0]), ((0, 3), *later)]
    parties[2].take(1, of, shares[1])
    assert parties[2].step() == ([], [])
    for which, share in parties[0].again():
        parties[2].take(0, which, share)
    assert [which for which, _ in parties[2].step()[1]] == [of]
    shares_of(parties[0], (0, 4))
    assert of not in dict(parties[0].again())


def test_shares_that_come_early_are_kept() -> None:
    of = (3, 4)
    parties = four()
    late = parties.pop()
    for at, party in enumerate(parties):
        late.take(at, of, shares_of(party, of)[0])
    assert late.step() == ([], [])
    late.ask(of)
    shown, known = late.step()
    assert [which for which, _ in shown] == [of]
    assert [which for which, _ in known] == [of]
