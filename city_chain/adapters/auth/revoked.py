"""What is revoked: single tokens until they run out, and nodes until they are allowed again. A bounded list.

In a storage, the key ``t`` + SHA-256 of the token's id holds until when it counts (u64, big-endian, Unix milliseconds),
and ``n`` + node id nothing; all under the prefix ``revoked/``. A row is durable before anybody relies on it.
"""

from __future__ import annotations

import heapq
from hashlib import sha256
from threading import Lock

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.ports import Clock, Storage

__all__ = ["REVOKED_MAX", "Revoked"]

REVOKED_MAX = 1_000_000
"""Most tokens, and most nodes, that a list can be made for."""

_PREFIX = b"revoked/"
_TIME_MAX = (1 << 63) - 1
_SWEEP = 16
"""So many that have run out go whenever one comes, so that the list shrinks faster than it grows."""


class Revoked:
    """A list of revoked tokens and nodes. Safe to use from several threads.

    Args:
        storage: Keeps the list; None: memory only.
        clock: Physical time (default: the system's).
        most: Most tokens, and most nodes, on the list.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: `most` is out of range.
        StorageError: What the storage holds is damaged.

    Example:
        >>> revoked = Revoked()
        >>> revoked.revoke_token("one", until_ms=SystemClock().now_ms() + 60_000)
        >>> revoked.revoke_node(bytes(32))
        >>> revoked.has_token("one"), revoked.has_token("two"), revoked.has_node(bytes(32))
        (True, False, True)
    """

    def __init__(self, storage: Storage | None = None, *, clock: Clock | None = None, most: int = 100_000) -> None:
        if isinstance(most, bool) or not isinstance(most, int):
            raise TypeError(f"most must be an int, not {type(most).__name__}")
        if not 1 <= most <= REVOKED_MAX:
            raise InputError(f"most must be 1 to {REVOKED_MAX}, not {most}")
        if clock is not None and not isinstance(clock, Clock):
            raise TypeError(f"clock must be a ports.Clock or None, not {type(clock).__name__}")
        self._clock: Clock = SystemClock() if clock is None else clock
        self._storage = NamespacedStorage(MemoryStorage() if storage is None else storage, _PREFIX)
        self._most = most
        self._lock = Lock()
        self._tokens: dict[bytes, int] = {}
        self._ends: list[tuple[int, bytes]] = []
        self._nodes: set[bytes] = set()
        for key, value in self._storage.scan(b"t"):
            if len(key) != 33 or len(value) != 8:
                raise StorageError(f"the list of revoked tokens is damaged ({len(key)} and {len(value)} bytes)")
            self._tokens[key[1:]] = int.from_bytes(value, "big")
        self._nodes.update(key[1:] for key, _ in self._storage.scan(b"n"))
        self._ends = [(until, mark) for mark, until in self._tokens.items()]
        heapq.heapify(self._ends)

    def __len__(self) -> int:
        """How many tokens and nodes are on the list, tokens that have run out included."""
        return len(self._tokens) + len(self._nodes)

    def has_token(self, token: str) -> bool:
        """Whether a token, by its id (`jti`), is revoked."""
        return bool(self._tokens) and _mark(token) in self._tokens

    def has_node(self, node: bytes) -> bool:
        """Whether a node is revoked."""
        return node in self._nodes

    def revoke_token(self, token: str, until_ms: int) -> None:
        """Revokes a token by its id.

        Args:
            token: Its `jti`.
            until_ms: When no verifier takes it any more anyway, Unix milliseconds: it leaves the list then.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            UnavailableError: The list is full.
            StorageError: It cannot be kept; nothing was changed.
        """
        if not isinstance(token, str):
            raise TypeError(f"a token's id must be a str, not {type(token).__name__}")
        if isinstance(until_ms, bool) or not isinstance(until_ms, int):
            raise TypeError(f"until_ms must be an int, not {type(until_ms).__name__}")
        if not 0 <= until_ms <= _TIME_MAX:
            raise InputError(f"until_ms must be 0 to {_TIME_MAX}, not {until_ms}")
        mark = _mark(token)
        with self._lock:
            known = self._tokens.get(mark, -1)
            if until_ms <= known:
                return
            over = self._over()
            if known < 0 and len(self._tokens) - len(over) >= self._most:
                raise UnavailableError(f"the list of revoked tokens is full: it has {self._most}", needed=1, had=0)
            try:
                rows = {b"t" + mark: until_ms.to_bytes(8, "big")}
                self._storage.put_many(rows, delete=[b"t" + gone for gone in over if gone != mark])
            except BaseException:
                for gone in over:
                    heapq.heappush(self._ends, (self._tokens[gone], gone))
                raise
            for gone in over:
                del self._tokens[gone]
            self._tokens[mark] = until_ms
            heapq.heappush(self._ends, (until_ms, mark))

    def _over(self) -> list[bytes]:
        """Some tokens that have run out; stale places in the queue go by the way."""
        now = self._clock.now_ms()
        over: list[bytes] = []
        for _ in range(_SWEEP):
            if not self._ends or self._ends[0][0] > now:
                break
            until, mark = heapq.heappop(self._ends)
            if self._tokens.get(mark) == until and mark not in over:
                over.append(mark)
        return over

    def revoke_node(self, node: bytes) -> None:
        """Revokes all tokens of a node, those to come too, until `allow_node`.

        Raises:
            TypeError: It is not bytes.
            InputError: It has not 1 to 64 bytes.
            UnavailableError: The list is full.
            StorageError: It cannot be kept; nothing was changed.
        """
        node = _checked_node(node)
        with self._lock:
            if node not in self._nodes and len(self._nodes) >= self._most:
                raise UnavailableError(f"the list of revoked nodes is full: it has {self._most}", needed=1, had=0)
            self._storage.put_many({b"n" + node: b""})
            self._nodes.add(node)

    def allow_node(self, node: bytes) -> None:
        """Takes a node off the list; tokens that were revoked by their id stay so.

        Raises:
            TypeError: It is not bytes.
            InputError: It has not 1 to 64 bytes.
            StorageError: It cannot be kept; nothing was changed.
        """
        node = _checked_node(node)
        with self._lock:
            self._storage.delete_many([b"n" + node])
            self._nodes.discard(node)


def _mark(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()


def _checked_node(node: bytes) -> bytes:
    if not isinstance(node, bytes):
        raise TypeError(f"a node id must be bytes, not {type(node).__name__}")
    if not 0 < len(node) <= 64:
        raise InputError(f"a node id has 1 to 64 bytes, this one has {len(node)}")
    return node
