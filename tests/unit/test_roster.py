"""The roster believes no entry of Presence that is not signed by its node, for this network and region."""

from __future__ import annotations

import pytest

from city_chain import records
from city_chain.adapters.clock import ManualClock
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.errors import UnavailableError
from city_chain.node.roster import Roster
from city_chain.ports import PresenceEntry
from city_chain.proofs import dpos

pytestmark = pytest.mark.unit

REGION = "Utrecht"
NODES = [records.Identity.child(bytes(32), b"node", at) for at in range(4)]
EPOCH = records.Epoch.first(REGION, bytes(32), dpos.ValidatorSet(0, [(NODES[0].id, 10)]))
OTHER_NETWORK = records.Epoch.first("Elsewhere", bytes(32), dpos.ValidatorSet(0, [(NODES[0].id, 10)])).network


def record_of(
    identity: records.Identity,
    *,
    network: bytes = EPOCH.network,
    region: str = REGION,
    roles: int = records.HOLDER,
    weight: int = 1 << 16,
    address: str | None = None,
) -> bytes:
    return records.NodeRecord(
        identity,
        network=network,
        region=region,
        domain="north",
        address=address or f"inproc:{identity.id.hex()[:16]}",
        roles=roles,
        weight=weight,
        stake=1,
        sequence=1,
        hlc=1,
    ).to_bytes()


class Listed:
    """A region's list with one right node, and a roster over it."""

    def __init__(self) -> None:
        self.presence = MemoryPresence()
        self.clock = ManualClock()
        self.storage = MemoryStorage()
        self.roster = Roster(self.presence, self.clock, REGION, EPOCH, self.storage)
        self.add(NODES[0].id, record_of(NODES[0]))

    def add(self, node: bytes, record: bytes, region: str = REGION) -> None:
        self.presence.register(self.clock.monotonic(), PresenceEntry(node, region, 1, record), ttl=30.0)

    def there(self) -> tuple[set[bytes], set[bytes]]:
        """Who may be chosen, and who can be asked."""
        members = self.roster.members()
        return {node for node in (n.id for n in NODES) if node in members.candidates}, set(members.addresses)


def test_right_entries_are_there() -> None:
    listed = Listed()
    for node in NODES[1:]:
        listed.add(node.id, record_of(node))
    everybody = {node.id for node in NODES}
    assert listed.there() == (everybody, everybody)


RIGHT = record_of(NODES[1])
FORGED = {
    "signature": RIGHT[:-1] + bytes([RIGHT[-1] ^ 1]),
    "another address under the old signature": RIGHT.replace(b"inproc:", b"inproC:"),
    "network": record_of(NODES[1], network=OTHER_NETWORK),
    "region": record_of(NODES[1], region="Delft"),
    "node": record_of(NODES[2]),
    "garbage": b"garbage",
    "nothing": b"",
    "cut": RIGHT[:-1],
    "longer": RIGHT + b"\0",
}


@pytest.mark.parametrize("record", FORGED.values(), ids=FORGED)
def test_a_wrong_entry_is_left_out(record: bytes) -> None:
    """And stays out at the next look; the right ones are not harmed, and the right record comes in later."""
    listed = Listed()
    listed.add(NODES[1].id, record)
    assert listed.there() == ({NODES[0].id}, {NODES[0].id})
    listed.add(NODES[3].id, record_of(NODES[3]))
    both = {NODES[0].id, NODES[3].id}
    assert listed.there() == (both, both)
    listed.presence.register(listed.clock.monotonic(), PresenceEntry(NODES[1].id, REGION, 2, RIGHT), ttl=30.0)
    three = {*both, NODES[1].id}
    assert listed.there() == (three, three)


def test_another_region_of_the_list_does_not_count() -> None:
    listed = Listed()
    listed.add(NODES[1].id, RIGHT, region="Delft")
    assert listed.there() == ({NODES[0].id}, {NODES[0].id})


def test_a_record_that_is_right_for_one_node_is_not_right_for_another() -> None:
    """The record was seen and found right under its own node before."""
    listed = Listed()
    listed.add(NODES[1].id, RIGHT)
    assert NODES[1].id in listed.there()[0]
    listed.add(NODES[2].id, RIGHT)
    two = {NODES[0].id, NODES[1].id}
    assert listed.there() == (two, two)


def test_who_holds_nothing_can_be_asked_but_not_chosen() -> None:
    listed = Listed()
    listed.add(NODES[1].id, record_of(NODES[1], roles=records.VALIDATOR))
    assert listed.there() == ({NODES[0].id}, {NODES[0].id, NODES[1].id})


def test_a_lease_that_has_ended() -> None:
    listed = Listed()
    listed.roster.members()
    listed.clock.advance(31.0)
    with pytest.raises(UnavailableError, match="no holder is logged in"):
        listed.roster.members()


def test_every_list_that_ever_was_is_known_by_its_root_and_no_other() -> None:
    listed = Listed()
    roots = [listed.roster.members().candidates.root]
    for node in NODES[1:]:
        listed.add(node.id, record_of(node))
        roots.append(listed.roster.members().candidates.root)
    assert len(set(roots)) == len(NODES)
    again = Roster(MemoryPresence(), listed.clock, REGION, EPOCH, listed.storage)
    for roster in (listed.roster, again):
        for count, root in enumerate(roots, start=1):
            known = roster.candidates(root)
            assert known is not None
            assert (known.root, len(known)) == (root, count)
        assert roster.candidates(bytes(32)) is None
