"""``city-chain repair``: makes absent and corrupt fragments anew on healthy nodes.

It also writes the receipts anew that are not in the city's folder or are damaged there, for instance because the
process that sent was killed.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, chosen, stopped
from city_chain.cli.reasons import brief, why
from city_chain.errors import CityChainError
from city_chain.levels import City

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Repairs; 1 if any transaction could not be made whole."""
    place = Place(args.city)
    with place.open(console) as city:
        tx_ids = chosen(city, args.tx_ids)
        with console.progress("repairing", len(tx_ids)) as progress:
            report = city.repair(tx_ids, on_progress=progress.to)
        if not args.json:
            console.say(str(replace(report, errors={})))
        for tx_id, error in report.errors.items():
            console.complain(f"{tx_id.hex()}: {text(brief(str(error)))}")
        if report.errors and (advice := stopped(city)):
            console.complain(advice)
        receipts, kept = _keep_all(place, city, tx_ids, report.errors, console)
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
    elif receipts:
        console.say(f"{receipts} receipts that were missing or damaged written anew")
    return 1 if report.errors or not kept else 0


def _keep_all(
    place: Place, city: City, tx_ids: Sequence[bytes], told: Collection[bytes], console: Console
) -> tuple[int, bool]:
    """Writes receipts anew where they are missing or damaged, until one cannot be written.

    Args:
        place: Where receipts are kept.
        city: Which has them.
        tx_ids: Whose receipts.
        told: Those that are reported as not repaired: of them it is not said again.
        console: Where to tell.

    Returns:
        How many were written, and whether all are there now.
    """
    written = 0
    for tx_id in tx_ids:
        try:
            written += _keep(place, city, tx_id)
        except (CityChainError, OSError) as error:
            if tx_id in told and isinstance(error, CityChainError):
                continue
            console.complain(
                f"the receipt of {tx_id.hex()} could not be written: {why(error)}; repair again when that is mended"
            )
            return written, False
    return written, True


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
