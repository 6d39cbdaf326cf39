"""The judge refuses whatever is signed as it should be and yet not right, and says why; what is right passes.

All records are real: manifests, requests, acks and batches are signed by the keys of a city in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from city_chain import City, ec, records
from city_chain.errors import CityChainError, ProtocolError, UnavailableError, VerificationError
from city_chain.node.judge import Case, Judge
from city_chain.node.ledger import Certificate
from city_chain.proofs import dpos, poh
from city_chain.stages.model import Terms

pytestmark = pytest.mark.unit

K, N = 2, 4
STRANGER = records.Identity(b"\x07" * 32)


class Court:
    """A city's insides, and a judge of its own over them."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.inside = city._city
        self.ledger = self.inside.ledger
        self.epoch = self.inside.epoch
        self.members = self.inside._roster.members()
        self.sender = self.inside.sender.identity
        self.judge = self.judging()

    def judging(self, terms: Terms | None = None) -> Judge:
        """A new judge, which remembers nothing."""
        return Judge(
            self.ledger,
            self.inside._roster,
            self.inside.settings.name,
            terms or self.inside.sender.terms,
            lambda key: key == self.sender.id,
            self.inside.clock,
        )

    def acks(
        self, manifest: records.Manifest, fragments: Sequence[bytes], where: Sequence[tuple[int, bytes]], hold_ms: int
    ) -> list[poh.Ack]:
        """What those nodes really say when they are asked to hold those fragments."""
        now_ms = self.inside.clock.now_ms()
        wanted = [(manifest, poh.hash_fragment(fragments[at]), node, at, bytes([at]) * 32) for at, node in where]
        identity = self.sender if manifest.sender == self.sender.id else STRANGER
        requests = poh.request_many(
            identity, wanted, hlc=now_ms << 16, deadline_ms=now_ms + 1_000, hold_until_ms=now_ms + hold_ms
        )
        return [
            poh.hold_many(
                self.inside.node(request.node)._identity, [(request, fragments[request.index])], now_ms << 16
            )[0]
            for request in requests
        ]

    def available(
        self,
        *,
        identity: records.Identity | None = None,
        sequence: int = 100,
        terms: tuple[int, int, int] = (K, N, 3),
        candidates: records.Candidates | None = None,
        choose: Callable[[list[bytes]], list[bytes]] = list,
    ) -> records.AvailabilityCertificate:
        """A transaction whose fragments were acknowledged by the nodes that `choose` makes of the drawn ones."""
        identity = identity or self.sender
        k, n, quorum = terms
        transaction = records.Transaction(
            identity, network=self.epoch.network, sequence=sequence, hlc=self.inside.sender.stamp(), payload=b"x" * 99
        )
        encoded = ec.encode(transaction.to_bytes(), k, n - k)
        candidates = candidates or self.members.candidates
        draw = records.Draw(identity, self.epoch)
        (selection,) = draw.select_many(candidates, identity.id, [sequence], 2 * n)
        nodes = selection.nodes
        encoding = selection.to_bytes()
        assert encoding.count(b"".join(nodes)) == 1
        selection = records.Selection.from_bytes(encoding.replace(b"".join(nodes), b"".join(choose(nodes))))
        manifest = records.Manifest(
            identity,
            transaction=transaction,
            length=len(transaction.to_bytes()),
            k=k,
            n=n,
            quorum=quorum,
            fragment_hashes=encoded.hashes,
            selection=selection,
        )
        where = list(enumerate(selection.nodes))[:n]
        acks = self.acks(manifest, [bytes(f) for f in encoded.fragments], where, 1_000_000)
        certificate = records.AvailabilityCertificate(manifest, encoded.hashes, acks)
        certificate.verify(self.epoch)  # as far as it goes, it is right
        return certificate

    def batch(
        self,
        pieces: Sequence[Certificate],
        *,
        unit: str | None = None,
        hlc: int | None = None,
        height: int | None = None,
        previous: bytes | None = None,
    ) -> Case:
        """A batch over those certificates that follows the tip."""
        tip = self.ledger.tip
        batch = records.Batch(
            self.epoch,
            height=tip.height + 1 if height is None else height,
            previous=previous or tip.digest,
            unit=unit or self.inside.settings.name,
            hlc=max(self.inside.clock.now_ms() << 16, tip.hlc + 1) if hlc is None else hlc,
            entries=[entry_of(piece) for piece in pieces],
        )
        return Case(batch, pieces)

    def refused(self, case: Case, kind: type[CityChainError], words: str) -> None:
        """The judge refuses that, for that reason, also when it sees it again, and the ledger stays as it is."""
        tip = self.ledger.tip
        for _ in range(2):
            with pytest.raises(kind, match=words):
                self.judge.check(case)
        assert self.ledger.tip == tip

    def fragments(self, receipt: records.Receipt) -> list[bytes]:
        """All fragments of a committed transaction."""
        transaction = self.city.receive_many([receipt.tx_id])[0]
        assert isinstance(transaction, records.Transaction)
        encoded = ec.encode(transaction.to_bytes(), K, N - K)
        assert list(encoded.hashes) == list(receipt.availability.fragment_hashes)
        return [bytes(fragment) for fragment in encoded.fragments]

    def repair(
        self,
        receipt: records.Receipt,
        moves: Sequence[tuple[int, bytes]],
        *,
        identity: records.Identity | None = None,
        manifest_hash: bytes | None = None,
        generation: int = 1,
        root: bytes | None = None,
        acks: Sequence[poh.Ack] | None = None,
    ) -> records.RepairCertificate:
        """A signed repair with the new holders' acks."""
        if acks is None:
            acks = self.acks(receipt.manifest, self.fragments(receipt), moves, 1_000_000)
        repair = records.Repair(
            identity or self.sender,
            network=self.epoch.network,
            tx_id=receipt.tx_id,
            manifest_hash=manifest_hash or receipt.manifest.manifest_hash,
            generation=generation,
            candidates_root=root or self.members.candidates.root,
            moves=list(moves),
            hlc=self.inside.sender.stamp(),
        )
        return records.RepairCertificate(repair, acks)

    def idle(self, receipt: records.Receipt) -> list[bytes]:
        """Nodes that hold nothing of a transaction."""
        (placement,) = self.inside.placements([receipt.tx_id])
        assert placement is not None
        return [node.id for node in self.city.nodes() if node.id not in placement.holders.values()]


