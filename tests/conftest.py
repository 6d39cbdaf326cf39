"""What all tests share: the official vectors, the markers by folder, and hypothesis' settings."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent

# Time figures are reported, never asserted: a slow machine is no failure.
settings.register_profile("city-chain", deadline=None)
settings.register_profile("city-chain-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("city-chain-ci" if os.environ.get("CI") else "city-chain")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of the official test vectors, which are no part of the repository."""
    place = os.environ.get("CITY_CHAIN_VECTORS")
    if not place:
        pytest.skip("CITY_CHAIN_VECTORS is not set: it names the folder of the official test vectors")
    folder = Path(place)
    if not folder.is_dir():
        pytest.fail(f"CITY_CHAIN_VECTORS is {place!r}, which is no folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Register what tests outside this folder (the docstrings of the package) need as well."""
    place = importlib.util.spec_from_file_location("examples_of_records", TESTS / "examples_of_records.py")
    assert place is not None
    assert place.loader is not None
    plugin = importlib.util.module_from_spec(place)
    place.loader.exec_module(plugin)
    config.pluginmanager.register(plugin, "examples_of_records")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test under a folder named like a marker that marker, so that none is left out of a run."""
    for item in items:
        try:
            folder = item.path.relative_to(TESTS).parts[0]
        except ValueError:
            continue
        if folder in {"unit", "ffi", "e2e"} and item.get_closest_marker(folder) is None:
            item.add_marker(folder)
