"""The subset party: one delegate's part in common subsets over a storage, for the engine ``"abba"``.

For every height the delegates make a common subset: each proposes the digest of a batch that it was offered, or
nothing. What came out at a quorum of them is made into one batch, by all in the same way, and a quorum signs its
digest. Where nothing came out there is another attempt. The coins are those of the city's threshold keys: a delegate
shows its share of one when its machine asks for it, never before.

=======================  ============================================================================================
key (own space)          value
=======================  ============================================================================================
``a`` epoch ``b``        present since the node first stood ready in that epoch; "lost" if its journal was
``a`` epoch ``s`` h a n  the journal of the machine at height h, attempt a
=======================  ============================================================================================

A message between parties is the height (8 bytes) and the attempt (4), then 0 and a machine's message, or 1 and a share
of a coin: proposer (2), round (4), share. The machine is told that its records are durable before they are, and what it
says is held back until they are written (as in `node.validator`).
"""

from __future__ import annotations

import hashlib

from city_chain import records
from city_chain.algorithms import abba
from city_chain.algorithms.tes import coin
from city_chain.errors import CityChainError, ProtocolError
from city_chain.node.agreeing import EVERYBODY, WANTED, Shelf
from city_chain.node.bodies import LED, VOTED
from city_chain.node.coins import Coins, Of
from city_chain.node.journalled import Journal
from city_chain.node.judge import Case
from city_chain.node.keeper import Keeper
from city_chain.node.ledger import Ledger, SenderState
from city_chain.ports import Storage

__all__ = ["SubsetParty", "united"]

_HEAD_LEN = 12
_MACHINE, _COIN = b"\0", b"\1"
_DIGEST_LEN = 32
_STEPS_MAX = 256
_RESEND_US = 50_000
_RESEND_MAX_US = 1_000_000
_ENTRIES_MAX = 4096
_LOST = b"lost"


def united(ledger: Ledger, cases: list[Case]) -> Case:
    """The one batch that some cases for the same height make: the same at all who have the same ledger.

    What is in several of them is taken once, and what the ledger does not allow beside an earlier one is left out.

    Args:
        ledger: Whose next batch it is.
        cases: Each right by itself, in the order that all agreed on.
    """
    if len(cases) == 1 or any(entry.kind == "sharding" for case in cases for entry in case.batch.entries):
        return cases[0]  # rulings are judged at their batch's stamp, which another batch would not have
    tip, first = ledger.tip, cases[0].batch.header
    seen: set[tuple[str, bytes]] = set()
    senders: dict[bytes, SenderState] = {}
    entries: list[records.Entry] = []
    evidence = []
    for case in cases:
        for entry, piece in zip(case.batch.entries, case.evidence, strict=True):
            key = entry.kind, entry.tx_id
            if key in seen or len(entries) == _ENTRIES_MAX:
                continue
            if entry.sender is not None:
                try:
                    known = senders.get(entry.sender) or ledger.sender(entry.sender)
                    senders[entry.sender] = known.after(entry)
                except CityChainError:
                    continue
            seen.add(key)
            entries.append(entry)
            evidence.append(piece)
    hlc = max(case.batch.header.hlc for case in cases)
    batch = records.Batch(
        ledger.epoch, height=tip.height + 1, previous=tip.digest, unit=first.unit, hlc=hlc, entries=entries
    )
    return Case(batch, evidence)


