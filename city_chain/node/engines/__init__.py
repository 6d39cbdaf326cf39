"""The commit engines: ways to get a city's batches into their one order (see `stages.model.CommitEngine`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from city_chain import records
from city_chain.node.agreeing import Party
from city_chain.node.engines.abba import AbbaEngine
from city_chain.node.engines.dpos import DposEngine
from city_chain.node.engines.hotstuff import HotStuffEngine
from city_chain.node.judge import Judge
from city_chain.node.keeper import Keeper
from city_chain.node.ledger import Ledger
from city_chain.node.roster import Roster
from city_chain.node.subset import SubsetParty
from city_chain.node.validator import Validator
from city_chain.node.voter import Voter
from city_chain.ports import Clock, Storage, Transport
from city_chain.stages.model import CommitEngine

__all__ = ["ENGINES", "AbbaEngine", "DposEngine", "HotStuffEngine", "Made", "MakeEngine", "MakeVoter"]

type MakeEngine = Callable[[Ledger, Judge, Roster, Transport, Clock, str], CommitEngine]
"""Makes the half of whoever commits; the last argument is the name of the city."""

type MakeVoter = Callable[[records.Identity, Storage, Ledger, Keeper], Voter | Party]
"""Makes the half of a delegate, over its own space."""


class Made(NamedTuple):
    """What an engine is made of: the half of whoever commits, and the half of each delegate."""

    engine: MakeEngine
    voter: MakeVoter


def _dpos(identity: records.Identity, storage: Storage, ledger: Ledger, _: Keeper) -> Voter:
    return Voter(identity, storage, ledger)


def _hotstuff(identity: records.Identity, storage: Storage, ledger: Ledger, _: Keeper) -> Validator:
    return Validator(identity, storage, ledger)


ENGINES: Mapping[str, Made] = {
    HotStuffEngine.name: Made(HotStuffEngine, _hotstuff),
    AbbaEngine.name: Made(AbbaEngine, SubsetParty),
    DposEngine.name: Made(DposEngine, _dpos),
}
"""What `Settings.engine` may name, the usual one first. What else a new one needs: `docs/development.md`."""
