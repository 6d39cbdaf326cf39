"""``city-chain world``: several cities in one folder, transactions across them, cities that come and go."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from city_chain.cli.console import Console, Progress, text
from city_chain.cli.parser import FILE_BYTES_MAX
from city_chain.cli.place import warnings_to
from city_chain.errors import InputError
from city_chain.levels import Resharded, World

__all__ = ["run"]

_SIGN_OF_LIFE_S = 1.0


def run(args: argparse.Namespace, console: Console) -> int:
    """Runs one action; 1 if it did not reach its end."""
    actions = {"init": _init, "send": _send, "health": _health, "reshard": _reshard}
    with warnings_to(console):
        return actions[args.action](args, console)


def _init(args: argparse.Namespace, console: Console) -> int:
    with (
        console.if_long(_SIGN_OF_LIFE_S, "making the cities takes longer: their delegates make their keys"),
        World.local(
            args.cities, args.folder, nodes=args.nodes, validators=args.validators, k=args.k, n=args.n
        ) as world,
    ):
        chain, names = world.chain.hex(), world.names
    if args.json:
        console.json({"world": text(args.folder), "chain": chain, "cities": list(names)})
    else:
        console.say(f"made a world in {text(args.folder)}: {', '.join(names)}")
    return 0


def _opened(args: argparse.Namespace, console: Console) -> World:
    with console.if_long(_SIGN_OF_LIFE_S, "opening the world takes longer: it goes on with what was cut off"):
        return World.open(args.world)


def _send(args: argparse.Namespace, console: Console) -> int:
    payload = _read(args.file)
    touches: dict[str, list[bytes]] = {}
    plain: list[bytes] = []
    for city, key in args.touch:
        (plain if city is None else touches.setdefault(city, [])).append(os.fsencode(key))
    if plain and touches:
        raise InputError("--touch: either all keys name a city, or none does")
    with _opened(args, console) as world:
        tx_id = world.send(payload, touches or plain).tx_id.hex()
    if args.json:
        console.json({"tx_id": tx_id, "file": text(args.file)})
    else:
        console.say(f"{tx_id}  {text(args.file)}")
    return 0


def _read(name: str) -> bytes:
    if name == "-":
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"{text(name)}: more than {FILE_BYTES_MAX >> 20} MiB, which is the most")
    return data


def _health(args: argparse.Namespace, console: Console) -> int:
    with _opened(args, console) as world:
        health = world.health()
    if args.json:
        for row in health.rows():
            console.json({**row, "city": text(row["city"])})
    else:
        console.say(str(health))
    running = all(city.running for city in health.cities)
    return 0 if running and not health.pending and not health.joining and not health.leaving else 1


def _reshard(args: argparse.Namespace, console: Console) -> int:
    with _opened(args, console) as world:
        if world.recovery.resharded is not None:
            _say(world.recovery.resharded, args, console)
        if args.add or args.remove:
            with console.progress("moving keys", None) as progress:
                done = world.reshard(add=args.add, remove=args.remove, on_progress=_to(progress))
            _say(done, args, console)
        health = world.health()
        if health.joining or health.leaving:
            console.complain(f"cities are still on the way: {', '.join([*health.joining, *health.leaving])}")
            return 1
    return 0


def _to(progress: Progress) -> Callable[[int, int], None]:
    def on_progress(done: int, _: int) -> None:
        progress.to(done)

    return on_progress


def _say(done: Resharded, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        moves = [{**row, "from": text(row["from"]), "to": text(row["to"])} for row in done.rows()]
        console.json(
            {
                "epoch": done.epoch,
                "came": [text(name) for name in done.came],
                "left": [text(name) for name in done.left],
                "keys": done.keys,
                "moved": done.moved,
                "moves": moves,
            }
        )
    else:
        console.say(str(done))
