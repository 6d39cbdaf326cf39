"""A city's threshold keys: made at its founding, used by any quorum, handed on when the delegates change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from city_chain import City, records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError, VerificationError
from city_chain.levels.embedded import node_space
from city_chain.ports import Request
from city_chain.proofs import dpos
from city_chain.stages import messages

SETTINGS = {"nodes": 8, "validators": 4, "k": 2, "n": 5}


def city(storage: MemoryStorage | None = None, **more: object) -> City:
    return City.local(storage=storage or MemoryStorage(), **{**SETTINGS, **more})  # type: ignore[arg-type]


def copied(storage: MemoryStorage) -> MemoryStorage:
    """What a process that is killed now leaves behind."""
    copy = MemoryStorage()
    copy.put_many(dict(storage.scan(b"")))
    return copy


def share_rows(storage: MemoryStorage) -> list[bytes]:
    return [key for key, _ in storage.scan(b"hn") if key[6:7] == b"k" and len(key) == 6 + 33]


def delegates(town: City) -> list[bytes]:
    return [node.id for node in town.nodes() if node.delegate]


def test_keys_are_there_and_outlive_the_process(tmp_path: Path) -> None:
    with City.local(tmp_path / "city.db", **SETTINGS) as town:  # type: ignore[arg-type]
        keys = town.keys
        keys.verify(town.epoch)
        assert (keys.threshold, sorted(keys.delegates)) == (3, sorted(delegates(town)))
        assert len(keys.signers) == 4
        receipt = town.send(b"hello")
    with City.open(tmp_path / "city.db") as town:
        assert town.keys == keys
        assert town.trust.city_key == keys.signing_key
        town.compress(receipt).verify(town.trust)


def test_a_compressed_receipt(tmp_path: Path) -> None:
    with city() as town:
        receipt = town.send(b"hello")
        small = town.compress(receipt)
        assert small.certificate.engine == "bls"
        assert len(small.to_bytes()) < len(receipt.to_bytes())
        records.Receipt.from_bytes(small.to_bytes()).verify(town.trust)
        assert town.compress(small) == small
        with pytest.raises(VerificationError, match="no key of the city"):
            small.verify(records.Trust.of(town.epoch))
        assert town.receipt(receipt.tx_id) == receipt
        with city() as other:
            with pytest.raises(VerificationError):
                small.verify(other.trust)
            with pytest.raises(CityChainError):
                other.compress(receipt)


def test_t_delegates_are_enough_and_one_less_is_not() -> None:
    with city() as town:
        receipt = town.send(b"hello")
        for at, node in enumerate(delegates(town)[:2]):
            town.stop_node(node)
            if at == 0:
                town.compress(receipt).verify(town.trust)
        with pytest.raises(UnavailableError, match="needed 3, had 2"):
            town.compress(receipt)


def test_a_damaged_row_costs_one_delegate_its_part() -> None:
    storage = MemoryStorage()
    with city(storage) as town:
        receipt = town.send(b"hello")
        left = copied(storage)
    first, second = share_rows(left)[:2]
    (row,) = left.get_many([first])
    assert row is not None
    left.put_many({first: row[:-1] + bytes([row[-1] ^ 1])})
    again = copied(left)
    again.put_many({second: b"damaged"})
    with city(left) as town:
        town.compress(receipt).verify(town.trust)
    with city(again) as town:
        with pytest.raises(UnavailableError, match="needed 3, had 2"):
            town.compress(receipt)
        town.send(b"the city goes on")


def test_a_city_from_before_there_were_keys_gets_some() -> None:
    storage = MemoryStorage()
    with city(storage) as town:
        receipt, before = town.send(b"hello"), town.keys
        left = copied(storage)
    left.delete_many([*share_rows(left), *(key for prefix in (b"ck", b"cg") for key, _ in left.scan(prefix))])
    with city(left) as town:
        assert town.keys.signing_key != before.signing_key
        town.keys.verify(town.epoch)
        receipt.verify(town.trust)
        town.compress(receipt).verify(town.trust)
        assert town.receive(receipt.tx_id) == b"hello"


def test_keys_are_made_once_enough_delegates_run() -> None:
    storage = MemoryStorage()
    with city(storage) as town:
        receipt = town.send(b"hello")
        stopped = delegates(town)[:2]
        for node in stopped:
            town.stop_node(node)
        left = copied(storage)
    left.delete_many([*share_rows(left), *(key for prefix in (b"ck", b"cg") for key, _ in left.scan(prefix))])
    with city(left) as town:
        with pytest.raises(UnavailableError, match=r"dealings for the keys of epoch 0: needed 3, had 2"):
            _ = town.keys
        assert town.trust.city_key is None
        receipt.verify(town.trust)
        town.start_node(stopped[0])
        assert len(town.keys.signers) == 3
        town.compress(receipt).verify(town.trust)
        town.start_node(stopped[1])
        left = copied(left)
    with city(left) as town:  # the one that was away is given its shares now
        town.stop_node(stopped[0])
        town.compress(receipt).verify(town.trust)
        assert not list(left.scan(b"cg"))


class Lying(InProcessTransport):
    """Changes what one party says."""

    def __init__(self, lie: Callable[[Request, bytes], bytes]) -> None:
        super().__init__(SystemClock())
        self._lie = lie

    def serve(self, handler, address=None):  # type: ignore[no-untyped-def]
        def lying(requests: Sequence[Request]) -> list[bytes]:
            return [self._lie(request, body) for request, body in zip(requests, handler(requests), strict=True)]

        return super().serve(lying, address)


def test_a_dealer_whose_dealing_is_changed_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    liar: list[str] = []

    def lie(request: Request, body: bytes) -> bytes:
        if messages.parse(request.body).kind != "deal":
            return body
        liar.append(request.address)
        if request.address != liar[0]:
            return body
        dealing = bytearray(messages.answer(body, "dealing")[0])
        dealing[-1] ^= 1
        return messages.message("dealing", [bytes(dealing)])

    with city(transport=Lying(lie)) as town:
        town.compress(town.send(b"hello")).verify(town.trust)
        absent = [node for node, of in zip(town.keys.delegates, town.keys.countersigners, strict=True) if of is None]
        assert [node.address for node in town.nodes() if node.id in absent] == liar[:1]
    assert "complains of" in caplog.text


def test_a_delegate_that_complains_of_everybody_is_not_heard() -> None:
    def lie(request: Request, body: bytes) -> bytes:
        message = messages.parse(request.body)
        if message.kind != "deals" or request.address != asked[0]:
            return body
        dealers = [records.Dealing.from_bytes(part).dealer for part in message.parts[2:]]
        return messages.message("faults", [part for dealer in dealers for part in (dealer, b"bad")])

    asked: list[str] = []

    class Noting(Lying):
        def gather(self, requests, deadline):  # type: ignore[no-untyped-def]
            if requests and messages.parse(requests[0].body).kind == "deals" and not asked:
                asked.append(requests[0].address)
            return super().gather(requests, deadline)

    with city(transport=Noting(lie)) as town:
        assert asked
        assert None not in town.keys.countersigners
        town.compress(town.send(b"hello")).verify(town.trust)


def test_what_a_delegate_complains_with_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    def lie(request: Request, body: bytes) -> bytes:
        message = messages.parse(request.body)
        if message.kind != "deals" or len(message.parts) < 6:
            return body
        dealer = records.Dealing.from_bytes(message.parts[2]).dealer
        named = [dealer, *(bytes([at]) * 32 for at in range(200)), *[dealer] * 200]
        return messages.message(
            "faults", [part for one in named for part in (one, b"bad\nforged: a line" + bytes(10_000))]
        )

    with city(transport=Lying(lie)):
        lines = [record.getMessage() for record in caplog.records if "complains of" in record.getMessage()]
    assert 1 <= len(lines) <= 4
    assert all("\n" not in line and len(line) < 3_000 for line in lines)


# --- other delegates -------------------------------------------------------------------------------------------------


def test_handing_over_twice(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, **SETTINGS) as town:  # type: ignore[arg-type]
        receipts = [town.send(b"epoch 0")]
        keys, nodes = [town.keys], [node.id for node in town.nodes()]
        first = delegates(town)
        for chosen in (nodes[4:], nodes[1:8]):
            epoch = town.elect(chosen)
            assert sorted(delegates(town)) == sorted(chosen)
            assert (epoch.number, town.epoch) == (len(receipts), epoch)
            receipts.append(town.send(b"epoch %d" % epoch.number))
            keys.append(town.keys)
        assert [receipt.epoch.number for receipt in receipts] == [0, 1, 2]
        assert [of.threshold for of in keys] == [3, 3, 5]
        assert len({of.signing_key for of in keys}) == len({of.encryption_key for of in keys}) == 1
        assert sorted(first) != sorted(delegates(town))
    with City.open(path) as town:
        assert town.keys == keys[-1]
        assert [number for number, _ in town.trust.epochs] == [0, 1, 2]
        for number, receipt in enumerate(receipts):
            receipt.verify(town.trust)
            small = town.compress(receipt)
            small.verify(town.trust)
            assert small.epoch.number == number
            assert town.receive(receipt.tx_id) == b"epoch %d" % number
        again = town.send(b"epoch 2 again")
        assert (again.epoch.number, again.header.height) == (2, 4)
        report = town.repair()
        assert (report.checked, report.errors) == (4, {})


def test_old_transactions_are_repaired_in_a_later_epoch() -> None:
    with city() as town:
        receipt = town.send(b"hello")
        town.settle()
        town.elect(3)
        # Three delegates are a quorum only together: it is another holder that is stopped.
        town.stop_node(next(node for _, node in receipt.availability.holders if node not in delegates(town)))
        town.repair()
        assert town.health([receipt.tx_id]).transactions[0].good == 5
        assert town.receive(receipt.tx_id) == b"hello"


def test_old_shares_are_erased() -> None:
    storage = MemoryStorage()
    with city(storage) as town:
        before = {key: row for key, row in storage.scan(b"") if key in share_rows(storage)}
        assert len(before) == 4
        town.elect([node.id for node in town.nodes()][:4])
        after = share_rows(storage)
        assert len(after) == 4
        assert not set(after) & set(before)
        root = town.epoch.root
        assert all(key.endswith(root) for key in after)
        # Put back, they are still of no use: nobody works under the keys that they are shares of.
        storage.put_many(before)
        left = copied(storage)
    with city(left) as town:
        town.compress(town.send(b"hello")).verify(town.trust)


def test_the_same_delegates_get_fresh_shares() -> None:
    with city() as town:
        before = town.keys
        town.elect(before.delegates)
        assert town.keys.delegates == before.delegates
        assert town.keys.signing_key == before.signing_key
        assert not set(town.keys.signing_shares) & set(before.signing_shares)


def test_a_stopped_delegate_is_replaced() -> None:
    with city() as town:
        gone = delegates(town)[0]
        town.stop_node(gone)
        town.elect(4)
        assert gone not in delegates(town)
        assert len(town.keys.signers) == 4
        town.send(b"hello")


def test_what_cannot_be_elected() -> None:
    with city() as town:
        nodes = [node.id for node in town.nodes()]
        for wrong, what in (
            (0, "0 delegates"),
            (129, "129 delegates"),
            ([], "0 delegates"),
            ([nodes[0], nodes[0]], "twice"),
            ([bytes(32)], "no node"),
        ):
            with pytest.raises(InputError, match=what):
                town.elect(wrong)
        with pytest.raises(UnavailableError):
            town.elect(9)
        town.stop_node(nodes[7])
        with pytest.raises(UnavailableError, match="stopped"):
            town.elect(nodes[5:])
        for node in delegates(town)[:2]:
            town.stop_node(node)
        with pytest.raises(UnavailableError):
            town.elect(3)
        assert town.epoch.number == 0


def test_strangers_are_dealt_nothing() -> None:
    strangers = [records.Identity(bytes([at]) * 32) for at in range(1, 5)]
    with city() as town:
        inside = town._city
        tip = inside.ledger.tip
        validators = dpos.ValidatorSet(1, [(stranger.id, 1) for stranger in strangers])
        election = records.Election(inside.sender.identity, town.epoch, tip.height, tip.digest, validators)
        recipients = [records.Recipient(stranger, town.network).to_bytes() for stranger in strangers]
        body = messages.message("deal", [election.to_bytes(), town.keys.to_bytes(), *recipients])
        requests = [Request(node.address, body) for node in town.nodes() if node.delegate]
        for answer in inside._host.handle(requests):
            said = messages.parse(answer)
            assert said.kind == "refused"
            assert b"not logged in" in said.parts[0]


def test_nothing_is_elected_while_something_is_sent() -> None:
    with city() as town:
        refused: list[str] = []

        def elect(_: object) -> None:
            with pytest.raises(UnavailableError, match="at work for 1") as caught:
                town.elect(4)
            refused.append(str(caught.value))

        town.watch(elect)
        town.send(b"hello")
        town.watch(None)
        assert refused
        assert town.elect(4).number == 1


class Failing(MemoryStorage):
    """Fails for good after some writes: as a process that is killed, which leaves what was written before."""

    left: int | None = None

    def close(self) -> None:
        """Stays readable, as a disk does."""

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StorageError("the disk is gone")

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self._count()
        super().put_many(items, delete=delete)

    def defer_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self._count()
        super().put_many(items, delete=delete)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        self._count()
        super().delete_many(keys)


def test_a_crash_anywhere_leaves_one_epoch_whole() -> None:
    numbers = []
    for writes in range(40):
        storage = Failing()
        town = city(storage)
        receipt, key = town.send(b"hello"), town.keys.signing_key
        town.settle()
        chosen = [node.id for node in town.nodes()][3:7]
        storage.left = writes
        with contextlib.suppress(CityChainError):
            town.elect(chosen)
        whole = storage.left >= 0
        left = copied(storage)
        storage.left = None
        town.close()
        with city(left) as again:
            numbers.append(again.epoch.number)
            assert again.keys.signing_key == key
            for one in (receipt, again.send(b"after")):
                one.verify(again.trust)
                again.compress(one).verify(again.trust)
            assert all(row.endswith(again.epoch.root) for row in share_rows(left)) or again.epoch.number == 0
            if again.epoch.number == 0:  # what was begun stands in nobody's way
                assert again.elect(chosen).number == 1
            assert again.elect(4).number == 2
            assert again.keys.signing_key == key
            again.compress(again.send(b"later")).verify(again.trust)
            assert len(share_rows(left)) == 4
        if whole:
            break
    assert set(numbers) == {0, 1}
    assert numbers == sorted(numbers)


def test_a_batch_that_may_be_certified_is_not_handed_over_before() -> None:
    """A certificate that nobody appended, and a handover after the height before it: never both."""
    with city(engine="dpos") as town:
        town.send(b"first")
        inside = town._city
        certified: list[records.CommitCertificate] = []

        def die(_: object, certificate: records.CommitCertificate, __: float) -> list[records.Receipt]:
            certified.append(certificate)
            raise UnavailableError("the coordinator dies here", 1, 0)

        append, inside.engine._append = inside.engine._append, die  # type: ignore[attr-defined]
        with pytest.raises(CityChainError):
            town.send(b"second", deadline_s=0.3)
        inside.engine._append = append  # type: ignore[attr-defined]
        tip = inside.ledger.tip
        assert certified[-1].slot.height == tip.height + 1
        validators = dpos.ValidatorSet(1, [(node.id, 1) for node in town.nodes()[:4]])
        election = records.Election(inside.sender.identity, town.epoch, tip.height, tip.digest, validators)
        with pytest.raises(UnavailableError, match="handover: stake that signed"):
            inside._maker.hand_over(election)
        town.send(b"third")  # carries on with the second
        assert inside.ledger.tip.height == tip.height + 2


def test_a_damaged_handover_is_told() -> None:
    storage = MemoryStorage()
    with city(storage) as town:
        town.elect(4)
        left = copied(storage)
    [(key, row)] = left.scan(b"co")
    left.put_many({key: row[:-1] + bytes([row[-1] ^ 1])})
    with pytest.raises(StorageError, match="the handover after epoch 0"):
        city(left)


def test_no_share_is_in_what_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    storage = MemoryStorage()
    with city(storage) as town:
        town.elect(4)
        text = caplog.text + repr(town.keys) + repr(town)
        for key in share_rows(storage):
            (row,) = storage.get_many([key])
            assert row is not None
            assert row.hex() not in text
        assert len(node_space(0)) == 5
