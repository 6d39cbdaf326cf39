"""``city-chain lab``: the commit engines, and overlays of thousands of nodes, in the simulator, without any city."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from city_chain import sim
from city_chain.cli import lab_overlays
from city_chain.cli.console import Console, size
from city_chain.cli.tables import Columns, Table
from city_chain.errors import CityChainError
from city_chain.sim.engines import TIME_US, lab_limits, lab_network

__all__ = ["run"]

_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("engine", "engine", str),
    ("validators", "validators", str),
    ("commits", "commits", str),
    ("messages_per_commit", "messages/commit", lambda value: f"{value:,.1f}"),
    ("bytes_per_commit", "bytes/commit", size),
    ("rounds", "rounds", str),
    ("virtual_us_per_commit", "virtual ms/commit", lambda value: f"{value / 1000:,.2f}"),
    ("cpu_us_per_commit", "CPU ms/commit", lambda value: f"{value / 1000:,.2f}"),
)
_EVENT_KINDS_SHOWN = 40
_ROWS_KEPT = 5_000_000  # 300 MB


def run(args: argparse.Namespace, console: Console) -> int:
    """Does one of them; 1 if a run broke a rule or a count is off."""
    actions: dict[str, Callable[[argparse.Namespace, Console], int]]
    actions = {"engines": _engines, "counts": _counts, "twins": _twins, "aggregates": _aggregates, "replay": _replay}
    actions |= dict.fromkeys(lab_overlays.ACTIONS, lab_overlays.run)
    return actions[args.action](args, console)


def _latency(args: argparse.Namespace) -> int:
    latency_ms: float = args.latency_ms
    return round(latency_ms * 1000)


def _workload(args: argparse.Namespace) -> sim.Workload:
    """What validators do; without --timeout-ms they wait 200 hops for a leader, and not below 100 ms."""
    patience = max(100.0, args.latency_ms * 200) if args.timeout_ms is None else args.timeout_ms
    return sim.Workload(batch=args.batch, slots=args.slots, timeout_us=round(patience * 1000))


def _engines(args: argparse.Namespace, console: Console) -> int:
    os.environ.setdefault("CITY_CHAIN_REMEMBER", "0")  # every validator checks what it would check alone
    workload, latency = _workload(args), _latency(args)
    names = sim.ENGINES if args.engines is None else args.engines
    done, failed = 0, 0
    table = Table(console, args.json, _COLUMNS, names)
    with console.progress("simulating", len(args.validators) * len(names)) as progress:
        for validators in args.validators:
            for name in names:
                try:
                    for row in sim.engines(args.seed, [validators], [name], workload=workload, latency_us=latency):
                        table.add(row)
                except CityChainError as error:
                    failed += 1
                    console.complain(f"{name} of {validators}: {error}")
                done += 1
                progress.to(done)
    return 1 if failed else 0


def _counts(args: argparse.Namespace, console: Console) -> int:
    with console.progress("counting", None) as progress:
        rows = sim.counts(args.seed, args.validators, on_progress=progress.to)
    columns: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("what", "count", str),
        ("validators", "validators", lambda value: str(value or "")),
        ("expected", "expected", lambda value: f"{value:,.10g}"),
        ("measured", "measured", lambda value: f"{value:,.10g}"),
        ("tolerance", "tolerance", lambda value: f"{value:.0%}" if value else "exact"),
        ("ok", "", lambda value: "ok" if value else "OFF"),
    )
    _table(rows, args.json, console, columns)
    return 0 if all(row["ok"] for row in rows) else 1


def _twins(args: argparse.Namespace, console: Console) -> int:
    done, failed = 0, 0
    columns = [(name, name, "{:,}".format) for name in ("validators", *sim.TwinsReport._fields)]
    table = Table(console, args.json, columns, [])
    each = args.scenarios if args.only is None else 1
    with console.progress("scenarios", len(args.validators) * each) as progress:
        for validators in args.validators:
            before = done * each

            def show(done: int, before: int = before) -> None:
                progress.to(before + done)

            try:
                report = sim.twins(validators, args.scenarios, args.seed, only=args.only, on_progress=show)
                table.add({"validators": validators, "seed": args.seed, **report._asdict()})
            except CityChainError as error:
                failed += 1
                console.complain(f"{validators} validators: {error}")
            done += 1
    return 1 if failed else 0


def _aggregates(args: argparse.Namespace, console: Console) -> int:
    with console.progress("measuring", len(args.validators)) as progress:
        rows = sim.aggregates(args.validators, args.repeats, args.mbit, on_progress=progress.to)

    def microseconds(value: float) -> str:
        return f"{value:,.0f}"

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("validators", "validators", str),
        ("signers", "signers", str),
    ]
    columns += [(f"{form}_bytes", f"{form}: bytes", str) for form in ("list", "aggregate")]
    for name, title in (("vote", "vote µs"), ("make", "make µs"), ("verify", "verify µs"), ("block", "block µs")):
        columns += [(f"{form}_{name}_us", f"{form}: {title}", microseconds) for form in ("list", "aggregate")]
    columns.append(("aggregate_make_each_us", "each share checked: make µs", microseconds))
    _table(rows, args.json, console, columns)
    return 0


def _replay(args: argparse.Namespace, console: Console) -> int:
    network = lab_network(_latency(args))
    engine = args.engine or sim.ENGINES[0]
    simulation = sim.Simulation(
        args.seed,
        args.validators,
        engine,
        workload=_workload(args),
        network=network,
        limits=lab_limits(_ROWS_KEPT),
    )
    failure = None
    with console.if_long(1.0, "simulating"):
        try:
            ended = simulation.run(TIME_US, decided=args.slots)
            if ended == "time" and engine in sim.ENGINES:  # of another protocol not every node need decide
                least = min(len(simulation.decided(node)) for node in range(simulation.nodes))
                failure = f"all decided {least} of {args.slots} slots in {simulation.now / 1e6:,.0f} s of virtual time"
        except CityChainError as error:
            failure = str(error)
    _tell(simulation, args, console)
    if simulation.events_left_out:
        console.complain(
            f"{simulation.events_left_out:,} more events are not kept; what is shown is the first {_ROWS_KEPT:,}"
        )
    if failure is not None:
        console.complain(failure)
        return 1
    return 0


def _tell(simulation: sim.Simulation, args: argparse.Namespace, console: Console) -> None:
    """The events that are asked for; without --json also how many of each kind there are, and the digest."""
    kinds: dict[str, int] = {}
    for row in simulation.each_event():
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
        if args.json:
            console.json(row)
        elif args.events:
            console.say(_event(row))
    if not args.json:
        for kind, count in sorted(kinds.items())[:_EVENT_KINDS_SHOWN]:
            console.say(f"{count:>10,}  {kind}")
        digest = simulation.digest
        console.say(f"{simulation.now / 1000:,.3f} ms  digest {digest.hex() if digest else ''}")


def _event(row: dict[str, Any]) -> str:
    """One event on a line."""
    peer = "" if row["peer"] is None else f" {'→' if row['kind'] == 'send' else '←'} {row['peer']}"
    data = "" if row["digest"] is None else f"  {row['bytes']} B {row['digest']}"
    return f"{row['at'] / 1000:>12,.3f} ms  node {row['node']}{peer}  {row['kind']} {row['number']}{data}"


def _table(rows: Sequence[dict[str, Any]], as_json: bool, console: Console, columns: Columns) -> None:
    """Rows that are all there already."""
    name, _, shown_as = columns[0]
    table = Table(console, as_json, columns, [shown_as(row[name]) for row in rows])
    for row in rows:
        table.add(row)
