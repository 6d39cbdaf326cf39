"""Bloom and cuckoo filters: a million keys of 32 bytes, put in and looked up.

A filter that is written in Python is given fewer keys, into a filter sized for as many: what it takes for a key hardly
depends on that. How large each one gets and what it answers wrongly is measured, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from city_chain.algorithms import cbf
from peers.harness import OURS, Contest, Entry, Peers, Target, present

TITLE = "Bloom and cuckoo filters"
LEFT_OUT: dict[str, str] = {}

_MANY, _FEW = 1_000_000, 5_000
_FPR = 0.01
_CUCKOO_FPR = 0.0002
_WHY = "see the algorithm's page"

type Row = tuple[str, float, float, int]
"""Name, bits a key, measured false positives, keys lost."""

SIZES: list[Row] = []
"""Filled by `contests`: what each filter is like when it is full."""

COLUMNS = ("filter", "keys", "bits a key", "answers yes wrongly", "keys lost")


class Keys:
    """Keys that go in, and keys that do not."""

    def __init__(self, count: int) -> None:
        self.packed, self.others_packed = os.urandom(32 * count), os.urandom(32 * min(count, 200_000))
        self.list, self.others = _cut(self.packed), _cut(self.others_packed)


def _cut(packed: bytes) -> list[bytes]:
    return [packed[at : at + 32] for at in range(0, len(packed), 32)]


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Bloom filters, then cuckoo filters."""
    SIZES.clear()
    keys = Keys(_FEW if quick else _MANY)
    few = Keys(500 if quick else _FEW)
    yield from _bloom(peers, keys)
    yield from _cuckoo(peers, keys, few)


# --- Bloom -----------------------------------------------------------------------------------------------------------


def _bloom(peers: Peers, keys: Keys) -> Iterator[Contest]:
    count = len(keys.list)
    rbloom, fastbloom = peers.find("rbloom"), peers.find("fastbloom_rs", "fastbloom-rs")

    def ours() -> cbf.Bloom:
        return cbf.Bloom(count, _FPR)

    inserting = [
        Entry(
            f"{OURS}: packed", lambda f: f.insert_many(keys.packed, width=32), count, ours, target=Target(150e6, "rate")
        ),
        Entry(f"{OURS}: list", lambda f: f.insert_many(keys.list), count, ours, target=Target(30e6, "rate")),
    ]
    full = ours()
    full.insert_many(keys.packed, width=32)
    _note_bloom(f"{OURS}: Bloom", keys, 8 * len(full.to_bytes()), full.__contains__)
    looking = [
        Entry(
            f"{OURS}: packed", lambda _: full.contains_many(keys.packed, width=32), count, target=Target(150e6, "rate")
        ),
        Entry(f"{OURS}: list", lambda _: full.contains_many(keys.list), count, target=Target(30e6, "rate")),
    ]
    if rbloom is not None:
        made = rbloom.Bloom(count, _FPR)
        made.update(keys.list)
        note = "uses Python's hash(), which differs in every process"
        inserting.append(
            Entry("rbloom: update", lambda f: f.update(keys.list), count, lambda: rbloom.Bloom(count, _FPR), note=note)
        )
        looking.append(Entry("rbloom: in, one by one", lambda _: list(map(made.__contains__, keys.list)), count))
        _note_bloom("rbloom", keys, made.size_in_bits, made.__contains__)
    if fastbloom is not None:

        def build() -> Any:
            return fastbloom.FilterBuilder(count, _FPR).build_bloom_filter()

        filled = build()
        filled.add_bytes_batch(keys.list)
        inserting.append(Entry("fastbloom-rs: batch", lambda f: f.add_bytes_batch(keys.list), count, build))
        looking.append(Entry("fastbloom-rs: batch", lambda _: filled.contains_bytes_batch(keys.list), count))
        _note_bloom("fastbloom-rs", keys, 8 * len(filled.get_bytes()), filled.contains_bytes)

    def check() -> None:
        assert full.contains_many(keys.packed, width=32) == full.contains_many(keys.list)
        assert all(lost == 0 for name, _, _, _, lost in SIZES if "cuckoo" not in name), SIZES

    yield Contest(f"Bloom, 1 %: put in {count:,} keys, for each", inserting, check, why=_WHY)
    yield Contest(f"Bloom, 1 %: look up {count:,} keys, for each", looking, check, why=_WHY)


