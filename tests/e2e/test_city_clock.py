"""A city whose physical clock goes back: over a reopening, over a kill, while it runs. No stamp is ever given twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import StorageError

pytestmark = pytest.mark.e2e

T = 1_800_000_000_000
HOUR_MS = 3_600_000
SETTINGS: dict[str, Any] = {"nodes": 8, "validators": 1, "k": 2, "n": 4}


class Wall:
    """A physical clock that is moved by hand, beside the real monotonic one."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return time.monotonic()


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


def stamps(city: City) -> list[int]:
    """One more stamp of every clock in the city: the sender's and each node's."""
    inside = city._city
    return [inside.sender.stamp(), *(inside.node(node.id).stamp() for node in city.nodes())]


def signed(receipt: records.Receipt) -> list[int]:
    """The stamps in a receipt that the sender and the holders made."""
    return [ack.hlc for ack in receipt.availability.acks]


@pytest.mark.parametrize("end", ["close", "kill"])
@pytest.mark.parametrize("back_ms", [1, 500, 5_000, HOUR_MS])
def test_a_reopened_city_whose_clock_was_set_back_goes_on_upwards(end: str, back_ms: int) -> None:
    storage, clock, last = Kept(), Wall(T), 0
    for _ in range(4):
        city = City.local(storage=storage, clock=clock, **SETTINGS)
        receipt = city.send(b"hello")
        assert min(signed(receipt)) > last
        given = stamps(city)
        assert min(given) > last
        last = max(*given, *signed(receipt))
        assert city.receive(receipt.tx_id) == b"hello"
        receipt.verify(city.trust)
        if end == "close":
            city.close()
        clock.ms -= back_ms
    city.close()


def test_a_clock_that_goes_back_while_the_city_runs() -> None:
    clock, last = Wall(T), dict[bytes, int]()
    with City.local(clock=clock, **SETTINGS) as city:
        for step_ms in (0, -1, 250, -HOUR_MS, 100, 2 * HOUR_MS, -5_000, -200):
            clock.ms += step_ms
            receipt = city.send(b"%d" % step_ms)
            for ack in receipt.availability.acks:
                assert ack.hlc > last.get(ack.node, 0)
                last[ack.node] = ack.hlc
            assert city.receive(receipt.tx_id) == b"%d" % step_ms


def test_a_clean_reopening_is_not_ahead_of_the_clock() -> None:
    storage, clock = Kept(), Wall(T)
    for _ in range(20):
        with City.local(storage=storage, clock=clock, **SETTINGS) as city:
            city.send(b"one")
            assert max(stamps(city)) >> 16 == T


WORKER = """
import os, runpy, signal, sys
here = runpy.run_path(sys.argv[1])
clock = here["Wall"](int(sys.argv[3]))
city = here["City"].local(sys.argv[2], clock=clock, **here["SETTINGS"])
last = 0
for at in range(20):
    receipt = city.send(b"%d" % at)
    last = max([last, *here["stamps"](city), *here["signed"](receipt)])
    clock.ms += 700
print(last, receipt.tx_id.hex(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_and_a_clock_an_hour_behind(tmp_path: Path) -> None:
    path, last = tmp_path / "city.db", 0
    for at in range(3):
        now_ms = T - at * HOUR_MS
        done = subprocess.run(
            [sys.executable, "-c", WORKER, __file__, str(path), str(now_ms)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        highest, tx_id = done.stdout.split()
        with City.local(path, clock=Wall(now_ms - HOUR_MS // 2), **SETTINGS) as city:
            assert min(stamps(city)) > int(highest) > last
            assert city.receive(bytes.fromhex(tx_id)) == b"19"
            last = max(stamps(city))


def test_damaged_bounds_show_when_the_city_is_opened() -> None:
    storage, clock = Kept(), Wall(T)
    with City.local(storage=storage, clock=clock, **SETTINGS) as city:
        receipt = city.send(b"one")
        last = max(stamps(city))
    rows = dict(zip((b"hu0", b"hu1"), storage.get_many([b"hu0", b"hu1"]), strict=True))
    for key, row in rows.items():
        assert row is not None
        storage.put_many({key: row[:-1]})
        with City.local(storage=storage, clock=clock, **SETTINGS) as city:
            assert min(stamps(city)) > last
            last = max(stamps(city))
    storage.put_many({b"hu0": b"?", b"hu1": b"?"})
    with pytest.raises(StorageError, match="bound of the stamps"):
        City.local(storage=storage, clock=clock, **SETTINGS)
    # Who knows that the clock is right may do without: the ledger's last stamp is the floor.
    storage.delete_many([b"hu0", b"hu1"])
    with City.local(storage=storage, clock=clock, **SETTINGS) as city:
        assert city.receive(receipt.tx_id) == b"one"
