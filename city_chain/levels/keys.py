"""How a city's threshold keys come about and change hands: the coordinator's side (the delegates' is `node.keeping`).

The coordinator asks delegates for dealings, leaves out those who dealt wrongly, has the rest adopted and collects the
signatures. It is not trusted: it sees no share, and delegates sign one key set for an epoch, so that it cannot have two
certified. What must not be done twice in two ways is written before it is sent.

======================  =======================================================================================
key (under ``c``)       value
======================  =======================================================================================
``k`` number            the certified keys of an epoch
``g`` number            message ``dealings``: what they come from, while a delegate may still need it
``o`` number            the handover to an epoch, with its election
``z``                   present while shares of epochs that are over may still be there
======================  =======================================================================================
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, ProtocolError, StorageError, UnavailableError
from city_chain.node import Ledger
from city_chain.ports import Clock, Put, Request, Storage, Transport
from city_chain.stages import messages

__all__ = ["OVER", "KeyMaker", "handover_key", "keys_key"]

_log = logging.getLogger("city_chain")

_ROUND_S = 2.0
_ROUND_PER_NODE_S = 0.1
_ROUND_PER_PAIR_S = 0.01
"""A round ends when all have answered. Each delegate checks what each has dealt to it, so the work of a round grows
with the square of their number, and nodes of one process answer at its end."""
_SHARE_LEN = 50
_REASON_MAX = 500

OVER = b"z"
"""The row that says that shares of epochs that are over may still be there."""


def keys_key(number: int) -> bytes:
    """Where the keys of an epoch are kept.

    Example:
        >>> keys_key(1).hex()
        '6b0000000000000001'
    """
    return b"k" + number.to_bytes(8, "big")


def handover_key(number: int) -> bytes:
    """Where the handover to an epoch is kept.

    Example:
        >>> handover_key(1).hex()
        '6f0000000000000001'
    """
    return b"o" + number.to_bytes(8, "big")


def _dealings_key(number: int) -> bytes:
    return b"g" + number.to_bytes(8, "big")


class KeyMaker:
    """Has the keys made, handed on and used.

    Args:
        own: Where the city keeps what it is (the rows above).
        ledger: What is committed, and the epochs.
        transport: Carries the messages.
        addresses: Where nodes answer, as far as they are logged in.
        records_of: Signed records of nodes, by id, of those that are known.
        clock: Monotonic time.
        put: How rows are written that others come after; `own.put_many`, or `defer_many` where the order is enough.
    """

    def __init__(
        self,
        own: Storage,
        ledger: Ledger,
        transport: Transport,
        addresses: Callable[[], Mapping[bytes, str]],
        records_of: Callable[[Sequence[bytes]], list[records.Recipient]],
        clock: Clock,
        put: Put | None = None,
    ) -> None:
        self._own = own
        self._ledger = ledger
        self._transport = transport
        self._addresses = addresses
        self._records_of = records_of
        self._clock = clock
        self._put: Put = put or own.put_many
        self._lock = threading.Lock()
        self._keys: records.CityKeys | None = None

    # --- the keys of the epoch in force ------------------------------------------------------------------------------

    def kept(self) -> records.CityKeys | None:
        """The keys of the epoch in force, if they were made.

        Raises:
            StorageError: What is kept is damaged.
        """
        if self._keys is None:
            epoch = self._ledger.epoch
            (row,) = self._own.get_many([keys_key(epoch.number)])
            if row is not None:
                try:
                    keys = records.CityKeys.from_bytes(row)
                    keys.verify(epoch)
                except CityChainError as error:
                    raise StorageError(f"the city is damaged: its keys cannot be read: {error}") from error
                self._keys = keys
        return self._keys

    def make(self) -> records.CityKeys:
        """The keys of the epoch in force: those that are kept, or new ones.

        Raises:
            UnavailableError: Too few delegates took part.
            StorageError: What is kept is damaged, or the disk failed.
        """
        with self._lock:
            keys = self.kept()
            if keys is not None:
                return keys
            epoch = self._ledger.epoch
            delegates = _delegates(epoch)
            parts = self._parts(epoch.number) or self._collect([b"", b""], delegates, epoch)
            keys, adopted = self._adopt(parts, epoch)
            whole = len(adopted) == len(delegates)
            self._own.put_many(
                {keys_key(epoch.number): keys.to_bytes()}, delete=[_dealings_key(epoch.number)] if whole else []
            )
            self._keys = keys
            return keys

    def hand_to_stragglers(self) -> None:
        """Gives delegates that were away when the keys were made what they need for their shares; forgets it after."""
        with self._lock:
            epoch = self._ledger.epoch
            parts = self._parts(epoch.number)
            if parts is None or self.kept() is None:
                return
            adopted = self._ask(_delegates(epoch), "adopt", parts, "adopted")
            if len(adopted) == len(_delegates(epoch)):
                self._own.delete_many([_dealings_key(epoch.number)])

    # --- handing over ------------------------------------------------------------------------------------------------

    def pending(self) -> records.Election | None:
        """The election whose handover was begun and not ended.

        Raises:
            StorageError: What is kept is damaged.
        """
        parts = self._parts(self._ledger.epoch.number + 1)
        return None if parts is None else records.Election.from_bytes(parts[0])

    def hand_over(self, election: records.Election) -> records.Handover:
        """Has the keys handed on to the delegates of the next epoch, and the old ones certify it; durable then.

        Before it returns the epoch in force is the old one, whatever fails; what was begun can be carried on with.

        Args:
            election: What is called for.

        Raises:
            UnavailableError: Too few delegates took part.
            StorageError: The disk failed.
        """
        with self._lock:
            keys = self.kept()
            if keys is None:
                raise UnavailableError("the city has no threshold keys to hand on", 1, 0)
            epoch, following = self._ledger.epoch, election.next
            parts = self._parts(following.number)
            if parts is None or records.Election.from_bytes(parts[0]) != election:
                head = [election.to_bytes(), keys.to_bytes()]
                parts = self._collect(head, _delegates(epoch), following, keys)
            new, adopted = self._adopt(parts, following)
            signed = self._ask(_delegates(epoch), "handover", [election.to_bytes(), new.to_bytes()], "handed")
            signatures = [(node, b"".join(answer)) for node, answer in signed.items()]
            right = [(node, signature) for node, signature in signatures if len(signature) == 64]
            handover = records.Handover(election, new, epoch, right)
            over = [keys_key(epoch.number), _dealings_key(epoch.number)]
            whole = len(adopted) == len(_delegates(following))
            rows = {
                handover_key(following.number): handover.to_bytes(),
                keys_key(following.number): new.to_bytes(),
                OVER: b"",
            }
            try:
                self._own.put_many(rows, delete=[*over, *([_dealings_key(following.number)] if whole else [])])
            except StorageError:
                # A disk that fails may have written all the same: what is there counts.
                if self._own.get_many([handover_key(following.number)])[0] is None:
                    raise
            return handover

    # --- using them --------------------------------------------------------------------------------------------------

    def compress(self, certificate: records.CommitCertificate, height: int) -> records.CommitCertificate:
        """A full certificate of the batch at a height, compressed to one signature of the city.

        Raises:
            UnavailableError: Too few delegates gave a right share.
            VerificationError: The certificate is not of a batch that is committed here.
        """
        keys = self.make()
        delegates = keys.delegates
        body = [certificate.to_bytes(), messages.integer(height)]
        first = self._ask(delegates, "endorse", body, "share", lambda answers: len(answers) >= keys.threshold)
        try:
            return certificate.compressed(keys, _shares(keys, first))[0]
        except CityChainError:
            every = self._ask(delegates, "endorse", body, "share")
            return certificate.compressed(keys, _shares(keys, every))[0]

    # --- rounds ------------------------------------------------------------------------------------------------------

    def _parts(self, number: int) -> list[bytes] | None:
        """The election, keys and dealings that were written down for an epoch."""
        (row,) = self._own.get_many([_dealings_key(number)])
        if row is None:
            return None
        try:
            return messages.answer(row, "dealings")
        except ProtocolError as error:
            raise StorageError(f"the city is damaged: the dealings for epoch {number} cannot be read") from error

    def _collect(
        self,
        head: Sequence[bytes],
        dealers: Sequence[bytes],
        epoch: records.Epoch,
        handed_on: records.CityKeys | None = None,
    ) -> list[bytes]:
        """Dealings that no recipient complains of; written down when they are returned."""
        recipients = _delegates(epoch)
        known = [record.to_bytes() for record in self._records_of(recipients)]
        needed = (handed_on or _Threshold(len(dealers))).threshold
        trouble: list[str] = []
        dealt: dict[bytes, bytes] = {}
        for node, answer in self._ask(dealers, "deal", [*head, *known], "dealing", trouble=trouble).items():
            try:
                dealing = records.Dealing.from_bytes(b"".join(answer))
            except CityChainError as error:
                _log.warning("the dealing of delegate %s is left out: %s", node.hex()[:16], error)
                continue
            if dealing.dealer == node:
                dealt[node] = dealing.to_bytes()
        complained: dict[bytes, set[bytes]] = {}
        faulty_max = (len(dealers) - 1) // 3
        while True:
            if len(dealt) < needed:
                why = f" ({'; '.join(trouble[-3:])})" if trouble else ""
                what = f"dealings for the keys of epoch {epoch.number}: needed {needed}, had {len(dealt)}{why}"
                raise UnavailableError(what, needed, len(dealt))
            parts = [*head, *(dealt[node] for node in sorted(dealt))]
            named: set[bytes] = set()
            for node, said in self._ask(recipients, "deals", parts, "faults").items():
                reasons = dict(zip(said[::2], said[1::2], strict=False))
                dealers_named = reasons.keys() & dealt.keys()
                complained.setdefault(node, set()).update(dealers_named)
                # A delegate that complains of more dealers than may be faulty is faulty itself.
                if len(complained[node]) <= faulty_max:
                    named |= dealers_named
                    for dealer in sorted(dealers_named):
                        words = reasons[dealer][:_REASON_MAX].decode("utf-8", "replace")
                        _log.warning("delegate %s complains of %s: %r", node.hex()[:16], dealer.hex()[:16], words)
            if not named:
                self._put({_dealings_key(epoch.number): messages.message("dealings", parts)})
                return parts
            dealt = {node: body for node, body in dealt.items() if node not in named}

    def _adopt(self, parts: Sequence[bytes], epoch: records.Epoch) -> tuple[records.CityKeys, list[bytes]]:
        """The certified keys that dealings make, and the delegates that have their shares of them."""
        trouble: list[str] = []
        made: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for node, answer in self._ask(_delegates(epoch), "adopt", parts, "adopted", trouble=trouble).items():
            if len(answer) == 2 and len(answer[1]) == 64:
                made.setdefault(answer[0], []).append((node, answer[1]))
        for encoding, signatures in sorted(made.items(), key=lambda item: -len(item[1])):
            try:
                keys = records.CityKeys.from_bytes(encoding).certified(epoch, signatures)
            except CityChainError as error:
                trouble.append(str(error))
                continue
            return keys, keys.signers
        raise UnavailableError(
            f"delegates that certify the keys of epoch {epoch.number} ({'; '.join(trouble[-3:])})",
            epoch.validators.quorum,
            0,
        )

    def _ask(
        self,
        nodes: Sequence[bytes],
        kind: str,
        parts: Sequence[bytes],
        answer_kind: str,
        enough: Callable[[Mapping[bytes, list[bytes]]], bool] = lambda _: False,
        trouble: list[str] | None = None,
    ) -> dict[bytes, list[bytes]]:
        """Sends one message to some nodes; the parts of each right answer that came within the round."""
        trouble = [] if trouble is None else trouble
        addresses = self._addresses()
        there = [node for node in nodes if node in addresses]
        body = messages.message(kind, parts)
        count = len(there)
        until = self._clock.monotonic() + _ROUND_S + (_ROUND_PER_NODE_S + _ROUND_PER_PAIR_S * count) * count
        gather = self._transport.gather([Request(addresses[node], body) for node in there], until)
        answers: dict[bytes, list[bytes]] = {}
        while gather.pending and not enough(answers):
            for response in gather.take(until):
                node = there[response.ticket]
                try:
                    if response.body is None:
                        raise response.error or DeadlineError("no answer")
                    answers[node] = messages.answer(response.body, answer_kind)
                except (CityChainError, OSError) as error:
                    trouble.append(f"{kind} to delegate {node.hex()[:8]}: {messages.reason(error)}")
                if enough(answers):
                    break
            else:
                break
        return answers


class _Threshold:
    """How many of some delegates make keys together: n - ⌊(n - 1)/3⌋."""

    def __init__(self, delegates: int) -> None:
        self.threshold = delegates - (delegates - 1) // 3


def _delegates(epoch: records.Epoch) -> list[bytes]:
    return [key for key, _ in epoch.validators.items]


def _shares(keys: records.CityKeys, answers: Mapping[bytes, Sequence[bytes]]) -> list[bytes]:
    """The shares that delegates gave, each under its own place: nobody can speak in another's."""
    places = {node: place for place, node in enumerate(keys.delegates, 1)}
    shares = {node: b"".join(answer) for node, answer in answers.items()}
    return [share for node, share in shares.items() if len(share) == _SHARE_LEN and _place(share) == places.get(node)]


def _place(share: bytes) -> int:
    return int.from_bytes(share[:2], "little")
