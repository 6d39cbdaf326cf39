"""``city-chain inspect``: everything that city-chain writes is recognised, and nothing else is."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, cbf, ec, records
from city_chain.algorithms import hvp, sc
from city_chain.cli import known
from city_chain.levels.node_file import NodeFile
from city_chain.proofs import dpos, poh, pop
from city_chain.records import KeyFile, Message, PublicKeyFile, Receipt, Transaction, Trust
from tests.e2e.worlds import NORTH, SOUTH, A, B, world_of

pytestmark = pytest.mark.e2e


def objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def receipt(cli: Any, town: Path) -> Path:
    """A receipt of a city."""
    (line,) = cli.good("--city", "town", "send", "-", stdin=b"content").splitlines()
    return cli.folder / line.split()[2]


# --- the table -------------------------------------------------------------------------------------------------------


def encoded() -> list[type]:
    """Every class of the facades that has an encoding."""
    found = {
        thing
        for facade in (records, poh, dpos, pop, cbf, hvp, sc)
        for thing in (getattr(facade, name) for name in facade.__all__)
        if inspect.isclass(thing) and hasattr(thing, "from_bytes")
    }
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", encoded(), ids=lambda kind: kind.__name__)
def test_every_class_with_an_encoding_is_in_the_table(kind: type) -> None:
    rows = [(tag, what) for tag, (what, known_kind) in known.RECORDS.items() if known_kind is kind]
    assert len(rows) == 1, f"{kind.__name__} needs its tag in city_chain.cli.known.RECORDS"
    [(tag, what)] = rows
    assert len(tag) == 4
    assert tag.startswith(b"CC")
    body = tag + b"\xff\xff" + bytes(64)  # the class itself says whether that is its tag
    with pytest.raises(Exception, match="version 65535") as caught:
        kind.from_bytes(body)  # type: ignore[attr-defined]
    assert "starts with" not in str(caught.value)
    assert what == what.strip()


def test_the_table_has_each_thing_once() -> None:
    names = [what for what, _ in known.RECORDS.values()] + list(known.PARTS.values()) + list(known.UNREAD.values())
    assert len(names) == len(set(names))
    assert len({kind for _, kind in known.RECORDS.values()}) == len(known.RECORDS)
    assert not set(known.RECORDS) & set(known.UNREAD)


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_a_receipt(cli: Any, receipt: Path) -> None:
    read = Receipt.from_bytes(receipt.read_bytes())
    (found,) = objects(cli.good("inspect", "--json", receipt))
    assert (found["what"], found["tag"], found["version"]) == ("receipt", "CCre", 1)
    assert (found["file"], found["bytes"]) == (str(receipt), receipt.stat().st_size)
    assert found["fields"]["tx_id"] == read.tx_id.hex()
    assert found["fields"]["availability"]["what"] == "availability certificate"
    manifest = found["fields"]["availability"]["manifest"]
    assert (manifest["k"], manifest["n"], manifest["sender"]) == (2, 6, read.manifest.sender.hex())
    acks = found["fields"]["availability"]["acks"]
    assert [ack["index"] for ack in acks] == [ack.index for ack in read.availability.acks]
    assert found["summary"]["acks"] == len(acks)
    assert (found["summary"]["of"], found["summary"]["epoch"], found["summary"]["height"]) == (6, 0, 1)
    header = found["fields"]["header"]
    assert header["hlc"]["raw"] == read.header.hlc
    assert header["hlc"]["utc"].startswith("20")
    said = cli.good("inspect", receipt)
    assert said.startswith(f"{receipt}: receipt (CCre, version 1; ")
    for word in (read.tx_id.hex(), "availability certificate", "commit certificate", "sealed", "compressed", "acks"):
        assert word in said
    assert max(map(len, said.splitlines()[1:])) <= 220


def test_a_trust_anchor_from_stdin_and_several_files(cli: Any, town: Path, receipt: Path) -> None:
    anchor = (town / "trust.anchor").read_bytes()
    (found,) = objects(cli("inspect", "--json", "-", stdin=anchor).stdout.decode())
    trust = Trust.from_bytes(anchor)
    assert (found["file"], found["what"]) == ("-", "trust anchor")
    assert found["fields"] == {
        "network": trust.network.hex(),
        "epochs": [[number, root.hex()] for number, root in trust.epochs],
        "city_key": trust.city_key and trust.city_key.hex(),
    }
    said = cli.good("inspect", "town/trust.anchor", receipt)
    assert "town/trust.anchor: trust anchor (CCtr, version " in said
    assert f"{receipt}: receipt" in said


def test_maps_multipliers_and_contacts(cli: Any) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    west = {"type": "Feature", "id": "west", "properties": None, "geometry": square}
    places = pop.Places.from_geojson(json.dumps({"type": "FeatureCollection", "features": [west]}).encode())
    table = pop.Multipliers({"raw": 20_000, "what": 1}, [(None, 5_000, 0, 9)])
    contact = hvp.Contact(records.Identity(bytes(32)), network=bytes(32), address="host:1", sequence=7)
    for name, thing in (("map", places), ("table", table), ("contact", contact)):
        (cli.folder / name).write_bytes(thing.to_bytes())
    shown = objects(cli.good("--json", "inspect", "map", "table", "contact"))
    assert [line["what"] for line in shown] == ["map of municipalities", "multipliers", "contact"]
    a_map, a_table, a_contact = (line["fields"] for line in shown)
    assert (a_map["names"], a_map["root"]) == (["west"], places.root.hex())
    assert (a_table["cities"], a_table["events"]) == ([["raw", 20_000], ["what", 1]], [[None, 5_000, 0, 9]])
    assert (a_contact["id"], a_contact["address"]) == (contact.id.hex(), "host:1")
    assert "raw, 20000" in cli.good("inspect", "map", "table", "contact")


def test_a_fragment_file_of_any_size(cli: Any) -> None:
    (cli.folder / "film").write_bytes(os.urandom(300_000))
    encoded = ec.encode_file(cli.folder / "film", k=2, p=1)
    path = cli.folder / "film.ec"
    part = sorted(path.iterdir())[1]
    (found,) = objects(cli.good("inspect", "--json", part))
    assert (found["what"], found["bytes"]) == ("fragment file of ec", part.stat().st_size)
    assert found["fields"]["root"] == encoded.root.hex()
    assert (found["fields"]["name"], found["fields"]["length"], found["fields"]["index"]) == ("film", 300_000, 1)
    data = bytearray(part.read_bytes())
    data[60] ^= 1
    (cli.folder / "damaged").write_bytes(data)
    assert "starts as a fragment file of ec, but is damaged" in cli.bad("inspect", "damaged")


def test_key_files_without_their_secret(cli: Any) -> None:
    plain = KeyFile.generate("x-wing", None)
    sealed = KeyFile.generate("x-wing", b"pass", memory_kib=8192, passes=2)
    (cli.folder / "a.key").write_bytes(plain.to_bytes())
    (cli.folder / "b.key").write_bytes(sealed.to_bytes())
    (cli.folder / "a.pub").write_bytes(plain.public.to_bytes())
    (cli.folder / "bare").write_bytes(plain.public_key)
    (cli.folder / "bare.secret").write_bytes(plain.to_bytes()[-34:])
    message = Message("hold", [plain.to_bytes(), plain.to_bytes()[-34:], plain.to_bytes()[:-1], b"x"])
    (cli.folder / "message").write_bytes(message.to_bytes())
    files = ["a.key", "b.key", "a.pub", "bare", "bare.secret", "message"]
    said = cli.good("inspect", *files)
    shown = cli.good("inspect", "--json", *files)
    for seed in (plain.to_bytes()[-32:], plain.to_bytes()[-40:-8]):
        assert seed.hex()[:32] not in (said + shown).lower()
    key, other, public, bare, secret, held = objects(shown)
    assert key["fields"]["public_key"] == plain.public_key.hex()
    assert (key["what"], key["fields"]["is_encrypted"], key["fields"]["id"]) == (
        "secret key file",
        False,
        plain.id.hex(),
    )
    assert (other["fields"]["is_encrypted"], other["fields"]["memory_kib"], other["fields"]["passes"]) == (
        True,
        8192,
        2,
    )
    assert (public["what"], public["fields"]["kind"]) == ("public key file", "x-wing")
    assert (bare["what"], bare["fields"]["id"]) == ("bare key bytes: an X-Wing public key", plain.id.hex())
    assert (secret["what"], secret["fields"]) == ("bare key bytes: an X-Wing secret key", {})
    whole, typed, damaged, rest = held["fields"]["parts"]
    assert (whole["what"], whole["id"]) == ("secret key file", plain.id.hex())
    assert typed == {"what": "an X-Wing secret key", "bytes": 34}
    assert damaged == {"what": "secret key file", "damaged": True, "bytes": len(plain.to_bytes()) - 1}
    assert rest == b"x".hex()


def test_long_values_are_cut_and_nested_records_named(cli: Any) -> None:
    sender = records.Identity(bytes(32))
    inner = Transaction(sender, network=bytes(32), sequence=1, hlc=7 << 16, payload=bytes(5000))
    message = Message("fetch", [inner.to_bytes()] * 2)
    (cli.folder / "m").write_bytes(message.to_bytes())
    (found,) = objects(cli.good("inspect", "--json", "m"))
    assert [part["what"] for part in found["fields"]["parts"]] == ["transaction"] * 2
    assert found["fields"]["parts"][0]["payload"] == {"bytes": 5000, "starts": bytes(32).hex()}
    assert found["fields"]["parts"][0]["hlc"] == {"raw": 7 << 16, "utc": "1970-01-01T00:00:00.007Z", "counter": 0}
    assert "5000 bytes" in cli.good("inspect", "m")


def test_records_in_records_end_somewhere(cli: Any) -> None:
    data = b"x"
    for _ in range(50):
        data = Message("hold", [data]).to_bytes()
    (cli.folder / "deep").write_bytes(data)
    shown = cli.good("inspect", "--json", "deep")
    assert 3 < shown.count('"message"') < 10
    cli.good("inspect", "deep")


def test_no_secret_is_shown_however_deep_it_lies(cli: Any) -> None:
    data = secret = KeyFile.generate("x-wing", None).to_bytes()
    for depth in range(9):
        (cli.folder / "deep").write_bytes(data)
        said = cli.good("inspect", "--json", "deep") + cli.good("inspect", "deep")
        assert secret[-32:].hex()[:32] not in said, depth
        data = Message("hold", [data]).to_bytes()


def test_a_crossing_s_receipt_and_the_trust_in_its_world(cli: Any) -> None:
    with world_of() as world:
        receipt, trust = world.send(b"x", {NORTH: [A], SOUTH: [B]}), world.trust
    (cli.folder / "crossing").write_bytes(receipt.to_bytes())
    (cli.folder / "trust").write_bytes(trust.to_bytes())
    (cli.folder / "inside").write_bytes(Message("hold", [receipt.to_bytes()]).to_bytes())
    crossing, world_trust, inside = objects(cli.good("inspect", "--json", "crossing", "trust", "inside"))
    assert (crossing["what"], crossing["tag"]) == ("receipt of a crossing", "CCms")
    found = crossing["fields"]
    assert (found["tx_id"], found["home"]) == (receipt.tx_id.hex(), NORTH)
    assert (found["manifest"]["what"], found["manifest"]["shards"]) == ("shard manifest", [0, 1])
    assert found["manifest"]["body"] == receipt.tx_id.hex()
    assert found["manifest"]["expiry"]["utc"].endswith("Z")
    assert (found["head"]["what"], found["head"]["tx_id"]) == ("transaction head", receipt.tx_id.hex())
    assert [word["what"] for word in found["certificates"]] == ["shard certificate"] * 2
    assert [word["statement"]["verdict"] for word in found["certificates"]] == ["prepared"] * 2
    assert (found["receipt"]["what"], found["receipt"]["tx_id"]) == ("receipt", receipt.tx_id.hex())
    assert world_trust["what"] == "trust in a world"
    assert (world_trust["fields"]["chain"], world_trust["fields"]["names"]) == (trust.chain.hex(), [NORTH, SOUTH])
    assert [home["what"] for home in world_trust["fields"]["homes"]] == ["trust anchor"] * 2
    assert [layout["what"] for layout in world_trust["fields"]["layouts"]] == ["shard layout"]
    assert inside["what"] == "message"
    assert inside["fields"]["parts"] == [{"what": "receipt of a crossing", **found}]
    (cli.folder / "manifest").write_bytes(receipt.manifest)
    (cli.folder / "word").write_bytes(receipt.certificates[0])
    said = cli.good("inspect", "crossing", "trust", "manifest", "word")
    for words in ("receipt of a crossing (CCms", "shard manifest (CCsm", "shard certificate (CCsv", "prepared"):
        assert words in said
    (cli.folder / "damaged").write_bytes(Message("crossed", [b"north", b"?"]).to_bytes())
    assert "starts as a receipt of a crossing, but is damaged" in cli.bad("inspect", "damaged")


def test_the_proof_of_a_commit(cli: Any) -> None:
    with City.local(nodes=4, validators=4, k=2, n=4, engine="hotstuff") as city:
        receipt = city.send(b"x")
    proof = receipt.certificate.proof
    assert proof is not None
    (cli.folder / "proof").write_bytes(proof)
    (cli.folder / "receipt").write_bytes(receipt.to_bytes())
    bare, inside = objects(cli.good("inspect", "--json", "proof", "receipt"))
    assert (bare["what"], bare["tag"]) == ("commit proof", "CChc")
    assert bare["fields"]["round"] > 0
    assert len(bare["fields"]["block"]) == len(bare["fields"]["next_genesis"]) == 64
    assert inside["fields"]["certificate"]["proof"] == {"what": "commit proof", **bare["fields"]}
    (cli.folder / "cut").write_bytes(proof[:-1])
    assert "starts as a commit proof (CChc), but is damaged" in cli.bad("inspect", "cut")


def test_a_node_file_without_its_secrets(cli: Any) -> None:
    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        city.send(b"x")
        node = next(node.id for node in city.nodes() if node.delegate)
        city.move_out(node, cli.folder / "node.secret")
    data = (cli.folder / "node.secret").read_bytes()
    file = NodeFile.from_bytes(data)
    secrets = [file.seed, *(row for row in file.rows.values() if len(row) >= 32)]
    assert len(secrets) > 2
    damaged = bytearray(data)
    damaged[-1] ^= 1  # its digest
    other = bytearray(data)
    other[data.index(b"node")] ^= 2  # its kind
    whole = {"node.secret": data, "inside": Message("hold", [data]).to_bytes()}
    spoilt = {"damaged": bytes(damaged), "other": bytes(other), "cut": data[:-1]}
    nested = {f"{name} inside": Message("hold", [one]).to_bytes() for name, one in spoilt.items()}
    said = ""
    for name, one in (whole | spoilt | nested).items():
        (cli.folder / name).write_bytes(one)
        for options in ([], ["--json"]):
            done = cli("inspect", *options, name)
            assert done.returncode == (name in spoilt), name
            said += (done.stdout + done.stderr).decode().lower()
    for secret in secrets:
        for at in (0, len(secret) // 2):
            assert secret[at : at + 16].hex() not in said
    (found,) = objects(cli.good("inspect", "--json", "node.secret"))
    assert (found["what"], found["fields"]["node"], found["fields"]["index"]) == ("node file", node.hex(), file.index)
    assert (found["fields"]["nodes"], found["fields"]["rows"], found["fields"]["first"]["what"]) == (
        6,
        len(file.rows),
        "epoch",
    )
    assert "starts as a node file, but is damaged" in cli.bad("inspect", "damaged")
    (held,) = objects(cli.good("inspect", "--json", "damaged inside"))
    assert held["fields"]["parts"] == [{"what": "message", "damaged": True, "bytes": len(data)}]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello world", "starts with 68 65 6c 6c 6f 20 77 6f"),
        (b"CCzz\x01\0" + bytes(50), "starts with CCzz, which no record that is known here does"),
        (b"CCre", "starts as a receipt (CCre), but is damaged"),
        (b"CCre\x09\0" + bytes(80), "version 9 is not known"),
        (b"SQLite format 3\0" + bytes(500), "is an SQLite database"),
        (b"xp" + bytes(1216), "bare key bytes"),
        (b"xp" + bytes(100), "starts with 78 70"),
    ],
)
def test_what_is_unknown_or_damaged_is_said(cli: Any, data: bytes, words: str) -> None:
    (cli.folder / "file").write_bytes(data)
    done = cli("inspect", "file")
    if words == "bare key bytes":
        assert done.returncode == 0
        return
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.startswith("city-chain: file: ")
    assert words in said
    if "damaged" not in words and "version" not in words:
        assert "a record or receipt" in said
    assert cli.bad("inspect", "--json", "file") == said


def test_every_cut_of_a_receipt_is_refused(cli: Any, receipt: Path) -> None:
    data = receipt.read_bytes()
    names = []
    for at in range(0, len(data), len(data) // 20):
        (cli.folder / f"cut{at}").write_bytes(data[:at])
        names.append(f"cut{at}")
    done = cli("inspect", *names)
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == len(names)


def test_the_others_are_shown_all_the_same(cli: Any, town: Path) -> None:
    done = cli("inspect", "--json", "absent", "town", "town/trust.anchor", "town/city.db")
    assert done.returncode == 1
    assert [found["file"] for found in objects(done.stdout.decode())] == ["town/trust.anchor"]
    said = done.stderr.decode().splitlines()
    assert said[0] == "city-chain: absent: No such file or directory"
    assert said[1] == "city-chain: town: Is a directory"
    assert said[2].startswith("city-chain: town/city.db: is an SQLite database")


def test_a_record_without_end_is_not_read_to_it(cli: Any, tmp_path: Path) -> None:
    with (tmp_path / "long").open("wb") as file:
        file.write(b"CCre\x01\0")
        file.truncate(300 << 20)
    assert "more than 256 MiB" in cli.bad("inspect", "long")
    with (tmp_path / "unknown").open("wb") as file:
        file.write(b"abc")
        file.truncate(1 << 40)
    assert "starts with 61 62 63" in cli.bad("inspect", "unknown")


def test_public_keys_of_files_are_checked(cli: Any) -> None:
    data = bytearray(PublicKeyFile(KeyFile.generate("x-wing", None).public_key).to_bytes())
    data[500] ^= 1
    (cli.folder / "a.pub").write_bytes(data)
    assert "starts as a public key file (CCpk), but is damaged" in cli.bad("inspect", "a.pub")
