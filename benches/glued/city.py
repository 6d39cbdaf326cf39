"""The glued city: twenty nodes and four delegates in one process, over one SQLite file.

Per send or burst it makes and checks: a signature of the sender on each transaction and on each manifest, one on all
its hold requests (each node's message is a leaf under it), one of each node on all its acks (each ack is a leaf under
it), the leader's on the proposal, and the delegates' votes. Each is checked once, by the first who must not trust it,
and remembered; the transaction's own is checked when it is read back. Fragments are hashed by sender and node, and each
ack proves its fragment's bytes. What goes to a node, comes back from it, or goes to the delegates goes as bytes and is
read by who must not trust it; the four delegates of the process share the judging of a batch.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

import xxhash
import zfec
from blake3 import blake3

from glued import records
from glued.crypto import Check, Keys, Known, Remembered, Tree, WrongError, digest, root_from_path, verify
from glued.records import Availability, Manifest, Receipt, Transaction
from glued.store import Durability, Store

NODES, DISTRICTS, DELEGATES = 20, 3, 4
K, N, QUORUM = 6, 10, 8
HOLD_MS = 24 * 3600 * 1000
_VOTES = 2 * DELEGATES // 3 + 1


@dataclass(frozen=True, slots=True)
class Trust:
    """What who verifies a receipt must know: the network, the keys of its sender and of its delegates."""

    network: bytes
    sender: bytes
    delegates: tuple[bytes, ...]


class Node:
    """One node: bytes in, bytes out. It checks what it is asked to hold, and signs for it."""

    def __init__(self, seed: bytes, network: bytes, signatures: Remembered) -> None:
        self.keys = Keys(seed)
        self.id = self.keys.public
        self._network = network
        self._signatures = signatures

    def hold(self, body: bytes, rows: dict[bytes, list[bytes]]) -> bytes:
        """Acks for what one message asks.

        Args:
            body: See `_hold_body`.
            rows: Takes what must be written down before the acks may leave, by transaction.

        Returns:
            One encoded ack after the other.

        Raises:
            WrongError: The message is for another node, late, not signed, or a fragment is not what it says.
        """
        length = int.from_bytes(body[:4], "little")
        message, at = body[4 : 4 + length], 4 + length
        position, size, signature, path_len = records.PLACE.unpack_from(body, at)
        at += records.PLACE.size
        path, at = body[at : at + path_len], at + path_len
        network, sender, node, _, deadline_ms, until_ms = records.REQUEST.unpack_from(message)
        now = now_ms()
        if network != self._network or node != self.id or deadline_ms < now:
            raise WrongError("a hold request for another network or node, or too late")
        root = root_from_path(digest(b"glue_req", message), position, size, path)
        self._signatures.check([(sender, root, signature)])
        bodies, stamp, head = [], now << 16, message[: records.REQUEST.size]
        for start in range(records.REQUEST.size, length, records.ITEM.size):
            item = message[start : start + records.ITEM.size]
            end = at + 4 + int.from_bytes(body[at : at + 4], "little")
            fragment, framed, at = body[at + 4 : end], body[at:end], end
            if blake3(fragment).digest() != item[68:100]:
                raise WrongError(f"a fragment of {item[:8].hex()} has another hash")
            challenge = item[100:]
            times = stamp.to_bytes(8, "little") + until_ms.to_bytes(8, "little")
            proof = blake3(fragment, key=challenge).digest()
            bodies.append(b"".join([network, node, item[:100], times, challenge, proof]))
            rows.setdefault(item[:32], []).append(head + item + framed)
        tree = Tree([digest(b"glue_ack", body) for body in bodies])
        return b"".join(records.write_acks(bodies, tree, self.keys.sign(tree.root)))


def _hold_body(message: bytes, position: int, tree: Tree, signature: bytes, fragments: Sequence[bytes]) -> bytes:
    """The bytes that go to a node: request and items, their place under the sender's signature, the fragments."""
    path = tree.path(position)
    place = records.PLACE.pack(position, len(tree.levels[0]), signature, len(path))
    framed = [part for fragment in fragments for part in (len(fragment).to_bytes(4, "little"), fragment)]
    return b"".join([len(message).to_bytes(4, "little"), message, place, path, *framed])


