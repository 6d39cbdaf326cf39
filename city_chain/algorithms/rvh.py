"""RVH: rendezvous (highest-random-weight) hashing (Thaler, Ravishankar 1998).

Every participant ranks the nodes for a key alike, with no state shared: the first n hold it. When a node goes, only its
keys move; when its weight rises, keys move only to it. Weighted scores are computed in integers (Ceph's straw2), so a
placement is the same bits on every machine. Placements are frozen by test vectors.

Example:
    >>> nodes = NodeSet([b"tokyo", b"osaka", b"paris", b"lyon"], domains=[b"jp", b"jp", b"fr", b"fr"])
    >>> first, second = nodes.pick(b"transaction 7", 2)
    >>> {first, second} not in ({0, 1}, {2, 3})
    True
"""

from __future__ import annotations

from city_chain._native import NodeSet

__all__ = ["NodeSet"]
