"""Files of any size, encoded into fragment files and restored from them, in bounded memory.

`layout` says what stands in a fragment file. Every block is checked against its hash before it counts, and k right
blocks are chosen anew for each stripe, so files that are damaged in different places restore each other.

Nothing is trusted but the root: whoever can write to all fragment files can make others that fit together. The root
that `encode_file` returns, kept elsewhere and given as `expected_root`, tells.
"""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path

from city_chain import _native
from city_chain.algorithms.ec.layout import (
    CODES,
    FOLDER_SUFFIX,
    FRAGMENTS_MAX,
    KEEPS_ORIGINAL,
    STRIPE_BYTES_MAX,
    Header,
    block_len_for,
    file_name,
    stem,
)
from city_chain.algorithms.ec.overlap import ahead
from city_chain.algorithms.ec.places import (
    check_free,
    naming,
    new_file,
    new_folder,
    open_regular,
    path_of,
    shown,
    write,
)
from city_chain.algorithms.ec.reading import FragmentSet, Source, original_path, safe_name
from city_chain.algorithms.ec.reports import EncodedFile, FileReport, FragmentReport, RestoredFile
from city_chain.algorithms.ec.writing import Writer, changed, encoded
from city_chain.errors import InputError, StorageError, UnavailableError, VerificationError

__all__ = ["decode_file", "encode_file", "inspect_file", "rebuild_file", "verify_file"]

type Name = str | bytes | os.PathLike[str]
type Names = Name | Iterable[Name]
type OnProgress = Callable[[int], object]

_AHEAD = 1
_NAMED = 8
"""How many stripes of a damaged fragment are named."""


def encode_file(
    source: Name,
    folder: Name | None = None,
    k: int = 6,
    p: int = 4,
    *,
    keep_original: bool = False,
    block_len: int | None = None,
    code: str | int | None = None,
    force: bool = False,
    sync: bool = True,
    on_progress: OnProgress | None = None,
) -> EncodedFile:
    """Encodes a file of any size into a folder of fragment files, of which any k restore it.

    Memory stays bounded (about six times n x `block_len`), whatever the size. The folder appears whole or not at all.

    Args:
        source: A regular file.
        folder: The folder to make; by default beside the file, its name and ``.ec``.
        k: Data fragments, 1 to 256.
        p: Parity fragments, 0 to 255; k + p is at most 256.
        keep_original: Writes parity fragments alone; the data stay where they are, in the original, which is then a
            source when the set is decoded, and which any parity fragment can check.
        block_len: Bytes of a block, a multiple of 64, with n blocks at most 32 MiB (default: 48 KiB to 1 MiB, the less
            the more fragments there are).
        code: The code by its name or id (default: that of `code_for`). Whoever reads the set finds it there.
        force: Whether to take the place of a folder that holds nothing but fragment files.
        sync: Whether the files must survive the loss of power when this returns.
        on_progress: Called with the bytes of the file that are encoded, after every stripe.

    Returns:
        Where the fragments are, and the root that stands for all of them.

    Raises:
        InputError: A number is out of range, or the source is no regular file.
        StorageError: A file cannot be read or written, there is a folder already, or the source changed meanwhile.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     letter = Path(place, "letter.txt")
        ...     _ = letter.write_text("seven words make a very short letter")
        ...     made = encode_file(letter, k=2, p=1)
        ...     made.files[0].unlink()  # any one file may be lost
        ...     letter.unlink()
        ...     _ = decode_file(made.folder, letter, expected_root=made.root)
        ...     letter.read_text(), made.folder.name, [file.name for file in made.files[1:]]
        ('seven words make a very short letter', 'letter.txt.ec', ['letter.txt.001.ecf', 'letter.txt.002.ecf'])
    """
    path = path_of(source, "source")
    code_id = _native.EcCodec(k, p, code=code).code_id
    k, p = operator.index(k), operator.index(p)
    if k + p > FRAGMENTS_MAX:
        raise InputError(f"k {k} and p {p}: {k + p} fragment files; at most {FRAGMENTS_MAX} are possible")
    if keep_original and not p:
        raise InputError("keep_original with p 0 would write nothing; p must be 1 or more")
    size = block_len_for(k + p) if block_len is None else _number(block_len, "block_len", 64, STRIPE_BYTES_MAX)
    place = (
        path.with_name(stem(os.fsencode(path.name)) + FOLDER_SUFFIX) if folder is None else path_of(folder, "folder")
    )
    tell = _telling(on_progress)
    with naming(path), open_regular(path) as file:
        before = os.fstat(file.fileno())
        flags = KEEPS_ORIGINAL if keep_original else 0
        header = Header(code_id, k, k + p, 0, flags, size, before.st_size, os.fsencode(path.name))
        header.of(k + p - 1).check()
        with new_folder(place, over=bool(force), sync=sync) as beside:
            paths = {at: beside / file_name(header, at) for at in header.indices}
            root = _encode(path, file, header, paths, sync, tell)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise changed(path)
    files = tuple(place / file_name(header, at) for at in header.indices)
    return EncodedFile(place, files, root, header.length, k, k + p, CODES[code_id], size, header.stripes)


