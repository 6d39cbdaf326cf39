"""The latency gates: ``pytest benches -m gate`` fails when a budget is broken, and names the stage that broke it.

The budgets are those that a user of the library counts on: every layer 80 ms, a call into the Rust core 30 µs, 10 KB
serialised in 10 µs, a token and its node's authorisation 40 ms, S1 to S5 400 ms, sending and receiving together 0.8 s;
each at the 99th percentile of 2,000 single calls. They stand far above what the code takes, so that a machine that is
merely busy does not break them. They are written as a user would write them, with `city_chain.testing`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from city_chain import City, cbf, ec, rvh, tnh
from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import JwtAuth
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.node import Login
from city_chain.ports import PresenceEntry
from city_chain.proofs import poh
from city_chain.records import Identity, Message, Transaction
from city_chain.testing import LatencyGate, Span

pytestmark = pytest.mark.gate

LAYER_MS = 80
SENDING_MS = 400
ALL_MS = 800
BOUNDARY_MS = 0.030
SERIALISED_MS = 0.010
AUTHORISED_MS = 40

SENDING = Span(("s1_select", "s2_encode", "s3_hold", "s4_deliver", "s5_commit"), SENDING_MS)
PAYLOAD = os.urandom(4096)
PAGE = os.urandom(10_000)
MESSAGE = Message("page", [PAGE])
MESSAGE_BYTES = MESSAGE.to_bytes()
TRANSACTION = Transaction(Identity(bytes(32)), network=bytes(32), sequence=0, hlc=1, payload=PAGE)
TRANSACTION_BYTES = TRANSACTION.to_bytes()

NODES = rvh.NodeSet([index.to_bytes(32, "big") for index in range(20)])
FILTER = cbf.Bloom(1000)
CLOCK = tnh.Hlc()

BOUNDARY: dict[str, Callable[[], Any]] = {
    "tnh.ms": lambda: tnh.ms(1 << 40),
    "Hlc.now": lambda: CLOCK.now(1),
    "Bloom.contains": lambda: FILTER.contains(PAYLOAD),
    "poh.hash_fragment, 4 KiB": lambda: poh.hash_fragment(PAYLOAD),
    "NodeSet.pick, 10 of 20": lambda: NODES.pick(b"key", 10),
    "ec.encode, 4 KiB, (6, 10)": lambda: ec.encode(PAYLOAD, 6, 4),
}
SERIALISED: dict[str, Callable[[], Any]] = {
    "Message.to_bytes": MESSAGE.to_bytes,
    "Message.from_bytes": lambda: Message.from_bytes(MESSAGE_BYTES),
    "Transaction.to_bytes": TRANSACTION.to_bytes,
    "Transaction.from_bytes": lambda: Transaction.from_bytes(TRANSACTION_BYTES),
}


@pytest.fixture(params=["durable", "memory"])
def city(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[City]:
    with City.local(tmp_path / "city.db" if request.param == "durable" else None) as made:
        yield made


def test_sending(benchmark: Any, city: City) -> None:
    """Each of S1 to S5, all five, and the call."""
    gate = LatencyGate(stage_ms=LAYER_MS, call_ms=ALL_MS, spans={"S1 to S5": SENDING})
    city.watch(gate.on_stage)
    gate.measure(lambda: city.send(PAYLOAD), benchmark=benchmark).check()


def test_sending_and_receiving(benchmark: Any, city: City) -> None:
    """Every stage of both pipelines, and both calls together."""
    gate = LatencyGate(stage_ms=LAYER_MS, call_ms=ALL_MS)
    city.watch(gate.on_stage)
    gate.measure(lambda: city.receive(city.send(PAYLOAD).tx_id), benchmark=benchmark).check()


@pytest.mark.parametrize("what", BOUNDARY)
def test_boundary(benchmark: Any, what: str) -> None:
    """One call into the Rust core."""
    LatencyGate(call_ms=BOUNDARY_MS).measure(BOUNDARY[what], benchmark=benchmark).check()


@pytest.mark.parametrize("what", SERIALISED)
def test_serialising(benchmark: Any, what: str) -> None:
    """10 KB to bytes, or back."""
    LatencyGate(call_ms=SERIALISED_MS).measure(SERIALISED[what], benchmark=benchmark).check()


@pytest.mark.parametrize("is_cold", [True, False], ids=["cold", "warm"])
def test_token_and_authorisation(benchmark: Any, is_cold: bool, tmp_path: Path) -> None:
    """A token checked and its node looked up: cold with nothing remembered, on a list in a file."""
    issuer = OKPKey.generate_key("Ed25519", {"kid": "one"})
    node, now = Identity(bytes(32)), int(time.time())
    claims = {"iss": "issuer", "aud": "city", "sub": node.id.hex(), "jti": "1", "iat": now, "exp": now + 3600}
    token = jwt.encode({"alg": "Ed25519", "kid": "one"}, claims, issuer, algorithms=["Ed25519"])
    keys = Jwks(json.dumps({"keys": [issuer.as_dict(private=False)]}).encode())
    auth = JwtAuth(keys, issuer="issuer", audience="city", remembered_max=0 if is_cold else 100)
    with SqlitePresence(tmp_path / "presence.db") as presence:
        login = Login(auth, presence, SystemClock(), cache_s=0.0 if is_cold else 1.0)
        login.log_in(token, PresenceEntry(node.id, "city", 1, b"record"), ttl=3600.0)
        gate = LatencyGate(call_ms=AUTHORISED_MS if is_cold else AUTHORISED_MS / 100)
        gate.measure(lambda: login.authorise(token), benchmark=benchmark).check()
