"""Threshold encryption and the common coin alone: what no party reads, or knows, by itself."""

from city_chain.algorithms.tes import coin, dkg, tdh2
from city_chain.errors import UnavailableError, VerificationError


def key_of(scheme: str, threshold: int, parties: int) -> tuple[dkg.PublicKeys, list[dkg.SecretShare]]:
    """A key that the parties make together; in earnest each deals its shares sealed, and sees its own alone."""
    setup = dkg.Setup(scheme, threshold=threshold, parties=parties, context=b"epoch 7")
    dealt = [dkg.deal(setup, dealer) for dealer in range(1, parties + 1)]
    deals = [deal for deal, _ in dealt]
    indices = range(1, parties + 1)
    return dkg.public_keys(setup, deals), [
        dkg.finalize(setup, index, deals, [own[index - 1] for _, own in dealt])[0] for index in indices
    ]


# Four delegates, three of whom open what was sealed to their city.
keys, secrets = key_of("tdh2", 3, 4)
label = b"network, sender, sequence 12"
ciphertext = tdh2.encrypt(keys.group_key, label, b"a bid of 4,000")
capsule = tdh2.capsule_of(ciphertext)
shares = [tdh2.decrypt_share(secret, keys.group_key, label, capsule) for secret in secrets]
shares[0] = shares[0][:2] + shares[1][2:]  # the first one cheats

assert tdh2.combine(keys.group_key, 3, keys.shares, label, ciphertext, shares) == b"a bid of 4,000"
try:
    tdh2.combine(keys.group_key, 3, keys.shares, label, ciphertext, shares[:3])
    raise SystemExit("two good shares opened what needs three")
except UnavailableError as error:
    print("too few:", error)

# A ciphertext that is copied under another label gets no share.
try:
    tdh2.decrypt_share(secrets[1], keys.group_key, b"network, thief, sequence 0", capsule)
    raise SystemExit("a copied ciphertext got a share")
except VerificationError as error:
    print("copied:", error)

# A coin of which one party alone knows nothing, and which any two see alike.
keys, secrets = key_of("coin", 2, 4)
tossed = coin.Coin(2, keys.group_key, keys.shares)
names = [coin.Name(b"network", 7, b"agreement 1", number) for number in range(16)]
tosses = [tossed.combine(name, [tossed.share(secret, name) for secret in secrets[:2]]) for name in names]
assert tosses == [tossed.combine(name, [tossed.share(secret, name) for secret in secrets[2:]]) for name in names]
print("tosses:", "".join(str(int(toss.bit)) for toss in tosses))
