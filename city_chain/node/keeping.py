"""What the nodes of a process answer about threshold keys: making them, handing them on, using them.

=============  ===============================================  ===================================================
kind           parts                                            answer
=============  ===============================================  ===================================================
``deal``       election, keys, recipient…                       ``dealing``: the delegate's signed dealing
``deals``      election, keys, dealing…                         ``faults``: dealer, reason, dealer, reason, …
``adopt``      election, keys, dealing…                         ``adopted``: the key set, the delegate's signature
``handover``   election, the next epoch's certified keys        ``handed``: the delegate's signature
``endorse``    full commit certificate, height of its batch     ``share``: a share of the compressed one
=============  ===============================================  ===================================================

Where keys are made, election and keys are empty; where they are handed on, both are there. What is public (whether
dealings are right, which keys they make) is found out once for all nodes of the process.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError, VerificationError
from city_chain.node.judge import Judge
from city_chain.node.keeper import Keeper
from city_chain.node.ledger import Ledger
from city_chain.node.node import Node
from city_chain.ports import Put
from city_chain.stages import messages

__all__ = ["Keeping"]

type _Item = tuple[int, Node, records.Message]
type _Sorted = tuple[records.Dealings | None, list[tuple[bytes, str]]]


class Keeping:
    """Answers for the keepers of some nodes.

    Args:
        ledger: What is committed.
        judge: Judges elections.
        put: How rows are written before what rests on them is said (see `node.Host`).
        voting: Held while delegates vote, and here while they hand over: they do one of the two after a batch.
    """

    def __init__(self, ledger: Ledger, judge: Judge, put: Put, voting: threading.RLock) -> None:
        self._voting = voting
        self._ledger = ledger
        self._judge = judge
        self._put = put
        self._lock = threading.RLock()
        self._sorted: tuple[bytes, _Sorted] | None = None

    def answers(self) -> dict[str, Callable[[Sequence[_Item], list[bytes]], None]]:
        """By kind, what answers it."""
        return {
            "deal": self._deal,
            "deals": self._deals,
            "adopt": self._adopt,
            "handover": self._hand_over,
            "endorse": self._endorse,
        }

    def _called(self, parts: Sequence[bytes]) -> tuple[records.Epoch, records.CityKeys | None]:
        """The epoch that keys are made for, and the keys that are handed on to it; None where they are made anew."""
        if len(parts) < 3:
            raise ProtocolError(f"{len(parts)} parts, an election, keys and one more at least are needed")
        if not parts[0] and not parts[1]:
            return self._ledger.epoch, None
        election = records.Election.from_bytes(parts[0])
        keys = records.CityKeys.from_bytes(parts[1])
        before = self._ledger.epoch
        if election.next == before:  # handed over already; a delegate that was away asks for its shares
            before = self._ledger.epoch_of(before.number - 1)
        else:
            self._judge.check_election(election)
        keys.verify(before)
        return election.next, keys

    def _deal(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, message in items:
            try:
                epoch, keys = self._called(message.parts)
                nodes = [records.Recipient.from_bytes(part) for part in message.parts[2:]]
                answers[at] = messages.message("dealing", [node.keeper.deal(epoch, nodes, keys).to_bytes()])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))

    def _dealings(self, parts: Sequence[bytes]) -> _Sorted:
        """The dealings if all are right, else who dealt wrongly and how; the same object for the same parts."""
        size = hashlib.blake2b(digest_size=32)
        for part in parts:
            size.update(len(part).to_bytes(8, "little"))
            size.update(part)
        key = size.digest()
        if self._sorted is None or self._sorted[0] != key:
            epoch, keys = self._called(parts)
            dealings = [records.Dealing.from_bytes(part) for part in parts[2:]]
            self._sorted = key, records.Dealings.sort(epoch, dealings, keys)
        return self._sorted[1]

    def _deals(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        with self._lock:
            for at, node, message in items:
                try:
                    dealings, faults = self._dealings(message.parts)
                    if dealings is not None:
                        faults = node.keeper.faults(dealings)
                    said = [part for dealer, why in faults for part in (dealer, why.encode())]
                    answers[at] = messages.message("faults", said)
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))

    def _adopt(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        with self._lock:
            rows: dict[bytes, bytes] = {}
            ready: list[tuple[int, Keeper, records.Dealings]] = []
            adopting: dict[tuple[bytes, bytes], bytes] = {}
            for at, node, message in items:
                try:
                    dealings, faults = self._dealings(message.parts)
                    if dealings is None:
                        raise VerificationError("; ".join(f"{dealer.hex()[:8]}: {why}" for dealer, why in faults))
                    keys = dealings.keys
                    # Two key sets for one epoch in one burst: the rows do not tell yet which came first.
                    if adopting.setdefault((node.id, keys.epoch_root), keys.digest) != keys.digest:
                        raise ProtocolError(f"adopt: this delegate signs another key set for epoch {keys.epoch}")
                    rows.update((node.space + key, row) for key, row in node.keeper.rows(dealings).items())
                    ready.append((at, node.keeper, dealings))
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))
            if rows:
                self._put(rows)
            for at, keeper, dealings in ready:
                answers[at] = messages.message("adopted", [dealings.keys.to_bytes(), keeper.sign(dealings)])

    def _hand_over(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        with self._voting, self._lock:
            rows: dict[bytes, bytes] = {}
            ready: list[tuple[int, Keeper, records.Election, records.CityKeys]] = []
            signing: dict[bytes, bytes] = {}
            for at, node, message in items:
                try:
                    if len(message.parts) != 2:
                        raise ProtocolError(f"hand over: {len(message.parts)} parts, an election and keys are needed")
                    if node.voter is None:
                        raise ProtocolError("this node is no delegate, or its journal is damaged")
                    if node.voter.has_accepted:
                        height = self._ledger.tip.height + 1
                        raise ProtocolError(f"hand over: this delegate has voted for a batch at height {height}")
                    election = records.Election.from_bytes(message.parts[0])
                    keys = records.CityKeys.from_bytes(message.parts[1])
                    self._judge.check_handover(election, keys, node.keeper.keys)
                    tip = self._ledger.tip.height
                    digest = records.Handover.message(election, keys)
                    if signing.setdefault(node.id, digest) != digest:
                        raise ProtocolError("hand over: this delegate signs another handover")
                    own = node.keeper.handover_rows(election, keys, tip)
                    rows.update((node.space + key, row) for key, row in own.items())
                    ready.append((at, node.keeper, election, keys))
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))
            if rows:
                self._put(rows)
            for at, keeper, election, keys in ready:
                answers[at] = messages.message("handed", [keeper.sign_handover(election, keys)])

    def _endorse(self, items: Sequence[_Item], answers: list[bytes]) -> None:
        for at, node, message in items:
            try:
                if len(message.parts) != 2:
                    raise ProtocolError(f"endorse: {len(message.parts)} parts, a certificate and a height are needed")
                certificate = records.CommitCertificate.from_bytes(message.parts[0])
                endorsed = self._endorsed(certificate, messages.integer_of(message.parts[1]))
                answers[at] = messages.message("share", [node.keeper.sign_share(endorsed)])
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))

    def _endorsed(self, certificate: records.CommitCertificate, height: int) -> bytes:
        """What the city signs to compress a full certificate of a batch that is committed here."""
        committed = self._ledger.batch(height)
        if committed is None:
            raise ProtocolError(f"endorse: nothing is committed here at height {height}")
        header = committed.batch.header
        certificate.verify(self._ledger.epoch_of(header.epoch), header)
        return certificate.compressed_message
