"""HVP: HyParView + Plumtree. Who is there, by partial views; broadcast by trees that repair themselves.

Every member keeps symmetric links to a few others, its *active view*, and a larger *passive view* of contacts from
which lost links are replaced (HyParView). Broadcasts are pushed along a tree of links that the first broadcast has
cut out of them; on the other links only ids are announced, and whoever lacks an announced id asks for it and so
repairs the tree (Plumtree). Nobody knows all members, and each has little to do however many there are.

- `Hvp`: one member's machine, bytes in and effects out; it has no thread, clock or socket of its own.
- `effects`: what the machine wants done, with names.
- `Contact`: where a member is reached, signed by it.
- `city_chain.node.gossip.Gossip` drives a machine over a transport.

It is no consensus and no storage: a broadcast reaches every member that stays connected to its origin, comes in any
order (or in its origin's order, if asked for), and is kept for a while for those who come late. What is delivered was
signed by its origin; whether an origin is to be believed is for the receiver to say.

Source: Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based broadcast" (DSN 2007)
and "Epidemic Broadcast Trees" (SRDS 2007).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from city_chain import _native
from city_chain._native import Contact, Hvp

__all__ = ["PAYLOAD_MAX", "TOPIC_MAX", "Contact", "Effect", "Hvp", "effects"]

PAYLOAD_MAX = _native.HVP_PAYLOAD_MAX
"""The most bytes of a broadcast: 64 KiB."""

TOPIC_MAX = _native.HVP_TOPIC_MAX
"""The most bytes of a broadcast's topic: 64."""

type Kind = Literal["send", "deliver", "up", "down", "close", "isolated"]
type Reason = Literal["", "failed", "disconnected", "left", "evicted"]


class Effect(NamedTuple):
    """One thing that a machine wants done, or tells. What does not apply is empty.

    ========= =======================================================================================================
    kind      what to do
    ========= =======================================================================================================
    send      send `data` to `peer`, over the connection that there is or a new one to the address of its contact
    deliver   a broadcast of `peer` has arrived over `hops` links: `data` under `topic`, named by `id`
    up        a link to `peer` has come to be
    down      the link to `peer` is no more, for a `reason`: it failed, the peer dropped it or left, or it was dropped
    close     the connection to `peer` is of no use any more: close it when what is queued is sent
    isolated  no link is left, and nobody to ask for one but the contacts of `join`: the machine goes on asking them
    ========= =======================================================================================================

    Example:
        >>> Effect("up", bytes(32), b"", b"", b"", 0, "").kind
        'up'
    """

    kind: Kind
    peer: bytes
    data: bytes
    topic: bytes
    id: bytes
    hops: int
    reason: Reason


def effects(machine: Hvp) -> list[Effect]:
    """Takes what a machine wants done now, in the order in which it must be done; due after every call.

    Args:
        machine: The machine.

    Returns:
        The effects; see `Effect`.

    Example:
        >>> from city_chain.records import Identity
        >>> me, other = Identity(bytes(32)), Identity(bytes(31) + b"1")
        >>> contacts = [Contact(one, network=bytes(32), address="inproc:x", sequence=1) for one in (me, other)]
        >>> machine = Hvp(contacts[0], me, bytes(32), network=bytes(32))
        >>> machine.join(contacts[1:], 0)
        >>> [(effect.kind, effect.peer == other.id) for effect in effects(machine)]
        [('send', True)]
    """
    return [Effect._make(effect) for effect in machine.drain()]
