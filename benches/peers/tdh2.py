"""Threshold encryption: encrypting, a share, checking shares, combining."""

from __future__ import annotations

import os
from collections.abc import Iterator

from city_chain.algorithms.tes import dkg, tdh2
from peers.harness import OURS, Contest, Entry, Peers, Target

TITLE = "Threshold encryption"
LEFT_OUT = {
    "t-encrypt": "0.0.1 (SKALE) encrypts only, and its library needs OpenSSL 1.1, which has no support since 2023",
    "ferveo": "0.1.13 has no wheel for this Python",
}

_LABEL, _PLAIN = b"label", os.urandom(1000)
_THRESHOLD, _PARTIES = 67, 100
_ORDER = 2**252 + 27742317777372353535851937790883648493
_NOTE = "its user's own code, 100 lines; no package has TDH2"


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """67 of 100, and a plaintext of 1,000 bytes."""
    theirs = peers.find("peers.nacl_tdh2", "pynacl")
    key, publics, secrets = _key()
    sealed = tdh2.encrypt(key, _LABEL, _PLAIN)
    capsule = tdh2.capsule_of(sealed)
    shares = [tdh2.decrypt_share(secret, key, _LABEL, capsule) for secret in secrets]
    spoilt = [shares[0][:2] + shares[1][2:], *shares[1:]]

    def combine(some: list[bytes]) -> bytes:
        return tdh2.combine(key, _THRESHOLD, publics, _LABEL, sealed, some)

    def check_each(count: int) -> None:
        for at in range(count):
            tdh2.verify_share(publics[at], _LABEL, capsule, shares[at])

    encrypting = [
        Entry(f"{OURS}: encrypt", lambda _: tdh2.encrypt(key, _LABEL, _PLAIN), target=Target(130e-6, "seconds"))
    ]
    sharing = [
        Entry(
            f"{OURS}: decrypt_share, which checks the capsule",
            lambda _: tdh2.decrypt_share(secrets[0], key, _LABEL, capsule),
            target=Target(80e-6, "seconds"),
        ),
        Entry(f"{OURS}: verify_capsule alone", lambda _: tdh2.verify_capsule(key, _LABEL, capsule), is_beside=True),
    ]
    checking = [
        Entry(f"{OURS}: verify_shares", lambda _: tdh2.verify_shares(publics, _LABEL, capsule, shares), _PARTIES),
        Entry(
            f"{OURS}: verify_share, one by one",
            lambda _: check_each(10),
            10,
        ),
    ]
    combining = [
        Entry(f"{OURS}: combine", lambda _: combine(shares)),
        Entry(f"{OURS}: combine, one share is wrong", lambda _: combine(spoilt), is_beside=True),
    ]
    if theirs is not None:
        far_key, far_secrets, far_publics = theirs.deal(_THRESHOLD, _PARTIES)
        far = theirs.encrypt(far_key, _LABEL, _PLAIN)
        far_shares = [theirs.share(at, far_secrets[at], _LABEL, far) for at in range(1, _PARTIES + 1)]
        encrypting.append(Entry("PyNaCl", lambda _: theirs.encrypt(far_key, _LABEL, _PLAIN), note=_NOTE))
        sharing.append(Entry("PyNaCl", lambda _: theirs.share(1, far_secrets[1], _LABEL, far), note=_NOTE))
        checking.append(
            Entry(
                "PyNaCl, one by one",
                lambda _: [theirs.check_share(far_publics[made[0]], far[0], made) for made in far_shares[:10]],
                10,
                note=_NOTE,
            )
        )
        combining.append(Entry("PyNaCl", lambda _: theirs.combine(far, far_shares[:_THRESHOLD]), note=_NOTE))

    def check() -> None:
        assert combine(shares) == combine(spoilt) == _PLAIN
        assert tdh2.verify_shares(publics, _LABEL, capsule, shares) == [None] * _PARTIES
        assert tdh2.verify_shares(publics, _LABEL, capsule, spoilt)[0] is not None
        if theirs is not None:
            assert theirs.combine(far, far_shares[-_THRESHOLD:]) == _PLAIN
            for made in far_shares[:3]:
                theirs.check_share(far_publics[made[0]], far[0], made)

    yield Contest("encrypt 1,000 bytes", encrypting, check)
    yield Contest("a decryption share, with the check of the ciphertext", sharing, check)
    yield Contest(f"check {_PARTIES} shares, for each", checking, check)
    yield Contest(f"combine {_THRESHOLD} of {_PARTIES} shares", combining, check)


def _key() -> tuple[bytes, list[bytes], list[dkg.SecretShare]]:
    """The group's key, the public shares and the secret ones, of a polynomial that one dealer knows."""
    terms = [int.from_bytes(os.urandom(32), "little") for _ in range(_THRESHOLD)]

    def share(index: int, value: int) -> dkg.SecretShare:
        return dkg.SecretShare.from_bytes(b"tx" + index.to_bytes(2, "little") + (value % _ORDER).to_bytes(32, "little"))

    secrets = [
        share(index, sum(term * index**power for power, term in enumerate(terms))) for index in range(1, _PARTIES + 1)
    ]
    group_key = b"tp" + share(1, terms[0]).public_share[4:]
    return group_key, [secret.public_share for secret in secrets], secrets
