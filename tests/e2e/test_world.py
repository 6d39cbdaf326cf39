"""A world: transactions of several cities are done in all of them or in none, whatever happens in between."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from city_chain import records
from city_chain.algorithms import sc
from city_chain.cli import main
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError, VerificationError
from city_chain.levels.cross_receipt import AbortedError, CrossReceipt, WorldTrust
from city_chain.levels.crossing import Step
from city_chain.levels.rulings import certify, rule
from city_chain.levels.world import World
from tests.e2e.worlds import NORTH, SMALL, SOUTH, WEST, A, B, C, CutError, Ground, cut_at, is_free, versions, world_of

pytestmark = pytest.mark.e2e

BOTH = {NORTH: [A], SOUTH: [B]}


def test_two_cities_commit_and_the_receipt_proves_it_offline() -> None:
    with world_of() as world:
        before = versions(world, BOTH)
        receipt = world.send(b"10 from a to b", BOTH)
        after = versions(world, BOTH)
        assert all(after[key] > before[key] for key in after)
        assert is_free(world, BOTH)
        assert world.pending() == []
        assert world.receive(receipt) == b"10 from a to b"
        (transaction,) = world.city(NORTH).receive_many([receipt.tx_id])
        assert isinstance(transaction, records.Transaction)
        assert len(transaction.touched) == 2
        trust, kept = world.trust.to_bytes(), receipt.to_bytes()
        assert world.receipt(receipt.tx_id) == receipt
    again = CrossReceipt.from_bytes(kept)
    again.verify(WorldTrust.from_bytes(trust))
    assert again == receipt
    assert repr(again) == f"CrossReceipt({receipt.tx_id.hex()[:16]}… of {NORTH!r}, 2 cities)"


def test_a_crossing_s_receipt_wants_the_trust_in_its_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with world_of() as world:
        receipt = world.send(b"10 from a to b", BOTH)
        trust = world.city(NORTH).trust
        with pytest.raises(TypeError, match="trust must be a world's"):
            receipt.verify(trust)
    (tmp_path / "anchor").write_bytes(trust.to_bytes())
    for one in (receipt, replace(receipt, head=b"")):  # of version 2, and of version 1
        (tmp_path / "crossing").write_bytes(one.to_bytes())
        assert main(["verify", str(tmp_path / "crossing"), "--trust", str(tmp_path / "anchor")]) == 1
        assert "the receipt of a crossing; a world's trust checks it" in capsys.readouterr().out


def test_the_shell_verifies_a_crossing_with_the_trust_in_its_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crossing, plain, trust = (tmp_path / name for name in ("crossing", "plain", "trust"))
    with world_of() as world, world_of() as stranger:
        receipt, other = world.send(b"one", BOTH), world.send(b"two", BOTH)
        plain.write_bytes(world.city(NORTH).send(b"plain").to_bytes())
        trust.write_bytes(world.trust.to_bytes())
        elsewhere = stranger.trust.to_bytes()
    crossing.write_bytes(receipt.to_bytes())

    def verified(*options: str) -> tuple[int, str]:
        status = main(["verify", *options, "--trust", str(trust)])
        return status, capsys.readouterr().out

    status, said = verified(str(crossing))
    assert status == 0
    assert f"transaction {receipt.tx_id.hex()} of north, done in 2 cities" in said
    status, said = verified("--json", str(crossing))
    shown = json.loads(said)
    assert (shown["ok"], shown["tx_id"], shown["home"], shown["cities"]) == (True, receipt.tx_id.hex(), NORTH, 2)
    status, said = verified(str(crossing), str(plain))
    assert (status, said.count("WRONG"), said.count("ok  ")) == (1, 1, 1)
    assert "is no receipt of a crossing" in said
    wrong = (
        replace(receipt, certificates=other.certificates),
        replace(receipt, head=other.head),
        replace(receipt, home=SOUTH),
        replace(receipt, manifest=b"?"),
        replace(receipt, head=b""),
    )
    for one in wrong:
        crossing.write_bytes(one.to_bytes())
        status, said = verified(str(crossing))
        assert (status, said[:5]) == (1, "WRONG")
    crossing.write_bytes(receipt.to_bytes())
    whole = trust.read_bytes()
    trust.write_bytes(elsewhere)
    assert verified(str(crossing))[0] == 1
    for damaged in (whole[:-1], whole + b"?", crossing.read_bytes(), bytes((1 << 20) + 1)):
        trust.write_bytes(damaged)
        assert main(["verify", str(crossing), "--trust", str(trust)]) == 1
        assert "is no trust anchor" in capsys.readouterr().err


@pytest.mark.parametrize("touches", [[A, B, A], {NORTH: [A, A], SOUTH: [B]}])
def test_a_key_that_is_named_twice_is_said_in_plain_words(touches: Any) -> None:
    with world_of() as world:
        with pytest.raises(InputError, match="touches names a key twice; name each key once"):
            world.send(b"x", touches)
        with pytest.raises(InputError, match="writes names a key twice"):
            world.send(b"x", BOTH, writes=touches)
        assert world.pending() == []
        world.send(b"both", BOTH, writes=[C]).verify(world.trust)


def test_health_says_never_and_why_a_city_does_not_run(tmp_path: Path) -> None:
    earth = tmp_path / "earth"
    with World.local([NORTH, SOUTH], path=earth, **SMALL) as world:
        world.stop(SOUTH)
        said = str(world.health())
        assert "inf" not in said
        assert [line.split() for line in said.splitlines()[1:3]] == [
            [NORTH, "yes", "0", "4", "never", "0", "0"],
            [SOUTH, "no", "-", "-", "-", "-", "-"],
        ]
        assert "south does not run: it was stopped" in said
    kept = (earth / "city-1.db").rename(tmp_path / "kept")
    with World.open(earth) as world:
        said = str(world.health())
        assert f"south does not run: {earth / 'city-1.db'}, the file of city 'south', is gone; put it back" in said
        assert "City.local" not in said
        with pytest.raises(StorageError, match="is gone; put it back"):
            world.start(SOUTH)
        kept.rename(earth / "city-1.db")
        world.start(SOUTH)
        assert world.health().cities[1].running
    with world_of(nodes=12, faulty_share=0.3) as world:
        assert "2^-" in str(world.health())


def test_keys_alone_say_which_cities_are_asked() -> None:
    with world_of(names=(NORTH, SOUTH, WEST)) as world:
        keys = [b"key %d" % at for at in range(6)]
        where = {world.city_of(key) for key in keys}
        receipt = world.send(b"all of them", keys)
        receipt.verify(world.trust)
        assert {world.names[shard] for shard in sc.Manifest.from_bytes(receipt.manifest).shards} == where
        assert len(receipt.certificates) == len(where) > 1


def test_a_key_that_changed_meanwhile_aborts_everywhere() -> None:
    with world_of(names=(NORTH, SOUTH, WEST)) as world:
        touches = {NORTH: [A], SOUTH: [B], WEST: [C]}
        seen = versions(world, touches)

        def meanwhile(step: Step) -> None:
            if step.name == "home":
                world.watch(None)
                world.send(b"first", {WEST: [C]})

        world.watch(meanwhile)
        with pytest.raises(AbortedError, match=r"'west': key .* is at version") as caught:
            world.send(b"second", touches)
        assert caught.value.city == WEST
        assert is_free(world, touches)
        assert world.pending() == []
        now = versions(world, touches)
        assert now[A] > seen[A], "versions advance on every release"
        with pytest.raises(AbortedError):
            world.receipt(caught.value.tx_id)
        world.send(b"third", touches).verify(world.trust)


def test_a_city_with_outputs_only_is_asked_too() -> None:
    with world_of() as world:
        world.city(SOUTH)
        receipt = world.send(b"a writes b", {NORTH: [A]}, writes={SOUTH: [B]})
        assert len(receipt.certificates) == 2
        blocked = threading.Event()

        def hold(step: Step) -> None:
            """While one crossing has b locked, another that only writes b is refused by b's city."""
            if step.name == "vote" and step.city == SOUTH and not blocked.is_set():
                blocked.set()

        world.watch(hold)
        world.send(b"again", {NORTH: [A]}, writes={SOUTH: [B]})
        assert blocked.is_set()
        without = replace(receipt, certificates=receipt.certificates[:1])
        with pytest.raises(VerificationError, match="have spoken"):
            without.verify(world.trust)


