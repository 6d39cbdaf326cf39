"""What is kept as a message of its own kind, and what proves a commit: how ``city-chain inspect`` shows it.

Of a node file nothing is shown from which its secrets follow: neither its seed nor what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from city_chain.algorithms import hs
from city_chain.errors import CityChainError, InputError
from city_chain.records import Message

__all__ = ["CommitProof", "kept"]

_NODE_FILE_PARTS = 8


@dataclass(frozen=True, slots=True)
class CommitProof:
    """What HotStuff's proof of a commit is about (see `hs.commit_block`).

    Args:
        round: The round of the block that it commits.
        block: The block's id, 32 bytes.
        next_genesis: What a next epoch starts from, 32 bytes.
    """

    round: int
    block: bytes
    next_genesis: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads a proof; nothing of it is verified.

        Raises:
            InputError: It is none.
        """
        return cls(*hs.commit_block(data))


def kept(message: Message) -> tuple[str, dict[str, Any]] | None:
    """What a message is besides a message.

    Args:
        message: Any message.

    Returns:
        Its name and its fields; None if it is a message and no more.

    Raises:
        InputError: It is of a kind that is known here, but damaged.

    Example:
        >>> kept(Message("hold", [b"a"])) is None
        True
        >>> kept(Message("node", [bytes(32)]))
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: starts as a node file, but is damaged
    """
    kind = "node" if _looks_like_a_node_file(message) else message.kind
    if kind not in _KINDS:
        return None
    what, of = _KINDS[kind]
    try:
        return what, of(message.to_bytes())
    except CityChainError as error:
        why = "" if of is _node_file else f": {error}"  # a reason may quote what it has read
        raise InputError(f"starts as a {what}, but is damaged{why}") from None


def _looks_like_a_node_file(message: Message) -> bool:
    """Whether it may be one with a damaged kind, whose parts must not be shown either."""
    parts = message.parts
    return len(parts) == _NODE_FILE_PARTS and parts[0].startswith(b"{")


def _crossing(data: bytes) -> dict[str, Any]:
    from city_chain.levels.cross_receipt import CrossReceipt  # noqa: PLC0415 — slow to load, seldom needed

    read = CrossReceipt.from_bytes(data)
    head = {"head": read.head} if read.head else {}
    return {
        "tx_id": read.tx_id,
        "home": read.home,
        "manifest": read.manifest,
        **head,
        "certificates": list(read.certificates),
        "receipt": read.receipt,
    }


def _world_trust(data: bytes) -> dict[str, Any]:
    from city_chain.levels.cross_receipt import WorldTrust  # noqa: PLC0415 — slow to load, seldom needed

    read = WorldTrust.from_bytes(data)
    return {
        "chain": read.chain,
        "names": list(read.names),
        "homes": [read.homes[name] for name in read.names],
        "layouts": list(read.layouts),
    }


def _node_file(data: bytes) -> dict[str, Any]:
    from city_chain.levels.node_file import NodeFile  # noqa: PLC0415 — slow to load, seldom needed

    read = NodeFile.from_bytes(data)
    return {
        "node": read.identity.id,
        "index": read.index,
        "city": read.settings.name,
        "nodes": len(read.roll),
        "observes_until": read.observes_until,
        "handovers": len(read.handovers),
        "lists": len(read.lists),
        "rows": len(read.rows),
        "sender": read.sender,
        "first": read.first,
    }


_KINDS: Mapping[str, tuple[str, Callable[[bytes], dict[str, Any]]]] = {
    "crossed": ("receipt of a crossing", _crossing),
    "crossing_receipt": ("receipt of a crossing", _crossing),
    "worldtrust": ("trust in a world", _world_trust),
    "node": ("node file", _node_file),
}
