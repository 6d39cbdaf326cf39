"""The counts that theory gives, beside those that are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from city_chain.algorithms import sc
from city_chain.errors import InputError
from city_chain.sim.network import Network, Partition
from city_chain.sim.simulation import Limits, Simulation, Workload

__all__ = ["counts"]

_HOP_US = 1_000
_BATCH = 64
_BORNE_LOG2 = -19.93
"""log2 of one in a million."""
_HOTSTUFF_BYTES = {4: 1_900, 10: 7_900, 100: 468_000}
"""Bytes of all messages of a block without its payload, with lists of Ed25519 signatures: the design's estimate."""
_SHARED_VOTE_BYTES = 200
_AGGREGATE_PROPOSAL_BYTES = 294
"""A proposal without its payload, and without the bitmap of the signers of its certificate."""
_ABBA = {"abba-same": ("inputs alike", 2.0, 8.5), "abba-split": ("inputs mixed", 2.85, 12.0)}
"""Rounds, and votes for each pair of parties: of 2, of 2.7 to 3.0, of 7 to 10 and of 10 to 14 the middle."""
_ABBA_RUNS = 100
_ABBA_VALIDATORS = range(4, 17)
_ABBA_TOLERANCE = 0.25
_ABBA_NETWORK = Network(latency_us=1_000, jitter_us=9_000, write_us=0, write_jitter_us=0)
"""A random schedule: messages overtake each other."""
_LIMITS = Limits(happenings=100_000_000, queue=10_000_000, rows=0, digest=False)


def counts(
    seed: int = 1, validators: Iterable[int] = (4, 7, 10), *, on_progress: Callable[[int], object] | None = None
) -> list[dict[str, Any]]:
    """Messages, hops and rounds, measured in calm runs, beside what theory gives.

    Each receiver of a broadcast is a message; what a node tells itself is none. HotStuff and DPoS are counted where a
    hop always takes the same time. For ABBA, of 4 to 16 validators, a hundred agreements on one bit are counted, in
    which each message takes 1 to 10 ms: rounds are those that the first party to decide went through; votes are all
    statements of the machines, those after the decision too and shares of coins not, over n(n - 1). Both are means.

    Args:
        seed: All chance of the runs.
        validators: How many, for each run; at least 4.
        on_progress: Called with the number of groups of rows that are done.

    Returns:
        Rows of what, validators (0 where they do not matter), expected, measured, tolerance (a share of what is
        expected), ok.

    Raises:
        InputError: Fewer validators, of whom none may be faulty.
        ProtocolError: A run broke a rule.

    Example:
        >>> [row["ok"] for row in counts(validators=[4]) if row["what"] == "dpos: messages a batch"]
        [True]
    """
    rows: list[dict[str, Any]] = []
    groups, numbers = 0, list(validators)
    if few := [count for count in numbers if count < 4]:
        raise InputError(f"counts: {few[0]} validators, at least 4 are needed")
    for count in numbers:
        for group in (_hotstuff, _abba, _dpos):
            rows += group(seed, count)
            groups += 1
            if on_progress is not None:
                on_progress(groups)
    return rows + _committees()


def _row(what: str, validators: int, expected: float, measured: float, tolerance: float) -> dict[str, Any]:
    return {
        "what": what,
        "validators": validators,
        "expected": expected,
        "measured": round(measured, 3),
        "tolerance": tolerance,
        "ok": abs(measured - expected) <= tolerance * expected + 1e-9,
    }


def _run(seed: int, validators: int, protocol: str, slots: int, cut_us: int = 0) -> Simulation:
    """A calm run until all have decided; at its beginning nobody hears anybody for a while."""
    workload = Workload(batch=_BATCH, slots=slots)
    cuts = [Partition(0, cut_us, [])] if cut_us else []
    network = replace(Network.exact(_HOP_US), partitions=cuts)
    run = Simulation(seed, validators, protocol, workload=workload, network=network, limits=_LIMITS)
    run.run(600_000_000, decided=slots)
    return run


def _slope(seed: int, validators: int, protocol: str) -> tuple[float, float]:
    """Messages and bytes of one more slot: what the beginning and the end cost cancels out."""
    few, many = (_run(seed, validators, protocol, slots) for slots in (10, 30))
    differences = [
        (sum(count[part] for count in many.messages.values()) - sum(count[part] for count in few.messages.values()))
        / 20
        for part in (0, 1)
    ]
    return differences[0], differences[1]


