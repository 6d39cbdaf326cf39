"""A forked process, as those of `multiprocessing` are on Linux, has none of its parent's threads and works as well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ffi

WORK = """
import os, signal
from city_chain import cbf, ec, vrf
from city_chain.proofs import poh

data = bytes(range(256)) * (8 << 12)
key = vrf.SecretKey(bytes(32))
items = [(key.public_key, b"%d" % at, key.prove(b"%d" % at)) for at in range(40)]

def everything():
    held = cbf.Bloom(1 << 20)
    held.insert_many(data[: 1 << 20], width=8)
    encoded = ec.encode(data, 6, 4)
    found = (held.to_bytes(), encoded.hashes, poh.hash_fragment(data), vrf.verify_many(items))
    return repr(found)

expected = everything()
for children in (1, 2):  # the second process of a fork of a fork
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        break
    signal.alarm(20)
    if everything() != expected or everything() != expected:
        os._exit(1)
else:
    os._exit(0)
if children == 2:
    os._exit(1 if status else 0)
print("status", status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_what_is_spread_over_threads_works_in_a_forked_process() -> None:
    command = [sys.executable, "-W", "ignore", "-c", WORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "status 0\n", done.stdout + done.stderr
