"""What a world keeps of itself: its cities, its layouts, and the crossings that are not ended.

==============  ====================================================================
key             value
==============  ====================================================================
``world``       version, chain id, what the world was made with (JSON)
``layout``      the layout that the world began with
``roll``        all cities that it ever had (JSON); absent until the first come or go
``next``        the layout that comes next, while cities come or go
``e`` epoch     a layout that was in force
``t`` number    the trust in a city that has left
``p`` tx_id     message ``crossing``: home, transaction, manifest — begun, not ended
``d`` tx_id     message ``crossing_receipt``: that of one that is committed
``f`` tx_id     message ``failed``: the city that refused one that is aborted, and why
==============  ====================================================================

A world coordinates and is trusted with nothing: all that it keeps could be asked of its cities again, but for the list
of what is not ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels.cross_receipt import CrossReceipt
from city_chain.levels.world_roll import Roll
from city_chain.ports import Storage
from city_chain.stages import messages

__all__ = ["VERSION", "Begun", "WorldFounding", "WorldStore"]

VERSION = 2
"""The version of what is kept; one that is higher belongs to a newer city-chain. Cities come and go since 2."""


@dataclass(frozen=True, slots=True)
class WorldFounding:
    """What a world was made with.

    Args:
        chain: Its id, 32 bytes.
        cities: The names of its cities, in the order in which they were named.
        settings: Each city's settings, by name.
        terms: What else it was made with.
    """

    chain: bytes
    cities: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]]
    terms: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Begun:
    """A crossing that was begun.

    Args:
        home: The city in which its transaction is dispersed.
        transaction: The transaction.
        manifest: What it touches, encoded.
    """

    home: str
    transaction: records.Transaction
    manifest: bytes

    @property
    def tx_id(self) -> bytes:
        """The transaction's id."""
        return self.transaction.tx_id

    @property
    def head(self) -> bytes:
        """What the sender has signed, encoded; empty where that was begun when cities did not ask for it."""
        head = self.transaction.head()
        return b"" if head is None else head.to_bytes()