class GluedCity:
    """A city.

    Args:
        path: Its file; ``:memory:`` for none.
        durability: How many commits one send or burst makes, and how many of them are synced.
        master: Out of which all keys are made.
        threads: How many threads check signatures of a burst.
    """

    def __init__(
        self, path: Path | str, durability: Durability | None = None, master: bytes = bytes(32), threads: int = 1
    ) -> None:
        self.store = Store(path, durability or Durability())
        self.network = digest(b"glue_net", master)
        self._signatures = Remembered(threads)
        self.nodes = [
            Node(digest(b"glueseed", master + bytes([at])), self.network, self._signatures) for at in range(NODES)
        ]
        self._by_id = {node.id: node for node in self.nodes}
        self._ids = [node.id for node in self.nodes]
        self._districts = {node.id: at % DISTRICTS for at, node in enumerate(self.nodes)}
        self._candidates_root = Tree([digest(b"gluecand", key) for key in self._ids]).root
        self.sender = Keys(digest(b"gluesend", master))
        self._draw = hmac.digest(digest(b"gluevrf_", master), self.network, "sha512")
        self.delegates = [node.keys for node in self.nodes[:DELEGATES]]
        self.trust = Trust(self.network, self.sender.public, tuple(keys.public for keys in self.delegates))
        self._coder = zfec.Encoder(K, N)
        self._decoder = zfec.Decoder(K, N)
        self._height, self._tip = self._read_tip()
        self._sequence = self._next_sequence()

    def _read_tip(self) -> tuple[int, bytes]:
        row = self.store.connection.execute("SELECT height, record FROM batches ORDER BY height DESC").fetchone()
        return (row[0], digest(b"gluehead", row[1][: records.HEADER.size])) if row else (0, self.network)

    def _next_sequence(self) -> int:
        (rows,) = self.store.connection.execute("SELECT count(*) FROM receipts").fetchone()
        return int(rows)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> Receipt:
        """Sends one payload; durable when it returns."""
        return self.send_many([payload])[0]

    def send_many(self, payloads: Sequence[bytes]) -> list[Receipt]:
        """Sends a burst; durable when it returns."""
        stamp = now_ms() << 16
        sequences = range(self._sequence, self._sequence + len(payloads))
        transactions = [
            Transaction.make(self.sender, self.network, sequence, stamp, payload)
            for sequence, payload in zip(sequences, payloads, strict=True)
        ]
        encoded = [self._encode(transaction.encoding) for transaction in transactions]
        hashes = [tuple(blake3(fragment).digest() for fragment in fragments) for fragments in encoded]
        manifests = [self._manifest(tx, found) for tx, found in zip(transactions, hashes, strict=True)]
        self.store.write(
            "INSERT INTO intents VALUES (?, ?, ?)",
            [(tx.tx_id, tx.encoding, made.to_bytes()) for tx, made in zip(transactions, manifests, strict=True)],
        )
        self.store.point("intent")
        acks = self._deliver(manifests, encoded, hashes)
        certificates = [
            Availability.write(manifest, found, held)
            for manifest, found, held in zip(manifests, hashes, acks, strict=True)
        ]
        receipts = self._commit(manifests, certificates)
        self._sequence += len(payloads)
        return receipts

    def _encode(self, data: bytes) -> list[bytes]:
        size = -(-len(data) // K)
        padded = data.ljust(size * K, b"\0")
        return self._coder.encode(tuple(padded[at : at + size] for at in range(0, size * K, size)))  # type: ignore[no-any-return]

    def _choose(self, sequence: int) -> tuple[bytes, ...]:
        """All nodes in the order of the draw, the best of each district first."""
        seed = digest(b"glueseed", self._draw + self.sender.public + sequence.to_bytes(8, "little"))
        number = int.from_bytes(seed[:8], "little")
        score = xxhash.xxh3_64_intdigest
        ranked = nlargest(2 * N, self._ids, key=lambda node: score(node, number))
        first = dict.fromkeys(range(DISTRICTS), b"")
        for node in reversed(ranked):
            first[self._districts[node]] = node
        best = [node for node in ranked if first[self._districts[node]] == node]
        return (*best, *(node for node in ranked if first[self._districts[node]] != node))

    def _manifest(self, transaction: Transaction, hashes: tuple[bytes, ...]) -> Manifest:
        root = Tree(hashes).root
        terms = (len(transaction.encoding), K, N, QUORUM, root, self._candidates_root, self._draw[:32])
        about = (self.network, transaction.tx_id, transaction.sender, transaction.sequence)
        return Manifest.make(self.sender, (*about, *terms), self._choose(transaction.sequence))

    def _deliver(
        self, manifests: Sequence[Manifest], encoded: Sequence[Sequence[bytes]], hashes: Sequence[tuple[bytes, ...]]
    ) -> list[list[bytes]]:
        """Every fragment to its node, the acks back and checked."""
        now = now_ms()
        cargo: dict[bytes, list[_Cargo]] = {}
        for at, manifest in enumerate(manifests):
            seed = os.urandom(32)
            about = manifest.body[32:64] + manifest.manifest_hash
            for index, node in enumerate(manifest.nodes[:N]):
                challenge = digest(b"gluechal", seed + node + bytes([index]))
                item = about + index.to_bytes(2, "little") + _N_BYTES + hashes[at][index] + challenge
                cargo.setdefault(node, []).append((at, item, encoded[at][index]))
        head = (now << 16, now + 60_000, now + HOLD_MS)
        messages = [
            records.REQUEST.pack(self.network, self.sender.public, node, *head) + b"".join([i for _, i, _ in asked])
            for node, asked in cargo.items()
        ]
        tree = Tree([digest(b"glue_req", message) for message in messages])
        signature = self.sender.sign(tree.root)
        rows: dict[bytes, list[bytes]] = {}
        answers = []
        for position, (node, asked) in enumerate(cargo.items()):
            body = _hold_body(messages[position], position, tree, signature, [fragment for _, _, fragment in asked])
            answers.append(self._by_id[node].hold(body, rows))
        self.store.write("INSERT INTO held VALUES (?, ?)", [(tx_id, b"".join(held)) for tx_id, held in rows.items()])
        self.store.point("held")
        acks: list[list[bytes]] = [[] for _ in manifests]
        signed: list[Check] = []
        for (node, asked), answer in zip(cargo.items(), answers, strict=True):
            signed.append(_answered(node, asked, answer, acks))
        self._signatures.check(signed)
        return acks

    # --- committing --------------------------------------------------------------------------------------------------

    def _commit(self, manifests: Sequence[Manifest], certificates: Sequence[bytes]) -> list[Receipt]:
        entries = [_entry(manifest) for manifest in manifests]
        self.store.write(
            "INSERT INTO certified VALUES (?, ?)",
            [(entry[:32], certificate) for entry, certificate in zip(entries, certificates, strict=True)],
        )
        self.store.point("certified")
        height = self._height + 1
        tree = Tree([digest(b"glueentr", entry) for entry in entries])
        terms = (self.network, 0, height, self._tip, digest(b"glueunit", b"city"), now_ms() << 16)
        header = records.HEADER.pack(*terms, len(entries), tree.root)
        batch = digest(b"gluehead", header)
        slot = records.SLOT.pack(self.network, 0, height, 0, self._tip, batch)
        body = b"".join([header, *entries, *(len(c).to_bytes(4, "little") + c for c in certificates)])
        judged = self._judge(body)
        leader = self.delegates[height % DELEGATES]
        proposed, voted = digest(b"glueprop", slot), digest(b"gluevote", slot)
        proposal = leader.sign(proposed)
        self.store.write("INSERT OR REPLACE INTO spoken VALUES (?, ?)", [("led", slot + proposal + body)])
        self.store.point("led")
        self._signatures.check([(leader.public, proposed, proposal)])
        votes = [(at, keys.sign(voted)) for at, keys in enumerate(self.delegates)]
        said = [(f"voted {at}", slot + proposal) for at, _ in votes]
        self.store.write("INSERT OR REPLACE INTO spoken VALUES (?, ?)", [*said, ("voted", body)])
        self.store.point("voted")
        self._signatures.check([(self.delegates[at].public, voted, vote) for at, vote in votes])
        paths = tree.paths()
        receipts = [
            Receipt(availability, header, entry, at, paths[at], tuple(votes))
            for at, (availability, entry) in enumerate(zip(judged, entries, strict=True))
        ]
        self._append(header, entries, votes, receipts)
        self._height, self._tip = height, batch
        return receipts

    def _judge(self, body: bytes) -> list[Availability]:
        """What a delegate checks of a batch before it votes; the four of this process share it."""
        *_, previous, _, _, size, entries_root = records.HEADER.unpack_from(body)
        at = records.HEADER.size + size * records.ENTRY.size
        entries = [
            body[start : start + records.ENTRY.size] for start in range(records.HEADER.size, at, records.ENTRY.size)
        ]
        if previous != self._tip or Tree([digest(b"glueentr", entry) for entry in entries]).root != entries_root:
            raise WrongError("a batch that does not follow the tip, or has other entries than it says")
        marks = ", ".join("?" * size)
        known = f"SELECT count(*) FROM receipts WHERE tx_id IN ({marks})"
        if self.store.connection.execute(known, [entry[:32] for entry in entries]).fetchone()[0]:
            raise WrongError("a transaction is committed already")
        hashed: Known = {}
        judged: list[Availability] = []
        signed: list[Check] = []
        for entry in entries:
            end = at + 4 + int.from_bytes(body[at : at + 4], "little")
            availability = Availability.from_bytes(body[at + 4 : end], hashed)
            at = end
            manifest = availability.manifest
            fields = manifest.fields()
            if fields[0] != self.network or fields[2] != self.sender.public or fields[5:8] != (K, N, QUORUM):
                raise WrongError("a manifest of another network or sender, or with other terms")
            if entry != _entry(manifest):
                raise WrongError("an entry whose certificate is about another transaction")
            if fields[10] != self._draw[:32] or manifest.nodes != self._choose(fields[3]):
                raise WrongError("the nodes are not those of the draw")
            _check_acks(availability)
            signed.append((fields[2], manifest.manifest_hash, manifest.signature))
            signed += [(ack.node, ack.root, ack.signature) for ack in availability.acks]
            judged.append(availability)
        if sorted(map(_sequence, entries)) != list(range(self._sequence, self._sequence + size)):
            raise WrongError("numbers are left out or used twice")
        self._signatures.check(signed)
        return judged

    def _append(
        self, header: bytes, entries: Sequence[bytes], votes: Sequence[tuple[int, bytes]], receipts: Sequence[Receipt]
    ) -> None:
        record = b"".join([header, *entries, *(bytes([at]) + vote for at, vote in votes)])
        self.store.write("INSERT INTO batches VALUES (?, ?)", [(self._height + 1, record)])
        rows = [(receipt.tx_id, receipt.to_bytes()) for receipt in receipts]
        self.store.write("INSERT INTO receipts VALUES (?, ?)", rows)
        ended = [(tx_id,) for tx_id, _ in rows]
        self.store.write("DELETE FROM intents WHERE tx_id = ?", ended)
        self.store.write("DELETE FROM certified WHERE tx_id = ?", ended)
        self.store.point("ledger")

    # --- receiving ---------------------------------------------------------------------------------------------------

    def receive(self, tx_id: bytes) -> bytes:
        """The payload of a committed transaction, out of any K whole fragments.

        Raises:
            WrongError: It is not committed, too few fragments are whole, or the bytes are not what was signed.
        """
        found = self.store.connection.execute("SELECT receipt FROM receipts WHERE tx_id = ?", [tx_id]).fetchone()
        held = self.store.connection.execute("SELECT fragments FROM held WHERE tx_id = ?", [tx_id]).fetchone()
        if found is None or held is None:
            raise WrongError(f"{tx_id.hex()} is not committed here")
        availability = Receipt.from_bytes(found[0]).availability
        whole: dict[int, bytes] = {}
        for index, fragment in _fragments(held[0]):
            if blake3(fragment).digest() == availability.hashes[index]:
                whole[index] = fragment
        if len(whole) < K:
            raise WrongError(f"{len(whole)} fragments of {tx_id.hex()} are whole, {K} are needed")
        chosen = sorted(whole)[:K]
        blocks = self._decoder.decode(tuple(whole[index] for index in chosen), tuple(chosen))
        data = b"".join(blocks)[: availability.manifest.fields()[4]]
        signed_id, sender, payload, signature = Transaction.open(data)
        if signed_id != tx_id:
            raise WrongError("the restored bytes are another transaction")
        verify(sender, tx_id, signature)
        return payload

    def close(self) -> None:
        """Closes the file."""
        self._signatures.close()
        self.store.close()


_N_BYTES = N.to_bytes(2, "little")

type _Cargo = tuple[int, bytes, bytes]
"""What a node is asked to hold: which transaction of the burst, the request's item, the fragment."""


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _entry(manifest: Manifest) -> bytes:
    fields = manifest.fields()
    return records.ENTRY.pack(fields[1], manifest.manifest_hash, fields[2], fields[3])


def _sequence(entry: bytes) -> int:
    return int.from_bytes(entry[96:104], "little")


def _fragments(row: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(row):
        item = records.ITEM.unpack_from(row, at + records.REQUEST.size)
        at += records.REQUEST.size + records.ITEM.size
        length = int.from_bytes(row[at : at + 4], "little")
        found.append((item[2], row[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _answered(node: bytes, asked: Sequence[_Cargo], answer: bytes, acks: list[list[bytes]]) -> Check:
    """Checks that a node's acks answer its requests and prove its fragments; what is left to check is one signature.

    Args:
        node: Who answers.
        asked: What it was asked.
        answer: Its acks, encoded.
        acks: Takes the ack of each transaction of the burst.

    Raises:
        WrongError: An ack is missing, or is about something else.
    """
    leaves, at, signature = [], 0, b""
    for burst_at, item, fragment in asked:
        body, start = answer[at : at + records.ACK.size], at
        position, size, signature, path_len = records.PLACE.unpack_from(answer, at + records.ACK.size)
        at += records.ACK.size + records.PLACE.size + path_len
        proof = blake3(fragment, key=item[100:]).digest()
        if body[32:64] != node or body[64:164] != item[:100] or body[180:] != item[100:] + proof:
            raise WrongError(f"an ack of {node.hex()[:16]} does not answer its request")
        if (position, size) != (len(leaves), len(asked)):
            raise WrongError(f"an ack of {node.hex()[:16]} has another place under its signature")
        leaves.append(digest(b"glue_ack", body))
        acks[burst_at].append(answer[start:at])
    return node, Tree(leaves).root, signature


def _check_acks(availability: Availability) -> None:
    """Enough nodes of the draw acknowledge enough distinct fragments of this manifest; signatures are checked apart."""
    manifest = availability.manifest
    if Tree(availability.hashes).root != manifest.fields()[8]:
        raise WrongError("the fragment hashes are not the manifest's")
    about = manifest.body[32:64] + manifest.manifest_hash
    indices, nodes = set(), set()
    for ack in availability.acks:
        body = ack.body
        index = int.from_bytes(body[128:130], "little")
        if index >= N or body[64:128] != about or body[32:64] not in manifest.nodes:
            raise WrongError(f"the ack for fragment {index} is about something else")
        if body[132:164] != availability.hashes[index]:
            raise WrongError(f"the ack for fragment {index} is about other bytes")
        indices.add(index)
        nodes.add(body[32:64])
    if min(len(indices), len(nodes)) < QUORUM:
        raise WrongError(f"acks for {len(indices)} fragments by {len(nodes)} nodes, {QUORUM} are needed")


def verify_receipt(encoding: bytes, trust: Trust) -> Receipt:
    """Checks everything that a receipt proves, from its bytes and the trust anchor.

    Raises:
        WrongError: The first thing that is wrong.
    """
    receipt = Receipt.from_bytes(encoding)
    availability = receipt.availability
    manifest = availability.manifest
    checks: list[Check] = [(manifest.fields()[2], manifest.manifest_hash, manifest.signature)]
    checks += [(ack.node, ack.root, ack.signature) for ack in availability.acks]
    network, epoch, height, previous, _, _, size, entries_root = records.HEADER.unpack(receipt.header)
    if network != trust.network or manifest.fields()[0] != network or receipt.entry != _entry(manifest):
        raise WrongError("a receipt of another network or transaction")
    if manifest.fields()[2] != trust.sender:
        raise WrongError("a receipt of another sender")
    leaf = digest(b"glueentr", receipt.entry)
    if root_from_path(leaf, receipt.position, size, receipt.path) != entries_root:
        raise WrongError("the entry is not in the batch")
    slot = records.SLOT.pack(network, epoch, height, 0, previous, digest(b"gluehead", receipt.header))
    positions = {position for position, _ in receipt.votes}
    if len(positions) < _VOTES or not positions <= set(range(len(trust.delegates))):
        raise WrongError(f"{len(positions)} votes, {_VOTES} are needed")
    voted = digest(b"gluevote", slot)
    checks += [(trust.delegates[position], voted, vote) for position, vote in receipt.votes]
    _check_acks(availability)
    Remembered().check(checks)
    return receipt
