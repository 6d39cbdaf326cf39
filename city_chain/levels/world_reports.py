"""What a world tells about itself: how its cities are, what opening found unfinished. Each shows itself as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from city_chain.errors import CityChainError
from city_chain.levels.reports import html_table, table

__all__ = ["CityState", "WorldHealth", "WorldRecovery"]


@dataclass(frozen=True, slots=True)
class CityState:
    """How one city of a world is.

    Args:
        name: Its name.
        running: Whether it is open here.
        height: How many batches it has committed; 0 if it does not run.
        delegates: How many delegates it has.
        failure_log2: log2 of the chance that a third of its delegates or more are faulty, of the nodes that may be.
        locked: How many transactions that are not ended have keys locked there.
        why: Why it does not run; None if it does, or was stopped.
    """

    name: str
    running: bool
    height: int = 0
    delegates: int = 0
    failure_log2: float = 0.0
    locked: int = 0
    why: CityChainError | None = None


@dataclass(frozen=True, slots=True)
class WorldHealth:
    """How a world is.

    Args:
        cities: Its cities, in the order in which they were named.
        pending: The ids of transactions of several cities that are begun and not ended.
    """

    cities: Sequence[CityState]
    pending: Sequence[bytes]

    def rows(self) -> list[dict[str, Any]]:
        """One dict a city, for a data frame."""
        return [
            {
                "city": c.name,
                "running": c.running,
                "height": c.height,
                "delegates": c.delegates,
                "failure_log2": c.failure_log2,
                "locked": c.locked,
            }
            for c in self.cities
        ]

    def _cells(self) -> tuple[list[str], list[list[object]]]:
        columns = ["city", "running", "height", "delegates", "unsafe", "locked"]
        return columns, [
            [
                c.name,
                "yes" if c.running else "no",
                c.height,
                c.delegates,
                f"2^{c.failure_log2:.1f}",
                c.locked,
            ]
            for c in self.cities
        ]

    def table(self) -> str:
        """The cities, and how many transactions are not ended."""
        return f"{table(*self._cells())}\n{len(self.pending)} not ended"

    __str__ = table

    def _repr_html_(self) -> str:
        return f"{html_table(*self._cells())}<p>{len(self.pending)} not ended</p>"


@dataclass(frozen=True, slots=True)
class WorldRecovery:
    """What opening a world found unfinished, and what became of it.

    Args:
        committed: Ids of transactions that are committed in every city now.
        aborted: Id → why it was aborted in every city.
        pending: Id → why it could not be ended now; `World.resume` tries again.
    """

    committed: Sequence[bytes] = ()
    aborted: Mapping[bytes, CityChainError] = field(default_factory=dict)
    pending: Mapping[bytes, CityChainError] = field(default_factory=dict)
