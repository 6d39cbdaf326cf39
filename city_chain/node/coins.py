"""The coins of one delegate's common subset: its shares of them, and those that others have shown.

A coin is named by whose proposal it is for and which round of the agreement about it. Those of the first two rounds are
not tossed: they show 1, then 0, so that where all are of one mind nobody has to sign anything. That is safe:

- that no two parties decide differently rests on no coin: in a round only one bit can be an outcome beside ⊥, and where
  the coin shows it, so that somebody may decide it, those with ⊥ take it from the coin, too;
- that all decide rests on coins that nobody knows before the outcome of their round is bound. From the third round on
  every coin is one, whatever estimates an adversary has brought about until then, so it gains two rounds at most.

A schedule that comes back to fixed coins again and again gives an adversary rounds without end; there is none here.

Source: Cachin, Kursawe, Petzold, Shoup, "Secure and efficient asynchronous broadcast protocols" (CRYPTO 2001), whose
agreement is biased by a first coin of 1. HoneyBadger's library hbbft fixes two of every three coins.

A share travels without a signature: it is right by itself, or it is not. Whoever carries it may have changed it, so of
every sender only the newest share of a coin is kept, wrong ones are told from right ones where they stand in each
other's way, and what was shown is shown again for as long as somebody may lack it.
"""

from __future__ import annotations

from collections.abc import Callable

from city_chain.algorithms.tes import coin
from city_chain.errors import CityChainError, ProtocolError, UnavailableError
from city_chain.node.keeper import Keeper

__all__ = ["Coins", "Of"]

type Of = tuple[int, int]
"""The place of the proposer, and the round."""

_FIXED = (True, False)
"""As ``FIRST_COINS`` of ``native/src/algorithms/abba``, which the simulator goes by."""

_SHARE_LEN = 50
_AHEAD_MAX = 8
_SHOWN_AGAIN = 2


class Coins:
    """Coins of one instance.

    Args:
        keeper: Has the share of the city's key from which the coins are, if the node has one.
        name: The name of a coin.
        parties: How many delegates there are.
    """

    def __init__(self, keeper: Keeper, name: Callable[[Of], coin.Name], parties: int) -> None:
        self._keeper = keeper
        self._name = name
        self._parties = parties
        self._asked: dict[Of, bool] = {}
        self._rounds: dict[int, int] = {}
        self._shares: dict[Of, dict[int, bytes]] = {}
        self._own: dict[Of, bytes] = {}

    def ask(self, of: Of) -> None:
        """The machine asks for a coin: now, and not before, the own share of it is shown."""
        self._asked.setdefault(of, False)
        self._rounds[of[0]] = max(self._rounds.get(of[0], 0), of[1])

    def take(self, sender: int, of: Of, share: bytes) -> None:
        """A share that another party has shown.

        Raises:
            ProtocolError: It cannot be one, or it is of a coin that nobody needs yet.
        """
        proposer, round_ = of
        if len(share) != _SHARE_LEN or not 0 <= sender < self._parties or not 0 <= proposer < self._parties:
            raise ProtocolError(f"coin: {len(share)} bytes of party {sender} are no share")
        newest = self._rounds.get(proposer, 0)
        if round_ > newest + _AHEAD_MAX or (round_ <= newest and of not in self._asked):
            raise ProtocolError(f"coin: of round {round_}, and {newest} is the newest that was asked for")
        self._shares.setdefault(of, {})[sender] = share

    def step(self) -> tuple[list[tuple[Of, bytes]], list[tuple[Of, bool]]]:
        """Shares of its own to be shown to all, and the coins that are known now."""
        shown: list[tuple[Of, bytes]] = []
        known = [(of, _FIXED[of[1]]) for of in self._asked if of[1] < len(_FIXED)]
        for of, _ in known:
            del self._asked[of]
        keys = self._keeper.keys
        if keys is None or not self._asked:
            return shown, known
        tosser = coin.Coin(keys.threshold, keys.signing_key, keys.signing_shares)
        for of, is_shown in list(self._asked.items()):
            name = self._name(of)
            if not is_shown:
                self._asked[of] = True
                try:
                    self._own[of] = self._keeper.sign_share(name.bls_message)
                    shown.append((of, self._own[of]))
                except CityChainError:
                    pass  # it has no share: it goes by those of the others
            bit = self._toss(tosser, name, of, keys.threshold)
            if bit is not None:
                del self._asked[of]
                self._shares.pop(of, None)
                known.append((of, bit))
        return shown, known

    def _toss(self, tosser: coin.Coin, name: coin.Name, of: Of, threshold: int) -> bool | None:
        """The coin, if enough right shares are there. Wrong ones are found out only where there is no other way."""
        theirs = self._shares.get(of, {})
        mine = [self._own[of]] if of in self._own else []
        shares = {*theirs.values(), *mine}
        by_index = {share[:2]: share for share in shares}
        if len(by_index) < threshold:
            return None
        if len(by_index) == len(shares):
            try:
                return tosser.combine(name, sorted(shares)).bit
            except UnavailableError:
                pass  # some are wrong
            except CityChainError:
                pass  # an index of nobody
        right = {sender: share for sender, share in theirs.items() if _is_right(tosser, name, share)}
        self._shares[of] = right
        by_index = {share[:2]: share for share in [*right.values(), *mine]}
        return tosser.combine(name, sorted(by_index.values())).bit if len(by_index) >= threshold else None

    def again(self) -> list[tuple[Of, bytes]]:
        """Own shares that others may still lack: those of the last rounds about each proposal."""
        return [(of, share) for of, share in self._own.items() if of[1] > self._rounds[of[0]] - _SHOWN_AGAIN]


def _is_right(tosser: coin.Coin, name: coin.Name, share: bytes) -> bool:
    try:
        tosser.verify_share(name, share)
    except CityChainError:
        return False
    return True
