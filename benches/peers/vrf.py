"""Verifiable random functions: proving, verifying, verifying many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

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
    for suite in ("ell2", "tai"):
        yield from _alone(suite, ecvrf)  # type: ignore[arg-type]
    yield _many(ecvrf)


def _alone(suite: vrf.Suite, ecvrf: Any) -> Iterator[Contest]:
    seed, alpha = os.urandom(32), os.urandom(100)
    ours = vrf.SecretKey(seed)
    public, proof = ours.public_key, ours.prove(alpha, suite=suite)
    name = suite.upper()
    proving = [
        Entry(f"{OURS}: prove", lambda _: ours.prove(alpha, suite=suite), target=Target(100e-6, "seconds")),
    ]
    verifying = [
        Entry(
            f"{OURS}: verify", lambda _: vrf.verify(public, alpha, proof, suite=suite), target=Target(90e-6, "seconds")
        )
    ]
    if ecvrf is not None:
        number = getattr(ecvrf, name)
        key = ecvrf.SecretKey(seed, number)
        note = "its user's own code, 150 lines"
        proving.append(Entry("PyNaCl", lambda _: key.prove(alpha), note=note))
        verifying.append(Entry("PyNaCl", lambda _: ecvrf.verify(public, alpha, proof, number), note=note))

    def check() -> None:
        output = vrf.verify(public, alpha, proof, suite=suite)
        assert output == vrf.proof_to_hash(proof, suite=suite)
        if ecvrf is not None:
            assert key.prove(alpha) == proof
            assert ecvrf.verify(public, alpha, proof, number) == output

    yield Contest(f"prove, {name}", proving, check)
    yield Contest(f"verify, {name}", verifying, check)


def _many(ecvrf: Any) -> Contest:
    keys = [vrf.SecretKey(os.urandom(32)) for _ in range(_KEYS)]
    inputs = [(keys[at % _KEYS], at.to_bytes(8, "big")) for at in range(_BATCH)]
    long = [(key.public_key, alpha, key.prove_batchable(alpha)) for key, alpha in inputs]
    short = [(key.public_key, alpha, key.prove(alpha)) for key, alpha in inputs]
    outputs = [vrf.proof_to_hash(proof) for _, _, proof in short]
    few = short[:64]
    entries = [
        Entry(
            f"{OURS}: verify_many, 128-byte proofs",
            lambda _: vrf.verify_many(long),
            _BATCH,
            target=Target(45e-6, "seconds"),
        ),
        Entry(f"{OURS}: verify_many, 80-byte proofs", lambda _: vrf.verify_many(short), _BATCH),
        Entry(f"{OURS}: verify, one by one", lambda _: [vrf.verify(*item) for item in few], len(few)),
    ]
    if ecvrf is not None:
        fewer = short[:4]
        note = "its user's own code, 150 lines"
        entries.append(Entry("PyNaCl, one by one", lambda _: [ecvrf.verify(*i) for i in fewer], len(fewer), note=note))

    def check() -> None:
        for entry in entries:
            assert list(entry.run(None)) == outputs[: entry.operations], entry.name

    return Contest(f"verify {_BATCH:,} proofs of {_KEYS} keys, ELL2, for each", entries, check)
