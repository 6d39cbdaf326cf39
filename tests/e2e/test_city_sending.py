"""Sending: the same transaction twice, from many threads, to nodes that are slow, silent, broken or too few."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from city_chain import City, records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import (
    CityChainError,
    DeadlineError,
    InputError,
    StorageError,
    UnavailableError,
    VerificationError,
)

pytestmark = pytest.mark.e2e

MARGIN_S = 4.0
"""A busy machine may be late. Here nobody waits without end; which deadline they keep is in `test_city_deadlines`."""


class Kept(MemoryStorage):
    """Stays when its city is closed, as a file would."""

    def close(self) -> None:
        pass


class Bench:
    """A city in memory whose transport is at hand."""

    def __init__(self, storage: Kept | None = None, **settings: object) -> None:
        self.storage = storage or Kept()
        self.settings = settings
        self.transport = InProcessTransport(workers=64)
        self.city = City.local(storage=self.storage, transport=self.transport, **settings)  # type: ignore[arg-type]

    def reopened(self) -> Bench:
        self.city.close()
        return Bench(self.storage, **self.settings)

    def fault(self, nodes: list[bytes], fault: Fault | None) -> None:
        for node in self.city.nodes():
            if node.id in nodes:
                self.transport.set_fault(node.address, fault)

    @property
    def holders(self) -> list[bytes]:
        """The nodes that do not vote."""
        return [node.id for node in self.city.nodes() if not node.delegate]

    @property
    def delegates(self) -> list[bytes]:
        return [node.id for node in self.city.nodes() if node.delegate]

    def state(self) -> dict[bytes, bytes]:
        return dict(self.storage.scan(b""))

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()


def sequences(city: City) -> list[int]:
    found = city.receive_many(city.tx_ids())
    assert all(isinstance(transaction, records.Transaction) for transaction in found), found
    return sorted(transaction.sequence for transaction in found if isinstance(transaction, records.Transaction))


def timed[T](call: Callable[[], T], deadline_s: float) -> T:
    """The call's result; it must be back by its deadline, whether it gives or raises."""
    started = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - started < deadline_s + MARGIN_S


# --- once ------------------------------------------------------------------------------------------------------------


def test_the_same_transaction_commits_once_and_equal_payloads_twice() -> None:
    with Bench(nodes=10) as bench:
        city = bench.city
        transaction = city.transaction(b"once")
        receipt = city.send(transaction)
        assert city.send(transaction) == receipt
        assert city.send_many([transaction, b"other", transaction])[0::2] == [receipt, receipt]
        again = city.transaction(b"again")
        first, second, third = city.send_many([again, again, again])
        assert first == second == third
        assert isinstance(first, records.Receipt)
        twice = [city.send(b"twice").tx_id for _ in range(2)]
        assert twice[0] != twice[1]
        assert [city.receive(tx_id) for tx_id in twice] == [b"twice", b"twice"]
        assert sequences(city) == [0, 1, 2, 3, 4]
        with bench.reopened() as later:
            assert later.city.send(transaction) == receipt
            assert later.city.send(later.city.transaction(b"once")) != receipt
            assert sequences(later.city) == [0, 1, 2, 3, 4, 5]


def test_the_same_transaction_in_bursts_of_one_call() -> None:
    with Bench(nodes=10) as bench:
        transaction = bench.city.transaction(b"x")
        outcomes = bench.city.send_many([transaction] * 10, batch=3)
        assert len({receipt.tx_id for receipt in outcomes if isinstance(receipt, records.Receipt)}) == 1
        assert outcomes == [outcomes[0]] * 10
        assert bench.city.height == 1


def test_the_same_transaction_from_many_threads() -> None:
    with Bench(nodes=10) as bench, ThreadPoolExecutor(8) as pool:
        for number in range(5):
            transaction = bench.city.transaction(b"x%d" % number)
            receipts = list(pool.map(bench.city.send, [transaction] * 8))
            assert receipts == [receipts[0]] * 8
        assert bench.city.send(b"y").manifest.tx_id in set(bench.city.tx_ids())
        assert sequences(bench.city) == [0, 1, 2, 3, 4, 5]


