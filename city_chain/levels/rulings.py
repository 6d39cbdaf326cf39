"""A city's rulings: gets a command of sharding coordination judged and committed, and its statement signed.

`rule` puts a command into the city's one order, exactly once; `certify` asks the delegates for their signatures of the
statement that came out. Both can be done again at any time, by anybody, with the same result.
"""

from __future__ import annotations

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, InputError, UnavailableError, VerificationError
from city_chain.levels.city import City
from city_chain.levels.embedded import Embedded
from city_chain.node.city_clock import sure
from city_chain.node.sharding import Shard
from city_chain.ports import Request
from city_chain.stages import messages
from city_chain.stages.model import Evidence

__all__ = ["certify", "rule"]

_ROUND_S = 2.0
_REASONS_MAX = 4


def need_shard(city: Embedded) -> Shard:
    """What the city knows as a member of its world.

    Raises:
        InputError: It is in no world.
    """
    if city.shard is None:
        raise InputError(f"the city {city.settings.name!r} is in no world; make one with World.local")
    return city.shard


def rule(
    city: City, command: bytes, deadline: float, *, warrant: bytes = b"", again: bool = False
) -> records.Ruling | None:
    """Has a command judged and committed; what was ruled upon it before stays so.

    Args:
        city: The city.
        command: The command, encoded.
        deadline: When to give up, on the city's monotonic clock.
        warrant: The head of the transaction that the command is about, encoded; what locks a key needs it.
        again: Whether what the city says now counts, and not what it said before.

    Returns:
        The command with the city's statement; None if the city says nothing to it and nothing changes.

    Raises:
        VerificationError: The city refuses the command whatever its state: it is not for this city, rests on
            certificates that are wrong, or its transaction's sender has not signed it.
        UnavailableError: Too few delegates voted before the deadline.
        DeadlineError: Others' batches were still under way at the deadline.
    """
    with city._gate.through():
        inside = city._city
        shard = need_shard(inside)
        while True:
            ruling = None if again else shard.find(command)
            if ruling is not None:
                return ruling
            ruling = shard.rule(command, max(sure(inside.clock).now_ms() << 16, inside.ledger.tip.hlc + 1), warrant)
            if ruling is None:
                return None
            (outcome,) = inside.engine.commit([Evidence(records.Entry.sharding(ruling), ruling)], deadline).outcomes
            if not isinstance(outcome, CityChainError):
                return ruling
            # The state moved on between the ruling and its batch: what the city says now is asked again.
            if not isinstance(outcome, VerificationError) or inside.clock.monotonic() >= deadline:
                raise outcome


def certify(city: City, ruling: records.Ruling, deadline: float) -> bytes:
    """Collects the delegates' signatures of a committed ruling's statement.

    Args:
        city: The city.
        ruling: What was committed.
        deadline: When to give up, on the city's monotonic clock.

    Returns:
        The certificate, encoded.

    Raises:
        UnavailableError: Too few delegates signed: `needed` and `had` are stakes.
    """
    inside = city._city
    shard = need_shard(inside)
    members = inside.members()
    delegates = [key for key in shard.committee(ruling) if key in members.addresses]
    body = messages.message("attest", [ruling.subject, ruling.digest])
    until = min(deadline, inside.clock.monotonic() + _ROUND_S)
    gather = inside.transport.gather([Request(members.addresses[key], body) for key in delegates], until)
    signatures: dict[bytes, bytes] = {}
    reasons: list[str] = []
    lack: UnavailableError | None = None
    while gather.pending:
        progress = False
        for response in gather.take(until):
            progress = True
            key = delegates[response.ticket]
            try:
                if response.body is None:
                    raise response.error or DeadlineError("no answer")
                (signatures[key],) = messages.answer(response.body, "attested", 1)
            except (CityChainError, OSError) as error:
                reasons.append(f"{key.hex()[:8]}: {messages.reason(error)}")
                continue
            try:
                return shard.certificate(ruling, signatures)
            except UnavailableError as error:
                lack = error
        if not progress:
            break
    needed, had = (lack.needed, lack.had) if lack is not None else (1, 0)
    why = f" ({'; '.join(reasons[:_REASONS_MAX])})" if reasons else ""
    raise UnavailableError(
        f"{inside.settings.name!r}: delegates by stake that sign a ruling: needed {needed}, had {had}{why}", needed, had
    )
