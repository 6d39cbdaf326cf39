"""`docs/dependencies.md` names every direct dependency, in the version of the lock files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
ROWS = set(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", PAGE, re.MULTILINE))
"""Names and versions; a crate and a package may have one name."""


def toml(*path: str) -> dict[str, Any]:
    return tomllib.loads(ROOT.joinpath(*path).read_text(encoding="utf-8"))


def locked(file: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for package in toml(file)["package"]:
        versions.setdefault(package["name"], set()).add(package.get("version", ""))
    return versions


def crates() -> set[str]:
    manifest = toml("native", "Cargo.toml")
    return {*manifest["dependencies"], *manifest["dev-dependencies"]}


def packages() -> set[str]:
    project = toml("pyproject.toml")
    wanted = list(project["project"]["dependencies"])
    for group in project["dependency-groups"].values():
        wanted += [entry for entry in group if isinstance(entry, str)]
    return {re.match(r"[\w-]+", entry)[0] for entry in wanted}  # type: ignore[index]


def test_every_crate_is_there_in_its_locked_version() -> None:
    versions = locked("Cargo.lock")
    wrong = {
        name: versions[name] for name in crates() if not any((name, version) in ROWS for version in versions[name])
    }
    assert wrong == {}


def test_every_package_is_there_in_its_locked_version() -> None:
    versions = locked("uv.lock")
    wrong = {
        name: versions[name] for name in packages() if not any((name, version) in ROWS for version in versions[name])
    }
    assert wrong == {}


def test_nothing_else_is_there() -> None:
    assert {name for name, _ in ROWS} <= crates() | packages()
