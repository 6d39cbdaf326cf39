"""SC: sharding coordination. Committees, atomic commit across shards, resharding.

A transaction that touches keys of several shards is done by all of them or by none, whatever crashes in between. Each
shard orders its commands by a consensus of its own; what a quorum of its committee signs is a `Certificate`, and
certificates alone move a transaction on. The shape is S-BAC (Al-Bassam et al., "Chainspace", NDSS 2018) with the replay
defences of Sonnino et al. (EuroS&P 2020).

- `assign`, `failure_log2`, `committee_size`, `check_size`: who sits in which committee, and how large one must be.
- `Layout`: the shards of an epoch, their committees, and which shard has a key.
- `Manifest`: one attempt of a transaction: inputs with versions, outputs, expiry. Its hash is its id.
- `Participant`: the machine of a shard. `Coordinator`: drives a transaction on; nobody has to trust it.
- `Statement`, `Certificate`, `Command`: what is signed, and what is ordered.
- `Handover`, `Part`: what a shard gives to others when shards come and go.

The last shard listed decides: it says Prepared only when all others have, so that its log orders commit and expiry.

Sizes: keys, ids and digests 32 bytes, signatures 64. A certificate of n signatures is 117 + 66 n bytes.

Example:
    >>> committee_size(1000, 200, -19.93)
    181
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable
from typing import NamedTuple

from city_chain import _native
from city_chain._native import Identity
from city_chain._native import ScCertificate as Certificate
from city_chain._native import ScCommand as Command
from city_chain._native import ScCoordinator as Coordinator
from city_chain._native import ScHandover as Handover
from city_chain._native import ScLayout as Layout
from city_chain._native import ScManifest as Manifest
from city_chain._native import ScPart as Part
from city_chain._native import ScParticipant as Participant
from city_chain._native import ScStatement as Statement

__all__ = [
    "Certificate",
    "Command",
    "Coordinator",
    "Effect",
    "Handover",
    "Layout",
    "Manifest",
    "Part",
    "Participant",
    "Statement",
    "assign",
    "check_size",
    "committee_size",
    "failure_log2",
    "sign_handover",
]


class Effect(NamedTuple):
    """One item of `Participant.drain`.

    Args:
        kind: `"persist"`, `"say"`, `"hand_over"`, `"propose"`, `"commit"`, `"abort"` or `"epoch"`.
        number: The ticket of `"persist"`, the epoch of `"epoch"`, else 0.
        data: The record, statement, handover, command or manifest.
        keys: For `"commit"`: the transaction's keys that are here, 32 bytes each.

    Example:
        >>> Effect("epoch", 3, b"", []).number
        3
    """

    kind: str
    number: int
    data: bytes
    keys: list[bytes]


def assign(
    seed: Buffer,
    nodes: Iterable[Buffer],
    shards: int,
    *,
    previous: dict[bytes, int] | None = None,
    moves_max: int = 0,
) -> list[int]:
    """Deals nodes to shards by a seeded permutation, with a cap on how many of those with a seat move.

    Args:
        seed: The epoch's seed, 32 bytes, which nobody could bend: an output of the threshold coin.
        nodes: Their ids, 32 bytes each, distinct; at least one for each shard, at most 1,048,576.
        shards: How many shards, 1 to 65,535: they are numbered from 0.
        previous: The shards of those who had a seat.
        moves_max: How many of them may move. With as many as there are nodes all are dealt anew.

    Returns:
        The shard of each node, in the order of `nodes`.

    Raises:
        InputError: A wrong length, a node twice, or more shards than nodes.

    Example:
        >>> sorted(assign(bytes(32), [bytes([at] * 32) for at in range(6)], 3))
        [0, 0, 1, 1, 2, 2]
    """
    return _native.sc_assign(seed, nodes, shards, previous=previous, moves_max=moves_max)


def failure_log2(population: int, faulty: int, members: int) -> float:
    """The chance that a committee drawn without replacement has a third or more of faulty members, as its log2.

    Args:
        population: How many nodes there are, 1 to 1,048,576.
        faulty: How many of them are faulty.
        members: How many are drawn.

    Returns:
        log2 of the tail of the hypergeometric distribution; minus infinity if it cannot be.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> round(failure_log2(1000, 100, 52), 2) <= -19.93
        True
    """
    return _native.sc_failure_log2(population, faulty, members)


def committee_size(population: int, faulty: int, bound_log2: float) -> int:
    """The least number of members with which `failure_log2` is at most a bound.

    Args:
        population: How many nodes there are, 1 to 1,048,576.
        faulty: How many of them are faulty.
        bound_log2: log2 of the chance that is borne; 1e-6 is -19.93.

    Raises:
        InputError: A number is out of range, or not even all nodes are enough.

    Example:
        >>> [committee_size(1000, faulty, -19.93) for faulty in (100, 200, 250)]
        [52, 181, 382]
    """
    return _native.sc_committee_size(population, faulty, bound_log2)


def check_size(population: int, faulty: int, members: int, bound_log2: float) -> None:
    """Refuses a committee that fails with a greater chance than a bound, naming the size that would do.

    Args:
        population: How many nodes there are, 1 to 1,048,576.
        faulty: How many of them are faulty.
        members: How many are drawn.
        bound_log2: log2 of the chance that is borne.

    Raises:
        InputError: The committee is too small, or a number is out of range.

    Example:
        >>> check_size(1000, 100, 52, -19.93)
    """
    _native.sc_check_size(population, faulty, members, bound_log2)


def sign_handover(handover: Buffer, identity: Identity) -> bytes:
    """A member's signature over what its shard hands over.

    Args:
        handover: The data of a `"hand_over"` effect.
        identity: The member of the old committee.

    Returns:
        64 bytes.

    Raises:
        InputError: The bytes are no handover.

    Example:
        >>> from city_chain.records import Identity
        >>> sign_handover(b"", Identity(bytes(32)))
        Traceback (most recent call last):
        city_chain.errors.InputError: handover: 0 bytes are too few for the 6-byte envelope
    """
    return _native.sc_sign_handover(handover, identity)
