"""Whoever carries the words of cities is trusted with nothing, and what is damaged or late stays by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.algorithms import sc
from city_chain.errors import StorageError, UnavailableError, VerificationError
from city_chain.levels.cross_receipt import CrossReceipt
from city_chain.levels.rulings import need_shard, rule
from city_chain.levels.world import World
from city_chain.stages import messages
from tests.e2e.worlds import NORTH, SMALL, SOUTH, A, B, C, CutError, Ground, cut_at, is_free, versions, world_of

pytestmark = pytest.mark.e2e

BOTH = {NORTH: [A], SOUTH: [B]}
LARGER: dict[str, Any] = {"nodes": 6, "validators": 4}


def carry(world: World, manifest: sc.Manifest, warrant: bytes) -> sc.Coordinator:
    """A stranger who carries certificates and commands, and has nothing else."""
    words: list[sc.Certificate] = []
    while True:
        coordinator = sc.Coordinator(manifest, words, world._layouts.understood())
        todo = coordinator.next(in_order=True)
        for shard, command in todo:
            given = warrant if command.kind == "prepare" else b""
            word = world._crossings.word(shard, command, time.monotonic() + 10, warrant=given)
            if word is not None:
                words.append(word)
        if all(command.kind == "acknowledge" for _, command in todo):
            return coordinator


def test_a_transaction_is_done_once_and_to_its_own_keys() -> None:
    with world_of() as world:
        receipt = world.send(b"10 from a to b", BOTH)
        receipt.verify(world.trust)
        seen, layout = versions(world, BOTH), world._layouts.layout()
        a, b, other = (world._digest(key, name) for key, name in ((A, NORTH), (B, SOUTH), (C, SOUTH)))

        def manifest(body: bytes, *keys: bytes) -> sc.Manifest:
            inputs = [(layout.shard_of(key), key, world._layouts.version(key)) for key in keys]
            return sc.Manifest(world.chain, layout.since, body, time.time_ns() // 10**6 + 60_000, inputs)

        for forged, words in [
            (manifest(receipt.tx_id, a, b), "other terms"),  # a second time
            (manifest(receipt.tx_id, a, other), "other keys"),
            (manifest(bytes(32), a, b), "another transaction"),
        ]:
            with pytest.raises(VerificationError, match=words):
                carry(world, forged, receipt.head)
            with pytest.raises(VerificationError, match="nothing shows"):
                carry(world, forged, b"")
        assert versions(world, BOTH) == seen
        assert is_free(world, BOTH)
        again = carry(world, sc.Manifest.from_bytes(receipt.manifest), receipt.head)
        assert again.outcome == "committed", "anybody may carry it, and it stays done once"
        assert versions(world, BOTH) == seen


def test_a_receipt_proves_what_its_sender_has_signed() -> None:
    with world_of() as world:
        receipt, other = world.send(b"one", BOTH), world.send(b"two", BOTH)
        trust = world.trust
    assert CrossReceipt.from_bytes(receipt.to_bytes()) == receipt
    receipt.verify(trust)
    first = CrossReceipt(receipt.home, receipt.receipt, receipt.manifest, receipt.certificates)
    assert CrossReceipt.from_bytes(first.to_bytes()) == first, "version 1 is read"
    for wrong, words in [
        (first, "version 1"),
        (CrossReceipt(receipt.home, receipt.receipt, receipt.manifest, receipt.certificates, other.head), "another"),
        (CrossReceipt(receipt.home, receipt.receipt, other.manifest, other.certificates, receipt.head), "another"),
        (CrossReceipt(receipt.home, other.receipt, receipt.manifest, receipt.certificates, receipt.head), "another"),
    ]:
        with pytest.raises(VerificationError, match=words):
            wrong.verify(trust)
    broken = bytes([*receipt.head[:-1], receipt.head[-1] ^ 1])
    with pytest.raises(VerificationError, match="signature"):
        CrossReceipt(receipt.home, receipt.receipt, receipt.manifest, receipt.certificates, broken).verify(trust)


def parts_of(certificate: bytes) -> tuple[bytes, list[bytes]]:
    """A certificate's bytes before its signatures, and each of these with the position of its signer: 66 bytes."""
    count = len(sc.Certificate.from_bytes(certificate).signers)
    begins = len(certificate) - 66 * count
    assert int.from_bytes(certificate[begins - 4 : begins], "little") == count
    return certificate[: begins - 4], [certificate[at : at + 66] for at in range(begins, len(certificate), 66)]


