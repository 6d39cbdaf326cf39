"""Transport between processes and machines: frames over TCP, by blocking sockets and threads.

Addresses are ``tcp:HOST:PORT`` or ``tcp:HOST:PORT/NAME``: all names of one port share its listener, and requests of one
`gather` that go to one port travel together, so that a host of many nodes gets them as one burst. One connection to
each port is kept, requests are pipelined on it, and it is made anew when the peer has restarted.

It authenticates nobody and encrypts nothing: whoever reaches the port can ask, and whoever is on the way can read,
change and swallow what is asked. What must be believed is signed inside the messages, and what must be secret is sealed
there. Let it listen on a loopback address or a private network.

What strangers can do is bounded (see `tcp_door`): a frame that is too long, does not end or makes no sense costs its
connection, and a flood of connections drives out those that never asked anything. Whoever may speak at all can still
keep a node busy; admission is the handler's.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import count
from threading import Lock, current_thread
from time import monotonic
from typing import Self

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.transport.gathering import (
    Gather,
    called,
    checked_address,
    first_of,
    gather_of,
    token_of,
)
from city_chain.adapters.transport.tcp_door import Door, Served
from city_chain.adapters.transport.tcp_frames import Place, address_at, place_of
from city_chain.adapters.transport.tcp_link import Link, Parcel
from city_chain.errors import InputError, UnavailableError
from city_chain.ports import Clock, Handler, Request

__all__ = ["TcpTransport"]

_WORKERS_MAX = 256
_CONNECTIONS_MAX = 4096
_LINKS_MAX = 1024
_CLOSE_WAIT_S = 1.0
_INSIDE = "inproc:"
_LOOPBACK = Place("127.0.0.1", 0)


class TcpTransport:
    """Carries bytes over TCP. Keeps the contract of `ports.Transport`; authenticates nobody (see the module).

    Args:
        clock: Whose `monotonic` deadlines refer to; the system's when None. Another clock is polled every 5 ms while a
            caller waits.
        workers: Most threads in handlers, 1 to 256; started when needed. A handler that hangs keeps its thread.
        connections_max: Most connections that are taken in, 1 to 4096.
        bytes_max: Bytes of requests and answers under work for others, in all, 1 MiB to 1 TiB. Frames of up to 64 KiB
            are not counted: there are 16 of a connection at most.
        patience_s: How long a frame may take beside its length, and a peer may take nothing, seconds, 0.05 to 3600.
        direct: Whether requests to what this very transport serves are answered in the caller's thread, as in-process
            transport does; else they, too, go over a connection.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument is out of range.

    Example:
        >>> with TcpTransport() as here, TcpTransport() as there:
        ...     echo = there.serve(lambda burst: [request.body for request in burst], "tcp:127.0.0.1:0")
        ...     here.request(echo, b"hello", SystemClock().monotonic() + 5)
        b'hello'
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        workers: int = 8,
        connections_max: int = 128,
        bytes_max: int = 1 << 30,
        patience_s: float = 10.0,
        direct: bool = True,
    ) -> None:
        if clock is not None and not isinstance(clock, Clock):
            raise TypeError(f"clock must be a ports.Clock or None, not {type(clock).__name__}")
        for name, value, least, most in (
            ("workers", workers, 1, _WORKERS_MAX),
            ("connections_max", connections_max, 1, _CONNECTIONS_MAX),
            ("bytes_max", bytes_max, 1 << 20, 1 << 40),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if not least <= value <= most:
                raise InputError(f"{name} must be {least} to {most}, not {value}")
        if isinstance(patience_s, bool) or not isinstance(patience_s, int | float):
            raise TypeError(f"patience_s must be a number, not {type(patience_s).__name__}")
        if not 0.05 <= patience_s <= 3600:
            raise InputError(f"patience_s must be 0.05 to 3600, not {patience_s}")
        if not isinstance(direct, bool):
            raise TypeError(f"direct must be a bool, not {type(direct).__name__}")
        self._clock: Clock = SystemClock() if clock is None else clock
        self._patience_s = float(patience_s)
        self._direct = direct
        self._lock = Lock()  # guards all below, save that reading _served needs none
        self._served: dict[str, Served] = {}
        self._own: Place | None = None
        self._names = count(1)
        self._links: dict[Place, Link] = {}
        self._open: weakref.WeakSet[Gather] = weakref.WeakSet()
        self._door = Door(
            self._served.get,
            workers=workers,
            connections_max=connections_max,
            bytes_max=bytes_max,
            patience_s=self._patience_s,
        )
        self._closed = False

    def request(self, address: str, body: bytes, deadline: float) -> bytes:
        """Sends one body and waits for the answer.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            UnavailableError: Nobody serves the address, the connection failed, or the handler could not serve.
            ProtocolError: The handler failed otherwise or gave no answer that can be one.
            DeadlineError: No answer by the deadline.
        """
        return first_of(self.gather([Request(address, body)], deadline), address)

    def gather(self, requests: Sequence[Request], deadline: float) -> Gather:
        """Sends all requests at once; does not wait for connections or answers.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
        """
        return gather_of(self._dispatch, self._clock, requests, deadline)

    def serve(self, handler: Handler, address: str | None = None) -> str:
        """Starts to answer under `address`; one handler may serve many.

        Args:
            handler: Called from several threads at once; it may use the transport itself.
            address: ``tcp:HOST:PORT`` or ``tcp:HOST:PORT/NAME``; a port of 0 stands for one that is free. None: a new
                name on a port of its own on 127.0.0.1. ``inproc:NAME`` is reached through this transport only, without
                any port, if it is `direct`.

        Returns:
            The address, with the real port.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: The address is none, or is taken.
            UnavailableError: The transport is closed, or the port cannot be had.
        """
        token = token_of(handler)
        is_inside = self._direct and address is not None and checked_address(address).startswith(_INSIDE)
        if address is not None and not is_inside:
            place_of(checked_address(address))
        with self._lock:
            if self._closed:
                raise UnavailableError("the transport is closed; make a new one", needed=1, had=0)
            if address in self._served:
                raise InputError(f"{address!r} is served already; stop it first or take another address")
            real = address if is_inside and address is not None else self._listened(address)
            if real in self._served:
                raise InputError(f"{real!r} is served already; stop it first or take another address")
            self._served[real] = Served(handler, token)
        return real

    def _listened(self, address: str | None) -> str:
        """The address with the real port, which is listened at; under the lock."""
        if address is not None:
            return address_at(self._door.listen(place_of(address)), address)
        if self._own is None or not self._serves(self._own):
            self._own = self._door.listen(_LOOPBACK)
        return address_at(self._own, f"/{next(self._names)}")

    def stop(self, address: str) -> None:
        """Stops answering under `address`; unknown addresses are ignored. Its port is freed with its last name.

        Raises:
            TypeError: The address is not a str.
            InputError: It has a length that is not allowed.
        """
        checked_address(address)
        with self._lock:
            if self._served.pop(address, None) is not None and not address.startswith(_INSIDE):
                place = place_of(address)
                if not self._serves(place):
                    self._door.unlisten(place)

    def close(self) -> None:
        """Stops everything; who still waits gets `UnavailableError`. Closing twice is allowed.

        All threads end, save those in a handler that hangs; they are waited for for a second at most.
        """
        with self._lock:
            self._closed = True
            self._served.clear()
            links, waiting = list(self._links.values()), list(self._open)
            self._links.clear()
        threads = [thread for link in links for thread in link.close()]
        for gather in waiting:
            gather.fail_rest("the transport was closed")
        threads += self._door.close()
        give_up = monotonic() + _CLOSE_WAIT_S
        for thread in threads:
            if thread is not current_thread() and thread.ident is not None:  # who has not begun ends when it begins
                thread.join(max(0.0, give_up - monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serves(self, place: Place) -> bool:
        return any(place_of(address) == place for address in self._served if not address.startswith(_INSIDE))

    # --- one gather --------------------------------------------------------------------------------------------------

    def _dispatch(self, gather: Gather, first: int, requests: Sequence[Request]) -> None:
        """Queues what goes over connections, then answers what is served here."""
        away: dict[Place, list[Parcel]] = {}
        here: dict[object, tuple[Served, list[Parcel]]] = {}
        for ticket, request in enumerate(requests, first):
            parcel = Parcel(gather, ticket, request)
            served = self._served.get(request.address) if self._direct else None
            if served is not None:
                here.setdefault(served.token, (served, []))[1].append(parcel)
                continue
            try:
                away.setdefault(place_of(request.address), []).append(parcel)
            except InputError as error:
                unavailable = UnavailableError(f"nobody serves {request.address!r}: {error}", needed=1, had=0)
                gather.arrive(self._clock.monotonic(), ticket, error=unavailable)
        if away:
            with self._lock:
                self._open.add(gather)
        for place, parcels in away.items():
            self._link(place).put(parcels)
        for served, parcels in here.values():
            self._answer(served, parcels)
        if self._closed:
            gather.fail_rest("the transport was closed")

    def _link(self, place: Place) -> Link:
        with self._lock:
            link = self._links.get(place)
            if link is None:
                link = Link(place, self._clock, self._patience_s)
                if self._closed:
                    link.close()
                    return link
                self._links[place] = link
                idle = [known for known, other in self._links.items() if other is not link and other.is_idle]
                for known in idle[: len(self._links) - _LINKS_MAX] if len(self._links) > _LINKS_MAX else ():
                    self._links.pop(known).close()
            return link

    def _answer(self, served: Served, parcels: Sequence[Parcel]) -> None:
        outcomes = called(served.handler, [parcel.request for parcel in parcels])
        now = self._clock.monotonic()
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            if isinstance(outcome, bytes):
                parcel.gather.arrive(now, parcel.ticket, body=outcome)
            else:
                parcel.gather.arrive(now, parcel.ticket, error=outcome)
