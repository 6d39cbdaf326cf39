"""The steps of a world: whoever watches hears of each before it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Step", "Steps"]


class Step(NamedTuple):
    """A step that is about to be taken.

    Args:
        tx_id: The transaction; the world's id where the world itself changes.
        name: The step, see `World`.
        city: The city that is asked; empty for what the world does itself.
    """

    tx_id: bytes
    name: str
    city: str = ""


class Steps:
    """Tells whoever watches.

    Example:
        >>> steps = Steps()
        >>> steps.on_step = print
        >>> steps.take(b"", "epoch", "north")
        Step(tx_id=b'', name='epoch', city='north')
    """

    def __init__(self) -> None:
        self.on_step: Callable[[Step], None] | None = None

    def take(self, tx_id: bytes, name: str, city: str = "") -> None:
        """Says that a step is about to be taken; what the watcher raises comes out."""
        if self.on_step is not None:
            self.on_step(Step(tx_id, name, city))
