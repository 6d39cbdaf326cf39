"""What the command line says when it cannot do what is asked: one or two lines on stderr, and a status that tells."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from city_chain import City
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.cli.console import Console
from city_chain.cli.place import Place, find_id
from city_chain.errors import InputError

pytestmark = pytest.mark.e2e

ACTS = [["send", "x"], ["receive", "00" * 32], ["health"], ["repair"], ["nodes"]]


@pytest.fixture
def receipt(cli: Any, town: Path) -> Path:
    """The file of a receipt."""
    return cli.folder / cli.good("--city", "town", "send", "-", stdin=b"letter").split()[2]


# --- the command line itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [[], ["nosuch"], ["send"], ["receive"], ["verify"], ["init"], ["init", "x", "--nodes", "many"], ["health", "--no"]],
)
def test_usage(cli: Any, words: list[str]) -> None:
    done = cli(*words)
    assert done.returncode == 2
    assert b"usage: city-chain" in done.stderr


def test_json_and_a_payload_do_not_share_stdout(cli: Any, town: Path) -> None:
    done = cli("--city", "town", "receive", "00" * 32, "--json")
    assert done.returncode == 2
    assert b"-o FILE" in done.stderr


# --- the city --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ACTS, ids=lambda words: words[0])
def test_no_city(cli: Any, words: list[str]) -> None:
    assert "there is no city in the current folder" in cli.bad(*words)
    assert "nowhere does not exist" in cli.bad("--city", "nowhere", *words)
    (cli.folder / "file").touch()
    assert "file is not a folder" in cli.bad("--city", "file", *words)
    assert [path.name for path in cli.folder.iterdir()] == ["file"]


@pytest.mark.parametrize("words", ACTS, ids=lambda words: words[0])
def test_another_process_has_the_city_open(cli: Any, town: Path, words: list[str]) -> None:
    with City.open(town / "city.db"):
        assert "is open in another process" in cli.bad("--city", "town", *words)


@pytest.mark.parametrize("words", ACTS, ids=lambda words: words[0])
def test_a_city_of_a_newer_version(cli: Any, town: Path, words: list[str]) -> None:
    with SqliteStorage(town / "city.db") as storage:
        (row,) = storage.get_many([b"csettings"])
        assert row is not None
        storage.put_many({b"csettings": orjson.dumps({**orjson.loads(row), "version": 99})})
    assert "use a newer city-chain" in cli.bad("--city", "town", *words)
    assert "use a newer city-chain" in cli.bad("--city", "town", "doctor")


def test_a_file_of_a_newer_version(cli: Any, town: Path) -> None:
    connection = sqlite3.connect(town / "city.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "format version 99" in cli.bad("--city", "town", "health")
    assert "format version 99" in cli.bad("--city", "town", "doctor")


def test_a_file_that_is_no_city(cli: Any) -> None:
    (cli.folder / "city.db").write_bytes(os.urandom(8192))
    assert "not a SQLite database" in cli.bad("health")
    assert "not a SQLite database" in cli.bad("doctor")


def test_what_the_library_logs_is_marked_as_ours(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("city_chain.levels")
    with Place(str(town)).open(Console()):
        log.warning("an index was not written: %s", "the disk is full")
    log.warning("no command is under way")
    assert capsys.readouterr().err == "city-chain: an index was not written: the disk is full\n"


def test_debug_shows_where_an_error_came_from(cli: Any) -> None:
    done = cli("health", CITY_CHAIN_DEBUG="1")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_where_there_is_a_city(cli: Any, town: Path) -> None:
    before = (town / "city.db").read_bytes()
    assert "there is a city in town already" in cli.bad("init", "town")
    assert (town / "city.db").read_bytes() == before


def _empty_file(path: Path) -> None:
    path.touch()


def _blank_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    assert path.stat().st_size > 0


def _storage_without_a_city(path: Path) -> None:
    SqliteStorage(path).close()


@pytest.mark.parametrize("left", [_empty_file, _blank_database, _storage_without_a_city])
def test_an_interrupted_init_is_completed_by_the_next(cli: Any, left: Callable[[Path], None]) -> None:
    (cli.folder / "town").mkdir()
    left(cli.folder / "town" / "city.db")
    for words in [*ACTS, ["doctor"]]:
        said = cli.bad("--city", "town", *words)
        assert "city-chain init DIR" in said
        assert "open it with" not in said
    assert "made the city" in cli.good("init", "town", "--nodes", "8", "--validators", "1", "-k", "2", "-n", "6")
    cli.good("--city", "town", "verify", cli.good("--city", "town", "send", "-", stdin=b"1").split()[2])


def test_a_folder_without_a_name_is_not_the_current_one(cli: Any) -> None:
    for words in (
        ["init", ""],
        ["--city", "", "health"],
        ["health", "--city", ""],
        ["demo", "--keep", ""],
        ["demo", ""],
    ):
        done = cli(*words)
        assert done.returncode == 2
        assert b"the name is empty" in done.stderr
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nodes", "0"], "nodes = 0"),
        (["-k", "11"], "k = 11, n = 10"),
        (["--nodes", "7"], "needs acks of 8 nodes"),
        (["--validators", "21"], "only 20 nodes"),
        (["--name", ""], "name"),
    ],
)
def test_init_with_settings_that_cannot_be(cli: Any, options: list[str], said: str) -> None:
    assert said in cli.bad("init", "town", *options)
    assert list(cli.folder.iterdir()) == []


def test_init_under_a_file(cli: Any) -> None:
    (cli.folder / "file").touch()
    assert "Not a directory" in cli.bad("init", "file/town")
    assert "File exists" in cli.bad("init", "file")


# --- send ------------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_stops_no_other(cli: Any, town: Path) -> None:
    (cli.folder / "good").write_bytes(b"1")
    (cli.folder / "fine").write_bytes(b"2")
    with (cli.folder / "huge").open("wb") as file:
        file.truncate((64 << 20) + 1)
    done = cli("--city", "town", "send", "--json", "absent", "good", "town", "huge", "fine")
    assert done.returncode == 1
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == ["good", "fine"]
    absent, folder, huge = done.stderr.decode().splitlines()
    assert absent == "city-chain: absent: No such file or directory"
    assert folder.startswith("city-chain: town: ")
    assert "huge: has more than 64 MiB" in huge


def test_receipts_that_cannot_be_written(cli: Any, town: Path) -> None:
    shutil.rmtree(town / "receipts")
    (town / "receipts").write_bytes(b"a file where a folder should be")
    said = cli.bad("--city", "town", "send", "-", stdin=b"kept all the same")
    assert "committed as " in said
    assert "receipt could not be written" in said
    tx_id = said.partition("committed as ")[2][:64]
    (town / "receipts").unlink()
    cli.good("--city", "town", "repair")
    cli.good("--city", "town", "verify", f"town/receipts/{tx_id}.receipt")
    assert cli("--city", "town", "receive", tx_id).stdout == b"kept all the same"


def test_a_file_without_a_name(cli: Any, town: Path) -> None:
    assert cli.bad("--city", "town", "send", "") == "city-chain: '': the name is empty; name a file\n"


def test_no_delegate_to_commit(cli: Any, town: Path) -> None:
    nodes = [json.loads(line) for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    (delegate,) = (node["id"] for node in nodes if node["delegate"])
    cli.good("--city", "town", "nodes", "--stop", delegate)
    done = cli("--city", "town", "send", "-", stdin=b"waits for its delegate")
    (said,) = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (1, b"")
    assert "the transactions are journalled and may still be committed" in said
    assert "; the next command that opens the city finishes it, or reports it; city-chain nodes shows" in said
    assert len(said) <= 420
    cli("--city", "town", "nodes", "--start", delegate)
    assert b"found unfinished sends: 1 sends finished" in cli("--city", "town", "nodes").stderr


# --- closed streams --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("words", "closed", "said"),
    [
        ("send -", "<&-", "-: stdin is closed"),
        ("nodes", ">&-", "stdout is closed"),
        ("nodes --json", ">&-", "stdout is closed"),
        ("doctor", ">&-", "stdout is closed"),
    ],
)
def test_closed_streams(cli: Any, town: Path, words: str, closed: str, said: str) -> None:
    line = f'exec "$0" -m city_chain.cli --city town {words} {closed}'
    done = _shell(cli, line)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", f"city-chain: {said}\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_opening_that_takes_long_shows_a_sign_of_life_on_a_terminal(cli: Any, town: Path) -> None:
    ours, theirs = os.openpty()
    with City.open(town / "city.db"):  # the lock is waited for, two seconds
        process = cli.start("--city", "town", "nodes", stderr=theirs)
        os.close(theirs)
        assert process.communicate() == (b"", None)
    said = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert process.returncode == 1
    assert said[0].startswith("opening the city takes longer")
    assert said[1].startswith("city-chain: ")
    assert len(said) == 2


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_without_stderr_errors_do_not_go_to_stdout(cli: Any, town: Path) -> None:
    done = _shell(cli, 'exec "$0" -m city_chain.cli --city town send absent 2>&-')
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def _shell(cli: Any, line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", line, sys.executable],
        cwd=cli.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        timeout=60,
        check=False,
    )


# --- receive ---------------------------------------------------------------------------------------------------------


def test_unknown_ids(cli: Any, town: Path) -> None:
    for digits in ("00" * 32, "0" * 8):
        assert f"there is no transaction {digits} here" in cli.bad("--city", "town", "receive", digits)
        assert f"there is no transaction {digits} here" in cli.bad("--city", "town", "health", digits)
        assert f"there is no node {digits} here" in cli.bad("--city", "town", "nodes", "--stop", digits)
    for digits in ("0" * 7, "0" * 65, "x" * 8, "0x" + "0" * 8, "é" * 8, "-" * 8 + "0"):
        assert "8 to 64 hex digits" in cli.bad("--city", "town", "receive", "--", digits)


def test_an_id_that_several_start_with() -> None:
    ids = [bytes.fromhex("aabbccdd" + end * 28) for end in ("00", "01", "02")]
    with pytest.raises(InputError, match="several transactions' ids; give more digits"):
        find_id("aabbccdd", ids, "transaction")
    assert find_id("aabbccdd01", ids, "transaction") == ids[1]


def test_receive_where_nothing_can_be_written(cli: Any, town: Path, receipt: Path) -> None:
    tx_id = receipt.stem
    assert "nowhere/out: No such file" in cli.bad("--city", "town", "receive", tx_id, "-o", "nowhere/out")
    assert "town is a folder" in cli.bad("--city", "town", "receive", tx_id, "-o", "town")
    assert "Not a directory" in cli.bad("--city", "town", "receive", tx_id, "-o", f"{receipt}/out")


def test_too_few_nodes(cli: Any, town: Path, receipt: Path) -> None:
    ids = [json.loads(line)["id"] for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    cli.good("--city", "town", "nodes", *(word for node in ids[1:] for word in ("--stop", node)))
    assert "needed 2, had " in cli.bad("--city", "town", "receive", receipt.stem, "-o", "out")
    assert not (cli.folder / "out").exists()
    done = cli("--city", "town", "send", "-", stdin=b"nobody there")
    assert done.returncode == 1
    assert done.stdout == b""
    assert cli("--city", "town", "repair").returncode == 1


# --- verify ----------------------------------------------------------------------------------------------------------


def test_receipts_that_are_wrong(cli: Any, town: Path, receipt: Path) -> None:
    whole = receipt.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    for name, data in {"a": damaged, "b": whole[:-1], "c": b"", "d": whole + b"\0", "e": b"not a receipt"}.items():
        (cli.folder / name).write_bytes(data)
    words = ["--trust", "town/trust.anchor", "a", "b", "c", "d", "e", "absent", str(receipt)]
    done = cli("verify", "--json", *words)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["ok"] for verdict in verdicts] == [False] * 6 + [True]
    assert all(verdict["error"] for verdict in verdicts[:6])
    assert "6 of 7 receipts are wrong" in cli.bad("verify", *words)
    assert cli("verify", *words).stdout.decode().count("WRONG  ") == 6


def test_a_receipt_of_another_city(cli: Any, town: Path, receipt: Path) -> None:
    cli.good("init", "other", "--nodes", "8", "--validators", "1", "-k", "2", "-n", "6")
    done = cli("verify", receipt, "--trust", "other/trust.anchor")
    assert done.returncode == 1
    assert b"of network" in done.stdout
    assert "1 of 1 receipts are wrong" in cli.bad("--city", "other", "verify", receipt)


def test_anchors_that_are_none(cli: Any, town: Path, receipt: Path) -> None:
    assert "is no trust anchor" in cli.bad("verify", receipt, "--trust", receipt)
    assert "absent: No such file" in cli.bad("verify", receipt, "--trust", "absent")
    assert "without any *.receipt file" in cli.bad("verify", "--trust", "town/trust.anchor", ".")


# --- repair ----------------------------------------------------------------------------------------------------------


def test_repair_tells_what_it_did_before_a_receipt_stops_it(cli: Any, town: Path, receipt: Path) -> None:
    shutil.rmtree(town / "receipts")
    (town / "receipts").write_bytes(b"a file where a folder should be")
    done = cli("--city", "town", "repair")
    assert done.returncode == 1
    assert done.stdout.startswith(b"1 transactions checked, ")
    assert f"the receipt of {receipt.stem} could not be written: Not a directory" in done.stderr.decode()
    done = cli("--city", "town", "repair", "--json")
    assert (done.returncode, json.loads(done.stdout)["receipts"]) == (1, 0)
    (town / "receipts").unlink()
    assert "1 receipts that were missing" in cli.good("--city", "town", "repair")


def test_why_a_transaction_was_not_repaired_is_an_error(cli: Any, town: Path, receipt: Path) -> None:
    ids = [json.loads(line)["id"] for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    cli.good("--city", "town", "nodes", *(word for node in ids[1:] for word in ("--stop", node)))
    done = cli("--city", "town", "repair")
    assert done.returncode == 1
    assert receipt.stem not in done.stdout.decode()
    assert f"city-chain: {receipt.stem}: " in done.stderr.decode()


def test_the_receipts_folder_says_which_anchor(cli: Any, town: Path, receipt: Path) -> None:
    cli.good("init", ".", "--nodes", "8", "--validators", "1", "-k", "2", "-n", "6")  # another city, here
    cli.good("verify", receipt)
    (town / "trust.anchor").unlink()
    assert "1 of 1 receipts are wrong (trust anchor: trust.anchor)" in cli.bad("verify", receipt)


# --- recovery --------------------------------------------------------------------------------------------------------


def test_what_was_unfinished_is_told_even_if_its_receipt_cannot_be_written(cli: Any, town: Path) -> None:
    nodes = [json.loads(line) for line in cli.good("--city", "town", "nodes", "--json").splitlines()]
    (delegate,) = (node["id"] for node in nodes if node["delegate"])
    cli.good("--city", "town", "nodes", "--stop", delegate)
    assert cli("--city", "town", "send", "-", stdin=b"waits for its delegate").returncode == 1
    cli("--city", "town", "nodes", "--start", delegate)
    (town / "receipts").rmdir()
    (town / "receipts").write_bytes(b"a file where a folder should be")
    done = cli("--city", "town", "nodes")
    notice, error = done.stderr.decode().splitlines()
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 9)  # the city itself is all right
    assert "found unfinished sends: 1 sends finished" in notice
    assert error.endswith("Not a directory; city-chain repair writes the receipts when that is mended")
    (town / "receipts").unlink()
    cli.good("--city", "town", "repair")
    assert len(list((town / "receipts").iterdir())) == 1


def test_a_send_cut_off_before_is_told_and_its_receipt_kept(
    cli: Any, town: Path, files: Callable[[int], Sequence[str]]
) -> None:
    process = cli.start("--city", "town", "send", "--json", *files(600))
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.kill()
    process.communicate()
    done = cli("--city", "town", "nodes")
    assert done.returncode == 0
    assert done.stderr == b"" or b"found unfinished sends: " in done.stderr
    assert (cli.folder / first["receipt"]).is_file()
    assert cli("--city", "town", "repair").returncode == 0
    *sent, _ = cli.good("--city", "town", "health", "--json").splitlines()
    kept = {path.stem for path in (town / "receipts").glob("*.receipt")}
    assert kept == {json.loads(line)["tx_id"] for line in sent}
    assert len(cli.good("--city", "town", "verify", "town/receipts").splitlines()) == len(kept)
