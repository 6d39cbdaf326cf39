"""A city's folder, and the files that the commands leave in it or elsewhere.

==================  =========================================================
file                what
==================  =========================================================
``city.db``         the city, with its keys
``trust.anchor``    what a verifier must know beforehand (`Trust.to_bytes`)
``receipts/``       ``TX_ID.receipt`` of everything sent from here
==================  =========================================================

Files appear whole or not at all: each is written beside its place and moved there, so a process that is killed leaves
no half of one. Receipts are not synced one by one, for the city keeps them all durably: what a loss of power takes of
the newest files, ``city-chain repair`` writes again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from city_chain.cli.console import Console, text
from city_chain.cli.tokens import shown
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels import City
from city_chain.records import Receipt, Trust

__all__ = ["PREFIX_DIGITS_MIN", "Place", "bounded", "find_id", "warnings_to", "write_whole"]

PREFIX_DIGITS_MIN = 8
"""The fewest hex digits that stand for an id."""

ANCHOR = "trust.anchor"
"""Name of the file with the trust anchor."""

ANCHOR_BYTES_MAX = 1 << 20
"""The most bytes of a trust anchor."""

SUFFIX = ".receipt"
"""How the names of receipt files end."""


_SIGN_OF_LIFE_S = 1.0
"""How long opening a city may take before a terminal is told, seconds."""


class Place:
    """The folder of a city.

    Args:
        folder: The folder; the current one if None.

    Example:
        >>> Place("town").database.as_posix()
        'town/city.db'
    """

    def __init__(self, folder: str | None) -> None:
        self.folder = Path(folder or ".")
        self.database = self.folder / "city.db"
        self.anchor = self.folder / ANCHOR
        self.receipts = self.folder / "receipts"

    @property
    def name(self) -> str:
        """The folder as it is shown."""
        return text(self.folder) if self.folder != Path() else "the current folder"

    def owns(self, path: Path) -> bool:
        """Whether a file is the city's own: its database, what lies beside it, its trust anchor."""
        real = path.resolve()
        return real.parent == self.folder.resolve() and (
            real.name == self.anchor.name or real.name.startswith(self.database.name)
        )

    def check(self) -> None:
        """Checks that there is a city.

        Raises:
            StorageError: There is none.
        """
        if not self.folder.is_dir():
            what = "is not a folder" if self.folder.exists() else "does not exist"
            raise StorageError(f"{self.name} {what}; name the folder of a city with --city DIR")
        if not self.database.exists():
            advice = "city-chain init DIR makes one, --city DIR names one"
            raise StorageError(f"there is no city in {self.name} (it has no {self.database.name}); {advice}")

    def create(self, **settings: Any) -> City:
        """Makes a city. What an interrupted making left (an empty file, a database without a city) is made whole.

        Args:
            settings: Those of `City.local`.

        Raises:
            StorageError: There is a city already, or it cannot be made.
        """
        try:
            return City.create(self.database, **settings)
        except StorageError as error:
            if "there is a city here already" in str(error):
                raise StorageError(f"there is a city in {self.name} already; choose another folder") from None
            raise

    @contextlib.contextmanager
    def made(self, console: Console, **settings: Any) -> Iterator[City]:
        """A new city, until the end of the block. Says what the library warns of, and that making it takes longer.

        Raises:
            StorageError: As `create`.
        """
        with warnings_to(console):
            with console.if_long(_SIGN_OF_LIFE_S, "making the city takes longer: its delegates make their keys"):
                city = self.create(**settings)
            with city:
                yield city

    @contextlib.contextmanager
    def open(self, console: Console, elsewhere: Mapping[int, str] | None = None) -> Iterator[City]:
        """The city, until the end of the block. Says what opening found unfinished, and keeps the receipts of it.

        Args:
            console: Where to say it.
            elsewhere: As for `City.open`.

        Raises:
            StorageError: There is no city, it cannot be opened, or another process has it open.
        """
        self.check()
        with warnings_to(console), self._opened(console, elsewhere) as city:
            self._recover(city, console)
            yield city

    def _opened(self, console: Console, elsewhere: Mapping[int, str] | None = None) -> City:
        try:
            with console.if_long(
                _SIGN_OF_LIFE_S, "opening the city takes longer: unfinished sends, or another process has it open"
            ):
                return City.open(self.database, elsewhere=elsewhere, transport=shown())
        except StorageError as error:
            if "holds no city" in str(error):
                raise StorageError(f"{text(self.database)} holds no city; city-chain init DIR makes one") from None
            raise

    def _recover(self, city: City, console: Console) -> None:
        """Says what became of unfinished sends, then keeps receipts and anchor; goes on if they cannot be written."""
        found = city.recovery
        if found.finished or found.failed or found.pending:
            where = f"; receipts go to {text(self.receipts)}" if found.finished else ""
            console.complain(f"opening the city found unfinished sends: {found}{where}")
        for receipt in found.finished:
            try:
                self.keep(receipt)
            except OSError as error:
                advice = "city-chain repair writes the receipts when that is mended"
                console.complain(f"{text(self.receipt(receipt.tx_id))}: {error.strerror}; {advice}")
                break
        self.renew_anchor(city, console)

    def renew_anchor(self, city: City, console: Console) -> None:
        """Writes the trust anchor if it lacks keys or an epoch; says so if it cannot be written.

        Args:
            city: The city of this folder.
            console: Where to say it.
        """
        trust = city.trust
        if self._lacks(trust):
            try:
                self.keep_anchor(trust)
            except OSError as error:
                console.complain(
                    f"{text(self.anchor)}: {error.strerror}; the next command writes it when that is mended"
                )

    def _lacks(self, trust: Trust) -> bool:
        """Whether the anchor is not there, or is this city's from before a later epoch or before its keys were made."""
        try:
            kept = Trust.from_bytes(bounded(self.anchor, ANCHOR_BYTES_MAX))
        except FileNotFoundError:
            return True
        except (CityChainError, OSError):
            return False  # it is for its owner to say what becomes of it
        same = kept.network == trust.network and kept.city_key in (None, trust.city_key)
        return same and set(kept.epochs) <= set(trust.epochs) and kept != trust

    def keep_anchor(self, trust: Trust) -> None:
        """Writes the trust anchor."""
        write_whole(self.anchor, trust.to_bytes())

    def receipt(self, tx_id: bytes) -> Path:
        """Where the receipt of a transaction is kept."""
        return self.receipts / f"{tx_id.hex()}{SUFFIX}"

    def keep(self, receipt: Receipt) -> Path:
        """Writes a receipt; the file is there, whole, when this returns.

        Returns:
            Where it is.
        """
        path = self.receipt(receipt.tx_id)
        try:
            write_whole(path, receipt.to_bytes(), sync=False)
        except FileNotFoundError:
            self.receipts.mkdir(exist_ok=True)
            write_whole(path, receipt.to_bytes(), sync=False)
        return path


