"""The list of a world's cities: names and numbers are given once, and damage to it is named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import StorageError
from city_chain.levels.world_roll import Member, Roll
from city_chain.levels.world_store import VERSION, WorldFounding, WorldStore

pytestmark = pytest.mark.unit

TERMS = {"failure_max": None, "faulty_share": 0.2}
FOUNDED = Roll.founded(["a", "b"], {"a": {"nodes": 4}, "b": {}})


def test_cities_come_and_go_by_their_places() -> None:
    numbered = FOUNDED.numbering(1)
    assert (FOUNDED.following, numbered.following) == (2, 3)
    changing = numbered.changing([Member("c", 2, {}, "joins", 1)], ["b"])
    assert changing.is_changing
    places = ("seated", "joining", "leaving", "left")
    names = {place: [member.name for member in getattr(changing, place)] for place in places}
    assert names == {"seated": ["a", "b"], "joining": ["c"], "leaving": ["b"], "left": []}
    after = changing.changed()
    names = {place: [member.name for member in getattr(after, place)] for place in places}
    assert names == {"seated": ["a", "c"], "joining": [], "leaving": [], "left": ["b"]}
    assert not after.is_changing
    assert after.following == 3
    assert (after.named("b"), after.named("x")) == (after.numbered(1), None)
    with pytest.raises(StorageError, match="65536 is the most"):
        FOUNDED.numbering(1 << 16)


def test_a_roll_comes_back_and_damage_to_it_is_named() -> None:
    roll = FOUNDED.changing([Member("c", 2, {"k": 2}, "joins", 1)], ["b"])
    assert Roll.from_bytes(roll.to_bytes()) == roll
    good = orjson.loads(roll.to_bytes())
    member = good["members"][0]
    wrong: list[Any] = [
        None,
        [],
        {},
        {**good, "members": []},
        {**good, "members": 5},
        {**good, "following": 2},
        {**good, "following": "x"},
        {**good, "following": 1 << 17},
        {**good, "members": [member, member]},
        {**good, "members": [member, {**member, "number": 1}]},
        {**good, "members": [{**member, "place": "nowhere"}]},
        {**good, "members": [{**member, "name": 5}]},
        {**good, "members": [{**member, "number": "0"}]},
        {**good, "members": [{**member, "since": -1}]},
        {**good, "members": [{**member, "settings": 5}]},
        {**good, "members": [{**member, "more": 5}]},
    ]
    for row in [orjson.dumps(row) for row in wrong] + [b"", b"?", roll.to_bytes()[:-1]]:
        with pytest.raises(StorageError, match="list of the world's cities is damaged"):
            Roll.from_bytes(row)


def test_a_change_is_written_down_at_once_and_taken_back_at_once() -> None:
    storage = MemoryStorage()
    store = WorldStore(storage)
    founding = WorldFounding(bytes(32), ("a", "b"), {"a": {"nodes": 4}, "b": {}}, TERMS)
    store.found(founding)
    assert (store.roll(), store.following(), store.kept()) == (None, None, {})
    store.found(founding, FOUNDED)
    (row,) = storage.get_many([b"world"])
    assert orjson.loads(row or b"")["version"] == VERSION, "an older city-chain does not open it"
    assert (store.founding(), store.roll()) == (founding, FOUNDED)
    changing = FOUNDED.changing([], ["b"])
    store.change(changing, b"layout")
    assert (store.roll(), store.following()) == (changing, b"layout")
    store.changed(changing.changed(), {1: b"trust"})
    assert (store.roll(), store.following()) == (changing.changed(), None)
    assert (store.trust(1), store.trust(0)) == (b"trust", None)
    store.keep({256: b"later", 1: b"one"})
    assert store.kept() == {1: b"one", 256: b"later"}
    assert list(store.kept()) == [1, 256]
