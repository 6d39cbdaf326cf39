"""Twenty members of an overlay on loopback TCP: a broadcast, half of them killed, a broadcast again.

Each member has its own keys, port, thread and machine, and knows one other at the beginning.
"""

import threading
import time
from collections.abc import Callable

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.node.gossip import Delivery, Gossip
from city_chain.records import Identity

MEMBERS, NETWORK, GIVE_UP_S = 20, b"hvp_sockets".ljust(32), 30.0


class Member:
    """One member: what it has heard, and how it is killed."""

    def __init__(self, known: list["Member"]) -> None:
        self.heard: dict[bytes, int] = {}
        self.transport = TcpTransport(workers=4)
        self.gossip = Gossip(
            Identity(OsEntropy().bytes(32)),
            self.transport,
            network=NETWORK,
            clock=SystemClock(),
            entropy=OsEntropy(),
            on_deliver=self.hear,
            keep_alive_s=0.2,
            rejoin_us=100_000,
        )
        self.gossip.join([other.gossip.contact for other in known])

    def hear(self, delivery: Delivery) -> None:
        """Notes a broadcast that has arrived."""
        assert delivery.id not in self.heard, "a broadcast is delivered once"
        self.heard[delivery.id] = delivery.hops

    def kill(self) -> None:
        """Ends it, as a machine does that loses its power."""
        self.gossip.close(leave=False)  # no goodbye: the others find out
        self.transport.close()


def wait_for(what: str, members: list[Member], is_so: Callable[[Member], bool]) -> float:
    """Waits until something is so for all; how long that took, seconds."""
    began = time.monotonic()
    while not all(is_so(member) for member in members):
        assert time.monotonic() < began + GIVE_UP_S, f"{what}: not after {GIVE_UP_S} s"
        time.sleep(0.01)
    return time.monotonic() - began


def broadcast(text: bytes, members: list[Member]) -> None:
    """Has the first of some members send something to the others, and prints who got it."""
    sender, others = members[0], members[1:]
    sent = sender.gossip.broadcast(text)
    took = wait_for("a broadcast", others, lambda member: sent in member.heard)
    hops = sorted(member.heard[sent] for member in others)
    print(f"{text.decode()}: {len(hops)} of {len(others)} got it in {took * 1000:.0f} ms, ", end="")
    print(f"over {hops[0]} to {hops[-1]} links")


members: list[Member] = []
for _ in range(MEMBERS):
    members.append(Member(members[:1]))
linked = wait_for("links", members, lambda member: bool(member.gossip.links))
print(f"{MEMBERS} members are linked after {linked:.2f} s, with {sorted(len(m.gossip.links) for m in members)} links")
broadcast(b"to all", members)

killed, living = members[1::2], members[::2]
gone = {member.gossip.contact.id for member in killed}
for member in killed:
    member.kill()
healing = wait_for("healing", living, lambda m: bool(m.gossip.links) and not gone & set(m.gossip.links))
print(f"{len(killed)} were killed; after {healing:.2f} s no one living has a dead neighbour")
broadcast(b"to the living", living)

for member in living:
    member.gossip.close()
    member.transport.close()
assert not [thread for thread in threading.enumerate() if thread.name.startswith("city-chain")]
