"""A clock from the network: several NTP servers, the majority of which must agree.

Every server is asked over UDP (RFC 5905), all at once. What each says is an interval that holds the true time if the
server is right; the instants that a strict majority shares are what this clock knows. Servers outside are false and are
named. Without a majority there is no time.

Between two polls the clock runs on the steady clock of the machine, which nobody sets and which goes on while it sleeps
(``CLOCK_BOOTTIME``, where there is one), and is less certain by 15 ppm of the time that passed. The wall clock is read
once, to begin with.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Literal, NamedTuple, Self

from city_chain.algorithms.tnh import Agreement, NtpClient, NtpSample, intersect
from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError
from city_chain.node.city_clock import commit_wait
from city_chain.ports import TimeInterval

__all__ = ["NtpClock", "Server", "Verdict"]

_PORT = 123
_PACKET_MAX = 1024
_SERVERS_MAX = 64
_NAME_MAX = 253
_LATEST_NS = ((1 << 48) - 1) * 1_000_000
"""The last instant that a stamp can carry."""
_LEAVE_ALONE_S = 1024.0
"""How long a server is left alone that asked for it (RFC 5905: the longest poll of a client by default)."""
_POLL_S_MIN, _POLL_S_MAX = 1.0, 131_072.0

type Verdict = Literal["right", "false", "silent", "refused", "unresolved", "repeated", "left alone"]
"""What became of a server: within the majority, outside it, without an answer, with one that says nothing usable, of an
unknown name, at the address of another one (which has one voice, not two), or one that asked to be left alone."""

type _Place = tuple[int, int, int, tuple[str | int | bytes, ...]]
"""Family, type, protocol and address of a socket."""


class Server(NamedTuple):
    """What is known of one server.

    Args:
        name: As it was given.
        verdict: What became of it at the last poll.
        offset_ns: How far its clock is from this machine's, nanoseconds; None without an answer.
        uncertainty_ns: How far the truth may be from that now; None without an answer.
        stratum: How many servers stand between it and a reference clock; None without an answer.
        reason: Why there is no answer, in words; empty with one.

    Example:
        >>> Server("time.example", "silent", None, None, None, "no answer within 1.0 s").verdict
        'silent'
        >>> print(Server("time.example", "false", 5_000_000_000, 70_000, 1, ""))
        time.example: false, +5000 ms from this clock
    """

    name: str
    verdict: Verdict
    offset_ns: int | None
    uncertainty_ns: int | None
    stratum: int | None
    reason: str

    def __str__(self) -> str:
        offset = "" if self.offset_ns is None else f", {round(self.offset_ns / 1e6, 3):+.10g} ms from this clock"
        return f"{self.name}: {self.verdict}{offset}" + (f" ({self.reason})" if self.reason else "")


@dataclass(slots=True)
class _Source:
    """One server and what it last said."""

    name: str
    address: tuple[str, int]
    client: NtpClient = field(default_factory=NtpClient)
    sample: NtpSample | None = None
    silent_until: float = 0.0
    verdict: Verdict = "silent"
    reason: str = "it was not asked yet"
    lookup: _Lookup | None = None


class _Lookup:
    """A name that is being looked up, which takes as long as the system likes."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.found: _Place | None = None
        self.error = "its name is still being looked up"
        self._address = address
        self._thread: Thread | None = None
        self._run(socket.AI_NUMERICHOST)
        if self.found is None:
            self._thread = Thread(target=self._run, name="city-chain-ntp-lookup", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it is done, `seconds` from now at the latest."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self, flags: int = 0) -> None:
        try:
            found = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM, flags=flags)
            family, kind, protocol, _, where = found[0]
        except (OSError, UnicodeError) as error:
            self.error = f"its name cannot be looked up: {error}"
        else:
            self.found = family, kind, protocol, where


