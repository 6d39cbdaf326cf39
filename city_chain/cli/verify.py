"""``city-chain verify RECEIPT…``: checks receipts with nothing but the trust anchor."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from city_chain.cli.commits import certificate_fields, certificate_words
from city_chain.cli.console import Console, text
from city_chain.cli.place import ANCHOR, ANCHOR_BYTES_MAX, SUFFIX, Place, bounded
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.records import Message, Receipt, Trust

__all__ = ["Verdict", "run"]

_RECEIPT_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one receipt file.

    Args:
        file: The file.
        receipt: The receipt, if it is right.
        error: What is wrong with it otherwise.
    """

    file: Path
    receipt: Receipt | None
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """The verdict for programs."""
        if self.receipt is None:
            return {"receipt": text(self.file), "ok": False, "error": self.error}
        return {
            "receipt": text(self.file),
            "ok": True,
            "tx_id": self.receipt.tx_id.hex(),
            "network": self.receipt.manifest.network.hex(),
            "height": self.receipt.header.height,
            **certificate_fields(self.receipt.certificate, self.receipt.epoch),
        }

    def __str__(self) -> str:
        if self.receipt is None:
            return f"WRONG  {text(self.file)}: {self.error}"
        return (
            f"ok  {text(self.file)}: transaction {self.receipt.tx_id.hex()}, batch {self.receipt.header.height}; "
            f"{certificate_words(self.receipt.certificate, self.receipt.epoch)}"
        )


def run(args: argparse.Namespace, console: Console) -> int:
    """Checks every receipt; 1 if any is wrong."""
    files = list(_files(args.receipts))
    anchors: dict[Path, Trust] = {}
    wrong = 0
    with console.progress("verifying", len(files)) as progress:
        for at, (file, of_folder) in enumerate(files, 1):
            path = _anchor(args, file, of_folder=of_folder)
            if path not in anchors:
                anchors[path] = _trust(path)
            verdict = check(file, anchors[path])
            wrong += verdict.receipt is None
            if args.json:
                console.json(verdict.as_json())
            else:
                console.say(str(verdict))
            progress.to(at)
    if wrong:
        console.complain(f"{wrong} of {len(files)} receipts are wrong (trust anchor: {_list(anchors)})")
    return 1 if wrong else 0


def check(file: Path, trust: Trust) -> Verdict:
    """Reads one receipt and verifies every signature, proof and path in it."""
    try:
        data = bounded(file, _RECEIPT_BYTES_MAX)
        if _is_crossing(data):
            raise InputError(
                "is the receipt of a crossing; a world's trust checks it: CrossReceipt.verify(World.trust)"
            )
        receipt = Receipt.from_bytes(data)
        if receipt.manifest.network != trust.network:
            raise VerificationError(
                f"receipt: of network {receipt.manifest.network.hex()[:16]}…, "
                f"the trust anchor is of network {trust.network.hex()[:16]}…"
            )
        receipt.verify(trust)
    except OSError as error:
        return Verdict(file, None, error.strerror or type(error).__name__)
    except CityChainError as error:
        return Verdict(file, None, why(error))
    return Verdict(file, receipt, None)


def _is_crossing(data: bytes) -> bool:
    try:
        return Message.from_bytes(data).kind in ("crossed", "crossing_receipt")
    except CityChainError:
        return False


def _files(names: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """The receipt files, and whether the folder that they lie in was named: all that are in it then."""
    for name in names:
        path = Path(name)
        if not path.is_dir():
            yield path, False
            continue
        found = sorted(entry for entry in path.iterdir() if entry.name.endswith(SUFFIX))
        if not found:
            raise StorageError(f"{text(path)} is a folder without any *{SUFFIX} file; name receipts")
        yield from ((file, True) for file in found)


def _anchor(args: argparse.Namespace, receipt: Path, *, of_folder: bool) -> Path:
    """Where the trust anchor for a receipt is."""
    if args.trust is not None:
        return Path(args.trust)
    place = Place(args.city)
    if args.city is not None:
        return place.anchor
    beside = receipt.absolute().parent
    above = beside.parent / ANCHOR
    first = [above] if of_folder or beside.name == place.receipts.name else []  # the receipt lies in a city: that one's
    for path in (*first, place.anchor, beside / ANCHOR, above):
        if path.is_file():
            return path
    if not os.path.lexists(receipt):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(receipt))
    raise StorageError(
        f"there is no {ANCHOR} here, nor beside {text(receipt)}, nor above it; name it with --trust FILE"
    )


def _trust(path: Path) -> Trust:
    try:
        return Trust.from_bytes(bounded(path, ANCHOR_BYTES_MAX))
    except InputError as error:
        raise InputError(f"{text(path)} is no trust anchor: {error}") from None


def _list(paths: dict[Path, Trust]) -> str:
    return ", ".join(map(text, paths))
