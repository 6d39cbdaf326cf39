"""Runs all benchmarks once and writes their tables as Markdown.

Run ``python benches/report.py`` on a quiet machine, with the package built for release (every build of it is). It takes
about a minute. ``--page docs/benchmarks.md`` writes the tables into the page, in place of those that are there;
``--json FILE`` keeps the raw figures; ``-k WORD`` runs a part.

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
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = "release"
MARK = "<!-- Below: written by benches/report.py -->\n"


def quantile(data: Sequence[float], percent: int) -> float:
    """A percentile of single calls; the only value if there is one."""
    return statistics.quantiles(data, n=100, method="inclusive")[percent - 1] if len(data) > 1 else data[0]


def duration(seconds: float) -> str:
    """A time with a unit that suits it."""
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose first column is text and whose others are figures."""
    head = [f"| {' | '.join(columns)} |", f"|{'|'.join(['---', *['---:'] * (len(columns) - 1)])}|"]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


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
    writes = {b.parameter: b.extra["writes"] for b in benches if "writes" in b.extra}
    if "durable" in writes:
        rows.append(["commits that one `send` waits for", str(writes["durable"])])
    return table(["", ""], rows)


def run(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Runs the benchmarks; the JSON that they leave and what they print."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "pytest", str(HERE), "-m", "bench", "-q", f"--benchmark-json={result}"]
        command += ["--benchmark-quiet", "-p", "no:cacheprovider", *(["-k", options.k] if options.k else [])]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"the benchmarks failed:\n{done.stdout}{done.stderr}")
        if options.json:
            Path(options.json).write_bytes(result.read_bytes())
        return json.loads(result.read_text(encoding="utf-8")), done.stdout


def main() -> None:
    """Runs, reads, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the raw figures, too")
    parser.add_argument("-k", metavar="WORD", help="only benchmarks whose name has it, as pytest -k")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write the tables into this page")
    options = parser.parse_args()
    found, printed = run(options)
    benches = [Bench(one) for one in found["benchmarks"]]
    parts: dict[str, Callable[[], str]] = {
        "The machine": lambda: facts(found["machine_info"], benches),
        "The boundary": lambda: boundary(benches),
        "The composer": lambda: composer(benches, printed),
        "The city": lambda: city(benches),
        "The stages": lambda: stages(benches),
    }
    text = "\n".join(f"## {title}\n\n{part()}\n" for title, part in parts.items())
    if options.page is None:
        print(text, end="")
        return
    above, mark, _ = options.page.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        sys.exit(f"{options.page} has no line {MARK.strip()!r}")
    options.page.write_text(f"{above}{mark}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
