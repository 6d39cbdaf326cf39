"""The demo: right where all is right, and not right where anything is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.algorithms import hs
from city_chain.cli import main
from city_chain.cli.console import Console
from city_chain.cli.demo import Demo, Plan
from city_chain.cli.demo.files import Bundle, Item, find
from city_chain.cli.demo.proof import verify_apart
from city_chain.errors import StorageError
from city_chain.levels.damage import flip_bits
from city_chain.stages import messages

pytestmark = pytest.mark.e2e

SIZES = [0, 1, 2, 100, 4096, 60_000, 400_000]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few dozen files in folders, from nothing to several hundred kB."""
    root = tmp_path / "tree"
    for at in range(35):
        path = root / f"part{at % 3}" / f"{at}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(SIZES[at % len(SIZES)]))
    return root


@pytest.fixture
def demo_of(tmp_path: Path) -> Callable[..., Demo]:
    """Makes demos that say nothing."""

    def make(paths: list[Path], **plan: int) -> Demo:
        folder = tmp_path / f"city{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Demo(folder, Plan(**plan), Bundle(paths), Console(), quiet=True)

    return make


# --- all is right ----------------------------------------------------------------------------------------------------


def test_the_demo_as_a_person_sees_it(cli: Any, tree: Path) -> None:
    said = cli.good("demo", tree)
    assert said.splitlines()[0].startswith(
        "a city of 20 nodes in 3 districts, 4 of them delegates, who commit through 'hotstuff'; 6 of 10 fragments"
    )
    assert "verified 35 receipts, with their quorum certificates of 'hotstuff', in a second process" in said
    assert "before the damage: 35 transactions: 35 whole; redundancy 100.0%" in said
    assert "after the repair: 35 transactions: 35 whole; redundancy 100.0%" in said
    table = {line[:26].strip(): line[26:].strip() for line in said.partition("\n\n")[2].splitlines()}
    assert table["files"] == "35"
    assert table["commit engine"] == "hotstuff"
    assert table["bytes"] == f"{sum(SIZES) * 5:,}"
    assert table["stage, for a whole burst"].split() == ["p50", "ms", "p99", "ms", "budget", "ms"]
    for stage in ("s1_select", "s2_encode", "s3_hold", "s4_deliver", "s5_commit"):
        assert table[f"sending {stage}"].split()[-1] == "80"
    assert table["files right"] == "35 of 35"
    assert table["receipts right"] == "35 of 35, in a second process"
    assert table["verdict"] == "every byte and every receipt is right"


def test_the_demo_for_programs(cli: Any, tree: Path) -> None:
    (line,) = cli.good("demo", "--json", tree / "part0", tree / "part1" / "1.bin").splitlines()
    found = json.loads(line)
    assert (found["right"], found["problems"], found["notes"]) == (True, [], [])
    assert found["engine"] == "hotstuff"
    assert found["files"] == found["files_right"] == found["receipts_right"] == 13
    assert {state["transactions"] for state in found["health"].values()} == {13}
    assert found["health"]["before_the_damage"]["redundancy"] == 1
    assert found["health"]["after_the_damage"]["redundancy"] < 1
    assert found["health"]["after_the_damage"]["lost"] == 0
    assert found["health"]["after_the_repair"]["redundancy"] == 1
    assert len(set(found["stopped"])) == 3
    assert found["corrupted"] not in found["stopped"]
    assert found["fragments_corrupted"] > 0
    assert found["repaired"]["fragments"] >= found["fragments_corrupted"]
    assert found["repaired"]["bytes"] > 0
    assert found["transactions_per_second"] > 0
    assert [s["stage"] for s in found["stages"] if s["pipeline"] == "sending"] == [
        "s1_select",
        "s2_encode",
        "s3_hold",
        "s4_deliver",
        "s5_commit",
    ]
    assert all(s["p50_ms"] <= s["p99_ms"] and s["budget_ms"] == 80 for s in found["stages"])


def test_the_city_can_be_kept(cli: Any, tree: Path) -> None:
    cli.good("demo", tree / "part0", "--keep", "kept/here")
    assert "12 whole" in cli.good("--city", "kept/here", "health")
    assert len(cli.good("--city", "kept/here", "verify", "kept/here/receipts").splitlines()) == 12
    assert cli.good("--city", "kept/here", "nodes").count("stopped") == 3
    assert "there is a city in kept/here already" in cli.bad("demo", tree, "--keep", "kept/here")