def _encode(path: Path, file: FileIO, header: Header, paths: dict[int, Path], sync: bool, tell: OnProgress) -> bytes:
    """Encodes an open file into new files; returns the root."""
    with contextlib.ExitStack() as opened:
        files = {at: opened.enter_context(FileIO(place, "xb")) for at, place in paths.items()}
        writer = Writer(header, files)
        with _each(encoded(path, file, header), header) as stripes:
            for stripe, made in enumerate(stripes):
                writer.add({at: made[at] for at in files}, b"".join(made.hashes))
                del made
                tell(_done(header, stripe))
        root = writer.finish()
        if sync:
            for one in files.values():
                os.fsync(one.fileno())
    return root


def decode_file(
    fragments: Names,
    target: Name,
    *,
    original: Name | None = None,
    expected_root: bytes | None = None,
    force: bool = False,
    sync: bool = True,
    on_progress: OnProgress | None = None,
) -> RestoredFile:
    """Restores a file from any k of its fragment files, or from more that are damaged in different places.

    Memory stays bounded, whatever the size. The file appears whole or not at all.

    Args:
        fragments: A folder of fragment files, or fragment files and folders of them, in any order, under any names.
        target: The file to write, or a folder: then the file gets the name that it had.
        original: The original or what is left of it, as one more source; where the data stayed in it, it is found by
            itself if it lies beside the folder.
        expected_root: The root that `encode_file` returned. Without it, whoever could write all of the fragment files
            could have made them up.
        force: Whether to write over a file that is there.
        sync: Whether the file must survive the loss of power when this returns.
        on_progress: Called with the bytes that are restored, after every stripe.

    Returns:
        Where the file is, and how many of its blocks had to be made anew.

    Raises:
        InputError: The fragments belong to different files, or are none, or the name in them leads out of the folder.
        UnavailableError: A stripe has fewer than k right blocks; `needed` and `had` say how many. Nothing is written.
        VerificationError: The root is not the expected one, or the set was made wrongly.
        StorageError: A file cannot be read or written, or there is one already.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = Path(place, "a").write_bytes(b"bytes" * 100)
        ...     made = encode_file(Path(place, "a"), k=3, p=2)
        ...     restored = decode_file(made.files[2:], Path(place, "b"))
        ...     restored.length, restored.made, Path(place, "b").read_bytes() == b"bytes" * 100
        (500, 2, True)
    """
    path = path_of(target, "target")
    tell = _telling(on_progress)
    expected = _root(expected_root)
    made = 0
    with (
        contextlib.ExitStack() as written,  # which takes its place when the sources are closed
        FragmentSet.open(fragments, original=original, expected_root=expected) as found,
    ):
        header = found.header
        if path.is_dir():
            path = path / safe_name(header)
        check_free(path, over=bool(force))
        found.check_enough()
        file = written.enter_context(new_file(path, over=bool(force), sync=sync))
        with _each(_restored(found), header) as stripes:
            for stripe, (blocks, anew) in enumerate(stripes):
                made += anew
                _write_data(file, blocks, header.stripe_bytes(stripe))
                del blocks
                tell(_done(header, stripe))
    return RestoredFile(path, header.root, header.length, made)