def test_a_transaction_that_failed_can_be_sent_again() -> None:
    with Bench(nodes=8, k=6, n=10) as bench:
        city = bench.city
        transaction = city.transaction(b"kept")
        bench.fault(bench.holders[:1], Fault(refuse=True))
        for _ in range(3):
            with pytest.raises(UnavailableError):
                city.send(transaction, deadline_s=2)
        bench.fault(bench.holders, None)
        receipt = city.send(transaction)
        later = city.send_many([b"a", b"b", b"c"])
        assert all(isinstance(outcome, records.Receipt) for outcome in later), later
        assert city.send(transaction) == receipt
        assert sequences(city) == [0, 1, 2, 3]


def test_a_number_that_went_to_another_is_refused_and_forgotten() -> None:
    """Nothing is in the way of the others, now or after the next opening."""
    with Bench(nodes=8, k=6, n=10) as bench:
        city = bench.city
        transaction = city.transaction(b"late")
        bench.fault(bench.holders[:1], Fault(refuse=True))
        with pytest.raises(UnavailableError):
            city.send(transaction, deadline_s=2)
        bench.fault(bench.holders, None)
        assert city.send(b"other").manifest.tx_id != transaction.tx_id
        for _ in range(2):
            with pytest.raises((InputError, VerificationError), match="sequence 0"):
                city.send(transaction)
        assert all(isinstance(o, records.Receipt) for o in city.send_many([b"a", b"b"]))
        assert sequences(city) == [0, 1, 2]
        with bench.reopened() as later:
            assert str(later.city.recovery) == "0 sends finished, 0 given up, 0 pending"
            later.city.send(b"c")
            assert sequences(later.city) == [0, 1, 2, 3]


def test_a_transaction_of_an_earlier_process() -> None:
    """Made and not sent before the city was closed; its number was not known to be taken."""
    with Bench(nodes=8) as bench:
        made = [bench.city.transaction(b"%d" % number) for number in range(5)]
        with bench.reopened() as later:
            later.city.send(made[3])
            outcomes = later.city.send_many([b"a", b"b", b"c", b"d"])
            assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
            assert sequences(later.city) == [0, 1, 2, 3, 4]


def test_many_threads() -> None:
    with Bench(nodes=12) as bench, ThreadPoolExecutor(8) as pool:
        sent = [[b"%d/%d" % (thread, at) for at in range(20)] for thread in range(8)]

        def send(payloads: list[bytes]) -> list[bytes]:
            outcomes = [*bench.city.send_many(payloads[:15], batch=4, deadline_s=60)]
            outcomes += [bench.city.send(payload, deadline_s=60) for payload in payloads[15:]]
            assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
            return [outcome.tx_id for outcome in outcomes if isinstance(outcome, records.Receipt)]

        ids = list(pool.map(send, sent))
        bench.city.settle()
        for payloads, tx_ids in zip(sent, ids, strict=True):
            received = bench.city.receive_many(tx_ids)
            assert [t.payload for t in received if isinstance(t, records.Transaction)] == payloads
        assert sequences(bench.city) == list(range(160))
        assert bench.city.health().counts["whole"] == 160


def test_many_threads_with_large_bursts() -> None:
    """More is under way than the ledger lets a sender run ahead."""
    with Bench(nodes=4, validators=1, k=1, n=2) as bench, ThreadPoolExecutor(4) as pool:
        outcomes = list(
            pool.map(lambda at: bench.city.send_many([b"%d" % at] * 1500, batch=1500, deadline_s=60), range(4))
        )
        wrong = [o for burst in outcomes for o in burst if not isinstance(o, records.Receipt)]
        assert not wrong, (len(wrong), wrong[0])
        assert bench.city._city.ledger.sender(bench.city.sender).next_sequence == 6000


