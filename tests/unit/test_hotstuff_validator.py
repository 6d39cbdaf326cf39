"""The HotStuff delegate of a city: how long it waits for leaders, and what it reads out of certificates."""

from __future__ import annotations

import time

import pytest

from city_chain import City, records
from city_chain.algorithms import hs
from city_chain.node.validator import PACE_MIN_US, TIMEOUT_US, Validator

pytestmark = pytest.mark.unit


class Ticking:
    """A clock that moves by as much whenever it is looked at."""

    def __init__(self, tick_s: float) -> None:
        self.now = time.monotonic()  # a pipeline looks at the system's clock, too
        self.tick_s = tick_s

    def monotonic(self) -> float:
        self.now += self.tick_s
        return self.now

    def now_ms(self) -> int:
        return int(1e12 + self.now * 1000)


def given(tick_s: float, sends: int = 12) -> list[int]:
    """The µs that the delegates of a city give the round after some sends, and the time of a look at the clock."""
    with City.local(nodes=4, validators=4, k=2, n=4, engine="hotstuff", clock=Ticking(tick_s)) as city:
        for _ in range(sends):
            city.send(b"x")
        now = int(city._city.clock.monotonic() * 1e6)
        found = []
        for node in city._city._nodes.values():
            assert isinstance(node.voter, Validator)
            node.voter.begin(now)
            node.voter._drain(now)
            found.append(node.voter.rests_for(now))
        return found


def test_a_round_is_given_what_rounds_took_lately() -> None:
    assert given(0.0, sends=0) == [TIMEOUT_US] * 4
    assert given(0.0) == [PACE_MIN_US] * 4
    assert all(PACE_MIN_US < time < TIMEOUT_US for time in given(0.0005))
    assert given(0.01) == [TIMEOUT_US] * 4


def test_the_proof_in_a_certificate_is_found() -> None:
    with City.local(nodes=4, validators=4, k=2, n=4) as city:
        certificate = city.send(b"x").certificate
        proof = certificate.proof
        assert proof is not None
        assert records.CommitCertificate.hotstuff(certificate.batch, proof) == certificate
        members = city.epoch.validators.items
        payload = hs.verify_commit(proof, members, city.network, city.epoch.number)
    assert payload == hs.payload_digest(certificate.batch)
