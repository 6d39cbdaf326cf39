"""A city on a clock that says how wrong it can be: what it does while that clock is good, and while it is lost.

The clock is a real `NtpClock` over real sockets; the time servers are of the test's own making, so that they can turn
against each other.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, World, tnh
from city_chain.adapters.kernel_clock import KernelClock, KernelState
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.cli.health import summary
from city_chain.composer import StageEvent
from city_chain.errors import UnavailableError
from city_chain.levels import NodeHost
from city_chain.node.city_clock import commit_wait
from city_chain.node.ntp_clock import NtpClock
from tests.e2e.time_servers import Servers, servers

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 8, "validators": 4, "k": 2, "n": 4}


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


def polled(names: list[str], good_ms: float = 500.0) -> NtpClock:
    clock = NtpClock(names, timeout_s=2.0, good_ms=good_ms)
    clock.poll()
    return clock


def lose(clock: NtpClock, of: Servers) -> None:
    """Two servers of four turn against the others."""
    of.ahead_s = [0, 0, 5, 5]
    with pytest.raises(UnavailableError, match="no majority"):
        clock.poll()


def find(clock: NtpClock, of: Servers) -> None:
    of.ahead_s = [0, 0, 0, 0]
    clock.poll()


def test_a_city_runs_on_a_clock_from_the_network() -> None:
    """What is stamped is the servers' time, two minutes from this machine's."""
    with servers(120, 120, 120) as of, City.local(clock=polled(of.names), **SETTINGS) as city:
        receipt = city.send(b"hello")
        receipt.verify(city.trust)
        assert city.receive(receipt.tx_id) == b"hello"
        ahead_ms = tnh.ms(receipt.header.hlc) - time.time_ns() // 1_000_000
        assert 110_000 < ahead_ms < 130_000
        health = city.health()
        assert health.clock is not None
        assert (health.clock.status, health.clock.reason) == ("synchronised", "")
        assert 0 < health.clock.width_ms < 500
        assert "nothing is sent" not in str(health)


def test_a_city_whose_clock_is_lost_sends_nothing_and_keeps_everything() -> None:
    with servers(0, 0, 0, 0) as of:
        clock = polled(of.names)
        with City.local(clock=clock, **SETTINGS) as city:
            first = city.send(b"first")
            ready = city.transaction(b"made before")
            lose(clock, of)
            height = city.height
            for attempt in (lambda: city.send(b"x"), lambda: city.send(ready), lambda: city.transaction(b"x")):
                with pytest.raises(UnavailableError, match=r"the clock is unknown: .* no majority: of 4 clocks"):
                    attempt()
            outcomes = city.send_many([b"a", ready, first and b"b"])
            assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
            with pytest.raises(UnavailableError, match="no majority"):
                city.elect(4)
            assert city.height == height
            # What is committed is there, is proven, and is found whole; nodes stop and start.
            assert city.receive(first.tx_id) == b"first"
            city.countersign(first.tx_id).verify(city.trust)
            node = city.nodes()[0].id
            city.stop_node(node)
            city.start_node(node)
            health = city.health()
            assert [found.state for found in health.transactions] == ["whole"]
            assert health.clock is not None
            assert health.clock.status == "unknown"
            assert "no majority" in health.clock.reason
            assert "nothing is sent: ntp: the clock is unknown" in str(health)
            assert summary(health)["transactions"] == 1
            # Found again, it goes on where it was: no number is lost, no stamp goes back.
            find(clock, of)
            second, third = city.send(ready), city.send(b"third")
            assert first.header.hlc < second.header.hlc < third.header.hlc
            assert city.health().counts["whole"] == 3
            assert city.elect(4).number == 1
            assert city.receive(third.tx_id) == b"third"


def test_a_city_is_not_opened_on_a_lost_clock_and_leaves_nothing(tmp_path: Path) -> None:
    with servers(0, 0, 5, 5) as of:
        clock = NtpClock(of.names, timeout_s=2.0)
        with pytest.raises(UnavailableError, match="the clock is unknown: 0 of 4"):
            City.local(tmp_path / "city.db", clock=clock, **SETTINGS)
        with pytest.raises(UnavailableError, match="no majority"):
            clock.poll()
        with pytest.raises(UnavailableError, match="the clock is unknown: 4 of 4"):
            City.local(tmp_path / "city.db", clock=clock, **SETTINGS)
        assert list(tmp_path.iterdir()) == []
        find(clock, of)
        with City.local(tmp_path / "city.db", clock=clock, **SETTINGS) as city:
            assert city.receive(city.send(b"x").tx_id) == b"x"
            city.move_out(city.nodes()[-1].id, tmp_path / "node.key")
        lose(clock, of)
        with pytest.raises(UnavailableError, match="the clock is unknown"):
            NodeHost.open([tmp_path / "node.key"], tmp_path / "node.db", clock=clock)
        find(clock, of)
        NodeHost.open([tmp_path / "node.key"], tmp_path / "node.db", clock=clock).close()


def test_a_clock_that_is_lost_between_dispersal_and_commit(tmp_path: Path) -> None:
    """The transaction is journalled; nothing is committed without a stamp, and sending it again commits it once."""
    with servers(0, 0, 0, 0) as of:
        clock = polled(of.names)
        with City.local(tmp_path / "city.db", clock=clock, **SETTINGS) as city:

            def losing(event: StageEvent) -> None:
                if event.stage == "s4_deliver":
                    lose(clock, of)

            ready = city.transaction(b"once")
            city.watch(losing)
            with pytest.raises(UnavailableError, match="the clock is unknown"):
                city.send(ready)
            city.watch(None)
            assert city.height == 0
        find(clock, of)
        with City.local(tmp_path / "city.db", clock=clock, **SETTINGS) as city:
            assert [receipt.tx_id for receipt in city.recovery.finished] == [ready.tx_id]
            assert city.receive(ready.tx_id) == b"once"
            assert city.send(ready).header.height == city.height == 1


def test_commit_wait_puts_what_follows_behind_it_in_every_city() -> None:
    """Two cities that know nothing of each other, whose clocks are right and as far apart as they can be.

    That is a second, so that it shows however busy the machine is between two sends.
    """
    with (
        servers(0.5, 0.5, dispersion_s=0.6) as early,
        servers(-0.5, -0.5, dispersion_s=0.6) as late,
        City.local(clock=(fast := polled(early.names, good_ms=3000)), **SETTINGS) as here,
        City.local(clock=(slow := polled(late.names, good_ms=3000)), **SETTINGS) as there,
    ):
        assert fast.now_ms() - slow.now_ms() > 500
        first, hasty = here.send(b"first"), there.send(b"hasty")
        assert hasty.header.hlc < first.header.hlc, "sent after it, stamped before it"
        commit_wait(fast, tnh.ms(first.header.hlc))
        assert there.send(b"second").header.hlc > first.header.hlc


def test_a_city_on_the_kernel_s_clock() -> None:
    states = ["synchronised"]
    clock = KernelClock(state=lambda: KernelState(states[-1], 3_000_000, 0, 0.0, 37))  # type: ignore[arg-type]
    with City.local(clock=clock, **SETTINGS) as city:
        receipt = city.send(b"hello")
        commit_wait(clock, tnh.ms(receipt.header.hlc))
        states.append("unsynchronised")
        with pytest.raises(UnavailableError, match="unsynchronised; a time daemon"):
            city.send(b"x")
        assert city.receive(receipt.tx_id) == b"hello"
        states.append("synchronised")
        assert city.send(b"y").header.hlc > receipt.header.hlc


def test_a_world_whose_clock_is_lost_begins_nothing(tmp_path: Path) -> None:
    states = ["unknown"]
    clock = KernelClock(state=lambda: KernelState(states[-1], 3_000_000, 0, 0.0, 37))  # type: ignore[arg-type]
    names = ["north", "south"]
    with pytest.raises(UnavailableError, match="unknown"):
        World.local(names, tmp_path / "world", clock=clock, **SETTINGS)
    assert not (tmp_path / "world" / "world.db").exists()
    states.append("synchronised")
    with World.local(names, tmp_path / "world", clock=clock, **SETTINGS) as world:
        first = world.send(b"first", {"north": [b"a"], "south": [b"b"]})
        states.append("unsynchronised")
        with pytest.raises(UnavailableError, match="unsynchronised"):
            world.send(b"second", {"north": [b"a"], "south": [b"b"]})
        assert world.pending() == []
        assert world.receive(first) == b"first"
        assert [city.running for city in world.health().cities] == [True, True]
        assert all(world.locked_by(key, city=name) is None for name, key in (("north", b"a"), ("south", b"b")))
        states.append("synchronised")
        world.send(b"third", {"north": [b"a"], "south": [b"b"]})


def signs(city: City, node: bytes) -> bool:
    """Whether a node acknowledges something that is sent. A receipt has the acks of those who were quick enough."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if node in {ack.node for ack in city.send(b"x", deadline_s=30).availability.acks}:
            return True
    return False


