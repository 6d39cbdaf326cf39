"""What befalls the nodes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from city_chain.errors import InputError

__all__ = ["Crash", "Faults", "Storm"]


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash: at a time, or just before or after the k-th thing that the node does, counted from 0 over the run.

    Args:
        node: Who.
        at_us: When; or leave it out and give one of the next two.
        before: ("step", k), ("persist", k), ("send", k) or ("durable", k). Before "durable": the record is on the disk,
            and the node never learns it.
        after: The same.
        restart_us: It comes back so much later; None: never.
        wiped: Whether its disk is empty then.

    Raises:
        InputError: Not exactly one moment.

    Example:
        >>> Crash(1, after=("persist", 3), restart_us=50_000).after
        ('persist', 3)
    """

    node: int
    at_us: int | None = None
    before: tuple[str, int] | None = None
    after: tuple[str, int] | None = None
    restart_us: int | None = None
    wiped: bool = False

    def __post_init__(self) -> None:
        given = [moment for moment in (self.at_us, self.before, self.after) if moment is not None]
        if len(given) != 1:
            raise InputError(f"crash: {len(given)} moments; exactly one of at_us, before and after is needed")

    def _plain(self) -> tuple[object, ...]:
        if self.at_us is not None:
            return (self.node, "at", self.at_us, self.restart_us, self.wiped)
        side, moment = ("before", self.before) if self.before is not None else ("after", self.after)
        if not isinstance(moment, tuple) or len(moment) != 2:
            raise TypeError(f"crash: {side} is {moment!r}; a pair such as ('send', 0) is needed")
        return (self.node, f"{side} {moment[0]}", moment[1], self.restart_us, self.wiped)


@dataclass(frozen=True, slots=True)
class Storm:
    """Crashes at random times; who crashed comes back.

    Args:
        begin_us: From when.
        end_us: Until when.
        every_us: Time between crashes: drawn from 1 to twice as much.
        down_us: How long a node stays down: drawn from 1 to so much.
        at_once: How many may be down at once; a crash that would be one more does not happen.

    Example:
        >>> Storm(0, 10_000_000, every_us=200_000, down_us=100_000).at_once
        1
    """

    begin_us: int
    end_us: int
    every_us: int
    down_us: int
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Faults:
    """All that befalls the nodes.

    Records that were not durable at a crash may still have reached the disk, in their order: how many did is drawn from
    the seed.

    Args:
        crashes: Crashes one by one.
        storm: Crashes by chance.

    Example:
        >>> len(Faults([Crash(0, at_us=1_000)]).crashes)
        1
    """

    crashes: Sequence[Crash] = ()
    storm: Storm | None = None

    def _plain(self) -> tuple[object, ...]:
        storm = self.storm
        plain = None if storm is None else (storm.begin_us, storm.end_us, storm.every_us, storm.down_us, storm.at_once)
        return ([crash._plain() for crash in self.crashes], plain)
