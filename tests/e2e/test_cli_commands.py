"""The commands of the command line, each where all goes well. Every one is a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, __version__
from city_chain.cli import doctor, main, parser
from city_chain.errors import UnavailableError
from city_chain.levels.keys import KeyMaker
from city_chain.records import Trust

pytestmark = pytest.mark.e2e

COMMANDS = [
    "init",
    "elect",
    "send",
    "receive",
    "verify",
    "health",
    "repair",
    "nodes",
    "doctor",
    "demo",
    "keygen",
    "inspect",
]


def objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Any, command: str) -> None:
    said = cli.good(command, "--help")
    first = f"  city-chain {'--city town ' if '--city town' in said else ''}{command}"
    assert f"Example:\n{first}" in said or f"Examples:\n{first}" in said
    assert "--json" in said
    assert "--city DIR" in said


def test_every_help_can_be_written() -> None:
    def written(parser: argparse.ArgumentParser) -> int:
        assert parser.format_help().startswith("usage: city-chain")
        below = [each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        return 1 + sum(written(each) for choices in below for each in set(choices.values()))

    assert written(parser.build()) > len(COMMANDS) + 1, "those of actions, too"


def test_help_names_every_command_and_loads_no_extension() -> None:
    code = (
        "import sys, city_chain.cli\n"
        "try: city_chain.cli.main(['--help'])\n"
        "finally: print([n for n in sys.modules if n.startswith('city_chain._native') or n == 'sqlite3'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"\n    {command} " in done.stdout for command in COMMANDS)


def test_version(cli: Any) -> None:
    assert cli.good("--version") == f"city-chain {__version__}\n"


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_makes_city_anchor_and_receipts(cli: Any) -> None:
    said = cli.good("init", "deep/town", "--name", "Utrecht", "--nodes", "9", "-k", "2", "-n", "4", "--districts", "2")
    assert "made the city 'Utrecht' in deep/town: 9 nodes, 4 of them delegates; 2 of 4" in said
    made = cli.folder / "deep" / "town"
    assert {path.name for path in made.iterdir()} >= {"city.db", "trust.anchor", "receipts"}
    assert stat.S_IMODE((made / "city.db").stat().st_mode) == 0o600
    nodes = objects(cli.good("nodes", "--json", "--city", "deep/town"))
    assert (len(nodes), {node["domain"] for node in nodes}) == (9, {"district 1", "district 2"})
    assert sum(node["delegate"] for node in nodes) == 4


@pytest.mark.parametrize("engine", ["abba", "dpos"])
def test_init_chooses_the_engine(cli: Any, engine: str) -> None:
    said = cli.good("init", "town", "--nodes", "4", "-k", "2", "-n", "4", "--engine", engine)
    assert f"engine {engine}" in said
    (cli.folder / "a").write_bytes(b"a")
    (sent,) = objects(cli.good("--city", "town", "send", "a", "--json"))
    (verified,) = objects(cli.good("--city", "town", "verify", sent["receipt"], "--json"))
    assert verified["engine"] == engine


def test_init_refuses_an_engine_that_is_none(cli: Any) -> None:
    assert "engine = 'raft'" in cli.bad("init", "town", "--engine", "raft")


# --- elect -----------------------------------------------------------------------------------------------------------


def test_epochs_begin_from_the_shell_and_receipts_of_all_verify(cli: Any) -> None:
    cli.good("init", "town", "--nodes", "6", "--validators", "4", "-k", "2", "-n", "4")
    (cli.folder / "a").write_bytes(b"a")
    cli.good("--city", "town", "send", "a")
    (first,) = objects(cli.good("--city", "town", "elect", "--json"))
    assert (first["epoch"], first["height"], len(first["delegates"])) == (1, 1, 4)
    ids = [node["id"] for node in objects(cli.good("--city", "town", "nodes", "--json"))]
    said = cli.good("--city", "town", "elect", "--node", ids[5][:12], "--node", ids[0])
    assert "epoch 2 begins after height 1" in said
    assert {line.strip() for line in said.splitlines()[1:]} == {ids[0], ids[5]}
    anchor = Trust.from_bytes((cli.folder / "town" / "trust.anchor").read_bytes())
    assert [number for number, _ in anchor.epochs] == [0, 1, 2]
    (cli.folder / "b").write_bytes(b"b")
    cli.good("--city", "town", "send", "b")
    assert len(objects(cli.good("verify", "town/receipts", "--trust", "town/trust.anchor", "--json"))) == 2
    assert "there is no node" in cli.bad("--city", "town", "elect", "--node", "00000000")
    assert "delegates" in cli.bad("--city", "town", "elect", "--delegates", "7")


def test_init_says_what_the_library_warns_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(_: object) -> None:
        raise UnavailableError("dealings: needed 3, had 1", 3, 1)

    monkeypatch.setattr(KeyMaker, "make", none)
    assert main(["init", str(tmp_path / "town")]) == 0
    said = capsys.readouterr().err
    assert said.startswith("city-chain: the city has no threshold keys now: dealings: needed 3, had 1; they are made")
    assert Trust.from_bytes((tmp_path / "town" / "trust.anchor").read_bytes()).city_key is None


def test_the_anchor_follows_the_city(cli: Any) -> None:
    cli.good("init", "town", "--nodes", "8", "-k", "2", "-n", "5")
    anchor = cli.folder / "town" / "trust.anchor"
    first = anchor.read_bytes()
    with City.open(cli.folder / "town" / "city.db") as town:
        town.elect(4)
        (cli.folder / "later").write_bytes(town.send(b"later").to_bytes())
        trust = town.trust
    assert "a newer trust anchor may have it" in cli("verify", "later", "--trust", "town/trust.anchor").stdout.decode()
    older = Trust(trust.network, Trust.from_bytes(first).epochs)  # as one from before there were keys
    for kept in (first, older.to_bytes()):
        anchor.write_bytes(kept)
        cli.good("--city", "town", "nodes")
        assert Trust.from_bytes(anchor.read_bytes()) == trust
    cli.good("verify", "later", "--trust", "town/trust.anchor")
    for other in (Trust(bytes(32), trust.epochs).to_bytes(), Trust(trust.network, [(0, bytes(32))]).to_bytes(), b"?"):
        anchor.write_bytes(other)  # which is not of this city, and is left as it is
        cli.good("--city", "town", "nodes")
        assert anchor.read_bytes() == other


def test_init_in_json(cli: Any) -> None:
    (made,) = objects(cli.good("--json", "init", "town", "--validators", "1"))
    assert (made["city"], made["trust"], made["nodes"], made["validators"]) == ("town", "town/trust.anchor", 20, 1)
    assert len(bytes.fromhex(made["network"])) == 32


# --- send and receive ------------------------------------------------------------------------------------------------


def test_files_come_back_as_they_were(cli: Any, town: Path) -> None:
    contents = {"empty": b"", "one": b"\x00", "some text": b"Dear city,\n" * 100, "large": os.urandom(700_000)}
    for name, data in contents.items():
        (cli.folder / name).write_bytes(data)
    lines = cli.good("--city", "town", "send", *contents).splitlines()
    assert [line.split("  ")[1] for line in lines] == list(contents)
    for line, (name, data) in zip(lines, contents.items(), strict=True):
        tx_id, _, receipt = line.split("  ")
        assert receipt == f"town/receipts/{tx_id}.receipt"
        assert (cli.folder / receipt).is_file()
        cli.good("--city", "town", "receive", tx_id, "-o", f"{name}.back")
        assert (cli.folder / f"{name}.back").read_bytes() == data
    assert [path.name for path in town.rglob("*.part")] == []


def test_send_in_json(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    names = files(70)  # more than travel together
    sent = objects(cli.good("send", *names, "--json", "--city", town))
    assert [entry["file"] for entry in sent] == names
    assert all(set(entry) == {"tx_id", "file", "receipt"} for entry in sent)
    assert len({entry["tx_id"] for entry in sent}) == 70
    assert all(Path(entry["receipt"]).name == f"{entry['tx_id']}.receipt" for entry in sent)


def test_send_in_the_current_folder_and_from_stdin(cli: Any, town: Path) -> None:
    cli.folder = town
    (line,) = cli.good("send", "-", stdin=b"from a pipe").splitlines()
    tx_id, name, receipt = line.split("  ")
    assert (name, receipt) == ("-", f"receipts/{tx_id}.receipt")
    assert cli("receive", tx_id).stdout == b"from a pipe"


def test_equal_files_are_two_transactions(cli: Any, town: Path) -> None:
    (cli.folder / "a").write_bytes(b"twice")
    first, second = (entry["tx_id"] for entry in objects(cli.good("--city", "town", "send", "--json", "a", "a")))
    assert first != second
    assert cli("--city", "town", "receive", second).stdout == b"twice"


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_a_name_that_is_no_text_stays_on_one_line(cli: Any, town: Path) -> None:
    (cli.folder / "two\nlines").write_bytes(b"1")
    (cli.folder / os.fsdecode(b"\xff")).write_bytes(b"2")
    lines = cli.good("--city", "town", "send", "two\nlines", os.fsdecode(b"\xff")).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["two\\nlines", "\\udcff"]


def test_receive_by_the_start_of_the_id(cli: Any, town: Path) -> None:
    (sent,) = objects(cli.good("--city", "town", "send", "--json", "-", stdin=b"short"))
    assert cli("--city", "town", "receive", sent["tx_id"][:8].upper()).stdout == b"short"
    (got,) = objects(cli.good("--city", "town", "receive", "--json", sent["tx_id"][:9], "-o", "out"))
    assert got == {"tx_id": sent["tx_id"], "file": "out", "bytes": 5}


def test_receive_writes_over_a_file_only_when_told(cli: Any, town: Path) -> None:
    tx_id = cli.good("--city", "town", "send", "-", stdin=b"new").split()[0]
    target = cli.folder / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    assert "out is there already" in cli.bad("--city", "town", "receive", tx_id, "-o", "out")
    assert target.read_bytes() == b"old"
    cli.good("--city", "town", "receive", tx_id, "-o", "out", "--force")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="needs /dev/null and links")
def test_receive_into_a_device_and_through_a_link(cli: Any, town: Path) -> None:
    tx_id = cli.good("--city", "town", "send", "-", stdin=b"data").split()[0]
    cli.good("--city", "town", "receive", tx_id, "-o", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (cli.folder / "link").symlink_to("target")
    cli.good("--city", "town", "receive", tx_id, "-o", "link")
    assert (cli.folder / "link").is_symlink()
    assert (cli.folder / "target").read_bytes() == b"data"


# --- verify ----------------------------------------------------------------------------------------------------------


def test_verify_needs_only_receipt_and_anchor(
    cli: Any, town: Path, tmp_path_factory: pytest.TempPathFactory, files: Callable[[int], Sequence[str]]
) -> None:
    sent = objects(cli.good("--city", "town", "send", "--json", *files(3)))
    apart = tmp_path_factory.mktemp("apart")
    shutil.copytree(town / "receipts", apart / "receipts")
    shutil.copy(town / "trust.anchor", apart / "anchor")
    shutil.rmtree(town)
    cli.folder = apart
    said = cli.good("verify", "--trust", "anchor", *(f"receipts/{entry['tx_id']}.receipt" for entry in sent))
    assert [line.split()[0] for line in said.splitlines()] == ["ok"] * 3
    verdicts = objects(cli.good("verify", "--json", "--trust", "anchor", "receipts"))
    assert {verdict["tx_id"] for verdict in verdicts} == {entry["tx_id"] for entry in sent}
    assert all(verdict["ok"] and verdict["height"] == 1 for verdict in verdicts)


@pytest.mark.parametrize("where", [".", "receipts"])
def test_verify_finds_the_anchor(cli: Any, town: Path, where: str) -> None:
    receipt = Path(cli.good("--city", "town", "send", "-", stdin=b"x").split()[2])
    cli.good("--city", "town", "verify", receipt)  # in the city's folder
    cli.good("verify", receipt)  # above the receipt
    (town / "trust.anchor").rename(town / where / "trust.anchor")
    cli.good("verify", receipt)  # beside it
    (town / where / "trust.anchor").unlink()
    assert "trust.anchor" in cli.bad("verify", receipt)
    cli.good("--city", "town", "nodes")  # opening the city brings it back
    cli.good("verify", receipt)


# --- health, repair, nodes -------------------------------------------------------------------------------------------


def test_stopped_nodes_are_missed_and_repaired(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    sent = objects(cli.good("--city", "town", "send", "--json", *files(12)))
    assert "12 transactions: 12 whole; redundancy 100.0%" in cli.good("--city", "town", "health")
    holders = [node["id"] for node in objects(cli.good("--city", "town", "nodes", "--json")) if not node["delegate"]]
    stops = [word for node in holders[:2] for word in ("--stop", node[:8])]
    assert cli.good("--city", "town", "nodes", *stops).count("stopped") == 2
    assert sum(not node["running"] for node in objects(cli.good("--city", "town", "nodes", "--json"))) == 2
    *rows, total = objects(cli("--city", "town", "health", "--json").stdout.decode())
    assert {row["tx_id"] for row in rows} == {entry["tx_id"] for entry in sent}
    assert total["transactions"] == 12
    assert total["redundancy"] < 1
    assert any(row["bad"] for row in rows)
    (report,) = objects(cli.good("--city", "town", "repair", "--json"))
    assert report["checked"] == 12
    assert report["repaired"] == sum(bool(row["bad"]) for row in rows)
    assert report["errors"] == {}
    assert "12 whole" in cli.good("--city", "town", "health")
    assert cli.good("--city", "town", "nodes", "--start", holders[0], "--start", holders[1]).count("stopped") == 0


def test_health_fails_below_the_quorum(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    cli.good("--city", "town", "send", *files(5))
    holders = [node["id"] for node in objects(cli.good("--city", "town", "nodes", "--json")) if not node["delegate"]]
    cli.good("--city", "town", "nodes", *(word for node in holders[:5] for word in ("--stop", node)))
    done = cli("--city", "town", "health")
    assert done.returncode == 1
    assert b"degraded" in done.stdout


def test_health_of_some_transactions(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    sent = objects(cli.good("--city", "town", "send", "--json", *files(3)))
    first, _, third = (entry["tx_id"] for entry in sent)
    *rows, total = objects(cli.good("--city", "town", "health", "--json", first[:10], third, third))
    assert {row["tx_id"] for row in rows} == {first, third}
    assert total["transactions"] == 2


def test_repair_writes_missing_and_damaged_receipts(
    cli: Any, town: Path, files: Callable[[int], Sequence[str]]
) -> None:
    receipts = [Path(entry["receipt"]) for entry in objects(cli.good("--city", "town", "send", "--json", *files(3)))]
    before = [(cli.folder / receipt).read_bytes() for receipt in receipts]
    (cli.folder / receipts[0]).unlink()
    (cli.folder / receipts[1]).write_bytes(before[1][:100])
    (report,) = objects(cli.good("--city", "town", "repair", "--json"))
    assert report["receipts"] == 2
    assert [(cli.folder / receipt).read_bytes() for receipt in receipts] == before


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_without_a_city(cli: Any) -> None:
    (found,) = objects(cli.good("doctor", "--json"))
    assert found["city"] == {"folder": str(cli.folder), "found": False}
    assert found["storage"]["durable"] is True
    assert (found["storage"]["journal_mode"], found["storage"]["synchronous"]) == ("wal", "FULL")
    assert found["storage"]["disk_honours_syncs"] is None
    assert found["wrong"] == []
    assert list(cli.folder.iterdir()) == []


def test_doctor_of_a_city_that_is_in_use(cli: Any, town: Path) -> None:
    with City.open(town / "city.db") as city:
        (found,) = objects(cli.good("doctor", "--json", "--city", "town"))
        assert found["city"]["network"] == city.network.hex()
    assert (found["city"]["nodes"], found["city"]["delegates"]) == (8, 1)
    assert found["city"]["trust_anchor_there"] is True
    said = cli.good("doctor", "--city", "town")
    assert {"versions", "machine", "storage", "city", "clock"} <= set(said.splitlines())
    assert "unknown" in said


def test_doctor_says_unknown_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert doctor._cpu_features(tmp_path / "absent") is None
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu avx2 ssse3\n")
    assert doctor._cpu_features(tmp_path / "cpuinfo") == ["ssse3", "avx2"]
    assert doctor._shown("x", None) == "unknown"
    assert doctor._shown("time_servers", ["a: right", "b: false"]).split("\n") == ["a: right", f"{'':<26}b: false"]
    assert doctor._shown("hardware_clocks", []) == "none"
