"""A city's threshold keys across the boundary: made without a dealer, handed on, kept, used; liars are named."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from itertools import combinations

import pytest

from city_chain.algorithms.tes import bls
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.proofs import dpos
from city_chain.records import (
    CityKeys,
    CommitCertificate,
    Dealing,
    Dealings,
    Election,
    Epoch,
    Handover,
    Identity,
    KeyShares,
    Receipt,
    Recipient,
    Trust,
)
from tests.ffi.conftest import City

MESSAGE = b"what the city signs"


class Town:
    """Delegates of one epoch with their keys."""

    def __init__(self, count: int = 4, name: str = "Utrecht") -> None:
        people = [Identity.child(bytes(32), b"delegate", at) for at in range(count)]
        self.people = sorted(people, key=lambda person: person.id)
        self.validators = dpos.ValidatorSet(0, [(person.id, 10) for person in people])
        self.epoch = Epoch.first(name, bytes(32), self.validators)
        self.recipients = [Recipient(person, self.epoch.network) for person in self.people]
        self.dealt = [Dealing.deal(person, self.epoch, self.recipients) for person in self.people]
        dealings, faults = Dealings.sort(self.epoch, self.dealt)
        assert dealings is not None
        assert faults == []
        self.dealings = dealings
        self.shares = [opened(dealings, person) for person in self.people]
        signatures = [(person.id, dealings.keys.sign(person)) for person in self.people]
        self.keys = dealings.keys.certified(self.epoch, signatures)


def opened(dealings: Dealings, person: Identity) -> KeyShares:
    shares, faults = dealings.open(person)
    assert faults == []
    assert shares is not None
    return shares


def signed(keys: CityKeys, shares: Sequence[KeyShares], message: bytes = MESSAGE) -> bytes:
    parts = [share.sign(message) for share in shares]
    signature, _ = bls.combine(keys.signing_key, keys.threshold, keys.signing_shares, message, parts)
    return signature


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


def test_any_threshold_signs_and_fewer_do_not(town: Town) -> None:
    town.keys.verify(town.epoch)
    signatures = {signed(town.keys, some) for some in combinations(town.shares, 3)}
    assert len(signatures) == 1
    bls.verify(town.keys.signing_key, MESSAGE, signatures.pop())
    with pytest.raises(UnavailableError, match="needed 3, had 2"):
        signed(town.keys, town.shares[:2])


def test_what_the_keys_say(town: Town) -> None:
    keys = town.keys
    assert (keys.network, keys.epoch, keys.epoch_root) == (town.epoch.network, 0, town.epoch.root)
    assert keys.delegates == [person.id for person in town.people] == keys.signers
    assert keys.threshold == 3
    assert [keys.signing_key[:2], keys.encryption_key[:2]] == [b"bp", b"tp"]
    assert [share[2:4] for share in keys.signing_shares] == [bytes([at, 0]) for at in (1, 2, 3, 4)]
    assert [share[:2] for share in keys.encryption_shares] == [b"tv"] * 4
    assert keys.countersigners == [recipient.countersigner for recipient in town.recipients]
    assert CityKeys.from_bytes(keys.to_bytes()) == keys
    assert pickle.loads(pickle.dumps(keys)) == keys
    assert [share.index for share in town.shares] == [1, 2, 3, 4]
    assert all(share.keys == keys.digest for share in town.shares)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_every_number_of_delegates(count: int) -> None:
    town = Town(count)
    assert town.keys.threshold == count - (count - 1) // 3
    bls.verify(town.keys.signing_key, MESSAGE, signed(town.keys, town.shares[-town.keys.threshold :]))


def test_a_quorum_of_dealers_is_enough(town: Town) -> None:
    dealings, _ = Dealings.sort(town.epoch, town.dealt[1:])
    assert dealings is not None
    shares = [opened(dealings, person) for person in town.people]
    bls.verify(dealings.keys.signing_key, MESSAGE, signed(dealings.keys, shares[:3]))
    assert dealings.keys.countersigners[0] is None
    with pytest.raises(UnavailableError, match="needed 3, had 2"):
        Dealings.sort(town.epoch, town.dealt[2:])
    with pytest.raises(InputError, match="twice"):
        Dealings.sort(town.epoch, [*town.dealt[:3], town.dealt[0]])


def test_shares_are_opened_by_their_delegate_only(town: Town) -> None:
    with pytest.raises(InputError, match="is no delegate"):
        town.dealings.open(Identity(b"\x09" * 32))


# --- dealers that lie ------------------------------------------------------------------------------------------------


def forged(town: Town, dealer: int, change: bytes, by: bytes) -> Dealing:
    """A dealing with some bytes changed, signed anew by nobody: only its signature is wrong."""
    data = town.dealt[dealer].to_bytes()
    assert change in data
    return Dealing.from_bytes(data.replace(change, by, 1))


def test_a_changed_dealing_is_named(town: Town) -> None:
    data = bytearray(town.dealt[2].to_bytes())
    data[-1] ^= 1
    wrong = Dealing.from_bytes(bytes(data))
    sorted_, faults = Dealings.sort(town.epoch, [*town.dealt[:2], wrong, town.dealt[3]])
    assert sorted_ is None
    assert [dealer for dealer, _ in faults] == [town.people[2].id]
    assert "signature" in faults[0][1]
    with pytest.raises(VerificationError):
        wrong.verify()


def test_a_dealing_to_another_key_costs_its_recipient_and_is_named(town: Town) -> None:
    """The dealer seals one delegate's shares to somebody else's key: only that delegate can see it."""
    other = Recipient(Identity(b"\x07" * 32), town.epoch.network)
    with pytest.raises(InputError, match="is no delegate"):
        Dealing.deal(town.people[0], town.epoch, [*town.recipients[:3], other])
    short = Dealing.deal(town.people[0], town.epoch, town.recipients[:3])
    dealings, faults = Dealings.sort(town.epoch, [short, *town.dealt[1:]])
    assert dealings is not None
    assert faults == []
    for person in town.people[:3]:
        opened(dealings, person)
    shares, faults = dealings.open(town.people[3])
    assert shares is None
    assert [dealer for dealer, _ in faults] == [town.people[0].id]
    assert "nothing in it is for this delegate" in faults[0][1]


def test_dealings_of_another_occasion_are_named(town: Town) -> None:
    elsewhere = Town(name="Lviv")
    following = Epoch.first("Utrecht", b"\x01" * 32, town.validators)
    for wrong in (elsewhere.dealt[0], Dealing.deal(town.people[0], following, [])):
        sorted_, faults = Dealings.sort(town.epoch, [wrong, *town.dealt[1:]])
        assert sorted_ is None
        assert [(dealer, "another" in why) for dealer, why in faults] == [(town.people[0].id, True)]


def test_recipients_sign_their_keys(town: Town) -> None:
    data = bytearray(town.recipients[0].to_bytes())
    data[100] ^= 1
    with pytest.raises(CityChainError):
        Dealing.deal(town.people[0], town.epoch, [Recipient.from_bytes(bytes(data)), *town.recipients[1:]])
    with pytest.raises(InputError, match="is no delegate"):
        Dealing.deal(town.people[0], town.epoch, [Recipient(town.people[0], bytes(32))])


# --- certification ---------------------------------------------------------------------------------------------------


def test_a_quorum_certifies_and_less_does_not(town: Town) -> None:
    bare = town.dealings.keys
    signatures = [(person.id, bare.sign(person)) for person in town.people]
    stranger = Identity(b"\x05" * 32)
    noise = [(stranger.id, bare.sign(stranger)), (town.people[3].id, bytes(64)), signatures[0]]
    keys = bare.certified(town.epoch, [*noise, *signatures[:3]])
    assert keys.signers == [person.id for person in town.people[:3]]
    keys.verify(town.epoch)
    with pytest.raises(UnavailableError, match="needed 27, had 20"):
        bare.certified(town.epoch, [*noise, *signatures[:2]])
    with pytest.raises(UnavailableError, match="needed 27, had 0"):
        bare.verify(town.epoch)
    elsewhere = Town(name="Lviv")
    with pytest.raises(VerificationError, match="of network"):
        keys.verify(elsewhere.epoch)
    with pytest.raises(VerificationError, match="of network"):
        bare.certified(elsewhere.epoch, signatures)


def test_every_changed_byte_of_certified_keys_is_refused(town: Town) -> None:
    data = town.keys.to_bytes()
    for at in range(0, len(data), 7):
        wrong = bytearray(data)
        wrong[at] ^= 1
        with pytest.raises(CityChainError):
            CityKeys.from_bytes(bytes(wrong)).verify(town.epoch)
    for end in range(0, len(data), 13):
        with pytest.raises(InputError):
            CityKeys.from_bytes(data[:end])


# --- shares ----------------------------------------------------------------------------------------------------------


def test_shares_come_back_from_their_row_and_nobody_elses(town: Town) -> None:
    row = town.shares[0].seal(town.people[0])
    again = KeyShares.open(town.people[0], town.keys, row)
    assert again.sign(MESSAGE) == town.shares[0].sign(MESSAGE)
    assert row != town.shares[0].seal(town.people[0])
    with pytest.raises(VerificationError):
        KeyShares.open(town.people[1], town.keys, row)
    with pytest.raises(VerificationError):
        KeyShares.open(town.people[0], Town(name="Lviv").keys, row)
    for at in range(len(row)):
        wrong = bytearray(row)
        wrong[at] ^= 1
        with pytest.raises(VerificationError):
            KeyShares.open(town.people[0], town.keys, bytes(wrong))
        with pytest.raises(VerificationError):
            KeyShares.open(town.people[0], town.keys, row[:at])


def test_shares_show_nothing_and_cannot_be_copied(town: Town) -> None:
    share = town.shares[0]
    assert repr(share) == str(share) == "<KeyShares of delegate 1>"
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copied(share)
    assert not any(isinstance(getattr(share, name), bytes) for name in dir(share) if name not in ("keys", "__doc__"))


# --- compressed certificates -----------------------------------------------------------------------------------------


class Compressing(City):
    """A city whose delegates have threshold keys."""

    def __init__(self) -> None:
        super().__init__()
        people = sorted(self.delegates, key=lambda person: person.id)
        recipients = [Recipient(person, self.epoch.network) for person in people]
        dealings, _ = Dealings.sort(self.epoch, [Dealing.deal(one, self.epoch, recipients) for one in people])
        assert dealings is not None
        self.shares = [opened(dealings, person) for person in people]
        self.keys = dealings.keys.certified(self.epoch, [(one.id, dealings.keys.sign(one)) for one in people])
        self.trust = Trust(self.epoch.network, [(0, self.epoch.root)], self.keys.signing_key)


@pytest.fixture(scope="module")
def small() -> Compressing:
    return Compressing()


def compressed(city: Compressing, receipt: Receipt) -> CommitCertificate:
    message = receipt.certificate.compressed_message
    made, wrong = receipt.certificate.compressed(city.keys, [share.sign(message) for share in city.shares[1:]])
    assert wrong == []
    return made


def test_a_compressed_receipt_verifies_with_the_citys_key_only(small: Compressing) -> None:
    receipt = small.receipt()
    certificate = compressed(small, receipt)
    assert certificate.engine == "bls"
    assert CommitCertificate.from_bytes(certificate.to_bytes()) == certificate
    assert receipt.certificate.slot == certificate.slot
    short = receipt.with_certificate(certificate)
    assert len(short.to_bytes()) < len(receipt.to_bytes())
    short.verify(small.trust)
    receipt.verify(small.trust)
    with pytest.raises(VerificationError, match="no key of the city is known"):
        short.verify(Trust.of(small.epoch))
    with pytest.raises(VerificationError, match="no key of the city is known"):
        certificate.verify(small.epoch, receipt.header)
    with pytest.raises(InputError, match="there are no votes in it"):
        _ = certificate.certificate
    other = Trust(small.epoch.network, [(0, small.epoch.root)], Town().keys.signing_key)
    with pytest.raises(VerificationError, match="commit certificate"):
        short.verify(other)
    for at in range(len(certificate.to_bytes()) - 48, len(certificate.to_bytes()), 5):
        wrong = bytearray(certificate.to_bytes())
        wrong[at] ^= 1
        with pytest.raises(CityChainError):
            receipt.with_certificate(CommitCertificate.from_bytes(bytes(wrong))).verify(small.trust)


def test_wrong_shares_of_a_compressed_certificate_are_named(small: Compressing) -> None:
    certificate = small.receipt().certificate
    parts = [share.sign(certificate.compressed_message) for share in small.shares]
    lie = small.shares[0].sign(b"another message")
    made, wrong = certificate.compressed(small.keys, [lie, *parts[1:]])
    assert wrong == [1]
    assert made == certificate.compressed(small.keys, parts)[0]
    with pytest.raises(UnavailableError):
        certificate.compressed(small.keys, [lie, *parts[1:3]])
    with pytest.raises(UnavailableError):
        certificate.compressed(small.keys, parts[:2])


def test_another_batchs_certificate_does_not_fit(small: Compressing) -> None:
    certificate = compressed(small, small.receipt())
    with pytest.raises(VerificationError, match="about another batch"):
        small.receipt(1).with_certificate(certificate)


def test_trust_without_the_key_is_written_as_before(small: Compressing) -> None:
    plain = Trust.of(small.epoch)
    assert plain.city_key is None
    assert plain.to_bytes()[:6] == b"CCtr\x01\x00"
    assert Trust.from_bytes(plain.to_bytes()) == plain
    data = small.trust.to_bytes()
    assert data[:6] == b"CCtr\x02\x00"
    assert small.trust.city_key == small.keys.signing_key
    again = Trust.from_bytes(data)
    assert again == small.trust
    assert again != plain
    assert pickle.loads(pickle.dumps(again)) == again
    bare = plain.to_bytes()
    for wrong in (data[:4] + b"\x01\x00" + data[6:], bare[:4] + b"\x02\x00" + bare[6:] + b"\x00"):
        with pytest.raises(InputError):
            Trust.from_bytes(wrong)
    for key in (b"", bytes(98), b"bp" + bytes(96), small.keys.encryption_key, small.keys.signing_key[:-1]):
        with pytest.raises(InputError):
            Trust(small.epoch.network, [(0, small.epoch.root)], key)


# --- handing over ----------------------------------------------------------------------------------------------------


class Next:
    """The epoch after a town's, with some old and some new delegates."""

    def __init__(self, town: Town, count: int = 4) -> None:
        new = [Identity.child(bytes(32), b"delegate", at) for at in range(2, 2 + count)]
        self.people = sorted(new, key=lambda person: person.id)
        validators = dpos.ValidatorSet(1, [(person.id, 7) for person in new])
        self.caller = Identity(b"\x01" * 32)
        self.election = Election(self.caller, town.epoch, 3, b"\x04" * 32, validators)
        self.epoch = self.election.next
        self.recipients = [Recipient(person, self.epoch.network) for person in self.people]
        self.dealt = [
            Dealing.reshare(person, self.epoch, self.recipients, town.keys, shares)
            for person, shares in zip(town.people, town.shares, strict=True)
        ]
        dealings, faults = Dealings.sort(self.epoch, self.dealt[:3], town.keys)
        assert faults == []
        assert dealings is not None
        self.shares = [opened(dealings, person) for person in self.people]
        self.keys = dealings.keys.certified(self.epoch, [(one.id, dealings.keys.sign(one)) for one in self.people])


