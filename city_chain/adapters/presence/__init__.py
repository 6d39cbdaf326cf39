"""Presence, one file per engine: memory and SQLite."""
