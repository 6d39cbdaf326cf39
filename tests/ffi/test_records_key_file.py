"""Key files across the boundary: what is kept, what is refused, and that no secret is shown."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import kem, ml_dsa
from city_chain.errors import InputError, VerificationError
from city_chain.records import KeyFile, PublicKeyFile, key_words

pytestmark = pytest.mark.ffi

KEMS = ["x-wing", "sntrup761-x25519"]
SIGNING = ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]
CHEAP = {"memory_kib": 8192, "passes": 1}
PASSPHRASE = b"correct horse"


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@pytest.fixture(scope="module")
def encrypted() -> KeyFile:
    return KeyFile.generate("x-wing", PASSPHRASE, **CHEAP)


@pytest.fixture(scope="module")
def plain() -> KeyFile:
    return KeyFile.generate("x-wing", None)


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEMS)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_kem_key_opens_what_was_sealed_to_its_public_key(kind, passphrase):
    file = KeyFile.from_bytes(KeyFile.generate(kind, passphrase, **CHEAP).to_bytes())
    assert (file.kind, file.is_encrypted) == (kind, passphrase is not None)
    ciphertext, secret = kem.encapsulate(file.public_key)
    handle = file.unlock_kem(passphrase)
    assert isinstance(handle, kem.SecretKey)
    assert handle.public_key == file.public_key
    assert handle.decapsulate(ciphertext) == secret
    with pytest.raises(InputError, match=f"of kind {kind} and opens"):
        file.unlock_signing(passphrase)


@pytest.mark.parametrize("kind", SIGNING)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_signing_key_signs_for_its_public_key(kind, passphrase):
    file = KeyFile.from_bytes(KeyFile.generate(kind, passphrase, **CHEAP).to_bytes())
    handle = file.unlock_signing(passphrase)
    assert isinstance(handle, ml_dsa.SigningKey)
    signature = handle.sign(b"message", context=b"context")
    ml_dsa.verify(file.public_key, b"message", signature, context=b"context")
    with pytest.raises(InputError, match=f"of kind {kind} and signs"):
        file.unlock_kem(passphrase)


@pytest.mark.parametrize("kind", KEMS + SIGNING)
def test_the_public_key_has_a_file_of_its_own(kind):
    file = KeyFile.generate(kind, None)
    public = PublicKeyFile(file.public_key)
    assert public == file.public == PublicKeyFile.from_bytes(public.to_bytes())
    assert (public.kind, public.id, public.public_key) == (kind, file.id, file.public_key)
    assert pickle.loads(pickle.dumps(public)) == public
    assert public.to_bytes()[:6] == b"CCpk\x01\0"
    assert file.public_key in public.to_bytes()
    assert len(public.to_bytes()) == 6 + 4 + len(file.public_key) + 32


def test_costs_are_kept_and_bounded(encrypted, plain):
    assert (encrypted.memory_kib, encrypted.passes, encrypted.lanes) == (8192, 1, 1)
    assert (plain.memory_kib, plain.passes, plain.lanes) == (None, None, None)
    usual = KeyFile.generate("x-wing", PASSPHRASE)
    assert (usual.memory_kib, usual.passes, usual.lanes) == (65536, 3, 1)
    other = KeyFile.generate("x-wing", PASSPHRASE, memory_kib=9000, passes=2, lanes=3)
    assert other.unlock_kem(PASSPHRASE).public_key == other.public_key
    for wrong in ({"memory_kib": 8191}, {"memory_kib": 2**20 + 1}, {"passes": 0}, {"passes": 17}, {"lanes": 0}):
        [(name, value)] = wrong.items()
        with pytest.raises(InputError, match=f"{name} is {value}, "):
            KeyFile.generate("x-wing", PASSPHRASE, **{**CHEAP, **wrong})
    with pytest.raises(InputError):
        KeyFile.generate("x-wing", PASSPHRASE, lanes=2**32)


def test_files_compare_by_all_that_they_hold(encrypted, plain):
    assert encrypted == KeyFile.from_bytes(bytearray(encrypted.to_bytes()))
    assert hash(encrypted) == hash(KeyFile.from_bytes(encrypted.to_bytes()))
    assert encrypted != plain
    assert encrypted != encrypted.to_bytes()
    assert KeyFile.from_bytes(flip(encrypted.to_bytes(), 8 * len(encrypted.to_bytes()) - 3)) != encrypted


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [b"correct horsf", b"Correct horse", b"correct horse ", b"\0" * 1024])
def test_a_wrong_passphrase_tells_no_more_than_that(encrypted, wrong):
    with pytest.raises(VerificationError) as caught:
        encrypted.unlock_kem(wrong)
    assert str(caught.value) == "key file: wrong passphrase, or the file was changed"


def test_what_is_needed_is_said(encrypted, plain):
    with pytest.raises(InputError, match="is encrypted; its passphrase is needed"):
        encrypted.unlock_kem()
    with pytest.raises(InputError, match="not encrypted; a passphrase is given"):
        plain.unlock_kem(PASSPHRASE)
    for wrong in (b"", bytes(1025)):
        with pytest.raises(InputError, match=f"a passphrase of {len(wrong)} bytes, 1 to 1024"):
            encrypted.unlock_kem(wrong)
        with pytest.raises(InputError, match=f"a passphrase of {len(wrong)} bytes, 1 to 1024"):
            KeyFile.generate("x-wing", wrong, **CHEAP)
    with pytest.raises(InputError, match='no kind "rsa"; x-wing, sntrup761-x25519, ml-dsa-44, ml-dsa-65, ml-dsa-87'):
        KeyFile.generate("rsa", None)


@pytest.mark.parametrize("poison", [7, "text", 1.5, [b"x"], object()])
def test_wrong_types_are_type_errors(encrypted, poison):
    for call in (
        lambda: encrypted.unlock_kem(poison),
        lambda: encrypted.unlock_signing(poison),
        lambda: KeyFile.from_bytes(poison),
        lambda: PublicKeyFile(poison),
        lambda: PublicKeyFile.from_bytes(poison),
        lambda: key_words(poison),
        lambda: KeyFile.generate("x-wing", poison),
        lambda: KeyFile.generate(b"x-wing", None),
        lambda: KeyFile.generate("x-wing", PASSPHRASE, passes="3"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError):
        KeyFile(b"")


def test_every_truncation_is_refused(encrypted, plain):
    for data, kind in (
        (encrypted.to_bytes(), KeyFile),
        (plain.to_bytes(), KeyFile),
        (plain.public.to_bytes(), PublicKeyFile),
    ):
        for end in range(len(data)):
            with pytest.raises(InputError):
                kind.from_bytes(data[:end])
        with pytest.raises(InputError):
            kind.from_bytes(data + b"\0")


def test_every_flipped_bit_of_a_plain_file_is_refused_or_does_not_unlock(plain):
    data = plain.to_bytes()
    for bit in range(8 * len(data)):
        with pytest.raises((InputError, VerificationError)):
            KeyFile.from_bytes(flip(data, bit)).unlock_kem()


@given(st.data())
@settings(max_examples=40)
def test_no_changed_file_opens(encrypted, data):
    whole = encrypted.to_bytes()
    tail = 8 * (66 + 32 + 12)  # sealed secret, salt and costs; what stands before has a hash
    bit = data.draw(st.integers(0, 8 * len(whole) - 1) | st.integers(8 * len(whole) - tail, 8 * len(whole) - 1))
    try:
        changed = KeyFile.from_bytes(flip(whole, bit))
    except InputError:
        return
    if (changed.memory_kib or 0) <= 65536:
        with pytest.raises(VerificationError, match="wrong passphrase, or the file was changed"):
            changed.unlock_kem(PASSPHRASE)


@given(st.binary(max_size=200), st.integers(0, 1400), st.integers(0, 200))
def test_what_is_read_is_what_would_be_written(plain, run, at, cut):
    data = plain.to_bytes()
    changed = data[:at] + run + data[at + cut :]
    for kind in (KeyFile, PublicKeyFile):
        try:
            again = kind.from_bytes(changed)
        except InputError:
            continue
        assert again.to_bytes() == changed


def test_no_hostile_cost_is_begun(encrypted):
    data = encrypted.to_bytes()
    at = len(data) - 66 - 32 - 12
    for field, value in ((0, 2**32 - 1), (0, 2**20 + 1), (0, 0), (1, 2**32 - 1), (1, 0), (2, 2**24), (2, 0)):
        place = at + 4 * field
        with pytest.raises(InputError, match="are allowed"):
            KeyFile.from_bytes(data[:place] + value.to_bytes(4, "little") + data[place + 4 :])


def test_parts_of_two_files_do_not_go_together(encrypted, plain):
    other = KeyFile.generate("x-wing", PASSPHRASE, **CHEAP)
    head = 6 + 4 + len(plain.public_key) + 32
    with pytest.raises(VerificationError, match="wrong passphrase, or the file was changed"):
        KeyFile.from_bytes(other.to_bytes()[:head] + encrypted.to_bytes()[head:]).unlock_kem(PASSPHRASE)
    with pytest.raises(VerificationError, match="not that of its public key"):
        KeyFile.from_bytes(other.to_bytes()[:head] + plain.to_bytes()[head:]).unlock_kem()


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEMS + SIGNING)
def test_no_secret_is_shown(kind):
    plain = KeyFile.generate(kind, None)
    seed = plain.to_bytes()[-32:]  # of a plain file the one place where it stands
    assert seed not in plain.to_bytes()[:-32]
    assert seed not in plain.public.to_bytes()
    handle = plain.unlock_kem() if kind in KEMS else plain.unlock_signing()
    for thing in (plain, plain.public, handle):
        for said in (repr(thing), str(thing), f"{thing}"):
            assert seed.hex() not in said
            assert seed not in said.encode("utf-8", "surrogateescape")
    for secret in (plain, handle):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copied(secret)
    for call in (lambda: plain.unlock_kem(b"x"), lambda: plain.unlock_signing(b"x")):
        with pytest.raises(InputError) as caught:
            call()
        assert seed.hex() not in str(caught.value)


def test_a_passphrase_is_in_no_error(encrypted):
    with pytest.raises(VerificationError) as caught:
        encrypted.unlock_kem(b"a passphrase of mine")
    assert "mine" not in str(caught.value)


def test_the_repr_says_what_it_is(encrypted, plain):
    assert repr(encrypted) == f"<KeyFile x-wing {encrypted.id.hex()[:8]}…, encrypted>"
    assert repr(plain) == f"<KeyFile x-wing {plain.id.hex()[:8]}…, not encrypted>"
    assert repr(plain.public) == f"PublicKeyFile({plain.id.hex()[:8]}…)"


def test_key_bytes_say_what_they_are(plain):
    assert key_words(plain.public_key) == "an X-Wing public key"
    assert key_words(plain.to_bytes()[-34:]) == "an X-Wing secret key"
    assert key_words(b"bp" + bytes(96)) == "a BLS public key"
    for other in (b"", b"x", b"xp", b"xp and more text", plain.public_key + b"\0", b"bp" + bytes(97), bytes(34)):
        assert key_words(other) is None
