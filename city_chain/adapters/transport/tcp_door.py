"""The answering side of TCP: listeners, bounded connections, and the queue before the handlers.

Nothing here knows who calls. What a stranger can do is bounded: connections, frames under work for each, bytes in all,
and the time that a frame may take. Where there are too many connections, the one goes that was of the least use: one
that never asked anything, else the one that has been silent longest. Small frames never wait for room.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread, current_thread
from time import monotonic, sleep
from typing import NamedTuple

from city_chain.adapters.transport.gathering import REQUESTS_MAX, called
from city_chain.adapters.transport.tcp_frames import (
    HELLO,
    RUN_BYTES_MAX,
    TICK_S,
    Answer,
    Asked,
    Budget,
    Place,
    address_at,
    answers_frame,
    cost_of,
    read_frame,
    read_requests,
    runs,
    send_whole,
)
from city_chain.errors import CityChainError, ProtocolError, UnavailableError
from city_chain.ports import Handler, Request

__all__ = ["Door", "Served"]

FRAMES_MAX = 16
"""Frames of one connection that may be under work; what comes beyond them waits in its socket."""

_REASON_BYTES_MAX = 2000
_ACCEPT_S = 0.25
_IDLE_S = 5.0


class Served(NamedTuple):
    """Who answers an address, and what tells handlers apart."""

    handler: Handler
    token: object


@dataclass(eq=False, slots=True)
class _Frame:
    """What is left to be answered of one frame, and what it costs until its answers are written."""

    left: int
    cost: int


@dataclass(eq=False, slots=True)
class _Peer:
    """One connection."""

    sock: socket.socket
    place: Place  # of the listener that it came by
    changed: Condition
    used_at: float = -math.inf  # when its last frame came
    came_at: float = 0.0
    under_work: int = 0  # frames whose answers are not written
    outgoing: deque[tuple[_Frame, list[Answer]]] = field(default_factory=deque)
    is_open: bool = True


class _Job(NamedTuple):
    """Requests of one frame to one handler."""

    served: Served
    peer: _Peer
    frame: _Frame
    asked: Sequence[Asked]
    expires: float


class Door:
    """Listens, reads requests, lets handlers answer them.

    Args:
        served: Who answers an address now.
        workers: Most threads in handlers.
        connections_max: Most connections.
        bytes_max: Bytes of larger frames under work, in all.
        patience_s: How long a frame may take, or a peer may take nothing, seconds.
    """

    def __init__(
        self,
        served: Callable[[str], Served | None],
        *,
        workers: int,
        connections_max: int,
        bytes_max: int,
        patience_s: float,
    ) -> None:
        self._served = served
        self._workers_max = workers
        self._connections_max = connections_max
        self._patience_s = patience_s
        self._budget = Budget(bytes_max)
        self._lock = Lock()  # guards all below
        self._there_is_work = Condition(self._lock)
        self._listeners: dict[Place, socket.socket] = {}
        self._peers: set[_Peer] = set()
        self._jobs: deque[_Job] = deque()
        self._threads: set[Thread] = set()
        self._workers = 0
        self._idle_workers = 0
        self._closed = False

    # --- listening ---------------------------------------------------------------------------------------------------

    def listen(self, place: Place) -> Place:
        """Listens at a place, if it does not yet; the place with its real port.

        Raises:
            UnavailableError: It cannot be listened at.
        """
        with self._lock:
            if place in self._listeners:
                return place
        try:
            family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
            listener = socket.create_server(place, family=family, backlog=128)
        except OSError as error:
            why = error.strerror or error
            raise UnavailableError(f"tcp:{place.host}:{place.port} cannot be served: {why}", 1, 0) from error
        listener.settimeout(_ACCEPT_S)
        real = Place(place.host, listener.getsockname()[1])
        with self._lock:
            self._listeners[real] = listener
        if not self._run(self._accept, real, listener):
            self.unlisten(real)
            raise UnavailableError("no thread can be started to listen", 1, 0)
        return real

    def unlisten(self, place: Place) -> None:
        """Listens there no longer; connections that there are stay."""
        with self._lock:
            listener = self._listeners.pop(place, None)
        if listener is not None:
            _shut(listener)

    def close(self) -> list[Thread]:
        """Ends everything; the threads that are about to end."""
        with self._lock:
            self._closed = True
            listeners, peers = list(self._listeners.values()), list(self._peers)
            self._listeners.clear()
            self._jobs.clear()
            for peer in peers:
                peer.is_open = False
                peer.changed.notify_all()
            self._there_is_work.notify_all()
            threads = list(self._threads)
        for listener in listeners:
            _shut(listener)
        for peer in peers:
            _shut(peer.sock)
        return threads

    def _run(self, work: Callable[..., None], *args: object) -> bool:
        """Starts a thread; whether there was one to be had."""

        def whole() -> None:
            try:
                work(*args)
            finally:
                with self._lock:
                    self._threads.discard(current_thread())

        thread = Thread(target=whole, name="city-chain-tcp", daemon=True)
        with self._lock:
            if self._closed:
                return False
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._threads.discard(thread)
            return False
        return True

    def _accept(self, place: Place, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                with self._lock:
                    if self._closed or self._listeners.get(place) is not listener:
                        return
                sleep(0.05)  # too many open files: some will be closed
                continue
            peer = _Peer(sock, place, Condition(self._lock), came_at=monotonic())
            if not self._admit(peer) or not self._run(self._read, peer):
                self._lose(peer)

    def _admit(self, peer: _Peer) -> bool:
        """Takes a connection in; another one goes for it where there are too many."""
        with self._lock:
            if self._closed:
                return False
            idle = [known for known in self._peers if not known.under_work]
            out = None
            if len(self._peers) >= self._connections_max:
                if not idle:
                    return False
                out = min(idle, key=lambda known: (known.used_at, known.came_at))
                self._peers.discard(out)
                out.is_open = False
                out.changed.notify_all()
            self._peers.add(peer)
        if out is not None:
            _shut(out.sock)
        return True

    def _lose(self, peer: _Peer) -> None:
        with self._lock:
            peer.is_open = False
            self._peers.discard(peer)
            # A frame stands here once for each handler that has answered and is given back once; one that waits for
            # another handler is given back when that has answered.
            done = {id(frame): frame.cost for frame, _ in peer.outgoing if not frame.left}
            self._budget.give(sum(done.values()))
            peer.outgoing.clear()
            peer.changed.notify_all()
        _shut(peer.sock)

    # --- one connection ----------------------------------------------------------------------------------------------

    def _read(self, peer: _Peer) -> None:
        sock = peer.sock
        try:
            sock.settimeout(min(TICK_S, self._patience_s))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not _greeted(sock, self._patience_s) or not self._run(self._write, peer):
                return
            while (found := read_frame(sock, self._patience_s, self._budget)) is not None:
                if not self._take(peer, *found):
                    return
        except (CityChainError, OSError):
            pass  # whoever it is does not speak this, or is gone
        finally:
            self._lose(peer)

    def _take(self, peer: _Peer, frame: bytearray, taken: int) -> bool:
        """Puts the requests of a frame into the queue; waits while the connection has enough under work."""
        try:
            asked = read_requests(frame)
            more = max(cost_of(len(asked), len(frame)) - taken, 0)
        except CityChainError:
            self._budget.give(taken)
            raise
        if not self._budget.take(more):
            self._budget.give(taken)
            return False
        now = monotonic()
        work = _Frame(len(asked), taken + more)
        by_handler: dict[object, tuple[Served, list[Asked]]] = {}
        lost: list[Answer] = []
        for one in asked:
            # A host has many names, and port numbers are translated: what counts is the name at this listener.
            own = one._replace(address=address_at(peer.place, one.address))
            served = self._served(own.address)
            if served is None:
                lost.append(Answer(one.number, 1, _reason(f"nobody serves {one.address!r}")))
            else:
                by_handler.setdefault(served.token, (served, []))[1].append(own)
        with self._lock:
            while peer.under_work >= FRAMES_MAX and peer.is_open:
                peer.changed.wait()
            if not peer.is_open:
                self._budget.give(work.cost)
                return False
            peer.used_at = now
            peer.under_work += 1
            for served, some in by_handler.values():
                expires = now + max(one.left_ms for one in some) / 1000
                self._jobs.append(_Job(served, peer, work, some, expires))
            more_workers = max(min(len(self._jobs) - self._idle_workers, self._workers_max - self._workers), 0)
            self._workers += more_workers
            self._there_is_work.notify(len(by_handler))
        for _ in range(more_workers):
            if not self._run(self._work):
                with self._lock:
                    self._workers -= 1
        if lost or not asked:
            self._answer(peer, work, lost)
        return True

    def _answer(self, peer: _Peer, frame: _Frame, answers: list[Answer]) -> None:
        """Hands answers to the writing thread. Where there is no room for them, they are that."""
        size = cost_of(len(answers), sum(len(answer.body) for answer in answers))
        if not self._budget.take(size):
            size, busy = 0, _reason("busy: too much is under work here")
            answers = [Answer(answer.number, 1, busy) for answer in answers]
        with self._lock:
            frame.cost += size
            frame.left -= len(answers)
            if peer.is_open:
                peer.outgoing.append((frame, answers))
                peer.changed.notify_all()
            elif not frame.left:
                self._budget.give(frame.cost)

    def _write(self, peer: _Peer) -> None:
        try:
            while True:
                with self._lock:
                    while not peer.outgoing and peer.is_open:
                        peer.changed.wait()
                    if not peer.is_open:
                        return
                    batch = list(peer.outgoing)
                answers = [answer for _, some in batch for answer in some]
                for run in runs(answers, lambda answer: len(answer.body)):
                    send_whole(peer.sock, answers_frame(run), self._patience_s)
                self._written(peer, len(batch))
        except OSError:
            pass
        finally:
            self._lose(peer)

    def _written(self, peer: _Peer, count: int) -> None:
        """Frames that are answered whole make room for others."""
        with self._lock:
            for _ in range(min(count, len(peer.outgoing))):
                frame, _ = peer.outgoing.popleft()
                if not frame.left and all(other is not frame for other, _ in peer.outgoing):
                    self._budget.give(frame.cost)
                    peer.under_work -= 1
            peer.changed.notify_all()

    # --- handlers ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while jobs := self._next():
            now = monotonic()
            live = [now < job.expires and job.peer.is_open for job in jobs]
            flat = [
                Request(one.address, one.body)
                for job, is_live in zip(jobs, live, strict=True)
                if is_live
                for one in job.asked
            ]
            outcomes = iter(_outcomes(jobs[0].served.handler, flat))
            for job, is_live in zip(jobs, live, strict=True):
                answers = [_answer(one, next(outcomes) if is_live else _late(one)) for one in job.asked]
                self._answer(job.peer, job.frame, answers)

    def _next(self) -> list[_Job]:
        """What waits for one handler, at once; nothing when the thread is to end."""
        with self._lock:
            while not self._jobs and not self._closed:
                self._idle_workers += 1
                try:
                    if not self._there_is_work.wait(_IDLE_S) and not self._jobs:
                        break
                finally:
                    self._idle_workers -= 1
            if self._closed or not self._jobs:
                self._workers -= 1
                return []
            jobs: list[_Job] = []
            rest: deque[_Job] = deque()
            count, size = 0, 0
            for job in self._jobs:
                more = sum(len(one.body) for one in job.asked)
                fits = not jobs or (count + len(job.asked) <= REQUESTS_MAX and size + more <= RUN_BYTES_MAX)
                if job.served.token == self._jobs[0].served.token and fits:
                    jobs.append(job)
                    count, size = count + len(job.asked), size + more
                else:
                    rest.append(job)
            self._jobs = rest
            return jobs


def _outcomes(handler: Handler, burst: list[Request]) -> list[bytes | Exception]:
    """What a handler makes of a burst, whatever it raises: the thread goes on."""
    if not burst:
        return []
    try:
        return called(handler, burst)
    except BaseException as cause:
        return [ProtocolError(f"the handler of {one.address!r} raised {type(cause).__name__}") for one in burst]


def _greeted(sock: socket.socket, patience_s: float) -> bool:
    """Whether the other side says what a client says first, soon enough."""
    said = b""
    until = monotonic() + patience_s
    while len(said) < len(HELLO):
        if monotonic() > until:
            return False
        with contextlib.suppress(TimeoutError):
            chunk = sock.recv(len(HELLO) - len(said))
            if not chunk:
                return False
            said += chunk
    return said == HELLO


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _reason(text: str) -> bytes:
    return text.encode(errors="replace")[:_REASON_BYTES_MAX]


def _late(one: Asked) -> UnavailableError:
    return UnavailableError(f"{one.address!r} was too busy to answer by the deadline", needed=1, had=0)


def _answer(one: Asked, outcome: bytes | Exception) -> Answer:
    if isinstance(outcome, bytes):
        return Answer(one.number, 0, outcome)
    return Answer(one.number, 1 if isinstance(outcome, UnavailableError) else 2, _reason(str(outcome)))
