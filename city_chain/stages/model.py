"""What travels between stages. Records proper are in `city_chain.records`; these are the plain holders around them.

A stage works on a *burst*: a list of transactions that travel together. `send` is a burst of one. So signatures are
checked in batches and storage is written once for all, and a stage of your own sees lists too.
"""

from __future__ import annotations

import threading
from collections.abc import Buffer, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from city_chain import records
from city_chain.errors import CityChainError
from city_chain.ports import Clock, Entropy
from city_chain.proofs import poh
from city_chain.stages.sessions import Sessions

__all__ = [
    "Behind",
    "CommitEngine",
    "Committed",
    "Delivery",
    "Dispersal",
    "Evidence",
    "Hold",
    "Index",
    "Journal",
    "Keys",
    "Members",
    "Placement",
    "Restored",
    "Sender",
    "Terms",
]


@dataclass(frozen=True, slots=True)
class Terms:
    """How transactions are dispersed.

    Args:
        k: Fragments that restore a transaction.
        n: Fragments there are, 1 ≤ k ≤ n ≤ 1024.
        hold_ms: How long holders promise to keep a fragment, milliseconds.
        hedge_ms: How long a silent node is waited for before a spare is asked as well, milliseconds.
        silence_ms: How long a silent node is waited for where nothing depends on it any more, milliseconds.

    Example:
        >>> Terms(k=6, n=10).quorum
        8
    """

    k: int = 6
    n: int = 10
    hold_ms: int = 10 * 365 * 24 * 3600 * 1000
    hedge_ms: int = 100
    silence_ms: int = 1000

    @property
    def quorum(self) -> int:
        """Acks that make a dispersal available: k + ⌊(n − k)/2⌋."""
        return poh.write_quorum(self.k, self.n)


@dataclass(frozen=True, slots=True)
class Members:
    """The nodes of a region at one moment: a snapshot of Presence, every record verified.

    Args:
        epoch: The delegates and seed in force.
        candidates: The holders that may be chosen.
        addresses: Where every node answers.
        kem: The KEM key to which secrets for each node are sealed.
        near: The nodes that witnesses saw in the city's own municipality.
        able: How many of the candidates may be chosen, where that takes a grade; None: all.
    """

    epoch: records.Epoch
    candidates: records.Candidates
    addresses: Mapping[bytes, str]
    kem: Mapping[bytes, bytes]
    near: Set[bytes] = frozenset()
    able: int | None = None


class Keys(Protocol):
    """A city's public keys, as far as sealing and opening need them (`records.CityKeys` has them all)."""

    @property
    def encryption_key(self) -> bytes:
        """What payloads are sealed under, typed bytes."""
        ...

    @property
    def encryption_shares(self) -> Sequence[bytes]:
        """What the delegates' decryption shares are checked against, typed bytes, by the delegates' positions."""
        ...

    @property
    def threshold(self) -> int:
        """How many shares open what is sealed."""
        ...

    @property
    def delegates(self) -> Sequence[bytes]:
        """The delegates, by position."""
        ...


