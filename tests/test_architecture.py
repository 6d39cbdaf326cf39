"""Which way the arrows run, in Python and in Rust.

Python: ``_native → algorithms, proofs, records → stages → pipelines → node → levels → sim → cli``. `errors`, `ports`
and `composer` are leaves. `adapters` import ports, errors and third-party clients; only `levels`, `sim` and `cli`
import them. Rust: ``python → records → proofs → algorithms → primitives → crypto`` with `error` under all of them.

The first half checks this repository. The second half shows that the checker notices: small trees, each with one fault.
Nothing here imports the package, so this runs before anything is built.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "city_chain"
LINES_MAX = 700

# A part may import the parts of a lower rank. The facades follow the order of the Rust modules that they stand for.
RANKS = {
    "_native": 0,
    "algorithms": 11,
    "proofs": 12,
    "records": 13,
    "stages": 20,
    "pipelines": 30,
    "node": 40,
    "levels": 50,
    "testing": 20,
    "": 60,  # city_chain/__init__.py, the curated names
    "sim": 70,
    "cli": 80,
    "__main__": 90,
}
LEAVES = {"errors": set[str](), "ports": {"errors"}, "composer": {"errors", "ports"}, "adapters": {"errors", "ports"}}
FACADES = {"", "algorithms", "proofs", "records", "sim"}
ADAPTERS_FOR = {"adapters", "levels", "sim", "cli"}
BANNED = {"asyncio", "trio", "anyio", "curio"}
RUNTIME = {"orjson"}  # what the package may need beside the standard library, outside the adapters

RUST_RANKS = {"error": 0, "crypto": 10, "primitives": 20, "algorithms": 30, "proofs": 40, "records": 50, "sim": 60}
RUST_RANKS["python"] = 90


class Import(NamedTuple):
    """One imported name: where, and the module that it comes from."""

    module: str
    line: int
    target: str


# --- the checker: Python ---------------------------------------------------------------------------------------------


def module_name(path: str) -> str:
    """``city_chain/node/__init__.py`` → ``city_chain.node``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part_of(module: str) -> str:
    """The part of the house that a module is in: the name under `city_chain`, empty for the package itself."""
    return [*module.split("."), ""][1]


def imports_of(path: str, source: str, modules: set[str]) -> Iterator[Import]:
    """Every import of a file, wherever it stands in it, as the full name of the module that it reaches."""
    module = module_name(path)
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(module, node.lineno, full if full in modules or full == f"{PACKAGE}._native" else base)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield Import(module, node.lineno, node.args[0].value)


def fault_of(item: Import) -> str | None:
    """What is wrong with one import, if anything."""
    top = item.target.split(".")[0]
    source, target = part_of(item.module), part_of(item.target)
    if top in BANNED:
        return f"{top} is not used here: the core is synchronous"
    if top != PACKAGE:
        known = top in sys.stdlib_module_names or top in RUNTIME or source == "adapters"
        return None if known else f"{top} is neither in the standard library nor a runtime dependency"
    if target == "_native":
        return None if source in FACADES else "only the facades import _native"
    if source == target:
        ours, theirs = item.module.split("."), item.target.split(".")
        siblings = source == "algorithms" and len(ours) > 2 and len(theirs) > 2 and ours[2] != theirs[2]
        return "algorithms do not import each other" if siblings else None
    if source in LEAVES:
        allowed = ", ".join(sorted(LEAVES[source])) or "nothing of the package"
        return None if target in LEAVES[source] else f"{source} may import {allowed}"
    if target == "adapters":
        return None if source in ADAPTERS_FOR else "only levels, sim and cli import adapters"
    if target in LEAVES:
        return None
    if source not in RANKS or target not in RANKS:
        return f"unknown part: {source if source not in RANKS else target!r}; give it a rank in {Path(__file__).name}"
    return None if RANKS[target] < RANKS[source] else f"the arrow runs from {target or PACKAGE} to {source or PACKAGE}"


def cycle_of(edges: Mapping[str, set[str]]) -> str | None:
    """One import cycle, if there is any."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return " → ".join(error.args[1])
    return None


def check_python(files: Mapping[str, str]) -> list[str]:
    """Every fault of the Python package, given as path → text."""
    modules = {module_name(path) for path in files}
    faults: list[str] = []
    edges: dict[str, set[str]] = {}
    for path, source in files.items():
        module = module_name(path)
        edges[module] = set()
        public = not Path(path).stem.removeprefix("__").startswith("_")
        if public and ast.get_docstring(ast.parse(source, path)) is None:
            faults.append(f"{path}:1: the module has no docstring")
        for item in imports_of(path, source, modules):
            fault = fault_of(item)
            if fault:
                faults.append(f"{path}:{item.line}: imports {item.target}: {fault}")
            if item.target in modules and item.target != module:
                edges[module].add(item.target)
    cycle = cycle_of(edges)
    if cycle:
        faults.append(f"import cycle: {cycle}")
    return faults


# --- the checker: Rust -----------------------------------------------------------------------------------------------

NOISE = re.compile(r"""//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""", re.DOTALL)
PYO3 = re.compile(r"\bpyo3\b|#\[py\w+|\bPy(?:Any|Bytes|Err|Module|Object|Result)\b")
FEATURE = re.compile(r"""feature\s*=\s*"python\"""")


