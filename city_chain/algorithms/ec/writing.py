"""Fragment files as they are written: blocks as they come, then the table's pages, the index and the header."""

from __future__ import annotations

from collections.abc import Buffer, Iterator, Mapping
from dataclasses import replace
from io import FileIO
from pathlib import Path

from city_chain import _native
from city_chain.algorithms.ec.layout import PAGE_ROWS, Header
from city_chain.algorithms.ec.places import naming, read, shown, write
from city_chain.errors import StorageError

__all__ = ["Writer", "encoded"]


class Writer:
    """Writes some fragment files of a set, stripe by stripe.

    Args:
        header: The set's header; its `index` and `root` mean nothing.
        files: A new, empty file for each fragment.
    """

    def __init__(self, header: Header, files: Mapping[int, FileIO]) -> None:
        self._header = header
        self._files = files
        self._rows: list[bytes] = []
        self._index: list[bytes] = []
        for file in files.values():
            file.seek(header.blocks_at)

    def add(self, blocks: Mapping[int, Buffer], row: bytes) -> None:
        """The next stripe.

        Args:
            blocks: The block of each fragment that has a file.
            row: The hashes of the blocks of all fragments.

        Raises:
            OSError: It cannot be written.
        """
        for index, file in self._files.items():
            write(file, blocks[index])
        self._rows.append(row)
        if len(self._rows) == PAGE_ROWS:
            self._turn()

    def finish(self) -> bytes:
        """Writes what stands before the blocks; returns the root.

        Raises:
            OSError: It cannot be written.
        """
        if self._rows:
            self._turn()
        index = b"".join(self._index)
        root = self._header.root_of(index)
        for at, file in self._files.items():
            file.seek(0)
            write(file, replace(self._header, index=at, root=root).to_bytes() + index)
        return root

    def _turn(self) -> None:
        """Writes a page of the table."""
        header, page = self._header, b"".join(self._rows)
        at = header.table_at + len(self._index) * PAGE_ROWS * header.row_bytes
        for file in self._files.values():
            blocks = file.tell()
            file.seek(at)
            write(file, page)
            file.seek(blocks)
        self._index.append(_native.hash_fragment(page))
        self._rows.clear()


def changed(path: Path) -> StorageError:
    """What to raise when a file is no longer the one that was opened."""
    return StorageError(f"{shown(path)} changed while it was read; encode it again when nobody writes to it")


def encoded(path: Path, file: FileIO, header: Header) -> Iterator[_native.EcEncoded]:
    """The stripes of a file, encoded and hashed.

    Raises:
        StorageError: The file is shorter than it was, or cannot be read.
    """
    for stripe in range(header.stripes):
        wanted = header.stripe_bytes(stripe)
        with naming(path):
            data = read(file, wanted)
        if len(data) < wanted:
            raise changed(path)
        data = data.ljust(header.k * header.block_bytes(stripe), b"\0")
        yield _native.ec_encode(data, header.k, header.p, code=header.code)
        del data
