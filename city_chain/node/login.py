"""Login: who shows a right token is put on the list of nodes, stays there with its lease, and is taken off at logout.

A lease never outlives the token that it was granted for. The same list says who may ask for anything: a node that is
not on it is refused, however right its token. That is looked up in a short-lived cache, then in Presence, then in a
storage, from which an entry comes back that a Presence in memory has lost with its process.

In the storage, the key ``login/`` + node id holds: version u8, mark of the `Login` that listed it 8 bytes, sequence
u64, end of the token u64 (Unix milliseconds), lease f64 (seconds), length of the region u16, region, record;
little-endian. It is neither hashed nor signed nor sent. The mark keeps an entry whose lease ran out here from coming
back.
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

from city_chain import records
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.ports import Auth, Clock, Grant, Presence, PresenceEntry, Storage

__all__ = ["Lease", "Login", "signed_record"]

_KEY = b"login/"
_VERSION = 2
_HEAD = struct.Struct("<B8sQQdH")
_SEQUENCE_MAX = (1 << 64) - 1
_CACHED_MAX = 4096
_CACHE_S_MAX = 60.0
_SECONDS_MAX = 1e12
_TIDY_MAX = 1_000_000


class Lease(NamedTuple):
    """What a login was granted.

    Args:
        revision: The revision of the list that it made.
        ttl_s: Seconds until the entry is hidden if nobody renews it.

    Example:
        >>> Lease(1, 30.0).ttl_s
        30.0
    """

    revision: int
    ttl_s: float


def signed_record(network: bytes) -> Callable[[PresenceEntry], None]:
    """A check for a presence (`check=`): an entry's record is that node's own, signed, for this network and region.

    Args:
        network: The network's id, 32 bytes.

    Returns:
        A function that raises `VerificationError` for an entry whose record is not so.

    Raises:
        TypeError: `network` is not bytes.
        InputError: It has not 32 bytes.

    Example:
        >>> check = signed_record(bytes(32))
        >>> check(PresenceEntry(bytes(32), "tokyo", 1, b"not a record"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        city_chain.errors.VerificationError: node record: ...
    """
    if not isinstance(network, bytes):
        raise TypeError(f"network must be bytes, not {type(network).__name__}")
    if len(network) != 32:
        raise InputError(f"network must have 32 bytes, not {len(network)}")

    def check(entry: PresenceEntry) -> None:
        try:
            record = records.NodeRecord.from_bytes(entry.record)
        except CityChainError as cause:
            raise VerificationError(f"node record: {cause}") from cause
        said = (record.node, record.region, record.sequence)
        if record.network != network or said != (entry.node, entry.region, entry.sequence):
            raise VerificationError("node record: of another network, node, region or sequence than its entry")
        record.verify()

    return check


class Login:
    """Puts those on a list of nodes who show a token, and says who is on it. Safe to use from several threads.

    Args:
        auth: Checks tokens.
        presence: The list. Give it `signed_record` as its `check`, so that nobody gets in with a wrong record.
        clock: Physical and monotonic time; that of the presence's deadlines.
        storage: Keeps who is logged in for when the presence loses it; None: the presence alone.
        lease_s_max: The longest lease, seconds.
        cache_s: How long an answer of `authorise` may be used again, 0 to 60 seconds: so much later a lease that ran
            out, or a logout by way of another process, is noticed. Logins and logouts by way of this object are at
            once.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: One is out of range.

    Example:
        See `examples/login.py`.
    """

    def __init__(
        self,
        auth: Auth,
        presence: Presence,
        clock: Clock,
        *,
        storage: Storage | None = None,
        lease_s_max: float = 3600.0,
        cache_s: float = 1.0,
    ) -> None:
        for name, value, kind in (("auth", auth, Auth), ("presence", presence, Presence), ("clock", clock, Clock)):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be a ports.{kind.__name__}, not {type(value).__name__}")
        if storage is not None and not isinstance(storage, Storage):
            raise TypeError(f"storage must be a ports.Storage or None, not {type(storage).__name__}")
        if not 0 < _checked_seconds("lease_s_max", lease_s_max) <= 1e9:
            raise InputError(f"lease_s_max must be above 0 and at most 1e9 seconds, not {lease_s_max}")
        if not 0 <= _checked_seconds("cache_s", cache_s) <= _CACHE_S_MAX:
            raise InputError(f"cache_s must be 0 to {_CACHE_S_MAX:g} seconds, not {cache_s}")
        self._auth = auth
        self._presence = presence
        self._clock = clock
        self._storage = storage
        self._lease_s_max = lease_s_max
        self._cache_s = cache_s
        self._writing = threading.Lock()  # held by who changes the presence and the storage
        self._mark = secrets.token_bytes(8)  # tells what was listed here from what another process has listed
        self._tidied: bytes | None = None  # so far
        self._lock = threading.Lock()  # guards the cache
        self._cached: dict[bytes, tuple[float, PresenceEntry]] = {}
        self._changes = 0  # an answer that was looked up before one of them is not cached after it

    def log_in(self, token: str | bytes, entry: PresenceEntry, *, ttl: float) -> Lease:
        """Puts the token's node on the list, or replaces its entry.

        Args:
            token: The token that was shown.
            entry: What to list: of the token's node, with a sequence higher than any before.
            ttl: The lease asked for, seconds; no more is granted than the token has left.

        Raises:
            TypeError: An argument has the wrong type.
            VerificationError: The token is refused (see `ports.Auth.check`), is another node's, or the record is wrong.
            InputError: `ttl` is out of range, or the presence refuses the entry.
            UnavailableError: The issuer's keys cannot be had.
            StorageError: It cannot be kept; the node is not logged in.
        """
        grant = self._auth.check(token)
        if not isinstance(entry, PresenceEntry):
            raise TypeError(f"entry must be a ports.PresenceEntry, not {type(entry).__name__}")
        if entry.node != grant.node:
            raise VerificationError(f"token: it is of node {grant.node.hex()[:16]}, which is not the entry's")
        asked = min(self._allowed(ttl, grant), self._lease_s_max)
        with self._writing:
            now = self._clock.monotonic()
            lease = Lease(*self._presence.register(now, entry, ttl=asked))
            try:
                if self._storage is not None:
                    row = _packed(self._mark, entry, grant.expires_ms, lease.ttl_s)
                    self._storage.put_many({_KEY + entry.node: row})
                self._auth.check(token)  # it may have been revoked since: whoever did that has not seen this entry
            except BaseException:
                self._take_off(entry.node, entry.sequence)
                raise
            self._drop(entry.node)
        return lease

    def renew(self, token: str | bytes, *, ttl: float) -> float:
        """Extends the lease of the token's node, no longer than the token lasts; returns what was granted, seconds.

        Raises:
            TypeError, VerificationError, UnavailableError: As `log_in`; also `UnavailableError` if the node is not
                logged in, or its lease has run out.
            InputError: `ttl` is out of range.
            StorageError: It cannot be kept.
        """
        grant = self._auth.check(token)
        asked = min(self._allowed(ttl, grant), self._lease_s_max)
        return self._presence.renew(self._clock.monotonic(), grant.node, ttl=asked)

    def log_out(self, token: str | bytes, sequence: int) -> None:
        """Takes the token's node off the list, uses up `sequence` and revokes the token.

        Raises:
            TypeError, VerificationError: As `log_in`.
            InputError: The sequence is lower than that of the entry, or above 2^64 - 1; nothing was changed. Or the
                node is not listed and the presence has no room to remember the sequence; the token is revoked already.
            UnavailableError: The keys cannot be had, or no more can be remembered as revoked; nothing was changed.
            StorageError: It cannot be kept; the token may be revoked already, and the node is listed until its lease
                ends.
        """
        grant = self._auth.check(token)
        if isinstance(sequence, bool) or not isinstance(sequence, int):
            raise TypeError(f"sequence must be an int, not {type(sequence).__name__}")
        with self._writing:
            known = self._sequence_of(grant.node)
            if sequence < known:
                raise InputError(f"sequence {sequence} is lower than the entry's, {known}")
            if sequence > _SEQUENCE_MAX:
                raise InputError(f"sequence must be at most {_SEQUENCE_MAX}, not {sequence}")
            self._auth.revoke(grant)
            self._take_off(grant.node, sequence)

    def expel(self, node: bytes) -> None:
        """Takes a node off the list and refuses all its tokens from now on.

        Raises:
            TypeError: It is not bytes.
            InputError: It has not 1 to 64 bytes.
            UnavailableError: No more can be remembered; nothing was changed.
            StorageError: It cannot be kept; no token of the node is taken, if that was kept before.
        """
        self._auth.revoke_node(node)
        with self._writing:
            self._take_off(node, self._sequence_of(node))

    def tidy(self, limit: int) -> int:
        """Drops what the storage keeps of tokens that have run out; call it now and then.

        Args:
            limit: How many rows to look at, 0 to 1,000,000: those after the ones of the call before.

        Returns:
            How many rows went.

        Raises:
            TypeError: It is no int.
            InputError: It is out of range.
            StorageError: The storage failed, or a row is damaged.
        """
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise TypeError(f"limit must be an int, not {type(limit).__name__}")
        if not 0 <= limit <= _TIDY_MAX:
            raise InputError(f"limit must be 0 to {_TIDY_MAX}, not {limit}")
        if self._storage is None or not limit:
            return 0
        with self._writing:
            rows = list(self._storage.scan(_KEY, after=self._tidied, limit=limit))
            self._tidied = rows[-1][0] if len(rows) == limit else None
            now_ms = self._clock.now_ms()
            over = [key for key, row in rows if _unpacked(key[len(_KEY) :], row)[2] <= now_ms]
            if over:
                self._storage.delete_many(over)
            return len(over)

    def authorise(self, token: str | bytes) -> PresenceEntry:
        """The entry of a token's node, which is logged in.

        Raises:
            TypeError, VerificationError, UnavailableError: As `log_in`; `VerificationError` also if the node is not
                logged in.
            StorageError: The presence or the storage cannot be read.
        """
        return self._entry_of(self._auth.check(token))

    def check(self, token: str | bytes) -> Grant:
        """What a token says, whether its node is logged in or not; see `ports.Auth.check`."""
        return self._auth.check(token)

    # --- inside ---

    def _entry_of(self, grant: Grant) -> PresenceEntry:
        now = self._clock.monotonic()
        cached = self._cached.get(grant.node)
        if cached is not None and now < cached[0]:
            return cached[1]
        changes = self._changes
        entry = self._presence.find(now, grant.node)
        if entry is None and self._storage is not None:
            with self._writing:
                entry = self._brought_back(self._storage, now, grant.node)
        if entry is None:
            raise VerificationError(f"node {grant.node.hex()[:16]} is not logged in; log in first")
        with self._lock:
            if self._cache_s and changes == self._changes:
                self._cached.pop(grant.node, None)
                self._cached[grant.node] = (now + self._cache_s, entry)
                while len(self._cached) > _CACHED_MAX:
                    del self._cached[next(iter(self._cached))]
        return entry

    def _brought_back(self, storage: Storage, now: float, node: bytes) -> PresenceEntry | None:
        """The entry as the storage has it, put on the list again; None where that cannot be."""
        found = self._presence.find(now, node)  # somebody else may have brought it back meanwhile
        (row,) = storage.get_many([_KEY + node])
        if found is not None or row is None:
            return found
        mark, entry, expires_ms, lease_s = _unpacked(node, row)
        left_s = (expires_ms - self._clock.now_ms()) / 1000
        if left_s <= 0 or mark == self._mark:  # it was listed here already, and its lease has run out
            return None
        try:
            self._presence.register(now, entry, ttl=min(left_s, lease_s))
        except (InputError, VerificationError):  # it left, or its lease ran out, in this very presence
            return None
        storage.put_many({_KEY + node: _packed(self._mark, entry, expires_ms, lease_s)})
        return entry

    def _sequence_of(self, node: bytes) -> int:
        """The sequence of a node's entry, on the list or in the storage; 0 if there is none."""
        entry = self._presence.find(self._clock.monotonic(), node)
        rows = [] if self._storage is None else self._storage.get_many([_KEY + node])
        stored = [_unpacked(node, row)[1].sequence for row in rows if row is not None]
        return max([0 if entry is None else entry.sequence, *stored])

    def _take_off(self, node: bytes, sequence: int) -> None:
        self._presence.remove(self._clock.monotonic(), node, sequence)
        if self._storage is not None:
            self._storage.delete_many([_KEY + node])
        self._drop(node)

    def _drop(self, node: bytes) -> None:
        with self._lock:
            self._changes += 1
            self._cached.pop(node, None)

    def _allowed(self, ttl: float, grant: Grant) -> float:
        """How much of a lease that is asked for the token has left."""
        if _checked_seconds("ttl", ttl) <= 0:
            raise InputError(f"ttl must be above 0 seconds, not {ttl}")
        left_s = (grant.expires_ms - self._clock.now_ms()) / 1000
        if left_s <= 0:  # within the leeway for clocks: it may ask, but nothing can be granted any more
            raise VerificationError("token: it has expired, so no lease is left to grant")
        return min(ttl, left_s)


def _checked_seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not abs(value) <= _SECONDS_MAX:
        raise InputError(f"{name} must be at most {_SECONDS_MAX:g} seconds, not {value}")
    return value


def _packed(mark: bytes, entry: PresenceEntry, expires_ms: int, lease_s: float) -> bytes:
    region = entry.region.encode()
    return _HEAD.pack(_VERSION, mark, entry.sequence, expires_ms, lease_s, len(region)) + region + entry.record


def _unpacked(node: bytes, row: bytes) -> tuple[bytes, PresenceEntry, int, float]:
    problem = f"the row of node {node.hex()[:16]}'s login is damaged"
    if len(row) < _HEAD.size:
        raise StorageError(f"{problem} ({len(row)} bytes)")
    version, mark, sequence, expires_ms, lease_s, region_bytes = _HEAD.unpack_from(row)
    if version != _VERSION:
        raise StorageError(f"the rows of logins have version {version}, this city-chain reads {_VERSION}")
    end = _HEAD.size + region_bytes
    if end > len(row) or not 0 < lease_s <= 1e12:
        raise StorageError(f"{problem} (region of {region_bytes} bytes, lease of {lease_s} s)")
    try:
        region = row[_HEAD.size : end].decode()
    except UnicodeDecodeError as cause:
        raise StorageError(f"{problem} (its region is not UTF-8)") from cause
    return mark, PresenceEntry(node, region, sequence, row[end:]), expires_ms, lease_s
