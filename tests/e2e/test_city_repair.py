"""Health and repair: every set of bad holders that the code survives is mended; what cannot be is said, and no more."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from city_chain import City, ec, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import InputError, UnavailableError
from city_chain.node.holder import fragment_key

pytestmark = pytest.mark.e2e


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


def opened(storage: Kept, transport: InProcessTransport | None = None, **settings: Any) -> City:
    return City.local(storage=storage, transport=transport, **settings)


def rows_of(city: City, tx_id: bytes) -> dict[int, bytes]:
    """Index → the key under which the present holder keeps that fragment."""
    placement = city._city.placements([tx_id])[0]
    assert placement is not None
    return {
        index: b"h" + city._city.node(node).space + fragment_key(tx_id, index)
        for index, node in placement.holders.items()
    }


def lose(city: City, tx_id: bytes, index: int) -> None:
    city._city.storage.delete_many([rows_of(city, tx_id)[index]])


def flip(city: City, tx_id: bytes, index: int) -> None:
    key = rows_of(city, tx_id)[index]
    (row,) = city._city.storage.get_many([key])
    assert row is not None
    city._city.storage.put_many({key: row[:-1] + bytes([row[-1] ^ 1])})


def garble(city: City, tx_id: bytes, index: int) -> None:
    city._city.storage.put_many({rows_of(city, tx_id)[index]: b"garbage"})


HARMS = [lose, flip, garble]


def fragments_there(city: City) -> int:
    return sum(node.fragments for node in city.nodes())


def rows_but_clocks(storage: Kept) -> dict[bytes, bytes]:
    """All rows but the bounds of nodes' stamps, which move with time alone."""
    return {key: value for key, value in storage.scan(b"") if not key.startswith(b"hu")}


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 3), (2, 3), (2, 4), (3, 5), (2, 6), (4, 6)])
def test_every_set_of_bad_holders(k: int, n: int) -> None:
    storage = Kept()
    with opened(storage, nodes=n + 2, validators=1, k=k, n=n) as city:
        receipt = city.send(bytes(range(100)))
        other = city.send(b"untouched")
        city.settle()
        generation = 0
        for count in range(1, n - k + 1):
            for number, bad in enumerate(itertools.combinations(range(n), count)):
                for place, index in enumerate(bad):
                    HARMS[(number + place) % 3](city, receipt.tx_id, index)
                health = city.health([receipt.tx_id]).transactions[0]
                assert (health.good, set(health.bad)) == (n - count, set(bad))
                assert city.receive(receipt.tx_id) == bytes(range(100))
                report = city.repair()
                generation += 1
                assert (report.checked, report.repaired, report.fragments, report.errors) == (2, 1, count, {})
                assert report.size == count * ec.fragment_len(receipt.manifest.length, k, n - k)
                assert city.health().counts["whole"] == 2
                assert city._city.ledger.generation(receipt.tx_id) == generation
                before = rows_but_clocks(storage)
                again = city.repair()
                assert (again.repaired, again.fragments, again.size, again.errors) == (0, 0, 0, {})
                assert rows_but_clocks(storage) == before
        city.receipt(receipt.tx_id).verify(city.trust)
        assert city.receipt(receipt.tx_id) == receipt
        assert city._city.ledger.generation(other.tx_id) == 0
        (tip, repairs) = (city.height, city._city.ledger.repairs(receipt.tx_id))
    with opened(storage, nodes=n + 2, validators=1, k=k, n=n) as city:
        assert city.height == tip
        assert [certificate.repair.generation for certificate in repairs] == list(range(1, generation + 1))
        assert city.receive(receipt.tx_id) == bytes(range(100))
        assert city.health().counts["whole"] == 2


@pytest.mark.parametrize(("k", "n"), [(1, 1), (2, 3), (3, 5)])
def test_too_few_good_fragments_are_said_and_nothing_else_is_harmed(k: int, n: int) -> None:
    with opened(Kept(), nodes=n + 2, validators=1, k=k, n=n) as city:
        receipts = [o for o in city.send_many([b"%d" % at * 50 for at in range(5)]) if isinstance(o, records.Receipt)]
        city.settle()
        lost = receipts[2].tx_id
        for index in range(n - k + 1):
            HARMS[index % 3](city, lost, index)
        lose(city, receipts[3].tx_id, 0) if n > k else None
        report = city.repair()
        assert set(report.errors) == {lost}
        error = report.errors[lost]
        assert isinstance(error, UnavailableError)
        assert (error.needed, error.had) == (k, k - 1)
        assert report.repaired == (1 if n > k else 0)
        counts = city.health().counts
        assert (counts["whole"], counts["lost"]) == (4, 1)
        with pytest.raises(UnavailableError) as caught:
            city.receive(lost)
        assert (caught.value.needed, caught.value.had) == (k, k - 1)
        outcomes = city.receive_many([receipt.tx_id for receipt in receipts])
        assert [isinstance(outcome, records.Transaction) for outcome in outcomes] == [True, True, False, True, True]
        worst = city.health().worst
        assert worst is not None
        assert worst.tx_id == lost
        for receipt in receipts:
            city.receipt(receipt.tx_id).verify(city.trust)


