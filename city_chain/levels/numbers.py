"""The running numbers of a sender: every transaction has one of its own, and what fails gives its number back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from city_chain.errors import DeadlineError, InputError
from city_chain.node.ledger import SEQUENCE_WINDOW, SenderState

__all__ = ["Numbers"]

_LOOK_S = 0.05
_LEAP_MAX = 1 << 16
"""A number this far ahead is none of ours: the ledger's window is far smaller."""


class Numbers:
    """Gives numbers out, lowest first. Safe to use from several threads.

    Args:
        state: The sender in the ledger.
        taken: Numbers of what is journalled and not committed.

    Example:
        >>> numbers = Numbers(SenderState(next_sequence=3, ahead=frozenset({4})), {6})
        >>> [numbers.take(below=10) for _ in range(3)]
        [3, 5, 7]
    """

    def __init__(self, state: SenderState, taken: Collection[int]) -> None:
        self._changed = threading.Condition()
        used = state.ahead | set(taken)
        self._next = max([state.next_sequence, *(number + 1 for number in used)])
        self._free = {number for number in range(state.next_sequence, self._next) if number not in used}
        self._sending: Counter[int] = Counter()

    def take(self, below: int) -> int:
        """The lowest number that is free; it is not free any more.

        Raises:
            InputError: It is not below `below`: so many were taken and not used.
        """
        with self._changed:
            (number,) = self._lowest(1)
            if number >= below:
                raise InputError(
                    f"so many transactions were made and not sent that number {number} would be next, and less than "
                    f"{below} is allowed: send some of them first"
                )
            self._remove(number)
            return number

    def take_many(
        self, count: int, own: int, state: Callable[[], SenderState], has_time: Callable[[], bool]
    ) -> list[int]:
        """Numbers for a burst, ascending. Waits while so much is being sent that the ledger would refuse them.

        Args:
            count: How many.
            own: How many numbers `begin` was told of by the same burst.
            state: The sender in the ledger now.
            has_time: Whether to wait on.

        Raises:
            DeadlineError: What is being sent was still under way when there was no more time.
        """
        with self._changed:
            while self._sending.total() > own and self._lowest(count)[-1] >= state().next_sequence + SEQUENCE_WINDOW:
                if not has_time():
                    raise DeadlineError(
                        f"{len(self._sending)} transactions are under way, and the ledger lets a sender run only "
                        f"{SEQUENCE_WINDOW} ahead; send fewer at once"
                    )
                self._changed.wait(_LOOK_S)
            numbers = self._lowest(count)
            for number in numbers:
                self._remove(number)
            self._sending.update(numbers)
            return numbers

    def give_back(self, number: int) -> None:
        """Nothing was made with this number."""
        with self._changed:
            self._free.add(number)

    def begin(self, numbers: Iterable[int]) -> None:
        """Transactions with these are being sent: they are taken, also if they had been given back before."""
        with self._changed:
            for number in numbers:
                self._sending[number] += 1
                self._remove(number)

    def end(
        self, used: Iterable[tuple[int, bytes | None]], state: SenderState, is_open: Callable[[bytes], bool]
    ) -> None:
        """These are no longer being sent. A number is free again if nothing else uses it.

        Args:
            used: Number and transaction (None: none was made) of what `take_many` gave or `begin` was told of.
            state: The sender in the ledger now.
            is_open: Whether a transaction is journalled and may still be committed.
        """
        with self._changed:
            for number, tx_id in used:
                self._sending[number] -= 1
                if self._sending[number] > 0:
                    continue
                del self._sending[number]
                committed = number < state.next_sequence or number in state.ahead
                if not committed and (tx_id is None or not is_open(tx_id)):
                    self._free.add(number)
            self._changed.notify_all()

    def _lowest(self, count: int) -> list[int]:
        """The lowest `count` free numbers."""
        free = sorted(self._free)[:count]
        return free + list(range(self._next, self._next + count - len(free)))

    def _remove(self, number: int) -> None:
        self._free.discard(number)
        if self._next <= number < self._next + _LEAP_MAX:
            self._free.update(range(self._next, number))
            self._next = number + 1
