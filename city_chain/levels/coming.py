"""How a change of a world's cities begins: what can be asked, the cities that come, and the layout that will follow.

Nothing is certain until it is written down; before that a failure leaves the world as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from city_chain.algorithms import sc
from city_chain.errors import InputError, UnavailableError
from city_chain.levels.committees import check_committee
from city_chain.levels.crossing import Crossings
from city_chain.levels.layouts import Layouts
from city_chain.levels.settings import Settings
from city_chain.levels.steps import Steps
from city_chain.levels.world_cities import Cities
from city_chain.levels.world_roll import Member, Roll
from city_chain.levels.world_store import WorldFounding, WorldStore

__all__ = ["CITIES_MAX", "Coming", "layout_with", "wanted"]

CITIES_MAX = 64
"""The most cities of a world."""

_CHANGES_MAX = 4
_PAUSE_S = 0.02


def wanted(
    roll: Roll,
    terms: Mapping[str, Any],
    named: Mapping[str, Mapping[str, Any]],
    leaving: Sequence[str],
    common: Mapping[str, Any],
) -> list[Settings]:
    """The settings of the cities that come, when all that is asked can be.

    Args:
        roll: The cities that there are and were.
        terms: What the world was made with.
        named: What each city that comes has of its own, by name.
        leaving: The names of cities that go, all of them there.
        common: What those that come have in common; the rest is as with the first city of the world.

    Raises:
        InputError: A name is taken, too many come and go, a setting is out of range, or delegates are too few.

    Example:
        >>> roll = Roll.founded(["a"], {"a": asdict(Settings(name="a"))})
        >>> [made.nodes for made in wanted(roll, {"faulty_share": 0.2, "failure_max": None}, {"b": {}}, [], {})]
        [20]
    """
    like = roll.seated[0].settings
    made = [Settings(**{**like, **common, **dict(own), "name": name}) for name, own in named.items()]
    taken = next((each.name for each in made if roll.named(each.name) is not None), None)
    if taken is not None:
        raise InputError(f"there is or was a city {taken!r} in the world; take another name")
    if not made and not leaving:
        raise InputError("no city comes or goes; name one to add or to remove")
    if len(made) + len(leaving) > _CHANGES_MAX:
        raise InputError(f"{len(made) + len(leaving)} cities come and go; {_CHANGES_MAX} may at once")
    if len(roll.seated) + len(made) - len(leaving) > CITIES_MAX or len(leaving) >= len(roll.seated):
        raise InputError(f"a world has at most {CITIES_MAX} cities, and one that is there must stay")
    for each in made:
        check_committee(each.name, each.nodes, each.validators, float(terms["faulty_share"]), terms["failure_max"])
    return made


def layout_with(base: sc.Layout, joining: Mapping[int, Sequence[tuple[bytes, int]]], leaving: set[int]) -> sc.Layout:
    """The layout after `base`, with some shards more and some fewer.

    Args:
        base: The layout that is in force.
        joining: The committees of the shards that come, by number.
        leaving: The numbers of those that go.

    Raises:
        InputError: More than four come and go, or none stays.

    Example:
        >>> base = sc.Layout(bytes(32), 0, [(0, [(b"a" * 32, 1)]), (1, [(b"b" * 32, 1)])])
        >>> layout_with(base, {2: [(b"c" * 32, 1)]}, {0}).shards
        [1, 2]
    """
    staying = [(number, base.members(number)) for number in base.shards if number not in leaving]
    return base.next([*staying, *joining.items()])


class Coming:
    """Makes cities that come to a world, and writes down who comes and who goes.

    Args:
        founding: What the world was made with.
        layouts: Has its cities.
        crossings: Ends what has keys locked.
        store: Where it is written down.
        cities: Opens cities.
        steps: Hears of steps.
    """

    def __init__(
        self,
        founding: WorldFounding,
        layouts: Layouts,
        crossings: Crossings,
        store: WorldStore,
        cities: Cities,
        steps: Steps,
    ) -> None:
        self._founding, self._layouts, self._crossings = founding, layouts, crossings
        self._store, self._cities, self._steps = store, cities, steps

    def write_down(self, made: Sequence[Settings], leaving: Sequence[str], deadline: float) -> None:
        """Makes the cities that come, and writes down what will be done from now on.

        Args:
            made: The settings of those that come.
            leaving: The names of those that go.
            deadline: When to give up, on the monotonic clock.

        Raises:
            UnavailableError: A transaction that is not ended has a key locked that would move; nothing has changed.
            StorageError: A city cannot be made; likewise.
        """
        layouts = self._layouts
        base = layouts.align(deadline)
        first = layouts.roll.following
        layouts.roll = layouts.roll.numbering(len(made))
        self._store.found(self._founding, layouts.roll)  # a number is never given twice, whatever becomes of this
        coming = [Member(each.name, first + at, asdict(each), "joins", base.epoch + 1) for at, each in enumerate(made)]
        gone = {member.number for member in layouts.roll.members if member.name in leaving}
        try:
            for member in coming:
                self._steps.take(layouts.chain, "found", member.name)
                self._cities.open(member, create=True, must=True)
            opened = {member.number: self._cities.running(member.name) for member in coming}
            joining = {number: city.epoch.validators.items for number, city in opened.items()}
            following = layout_with(base, joining, gone)
            self._settle(following, deadline)
            roll = layouts.roll.changing(coming, leaving)
            self._steps.take(layouts.chain, "change")
            self._store.change(roll, following.to_bytes())
        except BaseException:
            for member in coming:
                self._cities.forget(member.name)
            raise
        layouts.roll, layouts.following = roll, following
        for member in coming:
            layouts.join(member, opened[member.number])

    def _settle(self, following: sc.Layout, deadline: float) -> None:
        """Ends the crossings that have a key locked which will move; those that begin meanwhile move with their locks.

        Raises:
            UnavailableError: One of them cannot be ended now.
        """
        held = {manifest.txid: name for name, manifest in self._held(following)}
        pause = threading.Event()
        while held:
            for begun in list(self._store.begun()):
                if sc.Manifest.from_bytes(begun.manifest).txid in held:
                    self._crossings.end(begun, deadline)
            there = {manifest.txid for _, manifest in self._held(following)}
            held = {txid: name for txid, name in held.items() if txid in there}
            if held and self._crossings.is_up(deadline):
                txid, name = next(iter(held.items()))
                why = f"crossing {txid.hex()[:16]} has keys of city {name!r} locked that would move; end it, or wait"
                raise UnavailableError(why, 1, 0)
            if held:
                pause.wait(_PAUSE_S)

    def _held(self, following: sc.Layout) -> Iterator[tuple[str, sc.Manifest]]:
        """The transactions that have a key locked which will move, with the city that has it."""
        for member in self._layouts.roll.seated:
            for manifest in self._layouts.shard(member.name).opened():
                entries = [(shard, key) for shard, key, _ in manifest.inputs] + list(manifest.outputs)
                if any(shard == member.number != following.shard_of(key) for shard, key in entries):
                    yield member.name, manifest