def without_noise(source: str) -> str:
    """Rust with comments and literals blanked out; every line keeps its number."""
    return NOISE.sub(lambda match: " " + "\n" * match.group().count("\n"), source)


def first_names(text: str) -> Iterator[str]:
    """The first names of a use tree: ``a::b`` → a, ``{a::{b, c}, d}`` → a, d."""
    if not text.startswith("{"):
        match = re.match(r"\w+", text)
        if match:
            yield match.group()
        return
    depth, fresh = 0, True
    for match in re.finditer(r"[{}]|,|\w+", text):
        word = match.group()
        if word == "{":
            depth, fresh = depth + 1, depth == 0
        elif word == "}":
            depth -= 1
            if depth == 0:
                return
        elif word == ",":
            fresh = depth == 1
        elif fresh and depth == 1:
            yield word
            fresh = False


def rust_paths(path: str, code: str) -> Iterator[tuple[int, list[str]]]:
    """Every path from the root of the crate, as (line, names): two names under `algorithms`, else one."""
    here = path.removesuffix(".rs").removesuffix("/mod").split("/")
    roots = [(r"\bcrate\s*::\s*", [])]
    if len(here) == 1:
        roots.append((r"\bsuper\s*::\s*", []))
    if here[0] == "algorithms":
        roots.append((r"\bsuper\s*::\s*" if len(here) == 2 else r"\bsuper\s*::\s*super\s*::\s*", ["algorithms"]))
        roots.append((r"\bcrate\s*::\s*algorithms\s*::\s*", ["algorithms"]))
    for pattern, prefix in roots:
        for match in re.finditer(pattern, code):
            line = code.count("\n", 0, match.start()) + 1
            for name in first_names(code[match.end() :]):
                yield line, [*prefix, name]


def check_rust(files: Mapping[str, str]) -> list[str]:
    """Every fault of the Rust crate, given as path under ``native/src`` → text."""
    faults: list[str] = []
    algorithms = {path.split("/")[1].removesuffix(".rs") for path in files if path.startswith("algorithms/")} - {"mod"}
    for path, source in files.items():
        code = without_noise(source)
        part = path.split("/")[0].removesuffix(".rs")
        if part != "lib":
            if part not in RUST_RANKS:
                faults.append(f"{path}:1: unknown part {part!r}; give it a rank in {Path(__file__).name}")
                continue
            faults += [f"{path}:{line}: {fault}" for line, fault in rust_faults(path, part, code, algorithms)]
        gates = len(FEATURE.findall(source)) if part == "lib" else 0
        if gates > 1 or (part != "lib" and FEATURE.search(source)):
            faults.append(f"{path}: the feature `python` is asked for in one line of lib.rs alone")
        if part != "python" and (found := PYO3.search(code)):
            line = code.count("\n", 0, found.start()) + 1
            faults.append(f"{path}:{line}: {found.group()}: PyO3 stays in src/python")
    return faults


