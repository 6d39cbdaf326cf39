"""What README and pages show works as it stands there: Python blocks, the shell block, the two commands, the links.

A Python block with prompts (``>>>``) is a doctest, and pytest runs it with its page (``--doctest-glob``). A block
without is a whole program, and is run here, in a process and a folder of its own. So no block goes without being run.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
TASKS = {"demo", "all"}
COMMAND = str(Path(sys.executable).with_name("city-chain"))


def blocks(language: str, page: Path = ROOT / "README.md") -> list[str]:
    """The code blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def programs() -> list[Any]:
    """The Python blocks of all pages that are no doctests."""
    found = [(page, block) for page in PAGES for block in blocks("python", page) if ">>> " not in block]
    return [pytest.param(block, id=f"{page.name}-{at}") for at, (page, block) in enumerate(found)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUTF8": "1", "CITY_CHAIN_PASSPHRASE": "of a test"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_there_is_python_to_run() -> None:
    assert len(blocks("python")) >= 2
    assert len(programs()) >= 2


@pytest.mark.parametrize("program", programs())
def test_program(program: str, tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", program], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_other_python_block_is_a_doctest(page: Path) -> None:
    """Doctest ends an example at a blank line: the last output of a block must not run into its fence."""
    text = page.read_text(encoding="utf-8")
    prompted = [block for block in blocks("python", page) if ">>> " in block]
    assert all(block.endswith("\n\n") for block in prompted)
    examples = doctest.DocTestParser().get_examples(text)
    assert sum(len(re.findall(r"^>>> ", block, re.MULTILINE)) for block in prompted) == len(examples)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_index_names_every_page(page: Path) -> None:
    """A page of a folder stands in the page named like the folder."""
    docs = ROOT / "docs"
    index = docs / "index.md" if page.parent == docs else page.parent.with_suffix(".md")
    assert page == index or f"]({page.relative_to(index.parent)})" in index.read_text(encoding="utf-8")


def test_every_test_that_the_page_on_testing_names_is_there() -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|native|benches)/[\w/.]*\w)(?:::(\w+))?`", text)
    assert len([test for _, test in named if test]) > 40
    missing = [f"{file}::{test}" for file, test in named if not holds(ROOT / file, test)]
    assert missing == []


def holds(file: Path, test: str) -> bool:
    """Whether there is such a file or folder, and such a test in it."""
    return file.exists() and (
        not test or re.search(rf"\b(def|fn|class) {test}\b", file.read_text(encoding="utf-8")) is not None
    )


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


def test_shell_block_of_files(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("sh") if "city-chain ec encode" in block]
    photos = {f"photos/{name}.jpg": name.encode() * 10_000 for name in ("a", "sub/b")}
    for name, data in photos.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "city-chain"
        words, output = (words[:-2], words[-1]) if words[-2] == ">" else (words, None)
        done = run([COMMAND, *words[1:]], tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if output is not None:
            (tmp_path / output).write_text(done.stdout, encoding="utf-8")
    assert {name: (tmp_path / "restored" / name).read_bytes() for name in photos} == photos


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


def test_what_is_shown_is_installed_first() -> None:
    """The two commands of the start install nothing: what follows them needs a step of its own, and it is shown."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [block for block in blocks("sh") if "pip install" in block]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert lines == [
        ["python3", "-m", "venv", ".venv"],
        [".", ".venv/bin/activate"],
        ["python3", "-m", "pip", "install", "."],
    ]
    assert page.index(block) < page.index("from city_chain import City") < page.index("city-chain init town")
    assert "uv run" not in page  # it would install everything that work on city-chain needs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