def test_a_receipt_that_was_tampered_with_is_refused() -> None:
    with world_of() as world:
        first, second = world.send(b"one", BOTH), world.send(b"two", BOTH)
        wrong = [
            replace(first, receipt=second.receipt),
            replace(first, manifest=second.manifest),
            replace(first, head=second.head),
            replace(first, certificates=second.certificates),
            replace(first, certificates=first.certificates[::-1]),
            replace(first, certificates=[first.certificates[0]] * 2),
            replace(first, home=SOUTH),
            replace(first, home="nowhere"),
        ]
        for receipt in wrong:
            with pytest.raises(VerificationError):
                receipt.verify(world.trust)
        with world_of() as other, pytest.raises(VerificationError):
            first.verify(other.trust)
        for kind in (CrossReceipt, WorldTrust):
            for data in (b"", b"?", b"x" * 99, first.manifest):
                with pytest.raises(InputError):
                    kind.from_bytes(data)


# --- crashes ---------------------------------------------------------------------------------------------------------


def steps_of_a_commit() -> int:
    seen: list[Step] = []
    with world_of() as world:
        world.watch(seen.append)
        world.send(b"counted", BOTH)
    return len(seen)


def test_a_crash_between_any_two_steps_ends_the_same_everywhere() -> None:
    total = steps_of_a_commit()
    assert total >= 7
    for count in range(total):
        ground = Ground()
        world = world_of(ground)
        before = versions(world, BOTH)
        world.watch(cut_at(count))
        with pytest.raises(CutError):
            world.send(b"cut off", BOTH)
        world.close()
        with world_of(ground) as again:
            after = versions(again, BOTH)
            moved = {after[key] > before[key] for key in after}
            assert len(moved) == 1, f"half of it is done after step {count}"
            assert is_free(again, BOTH)
            assert again.pending() == []
            assert len(again.recovery.committed) == (count > 0), count
            for tx_id in again.recovery.committed:
                again.receipt(tx_id).verify(again.trust)
            again.send(b"more", BOTH).verify(again.trust)


