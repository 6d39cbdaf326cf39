"""Every kernel of `ec`, forced in a process of its own: the same bytes, and an error where there is no such kernel."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from city_chain import ec

pytestmark = pytest.mark.ffi

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ["gfni512", "gfni256", "avx2", "neon", "scalar"]

SHAPES = [(6, 4, 4096), (6, 4, 1), (6, 4, 0), (1, 1, 65), (10, 4, 100_001), (3, 13, 6001), (192, 64, 30_000)]
"""Shapes of both codes: around the vectors, several groups of outputs, more columns than a block has."""

ENCODE = """
import hashlib, json, sys
from city_chain import ec
shapes = json.loads(sys.argv[1])
found = {}
for k, p, length in shapes:
    data = bytes((7 * i + 1) & 255 for i in range(length))
    for code in ("rs16", "gf8"):
        encoded = ec.encode(data, k, p, code=code)
        lost = list(range(min(k, p)))
        kept = {i: bytes(encoded[i]) for i in range(k + p) if i not in lost}
        assert ec.decode(kept, k, p, length, code=code) == data
        assert ec.rebuild(kept, lost, k, p, length, code=code) == {i: bytes(encoded[i]) for i in lost}
        found[f"{code} {k} {p} {length}"] = hashlib.sha256(encoded.parity).hexdigest()
print(json.dumps(found))
"""


def run(kernel: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "CITY_CHAIN_EC_KERNEL": kernel}
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_gives_the_same_bytes(kernel: str) -> None:
    done = run(kernel, ENCODE, json.dumps(SHAPES))
    if f'CITY_CHAIN_EC_KERNEL is "{kernel}"; the kernels of this machine are' in done.stderr:
        pytest.skip(f"this processor has no {kernel}")
    assert done.returncode == 0, done.stderr
    expected = {}
    for k, p, length in SHAPES:
        data = bytes((7 * i + 1) & 255 for i in range(length))
        for code in ("rs16", "gf8"):
            digest = hashlib.sha256(ec.encode(data, k, p, code=code).parity).hexdigest()
            expected[f"{code} {k} {p} {length}"] = digest
    assert json.loads(done.stdout) == expected


def test_at_least_scalar_and_the_fastest_are_run() -> None:
    """So that the test above cannot skip everything."""
    assert run("scalar", "from city_chain import ec; ec.encode(b'', 1, 1)").returncode == 0
    assert run("", "from city_chain import ec; ec.encode(b'', 1, 1)").returncode == 0, "an empty name forces nothing"


@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_a_file_encoded_with_simd_is_read_back_without(code: str, tmp_path: Path) -> None:
    data = Path(__file__).read_bytes() * 20
    encoded = ec.encode(data, 6, 4, code=code)
    for index in (0, 3, 6, 7, 8, 9):
        (tmp_path / str(index)).write_bytes(encoded[index])
    program = """
import sys
from pathlib import Path
from city_chain import ec
folder, code, length = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
fragments = {int(file.name): file.read_bytes() for file in folder.iterdir()}
sys.stdout.buffer.write(ec.decode(fragments, 6, 4, length, code=code))
"""
    done = run("scalar", program, str(tmp_path), code, str(len(data)))
    assert (done.returncode, done.stdout) == (0, data.decode()), done.stderr


@pytest.mark.parametrize("kernel", ["fast", "SCALAR", "gfni"])
def test_an_unknown_kernel_is_an_error_at_first_use_and_names_those_there_are(kernel: str) -> None:
    program = """
from city_chain import ec
from city_chain.errors import InputError
assert ec.code_for(6, 4) == ("gf8", 2)
for call in (
    lambda: ec.encode(b"data", 2, 1), lambda: ec.encode(b"data", 200, 100), lambda: ec.Codec(2, 1),
    lambda: ec.decode({0: b"da"}, 2, 1, 4), lambda: ec.rebuild({0: b"da"}, [1], 2, 1, 4),
):
    try:
        call()
    except InputError as error:
        print(error)
"""
    done = run(kernel, program)
    said = done.stdout.splitlines()
    assert len(said) == 5, done.stderr
    assert len(set(said)) == 1
    assert said[0].startswith(f'ec: CITY_CHAIN_EC_KERNEL is "{kernel}"; the kernels of this machine are ')
    assert said[0].endswith("scalar")
