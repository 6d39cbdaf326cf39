"""What all transports share: the fan-out of `gather`, the calling of handlers, the checks of arguments."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Lock

from city_chain.adapters.clock import SystemClock
from city_chain.errors import DeadlineError, InputError, ProtocolError, StorageError, UnavailableError
from city_chain.ports import Clock, Handler, Request, Response

__all__ = [
    "ADDRESS_CHARS_MAX",
    "BODY_BYTES_MAX",
    "REQUESTS_MAX",
    "Dispatch",
    "Gather",
    "called",
    "checked_address",
    "checked_instant",
    "first_of",
    "gather_of",
    "poll_of",
    "token_of",
]

BODY_BYTES_MAX = 256 << 20
"""Longest body of a request or an answer, bytes."""

ADDRESS_CHARS_MAX = 256
"""Longest address, characters."""

REQUESTS_MAX = 65_536
"""Most requests of one `gather`."""

_WAIT_S_MAX = 3600.0
"""Longest wait without a look at the clock, seconds."""

_INSTANT_S_MAX = 1e12
"""Latest instant that can be a deadline, seconds."""

_POLL_S = 0.005
"""The same for a clock that need not run with real time, seconds."""


type Dispatch = Callable[[Gather, int, Sequence[Request]], None]
"""Sends requests of a gather, the first of which has that ticket; answers arrive by `Gather.arrive`."""


class Gather:
    """One fan-out, as `ports.Gather` has it. An answer that arrives after the deadline counts as none.

    Args:
        dispatch: Sends what the gather asks for: called with the gather, the ticket of the first request, and all.
        clock: Whose `monotonic` instants are.
        poll_s: Longest wait without a look at the clock, seconds.
        deadline: When to give up.
    """

    def __init__(self, dispatch: Dispatch, clock: Clock, poll_s: float, deadline: float) -> None:
        self._dispatch = dispatch
        self._clock = clock
        self._poll_s = poll_s
        self._deadline = deadline
        self._sent = 0
        self._changed = Condition(Lock())
        self._unyielded: dict[int, str] = {}  # ticket → address
        self._coming: list[tuple[float, int, Response]] = []  # answers, by the instant at which they arrive

    @property
    def deadline(self) -> float:
        """When to give up, an instant of the clock."""
        return self._deadline

    @property
    def pending(self) -> int:
        """How many requests have not yet yielded their response."""
        return len(self._unyielded)

    def send(self, requests: Sequence[Request]) -> int:
        """Sends more requests under the same deadline, all at once; returns the ticket of the first.

        Raises:
            TypeError: It is not a sequence of `ports.Request` with bodies of `bytes`.
            InputError: There are too many, or an address or a body has a length that is not allowed.
        """
        own = checked_requests(requests, REQUESTS_MAX - self._sent)
        first = self._sent
        with self._changed:
            self._sent += len(own)
            self._unyielded.update((ticket, request.address) for ticket, request in enumerate(own, first))
        if self._clock.monotonic() < self._deadline:
            self._dispatch(self, first, own)
        return first

    def take(self, until: float) -> Iterator[Response]:
        """Yields responses in order of arrival, until none is pending or the instant `until` has passed.

        Raises:
            TypeError: `until` is not a number.
            InputError: It is not a number that can be compared.
        """
        checked_instant("until", until)
        return self._taken(until)

    def arrive(self, instant: float, ticket: int, *, body: bytes | None = None, error: Exception | None = None) -> None:
        """Notes the answer to the request with that ticket, which the caller sees from `instant` on."""
        with self._changed:
            if ticket in self._unyielded and instant <= self._deadline:
                response = Response(ticket, self._unyielded[ticket], body, error)
                heapq.heappush(self._coming, (instant, ticket, response))
                self._changed.notify_all()

    def waits(self) -> bool:
        """Whether there are requests without any answer on its way."""
        with self._changed:
            return len(self._unyielded) > len(self._coming)

    def fail_rest(self, why: str) -> None:
        """Ends the wait: whoever has not answered never will."""
        now = self._clock.monotonic()
        with self._changed:
            coming = {ticket for _, ticket, _ in self._coming}
            silent = [(ticket, address) for ticket, address in self._unyielded.items() if ticket not in coming]
        for ticket, address in silent:
            error = UnavailableError(f"no answer from {address!r}: {why}", needed=1, had=0)
            self.arrive(now, ticket, error=error)

    def _taken(self, until: float) -> Iterator[Response]:
        while (response := self._next(until)) is not None:
            yield response

    def _next(self, until: float) -> Response | None:
        """The next response, or None when none came by `until` or none is pending."""
        with self._changed:
            while self._unyielded:
                now = self._clock.monotonic()
                if self._coming and self._coming[0][0] <= now:
                    _, ticket, response = heapq.heappop(self._coming)
                    del self._unyielded[ticket]
                    return response
                if now >= self._deadline:
                    ticket, address = next(iter(self._unyielded.items()))
                    del self._unyielded[ticket]
                    return Response(ticket, address, None, DeadlineError(f"no answer from {address!r} by the deadline"))
                if now >= until:
                    return None
                wake = min(until, self._deadline, self._coming[0][0] if self._coming else math.inf)
                self._changed.wait(min(wake - now, self._poll_s))
        return None


# --- for transports --------------------------------------------------------------------------------------------------


def poll_of(clock: Clock) -> float:
    """The longest wait without a look at `clock`, seconds: one that need not run with real time is looked at often."""
    return _WAIT_S_MAX if isinstance(clock, SystemClock) else _POLL_S


def gather_of(dispatch: Dispatch, clock: Clock, requests: Sequence[Request], deadline: float) -> Gather:
    """Sends all requests at once (see `ports.Transport.gather`).

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument is out of range.
    """
    checked_instant("deadline", deadline)
    if not math.isfinite(deadline):
        raise InputError(f"deadline must be finite, not {deadline}")
    gather = Gather(dispatch, clock, poll_of(clock), deadline)
    gather.send(requests)
    return gather


def first_of(gather: Gather, address: str) -> bytes:
    """The one answer of a gather of one request to `address`.

    Raises:
        CityChainError: What stood in its way.
    """
    for response in gather.take(gather.deadline):
        if response.body is not None:
            return response.body
        if response.error is not None:
            raise response.error
    raise DeadlineError(f"no answer from {address!r} by the deadline")


def token_of(handler: Handler) -> object:
    """What tells handlers apart: equal bound methods are one handler.

    Raises:
        TypeError: It cannot be called.
    """
    if not callable(handler):
        raise TypeError(f"handler must be callable, not {type(handler).__name__}")
    try:
        hash(handler)
    except TypeError:
        return id(handler)
    return handler


# --- one burst -------------------------------------------------------------------------------------------------------


def called(handler: Handler, burst: list[Request]) -> list[bytes | Exception]:
    """The answers of a handler to a burst, or what was wrong with each: a handler is somebody else's code."""
    try:
        answers = handler(burst)
    except (UnavailableError, DeadlineError, StorageError) as cause:
        return [_failed(request, cause) for request in burst]
    except (Exception, SystemExit) as cause:
        return [_broken(request, f"raised {type(cause).__name__}: {cause}", cause) for request in burst]
    if isinstance(answers, bytes | bytearray | memoryview | str) or not isinstance(answers, Sequence):
        return [_broken(request, f"gave a {type(answers).__name__}, not a list of answers") for request in burst]
    if len(answers) != len(burst):
        return [_broken(request, f"gave {len(answers)} answers to {len(burst)} requests") for request in burst]
    return [_judged(request, answer) for request, answer in zip(burst, answers, strict=True)]


