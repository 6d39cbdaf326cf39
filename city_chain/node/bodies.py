"""The bodies of batches that delegates voted on: batch and evidence, kept until the batch is committed.

What a delegate voted for must be carried on with, and nothing can make it anew. A body is written with the rows of
those who vote for it, and deleted with the first write after its height is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from city_chain.errors import CityChainError
from city_chain.node.judge import Case, Judge
from city_chain.node.ledger import Ledger
from city_chain.ports import Put, Storage
from city_chain.stages import messages

__all__ = ["LED", "VOTED", "Bodies"]

LED, VOTED = b"v", b"w"
"""Prefixes of the rows under a batch's digest: a body that was led with, and one that was voted on. Two copies, because
what was accepted must be carried on with."""

_OFFERED_MAX = 16
_WAITING_MAX = 256
_WAITING_BYTES_MAX = 1 << 20
"""What may wait for the next write: rows, and bytes of them."""


@dataclass(frozen=True, slots=True)
class _Right:
    """What was found right last, and for which end of the ledger: delegates ask for it again and again."""

    tip: bytes
    body: bytes
    digest: bytes
    case: Case


class Bodies:
    """The bodies of one process, for all of its nodes. Used by one thread at a time.

    Args:
        storage: What the nodes' spaces are part of.
        ledger: What is committed.
        judge: Judges batches.
        put: How rows are written (see `node.Host`).
        may_wait: Whether rows may wait for those that come after them (see `write`).
    """

    def __init__(self, storage: Storage, ledger: Ledger, judge: Judge, put: Put, *, may_wait: bool = False) -> None:
        self._storage = storage
        self._ledger = ledger
        self._judge = judge
        self._put = put
        kept = (key for prefix in (LED, VOTED) for key, _ in storage.scan(prefix))
        self._kept = dict.fromkeys(kept, ledger.tip.height + 1)
        self._owed: dict[bytes, bytes] = {}
        self._may_wait = may_wait
        self._waiting: dict[bytes, bytes | None] = {}
        self._offered: dict[bytes, tuple[int, bytes]] = {}
        self._right: _Right | None = None

    def judged(self, parts: Sequence[bytes], body: bytes) -> bytes:
        """The digest of a batch that may be committed next.

        What was found right for the same end of the ledger a moment ago, by the delegate that leads, is right for all.

        Args:
            parts: The batch and its evidence.
            body: The message ``body`` of these parts.

        Raises:
            CityChainError: The first thing that is wrong with it.
        """
        tip = self._ledger.tip.digest
        right = self._right
        if right is not None and (right.tip, right.body) == (tip, body):
            return right.digest
        case = Case.of(parts)
        self._judge.check(case)
        self._right = _Right(tip, body, case.batch.digest, case)
        return case.batch.digest

    def is_right(self, digest: bytes) -> bool | None:
        """Whether the batch of that digest may be committed next; None if its body is not here."""
        right = self._right
        if right is not None and (right.tip, right.digest) == (self._ledger.tip.digest, digest):
            return True
        body = self.get(digest)
        if body is None:
            return None
        try:
            return self.judged(messages.answer(body, "body"), body) == digest
        except CityChainError:
            return False

    def case(self, digest: bytes) -> Case | None:
        """The batch of that digest with its evidence, if its body is here."""
        if self._right is not None and self._right.digest == digest:
            return self._right.case
        body = self.get(digest)
        return None if body is None else Case.of(messages.answer(body, "body"))

    def offer(self, digest: bytes, body: bytes) -> None:
        """Keeps a body that was judged in memory, so that it can be proposed and voted on; the newest few."""
        height = self._ledger.tip.height
        # What was offered for an earlier end of the ledger is committed, or never will be.
        self._offered = {known: kept for known, kept in self._offered.items() if known != digest and kept[0] >= height}
        self._offered[digest] = height, body
        while len(self._offered) > _OFFERED_MAX:
            del self._offered[next(iter(self._offered))]

    def offered(self) -> list[bytes]:
        """The digests of what was offered for the present end of the ledger, the newest first."""
        height = self._ledger.tip.height
        return [digest for digest, (at, _) in reversed(self._offered.items()) if at == height]

    def keep(self, prefix: bytes, digest: bytes, body: bytes) -> None:
        """A body that is voted on: due with the next write."""
        self._owed[prefix + digest] = body

    def hold(self, prefix: bytes, digest: bytes) -> None:
        """Keeps the body of that batch, if it is here and not kept yet."""
        if prefix + digest in self._kept or prefix + digest in self._owed:
            return
        body = self.get(digest)
        if body is not None:
            self.keep(prefix, digest, body)

    def get(self, digest: bytes) -> bytes | None:
        """The whole body of that batch, if it is here."""
        offered = self._offered.get(digest)
        if offered is not None:
            return offered[1]
        if self._right is not None and self._right.digest == digest:
            return self._right.body
        keys = [LED + digest, VOTED + digest]
        for row in (*map(self._waiting.get, keys), *self._storage.get_many(keys)):
            if row is not None and _is_body_of(row, digest):
                return row
        return None

    def write(self, rows: Mapping[bytes, bytes], delete: Iterable[bytes] = (), *, may_wait: bool = False) -> None:
        """Writes rows, and the bodies that they rest on, at once; bodies that are committed go.

        Should the write fail, all of it is due again with the next one.

        Args:
            rows: What is written.
            delete: What goes.
            may_wait: Whether it may wait for the next write, or `flush`: where all who hear what rests on these rows
                are lost together with them, an order in memory is as good as one on the disk.
        """
        gone = list(delete)
        if rows or gone or self._owed:
            self._take_up(rows, gone)
        if not (may_wait and self._may_wait) or self._is_much():
            self.flush()

    def _take_up(self, rows: Mapping[bytes, bytes], gone: Sequence[bytes]) -> None:
        height = self._ledger.tip.height
        done = [key for key, at in self._kept.items() if at <= height and key not in self._owed]
        self._waiting.update(dict.fromkeys([*done, *gone]))
        self._waiting.update(rows)
        self._waiting.update(self._owed)
        self._kept = {key: at for key, at in self._kept.items() if key not in done}
        self._kept.update(dict.fromkeys(self._owed, height + 1))
        self._owed.clear()

    def _is_much(self) -> bool:
        return (
            len(self._waiting) > _WAITING_MAX
            or sum(len(row) for row in self._waiting.values() if row is not None) > _WAITING_BYTES_MAX
        )

    def flush(self) -> None:
        """Writes what waits."""
        if not self._waiting:
            return
        rows = {key: row for key, row in self._waiting.items() if row is not None}
        with self._ledger.writing():
            self._put(rows, delete=[key for key, row in self._waiting.items() if row is None])
        self._waiting.clear()


def _is_body_of(row: bytes, digest: bytes) -> bool:
    """Whether a row is whole and the batch in it is the one of that digest."""
    try:
        return Case.of(messages.answer(row, "body")).batch.digest == digest
    except CityChainError:
        return False
