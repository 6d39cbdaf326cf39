"""What a PTP daemon (linuxptp's ``ptp4l``) says of the clock that it keeps, read over its socket.

The daemon answers management messages (IEEE 1588-2008, clause 15) on a Unix socket, as it does to its own ``pmc``. Two
are asked for: the current data set (how far this clock is from the master's, and how long the way takes) and, of the
daemon's own, whether there is a master at all. Nothing is changed. Software timestamps are good to microseconds,
hardware ones to tens of nanoseconds; the daemon does not say how far it may be off, so nothing here is called
synchronised by it.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from city_chain.errors import DeadlineError, InputError, ProtocolError, UnavailableError

__all__ = ["PtpState", "ptp_state"]

_HEADER = struct.Struct(">BBHBBHqI8sHHBb")
_TARGET = struct.Struct(">8sHBBBB")
_TLV = struct.Struct(">HHH")
_CURRENT = struct.Struct(">Hqq")
_TIME_STATUS = struct.Struct(">qqiiH12si8s")
_MANAGEMENT, _VERSION, _CONTROL = 0x0D, 2, 4
_TLV_MANAGEMENT, _TLV_ERROR = 1, 2
_GET, _RESPONSE = 0, 2
_CURRENT_DATA_SET, _TIME_STATUS_NP = 0x2001, 0xC000
_MESSAGE_MAX = 1500
_SCALE_BITS = 16


class PtpState(NamedTuple):
    """What a PTP daemon knows.

    Args:
        offset_ns: How far this clock is ahead of the master's, nanoseconds.
        path_delay_ns: How long a message takes one way, nanoseconds.
        steps: How many clocks stand between this one and the grandmaster; 0 where this one is it.
        has_master: Whether a grandmaster is there.
        grandmaster: The grandmaster's identity, 8 bytes.

    Example:
        >>> PtpState(-1259, 1889, 1, True, bytes(8)).steps
        1
    """

    offset_ns: int
    path_delay_ns: int
    steps: int
    has_master: bool
    grandmaster: bytes


def ptp_state(
    address: str | os.PathLike[str] = "/var/run/ptp4l", *, domain: int = 0, timeout_s: float = 1.0
) -> PtpState:
    """Asks the daemon behind a socket.

    Args:
        address: The daemon's socket (``uds_address`` of its configuration); this process must be let write to it.
        domain: The PTP domain, 0 to 255.
        timeout_s: How long to wait for each of two answers, seconds, 0.001 to 60.

    Returns:
        What it says.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument is out of range.
        UnavailableError: No daemon answers there, or it may not be asked.
        DeadlineError: It does not answer in time.
        ProtocolError: It refuses, or what it answers is no answer.

    Example:
        >>> ptp_state("/nonexistent/ptp4l")
        Traceback (most recent call last):
            ...
        city_chain.errors.UnavailableError: ptp: nobody answers at /nonexistent/ptp4l: No such file or directory
    """
    if isinstance(domain, bool) or not isinstance(domain, int):
        raise TypeError(f"domain must be an int, not {type(domain).__name__}")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s must be a number, not {type(timeout_s).__name__}")
    if not 0 <= domain <= 255 or not 0.001 <= timeout_s <= 60:
        raise InputError(f"ptp: domain {domain} (0 to 255), timeout_s {timeout_s} (0.001 to 60)")
    port = secrets.randbelow(0xFFFE) + 1
    with (
        tempfile.TemporaryDirectory(prefix="city-chain-ptp-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        try:
            sock.bind(str(Path(folder) / "socket"))
            sock.connect(os.fspath(address))
        except OSError as error:
            message = f"ptp: nobody answers at {os.fspath(address)}: {error.strerror or error}"
            raise UnavailableError(message, needed=1, had=0) from error
        current = _asked(sock, request(_CURRENT_DATA_SET, domain, port, 0), _CURRENT_DATA_SET, port, 0, timeout_s)
        status = _asked(sock, request(_TIME_STATUS_NP, domain, port, 1), _TIME_STATUS_NP, port, 1, timeout_s)
    steps, offset, delay = _fields(_CURRENT, current)
    *_, has_master, grandmaster = _fields(_TIME_STATUS, status)
    return PtpState(offset >> _SCALE_BITS, delay >> _SCALE_BITS, steps, bool(has_master), bytes(grandmaster))


def request(what: int, domain: int, port: int, sequence: int) -> bytes:
    """The message that asks for a data set.

    Args:
        what: Its id (IEEE 1588-2008, table 40).
        domain: The PTP domain.
        port: What the answer is to be addressed to.
        sequence: Which of the requests it is.

    Returns:
        54 bytes.

    Example:
        >>> len(request(0x2001, 0, 7, 0))
        54
    """
    body = _TARGET.pack(b"\xff" * 8, 0xFFFF, 0, 0, _GET, 0) + _TLV.pack(_TLV_MANAGEMENT, 2, what)
    size = _HEADER.size + len(body)
    return (
        _HEADER.pack(_MANAGEMENT, _VERSION, size, domain, 0, 0, 0, 0, bytes(8), port, sequence, _CONTROL, 0x7F) + body
    )


def answer(packet: bytes, what: int, port: int, sequence: int) -> bytes | None:
    """Reads a message.

    Args:
        packet: What came, hostile until accepted.
        what: The id of the data set that was asked for.
        port: What the answer must be addressed to.
        sequence: Which request it must answer.

    Returns:
        The data set; None if the message is for somebody else.

    Raises:
        ProtocolError: It is no management message, or it says that the daemon refuses.

    Example:
        >>> answer(request(0x2001, 0, 7, 0), 0x2001, 7, 0) is None
        True
    """
    least = _HEADER.size + _TARGET.size + _TLV.size
    if not least <= len(packet) <= _MESSAGE_MAX:
        raise ProtocolError(f"ptp: a message of {len(packet)} bytes, not {least} to {_MESSAGE_MAX}")
    kind, version, size, *_, number, _, _ = _HEADER.unpack_from(packet)
    if kind & 0x0F != _MANAGEMENT or version & 0x0F != _VERSION or size != len(packet):
        raise ProtocolError(f"ptp: type {kind & 15}, version {version & 15}, size {size}: no management message")
    _, target, _, _, action, _ = _TARGET.unpack_from(packet, _HEADER.size)
    if action & 0x0F != _RESPONSE or target != port or number != sequence:
        return None
    tlv, length, found = _TLV.unpack_from(packet, _HEADER.size + _TARGET.size)
    if tlv == _TLV_ERROR:
        raise ProtocolError(f"ptp: the daemon refuses to tell {what:#06x} (error {found:#06x})")
    data = packet[least:]
    if tlv != _TLV_MANAGEMENT or found != what or length != len(data) + 2:
        raise ProtocolError(
            f"ptp: an answer of kind {tlv} and {length} bytes about {found:#06x}, asked for {what:#06x}"
        )
    return data


def _asked(sock: socket.socket, message: bytes, what: int, port: int, sequence: int, timeout_s: float) -> bytes:
    until = time.monotonic() + timeout_s
    try:
        sock.send(message)
        while (left_s := until - time.monotonic()) > 0:
            sock.settimeout(left_s)
            found = answer(sock.recv(_MESSAGE_MAX + 1), what, port, sequence)
            if found is not None:
                return found
    except TimeoutError:
        pass
    except OSError as error:
        raise UnavailableError(f"ptp: the daemon cannot be asked: {error.strerror or error}", 1, 0) from error
    raise DeadlineError(f"ptp: the daemon did not answer within {timeout_s} s")


def _fields(of: struct.Struct, data: bytes) -> tuple[Any, ...]:
    if len(data) < of.size:
        raise ProtocolError(f"ptp: a data set of {len(data)} bytes, {of.size} are needed")
    return of.unpack_from(data)
