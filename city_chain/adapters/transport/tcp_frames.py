"""What goes over a TCP connection: addresses, frames, and how bytes are read and written within bounds.

A client begins with the 4 bytes ``CCt1``. After that each side sends frames: a length (4 bytes, little-endian), then as
many bytes. Integers are little-endian.

=========  ===========================================================================================================
frame      contents
=========  ===========================================================================================================
requests   count (4), then for each: number (8), milliseconds until its deadline (4), length of the address (2), length
           of the body (4), address, body
answers    count (4), then for each: number of the request (8), status (1), length (4), body or reason
=========  ===========================================================================================================

The status is 0 for a body, 1 where the handler could not serve (`UnavailableError`), 2 where it failed otherwise
(`ProtocolError`).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Buffer, Callable, Sequence
from threading import Lock
from time import monotonic
from typing import NamedTuple

from city_chain.adapters.transport.gathering import ADDRESS_CHARS_MAX, BODY_BYTES_MAX, REQUESTS_MAX
from city_chain.errors import InputError, ProtocolError

__all__ = [
    "FRAME_BYTES_MAX",
    "FREE_BYTES",
    "HELLO",
    "RUN_BYTES_MAX",
    "TICK_S",
    "Answer",
    "Asked",
    "Budget",
    "Place",
    "address_at",
    "answers_frame",
    "cost_of",
    "place_of",
    "read_answers",
    "read_frame",
    "read_requests",
    "requests_frame",
    "runs",
    "send_whole",
]

HELLO = b"CCt1"
"""What a client says first."""

RUN_BYTES_MAX = 32 << 20
"""Bytes of bodies from which on another frame is begun; a single body may have more."""

FRAME_BYTES_MAX = BODY_BYTES_MAX + (4 << 20)
"""Longest frame, bytes."""

TICK_S = 1.0
"""Longest wait in one call to a socket, seconds."""

FREE_BYTES = 64 << 10
"""What a frame may cost without being counted, bytes: bounded by the number of connections and frames."""

_COST = 512  # what a request costs beside its bytes
_CHUNK = 1 << 20
_LENGTH = struct.Struct("<I")
_ASKED = struct.Struct("<QIHI")
_ANSWER = struct.Struct("<QBI")


class Place(NamedTuple):
    """Where an address is: the host and port of its listener."""

    host: str
    port: int


class Asked(NamedTuple):
    """One request as it travels."""

    number: int
    left_ms: int
    address: str
    body: bytes


class Answer(NamedTuple):
    """One answer as it travels: the number of its request, its status, and a body or a reason."""

    number: int
    status: int
    body: bytes


def place_of(address: str) -> Place:
    """The host and port of an address ``tcp:HOST:PORT`` or ``tcp:HOST:PORT/NAME``; an IPv6 host stands in brackets.

    Raises:
        InputError: It is no such address.

    Example:
        >>> place_of("tcp:127.0.0.1:7101/a"), place_of("tcp:[::1]:80")
        (Place(host='127.0.0.1', port=7101), Place(host='::1', port=80))
    """
    scheme, _, rest = address.partition(":")
    host, colon, port = rest.partition("/")[0].rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    digits = port.isascii() and port.isdecimal() and len(port) <= 5
    if scheme != "tcp" or not colon or not host or not host.isascii() or not digits or int(port) > 0xFFFF:
        raise InputError(f"{address[:80]!r} is no address tcp:HOST:PORT")
    return Place(host, int(port))


def address_at(place: Place, address: str) -> str:
    """The address of the same name at another place.

    Example:
        >>> address_at(Place("0.0.0.0", 80), "tcp:town.example:8080/a"), address_at(Place("::1", 80), "tcp:x:1")
        ('tcp:0.0.0.0:80/a', 'tcp:[::1]:80')
    """
    host = f"[{place.host}]" if ":" in place.host else place.host
    _, slash, name = address.partition("/")
    return f"tcp:{host}:{place.port}{slash}{name}"


class Budget:
    """So many bytes for everybody together. Safe to share between threads."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._lock = Lock()

    def take(self, count: int) -> bool:
        """Takes `count` bytes, or none if they are not there."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Gives bytes back."""
        with self._lock:
            self._left += count


