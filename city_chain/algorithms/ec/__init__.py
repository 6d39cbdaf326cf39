"""EC: systematic Reed-Solomon erasure coding.

k data fragments and p parity fragments; any k of the n = k + p restore the bytes. Data fragments are views of the
input, so encoding copies nothing but the padded end. The code is chosen from (k, p) alone, never from the CPU, and has
a name and an id:

- ``gf8`` (2) for n <= 256 and p <= 64: GF(2**8) with the polynomial 0x11D and a Cauchy matrix, byte for byte that of
  ISA-L's ``gf_gen_cauchy1_matrix``; fragments of any size.
- ``rs16`` (1) for all else: GF(2**16) with an additive FFT (Lin, Chung, Han 2014); fragments of even size.

What was encoded with another code than is chosen today decodes with ``code=`` its name or id.

Parity detects nothing. Every fragment has a BLAKE3 hash: check it before a fragment counts, since a wrong fragment
among k makes wrong bytes and no error.

Sizes: 1 to 32768 data and 0 to 32768 parity fragments, inputs of 0 bytes to 16 GiB, at most 64 GiB of working memory.

The fastest instructions of the processor are used. The environment variable ``CITY_CHAIN_EC_KERNEL`` (``gfni512``,
``gfni256``, ``avx2``, ``neon`` or ``scalar``), read at the first use, forces others; the bytes are the same. With a
name that is unknown, or not this processor's, every function that codes raises ``InputError``.

Example:
    >>> encoded = encode(b"seven words make a very short payload", 6, 4)
    >>> survivors = {i: encoded[i] for i in (1, 3, 4, 7, 8, 9)}
    >>> decode(survivors, 6, 4, encoded.length)
    b'seven words make a very short payload'
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable, Mapping

from city_chain import _native
from city_chain._native import EcCodec as Codec
from city_chain._native import EcEncoded as Encoded

TYPE_CHECKING = False  # what works on files loads when it is first used
if TYPE_CHECKING:
    from city_chain.algorithms.ec.files import decode_file, encode_file, inspect_file, rebuild_file, verify_file
    from city_chain.algorithms.ec.reports import EncodedFile, FileReport, FragmentReport, RestoredFile

__all__ = [
    "Codec",
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


def encode(
    data: Buffer, k: int, p: int, *, fragment_hash: str | None = "blake3", code: str | int | None = None
) -> Encoded:
    """Cuts bytes into k data fragments, adds p parity fragments, and hashes all.

    Args:
        data: The bytes, 0 to 16 GiB. ``bytes`` are not copied; what can change (a bytearray) is, once.
        k: Data fragments, 1 to 32768.
        p: Parity fragments, 0 to 32768.
        fragment_hash: How fragments are hashed: ``"blake3"`` (plain BLAKE3, 32 bytes), or ``None`` for not at all,
            which is several times as fast, for those who hash by themselves.
        code: The code by name or id; ``None`` is that of ``code_for(k, p)``.

    Returns:
        The fragments and their hashes.

    Raises:
        InputError: A number is out of range, the hash or the code is not known, the code has not so many fragments, or
            they would need too much memory.

    Example:
        >>> encoded = encode(bytes(100), 6, 4)
        >>> encoded.n, encoded.fragment_len, encoded.code, len(encoded.hashes)
        (10, 17, 'gf8', 10)
    """
    return _native.ec_encode(data, k, p, fragment_hash, code)


def decode(fragments: Mapping[int, Buffer], k: int, p: int, length: int, *, code: str | int | None = None) -> bytes:
    """Restores the bytes from any k fragments, whose hashes the caller has checked.

    Args:
        fragments: Fragments by index (0 to k + p - 1), all of ``fragment_len(length, k, p)`` bytes. A dict of ``bytes``
            is the fastest.
        k: Data fragments, as encoded.
        p: Parity fragments, as encoded.
        length: Bytes of the input, as encoded.
        code: The code, as encoded.

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
    return _native.ec_decode(fragments, k, p, length, code)


def rebuild(
    fragments: Mapping[int, Buffer],
    missing: Iterable[int],
    k: int,
    p: int,
    length: int,
    *,
    code: str | int | None = None,
) -> dict[int, bytes]:
    """Makes lost fragments anew, data or parity, from any k others.

    Args:
        fragments: As in ``decode``.
        missing: The indices to make.
        k: Data fragments, as encoded.
        p: Parity fragments, as encoded.
        length: Bytes of the input, as encoded.
        code: The code, as encoded.

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
    return _native.ec_rebuild(fragments, missing, k, p, length, code)


def fragment_len(length: int, k: int, p: int, *, code: str | int | None = None) -> int:
    """Bytes of every fragment: length / k rounded up, at least 1; for ``rs16`` to an even number, at least 2.

    Args:
        length: Bytes of the input, 0 to 16 GiB.
        k: Data fragments, 1 to 32768.
        p: Parity fragments, 0 to 32768.
        code: The code by name or id; ``None`` is that of ``code_for(k, p)``.

    Returns:
        Bytes.

    Raises:
        InputError: A number is out of range, or the code is not known or has not so many fragments.

    Example:
        >>> fragment_len(100, 6, 4), fragment_len(100, 6, 4, code="rs16"), fragment_len(0, 6, 4)
        (17, 18, 1)
    """
    return _native.ec_fragment_len(length, k, p, code)


def code_for(k: int, p: int) -> tuple[str, int]:
    """The code for k data and p parity fragments: ``gf8`` where it reaches (n <= 256, p <= 64), else ``rs16``.

    Args:
        k: Data fragments, 1 to 32768.
        p: Parity fragments, 0 to 32768.

    Returns:
        Its name and its id, as manifests carry it.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> code_for(6, 4), code_for(1000, 500)
        (('gf8', 2), ('rs16', 1))
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
