"""An issuer's keys: read, kept and read again; and what is revoked: kept, bounded, forgotten in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from city_chain.adapters.auth.jwks import JWKS_BYTES_MAX, KEYS_MAX, Jwks
from city_chain.adapters.auth.revoked import Revoked
from city_chain.adapters.clock import ManualClock
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError, StorageError, UnavailableError
from tests.tokens import NOW_MS, Issuer, jwks

pytestmark = pytest.mark.unit

ONE, TWO = Issuer("one", 1), Issuer("two", 2)


class Source:
    """Where keys are fetched from; counts how often."""

    def __init__(self, *issuers: Issuer) -> None:
        self.clock = ManualClock(now_ms=NOW_MS)
        self.data: bytes | Exception = jwks(*issuers)
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if isinstance(self.data, Exception):
            raise self.data
        return self.data

    def keys(self) -> Jwks:
        return Jwks(self, clock=self.clock, fresh_s=300.0, retry_s=30.0, stale_s=3600.0)


def names(keys: Jwks) -> set[str]:
    return {kid for kid in ("one", "two", "three") if keys.find(kid) is not None}


# --- reading again ---------------------------------------------------------------------------------------------------


def test_a_function_is_asked_when_a_key_is_needed_and_again_when_it_is_due() -> None:
    source = Source(ONE)
    keys = source.keys()
    assert source.asked == 0
    for _ in range(10):
        assert names(keys) == {"one"}
    assert source.asked == 1
    source.data = jwks(TWO)
    source.clock.advance(299.9)
    assert names(keys) == {"one"}
    source.clock.advance(0.1)
    assert names(keys) == {"two"}  # the old key has left
    assert source.asked == 2


def test_an_unknown_key_makes_it_ask_at_most_once_in_a_while() -> None:
    source = Source(ONE)
    keys = source.keys()
    assert keys.find_or_ask("one") is not None
    source.data = jwks(ONE, TWO)
    for _ in range(100):
        assert keys.find_or_ask("two") is None  # just read: whoever makes up names does not make us ask
    assert source.asked == 1
    source.clock.advance(30.0)
    assert keys.find_or_ask("two") is not None
    assert source.asked == 2
    for name in range(100):
        assert keys.find_or_ask(f"made up {name}") is None
    assert source.asked == 2
    source.clock.advance(30.0)
    for name in range(100):
        assert keys.find_or_ask(f"made up {name}") is None
    assert source.asked == 3


def test_a_source_that_fails_leaves_the_old_keys_for_a_while() -> None:
    source = Source(ONE)
    keys = source.keys()
    first = keys.find("one")
    for trouble in (OSError("no route"), ValueError("what is this"), b"{", b'{"keys": 7}', "text", None):
        source.data = trouble  # type: ignore[assignment]
        source.clock.advance(300.0)
        asked = source.asked
        for _ in range(10):
            assert keys.find("one") is first
        assert source.asked == asked + 1
    source.data = OSError("no route to host")
    source.clock.advance(3600.0)
    for _ in range(10):
        with pytest.raises(UnavailableError, match="no route to host"):
            keys.find("one")
    source.data = jwks(ONE)
    source.clock.advance(30.0)
    assert keys.find("one") is first


def test_a_file_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", ManualClock(now_ms=NOW_MS)
    with pytest.raises(UnavailableError, match=r"keys\.json cannot be read"):
        Jwks(path, clock=clock)
    path.write_bytes(b"[]")
    with pytest.raises(InputError, match="no JSON object"):
        Jwks(str(path), clock=clock)
    path.write_bytes(jwks(ONE))
    keys = Jwks(path, clock=clock)
    path.write_bytes(jwks(TWO))
    assert names(keys) == {"one"}
    clock.advance(300.0)
    assert names(keys) == {"two"}
    path.unlink()
    clock.advance(300.0)
    assert names(keys) == {"two"}


def test_bytes_are_used_for_ever() -> None:
    clock = ManualClock(now_ms=NOW_MS)
    keys = Jwks(jwks(ONE), clock=clock)
    clock.advance(1e6)
    assert keys.find_or_ask("two") is None
    assert names(keys) == {"one"}
    with pytest.raises(InputError):
        keys.use(b"no set")
    assert names(keys) == {"one"}
    keys.use(jwks())
    assert names(keys) == set()


def test_many_threads_ask_once() -> None:
    entered, go = threading.Event(), threading.Event()
    source = Source(ONE)
    keys = source.keys()
    keys.find("one")
    source.clock.advance(300.0)
    slow = source.__call__

    def fetch() -> bytes:
        entered.set()
        assert go.wait(10)
        return slow()

    keys._source = fetch
    slow_one = threading.Thread(target=keys.find, args=("one",))
    slow_one.start()
    assert entered.wait(10)
    for _ in range(100):
        assert keys.find("one") is not None  # nobody else waits
        assert keys.find_or_ask("two") is None
    go.set()
    slow_one.join()
    assert source.asked == 2


# --- sets ------------------------------------------------------------------------------------------------------------


def set_of(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_keys_of_other_kinds_are_passed_over() -> None:
    others: list[dict[str, object]] = [
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "ec", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "x", "x": ONE.jwk["x"]},
        {"kty": "OKP", "crv": "Ed448", "kid": "x", "x": "AA"},
        ONE.jwk | {"use": "enc"},
        ONE.jwk | {"alg": "ES256"},
        ONE.jwk | {"key_ops": ["sign"]},
        {},
    ]
    assert names(Jwks(set_of(*others))) == set()
    more = {"use": "sig", "alg": "Ed25519", "key_ops": ["verify"], "x5t": "whatever"}
    assert names(Jwks(set_of(*others, ONE.jwk | more, TWO.jwk))) == {"one", "two"}


WRONG: dict[str, tuple[bytes, str]] = {
    "too long": (b" " * (JWKS_BYTES_MAX + 1), "at most 65536 bytes"),
    "no JSON": (b"{", "the set is no JSON"),
    "not UTF-8": (b"\xff", "the set is no JSON"),
    "a list": (b"[]", "no JSON object but list"),
    "keys twice": (b'{"keys": [], "keys": []}', "the set has 'keys' twice"),
    "no keys": (b"{}", 'has a list "keys"'),
    "keys are no list": (b'{"keys": {}}', 'has a list "keys"'),
    "too many": (set_of(*[{}] * (KEYS_MAX + 1)), "at most 64"),
    "a key that is none": (set_of(7), "one is no JSON object but int"),
    "a private key": (set_of(ONE.jwk | {"d": "AA"}), "a private or shared key"),
    "a shared key": (set_of({"kty": "oct", "k": "AA"}), "a private or shared key"),
    "one name twice": (set_of(ONE.jwk, TWO.jwk | {"kid": "one"}), "two have the name 'one'"),
    "no name": (set_of(ONE.jwk | {"kid": None}), "a name \\(kid\\) has"),
    "a long name": (set_of(ONE.jwk | {"kid": "k" * 129}), "a name \\(kid\\) has"),
    "no x": (set_of(ONE.jwk | {"x": None}), "no Ed25519 key of 43 characters"),
    "a short x": (set_of(ONE.jwk | {"x": "AAAA"}), "no Ed25519 key of 43 characters"),
    "x is not canonical": (set_of(ONE.jwk | {"x": "A" * 42 + "B"}), "the key 'one' is not canonical"),
    "x is not base64": (set_of(ONE.jwk | {"x": "=" * 43}), "not canonical"),
}


@pytest.mark.parametrize(("data", "match"), WRONG.values(), ids=WRONG)
def test_wrong_sets(data: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Jwks(data)
    keys = Jwks(jwks(ONE))
    with pytest.raises(InputError, match=match):
        keys.use(data)
    assert names(keys) == {"one"}


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(InputError, match="keys: "):
        Jwks(data)


def test_wrong_arguments() -> None:
    for wrong in (None, 1, 1.5, [], bytearray(b"{}")):
        with pytest.raises(TypeError, match="source"):
            Jwks(wrong)  # type: ignore[arg-type]
        if wrong is not None:
            with pytest.raises(TypeError):
                Jwks(jwks(), clock=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Jwks(jwks()).use(wrong)  # type: ignore[arg-type]
    for name in ("fresh_s", "retry_s", "stale_s"):
        for wrong in (None, "1", True, [1]):
            with pytest.raises(TypeError, match=name):
                Jwks(jwks(), **{name: wrong})  # type: ignore[arg-type]
        for number in (0, -1.0, float("nan"), float("inf"), 10**30):
            with pytest.raises(InputError, match=name):
                Jwks(jwks(), **{name: number})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stale_s must not be below"):
        Jwks(jwks(), fresh_s=10.0, stale_s=9.0)


# --- what is revoked -------------------------------------------------------------------------------------------------


def test_it_is_kept(tmp_path: Path) -> None:
    clock = ManualClock(now_ms=NOW_MS)
    with SqliteStorage(tmp_path / "auth.db") as storage:
        revoked = Revoked(storage, clock=clock)
        revoked.revoke_token("a", NOW_MS + 1000)
        for node in (b"1", b"2"):
            revoked.revoke_node(node)
        revoked.allow_node(b"2")
        revoked.allow_node(b"never there")
    with SqliteStorage(tmp_path / "auth.db") as storage:
        revoked = Revoked(storage, clock=clock)
        assert (revoked.has_token("a"), revoked.has_token("b")) == (True, False)
        assert (revoked.has_node(b"1"), revoked.has_node(b"2"), len(revoked)) == (True, False, 2)


def test_it_is_bounded_and_forgets_in_time() -> None:
    clock, storage = ManualClock(now_ms=NOW_MS), MemoryStorage()
    revoked = Revoked(storage, clock=clock, most=3)
    for number in range(3):
        revoked.revoke_token(f"t{number}", NOW_MS + 1000 * (number + 1))
        revoked.revoke_node(bytes([number]))
    revoked.revoke_token("t0", NOW_MS + 500)  # never counts for less than it did
    revoked.revoke_token("t0", NOW_MS + 1000)
    with pytest.raises(UnavailableError, match="full"):
        revoked.revoke_token("new", NOW_MS + 5000)
    with pytest.raises(UnavailableError, match="full"):
        revoked.revoke_node(b"new")
    assert (len(revoked), revoked.has_token("new")) == (6, False)
    clock.advance(1.0)
    revoked.revoke_token("new", NOW_MS + 5000)
    assert [revoked.has_token(name) for name in ("t0", "t1", "t2", "new")] == [False, True, True, True]
    assert len(list(storage.scan(b"revoked/t"))) == 3
    revoked.revoke_token("t1", NOW_MS + 9000)  # counts for longer now
    clock.advance(3.0)
    revoked.revoke_token("newer", NOW_MS + 9000)
    assert [revoked.has_token(name) for name in ("t1", "t2", "new", "newer")] == [True, False, True, True]


def test_a_storage_that_fails_changes_nothing() -> None:
    class Broken(MemoryStorage):
        broken = False

        def put_many(self, *args: object, **rest: object) -> None:
            if self.broken:
                raise StorageError("the disk is full")
            super().put_many(*args, **rest)  # type: ignore[arg-type]

        def delete_many(self, keys: object) -> None:
            if self.broken:
                raise StorageError("the disk is full")
            super().delete_many(keys)  # type: ignore[arg-type]

    clock, storage = ManualClock(now_ms=NOW_MS), Broken()
    revoked = Revoked(storage, clock=clock, most=2)
    revoked.revoke_token("a", NOW_MS + 1000)
    revoked.revoke_node(b"1")
    clock.advance(2.0)
    storage.broken = True
    calls: list[Callable[[], object]] = [
        lambda: revoked.revoke_token("b", NOW_MS + 9000),
        lambda: revoked.revoke_node(b"2"),
        lambda: revoked.allow_node(b"1"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="full"):
            call()
    assert (revoked.has_token("a"), revoked.has_token("b"), len(revoked)) == (True, False, 2)
    assert (revoked.has_node(b"1"), revoked.has_node(b"2")) == (True, False)
    storage.broken = False
    revoked.revoke_token("b", NOW_MS + 9000)
    assert (revoked.has_token("a"), revoked.has_token("b")) == (False, True)


def test_damaged_rows() -> None:
    for key, value in ((b"revoked/tshort", bytes(8)), (b"revoked/t" + bytes(32), bytes(7))):
        storage = MemoryStorage()
        storage.put_many({key: value})
        with pytest.raises(StorageError, match="damaged"):
            Revoked(storage)


def test_wrong_values() -> None:
    for most in (0, -1, 10**7):
        with pytest.raises(InputError, match="most"):
            Revoked(most=most)
    for wrong in ("1", 1.5, None, True):
        with pytest.raises(TypeError, match="most"):
            Revoked(most=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="until_ms"):
            Revoked().revoke_token("t", wrong)  # type: ignore[arg-type]
    for wrong in (1, "storage", b"x"):
        with pytest.raises(TypeError):
            Revoked(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Revoked(clock=wrong)  # type: ignore[arg-type]
    for until in (-1, 1 << 63):
        with pytest.raises(InputError, match="until_ms"):
            Revoked().revoke_token("t", until)
    for node in (b"", bytes(65)):
        with pytest.raises(InputError, match="node id"):
            Revoked().revoke_node(node)
        with pytest.raises(InputError, match="node id"):
            Revoked().allow_node(node)
