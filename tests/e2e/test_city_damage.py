"""What was found by attacking a city: a second name for its file, damaged rows, liars that only cost time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import InputError, StorageError, UnavailableError, VerificationError
from city_chain.node.ledger import SEQUENCE_WINDOW
from city_chain.ports import Request
from city_chain.proofs import poh
from city_chain.records import RepairRequest, Transaction
from city_chain.stages import messages
from city_chain.stages.courier import sign_requests
from city_chain.stages.model import Evidence


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


@contextmanager
def opened(storage: Kept, transport: InProcessTransport | None = None, engine: str = "hotstuff") -> Iterator[City]:
    with City.local(nodes=12, validators=4, k=2, n=4, engine=engine, storage=storage, transport=transport) as city:
        yield city


def flip(storage: Kept, key: bytes, byte: int, bit: int = 0) -> None:
    (row,) = storage.get_many([key])
    assert row is not None
    changed = bytearray(row)
    changed[byte % len(row)] ^= 1 << bit
    storage.put_many({key: bytes(changed)})


# --- one file, one owner ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["symbolic link", "folder behind a symbolic link"])
def test_a_city_is_not_opened_twice_under_another_name(tmp_path: Path, way: str) -> None:
    (tmp_path / "a").mkdir()
    place = tmp_path / "a" / "city.db"
    if way == "symbolic link":
        other = tmp_path / "other.db"
        other.symlink_to(place)
    else:
        (tmp_path / "b").symlink_to(tmp_path / "a")
        other = tmp_path / "b" / "city.db"
    with City.local(place, nodes=4, validators=1, k=2, n=4) as city:
        city.send(b"one")
        program = (
            "import sys\nfrom city_chain import City\nfrom city_chain.errors import StorageError\n"
            "try:\n    City.open(sys.argv[1])\nexcept StorageError as error:\n    print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(other)], capture_output=True, text=True, check=True)
        assert "open in another process" in done.stdout


def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "city.db"
    City.local(place, nodes=4, validators=1, k=2, n=4).close()
    os.link(place, tmp_path / "other.db")
    with pytest.raises(StorageError, match="another name"):
        City.open(tmp_path / "other.db")
    (tmp_path / "other.db").unlink()
    City.open(place).close()


# --- damaged rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [b"csettings", b"cmaster", b"cepoch"])
def test_a_flipped_bit_in_what_the_city_is_shows_when_it_is_opened(row: bytes) -> None:
    storage = Kept()
    with opened(storage) as city:
        receipt = city.send(b"one")
    (whole,) = storage.get_many([row])
    assert whole is not None
    step = max(len(whole) // 40, 1)
    refused = 0
    for byte in range(0, len(whole), step):
        flip(storage, row, byte, byte % 8)
        try:
            with opened(storage) as city:
                receipt.verify(city.trust)
                city.send(b"two").verify(city.trust)
        except (StorageError, InputError):
            refused += 1
        storage.put_many({row: whole})
    # A bit of the settings' text may make another text that says the same; the keys and the epoch have no such bits.
    assert refused == len(range(0, len(whole), step)) or row == b"csettings"
    with opened(storage) as city:
        assert city.receive(receipt.tx_id) == b"one"


def test_a_delegate_with_a_damaged_journal_does_not_vote_and_the_others_go_on() -> None:
    storage = Kept()
    with opened(storage, engine="dpos") as city:
        city.send(b"one")
        delegates = [at for at, node in enumerate(city.nodes()) if node.delegate]
    key = b"hn" + delegates[0].to_bytes(4, "big") + b"d"
    (row,) = storage.get_many([key])
    assert row is not None
    storage.put_many({key: row[:-1]})
    with opened(storage, engine="dpos") as city:
        assert [node.votes for node in city.nodes() if node.delegate].count(False) == 1
        receipt = city.send(b"two")
        assert city.receive(receipt.tx_id) == b"two"


@pytest.mark.parametrize("prefix", [b"lt", b"lr", b"lg"])
def test_a_damaged_row_costs_its_own_transaction_only(prefix: bytes) -> None:
    storage = Kept()
    with opened(storage) as city:
        good, bad = city.send(b"good"), city.send(b"bad")
        delegates = {node.id for node in city.nodes() if node.delegate}
        holder = next(node for _, node in bad.availability.holders if node not in delegates)
        city.stop_node(holder)
        assert not city.repair().errors
        (key,) = [key for key, _ in storage.scan(prefix + bad.tx_id)]
        (row,) = storage.get_many([key])
        assert row is not None
        storage.put_many({key: row[:-1]})
        health = city.health()
        assert list(health.errors) == [bad.tx_id]
        assert isinstance(health.errors[bad.tx_id], StorageError)
        assert [found.tx_id for found in health.transactions] == [good.tx_id]
        report = city.repair()
        assert list(report.errors) == [bad.tx_id]
        outcomes = city.receive_many([good.tx_id, bad.tx_id])
        assert isinstance(outcomes[0], Transaction)
        assert isinstance(outcomes[1], StorageError)


def test_what_was_voted_on_is_kept_twice() -> None:
    storage = Kept()

    class Cut(MemoryStorage):
        """Stands before a storage and stops writing at the first row of the ledger, as a kill would."""

        def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
            return storage.get_many(keys)

        def put_many(self, items, *, delete=()):  # type: ignore[no-untyped-def]
            if any(key.startswith(b"lhead") for key in items):
                raise StorageError("cut")
            storage.put_many(items, delete=delete)

        def scan(self, prefix, *, after=None, limit=None):  # type: ignore[no-untyped-def]
            return storage.scan(prefix, after=after, limit=limit)

        def delete_many(self, keys):  # type: ignore[no-untyped-def]
            storage.delete_many(keys)

        def close(self) -> None:
            pass

    with (
        City.local(nodes=12, validators=4, k=2, n=4, storage=Cut()) as city,
        pytest.raises(StorageError, match="cut"),
    ):
        city.send(b"one", deadline_s=0.5)
    copies = [key for prefix in (b"hv", b"hw") for key, _ in storage.scan(prefix)]
    assert len(copies) == 2
    flip(storage, copies[1], 200)
    with opened(storage) as city:
        assert [receipt.tx_id for receipt in city.recovery.finished] == list(city.tx_ids())
        assert len(city.recovery.finished) == 1
        assert city.height == 1
        city.send(b"two")


# --- liars -----------------------------------------------------------------------------------------------------------


def test_a_delegate_that_says_it_is_behind_holds_nobody_up() -> None:
    transport = InProcessTransport()
    with opened(Kept(), transport) as city:
        for _ in range(20):
            city.send(b"x")
        liar = next(node for node in city.nodes() if node.delegate)
        honest = city._city._host.handle
        asked = 0

        def lie(requests: Sequence[Request]) -> list[bytes]:
            nonlocal asked
            answers = []
            for request in requests:
                kind = messages.parse(request.body).kind
                if kind == "append":
                    asked += 1
                    time.sleep(0.05)
                said = messages.message("tip", [messages.integer(0)])
                answers.append(said if kind in ("announce", "append") else honest([request])[0])
            return answers

        transport.stop(liar.address)
        transport.serve(lie, liar.address)
        for _ in range(20):
            city.send(b"y")
        assert 0 < asked <= 2, "it is taught once, and then not again for a while"


def test_one_fetch_gives_no_more_than_an_answer_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("city_chain.node.holder._ANSWER_BYTES_MAX", 10_000)
    with opened(Kept()) as city:
        receipts = [city.send(bytes(4_000)) for _ in range(30)]
        city.settle()
        by_node: dict[bytes, list[tuple[bytes, int]]] = {}
        for receipt in receipts:
            for index, node in receipt.availability.holders:
                by_node.setdefault(node, []).append((receipt.tx_id, index))
        node, items = max(by_node.items(), key=lambda held: len(held[1]))
        sender = city._city.sender

        def ask(wanted: list[tuple[bytes, int]]) -> bytes:
            request = RepairRequest(
                sender.identity,
                network=city.network,
                node=node,
                hlc=sender.stamp(),
                deadline_ms=sender.clock.now_ms() + 1_000,
                items=wanted,
            )
            return messages.message("fetch", [request.to_bytes()])

        address = city._city.node(node).address
        bodies = [Request(address, ask(wanted)) for wanted in (items, items[:1])]
        refused, given = (messages.parse(answer) for answer in city._city._host.handle(bodies))
        assert len(items) > 5
        assert refused.kind == "refused"
        assert b"ask for fewer" in refused.parts[0]
        assert given.kind == "fragments", "another's request of the same burst is answered"
        with pytest.raises(InputError, match="twice"):
            ask([items[0], items[0]])


def test_a_repair_that_moves_nothing_is_not_committed() -> None:
    with opened(Kept()) as city:
        receipt = city.send(b"x" * 1000)
        city.settle()
        inside = city._city
        placement = inside.placements([receipt.tx_id])[0]
        assert placement is not None
        holders = placement.holders

        def outcome(acks: Sequence[poh.Ack]) -> object:
            repair = records.Repair(
                inside.sender.identity,
                network=city.network,
                tx_id=receipt.tx_id,
                manifest_hash=receipt.manifest.manifest_hash,
                generation=1,
                candidates_root=receipt.manifest.selection.candidates_root,
                moves=[(ack.index, ack.node) for ack in acks],
                hlc=inside.sender.stamp(),
            )
            certificate = records.RepairCertificate(repair, acks)
            evidence = [Evidence(records.Entry.repair(repair), certificate)]
            return inside.engine.commit(evidence, inside.clock.monotonic() + 2).outcomes[0]

        def fresh(index: int, node: bytes) -> poh.Ack:
            (fragment,) = inside.node(holders[index]).holder.fetch([(receipt.tx_id, index)])
            hashes = receipt.availability.fragment_hashes
            deadline = inside.clock.monotonic() + 2
            members = inside.sending()["members"]
            wanted = [(receipt.manifest, hashes[index], node, index)]
            (request,) = sign_requests(inside.sender, members, wanted, deadline)
            session = inside.sender.sessions.get(request.session)
            (body,) = records.hold_messages([(session, True, [(request, fragment)])])
            (answer,) = inside._host.handle([Request(inside.node(node).address, body)])
            ack = messages.ack_or_reason(messages.answer(answer, "held", 1)[0])
            assert isinstance(ack, poh.Ack)
            return ack

        old = outcome([receipt.availability.acks[0]])
        assert isinstance(old, VerificationError)
        assert "an earlier one" in str(old)
        first, second = sorted(index for index, _ in receipt.availability.holders)[:2]
        doubled = outcome([fresh(second, holders[first])])
        assert isinstance(doubled, VerificationError)
        assert "two fragments" in str(doubled)
        stranger = next(node.id for node in city.nodes() if node.id not in holders.values())
        assert isinstance(outcome([fresh(first, stranger)]), records.Entry)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_a_number_far_ahead_is_refused_and_spoils_nothing() -> None:
    with opened(Kept()) as city:
        for sequence in (2**63, SEQUENCE_WINDOW + 5):
            far = Transaction(
                city._city.sender.identity,
                network=city.network,
                sequence=sequence,
                hlc=city._city.sender.stamp(),
                payload=b"far",
            )
            with pytest.raises(InputError, match="sequence"):
                city.send(far)
        assert city.send(b"normal").manifest.sequence == 0


def test_transactions_that_are_made_and_not_sent_leave_room_for_others() -> None:
    with opened(Kept()) as city:
        made = [city.transaction(b"x") for _ in range(SEQUENCE_WINDOW // 2)]
        with pytest.raises(InputError, match="made and not sent"):
            city.transaction(b"x")
        city.send(b"normal")
        city.send(made[-1])
        city.send(made[0])


def test_the_ledgers_own_space_is_where_these_tests_look() -> None:
    storage = Kept()
    with opened(storage) as city:
        receipt = city.send(b"x")
    assert NamespacedStorage(storage, b"l").get_many([b"t" + receipt.tx_id])[0] == receipt.to_bytes()


# --- what is said to have failed stays so ----------------------------------------------------------------------------


class Full(Kept):
    """A storage that is full while `full` is set: what deletes only is written, as it may be, or not."""

    full = False
    deletes = True

    def put_many(self, items, *, delete=()):  # type: ignore[no-untyped-def]
        if self.full and (items or not self.deletes):
            raise StorageError("full")
        super().put_many(items, delete=delete)


def test_what_failed_is_not_sent_by_the_next_opening() -> None:
    storage = Kept()
    with opened(storage) as city:
        ordinary = [node.id for node in city.nodes() if not node.delegate]
        for node in ordinary:
            city.stop_node(node)
        for node in [node.id for node in city.nodes() if node.delegate][:2]:
            city.stop_node(node)
        with pytest.raises(UnavailableError, match="acks"):
            city.send(b"pay 100")
        # Nothing is closed here: a process that is killed now leaves this behind.
        assert not list(storage.scan(b"ji"))


@pytest.mark.parametrize("deletes", [True, False])
def test_what_a_full_disk_failed_is_not_sent_later_or_the_error_says_that_it_may_be(deletes: bool) -> None:
    storage = Full()
    storage.deletes = deletes
    with opened(storage) as city:
        begin = city._city.journal.begin

        def begin_and_fill(holds):  # type: ignore[no-untyped-def]
            begin(holds)
            storage.full = True

        city._city.journal.begin = begin_and_fill  # type: ignore[method-assign]
        with pytest.raises(UnavailableError if deletes else StorageError, match="acks" if deletes else "may still"):
            city.send(b"pay 100")
        storage.full = False
        rows = dict(storage.scan(b""))
    again = Kept()
    again.put_many(rows)  # as it was before it was closed
    with opened(again) as city:
        assert len(list(city.tx_ids())) == (0 if deletes else 1)
        assert len(city.recovery.finished) == (0 if deletes else 1)


def test_an_ack_whose_proof_is_made_up_does_not_count() -> None:
    """A node that knows the hash but has thrown the bytes away can sign anything but the answer to the challenge."""
    transport = InProcessTransport()
    with opened(Kept(), transport) as city:
        inside = city._city
        liars = city.nodes()

        def bluff(requests: Sequence[Request]) -> list[bytes]:
            answers = []
            for request in requests:
                message = messages.parse(request.body)
                if message.kind != "hold":
                    answers.extend(inside._host.handle([request]))
                    continue
                (honest,) = inside._host.handle([request])
                torn = []
                for part in messages.answer(honest, "held"):
                    encoded = bytearray(part)
                    encoded[encoded.index(poh.Ack.from_bytes(part).proof)] ^= 1
                    torn.append(bytes(encoded))
                answers.append(messages.message("held", torn))
            return answers

        for node in liars:
            transport.stop(node.address)
            transport.serve(bluff, node.address)
        with pytest.raises(UnavailableError, match="the proof is not over the fragment's bytes"):
            city.send(b"x", deadline_s=2)
        assert not list(city.tx_ids())
