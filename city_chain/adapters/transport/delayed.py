"""Calls made at a later instant by a bounded pool of daemon threads: the inner part of `transport.inprocess`."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from threading import Condition, Lock, Thread, current_thread
from time import monotonic

from city_chain.ports import Clock

__all__ = ["DelayedCalls"]

_IDLE_S = 1.0
"""How long a thread without work stays, seconds."""

_CLOSE_WAIT_S = 0.05
"""How long `close` waits for its threads, seconds; those in a hanging call are left behind."""


class DelayedCalls:
    """Makes calls when they are due, earliest first. A call that hangs keeps its thread; one that raises is dropped.

    Args:
        clock: Whose `monotonic` instants are.
        poll_s: Longest wait without a look at the clock, seconds.
        workers: Most threads.

    Example:
        >>> from threading import Event
        >>> from city_chain.adapters.clock import SystemClock
        >>> calls, done = DelayedCalls(SystemClock(), 60.0, workers=2), Event()
        >>> calls.submit(SystemClock().monotonic() + 0.001, done.set)
        >>> done.wait(5)
        True
        >>> calls.close()
    """

    def __init__(self, clock: Clock, poll_s: float, workers: int) -> None:
        self._clock = clock
        self._poll_s = poll_s
        self._workers = workers
        self._changed = Condition(Lock())
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._threads: set[Thread] = set()
        self._waiting = 0  # threads that wait for work
        self._closed = False

    def submit(self, instant: float, call: Callable[[], None]) -> None:
        """Has `call` made at `instant`, or as soon after it as a thread is free. Ignored once closed."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._calls, (instant, next(self._numbers), call))
            if len(self._calls) > self._waiting and len(self._threads) < self._workers:
                self._start()
            self._changed.notify()

    def close(self) -> None:
        """Drops what is not due and lets the threads end. Waits 50 ms for them at most."""
        with self._changed:
            self._closed = True
            self._calls.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        give_up = monotonic() + _CLOSE_WAIT_S
        for thread in threads:
            if thread is not current_thread():
                thread.join(max(0.0, give_up - monotonic()))

    def _start(self) -> None:
        thread = Thread(target=self._run, name="city-chain-transport", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no more threads, as when the interpreter shuts down: those there are do the work
        self._threads.add(thread)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except BaseException:  # noqa: S112 (the caller of the call learns of it by its deadline)
                continue

    def _next(self) -> Callable[[], None] | None:
        """Waits for the next call that is due; None when the thread is to end."""
        with self._changed:
            while not self._closed:
                if not self._calls:
                    if not self._wait(_IDLE_S) and not self._calls:
                        break
                    continue
                left_s = self._calls[0][0] - self._clock.monotonic()
                if left_s <= 0:
                    return heapq.heappop(self._calls)[2]
                self._wait(min(left_s, self._poll_s))
            self._threads.discard(current_thread())
            return None

    def _wait(self, seconds: float) -> bool:
        self._waiting += 1
        try:
            return self._changed.wait(seconds)
        finally:
            self._waiting -= 1
