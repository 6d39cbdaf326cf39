"""Room in a write-behind queue, taken before the tasks exist, so that a full queue refuses early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from city_chain.composer.checks import shown
from city_chain.errors import InputError

__all__ = ["Reservation"]


class Reservation:
    """Room in a queue for tasks that do not exist yet; given back at the end of its `with`.

    Made by `WriteBehind.reserve`, never by hand.

    Args:
        count: For how many tasks there is room.
        store: Stores tasks in that room and returns their ids.
        give_back: Gives room back to the queue.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> from city_chain.composer import WriteBehind
        >>> with WriteBehind(MemoryStorage(), {"archive": print}) as queue, queue.reserve(2) as room:
        ...     room.left
        2
    """

    __slots__ = ("_give_back", "_left", "_store")

    def __init__(
        self,
        count: int,
        store: Callable[[Sequence[tuple[str, Sequence[Any]]]], list[int]],
        give_back: Callable[[int], None],
    ) -> None:
        self._left = count
        self._store = store
        self._give_back = give_back

    @property
    def left(self) -> int:
        """For how many tasks there still is room."""
        return self._left

    def put_many(self, tasks: Sequence[tuple[str, Sequence[Any]]]) -> list[int]:
        """Stores tasks in one write, all or none.

        Args:
            tasks: Pairs of a handler's name and its arguments, at most as many as there is room for.

        Returns:
            Their ids.

        Raises:
            TypeError: It is no sequence of pairs.
            InputError: There are too many, a handler is unknown, or arguments cannot be encoded.
            StorageError: The storage failed, or the queue is closed; nothing was stored.
        """
        if not isinstance(tasks, list | tuple):
            raise TypeError(f"tasks must be a list or tuple of pairs, not {type(tasks).__name__}")
        for task in tasks:
            if not isinstance(task, tuple) or len(task) != 2:
                raise TypeError(f"a task must be a pair of a name and its arguments, not {shown(task)}")
        if len(tasks) > self._left:
            raise InputError(f"there is room for {self._left} tasks in this reservation, not for {len(tasks)}")
        ids = self._store(tasks)
        self._left -= len(tasks)
        return ids

    def _hand_over(self, count: int) -> None:
        """Leaves `count` places to the queue itself, which has filled them."""
        self._left -= count

    def release(self) -> None:
        """Gives back what is left. Doing so twice is allowed."""
        left, self._left = self._left, 0
        self._give_back(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
