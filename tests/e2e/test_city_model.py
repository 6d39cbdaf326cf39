"""A city in memory against a dict: whatever is done to it in whatever order, what it acknowledged is there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from city_chain import City, records
from city_chain.adapters.entropy import SeededEntropy
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import DeadlineError, InputError, UnavailableError, VerificationError
from city_chain.node.holder import fragment_key

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 6, "validators": 4, "k": 2, "n": 4, "districts": 2}


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


class CityModel(RuleBasedStateMachine):
    """Rules do what users, crashes and rot do; the model is a dict of what was acknowledged."""

    sent = Bundle("sent")

    @initialize()
    def make(self) -> None:
        self.storage = Kept()
        self.entropy = SeededEntropy(7)
        self.city = City.local(storage=self.storage, entropy=self.entropy, **SETTINGS)
        self.known: dict[bytes, bytes] = {}
        self.maybe: dict[bytes, bytes] = {}
        self.receipts: dict[bytes, records.Receipt] = {}
        self.down: list[bytes] = []
        self.rotten: dict[bytes, set[int]] = {}

    def teardown(self) -> None:
        if hasattr(self, "city"):
            self.city.close()

    @property
    def patience_s(self) -> float:
        """Where all is well nothing may fail, however slow the machine; else it may, and is not waited for."""
        return 0.25 if self.down else 60.0

    def took(self, transaction: records.Transaction, outcome: object) -> bytes | None:
        if isinstance(outcome, records.Receipt):
            assert outcome.tx_id == transaction.tx_id
            self.known[transaction.tx_id] = transaction.payload
            self.maybe.pop(transaction.tx_id, None)
            self.receipts.setdefault(transaction.tx_id, outcome)
            assert self.receipts[transaction.tx_id] == outcome
            return transaction.tx_id
        assert isinstance(outcome, UnavailableError | DeadlineError | VerificationError | InputError), outcome
        if isinstance(outcome, VerificationError | InputError):  # its number went to another while it was not sent
            assert f"sequence {transaction.sequence}" in str(outcome), outcome
        assert transaction.tx_id not in self.known
        self.maybe[transaction.tx_id] = transaction.payload
        return None

    @rule(target=sent, payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=5), batch=st.integers(1, 5))
    def send(self, payloads: list[bytes], batch: int) -> Any:
        made = [self.city.transaction(payload) for payload in payloads]
        outcomes = self.city.send_many(made, batch=batch, deadline_s=self.patience_s)
        well = not self.down
        assert not well or all(isinstance(outcome, records.Receipt) for outcome in outcomes), outcomes
        return multiple(*(t for t, o in zip(made, outcomes, strict=True) if self.took(t, o) or True))

    @rule(payload=st.binary(max_size=40))
    def send_bytes(self, payload: bytes) -> None:
        try:
            receipt = self.city.send(payload, deadline_s=self.patience_s)
        except (UnavailableError, DeadlineError):
            assert self.down
            return
        assert self.city.receipt(receipt.tx_id) == receipt
        self.known[receipt.tx_id] = payload
        self.receipts[receipt.tx_id] = receipt

    @rule(transaction=sent)
    def resend(self, transaction: records.Transaction) -> None:
        (outcome,) = self.city.send_many([transaction], deadline_s=self.patience_s)
        assert transaction.tx_id not in self.known or isinstance(outcome, records.Receipt)
        self.took(transaction, outcome)

    @precondition(lambda self: len(self.down) < 2)
    @rule(at=st.integers(0, 5))
    def stop(self, at: int) -> None:
        node = self.city.nodes()[at]
        self.city.stop_node(node.id)
        if node.running:
            self.down.append(node.id)

    @precondition(lambda self: self.down)
    @rule()
    def start(self) -> None:
        self.city.start_node(self.down.pop())

    @rule(which=st.integers(0, 99), place=st.integers(0, 3), how=st.sampled_from(["lose", "flip", "cut"]))
    def harm(self, which: int, place: int, how: str) -> None:
        """Harms one fragment of a transaction that has all of them, so that there is something to repair it from."""
        if not self.known:
            return
        tx_id = list(self.known)[which % len(self.known)]
        self.city.settle()
        placement = self.city._city.placements([tx_id])[0]
        assert placement is not None
        if self.rotten.get(tx_id) or self.down or len(placement.holders) < 4:
            return
        index, node = sorted(placement.holders.items())[place]
        key = b"h" + self.city._city.node(node).space + fragment_key(tx_id, index)
        (row,) = self.storage.get_many([key])
        assert row is not None
        if how == "lose":
            self.storage.delete_many([key])
        else:
            self.storage.put_many({key: row[:-1] if how == "cut" else row[:-1] + bytes([row[-1] ^ 1])})
        self.rotten.setdefault(tx_id, set()).add(index)

    @rule()
    def repair(self) -> None:
        if self.known:
            try:
                report = self.city.repair(deadline_s=2 * self.patience_s)
                assert self.down or not report.errors, report
            except (UnavailableError, DeadlineError):
                assert self.down, "with a quorum of delegates a repair is committed"
        if not self.down:
            self.rotten.clear()
            assert self.city.health().redundancy == 1
            assert self.city.repair().repaired == 0

    @rule()
    def reopen(self) -> None:
        self.city.close()
        self.city = City.local(storage=self.storage, entropy=self.entropy, **SETTINGS)
        recovery = self.city.recovery
        assert set(recovery.failed or {}) | set(recovery.pending or {}) <= set(self.maybe) | self.city_maybe()
        assert self.down or not recovery.pending, recovery
        for receipt in recovery.finished:
            self.receipts.setdefault(receipt.tx_id, receipt)

    def city_maybe(self) -> set[bytes]:
        """What was sent as bytes and failed: its id was never told."""
        return {pending.transaction.tx_id for pending in self.city._city.journal.pending()} | set(
            self.city.recovery.failed or {}
        )

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if not hasattr(self, "city"):
            return
        ids = set(self.city.tx_ids())
        assert ids >= set(self.known)
        for tx_id, payload in list(self.maybe.items()):
            if tx_id in ids:  # a later commit carried it along, or opening finished it
                self.known[tx_id] = payload
                self.receipts.setdefault(tx_id, self.city.receipt(tx_id))
                del self.maybe[tx_id]
        if self.down:
            return
        for tx_id, outcome in zip(self.known, self.city.receive_many(self.known), strict=True):
            assert isinstance(outcome, records.Transaction), outcome
            assert outcome.payload == self.known[tx_id]
            assert self.city.receipt(tx_id) == self.receipts[tx_id]
        for tx_id in list(self.known)[-1:]:
            self.receipts[tx_id].verify(self.city.trust)

    @invariant()
    def numbers_are_used_once(self) -> None:
        if hasattr(self, "city") and self.known:
            state = self.city._city.ledger.sender(self.city.sender)
            entries = []
            for height in range(1, self.city.height + 1):
                block = self.city._city.ledger.batch(height)
                assert block is not None
                entries += [entry.sequence for entry in block.batch.entries if entry.sequence is not None]
            assert len(entries) == len(set(entries))
            assert set(entries) == set(range(state.next_sequence)) | state.ahead


def test_unknown_ids_stay_unknown() -> None:
    with City.local(**SETTINGS) as city, pytest.raises(InputError):
        city.receive(bytes(32))


TestCityModel = CityModel.TestCase
TestCityModel.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
