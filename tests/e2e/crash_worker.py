"""Sends in processes that are to be killed. A small server, so that a killed process costs no start of an interpreter.

Reads one line for every process that is wanted: the city's file, the number of payloads, a seed. Each process is a fork
that says what it does, one write for each line: ``begin PID``, ``open``, ``ack POSITION TX_ID``, ``end``. When it is
gone, the server says ``gone``. A process that has sent all keeps the city open and waits to be killed.
"""

from __future__ import annotations

import os
import random
import sys
import time

from city_chain import City
from city_chain.records import Receipt

BATCH = 8


def payloads(count: int, seed: int) -> list[bytes]:
    """What a process sends: distinct payloads of 0 to 6 kB."""
    dice = random.Random(seed)
    return [b"%d/%d " % (seed, at) + dice.randbytes(dice.choice([0, 1, 100, 3000, 6000])) for at in range(count)]


def say(*words: object) -> None:
    """One write for the whole line: a short one is atomic on a pipe, so a kill cannot tear it."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def work(path: str, count: int, seed: int) -> None:
    say("begin", os.getpid())
    with City.open(path) as city:
        say("open")

        def acknowledge(position: int, outcome: object) -> None:
            if not isinstance(outcome, Receipt):
                raise TypeError(f"payload {position}: {outcome}")
            say("ack", position, outcome.tx_id.hex())

        city.send_many(payloads(count, seed), batch=BATCH, on_outcome=acknowledge)
        say("end")
        time.sleep(600)


def main() -> None:
    for line in sys.stdin:
        path, count, seed = line.rstrip("\n").split("\t")
        child = os.fork()
        if not child:
            status = 1
            try:
                work(path, int(count), int(seed))
                status = 0
            finally:
                os._exit(status)
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    main()
