"""Post-quantum keys alone: a letter that only its reader opens, and that only its writer can have signed."""

from city_chain.algorithms.tes import kem, ml_dsa
from city_chain.errors import InputError, VerificationError

reader, writer = kem.SecretKey.generate(), ml_dsa.SigningKey.generate("ml-dsa-65")

# Only the public keys travel. The secret is fresh for each letter, and is a key for authenticated encryption.
ciphertext, secret = kem.encapsulate(reader.public_key)
print(
    f"{reader.suite}: {len(reader.public_key)} bytes of key, {len(ciphertext)} of ciphertext, {len(secret)} of secret"
)
assert reader.decapsulate(ciphertext) == secret

# A changed ciphertext is no error: it gives a secret that nobody else has, and says nothing about the right one.
changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
assert reader.decapsulate(changed) not in {secret, kem.SecretKey.generate().decapsulate(changed)}

# Every signature names its use, and serves for no other.
signature = writer.sign(ciphertext, context=b"letters")
ml_dsa.verify(writer.public_key, ciphertext, signature, context=b"letters")
print(f"{writer.parameters}: {len(writer.public_key)} bytes of key, {len(signature)} of signature")
for wrong, context in ((changed, b"letters"), (ciphertext, b"contracts")):
    try:
        ml_dsa.verify(writer.public_key, wrong, signature, context=context)
        raise SystemExit("a forged signature was accepted")
    except VerificationError as error:
        print("forged:", error)

# Keys say what they are. 34 bytes are all that must be kept of a secret one.
try:
    kem.encapsulate(writer.public_key)
    raise SystemExit("a key of another kind was accepted")
except InputError as error:
    print("mixed up:", error)
assert kem.SecretKey.from_bytes(reader.to_bytes()).decapsulate(ciphertext) == secret

# NTRU is there beside a classical half only, and experimental.
ntru = kem.SecretKey.generate("sntrup761-x25519")
sealed, shared = kem.encapsulate(ntru.public_key)
assert ntru.decapsulate(sealed) == shared
