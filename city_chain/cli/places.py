"""``city-chain places check|locate``: maps of municipalities, without any city."""

from __future__ import annotations

import argparse
import codecs
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.place import bounded
from city_chain.errors import InputError
from city_chain.proofs import pop

__all__ = ["run"]

_BYTES_MAX = 256 << 20


def run(args: argparse.Namespace, console: Console) -> int:
    """Does what is asked with a map."""
    try:
        data = bounded(Path(args.file), _BYTES_MAX)
        if data.startswith(codecs.BOM_UTF8):
            raise InputError("begins with a byte order mark, which JSON has not; save it without")
        if not data.strip():
            raise InputError("is empty; a GeoJSON FeatureCollection is needed")
    except InputError as error:
        raise InputError(f"{text(args.file)}: {error}") from None
    return _check(args, console, data) if args.action == "check" else _locate(args, console, data)


def _check(args: argparse.Namespace, console: Console, data: bytes) -> int:
    faults = pop.faults(data, name=args.name)
    for fault in faults:
        if args.json:
            where = {name: getattr(fault, name) for name in ("feature", "name", "polygon", "ring")}
            console.json({**where, "fault": fault.what})
        else:
            console.say(text(str(fault)))
    if faults:
        console.complain(f"{text(args.file)}: {len(faults)} fault{'s' if len(faults) > 1 else ''}")
        return 1
    places = pop.Places.from_geojson(data, name=args.name)
    if args.json:
        console.json({"municipalities": len(places), "root": places.root.hex()})
    else:
        console.say(f"{_counted(places)}, root {places.root.hex()}")
    return 0


def _locate(args: argparse.Namespace, console: Console, data: bytes) -> int:
    places = pop.Places.from_geojson(data, name=args.name, leave_out=args.leave_out)
    found = places.locate(args.lon, args.lat)
    if args.json:
        console.json({"municipality": found, "root": places.root.hex()})
    elif found is None:
        console.complain(f"({args.lon}, {args.lat}) is in none of {_counted(places)}")
    else:
        console.say(text(found))
    return 1 if found is None else 0


def _counted(places: pop.Places) -> str:
    return f"{len(places)} municipalit{'y' if len(places) == 1 else 'ies'}"
