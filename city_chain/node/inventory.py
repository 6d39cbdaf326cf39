"""A node's inventory: a cuckoo filter of the fragments that it holds, which it gives to those who look for some.

The filter never denies what the node holds. What is taken in is entered before its row is written, what is let go is
struck out after its row is gone, and whatever may have been missed in between counts as held.

It is kept beside the fragments, and outlives the process only as long as it is right: the write that changes a fragment
takes the kept filter away, at once and at no cost of its own; a clean end keeps it again. A filter that is missing,
damaged, or kept at another end of the ledger is made anew from the fragments' keys, some thousands at a time, when
somebody asks for it.

=============================  ================================================================================
key (in the node's own space)  value
=============================  ================================================================================
``i``                          message ``inventory``: digest of the ledger's tip, `cbf.Cuckoo` of the fragments
=============================  ================================================================================

A fragment is entered as tx_id ‖ index (2 bytes, big-endian): its row's key without the ``f``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

from city_chain.algorithms import cbf
from city_chain.errors import InputError, ProtocolError, UnavailableError
from city_chain.ports import Storage
from city_chain.stages import messages
from city_chain.stages.inventories import BYTES_MAX, ENTRY_LEN

__all__ = ["ROW", "Inventory", "taking_in"]

ROW = b"i"
"""Where the filter is kept, in the node's own space."""

_FRAGMENT = b"f"
_KEY_TAIL = -len(_FRAGMENT) - ENTRY_LEN
_ROOM_MIN = 512
_KEYS_AT_ONCE = 4_096
_SEEDS = 4

_log = logging.getLogger("city_chain")


class _Making:
    """A filter that is being made anew.

    Args:
        missed: Entries that the scan may not see: their rows are being written.
    """

    def __init__(self, missed: Iterable[bytes]) -> None:
        self.after: bytes | None = None
        self.seen = bytearray()
        self.missed = list(missed)


