"""A node's process that wants tokens: its city gets on with one; without one nobody gets anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from city_chain import City
from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import JwtAuth
from city_chain.adapters.clock import ManualClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.levels import NodeHost
from city_chain.node import WithToken
from city_chain.ports import Request
from city_chain.stages import messages
from tests.tokens import AUDIENCE, ISSUER, NOW_MS, Issuer, jwks

pytestmark = pytest.mark.e2e

ISSUED = Issuer()


@pytest.fixture
def auth() -> JwtAuth:
    clock = ManualClock(now_ms=NOW_MS)
    return JwtAuth(Jwks(jwks(ISSUED), clock=clock), issuer=ISSUER, audience=AUDIENCE, clock=clock)


def moved_out(folder: Path) -> tuple[bytes, bytes]:
    """A city in a file, one of whose delegates has moved out: its sender, and the delegate."""
    with City.local(folder / "city.db", nodes=6, validators=4, k=2, n=4) as city:
        node = next(node.id for node in city.nodes() if node.delegate)
        city.move_out(node, folder / "node")
        return city.sender, node


def test_a_city_with_a_token_gets_on(tmp_path: Path, auth: JwtAuth) -> None:
    sender, node = moved_out(tmp_path)
    token = ISSUED.token(sub=sender.hex())
    with (
        NodeHost.open([tmp_path / "node"], auth=auth) as host,
        City.open(tmp_path / "city.db", elsewhere=host.addresses, transport=WithToken(TcpTransport(), token)) as city,
    ):
        receipt = city.send(b"with a token")
        assert city.receive(receipt.tx_id) == b"with a token"
        until = time.monotonic() + 30
        while host.height < city.height:
            assert time.monotonic() < until, "the node is told what the city commits"
            time.sleep(0.05)
        assert next(info.running for info in city.nodes() if info.id == node)
    assert auth.signatures_checked == 1


@pytest.mark.parametrize("claims", [None, {}, {"aud": "osaka"}, {"exp": NOW_MS // 1000 - 60, "iat": 0, "nbf": 0}])
def test_without_a_right_token_nothing_is_done(tmp_path: Path, auth: JwtAuth, claims: dict[str, object] | None) -> None:
    """No token; that of somebody else; one for another service; one that has run out."""
    sender, node = moved_out(tmp_path)
    storage = MemoryStorage()
    plain = TcpTransport()
    transport = plain if claims is None else WithToken(plain, ISSUED.token(**({"sub": sender.hex()} | claims)))
    if claims == {}:
        transport = WithToken(plain, ISSUED.token())
    with (
        NodeHost.open([tmp_path / "node"], storage=storage, auth=auth) as host,
        City.open(tmp_path / "city.db", elsewhere=host.addresses, transport=transport) as city,
    ):
        before = dict(storage.scan(b""))
        receipt = city.send(b"three delegates of four are enough")
        assert city.receive(receipt.tx_id)
        assert node not in receipt.manifest.selection.nodes
        assert (host.height, dict(storage.scan(b""))) == (0, before)
    assert auth.signatures_checked == (1 if claims == {} else 0)


def test_every_kind_of_message_needs_a_token(tmp_path: Path, auth: JwtAuth) -> None:
    """Whatever a stranger says, nothing behind the door hears it."""
    moved_out(tmp_path)
    kinds = [line.split("``")[1] for line in (messages.__doc__ or "").splitlines() if line.startswith("``")]
    assert {"hold", "vote", "append", "meet", "offer", "deal", "log_in"} <= set(kinds)
    storage, transport = MemoryStorage(), InProcessTransport()
    with NodeHost.open(
        [tmp_path / "node"], listen="inproc:node", storage=storage, transport=transport, auth=auth
    ) as host:
        heard: list[Sequence[Request]] = []
        host._handle = lambda requests: heard.append(requests) or []  # type: ignore[method-assign,func-returns-value]
        before = dict(storage.scan(b""))
        for kind in kinds:
            for body in (messages.message(kind, [b"x"]), messages.message(kind), messages.message(kind, [b""] * 9)):
                answer = messages.parse(transport.request("inproc:node", body, 1e9))
                assert answer.kind == "refused"
        assert heard == []
        assert dict(storage.scan(b"")) == before
    assert auth.signatures_checked == 0


def test_wrong_auth(tmp_path: Path) -> None:
    moved_out(tmp_path)
    for wrong in (1, "auth", object(), ManualClock()):
        with pytest.raises(TypeError, match="auth"):
            NodeHost.open([tmp_path / "node"], auth=wrong)  # type: ignore[arg-type]
