"""What a world keeps of itself: rows that are whole are read, damaged ones are named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from city_chain import records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.algorithms import sc
from city_chain.errors import StorageError
from city_chain.levels.world_store import VERSION, Begun, WorldFounding, WorldStore
from city_chain.stages import messages

pytestmark = pytest.mark.unit

FOUNDING = WorldFounding(
    bytes(32), ("a", "b"), {"a": {"nodes": 4}, "b": {}}, {"failure_max": None, "faulty_share": 0.2}
)


def begun_at(at: int) -> Begun:
    made = transaction(at)
    return Begun("a", made, sc.Manifest(bytes(32), 0, made.tx_id, 5, [(0, bytes(32), 0)]).to_bytes())


def transaction(at: int) -> records.Transaction:
    identity = records.Identity(bytes(32))
    return records.Transaction(identity, network=bytes(32), sequence=at, hlc=1, payload=b"x")


def test_what_is_begun_stays_until_it_is_forgotten() -> None:
    store = WorldStore(MemoryStorage())
    begun = [begun_at(at) for at in range(3)]
    for one in begun:
        store.begin(one)
    assert list(store.begun()) == sorted(begun, key=lambda one: one.tx_id)
    store.end(begun[0].tx_id, b"?")
    store.fail(begun[1].tx_id, "b", "why" * 2000)
    assert len(list(store.begun())) == 3, "cities may still have to be told"
    with pytest.raises(StorageError, match="receipt of crossing"):
        store.receipt(begun[0].tx_id)
    failure = store.failure(begun[1].tx_id)
    assert failure is not None
    assert (failure[0], len(failure[1])) == ("b", 2000)
    for one in begun:
        store.forget(one.tx_id)
    assert list(store.begun()) == []
    assert (store.receipt(bytes(32)), store.failure(bytes(32))) == (None, None)


def test_a_founding_comes_back_and_damage_to_it_is_named() -> None:
    storage = MemoryStorage()
    store = WorldStore(storage)
    assert (store.founding(), store.layout()) == (None, None)
    store.found(FOUNDING)
    assert store.founding() == FOUNDING
    store.lay_out(b"layout")
    assert store.layout() == b"layout"
    good = orjson.loads(storage.get_many([b"world"])[0] or b"")
    wrong: list[tuple[Any, str]] = [
        ({**good, "version": VERSION + 1}, "newer city-chain"),
        ({**good, "chain": "00"}, "hold together"),
        ({**good, "chain": 5}, "damaged"),
        ({**good, "cities": ["a"]}, "hold together"),
        ({**good, "settings": 5}, "damaged"),
        ({**good, "cities": ["a", "b", "b"]}, "hold together"),
        ({**good, "terms": {}}, "hold together"),
        ({}, "damaged"),
        ([], "damaged"),
    ]
    for row, words in wrong:
        storage.put_many({b"world": orjson.dumps(row)})
        with pytest.raises(StorageError, match=words):
            store.founding()


def test_rows_of_crossings_that_are_damaged_are_named() -> None:
    storage = MemoryStorage()
    store = WorldStore(storage)
    store.begin(begun_at(0))
    store.begin(begun_at(1))
    (key, row), (_, other) = storage.scan(b"p")
    _, _, manifest = messages.answer(other, "crossing", 3)
    home, transaction_, _ = messages.answer(row, "crossing", 3)
    mixed = messages.message("crossing", [home, transaction_, manifest])
    for damaged, words in [
        (b"?", "cannot be read"),
        (row[:-1], "cannot be read"),
        (row.replace(b"crossing", b"crossinx"), "cannot be read"),
        (other, "is of"),
        (mixed, "is of"),
    ]:
        storage.put_many({key: damaged})
        ((tx_id, error),) = store.damaged().items()
        assert (tx_id, words in str(error)) == (key[1:], True), error
        assert len(list(store.begun())) == 1, "the other is whole"
    storage.put_many({b"f" + bytes(32): b"?"})
    with pytest.raises(StorageError, match="the end of crossing"):
        store.failure(bytes(32))
