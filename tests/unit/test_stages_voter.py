"""A delegate's vote waits until its row is durable, also when the write fails first."""

from __future__ import annotations

import pytest

from city_chain import records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import ProtocolError
from city_chain.node.ledger import Ledger
from city_chain.node.voter import ATTEMPTS_AHEAD_MAX, Voter
from city_chain.proofs import dpos

pytestmark = pytest.mark.unit

DELEGATE = records.Identity(b"\x02" * 32)
EPOCH = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(DELEGATE.id, 1)]))


def test_a_row_that_was_not_written_is_asked_for_again() -> None:
    storage = MemoryStorage()
    voter = Voter(DELEGATE, storage, Ledger(MemoryStorage(), EPOCH))
    voter.prepare(1, 1)
    row = voter.rows()
    assert row.keys() == {b"d"}
    assert voter.rows() == row  # the write failed: nothing has been said, and the row is still due
    voter.prepare(1, 2)
    newer = voter.rows()
    assert newer.keys() == {b"d"}
    assert newer != row
    storage.put_many(newer)
    assert [kind for kind, _ in voter.spoken()]
    assert voter.rows() == {}
    restored = Voter(DELEGATE, storage, Ledger(MemoryStorage(), EPOCH))
    assert restored.promised == voter.promised == 2


def test_attempts_cannot_be_used_up_at_once() -> None:
    voter = Voter(DELEGATE, MemoryStorage(), Ledger(MemoryStorage(), EPOCH))
    for attempt in (ATTEMPTS_AHEAD_MAX + 1, 2**63, 2**64 - 1):
        with pytest.raises(ProtocolError, match="too far ahead"):
            voter.prepare(1, attempt)
    assert voter.rows() == {}
    voter.prepare(1, ATTEMPTS_AHEAD_MAX)
    assert voter.promised == ATTEMPTS_AHEAD_MAX
