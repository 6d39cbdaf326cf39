"""What is remembered of the nodes' health, to ask the likely ones first. A hint only: nobody is ever shut out by it."""

from __future__ import annotations

import threading

from city_chain.ports import Clock

__all__ = ["Vitals"]

_FORGET_S = 60.0


class Vitals:
    """Recent failures by node, forgotten after a minute or at the next success.

    Args:
        clock: Tells how old a failure is.

    Example:
        >>> from city_chain.adapters.clock import ManualClock
        >>> vitals = Vitals(ManualClock())
        >>> vitals.failed(b"a")
        >>> vitals.doubt(b"a"), vitals.doubt(b"b")
        (1, 0)
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[bytes, tuple[int, float]] = {}

    def failed(self, node: bytes) -> None:
        """The node was silent, refused, or gave something wrong."""
        with self._lock:
            count, _ = self._failures.get(node, (0, 0.0))
            self._failures[node] = (count + 1, self._clock.monotonic())

    def worked(self, node: bytes) -> None:
        """The node gave what it was asked for."""
        if self._failures:
            with self._lock:
                self._failures.pop(node, None)

    def doubt(self, node: bytes) -> int:
        """How often the node failed lately; 0 is best."""
        count, at = self._failures.get(node, (0, 0.0))
        return count if count and self._clock.monotonic() < at + _FORGET_S else 0
