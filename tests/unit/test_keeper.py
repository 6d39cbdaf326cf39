"""The keeper of a delegate's key shares: it signs one key set for an epoch, and nothing that is not written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from city_chain import records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import ProtocolError, StorageError
from city_chain.node.keeper import Keeper
from city_chain.proofs import dpos

pytestmark = pytest.mark.unit

PEOPLE = sorted((records.Identity.child(bytes(32), b"node", at) for at in range(4)), key=lambda person: person.id)
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(person.id, 1) for person in PEOPLE]))


def dealt() -> list[records.Dealing]:
    recipients = [Keeper(person, MemoryStorage()).recipient(EPOCH.network) for person in PEOPLE]
    return [Keeper(person, MemoryStorage()).deal(EPOCH, recipients, None) for person in PEOPLE]


def dealings(some: list[records.Dealing]) -> records.Dealings:
    found, faults = records.Dealings.sort(EPOCH, some)
    assert faults == []
    assert found is not None
    return found


def certified(found: records.Dealings) -> records.CityKeys:
    return found.keys.certified(EPOCH, [(person.id, found.keys.sign(person)) for person in PEOPLE])


class Kept:
    """A delegate that has taken its shares."""

    def __init__(self) -> None:
        self.dealings = dealings(dealt())
        self.storage = MemoryStorage()
        self.keeper = Keeper(PEOPLE[0], self.storage)
        assert self.keeper.faults(self.dealings) == []
        self.rows = self.keeper.rows(self.dealings)
        self.storage.put_many(self.rows)
        self.keeper.sign(self.dealings)
        self.keys = certified(self.dealings)

    def again(self, rows: Mapping[bytes, bytes] | None = None) -> Keeper:
        storage = MemoryStorage()
        storage.put_many(self.rows if rows is None else rows)
        keeper = Keeper(PEOPLE[0], storage)
        keeper.use(self.keys)
        return keeper


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


def test_shares_outlive_the_process(kept: Kept) -> None:
    with pytest.raises(ProtocolError, match="no threshold keys"):
        kept.keeper.sign_share(b"message")
    kept.keeper.use(kept.keys)
    assert kept.again().sign_share(b"message") == kept.keeper.sign_share(b"message")
    [(key, row)] = kept.rows.items()
    assert key == b"k" + EPOCH.root
    assert row[:32] == kept.keys.digest


def test_another_key_set_for_the_epoch_is_not_signed(kept: Kept) -> None:
    other = dealings(dealt())
    signed, certain = Keeper(PEOPLE[0], kept.storage), kept.again()
    for keeper, why in ((signed, "has signed another key set for epoch 0"), (certain, "are certified, and are others")):
        with pytest.raises(ProtocolError, match=why):
            keeper.rows(other)
        assert keeper.rows(kept.dealings) == {}  # the same one again costs no write


def test_once_keys_are_certified_no_others_are_made(kept: Kept) -> None:
    """One that was away when they were made, and has no row yet, is talked into nothing else."""
    away = kept.again({})
    recipients = [Keeper(person, MemoryStorage()).recipient(EPOCH.network) for person in PEOPLE]
    with pytest.raises(ProtocolError, match="the keys of epoch 0 are made already"):
        away.deal(EPOCH, recipients, None)
    with pytest.raises(ProtocolError, match="the keys of epoch 0 are certified, and are others"):
        away.rows(dealings(dealt()))
    assert away.rows(kept.dealings)


def test_what_is_not_written_yet_is_due_again(kept: Kept) -> None:
    keeper = Keeper(PEOPLE[1], MemoryStorage())
    first = keeper.rows(kept.dealings)
    assert keeper.rows(kept.dealings).keys() == first.keys()


def test_a_damaged_row_costs_the_shares_and_is_told(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    [(key, row)] = kept.rows.items()
    for damaged in (row[:40], row[:-1], row[:40] + bytes([row[40] ^ 1]) + row[41:], bytes(len(row)), b""):
        keeper = kept.again({key: damaged})
        with pytest.raises(StorageError, match="damaged"):
            keeper.sign_share(b"message")
    assert "gives no key shares" in caplog.text
    with pytest.raises(ProtocolError, match="has no shares"):
        kept.again({}).sign_share(b"message")
    with pytest.raises(ProtocolError, match="no threshold keys"):
        Keeper(PEOPLE[0], MemoryStorage()).decrypt_share(b"", b"")


def test_one_handover_is_signed_at_one_height(kept: Kept) -> None:
    caller = records.Identity(b"\x01" * 32)

    def election(height: int, tip: bytes) -> records.Election:
        validators = dpos.ValidatorSet(1, [(person.id, 1) for person in PEOPLE])
        return records.Election(caller, EPOCH, height, tip, validators)

    keeper, storage = Keeper(PEOPLE[0], kept.storage), kept.storage
    first, other, later = election(3, b"\x01" * 32), election(3, b"\x02" * 32), election(4, b"\x03" * 32)
    assert not keeper.is_resting(1, 3)
    storage.put_many(keeper.handover_rows(first, kept.keys, 3))
    keeper.sign_handover(first, kept.keys)
    for again in (keeper, Keeper(PEOPLE[0], storage)):
        assert again.is_resting(1, 3)
        assert not again.is_resting(1, 4)  # a batch behind it shows that the handover never was
        assert again.handover_rows(first, kept.keys, 3) == {}
        with pytest.raises(ProtocolError, match="has signed another handover to epoch 1"):
            again.handover_rows(other, kept.keys, 3)
    assert keeper.handover_rows(later, kept.keys, 4)
    storage.put_many({b"y": b"short"})
    with pytest.raises(StorageError, match="cannot be read"):
        Keeper(PEOPLE[0], storage).is_resting(1, 3)


def test_shares_of_epochs_that_are_over_are_listed(kept: Kept) -> None:
    keeper = kept.again()
    assert keeper.stale([EPOCH.root]) == []
    assert keeper.stale([bytes(32)]) == [b"k" + EPOCH.root]
