"""city-chain: durable, verifiable, Byzantine-fault-tolerant dispersal and commitment of transactions in your process."""

from city_chain import errors

__all__ = ["errors"]
