"""Verifiable random functions: proving, verifying, verifying many."""

from __future__ import annotations

import os
from collections.abc import Iterator

from city_chain.algorithms import vrf
from peers.harness import OURS, Contest, Entry, Peers, Target

TITLE = "Verifiable random function"
LEFT_OUT = {
    "python-ecvrf-4o": "0.1.1 accepts forged proofs, and pins a release of cryptography from 2021 that cannot stand "
    "beside the one measured here",
}

_BATCH = 1024
_KEYS = 16


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Both suites alone, then the default one in batches."""
    ecvrf = peers.find("peers.ecvrf", "pynacl")
    seed, alpha = os.urandom(32), os.urandom(100)
    ours = vrf.SecretKey(seed)
    public, proof = ours.public_key, ours.prove(alpha)
    proving = [Entry(f"{OURS}: ELL2", lambda _: ours.prove(alpha), target=Target(100e-6, "seconds"))]
    verifying = [Entry(f"{OURS}: ELL2", lambda _: vrf.verify(public, alpha, proof), target=Target(90e-6, "seconds"))]
    if ecvrf is not None:
        for suite, name in ((ecvrf.ELL2, "ELL2"), (ecvrf.TAI, "TAI")):
            key = ecvrf.SecretKey(seed, suite)
            made = key.prove(alpha)
            note = "its user's own code, 150 lines"
            proving.append(Entry(f"PyNaCl, {name}", lambda _, k=key: k.prove(alpha), note=note))
            verifying.append(
                Entry(
                    f"PyNaCl, {name}",
                    lambda _, m=made, s=suite: ecvrf.verify(public, alpha, m, s),
                    note=note,
                )
            )

    def check() -> None:
        assert vrf.verify(public, alpha, proof) == vrf.proof_to_hash(proof)
        if ecvrf is not None:
            assert ecvrf.SecretKey(seed).prove(alpha) == proof
            assert ecvrf.verify(public, alpha, proof) == vrf.verify(public, alpha, proof)

    yield Contest("prove", proving, check)
    yield Contest("verify", verifying, check)
    yield _many(ecvrf, quick)


def _many(ecvrf: object, quick: bool) -> Contest:
    keys = [vrf.SecretKey(os.urandom(32)) for _ in range(_KEYS)]
    items = []
    for at in range(_BATCH):
        key, alpha = keys[at % _KEYS], at.to_bytes(8, "big")
        items.append((key.public_key, alpha, key.prove(alpha)))
    outputs = [vrf.proof_to_hash(proof) for _, _, proof in items]
    entries = []
    if hasattr(vrf, "verify_many"):
        entries.append(
            Entry(
                f"{OURS}: verify_many",
                lambda _: vrf.verify_many(items),
                _BATCH,
                target=Target(45e-6, "seconds"),
            )
        )
    few = items[:64]
    entries.append(Entry(f"{OURS}: verify, one by one", lambda _: [vrf.verify(*item) for item in few], len(few)))
    if ecvrf is not None:
        fewer = items[:4]
        entries.append(
            Entry("PyNaCl, ELL2, one by one", lambda _: [ecvrf.verify(*item) for item in fewer], len(fewer))  # type: ignore[attr-defined]
        )

    def check() -> None:
        for entry in entries:
            assert list(entry.run(None)) == outputs[: entry.operations], entry.name

    return Contest(f"verify {_BATCH:,} proofs of {_KEYS} keys, for each", entries, check)
