"""Signatures of Proofs of Hold: one by one, and a thousand acks of 64 nodes.

What was found right once is not checked again by this package, so every round is given signatures that are new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

from city_chain import records
from city_chain.algorithms import ec
from city_chain.proofs import dpos, poh
from city_chain.records import Identity
from peers.harness import OURS, Contest, Entry, Peers, Target

TITLE = "Proof of Hold"
LEFT_OUT: dict[str, str] = {}

_ACKS, _NODES = 1024, 64
_ONE_BY_ONE = 256
_SINGLES = 64


class _Acks:
    """Acks for fragments of one transaction, each signed alone or 16 of a node at once."""

    def __init__(self) -> None:
        sender = Identity(os.urandom(32))
        self.nodes = [Identity(os.urandom(32)) for _ in range(_NODES)]
        validators = dpos.ValidatorSet(0, [(self.nodes[0].id, 1)])
        epoch = records.Epoch.first("bench", os.urandom(32), validators)
        candidates = records.Candidates(epoch.network, "bench", [(node.id, 1, "district") for node in self.nodes])
        payload = os.urandom(4096)
        transaction = records.Transaction(sender, network=epoch.network, sequence=0, hlc=1, payload=payload)
        encoded = ec.encode(transaction.to_bytes(), 6, 4)
        [selection] = records.Draw(sender, epoch).select_many(candidates, sender.id, [0], 10)
        manifest = records.Manifest(
            sender,
            transaction=transaction,
            length=encoded.length,
            k=6,
            n=10,
            quorum=8,
            fragment_hashes=encoded.hashes,
            selection=selection,
        )
        items = [
            (manifest, encoded.hashes[at % 10], self.nodes[at % _NODES].id, at % 10, os.urandom(32))
            for at in range(_ACKS)
        ]
        requests = poh.request_many(sender, items, hlc=1, deadline_ms=1_000, hold_until_ms=2_000)
        self._held = [(request, encoded.fragments[request.index]) for request in requests]
        self._hlc = count(1)

    def alone(self) -> list[poh.Ack]:
        """New acks, a signature each."""
        hlc = next(self._hlc)
        return [poh.hold_many(self.nodes[at % _NODES], [held], hlc)[0] for at, held in enumerate(self._held)]

    def together(self) -> list[poh.Ack]:
        """New acks, a signature for all of a node."""
        hlc = next(self._hlc)
        return [ack for at, node in enumerate(self.nodes) for ack in poh.hold_many(node, self._held[at::_NODES], hlc)]


type Triple = tuple[bytes, bytes, bytes]
"""A public key, a message, the signature."""


class _PyNaCl:
    """PyNaCl through its bindings, which are its fastest calls."""

    def __init__(self, bindings: Any) -> None:
        self._sign, self._open = bindings.crypto_sign, bindings.crypto_sign_open
        self.keys = [bindings.crypto_sign_seed_keypair(os.urandom(32)) for _ in range(_NODES)]
        message = os.urandom(300)
        self.signed = [
            (self.keys[at % _NODES][0], self._sign(message, self.keys[at % _NODES][1])) for at in range(_ACKS)
        ]

    def sign(self, messages: list[bytes]) -> None:
        """Signs."""
        sign, secret = self._sign, self.keys[0][1]
        for message in messages:
            sign(message, secret)[:64]

    def triples(self) -> list[Triple]:
        """New signatures."""
        message = os.urandom(300)
        sign = self._sign
        return [
            (self.keys[at % _NODES][0], message, sign(message, self.keys[at % _NODES][1])[:64]) for at in range(_ACKS)
        ]

    def verify(self, _: object = None) -> None:
        """Checks."""
        check = self._open
        for public, signed in self.signed[:_ONE_BY_ONE]:
            check(signed, public)


class _Cryptography:
    """cryptography, with keys read beforehand."""

    def __init__(self, ed25519: Any) -> None:
        keys = [ed25519.Ed25519PrivateKey.generate() for _ in range(_NODES)]
        self._key = keys[0]
        self._message = os.urandom(300)
        signatures = [key.sign(self._message) for key in keys]
        public = [key.public_key() for key in keys]
        self.signed = [(public[at % _NODES], signatures[at % _NODES]) for at in range(_ACKS)]

    def sign(self, messages: list[bytes]) -> None:
        """Signs."""
        sign = self._key.sign
        for message in messages:
            sign(message)

    def verify(self, _: object = None) -> None:
        """Checks."""
        message = self._message
        for public, signature in self.signed[:_ONE_BY_ONE]:
            public.verify(signature, message)


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Signing, verifying one, verifying a thousand acks."""
    bindings = peers.find("nacl.bindings", "pynacl")
    found = peers.find("cryptography.hazmat.primitives.asymmetric.ed25519", "cryptography")
    nacl = None if bindings is None else _PyNaCl(bindings)
    openssl = None if found is None else _Cryptography(found)
    others = [(name, peer) for name, peer in (("PyNaCl", nacl), ("cryptography", openssl)) if peer is not None]
    identity = Identity(os.urandom(32))

    def messages() -> list[bytes]:
        return [os.urandom(300) for _ in range(_SINGLES)]

    def signed() -> list[tuple[bytes, bytes]]:
        return [(message, identity.sign(message)) for message in messages()]

    def sign(some: list[bytes]) -> None:
        for message in some:
            identity.sign(message)

    def verify(some: list[tuple[bytes, bytes]]) -> None:
        public = identity.id
        for message, signature in some:
            records.verify_message(public, message, signature)

    def check() -> None:
        verify(signed())
        for _, peer in others:
            peer.sign([b"message"])
            peer.verify()

    signing = [Entry(f"{OURS}: Identity.sign", sign, _SINGLES, messages)]
    signing += [Entry(name, peer.sign, _SINGLES, messages) for name, peer in others]
    yield Contest("sign 300 bytes", signing, check)
    verifying = [Entry(f"{OURS}: verify_message", verify, _SINGLES, signed)]
    verifying += [Entry(name, peer.verify, _ONE_BY_ONE) for name, peer in others]
    yield Contest("verify 300 bytes", verifying, check)
    if nacl is not None:
        yield _plain(nacl, others)
    yield _many(others)


