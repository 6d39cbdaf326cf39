"""Erasure coding alone: a file in ten fragments, four of them lost, restored and made whole again."""

from pathlib import Path

from city_chain import ec

data = Path(__file__).read_bytes()
encoded = ec.encode(data, k=6, p=4)
print(f"{len(data)} bytes -> {encoded.n} fragments of {encoded.fragment_len} bytes ({encoded.code})")

# Four holders are gone; one of the six left was damaged on its disk. The hashes tell: that makes five, one too many.
held = {i: bytes(encoded[i]) for i in (0, 2, 3, 5, 7, 8, 9)}
held[3] = b"\0" + held[3][1:]
survivors = {i: f for i, f in held.items() if ec.encode(f, 1, 0).hashes[0] == encoded.hashes[i]}
print(f"fragments {sorted(survivors)} are whole, {sorted(held.keys() - survivors.keys())} are damaged")

restored = ec.decode(survivors, 6, 4, len(data))
lost = sorted(set(range(encoded.n)) - survivors.keys())
rebuilt = ec.rebuild(survivors, lost, 6, 4, len(data))
print(f"restored {len(restored)} bytes and rebuilt fragments {sorted(rebuilt)}")

assert restored == data
assert all(fragment == encoded[i] for i, fragment in rebuilt.items())
