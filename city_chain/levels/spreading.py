"""What travels between the cities of a world by itself: the root of every batch that one of them has committed.

Every city that runs is a member of one overlay (`node.gossip`): it broadcasts the header and the certificate of each of
its batches, and keeps the newest root of every other city that it has verified (`roots`). No send waits for that: a
thread of the world's own looks what the cities have committed since it looked last.

A city that starts asks, and the others tell their newest roots again. So it is up to date, whatever it has missed,
once it has a link.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.algorithms import hvp
from city_chain.errors import CityChainError, VerificationError
from city_chain.levels.city import City
from city_chain.levels.layouts import Layouts
from city_chain.levels.roots import Fork, Root, Roots
from city_chain.levels.rulings import need_shard
from city_chain.levels.world_cities import Cities
from city_chain.node.gossip import Change, Delivery, Gossip
from city_chain.ports import Clock, Entropy
from city_chain.records import Identity

__all__ = ["Spreading"]

_LOOK_S = 0.05
"""How often it is looked what the cities have committed, seconds."""
_TELL_AGAIN_S = 1.0
"""How often at most a city tells its newest root again, seconds."""
_JOIN_AGAIN_S = 1.0
"""After how long a city without a link joins again, seconds."""
_CONTACTS_MAX = 8
_FORKS_MAX = 1024
"""How many forks are kept of all cities together."""
_KEEP_ALIVE_S = 1.0
_ROOT, _ASK = b"root", b"ask"
_log = logging.getLogger("city_chain")


@dataclass(slots=True)
class _Member:
    """A city in the overlay."""

    name: str
    number: int
    city: City
    roots: Roots
    gossip: Gossip
    told: int = 0
    """The height of the last root that it has told."""
    told_at: float = 0.0
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when somebody has asked for its newest root."""
    linked: threading.Event = field(default_factory=threading.Event)
    """Set when it has got a link, and has not asked since."""
    missed: threading.Event = field(default_factory=threading.Event)
    """Set when it could not verify a root: it may not have begun the epoch of the delegates there yet."""
    epoch: int = -1
    """The epoch of the layout that it knew when it asked last."""
    joined_at: float = 0.0


