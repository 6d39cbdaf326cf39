"""A real map for benchmarks: the counties of the United States, npm's us-atlas made GeoJSON by topojson-client.

Both are fetched once, into ``.nox/atlas``, where Node and the npm registry are there; nothing of them is committed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PACKAGES = ("us-atlas@3.0.1", "topojson-client@3.1.0")
FOLDER = Path(__file__).resolve().parents[1] / ".nox" / "atlas"
_PATIENCE_S = 120


def counties() -> bytes | str:
    """The map as GeoJSON; or why it is not to be had."""
    made = FOLDER / "counties.geojson"
    if made.exists():
        return made.read_bytes()
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are needed to fetch it"
    part = FOLDER.with_name("atlas.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    install = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(part),
        *PACKAGES,
    ]
    modules = part / "node_modules"
    convert = [node, str(modules / "topojson-client" / "bin" / "topo2geo"), f"counties={part / made.name}"]
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=_PATIENCE_S, cwd=part)
        with (modules / "us-atlas" / "counties-10m.json").open("rb") as topology:
            subprocess.run(convert, check=True, capture_output=True, timeout=_PATIENCE_S, stdin=topology)
    except (OSError, subprocess.SubprocessError) as error:
        return f"npm could not fetch it: {error}"
    shutil.rmtree(FOLDER, ignore_errors=True)
    part.rename(FOLDER)
    return made.read_bytes()
