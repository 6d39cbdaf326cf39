"""``city-chain validator FILE…``: runs nodes that have moved out of a city, until it is ended."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.tokens import auth_of
from city_chain.errors import UnavailableError
from city_chain.levels import NodeHost
from city_chain.node.ntp_clock import NtpClock

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Says where each node answers, one line each, and waits for SIGTERM or Ctrl-C."""
    ended = threading.Event()
    with contextlib.suppress(ValueError):  # not in the main thread: whoever called ends it
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(_kept(args.ntp, console)) if args.ntp else None
        files = [Path(name) for name in args.files]
        auth = auth_of(args)
        host = stack.enter_context(NodeHost.open(files, args.data, listen=args.listen, clock=clock, auth=auth))
        if auth is not None and not args.json:
            console.say(f"takes tokens for {text(args.audience)} whose sub is the city's sender, {host.sender.hex()}")
        for index, address in host.addresses.items():
            node = host.ids[index]
            if args.json:
                wanted = {} if auth is None else {"sender": host.sender.hex()}
                console.json({"index": index, "node": node.hex(), "address": address, "height": host.height, **wanted})
            else:
                console.say(f"node {index} ({node.hex()[:16]}) answers at {text(address)}")
        ended.wait()
    return 0


def _kept(servers: Sequence[str], console: Console) -> NtpClock:
    """A clock that goes by time servers; where they do not agree, what each says is told.

    Raises:
        UnavailableError: No majority of them agrees.
    """
    clock = NtpClock(servers)
    try:
        clock.poll()
    except UnavailableError:
        for server in clock.servers():
            console.complain(text(str(server)))
        raise
    clock.start()
    return clock
