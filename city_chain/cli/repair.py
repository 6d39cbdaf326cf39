"""``city-chain repair``: makes absent and corrupt fragments anew on healthy nodes.

It also writes the receipts anew that are not in the city's folder or are damaged there, for instance because the
process that sent was killed.
"""

from __future__ import annotations

import argparse

from city_chain.cli.console import Console
from city_chain.cli.place import Place, chosen
from city_chain.levels import City

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Repairs; 1 if any transaction could not be made whole."""
    place = Place(args.city)
    with place.open(console) as city:
        tx_ids = chosen(city, args.tx_ids)
        with console.progress("repairing", len(tx_ids)) as progress:
            report = city.repair(tx_ids, on_progress=progress.to)
        receipts = sum(_keep(place, city, tx_id) for tx_id in tx_ids)
    if args.json:
        console.json(
            {
                "checked": report.checked,
                "repaired": report.repaired,
                "fragments": report.fragments,
                "bytes": report.size,
                "receipts": receipts,
                "errors": {tx_id.hex(): str(error) for tx_id, error in report.errors.items()},
            }
        )
    else:
        console.say(str(report))
        if receipts:
            console.say(f"{receipts} receipts that were missing or damaged written anew")
    return 1 if report.errors else 0


def _keep(place: Place, city: City, tx_id: bytes) -> bool:
    """Writes a receipt anew unless it is there; returns whether it did."""
    receipt = city.receipt(tx_id)
    try:
        if place.receipt(tx_id).read_bytes() == receipt.to_bytes():
            return False
    except OSError:
        pass  # it cannot be read, so it is written
    place.keep(receipt)
    return True
