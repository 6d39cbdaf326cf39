"""Time servers of a test's own making, which can turn against each other. They answer on loopback."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

EPOCH_S = 2_208_988_800


class Servers:
    """Time servers on loopback. Each is so many seconds ahead, and says that it may be so far from the truth."""

    def __init__(self, *ahead_s: float, dispersion_s: float = 0.0001) -> None:
        self.ahead_s = list(ahead_s)
        self._dispersion = round(dispersion_s * 65536)
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ahead_s]
        for sock in self._sockets:
            sock.bind(("127.0.0.1", 0))
        self.names = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in self._sockets]
        self._threads = [Thread(target=self._serve, args=(at,)) for at in range(len(ahead_s))]
        for thread in self._threads:
            thread.start()

    def _serve(self, at: int) -> None:
        while True:
            request, where = self._sockets[at].recvfrom(2048)
            if request == b"end":
                return
            seconds, rest = divmod(time.time_ns() + round(self.ahead_s[at] * 1e9), 10**9)
            now = seconds + EPOCH_S << 32 | (rest << 32) // 10**9
            head = struct.pack(">BBbbII4s", 0x24, 1, 0, -24, 0, self._dispersion, b"TEST")
            self._sockets[at].sendto(head + struct.pack(">Q8sQQ", now - 1, request[40:48], now, now), where)

    def close(self) -> None:
        for sock in self._sockets:
            sock.sendto(b"end", sock.getsockname())
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()


@contextmanager
def servers(*ahead_s: float, dispersion_s: float = 0.0001) -> Iterator[Servers]:
    made = Servers(*ahead_s, dispersion_s=dispersion_s)
    try:
        yield made
    finally:
        made.close()