class WorldStore:
    """A world's rows.

    Args:
        storage: Where they are kept; nothing else may write there.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> store = WorldStore(MemoryStorage())
        >>> terms = {"failure_max": None, "faulty_share": 0.2}
        >>> store.found(WorldFounding(bytes(32), ("north",), {"north": {}}, terms))
        >>> store.founding().cities
        ('north',)
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def founding(self) -> WorldFounding | None:
        """What the world was made with; None if there is none.

        Raises:
            StorageError: It is of a newer version, or damaged.
        """
        (row,) = self._storage.get_many([b"world"])
        if row is None:
            return None
        try:
            kept = orjson.loads(row)
            version = int(kept["version"])
            if version > VERSION:
                raise StorageError(
                    f"the world is of version {version}; this city-chain knows up to {VERSION}: use a newer city-chain"
                )
            chain = bytes.fromhex(kept["chain"])
            cities = tuple(map(str, kept["cities"]))
            settings, terms = dict(kept["settings"]), dict(kept["terms"])
            whole = len(chain) == 32 and len(cities) == len(set(cities)) and set(cities) == set(settings)
            if not whole or not _are_terms(terms):
                raise StorageError("the world is damaged: its row does not hold together")
            return WorldFounding(chain, cities, settings, terms)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise StorageError(f"the world is damaged: {error}") from error

    def found(self, founding: WorldFounding, roll: Roll | None = None) -> None:
        """Writes down what the world is made with.

        Args:
            founding: What it is made with.
            roll: Its cities, where they are others by now.
        """
        row = {
            "version": 1 if roll is None else VERSION,
            "chain": founding.chain.hex(),
            "cities": list(founding.cities),
            "settings": {name: dict(settings) for name, settings in founding.settings.items()},
            "terms": dict(founding.terms),
        }
        rows = {b"world": orjson.dumps(row)}
        if roll is not None:
            rows[b"roll"] = roll.to_bytes()
        self._storage.put_many(rows)

    def roll(self) -> Roll | None:
        """All cities that the world ever had; None if they are those that it was made with.

        Raises:
            StorageError: The row is damaged.
        """
        (row,) = self._storage.get_many([b"roll"])
        return None if row is None else Roll.from_bytes(row)

    def change(self, roll: Roll, layout: bytes) -> None:
        """Cities come and go, and this is the layout that comes next: from now on it is certain."""
        self._storage.put_many({b"roll": roll.to_bytes(), b"next": layout})

    def changed(self, roll: Roll, trust: Mapping[int, bytes]) -> None:
        """They have come and gone; what is believed about those that have left stays."""
        rows = {b"t" + _number(number): kept for number, kept in trust.items()}
        self._storage.put_many({**rows, b"roll": roll.to_bytes()}, delete=[b"next"])

    def following(self) -> bytes | None:
        """The layout that comes next; None if no city comes or goes."""
        return self._storage.get_many([b"next"])[0]

    def trust(self, number: int) -> bytes | None:
        """What is believed about a city that has left."""
        return self._storage.get_many([b"t" + _number(number)])[0]

    def keep(self, layouts: Mapping[int, bytes]) -> None:
        """Layouts that are in force, by epoch."""
        self._storage.put_many({b"e" + epoch.to_bytes(8, "big"): layout for epoch, layout in layouts.items()})

    def kept(self) -> dict[int, bytes]:
        """The layouts that were in force, by epoch, ascending."""
        return {int.from_bytes(key[1:], "big"): row for key, row in self._storage.scan(b"e")}

    def layout(self) -> bytes | None:
        """The layout that the world began with; None if its cities are not joined yet."""
        return self._storage.get_many([b"layout"])[0]

    def lay_out(self, layout: bytes) -> None:
        """Writes down the layout that the world begins with."""
        self._storage.put_many({b"layout": layout})

    # --- crossings ---------------------------------------------------------------------------------------------------

    def begin(self, begun: Begun) -> None:
        """A crossing, before anything of it is sent; durable when it returns."""
        parts = [begun.home.encode(), begun.transaction.to_bytes(), begun.manifest]
        self._storage.put_many({b"p" + begun.transaction.tx_id: messages.message("crossing", parts)})

    def begun(self) -> Iterator[Begun]:
        """The crossings that are not ended, ascending by id, without those whose rows are `damaged`."""
        for key, row in self._storage.scan(b"p"):
            with suppress(StorageError):
                yield _begun(key[1:], row)

    def damaged(self) -> dict[bytes, StorageError]:
        """The ids of crossings that are not ended and whose rows are damaged, with what is wrong."""
        wrong: dict[bytes, StorageError] = {}
        for key, row in self._storage.scan(b"p"):
            try:
                _begun(key[1:], row)
            except StorageError as error:
                wrong[key[1:]] = error
        return wrong

    def forget(self, tx_id: bytes) -> None:
        """A crossing for which nothing is left to do."""
        self._storage.delete_many([b"p" + tx_id])

    def end(self, tx_id: bytes, receipt: bytes) -> None:
        """A crossing is committed; cities may still have to be told."""
        self._storage.put_many({b"d" + tx_id: receipt})

    def fail(self, tx_id: bytes, city: str, why: str) -> None:
        """A crossing is aborted; cities may still have to be told."""
        row = messages.message("failed", [city.encode(), why.encode(errors="replace")[:2000]])
        self._storage.put_many({b"f" + tx_id: row})

    def receipt(self, tx_id: bytes) -> CrossReceipt | None:
        """The receipt of a crossing that is committed.

        Raises:
            StorageError: The row is damaged.
        """
        (row,) = self._storage.get_many([b"d" + tx_id])
        try:
            return None if row is None else CrossReceipt.from_bytes(row)
        except InputError as error:
            raise StorageError(f"world: the receipt of crossing {tx_id.hex()} cannot be read: {error}") from error

    def failure(self, tx_id: bytes) -> tuple[str, str] | None:
        """The city that refused a crossing, and why.

        Raises:
            StorageError: The row is damaged.
        """
        (row,) = self._storage.get_many([b"f" + tx_id])
        if row is None:
            return None
        try:
            city, why = messages.answer(row, "failed", 2)
            return city.decode(), why.decode(errors="replace")
        except (CityChainError, UnicodeDecodeError) as error:
            raise StorageError(f"world: the end of crossing {tx_id.hex()} cannot be read: {error}") from error


def _are_terms(terms: Mapping[str, Any]) -> bool:
    share, most = terms.get("faulty_share"), terms.get("failure_max")
    return isinstance(share, int | float) and (most is None or isinstance(most, int | float))


def _number(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _begun(tx_id: bytes, row: bytes) -> Begun:
    try:
        home, transaction, manifest = messages.answer(row, "crossing", 3)
        begun = Begun(home.decode(), records.Transaction.from_bytes(transaction), manifest)
        body = sc.Manifest.from_bytes(manifest).body
    except (CityChainError, UnicodeDecodeError) as error:
        raise StorageError(f"world: crossing {tx_id.hex()} cannot be read, the row is damaged: {error}") from error
    for named in (begun.tx_id, body):
        if named != tx_id:
            raise StorageError(f"world: the row of crossing {tx_id.hex()} is of {named.hex()}")
    return begun
