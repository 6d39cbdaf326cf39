"""Validator processes that are to be killed. A small server, so that a killed process costs no start of an interpreter.

Reads one line for every process that is wanted: the node's file, the file of its data, the address to listen at, and
the number of writes after which it kills itself instead of writing (negative: never), with tabs between. Each process
is a fork that says ``up PID ADDRESS FILE``, with the file of its data, when it answers, and runs until it is killed.
Those of several lines start beside each other. The server reaps what has ended.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from typing import Any

from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.levels import NodeHost


def say(*words: object) -> None:
    """One write for the whole line: a short one is atomic on a pipe, so a kill cannot tear it."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def die_after(writes: int) -> None:
    """Has this process kill itself in the place of a write."""
    put_many = SqliteStorage.put_many
    left = itertools.count(writes, -1)

    def dying(*args: Any, **more: Any) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        put_many(*args, **more)

    SqliteStorage.put_many = dying  # type: ignore[method-assign]


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that are killed leave no zombies
    for line in sys.stdin:
        file, data, listen, writes = line.rstrip("\n").split("\t")
        if os.fork():
            continue
        try:
            with NodeHost.open([file], data, listen=listen) as host:
                (address,) = host.addresses.values()
                if int(writes) >= 0:
                    die_after(int(writes))
                say("up", os.getpid(), address, data)
                parent = os.getppid()
                while os.getppid() == parent:  # never longer than the server
                    time.sleep(0.2)
        except BaseException as error:
            say("failed", os.getpid(), type(error).__name__, *str(error).split())
        finally:
            os._exit(0)


if __name__ == "__main__":
    main()
