"""The files of the demo: which they are, reading them, and comparing them with what came back."""

from __future__ import annotations

import hashlib
import os
import stat
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from city_chain.cli.parser import FILE_BYTES_MAX
from city_chain.cli.send import BURST_FILES_MAX
from city_chain.levels.bursts import bursts

__all__ = ["Bundle", "Item", "find"]


@dataclass(frozen=True, slots=True)
class Item:
    """One file that was read.

    Args:
        path: Where it is.
        size: How many bytes were read.
        digest: SHA-256 of them.
    """

    path: Path
    size: int
    digest: bytes


def find(paths: Sequence[str]) -> list[Path]:
    """The files to send: those named, all that is in the folders named, or the standard library's.

    Links that lead to folders are not followed. What is named and is not there, and a folder that cannot be looked
    into, is in the list: reading it says so.

    Example:
        >>> all(path.suffix == ".py" for path in find([]))
        True
    """
    if not paths:
        return _standard_library()
    found: dict[Path, None] = {}
    for name in paths:
        path = Path(name)
        found.update(dict.fromkeys(_below(path) if path.is_dir() else [path]))
    return list(found)


def _standard_library() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    others = {"site-packages", "dist-packages"}
    return [path for path in _below(root) if path.suffix == ".py" and others.isdisjoint(path.parts)]


def _below(folder: Path) -> list[Path]:
    closed: list[Path] = []
    found = sorted(os.walk(folder, onerror=lambda error: closed.append(Path(os.fsdecode(error.filename)))))
    return [*(Path(root) / name for root, _, names in found for name in sorted(names)), *closed]


class Bundle:
    """Reads files in bursts and remembers what was read.

    Args:
        paths: The files.
        asked: Whether somebody asked for them: not to send one of them is not right then.

    Example:
        >>> bundle = Bundle([Path("/nowhere/at/all")])
        >>> list(bundle.bursts()), bundle.notes[0][1]
        ([], 'No such file or directory')
    """

    def __init__(self, paths: Sequence[Path], *, asked: bool = False) -> None:
        self.notes: list[tuple[Path, str]] = []
        self.refused: list[tuple[Path, str]] = []
        self._paths = paths
        self._asked = asked

    def __len__(self) -> int:
        return len(self._paths)

    def bursts(self) -> Iterator[list[tuple[Item, bytes]]]:
        """The files with their bytes, at most 64 files and about 32 MiB at a time. What cannot be read is skipped."""
        return bursts(self._items(), BURST_FILES_MAX)

    def _items(self) -> Iterator[tuple[tuple[Item, bytes], int]]:
        for path in self._paths:
            data = self._read(path)
            if data is not None:
                yield (Item(path, len(data), hashlib.sha256(data).digest()), data), len(data)

    def same(self, item: Item, payload: bytes) -> bool:
        """Whether every byte of `payload` is that of the file.

        A file that has changed since it was read is noted; what was read of it is then what counts.
        """
        try:
            with item.path.open("rb") as file:
                now = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            now, why = None, f"cannot be read any more: {error.strerror}"
        else:
            if payload == now:
                return True
            why = "changed since it was sent"
        if hashlib.sha256(payload).digest() != item.digest:
            return False
        self.notes.append((item.path, f"{why}; what came back is what was sent"))
        return True

    def _read(self, path: Path) -> bytes | None:
        """The bytes of a file; None, and a note, if it cannot be sent."""
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    self._skip(path, "is not a regular file")
                    return None
                data = file.read(FILE_BYTES_MAX + 1)
                after = os.fstat(file.fileno())
        except OSError as error:
            self._skip(path, error.strerror or type(error).__name__)
            return None
        if len(data) > FILE_BYTES_MAX:
            self._skip(path, f"has more than {FILE_BYTES_MAX >> 20} MiB")
            return None
        if (before.st_mtime_ns, before.st_size, len(data)) != (after.st_mtime_ns, after.st_size, after.st_size):
            self._skip(path, "changed while it was read")
            return None
        return data

    def _skip(self, path: Path, why: str) -> None:
        """Notes that a file is not sent; one that was asked for is refused."""
        (self.refused if self._asked else self.notes).append((path, why))


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe that nobody writes to does not hold us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
