"""The holder: keeps what it is asked to keep, for as long as it said, and only what it was asked itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import ec, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import VerificationError
from city_chain.node.holder import Holder, fragment_key, fragment_keys, leased
from city_chain.proofs import dpos, poh
from city_chain.stages import messages

pytestmark = pytest.mark.unit

SENDER = records.Identity(b"\x01" * 32)
NODES = [records.Identity.child(bytes(32), b"node", at) for at in range(4)]
EPOCH = records.Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(SENDER.id, 10)]))
CANDIDATES = records.Candidates(EPOCH.network, "Utrecht", sorted((node.id, 1 << 16, "north") for node in NODES))
K, N = 2, 4


def dispersed(sequence: int) -> tuple[records.Manifest, list[bytes]]:
    """A signed manifest and its fragments."""
    transaction = records.Transaction(
        SENDER, network=EPOCH.network, sequence=sequence, hlc=1, payload=b"%d" % sequence * 40
    )
    encoded = ec.encode(transaction.to_bytes(), K, N - K)
    (selection,) = records.Draw(SENDER, EPOCH).select_many(CANDIDATES, SENDER.id, [sequence], N)
    manifest = records.Manifest(
        SENDER,
        transaction=transaction,
        length=len(transaction.to_bytes()),
        k=K,
        n=N,
        quorum=poh.write_quorum(K, N),
        fragment_hashes=encoded.hashes,
        selection=selection,
    )
    return manifest, [bytes(fragment) for fragment in encoded.fragments]


def asked(
    manifest: records.Manifest, fragment: bytes, until_ms: int, *, node: bytes = NODES[0].id, index: int = 0
) -> tuple[poh.HoldRequest, bytes]:
    wanted = [(manifest, poh.hash_fragment(fragment), node, index, bytes(32))]
    (request,) = poh.request_many(SENDER, wanted, hlc=2, deadline_ms=1, hold_until_ms=until_ms)
    return request, fragment


class Keeper:
    """A holder with its storage."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.holder = Holder(NODES[0], self.storage)

    def hold(self, *pairs: tuple[poh.HoldRequest, bytes]) -> list[str]:
        """Holds in one burst, as a host does; the kind of each answer."""
        requests, fragments = [request for request, _ in pairs], [fragment for _, fragment in pairs]
        keys = fragment_keys(requests)
        kept = self.storage.get_many(keys)
        none = [None] * len(pairs)
        wanted = self.holder.wanted(requests, fragments, [b""] * len(pairs), none, 3, kept)
        ((answers, rows),) = records.hold_burst([wanted])
        self.storage.put_many(leased(requests, keys, rows))
        found = []
        for (request, fragment), answer in zip(pairs, answers, strict=True):
            said = messages.ack_or_reason(answer)
            if isinstance(said, poh.Ack):
                said.verify_answers(request)
                said.verify_held(fragment)
                found.append("ack")
            else:
                found.append(said)
        return found

    def has(self, manifest: records.Manifest, index: int = 0) -> bool:
        return bool(self.holder.fetch([(manifest.tx_id, index)])[0])


def none(tx_ids: Sequence[bytes]) -> list[bool]:
    return [False] * len(tx_ids)


def test_a_fragment_stays_until_its_time_and_goes_after_it() -> None:
    keeper = Keeper()
    early, late = dispersed(0), dispersed(1)
    assert keeper.hold(asked(early[0], early[1][0], 1_000), asked(late[0], late[1][0], 2_000)) == ["ack", "ack"]
    for now_ms in (0, 999):
        assert keeper.holder.expire(now_ms, none) == 0
        assert (keeper.has(early[0]), keeper.has(late[0]), keeper.holder.count()) == (True, True, 2)
    assert keeper.holder.expire(1_000, none) == 1
    assert (keeper.has(early[0]), keeper.has(late[0]), keeper.holder.count()) == (False, True, 1)
    assert keeper.holder.expire(1_999, none) == 0
    assert keeper.holder.expire(10**9, none) == 1
    assert list(keeper.storage.scan(b"")) == []
    assert keeper.holder.expire(10**9, none) == 0


