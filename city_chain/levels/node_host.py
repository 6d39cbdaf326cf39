"""A process of its own for some of a city's nodes: they vote and hold there, over a storage and a ledger of their own.

The city makes the nodes' files (`City.move_out`) and is told where they answer (`City.open`). What it commits reaches
each such process, which judges it for itself and keeps its own copy of the ledger. A process that was away is told
what it has missed.

=======  ============================================================================
prefix   what is under it
=======  ============================================================================
``c``    ``w``: the network; ``k``: the city's keys; ``o`` number: handovers; ``n`` index: a node that
         was set up, and whether it votes or observes, until which epoch
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
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from city_chain import records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.levels.checks import checked_path
from city_chain.levels.embedded import node_space
from city_chain.levels.keys import handover_key
from city_chain.levels.node_file import NodeFile, write_secret
from city_chain.levels.owner import Owner
from city_chain.levels.settings import domain_of, follow
from city_chain.node import Door, Host, Joining, Judge, Ledger, Node, Roster
from city_chain.node.bounds import Bounds
from city_chain.node.city_clock import kept
from city_chain.node.testifying import guilty
from city_chain.ports import Auth, Clock, Grant, Request, Storage, Transport
from city_chain.stages import messages
from city_chain.stages.model import Members, Terms
from city_chain.stages.r1_ingress import Ingress

__all__ = ["NodeHost"]

_log = logging.getLogger("city_chain")

_LEASE_S = 3600.0
_TIDY_S = 60.0
_STOP_LOOK_S = 1.0
_VOTES, _OBSERVES = b"v", b"o"
_FOR_EVER = b"\xff" * 8
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
        auth: Auth | None = None,
    ) -> None:
        """Use `open`."""
        files = list(found.values())
        self._storage = storage
        self._transport = transport
        self._clock = clock
        self._owner = owner
        self._paths = list(found)
        self._files = files
        self._changed = threading.Condition()  # guards the next three
        self._host: Host | None = None
        self._inside = 0  # bursts that the host is answering
        self._closed = False
        self._failed = ""  # why it answers nobody any more
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own = NamespacedStorage(storage, b"c")
        self._hosted = NamespacedStorage(storage, b"h")
        self._presence = MemoryPresence()
        self._set_up()
        self.addresses: dict[int, str] = {}
        self.ids = {file.index: file.identity.id for file in files}
        handler = self._handle if auth is None else Door(self._handle, auth, self._only_the_city).answer
        for file in files:
            address = transport.serve(handler, listen if len(files) == 1 else f"{listen}/{file.index}")
            listen = address.partition("/")[0]
            self.addresses[file.index] = address
        self._build()
        self._thread = threading.Thread(target=self._tidy, name="city-chain-node-host", daemon=True)
        self._thread.start()

    def _build(self) -> None:
        """The insides in the epoch that the ledger has reached."""
        first = self._files[0]
        clock, hosted, settings = self._clock, self._hosted, first.settings
        epoch, earlier, begins = follow(records.Epoch.from_bytes(first.first), self._reached())
        self._spend(epoch.number)
        self._ledger = ledger = Ledger(NamespacedStorage(self._storage, b"l"), epoch, earlier, begins)
        roster = _Roll(first.roll, self._presence, clock, settings.name, epoch, NamespacedStorage(self._storage, b"k"))
        sender, terms = first.sender, Terms(settings.k, settings.n)
        judge = Judge(ledger, roster, settings.name, terms, lambda key: key == sender, clock)
        ingress = Ingress(epoch.network, lambda key: key == sender, clock)
        host = Host(hosted, ledger, judge, ingress)
        self._bounds = Bounds(hosted, clock, ledger.tip.hlc)
        self._nodes = [self._node(file) for file in self._files]
        joining = Joining(ledger, roster, first.roll, self._use_keys, self._follow, self._met, sender)
        host.answer_also(joining.answers())
        self._take_up_keys(first.keys)
        Node.log_in(self._nodes, hosted, self._presence, settings.name, _LEASE_S)
        host.make_ready(self._nodes)
        for node in self._nodes:
            host.add(node)
        with self._changed:
            self._host = host
            self._changed.notify_all()

    def _spend(self, epoch: int) -> None:
        """Has the files say that nodes may have voted in an epoch, before any of them can.

        What a file brought is kept in the storage now, and is older in the file every moment. Should the storage be
        lost, the file alone tells until when the node must not vote.
        """
        for at, (path, file) in enumerate(zip(self._paths, self._files, strict=True)):
            if file.observes_until is None or file.observes_until < epoch:
                self._files[at] = file.spent(epoch)
                write_secret(path, self._files[at].to_bytes())

    def _node(self, file: NodeFile) -> Node:
        space = node_space(file.index)
        node = Node(
            file.identity,
            space,
            NamespacedStorage(self._hosted, space),
            self._ledger,
            self._clock,
            domain=domain_of(file.settings, file.index),
            address=self.addresses[file.index],
            bounds=self._bounds,
            suite=file.settings.session,
            engine=file.settings.engine,
        )
        (row,) = self._own.get_many([_node_key(file.index)])
        if row is not None and row[32:33] == _OBSERVES and row[33:] >= self._ledger.epoch.number.to_bytes(8, "big"):
            until = int.from_bytes(row[33:], "big")
            node.observe(self._ledger.epoch.number if row[33:] == _FOR_EVER else until)
        return node

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
        auth: Auth | None = None,
    ) -> Self:
        """Runs the nodes of some files, which are of one city.

        Args:
            files: What `City.move_out` wrote, one for each node. A file that is set up here is written again without
                the votes that it brought, and again in each epoch: if the storage is lost, the node that is set up
                from it anew may have forgotten votes, and so votes for nothing until the next epoch.
            path: The SQLite file of this process; made if there is none. None: `storage`, or memory only.
            listen: Where to answer; with several nodes each has its index after it (``tcp:HOST:PORT/INDEX``).
            storage: Where to keep all instead of `path`.
            transport: What carries messages (default: TCP, which authenticates nobody: see `adapters.transport.tcp`).
            clock: Physical and monotonic time (default: the system's).
            auth: Checks tokens. With it, nothing is done for anybody who shows none whose `sub` is the city's sender
                (`City.sender`): the city is to be opened with `node.WithToken`. None: whoever reaches the port may ask.

        Raises:
            InputError: A file is none, they are of several cities, or the storage is of other nodes.
            StorageError: The file cannot be opened or made, or another process has it open; a node's file cannot be
                written.
            UnavailableError: The address cannot be listened at, or the clock is not synchronised.
        """
        if isinstance(files, str | bytes | os.PathLike):
            raise TypeError(f"files must be a sequence of paths, not one {type(files).__name__}")
        if auth is not None and not isinstance(auth, Auth):
            raise TypeError(f"auth must be a ports.Auth or None, not {type(auth).__name__}")
        if path is not None and storage is not None:
            raise InputError("a path and a storage were given; one of them is needed")
        clock = kept(clock or SystemClock())
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
        try:
            if path is not None:
                storage = SqliteStorage(where, create=True)
            storage = storage or MemoryStorage()
            transport = transport or TcpTransport(clock)
            try:
                return cls(found, storage, transport, clock, listen, owner, auth)
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
    def sender(self) -> bytes:
        """The city's sender, 32 bytes: what `sub` of a token must be where tokens are wanted."""
        return self._files[0].sender

    @property
    def ledger(self) -> Ledger:
        """This process's own copy of the ledger."""
        return self._ledger

    def misbehaviour(self) -> list[tuple[bytes, bytes]]:
        """(node, evidence) of delegates that signed two things that exclude each other, as the nodes here keep it.

        The city asks for it too: see `City.misbehaviour`.

        Raises:
            StorageError: It is closed.
        """
        found = guilty((piece for node in self._nodes for piece in node.evidence()), self._ledger)
        return [(node, evidence) for (_, node), evidence in sorted(found.items())]

    def close(self) -> None:
        """Stops answering and closes the storage. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
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

    def _set_up(self) -> None:
        """Takes in what the files bring, each once."""
        network = records.Epoch.from_bytes(self._files[0].first).network
        (known,) = self._own.get_many([b"w"])
        if known not in (None, network):
            raise InputError("the storage is of another city's nodes")
        if known is None and next(self._storage.scan(b""), None) is not None:
            raise InputError("the storage is a city's own or something else's; nodes need one of their own")
        rows: dict[bytes, bytes] = {} if known else {b"cw": network}
        for file in self._files:
            key = _node_key(file.index)
            (kept,) = self._own.get_many([key])
            if kept is None:
                space = node_space(file.index)
                kept = rows[b"c" + key] = file.identity.id + (
                    _VOTES if file.observes_until is None else _OBSERVES + _FOR_EVER
                )
                rows.update((b"h" + space + name, row) for name, row in file.rows.items())
                for encoding in file.lists:
                    rows[b"k" + records.Candidates.from_bytes(encoding).root] = encoding
                for encoding in file.handovers:
                    rows[b"c" + handover_key(records.Handover.from_bytes(encoding).election.next.number)] = encoding
            if kept[:32] != file.identity.id:
                raise InputError(f"node {file.index}: the storage has another node of that number")
        if rows:
            self._storage.put_many(rows)

    def _met(self, number: int) -> None:
        """The city is in that epoch, by its word: until it is over, who may have forgotten votes observes."""
        for file, node in zip(self._files, self._nodes, strict=True):
            key = _node_key(file.index)
            (row,) = self._own.get_many([key])
            if row is not None and row[32:] == _OBSERVES + _FOR_EVER:
                until = max(number, self._ledger.epoch.number, file.observes_until or 0)
                self._own.put_many({key: row[:33] + until.to_bytes(8, "big")})
                node.observe(until)
                _log.warning("node %s votes for nothing before epoch %d", node.id.hex()[:16], until + 1)

    # --- epochs ------------------------------------------------------------------------------------------------------

    def _reached(self) -> list[bytes]:
        """The handovers after which the ledger has come, in their order."""
        height = Ledger(
            NamespacedStorage(self._storage, b"l"), records.Epoch.from_bytes(self._files[0].first)
        ).tip.height
        rows = [row for _, row in self._own.scan(b"o")]
        return [row for row in rows if records.Handover.from_bytes(row).election.height <= height]

    def _follow(self, handover: records.Handover) -> None:
        """Keeps the handover to the next epoch, which begins here once the ledger has come so far."""
        handover.verify(self._ledger.epoch)
        self._own.put_many({handover_key(handover.election.next.number): handover.to_bytes()})

    def _is_due(self) -> bool:
        """Whether the next epoch begins after the ledger's last batch."""
        (row,) = self._own.get_many([handover_key(self._ledger.epoch.number + 1)])
        return row is not None and records.Handover.from_bytes(row).election.height <= self._ledger.tip.height

    def _enter_next(self) -> None:
        """Goes on in the next epoch, once nobody is answered in the one before."""
        with self._changed:
            if self._host is None or not self._is_due():
                return
            self._host = None
            while self._inside:
                self._changed.wait()
        try:
            self._bounds.close()
            self._build()
        except CityChainError as error:
            _log.error("going on in the next epoch failed, start this process again: %s", error)
            with self._changed:
                self._failed = str(error)
                self._changed.notify_all()
            return
        keep = [self._ledger.epoch.root]
        stale = [node.space + key for node in self._nodes for key in node.keeper.stale(keep)]
        if stale:
            self._hosted.delete_many(stale)

    # --- keys --------------------------------------------------------------------------------------------------------

    def _take_up_keys(self, brought: bytes) -> None:
        """Works under the keys of the epoch, if they are here."""
        (kept,) = self._own.get_many([b"k"])
        try:
            for row in filter(None, (kept, brought)):
                keys = records.CityKeys.from_bytes(row)
                if keys.epoch == self._ledger.epoch.number:
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

    def _only_the_city(self, grant: Grant) -> None:
        if grant.node != self.sender:
            raise VerificationError(f"token: it is of {grant.node.hex()[:16]}, this node serves its city alone")

    def _handle(self, requests: Sequence[Request]) -> list[bytes]:
        with self._changed:
            while self._host is None and not (self._closed or self._failed):
                self._changed.wait(_STOP_LOOK_S)
            host = self._host
            if host is None or self._closed:
                return [messages.refused(self._failed or "this process is closing")] * len(requests)
            self._inside += 1
        try:
            return host.handle(requests)
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
            if self._is_due():
                self._enter_next()

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


def _node_key(index: int) -> bytes:
    return b"n" + index.to_bytes(4, "big")


class _Roll(Roster):
    """A roster of a process that is told candidate lists; whom elections may name are all nodes of the city.

    Args:
        roll: All nodes of the city.
        rest: As `Roster`.
    """

    def __init__(self, roll: Mapping[bytes, str], *rest: Any) -> None:
        super().__init__(*rest)
        self._roll = roll

    def members(self) -> Members:
        """This process's own nodes, with all nodes of the city as addresses that are not known."""
        return replace(super().members(), addresses=dict.fromkeys(self._roll, ""))