class _Words(logging.Handler):
    """Tells what the library logs as everything else is told: on a line that is marked as ours.

    Args:
        console: Where it is told.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line; without the traceback that may come with it."""
        self._console.complain(record.getMessage())


@contextlib.contextmanager
def warnings_to(console: Console) -> Iterator[None]:
    """While the block runs the library's warnings go to the console, not unmarked to stderr."""
    logger, words = logging.getLogger("city_chain"), _Words(console)
    logger.addHandler(words)
    try:
        yield
    finally:
        logger.removeHandler(words)


def write_whole(path: Path, data: bytes, *, over: bool = True, sync: bool = True) -> None:
    """Writes a file that is there whole or not at all.

    Args:
        path: The file. What is no regular file (a device, a pipe) is written straight to.
        data: Its contents.
        over: Whether to take the place of a file that is there.
        sync: Whether it must survive the loss of power, too.

    Raises:
        StorageError: There is a file and it is to be kept.
        OSError: It cannot be written; nothing is left behind.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a", b"1")
        ...     write_whole(Path(folder) / "a", b"2", over=False)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        city_chain.errors.StorageError: …/a is there already
    """
    try:
        _write_whole(path, data, over=over, sync=sync)
    except OSError as error:  # the name of the file that is wanted says more than that of the one beside it, or none
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None