def test_an_abort_that_is_cut_off_ends_the_same_everywhere() -> None:
    for count in range(1, 7):
        ground = Ground()
        world = world_of(ground)
        cut = cut_at(count)

        def meanwhile(step: Step, world: World = world, cut: object = cut) -> None:
            if step.name == "home":
                world.watch(None)
                world.send(b"first", {SOUTH: [B]})
                world.watch(cut)  # type: ignore[arg-type]

        world.watch(meanwhile)
        with pytest.raises((CutError, AbortedError)) as caught:
            world.send(b"second", BOTH)
        world.close()
        with world_of(ground) as again:
            assert is_free(again, BOTH)
            assert again.pending() == []
            if caught.type is CutError:
                (error,) = again.recovery.aborted.values()
                assert isinstance(error, AbortedError)
                assert error.city == SOUTH


# --- silence and expiry ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [NORTH, SOUTH])
def test_a_city_that_is_down_until_the_expiry_aborts_it_everywhere(down: str) -> None:
    other = SOUTH if down == NORTH else NORTH
    with world_of() as world:
        before = versions(world, BOTH)

        def lose(step: Step) -> None:
            if step.name == "vote":
                world.watch(None)
                world.stop(down)

        world.watch(lose)
        with pytest.raises((AbortedError, UnavailableError)):
            world.send(b"never", BOTH, home=other, expires_s=0.4, deadline_s=1.5)
        assert not world.health().cities[world.names.index(down)].running
        world.start(down)
        assert world.pending() == []
        assert is_free(world, BOTH)
        after = versions(world, BOTH)
        assert {key for key in after if after[key] > before[key]} <= {A}, "what was prepared has moved on, no more"
        world.send(b"now", BOTH).verify(world.trust)


