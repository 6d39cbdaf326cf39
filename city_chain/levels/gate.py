"""The gate of a city: many may work in it at once, or one alone changes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from city_chain.errors import UnavailableError

__all__ = ["Gate"]


class Gate:
    """Lets many through at once, or one alone, who does not wait for the others but is refused.

    Example:
        >>> gate = Gate()
        >>> with gate.through(), gate.through(), gate.alone():
        ...     pass
        Traceback (most recent call last):
        ...
        city_chain.errors.UnavailableError: the city is at work for 2 callers; try again when they are done
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._taken = False

    @contextmanager
    def through(self) -> Iterator[None]:
        """One among many.

        Raises:
            UnavailableError: Somebody is alone inside.
        """
        with self._lock:
            if self._taken:
                raise UnavailableError("the city is handing over to its next delegates; try again", 1, 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One alone.

        Raises:
            UnavailableError: Others are inside.
        """
        with self._lock:
            if self._taken or self._inside:
                callers = self._inside + self._taken
                raise UnavailableError(f"the city is at work for {callers} callers; try again when they are done", 1, 0)
            self._taken = True
        try:
            yield
        finally:
            with self._lock:
                self._taken = False