def _hops(run: Simulation) -> float:
    """How many hops after the start of the run the last one knew of the first slot."""
    return max(run.decided(node)[1] for node in range(run.nodes)) / _HOP_US


def _hotstuff(seed: int, validators: int) -> list[dict[str, Any]]:
    """Timeouts are those that a run has more when its first view fails, because nobody hears its proposal.

    The last block of a run is followed by none that tells of it, so hops are counted for the first of several.
    """
    others = validators - 1
    messages, _ = _slope(seed, validators, "hotstuff")
    calm = _run(seed, validators, "hotstuff", 10)
    failed = _run(seed, validators, "hotstuff", 10, cut_us=Workload().timeout_us // 2)
    timeouts = failed.messages["CCht"][0] - calm.messages.get("CCht", (0, 0))[0]
    rows = [
        _row("hotstuff: messages a block", validators, 2 * others, messages, 0.0),
        _row("hotstuff: hops to commit", validators, 5, _hops(calm), 0.0),
        _row("hotstuff: timeouts a failed view", validators, validators * others, timeouts, 0.0),
    ]
    hops = _hops(_run(seed, validators, "hotstuff-3", 10))
    rows.append(_row("hotstuff, 3-chain: hops to commit", validators, 7, hops, 0.0))
    if validators in _HOTSTUFF_BYTES:
        for form, expected, tolerance in (
            ("list", _HOTSTUFF_BYTES[validators], 0.25),
            ("aggregate", others * _aggregate_bytes(validators), 0.0),
        ):
            _, size = _slope(seed, validators, f"hotstuff-{form}")
            what = "bytes a block, bare" if form == "list" else "bytes a block, bare, aggregates"
            rows.append(_row(f"hotstuff: {what}", validators, expected, size - _BATCH * others, tolerance))
    return rows


def _aggregate_bytes(validators: int) -> int:
    """Bytes of a proposal and a vote where certificates are one signature."""
    return _SHARED_VOTE_BYTES + _AGGREGATE_PROPOSAL_BYTES + -(-validators // 8)


def _abba(seed: int, validators: int) -> list[dict[str, Any]]:
    """Inputs mixed: those of an odd place hold 1, the others 0."""
    rows: list[dict[str, Any]] = []
    for protocol, (what, rounds, votes) in _ABBA.items() if validators in _ABBA_VALIDATORS else ():
        runs = [_agreement(seed + at, validators, protocol) for at in range(_ABBA_RUNS)]
        means = [sum(run[part] for run in runs) / len(runs) for part in (0, 1)]
        rows.append(_row(f"abba, {what}: rounds", validators, rounds, means[0], _ABBA_TOLERANCE))
        rows.append(_row(f"abba, {what}: votes / n(n-1)", validators, votes, means[1], _ABBA_TOLERANCE))
    return rows


def _agreement(seed: int, validators: int, protocol: str) -> tuple[float, float]:
    """Rounds and votes of one agreement, which goes on until all parties know that all will decide."""
    limits = Limits(rows=10_000_000, digest=False)
    run = Simulation(seed, validators, protocol, network=_ABBA_NETWORK, limits=limits)
    run.run(600_000_000)
    rounds = next(row["number"] for row in run.events() if row["kind"] == "decided")
    return rounds, run.messages["CCab"][0] / (validators * (validators - 1))


def _dpos(seed: int, validators: int) -> list[dict[str, Any]]:
    messages, _ = _slope(seed, validators, "dpos")
    hops = _hops(_run(seed, validators, "dpos", 1))
    return [
        _row("dpos: messages a batch", validators, 3 * (validators - 1), messages, 0.0),
        _row("dpos: hops until all know", validators, 3, hops, 0.0),
    ]


def _committees() -> list[dict[str, Any]]:
    """How many of 1,000 nodes make a shard's committee that fails once in a million draws."""
    sizes = {100: 52, 200: 181, 250: 382}  # faulty nodes: members, by the hypergeometric distribution
    return [
        _row(f"sc: members, {faulty} of 1000 faulty", 0, members, sc.committee_size(1000, faulty, _BORNE_LOG2), 0.0)
        for faulty, members in sizes.items()
    ]
