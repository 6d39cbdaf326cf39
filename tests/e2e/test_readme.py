"""What the README shows works as it stands there: the Python blocks, the shell block, the two commands, the links."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TASKS = {"demo", "all"}
COMMAND = str(Path(sys.executable).with_name("city-chain"))


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_there_is_python_to_run() -> None:
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_block(number: int, tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", blocks("python")[number]], tmp_path)
    assert done.returncode == 0, done.stderr


def test_shell_block(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("sh") if "city-chain init" in block]
    letter = tmp_path / "letter.txt"
    letter.write_bytes(b"Dear city,\n")
    known: dict[str, str] = {}
    for line in block.splitlines():
        words = [known.get(word, word) for word in shlex.split(line, comments=True)]
        assert words[0] == "city-chain"
        sends = "send" in words
        done = run([COMMAND, *words[1:], *(["--json"] if sends else [])], tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if sends:
            known["TX_ID"], known["RECEIPT"] = sent(done.stdout)
            letter.unlink()
    assert letter.read_bytes() == b"Dear city,\n"


def sent(output: str) -> tuple[str, str]:
    """The transaction's id and its receipt's file, as `send --json` prints them."""
    found = re.search(r'"tx_id":\s*"([0-9a-f]{64})"', output), re.search(r'"receipt":\s*"([^"]+)"', output)
    assert found[0]
    assert found[1]
    return found[0].group(1), found[1].group(1)


def test_the_two_commands_are_tasks() -> None:
    commands = [line.split() for block in blocks("sh") for line in block.splitlines() if "noxfile.py" in line]
    assert {words[2] for words in commands} == TASKS
    tasks = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert all(f"def {task}(" in tasks or f'name="{task}"' in tasks for task in TASKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
