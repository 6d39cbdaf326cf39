"""The holder: keeps fragments for others and says so.

Fragments come sealed under a session with their sender (`stages.sessions`), and are stored as they are once opened. A
fragment is stored with the request that asked for it, so a node can show why it holds it and knows what hash it must
have. Leases end: a burst's rows are listed under the time until which they are held, and swept after it, save what is
committed.

=============================  ==================================================
key (in the node's own space)  value
=============================  ==================================================
``f`` tx_id index              message ``held``: hold request, fragment
``x`` hold_until key           the keys of the rows whose lease ends then
=============================  ==================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import batched

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, UnavailableError, VerificationError
from city_chain.node.inventory import Inventory
from city_chain.ports import Storage
from city_chain.proofs import poh
from city_chain.stages import messages

__all__ = ["Holder", "Wanted", "fragment_key", "fragment_keys", "leased"]

type Wanted = tuple[
    records.Identity,
    poh.OpenedSessions,
    int,
    Sequence[poh.HoldRequest],
    Sequence[bytes],
    Sequence[bytes],
    Sequence[bytes | None],
    Sequence[str | None],
]
"""What one node is asked to hold, as `records.hold_burst` takes it."""

_KEY_LEN = 1 + 32 + 2
_READ_AT_ONCE = 16
_ANSWER_BYTES_MAX = 2 * messages.BODY_BYTES_SOFT_MAX + (32 << 20)


def fragment_key(tx_id: bytes, index: int) -> bytes:
    """Where a fragment is kept.

    Example:
        >>> len(fragment_key(bytes(32), 3))
        35
    """
    return b"f" + tx_id + index.to_bytes(2, "big")


def fragment_keys(requests: Sequence[poh.HoldRequest]) -> list[bytes]:
    """Where the fragments of some requests are kept.

    Example:
        >>> fragment_keys([])
        []
    """
    return [b"f" + request.tx_id + request.index.to_bytes(2, "big") for request in requests]


def leased(
    requests: Sequence[poh.HoldRequest], keys: Sequence[bytes], rows: Sequence[bytes | None]
) -> dict[bytes, bytes]:
    """The rows to write with their keys, and those that tell until when they are held.

    Args:
        requests: What is asked.
        keys: Where each fragment is kept.
        rows: What is to be written there; None where nothing is.

    Example:
        >>> leased([], [], [])
        {}
    """
    found: dict[bytes, bytes] = {}
    leases: dict[int, list[bytes]] = {}
    for request, key, row in zip(requests, keys, rows, strict=True):
        if row is not None:
            found[key] = row
            leases.setdefault(request.hold_until_ms, []).append(key)
    for until, held in leases.items():
        found[b"x" + until.to_bytes(8, "big") + held[0]] = b"".join(held)
    return found


class Holder:
    """The holding half of one node.

    Args:
        identity: The node's keys.
        storage: The node's own space.
        tip: The digest of the ledger's tip (see `Inventory`).
    """

    def __init__(self, identity: records.Identity, storage: Storage, tip: Callable[[], bytes] = bytes) -> None:
        self._identity = identity
        self._storage = storage
        self._sessions = poh.OpenedSessions()
        self.inventory = Inventory(storage, identity.id, tip)

    def wanted(
        self,
        requests: Sequence[poh.HoldRequest],
        fragments: Sequence[bytes],
        offered: Sequence[bytes],
        verdicts: Sequence[CityChainError | None],
        hlc: int,
        kept: Sequence[bytes | None],
    ) -> Wanted:
        """What `records.hold_burst` is to be asked for this node; it signs all acks with one signature.

        Args:
            requests: What is asked.
            fragments: The fragment of each, as it came.
            offered: The sealed session that came with each, or nothing.
            verdicts: Why a request is refused already; None where it is not.
            hlc: The node's stamp.
            kept: The rows that the node has of these fragments (see `fragment_keys`).
        """
        refusals = [None if verdict is None else messages.reason(verdict) for verdict in verdicts]
        return self._identity, self._sessions, hlc, requests, fragments, offered, kept, refusals

    def _read(self, row: bytes) -> tuple[poh.HoldRequest, bytes] | None:
        """A row's request and fragment; None if the row is damaged."""
        try:
            request, fragment = messages.answer(row, "held", 2)
            return poh.HoldRequest.from_bytes(request), fragment
        except (InputError, ProtocolError):
            return None

    def fetch(self, items: Sequence[tuple[bytes, int]]) -> list[bytes]:
        """The fragments asked for, as they are stored; empty where there is none or its row is damaged.

        Raises:
            ProtocolError: They are more bytes than one answer may have.
        """
        found = []
        size = 0
        for some in batched(items, _READ_AT_ONCE):
            rows = self._storage.get_many([fragment_key(tx_id, index) for tx_id, index in some])
            pairs = [None if row is None else self._read(row) for row in rows]
            found += [b"" if pair is None else pair[1] for pair in pairs]
            size += sum(len(fragment) for fragment in found[-len(some) :])
            if size > _ANSWER_BYTES_MAX:
                raise ProtocolError(f"fetch: more than {_ANSWER_BYTES_MAX} bytes are asked for at once; ask for fewer")
        return found

    def countersign(self, index: int, ack: poh.Ack) -> records.Countersignature:
        """Countersigns an ack of one's own, for a fragment that is still held and whole.

        Args:
            index: The fragment that is asked about.
            ack: What was said when it was stored.

        Raises:
            InputError: The ack is another node's.
            VerificationError: It is of another fragment, its signature is wrong, or the fragment is not what it was.
            UnavailableError: The fragment is not held here any more.
        """
        if ack.index != index:
            raise VerificationError(f"ack: of fragment {ack.index}, not of {index}")
        (fragment,) = self.fetch([(ack.tx_id, index)])
        if not fragment:
            raise UnavailableError(f"fragment {index} of {ack.tx_id.hex()} is not held here", 1, 0)
        poh.verify_fragment(ack.fragment_hash, fragment, index)
        return records.Countersignature.of_ack(self._identity, ack)

    def release(self, request: records.RepairRequest) -> list[bytes]:
        """The keys of those items that the requester itself asked to hold, before it asked to let go: to be deleted."""
        keys = [fragment_key(tx_id, index) for tx_id, index in request.items]
        rows = self._storage.get_many(keys)
        found = [(key, self._read(row)) for key, row in zip(keys, rows, strict=True) if row is not None]
        return [
            key
            for key, pair in found
            if pair is not None and pair[0].sender == request.requester and pair[0].hlc < request.hlc
        ]

    def expire(self, now_ms: int, committed: Callable[[Sequence[bytes]], Sequence[bool]], limit: int = 1000) -> int:
        """Deletes fragments whose lease has ended; returns how many.

        Fragments of what is committed stay: a clock that is wrong for a moment must not cost them.

        Args:
            now_ms: The present time, UTC epoch milliseconds.
            committed: Tells of transactions whether they are committed.
            limit: The most leases to look at in one call.
        """
        with self.inventory.lock:
            return self._expire(now_ms, committed, limit)

    def _expire(self, now_ms: int, committed: Callable[[Sequence[bytes]], Sequence[bool]], limit: int) -> int:
        gone: list[bytes] = []
        fragments: list[bytes] = []
        for key, held in self._storage.scan(b"x", limit=limit):
            if int.from_bytes(key[1:9], "big") > now_ms:
                break
            gone.append(key)
            keys = [held[at : at + _KEY_LEN] for at in range(0, len(held), _KEY_LEN)]
            stays = committed([key[1:33] for key in keys])
            for fragment, row, stay in zip(keys, self._storage.get_many(keys), stays, strict=True):
                pair = None if row is None else self._read(row)
                if pair is not None and pair[0].hold_until_ms <= now_ms and not stay:
                    fragments.append(fragment)
        if fragments:
            gone += fragments + self.inventory.rows_to_delete()
        if gone:
            self._storage.delete_many(gone)
        if fragments:
            self.inventory.struck_out([fragment[1:] for fragment in fragments])
        return len(fragments)

    def count(self) -> int:
        """How many fragments are held."""
        return sum(1 for _ in self._storage.scan(b"f"))
