"""What the parsers of several commands have in common. Nothing here loads the extension."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

__all__ = ["Commands", "action", "count", "file", "folder", "group"]

type Commands = argparse._SubParsersAction[argparse.ArgumentParser]
"""Where commands, or the actions of one, are added."""


def folder(name: str) -> str:
    """The name of a folder; an empty one, as of a variable that is not set, is not the current folder."""
    if not name:
        raise argparse.ArgumentTypeError("the name is empty; name a folder (the current one is .)")
    return name


def file(name: str) -> str:
    """The name of a file or a folder."""
    if not name:
        raise argparse.ArgumentTypeError("the name is empty; name a file or a folder")
    return name


def count(text: str) -> int:
    """A number above 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a number above 0 is needed")
    return int(text)


def group(commands: Commands, name: str, summary: str, more: str, examples: Sequence[str]) -> Commands:
    """A command that has actions; to be filled by `action`."""
    parser = commands.add_parser(
        name,
        help=summary.replace("%", "%%"),  # argparse formats this one, not the description
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(more, 88),
        epilog="\n".join(
            [
                "Examples:",
                *(f"  city-chain {name} {example}" for example in examples),
                "",
                f"city-chain {name} ACTION --help says more.",
            ]
        ),
    )
    return parser.add_subparsers(dest="action", metavar="ACTION", required=True)


def action(
    actions: Commands, of: str, name: str, summary: str, more: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """An action of the command `of`, with ``--json``."""
    parser = actions.add_parser(
        name,
        help=summary.replace("%", "%%"),  # argparse formats this one, not the description
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {more}", 88),
        epilog="\n".join(["Examples:", *(f"  city-chain {of} {example}" for example in examples)]),
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="output for programs: JSON, one a line"
    )
    return parser
