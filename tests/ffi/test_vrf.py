"""The verifiable random function across the boundary: RFC 9381's examples, forgeries, secrecy."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import vrf
from city_chain.errors import InputError, VerificationError

pytestmark = pytest.mark.ffi

ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 9381, appendix B.4, examples 19 to 21: secret key, public key, alpha, proof, output.
EXAMPLES = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "7d9c633ffeee27349264cf5c667579fc583b4bda63ab71d001f89c10003ab46f14adf9a3cd8b8412d9038531e865c341"
        "cafa73589b023d14311c331a9ad15ff2fb37831e00f0acaa6d73bc9997b06501",
        "9d574bf9b8302ec0fc1e21c3ec5368269527b87b462ce36dab2d14ccf80c53cccf6758f058c5b1c856b116388152bbe5"
        "09ee3b9ecfe63d93c3b4346c1fbc6c54",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "47b327393ff2dd81336f8a2ef10339112401253b3c714eeda879f12c509072ef055b48372bb82efbdce8e10c8cb9a2f9"
        "d60e93908f93df1623ad78a86a028d6bc064dbfc75a6a57379ef855dc6733801",
        "38561d6b77b71d30eb97a062168ae12b667ce5c28caccdf76bc88e093e4635987cd96814ce55b4689b3dd2947f80e59a"
        "ac7b7675f8083865b46c89b2ce9cc735",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "926e895d308f5e328e7aa159c06eddbe56d06846abf5d98c2512235eaa57fdce35b46edfc655bc828d44ad09d1150f31"
        "374e7ef73027e14760d42e77341fe05467bb286cc2c9d7fde29120a0b2320d04",
        "121b7f9b9aaaa29099fc04a94ba52784d44eac976dd1a3cca458733be5cd090a7b5fbd148444f17f8daf1fb55cb04b1a"
        "e85a626e30a54b4b0f8abf4a43314a58",
    ),
]


@pytest.mark.parametrize(("seed", "public", "alpha", "proof", "output"), EXAMPLES)
def test_rfc_9381_examples(seed: str, public: str, alpha: str, proof: str, output: str) -> None:
    key = vrf.SecretKey(bytes.fromhex(seed))
    assert key.public_key.hex() == public
    made = key.prove(bytes.fromhex(alpha))
    assert made.hex() == proof
    assert vrf.verify(key.public_key, bytes.fromhex(alpha), made).hex() == output
    assert vrf.proof_to_hash(made).hex() == output


def test_the_official_file() -> None:
    folder = os.environ.get("CITY_CHAIN_VECTORS")
    if folder is None:
        pytest.skip("CITY_CHAIN_VECTORS is not set")
    file = json.loads((Path(folder) / "rfc9381_ecvrf_edwards25519.json").read_text())
    cases = [case for case in file["cases"] if case["suite_string"] == "04"]
    assert len(cases) == 3
    for case in cases:
        key, alpha = vrf.SecretKey(bytes.fromhex(case["sk"])), bytes.fromhex(case["alpha"])
        assert key.prove(alpha).hex() == case["pi"]
        assert vrf.verify(bytes.fromhex(case["pk"]), alpha, bytes.fromhex(case["pi"])).hex() == case["beta"]


def test_every_flipped_bit_is_refused() -> None:
    key = vrf.SecretKey(bytes([3]) * 32)
    proof, public = key.prove(b"input"), key.public_key
    for bit in range(0, 80 * 8, 3):
        wrong = bytearray(proof)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            vrf.verify(public, b"input", wrong)
    for bit in range(0, 256, 5):
        wrong = bytearray(public)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            vrf.verify(wrong, b"input", proof)
    with pytest.raises(VerificationError, match="does not fit"):
        vrf.verify(public, b"inpuu", proof)


def test_malleated_and_degenerate_values_are_refused() -> None:
    key = vrf.SecretKey(bytes([3]) * 32)
    proof = key.prove(b"input")
    raised = proof[:48] + (int.from_bytes(proof[48:], "little") + ORDER).to_bytes(32, "little")
    with pytest.raises(VerificationError, match="below the group's order"):
        vrf.verify(key.public_key, b"input", raised)
    with pytest.raises(VerificationError, match="below the group's order"):
        vrf.proof_to_hash(raised)
    for small in (b"\x01" + bytes(31), bytes(32), (2**255 - 20).to_bytes(32, "little")):
        with pytest.raises(VerificationError, match="small order"):
            vrf.verify(small, b"input", proof)
    for lenient in ((2**255 - 18).to_bytes(32, "little"), b"\xff" * 32):
        with pytest.raises(VerificationError, match="not a canonical point"):
            vrf.verify(lenient, b"input", proof)


def test_sizes_are_checked() -> None:
    key = vrf.SecretKey(bytes(32))
    proof = key.prove(b"")
    for length in (0, 31, 33, 64):
        with pytest.raises(InputError, match=f"{length} bytes, exactly 32"):
            vrf.SecretKey(bytes(length))
        with pytest.raises(InputError, match="exactly 32"):
            vrf.verify(bytes(length), b"", proof)
    for length in (0, 79, 81, 127, 129):
        with pytest.raises(InputError, match=f"{length} bytes, exactly 80 or 128"):
            vrf.verify(key.public_key, b"", bytes(length))
        with pytest.raises(InputError, match=f"{length} bytes, exactly 80 or 128"):
            vrf.proof_to_hash(bytes(length))
    with pytest.raises(InputError, match="exactly 64"):
        vrf.transaction_seed(bytes(63), bytes(32), 0)


def test_a_batch_has_one_verdict_for_each_item() -> None:
    keys = [vrf.SecretKey(bytes([at]) * 32) for at in range(3)]
    items: list[tuple[bytes, bytes, bytes]] = []
    for at in range(60):
        key, data = keys[at % 3], bytes([at])
        proof = key.prove(data) if at % 4 == 0 else key.prove_batchable(data)
        if at % 10 == 7:
            proof = proof[:-20] + bytes([proof[-20] ^ 1]) + proof[-19:]
        items.append((key.public_key, data if at % 10 != 3 else b"another", proof))
    items += [(bytes(31), b"", items[0][2]), (items[0][0], b"", bytes(81)), (bytes(32), b"", items[0][2])]
    expected: list[tuple[type, str] | bytes] = []
    for item in items:
        try:
            expected.append(vrf.verify(*item))
        except (InputError, VerificationError) as error:
            expected.append((type(error), str(error)))
    found = vrf.verify_many(iter(items))
    assert [one if isinstance(one, bytes) else (type(one), str(one)) for one in found] == expected
    assert sum(isinstance(one, bytes) for one in found) == 48
    assert [vrf.verify_many([item])[0] for item in items[:3]] == found[:3]
    assert vrf.verify_many([]) == []


def test_a_batch_reads_any_buffer_and_refuses_what_is_no_triple() -> None:
    key = vrf.SecretKey(bytes(32))
    proof = key.prove_batchable(b"input")
    item = (bytearray(key.public_key), memoryview(b"input"), bytearray(proof))
    assert vrf.verify_many([item] * 20) == [vrf.proof_to_hash(proof)] * 20
    with pytest.raises(InputError, match="a tuple of 2, one of 3"):
        vrf.verify_many([(b"", b"")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"items\[1\]"):
        vrf.verify_many([item, [b"", b"", b""]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"items\[0\]: bytes are needed"):
        vrf.verify_many([("key", b"", b"")])  # type: ignore[list-item]


def test_suites_and_forms() -> None:
    key = vrf.SecretKey(bytes([4]) * 32)
    assert key.prove(b"input") == key.prove(b"input", suite="ell2") != key.prove(b"input", suite="tai")
    outputs = set()
    for suite in ("ell2", "tai"):
        short, long = key.prove(b"input", suite=suite), key.prove_batchable(b"input", suite=suite)
        assert (len(short), len(long)) == (80, 128)
        outputs |= {vrf.verify(key.public_key, b"input", proof, suite=suite) for proof in (short, long)}  # type: ignore[arg-type]
        outputs |= set(vrf.verify_many([(key.public_key, b"input", short)] * 2, suite=suite))  # type: ignore[arg-type]
    assert len(outputs) == 2
    for name in ("", "TAI", "ell2\0", "ed25519"):
        with pytest.raises(InputError, match='"ell2" or "tai" is needed'):
            key.prove(b"input", suite=name)
        with pytest.raises(InputError, match='"ell2" or "tai" is needed'):
            vrf.verify_many([], suite=name)  # type: ignore[arg-type]


def test_a_form_in_place_of_the_other_is_refused() -> None:
    key = vrf.SecretKey(bytes([4]) * 32)
    short, long = key.prove(b"input"), key.prove_batchable(b"input")
    with pytest.raises(InputError, match="the short proof: 128 bytes, exactly 80"):
        vrf.to_batchable(key.public_key, b"input", long)
    with pytest.raises(InputError, match="the long proof: 80 bytes, exactly 128"):
        vrf.to_compact(key.public_key, b"input", short)
    with pytest.raises(VerificationError, match="does not fit"):
        vrf.to_batchable(key.public_key, b"inpuu", short)
    with pytest.raises(VerificationError, match="does not fit"):
        vrf.to_compact(key.public_key, b"inpuu", long)


def test_a_secret_key_shows_and_gives_away_nothing() -> None:
    seed = bytes(range(32))
    key = vrf.SecretKey(seed)
    assert key.public_key.hex() in repr(key)
    assert seed.hex() not in repr(key)
    assert not hasattr(key, "__dict__")
    gives: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview]
    assert not [
        name for name in dir(key) if not name.startswith("_") and name not in {"public_key", "prove", "prove_batchable"}
    ]
    for give in gives:
        with pytest.raises(TypeError):
            give(key)
    with pytest.raises(AttributeError):
        key.public_key = b""  # type: ignore[misc]


@settings(deadline=None, max_examples=40)
@given(seed=st.binary(min_size=32, max_size=32), data=st.binary(max_size=300), sequence=st.integers(0, 2**64 - 2))
def test_proofs_verify_and_outputs_depend_on_everything(seed: bytes, data: bytes, sequence: int) -> None:
    key = vrf.SecretKey(bytearray(seed))
    proof = key.prove(memoryview(data))
    output = vrf.verify(key.public_key, bytearray(data), proof)
    assert (len(proof), len(output)) == (80, 64)
    assert key.prove(data) == proof
    other = vrf.SecretKey(bytes(b ^ 1 for b in seed))
    with pytest.raises(VerificationError):
        vrf.verify(other.public_key, data, proof)
    seeds = {vrf.transaction_seed(output, key.public_key, sequence + at) for at in (0, 1)}
    seeds.add(vrf.transaction_seed(output, other.public_key, sequence))
    assert len(seeds) == 3


def test_alpha_is_laid_out_as_documented() -> None:
    made = vrf.alpha(b"n" * 32, 2**64 - 1, 0x0102, b"s" * 32)
    assert made == b"city-chain vrf 1" + b"n" * 32 + b"\xff" * 8 + b"\x02\x01" + b"s" * 32


def test_many_threads_share_a_key() -> None:
    key = vrf.SecretKey(bytes([9]) * 32)
    expected = key.prove(b"input")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: key.prove(b"input"), range(64))) == {expected}
        outputs = pool.map(lambda _: vrf.verify(key.public_key, b"input", expected), range(64))
        assert set(outputs) == {vrf.proof_to_hash(expected)}
