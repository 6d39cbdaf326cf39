"""Presence in memory. Gone with the process: for tests, simulations and cities that log in anew at each start."""

from __future__ import annotations

from city_chain.adapters.presence.leases import Check, LeaseTable, Limits

__all__ = ["Limits", "MemoryPresence"]


class MemoryPresence(LeaseTable):
    """A presence that keeps the contract of `ports.Presence` in memory.

    Args:
        limits: What to grant and to hold.
        check: Raises where an entry's record is not right; None: records are not judged here.

    Raises:
        TypeError: `limits` is no `Limits`, or one of them is not a number.
        InputError: One of them is out of range.

    Example:
        >>> from city_chain.ports import PresenceEntry
        >>> presence = MemoryPresence()
        >>> presence.register(0.0, PresenceEntry(b"n1", "tokyo", 1, b"signed"), ttl=30.0)
        (1, 30.0)
        >>> presence.remove(1.0, b"n1", sequence=1)
        >>> presence.list(1.0, "tokyo")
        PresencePage(entries=[], cookie=None)
    """

    def __init__(self, limits: Limits = Limits(), check: Check | None = None) -> None:  # noqa: B008 (immutable)
        super().__init__(limits, lambda _rows, _revision: None, check)