def test_numbers_that_are_never_sent_do_not_stop_the_city() -> None:
    with Bench(nodes=4, validators=1, k=1, n=2) as bench:
        kept = bench.city.transaction(b"not sent")
        outcomes = bench.city.send_many([b"x"] * 1100, batch=550, deadline_s=120)
        refused = [outcome for outcome in outcomes if not isinstance(outcome, records.Receipt)]
        assert all(isinstance(outcome, CityChainError) for outcome in refused)
        assert len(refused) <= 1100 - 1023
        bench.city.send(kept)
        assert isinstance(bench.city.send(b"y"), records.Receipt)
        with bench.reopened() as later:
            assert str(later.city.recovery) == "0 sends finished, 0 given up, 0 pending"


# --- slow, silent and broken nodes -----------------------------------------------------------------------------------

FAULTS = {
    "slow": Fault(latency_ms=30),
    "lossy": Fault(loss=1.0),
    "hanging": Fault(hang=True),
    "refusing": Fault(refuse=True),
    "corrupt answers": Fault(corrupt=1.0),
    "corrupt requests": Fault(corrupt_request=1.0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faulty_holders(fault: Fault) -> None:
    """Two of ten: the quorum of eight is there without them, or with spares in their place."""
    with Bench(nodes=12) as bench:
        city = bench.city
        bench.fault(bench.holders[:2], fault)
        outcomes = timed(lambda: city.send_many([b"%d" % at for at in range(30)], deadline_s=10), 10)
        assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
        for outcome in outcomes:
            assert isinstance(outcome, records.Receipt)
            outcome.verify(city.trust)
        timed(lambda: city.settle(20), 20)
        received = timed(lambda: city.receive_many([o.tx_id for o in outcomes if isinstance(o, records.Receipt)]), 10)
        assert [t.payload for t in received if isinstance(t, records.Transaction)] == [b"%d" % at for at in range(30)]
        bench.fault(bench.holders, None)
        assert city.health().counts["whole"] == 30


@pytest.mark.parametrize("fault", [Fault(latency_ms=20), Fault(latency_ms=40, loss=0.02)])
def test_faults_everywhere(fault: Fault) -> None:
    with Bench(nodes=12) as bench:
        bench.fault([node.id for node in bench.city.nodes()], fault)
        outcomes = timed(lambda: bench.city.send_many([b"%d" % at for at in range(20)], deadline_s=20), 20)
        assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
        bench.fault([node.id for node in bench.city.nodes()], None)
        assert sequences(bench.city) == list(range(20))


@pytest.mark.parametrize("name", FAULTS)
def test_many_threads_among_faults(name: str) -> None:
    """Eight threads send, and others repair and check meanwhile, with a delegate and two holders that are not well."""
    with Bench(nodes=16) as bench, ThreadPoolExecutor(10) as pool:
        city = bench.city
        kept = [city.send(b"kept %d" % at).tx_id for at in range(10)]
        bench.fault([*bench.delegates[:1], *bench.holders[:2]], FAULTS[name])
        sends = [
            pool.submit(city.send_many, [b"%d/%d" % (thread, at) for at in range(6)], batch=3, deadline_s=60)
            for thread in range(8)
        ]
        repairs = [pool.submit(city.repair, deadline_s=20) for _ in range(2)]
        for sending in sends:
            outcomes = sending.result(120)
            assert all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
        for repairing in repairs:
            repairing.result(120)
        bench.fault([node.id for node in city.nodes()], None)
        city.settle(30)
        assert sequences(city) == list(range(58))
        city.repair()
        assert city.health().counts["whole"] == 58
        assert [city.receive(tx_id) for tx_id in kept] == [b"kept %d" % at for at in range(10)]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_faulty_delegate(fault: Fault) -> None:
    with Bench(nodes=12) as bench:
        for delegate in bench.delegates:  # whichever leads
            bench.fault(bench.delegates, None)
            bench.fault([delegate], fault)
            receipt = timed(lambda: bench.city.send(b"x", deadline_s=10), 10)
            receipt.verify(bench.city.trust)
        assert bench.city.height == len(bench.delegates)


@pytest.mark.parametrize("engine", ["hotstuff", "dpos"])
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "slow"])
def test_two_faulty_delegates(name: str, engine: str) -> None:
    # In bundles that a bit flips in, most messages of a machine stay right: HotStuff may get through all the same.
    may_commit = engine == "hotstuff" and name.startswith("corrupt")
    with Bench(nodes=14, engine=engine) as bench:
        city = bench.city
        bench.fault(bench.delegates[:2], FAULTS[name])
        kept = city.transaction(b"kept")
        failed = 0
        for payload in (kept, b"left"):
            (outcome,) = timed(lambda payload=payload: city.send_many([payload], deadline_s=1.5), 1.5)  # type: ignore[misc]
            if isinstance(outcome, records.Receipt):
                assert may_commit
            else:
                assert isinstance(outcome, UnavailableError | DeadlineError), outcome
                assert not isinstance(outcome, UnavailableError) or outcome.needed > outcome.had
                failed += 1
        # Where HotStuff gets through, it may do so just after the caller gave up.
        assert 2 - failed <= city.height <= (2 if may_commit else 0)
        assert len(city._city.journal.pending()) == failed
        bench.fault(bench.delegates, None)
        receipt = city.send(kept)
        assert city.receive(receipt.tx_id) == b"kept"
        with bench.reopened() as later:  # what the caller did not send again is finished by the next opening
            assert not later.city.recovery.pending
            assert not later.city.recovery.failed
            received = later.city.receive_many(later.city.tx_ids())
            assert sorted(t.payload for t in received if isinstance(t, records.Transaction)) == [b"kept", b"left"]
            later.city.send(b"more")
            assert sequences(later.city) == [0, 1, 2]


