"""A set of fragment files as it is found: which files belong together, and every block of it that is right."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Self

from city_chain import _native
from city_chain.algorithms.ec.layout import HEADER_LEN, PAGE_ROWS, SUFFIX, Header
from city_chain.algorithms.ec.places import naming, open_regular, path_of, read, shown
from city_chain.errors import InputError, StorageError, UnavailableError, VerificationError

__all__ = ["FragmentSet", "Source", "Unreadable", "find"]

_FILES_MAX = 4096
"""The most files that are looked at for one set."""

_MEMBERS_MAX = 512
"""The most files of one set, copies included: as many are open at once."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that was to be a fragment file and is none.

    Args:
        path: The file.
        problem: Why it is none.
    """

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{shown(self.path.name)}: {self.problem}"


@dataclass(slots=True)
class Source:
    """A file that holds blocks: a fragment file, or the original, which holds those of all data fragments.

    Args:
        path: The file.
        file: It, opened.
        size: Its bytes.
        header: Of a fragment file, else None.
    """

    path: Path
    file: FileIO
    size: int
    header: Header | None = None

    def block(self, header: Header, index: int, stripe: int) -> bytes:
        """Block `index` of a stripe as it stands here, right or wrong, or fewer bytes.

        Raises:
            OSError: It cannot be read.
        """
        size = header.block_bytes(stripe)
        if self.header is not None:
            self.file.seek(header.blocks_at + stripe * header.block_len)
            return read(self.file, size)
        at = stripe * header.k * header.block_len + index * size
        self.file.seek(at)
        return read(self.file, max(0, min(size, header.length - at))).ljust(size, b"\0")

    def page(self, header: Header, page: int) -> bytes:
        """A page of the table as it stands here.

        Raises:
            OSError: It cannot be read.
        """
        self.file.seek(header.table_at + page * PAGE_ROWS * header.row_bytes)
        return read(self.file, header.rows(page) * header.row_bytes)

    def index(self, header: Header) -> bytes | None:
        """The index as it stands here; None if it is not right."""
        if self.size < header.table_at:
            return None
        with contextlib.suppress(OSError):
            self.file.seek(HEADER_LEN)
            found = read(self.file, 32 * header.pages)
            if header.root_of(found) == header.root:
                return found
        return None


def find(fragments: object) -> Iterator[Path]:
    """The fragment files that are meant: those named, and all in the folders named.

    Args:
        fragments: A path, or several: of fragment files, or of folders that hold some.

    Raises:
        TypeError: It is no path and not several.
        InputError: A folder holds no fragment file, or there is no path.
        StorageError: A folder cannot be read.
    """
    if isinstance(fragments, str | bytes | os.PathLike):
        fragments = [fragments]
    if not isinstance(fragments, Iterable):
        raise TypeError(f"fragments: a path or several are needed, not {type(fragments).__name__}")
    for item in fragments:
        path = path_of(item, "fragments")
        if not path.is_dir():
            yield path
            continue
        with naming(path):
            names = sorted(name for name in os.listdir(path) if name.endswith(SUFFIX))
        if not names:
            raise InputError(f"{shown(path)} holds no fragment file (*{SUFFIX})")
        yield from (path / name for name in names)


@dataclass
class FragmentSet:
    """Fragment files of one encoding, opened, with the table that tells which of their blocks are right.

    Args:
        header: What all of them say; its `index` means nothing.
        pages: The index, which fits the root.
        sources: For each fragment the files that hold it.
        unreadable: Files that were named and are no fragment files.
        original: The original, if it is a source, too.
    """

    header: Header
    pages: bytes
    sources: Mapping[int, list[Source]]
    unreadable: list[Unreadable]
    original: Source | None = None
    _page: tuple[int, bytes] = (-1, b"")
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @classmethod
    def open(cls, fragments: object, *, original: object = None, expected_root: bytes | None = None) -> Self:
        """Opens the files that belong together.

        Args:
            fragments: As in `find`.
            original: The original file, if it is to serve as a source; where the data stay in it, it is looked for
                beside the folder of the fragments.
            expected_root: The root that the set must have.

        Raises:
            InputError: They belong to different encodings, or one of them was named wrongly.
            StorageError: A file cannot be read, and it is the only one.
            UnavailableError: There is no fragment file that can be read.
            VerificationError: No set has the root that is expected.
        """
        found, unreadable = _headers(fragments)
        with contextlib.ExitStack() as opened:
            members = [_open(path, opened, header) for path, header in _members(found, unreadable, expected_root)]
            header, pages = _authority(members)
            sources: dict[int, list[Source]] = {}
            for member in members:
                if member.header is not None and member.header.of(0) == header:
                    sources.setdefault(member.header.index, []).append(member)
                else:
                    unreadable.append(Unreadable(member.path, "its header does not fit its root"))
            source = _original(header, members[0].path, original, opened)
            if source is not None:
                for index in range(header.k):
                    sources.setdefault(index, []).append(source)
            return cls(header, pages, sources, unreadable, source, _opened=opened.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def name(self) -> str:
        """The original's name as it can be printed."""
        return shown(os.fsdecode(self.header.name))

    def row(self, stripe: int) -> list[bytes]:
        """The right hashes of a stripe's blocks.

        Raises:
            VerificationError: No file has that page of the table as the index says.
        """
        header, (page, at) = self.header, divmod(stripe, PAGE_ROWS)
        if self._page[0] != page:
            self._page = (page, self._right_page(page))
        start = at * header.row_bytes
        return [self._page[1][i : i + 32] for i in range(start, start + header.row_bytes, 32)]

    def page(self, source: Source, page: int) -> bytes | None:
        """A page of the table as the index says; None if a file has it otherwise."""
        with contextlib.suppress(OSError):
            data = source.page(self.header, page)
            if _native.hash_fragment(data) == self.pages[32 * page : 32 * page + 32]:
                return data
        return None

    def _right_page(self, page: int) -> bytes:
        for source in (one for many in self.sources.values() for one in many if one.header is not None):
            if (data := self.page(source, page)) is not None:
                return data
        raise VerificationError(f"{self.name}: page {page} of the table of hashes is damaged in every fragment file")

    def block(self, index: int, stripe: int, row: list[bytes]) -> bytes | None:
        """A block that is right; None if no file has it."""
        right = (self._right(source, index, stripe, row) for source in self.sources.get(index, ()))
        return next((data for data in right if data is not None), None)

    def holds(self, source: Source, index: int, stripe: int, row: list[bytes]) -> bool:
        """Whether a file holds a block that is right."""
        return self._right(source, index, stripe, row) is not None

    def _right(self, source: Source, index: int, stripe: int, row: list[bytes]) -> bytes | None:
        with contextlib.suppress(OSError):  # a disk that cannot be read is a damaged block
            data = source.block(self.header, index, stripe)
            if _native.hash_fragment(data) == row[index]:
                return data
        return None

    def blocks(self, stripe: int, row: list[bytes]) -> dict[int, bytes]:
        """Any k right blocks of a stripe, those of the data before the others.

        Raises:
            UnavailableError: There are fewer.
        """
        k = self.header.k
        right = (
            (index, data) for index in range(self.header.n) if (data := self.block(index, stripe, row)) is not None
        )
        found = dict(islice(right, k))
        if len(found) < k:
            absent = [index for index in range(self.header.n) if index not in found]
            raise UnavailableError(
                f"{self.name}: stripe {stripe} of {self.header.stripes}: needed {k} right blocks, had {len(found)} "
                f"(missing or damaged: {_list(absent)}){self._why()}",
                needed=k,
                had=len(found),
            )
        return found

    def make(self, stripe: int, row: list[bytes], blocks: Mapping[int, bytes], missing: list[int]) -> dict[int, bytes]:
        """Blocks made anew from k right ones, and checked.

        Raises:
            VerificationError: They are not what was hashed: whoever made the set made it wrong.
        """
        header = self.header
        length = header.k * header.block_bytes(stripe)
        made = _native.ec_rebuild(blocks, missing, header.k, header.p, length, code=header.code)
        for index, data in made.items():
            if _native.hash_fragment(data) != row[index]:
                raise VerificationError(
                    f"{self.name}: stripe {stripe}: block {index} made from blocks {_list(sorted(blocks))} is not the "
                    "one that the set's hashes name: the set was not made by encoding one file"
                )
        return made

    def check_enough(self) -> None:
        """Checks that there are k fragments at all, before anything is written.

        Raises:
            UnavailableError: There are fewer.
        """
        header = self.header
        if header.stripes and len(self.sources) < header.k:
            absent = [index for index in range(header.n) if index not in self.sources]
            raise UnavailableError(
                f"{self.name}: needed {header.k} fragments, had {len(self.sources)} "
                f"(missing: {_list(absent)}){self._why()}",
                needed=header.k,
                had=len(self.sources),
            )

    def _why(self) -> str:
        return "".join(f"; {one}" for one in self.unreadable[:4])


