"""``city-chain send FILE…``: each file becomes one transaction.

Files are read in bursts, so a long list needs no more memory than a short one. What has to be waited for (stdin, a
pipe) is read while the city is not open, so that others can use it meanwhile. Ctrl-C ends after the burst under way; a
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

from city_chain.cli.console import Console, Progress, text
from city_chain.cli.key_files import OPENING_KINDS, public_key
from city_chain.cli.parser import FILE_BYTES_MAX
from city_chain.cli.place import Place, is_special
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError, InputError
from city_chain.levels import City
from city_chain.levels.bursts import bursts
from city_chain.records import Receipt

__all__ = ["BURST_FILES_MAX", "read", "run"]

type _Item = tuple[str, bytes]

BURST_FILES_MAX = 64
"""The most files that travel together."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Sends the files; 1 if any was not sent, 130 after Ctrl-C."""
    place = Place(args.city)
    place.check()  # before anything is waited for
    seal = _seal(args.seal, console)
    total = len(args.files)
    with _Interrupt(console) as interrupt, console.progress("sending", total) as progress:
        sending = _Sending(place, console, progress, seal, as_json=args.json)
        for run in _runs(args.files):
            try:
                awaited = list(sending.read(run.awaited))
            except KeyboardInterrupt:
                interrupt.asked = True
                break
            if awaited or run.names:
                with sending.left_out(total), place.open(console) as city:
                    _send(city, sending, chain(awaited, sending.read(run.names)), interrupt)
                    interrupt.over = interrupt.asked
                    if interrupt.asked and sending.under_way:
                        console.complain(sending.summary(total))
                        os._exit(
                            130
                        )  # as a crash would end it: what is journalled stays so, and no thread is waited for
            if interrupt.asked or console.gone:
                break
        if interrupt.asked:
            interrupt.over = True
            console.complain(sending.summary(total))
            return 130
    return 1 if sending.failed or console.gone else 0


def _seal(asked: Sequence[str] | None, console: Console) -> str | list[bytes] | None:
    """To whom the files are sealed: to nobody, the city, or the readers whose key files are named."""
    if not asked:
        return None
    if asked == ["city"]:
        return "city"
    readers: dict[bytes, str] = {}
    for name in asked:
        key = public_key(Path(name), console)
        if key.kind not in OPENING_KINDS:
            raise InputError(f"{text(name)}: its key is of kind {key.kind} and signs; nothing can be sealed to it")
        if key.public_key in readers:
            raise InputError(f"{text(name)} and {text(readers[key.public_key])} hold the same key; name a reader once")
        readers[key.public_key] = name
    return list(readers)


def _send(city: City, sending: _Sending, items: Iterable[_Item], interrupt: _Interrupt) -> None:
    """Sends what is read, burst by burst, until Ctrl-C or until nobody listens any more."""
    try:
        for burst in bursts(((item, len(item[1])) for item in items), BURST_FILES_MAX):
            interrupt.sending = True
            sending.send(city, burst)
            interrupt.sending = False
            if sending.gone or interrupt.asked:
                return
    except KeyboardInterrupt:
        interrupt.asked = interrupt.over = True


@dataclass(frozen=True, slots=True)
class _Run:
    """Files for which the city is opened once.

    Args:
        awaited: What is read before, for it may be long in coming: at most one.
        names: What is read as it is needed.
    """

    awaited: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def _runs(names: Sequence[str]) -> Iterator[_Run]:
    """Cuts the files before each that has to be waited for."""
    run = _Run()
    for name in names:
        if name == "-" or is_special(Path(name)):
            if run.awaited or run.names:
                yield run
            run = _Run(awaited=[name])
        else:
            run.names.append(name)
    yield run


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
        place: Where receipts are kept.
        console: Where to tell.
        progress: How far it is.
        seal: To whom they are sealed.
        as_json: Whether to tell it in JSON.
    """

    def __init__(
        self, place: Place, console: Console, progress: Progress, seal: str | list[bytes] | None, *, as_json: bool
    ) -> None:
        self.committed = 0
        self.failed = 0
        self.under_way = 0
        self._place = place
        self._console = console
        self._progress = progress
        self._seal = seal
        self._as_json = as_json

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""
        return self._console.gone

    def read(self, names: Iterable[str]) -> Iterator[_Item]:
        """Reads files as they are needed; those that cannot be read are reported and left out."""
        for name in names:
            try:
                yield name, read(name)
            except (InputError, OSError) as error:
                self.fail(name, error)

    def send(self, city: City, burst: Sequence[_Item]) -> None:
        """Sends one burst."""
        self.under_way = len(burst)

        def tell(at: int, outcome: Receipt | CityChainError) -> None:
            self.under_way -= 1
            if isinstance(outcome, Receipt):
                self._tell(burst[at][0], outcome)
            else:
                self.fail(burst[at][0], outcome)
            self._progress.to(self.committed + self.failed)

        payloads = [data for _, data in burst]
        city.send_many(payloads, seal=self._seal, batch=BURST_FILES_MAX, on_outcome=tell)

    def _tell(self, name: str, receipt: Receipt) -> None:
        tx_id = receipt.tx_id.hex()
        try:
            where = text(self._place.keep(receipt))
        except (CityChainError, OSError) as error:
            self.failed += 1
            self._console.complain(
                f"{text(name)}: committed as {tx_id}, but its receipt could not be written: {why(error)}; "
                "city-chain repair writes it when that is mended"
            )
            return
        self.committed += 1
        if self._as_json:
            self._console.json({"tx_id": tx_id, "file": text(name), "receipt": where})
        else:
            self._console.say(f"{tx_id}  {text(name)}  {where}")

    @contextlib.contextmanager
    def left_out(self, total: int) -> Iterator[None]:
        """If the block fails when some files are sent already, says how many were not."""
        try:
            yield
        except (CityChainError, OSError):
            if self.committed:
                self._console.complain(f"{total - self.committed} of {total} files were not sent")
            raise

    def fail(self, name: str, error: CityChainError | OSError) -> None:
        """A file was not sent: says why."""
        self.failed += 1
        self._console.complain(f"{text(name) or repr(name)}: {why(error)}")

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