@pytest.mark.parametrize("time", range(8))
def test_it_works_whoever_leads_and_whoever_is_stopped(time: int, tree: Path, demo_of: Callable[..., Demo]) -> None:
    with demo_of(find([str(tree / "part0")])) as demo:
        demo.play()
        assert demo.outcome.problems == []
        assert sum(node.delegate for node in demo.outcome.stopped) == 1
        assert demo.outcome.corrupted is not None
        assert demo.outcome.corrupted.running


def test_the_files_there_are_by_default() -> None:
    paths = find([])
    assert len(paths) > 300
    assert all(path.suffix == ".py" and "site-packages" not in path.parts for path in paths)


# --- something is wrong ----------------------------------------------------------------------------------------------


def test_five_bad_holders_are_too_many(tree: Path, demo_of: Callable[..., Demo]) -> None:
    with demo_of(find([str(tree)]), nodes=10, stop=4) as demo:
        demo.play()
        outcome, table, found = demo.outcome, demo.table(), demo.as_json()
    assert outcome.right == 0
    assert sum("did not come back: " in problem and "needed 6, had 5" in problem for problem in outcome.problems) == 35
    assert "NOT right" in table
    assert "every byte and every receipt is right" not in table
    assert found["right"] is False
    assert found["health"]["after_the_damage"]["lost"] == 35
    assert outcome.verified == 35  # what was promised was promised


def test_four_bad_holders_of_ten_are_borne(tree: Path, demo_of: Callable[..., Demo]) -> None:
    with demo_of(find([str(tree)]), nodes=10, stop=3) as demo:
        demo.send()
        demo.settle()
        demo.damage()
        demo.receive()
        demo.verify()
        assert demo.outcome.problems == []
        assert demo.outcome.right == demo.outcome.verified == 35


def test_too_many_stopped_is_told_with_the_status(cli: Any, tree: Path) -> None:
    done = cli("demo", tree, "--stop", "14")
    assert done.returncode == 1
    assert b"NOT right" in done.stdout
    assert b"every byte and every receipt is right" not in done.stdout
    done = cli("demo", "--json", tree, "--stop", "14")
    assert (done.returncode, json.loads(done.stdout)["right"]) == (1, False)
    assert "0 to 19 nodes" in cli.bad("demo", tree, "--stop", "20")


