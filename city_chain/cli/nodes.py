"""``city-chain nodes``: lists the nodes, stops some, starts some again, has some run in processes of their own."""

from __future__ import annotations

import argparse
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.place import Place, check_free, find_id
from city_chain.levels import NodeInfo
from city_chain.levels.reports import table

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Stops, starts and moves what is asked for, then shows all nodes."""
    files = [Path(name) for _, name in args.move_out]
    for file in files:  # before anything is changed
        check_free(file, over=False)
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
            console.complain(
                f"node {node.hex()[:16]} has moved out: run it with city-chain validator {text(file)}, then tell where "
                f"with city-chain nodes --at {index}=tcp:HOST:PORT"
            )
        nodes = city.nodes()
    if args.json:
        for info in nodes:
            console.json(
                {
                    "id": info.id.hex(),
                    "domain": text(info.domain),
                    "address": text(info.address),
                    "delegate": info.delegate,
                    "votes": info.votes,
                    "running": info.running,
                    "fragments": info.fragments,
                }
            )
    else:
        console.say(table(["node", "domain", "role", "state", "fragments"], [_row(info) for info in nodes]))
    return 0


def _row(info: NodeInfo) -> list[object]:
    role = "holder"
    if info.delegate:
        role += ", delegate" if info.votes else ", delegate that does not vote: its journal is damaged"
    return [info.id.hex(), text(info.domain), role, "running" if info.running else "stopped", info.fragments]