def entry_of(piece: Certificate) -> records.Entry:
    if isinstance(piece, records.RepairCertificate):
        return records.Entry.repair(piece.repair)
    return records.Entry.transaction(piece.manifest)


@pytest.fixture
def court() -> Iterator[Court]:
    with City.local(nodes=12, validators=4, k=K, n=N) as city:
        yield Court(city)


@pytest.fixture
def receipt(court: Court) -> records.Receipt:
    found = court.city.send(b"committed")
    court.city.settle()
    return found


# --- transactions ----------------------------------------------------------------------------------------------------


def test_what_is_right_passes(court: Court) -> None:
    case = court.batch([court.available(sequence=at) for at in range(3)])
    for _ in range(2):  # the second time it is remembered
        court.judge.check(case)
    court.judge.check(Case.of(case.parts()))


def test_holders_in_another_order_than_drawn(court: Court) -> None:
    swapped = court.available(choose=lambda nodes: [nodes[1], nodes[0], *nodes[2:]])
    court.refused(court.batch([swapped]), VerificationError, "select")


def test_holders_that_the_sender_chose_itself(court: Court) -> None:
    """The sender's own favourites stand in the place of one, and of all, of those that the draw gives."""
    for count in (1, 4, 8):

        def favourites(nodes: list[bytes], count: int = count) -> list[bytes]:
            others = [node.id for node in court.city.nodes() if node.id not in nodes[:N]]
            first = (others + nodes[:N])[:count]
            return first + [node for node in nodes if node not in first][: 2 * N - count]

        chosen = court.available(choose=favourites)
        court.refused(court.batch([chosen]), VerificationError, "select")


def test_holders_drawn_for_another_sequence(court: Court) -> None:
    (other,) = records.Draw(court.sender, court.epoch).select_many(
        court.members.candidates, court.sender.id, [101], 2 * N
    )
    drawn = court.available(choose=lambda nodes: other.nodes)
    court.refused(court.batch([drawn]), VerificationError, "select")


def test_holders_drawn_from_a_list_that_never_was(court: Court) -> None:
    network, region = court.epoch.network, court.members.candidates.region
    some = [(node.id, 1 << 16, node.domain) for node in court.city.nodes()[:8]]
    drawn = court.available(candidates=records.Candidates(network, region, some))
    court.refused(court.batch([drawn]), UnavailableError, "candidate list [0-9a-f]{64} is not known here")


@pytest.mark.parametrize("terms", [(2, 3, 2), (1, 4, 2), (1, 4, 3), (3, 4, 3), (2, 5, 3)])
def test_other_terms_than_the_citys(court: Court, terms: tuple[int, int, int]) -> None:
    k, n, _ = terms
    piece = court.available(terms=(k, n, poh.write_quorum(k, n)))
    court.refused(court.batch([piece]), VerificationError, f"k = {k}, n = {n}.*this city asks for k = 2, n = 4")


