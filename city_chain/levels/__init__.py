"""The levels. Here the first, the city, and several of them together: the world."""

from city_chain.errors import AbortedError
from city_chain.levels.city import City
from city_chain.levels.cross_receipt import CrossReceipt, WorldTrust
from city_chain.levels.crossing import Step
from city_chain.levels.node_host import NodeHost
from city_chain.levels.places import Places
from city_chain.levels.reports import Health, NodeInfo, Recovery, RepairReport, TransactionHealth
from city_chain.levels.resharding import Resharded
from city_chain.levels.settings import Settings
from city_chain.levels.world import World
from city_chain.levels.world_reports import CityState, WorldHealth, WorldRecovery

__all__ = [
    "AbortedError",
    "City",
    "CityState",
    "CrossReceipt",
    "Health",
    "NodeHost",
    "NodeInfo",
    "Places",
    "Recovery",
    "RepairReport",
    "Resharded",
    "Settings",
    "Step",
    "TransactionHealth",
    "World",
    "WorldHealth",
    "WorldRecovery",
    "WorldTrust",
]
