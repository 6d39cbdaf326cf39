"""``city-chain verify RECEIPT…``: checks receipts with nothing but the trust anchor, or the trust in a world."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from city_chain.cli.commits import certificate_fields, certificate_words
from city_chain.cli.console import Console, text
from city_chain.cli.known import grade_words
from city_chain.cli.place import ANCHOR, ANCHOR_BYTES_MAX, SUFFIX, Place, bounded
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.levels.cross_receipt import CrossReceipt, WorldTrust
from city_chain.records import Message, Receipt, Trust

__all__ = ["Verdict", "run"]

_RECEIPT_BYTES_MAX = 16 << 20
_WORLD_TRUST_BYTES_MAX = 64 << 20  # it has the layouts of all epochs


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one receipt file.

    Args:
        file: The file.
        receipt: The receipt, if it is right; of a crossing that of its home city.
        error: What is wrong with it otherwise.
        crossing: The receipt of a crossing, if it is one and right.
    """

    file: Path
    receipt: Receipt | None
    error: str | None
    crossing: CrossReceipt | None = None

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
            **({"grades": [grade for _, grade in grades]} if (grades := self.receipt.availability.grades) else {}),
            **({} if self.crossing is None else {"home": text(self.crossing.home), "cities": self._cities}),
        }

    def __str__(self) -> str:
        if self.receipt is None:
            return f"WRONG  {text(self.file)}: {self.error}"
        home = "" if self.crossing is None else f" of {text(self.crossing.home)}, done in {self._cities} cities"
        return (
            f"ok  {text(self.file)}: transaction {self.receipt.tx_id.hex()}{home}, batch {self.receipt.header.height}; "
            f"{certificate_words(self.receipt.certificate, self.receipt.epoch)}"
            + (f"; places: {words}" if (words := grade_words(self.receipt.availability.grades)) else "")
        )

    @property
    def _cities(self) -> int:
        """How many cities have done a crossing."""
        return 0 if self.crossing is None else len(self.crossing.certificates)


def run(args: argparse.Namespace, console: Console) -> int:
    """Checks every receipt; 1 if any is wrong."""
    files = list(_files(args.receipts))
    anchors: dict[Path, Trust | WorldTrust] = {}
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


def check(file: Path, trust: Trust | WorldTrust) -> Verdict:
    """Reads one receipt and verifies every signature, proof and path in it."""
    try:
        data = bounded(file, _RECEIPT_BYTES_MAX)
        is_crossing = _kind(data) in ("crossed", "crossing_receipt")
        if isinstance(trust, WorldTrust):
            if not is_crossing:
                raise InputError("is no receipt of a crossing; the trust in a world checks no other: name an anchor")
            crossing = CrossReceipt.from_bytes(data)
            crossing.verify(trust)
            return Verdict(file, crossing.receipt, None, crossing)
        if is_crossing:
            raise InputError(
                "is the receipt of a crossing; a world's trust checks it: --trust with a file of World.trust.to_bytes()"
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


def _kind(data: bytes) -> str | None:
    """The kind of a message; None for anything else."""
    try:
        return Message.from_bytes(data).kind
    except CityChainError:
        return None


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


def _trust(path: Path) -> Trust | WorldTrust:
    try:
        data = bounded(path, _WORLD_TRUST_BYTES_MAX)
        if _kind(data) == "worldtrust":
            return WorldTrust.from_bytes(data)
        if len(data) > ANCHOR_BYTES_MAX:
            raise InputError(f"has more than {ANCHOR_BYTES_MAX} bytes, which is the most it may have")
        return Trust.from_bytes(data)
    except InputError as error:
        raise InputError(f"{text(path)} is no trust anchor: {error}") from None


def _list(paths: Iterable[Path]) -> str:
    return ", ".join(map(text, paths))
