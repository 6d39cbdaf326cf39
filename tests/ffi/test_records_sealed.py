"""Sealed payloads across the boundary: what opens them, hostile bytes, wrong arguments, secrets that nobody sees."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import records
from city_chain.algorithms.tes import dkg, kem, tdh2
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.records import Sealed, seal_to_city, seal_to_readers

pytestmark = pytest.mark.ffi

NETWORK, SENDER = bytes([1]) * 32, bytes([2]) * 32
ABOUT: dict[str, Any] = {"network": NETWORK, "sender": SENDER}
PLAIN = b"sixteen bytes and some more that nobody reads"
PAYLOAD_MAX = 64 << 20


class Delegates:
    """The delegates of a city: public keys, and the share that each of them has."""

    def __init__(self, threshold: int = 2, parties: int = 3) -> None:
        setup = dkg.Setup("tdh2", threshold=threshold, parties=parties, context=b"tests of sealing")
        dealt = [dkg.deal(setup, dealer) for dealer in range(1, parties + 1)]
        deals = [deal for deal, _ in dealt]
        self.secrets = []
        for at in range(parties):
            secret, self.keys = dkg.finalize(setup, at + 1, deals, [shares[at] for _, shares in dealt])
            self.secrets.append(secret)
        self.public = self.keys.group_key

    def decrypt(self, capsule: bytes, label: bytes) -> list[bytes]:
        return [tdh2.decrypt_share(secret, self.public, label, capsule) for secret in self.secrets]

    def combine(self, sealed: Sealed, shares: list[bytes]) -> bytes:
        return sealed.combine(self.public, threshold=self.keys.threshold, public_shares=self.keys.shares, shares=shares)


DELEGATES = Delegates()
READER = kem.SecretKey(bytes(range(32)))
STRANGER = kem.SecretKey(bytes(32))


def to_city(plain: bytes = PLAIN, sequence: int = 3) -> Sealed:
    [payload] = seal_to_city(DELEGATES.public, [(sequence, plain)], **ABOUT)
    return Sealed.from_bytes(payload)


def to_readers(plain: bytes = PLAIN, sequence: int = 3) -> Sealed:
    [payload] = seal_to_readers([READER.public_key], [(sequence, plain)], **ABOUT)
    return Sealed.from_bytes(payload)


@pytest.fixture(scope="module")
def carried(city: Any) -> Callable[..., tuple[records.Manifest, records.Transaction]]:
    """A manifest and a transaction that carries a sealed payload."""

    def make(seal: str, sequence: int = 0, plain: bytes = PLAIN) -> tuple[records.Manifest, records.Transaction]:
        about = {"network": city.epoch.network, "sender": city.sender.id}
        items = [(sequence, plain)]
        if seal == "city":
            [payload] = seal_to_city(DELEGATES.public, items, **about)
        else:
            [payload] = seal_to_readers([READER.public_key], items, **about)
        transaction = city.transaction(sequence, payload)
        return city.manifest(transaction), transaction

    return make


# --- to the city -----------------------------------------------------------------------------------------------------


def test_a_threshold_of_shares_opens_and_fewer_do_not(carried):
    manifest, transaction = carried("city")
    sealed = Sealed.of_committed(manifest, transaction)
    shares = DELEGATES.decrypt(sealed.capsule, manifest.opening_label(sealed.capsule))
    assert DELEGATES.combine(sealed, shares) == PLAIN
    assert DELEGATES.combine(sealed, shares[1:]) == PLAIN
    for few in (shares[:1], shares[2:], []):
        with pytest.raises(UnavailableError) as caught:
            DELEGATES.combine(sealed, few)
        assert (caught.value.needed, caught.value.had) == (2, len(few))
        assert PLAIN.hex() not in str(caught.value)


def test_wrong_shares_are_told_apart(carried):
    manifest, transaction = carried("city")
    sealed = Sealed.of(transaction)
    good = DELEGATES.decrypt(sealed.capsule, manifest.opening_label(sealed.capsule))
    wrong = [good[0][:10] + bytes([good[0][10] ^ 1]) + good[0][11:], *good[1:]]
    verdicts = sealed.verify_shares(DELEGATES.public, public_shares=DELEGATES.keys.shares, shares=wrong)
    assert [type(verdict) for verdict in verdicts][1:] == [type(None)] * 2
    assert isinstance(verdicts[0], CityChainError)
    assert DELEGATES.combine(sealed, wrong) == PLAIN
    with pytest.raises(UnavailableError):
        DELEGATES.combine(sealed, wrong[:2])


def test_the_manifest_names_capsule_and_label(carried):
    manifest, transaction = carried("city")
    other, _ = carried("city", sequence=1)
    sealed = Sealed.of(transaction)
    assert manifest.cipher == "city"
    assert len(manifest.capsule_hash) == 32
    label = manifest.opening_label(sealed.capsule)
    for wrong in (b"", sealed.capsule[:-1], sealed.capsule + b"x", bytes(len(sealed.capsule))):
        with pytest.raises(VerificationError, match="the capsule has the hash"):
            manifest.opening_label(wrong)
    with pytest.raises(VerificationError, match="the capsule has the hash"):
        other.opening_label(sealed.capsule)
    readers, _ = carried("readers")
    with pytest.raises(VerificationError, match="is not sealed to the city"):
        readers.opening_label(sealed.capsule)
    assert DELEGATES.decrypt(sealed.capsule, label)
    for wrong in (bytes(32), label[:-1], b""):
        with pytest.raises(VerificationError):
            DELEGATES.decrypt(sealed.capsule, wrong)


def test_another_citys_shares_and_keys_do_not_open(carried):
    manifest, transaction = carried("city")
    sealed, others = Sealed.of(transaction), Delegates()
    shares = DELEGATES.decrypt(sealed.capsule, manifest.opening_label(sealed.capsule))
    with pytest.raises(VerificationError):
        others.combine(sealed, shares)
    with pytest.raises(VerificationError):
        others.decrypt(sealed.capsule, manifest.opening_label(sealed.capsule))
    verdicts = sealed.verify_shares(DELEGATES.public, public_shares=others.keys.shares, shares=shares)
    assert all(isinstance(verdict, CityChainError) for verdict in verdicts)


# --- to readers ------------------------------------------------------------------------------------------------------


def test_every_reader_opens_and_others_are_told_who_could():
    readers = [kem.SecretKey.generate(suite) for suite in ("x-wing", "sntrup761-x25519", "x-wing")]
    [payload] = seal_to_readers([reader.public_key for reader in readers], [(0, PLAIN)], **ABOUT)
    sealed = Sealed.from_bytes(payload)
    assert sealed.readers == sorted(kem.PublicKey(reader.public_key).id for reader in readers)
    for reader in readers:
        assert sealed.open(reader) == PLAIN
    with pytest.raises(InputError) as caught:
        sealed.open(STRANGER)
    for reader in readers:
        assert kem.PublicKey(reader.public_key).id.hex() in str(caught.value)


def test_what_is_sealed_to_one_kind_does_not_open_as_the_other():
    with pytest.raises(InputError, match="it is sealed to the city"):
        to_city().open(READER)
    with pytest.raises(InputError, match="it is sealed to readers"):
        DELEGATES.combine(to_readers(), [])
    with pytest.raises(InputError, match="it is sealed to readers"):
        to_readers().verify_shares(DELEGATES.public, public_shares=DELEGATES.keys.shares, shares=[])
    assert (to_readers().capsule, to_city().readers) == (None, [])


# --- what a transaction carries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seal", ["city", "readers"])
def test_a_transaction_is_sealed_by_what_it_carries(city, carried, seal):
    manifest, transaction = carried(seal)
    sealed = Sealed.of(transaction)
    assert (sealed.network, sealed.sender, sealed.sequence) == (city.epoch.network, city.sender.id, 0)
    assert sealed.to_bytes() == transaction.payload
    assert manifest.cipher == seal
    manifest.verify()
    assert records.Manifest.from_bytes(manifest.to_bytes()) == manifest
    item = (transaction, len(transaction.to_bytes()), city.hashes, city.selection(0))
    assert records.Manifest.many(city.sender, [item], k=2, n=4, quorum=3)[0].cipher == seal
    assert Sealed.of_committed(manifest, transaction) == sealed
    for other in (city.transaction(1, transaction.payload), city.transaction(0, transaction.payload + b"x")):
        assert Sealed.of(other) is None
        assert city.manifest(other).cipher is None
        assert Sealed.of_committed(city.manifest(other), other) is None
        with pytest.raises(VerificationError):
            Sealed.of_committed(manifest, other)


def test_what_is_committed_must_be_sealed_as_its_manifest_says(carried):
    manifest, transaction = carried("city")
    for seal in ("city", "readers"):
        _, other = carried(seal)
        with pytest.raises(VerificationError, match="it is not sealed as the manifest says"):
            Sealed.of_committed(manifest, other)
    assert Sealed.of_committed(manifest, transaction) is not None


# --- hostile bytes ---------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_what_readers_get_is_refused():
    payload = to_readers(b"p").to_bytes()
    for bit in range(len(payload) * 8):
        wrong = bytearray(payload)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CityChainError):
            Sealed.from_bytes(wrong).open(READER)


def test_every_flipped_bit_of_what_the_city_gets_is_refused(carried):
    """Shares were made for the capsule that was committed."""
    manifest, transaction = carried("city", plain=b"p")
    right = Sealed.of(transaction)
    shares = DELEGATES.decrypt(right.capsule, manifest.opening_label(right.capsule))
    for bit in range(len(transaction.payload) * 8):
        wrong = bytearray(transaction.payload)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CityChainError):
            DELEGATES.combine(Sealed.from_bytes(wrong), shares)


@pytest.mark.parametrize("make", [to_city, to_readers])
def test_every_cut_and_every_addition_is_refused(make):
    payload = make().to_bytes()
    for end in range(len(payload)):
        with pytest.raises(InputError):
            Sealed.from_bytes(payload[:end])
    with pytest.raises(InputError):
        Sealed.from_bytes(payload + b"\0")


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data):
    for candidate in (data, b"CCsl\x01\x00" + data, b"CCsl\x01\x00" + bytes(72) + b"\x01" + data):
        with suppress(InputError):
            assert Sealed.from_bytes(candidate).to_bytes() == candidate


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=3000), st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_whatever_was_sealed_opens(plain, sequence, network):
    about = {"network": network, "sender": SENDER}
    [payload] = seal_to_readers([READER.public_key], [(sequence, plain)], **about)
    sealed = Sealed.from_bytes(payload)
    assert sealed.open(READER) == plain
    assert (sealed.network, sealed.sequence) == (network, sequence)
    assert len(payload) == len(plain) + 119 + 1221
    [payload] = seal_to_city(DELEGATES.public, [(sequence, plain)], **about)
    assert Sealed.from_bytes(payload).sequence == sequence
    assert len(payload) == len(plain) + 259
    for at in range(0, len(plain) - 15, 8):
        assert plain[at : at + 16] not in payload[-len(plain) - 32 :]


def test_large_payloads_are_sealed_and_opened():
    plain = random.Random(1).randbytes(5_000_000)
    assert to_readers(plain).open(READER) == plain


@pytest.mark.parametrize("mutable", [bytearray, memoryview])
def test_any_buffer_is_taken(mutable):
    [payload] = seal_to_readers([mutable(READER.public_key)], [(1, mutable(PLAIN))], **ABOUT)
    assert Sealed.from_bytes(mutable(payload)).open(READER) == PLAIN


# --- wrong arguments -------------------------------------------------------------------------------------------------


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no reader": (lambda: seal_to_readers([], [], **ABOUT), InputError, "0 readers"),
    "too many": (lambda: seal_to_readers([READER.public_key] * 65, [], **ABOUT), InputError, "64"),
    "twice": (lambda: seal_to_readers([READER.public_key] * 2, [], **ABOUT), InputError, "named twice"),
    "a cut key": (lambda: seal_to_readers([READER.public_key[:-1]], [], **ABOUT), InputError, "1217 bytes"),
    "another kind of key": (lambda: seal_to_readers([DELEGATES.public], [], **ABOUT), InputError, "threshold"),
    "a secret key": (lambda: seal_to_readers([READER.to_bytes()], [], **ABOUT), InputError, "secret key"),
    "a reader's key for the city": (lambda: seal_to_city(READER.public_key, [], **ABOUT), InputError, "X-Wing"),
    "no key": (lambda: seal_to_city(b"", [], **ABOUT), InputError, "not known"),
    "one key as readers": (lambda: seal_to_readers(READER.public_key, [], **ABOUT), TypeError, "bytes"),
    "text": (lambda: seal_to_readers(["key"], [], **ABOUT), TypeError, "not str"),
    "a short network": (lambda: seal_to_city(DELEGATES.public, [], network=b"", sender=SENDER), InputError, "network"),
    "a short sender": (lambda: seal_to_city(DELEGATES.public, [], network=NETWORK, sender=b""), InputError, "sender"),
    "a sequence below 0": (lambda: seal_to_city(DELEGATES.public, [(-1, b"")], **ABOUT), InputError, "must be 0 to"),
    "a sequence too large": (lambda: seal_to_city(DELEGATES.public, [(2**64, b"")], **ABOUT), InputError, "1844"),
    "a pair of three": (lambda: seal_to_city(DELEGATES.public, [(1, b"", b"")], **ABOUT), InputError, "tuple of 3"),  # type: ignore[list-item]
    "no pair": (lambda: seal_to_city(DELEGATES.public, [b"x"], **ABOUT), TypeError, "tuple"),  # type: ignore[list-item]
    "too large": (
        lambda: seal_to_city(DELEGATES.public, [(0, bytes(PAYLOAD_MAX - 258))], **ABOUT),
        InputError,
        "and 259 for its sealing; together at most 67108864",
    ),
    "too large with one reader": (
        lambda: seal_to_readers([READER.public_key], [(0, bytes(PAYLOAD_MAX))], **ABOUT),
        InputError,
        "and 1340 for its sealing",
    ),
    "a key that is none": (lambda: to_readers().open(READER.to_bytes()), TypeError, "bytes"),  # type: ignore[arg-type]
    "threshold 0": (
        lambda: to_city().combine(DELEGATES.public, threshold=0, public_shares=DELEGATES.keys.shares, shares=[]),
        InputError,
        "threshold",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused_with_the_reason(case):
    call, error, words = WRONG[case]
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert READER.to_bytes().hex() not in str(caught.value)


def test_nobody_makes_one_by_hand():
    with pytest.raises(TypeError):
        Sealed()  # type: ignore[call-arg]


# --- secrets, copies, threads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [to_city, to_readers])
def test_a_sealed_payload_shows_nothing_of_what_is_in_it(make):
    sealed = make()
    shown = f"{sealed!r} {sealed}"
    assert shown.startswith("Sealed(")
    for secret in (PLAIN, PLAIN.hex().encode(), READER.to_bytes(), READER.to_bytes().hex().encode()):
        assert secret not in shown.encode()
        assert secret not in pickle.dumps(sealed)
    assert pickle.loads(pickle.dumps(sealed)) == sealed == copy.deepcopy(sealed)
    assert hash(sealed) == hash(Sealed.from_bytes(sealed.to_bytes()))
    assert sealed != make()


def test_many_threads_seal_and_open_at_once():
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for at in range(20):
                plain = random.Random(seed * 100 + at).randbytes(2000)
                assert to_readers(plain, at).open(READER) == plain
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
