"""The command line tells what to do: about stopped nodes, full disks, modes of files, pipes that are waited for."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City
from city_chain.cli.parser import FILE_BYTES_MAX
from city_chain.cli.reasons import brief, why
from city_chain.errors import InputError, UnavailableError

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name == "nt", reason="modes of files, pipes, shells of POSIX")]

NODES = "city-chain nodes shows which nodes are stopped, nodes --start ID starts one"


# --- reasons ---------------------------------------------------------------------------------------------------------


def test_a_long_list_of_reasons_is_cut_between_two() -> None:
    full = "writing city.db failed: the disk is full; free some space and try again"
    message = f"acks: needed 8, had 0 ({'; '.join(f'fragment {at}: refused: {full}' for at in range(4))}; and 6 more)"
    assert brief(message).startswith(f"acks: needed 8, had 0 (fragment 0: refused: {full}; fragment 1: ")
    assert brief(message).endswith("; …)")
    assert len(brief(message)) < 250
    assert len(brief("x" * 10_000)) < 250


def test_an_error_tells_its_notes_and_what_comes_next() -> None:
    error = UnavailableError("delegate 2d64cf4d is not logged in", 1, 0)
    error.add_note("in stage 's5_commit' of pipeline 'sending'")
    error.add_note("the transaction is journalled and may still be committed")
    said = why(error)
    assert said == (
        "delegate 2d64cf4d is not logged in; the transaction is journalled and may still be committed; "
        f"the next command that opens the city finishes it, or reports it; {NODES}"
    )


def test_the_largest_file_is_the_largest_payload() -> None:
    with City.local(nodes=4, validators=1, k=2, n=4) as city:
        assert len(city.transaction(bytes(FILE_BYTES_MAX)).payload) == FILE_BYTES_MAX
        with pytest.raises(InputError):
            city.transaction(bytes(FILE_BYTES_MAX + 1))


# --- what is waited for ----------------------------------------------------------------------------------------------


def test_the_city_is_free_while_a_pipe_is_awaited(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    os.mkfifo(cli.folder / "pipe")
    process = cli.start("--city", "town", "send", "--json", *files(3), "pipe", "file0000.txt")
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert len(lines) == 3
    cli.good("--city", "town", "nodes")  # while `send` waits for the pipe
    (cli.folder / "pipe").write_bytes(b"late")
    rest, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert [json.loads(line)["file"] for line in rest.splitlines()] == ["pipe", "file0000.txt"]


def test_the_city_is_free_while_stdin_is_awaited(cli: Any, town: Path) -> None:
    process = cli.start("--city", "town", "send", "-", stdin=subprocess.PIPE)
    time.sleep(0.5)
    with City.open(town / "city.db"):
        pass
    assert process.communicate(b"late", timeout=60)[1] == b""
    assert process.returncode == 0


def test_without_a_city_nothing_is_awaited(cli: Any) -> None:
    process = cli.start("send", "-", stdin=subprocess.PIPE)
    assert process.wait(timeout=60) == 1
    _, said = process.communicate()
    assert b"there is no city in the current folder" in said


def test_who_takes_the_city_meanwhile_is_told_with_what_was_not_sent(cli: Any, town: Path) -> None:
    (cli.folder / "first").write_bytes(b"1")
    process = cli.start("--city", "town", "send", "first", "-", "first", stdin=subprocess.PIPE)
    assert process.stdout.readline()
    time.sleep(0.3)
    with City.open(town / "city.db"):
        _, said = process.communicate(b"late", timeout=60)
    left, open_ = said.decode().splitlines()
    assert process.returncode == 1
    assert left == "city-chain: 2 of 3 files were not sent"
    assert "is open in another process" in open_


# --- stopped nodes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def still_town(cli: Any, town: Path) -> Path:
    """A city with one transaction and no running node."""
    cli.good("--city", "town", "send", "-", stdin=b"letter")
    nodes = [json.loads(line)["id"] for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    cli.good("--city", "town", "nodes", *(word for node in nodes for word in ("--stop", node)))
    return town


def test_health_has_its_table_even_if_no_node_runs(cli: Any, still_town: Path) -> None:
    done = cli("--city", "town", "health")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (1, b"")
    assert lines[0] == "1 transactions: 1 lost; redundancy 0.0%"
    assert "  lost   0/6" in lines[2]
    assert lines[-1] == "8 of 8 nodes are stopped: city-chain nodes lists them, nodes --start ID starts one"
    row, total = (json.loads(line) for line in cli("--city", "town", "health", "--json").stdout.splitlines())
    assert (row["state"], row["good"], sorted(row["bad"])) == ("lost", 0, [str(at) for at in range(6)])
    assert (total["transactions"], total["lost"], total["redundancy"]) == (1, 1, 0)


def test_where_no_node_runs_it_is_said_how_to_start_one(cli: Any, still_town: Path) -> None:
    (receipt,) = (still_town / "receipts").iterdir()
    for words in (["receive", receipt.stem], ["send", "-"]):
        assert cli.bad("--city", "town", *words).endswith(f"; {NODES}\n")


def test_what_cannot_be_repaired_says_that_nodes_are_stopped(cli: Any, town: Path) -> None:
    cli.good("--city", "town", "send", "-", stdin=b"letter")
    nodes = [json.loads(line) for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    holders = [node["id"] for node in nodes if not node["delegate"]][:6]
    cli.good("--city", "town", "nodes", *(word for node in holders for word in ("--stop", node)))
    done = cli("--city", "town", "repair")
    error, advice = done.stderr.decode().splitlines()
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    assert "needed " in error
    assert advice.startswith("city-chain: 6 of 8 nodes are stopped: city-chain nodes lists them")


# --- files that cannot be written or read ----------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_file(cli: Any, town: Path) -> None:
    tx_id = cli.good("--city", "town", "send", "-", stdin=b"letter").split()[0]
    assert cli.bad("--city", "town", "receive", tx_id, "-o", "/dev/full") == (
        "city-chain: /dev/full: No space left on device\n"
    )


def test_modes_that_forbid(cli: Any, town: Path) -> None:
    (cli.folder / "probe").touch(0)
    if os.access(cli.folder / "probe", os.R_OK):
        pytest.skip("this user may read and write everything")
    cli.good("--city", "town", "send", "-", stdin=b"letter")
    for name, said in (("city.db", "its mode is 000"), ("city.db-owner", "its mode is 000")):
        mode = (town / name).stat().st_mode
        (town / name).chmod(0)
        assert said in cli.bad("--city", "town", "nodes")
        (town / name).chmod(mode)
    (town / "receipts").chmod(0o300)
    assert cli.bad("verify", "town/receipts") == "city-chain: town/receipts: Permission denied\n"
    (town / "receipts").chmod(0o700)


def test_a_lock_that_is_a_folder_is_named(cli: Any, town: Path) -> None:
    (town / "city.db-owner").unlink()
    (town / "city.db-owner").mkdir()
    said = cli.bad("--city", "town", "nodes")
    assert "city.db-owner" in said
    assert "its folder must exist and let this user make files in it" in said


def test_a_receipt_that_is_not_there(cli: Any) -> None:
    assert cli.bad("verify", "absent.receipt") == "city-chain: absent.receipt: No such file or directory\n"


def test_the_anchor_beside_a_folder_of_receipts_comes_before_the_one_here(cli: Any, town: Path) -> None:
    cli.good("init", "other", "--nodes", "8", "--validators", "1", "-k", "2", "-n", "6")
    cli.good("--city", "town", "send", "-", stdin=b"letter")
    (cli.folder / "shown").mkdir()
    (town / "receipts").rename(cli.folder / "shown" / "proofs")
    (town / "trust.anchor").rename(cli.folder / "shown" / "trust.anchor")
    cli.folder = cli.folder / "other"
    cli.good("verify", "../shown/proofs")
