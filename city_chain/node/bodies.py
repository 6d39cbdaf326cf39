"""The bodies of batches that delegates voted on: batch and evidence, kept until the batch is committed.

What a delegate voted for must be carried on with, and nothing can make it anew. A body is written with the rows of
those who vote for it, and deleted with the first write after its height is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from city_chain import records
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


class Bodies:
    """The bodies of one process, for all of its nodes. Used by one thread at a time.

    Args:
        storage: What the nodes' spaces are part of.
        ledger: What is committed.
        judge: Judges batches.
        put: How rows are written (see `node.Host`).
    """

    def __init__(self, storage: Storage, ledger: Ledger, judge: Judge, put: Put) -> None:
        self._storage = storage
        self._ledger = ledger
        self._judge = judge
        self._put = put
        kept = (key for prefix in (LED, VOTED) for key, _ in storage.scan(prefix))
        self._kept = dict.fromkeys(kept, ledger.tip.height + 1)
        self._owed: dict[bytes, bytes] = {}
        self._offered: dict[bytes, tuple[int, bytes]] = {}
        self._right: tuple[bytes, bytes] | None = None

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
        if self._right is not None and self._right == (tip, body):
            return records.Batch.from_bytes(parts[0]).digest
        case = Case.of(parts)
        self._judge.check(case)
        self._right = tip, body
        return case.batch.digest

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
        for row in self._storage.get_many([LED + digest, VOTED + digest]):
            if row is not None and _is_body_of(row, digest):
                return row
        return None

    def write(self, rows: Mapping[bytes, bytes], delete: Iterable[bytes] = ()) -> None:
        """Writes rows, and the bodies that they rest on, at once; bodies that are committed go.

        Should the write fail, the bodies are due again with the next one.
        """
        rows = {**rows, **self._owed}
        gone = list(delete)
        if not rows and not gone:
            return
        height = self._ledger.tip.height
        done = [key for key, at in self._kept.items() if at <= height and key not in self._owed]
        self._put(rows, delete=[*done, *gone])
        self._kept = {key: at for key, at in self._kept.items() if key not in done}
        self._kept.update(dict.fromkeys(self._owed, height + 1))
        self._owed.clear()


def _is_body_of(row: bytes, digest: bytes) -> bool:
    """Whether a row is whole and the batch in it is the one of that digest."""
    try:
        return Case.of(messages.answer(row, "body")).batch.digest == digest
    except CityChainError:
        return False
