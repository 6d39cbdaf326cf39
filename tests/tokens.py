"""Makes tokens, right ones and all kinds of wrong ones."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW_MS = 1_800_000_000_000
ISSUER, AUDIENCE = "https://issuer.example", "tokyo"
NODE = bytes(range(32))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self, kid: str = "one", seed: int = 1) -> None:
        self.kid = kid
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self.key.public_key().public_bytes_raw()

    @property
    def jwk(self) -> dict[str, object]:
        return {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": b64(self.public)}

    def signed(self, header: object, claims: object) -> str:
        """Any two JSON values, or texts as they stand, signed."""
        parts = [one if isinstance(one, str) else json.dumps(one) for one in (header, claims)]
        body = ".".join(b64(part.encode()) for part in parts)
        return f"{body}.{b64(self.key.sign(body.encode()))}"

    def token(self, *, header: dict[str, object] | None = None, **claims: object) -> str:
        """A right token, save what is said to be otherwise; a claim of None is left out."""
        return self.signed({"alg": "EdDSA", "kid": self.kid, "typ": "JWT", **(header or {})}, claims_with(**claims))


def claims_with(**claims: object) -> dict[str, object]:
    now = NOW_MS // 1000
    right: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": NODE.hex(),
        "jti": "token-1",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (right | claims).items() if value is not None}


def jwks(*issuers: Issuer) -> bytes:
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()
