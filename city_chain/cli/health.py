"""``city-chain health``: fetches and checks every fragment."""

from __future__ import annotations

import argparse
from typing import Any

from city_chain.cli.console import Console
from city_chain.cli.place import Place, chosen
from city_chain.levels import Health

__all__ = ["run", "summary"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Shows the health of the transactions; 1 if any is below its write quorum."""
    with Place(args.city).open(console) as city:
        tx_ids = chosen(city, args.tx_ids)
        with console.progress("checking", len(tx_ids)) as progress:
            found = city.health(tx_ids, on_progress=progress.to)
    if args.json:
        for row, transaction in zip(found.rows(), found.transactions, strict=True):
            console.json({**row, "bad": {str(index): why for index, why in transaction.bad.items()}})
        console.json(summary(found))
    else:
        console.say(found.table())
    counts = found.counts
    return 1 if counts["degraded"] or counts["lost"] else 0


def summary(health: Health) -> dict[str, Any]:
    """The counts and the redundancy, for programs."""
    return {"transactions": len(health.transactions), **health.counts, "redundancy": round(health.redundancy, 6)}
