"""The command line among other processes: readers that go away, Ctrl-C, kills, two at once, terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")]

MANY = 1500


def committed(town: Path) -> set[str]:
    """What the city holds, by the city itself."""
    with City.open(town / "city.db") as city:
        return {tx_id.hex() for tx_id in city.tx_ids()}


def kept(town: Path) -> set[str]:
    """What there are receipts of."""
    return {path.stem for path in (town / "receipts").glob("*.receipt")}


def test_a_reader_that_goes_away(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    process = cli.start("--city", "town", "send", "--json", *files(MANY))
    first = json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()
    assert first["tx_id"] in kept(town)
    assert kept(town) == committed(town)
    assert len(kept(town)) < MANY
    cli.good("--city", "town", "verify", "town/receipts")


@pytest.mark.parametrize("words", [["doctor"], ["--city", "town", "nodes", "--json"], ["verify", "town/receipts"]])
def test_a_reader_that_is_not_there(
    cli: Any, town: Path, files: Callable[[int], Sequence[str]], words: list[str]
) -> None:
    cli.good("--city", "town", "send", *files(3))
    read, write = os.pipe()
    os.close(read)
    process = cli.start(*words, stdout=write)
    os.close(write)
    assert (process.communicate()[1], process.returncode) == (b"", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    with open("/dev/full", "wb") as full:
        process = cli.start("--city", "town", "send", *files(3), stdout=full)
    said = process.communicate()[1].decode()
    assert process.returncode == 1
    assert said == "city-chain: stdout: No space left on device\n"
    assert len(kept(town)) == len(committed(town)) == 3


def test_every_line_comes_at_once(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    os.mkfifo(cli.folder / "pipe")
    names = files(64)
    process = cli.start("--city", "town", "send", "--json", *names, "pipe", names[0])
    lines = [json.loads(process.stdout.readline()) for _ in names]  # while the 65th file cannot be read yet
    assert process.poll() is None
    assert all((cli.folder / line["receipt"]).is_file() for line in lines)
    (cli.folder / "pipe").write_bytes(b"late")
    rest, said = process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert [json.loads(line)["file"] for line in rest.splitlines()] == ["pipe", names[0]]


def test_ctrl_c_in_the_middle(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    process = cli.start("--city", "town", "send", "--json", *files(MANY))
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate()
    assert process.returncode == 130, said
    sent = {json.loads(line)["tx_id"] for line in [first, *rest.splitlines()]}
    assert f"{len(sent)} of {MANY} files committed, 0 failed, {MANY - len(sent)} not begun" in said.decode()
    assert b"Traceback" not in said
    assert len(sent) < MANY
    assert sent == kept(town) == committed(town)


def test_ctrl_c_twice(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    process = cli.start("--city", "town", "send", "--json", *files(MANY))
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate()
    assert process.returncode == 130, said
    assert b" files committed, " in said
    assert b"Traceback" not in said
    lines = [first, *rest.splitlines()]
    sent = {json.loads(line)["tx_id"] for line in lines}
    assert sent <= kept(town)
    assert cli("--city", "town", "repair").returncode == 0
    assert sent <= kept(town) == committed(town)
    cli.good("--city", "town", "verify", "town/receipts")


def test_ctrl_c_while_stdin_is_awaited(cli: Any, town: Path) -> None:
    (cli.folder / "a").write_bytes(b"1")
    read, write = os.pipe()
    process = cli.start("--city", "town", "send", "a", "-", stdin=read)
    os.close(read)
    assert process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    os.close(write)
    assert process.returncode == 130
    assert b"1 of 2 files committed, 0 failed, 1 not begun" in said


def test_ctrl_c_elsewhere(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    cli.good("--city", "town", "send", *files(3))
    process = cli.start("verify", "--json", *["town/receipts"] * 2000)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (130, b"city-chain: interrupted\n")


def test_kill_in_the_middle(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    process = cli.start("--city", "town", "send", "--json", *files(MANY))
    lines = [process.stdout.readline() for _ in range(100)]
    process.kill()
    lines += process.communicate()[0].splitlines(keepends=True)
    sent = {json.loads(line)["tx_id"] for line in lines if line.endswith(b"\n")}
    assert sent <= kept(town)
    done = cli("--city", "town", "repair")
    assert done.returncode == 0
    assert done.stderr == b"" or b"opening the city found unfinished sends: " in done.stderr
    assert sent <= kept(town) == committed(town)
    assert len(cli.good("--city", "town", "verify", "town/receipts").splitlines()) == len(kept(town))


def test_two_sends_at_once(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    names = files(MANY)
    processes = [cli.start("--city", "town", "send", "--json", *part) for part in (names[:700], names[700:])]
    outputs = [process.communicate() for process in processes]
    sent = [json.loads(line)["tx_id"] for output, _ in outputs for line in output.splitlines()]
    assert len(set(sent)) == len(sent)
    assert set(sent) == kept(town) == committed(town)
    assert 0 in [process.returncode for process in processes]
    for process, (output, said) in zip(processes, outputs, strict=True):
        if process.returncode:  # it waited, and then said why it gave up
            assert (output, process.returncode) == (b"", 1)
            assert b"is open in another process" in said


def test_progress_is_for_terminals(cli: Any, town: Path, files: Callable[[int], Sequence[str]]) -> None:
    names = files(MANY)
    ours, theirs = os.openpty()
    process = cli.start("--city", "town", "send", "--json", *names, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.wait() == 0
    assert b"sending  " in seen
    assert f"/{MANY:,}".encode() in seen
    assert seen.endswith(b"\r\x1b[K")
    assert cli.good("--city", "town", "health", "--json")  # `good` wants nothing on stderr where it is no terminal
