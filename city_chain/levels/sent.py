"""The sender's index: "have I sent this transaction before?", answered without a look at the ledger.

S2 enters every transaction that it encodes, before anything of it is sent. A *no* is certain, so a new transaction
needs no look into the ledger for a receipt that it might have; a *maybe* is looked up there.

The index is a chain of Bloom filters. It is written down from time to time and at a clean end, with the height of the
ledger at that moment: all that is committed up to it is in it. What came later is read from the ledger's batches when
the city is opened, so neither a kill nor a damaged row makes it deny anything; as long as there is much to be read it
says *maybe*.

================  ===============================================================================================
key               value
================  ===============================================================================================
``s`` number      message ``sent``: this key, height and digest of the ledger's tip, `cbf.Bloom` of transaction ids
================  ===============================================================================================
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from city_chain.algorithms import cbf
from city_chain.errors import CityChainError, InputError, ProtocolError, StorageError
from city_chain.node.ledger import Ledger
from city_chain.ports import Put, Storage
from city_chain.stages import messages

__all__ = ["SentIndex"]

_log = logging.getLogger("city_chain")

_FPR = 0.001
_ROOM_MIN = 1 << 12
_ROOM_MAX = 1 << 18
_WRITE_EVERY = 1 << 12
"""Entries after which the filter that is being filled is written down, so that a kill leaves little to be read."""

_AT_ONCE = 64
"""Batches that opening a city reads before it goes on; more are read behind it."""


class SentIndex:
    """The index of one sender. Safe to use from several threads.

    Args:
        storage: Where it is kept; nothing else may write there.
        ledger: What is committed.
        put: How it is written down (see `node.Host`); the default is `storage.put_many`.
    """

    def __init__(self, storage: Storage, ledger: Ledger, put: Put | None = None) -> None:
        self._put: Put = put or storage.put_many
        self._ledger = ledger
        self._lock = threading.Lock()
        kept = _read(storage, ledger)
        self._chain, self._gone = kept.chain, kept.gone
        # For every filter but the last: up to where all that is committed is in it and those before it.
        self._seals = kept.seals
        self._read_to = kept.covered
        # Filters that are to be written down: all of them, should any have been unreadable.
        self._unwritten = set(range(len(self._chain))) if kept.gone else set()
        self._entered = 0
        self._written = kept.covered
        self._is_whole = False
        if ledger.tip.height - kept.covered.height <= _AT_ONCE:
            self.catch_up()

    @property
    def is_whole(self) -> bool:
        """Whether it knows all that was sent; until then it says *maybe* of everything."""
        return self._is_whole

    @property
    def table_len(self) -> int:
        """Bytes of its filters: about two for each transaction that was sent."""
        with self._lock:
            return sum(bloom.table_len for bloom in self._chain)

    def catch_up(self, ends: Callable[[], bool] = bool) -> None:
        """Enters what was committed after the index was written down, unless it is told to end before.

        A batch that cannot be read leaves the index saying *maybe* of everything.
        """
        while self._read_to.height < self._ledger.tip.height:
            if ends():
                return
            height = self._read_to.height + 1
            try:
                committed = self._ledger.batch(height)
            except StorageError as error:
                _log.warning("the sender's index cannot be made whole: %s", error)
                return
            if committed is None:
                _log.warning("the sender's index cannot be made whole: there is no batch at height %d", height)
                return
            self.enter([entry.tx_id for entry in committed.batch.entries])
            self._read_to = _End(height, committed.batch.digest)
        self._is_whole = True

    def may_have(self, tx_id: bytes) -> bool:
        """Whether a transaction may have been sent before. False is certain."""
        return not self._is_whole or any(tx_id in bloom for bloom in self._chain)

    def enter(self, tx_ids: Sequence[bytes]) -> None:
        """Enters transactions, before anything of them is sent."""
        if not tx_ids:
            return
        with self._lock:
            if len(self._chain[-1]) + len(tx_ids) > self._chain[-1].capacity:
                room = min(2 * self._chain[-1].capacity, _ROOM_MAX)
                self._seals.append(self._end())
                self._chain.append(cbf.Bloom(max(room, len(tx_ids)), _FPR))
            self._chain[-1].insert_many(tx_ids)
            self._unwritten.add(len(self._chain) - 1)
            self._entered += len(tx_ids)
            if self._entered >= _WRITE_EVERY and self._is_whole:
                self._write()

    def close(self) -> None:
        """Writes down what is not written yet."""
        with self._lock:
            if self._is_whole and (self._unwritten or self._written != self._end()):
                self._unwritten.add(len(self._chain) - 1)
                self._write()

    def _end(self) -> _End:
        """Up to where all that is committed is in the chain: it was entered before it was sent."""
        tip = self._ledger.tip
        return _End(tip.height, tip.digest) if self._is_whole else self._read_to

    def _write(self) -> None:
        """Writes filters down. What cannot be written costs time at the next opening only."""
        self._entered = 0
        end = self._end()
        seals = [*self._seals, end]
        rows = {
            _key(number): messages.message(
                "sent",
                [
                    _key(number),
                    messages.integer(seals[number].height),
                    seals[number].digest,
                    self._chain[number].to_bytes(),
                ],
            )
            for number in self._unwritten
        }
        try:
            self._put(rows, delete=[key for key in self._gone if key not in rows])
        except CityChainError as error:
            _log.warning("the sender's index could not be written down: %s", error)
            return
        self._unwritten.clear()
        self._gone = []
        self._written = end


class _End(NamedTuple):
    """An end of the ledger."""

    height: int
    digest: bytes


@dataclass(slots=True)
class _Kept:
    """What is kept of an index.

    Args:
        chain: The filters that can be read, and one to go on with.
        seals: For every filter but the last: up to where the chain as far as that is whole.
        covered: Up to where all of it is whole.
        gone: Keys to be deleted or written over, if something could not be read.
    """

    chain: list[cbf.Bloom]
    seals: list[_End]
    covered: _End
    gone: list[bytes]


def _key(number: int) -> bytes:
    return b"s" + number.to_bytes(4, "big")


def _read(storage: Storage, ledger: Ledger) -> _Kept:
    kept = _Kept([], [], _End(0, ledger.epoch.network), [])
    keys: list[bytes] = []
    is_whole = True
    for key, row in storage.scan(b"s"):
        is_whole = is_whole and key == _key(len(keys))
        keys.append(key)
        try:
            own, height, digest, encoded = messages.answer(row, "sent", 4)
            bloom, end = cbf.Bloom.from_bytes(encoded), _End(messages.integer_of(height), digest)
            is_whole = is_whole and own == key and _is_in(ledger, end)
            if is_whole:
                kept.covered = end
            kept.chain.append(bloom)
            kept.seals.append(kept.covered)
        except (InputError, ProtocolError) as error:
            _log.warning("a row of the sender's index is damaged and will be made anew: %s", error)
            is_whole = False
    if not is_whole:
        kept.gone = keys
    if is_whole and kept.chain:
        kept.seals.pop()  # the last filter goes on
    else:
        kept.chain.append(cbf.Bloom(_ROOM_MIN, _FPR))
    return kept


def _is_in(ledger: Ledger, end: _End) -> bool:
    """Whether the ledger has been at that end, so that an index of another history is not believed."""
    if end.height in (0, ledger.tip.height):
        return end.digest == (ledger.tip.digest if end.height else ledger.epoch.network)
    try:
        committed = ledger.batch(end.height)
    except StorageError:
        return False
    return committed is not None and committed.batch.digest == end.digest
