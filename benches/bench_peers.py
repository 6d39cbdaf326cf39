"""Every contest once: that the peers still work, and that they and this package give what they must.

Figures come from `benches/report.py`. A peer that is not installed is named by a skipped test.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import report
import rival
from peers import ALGORITHMS, tables
from peers.__main__ import section
from peers.harness import DRIFT_MAX, OURS, Contest, Entry, Outcome, Peers, Target, run, run_all

pytestmark = pytest.mark.bench

PACKAGES = {
    "zfec": "zfec",
    "pyeclib": "pyeclib.ec_iface",
    "xxhash": "xxhash",
    "hrw": "hrw",
    "uhashring": "uhashring",
    "numpy": "numpy",
    "rbloom": "rbloom",
    "fastbloom-rs": "fastbloom_rs",
    "scalable-cuckoo-filter": "cuckoo.filter",
    "cuckoopy": "cuckoopy",
    "pyprobables": "probables",
    "eclipse-zenoh": "zenoh",
    "hlcpy": "hlcpy",
    "pynacl": "nacl.bindings",
    "cryptography": "cryptography",
    "blake3": "blake3",
    "chia-rs": "chia_rs",
    "blspy": "blspy",
    "py-ecc": "py_ecc.bls",
    "py-arkworks-bls12381": "py_arkworks_bls12381",
    "milagro-bls-binding": "milagro_bls_binding",
    "pqcrypto": "pqcrypto",
    "shapely": "shapely",
    "geopandas": "geopandas",
    "pyjwt": "jwt",
}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what a peer warns of itself
def test_peer_is_installed(package: str) -> None:
    pytest.importorskip(PACKAGES[package], exc_type=ImportError)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_contests_run(name: str) -> None:
    module, peers = importlib.import_module(f"peers.{name}"), Peers()
    outcomes = list(run_all(module.contests(peers, quick=True), quick=True))
    text = section(module, outcomes, peers)
    assert all(outcome.contest.what in text for outcome in outcomes)
    assert all(outcome.contest.entries[0].is_ours for outcome in outcomes)


def test_the_rival_runs(tmp_path: Path) -> None:
    outcomes, rows, peers = rival.compete(quick=True, folder=tmp_path)
    text = rival.section(outcomes, rows, peers)
    assert all(outcome.contest.what in text for outcome in outcomes)
    assert len(tables.target_rows([(rival.TITLE, outcomes)])) == 2


def contest(peer_ns: float, target: Target | None = None) -> Outcome:
    entries = [Entry(f"{OURS}: f", lambda _: None, target=target), Entry("peer", lambda _: None)]
    made = Contest("f", entries, lambda: None, size=1000, why="because")
    return Outcome(made, {f"{OURS}: f": [1e-7] * 4, "peer": [peer_ns / 1e9] * 4}, [1.0, 1.0, 1.0, 1.0])


def test_who_leads_is_said() -> None:
    assert tables.leader(contest(200)) == (f"{OURS}: f", 2.0)
    assert tables.leader(contest(50)) == ("peer", pytest.approx(2.0))
    assert "because" in tables.leaders([contest(50)])
    assert "because" not in tables.leaders([contest(200)])
    assert "even" in tables.leaders([contest(101)])


@pytest.mark.parametrize(
    ("target", "is_met"),
    [
        (Target(2e-7, "seconds"), True),
        (Target(5e-8, "seconds"), False),
        (Target(9e6, "rate"), True),
        (Target(2e7, "rate"), False),
        (Target(9e9, "bytes/s"), True),
        (Target(2e10, "bytes/s"), False),
        (Target(1.9, "ratio"), True),
        (Target(2.1, "ratio"), False),
    ],
)
def test_targets_are_held(target: Target, is_met: bool) -> None:
    [row] = tables.target_rows([("title", [contest(200, target)])])
    assert row[-1].startswith("met") == is_met
    assert ("missed" in row[-1]) != is_met


def test_drift_makes_it_void() -> None:
    drifting = contest(200)
    drifting.sentinel = [1.0, 1.0, 1.2, 1.2]
    assert drifting.drift > DRIFT_MAX
    assert "void" in tables.leaders([drifting])
    assert "void" in tables.figures([drifting])


def test_everybody_is_timed_in_turn() -> None:
    seen: list[str] = []
    entries = [
        Entry(f"{OURS}: a", lambda made: seen.append(f"a{made}"), 2, lambda: len(seen)),
        Entry("b", lambda _: seen.append("b")),
    ]
    checked: list[bool] = []
    outcome = run(Contest("f", entries, lambda: checked.append(True), rounds=4))
    assert checked == [True]
    assert {name: len(taken) for name, taken in outcome.seconds.items()} == {f"{OURS}: a": 4, "b": 4}
    assert len(outcome.sentinel) == 4
    assert seen[-1].startswith("a")  # the last round begins with the second


def timed(module: str, name: str, parameter: str, **extra: Any) -> dict[str, Any]:
    """One benchmark as pytest-benchmark's JSON has it."""
    return {
        "fullname": f"benches/{module}.py::test_{name}[{parameter}]",
        "name": f"test_{name}[{parameter}]",
        "param": parameter,
        "extra_info": {"calls": 1, "beside_s": [2e-4] * 3, **extra},
        "stats": {"data": [1e-3, 2e-3, 3e-3]},
    }


