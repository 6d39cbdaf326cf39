"""``city-chain doctor``: what this machine and this city stand on. What cannot be found out is called unknown."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from city_chain.cli.console import Console, size, text
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError

__all__ = ["examine", "run"]

type Value = str | int | float | bool | list[str] | None
type Section = dict[str, Value]

_FLAGS = ("ssse3", "sse4_1", "avx2", "avx512f", "gfni", "sha_ni", "asimd", "sve", "sha2")
"""CPU features that the Rust core or its libraries look for."""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_PROBES = 9
_OFF_NS = 500_000_000
"""How far a clock may be off before stamps of others are refused: what `tnh.Hlc` allows by default, nanoseconds."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Shows what was found; 1 if something is wrong."""
    wrong: list[str] = []
    found = examine(Path(args.city or "."), wrong, args.ntp or ())
    if args.json:
        console.json({**found, "wrong": wrong})
    else:
        for section, values in found.items():
            console.say(section)
            for name, value in values.items():
                console.say(f"  {name.replace('_', ' '):<24}{_shown(name, value)}")
    for what in wrong:
        console.complain(what)
    return 1 if wrong else 0


def examine(folder: Path, wrong: list[str], servers: Sequence[str] = ()) -> dict[str, Section]:
    """Looks at everything.

    Args:
        folder: Where a city may be.
        wrong: Is given a line for everything that is wrong.
        servers: NTP servers to compare the clock with, such as ``time.example`` or ``192.0.2.1:123``.

    Returns:
        Section → name → value; None where it is unknown.

    Example:
        >>> wrong = []
        >>> sorted(examine(Path(tempfile.gettempdir()), wrong))
        ['city', 'clock', 'machine', 'storage', 'versions']
    """
    database = folder / "city.db"
    there = database.is_file()
    return {
        "versions": _versions(wrong),
        "machine": _machine(),
        "storage": _storage(folder if there else Path(tempfile.gettempdir()), wrong),
        "city": _city(database, wrong) if there else {"folder": text(folder.absolute()), "found": False},
        "clock": _clock(wrong) | _kept() | (_network_time(servers, wrong) if servers else {}),
    }


def _versions(wrong: list[str]) -> Section:
    """What of ours and of others runs here."""
    found: Section = {"city_chain": None, "city_format": None, "file_format": None}
    try:
        from city_chain import __version__  # noqa: PLC0415 — whether it loads is the question
        from city_chain.adapters.storage.sqlite_file import FORMAT_VERSION  # noqa: PLC0415
        from city_chain.levels.settings import VERSION  # noqa: PLC0415

        found |= {"city_chain": __version__, "city_format": VERSION, "file_format": FORMAT_VERSION}
    except ImportError as error:
        wrong.append(f"the extension of city-chain does not load: {error}")
    return {
        **found,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "orjson": _version_of("orjson"),
    }


def _version_of(package: str) -> str | None:
    from importlib import metadata  # noqa: PLC0415 — slow to load, needed only here

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> Section:
    return {
        "platform": platform.platform(),
        "architecture": platform.machine() or None,
        "byte_order": sys.byteorder,
        "cpus": os.cpu_count(),
        "cpu_features": _cpu_features(),
    }


def _cpu_features(source: Path = Path("/proc/cpuinfo")) -> list[str] | None:
    """Those of `_FLAGS` that the CPU has; None where the system does not tell."""
    try:
        lines = source.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            has = set(flags.split())
            return [flag for flag in _FLAGS if flag in has]
    return None


def _storage(folder: Path, wrong: list[str]) -> Section:
    """How SQLite keeps a database in this folder, tried on one that is made for it and removed again."""
    found: Section = {"tried_in": text(folder.absolute()), "durable": None, "journal_mode": None, "synchronous": None}
    found["synced_write_ms"] = None
    try:
        from city_chain.adapters.storage.sqlite import SqliteStorage  # noqa: PLC0415 — loads nothing of the extension
    except ImportError:
        return found
    try:
        with tempfile.TemporaryDirectory(prefix=".city-chain-doctor-", dir=folder) as scratch:
            path = Path(scratch) / "scratch.db"
            with SqliteStorage(path) as storage:
                found["durable"] = storage.durable
                found["synced_write_ms"] = round(_median_ms(lambda: storage.put_many({b"key": os.urandom(4096)})), 3)
                found |= _pragmas(path)
    except (CityChainError, OSError, sqlite3.Error) as error:
        wrong.append(f"storage in {text(folder)} cannot be tried: {_why(error)}")
    if found["journal_mode"] not in ("wal", None) or found["synchronous"] not in ("FULL", "EXTRA", None):
        wrong.append(f"storage in {text(folder)} would not survive the loss of power")
    found["disk_honours_syncs"] = None  # only pulling the plug tells
    found["free_space_bytes"] = _or_none(lambda: shutil.disk_usage(folder).free)
    return found


def _pragmas(path: Path) -> Section:
    """How a connection of city-chain to this file is set up."""
    from city_chain.adapters.storage.sqlite_file import connect  # noqa: PLC0415

    connection = connect(path.absolute(), read_only=True, query_only=True, timeout_s=1.0)
    try:
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        level = int(connection.execute("PRAGMA synchronous").fetchone()[0])
    finally:
        connection.close()
    return {"journal_mode": mode, "synchronous": _SYNCHRONOUS[level] if level < len(_SYNCHRONOUS) else str(level)}