def _note_bloom(name: str, keys: Keys, bits: int, contains: Callable[[bytes], bool]) -> None:
    _note(name, keys.list, keys.others, bits, contains)


def _note(
    name: str, inside: Sequence[bytes], outside: Sequence[bytes], bits: int, contains: Callable[[bytes], bool]
) -> None:
    lost = sum(1 for key in inside if not contains(key))
    wrong = sum(1 for key in outside if contains(key)) / len(outside)
    SIZES.append((name, f"{len(inside):,}", f"{bits / len(inside):.2f}" if bits else "–", f"{wrong:.4%}", lost))  # type: ignore[arg-type]


# --- cuckoo ----------------------------------------------------------------------------------------------------------


def _cuckoo(peers: Peers, keys: Keys, few: Keys) -> Iterator[Contest]:
    count, less = len(keys.list), len(few.list)

    def ours() -> cbf.Cuckoo:
        return cbf.Cuckoo(count)

    full = ours()
    full.insert_many(keys.packed, width=32)
    _note(f"{OURS}: Cuckoo", keys.list, keys.others, 8 * len(full.to_bytes()), full.__contains__)
    inserting = [
        Entry(
            f"{OURS}: packed", lambda f: f.insert_many(keys.packed, width=32), count, ours, target=Target(50e6, "rate")
        ),
        Entry(f"{OURS}: list", lambda f: f.insert_many(keys.list), count, ours, target=Target(30e6, "rate")),
    ]
    looking = [
        Entry(
            f"{OURS}: packed", lambda _: full.contains_many(keys.packed, width=32), count, target=Target(50e6, "rate")
        ),
        Entry(f"{OURS}: list", lambda _: full.contains_many(keys.list), count, target=Target(30e6, "rate")),
    ]
    for entry in _python_cuckoos(peers, few, less):
        inserting.append(entry[0])
        looking.append(entry[1])

    def check() -> None:
        assert full.contains_many(keys.packed, width=32) == full.contains_many(keys.list)
        assert all(key in full for key in keys.list[:1000])

    yield Contest(f"cuckoo: put in {count:,} keys, for each", inserting, check, why=_WHY)
    yield Contest(f"cuckoo: look up {count:,} keys, for each", looking, check, why=_WHY)


def _python_cuckoos(peers: Peers, few: Keys, capacity: int) -> Iterator[tuple[Entry, Entry]]:
    """Those of the package index, each sized for as many keys as it gets, as its own page says."""
    scalable = peers.find("cuckoo.filter", "scalable-cuckoo-filter")
    cuckoopy, probables = peers.find("cuckoopy"), peers.find("probables", "pyprobables")
    texts = [key.hex() for key in few.list]
    makers: list[tuple[str, Callable[[], Any], str, str, Sequence[Any]]] = []
    if scalable is not None:
        makers.append(
            (
                "scalable-cuckoo-filter",
                lambda: scalable.ScalableCuckooFilter(capacity, _CUCKOO_FPR),
                "insert",
                "contains",
                few.list,
            )
        )
    if cuckoopy is not None:
        makers.append(
            ("cuckoopy", lambda: cuckoopy.CuckooFilter(capacity, fingerprint_size=2), "insert", "contains", texts)
        )
    if probables is not None:
        makers.append(
            (
                "pyprobables",
                lambda: probables.CuckooFilter(capacity=capacity // 4, finger_size=2),
                "add",
                "check",
                few.list,
            )
        )
    for name, make, put, look, keys in makers:
        made = make()
        for key in keys:
            getattr(made, put)(key)
        others = [key.hex() for key in few.others] if keys is texts else few.others
        found = getattr(made, look)
        _note(name, keys, others, 0, found)
        yield (
            Entry(name, lambda f, p=put, k=keys: list(map(getattr(f, p), k)), len(keys), make, "Python, fewer keys"),
            Entry(name, lambda _, f=found, k=keys: list(map(f, k)), len(keys), note="Python, fewer keys"),
        )


def extra() -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    """The table of sizes: columns and rows."""
    return COLUMNS, SIZES


__all__ = ["LEFT_OUT", "TITLE", "contests", "extra", "present"]