class SubsetParty:
    """One delegate.

    Args:
        identity: The node's keys; it must be a delegate of the ledger's epoch.
        storage: The node's own space.
        ledger: What is committed.
        keeper: Has the shares of the city's keys, from which the coins are.

    Raises:
        InputError: The node is no delegate, or its journal is damaged or another's.
    """

    def __init__(self, identity: records.Identity, storage: Storage, ledger: Ledger, keeper: Keeper) -> None:
        epoch = ledger.epoch
        prefix = b"a" + epoch.number.to_bytes(8, "big")
        self._identity = identity
        self._storage = storage
        self._ledger = ledger
        self._keeper = keeper
        self._ready = prefix + b"b"
        self._prefix = prefix + b"s"
        (ready,) = storage.get_many([self._ready])
        self._is_new = ready is None
        # A journal that was lost cannot be replaced: who may have spoken before is silent in this epoch.
        self._is_lost = ledger.tip.height > ledger.begins[0] if ready is None else ready == _LOST
        self._height = ledger.tip.height + 1
        self._gone: list[bytes] = []
        # Journals of heights that the ledger here has still to be taught are kept: it may have spoken there.
        self._attempts: dict[int, int] = {}
        for key, _ in storage.scan(self._prefix):
            place = key[len(self._prefix) :]
            height, attempt = int.from_bytes(place[:8], "big"), int.from_bytes(place[8:12], "big")
            if height < self._height:
                self._gone.append(key)
            else:
                self._attempts[height] = max(self._attempts.get(height, 0), attempt)
        self._attempt = self._attempts.pop(self._height, 0)
        self._out: list[tuple[int, bytes]] = []
        self._wanted: set[bytes] = set()
        self._open()

    def _open(self) -> None:
        """The machine of the height and attempt: the one that was journalled, or a new one."""
        epoch = self._ledger.epoch
        self._head = self._height.to_bytes(8, "little") + self._attempt.to_bytes(4, "little")
        place = self._height.to_bytes(8, "big") + self._attempt.to_bytes(4, "big")
        self._journal = Journal(self._storage, self._prefix + place)
        name = hashlib.blake2b(self._head + self._ledger.tip.digest, digest_size=_DIGEST_LEN, person=b"city-chain abba")
        self._instance = name.digest()
        journal = self._journal.records
        self._machine = abba.Subset.restore(
            epoch.network, epoch.number, self._instance, epoch.validators.items, self._identity, journal
        )
        self._has_input = bool(journal)
        self._is_heard = False
        self._asked: dict[int, bytes] = {}
        self._output: list[bytes] | None = None
        self._case: Case | None = None
        self._certificate: bytes | None = None
        self._coins = Coins(self._keeper, self._name, len(epoch.validators.items))
        self._resend_us = _RESEND_US
        self._resend_at = 0

    # --- what the host asks ------------------------------------------------------------------------------------------

    @property
    def has_accepted(self) -> bool:
        """Whether it may have signed a batch that is not in the ledger."""
        return self._height > self._ledger.tip.height and bool(self._output)

    @property
    def is_urgent(self) -> bool:
        """Whether its rows must be written now (see `node.agreeing.Party`)."""
        return self._certificate is not None or self._is_new

    def begin(self, now: int) -> None:
        """Something new is there after a time of rest."""
        self._resend_at = now + self._resend_us

    def take(self, sender: int, message: bytes, now: int) -> None:
        """Takes another party's message (see `node.agreeing.Party`)."""
        del now
        self._move_on()
        if message[:_HEAD_LEN] != self._head or self._is_lost:
            raise ProtocolError("subset: a message of another height or attempt")
        kind, rest = message[_HEAD_LEN : _HEAD_LEN + 1], message[_HEAD_LEN + 1 :]
        if kind == _MACHINE:
            self._machine.handle(sender, rest)
            self._is_heard = True
        elif kind == _COIN and len(rest) > 6:
            of = int.from_bytes(rest[:2], "little"), int.from_bytes(rest[2:6], "little")
            self._coins.take(sender, of, rest[6:])
        else:
            raise ProtocolError("subset: a message of another kind")

    def _move_on(self) -> None:
        """The ledger has moved on: what was agreed on before is over."""
        if self._ledger.tip.height >= self._height:
            self._close()
            self._height = self._ledger.tip.height + 1
            self._attempts = {height: last for height, last in self._attempts.items() if height >= self._height}
            self._attempt = self._attempts.pop(self._height, 0)
            self._open()

    def _close(self) -> None:
        self._journal.clear()
        self._gone += self._journal.due()[1]

    def step(self, shelf: Shelf, now: int, *, push: bool, resting: bool) -> None:
        """Goes on as far as it can (see `node.agreeing.Party`)."""
        self._move_on()
        if self._is_lost or resting:
            return
        for _ in range(_STEPS_MAX):
            moved = self._propose(shelf, push=push)
            moved = self._drain() or moved
            moved = self._judge(shelf) or moved
            moved = self._toss() or moved
            moved = self._unite(shelf) or moved
            if not moved:
                break
            self._resend_us, self._resend_at = _RESEND_US, now + _RESEND_US
        if now >= self._resend_at and (self._has_input or self._is_heard):
            self._resend_us = min(2 * self._resend_us, _RESEND_MAX_US)
            self._resend_at = now + self._resend_us
            self._machine.resend()
            self._show(self._coins.again())
            self._drain()

    def _say(self, to: int, message: bytes) -> None:
        self._out.append((to, self._head + message))

    def _propose(self, shelf: Shelf, *, push: bool) -> bool:
        if self._has_input:
            return False
        offered = shelf.bodies.offered()
        if not offered and not push and not self._is_heard:
            return False
        if offered:
            shelf.bodies.hold(LED, offered[0])
        self._machine.input(offered[0] if offered else b"")
        self._has_input = True
        return True

    def _drain(self) -> bool:
        effects = self._machine.drain()
        for kind, number, round_, data in effects:
            match kind:
                case "persist":
                    self._journal.add(data)
                    self._machine.durable(number)
                case "send":
                    self._say(number, _MACHINE + data)
                case "broadcast":
                    self._say(EVERYBODY, _MACHINE + data)
                case "validate":
                    self._asked[number] = data
                case "coin":
                    self._coins.ask((number, round_))
                case "output":
                    accepted = self._machine.output or []
                    self._output = list(dict.fromkeys(payload for _, payload in accepted if payload))
                case "confirmed":
                    self._certificate = data
        return bool(effects)

    def _judge(self, shelf: Shelf) -> bool:
        """Answers what the machine asks about proposals, as far as that can be said."""
        moved = False
        for proposer, payload in list(self._asked.items()):
            verdict = True if not payload else len(payload) == _DIGEST_LEN and shelf.is_right(payload)
            if verdict is None:
                self._wanted.add(payload)
                continue
            if verdict and payload:
                shelf.bodies.hold(VOTED, payload)
            del self._asked[proposer]
            self._machine.payload_result(proposer, verdict)
            moved = True
        return moved

    # --- coins -------------------------------------------------------------------------------------------------------

    def _name(self, of: Of) -> coin.Name:
        """The name of a coin of this instance."""
        epoch = self._ledger.epoch
        return coin.Name(epoch.network, epoch.number, self._instance + of[0].to_bytes(2, "little"), of[1])

    def _toss(self) -> bool:
        """Shows shares of the coins that were asked for, and takes those that enough have shown."""
        shown, known = self._coins.step()
        self._show(shown)
        for (proposer, round_), bit in known:
            self._machine.coin_result(proposer, round_, bit)
        return bool(shown or known)

    def _show(self, shares: list[tuple[Of, bytes]]) -> None:
        for (proposer, round_), share in shares:
            head = proposer.to_bytes(2, "little") + round_.to_bytes(4, "little")
            self._say(EVERYBODY, _COIN + head + share)

    # --- what comes of it --------------------------------------------------------------------------------------------

    def _unite(self, shelf: Shelf) -> bool:
        """Makes the batch of what came out and signs its digest; another attempt where nothing came out."""
        if self._output is None or self._case is not None:
            return False
        if not self._output:
            self._close()
            self._attempt += 1
            self._open()
            return True
        cases = []
        for digest in self._output:
            case = shelf.bodies.case(digest)
            if case is None:
                self._wanted.add(digest)
                return False
            cases.append(case)
        self._case = united(self._ledger, cases)
        self._machine.confirm(self._case.batch.digest)
        return True

    def commit(self, shelf: Shelf) -> bool:
        """The rows are written: what a quorum confirmed goes into the ledger."""
        if self._certificate is None or self._case is None or self._height <= self._ledger.tip.height:
            return False
        certificate = records.CommitCertificate.abba(self._certificate)
        shelf.ledger.append(self._case.batch, certificate, self._case.evidence)
        return False

    # --- what is written, and said -----------------------------------------------------------------------------------

    def rows(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """What must be written before `said` is called, and what is to be deleted with it."""
        rows, gone = self._journal.due()
        if self._is_new:
            rows[self._ready] = _LOST if self._is_lost else b""
        return rows, [*self._gone, *gone]

    def said(self) -> list[tuple[int, bytes]]:
        """The rows are written: (place, message) of what may leave now."""
        self._journal.written()
        self._gone.clear()
        self._is_new = False
        said, self._out = self._out, []
        said += [(WANTED, digest) for digest in sorted(self._wanted)]
        self._wanted.clear()
        return said

    def rests_for(self, now: int) -> int:
        """µs until it wants to say again what may have been lost."""
        return max(self._resend_at - now, 0)
