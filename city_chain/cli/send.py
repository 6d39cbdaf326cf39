"""``city-chain send FILE…``: each file becomes one transaction.

Files are read in bursts, so a long list needs no more memory than a short one. Ctrl-C ends after the burst under way; a
second one ends at once, and the next opening of the city finishes or reports what was journalled and writes the
receipts of it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

from city_chain.cli.console import Console, Progress, text
from city_chain.cli.place import Place
from city_chain.errors import CityChainError, InputError
from city_chain.levels import City
from city_chain.records import Receipt

__all__ = ["BURST_BYTES_MAX", "BURST_FILES_MAX", "FILE_BYTES_MAX", "read", "run"]

BURST_FILES_MAX = 64
"""The most files that travel together."""

BURST_BYTES_MAX = 32 << 20
"""The most bytes of files that travel together, unless one file alone has more."""

FILE_BYTES_MAX = 64 << 20
"""The most bytes of one file: what one transaction may carry."""

_WHY_CHARACTERS_MAX = 150
"""How much of an error is shown where a note that matters more may follow."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Sends the files; 1 if any was not sent, 130 after Ctrl-C."""
    place = Place(args.city)
    with _Interrupt(console) as interrupt, place.open(console) as city:
        with console.progress("sending", len(args.files)) as progress:
            sending = _Sending(city, place, console, progress, as_json=args.json)
            try:
                for burst in _bursts(args.files, sending):
                    interrupt.sending = True
                    sending.send(burst)
                    interrupt.sending = False
                    if console.gone or interrupt.asked:
                        break
            except KeyboardInterrupt:
                interrupt.asked = True
        if interrupt.asked:
            interrupt.over = True
            console.complain(sending.summary(len(args.files)))
            if sending.under_way:
                os._exit(130)  # as a crash would end it: what is journalled stays so, and no thread is waited for
            return 130
    return 1 if sending.failed or console.gone else 0


def read(name: str) -> bytes:
    """The bytes of one file to be sent; ``-`` is stdin.

    Raises:
        InputError: It is too large, or there is no name.
        OSError: It cannot be read.
    """
    if not name:
        raise InputError("the name is empty; name a file")
    if name == "-" and sys.stdin is None:  # the process was started without it
        raise OSError(errno.EBADF, "stdin is closed")
    with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"has more than {FILE_BYTES_MAX >> 20} MiB, which is the most that one transaction carries")
    return data


class _Sending:
    """Sends bursts and tells of each file what became of it.

    Args:
        city: Where to send.
        place: Where receipts are kept.
        console: Where to tell.
        progress: How far it is.
        as_json: Whether to tell it in JSON.
    """

    def __init__(self, city: City, place: Place, console: Console, progress: Progress, *, as_json: bool) -> None:
        self.committed = 0
        self.failed = 0
        self.under_way = 0
        self._city = city
        self._place = place
        self._console = console
        self._progress = progress
        self._as_json = as_json

    def send(self, burst: Sequence[tuple[str, bytes]]) -> None:
        """Sends one burst of (name, bytes)."""
        self.under_way = len(burst)

        def tell(at: int, outcome: Receipt | CityChainError) -> None:
            self.under_way -= 1
            if isinstance(outcome, Receipt):
                self._tell(burst[at][0], outcome)
            else:
                self.fail(burst[at][0], outcome)
            self._progress.to(self.committed + self.failed)

        self._city.send_many([data for _, data in burst], batch=BURST_FILES_MAX, on_outcome=tell)

    def _tell(self, name: str, receipt: Receipt) -> None:
        tx_id = receipt.tx_id.hex()
        try:
            where = text(self._place.keep(receipt))
        except (CityChainError, OSError) as error:
            self.failed += 1
            self._console.complain(
                f"{text(name)}: committed as {tx_id}, but its receipt could not be written: {_why(error)}; "
                "city-chain repair writes it when that is mended"
            )
            return
        self.committed += 1
        if self._as_json:
            self._console.json({"tx_id": tx_id, "file": text(name), "receipt": where})
        else:
            self._console.say(f"{tx_id}  {text(name)}  {where}")

    def fail(self, name: str, error: CityChainError | OSError) -> None:
        """A file was not sent: says why."""
        self.failed += 1
        self._console.complain(f"{text(name) or repr(name)}: {_why(error)}")

    def summary(self, total: int) -> str:
        """How far it came, for whoever interrupted it."""
        left = total - self.committed - self.failed - self.under_way
        lines = f"interrupted: {self.committed} of {total} files committed, {self.failed} failed, {left} not begun"
        if self.under_way:
            lines += (
                f"; {self.under_way} were under way: what is journalled of them "
                "is finished or reported when the city is next opened"
            )
        return lines


def _bursts(names: Sequence[str], sending: _Sending) -> Iterator[list[tuple[str, bytes]]]:
    """Reads files as they are needed; those that cannot be read are reported and left out."""
    burst: list[tuple[str, bytes]] = []
    size = 0
    for name in names:
        if burst and name == "-":  # it may be long in coming
            yield burst
            burst, size = [], 0
        try:
            data = read(name)
        except (InputError, OSError) as error:
            sending.fail(name, error)
            continue
        if burst and size + len(data) > BURST_BYTES_MAX:
            yield burst
            burst, size = [], 0
        burst.append((name, data))
        size += len(data)
        if len(burst) == BURST_FILES_MAX:
            yield burst
            burst, size = [], 0
    if burst:
        yield burst


def _why(error: CityChainError | OSError) -> str:
    """What to say of an error where the file is named already: the error, and whether its end is open yet."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    why = str(error)
    if len(why) > _WHY_CHARACTERS_MAX:
        why = why[: _WHY_CHARACTERS_MAX - 1] + "…"
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith("in stage ")]
    if any("journalled" in note for note in notes):
        notes.append("the next command that opens the city finishes it, or reports it")
    return "; ".join([why, *notes])


class _Interrupt:
    """Ctrl-C within a block: while a burst is under way the first asks for an end after it, else it ends at once.

    Args:
        console: Where to say that it was heard.
    """

    def __init__(self, console: Console) -> None:
        self.asked = False
        self.sending = False
        self.over = False
        self._console = console
        self._here = threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> Self:
        if self._here:
            self._before = signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        if self._here:
            signal.signal(signal.SIGINT, self._before)

    def _heard(self, *_: object) -> None:
        if self.over:
            return  # it is ending already
        if not self.sending or self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._console.complain("interrupted: the files under way are sent to their end; again to stop at once")
