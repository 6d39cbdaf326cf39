"""Transports, one file per engine: in process."""
