"""``city-chain inspect FILE…``: what a file is, and what it says. Nothing is verified, and no secret is shown."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
from typing import BinaryIO

from city_chain.cli.console import Console, size, text
from city_chain.cli.known import HEAD_LEN, RECORDS, Thing, lines, recognise, shown
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError, InputError

__all__ = ["run"]

_RECORD_BYTES_MAX = 256 << 20
"""The most bytes that any record may have."""

_OTHER_BYTES_MAX = 8 << 10
"""The most bytes that are read of what is no record: more than any key has."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Shows every file; 1 if any is unknown, damaged or cannot be read."""
    wrong = 0
    for name in args.files:
        try:
            data, length = _read(name)
            thing = recognise(data)
        except (CityChainError, OSError) as error:
            wrong += 1
            console.complain(f"{text(name)}: {why(error)}")
            continue
        _tell(console, name, thing, length, as_json=args.json)
        if console.gone:
            break
    return 1 if wrong else 0


def _tell(console: Console, name: str, thing: Thing, length: int | None, *, as_json: bool) -> None:
    found = {field: shown(value, field) for field, value in thing.fields.items()}
    if as_json:
        head = {"file": text(name), "what": thing.what, "tag": thing.tag, "version": thing.version, "bytes": length}
        summary = {"summary": thing.summary} if thing.summary else {}
        console.json({**head, **summary, "fields": found})
        return
    marks = [thing.tag if thing.version is None else f"{thing.tag}, version {thing.version}"]
    marks += [] if length is None else [size(length) if length > 9999 else f"{length} bytes"]
    console.say(f"{text(name)}: {thing.what} ({'; '.join(marks)})")
    for line in lines(thing.summary):
        console.say(line)
    for line in lines(found):
        console.say(line)


def _read(name: str) -> tuple[bytes, int | None]:
    """As many bytes of a file as are needed, and how many it has; None if that is not known.

    Raises:
        InputError: It has more bytes than any record.
        OSError: It cannot be read.
    """
    if name == "-" and sys.stdin is None:  # the process was started without it
        raise OSError(errno.EBADF, "stdin is closed")
    with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        head = file.read(HEAD_LEN)
        most = _RECORD_BYTES_MAX if head[:4] in RECORDS else _OTHER_BYTES_MAX
        data = head + file.read(most + 1 - len(head))
        if len(data) <= most:
            return data, len(data)
        if most == _RECORD_BYTES_MAX:
            raise InputError(f"has more than {most >> 20} MiB, which is the most that any record has")
        return data, _length(file)


def _length(file: BinaryIO) -> int | None:
    """How long a file is that was not read to its end."""
    try:
        return file.seek(0, 2)
    except OSError:  # a pipe
        return None
