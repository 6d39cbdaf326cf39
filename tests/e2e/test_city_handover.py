"""Sealed sends and handovers: the next delegates open what was sealed before, and what the old ones had is useless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import ProtocolError, StorageError, UnavailableError, VerificationError
from city_chain.levels.embedded import HOSTED, node_space
from city_chain.node import ENGINES
from city_chain.node.keeper import Keeper
from city_chain.stages import messages
from tests.e2e.towns import SETTINGS, THRESHOLD, Town, capsule_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def town() -> Iterator[Town]:
    """A fresh city of ten nodes, four of them delegates."""
    with Town() as town:
        yield town


def share_rows(storage: MemoryStorage) -> dict[bytes, bytes]:
    """The rows in which delegates keep their shares, in whichever node's space."""
    space = HOSTED + node_space(0)
    rows = storage.scan(space[:2])
    return {key: row for key, row in rows if key[len(space) : len(space) + 1] == b"k" and len(key) == len(space) + 33}


class Handed:
    """A sealed transaction, and everything that its first delegates had, which are no delegates any more."""

    def __init__(self, town: Town) -> None:
        self.made = town.city.transaction(b"sealed to epoch 0", seal="city")
        town.city.send(self.made)
        town.city.settle()
        self.capsule = capsule_of(self.made)
        self.old, self.old_keys, self.rows = town.delegates, town.city.keys, share_rows(town.storage)
        self.shares = [
            messages.answer(town.ask(node, self.made.tx_id, self.capsule), "shares", 1)[0] for node in self.old
        ]
        town.city.elect([node.id for node in town.city.nodes() if not node.delegate][:4])
        self.new, self.keys = town.delegates, town.city.keys
        assert not {node.id for node in self.new} & {node.id for node in self.old}

    def check_refusals(self, town: Town) -> None:
        """The old ones run, and are asked by who may ask."""
        for node in self.old:
            assert "no shares of the keys of epoch 1" in town.refusal(node, self.made.tx_id, self.capsule)


def test_after_a_handover_the_new_delegates_open_what_was_sealed_before(town: Town) -> None:
    handed = Handed(town)
    tx_id = handed.made.tx_id
    assert len(handed.rows) == len(handed.old)
    assert not share_rows(town.storage).keys() & handed.rows.keys()
    assert len(share_rows(town.storage)) == len(handed.new)
    handed.check_refusals(town)
    assert town.city.receive(tx_id) == b"sealed to epoch 0"
    first, second, third, fourth = handed.new
    for stopped in ([first], [fourth]):
        with town.without(stopped):
            assert town.city.receive(tx_id) == b"sealed to epoch 0"
    for stopped in ([first, third], [second, third, fourth]):
        with town.without(stopped):
            with pytest.raises(UnavailableError) as caught:
                town.city.receive(tx_id)
            assert (caught.value.needed, caught.value.had) == (THRESHOLD, 4 - len(stopped))
    assert town.city.receive(town.city.send(b"sealed to epoch 1", seal="city").tx_id) == b"sealed to epoch 1"


def test_decryption_shares_from_before_a_handover_do_not_go_with_new_ones(town: Town) -> None:
    handed = Handed(town)
    by_place = {int.from_bytes(share[:2], "little"): share for share in handed.shares}
    places = {node: place for place, node in enumerate(handed.keys.delegates, 1)}
    liars = {node.address: by_place[places[node.id]] for node in handed.new[:2]}

    def change(address: str, asked: records.Message, honest: bytes) -> bytes:
        wrong = asked.kind == "open" and address in liars
        return messages.message("shares", [liars[address]]) if wrong else honest

    town.transport.change = change
    with pytest.raises(UnavailableError) as caught:
        town.city.receive(handed.made.tx_id)
    assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)
    assert all(node.id.hex()[:8] in str(caught.value) for node in handed.new[:2])


