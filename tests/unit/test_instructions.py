"""The judgement over instruction counts: what is over the baseline fails, other machines are not judged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("instructions", ROOT / "benches" / "instructions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("now", "status"), [(1000, 0), (1010, 0), (1011, 1), (500, 0)])
def test_one_per_cent_more_is_borne(script: ModuleType, now: int, status: int) -> None:
    assert script.judge({"a": now, "b": 5}, {"a": 1000, "b": 5}, comparable=True) == status
    assert script.judge({"a": now, "b": 5}, {"a": 1000, "b": 5}, comparable=False) == 0


def test_a_call_that_is_new_or_gone_needs_a_renewal(script: ModuleType) -> None:
    assert script.judge({"a": 1, "new": 1}, {"a": 1}, comparable=True) == 1
    assert script.judge({"a": 1}, {"a": 1, "gone": 1}, comparable=True) == 1


def test_what_is_over_is_named(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.judge({"fine": 100, "slow": 200}, {"fine": 100, "slow": 100}, comparable=True)
    assert "over the baseline by more than 1 %: slow\n" in capsys.readouterr().out


def test_what_preparing_takes_is_not_counted(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho a b\n", encoding="utf-8")
    program.chmod(0o755)
    preparing, call = {"a": 10**9, "b": 7}, {"a": 1234, "b": 5}
    monkeypatch.setattr(script, "collected", lambda _, name, rounds: preparing[name] + call[name] * rounds)
    assert dict(script.count(program)) == call


def test_the_baseline_names_the_calls_of_the_program() -> None:
    kept = json.loads((ROOT / "native" / "benches" / "instructions.json").read_text(encoding="utf-8"))
    source = (ROOT / "native" / "benches" / "instructions.rs").read_text(encoding="utf-8")
    names = source.partition("const NAMES")[2].partition("];")[0].split('"')[1::2]
    assert names == list(kept["counts"])
    assert all(count > 0 for count in kept["counts"].values())
    assert set(kept["made"]) == {"rustc", "machine"}
