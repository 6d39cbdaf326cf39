"""The deadline that a caller gives is the one that every stage gets, and nobody waits on the transport beyond it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from city_chain import City
from city_chain.adapters.clock import ManualClock
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.composer import Stage
from city_chain.levels import city as levels_city
from city_chain.pipelines import HEALTH, OPENING, RECEIVING, REPAIRING, SENDING
from city_chain.ports import Gather, Request
from city_chain.stages.patience import PATIENCE_MAX_S, leaving_time

pytestmark = pytest.mark.e2e

AHEAD_S = 1000.0
"""How far the clock that stands still is ahead of the composer's, so that no run is late on a slow machine."""


class Watched:
    """A city whose clock stands still, and every deadline that was given in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic() + AHEAD_S
        self.stages: list[float] = []
        self.gathers: list[float] = []
        clock = ManualClock(now_ms=1_800_000_000_000, monotonic=self.now)
        transport = InProcessTransport(clock)
        gather = transport.gather

        def watched(requests: Sequence[Request], deadline: float) -> Gather:
            self.gathers.append(deadline)
            return gather(requests, deadline)

        transport.gather = watched  # type: ignore[method-assign,assignment]
        self.city = City.local(clock=clock, transport=transport, nodes=6, validators=4, k=2, n=4)
        self.city.use(SENDING.insert(self._look("dispersals"), after="s2_encode"))
        for name, pipeline in (
            ("OPENING", OPENING),
            ("RECEIVING", RECEIVING),
            ("HEALTH", HEALTH),
            ("REPAIRING", REPAIRING),
        ):
            choose = pipeline.stages[1].name
            monkeypatch.setattr(levels_city, name, pipeline.insert(self._look("searches"), after=choose))

    def _look(self, value: str) -> Stage:
        """A stage that hands a value on, and keeps the deadline that it was given with it."""

        def look(handed_on: object, deadline: float) -> object:
            self.stages.append(deadline)
            return handed_on

        return Stage("look", look, inputs=(value, "deadline"), output=value)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched(monkeypatch)
    with found.city:
        yield found


CALLS: dict[str, Callable[[City, bytes, float], object]] = {
    "send": lambda city, _, deadline_s: city.send(b"x", deadline_s=deadline_s),
    "send_many": lambda city, _, deadline_s: city.send_many([b"x", b"y"], deadline_s=deadline_s),
    "receive": lambda city, tx_id, deadline_s: city.receive(tx_id, deadline_s=deadline_s),
    "receive_many": lambda city, tx_id, deadline_s: city.receive_many([tx_id], deadline_s=deadline_s),
    "receive_payloads": lambda city, tx_id, deadline_s: city.receive_payloads([tx_id], deadline_s=deadline_s),
    "health": lambda city, _, deadline_s: city.health(deadline_s=deadline_s),
    "repair": lambda city, _, deadline_s: city.repair(deadline_s=deadline_s),
}


@pytest.mark.parametrize("deadline_s", [0.5, 3.0, 100.0])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_deadline_is_the_callers(
    watched: Watched, call: Callable[[City, bytes, float], object], deadline_s: float
) -> None:
    tx_id = watched.city.send(b"there").tx_id
    watched.city.settle()
    watched.stages.clear()
    watched.gathers.clear()
    call(watched.city, tx_id, deadline_s)
    watched.city.settle()
    until = watched.now + deadline_s
    assert watched.stages == [until]
    # The nodes are waited for as long as leaves the stages after them their time, and a minute at most.
    assert watched.gathers[0] == min(leaving_time(watched.now, until), watched.now + PATIENCE_MAX_S)
    assert max(watched.gathers) <= until
