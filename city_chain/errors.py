"""The one error tree.

::

    CityChainError
    ├── InputError          the caller's fault: a wrong type, size or value        (also a ValueError)
    ├── VerificationError   a signature, proof, hash or certificate is wrong
    ├── ProtocolError       a remote party broke the protocol
    ├── UnavailableError    too few nodes, acks or fragments: `.needed`, `.had`
    ├── DeadlineError       the time allowed has run out                           (also a TimeoutError)
    ├── StorageError        a storage could not do what was asked; nothing half-done is left
    └── AbortedError        a transaction of several cities is done in none: `.tx_id`, `.city`, `.why`

Verification raises; it never returns a flag that can be ignored. Batch calls return one verdict per item. Every message
says what was wrong, the value, and what would be right. This module is a leaf: it imports nothing of the package.
"""

from __future__ import annotations

__all__ = [
    "AbortedError",
    "CityChainError",
    "DeadlineError",
    "InputError",
    "ProtocolError",
    "StorageError",
    "UnavailableError",
    "VerificationError",
]


class CityChainError(Exception):
    """Base of every error that city-chain raises on purpose."""


class InputError(CityChainError, ValueError):
    """The caller passed something that no call could accept."""


class VerificationError(CityChainError):
    """A signature, proof, hash or certificate is wrong."""


class ProtocolError(CityChainError):
    """A remote party sent what the protocol does not allow."""


class UnavailableError(CityChainError):
    """Too few nodes, acks or fragments.

    Args:
        message: What was too few, in words.
        needed: How many were needed.
        had: How many there were.

    Example:
        >>> error = UnavailableError("acks", needed=8, had=5)
        >>> error.needed - error.had
        3
    """

    needed: int
    had: int

    def __init__(self, message: str, needed: int, had: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.had = had

    def __reduce__(self) -> tuple[type[UnavailableError], tuple[str, int, int]]:
        return type(self), (str(self), self.needed, self.had)


class DeadlineError(CityChainError, TimeoutError):
    """The time allowed has run out."""


class StorageError(CityChainError):
    """A storage could not do what was asked (full, read-only, locked, damaged, of a newer version)."""


class AbortedError(CityChainError):
    """A transaction of several cities is done in none of them; it may be sent again as another one.

    Args:
        tx_id: The transaction; it is committed in its home city as bytes, and has no effect.
        city: The name of the city that refused it.
        why: Why.

    Example:
        >>> AbortedError(bytes(32), "north", "a key is locked").city
        'north'
    """

    tx_id: bytes
    city: str
    why: str

    def __init__(self, tx_id: bytes, city: str, why: str) -> None:
        super().__init__(f"crossing {tx_id.hex()} is aborted in every city: {city!r}: {why}")
        self.tx_id, self.city, self.why = tx_id, city, why

    def __reduce__(self) -> tuple[type[AbortedError], tuple[bytes, str, str]]:
        return type(self), (self.tx_id, self.city, self.why)
