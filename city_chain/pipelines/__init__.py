"""The pipelines, readable as recipes: `sending` (S1–S5) and `receiving` (R1–R5)."""

from city_chain.pipelines.receiving import HEALTH, OPENING, RECEIVING, REPAIRING
from city_chain.pipelines.sending import RESUMING, SENDING

__all__ = ["HEALTH", "OPENING", "RECEIVING", "REPAIRING", "RESUMING", "SENDING"]
