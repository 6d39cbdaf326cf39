"""What a world tells about itself: how its cities are, what opening found unfinished. Each shows itself as a table."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from city_chain.errors import CityChainError
from city_chain.levels.reports import html_table, table
from city_chain.levels.resharding import Resharded
from city_chain.levels.roots import Fork

__all__ = ["CityState", "WorldHealth", "WorldRecovery"]


@dataclass(frozen=True, slots=True)
class CityState:
    """How one city of a world is.

    Args:
        name: Its name.
        running: Whether it is open here.
        height: How many batches it has committed; 0 if it does not run.
        delegates: How many delegates it has.
        failure_log2: log2 of the chance that more than a third of its delegates are faulty, of the nodes that may be;
            minus infinity where that cannot be. 0 if it does not run.
        locked: How many transactions that are not ended have keys locked there.
        why: Why it does not run; None if it does, or was stopped.
        keys: How many keys it has whose versions are kept apart.
        behind: Of how many batches of the other cities it has not verified the root (see `World.roots`); None if it is
            not in the overlay: it does not run, has just been started, or is alone.
    """

    name: str
    running: bool
    height: int = 0
    delegates: int = 0
    failure_log2: float = 0.0
    locked: int = 0
    why: CityChainError | None = None
    keys: int = 0
    behind: int | None = None


@dataclass(frozen=True, slots=True)
class WorldHealth:
    """How a world is.

    Args:
        cities: Its cities, in the order in which they were named.
        pending: The ids of transactions of several cities that are begun and not ended.
        joining: The cities that are on their way into it.
        leaving: Those that are on their way out.
        left: Those that have left.
        forks: What cities have committed twice, as others have found.
    """

    cities: Sequence[CityState]
    pending: Sequence[bytes]
    joining: Sequence[str] = ()
    leaving: Sequence[str] = ()
    left: Sequence[str] = ()
    forks: Sequence[Fork] = field(default=(), kw_only=True)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a city, for a data frame."""
        return [
            {
                "city": c.name,
                "running": c.running,
                "height": c.height,
                "delegates": c.delegates,
                "failure_log2": c.failure_log2,
                "keys": c.keys,
                "locked": c.locked,
                "behind": c.behind,
            }
            for c in self.cities
        ]

    def _cells(self) -> tuple[list[str], list[list[object]]]:
        columns = ["city", "running", "height", "delegates", "unsafe", "keys", "locked"]
        return columns, [
            [
                c.name,
                "yes" if c.running else "no",
                *((c.height, c.delegates, _chance(c.failure_log2), c.keys, c.locked) if c.running else "-----"),
            ]
            for c in self.cities
        ]

    def table(self) -> str:
        """The cities, how many transactions are not ended, why cities do not run, who is on the way or has left."""
        return "\n".join([table(*self._cells()), *self._notes()])

    def _notes(self) -> list[str]:
        some = (("on the way in", self.joining), ("on the way out", self.leaving), ("left", self.left))
        return [
            f"{len(self.pending)} not ended",
            *(f"{c.name} does not run: {c.why or 'it was stopped'}" for c in self.cities if not c.running),
            *(f"{what}: {', '.join(names)}" for what, names in some if names),
            *map(str, self.forks),
        ]

    __str__ = table

    def _repr_html_(self) -> str:
        return html_table(*self._cells()) + "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())


@dataclass(frozen=True, slots=True)
class WorldRecovery:
    """What opening a world found unfinished, and what became of it.

    Args:
        committed: Ids of transactions that are committed in every city now.
        aborted: Id → why it was aborted in every city.
        pending: Id → why it could not be ended now; `World.resume` tries again.
        resharded: What became of cities that were on their way; None if there were none, or it could not be ended.
    """

    committed: Sequence[bytes] = ()
    aborted: Mapping[bytes, CityChainError] = field(default_factory=dict)
    pending: Mapping[bytes, CityChainError] = field(default_factory=dict)
    resharded: Resharded | None = None


def _chance(log2: float) -> str:
    """A chance by its binary logarithm."""
    return "never" if math.isinf(log2) else f"2^{log2:.1f}"
