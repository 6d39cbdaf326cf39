"""``city-chain nodes``: lists the nodes, stops some, starts some again, has some run in processes of their own."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, check_free, find_id
from city_chain.levels import NodeInfo
from city_chain.levels.reports import table

__all__ = ["run"]

_PORT = 7100
"""To this the number of a node is added, for the port that is proposed."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Stops, starts and moves what is asked for, then shows all nodes."""
    files = [Path(name) for _, name in args.move_out]
    for file in files:  # before anything is changed
        check_free(file, over=False, advice="name another file")
    with Place(args.city).open(console, dict(args.at)) as city:
        ids = [node.id for node in city.nodes()]
        stop, start = ([find_id(digits, ids, "node") for digits in asked] for asked in (args.stop, args.start))
        for node in stop:
            city.stop_node(node)
        for node in start:
            city.start_node(node)
        for (digits, _), file in zip(args.move_out, files, strict=True):
            node = find_id(digits, ids, "node")
            index = city.move_out(node, file)
            console.complain(_said(node, index, file, args.city))
        nodes = city.nodes()
    if args.json:
        for info in nodes:
            console.json(
                {
                    "index": info.index,
                    "id": info.id.hex(),
                    "domain": text(info.domain),
                    "address": text(info.address),
                    "delegate": info.delegate,
                    "votes": info.votes,
                    "running": info.running,
                    "state": info.state,
                    "fragments": info.fragments,
                }
            )
    else:
        titles = ["node", "number", "domain", "role", "state", "address", "fragments"]
        console.say(table(titles, [_row(info) for info in nodes]))
    return 0


def _said(node: bytes, index: int, file: Path, city: str | None) -> str:
    """What is to be done for a node that has moved out: two commands that run as they stand."""
    secret = text(file)
    here = "" if city is None else f" --city {shlex.quote(text(city))}"
    address = f"tcp:127.0.0.1:{_PORT + index}"
    return (
        f"node {node.hex()[:16]} has moved out: run it with city-chain validator {shlex.quote(secret)} "
        f"--data {shlex.quote(secret + '.db')} --listen {address}, then tell where with "
        f"city-chain{here} nodes --at {index}={address}"
    )


def _row(info: NodeInfo) -> list[object]:
    return [info.id.hex(), info.index, text(info.domain), info.role, info.state, text(info.address), info.fragments]
