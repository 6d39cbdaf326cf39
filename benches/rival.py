"""`City.send` beside the glued rival: the same path, the same signatures, the same number of durable commits.

``python benches/rival.py`` prints the table, ``--json`` the raw figures as well. Both cities lie on the same disk, and
are asked in turn (A/B/A/B): one transaction of 4 KiB, then a burst of 256. What the rival is, and what it lacks, is
said in `benches/glued`. How many commits ours makes is counted first, and the rival is given no more: as many synced
ones, and at most as many that are only in order. It checks signatures on one thread and on two; the faster one counts.

Before anything is timed both must restore what they were sent, and their receipts must be right.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peers import tables
from peers.harness import COMMIT, OURS, Contest, Entry, Outcome, Peers, Target, run_all

from city_chain import City, Receipt
from city_chain.adapters.storage.sqlite import SqliteStorage

TITLE = "send"
SIZE = 4096
BURST = 256
ROUNDS = {1: 200, BURST: 25}
TARGETS = {1: Target(3.0, "ratio"), BURST: Target(1.5, "ratio")}
COMMIT_BYTES = 16 << 10
WHY = "see below where a send's time goes"


class Counted:
    """Counts the commits of a storage: those that wait for the disk, and those that are only in order."""

    def __init__(self, storage: SqliteStorage) -> None:
        self._storage = storage
        self.synced = self.ordered = 0
        self.get_many, self.scan, self.close = storage.get_many, storage.scan, storage.close

    @property
    def durable(self) -> bool:
        """As the storage has it."""
        return self._storage.durable

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Counts and writes."""
        self.synced += 1
        self._storage.put_many(items, delete=delete)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Counts and writes."""
        self.ordered += 1
        self._storage.defer_many(items, delete=delete)

    def sync(self) -> None:
        """Counts and syncs."""
        self.synced += 1
        self._storage.sync()

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Counts and deletes."""
        self.synced += 1
        self._storage.delete_many(keys)

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        """Counts and writes."""
        self.synced += 1
        return self._storage.put_if(key, value, expected)


@dataclass(frozen=True, slots=True)
class Commits:
    """How many commits one send waits for."""

    ordered: int
    synced: int


def count_commits(folder: Path, burst: int) -> Commits:
    """How many commits a send of ours makes."""
    storage = Counted(SqliteStorage(folder / f"counted-{burst}.db"))
    with City.local(storage=storage) as city:
        for warm in (True, False):
            city.settle()
            storage.synced = storage.ordered = 0
            _receipts(city.send_many([os.urandom(SIZE) for _ in range(burst)], batch=burst))
            found = Commits(storage.ordered, storage.synced)
            assert warm or found.synced >= 1, found
    return found


def _receipts(outcomes: Sequence[object]) -> list[Receipt]:
    """The outcomes, which must all be receipts."""
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Receipt)]


def payloads(count: int) -> list[bytes]:
    """Fresh random payloads."""
    return [os.urandom(SIZE) for _ in range(count)]


def _rival_name(threads: int) -> str:
    return f"glued rival, {threads}"


