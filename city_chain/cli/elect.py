"""``city-chain elect``: begins the next epoch, with other delegates, or the same with fresh key shares."""

from __future__ import annotations

import argparse

from city_chain.cli.console import Console
from city_chain.cli.place import Place, find_id

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Elects so many of the nodes that run, or those that are named; as many as there are if nothing is asked for."""
    place = Place(args.city)
    with place.open(console) as city:
        ids = [node.id for node in city.nodes()]
        chosen = [find_id(digits, ids, "node") for digits in args.nodes]
        count = len(city.epoch.validators.items) if args.delegates is None else args.delegates
        epoch = city.elect(chosen or count)
        place.renew_anchor(city, console)
        height = city.height
    delegates = [node.hex() for node, _ in epoch.validators.items]
    if args.json:
        console.json({"epoch": epoch.number, "height": height, "delegates": delegates})
    else:
        console.say(f"epoch {epoch.number} begins after height {height}; its delegates are")
        for delegate in delegates:
            console.say(f"  {delegate}")
    return 0