def _list(numbers: list[int]) -> str:
    more = len(numbers) - 12
    return ", ".join(map(str, numbers[:12])) + (f" and {more} more" if more > 0 else "")


def _open(path: Path, opened: contextlib.ExitStack, header: Header | None = None) -> Source:
    with naming(path):
        file = opened.enter_context(open_regular(path))
        return Source(path, file, os.fstat(file.fileno()).st_size, header)


def _headers(fragments: object) -> tuple[list[tuple[Path, Header]], list[Unreadable]]:
    """The header of every file that is meant."""
    found: list[tuple[Path, Header]] = []
    unreadable: list[Unreadable] = []
    paths = list(islice(find(fragments), _FILES_MAX + 1))
    if len(paths) > _FILES_MAX:
        raise InputError(f"more than {_FILES_MAX} fragment files; name those of one set")
    for path in dict.fromkeys(paths):
        try:
            with open_regular(path) as file:
                found.append((path, Header.from_bytes(read(file, HEADER_LEN))))
        except InputError as error:
            unreadable.append(Unreadable(path, str(error).removeprefix(f"{shown(path)} is ")))
        except OSError as error:
            problem = error.strerror or type(error).__name__
            if len(paths) == 1:
                raise StorageError(f"{shown(path)}: {problem}") from error
            unreadable.append(Unreadable(path, problem))
    if not paths:
        raise InputError("fragments: no path was given")
    if not found and len(unreadable) == 1:
        raise InputError(f"{shown(unreadable[0].path)}: {unreadable[0].problem}")
    if not found:
        reasons = "; ".join(map(str, unreadable[:4]))
        raise UnavailableError(f"no fragment file can be read: needed 1, had 0 ({reasons})", needed=1, had=0)
    return found, unreadable


