"""What was dispersed with another erasure code than is taken today stays whole: received, repaired, resumed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import City, ec, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.composer import Stage
from city_chain.node.holder import fragment_key
from city_chain.pipelines import SENDING
from city_chain.stages import s2_resume
from city_chain.stages.model import Dispersal, Hold, Sender

pytestmark = pytest.mark.e2e

PAYLOADS = [b"", b"x", bytes(range(256)) * 40]


def encode_old(transactions: Sequence[records.Transaction], sender: Sender) -> list[Dispersal]:
    """Encodes as before there was `gf8`: every (k, n) by `rs16`."""
    terms, dispersals = sender.terms, []
    for transaction in transactions:
        data = transaction.to_bytes()
        encoded = ec.encode(data, terms.k, terms.n - terms.k, code="rs16")
        dispersals.append(Dispersal(len(data), terms.k, terms.n, encoded.fragments, encoded.hashes, code=1))
    return dispersals


OLD = SENDING.replace(
    "s2_encode", Stage("s2_encode", encode_old, inputs=("transactions", "sender"), output="dispersals")
)


class Kept(MemoryStorage):
    """Stays when the city closes."""

    def close(self) -> None:
        pass


def lose(city: City, tx_id: bytes, count: int) -> None:
    """Takes the first fragments away from who holds them."""
    placement = city._city.placements([tx_id])[0]
    assert placement is not None
    rows = [b"h" + city._city.node(placement.holders[i]).space + fragment_key(tx_id, i) for i in range(count)]
    city._city.storage.delete_many(rows)


def test_an_old_city_is_read_and_repaired() -> None:
    storage = Kept()
    with City.local(storage=storage, nodes=12, k=6, n=10) as city:
        city.use(OLD)
        old = [city.send(payload) for payload in PAYLOADS]
        city.settle()
    with City.local(storage=storage, nodes=12, k=6, n=10) as city:
        new = [city.send(payload) for payload in PAYLOADS]
        city.settle()
        assert {receipt.manifest.code for receipt in old} == {1}
        assert {receipt.manifest.code for receipt in new} == {2}
        for receipt in [*old, *new]:
            lose(city, receipt.tx_id, 4)
        for receipts in (old, new):
            for payload, receipt in zip(PAYLOADS, receipts, strict=True):
                receipt.verify(city.trust)
                assert city.receive(receipt.tx_id) == payload
        report = city.repair()
        assert (report.repaired, report.fragments, report.errors) == (6, 24, {})
        sizes = [4 * ec.fragment_len(r.manifest.length, 6, 4, code=r.manifest.code) for r in [*old, *new]]
        assert report.size == sum(sizes)
        assert city.health().counts["whole"] == 6
        for payload, receipt in zip(PAYLOADS, old, strict=True):
            assert city.receive(receipt.tx_id) == payload


def test_an_old_send_that_a_crash_cut_off_is_finished_by_its_manifest() -> None:
    class PowerCut(BaseException):
        """Nobody catches it, as nobody catches a process that ends."""

    def cut(holds: Sequence[Hold]) -> None:
        assert {hold.manifest.code for hold in holds} == {1}
        raise PowerCut

    storage = Kept()
    with City.local(storage=storage, nodes=12, k=6, n=10) as city:
        delivery = next(stage for stage in OLD.stages if stage.name == "s4_deliver")
        city.use(OLD.replace("s4_deliver", Stage("s4_deliver", cut, inputs=("holds",), output=delivery.output)))
        for payload in PAYLOADS:
            with pytest.raises(PowerCut):
                city.send(payload)
    with City.local(storage=storage, nodes=12, k=6, n=10) as city:
        recovery = city.recovery
        assert (len(recovery.finished), recovery.failed, recovery.pending) == (3, {}, {})
        assert {receipt.manifest.code for receipt in recovery.finished} == {1}
        assert {city.receive(receipt.tx_id) for receipt in recovery.finished} == set(PAYLOADS)


def test_what_is_resumed_has_the_hashes_of_its_manifest() -> None:
    with City.local(nodes=12, k=6, n=10) as city:
        new = city.send(b"new")
        city.use(OLD)
        old = city.send(b"old")
        transactions = [city.transaction(b"new"), city.transaction(b"old")]
        dispersals = s2_resume(transactions, [new.manifest, old.manifest])
        assert [dispersal.code for dispersal in dispersals] == [2, 1]
        assert [len(dispersal.fragments[0]) % 2 for dispersal in dispersals][1] == 0
