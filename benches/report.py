"""Runs all benchmarks, contests and the rival, and writes their tables as Markdown.

Run ``python benches/report.py`` on a quiet machine, with the package built for release (every build of it is) and the
dependency group ``bench`` installed; it takes about five minutes. ``--page docs/benchmarks.md`` writes the tables into
the page, in place of those that are there; ``--json FILE`` keeps the raw figures; ``--quick`` runs everything once and
writes nothing, to see that it works; ``-k WORD`` runs a part of the benchmarks, and neither contests nor rival.

Percentiles are of single calls (rounds of one iteration, `statistics.quantiles`); *beside* is the sentinel, timed in
turn with the thing itself (A/B/A/B), and *ratio* the median of the rounds' own ratios. Figures are reported, never
asserted.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from peers.harness import COMMIT
from peers.tables import TARGET_COLUMNS, duration, rate, table, verdict

HERE = Path(__file__).resolve().parent
BUILD = "release"
MARK = "<!-- Below: written by benches/report.py -->\n"
IMPORT_ROUNDS = 25
SIDES = (("city-chain", "city-chain", "city-chain", 1), ("glued rival", "glued rival, 1", "PyNaCl", 0))
"""Name, name of the row, whose signatures, and how many more of these it makes: our leader signs its vote twice."""
SIGNATURES = ((1, 18, 17), (256, 2 * 256 + 26, 256 + 26))
"""Of a send and of a burst: how many transactions, signatures made, signatures checked."""


def quantile(data: Sequence[float], percent: int) -> float:
    """A percentile of single calls; the only value if there is one."""
    return statistics.quantiles(data, n=100, method="inclusive")[percent - 1] if len(data) > 1 else data[0]


class Bench:
    """One benchmark of the JSON file."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.module = found["fullname"].partition("::")[0].rpartition("/")[2].removesuffix(".py")
        self.name: str = found["name"].partition("[")[0].removeprefix("test_")
        self.parameter: str = found["param"] or ""
        self.extra: dict[str, Any] = found["extra_info"]
        self.calls: int = self.extra.get("calls", 1)
        self.seconds: list[float] = [taken / self.calls for taken in found["stats"]["data"]]
        self.beside = [taken / (self.calls if self.module == "bench_boundary" else 1) for taken in self._besides()]

    def _besides(self) -> list[float]:
        return list(self.extra.get("beside_s", []))

    @property
    def ratio(self) -> str:
        """How many times the sentinel a whole round took, median of the rounds."""
        whole = [taken * (1 if self.module == "bench_boundary" else self.calls) for taken in self.seconds]
        return f"{statistics.median(a / b for a, b in zip(whole, self.beside, strict=True)):.3g}"

    def percentiles(self) -> list[str]:
        """p50, p95 and p99."""
        return [duration(quantile(self.seconds, percent)) for percent in (50, 95, 99)]


def boundary(benches: Sequence[Bench]) -> str:
    """The calls into the core."""
    rows = [
        [b.parameter, duration(quantile(b.seconds, 50)), *quartiles(b), duration(statistics.median(b.beside)), b.ratio]
        for b in benches
        if b.module == "bench_boundary"
    ]
    return table(["call", "p50", "p25", "p75", "beside p50", "ratio"], rows)


def quartiles(bench: Bench) -> list[str]:
    """p25 and p75."""
    return [duration(quantile(bench.seconds, percent)) for percent in (25, 75)]


def city(benches: Sequence[Bench]) -> str:
    """What a city does, durable and in memory."""
    rows = []
    for b in benches:
        if b.module != "bench_send":
            continue
        each = " (per transaction)" if b.calls > 1 else ""
        rate = f"{1 / statistics.median(b.seconds):,.0f}" if b.name in ("send", "send_many", "receive") else ""
        commits = b.ratio if "memory" not in b.parameter else ""
        rows.append([f"{b.name} {b.parameter}{each}", *b.percentiles(), rate, len(b.seconds), commits])
    return table(["what", "p50", "p95", "p99", "per second", "rounds", "whole call, in commits"], rows)


def stages(benches: Sequence[Bench]) -> str:
    """Milliseconds of every stage beside its budget."""
    rows = []
    for b in benches:
        for stage, taken in b.extra.get("stages_ms", {}).items():
            figures = [f"{quantile(taken, percent):.3f}" for percent in (50, 99)]
            rows.append([f"{b.name} {b.parameter}: {stage}", *figures, f"{b.extra['budgets_ms'][stage]:.0f}"])
    return table(["stage", "p50 ms", "p99 ms", "budget ms"], rows)