# --- reading ---------------------------------------------------------------------------------------------------------


def read_frame(sock: socket.socket, patience_s: float, budget: Budget | None = None) -> tuple[bytearray, int] | None:
    """The next frame and what was taken of the budget for it; None when the other side has ended.

    Memory is taken as bytes arrive, whatever the length says. A frame may be waited for without end, but once begun it
    must come at 1 MiB/s after `patience_s`.

    Args:
        sock: Whose timeout is `TICK_S` or less.
        patience_s: How long a frame may take, seconds, beside what its length allows.
        budget: What larger frames are counted against.

    Raises:
        ProtocolError: The frame is too long, took too long, or ended in the middle; or there was no room for it.
        OSError: The connection failed.
    """
    taken = 0
    try:
        head = _exactly(sock, _LENGTH.size, patience_s)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > FRAME_BYTES_MAX:
            raise ProtocolError(f"frame: {length} bytes, at most {FRAME_BYTES_MAX} are allowed")

        def pay(count: int) -> None:
            nonlocal taken
            if budget is None or length <= FREE_BYTES:
                return
            if not budget.take(count):
                raise ProtocolError(f"frame: no room for its {length} bytes here now")
            taken += count

        body = _exactly(sock, length, patience_s + length / _CHUNK, begun=True, pay=pay)
        result = body or bytearray(), taken
        taken = 0
        return result
    finally:
        if taken and budget is not None:
            budget.give(taken)


def _exactly(
    sock: socket.socket,
    length: int,
    patience_s: float,
    *,
    begun: bool = False,
    pay: Callable[[int], None] = lambda _: None,
) -> bytearray | None:
    """That many bytes; None if the other side ends before the first and nothing was begun."""
    found = bytearray()
    until = monotonic() + patience_s
    while len(found) < length:
        try:
            chunk = sock.recv(min(_CHUNK, length - len(found)))
        except TimeoutError:
            chunk = None
        if chunk == b"":
            if found or begun:
                raise ProtocolError("frame: the other side ended in the middle of it")
            return None
        if chunk:
            if not found and not begun:
                until = monotonic() + patience_s
            pay(len(chunk))
            found += chunk
        if (found or begun) and len(found) < length and monotonic() > until:
            raise ProtocolError(f"frame: {len(found)} of {length} bytes came in {patience_s:.1f} s")
    return found


