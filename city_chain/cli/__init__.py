"""The command line, ``city-chain``: one file for each command.

`parser` describes every command and is all that ``--help`` loads; the command's own file, and with it the extension, is
imported when it runs. A command is a module with ``run(args, console) -> int``, which returns the exit status.

====  ======================================================================
exit  meaning
====  ======================================================================
0     done
1     it failed, or what was examined is wrong; the reason is on stderr
2     the command line is wrong
130   interrupted (Ctrl-C)
====  ======================================================================

With ``CITY_CHAIN_DEBUG=1`` in the environment an error shows where it came from.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from city_chain.cli.console import Console
from city_chain.cli.parser import parse
from city_chain.cli.reasons import reason
from city_chain.errors import CityChainError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: The arguments (default: those of the process).

    Raises:
        SystemExit: The command line is wrong, or help was asked for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     status = main(["--city", folder, "health"])  # complains on stderr: there is no city
        >>> status
        1
    """
    from importlib import import_module  # noqa: PLC0415 — --help does without

    console = Console()
    try:
        args = parse(argv)
        status: int = import_module(f"city_chain.cli.{args.command}").run(args, console)
    except (CityChainError, OSError) as error:
        if os.environ.get("CITY_CHAIN_DEBUG") == "1":
            raise
        console.complain(reason(error))
        status = 1
    except KeyboardInterrupt:
        console.complain("interrupted")
        status = 130
    if status == 130 and argv is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once more on the way out must not change the status
    return console.finish(status)
