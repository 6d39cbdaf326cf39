"""``send --seal`` and ``receive --key``: who can read what was sent, and what the others are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from city_chain.records import KeyFile

pytestmark = pytest.mark.e2e

PASSPHRASE = b"correct horse"
LETTER = b"the quick brown fox jumps over the lazy dog; " * 40


def objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def readers(cli: Any) -> dict[str, KeyFile]:
    """Key files: of alice (encrypted), bob (plain), carol (plain, the other suite) and a notary (signs)."""
    (cli.folder / "pass").write_bytes(PASSPHRASE + b"\n")
    made = {
        "alice": KeyFile.generate("x-wing", PASSPHRASE, memory_kib=8192, passes=1),
        "bob": KeyFile.generate("x-wing", None),
        "carol": KeyFile.generate("sntrup761-x25519", None),
        "notary": KeyFile.generate("ml-dsa-44", None),
    }
    for name, key in made.items():
        (cli.folder / f"{name}.key").write_bytes(key.to_bytes())
        (cli.folder / f"{name}.key").chmod(0o600)
        (cli.folder / f"{name}.pub").write_bytes(key.public.to_bytes())
    return made


def sent(cli: Any, *seals: str) -> dict[str, Any]:
    """Sends the letter; what is said of it."""
    (cli.folder / "letter").write_bytes(LETTER)
    words = [word for seal in seals for word in ("--seal", seal)]
    (found,) = objects(cli.good("--city", "town", "send", "--json", *words, "letter"))
    return found


def stored(folder: Path) -> bytes:
    """Everything that a folder holds."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# --- to the city -----------------------------------------------------------------------------------------------------


def test_what_is_sealed_to_the_city_opens_by_itself(cli: Any, town: Path) -> None:
    found = sent(cli, "city")
    assert all(LETTER[at : at + 16] not in stored(town) for at in range(0, 45))
    assert cli("--city", "town", "receive", found["tx_id"]).stdout == LETTER
    cli.good("verify", found["receipt"])
    (shown,) = objects(cli.good("inspect", "--json", found["receipt"]))
    assert shown["summary"]["sealed"] == "to the city"
    assert "sealed" in cli.good("inspect", found["receipt"])


def test_what_is_not_sealed_lies_open(cli: Any, town: Path) -> None:
    """The search above would find it."""
    found = sent(cli)
    assert LETTER[:16] in stored(town)
    (shown,) = objects(cli.good("inspect", "--json", found["receipt"]))
    assert shown["summary"]["sealed"] == "no"


def test_too_few_delegates_open_nothing(cli: Any) -> None:
    cli.good("init", "town", "--nodes", "12", "--validators", "4", "-k", "2", "-n", "6")
    found = sent(cli, "city")
    delegates = [node["id"] for node in objects(cli.good("--city", "town", "nodes", "--json")) if node["delegate"]]
    cli.good("--city", "town", "nodes", "--stop", delegates[0])
    assert cli("--city", "town", "receive", found["tx_id"]).stdout == LETTER
    cli.good("--city", "town", "nodes", "--stop", delegates[1])
    said = cli.bad("--city", "town", "receive", found["tx_id"])
    assert "needed 3, had 2" in said
    cli.good("--city", "town", "nodes", "--start", delegates[0])
    assert cli("--city", "town", "receive", found["tx_id"]).stdout == LETTER


# --- to readers ------------------------------------------------------------------------------------------------------


