r"""The format of a fragment file, version 1: what stands where, and what is checked before anything is believed.

A file is cut into stripes of k x `block_len` bytes; of each stripe, k data blocks and p parity blocks are made, and
fragment file i holds block i of every stripe. All numbers are little-endian and of fixed width.

=============  ======================  ====================================================================
offset         bytes                   what
=============  ======================  ====================================================================
0              8                       ``cityec\r\n``
8              2                       version, 1
10             1                       code: 1 ``rs16``, 2 ``gf8``
11             1                       hash: 1 BLAKE3
12             2                       k, data fragments
14             2                       n, all fragments, at most 256
16             2                       index of this fragment
18             1                       flags: 1, the data stay in the original file
19             1                       bytes of the name, 1 to 255
20             4                       bytes of a full block: a multiple of 64; n blocks have at most 32 MiB
24             8                       bytes of the original file
32             32                      root
64             256                     name of the original file, filled up with zeros
320            32                      BLAKE3 of the 320 bytes before
352            32 x pages              index: BLAKE3 of every page of the table
after it       32 x n x stripes        table: BLAKE3 of every block of every fragment, one row for each stripe
after it       (the rest)              block `index` of every stripe, one after the other
=============  ======================  ====================================================================

A page is 64 rows (the last one fewer). The last stripe may be short: its blocks have length / k bytes rounded up to an
even number, and what is missing of the bytes is zeros. An empty file has no stripe.

The root is BLAKE3 of ``city-chain v1 ec file root`` and six zeros, the header's first 320 bytes with `index` and `root`
as zeros, and the index. All fragment files of one encoding have header (but for `index`), index and table in common, so
the root stands for every byte of every one of them and of the original, and any of them tells whether a block of any
other is right. It tells nothing about who made them: compare the root with one that you had from elsewhere.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace

from city_chain import _native
from city_chain.errors import InputError

__all__ = ["FRAGMENTS_MAX", "HEADER_LEN", "SUFFIX", "Header", "block_len_for", "stem"]

FRAGMENTS_MAX = 256
"""The most fragments of a file."""

PAGE_ROWS = 64
"""Stripes whose hashes are one page of the table."""

STRIPE_BYTES_MAX = 32 << 20
"""The most bytes of all blocks of a stripe: what a reader must be ready to hold."""

STRIPES_MAX = 1 << 24
"""The most stripes: their index has 8 MiB then."""

LENGTH_MAX = (1 << 63) - 1
"""The most bytes of a file that the format can say."""

SUFFIX = ".ecf"
"""How the names of fragment files end."""

FOLDER_SUFFIX = ".ec"
"""How the name of a set's folder ends, unless another one is given."""

KEEPS_ORIGINAL = 1
"""The flag of a set whose data fragments are the original file."""

CODES = {1: "rs16", 2: "gf8"}
"""The ids of codes, and their names."""

_MAGIC = b"cityec\r\n"
_VERSION = 1
_BLAKE3 = 1
_FIXED = struct.Struct("<8sHBBHHHBBIQ32s256s")
_CONTEXT = b"city-chain v1 ec file root".ljust(32, b"\0")
_BLOCK_ALIGN = 64
_BLOCK_LEN_BEST = 1 << 20
_BLOCK_LEN_LEAST = 48 << 10
_STRIPE_BYTES_BEST = 8 << 20

