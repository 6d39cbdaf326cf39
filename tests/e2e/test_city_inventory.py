"""Inventories at work in a city: who is asked, what a restart keeps; a filter that lies or rots loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.algorithms import cbf
from city_chain.errors import UnavailableError
from city_chain.levels.embedded import node_space
from city_chain.node.holder import fragment_key
from city_chain.node.inventory import ROW, Inventory
from city_chain.ports import Handler, Request
from city_chain.stages import messages
from city_chain.stages.inventories import entry

pytestmark = pytest.mark.e2e

SETTINGS: dict[str, Any] = {"nodes": 8, "validators": 1, "k": 2, "n": 4}


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


class Watched(InProcessTransport):
    """Counts the messages of each kind by address."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str]] = Counter()

    def serve(self, handler: Handler, address: str | None = None) -> str:
        def counting(requests: Sequence[Request]) -> Sequence[bytes]:
            for request in requests:
                self.seen[messages.parse(request.body).kind, request.address] += 1
            return handler(requests)

        return super().serve(counting, address)

    def take(self, kind: str) -> Counter[str]:
        """How many messages of a kind every address got since the last call."""
        found = Counter({address: count for (of, address), count in self.seen.items() if of == kind})
        for address in found:
            del self.seen[kind, address]
        return found


@contextmanager
def opened(storage: Kept, transport: Watched | None = None, **settings: Any) -> Iterator[City]:
    with City.local(storage=storage, transport=transport, **(SETTINGS | settings)) as city:
        yield city


def space(city: City, node: bytes) -> bytes:
    """The prefix of a node's rows in the whole storage."""
    return b"h" + node_space([known.id for known in city.nodes()].index(node))


def address(city: City, node: bytes) -> str:
    return next(known.address for known in city.nodes() if known.id == node)


def holders(city: City, tx_id: bytes) -> dict[int, bytes]:
    (placement,) = city._city.placements([tx_id])
    assert placement is not None
    return dict(placement.holders)


def lose(city: City, storage: Kept, tx_id: bytes, index: int) -> bytes:
    """Takes a fragment away from its holder, as a disk would; who that was."""
    node = holders(city, tx_id)[index]
    storage.delete_many([space(city, node) + fragment_key(tx_id, index)])
    return node


def check_inventories(storage: MemoryStorage, nodes: int) -> int:
    """No node denies what is in its space; how many fragments there are."""
    total = 0
    for at in range(nodes):
        own = NamespacedStorage(storage, b"h" + node_space(at))
        (tip,) = storage.get_many([b"lhead"])
        held = [key[1:] for key, _ in own.scan(b"f")]
        for known in (Inventory(own, bytes(32)), Inventory(own, bytes(32), lambda: _digest(tip))):  # noqa: B023
            summary = known.summary()
            assert summary is not None
            found = cbf.Cuckoo.from_bytes(summary)
            assert all(key in found for key in held)
        total += len(held)
    return total


def _digest(tip: bytes | None) -> bytes:
    return b"" if tip is None else bytes.fromhex(orjson.loads(tip)["digest"])


def test_a_healthy_receive_asks_for_no_inventory() -> None:
    storage, transport = Kept(), Watched()
    with opened(storage, transport) as city:
        receipts = [city.send(b"%d" % at) for at in range(5)]
        city.settle()
        for receipt in receipts:
            city.receive(receipt.tx_id)
        city.settle()
        assert not transport.take("inventory")
        assert transport.take("fetch").total() == 5 * 2
        city.health()
        assert transport.take("inventory") == Counter(node.address for node in city.nodes())
        transport.take("fetch")
        for receipt in receipts:
            city.receive(receipt.tx_id)
        assert transport.take("fetch").total() == 5 * 2
        assert not transport.take("inventory")


def test_who_lacks_a_fragment_is_asked_once_and_then_last() -> None:
    storage, transport = Kept(), Watched()
    with opened(storage, transport) as city:
        receipts = [city.send(b"%d" % at) for at in range(30)]
        city.settle()
        # One node loses all that it held: it answers, but has nothing.
        node = max(city.nodes(), key=lambda known: known.fragments).id
        prefix, place = space(city, node) + b"f", address(city, node)
        storage.delete_many([key for key, _ in storage.scan(prefix)])
        lacking = [receipt for receipt in receipts if node in list(holders(city, receipt.tx_id).values())[:2]]
        assert len(lacking) > 2
        inside = city._city.node(node)
        inside.holder.inventory = Inventory(NamespacedStorage(storage, space(city, node)), node)  # its process restarts
        city._city._host.add(inside)
        transport.seen.clear()
        assert city.receive(lacking[0].tx_id)
        assert transport.take("fetch")[place] == 1, "nobody knew"
        city.settle()
        assert transport.take("inventory") == Counter([place]), "behind the receive it was asked what it holds"
        city._city._vitals.worked(node)  # its failure is forgotten: from now on only the filter speaks
        for receipt in lacking:
            city.receive(receipt.tx_id)
        asked = transport.take("fetch")
        assert asked[place] == 0
        assert asked.total() == 2 * len(lacking)
        # Where the others do not do, it is asked all the same.
        for other in set(holders(city, lacking[0].tx_id).values()) - {node}:
            city.stop_node(other)
        with pytest.raises(UnavailableError) as caught:
            city.receive(lacking[0].tx_id, deadline_s=2.0)
        assert (caught.value.needed, caught.value.had) == (2, 0)
        assert transport.take("fetch")[place] == 1


