"""The common coin: for every name a bit that all see alike, and that nobody knows before enough parties show shares.

Cachin, Kursawe and Shoup (PODC 2000): the name (chain, epoch, instance, round) is hashed to a point of ristretto255, a
share is the party's part of its product with the group's secret, with a proof; enough of them give the product itself,
whoever's they are. With a threshold of f + 1, f faulty parties neither know a coin in advance nor choose it.

`Coin` with a group key of scheme ``coin`` is that; with one of scheme ``bls`` the same is made of BLS signatures:
slower, but whoever has the group's key alone can check it. The two never agree but by chance.

Sizes: public key 34, public share 36, share 130 bytes; of BLS signatures 98, 100 and 50. Keys come from `dkg`.
"""

from __future__ import annotations

from city_chain._native import Coin
from city_chain._native import CoinName as Name
from city_chain._native import CoinToss as Toss

__all__ = ["Coin", "Name", "Toss"]