class Sides:
    """Both cities, with what is measured of them."""

    def __init__(self, folder: Path, burst: int, peers: Peers) -> None:
        self.commits = count_commits(folder, burst)
        self._folder, self._burst = folder, burst
        self._ours_file = folder / f"ours-{burst}.db"
        self._ours = City.local(self._ours_file)
        self._plain = sqlite3.connect(folder / f"plain-{burst}.db", isolation_level=None)
        self._plain.execute("PRAGMA journal_mode=WAL")
        self._plain.execute("PRAGMA synchronous=FULL")
        self._plain.execute("CREATE TABLE kept (row BLOB)")
        self._glued = peers.find("glued.city", "zfec, PyNaCl, blake3, xxhash")
        self._rivals: dict[int, Any] = {}
        self._sent: Counter[str] = Counter()
        if self._glued is not None:
            self._rivals = {threads: self._rival(threads) for threads in (1, 2)}

    def _rival(self, threads: int) -> Any:
        assert self._glued is not None
        durability = self._glued.Durability(self.commits.ordered, self.commits.synced)
        return self._glued.GluedCity(self._rival_file(threads), durability, threads=threads)

    def _rival_file(self, threads: int) -> Path:
        return self._folder / f"rival-{self._burst}-{threads}.db"

    def entries(self) -> list[Entry]:
        """What is timed."""
        burst, ours = self._burst, self._ours
        target = TARGETS[burst]

        def send_one(batch: list[bytes]) -> object:
            return ours.send(batch[0])

        def send_many(batch: list[bytes]) -> object:
            return ours.send_many(batch, batch=burst)

        def made(name: str) -> list[bytes]:
            self._sent[name] += burst
            return payloads(burst)

        run: Callable[[list[bytes]], object] = send_one if burst == 1 else send_many
        name = f"{OURS}: send" if burst == 1 else f"{OURS}: send_many"
        entries = [Entry(name, run, burst, lambda: made(OURS), target=target)]
        for threads, rival in self._rivals.items():
            note = "signatures checked on one thread" if threads == 1 else "signatures checked on two threads"
            name = _rival_name(threads)
            entries.append(Entry(name, rival.send_many, burst, partial(made, name), note=note))
        note = f"{COMMIT_BYTES >> 10} KiB, once for {burst}" if burst > 1 else f"{COMMIT_BYTES >> 10} KiB"
        entries.append(Entry(COMMIT, self._commit, burst, note=note, is_beside=True))
        return entries

    def _commit(self, _: object) -> None:
        """One synced commit of plain sqlite3, on the same disk."""
        self._plain.execute("INSERT INTO kept VALUES (?)", (bytes(COMMIT_BYTES),))

    def check(self) -> None:
        """Both restore what they were sent, and their receipts are right."""
        sent = payloads(min(self._burst, 8))
        self._sent.update({name: len(sent) for name in [OURS, *map(_rival_name, self._rivals)]})
        for payload, receipt in zip(sent, _receipts(self._ours.send_many(sent)), strict=True):
            receipt.verify(self._ours.trust)
            assert self._ours.receive(receipt.tx_id) == payload
        for rival in self._rivals.values():
            for payload, receipt in zip(sent, rival.send_many(sent), strict=True):
                assert self._glued is not None
                self._glued.verify_receipt(receipt.to_bytes(), rival.trust)
                assert rival.receive(receipt.tx_id) == payload

    def contest(self, rounds: int) -> Contest:
        """What is compared."""
        what = "one transaction of 4 KiB" if self._burst == 1 else f"a burst of {self._burst} of 4 KiB, for each"
        return Contest(what, self.entries(), self.check, why=WHY, rounds=rounds)

    def bytes_stored(self) -> dict[str, float]:
        """Bytes of each one's file for each transaction that was sent; call it when both are closed."""
        files = {OURS: self._ours_file}
        files |= {_rival_name(threads): self._rival_file(threads) for threads in self._rivals}
        return {name: file.stat().st_size / self._sent[name] for name, file in files.items()}

    def close(self) -> None:
        """Closes all."""
        self._plain.close()
        self._ours.close()
        for rival in self._rivals.values():
            rival.close()


def compete(quick: bool = False, folder: Path | None = None) -> tuple[list[Outcome], list[list[str]], Peers]:
    """Runs both contests; the outcomes, and a row for each about commits and bytes."""
    peers = Peers()
    outcomes: list[Outcome] = []
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="rival-") as place:
        for burst, rounds in ROUNDS.items():
            sides = Sides(Path(place), burst, peers)
            try:
                found = list(run_all([sides.contest(rounds)], quick))
            finally:
                sides.close()
            outcomes += found
            stored = sides.bytes_stored()
            shown = ", ".join(f"{name} {size / 1024:,.1f} KiB" for name, size in stored.items())
            rows.append([found[0].contest.what, f"{sides.commits.ordered} + {sides.commits.synced}", shown])
    return outcomes, rows, peers


COLUMNS = ("what", "commits of each side, in order + synced", "bytes in the file for each transaction")


def section(outcomes: Sequence[Outcome], rows: Sequence[Sequence[str]], peers: Peers) -> str:
    """The tables."""
    parts = [tables.leaders(outcomes), tables.figures(outcomes)]
    parts.append(tables.table(COLUMNS, rows, (0, 2)))
    parts += [f"Not installed here: {name} ({reason})." for name, reason in peers.absent.items()]
    return "\n\n".join(parts)


def main() -> None:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything once, no figures")
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="the raw figures, to a file or the output")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where the files are written (default: temporary)")
    options = parser.parse_args()
    outcomes, rows, peers = compete(options.quick, options.folder)
    if options.quick:
        return
    titled = [(TITLE, outcomes)]
    if options.json is None:
        print(section(outcomes, rows, peers), tables.targets(titled), sep="\n\n")
        return
    raw = {
        "sections": [section(outcomes, rows, peers)],
        "targets": tables.target_rows(titled),
        "raw": {TITLE: [outcome.to_json() for outcome in outcomes]},
    }
    text = json.dumps(raw)
    if options.json == "-":
        print(text)
    else:
        Path(options.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
