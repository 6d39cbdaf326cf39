"""What is shipped: the wheel holds `city_chain/` and one extension that exports its module, the source builds alone.

`nox -s wheel` builds both files and names them in CITY_CHAIN_WHEEL and CITY_CHAIN_SDIST.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit


def given(variable: str) -> Path:
    """The file that a variable names, or a skip."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set: `nox -s wheel` builds the file and sets it")
    return Path(path)


@pytest.fixture
def wheel() -> zipfile.ZipFile:
    return zipfile.ZipFile(given("CITY_CHAIN_WHEEL"))


@pytest.fixture
def sdist_names() -> set[str]:
    with tarfile.open(given("CITY_CHAIN_SDIST")) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}


def extension_of(wheel: zipfile.ZipFile) -> str:
    (name,) = [name for name in wheel.namelist() if name.endswith((".so", ".pyd", ".dylib", ".dll"))]
    return name


def test_wheel_is_for_the_stable_abi() -> None:
    assert "-cp312-abi3-" in given("CITY_CHAIN_WHEEL").name


def test_wheel_is_small() -> None:
    assert given("CITY_CHAIN_WHEEL").stat().st_size <= 6 << 20


def test_wheel_holds_only_the_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/", 1)[0] for name in wheel.namelist()}
    (info,) = [top for top in tops if top.endswith(".dist-info")]
    assert tops == {"city_chain", info}
    kinds = {
        Path(name).suffix for name in wheel.namelist() if name.startswith("city_chain/") and not name.endswith("/")
    }
    assert kinds <= {".py", ".pyi", ".typed", ".so", ".pyd"}


def test_wheel_holds_one_extension_that_exports_its_module(wheel: zipfile.ZipFile) -> None:
    name = extension_of(wheel)
    assert name.startswith("city_chain/_native.")
    assert b"PyInit__native" in wheel.read(name)


def test_wheel_holds_every_module_and_the_types(wheel: zipfile.ZipFile) -> None:
    root = Path(__file__).resolve().parents[1]
    names = set(wheel.namelist())
    modules = {path.relative_to(root).as_posix() for path in (root / "city_chain").rglob("*.py")}
    assert modules <= names
    assert {"city_chain/py.typed", "city_chain/_native.pyi"} <= names


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = wheel.read(name).decode().splitlines()
    assert "Name: city-chain" in lines
    assert [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line] == [
        "Requires-Dist: orjson>=3.11"
    ]
    licences = {Path(name).name for name in wheel.namelist() if "/licenses/" in name}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= licences


def test_sdist_holds_what_a_build_needs_and_no_tests(sdist_names: set[str]) -> None:
    needed = {
        ".cargo/config.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "city_chain/__init__.py",
        "native/Cargo.toml",
        "native/src/lib.rs",
        "pyproject.toml",
    }
    assert needed <= sdist_names
    strange = {
        name for name in sdist_names if name.endswith((".so", ".pyd", ".pyc")) or name.startswith(("tests", "docs"))
    }
    assert strange == set()
