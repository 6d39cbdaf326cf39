"""Login: who is on the list, for how long, and who may ask; and the door where tokens are shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from city_chain import records
from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import JwtAuth
from city_chain.adapters.auth.revoked import Revoked
from city_chain.adapters.clock import ManualClock, SystemClock
from city_chain.adapters.presence.leases import Limits
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.presence.sqlite import SqlitePresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import (
    InputError,
    ProtocolError,
    StorageError,
    UnavailableError,
    VerificationError,
)
from city_chain.node import Door, Login, WithToken, door, signed_record
from city_chain.ports import Grant, PresenceEntry, Request, Storage, Transport
from city_chain.stages import messages
from tests.tokens import AUDIENCE, ISSUER, NOW_MS, Issuer, jwks

pytestmark = pytest.mark.unit

ISSUED = Issuer("one", 1)
NETWORK = bytes([7]) * 32
NODES = [records.Identity(bytes([number]) * 32) for number in range(1, 4)]
NOW = NOW_MS // 1000


class Failing(MemoryStorage):
    """A storage whose disk may be full."""

    full = False

    def put_many(self, *args: object, **rest: object) -> None:
        if self.full:
            raise StorageError("the disk is full")
        super().put_many(*args, **rest)  # type: ignore[arg-type]


class Registry:
    """Everything that a login needs."""

    def __init__(self, storage: Storage | None = None, kept: Storage | None = None, **options: float) -> None:
        self.clock = ManualClock(now_ms=NOW_MS)
        self.keys = Jwks(jwks(ISSUED), clock=self.clock)
        self.revoked = Revoked(kept, clock=self.clock)
        self.auth = JwtAuth(
            self.keys, issuer=ISSUER, audience=AUDIENCE, clock=self.clock, revoked=self.revoked, leeway_s=5.0
        )
        self.presence = MemoryPresence(Limits(ttl_s_max=3600.0), signed_record(NETWORK))
        self.login = Login(self.auth, self.presence, self.clock, storage=storage, **options)

    def there(self, region: str = "tokyo") -> list[bytes]:
        return [entry.node for entry in self.presence.list(self.clock.monotonic(), region).entries]


def record(node: records.Identity, sequence: int = 1, region: str = "tokyo", network: bytes = NETWORK) -> bytes:
    return records.NodeRecord(
        node,
        network=network,
        region=region,
        domain="north",
        address=f"inproc:{node.id.hex()[:16]}",
        roles=records.HOLDER,
        weight=1 << 16,
        stake=1,
        sequence=sequence,
        hlc=1,
    ).to_bytes()


def entry(node: records.Identity, sequence: int = 1, region: str = "tokyo") -> PresenceEntry:
    return PresenceEntry(node.id, region, sequence, record(node, sequence, region))


def token(node: records.Identity = NODES[0], **claims: object) -> str:
    return ISSUED.token(**({"sub": node.id.hex(), "jti": f"of {node.id.hex()}".replace(" ", "-")} | claims))


@pytest.fixture
def registry() -> Registry:
    return Registry()


# --- login and logout ------------------------------------------------------------------------------------------------


def test_login_puts_on_the_list_and_logout_takes_off(registry: Registry) -> None:
    assert registry.login.log_in(token(), entry(NODES[0]), ttl=60.0) == (1, 60.0)
    assert registry.there() == [NODES[0].id]
    assert registry.login.authorise(token()) == entry(NODES[0])
    registry.login.log_out(token(), 1)
    assert registry.there() == []
    for call in (
        lambda: registry.login.authorise(token()),
        lambda: registry.login.log_in(token(), entry(NODES[0], 2), ttl=60.0),
        lambda: registry.login.renew(token(), ttl=60.0),
    ):
        with pytest.raises(VerificationError, match="it is revoked"):
            call()
    with pytest.raises(InputError, match="used before"):  # with a new token, but the old record
        registry.login.log_in(token(jti="new"), entry(NODES[0]), ttl=60.0)
    registry.login.log_in(token(jti="new"), entry(NODES[0], 2), ttl=60.0)
    assert registry.there() == [NODES[0].id]


def test_a_lease_does_not_outlive_its_token(registry: Registry) -> None:
    short = token(exp=NOW + 30)
    assert registry.login.log_in(short, entry(NODES[0]), ttl=600.0).ttl_s == 30.0
    registry.clock.advance(20.0)
    assert registry.login.renew(short, ttl=600.0) == 10.0
    registry.clock.advance(9.999)
    assert registry.there() == [NODES[0].id]
    registry.clock.advance(0.001)
    assert registry.there() == []
    with pytest.raises(VerificationError, match="no lease is left"):  # within the leeway of the clocks
        registry.login.renew(short, ttl=600.0)
    with pytest.raises(VerificationError, match="no lease is left"):
        registry.login.log_in(short, entry(NODES[0], 2), ttl=600.0)
    registry.clock.advance(5.0)
    with pytest.raises(VerificationError, match="expired"):
        registry.login.renew(short, ttl=600.0)


def test_renewal_needs_a_live_lease(registry: Registry) -> None:
    with pytest.raises(UnavailableError, match="not logged in"):
        registry.login.renew(token(), ttl=10.0)
    registry.login.log_in(token(), entry(NODES[0]), ttl=10.0)
    registry.clock.advance(10.0)
    with pytest.raises(UnavailableError, match="not logged in"):
        registry.login.renew(token(), ttl=10.0)
    with pytest.raises(VerificationError, match="not logged in; log in first"):
        registry.login.authorise(token())


def test_the_longest_lease() -> None:
    registry = Registry(lease_s_max=20.0)
    assert registry.login.log_in(token(), entry(NODES[0]), ttl=60.0).ttl_s == 20.0
    assert registry.login.renew(token(), ttl=60.0) == 20.0


def test_a_token_is_for_its_node_alone(registry: Registry) -> None:
    with pytest.raises(VerificationError, match="which is not the entry's"):
        registry.login.log_in(token(NODES[1]), entry(NODES[0]), ttl=60.0)
    registry.login.log_in(token(NODES[0]), entry(NODES[0]), ttl=60.0)
    with pytest.raises(UnavailableError, match="not logged in"):
        registry.login.renew(token(NODES[1]), ttl=60.0)
    registry.login.log_out(token(NODES[1]), 1)  # itself, who is not there
    assert registry.there() == [NODES[0].id]


@pytest.mark.parametrize(
    "wrong",
    [
        entry(NODES[0])._replace(record=b""),
        entry(NODES[0])._replace(record=record(NODES[1])),
        entry(NODES[0])._replace(record=record(NODES[0], network=bytes(32))),
        entry(NODES[0])._replace(sequence=2),
        entry(NODES[0])._replace(region="osaka"),
        entry(NODES[0])._replace(record=record(NODES[0])[:-1] + b"\x00"),
    ],
    ids=["none", "of another node", "of another network", "of another sequence", "of another region", "changed"],
)
def test_a_wrong_record_costs_nothing(registry: Registry, wrong: PresenceEntry) -> None:
    with pytest.raises(VerificationError):
        registry.login.log_in(token(), wrong, ttl=60.0)
    assert (registry.presence.revision(), registry.there()) == (0, [])
    registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)


def test_logout_with_too_low_a_sequence_changes_nothing(registry: Registry) -> None:
    registry.login.log_in(token(), entry(NODES[0], 7), ttl=60.0)
    with pytest.raises(InputError, match="lower"):
        registry.login.log_out(token(), 6)
    assert registry.login.authorise(token()).sequence == 7


def test_a_node_that_is_expelled(registry: Registry) -> None:
    registry.login.log_in(token(), entry(NODES[0], 7), ttl=60.0)
    registry.login.log_in(token(NODES[1]), entry(NODES[1]), ttl=60.0)
    registry.login.authorise(token())
    registry.login.expel(NODES[0].id)
    registry.login.expel(NODES[2].id)  # was not there
    assert registry.there() == [NODES[1].id]
    for made in (token(), token(jti="new")):
        with pytest.raises(VerificationError, match="is revoked"):
            registry.login.authorise(made)
        with pytest.raises(VerificationError, match="is revoked"):
            registry.login.log_in(made, entry(NODES[0], 8), ttl=60.0)
    registry.revoked.allow_node(NODES[0].id)
    registry.login.log_in(token(), entry(NODES[0], 8), ttl=60.0)


def test_who_is_expelled_while_logging_in_does_not_stay(registry: Registry) -> None:
    register = registry.presence.register

    def slow(*args: object, **rest: object) -> object:
        registry.auth.revoke_node(NODES[0].id)  # after the token was found right, before the entry is there
        return register(*args, **rest)  # type: ignore[arg-type]

    registry.presence.register = slow  # type: ignore[method-assign,assignment]
    with pytest.raises(VerificationError, match="is revoked"):
        registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    assert registry.there() == []


# --- who may ask -----------------------------------------------------------------------------------------------------


def test_who_may_ask_is_looked_up_once_in_a_while(registry: Registry) -> None:
    registry.login.log_in(token(), entry(NODES[0]), ttl=0.5)
    found: list[bytes] = []
    find = registry.presence.find

    def counted(now: float, node: bytes) -> PresenceEntry | None:
        found.append(node)
        return find(now, node)

    registry.presence.find = counted  # type: ignore[method-assign]
    for _ in range(100):
        registry.login.authorise(token())
    assert (len(found), registry.auth.signatures_checked) == (1, 1)
    registry.clock.advance(1.0)
    with pytest.raises(VerificationError, match="not logged in"):
        registry.login.authorise(token())
    assert len(found) == 2


def test_a_move_is_seen_at_once(registry: Registry) -> None:
    registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    assert registry.login.authorise(token()).region == "tokyo"
    registry.login.log_in(token(), entry(NODES[0], 2, "osaka"), ttl=60.0)
    assert registry.login.authorise(token()).region == "osaka"
    assert (registry.there("tokyo"), registry.there("osaka")) == ([], [NODES[0].id])


def test_what_changes_while_it_is_looked_up_is_not_remembered(registry: Registry) -> None:
    registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    find = registry.presence.find

    def overtaken(now: float, node: bytes) -> PresenceEntry | None:
        found = find(now, node)
        registry.presence.find = find  # type: ignore[method-assign]
        registry.login.log_in(token(), entry(NODES[0], 2, "osaka"), ttl=60.0)
        return found

    registry.presence.find = overtaken  # type: ignore[method-assign]
    assert registry.login.authorise(token()).region == "tokyo"  # as it was when it was asked
    assert registry.login.authorise(token()).region == "osaka"


def test_the_storage_knows_what_a_presence_in_memory_forgot() -> None:
    storage = MemoryStorage()
    before = Registry(storage, storage)
    before.login.log_in(token(NODES[0]), entry(NODES[0], 3), ttl=60.0)
    before.login.log_in(token(NODES[1]), entry(NODES[1]), ttl=60.0)
    before.login.log_out(token(NODES[1]), 1)
    before.login.log_in(token(NODES[2], exp=NOW + 10), entry(NODES[2]), ttl=60.0)
    after = Registry(storage, storage)  # the process was started anew
    after.clock.advance(12.0)
    assert after.there() == []
    assert after.login.authorise(token(NODES[0])) == entry(NODES[0], 3)
    assert after.there() == [NODES[0].id]
    with pytest.raises(VerificationError, match="it is revoked"):
        after.login.authorise(token(NODES[1]))
    for node, jti in ((NODES[1], "new"), (NODES[2], "new")):  # logged out; its token had run out
        with pytest.raises(VerificationError, match="not logged in"):
            after.login.authorise(token(node, jti=jti))
    after.clock.advance(60.0)  # the lease that came back ends as any other
    with pytest.raises(VerificationError, match="not logged in"):
        after.login.authorise(token(NODES[0]))


def test_who_leaves_before_he_came_back_does_not_come_back() -> None:
    """After a restart the presence knows nobody: what the storage knows counts for a logout and for an expulsion."""
    storage = MemoryStorage()
    before = Registry(storage, storage)
    for node in NODES[:2]:
        before.login.log_in(token(node), entry(node, 3), ttl=60.0)
    after = Registry(storage, storage)
    with pytest.raises(InputError, match="lower than the entry's, 3"):
        after.login.log_out(token(NODES[0]), 2)
    after.login.log_out(token(NODES[0]), 3)
    after.login.expel(NODES[1].id)
    after.revoked.allow_node(NODES[1].id)
    for node in NODES[:2]:
        fresh = token(node, jti="new")
        with pytest.raises(VerificationError, match="not logged in"):
            after.login.authorise(fresh)
        with pytest.raises(InputError, match="used before"):
            after.login.log_in(fresh, entry(node, 3), ttl=60.0)
    assert list(storage.scan(b"login/")) == []


def test_a_lease_that_ran_out_does_not_come_back_when_its_tombstone_is_forgotten() -> None:
    storage = MemoryStorage()
    for _ in range(2):  # logged in here; brought back after a restart
        registry = Registry(storage)
        registry.presence = MemoryPresence(Limits(ttl_s_max=30.0, drift_s=5.0), signed_record(NETWORK))
        registry.login = Login(registry.auth, registry.presence, registry.clock, storage=storage)
        if not list(storage.scan(b"login/")):
            registry.login.log_in(token(), entry(NODES[0]), ttl=10.0)
        assert registry.login.authorise(token()) == entry(NODES[0])
        for _ in range(10):
            registry.clock.advance(20.0)
            with pytest.raises(VerificationError, match="not logged in"):
                registry.login.authorise(token())
        assert registry.there() == []
        registry.presence.expire(registry.clock.monotonic(), 10)


@pytest.mark.parametrize("sequence", [-1, 2**64, 2**70])
def test_a_logout_that_is_refused_for_its_sequence_revokes_nothing(sequence: int) -> None:
    registry = Registry(MemoryStorage())
    registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    with pytest.raises(InputError, match="sequence"):
        registry.login.log_out(token(), sequence)
    assert len(registry.revoked) == 0
    assert registry.login.authorise(token()) == entry(NODES[0])


def test_rows_of_tokens_that_have_run_out_go() -> None:
    storage = MemoryStorage()
    registry = Registry(storage)
    for node, seconds in zip(NODES, (10, 20, 10), strict=True):
        registry.login.log_in(token(node, exp=NOW + seconds), entry(node), ttl=60.0)
    assert registry.login.tidy(10) == 0
    registry.clock.advance(10.0)
    assert registry.login.tidy(0) == 0
    assert [registry.login.tidy(2), registry.login.tidy(2)] in ([1, 1], [2, 0])
    assert [key for key, _ in storage.scan(b"login/")] == [b"login/" + NODES[1].id]
    registry.clock.advance(10.0)
    assert sum(registry.login.tidy(1) for _ in range(3)) == 1
    assert list(storage.scan(b"login/")) == []
    assert Registry().login.tidy(5) == 0
    for wrong in (None, 1.5, True, "1"):
        with pytest.raises(TypeError, match="limit"):
            registry.login.tidy(wrong)  # type: ignore[arg-type]
    for number in (-1, 10**7):
        with pytest.raises(InputError, match="limit"):
            registry.login.tidy(number)


def test_a_storage_that_fails_lets_nobody_in() -> None:
    storage = Failing()
    registry = Registry(storage)
    storage.full = True
    with pytest.raises(StorageError, match="full"):
        registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    assert registry.there() == []
    storage.full = False
    registry.login.log_in(token(), entry(NODES[0], 2), ttl=60.0)


@pytest.mark.parametrize("row", [b"", bytes(40), b"\x01" + bytes(40), b"\x02" + bytes(24) + b"\xff" * 30])
def test_damaged_rows(row: bytes) -> None:
    storage = MemoryStorage()
    registry = Registry(storage)
    storage.put_many({b"login/" + NODES[0].id: row})
    with pytest.raises(StorageError, match="login"):
        registry.login.authorise(token())


def test_logins_and_logouts_of_many_threads(tmp_path: Path) -> None:
    storage = MemoryStorage()
    registry = Registry(storage)
    with SqlitePresence(tmp_path / "presence.db", check=signed_record(NETWORK)) as presence:
        login = Login(registry.auth, presence, registry.clock, storage=storage)

        def work(node: records.Identity) -> None:
            for turn in range(1, 12):
                shown = token(node, jti=f"{turn}-{node.id.hex()}")
                login.log_in(shown, entry(node, turn, f"r{turn % 2}"), ttl=60.0)
                assert login.authorise(shown).sequence == turn
                if turn < 11:
                    login.log_out(shown, turn)

        threads = [threading.Thread(target=work, args=(node,)) for node in NODES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert presence.list(0.0, "r0").entries == []
        assert {found.node for found in presence.list(0.0, "r1").entries} == {node.id for node in NODES}
        assert len(list(storage.scan(b"login/"))) == 3


# --- the door --------------------------------------------------------------------------------------------------------


class Guarded:
    """A handler behind a door, over some transport, and what got through to it."""

    def __init__(self, transport: Transport, auth: object = None, address: str | None = None) -> None:
        self.registry = Registry()
        self.got: list[Request] = []
        self.bursts = 0
        self.transport = transport
        self.door = Door(self.handle, self.registry.login if auth is None else auth)  # type: ignore[arg-type]
        self.address = transport.serve(self.door.answer, address)

    def handle(self, requests: Sequence[Request]) -> list[bytes]:
        self.got += requests
        self.bursts += 1
        return [messages.message("tip", [messages.integer(1)]) for _ in requests]


ASK = messages.message("announce", [messages.integer(0)])
SOON = SystemClock().monotonic() + 3600.0


def reason(answer: bytes) -> str:
    found = messages.parse(answer)
    return found.parts[0].decode() if found.kind == "refused" else ""


@pytest.mark.parametrize("make", [InProcessTransport, TcpTransport])
def test_a_node_logs_in_asks_and_logs_out(make: Callable[[], Transport]) -> None:
    here, there = make(), make()
    if make is InProcessTransport:
        there = here
    try:
        guarded = Guarded(here, None, "tcp:127.0.0.1:0" if make is TcpTransport else None)
        node, at = records.NodeRecord.from_bytes(record(NODES[0])), guarded.address
        mine = WithToken(there, token())
        assert "not logged in" in reason(mine.request(at, ASK, SOON))
        assert door.log_in(mine, at, node, ttl=60.0, deadline=SOON) == (1, 60.0)
        assert messages.parse(mine.request(at, ASK, SOON)).kind == "tip"
        assert guarded.got == [Request(at, ASK)]  # without the token
        assert door.renew(mine, at, ttl=90.0, deadline=SOON) == 90.0
        for wrong, match in ((0, "lower"), (1 << 64, "2\\^64")):
            with pytest.raises((ProtocolError, InputError), match=match):
                door.log_out(mine, at, wrong, deadline=SOON)
        door.log_out(mine, at, 1, deadline=SOON)
        assert "it is revoked" in reason(mine.request(at, ASK, SOON))
        with pytest.raises(ProtocolError, match="it is revoked"):
            door.log_in(mine, at, node, ttl=60.0, deadline=SOON)
        assert len(guarded.got) == 1
    finally:
        here.close()
        there.close()


def shown(made: str | bytes, body: bytes = ASK) -> bytes:
    return messages.message("token", [made if isinstance(made, bytes) else made.encode(), body])


NOBODY: dict[str, tuple[bytes, str]] = {
    "no token": (ASK, "a token is needed here"),
    "no message": (b"hello", "message: "),
    "nothing": (b"", "message: "),
    "an empty token": (shown(b""), "1 parts"),
    "forged": (shown(Issuer("one", 9).token(sub=NODES[0].id.hex())), "signature is not that"),
    "expired": (shown(token(iat=NOW - 99, nbf=None, exp=NOW - 9)), "expired"),
    "for another": (shown(token(aud="osaka")), "audience"),
    "alg=none": (shown("eyJhbGciOiJub25lIn0.e30."), "algorithm is 'none'"),
    "one part": (messages.message("token", [token().encode()]), "1 parts, exactly 2"),
    "no message inside": (shown(token(), b"hello"), "message: "),
    "logged out": (shown(token()), "not logged in"),
    "a token in a token": (shown(token(), shown(token())), "not logged in"),
    "a login without a token": (messages.message("log_in", [messages.integer(9), record(NODES[0])]), "a token"),
    "a forged login": (
        shown(b"x.y.z", messages.message("log_in", [messages.integer(9), record(NODES[0])])),
        "token: ",
    ),
    "a forged login with half a record": (
        shown(b"x.y.z", messages.message("log_in", [messages.integer(9), b"half"])),
        "token: ",
    ),
    "a login without a lease": (
        shown(token(), messages.message("log_in", [messages.integer(0), record(NODES[0])])),
        "a lease of 0 ms",
    ),
    "a login with half a record": (
        shown(token(), messages.message("log_in", [messages.integer(9), record(NODES[0])[:50]])),
        "node record",
    ),
    "a login of another": (
        shown(token(), messages.message("log_in", [messages.integer(9), record(NODES[1])])),
        "not the entry's",
    ),
    "a login with too much": (shown(token(), messages.message("log_in", [b"", b"", b""])), "3 parts, exactly 2"),
    "a logout of nobody": (shown(token(), messages.message("log_out", [b"1"])), "1 bytes"),
    "a renewal of nobody": (shown(token(), messages.message("renew", [messages.integer(9)])), "not logged in"),
}


@pytest.mark.parametrize(("body", "match"), NOBODY.values(), ids=NOBODY)
def test_who_shows_no_right_token_gets_nothing(body: bytes, match: str) -> None:
    guarded = Guarded(InProcessTransport())
    (answer,) = guarded.door.answer([Request(guarded.address, body)])
    assert match in reason(answer)
    assert (guarded.got, guarded.registry.presence.revision(), len(guarded.registry.revoked)) == ([], 0, 0)


def test_a_burst_is_handed_on_as_one() -> None:
    guarded = Guarded(InProcessTransport())
    guarded.registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    bodies = [shown(token()), ASK, shown(token()), shown("x.y.z"), shown(token(NODES[1]))]
    answers = guarded.door.answer([Request(f"inproc:{at}", body) for at, body in enumerate(bodies)])
    assert [bool(reason(answer)) for answer in answers] == [False, True, False, True, True]
    assert guarded.bursts == 1
    assert guarded.got == [Request("inproc:0", ASK), Request("inproc:2", ASK)]
    assert guarded.registry.auth.signatures_checked == 2  # one for each token


def test_a_logout_counts_for_the_rest_of_its_burst() -> None:
    guarded = Guarded(InProcessTransport())
    guarded.registry.login.log_in(token(), entry(NODES[0]), ttl=60.0)
    out = shown(token(), messages.message("log_out", [messages.integer(1)]))
    answers = guarded.door.answer([Request("inproc:x", body) for body in (shown(token()), out, shown(token()))])
    assert ["it is revoked" in reason(answer) for answer in answers] == [False, False, True]
    assert len(guarded.got) == 1


def test_with_tokens_alone_nobody_needs_to_be_logged_in() -> None:
    registry = Registry()

    def only_the_first(grant: Grant) -> None:
        if grant.node != NODES[0].id:
            raise VerificationError("not for you")

    tip = messages.message("tip", [messages.integer(1)])
    guarded = Door(lambda requests: [tip] * len(requests), registry.auth, only_the_first)
    (mine,) = guarded.answer([Request("inproc:x", shown(token()))])
    (other,) = guarded.answer([Request("inproc:x", shown(token(NODES[1])))])
    (login,) = guarded.answer(
        [Request("inproc:x", shown(token(NODES[1]), messages.message("log_in", [messages.integer(9), b""])))]
    )
    assert (mine, reason(other), reason(login)) == (tip, "not for you", "not for you")


def test_a_transport_shows_the_token_of_the_moment_and_none_to_itself() -> None:
    tokens = ["first", "second", "third"]
    with InProcessTransport() as carrier:
        seen: list[bytes] = []

        def handle(requests: Sequence[Request]) -> list[bytes]:
            seen.extend(request.body for request in requests)
            return [b"answer"] * len(requests)

        mine = WithToken(carrier, lambda: tokens.pop(0))
        assert isinstance(mine, Transport)
        own, other = mine.serve(handle), carrier.serve(handle)
        body = b"to both"
        gather = mine.gather([Request(own, body), Request(other, body), Request(other, body)], SOON)
        assert gather.send([Request(other, b"later")]) == 3
        assert {response.body for response in gather.take(SOON)} == {b"answer"}
        assert gather.pending == 0
        assert mine.request(other, b"again", SOON) == b"answer"
        parts = [messages.parse(one).parts if one != body else [one] for one in seen]
        assert sorted(parts, key=repr) == sorted(
            [[body], [b"first", body], [b"first", body], [b"second", b"later"], [b"third", b"again"]], key=repr
        )
        assert len({id(one) for one in seen if one != body and b"both" in one}) == 1
        mine.stop(own)
        with pytest.raises(UnavailableError):
            carrier.request(own, b"", SOON)


# --- what they are made with -----------------------------------------------------------------------------------------

POISONS = [None, 1, 1.5, True, "text", b"bytes", bytearray(32), [], {}, object(), type, lambda: None]


def test_wrong_arguments(registry: Registry) -> None:
    right = {"auth": registry.auth, "presence": registry.presence, "clock": registry.clock}
    for name in right:
        for wrong in POISONS:
            with pytest.raises(TypeError, match=name):
                Login(**(right | {name: wrong}))  # type: ignore[arg-type]
    for wrong in (1, "x", object()):
        with pytest.raises(TypeError, match="storage"):
            Login(**right, storage=wrong)  # type: ignore[arg-type]
    for name, numbers in (("lease_s_max", (0, -1, 1e10, float("nan"))), ("cache_s", (-1, 61.0, float("inf")))):
        for wrong in (None, "1", True):
            with pytest.raises(TypeError, match=name):
                Login(**right, **{name: wrong})  # type: ignore[arg-type]
        for number in numbers:
            with pytest.raises(InputError, match=name):
                Login(**right, **{name: number})  # type: ignore[arg-type]
    for wrong in POISONS:
        if not callable(wrong):
            with pytest.raises(TypeError, match="handler"):
                Door(wrong, registry.auth)  # type: ignore[arg-type]
            if wrong is not None:
                with pytest.raises(TypeError, match="may"):
                    Door(len, registry.auth, wrong)  # type: ignore[arg-type]
            if not isinstance(wrong, str):
                with pytest.raises(TypeError, match="token"):
                    WithToken(InProcessTransport(), wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="auth"):
            Door(len, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="transport"):
            WithToken(wrong, "token")  # type: ignore[arg-type]
        if not isinstance(wrong, bytes):
            with pytest.raises(TypeError, match="network"):
                signed_record(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="32 bytes"):
        signed_record(b"short")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_poison(registry: Registry) -> None:
    """Wrong types and values into every call, with a right token: the documented errors only, and nothing changes."""
    login = registry.login
    login.log_in(token(), entry(NODES[0]), ttl=60.0)
    mine = WithToken(InProcessTransport(), token())
    node = records.NodeRecord.from_bytes(record(NODES[0]))
    numbers = (float("nan"), float("inf"), -1, 0, 10**400, -(10**40))
    for wrong in [*POISONS, *numbers]:
        calls: list[Callable[[], object]] = [
            lambda wrong=wrong: login.log_in(wrong, entry(NODES[0], 9), ttl=1.0),
            lambda wrong=wrong: login.log_in(token(), wrong, ttl=1.0),
            lambda wrong=wrong: login.renew(wrong, ttl=1.0),
            lambda wrong=wrong: login.log_out(wrong, 1),
            lambda wrong=wrong: login.authorise(wrong),
            lambda wrong=wrong: login.check(wrong),
            lambda wrong=wrong: door.log_in(wrong, "inproc:x", node, ttl=1.0, deadline=0.0),
            lambda wrong=wrong: door.log_in(mine, "inproc:x", wrong, ttl=1.0, deadline=0.0),
            lambda wrong=wrong: door.renew(wrong, "inproc:x", ttl=1.0, deadline=0.0),
            lambda wrong=wrong: door.log_out(wrong, "inproc:x", 1, deadline=0.0),
        ]
        if not isinstance(wrong, bytes):
            calls.append(lambda wrong=wrong: login.expel(wrong))
        if not _is_number(wrong) or not 0 < wrong < 1e9:  # type: ignore[operator]
            calls += [
                lambda wrong=wrong: login.log_in(token(), entry(NODES[0], 9), ttl=wrong),
                lambda wrong=wrong: login.renew(token(), ttl=wrong),
                lambda wrong=wrong: door.log_in(mine, "inproc:x", node, ttl=wrong, deadline=0.0),
                lambda wrong=wrong: door.renew(mine, "inproc:x", ttl=wrong, deadline=0.0),
            ]
        if isinstance(wrong, bool | float) or wrong not in (1, 0):
            calls += [
                lambda wrong=wrong: login.log_out(token(), wrong),
                lambda wrong=wrong: door.log_out(mine, "inproc:x", wrong, deadline=0.0),
            ]
        for call in calls:
            with pytest.raises((TypeError, InputError, VerificationError, UnavailableError)):
                call()
    assert registry.there() == [NODES[0].id]
    assert registry.presence.revision() == 1
