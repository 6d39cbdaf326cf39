"""How a node moves out of its city: what it takes with it, and the mark that it is gone."""

from __future__ import annotations

from collections.abc import Mapping

from city_chain import records
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.errors import InputError
from city_chain.levels.node_file import NodeFile
from city_chain.levels.settings import NODE_LABEL, Founding, domain_of, elsewhere_key, node_identity, sender_identity
from city_chain.ports import Storage

__all__ = ["file_of", "index_of", "mark_moved", "rows_of"]

_LEFT_BEHIND = b"i"
"""Prefixes of what a node does not take with it: its inventory, which is made anew."""

_ROWS_BYTES_MAX = 192 << 20
"""The most bytes that a node takes with it: what one file holds."""


def index_of(founding: Founding, node: bytes) -> int:
    """Which node of a city it is.

    Raises:
        InputError: There is no such node.
        TypeError: An id is bytes.
    """
    if not isinstance(node, bytes):
        raise TypeError(f"a node's id must be bytes, not {type(node).__name__}")
    for index in range(founding.settings.nodes):
        if node_identity(founding.master, index).id == node:
            return index
    raise InputError(f"there is no node {node.hex()[:64]} here")


def rows_of(space: Storage) -> dict[bytes, bytes]:
    """What a node takes with it: all of its own space.

    Raises:
        InputError: It holds too much for one file.
    """
    rows: dict[bytes, bytes] = {}
    size = 0
    for letter in range(256):
        if letter in _LEFT_BEHIND:
            continue
        for key, row in space.scan(bytes([letter])):
            rows[key] = row
            size += len(key) + len(row) + 16
            if size > _ROWS_BYTES_MAX:
                limit = _ROWS_BYTES_MAX >> 20
                raise InputError(f"move out: the node holds more than {limit} MiB of fragments; take another one")
    return rows


def mark_moved(own: Storage, index: int, node: bytes) -> None:
    """Writes down that a node is not run here any more, from before anybody else can."""
    if own.get_many([elsewhere_key(index)])[0] is None:
        own.put_many({elsewhere_key(index): b""}, delete=[b"x" + node])


def file_of(
    founding: Founding, storage: Storage, index: int, rows: Mapping[bytes, bytes] | None, keys: records.CityKeys | None
) -> NodeFile:
    """The file of a node.

    Args:
        founding: What the city is.
        storage: All of the city's.
        index: Which node.
        rows: What it must not forget; None if that is not here any more, so that it only observes.
        keys: The city's keys.
    """
    own = NamespacedStorage(storage, b"c")
    identities = [node_identity(founding.master, at).id for at in range(founding.settings.nodes)]
    (first,) = own.get_many([b"epoch"])
    return NodeFile(
        index=index,
        seed=records.Identity.child_seed(founding.master, NODE_LABEL, index),
        settings=founding.settings,
        sender=sender_identity(founding.master).id,
        roll={node: domain_of(founding.settings, at) for at, node in enumerate(identities)},
        first=first or b"",
        handovers=[row for _, row in own.scan(b"o")],
        keys=b"" if keys is None else keys.to_bytes(),
        lists=[row for _, row in NamespacedStorage(storage, b"k").scan(b"")],
        rows=rows or {},
        observes_until=founding.epoch.number if rows is None else None,
    )
