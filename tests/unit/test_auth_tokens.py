"""Tokens: which are taken, which are refused, with which error, and at what cost."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given

from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import TOKEN_BYTES_MAX, JwtAuth
from city_chain.adapters.auth.revoked import Revoked
from city_chain.adapters.clock import ManualClock
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.ports import Auth, Grant
from tests.tokens import AUDIENCE, ISSUER, NODE, NOW_MS, Issuer, b64, claims_with, jwks

pytestmark = pytest.mark.unit

ONE, TWO, FORGER = Issuer("one", 1), Issuer("two", 2), Issuer("one", 9)
NOW = NOW_MS // 1000


class Desk:
    """An issuer's keys, a clock that stands still, and who checks."""

    def __init__(self, **options: object) -> None:
        self.clock = ManualClock(now_ms=NOW_MS)
        self.keys = Jwks(jwks(ONE, TWO), clock=self.clock)
        self.revoked = Revoked(clock=self.clock)
        self.auth = JwtAuth(
            self.keys,
            issuer=ISSUER,
            audience=AUDIENCE,
            clock=self.clock,
            revoked=self.revoked,
            **options,  # type: ignore[arg-type]
        )

    def refused(self, token: str | bytes, match: str, *, signatures: int = 0) -> None:
        """It is refused, with that error, after so many verifications of signatures."""
        before = self.auth.signatures_checked
        with pytest.raises(VerificationError, match=match):
            self.auth.check(token)
        assert self.auth.signatures_checked - before == signatures


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_a_right_token(desk: Desk) -> None:
    assert isinstance(desk.auth, Auth)
    grant = desk.auth.check(ONE.token())
    assert grant == Grant(NODE, "token-1", NOW_MS + 600_000)
    assert desk.auth.signatures_checked == 1


@pytest.mark.parametrize(
    "token",
    [
        ONE.token(header={"alg": "Ed25519"}),
        ONE.token(header={"typ": "at+JWT"}),
        ONE.token(aud=["osaka", AUDIENCE]),
        ONE.token(nbf=None),
        ONE.token(exp=NOW + 0.5),
        ONE.token(scope="anything else", nested={"a": [1, None]}),
        TWO.token(),
        ONE.signed({"alg": "EdDSA", "kid": "one"}, claims_with()),
    ],
)
def test_other_right_tokens(desk: Desk, token: str) -> None:
    assert desk.auth.check(token).node == NODE
    assert desk.auth.check(token.encode()).node == NODE  # the same in bytes: remembered
    assert desk.auth.signatures_checked == 1


def test_the_second_time_costs_no_signature(desk: Desk) -> None:
    token = ONE.token()
    for _ in range(100):
        assert desk.auth.check(token).token == "token-1"
    assert desk.auth.signatures_checked == 1