def test_shares_from_before_a_handover_are_refused_wherever_they_are_put_back(town: Town) -> None:
    handed = Handed(town)
    made, capsule, old_keys, keys = handed.made, handed.capsule, handed.old_keys, handed.keys
    label = town.city.receipt(made.tx_id).manifest.opening_label(capsule)
    town.storage.put_many(handed.rows)
    handed.check_refusals(town)
    for node in handed.old:
        owner = town.city._city.node(node.id)
        row = handed.rows[HOSTED + owner.space + b"k" + old_keys.epoch_root]
        with pytest.raises(VerificationError, match="of other keys or another delegate"):
            records.KeyShares.open(owner._identity, keys, row[32:])
        for root, there, error, why in (
            (old_keys.epoch_root, row, ProtocolError, "no shares of the keys of epoch 1"),
            (keys.epoch_root, row, StorageError, "of other keys"),
            (keys.epoch_root, keys.digest + row[32:], StorageError, "damaged"),
        ):
            restored = MemoryStorage()
            restored.put_many({b"k" + root: there})
            keeper = Keeper(owner._identity, restored)
            keeper.use(keys)
            with pytest.raises(error, match=why):
                keeper.decrypt_share(capsule, label)
            # It is the shares that are refused, not the capsule: under the keys that they are of, they would do.
            restored.put_many({b"k" + old_keys.epoch_root: row})
            keeper.use(old_keys)
            assert len(keeper.decrypt_share(capsule, label)) == len(handed.shares[0])
            keeper.use(keys)  # and no longer, once those are in force
            with pytest.raises(error, match=why):
                keeper.decrypt_share(capsule, label)
    with Town(town.storage) as again:  # put back while nobody looked
        handed.check_refusals(again)
        assert again.city.receive(made.tx_id) == b"sealed to epoch 0"


def test_the_same_delegates_with_fresh_shares_open_what_was_sealed(town: Town) -> None:
    made = town.city.transaction(b"sealed", seal="city")
    town.city.send(made)
    town.city.settle()
    before, kept, delegates = town.city.keys, share_rows(town.storage), town.delegates
    capsule = capsule_of(made)
    old_shares = {
        node.address: messages.answer(town.ask(node, made.tx_id, capsule), "shares", 1)[0] for node in delegates
    }
    town.city.elect([node.id for node in delegates])
    assert town.city.keys.encryption_key == before.encryption_key
    assert not share_rows(town.storage).keys() & kept.keys()
    assert town.city.receive(made.tx_id) == b"sealed"
    # The same delegates at the same places: all that is old is their shares.
    for count in (1, 2):
        stale = [node.address for node in delegates[:count]]

        def change(address: str, asked: records.Message, honest: bytes, stale: Sequence[str] = stale) -> bytes:
            wrong = asked.kind == "open" and address in stale
            return messages.message("shares", [old_shares[address]]) if wrong else honest

        town.transport.change = change
        if count == 1:
            assert town.city.receive(made.tx_id) == b"sealed"
            continue
        with pytest.raises(UnavailableError) as caught:
            town.city.receive(made.tx_id)
        assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)


def test_what_was_sealed_in_any_epoch_opens_in_every_later_one(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    sent: list[bytes] = []

    def send(city: City) -> None:
        sent.append(city.send(b"sealed to epoch %d" % city.epoch.number, seal="city").tx_id)
        city.settle()

    def check(city: City) -> None:
        for number, tx_id in enumerate(sent):
            assert city.receive(tx_id) == b"sealed to epoch %d" % number
        threshold = city.keys.threshold
        delegates = [node.id for node in city.nodes() if node.delegate]
        stopped = delegates[threshold - 1 :]
        for node in stopped:
            city.stop_node(node)
        for tx_id in sent:
            with pytest.raises(UnavailableError) as caught:
                city.receive(tx_id)
            assert (caught.value.needed, caught.value.had) == (threshold, threshold - 1)
        for node in stopped:
            city.start_node(node)

    # Every fragment is on some node that is not stopped here: what is missing is shares and nothing else.
    with City.local(path, **(SETTINGS | {"nodes": 16})) as city:
        nodes = [node.id for node in city.nodes()]
        send(city)
        check(city)
        city.elect(nodes[5:9])
        send(city)
        check(city)
    with City.open(path) as city:
        check(city)
        city.elect(nodes[8:15])
        assert city.keys.threshold == 5
        send(city)
        check(city)
    with City.open(path) as city:
        check(city)
        rows = share_rows(city._city.storage)  # type: ignore[arg-type]
        assert len(rows) == 7
        assert all(key.endswith(city.epoch.root) for key in rows)


@pytest.mark.parametrize("engine", ENGINES)
def test_who_has_handed_over_votes_for_no_more_batches(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four, one that rests is not needed; two leave no quorum, whoever leads, until they are back."""
    resting: set[Keeper] = set()
    monkeypatch.setattr(Keeper, "is_resting", lambda keeper, number, tip: keeper in resting)
    with City.local(nodes=4, validators=4, k=2, n=4, engine=engine) as city:
        first, second, *_ = (node.keeper for node in city._city._nodes.values())
        resting.add(first)
        city.send(b"three vote")
        height = city._city.ledger.tip.height
        resting.add(second)
        with pytest.raises(UnavailableError):
            city.send(b"two vote", deadline_s=1)
        assert city._city.ledger.tip.height == height
        resting.clear()
        city.send(b"all vote")
        assert city._city.ledger.tip.height > height
