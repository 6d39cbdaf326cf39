"""``city-chain health``: fetches and checks every fragment."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, chosen, stopped
from city_chain.errors import CityChainError, StorageError, UnavailableError
from city_chain.levels import City, Health
from city_chain.levels.reports import TransactionHealth

__all__ = ["run", "summary"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Shows the health of the transactions; 1 if any is below its write quorum or cannot be looked up."""
    with Place(args.city).open(console) as city:
        tx_ids = chosen(city, args.tx_ids)
        with console.progress("checking", len(tx_ids)) as progress:
            found = _health(city, tx_ids, progress.to)
        advice = stopped(city) if any(transaction.bad for transaction in found.transactions) else None
    if args.json:
        for row, transaction in zip(found.rows(), found.transactions, strict=True):
            console.json({**row, "bad": {str(index): why for index, why in transaction.bad.items()}})
        for tx_id, error in found.errors.items():
            console.json({"tx_id": tx_id.hex(), "state": "unknown", "error": text(str(error))})
        console.json(summary(found))
    else:
        console.say(found.table())
        if advice:
            console.say(advice)
    for tx_id, error in found.errors.items():
        console.complain(f"{tx_id.hex()}: {text(str(error))}")
    counts = found.counts
    return 1 if counts["degraded"] or counts["lost"] or found.errors else 0


def _health(city: City, tx_ids: Sequence[bytes], on_progress: Callable[[int], None]) -> Health:
    """The health of transactions; if no node runs, nothing can be fetched, and all is lost for now."""
    try:
        return city.health(tx_ids, on_progress=on_progress)
    except UnavailableError as error:
        if any(node.running for node in city.nodes()):
            raise
        found, errors = [], {}
        for tx_id in tx_ids:
            try:
                manifest = city.receipt(tx_id).manifest
            except StorageError as damage:
                errors[tx_id] = damage
                continue
            bad = dict.fromkeys(range(manifest.n), str(error))
            found.append(TransactionHealth(tx_id, manifest.k, manifest.quorum, manifest.n, 0, bad))
        return Health(found, dict[bytes, CityChainError](errors))


def summary(health: Health) -> dict[str, Any]:
    """The counts and the redundancy, for programs."""
    return {
        "transactions": len(health.transactions),
        **health.counts,
        "unknown": len(health.errors),
        "redundancy": round(health.redundancy, 6),
    }
