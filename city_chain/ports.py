"""The ports: what city-chain needs from the world, as Protocols.

An adapter (``city_chain.adapters``) implements one of them; the embedded defaults need no server. All ports are
synchronous and may be called from several threads at once. This module is a leaf.

Example:
    >>> from city_chain.adapters.storage.memory import MemoryStorage
    >>> from city_chain.ports import Storage
    >>> isinstance(MemoryStorage(), Storage)
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "Auth",
    "Clock",
    "ClockStatus",
    "DeferringStorage",
    "Entropy",
    "Gather",
    "Grant",
    "Handler",
    "KeptClock",
    "Presence",
    "PresenceDelta",
    "PresenceEntry",
    "PresencePage",
    "Put",
    "Request",
    "Response",
    "Storage",
    "TimeInterval",
    "Transport",
]


# --- time and randomness ---------------------------------------------------------------------------------------------


@runtime_checkable
class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Physical time in milliseconds since the Unix epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...


type ClockStatus = Literal["synchronised", "unsynchronised", "unknown"]
"""What is known of a clock. Only the first is good: unsynchronised is known to be bad, unknown is not known at all."""


class TimeInterval(NamedTuple):
    """Two instants between which the true time lies (TrueTime: Corbett et al., Spanner, OSDI 2012).

    Args:
        earliest_ns: The true time is this or later, nanoseconds since the Unix epoch.
        latest_ns: The true time is this or earlier.
        status: Whether that is known; the instants of a clock that is not synchronised bind nobody.

    Example:
        >>> TimeInterval(10, 30, "synchronised").width_ns
        20
    """

    earliest_ns: int
    latest_ns: int
    status: ClockStatus

    @property
    def width_ns(self) -> int:
        """How far the two are apart, nanoseconds."""
        return self.latest_ns - self.earliest_ns


@runtime_checkable
class KeptClock(Clock, Protocol):
    """A clock that says how wrong it can be. While it is not synchronised, `now_ms` raises `UnavailableError`."""

    def interval(self) -> TimeInterval:
        """Between which instants the true time lies."""
        ...


@runtime_checkable
class Entropy(Protocol):
    """Where randomness comes from."""

    def bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can predict."""
        ...


# --- storage ---------------------------------------------------------------------------------------------------------


