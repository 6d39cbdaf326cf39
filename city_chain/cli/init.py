"""``city-chain init DIR``: makes a city in a folder. One that was interrupted is simply done again."""

from __future__ import annotations

import argparse
from pathlib import Path

import orjson

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, bounded
from city_chain.errors import InputError
from city_chain.levels import Places
from city_chain.levels.settings import Settings, founder
from city_chain.proofs import pop

__all__ = ["read_places", "run"]

_PLACES_BYTES_MAX = 1 << 20
_GEOJSON_BYTES_MAX = 256 << 20


def run(args: argparse.Namespace, console: Console) -> int:
    """Makes the city, its trust anchor and the folder for its receipts."""
    settings = Settings(
        name=args.name,
        nodes=args.nodes,
        validators=args.validators,
        k=args.k,
        n=args.n,
        districts=args.districts,
        engine=args.engine,
    )
    places = None if args.places is None else read_places(Path(args.places))
    founder(settings, places, is_new=True)  # whether they go together, before anything is made
    place = Place(args.folder)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.receipts.mkdir(exist_ok=True)
    names = ("name", "nodes", "validators", "k", "n", "districts", "engine")
    with place.made(console, **{name: getattr(settings, name) for name in names}, places=places) as city:
        place.keep_anchor(city.trust)
        network = city.network.hex()
    if args.json:
        about = {name: getattr(settings, name) for name in names}
        placed = {} if places is None else {"home": places.home, "places": len(places.nodes)}
        console.json({"city": text(place.folder), "network": network, "trust": text(place.anchor), **about, **placed})
    else:
        console.say(
            f"made the city {settings.name!r} in {text(place.folder)}: {settings.nodes} nodes, "
            f"{settings.validators} of them delegates; {settings.k} of {settings.n} fragments restore a transaction; "
            f"engine {settings.engine}"
            + ("" if places is None else f"; {len(places.nodes)} nodes have places, near is {text(places.home)}")
        )
    return 0


def read_places(path: Path) -> Places:
    """The places of nodes that a file tells.

    Args:
        path: A JSON file (see `Places.from_json`), at most 1 MiB. In it ``map`` is a GeoJSON file, at most 256 MiB, its
            path relative to this one's folder; ``map_name`` the property that names municipalities, without it their
            ids do.

    Raises:
        InputError: It is none, or a value is out of range.
        OSError: It cannot be read.
    """
    try:
        data = bounded(path, _PLACES_BYTES_MAX)
        data, places = _with_map(path, data)
        return Places.from_json(data, places)
    except InputError as error:
        raise InputError(f"{text(path)}: {error}") from None


def _with_map(path: Path, data: bytes) -> tuple[bytes, pop.Places | None]:
    """The places without the name of their map, and the map."""
    try:
        said = orjson.loads(data)
    except ValueError:
        return data, None  # what is wrong with it says who reads it
    if not isinstance(said, dict) or "map" not in said:
        return data, None
    file, name = said.pop("map"), said.pop("map_name", None)
    if not isinstance(file, str) or not file or "\0" in file:
        raise InputError("places: map must be the path of a GeoJSON file")
    if name is not None and not isinstance(name, str):
        raise InputError("places: map_name must be the name of a property")
    try:
        places = pop.Places.from_geojson(bounded(path.parent / file, _GEOJSON_BYTES_MAX), name=name)
    except InputError as error:
        raise InputError(f"places: map {text(file)}: {error}") from None
    return orjson.dumps(said), places
