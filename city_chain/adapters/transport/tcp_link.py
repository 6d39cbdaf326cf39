"""The calling side of TCP: one connection to each place, made when it is needed and made anew when it is lost.

Requests are pipelined: whoever asks puts its requests into the link's queue and waits for nothing. One thread connects
and writes, another reads the answers. A peer that does not take or does not answer costs its callers their deadlines
and nobody else anything.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Sequence
from itertools import count
from threading import Condition, Lock, Thread, current_thread
from time import monotonic
from typing import NamedTuple

from city_chain.adapters.transport.gathering import Gather
from city_chain.adapters.transport.tcp_frames import (
    HELLO,
    TICK_S,
    Asked,
    Place,
    read_answers,
    read_frame,
    requests_frame,
    runs,
    send_whole,
)
from city_chain.errors import CityChainError, ProtocolError, UnavailableError
from city_chain.ports import Clock, Request

__all__ = ["Link", "Parcel"]

QUEUE_BYTES_MAX = 1 << 30
"""Bytes of bodies that may wait for one place."""

_IDLE_S = 60.0
_SWEEP_S = 1.0
_CONNECT_MAX_S = 10.0


class Parcel(NamedTuple):
    """One request of a gather on its way."""

    gather: Gather
    ticket: int
    request: Request


class _Run(NamedTuple):
    """What goes out in one frame: its parcels have one deadline."""

    parcels: list[Parcel]
    size: int
    deadline: float


class Link:
    """Carries requests to one place.

    Args:
        place: Where to.
        clock: Whose `monotonic` deadlines are instants of.
        patience_s: How long a connection may take nothing, or a frame may take, seconds.
    """

    def __init__(self, place: Place, clock: Clock, patience_s: float) -> None:
        self._place = place
        self._clock = clock
        self._patience_s = patience_s
        self._changed = Condition(Lock())  # guards all below
        self._queue: deque[_Run] = deque()
        self._queued_bytes = 0
        self._waiting: dict[int, Parcel] = {}
        self._numbers = count(1)
        self._sock: socket.socket | None = None
        self._threads: set[Thread] = set()
        self._writer: Thread | None = None
        self._swept_at = -math.inf
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for it to go out or for an answer."""
        with self._changed:
            return not self._queue and not self._waiting

    def put(self, parcels: Sequence[Parcel]) -> None:
        """Sends requests of one gather as soon as can be; what cannot be is answered with an error at once."""
        refused: list[Parcel] = []
        with self._changed:
            if self._closed:
                refused, parcels = list(parcels), []
            for run in runs(parcels, lambda parcel: len(parcel.request.body)):
                size = sum(len(parcel.request.body) for parcel in run)
                if self._queue and self._queued_bytes + size > QUEUE_BYTES_MAX:
                    refused += run
                    continue
                self._queued_bytes += size
                self._queue.append(_Run(run, size, run[0].gather.deadline))
            self._sweep()
            if self._queue and self._writer is None and not self._start():
                refused += self._emptied()
            self._changed.notify_all()
        self._fail(refused, "the transport is closed" if self._closed else "too much is on its way there")

    def close(self) -> list[Thread]:
        """Ends the connection; the threads that are about to end."""
        with self._changed:
            self._closed = True
            lost = [*self._emptied(), *self._waiting.values()]
            self._waiting.clear()
            self._drop(self._sock)
            self._changed.notify_all()
            threads = list(self._threads)
        self._fail(lost, "the transport was closed")
        return threads

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Forgets requests whose deadline has passed without an answer."""
        now = monotonic()
        if now < self._swept_at + _SWEEP_S:
            return
        self._swept_at, instant = now, self._clock.monotonic()
        late = [number for number, parcel in self._waiting.items() if parcel.gather.deadline < instant]
        for number in late:
            del self._waiting[number]

    def _start(self) -> bool:
        self._writer = Thread(target=self._write, name="city-chain-tcp", daemon=True)
        try:
            self._writer.start()
        except RuntimeError:
            self._writer = None
            return False
        self._threads.add(self._writer)
        return True

    def _emptied(self) -> list[Parcel]:
        lost = [parcel for run in self._queue for parcel in run.parcels]
        self._queue.clear()
        self._queued_bytes = 0
        return lost

    def _drop(self, sock: socket.socket | None) -> None:
        if sock is not None and sock is self._sock:
            self._sock = None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    # --- the writing thread ------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (run := self._next()) is not None:
            if self._clock.monotonic() >= run.deadline:
                continue  # its callers have given up
            try:
                sock = self._connected(run.deadline)
            except OSError as error:
                with self._changed:
                    lost = [*run.parcels, *self._emptied()]
                self._fail(lost, f"no connection: {error.strerror or error}")
                continue
            self._send(sock, run)

    def _next(self) -> _Run | None:
        """Waits for something to send; None when the thread is to end."""
        with self._changed:
            until = monotonic() + _IDLE_S
            while not self._queue and not self._closed:
                left_s = until - monotonic()
                if left_s <= 0:
                    self._sweep()
                    if not self._waiting:
                        self._drop(self._sock)
                        break
                    until = monotonic() + _IDLE_S
                self._changed.wait(max(left_s, 0.0))
            if self._queue and not self._closed:
                run = self._queue.popleft()
                self._queued_bytes -= run.size
                return run
            self._writer = None
            self._threads.discard(current_thread())
            return None

    def _connected(self, deadline: float) -> socket.socket:
        with self._changed:
            if self._sock is not None:
                return self._sock
        left_s = min(max(deadline - self._clock.monotonic(), 0.05), _CONNECT_MAX_S)
        try:
            sock = socket.create_connection(self._place, timeout=left_s)
        except ValueError as error:  # an address comes from others: an empty label, or one too long
            raise ConnectionError(f"{self._place.host[:80]!r} is no host name") from error
        try:
            if sock.getsockname() == sock.getpeername():
                raise ConnectionRefusedError("nobody listens there")  # a port that is free may connect to itself
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(min(TICK_S, self._patience_s))
            sock.sendall(HELLO)
            reader = Thread(target=self._read, args=(sock,), name="city-chain-tcp", daemon=True)
            with self._changed:
                if self._closed:
                    raise ConnectionAbortedError("the transport is closed")
                self._sock = sock
                self._threads.add(reader)
            reader.start()
        except RuntimeError as error:
            self._lose(sock, str(error))
            raise ConnectionAbortedError(str(error)) from error
        except OSError:
            sock.close()
            raise
        return sock

    def _send(self, sock: socket.socket, run: _Run) -> None:
        now = self._clock.monotonic()
        left_ms = max(math.ceil((run.deadline - now) * 1000), 0)
        asked = []
        with self._changed:
            alive = self._sock is sock
            for parcel in run.parcels:
                number = next(self._numbers)
                asked.append(Asked(number, left_ms, parcel.request.address, parcel.request.body))
                if alive:
                    self._waiting[number] = parcel
        if not alive:
            self._fail(run.parcels, "the connection was lost")
            return
        try:
            send_whole(sock, requests_frame(asked), self._patience_s)
        except OSError as error:
            self._lose(sock, str(error.strerror or error))

    # --- the reading thread ------------------------------------------------------------------------------------------

    def _read(self, sock: socket.socket) -> None:
        why = "the peer ended the connection"
        try:
            while (found := read_frame(sock, self._patience_s)) is not None:
                answers = read_answers(found[0])
                with self._changed:
                    taken = [(self._waiting.pop(answer.number, None), answer) for answer in answers]
                now = self._clock.monotonic()
                for parcel, answer in taken:
                    if parcel is None:
                        continue  # too late, or to nothing that was asked
                    if answer.status == 0:
                        parcel.gather.arrive(now, parcel.ticket, body=answer.body)
                    else:
                        error = _error(answer.status, answer.body)
                        parcel.gather.arrive(now, parcel.ticket, error=error)
        except CityChainError as error:
            why = str(error)
        except OSError as error:
            why = str(error.strerror or error)
        self._lose(sock, why)
        with self._changed:
            self._threads.discard(current_thread())

    def _lose(self, sock: socket.socket, why: str) -> None:
        """The connection is of no more use: whoever waits for an answer on it gets none."""
        with self._changed:
            lost: list[Parcel] = []
            if self._sock is sock:
                lost = list(self._waiting.values())
                self._waiting.clear()
            self._drop(sock)
        self._fail(lost, why)

    def _fail(self, parcels: Sequence[Parcel], why: str) -> None:
        now = self._clock.monotonic()
        for parcel in parcels:
            address = parcel.request.address
            error = UnavailableError(f"nobody serves {address!r}: {why}", needed=1, had=0)
            parcel.gather.arrive(now, parcel.ticket, error=error)


def _error(status: int, reason: bytes) -> CityChainError:
    text = reason[:2000].decode(errors="replace")
    return UnavailableError(text, needed=1, had=0) if status == 1 else ProtocolError(text)
