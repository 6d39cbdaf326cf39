"""Cities that come to a world and leave it: the keys move with their versions and locks, each certified, each once.

============  ========================================================================================================
step          what is done
============  ========================================================================================================
``found``     a city that comes is made
``change``    who comes and goes, and the layout that is to follow, are written down: from now on it will be done
``boundary``  a city begins the epoch of that layout: what it gives leaves, and its delegates sign what they hand over
``part``      a city takes a part over, which its giver's delegates have signed; its own delegates sign that it has
``given``     the giver is shown that, and keeps the part no longer
``changed``   nothing is on its way any more, and that is written down
============  ========================================================================================================

The cities' ledgers are the journal: each step is a ruling that can be asked for again with the same result, so whoever
opens the world after a crash goes on from wherever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from city_chain.algorithms import sc
from city_chain.errors import ProtocolError
from city_chain.levels.crossing import Crossings
from city_chain.levels.layouts import Layouts
from city_chain.levels.reports import html_table, table
from city_chain.levels.rulings import certify, rule
from city_chain.levels.steps import Steps
from city_chain.levels.world_roll import Member
from city_chain.levels.world_store import WorldStore

__all__ = ["Reshard", "Resharded"]

_APPLICATION = bytes(32)


@dataclass(frozen=True, slots=True)
class Resharded:
    """What became of a world's keys when cities came and left. Shows itself as a table.

    Args:
        epoch: The epoch that began.
        came: The cities that came.
        left: The cities that left.
        keys: How many keys there are whose versions are kept apart, in all cities.
        moves: How many of them went from one city to another, by (from, to). What had been taken over before a crash is
            not counted again.

    Example:
        >>> report = Resharded(1, ["west"], [], 90, {("north", "west"): 20, ("south", "west"): 10})
        >>> report.moved, round(report.share, 3)
        (30, 0.333)
    """

    epoch: int
    came: Sequence[str] = ()
    left: Sequence[str] = ()
    keys: int = 0
    moves: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def moved(self) -> int:
        """How many keys moved."""
        return sum(self.moves.values())

    @property
    def share(self) -> float:
        """Which share of all keys moved, 0 to 1; 0 if there are none."""
        return self.moved / self.keys if self.keys else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each pair of cities, for a data frame."""
        return [{"from": giver, "to": taker, "keys": keys} for (giver, taker), keys in self.moves.items()]

    def _cells(self) -> tuple[list[str], list[list[object]]]:
        return ["from", "to", "keys"], [[giver, taker, keys] for (giver, taker), keys in self.moves.items()]

    def table(self) -> str:
        """Who gave how many keys to whom, and the sum."""
        return f"{table(*self._cells())}\n{self._sum()}"

    def _sum(self) -> str:
        return f"{self.moved} of {self.keys} keys moved ({100 * self.share:.1f} %); epoch {self.epoch}"

    __str__ = table

    def _repr_html_(self) -> str:
        return f"{html_table(*self._cells())}<p>{self._sum()}</p>"


class Reshard:
    """Brings a change of cities that is written down to its end, from wherever it is.

    Args:
        layouts: Has the cities, and the layout that is to follow.
        crossings: Gets cities to rule.
        store: Where it is written down.
        steps: Hears of steps.
        on_progress: Called with how many of the rulings that are known to be needed are done, and how many they are.
    """

    def __init__(
        self,
        layouts: Layouts,
        crossings: Crossings,
        store: WorldStore,
        steps: Steps,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if layouts.following is None:
            raise ProtocolError("no city comes or goes")
        self._layouts, self._crossings, self._store, self._steps = layouts, crossings, store, steps
        self._following = layouts.following
        self._boundary = sc.Command.boundary(self._following, _APPLICATION)
        self._on_progress = on_progress
        self._done = self._of = 0
        self._moves: dict[tuple[str, str], int] = {}

    def finish(self, deadline: float) -> Resharded:
        """Has every city begin the epoch, carries the parts, and writes down that it is done.

        Raises:
            UnavailableError: A city does not run, or too few of its delegates answer; it can be gone on with.
            DeadlineError: The time was up; likewise.
        """
        roll = self._layouts.roll
        givers, joining = roll.seated, roll.joining
        for member in [*givers, *joining]:
            self._layouts.witness(self._layouts.at(member.number))
        self._of = len(givers)
        for member in givers:
            self._begin(member, deadline)
        leaving = [(member, part) for member in givers for part in self._layouts.shard(member.name).leaving()]
        self._of += len(leaving)
        handovers: dict[int, sc.Handover] = {}
        for member, part in leaving:
            if member.number not in handovers:
                handovers[member.number] = self._handover(member, deadline)
            self._carry(member, part, handovers[member.number], deadline)
        return self._end()

    def _begin(self, member: Member, deadline: float) -> None:
        """A city begins the epoch, if it has not yet."""
        if self._layouts.shard(member.name).layouts[-1].epoch < self._following.epoch:
            self._steps.take(self._layouts.chain, "boundary", member.name)
            rule(self._layouts.at(member.number), self._boundary.to_bytes(), deadline)
        self._progress()

    def _handover(self, member: Member, deadline: float) -> sc.Handover:
        """What a city's delegates of the epoch before sign at its boundary."""
        city = self._layouts.at(member.number)
        ruling = rule(city, self._boundary.to_bytes(), deadline)
        if ruling is None:
            raise ProtocolError(f"city {member.name!r} has no boundary to that layout")
        return sc.Handover.from_bytes(certify(city, ruling, deadline))

    def _carry(self, giver: Member, part: sc.Part, handover: sc.Handover, deadline: float) -> None:
        """Brings a part to where it belongs, and the word that it is there back."""
        taker = self._layouts.name_of(part.taker)
        self._steps.take(self._layouts.chain, "part", taker)
        word = self._crossings.word(part.taker, sc.Command.take_part(part, handover), deadline)
        if word is None:
            raise ProtocolError(f"city {taker!r} says nothing to a part of {giver.name!r}")
        self._steps.take(self._layouts.chain, "given", giver.name)
        rule(self._layouts.at(giver.number), sc.Command.delivered(word).to_bytes(), deadline)
        if part.keys:
            self._moves[giver.name, taker] = self._moves.get((giver.name, taker), 0) + part.keys
        self._progress()

    def _end(self) -> Resharded:
        roll = self._layouts.roll
        self._layouts.all()  # keeps the layout for good
        trust = {member.number: self._layouts.at(member.number).trust.to_bytes() for member in roll.leaving}
        self._steps.take(self._layouts.chain, "changed")
        after = roll.changed()
        self._store.changed(after, trust)
        self._layouts.roll, self._layouts.following = after, None
        came, left = ([member.name for member in some] for some in (roll.joining, roll.leaving))
        keys = sum(self._layouts.shard(member.name).keys() for member in after.seated)
        return Resharded(self._following.epoch, came, left, keys, self._moves)

    def _progress(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._of)