def _members(
    found: list[tuple[Path, Header]], unreadable: list[Unreadable], expected_root: bytes | None
) -> list[tuple[Path, Header]]:
    """Those of one root."""
    roots: dict[bytes, list[tuple[Path, Header]]] = {}
    for path, header in found:
        roots.setdefault(header.root, []).append((path, header))
    if expected_root is not None:
        for root, others in roots.items():
            if root != expected_root:
                unreadable += [Unreadable(path, f"its root is {root.hex()[:16]}…") for path, _ in others]
        if expected_root not in roots:
            raise VerificationError(
                f"no fragment file has the root {expected_root.hex()}; theirs: "
                + ", ".join(root.hex() for root in islice(roots, 4))
            )
        roots = {expected_root: roots[expected_root]}
    if len(roots) > 1:
        (one, (first, *_)), (two, (second, *_)) = islice(roots.items(), 2)
        raise InputError(
            f"fragment files of {len(roots)} different encodings: {shown(first[0].name)} has the root "
            f"{one.hex()[:16]}…, {shown(second[0].name)} has {two.hex()[:16]}…; give those of one, or the root that "
            "you expect"
        )
    [members] = roots.values()
    if len(members) > _MEMBERS_MAX:
        raise InputError(f"{len(members)} files of one set; at most {_MEMBERS_MAX}, copies included, are possible")
    return members


def _authority(members: list[Source]) -> tuple[Header, bytes]:
    """Header and index that fit the root, from the first file that has them."""
    wrong: list[Unreadable] = []
    for member in members:
        if member.header is not None and (pages := member.index(member.header)) is not None:
            return replace(member.header, index=0), pages
        wrong.append(Unreadable(member.path, "the index of its table is damaged or cut off"))
    raise UnavailableError(
        f"no fragment file has an undamaged index: needed 1, had 0 ({'; '.join(map(str, wrong[:4]))})",
        needed=1,
        had=0,
    )


def _original(header: Header, member: Path, given: object, opened: contextlib.ExitStack) -> Source | None:
    """The original, if it is to be a source; where the data stay in it, it may be gone."""
    if given is None and not header.keeps_original:
        return None
    path = original_path(header, member, given)
    if header.keeps_original and not os.path.lexists(path):
        return None
    return _open(path, opened)


def original_path(header: Header, member: Path, given: object) -> Path:
    """Where the original is, or was: as the caller says, else beside the folder of the fragments.

    Raises:
        TypeError: What the caller gave is no path.
        InputError: The name in the header would lead elsewhere.
    """
    if given is not None:
        return path_of(given, "original")
    return Path(os.path.abspath(member)).parent.parent / safe_name(header)


def safe_name(header: Header) -> str:
    """The original's name, if it names a file in the folder in which it is used, and nothing else.

    Raises:
        InputError: It would lead elsewhere.
    """
    name = os.fsdecode(header.name)
    seps = {"/", "\0", os.sep, os.altsep or os.sep}
    if os.name == "nt":
        seps |= {":"}
    if name in ("", os.curdir, os.pardir) or any(sep in name for sep in seps):
        raise InputError(f"the name {shown(name)!r} in the header leads out of the folder; say which file to write")
    return name
