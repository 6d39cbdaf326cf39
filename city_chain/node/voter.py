"""The voter: one delegate's voting machine over a storage.

Everything it says is journalled first. Rows are handed to the host, which writes the rows of all its voters at once,
and only what `spoken` gives after that may leave.

The row ``d`` in the node's own space is the machine's last journal record; in a later epoch the epoch's number follows
the letter (8 bytes, big-endian).
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.errors import ProtocolError
from city_chain.node.ledger import Ledger
from city_chain.ports import Storage
from city_chain.proofs import dpos

__all__ = ["ATTEMPTS_AHEAD_MAX", "Voter"]

ATTEMPTS_AHEAD_MAX = 1024
"""How many attempts may be skipped at once. A promise cannot be taken back: without a bound, one message could promise
away all attempts that there are."""


class Voter:
    """One delegate.

    Args:
        identity: The node's keys; it must be a delegate of the ledger's epoch.
        storage: The node's own space.
        ledger: What is committed.

    Raises:
        InputError: The node is no delegate, or its journal is another's.
    """

    def __init__(self, identity: records.Identity, storage: Storage, ledger: Ledger) -> None:
        epoch = ledger.epoch
        self._ledger = ledger
        self._row = b"d" + (epoch.number.to_bytes(8, "big") if epoch.number else b"")
        (snapshot,) = storage.get_many([self._row])
        if snapshot is None:
            height, tip = ledger.begins
            self._delegate = dpos.Delegate(identity, epoch.validators, epoch.network, epoch.seed, tip, height)
        else:
            self._delegate = dpos.Delegate.restore(identity, epoch.validators, epoch.network, epoch.seed, snapshot)
        self._ticket = 0
        self._unwritten: bytes | None = None

    @property
    def promised(self) -> int:
        """The attempt below which this delegate votes for nothing at the height after its tip."""
        return self._delegate.promised

    @property
    def has_accepted(self) -> bool:
        """Whether it has voted for a batch after the ledger's last one, which may be certified without its knowing."""
        self.catch_up()
        return self._delegate.accepted is not None

    def catch_up(self) -> None:
        """Takes in what the ledger has committed since; journalled with the next rows."""
        while self._delegate.tip[0] < self._ledger.tip.height:
            certificate = self._ledger.certificate(self._delegate.tip[0] + 1)
            if certificate is None:
                raise ProtocolError(f"voter: the ledger has no batch at height {self._delegate.tip[0] + 1}")
            self._delegate.committed(certificate.certificate)

    def propose(self, proposal: dpos.Proposal) -> None:
        """Takes a leader's proposal, whose batch was judged; a vote will follow."""
        self.catch_up()
        self._delegate.propose(proposal)

    def prepare(self, height: int, attempt: int) -> None:
        """Takes a later leader's question; a report will follow.

        Raises:
            ProtocolError: The attempt is so far ahead that whoever asks wants to use them up.
        """
        self.catch_up()
        if attempt > self.promised + ATTEMPTS_AHEAD_MAX:
            raise ProtocolError(
                f"prepare: attempt {attempt} is too far ahead of {self.promised}, the last one promised"
            )
        self._delegate.prepare(height, attempt)

    def rows(self) -> dict[bytes, bytes]:
        """What must be durable before `spoken` is called: the newest journal record, if it is not written yet.

        Should the write fail, the next call gives it again: nothing leaves that is not journalled.
        """
        for kind, ticket, body in self._delegate.drain():
            if kind == "persist":
                self._ticket, self._unwritten = ticket, body
        return {} if self._unwritten is None else {self._row: self._unwritten}

    def spoken(self) -> list[tuple[str, bytes]]:
        """The rows are durable: the (kind, encoding) of what may leave now."""
        self._unwritten = None
        if self._ticket:
            self._delegate.durable(self._ticket)
        return [(kind, body) for kind, _, body in self._delegate.drain() if kind != "persist"]

    def weigh(self, attempt: int, reports: Sequence[dpos.Report]) -> bytes | None:
        """What a quorum's reports ask the leader of `attempt` to propose; None leaves it free.

        Raises:
            UnavailableError: The right ones among them are no quorum.
            VerificationError: The leader of the deciding attempt signed two proposals.
        """
        self.catch_up()
        return self._delegate.weigh(attempt, reports)[1]

    def lead(self, attempt: int, digest: bytes, reports: Sequence[dpos.Report]) -> None:
        """Leads an attempt with a batch that was judged; a proposal and a vote will follow.

        Raises:
            ProtocolError: Another delegate leads, this one has promised or proposed something else, or the reports ask
                for another batch.
        """
        self.catch_up()
        good = self._delegate.weigh(attempt, reports)[0] if attempt else []
        self._delegate.lead(attempt, digest, good)
