"""Transport within one process, with faults that can be switched on per address.

A request without a fault is answered in the caller's own thread: all requests of one `gather` that go to the same
handler reach it as one burst, so that a host of many nodes can store them in one commit. Requests with latency are
answered by a bounded pool of daemon threads, and the caller is back by its deadline whatever a handler does. With
``inline=False`` every request takes that way.

Handlers are called from several threads at once and may use the transport themselves. Every random choice comes from
the seed and the address, in the order of the requests to that address: the same seed and the same requests give the
same faults, however threads run.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from threading import Lock
from typing import NamedTuple, Self

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.transport.delayed import DelayedCalls
from city_chain.adapters.transport.gathering import (
    ADDRESS_CHARS_MAX,
    BODY_BYTES_MAX,
    REQUESTS_MAX,
    Gather,
    called,
    checked_address,
    first_of,
    gather_of,
    poll_of,
    token_of,
)
from city_chain.errors import InputError, UnavailableError
from city_chain.ports import Clock, Handler, Request

__all__ = ["ADDRESS_CHARS_MAX", "BODY_BYTES_MAX", "REQUESTS_MAX", "Fault", "InProcessTransport"]

_WORKERS_MAX = 256
"""Most threads of one transport."""

_LATENCY_MS_MAX = 3_600_000
"""Longest latency, milliseconds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an address. Probabilities are 0 to 1 (True is 1) and drawn anew for every request.

    Args:
        latency_ms: Round trip; half before the handler sees the request, half before the caller sees the answer.
        loss: Probability that no answer comes: half of them lose the request, half the answer.
        hang: The request never reaches the handler and no answer comes.
        refuse: `UnavailableError` at once.
        corrupt: Probability that one bit of the answer is flipped.
        corrupt_request: Probability that one bit of the request is flipped.

    Raises:
        TypeError: A field has the wrong type.
        InputError: A field is out of range.

    Example:
        >>> Fault(latency_ms=20, loss=0.1).loss
        0.1
    """

    latency_ms: float = 0.0
    loss: float = 0.0
    hang: bool = False
    refuse: bool = False
    corrupt: float = 0.0
    corrupt_request: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hang", "refuse"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {type(getattr(self, name)).__name__}")
        for name, most in (("latency_ms", _LATENCY_MS_MAX), ("loss", 1), ("corrupt", 1), ("corrupt_request", 1)):
            value = getattr(self, name)
            if not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
            if not 0 <= value <= most:
                raise InputError(f"{name} must be 0 to {most}, not {value}")


class _Plan(NamedTuple):
    """What will happen to one request. Flips are numbers from which the bit is chosen; None: no flip."""

    delay_s: float = 0.0  # one way
    lose_request: bool = False
    lose_answer: bool = False
    refuse: bool = False
    flip_request: int | None = None
    flip_answer: int | None = None


_NO_FAULT = _Plan()


class _Parcel(NamedTuple):
    """One request of a gather on its way."""

    ticket: int
    request: Request
    plan: _Plan


class _Served(NamedTuple):
    """Who answers an address, and what tells handlers apart (equal bound methods are one handler)."""

    handler: Handler
    token: object


class InProcessTransport:
    """Carries bytes between parts of one process. Keeps the contract of `ports.Transport`.

    Args:
        clock: Whose `monotonic` deadlines and latencies refer to; the system's when None. Another clock is polled
            every 5 ms while a caller waits, so somebody else has to move it.
        workers: Threads for delayed requests, 1 to 256; started when needed. A handler that hangs keeps its thread.
        seed: What the random choices of faults come from, 0 or more.
        inline: Whether requests without latency are answered in the caller's thread. When False, a hanging handler
            cannot hold the caller beyond its deadline, at the price of a change of threads per burst.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument is out of range.

    Example:
        >>> transport = InProcessTransport()
        >>> echo = transport.serve(lambda burst: [request.body for request in burst], "echo")
        >>> deadline = SystemClock().monotonic() + 1
        >>> transport.request(echo, b"hello", deadline)
        b'hello'
        >>> transport.set_fault(echo, Fault(refuse=True))
        >>> [response.error for response in transport.gather([Request(echo, b"hello")], deadline).take(deadline)]
        [UnavailableError("'echo' refuses the connection")]
        >>> transport.close()
    """

    def __init__(self, clock: Clock | None = None, *, workers: int = 8, seed: int = 0, inline: bool = True) -> None:
        if clock is not None and not isinstance(clock, Clock):
            raise TypeError(f"clock must be a ports.Clock or None, not {type(clock).__name__}")
        for name, value, least, most in (("workers", workers, 1, _WORKERS_MAX), ("seed", seed, 0, math.inf)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if not least <= value <= most:
                raise InputError(f"{name} must be {least} to {most}, not {value}")
        if not isinstance(inline, bool):
            raise TypeError(f"inline must be a bool, not {type(inline).__name__}")
        self._clock: Clock = SystemClock() if clock is None else clock
        self._seed = seed
        self._inline = inline
        self._lock = Lock()  # guards all below, save that reading _served and _faults needs none
        self._served: dict[str, _Served] = {}
        self._faults: dict[str, Fault] = {}
        self._dice: dict[str, Random] = {}
        self._addresses = count(1)
        self._open: weakref.WeakSet[Gather] = weakref.WeakSet()
        self._pool = DelayedCalls(self._clock, poll_of(self._clock), workers)
        self._closed = False

    def set_fault(self, address: str, fault: Fault | None) -> None:
        """Sets what is wrong with `address` from now on; None heals it. Requests under way keep what they had.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: The address has a length that is not allowed.
        """
        checked_address(address)
        if fault is not None and not isinstance(fault, Fault):
            raise TypeError(f"fault must be a Fault or None, not {type(fault).__name__}")
        with self._lock:
            if fault is None or fault == Fault():
                self._faults.pop(address, None)
            else:
                self._faults[address] = fault

    def request(self, address: str, body: bytes, deadline: float) -> bytes:
        """Sends one body and waits for the answer.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            UnavailableError: Nobody serves the address, or it refused the connection, or its handler could not serve.
            ProtocolError: The handler failed otherwise or gave no answer that can be one.
            DeadlineError: No answer by the deadline.
        """
        return first_of(self.gather([Request(address, body)], deadline), address)

    def gather(self, requests: Sequence[Request], deadline: float) -> Gather:
        """Sends all requests at once; requests without latency are answered before it returns.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
        """
        return gather_of(self._dispatch, self._clock, requests, deadline)

    def serve(self, handler: Handler, address: str | None = None) -> str:
        """Starts to answer under `address` (default: a new one), which is returned. One handler may serve many.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: The address is taken or has a length that is not allowed.
            UnavailableError: The transport is closed.
        """
        token = token_of(handler)
        if address is not None:
            checked_address(address)
        with self._lock:
            if self._closed:
                raise UnavailableError("the transport is closed; make a new one", needed=1, had=0)
            if address in self._served:
                raise InputError(f"{address!r} is served already; stop it first or take another address")
            while address is None or address in self._served:
                address = f"inprocess:{next(self._addresses)}"
            self._served[address] = _Served(handler, token)
        return address

    def stop(self, address: str) -> None:
        """Stops answering under `address`; unknown addresses are ignored. Requests on their way to it will fail.

        Raises:
            TypeError: The address is not a str.
            InputError: It has a length that is not allowed.
        """
        checked_address(address)
        with self._lock:
            self._served.pop(address, None)

    def close(self) -> None:
        """Stops everything; who still waits gets `UnavailableError`. Never hangs. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            self._served.clear()
            waiting = list(self._open)
        self._pool.close()
        for gather in waiting:
            gather.fail_rest("the transport was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dispatch(self, gather: Gather, first: int, requests: Sequence[Request]) -> None:
        """Sends what a gather asks for: the delayed bursts go to the pool first, then the others are answered here."""
        now = self._clock.monotonic()
        bursts: dict[tuple[float, object], list[_Parcel]] = {}
        for parcel in self._planned(first, requests):
            served = self._served.get(parcel.request.address)
            if served is None or parcel.plan.refuse:
                gather.arrive(now, parcel.ticket, error=_unavailable(parcel.request.address, served is not None))
            elif not parcel.plan.lose_request:
                bursts.setdefault((parcel.plan.delay_s, served.token), []).append(parcel)
        inline = []
        for (delay_s, _), burst in bursts.items():
            if self._inline and not delay_s:
                inline.append(burst)
            else:
                self._pool.submit(now + delay_s, partial(self._answer, gather, burst))
        for burst in inline:
            self._answer(gather, burst)
        if gather.waits():
            with self._lock:
                self._open.add(gather)
                closed = self._closed
            if closed:
                gather.fail_rest("the transport was closed")

    def _planned(self, first: int, requests: Sequence[Request]) -> list[_Parcel]:
        """Decides what happens to each request. Draws happen here, in order, so that they can be repeated."""
        if not self._faults:
            return [_Parcel(ticket, request, _NO_FAULT) for ticket, request in enumerate(requests, first)]
        parcels = []
        with self._lock:
            for ticket, request in enumerate(requests, first):
                fault = self._faults.get(request.address)
                plan = _NO_FAULT if fault is None else self._draw(request.address, fault)
                parcels.append(_Parcel(ticket, request, plan))
        return parcels

    def _draw(self, address: str, fault: Fault) -> _Plan:
        dice = self._dice.get(address)
        if dice is None:
            dice = self._dice[address] = Random(f"{self._seed} {address}")  # noqa: S311 (faults, not secrets)
        lost, corrupt_request, corrupt = dice.random(), dice.random(), dice.random()
        bit_request, bit = dice.getrandbits(64), dice.getrandbits(64)
        return _Plan(
            delay_s=fault.latency_ms / 2000,
            lose_request=fault.hang or lost < fault.loss / 2,
            lose_answer=lost < fault.loss,
            refuse=fault.refuse,
            flip_request=bit_request if corrupt_request < fault.corrupt_request else None,
            flip_answer=bit if corrupt < fault.corrupt else None,
        )

    def _answer(self, gather: Gather, burst: list[_Parcel]) -> None:
        """Lets the handler answer a burst that has reached it."""
        present = []
        served: _Served | None = None
        for parcel in burst:
            now_served = self._served.get(parcel.request.address)
            if now_served is None:
                gather.arrive(self._clock.monotonic(), parcel.ticket, error=_unavailable(parcel.request.address, False))
            else:
                served = now_served
                present.append(parcel)
        if served is None:
            return
        outcomes = called(served.handler, [_delivered(parcel) for parcel in present])
        now = self._clock.monotonic()
        for parcel, outcome in zip(present, outcomes, strict=True):
            if parcel.plan.lose_answer:
                continue
            instant = now + parcel.plan.delay_s
            if isinstance(outcome, bytes):
                gather.arrive(instant, parcel.ticket, body=_flipped(outcome, parcel.plan.flip_answer))
            else:
                gather.arrive(instant, parcel.ticket, error=outcome)


def _unavailable(address: str, served: bool) -> UnavailableError:
    what = f"{address!r} refuses the connection" if served else f"nobody serves {address!r}"
    return UnavailableError(what, needed=1, had=0)


def _delivered(parcel: _Parcel) -> Request:
    if parcel.plan.flip_request is None:
        return parcel.request
    return Request(parcel.request.address, _flipped(parcel.request.body, parcel.plan.flip_request))


def _flipped(body: bytes, choice: int | None) -> bytes:
    """The body with one bit flipped; an empty one gets a byte, so that it too is not what was sent."""
    if choice is None:
        return body
    damaged = bytearray(body or b"\0")
    bit = choice % (8 * len(damaged))
    damaged[bit // 8] ^= 1 << (bit % 8)
    return bytes(damaged)