def test_a_city_that_is_back_in_time_commits_it() -> None:
    with world_of() as world:
        before = versions(world, BOTH)

        def lose(step: Step) -> None:
            if (step.name, step.city) == ("vote", SOUTH):
                world.watch(None)
                world.stop(SOUTH)

        world.watch(lose)
        with pytest.raises(UnavailableError, match="'south' does not run"):
            world.send(b"later", BOTH, expires_s=60, deadline_s=0.3)
        assert len(world.pending()) == 1
        assert world.health().pending == world.pending()
        assert world.locked_by(A, city=NORTH) is not None
        (tx_id,) = world.start(SOUTH).committed
        world.receipt(tx_id).verify(world.trust)
        after = versions(world, BOTH)
        assert all(after[key] > before[key] for key in after)


def test_a_city_that_goes_down_when_it_is_decided_hears_of_it_later() -> None:
    with world_of() as world:

        def lose(step: Step) -> None:
            if (step.name, step.city) == ("close", NORTH):
                world.watch(None)
                world.stop(NORTH)

        world.watch(lose)
        receipt = world.send(b"done", BOTH, deadline_s=1)
        assert world.pending() == [receipt.tx_id]
        world.start(NORTH)
        assert world.pending() == []
        assert is_free(world, BOTH)
        receipt.verify(world.trust)


# --- replays and races -----------------------------------------------------------------------------------------------


def test_the_word_of_an_aborted_attempt_is_refused_in_the_next() -> None:
    with world_of() as world:

        def meanwhile(step: Step) -> None:
            if step.name == "home":
                world.watch(None)
                world.send(b"first", {SOUTH: [B]})

        world.watch(meanwhile)
        with pytest.raises(AbortedError):
            world.send(b"attempt", BOTH)
        (old,) = [ruling for ruling in rulings(world, NORTH) if sc.Command.from_bytes(ruling.command).kind == "prepare"]
        word = sc.Certificate.from_bytes(certify(world.city(NORTH), old, time.monotonic() + 5))
        assert word.statement.verdict == "prepared"
        (abort,) = [ruling for ruling in rulings(world, SOUTH) if b"CCss" in ruling.statement][-1:]
        ended = sc.Certificate.from_bytes(certify(world.city(SOUTH), abort, time.monotonic() + 5))
        assert ended.statement.verdict == "abort"
        seen = versions(world, BOTH)
        keys = [world._digest(A, NORTH), world._digest(B, SOUTH)]

        def following(terms: bytes) -> records.Transaction:
            return world.city(NORTH).transaction(b"next", touched=keys, terms=terms)

        fresh = world._crossings.begin(following, NORTH, keys, [], 60)
        manifest = sc.Manifest.from_bytes(fresh.manifest)
        command = sc.Command.prepare(manifest, [word])
        with pytest.raises(CityChainError, match="another transaction"):
            rule(world.city(SOUTH), command.to_bytes(), time.monotonic() + 5, warrant=fresh.head)
        coordinator = sc.Coordinator(manifest, [word, ended], world._layouts.understood())
        assert coordinator.outcome is None, "old words tell nothing about another attempt"
        assert versions(world, BOTH) == seen
        world._crossings.drive(fresh, time.monotonic() + 10).verify(world.trust)


def rulings(world: World, name: str) -> list[records.Ruling]:
    """All rulings of a city, in their order."""
    ledger = world.city(name)._city.ledger
    blocks = [ledger.batch(height) for height in ledger.ruling_heights(0)]
    pieces = [piece for block in blocks if block is not None for piece in ledger.evidence(block.batch)]
    return [piece for piece in pieces if isinstance(piece, records.Ruling)]