def rust_faults(path: str, part: str, code: str, algorithms: set[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with the paths of one file."""
    own = path.split("/")[1].removesuffix(".rs") if "/" in path else ""
    for line, names in rust_paths(path, code):
        target = names[0]
        if names[:1] == ["algorithms"] and len(names) == 2:
            if own in algorithms and names[1] in algorithms and names[1] != own:
                yield line, f"uses algorithms::{names[1]}: algorithms do not import each other"
        elif target in RUST_RANKS and target != part and RUST_RANKS[target] > RUST_RANKS[part]:
            yield line, f"uses {target}: the arrow runs from {target} to {part}"


# --- the checker: files ----------------------------------------------------------------------------------------------


def check_lengths(files: Mapping[str, str]) -> list[str]:
    """Files that are too long to be read."""
    lengths = {path: len(text.splitlines()) for path, text in files.items()}
    return [f"{path}: {lines} lines, at most {LINES_MAX}" for path, lines in lengths.items() if lines > LINES_MAX]


def tree(folder: str, suffix: str, base: str = "") -> dict[str, str]:
    """The files of a folder of this repository as path → text, build results left out."""
    found = sorted((ROOT / folder).rglob(f"*{suffix}"))
    paths = [path for path in found if "target" not in path.relative_to(ROOT).parts]
    return {path.relative_to(ROOT / base).as_posix(): path.read_text(encoding="utf-8") for path in paths}


# --- this repository -------------------------------------------------------------------------------------------------


def test_python_arrows() -> None:
    files = tree(PACKAGE, ".py")
    assert f"{PACKAGE}/__init__.py" in files
    assert check_python(files) == []


def test_rust_arrows() -> None:
    files = tree("native/src", ".rs", base="native/src")
    assert "lib.rs" in files
    assert check_rust(files) == []
    assert len(FEATURE.findall(files["lib.rs"])) == 1


def test_files_are_short() -> None:
    folders = [
        (folder, suffix) for folder in (PACKAGE, "native", "tests", "benches", "examples") for suffix in (".py", ".rs")
    ]
    assert (
        check_lengths({path: text for folder, suffix in folders for path, text in tree(folder, suffix).items()}) == []
    )


def test_top_level_is_fixed() -> None:
    """Visible folders: those of the architecture, and what builds and tests leave behind (ignored by git)."""
    ignored = {line.strip().strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    known = {PACKAGE, "native", "tests", "benches", "examples", "docs", "__pycache__"}
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert found - known - ignored == set()


# --- does the checker notice? ----------------------------------------------------------------------------------------

DOC = '"""Doc."""\n'
BODY = {
    "__init__": "from city_chain import _native, errors\nfrom city_chain.levels.city import City",
    "errors": "",
    "ports": "from city_chain.errors import InputError",
    "composer/__init__": "from city_chain.composer.pipeline import Pipeline",
    "composer/pipeline": "import graphlib\nfrom city_chain import errors",
    "adapters/__init__": "",
    "adapters/storage": "import some_client\nfrom city_chain.ports import Storage",
    "algorithms/__init__": "from city_chain.algorithms import ec, rvh",
    "algorithms/ec": "from city_chain import _native",
    "algorithms/rvh": "from city_chain._native import rank",
    "proofs/__init__": "from . import poh",
    "proofs/poh": "from city_chain import _native",
    "records": "import city_chain._native",
    "stages/__init__": "",
    "stages/s1": "import orjson\nfrom city_chain.algorithms import ec\nfrom ..records import Manifest",
    "stages/s2": "from . import s1",
    "pipelines": "from city_chain.composer import Pipeline\nfrom city_chain.stages import s1, s2",
    "node": "from city_chain.pipelines import sending",
    "levels/__init__": "",
    "levels/city": "from city_chain.adapters import storage\nfrom city_chain.node import Node",
    "cli": "from city_chain import City\nfrom city_chain.adapters.storage import SqliteStorage",
    "__main__": "from city_chain.cli import main",
}
SOUND = {f"{PACKAGE}/{name}.py": DOC + text for name, text in BODY.items()}


def test_a_sound_package_passes() -> None:
    assert check_python(SOUND) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("errors", "from city_chain import ports", "errors may import nothing of the package"),
        ("ports", "from city_chain.records import Manifest", "ports may import errors"),
        ("composer/pipeline", "from city_chain.algorithms import ec", "composer may import errors, ports"),
        ("adapters/storage", "from ..records import Manifest", "adapters may import errors, ports"),
        ("algorithms/ec", "from city_chain.algorithms.rvh import rank", "algorithms do not import each other"),
        ("algorithms/ec", "from . import rvh", "algorithms do not import each other"),
        ("algorithms/ec", "from city_chain import records", "the arrow runs from records to algorithms"),
        ("algorithms/ec", "def late():\n    import city_chain.stages.s1", "the arrow runs from stages to algorithms"),
        ("records", "from city_chain.stages import s1", "the arrow runs from stages to records"),
        ("stages/s1", "from city_chain import _native", "only the facades import _native"),
        ("stages/s1", "from city_chain._native import pick", "only the facades import _native"),
        ("stages/s1", "import city_chain.pipelines", "the arrow runs from pipelines to stages"),
        ("stages/s1", "from city_chain import City", "the arrow runs from city_chain to stages"),
        (
            "stages/s1",
            "import importlib\nimportlib.import_module('city_chain.cli')",
            "the arrow runs from cli to stages",
        ),
        ("pipelines", "from city_chain.node import Node", "the arrow runs from node to pipelines"),
        ("node", "from city_chain.levels import city", "the arrow runs from levels to node"),
        ("node", "from city_chain.adapters.storage import S", "only levels, sim and cli import adapters"),
        ("__init__", "from city_chain.adapters import storage", "only levels, sim and cli import adapters"),
        ("levels/city", "from city_chain.cli import main", "the arrow runs from cli to levels"),
        ("node", "import asyncio", "asyncio is not used here"),
        ("adapters/storage", "from trio import run", "trio is not used here"),
        ("node", "import requests", "requests is neither in the standard library nor a runtime dependency"),
        ("attic", "from city_chain.node import Node", "unknown part"),
        ("composer/pipeline", "from city_chain.composer import Pipeline", "import cycle"),
        ("stages/s1", "from city_chain.stages import s2", "import cycle"),
    ],
)
def test_a_wrong_import_is_noticed(name: str, text: str, fault: str) -> None:
    faults = check_python({**SOUND, f"{PACKAGE}/{name}.py": DOC + text})
    assert any(fault in found for found in faults), faults


def test_a_missing_docstring_is_noticed() -> None:
    assert check_python({**SOUND, f"{PACKAGE}/node.py": "x = 1\n"}) == [
        f"{PACKAGE}/node.py:1: the module has no docstring"
    ]
    assert check_python({**SOUND, f"{PACKAGE}/stages/_inner.py": "x = 1\n"}) == []


RUST = {
    "lib.rs": '//! crate::python\npub mod crypto;\n#[cfg(feature = "python")]\nmod python;\n',
    "error.rs": "pub enum Error {}\n",
    "crypto/mod.rs": "use crate::error::Error;\nmod tests { use super::*; }\n",
    "primitives/wire.rs": "use crate::{crypto::{hash, merkle}, error::Error};\n",
    "algorithms/mod.rs": "pub mod ec;\npub mod vrf;\n",
    "algorithms/ec/mod.rs": "use crate::primitives::wire;\nmod rs16;\nuse super::ec::rs16 as code;\n",
    "algorithms/ec/rs16.rs": "use super::Code; // never crate::records\n",
    "algorithms/vrf/mod.rs": 'const NAME: &str = "crate::python::pyo3";\n',
    "proofs/poh.rs": "use crate::algorithms::{ec, vrf};\n",
    "records/mod.rs": "use crate::proofs::poh;\n",
    "python/mod.rs": "use pyo3::prelude::*;\nuse crate::records;\n",
}


def test_a_sound_crate_passes() -> None:
    assert check_rust(RUST) == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("error.rs", "use crate::crypto::hash;", "error.rs:1: uses crypto"),
        ("crypto/mod.rs", "\nuse crate::primitives::wire;", "crypto/mod.rs:2: uses primitives"),
        ("crypto/mod.rs", "use super::records;", "uses records"),
        ("crypto/mod.rs", "fn f() -> crate::proofs::poh::Hold {}", "uses proofs"),
        ("primitives/wire.rs", "use crate::{crypto::{hash, merkle}, algorithms::ec};", "uses algorithms"),
        ("primitives/wire.rs", "use crate::{\n    algorithms,\n};", "uses algorithms"),
        ("algorithms/ec/mod.rs", "use crate::proofs::poh;", "uses proofs"),
        ("algorithms/ec/mod.rs", "use crate::algorithms::vrf;", "algorithms do not import each other"),
        (
            "algorithms/ec/mod.rs",
            "use crate::algorithms::{ec::rs16, vrf::prove};",
            "algorithms do not import each other",
        ),
        ("algorithms/ec/mod.rs", "use super::vrf::prove;", "algorithms do not import each other"),
        ("algorithms/ec/rs16.rs", "use super::super::vrf;", "algorithms do not import each other"),
        ("proofs/poh.rs", "use crate::records::Manifest;", "uses records"),
        ("records/mod.rs", "use crate::python::call;", "uses python"),
        ("records/mod.rs", "use pyo3::prelude::*;", "PyO3 stays in src/python"),
        ("records/mod.rs", "#[pyclass]\nstruct A;", "PyO3 stays in src/python"),
        ("records/mod.rs", '#[cfg(feature = "python")]\nfn a() {}', "one line of lib.rs alone"),
        (
            "lib.rs",
            '#[cfg(feature = "python")]\nmod python;\n#[cfg(feature = "python")]\nmod b;',
            "one line of lib.rs alone",
        ),
        ("attic.rs", "", "unknown part"),
    ],
)
def test_a_wrong_path_is_noticed(path: str, text: str, fault: str) -> None:
    faults = check_rust({**RUST, path: text})
    assert any(fault in found for found in faults), faults


def test_a_long_file_is_noticed() -> None:
    assert check_lengths({"a.py": "x\n" * LINES_MAX}) == []
    assert check_lengths({"a.py": "x\n" * (LINES_MAX + 1)}) == [f"a.py: {LINES_MAX + 1} lines, at most {LINES_MAX}"]
