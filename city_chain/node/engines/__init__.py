"""The commit engines, by name: ways to get a city's batches into their one order (see `stages.model.CommitEngine`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from city_chain.node.engines.abba import AbbaEngine
from city_chain.node.engines.dpos import DposEngine
from city_chain.node.engines.hotstuff import HotStuffEngine
from city_chain.node.judge import Judge
from city_chain.node.ledger import Ledger
from city_chain.node.roster import Roster
from city_chain.ports import Clock, Transport
from city_chain.stages.model import CommitEngine

__all__ = ["ENGINES", "AbbaEngine", "DposEngine", "HotStuffEngine", "MakeEngine"]

type MakeEngine = Callable[[Ledger, Judge, Roster, Transport, Clock, str], CommitEngine]
"""Makes an engine for a ledger; the last argument is the name of the city."""

ENGINES: Mapping[str, MakeEngine] = {engine.name: engine for engine in (HotStuffEngine, AbbaEngine, DposEngine)}
"""What `Settings.engine` may name. Another engine is another file here and another line in this table."""
