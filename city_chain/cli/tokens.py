"""Tokens in the shell: what a validator takes, and what a city shows to validators that want one."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from city_chain.cli.console import text
from city_chain.errors import InputError, StorageError

if TYPE_CHECKING:
    from city_chain.ports import Auth, Transport

__all__ = ["TOKEN_FILE", "auth_of", "shown"]

TOKEN_FILE = "CITY_CHAIN_TOKEN_FILE"  # noqa: S105 — the name of a variable
"""The environment variable that names the file of the city's token."""

_TOKEN_BYTES_MAX = 8 << 10
_READ_AGAIN_S = 1.0


def auth_of(args: argparse.Namespace) -> Auth | None:
    """What checks the tokens that a validator is shown; None where it wants none.

    Args:
        args: Has `jwks`, `issuer` and `audience`: all or none of them.

    Raises:
        InputError: Some are there and some are not; the file has no set of keys; the extra is not installed.
        UnavailableError: The file cannot be read.

    Example:
        >>> auth_of(argparse.Namespace(jwks="keys.json", issuer=None, audience="town"))
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: --jwks, --issuer and --audience belong together; missing: --issuer
    """
    given = {"--jwks": args.jwks, "--issuer": args.issuer, "--audience": args.audience}
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise InputError(f"--jwks, --issuer and --audience belong together; missing: {' and '.join(missing)}")
    from city_chain.adapters.auth.jwks import Jwks  # noqa: PLC0415 — most commands do without
    from city_chain.adapters.auth.jwt import JwtAuth  # noqa: PLC0415

    try:
        return JwtAuth(Jwks(Path(args.jwks)), issuer=args.issuer, audience=args.audience)
    except ImportError as cause:
        raise InputError(str(cause)) from cause


def shown() -> Transport | None:
    """A transport that shows the token in the file that the environment names; None where it names none.

    Raises:
        InputError, StorageError: The file holds no token, or cannot be read.
    """
    name = os.environ.get(TOKEN_FILE)
    if not name:
        return None
    from city_chain.adapters.transport.tcp import TcpTransport  # noqa: PLC0415 — most commands do without
    from city_chain.node import WithToken  # noqa: PLC0415

    return WithToken(TcpTransport(), _reader(Path(name)))


def _reader(path: Path) -> Callable[[], str]:
    """Gives the token in a file, which may be written anew while the command runs."""
    read_at, token = time.monotonic(), _read(path)

    def present() -> str:
        nonlocal read_at, token
        if time.monotonic() - read_at >= _READ_AGAIN_S:
            read_at, token = time.monotonic(), _read(path)
        return token

    return present


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_TOKEN_BYTES_MAX + 3)
    except OSError as error:
        raise StorageError(f"{text(path)} ({TOKEN_FILE}) cannot be read: {error.strerror}") from error
    token = data.strip()
    if not token or not token.isascii() or len(token) > _TOKEN_BYTES_MAX or len(token.split()) > 1:
        raise InputError(f"{text(path)} ({TOKEN_FILE}) holds no token: ASCII of at most {_TOKEN_BYTES_MAX} bytes")
    return token.decode()