HEADER_LEN = _FIXED.size + 32
"""Bytes of the header."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a fragment file says; all but `index` is the same in all files of a set.

    Args:
        code: The id of the code.
        k: Data fragments.
        n: All fragments.
        index: Which of them the file holds.
        flags: 1 if the data stay in the original file.
        block_len: Bytes of a full block.
        length: Bytes of the original file.
        name: Its name.
        root: What stands for all bytes of the set; 32 zeros while it is not known.
    """

    code: int
    k: int
    n: int
    index: int
    flags: int
    block_len: int
    length: int
    name: bytes
    root: bytes = bytes(32)

    @property
    def p(self) -> int:
        """Parity fragments."""
        return self.n - self.k

    @property
    def keeps_original(self) -> bool:
        """Whether the data stay in the original file, and only parity fragments are files."""
        return bool(self.flags & KEEPS_ORIGINAL)

    @property
    def indices(self) -> range:
        """The fragments that are files."""
        return range(self.k if self.keeps_original else 0, self.n)

    @property
    def stripes(self) -> int:
        """How many stripes there are."""
        return -(-self.length // (self.k * self.block_len))

    @property
    def pages(self) -> int:
        """How many pages the table has."""
        return -(-self.stripes // PAGE_ROWS)

    def rows(self, page: int) -> int:
        """How many stripes a page is about."""
        return min(PAGE_ROWS, self.stripes - page * PAGE_ROWS)

    def stripe_bytes(self, stripe: int) -> int:
        """How many bytes of the original are in a stripe."""
        size = self.k * self.block_len
        return min(size, self.length - stripe * size)

    def block_bytes(self, stripe: int) -> int:
        """How many bytes the blocks of a stripe have.

        Example:
            >>> header = Header(1, k=3, n=5, index=0, flags=0, block_len=64, length=200, name=b"a")
            >>> header.stripes, header.block_bytes(0), header.block_bytes(1), header.size
            (2, 64, 4, 772)
        """
        used = self.stripe_bytes(stripe)
        return self.block_len if used == self.k * self.block_len else -(-used // (2 * self.k)) * 2

    @property
    def row_bytes(self) -> int:
        """How many bytes a row of the table has."""
        return 32 * self.n

    @property
    def table_at(self) -> int:
        """Where the table begins."""
        return HEADER_LEN + 32 * self.pages

    @property
    def blocks_at(self) -> int:
        """Where the blocks begin."""
        return self.table_at + self.row_bytes * self.stripes

    @property
    def size(self) -> int:
        """How many bytes a fragment file has."""
        last = self.stripes - 1
        return self.blocks_at + (last * self.block_len + self.block_bytes(last) if self.stripes else 0)

    def of(self, index: int) -> Header:
        """The header of another fragment of the set."""
        return replace(self, index=index)

    def root_of(self, pages: bytes) -> bytes:
        """The root of a set with this header and this index."""
        return _native.hash_fragment(_CONTEXT + replace(self, index=0, root=bytes(32))._fixed() + pages)

    def to_bytes(self) -> bytes:
        """The header as it stands at the beginning of a fragment file."""
        fixed = self._fixed()
        return fixed + _native.hash_fragment(fixed)

    def _fixed(self) -> bytes:
        return _FIXED.pack(
            _MAGIC,
            _VERSION,
            self.code,
            _BLAKE3,
            self.k,
            self.n,
            self.index,
            self.flags,
            len(self.name),
            self.block_len,
            self.length,
            self.root,
            self.name,
        )

    def check(self) -> None:
        """Checks that the numbers are in range and fit together.

        Raises:
            InputError: They do not.
        """
        counts = f"k {self.k}, n {self.n}, index {self.index}"
        if not 1 <= self.k <= self.n <= FRAGMENTS_MAX or self.index >= self.n:
            raise InputError(f"{counts}; 1 <= k <= n <= {FRAGMENTS_MAX} and index < n are needed")
        if self.flags & ~KEEPS_ORIGINAL or (self.keeps_original and self.index < self.k):
            raise InputError(f"flags {self.flags} with {counts} mean nothing in version {_VERSION}")
        if self.block_len < _BLOCK_ALIGN or self.block_len % _BLOCK_ALIGN:
            raise InputError(f"blocks of {self.block_len} bytes; a multiple of {_BLOCK_ALIGN} is needed")
        if self.n * self.block_len > STRIPE_BYTES_MAX:
            raise InputError(
                f"{self.n} blocks of {self.block_len} bytes; at most {STRIPE_BYTES_MAX} in all are allowed"
            )
        if self.length > LENGTH_MAX or self.stripes > STRIPES_MAX:
            raise InputError(
                f"{self.length} bytes in stripes of {self.k * self.block_len}; at most {STRIPES_MAX} are allowed"
            )
        if self.name in (b"", b".", b"..") or len(self.name) > 255 or b"/" in self.name or b"\0" in self.name:
            raise InputError(f"the name {self.name[:300]!r} is no name of a file")

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Reads a header; nothing is allocated from what it claims.

        Args:
            data: The first `HEADER_LEN` bytes of a file, or all that there are.

        Raises:
            InputError: They are no header of this version, or damaged, or absurd.

        Example:
            >>> header = Header(1, k=3, n=5, index=4, flags=0, block_len=64, length=200, name=b"a")
            >>> Header.from_bytes(header.to_bytes()) == header
            True
        """
        if data[: len(_MAGIC)] != _MAGIC:
            raise InputError(f"no fragment file: it begins with {data[:8].hex() or 'nothing'}, not {_MAGIC.hex()}")
        version = int.from_bytes(data[8:10], "little")
        if len(data) >= 10 and version != _VERSION:
            raise InputError(f"fragment file of version {version}; this city-chain reads version {_VERSION}")
        if len(data) < HEADER_LEN:
            raise InputError(f"the header is cut off after {len(data)} bytes; {HEADER_LEN} are needed")
        fixed = data[: _FIXED.size]
        if _native.hash_fragment(fixed) != data[_FIXED.size : HEADER_LEN]:
            raise InputError("the header is damaged: its hash is wrong")
        _, _, code, hashing, k, n, index, flags, name_len, block_len, length, root, name = _FIXED.unpack(fixed)
        if code not in CODES or hashing != _BLAKE3:
            raise InputError(f"code {code} or hash {hashing} is not known; use a newer city-chain")
        if name[name_len:].strip(b"\0"):
            raise InputError("the name is not filled up with zeros")
        header = cls(code, k, n, index, flags, block_len, length, name[:name_len], root)
        header.check()
        return header


def block_len_for(n: int) -> int:
    """The bytes of a block that are used unless others are asked for: 48 KiB to 1 MiB, n blocks 4 to 12 MiB or less.

    Example:
        >>> [block_len_for(n) >> 10 for n in (3, 10, 256)]
        [1024, 512, 48]
    """
    size = _BLOCK_LEN_BEST
    while size > _BLOCK_LEN_LEAST and n * size > _STRIPE_BYTES_BEST:
        size //= 2
    return max(size, _BLOCK_LEN_LEAST)


def stem(name: bytes) -> str:
    """What the names of a set's files begin with: the original's name, shortened if it is very long.

    Example:
        >>> stem(b"letter.txt"), len(stem(b"x" * 255))
        ('letter.txt', 200)
    """
    if len(name) <= 200:
        return os.fsdecode(name)
    return os.fsdecode(name[:191]) + "-" + _native.hash_fragment(name).hex()[:8]


def file_name(header: Header, index: int) -> str:
    """The name of a fragment file.

    Example:
        >>> file_name(Header(1, k=3, n=5, index=0, flags=0, block_len=64, length=200, name=b"letter.txt"), 4)
        'letter.txt.004.ecf'
    """
    return f"{stem(header.name)}.{index:03}{SUFFIX}"