def _city(database: Path, wrong: list[str]) -> Section:
    """What is in the city's file, without opening the city, for another process may have it open."""
    found: Section = {"folder": text(database.parent.absolute()), "found": True}
    found["file_bytes"] = _or_none(lambda: database.stat().st_size)
    try:
        from city_chain.adapters.storage.namespaced import NamespacedStorage  # noqa: PLC0415
        from city_chain.adapters.storage.sqlite import SqliteStorage  # noqa: PLC0415
        from city_chain.levels.settings import load  # noqa: PLC0415
    except ImportError:
        return found
    try:
        with SqliteStorage(database, create=False, read_only=True) as storage:
            founding = load(NamespacedStorage(storage, b"c"))
        found |= _pragmas(database)
    except (CityChainError, OSError, sqlite3.Error) as error:
        wrong.append(f"the city cannot be read: {_why(error)}")
        return found
    if founding is None:
        wrong.append(f"{text(database)} holds no city; city-chain init DIR makes one")
        return found
    settings = founding.settings
    found |= {"name": text(settings.name), "network": founding.epoch.network.hex(), "nodes": settings.nodes}
    found |= {"stopped_nodes": len(founding.stopped), "delegates": settings.validators}
    found |= {"fragments": f"{settings.k} of {settings.n} restore", "engine": settings.engine}
    found["trust_anchor_there"] = (database.parent / "trust.anchor").is_file()
    return found


def _clock(wrong: list[str]) -> Section:
    """The two clocks: how fine they are, and whether they run alike for a moment."""
    wall, steady = time.time_ns(), time.monotonic_ns()
    time.sleep(0.05)
    drift_ms = ((time.time_ns() - wall) - (time.monotonic_ns() - steady)) / 1e6
    if time.time() < 1_700_000_000:
        wrong.append(f"the clock says {time.strftime('%Y-%m-%d', time.gmtime())}: set it")
    return {
        "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wall_resolution_s": time.get_clock_info("time").resolution,
        "steady_resolution_s": time.get_clock_info("monotonic").resolution,
        "apart_after_50_ms_ms": round(drift_ms, 3),
    }


def _kept() -> Section:
    """Whether a daemon keeps the clock, by what the kernel and a PTP daemon say.

    Where nobody does, nothing is wrong yet: the nodes of one machine agree all the same.
    """
    found: Section = {"kernel_says": None, "kernel_max_error_ms": None, "hardware_clocks": None, "ptp_offset_ns": None}
    try:
        from city_chain.adapters.kernel_clock import hardware_clocks, kernel_state  # noqa: PLC0415
        from city_chain.adapters.ptp import ptp_state  # noqa: PLC0415
    except ImportError:
        return found
    state = kernel_state()
    found["kernel_says"] = None if state.status == "unknown" else state.status
    found["kernel_max_error_ms"] = None if state.max_error_ns is None else round(state.max_error_ns / 1e6, 3)
    clocks = hardware_clocks()
    found["hardware_clocks"] = [
        f"{clock.device}: {f'{clock.offset_ns:+d} ns of the system' if not clock.reason else clock.reason}"
        for clock in clocks
    ]
    with contextlib.suppress(CityChainError, OSError):  # there is none, or it may not be asked: unknown
        found["ptp_offset_ns"] = ptp_state(timeout_s=0.5).offset_ns
    return found


def _network_time(servers: Sequence[str], wrong: list[str]) -> Section:
    """What several NTP servers say of the clock."""
    from city_chain.node.ntp_clock import NtpClock  # noqa: PLC0415 — needed only here

    clock = NtpClock(servers)
    found: Section = {"network_says": None, "network_offset_ms": None, "network_uncertainty_ms": None}
    try:
        clock.poll()  # may take as long as a server is silent: the two clocks are read after it
        interval, now_ns = clock.interval(), time.time_ns()
        half_ns = interval.width_ns // 2
        found["network_says"] = interval.status
        found["network_offset_ms"] = offset_ms = round((interval.earliest_ns + half_ns - now_ns) / 1e6, 3)
        found["network_uncertainty_ms"] = round(half_ns / 1e6, 3)
        if not interval.earliest_ns - _OFF_NS <= now_ns <= interval.latest_ns + _OFF_NS:
            wrong.append(f"the clock is {-offset_ms:+g} ms off, by the word of the time servers")
    except CityChainError as error:
        wrong.append(why(error))
    found["time_servers"] = list(map(str, clock.servers()))
    return found


def _median_ms(call: Callable[[], object]) -> float:
    took = []
    for _ in range(_PROBES):
        began = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - began) / 1e6)
    return statistics.median(took)


def _or_none[T](call: Callable[[], T]) -> T | None:
    try:
        return call()
    except OSError:
        return None


def _why(error: CityChainError | OSError | sqlite3.Error) -> str:
    return str(error) if isinstance(error, sqlite3.Error) else why(error)


def _shown(name: str, value: Value) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and name == "cpu_features":
        return " ".join(value) or "none of those that matter here"
    if isinstance(value, list):  # of what has words of its own: a line for each
        return f"\n{'':<26}".join(value) or "none"
    return size(value) if name.endswith("_bytes") and isinstance(value, int) else str(value)
