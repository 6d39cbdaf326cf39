"""Every task of this repository, and the way to start one on a machine that has nothing but Python and Rust.

``python3 noxfile.py TASK… [-- ARGUMENTS]`` finds uv (or puts it into ``.nox/uv``, where it touches nothing else), lets
uv make an environment with nox in the versions of ``uv.lock``, and hands over. Who has nox types ``nox -s TASK``.

demo      the demo of the README
all       every test, the cheapest first: quick, rust, smoke, python, end to end
quick     what can be known within seconds: the architecture, and the pure Python tests if the extension is built
rust      the tests of the Rust workspace, without Python
smoke     builds the extension and imports it
python    unit tests, tests across the boundary, doctests
e2e       whole pipelines, processes and files
lint      formatters, linters, types, stubs, architecture
wheel     source distribution and wheel: contents, stable ABI, import under 3.12 and 3.13
bench     the benchmarks (with ``-- --benchmark-disable``: each runs once, untimed)
report    benchmarks, peers and rival, and their tables into docs/benchmarks.md; wants a quiet machine
counts    instructions of the hot calls beside the baseline (``-- --renew`` writes it); needs valgrind
gate      the latency gates: fails when a stage, a pipeline or a call breaks its budget
hostile   agreement under attack: a million inputs for each fuzz target of a machine, every seeded mutant is killed
          (``-- N`` for another number of inputs)
soak      the tests of memory with a million sends and calls of each kind: about an hour; ten million Twins scenarios
          for 4 and for 7 validators: hours (``-- N SCENARIOS`` for other numbers)
docs      the pages and the reference as a site, into .nox/docs/site; a warning is an error
fuzz      each fuzz target for a while (``-- 60`` = seconds for each)

This file is read by any Python from 3.8 on, because the first `python3` on PATH may be an old one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent
UV_VERSION = "0.13.9"
UV_HOME = ROOT / ".nox" / "uv"
BUILD_NOTICE = "building the Rust core with full optimisation: 1 to 3 minutes the first time, seconds afterwards"
VERSIONS = ("3.12", "3.13")
FUZZ_SECONDS = 30
# How the Rust tests are built, one build for all. The crate is optimised a little, because its own arithmetic without
# that makes them crawl. It has the switches of the seeded mutants, off but in the scenarios that kill them. And it is
# not built incrementally, because what an interrupted optimised build leaves behind does not always link.
_CRATE = "profile.dev.package.city-chain-native"
_PROFILE = (f"{_CRATE}.opt-level=1", f"{_CRATE}.debug=false", "build.incremental=false")
RUST_TESTS = ("cargo", "test", "--workspace", "--locked", "--quiet", "--features=mutants")
RUST_TESTS += tuple(f"--config={setting}" for setting in _PROFILE)
HOSTILE_TARGETS = ("hotstuff", "abba", "sharding", "hyparview")
HOSTILE_INPUTS = 1_000_000
PROGRAMS = ("chrony", "libfaketime", "linuxptp")
ELSEWHERE = ("--ignore=tests/test_wheel.py",)  # the task `wheel` builds what these look at
# Tests in several processes, where who is done takes over tests of another. `-- -n 0` runs them in one, in order.
ON_EVERY_CORE = ("--numprocesses=auto", "--dist=worksteal")
TWICE_ON_EVERY_CORE = (f"--numprocesses={2 * (os.cpu_count() or 1)}", "--dist=worksteal")


# --- starting from nothing -------------------------------------------------------------------------------------------


def find_uv() -> str:
    """The path of uv: the one on PATH, else our own, installed now if need be."""
    found = shutil.which("uv")
    if found and subprocess.run([found, "--version"], check=False, capture_output=True).returncode == 0:
        return found  # and no version manager's shim with nothing behind it
    own = UV_HOME / ("Scripts/uv.exe" if os.name == "nt" else "bin/uv")
    if not own.exists():
        say("uv is not on PATH: installing uv {} into {}".format(UV_VERSION, UV_HOME.relative_to(ROOT)))
        python = own.parent / ("python.exe" if os.name == "nt" else "python")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(UV_HOME)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "uv==" + UV_VERSION], check=True)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(str(UV_HOME), ignore_errors=True)
            sys.exit(
                "noxfile.py: could not install uv ({}). Install it yourself (https://docs.astral.sh/uv) or, on Debian, "
                "the package python3-venv, and run this again.".format(error)
            )
    return str(own)


def python_at(version: str) -> str:
    """An interpreter of this version: pyenv's by its path (its shims answer for one version only), else uv's choice."""
    roots = [os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")]
    for root in filter(None, roots):
        for path in sorted(Path(root).glob("versions/" + version + ".*/bin/python"), reverse=True):
            return str(path)
    return version


def say(text: str) -> None:
    """One line about what is going on, at once."""
    print("city-chain: " + text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Hand the tasks over to nox under uv; the exit status is nox's."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if shutil.which("cargo") is None:
        sys.exit("noxfile.py: no `cargo` on PATH. A Rust toolchain (1.95 or newer) is needed: https://rustup.rs")
    uv = find_uv()
    environment = dict(os.environ)
    environment["PATH"] = str(Path(uv).parent) + os.pathsep + environment.get("PATH", "")
    environment.pop("VIRTUAL_ENV", None)
    # The tests start hundreds of interpreters: none of them should compile the whole package anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".nox" / "pycache"))
    environment.setdefault("UV_SYSTEM_CERTS", "true")  # the machine's own list, as pip and cargo have it
    environment.setdefault("UV_PYTHON", sys.executable if sys.version_info >= (3, 12) else python_at(VERSIONS[0]))
    command = [uv, "run", "--locked", "--only-group", "task", "nox", "-f", str(ROOT / "noxfile.py"), "-s"]
    return subprocess.run([*command, *arguments], cwd=str(ROOT), env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


# --- the tasks -------------------------------------------------------------------------------------------------------

import tomllib

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["all"]


@contextlib.contextmanager
def heartbeat(text: str, period_s: float = 15.0) -> Iterator[None]:
    """Say what is being waited for, and every so often that it still goes on."""
    start, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(period_s):
            say(f"… {text.partition(':')[0]} ({time.monotonic() - start:.0f} s)")

    say(text)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        say(f"done in {time.monotonic() - start:.0f} s")


def extensions() -> list[Path]:
    """The built extension in the source tree: none or one file."""
    return [path for path in (ROOT / "city_chain").glob("_native*") if path.suffix in {".so", ".pyd"}]


def is_built() -> bool:
    """Whether an extension is there and no Rust source is newer."""
    sources = [*(ROOT / "native" / "src").rglob("*.rs"), ROOT / "Cargo.lock", ROOT / "native" / "Cargo.toml"]
    newest = max(path.stat().st_mtime for path in sources)
    return any(path.stat().st_mtime >= newest for path in extensions())


def sync(session: nox.Session, *groups: str, project: bool = True) -> None:
    """Bring the session's environment to the state of the lock file, with the package itself if `project`."""
    place = session.virtualenv.location
    command = ["uv", "sync", "--locked", "--inexact", "--no-default-groups", f"--python={place}"]
    command += [f"--group={group}" for group in groups]
    if not project:
        command.append("--no-install-project")
    elif not extensions():  # a cached build is no use without the file that it left in the source tree
        command.append("--reinstall-package=city-chain")
    waiting = heartbeat(BUILD_NOTICE) if project and not is_built() else contextlib.nullcontext()
    with waiting:
        session.run_install(*command, env={"UV_PROJECT_ENVIRONMENT": place, "VIRTUAL_ENV": place})


