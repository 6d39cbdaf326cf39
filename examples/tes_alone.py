"""Threshold keys alone: four parties make keys that none of them has, sign and open with them, and hand them on."""

from city_chain.algorithms.tes import bls, dkg, tdh2
from city_chain.errors import UnavailableError, VerificationError

PARTIES = (1, 2, 3, 4)


def ceremony(scheme: str) -> tuple[list[dkg.SecretShare], dkg.PublicKeys]:
    """Everybody deals, everybody checks, everybody finishes; who would send what to whom is left out."""
    setup = dkg.Setup(scheme, threshold=3, parties=len(PARTIES), context=b"chain 7, epoch 1")
    made = [dkg.deal(setup, dealer) for dealer in PARTIES]
    published = [dkg.Deal.from_bytes(deal.to_bytes()) for deal, _ in made]
    ends = []
    for party in PARTIES:
        received = [shares[party - 1] for _, shares in made]  # sealed on the way, in earnest
        assert dkg.verify_deals(setup, party, published, received) == [None] * 4
        ends.append(dkg.finalize(setup, party, published, received))
    assert {keys for _, keys in ends} == {dkg.public_keys(setup, published)}
    return [share for share, _ in ends], ends[0][1]


# Three of four sign; which three cannot be seen. A wrong share is left out and named.
signers, signing = ceremony("bls")
shares = [bls.sign_share(share, b"block 7") for share in signers]
shares[0] = bls.sign_share(signers[0], b"another block")
signature, wrong = bls.combine(signing.group_key, 3, signing.shares, b"block 7", shares)
bls.verify(signing.group_key, b"block 7", signature)
print(f"signed by three of four, {len(signature)} bytes; party {', '.join(map(str, wrong))} left out")

# Anybody encrypts to the group; three of four open, and two do not.
readers, opening = ceremony("tdh2")
sealed = tdh2.encrypt(opening.group_key, b"transaction 9", b"until it is committed, nobody reads this")
capsule = tdh2.capsule_of(sealed)
parts = [tdh2.decrypt_share(share, opening.group_key, b"transaction 9", capsule) for share in readers[:3]]
plain = tdh2.combine(opening.group_key, 3, opening.shares, b"transaction 9", sealed, parts)
print(f"opened by three of four: {plain.decode()}")
try:
    tdh2.combine(opening.group_key, 3, opening.shares, b"transaction 9", sealed, parts[:2])
    raise SystemExit("two of four opened it")
except UnavailableError as error:
    print(f"by two: {error}")

# Five others take over: the group's key stays, old shares are worth nothing beside new ones.
others = dkg.Setup("bls", threshold=4, parties=5, context=b"chain 7, epoch 2")
handed = [dkg.reshare_deal(others, share) for share in signers[1:]]
deals = [deal for deal, _ in handed]
successors = [dkg.finalize_reshare(others, signing, at, deals, [to[at - 1] for _, to in handed]) for at in range(1, 6)]
new = successors[0][1]
assert new.group_key == signing.group_key
fresh = [bls.sign_share(share, b"block 8") for share, _ in successors]
bls.verify(signing.group_key, b"block 8", bls.combine(new.group_key, 4, new.shares, b"block 8", fresh[1:])[0])
try:
    bls.verify_share(new.shares[1], b"block 8", bls.sign_share(signers[1], b"block 8"))
    raise SystemExit("an old share was accepted")
except VerificationError as error:
    print(f"handed on to five, under the same key; an old share: {error}")
