"""Cuts what is to be sent or read into bursts that travel together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

__all__ = ["BURST_BYTES_MAX", "bursts"]

BURST_BYTES_MAX = 32 << 20
"""About as many bytes as a burst holds: it ends before an item that would go beyond. One item alone may be larger."""


def bursts[T](items: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Bursts of at most `most` items and about 32 MiB, in order.

    Args:
        items: What is cut.
        size_of: The bytes of an item.
        most: The most items of one burst.

    Example:
        >>> list(bursts([1, 2, 3], lambda _: 4096, 2))
        [[1, 2], [3]]
        >>> list(bursts([1, 2, 3], lambda _: 20 << 20, 2))
        [[1], [2], [3]]
    """
    burst: list[T] = []
    size = 0
    for item in items:
        length = size_of(item)
        if burst and (len(burst) == most or size + length > BURST_BYTES_MAX):
            yield burst
            burst, size = [], 0
        burst.append(item)
        size += length
    if burst:
        yield burst
