"""Every program of `examples/` runs as it stands there, checks its own result, and says something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
ALONE = ("ec", "rvh", "vrf", "tes", "bls", "tdh2", "city_keys", "post_quantum", "cbf", "tnh", "poh", "dpos", "hotstuff")
MUST_BE_THERE = {"send_and_receive", "sealed_send", "own_stage", "own_pipeline", "hvp_sockets"} | {
    f"{name}_alone" for name in ALONE
}


def test_none_is_missing() -> None:
    assert {path.stem for path in EXAMPLES} >= MUST_BE_THERE


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stdout.strip()
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_checks_itself_and_is_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any(line.strip().startswith("assert ") for line in lines)
    talking = ("import socketserver", "import socket", "from city_chain.adapters.transport.tcp import TcpTransport")
    talks = any(line in talking for line in lines)  # several processes or parties take more
    assert len(lines) <= (200 if talks else 60)
