"""The options of ``city-chain lab``. Nothing here loads the extension, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import importlib
import textwrap
from collections.abc import Sequence

from city_chain.cli.arguments import Commands, action, count

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the commands that run the commit engines in the simulator, without any city.

    Args:
        commands: The commands of the whole command line.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add(parser.add_subparsers(dest="command"))
        >>> args = parser.parse_args(["lab", "twins", "--only", "7"])
        >>> args.action, args.validators, args.scenarios, args.only
        ('twins', (4, 7), 100000, 7)
    """
    parser = commands.add_parser(
        "lab",
        help="commit engines and overlays in the simulator: compared, counted, attacked, replayed; needs no city",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(
            "Runs commit engines and overlays on a simulated network: virtual time, and all chance from one seed. The "
            "same seed gives the same run, byte for byte, on every machine.",
            88,
        ),
        epilog=_LAB_EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    engines = _action(
        actions,
        "engines",
        "compare the engines on one workload",
        "hotstuff: one leader after another proposes, two rounds of votes commit, and a failed leader costs one "
        "timeout. abba: no leader and no clock, all propose and agree on which proposals count; it gets on however "
        "late messages are, and pays with messages. dpos: one round of votes, the cheapest, and the one whose faulty "
        "leader can stop a height. Messages and bytes are those of all validators; CPU is of all of them together, "
        "each checking every signature itself. One line for each run.",
        ["engines", "engines --validators 4,7,10,31,100 --json > engines.jsonl", "engines --seed 9 --latency-ms 80"],
    )
    engines.add_argument(
        "--engines",
        metavar="NAMES",
        type=_engine_names,
        help="which of them, with commas between them (default: all)",
    )
    counts = _action(
        actions,
        "counts",
        "messages, hops and rounds beside those that theory gives",
        "Calm runs in which each hop takes the same time. Exit status 1 if a count is further from theory than its "
        "tolerance.",
        ["counts", "counts --validators 4,31"],
    )
    _twins(actions)
    _aggregates(actions)
    replay = _action(
        actions,
        "replay",
        "run one seed again and show what happens",
        "What a failed run prints is this command with the seed in it. Shows how often each kind of event happens, "
        "virtual time, and the digest of all events: equal digests are equal runs. --json gives every event.",
        ["replay --engine hotstuff --validators 4 --seed 7", "replay --engine dpos --validators 4 --seed 7 --events"],
    )
    replay.add_argument(
        "--engine",
        metavar="NAME",
        type=_protocol_name,
        help="an engine, or another protocol of the simulator, such as hotstuff-3 (default: the engine of new cities)",
    )
    replay.add_argument("--events", action="store_true", help="show every event on a line")
    replay.add_argument("--validators", type=count, default=4, metavar="N", help="how many (default: 4)")
    _overlays(actions)
    for each in (engines, counts):
        each.add_argument(
            "--validators", type=_numbers, default=(4, 7, 10), metavar="N[,N…]", help="how many (default: 4,7,10)"
        )
    for each in (engines, counts, replay):
        each.add_argument("--seed", type=_seed, default=1, metavar="N", help="all chance (default: 1)")
    for each in (engines, replay):
        each.add_argument("--slots", type=count, default=10, metavar="N", help="commits of a run (default: 10)")
        each.add_argument("--batch", type=count, default=1024, metavar="N", help="bytes of each (default: 1024)")
        each.add_argument(
            "--latency-ms",
            type=_milliseconds,
            default=0.5,
            metavar="MS",
            help="a hop, give or take a tenth (default: 0.5)",
        )
        each.add_argument(
            "--timeout-ms",
            type=_patience,
            metavar="MS",
            help="how long validators wait for a leader (default: 200 hops, at least 100)",
        )


def _twins(actions: Commands) -> None:
    twins = _action(
        actions,
        "twins",
        "HotStuff beside validators that run twice",
        "Of n validators (n - 1) // 3 run twice with one key, in numbered scenarios that say for each of five rounds "
        "who leads and into which groups the network is cut. Honest validators must agree in all of them, and go on "
        "when the network is whole again. One line for each number of validators; exit status 1 if a scenario breaks "
        "this, with the command that runs it again.",
        ["twins", "twins --validators 7 --scenarios 10000000", "twins --validators 4 --only 77777"],
    )
    twins.add_argument(
        "--validators", type=_numbers, default=(4, 7), metavar="N[,N…]", help="how many, 4 to 10 (default: 4,7)"
    )
    twins.add_argument("--scenarios", type=_scenarios, default=100_000, metavar="N", help="how many (default: 100000)")
    twins.add_argument("--seed", type=_seed, default=1, metavar="N", help="which ones are drawn (default: 1)")
    twins.add_argument("--only", type=_seed, metavar="N", help="run the one scenario of this number, from 0")


def _aggregates(actions: Commands) -> None:
    aggregates = _action(
        actions,
        "aggregates",
        "what a quorum certificate costs: a list of signatures, or one for all",
        "Bytes of a certificate, and the CPU time of one vote, of the leader who makes a certificate and of everybody "
        "who verifies it, with Ed25519 lists and with BLS aggregates, in one run. Times are the least of several. A "
        "block waits for a vote, the making, the leader's link sending a certificate to each, and a verification.",
        ["aggregates", "aggregates --validators 32,64,100 --json"],
    )
    aggregates.add_argument(
        "--repeats", type=count, default=9, metavar="N", help="the least of so many times counts (default: 9)"
    )
    aggregates.add_argument(
        "--mbit", type=count, default=100, metavar="N", help="the leader's link, Mbit/s (default: 100)"
    )
    aggregates.add_argument(
        "--validators",
        type=_numbers,
        default=(4, 10, 20, 32, 48, 64, 100, 200),
        metavar="N[,N…]",
        help="how many (default: 4,10,20,32,48,64,100,200)",
    )


def _overlays(actions: Commands) -> None:
    size = (
        "Real machines with real messages in virtual time, all hops 10 ms; only signatures are left out. What is "
        "expected holds for 10000 nodes and 50 cycles: there each measure gets a verdict, and exit status 1 says that "
        "one is off. --json gives one object for each measure."
    )
    hyparview = _action(
        actions,
        "hyparview",
        "an overlay of 10,000 nodes: its shape, crashes of up to 95 %, attackers, partitions",
        "Grows an overlay of HyParView nodes, lets it shuffle for some cycles, and measures it beside the paper's "
        "table. Then shares of the nodes of a copy crash at once, and it is measured how many of the others a message "
        "reaches soon after. Everything depends on how failures are seen: by closed connections, at once and unasked, "
        "as a kernel tells of a process that died; or found on send, only by who sends to a node that is gone. " + size,
        ["hyparview", "hyparview --nodes 1000 --cycles 20", "hyparview --seed 7 --json > hyparview.jsonl"],
    )
    plumtree = _action(
        actions,
        "plumtree",
        "broadcast trees of 10,000 nodes: redundancy, hops, control messages, healing after crashes",
        "The first broadcast floods and cuts a tree out of the overlay; from then on one sender's broadcasts reach "
        "each node once (RMR, relative message redundancy, is copies beyond one for each node). Measured with one "
        "sender and with many, and from a crash on, until all that are left get broadcasts again. " + size,
        ["plumtree", "plumtree --nodes 1000 --cycles 20", "plumtree --seed 7 --json > plumtree.jsonl"],
    )
    for each in (hyparview, plumtree):
        each.add_argument("--nodes", type=_nodes, default=10_000, metavar="N", help="2 to 50000 (default: 10000)")
        each.add_argument(
            "--cycles",
            type=_cycles,
            default=50,
            metavar="N",
            help="periods of shuffling, 10 virtual seconds each, before anything is measured (default: 50)",
        )
        each.add_argument("--seed", type=_seed, default=1, metavar="N", help="all chance (default: 1)")


_LAB_EXAMPLES = """Examples:
  city-chain lab engines
  city-chain lab engines --validators 4,31,100 --json > engines.jsonl
  city-chain lab counts
  city-chain lab twins --scenarios 1000000
  city-chain lab replay --engine hotstuff --validators 4 --seed 7 --events
  city-chain lab hyparview --nodes 1000 --cycles 20
  city-chain lab plumtree

city-chain lab ACTION --help says more."""


def _action(actions: Commands, name: str, summary: str, more: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    return action(actions, "lab", name, summary, more, examples)


def _engine_names(text: str) -> tuple[str, ...]:
    return tuple(_known("engine", name, "ENGINES") for name in text.split(","))


def _protocol_name(text: str) -> str:
    return _known("protocol", text, "PROTOCOLS")


def _known(what: str, name: str, table: str) -> str:
    """A name that the simulator has in a table of its own; it is loaded for that, with the extension."""
    known: tuple[str, ...] = getattr(importlib.import_module("city_chain.sim"), table)
    if name not in known:
        raise argparse.ArgumentTypeError(f"there is no {what} {name!r}, only {', '.join(known)}")
    return name


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 4 and 1 <= int(part) <= 256 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: numbers from 1 to 256 with commas between them are needed")
    return tuple(int(part) for part in parts)


def _scenarios(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= 1_000_000_000):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 to 1000000000 is needed")
    return int(text)


def _nodes(text: str) -> int:
    return _between(text, 2, 50_000)


def _cycles(text: str) -> int:
    return _between(text, 0, 10_000)


def _between(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from {least} to {most} is needed")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 0 to 2^64 - 1 is needed")
    return int(text)


def _milliseconds(text: str, most: int = 60_000) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: a time from 0 to {most} ms is needed")
    return value


def _patience(text: str) -> float:
    """A timeout: 200 of the longest hops, which is the default for them, must be allowed."""
    return _milliseconds(text, 200 * 60_000)
