"""The running numbers of a sender: every transaction has one of its own, and what fails gives its number back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from city_chain import records
from city_chain.node.ledger import SenderState

__all__ = ["Numbers"]

_LEAP_MAX = 1 << 16
"""A number this far ahead is none of ours: the ledger's window is far smaller."""


class Numbers:
    """Gives numbers out, lowest first. Safe to use from several threads.

    Args:
        state: The sender in the ledger.
        taken: Numbers of what is journalled and not committed.

    Example:
        >>> numbers = Numbers(SenderState(next_sequence=3, ahead=frozenset({4})), {6})
        >>> [numbers.take() for _ in range(3)]
        [3, 5, 7]
    """

    def __init__(self, state: SenderState, taken: Collection[int]) -> None:
        self._lock = threading.Lock()
        used = state.ahead | set(taken)
        self._next = max([state.next_sequence, *(number + 1 for number in used)])
        self._free = {number for number in range(state.next_sequence, self._next) if number not in used}
        self._sending: Counter[int] = Counter()

    def take(self) -> int:
        """The lowest number that is free; it is not free any more."""
        with self._lock:
            number = min(self._free, default=self._next)
            self._remove(number)
            return number

    def give_back(self, number: int) -> None:
        """Nothing was made with this number."""
        with self._lock:
            self._free.add(number)

    def begin(self, transactions: Sequence[records.Transaction]) -> None:
        """These are being sent: their numbers are taken, also if they had been given back before."""
        with self._lock:
            for transaction in transactions:
                self._sending[transaction.sequence] += 1
                self._remove(transaction.sequence)

    def end(
        self,
        transactions: Sequence[records.Transaction],
        state: Callable[[], SenderState],
        is_open: Callable[[bytes], bool],
    ) -> None:
        """These are no longer being sent. A number is free again if nothing else uses it.

        Args:
            transactions: What `begin` was told of.
            state: The sender in the ledger now.
            is_open: Whether a transaction is journalled and may still be committed.
        """
        with self._lock:
            known = state()
            for transaction in transactions:
                number = transaction.sequence
                self._sending[number] -= 1
                if self._sending[number] > 0:
                    continue
                del self._sending[number]
                committed = number < known.next_sequence or number in known.ahead
                if not committed and not is_open(transaction.tx_id):
                    self._free.add(number)

    def _remove(self, number: int) -> None:
        self._free.discard(number)
        if self._next <= number < self._next + _LEAP_MAX:
            self._free.update(range(self._next, number))
            self._next = number + 1
