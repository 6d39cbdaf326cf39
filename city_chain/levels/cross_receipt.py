"""What a crossing leaves behind: a receipt that verifies offline, or the error that says which city refused it."""

from __future__ import annotations

from collections.abc import Buffer, Mapping, Sequence
from dataclasses import dataclass

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import AbortedError, InputError, ProtocolError, VerificationError
from city_chain.stages import messages

__all__ = ["AbortedError", "CrossReceipt", "WorldTrust"]


@dataclass(frozen=True, slots=True)
class WorldTrust:
    """What a verifier must know beforehand to check a world's receipts.

    Args:
        chain: The world's id, 32 bytes.
        names: Its cities, those that have left it too.
        layouts: The layouts of the epochs that are trusted, encoded: each has the committees of all cities.
        homes: The trust in each city by itself, by name.
    """

    chain: bytes
    names: Sequence[str]
    layouts: Sequence[bytes]
    homes: Mapping[str, records.Trust]

    def to_bytes(self) -> bytes:
        """As it is handed on."""
        parts: list[bytes] = [self.chain, messages.integer(len(self.names)), *(name.encode() for name in self.names)]
        parts += [self.homes[name].to_bytes() for name in self.names]
        return messages.message("worldtrust", [*parts, *self.layouts])

    @classmethod
    def from_bytes(cls, data: Buffer) -> WorldTrust:
        """Reads what `to_bytes` gave.

        Raises:
            InputError: It is something else.
        """
        try:
            chain, count, *rest = messages.answer(bytes(data), "worldtrust")
            cities = messages.integer_of(count)
            if len(chain) != 32 or not 0 < cities <= len(rest) // 2:
                raise ValueError(f"{len(rest)} parts for {cities} cities")
            names = [name.decode() for name in rest[:cities]]
            homes = [records.Trust.from_bytes(part) for part in rest[cities : 2 * cities]]
            layouts = [sc.Layout.from_bytes(part).to_bytes() for part in rest[2 * cities :]]
        except (ProtocolError, ValueError) as error:
            raise InputError(f"trust in a world: {error}") from None
        return cls(chain, tuple(names), tuple(layouts), dict(zip(names, homes, strict=True)))


@dataclass(frozen=True, slots=True, repr=False)
class CrossReceipt:
    """Proof that a transaction was dispersed, and that every city that it touches has committed it.

    Args:
        home: The city in which it was dispersed.
        receipt: The receipt of that city.
        manifest: What it touches, encoded.
        certificates: The word of every city that it touches, encoded, in the order of the manifest's shards.
        head: What its sender has signed, encoded; empty in receipts of version 1, which did not have it.
    """

    home: str
    receipt: records.Receipt
    manifest: bytes
    certificates: Sequence[bytes]
    head: bytes = b""

    def __repr__(self) -> str:
        return f"CrossReceipt({self.tx_id.hex()[:16]}… of {self.home!r}, {len(self.certificates)} cities)"

    @property
    def tx_id(self) -> bytes:
        """The transaction, 32 bytes."""
        return self.receipt.tx_id

    def verify(self, trust: WorldTrust) -> None:
        """Checks everything against what the verifier believes beforehand. Needs no network.

        Args:
            trust: What is believed.

        Raises:
            VerificationError: Something in it is wrong, missing, or of another world or epoch.
            InputError: It holds bytes that are no manifest, head or certificate.
            TypeError: The trust is not one in a world.
        """
        if not isinstance(trust, WorldTrust):
            raise TypeError(f"trust must be a world's (World.trust), not {type(trust).__name__}")
        home = trust.homes.get(self.home)
        if home is None:
            raise VerificationError(f"crossing: city {self.home!r} is not among the trusted ones")
        self.receipt.verify(home)
        manifest = sc.Manifest.from_bytes(self.manifest)
        if manifest.chain_id != trust.chain:
            raise VerificationError(
                f"crossing: of world {manifest.chain_id.hex()[:16]}, not of {trust.chain.hex()[:16]}"
            )
        if manifest.body != self.receipt.tx_id:
            raise VerificationError("crossing: its manifest is of another transaction")
        if not self.head:
            raise VerificationError(
                "crossing: a receipt of version 1 does not show that the sender has signed its manifest"
            )
        head = records.TransactionHead.from_bytes(self.head)
        head.verify_crossing(manifest)
        if head.network != home.network:
            raise VerificationError(f"crossing: its transaction is for another city than {self.home!r}")
        certificates = [sc.Certificate.from_bytes(certificate) for certificate in self.certificates]
        spoken = [certificate.statement.shard for certificate in certificates]
        if spoken != list(manifest.shards):
            raise VerificationError(f"crossing: shards {list(manifest.shards)} are touched, {spoken} have spoken")
        epochs = {certificate.statement.epoch for certificate in certificates}
        known = (sc.Layout.from_bytes(layout) for layout in trust.layouts)
        layouts = [layout for layout in known if layout.epoch in epochs]
        due = ("prepared", manifest.txid, manifest.session)
        for certificate in certificates:
            said = certificate.statement
            if (said.verdict, said.txid, said.session) != due:
                raise VerificationError(f"crossing: the word of shard {said.shard} is not that it is prepared")
            certificate.verify(layouts)

    def to_bytes(self) -> bytes:
        """As it is kept and handed on."""
        parts = [self.home.encode(), self.receipt.to_bytes(), self.manifest]
        if not self.head:
            return messages.message("crossed", [*parts, *self.certificates])
        return messages.message("crossing_receipt", [*parts, self.head, *self.certificates])

    @classmethod
    def from_bytes(cls, data: Buffer) -> CrossReceipt:
        """Reads what `to_bytes` gave, in version 1 too. No signature is checked here.

        Raises:
            InputError: It is something else.
        """
        try:
            found, head = messages.parse(bytes(data)), b""
            if found.kind == "crossing_receipt":
                home, receipt, manifest, head, *certificates = found.parts
                if not head:
                    raise ValueError("version 2 without what its sender has signed")
            else:
                home, receipt, manifest, *certificates = messages.answer(bytes(data), "crossed")
            return cls(home.decode(), records.Receipt.from_bytes(receipt), manifest, tuple(certificates), head)
        except (ProtocolError, ValueError) as error:
            raise InputError(f"receipt of a crossing: {error}") from None