def test_rfc_8037_a_4() -> None:
    """The JWS of appendix A.4, verified (A.5) with the key of A.2."""
    public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key = {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": "A.2"}
    found = Jwks(json.dumps({"keys": [key]}).encode()).find("A.2")
    assert found is not None
    body = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    text = b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    signature = base64.urlsafe_b64decode(text + b"==")
    assert found.verify(body, signature)
    assert not found.verify(body[:-1] + b"d", signature)
    assert not found.verify(body, signature[:-1] + b"\x00")


# --- what is refused -------------------------------------------------------------------------------------------------

HEADER = {"alg": "EdDSA", "kid": "one"}
SIGNED = ONE.token()
HEAD, BODY, SIGNATURE = SIGNED.split(".")

REFUSED: dict[str, tuple[str, str]] = {
    "alg=none, no signature": (f"{b64(json.dumps({'alg': 'none'}).encode())}.{BODY}.", "algorithm is 'none'"),
    "alg=None": (ONE.token(header={"alg": "None"}), "algorithm is 'None'"),
    "HS256": (ONE.token(header={"alg": "HS256"}), "algorithm is 'HS256'"),
    "RS256": (ONE.token(header={"alg": "RS256"}), "algorithm is 'RS256'"),
    "Ed448": (ONE.token(header={"alg": "Ed448"}), "algorithm is 'Ed448'"),
    "no alg": (ONE.signed({"kid": "one"}, claims_with()), "algorithm is None"),
    "alg is a list": (ONE.signed({"alg": ["EdDSA"], "kid": "one"}, claims_with()), "algorithm is a list"),
    "crit": (ONE.token(header={"crit": ["exp"]}), "header has 'crit'"),
    "b64": (ONE.token(header={"b64": False}), "header has 'b64'"),
    "jwk": (FORGER.token(header={"jwk": FORGER.jwk}), "header has 'jwk'"),
    "jku": (ONE.token(header={"jku": "https://evil.example"}), "header has 'jku'"),
    "zip": (ONE.token(header={"zip": "DEF"}), "header has 'zip'"),
    "cty": (ONE.token(header={"cty": "JWT"}), "header has 'cty'"),
    "alg twice": (ONE.signed('{"alg":"none","kid":"one","alg":"EdDSA"}', claims_with()), "header has 'alg' twice"),
    "alg twice, spelt otherwise": (
        ONE.signed('{"alg":"none","kid":"one","\\u0061lg":"EdDSA"}', claims_with()),
        "header has 'alg' twice",
    ),
    "sub twice": (ONE.signed(HEADER, json.dumps(claims_with())[:-1] + ',"sub":"00"}'), "claims has 'sub' twice"),
    "a name twice inside": (
        ONE.signed(HEADER, json.dumps(claims_with())[:-1] + ',"x":[{"y":1,"y":2}]}'),
        "claims has 'y' twice",
    ),
    "typ": (ONE.token(header={"typ": "JWE"}), "type is 'JWE'"),
    "typ is a number": (ONE.token(header={"typ": 1}), "type is 1"),
    "no kid": (ONE.signed({"alg": "EdDSA"}, claims_with()), "kid is None"),
    "kid is long": (ONE.token(header={"kid": "k" * 129}), "kid is"),
    "kid is a path": (ONE.token(header={"kid": "../../dev/null"}), "key '../../dev/null' is not one of the issuer's"),
    "unknown kid": (ONE.token(header={"kid": "three"}), "key 'three' is not one of the issuer's"),
    "issuer": (ONE.token(iss="https://evil.example"), "issuer is 'https://evil.example'"),
    "no issuer": (ONE.token(iss=None), "issuer is None"),
    "audience": (ONE.token(aud="osaka"), "audience is 'osaka'"),
    "audiences": (ONE.token(aud=["osaka", "kyoto"]), "audience is a list"),
    "no audience": (ONE.token(aud=None), "audience is None"),
    "the right audience after too many": (ONE.token(aud=["osaka"] * 16 + [AUDIENCE]), "audience is a list"),
    "expired": (ONE.token(iat=NOW - 700, nbf=None, exp=NOW - 5), "expired, 5 s ago"),
    "not yet": (ONE.token(nbf=NOW + 6), "valid only in 6 s"),
    "issued in the future": (ONE.token(iat=NOW + 60, nbf=None), "valid only in 60 s"),
    "issued in the future, valid before": (ONE.token(iat=NOW + 60), "valid only in 60 s"),
    "lasts too long": (ONE.token(exp=NOW + 86_401), "it lasts 86401 s"),
    "lasts no time": (ONE.token(exp=NOW), "it lasts 0 s"),
    "exp is a text": (ONE.token(exp=str(NOW + 600)), "exp is"),
    "exp is true": (ONE.token(exp=True), "exp is True"),
    "exp is huge": (ONE.signed(HEADER, json.dumps(claims_with(exp=0))[:-2] + "1e999}"), "exp is inf"),
    "exp is NaN": (ONE.token(exp=float("nan")), "NaN for a number"),
    "exp is negative": (ONE.token(exp=-1), "exp is -1"),
    "no exp": (ONE.token(exp=None), "exp is None"),
    "no iat": (ONE.token(iat=None), "iat is None"),
    "nbf is a list": (ONE.token(nbf=[NOW]), "nbf is a list"),
    "digits without end": (ONE.signed(HEADER, '{"exp":' + "9" * 5000 + "}"), "claims is no JSON"),
    "no sub": (ONE.token(sub=None), "sub is None"),
    "sub is no node": (ONE.token(sub="alice"), "sub is 'alice'"),
    "sub in capitals": (ONE.token(sub=NODE.hex().upper()), "sub is"),
    "sub and a line": (ONE.token(sub=NODE.hex() + "\n"), "sub is"),
    "no jti": (ONE.token(jti=None), "jti is None"),
    "jti is long": (ONE.token(jti="j" * 129), "jti is"),
    "jti is empty": (ONE.token(jti=""), "jti is ''"),
    "claims are a list": (ONE.signed(HEADER, []), "claims is no JSON object but list"),
    "header is a list": (ONE.signed([], claims_with()), "header is no JSON object but list"),
    "header is no JSON": (ONE.signed("{", claims_with()), "header is no JSON"),
    "claims are deep": (ONE.signed(HEADER, "[" * 5000), "claims is no JSON"),
    "audience is deep": (
        ONE.signed(HEADER, json.dumps(claims_with(aud=0)).replace('"aud": 0', '"aud": ' + "[" * 900 + "]" * 900)),
        "audience is a list",
    ),
    "a long header": (ONE.token(header={"kid": "k" * 900}), "header has .* characters"),
    "nothing": ("", "1 parts"),
    "two parts": (f"{HEAD}.{BODY}", "2 parts"),
    "five parts, as encrypted ones have": (f"{HEAD}.{BODY}.{SIGNATURE}..", "4 parts"),
    "padding": (f"{HEAD}.{BODY}.{SIGNATURE}==", "signature is not canonical"),
    "a blank": (f"{HEAD}.{BODY}.{SIGNATURE} ", "signature is not canonical"),
    "the other alphabet": (f"{HEAD}.{BODY}.{'+' + SIGNATURE[1:]}", "signature is not canonical"),
    "bits to spare": (f"{HEAD}.{BODY}.{SIGNATURE[:-1] + 'B'}", "signature is not canonical"),
    "a short signature": (f"{HEAD}.{BODY}.{SIGNATURE[:-6]}", "signature has 60 bytes"),
    "no signature": (f"{HEAD}.{BODY}.", "signature has 0 bytes"),
    "too long": (SIGNED + "A" * TOKEN_BYTES_MAX, "characters, at most 8192"),
    "not ASCII": (SIGNED + "é", "not ASCII"),
}


@pytest.mark.parametrize(("token", "match"), REFUSED.values(), ids=REFUSED)
def test_refused_without_a_signature_checked(desk: Desk, token: str, match: str) -> None:
    desk.refused(token, match)
    desk.refused(token.encode(), match.replace("characters, at", "bytes, at") if token.isascii() else "canonical")
    assert desk.auth.check(SIGNED).node == NODE  # and nothing of it stays


@pytest.mark.parametrize(
    "token",
    [
        FORGER.token(),
        TWO.token(header={"kid": "one"}),
        f"{HEAD}.{b64(json.dumps(claims_with(sub='11' * 32)).encode())}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{b64(bytes(64))}",
        f"{HEAD}.{BODY}.{b64(bytes(32) + b'\xff' * 32)}",
    ],
    ids=["forged", "wrong key", "claims of another", "zeros", "no scalar"],
)
def test_a_wrong_signature_costs_one_check_and_the_second_time_none(desk: Desk, token: str) -> None:
    desk.refused(token, "signature is not that of the issuer's key 'one'", signatures=1)
    desk.refused(token, "signature is not that of the issuer's key 'one'")
    assert desk.auth.check(SIGNED).node == NODE


def test_the_wrong_algorithm_is_seen_before_anything_else(desk: Desk) -> None:
    wrong_everywhere = ONE.signed({"alg": "none", "crit": ["b64"], "kid": 7}, "no JSON")
    desk.refused(wrong_everywhere, "algorithm is 'none'")


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [False, True])
def test_it_runs_out_at_its_instant(remembered: bool) -> None:
    desk = Desk(leeway_s=2.0)
    token = ONE.token()
    if remembered:
        desk.auth.check(token)
    desk.clock.set_now_ms(NOW_MS + 602_000 - 1)
    assert desk.auth.check(token).node == NODE
    desk.clock.set_now_ms(NOW_MS + 602_000)
    desk.refused(token, "expired, 2 s ago")
    assert desk.auth._known == {}  # it is not kept any longer


