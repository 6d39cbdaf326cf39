"""What a city believes of the roots of others: what their delegates have certified, and nothing older or twice."""

from __future__ import annotations

import pytest

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import ProtocolError, VerificationError
from city_chain.levels import roots as module
from city_chain.levels.roots import Fork, Root, Roots
from city_chain.proofs import dpos

CHAIN = bytes(32)
DELEGATES = [records.Identity.child(bytes(32), b"delegate", at) for at in range(4)]
STRANGERS = [records.Identity.child(bytes(32), b"stranger", at) for at in range(4)]
ME, OTHER, THIRD = 0, 1, 5


def seats(delegates):
    return [(delegate.id, 1) for delegate in delegates]


LAYOUT = sc.Layout(CHAIN, 0, [(ME, seats(STRANGERS[:1])), (OTHER, seats(DELEGATES)), (THIRD, seats(STRANGERS))])


class Town:
    """A city whose delegates certify what a test likes."""

    def __init__(self, delegates=DELEGATES, shard=OTHER, name="other"):
        self.delegates, self.shard = delegates, shard
        validators = dpos.ValidatorSet(0, seats(delegates))
        self.epoch = records.Epoch.first(name, bytes(32), validators)

    def root(self, height, previous=None, *, salt=0, voters=None, epoch=None, delegates=None) -> Root:
        epoch, delegates = epoch or self.epoch, delegates or self.delegates
        ruling = records.Ruling(bytes([salt]) * 32, command=b"command", statement=b"statement")
        batch = records.Batch(
            epoch,
            height=height,
            previous=epoch.network if previous is None else previous.digest,
            unit="town",
            hlc=height << 16,
            entries=[records.Entry.sharding(ruling)],
        )
        slot = dpos.Slot(epoch.network, epoch.number, height, 0, batch.header.previous, batch.digest)
        votes = [dpos.Vote(delegate, slot) for delegate in (voters or delegates)]
        certificate, _ = dpos.collect(epoch.validators, slot, votes)
        return Root(self.shard, epoch, batch.header, records.CommitCertificate.dpos(certificate))


def roots(*layouts) -> Roots:
    return Roots(ME, lambda: list(layouts) or [LAYOUT])


def test_the_newest_certified_root_is_known():
    town, known = Town(), roots()
    first = town.root(1)
    second = town.root(2, first)
    assert known.known() == {}
    assert known.hear(first.to_bytes()) == first
    assert known.hear(second.to_bytes()) == second
    assert known.known() == {OTHER: second}
    (found,) = known.known().values()
    assert (found.height, found.digest, found.entries_root) == (2, second.header.digest, second.header.entries_root)


def test_a_gap_is_no_fault():
    town, known = Town(), roots()
    known.hear(town.root(1).to_bytes())
    later = town.root(9, town.root(8))
    known.hear(later.to_bytes())
    assert known.known() == {OTHER: later}


def test_what_is_old_is_refused_and_changes_nothing():
    town, known = Town(), roots()
    first = town.root(1)
    second = town.root(2, first)
    known.hear(first.to_bytes())
    known.hear(second.to_bytes())
    for old in (first, second):
        with pytest.raises(ProtocolError, match="is not newer than 2"):
            known.hear(old.to_bytes())
    assert known.known() == {OTHER: second}
    assert known.forks() == []


def test_a_root_of_strangers_is_refused():
    known = roots()
    forged = Town(STRANGERS[:3])
    with pytest.raises(VerificationError, match="no layout that is known seats these delegates"):
        known.hear(forged.root(1).to_bytes())
    assert known.known() == {}


def test_a_root_that_is_not_certified_is_refused():
    town, known = Town(), roots()
    first, other = town.root(1), town.root(1, salt=1)
    mixed = Root(OTHER, town.epoch, other.header, first.certificate)
    with pytest.raises(VerificationError):
        known.hear(mixed.to_bytes())
    as_another = Root(THIRD, town.epoch, first.header, first.certificate)
    with pytest.raises(VerificationError, match="shard 5"):
        known.hear(as_another.to_bytes())
    assert known.known() == {}


def test_every_changed_byte_is_refused():
    town = Town()
    known, right = roots(), town.root(1)
    body = right.to_bytes()
    seed = body.index(town.epoch.seed)
    for at in range(len(body)):
        if seed <= at < seed + 32:
            continue  # no certificate shows the seed of an epoch
        changed = bytearray(body)
        changed[at] ^= 1
        with pytest.raises((ProtocolError, VerificationError)):
            known.hear(bytes(changed))
    assert known.known() == {}
    assert known.hear(body) == right