def test_a_receipt_needs_every_signature_of_a_quorum_of_every_city() -> None:
    with world_of() as world:
        receipt, trust = world.send(b"one", BOTH), world.trust
    receipt.verify(trust)
    assert len(receipt.certificates) == 2
    for place, certificate in enumerate(receipt.certificates):
        head, signatures = parts_of(certificate)
        assert len(signatures) >= 3

        def verify(
            signatures: list[bytes], head: bytes = head, before: int = place, certificates: Any = receipt.certificates
        ) -> None:
            spoilt = head + len(signatures).to_bytes(4, "little") + b"".join(signatures)
            wrong = replace(receipt, certificates=[*certificates[:before], spoilt, *certificates[before + 1 :]])
            CrossReceipt.from_bytes(wrong.to_bytes()).verify(trust)

        verify(signatures)
        for at, signature in enumerate(signatures):
            for byte in (2, 33, 34, 65):  # of its two halves the first and the last
                flipped = bytes([*signature[:byte], signature[byte] ^ 1, *signature[byte + 1 :]])
                with pytest.raises(VerificationError, match="signature of member"):
                    verify([*signatures[:at], flipped, *signatures[at + 1 :]])
        for few in (signatures[:2], signatures[-2:], []):
            with pytest.raises(VerificationError, match=f"a weight of {len(few)} signed, 3 are needed"):
                verify(few)
        stranger = (3).to_bytes(2, "little") + signatures[0][2:]
        with pytest.raises(VerificationError, match="signature of member 3 is wrong"):
            verify([*signatures[:2], stranger])


@pytest.mark.parametrize("steps", [3, 5])
def test_a_crossing_outlives_the_epochs_that_its_words_are_of(steps: int) -> None:
    """Nine epochs later nobody knows the committees of the first: what was said is said anew."""
    ground = Ground()
    with world_of(ground, **LARGER) as world:
        world.watch(cut_at(steps))
        with pytest.raises(CutError):
            world.send(b"x", BOTH, expires_s=3600)
        world.watch(None)
        for _ in range(9):
            world.elect()
        (tx_id,) = world.pending()
    with world_of(ground, **LARGER) as world:
        assert world.recovery.committed == [tx_id], world.recovery
        assert is_free(world, BOTH)
        world.receipt(tx_id).verify(world.trust)


def test_what_is_wrong_with_one_crossing_leaves_the_others() -> None:
    ground = Ground()
    with world_of(ground) as world:
        for at in range(2):
            world.watch(cut_at(3))
            with pytest.raises(CutError):
                world.send(b"%d" % at, {NORTH: [b"n%d" % at], SOUTH: [b"s%d" % at]})
        world.watch(None)
        bad, good = world.pending()
    storage = ground("")
    ((_, row),) = [kept for kept in storage.scan(b"p") if kept[0] == b"p" + bad]
    home, transaction, manifest = messages.answer(row, "crossing", 3)
    read = sc.Manifest.from_bytes(manifest)
    late = sc.Manifest(read.chain_id, read.layout, read.body, read.expiry + 1, read.inputs)
    storage.put_many({b"p" + bad: messages.message("crossing", [home, transaction, late.to_bytes()])})
    with world_of(ground) as world:
        assert world.recovery.committed == [good]
        assert isinstance(world.recovery.pending[bad], VerificationError)
        assert world.pending() == [bad]
        world.send(b"later", BOTH).verify(world.trust)


@pytest.mark.parametrize("missed", [2, 3])
def test_a_city_comes_back_after_epochs_that_it_missed(missed: int) -> None:
    with world_of(nodes=8, validators=4) as world:
        world.send(b"one", BOTH)
        world.stop(SOUTH)
        for at in range(missed):
            north = world.city(NORTH)
            old = {node.id for node in north.nodes() if node.delegate}
            north.send(b"by itself %d" % at)
            north.elect([node.id for node in north.nodes() if node.id not in old][:4])
            world.stop(NORTH)
            world.start(NORTH)
        world.start(SOUTH)
        assert [need_shard(world.city(name)._city).layouts[-1].epoch for name in (NORTH, SOUTH)] == [missed, missed]
        world.send(b"two", BOTH).verify(world.trust)


