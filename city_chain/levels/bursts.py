"""Cuts what is to be sent or read into bursts that travel together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["BURST_BYTES_MAX", "apart", "bursts"]

BURST_BYTES_MAX = 32 << 20
"""About as many bytes as a burst holds: it ends before an item that would go beyond. One item alone may be larger."""


def bursts[T](items: Iterable[tuple[T, int]], most: int) -> Iterator[list[T]]:
    """Bursts of at most `most` items and about 32 MiB, in order.

    Args:
        items: What is cut: an item and its bytes.
        most: The most items of one burst.

    Example:
        >>> list(bursts([("a", 4096), ("b", 4096), ("c", 4096)], 2))
        [['a', 'b'], ['c']]
        >>> list(bursts([("a", 20 << 20), ("b", 20 << 20)], 2))
        [['a'], ['b']]
    """
    burst: list[T] = []
    size = 0
    for item, length in items:
        if burst and (len(burst) == most or size + length > BURST_BYTES_MAX):
            yield burst
            burst, size = [], 0
        burst.append(item)
        size += length
    if burst:
        yield burst


def apart[T](items: Iterable[T]) -> Iterator[list[T]]:
    """Runs in which nothing is there twice, in order: a node is asked once for one thing in one request.

    Example:
        >>> list(apart("abcab"))
        [['a', 'b', 'c'], ['a', 'b']]
    """
    run: dict[T, None] = {}
    for item in items:
        if item in run:
            yield list(run)
            run = {}
        run[item] = None
    if run:
        yield list(run)
