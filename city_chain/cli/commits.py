"""What a commit certificate says, in words: which engine made it, and whose signatures are in it."""

from __future__ import annotations

from typing import Any

from city_chain.algorithms import hs
from city_chain.records import CommitCertificate, Epoch

__all__ = ["certificate_fields", "certificate_words"]


def certificate_words(certificate: CommitCertificate, epoch: Epoch) -> str:
    """One line about a certificate. It says what is there; whether that is right is for `Receipt.verify`.

    Args:
        certificate: The certificate.
        epoch: The epoch whose delegates signed.

    Returns:
        For example ``dpos: votes for the leader's batch; 3 of 4 delegates signed``.
    """
    if certificate.engine == "bls":
        return "compressed: one signature under the city's key"
    signed = f"{len(certificate.signers)} of {len(epoch.validators.items)} delegates signed"
    if certificate.proof is not None:
        round_ = hs.commit_block(certificate.proof).round
        return f"hotstuff: quorum certificate over the block of round {round_} and those after it; {signed}"
    what = {"abba": "quorum certificate over what the common subset made", "dpos": "votes for the leader's batch"}
    return f"{certificate.engine}: {what.get(certificate.engine, 'certificate')}; {signed}"


def certificate_fields(certificate: CommitCertificate, epoch: Epoch) -> dict[str, Any]:
    """The same for programs: the engine, the delegates' places, and how many delegates there are."""
    return {
        "engine": certificate.engine,
        "signers": certificate.signers,
        "delegates": len(epoch.validators.items),
    }
