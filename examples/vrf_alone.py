"""A verifiable random function alone: a draw that nobody can predict, steer or deny."""

import secrets

from city_chain import vrf
from city_chain.errors import VerificationError

players = {name: vrf.SecretKey(secrets.token_bytes(32)) for name in ("Ada", "Ben", "Eve")}
draw = vrf.alpha(network=bytes(32), epoch=7, role=1, seed=secrets.token_bytes(32))

# Everybody proves; everybody checks everybody; the lowest output wins.
published = {name: (key.public_key, key.prove(draw)) for name, key in players.items()}
outputs = {name: vrf.verify(public, draw, proof) for name, (public, proof) in published.items()}
winner = min(outputs, key=lambda name: outputs[name])
print("epoch 7:", {name: output.hex()[:8] for name, output in outputs.items()}, "->", winner, "wins")

# Nobody can claim another's proof, nor another output of their own: the proof fits one key and one input.
loser = next(name for name in players if name != winner)
try:
    vrf.verify(published[loser][0], draw, published[winner][1])
    raise SystemExit("a stolen proof was accepted")
except VerificationError as error:
    print(f"{loser} with {winner}'s proof: {error}")

assert outputs[winner] == vrf.proof_to_hash(players[winner].prove(draw))

# A committee of about 50 out of 1000 units of stake: long proofs are checked together, and each output says how many of
# its holder's units are elected. Somebody's wrong proof spoils nobody else's.
stakes = {vrf.SecretKey(secrets.token_bytes(32)): 40 for _ in range(25)}
claims = [(key.public_key, draw, key.prove_batchable(draw)) for key in stakes]
claims[3] = (claims[3][0], draw, claims[4][2])
verdicts = vrf.verify_many(claims)
seats = [
    vrf.sortition(verdict, weight, total=1000, expected=50) if isinstance(verdict, bytes) else 0
    for verdict, weight in zip(verdicts, stakes.values(), strict=True)
]
assert [isinstance(verdict, VerificationError) for verdict in verdicts].count(True) == 1
print(
    f"committee: {sum(seats)} seats for {sum(seat > 0 for seat in seats)} of {len(stakes)} holders; one proof refused"
)
