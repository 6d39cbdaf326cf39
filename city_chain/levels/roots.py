"""What a city knows of the other cities of its world: the newest root of each that their delegates have certified.

A root is believed for what it shows: the header of a batch, the epoch of the city that committed it, and the commit
certificate of that epoch's delegates. These must be the delegates that a layout seats for the city which the listening
city has itself ruled to be in force (see `node.sharding`). Who has told it does not matter.

A city's roots only go on: height by height, and never back to an earlier epoch. Two certified roots of one height are a
**fork**: more than a third of the city's delegates have signed two ledgers. The one that came first stays, and both are
kept as evidence.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.stages import messages

__all__ = ["FORKS_MAX", "Fork", "Root", "Roots"]

FORKS_MAX = 64
"""How many forks are kept."""

_REMEMBERED_MAX = 64
"""How many roots of each city are remembered, to tell what is old from what is a fork."""


@dataclass(frozen=True, slots=True)
class Root:
    """A batch that a city has committed, as its delegates show it to everybody.

    Args:
        shard: The city's number in its world.
        epoch: The city's epoch: network, number and delegates. Its seed is the teller's word; no certificate shows it.
        header: The header of the batch.
        certificate: Its commit certificate.
    """

    shard: int
    epoch: records.Epoch
    header: records.BatchHeader
    certificate: records.CommitCertificate = field(repr=False)

    @property
    def height(self) -> int:
        """The height of the batch."""
        return self.header.height

    @property
    def digest(self) -> bytes:
        """The digest of the header, 32 bytes: it stands for the whole ledger up to there."""
        return self.header.digest

    @property
    def entries_root(self) -> bytes:
        """The root of the Merkle tree over what is in the batch, 32 bytes."""
        return self.header.entries_root

    def verify(self, layouts: Sequence[sc.Layout]) -> None:
        """Checks that the city's delegates have committed it, as one of some layouts seats them.

        Args:
            layouts: Those that are believed.

        Raises:
            VerificationError: They have not, or no layout seats them.
        """
        seated = [sorted(layout.members(self.shard)) for layout in layouts if self.shard in layout.shards]
        if sorted(self.epoch.validators.items) not in seated:
            raise VerificationError(f"root: no layout that is known seats these delegates of shard {self.shard}")
        self.certificate.verify(self.epoch, self.header)

    def to_bytes(self) -> bytes:
        """As it is sent."""
        parts = [self.epoch.to_bytes(), self.header.to_bytes(), self.certificate.to_bytes()]
        return messages.message("root", [messages.integer(self.shard), *parts])

    @classmethod
    def from_bytes(cls, data: bytes) -> Root:
        """Reads what `to_bytes` gave. Nothing is verified here.

        Raises:
            ProtocolError: It is something else.
        """
        shard, epoch, header, certificate = messages.answer(data, "root", 4)
        try:
            return cls(
                messages.integer_of(shard),
                records.Epoch.from_bytes(epoch),
                records.BatchHeader.from_bytes(header),
                records.CommitCertificate.from_bytes(certificate),
            )
        except InputError as error:
            raise ProtocolError(f"root: {error}") from None


@dataclass(frozen=True, slots=True)
class Fork:
    """Two batches of one city that exclude each other, and are both certified.

    Args:
        first: The one that was heard of first.
        second: The other one: of the same height, or of one that is next to it and does not follow.
    """

    first: Root
    second: Root

    def __str__(self) -> str:
        return (
            f"fork: shard {self.first.shard} has committed {self.first.digest.hex()[:16]} at height "
            f"{self.first.height} and {self.second.digest.hex()[:16]} at height {self.second.height}"
        )

    @property
    def guilty(self) -> list[bytes]:
        """The delegates who signed both, as far as the certificates name signers."""
        signed = [
            {root.epoch.validators.items[place][0] for place in root.certificate.signers}
            for root in (self.first, self.second)
        ]
        return sorted(signed[0] & signed[1])

    def verify(self, layouts: Sequence[sc.Layout]) -> None:
        """Checks that it is one.

        Raises:
            VerificationError: A root is not certified, or they do not exclude each other.
        """
        for root in (self.first, self.second):
            root.verify(layouts)
        first, second = self.first, self.second
        if first.shard != second.shard or first.header.network != second.header.network:
            raise VerificationError("fork: the roots are of two cities")
        if not _exclude(first, second):
            raise VerificationError("fork: the roots do not exclude each other")


def _exclude(one: Root, other: Root) -> bool:
    """Whether two roots of a city cannot both be of one ledger."""
    before, after = sorted((one, other), key=lambda root: root.height)
    if before.height == after.height:
        return before.digest != after.digest
    return before.height + 1 == after.height and after.header.previous != before.digest


class Roots:
    """What one city knows of the others. Safe to use from several threads; what it holds is bounded by their number.

    Args:
        me: The city's own number.
        layouts: Gives the layouts that it understands, the one in force last.
    """

    def __init__(self, me: int, layouts: Callable[[], Sequence[sc.Layout]]) -> None:
        self._me = me
        self._layouts = layouts
        self._lock = threading.Lock()
        self._known: dict[int, OrderedDict[int, Root]] = {}
        self._forks: dict[tuple[int, int], Fork] = {}

    def known(self) -> dict[int, Root]:
        """The newest root of each other city, by its number."""
        with self._lock:
            return {shard: next(reversed(roots.values())) for shard, roots in self._known.items()}

    def forks(self) -> list[Fork]:
        """The forks that were found, by city and height."""
        with self._lock:
            return [fork for _, fork in sorted(self._forks.items())]

    def hear(self, data: bytes) -> Root:
        """Takes a root that somebody tells.

        Returns:
            The root, which is the newest of its city now.

        Raises:
            ProtocolError: It is none, of no other city of the world, or not newer than what is known. Nothing changes.
            VerificationError: It is not certified by the city's delegates, or of an earlier epoch than what is known:
                nothing changes. Or it makes a fork with what is known, which is kept (`forks`); the root is not.
        """
        root = Root.from_bytes(data)
        layouts = self._layouts()
        if not layouts or root.shard == self._me or root.shard not in layouts[-1].shards:
            raise ProtocolError(f"root: shard {root.shard} is no other city of the world")
        with self._lock:
            for gone in self._known.keys() - set(layouts[-1].shards):
                del self._known[gone]
            known = self._known.get(root.shard)
            newest = None if known is None else next(reversed(known.values()))
            near = [] if known is None else [known.get(root.height + step) for step in (0, -1, 1)]
            rival = next((other for other in near if other is not None and _exclude(other, root)), None)
        if newest is None:
            root.verify(layouts)
        else:
            self._weigh(root, newest, rival, layouts)
        with self._lock:
            known = self._known.setdefault(root.shard, OrderedDict())
            if known and next(reversed(known)) >= root.height:
                raise ProtocolError(f"root: height {root.height} of shard {root.shard} is known already")
            known[root.height] = root
            while len(known) > _REMEMBERED_MAX:
                known.popitem(last=False)
        return root

    def _weigh(self, root: Root, newest: Root, rival: Root | None, layouts: Sequence[sc.Layout]) -> None:
        """Checks a root against what is known of its city."""
        if root.height <= newest.height and rival is None:
            raise ProtocolError(
                f"root: height {root.height} of shard {root.shard} is not newer than {newest.height}, which is known"
            )
        if root.header.network != newest.header.network:
            raise VerificationError(f"root: shard {root.shard} is another city than before")
        if root.height > newest.height and root.epoch.number < newest.epoch.number:
            raise VerificationError(
                f"root: of epoch {root.epoch.number} of shard {root.shard}; one of epoch {newest.epoch.number} is known"
            )
        root.verify(layouts)
        if rival is not None:
            fork = Fork(rival, root)
            with self._lock:
                if len(self._forks) < FORKS_MAX:
                    self._forks.setdefault((root.shard, root.height), fork)
            raise VerificationError(str(fork))
