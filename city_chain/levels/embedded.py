"""An embedded city's insides: all its nodes in one process, over one storage, and what the pipelines are given.

=======  =========================================
prefix   what is under it
=======  =========================================
``c``    settings, secrets, epoch (`settings`)
``h``    the nodes' spaces, the bodies voted on, the bound of all stamps
``j``    the journal of sends
``k``    candidate lists by root
``l``    the ledger
``q``    the sender's index
``w``    what the city knows as a member of a world
=======  =========================================

All of it is one storage, and in-process transport carries nothing out of the process, so all nodes and the sender are
lost with the machine's power together. They need each other's writes in their order, not on the disk: only what is
told to the caller must be there. So the journal, holders and delegates defer their writes (`ports.DeferringStorage`),
and the ledger's append, which comes after them, syncs them all at once. Over any other transport each of them waits
for the disk before it answers.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from city_chain import records
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.composer import StageEvent
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError
from city_chain.levels.behind import Behind
from city_chain.levels.checks import check_delegates
from city_chain.levels.elsewhere import Elsewhere
from city_chain.levels.journal import SendJournal
from city_chain.levels.keys import OVER, KeyMaker, handover_key
from city_chain.levels.misbehaviour import Misbehaviour
from city_chain.levels.moving import file_of, index_of, mark_moved, rows_of
from city_chain.levels.node_file import secret_beside
from city_chain.levels.placing import Placing, grader_of
from city_chain.levels.reports import ClockHealth, NodeInfo
from city_chain.levels.sent import SentIndex
from city_chain.levels.settings import STAKE, Founding, domain_of, node_identity, sender_identity
from city_chain.node import ENGINES, Host, Judge, Ledger, Node, Roster
from city_chain.node.bounds import Bounds
from city_chain.node.city_clock import state, sure
from city_chain.node.node import OWN_DRIFT_MAX_MS
from city_chain.node.sharding import Membership, Shard
from city_chain.ports import Clock, Entropy, Presence, Storage, Transport
from city_chain.proofs import dpos
from city_chain.stages.countersigning import countersign
from city_chain.stages.fetcher import ABSENT
from city_chain.stages.inventories import Inventories, refresh
from city_chain.stages.model import Members, Placement, Restored, Sender, Terms
from city_chain.stages.r1_ingress import Ingress
from city_chain.stages.sessions import Sessions
from city_chain.stages.vitals import Vitals

__all__ = ["HOSTED", "Embedded", "Parts", "node_space"]

HOSTED = b"h"
"""The prefix under which the nodes' spaces are."""

_LEASE_S = 3600.0

_log = logging.getLogger("city_chain")


def node_space(index: int) -> bytes:
    """The prefix of a node's own space under `HOSTED`.

    Example:
        >>> node_space(258).hex()
        '6e00000102'
    """
    return b"n" + index.to_bytes(4, "big")


