"""A city as a shard of a world: what follows from its rulings, and what it says to the next command.

Everything here is a function of the city's ledger: the commands in its batches, in their order, each at the time of its
batch's stamp. So every delegate comes to the same statement, and a state that is lost is made again. A snapshot is kept
now and then, so that an opening replays a few batches only.

==============  ====================================================================
key             value
==============  ====================================================================
``m``           message ``membership``: chain id, number of the shard, its first layout; for a city that came to a world
                that was there, the layout before
``n``           message ``shard``: height, the participant's snapshot after it
==============  ====================================================================
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import (
    CityChainError,
    InputError,
    ProtocolError,
    StorageError,
    UnavailableError,
    VerificationError,
)
from city_chain.node.ledger import Ledger
from city_chain.ports import Storage
from city_chain.stages import messages

__all__ = ["EXPIRES_MAX_MS", "SILENT", "Membership", "Shard", "key_digest"]

EXPIRES_MAX_MS = 24 * 3600 * 1000
"""How far ahead of a batch's stamp a transaction may expire, milliseconds."""

SILENT = b"\0"
"""The statement of a ruling that says nothing, but changes the city's state."""

_SNAPSHOT_EVERY = 32
_PINS_MAX = 1 << 16


def key_digest(key: bytes, layout: sc.Layout, shard: int | None = None) -> bytes:
    """What a key is called between cities, 32 bytes.

    Args:
        key: The key, any bytes.
        layout: The world's first layout.
        shard: The shard that is to have it; None leaves that to rendezvous hashing.

    Raises:
        InputError: The layout has no such shard.
    """
    if shard is None:
        return hashlib.blake2b(key, digest_size=32, person=b"city-chain key").digest()
    for pin in range(_PINS_MAX):
        salt = shard.to_bytes(2, "little") + pin.to_bytes(4, "little")
        digest = hashlib.blake2b(key, digest_size=32, person=b"city-chain key", salt=salt).digest()
        if layout.shard_of(digest) == shard:
            return digest
    raise InputError(f"the layout has no shard {shard}")


@dataclass(frozen=True, slots=True)
class Membership:
    """A city's place in a world.

    Args:
        chain: The world's id, 32 bytes.
        shard: The city's number in it.
        layout: The first layout that has the city, encoded.
        previous: The layout before, encoded, for a city that comes to a world that is there; empty for one that was in
            it from the beginning.
    """

    chain: bytes
    shard: int
    layout: bytes
    previous: bytes = b""

    def to_bytes(self) -> bytes:
        """As it is kept."""
        parts = [self.chain, messages.integer(self.shard), self.layout]
        return messages.message("membership", [*parts, self.previous] if self.previous else parts)

    @classmethod
    def from_bytes(cls, row: bytes) -> Membership:
        """Reads what `to_bytes` gave.

        Raises:
            ProtocolError: It is something else.
        """
        chain, shard, layout, *previous = messages.answer(row, "membership")
        if len(previous) > 1:
            raise ProtocolError(f"membership: {3 + len(previous)} parts, 3 or 4 are needed")
        return cls(chain, messages.integer_of(shard), layout, *previous)


