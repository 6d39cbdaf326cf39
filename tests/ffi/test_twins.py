"""Twins from Python: a hundred thousand scenarios for 4 and for 7 validators, and what is refused.

``CITY_CHAIN_TWINS`` says how many scenarios instead (``nox -s soak`` asks for ten million).
"""

from __future__ import annotations

import os

import pytest

from city_chain import sim
from city_chain.errors import InputError

pytestmark = pytest.mark.ffi

SCENARIOS = int(os.environ.get("CITY_CHAIN_TWINS", "100000"))


@pytest.mark.parametrize("validators", [4, 7])
def test_honest_validators_agree_beside_twins(validators: int) -> None:
    report = sim.twins(validators, SCENARIOS, seed=1)
    assert report.scenarios == SCENARIOS
    assert report.healed == (SCENARIOS + 7) // 8
    assert report.commits > SCENARIOS, "scenarios in which nothing is committed would show nothing"
    assert report.evidence > 0, "nor would those in which no twin contradicts itself"


def test_the_same_seed_is_the_same_scenarios() -> None:
    assert sim.twins(4, 200, seed=5) == sim.twins(4, 200, seed=5)
    assert sim.twins(4, 200, seed=5) != sim.twins(4, 200, seed=6)


def test_the_form_of_certificates_changes_nothing() -> None:
    assert sim.twins(4, 64, seed=3, aggregates=True) == sim.twins(4, 64, seed=3)


def test_it_can_be_stopped() -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt):
        sim.twins(4, 1_000_000_000, on_progress=stop)


@pytest.mark.parametrize(
    ("validators", "scenarios"), [(3, 1), (11, 1), (4, 1_000_000_001), (4, -1), (2**16, 1), (4, 2**64)]
)
def test_numbers_out_of_range_are_refused(validators: int, scenarios: int) -> None:
    with pytest.raises(InputError):
        sim.twins(validators, scenarios)
