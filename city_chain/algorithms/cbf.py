"""CBF: membership filters. "Which nodes may hold this fragment?" and "have I seen this id?" without asking.

``Bloom`` only grows: the split-block Bloom filter exactly as Apache Parquet specifies it. ``Cuckoo`` also forgets: a
cuckoo filter (Fan, Andersen, Kaminsky, Mitzenmacher 2014) of four 16-bit fingerprints a bucket. Neither ever denies a
key that it holds. Past its capacity a cuckoo filter raises, and a Bloom filter reports ``saturated``.

Keys are any bytes, one by one, as an iterable, or packed in one buffer with a fixed width. They are hashed by XXH64
under the filter's seed, never by Python's ``hash()``: a filter means the same in every process.

Example:
    >>> held = Cuckoo(100)
    >>> held.insert_many([b"fragment 1", b"fragment 2"])
    >>> b"fragment 2" in held, b"fragment 3" in held
    (True, False)
"""

from __future__ import annotations

from city_chain._native import Bloom, Cuckoo

__all__ = ["Bloom", "Cuckoo"]
