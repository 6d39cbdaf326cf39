"""Threshold encryption across the boundary: thresholds, forgeries, hostile bytes, secrecy."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms.tes import dkg, tdh2
from city_chain.errors import InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

LABEL, PLAIN = b"transaction 12", b"nobody reads this alone"
ORDER = 2**252 + 27742317777372353535851937790883648493


class City:
    """A key that parties made together."""

    def __init__(self, threshold: int, parties: int, scheme: str = "tdh2") -> None:
        setup = dkg.Setup(scheme, threshold=threshold, parties=parties, context=b"epoch 1")
        everybody = range(1, parties + 1)
        dealt = [dkg.deal(setup, dealer) for dealer in everybody]
        deals = [deal for deal, _ in dealt]
        self.threshold, self.keys = threshold, dkg.public_keys(setup, deals)
        self.secrets = [dkg.finalize(setup, i, deals, [own[i - 1] for _, own in dealt])[0] for i in everybody]

    def shares(self, ciphertext: bytes, label: bytes = LABEL) -> list[bytes]:
        capsule = tdh2.capsule_of(ciphertext)
        return [tdh2.decrypt_share(secret, self.keys.group_key, label, capsule) for secret in self.secrets]

    def combine(self, ciphertext: bytes, shares: list[bytes], label: bytes = LABEL) -> bytes:
        return tdh2.combine(self.keys.group_key, self.threshold, self.keys.shares, label, ciphertext, shares)


CITY = City(3, 5)
CIPHERTEXT = tdh2.encrypt(CITY.keys.group_key, LABEL, PLAIN)
CAPSULE = tdh2.capsule_of(CIPHERTEXT)
SHARES = CITY.shares(CIPHERTEXT)


def flipped(data: bytes, bit: int) -> bytes:
    wrong = bytearray(data)
    wrong[bit // 8] ^= 1 << bit % 8
    return bytes(wrong)


def test_sizes_are_as_documented() -> None:
    assert len(CIPHERTEXT) == len(PLAIN) + 176
    assert (len(CAPSULE), len(SHARES[0])) == (144, 130)
    assert CIPHERTEXT[:144] == CAPSULE
    assert (len(CITY.keys.group_key), len(CITY.keys.shares[0])) == (34, 36)
    assert [tdh2.share_index(share) for share in SHARES] == [1, 2, 3, 4, 5]


def test_any_threshold_of_the_parties_open_and_fewer_do_not() -> None:
    for count in range(6):
        for some in itertools.combinations(SHARES, count):
            if count >= 3:
                assert CITY.combine(CIPHERTEXT, list(some)) == PLAIN
            else:
                with pytest.raises(UnavailableError, match=f"needed 3, had {count}") as caught:
                    CITY.combine(CIPHERTEXT, list(some))
                assert (caught.value.needed, caught.value.had) == (3, count)


@settings(deadline=None, max_examples=20)
@given(label=st.binary(max_size=300), plain=st.binary(max_size=3000), order=st.permutations(range(5)))
def test_whatever_is_encrypted_comes_out(label: bytes, plain: bytes, order: list[int]) -> None:
    ciphertext = tdh2.encrypt(CITY.keys.group_key, bytearray(label), memoryview(plain))
    tdh2.verify_ciphertext(CITY.keys.group_key, label, ciphertext)
    shares = CITY.shares(ciphertext, label)
    assert CITY.combine(ciphertext, [shares[at] for at in order[:3]], label) == plain


def test_a_large_plaintext() -> None:
    plain = bytes(range(256)) * 8192
    ciphertext = tdh2.encrypt(CITY.keys.group_key, b"", plain)
    assert CITY.combine(ciphertext, CITY.shares(ciphertext, b"")[2:], b"") == plain


def test_every_flipped_bit_of_a_capsule_gets_no_share() -> None:
    for bit in range(8 * 144):
        with pytest.raises(VerificationError):
            tdh2.decrypt_share(CITY.secrets[0], CITY.keys.group_key, LABEL, flipped(CAPSULE, bit))
    for bit in range(0, 8 * 144, 7):
        with pytest.raises(VerificationError):
            tdh2.verify_capsule(CITY.keys.group_key, LABEL, flipped(CAPSULE, bit))


def test_bodies_labels_and_keys_cannot_be_exchanged() -> None:
    another = tdh2.encrypt(CITY.keys.group_key, LABEL, PLAIN)
    assert another != CIPHERTEXT
    for body in (another[144:], CIPHERTEXT[144:-1], CIPHERTEXT[144:] + b"0", flipped(CIPHERTEXT[144:], 0)):
        tdh2.verify_capsule(CITY.keys.group_key, LABEL, CAPSULE)
        with pytest.raises(VerificationError, match="its body is not the one"):
            tdh2.verify_ciphertext(CITY.keys.group_key, LABEL, CAPSULE + body)
        with pytest.raises(VerificationError, match="its body is not the one"):
            CITY.combine(CAPSULE + body, SHARES)
    for label in (b"", LABEL[:-1], LABEL + b"\0"):
        with pytest.raises(VerificationError, match="another key, label or body"):
            tdh2.decrypt_share(CITY.secrets[0], CITY.keys.group_key, label, CAPSULE)
        with pytest.raises(VerificationError, match="another key, label or body"):
            CITY.combine(CIPHERTEXT, SHARES, label)
    other = City(3, 5)
    with pytest.raises(VerificationError, match="another key, label or body"):
        tdh2.decrypt_share(CITY.secrets[0], other.keys.group_key, LABEL, CAPSULE)
    with pytest.raises(UnavailableError, match="index 1, 2, 3, 4, 5"):
        CITY.combine(another, SHARES)
    assert [type(one) for one in tdh2.verify_shares(other.keys.shares, LABEL, CAPSULE, SHARES)] == [
        VerificationError
    ] * 5


def test_points_and_scalars_that_are_none_are_refused() -> None:
    wrong = {
        "u is no point": bytes(32) + CAPSULE[32:],
        "ū is no point": CAPSULE[:32] + b"\xff" * 32 + CAPSULE[64:],
        "its proof is wrong": CAPSULE[:80]
        + (int.from_bytes(CAPSULE[80:112], "little") + ORDER).to_bytes(32, "little")
        + CAPSULE[112:],
    }
    for match, capsule in wrong.items():
        with pytest.raises(VerificationError, match=match):
            tdh2.decrypt_share(CITY.secrets[0], CITY.keys.group_key, LABEL, capsule)
    share, public = SHARES[0], CITY.keys.shares[0]
    bad = {
        "its value is no point": share[:2] + bytes(32) + share[34:],
        "z is not below": share[:98] + (int.from_bytes(share[98:], "little") + ORDER).to_bytes(32, "little"),
        "does not fit": share[:34] + bytes(32) + share[66:],
    }
    for match, value in bad.items():
        with pytest.raises(VerificationError, match=match):
            tdh2.verify_share(public, LABEL, CAPSULE, value)


def test_sizes_and_kinds_are_checked() -> None:
    key = CITY.keys.group_key
    for length in (0, 143, 145, 176):
        with pytest.raises(InputError, match=f"{length} bytes, exactly 144 are needed"):
            tdh2.verify_capsule(key, LABEL, bytes(length))
    for length in (0, 144, 175):
        with pytest.raises(InputError, match=f"{length} bytes, at least 176 are needed"):
            tdh2.capsule_of(bytes(length))
    for length in (0, 1, 129, 131):
        for call in (
            lambda share: tdh2.verify_share(CITY.keys.shares[0], LABEL, CAPSULE, share),
            lambda share: CITY.combine(CIPHERTEXT, [share]),
            tdh2.share_index,
        ):
            with pytest.raises(InputError, match=f"{length} bytes, exactly 130 are needed"):
                call(bytes(length))
    coin = City(3, 5, "coin")
    with pytest.raises(
        InputError, match="it is a public key of a coin, a public key of threshold encryption is needed"
    ):
        tdh2.encrypt(coin.keys.group_key, LABEL, PLAIN)
    with pytest.raises(InputError, match="it is a secret share of a coin"):
        tdh2.decrypt_share(coin.secrets[0], key, LABEL, CAPSULE)
    with pytest.raises(InputError, match="it is a public share of a coin"):
        tdh2.combine(key, 3, coin.keys.shares, LABEL, CIPHERTEXT, SHARES)
    with pytest.raises(InputError, match="it is a public share"):
        tdh2.encrypt(CITY.keys.shares[0], LABEL, PLAIN)


def test_indices_and_thresholds_are_checked() -> None:
    def named(index: int) -> list[bytes]:
        return [index.to_bytes(2, "little") + SHARES[0][2:], *SHARES[1:]]

    for index, match in {0: "0 is the index of no party", 2: "two decryption shares", 6: "there are 5 parties"}.items():
        with pytest.raises(InputError, match=match):
            CITY.combine(CIPHERTEXT, named(index))
    for threshold in (0, 6):
        with pytest.raises(InputError, match=f"the threshold {threshold} of 5 parties"):
            tdh2.combine(CITY.keys.group_key, threshold, CITY.keys.shares, LABEL, CIPHERTEXT, SHARES)
    with pytest.raises(InputError, match="more than 1024 items"):
        tdh2.combine(CITY.keys.group_key, 1, [CITY.keys.shares[0]] * 1025, LABEL, CIPHERTEXT, SHARES)
    with pytest.raises(VerificationError, match="it does not open"):  # a threshold too low is another polynomial's
        tdh2.combine(CITY.keys.group_key, 2, CITY.keys.shares, LABEL, CIPHERTEXT, SHARES)


def test_wrong_shares_are_left_out_and_named_if_too_few_remain() -> None:
    wrong = [SHARES[0][:2] + SHARES[1][2:], SHARES[1][:2] + b"\xff" * 128, *SHARES[2:]]
    assert CITY.combine(CIPHERTEXT, wrong) == PLAIN
    with pytest.raises(
        UnavailableError, match=r"wrong are those of the parties with index 1, 2.: needed 3, had 2"
    ) as caught:
        CITY.combine(CIPHERTEXT, wrong[:4])
    assert (caught.value.needed, caught.value.had) == (3, 2)
    verdicts = tdh2.verify_shares(iter(CITY.keys.shares), LABEL, CAPSULE, iter([*wrong, b"short"]))
    assert [type(one) for one in verdicts] == [VerificationError] * 2 + [type(None)] * 3 + [InputError]
    assert tdh2.verify_shares(CITY.keys.shares, LABEL, CAPSULE, []) == []


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=400))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    for call in (
        lambda: tdh2.verify_ciphertext(CITY.keys.group_key, LABEL, data),
        lambda: tdh2.decrypt_share(CITY.secrets[0], CITY.keys.group_key, LABEL, data),
        lambda: tdh2.verify_share(CITY.keys.shares[0], LABEL, CAPSULE, data),
        lambda: tdh2.verify_share(CITY.keys.shares[0], LABEL, CAPSULE, SHARES[0][:2] + data[:128].ljust(128, b"\0")),
        lambda: tdh2.encrypt(data, LABEL, PLAIN),
    ):
        with pytest.raises((InputError, VerificationError)):
            call()


def test_a_secret_share_gives_nothing_away() -> None:
    secret = CITY.secrets[0]
    hidden = secret.to_bytes()[4:]
    gives: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview]
    for give in gives:
        with pytest.raises(TypeError):
            give(secret)
    shown = [repr(secret), str(secret)]
    for wrong in (b"", bytes(144), flipped(CAPSULE, 3)):
        with pytest.raises((InputError, VerificationError)) as caught:
            tdh2.decrypt_share(secret, CITY.keys.group_key, LABEL, wrong)
        shown.append(str(caught.value))
    assert not [text for text in shown if hidden.hex() in text or repr(hidden)[2:-1] in text]
    assert hidden not in SHARES[0]


def test_a_share_is_proved_anew_each_time() -> None:
    again = CITY.shares(CIPHERTEXT)
    for one, two in zip(SHARES, again, strict=True):
        assert one[:34] == two[:34]
        assert one[34:66] != two[34:66]
        assert one[98:] != two[98:]


def test_many_threads_work_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: CITY.combine(CIPHERTEXT, CITY.shares(CIPHERTEXT)[1:4]), range(32))) == {PLAIN}
