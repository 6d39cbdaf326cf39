"""``city-chain ec`` on folders of real files: encoded, damaged, verified, repaired, restored, and what it says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from city_chain import ec
from city_chain.cli.parser import parse

pytestmark = pytest.mark.e2e


@pytest.fixture
def photos(cli: Any) -> Path:
    """A folder with files of many sizes at many depths, two of them alike."""
    folder: Path = cli.folder / "photos"
    for at, name in enumerate(["a.jpg", "b/c.jpg", "b/d e.txt", "empty/__init__.py", "__init__.py", "b/b/b/.hidden"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if path.suffix == ".py" else Random(at).randbytes(at * 40_000 + 1))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def damage(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# --- a folder, there and back ----------------------------------------------------------------------------------------


def test_a_folder_there_and_back(cli: Any, photos: Path) -> None:
    said = cli.good("ec", "encode", "photos", "-o", "backup")
    assert len(said.splitlines()) == 6
    root, file, folder = said.splitlines()[0].split("  ")
    assert (len(root), file, folder) == (64, "photos/__init__.py", "backup/photos/__init__.py.ec")
    (cli.folder / "roots").write_text(said)
    assert cli.good("ec", "verify", "backup", "--roots", "roots").count("whole  ") == 6
    for at, path in enumerate(sorted((cli.folder / "backup").rglob("*.ecf"))):
        if at % 10 in (1, 4):
            path.unlink()
        elif at % 10 in (3, 8):
            damage(path)
    cli.good("ec", "decode", "backup", "-o", "restored", "--roots", "roots")
    assert contents(cli.folder / "restored" / "photos") == contents(photos)
    done = cli("ec", "verify", "backup")
    assert done.returncode == 1
    assert done.stdout.count(b"degraded  ") == 6
    assert done.stderr == b"city-chain: 6 of 6 sets are not whole\n"
    assert "made anew: a.jpg.001.ecf, a.jpg.003.ecf, a.jpg.004.ecf, a.jpg.008.ecf" in cli.good("ec", "repair", "backup")
    assert cli.good("ec", "verify", "backup", "--roots", "roots").count("whole  ") == 6
    assert cli.good("ec", "repair", "backup").count(": nothing to do") == 6


def test_beside_the_files(cli: Any, photos: Path) -> None:
    before = contents(photos)
    cli.good("ec", "encode", "photos", "-k", "2", "-n", "3", "--no-sync")
    for name in before:
        (photos / name).unlink()
    cli.good("ec", "decode", "photos")
    assert {name: data for name, data in contents(photos).items() if not name.endswith(".ecf")} == before
    said = cli.bad("ec", "encode", "photos/a.jpg")
    assert said == "city-chain: photos/a.jpg.ec is there already; name another folder, or force to write over it\n"
    cli.good("ec", "encode", "photos", "--force", "-k", "1", "-n", "2")  # not the fragments of fragments
    assert names(photos / "a.jpg.ec") == ["a.jpg.000.ecf", "a.jpg.001.ecf"]


def test_parity_beside_the_originals(cli: Any, photos: Path) -> None:
    before = contents(photos)
    cli.good("ec", "encode", "photos", "--parity-only", "-k", "4", "-n", "6")
    assert names(photos / "a.jpg.ec") == ["a.jpg.004.ecf", "a.jpg.005.ecf"]
    assert cli.good("ec", "verify", "photos").count("whole  ") == 6
    damage(photos / "a.jpg", 0)
    damage(photos / "b" / "c.jpg", 20_000)
    done = cli("ec", "verify", "photos")
    assert b"degraded  photos/a.jpg.ec: 5 of 6 fragments are good, 1 B (fragment 0 damaged in 1 of 1" in done.stdout
    done = cli("ec", "repair", "photos")
    assert done.returncode == 1
    assert done.stderr.count(b"if it was changed on purpose encode it again, else force") == 2
    cli.good("ec", "repair", "photos", "--force")
    assert {name: data for name, data in contents(photos).items() if not name.endswith(".ecf")} == before
    (photos / "b" / "c.jpg").rename(cli.folder / "moved")
    assert cli("ec", "verify", "photos/b/c.jpg.ec").returncode == 1
    assert cli.good("ec", "verify", "photos/b/c.jpg.ec", "--original", "moved").startswith("whole  ")
    said = cli.bad("ec", "verify", "photos", "--original", "moved")
    assert said == "city-chain: --original moved: that is of one file, and there are 6 sets\n"


def test_a_set_that_was_spread_over_disks(cli: Any, photos: Path) -> None:
    cli.good("ec", "encode", "photos", "-o", "backup", "-k", "2", "-n", "4")
    for path in sorted((cli.folder / "backup").rglob("*.ecf")):
        place = cli.folder / f"disk{path.name[-5]}" / path.relative_to(cli.folder / "backup")
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    shutil.rmtree(cli.folder / "disk2")
    cli.good("ec", "decode", "disk3", "disk0", "-o", "restored")
    assert contents(cli.folder / "restored" / "photos") == contents(photos)
    lost = cli("ec", "decode", "disk1", "-o", "again")
    assert lost.returncode == 1
    assert b"a.jpg: needed 2 fragments, had 1 (missing: 0, 2, 3)" in lost.stderr
    assert [name for name in names(cli.folder / "again") if (cli.folder / "again" / name).is_file()] == [
        "photos/__init__.py",
        "photos/empty/__init__.py",
    ]
    one, two = (cli.folder / f"disk{at}" / "photos" / "a.jpg.ec" / f"a.jpg.00{at}.ecf" for at in (1, 3))
    one.rename(cli.folder / "x")
    assert cli.good("ec", "decode", "x", two).endswith("  a.jpg  1 bytes, 1 blocks made anew\n")
    assert (cli.folder / "a.jpg").read_bytes() == (photos / "a.jpg").read_bytes()


def test_files_alike_are_not_one(cli: Any, photos: Path) -> None:
    cli.good("ec", "encode", "photos", "-o", "backup")
    sets = list((cli.folder / "backup").rglob("__init__.py.ec"))
    assert len(sets) == 2
    assert len(cli.good("ec", "decode", *sets).splitlines()) == 2
    assert all((path.parent / "__init__.py").exists() for path in sets)


def test_files_alike_with_other_fragments_left_are_not_one(cli: Any, photos: Path) -> None:
    cli.good("ec", "encode", "photos", "-o", "backup", "-k", "2", "-n", "4")
    for place, gone in (("", (0, 1)), ("empty", (2, 3))):
        for at in gone:
            (cli.folder / "backup/photos" / place / "__init__.py.ec" / f"__init__.py.00{at}.ecf").unlink()
    cli.good("ec", "decode", "backup", "-o", "out")
    assert contents(cli.folder / "out" / "photos") == contents(photos)
    (cli.folder / "two").mkdir()
    (cli.folder / "backup/photos/empty").rename(cli.folder / "two" / "empty")
    said = cli.good("ec", "decode", "backup", "two", "-o", "again")
    assert {"again/photos/__init__.py", "again/empty/__init__.py"} <= {
        line.split("  ")[1] for line in said.splitlines()
    }


def test_loose_fragments_of_many_files_in_one_folder(cli: Any, photos: Path) -> None:
    cli.good("ec", "encode", "photos/a.jpg", "photos/b/c.jpg", "-o", "backup", "-k", "2", "-n", "3")
    (cli.folder / "box").mkdir()
    for path in (cli.folder / "backup").rglob("*.ecf"):
        path.rename(cli.folder / "box" / path.name)
    damage(cli.folder / "box" / "a.jpg.000.ecf", 9)  # of no version
    assert len(cli.good("ec", "decode", "box").splitlines()) == 2
    assert (cli.folder / "box" / "c.jpg").read_bytes() == (photos / "b" / "c.jpg").read_bytes()


# --- what is left out, refused, or wrong -----------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_links_and_special_files_are_left_out(cli: Any, photos: Path) -> None:
    (cli.folder / "secret").write_bytes(b"secret")
    (photos / "link").symlink_to(cli.folder / "secret")
    (photos / "up").symlink_to(cli.folder)
    (photos / "dangling").symlink_to("nowhere")
    os.mkfifo(photos / "pipe")
    done = cli("ec", "encode", "photos", "-o", "backup")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr.decode().splitlines() == [
        f"city-chain: photos/{name}: {what}, left out"
        for name, what in (("dangling", "a link"), ("link", "a link"), ("pipe", "no regular file"), ("up", "a link"))
    ]
    assert "photos/pipe is no regular file" in cli.bad("ec", "encode", "photos/pipe")


def test_what_cannot_be_encoded_does_not_keep_the_others(cli: Any, photos: Path) -> None:
    done = cli("ec", "encode", "nosuch", "photos/a.jpg", "-o", "backup")
    assert (done.returncode, done.stderr) == (1, b"city-chain: nosuch: No such file or directory\n")
    assert names(cli.folder / "backup")[0] == "a.jpg.ec"
    (cli.folder / "other").mkdir()
    (cli.folder / "other" / "a.jpg").write_bytes(b"other")
    done = cli("ec", "encode", "photos/b/c.jpg", "other/a.jpg", "photos/a.jpg", "-o", "two", "--force")
    assert done.stderr == b"city-chain: photos/a.jpg: two/a.jpg.ec was made for another file of this name\n"
    (cli.folder / "nothing").mkdir()
    assert cli.bad("ec", "encode", "nothing") == "city-chain: nothing holds no file to encode\n"
    (cli.folder / "occupied").write_bytes(b"x")
    assert "Not a directory" in cli.bad("ec", "encode", "photos/a.jpg", "-o", "occupied/deep") or os.name == "nt"
    assert not [name for name in names(cli.folder) if name.endswith(".part")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-k", "3", "-n", "2"], "-n 2: all fragments are at least as many as those that restore a file, -k 3"),
        (["-n", "257"], "-n 257: a file has at most 256 fragments"),
        (["-k", "0"], "-k 0: it takes at least one fragment to restore a file"),
        (["-k", "-1"], "-k -1: it takes at least one fragment to restore a file"),
        (["-k", "4", "-n", "4", "--parity-only"], "no parity fragment is left"),
    ],
)
def test_counts_that_cannot_be(cli: Any, photos: Path, words: list[str], said: str) -> None:
    before = names(cli.folder)
    assert said in cli.bad("ec", "encode", "photos", *words)
    assert names(cli.folder) == before


@pytest.mark.parametrize("words", [["ec"], ["ec", "nosuch"], ["ec", "encode"], ["ec", "decode", "x", "-o"]])
def test_usage(cli: Any, words: list[str]) -> None:
    done = cli(*words)
    assert done.returncode == 2
    assert b"usage: city-chain ec" in done.stderr


def test_help_teaches_with_examples_that_parse(cli: Any) -> None:
    shown = 0
    for words in (["ec"], *(["ec", action] for action in ("encode", "decode", "verify", "repair"))):
        for line in cli.good(*words, "--help").splitlines():
            if line.startswith("  city-chain ec"):
                parse(line.split(" > ")[0].split()[1:])
                shown += 1
    assert shown >= 10


def test_nothing_to_decode(cli: Any, photos: Path) -> None:
    assert cli.bad("ec", "decode", "nosuch") == "city-chain: nosuch: No such file or directory\n"
    assert cli.bad("ec", "verify", "photos") == "city-chain: photos holds no fragment file (*.ecf)\n"
    said = cli.bad("ec", "decode", "photos/a.jpg")
    assert said.startswith("city-chain: photos/a.jpg: no fragment file: it begins with ")
    assert "is there already" in _restored_twice(cli)


def _restored_twice(cli: Any) -> str:
    cli.good("ec", "encode", "photos/a.jpg", "-o", "backup")
    cli.good("ec", "decode", "backup", "-o", "out")
    (cli.folder / "out" / "a.jpg").write_bytes(b"mine")
    said: str = cli.bad("ec", "decode", "backup", "-o", "out")
    assert (cli.folder / "out" / "a.jpg").read_bytes() == b"mine"
    cli.good("ec", "decode", "backup", "-o", "out", "--force")
    return said


def test_a_lost_file_says_where_and_how_much(cli: Any, photos: Path) -> None:
    cli.good("ec", "encode", "photos/b/c.jpg", "-o", "backup", "-k", "2", "-n", "3")
    for path in sorted((cli.folder / "backup").rglob("*.ecf"))[:2]:
        damage(path)
    said = "c.jpg: stripe 0 of 1: needed 2 right blocks, had 1 (missing or damaged: 0, 1)"
    for action in (["decode", "backup", "-o", "out"], ["repair", "backup"]):
        assert said in cli.bad("ec", *action)
    assert not (cli.folder / "out").exists()
    done = cli("ec", "verify", "backup")
    assert done.returncode == 1
    assert done.stdout.startswith(b"lost  backup/c.jpg.ec: 1 of 3 fragments are good, 40.0 kB (fragment 0 damaged")
    assert b"stripe 0 of 1 has fewer than 2 right blocks" in done.stdout


def test_roots_tell_a_set_that_was_made_up(cli: Any, photos: Path) -> None:
    said = cli.good("ec", "encode", "photos/a.jpg", "photos/b/c.jpg", "-o", "backup")
    (cli.folder / "roots").write_text(said)
    shutil.rmtree(cli.folder / "backup" / "a.jpg.ec")
    (photos / "a.jpg").write_bytes(b"made up")
    cli.good("ec", "encode", "photos/a.jpg", "-o", "backup")
    for action in ("verify", "decode", "repair"):
        done = cli("ec", action, "backup", "--roots", "roots")
        assert done.returncode == 1
        assert b"backup/a.jpg.ec: its root " in done.stderr
        assert b"1 of 2 roots of roots were not found in what was named" in done.stderr
    assert not (cli.folder / "backup" / "a.jpg").exists()
    (cli.folder / "empty").write_text("nothing here")
    assert "names no root" in cli.bad("ec", "verify", "backup", "--roots", "empty")
    assert cli.bad("ec", "verify", "backup", "--roots", "nosuch") == "city-chain: nosuch: No such file or directory\n"


def test_json(cli: Any, photos: Path) -> None:
    made = [json.loads(line) for line in cli.good("ec", "encode", "photos", "-o", "backup", "--json").splitlines()]
    assert len(made) == 6
    assert made[1] == {
        "root": made[1]["root"],
        "file": "photos/a.jpg",
        "folder": "backup/photos/a.jpg.ec",
        "bytes": 1,
        "k": 6,
        "n": 10,
        "code": ec.code_for(6, 4)[0],
        "parity_only": False,
    }
    (cli.folder / "roots").write_text("\n".join(map(json.dumps, made)))
    next((cli.folder / "backup" / "photos" / "a.jpg.ec").iterdir()).unlink()
    done = cli("--json", "ec", "verify", "backup", "--roots", "roots")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["state"] for one in found] == ["whole", "degraded", "whole", "whole", "whole", "whole"]
    assert found[1]["problems"][0].endswith(" absent")
    assert {name: found[1][name] for name in ("ok", "folder", "file", "bytes", "good", "k", "n", "least", "root")} == {
        "ok": False,
        "folder": "backup/photos/a.jpg.ec",
        "file": "a.jpg",
        "bytes": 1,
        "good": 9,
        "k": 6,
        "n": 10,
        "least": 9,
        "root": made[1]["root"],
    }
    [repaired] = [
        one for one in map(json.loads, cli.good("ec", "repair", "backup", "--json").splitlines()) if one["made"]
    ]
    assert (repaired["folder"], repaired["file"]) == ("backup/photos/a.jpg.ec", "a.jpg")
    [decoded] = map(json.loads, cli.good("ec", "decode", "backup/photos/a.jpg.ec", "-o", ".", "--json").splitlines())
    assert decoded == {"root": made[1]["root"], "file": "a.jpg", "bytes": 1, "made": 0}


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("action", ["encode", "decode"])
def test_ctrl_c_leaves_nothing_half_done(cli: Any, action: str) -> None:
    large = cli.folder / "large"
    with large.open("wb") as file:
        file.truncate(1 << 30)  # a hole
    words = ["encode", "large", "-o", "backup", "-k", "1", "-n", "2", "--no-sync"]
    if action == "decode":
        cli.good("ec", "encode", "large", "-o", "backup", "--parity-only", "-k", "8", "-n", "9", "--no-sync")
        words = ["decode", "backup", "-o", "out", "--original", "large", "--no-sync"]
    before = {name for name in names(cli.folder) if not name.endswith((".part", "backup", "out"))}
    process = cli.start("ec", *words)
    for _ in range(600):
        if any(name.endswith(".part") for name in names(cli.folder)) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"city-chain: interrupted\n")
    assert {name for name in names(cli.folder) if not name.endswith(("backup", "out"))} == before


def test_a_reader_that_goes_away(cli: Any, photos: Path) -> None:
    process = cli.start("ec", "encode", "photos", "-o", "backup", stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()
    assert names(cli.folder / "backup" / "photos")[0] == "__init__.py.ec"
