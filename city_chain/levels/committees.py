"""How safe a city's delegates are as a committee: the chance that too many of them are faulty."""

from __future__ import annotations

import hashlib
import math

from city_chain.algorithms import sc
from city_chain.errors import InputError, UnavailableError
from city_chain.levels.city import City

__all__ = ["check_committee", "failure_log2", "faulty_of", "next_delegates"]


def faulty_of(nodes: int, share: float) -> int:
    """How many of a city's nodes may be faulty.

    Args:
        nodes: How many nodes there are.
        share: What share of them may be, 0 to 1/3.

    Raises:
        InputError: The share is out of range.

    Example:
        >>> faulty_of(20, 0.2)
        4
    """
    if not isinstance(share, int | float) or isinstance(share, bool):
        raise TypeError(f"faulty_share must be a number, not {type(share).__name__}")
    if not 0 <= share <= 1 / 3:
        raise InputError(f"faulty_share = {share}: 0 to 1/3 is allowed; with more, no committee is safe")
    return math.floor(nodes * share + 1e-9)


def failure_log2(nodes: int, delegates: int, share: float) -> float:
    """log2 of the chance that more than a third of a city's delegates are faulty.

    Args:
        nodes: How many nodes there are, of which the delegates are drawn.
        delegates: How many delegates.
        share: What share of the nodes may be faulty.

    Example:
        >>> failure_log2(20, 20, 0.2)
        -inf
    """
    return sc.failure_log2(nodes, faulty_of(nodes, share), delegates)


def check_committee(name: str, nodes: int, delegates: int, share: float, most: float | None) -> None:
    """Refuses a city whose delegates are too few to be safe.

    Args:
        name: The city's name.
        nodes: How many nodes it has.
        delegates: How many delegates.
        share: What share of its nodes may be faulty.
        most: The most chance that they may have to be unsafe, above 0 and below 1; None: any.

    Raises:
        InputError: They are over it; the message says how many would do.
    """
    chance = failure_log2(nodes, delegates, share)
    if most is None:
        return
    if not isinstance(most, int | float) or isinstance(most, bool):
        raise TypeError(f"failure_max must be a number or None, not {type(most).__name__}")
    if not 0 < most < 1:
        raise InputError(f"failure_max = {most}: above 0 and below 1 is allowed")
    if chance > math.log2(most):
        faulty = faulty_of(nodes, share)
        enough = sc.committee_size(nodes, faulty, math.log2(most))
        raise InputError(
            f"city {name!r}: {delegates} of {nodes} nodes are delegates; with {faulty} faulty nodes they are "
            f"unsafe with a chance of {2**chance:.2g}, and {most:.2g} is allowed: {enough} delegates would do"
        )


def next_delegates(city: City, count: int, moves_max: int | None) -> list[bytes]:
    """The delegates of a city's next epoch: a seeded draw of its running nodes that changes few of them.

    Nodes that are proven to have signed two things that exclude each other are left out (`City.misbehaviour`).

    The seed is the city's own signature of its last batch: no fewer than a threshold of the delegates could know it
    before the batch was committed, and nobody can choose it.

    Args:
        city: The city.
        count: How many delegates.
        moves_max: How many of them may be new at most; None: any.

    Raises:
        InputError: More are new than may be.
        UnavailableError: Too few nodes run, or too few delegates take part.
    """
    seed = _seed(city)

    def order(nodes: list[bytes]) -> list[bytes]:
        return sorted(nodes, key=lambda node: hashlib.blake2b(node, key=seed, digest_size=32).digest())

    guilty = {node for node, _ in city.misbehaviour()}
    running = [node.id for node in city.nodes() if node.running and node.id not in guilty]
    if len(running) < count:
        raise UnavailableError(f"city {city.settings.name!r}: running nodes", count, len(running))
    seated = {node.id for node in city.nodes() if node.delegate}
    kept, others = order([n for n in running if n in seated]), order([n for n in running if n not in seated])
    if moves_max is None:
        return order(running)[:count]
    needed = max(count - len(kept), 0)
    if moves_max < needed:
        raise InputError(f"moves_max = {moves_max}: {needed} delegates of {city.settings.name!r} must be new")
    new = others[: min(moves_max, count)]
    return kept[: count - len(new)] + new


def _seed(city: City) -> bytes:
    certificate = city._city.ledger.certificate(city.height)
    if certificate is None:
        return city.epoch.seed
    compressed = city._city.compressed(certificate, city.height)
    return hashlib.blake2b(compressed.to_bytes(), digest_size=32, person=b"city-chain seed").digest()