def test_roots_of_nobody_and_of_oneself_are_refused():
    town, known = Town(), roots()
    for shard in (ME, 2, 2**63):
        root = town.root(1)
        with pytest.raises(ProtocolError, match="no other city of the world"):
            known.hear(Root(shard, root.epoch, root.header, root.certificate).to_bytes())
    for hostile in (b"", b"?" * 100, Town().root(1).to_bytes()[:-1]):
        with pytest.raises(ProtocolError):
            known.hear(hostile)


def test_another_city_of_the_same_delegates_is_another_city():
    known = roots()
    known.hear(Town().root(1).to_bytes())
    with pytest.raises(VerificationError, match="another city than before"):
        known.hear(Town(name="namesake").root(2).to_bytes())


def test_epochs_only_go_on():
    town = Town()
    after = [*DELEGATES[1:], STRANGERS[0]]
    first = town.root(1)
    election = records.Election(DELEGATES[0], town.epoch, 1, first.digest, dpos.ValidatorSet(1, seats(after)))
    second = town.root(2, first, epoch=election.next, delegates=after)
    late = town.root(3, second)  # the delegates of before, or who has got their keys
    known = roots(LAYOUT)
    known.hear(first.to_bytes())
    with pytest.raises(VerificationError, match="no layout"):
        known.hear(second.to_bytes())
    following = LAYOUT.next(
        [(shard, seats(after) if shard == OTHER else LAYOUT.members(shard)) for shard in LAYOUT.shards]
    )
    known = roots(LAYOUT, following)
    known.hear(first.to_bytes())
    known.hear(second.to_bytes())
    with pytest.raises(VerificationError, match="epoch 0"):
        known.hear(late.to_bytes())
    assert known.known() == {OTHER: second}


def test_two_roots_of_one_height_are_a_fork():
    town, known = Town(), roots()
    first, rival = town.root(1, voters=DELEGATES[:3]), town.root(1, salt=1, voters=DELEGATES[1:])
    known.hear(first.to_bytes())
    for _ in range(2):
        with pytest.raises(VerificationError, match="fork: shard 1"):
            known.hear(rival.to_bytes())
    assert known.known() == {OTHER: first}, "the one that came first stays"
    (fork,) = known.forks()
    fork.verify([LAYOUT])
    assert fork == Fork(first, rival)
    assert fork.guilty == sorted(delegate.id for delegate in DELEGATES[1:3])
    with pytest.raises(VerificationError, match="do not exclude each other"):
        Fork(first, first).verify([LAYOUT])
    with pytest.raises(VerificationError, match="two cities"):
        Fork(first, Town(STRANGERS, THIRD, "third").root(1)).verify([LAYOUT])


def test_a_root_that_does_not_follow_is_a_fork_from_either_side():
    town = Town()
    first, rival = town.root(1), town.root(1, salt=1)
    for one, other in ((first, town.root(2, rival)), (town.root(2, rival), first)):
        known = roots()
        known.hear(one.to_bytes())
        with pytest.raises(VerificationError, match="fork"):
            known.hear(other.to_bytes())
        assert known.known() == {OTHER: one}
        assert [fork.second for fork in known.forks()] == [other]


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "FORKS_MAX", 3)
    town, known, root = Town(), roots(), None
    for height in range(1, 80):
        root = town.root(height, root)
        known.hear(root.to_bytes())
        if height < 10:
            with pytest.raises(VerificationError):
                known.hear(town.root(height, salt=1).to_bytes())
    assert len(known.forks()) == 3
    assert len(known._known[OTHER]) == 64
    with pytest.raises(ProtocolError, match="not newer"):
        known.hear(town.root(1, salt=2).to_bytes())  # too old to be told from a fork


def test_a_city_that_has_left_is_forgotten():
    layouts = [LAYOUT]
    known = Roots(ME, lambda: layouts)
    known.hear(Town().root(1).to_bytes())
    third = Town(STRANGERS, THIRD, "third")
    layouts.append(LAYOUT.next([(shard, LAYOUT.members(shard)) for shard in (ME, THIRD)]))
    known.hear(third.root(1).to_bytes())
    assert list(known.known()) == [THIRD]
    with pytest.raises(ProtocolError, match="no other city"):
        known.hear(Town().root(2).to_bytes())