def competed(script: str) -> dict[str, Any]:
    """What the contests or the rival leave, short."""
    outcome = contest(200, Target(1e-6, "seconds"))
    signing = {"seconds": {f"{OURS}: f": [1e-5], "PyNaCl": [2e-5]}, "share": 1.0}
    sends = {"seconds": {f"{OURS}: send": [1e-3], "glued rival, 1": [2e-3], report.COMMIT: [2e-4]}}
    raw = {
        "peers": {"Proof of Hold": [{"what": what, **signing} for what in ("sign 300 bytes", "verify 300 bytes")]},
        "rival.py": {"send": [{"what": what, **sends} for what in ("one", "many")]},
    }
    return {"sections": [f"section {script}"], "targets": tables.target_rows([(script, [outcome])]), "raw": raw[script]}


def test_the_report_fills_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"processor": "a processor", "cores": 2, "sqlite": "3", "version": "0", "python": "3"}
    stages = {"stages_ms": {"s1": [1.0, 3.0]}, "budgets_ms": {"s1": 80.0}, "writes": 6, "synced": 1}
    benchmarks = [
        timed("bench_send", "send", "durable", **stages),
        timed("bench_boundary", "short_call", "4 KiB out: to_bytes"),
        timed("bench_composer", "run", "1"),
    ]
    found = {"benchmarks": benchmarks, "machine_info": {"city_chain": ours}}
    printed = "plain       10 stages:  0.100 µs per stage (IQR 0.090–0.110)"
    monkeypatch.setattr(report, "timed", lambda words, quick: (found, printed))
    monkeypatch.setattr(report, "competed", competed)
    monkeypatch.setattr(report, "import_seconds", lambda: 0.05)
    monkeypatch.setattr(report, "profile", lambda: "the profile")
    page = tmp_path / "page.md"
    page.write_text(f"above\n{report.MARK}old", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["report.py", "--page", str(page), "--json", str(tmp_path / "raw.json")])
    report.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"above\n{report.MARK}\n## The machine")
    assert "old" not in text
    for part in ("section peers", "section rival.py", "the profile", "6, 1 of them synced", "4 of 8 are met"):
        assert part in text
    assert "| send: one durable transaction of 4 KiB, p50 | ≤ 1.50 ms | 2.00 ms | **missed** by 1.33 × |" in text
    assert "| import city_chain, after Python itself | ≤ 25.0 ms | 50.0 ms | **missed** by 2.00 × |" in text
    assert "| composer: a stage of 10, plain | ≤ 200 ns | 100 ns | met |" in text
    assert "| one: glued rival | 360 µs | 340 µs | 200 µs | 900 µs | 2.00 ms | 45% |" in text


def test_where_the_time_goes_is_profiled() -> None:
    assert re.search(r"^\| s4_deliver \| [0-9.]+ \|", report.profile(rounds=1), re.MULTILINE)
