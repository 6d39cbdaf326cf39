"""The world: several cities in one process, and transactions that several of them commit or none.

Each city has its own nodes, storage, engine, ledger and delegates. A transaction that touches keys of several cities is
dispersed and committed in its home city like any other; then every city that it touches rules about it through its own
engine: first whether it is prepared, then that it is committed or aborted (`city_chain.algorithms.sc`). The world only
carries certificates from one city to the next. It is trusted with nothing, and whoever opens it after a crash drives on
what was begun.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Buffer, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Self

from city_chain import records
from city_chain.composer.checks import shown
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError
from city_chain.levels.checks import check_callback, check_deadline, checked_id
from city_chain.levels.city import City
from city_chain.levels.coming import CITIES_MAX, Coming, wanted
from city_chain.levels.committees import check_committee, failure_log2, next_delegates
from city_chain.levels.cross_receipt import AbortedError, CrossReceipt, WorldTrust
from city_chain.levels.crossing import Crossings
from city_chain.levels.layouts import Layouts
from city_chain.levels.owner import Owner
from city_chain.levels.resharding import Reshard, Resharded
from city_chain.levels.roots import Fork, Root
from city_chain.levels.rulings import need_shard
from city_chain.levels.settings import Settings
from city_chain.levels.spreading import Spreading
from city_chain.levels.steps import Step, Steps
from city_chain.levels.world_cities import Cities
from city_chain.levels.world_place import WorldPlace
from city_chain.levels.world_reports import CityState, WorldHealth, WorldRecovery
from city_chain.levels.world_roll import Member, Roll
from city_chain.levels.world_store import WorldFounding, WorldStore
from city_chain.node.sharding import EXPIRES_MAX_MS
from city_chain.ports import Clock, Entropy, Storage

__all__ = ["World"]

_DEADLINE_S = 10.0
_EXPIRES_S = 60.0
_RESHARD_S = 60.0
_log = logging.getLogger("city_chain")

type Touches = Iterable[bytes] | Mapping[str, Iterable[bytes]]
"""Keys, by the city that is to have them or just so."""


class World:
    """Several cities. Made by `local` or `open`; safe to use from several threads; a context manager.

    Example:
        >>> with World.local(["north", "south"], nodes=8, k=2, n=4) as world:
        ...     receipt = world.send(b"10 from a to b", {"north": [b"a"], "south": [b"b"]})
        ...     receipt.verify(world.trust)
        ...     world.version(b"b", city="south")
        1
    """

    def __init__(self, store: Storage, founding: WorldFounding, place: WorldPlace, owner: Owner | None) -> None:
        """Use `local` or `open`."""
        self._owner = owner
        self._storage = store
        self._store = WorldStore(store)
        self._founding = founding
        self._place = place
        self._lock = threading.RLock()
        self._changing = threading.Lock()
        self._cities = Cities(place)
        self._closed = False
        self._steps = Steps()
        roll = self._store.roll() or Roll.founded(founding.cities, founding.settings)
        self._layouts = Layouts(founding.chain, roll, self._store, self._cities.running, self._steps)
        self._crossings = Crossings(self._layouts, self._store, self._cities.running, place.clock, self._steps)
        self._spreading = Spreading(self._layouts, self._cities, place.clock, place.entropy)
        try:
            self._open_cities()
            self._recovery = self._resumed(_DEADLINE_S, self._place.clock.monotonic() + _DEADLINE_S)
            self._spreading.begin()
        except BaseException:
            self.close()
            raise

    # --- making and opening ------------------------------------------------------------------------------------------

    @classmethod
    def local(
        cls,
        cities: Iterable[str] | Mapping[str, Mapping[str, Any]],
        path: str | os.PathLike[str] | None = None,
        *,
        failure_max: float | None = None,
        faulty_share: float = 0.2,
        storage: Callable[[str], Storage] | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        **settings: Any,
    ) -> Self:
        """Opens the world in the folder `path`, making it first if there is none; without a path it lives in memory.

        Args:
            cities: The names of its cities, 1 to 64, or what each has of its own among the settings, by name.
            path: The folder: ``world.db``, and a file for every city. It is made for its owner only.
            failure_max: The most chance, above 0 and below 1, that a city's delegates may have to be unsafe (a third
                of them faulty) where `faulty_share` of its nodes are; a city over it is refused with the number of
                delegates that would do. None: any.
            faulty_share: What share of a city's nodes may be faulty, 0 to 1/3.
            storage: Gives the storage of a city by its name, and the world's own by ``""``, instead of `path`.
            clock: Physical and monotonic time (default: the system's).
            entropy: Where secrets come from (default: the system's).
            **settings: What all cities have in common, see `City.local`.

        Raises:
            InputError: A setting is out of range, a city's delegates are too few for `failure_max`, or the world that
                is there was made with others.
            StorageError: The folder cannot be opened or made, or another process has it open.

        Example:
            >>> World.local(["a", "b"], failure_max=1e-6)  # doctest: +IGNORE_EXCEPTION_DETAIL
            Traceback (most recent call last):
            ...
            city_chain.errors.InputError: city 'a': 4 of 20 nodes are delegates; …
        """
        named = cities if isinstance(cities, Mapping) else {name: {} for name in _names(cities)}
        each = {name: Settings(**{**settings, **dict(own), "name": name}) for name, own in named.items()}
        if not 1 <= len(each) <= CITIES_MAX:
            raise InputError(f"{len(each)} cities: 1 to {CITIES_MAX} is allowed")
        terms = {"failure_max": failure_max, "faulty_share": faulty_share}
        for name, own in each.items():
            check_committee(name, own.nodes, own.validators, faulty_share, failure_max)
        place = WorldPlace.of(path, storage, clock, entropy)

        def founding(store: WorldStore) -> WorldFounding:
            there = store.founding()
            made = {name: asdict(own) for name, own in each.items()}
            for name, kept in {} if there is None else there.settings.items():
                if name in made and "engine" not in {**settings, **named[name]}:
                    made[name]["engine"] = kept["engine"]
            if there is None:
                there = WorldFounding(place.entropy.bytes(32), tuple(each), made, terms)
                store.found(there)
            elif (dict(there.settings), dict(there.terms)) != (made, terms):
                raise InputError(
                    f"the world that is there has {dict(there.settings)} and {dict(there.terms)}, not {made} and "
                    f"{terms}; open it with World.open"
                )
            return there

        return cls._opened(place, founding, create=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Opens the world in the folder `path`, and drives on what a crash had cut off (see `recovery`).

        A city whose file cannot be opened is down (see `health`); the others work.

        Raises:
            StorageError: There is no world, it is damaged or of a newer version, or another process has it open.

        Example:
            >>> World.open("/nowhere")  # doctest: +IGNORE_EXCEPTION_DETAIL
            Traceback (most recent call last):
            ...
            city_chain.errors.StorageError: ...
        """
        place = WorldPlace.of(path, None, None, None)

        def founding(store: WorldStore) -> WorldFounding:
            there = store.founding()
            if there is None:
                raise StorageError(f"{place.folder} holds no world; make one with World.local")
            return there

        return cls._opened(place, founding, create=False)

    @classmethod
    def _opened(cls, place: WorldPlace, founding: Callable[[WorldStore], WorldFounding], *, create: bool) -> Self:
        owner, storage = None, None
        try:
            owner, storage = place.own(create=create)
            return cls(storage, founding(WorldStore(storage)), place, owner)
        except BaseException:
            if storage is not None:
                storage.close()
            if owner is not None:
                owner.close()
            raise

    def _open_cities(self) -> None:
        """Opens every city; those of a world that is not laid out yet are made, and then all are joined."""
        fresh = self._store.layout() is None
        members = self._layouts.roll.members
        there = [member for member in members if self._cities.open(member, create=fresh, must=fresh)]
        if fresh:
            self._layouts.lay_out()
        for member in there:
            try:
                self._layouts.join(member, self._cities.running(member.name))
            except InputError as error:
                raise StorageError(f"city {member.name!r} is not the one that the world has: {error}") from error

    def close(self) -> None:
        """Closes all cities. Closing twice is allowed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._spreading.close()
            self._cities.close()
            self._storage.close()
            if self._owner is not None:
                self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<World chain={self.chain.hex()[:16]} cities={list(self.names)}>"

    # --- cities ------------------------------------------------------------------------------------------------------

    def stop(self, name: str) -> None:
        """Closes one of its cities, as if it were lost for a while; `start` brings it back.

        Raises:
            InputError: There is no such city.
        """
        self._check_open()
        self._cities.stop(self._member(name).name)

    def start(self, name: str) -> WorldRecovery:
        """Opens a city again that is down, and drives on what waited for it.

        Returns:
            What became of the transactions that are not ended.

        Raises:
            InputError: There is no such city.
            StorageError: It cannot be opened.
        """
        self._check_open()
        member = self._member(name)
        with self._lock:
            if self._cities.get(name) is None:
                self._cities.open(member, create=False, must=True)
                self._layouts.join(member, self._cities.running(name))
        return self.resume()

    def _in_order(self, deadline_s: float) -> Resharded | None:
        """Ends a change of cities or epochs that was cut off; what cannot be ended now is tried again later."""
        if not self._changing.acquire(blocking=False):
            return None  # whoever is at it ends it
        try:
            deadline = self._place.clock.monotonic() + deadline_s
            done = self._reshard(deadline, None) if self._layouts.roll.is_changing else None
            self._layouts.align(deadline)
            return done
        except CityChainError as error:
            _log.warning("the cities of the world are not all in one epoch: %s", error)
            return None
        finally:
            self._changing.release()

    def health(self) -> WorldHealth:
        """How its cities are, and which transactions are not ended.

        Example:
            >>> with World.local(["north", "south"], nodes=8, k=2, n=4) as world:
            ...     print(world.health())
            city   running  height  delegates  unsafe  keys  locked
            north  yes      0       4          never   0     0
            south  yes      0       4          never   0     0
            0 not ended
        """
        self._check_open()
        roll = self._layouts.roll
        names = ([member.name for member in some] for some in (roll.joining, roll.leaving, roll.left))
        behind = self._spreading.behind()
        states = [self._state_of(name, behind.get(name)) for name in self.names]
        return WorldHealth(states, self.pending(), *names, forks=self.forks())

    def _state_of(self, name: str, behind: int | None) -> CityState:
        city = self._cities.get(name)
        if city is None:
            return CityState(name, False, why=self._cities.why(name))
        delegates = len(city.epoch.validators.items)
        share = float(self._founding.terms["faulty_share"])
        shard = need_shard(city._city)
        chance = failure_log2(city.settings.nodes, delegates, share)
        return CityState(name, True, city.height, delegates, chance, shard.open(), keys=shard.keys(), behind=behind)

    # --- what cities know of each other ------------------------------------------------------------------------------

    def roots(self) -> dict[str, dict[str, Root]]:
        """What the cities know of each other: by name, the newest root of each other city that it has verified.

        A city that has just been started knows nothing, and soon all again. No send waits for that.

        Example:
            >>> import time
            >>> with World.local(["north", "south"], nodes=8, k=2, n=4) as world:
            ...     receipt = world.city("north").send(b"hello")
            ...     while not world.roots().get("south"):
            ...         time.sleep(0.01)
            ...     world.roots()["south"]["north"].height
            1
        """
        self._check_open()
        return self._spreading.roots()

    def forks(self) -> list[Fork]:
        """The forks that cities have found since it was opened: two roots of a city that exclude each other."""
        self._check_open()
        return self._spreading.forks()

    def elect(
        self, validators: int | None = None, *, moves_max: int | None = None, deadline_s: float = _DEADLINE_S
    ) -> int:
        """Elects new delegates in every city, and begins an epoch of the world in which they speak for their cities.

        Each city hands over as in `City.elect`; then every city rules that the new layout is in force. A transaction
        that is under way goes on in the new epoch. A crash in between is made good by the next opening.

        Args:
            validators: How many delegates each city has from now on; None: as many as before.
            moves_max: How many of a city's delegates may be new at most; None: any. With 0 and as many as
                before every city begins an epoch with the delegates that it has, and the world none: its epochs are
                about who speaks for the cities.
            deadline_s: How long to wait for each city, seconds.

        Returns:
            The number of the world's epoch; that of before if no city's delegates change.

        Raises:
            InputError: A city has not so many nodes, they are too few for `failure_max`, or `moves_max` is too small.
            UnavailableError: A city does not run, is at work, or too few of its delegates take part; or cities come
                or go.
            DeadlineError: The time was up.
        """
        self._check_open()
        check_deadline(deadline_s)
        with self._change():
            return self._elect(validators, moves_max, deadline_s)

    def _elect(self, validators: int | None, moves_max: int | None, deadline_s: float) -> int:
        cities = {name: self._running(name) for name in self.names}
        terms = self._founding.terms
        chosen = {}
        for name, city in cities.items():
            count = len(city.epoch.validators.items) if validators is None else validators
            check_committee(name, city.settings.nodes, count, float(terms["faulty_share"]), terms["failure_max"])
            chosen[name] = next_delegates(city, count, moves_max)
        for name, city in cities.items():
            city.elect(chosen[name], deadline_s=deadline_s)
            self._layouts.witness(city)
        return self._layouts.align(self._place.clock.monotonic() + deadline_s).epoch

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One change of the layout at a time.

        Raises:
            UnavailableError: Another one is under way.
        """
        if not self._changing.acquire(blocking=False):
            raise UnavailableError("the world is being laid out anew by somebody else", 1, 0)
        try:
            if self._layouts.roll.is_changing:
                some = ", ".join(m.name for m in self._layouts.roll.members if m.place in ("joins", "leaves"))
                raise UnavailableError(f"cities are on the way: {some}; World.resume ends that", 1, 0)
            yield
        finally:
            self._changing.release()

    # --- cities that come and go -------------------------------------------------------------------------------------

    def reshard(
        self,
        *,
        add: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
        remove: Iterable[str] = (),
        deadline_s: float = _RESHARD_S,
        on_progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> Resharded:
        """Takes cities into the world and out of it; the keys move with their versions and locks.

        Of n cities and one that comes it gets every n + 1st key, and no other key moves; of one that leaves every key
        moves, to all others alike. What each city gives is signed by its delegates and taken over once. Receipts stay
        valid. A city that has left stays open here as an archive of what it had committed (see `left`).

        Once it is written down it will be done: if it is cut off, `resume`, `start` or the next `open` goes on.

        Args:
            add: The names of the cities that come, or what each has of its own among the settings, by name. A name that
                any city of the world ever had is not given again.
            remove: The names of those that go. At most four come and go at once, and one stays.
            deadline_s: When to give up for now, seconds.
            on_progress: Called with how many rulings are done, and how many are known to be needed.
            **settings: What the cities that come have in common, see `City.local`; otherwise they are like the first
                city of the world.

        Returns:
            How many keys moved from where to where.

        Raises:
            InputError: A name is taken or unknown, too many come and go, a setting is out of range, or a city's
                delegates are too few for `failure_max`.
            UnavailableError: A city does not run, a transaction that is not ended has a key locked that would move, or
                another change is under way: nothing has changed. Or too few delegates answered on the way.
            DeadlineError: The time was up.
            StorageError: A city cannot be made: nothing has changed.

        Example:
            >>> with World.local(["north", "south"], nodes=4, validators=4, k=2, n=4) as world:
            ...     receipt = world.send(b"paid", [b"key %d" % at for at in range(30)])
            ...     report = world.reshard(add=["west"])
            ...     receipt.verify(world.trust)
            ...     world.names, report.keys, 0 < report.moved < 20
            (('north', 'south', 'west'), 30, True)
        """
        self._check_open()
        check_deadline(deadline_s)
        check_callback("on_progress", on_progress)
        named = add if isinstance(add, Mapping) else {name: {} for name in _names(add, "add")}
        leaving = _names(remove, "remove")
        deadline = self._place.clock.monotonic() + deadline_s
        with self._change():
            for name in leaving:
                self._check_name(name)
            settings_of = wanted(self._layouts.roll, self._founding.terms, named, leaving, settings)
            for name in self.names:
                self._cities.running(name)
            Coming(self._founding, self._layouts, self._crossings, self._store, self._cities, self._steps).write_down(
                settings_of, leaving, deadline
            )
            return self._reshard(deadline, on_progress)

    def _reshard(self, deadline: float, on_progress: Callable[[int, int], None] | None) -> Resharded:
        """Goes on with a change of cities that is written down."""
        return Reshard(self._layouts, self._crossings, self._store, self._steps, on_progress).finish(deadline)

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def chain(self) -> bytes:
        """The world's id, 32 bytes."""
        return self._founding.chain

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its cities, without those that have left."""
        return tuple(member.name for member in self._layouts.roll.seated)

    @property
    def left(self) -> tuple[str, ...]:
        """The names of the cities that have left it, and are open here as archives."""
        return tuple(member.name for member in self._layouts.roll.left)

    def city(self, name: str) -> City:
        """One of its cities, to send and receive within it. Do not close it: see `stop`.

        Raises:
            InputError: There is no such city.
            UnavailableError: It does not run.
        """
        self._check_open()
        if self._member(name).place == "joins":
            raise UnavailableError(f"city {name!r} is on its way into the world; World.resume goes on with that", 1, 0)
        return self._cities.running(name)

    @property
    def trust(self) -> WorldTrust:
        """What a verifier must know beforehand to check receipts of this world.

        Raises:
            UnavailableError: A city does not run.
        """
        self._check_open()
        return self._layouts.trust()

    @property
    def recovery(self) -> WorldRecovery:
        """What opening found unfinished, and what became of it."""
        return self._recovery

    def _running(self, name: str) -> City:
        return self._cities.running(self._member(name).name)

    def _member(self, name: object) -> Member:
        """A city that is in the world, comes to it, or was in it."""
        if not isinstance(name, str):
            raise TypeError(f"a city's name must be str, not {type(name).__name__}")
        member = self._layouts.roll.named(name)
        if member is None:
            raise InputError(f"there is no city {shown(name)} here; there are {', '.join(self.names)}")
        return member

    def _check_name(self, name: object) -> None:
        """A city that is in the world now."""
        if self._member(name).place == "out":
            raise InputError(
                f"city {shown(name)} has left the world; its keys are in the others: {', '.join(self.names)}"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the world is closed; open it again")

    # --- keys --------------------------------------------------------------------------------------------------------

    def city_of(self, key: bytes, *, city: str | None = None) -> str:
        """The name of the city that has a key now.

        Args:
            key: The key, 1 to 64 bytes.
            city: The city for which the key was named (see `send`); None: for none.
        """
        self._check_open()
        return self._layouts.city_of(self._digest(key, city))

    def version(self, key: bytes, *, city: str | None = None) -> int:
        """The version of a key: it rises whenever a transaction that touches the key ends, be it done or aborted.

        Args:
            key: The key, 1 to 64 bytes.
            city: The city for which the key was named (see `send`); None: for none.

        Raises:
            UnavailableError: The city that has it does not run, or the key is on its way to another one.
        """
        self._check_open()
        return self._layouts.version(self._digest(key, city))

    def locked_by(self, key: bytes, *, city: str | None = None) -> bytes | None:
        """The transaction that has a key locked, by the id of its manifest; None if none has."""
        self._check_open()
        digest = self._digest(key, city)
        return self._layouts.shard(self._layouts.city_of(digest)).holder(digest)

    def _digest(self, key: bytes, city: str | None) -> bytes:
        if city is not None:
            self._member(city)
        return self._layouts.digest(key, city)

    def _digests(self, touches: Touches) -> list[bytes]:
        if isinstance(touches, Mapping):
            return [self._digest(key, name) for name, keys in touches.items() for key in keys]
        return [self._digest(key, None) for key in touches]

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(
        self,
        payload: Buffer,
        touches: Touches,
        *,
        writes: Touches = (),
        home: str | None = None,
        expires_s: float = _EXPIRES_S,
        seal: str | Iterable[bytes] | None = None,
        deadline_s: float = _DEADLINE_S,
    ) -> CrossReceipt:
        """Disperses and commits a transaction in its home city, and has every city that it touches do it, or none.

        Args:
            payload: Any bytes, at most 64 MiB.
            touches: Keys that it reads and writes: by the name of a city that is to have them, or just keys, whose
                cities follow from them. It is aborted where one has changed meanwhile. At most 64.
            writes: Keys that it writes whatever is there, likewise. No more than 64 of both together.
            home: Where it is dispersed; None: in the first of the cities that it touches.
            expires_s: When it is aborted if not every city is prepared, seconds from now, at most a day.
            seal: To whom the payload is sealed, see `City.send`.
            deadline_s: When to give up for now, seconds.

        Returns:
            The receipt of the home city and the word of every city that it touches; it proves everything offline.

        Raises:
            AbortedError: It is done in no city: `city` and `why` say who refused it.
            InputError: It touches nothing, too much, or a key twice.
            UnavailableError: A city does not run, or too few of its nodes or delegates answer. If the transaction has
                begun, it is `pending`, and `resume` ends it.
            DeadlineError: The time was up; likewise.
        """
        self._check_open()
        check_deadline(deadline_s)
        if not isinstance(expires_s, int | float) or isinstance(expires_s, bool):
            raise TypeError(f"expires_s must be a number of seconds, not {type(expires_s).__name__}")
        if not 0 < expires_s <= EXPIRES_MAX_MS / 1000:
            raise InputError(
                f"expires_s = {shown(expires_s)}: above 0, and at most {EXPIRES_MAX_MS // 1000}, is needed"
            )
        deadline = self._place.clock.monotonic() + deadline_s
        inputs, outputs = self._digests(touches), self._digests(writes)
        if not inputs and not outputs:
            raise InputError("a transaction of several cities touches one key at least")
        for what, digests in (("touches", inputs), ("writes", outputs)):
            if len(set(digests)) < len(digests):
                raise InputError(f"{what} names a key twice; name each key once")
        where = home or self._layouts.city_of((inputs or outputs)[0])
        self._check_name(where)
        city, touched = self._cities.running(where), sorted({*inputs, *outputs})

        def make(terms: bytes) -> records.Transaction:
            return city.transaction(payload, touched=touched, terms=terms, seal=seal)

        begun = self._crossings.begin(make, where, inputs, outputs, expires_s, deadline)
        return self._crossings.drive(begun, deadline)

    def receive(self, receipt: CrossReceipt, *, deadline_s: float = _DEADLINE_S) -> bytes:
        """Restores the payload of a transaction from its home city (see `City.receive`)."""
        return self.city(receipt.home).receive(receipt.tx_id, deadline_s=deadline_s)

    def receipt(self, tx_id: bytes) -> CrossReceipt:
        """The receipt of a transaction of several cities that is committed.

        Raises:
            AbortedError: It is aborted.
            UnavailableError: It is not ended.
            InputError: No such transaction was begun here.
            StorageError: What is kept of it is damaged.
        """
        self._check_open()
        receipt = self._store.receipt(checked_id(tx_id))
        if receipt is not None:
            return receipt
        failure = self._store.failure(tx_id)
        if failure is not None:
            raise AbortedError(tx_id, *failure)
        if tx_id in self.pending():
            raise UnavailableError(f"transaction {tx_id.hex()} is not ended; World.resume goes on with it", 1, 0)
        raise InputError(f"no transaction {tx_id.hex()} of several cities was begun here")

    def pending(self) -> list[bytes]:
        """The ids of transactions that are not ended in every city, ascending."""
        self._check_open()
        return sorted([*(begun.tx_id for begun in self._store.begun()), *self._store.damaged()])

    def resume(self, *, deadline_s: float = _DEADLINE_S) -> WorldRecovery:
        """Drives on what is not ended, cities that come or go among it: after a crash, or when a city is back.

        Args:
            deadline_s: When to give up each of them for now, seconds.
        """
        self._check_open()
        check_deadline(deadline_s)
        return self._resumed(deadline_s, math.inf)

    def _resumed(self, deadline_s: float, until: float) -> WorldRecovery:
        """Drives on what is not ended; what is wrong with one transaction leaves the others as they are.

        Args:
            deadline_s: When to give up each of them for now, seconds.
            until: When to give up all of them for now, on the monotonic clock.
        """
        resharded = self._in_order(deadline_s)
        committed: list[bytes] = []
        aborted: dict[bytes, CityChainError] = {}
        pending: dict[bytes, CityChainError] = dict(self._store.damaged())
        for begun in list(self._store.begun()):
            deadline = min(until, self._place.clock.monotonic() + deadline_s)
            try:
                self._crossings.drive(begun, deadline, patient=False)
                committed.append(begun.tx_id)
            except AbortedError as error:
                aborted[begun.tx_id] = error
            except CityChainError as error:
                pending[begun.tx_id] = error
        return WorldRecovery(committed, aborted, pending, resharded)

    def watch(self, on_step: Callable[[Step], None] | None) -> None:
        """Calls `on_step` before every step of a transaction or a change of cities from now on; None ends it.

        What it raises comes out of `send`, and leaves the transaction as it is: `resume` goes on with it.
        """
        check_callback("on_step", on_step)
        self._steps.on_step = on_step


def _names(cities: Iterable[str], what: str = "cities") -> list[str]:
    """The names of cities, each once."""
    if isinstance(cities, str):
        raise TypeError(f"{what} must be several names, not one str")
    names = list(cities)
    if len(set(names)) < len(names):
        raise InputError("a city is named twice")
    return names
