"""Delegated Proof of Stake alone: an election, a leader's proposal, votes behind their journal, a certificate."""

from city_chain.proofs import dpos
from city_chain.records import Identity

people = [Identity(bytes([at]) * 32) for at in range(6)]
stakes = [(person.id, 10 + at) for at, person in enumerate(people)]
ballots = [(people[5].id, 0, [people[0].id, people[1].id])]
delegates = dpos.elect(1, stakes, ballots, seats=4)
shared = dpos.elect(1, stakes, ballots, seats=4, method="seq_phragmen")  # in proportion, not by majority
print(f"by approval {delegates}, by Phragmén's rule {shared}")
by_id = {person.id: person for person in people}

network, seed, digest = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
machines = {key: dpos.Delegate(by_id[key], delegates, network, seed, network) for key, _ in delegates.items}
journal: list[bytes] = []


def drain(machine: dpos.Delegate) -> dict[str, bytes]:
    """Carries out what a delegate wants done: first what must be durable, then what it says."""
    said: dict[str, bytes] = {}
    while effects := machine.drain():
        for kind, ticket, record in effects:
            if kind == "persist":
                journal.append(record)  # in earnest: to disk, synced
                machine.durable(ticket)
            else:
                said[kind] = record
    return said


leader = machines.pop(dpos.leader(delegates, seed, 1, 0))
leader.lead(0, digest)
said = drain(leader)
proposal, votes = dpos.Proposal.from_bytes(said["proposal"]), [dpos.Vote.from_bytes(said["vote"])]
for machine in machines.values():
    machine.propose(proposal)
    votes.append(dpos.Vote.from_bytes(drain(machine)["vote"]))

certificate, refused = dpos.collect(delegates, proposal.slot, votes)
certificate.verify(delegates)
for machine in (leader, *machines.values()):
    machine.committed(certificate)
    assert machine.tip == (1, digest)
assert refused == []
assert len(journal) == 4
print(f"{certificate}: {len(certificate.positions)} of {len(delegates)} delegates, quorum {delegates.quorum}")