class NtpClock:
    """A clock that knows how wrong it can be. Implements `ports.Clock`; safe to use from several threads.

    It asks no server by itself: call `poll`, or `start` to have a thread do so.

    Args:
        servers: Their names or addresses, each with ``:port`` where it is not 123 (``"[::1]:1123"``, ``"host:1123"``).
            Take four or more: with three, one may be false; with two, both must agree.
        timeout_s: How long one poll waits for answers, seconds, 0.001 to 16.
        good_ms: Up to which distance between the earliest and the latest instant the clock is called synchronised,
            milliseconds. The default is what `tnh.Hlc` allows between two clocks.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: There is no server, more than 64, one stands twice, or a number is out of range.

    Example:
        >>> clock = NtpClock(["localhost:1"], timeout_s=0.05)
        >>> clock.interval().status
        'unknown'
    """

    def __init__(self, servers: Sequence[str], *, timeout_s: float = 1.0, good_ms: float = 500.0) -> None:
        if isinstance(servers, str):
            raise TypeError("servers must be a sequence of names, not one str")
        addresses = [_address(server) for server in servers]
        if not 1 <= len(addresses) <= _SERVERS_MAX:
            raise InputError(f"ntp: {len(addresses)} servers; 1 to {_SERVERS_MAX} are needed")
        if twice := [name for at, name in enumerate(servers) if addresses[at] in addresses[:at]]:
            raise InputError(f"ntp: {twice[0]!r} is named twice; each server has one voice")
        self._timeout_s = _number("timeout_s", timeout_s, 0.001, 16.0)
        self._good_ns = round(_number("good_ms", good_ms, 0.001, 1e6) * 1e6)
        self._sources = [_Source(name, address) for name, address in zip(servers, addresses, strict=True)]
        self._base_ns = time.time_ns() - _steady_ns()
        self._lock = Lock()
        self._polling = Lock()
        self._polls: tuple[Thread, Event] | None = None

    # --- ports.Clock ---

    def now_ms(self) -> int:
        """The middle of `interval`, milliseconds since the Unix epoch.

        Raises:
            UnavailableError: The clock is not synchronised; it gives no time that could be taken for a good one.
        """
        interval = self.interval()
        if interval.status != "synchronised":
            raise self._lost(interval)
        return (interval.earliest_ns + interval.latest_ns) // 2 // 1_000_000

    def monotonic(self) -> float:
        """Seconds on the machine's steady clock; only differences mean anything."""
        return time.monotonic()

    def _lost(self, interval: TimeInterval) -> UnavailableError:
        """Why there is no time."""
        with self._lock:
            answered = sum(source.sample is not None for source in self._sources)
            reason = f"{answered} of {len(self._sources)} servers have answered"
            if interval.status == "unsynchronised":
                reason += f", {interval.width_ns / 1e6:g} ms lie between what the majority allows"
            else:
                try:
                    self._majority(self._now_ns())
                except UnavailableError as error:
                    reason += f"; {error}"
        return UnavailableError(f"ntp: the clock is {interval.status}: {reason}", len(self._sources) // 2 + 1, answered)

    # --- what is known ---

    def interval(self) -> TimeInterval:
        """Between which instants the true time lies.

        Returns:
            The interval. It is ``unknown``, and as wide as time, before the first poll that found a majority, and
            ``unsynchronised`` when it is wider than `good_ms`.
        """
        now_ns = self._now_ns()
        with self._lock:
            found = self._agreed(now_ns)
        if found is None:
            return TimeInterval(0, _LATEST_NS, "unknown")
        earliest, latest = max(0, now_ns + found.earliest_ns), min(_LATEST_NS, now_ns + found.latest_ns)
        return TimeInterval(
            earliest, latest, "synchronised" if latest - earliest <= self._good_ns else "unsynchronised"
        )

    def servers(self) -> list[Server]:
        """What is known of each server, in the order given."""
        now_ns = self._now_ns()
        with self._lock:
            return [_shown(source, now_ns) for source in self._sources]

    def commit_wait(self, ms: int, *, timeout_s: float = 10.0) -> None:
        """Waits until a millisecond is over for certain (see `city_clock.commit_wait`).

        Args:
            ms: The millisecond since the Unix epoch, 0 to 2**48 - 1. Of a stamp: `tnh.ms`.
            timeout_s: How long to wait, seconds, 0 to 86,400.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            UnavailableError: The clock is not synchronised.
            DeadlineError: It is not over for certain within `timeout_s`.
        """
        commit_wait(self, ms, timeout_s=timeout_s)

    # --- asking ---

    def poll(self) -> TimeInterval:
        """Asks every server once, and waits for their answers, `timeout_s` at most.

        What a server said before counts on, ever less certain, where it gives no answer now.

        Returns:
            What `interval` then gives.

        Raises:
            UnavailableError: No strict majority of the servers agrees: there are too few answers, or they contradict
                each other; or the system has no more sockets or threads.
        """
        with self._polling:
            try:
                self._ask()
            except (OSError, RuntimeError) as error:  # no more sockets, no more threads
                raise UnavailableError(f"ntp: no server can be asked: {error}", len(self._sources), 0) from error
        now_ns = self._now_ns()
        with self._lock:
            self._judge(now_ns)
            self._majority(now_ns)
        return self.interval()

    def start(self, every_s: float = 64.0) -> None:
        """Polls now and again in a thread, until `close`. A poll that fails is tried again at the next time.

        Args:
            every_s: The time between two polls, seconds, 1 to 131,072. Public servers ask for 64 or more.

        Raises:
            TypeError: It is not a number.
            InputError: It is out of range, or a thread polls already.
        """
        every_s = _number("every_s", every_s, _POLL_S_MIN, _POLL_S_MAX)
        with self._lock:
            if self._polls is not None:
                raise InputError("ntp: a thread polls already; close() stops it")
            stop = Event()
            thread = Thread(target=self._run, args=(every_s, stop), name="city-chain-ntp", daemon=True)
            thread.start()
            self._polls = thread, stop

    def close(self) -> None:
        """Stops the thread of `start`, if there is one. What is known stays known."""
        with self._lock:
            polls, self._polls = self._polls, None
        if polls is not None:
            thread, stop = polls
            stop.set()
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inside ---

    def _run(self, every_s: float, stop: Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(CityChainError):  # `servers` tells what was wrong, and `now_ms` refuses
                self.poll()
            stop.wait(every_s)

    def _now_ns(self) -> int:
        """The local clock on which offsets are measured: it began at the wall clock's time and is never set."""
        return self._base_ns + _steady_ns()

    def _ask(self) -> None:
        places = self._places()
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            waiting = sum(self._send(source, place, stack, selector) for source, place in places)
            until = time.monotonic() + self._timeout_s
            while waiting and (left_s := until - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if self._take(*key.data):
                        selector.unregister(key.fileobj)
                        waiting -= 1

    def _places(self) -> list[tuple[_Source, _Place]]:
        """Whom to ask, and where.

        All names are looked up before anybody is asked: an answer that waited to be read would seem to have been on its
        way for so long.
        """
        asked = [source for source in self._sources if source.silent_until <= time.monotonic()]
        for source in asked:
            source.lookup = source.lookup or _Lookup(source.address)
        until, places, seen = time.monotonic() + self._timeout_s, [], dict[tuple[str | int | bytes, ...], str]()
        for source in asked:
            lookup = source.lookup
            if lookup is None or not lookup.wait(until - time.monotonic()):
                self._note(source, "unresolved", f"its name was not looked up within {self._timeout_s} s")
                continue  # it goes on, and the next poll has what it finds
            source.lookup = None
            if lookup.found is None:
                self._note(source, "unresolved", lookup.error)
                continue
            where = lookup.found[3]
            if where in seen:
                with self._lock:
                    source.sample = None
                self._note(source, "repeated", f"it is at the address of {seen[where]}")
                continue
            seen[where] = source.name
            places.append((source, lookup.found))
        return places

    def _send(self, source: _Source, place: _Place, stack: ExitStack, selector: selectors.BaseSelector) -> bool:
        """Asks one server; whether its answer is to be waited for."""
        try:
            sock = stack.enter_context(socket.socket(*place[:3]))
            sock.setblocking(False)
            sock.connect(place[3])  # takes packets from this address only
            sent_ns = self._now_ns()
            sock.send(source.client.request())
        except OSError as error:
            self._note(source, "silent", f"the request to {place[3][0]!s} cannot be sent: {error}")
            return False
        self._note(source, "silent", f"no answer within {self._timeout_s} s")
        selector.register(sock, selectors.EVENT_READ, (sock, source, sent_ns))
        return True

    def _take(self, sock: socket.socket, source: _Source, sent_ns: int) -> bool:
        """Reads a packet; whether nothing more is to be waited for from this server."""
        try:
            packet = sock.recv(_PACKET_MAX + 1)
        except BlockingIOError:
            return False
        except OSError as error:
            self._note(source, "silent", f"nobody answers there: {error}")
            return True
        received_ns = self._now_ns()
        try:
            answer = source.client.on_packet(packet, sent_ns, received_ns)
        except ProtocolError as error:
            self._note(source, "refused", str(error))
            return False  # it may be forged: the true answer may still come
        if isinstance(answer, str):
            source.silent_until = time.monotonic() + _LEAVE_ALONE_S
            self._note(source, "left alone", f"it asked to be left alone: {answer}")
            return True
        with self._lock:
            source.sample, source.reason = answer, ""
        return True

    def _note(self, source: _Source, verdict: Verdict, reason: str) -> None:
        with self._lock:
            source.verdict, source.reason = verdict, reason

    def _answers(self) -> Iterator[_Source]:
        return (source for source in self._sources if source.sample is not None)

    def _majority(self, now_ns: int) -> Agreement:
        """What the servers agree on: of all of them, not of those that answered."""
        samples = [source.sample for source in self._sources if source.sample is not None]
        readings = [(sample.offset_ns, sample.uncertainty_ns(now_ns)) for sample in samples]
        return intersect(readings, total=len(self._sources))

    def _agreed(self, now_ns: int) -> Agreement | None:
        try:
            return self._majority(now_ns)
        except UnavailableError:
            return None

    def _judge(self, now_ns: int) -> None:
        """Says of every server that has answered whether it is right."""
        found = self._agreed(now_ns)
        for place, source in enumerate(self._answers()):
            if not source.reason:
                source.verdict = "right" if found is not None and place in found.right else "false"
                if found is None:
                    source.verdict, source.reason = "refused", "no majority of the servers agrees"


def _steady_ns() -> int:
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


def _shown(source: _Source, now_ns: int) -> Server:
    sample = source.sample
    if sample is None:
        return Server(source.name, source.verdict, None, None, None, source.reason)
    uncertainty_ns = sample.uncertainty_ns(now_ns)
    return Server(source.name, source.verdict, sample.offset_ns, uncertainty_ns, sample.stratum, source.reason)


def _address(server: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address."""
    if not isinstance(server, str):
        raise TypeError(f"a server must be a str, not {type(server).__name__}")
    host, port = server, ""
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":")
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else _PORT if not port else 0
    if not 0 < number < 1 << 16 or not 0 < len(host) <= _NAME_MAX or any(c.isspace() or c == "\0" for c in host):
        raise InputError(f"ntp: {server[:_NAME_MAX]!r} is no host:port; such as time.example or 192.0.2.1:123")
    return host, number


def _number(name: str, value: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not least <= value <= most:
        raise InputError(f"{name} must be {least:g} to {most:g}, not {value}")
    return float(value)