def _plain(nacl: _PyNaCl, others: list[tuple[str, Any]]) -> Contest:
    """Signatures that PyNaCl made, checked by everybody."""
    entries = [Entry(f"{OURS}: verify_signatures", poh.verify_signatures, _ACKS, nacl.triples)]
    entries += [Entry(f"{name}, one by one", peer.verify, _ONE_BY_ONE) for name, peer in others]

    def check() -> None:
        made = nacl.triples()
        assert poh.verify_signatures(made) == [None] * _ACKS
        public, message, signature = made[7]
        made[7] = (public, message + b"!", signature)
        assert [at for at, verdict in enumerate(poh.verify_signatures(made)) if verdict is not None] == [7]

    return Contest(f"verify {_ACKS:,} plain signatures of {_NODES} keys, for each", entries, check)


def _many(others: list[tuple[str, Any]]) -> Contest:
    acks = _Acks()
    entries = [
        Entry(
            f"{OURS}: verify_acks",
            poh.verify_acks,
            _ACKS,
            acks.alone,
            note="each signed alone",
            target=Target(9e-6, "seconds"),
        ),
        Entry(
            f"{OURS}: verify_acks of bursts",
            poh.verify_acks,
            _ACKS,
            acks.together,
            note="16 under one signature",
            is_beside=True,
        ),
    ]
    entries += [Entry(f"{name}, one by one", peer.verify, _ONE_BY_ONE) for name, peer in others]

    def check() -> None:
        for made in (acks.alone(), acks.together()):
            assert poh.verify_acks(made) == [None] * _ACKS
            wrong = bytearray(made[5].to_bytes())
            wrong[-1] ^= 1
            try:
                verdicts = poh.verify_acks([*made[:5], poh.Ack.from_bytes(bytes(wrong)), *made[6:]])
            except ValueError:
                continue
            assert [at for at, verdict in enumerate(verdicts) if verdict is not None] == [5]

    return Contest(f"verify {_ACKS:,} acks of {_NODES} nodes, for each", entries, check)
