"""Damages a city on purpose, to show and to test that it is noticed and mended. No part of the public surface.

The damage is done behind the city's back, in the rows of its SQLite file, as a rotting disk would do it. Where those
rows are, `levels.embedded` and `node.holder` lay down: ``h``, then ``n`` and the node's number, then the holder's key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import StorageError
from city_chain.levels.embedded import HOSTED, node_space
from city_chain.stages import messages

__all__ = ["Damage", "flip_bits"]

_BYTES_PER_WRITE = 8 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """What was damaged.

    Args:
        fragments: How many fragments; one bit of each was flipped.
        size: How many bytes they have.
    """

    fragments: int
    size: int


def flip_bits(path: str | os.PathLike[str], node: int) -> Damage:
    """Flips one bit in every fragment that a node holds. Only stored bytes change: nobody is told.

    Which bit it is follows from the transaction's id, so the same city is damaged alike each time.

    Args:
        path: The city's SQLite file; the city may be open.
        node: Which node, from 0, in the order of `City.nodes`.

    Raises:
        StorageError: The file cannot be read or written, or a row is not what a holder writes.

    Example:
        >>> import tempfile
        >>> from city_chain.levels import City
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with City.create(f"{folder}/city.db", nodes=4, validators=1, k=2, n=4) as city:
        ...         tx_id = city.send(bytes(1000)).tx_id
        ...         city.settle()
        ...         flip_bits(f"{folder}/city.db", 0).fragments, city.health().transactions[0].good
        (1, 3)
    """
    count = size = 0
    with SqliteStorage(path, create=False) as storage:
        held = NamespacedStorage(storage, HOSTED + node_space(node))
        changed: dict[bytes, bytes] = {}
        pending = 0
        for key, row in held.scan(b"f"):
            _, fragment = messages.answer(row, "held", 2)
            if not fragment or not row.endswith(fragment):
                raise StorageError(f"the row {key.hex()} of node {node} does not end with its fragment")
            changed[key] = _flipped(row, len(fragment), key)
            count, size, pending = count + 1, size + len(fragment), pending + len(row)
            if pending >= _BYTES_PER_WRITE:
                held.put_many(changed)
                changed, pending = {}, 0
        if changed:
            held.put_many(changed)
    return Damage(count, size)


def _flipped(row: bytes, length: int, key: bytes) -> bytes:
    """`row` with one bit of its last `length` bytes flipped."""
    at = int.from_bytes(key[1:9], "big") % (8 * length)
    damaged = bytearray(row)
    damaged[len(row) - length + at // 8] ^= 1 << (at % 8)
    return bytes(damaged)