def test_committed_fragments_stay_whatever_the_clock_says() -> None:
    keeper = Keeper()
    committed, vain = dispersed(0), dispersed(1)
    assert keeper.hold(asked(committed[0], committed[1][0], 1_000), asked(vain[0], vain[1][0], 1_000)) == ["ack", "ack"]
    looked_at: list[bytes] = []

    def is_committed(tx_ids: Sequence[bytes]) -> list[bool]:
        looked_at.extend(tx_ids)
        return [tx_id == committed[0].tx_id for tx_id in tx_ids]

    assert keeper.holder.expire(10**12, is_committed) == 1
    assert set(looked_at) == {committed[0].tx_id, vain[0].tx_id}
    assert keeper.holder.fetch([(committed[0].tx_id, 0), (vain[0].tx_id, 0)]) == [committed[1][0], b""]
    assert keeper.holder.expire(10**12, none) == 0
    assert keeper.has(committed[0])


def test_a_lease_that_was_renewed_counts() -> None:
    """The first lease's row ends, the fragment is held under the second one."""
    keeper = Keeper()
    manifest, fragments = dispersed(0)
    assert keeper.hold(asked(manifest, fragments[0], 1_000)) == ["ack"]
    assert keeper.hold(asked(manifest, fragments[0], 5_000)) == ["ack"]
    assert keeper.holder.expire(1_000, none) == 0
    assert keeper.holder.expire(4_999, none) == 0
    assert keeper.has(manifest)
    assert keeper.holder.expire(5_000, none) == 1
    assert not keeper.has(manifest)


def test_a_sweep_looks_at_no_more_than_it_is_told() -> None:
    keeper = Keeper()
    for sequence in range(5):
        manifest, fragments = dispersed(sequence)
        keeper.hold(asked(manifest, fragments[0], 1_000 + sequence))
    assert keeper.holder.expire(10**9, none, limit=2) == 2
    assert keeper.holder.count() == 3
    assert [keeper.holder.expire(10**9, none, limit=2) for _ in range(3)] == [2, 1, 0]


def test_a_request_for_another_node_is_refused() -> None:
    keeper = Keeper()
    manifest, fragments = dispersed(0)
    ours, theirs = asked(manifest, fragments[0], 1_000), asked(manifest, fragments[1], 1_000, node=NODES[1].id, index=1)
    first, second = keeper.hold(theirs, ours)
    assert f"for node {NODES[1].id.hex()[:16]}, not for this one" in first
    assert second == "ack"
    assert (keeper.has(manifest, 1), keeper.has(manifest, 0), keeper.holder.count()) == (False, True, 1)


def test_bytes_that_are_not_the_fragment_are_refused() -> None:
    keeper = Keeper()
    manifest, fragments = dispersed(0)
    request, fragment = asked(manifest, fragments[0], 1_000)
    for wrong in (b"", fragment[:-1], fragment + b"\0", fragments[1]):
        (said,) = keeper.hold((request, wrong))
        assert said != "ack"
    assert list(keeper.storage.scan(b"")) == []
    with pytest.raises(VerificationError):
        poh.verify_fragment(request.fragment_hash, fragments[1], 0)


def test_another_fragment_in_the_place_of_one_that_is_held_is_refused() -> None:
    keeper = Keeper()
    manifest, fragments = dispersed(0)
    assert keeper.hold(asked(manifest, fragments[0], 1_000)) == ["ack"]
    (said,) = keeper.hold(asked(manifest, b"other bytes", 2_000))
    assert "another fragment 0 of the transaction is held here" in said
    assert keeper.holder.fetch([(manifest.tx_id, 0)]) == [fragments[0]]
    # Within one burst too.
    fresh, pieces = dispersed(1)
    said, other = keeper.hold(asked(fresh, pieces[0], 1_000), asked(fresh, b"other bytes", 1_000))
    assert said == "ack"
    assert "another fragment 0" in other
    assert keeper.holder.fetch([(fresh.tx_id, 0)]) == [pieces[0]]


def test_what_has_rotted_is_replaced() -> None:
    keeper = Keeper()
    manifest, fragments = dispersed(0)
    assert keeper.hold(asked(manifest, fragments[0], 1_000)) == ["ack"]
    key = fragment_key(manifest.tx_id, 0)
    (row,) = keeper.storage.get_many([key])
    assert row is not None
    for rotten in (row[:-1] + bytes([row[-1] ^ 1]), row[:9], b""):
        keeper.storage.put_many({key: rotten})
        assert keeper.hold(asked(manifest, fragments[0], 1_000)) == ["ack"]
        assert keeper.holder.fetch([(manifest.tx_id, 0)]) == [fragments[0]]