def test_opening_reports_what_it_cannot_finish_yet() -> None:
    with Bench(nodes=14) as bench:
        first = bench.city.send(b"first")
        stopped = bench.delegates[:2]
        for node in stopped:
            bench.city.stop_node(node)
        waiting = bench.city.transaction(b"waiting")
        with pytest.raises(UnavailableError):
            bench.city.send(waiting, deadline_s=1)
        with timed(bench.reopened, 12) as later:
            recovery = later.city.recovery
            assert set(recovery.pending or {}) == {waiting.tx_id}
            assert not recovery.failed
            assert not recovery.finished
            assert isinstance((recovery.pending or {})[waiting.tx_id], UnavailableError | DeadlineError)
            assert later.city.receive(first.tx_id) == b"first"
            for node in stopped:
                later.city.start_node(node)
            later.city.send(b"new").verify(later.city.trust)
            with later.reopened() as last:
                assert not last.city.recovery.pending
                found = {receipt.tx_id for receipt in last.city.recovery.finished}
                assert found <= {waiting.tx_id}
                assert last.city.receive(waiting.tx_id) == b"waiting"
                assert sequences(last.city) == [0, 1, 2]


def test_a_short_deadline_does_not_wait_for_a_long_one() -> None:
    """The commit of one caller hangs; another's deadline is its own."""
    with Bench(nodes=14) as bench, ThreadPoolExecutor(2) as pool:
        bench.fault(bench.delegates[:2], Fault(hang=True))
        long = pool.submit(bench.city.send, b"long", deadline_s=15)
        time.sleep(0.5)
        with pytest.raises((UnavailableError, DeadlineError)):
            timed(lambda: bench.city.send(b"short", deadline_s=1), 1)
        bench.fault(bench.delegates, None)
        long.result(20).verify(bench.city.trust)


def test_too_few_nodes() -> None:
    with Bench(nodes=10) as bench:
        city = bench.city
        first = city.send(b"first")
        city.settle()
        down = bench.holders[:3]
        for fault in (Fault(refuse=True), Fault(hang=True), Fault(corrupt=1.0), None):
            if fault is None:
                for node in down:
                    city.stop_node(node)
            else:
                bench.fault(down, fault)
            with pytest.raises(UnavailableError) as caught:
                timed(lambda: city.send(b"too few", deadline_s=1), 1)
            assert (caught.value.needed, caught.value.had) == (8, 7)
            assert "needed 8, had 7" in str(caught.value)
            bench.fault(down, None)
        assert city.height == 1
        assert city.receive(first.tx_id) == b"first"
        for node in down:
            city.start_node(node)
        second = city.send(b"second")
        assert city.receive(second.tx_id) == b"second"
        assert sequences(city) == [0, 1]
        with bench.reopened() as later:
            assert str(later.city.recovery) == "0 sends finished, 0 given up, 0 pending"
            assert sequences(later.city) == [0, 1]


