"""``city-chain lab hyparview|plumtree``: overlays of thousands of nodes, measured, beside what the papers say."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from city_chain import sim
from city_chain.cli.console import Console, Progress
from city_chain.cli.tables import Columns, Table

__all__ = ["ACTIONS", "run"]

ACTIONS = ("hyparview", "plumtree")

_WIDTH = 58  # of what is measured
_PERCENT = 100


def run(args: argparse.Namespace, console: Console) -> int:
    """Does one of the two; 1 if a measure is off."""
    lab = {"hyparview": sim.hyparview, "plumtree": sim.plumtree}[args.action]
    off = 0
    table = Table(console, args.json, _COLUMNS, ["x" * _WIDTH])
    with _Phases(console) as phases:
        for row in lab(args.nodes, args.cycles, args.seed, on_progress=phases.to):
            table.add({"seed": args.seed, "nodes": args.nodes, "cycles": args.cycles, **row} if args.json else row)
            off += row["ok"] is False
    if off:
        console.complain(f"{off} of these are not as expected")
    return 1 if off else 0


def _number(value: float | None) -> str:
    """With as many digits as say something.

    Example:
        >>> _number(None), _number(1), _number(0.00092), _number(6.38542), _number(1234.5)
        ('', '1', '0.00092', '6.385', '1,234.5')
    """
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.5f}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def _verdict(ok: bool | None) -> str:
    return {True: "ok", False: "OFF", None: ""}[ok]


_COLUMNS: Columns = (
    ("measure", "measure", str),
    ("failures", "failures seen by", lambda value: str(value or "").rjust(18)),
    ("paper", "paper", _number),
    ("expected", "expected", _number),
    ("measured", "measured", _number),
    ("ok", "", _verdict),
)


class _Phases(contextlib.AbstractContextManager["_Phases"]):
    """A progress bar for what is being done, and another one when that changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what = ""
        self._bars = contextlib.ExitStack()
        self._bar: Progress | None = None

    def to(self, what: str, share: float) -> None:
        """A share of this is done, 0 to 1."""
        if self._bar is None or what != self._what:
            self._bars.close()
            self._what, self._bar = what, self._bars.enter_context(self._console.progress(f"{what}, %", _PERCENT))
        self._bar.to(round(share * _PERCENT))

    def __exit__(self, *error: Any) -> None:
        self._bars.close()