def test_every_reader_opens_it_alone(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    found = sent(cli, "alice.pub", "bob.key", "carol.pub")
    assert all(LETTER[at : at + 16] not in stored(town) for at in range(0, 45))
    receive = ["--city", "town", "receive", found["tx_id"]]
    assert cli(*receive, "--key", "alice.key", "--passphrase-file", "pass").stdout == LETTER
    assert cli(*receive, "--key", "alice.key", CITY_CHAIN_PASSPHRASE=PASSPHRASE.decode()).stdout == LETTER
    assert cli(*receive, "--key", "bob.key").stdout == LETTER
    cli.good(*receive, "--key", "carol.key", "-o", "letter.back")
    assert (cli.folder / "letter.back").read_bytes() == LETTER
    (shown,) = objects(cli.good("inspect", "--json", found["receipt"]))
    assert shown["summary"]["sealed"] == "to readers"


def test_without_a_key_it_says_whose_is_needed(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    found = sent(cli, "alice.pub", "carol.pub")
    said = cli.bad("--city", "town", "receive", found["tx_id"])
    for word in (
        "is sealed to readers",
        "--key FILE",
        "inspect",
        *(readers[name].id.hex() for name in ("alice", "carol")),
    ):
        assert word in said
    (shown,) = objects(cli.good("inspect", "--json", "alice.pub"))
    assert shown["fields"]["id"] in said
    said = cli.bad("--city", "town", "receive", found["tx_id"], "--key", "bob.key", "-o", "out")
    assert readers["alice"].id.hex() in said
    assert not (cli.folder / "out").exists()


def test_a_key_does_no_harm_where_none_is_needed(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    for seals in ((), ("city",)):
        found = sent(cli, *seals)
        assert cli("--city", "town", "receive", found["tx_id"], "--key", "bob.key").stdout == LETTER


def test_many_files_are_sealed_each(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    for at in range(70):
        (cli.folder / f"file{at}").write_bytes(LETTER + b"%d" % at)
    names = [f"file{at}" for at in range(70)]
    found = objects(cli.good("--city", "town", "send", "--json", "--seal", "bob.pub", *names))
    assert [entry["file"] for entry in found] == names
    assert LETTER[:16] not in stored(town)
    for at in (0, 69):
        assert cli("--city", "town", "receive", found[at]["tx_id"], "--key", "bob.key").stdout == LETTER + b"%d" % at


def test_wrong_keys_are_refused_before_anything_is_sent(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    (cli.folder / "letter").write_bytes(LETTER)
    (cli.folder / "noise").write_bytes(b"noise")
    for seals, word in (
        (["notary.pub"], "notary.pub: its key is of kind ml-dsa-44 and signs; nothing can be sealed to it"),
        (["absent.pub"], "absent.pub: No such file"),
        (["noise"], "noise is no public key file"),
        (["alice.pub", "alice.key"], "alice.key and alice.pub hold the same key"),
        (["bob.pub", "letter"], "letter is no public key file"),
    ):
        said = cli.bad("--city", "town", "send", *(word for seal in seals for word in ("--seal", seal)), "letter")
        assert word in said
    assert list((town / "receipts").iterdir()) == []


def test_wrong_key_files_are_refused_before_the_city_is_opened(
    cli: Any, town: Path, readers: dict[str, KeyFile]
) -> None:
    found = sent(cli, "alice.pub")
    receive = ["--city", "town", "receive", found["tx_id"], "--key"]
    (cli.folder / "wrong").write_bytes(b"correct house")
    for words, word in (
        (["alice.key", "--passphrase-file", "wrong"], "alice.key: key file: wrong passphrase, or the file was changed"),
        (["alice.pub"], "is a public key, which opens nothing"),
        (["notary.key"], "ml-dsa-44 and signs"),
        (["absent"], "absent: No such file"),
        (["letter"], "letter is no secret key file"),
    ):
        assert word in cli.bad(*receive, *words)
    if os.name == "posix":
        (cli.folder / "bob.key").chmod(0o644)
        done = cli(*receive, "bob.key")
        assert done.returncode == 1
        assert b"others may get at it (its mode is 0644)" in done.stderr


def test_a_sealed_file_that_was_damaged_is_repaired_unread(cli: Any, town: Path, readers: dict[str, KeyFile]) -> None:
    found = sent(cli, "bob.pub")
    holders = [node["id"] for node in objects(cli.good("--city", "town", "nodes", "--json")) if not node["delegate"]]
    cli.good("--city", "town", "nodes", "--stop", holders[0], "--stop", holders[1])
    cli.good("--city", "town", "repair")
    assert "1 whole" in cli.good("--city", "town", "health")
    assert cli("--city", "town", "receive", found["tx_id"], "--key", "bob.key").stdout == LETTER


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_the_passphrase_is_asked_for_on_a_terminal(
    cli: Any, town: Path, readers: dict[str, KeyFile], on_terminal: Any
) -> None:
    found = sent(cli, "alice.pub")
    words = ["--city", "town", "receive", found["tx_id"], "--key", "alice.key", "--force", "-o", "back"]
    for typed, status, said in (
        ([b"correct house\n", b"correct horse\n"], 0, b"back"),
        ([b"\x03"], 130, b"city-chain: interrupted"),
        ([b"correct house\n"] * 3, 1, b"wrong passphrase, or the file was changed"),
    ):
        terminal = on_terminal(*words)
        for answer in typed:
            terminal.wait_for(b"Passphrase of alice.key: ")
            terminal.type(answer)
        ended, seen = terminal.end()
        assert (ended, said in seen) == (status, True), seen
        assert b"Traceback" not in seen
        assert b"correct ho" not in seen
        assert (cli.folder / "back").read_bytes() == LETTER
