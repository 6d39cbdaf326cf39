"""A city that sends through a pipeline of its user's making."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import City
from city_chain.composer import Pipeline, Stage, stage
from city_chain.errors import InputError, UnavailableError, VerificationError
from city_chain.pipelines import SENDING
from city_chain.stages.model import Dispersal

pytestmark = pytest.mark.e2e


def small() -> City:
    """A city of four nodes in memory."""
    return City.local(nodes=4, validators=1, k=2, n=4)


def between(function: object, inputs: Sequence[str] = ("dispersals",), output: str = "dispersals") -> Pipeline:
    """The sending pipeline with one more stage between S2 and S3."""
    assert callable(function)
    return SENDING.insert(Stage("own", function, inputs=inputs, output=output), after="s2_encode")


def test_a_stage_between_s2_and_s3_sees_every_fragment() -> None:
    seen: list[tuple[int, int]] = []

    @stage(inputs=("dispersals",), output="dispersals")
    def audit(dispersals: Sequence[Dispersal]) -> Sequence[Dispersal]:
        seen.extend((dispersal.n, dispersal.length) for dispersal in dispersals)
        return dispersals

    with small() as city:
        city.use(SENDING.insert(audit, after="s2_encode"))
        stages: list[str] = []
        city.watch(lambda event: stages.append(event.stage))
        receipts = city.send_many([b"one", b"two"])
        assert [city.receive(receipt.tx_id) for receipt in receipts] == [b"one", b"two"]  # type: ignore[union-attr]
    assert [n for n, _ in seen] == [4, 4]
    assert stages.index("s2_encode") < stages.index("audit") < stages.index("s3_hold")


def test_it_changes_what_is_sent_and_back_again() -> None:
    def in_two(transactions: Sequence[object], dispersals: Sequence[Dispersal]) -> Sequence[Dispersal]:
        raise VerificationError(f"no more than {len(transactions)} today")

    with small() as city:
        city.use(between(in_two, ("transactions", "dispersals")))
        outcomes = city.send_many([b"one", b"two"])
        assert [type(outcome) for outcome in outcomes] == [VerificationError] * 2
        assert city.height == 0
        city.use(SENDING)
        assert city.receive(city.send(b"one").tx_id) == b"one"


def test_an_error_of_the_stage_comes_out_and_takes_no_number() -> None:
    def broken(dispersals: Sequence[Dispersal]) -> Sequence[Dispersal]:
        raise ZeroDivisionError("of the user's own")

    with small() as city:
        city.use(between(broken))
        for _ in range(3):
            with pytest.raises(ZeroDivisionError, match="own"):
                city.send(b"never")
        assert city.height == 0
        assert list(city.tx_ids()) == []
        city.use(SENDING)
        assert city.transaction(b"first").sequence == 0


def test_fragments_that_a_stage_damaged_are_refused_by_their_holders() -> None:
    def damage(dispersals: Sequence[Dispersal]) -> Sequence[Dispersal]:
        (one,) = dispersals
        rotten = [bytes(len(memoryview(fragment))) for fragment in one.fragments]
        return [Dispersal(one.length, one.k, one.n, rotten, one.hashes)]

    with small() as city:
        city.use(between(damage))
        with pytest.raises(UnavailableError, match="needed 3, had 0"):
            city.send(b"anything", deadline_s=2)
        assert city.height == 0


@pytest.mark.parametrize("wrong", [None, "sending", [], SENDING.stages])
def test_no_pipeline(wrong: object) -> None:
    with small() as city, pytest.raises(TypeError, match="must be a Pipeline"):
        city.use(wrong)  # type: ignore[arg-type]


def test_a_pipeline_that_does_not_fit() -> None:
    other = Pipeline("other", [Stage("s", len, inputs=("letters",), output="outcomes")], ("letters",), ("outcomes",))
    silent = Pipeline("silent", [Stage("s", len, inputs=("transactions",), output="n")], ("transactions",), ("n",))
    with small() as city:
        with pytest.raises(InputError, match="letters"):
            city.use(other)
        with pytest.raises(InputError, match="needs outcomes"):
            city.use(silent)
        assert city.receive(city.send(b"as before").tx_id) == b"as before"