@pytest.mark.parametrize("remembered", [False, True])
def test_it_begins_at_its_instant(remembered: bool) -> None:
    desk = Desk(leeway_s=2.0)
    token = ONE.token(nbf=NOW + 10)
    if remembered:
        desk.clock.set_now_ms(NOW_MS + 10_000)
        desk.auth.check(token)
    desk.clock.set_now_ms(NOW_MS + 8_000 - 1)
    desk.refused(token, "valid only in")
    desk.clock.set_now_ms(NOW_MS + 8_000)
    assert desk.auth.check(token).node == NODE


# --- keys that go, and what is revoked -------------------------------------------------------------------------------


def test_a_rotated_key_is_refused_at_once(desk: Desk) -> None:
    token, other = ONE.token(), TWO.token(jti="token-2")
    desk.auth.check(token)
    desk.auth.check(other)
    desk.keys.use(jwks(TWO))
    desk.refused(token, "key 'one' is not one of the issuer's")
    desk.auth.check(other)
    assert desk.auth.signatures_checked == 2  # the key that stayed is the same
    desk.keys.use(jwks(ONE, TWO))
    desk.auth.check(token)  # it came back
    assert desk.auth.signatures_checked == 3


def test_another_key_under_an_old_name(desk: Desk) -> None:
    token, theirs = ONE.token(), FORGER.token()
    desk.auth.check(token)
    desk.refused(theirs, "signature", signatures=1)
    desk.keys.use(jwks(FORGER))
    desk.refused(token, "signature", signatures=1)
    assert desk.auth.check(theirs).node == NODE  # that it was wrong once does not count under another key


