"""Erasure coding: bytes into n fragments, and back out of k of them with as many data fragments lost as there can be.

Each goes from one `bytes` to fragments and back to one `bytes`, as a program has and wants them; what a package leaves
to its user (cutting, padding, joining) is part of the figure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from city_chain.algorithms import ec
from peers.harness import OURS, Contest, Entry, Peers, Target, present

TITLE = "Erasure coding"
LEFT_OUT = {
    "reedsolo": "another kind of code, in Python: it corrects unknown errors in messages of up to 255 bytes",
}

_SHAPES = ((6, 4, 4096), (6, 4, 1 << 20), (10, 4, 1 << 20), (100, 100, 1 << 20))
_TARGETS = {
    ("encode", 6, 4096): Target(1e-6, "seconds"),
    ("decode", 6, 4096): Target(2e-6, "seconds"),
    ("encode", 6, 1 << 20): Target(30e9, "bytes/s"),
    ("decode", 6, 1 << 20): Target(20e9, "bytes/s"),
}
_SAME_CODE = "isa_l_rs_cauchy"
_HEADER = 80
"""Bytes that pyeclib puts before each of its fragments."""

_ASSEMBLY = "ISA-L's kernels are hand-written assembly, ours are intrinsics"


class Ours:
    """This package: a codec that keeps its tables."""

    name = f"{OURS}: Codec"

    def __init__(self, k: int, p: int) -> None:
        codec = ec.Codec(k, p)
        self.code = codec.code
        self.encode: Callable[[bytes], Any] = lambda data: codec.encode(data, fragment_hash=None)
        self.hashed: Callable[[bytes], Any] = codec.encode
        self.decode: Callable[[Any, int], bytes] = codec.decode

    def survivors(self, encoded: Any, lost: int) -> dict[int, bytes]:
        """What is left."""
        return {index: bytes(fragment) for index, fragment in enumerate(encoded.fragments) if index >= lost}


class Zfec:
    """zfec: k equal blocks in, n blocks out."""

    name = "zfec"

    def __init__(self, zfec: Any, k: int, p: int) -> None:
        self._k = k
        self._encoder, self._decoder = zfec.Encoder(k, k + p), zfec.Decoder(k, k + p)

    def encode(self, data: bytes) -> Any:
        """Cut, padded, encoded."""
        size = -(-len(data) // self._k)
        padded = data.ljust(size * self._k, b"\0")
        return self._encoder.encode(tuple([padded[at : at + size] for at in range(0, size * self._k, size)]))

    def survivors(self, encoded: Any, lost: int) -> dict[int, bytes]:
        """What is left: any k of the blocks."""
        return dict(list(enumerate(encoded))[lost : lost + self._k])

    def decode(self, fragments: Any, length: int) -> bytes:
        """Decoded, joined, cut."""
        return b"".join(self._decoder.decode(tuple(fragments.values()), tuple(fragments)))[:length]


class Pyeclib:
    """pyeclib over ISA-L, whose wheel has it; its fragments carry a header, its decode finds out which are there."""

    def __init__(self, driver: Any, k: int, p: int, kind: str) -> None:
        self.name = f"pyeclib, {kind}"
        self._driver = driver(k=k, m=p, ec_type=kind)
        self.encode: Callable[[bytes], Any] = self._driver.encode

    def survivors(self, encoded: Any, lost: int) -> list[bytes]:
        """What is left."""
        return list(encoded[lost:])

    def decode(self, fragments: Any, length: int) -> bytes:
        """Decoded; the header says the length."""
        return self._driver.decode(fragments)  # type: ignore[no-any-return]


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Encoding and decoding in four shapes, then encoding with hashes."""
    zfec, pyeclib, blake3 = peers.find("zfec"), peers.find("pyeclib.ec_iface", "pyeclib"), peers.find("blake3")
    for k, p, size in _SHAPES:
        data = os.urandom(size)
        sides: list[Any] = [Ours(k, p)]
        if zfec is not None:
            sides.append(Zfec(zfec, k, p))
        if pyeclib is not None:
            for kind in (_SAME_CODE, "isa_l_rs_vand_inv"):
                sides.append(Pyeclib(pyeclib.ECDriver, k, p, kind))
        lost = min(k, p)
        left = [side.survivors(side.encode(data), lost) for side in sides]

        def check(sides: list[Any] = sides, left: list[Any] = left, data: bytes = data, k: int = k) -> None:
            for side, fragments in zip(sides, left, strict=True):
                assert side.decode(fragments, len(data)) == data, side.name
            ours = sides[0]
            for side in sides[1:]:
                if ours.code == "gf8" and side.name == f"pyeclib, {_SAME_CODE}":  # the same matrix: the same parity
                    parity = [fragment[_HEADER:] for fragment in side.encode(data)[k:]]
                    assert [bytes(fragment) for fragment in ours.encode(data).fragments[k:]] == parity

        shape = f"({k}, {k + p}), {size >> 10:,} KiB"
        coded = [_encoding(side, data, _TARGETS.get(("encode", k, size))) for side in sides]
        yield Contest(f"encode {shape}", coded, check, size=size, why=_ASSEMBLY)
        decoded = [
            _decoding(side, fragments, data, _TARGETS.get(("decode", k, size)))
            for side, fragments in zip(sides, left, strict=True)
        ]
        yield Contest(f"restore {shape}, {lost} data fragments lost", decoded, check, size=size, why=_ASSEMBLY)
    data = os.urandom(1 << 20)
    yield _hashed(Ours(6, 4), zfec, blake3, data)


def _encoding(side: Any, data: bytes, target: Target | None) -> Entry:
    return Entry(side.name, lambda _: side.encode(data), target=target if side.name.startswith(OURS) else None)


def _decoding(side: Any, fragments: Any, data: bytes, target: Target | None) -> Entry:
    return Entry(
        side.name, lambda _: side.decode(fragments, len(data)), target=target if side.name.startswith(OURS) else None
    )


def _hashed(ours: Ours, zfec: Any, blake3: Any, data: bytes) -> Contest:
    theirs = None if zfec is None or blake3 is None else Zfec(zfec, 6, 4)

    def glued(_: object) -> list[bytes]:
        assert theirs is not None
        return [blake3.blake3(fragment).digest() for fragment in theirs.encode(data)]

    def check() -> None:
        encoded = ours.hashed(data)
        if blake3 is not None:
            assert [blake3.blake3(fragment).digest() for fragment in encoded.fragments] == list(encoded.hashes)

    peer = None if theirs is None else Entry("zfec + blake3", glued)
    entries = present(Entry(ours.name, lambda _: ours.hashed(data)), peer)
    return Contest("encode (6, 10), 1,024 KiB, and hash every fragment", entries, check, size=len(data))
