"""Runs the contests: ``python benches/peers [--quick] [-k WORD] [--json FILE]``.

One core is measured: batches of this package use more threads only where a table says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import ALGORITHMS, tables
from peers.harness import Outcome, Peers, run_all


def section(module: Any, outcomes: Sequence[Outcome], peers: Peers) -> str:
    """The tables of one algorithm."""
    parts = [f"### {module.TITLE}", tables.leaders(outcomes), tables.figures(outcomes)]
    extra = getattr(module, "extra", None)
    if extra is not None:
        columns, rows = extra()
        parts.append(tables.table(columns, rows))
    left_out = [f"`{name}`: {reason}" for name, reason in module.LEFT_OUT.items()]
    left_out += [f"`{name}`: not installed here ({reason})" for name, reason in peers.absent.items()]
    if left_out:
        parts.append("Left out: " + "; ".join(left_out) + ".")
    return "\n\n".join(parts)


def compete(names: Sequence[str], quick: bool) -> tuple[list[str], list[tuple[str, list[Outcome]]]]:
    """Runs the contests of some algorithms; their sections and outcomes."""
    sections, titled = [], []
    for name in names:
        started = time.perf_counter()
        module, peers = importlib.import_module(f"peers.{name}"), Peers()
        outcomes = list(run_all(module.contests(peers, quick), quick))
        sections.append(section(module, outcomes, peers))
        titled.append((module.TITLE, outcomes))
        share = statistics.median(outcome.share for outcome in outcomes)
        took = time.perf_counter() - started
        print(f"{name}: {len(outcomes)} contests in {took:.1f} s, {share:.0%} of a core", file=sys.stderr)
        for absent, reason in peers.absent.items():
            print(f"{name}: {absent} is not installed: {reason}", file=sys.stderr)
    return sections, titled


def main() -> None:
    """Runs, prints."""
    parser = argparse.ArgumentParser(prog="python benches/peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything once, no figures")
    parser.add_argument("-k", metavar="WORD", choices=ALGORITHMS, action="append", help="only this algorithm")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write sections, targets and the raw figures")
    options = parser.parse_args()
    sections, titled = compete(options.k or ALGORITHMS, options.quick)
    if options.quick:
        return
    targets = tables.targets(titled)
    if options.json is None:
        print("\n\n".join([*sections, "### Targets", targets]))
        return
    raw = {title: [outcome.to_json() for outcome in outcomes] for title, outcomes in titled}
    rows = tables.target_rows(titled)
    options.json.write_text(json.dumps({"sections": sections, "targets": rows, "raw": raw}), encoding="utf-8")


if __name__ == "__main__":
    main()
