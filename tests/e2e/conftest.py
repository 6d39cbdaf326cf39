"""What the tests of the command line share: it runs as a process of its own, as a person would run it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import pytest

CITY_CHAIN = [sys.executable, "-W", "error", "-m", "city_chain.cli"]
OURS = {"CITY_CHAIN_DEBUG", "CITY_CHAIN_PASSPHRASE"}
ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that finds this very package."""
    found = {name: value for name, value in os.environ.items() if name not in OURS}
    path = os.pathsep.join(filter(None, [str(ROOT), found.get("PYTHONPATH")]))
    return {**found, "PYTHONPATH": path, "PYTHONUTF8": "1", **more}


class Cli:
    """Runs ``city-chain`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str | Path, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
        """Runs one command to its end."""
        command = [*CITY_CHAIN, *map(str, words)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(**more),
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert "CITY_CHAIN_DEBUG" in more or b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    def good(self, *words: str | Path, stdin: bytes = b"") -> str:
        """Runs one command that must succeed without a word on stderr; its output."""
        done = self(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout.decode()

    def bad(self, *words: str | Path, status: int = 1, stdin: bytes = b"", **more: str) -> str:
        """Runs one command that must fail; what it says on stderr, in at most two lines."""
        done = self(*words, stdin=stdin, **more)
        said = done.stderr.decode()
        assert done.returncode == status, done
        assert said.startswith("city-chain: "), said
        assert len(said.splitlines()) <= 2, said
        return said

    def start(
        self,
        *words: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Starts one command and leaves it running, hearing Ctrl-C even where the tests' own shell has it ignored."""
        return subprocess.Popen(
            [sys.executable, "-m", "city_chain.cli", *map(str, words)],
            cwd=self.folder,
            env=environment(),
            bufsize=0,  # `communicate` knows nothing of lines that were read ahead
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=hear_interrupts if os.name == "posix" else None,  # noqa: PLW1509 — one call, no lock
        )


class Terminal:
    """``city-chain`` on a terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        import pty  # noqa: PLC0415 — not everywhere

        self.seen = b""
        self.pid, self.handle = pty.fork()
        if self.pid == 0:  # the child
            os.chdir(folder)
            hear_interrupts()
            os.execve(sys.executable, [sys.executable, "-m", "city_chain.cli", *words], environment())

    def wait_for(self, words: bytes, seconds: float = 60) -> None:
        """Reads until something is there; what came before it is forgotten."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            ready, _, _ = select.select([self.handle], [], [], max(0, end - time.monotonic()))
            assert ready, f"{words!r} did not come: {self.seen!r}"
            self.seen += self._read()
        self.seen = self.seen.partition(words)[2]

    def type(self, words: bytes) -> None:
        """Types something."""
        time.sleep(0.05)  # echo is off when the question stands there
        os.write(self.handle, words)

    def end(self) -> tuple[int, bytes]:
        """The exit status, and what was shown to the end."""
        while True:
            more = self._read()
            if not more:
                break
            self.seen += more
        _, status = os.waitpid(self.pid, 0)
        os.close(self.handle)
        return os.waitstatus_to_exitcode(status), self.seen

    def _read(self) -> bytes:
        try:
            return os.read(self.handle, 4096)
        except OSError:  # EIO: nobody is there any more
            return b""


def hear_interrupts() -> None:
    """Undoes what a shell does to a job in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, run in an empty folder."""
    return Cli(tmp_path)


@pytest.fixture
def on_terminal(cli: Cli) -> Callable[..., Terminal]:
    """Runs the command line on a terminal of its own, in the same folder."""
    return lambda *words: Terminal(cli.folder, *words)


@pytest.fixture
def town(cli: Cli) -> Path:
    """A small city in the folder ``town``."""
    cli.good("init", "town", "--nodes", "8", "--validators", "1", "-k", "2", "-n", "6")
    return cli.folder / "town"


@pytest.fixture
def files(cli: Cli) -> Callable[[int], Sequence[str]]:
    """Makes some files of different bytes; their names."""

    def make(count: int) -> list[str]:
        names = [f"file{at:04}.txt" for at in range(count)]
        for at, name in enumerate(names):
            (cli.folder / name).write_bytes(b"%d\n" % at * (1 + at % 500))
        return names

    return make
