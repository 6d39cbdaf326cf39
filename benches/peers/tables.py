"""Contests as Markdown: who takes how long, who leads by how much, which targets are met."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from peers.harness import DRIFT_MAX, OURS, Contest, Entry, Outcome, Target

TARGET_COLUMNS = ("what", "target", "measured", "")

_EVEN = 0.03


def duration(seconds: float) -> str:
    """A time with a unit that suits it."""
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{_short(seconds * factor)} {unit}"
    return f"{_short(seconds)} s"


def rate(per_second: float, unit: str = "") -> str:
    """A rate with a prefix that suits it."""
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= factor:
            return f"{_short(per_second / factor)} {prefix}{unit}/s"
    return f"{_short(per_second)}{' ' + unit if unit else ''}/s"


def _short(value: float) -> str:
    """Three digits, never an exponent."""
    if value <= 0 or not math.isfinite(value):
        return f"{value}"
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{digits}f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], texts: Collection[int] = (0,)) -> str:
    """A Markdown table; `texts` are the columns that are no figures."""
    rules = ["---" if at in texts else "---:" for at in range(len(columns))]
    head = [f"| {' | '.join(columns)} |", f"|{'|'.join(rules)}|"]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def per_second(contest: Contest, seconds: float) -> str:
    """Operations or bytes per second."""
    return rate(contest.size / seconds, "B") if contest.size else rate(1 / seconds)


def figures(outcomes: Sequence[Outcome]) -> str:
    """One row for each entry of each contest."""
    rows = []
    for outcome in outcomes:
        void = f" (void: the machine drifted by {outcome.drift:.0%})" if outcome.drift > DRIFT_MAX else ""
        for at, entry in enumerate(outcome.contest.entries):
            middle, (low, high) = outcome.median(entry.name), outcome.quartiles(entry.name)
            ratio, least, most = outcome.ratio(entry.name)
            name = f"**{entry.name}**" if entry.is_ours else entry.name
            rows.append(
                [
                    f"{outcome.contest.what}{void}" if at == 0 else "",
                    f"{name}{': ' if entry.note else ''}{entry.note}",
                    duration(middle),
                    f"{duration(low)} – {duration(high)}",
                    per_second(outcome.contest, middle),
                    "1" if at == 0 else f"{_short(ratio)} ({_short(least)}–{_short(most)})",
                ]
            )
    return table(["what", "who", "median", "quartiles", "rate", "times ours (quartiles)"], rows, (0, 1))


def best(outcome: Outcome, entries: Iterable[Entry]) -> Entry | None:
    """The fastest of some entries."""
    return min(entries, key=lambda entry: outcome.median(entry.name), default=None)


def leader(outcome: Outcome) -> tuple[str, float]:
    """Who leads, and how many times as fast as the best of the other side; 1 and ours without a peer."""
    entries = [entry for entry in outcome.contest.entries if not entry.is_beside]
    ours = best(outcome, [entry for entry in entries if entry.is_ours])
    other = best(outcome, [entry for entry in entries if not entry.is_ours])
    if ours is None or other is None:
        return (ours.name if ours else "", 1.0)
    pairs = zip(outcome.seconds[other.name], outcome.seconds[ours.name], strict=True)
    ratios = sorted(theirs / base for theirs, base in pairs)
    ratio = ratios[len(ratios) // 2]
    return (ours.name, ratio) if ratio >= 1 else (other.name, 1 / ratio)


def leaders(outcomes: Sequence[Outcome]) -> str:
    """Who leads by how much; where a peer does, why."""
    rows = []
    for outcome in outcomes:
        name, ratio = leader(outcome)
        if all(entry.is_ours for entry in outcome.contest.entries):
            continue
        is_ours = name.startswith(OURS)
        if outcome.drift > DRIFT_MAX:
            by = f"void: the machine drifted by {outcome.drift:.0%}"
        elif ratio < 1 + _EVEN:
            by = f"even ({_short(ratio)} ×)"
        else:
            by = f"{_short(ratio)} ×"
        lost = "" if is_ours or ratio < 1 + _EVEN else outcome.contest.why
        rows.append([outcome.contest.what, f"**{name}**" if is_ours else name, by, lost])
    return table(["what", "who leads", "by", "where we lose, why"], rows, (0, 1, 3))


def reached(outcome: Outcome, entry: Entry, target: Target) -> tuple[str, str, float]:
    """The target, what was measured, and how many times over the target is met (below 1: missed)."""
    seconds = outcome.median(entry.name)
    if target.kind == "seconds":
        return f"≤ {duration(target.bound)}", duration(seconds), target.bound / seconds
    if target.kind == "rate":
        return f"≥ {rate(target.bound)}", rate(1 / seconds), 1 / seconds / target.bound
    if target.kind == "bytes/s":
        found = outcome.contest.size / seconds
        return f"≥ {rate(target.bound, 'B')}", rate(found, "B"), found / target.bound
    rivals = [other for other in outcome.contest.entries if not (other.is_ours or other.is_beside)]
    fastest = best(outcome, rivals)
    if fastest is None:
        return f"≥ {target.bound:g} × the rival", "no rival", 0.0
    ratio = outcome.ratio(fastest.name)[0]
    return f"≥ {target.bound:g} × the fastest rival", f"{_short(ratio)} ×", ratio / target.bound


def verdict(share: float) -> str:
    """How many times over a target is met, in words."""
    if not share:
        return "–"
    return "met" if share >= 1 else f"**missed** by {_short(1 / share)} ×"


def target_rows(titled: Iterable[tuple[str, Sequence[Outcome]]]) -> list[list[str]]:
    """What, the target, what was measured, and whether it is met."""
    rows = []
    for title, outcomes in titled:
        for outcome in outcomes:
            for entry in outcome.contest.entries:
                if entry.target is None:
                    continue
                wanted, found, share = reached(outcome, entry, entry.target)
                what = f"{title}: {outcome.contest.what}"
                extra = entry.name.partition(": ")[2]
                void = ", void" if outcome.drift > DRIFT_MAX else ""
                rows.append([f"{what}{', ' + extra if extra else ''}", wanted, found, f"{verdict(share)}{void}"])
    return rows


def targets(titled: Iterable[tuple[str, Sequence[Outcome]]]) -> str:
    """All targets, met and missed."""
    return table(TARGET_COLUMNS, target_rows(titled), (0, 3))