def test_every_node_stopped() -> None:
    with Bench(nodes=8) as bench:
        city = bench.city
        receipt = city.send(b"x")
        for node in city.nodes():
            city.stop_node(node.id)
        with pytest.raises(UnavailableError):
            timed(lambda: city.send(b"y", deadline_s=1), 1)
        with pytest.raises(UnavailableError):
            timed(lambda: city.receive(receipt.tx_id, deadline_s=1), 1)
        with bench.reopened() as later:
            with pytest.raises(UnavailableError):
                timed(lambda: later.city.send(b"y", deadline_s=1), 1)
            with pytest.raises(UnavailableError):
                timed(lambda: later.city.receive(receipt.tx_id, deadline_s=1), 1)
            with pytest.raises(UnavailableError):
                timed(lambda: later.city.health(deadline_s=1), 1)
            with pytest.raises(UnavailableError):
                timed(lambda: later.city.repair(deadline_s=1), 1)
            for node in later.city.nodes():
                later.city.start_node(node.id)
            assert later.city.receive(receipt.tx_id) == b"x"
            later.city.send(b"y")


def test_some_of_a_burst_cannot_be_placed() -> None:
    """Nodes that hang take some transactions' quorum away; the others of the burst are committed in time."""
    with Bench(nodes=20) as bench:
        bench.fault(bench.holders[:8], Fault(hang=True))
        outcomes = timed(lambda: bench.city.send_many([b"%d" % at for at in range(60)], deadline_s=3), 3)
        good = [outcome for outcome in outcomes if isinstance(outcome, records.Receipt)]
        bad = [outcome for outcome in outcomes if not isinstance(outcome, records.Receipt)]
        assert all(isinstance(outcome, UnavailableError) for outcome in bad), bad
        assert len(good) == 60, (len(good), bad[0])  # twelve nodes are well, ten are drawn and ten are spares


def test_some_of_a_burst_cannot_be_placed_at_all() -> None:
    with Bench(nodes=30) as bench:
        bench.fault(bench.holders[:18], Fault(hang=True))
        outcomes = timed(lambda: bench.city.send_many([b"%d" % at for at in range(60)], deadline_s=3), 3)
        good = [outcome for outcome in outcomes if isinstance(outcome, records.Receipt)]
        bad = [outcome for outcome in outcomes if not isinstance(outcome, records.Receipt)]
        assert good, bad[:3]
        assert bad, "eighteen of thirty are silent: some draws have fewer than eight of the twelve"
        assert all(isinstance(o, UnavailableError) and o.needed == 8 and o.had < 8 for o in bad), bad
        bench.fault(bench.holders, None)
        assert len(sequences(bench.city)) == len(good)
        with bench.reopened() as later:
            assert len(sequences(later.city)) == len(good)