def test_a_quorum_below_the_citys(court: Court) -> None:
    """A city that asks for more acks than the least one does not take the least."""

    class Strict(Terms):
        @property
        def quorum(self) -> int:
            return 4

    piece = court.available()
    court.judge = court.judging(Strict(K, N))
    court.refused(court.batch([piece]), VerificationError, "quorum 3; this city asks for .* quorum 4 or more")


def test_a_sender_that_may_not_send(court: Court) -> None:
    piece = court.available(identity=STRANGER, sequence=0)
    court.refused(court.batch([piece]), VerificationError, f"{STRANGER.id.hex()[:16]} may not send here")


def test_evidence_about_another_transaction(court: Court) -> None:
    case = court.batch([court.available(sequence=0)])
    other = replace(case, evidence=[court.available(sequence=1)])
    court.refused(other, VerificationError, "about another transaction")


def test_evidence_with_a_forged_signature(court: Court) -> None:
    piece = court.available()
    encoding = piece.to_bytes()
    forged = records.AvailabilityCertificate.from_bytes(encoding[:-1] + bytes([encoding[-1] ^ 1]))
    court.judge.check(court.batch([piece]))  # the right one is remembered, and lends the forged one nothing
    court.refused(court.batch([forged]), VerificationError, "signature")


def test_a_transaction_that_is_committed_already(court: Court, receipt: records.Receipt) -> None:
    words = f"transaction {receipt.tx_id.hex()} is committed already"
    court.refused(court.batch([receipt.availability]), VerificationError, words)


def test_one_sequence_twice(court: Court) -> None:
    """No batch can be made of two such entries; what is sorted out beforehand keeps the first."""
    pieces = [court.available(sequence=at) for at in (5, 6, 5)]
    verdicts = court.judge.verdicts([entry_of(piece) for piece in pieces], pieces)
    assert verdicts[:2] == [None, None]
    assert isinstance(verdicts[2], VerificationError)
    assert "sequence 5 of the sender is committed already" in str(verdicts[2])


# --- the batch -------------------------------------------------------------------------------------------------------


def test_a_batch_of_another_unit(court: Court) -> None:
    court.refused(court.batch([court.available()], unit="Elsewhere"), ProtocolError, "of 'Elsewhere', not of")


@pytest.mark.parametrize("at", [0, 32], ids=["network", "epoch"])
def test_a_batch_of_another_network_or_epoch(court: Court, at: int) -> None:
    """Its certificate could never be appended: were it voted for, the height would stay open for ever."""
    case = court.batch([court.available()])
    encoding = bytearray(case.batch.to_bytes())
    encoding[encoding.index(court.epoch.network) + at] ^= 64
    other = records.Batch.from_bytes(bytes(encoding))
    assert (other.header.network, other.header.epoch) != (court.epoch.network, court.epoch.number)
    court.refused(Case(other, case.evidence), ProtocolError, "not of the one here")


def test_a_batch_that_does_not_follow_the_tip(court: Court, receipt: records.Receipt) -> None:
    piece = court.available()
    tip = court.ledger.tip
    for height, previous in ((tip.height, tip.digest), (tip.height + 2, tip.digest), (tip.height + 1, bytes(32))):
        case = court.batch([piece], height=height, previous=previous)
        court.refused(case, ProtocolError, "does not follow the tip")
    court.judge.check(court.batch([piece]))


def test_a_stamp_that_is_not_after_the_tips(court: Court, receipt: records.Receipt) -> None:
    piece = court.available()
    for hlc in (court.ledger.tip.hlc, court.ledger.tip.hlc - 1, 0):
        court.refused(court.batch([piece], hlc=hlc), ProtocolError, "not after the last batch's")
    court.judge.check(court.batch([piece], hlc=court.ledger.tip.hlc + 1))


def test_a_stamp_in_the_future(court: Court) -> None:
    piece = court.available()
    for ahead_ms in (60_000, 10**9):
        hlc = (court.inside.clock.now_ms() + ahead_ms) << 16
        court.refused(court.batch([piece], hlc=hlc), ProtocolError, "in the future")
    court.judge.check(court.batch([piece], hlc=(court.inside.clock.now_ms() + 1_000) << 16))


# --- repairs ---------------------------------------------------------------------------------------------------------


def test_a_right_repair_passes(court: Court, receipt: records.Receipt) -> None:
    first, second = court.idle(receipt)[:2]
    court.judge.check(court.batch([court.repair(receipt, [(0, first), (3, second)])]))


