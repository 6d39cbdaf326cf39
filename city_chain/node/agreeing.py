"""What the delegates of a process answer while they agree: the host's side of all engines that agree by machines.

============  =====================================================  ================================================
kind          parts                                                  answer
============  =====================================================  ================================================
``offer``     batch, evidence…: to be proposed, or to be voted on    ``said``
``agree``     flags, (place of the sender, machine message)…         ``said``
``proven``    height                                                 ``proven``: batch, certificate, evidence…
============  =====================================================  ================================================

``said`` has three integers (the height of the ledger; µs until the machine wants to be asked again; 1 while it has
accepted something that is not committed), then what the machine wants done: (place, message) is to be carried to that
delegate, and to all others if the place is `EVERYBODY`; with `WANTED` it is the digest of a batch whose body is wanted.
A place is 2 bytes, little-endian.

Whoever carries the messages is not trusted: what they hold is signed, and every delegate uses its own clock. All rows
of a burst are one write, and nothing leaves before it; where nobody hears it who outlives this process, the rows of all
bursts up to a commit are one write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from city_chain import records
from city_chain.errors import CityChainError, ProtocolError
from city_chain.node.bodies import Bodies
from city_chain.node.ledger import Ledger
from city_chain.ports import Clock
from city_chain.stages import messages

__all__ = ["BEGIN", "EVERYBODY", "PUSH", "WANTED", "Agreeing", "Party", "Shelf", "place_of"]

EVERYBODY, WANTED = 0xFFFF, 0xFFFE
"""Places that stand for all other delegates, and for a body that is wanted."""

PUSH, BEGIN = 1, 2
"""Flags of ``agree``: go on though nothing new is there to be agreed on; it begins after a time of rest."""

_MESSAGES_MAX = 4096
_COMMITS_MAX = 8


def place_of(place: int) -> bytes:
    """A place as it stands in front of a message.

    Example:
        >>> place_of(258).hex()
        '0201'
    """
    return place.to_bytes(2, "little")


class Shelf:
    """What the parties of a process share: the ledger and the bodies of batches."""

    def __init__(self, ledger: Ledger, bodies: Bodies) -> None:
        self.ledger = ledger
        self.bodies = bodies

    def is_right(self, digest: bytes) -> bool | None:
        """Whether a batch may be committed next; None if its body is not here."""
        return self.bodies.is_right(digest)

    def header(self, digest: bytes) -> records.BatchHeader | None:
        """The header of a batch, if its body is here."""
        case = self.bodies.case(digest)
        return None if case is None else case.batch.header

    def commit(self, digest: bytes, certificate: records.CommitCertificate) -> bool:
        """Appends a batch whose certificate is right; whether its body is here."""
        case = self.bodies.case(digest)
        if case is None:
            return False
        self.ledger.append(case.batch, certificate, case.evidence)
        return True


class Party(Protocol):
    """One delegate's agreement machine over its storage."""

    @property
    def has_accepted(self) -> bool:
        """Whether it has voted for something that may be committed without its knowing."""
        ...

    @property
    def is_urgent(self) -> bool:
        """Whether its rows must be written now: a commit rests on them, or others than delegates read them."""
        ...

    def begin(self, now: int) -> None:
        """Something new is there after a time of rest."""
        ...

    def take(self, sender: int, message: bytes, now: int) -> None:
        """Takes a machine's message.

        Raises:
            CityChainError: It is not right; nothing has changed.
        """
        ...

    def step(self, shelf: Shelf, now: int, *, push: bool, resting: bool) -> None:
        """Goes on as far as it can; what it says comes out of `said` once `rows` are written."""
        ...

    def commit(self, shelf: Shelf) -> bool:
        """The rows are written: brings what is committed into the ledger; whether `step` has more to do for it."""
        ...

    def rows(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """What must be written before `said` is called, and what is to be deleted with it."""
        ...

    def said(self) -> list[tuple[int, bytes]]:
        """The rows are written: (place, message) of what may leave now."""
        ...

    def rests_for(self, now: int) -> int:
        """µs until it wants to be asked again."""
        ...


type Item[N] = tuple[int, N, records.Message]


class Agreeing[N]:
    """Answers for the parties of some nodes.

    Args:
        shelf: The ledger and the bodies.
        clock: Its monotonic time is what deadlines of the machines count on.
        voting: Held while delegates vote.
        party: The party of a node; raises if it has none.
        space: The prefix of a node's rows.
        is_resting: Whether a node has handed over after the ledger's last batch, and votes for nothing more.
    """

    def __init__(
        self,
        shelf: Shelf,
        clock: Clock,
        voting: threading.RLock,
        party: Callable[[N], Party],
        space: Callable[[N], bytes],
        is_resting: Callable[[N], bool],
    ) -> None:
        self._shelf = shelf
        self._clock = clock
        self._voting = voting
        self._party = party
        self._space = space
        self._is_resting = is_resting

    def answers(self) -> dict[str, Callable[[Sequence[Item[N]], list[bytes]], None]]:
        """By kind, what answers it."""
        return {"offer": self._offer, "agree": self._agree, "proven": self._proven}

    def make_ready(self, nodes: Sequence[N]) -> None:
        """Writes what the parties of some nodes have due, and lets nothing out."""
        with self._voting:
            self._write(nodes)

    def _write(self, nodes: Sequence[N], *, may_wait: bool = False) -> None:
        """All rows of these nodes' parties, and the bodies that they rest on, by one write.

        What may wait is written with what the next commit rests on: until then nobody outside has heard of it.
        """
        rows: dict[bytes, bytes] = {}
        gone: list[bytes] = []
        for node in nodes:
            space, party = self._space(node), self._party(node)
            may_wait = may_wait and not party.is_urgent
            fresh, stale = party.rows()
            rows.update((space + key, row) for key, row in fresh.items())
            gone += [space + key for key in stale]
        self._shelf.bodies.write(rows, gone, may_wait=may_wait)

    def _offer(self, items: Sequence[Item[N]], answers: list[bytes]) -> None:
        with self._voting:
            judged: dict[int, CityChainError | None] = {}
            for _, _, message in items:
                if id(message) not in judged:
                    judged[id(message)] = self._take_offer(message.parts)
            taken = []
            now = self._now()
            for at, node, message in items:
                verdict = judged[id(message)]
                try:
                    if verdict is not None:
                        raise verdict
                    self._party(node).begin(now)
                    taken.append((at, node, 0))
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))
            self._go_on(taken, answers, now)

    def _take_offer(self, parts: Sequence[bytes]) -> CityChainError | None:
        try:
            body = messages.message("body", parts)
            if not parts:
                raise ProtocolError("offer: a batch and its evidence are needed")
            batch = records.Batch.from_bytes(parts[0])
            if batch.header.height > self._shelf.ledger.tip.height:  # who is late is told the height, and no more
                self._shelf.bodies.offer(self._shelf.bodies.judged(parts, body), body)
        except CityChainError as error:
            return error
        return None

    def _agree(self, items: Sequence[Item[N]], answers: list[bytes]) -> None:
        with self._voting:
            now = self._now()
            taken = []
            for at, node, message in items:
                try:
                    parts = message.parts
                    if not parts or len(parts[0]) != 1 or len(parts) > _MESSAGES_MAX:
                        raise ProtocolError(f"agree: {len(parts)} parts, flags of 1 byte and messages are needed")
                    party, flags = self._party(node), parts[0][0]
                    if flags & BEGIN:
                        party.begin(now)
                    for part in parts[1:]:
                        self._hand_in(party, part, now)
                    taken.append((at, node, flags))
                except CityChainError as error:
                    answers[at] = messages.refused(messages.reason(error))
            self._go_on(taken, answers, now)

    @staticmethod
    def _hand_in(party: Party, part: bytes, now: int) -> None:
        """One message for a machine. What it refuses has changed nothing, and the others are taken all the same."""
        if len(part) > 2:
            try:
                party.take(int.from_bytes(part[:2], "little"), part[2:], now)
            except CityChainError:
                return

    def _go_on(self, taken: Sequence[tuple[int, N, int]], answers: list[bytes], now: int) -> None:
        """Lets parties go on, writes the rows of all of them at once, then lets them speak."""
        spoken: dict[int, tuple[N, list[int], bool]] = {}
        for at, node, flags in taken:
            known = spoken.get(id(node))
            places = [at] if known is None else [*known[1], at]
            spoken[id(node)] = node, places, bool(flags & PUSH) or (known is not None and known[2])
        pushed = [(node, push) for node, _, push in spoken.values()]
        for _ in range(_COMMITS_MAX):
            for node, push in pushed:
                self._party(node).step(self._shelf, now, push=push, resting=self._is_resting(node))
            self._write([node for node, _ in pushed], may_wait=True)
            # Only now: a commit may rest on a vote that is not kept before.
            if not [node for node, _ in pushed if self._party(node).commit(self._shelf)]:
                break
            pushed = [(node, False) for node, _ in pushed]
        for node, places, _ in spoken.values():
            party = self._party(node)
            said = [place_of(place) + message for place, message in party.said()]
            head = [self._shelf.ledger.tip.height, party.rests_for(now), int(party.has_accepted)]
            for at in places:
                answers[at] = messages.message("said", [*(messages.integer(number) for number in head), *said])
                said = []  # what is said, is said once

    def _proven(self, items: Sequence[Item[N]], answers: list[bytes]) -> None:
        for at, _, message in items:
            height = int.from_bytes(b"".join(message.parts[:1])[:8], "little")
            parts = self._shelf.ledger.proven(height)
            nothing = f"nothing is committed here at height {height}"
            answers[at] = messages.refused(nothing) if parts is None else messages.message("proven", parts)

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1e6)