class Stepped(SystemClock):
    """Somebody sets the wall clock."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


def test_the_wall_clock_is_set_back_and_forth() -> None:
    """A clock that was wrong for a while stops nobody: stamps go on from the last one."""
    clock, storage = Stepped(), Kept()
    year_ms = 365 * 24 * 3600 * 1000
    receipts = []
    for round_ in range(2):
        with City.local(storage=storage, clock=clock, nodes=12) as city:
            for ahead_ms in (0, 400, -400, 4000, 0, 3_600_000, 0, -3_600_000, 5 * year_ms, 0, -5 * year_ms, 0):
                clock.ahead_ms = ahead_ms
                receipts.append(city.send(b"%d" % ahead_ms, deadline_s=10))
                assert city.receive(receipts[-1].tx_id) == b"%d" % ahead_ms
                assert city.receive(receipts[0].tx_id) == b"0"
            city.settle()
            assert city.repair().repaired == 0
            assert city.health().redundancy == 1
            assert city.height == len(receipts) == 12 * (round_ + 1)
            stamps = [receipt.header.hlc for receipt in receipts]
            assert stamps == sorted(set(stamps))


def test_leases_end_for_what_is_not_committed_only() -> None:
    """A clock that is years ahead for one opening costs nothing that was acknowledged."""
    clock, storage = Stepped(), Kept()
    with Bench(storage, clock=clock, nodes=10) as bench:
        receipt = bench.city.send(b"kept")
        bench.city.settle()
        bench.fault(bench.holders[:3], Fault(corrupt=1.0))
        with pytest.raises(UnavailableError):
            bench.city.send(b"in vain", deadline_s=1)
        bench.city.settle()
        left = sum(node.fragments for node in bench.city.nodes()) - 10
        assert left > 0, "those whose answer did not arrive hold a fragment in vain"
    clock.ahead_ms = 11 * 365 * 24 * 3600 * 1000
    with Bench(storage, clock=clock, nodes=10) as bench:
        assert sum(node.fragments for node in bench.city.nodes()) == 10
    clock.ahead_ms = 0
    with Bench(storage, clock=clock, nodes=10) as bench:
        assert bench.city.receive(receipt.tx_id) == b"kept"
        assert bench.city.health().counts["whole"] == 1
        bench.city.send(b"later")


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_is_prompt_with_stragglers_under_way() -> None:
    bench = Bench(nodes=10)
    bench.fault(bench.holders[:2], Fault(hang=True))
    for number in range(10):
        bench.city.send(b"%d" % number, deadline_s=30)
    with pytest.raises(DeadlineError):
        bench.city.settle(0.2)
    timed(bench.city.close, 0)
    bench.city.close()


def send_until_it_fails(city: City, begun: threading.Barrier, outcomes: list[object]) -> None:
    begun.wait()
    try:
        while True:
            outcomes.append(city.send(b"x"))
    except BaseException as error:
        outcomes.append(error)


def test_closing_while_others_send(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    for number in range(10):
        city = City.local(path, nodes=10)
        outcomes: list[object] = []
        begun = threading.Barrier(5)

        threads = [threading.Thread(target=send_until_it_fails, args=(city, begun, outcomes)) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        time.sleep(0.02 * (number % 4))
        city.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        errors = [outcome for outcome in outcomes if not isinstance(outcome, records.Receipt)]
        assert len(errors) == 4
        assert all(isinstance(error, StorageError | UnavailableError) for error in errors), errors
        with City.open(path) as reopened:
            assert not reopened.recovery.pending, reopened.recovery
            assert not reopened.recovery.failed, reopened.recovery
            ids = set(reopened.tx_ids())
            assert ids >= {receipt.tx_id for receipt in outcomes if isinstance(receipt, records.Receipt)}
            reopened.send(b"later")


def test_a_closed_city_says_so() -> None:
    city = City.local(nodes=4, validators=1, k=2, n=4)
    receipt = city.send(b"x")
    node = city.nodes()[0].id
    city.close()
    calls: list[Callable[[], object]] = [
        lambda: city.send(b"x"),
        lambda: city.send_many([b"x"]),
        lambda: city.transaction(b"x"),
        lambda: city.receive(receipt.tx_id),
        lambda: city.receive_many([receipt.tx_id]),
        lambda: city.receipt(receipt.tx_id),
        city.tx_ids,
        city.health,
        city.repair,
        city.settle,
        city.nodes,
        lambda: city.stop_node(node),
        lambda: city.start_node(node),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="closed"):
            call()
    city.close()
    receipt.verify(city.trust)


def test_an_unknown_transaction() -> None:
    with Bench(nodes=4, validators=1, k=2, n=4) as bench:
        for call in (bench.city.receive, bench.city.receipt):
            with pytest.raises(InputError, match="committed here"):
                call(bytes(32))
        assert NamespacedStorage(bench.storage, b"j").get_many([b"i"]) == [None]
