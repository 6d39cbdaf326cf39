"""Rendezvous hashing alone: who holds which key, and what moves when a node goes."""

from city_chain import rvh

names = [f"node-{i}" for i in range(20)]
districts = [("north", "south", "east")[i % 3].encode() for i in range(20)]
nodes = rvh.NodeSet([name.encode() for name in names], domains=districts)

key = b"transaction 42"
holders = nodes.pick(key, 3)
print("holders of", key.decode(), "are", [f"{names[i]} ({districts[i].decode()})" for i in holders])
assert len({districts[i] for i in holders}) == 3

# 1,000 keys in one call; then node 7 leaves.
keys = [f"key-{i}".encode() for i in range(1_000)]
owners = memoryview(nodes.pick_many(keys, 1)).cast("I").tolist()
left = [i for i in range(20) if i != 7]
smaller = rvh.NodeSet([names[i].encode() for i in left], domains=[districts[i] for i in left])
moved = nodes.owner_changes(smaller, keys, 1)
print(f"node-7 goes: {len(moved)} of {len(keys)} keys move, the {owners.count(7)} that it held")

assert moved == [i for i, owner in enumerate(owners) if owner == 7]

# A node that is down for now: the others keep their order, and only its keys get another holder.
flat = rvh.NodeSet([name.encode() for name in names], weights=[1 + i % 3 for i in range(20)])
down = flat.pick(key, 3)[0]
held = memoryview(flat.pick_many(keys, 3)).cast("I").tolist()
for_now = memoryview(flat.pick_many(keys, 3, exclude=[down])).cast("I").tolist()
affected = sum(held[i : i + 3] != for_now[i : i + 3] for i in range(0, len(held), 3))
print(f"{names[down]} is down: {affected} of {len(keys)} keys have another holder for now")

assert affected == held.count(down)
assert down not in for_now
