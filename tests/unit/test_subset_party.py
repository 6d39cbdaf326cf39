"""The subset party over its storage: what it may have said is not forgotten, however far behind its ledger is."""

from __future__ import annotations

import pytest

from city_chain import City
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.node import Ledger
from city_chain.node.agreeing import Shelf
from city_chain.node.bodies import Bodies
from city_chain.node.subset import SubsetParty

pytestmark = pytest.mark.unit


def test_journals_of_heights_that_are_still_to_be_taught_are_kept() -> None:
    """A process that sets up a node anew has its rows, and a ledger that begins at nothing."""
    with City.local(nodes=4, validators=4, k=2, n=4, engine="abba") as city:
        city.send(b"1")
        city.send(b"2")
        inside = city._city
        node = next(iter(inside._nodes.values()))

        def party(storage: MemoryStorage, ledger: Ledger) -> SubsetParty:
            return SubsetParty(node._identity, storage, ledger, node.keeper)

        storage = MemoryStorage()
        ready = {b"a" + bytes(8) + b"b": b""}
        storage.put_many(ready)
        spoken = party(storage, inside.ledger)
        shelf = Shelf(inside.ledger, Bodies(MemoryStorage(), inside.ledger, inside._judge, MemoryStorage().put_many))
        spoken.step(shelf, 0, push=True, resting=False)
        rows, _ = spoken.rows()
        assert rows
        storage.put_many(rows)
        said = spoken.said()
        assert said

        behind = Ledger(MemoryStorage(), inside.ledger.epoch)
        again = party(storage, behind)
        for height in (1, 2):
            committed = inside.ledger.batch(height)
            assert committed is not None
            behind.append(committed.batch, committed.certificate, inside.ledger.evidence(committed.batch))
            again._move_on()
            fresh, gone = again.rows()
            storage.put_many(fresh, delete=gone)
            again.said()
        assert rows.items() <= dict(storage.scan(b"")).items()
        assert again._machine.snapshot() == spoken._machine.snapshot()
        assert again._has_input
