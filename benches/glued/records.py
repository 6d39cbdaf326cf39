"""The bytes that the glued rival signs, sends and stores: fixed little-endian structs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from glued.crypto import SIGNATURE_LEN, Keys, Known, Tree, WrongError, digest, root_from_path

TRANSACTION = Struct("<32s32sQQI")
MANIFEST = Struct("<32s32s32sQIBBB32s32s32s")
REQUEST = Struct("<32s32s32sQQQ")
ITEM = Struct("<32s32sHH32s32s")
ACK = Struct("<32s32s32s32sHH32sQQ32s32s")
ENTRY = Struct("<32s32s32sQ")
HEADER = Struct("<32sQQ32s32sQI32s")
SLOT = Struct("<32sQQQ32s32s")
PLACE = Struct("<II64sH")

ITEM_OF_ACK = slice(64, 64 + 32 + 32 + 2 + 2 + 32)
"""Where an ack says which fragment it is about: transaction, manifest, index, n, hash."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A signed payload."""

    tx_id: bytes
    sender: bytes
    sequence: int
    encoding: bytes

    @classmethod
    def make(cls, keys: Keys, network: bytes, sequence: int, hlc: int, payload: bytes) -> Transaction:
        """Signs a payload."""
        body = TRANSACTION.pack(network, keys.public, sequence, hlc, len(payload)) + payload
        tx_id = digest(b"glue_tx_", body)
        return cls(tx_id, keys.public, sequence, body + keys.sign(tx_id))

    @staticmethod
    def open(encoding: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """Id, sender, payload and signature of an encoding; the signature is not checked here.

        Raises:
            WrongError: It is no encoding.
        """
        if len(encoding) < TRANSACTION.size + SIGNATURE_LEN:
            raise WrongError(f"a transaction of {len(encoding)} bytes")
        body, signature = encoding[:-SIGNATURE_LEN], encoding[-SIGNATURE_LEN:]
        _, sender, _, _, length = TRANSACTION.unpack_from(body)
        payload = body[TRANSACTION.size :]
        if len(payload) != length:
            raise WrongError(f"a payload of {len(payload)} bytes where {length} are said")
        return digest(b"glue_tx_", body), sender, payload, signature


@dataclass(frozen=True, slots=True)
class Manifest:
    """The signed description of a dispersal; `nodes` are the chosen ones, then the spares."""

    body: bytes
    manifest_hash: bytes
    signature: bytes
    nodes: tuple[bytes, ...]

    @classmethod
    def make(cls, keys: Keys, fields: tuple[object, ...], nodes: tuple[bytes, ...]) -> Manifest:
        """Signs a manifest; `fields` are those of `MANIFEST`."""
        body = MANIFEST.pack(*fields) + b"".join(nodes)
        manifest_hash = digest(b"gluemani", body)
        return cls(body, manifest_hash, keys.sign(manifest_hash), nodes)

    @classmethod
    def from_bytes(cls, encoding: bytes) -> Manifest:
        """Reads `to_bytes`.

        Raises:
            WrongError: It is no encoding.
        """
        body = encoding[:-SIGNATURE_LEN]
        tail = body[MANIFEST.size :]
        if len(body) < MANIFEST.size or len(tail) % 32:
            raise WrongError(f"a manifest of {len(encoding)} bytes")
        nodes = tuple(tail[at : at + 32] for at in range(0, len(tail), 32))
        return cls(body, digest(b"gluemani", body), encoding[-SIGNATURE_LEN:], nodes)

    def to_bytes(self) -> bytes:
        """The encoding."""
        return self.body + self.signature

    def fields(self) -> tuple[bytes, bytes, bytes, int, int, int, int, int, bytes, bytes, bytes]:
        """Network, transaction, sender, sequence, length, k, n, quorum, fragment root, candidates root, draw."""
        return MANIFEST.unpack_from(self.body)


@dataclass(frozen=True, slots=True)
class Ack:
    """A node's word that it holds a fragment: one leaf of the tree whose root the node signed."""

    body: bytes
    root: bytes
    signature: bytes

    @property
    def node(self) -> bytes:
        """Who says so."""
        return self.body[32:64]


def write_acks(bodies: Sequence[bytes], tree: Tree, signature: bytes) -> list[bytes]:
    """The encodings of all acks of a node, each with its path and the signature on the root."""
    size, paths = len(bodies), tree.paths()
    return [
        body + PLACE.pack(at, size, signature, len(path)) + path
        for at, (body, path) in enumerate(zip(bodies, paths, strict=True))
    ]


def read_ack(encoding: bytes, at: int, known: Known) -> tuple[Ack, int]:
    """One ack, its root recomputed, and where the next one begins.

    Raises:
        WrongError: It is no encoding.
    """
    place = at + ACK.size
    if len(encoding) < place + PLACE.size:
        raise WrongError(f"an ack at {at} of {len(encoding)} bytes")
    body = encoding[at:place]
    position, size, signature, path_len = PLACE.unpack_from(encoding, place)
    end = place + PLACE.size + path_len
    path = encoding[place + PLACE.size : end]
    root = root_from_path(digest(b"glue_ack", body), position, size, path, known)
    return Ack(body, root, signature), end


@dataclass(frozen=True, slots=True)
class Availability:
    """Manifest, fragment hashes and acks: enough of a transaction is held."""

    encoding: bytes
    manifest: Manifest
    hashes: tuple[bytes, ...]
    acks: tuple[Ack, ...]

    @staticmethod
    def write(manifest: Manifest, hashes: Sequence[bytes], acks: Sequence[bytes]) -> bytes:
        """The encoding, out of encoded acks."""
        encoded = manifest.to_bytes()
        head = len(encoded).to_bytes(4, "little") + bytes([len(hashes), len(acks)])
        return b"".join([head, encoded, *hashes, *acks])

    @classmethod
    def from_bytes(cls, encoding: bytes, known: Known) -> Availability:
        """Reads `write`; `known` are nodes of trees hashed already.

        Raises:
            WrongError: It is no encoding.
        """
        if len(encoding) < 6:
            raise WrongError(f"a certificate of {len(encoding)} bytes")
        length, hash_count, ack_count = int.from_bytes(encoding[:4], "little"), encoding[4], encoding[5]
        manifest, at = Manifest.from_bytes(encoding[6 : 6 + length]), 6 + length
        hashes = tuple([encoding[at + 32 * index : at + 32 * index + 32] for index in range(hash_count)])
        at += 32 * hash_count
        acks = []
        for _ in range(ack_count):
            ack, at = read_ack(encoding, at, known)
            acks.append(ack)
        if at != len(encoding):
            raise WrongError(f"a certificate of {len(encoding)} bytes where {at} were due")
        return cls(encoding, manifest, hashes, tuple(acks))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender keeps."""

    availability: Availability
    header: bytes
    entry: bytes
    position: int
    path: bytes
    votes: tuple[tuple[int, bytes], ...]

    @property
    def tx_id(self) -> bytes:
        """The transaction's id."""
        return self.entry[:32]

    def to_bytes(self) -> bytes:
        """The encoding, as it is stored."""
        votes = b"".join(bytes([position]) + signature for position, signature in self.votes)
        parts = (self.availability.encoding, self.header, self.entry, self.path, votes)
        return self.position.to_bytes(4, "little") + b"".join(len(p).to_bytes(4, "little") + p for p in parts)

    @classmethod
    def from_bytes(cls, encoding: bytes) -> Receipt:
        """Reads `to_bytes`.

        Raises:
            WrongError: It is no encoding.
        """
        parts, at = [], 4
        while at < len(encoding):
            length = int.from_bytes(encoding[at : at + 4], "little")
            parts.append(encoding[at + 4 : at + 4 + length])
            at += 4 + length
        if at != len(encoding) or len(parts) != 5 or len(parts[2]) != ENTRY.size or len(parts[1]) != HEADER.size:
            raise WrongError(f"a receipt of {len(encoding)} bytes in {len(parts)} parts")
        availability, header, entry, path, votes = parts
        if len(votes) % (1 + SIGNATURE_LEN):
            raise WrongError(f"votes of {len(votes)} bytes")
        each = [votes[at : at + 1 + SIGNATURE_LEN] for at in range(0, len(votes), 1 + SIGNATURE_LEN)]
        return cls(
            Availability.from_bytes(availability, {}),
            header,
            entry,
            int.from_bytes(encoding[:4], "little"),
            path,
            tuple((vote[0], vote[1:]) for vote in each),
        )
