"""The city's side of nodes that run in processes of their own (`levels.node_host`).

A thread meets them over and over: those that answer are logged in, are told the city's keys and candidate lists, and
what they have missed of the ledger. Those that do not answer are logged out after a while, so that nothing is placed
with them; nobody waits for them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, ProtocolError, UnavailableError
from city_chain.levels.reports import NodeInfo
from city_chain.levels.settings import Founding, domain_of, node_identity
from city_chain.node import Ledger, Met, Roster, lists_words, meeting_words
from city_chain.node.testifying import pieces_of
from city_chain.ports import Clock, Presence, PresenceEntry, Request, Transport
from city_chain.stages import messages
from city_chain.stages.model import Members

__all__ = ["Elsewhere"]

_log = logging.getLogger("city_chain")

_LEASE_S = 30.0
_MEET_S = 0.5
_FIRST_MEETING_S = 3.0
_TELL_S = 0.25
_TEACH_S = 5.0
_TEACH_MAX = 16
_LISTS_AT_ONCE = 64
_LISTEN_EVERY_S = 10.0
_SOON_S = 0.1
_LATER_S = 1.0
_NUMBERS = re.compile(r"[0-9.]+")
_SOON_TIMES = 30
"""How often a node that is silent is asked again soon; after that it is asked as seldom as one that lacks nothing."""


@dataclass(eq=False, slots=True)
class _Away:
    """One node elsewhere."""

    node: bytes
    address: str
    met: Met | None = None  # what it said when it was last met; None since it did not answer
    recipient: records.Recipient | None = None
    told: set[bytes] = field(default_factory=set)  # roots of lists that it knows
    challenge: bytes = b""  # what it drew, which the city signs at the next meeting
    missed: int = 0  # how often in a row it was not met
    trouble: str = ""  # what was complained of last, which is not said again ten times a second


class Elsewhere:
    """Keeps nodes elsewhere up to date.

    Args:
        addresses: The nodes and where they answer; an empty address is not known yet.
        ledger: What is committed.
        roster: Who is logged in, and the candidate lists so far.
        presence: Where they are logged in.
        transport: Carries the messages.
        clock: Monotonic time.
        keys: The city's keys, if there are some.
        handover: The handover to the epoch of a number, if there was one.
        hear: Is told the evidence of double signing that they keep, of which nothing is checked.
        sign: Signs as the city's sender, whose word the nodes believe.

    Example:
        See `City.open`.
    """

    def __init__(
        self,
        addresses: Mapping[bytes, str],
        ledger: Ledger,
        roster: Roster,
        presence: Presence,
        transport: Transport,
        clock: Clock,
        keys: Callable[[], records.CityKeys | None],
        handover: Callable[[int], records.Handover | None],
        hear: Callable[[Sequence[tuple[int, bytes]]], None],
        sign: Callable[[bytes], bytes],
    ) -> None:
        self._away = {node: _Away(node, address) for node, address in addresses.items()}
        self._ledger = ledger
        self._roster = roster
        self._presence = presence
        self._transport = transport
        self._clock = clock
        self._keys = keys
        self._handover = handover
        self._hear = hear
        self._sign = sign
        self._lock = threading.Lock()  # held for a round
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._listen_at = 0.0

    @property
    def nodes(self) -> list[bytes]:
        """The nodes that are elsewhere."""
        return list(self._away)

    def meet(self) -> None:
        """Meets the nodes, waits a little for those that do not answer, and goes on with it behind."""
        if not self._away:
            return
        until = self._clock.monotonic() + _FIRST_MEETING_S
        self._round()
        while not all(self._is_here(away) or not away.address for away in self._away.values()):
            if self._clock.monotonic() >= until or self._closed:
                break
            self._wake.wait(_SOON_S)
            self._round()
        self._thread = threading.Thread(target=self._run, name="city-chain-elsewhere", daemon=True)
        self._thread.start()

    def _is_here(self, away: _Away) -> bool:
        met = away.met  # the thread that meets them may put it away at any moment
        return met is not None and met.epoch == self._ledger.epoch.number

    def silent(self, nodes: Sequence[bytes]) -> list[bytes]:
        """Those of some nodes that are elsewhere and do not answer."""
        return [node for node in nodes if node in self._away and not self._is_here(self._away[node])]

    def hand_out_keys(self, nodes: Sequence[bytes], until: float) -> None:
        """Waits a little until those of some nodes that are elsewhere and answer have the city's keys.

        An epoch that has just begun may have no keys with them yet; without them they cannot hand them on.

        Args:
            nodes: The nodes.
            until: When to wait no longer, on the monotonic clock.
        """
        away = [self._away[node] for node in nodes if node in self._away]
        until = min(until, self._clock.monotonic() + _FIRST_MEETING_S)
        while any(self._is_here(one) and not self._has_keys(one) for one in away):
            if self._clock.monotonic() >= until or self._closed:
                return
            self._round()
            self._wake.wait(_SOON_S)

    def _has_keys(self, away: _Away) -> bool:
        keys, met = self._keys(), away.met
        return keys is None or (met is not None and met.keys == keys.digest)

    def wake(self) -> None:
        """There is something new to be told."""
        self._wake.set()

    def close(self) -> None:
        """Ends the meetings."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def tell(self, members: Members) -> None:
        """Has those that answer know a candidate list; waits for it no longer than a quarter of a second."""
        root = members.candidates.root
        wanting = [away for away in self._away.values() if away.met is not None and root not in away.told]
        if wanting:
            until = self._clock.monotonic() + _TELL_S
            body = self._lists([members.candidates])
            for away, parts in self._ask([(away, body) for away in wanting], "done", until).items():
                if parts is not None:
                    away.told.add(root)

    def recipients(self, nodes: Sequence[bytes]) -> list[records.Recipient]:
        """Where shares for some nodes may be sealed to, of those that are elsewhere and were met."""
        found = [self._away[node].recipient for node in nodes if node in self._away]
        return [recipient for recipient in found if recipient is not None]

    def infos(self, founding: Founding) -> list[NodeInfo]:
        """What is known of the nodes elsewhere; asks them."""
        asked = [(away, self._meeting(away, count=True)) for away in self._away.values() if away.address]
        answers = self._ask(asked, "met", self._clock.monotonic() + _MEET_S)
        indexes = {node_identity(founding.master, index).id: index for index in founding.elsewhere}
        infos = []
        for away in self._away.values():
            met = self._read(away, answers.get(away))
            infos.append(
                NodeInfo(
                    id=away.node,
                    domain=domain_of(founding.settings, indexes[away.node]),
                    address=away.address,
                    delegate=self._ledger.epoch.validators.position(away.node) is not None,
                    votes=met is not None and met.votes,
                    running=met is not None,
                    fragments=0 if met is None else met.fragments,
                    index=indexes[away.node],
                    elsewhere=True,
                    observes_until=None if met is None else met.observes_until,
                )
            )
        return infos

    def listen(self) -> None:
        """Asks all for the evidence of double signing that they keep; waits no longer than half a second.

        Raises:
            StorageError: It cannot be kept here.
        """
        body = messages.message("evidence")
        asked = [(away, body) for away in self._away.values() if away.address]
        for away, parts in self._ask(asked, "evidence", self._clock.monotonic() + _MEET_S).items():
            try:
                pieces = pieces_of(parts or ())
            except ProtocolError as error:
                _log.warning("node %s at %s: %s", away.node.hex()[:16], away.address, error)
                continue
            if pieces:
                self._hear(pieces)

    # --- behind ------------------------------------------------------------------------------------------------------

    def _listen_now_and_then(self) -> None:
        now = self._clock.monotonic()
        if now >= self._listen_at:
            self._listen_at = now + _LISTEN_EVERY_S
            self.listen()

    def _run(self) -> None:
        while not self._closed:
            busy = True
            try:
                busy = self._round()
                self._listen_now_and_then()
            except Exception as error:  # the nodes must be met again, whatever went wrong
                if not self._closed:
                    _log.warning("keeping nodes elsewhere up to date failed: %s", error)
            self._wake.wait(_SOON_S if busy else _LATER_S)
            self._wake.clear()

    def _round(self) -> bool:
        """Meets all once and tells each what it lacks; whether another round should come soon."""
        with self._lock:
            meeting = [(away, self._meeting(away)) for away in self._away.values() if away.address]
            answers = self._ask(meeting, "met", self._clock.monotonic() + _MEET_S)
            busy = [self._deal_with(away, answers.get(away)) for away in self._away.values()]
            return any(busy)

    def _deal_with(self, away: _Away, parts: list[bytes] | None) -> bool:
        """Takes one node's answer and tells it what it lacks; whether it should be met again soon.

        What one of them says wrongly is its own trouble.
        """
        met = self._read(away, parts)
        try:
            if met is not None:
                self._log_in(away, met)
                away.met, away.recipient, away.trouble, away.missed = met, met.recipient, "", 0
                is_new = met.challenge != away.challenge
                away.challenge = met.challenge
                lacks = [self._tell_lists(away), self._tell_keys(away, met), self._teach(away, met)]
                return is_new or any(lacks)
        except (CityChainError, OSError) as error:
            _complain(away, str(error))
        away.met = None
        away.told.clear()
        away.missed += 1
        return bool(away.address) and away.missed < _SOON_TIMES

    def _meeting(self, away: _Away, *, count: bool = False) -> bytes:
        number = messages.integer(self._ledger.epoch.number)
        signature = b""
        if away.challenge:
            signature = self._sign(meeting_words(self._ledger.epoch.network, away.node, away.challenge, number))
        return messages.message("meet", [number, b"count" if count else b"", signature])

    def _lists(self, lists: Sequence[records.Candidates]) -> bytes:
        signature = self._sign(lists_words(self._ledger.epoch.network, lists))
        return messages.message("lists", [signature, *(known.to_bytes() for known in lists)])

    def _read(self, away: _Away, parts: list[bytes] | None) -> Met | None:
        if parts is None:
            return None
        try:
            met = Met(parts, self._ledger.epoch.network)
            if met.epoch > self._ledger.epoch.number:
                raise ProtocolError(f"met: it is in epoch {met.epoch}, the city in {self._ledger.epoch.number}")
        except CityChainError as error:
            _complain(away, f"who answers there: {error}")
            return None
        if met.record.node != away.node:
            _complain(away, f"node {met.record.node.hex()[:16]} answers there")
            return None
        return met

    def _log_in(self, away: _Away, met: Met) -> None:
        """Logs it in, or keeps it so: with its own signed record."""
        now, record = self._clock.monotonic(), met.record
        entry = PresenceEntry(away.node, record.region, record.sequence, record.to_bytes())
        known = away.met is not None and away.met.record.sequence == record.sequence
        try:
            if known or entry == self._presence.find(now, away.node):  # of the epoch before
                with contextlib.suppress(UnavailableError):
                    self._presence.renew(now, away.node, ttl=_LEASE_S)
                    return
            self._presence.register(now, entry, ttl=_LEASE_S)
        except CityChainError as error:
            _log.warning("node %s cannot be logged in: %s", away.node.hex()[:16], error)

    def _tell_lists(self, away: _Away) -> bool:
        """Tells a node the lists that it may not know: all, after it was away; whether that failed."""
        lists = self._roster.lists() if not away.told else [self._roster.members().candidates]
        unknown = [known for known in lists if known.root not in away.told]
        until = self._clock.monotonic() + _TEACH_S
        for some in batched(unknown, _LISTS_AT_ONCE):
            if self._ask([(away, self._lists(some))], "done", until)[away] is None:
                return True
            away.told.update(known.root for known in some)
        return False

    def _tell_keys(self, away: _Away, met: Met) -> bool:
        keys = self._keys()
        if keys is None or met.keys == keys.digest or met.epoch != keys.epoch:
            return False
        until = self._clock.monotonic() + _TELL_S
        body = messages.message("keys", [keys.to_bytes()])
        return self._ask([(away, body)], "done", until)[away] is not None

    def _teach(self, away: _Away, met: Met) -> bool:
        """Sends a node the next batches that it lacks; whether it lacks more."""
        tip = self._ledger.tip.height
        until = self._clock.monotonic() + _TEACH_S
        handover = self._handover(met.epoch + 1)
        if handover is not None:  # one epoch after the other
            tip = handover.election.height
            if met.height >= tip:
                self._ask([(away, messages.message("epoch", [handover.to_bytes()]))], "done", until)
                return True
        for height in range(met.height + 1, min(tip, met.height + _TEACH_MAX) + 1):
            parts = self._ledger.proven(height)
            if parts is None or self._closed:
                return False
            answer = self._ask([(away, messages.message("append", parts))], "tip", until)[away]
            if answer is None or messages.integer_of(b"".join(answer)[:8]) < height:
                return True
        return handover is not None or tip > met.height + _TEACH_MAX

    def _ask(self, asked: Sequence[tuple[_Away, bytes]], kind: str, until: float) -> dict[_Away, list[bytes] | None]:
        """Sends each its message; the parts of every right answer, None where there was none."""
        found: dict[_Away, list[bytes] | None] = {away: None for away, _ in asked}
        gather = self._transport.gather([Request(away.address, body) for away, body in asked], until)
        for response in gather.take(until):
            away = asked[response.ticket][0]
            try:
                if response.body is None:
                    raise response.error or DeadlineError("no answer")
                found[away] = messages.answer(response.body, kind)
            except (CityChainError, OSError) as error:
                if kind == "met" and response.body is not None:  # it is there, and has nothing to do with us
                    _complain(away, f"who answers there: {error}")
                _log.debug("node %s at %s: %s", away.node.hex()[:16], away.address, error)
        return found


def _complain(away: _Away, trouble: str) -> None:
    """Tells what is wrong with a node, once until it is something else or the node was met.

    The same with other numbers, such as the seconds since a token has expired, is nothing else.
    """
    known, away.trouble = away.trouble, trouble
    if _NUMBERS.sub("", trouble) != _NUMBERS.sub("", known):
        _log.warning("node %s at %s: %s", away.node.hex()[:16], away.address, trouble)
