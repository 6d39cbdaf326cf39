"""Key files on disk, and the passphrases that open them.

===============  ==============================================================
file             what
===============  ==============================================================
``NAME.key``     the secret key (`records.KeyFile`), for its owner only
``NAME.pub``     the public key (`records.PublicKeyFile`), for everybody
===============  ==============================================================

A secret file is made with mode 0600 and is there whole or not at all. One that is not encrypted is read only if it is
the user's own and nobody else may read or write it, which is looked up on the open file. On Windows nothing of that can
be found out here: there the rights of its folder protect it.

A passphrase comes from ``--passphrase-file``, else from the variable ``CITY_CHAIN_PASSPHRASE``, else it is asked for on
the terminal.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from city_chain.algorithms.tes import kem
from city_chain.cli.console import Console, text
from city_chain.cli.place import check_free
from city_chain.errors import InputError, StorageError, VerificationError
from city_chain.records import KeyFile, PublicKeyFile

__all__ = [
    "KEY_SUFFIX",
    "OPENING_KINDS",
    "PUBLIC_SUFFIX",
    "VARIABLE",
    "new_passphrase",
    "public_key",
    "unlock_kem",
    "write_pair",
]

KEY_SUFFIX = ".key"
"""How the names of secret key files end."""

PUBLIC_SUFFIX = ".pub"
"""How the names of public key files end."""

OPENING_KINDS = ("x-wing", "sntrup761-x25519")
"""The kinds of keys that open what is sealed to them."""

VARIABLE = "CITY_CHAIN_PASSPHRASE"
"""The environment variable that may hold a passphrase."""

_FILE_BYTES_MAX = 8192
"""The most bytes that are read of a key file; none has more."""

_PASSPHRASE_BYTES_MAX = 1024
_TRIES = 3
_SIGN_OF_LIFE_S = 1.0

_SECRET = b"CCkf"
_PUBLIC = b"CCpk"


def public_key(path: Path, console: Console) -> PublicKeyFile:
    """The public key of a key file: of a public one, of a secret one, or of bare typed bytes.

    Args:
        path: The file.
        console: Where to say that others may read a secret that is not encrypted.

    Raises:
        InputError: It is no key file.
        VerificationError: Its public key is none.
        OSError: It cannot be read.
    """
    data, mode = _read(path)
    try:
        if data.startswith(_SECRET):
            file = KeyFile.from_bytes(data)
            _warn(path, mode, file, console)
            return file.public
        if data.startswith(_PUBLIC):
            return PublicKeyFile.from_bytes(data)
        return PublicKeyFile(data)
    except (InputError, VerificationError) as error:
        raise type(error)(f"{text(path)} is no public key file: {error}") from None


def unlock_kem(path: Path, passphrase_file: str | None, console: Console) -> kem.SecretKey:
    """The key of a secret key file that opens what is sealed to its public key.

    Args:
        path: The file.
        passphrase_file: The file with its passphrase, if one is named.
        console: Where to tell what takes longer, and what is amiss.

    Raises:
        InputError: It is no secret key file, its key is of another kind, no passphrase can be had, or it is not
            encrypted and not the user's alone.
        VerificationError: The passphrase is wrong, or the file was changed.
        OSError: It cannot be read.
    """
    data, mode = _read(path)
    if data.startswith(_PUBLIC):
        secret = text(path.with_suffix(KEY_SUFFIX))
        raise InputError(f"{text(path)} is a public key, which opens nothing; the secret one is needed, {secret} or so")
    try:
        file = KeyFile.from_bytes(data)
    except (InputError, VerificationError) as error:
        raise type(error)(f"{text(path)} is no secret key file: {error}") from None
    if not file.is_encrypted:
        _check_own(path, mode)
        return _named(path, file, None)
    _warn(path, mode, file, console)
    if file.kind not in OPENING_KINDS:
        return _named(path, file, b"x")  # which is refused before any passphrase is looked at
    for left in range(_TRIES - 1, -1, -1):
        passphrase, typed = _passphrase(passphrase_file, f"Passphrase of {text(path)}: ")
        try:
            with console.if_long(_SIGN_OF_LIFE_S, "opening the key file"):
                return _named(path, file, passphrase)
        except VerificationError as error:
            if not typed or not left:
                raise
            console.complain(f"{error}; try again")
    raise AssertionError("the last try raises or returns")


def _named(path: Path, file: KeyFile, passphrase: bytes | None) -> kem.SecretKey:
    try:
        return file.unlock_kem(passphrase)
    except (InputError, VerificationError) as error:
        raise type(error)(f"{text(path)}: {error}") from None


def new_passphrase(passphrase_file: str | None, name: str) -> bytes:
    """The passphrase for a new key; on a terminal it is asked for twice.

    Args:
        passphrase_file: The file with the passphrase, if one is named.
        name: The name of the key file, for the question.

    Raises:
        InputError: None can be had, or the two are not the same.
        OSError: The file cannot be read.
    """
    advice = "; --no-passphrase makes a key file without one"
    passphrase, typed = _passphrase(passphrase_file, f"Passphrase for {name}: ", advice)
    if typed and _ask("The same again: ") != passphrase:
        raise InputError("the two passphrases are not the same; nothing was made")
    return passphrase


def _passphrase(passphrase_file: str | None, question: str, advice: str = "") -> tuple[bytes, bool]:
    """A passphrase, and whether it was typed."""
    if passphrase_file is not None:
        return _checked(_first_line(passphrase_file), f"the first line of {text(passphrase_file)}", advice), False
    if VARIABLE in os.environ:
        return _checked(os.fsencode(os.environ[VARIABLE]), VARIABLE, advice), False
    if not _has_terminal():
        raise InputError(
            f"a passphrase is needed, and there is no terminal to ask for it: "
            f"give it with --passphrase-file FILE or in {VARIABLE}{advice}"
        )
    return _checked(_ask(question), "what was typed", advice), True


def _checked(passphrase: bytes, what: str, advice: str) -> bytes:
    if not passphrase:
        raise InputError(f"the passphrase ({what}) is empty{advice}")
    if len(passphrase) > _PASSPHRASE_BYTES_MAX:
        raise InputError(f"the passphrase ({what}) has more than {_PASSPHRASE_BYTES_MAX} bytes")
    return _normal(passphrase)


def _normal(passphrase: bytes) -> bytes:
    r"""One form for what looks the same: keyboards differ in how they write letters with marks (Unicode's NFC).

    Example:
        >>> _normal("e\u0301".encode()) == "é".encode(), _normal(b"\xff")
        (True, b'\xff')
    """
    try:
        return unicodedata.normalize("NFC", passphrase.decode()).encode()
    except UnicodeDecodeError:
        return passphrase


def _first_line(name: str) -> bytes:
    if name == "-" and sys.stdin is None:
        raise OSError(errno.EBADF, "stdin is closed")
    with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        data = file.read(_PASSPHRASE_BYTES_MAX + 3)
    line, end, rest = data.partition(b"\n")
    if rest:
        raise InputError(f"{text(name)} has more than one line (or a very long one); a passphrase is one line")
    return line.removesuffix(b"\r") if end else line


def _has_terminal() -> bool:
    if os.name == "nt":
        return sys.stdin is not None and sys.stdin.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ask(question: str) -> bytes:
    """What is typed on the terminal, which does not show it."""
    try:
        return getpass.getpass(question).encode(errors="surrogateescape")
    except EOFError:
        raise InputError("no passphrase was typed") from None


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    """A key file's bytes, and what the system says of the very file that they are from."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        data = file.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise InputError(f"{text(path)} is no key file: it has more than {_FILE_BYTES_MAX} bytes")
    return data, about


def _warn(path: Path, about: os.stat_result, file: KeyFile, console: Console) -> None:
    if os.name == "posix" and about.st_mode & stat.S_IROTH:
        what = "" if file.is_encrypted else ", which is not encrypted"
        console.complain(f"warning: everybody can read {text(path)}{what}; chmod 600 makes it yours alone")


def _check_own(path: Path, about: os.stat_result) -> None:
    """Checks that a secret that is not encrypted is the user's alone."""
    if os.name != "posix":
        return
    if about.st_uid != os.geteuid():
        raise InputError(f"{text(path)} is not encrypted and not yours (it is of user {about.st_uid}); it is not used")
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o077:
        raise InputError(
            f"{text(path)} is not encrypted, and others may get at it (its mode is {mode:04o}); "
            f"chmod 600 makes it yours alone, and a key that others may have read should be made anew"
        )


def write_pair(files: Sequence[tuple[Path, bytes, int]], *, over: bool) -> None:
    """Writes files that belong together, each whole or not at all; what fails before the first is in place leaves none.

    Args:
        files: For each its path, its bytes and its mode; put in place in this order.
        over: Whether to take the places of files that are there.

    Raises:
        StorageError: There is a file and it is to be kept.
        OSError: One cannot be written.
    """
    for path, _, _ in files:
        check_free(path, over=over)
    with contextlib.ExitStack() as stack:
        beside = [(path, stack.enter_context(_beside(path, data, mode))) for path, data, mode in files]
        made: list[Path] = []
        try:
            for path, part in beside:
                _put(path, part, over=over)
                made.append(path)
        except BaseException:
            if not over:  # then what is there is new, and of no use alone
                for path in made:
                    with contextlib.suppress(OSError):
                        path.unlink()
            raise
        for folder in {path.parent for path, _ in beside}:
            _sync(folder)


@contextlib.contextmanager
def _beside(path: Path, data: bytes, mode: int) -> Iterator[str]:
    """A file beside the place of another, synced, that nobody else may read before it has its mode."""
    with _named_as(path):
        handle, part = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=".part", dir=path.parent)  # O_EXCL, 0600
    try:
        with _named_as(path), open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
            if os.name == "posix":
                os.fchmod(handle, mode)
        yield part
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


@contextlib.contextmanager
def _named_as(path: Path) -> Iterator[None]:
    """Errors of the block name the file that is wanted, not the one beside it."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None


def _put(path: Path, part: str, *, over: bool) -> None:
    """Moves a file to its place; where none may be taken over, in one step that fails if there is one by now."""
    try:
        with _named_as(path):
            if over:
                os.replace(part, path)
            elif os.name == "posix":
                _link(path, part)
            else:
                os.rename(part, path)  # which fails there if there is one
    except FileExistsError:
        raise StorageError(f"{text(path)} is there already; use --force to write over it") from None


def _link(path: Path, part: str) -> None:
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOSPC, errno.EDQUOT):
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # no links there: the name is taken first
        os.replace(part, path)


def _sync(folder: Path) -> None:
    """Makes the names of a folder last."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs no folders
            raise
    finally:
        os.close(handle)