@runtime_checkable
class Storage(Protocol):
    """An ordered map from bytes to bytes, durable when a writing call returns.

    Keys are 1 to 512 bytes, values up to 256 MiB. Every writing call is atomic: all of it or nothing. Errors are
    `StorageError` (the engine failed: full, read-only, locked, closed, newer version) and `InputError` (wrong key).
    """

    @property
    def durable(self) -> bool:
        """Whether what was written survives the loss of power."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys` in their order; None where there is none."""
        ...

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Writes all `items` and removes all of `delete`, at once. A key in both is written."""
        ...

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Removes `keys`, at once; absent ones are ignored."""
        ...

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        """Writes `value` if the present value equals `expected` (None: absent); returns whether it did."""
        ...

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key starts with `prefix` (and is greater than `after`) in ascending key order.

        Sees the state of when each page is read; writing while iterating is allowed.
        """
        ...

    def close(self) -> None:
        """Releases the storage. Closing twice is allowed; any other call afterwards raises `StorageError`."""
        ...


@runtime_checkable
class DeferringStorage(Storage, Protocol):
    """A storage that can put a write in its place without waiting until the disk has it.

    The order is the promise. What `defer_many` wrote is there for every reader at once, outlives the process, and comes
    before every later write. After a loss of power the storage is as it was after some write: all before it is there,
    nothing after it is. So whatever makes a later write durable (`put_many`, `delete_many`, `put_if`), or `sync`, makes
    everything durable that was deferred before. What is not durable yet must not be told to anybody who outlives the
    loss of power.

    A storage that cannot keep the order need not offer this: whoever would defer then uses `put_many`.
    """

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """`put_many` that does not wait for the disk."""
        ...

    def sync(self) -> None:
        """Returns when everything that was written before is durable; at once where it is already."""
        ...


class Put(Protocol):
    """How rows are written: `Storage.put_many`, or `DeferringStorage.defer_many` where the order is enough."""

    def __call__(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        """Writes all `items` and removes all of `delete`, at once."""


# --- transport -------------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """One message to one address."""

    address: str
    body: bytes


class Response(NamedTuple):
    """What came of one request: either a body or the error that stood in its way, never both.

    `ticket` says which request of the gather it was, counted from 0 in the order in which they were sent.
    """

    ticket: int
    address: str
    body: bytes | None
    error: Exception | None = None


Handler = Callable[[Sequence[Request]], Sequence[bytes]]
"""Answers a burst of requests that arrived together, each for an address the handler serves: one answer each, in order.
"""


@runtime_checkable
class Gather(Protocol):
    """A fan-out under way. Used by one thread at a time."""

    @property
    def pending(self) -> int:
        """How many requests have not yet yielded their response."""
        ...

    def send(self, requests: Sequence[Request]) -> int:
        """Sends more requests under the same deadline, all at once; returns the ticket of the first."""
        ...

    def take(self, until: float) -> Iterator[Response]:
        """Yields responses in order of arrival, until none is pending or the instant `until` has passed.

        What has arrived already is yielded even if `until` has passed, so ``take(0.0)`` never waits. A caller that has
        enough just stops iterating, and may call `take` again later. Once the gather's deadline has passed, every
        request without an answer yields a `DeadlineError`.
        """
        ...


@runtime_checkable
class Transport(Protocol):
    """Carries bytes to addresses and answers back. Deadlines are instants of `Clock.monotonic`."""

    def request(self, address: str, body: bytes, deadline: float) -> bytes:
        """Sends one body and waits for the answer.

        Raises:
            UnavailableError: Nobody serves the address, or it refused the connection.
            DeadlineError: No answer by the deadline.
        """
        ...

    def gather(self, requests: Sequence[Request], deadline: float) -> Gather:
        """Sends all requests at once and returns without waiting for answers that take time."""
        ...

    def serve(self, handler: Handler, address: str | None = None) -> str:
        """Starts to answer under `address` (default: a new one), which is returned. One handler may serve many."""
        ...

    def stop(self, address: str) -> None:
        """Stops answering under `address`; unknown addresses are ignored."""
        ...

    def close(self) -> None:
        """Stops everything. Closing twice is allowed."""
        ...


# --- presence --------------------------------------------------------------------------------------------------------


class PresenceEntry(NamedTuple):
    """One logged-in node: its id, region and signed record, as Presence keeps them (it does not judge the record)."""

    node: bytes
    region: str
    sequence: int
    record: bytes


class PresencePage(NamedTuple):
    """Part of a region's list, in ascending node order, and the cookie for what follows (None: that was all)."""

    entries: list[PresenceEntry]
    cookie: bytes | None


class PresenceDelta(NamedTuple):
    """What is new in a region since a reader's cookie.

    Args:
        entries: Came or changed, as they are now.
        removed: Nodes that are not in the region any more. The reader may not have had them.
        cookie: For the next call.
        anew: The reader is to forget what it has of the region first: it has nothing yet, or what it has is too old.
        more: The next call has more already; until it is False, what the reader has may be of no one moment.

    Example:
        >>> copy = {b"old": PresenceEntry(b"old", "tokyo", 1, b"signed")}
        >>> PresenceDelta([PresenceEntry(b"new", "tokyo", 1, b"signed")], [b"old"], b"cookie", False, False).apply(copy)
        >>> list(copy)
        [b'new']
    """

    entries: list[PresenceEntry]
    removed: list[bytes]
    cookie: bytes
    anew: bool
    more: bool

    def apply(self, copy: dict[bytes, PresenceEntry]) -> None:
        """Brings what a reader has of the region up to date: entries by node."""
        if self.anew:
            copy.clear()
        for node in self.removed:
            copy.pop(node, None)
        copy.update((entry.node, entry) for entry in self.entries)