class Index(Protocol):
    """The transactions that were sent before (see `levels.sent`)."""

    def enter(self, tx_ids: Sequence[bytes]) -> None:
        """Enters transactions, before anything of them is sent."""
        ...


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and what it needs for it.

    Args:
        identity: The secret keys.
        draw: The proof of this epoch's draw, made once.
        terms: How to disperse.
        clock: Physical time.
        entropy: Fresh challenges.
        stamp: Gives the next stamp of the hybrid logical clock, for requests: it is above the last one, and promises
            nothing about time.
        sessions: What it shares with nodes, so that fragments travel sealed.
        sent: What it sent before; None if nobody keeps count.
    """

    identity: records.Identity
    draw: records.Draw
    terms: Terms
    clock: Clock
    entropy: Entropy
    stamp: Callable[[], int]
    sessions: Sessions
    sent: Index | None = None


@dataclass(frozen=True, slots=True)
class Dispersal:
    """A transaction cut into fragments (S2).

    Args:
        length: Bytes of the encoded transaction.
        k: Fragments that restore it.
        n: Fragments there are.
        fragments: All n of them, by index; all have the same size.
        hashes: Their BLAKE3 hashes.
        code: The erasure code's id; `None` is that of `ec.code_for`.
    """

    length: int
    k: int
    n: int
    fragments: Sequence[Buffer]
    hashes: Sequence[bytes]
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A dispersal with its signed manifest and the first n requests (S3).

    Args:
        transaction: What is dispersed.
        manifest: The signed description.
        dispersal: The fragments.
        requests: One for every fragment, by index, to the first n nodes of the selection (fewer if there are fewer).
    """

    transaction: records.Transaction
    manifest: records.Manifest
    dispersal: Dispersal
    requests: Sequence[poh.HoldRequest]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a hold (S4).

    Args:
        hold: What was asked.
        acks: Valid acks, by fragment index.
        error: Why there are too few; None if there are enough.
    """

    hold: Hold
    acks: Mapping[int, poh.Ack]
    error: CityChainError | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """An entry for the ledger and what earns it its place."""

    entry: records.Entry
    certificate: records.AvailabilityCertificate | records.RepairCertificate | records.Ruling


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit engine did with some evidence, one outcome for each.

    Args:
        outcomes: The receipt of a transaction, the entry of a repair or ruling, or why the piece was not committed.
    """

    outcomes: Sequence[records.Receipt | records.Entry | CityChainError]


class CommitEngine(Protocol):
    """Puts evidence into the city's one order. Chosen by name; S5 and R5 know nothing else of it."""

    @property
    def name(self) -> str:
        """The engine's name, such as ``"dpos"``."""
        ...

    def commit(self, evidence: Sequence[Evidence], deadline: float) -> Committed:
        """Commits what can be committed; returns when it is durable.

        What is committed already is not committed again: its outcome is the first one.

        Raises:
            UnavailableError: Too few delegates answered; what was handed in is not committed now but may be later.
            DeadlineError: Likewise, the time being up.
        """
        ...

    def recover(self, deadline: float) -> int:
        """Finishes what a crash left half-way; returns how many batches that were."""
        ...


class Behind(Protocol):
    """Runs what goes on after a stage has returned."""

    def submit(self, task: Callable[[threading.Event], None]) -> bool:
        """Queues a task; returns whether there was room. The task gets an event that is set when it should end."""
        ...


class Journal(Protocol):
    """Where a send is written down before its next stage acts on it.

    What `begin` and `delivered` wrote outlives the process when they return, and comes before all that is written
    later. In a city over another transport or storage it is durable then; in an embedded one with the receipt.
    """

    def begin(self, holds: Sequence[Hold]) -> None:
        """Transactions with their manifests, before anything is sent."""
        ...

    def delivered(self, certificates: Sequence[records.AvailabilityCertificate]) -> None:
        """Availability certificates, before they are handed to the engine."""
        ...

    def failed(self, transactions: Sequence[records.Transaction]) -> None:
        """Transactions that will not be committed: forgotten, durably, when it returns.

        Raises:
            StorageError: They are still journalled and may still be sent.
        """
        ...

    def late(self, acks: Sequence[poh.Ack]) -> None:
        """Acks that came when the transaction was on its way already."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a committed transaction is, as far as acks say (R1).

    Args:
        receipt: Its receipt.
        holders: Who holds each fragment now, by index.
        generation: The running number of its last repair, 0 if there was none.
    """

    receipt: records.Receipt
    holders: Mapping[int, bytes]
    generation: int = 0

    @property
    def manifest(self) -> records.Manifest:
        """The manifest in the receipt."""
        return self.receipt.manifest


@dataclass(slots=True)
class Restored:
    """A transaction restored from fragments (R4).

    Args:
        placement: Where it was looked for.
        transaction: The transaction; None if too few fragments were good.
        good: The indices whose fragments came and are right.
        bad: Index → what is wrong with it (absent, corrupt, silent), of those that were asked for.
        repair: The certificate of fragments made anew and placed on healthy nodes; None if none were.
        error: Why it could not be restored or repaired.
    """

    placement: Placement
    transaction: records.Transaction | None = None
    good: set[int] = field(default_factory=set)
    bad: dict[int, str] = field(default_factory=dict)
    repair: records.RepairCertificate | None = None
    error: CityChainError | None = None
