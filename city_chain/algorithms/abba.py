"""ABBA: asynchronous binary Byzantine agreement, and a common subset above it.

Agreement that no timing assumption is behind: whatever the order and the delay of messages, parties of which fewer than
a third (by weight) are faulty decide the same, in two to three rounds on average. Abraham, Ben-David, Yandamuri,
"Efficient and adaptively secure asynchronous binary agreement via binding crusader agreement" (PODC 2022).

- `Abba`: one agreement on one bit.
- `Subset`: every party proposes up to 65,536 bytes, and all get the same proposals, those of a quorum at least.
- `Certificate`: what a quorum made of a subset's outcome; verifies offline.

Each round needs a common coin. It is asked for (`("coin", …)` from `drain`) and told (`coin_result`): use
`city_chain.algorithms.tes.coin`, with threshold f + 1. No party may show its share of a coin before it is asked for,
and a coin that can be predicted takes the promise to end away.

The machines have no threads, clocks, sockets or randomness: bytes in, effects out. Messages are signed, and bound to
chain, epoch, instance and committee. `examples/abba_alone.py` runs one over sockets.
"""

from city_chain._native import Abba, Subset
from city_chain._native import AbbaCertificate as Certificate

__all__ = ["Abba", "Certificate", "Subset"]
