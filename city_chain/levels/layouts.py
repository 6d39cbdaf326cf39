"""The layouts of a world: which city speaks in which epoch by which delegates, and which city has a key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.levels.city import City
from city_chain.levels.cross_receipt import WorldTrust
from city_chain.levels.rulings import need_shard, rule
from city_chain.levels.steps import Steps
from city_chain.levels.world_roll import Member, Roll
from city_chain.levels.world_store import WorldStore
from city_chain.node.sharding import Membership, Shard, key_digest

__all__ = ["Layouts"]

_KEY_BYTES_MAX = 64
_UNDERSTOOD = 16


class Layouts:
    """The layouts of one world, as its cities know them.

    Args:
        chain: The world's id.
        roll: Its cities.
        store: Where layouts are kept for good.
        running: Gives a city that runs.
        steps: Hears of steps.

    Raises:
        StorageError: A layout that is kept is damaged.
    """

    def __init__(
        self, chain: bytes, roll: Roll, store: WorldStore, running: Callable[[str], City], steps: Steps
    ) -> None:
        self.chain = chain
        self.roll = roll
        self._store = store
        self._running = running
        self._steps = steps
        self._lock = threading.Lock()
        try:
            self._known = {epoch: sc.Layout.from_bytes(layout) for epoch, layout in store.kept().items()}
            first, following = store.layout(), store.following()
            if first is not None:
                self._known[0] = sc.Layout.from_bytes(first)
            self.following = None if following is None else sc.Layout.from_bytes(following)
        except InputError as error:
            raise StorageError(f"the world is damaged: a layout cannot be read: {error}") from error

    # --- cities ------------------------------------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Makes the layout that the world begins with: every city with its delegates."""
        committees = [(member.number, self.at(member.number).epoch.validators.items) for member in self.roll.members]
        first = sc.Layout(self.chain, 0, committees)
        self._store.lay_out(first.to_bytes())
        self._known[0] = first

    def join(self, member: Member, city: City) -> None:
        """Makes a city a member of the world, or sees that it is one."""
        first, before = self._naming(member), self._known.get(member.since - 1)
        previous = b"" if before is None else before.to_bytes()
        city._city.join(Membership(self.chain, member.number, first.to_bytes(), previous))
        self.witness(city)

    def witness(self, city: City) -> None:
        """Lets a city look up the others' delegates; again after its insides have changed."""
        shard = need_shard(city._city)
        shard.witness, shard.changing = self.delegates, lambda: self.following

    def delegates(self, number: int) -> list[list[tuple[bytes, int]]] | None:
        """The delegates of a city as its own certified handovers have them, epoch by epoch; None if it does not run."""
        try:
            return [epoch.validators.items for epoch in self.at(number)._city.ledger.epochs]
        except UnavailableError:
            return None

    def at(self, number: int) -> City:
        """The city with a number.

        Raises:
            UnavailableError: It does not run.
        """
        return self._running(self.name_of(number))

    def shard(self, name: str) -> Shard:
        """A city as a shard.

        Raises:
            UnavailableError: It does not run.
        """
        return need_shard(self._running(name)._city)

    def name_of(self, number: int) -> str:
        """The name of the city with a number."""
        member = self.roll.numbered(number)
        if member is None:
            raise UnavailableError(f"the world knows no city with the number {number}", 1, 0)
        return member.name

    # --- layouts -----------------------------------------------------------------------------------------------------

    @property
    def first(self) -> sc.Layout:
        """The layout that the world began with."""
        return self._known[0]

    def layout(self) -> sc.Layout:
        """The newest layout that a running city knows."""
        return self.all()[-1]

    def understood(self) -> list[sc.Layout]:
        """The newest layouts, ascending by epoch: those of all certificates that a city may still act upon."""
        return self.all()[-_UNDERSTOOD:]

    def all(self) -> list[sc.Layout]:
        """The layouts that were ever in force, ascending by epoch; what is new is kept for good."""
        fresh: dict[int, sc.Layout] = {}
        for member in self.roll.members:
            if member.place == "joins":
                continue  # it knows a layout that nobody has begun yet
            with suppress(UnavailableError, InputError):  # it does not run, or has not joined yet
                there = self.shard(member.name).layouts
                fresh.update((layout.epoch, layout) for layout in there if layout.epoch not in self._known)
        with self._lock:
            fresh = {epoch: layout for epoch, layout in fresh.items() if epoch not in self._known}
            if fresh:
                self._store.keep({epoch: layout.to_bytes() for epoch, layout in fresh.items()})
                self._known.update(fresh)
            return [self._known[epoch] for epoch in sorted(self._known)]

    def align(self, deadline: float) -> sc.Layout:
        """Brings every running city to one layout, which has the delegates that are in office.

        Raises:
            UnavailableError: Too few delegates voted.
            DeadlineError: The time was up.
        """
        known = self.all()
        newest = known[-1]
        self._cross(known, deadline)
        seated = [(at, (self.delegates(at) or [newest.members(at)])[-1]) for at in newest.shards]
        if any(members != newest.members(at) for at, members in seated):
            newest = newest.next(seated)
            self._cross([newest], deadline)
            self.all()
        return newest

    def _cross(self, layouts: Iterable[sc.Layout], deadline: float) -> None:
        """Has every running city that is behind begin the epochs of layouts, one after the other."""
        for member in self.roll.seated:
            with suppress(UnavailableError):
                city = self._running(member.name)
                self.witness(city)
                for layout in layouts:
                    if self.shard(member.name).layouts[-1].epoch + 1 == layout.epoch:
                        self._steps.take(self.chain, "epoch", member.name)
                        rule(city, sc.Command.boundary(layout, bytes(32)).to_bytes(), deadline)

    # --- keys --------------------------------------------------------------------------------------------------------

    def digest(self, key: bytes, name: str | None) -> bytes:
        """What a key is called between cities, for good: by the first layout that has the city that it is named for.

        Raises:
            InputError: It is empty or too long, or there never was such a city.
        """
        if not isinstance(key, bytes):
            raise TypeError(f"a key must be bytes, not {type(key).__name__}")
        if not 0 < len(key) <= _KEY_BYTES_MAX:
            raise InputError(f"a key of {len(key)} bytes: 1 to {_KEY_BYTES_MAX} are allowed")
        if name is None:
            return key_digest(key, self.first)
        member = self.roll.named(name)
        if member is None:
            raise InputError(f"there never was a city {name!r} here")
        return key_digest(key, self._naming(member), member.number)

    def _naming(self, member: Member) -> sc.Layout:
        """The first layout that has a city."""
        known = self._known.get(member.since)
        if known is None:
            known = self.following
        if known is None or known.epoch != member.since:
            raise InputError(f"city {member.name!r} is in no layout yet")
        return known

    def city_of(self, digest: bytes) -> str:
        """The name of the city that has a key now."""
        return self.name_of(self.layout().shard_of(digest))

    def version(self, digest: bytes, layout: sc.Layout | None = None) -> int:
        """The version of a key, as the city says that has it.

        Raises:
            UnavailableError: The city does not run, or the key is on its way to it.
        """
        newest = layout or self.layout()
        name = self.name_of(newest.shard_of(digest))
        if self.is_on_its_way(digest, newest):
            raise UnavailableError(f"key {digest.hex()[:16]} is on its way to city {name!r}", 1, 0)
        return self.shard(name).version(digest)

    def is_on_its_way(self, digest: bytes, layout: sc.Layout) -> bool:
        """Whether a key has not arrived yet in the city that has it by a layout.

        Raises:
            UnavailableError: The city does not run.
        """
        there = self.shard(self.name_of(layout.shard_of(digest)))
        return there.layouts[-1].since < layout.since or not there.has_arrived(digest)

    def has_settled(self, numbers: Iterable[int], layout: sc.Layout) -> bool:
        """Whether some cities have begun the epoch of a layout and got all that others gave them.

        Those that do not run are passed over: whoever asks them will find out.
        """
        for number in numbers:
            with suppress(UnavailableError):
                there = self.shard(self.name_of(number))
                if there.layouts[-1].since < layout.since or there.awaited():
                    return False
        return True

    # --- trust -------------------------------------------------------------------------------------------------------

    def trust(self) -> WorldTrust:
        """What a verifier must know beforehand.

        Raises:
            UnavailableError: A city of the world does not run.
        """
        layouts = [layout.to_bytes() for layout in self.all()]
        members = [member for member in self.roll.members if member.since in self._known]
        homes = {member.name: self._trust_in(member) for member in members}
        return WorldTrust(self.chain, tuple(homes), layouts, homes)

    def _trust_in(self, member: Member) -> records.Trust:
        kept = self._store.trust(member.number) if member.place == "out" else None
        try:
            return self._running(member.name).trust
        except UnavailableError:
            if kept is None:
                raise
            try:
                return records.Trust.from_bytes(kept)
            except InputError as error:
                raise StorageError(f"the world is damaged: the trust in {member.name!r}: {error}") from error
