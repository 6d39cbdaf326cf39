"""Rendezvous hashing: the ten best of many nodes for each of many keys."""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

from city_chain.algorithms import rvh
from peers.harness import OURS, Contest, Entry, Peers, Target, present

TITLE = "Rendezvous hashing"
LEFT_OUT: dict[str, str] = {}

_TOP = 10
_SIZES = {50: (2000, 200), 1000: (500, 20), 10_000: (50, 2)}
"""How many keys a run of the fast ones and of the slow ones takes, by number of nodes."""
_PLAIN = {50: 5e6, 1000: 8e5, 10_000: 2e5}
_WEIGHTED = {50: 5e5, 1000: 2e5, 10_000: 1e5}


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """Without weights, then with."""
    xxhash, hrw = peers.find("xxhash"), peers.find("hrw")
    ring, numpy = peers.find("uhashring"), peers.find("numpy")
    for count, (many, few) in _SIZES.items():
        ids = [os.urandom(32) for _ in range(count)]
        keys = [os.urandom(32) for _ in range(many)]
        nodes = rvh.NodeSet(ids)
        entries = [
            _ours(nodes, keys, Target(_PLAIN[count], "rate")),
            Entry(f"{OURS}: pick, one by one", lambda _, n=nodes, k=keys[:few]: [n.pick(key, _TOP) for key in k], few),
        ]
        if numpy is not None and xxhash is not None:
            entries.append(Entry("numpy, 2-D", _Numpy(numpy, xxhash, ids, keys), many, note="its user's own code"))
        if xxhash is not None:
            entries.append(Entry("xxhash + heapq", _XxHash(xxhash, ids, keys[:few]), few, note="its user's own code"))
        if hrw is not None:
            entries.append(
                Entry("hrw", lambda _, h=hrw, i=ids, k=keys[:few]: [h.choose(key, i, k=_TOP) for key in k], few)
            )
        if ring is not None and not (quick and count > 1000):
            made = ring.HashRing(nodes=[key.hex() for key in ids])
            entries.append(Entry("uhashring", _ring(made, keys[:few]), few, note="a ring, not rendezvous"))

        def check(nodes: rvh.NodeSet = nodes, keys: Sequence[bytes] = keys, entries: Sequence[Entry] = entries) -> None:
            packed = nodes.pick_many(b"".join(keys), _TOP, width=32)
            picked = memoryview(packed).cast("I")
            for at, key in enumerate(keys[:5]):
                assert list(picked[at * _TOP : at * _TOP + _TOP]) == nodes.pick(key, _TOP)
            for entry in entries[2:]:
                assert len(entry.run(None)) == entry.operations, entry.name

        why = "see the algorithm's page"
        yield Contest(f"top {_TOP} of {count:,} nodes, keys", entries, check, why=why)
    for count, (many, _) in _SIZES.items():
        yield _weighted(count, many, numpy, xxhash)


def _ours(nodes: rvh.NodeSet, keys: Sequence[bytes], target: Target) -> Entry:
    packed = b"".join(keys)
    return Entry(f"{OURS}: pick_many", lambda _: nodes.pick_many(packed, _TOP, width=32), len(keys), target=target)


def _weighted(count: int, many: int, numpy: Any, xxhash: Any) -> Contest:
    ids = [os.urandom(32) for _ in range(count)]
    keys = [os.urandom(32) for _ in range(many)]
    weights = [float(random.choice((1, 2, 3, 5, 8, 1.5, 2.5, 4.25))) for _ in ids]
    nodes = rvh.NodeSet(ids, weights)
    peer = None
    if numpy is not None and xxhash is not None:
        run = _Numpy(numpy, xxhash, ids, keys, weights)
        peer = Entry("numpy, 2-D", run, many, note="its user's own code; logarithms of the C library, which differ")

    def check() -> None:
        picked = memoryview(nodes.pick_many(b"".join(keys), _TOP, width=32)).cast("I")
        assert [len(set(picked[at : at + _TOP])) for at in range(0, len(picked), _TOP)] == [_TOP] * many

    entries = present(_ours(nodes, keys, Target(_WEIGHTED[count], "rate")), peer)
    return Contest(f"top {_TOP} of {count:,} nodes with weights, keys", entries, check, why="see the algorithm's page")


class _XxHash:
    """What most would write: score every node, take the largest."""

    def __init__(self, xxhash: Any, ids: Sequence[bytes], keys: Sequence[bytes]) -> None:
        self._hash = xxhash.xxh3_64_intdigest
        self._ids, self._keys = ids, keys

    def __call__(self, _: object) -> list[list[bytes]]:
        found = []
        score = self._hash
        for key in self._keys:
            seed = score(key)
            found.append(heapq.nlargest(_TOP, self._ids, key=lambda node, seed=seed: score(node, seed)))
        return found


class _Numpy:
    """All scores of some keys at once: hashes of nodes and keys, mixed by splitmix64, the best ten sorted out."""

    def __init__(
        self, numpy: Any, xxhash: Any, ids: Sequence[bytes], keys: Sequence[bytes], weights: Sequence[float] = ()
    ) -> None:
        self._np = numpy
        self._hash = xxhash.xxh3_64_intdigest
        self._nodes = numpy.array([self._hash(node) for node in ids], dtype=numpy.uint64)
        self._keys = keys
        self._weights = numpy.array(weights) if weights else None
        self._rows = max(1, 200_000 // len(ids))

    def __call__(self, _: object) -> list[Any]:
        np = self._np
        hashed = np.array([self._hash(key) for key in self._keys], dtype=np.uint64)
        found: list[Any] = []
        for at in range(0, len(hashed), self._rows):
            mixed = hashed[at : at + self._rows, None] ^ self._nodes[None, :]
            mixed ^= mixed >> np.uint64(30)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(27)
            mixed *= np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
            if self._weights is not None:
                mixed = np.log((mixed >> np.uint64(11)) * 2.0**-53 + 2.0**-54) / self._weights
            top = np.argpartition(mixed, -_TOP, axis=1)[:, -_TOP:]
            order = np.argsort(np.take_along_axis(mixed, top, 1), axis=1)[:, ::-1]
            found.extend(np.take_along_axis(top, order, 1))
        return found


def _ring(made: Any, keys: Sequence[bytes]) -> Any:
    names = [key.hex() for key in keys]
    return lambda _: [list(made.range(name, size=_TOP)) for name in names]
