"""Carrying what delegates' agreement machines say to each other, over a transport of requests and answers.

Delegates answer and never ask: whoever wants something committed carries their messages until it is. Every answer says
what is to go where, and when the delegate wants to be asked again (see `node.agreeing`). Nothing here is trusted and
nothing here is needed twice: should the carrier fall silent, the next one goes on from where the machines are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from city_chain import records
from city_chain.errors import CityChainError, DeadlineError, ProtocolError, UnavailableError
from city_chain.node.agreeing import BEGIN, EVERYBODY, PUSH, WANTED, place_of
from city_chain.node.engines.base import ROUND_S, Engine
from city_chain.node.judge import Case
from city_chain.ports import Gather, Request, Response
from city_chain.stages import messages

__all__ = ["CarryingEngine"]

_ASK_AGAIN_S = 0.25
"""When what was not answered counts as lost."""

_REST_MIN_S = 0.001
_REST_MAX_S = 0.5
_REFUSED_REST_S = 0.02
"""For how long who answered wrongly is left alone at first; each time in a row twice as long, up to `_REST_MAX_S`."""
_LETTERS_MAX = 256
"""How many messages of one sender wait for one delegate; the newest count."""
_LETTERS_BYTES_MAX = 4 << 20
"""How many bytes of one sender wait for one delegate, and how long one message may be: more than any machine says to so
many as there are in a city."""
_MISSING_MAX = 256
_REQUESTS_MAX = 16_384
_TROUBLE_MAX = 16
_WANTS_MAX = 8


@dataclass(slots=True)
class _Desk:
    """What is to go to one delegate, and what it said last."""

    node: bytes
    place: int
    address: str
    stake: int
    first: bytes | None
    due: float
    inbox: dict[int, deque[bytes]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    asked_at: float | None = None
    quiet_until: float = 0.0
    strikes: int = 0
    height: int | None = None
    has_accepted: bool = True
    wants: int = 0
    is_teacher: bool = False
    owes_batch: bool = False  # it said that it has more than we, was asked for that, and has not given it
    is_taught: bool = False

    def put(self, sender: int, message: bytes) -> None:
        """A message to be carried; of each sender only the newest are kept, by number and by bytes."""
        kept = self.inbox.setdefault(sender, deque(maxlen=_LETTERS_MAX))
        kept.append(place_of(sender) + message)
        while len(kept) > 1 and sum(map(len, kept)) > _LETTERS_BYTES_MAX:
            kept.popleft()

    def letters(self) -> list[bytes]:
        """All that is to be carried, each sender's in order."""
        letters = [letter for kept in self.inbox.values() for letter in kept]
        self.inbox.clear()
        return letters


class _Sent(NamedTuple):
    """What went out: to whom, the kind of its right answer, and which batch's body it asks for, if it is one."""

    desk: _Desk
    kind: str
    digest: bytes


class CarryingEngine(Engine):
    """An engine whose delegates agree by machines of their own (see `Engine` for the arguments).

    All delegates are offered the whole case: any of them may lead or propose it, whoever is silent.
    """

    def decide(self, case: Case | None, deadline: float) -> list[records.Receipt]:
        """Carries messages until the next height is committed (see `Engine.decide`).

        Raises:
            StorageError: The city's own disk failed under the batch; what delegates have accepted is carried on later.
        """
        height = self._ledger.tip.height + 1
        self._ledger.failure = None
        carrier = _Carrier(self, case, height, deadline)
        if not carrier.run():
            validators = self._ledger.epoch.validators
            heard = carrier.stake_of(lambda desk: desk.height is not None)
            raise UnavailableError(
                f"commit of height {height}: the delegates did not agree in time (stake that answered: {heard}; "
                f"needed: {validators.quorum} of {validators.total}): "
                f"{'; '.join(carrier.trouble[-3:]) or 'no answer'}",
                validators.quorum,
                min(heard, validators.quorum - 1),
            )
        if self._ledger.tip.height < height:
            return []
        self._tell(deadline)
        sent = [] if case is None else [entry.tx_id for entry in case.batch.entries if entry.kind == "transaction"]
        return [receipt for receipt in self._ledger.receipts(sent) if receipt is not None]