def test_all_kinds_of_harm_at_once_and_again_after_reopening() -> None:
    settings: dict[str, Any] = {"nodes": 20, "validators": 4}
    storage = Kept()
    with opened(storage, **settings) as city:
        sent = {city.send(b"%d" % at * (at + 1)).tx_id: b"%d" % at * (at + 1) for at in range(12)}
        city.settle()
        for round_ in range(2):
            down = [node.id for node in city.nodes() if not node.delegate][round_ : round_ + 2]
            for node in down:
                city.stop_node(node)
            for number, tx_id in enumerate(sent):
                placement = city._city.placements([tx_id])[0]
                assert placement is not None
                up = [index for index, node in sorted(placement.holders.items()) if node not in down]
                for harm, index in zip((lose, flip), up[number % 3 :], strict=False):
                    harm(city, tx_id, index)
            assert city.health().redundancy < 1
            report = city.repair()
            assert not report.errors, report
            assert report.repaired == 12
            assert city.health().counts["whole"] == 12
            assert all(city.receive(tx_id) == payload for tx_id, payload in sent.items())
            assert {city._city.ledger.generation(tx_id) for tx_id in sent} == {round_ + 1}
    with opened(storage, **settings) as city:
        assert city.health().counts["whole"] == 12
        for info in city.nodes():
            if not info.running:
                city.start_node(info.id)
        for tx_id, payload in sent.items():
            for index in range(4):
                flip(city, tx_id, index)
            assert city.receive(tx_id) == payload
        assert city.repair().fragments == 48
        assert city.health().counts["whole"] == 12
        for tx_id in sent:
            city.receipt(tx_id).verify(city.trust)


def test_a_repair_has_nowhere_to_go() -> None:
    """As many nodes as fragments, one of them gone for good: said, and tried again without growing anything."""
    storage = Kept()
    with opened(storage, nodes=4, validators=1, k=2, n=4) as city:
        receipt = city.send(b"x")
        city.settle()
        placement = city._city.placements([receipt.tx_id])[0]
        assert placement is not None
        delegate = next(node.id for node in city.nodes() if node.delegate)
        index, node = next((i, node) for i, node in placement.holders.items() if node != delegate)
        city.stop_node(node)
        for _ in range(3):
            report = city.repair()
            assert isinstance(report.errors[receipt.tx_id], UnavailableError)
            assert report.repaired == 0
        assert city._city.ledger.generation(receipt.tx_id) == 0
        assert city.height == 1
        assert city.health().counts["healthy"] == 1
        city.start_node(node)
        assert city.health().counts["whole"] == 1
        # Its own node can take a rotten fragment back.
        for harm in HARMS:
            harm(city, receipt.tx_id, index)
            assert city.repair().fragments == 1
            assert city.health().counts["whole"] == 1


def test_any_rot_in_a_row_can_be_mended_in_place() -> None:
    """Not only in the fragment: also in the request that is kept with it."""
    with opened(Kept(), nodes=4, validators=1, k=2, n=4) as city:
        receipt = city.send(b"rot")
        city.settle()
        key = rows_of(city, receipt.tx_id)[1]
        (row,) = city._city.storage.get_many([key])
        assert row is not None
        for place in range(len(row)):
            at = place % len(row)  # a request signed in another burst has another length
            city._city.storage.put_many({key: row[:at] + bytes([row[at] ^ 16]) + row[at + 1 :]})
            assert city.receive(receipt.tx_id) == b"rot"
            report = city.repair()
            assert not report.errors, (at, len(row), report)
            assert city.health().counts["whole"] == 1
            key = rows_of(city, receipt.tx_id)[1]
            (row,) = city._city.storage.get_many([key])
            assert row is not None


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(refuse=True), Fault(corrupt=1.0), Fault(loss=1.0)])
def test_repair_around_nodes_that_do_not_answer(fault: Fault) -> None:
    transport = InProcessTransport()
    with opened(Kept(), transport, nodes=20, validators=4) as city:
        sent = [city.send(b"%d" % at).tx_id for at in range(10)]
        city.settle()
        silent = [node for node in city.nodes() if not node.delegate][:4]
        for node in silent:
            transport.set_fault(node.address, fault)
        started = time.monotonic()
        assert city.health(deadline_s=10).redundancy < 1
        report = city.repair(deadline_s=10)
        assert not report.errors, report
        assert time.monotonic() - started < 24
        if not fault.corrupt:  # what garbles one answer in many is right about the others
            health = city.health(deadline_s=10)
            assert health.counts["whole"] == 10, health
        for node in silent:
            transport.set_fault(node.address, None)
        assert city.health().counts["whole"] == 10
        assert city.repair().repaired == 0
        assert all(isinstance(t, records.Transaction) for t in city.receive_many(sent))


