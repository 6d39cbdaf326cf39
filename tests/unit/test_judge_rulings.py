"""Rulings on their way into a city's ledger: judged in their order, committed once, taught with their evidence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import City, records
from city_chain.errors import CityChainError, InputError, ProtocolError, StorageError, VerificationError
from city_chain.node.judge import Case, read_evidence
from city_chain.stages.model import Evidence

pytestmark = pytest.mark.unit


class Ruler:
    """Says yes to what is stated in capitals."""

    def __init__(self) -> None:
        self.seen: list[list[bytes]] = []

    def check(self, rulings: Sequence[records.Ruling], hlc: int) -> list[CityChainError | None]:
        self.seen.append([ruling.command for ruling in rulings])
        return [
            None if ruling.statement == ruling.command.upper() else VerificationError("ruling: it says otherwise")
            for ruling in rulings
        ]

    def handover(self, ruling: records.Ruling) -> bytes | None:
        return None


def ruling(at: int, command: bytes = b"yes", statement: bytes | None = None) -> records.Ruling:
    return records.Ruling(bytes([at]) * 32, command=command, statement=statement or command.upper())


def commit(city: City, *rulings: records.Ruling) -> list[object]:
    pieces = [Evidence(records.Entry.sharding(made), made) for made in rulings]
    return list(city._city.engine.commit(pieces, city._city.clock.monotonic() + 5).outcomes)


def test_a_city_in_no_world_rules_about_nothing() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        (outcome,) = commit(city, ruling(1))
        assert isinstance(outcome, ProtocolError)
        assert "is in no world" in str(outcome)
        assert city.height == 0


def test_what_is_ruled_is_committed_once_and_can_be_taught() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        inside = city._city
        inside._judge.shard = Ruler()
        first, second, wrong = ruling(1), ruling(2, b"also"), ruling(3, b"no", b"yes")
        outcomes = commit(city, first, wrong, second)
        assert [isinstance(outcome, records.Entry) for outcome in outcomes] == [True, False, True]
        assert "it says otherwise" in str(outcomes[1])
        assert (city.height, inside.ledger.rulings(first.subject)) == (1, [first])
        assert commit(city, first) == [records.Entry.sharding(first)]
        assert city.height == 1, "it was committed already"
        more = ruling(1, b"later")
        commit(city, more)
        assert inside.ledger.rulings(first.subject) == [first, more]
        assert list(inside.ledger.ruling_heights(0)) == [1, 2]
        assert list(inside.ledger.ruling_heights(1)) == [2]
        assert list(city.tx_ids()) == [], "a ruling is no transaction"
        block = inside.ledger.batch(1)
        assert block is not None
        assert inside.ledger.evidence(block.batch) == [first, second]
        case = Case(block.batch, inside.ledger.evidence(block.batch))
        assert Case.of(case.parts()) == case


def test_rulings_stand_beside_transactions() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        city._city._judge.shard = Ruler()
        before = city.send(b"before")
        commit(city, ruling(1))
        after = city.send(b"after", touched=[b"key", b"another"])
        for receipt in (before, after):
            receipt.verify(city.trust)
        (transaction,) = city.receive_many([after.tx_id])
        assert isinstance(transaction, records.Transaction)
        assert transaction.touched == [b"another", b"key"]
        with pytest.raises(InputError, match="touches what it touches"):
            city.send(transaction, touched=[b"more"])


def test_an_entry_that_names_another_ruling_is_refused() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        city._city._judge.shard = Ruler()
        entry = records.Entry.sharding(ruling(1, b"other"))
        (outcome,) = city._city.engine.commit([Evidence(entry, ruling(1))], city._city.clock.monotonic() + 5).outcomes
        assert "its ruling is another one" in str(outcome)


def test_rows_that_are_damaged_or_gone_are_named() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        inside = city._city
        inside._judge.shard = Ruler()
        made = ruling(9)
        commit(city, made)
        block = inside.ledger.batch(1)
        assert block is not None
        key = b"u" + made.subject + (1).to_bytes(8, "big")
        inside.ledger._storage.put_many({key: b"?"})
        with pytest.raises(StorageError, match="a ruling about 0909"):
            inside.ledger.rulings(made.subject)
        inside.ledger._storage.delete_many([key])
        with pytest.raises(StorageError, match="at height 1 is missing"):
            inside.ledger.evidence(block.batch)


def test_evidence_is_told_by_its_tag() -> None:
    assert read_evidence(ruling(1).to_bytes()) == ruling(1)
    with pytest.raises(InputError):
        read_evidence(b"CCru")
