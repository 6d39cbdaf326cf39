"""Files and folders on disk: opened with care, written whole or not at all, errors that name them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Buffer, Iterator
from io import FileIO
from pathlib import Path

from city_chain.algorithms.ec.layout import SUFFIX
from city_chain.errors import InputError, StorageError

__all__ = ["naming", "new_file", "new_folder", "open_regular", "path_of", "publish", "read", "shown", "write"]

TEMPORARY = ".part"
"""How the names of what is being written end."""


def shown(path: str | os.PathLike[str]) -> str:
    r"""A name as it can stand in a message on one line.

    Example:
        >>> print(shown("two\nlines"), shown("plain"))
        two\nlines plain
    """
    name = os.fspath(path)
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def path_of(value: object, what: str) -> Path:
    """A path that the caller gave.

    Raises:
        TypeError: It is none.
        InputError: No file can have that name.

    Example:
        >>> path_of(b"letter.txt", "source").name
        'letter.txt'
    """
    if not isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{what}: a path is needed, not {type(value).__name__}")
    name = os.fsdecode(value)
    if not name or "\0" in name:
        raise InputError(f"{what}: {shown(name[:100])!r} is no name of a file")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise InputError(f"{what}: {shown(name[:100])!r} is no name of a file") from None
    return Path(name)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns what the system says about a file into a `StorageError` that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{shown(path)}: {error.strerror or type(error).__name__}") from error


def open_regular(path: Path) -> FileIO:
    """Opens a regular file for reading, without a buffer; a pipe or a device is refused before it is waited for.

    Raises:
        InputError: It is no regular file.
        OSError: It cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        what = "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"{shown(path)} is {what}; a file is needed, whose size is known")
    return FileIO(path, "rb")


def read(file: FileIO, size: int) -> bytes:
    """Reads as many bytes, or all that there are.

    Raises:
        OSError: It cannot be read.
    """
    data = file.read(size) or b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def write(file: FileIO, data: Buffer) -> None:
    """Writes all of it.

    Raises:
        OSError: It cannot be written.
    """
    written = file.write(data) or 0
    view = memoryview(data)
    while written < len(view):
        written += file.write(view[written:]) or 0


@contextlib.contextmanager
def new_file(path: Path, *, over: bool, sync: bool) -> Iterator[FileIO]:
    """A file to be written, which takes its place when the block ends well; until then it has another name.

    Raises:
        StorageError: It cannot be made or written, or there is one and it is to be kept; nothing is left behind.
    """
    check_free(path, over=over)
    real = Path(os.path.realpath(path))  # through a link to the file, not over the link
    beside = _beside(real)
    with naming(path):
        try:
            with FileIO(beside, "xb") as file:
                yield file
                if sync:
                    os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # there was none, or it may not be asked
                os.chmod(beside, stat.S_IMODE(os.stat(real).st_mode))
            check_free(path, over=over)
            os.replace(beside, real)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        if sync:
            _sync_folder(real.parent)


@contextlib.contextmanager
def new_folder(folder: Path, *, over: bool, sync: bool) -> Iterator[Path]:
    """A folder to be filled, which takes its place when the block ends well; until then it has another name.

    Raises:
        StorageError: It cannot be made, or there is one and it is to be kept; nothing is left behind.
    """
    real = Path(os.path.realpath(folder))
    _check_replaceable(folder, over=over)
    beside = _beside(real)
    with naming(folder):
        try:
            os.mkdir(beside)
            yield beside
            if sync:
                _sync_folder(beside)
            publish(beside, real, over=over)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if sync:
            _sync_folder(real.parent)


def publish(beside: Path, folder: Path, *, over: bool) -> None:
    """Gives a folder its name; one that stands there goes, if it may.

    Raises:
        StorageError: There is one, and it is to be kept.
        OSError: It cannot be done; what stood there stands there.
    """
    _check_replaceable(folder, over=over)
    if not folder.exists():
        try:
            os.rename(beside, folder)
        except OSError:
            _check_replaceable(folder, over=over)  # somebody else was faster: that says it in plainer words
            raise
        return
    aside = _beside(folder)
    os.rename(folder, aside)
    try:
        os.rename(beside, folder)
    except BaseException:
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _check_replaceable(folder: Path, *, over: bool) -> None:
    """Checks that what stands in a folder's place may go: nothing, an empty folder, or fragment files alone."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise StorageError(f"{shown(folder)} is there already and is no folder; name another one")
    with naming(folder):
        held = os.listdir(folder)
    if not held:
        return
    if not over:
        raise StorageError(f"{shown(folder)} is there already; name another folder, or force to write over it")
    if alien := next((name for name in held if not name.endswith(SUFFIX) or not (folder / name).is_file()), None):
        raise StorageError(
            f"{shown(folder)} holds {shown(alien)}, which is no fragment file: it is not removed; name another folder"
        )


def check_free(path: Path, *, over: bool) -> None:
    """Checks that a file may be written there.

    Raises:
        StorageError: There is a folder or a device, or a file that is to be kept.
    """
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise StorageError(f"{shown(path)} is no regular file; name another one")
    if not over:
        raise StorageError(f"{shown(path)} is there already; name another file, or force to write over it")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:32]}.{os.urandom(6).hex()}{TEMPORARY}")


def _sync_folder(folder: Path) -> None:
    """Makes names survive the loss of power, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
