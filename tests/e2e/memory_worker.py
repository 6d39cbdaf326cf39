"""Does one thing again and again, and says what memory the process has. Run as ``memory_worker.py WHAT COUNT FOLDER``.

WHAT is ``sends`` (transactions in bursts, into a city in a file) or the name of a call in `CALLS`. Twenty times, in
equal distances, it prints the resident memory in bytes, without what is kept by design.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from city_chain import City, cbf, ec, rvh, tnh, vrf
from city_chain.errors import VerificationError
from city_chain.proofs import dpos, poh
from city_chain.records import Identity, Message, Receipt, Transaction

STEPS = 20
BURST = 250
DEADLINE_S = 300.0  # what is looked at is memory: a busy machine may take its time
PAGE = bytes(range(256)) * 16


def resident() -> int:
    """Bytes of this process in memory, without what the allocator of the system keeps for the next call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sends(count: int, folder: Path) -> Iterator[int]:
    """Sends `count` transactions; yields after each burst the bytes of the sender's index, which grows by design."""
    with City.local(path=folder / "city.db") as city:
        for start in range(0, count, BURST):
            payloads = [at.to_bytes(8, "little") for at in range(start, min(count, start + BURST))]
            outcomes = city.send_many(payloads, batch=BURST, deadline_s=DEADLINE_S)
            assert all(isinstance(outcome, Receipt) for outcome in outcomes)
            yield city._city.sent.table_len


def calls() -> dict[str, Callable[[], Any]]:
    """One call of each kind: bytes out, bytes in, objects, errors."""
    encoded = ec.encode(PAGE, 6, 4)
    survivors = {index: bytes(encoded[index]) for index in range(4, 10)}
    nodes = rvh.NodeSet([index.to_bytes(32, "big") for index in range(20)])
    keys = b"".join(index.to_bytes(32, "big") for index in range(100))
    key, clock, cuckoo = vrf.SecretKey(bytes(32)), tnh.Hlc(), cbf.Cuckoo(1000)
    proof, message = key.prove(b"input"), Message("page", [PAGE]).to_bytes()
    identity = Identity(bytes(32))
    transaction = Transaction(identity, network=bytes(32), sequence=0, hlc=1, payload=PAGE).to_bytes()

    codec, bloom = ec.Codec(6, 4), cbf.Bloom(1000)
    proofs = [(key.public_key, b"input", key.prove_batchable(b"input")), (key.public_key, b"other", proof)]
    beta = vrf.verify(key.public_key, b"input", proof)
    stakes = [(bytes([at]) * 32, 1 + at) for at in range(8)]
    ballots = [(voter, 1, [candidate for candidate, _ in stakes[:3]]) for voter, _ in stakes]
    signed = (identity.id, b"message", identity.sign(b"message"))

    def cuckoo_in_and_out() -> None:
        cuckoo.insert(b"key")
        cuckoo.remove(b"key")

    def refused() -> None:
        try:
            vrf.verify(key.public_key, b"other", proof)
        except VerificationError:
            return
        raise AssertionError("a wrong proof was accepted")

    return {
        "ec.encode": lambda: ec.encode(PAGE, 6, 4).fragments,
        "ec.decode": lambda: ec.decode(survivors, 6, 4, len(PAGE)),
        "ec.Codec": lambda: codec.rebuild(survivors, [0, 1], len(PAGE)),
        "rvh.pick_many": lambda: nodes.pick_many(keys, 3, width=32),
        "vrf.verify": lambda: vrf.verify(key.public_key, b"input", proof),
        "vrf.verify, refused": refused,
        "vrf.verify_many": lambda: vrf.verify_many(proofs),
        "vrf.sortition": lambda: vrf.sortition(beta, 10, 1000, 20),
        "cbf": cuckoo_in_and_out,
        "cbf, packed": lambda: (bloom.insert_many(keys, width=32), bloom.contains_many(keys, width=32)),
        "tnh": lambda: clock.now(1),
        "tnh, many": lambda: clock.now_packed(1, 100),
        "poh.verify_signatures": lambda: poh.verify_signatures([signed, (*signed[:2], bytes(64))]),
        "poh audits": lambda: poh.audit_verify(
            poh.hash_fragment(PAGE), len(PAGE), [1, 3], poh.audit_answer(PAGE, [1, 3])
        ),
        "dpos.elect": lambda: dpos.elect(0, stakes, ballots, 3, method="seq_phragmen"),
        "poh.hash_fragment": lambda: poh.hash_fragment(PAGE),
        "dpos.ValidatorSet": lambda: dpos.ValidatorSet(0, [(bytes(32), 1)]).to_bytes(),
        "Message": lambda: Message.from_bytes(message).parts,
        "Transaction": lambda: Transaction.from_bytes(transaction).payload,
    }


def repeat(call: Callable[[], Any], count: int) -> Iterator[int]:
    """Makes the call; yields after each hundred: nothing may be kept."""
    for at in range(count):
        call()
        if at % 100 == 99:
            yield 0


def main() -> None:
    what, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    work, per_yield = (sends(count, folder), BURST) if what == "sends" else (repeat(calls()[what], count), 100)
    every = max(1, count // per_yield // STEPS)
    for at, by_design in enumerate(work, start=1):
        if at % every == 0:
            gc.collect()
            print(resident() - by_design, flush=True)


if __name__ == "__main__":
    main()
