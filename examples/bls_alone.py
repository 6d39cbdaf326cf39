"""BLS signatures alone: a council of five of whom any three sign, and nobody can do without two others."""

from city_chain.algorithms.tes import bls, dkg
from city_chain.errors import UnavailableError

# Everybody deals; what party i gets of each deal is for its eyes only.
setup = dkg.Setup("bls", threshold=3, parties=5, context=b"council, first term")
made = [dkg.deal(setup, dealer) for dealer in range(1, 6)]
deals = [deal for deal, _ in made]
members = [dkg.finalize(setup, at + 1, deals, [shares[at] for _, shares in made]) for at in range(5)]
keys = members[0][1]
assert all(other == keys for _, other in members)

# Three of them sign, one more wants to spoil it: the signature comes about, and it is known who did.
resolution = b"council v1: resolution 12"
shares = [bls.sign_share(share, resolution) for share, _ in members]
shares[1] = shares[1][:2] + shares[4][2:]
signature, wrong = bls.combine(keys.group_key, 3, keys.shares, resolution, shares[:4])
bls.verify(keys.group_key, resolution, signature)
print(f"signed in {len(signature)} bytes; wrong: {', '.join(map(str, wrong.values()))}")

# Whoever signs, the signature is the same; two are not enough.
assert bls.combine(keys.group_key, 3, keys.shares, resolution, shares[2:])[0] == signature
try:
    bls.combine(keys.group_key, 3, keys.shares, resolution, shares[3:])
    raise SystemExit("two shares made a signature of three")
except UnavailableError as error:
    print(f"two alone: {error}")

# Members with keys of their own can sign together too; each shows first that it has the secret of its key.
own = [bls.SecretKey.generate() for _ in range(3)]
proven = [bls.ProvenKey(key.public_key, key.prove_possession()) for key in own]
together = bls.aggregate(key.sign(resolution) for key in own)
bls.aggregate_verify(proven, resolution, together)
print(f"{len(proven)} keys, one signature of {len(together)} bytes")
