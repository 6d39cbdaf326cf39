"""Key encapsulation: X-Wing, and NTRU Prime with X25519."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from city_chain.algorithms.tes import kem
from peers.harness import OURS, Contest, Entry, Peers

TITLE = "Key encapsulation"
LEFT_OUT = {
    "liboqs-python": "0.16.0 is a binding without the C library: where it finds none it clones and compiles liboqs "
    "from GitHub when it is imported. Measured elsewhere, ML-KEM-768 alone takes it 11 µs and 12 µs; it has no X-Wing",
}

_WHY = (
    "the crate `ml-kem` is portable Rust, where OpenSSL is assembly; and the crate `x-wing` keeps the seed alone and "
    "expands the key for every decapsulation"
)


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """X-Wing in every operation, then the hybrid of NTRU Prime."""
    curve = peers.find("cryptography.hazmat.primitives.asymmetric.x25519", "cryptography")
    lattice = peers.find("cryptography.hazmat.primitives.asymmetric.mlkem", "cryptography")
    other = peers.find("pqcrypto.kem.ml_kem_768", "pqcrypto")
    ours = kem.SecretKey.generate()
    public = kem.PublicKey(ours.public_key)
    seed = ours.to_bytes()[2:]

    making = [Entry(f"{OURS}: SecretKey", lambda _: kem.SecretKey(seed))]
    sending = [
        Entry(f"{OURS}: PublicKey.encapsulate", lambda _: public.encapsulate()),
        Entry(f"{OURS}: encapsulate, from bytes", lambda _: kem.encapsulate(ours.public_key)),
    ]
    ciphertext, _ = public.encapsulate()
    opening = [Entry(f"{OURS}: decapsulate", lambda _: ours.decapsulate(ciphertext))]
    theirs = None
    if curve is not None and lattice is not None:
        theirs = _XWing(curve, lattice, seed)
        note = "X-Wing as its user would put it together"
        making.append(Entry("cryptography", lambda _: _XWing(curve, lattice, seed), note=note))
        sending.append(Entry("cryptography", lambda _: theirs.encapsulate(), note=note))
        opening.append(Entry("cryptography", lambda _: theirs.decapsulate(ciphertext), note=f"{note}, expanded once"))
        alone, half = theirs.lattice, ciphertext[:1088]
        far = alone.public_key()
        note = "ML-KEM-768 alone"
        sending.append(Entry("cryptography: ML-KEM", lambda _: far.encapsulate(), note=note, is_beside=True))
        opening.append(Entry("cryptography: ML-KEM", lambda _: alone.decapsulate(half), note=note, is_beside=True))
    if other is not None:
        far_key, near_key = other.keygen()
        sealed, _ = other.encaps(far_key)
        note = "ML-KEM-768 alone, from bytes"
        making.append(Entry("pqcrypto: ML-KEM", lambda _: other.keygen(), note=note, is_beside=True))
        sending.append(Entry("pqcrypto: ML-KEM", lambda _: other.encaps(far_key), note=note, is_beside=True))
        opening.append(Entry("pqcrypto: ML-KEM", lambda _: other.decaps(near_key, sealed), note=note, is_beside=True))

    def check() -> None:
        made, secret = public.encapsulate()
        assert ours.decapsulate(made) == secret
        if theirs is not None:
            assert b"xp" + theirs.public == ours.public_key
            assert theirs.decapsulate(made) == secret
            made, secret = theirs.encapsulate()
            assert ours.decapsulate(made) == secret

    yield Contest("X-Wing: a key of a seed", making, check)
    yield Contest("X-Wing: encapsulate", sending, check, why=_WHY)
    yield Contest("X-Wing: decapsulate", opening, check, why=_WHY)
    yield from _sntrup(peers)


@dataclass(init=False)
class _XWing:
    """X-Wing over a package's ML-KEM-768 and X25519, after the draft: some twenty lines."""

    def __init__(self, curve: Any, lattice: Any, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        self.x25519 = curve
        self.lattice = lattice.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.curve = curve.X25519PrivateKey.from_private_bytes(expanded[64:])
        self.far = self.lattice.public_key()
        self.own = self.curve.public_key().public_bytes_raw()
        self.public = self.far.public_bytes_raw() + self.own

    def encapsulate(self) -> tuple[bytes, bytes]:
        first, sealed = self.far.encapsulate()
        key = self.x25519.X25519PrivateKey.generate()
        second = key.exchange(self.x25519.X25519PublicKey.from_public_bytes(self.own))
        sent = key.public_key().public_bytes_raw()
        return sealed + sent, self.combine(first, second, sent)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        sealed, sent = ciphertext[:1088], ciphertext[1088:]
        second = self.curve.exchange(self.x25519.X25519PublicKey.from_public_bytes(sent))
        return self.combine(self.lattice.decapsulate(sealed), second, sent)

    def combine(self, first: bytes, second: bytes, sent: bytes) -> bytes:
        return hashlib.sha3_256(first + second + sent + self.own + rb"\.//^\ "[:-1]).digest()


def _sntrup(peers: Peers) -> Iterator[Contest]:
    other = peers.find("pqcrypto.kem.sntrup_761", "pqcrypto")
    ours = kem.SecretKey.generate("sntrup761-x25519")
    public = kem.PublicKey(ours.public_key)
    sealed = cycle([public.encapsulate()[0] for _ in range(8)])
    making = [Entry(f"{OURS}: SecretKey.generate", lambda _: kem.SecretKey.generate("sntrup761-x25519"))]
    sending = [Entry(f"{OURS}: PublicKey.encapsulate", lambda _: public.encapsulate())]
    opening = [Entry(f"{OURS}: decapsulate", lambda _: ours.decapsulate(next(sealed)))]
    note = "sntrup761 alone, from bytes"
    if other is not None:
        far, near = other.keygen()
        ciphertext, _ = other.encaps(far)
        making.append(Entry("pqcrypto: sntrup761", lambda _: other.keygen(), note=note, is_beside=True))
        sending.append(Entry("pqcrypto: sntrup761", lambda _: other.encaps(far), note=note, is_beside=True))
        opening.append(
            Entry("pqcrypto: sntrup761", lambda _: other.decaps(near, ciphertext), note=note, is_beside=True)
        )

    def check() -> None:
        made, secret = public.encapsulate()
        assert ours.decapsulate(made) == secret
        if other is not None:
            # The lattice half of one of our public keys is one of theirs, and our ciphertexts have their length.
            half, _ = other.encaps(ours.public_key[2:1160])
            assert len(half) == len(made) - 32
            assert ours.decapsulate(half + os.urandom(31) + b"\1") != secret

    yield Contest("sntrup761 with X25519: a new key", making, check)
    yield Contest("sntrup761 with X25519: encapsulate", sending, check)
    yield Contest("sntrup761 with X25519: decapsulate", opening, check)
