"""Every contest once: that the peers still work, and that they and this package give what they must.

Figures come from `benches/report.py`. A peer that is not installed is named by a skipped test.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
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
}


@pytest.mark.parametrize("package", PACKAGES)
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
