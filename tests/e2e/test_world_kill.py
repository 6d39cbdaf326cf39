"""Processes that are killed in the middle of a crossing: all cities have done it or none, what was told stays so."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from city_chain.levels.world import World
from tests.e2e.conftest import environment
from tests.e2e.worlds import NORTH, SOUTH, A, B, is_free, versions

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")]

WORKER = Path(__file__).with_name("world_worker.py")
BOTH = {NORTH: [A], SOUTH: [B]}
STEPS = 9
RANDOM_KILLS = 4


def start(folder: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), str(number)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def check(folder: Path, before: dict[bytes, int], said: list[str]) -> dict[bytes, int]:
    """Opens the world after a kill: both cities have moved on, or neither; everything that was told is there."""
    with World.open(folder) as world:
        after = versions(world, BOTH)
        assert len({after[key] > before[key] for key in after}) == 1
        assert is_free(world, BOTH)
        assert world.pending() == []
        for line in said:
            if line.startswith("ack "):
                world.receipt(bytes.fromhex(line.split()[1])).verify(world.trust)
        for tx_id in world.recovery.committed:
            world.receipt(tx_id).verify(world.trust)
        return after


def test_a_process_killed_before_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "earth"
    with World.local([NORTH, SOUTH], folder, nodes=4, validators=4, k=2, n=4) as world:
        known = versions(world, BOTH)
    killed = 0
    for number in range(STEPS):
        with start(folder, number) as process:
            said, _ = process.communicate(timeout=120)
            killed += process.returncode == -signal.SIGKILL
        known = check(folder, known, said.splitlines())
    assert killed >= STEPS - 2, "a crossing has about so many steps"


def test_a_process_killed_at_any_moment_loses_nothing_that_was_told(tmp_path: Path) -> None:
    folder, dice = tmp_path / "earth", random.Random(7)
    with World.local([NORTH, SOUTH], folder, nodes=4, validators=4, k=2, n=4) as world:
        known = versions(world, BOTH)
    for _ in range(RANDOM_KILLS):
        with start(folder, -1) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "open"
            time.sleep(dice.uniform(0.05, 0.8))
            process.kill()
            said, _ = process.communicate(timeout=120)
        known = check(folder, known, [line for line in said.splitlines() if len(line) == 68])