def test_of_two_that_want_each_others_keys_one_wins_and_none_hangs() -> None:
    with world_of() as world:
        for _ in range(3):
            gate = threading.Barrier(2)

            def send(payload: bytes, touches: dict[str, list[bytes]], gate: threading.Barrier = gate) -> bool:
                gate.wait(10)
                try:
                    world.send(payload, touches, deadline_s=20).verify(world.trust)
                except AbortedError:
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                first = pool.submit(send, b"one", {NORTH: [A], SOUTH: [B]})
                second = pool.submit(send, b"two", {SOUTH: [B], NORTH: [A]})
                won = [first.result(60), second.result(60)]
            assert any(won)
            assert is_free(world, BOTH)
            assert world.pending() == []


# --- openings --------------------------------------------------------------------------------------------------------


def test_a_world_in_a_folder_is_opened_again(tmp_path: object) -> None:
    folder = f"{tmp_path}/earth"
    with World.local([NORTH, SOUTH], folder, nodes=4, validators=4, k=2, n=4) as world:
        receipt = world.send(b"kept", BOTH)
        seen = versions(world, BOTH)
        with pytest.raises(StorageError, match="open in another process"):
            World.open(folder)
    with World.open(folder) as again:
        assert versions(again, BOTH) == seen
        assert again.receipt(receipt.tx_id) == receipt
        assert again.receive(receipt) == b"kept"
        again.send(b"more", BOTH).verify(again.trust)
    with pytest.raises(InputError, match=r"open it with World\.open"):
        World.local([NORTH, WEST], folder)


def test_a_world_keeps_its_engines_where_none_is_named(tmp_path: Path) -> None:
    settings = {"nodes": 5, "validators": 1, "k": 2, "n": 4}
    World.local({NORTH: {"engine": "dpos"}, SOUTH: {}}, tmp_path / "world", **settings).close()
    with World.local([NORTH, SOUTH], tmp_path / "world", **settings) as world:
        assert [world.city(name).settings.engine for name in (NORTH, SOUTH)] == ["dpos", "hotstuff"]
    with pytest.raises(InputError, match=r"World\.open"):
        World.local({NORTH: {"engine": "abba"}, SOUTH: {}}, tmp_path / "world", **settings)


def test_what_no_world_can_be_is_refused() -> None:
    wrong = [
        (lambda: World.local([]), InputError, "0 cities"),
        (lambda: World.local("ab"), TypeError, "several names"),
        (lambda: World.local(["a", "a"]), InputError, "twice"),
        (lambda: World.local(["a"], failure_max=1e-6), InputError, "delegates would do"),
        (lambda: World.local(["a"], failure_max=2), InputError, "above 0 and below 1"),
        (lambda: World.local(["a"], faulty_share=0.5), InputError, "0 to 1/3"),
        (lambda: World.open("/nowhere/at/all"), StorageError, "does not exist"),
    ]
    for make, kind, words in wrong:
        with pytest.raises(kind, match=words):
            make()


def test_what_cannot_be_sent_is_refused_before_anything_begins() -> None:
    with world_of() as world:
        many = [b"%d" % at for at in range(65)]
        for touches, more, words in [
            ((), {}, "touches one key"),
            (many, {}, "64"),
            ({NORTH: [A, A]}, {}, "names a key twice"),
            ({"east": [A]}, {}, "no city"),
            ([b""], {}, "0 bytes"),
            ([A], {"expires_s": 0}, "expires_s"),
            ([A], {"deadline_s": -1}, "deadline"),
            ([A], {"home": "east"}, "no city"),
        ]:
            with pytest.raises(InputError, match=words):
                world.send(b"x", touches, **more)
        with pytest.raises(InputError, match="was begun here"):
            world.receipt(bytes(32))
        assert world.pending() == []
        assert [world.city(name).height for name in world.names] == [0, 0]
