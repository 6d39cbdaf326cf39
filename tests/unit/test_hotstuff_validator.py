"""The HotStuff delegate of a city: what it reads out of certificates."""

from __future__ import annotations

import pytest

from city_chain import City, records
from city_chain.algorithms import hs

pytestmark = pytest.mark.unit


def test_the_proof_in_a_certificate_is_found() -> None:
    with City.local(nodes=4, validators=4, k=2, n=4) as city:
        certificate = city.send(b"x").certificate
        proof = certificate.proof
        assert proof is not None
        assert records.CommitCertificate.hotstuff(certificate.batch, proof) == certificate
        members = city.epoch.validators.items
        payload = hs.verify_commit(proof, members, city.network, city.epoch.number)
    assert payload == hs.payload_digest(certificate.batch)
