"""Lays a world out anew in a process that kills itself: before the step of that number, or whenever it is told to.

Arguments: the world's folder, the number of the step (-1: none), the name of the city that comes, and that of the one
that goes. Says ``open`` when the world is open, and ``done`` when all is done.
"""

from __future__ import annotations

import os
import signal
import sys

from city_chain.levels.crossing import Step
from city_chain.levels.world import World


def main() -> None:
    folder, number, add, remove = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    left = [number]

    def kill(_: Step) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    with World.open(folder) as world:
        print("open", flush=True)
        world.watch(kill)
        world.reshard(add=[add], remove=[remove])
    print("done", flush=True)


if __name__ == "__main__":
    main()