def _write_data(file: FileIO, blocks: Iterable[bytes], size: int) -> None:
    """Writes data blocks without the zeros that fill up the last one."""
    for block in blocks:
        if size > 0:
            write(file, memoryview(block)[:size])
        size -= len(block)


def _restored(found: FragmentSet) -> Iterator[tuple[list[bytes], int]]:
    """The data blocks of every stripe, and how many of them were made anew."""
    k = found.header.k
    for stripe in range(found.header.stripes):
        row = found.row(stripe)
        blocks = found.blocks(stripe, row)
        missing = [index for index in range(k) if index not in blocks]
        if missing:
            blocks |= found.make(stripe, row, blocks, missing)
        yield [blocks[index] for index in range(k)], len(missing)
        del blocks


def inspect_file(
    fragments: Names,
    *,
    original: Name | None = None,
    expected_root: bytes | None = None,
    on_progress: OnProgress | None = None,
) -> FileReport:
    """Reads every byte of a set of fragment files and tells which are right.

    Args:
        fragments: As in `decode_file`.
        original: As in `decode_file`.
        expected_root: As in `decode_file`.
        on_progress: Called with the bytes of the original that are checked, after every stripe.

    Returns:
        What is right and what is not; damage is no error here.

    Raises:
        InputError: The fragments belong to different files, or are none.
        UnavailableError: No fragment file can be read.
        VerificationError: The root is not the expected one.
        StorageError: A folder cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = Path(place, "a").write_bytes(b"bytes" * 100)
        ...     made = encode_file(Path(place, "a"), k=3, p=2)
        ...     made.files[4].unlink()
        ...     report = inspect_file(made.folder)
        ...     report.state, report.good, report.problems
        ('degraded', 4, ['fragment 4 absent'])
    """
    tell = _telling(on_progress)
    with FragmentSet.open(fragments, original=original, expected_root=_root(expected_root)) as found:
        return _inspect(found, tell)


def verify_file(
    fragments: Names,
    *,
    original: Name | None = None,
    expected_root: bytes | None = None,
    on_progress: OnProgress | None = None,
) -> FileReport:
    """Checks that every byte of a set of fragment files is right, and that none is absent.

    Args:
        fragments: As in `decode_file`.
        original: As in `decode_file`.
        expected_root: As in `decode_file`.
        on_progress: As in `inspect_file`.

    Returns:
        What was checked; all of it is right.

    Raises:
        InputError: The fragments belong to different files, or are none.
        UnavailableError: A stripe has fewer than k right blocks: the file cannot be restored from these.
        VerificationError: Something is absent or damaged, and can be repaired; or the root is not the expected one.
        StorageError: A folder cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = Path(place, "a").write_bytes(b"bytes" * 100)
        ...     verify_file(encode_file(Path(place, "a"), k=3, p=2).folder).state
        'whole'
    """
    report = inspect_file(fragments, original=original, expected_root=expected_root, on_progress=on_progress)
    what = "; ".join(report.problems[:8])
    if not report.restorable:
        raise UnavailableError(
            f"{report.name}: stripe {report.lost} of {report.stripes}: needed {report.k} right blocks, "
            f"had {report.least} ({what})",
            needed=report.k,
            had=report.least,
        )
    if not report.whole:
        raise VerificationError(f"{report.name}: {report.good} of {report.n} fragments are good ({what})")
    return report


class _Examined:
    """What is wrong with one file that holds blocks."""

    def __init__(self, source: Source, found: FragmentSet) -> None:
        self.source = source
        self.faults: list[str] = []
        self.damaged = 0
        self.stripes: list[int] = []
        header = found.header
        if source.header is None:
            wanted, what = header.length, "was encoded"
        else:
            wanted, what = header.size, "a fragment file has"
            if source.index(header) is None:
                self.faults.append("index damaged")
            pages = sum(found.page(source, page) is None for page in range(header.pages))
            if pages:
                self.faults.append(f"table damaged in {pages} of {header.pages} pages")
        if source.size != wanted:
            self.faults.append(f"has {source.size} bytes, {what} {wanted}")

    def miss(self, stripe: int) -> None:
        """A block is wrong."""
        self.damaged += 1
        if len(self.stripes) < _NAMED:
            self.stripes.append(stripe)

    def problem(self, stripes: int) -> str | None:
        """What is wrong, in words."""
        parts = list(self.faults)
        if self.damaged:
            named = ", ".join(map(str, self.stripes)) + (", …" if self.damaged > len(self.stripes) else "")
            parts.append(f"damaged in {self.damaged} of {stripes} stripes ({named})")
        return ", ".join(parts) or None


