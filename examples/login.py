"""Login over TCP: an issuer's token puts a node on the list of its region; whoever shows none gets nothing."""

import json
import time

from joserfc import jwt
from joserfc.jwk import OKPKey

from city_chain import records
from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import JwtAuth
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import ProtocolError
from city_chain.node import Door, Login, WithToken, door, signed_record
from city_chain.stages import messages

network, clock, now = bytes(32), SystemClock(), int(time.time())
# The issuer has a key, and publishes its public half. It gives a node, whose id it knows, a token of ten minutes.
issuer = OKPKey.generate_key("Ed25519", {"kid": "2026-12"})
node = records.Identity(bytes(range(32)))
claims = {
    "iss": "https://issuer.example",
    "aud": "tokyo",
    "sub": node.id.hex(),
    "jti": "1",
    "iat": now,
    "exp": now + 600,
}
token = jwt.encode({"alg": "Ed25519", "kid": "2026-12"}, claims, issuer, algorithms=["Ed25519"])

# The registry reads the issuer's keys (here bytes; else a file, or a function that fetches them) and keeps the list.
keys = Jwks(json.dumps({"keys": [issuer.as_dict(private=False)]}).encode())
auth = JwtAuth(keys, issuer="https://issuer.example", audience="tokyo")
presence = MemoryPresence(check=signed_record(network))
registry = Door(lambda burst: [b"hello"] * len(burst), Login(auth, presence, clock))

with TcpTransport() as here, TcpTransport() as there:
    address = here.serve(registry.answer, "tcp:127.0.0.1:0")
    soon = clock.monotonic() + 10
    where = {"network": network, "region": "tokyo", "domain": "north", "address": "tcp:127.0.0.1:7100"}
    record = records.NodeRecord(node, **where, roles=records.HOLDER, weight=1, stake=0, sequence=1, hlc=now << 16)

    refusal = messages.parse(there.request(address, b"?", soon)).kind
    print("without a token:", refusal)
    mine = WithToken(there, token)
    lease = door.log_in(mine, address, record, ttl=3600.0, deadline=soon)
    listed = [entry.node for entry in presence.list(clock.monotonic(), "tokyo").entries]
    print(f"logged in for {lease.ttl_s:.0f} s, no longer than the token lasts: {len(listed)} on the list")
    answer = mine.request(address, messages.message("announce"), soon)
    door.log_out(mine, address, sequence=1, deadline=soon)
    try:
        door.log_in(mine, address, record, ttl=3600.0, deadline=soon)
        raise SystemExit("a token was taken after its logout")
    except ProtocolError as error:
        print(error)

assert (refusal, answer, listed) == ("refused", b"hello", [node.id])
assert (lease.ttl_s <= 600, presence.list(clock.monotonic(), "tokyo").entries) == (True, [])
