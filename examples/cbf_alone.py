"""Filters alone: "have I seen this id?" with a Bloom filter, "who may hold it?" with a cuckoo filter."""

from city_chain import cbf

ids = [f"transaction {i}".encode() for i in range(10_000)]
seen = cbf.Bloom(capacity=20_000, fpr=0.001)
seen.insert_many(ids)
print(f"{seen.table_len} bytes remember about {len(seen)} ids; strangers pass at {seen.estimated_fpr:.4%}")
assert all(i in seen for i in ids)
assert not seen.saturated

# Two filters of the same numbers become the filter of both sets. Packed keys of one width are the fastest way in.
elsewhere = cbf.Bloom(capacity=20_000, fpr=0.001)
digests = b"".join(i.to_bytes(32, "big") for i in range(5_000))
new = elsewhere.insert_many(digests, width=32)
both = seen | elsewhere
print(f"{new} more from elsewhere, about {len(both)} in all")
assert int.from_bytes(both.contains_many(digests, width=32), "little").bit_count() == 5_000

# A node tells the others what it holds, and forgets what it hands over.
inventory = cbf.Cuckoo(capacity=20_000)
inventory.insert_many(ids)
for i in ids[:5_000]:
    inventory.remove(i)
message = inventory.to_bytes()
told = cbf.Cuckoo.from_bytes(message)
answers = int.from_bytes(told.contains_many(ids), "little")
still = answers >> 5_000
print(f"a message of {len(message)} bytes: {len(told)} held, {5_000 - still.bit_count()} of them denied")

assert still.bit_count() == 5_000
assert (answers & ((1 << 5_000) - 1)).bit_count() < 20
