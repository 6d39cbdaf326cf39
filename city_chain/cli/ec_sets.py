"""Which files ``city-chain ec`` works on: what is to be encoded, and which fragment files are sets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from city_chain.algorithms.ec.layout import FOLDER_SUFFIX, HEADER_LEN, SUFFIX, Header, stem
from city_chain.algorithms.ec.places import TEMPORARY, open_regular, read
from city_chain.cli.console import Console, text
from city_chain.cli.reasons import why
from city_chain.errors import InputError

__all__ = ["FoundSet", "find_sets", "sources"]


@dataclass
class FoundSet:
    """Fragment files that are taken together.

    Args:
        header: What one of them says.
        named: Which of the paths on the command line they come from.
        place: The folder of the first of them.
        inside: Where the restored file goes within the output folder.
        beside: Where the restored file goes if there is no output folder.
        files: The files; those that cannot be read are among them.
        indices: The fragments that they hold.
    """

    header: Header
    named: set[int]
    place: Path
    inside: Path
    beside: Path
    files: list[Path] = field(default_factory=list)
    indices: set[int] = field(default_factory=set)


def sources(paths: Sequence[str], output: Path | None, console: Console) -> tuple[list[tuple[Path, int, Path]], int]:
    """The files to encode: those named, and all in the folders named; links and special files there are left out.

    Args:
        paths: Files and folders.
        output: The folder for the fragments, if it is not beside each file.
        console: Where it is told what is left out.

    Returns:
        Each file with its size and the folder for its fragments; and how many could not be looked at.
    """
    found: list[tuple[Path, int, Path]] = []
    failed = 0

    def folder_for(file: Path, inside: Path) -> Path:
        name = stem(os.fsencode(file.name)) + FOLDER_SUFFIX
        return file.with_name(name) if output is None else output / inside / name

    for name in paths:
        path = Path(name)
        if not path.is_dir():
            try:
                found.append((path, path.stat().st_size, folder_for(path, Path())))
            except OSError as error:
                failed += 1
                console.complain(f"{text(path)}: {why(error)}")
            continue
        before = len(found) + failed
        top = Path(os.path.basename(os.path.abspath(path)))
        for entry in _walk(path):
            if isinstance(entry, OSError):
                failed += 1
                console.complain(f"{text(os.fsdecode(entry.filename or path))}: {why(entry)}")
                continue
            file, mode, length = entry
            if stat.S_ISREG(mode):
                found.append((file, length, folder_for(file, top / file.parent.relative_to(path))))
            else:
                what = "a link" if stat.S_ISLNK(mode) else "no regular file"
                console.complain(f"{text(file)}: {what}, left out")
        if len(found) + failed == before:
            failed += 1
            console.complain(f"{text(path)} holds no file to encode")
    return found, failed


def _walk(top: Path) -> Iterator[tuple[Path, int, int] | OSError]:
    """Everything below a folder that is no folder, in order, with mode and size; sets of fragments are passed over."""
    errors: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=errors.append):
        yield from errors
        errors.clear()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in links and not _is_temporary(name))
        if Path(folder).name.endswith(FOLDER_SUFFIX) and any(name.endswith(SUFFIX) for name in names):
            names = [name for name in names if not name.endswith(SUFFIX)]  # noqa: PLW2901
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            if _is_temporary(name):
                continue
            try:
                status = os.lstat(path)
            except OSError as error:
                yield error
            else:
                yield path, status.st_mode, status.st_size
    yield from errors


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY)


def find_sets(paths: Sequence[str], console: Console) -> tuple[list[FoundSet], int]:
    """The sets of fragments in files and folders named.

    Fragment files in one folder, or named one by one, that have one root are a set. Folders from different paths of the
    command line that lie at the same place below them, and hold different fragments with one root, are one set, too:
    a set that was spread over disks.

    Args:
        paths: Fragment files, folders of them, folders with such folders.
        console: Where it is told what cannot be used.

    Returns:
        The sets in the order in which they were found; and how many paths led to none.
    """
    found: list[FoundSet] = []
    failed = 0
    loose: list[Path] = []
    for at, name in enumerate(dict.fromkeys(paths)):
        path = Path(name)
        if not path.is_dir():
            loose.append(path)
            continue
        empty = True
        errors: list[OSError] = []
        for folder, folders, names in os.walk(path, onerror=errors.append):
            folders[:] = sorted(one for one in folders if not _is_temporary(one))
            files = [Path(folder, one) for one in sorted(names) if one.endswith(SUFFIX)]
            if files:
                empty = False
                home, inside = Path(folder), Path(folder).relative_to(path)
                own = home.absolute().name.endswith(FOLDER_SUFFIX)  # it is the folder of one set, not of all sorts
                beside = (home.parent if home.name else Path(os.pardir)) if own else home
                made, wrong = _group(files, {at}, home, inside.parent if own else inside, beside, console)
                failed += wrong
                for one in made:
                    _merge(found, one)
        for error in errors:
            failed += 1
            console.complain(f"{text(os.fsdecode(error.filename or path))}: {why(error)}")
        if empty and not errors:
            failed += 1
            console.complain(f"{text(path)} holds no fragment file (*{SUFFIX})")
    if loose:
        made, wrong = _group(loose, {-1}, loose[0].parent, Path(), Path(), console)
        found += made
        failed += wrong
    return found, failed


def _group(
    files: Sequence[Path], named: set[int], place: Path, inside: Path, beside: Path, console: Console
) -> tuple[list[FoundSet], int]:
    """The sets among files that lie together; what cannot be read goes with each of them."""
    sets: dict[bytes, FoundSet] = {}
    wrong: list[tuple[Path, str]] = []
    for file in files:
        try:
            with open_regular(file) as opened:
                header = Header.from_bytes(read(opened, HEADER_LEN))
        except (InputError, OSError) as error:
            wrong.append((file, why(error)))
            continue
        one = sets.setdefault(header.root, FoundSet(header, set(named), place, inside, beside))
        one.files.append(file)
        one.indices.add(header.index)
    if not sets:
        for file, problem in wrong:
            name = text(file)
            console.complain(problem if problem.startswith(name) else f"{name}: {problem}")
        return [], len(wrong)
    for one in sets.values():
        one.files += [file for file, _ in wrong]
    return list(sets.values()), 0


def _merge(found: list[FoundSet], one: FoundSet) -> None:
    """Adds a set to those that were found, or to the one that it is a part of."""
    for other in found:
        if (
            other.header.root == one.header.root
            and other.inside == one.inside
            and not other.named & one.named
            and not other.indices & one.indices
        ):
            other.files += one.files
            other.indices |= one.indices
            other.named |= one.named
            return
    found.append(one)
