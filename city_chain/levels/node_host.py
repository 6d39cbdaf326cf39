"""A process of its own for some of a city's nodes: they vote and hold there, over a storage and a ledger of their own.

The city makes the nodes' files (`City.move_out`) and is told where they answer (`City.open`). What it commits reaches
each such process, which judges it for itself and keeps its own copy of the ledger. A process that was away is told
what it has missed.

=======  ============================================================================
prefix   what is under it
=======  ============================================================================
``c``    ``w``: the network; ``n`` index: a node that was set up, and whether it votes; ``k``: the city's keys
``h``    the nodes' spaces, the bodies voted on, the bound of all stamps
``k``    candidate lists by root
``l``    the ledger
=======  ============================================================================
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from city_chain import records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels.checks import checked_path
from city_chain.levels.embedded import node_space
from city_chain.levels.node_file import NodeFile, write_secret
from city_chain.levels.owner import Owner
from city_chain.levels.settings import domain_of, follow
from city_chain.node import Host, Joining, Judge, Ledger, Node, Roster
from city_chain.node.bounds import Bounds
from city_chain.ports import Clock, Request, Storage, Transport
from city_chain.stages import messages
from city_chain.stages.model import Terms
from city_chain.stages.r1_ingress import Ingress

__all__ = ["NodeHost"]

_log = logging.getLogger("city_chain")

_LEASE_S = 3600.0
_TIDY_S = 60.0
_FILE_BYTES_MAX = 256 << 20


class NodeHost:
    """Some nodes of a city in this process. Made by `open`; a context manager.

    `addresses` has where each node answers and `ids` who it is, by the node's index: what `City.open` is to be told.

    Example:
        >>> import tempfile
        >>> from city_chain.levels.city import City
        >>> folder = tempfile.TemporaryDirectory()
        >>> with City.local(nodes=5, validators=1, k=2, n=4) as city:
        ...     city.move_out(city.nodes()[4].id, f"{folder.name}/node4")
        4
        >>> with NodeHost.open([f"{folder.name}/node4"]) as host:
        ...     [address.split(":")[0] for address in host.addresses.values()], host.height
        (['tcp'], 0)
        >>> folder.cleanup()
    """

    def __init__(
        self,
        found: Mapping[Path, NodeFile],
        storage: Storage,
        transport: Transport,
        clock: Clock,
        listen: str,
        owner: Owner | None,
    ) -> None:
        """Use `open`."""
        files = list(found.values())
        self._storage = storage
        self._transport = transport
        self._clock = clock
        self._owner = owner
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._host: Host | None = None
        settings = files[0].settings
        self._own = NamespacedStorage(storage, b"c")
        self._hosted = hosted = NamespacedStorage(storage, b"h")
        observing = self._set_up(files)
        for path, file in found.items():
            if not file.observes:  # what it brought is kept here now, and older every moment there
                write_secret(path, file.spent().to_bytes())
        epoch, earlier, begins = follow(records.Epoch.from_bytes(files[0].first), files[0].handovers)
        self._ledger = ledger = Ledger(NamespacedStorage(storage, b"l"), epoch, earlier, begins)
        self._presence = MemoryPresence()
        roster = Roster(self._presence, clock, settings.name, epoch, NamespacedStorage(storage, b"k"))
        sender = files[0].sender
        terms = Terms(settings.k, settings.n)
        judge = Judge(ledger, roster, settings.name, terms, lambda key: key == sender, clock)
        ingress = Ingress(epoch.network, lambda key: key == sender, clock)
        host = Host(hosted, ledger, judge, ingress)
        bounds = Bounds(hosted, clock, ledger.tip.hlc)
        self.addresses: dict[int, str] = {}
        self.ids: dict[int, bytes] = {}
        self._nodes: list[Node] = []
        for file in files:
            address = transport.serve(self._handle, listen if len(files) == 1 else f"{listen}/{file.index}")
            listen = address.partition("/")[0]
            self.addresses[file.index] = address
            self.ids[file.index] = file.identity.id
            space = node_space(file.index)
            node = Node(
                file.identity,
                space,
                NamespacedStorage(hosted, space),
                ledger,
                clock,
                domain=domain_of(settings, file.index),
                address=address,
                bounds=bounds,
                suite=settings.session,
            )
            if file.index in observing:
                node.observe()
            self._nodes.append(node)
        self._region = settings.name
        self._bounds = bounds
        host.answer_also(Joining(ledger, roster, files[0].roll, self._use_keys).answers())
        self._take_up_keys(files[0].keys)
        Node.log_in(self._nodes, hosted, self._presence, self._region, _LEASE_S)
        for node in self._nodes:
            host.add(node)
        self._host = host
        self._thread = threading.Thread(target=self._tidy, name="city-chain-node-host", daemon=True)
        self._thread.start()
        self._ready.set()

    @classmethod
    def open(
        cls,
        files: Sequence[str | os.PathLike[str]],
        path: str | os.PathLike[str] | None = None,
        *,
        listen: str = "tcp:127.0.0.1:0",
        storage: Storage | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Runs the nodes of some files, which are of one city.

        Args:
            files: What `City.move_out` wrote, one for each node. A file that is set up here is written again without
                the votes that it brought: if the storage is lost, the node that is set up from it anew may have
                forgotten votes, and so votes for nothing until the next epoch.
            path: The SQLite file of this process; made if there is none. None: `storage`, or memory only.
            listen: Where to answer; with several nodes each has its index after it (``tcp:HOST:PORT/INDEX``).
            storage: Where to keep all instead of `path`.
            transport: What carries messages (default: TCP, which authenticates nobody: see `adapters.transport.tcp`).
            clock: Physical and monotonic time (default: the system's).

        Raises:
            InputError: A file is none, they are of several cities, or the storage is of other nodes.
            StorageError: The file cannot be opened or made, or another process has it open.
            UnavailableError: The address cannot be listened at.
        """
        if path is not None and storage is not None:
            raise InputError("a path and a storage were given; one of them is needed")
        found = {checked_path(file): _read(checked_path(file)) for file in files}
        read = list(found.values())
        if len({(file.first, file.sender, str(file.settings)) for file in read}) != 1:
            raise InputError("node files of one city are needed, one at least")
        if len({file.index for file in read}) < len(files):
            raise InputError("a node is named twice")
        owner = None
        if path is not None:
            where = checked_path(path)
            owner = Owner(where) if where.parent.is_dir() else None
        clock = clock or SystemClock()
        try:
            if path is not None:
                storage = SqliteStorage(where, create=True)
            storage = storage or MemoryStorage()
            transport = transport or TcpTransport(clock)
            try:
                return cls(found, storage, transport, clock, listen, owner)
            except BaseException:
                transport.close()
                raise
        except BaseException:
            if path is not None and storage is not None:
                storage.close()
            if owner is not None:
                owner.close()
            raise

    @property
    def height(self) -> int:
        """How many batches this process has."""
        return self._ledger.tip.height

    @property
    def ledger(self) -> Ledger:
        """This process's own copy of the ledger."""
        return self._ledger

    def close(self) -> None:
        """Stops answering and closes the storage. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._ready.set()
        self._transport.close()
        if self._thread is not None:
            self._thread.join()
        try:
            self._bounds.close()
        except CityChainError as error:
            _log.warning("the bound of the stamps stays where it was: %s", error)
        self._presence.close()
        self._storage.close()
        if self._owner is not None:
            self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- setting up --------------------------------------------------------------------------------------------------

    def _set_up(self, files: Sequence[NodeFile]) -> set[int]:
        """Takes in what the files bring, each once; the nodes that only observe."""
        network = records.Epoch.from_bytes(files[0].first).network
        (known,) = self._own.get_many([b"w"])
        if known not in (None, network):
            raise InputError("the storage is of another city's nodes")
        rows: dict[bytes, bytes] = {} if known else {b"cw": network}
        observing = set()
        for file in files:
            key = b"n" + file.index.to_bytes(4, "big")
            (kept,) = self._own.get_many([key])
            if kept is None:
                space = node_space(file.index)
                rows[b"c" + key] = file.identity.id + (b"o" if file.observes else b"v")
                rows.update((b"h" + space + name, row) for name, row in file.rows.items())
                for encoding in file.lists:
                    rows[b"k" + records.Candidates.from_bytes(encoding).root] = encoding
                kept = rows[b"c" + key]
            if kept[:32] != file.identity.id:
                raise InputError(f"node {file.index}: the storage has another node of that number")
            if kept[32:] == b"o":
                observing.add(file.index)
        if rows:
            self._storage.put_many(rows)
        return observing

    def _take_up_keys(self, brought: bytes) -> None:
        (kept,) = self._own.get_many([b"k"])
        try:
            for row in (kept, brought):
                if row:
                    keys = records.CityKeys.from_bytes(row)
                    keys.verify(self._ledger.epoch)
                    self._use_keys(keys)
                    return
        except CityChainError as error:
            raise StorageError(f"the city's keys that are kept here are damaged: {error}") from error

    def _use_keys(self, keys: records.CityKeys) -> None:
        if self._own.get_many([b"k"])[0] != keys.to_bytes():
            self._own.put_many({b"k": keys.to_bytes()})
        for node in self._nodes:
            node.keeper.use(keys)

    # --- running -----------------------------------------------------------------------------------------------------

    def _handle(self, requests: Sequence[Request]) -> list[bytes]:
        self._ready.wait()
        if self._host is None or self._closed:
            return [messages.refused("this process is closing")] * len(requests)
        return self._host.handle(requests)

    def _tidy(self) -> None:
        """Lets leases of fragments end, and stays logged in to itself."""
        while not self._stop.wait(_TIDY_S):
            try:
                for node in self._nodes:
                    node.holder.expire(self._clock.now_ms(), self._ledger.committed)
                    self._presence.renew(self._clock.monotonic(), node.id, ttl=_LEASE_S)
            except CityChainError as error:
                _log.warning("tidying up failed: %s", error)


def _read(path: Path) -> NodeFile:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return NodeFile.from_bytes(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
