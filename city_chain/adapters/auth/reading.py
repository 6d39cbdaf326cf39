"""Strict reading of what strangers send: base64url and JSON with one spelling for each value, all within bounds.

JSON that two readers understand differently is how tokens are forged without breaking a signature: a name that is there
twice, base64 with bits to spare, numbers that are none. Such things are refused, not interpreted.
"""

from __future__ import annotations

import base64
import json
import re

from city_chain.errors import VerificationError

__all__ = ["from_base64url", "object_of", "short"]

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*\Z")


def short(value: object) -> str:
    """A value for a message: cut, and in ASCII only; of lists and objects the kind alone.

    Example:
        >>> short("none"), len(short("x" * 1000))
        ("'none'", 60)
    """
    text = ascii(value) if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def from_base64url(what: str, part: bytes) -> bytes:
    r"""Decodes base64url without padding (RFC 7515, section 2), in its one canonical spelling.

    Raises:
        VerificationError: It is not that.

    Example:
        >>> from_base64url("signature", b"AQI")
        b'\x01\x02'
        >>> from_base64url("signature", b"AQJ")
        Traceback (most recent call last):
        ...
        city_chain.errors.VerificationError: token: its signature is not canonical base64url
    """
    if len(part) % 4 != 1 and _BASE64URL.match(part):
        raw = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(raw).rstrip(b"=") == part:
            return raw
    raise VerificationError(f"token: its {what} is not canonical base64url")


def object_of(what: str, raw: bytes) -> dict[str, object]:
    r"""Decodes a JSON object; no name is in it twice.

    Raises:
        VerificationError: It is no such object.

    Example:
        >>> object_of("header", b'{"kid": "1"}')
        {'kid': '1'}
        >>> object_of("header", b'{"alg": "none", "\\u0061lg": "EdDSA"}')
        Traceback (most recent call last):
        ...
        city_chain.errors.VerificationError: token: its header has 'alg' twice
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise VerificationError(f"token: its {what} has {short(twice)} twice")
        return found

    def no_number(name: str) -> object:
        raise VerificationError(f"token: its {what} has {name} for a number")

    try:
        found: object = json.loads(raw.decode(), object_pairs_hook=unique, parse_constant=no_number)
    except (ValueError, RecursionError) as cause:
        raise VerificationError(f"token: its {what} is no JSON in UTF-8") from cause
    if not isinstance(found, dict):
        raise VerificationError(f"token: its {what} is no JSON object but {type(found).__name__}")
    return found
