"""Sealed sends: nobody holds, stores or carries a run of what is sealed; a threshold of delegates opens it, once it is
committed, and so does every reader's key."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_chain import City, records
from city_chain.adapters.transport.inprocess import Fault
from city_chain.algorithms.tes import kem
from city_chain.composer import stage
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.pipelines import OPENING, SENDING
from city_chain.stages import messages
from tests.e2e.towns import SETTINGS, THRESHOLD, Kept, Town, capsule_of

pytestmark = pytest.mark.e2e

RUN = 16
PAYLOAD_MAX = 64 << 20


class Crash(BaseException):
    """The process is gone: nothing catches it."""


@pytest.fixture
def town() -> Iterator[Town]:
    """A fresh city of ten nodes, four of them delegates."""
    with Town() as town:
        yield town


def secret(size: int = 4096) -> bytes:
    """Bytes that nothing else has a run of."""
    return random.Random(size).randbytes(size)


def holds_a_run(data: bytes, payload: bytes) -> bool:
    """Whether 16 bytes of the payload in a row stand in `data`: then one of its aligned halves of 8 does."""
    pieces = (payload[at : at + RUN // 2] for at in range(0, len(payload) - RUN // 2 + 1, RUN // 2))
    return any(piece in data for piece in pieces)


# --- hidden ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["city", "readers", "nobody"])
def test_no_storage_and_no_packet_holds_a_run_of_the_payload(town: Town, to: str) -> None:
    reader = kem.SecretKey.generate()
    seal: Any = {"city": "city", "readers": [reader.public_key], "nobody": None}[to]
    payload = secret()
    receipt = town.city.send(payload, seal=seal)
    town.city.settle()
    made = town.city.transaction(payload, seal=seal)
    town.city.send(made)
    town.city.settle()
    town.city.repair()
    rows = b"\0".join(key + b"\0" + value for key, value in town.storage.scan(b""))
    packets = b"\0".join(town.transport.packets)
    found = holds_a_run(rows, payload), holds_a_run(packets, payload)
    assert found == ((True, True) if to == "nobody" else (False, False))
    assert receipt.manifest.cipher == (None if to == "nobody" else to)
    assert town.city.receive(receipt.tx_id, key=reader) == payload
    shares = [body for body in town.transport.packets if messages.parse(body).kind == "shares"]
    assert not holds_a_run(b"".join(shares), payload)


@pytest.mark.parametrize("to", ["city", "nobody"])
def test_the_citys_file_holds_no_run_of_the_payload(tmp_path: Path, to: str) -> None:
    payload = secret(20_000)
    with City.local(tmp_path / "city.db", **SETTINGS) as city:
        receipts = [city.send(payload, seal="city" if to == "city" else None)]
        receipts += [city.send(payload[at:], seal="city" if to == "city" else None) for at in (1, 2, 3)]
        city.settle()
        before = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert (tmp_path / "city.db-wal").stat().st_size > 0
    after = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [holds_a_run(data, payload) for data in (before, after)] == [to == "nobody"] * 2
    with City.open(tmp_path / "city.db") as city:
        assert city.receive(receipts[0].tx_id) == payload


def test_everything_else_is_as_if_it_were_not_sealed(town: Town) -> None:
    receipt = town.city.send(secret(), seal="city")
    receipt.verify(town.city.trust)
    (transaction,) = town.city.receive_many([receipt.tx_id])
    assert isinstance(transaction, records.Transaction)
    transaction.verify()
    receipt.verify_transaction(transaction)
    assert receipt.manifest.capsule_hash is not None
    assert records.Receipt.from_bytes(receipt.to_bytes()).manifest.capsule_hash == receipt.manifest.capsule_hash


# --- opened by the city ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 15, 1000, 3_000_000])
def test_what_is_sealed_to_the_city_opens(town: Town, size: int) -> None:
    receipt = town.city.send(secret(size), seal="city")
    assert town.city.receive(receipt.tx_id) == secret(size)


def test_a_threshold_of_delegates_opens_and_one_less_does_not(town: Town) -> None:
    receipt = town.city.send(b"sealed", seal="city")
    town.city.settle()
    first, second, third, fourth = town.delegates
    for stopped in ([], [first], [fourth]):
        with town.without(stopped):
            assert town.city.receive(receipt.tx_id) == b"sealed"
    for stopped in ([first, second], [second, fourth], [first, third, fourth], town.delegates):
        with town.without(stopped):
            with pytest.raises(UnavailableError) as caught:
                town.city.receive(receipt.tx_id)
            assert (caught.value.needed, caught.value.had) == (THRESHOLD, 4 - len(stopped))
            assert stopped[0].id.hex()[:8] in str(caught.value)
    assert town.city.receive(receipt.tx_id) == b"sealed"


def test_old_transactions_open_for_the_next_delegates_and_old_shares_open_nothing(town: Town) -> None:
    """The delegates change entirely: a threshold of the new ones opens what was sealed before, and nobody else does."""
    made = [town.city.transaction(payload, seal="city") for payload in (b"of epoch 0", b"of epoch 0 as well")]
    for transaction in made:
        town.city.send(transaction)
    town.city.settle()
    old, key = town.delegates, town.city.keys.encryption_key
    before = dict(town.storage.scan(b""))
    town.city.elect([node.id for node in town.city.nodes() if not node.delegate][:4])
    assert not {node.id for node in old} & {node.id for node in town.delegates}
    assert town.city.keys.encryption_key == key
    # The rows of the old shares are back: who kept a copy.
    town.storage.put_many({row: value for row, value in before.items() if row not in dict(town.storage.scan(b""))})
    for node in old:
        assert "has no shares of the keys of epoch 1" in town.refusal(node, made[0].tx_id, capsule_of(made[0]))
    later = town.city.send(b"of epoch 1", seal="city")
    for tx_id, payload in (
        (made[0].tx_id, b"of epoch 0"),
        (made[1].tx_id, b"of epoch 0 as well"),
        (later.tx_id, b"of epoch 1"),
    ):
        with town.without(old):
            assert town.city.receive(tx_id) == payload
        with town.without(town.delegates[:1]):
            assert town.city.receive(tx_id) == payload
        with town.without(town.delegates[:2]), pytest.raises(UnavailableError) as caught:
            town.city.receive(tx_id)
        assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)


def test_delegates_that_are_silent_are_not_waited_for(town: Town) -> None:
    receipt = town.city.send(b"sealed", seal="city")
    town.city.settle()
    clock = town.city._city.clock
    town.transport.set_fault(town.delegates[0].address, Fault(hang=True))
    begun = clock.monotonic()
    assert town.city.receive(receipt.tx_id, deadline_s=30) == b"sealed"
    assert clock.monotonic() - begun < 15
    town.transport.set_fault(town.delegates[1].address, Fault(hang=True))
    with pytest.raises(UnavailableError, match="by the deadline") as caught:
        town.city.receive(receipt.tx_id, deadline_s=2)
    assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)


def test_nothing_is_opened_before_it_is_committed(town: Town) -> None:
    made = town.city.transaction(b"sealed", seal="city")
    capsule = capsule_of(made)
    for node in town.delegates:
        assert "is not committed here" in town.refusal(node, made.tx_id, capsule)
    with pytest.raises(InputError, match="no transaction"):
        town.city.receive(made.tx_id)
    town.city.send(made)
    for node in town.delegates:
        (share,) = messages.answer(town.ask(node, made.tx_id, capsule), "shares", 1)
        assert messages.reason_of(share) is None


def test_a_capsule_opens_under_its_own_transaction_only(town: Town) -> None:
    made = [town.city.transaction(payload, seal="city") for payload in (b"one", b"two")]
    plain = town.city.send(b"not sealed")
    letter = town.city.send(b"to a reader", seal=[kem.SecretKey.generate().public_key])
    for transaction in made:
        town.city.send(transaction)
    capsule = capsule_of(made[0])
    node = town.delegates[0]
    assert "the capsule has the hash" in town.refusal(node, made[1].tx_id, capsule)
    for other in (plain, letter):
        assert "is not sealed to the city" in town.refusal(node, other.tx_id, capsule)
    for wrong in (b"", b"x", capsule[:-1], capsule + b"x", bytes(len(capsule)), bytes([capsule[0] ^ 1]) + capsule[1:]):
        assert "the capsule has the hash" in town.refusal(node, made[0].tx_id, wrong)


def test_who_may_not_ask_gets_no_share(town: Town) -> None:
    made = town.city.transaction(b"sealed", seal="city")
    town.city.send(made)
    capsule = capsule_of(made)
    node, other = town.delegates[:2]
    with pytest.raises(CityChainError, match="may not ask here"):
        messages.answer(town.ask(node, made.tx_id, capsule, records.Identity(b"\x05" * 32)), "shares", 1)
    holder = next(node for node in town.city.nodes() if not node.delegate)
    assert "share" in town.refusal(holder, made.tx_id, capsule) or "keys" in town.refusal(holder, made.tx_id, capsule)
    city = town.city._city
    request = records.RepairRequest(
        city.sender.identity,
        network=town.city.network,
        node=node.id,
        hlc=1,
        deadline_ms=city.clock.now_ms() + 1000,
        items=[(made.tx_id, 0)],
    ).to_bytes()
    forged = request[:-1] + bytes([request[-1] ^ 1])
    for address, parts in (
        (other.address, [request, capsule]),
        (node.address, [forged, capsule]),
        (node.address, [request]),
        (node.address, [request, capsule, capsule]),
        (node.address, [capsule, request]),
        (node.address, []),
    ):
        answer = town.transport.request(address, messages.message("open", parts), city.clock.monotonic() + 5)
        assert messages.parse(answer).kind == "refused"


def test_a_ciphertext_copied_into_anothers_transaction_does_not_open(town: Town) -> None:
    """Somebody sees a sealed transaction under way and sends its ciphertext as their own, to have it opened."""
    seen = town.city.transaction(b"a bid that nobody may know", seal="city")
    theirs = bytearray(seen.payload)
    copied = town.city.send(bytes(theirs))
    assert copied.manifest.cipher is None
    assert town.city.receive(copied.tx_id) == seen.payload
    at = theirs.index(seen.sequence.to_bytes(8, "little"), 6 + 64)
    theirs[at : at + 8] = (seen.sequence + 2).to_bytes(8, "little")
    relabelled = town.city.transaction(bytes(theirs))
    assert relabelled.sequence == seen.sequence + 2
    receipt = town.city.send(relabelled)
    assert receipt.manifest.cipher == "city"
    with pytest.raises(UnavailableError, match="its proof is wrong") as caught:
        town.city.receive(receipt.tx_id)
    assert (caught.value.needed, caught.value.had) == (THRESHOLD, 0)
    town.city.send(seen)
    assert town.city.receive(seen.tx_id) == b"a bid that nobody may know"


def lying(town: Town, addresses: Sequence[str], lie: Callable[[bytes], bytes]) -> None:
    """These delegates lie about their shares."""

    def change(address: str, asked: records.Message, honest: bytes) -> bytes:
        if asked.kind != "open" or address not in addresses:
            return honest
        return messages.message("shares", [lie(part) for part in messages.answer(honest, "shares")])

    town.transport.change = change


LIES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda share: share[:10] + bytes([share[10] ^ 1]) + share[11:],
    "cut": lambda share: share[:-1],
    "longer": lambda share: share + b"x",
    "nothing": lambda share: b"",
    "zeros": lambda share: bytes(len(share)),
    "index 0": lambda share: bytes(2) + share[2:],
    "another's index": lambda share: bytes([share[0] % 4 + 1]) + share[1:],
    "no such index": lambda share: b"\xff\xff" + share[2:],
    "a refusal": lambda share: messages.refused("I do not like it"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_wrong_share_does_no_harm_and_two_are_named(town: Town, lie: str) -> None:
    receipt = town.city.send(b"sealed", seal="city")
    town.city.settle()
    for liar in town.delegates:
        lying(town, [liar.address], LIES[lie])
        assert town.city.receive(receipt.tx_id) == b"sealed"
    first, second, *_ = town.delegates
    lying(town, [first.address, second.address], LIES[lie])
    with pytest.raises(UnavailableError) as caught:
        town.city.receive(receipt.tx_id)
    assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)
    for liar in (first, second):
        assert liar.id.hex()[:8] in str(caught.value)


def test_shares_of_another_transaction_are_told(town: Town) -> None:
    one, two = (town.city.send(payload, seal="city") for payload in (b"one", b"two"))
    first, second, *_ = town.delegates
    (transaction,) = town.city.receive_many([two.tx_id])
    assert isinstance(transaction, records.Transaction)
    others = {
        node.address: messages.answer(town.ask(node, two.tx_id, capsule_of(transaction)), "shares", 1)
        for node in town.delegates
    }

    def change(address: str, asked: records.Message, honest: bytes) -> bytes:
        mine = asked.kind == "open" and address in (first.address, second.address)
        return messages.message("shares", others[address]) if mine else honest

    town.transport.change = change
    with pytest.raises(UnavailableError) as caught:
        town.city.receive(one.tx_id)
    assert (caught.value.needed, caught.value.had) == (THRESHOLD, 2)


# --- opened by readers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["x-wing", "sntrup761-x25519"])
def test_every_reader_opens_without_any_delegate(town: Town, suite: str) -> None:
    readers = [kem.SecretKey.generate(suite) for _ in range(3)]
    receipt = town.city.send(b"to the three of you", seal=[reader.public_key for reader in readers])
    town.city.settle()
    assert receipt.manifest.cipher == "readers"
    for reader in readers:
        assert town.city.receive(receipt.tx_id, key=reader) == b"to the three of you"
    asked = [messages.parse(body).kind for body in town.transport.packets]
    assert "open" not in asked


def test_without_a_readers_key_the_error_says_whose_is_needed(town: Town) -> None:
    reader, stranger = kem.SecretKey.generate(), kem.SecretKey.generate()
    receipt = town.city.send(b"to one of you", seal=[reader.public_key])
    (transaction,) = town.city.receive_many([receipt.tx_id])
    assert isinstance(transaction, records.Transaction)
    sealed = records.Sealed.of(transaction)
    assert sealed is not None
    (named,) = sealed.readers
    for key in (None, stranger):
        with pytest.raises(InputError, match=named.hex()) as caught:
            town.city.receive(receipt.tx_id, key=key)
        assert b"to one of you".hex() not in str(caught.value)
    assert town.city.receive(receipt.tx_id, key=reader) == b"to one of you"


# --- sending, again, after a crash, repaired -------------------------------------------------------------------------


def test_many_are_sealed_and_opened_together(town: Town) -> None:
    payloads = [secret(size) for size in range(1, 200)]
    sealed = town.city.send_many(payloads, seal="city", batch=50)
    plain = town.city.send(b"not sealed")
    reader = kem.SecretKey.generate()
    letter = town.city.send(b"to a reader", seal=(key for key in [reader.public_key]))
    ids = [receipt.tx_id for receipt in sealed if isinstance(receipt, records.Receipt)]
    assert len(ids) == len(payloads)
    wanted = [*ids, plain.tx_id, letter.tx_id, ids[0]]
    assert town.city.receive_payloads(wanted, key=reader) == [*payloads, b"not sealed", b"to a reader", payloads[0]]
    mixed = town.city.receive_payloads([letter.tx_id, plain.tx_id])
    assert isinstance(mixed[0], InputError)
    assert mixed[1] == b"not sealed"


def test_the_same_transaction_is_sealed_once(town: Town) -> None:
    made = town.city.transaction(b"sealed", seal="city")
    receipt = town.city.send(made)
    assert town.city.send(made) == receipt
    assert made.payload != town.city.transaction(b"sealed", seal="city").payload
    with pytest.raises(InputError, match="is signed and cannot be sealed"):
        town.city.send(made, seal="city")
    with pytest.raises(InputError, match="is signed and cannot be sealed"):
        town.city.send_many([b"first", made], seal="city")
    assert len(list(town.city.tx_ids())) == 1


@pytest.mark.parametrize(
    ("after", "what"), [("s2_encode", "dispersals"), ("s3_hold", "holds"), ("s4_deliver", "deliveries")]
)
def test_what_a_crash_cut_off_stays_sealed_and_is_finished(after: str, what: str) -> None:
    storage = Kept()

    @stage(inputs=(what,), output=what)
    def crash(_: object) -> object:
        raise Crash

    payload = secret()
    with Town(storage) as town:
        made = town.city.transaction(payload, seal="city")
        town.city.use(SENDING.insert(crash, after=after))
        with pytest.raises(Crash):
            town.city.send(made)
    with Town(storage) as again:
        rows = b"\0".join(value for _, value in storage.scan(b""))
        assert not holds_a_run(rows, payload)
        if after == "s2_encode":  # nothing was written down yet: it is sent again
            again.city.send(made)
        else:
            (receipt,) = again.city.recovery.finished
            assert receipt.tx_id == made.tx_id
        assert again.city.receipt(made.tx_id).manifest.cipher == "city"
        assert again.city.receive(made.tx_id) == payload
        assert not holds_a_run(b"\0".join(again.transport.packets), payload)


def test_what_is_sealed_is_repaired_without_any_key(town: Town) -> None:
    reader = kem.SecretKey.generate()
    sent = [town.city.send(secret(), seal=seal) for seal in ("city", [reader.public_key])]
    town.city.settle()
    lost = [node for node in town.city.nodes() if node.fragments and not node.delegate][:2]
    with town.without(lost):
        report = town.city.repair()
        assert "open" not in {messages.parse(body).kind for body in town.transport.packets}
        assert report.fragments > 0
        assert not report.errors
        for receipt in sent:
            assert town.city.receive(receipt.tx_id, key=reader) == secret()


# --- what is asked for wrongly ---------------------------------------------------------------------------------------


READER = kem.SecretKey.generate().public_key


@pytest.mark.parametrize(
    ("seal", "error", "words"),
    [
        ("", InputError, "seal = ''"),
        ("town", InputError, "seal = 'town'"),
        ("CITY", InputError, "seal = 'CITY'"),
        (b"city", TypeError, "not bytes"),
        (READER, TypeError, "not bytes"),
        (7, TypeError, "not int"),
        ([], InputError, "0 readers"),
        ([READER, READER], InputError, "named twice"),
        ([READER] * 65, InputError, "more than 64"),
        ([READER[:-1]], InputError, "bytes"),
        ([b"tp" + bytes(32)], InputError, "a public key of threshold encryption"),
        (["city"], TypeError, "not str"),
        ([None], TypeError, "not NoneType"),
    ],
    ids=[f"case {at}" for at in range(13)],
)
def test_a_wrong_seal_is_refused_before_anything_is_sent(
    town: Town, seal: Any, error: type[Exception], words: str
) -> None:
    for call in (
        lambda: town.city.send(b"payload", seal=seal),
        lambda: town.city.send_many([b"payload"], seal=seal),
        lambda: town.city.transaction(b"payload", seal=seal),
    ):
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value)
        assert type(caught.value) is error
    assert list(town.city.tx_ids()) == []
    assert town.city.transaction(b"next").sequence == 0


def test_a_wrong_key_is_refused(town: Town) -> None:
    receipt = town.city.send(b"sealed", seal="city")
    for key in (b"secret", READER, "key", 7):
        with pytest.raises(TypeError, match=r"key must be a kem\.SecretKey"):
            town.city.receive(receipt.tx_id, key=key)  # type: ignore[arg-type]


def test_what_does_not_fit_with_its_sealing_is_refused_and_the_others_are_sent(town: Town) -> None:
    large = bytes(PAYLOAD_MAX)
    outcomes = town.city.send_many([b"one", large, b"two"], seal="city")
    assert [type(outcome) for outcome in outcomes] == [records.Receipt, InputError, records.Receipt]
    assert "for its sealing; together at most 67108864 are allowed" in str(outcomes[1])
    with pytest.raises(InputError, match="for its sealing"):
        town.city.transaction(large, seal=[READER])


@pytest.mark.parametrize("payload", [b"CCsl", b"CCsl\x01\x00", b"CCsl" + bytes(500)])
def test_a_payload_that_looks_sealed_is_bytes_like_any_other(town: Town, payload: bytes) -> None:
    receipt = town.city.send(payload)
    assert receipt.manifest.cipher is None
    assert town.city.receive(receipt.tx_id) == payload


def test_a_manifest_that_says_otherwise_is_refused(town: Town) -> None:
    """What is sealed must be sealed as the committed manifest says."""
    sealed, plain = (town.city.transaction(payload, seal="city") for payload in (b"one", b"two"))
    receipts = [town.city.send(transaction) for transaction in (sealed, plain)]
    assert records.Sealed.of_committed(receipts[0].manifest, sealed) is not None
    with pytest.raises(VerificationError, match="sealed payload"):
        records.Sealed.of_committed(receipts[0].manifest, plain)
    with pytest.raises(VerificationError, match="sealed payload"):
        records.Sealed.of_committed(receipts[0].manifest, town.city.transaction(b"three"))


def test_a_receive_runs_the_opening_pipeline(town: Town) -> None:
    receipt = town.city.send(b"sealed", seal="city")
    events: list[Any] = []
    town.city.watch(events.append)
    town.city.receive(receipt.tx_id)
    assert [event.stage for event in events] == list(OPENING.order)