def composer(benches: Sequence[Bench], printed: str) -> str:
    """The composer: what it adds to a call, and whole runs."""
    found = re.findall(
        r"^(plain|deadline|on_stage) +(\d+) stages: +([\d.]+) µs per stage \(IQR ([\d.–]+)\)", printed, re.M
    )
    added = table(["way", "stages", "added per stage, µs", "IQR, µs"], found)
    rows = [[f"{b.name} {b.parameter}", *b.percentiles()] for b in benches if b.module == "bench_composer"]
    return f"{added}\n\n{table(['what', 'p50', 'p95', 'p99'], rows)}"


def facts(machine: dict[str, Any], benches: Sequence[Bench]) -> str:
    """What the figures were taken on."""
    ours = machine["city_chain"]
    commits = [taken for b in benches if b.module == "bench_send" for taken in b.beside]
    rows = [
        ["processor", f"{ours['processor']}, {ours['cores']} cores, {platform.machine()}"],
        ["system", f"{platform.system()} {platform.release()}"],
        ["Python", ours["python"]],
        ["city-chain", f"{ours['version']}, {BUILD} build"],
        ["SQLite", f"{ours['sqlite']}, WAL, synchronous=FULL"],
        ["day", datetime.now(UTC).date().isoformat()],
    ]
    if commits:
        figures = ", ".join(f"p{percent} {duration(quantile(commits, percent))}" for percent in (50, 95, 99))
        rows.append(["one commit of plain sqlite3 (16 KiB, synced), the sentinel", figures])
    for b in benches:
        if b.parameter == "durable" and "writes" in b.extra:
            commits_of = f"{b.extra['writes']}, {b.extra['synced']} of them synced"
            rows.append(["commits that one `send` waits for", commits_of])
    return table(["", ""], rows, (0, 1))


def targets(benches: Sequence[Bench], printed: str, import_s: float) -> list[list[str]]:
    """The targets of what pytest-benchmark has timed: what, the target, what was measured, and whether it is met."""
    rows: list[list[str]] = []

    def row(what: str, bound: float, found: float) -> None:
        rows.append([what, f"≤ {duration(bound)}", duration(found), verdict(bound / found)])

    for b in benches:
        if (b.module, b.name, b.parameter) == ("bench_send", "send", "durable"):
            row("send: one durable transaction of 4 KiB, p50", 1.5e-3, quantile(b.seconds, 50))
            row("send: one durable transaction of 4 KiB, p99", 3e-3, quantile(b.seconds, 99))
            for stage, taken in b.extra.get("stages_ms", {}).items():
                row(f"send: stage {stage}, p99", 2e-3, quantile(taken, 99) / 1e3)
        if (b.module, b.name, b.parameter) == ("bench_send", "send_many", "durable-256"):
            found = 1 / statistics.median(b.seconds)
            shown = [f"≥ {rate(25_000)}", rate(found), verdict(found / 25_000)]
            rows.append(["send_many: durable transactions, bursts of 256", *shown])
        if b.module == "bench_boundary" and "4 KiB out" in b.parameter:
            row("boundary: 4 KiB out", 0.15e-6, quantile(b.seconds, 50))
        if b.module == "bench_boundary" and "4 KiB in:" in b.parameter:
            row("boundary: 4 KiB in", 0.15e-6, quantile(b.seconds, 50))
    for way, stages_, added in re.findall(r"^(plain) +(10) stages: +([\d.]+) µs per stage", printed, re.M):
        row(f"composer: a stage of {stages_}, {way}", 0.2e-6, float(added) / 1e6)
    row("import city_chain, after Python itself", 25e-3, import_s)
    return rows


def import_seconds() -> float:
    """What importing the package adds to starting Python; median of rounds in turn."""

    def start(code: str) -> float:
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent)
        return perf_counter() - started

    start("import city_chain")
    return statistics.median(start("import city_chain") - start("pass") for _ in range(IMPORT_ROUNDS))


def profile(rounds: int = 100) -> str:
    """Where the time of a send goes, by stage and by kind of work."""
    printed = child([str(HERE / "profile_send.py"), str(rounds)])
    said = (
        "Medians of one `send` and of one burst of 256, by `benches/profile_send.py`. The kinds lie within the stages."
    )
    return f"{said}\n\n{printed.strip()}"


