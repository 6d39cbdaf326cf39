"""What is told of files that were encoded, examined, restored or repaired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from city_chain.algorithms.ec.places import shown

__all__ = ["EncodedFile", "FileReport", "FragmentReport", "RestoredFile"]


@dataclass(frozen=True)
class EncodedFile:
    """What `encode_file` made.

    Args:
        folder: The folder of the fragment files.
        files: The fragment files, in the order of their fragments.
        root: 32 bytes that stand for every byte of the file and of all fragments: keep them elsewhere.
        length: Bytes of the file.
        k: Data fragments.
        n: All fragments.
        code: The name of the code.
        block_len: Bytes of a full block.
        stripes: How many stripes there are.

    Example:
        >>> EncodedFile(Path("a.ec"), (), bytes(32), 10, 6, 10, "rs16", 65536, 1).p
        4
    """

    folder: Path
    files: tuple[Path, ...]
    root: bytes
    length: int
    k: int
    n: int
    code: str
    block_len: int
    stripes: int

    @property
    def p(self) -> int:
        """Parity fragments: as many of any kind may be lost."""
        return self.n - self.k


@dataclass(frozen=True)
class RestoredFile:
    """What `decode_file` wrote.

    Args:
        path: The file.
        root: The root of its fragments.
        length: Its bytes.
        made: Data blocks that were absent or damaged, and were made from others.

    Example:
        >>> RestoredFile(Path("a"), bytes(32), 10, 0).length
        10
    """

    path: Path
    root: bytes
    length: int
    made: int


@dataclass(frozen=True)
class FragmentReport:
    """What is known of one fragment of a file.

    Args:
        index: Which.
        path: The file that holds it, the best one if there are several; the original if the data stay there; None if
            there is none.
        problem: What is wrong; None if every byte is right.
        damaged: Blocks that are absent or wrong.

    Example:
        >>> print(FragmentReport(3, None, "absent", 12))
        fragment 3 absent
    """

    index: int
    path: Path | None
    problem: str | None
    damaged: int

    @property
    def good(self) -> bool:
        """Whether every byte is right."""
        return self.problem is None

    def __str__(self) -> str:
        return f"fragment {self.index} {self.problem or 'good'}"


@dataclass(frozen=True)
class FileReport:
    """What `inspect_file` found.

    Args:
        name: The file's name, as it was when it was encoded.
        root: The root of the set.
        length: Bytes of the file.
        k: Data fragments.
        n: All fragments.
        code: The name of the code.
        stripes: How many stripes there are.
        keeps_original: Whether the data stay in the original file.
        fragments: Each fragment, by index.
        unreadable: Files that were named or stood there, and are no fragment files of this set, with the reason.
        least: The fewest right blocks that any stripe has; n if there is no stripe.
        lost: The first stripe with fewer than k right blocks, if there is one.

    Example:
        >>> FileReport("a", bytes(32), 10, 6, 10, "rs16", 1, False, (), (), 7, None).state
        'degraded'
    """

    name: str
    root: bytes
    length: int
    k: int
    n: int
    code: str
    stripes: int
    keeps_original: bool
    fragments: tuple[FragmentReport, ...]
    unreadable: tuple[tuple[Path, str], ...]
    least: int
    lost: int | None

    @property
    def good(self) -> int:
        """How many fragments have every byte right."""
        return sum(fragment.good for fragment in self.fragments)

    @property
    def whole(self) -> bool:
        """Whether every byte of every fragment is right, and every file that was looked at is one of them."""
        return self.good == self.n and not self.unreadable

    @property
    def restorable(self) -> bool:
        """Whether every stripe has k right blocks."""
        return self.least >= self.k

    @property
    def state(self) -> Literal["whole", "degraded", "lost"]:
        """Whole; degraded, so that it can be restored and repaired; or lost, as long as no more fragments are found."""
        return "whole" if self.whole else "degraded" if self.restorable else "lost"

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        found = [str(fragment) for fragment in self.fragments if not fragment.good]
        return found + [f"{shown(path.name)}: {problem}" for path, problem in self.unreadable]
