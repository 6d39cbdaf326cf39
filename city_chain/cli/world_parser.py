"""The arguments of ``city-chain world``."""

from __future__ import annotations

import argparse

from city_chain.cli.arguments import Commands, action, count, file, folder, group

__all__ = ["add"]


def add(commands: Commands) -> None:
    """The commands for several cities together."""
    actions = group(
        commands,
        "world",
        "several cities whose transactions are done together; cities come and go",
        "A world is several cities in one folder. A transaction that touches keys of several of them is done in all or "
        "in none. Cities can be added and removed: their keys move, as few as possible, and every receipt stays valid.",
        [
            "init earth north south --nodes 8 -k 2 -n 4",
            "send letter.txt --world earth --touch north=ann --touch south=ben",
            "reshard --world earth --add west",
            "health --world earth",
        ],
    )
    for make in (_init, _send, _health, _reshard):
        make(actions)


def _init(actions: Commands) -> None:
    parser = action(
        actions,
        "world",
        "init",
        "make a world in a folder",
        "The folder gets world.db and a file for every city, with their keys: keep it to yourself.",
        ["init earth north south", "init earth north south --nodes 8 -k 2 -n 4"],
    )
    parser.add_argument("folder", metavar="DIR", type=folder, help="the folder; it is made if it is not there")
    parser.add_argument("cities", metavar="CITY", nargs="+", type=_name, help="the names of its cities, at most 64")
    for flags, default, what in (
        (["--nodes"], 20, "how many nodes each city has"),
        (["--validators"], 4, "how many of them are delegates, who vote"),
        (["-k"], 6, "fragments that restore a transaction"),
        (["-n"], 10, "fragments there are of each"),
    ):
        parser.add_argument(*flags, type=count, default=default, metavar="N", help=f"{what} (default: {default})")


def _send(actions: Commands) -> None:
    parser = action(
        actions,
        "world",
        "send",
        "send a file as one transaction that touches keys of several cities",
        "It is done in every city that it touches, or in none: then the exit status is 1, and what is said names the "
        "city that refused it. Says the transaction's id; the world keeps its receipt.",
        ["send letter.txt --world earth --touch north=ann --touch south=ben", "send - --touch account7"],
    )
    parser.add_argument("file", metavar="FILE", type=file, help="at most 64 MiB; - is stdin")
    parser.add_argument(
        "--touch",
        metavar="[CITY=]KEY",
        type=_key,
        action="append",
        required=True,
        help="a key that it reads and writes, as it is written here; with CITY the one that was named for that city; "
        "at most 64",
    )
    _where(parser)


def _health(actions: Commands) -> None:
    _where(
        action(
            actions,
            "world",
            "health",
            "list the cities",
            "Heights, delegates, the chance that a third of them is faulty, keys, locks; what is not ended, and which "
            "cities are on the way or have left. Opening the world goes on with what was cut off. Exit status 1 if a "
            "city does not run or something is not ended.",
            ["health --world earth"],
        )
    )


def _reshard(actions: Commands) -> None:
    parser = action(
        actions,
        "world",
        "reshard",
        "add cities to a world and remove some; their keys move",
        "Of n cities and a new one every n + 1st key moves to it, and no other; of a city that is removed all move to "
        "the others. Shows how many moved from where to where. At most four come and go at once. New cities are like "
        "the first one. If it is interrupted, the next command that opens the world goes on with it; without --add and "
        "--remove this one does nothing else. A city that has left keeps its file, for what was sent there is still "
        "received from it.",
        [
            "reshard --world earth --add west",
            "reshard --world earth --remove south",
            "reshard --world earth",
        ],
    )
    for flag, what in (("--add", "a city that comes"), ("--remove", "a city that goes")):
        parser.add_argument(
            flag, metavar="CITY", type=_name, action="append", default=[], help=f"{what}; once for each"
        )
    _where(parser)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--world", metavar="DIR", type=folder, default=".", help="the world's folder (default: the current one)"
    )


def _name(name: str) -> str:
    if not name or "=" in name:
        raise argparse.ArgumentTypeError(f"{name!r}: a city's name is needed, without =")
    return name


def _key(pair: str) -> tuple[str | None, str]:
    """The city that a key is named for, and the key."""
    city, equals, key = pair.rpartition("=")
    if not key or (equals and not city):
        raise argparse.ArgumentTypeError(f"{pair!r} is not [CITY=]KEY")
    return (city if equals else None), key