def _write_whole(path: Path, data: bytes, *, over: bool, sync: bool) -> None:
    if is_special(path):
        path.write_bytes(data)
        return
    check_free(path, over=over)
    path = Path(os.path.realpath(path))  # through a link to the file, not over the link
    handle, beside = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=".part", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(handle)
        os.chmod(beside, mode_for(path))
        check_free(path, over=over)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def check_free(path: Path, *, over: bool, advice: str = "name another file, or use --force to write over it") -> None:
    """Checks that a file may be written there.

    Args:
        path: The file.
        over: Whether one that is there may be written over.
        advice: What to do if there is one that is to be kept.

    Raises:
        StorageError: There is a folder, or a file that is to be kept.
    """
    if path.is_dir():
        raise StorageError(f"{text(path)} is a folder; name a file")
    if not over and path.exists() and not is_special(path):
        raise StorageError(f"{text(path)} is there already; {advice}")


def is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, to which bytes are just written."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def mode_for(path: Path) -> int:
    """The mode for a file: the one it had, else the usual one."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def bounded(path: Path, most: int) -> bytes:
    """The contents of a file that must not be too large.

    Args:
        path: The file.
        most: The most bytes it may have.

    Raises:
        InputError: It has more.
        OSError: It cannot be read.

    Example:
        >>> bounded(Path(os.devnull), 10)
        b''
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"has more than {most} bytes, which is the most it may have")
    return data


def find_id(digits: str, ids: Iterable[bytes], what: str) -> bytes:
    """The one id that starts with these hex digits.

    Args:
        digits: 8 to 64 hex digits.
        ids: The ids there are.
        what: What they are ids of, for the error.

    Raises:
        InputError: They are no hex digits, too few or too many, or fit none or several ids.

    Example:
        >>> find_id("0a0a0a0A", [bytes([10]) * 32, bytes(32)], "node") == bytes([10]) * 32
        True
    """
    wanted = digits.lower()
    if not PREFIX_DIGITS_MIN <= len(wanted) <= 64 or not set(wanted) <= set("0123456789abcdef"):
        raise InputError(f"{text(digits)!r} is no id: {PREFIX_DIGITS_MIN} to 64 hex digits are needed")
    found = []
    for candidate in ids:
        if candidate.hex().startswith(wanted):
            found.append(candidate)
            if len(found) == 2:
                raise InputError(f"{wanted} is the start of several {what}s' ids; give more digits")
    if not found:
        raise InputError(f"there is no {what} {wanted} here")
    return found[0]


def find_transaction(city: City, digits: str) -> bytes:
    """The one committed transaction whose id starts with these hex digits.

    Raises:
        InputError: There is none, or there are several.
    """
    if len(digits) == 64:
        with contextlib.suppress(ValueError, CityChainError):
            return city.receipt(bytes.fromhex(digits)).tx_id
    return find_id(digits, city.tx_ids(), "transaction")


def chosen(city: City, asked: Iterable[str]) -> list[bytes]:
    """The transactions asked for, each once; all if none is.

    Raises:
        InputError: One of them is not here.
    """
    wanted = dict.fromkeys(find_transaction(city, digits) for digits in asked)
    return list(wanted) or list(city.tx_ids())


def stopped(city: City) -> str | None:
    """What to say of the nodes that are stopped; None if all run.

    Example:
        >>> with City.local(nodes=4, validators=1, k=2, n=4) as city:
        ...     stopped(city)
        ...     city.stop_node(city.nodes()[0].id)
        ...     print(stopped(city))
        1 of 4 nodes is stopped: city-chain nodes lists them, nodes --start ID starts one
    """
    nodes = city.nodes()
    count = sum(not node.running for node in nodes)
    are = "is" if count == 1 else "are"
    advice = "city-chain nodes lists them, nodes --start ID starts one"
    return f"{count} of {len(nodes)} nodes {are} stopped: {advice}" if count else None
