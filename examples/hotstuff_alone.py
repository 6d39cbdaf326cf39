"""HotStuff alone: four validators in two processes agree on blocks over TCP, each in a thread of its own."""

import multiprocessing
import socket
import threading
import time
from contextlib import suppress

from city_chain import errors, hs
from city_chain.records import Identity

CHAIN, BLOCKS, KEYS = b"\x07" * 32, 10, [Identity(bytes([place]) * 32) for place in range(4)]
VALIDATORS = [(key.id, 1) for key in KEYS]


def _validator(me, listener, ports, stop, committed):
    machine = hs.HotStuff(CHAIN, 0, VALIDATORS, KEYS[me], bytes(32), timeout_us=500_000)
    machine.start(time.monotonic_ns() // 1000)
    while not stop.is_set():
        machine.tick(now := time.monotonic_ns() // 1000)
        while effects := hs.effects(machine):
            for kind, number, data, block, extra in effects:
                if kind == "persist":  # a real journal is written and synced before the machine is told
                    machine.durable(number)
                elif kind in ("send", "broadcast"):  # what is lost is said again after a while
                    for to in [number] if kind == "send" else {*range(4)} - {me}:
                        with suppress(OSError), socket.create_connection(("127.0.0.1", ports[to])) as connection:
                            connection.sendall(bytes([me]) + data)
                elif kind == "need_payload" and machine.round == number:
                    machine.propose(b"block of round %d" % number, now)
                elif kind == "validate":
                    machine.payload_result(block, data.startswith(b"block"), now)
                elif kind == "commit" and hs.verify_commit(extra, VALIDATORS, CHAIN, 0) == hs.payload_digest(data):
                    committed.append(data)
        with suppress(TimeoutError, errors.CityChainError), listener.accept()[0] as connection:
            message = connection.makefile("rb").read()
            machine.handle(message[0], message[1:], now)
    listener.close()


def _process(places, pipe):
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in places]
    pipe.send(mine := {place: listener.getsockname()[1] for place, listener in zip(places, listeners, strict=True)})
    ports, stop, blocks = mine | pipe.recv(), threading.Event(), [[] for _ in places]
    for at, place in enumerate(places):
        listeners[at].settimeout(0.05)
        threading.Thread(target=_validator, args=(place, listeners[at], ports, stop, blocks[at])).start()
    while min(map(len, blocks)) < BLOCKS:
        time.sleep(0.01)
    pipe.send([some[:BLOCKS] for some in blocks])
    every = [some[:BLOCKS] for some in blocks] + pipe.recv()  # now the others are done as well
    stop.set()
    assert all(some == every[0] for some in every), "a fork"
    return every[0]


if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=_process, args=((2, 3), there)).start()
    print(b"\n".join(_process((0, 1), here)).decode())
