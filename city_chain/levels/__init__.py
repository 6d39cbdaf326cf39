"""The levels. Here the first: the city."""

from city_chain.levels.city import City
from city_chain.levels.node_host import NodeHost
from city_chain.levels.reports import Health, NodeInfo, Recovery, RepairReport, TransactionHealth
from city_chain.levels.settings import Settings

__all__ = ["City", "Health", "NodeHost", "NodeInfo", "Recovery", "RepairReport", "Settings", "TransactionHealth"]
