"""The records of the write-behind queue: what a task and a dead letter look like in storage.

::

    prefix "g"              8 bytes: how often the queue was opened
    prefix "t" id           a pending task
    prefix "d" id           a dead letter

An id is 8 bytes, big-endian so that keys sort by age: 24 bits of the opening, 40 bits of a counter. Two queues that
were opened one after the other never give the same id, so neither overwrites the other's tasks. All other integers are
little-endian. Storage is outside: every length is checked before it is used, and nothing may follow the last field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from city_chain.composer.checks import NAME_LENGTH_MAX, check_name
from city_chain.composer.declaration import Stage
from city_chain.errors import InputError

__all__ = ["PAYLOAD_BYTES_MAX", "DeadLetter", "decode_bytes", "encode_bytes"]

Handler = Callable[..., object]
"""What runs a task: a function of the decoded arguments."""

PAYLOAD_BYTES_MAX = 64 << 20
"""Largest encoded task, bytes: a quarter of what one storage value may hold."""

_VERSION = 1
_ERROR_BYTES_MAX = 1200
_NAME_BYTES_MAX = 4 * NAME_LENGTH_MAX
_HEAD = struct.Struct("<BIHI")
"""Version, failed attempts, bytes of the stage's name, bytes of the last error's text."""


class DeadLetter(NamedTuple):
    """A task that was given up.

    `task` is its id, for `replay` and `discard`; `attempts` how often it was tried; `error` the last error as text;
    `payload` its encoded arguments. A record that storage gave back damaged has an empty stage and its raw bytes.
    """

    task: int
    stage: str
    attempts: int
    error: str
    payload: bytes


class Record(NamedTuple):
    """What is stored of a task, pending or dead."""

    stage: str
    attempts: int
    error: str
    payload: bytes


def pack(record: Record) -> bytes:
    """A record as bytes.

    Example:
        >>> unpack(pack(Record("archive", 2, "OSError: full", b"abc"))).attempts
        2
    """
    name = record.stage.encode()
    error = record.error.encode(errors="replace")[:_ERROR_BYTES_MAX].decode(errors="ignore").encode()
    return _HEAD.pack(_VERSION, min(record.attempts, 0xFFFFFFFF), len(name), len(error)) + name + error + record.payload


def unpack(data: bytes) -> Record:
    """Bytes as a record.

    Raises:
        InputError: They are no record of this version.
    """
    if len(data) < _HEAD.size:
        raise InputError(f"a task record has {len(data)} bytes; it must have at least {_HEAD.size}")
    version, attempts, name_bytes, error_bytes = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise InputError(f"a task record has version {version}; this release reads {_VERSION}")
    start, middle = _HEAD.size, _HEAD.size + name_bytes
    end = middle + error_bytes
    if name_bytes > _NAME_BYTES_MAX or error_bytes > _ERROR_BYTES_MAX or end > len(data):
        raise InputError(
            f"a task record of {len(data)} bytes claims a name of {name_bytes} and an error of {error_bytes}"
        )
    try:
        return Record(data[start:middle].decode(), attempts, data[middle:end].decode(), data[end:])
    except UnicodeDecodeError:
        raise InputError("a task record has a name or an error that is not UTF-8") from None


def encode_bytes(arguments: Sequence[Any]) -> bytes:
    """The queue's own encoding, for stages that take bytes and nothing else.

    Args:
        arguments: The stage's inputs, each `bytes`, `bytearray` or `memoryview`.

    Raises:
        InputError: One is something else; give the queue an `encode` and a `decode` that know it.

    Example:
        >>> decode_bytes(encode_bytes([b"one", b""]))
        (b'one', b'')
    """
    parts: list[bytes] = []
    for position, argument in enumerate(arguments):
        if not isinstance(argument, bytes | bytearray | memoryview):
            raise InputError(
                f"write-behind argument {position} is a {type(argument).__name__}; without an encode of your own the "
                "queue keeps bytes only"
            )
        data = bytes(argument)
        if len(data) > PAYLOAD_BYTES_MAX:
            raise InputError(f"write-behind argument {position} has {len(data)} bytes; at most {PAYLOAD_BYTES_MAX}")
        parts += [len(data).to_bytes(4, "little"), data]
    return b"".join(parts)


def decode_bytes(payload: bytes) -> tuple[bytes, ...]:
    r"""The arguments of `encode_bytes`.

    Raises:
        TypeError: It is not bytes.
        InputError: It is cut short.

    Example:
        >>> decode_bytes(b"\x02\0\0\0hi")
        (b'hi',)
    """
    if not isinstance(payload, bytes):
        raise TypeError(f"a payload must be bytes, not {type(payload).__name__}")
    arguments: list[bytes] = []
    start = 0
    while start < len(payload):
        length = int.from_bytes(payload[start : start + 4], "little")
        end = start + 4 + length
        if start + 4 > len(payload) or end > len(payload):
            raise InputError(f"a payload of {len(payload)} bytes is cut short at byte {start}")
        arguments.append(payload[start + 4 : end])
        start = end
    return tuple(arguments)


def check_handlers(handlers: object) -> dict[str, Handler]:
    """Handlers by name, out of a mapping or of stages.

    Raises:
        TypeError: It is neither, or something in it is not callable.
        InputError: A name is not usable or comes twice.
    """
    if isinstance(handlers, Mapping):
        pairs = list(handlers.items())
    elif isinstance(handlers, Stage | str | bytes) or not isinstance(handlers, Iterable):
        raise TypeError(f"handlers must be a mapping or a sequence of Stage, not {type(handlers).__name__}")
    else:
        pairs = []
        for stage in handlers:
            if not isinstance(stage, Stage):
                raise TypeError(f"handlers must be a mapping or a sequence of Stage, not of {type(stage).__name__}")
            pairs.append((stage.name, stage.function))
    checked: dict[str, Handler] = {}
    for name, function in pairs:
        check_name(name, "handler name")
        if not callable(function):
            raise TypeError(f"handler {name!r} must be callable, not {type(function).__name__}")
        if name in checked:
            raise InputError(f"there are two handlers named {name!r}; names must differ")
        checked[name] = function
    return checked