def test_a_repair_makes_the_filters_right_again() -> None:
    storage, transport = Kept(), Watched()
    with opened(storage, transport) as city:
        receipt = city.send(b"hello")
        city.settle()
        lose(city, storage, receipt.tx_id, 0)
        lose(city, storage, receipt.tx_id, 1)
        assert city.repair().repaired == 1
        assert transport.take("inventory").total() == 8
        known = city._city._inventories
        for index, node in holders(city, receipt.tx_id).items():
            assert not known.denies(node, receipt.tx_id, index, city.height)
        transport.take("fetch")
        assert city.receive(receipt.tx_id) == b"hello"
        assert transport.take("fetch").total() == 2


@pytest.mark.parametrize("lie", ["nothing", "everything", "rubbish", "never ready", "huge", "error"])
def test_filters_that_lie_lose_nothing(lie: str) -> None:
    class Lying(Inventory):
        def summary(self) -> bytes | None:
            if lie == "nothing":
                return cbf.Cuckoo(10).to_bytes()
            if lie == "everything":
                full = cbf.Cuckoo(1_000)
                full.insert_many([entry(tx_id, index) for tx_id in city.tx_ids() for index in range(4)])
                return full.to_bytes()
            if lie == "rubbish":
                return b"CCcf\x01\x00" + os.urandom(100)
            if lie == "huge":
                return bytes(17 << 20)
            if lie == "error":
                raise UnavailableError("no", 1, 0)
            return None

    storage, transport = Kept(), Watched()
    with opened(storage, transport) as city:
        for known in city.nodes():
            inside = city._city.node(known.id)
            inside.holder.inventory = Lying(NamespacedStorage(storage, space(city, known.id)), known.id)
            city._city._host.add(inside)
        receipts = [city.send(b"%d" % at) for at in range(4)]
        city.settle()
        health = city.health()
        assert all(found.good == 4 for found in health.transactions)
        for at, receipt in enumerate(receipts):
            assert city.receive(receipt.tx_id) == b"%d" % at
        lose(city, storage, receipts[0].tx_id, 0)
        assert city.receive(receipts[0].tx_id) == b"0"
        assert city.repair().repaired == 1
        assert city.receive(receipts[0].tx_id) == b"0"


def test_a_restart_keeps_the_filters_and_damage_costs_nothing() -> None:
    storage = Kept()
    with opened(storage) as city:
        receipts = [city.send(b"%d" % at) for at in range(10)]
        city.settle()
        spaces = [space(city, node.id) for node in city.nodes()]
        counts = [node.fragments for node in city.nodes()]
    rows = storage.get_many([prefix + ROW for prefix in spaces])
    for row, count in zip(rows, counts, strict=True):
        assert row is not None
        _, encoded = messages.answer(row, "inventory", 2)
        assert len(cbf.Cuckoo.from_bytes(encoded)) == count
    # One is missing, one is rotten, one is another node's, one is of another end of the ledger.
    storage.delete_many([spaces[0] + ROW])
    assert rows[2] is not None
    storage.put_many(
        {
            spaces[1] + ROW: b"\x00" + (rows[1] or b"")[1:],
            spaces[2] + ROW: (rows[3] or b"")[:-1],
            spaces[3] + ROW: messages.message("inventory", [bytes(32), cbf.Cuckoo(9).to_bytes()]),
        }
    )
    with opened(storage) as city:
        assert all(found.good == 4 for found in city.health().transactions)
        known = city._city._inventories
        assert len(known) == 8
        for receipt in receipts:
            for index, node in holders(city, receipt.tx_id).items():
                assert not known.denies(node, receipt.tx_id, index, city.height)
    assert check_inventories(storage, 8) == sum(counts)
    assert None not in storage.get_many([prefix + ROW for prefix in spaces])


