"""Sessions: what a sender shares with the nodes that it sends to, so that fragments travel sealed (S3, S4, R4).

Making a session costs a key encapsulation, opening it a decapsulation, so each is kept for a while: `Sessions` gives
the session with a node, makes it anew when it is old, much used, or the node shows another key, and remembers which of
them their nodes know. A message tells its session for as long as no ack came under it; a node that has forgotten it (it
was started again, or has heard of many others) says so, and is told again.

Requests name the session that they were signed with, so one that was replaced stays good for those on their way.

Example:
    >>> from city_chain import records
    >>> from city_chain.adapters.clock import SystemClock
    >>> from city_chain.stages.sessions import Sessions
    >>> node = records.Identity(bytes(32))
    >>> sessions = Sessions(bytes(32), bytes(32), SystemClock())
    >>> (session,) = sessions.with_nodes([node.id], {node.id: node.kem_public()})
    >>> sessions.with_nodes([node.id], {node.id: node.kem_public()}) == [session], sessions.is_known(session.id)
    (True, False)
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from city_chain.errors import CityChainError
from city_chain.ports import Clock
from city_chain.proofs import poh
from city_chain.stages.patience import PATIENCE_MAX_S

__all__ = ["AGE_MAX_S", "USES_MAX", "Sessions"]

AGE_MAX_S = 600.0
"""How long a session is used, seconds."""

USES_MAX = 1 << 20
"""How many fragments a session seals."""

_OUT_OF_USE_S = 2 * PATIENCE_MAX_S
"""How long a session that was replaced is kept for the requests that name it."""


@dataclass(slots=True)
class _Kept:
    """A session in use, the key that it was sealed to, when it was made, and how many fragments it has sealed."""

    session: poh.Session
    key: bytes
    made_at: float
    uses: int = 0


class Sessions:
    """The sessions of one sender. Safe to use from several threads.

    Args:
        network: The network's id.
        sender: The sender's id.
        clock: Its monotonic time says how old a session is.
        age_max_s: How long a session is used, seconds.
        uses_max: How many fragments a session seals.
    """

    def __init__(
        self,
        network: bytes,
        sender: bytes,
        clock: Clock,
        *,
        age_max_s: float = AGE_MAX_S,
        uses_max: int = USES_MAX,
    ) -> None:
        self._network = network
        self._sender = sender
        self._clock = clock
        self._age_max_s = age_max_s
        self._uses_max = uses_max
        self._lock = threading.Lock()
        self._kept: dict[bytes, _Kept] = {}
        self._by_id: dict[bytes, poh.Session] = {}
        self._replaced: dict[bytes, float] = {}
        self._known: set[bytes] = set()
        self._refused: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return f"<Sessions with {len(self._kept)} nodes>"

    def with_nodes(self, nodes: Iterable[bytes], keys: Mapping[bytes, bytes]) -> list[poh.Session]:
        """The sessions with some nodes, those that are missing made at once.

        Args:
            nodes: With whom; one that comes several times is used as often.
            keys: The KEM key that each node shows (`records.NodeRecord.kem`).

        Returns:
            One session for each node that has a key to which one can seal (see `why_none`), in no order.
        """
        uses = Counter(nodes)
        with self._lock:
            now = self._clock.monotonic()
            stale = [node for node in uses if not self._serves(node, keys.get(node), uses[node], now)]
            if stale:
                self._make([(node, keys[node]) for node in stale if node in keys], now)
            found = []
            for node, count in uses.items():
                kept = self._kept.get(node)
                if kept is not None:
                    kept.uses += count
                    found.append(kept.session)
            return found

    def _serves(self, node: bytes, key: bytes | None, uses: int, now: float) -> bool:
        kept = self._kept.get(node)
        if kept is None:
            return False
        is_good = (
            kept.key == key
            and now - kept.made_at < self._age_max_s
            and (not kept.uses or kept.uses + uses <= self._uses_max)
        )
        if not is_good:
            del self._kept[node]
            self._replaced[kept.session.id] = now
        return is_good

    def _make(self, wanted: list[tuple[bytes, bytes]], now: float) -> None:
        for node, kept in list(self._kept.items()):  # those of nodes that nobody sends to any more go as well
            self._serves(node, kept.key, 0, now)
        for session_id, since in list(self._replaced.items()):
            if now - since > _OUT_OF_USE_S:
                del self._replaced[session_id]
                self._by_id.pop(session_id, None)
                self._known.discard(session_id)
        for (node, key), made in zip(wanted, poh.seal_sessions(self._network, self._sender, wanted), strict=True):
            if isinstance(made, CityChainError):
                self._refused[node] = str(made)
                continue
            self._refused.pop(node, None)
            self._kept[node] = _Kept(made, key, now)
            self._by_id[made.id] = made

    def why_none(self, node: bytes) -> str:
        """Why there is no session with a node.

        Example:
            >>> from city_chain.adapters.clock import SystemClock
            >>> Sessions(bytes(32), bytes(32), SystemClock()).why_none(bytes(32))
            'no session with node 00000000: it shows no key to seal to'
        """
        return f"no session with node {node.hex()[:8]}: {self._refused.get(node, 'it shows no key to seal to')}"

    def get(self, session_id: bytes) -> poh.Session | None:
        """The session of an id: one in use, or one that was replaced a short while ago."""
        return self._by_id.get(session_id)

    def is_known(self, session_id: bytes) -> bool:
        """Whether the node has shown that it knows the session."""
        return session_id in self._known

    def are_known(self, session_ids: Collection[bytes]) -> None:
        """Acks came under these sessions: their nodes need not be told them again."""
        with self._lock:
            self._known.update(session_id for session_id in session_ids if session_id in self._by_id)

    def are_forgotten(self, session_ids: Collection[bytes]) -> None:
        """The nodes of these sessions say that they do not know them: they are to be told again."""
        with self._lock:
            self._known.difference_update(session_ids)
