"""Which delegates of a city signed two things that exclude each other, as its own nodes and those elsewhere tell.

What nodes elsewhere tell is kept here once it is found right, one piece for each epoch and node: they may be gone when
it is asked for. The key is ``t``, the number of the epoch (8 bytes, big-endian) and the node.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from city_chain.node import Ledger
from city_chain.node.testifying import guilty
from city_chain.ports import Storage

__all__ = ["Misbehaviour"]


class Misbehaviour:
    """The evidence that a city has.

    Args:
        storage: The city's own space.
        ledger: Has the epochs.

    Example:
        See `City.misbehaviour`.
    """

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._lock = threading.Lock()

    def hear(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Keeps what is right and new of some evidence: numbers of epochs, and the bytes.

        Raises:
            StorageError: The disk failed.
        """
        with self._lock:
            kept = {key for key, _ in self._storage.scan(b"t")}
            heard = {_key(number, node): evidence for (number, node), evidence in guilty(pieces, self._ledger).items()}
            fresh = {key: evidence for key, evidence in heard.items() if key not in kept}
            if fresh:
                self._storage.put_many(fresh)

    def found(self, here: Iterable[tuple[int, bytes]]) -> list[tuple[bytes, bytes]]:
        """(node, evidence), by epoch and node: what the city's own nodes keep, and what was heard."""
        heard = [(int.from_bytes(key[1:9], "big"), evidence) for key, evidence in self._storage.scan(b"t")]
        return [(node, piece) for (_, node), piece in sorted(guilty([*here, *heard], self._ledger).items())]


def _key(number: int, node: bytes) -> bytes:
    return b"t" + number.to_bytes(8, "big") + node
