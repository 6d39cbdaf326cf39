"""Storages, one file per engine: memory, SQLite, and a namespace within another."""
