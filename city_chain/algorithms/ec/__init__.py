"""EC: systematic Reed-Solomon erasure coding.

k data fragments and p parity fragments; any k of the n = k + p restore the bytes. Data fragments are views of the
input, so encoding copies nothing but the padded end. The code is chosen from (k, p) alone, never from the CPU, and has
a name and an id: now always ``rs16``, GF(2**16) with an additive FFT (Lin, Chung, Han 2014), fragments of even size.

Parity detects nothing. Every fragment has a BLAKE3 hash: check it before a fragment counts, since a wrong fragment
among k makes wrong bytes and no error.

Sizes: 1 to 32768 data and 0 to 32768 parity fragments, inputs of 0 bytes to 16 GiB, at most 64 GiB of working memory.

Example:
    >>> encoded = encode(b"seven words make a very short payload", 6, 4)
    >>> survivors = {i: encoded[i] for i in (1, 3, 4, 7, 8, 9)}
    >>> decode(survivors, 6, 4, encoded.length)
    b'seven words make a very short payload'
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable, Mapping

from city_chain import _native
from city_chain._native import EcEncoded as Encoded

TYPE_CHECKING = False  # what works on files loads when it is first used
if TYPE_CHECKING:
    from city_chain.algorithms.ec.files import decode_file, encode_file, inspect_file, rebuild_file, verify_file
    from city_chain.algorithms.ec.reports import EncodedFile, FileReport, FragmentReport, RestoredFile

__all__ = [
    "Encoded",
    "EncodedFile",
    "FileReport",
    "FragmentReport",
    "RestoredFile",
    "code_for",
    "decode",
    "decode_file",
    "encode",
    "encode_file",
    "fragment_len",
    "inspect_file",
    "rebuild",
    "rebuild_file",
    "verify_file",
]


def encode(data: Buffer, k: int, p: int, *, fragment_hash: str = "blake3") -> Encoded:
    """Cuts bytes into k data fragments, adds p parity fragments, and hashes all.

    Args:
        data: The bytes, 0 to 16 GiB. ``bytes`` are not copied; what can change (a bytearray) is, once.
        k: Data fragments, 1 to 32768.
        p: Parity fragments, 0 to 32768.
        fragment_hash: How fragments are hashed; only ``"blake3"`` (plain BLAKE3, 32 bytes) is known.

    Returns:
        The fragments and their hashes.

    Raises:
        InputError: A number is out of range, the hash is not known, or the fragments would need too much memory.

    Example:
        >>> encoded = encode(bytes(100), 6, 4)
        >>> encoded.n, encoded.fragment_len, encoded.code, len(encoded.hashes)
        (10, 18, 'rs16', 10)
    """
    return _native.ec_encode(data, k, p, fragment_hash=fragment_hash)


def decode(fragments: Mapping[int, Buffer], k: int, p: int, length: int) -> bytes:
    """Restores the bytes from any k fragments, whose hashes the caller has checked.

    Args:
        fragments: Fragments by index (0 to k + p - 1), all of ``fragment_len(length, k)`` bytes.
        k: Data fragments, as encoded.
        p: Parity fragments, as encoded.
        length: Bytes of the input, as encoded.

    Returns:
        The input.

    Raises:
        InputError: A number is out of range, an index is there twice, or a size does not fit ``length``.
        UnavailableError: There are fewer than k fragments; ``needed`` and ``had`` say how many.

    Example:
        >>> encoded = encode(b"payload", 2, 1)
        >>> decode({0: encoded[0], 2: encoded[2]}, 2, 1, 7)
        b'payload'
    """
    return _native.ec_decode(fragments, k, p, length)


def rebuild(fragments: Mapping[int, Buffer], missing: Iterable[int], k: int, p: int, length: int) -> dict[int, bytes]:
    """Makes lost fragments anew, data or parity, from any k others.

    Args:
        fragments: As in ``decode``.
        missing: The indices to make.
        k: Data fragments, as encoded.
        p: Parity fragments, as encoded.
        length: Bytes of the input, as encoded.

    Returns:
        The made fragments by index, byte for byte those that ``encode`` gave.

    Raises:
        InputError: As in ``decode``, or an index in ``missing`` is out of range.
        UnavailableError: There are fewer than k fragments.

    Example:
        >>> encoded = encode(b"payload", 2, 2)
        >>> rebuild({1: encoded[1], 2: encoded[2]}, [0, 3], 2, 2, 7) == {0: bytes(encoded[0]), 3: bytes(encoded[3])}
        True
    """
    return _native.ec_rebuild(fragments, missing, k, p, length)


def fragment_len(length: int, k: int) -> int:
    """Bytes of every fragment: length / k rounded up to an even number, at least 2.

    Args:
        length: Bytes of the input, 0 to 16 GiB.
        k: Data fragments, 1 to 32768.

    Returns:
        Bytes.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> fragment_len(100, 6), fragment_len(0, 6)
        (18, 2)
    """
    return _native.ec_fragment_len(length, k)


def code_for(k: int, p: int) -> tuple[str, int]:
    """The code for k data and p parity fragments.

    Args:
        k: Data fragments, 1 to 32768.
        p: Parity fragments, 0 to 32768.

    Returns:
        Its name and its id, as manifests carry it.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> code_for(6, 4)
        ('rs16', 1)
    """
    return _native.ec_code_for(k, p)


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 — needed only here

    if name.endswith("_file") and name in __all__:
        found: object = getattr(import_module("city_chain.algorithms.ec.files"), name)
    elif name in __all__:
        found = getattr(import_module("city_chain.algorithms.ec.reports"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