def test_a_node_elsewhere_whose_clock_is_lost_signs_nothing_and_follows(tmp_path: Path) -> None:
    """The city's clock is good, the node's is not: three of four delegates go on without it, and it follows them."""
    states = ["synchronised"]
    clock = KernelClock(state=lambda: KernelState(states[-1], 3_000_000, 0, 0.0, 37))  # type: ignore[arg-type]
    path, settings = tmp_path / "city.db", {**SETTINGS, "nodes": 4}
    with City.local(path, **settings) as city:
        index = city.move_out(city.nodes()[0].id, tmp_path / "node")
    with (
        NodeHost.open([tmp_path / "node"], tmp_path / "node.db", clock=clock) as host,
        City.open(path, elsewhere=host.addresses) as city,
    ):
        assert signs(city, host.ids[index])
        states.append("unknown")
        without = city.send(b"with three", deadline_s=30)
        assert host.ids[index] not in {ack.node for ack in without.availability.acks}
        until = time.monotonic() + 30
        while host.height < city.height and time.monotonic() < until:
            time.sleep(0.05)
        assert host.height == city.height
        assert city.receive(without.tx_id) == b"with three"
        states.append("synchronised")
        assert signs(city, host.ids[index])


@pytest.mark.parametrize("looks", [0, 1, 5, 8, 13, 21, 29, 34, 38, 40, 41, 42, 43, 50])
def test_a_clock_that_is_lost_at_any_look_at_it(looks: int) -> None:
    """Through a send, an election and another send: each is done whole or not, and what was sent is there once."""
    left: list[int | None] = [None]

    def state() -> KernelState:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                return KernelState("unknown", None, None, None, None)
        return KernelState("synchronised", 3_000_000, 0, 0.0, 37)

    clock, storage = KernelClock(state=state), Kept()
    with City.local(storage=storage, clock=clock, **SETTINGS) as city:
        first, second = city.send(b"first"), city.transaction(b"second")
        left[0] = looks
        refused = 0
        for attempt in (lambda: city.send(second), lambda: city.elect(4), lambda: city.send(b"third")):
            try:
                attempt()
            except UnavailableError:
                refused += 1
        assert city.receive(first.tx_id) == b"first"
        left[0] = None
        receipt = city.send(second)
        assert city.receive(receipt.tx_id) == b"second"
        assert city.epoch.number in (0, 1)
    with City.local(storage=storage, clock=clock, **SETTINGS) as city:
        assert not city.recovery.pending
        assert not city.recovery.failed
        sent = sorted(city.receive(tx_id) for tx_id in city.tx_ids())
        assert sent in ([b"first", b"second"], [b"first", b"second", b"third"])
        assert refused or sent[-1] == b"third"
        for tx_id in city.tx_ids():
            city.receipt(tx_id).verify(city.trust)
        assert city.elect(4).number >= 1
