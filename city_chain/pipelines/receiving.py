"""The receiving pipeline, and its variations: opening, repair (which commits what it moved) and the health check.

Example:
    >>> from city_chain.pipelines import OPENING, REPAIRING
    >>> [stage.name for stage in OPENING.stages]
    ['r1_ingress', 'r2_choose', 'r3_request', 'r4_restore', 'r4_open']
    >>> [stage.name for stage in REPAIRING.stages]
    ['r1_ingress', 'r2_choose_all', 'r3_request', 'r4_repair', 'r5_commit']
"""

from city_chain.composer import Pipeline
from city_chain.stages import (
    r1_ingress,
    r2_choose,
    r2_choose_all,
    r3_request,
    r4_open,
    r4_repair,
    r4_restore,
    r5_commit,
)

__all__ = ["HEALTH", "OPENING", "RECEIVING", "REPAIRING"]

RECEIVING = Pipeline(
    "receiving",
    [r1_ingress, r2_choose, r3_request, r4_restore],
    inputs=("wanted", "archive", "sender", "members", "transport", "vitals", "inventories"),
    outputs=("restored",),
)
"""Transaction ids in, the transactions out, as they were signed; nothing is moved, so nothing is committed."""

OPENING = Pipeline(
    "opening",
    [r1_ingress, r2_choose, r3_request, r4_restore, r4_open],
    inputs=("wanted", "archive", "sender", "members", "transport", "vitals", "inventories", "keys", "reader"),
    outputs=("restored", "payloads"),
)
"""Transaction ids in, their payloads out: what is sealed is opened."""

REPAIRING = Pipeline(
    "repairing",
    [r1_ingress, r2_choose_all, r3_request, r4_repair, r5_commit],
    inputs=("wanted", "archive", "sender", "members", "transport", "vitals", "engine"),
    outputs=("results",),
)
"""Transaction ids in; what is absent or corrupt is made anew, placed on healthy nodes and committed."""

HEALTH = Pipeline(
    "health",
    [r1_ingress, r2_choose_all, r3_request],
    inputs=("wanted", "archive", "sender", "members", "transport", "vitals"),
    outputs=("placements", "findings"),
)
"""Transaction ids in; which fragments are there and right out."""
