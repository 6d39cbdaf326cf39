"""The sending pipeline: S1 and S2 need only the transactions and may run side by side; then S3, S4, S5.

Example:
    >>> from city_chain.pipelines import SENDING
    >>> [stage.name for stage in SENDING.stages]
    ['s1_select', 's2_encode', 's3_hold', 's4_deliver', 's5_commit']
"""

from city_chain.composer import Pipeline
from city_chain.stages import s1_select, s2_encode, s2_resume, s3_hold, s3_resume, s4_deliver, s5_commit

__all__ = ["RESUMING", "SENDING"]

SENDING = Pipeline(
    "sending",
    [s1_select, s2_encode, s3_hold, s4_deliver, s5_commit],
    inputs=("transactions", "sender", "members", "transport", "journal", "engine", "behind"),
    outputs=("outcomes",),
)
"""Transactions in, their receipts (or why there is none) out."""

RESUMING = Pipeline(
    "resuming",
    [s2_resume, s3_resume, s4_deliver, s5_commit],
    inputs=("transactions", "manifests", "sender", "members", "transport", "journal", "engine", "behind"),
    outputs=("outcomes",),
)
"""The same for what was journalled before a crash: the manifests are there already."""