def test_opening_waits_for_no_city_that_is_down(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with World.local([NORTH, SOUTH], path, **SMALL) as world:
        for at in range(3):
            world.watch(cut_at(3))
            with pytest.raises(CutError):
                world.send(b"%d" % at, {NORTH: [b"n%d" % at], SOUTH: [b"s%d" % at]}, expires_s=3600)
        world.watch(None)
    for file in path.glob("city-1.db*"):
        file.unlink()
    started = time.monotonic()
    with World.open(path) as world:
        assert time.monotonic() - started < 20, "10 s for each of them"
        assert len(world.pending()) == 3
        assert all(isinstance(error, UnavailableError) for error in world.recovery.pending.values())


def test_a_coordinator_makes_no_epochs_and_drops_no_city() -> None:
    with world_of() as world:
        layout, south = world._layouts.layout(), world.city(SOUTH)

        def asked(following: sc.Layout) -> bytes:
            return sc.Command.boundary(following, bytes(32)).to_bytes()

        for following, words in [
            (layout.next([(1, layout.members(1))]), "has not written that down"),
            (layout.next([*((at, layout.members(at)) for at in layout.shards), (2, layout.members(1))]), "written"),
            (layout.next([(at, layout.members(at)) for at in layout.shards]), "nobody else is in office"),
        ]:
            with pytest.raises(VerificationError, match=words):
                rule(south, asked(following), time.monotonic() + 10)
        assert need_shard(south._city).layouts[-1] == layout
        world.send(b"one", BOTH).verify(world.trust)


# --- rows of world.db ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[bytes, bytes], Callable[[dict[bytes, bytes]], Path]]:
    """What a world with one crossing done and one under way keeps, and a way to change some of it."""
    path = tmp_path_factory.mktemp("rows") / "w"
    with World.local([NORTH, SOUTH], path, **SMALL) as world:
        world.send(b"done", BOTH)
        world.watch(cut_at(3))
        with pytest.raises(CutError):
            world.send(b"under way", {NORTH: [C], SOUTH: [b"d"]}, expires_s=3600)
    storage = SqliteStorage(path / "world.db", create=False)
    kept = dict(storage.scan(b""))
    storage.close()

    def changed(change: dict[bytes, bytes]) -> Path:
        storage = SqliteStorage(path / "world.db", create=False)
        wanted = {**kept, **change}
        storage.put_many(wanted, delete=[key for key, _ in storage.scan(b"") if key not in wanted])
        storage.close()
        return path

    return kept, changed


def world_rows(kept: dict[bytes, bytes]) -> list[dict[bytes, bytes]]:
    """Damaged rows of the world itself."""
    whole = orjson.loads(kept[b"world"])
    settings, layout = whole["settings"], kept[b"layout"]

    def world(**some: Any) -> dict[bytes, bytes]:
        return {b"world": orjson.dumps({**whole, **some})}

    return [
        {b"world": b"[]"},
        {b"world": b"\xff"},
        world(version=[]),
        world(terms={}),
        world(terms={"failure_max": None, "faulty_share": "x"}),
        world(settings=[NORTH, SOUTH]),
        world(cities=[NORTH, SOUTH, SOUTH]),
        world(cities=7),
        world(chain="00" * 32),
        {b"layout": b""},
        {b"layout": layout[:-1]},
        {b"layout": bytes([*layout[:60], layout[60] ^ 1, *layout[61:]])},
        {b"next": b"?"},
        {b"roll": b"?"},
        {b"e" + bytes(8): b"?"},
        world(cities=[SOUTH, NORTH]),
        world(settings={name: {**own, "evil": 1} for name, own in settings.items()}),
        world(settings={name: {**own, "nodes": "6"} for name, own in settings.items()}),
        world(settings={name: [1] for name in settings}),
    ]


def test_a_damaged_row_is_a_storage_error(rows: Any) -> None:
    kept, changed = rows
    changes = world_rows(kept)
    for change in changes[:-4]:
        with pytest.raises(StorageError):
            World.open(changed(change)).close()
    for change in changes[-4:]:
        with World.open(changed(change)) as world:
            assert all(isinstance(state.why, StorageError) for state in world.health().cities)


def test_a_damaged_crossing_is_left_aside(rows: Any) -> None:
    kept, changed = rows
    key = next(key for key in kept if key[:1] == b"p")
    home, transaction, manifest = messages.answer(kept[key], "crossing", 3)
    flipped = bytes([*transaction[:-1], transaction[-1] ^ 1])

    def crossing(*parts: bytes) -> bytes:
        return messages.message("crossing", parts)

    for row in (
        b"",
        crossing(home, transaction, b""),
        crossing(home, transaction, manifest[:-1]),
        crossing(b"\xff", transaction, manifest),
        crossing(home, flipped[:-1], manifest),
    ):
        with World.open(changed({key: row})) as world:
            assert isinstance(world.recovery.pending[key[1:]], StorageError)
            assert world.pending() == [key[1:]]
            world.send(b"goes on", BOTH).verify(world.trust)
    done = next(key for key in kept if key[:1] == b"d")
    with World.open(changed({done: b"?"})) as world, pytest.raises(StorageError, match="receipt of crossing"):
        world.receipt(done[1:])
