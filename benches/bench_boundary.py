"""What a call into the Rust core costs, beside functions of CPython that do as much with the same bytes.

A round makes 1,000 calls, since one is shorter than the clock can tell; the sentinel of each is a function written in C
that takes or gives the same bytes. Goal: 4 KiB in and out in 0.15 µs, at most 1.25 times a function of the C API.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest

from city_chain import ec, rvh, tnh, vrf
from city_chain.proofs import poh
from city_chain.records import Identity, Message

pytestmark = pytest.mark.bench

CALLS = 1000
ROUNDS = 200
PAGE = os.urandom(4096)
MESSAGE = Message("page", [PAGE])
MESSAGE_BYTES = MESSAGE.to_bytes()
HLC = tnh.Hlc()
KEY = vrf.SecretKey(bytes(32))
PROOF = KEY.prove(b"input")
NODES = rvh.NodeSet([index.to_bytes(32, "big") for index in range(20)])
IDENTITY = Identity(bytes(32))


def often(function: Callable[[], Any], calls: int) -> Callable[[], None]:
    """A function that calls `function` so many times."""

    def run() -> None:
        for _ in repeat(None, calls):
            function()

    return run


SHORT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "an int in, an int out: tnh.ms, beside int.bit_length": (lambda: tnh.ms(1 << 40), (1 << 40).bit_length),
    "a step of a state: Hlc.now, beside int.bit_length": (lambda: HLC.now(1), (1 << 40).bit_length),
    "4 KiB out: Message.to_bytes, beside bytes(memoryview)": (MESSAGE.to_bytes, lambda: bytes(memoryview(PAGE))),
    "4 KiB in: Message.from_bytes, beside bytes(memoryview)": (
        lambda: Message.from_bytes(MESSAGE_BYTES),
        lambda: bytes(memoryview(PAGE)),
    ),
    "4 KiB in, 32 bytes out: poh.hash_fragment, beside zlib.crc32": (
        lambda: poh.hash_fragment(PAGE),
        lambda: zlib.crc32(PAGE),
    ),
}

LONG: dict[str, Callable[[], Any]] = {
    "ec.encode 4 KiB, (6, 10)": lambda: ec.encode(PAGE, 6, 4),
    "rvh pick 10 of 20": lambda: NODES.pick(b"key", 10),
    "Identity.sign 4 KiB": lambda: IDENTITY.sign(PAGE),
    "vrf prove": lambda: KEY.prove(b"input"),
    "vrf verify": lambda: vrf.verify(KEY.public_key, b"input", PROOF),
}


@pytest.mark.parametrize("what", SHORT)
def test_short_call(measure: Any, what: str) -> None:
    function, beside = SHORT[what]
    measure(often(function, CALLS), beside=often(beside, CALLS), calls=CALLS, rounds=ROUNDS)
    assert function() is not None


@pytest.mark.parametrize("what", LONG)
def test_long_call(measure: Any, what: str) -> None:
    """Calls that do real work; the sentinel is the CRC of 4 KiB."""
    function = LONG[what]
    measure(often(function, 20), beside=often(lambda: zlib.crc32(PAGE), 20), calls=20, rounds=ROUNDS)
    assert function() is not None
