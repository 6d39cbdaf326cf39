"""S5 commit: availability certificates out of the acks, into the city's one order, and a receipt for each.

The certificates are journalled before the engine sees them, so that a crash loses none. The engine is known by its
interface only (`model.CommitEngine`).
"""

from __future__ import annotations

from collections.abc import Sequence

from city_chain import records
from city_chain.composer import stage
from city_chain.errors import CityChainError, DeadlineError, UnavailableError, VerificationError
from city_chain.stages.model import CommitEngine, Delivery, Evidence, Journal

__all__ = ["s5_commit"]


@stage(inputs=("deliveries", "journal", "engine", "deadline"), output="outcomes", budget_ms=80)
def s5_commit(
    deliveries: Sequence[Delivery], journal: Journal, engine: CommitEngine, deadline: float
) -> list[records.Receipt | CityChainError]:
    """Commits a burst.

    Args:
        deliveries: What was delivered (S4); what has no quorum is not committed and its error handed on.
        journal: Where certificates are written down first.
        engine: Commits.
        deadline: When to give up, on the engine's monotonic clock.

    Returns:
        The receipt of every transaction, or why it has none. A transaction whose commit could not be finished has an
        `UnavailableError` or `DeadlineError` and stays in the journal: it may still be committed.
    """
    journal.failed([delivery.hold.transaction for delivery in deliveries if delivery.error is not None])
    good = [delivery for delivery in deliveries if delivery.error is None]
    certificates = records.AvailabilityCertificate.many(
        [(delivery.hold.manifest, delivery.hold.dispersal.hashes, list(delivery.acks.values())) for delivery in good]
    )
    outcomes: dict[bytes, records.Receipt | CityChainError] = {}
    if good:
        journal.delivered(certificates)
        outcomes = commit(certificates, engine, deadline)
        # What the ledger does not allow it never will as it is: another transaction has this number.
        journal.failed(
            [
                delivery.hold.transaction
                for delivery in good
                if isinstance(outcomes[delivery.hold.manifest.tx_id], VerificationError)
            ]
        )
    return [delivery.error or outcomes[delivery.hold.manifest.tx_id] for delivery in deliveries]


def commit(
    certificates: Sequence[records.AvailabilityCertificate], engine: CommitEngine, deadline: float
) -> dict[bytes, records.Receipt | CityChainError]:
    """Hands certificates to the engine; the outcome of each by transaction id."""
    evidence = [Evidence(records.Entry.transaction(certificate.manifest), certificate) for certificate in certificates]
    try:
        committed = engine.commit(evidence, deadline).outcomes
    except (UnavailableError, DeadlineError) as error:
        error.add_note("the transactions are journalled and may still be committed")
        return {piece.entry.tx_id: error for piece in evidence}
    return {
        piece.entry.tx_id: outcome
        for piece, outcome in zip(evidence, committed, strict=True)
        if not isinstance(outcome, records.Entry)
    }
