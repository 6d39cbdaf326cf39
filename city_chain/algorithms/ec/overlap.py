"""Work that goes on while its results are used: an iterator that is run ahead in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from queue import SimpleQueue

__all__ = ["ahead"]


class _Failed:
    """What a thread ended with."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead[T](items: Iterable[T], depth: int) -> closing[Generator[T]]:
    """The items, made in another thread, at most `depth` of them before they are asked for.

    Whatever ends the block, the thread has ended, too, when the block is left, and so has the iterator.

    Args:
        items: What is to be made.
        depth: How many may wait.

    Example:
        >>> with ahead(range(5), 2) as numbers:
        ...     list(numbers)
        [0, 1, 2, 3, 4]
    """
    return closing(_ahead(items, depth))


def _ahead[T](items: Iterable[T], depth: int) -> Generator[T]:
    made: SimpleQueue[T | _Failed] = SimpleQueue()
    free = threading.Semaphore(depth)
    stop = threading.Event()

    def work() -> None:
        end = _Failed(None)
        try:
            for item in items:
                made.put(item)
                del item  # it may be large, and the name would hold it while the next is made
                free.acquire()
                if stop.is_set():
                    break
        except BaseException as error:
            end = _Failed(error)
        made.put(end)

    thread = threading.Thread(target=work, name="city-chain ec", daemon=True)
    thread.start()
    try:
        while True:
            item = made.get()
            if isinstance(item, _Failed):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item
            free.release()
    finally:
        stop.set()
        free.release()
        thread.join()
