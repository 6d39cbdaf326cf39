"""What a world keeps of itself: rows that are whole are read, damaged ones are named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from city_chain import records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import StorageError
from city_chain.levels.world_store import VERSION, Begun, WorldFounding, WorldStore

pytestmark = pytest.mark.unit

FOUNDING = WorldFounding(bytes(32), ("a", "b"), {"a": {"nodes": 4}, "b": {}}, {"failure_max": None})


def transaction(at: int) -> records.Transaction:
    identity = records.Identity(bytes(32))
    return records.Transaction(identity, network=bytes(32), sequence=at, hlc=1, payload=b"x")


def test_what_is_begun_stays_until_it_is_forgotten() -> None:
    store = WorldStore(MemoryStorage())
    begun = [Begun("a", transaction(at), b"manifest") for at in range(3)]
    for one in begun:
        store.begin(one)
    assert list(store.begun()) == sorted(begun, key=lambda one: one.tx_id)
    store.end(begun[0].tx_id, b"receipt")
    store.fail(begun[1].tx_id, "b", "why" * 2000)
    assert len(list(store.begun())) == 3, "cities may still have to be told"
    assert store.receipt(begun[0].tx_id) == b"receipt"
    failure = store.failure(begun[1].tx_id)
    assert failure is not None
    assert (failure[0], len(failure[1])) == ("b", 2000)
    for one in begun:
        store.forget(one.tx_id)
    assert list(store.begun()) == []
    assert store.receipt(begun[0].tx_id) == b"receipt"
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
    store.begin(Begun("a", transaction(0), b"manifest"))
    ((key, row),) = storage.scan(b"p")
    for damaged in (b"?", row[:-1], row.replace(b"crossing", b"crossinx")):
        storage.put_many({key: damaged})
        with pytest.raises(StorageError, match="cannot be read"):
            list(store.begun())
    storage.put_many({b"p" + bytes(32): row}, delete=[key])
    with pytest.raises(StorageError, match="is of"):
        list(store.begun())
    storage.put_many({b"f" + bytes(32): b"?"})
    with pytest.raises(StorageError, match="the end of crossing"):
        store.failure(bytes(32))
