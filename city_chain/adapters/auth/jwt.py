"""Tokens: JWT (RFC 7519) signed with EdDSA over Ed25519 (RFC 8037; ``Ed25519`` as RFC 9864 calls it), and nothing else.

What is cheap to refuse is refused first, in this order: the size, the header (its algorithm before anything else), the
claims, what is revoked, the name of the key. Only what is left costs one verification of a signature. Until then, what
a token says is believed for one purpose only: to refuse it (RFC 8725 has the attacks that this leaves no room for).

A token that was verified is remembered by its hash. Shown again it costs microseconds: its times, its key, and what is
revoked are looked at each time, its signature is not. So is, for a while, a token whose signature was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from city_chain.adapters.auth.jwks import KID_CHARS_MAX, Jwks, Key
from city_chain.adapters.auth.reading import from_base64url, object_of, short
from city_chain.adapters.auth.revoked import Revoked
from city_chain.adapters.clock import SystemClock
from city_chain.errors import InputError, VerificationError
from city_chain.ports import Clock, Grant

__all__ = ["TOKEN_BYTES_MAX", "JwtAuth"]

TOKEN_BYTES_MAX = 8 << 10
"""Longest token, bytes."""

_HEADER_CHARS_MAX = 1024
_AUDIENCES_MAX = 16
_NAME_CHARS_MAX = 256
_SIGNATURE_BYTES = 64
_LEEWAY_S_MAX = 300.0
_LIFETIME_S_MAX = 366 * 86_400.0
_REMEMBERED_MAX = 1 << 20
_SECONDS_MAX = 253_402_300_799  # the end of the year 9999
_ALGORITHMS = {"EdDSA", "Ed25519"}
_TYPES = {"jwt", "at+jwt"}
_HEADER = {"alg", "kid", "typ"}
_NODE = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a token says, in the right form; not yet what is true."""

    kid: str
    grant: Grant
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was verified, and the key that it was verified with."""

    claims: _Claims
    key: Key


class JwtAuth:
    """Checks tokens against an issuer's keys. Keeps the contract of `ports.Auth`; safe to use from several threads.

    A token has in its header ``alg`` (EdDSA or Ed25519), ``kid`` and perhaps ``typ`` (JWT or at+jwt), no more; in its
    claims ``iss``, ``aud``, ``sub`` (the node's id: 64 hexadecimal digits), ``jti``, ``iat``, ``exp`` and perhaps
    ``nbf``; other claims are passed over.

    Args:
        keys: The issuer's keys.
        issuer: What ``iss`` must be.
        audience: What ``aud`` must be or have among others: the name of who is asked, so that a token shown to one
            service is of no use at another.
        clock: Physical time (default: the system's).
        leeway_s: How far clocks may be apart, 0 to 300 seconds.
        lifetime_s_max: The longest time from ``iat`` to ``exp``, seconds.
        revoked: What is revoked (default: a new list in memory).
        remembered_max: How many verified tokens are remembered, and how many wrong ones.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: One is out of range.

    Example:
        >>> keys = Jwks(b'{"keys": []}')
        >>> auth = JwtAuth(keys, issuer="https://issuer.example", audience="tokyo")
        >>> auth.check("eyJhbGciOiJub25lIn0.e30.")
        Traceback (most recent call last):
        ...
        city_chain.errors.VerificationError: token: its algorithm is 'none', only EdDSA (Ed25519) is taken
        >>> auth.signatures_checked
        0
    """

    signatures_checked: int
    """How many signatures were verified so far, right or wrong."""

    def __init__(
        self,
        keys: Jwks,
        *,
        issuer: str,
        audience: str,
        clock: Clock | None = None,
        leeway_s: float = 5.0,
        lifetime_s_max: float = 86_400.0,
        revoked: Revoked | None = None,
        remembered_max: int = 4096,
    ) -> None:
        for name, value, kind in (("keys", keys, Jwks), ("issuer", issuer, str), ("audience", audience, str)):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
        for name, text in (("issuer", issuer), ("audience", audience)):
            if not 0 < len(text) <= _NAME_CHARS_MAX:
                raise InputError(f"{name} must have 1 to {_NAME_CHARS_MAX} characters, not {len(text)}")
        if clock is not None and not isinstance(clock, Clock):
            raise TypeError(f"clock must be a ports.Clock or None, not {type(clock).__name__}")
        if revoked is not None and not isinstance(revoked, Revoked):
            raise TypeError(f"revoked must be a Revoked or None, not {type(revoked).__name__}")
        for name, number, most in (
            ("leeway_s", leeway_s, _LEEWAY_S_MAX),
            ("lifetime_s_max", lifetime_s_max, _LIFETIME_S_MAX),
        ):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise TypeError(f"{name} must be a number of seconds, not {type(number).__name__}")
            if not 0 <= number <= most:
                raise InputError(f"{name} must be 0 to {most:g} seconds, not {number}")
        if isinstance(remembered_max, bool) or not isinstance(remembered_max, int):
            raise TypeError(f"remembered_max must be an int, not {type(remembered_max).__name__}")
        if not 0 <= remembered_max <= _REMEMBERED_MAX:
            raise InputError(f"remembered_max must be 0 to {_REMEMBERED_MAX}, not {remembered_max}")
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock: Clock = SystemClock() if clock is None else clock
        self._leeway_ms = round(leeway_s * 1000)
        self._lifetime_ms_max = round(lifetime_s_max * 1000)
        self._revoked = Revoked(clock=self._clock) if revoked is None else revoked
        self._remembered_max = remembered_max
        self._lock = Lock()
        self._known: dict[bytes, _Known] = {}
        self._wrong: dict[bytes, Key] = {}
        self.signatures_checked = 0

    def check(self, token: str | bytes) -> Grant:
        """What a token says.

        Raises:
            TypeError: It is neither `str` nor `bytes`.
            VerificationError: It is malformed, of another algorithm, issuer or audience, not valid yet or any more,
                revoked, of a key that is not the issuer's now, or forged. The message says which.
            UnavailableError: The issuer's keys cannot be had.
        """
        data = _bytes_of(token)
        mark = sha256(data).digest()
        known = self._known.get(mark)
        claims = self._read(data) if known is None else known.claims
        try:
            self._refuse(claims)
            key = self._keys.find_or_ask(claims.kid)
            if key is None:
                raise VerificationError(f"token: its key {short(claims.kid)} is not one of the issuer's")
        except VerificationError:
            self._forget(mark)
            raise
        if known is None or known.key is not key:
            self._verify(data, mark, claims, key)
        return claims.grant

    def revoke(self, grant: Grant) -> None:
        """Refuses that token from now on, until it runs out anyway.

        Raises:
            TypeError: It is no `Grant`.
            UnavailableError: The list of what is revoked is full.
            StorageError: It cannot be kept; nothing was changed.
        """
        if not isinstance(grant, Grant):
            raise TypeError(f"a ports.Grant is needed, not {type(grant).__name__}")
        self._revoked.revoke_token(grant.token, grant.expires_ms + self._leeway_ms)

    def revoke_node(self, node: bytes) -> None:
        """Refuses all tokens of a node from now on, those to come too; see `Revoked.revoke_node` for what it raises."""
        self._revoked.revoke_node(node)

    # --- what costs no signature ---

    def _read(self, data: bytes) -> _Claims:
        """Takes a token apart. Nothing in it is true yet."""
        parts = data.split(b".", 3)
        if len(parts) != 3:
            raise VerificationError(f"token: it has {len(parts)} parts, exactly 3 are needed")
        if len(parts[0]) > _HEADER_CHARS_MAX:
            raise VerificationError(f"token: its header has {len(parts[0])} characters, at most {_HEADER_CHARS_MAX}")
        kid = _kid_of(object_of("header", from_base64url("header", parts[0])))
        signature = from_base64url("signature", parts[2])
        if len(signature) != _SIGNATURE_BYTES:
            raise VerificationError(f"token: its signature has {len(signature)} bytes, not {_SIGNATURE_BYTES}")
        claims = object_of("claims", from_base64url("claims", parts[1]))
        if claims.get("iss") != self._issuer:
            raise VerificationError(f"token: its issuer is {short(claims.get('iss'))}, not {short(self._issuer)}")
        named = claims.get("aud")
        audiences = named[:_AUDIENCES_MAX] if isinstance(named, list) else [named]
        if not any(isinstance(one, str) and one == self._audience for one in audiences):
            raise VerificationError(f"token: its audience is {short(named)}, not {short(self._audience)}")
        return self._claims(kid, claims)

    def _claims(self, kid: str, claims: Mapping[str, object]) -> _Claims:
        node, token = claims.get("sub"), claims.get("jti")
        if not isinstance(node, str) or not _NODE.match(node):
            raise VerificationError(f"token: its sub is {short(node)}, not a node's id of 64 hexadecimal digits")
        if not isinstance(token, str) or not _ID.match(token):
            raise VerificationError(f"token: its jti is {short(token)}, not 1 to 128 printable ASCII characters")
        issued_ms, expires_ms = _time_of(claims, "iat"), _time_of(claims, "exp")
        not_before_ms = _time_of(claims, "nbf") if "nbf" in claims else issued_ms
        if not 0 < expires_ms - issued_ms <= self._lifetime_ms_max:
            lasts = f"it lasts {(expires_ms - issued_ms) / 1000:g} s"
            raise VerificationError(f"token: {lasts}, above 0 and at most {self._lifetime_ms_max / 1000:g} are allowed")
        grant = Grant(bytes.fromhex(node), token, expires_ms)
        return _Claims(kid, grant, max(issued_ms, not_before_ms))

    def _refuse(self, claims: _Claims) -> None:
        """Refuses what has run out, is not valid yet or is revoked: for a remembered token too."""
        grant, now_ms = claims.grant, self._clock.now_ms()
        if now_ms >= grant.expires_ms + self._leeway_ms:
            raise VerificationError(f"token: it has expired, {(now_ms - grant.expires_ms) / 1000:g} s ago")
        if now_ms + self._leeway_ms < claims.not_before_ms:
            raise VerificationError(f"token: it is valid only in {(claims.not_before_ms - now_ms) / 1000:g} s")
        if self._revoked.has_token(grant.token):
            raise VerificationError(f"token: it is revoked (jti {short(grant.token)})")
        if self._revoked.has_node(grant.node):
            raise VerificationError(f"token: node {grant.node.hex()[:16]} is revoked")

    # --- what does ---

    def _verify(self, data: bytes, mark: bytes, claims: _Claims, key: Key) -> None:
        if self._wrong.get(mark) is not key:
            signed, _, signature = data.rpartition(b".")
            with self._lock:
                self.signatures_checked += 1
            if key.verify(signed, from_base64url("signature", signature)):
                with self._lock:
                    _remember(self._known, mark, _Known(claims, key), self._remembered_max)
                return
            with self._lock:
                self._known.pop(mark, None)
                _remember(self._wrong, mark, key, self._remembered_max)
        raise VerificationError(f"token: its signature is not that of the issuer's key {short(key.kid)}")

    def _forget(self, mark: bytes) -> None:
        if mark in self._known:
            with self._lock:
                self._known.pop(mark, None)


def _bytes_of(token: str | bytes) -> bytes:
    if isinstance(token, str):
        if len(token) > TOKEN_BYTES_MAX:
            raise VerificationError(f"token: it has {len(token)} characters, at most {TOKEN_BYTES_MAX}")
        try:
            return token.encode("ascii")
        except UnicodeEncodeError as cause:
            raise VerificationError("token: it is not ASCII") from cause
    if not isinstance(token, bytes):
        raise TypeError(f"a token must be a str or bytes, not {type(token).__name__}")
    if len(token) > TOKEN_BYTES_MAX:
        raise VerificationError(f"token: it has {len(token)} bytes, at most {TOKEN_BYTES_MAX}")
    return token


def _kid_of(header: Mapping[str, object]) -> str:
    """The name of the key that a header asks for, if there is nothing wrong with the rest."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise VerificationError(f"token: its algorithm is {short(algorithm)}, only EdDSA (Ed25519) is taken")
    others = sorted(header.keys() - _HEADER)
    if others:  # crit, b64, jwk, jku, x5u, x5c, zip, cty: each changes what is verified, or with what
        raise VerificationError(f"token: its header has {short(others[0])}; alg, kid and typ are all that is taken")
    if "typ" in header:
        kind = header["typ"]
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise VerificationError(f"token: its type is {short(kind)}, not JWT")
    kid = header.get("kid")
    if not isinstance(kid, str) or not _ID.match(kid):
        raise VerificationError(f"token: its kid is {short(kid)}, not 1 to {KID_CHARS_MAX} printable ASCII characters")
    return kid


def _time_of(claims: Mapping[str, object], name: str) -> int:
    """A NumericDate in milliseconds."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _SECONDS_MAX:
        raise VerificationError(f"token: its {name} is {short(value)}, not a time in seconds since 1970")
    return int(value * 1000)


def _remember[T](kept: dict[bytes, T], mark: bytes, value: T, most: int) -> None:
    """Keeps the newest."""
    kept.pop(mark, None)
    kept[mark] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