def test_a_revoked_token(desk: Desk) -> None:
    token, other = ONE.token(), ONE.token(jti="token-2")
    grant = desk.auth.check(token)
    desk.auth.revoke(grant)
    desk.refused(token, "it is revoked \\(jti 'token-1'\\)")
    desk.refused(ONE.token(exp=NOW + 601), "it is revoked")  # by its id, whatever else it says
    desk.auth.check(other)
    desk.clock.set_now_ms(grant.expires_ms + 5_000)
    desk.refused(token, "expired")


def test_a_revoked_node(desk: Desk) -> None:
    desk.auth.check(ONE.token())
    desk.auth.revoke_node(NODE)
    desk.refused(ONE.token(), f"node {NODE.hex()[:16]} is revoked")
    desk.refused(ONE.token(jti="new"), "is revoked")
    assert desk.auth.check(ONE.token(sub="22" * 32)).node == b"\x22" * 32
    desk.revoked.allow_node(NODE)
    desk.auth.check(ONE.token())


def test_what_is_remembered_is_bounded() -> None:
    desk = Desk(remembered_max=3)
    right = [ONE.token(jti=f"t{number}") for number in range(10)]
    wrong = [FORGER.token(jti=f"t{number}") for number in range(10)]
    for token in right:
        desk.auth.check(token)
    for token in wrong:
        desk.refused(token, "signature", signatures=1)
    assert len(desk.auth._known) == len(desk.auth._wrong) == 3
    before = desk.auth.signatures_checked
    for token in right[-3:]:
        desk.auth.check(token)
    assert desk.auth.signatures_checked == before
    desk.auth.check(right[0])
    assert desk.auth.signatures_checked == before + 1
    nothing = Desk(remembered_max=0)
    for _ in range(2):
        nothing.auth.check(right[0])
    assert nothing.auth.signatures_checked == 2


# --- anything --------------------------------------------------------------------------------------------------------

SHARED = Desk()


def verdict(desk: Desk, token: str | bytes) -> Grant | str:
    """What a token says, or why it is refused."""
    try:
        return desk.auth.check(token)
    except VerificationError as error:
        return str(error)


