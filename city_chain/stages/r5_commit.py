"""R5 commit: a repaired placement is committed like a transaction, exactly once (by its generation)."""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.composer import stage
from city_chain.errors import CityChainError
from city_chain.stages.model import CommitEngine, Evidence, Restored

__all__ = ["r5_commit"]


@stage(inputs=("restored", "engine", "deadline"), output="results", budget_ms=80)
def r5_commit(restored: Sequence[Restored], engine: CommitEngine, deadline: float) -> Sequence[Restored]:
    """Commits the repairs of a burst.

    Args:
        restored: What was restored (R4).
        engine: Commits.
        deadline: When to give up, on the engine's monotonic clock.

    Returns:
        The same results; a repair that was not committed is taken out and its error put in.

    Raises:
        UnavailableError: Too few delegates voted before the deadline.
        DeadlineError: Others' batches were still under way at the deadline.
    """
    pairs = [(result, result.repair) for result in restored if result.repair is not None]
    if not pairs:
        return restored
    evidence = [Evidence(records.Entry.repair(certificate.repair), certificate) for _, certificate in pairs]
    outcomes = engine.commit(evidence, deadline).outcomes
    for (result, _), outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, CityChainError):
            result.repair, result.error = None, outcome
    return restored
