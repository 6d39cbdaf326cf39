"""``city-chain receive TX_ID``: restores a transaction's file, and opens it if it is sealed."""

from __future__ import annotations

import argparse
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.key_files import unlock_kem
from city_chain.cli.place import Place, check_free, find_transaction, write_whole
from city_chain.errors import InputError

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Writes the payload to the file asked for, or to stdout."""
    target = None if args.output in (None, "-") else Path(args.output)
    if target is not None:
        check_free(target, over=args.force)
    place = Place(args.city)
    if target is not None and place.owns(target):
        raise InputError(f"{text(target)} is the city's own; name another file")
    place.check()  # before anything is asked
    key = None if args.key is None else unlock_kem(Path(args.key), args.passphrase_file, console)
    with place.open(console) as city:
        tx_id = find_transaction(city, args.tx_id)
        payload = city.receive(tx_id, key=key)
    if target is None:
        console.payload(payload)
        return 0
    write_whole(target, payload, over=args.force)
    if args.json:
        console.json({"tx_id": tx_id.hex(), "file": text(target), "bytes": len(payload)})
    else:
        console.say(f"{tx_id.hex()}  {text(target)}  {len(payload)} bytes")
    return 0