def test_one_that_is_lost_to_silence_does_not_stop_the_repair_of_others() -> None:
    transport = InProcessTransport()
    with opened(Kept(), transport, nodes=12, validators=1, k=2, n=3) as city:
        sent = [city.send(b"%d" % at * 9).tx_id for at in range(12)]
        city.settle()
        lost = sent[0]
        placement = city._city.placements([lost])[0]
        assert placement is not None
        delegate = next(node.id for node in city.nodes() if node.delegate)
        down = [node for node in placement.holders.values() if node != delegate][:2]
        for node in down:
            transport.set_fault(city._city.node(node).address, Fault(hang=True))
        report = city.repair(deadline_s=4)
        assert isinstance(report.errors[lost], UnavailableError)
        counts = city.health(deadline_s=4).counts
        harmed = [tx for tx in city.health(deadline_s=4).transactions if tx.state == "lost"]
        assert lost in [tx.tx_id for tx in harmed]
        assert counts["degraded"] == 0
        assert counts["whole"] + counts["lost"] == 12
        for node in down:
            transport.set_fault(city._city.node(node).address, None)
        assert not city.repair().errors
        assert city.health().counts["whole"] == 12


def test_delegates_too_few_to_commit_a_repair() -> None:
    transport = InProcessTransport()
    with opened(Kept(), transport, nodes=12, validators=4, k=2, n=4) as city:
        receipt = city.send(b"x")
        city.settle()
        lose(city, receipt.tx_id, 0)
        delegates = [node for node in city.nodes() if node.delegate]
        placement = city._city.placements([receipt.tx_id])[0]
        assert placement is not None
        for node in delegates[:2]:
            transport.set_fault(node.address, Fault(refuse=True))
        with pytest.raises(UnavailableError, match="did not agree in time"):
            city.repair(deadline_s=2)
        assert city._city.ledger.generation(receipt.tx_id) == 0
        for node in delegates:
            transport.set_fault(node.address, None)
        assert city.receive(receipt.tx_id) == b"x"
        city.repair()  # may find that the first one is carried on, and give way to it
        assert not city.repair().errors
        assert city.health().counts["whole"] == 1


def test_repair_and_health_of_what_is_not_there() -> None:
    with opened(Kept(), nodes=4, validators=1, k=2, n=4) as city:
        for call in (city.repair, city.health):
            assert str(call([]))
            with pytest.raises(InputError, match="committed here"):
                call([bytes(32)])
        assert city.health().redundancy == 1
        receipt = city.send(b"x")
        city.settle()
        assert len(city.health([receipt.tx_id, receipt.tx_id]).transactions) == 2
        twice = city.receive_many([receipt.tx_id] * 3)
        assert [t.payload for t in twice if isinstance(t, records.Transaction)] == [b"x"] * 3
        lose(city, receipt.tx_id, 2)
        report = city.repair([receipt.tx_id, receipt.tx_id])
        assert city.health().counts["whole"] == 1
        assert city._city.ledger.generation(receipt.tx_id) == 1, report


def test_progress_and_bounds() -> None:
    with opened(Kept(), nodes=6, validators=1, k=2, n=4) as city:
        city.send_many([b"%d" % at for at in range(600)], batch=200)
        city.settle()
        for tx_id in list(city.tx_ids())[::50]:
            lose(city, tx_id, 1)
        seen: list[int] = []
        assert city.health(on_progress=seen.append).counts["whole"] == 588
        assert seen == [256, 512, 600]
        seen.clear()
        assert city.repair(on_progress=seen.append).repaired == 12
        assert seen == [256, 512, 600]
        assert city.repair().repaired == 0
        assert city.health().redundancy == 1
        total = fragments_there(city)
        assert total <= 2400 + 12