class Shard:
    """What a city knows as a shard. Safe to use from several threads.

    Args:
        storage: Where it is kept; nothing else may write there.
        ledger: What is committed.
        membership: The city's place in its world.

    Raises:
        StorageError: What is kept is damaged.
    """

    def __init__(self, storage: Storage, ledger: Ledger, membership: Membership) -> None:
        self.membership = membership
        self._first = sc.Layout.from_bytes(membership.layout)
        self._previous = sc.Layout.from_bytes(membership.previous) if membership.previous else None
        self._storage = storage
        self._ledger = ledger
        self._lock = threading.RLock()
        self._unsaved = 0
        self.witness: Callable[[int], list[list[tuple[bytes, int]]] | None] = lambda _: None
        self.changing: Callable[[], sc.Layout | None] = lambda: None
        self._height, self._participant = self._kept()
        self._catch_up()

    @classmethod
    def of(cls, storage: Storage, ledger: Ledger) -> Shard | None:
        """The shard that is kept in a storage; None where the city is in no world.

        Raises:
            StorageError: What is kept is damaged.
        """
        (row,) = storage.get_many([b"m"])
        if row is None:
            return None
        try:
            membership = Membership.from_bytes(row)
            return cls(storage, ledger, membership)
        except (InputError, ProtocolError) as error:
            raise StorageError(f"the city's place in its world cannot be read: {error}") from error

    @classmethod
    def join(cls, storage: Storage, ledger: Ledger, membership: Membership) -> Shard:
        """The shard of a city that becomes a member of a world, or is one already.

        Raises:
            InputError: It is a member of another world.
        """
        there = cls.of(storage, ledger)
        if there is None:
            made = cls(storage, ledger, membership)
            storage.put_many({b"m": membership.to_bytes()})
            return made
        if there.membership != membership:
            raise InputError(
                f"the city is shard {there.membership.shard} of the world {there.membership.chain.hex()[:16]}, not "
                f"shard {membership.shard} of {membership.chain.hex()[:16]}"
            )
        return there

    def _kept(self) -> tuple[int, sc.Participant]:
        (row,) = self._storage.get_many([b"n"])
        if row is None:
            return 0, self._restored([])
        try:
            height, snapshot = messages.answer(row, "shard", 2)
            return messages.integer_of(height), self._restored([snapshot])
        except CityChainError as error:
            raise StorageError(f"the snapshot of the shard cannot be read, the row is damaged: {error}") from error

    def _restored(self, snapshots: list[bytes]) -> sc.Participant:
        if not snapshots:
            return sc.Participant(self.membership.shard, self._first, horizon=EXPIRES_MAX_MS, previous=self._previous)
        return sc.Participant.restore(self.membership.shard, self._first, snapshots)

    def _catch_up(self) -> None:
        """Takes in what the ledger has committed since."""
        tip = self._ledger.tip.height
        if self._height >= tip:
            return
        for height in self._ledger.ruling_heights(self._height):
            block = self._ledger.batch(height)
            if block is None:
                raise StorageError(f"ledger: the batch at height {height} is missing")
            made = [piece for piece in self._ledger.evidence(block.batch) if isinstance(piece, records.Ruling)]
            try:
                self._participant.tick_height(block.batch.header.hlc >> 16)
                for ruling in made:
                    _apply(self._participant, sc.Command.from_bytes(ruling.command))
            except CityChainError as error:
                raise StorageError(f"the rulings at height {height} cannot be followed: {error}") from error
            self._height = height
            self._unsaved += 1
        if self._unsaved >= _SNAPSHOT_EVERY:
            row = messages.message("shard", [messages.integer(self._height), self._participant.snapshot()])
            self._storage.put_many({b"n": row})
            self._unsaved = 0
        self._height = max(self._height, tip)

    # --- ruling ------------------------------------------------------------------------------------------------------

    def rule(self, command: bytes, hlc: int, warrant: bytes = b"") -> records.Ruling | None:
        """What the city says to a command in a batch with that stamp; None if it says nothing and nothing changes.

        The stamp of a batch that was committed meanwhile may be later; then it is ruled as of that one.

        Args:
            command: The command, encoded.
            hlc: The stamp.
            warrant: The head of the transaction that it is about, encoded; what locks a key needs it.

        Raises:
            InputError: It is no command.
            ProtocolError: It cannot be ruled about now.
            VerificationError: A certificate in it is wrong, or the transaction's sender has not signed its manifest.
        """
        read = sc.Command.from_bytes(command)
        with self._lock:
            self._catch_up()
            trial = self._trial(max(hlc, self._ledger.tip.hlc))
            self._check_signed(trial, read, warrant)
            self._check_layout(trial, read)
            statement, before = trial.evaluate(read), trial.snapshot()
            if statement is None:
                _apply(trial, read)
                if trial.snapshot() == before:
                    return None
        return records.Ruling(_subject(read), command=command, statement=_said(statement), warrant=warrant)

    def check(self, rulings: Sequence[records.Ruling], hlc: int) -> list[CityChainError | None]:
        """What is wrong with each ruling of a batch with that stamp, taken in their order; None where nothing is."""
        verdicts: list[CityChainError | None] = []
        with self._lock:
            self._catch_up()
            trial = self._trial(hlc)
            for ruling in rulings:
                try:
                    command = sc.Command.from_bytes(ruling.command)
                    self._check_signed(trial, command, ruling.warrant)
                    self._check_layout(trial, command)
                    if (_subject(command), _said(trial.evaluate(command))) != (ruling.subject, ruling.statement):
                        raise VerificationError("ruling: the city says something else to that command now")
                    _apply(trial, command)
                    verdicts.append(None)
                except CityChainError as error:
                    verdicts.append(error)
        return verdicts

    def _check_layout(self, trial: sc.Participant, command: sc.Command) -> None:
        """A layout that comes next must seat delegates that the cities' own handovers have put in office since.

        It must change something, so that there are no more epochs than handovers; and cities come and go as the world
        has written it down, and not otherwise.

        Raises:
            VerificationError: It seats others, nobody else, or has other cities.
            UnavailableError: A city whose delegates change cannot be asked.
        """
        following = command.layout
        if following is None:
            return
        now = trial.layouts[-1]
        seated = {shard: now.members(shard) for shard in now.shards}
        changed = [shard for shard in following.shards if following.members(shard) != seated.get(shard)]
        if now.shards != following.shards and following != self.changing():
            raise VerificationError("layout: cities come or go, and the world has not written that down")
        if not changed and now.shards == following.shards:
            raise VerificationError("layout: nobody else is in office, and no city comes or goes")
        for shard in changed:
            known = self.witness(shard)
            if known is None:
                raise UnavailableError(f"layout: the delegates of shard {shard} cannot be looked up", 1, 0)
            before = seated.get(shard)
            since = known[known.index(before) + 1 :] if before in known else known
            if following.members(shard) not in since:
                raise VerificationError(f"layout: shard {shard} has other delegates in office")

    def _check_signed(self, trial: sc.Participant, command: sc.Command, warrant: bytes) -> None:
        """What locks a key, or commits, must be what the sender of the transaction has signed.

        Raises:
            VerificationError: The sender has signed something else, or nothing shows it.
        """
        manifest = command.manifest if command.kind == "prepare" else None
        if manifest is None:
            if warrant:
                raise VerificationError(f"ruling: a warrant stands with {command.kind!r}, which needs none")
            return
        if warrant:
            try:
                records.TransactionHead.from_bytes(warrant).verify_crossing(manifest)
            except InputError as error:
                raise VerificationError(f"ruling: its warrant is no head of a transaction: {error}") from error
            return
        after = self._restored([trial.snapshot()])
        _apply(after, command)  # what was said before is said again to anybody
        if after.snapshot() != trial.snapshot():
            raise VerificationError(f"ruling: nothing shows that the sender of {manifest.body.hex()} has signed it")

    def _trial(self, hlc: int) -> sc.Participant:
        """A copy of the state, at the time of a stamp.

        Raises:
            InputError: The state is of a later stamp.
        """
        trial = self._restored([self._participant.snapshot()])
        trial.tick_height(hlc >> 16)
        return trial

    def find(self, command: bytes) -> records.Ruling | None:
        """What was ruled about a command already; None if nothing was, or in an epoch that is not known here any more.

        Raises:
            InputError: It is no command.
        """
        rulings = self._ledger.rulings(_subject(sc.Command.from_bytes(command)))
        return next((made for made in rulings if made.command == command and self._is_understood(made)), None)

    def _is_understood(self, made: records.Ruling) -> bool:
        """Whether what was said can still be certified: a statement of an epoch that is gone is made anew."""
        try:
            epoch = sc.Statement.from_bytes(made.statement).epoch
        except InputError:  # it says nothing, or no statement about a transaction
            return True
        return any(layout.epoch == epoch for layout in self.layouts)

    def certificate(self, ruling: records.Ruling, signatures: Mapping[bytes, bytes]) -> bytes:
        """The certificate of what was ruled, as its committee's signatures make it: a handover's or a statement's.

        Args:
            ruling: What was ruled.
            signatures: By node; what is wrong or a stranger's is left out.

        Raises:
            UnavailableError: They are no quorum.
            VerificationError: The statement is of an epoch that is not known here any more.
            InputError: Nothing was said to sign.
        """
        handover = self.handover(ruling)
        layout, shard, said = self._speaker(ruling)
        positions = {key: at for at, (key, _) in enumerate(layout.members(shard))}
        known = [(positions[key], signature) for key, signature in signatures.items() if key in positions]
        if said is None:
            return sc.Handover(layout, handover or b"", known).to_bytes()
        return sc.Certificate(layout, said, known).to_bytes()

    def handover(self, ruling: records.Ruling) -> bytes | None:
        """What the city handed over at a boundary that is committed; None if the ruling is about something else.

        It is not in the ruling: what leaves depends on the batch's stamp, and follows from the ledger.

        Raises:
            UnavailableError: Another boundary has been committed since.
        """
        following = sc.Command.from_bytes(ruling.command).layout
        if following is None:
            return None
        with self._lock:
            self._catch_up()
            if self._participant.layouts[-1] != following:
                raise UnavailableError(f"shard: the boundary to epoch {following.epoch} is not the last one here", 1, 0)
            return self._participant.handover()

    def committee(self, ruling: records.Ruling) -> list[bytes]:
        """Who may sign what was ruled.

        Raises:
            VerificationError: It is of an epoch that is not known here any more.
            InputError: Nothing was said to sign.
        """
        layout, shard, _ = self._speaker(ruling)
        return [key for key, _ in layout.members(shard)]

    def _speaker(self, ruling: records.Ruling) -> tuple[sc.Layout, int, sc.Statement | None]:
        """The layout and the shard whose committee signs, and the statement; None for a handover."""
        following = sc.Command.from_bytes(ruling.command).layout
        if following is not None:
            return self._layout_of(following.epoch - 1), self.membership.shard, None
        said = sc.Statement.from_bytes(ruling.statement)
        return self._layout_of(said.epoch), said.shard, said

    def _layout_of(self, epoch: int) -> sc.Layout:
        found = next((layout for layout in self.layouts if layout.epoch == epoch), None)
        if found is None:
            raise VerificationError(f"shard: epoch {epoch} is not known here")
        return found

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def layouts(self) -> list[sc.Layout]:
        """The layouts whose certificates are understood, the one in force last."""
        with self._lock:
            self._catch_up()
            return self._participant.layouts

    def version(self, digest: bytes) -> int:
        """The version of a key."""
        with self._lock:
            self._catch_up()
            return self._participant.version(digest)

    def has_arrived(self, digest: bytes) -> bool:
        """Whether a key is here, and not on its way from the city that had it."""
        with self._lock:
            self._catch_up()
            return self._participant.has_arrived(digest)

    def awaited(self) -> list[int]:
        """The shards whose parts have not all arrived."""
        with self._lock:
            self._catch_up()
            return self._participant.awaited

    def keys(self) -> int:
        """How many keys there are whose versions are kept apart."""
        with self._lock:
            self._catch_up()
            return self._participant.keys

    def leaving(self) -> list[sc.Part]:
        """What left at the last boundary and has not been taken over, ascending by shard and number."""
        with self._lock:
            self._catch_up()
            return self._participant.exports()

    def opened(self) -> list[sc.Manifest]:
        """The transactions that have keys locked."""
        with self._lock:
            self._catch_up()
            return self._participant.open()

    def holder(self, digest: bytes) -> bytes | None:
        """The transaction that has a key locked; None if none has."""
        with self._lock:
            self._catch_up()
            return self._participant.locked_by(digest)

    def open(self) -> int:
        """How many transactions have keys locked."""
        return len(self.opened())


def _subject(command: sc.Command) -> bytes:
    """What a command is about: a transaction of several cities, or itself."""
    manifest = command.manifest
    if manifest is not None:
        return manifest.txid
    return hashlib.blake2b(command.to_bytes(), digest_size=32, person=b"city-chain order").digest()


def _said(statement: sc.Statement | None) -> bytes:
    return SILENT if statement is None else statement.to_bytes()


def _apply(participant: sc.Participant, command: sc.Command) -> None:
    """Carries a command out. The ledger is the journal: what follows from it needs none of its own."""
    participant.on_local_commit(command)
    for kind, ticket, _, _ in participant.drain():
        if kind == "persist":
            participant.durable(ticket)
    participant.drain()