class Recording(Kept):
    """Keeps what the storage was after every write."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[dict[bytes, bytes]] = []

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        super().put_many(items, delete=delete)
        self.moments.append(dict(self.scan(b"")))

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self.put_many(items, delete=delete)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        super().delete_many(keys)
        self.moments.append(dict(self.scan(b"")))


def test_a_kill_between_any_two_writes_leaves_no_filter_that_denies() -> None:
    storage = Recording()
    for round_ in range(3):
        with opened(storage) as city:
            receipts = [city.send(b"%d %d" % (round_, at)) for at in range(3)]
            city.settle()
            lose(city, storage, receipts[0].tx_id, 1)
            assert city.repair([receipts[0].tx_id]).repaired == 1
            request = _release(city, receipts[1])
            city._city._transport.request(*request, city._city.clock.monotonic() + 5)
    assert len(storage.moments) > 50
    seen = 0
    for moment in storage.moments:
        copy = MemoryStorage()
        copy.put_many(moment)
        seen += check_inventories(copy, 8)
    assert seen > 1_000


def _release(city: City, receipt: records.Receipt) -> tuple[str, bytes]:
    """A request to let go of what is committed, which a node does not do."""
    inside = city._city
    node = holders(city, receipt.tx_id)[0]
    request = records.RepairRequest(
        inside.sender.identity,
        network=city.network,
        node=node,
        hlc=inside.sender.stamp(),
        deadline_ms=inside.clock.now_ms() + 1_000,
        items=[(receipt.tx_id, 0)],
    )
    return address(city, node), messages.message("release", [request.to_bytes()])


WORKER = """
import os, signal, sys, threading, time
from city_chain import City
city = City.open(sys.argv[1])
print(*[city.send(os.urandom(500)).tx_id.hex() for _ in range(10)], flush=True)
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
while True:
    city.send_many([os.urandom(300) for _ in range(8)])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_no_filter_that_denies(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    City.create(path, **SETTINGS).close()
    for after_s in ("0.05", "0.2", "0.4"):
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(path), after_s],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        with City.open(path) as city:
            for known in city.nodes():
                holder = city._city.node(known.id).holder
                held = [key[1:] for key, _ in holder._storage.scan(b"f")]
                assert all(holder.inventory.may_hold(key) for key in held)
            city.health(list(city.tx_ids())[:20])
            for tx_id in map(bytes.fromhex, done.stdout.split()):
                for index, node in holders(city, tx_id).items():
                    assert city._city.node(node).holder.inventory.may_hold(entry(tx_id, index))
                    assert not city._city._inventories.denies(node, tx_id, index, city.height)
                assert len(city.receive(tx_id)) == 500


def test_what_is_let_go_is_struck_out() -> None:
    with opened(Kept()) as city:
        for known in city.nodes()[2:]:
            city.stop_node(known.id)
        with pytest.raises(UnavailableError):
            city.send(b"too few nodes")
        city.settle()
        for known in city.nodes()[:2]:
            holder = city._city.node(known.id).holder
            assert holder.count() == 0
            assert len(cbf.Cuckoo.from_bytes(holder.inventory.summary() or b"")) == 0


def test_what_expires_is_struck_out() -> None:
    with opened(Kept()) as city:
        city.send(b"hello")
        city.settle()
        for known in city.nodes():
            holder = city._city.node(known.id).holder
            count = holder.count()
            assert len(cbf.Cuckoo.from_bytes(holder.inventory.summary() or b"")) == count
            assert holder.expire(2**47, lambda tx_ids: [False] * len(tx_ids)) == count
            assert len(cbf.Cuckoo.from_bytes(holder.inventory.summary() or b"")) == 0


def test_only_the_city_may_ask_for_an_inventory() -> None:
    stranger = records.Identity(b"\x07" * 32)
    with opened(Kept()) as city:
        city.send(b"hello")
        inside = city._city
        for node in inside._nodes.values():
            for identity, right in ((stranger, False), (inside.sender.identity, True)):
                request = records.RepairRequest(
                    identity,
                    network=city.network,
                    node=node.id,
                    hlc=1 << 20,
                    deadline_ms=inside.clock.now_ms() + 1_000,
                    items=[],
                )
                body = messages.message("inventory", [request.to_bytes()])
                answer = inside._transport.request(node.address, body, inside.clock.monotonic() + 5)
                assert (messages.parse(answer).kind == "filter") == right
            for parts in ([], [b"?"], [request.to_bytes(), b"more"]):
                body = messages.message("inventory", parts)
                answer = inside._transport.request(node.address, body, inside.clock.monotonic() + 5)
                assert messages.parse(answer).kind == "refused"


def test_one_request_repeated_many_times_at_once_costs_one_filter() -> None:
    with opened(Kept()) as city:
        city.send(b"hello")
        inside = city._city
        asked = []
        for node in list(inside._nodes.values())[:2]:
            request = records.RepairRequest(
                inside.sender.identity,
                network=city.network,
                node=node.id,
                hlc=1 << 20,
                deadline_ms=inside.clock.now_ms() + 1_000,
                items=[],
            )
            asked += [Request(node.address, messages.message("inventory", [request.to_bytes()]))] * 50
        answers = inside._host.handle(asked)
        assert {messages.parse(answer).kind for answer in answers} == {"filter"}
        assert len({id(answer) for answer in answers}) == 2, "as many copies as nodes, however often they are asked"
