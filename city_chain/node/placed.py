"""A node's own side of its place: what it claims, what it echoes to witnesses, what it says as a witness of others."""

from __future__ import annotations

import threading
from collections.abc import Callable

from city_chain import records
from city_chain.errors import InputError, ProtocolError

__all__ = ["ECHOES_MAX", "Placed"]

ECHOES_MAX = 64
"""How many echoes a node gives for one claim."""


class Placed:
    """What a node says about places.

    Args:
        identity: Its keys.
        epoch: The epoch in force.
        place: Where it is: municipality, latitude and longitude in 1e-7 degrees; None if it claims no place.
        stamp: Gives its next stamp.

    Example:
        >>> node = records.Identity(bytes(32))
        >>> from city_chain.proofs import dpos
        >>> epoch = records.Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(node.id, 1)]))
        >>> placed = Placed(node, epoch, ("Utrecht", 520_907_000, 51_214_000), lambda: 1 << 16)
        >>> placed.claim(bytes(32)).municipality
        'Utrecht'
    """

    def __init__(
        self,
        identity: records.Identity,
        epoch: records.Epoch,
        place: tuple[str, int, int] | None,
        stamp: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._network, self._epoch = epoch.network, epoch.number
        self._place = place
        self._stamp = stamp
        self._lock = threading.Lock()
        self._claim: bytes | None = None  # the newest, encoded
        self._echoes = 0
        self.attestation: records.PlaceAttestation | None = None
        """What it shows of its place when it logs in."""

    @property
    def is_known(self) -> bool:
        """Whether it claims a place at all."""
        return self._place is not None

    def claim(self, nonce: bytes) -> records.PlaceClaim:
        """Claims its place, over what a verifier gave it; echoes are for this claim from now on.

        Args:
            nonce: 32 bytes.

        Raises:
            ProtocolError: It claims no place.
        """
        if self._place is None:
            raise ProtocolError("place: this node claims none")
        municipality, lat_e7, lon_e7 = self._place
        claim = records.PlaceClaim(
            self._identity,
            network=self._network,
            epoch=self._epoch,
            municipality=municipality,
            lat_e7=lat_e7,
            lon_e7=lon_e7,
            nonce=nonce,
            hlc=self._stamp(),
        )
        with self._lock:
            self._claim, self._echoes = claim.to_bytes(), 0
        return claim

    def echo(self, claim: bytes, witness: bytes, challenge: bytes) -> bytes:
        """Answers a witness's challenge.

        Args:
            claim: The encoding of the claim that it is about.
            witness: The witness's id.
            challenge: 32 bytes.

        Raises:
            ProtocolError: It is not the newest claim, or was echoed often enough.
            InputError: A wrong length.
        """
        if (len(witness), len(challenge)) != (32, 32):
            raise InputError("echo: a witness and a challenge of 32 bytes each are needed")
        with self._lock:
            if claim != self._claim:
                raise ProtocolError("echo: that is not the newest claim of this node")
            if self._echoes >= ECHOES_MAX:
                raise ProtocolError(f"echo: {ECHOES_MAX} were given for this claim, which is the most")
            self._echoes += 1
        return records.PlaceClaim.from_bytes(claim).echo(self._identity, witness, challenge)

    def check_claim(self, claim: records.PlaceClaim) -> None:
        """Checks what it is to be a witness of.

        Raises:
            VerificationError: It is not signed by its subject.
            ProtocolError: It is of another network or epoch, or its own.
        """
        if (claim.network, claim.epoch) != (self._network, self._epoch):
            raise ProtocolError("witness: the claim is of another network or epoch")
        if claim.subject == self._identity.id:
            raise ProtocolError("witness: nobody is a witness of his own claim")
        claim.verify()

    def testify(self, claim: records.PlaceClaim, rtt_us: int) -> records.PlaceTestimony:
        """Says what it saw.

        Args:
            claim: The claim.
            rtt_us: How long its echo took, microseconds, rounded up.
        """
        return records.PlaceTestimony(self._identity, claim, rtt_us, self._stamp())
