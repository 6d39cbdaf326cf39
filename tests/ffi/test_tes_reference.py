"""Threshold encryption and the common coin against a slow reference in plain integers.

ristretto255 as RFC 9496 writes it, BLAKE3 as its paper does (one chunk, which is all that is hashed here), TDH2 and the
coin as their module texts say. Nothing of it comes from the package. Ciphertexts and shares go both ways.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import coin, dkg, tdh2

pytestmark = pytest.mark.ffi

# --- BLAKE3 ----------------------------------------------------------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONAL = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 8, 16, 32, 64


def compress(chaining: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    state = [*chaining, *IV[:4], counter, 0, len(block), flags]

    def mix(places: tuple[int, int, int, int], x: int, y: int) -> None:
        a, b, c, d = places
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            state[a] = (state[a] + state[b] + word) % 2**32
            state[d] = rotate(state[d] ^ state[a], first)
            state[c] = (state[c] + state[d]) % 2**32
            state[b] = rotate(state[b] ^ state[c], second)

    for _ in range(7):
        for at, places in enumerate(MIXED + DIAGONAL):
            mix(places, words[2 * at], words[2 * at + 1])
        words = [words[place] for place in PERMUTATION]
    return tuple([state[i] ^ state[i + 8] for i in range(8)] + [state[i + 8] ^ chaining[i] for i in range(8)])


def rotate(word: int, by: int) -> int:
    return (word >> by | word << 32 - by) % 2**32


def blake3(data: bytes, length: int = 32, key: tuple[int, ...] = IV, flags: int = 0) -> bytes:
    assert len(data) <= 1024
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    chaining = key
    for at, block in enumerate(blocks[:-1]):
        chaining = compress(chaining, block, 0, flags | (START if at == 0 else 0))[:8]
    last = flags | END | ROOT | (START if len(blocks) == 1 else 0)
    out = [compress(chaining, blocks[-1], counter, last) for counter in range((length + 63) // 64)]
    return b"".join(struct.pack("<16I", *words) for words in out)[:length]


def keyed(key: bytes, data: bytes, length: int = 32) -> bytes:
    return blake3(data, length, struct.unpack("<8I", key), KEYED)


def derive(context: str, data: bytes, length: int = 32) -> bytes:
    key = blake3(context.encode(), 32, flags=CONTEXT)
    return blake3(data, length, struct.unpack("<8I", key), MATERIAL)


def field(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


# --- ristretto255 ----------------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P

type Point = tuple[int, int, int, int]

NEUTRAL: Point = (0, 1, 1, 0)


def negative(x: int) -> bool:
    return x % P % 2 == 1


def absolute(x: int) -> int:
    return -x % P if negative(x) else x % P


def sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    right, flipped, flipped_i = check == u % P, check == -u % P, check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        r = r * SQRT_M1
    return right or flipped, absolute(r)


def decode(encoded: bytes) -> Point:
    s = int.from_bytes(encoded, "little")
    assert s < P
    assert not negative(s)
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = sqrt_ratio(1, v * u2 * u2 % P)
    x = absolute(2 * s * inverse * u2)
    y = u1 * inverse * inverse * u2 * v % P
    assert square
    assert not negative(x * y)
    assert y
    return x, y, 1, x * y % P


def encode(point: Point) -> bytes:
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    inverse = sqrt_ratio(1, u1 * u2 * u2 % P)[1]
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = den1 * den2 * t % P
    den = den2
    if negative(t * z_inverse):
        x, y, den = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    if negative(x * z_inverse):
        y = -y
    return absolute(den * (z - y)).to_bytes(32, "little")


def add(one: Point, two: Point) -> Point:
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, two
    a, b = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * D * t1 * t2, 2 * z1 * z2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def mul(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    for bit in bin(scalar % ORDER)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def elligator(half: bytes) -> Point:
    t = int.from_bytes(half, "little") % 2**255 % P
    r = SQRT_M1 * t * t % P
    u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio(u, v)
    c = -1 if square else r
    s = s if square else -absolute(s * t)
    n = c * (r - 1) * D_MINUS_ONE_SQ - v
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def from_uniform(data: bytes) -> Point:
    return add(elligator(data[:32]), elligator(data[32:]))


G = decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))


def number(scalar: int) -> bytes:
    return (scalar % ORDER).to_bytes(32, "little")


# --- keys, shares, TDH2, coin ----------------------------------------------------------------------------------------


class Key:
    """A key shared by a polynomial that everybody knows."""

    def __init__(self, letter: bytes, terms: list[int], parties: int) -> None:
        self.letter, self.threshold = letter, len(terms)
        self.secrets = {i: sum(term * i**power for power, term in enumerate(terms)) for i in range(1, parties + 1)}
        self.secret = terms[0]
        self.group = encode(mul(terms[0], G))
        self.publics = [encode(mul(secret, G)) for secret in self.secrets.values()]

    @property
    def group_key(self) -> bytes:
        return self.letter + b"p" + self.group

    @property
    def public_shares(self) -> list[bytes]:
        return [self.letter + b"v" + struct.pack("<H", i + 1) + point for i, point in enumerate(self.publics)]

    def native(self, index: int) -> dkg.SecretShare:
        data = self.letter + b"x" + struct.pack("<H", index) + number(self.secrets[index])
        return dkg.SecretShare.from_bytes(data)


def interpolate(values: dict[int, Point]) -> Point:
    total = NEUTRAL
    for i, value in values.items():
        weight = 1
        for j in values:
            if j != i:
                weight = weight * j * pow(j - i, -1, ORDER) % ORDER
        total = add(total, mul(weight, value))
    return total


def prove(protocol: str, index: int, secret: int, base: Point, binding: bytes, k: int) -> bytes:
    value, first, second = encode(mul(secret, base)), encode(mul(k, G)), encode(mul(k, base))
    head, points = struct.pack("<H", index), value + first + second
    data = binding + head + encode(mul(secret, G)) + points
    c = int.from_bytes(derive(f"city-chain v1 {protocol} share challenge", data)[:16], "little")
    return head + points + number(k + c * secret)


def check(protocol: str, public: bytes, base: Point, binding: bytes, share: bytes) -> Point:
    head, (value, first, second) = share[:2], (share[2:34], share[34:66], share[66:98])
    data = binding + head + public + value + first + second
    c = int.from_bytes(derive(f"city-chain v1 {protocol} share challenge", data)[:16], "little")
    z = int.from_bytes(share[98:], "little")
    assert encode(mul(z, G)) == encode(add(decode(first), mul(c, decode(public))))
    assert encode(mul(z, base)) == encode(add(decode(second), mul(c, decode(value))))
    return decode(value)


SECOND = from_uniform(derive("city-chain v1 tdh2 second generator", b"", 64))


def body_key(group: bytes, label: bytes, u: bytes, shared: Point) -> bytes:
    return derive("city-chain v1 tdh2 key", encode(shared) + u + group + field(label))


def stream(key: bytes, data: bytes) -> bytes:
    mask = keyed(derive("city-chain v1 dem stream", key), b"", len(data))
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


def tag(key: bytes, label: bytes, data: bytes) -> bytes:
    return keyed(derive("city-chain v1 dem tag", key), field(label) + data)


def hashed(group: bytes, label: bytes, digest: bytes, u: bytes, w: Point, u2: bytes, w2: Point) -> bytes:
    data = group + digest + field(label) + u + encode(w) + u2 + encode(w2)
    return derive("city-chain v1 tdh2 challenge", data)[:16]


def encrypt(group: bytes, label: bytes, plain: bytes, r: int, s: int) -> bytes:
    u, u2 = encode(mul(r, G)), encode(mul(r, SECOND))
    key = body_key(group, label, u, mul(r, decode(group)))
    body = stream(key, plain)
    body += tag(key, label, body)
    digest = derive("city-chain v1 tdh2 body", body)
    e = hashed(group, label, digest, u, mul(s, G), u2, mul(s, SECOND))
    return u + u2 + e + number(s + r * int.from_bytes(e, "little")) + digest + body


def check_ciphertext(group: bytes, label: bytes, ciphertext: bytes) -> Point:
    u, u2, e, f = ciphertext[:32], ciphertext[32:64], ciphertext[64:80], int.from_bytes(ciphertext[80:112], "little")
    minus_e = -int.from_bytes(e, "little")
    w = add(mul(f, G), mul(minus_e, decode(u)))
    w2 = add(mul(f, SECOND), mul(minus_e, decode(u2)))
    assert hashed(group, label, ciphertext[112:144], u, w, u2, w2) == e
    assert derive("city-chain v1 tdh2 body", ciphertext[144:]) == ciphertext[112:144]
    return decode(u)


def binding_of(label: bytes, ciphertext: bytes) -> bytes:
    return derive("city-chain v1 tdh2 share", ciphertext[:144] + field(label))


def open_with(group: bytes, label: bytes, ciphertext: bytes, values: dict[int, Point]) -> bytes:
    key, sealed = body_key(group, label, ciphertext[:32], interpolate(values)), ciphertext[144:]
    assert tag(key, label, sealed[:-32]) == sealed[-32:]
    return stream(key, sealed[:-32])


def toss_base(name: bytes) -> Point:
    return from_uniform(derive("city-chain v1 coin point", name, 64))


# --- the reference itself --------------------------------------------------------------------------------------------


def test_the_reference_is_ristretto255_and_blake3() -> None:
    assert blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert blake3(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert SQRT_M1**2 % P == P - 1
    assert SQRT_AD_MINUS_ONE**2 % P == (-D - 1) % P
    assert INVSQRT_A_MINUS_D**2 * (-1 - D) % P == 1
    assert encode(mul(ORDER - 1, G)) != encode(NEUTRAL) == bytes(32) == encode(add(mul(ORDER - 1, G), G))
    folder = os.environ.get("CITY_CHAIN_VECTORS")
    if folder is None:
        pytest.skip("CITY_CHAIN_VECTORS is not set")
    file = json.loads((Path(folder) / "rfc9496_ristretto255.json").read_text())
    assert (len(file["multiples_of_generator"]), len(file["element_derivation"])) == (16, 11)
    for times, encoding in enumerate(file["multiples_of_generator"]):
        assert encode(mul(times, G)).hex() == encoding
    for case in file["element_derivation"]:
        assert encode(from_uniform(bytes.fromhex(case["uniform_bytes"]))).hex() == case["encoding"]


# --- both ways -------------------------------------------------------------------------------------------------------

KEY = Key(b"t", [2**251 + 12345, 678910, 1112131415], 5)
COIN = Key(b"c", [2**250 + 54321, 98765], 4)
SCALARS = st.integers(1, ORDER - 1)


@settings(deadline=None, max_examples=5)
@given(label=st.binary(max_size=40), plain=st.binary(max_size=200), r=SCALARS, s=SCALARS)
def test_what_the_reference_encrypts_is_opened(label: bytes, plain: bytes, r: int, s: int) -> None:
    ciphertext = encrypt(KEY.group, label, plain, r, s)
    tdh2.verify_ciphertext(KEY.group_key, label, ciphertext)
    shares = [tdh2.decrypt_share(KEY.native(i), KEY.group_key, label, ciphertext[:144]) for i in (4, 1, 5)]
    assert tdh2.combine(KEY.group_key, 3, KEY.public_shares, label, ciphertext, shares) == plain


@settings(deadline=None, max_examples=5)
@given(label=st.binary(max_size=40), plain=st.binary(max_size=200), k=SCALARS)
def test_what_is_encrypted_the_reference_opens(label: bytes, plain: bytes, k: int) -> None:
    ciphertext = tdh2.encrypt(KEY.group_key, label, plain)
    u, binding = check_ciphertext(KEY.group, label, ciphertext), binding_of(label, ciphertext)
    shares = {i: tdh2.decrypt_share(KEY.native(i), KEY.group_key, label, ciphertext[:144]) for i in (2, 3, 5)}
    values = {i: check("tdh2", KEY.publics[i - 1], u, binding, share) for i, share in shares.items()}
    assert open_with(KEY.group, label, ciphertext, values) == plain
    theirs = [prove("tdh2", i, KEY.secrets[i], u, binding, k) for i in (1, 2, 4)]
    assert tdh2.verify_shares(KEY.public_shares, label, ciphertext[:144], theirs) == [None] * 3
    assert tdh2.combine(KEY.group_key, 3, KEY.public_shares, label, ciphertext, theirs) == plain


@settings(deadline=None, max_examples=5)
@given(
    chain=st.binary(max_size=40), instance=st.binary(max_size=40), numbers=st.tuples(*[st.integers(0, 2**64 - 1)] * 2)
)
def test_coins_are_those_of_the_reference(chain: bytes, instance: bytes, numbers: tuple[int, int]) -> None:
    epoch, round_ = numbers
    name = field(chain) + struct.pack("<Q", epoch) + field(instance) + struct.pack("<Q", round_)
    base, binding = toss_base(name), derive("city-chain v1 coin share", name)
    made = coin.Coin(2, COIN.group_key, COIN.public_shares)
    named = coin.Name(chain, epoch, instance, round_)
    shares = {i: made.share(COIN.native(i), named) for i in (4, 2)}
    values = {i: check("coin", COIN.publics[i - 1], base, binding, share) for i, share in shares.items()}
    value = derive("city-chain v1 coin value", encode(mul(COIN.secret, base)))
    assert derive("city-chain v1 coin value", encode(interpolate(values))) == value
    theirs = prove("coin", 3, COIN.secrets[3], base, binding, epoch + 1)
    assert made.combine(named, [theirs, shares[2]]).value == made.combine(named, list(shares.values())).value == value
    assert made.combine(named, [theirs, shares[4]]).bit == bool(value[0] & 1)


# --- frozen ----------------------------------------------------------------------------------------------------------

GOLDEN_LABEL, GOLDEN_PLAIN = b"golden label", b"what was sealed once is opened for ever"
GOLDEN_CIPHERTEXT = (
    "28c9dd017c853864fe572d7f5b26222432d1c5025c15ef69435268f8e63dcf62c8b505e38121fd60eebc5c1879f65082d3c3"
    "a3e56ed667624b2588658bb26e6c3f27525fd5fd649aa4212fbd06e0a5feea2704b4faec72b0f7318d87031338b30ebd1200"
    "000000000000000000000000c84072055a00d482419bfadcf3dfb765f77e09422c1e588d637f05e618785be9182620a3c1d9"
    "03782e5f1d264d609009e7293e93a5c7de396d4f3201720e0f09ebe78a0a87f2c7b39e9a90e498ec3dba0420186689ea7f8e"
    "b7dd16a2f334a89458c3462eace9e4"
)
GOLDEN_SHARES = [
    (
        "05009a01f4d4cc930cd010d59d712e2975a1b64cea4b83f42af19c92ea718f81dd32c260777f1db1d28c731ee2477c02785b"
        "e7699f2ee1eec449a8ffa7cf710235640ae29822fedb8584d15306afc8d7780ce142013e532a55f11e21c0b9549c51070341"
        "68ac3260a7bfb340098797087e4fcf462294aba6fc47c0414fbcad08ca0f"
    ),
    (
        "02004a0b3eb73f473ad8674ce85671177f6a5cd9e5f5b52715cb39c1f5d77950fb3704afec17fe0f989814f320f27a768516"
        "e0381bdb6e27ffd5e057298f46d6207a448ad474ac7f4706a8a369b1778b8041ae9be53815751c465a2ef96a8ed27d1c2c8c"
        "f43b14dd067a6a3a2b7f7dcb1a661442d48ae045419bebecf3f1dc802b07"
    ),
    (
        "0300126240afce7cdb767d6752226dbfa722fe2a8b8fa4b496090a46a1810b676c24e617eb2361b5e8c5318dae3f20d5c13a"
        "37e5f01d4d04c867e2a60eb7fdb6ef1032251b2d951b58a65a6d6a6c7c86c9b4541c245499124769d41fcac5a5c2c260a32c"
        "4afc6ed208f3b72007f57b6a4e161d3e2b03e675b267036c13dc3d40d80e"
    ),
]
GOLDEN_TOSS = "533b1094ebf174486b374a72621c0f53d14ca5abe4f359344d4e1a45a0e1b6ad"


def test_frozen_bytes_open_for_ever() -> None:
    assert encrypt(KEY.group, GOLDEN_LABEL, GOLDEN_PLAIN, 1234567, 7654321).hex() == GOLDEN_CIPHERTEXT
    ciphertext, shares = bytes.fromhex(GOLDEN_CIPHERTEXT), [bytes.fromhex(share) for share in GOLDEN_SHARES]
    tdh2.verify_ciphertext(KEY.group_key, GOLDEN_LABEL, ciphertext)
    assert tdh2.verify_shares(KEY.public_shares, GOLDEN_LABEL, ciphertext[:144], shares) == [None] * 3
    assert tdh2.combine(KEY.group_key, 3, KEY.public_shares, GOLDEN_LABEL, ciphertext, shares) == GOLDEN_PLAIN


def test_a_frozen_toss_is_the_same_for_ever() -> None:
    made, name = coin.Coin(2, COIN.group_key, COIN.public_shares), coin.Name(b"chain", 1, b"agreement", 2)
    assert made.combine(name, [made.share(COIN.native(i), name) for i in (1, 2)]).value.hex() == GOLDEN_TOSS