def read_requests(frame: bytearray) -> list[Asked]:
    """The requests of a frame.

    Raises:
        ProtocolError: It is not the encoding of requests.
    """
    found = []
    at, view = _LENGTH.size, memoryview(frame)
    for _ in range(_count(frame, _ASKED.size)):
        if at + _ASKED.size > len(frame):
            raise ProtocolError("frame: it ends within a request")
        number, left_ms, address_len, body_len = _ASKED.unpack_from(frame, at)
        at += _ASKED.size
        if body_len > BODY_BYTES_MAX or address_len > 4 * ADDRESS_CHARS_MAX or at + address_len + body_len > len(frame):
            raise ProtocolError("frame: a request is longer than allowed, or than the frame")
        try:
            address = str(view[at : at + address_len], "utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("frame: an address is not UTF-8") from None
        at += address_len
        found.append(Asked(number, left_ms, address, bytes(view[at : at + body_len])))
        at += body_len
    return _whole(found, frame, at)


def read_answers(frame: bytearray) -> list[Answer]:
    """The answers of a frame.

    Raises:
        ProtocolError: It is not the encoding of answers.
    """
    found = []
    at, view = _LENGTH.size, memoryview(frame)
    for _ in range(_count(frame, _ANSWER.size)):
        if at + _ANSWER.size > len(frame):
            raise ProtocolError("frame: it ends within an answer")
        number, status, length = _ANSWER.unpack_from(frame, at)
        at += _ANSWER.size
        if status > 2 or length > BODY_BYTES_MAX or at + length > len(frame):
            raise ProtocolError("frame: an answer is longer than allowed or than the frame, or of no known status")
        found.append(Answer(number, status, bytes(view[at : at + length])))
        at += length
    return _whole(found, frame, at)


def _count(frame: bytearray, least: int) -> int:
    if len(frame) < _LENGTH.size:
        raise ProtocolError(f"frame: {len(frame)} bytes are too few")
    (count,) = _LENGTH.unpack_from(frame)
    if count > REQUESTS_MAX or count * least > len(frame):
        raise ProtocolError(f"frame: {count} parts in {len(frame)} bytes")
    return int(count)


def _whole[T](found: list[T], frame: bytearray, at: int) -> list[T]:
    if at != len(frame):
        raise ProtocolError(f"frame: {len(frame) - at} bytes too many")
    return found


def cost_of(requests: int, frame_bytes: int) -> int:
    """What a frame costs while it is worked on, bytes; nothing where it is small.

    Example:
        >>> cost_of(1, 100), cost_of(1, 1 << 20)
        (0, 1049088)
    """
    cost = frame_bytes + _COST * requests
    return cost if cost > FREE_BYTES else 0


# --- writing ---------------------------------------------------------------------------------------------------------


def requests_frame(asked: Sequence[Asked]) -> list[Buffer]:
    """A frame of requests, as buffers to be sent one after the other: bodies are not copied."""
    size, parts = _LENGTH.size, list[Buffer]()
    for number, left_ms, address, body in asked:
        name = address.encode(errors="replace")
        parts += [_ASKED.pack(number, min(left_ms, 0xFFFFFFFF), len(name), len(body)) + name, body]
        size += _ASKED.size + len(name) + len(body)
    return _joined([_LENGTH.pack(size) + _LENGTH.pack(len(asked)), *parts])


def answers_frame(answers: Sequence[Answer]) -> list[Buffer]:
    """A frame of answers, as buffers to be sent one after the other."""
    size, parts = _LENGTH.size, list[Buffer]()
    for number, status, body in answers:
        parts += [_ANSWER.pack(number, status, len(body)), body]
        size += _ANSWER.size + len(body)
    return _joined([_LENGTH.pack(size) + _LENGTH.pack(len(answers)), *parts])


def _joined(parts: Sequence[Buffer]) -> list[Buffer]:
    """The same bytes in fewer buffers: small ones are put together."""
    found: list[Buffer] = []
    small = bytearray()
    for part in parts:
        view = memoryview(part)
        if view.nbytes <= FREE_BYTES:
            small += view
        else:
            found += [bytes(small), part]
            small.clear()
    return [*found, bytes(small)]


def runs[T](items: Sequence[T], size_of: Callable[[T], int]) -> list[list[T]]:
    """Cuts items into runs that fit a frame each, in order.

    Example:
        >>> runs([20 << 20, 20 << 20, 1], lambda size: size)
        [[20971520], [20971520, 1]]
    """
    found: list[list[T]] = []
    left = 0
    for item in items:
        size = size_of(item)
        if not found or size > left or len(found[-1]) >= REQUESTS_MAX:
            found.append([])
            left = RUN_BYTES_MAX
        found[-1].append(item)
        left -= size
    return found


def send_whole(sock: socket.socket, buffers: Sequence[Buffer], patience_s: float) -> None:
    """Sends all of it.

    Raises:
        OSError: The connection failed, or took nothing for `patience_s` (`TimeoutError`).
    """
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        until = monotonic() + patience_s
        while view.nbytes:
            try:
                sent = sock.send(view[:_CHUNK])
            except TimeoutError:
                if monotonic() > until:
                    raise
                continue
            view = view[sent:]
            until = monotonic() + patience_s
