"""The levels. Here the first: the city."""

from city_chain.levels.city import City
from city_chain.levels.reports import Health, NodeInfo, Recovery, RepairReport, TransactionHealth
from city_chain.levels.settings import Settings

__all__ = ["City", "Health", "NodeInfo", "Recovery", "RepairReport", "Settings", "TransactionHealth"]
