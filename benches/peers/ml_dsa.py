"""ML-DSA: keys, signing and verifying, in the three parameter sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from city_chain.algorithms.tes import ml_dsa
from peers.harness import OURS, Contest, Entry, Peers, Target

TITLE = "ML-DSA signatures"
LEFT_OUT = {
    "liboqs-python": "0.16.0 is a binding without the C library: where it finds none it clones and compiles liboqs "
    "from GitHub when it is imported. Measured elsewhere, in AVX2, ML-DSA-65 takes it 69 µs to sign, 29 µs to verify",
}

_CONTEXT = b"peers"
# How often signing starts again depends on the message: the figure is a mean over some.
_MESSAGES = [os.urandom(100) for _ in range(64)]
_WHY = "the crate `ml-dsa` is portable Rust without vectors; signing repeats some five times on average"


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Every parameter set."""
    theirs = peers.find("cryptography.hazmat.primitives.asymmetric.mldsa", "cryptography")
    others = peers.find("pqcrypto.sign", "pqcrypto")
    for number in (44, 65, 87):
        yield from _set(number, theirs, others)


def _set(number: int, theirs: Any, others: Any) -> Iterator[Contest]:
    seed = os.urandom(32)
    name: Any = f"ml-dsa-{number}"
    ours = ml_dsa.SigningKey(seed, parameters=name)
    public = ml_dsa.PublicKey(ours.public_key)
    count = len(_MESSAGES)
    bounds = {65: (207e-6, 87e-6)}.get(number)
    note = "the target is three times liboqs" if bounds else ""
    signed = [ours.sign(message, context=_CONTEXT) for message in _MESSAGES]
    pairs = list(zip(_MESSAGES, signed, strict=True))

    def sign_all(sign: Any) -> Any:
        return lambda _: [sign(message) for message in _MESSAGES]

    making = [Entry(f"{OURS}: SigningKey", lambda _: ml_dsa.SigningKey(seed, parameters=name))]
    signing = [
        Entry(
            f"{OURS}: sign",
            sign_all(lambda message: ours.sign(message, context=_CONTEXT)),
            count,
            note=note,
            target=Target(bounds[0], "seconds") if bounds else None,
        )
    ]
    checking = [
        Entry(
            f"{OURS}: PublicKey.verify",
            lambda _: [public.verify(message, signature, context=_CONTEXT) for message, signature in pairs],
            count,
            note=note,
            target=Target(bounds[1], "seconds") if bounds else None,
        ),
        Entry(
            f"{OURS}: verify, from bytes",
            lambda _: [
                ml_dsa.verify(ours.public_key, message, signature, context=_CONTEXT) for message, signature in pairs
            ],
            count,
        ),
    ]
    key = far = None
    if theirs is not None:
        factory = getattr(theirs, f"MLDSA{number}PrivateKey")
        key = factory.from_seed_bytes(seed)
        far = key.public_key()
        raw = far.public_bytes_raw()
        reader = getattr(theirs, f"MLDSA{number}PublicKey")
        making.append(Entry("cryptography", lambda _: factory.from_seed_bytes(seed)))
        signing.append(Entry("cryptography", sign_all(lambda message: key.sign(message, _CONTEXT)), count))
        checking.append(
            Entry("cryptography", lambda _: [far.verify(signature, m, _CONTEXT) for m, signature in pairs], count)
        )
        checking.append(
            Entry(
                "cryptography: from bytes",
                lambda _: [reader.from_public_bytes(raw).verify(signature, m, _CONTEXT) for m, signature in pairs],
                count,
            )
        )
    other = None if others is None else getattr(others, f"ml_dsa_{number}")
    if other is not None:
        public_key, secret_key = other.keygen()
        mine = [(message, other.sign(secret_key, message, _CONTEXT)) for message in _MESSAGES]
        making.append(Entry("pqcrypto", lambda _: other.keygen()))
        signing.append(
            Entry(
                "pqcrypto",
                sign_all(lambda message: other.sign(secret_key, message, _CONTEXT)),
                count,
                note="from bytes",
            )
        )
        checking.append(
            Entry(
                "pqcrypto",
                lambda _: [other.verify(public_key, m, s, _CONTEXT) for m, s in mine],
                count,
                note="from bytes",
            )
        )

    def check() -> None:
        for message, signature in pairs[:8]:
            public.verify(message, signature, context=_CONTEXT)
            if key is not None and far is not None:
                assert b"%dp" % (number // 10) + far.public_bytes_raw() == ours.public_key
                far.verify(signature, message, _CONTEXT)
                public.verify(message, key.sign(message, _CONTEXT), context=_CONTEXT)
        if other is not None:
            typed = b"%dp" % (number // 10) + public_key
            for message, signature in mine[:8]:
                ml_dsa.verify(typed, message, signature, context=_CONTEXT)

    yield Contest(f"ML-DSA-{number}: a key", making, check)
    yield Contest(f"ML-DSA-{number}: sign", signing, check, why=_WHY)
    yield Contest(f"ML-DSA-{number}: verify", checking, check, why=_WHY)