def only_refused(token: str | bytes) -> None:
    said = verdict(SHARED, token)
    assert isinstance(said, str), f"taken: {token!r}"
    assert said.startswith("token: ")
    assert len(said) < 300


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
def test_anything_is_refused(token: str | bytes) -> None:
    only_refused(token)


@given(st.data())
def test_a_token_with_any_change_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SIGNED) - 1))
    kind = data.draw(st.sampled_from(["other", "out", "in", "cut", "twice"]))
    char = data.draw(st.sampled_from("ABCdef019-_.=+/ \x00"))
    changed = {
        "other": SIGNED[:at] + char + SIGNED[at + 1 :],
        "out": SIGNED[:at] + SIGNED[at + 1 :],
        "in": SIGNED[:at] + char + SIGNED[at:],
        "cut": SIGNED[:at],
        "twice": SIGNED[:at] + SIGNED,
    }[kind]
    if changed != SIGNED:
        only_refused(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from(["alg", "kid", "typ", "crit", "iss", "aud", "sub", "jti", "iat", "exp", "nbf"]),
    JSON,
)
def test_any_value_in_any_place(name: str, value: object) -> None:
    """Signed by the issuer, with one value that is anything: only a right value is taken."""
    desk = Desk()
    in_header = name in {"alg", "kid", "typ", "crit"}
    token = ONE.token(header={name: value}) if in_header else ONE.token(**{name: value})
    said = verdict(desk, token)
    if isinstance(said, str):
        assert len(said) < 300
    else:
        assert name in {"iat", "exp", "nbf", "jti"}
        assert said.node == NODE


# --- what it is made with --------------------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    keys = Jwks(jwks(ONE))
    right: dict[str, object] = {"keys": keys, "issuer": "i", "audience": "a"}
    numbers = ("leeway_s", "lifetime_s_max", "remembered_max")
    for name in ("keys", "issuer", "audience", "clock", "revoked", *numbers):
        for wrong in (1j, b"x", [], True, object()):
            with pytest.raises(TypeError, match=name):
                JwtAuth(**(right | {name: wrong}))  # type: ignore[arg-type]
        if name in numbers:
            for wrong in (-1, 10**30):
                with pytest.raises(InputError, match=name):
                    JwtAuth(**(right | {name: wrong}))  # type: ignore[arg-type]
    for name in ("issuer", "audience"):
        for wrong in ("", "x" * 257):
            with pytest.raises(InputError, match=name):
                JwtAuth(**(right | {name: wrong}))  # type: ignore[arg-type]
    for number in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="leeway_s"):
            JwtAuth(keys, issuer="i", audience="a", leeway_s=number)


@pytest.mark.parametrize("wrong", [None, 1, 1.5, True, [], object(), bytearray(b"x"), memoryview(b"x")])
def test_wrong_types(desk: Desk, wrong: object) -> None:
    calls: list[Callable[[], object]] = [
        lambda: desk.auth.check(wrong),  # type: ignore[arg-type]
        lambda: desk.auth.revoke(wrong),  # type: ignore[arg-type]
        lambda: desk.auth.revoke_node(wrong),  # type: ignore[arg-type]
        lambda: desk.revoked.allow_node(wrong),  # type: ignore[arg-type]
        lambda: desk.revoked.revoke_token(wrong, 1),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "joserfc":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ImportError, match=r"pip install 'city-chain\[auth\]'"):
        Jwks(jwks(ONE))


def test_keys_that_cannot_be_had_are_no_fault_of_the_token() -> None:
    def fetch() -> bytes:
        raise OSError("no route to host")

    clock = ManualClock(now_ms=NOW_MS)
    auth = JwtAuth(Jwks(fetch, clock=clock), issuer=ISSUER, audience=AUDIENCE, clock=clock)
    with pytest.raises(UnavailableError, match="no route to host") as caught:
        auth.check(SIGNED)
    assert isinstance(caught.value, CityChainError)
    with pytest.raises(VerificationError, match="audience"):
        auth.check(ONE.token(aud="osaka"))
