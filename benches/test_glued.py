"""The glued rival is a correct program: what it sends comes back, what it receipts can be checked, lies are refused."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bench
glued = pytest.importorskip("glued.city", exc_type=ImportError)  # its packages are in the dependency group `bench`
crypto = pytest.importorskip("glued.crypto")
records = pytest.importorskip("glued.records")
store = pytest.importorskip("glued.store")


@pytest.fixture
def city(tmp_path: Path) -> Iterator[Any]:
    made = glued.GluedCity(tmp_path / "glued.db", store.Durability(ordered=2, synced=1))
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, 5, 6, 7, 4096, 100_001])
def test_what_is_sent_comes_back(city: Any, size: int) -> None:
    payload = os.urandom(size)
    assert city.receive(city.send(payload).tx_id) == payload


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ordered", range(6))
def test_bursts_come_back_after_reopening(tmp_path: Path, ordered: int, threads: int) -> None:
    payloads = [os.urandom(100 + at) for at in range(20)]
    city = glued.GluedCity(tmp_path / "glued.db", store.Durability(ordered, 1), threads=threads)
    kept = [receipt.to_bytes() for receipt in city.send_many(payloads)]
    trust = city.trust
    city.close()
    assert len({glued.verify_receipt(encoding, trust).tx_id for encoding in kept}) == 20
    again = glued.GluedCity(tmp_path / "glued.db", store.Durability(ordered, 1))
    for encoding, payload in zip(kept, payloads, strict=True):
        assert again.receive(glued.verify_receipt(encoding, trust).tx_id) == payload
    assert again.receive(again.send(b"one more").tx_id) == b"one more"
    again.close()


def test_any_four_fragments_may_be_lost_or_rotten(city: Any) -> None:
    payload = os.urandom(1000)
    tx_id = city.send(payload).tx_id
    (row,) = city.store.connection.execute("SELECT fragments FROM held").fetchone()
    each = len(row) // 10
    for damaged, is_enough in (((0, 1, 2, 3), True), ((6, 7, 8, 9), True), ((0, 2, 4, 6, 8), False)):
        rotten = bytearray(row)
        for index in damaged:
            rotten[index * each + records.REQUEST.size + records.ITEM.size + 10] ^= 1
        city.store.connection.execute("UPDATE held SET fragments = ?", [bytes(rotten)])
        if is_enough:
            assert city.receive(tx_id) == payload
        else:
            with pytest.raises(crypto.WrongError, match="5 fragments"):
                city.receive(tx_id)


def test_no_flipped_bit_of_a_receipt_is_accepted(city: Any) -> None:
    kept = city.send_many([os.urandom(50) for _ in range(3)])[1].to_bytes()
    for at in [*range(0, len(kept), 97), len(kept) - 1]:
        wrong = bytearray(kept)
        wrong[at] ^= 1
        with pytest.raises((crypto.WrongError, ValueError, IndexError)):
            assert glued.verify_receipt(bytes(wrong), city.trust).to_bytes() == kept


def test_a_node_refuses_what_nobody_signed(city: Any) -> None:
    node, fragment, now = city.nodes[0], b"fragment", glued.now_ms()

    def ask(node_id: bytes, fragment_hash: bytes, deadline: int, sign: bool = True) -> bytes:
        head = records.REQUEST.pack(city.network, city.sender.public, node_id, now << 16, deadline, now + 1000)
        message = head + records.ITEM.pack(bytes(32), bytes(32), 0, 10, fragment_hash, bytes(32))
        tree = crypto.Tree([crypto.digest(b"glue_req", message)])
        signature = city.sender.sign(tree.root if sign else bytes(32))
        return node.hold(glued._hold_body(message, 0, tree, signature, [fragment]), {})

    right = glued.blake3(fragment).digest()
    assert len(ask(node.id, right, now + 1000)) > records.ACK.size
    for wrong in (
        (city.nodes[1].id, right, now + 1000),
        (node.id, bytes(32), now + 1000),
        (node.id, right, now - 1000),
    ):
        with pytest.raises(crypto.WrongError):
            ask(*wrong)
    with pytest.raises(crypto.WrongError, match="signature"):
        ask(node.id, right, now + 1000, sign=False)


def test_delegates_refuse_a_certificate_with_a_forged_ack(city: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forger = crypto.Keys(bytes(32))
    monkeypatch.setattr(city.nodes[3], "keys", forger)
    with pytest.raises(crypto.WrongError, match="signature"):
        city.send_many([b"a", b"b", b"c", b"d"])


def test_the_plan_of_commits() -> None:
    assert store.Durability(0, 1).plan() == {"ledger": True}
    assert store.Durability(2, 1).plan() == {"intent": False, "held": False, "ledger": True}
    assert store.Durability(0, 6).plan() == dict.fromkeys(store.POINTS, True)
    with pytest.raises(ValueError, match="last commit"):
        store.Durability(1, 0).plan()


def test_nothing_is_left_uncommitted(tmp_path: Path) -> None:
    city = glued.GluedCity(tmp_path / "glued.db", store.Durability(1, 1))
    city.send(b"payload")
    other = sqlite3.connect(tmp_path / "glued.db")
    counted = [
        other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("held", "receipts", "intents")
    ]
    other.close()
    city.close()
    assert counted == [1, 1, 0]
