"""The validator: one delegate's HotStuff machine over a storage, for the engine ``"hotstuff"``.

A block's payload is the digest of a new batch (32 bytes), or a zero byte and the digest of the last one: such a block
carries those before it to their commit. So every block names the batch that the next one must follow, and which may
follow is decided by the chain alone. The batch itself is judged before it is voted for.

=====================  ==============================================================================================
key (own space)        value
=====================  ==============================================================================================
``a`` epoch ``j`` no.  the machine's journal records
``a`` epoch ``b``      present since the node first stood ready in that epoch
``a`` epoch ``e`` dig. evidence that a delegate signed two things that exclude each other
=====================  ==============================================================================================

A leader that fails costs the time of a round, and of the round before it, whose votes it was to collect. So a round is
given no more than a few times what rounds took here lately, `PACE_MIN_US` to `TIMEOUT_US`; after rounds that failed,
more each time (`hs.HotStuff.pace`).

The machine is told that its records are durable before they are, so that all that rests on them can be done in one
write; what it says is held back until that write has succeeded, and so is what it commits.
"""

from __future__ import annotations

import hashlib
from collections import deque

from city_chain import records
from city_chain.algorithms import hs
from city_chain.node.agreeing import EVERYBODY, WANTED, Shelf
from city_chain.node.bodies import LED, VOTED
from city_chain.node.journalled import Journal
from city_chain.node.ledger import Ledger
from city_chain.ports import Storage

__all__ = ["PACE_MIN_US", "TIMEOUT_US", "Validator", "evidence_in"]

TIMEOUT_US = 100_000
"""How long a round may take before its leader is given up, µs, as long as nothing is known of how long rounds take."""

PACE_MIN_US = 20_000
"""The least that a round is given once that is known, µs."""

_PACE_TIMES = 8
_PACE_ROUNDS = 16
"""A round is given so many times what the last so many rounds took that came to a certificate: their median, since a
round in which there was nothing to do for a while says nothing."""

_TIMEOUT_MAX_US = 2_000_000
_DIGEST_LEN = 32
_EVIDENCE_MAX = 64
_STEPS_MAX = 256
_HISTORY = 32
_NEVER_US = 1 << 62


def evidence_in(storage: Storage) -> list[tuple[int, bytes]]:
    """All evidence in a node's own space: the number of its epoch, and the bytes.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> evidence_in(MemoryStorage())
        []
    """
    return [(int.from_bytes(key[1:9], "big"), row) for key, row in storage.scan(b"a") if key[9:10] == b"e"]


def _carrying(digest: bytes) -> bytes:
    """The payload of a block without a batch of its own."""
    return b"\0" + digest


