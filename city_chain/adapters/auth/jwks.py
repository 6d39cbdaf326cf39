"""The keys that an issuer signs tokens with (JWKS, RFC 7517 and RFC 8037), kept here and read again now and then.

Only Ed25519 keys for signatures are taken; keys of other kinds may be in the set and are passed over. A key that has
left the set is no key from the next reading on: at most `fresh_s` later, and at once after `use` or `forget`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from city_chain.adapters.auth.reading import from_base64url, object_of, short
from city_chain.adapters.clock import SystemClock
from city_chain.errors import CityChainError, InputError, UnavailableError, VerificationError
from city_chain.ports import Clock

__all__ = ["JWKS_BYTES_MAX", "KEYS_MAX", "KID_CHARS_MAX", "Jwks", "Key"]

_log = logging.getLogger("city_chain")

JWKS_BYTES_MAX = 64 << 10
"""Longest set of keys, bytes."""

KEYS_MAX = 64
"""Most keys of a set."""

KID_CHARS_MAX = 128
"""Longest name of a key, characters."""

_SECONDS_MAX = 1e9
_KID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_ALGORITHMS = {"EdDSA", "Ed25519"}


@dataclass(frozen=True, eq=False, slots=True)
class Key:
    """One public key. The same object for as long as it stays in the set unchanged.

    Args:
        kid: Its name.
        public: The Ed25519 public key, 32 bytes.
        verify: Whether a signature (second) of a message (first) is right.
    """

    kid: str
    public: bytes
    verify: Callable[[bytes, bytes], bool]


class Jwks:
    """The present keys of an issuer. Safe to use from several threads.

    Args:
        source: The set as bytes, the path of a file of it, or a function that fetches it. A function is called without
            arguments by the thread that needs a key, so it should have a time-out of its own (well below a second);
            other threads go on with the keys that are there.
        clock: Whose `monotonic` counts (default: the system's).
        fresh_s: How long a set is used before it is read again, seconds. Bytes are not.
        retry_s: How often the source may be asked at most, seconds: also for a key that nobody knows.
        stale_s: How long a set is used while reading it again fails, seconds, counted from its last reading.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: One is out of range; or `source` is bytes, or a file, and no set of keys.
        UnavailableError: `source` is a file that cannot be read.
        ImportError: The extra ``city-chain[auth]`` is not installed.

    Example:
        >>> key = '{"kty": "OKP", "crv": "Ed25519", "kid": "2026", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
        >>> keys = Jwks(b'{"keys": [%s]}' % key.encode())
        >>> keys.find("2026").public.hex()[:16], keys.find("2025")
        ('d75a980182b10ab7', None)
    """

    def __init__(
        self,
        source: bytes | str | os.PathLike[str] | Callable[[], bytes],
        *,
        clock: Clock | None = None,
        fresh_s: float = 300.0,
        retry_s: float = 30.0,
        stale_s: float = 3600.0,
    ) -> None:
        if not (isinstance(source, bytes | str | os.PathLike) or callable(source)):
            raise TypeError(f"source must be bytes, a path or a function, not {type(source).__name__}")
        if clock is not None and not isinstance(clock, Clock):
            raise TypeError(f"clock must be a ports.Clock or None, not {type(clock).__name__}")
        for name, value in (("fresh_s", fresh_s), ("retry_s", retry_s), ("stale_s", stale_s)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
            if not 0 < value <= _SECONDS_MAX:
                raise InputError(f"{name} must be above 0 and at most {_SECONDS_MAX:g} seconds, not {value}")
        if stale_s < fresh_s:
            raise InputError(f"stale_s must not be below fresh_s, but {stale_s} is below {fresh_s}")
        _library()  # says now what is not installed
        self._source = source
        self._clock: Clock = SystemClock() if clock is None else clock
        self._fresh_s, self._retry_s, self._stale_s = float(fresh_s), float(retry_s), float(stale_s)
        self._lock = Lock()  # held by the one who reads the source
        self._keys: dict[str, Key] = {}
        self._read_at: float | None = None  # when the set that is used was read
        self._asked_at: float | None = None
        self._trouble = "they were not read yet"
        if isinstance(source, bytes):
            self.use(source)
        elif not callable(source):
            self._take(_read(source))

    def find(self, kid: str) -> Key | None:
        """The key of that name; None if there is none in the set, which is read again first where that is due.

        Raises:
            UnavailableError: There is no set of keys, or it is too old and cannot be read again.
        """
        now = self._clock.monotonic()
        if self._is_due(now, self._fresh_s):
            self._refresh(now)
        if self._read_at is None or self._is_due(now, self._stale_s):
            raise UnavailableError(f"the issuer's keys cannot be had: {self._trouble}", needed=1, had=0)
        return self._keys.get(kid)

    def find_or_ask(self, kid: str) -> Key | None:
        """As `find`; a key that is not there makes the source be asked again, unless that was done within `retry_s`."""
        key = self.find(kid)
        if key is None and not isinstance(self._source, bytes) and self._refresh(self._clock.monotonic()):
            key = self.find(kid)
        return key

    def use(self, data: bytes) -> None:
        """Replaces the set by another one, at once.

        Raises:
            TypeError: It is not bytes.
            InputError: It is no set of keys; the one before stays.
            ImportError: The extra ``city-chain[auth]`` is not installed.

        Example:
            >>> keys = Jwks(b'{"keys": []}')
            >>> keys.use(b"[]")
            Traceback (most recent call last):
            ...
            city_chain.errors.InputError: keys: the set is no JSON object but list
        """
        if not isinstance(data, bytes):
            raise TypeError(f"a set of keys must be bytes, not {type(data).__name__}")
        with self._lock:
            self._take(data)

    def _is_due(self, now: float, age_s: float) -> bool:
        if isinstance(self._source, bytes):
            return False
        return self._read_at is None or now - self._read_at >= age_s

    def _refresh(self, now: float) -> bool:
        """Asks the source, if nobody does and it was not asked lately; whether it gave a set."""
        if not self._lock.acquire(blocking=self._read_at is None):
            return False
        try:
            if self._asked_at is not None and now - self._asked_at < self._retry_s:
                return False
            self._asked_at = now
            self._take(self._source() if callable(self._source) else _read(self._source))  # type: ignore[arg-type]
        except Exception as error:
            self._trouble = str(error) if isinstance(error, CityChainError) else f"{type(error).__name__}: {error}"
            _log.warning("the issuer's keys could not be read again: %s", self._trouble)
            return False
        finally:
            self._lock.release()
        return True

    def _take(self, data: object) -> None:
        fresh = _keys_of(data)
        for kid, key in fresh.items():
            known = self._keys.get(kid)
            if known is not None and known.public == key.public:
                fresh[kid] = known
        self._keys, self._read_at = fresh, self._clock.monotonic()
        self._asked_at = self._read_at


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(JWKS_BYTES_MAX + 1)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}", needed=1, had=0) from error


def _keys_of(data: object) -> dict[str, Key]:
    """The Ed25519 keys of a set, by their names."""
    if not isinstance(data, bytes):
        raise TypeError(f"a set of keys must be bytes, not {type(data).__name__}")
    if len(data) > JWKS_BYTES_MAX:
        raise InputError(f"keys: a set has at most {JWKS_BYTES_MAX} bytes, this one has {len(data)}")
    try:
        listed = object_of("set", data).get("keys")
        if not isinstance(listed, list) or len(listed) > KEYS_MAX:
            raise InputError(f'keys: a set has a list "keys" of at most {KEYS_MAX}')
        found: dict[str, Key] = {}
        for given in listed:
            key = _key_of(given)
            if key is not None and found.setdefault(key.kid, key) is not key:
                raise InputError(f"keys: two have the name {short(key.kid)}")
    except VerificationError as cause:
        raise InputError(str(cause).replace("token: its", "keys: the")) from cause
    return found


def _key_of(given: object) -> Key | None:
    """One key; None for one of another kind, or for another use."""
    if not isinstance(given, dict):
        raise InputError(f"keys: one is no JSON object but {type(given).__name__}")
    if "d" in given or "k" in given:
        raise InputError("keys: a private or shared key is in the set; publish public keys only, and replace that one")
    kid, public = given.get("kid"), given.get("x")
    for_us = given.get("use", "sig") == "sig" and given.get("alg", "EdDSA") in _ALGORITHMS
    may_verify = not isinstance(given.get("key_ops"), list) or "verify" in given["key_ops"]
    if (given.get("kty"), given.get("crv")) != ("OKP", "Ed25519") or not for_us or not may_verify:
        return None
    if not isinstance(kid, str) or not _KID.match(kid):
        raise InputError(f"keys: a name (kid) has 1 to {KID_CHARS_MAX} printable ASCII characters, not {short(kid)}")
    if not isinstance(public, str) or not public.isascii() or len(public) != 43:
        raise InputError(f"keys: {short(kid)} has no Ed25519 key of 43 characters in x")
    raw = from_base64url(f"key {short(kid)}", public.encode())
    return Key(kid, raw, _verifier(public))


def _verifier(public: str) -> Callable[[bytes, bytes], bool]:
    jws, key_of = _library()
    model = jws.JWSRegistry(algorithms=["Ed25519"]).get_alg("Ed25519")
    key = key_of({"kty": "OKP", "crv": "Ed25519", "x": public})
    model.check_key(key)

    def verify(message: bytes, signature: bytes) -> bool:
        return bool(model.verify(message, signature, key))

    return verify


def _library() -> tuple[Any, Any]:
    try:
        from joserfc import jws  # noqa: PLC0415 — an extra
        from joserfc.jwk import OKPKey  # noqa: PLC0415
    except ImportError as cause:
        raise ImportError("tokens need joserfc: pip install 'city-chain[auth]'") from cause
    return jws, OKPKey.import_key
