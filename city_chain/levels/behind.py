"""What goes on after a send has returned: stragglers' acks, releases. A few threads over a bounded queue.

Nothing here is promised to anybody: a task that finds the queue full is dropped and counted. What it would have done
is found by the next health check and mended by the next repair.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from city_chain.errors import CityChainError, DeadlineError

__all__ = ["Behind"]

_WORKERS = 4
_TASKS_MAX = 256

_log = logging.getLogger("city_chain")


class Behind:
    """Runs tasks in the background (see `stages.model.Behind`). Threads are started when they are first needed.

    Example:
        >>> behind, done = Behind(), []
        >>> behind.submit(lambda stop: done.append(stop.is_set()))
        True
        >>> behind.settle(5.0); behind.close(); done
        [False]
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[threading.Event], None] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._unfinished = 0
        self._threads: list[threading.Thread] = []
        self.dropped = 0

    def submit(self, task: Callable[[threading.Event], None]) -> bool:
        """Queues a task; returns whether there was room. The task gets an event that is set when it should end."""
        with self._idle:
            if self._stop.is_set() or self._unfinished >= _TASKS_MAX:
                self.dropped += 1
                return False
            self._unfinished += 1
            if len(self._threads) < min(_WORKERS, self._unfinished):
                name = f"city-chain-behind-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        self._tasks.put(task)
        return True

    def settle(self, timeout_s: float) -> None:
        """Waits until every task submitted so far is done.

        Raises:
            DeadlineError: They are not done within `timeout_s` seconds.
        """
        with self._idle:
            if not self._idle.wait_for(lambda: not self._unfinished, timeout_s):
                raise DeadlineError(f"{self._unfinished} tasks are still under way after {timeout_s} s")

    def close(self, timeout_s: float = 5.0) -> None:
        """Tells tasks to end and waits for it, at most `timeout_s` seconds. Closing twice is allowed."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task(self._stop)
            except CityChainError as error:
                _log.warning("a task behind a send failed: %s", error)
            except Exception:
                _log.exception("a task behind a send failed")
            finally:
                with self._idle:
                    self._unfinished -= 1
                    self._idle.notify_all()
