"""Tokens: a JWT with EdDSA verified the first time and shown again, and refused where it is forged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OKPKey

from city_chain.adapters.auth.jwks import Jwks
from city_chain.adapters.auth.jwt import JwtAuth
from city_chain.errors import VerificationError
from peers.harness import OURS, Contest, Entry, Peers, often

TITLE = "Tokens"
LEFT_OUT: dict[str, str] = {}

_CALLS = 200
_AGAIN = 20_000


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """The first time, again, and one that is refused for its audience."""
    pyjwt = peers.find("jwt", "pyjwt")
    key = OKPKey.generate_key("Ed25519", {"kid": "one"})
    now = int(time.time())
    claims = {"iss": "issuer", "sub": "ab" * 32, "jti": "1", "iat": now, "exp": now + 36_000}
    right, wrong = (
        joserfc_jwt.encode({"alg": "Ed25519", "kid": "one"}, claims | {"aud": aud}, key, algorithms=["Ed25519"])
        for aud in ("tokyo", "osaka")
    )
    keys = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
    first = JwtAuth(Jwks(keys), issuer="issuer", audience="tokyo", remembered_max=0)
    again = JwtAuth(Jwks(keys), issuer="issuer", audience="tokyo")
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": "issuer"}, aud={"essential": True, "value": "tokyo"}
    )

    def joserfc(token: str) -> Any:
        found = joserfc_jwt.decode(token, key, algorithms=["Ed25519"])
        registry.validate(found.claims)
        return found.claims

    entries = [
        Entry(f"{OURS}: check, first time", often(lambda: first.check(right), _CALLS), _CALLS),
        Entry("joserfc: decode, validate", often(lambda: joserfc(right), _CALLS), _CALLS),
    ]
    theirs: Callable[[str], Any] | None = None
    if pyjwt is not None:
        public = key.public_key

        def theirs(token: str) -> Any:
            options = {"require": ["exp", "iat"]}
            return pyjwt.decode(token, public, algorithms=["EdDSA"], issuer="issuer", audience="tokyo", options=options)

        eddsa = joserfc_as_eddsa(claims | {"aud": "tokyo"}, key)
        entries.append(Entry("pyjwt: decode", often(lambda: theirs(eddsa), _CALLS), _CALLS, note="alg EdDSA"))

    def check() -> None:
        assert first.check(right) == again.check(right) == again.check(right)
        assert again.signatures_checked == 1
        assert joserfc(right)["jti"] == "1"
        if pyjwt is not None:
            assert theirs(eddsa)["jti"] == "1"

    why = "the verification is OpenSSL's for all of them"
    yield Contest("a token verified the first time", entries, check, why=why)
    shown = Entry(f"{OURS}: check, again", often(lambda: again.check(right), _AGAIN), _AGAIN, note="remembered")
    yield Contest("a token shown again", [shown, *entries[1:]], check)

    def refused() -> None:
        try:
            first.check(wrong)
        except VerificationError:
            return
        raise AssertionError("a token for another audience was taken")

    def refused_by_joserfc() -> None:
        try:
            joserfc(wrong)
        except Exception as error:
            if type(error).__name__ == "InvalidClaimError":
                return
            raise
        raise AssertionError("a token for another audience was taken")

    refusals = [
        Entry(f"{OURS}: check", often(refused, _CALLS), _CALLS, note="before the signature"),
        Entry("joserfc: decode, validate", often(refused_by_joserfc, _CALLS), _CALLS),
    ]
    yield Contest("a token for another audience refused", refusals, check)


def joserfc_as_eddsa(claims: dict[str, Any], key: OKPKey) -> str:
    """The same under the older name of the algorithm, which joserfc warns of."""
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return joserfc_jwt.encode({"alg": "EdDSA", "kid": "one"}, claims, key, algorithms=["EdDSA"])
