"""Hashes, signatures and Merkle trees of the glued rival, each through the cheapest public call of its package."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from blake3 import blake3
from nacl import bindings
from nacl.exceptions import BadSignatureError

SIGNATURE_LEN = 64
_SPLIT_FROM = 8
_REMEMBERED_MAX = 8192

type Check = tuple[bytes, bytes, bytes]
"""A public key, what was signed, the signature."""


class WrongError(Exception):
    """Something that was to be checked is not right."""


class Keys:
    """An Ed25519 key pair out of a seed."""

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)

    def sign(self, digest: bytes) -> bytes:
        """The signature on a digest."""
        return bindings.crypto_sign(digest, self._secret)[:SIGNATURE_LEN]


def verify(public: bytes, digest: bytes, signature: bytes) -> None:
    """Checks one signature.

    Raises:
        WrongError: It is not right.
    """
    try:
        bindings.crypto_sign_open(signature + digest, public)
    except (BadSignatureError, ValueError) as error:
        raise WrongError(f"a signature of {public.hex()[:16]} is not right") from error


def _verify_all(checks: Sequence[Check]) -> None:
    for public, signed, signature in checks:
        verify(public, signed, signature)


class Remembered:
    """Checks signatures, each the first time that it is seen in this process.

    Args:
        threads: How many threads check many at once (PyNaCl lets go of the interpreter's lock).
    """

    def __init__(self, threads: int = 1) -> None:
        self._right: set[Check] = set()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def check(self, checks: Sequence[Check]) -> None:
        """Checks some signatures.

        Raises:
            WrongError: One is not right; nothing of these is remembered.
        """
        new = [check for check in dict.fromkeys(checks) if check not in self._right]
        if self._pool is None or len(new) < _SPLIT_FROM:
            _verify_all(new)
        else:
            size = -(-len(new) // self._threads)
            list(self._pool.map(_verify_all, [new[at : at + size] for at in range(0, len(new), size)]))
        if len(self._right) > _REMEMBERED_MAX:
            self._right.clear()
        self._right.update(new)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def digest(tag: bytes, body: bytes) -> bytes:
    """The hash of some bytes in a domain of their own; tags have 8 bytes."""
    return blake3(tag + body).digest()


class Tree:
    """A Merkle tree over leaf hashes: a lone last node is carried up, the root binds the number of leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels = [list(leaves)]
        while len(below := self.levels[-1]) > 1:
            above = [blake3(b"gluenode" + below[at] + below[at + 1]).digest() for at in range(0, len(below) - 1, 2)]
            if len(below) % 2:
                above.append(below[-1])
            self.levels.append(above)
        self.root = bind(len(leaves), self.levels[-1][0])

    def path(self, index: int) -> bytes:
        """The siblings of a leaf up to the top, joined."""
        found = []
        for level in self.levels[:-1]:
            if index ^ 1 < len(level):
                found.append(level[index ^ 1])
            index >>= 1
        return b"".join(found)

    def paths(self) -> list[bytes]:
        """The paths of all leaves."""
        return [self.path(index) for index in range(len(self.levels[0]))]


def bind(size: int, top: bytes) -> bytes:
    """The root over `size` leaves with this top."""
    return blake3(b"glueroot" + size.to_bytes(4, "little") + top).digest()


type Known = dict[bytes, bytes]
"""Nodes of trees that were hashed already, by their children: paths of one tree share most of them."""


def root_from_path(leaf: bytes, index: int, size: int, path: bytes, known: Known | None = None) -> bytes:
    """The root that a leaf and its path lead to.

    Raises:
        WrongError: There is no such leaf, or the path has another length.
    """
    if not 0 <= index < size or len(path) % 32:
        raise WrongError(f"leaf {index} of {size} with a path of {len(path)} bytes")
    if known is None:
        known = {}
    top, at, width = leaf, 0, size
    while width > 1:
        if index ^ 1 < width:
            sibling = path[at : at + 32]
            at += 32
            pair = sibling + top if index & 1 else top + sibling
            found = known.get(pair)
            if found is None:
                found = known[pair] = blake3(b"gluenode" + pair).digest()
            top = found
        index >>= 1
        width = (width + 1) >> 1
    if at != len(path):
        raise WrongError(f"a path of {len(path)} bytes where {at} were due")
    return bind(size, top)
