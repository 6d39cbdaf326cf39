"""Processes killed while cities come and go: no key is lost, none is in two cities, and the next opening ends it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from city_chain.levels.cross_receipt import CrossReceipt
from city_chain.levels.rulings import need_shard
from city_chain.levels.world import World
from tests.e2e.conftest import environment
from tests.e2e.worlds import NORTH, SOUTH

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")]

WORKER = Path(__file__).with_name("world_reshard_worker.py")
KEYS = [b"key %d" % at for at in range(40)]
STEPS = 11
RANDOM_KILLS = 4


class Earth:
    """A world in a folder, with what must never change however often it is laid out anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: tuple[str, ...] = (NORTH, SOUTH)
        self.done = 0
        with World.local([NORTH, SOUTH], folder, nodes=4, validators=4, k=2, n=4) as world:
            self.receipts = [world.send(b"all of them", KEYS)]
            self.versions = {key: world.version(key) for key in KEYS}

    def start(self, number: int, new: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(WORKER), str(self.folder), str(number), new, self.names[-1]],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def check(self, new: str, said: str) -> None:
        """Opens the world after a kill: the change is done, or was never begun."""
        with World.open(self.folder) as world:
            moved = new in world.names
            assert moved or "done" not in said
            assert world.names == ((*self.names[:-1], new) if moved else self.names)
            assert {key: world.version(key) for key in KEYS} == self.versions
            there = [need_shard(world.city(name)._city) for name in (*world.names, *world.left)]
            assert sum(shard.keys() for shard in there) == len(KEYS)
            assert not any(shard.leaving() for shard in there)
            receipts: list[CrossReceipt] = [*self.receipts, world.send(b"after", KEYS)]
            for receipt in receipts:
                receipt.verify(world.trust)
            self.versions = {key: world.version(key) for key in KEYS}
            self.receipts, self.names, self.done = receipts, world.names, self.done + moved


def test_a_process_killed_before_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    earth, killed = Earth(tmp_path / "earth"), 0
    for number in range(STEPS):
        with earth.start(number, f"new {number}") as process:
            said, _ = process.communicate(timeout=300)
            killed += process.returncode == -signal.SIGKILL
        earth.check(f"new {number}", said)
    assert killed == STEPS
    assert earth.done == STEPS - 2, "it is certain after two steps"


def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    earth, dice = Earth(tmp_path / "earth"), random.Random(11)
    for number in range(RANDOM_KILLS):
        with earth.start(-1, f"new {number}") as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "open"
            time.sleep(dice.uniform(0.02, 0.6))
            process.kill()
            said, _ = process.communicate(timeout=300)
        earth.check(f"new {number}", said)