@runtime_checkable
class Presence(Protocol):
    """The list of nodes that are logged in, by region, with leases.

    Times are instants of the caller's `Clock.monotonic`. An entry past its deadline is hidden at once and swept by
    `expire`. Only a higher sequence replaces an entry, and a tombstone keeps removed sequences from coming back. A node
    is in at most one region. Live entries are never evicted for new ones.
    """

    def register(
        self, now: float, entry: PresenceEntry, *, ttl: float, if_revision: int | None = None
    ) -> tuple[int, float]:
        """Adds or replaces a node's entry.

        Args:
            now: The present instant, seconds.
            entry: What to keep.
            ttl: The lease asked for, seconds; what is granted may be less.
            if_revision: When given, the revision that the present entry must have (0: absent).

        Returns:
            The new revision (rises with every change of the list) and the granted lease in seconds.

        Raises:
            InputError: A field is too long, the sequence is not higher than any seen before, the revision is another,
                or the region is full.
            VerificationError: The owner of the presence wants records checked, and this one is wrong.
        """
        ...

    def renew(self, now: float, node: bytes, *, ttl: float) -> float:
        """Extends a live entry's lease and returns what was granted. At the instant of its deadline it is too late.

        Raises:
            UnavailableError: There is no live entry of that node.
        """
        ...

    def remove(self, now: float, node: bytes, sequence: int) -> None:
        """Removes a node's entry (logout) and remembers `sequence` as used.

        Raises:
            InputError: The sequence is lower than that of the present entry.
        """
        ...

    def list(self, now: float, region: str, *, limit: int = 1000, cookie: bytes | None = None) -> PresencePage:
        """The live entries of `region`, by ascending node id; a page may be short, or empty, and yet have a cookie."""
        ...

    def find(self, now: float, node: bytes) -> PresenceEntry | None:
        """The live entry of a node, in whatever region; None if it is not logged in."""
        ...

    def changes(self, now: float, region: str, *, limit: int = 1000, cookie: bytes | None = None) -> PresenceDelta:
        """What came to, changed in and left `region` since `cookie` was given (None: all that is there).

        Whoever applies one answer after the other (`PresenceDelta.apply`), until none says `more`, has what `list`
        gives at `now`. How far back a presence knows is bounded: a cookie that is older, of a presence that was opened
        anew, or of another region or presence, makes the reader start anew.

        Raises:
            InputError: The cookie is none of `changes`.
        """
        ...

    def revision(self) -> int:
        """Rises with every change of the list, so that a reader can keep what it has.

        That is: register, remove, and `expire` when it sweeps an entry. An entry past its deadline is hidden before
        that, so call `expire` first where it matters.
        """
        ...

    def expire(self, now: float, limit: int) -> int:
        """Sweeps at most `limit` expired entries and tombstones; returns how many went."""
        ...

    def close(self) -> None:
        """Releases the list. Closing twice is allowed."""
        ...


# --- authentication --------------------------------------------------------------------------------------------------


class Grant(NamedTuple):
    """What a token that was shown says, once it is verified.

    Args:
        node: Whose it is: the id of a node or of a sender, 32 bytes.
        token: The token's own id (`jti`).
        expires_ms: When it runs out, Unix milliseconds.

    Example:
        >>> Grant(bytes(32), "a-token", 1_800_000_000_000).token
        'a-token'
    """

    node: bytes
    token: str
    expires_ms: int


@runtime_checkable
class Auth(Protocol):
    """Says whose a token is, and remembers what is revoked."""

    def check(self, token: str | bytes) -> Grant:
        """What a token says.

        Raises:
            VerificationError: It is forged, malformed, has run out, is for somebody else, or is revoked.
            UnavailableError: The keys that it would be checked against cannot be had.
        """
        ...

    def revoke(self, grant: Grant) -> None:
        """Refuses that token from now on.

        Raises:
            UnavailableError: No more can be remembered.
            StorageError: It cannot be kept.
        """
        ...

    def revoke_node(self, node: bytes) -> None:
        """Refuses all tokens of a node from now on, those to come too. Raises as `revoke`."""
        ...