@pytest.fixture(scope="module", params=[4, 7])
def following(town: Town, request: pytest.FixtureRequest) -> Next:
    return Next(town, request.param)


def test_the_public_keys_stay_and_the_shares_change(town: Town, following: Next) -> None:
    assert following.keys.signing_key == town.keys.signing_key
    assert following.keys.encryption_key == town.keys.encryption_key
    assert not set(following.keys.signing_shares) & set(town.keys.signing_shares)
    needed = following.keys.threshold
    signature = signed(following.keys, following.shares[-needed:])
    assert signature == signed(town.keys, town.shares[:3])
    with pytest.raises(UnavailableError):
        signed(following.keys, following.shares[: needed - 1])


def test_old_and_new_shares_do_not_combine(town: Town, following: Next) -> None:
    needed = following.keys.threshold
    with pytest.raises(CityChainError):
        signed(following.keys, [town.shares[0], *following.shares[1:needed]])
    with pytest.raises(CityChainError):
        signed(town.keys, [following.shares[0], *town.shares[1:3]])
    row = town.shares[0].seal(town.people[0])
    with pytest.raises(VerificationError):
        KeyShares.open(town.people[0], following.keys, row)


def test_only_those_who_have_shares_hand_them_on(town: Town, following: Next) -> None:
    with pytest.raises(InputError, match="not the dealer's"):
        Dealing.reshare(town.people[1], following.epoch, following.recipients, town.keys, town.shares[0])
    with pytest.raises(InputError, match="not the dealer's"):
        Dealing.reshare(town.people[0], following.epoch, following.recipients, Town(name="Lviv").keys, town.shares[0])
    fresh = [Dealing.deal(person, following.epoch, following.recipients) for person in following.people]
    sorted_, faults = Dealings.sort(following.epoch, fresh, town.keys)
    assert sorted_ is None
    assert len(faults) == len(fresh)
    with pytest.raises(UnavailableError, match="needed 3, had 2"):
        Dealings.sort(following.epoch, following.dealt[:2], town.keys)