def _inspect(found: FragmentSet, tell: OnProgress) -> FileReport:
    header = found.header
    each = {index: [_Examined(source, found) for source in found.sources.get(index, ())] for index in range(header.n)}
    least, lost = header.n, None
    with _each(_right(found, each), header) as stripes:
        for stripe, right in enumerate(stripes):
            if right < header.k and lost is None:
                lost = stripe
            least = min(least, right)
            tell(_done(header, stripe))
    others = [(one.path, one.problem) for one in found.unreadable]
    reports = []
    for index, candidates in each.items():
        own = [one for one in candidates if (one.source.header is not None) == (index in header.indices)]
        if not own:
            reports.append(FragmentReport(index, None, "absent", header.stripes))
            continue
        best, *copies = sorted(own, key=lambda one: (one.damaged, len(one.faults)))
        reports.append(FragmentReport(index, best.source.path, best.problem(header.stripes), best.damaged))
        for one in copies:
            if (problem := one.problem(header.stripes)) is not None:
                others.append((one.source.path, f"another copy of fragment {index}, {problem}"))
    return FileReport(
        found.name,
        header.root,
        header.length,
        header.k,
        header.n,
        CODES[header.code],
        header.stripes,
        header.keeps_original,
        tuple(reports),
        tuple(others),
        least,
        lost,
    )


def _right(found: FragmentSet, each: dict[int, list[_Examined]]) -> Iterator[int]:
    """Of every stripe how many different blocks are right; what is wrong is noted."""
    for stripe in range(found.header.stripes):
        row = found.row(stripe)
        count = 0
        for index, candidates in each.items():
            right = [found.holds(one.source, index, stripe, row) for one in candidates]
            count += any(right)
            for one, holds in zip(candidates, right, strict=True):
                if not holds:
                    one.miss(stripe)
        yield count


