"""Gossip: one member of an overlay (`city_chain.algorithms.hvp`) over a transport, with a thread of its own.

**Who speaks.** Everything goes in letters (`node.letters`): signed by the sender, for one receiver, under the
receiver's challenge, numbered. A stranger cannot speak as another, to another, or again. Whether strangers may speak
at all says `admits`. What is broadcast is signed by its origin besides.

**How failures are found.** A transport of requests and answers has no connection whose end could be waited for, so a
link is tried: a peer that was silent for `keep_alive_s` gets an empty letter, and must answer any letter, with its
signature, within `patience_s`. A peer whose port is closed, or whose connection breaks with a letter on it, is down
at once: that is within `keep_alive_s` of its end over TCP. One that hangs is down after `keep_alive_s` +
`patience_s`. That is the model of "closed-connection events" with a delay of up to `keep_alive_s`; nobody is ever
down by rumour, and a peer that is only slow for longer than `patience_s` is taken for down (the detector is
eventually, not perfectly, accurate).

**What is bounded.** What arrives waits in a queue of `INBOX_BYTES_MAX`, a quarter of it for one sender; who finds it
full is told to come later. What leaves waits in a queue of `QUEUE_BYTES_MAX` for each peer, one letter at a time on
its way; a peer whose queue is full is down, as one that hangs. So nobody slow holds up anybody else.

Example:
    >>> from city_chain.adapters.clock import SystemClock
    >>> from city_chain.adapters.entropy import OsEntropy
    >>> from city_chain.adapters.transport.inprocess import InProcessTransport
    >>> from city_chain.records import Identity
    >>> import queue
    >>> heard: queue.Queue[Delivery] = queue.Queue()
    >>> transport, common = InProcessTransport(), {"network": bytes(32), "clock": SystemClock(), "entropy": OsEntropy()}
    >>> north = Gossip(Identity(bytes(32)), transport, **common)
    >>> south = Gossip(Identity(bytes(31) + b"1"), transport, on_deliver=heard.put, **common)
    >>> north.join([])
    >>> south.join([north.contact])
    >>> south.wait_for_link(5.0)
    True
    >>> id = north.broadcast(b"hello", topic=b"news")
    >>> found = heard.get(timeout=5.0)
    >>> found.payload, found.topic, found.origin == north.contact.id, found.id == id
    (b'hello', b'news', True, True)
    >>> south.close(); north.close(); transport.close()
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, Self

from city_chain.algorithms import hvp
from city_chain.errors import CityChainError, InputError, UnavailableError
from city_chain.node.letters import Letterbox, OldChallengeError, Writer
from city_chain.ports import Clock, Entropy, Gather, Request, Transport
from city_chain.records import Identity, Letter
from city_chain.stages import messages

__all__ = ["INBOX_BYTES_MAX", "QUEUE_BYTES_MAX", "Change", "Delivery", "Gossip"]

INBOX_BYTES_MAX = 16 << 20
"""Bytes of letters that may wait to be read."""

QUEUE_BYTES_MAX = 8 << 20
"""Bytes that may wait for one peer."""

_INBOX_SHARE = 4
_LETTERS_LOG2 = 20
"""A life has at most so many letters for each millisecond that it lasts, as a power of two."""
_LETTER_BYTES_MAX = 512 << 10
_LETTER_BODIES_MAX = 256
_BODY_COST = 64
_PEERS_MAX = 1024
_CHALLENGES_MAX = 5
_LATER_S = 0.05
_IDLE_S = 30.0
_POLL_S = 0.002
_PAUSE_S_MAX = 0.25
_CLOSE_WAIT_S = 5.0
_GOODBYE_LOOKS = 250

_log = logging.getLogger("city_chain")


class Delivery(NamedTuple):
    """A broadcast of another member that has arrived.

    Args:
        id: Its id, 32 bytes.
        origin: Who has sent it, 32 bytes; it has signed it.
        topic: What it is about.
        payload: What it carries.
        hops: Over how many links it came.

    Example:
        >>> Delivery(bytes(32), bytes(32), b"news", b"hello", 2).hops
        2
    """

    id: bytes
    origin: bytes
    topic: bytes
    payload: bytes
    hops: int


class Change(NamedTuple):
    """A link that came or went.

    Args:
        kind: ``"up"``, ``"down"``, or ``"isolated"`` where no link is left.
        peer: With whom, 32 bytes; empty for the last.
        reason: Why it is down: ``"failed"``, ``"disconnected"``, ``"left"`` or ``"evicted"``.

    Example:
        >>> Change("down", bytes(32), "failed").reason
        'failed'
    """

    kind: str
    peer: bytes = b""
    reason: str = ""


@dataclass(slots=True)
class _Peer:
    """What is on its way to one peer."""

    id: bytes
    address: str
    writer: Writer
    heard_at: float
    queue: deque[bytes] = field(default_factory=deque)
    queued: int = 0
    sent: list[bytes] | None = None
    """The bodies of the letter on its way; none of a request for a challenge; None while nothing is."""
    greets: bool = False
    challenges: int = 0
    not_before: float = 0.0
    closing: bool = False


class Gossip:
    """One member of an overlay. Safe to use from several threads; a context manager.

    Args:
        identity: Who it is: its keys are used for nothing else. A member that starts again may keep its identity.
        transport: Carries the letters. It is not closed here.
        network: The overlay, 32 bytes: members of another are strangers.
        clock: Physical time numbers the member's life; the machine's time is the monotonic one.
        entropy: Where the seed and challenges come from.
        address: Where it answers; None: where the transport likes.
        on_deliver: Called with each broadcast of another member, on the member's own thread, which waits for it.
        on_change: Called with each change of its links, likewise.
        admits: Says of an id whether it may speak here; None: everybody may.
        keep_alive_s: After how much silence a link is tried, seconds, 0.01 to 3600.
        patience_s: How long an answer is waited for, likewise.
        **settings: What else `hvp.Hvp` takes.

    Raises:
        InputError: A setting is out of range, or the address is taken.
        UnavailableError: The transport is closed.
    """

    def __init__(
        self,
        identity: Identity,
        transport: Transport,
        *,
        network: bytes,
        clock: Clock,
        entropy: Entropy,
        address: str | None = None,
        on_deliver: Callable[[Delivery], object] | None = None,
        on_change: Callable[[Change], object] | None = None,
        admits: Callable[[bytes], bool] | None = None,
        keep_alive_s: float = 0.5,
        patience_s: float = 2.0,
        **settings: Any,
    ) -> None:
        for name, value in (("keep_alive_s", keep_alive_s), ("patience_s", patience_s)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
            if not 0.01 <= value <= 3600:
                raise InputError(f"{name} must be 0.01 to 3600, not {value}")
        self._identity = identity
        self._transport = transport
        self._network = network
        self._clock = clock
        self._on_deliver = on_deliver
        self._on_change = on_change
        self._keep_alive_s = float(keep_alive_s)
        self._patience_s = float(patience_s)
        self._box = Letterbox(identity, network, entropy, admits)
        self._changed = threading.Condition(threading.Lock())  # guards the inbox and what the thread is told
        self._inbox: deque[tuple[bytes, list[bytes], int]] = deque()
        self._waiting: dict[bytes, int] = {}
        self._poked = False
        self._ending = ""
        self._links = 0
        self._driving = threading.RLock()  # held while the machine is called, so that its time never goes back
        self._peers: dict[bytes, _Peer] = {}
        self._gathers: list[tuple[Gather, list[_Peer]]] = []
        self._refused = 0
        self._address = transport.serve(self._answer, address)
        try:
            life = max(clock.now_ms(), 1)
            self._numbers = count(life << _LETTERS_LOG2)  # above those of its life before, and for all peers together
            contact = hvp.Contact(identity, network=network, address=self._address, sequence=life)
            self._machine = hvp.Hvp(contact, identity, entropy.bytes(32), network=network, **settings)
        except BaseException:
            transport.stop(self._address)
            raise
        name = f"city-chain-gossip-{identity.id.hex()[:8]}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # --- for everybody -----------------------------------------------------------------------------------------------

    @property
    def contact(self) -> hvp.Contact:
        """Its own contact, for others to join over."""
        return self._machine.me

    @property
    def links(self) -> list[bytes]:
        """The ids of its neighbours."""
        return self._machine.active()

    def stats(self) -> dict[str, int]:
        """What the machine holds and has seen (`hvp.Hvp.stats`), and what waits here.

        ``queued`` are the bytes that wait for peers, ``refused`` counts letters and messages that were not taken.
        """
        with self._driving:
            queued = sum(peer.queued for peer in self._peers.values())
            return {**self._machine.stats(), "queued": queued, "refused": self._refused}

    def join(self, contacts: Iterable[hvp.Contact]) -> None:
        """Joins over some contacts, and whenever no link is left again.

        Args:
            contacts: Members, at most 32 in all; none by the first one.

        Raises:
            InputError: Too many.
            VerificationError: One is not signed for the network.
            UnavailableError: It is closed.
        """
        known = list(contacts)
        with self._driving:
            self._check_open()
            self._machine.join(known, self._now())
        self._poke()

    def broadcast(self, payload: bytes, *, topic: bytes = b"") -> bytes:
        """Sends something to all members; returns without waiting for any.

        Args:
            payload: Any bytes, at most 64 KiB.
            topic: What it is about, at most 64 bytes.

        Returns:
            Its id, 32 bytes.

        Raises:
            InputError: It is too large.
            UnavailableError: It is closed, or too much waits to be sent.
        """
        with self._driving:
            self._check_open()
            made = self._machine.broadcast(payload, self._now(), topic=topic)
        self._poke()
        return made

    def wait_for_link(self, timeout_s: float) -> bool:
        """Waits until there is a link; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._links > 0 or bool(self._ending), timeout_s) and self._links > 0

    def close(self, *, leave: bool = True) -> None:
        """Ends it: its thread ends, and its address answers nothing any more. Closing twice is allowed.

        Args:
            leave: Whether it says goodbye to its neighbours; else they find out, as if it had failed.
        """
        with self._changed:
            self._ending = self._ending or ("leave" if leave else "fail")
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_WAIT_S)
        self._transport.stop(self._address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Gossip {self._identity.id.hex()[:8]}… at {self._address} with {self._links} links>"

    def _check_open(self) -> None:
        if self._ending:
            raise UnavailableError("the member of the overlay is closed; make a new one", needed=1, had=0)

    def _now(self) -> int:
        return max(int(self._clock.monotonic() * 1e6), 0)

    def _poke(self) -> None:
        with self._changed:
            self._poked = True
            self._changed.notify_all()

    # --- what others ask, on their threads ---------------------------------------------------------------------------

    def _answer(self, burst: Sequence[Request]) -> list[bytes]:
        return [self._answered(request.body) for request in burst]

    def _answered(self, body: bytes) -> bytes:
        try:
            found = messages.parse(body)
            if self._ending:
                return messages.refused("it is closed")
            if found.kind == "greet":
                return messages.message("challenge", [self._box.challenge])
            (part,) = messages.answer(body, "letter", 1)
            letter = self._box.read(part)
            if not self._has_room(letter, len(part)):
                return messages.message("later")
            self._box.take(letter)
            self._put(letter, len(part))
            return messages.message("heard", [self._box.answer(letter)])
        except OldChallengeError:
            return messages.message("challenge", [self._box.challenge])
        except CityChainError as error:
            self._refused += 1
            return messages.refused(messages.reason(error))

    def _has_room(self, letter: Letter, size: int) -> bool:
        with self._changed:
            there = self._waiting.get(letter.sender, 0)
            return (
                there + size <= INBOX_BYTES_MAX // _INBOX_SHARE
                and sum(self._waiting.values()) + size <= INBOX_BYTES_MAX
            )

    def _put(self, letter: Letter, size: int) -> None:
        bodies = letter.bodies
        if not bodies:
            return
        with self._changed:
            self._waiting[letter.sender] = self._waiting.get(letter.sender, 0) + size
            self._inbox.append((letter.sender, bodies, size))
            self._changed.notify_all()

    # --- the member's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ending:
                self._step(self._taken())
            if self._ending == "leave":
                self._say_goodbye()
        except Exception:
            _log.exception("a member of an overlay has ended by a fault")
            self._ending = "fault"
        finally:
            with self._changed:
                self._links = 0
                self._changed.notify_all()

    def _step(self, letters: list[tuple[bytes, list[bytes]]]) -> None:
        for sender, bodies in letters:
            for body in bodies:
                self._hear(sender, body)
        with self._driving:
            now = self._now()
            due = self._machine.deadline
            if due is not None and due <= now:
                self._machine.tick(now)
        self._collect()
        self._carry_out()
        self._forget_idle()
        self._flush()

    def _taken(self) -> list[tuple[bytes, list[bytes]]]:
        """Waits until there is something to do; the letters that have come."""
        pause_s = self._pause()
        with self._changed:
            if not self._inbox and not self._poked and not self._ending:
                self._changed.wait(pause_s)
            taken = [(sender, bodies) for sender, bodies, _ in self._inbox]
            self._inbox.clear()
            self._waiting.clear()
            self._poked = False
        return taken

    def _pause(self) -> float:
        """How long nothing has to be done, seconds."""
        if self._gathers:
            return _POLL_S
        now = self._clock.monotonic()
        with self._driving:
            due = self._machine.deadline
        pause_s = _PAUSE_S_MAX if due is None else due / 1e6 - now
        retries = [peer.not_before - now for peer in self._peers.values() if peer.queue]
        return max(min([pause_s, self._keep_alive_s / 4, _PAUSE_S_MAX, *retries]), 0.0)

    def _hear(self, sender: bytes, body: bytes) -> None:
        try:
            with self._driving:
                self._machine.handle(sender, body, self._now())
        except CityChainError as error:
            self._refused += 1
            _log.debug("gossip of %s was refused: %s", sender.hex()[:8], error)

    def _carry_out(self) -> None:
        """Does what the machine wants done."""
        while True:
            with self._driving:
                wanted = hvp.effects(self._machine)
                full = [effect.peer for effect in wanted if effect.kind == "send" and not self._queue(effect)]
                for peer in dict.fromkeys(full):
                    self._fail(peer, "its queue is full, or nobody knows where it is")
            if not wanted:
                return
            for effect in wanted:
                match effect.kind:
                    case "deliver":
                        arrived = Delivery(effect.id, effect.peer, effect.topic, effect.data, effect.hops)
                        self._tell(self._on_deliver, arrived)
                    case "close":
                        if effect.peer in self._peers:
                            self._peers[effect.peer].closing = True
                    case "up" | "down" | "isolated":
                        self._note_links()
                        self._tell(self._on_change, Change(effect.kind, effect.peer, effect.reason))
                    case _:
                        pass

    def _note_links(self) -> None:
        links = len(self._machine.active())
        with self._changed:
            self._links = links
            self._changed.notify_all()

    def _tell[T](self, callback: Callable[[T], object] | None, what: T) -> None:
        if callback is None:
            return
        try:
            callback(what)
        except Exception:
            _log.exception("who hears of gossip has failed")

    # --- peers -------------------------------------------------------------------------------------------------------

    def _peer(self, id: bytes) -> _Peer | None:
        """A peer at the address that is known now; None if nobody knows any, or there are too many."""
        contact = self._machine.contact(id)
        there = self._peers.get(id)
        if contact is None:
            return there
        if there is None:
            if len(self._peers) >= _PEERS_MAX:
                return None
            writer = Writer(self._identity, self._network, id, self._numbers)
            there = self._peers[id] = _Peer(id, contact.address, writer, self._clock.monotonic())
        elif there.address != contact.address:
            there.address, there.writer.challenge, there.challenges = contact.address, b"", 0
        return there

    def _queue(self, effect: hvp.Effect) -> bool:
        """Queues a message; whether there was room."""
        peer = self._peer(effect.peer)
        cost = len(effect.data) + _BODY_COST
        if peer is None or peer.queued + cost > QUEUE_BYTES_MAX:
            return False
        peer.closing = False
        peer.queue.append(effect.data)
        peer.queued += cost
        return True

    def _fail(self, id: bytes, why: str) -> None:
        """A peer is down: what waits for it is dropped, and the machine is told."""
        _log.debug("gossip: %s is down: %s", id.hex()[:8], why)
        with self._driving:
            self._peers.pop(id, None)
            self._machine.peer_down(id, self._now())

    def _forget_idle(self) -> None:
        """Forgets peers that are no neighbours and have nothing to get."""
        now = self._clock.monotonic()
        with self._driving:
            active = set(self._machine.active())
            for id in active:
                peer = self._peer(id)
                if peer is not None:
                    peer.closing = False
            for id, peer in list(self._peers.items()):
                busy = bool(peer.queue) or peer.sent is not None
                if not busy and id not in active and (peer.closing or now - peer.heard_at > _IDLE_S):
                    del self._peers[id]

    def _flush(self) -> None:
        """Sends each peer its next letter, if there is something for it and none on its way."""
        now = self._clock.monotonic()
        requests, asked = [], []
        with self._driving:
            active = set(self._machine.active())
            for peer in self._peers.values():
                if peer.sent is not None or now < peer.not_before:
                    continue
                silent = peer.id in active and now - peer.heard_at >= self._keep_alive_s
                if peer.queue or silent:
                    requests.append(Request(peer.address, self._next(peer)))
                    asked.append(peer)
        if requests:
            try:
                self._gathers.append((self._transport.gather(requests, now + self._patience_s), asked))
            except CityChainError as error:
                for peer in asked:
                    self._fail(peer.id, str(error))

    def _next(self, peer: _Peer) -> bytes:
        """The next request to a peer: its challenge is asked for first."""
        peer.sent = []
        peer.greets = not peer.writer.challenge
        if peer.greets:
            return messages.message("greet")
        size = 0
        while peer.queue and len(peer.sent) < _LETTER_BODIES_MAX:
            size += len(peer.queue[0]) + _BODY_COST
            if peer.sent and size > _LETTER_BYTES_MAX:
                break
            peer.sent.append(peer.queue.popleft())
        return messages.message("letter", [peer.writer.write(peer.sent)])

    def _collect(self) -> None:
        """Looks which requests have been answered."""
        for gather, asked in list(self._gathers):
            for response in gather.take(0.0):
                peer = asked[response.ticket]
                if self._peers.get(peer.id) is not peer:
                    continue  # it was down meanwhile
                if response.body is None:
                    self._fail(peer.id, str(response.error))
                else:
                    self._answer_came(peer, response.body)
            if not gather.pending:
                self._gathers.remove((gather, asked))

    def _answer_came(self, peer: _Peer, body: bytes) -> None:
        try:
            found = messages.parse(body)
        except CityChainError as error:
            self._fail(peer.id, str(error))
            return
        now = self._clock.monotonic()
        sent, peer.sent = peer.sent or [], None
        match found.kind, found.parts:
            case "heard", [answer] if not peer.greets and peer.writer.is_answer(answer):
                peer.queued -= sum(len(one) + _BODY_COST for one in sent)
                peer.heard_at, peer.challenges = now, 0
            case "challenge", [challenge] if len(challenge) == 32 and peer.challenges < _CHALLENGES_MAX:
                peer.writer.challenge = challenge
                peer.challenges += 1
                peer.queue.extendleft(reversed(sent))
            case "later", []:
                peer.queue.extendleft(reversed(sent))
                peer.not_before = now + _LATER_S
            case kind, parts:
                self._fail(peer.id, f"it answers {kind!r}: {b''.join(parts)[:200].decode(errors='replace')}")

    def _say_goodbye(self) -> None:
        """Leaves, and gives what waits to be sent a short while."""
        with self._driving:
            self._machine.leave(self._now())
        self._carry_out()
        for _ in range(_GOODBYE_LOOKS):
            self._flush()
            self._collect()
            if not any(peer.queue or peer.sent is not None for peer in self._peers.values()):
                return
            time.sleep(_POLL_S)