def test_an_election_is_signed_and_follows_its_epoch(town: Town, following: Next) -> None:
    election = following.election
    election.verify(town.epoch)
    assert (election.next.number, election.height, election.tip) == (1, 3, b"\x04" * 32)
    assert (election.caller, election.previous) == (following.caller.id, town.epoch.root)
    assert Election.from_bytes(election.to_bytes()) == election
    with pytest.raises(VerificationError):
        election.verify(following.epoch)
    data = election.to_bytes()
    for at in range(6, len(data), 5):
        wrong = bytearray(data)
        wrong[at] ^= 1
        with pytest.raises(CityChainError):
            Election.from_bytes(bytes(wrong)).verify(town.epoch)
    with pytest.raises(InputError):
        Election(following.caller, town.epoch, 3, b"\x04" * 32, town.validators)


def test_a_quorum_of_the_old_delegates_hands_over(town: Town, following: Next) -> None:
    election, keys = following.election, following.keys
    signatures = [(person.id, Handover.sign(person, election, keys)) for person in town.people]
    handover = Handover(election, keys, town.epoch, [(following.caller.id, bytes(64)), *signatures[1:]])
    handover.verify(town.epoch)
    assert (handover.election, handover.keys) == (election, keys.digest)
    assert Handover.from_bytes(handover.to_bytes()) == handover
    with pytest.raises(UnavailableError):
        Handover(election, keys, town.epoch, signatures[:2])
    with pytest.raises(CityChainError):
        handover.verify(following.epoch)
    data = bytearray(handover.to_bytes())
    data[-1] ^= 1
    with pytest.raises(VerificationError):
        Handover.from_bytes(bytes(data)).verify(town.epoch)
