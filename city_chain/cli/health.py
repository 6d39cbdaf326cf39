"""``city-chain health``: fetches and checks every fragment."""

from __future__ import annotations

import argparse
from typing import Any

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, chosen
from city_chain.levels import Health

__all__ = ["run", "summary"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Shows the health of the transactions; 1 if any is below its write quorum or cannot be looked up."""
    with Place(args.city).open(console) as city:
        tx_ids = chosen(city, args.tx_ids)
        with console.progress("checking", len(tx_ids)) as progress:
            found = city.health(tx_ids, on_progress=progress.to)
    if args.json:
        for row, transaction in zip(found.rows(), found.transactions, strict=True):
            console.json({**row, "bad": {str(index): why for index, why in transaction.bad.items()}})
        for tx_id, error in found.errors.items():
            console.json({"tx_id": tx_id.hex(), "state": "unknown", "error": text(str(error))})
        console.json(summary(found))
    else:
        console.say(found.table())
    for tx_id, error in found.errors.items():
        console.complain(f"{tx_id.hex()}: {text(str(error))}")
    counts = found.counts
    return 1 if counts["degraded"] or counts["lost"] or found.errors else 0


def summary(health: Health) -> dict[str, Any]:
    """The counts and the redundancy, for programs."""
    return {
        "transactions": len(health.transactions),
        **health.counts,
        "unknown": len(health.errors),
        "redundancy": round(health.redundancy, 6),
    }
