"""``city-chain lab hyparview`` and ``lab plumtree``: the papers' tables, their verdicts, JSON, an interrupt."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from city_chain import sim
from city_chain.cli import lab_overlays, main

pytestmark = pytest.mark.e2e

SMALL = ["--nodes", "150", "--cycles", "4", "--seed", "5"]
ROW = ["seed", "nodes", "cycles", "measure", "failures", "paper", "expected", "measured", "tolerance", "ok"]


def rows(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_hyparview_as_json(cli: Any) -> None:
    said = rows(cli.good("lab", "hyparview", *SMALL, "--json"))
    assert all(list(row) == ROW for row in said)
    assert {(row["seed"], row["nodes"], row["cycles"]) for row in said} == {(5, 150, 4)}
    crashes = [row for row in said if row["measure"].startswith("reliability, ")]
    assert [row["failures"] for row in crashes] == ["closed connections"] * 10 + ["found on send"] * 10
    assert crashes[0]["measured"] > 0.99
    measured = {row["measure"]: row["measured"] for row in said}
    steady = sim.Overlay(150, 4, 5).steady()
    assert measured["shortest path"] == steady.shortest_path
    assert measured["clustering coefficient"] == steady.clustering
    assert {row["ok"] for row in said} == {True, None}, "verdicts only on what has a bound at every size"


def test_plumtree_as_json(cli: Any) -> None:
    said = rows(cli.good("lab", "plumtree", *SMALL, "--json"))
    assert all(list(row) == ROW for row in said)
    measured = {row["measure"]: row["measured"] for row in said}
    trees = sim.Overlay(150, 4, 5).trees(20)
    assert measured["one sender: redundancy (RMR)"] == trees.single.rmr
    assert measured["many senders: last hop"] == trees.many.last_hop
    assert {row["failures"] for row in said} == {None, "closed connections", "found on send"}


@pytest.mark.parametrize("action", lab_overlays.ACTIONS)
def test_tables(cli: Any, action: str) -> None:
    table = cli.good("lab", action, *SMALL).splitlines()
    assert table[0].split() == ["measure", "failures", "seen", "by", "paper", "expected", "measured"]
    assert any("closed connections" in line for line in table)
    assert any("found on send" in line for line in table)
    assert max(map(len, table)) <= 130


def test_a_measure_that_is_off_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"measure": "x", "failures": None, "paper": None, "expected": 1.0, "measured": 2.0, "tolerance": 0.1}
    monkeypatch.setattr(sim, "plumtree", lambda *_, **__: iter([{**row, "ok": True}, {**row, "ok": False}]))
    assert main(["lab", "plumtree"]) == 1
    said = capsys.readouterr()
    assert said.err == "city-chain: 1 of these are not as expected\n"
    assert [line.split()[-1] for line in said.out.splitlines()[1:]] == ["ok", "OFF"]


@pytest.mark.parametrize("words", [["--nodes", "1"], ["--nodes", "50001"], ["--cycles", "10001"], ["--seed", "-1"]])
@pytest.mark.parametrize("action", lab_overlays.ACTIONS)
def test_a_wrong_command_line_is_refused(cli: Any, action: str, words: list[str]) -> None:
    done = cli("lab", action, *words)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_an_interrupt_ends_it_at_once(cli: Any) -> None:
    running = cli.start("lab", "hyparview", "--nodes", "20000", "--cycles", "1000")
    time.sleep(2)
    began = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, b"city-chain: interrupted\n")
    assert time.monotonic() - began < 30