def test_a_repairer_that_may_not_repair(court: Court, receipt: records.Receipt) -> None:
    moves = [(0, court.idle(receipt)[0])]
    piece = court.repair(receipt, moves, identity=STRANGER)
    court.refused(court.batch([piece]), VerificationError, f"{STRANGER.id.hex()[:16]} may not repair here")


def test_a_repair_of_another_manifest(court: Court, receipt: records.Receipt) -> None:
    """The sender has signed a second manifest for the same transaction, and the new holder has acknowledged that."""
    committed = receipt.manifest
    (transaction,) = court.city.receive_many([receipt.tx_id])
    assert isinstance(transaction, records.Transaction)
    second = records.Manifest(
        court.sender,
        transaction=transaction,
        length=committed.length,
        k=K,
        n=N,
        quorum=committed.quorum + 1,
        fragment_hashes=receipt.availability.fragment_hashes,
        selection=committed.selection,
    )
    assert (second.tx_id, second.manifest_hash != committed.manifest_hash) == (receipt.tx_id, True)
    moves = [(0, court.idle(receipt)[0])]
    acks = court.acks(second, court.fragments(receipt), moves, 1_000_000)
    piece = court.repair(receipt, moves, manifest_hash=second.manifest_hash, acks=acks)
    court.refused(court.batch([piece]), VerificationError, "another manifest than the committed one")


def test_a_repair_of_what_is_not_committed(court: Court, receipt: records.Receipt) -> None:
    elsewhere = court.available()
    repair = records.Repair(
        court.sender,
        network=court.epoch.network,
        tx_id=elsewhere.manifest.tx_id,
        manifest_hash=elsewhere.manifest.manifest_hash,
        generation=1,
        candidates_root=court.members.candidates.root,
        moves=[(0, elsewhere.acks[0].node)],
        hlc=court.inside.sender.stamp(),
    )
    piece = records.RepairCertificate(repair, [elsewhere.acks[0]])
    court.refused(court.batch([piece]), VerificationError, "is not committed here")


@pytest.mark.parametrize("generation", [2, 7])
def test_a_repair_out_of_turn(court: Court, receipt: records.Receipt, generation: int) -> None:
    piece = court.repair(receipt, [(0, court.idle(receipt)[0])], generation=generation)
    court.refused(court.batch([piece]), VerificationError, f"generation {generation}, the next one is 1")


def test_a_repair_with_a_list_that_never_was(court: Court, receipt: records.Receipt) -> None:
    piece = court.repair(receipt, [(0, court.idle(receipt)[0])], root=b"\x09" * 32)
    court.refused(court.batch([piece]), UnavailableError, "candidate list (09){32} is not known here")


def test_a_repair_that_moves_to_a_node_that_is_no_candidate(court: Court, receipt: records.Receipt) -> None:
    """It answers and signs, but it is on no list: another master's node."""
    fragments = court.fragments(receipt)
    now_ms = court.inside.clock.now_ms()
    (request,) = poh.request_many(
        court.sender,
        [(receipt.manifest, poh.hash_fragment(fragments[0]), STRANGER.id, 0, bytes(32))],
        hlc=now_ms << 16,
        deadline_ms=now_ms + 1_000,
        hold_until_ms=now_ms + 1_000_000,
    )
    acks = poh.hold_many(STRANGER, [(request, fragments[0])], now_ms << 16)
    piece = court.repair(receipt, [(0, STRANGER.id)], acks=acks)
    court.refused(court.batch([piece]), VerificationError, f"moved to {STRANGER.id.hex()[:16]}, who is no candidate")


def test_a_repair_with_acks_of_other_bytes(court: Court, receipt: records.Receipt) -> None:
    """The new holder has acknowledged something else than the fragment that was lost."""
    node = court.idle(receipt)[0]
    fragments = court.fragments(receipt)
    for wrong in (b"garbage", fragments[1], fragments[0] + b"\0"):
        acks = court.acks(receipt.manifest, [wrong], [(0, node)], 1_000_000)
        piece = court.repair(receipt, [(0, node)], acks=acks)
        court.refused(court.batch([piece]), VerificationError, "new fragment 0 is not the one of the manifest")


