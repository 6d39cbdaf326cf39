"""``city-chain init DIR``: makes a city in a folder. One that was interrupted is simply done again."""

from __future__ import annotations

import argparse

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place
from city_chain.levels.settings import Settings

__all__ = ["run"]


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
    place = Place(args.folder)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.receipts.mkdir(exist_ok=True)
    names = ("name", "nodes", "validators", "k", "n", "districts", "engine")
    with place.made(console, **{name: getattr(settings, name) for name in names}) as city:
        place.keep_anchor(city.trust)
        network = city.network.hex()
    if args.json:
        about = {name: getattr(settings, name) for name in names}
        console.json({"city": text(place.folder), "network": network, "trust": text(place.anchor), **about})
    else:
        console.say(
            f"made the city {settings.name!r} in {text(place.folder)}: {settings.nodes} nodes, "
            f"{settings.validators} of them delegates; {settings.k} of {settings.n} fragments restore a transaction; "
            f"engine {settings.engine}"
        )
    return 0
