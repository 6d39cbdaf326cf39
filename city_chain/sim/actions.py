"""What a node of one's own is, and what it does in its turn."""

from __future__ import annotations

from collections.abc import Buffer, Iterable
from typing import Protocol

__all__ = ["Action", "Behaviour", "broadcast", "decide", "note", "persist", "send", "wake"]

type Action = tuple[object, ...]
"""One thing that a node does; made by the functions of this module."""


class Behaviour(Protocol):
    """A node of a simulation. Each turn returns what the node does, in this order, or None.

    A node is made anew after a crash: what it keeps beside its disk is lost. Whatever a turn raises ends the run and is
    raised there.

    Example:
        >>> from city_chain.sim import Simulation
        >>> class Echo:
        ...     def start(self, now): return [wake(now + 1_000)]
        ...     def receive(self, sender, message, now): return [note("heard", sender, message)]
        ...     def wake(self, now): return [broadcast(b"hello")]
        ...     def durable(self, ticket, now): return None
        >>> run = Simulation(1, 2, make=lambda node, disk: Echo())
        >>> run.run()
        'idle'
        >>> sorted((row["node"], row["number"]) for row in run.events() if row["kind"] == "heard")
        [(0, 1), (1, 0)]
    """

    def start(self, now: int) -> Iterable[Action] | None:
        """The first turn: at the start of the run, or after a restart."""

    def receive(self, sender: int, message: bytes, now: int) -> Iterable[Action] | None:
        """A message has arrived."""

    def wake(self, now: int) -> Iterable[Action] | None:
        """The time that was asked for has come."""

    def durable(self, ticket: int, now: int) -> Iterable[Action] | None:
        """The record of that ticket, and all before it, are on the disk."""


def send(to: int, message: Buffer) -> Action:
    """Sends to one node.

    Args:
        to: Its number.
        message: The bytes.

    Example:
        >>> send(2, b"vote")
        ('send', 2, b'vote')
    """
    return ("send", to, message)


def broadcast(message: Buffer) -> Action:
    """Sends to every other node.

    Args:
        message: The bytes.

    Example:
        >>> broadcast(b"proposal")
        ('broadcast', b'proposal')
    """
    return ("broadcast", message)


def persist(ticket: int, record: Buffer) -> Action:
    """Appends a record to the node's disk.

    `Behaviour.durable` is called with the ticket when it is there; a crash before that may lose it.

    Args:
        ticket: Names the record.
        record: The bytes.

    Example:
        >>> persist(1, b"voted in 7")
        ('persist', 1, b'voted in 7')
    """
    return ("persist", ticket, record)


def wake(at: int) -> Action:
    """Calls `Behaviour.wake` at that time; replaces what was set before.

    Args:
        at: When, virtual µs.

    Example:
        >>> wake(5_000)
        ('wake', 5000)
    """
    return ("wake", at)


def decide(slot: int, value: Buffer) -> Action:
    """The node holds this to be decided, for ever: honest nodes must agree on it.

    Args:
        slot: What is decided (a height, an instance).
        value: 32 bytes.

    Example:
        >>> decide(3, bytes(32))[:2]
        ('decide', 3)
    """
    return ("decide", slot, value)


def note(kind: str, number: int = 0, data: Buffer = b"") -> Action:
    """Puts a row into the table of events.

    Args:
        kind: What happened, a word of at most 64 bytes; a process may have 1,024 of them.
        number: A number that belongs to it.
        data: Bytes that belong to it; the table has their length and digest.

    Example:
        >>> note("round", 4)
        ('note', 'round', 4, b'')
    """
    return ("note", kind, number, data)