@pytest.mark.parametrize("how", ["flipped", "cut", "absent", "foreign"])
def test_a_wrong_receipt_is_told_with_the_status(
    how: str,
    tree: Path,
    demo_of: Callable[..., Demo],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with demo_of(find([str(tree / "part1" / "1.bin")])) as other:
        other.send()
        (foreign,) = (path.read_bytes() for path in other.place.receipts.iterdir())
    verify = Demo.verify

    def tampered(demo: Demo) -> None:
        victim = sorted(demo.place.receipts.iterdir())[3]
        whole = victim.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        if how == "absent":
            victim.unlink()
        else:
            victim.write_bytes({"flipped": flipped, "cut": whole[:-1], "foreign": foreign}[how])
        verify(demo)

    monkeypatch.setattr(Demo, "verify", tampered)
    assert main(["demo", str(tree / "part0")]) == 1
    said = capsys.readouterr().out
    assert "receipts right" in said
    assert "11 of 12, in a second process" in said
    assert "NOT right" in said


def test_wrong_bytes_are_told(tree: Path, demo_of: Callable[..., Demo], monkeypatch: pytest.MonkeyPatch) -> None:
    with demo_of(find([str(tree / "part0")])) as demo:
        demo.send()
        first = next(iter(demo.outcome.sent.values()))
        swapped = dict(zip(demo.outcome.sent, reversed(demo.outcome.sent.values()), strict=True))
        monkeypatch.setattr(demo.outcome, "sent", swapped)
        demo.receive()
        assert demo.outcome.right < len(swapped)
        assert any(str(first.path) in problem and "other bytes" in problem for problem in demo.outcome.problems)


def test_nothing_to_send_is_not_right(cli: Any, tree: Path) -> None:
    (tree / "empty").mkdir()
    done = cli("demo", tree / "empty")
    assert done.returncode == 1
    assert b"nothing was sent" in done.stdout
    assert "absent: No such file" in cli.bad("demo", "absent")


# --- files that do not stand still -----------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_skipped_with_a_note(tree: Path, demo_of: Callable[..., Demo]) -> None:
    os.mkfifo(tree / "pipe")
    with (tree / "huge").open("wb") as file:
        file.truncate((64 << 20) + 1)
    (tree / "gone").symlink_to("nowhere")
    with demo_of(find([str(tree)])) as demo:
        demo.send()
        demo.settle()
        demo.receive()
        assert demo.outcome.problems == []
        assert demo.outcome.right == 35
        notes = {entry["file"]: entry["note"] for entry in demo.as_json()["notes"]}
    assert notes == {
        str(tree / "gone"): "No such file or directory",
        str(tree / "huge"): "has more than 64 MiB",
        str(tree / "pipe"): "is not a regular file",
    }


def test_a_file_that_was_named_and_cannot_be_sent_is_not_right(cli: Any, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with (tree / "huge").open("wb") as file:
        file.truncate((64 << 20) + 1)
    for words in ([tree / "part0", tree / "pipe", tree / "huge"], [tree]):  # named, or found in a folder that is
        done = cli("demo", *words)
        said = done.stdout.decode()
        assert done.returncode == 1
        assert "; 2 could not be sent, and were left out" in said
        assert f"{tree / 'pipe'} was left out: is not a regular file" in said
        assert f"{tree / 'huge'} was left out: has more than 64 MiB" in said
        assert re.search("^left out +2 that could not be sent$", said, re.MULTILINE)
        assert "NOT right: 2 problems" in said
        assert "every byte and every receipt is right" not in said
    found = json.loads(cli("demo", "--json", tree / "part0", tree / "pipe").stdout)
    assert (found["right"], len(found["problems"]), found["files_right"]) == (False, 1, 12)
    assert found["left_out"] == [{"file": str(tree / "pipe"), "why": "is not a regular file"}]


@pytest.mark.parametrize("where", ["sending", "keeping"])
def test_a_full_disk_ends_the_demo_with_the_reason(
    where: str,
    tree: Path,
    demo_of: Callable[..., Demo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    full = StorageError("writing city.db failed: the disk is full; free some space and try again")
    with demo_of(find([str(tree / "part0")])) as demo:
        if where == "sending":
            monkeypatch.setattr(demo.city, "send_many", lambda payloads, **_: [full] * len(payloads))
        else:
            monkeypatch.setattr("city_chain.cli.place.os.replace", no_space)
        demo.play()
        outcome = demo.outcome
        assert (outcome.right, outcome.verified, len(outcome.health), outcome.stopped) == (0, 0, 0, [])
        if where == "sending":
            assert len(outcome.problems) == 13
            assert all("the disk is full" in problem for problem in outcome.problems[:12])
            assert outcome.problems[-1] == "nothing was sent"
        else:
            assert outcome.problems == [f"the demo ends here: {demo.place.anchor}: No space left on device"]
        assert "NOT right" in demo.table()


def test_a_temporary_folder_that_is_left_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[str] = []

    def interrupted(folder: str) -> None:
        left.append(folder)
        raise KeyboardInterrupt

    remove = shutil.rmtree
    with monkeypatch.context() as patched:
        patched.setattr("city_chain.cli.demo.play.shutil.rmtree", interrupted)
        patched.setattr(Demo, "settle", lambda _: interrupted("not this one"))
        assert main(["demo", str(tree / "part0")]) == 130
    assert capsys.readouterr().err.splitlines() == [
        f"city-chain: the temporary folder {left[1]} is left (interrupted): remove it",
        "city-chain: interrupted",
    ]
    assert Path(left[1]).is_dir()
    remove(left[1])


def test_a_file_that_changes_after_it_was_sent(tree: Path, demo_of: Callable[..., Demo]) -> None:
    paths = find([str(tree / "part0")])
    with demo_of(paths) as demo:
        demo.send()
        paths[0].write_bytes(b"other")
        paths[1].unlink()
        demo.receive()
        assert demo.outcome.problems == []
        notes = [entry["note"] for entry in demo.as_json()["notes"]]
    assert notes[0] == "changed since it was sent; what came back is what was sent"
    assert notes[1].startswith("cannot be read any more")


def test_other_bytes_are_never_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"now")
    bundle = Bundle([tmp_path / "a"])
    ((item, data),) = next(bundle.bursts())
    assert data == b"now"
    assert bundle.same(item, b"now")
    for other in (b"", b"noW", b"now ", b"no"):
        assert not bundle.same(item, other)
    assert not bundle.same(Item(tmp_path / "absent", 3, item.digest), b"noW")
    assert bundle.same(Item(tmp_path / "absent", 3, item.digest), b"now")


# --- its tools -------------------------------------------------------------------------------------------------------


def test_flipped_bits_are_in_the_file_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "city.db"

    def rows() -> dict[bytes, bytes]:
        with SqliteStorage(path, create=False) as storage:
            return dict(storage.scan(b""))

    with City.create(path, nodes=6, validators=1, k=2, n=4) as city:
        city.send_many([os.urandom(size) for size in SIZES])
        city.settle()
        fragments = [node.fragments for node in city.nodes()]
    before = rows()
    damage = flip_bits(path, 2)
    after = rows()
    assert damage.fragments == fragments[2] > 0
    assert before.keys() == after.keys()
    changed = [key for key in before if before[key] != after[key]]
    prefix = b"hn" + (2).to_bytes(4, "big") + b"f"
    assert len(changed) == fragments[2]
    for key in changed:
        assert key.startswith(prefix)
        flips = int.from_bytes(before[key], "big") ^ int.from_bytes(after[key], "big")
        assert flips.bit_count() == 1
    with SqliteStorage(path, create=False) as storage:
        held = NamespacedStorage(storage, prefix[:-1]).scan(b"f")
        assert damage.size == sum(len(messages.answer(row, "held", 2)[1]) for _, row in held)


def test_the_second_process_needs_no_city(tree: Path, demo_of: Callable[..., Demo]) -> None:
    with demo_of(find([str(tree / "part0")])) as demo:
        demo.send()
    demo.place.database.unlink()
    counts: list[int] = []
    found = verify_apart(demo.place, counts.append)
    assert found.problems == []
    assert found.right == demo.outcome.sent.keys()
    assert counts == list(range(1, 13))
    demo.place.anchor.write_bytes(b"no anchor")
    found = verify_apart(demo.place, counts.append)
    assert found.right == set()
    assert "is no trust anchor" in found.problems[0]


def test_receipts_carry_the_quorum_certificate_of_the_engine(cli: Any, tree: Path, tmp_path: Path) -> None:
    """Each verifies alone, offline, in words and for programs; none does once a signature in it is changed."""
    cli.good("demo", "--keep", "kept", tree / "part0")
    paths = sorted((cli.folder / "kept" / "receipts").iterdir())
    assert len(paths) == 12
    (cli.folder / "kept" / "city.db").unlink()
    for line in cli.good("verify", "--json", "--trust", "kept/trust.anchor", *paths).splitlines():
        found = json.loads(line)
        assert (found["ok"], found["engine"], found["delegates"]) == (True, "hotstuff", 4)
        assert 3 <= len(found["signers"]) <= 4
    words = "hotstuff: quorum certificate over the block of round "
    assert cli.good("verify", "--trust", "kept/trust.anchor", *paths).count(words) == 12
    for path in paths:
        receipt = records.Receipt.from_bytes(path.read_bytes())
        proof = receipt.certificate.proof
        assert proof is not None
        delegates = receipt.epoch.validators.items
        payload = hs.verify_commit(proof, delegates, receipt.epoch.network, receipt.epoch.number)
        assert payload == hs.payload_digest(receipt.header.digest)
    damaged = bytearray(paths[0].read_bytes())
    damaged[paths[0].read_bytes().index(proof_of(paths[0])[-64:])] ^= 1
    (tmp_path / "damaged.receipt").write_bytes(damaged)
    assert "wrong" in cli.bad("verify", "--trust", "kept/trust.anchor", tmp_path / "damaged.receipt")
    assert words in cli.good("inspect", paths[0])


def proof_of(path: Path) -> bytes:
    proof = records.Receipt.from_bytes(path.read_bytes()).certificate.proof
    assert proof is not None
    return proof
