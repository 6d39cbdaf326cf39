"""What changed in which region lately, and the cookies of those who follow it.

A cookie names a presence as it is open now, a region, and the revision up to which its holder has all changes. While
the holder reads a whole list page by page, it names the revision at which the first page was read, and the last node
that was read. It is neither signed nor secret: whoever forges one gets another part of a list that he may read anyway.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from city_chain.errors import InputError

__all__ = ["COOKIE_BYTES_MAX", "Changed", "History", "Place"]

_COOKIE = struct.Struct("<B8s8sQ")
_FOLLOWS, _READS = 1, 2
_NODE_BYTES_MAX = 64
_SPARE_MIN = 64

COOKIE_BYTES_MAX = _COOKIE.size + _NODE_BYTES_MAX
"""Longest cookie of changes, bytes."""


class Place(NamedTuple):
    """Where somebody is who reads changes.

    Args:
        presence: Which presence, as it is open now, 8 bytes.
        region: Which region.
        revision: All changes up to this revision are known.
        node: The last node of a list that is not read to its end; empty before its first node; None: it is all read.

    Example:
        >>> place = Place(bytes(8), "tokyo", 7, b"node")
        >>> Place.from_cookie(place.cookie, "tokyo") == place
        True
        >>> Place.from_cookie(place.cookie, "osaka") is None
        True
    """

    presence: bytes
    region: str
    revision: int
    node: bytes | None

    @property
    def cookie(self) -> bytes:
        """The place as bytes."""
        kind = _FOLLOWS if self.node is None else _READS
        return _COOKIE.pack(kind, self.presence, _mark(self.region), self.revision) + (self.node or b"")

    @classmethod
    def from_cookie(cls, cookie: bytes, region: str) -> Place | None:
        """Reads a cookie; None if it is of another region.

        Raises:
            InputError: It is no cookie of changes.
        """
        if not _COOKIE.size <= len(cookie) <= COOKIE_BYTES_MAX:
            raise InputError(f"a cookie of changes has {_COOKIE.size} to {COOKIE_BYTES_MAX} bytes, not {len(cookie)}")
        kind, presence, mark, revision = _COOKIE.unpack_from(cookie)
        rest = cookie[_COOKIE.size :]
        if kind not in {_FOLLOWS, _READS} or (kind == _FOLLOWS and rest):
            raise InputError(
                f"this is no cookie of changes: its kind is {kind} and a node of {len(rest)} bytes follows"
            )
        return cls(presence, region, revision, rest if kind == _READS else None) if mark == _mark(region) else None


class Changed(NamedTuple):
    """Nodes that changed in a region, and how far that reaches.

    Args:
        nodes: Each once, in the order in which they first changed.
        revision: All changes of the region up to this revision are among them.
        more: Whether there are later ones.
    """

    nodes: list[bytes]
    revision: int
    more: bool


class _Trail:
    """The changes of one region, oldest first; some at the beginning may be gone."""

    __slots__ = ("gone", "nodes", "revisions")

    def __init__(self) -> None:
        self.revisions: list[int] = []
        self.nodes: list[bytes] = []
        self.gone = 0


class History:
    """The latest changes of all regions, a bounded number.

    Args:
        most: How many changes are kept, 0 or more.

    Example:
        >>> history = History(2)
        >>> for revision, node in enumerate((b"a", b"b", b"c"), start=1):
        ...     history.note(revision, node, {"tokyo"})
        >>> history.floor, history.since("tokyo", 1, revision=3, limit=10)
        (1, Changed(nodes=[b'b', b'c'], revision=3, more=False))
    """

    __slots__ = ("_kept", "_most", "_trails", "floor")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: deque[tuple[int, str]] = deque()
        self._trails: dict[str, _Trail] = {}
        self.floor = 0
        """Changes after this revision are known, all of them."""

    def note(self, revision: int, node: bytes, regions: Iterable[str]) -> None:
        """Notes that a node changed in some regions; revisions rise."""
        for region in sorted(regions):
            trail = self._trails.setdefault(region, _Trail())
            trail.revisions.append(revision)
            trail.nodes.append(node)
            self._kept.append((revision, region))
        while len(self._kept) > self._most:
            self._forget()

    def _forget(self) -> None:
        revision, region = self._kept.popleft()
        self.floor = revision
        trail = self._trails[region]
        trail.gone += 1
        if trail.gone == len(trail.revisions):
            del self._trails[region]
        elif trail.gone > _SPARE_MIN and 2 * trail.gone > len(trail.revisions):
            del trail.revisions[: trail.gone], trail.nodes[: trail.gone]
            trail.gone = 0

    def since(self, region: str, since: int, *, revision: int, limit: int) -> Changed:
        """The changes of a region after a revision that is not below `floor`, at most `limit` of them.

        Args:
            region: The region.
            since: The revision.
            revision: The present one, up to which the answer reaches where there are no more changes.
            limit: How many changes to look at.
        """
        trail = self._trails.get(region)
        if trail is None:
            return Changed([], revision, False)
        begin = bisect_right(trail.revisions, since, trail.gone)
        end = min(begin + limit, len(trail.revisions))
        more = end < len(trail.revisions)
        reached = trail.revisions[end - 1] if more else revision
        return Changed(list(dict.fromkeys(trail.nodes[begin:end])), reached, more)


def _mark(region: str) -> bytes:
    return blake2b(region.encode(), digest_size=8, person=b"cc-region").digest()
