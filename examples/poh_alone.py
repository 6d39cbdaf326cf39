"""Proof of Hold alone: a node proves that it has a fragment, and what it says can be checked by anybody."""

from city_chain.errors import VerificationError
from city_chain.proofs import dpos, poh
from city_chain.records import Candidates, Draw, Epoch, Identity, Manifest, Transaction

sender, node = Identity(b"\x01" * 32), Identity(b"\x02" * 32)
epoch = Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(node.id, 1)]))
candidates = Candidates(epoch.network, "Utrecht", [(node.id, 65536, "north")])
transaction = Transaction(sender, network=epoch.network, sequence=0, hlc=1, payload=b"hello")
fragment = transaction.to_bytes()  # one fragment: the whole
digest = poh.hash_fragment(fragment)
[selection] = Draw(sender, epoch).select_many(candidates, sender.id, [0], 1)
shape = {"length": len(fragment), "k": 1, "n": 1, "quorum": poh.write_quorum(1, 1)}
manifest = Manifest(sender, transaction=transaction, fragment_hashes=[digest], selection=selection, **shape)

challenge = poh.challenge(b"\x03" * 32, node.id, 0)
item = (manifest, digest, node.id, 0, challenge)
[request] = poh.request_many(sender, [item], hlc=2, deadline_ms=1_000, hold_until_ms=2_000)
[ack] = poh.hold_many(node, [(request, fragment)], 3)

assert poh.verify_acks([ack]) == [None]
ack.verify_answers(request)
ack.verify_held(fragment)
try:
    poh.hold_many(node, [(request, b"something else")], 3)
except VerificationError as error:
    print(f"refused: {error}")
else:
    raise AssertionError("a node acknowledged what it does not hold")
blocks = poh.audit_challenge(b"\x04" * 32, len(fragment), poh.audit_blocks(len(fragment)))  # later
answer = poh.audit_answer(fragment, blocks)
poh.audit_verify(digest, len(fragment), blocks, answer)  # by somebody who has the manifest and no fragment
print(f"audited: {len(answer)} bytes show {len(blocks)} block")
print(f"{ack}: held until {ack.hold_until_ms} ms")