class Inventory:
    """The filter of one node's fragments. Safe to use from several threads.

    Args:
        storage: The node's own space.
        node: The node's id.
        tip: The digest of the ledger's tip; a filter that was kept at another one is not used.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> inventory = Inventory(MemoryStorage(), bytes(32))
        >>> entry = bytes(34)
        >>> inventory.begin([entry])
        []
        >>> entry in cbf.Cuckoo.from_bytes(inventory.summary() or b"")
        True
    """

    def __init__(self, storage: Storage, node: bytes, tip: Callable[[], bytes] = bytes) -> None:
        self.lock = threading.RLock()
        """Held by whoever deletes fragments, from looking at them until `struck_out` is told."""
        self._storage = storage
        self._seed = int.from_bytes(node[:8], "big")
        self._tip = tip
        self._tip_at_start = tip()
        self._scanning = threading.Lock()
        self._filter: cbf.Cuckoo | None = None
        self._is_loaded = False
        self._is_kept = False
        self._making: _Making | None = None
        # What `begin` was told of and `end` was not yet, by the identity of what was handed in.
        self._writing: dict[int, Sequence[bytes]] = {}

    # --- changes -----------------------------------------------------------------------------------------------------

    def begin(self, entries: Sequence[bytes]) -> list[bytes]:
        """Enters fragments whose rows are about to be written.

        Args:
            entries: The fragments; `end` must be told of this very object.

        Returns:
            The keys of rows to be deleted by the same write.
        """
        with self.lock:
            if not self._is_loaded:
                self._load()
            self._writing[id(entries)] = entries
            if self._making is not None:
                self._making.missed += entries
            self._enter(entries)
            return [ROW] if self._is_kept else []

    def end(self, entries: Sequence[bytes], is_written: bool) -> None:
        """The write that `begin` was told of is over. One that failed may have written all the same."""
        with self.lock:
            self._writing.pop(id(entries), None)
            if is_written:
                self._is_kept = False

    def rows_to_delete(self) -> list[bytes]:
        """The keys of rows to be deleted by the same write as any fragment. Call it under `lock`."""
        self._load()
        return [ROW] if self._is_kept else []

    def struck_out(self, entries: Iterable[bytes]) -> None:
        """Fragments whose rows were deleted. Call it under `lock`.

        While a filter is being made they stay in it: the scan may have seen them before or after.
        """
        self._is_kept = False
        held = self._filter
        if held is None:
            return
        try:
            for entry in entries:
                held.remove(entry)
        except InputError:
            _log.warning("an inventory did not have a fragment that was let go; it is made anew")
            self._filter = None

    def _enter(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            if self._filter is None:
                return
            try:
                self._filter.insert(entry)
            except (InputError, UnavailableError):
                # Full, or there as often as it can be: one that goes would take another with it that is alike. The next
                # filter, which is made when it is asked for, has more room or another seed.
                self._filter = None

    # --- what others ask for -----------------------------------------------------------------------------------------

    def summary(self) -> bytes | None:
        """The filter's encoding; None while it is being made, which every call goes on with.

        Raises:
            UnavailableError: It is too large to be sent.
        """
        if not self._is_ready():
            self._advance()
        with self.lock:
            if self._filter is None:
                return None
            if self._filter.table_len + 64 > BYTES_MAX:
                raise UnavailableError("inventory: it is too large to be sent", self._filter.table_len + 64, BYTES_MAX)
            return self._filter.to_bytes()

    def may_hold(self, entry: bytes) -> bool:
        """Whether the node may hold a fragment. False is certain."""
        with self.lock:
            self._load()
            return self._filter is None or entry in self._filter

    def _is_ready(self) -> bool:
        with self.lock:
            self._load()
            return self._filter is not None

    def _load(self) -> None:
        """Looks for the kept filter, once. Call it under `lock`."""
        if self._is_loaded:
            return
        (row,) = self._storage.get_many([ROW])
        self._is_kept = row is not None
        if row is not None:
            self._filter = _read(row, self._tip_at_start)
        elif next(iter(self._storage.scan(_FRAGMENT, limit=1)), None) is None:
            self._filter = cbf.Cuckoo(_ROOM_MIN, seed=self._seed)
        self._is_loaded = True

    def _advance(self) -> None:
        """Goes on with making the filter anew, by one scan of bounded length."""
        if not self._scanning.acquire(blocking=False):
            return
        try:
            with self.lock:
                if self._filter is not None:
                    return
                making = self._making = self._making or _Making(chain.from_iterable(self._writing.values()))
            count = 0
            for key, _ in self._storage.scan(_FRAGMENT, after=making.after, limit=_KEYS_AT_ONCE):
                if len(key) == 1 + ENTRY_LEN:
                    making.seen += key[1:]
                making.after = key
                count += 1
            if count < _KEYS_AT_ONCE:
                with self.lock:
                    self._making = None
                    self._filter = self._made(making)
                    self._enter(making.missed)
        finally:
            self._scanning.release()

    def _made(self, making: _Making) -> cbf.Cuckoo | None:
        """A filter with as much room again as it needs; None if no seed will do, which takes an adversary."""
        room = max(_ROOM_MIN, 2 * (len(making.seen) // ENTRY_LEN + len(making.missed)))
        for at in range(_SEEDS):
            made = cbf.Cuckoo(room, seed=(self._seed + at) % (1 << 64))
            try:
                made.insert_many(making.seen, width=ENTRY_LEN)
            except (InputError, UnavailableError):
                continue
            return made
        return None

    # --- keeping -----------------------------------------------------------------------------------------------------

    def rows_to_keep(self) -> dict[bytes, bytes]:
        """The row that keeps the filter over a restart, if there is one and it is not kept already."""
        with self.lock:
            if not self._is_loaded and self._tip() != self._tip_at_start:
                self._load()  # nobody needed it, but it would not be used at another end of the ledger
            if self._filter is None or (self._is_kept and self._tip() == self._tip_at_start):
                return {}
            self._is_kept = True  # from now on whatever changes a fragment takes it away
            return {ROW: messages.message("inventory", [self._tip(), self._filter.to_bytes()])}


def _read(row: bytes, tip: bytes) -> cbf.Cuckoo | None:
    """The filter of a row; None if the row is damaged, or was kept at another end of the ledger."""
    try:
        kept_at, encoded = messages.answer(row, "inventory", 2)
        found = cbf.Cuckoo.from_bytes(encoded)
    except (InputError, ProtocolError) as error:
        _log.warning("a kept inventory is damaged and will be made anew: %s", error)
        return None
    return found if kept_at == tip else None


@contextmanager
def taking_in(inventories: Mapping[bytes, Inventory], rows: Mapping[bytes, bytes]) -> Iterator[list[bytes]]:
    """Enters the fragments among `rows` for the time of writing them; gives the keys to be deleted by the same write.

    Args:
        inventories: By the prefix of the node's space.
        rows: What is to be written, with the prefixes.
    """
    by_space: dict[bytes, list[bytes]] = {}
    for key in rows:
        space = key[:_KEY_TAIL]
        if space in inventories and key[_KEY_TAIL:-ENTRY_LEN] == _FRAGMENT:
            by_space.setdefault(space, []).append(key[-ENTRY_LEN:])
    touched = [(inventories[space], entries) for space, entries in by_space.items()]
    gone = [
        space + key
        for (inventory, entries), space in zip(touched, by_space, strict=True)
        for key in inventory.begin(entries)
    ]
    is_written = False
    try:
        yield gone
        is_written = True
    finally:
        for inventory, entries in touched:
            inventory.end(entries, is_written)
