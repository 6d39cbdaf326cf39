"""A verifier of places: gives nonces, takes each back once, and grades what nodes show of where they are.

A grade is never told; it is computed from the bytes of an attestation, by rules that stand in the candidate list. What
bytes cannot show is whether a nonce is fresh: that knows only who gave it, so it is kept here.
"""

from __future__ import annotations

import logging
import threading

from city_chain import records
from city_chain.errors import CityChainError, VerificationError
from city_chain.ports import Clock, Entropy
from city_chain.proofs import pop

__all__ = ["NONCES_MAX", "Grader"]

NONCES_MAX = 1 << 16
"""Most nonces that are given and not used yet, and most attestations that are remembered; the oldest go first."""

_log = logging.getLogger("city_chain")


class Grader:
    """Gives nonces and grades attestations.

    Args:
        rules: By what it grades.
        network: The network's id, 32 bytes.
        epoch: The number of the epoch in force.
        clock: Physical time.
        entropy: Where nonces come from.
        places: The map by which a point is in a municipality; without one the claim says it.

    Example:
        >>> from city_chain.adapters.clock import SystemClock
        >>> from city_chain.adapters.entropy import OsEntropy
        >>> rules = records.PlaceRules("Utrecht")
        >>> grader = Grader(rules, bytes(32), 0, SystemClock(), OsEntropy())
        >>> node = records.Identity(bytes(32))
        >>> claim = records.PlaceClaim(node, network=bytes(32), epoch=0, municipality="Utrecht", lat_e7=0, lon_e7=0,
        ...                            nonce=grader.nonce(node.id), hlc=SystemClock().now_ms() << 16)
        >>> grader.accept(records.PlaceAttestation(claim, []))
        1
    """

    def __init__(
        self,
        rules: records.PlaceRules,
        network: bytes,
        epoch: int,
        clock: Clock,
        entropy: Entropy,
        places: pop.Places | None = None,
    ) -> None:
        self.rules = rules
        self._places = places
        self.network = network
        self._epoch = epoch
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()
        self._given: dict[bytes, bytes] = {}  # subject → its nonce
        self._accepted: dict[bytes, tuple[bytes, int]] = {}  # subject → digest of its attestation, its stamp

    def nonce(self, subject: bytes) -> bytes:
        """A fresh nonce for one claim of a node, 32 bytes; the one that it was given before is good no more.

        Args:
            subject: The node's id.
        """
        nonce = self._entropy.bytes(32)
        with self._lock:
            self._given.pop(subject, None)
            self._given[subject] = nonce
            _bound(self._given)
        return nonce

    def accept(self, attestation: records.PlaceAttestation) -> int:
        """Grades an attestation and uses up its nonce; the same one may be shown again for as long as it is fresh.

        Args:
            attestation: What a node shows.

        Returns:
            Its grade, 0 to 3.

        Raises:
            VerificationError: It is of another network or epoch, not signed by its subject, its nonce was not given to
                the subject, or was used before, or its point is not in its municipality by the map.
        """
        claim = attestation.claim
        grade, findings = self.rules.grade(
            attestation, network=self.network, epoch=self._epoch, at_ms=self._clock.now_ms()
        )
        if self._places is not None:
            wrong = pop.misplaced(self._places, claim.municipality, claim.lat_e7, claim.lon_e7)
            if wrong is not None:
                raise VerificationError(f"place claim: {wrong}")
        digest = attestation.digest
        with self._lock:
            if self._accepted.get(claim.subject, (b"", 0))[0] != digest:
                if self._given.get(claim.subject) != claim.nonce:
                    raise VerificationError(
                        f"place claim: the nonce {claim.nonce.hex()[:16]}… was not given to "
                        f"{claim.subject.hex()[:16]}, or was used before"
                    )
                del self._given[claim.subject]
                self._accepted.pop(claim.subject, None)
                self._accepted[claim.subject] = (digest, claim.hlc)
                _bound(self._accepted)
        if any(finding == "contradicted" for _, finding in findings):
            _log.warning("the place that node %s claims is contradicted by a witness", claim.subject.hex()[:16])
        return grade

    def shown_by(self, record: records.NodeRecord) -> records.PlaceAttestation | None:
        """What counts of a node's record: its attestation, if it is accepted; None if there is none.

        Args:
            record: The record, verified.
        """
        try:
            shown = record.place
            if shown is None:
                return None
            self.accept(shown)
        except CityChainError as error:
            _log.warning("node %s counts as a node without a place: %s", record.node.hex()[:16], error)
            return None
        return shown

    def placing(self) -> tuple[records.PlaceRules, int, int]:
        """What a candidate list is made with now: the rules, the epoch, the time in UTC epoch milliseconds."""
        return self.rules, self._epoch, self._clock.now_ms()

    def changes_at_ms(self, attestations: list[records.PlaceAttestation], at_ms: int) -> int:
        """When weights made of these attestations change by time alone: one is too old, or an event begins or ends.

        Args:
            attestations: What was accepted.
            at_ms: When they were made, UTC epoch milliseconds.
        """
        stamps = [shown.claim.hlc for shown in attestations]
        stamps += [said.hlc for shown in attestations for said in shown.testimonies]
        ends = [(stamp >> 16) + self.rules.age_ms_max + 1 for stamp in stamps]
        ends += [moment for event in self.rules.events for moment in event[2:]]
        return min((end for end in ends if end > at_ms), default=1 << 63)


def _bound[T](kept: dict[bytes, T]) -> None:
    while len(kept) > NONCES_MAX:
        del kept[next(iter(kept))]
