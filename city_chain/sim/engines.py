"""The commit engines side by side: one seed, one workload, the same network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from city_chain.errors import InputError, UnavailableError
from city_chain.node import ENGINES as _ENGINES
from city_chain.sim.faults import Faults
from city_chain.sim.network import Network
from city_chain.sim.simulation import Limits, Simulation, Workload

__all__ = ["ENGINES", "TIME_US", "engines", "lab_limits", "lab_network"]

ENGINES = tuple(_ENGINES)
"""The commit engines of cities, the usual one first: each is a protocol of that name."""

TIME_US = 3_600_000_000
"""How much virtual time a run of `engines` may take, µs."""
_ROUND = {"dpos": "attempt"}  # what a node notes when it enters a round; "round" where nothing else stands here


def engines(
    seed: int = 1,
    validators: Iterable[int] = (4, 7, 10),
    which: Iterable[str] = ENGINES,
    *,
    workload: Workload | None = None,
    latency_us: int = 500,
    network: Network | None = None,
    faults: Faults | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:
    """Runs each engine with each number of validators until all honest ones have decided every slot of the workload.

    Everything but the processor's time depends on the arguments alone. That time is of all validators together, in this
    process, where a signature that several of them check is checked once unless ``CITY_CHAIN_REMEMBER=0`` is in the
    environment before the first signature is checked.

    Args:
        seed: All chance of the runs.
        validators: How many, for each run.
        which: The engines, of `ENGINES`.
        workload: Batches, slots and patience (default: ten slots).
        latency_us: A hop, give or take a tenth.
        network: Another network than that.
        faults: Crashes.
        on_progress: Called with the number of runs that are done.

    Returns:
        A row for each run, for a data frame: engine, validators, seed, commits (slots that all decided), messages,
        bytes, messages_per_commit, bytes_per_commit, rounds (that the busiest validator entered), virtual_us,
        virtual_us_per_commit, journal_bytes, cpu_us_per_commit, digest (hexadecimal; equal for equal runs).

    Raises:
        InputError: An unknown engine, or a number that is out of range.
        ProtocolError: A run broke a rule; the message says how to replay it.
        UnavailableError: A run did not get to its end.

    Example:
        >>> [row] = engines(seed=7, validators=[4], which=["dpos"], network=Network.exact(1_000))
        >>> row["commits"], row["messages_per_commit"], row["virtual_us_per_commit"]
        (10, 9.0, 2800.0)
    """
    names = list(which)
    workload = Workload(slots=10) if workload is None else workload
    if unknown := [name for name in names if name not in ENGINES]:
        raise InputError(f"engines: there is no engine {unknown[0]!r}, only {', '.join(ENGINES)}")
    rows: list[dict[str, Any]] = []
    for count in validators:
        for name in names:
            rows.append(_one(seed, count, name, workload, latency_us, network, faults))
            if on_progress is not None:
                on_progress(len(rows))
    return rows


def lab_network(latency_us: int) -> Network:
    """The network of `engines`: each hop takes the latency, give or take a tenth.

    Args:
        latency_us: A hop.
    """
    return Network(latency_us=latency_us - latency_us // 10, jitter_us=latency_us // 5)


def lab_limits(rows: int) -> Limits:
    """The limits of `engines`, and of the runs that repeat its runs.

    Args:
        rows: How many rows of the table are kept.

    Example:
        >>> lab_limits(0).happenings
        100000000
    """
    return Limits(happenings=100_000_000, queue=10_000_000, rows=rows)


def _one(
    seed: int,
    validators: int,
    name: str,
    workload: Workload,
    latency_us: int,
    network: Network | None,
    faults: Faults | None,
) -> dict[str, Any]:
    replay = None
    if network is None and faults is None:
        replay = (
            f"city-chain lab replay --engine {name} --validators {validators} --seed {seed} --slots {workload.slots} "
            f"--batch {workload.batch} --timeout-ms {workload.timeout_us / 1000:.12g} "
            f"--latency-ms {latency_us / 1000:.12g}"
        )
    run = Simulation(
        seed,
        validators,
        name,
        workload=workload,
        network=lab_network(latency_us) if network is None else network,
        faults=faults,
        limits=lab_limits(0),
        replay=replay,
    )
    began = time.process_time()
    run.run(TIME_US, decided=workload.slots)
    cpu = time.process_time() - began
    row = _row(run, name, cpu)
    if row["commits"] < workload.slots:
        raise UnavailableError(
            f"{name}, {validators} validators, seed {seed}: all decided {row['commits']} of {workload.slots} slots in "
            f"{run.now / 1e6:,.0f} s of virtual time; replay it: {run.replay}",
            workload.slots,
            row["commits"],
        )
    return row


def _row(run: Simulation, name: str, cpu: float) -> dict[str, Any]:
    up = [node for node in range(run.nodes) if run.is_up(node)]
    commits = min((len(run.decided(node)) for node in up), default=0)
    virtual = max((at for node in up for at in run.decided(node).values()), default=0)
    messages = sum(count for count, _ in run.messages.values())
    size = sum(size for _, size in run.messages.values())
    each = max(1, commits)
    return {
        "engine": name,
        "validators": run.nodes,
        "seed": run.seed,
        "commits": commits,
        "messages": messages,
        "bytes": size,
        "messages_per_commit": round(messages / each, 2),
        "bytes_per_commit": round(size / each, 1),
        "rounds": max(run.notes(node, _ROUND.get(name, "round")) for node in range(run.nodes)),
        "virtual_us": virtual,
        "virtual_us_per_commit": round(virtual / each, 1),
        "journal_bytes": sum(row["bytes"] for row in run.journalled()),
        "cpu_us_per_commit": round(cpu * 1e6 / each, 1),
        "digest": "" if run.digest is None else run.digest.hex(),
    }