class Spreading:
    """Spreads the roots of the cities of one world. Safe to use from several threads.

    Args:
        layouts: The world's layouts, which know who is in it.
        cities: The cities that are open here.
        clock: The world's clock.
        entropy: The world's entropy.
    """

    def __init__(self, layouts: Layouts, cities: Cities, clock: Clock, entropy: Entropy) -> None:
        self._layouts = layouts
        self._cities = cities
        self._clock = clock
        self._entropy = entropy
        self._transport = InProcessTransport(clock)
        self._lock = threading.RLock()
        self._members: dict[str, _Member] = {}
        self._ids: frozenset[bytes] = frozenset()
        self._forks: dict[tuple[int, int], Fork] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- for the world -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begins to spread: the cities that run are members from now on."""
        self._thread = threading.Thread(target=self._run, name="city-chain-spreading", daemon=True)
        self._thread.start()

    def roots(self) -> dict[str, dict[str, Root]]:
        """What each city in the overlay knows: by name, the newest root of each other city that it has verified."""
        named = {member.number: member.name for member in self._layouts.roll.members}
        with self._lock:
            known = {name: member.roots.known() for name, member in self._members.items()}
        return {name: {named[shard]: root for shard, root in roots.items()} for name, roots in known.items()}

    def behind(self) -> dict[str, int]:
        """Of how many batches of all others that run each city in the overlay does not know."""
        known, heights = self.roots(), {name: city.height for name, (_, city) in self._running().items()}
        return {
            name: sum(
                max(height - (roots[other].height if other in roots else 0), 0)
                for other, height in heights.items()
                if other != name
            )
            for name, roots in known.items()
        }

    def forks(self) -> list[Fork]:
        """The forks that any city has found, by city and height."""
        with self._lock:
            self._gather_forks()
            return [fork for _, fork in sorted(self._forks.items())]

    def look(self) -> None:
        """Looks at once what has changed: which cities run, and what they have committed."""
        with self._lock:
            if not self._stop.is_set():
                self._reconcile()
                for member in list(self._members.values()):
                    self._go_on(member)

    def close(self) -> None:
        """Ends it, and all its threads. Closing twice is allowed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for member in self._members.values():
                member.gossip.close(leave=False)
            self._members.clear()
            self._transport.close()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self.look()
            except Exception:
                _log.exception("the roots of the cities could not be spread this time")

    def _running(self) -> dict[str, tuple[int, City]]:
        """The cities of the world that run, by name: their numbers, and they."""
        there = ((member, self._cities.get(member.name)) for member in self._layouts.roll.seated)
        return {member.name: (member.number, city) for member, city in there if city is not None}

    def _reconcile(self) -> None:
        """Lets in the cities that run and are not in the overlay, and lets go those that do not run any more."""
        wanted = self._running()
        if len(wanted) < 2:
            wanted = {}  # there is nobody to tell
        for name, member in list(self._members.items()):
            if name not in wanted or wanted[name][1] is not member.city:
                self._gather_forks()
                del self._members[name]
                member.gossip.close()
        for name, (number, city) in wanted.items():
            if name not in self._members:
                try:
                    self._members[name] = self._begun(name, number, city)
                except CityChainError as error:  # the clock is lost, or the machine has no threads left: tried again
                    _log.debug("city %r is not in the overlay yet: %s", name, error)
        self._ids = frozenset(member.gossip.contact.id for member in self._members.values())

    def _begun(self, name: str, number: int, city: City) -> _Member:
        roots = Roots(number, lambda: need_shard(city._city).layouts)
        identity = Identity(self._entropy.bytes(32))
        self._ids |= {identity.id}
        member: _Member

        def hear(delivery: Delivery) -> None:
            if delivery.topic == _ASK:
                member.asked.set()
            elif delivery.topic == _ROOT:
                try:
                    roots.hear(delivery.payload)
                except CityChainError as error:
                    if isinstance(error, VerificationError):
                        member.missed.set()
                    _log.debug("city %r does not take a root: %s", name, error)

        def note(change: Change) -> None:
            if change.kind == "up":
                member.linked.set()

        gossip = Gossip(
            identity,
            self._transport,
            network=self._layouts.chain,
            clock=self._clock,
            entropy=self._entropy,
            on_deliver=hear,
            on_change=note,
            admits=lambda id: id in self._ids,
            keep_alive_s=_KEEP_ALIVE_S,
            cache=256,
            catch_up=64,
        )
        member = _Member(name, number, city, roots, gossip)
        self._join(member)
        return member

    def _join(self, member: _Member) -> None:
        """Has a city that has no link join over others."""
        member.joined_at = self._clock.monotonic()
        others = [other.gossip.contact for other in self._members.values() if other is not member]
        member.gossip.join(others[-_CONTACTS_MAX:])

    def _go_on(self, member: _Member) -> None:
        """Tells what a city has committed since, and what others have asked for."""
        try:
            ledger, now = member.city._city.ledger, self._clock.monotonic()
            if now - member.joined_at >= _JOIN_AGAIN_S and not member.gossip.links:
                self._join(member)
            if self._has_to_ask(member):
                member.gossip.broadcast(b"", topic=_ASK)
            after = member.told
            if member.asked.is_set() and now - member.told_at >= _TELL_AGAIN_S:
                member.asked.clear()
                after = max(ledger.tip.height - 1, 0)
            for header, certificate in ledger.committed_after(min(after, member.told)):
                self._say(member, Root(member.number, ledger.epoch_of(header.epoch), header, certificate))
                member.told, member.told_at = header.height, now
        except CityChainError as error:
            _log.debug("city %r cannot tell its root now: %s", member.name, error)

    def _has_to_ask(self, member: _Member) -> bool:
        """Whether the others are to tell their roots again: there is a new link, or a new layout to verify by."""
        asks = member.linked.is_set()
        member.linked.clear()
        if asks or member.missed.is_set():
            epoch = need_shard(member.city._city).layouts[-1].epoch
            asks = asks or epoch != member.epoch
            if asks:
                member.missed.clear()
                member.epoch = epoch
        return asks

    def _say(self, member: _Member, root: Root) -> None:
        said = root.to_bytes()
        if len(said) > hvp.PAYLOAD_MAX:
            _log.warning(
                "the root of city %r at height %d is not spread: %d bytes with %d delegates, at most %d can be",
                member.name,
                root.height,
                len(said),
                len(root.epoch.validators),
                hvp.PAYLOAD_MAX,
            )
            return
        member.gossip.broadcast(said, topic=_ROOT)

    def _gather_forks(self) -> None:
        for member in self._members.values():
            for fork in member.roots.forks():
                if len(self._forks) < _FORKS_MAX:
                    self._forks.setdefault((fork.second.shard, fork.second.height), fork)