def index_of_space(space: bytes) -> int:
    """Whose space it is, by the node's index.

    Example:
        >>> index_of_space(node_space(258))
        258
    """
    return int.from_bytes(space[1:], "big")


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters of a city; None where the default is wanted."""

    storage: Storage | None = None
    presence: Presence | None = None
    transport: Transport | None = None
    clock: Clock | None = None
    entropy: Entropy | None = None

    def __post_init__(self) -> None:
        ports = (("storage", Storage), ("presence", Presence), ("transport", Transport), ("clock", Clock))
        for name, port in (*ports, ("entropy", Entropy)):
            part = getattr(self, name)
            if part is not None and not isinstance(part, port):
                raise TypeError(f"{name} must keep the contract of ports.{port.__name__}, not {type(part).__name__}")

    def need_storage(self) -> Storage:
        """The storage, which must be there."""
        if self.storage is None:
            raise InputError("a storage is needed")
        return self.storage

    def need_entropy(self) -> Entropy:
        """The entropy, which must be there."""
        if self.entropy is None:
            raise InputError("an entropy is needed")
        return self.entropy


class Embedded:
    """Nodes, ledger, journal and engine of one city.

    Args:
        founding: What the city is.
        parts: Its adapters, all given.
    """

    is_outdated = False
    """Whether a node was marked as one that runs elsewhere, so that the insides must be made anew."""

    def __init__(self, founding: Founding, parts: Parts) -> None:
        if parts.presence is None or parts.transport is None or parts.clock is None:
            raise InputError("presence, transport and clock are needed")
        self.settings = founding.settings
        self.epoch = founding.epoch
        self.storage = parts.need_storage()
        self.clock = parts.clock
        self.behind = Behind()
        self.on_stage: Callable[[StageEvent], None] | None = None
        self.keys: records.CityKeys | None = None
        self._presence = parts.presence
        self._transport = parts.transport
        self._own = NamespacedStorage(self.storage, b"c")
        self._lock = threading.Lock()
        self._founding = founding
        self._roster, self._placing = self._make_roster(founding, parts.presence, parts.transport, parts.need_entropy())
        self.ledger = Ledger(NamespacedStorage(self.storage, b"l"), founding.epoch, founding.earlier, founding.begins)
        # What a process wrote that was killed may not be on the disk yet, and all that follows rests on it.
        self.sync()
        deferring = isinstance(parts.transport, InProcessTransport)
        hosted = self._hosted = NamespacedStorage(self.storage, HOSTED)
        put = hosted.defer_many if deferring else None
        self._put_hosted = put or hosted.put_many
        self._bounds = Bounds(hosted, parts.clock, self.ledger.tip.hlc, put)
        journal = NamespacedStorage(self.storage, b"j")
        self.journal = SendJournal(journal, journal.defer_many if deferring else None)
        index = NamespacedStorage(self.storage, b"q")
        self.sent = SentIndex(index, self.ledger, index.defer_many if deferring else None)
        self.sender = self._make_sender(founding, parts.need_entropy())
        self._vitals = Vitals(parts.clock)
        self._inventories = Inventories(parts.clock)

        def authorised(key: bytes) -> bool:
            return key == self.sender.identity.id

        self.shard = Shard.of(NamespacedStorage(self.storage, b"w"), self.ledger)
        judge = Judge(
            self.ledger, self._roster, self.settings.name, self.sender.terms, authorised, parts.clock, self.shard
        )
        door = Ingress(founding.epoch.network, authorised, parts.clock)
        self._judge, self._host = judge, Host(hosted, self.ledger, judge, door, put, parts.transport)
        self._nodes = self._make_nodes(founding, hosted)
        self._host.make_ready(list(self._nodes.values()))
        self._stopped = set(founding.stopped)
        for node in self._nodes.values():
            if node.id not in self._stopped:
                self._serve(node)
        self._renew_at = 0.0
        self._renew()
        self._misbehaviour = Misbehaviour(self._own, self.ledger)
        self._elsewhere = Elsewhere(
            {node_identity(founding.master, index).id: address for index, address in founding.elsewhere.items()},
            self.ledger,
            self._roster,
            parts.presence,
            parts.transport,
            parts.clock,
            lambda: self.keys,
            self._handover_to,
            self._misbehaviour.hear,
            sender_identity(founding.master).sign,
        )
        self._elsewhere.meet()
        if not self.sent.is_whole:
            self.behind.submit(lambda stop: self.sent.catch_up(stop.is_set))
        self._maker = KeyMaker(
            self._own,
            self.ledger,
            parts.transport,
            lambda: self._members().addresses,
            self._records_of,
            parts.clock,
            self._own.defer_many if deferring else None,
        )
        self._erase_over()
        self._open_keys()
        self.engine = ENGINES[founding.settings.engine].engine(
            self.ledger, judge, self._roster, parts.transport, parts.clock, self.settings.name
        )

    def _make_roster(
        self, founding: Founding, presence: Presence, transport: Transport, entropy: Entropy
    ) -> tuple[Roster, Placing]:
        grader = grader_of(founding, self.clock, entropy)
        lists = NamespacedStorage(self.storage, b"k")
        roster = Roster(presence, self.clock, founding.settings.name, founding.epoch, lists, grader)
        return roster, Placing(grader, transport, self.clock)

    def _make_sender(self, founding: Founding, entropy: Entropy) -> Sender:
        identity = sender_identity(founding.master)
        settings = founding.settings
        stamps = self._bounds.hlc(OWN_DRIFT_MAX_MS)
        self.stamp = stamps.now
        return Sender(
            identity=identity,
            draw=records.Draw(identity, founding.epoch),
            terms=Terms(settings.k, settings.n),
            clock=self.clock,
            entropy=entropy,
            stamp=stamps.next,
            sessions=Sessions(founding.epoch.network, identity.id, self.clock),
            sent=self.sent,
        )

    def _make_nodes(self, founding: Founding, hosted: Storage) -> dict[bytes, Node]:
        nodes = {}
        for index in range(founding.settings.nodes):
            if index in founding.elsewhere:
                continue
            identity = node_identity(founding.master, index)
            space = node_space(index)
            node = Node(
                identity,
                space,
                NamespacedStorage(hosted, space),
                self.ledger,
                self.clock,
                domain=domain_of(founding.settings, index),
                address=f"inproc:{identity.id.hex()[:16]}",
                bounds=self._bounds,
                suite=founding.settings.session,
                engine=founding.settings.engine,
                place=None if founding.places is None else founding.places.of(index),
            )
            nodes[node.id] = node
        return nodes

    def candidates(self, root: bytes) -> records.Candidates:
        """A candidate list that nodes were drawn from (see `City.candidates`)."""
        if not isinstance(root, bytes):
            raise TypeError(f"the root of a candidate list must be bytes, not {type(root).__name__}")
        known = self._roster.candidates(root) if len(root) == 32 else None
        if known is None:
            raise InputError(f"there is no candidate list {root.hex()[:64]} here")
        return known

    # --- a world -----------------------------------------------------------------------------------------------------

    def check_clock(self) -> None:
        """Refuses while the clock is lost.

        Raises:
            UnavailableError: It is not synchronised.
        """
        sure(self.clock).now_ms()

    def clock_health(self) -> ClockHealth | None:
        """What the clock says of itself."""
        return ClockHealth.of(state(self.clock))

    def members(self) -> Members:
        """The nodes that are there."""
        self._renew()
        return self._roster.members()

    @property
    def transport(self) -> Transport:
        """What carries messages to the nodes."""
        return self._transport

    def join(self, membership: Membership) -> Shard:
        """Makes the city a member of a world, for good.

        Raises:
            InputError: It is a member of another one.
        """
        self.shard = Shard.join(NamespacedStorage(self.storage, b"w"), self.ledger, membership)
        self._judge.shard = self.shard
        return self.shard

    # --- threshold keys ----------------------------------------------------------------------------------------------

    def need_keys(self) -> records.CityKeys:
        """The city's threshold keys; made now if too few delegates were there before.

        Raises:
            UnavailableError: They are not made yet, and too few delegates take part.
            StorageError: They are damaged.
        """
        if self.keys is None:
            self._renew()
            return self._use_keys(self._maker.make())
        return self.keys

    @property
    def trust(self) -> records.Trust:
        """What a verifier must know beforehand: all epochs so far, and the city's public key once it has one."""
        epochs = [(epoch.number, epoch.root) for epoch in self.ledger.epochs]
        return records.Trust(self.epoch.network, epochs, None if self.keys is None else self.keys.signing_key)

    def compress(self, receipt: records.Receipt) -> records.Receipt:
        """The same receipt with its certificate compressed to one signature of the city (see `City.compress`)."""
        if receipt.certificate.engine == "bls":
            return receipt
        self._renew()
        return receipt.with_certificate(self._maker.compress(receipt.certificate, receipt.header.height))

    def compressed(self, certificate: records.CommitCertificate, height: int) -> records.CommitCertificate:
        """The certificate of the batch committed at a height, compressed to one signature of the city."""
        self._renew()
        return self._maker.compress(certificate, height)

    def chosen(self, validators: int | Iterable[bytes]) -> list[bytes]:
        """The delegates of the next epoch: those named, or so many elected of the nodes that run.

        Raises:
            InputError: There is no such node, one is named twice, or they are too few or too many.
            UnavailableError: Too few nodes run.
        """
        if isinstance(validators, int):
            check_delegates(validators)
            running = [(node.id, STAKE) for node in self._nodes.values() if node.id not in self._stopped]
            away = self._elsewhere.nodes
            running += [(node, STAKE) for node in set(away) - set(self._elsewhere.silent(away))]
            guilty = {node for node, _ in self.misbehaviour()}
            running = [(node, stake) for node, stake in running if node not in guilty]
            if len(running) < validators:
                raise UnavailableError("nodes that run and may be delegates", validators, len(running))
            return [key for key, _ in dpos.elect(self.epoch.number + 1, running, [], validators).items]
        named = list(validators)
        for node in named:
            index_of(self._founding, node)
        check_delegates(len(named))
        if len(set(named)) < len(named):
            raise InputError("elect: a node is named twice")
        return named

    def misbehaviour(self) -> list[tuple[bytes, bytes]]:
        """(node, evidence) of delegates that signed two things that exclude each other (see `City.misbehaviour`)."""
        self._elsewhere.listen()
        return self._misbehaviour.found(piece for node in self._nodes.values() for piece in node.evidence())

    def hand_over(self, delegates: Sequence[bytes], deadline: float) -> None:
        """Has the delegates elected and the keys handed on to them; the next opening is in the next epoch.

        Args:
            delegates: The delegates of the next epoch.
            deadline: When to give up finishing what a delegate had accepted before, on the monotonic clock.

        Raises:
            UnavailableError: Too few delegates took part, old or new, or a new one does not run.
            StorageError: The disk failed.
        """
        self.check_clock()
        self._renew()
        away = self._elsewhere.silent(delegates)
        silent = [node.hex()[:16] for node in delegates if node in self._stopped or node in away]
        if silent:
            running = len(delegates) - len(silent)
            raise UnavailableError(
                f"delegates-to-be that run (stopped or silent: {', '.join(silent)})", len(delegates), running
            )
        self.engine.recover(deadline)
        if self.journal.pending():
            raise UnavailableError("elect: sends are begun and not ended; open the city again to settle them", 0, 0)
        ledger = self.ledger
        self._elsewhere.hand_out_keys([key for key, _ in ledger.epoch.validators.items], deadline)
        validators = dpos.ValidatorSet(ledger.epoch.number + 1, [(node, STAKE) for node in delegates])
        tip = ledger.tip
        self._maker.hand_over(records.Election(self.sender.identity, ledger.epoch, tip.height, tip.digest, validators))

    def again(self, founding: Founding | None, parts: Parts) -> Embedded:
        """The insides anew, of the epoch that is in force now; these here rest.

        Raises:
            StorageError: There is no city any more.
        """
        if founding is None:
            raise StorageError("the city is gone from its storage")
        city = Embedded(founding, parts)
        city.on_stage = self.on_stage
        return city

    def carry_on(self) -> bool:
        """Ends a handover that was begun, if delegates have signed it already and so vote for nothing more.

        Returns:
            Whether the next opening is in the next epoch.
        """
        height = self.ledger.tip.height
        if not any(node.keeper.is_resting(self.epoch.number + 1, height) for node in self._nodes.values()):
            return False
        try:
            pending = self._maker.pending()
            if pending is None or pending.height != height:
                return False
            self._maker.hand_over(pending)
        except CityChainError as error:
            _log.warning("the handover to epoch %d cannot be ended now: %s", self.epoch.number + 1, error)
            return False
        return True

    def _open_keys(self) -> None:
        """Opens the keys, or has them made if there are none yet. A city without them still sends and receives."""
        try:
            kept = self._maker.kept()
            self._use_keys(kept or self._maker.make())
            if kept is not None:
                self._maker.hand_to_stragglers()
        except CityChainError as error:
            advice = "they are made when more delegates answer and the city is opened again, or its keys are asked for"
            _log.warning("the city has no threshold keys now: %s; %s", error, advice)

    def _use_keys(self, keys: records.CityKeys) -> records.CityKeys:
        for node in self._nodes.values():
            node.keeper.use(keys)
        self.keys = keys
        self._elsewhere.wake()
        return keys

    def _erase_over(self) -> None:
        """Erases the shares of epochs that are over; what a crash leaves is erased by the next opening."""
        if self._own.get_many([OVER])[0] is None:
            return
        keep = [self.epoch.root]
        stale = [node.space + key for node in self._nodes.values() for key in node.keeper.stale(keep)]
        if stale:
            self._hosted.delete_many(stale)
        self._own.delete_many([OVER])

    def _records_of(self, nodes: Sequence[bytes]) -> list[records.Recipient]:
        here = [self._nodes[node].keeper.recipient(self.epoch.network) for node in nodes if node in self._nodes]
        return here + self._elsewhere.recipients(nodes)

    def _handover_to(self, number: int) -> records.Handover | None:
        (row,) = self._own.get_many([handover_key(number)])
        return None if row is None else records.Handover.from_bytes(row)

    def _members(self) -> Members:
        """The nodes logged in now, here and elsewhere; those elsewhere know the list."""
        members = self._roster.members()
        self._elsewhere.tell(members)
        return members

    # --- what the pipelines are given --------------------------------------------------------------------------------

    def sending(self) -> Mapping[str, Any]:
        """The inputs of the sending pipelines."""
        self._renew()
        return {
            "sender": self.sender,
            "members": self._members(),
            "transport": self._transport,
            "journal": self.journal,
            "engine": self.engine,
            "behind": self.behind,
        }

    def receiving(self) -> Mapping[str, Any]:
        """The inputs of the receiving pipelines."""
        self._renew()
        return {
            "archive": self,
            "sender": self.sender,
            "members": self._members(),
            "transport": self._transport,
            "vitals": self._vitals,
            "inventories": self._inventories,
            "keys": self.keys,
            "engine": self.engine,
        }

    def countersign(self, receipt: records.Receipt, deadline_s: float) -> records.CountersignedReceipt:
        """Collects countersignatures of a receipt (see `stages.countersigning`).

        Args:
            receipt: What is to be signed.
            deadline_s: When to give up, seconds from now.
        """
        self._renew()
        until = self.clock.monotonic() + deadline_s
        return countersign(receipt, self.sender, self._members(), self._transport, until)

    def learn(self, deadline: float, nodes: Sequence[bytes] | None = None, ends: Callable[[], bool] = bool) -> None:
        """Asks some nodes (default: all) what they hold, and waits no longer for it than for the silent.

        Args:
            deadline: When to give up at the latest, on the monotonic clock.
            nodes: Whom to ask.
            ends: Whether to give up at once.
        """
        members, height = self._members(), self.ledger.tip.height
        until = min(deadline, self.clock.monotonic() + self.sender.terms.silence_ms / 1000)
        wanted = list(members.addresses) if nodes is None else nodes
        refresh(self._inventories, wanted, self.sender, members, self._transport, height, until, ends)

    def learn_behind(self, restored: Sequence[Restored]) -> None:
        """Asks those holders what they hold that had not what was asked of them; waits for nothing."""
        absent = [
            result.placement.holders[index]
            for result in restored
            for index, why in result.bad.items()
            if why == ABSENT and index in result.placement.holders
        ]
        nodes = self._inventories.worth_asking(absent) if absent else []
        if nodes:
            self.behind.submit(lambda stop: self.learn(math.inf, nodes, stop.is_set))

    def placements(self, tx_ids: Sequence[bytes]) -> list[Placement | None]:
        """Where committed transactions' fragments are: the certificates' acks, later ones, then repairs."""
        receipts = self.ledger.receipts(tx_ids)
        generations = self.ledger.generations(tx_ids)
        return [
            None if receipt is None else self._placement(receipt, generation)
            for receipt, generation in zip(receipts, generations, strict=True)
        ]

    def _placement(self, receipt: records.Receipt, generation: int) -> Placement:
        holders = dict(receipt.availability.holders)
        if len(holders) < receipt.manifest.n:
            holders = {**self.journal.late_holders(receipt.tx_id), **holders}
        if generation:
            for certificate in self.ledger.repairs(receipt.tx_id):
                holders.update(certificate.repair.moves)
        return Placement(receipt, holders, generation)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[NodeInfo]:
        """The nodes, in the order in which they were made; those elsewhere come last."""
        here = [
            NodeInfo(
                id=node.id,
                domain=node.domain,
                address=node.address,
                delegate=node.is_delegate,
                votes=node.voter is not None,
                running=node.id not in self._stopped,
                fragments=node.holder.count(),
                index=index_of_space(node.space),
            )
            for node in self._nodes.values()
        ]
        return here + self._elsewhere.infos(self._founding)

    def move_out(self, node: bytes, path: Path) -> int:
        """Has a node run elsewhere from now on (see `City.move_out`); its index."""
        index, moved = index_of(self._founding, node), self._nodes.get(node)
        with self._lock:
            if moved is not None:
                self._transport.stop(moved.address)
                self._host.remove(moved.address)
            try:
                rows = None if moved is None else rows_of(NamespacedStorage(self._hosted, moved.space))
                file = file_of(self._founding, self.storage, index, rows, self.keys)
                publish = secret_beside(path, file.to_bytes())
                self.is_outdated = True
                mark_moved(self._own, index, node)
            except CityChainError:
                if moved is not None and node not in self._stopped:
                    self._serve(moved)
                raise
            if moved is not None and moved.has_logged_in:
                sequence = records.NodeRecord.from_bytes(moved.record).sequence
                self._presence.remove(self.clock.monotonic(), node, sequence)
            try:
                publish()
            except StorageError as error:
                raise StorageError(
                    f"{error}; the node is out all the same: move it out again, to another file"
                ) from error
        return index

    def node(self, node: bytes) -> Node:
        """One node.

        Raises:
            InputError: There is no such node.
        """
        if not isinstance(node, bytes):
            raise TypeError(f"a node's id must be bytes, not {type(node).__name__}")
        found = self._nodes.get(node)
        if found is None and node in self._elsewhere.nodes:
            raise InputError(f"node {node.hex()[:16]} has moved out: it runs in a process of its own; stop it there")
        if found is None:
            raise InputError(f"there is no node {node.hex()[:64]} here")
        return found

    def stop_node(self, node: bytes) -> None:
        """Stops a node, also after the next opening."""
        stopped = self.node(node)
        with self._lock:
            self._own.put_many({b"x" + node: b""})
            self._stopped.add(node)
            self._transport.stop(stopped.address)
            self._host.remove(stopped.address)

    def start_node(self, node: bytes) -> None:
        """Starts a stopped node again."""
        started = self.node(node)
        with self._lock:
            if node in self._stopped:
                self._own.delete_many([b"x" + node])
                self._stopped.remove(node)
                self._serve(started)
                Node.log_in([started], self._hosted, self._presence, self.settings.name, _LEASE_S)

    def _serve(self, node: Node) -> None:
        self._host.add(node)
        self._transport.serve(self._host.handle, node.address)

    def _renew(self) -> None:
        """Logs running nodes in, again when half of their lease has passed, and lets them sweep ended leases."""
        now = self.clock.monotonic()
        if now < self._renew_at:
            return
        with self._lock:
            granted = [_LEASE_S]
            absent = []
            placed = self._placing.is_due()
            if placed:
                self._placing.ask([node for node in self._nodes.values() if node.id not in self._stopped], self.sender)
            for node in self._nodes.values():
                if node.id in self._stopped:
                    continue
                # What is listed of one that has not logged in, an earlier version may have written.
                if node.has_logged_in and not placed:
                    try:
                        granted.append(self._presence.renew(now, node.id, ttl=_LEASE_S))
                    except UnavailableError:
                        absent.append(node)
                else:
                    absent.append(node)
                node.holder.expire(self.clock.now_ms(), self.ledger.committed)
            granted += Node.log_in(absent, self._hosted, self._presence, self.settings.name, _LEASE_S)
            self._renew_at = now + min(min(granted) / 2, self._placing.due_s)

    def sync(self) -> None:
        """Returns when everything that was written is durable."""
        self._own.sync()

    def close(self) -> None:
        """Ends what goes on behind, stops the nodes and closes storage and transport."""
        try:
            self.rest()
        finally:
            self._transport.close()
            self._presence.close()
            self.storage.close()

    def rest(self) -> None:
        """Ends what goes on behind and stops the nodes; storage, transport and presence stay as they are."""
        self.behind.close()
        self._elsewhere.close()
        for node in self._nodes.values():
            self._transport.stop(node.address)
        try:
            self.journal.close()
            self._bounds.close()
            self.sent.close()
            kept = {
                node.space + key: row
                for node in self._nodes.values()
                for key, row in node.holder.inventory.rows_to_keep().items()
            }
            if kept:
                self._put_hosted(kept)
            self._host.flush()
        except CityChainError:
            pass  # what is settled stays listed and is settled by the next opening; what is not kept is made anew
