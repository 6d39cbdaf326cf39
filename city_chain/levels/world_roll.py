"""The cities of a world: which number each has as a shard, who is in it, who is on the way, and who has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from city_chain.errors import StorageError

__all__ = ["Member", "Roll"]

_PLACES = ("in", "joins", "leaves", "out")
_NUMBERS_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Member:
    """A city that is, was or will be in a world.

    Args:
        name: Its name. No other city of the world ever has it.
        number: Its number as a shard, which no other one ever has either.
        settings: Its settings.
        place: ``"in"``, ``"joins"`` or ``"leaves"`` while the world is laid out anew, ``"out"``.
        since: The epoch of the first layout that has it.
    """

    name: str
    number: int
    settings: Mapping[str, Any]
    place: str = "in"
    since: int = 0


@dataclass(frozen=True, slots=True)
class Roll:
    """All cities that a world ever had.

    Args:
        members: Ascending by number.
        following: The number that the next city gets.

    Example:
        >>> roll = Roll.founded(["north", "south"], {"north": {}, "south": {}})
        >>> later = roll.changing([Member("west", 2, {}, "joins", 1)], ["south"]).changed()
        >>> [(member.name, member.place) for member in later.members]
        [('north', 'in'), ('south', 'out'), ('west', 'in')]
    """

    members: tuple[Member, ...]
    following: int

    @classmethod
    def founded(cls, names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> Roll:
        """Those that a world is made with."""
        return cls(tuple(Member(name, at, settings[name]) for at, name in enumerate(names)), len(names))

    # --- who is where ------------------------------------------------------------------------------------------------

    def named(self, name: str) -> Member | None:
        """The city with a name."""
        return next((member for member in self.members if member.name == name), None)

    def numbered(self, number: int) -> Member | None:
        """The city with a number."""
        return next((member for member in self.members if member.number == number), None)

    @property
    def seated(self) -> list[Member]:
        """Those that are in the world, and not only on the way."""
        return [member for member in self.members if member.place in ("in", "leaves")]

    @property
    def joining(self) -> list[Member]:
        """Those on the way into it."""
        return [member for member in self.members if member.place == "joins"]

    @property
    def leaving(self) -> list[Member]:
        """Those on the way out of it."""
        return [member for member in self.members if member.place == "leaves"]

    @property
    def left(self) -> list[Member]:
        """Those that were in it once."""
        return [member for member in self.members if member.place == "out"]

    @property
    def is_changing(self) -> bool:
        """Whether somebody is on the way."""
        return bool(self.joining or self.leaving)

    # --- changes -----------------------------------------------------------------------------------------------------

    def numbering(self, count: int) -> Roll:
        """The same, with so many numbers given away.

        Raises:
            StorageError: There are no more.
        """
        if self.following + count > _NUMBERS_MAX:
            raise StorageError(f"the world had {self.following} cities; {_NUMBERS_MAX} is the most it can ever have")
        return replace(self, following=self.following + count)

    def changing(self, joining: Sequence[Member], leaving: Sequence[str]) -> Roll:
        """The same, with some cities on the way."""
        kept = [replace(member, place="leaves") if member.name in leaving else member for member in self.members]
        following = max([self.following, *(member.number + 1 for member in joining)])
        return Roll((*kept, *joining), following)

    def changed(self) -> Roll:
        """The same, with everybody arrived."""
        ends = {"joins": "in", "leaves": "out"}
        there = (replace(member, place=ends.get(member.place, member.place)) for member in self.members)
        return replace(self, members=tuple(there))

    # --- as it is kept -----------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return orjson.dumps({"following": self.following, "members": [asdict(member) for member in self.members]})

    @classmethod
    def from_bytes(cls, row: bytes) -> Roll:
        """Reads what `to_bytes` gave.

        Raises:
            StorageError: It is something else, or does not hold together.
        """
        try:
            kept = orjson.loads(row)
            members = tuple(_member(item) for item in kept["members"])
            following = kept["following"]
            numbers = [member.number for member in members]
            whole = numbers == sorted(set(numbers)) and len({member.name for member in members}) == len(members)
            if not whole or not isinstance(following, int) or not 0 <= max(numbers) < following <= _NUMBERS_MAX:
                raise ValueError("numbers or names stand twice")
            return cls(members, following)
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"the list of the world's cities is damaged: {error}") from error


def _member(kept: Any) -> Member:
    member = Member(**kept)
    if member.place not in _PLACES or not isinstance(member.name, str) or not isinstance(member.settings, dict):
        raise ValueError(f"{member.name!r} is {member.place!r}")
    if not isinstance(member.number, int) or not isinstance(member.since, int) or min(member.number, member.since) < 0:
        raise ValueError(f"{member.name!r} has the number {member.number!r} since {member.since!r}")
    return member