def floor(peers: dict[str, Any], rival: dict[str, Any]) -> str:
    """What the signatures and the disk alone take on both sides, beside what was measured."""
    units = {one["what"]: one["seconds"] for one in peers["raw"]["Proof of Hold"]}
    rows = []
    for outcome, (count, signed, checked) in zip(rival["raw"]["send"], SIGNATURES, strict=True):
        commit = statistics.median(outcome["seconds"][COMMIT])
        for side, name, unit, more in SIDES:
            found = [
                statistics.median(taken)
                for what in ("sign 300 bytes", "verify 300 bytes")
                for who, taken in units[what].items()
                if who.startswith(unit)
            ]
            measured = [statistics.median(taken) for who, taken in outcome["seconds"].items() if who.startswith(name)]
            if len(found) != 2 or not measured:
                continue
            parts = [(signed + more) / count * found[0], checked / count * found[1], commit]
            share = sum(parts) / measured[0]
            row = [f"{outcome['what']}: {side}", *map(duration, parts), duration(sum(parts)), duration(measured[0])]
            rows.append([*row, f"{share:.0%}"])
    columns = ("what", "signing", "checking", "one synced commit", "sum", "measured", "share")
    said = (
        "What nobody can leave out, out of the figures of this page: as many signatures made and checked as "
        "[the path has](#the-glued-rival), one by one, and one commit of plain sqlite3 for each send."
    )
    return f"{said}\n\n{table(columns, rows)}"


def child(command: Sequence[str]) -> str:
    """What a Python program prints; ends with its errors if it fails."""
    done = subprocess.run([sys.executable, *command], cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(words: str | None, quick: bool) -> tuple[dict[str, Any], str]:
    """Runs the benchmarks; the JSON that they leave and what they print."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = ["-m", "pytest", str(HERE), "-m", "bench", "-q", "-p", "no:cacheprovider"]
        command += ["--benchmark-disable"] if quick else [f"--benchmark-json={result}", "--benchmark-quiet"]
        printed = child([*command, *(["-k", words] if words else [])])
        return ({} if quick else json.loads(result.read_text(encoding="utf-8"))), printed


def competed(script: str) -> dict[str, Any]:
    """Runs the contests, or the rival: sections, rows of targets, raw figures."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        child([str(HERE / script), "--json", str(result)])
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def report(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables, and the raw figures."""
    found, printed = timed(options.k, quick=False)
    benches = [Bench(one) for one in found["benchmarks"]]
    whole = options.k is None
    peers, rival = (competed("peers"), competed("rival.py")) if whole else ({}, {})
    parts: dict[str, Callable[[], str]] = {"The machine": lambda: facts(found["machine_info"], benches)}
    if whole:
        rows = [*rival["targets"], *targets(benches, printed, import_seconds()), *peers["targets"]]
        missed = sum("missed" in row[-1] for row in rows)
        summary = f"{len(rows) - missed} of {len(rows)} are met."
        shares = [one["share"] for outcomes in peers["raw"].values() for one in outcomes]
        summary += f" The contests had {statistics.median(shares):.0%} of a core; the rest went to other programs."
        parts["Targets"] = lambda: f"{summary}\n\n{table(TARGET_COLUMNS, rows, (0, 3))}"
        parts["Beside the glued rival"] = lambda: "\n\n".join(rival["sections"])
        parts["Where the time of a send goes"] = lambda: f"{floor(peers, rival)}\n\n{profile()}"
        parts["Each algorithm beside its peers"] = lambda: "\n\n".join(peers["sections"])
    parts |= {
        "The boundary": lambda: boundary(benches),
        "The composer": lambda: composer(benches, printed),
        "The city": lambda: city(benches),
        "The stages": lambda: stages(benches),
    }
    text = "\n".join(f"## {title}\n\n{part()}\n" for title, part in parts.items())
    return text, {"benchmarks": found, "peers": peers, "rival": rival}


def main() -> None:
    """Runs, reads, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the raw figures, too")
    parser.add_argument("-k", metavar="WORD", help="only benchmarks whose name has it, as pytest -k")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write the tables into this page")
    parser.add_argument("--quick", action="store_true", help="everything once, no figures")
    options = parser.parse_args()
    if options.quick:  # the contests and the rival are among the tests
        timed(options.k, quick=True)
        print("everything ran")
        return
    above, mark = "", ""
    if options.page is not None:
        above, mark, _ = options.page.read_text(encoding="utf-8").partition(MARK)
        if not mark:
            sys.exit(f"{options.page} has no line {MARK.strip()!r}")
    text, raw = report(options)
    if options.json is not None:
        options.json.write_text(json.dumps(raw), encoding="utf-8")
    if options.page is None:
        print(text, end="")
    else:
        options.page.write_text(f"{above}{mark}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
