"""How a contest is timed: everybody in turn, round by round (A/B/A/B), beside a sentinel, after a cross-check.

A round times a loop of pure Python (the sentinel) and then every entry, beginning each round with the next one. What is
reported of an entry is the median and the quartiles of its rounds, and the median of the rounds' own ratios to ours. If
the sentinel's speed drifts by more than 5 % from the first half of the rounds to the second, the contest is void and is
run again, at most three times; one that is void at the end is shown as such.
"""

from __future__ import annotations

import gc
import importlib
import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter_ns, process_time_ns
from types import ModuleType
from typing import Any

ROUNDS = 25
TRIES = 3
DRIFT_MAX = 0.05
OURS = "city-chain"
COMMIT = "sqlite3: one synced commit"

_SAMPLE_S = 1e-3
_SENTINEL_TURNS = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of the design that an entry of ours is to reach.

    Args:
        bound: The figure: seconds for one operation, operations or bytes per second, or a ratio to the fastest peer.
        kind: ``"seconds"``, ``"rate"``, ``"bytes/s"`` or ``"ratio"``.
    """

    bound: float
    kind: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One who takes part.

    Args:
        name: The package, and what of it is called.
        run: What is timed; it is given what `setup` returned.
        operations: How many operations one run is.
        setup: Makes what a run needs; not timed, called before every single run.
        note: What the reader must know to compare.
        is_beside: Shown, but not counted for who leads: it does something else than the others.
        target: What the design asks of it.
    """

    name: str
    run: Callable[[Any], Any]
    operations: int = 1
    setup: Callable[[], Any] | None = None
    note: str = ""
    target: Target | None = None
    is_beside: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return self.name.startswith(OURS)


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared.

    Args:
        what: The operation.
        entries: Who takes part; the first one is ours, and ratios are to it.
        check: Cross-checks what they give, before anything is timed; raises if it is wrong.
        size: Bytes that one operation works on, if bytes per second say more than operations.
        why: Where the time goes, shown where a peer leads.
        rounds: How many rounds.
    """

    what: str
    entries: Sequence[Entry]
    check: Callable[[], object]
    size: int = 0
    why: str = ""
    rounds: int = ROUNDS


@dataclass(slots=True)
class Outcome:
    """What came of a contest: seconds per operation of each round, by entry."""

    contest: Contest
    seconds: dict[str, list[float]] = field(default_factory=dict)
    sentinel: list[float] = field(default_factory=list)
    share: float = 1.0
    """Processor time by wall time while it was timed: what other programs left it, if it waits for nothing."""

    @property
    def drift(self) -> float:
        """By how much the sentinel changed from the first half to the second, as a share."""
        half = len(self.sentinel) // 2
        if not half:
            return 0.0
        first, second = statistics.median(self.sentinel[:half]), statistics.median(self.sentinel[-half:])
        return abs(second / first - 1)

    def median(self, name: str) -> float:
        """Seconds for one operation."""
        return statistics.median(self.seconds[name])

    def quartiles(self, name: str) -> tuple[float, float]:
        """The first and the third, seconds."""
        return _quartiles(self.seconds[name])

    def ratios(self, name: str) -> list[float]:
        """How many times as long as ours it took, round by round."""
        ours = self.seconds[self.contest.entries[0].name]
        return [taken / base for taken, base in zip(self.seconds[name], ours, strict=True)]

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Median and quartiles of `ratios`."""
        found = self.ratios(name)
        return (statistics.median(found), *_quartiles(found))

    def to_json(self) -> dict[str, Any]:
        """The raw figures."""
        return {
            "what": self.contest.what,
            "seconds": self.seconds,
            "sentinel": self.sentinel,
            "drift": self.drift,
            "share": self.share,
            "size": self.contest.size,
        }


def _quartiles(data: Sequence[float]) -> tuple[float, float]:
    if len(data) < 2:
        return data[0], data[0]
    low, _, high = statistics.quantiles(data, n=4, method="inclusive")
    return low, high


class Peers:
    """Finds the packages of peers, and remembers which were not there."""

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}

    def find(self, module: str, package: str = "") -> ModuleType | None:
        """The module, or None if it cannot be imported. What a peer warns of itself is not our concern."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return importlib.import_module(module)
        except ImportError as error:
            self.absent[package or module] = str(error)
            return None


def present(*entries: Entry | None) -> list[Entry]:
    """Those entries that are there."""
    return [entry for entry in entries if entry is not None]


def often(call: Callable[[], Any], times: int) -> Callable[[Any], None]:
    """A run that calls `call` so many times."""

    def run(_: Any) -> None:
        for _ in repeat(None, times):
            call()

    return run


def sentinel() -> float:
    """Seconds of a loop of pure Python."""
    started = perf_counter_ns()
    total = 0
    for number in range(_SENTINEL_TURNS):
        total += number
    return (perf_counter_ns() - started) / 1e9


def _once(entry: Entry, repeats: int) -> float:
    """Seconds per operation over so many runs."""
    taken = 0
    if entry.setup is None:
        started = perf_counter_ns()
        for _ in repeat(None, repeats):
            entry.run(None)
        taken = perf_counter_ns() - started
    else:
        for _ in repeat(None, repeats):
            made = entry.setup()
            started = perf_counter_ns()
            entry.run(made)
            taken += perf_counter_ns() - started
    return taken / 1e9 / repeats / entry.operations


def _repeats(entry: Entry) -> int:
    _once(entry, 1)
    taken = _once(entry, 1) * entry.operations
    return max(1, math.ceil(_SAMPLE_S / max(taken, 1e-9)))


def run_once(contest: Contest) -> Outcome:
    """Cross-checks and runs everybody once: whether it works, not how fast."""
    contest.check()
    return Outcome(contest, {entry.name: [_once(entry, 1)] for entry in contest.entries})


def run(contest: Contest) -> Outcome:
    """Cross-checks and times a contest."""
    contest.check()
    repeats = {entry.name: _repeats(entry) for entry in contest.entries}
    for _ in range(TRIES):
        outcome = Outcome(contest, {entry.name: [] for entry in contest.entries})
        gc.collect()
        gc.disable()
        wall, processor = perf_counter_ns(), process_time_ns()
        try:
            for number in range(contest.rounds):
                outcome.sentinel.append(sentinel())
                start = number % len(contest.entries)
                for entry in [*contest.entries[start:], *contest.entries[:start]]:
                    outcome.seconds[entry.name].append(_once(entry, repeats[entry.name]))
        finally:
            gc.enable()
        outcome.share = (process_time_ns() - processor) / (perf_counter_ns() - wall)
        if outcome.drift <= DRIFT_MAX:
            break
    return outcome


def run_all(contests: Iterable[Contest], quick: bool = False) -> Iterator[Outcome]:
    """Runs contests one after the other."""
    for contest in contests:
        yield run_once(contest) if quick else run(contest)