def rebuild_file(
    fragments: Names,
    folder: Name | None = None,
    *,
    original: Name | None = None,
    expected_root: bytes | None = None,
    force: bool = False,
    sync: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[int, Path]:
    """Makes fragment files anew that are absent or damaged, byte for byte as they were.

    Reads everything twice: to find the damage, and to make what is missing. Each file appears whole or not at all.

    Args:
        fragments: As in `decode_file`.
        folder: Where absent files go (default: the folder of the first fragment file). A damaged file is replaced.
        original: As in `decode_file`.
        expected_root: As in `decode_file`.
        force: Where the data stay in the original: whether to write the original anew, too, if it is absent or is no
            longer what was encoded. Without it a changed original is an error.
        sync: As in `encode_file`.
        on_progress: Called with the bytes of the original that are worked through, of twice its length.

    Returns:
        The files that were made, by fragment; the original under 0 if it was.

    Raises:
        InputError: The fragments belong to different files, or are none.
        UnavailableError: A stripe has fewer than k right blocks. Nothing is written.
        VerificationError: The root is not the expected one, the set was made wrongly, or the original was changed.
        StorageError: A file cannot be read or written, or another file stands where one is to be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = Path(place, "a").write_bytes(b"bytes" * 100)
        ...     made = encode_file(Path(place, "a"), k=3, p=2)
        ...     before = made.files[1].read_bytes()
        ...     _ = made.files[1].write_bytes(before[:-1])
        ...     made.files[3].unlink()
        ...     sorted(rebuild_file(made.folder)), made.files[1].read_bytes() == before, made.files[3].exists()
        ([1, 3], True, True)
    """
    tell = _telling(on_progress)
    place = None if folder is None else path_of(folder, "folder")
    expected = _root(expected_root)
    with (
        contextlib.ExitStack() as written,  # which takes its place when the sources are closed
        FragmentSet.open(fragments, original=original, expected_root=expected) as found,
    ):
        header = found.header
        found.check_enough()
        report = _inspect(found, tell)
        if report.lost is not None:
            found.blocks(report.lost, found.row(report.lost))  # raises, with the numbers
        bad = [one for one in report.fragments if not one.good]
        wanted = {one.index: _where(found, one, place) for one in bad if one.index in header.indices}
        changed_data = [one for one in bad if one.index not in header.indices]
        target = original_path(header, _first(found).path, original) if changed_data else None
        if target is not None and not force:
            raise VerificationError(
                f"{found.name}: the original is not what was encoded ({'; '.join(map(str, changed_data[:4]))}); if "
                "it was changed on purpose encode it again, else force to write back what was encoded"
            )
        if bad:
            opened = {at: written.enter_context(new_file(path, over=True, sync=sync)) for at, path in wanted.items()}
            data = written.enter_context(new_file(target, over=True, sync=sync)) if target is not None else None
            _rebuild(found, opened, data, lambda count: tell(header.length + count))
    return wanted if target is None else {**wanted, 0: target}


def _where(found: FragmentSet, fragment: FragmentReport, place: Path | None) -> Path:
    """Where a fragment file is made anew."""
    if fragment.path is not None and fragment.path in {
        one.path for one in found.sources.get(fragment.index, ()) if one.header is not None
    }:
        return fragment.path
    path = (place or _first(found).path.parent) / file_name(found.header, fragment.index)
    if os.path.lexists(path) and path not in {one.path for one in found.unreadable}:
        raise StorageError(f"{shown(path)} is there and is not this fragment; move it, or name another folder")
    return path


def _first(found: FragmentSet) -> Source:
    return next(one for many in found.sources.values() for one in many if one.header is not None)


def _rebuild(found: FragmentSet, files: dict[int, FileIO], data: FileIO | None, tell: OnProgress) -> None:
    """Writes fragments, and the original if asked for."""
    header = found.header
    wanted = sorted({*files, *(range(header.k) if data is not None else ())})
    writer = Writer(header, files)
    with _each(_rebuilt(found, wanted), header) as stripes:
        for stripe, (blocks, row) in enumerate(stripes):
            if data is not None:
                _write_data(data, (blocks[at] for at in range(header.k)), header.stripe_bytes(stripe))
            writer.add(blocks, row)
            del blocks
            tell(_done(header, stripe))
    if writer.finish() != header.root:
        raise VerificationError(f"{found.name}: the table of hashes changed while it was read")


def _rebuilt(found: FragmentSet, wanted: list[int]) -> Iterator[tuple[dict[int, bytes], bytes]]:
    """The wanted blocks of every stripe, as they are where they are right, else made from k others; and the row."""
    for stripe in range(found.header.stripes):
        row = found.row(stripe)
        blocks = {at: data for at in wanted if (data := found.block(at, stripe, row)) is not None}
        missing = [index for index in wanted if index not in blocks]
        if missing:
            blocks |= found.make(stripe, row, found.blocks(stripe, row), missing)
        yield blocks, b"".join(row)
        del blocks


def _each[T](items: Iterator[T], header: Header) -> contextlib.AbstractContextManager[Iterator[T]]:
    """The items, made ahead in a thread if there are several."""
    return ahead(items, _AHEAD) if header.stripes > 1 else contextlib.nullcontext(items)


def _done(header: Header, stripe: int) -> int:
    return min(header.length, (stripe + 1) * header.k * header.block_len)


def _telling(on_progress: OnProgress | None) -> OnProgress:
    if on_progress is None:
        return lambda _: None
    if not callable(on_progress):
        raise TypeError(f"on_progress: a function of the bytes done is needed, not {type(on_progress).__name__}")
    return on_progress


def _root(expected: object) -> bytes | None:
    """The root that the caller expects."""
    if expected is None:
        return None
    try:
        found = bytes(memoryview(expected))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"expected_root: bytes are needed, not {type(expected).__name__}") from None
    if len(found) != 32:
        raise InputError(f"expected_root: {len(found)} bytes, exactly 32 are needed")
    return found


def _number(value: object, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what}: an integer is needed, not {type(value).__name__}")
    if not low <= value <= high:
        raise InputError(f"{what}: {str(value)[:40]}; {low} to {high} are possible")
    return value