def test_a_repair_with_an_ack_whose_time_has_passed(court: Court, receipt: records.Receipt) -> None:
    node = court.idle(receipt)[0]
    acks = court.acks(receipt.manifest, court.fragments(receipt), [(0, node)], -1)
    piece = court.repair(receipt, [(0, node)], acks=acks)
    court.refused(court.batch([piece]), VerificationError, "holds until a time that has passed")


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_certificate_of_other_votes_is_not_appended(court: Court, receipt: records.Receipt) -> None:
    case = court.batch([court.available()])
    header = case.batch.header
    nodes = [court.inside.node(node.id) for node in court.city.nodes() if node.delegate]
    validators = court.epoch.validators
    slot = dpos.Slot(court.epoch.network, validators.epoch, header.height, 0, header.previous, case.batch.digest)
    other = dpos.Slot(court.epoch.network, validators.epoch, header.height, 0, header.previous, bytes(32))
    right, _ = dpos.collect(validators, slot, [dpos.Vote(node._identity, slot) for node in nodes])
    about_another, _ = dpos.collect(validators, other, [dpos.Vote(node._identity, other) for node in nodes])
    alone = dpos.ValidatorSet(validators.epoch, [(STRANGER.id, 1)])
    of_a_stranger, _ = dpos.collect(alone, slot, [dpos.Vote(STRANGER, slot)])
    some = dpos.ValidatorSet(validators.epoch, [(nodes[0].id, 1)])
    of_too_few, _ = dpos.collect(some, slot, [dpos.Vote(nodes[0]._identity, slot)])
    block = court.ledger.batch(1)
    assert block is not None
    wrong = [records.CommitCertificate.dpos(votes) for votes in (about_another, of_a_stranger, of_too_few)]

    def state() -> dict[bytes, bytes]:
        return dict(court.inside.storage.scan(b""))

    before, tip = state(), court.ledger.tip
    for certificate in (*wrong, block.certificate):
        with pytest.raises(CityChainError):
            court.ledger.append(case.batch, certificate, case.evidence)
        assert court.ledger.tip == tip
        assert state() == before
    court.ledger.append(case.batch, records.CommitCertificate.dpos(right), case.evidence)[0].verify(court.city.trust)
    assert court.ledger.tip.height == tip.height + 1


def certified(court: Court, case: Case, *, by_all: bool = True) -> list[bytes]:
    """What others give to learn a batch from: with the votes of all delegates, or of two as if there were no others."""
    header, validators = case.batch.header, court.epoch.validators
    nodes = [court.inside.node(node.id) for node in court.city.nodes() if node.delegate]
    slot = dpos.Slot(court.epoch.network, validators.epoch, header.height, 0, header.previous, case.batch.digest)
    if not by_all:
        nodes = nodes[:2]
        validators = dpos.ValidatorSet(validators.epoch, [(node._identity.id, 1) for node in nodes])
    votes, _ = dpos.collect(validators, slot, [dpos.Vote(node._identity, slot) for node in nodes])
    batch, *evidence = case.parts()
    return [batch, records.CommitCertificate.dpos(votes).to_bytes(), *evidence]


def test_what_a_quorum_has_certified_is_learned_if_it_is_right_too(court: Court, receipt: records.Receipt) -> None:
    tip = court.ledger.tip
    elsewhere = court.batch([court.available()], unit="elsewhere")
    ahead = court.batch([court.available()], hlc=(court.inside.clock.now_ms() + 10**7) << 16)
    foreign = court.batch([court.available(identity=STRANGER, sequence=0)])
    for case, kind, words in [
        (elsewhere, ProtocolError, "of 'elsewhere'"),
        (ahead, ProtocolError, "in the future"),
        (foreign, VerificationError, "may not send here"),
    ]:
        with pytest.raises(kind, match=words):
            court.judge.learn(certified(court, case))
        assert court.ledger.tip == tip
    court.judge.learn(certified(court, court.batch([court.available()])))
    assert court.ledger.tip.height == tip.height + 1


def test_what_no_quorum_has_certified_is_not_looked_at(
    court: Court, receipt: records.Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is asked to teach may send anything: without a quorum's votes it costs no look at its evidence."""
    case, tip = court.batch([court.available()]), court.ledger.tip
    looked: list[Case] = []
    monkeypatch.setattr(Judge, "check", lambda judge, case, **_: looked.append(case))
    with pytest.raises(CityChainError):
        court.judge.learn(certified(court, case, by_all=False))
    other = certified(court, court.batch([court.available(sequence=101)]))
    with pytest.raises(VerificationError):
        court.judge.learn([case.parts()[0], other[1], *case.parts()[1:]])
    assert (looked, court.ledger.tip) == ([], tip)
    court.judge.learn(certified(court, case))
    assert ([seen.batch.digest for seen in looked], court.ledger.tip.height) == ([case.batch.digest], tip.height + 1)