class Validator:
    """One delegate.

    Args:
        identity: The node's keys; it must be a delegate of the ledger's epoch.
        storage: The node's own space.
        ledger: What is committed.

    Raises:
        InputError: The node is no delegate, or its journal is damaged or another's.
    """

    def __init__(self, identity: records.Identity, storage: Storage, ledger: Ledger) -> None:
        epoch = ledger.epoch
        height, tip = ledger.begins
        prefix = b"a" + epoch.number.to_bytes(8, "big")
        self._ledger = ledger
        self._genesis = tip
        self._ready = prefix + b"b"
        self._journal = Journal(storage, prefix + b"j")
        self._evidence_prefix = prefix + b"e"
        self._evidence = dict(storage.scan(self._evidence_prefix))
        self._new_evidence: dict[bytes, bytes] = {}
        (ready,) = storage.get_many([self._ready])
        self._is_new = ready is None
        journal = self._journal.records
        # A journal that was lost cannot be replaced: who may have voted before must not vote again in this epoch.
        amnesia = not journal and (ledger.tip.height > height if ready is None else False)
        self._machine = hs.HotStuff.restore(
            epoch.network,
            epoch.number,
            epoch.validators.items,
            identity,
            tip,
            journal,
            amnesia=amnesia,
            timeout_us=TIMEOUT_US,
            timeout_max_us=_TIMEOUT_MAX_US,
            history=_HISTORY,
        )
        self._is_started = False
        self._need: tuple[int, bytes] | None = None
        self._asked: tuple[bytes, bytes, bytes] | None = None
        self._commits: list[tuple[bytes, bytes]] = []
        self._wanted: bytes | None = None
        self._found = height
        self._out: list[tuple[int, bytes]] = []
        self._deadline = _NEVER_US
        self._began = -1
        self._entered: tuple[int, int] | None = None
        self._took: deque[int] = deque(maxlen=_PACE_ROUNDS)
        self._behind: tuple[int, int] | None = None
        self._root: tuple[bytes, bytes] | None = None

    @property
    def has_accepted(self) -> bool:
        """Whether there is a batch in a block that is not committed, as far as this delegate knows."""
        return any(self._is_open(payload) for _, _, payload in self._machine.waiting())

    @property
    def is_urgent(self) -> bool:
        """Whether its rows must be written now (see `node.agreeing.Party`)."""
        tip = self._ledger.tip.digest
        return bool(self._new_evidence or self._is_new or any(payload != tip for payload, _ in self._commits))

    def _is_open(self, payload: bytes) -> bool:
        return len(payload) == _DIGEST_LEN and payload != self._ledger.tip.digest

    def begin(self, now: int) -> None:
        """Time stood still while there was nothing to agree on: the round has its full time, once."""
        self._start(now)
        if self._machine.round != self._began:
            self._began = self._machine.round
            self._entered = self._began, now
            self._machine.resume(now)

    def take(self, sender: int, message: bytes, now: int) -> None:
        """Takes a machine's message (see `node.agreeing.Party`)."""
        self._start(now)
        self._machine.handle(sender, message, now)

    def _start(self, now: int) -> None:
        if not self._is_started:
            self._is_started = True
            self._machine.start(now)

    def step(self, shelf: Shelf, now: int, *, push: bool, resting: bool) -> None:
        """Goes on as far as it can (see `node.agreeing.Party`)."""
        self._start(now)
        if now >= self._deadline:
            self._deadline = _NEVER_US
            self._machine.tick(now)
        self._catch_up(now)
        for _ in range(_STEPS_MAX):
            moved = self._drain(now)
            moved = self._judge(shelf, now, resting) or moved
            if self._propose(shelf, now, push=push, resting=resting):
                moved, push = True, False
            if not moved:
                return

    def _catch_up(self, now: int) -> None:
        """Goes on from the ledger's last batch, if the others have kept nothing from which it could come so far.

        They are asked first: that they do not help is known when it has come no further in all the time of a round.
        """
        committed = self._machine.committed[0]
        if not self._machine.behind:
            self._behind = None
        elif self._behind is None or self._behind[0] != committed:
            self._behind = committed, now
        elif now >= self._behind[1] + TIMEOUT_US:
            self._behind = committed, now
            height = self._ledger.tip.height
            certificate = self._ledger.certificate(height) if height > self._ledger.begins[0] else None
            proof = None if certificate is None else certificate.proof
            if proof is not None:
                self._machine.adopt(proof, now)

    def _drain(self, now: int) -> bool:
        """Takes what the machine has to say (see `hs.Effect`); whether it had anything."""
        effects = self._machine.drain()
        for kind, number, data, block, extra in effects:
            match kind:
                case "persist":
                    self._journal.add(data)
                    self._machine.durable(number)
                case "send":
                    self._out.append((number, data))
                case "broadcast":
                    self._out.append((EVERYBODY, data))
                case "deadline":
                    self._deadline = number
                case "need_payload":
                    self._need = number, extra
                case "validate":
                    self._asked = block, data, extra
                case "commit":
                    if len(data) == _DIGEST_LEN:
                        self._commits.append((data, extra))
                case "evidence":
                    self._keep(data)
                case "round":
                    self._pace(number, now)
        return bool(effects)

    def _pace(self, round_: int, now: int) -> None:
        """A round begins: how long the one before took, if it came to a certificate, says how long others may take."""
        if self._entered is not None and self._entered[0] == round_ - 1 == self._machine.high_qc[0]:
            self._took.append(now - self._entered[1])
            self._machine.pace(
                min(max(_PACE_TIMES * sorted(self._took)[len(self._took) // 2], PACE_MIN_US), TIMEOUT_US)
            )
        self._entered = round_, now

    def _keep(self, evidence: bytes) -> None:
        key = self._evidence_prefix + hashlib.blake2b(evidence, digest_size=_DIGEST_LEN).digest()
        if key not in self._evidence and len(self._evidence) < _EVIDENCE_MAX:
            self._evidence[key] = self._new_evidence[key] = evidence

    def commit(self, shelf: Shelf) -> bool:
        """Brings what is committed into the ledger; who has no body of it waits until the ledger is taught.

        Returns:
            Whether something that the machine asked for can be answered now.
        """
        before = self._ledger.tip.height
        while self._commits:
            payload, proof = self._commits[0]
            if not self._is_in_ledger(payload, proof, shelf):
                self._wanted = payload
                break
            self._commits.pop(0)
        has_moved = self._ledger.tip.height > before
        return has_moved and (self._asked is not None or (self._need is not None and bool(shelf.bodies.offered())))

    def _is_in_ledger(self, payload: bytes, proof: bytes, shelf: Shelf) -> bool:
        tip = self._ledger.tip
        if payload == tip.digest:
            return True
        header = shelf.header(payload)
        if header is not None and header.previous == tip.digest:
            return shelf.commit(payload, records.CommitCertificate.hotstuff(payload, proof))
        return self._is_earlier(payload)

    def _is_earlier(self, payload: bytes) -> bool:
        """Whether a batch is in the ledger before its last one: looked for from where the one before was found."""
        begins, tip = self._ledger.begins[0], self._ledger.tip.height
        for height in (self._found + 1, *range(tip, begins, -1)):
            committed = self._ledger.batch(height) if begins < height <= tip else None
            if committed is not None and committed.batch.digest == payload:
                self._found = height
                return True
        return False

    # --- what is voted for -------------------------------------------------------------------------------------------

    def _anchor(self, block: bytes) -> bytes | None:
        """The digest of the last batch up to a block."""
        known = self._machine.block(block)
        if known is not None:
            return known[2][-_DIGEST_LEN:]
        committed = self._machine.committed
        if committed == (0, block):
            return self._genesis
        return self._batch_of(*committed) if committed[1] == block else None

    def _batch_of(self, round_: int, block: bytes) -> bytes | None:
        """The digest of the batch in a block from which the machine went on without having it."""
        if self._root is not None and self._root[0] == block:
            return self._root[1]
        for height in range(self._ledger.tip.height, self._ledger.begins[0], -1):
            certificate = self._ledger.certificate(height)
            if certificate is None or certificate.proof is None:
                return None
            found = hs.commit_block(certificate.proof)
            if found.block == block:
                self._root = block, certificate.batch
                return certificate.batch
            if found.round < round_:
                return None
        return None

    def _judge(self, shelf: Shelf, now: int, resting: bool) -> bool:
        """Answers what the machine asks about a payload, if it can be said yet."""
        if self._asked is None:
            return False
        block, payload, parent = self._asked
        verdict = self._verdict(shelf, payload, self._anchor(parent), resting)
        if verdict is None:
            return False
        self._asked = None
        if verdict and self._is_open(payload):
            shelf.bodies.hold(VOTED, payload)
        self._machine.payload_result(block, verdict, now)
        return True

    def _verdict(self, shelf: Shelf, payload: bytes, anchor: bytes | None, resting: bool) -> bool | None:
        """Whether a payload may be voted for on top of the batch `anchor`; None where that cannot be said yet."""
        if anchor is None:
            return False
        if payload == _carrying(anchor):
            return True
        if len(payload) != _DIGEST_LEN or resting:
            return False
        tip = self._ledger.tip
        if anchor == tip.digest:
            verdict = shelf.is_right(payload)
            if verdict is None:
                self._wanted = payload
            return verdict
        committed = self._ledger.batch(tip.height) if payload == tip.digest else None
        return True if committed is not None and committed.batch.header.previous == anchor else None

    def _propose(self, shelf: Shelf, now: int, *, push: bool, resting: bool) -> bool:
        """Leads: with a batch that was offered, or on with what is not committed yet."""
        if self._need is None:
            return False
        round_, parent = self._need
        if round_ != self._machine.round:
            self._need = None
            return False
        anchor = self._anchor(parent)
        if anchor is None:
            return False
        # Whoever leads votes for what it proposes: who has handed over proposes no batch either.
        offered = shelf.bodies.offered() if anchor == self._ledger.tip.digest and not resting else []
        if offered:
            payload = offered[0]
            shelf.bodies.hold(LED, payload)
        elif push or self.has_accepted:
            payload = _carrying(anchor)
        else:
            return False
        self._need = None
        self._machine.propose(payload, now)
        return True

    # --- what is written, and said -----------------------------------------------------------------------------------

    def rows(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """What must be written before `said` is called, and what is to be deleted with it."""
        if not self._commits:  # a snapshot does not say again what was committed before it
            self._journal.compact(self._machine.snapshot)
        rows, gone = self._journal.due()
        rows.update(self._new_evidence)
        if self._is_new:
            rows[self._ready] = b""
        return rows, gone

    def said(self) -> list[tuple[int, bytes]]:
        """The rows are written: (place, message) of what may leave now."""
        self._journal.written()
        self._new_evidence.clear()
        self._is_new = False
        said, self._out = self._out, []
        if self._wanted is not None:
            said.append((WANTED, self._wanted))
            self._wanted = None
        return said

    def rests_for(self, now: int) -> int:
        """µs until its round is to be given up."""
        return min(max(self._deadline - now, 0), _NEVER_US)
