"""The judge: what a delegate checks of a batch before it votes.

Everything is recomputed from signed records: that the batch follows the ledger, that every entry has its evidence, that
the evidence's signatures, proofs and hashes are right, that the holders are those that the draw gives, that nothing is
committed twice. Signatures are checked in batches, and those of one certificate once: its fingerprint is remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError, UnavailableError, VerificationError
from city_chain.node.city_clock import sure
from city_chain.node.ledger import Certificate, Ledger, SenderState
from city_chain.node.roster import Roster
from city_chain.ports import Clock
from city_chain.stages.model import Terms

__all__ = ["Case", "Judge", "Ruler", "read_evidence"]

_AHEAD_MAX_MS = 5_000
_REMEMBERED_MAX = 8192


@dataclass(frozen=True, slots=True)
class Case:
    """A batch and the certificate behind each of its entries."""

    batch: records.Batch
    evidence: Sequence[Certificate]

    def parts(self) -> list[bytes]:
        """The parts of a message that carries it."""
        return [self.batch.to_bytes(), *(piece.to_bytes() for piece in self.evidence)]

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Case:
        """Reads what `parts` made.

        Raises:
            InputError: A part is not well-formed.
            ProtocolError: There is not one piece of evidence for each entry.
        """
        if not parts:
            raise ProtocolError("a batch is needed, the message has no part")
        batch = records.Batch.from_bytes(parts[0])
        if len(parts) - 1 != batch.header.count:
            raise ProtocolError(f"{len(parts) - 1} pieces of evidence for {batch.header.count} entries")
        return cls(batch, [read_evidence(part) for part in parts[1:]])


def read_evidence(part: bytes) -> Certificate:
    """A certificate or ruling, told by its tag."""
    if part[:4] == b"CCrc":
        return records.RepairCertificate.from_bytes(part)
    if part[:4] == b"CCru":
        return records.Ruling.from_bytes(part)
    return records.AvailabilityCertificate.from_bytes(part)


class Ruler(Protocol):
    """Evaluates what is ruled about transactions of several cities (see `sharding.Shard`)."""

    def check(self, rulings: Sequence[records.Ruling], hlc: int) -> list[CityChainError | None]:
        """What is wrong with each ruling of a batch with that stamp, taken in their order; None where nothing is."""
        ...

    def handover(self, ruling: records.Ruling) -> bytes | None:
        """What is handed over at the boundary that a ruling is about; None if it is about something else."""
        ...


class Judge:
    """Judges batches.

    Args:
        ledger: What is committed.
        roster: Which candidate lists there were.
        unit: The name of the city.
        terms: How transactions must be dispersed.
        authorised: Whether a key may send or repair.
        clock: Physical time.
        shard: Evaluates rulings; None for a city that is in no world.
    """

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        unit: str,
        terms: Terms,
        authorised: Callable[[bytes], bool],
        clock: Clock,
        shard: Ruler | None = None,
    ) -> None:
        self._terms = terms
        self._ledger = ledger
        self._roster = roster
        self._unit = unit
        self._authorised = authorised
        self._clock = clock
        self._sure = sure(clock)
        self.shard = shard
        self._found_right: dict[bytes, None] = {}

    @property
    def clock(self) -> Clock:
        """The clock that it judges by."""
        return self._clock

    def learn(self, parts: Sequence[bytes]) -> None:
        """Takes a batch that others have committed into the ledger, if it is the next one there.

        Args:
            parts: Batch, certificate, evidence… (see `Ledger.proven`).

        Raises:
            CityChainError: The first thing that is wrong with it; nothing has changed.
        """
        if len(parts) < 2:
            raise ProtocolError(f"{len(parts)} parts, a batch, its certificate and its evidence are needed")
        case = Case.of([parts[0], *parts[2:]])
        certificate = records.CommitCertificate.from_bytes(parts[1])
        if case.batch.header.height == self._ledger.tip.height + 1:
            certificate.verify(self._ledger.epoch, case.batch.header)
            self.check(case, is_committed=True)
            self._ledger.append(case.batch, certificate, case.evidence)

    def check(self, case: Case, *, is_committed: bool = False) -> None:
        """Checks a whole batch.

        Args:
            case: The batch and what is behind it.
            is_committed: Whether a quorum has certified it. Then it is followed with a lost clock too.

        Raises:
            CityChainError: The first thing that is wrong with it.
        """
        header, tip, epoch = case.batch.header, self._ledger.tip, self._ledger.epoch
        # A certificate of another epoch's batch is none here: what is voted for must be what can be appended.
        if (header.network, header.epoch) != (epoch.network, epoch.number):
            where = f"epoch {header.epoch} of network {header.network.hex()[:16]}"
            raise ProtocolError(f"batch: of {where}, not of the one here")
        if (header.height, header.previous) != (tip.height + 1, tip.digest):
            raise ProtocolError(f"batch: height {header.height} does not follow the tip at height {tip.height}")
        if header.unit != self._unit:
            raise ProtocolError(f"batch: of {header.unit!r}, not of {self._unit!r}")
        # After a clock that was wrong for a while the ledger goes on from its last stamp, in the smallest steps.
        now_ms = (self._clock if is_committed else self._sure).now_ms()
        if not tip.hlc < header.hlc <= max((now_ms + _AHEAD_MAX_MS) << 16, tip.hlc + 1):
            raise ProtocolError(f"batch: the stamp {header.hlc} is not after the last batch's, or is in the future")
        for verdict in self.verdicts(case.batch.entries, case.evidence, header.hlc):
            if verdict is not None:
                raise verdict

    def check_election(self, election: records.Election) -> None:
        """Checks that an election follows the epoch in force, that its caller may call one, and whom it names.

        Shares are dealt to whoever it names, so they must be nodes of this city.

        Raises:
            VerificationError: It does not, the caller may not, or somebody is named who is not logged in.
        """
        if not self._authorised(election.caller):
            raise VerificationError(f"election: {election.caller.hex()[:16]} may not call one here")
        election.verify(self._ledger.epoch)
        known = self._roster.members().addresses
        strangers = [node.hex()[:16] for node, _ in election.next.validators.items if node not in known]
        if strangers:
            raise VerificationError(f"election: {', '.join(strangers)}: not logged in to {self._unit!r}")

    def check_handover(
        self, election: records.Election, keys: records.CityKeys, handed_on: records.CityKeys | None
    ) -> None:
        """Checks what a delegate in office signs to hand over: the election after the last batch, and the next keys.

        Args:
            election: What was called for.
            keys: The keys of the next epoch, certified by its delegates.
            handed_on: The keys in force, whose public keys must stay.

        Raises:
            VerificationError: The election or the keys are not right.
            ProtocolError: The ledger ends elsewhere.
            UnavailableError: Too few of the next delegates certified the keys.
        """
        self.check_election(election)
        tip = self._ledger.tip
        if (election.height, election.tip) != (tip.height, tip.digest):
            raise ProtocolError(
                f"hand over: after height {election.height}, but the ledger ends at height {tip.height} here"
            )
        keys.verify(election.next)
        if handed_on is None or (keys.signing_key, keys.encryption_key) != (
            handed_on.signing_key,
            handed_on.encryption_key,
        ):
            raise VerificationError("hand over: the city's public keys would not stay as they are")

    def verdicts(
        self, entries: Sequence[records.Entry], evidence: Sequence[Certificate], hlc: int | None = None
    ) -> list[CityChainError | None]:
        """What is wrong with each entry, taken in their order; None where nothing is.

        Args:
            entries: The entries.
            evidence: What is behind each.
            hlc: The stamp of the batch that they are in; None: one that is made now.
        """
        verdicts: list[CityChainError | None] = [None] * len(entries)
        senders: dict[bytes, SenderState] = {}
        available: list[tuple[int, records.AvailabilityCertificate]] = []
        sent = [entry.tx_id for entry in entries if entry.kind == "transaction"]
        rulings: list[tuple[int, records.Ruling]] = []
        committed = {tx_id for tx_id, there in zip(sent, self._ledger.committed(sent), strict=True) if there}
        for at, (entry, piece) in enumerate(zip(entries, evidence, strict=True)):
            try:
                if isinstance(piece, records.RepairCertificate):
                    self._check_repair(entry, piece, self._sure.now_ms() if hlc is None else hlc >> 16)
                elif isinstance(piece, records.Ruling):
                    _check_ruling(entry, piece)
                    rulings.append((at, piece))
                else:
                    self._check_transaction(entry, piece, committed)
                    available.append((at, piece))
            except CityChainError as error:
                verdicts[at] = error
        for at, verdict in self._check_rulings(rulings, hlc):
            verdicts[at] = verdict
        for at, verdict in self._check_signatures(available):
            verdicts[at] = verdicts[at] or verdict
        for at, entry in enumerate(entries):
            if verdicts[at] is None and entry.sender is not None:
                try:
                    known = senders.get(entry.sender) or self._ledger.sender(entry.sender)
                    senders[entry.sender] = known.after(entry)
                except CityChainError as error:
                    verdicts[at] = error
        return verdicts

    def _check_transaction(
        self, entry: records.Entry, piece: records.AvailabilityCertificate, committed: Set[bytes]
    ) -> None:
        manifest = piece.manifest
        if entry != records.Entry.transaction(manifest):
            raise VerificationError("entry: its certificate is about another transaction")
        if not self._authorised(manifest.sender):
            raise VerificationError(f"entry: {manifest.sender.hex()[:16]} may not send here")
        terms = self._terms
        if (manifest.k, manifest.n) != (terms.k, terms.n) or manifest.quorum < terms.quorum:
            raise VerificationError(
                f"manifest: k = {manifest.k}, n = {manifest.n}, quorum {manifest.quorum}; "
                f"this city asks for k = {terms.k}, n = {terms.n}, quorum {terms.quorum} or more"
            )
        if entry.tx_id in committed:
            raise VerificationError(f"entry: transaction {entry.tx_id.hex()} is committed already")

    def _check_rulings(
        self, rulings: Sequence[tuple[int, records.Ruling]], hlc: int | None
    ) -> list[tuple[int, CityChainError | None]]:
        """Evaluates the commands in their order, and compares what comes out with what the rulings say."""
        if not rulings:
            return []
        if self.shard is None:
            alone = ProtocolError(f"ruling: the city {self._unit!r} is in no world")
            return [(at, alone) for at, _ in rulings]
        stamp = max(self._sure.now_ms() << 16, self._ledger.tip.hlc + 1) if hlc is None else hlc
        verdicts = self.shard.check([ruling for _, ruling in rulings], stamp)
        return [(at, verdict) for (at, _), verdict in zip(rulings, verdicts, strict=True)]

    def _check_signatures(
        self, available: Sequence[tuple[int, records.AvailabilityCertificate]]
    ) -> list[tuple[int, CityChainError | None]]:
        found: list[tuple[int, CityChainError | None]] = []
        epoch = self._ledger.epoch
        prints = {at: hashlib.blake2b(piece.to_bytes(), digest_size=32).digest() for at, piece in available}
        available = [(at, piece) for at, piece in available if prints[at] not in self._found_right]
        verdicts = records.verify_availability([piece for _, piece in available], epoch)
        found.extend((at, verdict) for (at, _), verdict in zip(available, verdicts, strict=True))
        by_root: dict[bytes, list[tuple[int, records.Manifest]]] = {}
        for at, piece in available:
            by_root.setdefault(piece.manifest.selection.candidates_root, []).append((at, piece.manifest))
        for root, drawn in by_root.items():
            candidates = self._roster.candidates(root)
            if candidates is None:
                unknown = UnavailableError(f"selection: the candidate list {root.hex()} is not known here", 1, 0)
                found.extend((at, unknown) for at, _ in drawn)
                continue
            verdicts = records.verify_selections([manifest for _, manifest in drawn], epoch, candidates)
            found.extend((at, verdict) for (at, _), verdict in zip(drawn, verdicts, strict=True))
        wrong = {at for at, verdict in found if verdict is not None}
        self._found_right.update((prints[at], None) for at, _ in available if at not in wrong)
        while len(self._found_right) > _REMEMBERED_MAX:
            del self._found_right[next(iter(self._found_right))]
        return found

    def _check_repair(self, entry: records.Entry, piece: records.RepairCertificate, now_ms: int) -> None:
        repair = piece.repair
        if entry != records.Entry.repair(repair):
            raise VerificationError("entry: its certificate is about another repair")
        if not self._authorised(repair.repairer):
            raise VerificationError(f"entry: {repair.repairer.hex()[:16]} may not repair here")
        receipt = self._ledger.receipt(entry.tx_id)
        if receipt is None:
            raise VerificationError(f"repair: transaction {entry.tx_id.hex()} is not committed here")
        if repair.manifest_hash != receipt.manifest.manifest_hash:
            raise VerificationError("repair: of another manifest than the committed one")
        generation = self._ledger.generation(entry.tx_id)
        if repair.generation != generation + 1:
            raise VerificationError(f"repair: generation {repair.generation}, the next one is {generation + 1}")
        candidates = self._roster.candidates(repair.candidates_root)
        if candidates is None:
            raise UnavailableError(f"repair: the candidate list {repair.candidates_root.hex()} is not known here", 1, 0)
        self._check_moves(piece, receipt, candidates, now_ms)
        piece.verify(self._ledger.epoch.network, receipt.availability.fragment_hashes)

    def _check_moves(
        self, piece: records.RepairCertificate, receipt: records.Receipt, candidates: records.Candidates, now_ms: int
    ) -> None:
        """Every new holder is a candidate, holds nothing else of the transaction, and has acknowledged anew."""
        holders = dict(receipt.availability.holders)
        known = list(receipt.availability.acks)
        for earlier in self._ledger.repairs(receipt.tx_id):
            holders.update(earlier.repair.moves)
            known += earlier.acks
        holders.update(piece.repair.moves)
        for index, node in piece.repair.moves:
            if node not in candidates:
                raise VerificationError(f"repair: fragment {index} moved to {node.hex()[:16]}, who is no candidate")
            if sum(1 for holder in holders.values() if holder == node) > 1:
                raise VerificationError(f"repair: {node.hex()[:16]} would hold two fragments of the transaction")
        for ack in piece.acks:
            if ack in known:
                raise VerificationError(f"repair: the ack for fragment {ack.index} is an earlier one")
            if ack.hold_until_ms <= now_ms:
                raise VerificationError(f"repair: the ack for fragment {ack.index} holds until a time that has passed")


def _check_ruling(entry: records.Entry, ruling: records.Ruling) -> None:
    if entry != records.Entry.sharding(ruling):
        raise VerificationError("entry: its ruling is another one")