def quick_tests(session: nox.Session) -> None:
    """What needs no build."""
    session.run("pytest", "-q", "tests/test_architecture.py")
    if is_built():
        session.run("pytest", "-q", "-m", "unit", *ELSEWHERE, "--ignore=tests/test_architecture.py", "tests")
    else:
        session.log("the extension is not built yet: the pure Python tests come after the build")


def rust_tests(session: nox.Session) -> None:
    """The Rust workspace, without PyO3."""
    session.run(*RUST_TESTS, *session.posargs, external=True)


def python_tests(session: nox.Session, *options: str) -> None:
    """Unit tests, tests across the boundary, doctests."""
    session.run("pytest", "-m", "not e2e and not bench", *ELSEWHERE, *ON_EVERY_CORE, *options)


def end_to_end_tests(session: nox.Session, *options: str) -> None:
    """Whole pipelines, processes and files. Half of their time they wait: for disks, deadlines, other processes."""
    programs = fetched_programs()
    environment = {} if programs is None else {"CITY_CHAIN_PROGRAMS": programs}
    session.run("pytest", "-m", "e2e", *TWICE_ON_EVERY_CORE, *options, env=environment)


def fetched_programs() -> str | None:
    """Daemons that tests start: Debian's packages, unpacked and not installed; None where they are not to be had."""
    place = ROOT / ".nox" / "programs"
    if os.environ.get("CITY_CHAIN_PROGRAMS") or not (shutil.which("apt-get") and shutil.which("dpkg")):
        return os.environ.get("CITY_CHAIN_PROGRAMS")
    if not place.exists():
        folder = place.with_name("programs.part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        download = ["apt-get", "-qq", "download", *PROGRAMS]
        if not (ran(download, folder) or (ran(["apt-get", "-qq", "update"], folder) and ran(download, folder))):
            say(f"{', '.join(PROGRAMS)} cannot be downloaded: tests that need them are skipped")
            return None
        if not all(ran(["dpkg", "-x", package.name, "."], folder) for package in folder.glob("*.deb")):
            return None
        folder.rename(place)
    return str(place)


def ran(command: list[str], folder: Path) -> bool:
    """Whether a command ends well within two minutes."""
    try:
        return subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def import_smoke(session: nox.Session) -> None:
    """The extension loads and says its version."""
    code = "import city_chain, city_chain._native as n; print('city_chain', n.__version__, n.__file__)"
    session.run("python", "-c", code)


@nox.session
def quick(session: nox.Session) -> None:
    """The architecture, and the pure Python tests if the extension is built."""
    sync(session, "test", project=is_built())
    quick_tests(session)


@nox.session(venv_backend="none")
def rust(session: nox.Session) -> None:
    """The tests of the Rust workspace, without Python."""
    rust_tests(session)


@nox.session
def smoke(session: nox.Session) -> None:
    """Build the extension and import it."""
    sync(session)
    import_smoke(session)


@nox.session
def python(session: nox.Session) -> None:
    """Unit tests, tests across the boundary, doctests."""
    sync(session, "test")
    python_tests(session, *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Whole pipelines, processes and files."""
    sync(session, "test")
    end_to_end_tests(session, *session.posargs)


@nox.session(name="all")
def everything(session: nox.Session) -> None:
    """Every test, the cheapest first."""
    sync(session, "test", project=is_built())
    steps = (
        ("quick: what needs no build", lambda: quick_tests(session)),
        ("rust: the workspace's tests", lambda: rust_tests(session)),
        ("smoke: build and import", lambda: (sync(session, "test"), import_smoke(session))),
        ("python: unit, boundary, doctests", lambda: python_tests(session, "-q")),
        ("end to end", lambda: end_to_end_tests(session, "-q")),
    )
    for number, (title, step) in enumerate(steps, start=1):
        start = time.monotonic()
        session.log(f"[{number}/{len(steps)}] {title}")
        step()
        session.log(f"[{number}/{len(steps)}] passed in {time.monotonic() - start:.1f} s")


@nox.session
def lint(session: nox.Session) -> None:
    """Formatters, linters, types, stubs, architecture. `-- rust`, `-- python` or `-- types` runs one part."""
    parts = set(session.posargs) or {"python", "architecture", "rust", "types"}
    if parts & {"python", "architecture"}:
        sync(session, "lint", "test", project=False)
    if "python" in parts:
        session.run("ruff", "check", ".")
        session.run("ruff", "format", "--check", ".")
    if "architecture" in parts:
        session.run("pytest", "-q", "tests/test_architecture.py")
    if "rust" in parts:
        session.run("cargo", "fmt", "--all", "--check", external=True)
        clippy = ("cargo", "clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--quiet")
        session.run(*clippy, "--", "-D", "warnings", external=True)
    if "types" in parts:
        sync(session, "lint", "test")
        session.run("mypy", "--strict")
        session.run("python", "-m", "mypy.stubtest", "city_chain._native", *stubtest_options())


def stubtest_options() -> list[str]:
    """The allowlist, while there is one: every entry of it carries its reason."""
    allowed = ROOT / "tests" / "stubtest-allowed.txt"
    return ["--allowlist", str(allowed)] if allowed.exists() else []


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the source distribution, build the wheel out of it, and examine both."""
    sync(session, "test", "lint", project=False)
    place = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(place, ignore_errors=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    session.run_install("uv", "build", "--sdist", "--out-dir", str(place))
    (source,) = place.glob("*.tar.gz")
    with heartbeat(BUILD_NOTICE):
        build = ("uv", "build", "--wheel", str(source), "--out-dir", str(place))
        session.run_install(*build, env={"CARGO_TARGET_DIR": str(Path(target).resolve())})
    (built,) = place.glob("*.whl")
    session.run("abi3audit", "--strict", "--summary", str(built))
    environment = {"CITY_CHAIN_WHEEL": str(built), "CITY_CHAIN_SDIST": str(source)}
    session.run("pytest", "-q", "tests/test_wheel.py", env=environment)
    for version in VERSIONS:
        clean = place / version
        session.run("uv", "venv", "--quiet", "--clear", f"--python={python_at(version)}", str(clean))
        interpreter = clean / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        session.run("uv", "pip", "install", "--quiet", f"--python={interpreter}", str(built))
        code = (
            "import sys, city_chain, city_chain._native as n; print(sys.version.split()[0], n.__version__, n.__file__)"
        )
        with session.chdir(place):  # away from the source tree, so that the wheel is what is imported
            session.run(str(interpreter), "-I", "-c", code, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; `-- --benchmark-disable` runs each once, untimed."""
    try:
        sync(session, "test", "bench")
    except CommandFailed:
        session.warn("not every peer can be installed here: they are left out, and the tests name them")
        sync(session, "test")
    session.run("pytest", "benches", "-m", "bench", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Every table of docs/benchmarks.md, about five minutes; with arguments, those of benches/report.py."""
    sync(session, "test", "bench")
    session.run("python", "benches/report.py", *(session.posargs or ["--page", "docs/benchmarks.md"]))


@nox.session(venv_backend="none")
def counts(session: nox.Session) -> None:
    """Instructions of the hot calls, held to the committed baseline; `-- --renew` writes it anew."""
    session.run(sys.executable, "benches/instructions.py", *session.posargs, external=True)


@nox.session
def gate(session: nox.Session) -> None:
    """The latency gates; `-- --benchmark-disable` runs each once and judges nothing."""
    sync(session, "test")
    session.run("pytest", "benches", "-m", "gate", *session.posargs)


@nox.session(venv_backend="none")
def hostile(session: nox.Session) -> None:
    """A million hostile inputs for each machine of agreement, and its seeded mutants; `-- N` for another number."""
    inputs = session.posargs[0] if session.posargs else str(HOSTILE_INPUTS)
    session.run(*RUST_TESTS, "--test", "mutants", external=True)
    manifest = tomllib.loads((ROOT / "native" / "fuzz" / "Cargo.toml").read_text(encoding="utf-8"))
    known = {target["name"] for target in manifest["bin"]}
    for target in sorted(set(HOSTILE_TARGETS) - known):
        session.warn(f"{target}: there is no such fuzz target, nothing runs for it")
    targets = [f"fuzzing::{target}" for target in HOSTILE_TARGETS if target in known]
    if not targets:
        return
    run = (*RUST_TESTS, "--test", "public", "--", "--exact", *targets)
    listed = str(session.run(*run, "--list", external=True, silent=True))
    if missing := [target for target in targets if f"{target}: test" not in listed]:
        session.error(f"fuzz targets that no test drives: {', '.join(missing)}")
    session.run(*run, external=True, env={"CITY_CHAIN_FUZZ_INPUTS": inputs})


@nox.session
def soak(session: nox.Session) -> None:
    """The tests of memory with a million repetitions, Twins with ten million scenarios, or as the arguments say."""
    sync(session, "test")
    count, scenarios = [*session.posargs, *("1000000", "10000000")[len(session.posargs) :]][:2]
    session.run("pytest", "-q", "tests/e2e/test_memory.py", env={"CITY_CHAIN_SOAK": count})
    session.run("pytest", "-q", "tests/ffi/test_twins.py", env={"CITY_CHAIN_TWINS": scenarios})


@nox.session
def docs(session: nox.Session) -> None:
    """The pages and the reference as a site; a warning is an error. `-- FOLDER` says where to."""
    sync(session, "docs")
    place = session.posargs[0] if session.posargs else str(ROOT / ".nox" / "docs" / "site")
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "-b", "html", "docs", place)
    session.log(f"the site is in {place}")


@nox.session
def demo(session: nox.Session) -> None:
    """The demo: real files over twenty nodes, damaged, restored, proven."""
    sync(session)
    session.run("city-chain", "demo", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Each fuzz target for a while, on the nightly toolchain."""
    seconds = int(session.posargs[0]) if session.posargs else FUZZ_SECONDS
    if shutil.which("cargo-fuzz") is None:
        session.run("cargo", "install", "cargo-fuzz", "--locked", external=True)
    manifest = tomllib.loads((ROOT / "native" / "fuzz" / "Cargo.toml").read_text(encoding="utf-8"))
    limits = (f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096")
    with session.chdir(ROOT / "native"):
        for target in manifest["bin"]:
            session.run("cargo", "+nightly", "fuzz", "run", target["name"], "--", *limits, external=True)
