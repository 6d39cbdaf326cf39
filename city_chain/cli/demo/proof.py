"""The demo's proof: a second process verifies the receipts, with copies of them and of the trust anchor alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

import city_chain
from city_chain.cli.console import text
from city_chain.cli.place import Place

__all__ = ["Proof", "verify_apart"]

_PATIENCE_S = 120.0
_PATIENCE_PER_RECEIPT_S = 0.1


@dataclass(slots=True)
class Proof:
    """What the second process found.

    Args:
        right: Transactions whose receipt is right.
        engines: The commit engines whose certificates they have.
        problems: What is wrong with the others, or with the process.
    """

    right: set[bytes] = field(default_factory=set)
    engines: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def verify_apart(place: Place, on_progress: Callable[[int], None]) -> Proof:
    """Runs ``city-chain verify`` in a process of its own, in a folder that holds receipts and trust anchor alone.

    Args:
        place: Where they are copied from.
        on_progress: Called with how many were verified so far.

    Raises:
        OSError: They cannot be copied, or no process can be started.
    """
    proof = Proof()
    if not place.receipts.is_dir():
        return proof
    with tempfile.TemporaryDirectory(prefix="city-chain-proof-") as name:
        folder = Path(name)
        shutil.copyfile(place.anchor, folder / place.anchor.name)
        shutil.copytree(place.receipts, folder / "receipts")
        count = sum(1 for _ in (folder / "receipts").iterdir())
        command = [sys.executable, "-m", "city_chain.cli", "--json", "verify", "receipts", "--trust", place.anchor.name]
        with subprocess.Popen(  # noqa: S603 — our own interpreter and module
            command, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            limit = threading.Timer(_PATIENCE_S + count * _PATIENCE_PER_RECEIPT_S, process.kill)
            limit.start()
            try:
                _read(process, proof, on_progress)
            finally:
                limit.cancel()
        if process.returncode != 0 and not proof.problems:
            proof.problems.append(f"the second process ended with exit status {process.returncode}")
    return proof


def _read(process: subprocess.Popen[bytes], proof: Proof, on_progress: Callable[[int], None]) -> None:
    """Takes one verdict a line."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the second process was started without pipes")
    for count, line in enumerate(process.stdout, 1):
        try:
            verdict = orjson.loads(line)
        except orjson.JSONDecodeError:
            proof.problems.append(f"the second process said {text(line[:200].decode(errors='replace').strip())!r}")
            continue
        if verdict["ok"]:
            proof.right.add(bytes.fromhex(verdict["tx_id"]))
            proof.engines.add(verdict["engine"])
        else:
            proof.problems.append(f"receipt {verdict['receipt']}: {verdict['error']}")
        on_progress(count)
    said = process.stderr.read().decode(errors="replace").strip()
    if said:
        proof.problems.append(f"the second process: {text(said)}")


def _environment() -> dict[str, str]:
    """The environment, with this very package to be found in it."""
    here = str(Path(city_chain.__file__ or "").parents[1])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