class _Carrier:
    """The carrying for one height."""

    def __init__(self, engine: CarryingEngine, case: Case | None, height: int, deadline: float) -> None:
        self.trouble: list[str] = []
        self._engine = engine
        self._case = case
        self._height = height
        self._deadline = deadline
        self._push = False
        self._pause = threading.Event()
        self._missing: dict[bytes, list[int]] = {}
        addresses = engine._roster.members().addresses
        validators = engine._ledger.epoch.validators.items
        self.trouble += [
            f"delegate {node.hex()[:8]} is not logged in" for node, _ in validators if node not in addresses
        ]
        begin = messages.message("agree", [bytes([BEGIN])])
        first = begin if case is None else messages.message("offer", case.parts())
        now = engine._clock.monotonic()
        self._desks = {
            place: _Desk(node, place, addresses[node], stake, first, now)
            for place, (node, stake) in enumerate(validators)
            if node in addresses
        }
        self._gather: Gather = engine._transport.gather([], deadline)
        self._sent: dict[int, _Sent] = {}
        self._count = 0

    def stake_of(self, which: Callable[[_Desk], bool]) -> int:
        """The stake of some delegates."""
        return sum(desk.stake for desk in self._desks.values() if which(desk))

    def run(self) -> bool:
        """Carries; whether it came to what was wanted before the deadline."""
        clock = self._engine._clock
        while not self._is_done():
            now = clock.monotonic()
            if now >= self._deadline:
                return False
            self._send(now)
            if not self._take(0.0) and not self._is_done():
                self._wait()
            failure = self._engine._ledger.failure
            if failure is not None and not self._is_done():
                raise failure
        return True

    def _is_done(self) -> bool:
        if self._engine._ledger.tip.height >= self._height:
            return True
        if self._case is not None:
            return False
        settled = self.stake_of(lambda desk: desk.height is not None and not desk.has_accepted)
        heard = self.stake_of(lambda desk: desk.height is not None)
        quorum = self._engine._ledger.epoch.validators.quorum
        self._push = heard >= quorum > settled
        return settled >= quorum

    # --- sending -----------------------------------------------------------------------------------------------------

    def _send(self, now: float) -> None:
        requests: list[Request] = []
        asked: list[_Sent] = []
        for desk in self._desks.values():
            if now < desk.quiet_until or (desk.asked_at is not None and now < desk.asked_at + _ASK_AGAIN_S):
                continue
            kind, body, digest = self._next(desk, now)
            if body is not None:
                desk.asked_at = now
                requests.append(Request(desk.address, body))
                asked.append(_Sent(desk, kind, digest))
        if not requests:
            return
        if self._count + len(requests) > _REQUESTS_MAX:
            self._gather, self._sent, self._count = self._engine._transport.gather([], self._deadline), {}, 0
        self._count += len(requests)
        first = self._gather.send(requests)
        self._sent.update(enumerate(asked, first))

    def _next(self, desk: _Desk, now: float) -> tuple[str, bytes | None, bytes]:
        """What goes to a delegate now, if anything: see `_Sent`."""
        if desk.first is not None:
            return "said", desk.first, b""
        if desk.bodies:
            return "said", desk.bodies.pop(), b""
        if desk.is_teacher:
            return "proven", messages.message("proven", [messages.integer(self._engine._ledger.tip.height + 1)]), b""
        flags = bytes([PUSH if self._push else 0])
        if desk.inbox:
            return "said", messages.message("agree", [flags, *desk.letters()]), b""
        if now >= desk.due:
            wanted = next((digest for digest, places in self._missing.items() if desk.place not in places), None)
            if wanted is not None:
                return "body", messages.message("body", [wanted]), wanted
            return "said", messages.message("agree", [flags]), b""
        return "", None, b""

    # --- answers -----------------------------------------------------------------------------------------------------

    def _take(self, until: float) -> bool:
        """Takes the answers that are there, or the first that comes; whether there was one."""
        found = False
        for response in self._gather.take(until):
            found = True
            sent = self._sent.pop(response.ticket, None)
            if sent is not None:
                self._read(sent, response)
            if until:
                break
        return found

    def _read(self, sent: _Sent, response: Response) -> None:
        desk, kind, digest = sent
        desk.asked_at = None
        now = self._engine._clock.monotonic()
        try:
            if response.body is None:
                raise response.error or DeadlineError("no answer")
            parts = messages.answer(response.body, kind)
            if kind == "said":
                desk.first = None
                self._said(desk, parts, now)
                desk.strikes = 0
            elif kind == "proven":
                desk.is_teacher = False
                self._engine._judge.learn(parts)
                desk.owes_batch = False
            else:
                self._found(desk, digest, parts)
        except (CityChainError, OSError) as error:
            self.trouble = [
                *self.trouble[1 - _TROUBLE_MAX :],
                f"delegate {desk.node.hex()[:8]}: {messages.reason(error)}",
            ]
            if kind == "body" and response.body is not None:
                self._lacks(desk, digest)  # it may say so: that is no strike, and costs nobody a letter
                return
            if kind == "said":
                desk.inbox.clear()
            desk.is_teacher = False
            desk.quiet_until = desk.due = now + min(_REFUSED_REST_S * (1 << desk.strikes), _REST_MAX_S)
            desk.strikes = min(desk.strikes + 1, 8)
            if isinstance(error, ProtocolError):
                desk.first = None  # it was heard and is refused: the machine's messages may still go there

    def _said(self, desk: _Desk, parts: Sequence[bytes], now: float) -> None:
        if len(parts) < 3:
            raise ProtocolError(f"an answer 'said' with {len(parts)} parts where 3 at least were due")
        longest = max(map(len, parts))
        if longest > _LETTERS_BYTES_MAX:
            raise ProtocolError(f"a message of {longest} bytes to be carried, at most {_LETTERS_BYTES_MAX} are")
        height, rest_us, accepted = map(messages.integer_of, parts[:3])
        desk.height, desk.has_accepted = height, accepted != 0
        desk.due = now + min(max(rest_us / 1e6, _REST_MIN_S), _REST_MAX_S)
        for part in parts[3:]:
            if len(part) <= 2:
                continue
            to, message = int.from_bytes(part[:2], "little"), part[2:]
            if to == WANTED:
                self._want(desk, message)
            elif to == EVERYBODY:
                for other in self._desks.values():
                    if other is not desk:
                        other.put(desk.place, message)
            elif to in self._desks and to != desk.place:
                self._desks[to].put(desk.place, message)
        tip = self._engine._ledger.tip.height
        if height > tip and not desk.owes_batch:
            desk.is_teacher = desk.owes_batch = True
        elif height < tip and not desk.is_taught:
            desk.is_taught = True
            self._engine._teach(desk.node, height, tip)

    def _want(self, desk: _Desk, digest: bytes) -> None:
        """A delegate has not the body of a batch: it is offered ours, or another delegate is asked for it."""
        desk.wants += 1
        if desk.wants > _WANTS_MAX:
            return
        if self._case is not None and self._case.batch.digest == digest:
            desk.bodies = [messages.message("offer", self._case.parts())]
        elif len(digest) == 32 and len(self._missing) < _MISSING_MAX:
            self._missing.setdefault(digest, [desk.place])

    def _lacks(self, desk: _Desk, digest: bytes) -> None:
        """A delegate that has not the body of that batch is not asked for it again, and gets it with the others."""
        places = self._missing.get(digest)
        if places is not None and desk.place not in places:
            places.append(desk.place)

    def _found(self, desk: _Desk, digest: bytes, parts: Sequence[bytes]) -> None:
        if Case.of(parts).batch.digest != digest:
            raise ProtocolError("the body of a batch that it was not asked for")
        offer = messages.message("offer", parts)
        for place in self._missing.pop(digest, ()):  # nothing, if another delegate was faster
            if place in self._desks and place != desk.place:
                self._desks[place].bodies = [offer]

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until an answer comes, a delegate wants to be asked, or what was asked counts as lost."""
        now = self._engine._clock.monotonic()
        until = min([self._deadline, *self._wakes()])
        if until <= now:
            return
        if self._gather.pending:
            self._take(until)
        else:
            self._pause.wait(min(until - now, ROUND_S))

    def _wakes(self) -> Iterable[float]:
        for desk in self._desks.values():
            if desk.asked_at is not None:
                yield desk.asked_at + _ASK_AGAIN_S
            elif desk.inbox or desk.bodies or desk.is_teacher or desk.first is not None:
                yield desk.quiet_until
            else:
                yield desk.due
