"""Sends across cities in a process that kills itself: before the step of that number, or whenever it is told to.

Arguments: the world's folder, the number of the step (-1: none, it sends on until it is killed). Says ``ack TX_ID`` for
every receipt that it was given, one write for each line.
"""

from __future__ import annotations

import os
import signal
import sys

from city_chain.levels.crossing import Step
from city_chain.levels.world import World

TOUCHES = {"north": [b"a"], "south": [b"b"]}


def say(*words: object) -> None:
    """One write for the whole line: a short one is atomic on a pipe, so a kill cannot tear it."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def main() -> None:
    folder, number = sys.argv[1], int(sys.argv[2])
    left = [number]

    def kill(_: Step) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    with World.open(folder) as world:
        say("open")
        world.watch(kill)
        for at in range(1 if number >= 0 else 1000):
            say("ack", world.send(b"%d/%d" % (number, at), TOUCHES).tx_id.hex())
    say("end")


if __name__ == "__main__":
    main()
