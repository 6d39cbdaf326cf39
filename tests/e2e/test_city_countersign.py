"""Countersigned receipts: who signs what, who refuses, and what a verifier can tell offline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import City, records
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import InputError, UnavailableError, VerificationError
from city_chain.ports import Request
from city_chain.proofs import poh
from city_chain.stages import messages

pytestmark = pytest.mark.e2e


def receipt_of(city: City) -> records.Receipt:
    receipt = city.send(b"hello")
    city.settle()
    return city.receipt(receipt.tx_id)


def silence(city: City, transport: InProcessTransport, nodes: Sequence[bytes]) -> None:
    for node in city.nodes():
        if node.id in nodes:
            transport.stop(node.address)


def test_a_receipt_is_countersigned_and_proves_itself_offline() -> None:
    with City.local(nodes=14, validators=4) as city:
        receipt = receipt_of(city)
        made = city.countersign(receipt.tx_id)
        trust = city.trust
        delegates = {node.id for node in city.nodes() if node.delegate}
        holders = {node for _, node in receipt.availability.holders}
        keys = {node.id: city._city._nodes[node.id]._identity.ml_dsa_public for node in city.nodes()}
    again = records.CountersignedReceipt.from_bytes(made.to_bytes())
    assert again == made
    assert again.receipt == receipt
    assert set(again.holders) <= holders
    assert len(again.holders) >= receipt.manifest.quorum
    assert set(again.delegates) <= delegates
    assert len(again.delegates) >= 3
    signers = sorted({*again.holders, *again.delegates})
    assert again.verify(trust) == signers, "all keys are believed on the node records"
    assert {entry.node: made.public for entry, made in again.signed()} == {node: keys[node] for node in signers}
    known = [(entry.node, entry.ml_dsa) for entry, _ in again.signed() if entry.node in delegates]
    assert again.verify(trust, known) == sorted(set(again.holders) - delegates)
    wrong = [(node, bytes(32)) for node, _ in known[:1]]
    with pytest.raises(VerificationError, match="is not the one that is known"):
        again.verify(trust, wrong)
    with City.local(nodes=14, validators=4) as other, pytest.raises(VerificationError):
        again.verify(other.trust)


def test_too_few_holders_or_delegates() -> None:
    for role in ("holders", "delegates"):
        transport = InProcessTransport()
        with City.local(nodes=16, validators=4, transport=transport) as city:
            receipt = receipt_of(city)
            delegates = [node.id for node in city.nodes() if node.delegate]
            holders = [node for _, node in receipt.availability.holders if node not in delegates]
            gone = holders[:3] if role == "holders" else delegates[:2]
            held = sum(node not in gone for _, node in receipt.availability.holders)
            silence(city, transport, gone)
            with pytest.raises(UnavailableError, match=f"countersignatures of {role}.*needed") as raised:
                city.countersign(receipt.tx_id, deadline_s=2)
            had = held if role == "holders" else 2
            if role == "holders" or held >= 8:
                assert (raised.value.needed, raised.value.had) == ((8, had) if role == "holders" else (3, had))


def test_a_holder_signs_only_what_it_said_and_still_holds() -> None:
    with City.local(nodes=14, validators=4) as city:
        receipt = receipt_of(city)
        inside = city._city
        acks = receipt.availability.acks
        ack, other = acks[0], acks[1]
        node = inside.node(ack.node)

        def ask(parts: Sequence[bytes], items: Sequence[tuple[bytes, int]], identity: records.Identity | None = None):
            request = records.RepairRequest(
                identity or inside.sender.identity,
                network=city.network,
                node=node.id,
                hlc=inside.sender.stamp(),
                deadline_ms=inside.clock.now_ms() + 1000,
                items=items,
            )
            body = messages.message("countersign", [request.to_bytes(), *parts])
            (answer,) = inside._host.handle([Request(node.address, body)])
            found = messages.parse(answer)
            if found.kind == "refused":
                return b"".join(found.parts).decode()
            assert found.kind == "countersigned"
            records.NodeRecord.from_bytes(found.parts[0]).verify()
            (said,) = [messages.countersignature_or_reason(part) for part in found.parts[1:]]
            return said

        item = (ack.tx_id, ack.index)
        made = ask([b"", ack.to_bytes()], [item])
        assert isinstance(made, records.Countersignature)
        made.verify()
        assert (made.kind, made.subject, made.node) == ("ack", ack.digest, node.id)
        assert "may not ask here" in ask([b"", ack.to_bytes()], [item], records.Identity(b"\x09" * 32))
        assert "parts after the request for 1 fragments" in ask([b""], [item])
        assert "not of" in ask([b"", ack.to_bytes()], [(bytes(32), ack.index)])
        assert "of fragment" in ask([b"", ack.to_bytes()], [(ack.tx_id, ack.index ^ 1)])
        assert "is not held here" in ask([b"", other.to_bytes()], [(other.tx_id, other.index)])
        forged = ack.to_bytes()[:-1] + bytes([ack.to_bytes()[-1] ^ 1])
        assert "signature" in ask([b"", forged], [item])
        assert "ack: " in ask([b"", b"no ack"], [item])
        # A fragment that has rotted, and one that is gone.
        key = b"f" + ack.tx_id + ack.index.to_bytes(2, "big")
        (row,) = node.holder._storage.get_many([key])
        assert row is not None
        node.holder._storage.put_many({key: row[:-1] + bytes([row[-1] ^ 1])})
        assert "its hash is" in ask([b"", ack.to_bytes()], [item])
        node.holder._storage.delete_many([key])
        assert "is not held here" in ask([b"", ack.to_bytes()], [item])


def test_a_delegate_signs_only_what_is_committed() -> None:
    with City.local(nodes=14, validators=4) as city:
        receipt = receipt_of(city)
        inside = city._city
        for info in city.nodes()[:1] + [node for node in city.nodes() if node.delegate]:
            node = inside.node(info.id)
            request = records.RepairRequest(
                inside.sender.identity,
                network=city.network,
                node=info.id,
                hlc=inside.sender.stamp(),
                deadline_ms=inside.clock.now_ms() + 1000,
                items=[],
            )
            said = []
            for height in (receipt.header.height, receipt.header.height + 1, 2**64 - 1):
                answer = node.countersign(request, [messages.integer(height)])
                said.append(messages.countersignature_or_reason(messages.answer(answer, "countersigned", 2)[1]))
            if not info.delegate:
                assert said == ["countersign: this node is no delegate"] * 3
                continue
            made, *others = said
            assert isinstance(made, records.Countersignature)
            assert (made.kind, made.subject) == ("batch", receipt.header.digest)
            assert all("no batch is committed at height" in str(other) for other in others)


def test_nodes_that_lie_do_not_count() -> None:
    transport = InProcessTransport()
    with City.local(nodes=14, validators=4, transport=transport) as city:
        receipt = receipt_of(city)
        inside = city._city
        # Those that are no delegates first: the delegates' quorum bears one liar only.
        holders = sorted(
            (node for _, node in receipt.availability.holders), key=lambda node: inside.node(node).is_delegate
        )
        stranger = records.Identity(b"\x09" * 32)
        forged = records.Countersignature.of_batch(stranger, city.network, receipt.header.digest).to_bytes()

        def lie(burst: Sequence[Request]) -> list[bytes]:
            said = []
            for honest in inside._host.handle(burst):
                message = messages.parse(honest)
                parts = [message.parts[0], *[forged] * (len(message.parts) - 1)] if message.parts else []
                is_ours = message.kind == "countersigned"
                said.append(messages.message("countersigned", parts) if is_ours else honest)
            return said

        spare = len(holders) - receipt.manifest.quorum
        for node in holders[: spare + 1]:
            address = inside.node(node).address
            transport.stop(address)
            transport.serve(lie, address)
        with pytest.raises(UnavailableError, match="something else than what was asked"):
            city.countersign(receipt.tx_id, deadline_s=5)
        address = inside.node(holders[0]).address
        transport.stop(address)
        transport.serve(inside._host.handle, address)
        city.countersign(receipt.tx_id, deadline_s=5).verify(city.trust)
        transport.set_fault(address, Fault(refuse=True))
        with pytest.raises(UnavailableError):
            city.countersign(receipt.tx_id, deadline_s=2)


@pytest.mark.parametrize("lie", ["signature", "record"])
def test_a_wrong_signature_and_a_changed_record_do_not_count(lie: str) -> None:
    transport = InProcessTransport()
    with City.local(nodes=14, validators=4, transport=transport) as city:
        receipt = receipt_of(city)
        inside = city._city

        def flipped(part: bytes) -> bytes:
            return part[:-1] + bytes([part[-1] ^ 1])

        def lying(burst: Sequence[Request]) -> list[bytes]:
            said = []
            for honest in inside._host.handle(burst):
                kind, parts = (message := messages.parse(honest)).kind, list(message.parts)
                if kind == "countersigned":
                    parts = (
                        [*parts[:1], *map(flipped, parts[1:])]
                        if lie == "signature"
                        else [flipped(parts[0]), *parts[1:]]
                    )
                said.append(messages.message(kind, parts))
            return said

        holders = [node for _, node in receipt.availability.holders]
        for node in holders[: len(holders) - receipt.manifest.quorum + 1]:
            address = inside.node(node).address
            transport.stop(address)
            transport.serve(lying, address)
        with pytest.raises(UnavailableError, match="signature") as caught:
            city.countersign(receipt.tx_id, deadline_s=5)
        assert caught.value.had == receipt.manifest.quorum - 1


def test_what_is_not_committed_and_deadlines_that_are_none() -> None:
    with City.local(nodes=10, validators=1) as city:
        with pytest.raises(InputError, match="is committed here"):
            city.countersign(bytes(32))
        with pytest.raises(InputError):
            city.countersign(b"")
        receipt = receipt_of(city)
        for wrong in (0, -1.0, float("nan")):
            with pytest.raises(InputError):
                city.countersign(receipt.tx_id, deadline_s=wrong)
        acks = receipt.availability.acks
        assert isinstance(acks[0], poh.Ack)
        assert city.countersign(receipt.tx_id).verify(city.trust)
