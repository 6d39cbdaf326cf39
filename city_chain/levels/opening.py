"""How a city is opened: its file is found or made and owned by this process, and the adapters that were not given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import InputError, StorageError
from city_chain.levels.checks import checked_path
from city_chain.levels.embedded import Parts
from city_chain.levels.owner import Owner
from city_chain.levels.settings import Founding, load, located
from city_chain.node.city_clock import kept
from city_chain.ports import Entropy, Storage

__all__ = ["opened", "reopened"]


def opened[T](
    path: str | os.PathLike[str] | None,
    given: Parts,
    founding: Callable[[Storage, Entropy], Founding],
    make: Callable[[Founding, Parts, Owner | None], T],
    *,
    create: bool,
) -> T:
    """What `make` makes of a city's founding, its adapters and the lock on its file; all is let go where that fails.

    Args:
        path: The city's file; None for the storage that is given, or for memory.
        given: The adapters; those that are None are made.
        founding: Reads what the city is from its own rows, or founds it there.
        make: Makes the city; it owns what it is given.
        create: Whether the file may be made.

    Raises:
        InputError: A path and a storage were given.
        StorageError: There is no file, it cannot be opened or made, or another process has it open.
        UnavailableError: The clock is not synchronised.

    Example:
        >>> from city_chain.levels.settings import Settings, found
        >>> settings = Settings(nodes=4, validators=1, k=2, n=4)
        >>> def founding(storage: Storage, entropy: Entropy) -> Founding:
        ...     return found(storage, settings, entropy)
        >>> opened(None, Parts(), founding, lambda found, parts, owner: (found.settings.nodes, owner), create=True)
        (4, None)
    """
    if path is not None and given.storage is not None:
        raise InputError("a path and a storage were given; one of them is needed")
    clock = kept(given.clock or SystemClock())  # one that gives no time yet leaves no file behind
    owner = None
    storage = given.storage
    if path is not None:
        where = checked_path(path)
        if not create and not where.exists():
            raise StorageError(f"{where} does not exist; make a city with City.local or city-chain init")
        owner = Owner(where) if where.parent.is_dir() else None
    try:
        if path is not None:
            storage = SqliteStorage(where, create=create)
        storage = storage or MemoryStorage()
        entropy = given.entropy or OsEntropy()
        found = founding(NamespacedStorage(storage, b"c"), entropy)
        transport = given.transport or (TcpTransport(clock) if found.elsewhere else InProcessTransport(clock))
        presence = given.presence or MemoryPresence()
        return make(found, Parts(storage, presence, transport, clock, entropy), owner)
    except BaseException:
        if path is not None and storage is not None:
            storage.close()
        if owner is not None:
            owner.close()
        raise


def reopened(where: Path, addresses: Mapping[int, str], storage: Storage, _: Entropy) -> Founding:
    """What the city in a storage is, told where its nodes elsewhere answer now.

    Raises:
        InputError: A node of `addresses` has not moved out.
        StorageError: There is no city, or it is damaged or of a newer version.

    Example:
        >>> reopened(Path("city.db"), {}, MemoryStorage(), OsEntropy())
        Traceback (most recent call last):
        ...
        city_chain.errors.StorageError: city.db holds no city; make one with City.local or city-chain init
    """
    there = load(storage)
    if there is None:
        raise StorageError(f"{where} holds no city; make one with City.local or city-chain init")
    return located(storage, there, addresses)
