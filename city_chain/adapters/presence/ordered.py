"""Two orders under a table of leases whose every call takes a bounded number of steps, whatever was called before.

A heap with stale places in it, or one long sorted list, is as fast on average; but then a single call pays for a
million others that came before it. Nothing here is put off.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["Deadlines", "SortedNodes"]

_BLOCK_MAX = 1024
"""Most nodes of one block; two neighbours of a quarter of it together become one."""


class Deadlines[K: (bytes, str)]:
    """Keys by deadline, the earliest first: a binary heap that knows where each key stands.

    Setting, dropping and moving a key takes O(log n) steps; looking at the first takes one.

    Example:
        >>> deadlines = Deadlines[str]()
        >>> for key, due in (("a", 3.0), ("b", 1.0), ("a", 0.5)):
        ...     deadlines.set(key, due)
        >>> deadlines.first, len(deadlines)
        ((0.5, 'a'), 2)
        >>> deadlines.drop("a")
        >>> deadlines.first
        (1.0, 'b')
    """

    __slots__ = ("_heap", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[float, K]] = []
        self._places: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> tuple[float, K] | None:
        """The earliest deadline and whose it is; None if there is no key."""
        return self._heap[0] if self._heap else None

    def set(self, key: K, due: float) -> None:
        """Gives `key` a deadline, instead of the one it may have."""
        at = self._places.get(key)
        if at is None:
            at = len(self._heap)
            self._heap.append((due, key))
        else:
            self._heap[at] = (due, key)
        self._settle(at)

    def drop(self, key: K) -> None:
        """Forgets `key`; one that is not there is ignored."""
        at = self._places.pop(key, None)
        if at is None:
            return
        last = self._heap.pop()
        if at < len(self._heap):
            self._heap[at] = last
            self._settle(at)

    def _settle(self, at: int) -> None:
        """Moves the item at a place to where it belongs."""
        heap, places = self._heap, self._places
        item = heap[at]
        while at and item < heap[above := (at - 1) >> 1]:
            heap[at] = heap[above]
            places[heap[at][1]] = at
            at = above
        while (below := 2 * at + 1) < len(heap):
            if below + 1 < len(heap) and heap[below + 1] < heap[below]:
                below += 1
            if item < heap[below]:
                break
            heap[at] = heap[below]
            places[heap[at][1]] = at
            at = below
        heap[at] = item
        places[item[1]] = at


class SortedNodes:
    """A set of node ids in ascending order, in blocks, so that no call moves more than a block.

    Example:
        >>> nodes = SortedNodes()
        >>> for node in (b"c", b"a", b"b", b"a"):
        ...     nodes.add(node)
        >>> list(nodes.after(None)), list(nodes.after(b"a")), len(nodes)
        ([b'a', b'b', b'c'], [b'b', b'c'], 3)
        >>> nodes.discard(b"b")
        >>> list(nodes.after(None))
        [b'a', b'c']
    """

    __slots__ = ("_blocks", "_count", "_lasts")

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []  # none is empty
        self._lasts: list[bytes] = []  # the last node of each block
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, node: bytes) -> None:
        """Puts a node in its place; one that is there already is left."""
        if not self._blocks:
            self._blocks, self._lasts, self._count = [[node]], [node], 1
            return
        of = min(bisect_left(self._lasts, node), len(self._blocks) - 1)
        block = self._blocks[of]
        at = bisect_left(block, node)
        if at < len(block) and block[at] == node:
            return
        block.insert(at, node)
        self._count += 1
        if len(block) > _BLOCK_MAX:
            half = len(block) // 2
            self._blocks.insert(of + 1, block[half:])
            self._lasts.insert(of + 1, block[-1])
            del block[half:]
        self._lasts[of] = block[-1]

    def discard(self, node: bytes) -> None:
        """Takes a node out; one that is not there is ignored."""
        of = bisect_left(self._lasts, node)
        if of == len(self._blocks):
            return
        block = self._blocks[of]
        at = bisect_left(block, node)
        if block[at] != node:
            return
        del block[at]
        self._count -= 1
        following = self._blocks[of + 1] if of + 1 < len(self._blocks) else []
        if not block:
            del self._blocks[of], self._lasts[of]
            return
        if following and len(block) + len(following) <= _BLOCK_MAX // 4:
            block += following
            del self._blocks[of + 1], self._lasts[of + 1]
        self._lasts[of] = block[-1]

    def after(self, node: bytes | None) -> Iterator[bytes]:
        """The nodes above `node` (None: all) in ascending order. The set must not change meanwhile."""
        of = 0 if node is None else bisect_right(self._lasts, node)
        at = 0 if node is None or of == len(self._blocks) else bisect_right(self._blocks[of], node)
        while of < len(self._blocks):
            block = self._blocks[of]
            while at < len(block):
                yield block[at]
                at += 1
            of, at = of + 1, 0
