"""What a command says: lines and JSON on stdout, errors and notes on stderr, and a progress bar on a terminal.

When whoever reads stdout goes away (``| head -1``), `Console.say` keeps quiet from then on and `Console.gone` is true:
what is under way is brought to its end, and the command ends without a word.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TextIO

import orjson

__all__ = ["Console", "Progress", "size", "text"]


def text(value: str | os.PathLike[str]) -> str:
    r"""A name as it can be printed on one line: what is not printable is escaped.

    Example:
        >>> print(text("two\nlines"), text("\udc80"))
        two\nlines \udc80
    """
    name = os.fspath(value)
    return name if name.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in name)


def size(count: float) -> str:
    """A number of bytes for people.

    Example:
        >>> size(999), size(31_716_174)
        ('999 B', '31.7 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class Console:
    """Where a command's words go: the standard streams of the process.

    Example:
        >>> Console().say("hello")
        hello
    """

    def __init__(self) -> None:
        self.gone = False
        self._bar: Progress | None = None
        for stream in (sys.stdout, sys.stderr):  # None if the process was started without it
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # names of files need not be text that the terminal knows
                reconfigure(errors="backslashreplace")

    def say(self, line: str) -> None:
        """One line on stdout, flushed."""
        self._write(line + "\n")

    def json(self, value: Any) -> None:
        """One JSON object on one line of stdout, flushed."""
        self._write(orjson.dumps(value).decode() + "\n")

    def payload(self, data: bytes) -> None:
        """Bytes on stdout as they are, flushed."""
        if not self._there():
            return
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            self._leave(error)

    def complain(self, message: str) -> None:
        """One or two lines on stderr, marked as ours."""
        self.note(f"city-chain: {message}")

    def note(self, message: str) -> None:
        """A line on stderr; a progress bar that stands there makes way."""
        if self._bar is not None:
            self._bar.clear()
        if sys.stderr is None:
            return  # and `print` would take stdout
        with contextlib.suppress(OSError):  # nobody reads it
            print(message, file=sys.stderr, flush=True)

    def progress(self, what: str, total: int | None) -> Progress:
        """A progress bar on stderr, if that is a terminal; a context manager.

        Args:
            what: What is being done.
            total: How many there are; None if it is not known.
        """
        self._bar = Progress(what, total, sys.stderr)
        return self._bar

    @contextlib.contextmanager
    def if_long(self, seconds: float, what: str) -> Iterator[None]:
        """Says what is being done if the block takes longer, on stderr, if that is a terminal.

        Args:
            seconds: How long it may take without a word.
            what: What is being done.
        """
        if sys.stderr is None or not sys.stderr.isatty():
            yield
            return
        timer = threading.Timer(seconds, self.note, [f"{what} …" if _writes(sys.stderr, "…") else f"{what} ..."])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def finish(self, status: int) -> int:
        """Ends the output; returns the exit status, 1 instead of 0 if not all of it could be written."""
        if not self.gone and sys.stdout is not None:
            try:
                sys.stdout.flush()
            except OSError as error:
                self._leave(error)
        return status or int(self.gone)

    def _there(self) -> bool:
        """Whether stdout takes anything; says so once if the process was started without it."""
        if sys.stdout is None and not self.gone:
            self.gone = True
            self.complain("stdout is closed")
        return not self.gone

    def _write(self, line: str) -> None:
        if not self._there():
            return
        if self._bar is not None and sys.stdout.isatty():
            self._bar.clear()
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        """Stdout takes no more: what is still in its buffer goes nowhere; quietly, if its reader went away."""
        self.gone = True
        if not isinstance(error, BrokenPipeError) and error.errno != errno.EINVAL:  # EINVAL: the same on Windows
            self.complain(f"stdout: {error.strerror}")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Progress:
    """One line that tells how far something is: a bar, the count, the rate, and how long it will take.

    It appears after half a second, ten times a second at most, and vanishes at the end. On anything but a terminal it
    does nothing.

    Args:
        what: What is being done.
        total: How many there are; None if it is not known.
        stream: Where to show it; nowhere if None.

    Example:
        >>> import io
        >>> with Progress("counting", 3, io.StringIO()) as progress:
        ...     progress.to(3)
    """

    def __init__(self, what: str, total: int | None, stream: TextIO | None) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._on = stream is not None and stream.isatty()
        self._began = time.monotonic()
        self._next = self._began + 0.5
        self._shown = False
        self._marks = ("█", "░") if stream is not None and _writes(stream, "█░") else ("#", ".")

    def to(self, count: int) -> None:
        """`count` of them are done."""
        if self._on and (now := time.monotonic()) >= self._next:
            self._next = now + 0.1
            self._shown = True
            width = shutil.get_terminal_size().columns
            self._print(f"\r{self.line(count, now - self._began, width)}\x1b[K")

    def line(self, count: int, seconds: float, width: int = 80) -> str:
        """What is shown when `count` are done after `seconds`, in at most `width` - 1 columns.

        Example:
            >>> import io
            >>> Progress("sending", 200, io.StringIO()).line(50, 2.0)
            'sending  ████████░░░░░░░░░░░░░░░░░░░░░░░░  50/200  25/s  6 s left'
        """
        rate = count / seconds if seconds > 0 else 0.0
        tail = f"{count:,}" if self._total is None else f"{count:,}/{self._total:,}"
        tail += f"  {rate:,.0f}/s"
        if self._total is None:
            return f"{self._what}  {tail}"[: width - 1]
        if rate > 0 and count < self._total:
            tail += f"  {(self._total - count) / rate:.0f} s left"
        cells = max(0, min(32, width - len(self._what) - len(tail) - 6))
        full = cells * min(count, self._total) // max(1, self._total)
        done, left = self._marks
        bar = done * full + left * (cells - full)
        return f"{self._what}  {bar}  {tail}"[: width - 1]

    def clear(self) -> None:
        """Takes the line away; the next count brings it back."""
        if self._shown:
            self._shown = False
            self._print("\r\x1b[K")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()
        self._on = False

    def _print(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError:
            self._on = False  # nobody looks


def _writes(stream: TextIO, characters: str) -> bool:
    """Whether a stream's encoding has these characters."""
    try:
        characters.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
