"""The proofs that the layers need, each usable alone.

- `poh`, Proof of Hold: a node's signed word that it stores a fragment, with a proof over its bytes.
- `dpos`, Delegated Proof of Stake: elected delegates, slot leaders drawn by stake, certificates by two thirds of it.
- `pop`, Proof of Place: which municipality a point is in, and what it weighs there and then.
"""

from city_chain.proofs import dpos, poh, pop

__all__ = ["dpos", "poh", "pop"]
