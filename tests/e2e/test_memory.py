"""Memory does not grow with work that is done: sends into a city in a file, and calls into the core.

A run of the tests makes thousands; ``python3 noxfile.py soak`` sets CITY_CHAIN_SOAK to how many (a million).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

WORKER = Path(__file__).with_name("memory_worker.py")
ROOT = Path(__file__).resolve().parents[2]
SOAK = int(os.environ.get("CITY_CHAIN_SOAK", "0"))
GROWTH_MAX = 1 << 20
WARMING = 0 if SOAK else 1 << 20
"""Room for caches that a short run of a city has not filled yet."""
CALLS = [
    "ec.encode",
    "ec.decode",
    "ec.Codec",
    "rvh.pick_many",
    "vrf.verify",
    "vrf.verify, refused",
    "vrf.verify_many",
    "vrf.sortition",
    "cbf",
    "cbf, packed",
    "tnh",
    "tnh, many",
    "poh.verify_signatures",
    "poh audits",
    "dpos.elect",
    "poh.hash_fragment",
    "dpos.ValidatorSet",
    "Message",
    "Transaction",
]


def grown(what: str, count: int, folder: Path) -> int:
    """Bytes by which a process grew between the second and the last quarter of its work."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-W", "error", str(WORKER), what, str(count), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resident = [int(line) for line in done.stdout.split()]
    assert len(resident) >= 20
    quarter = len(resident) // 4
    return min(resident[-quarter:]) - min(resident[quarter : 2 * quarter])


def test_every_call_of_the_worker_is_tested() -> None:
    spec = importlib.util.spec_from_file_location("memory_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    assert list(worker.calls()) == CALLS


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory is read from /proc")


@needs_proc
@pytest.mark.timeout(0 if SOAK else 300)
def test_sending_leaks_nothing(tmp_path: Path) -> None:
    assert grown("sends", SOAK or 10_000, tmp_path) <= GROWTH_MAX + WARMING


@needs_proc
@pytest.mark.timeout(0 if SOAK else 300)
@pytest.mark.parametrize("what", CALLS)
def test_calls_leak_nothing(what: str, tmp_path: Path) -> None:
    assert grown(what, SOAK or 10_000, tmp_path) <= GROWTH_MAX
