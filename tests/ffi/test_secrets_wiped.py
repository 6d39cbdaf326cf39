"""Secrets go with their handles: what is searched is the memory of another process, from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from city_chain.algorithms.tes import kem, ml_dsa

pytestmark = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory is searched through /proc")

WORKER = """
import os, gc, sys
from city_chain import records
from city_chain.algorithms.tes import kem, ml_dsa

made = bytearray(34)
size = os.readv(0, [made])
secret = made[:size]
if sys.argv[1] == "identity":
    key = records.Identity(secret)
    key.kem_public(), key.kem_public("sntrup761-x25519"), key.ml_dsa_public, key.sign(b"message")
elif sys.argv[1] == "ml-dsa":
    key = ml_dsa.SigningKey.from_bytes(secret)
    key.sign(b"message", context=b"test")
else:
    key = kem.SecretKey.from_bytes(secret)
    key.decapsulate(kem.PublicKey(key.public_key).encapsulate()[0])
for some in (made, secret):
    some[:] = bytes(len(some))
os.write(1, b"1")
os.read(0, 1)
del key
gc.collect()
os.write(1, b"2")
os.read(0, 1)
"""


def hits(pid: int, run: bytes) -> int:
    """How often a run of bytes is in what the process may write to."""
    found = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            area = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if area is not None:
                start, end = (int(group, 16) for group in area.groups())
                memory.seek(start)
                try:
                    found += memory.read(end - start).count(run)
                except OSError:
                    continue
    return found


@pytest.mark.parametrize("kind", ["x-wing", "sntrup761-x25519", "ml-dsa", "identity"])
def test_a_dropped_handle_leaves_no_half_of_its_seed(kind: str) -> None:
    """Halves, since what is freed may have its first bytes written over and the rest not."""
    seed = os.urandom(32)
    prefix = b""
    if kind == "ml-dsa":
        prefix = ml_dsa.SigningKey.generate("ml-dsa-65").to_bytes()[:2]
    elif kind != "identity":
        prefix = kem.SecretKey.generate(kind).to_bytes()[:2]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(prefix + seed)
        assert worker.stdout.read(1) == b"1"
        if kind != "identity":  # which keeps only what it derives
            assert hits(worker.pid, seed), "the search finds what is there"
        worker.stdin.write(b"x")
        assert worker.stdout.read(1) == b"2"
        assert [hits(worker.pid, half) for half in (seed[:16], seed[16:])] == [0, 0]
        worker.stdin.write(b"x")