def _judged(request: Request, answer: object) -> bytes | Exception:
    if not isinstance(answer, bytes):
        return _broken(request, f"gave a {type(answer).__name__}, not bytes")
    if len(answer) > BODY_BYTES_MAX:
        return _broken(request, f"gave {len(answer)} bytes, at most {BODY_BYTES_MAX} are allowed")
    return answer


def _broken(request: Request, what: str, cause: BaseException | None = None) -> ProtocolError:
    error = ProtocolError(f"the handler of {request.address!r} {what}")
    error.__cause__ = cause
    return error


def _failed(request: Request, cause: Exception) -> UnavailableError:
    error = UnavailableError(f"{request.address!r} could not serve: {type(cause).__name__}: {cause}", needed=1, had=0)
    error.__cause__ = cause
    return error


# --- arguments -------------------------------------------------------------------------------------------------------


def checked_address(address: str) -> str:
    """The address, if it is one in type and length.

    Raises:
        TypeError: It is not a str.
        InputError: It has a length that is not allowed.
    """
    if not isinstance(address, str):
        raise TypeError(f"an address must be a str, not {type(address).__name__}")
    if not 0 < len(address) <= ADDRESS_CHARS_MAX:
        raise InputError(f"an address has 1 to {ADDRESS_CHARS_MAX} characters, this one has {len(address)}")
    return address


def checked_requests(requests: Sequence[Request], most: int) -> list[Request]:
    own = list(requests)
    if len(own) > most:
        raise InputError(
            f"a gather has at most {REQUESTS_MAX} requests, these would be {REQUESTS_MAX - most + len(own)}"
        )
    for request in own:
        if not isinstance(request, Request):
            raise TypeError(f"requests must be ports.Request, not {type(request).__name__}")
        checked_address(request.address)
        if not isinstance(request.body, bytes):
            raise TypeError(f"a body must be bytes, not {type(request.body).__name__}")
        if len(request.body) > BODY_BYTES_MAX:
            raise InputError(f"a body has at most {BODY_BYTES_MAX} bytes, this one has {len(request.body)}")
    return own


def checked_instant(name: str, instant: float) -> None:
    """Checks an argument that is an instant of a clock.

    Raises:
        TypeError: It is not a number.
        InputError: It is not a number that can be compared.
    """
    if isinstance(instant, bool) or not isinstance(instant, int | float):
        raise TypeError(f"{name} must be an instant in seconds, not {type(instant).__name__}")
    if not abs(instant) <= _INSTANT_S_MAX and instant not in {math.inf, -math.inf}:
        raise InputError(f"{name} must be an instant of the clock, in seconds, not {instant}")
