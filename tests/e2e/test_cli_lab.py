"""``city-chain lab``: engines compared, counts beside theory, one seed replayed, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from city_chain import sim
from city_chain.cli import lab, main

pytestmark = pytest.mark.e2e


def rows(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


MEASURES = ["messages", "bytes", "messages_per_commit", "bytes_per_commit", "rounds", "virtual_us"]
MEASURES += ["virtual_us_per_commit", "journal_bytes", "cpu_us_per_commit"]
ROW = ["engine", "validators", "seed", "commits", *MEASURES, "digest"]


def test_engines_side_by_side(cli: Any) -> None:
    words = ["lab", "engines", "--validators", "4", "--seed", "5", "--slots", "4"]
    said = rows(cli.good(*words, "--json"))
    assert [row["engine"] for row in said] == list(sim.ENGINES) == ["hotstuff", "abba", "dpos"]
    for row in said:
        assert list(row) == ROW
        assert (row["validators"], row["commits"], row["seed"]) == (4, 4, 5)
        assert row["cpu_us_per_commit"] > 0 < row["journal_bytes"]
        assert row["rounds"] >= 4
        assert row["messages_per_commit"] == pytest.approx(row["messages"] / 4, abs=0.01)
        assert row["bytes_per_commit"] == pytest.approx(row["bytes"] / 4, abs=0.1)
    hotstuff, abba, dpos = said
    assert dpos["messages"] == 4 * 9
    assert 4 * 6 <= hotstuff["messages"] < 4 * 6 + 2 * 6
    # Three votes of everybody at least in each of four commits; what all agreements say at once is one message.
    assert 4 * 3 * 12 < abba["messages"] < 4 * 20 * 12
    again = rows(cli.good(*words, "--json"))
    assert [{**row, "cpu_us_per_commit": 0} for row in said] == [{**row, "cpu_us_per_commit": 0} for row in again]
    same = sim.engines(5, [4], workload=sim.Workload(slots=4))
    assert [row["digest"] for row in same] == [row["digest"] for row in said]


def test_a_table_of_engines(cli: Any) -> None:
    words = ["--validators", "4,7", "--engines", "hotstuff,dpos", "--seed", "5", "--slots", "4"]
    table = cli.good("lab", "engines", *words).splitlines()
    assert table[0].split()[:3] == ["engine", "validators", "commits"]
    assert [line.split()[:3] for line in table[1:]] == [
        [name, count, "4"] for count in ("4", "7") for name in ("hotstuff", "dpos")
    ]
    assert len({len(line) for line in table}) == 1


def test_every_count_holds(cli: Any) -> None:
    said = rows(cli.good("lab", "counts", "--validators", "4", "--json"))
    assert all(row["ok"] for row in said)
    assert any(row["expected"] == row["measured"] == 9 for row in said)
    assert sum(row["what"].startswith("abba, ") for row in said) == 4
    table = cli.good("lab", "counts", "--validators", "4").splitlines()
    assert len(table) == len(said) + 1
    assert all(line.endswith("  ok") for line in table[1:])


def test_aggregates_beside_lists(cli: Any) -> None:
    words = ["lab", "aggregates", "--validators", "4,40", "--repeats", "1"]
    four, forty = rows(cli.good(*words, "--json"))
    assert (four["validators"], four["signers"], forty["validators"], forty["signers"]) == (4, 3, 40, 27)
    assert four["list_bytes"] - four["aggregate_bytes"] == 3 * 64 - 48
    assert (forty["list_bytes"], forty["aggregate_bytes"]) == (55 + 4 + 27 * 64, 55 + 4 + 48)
    assert all(value > 0 for row in (four, forty) for value in row.values())
    table = cli.good(*words).splitlines()
    assert [line.split()[0] for line in table] == ["validators", "4", "40"]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize("engine", sim.ENGINES)
def test_a_seed_is_replayed(cli: Any, engine: str) -> None:
    words = ["lab", "replay", "--engine", engine, "--seed", "5", "--slots", "4"]
    [compared] = rows(cli.good("lab", "engines", "--engines", engine, "--validators", "4", *words[4:], "--json"))
    said = cli.good(*words)
    assert said.splitlines()[-1].split()[-1] == compared["digest"]
    events = rows(cli.good(*words, "--json"))
    shown = cli.good(*words, "--events")
    assert shown.count("  decide ") == sum(row["kind"] == "decide" for row in events) >= 4 * 4
    assert [row["at"] for row in events] == sorted(row["at"] for row in events)


@pytest.mark.parametrize("protocol", [name for name in sim.PROTOCOLS if name not in sim.ENGINES])
def test_another_protocol_is_replayed(cli: Any, protocol: str) -> None:
    done = cli("lab", "replay", "--engine", protocol, "--validators", "4", "--slots", "4")
    said = done.stdout.decode()
    assert done.returncode == 0
    assert all(b"more events are not kept" in line for line in done.stderr.splitlines())
    assert int(next(line.split()[0] for line in said.splitlines() if line.endswith("  decide"))) >= 4


def test_twins_of_some_numbers_of_validators(cli: Any) -> None:
    words = ["lab", "twins", "--validators", "4,5", "--scenarios", "40", "--seed", "3"]
    said = rows(cli.good(*words, "--json"))
    assert said == [{"validators": count, "seed": 3, **sim.twins(count, 40, seed=3)._asdict()} for count in (4, 5)]
    assert [(row["scenarios"], row["healed"]) for row in said] == [(40, 5)] * 2
    table = cli.good(*words).splitlines()
    assert table[0].split() == ["validators", *sim.TwinsReport._fields]
    assert [line.replace(",", "").split() for line in table[1:]] == [
        [str(value) for name, value in row.items() if name != "seed"] for row in said
    ]


def test_one_scenario_of_twins_is_run_again(cli: Any) -> None:
    words = ["lab", "twins", "--validators", "4", "--scenarios", "40", "--json"]
    alone = [rows(cli.good(*words, "--only", str(number)))[0] for number in (0, 39)]
    assert [(row["scenarios"], row["healed"]) for row in alone] == [(1, 1), (1, 0)]
    assert alone[1] == {"validators": 4, "seed": 1, **sim.twins(4, 40, only=39)._asdict()}
    parts = [sim.twins(4, 40, only=number) for number in range(40)]
    assert tuple(map(sum, zip(*parts, strict=True))) == sim.twins(4, 40)


def test_twins_that_cannot_be_are_told_of_and_the_others_go_on(cli: Any) -> None:
    done = cli("lab", "twins", "--validators", "4,11", "--scenarios", "8", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(b"city-chain: 11 validators: ")
    assert [row["validators"] for row in rows(done.stdout.decode())] == [4]
    assert b"at most" in cli("lab", "twins", "--validators", "4", "--scenarios", "8", "--only", "8").stderr


def test_help_teaches_and_loads_nothing(cli: Any) -> None:
    for action in ("engines", "counts", "twins", "aggregates", "replay", "hyparview", "plumtree"):
        said = cli.good("lab", action, "--help")
        assert "Examples:" in said
        assert f"city-chain lab {action}" in said
    assert "crashes of up to 95 %," in " ".join(cli.good("lab", "--help").split())
    words = "from city_chain.cli import parser; parser.build(); import sys; print('city_chain._native' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize(
    "words",
    [
        ["engines", "--engines", "paxos"],
        ["engines", "--validators", "0"],
        ["engines", "--validators", "4,,7"],
        ["engines", "--validators", "4000"],
        ["engines", "--seed", "-1"],
        ["engines", "--seed", str(2**64)],
        ["engines", "--slots", "0"],
        ["engines", "--latency-ms", "nan"],
        ["engines", "--engines", "hotstuff-3"],
        ["replay", "--engine", "paxos"],
        ["twins", "--scenarios", "0"],
        ["twins", "--scenarios", "1000000001"],
        ["twins", "--only", "-1"],
        ["counts", "--validators", "x"],
        ["aggregates", "--repeats", "0"],
        [],
    ],
)
def test_a_wrong_command_line_is_refused(cli: Any, words: list[str]) -> None:
    done = cli("lab", *words)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_what_cannot_run_is_told_of_and_the_others_go_on(cli: Any) -> None:
    done = cli("lab", "engines", "--engines", "dpos", "--validators", "4", "--batch", "99999999")
    assert done.returncode == 1
    assert done.stderr.startswith(b"city-chain: dpos of 4: ")
    assert done.stdout == b""


def test_a_run_that_does_not_end_says_how_far_it_came_and_how_to_replay_it(cli: Any) -> None:
    done = cli("lab", "engines", "--engines", "hotstuff", "--latency-ms", "60000", "--validators", "4", "--slots", "40")
    said = done.stderr.decode().strip()
    assert done.returncode == 1
    assert re.search(
        r"all decided \d+ of 40 slots in [\d,]+ s of virtual time; replay it: city-chain lab replay ", said
    )
    again = cli(*shlex.split(said.partition("replay it: ")[2])[1:])
    assert again.returncode == 1
    assert (
        re.search(r"all decided (\d+)", again.stderr.decode()).group() == re.search(r"all decided (\d+)", said).group()
    )


def test_what_is_printed_as_replay_has_the_same_limits(cli: Any) -> None:
    words = ["--timeout-ms", "0", "--slots", "2"]
    compared = cli("lab", "engines", "--engines", "hotstuff", "--validators", "4", *words, "--json")
    replayed = cli("lab", "replay", "--engine", "hotstuff", "--validators", "4", *words)
    assert compared.returncode == replayed.returncode
    if compared.returncode == 0:
        assert rows(compared.stdout.decode())[0]["digest"].encode() in replayed.stdout


def test_rows_beyond_the_former_limit_are_counted(cli: Any) -> None:
    said = cli.good("lab", "replay", "--engine", "abba", "--validators", "10", "--slots", "20")
    assert int(next(line.split()[0] for line in said.splitlines() if line.endswith("  decide"))) >= 200


def test_rows_that_are_not_kept_are_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "_ROWS_KEPT", 50)
    assert main(["lab", "replay", "--engine", "dpos", "--slots", "3"]) == 0
    assert re.search(r"\d more events are not kept; what is shown is the first 50\n", capsys.readouterr().err)


def test_a_row_is_shown_when_its_run_ends(cli: Any) -> None:
    """An interrupt takes only what is under way."""
    running = cli.start("lab", "engines", "--engines", "dpos", "--validators", "4,100", "--slots", "2000", "--json")
    first = json.loads(running.stdout.readline())
    os.kill(running.pid, signal.SIGINT)
    rest, said = running.communicate(timeout=60)
    assert (first["validators"], rest) == (4, b"")
    assert (running.returncode, said) == (130, b"city-chain: interrupted\n")


def test_counts_want_somebody_who_may_be_faulty(cli: Any) -> None:
    done = cli("lab", "counts", "--validators", "1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"1 validators, at least 4 are needed" in done.stderr


def test_an_interrupt_ends_it_at_once(cli: Any) -> None:
    running = cli.start("lab", "engines", "--engines", "dpos", "--validators", "100", "--slots", "100000")
    time.sleep(2)
    began = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, b"city-chain: interrupted\n")
    assert time.monotonic() - began < 30
    assert isinstance(running, subprocess.Popen)
