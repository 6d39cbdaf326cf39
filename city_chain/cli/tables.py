"""Tables on stdout, a row at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from city_chain.cli.console import Console

__all__ = ["Columns", "Table"]

_CELL = 9  # the least width of a number

type Columns = Sequence[tuple[str, str, Callable[[Any], str]]]
"""Name, title, and how a value is shown."""


class Table:
    """Rows as JSON, or as a table whose numbers stand to the right; each is shown at once.

    Args:
        console: Where.
        as_json: Whether as JSON.
        columns: Name, title, and how a value is shown.
        first: All that the first column may show.

    Example:
        >>> columns = [("name", "name", str), ("count", "count", "{:,}".format)]
        >>> table = Table(Console(), False, columns, ["one", "three"])
        >>> table.add({"name": "three", "count": 1234})
        name       count
        three      1,234
    """

    def __init__(self, console: Console, as_json: bool, columns: Columns, first: Sequence[str]) -> None:
        self._console = console
        self._as_json = as_json
        self._columns = columns
        self._first = max(map(len, [columns[0][1], *first]))
        self._begun = False

    def add(self, row: dict[str, Any]) -> None:
        """Shows a row."""
        if self._as_json:
            self._console.json(row)
            return
        if not self._begun:
            self._say([title for _, title, _ in self._columns])
            self._begun = True
        self._say([shown(row[name]) for name, _, shown in self._columns])

    def _say(self, cells: Sequence[str]) -> None:
        widths = [max(len(title), _CELL) for _, title, _ in self._columns[1:]]
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths, strict=True)]
        self._console.say("  ".join([cells[0].ljust(self._first), *rest]).rstrip())
