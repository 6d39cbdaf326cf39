"""Counts the instructions of the hot calls, and holds them to a committed baseline.

::

    python benches/instructions.py           # count, compare; status 1 if a call takes over 1 % more than the baseline
    python benches/instructions.py --renew   # count, and write the baseline

Instructions do not depend on how busy a machine is, so unlike a timing they may fail a build. The calls are those of
``native/benches/instructions.rs``, run under callgrind in one thread. Callgrind knows AVX2 and nothing newer, so the
kernels that are counted are those of AVX2 on any newer x86-64. Counts depend on the compiler and on the processor's
family: the baseline says which it was made with, and others are compared without judging. The crate is compiled as one
unit here, not as 16: what stands in which unit changes with every edit, and what is inlined with it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / "native" / "benches" / "instructions.json"
ROUNDS = (16, 48)
MARGIN_PERCENT = 1
ONE_UNIT = "--config=profile.bench.package.city-chain-native.codegen-units=1"


def build() -> Path:
    """Builds the program of the hot calls; its path."""
    command = ["cargo", "bench", "--locked", "--bench", "instructions", "--no-run", "--message-format=json", "--quiet"]
    command.append(ONE_UNIT)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (program,) = [
        message["executable"]
        for message in messages
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "instructions"
    ]
    return Path(program)


def collected(program: Path, name: str, rounds: int) -> int:
    """Instructions of a run of the program."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program), name, str(rounds)]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        sys.exit(f"{name}: callgrind failed:\n{done.stderr}")
    return int(found.group(1))


def count(program: Path) -> Iterator[tuple[str, int]]:
    """The calls by name, and the instructions of one of each: what preparing takes is the same in both runs."""
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = pool.map(lambda run: collected(program, *run), itertools.product(names, ROUNDS))
        for name in names:
            few, many = next(runs), next(runs)
            yield name, round((many - few) / (ROUNDS[1] - ROUNDS[0]))


def maker() -> dict[str, str]:
    """What a count depends on."""
    rustc = subprocess.run(["rustc", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    return {"rustc": rustc, "machine": platform.machine()}


def compare(name: str, now: int, before: int | None) -> tuple[str, bool]:
    """A line about one call, and whether it takes more than it may."""
    if before is None:
        return f"{name:32} {now:>12,}  not in the baseline", True
    over, less = ((now - before) * sign * 100 > before * MARGIN_PERCENT for sign in (1, -1))
    remark = "OVER" if over else "less: renew the baseline" if less else ""
    return f"{name:32} {now:>12,} {before:>12,} {now / before - 1:>+8.2%}  {remark}".rstrip(), over


def judge(counts: Mapping[str, int], baseline: Mapping[str, int], *, comparable: bool) -> int:
    """The exit status; says what is over the baseline, and what is gone from it."""
    over = [name for name, now in counts.items() if compare(name, now, baseline.get(name))[1]]
    gone = sorted(set(baseline) - set(counts))
    if gone:
        print(f"in the baseline, and not counted any more: {', '.join(gone)}")
    if not comparable:
        print("the baseline was made with another compiler or on another machine: compared, not judged")
        return 0
    if over:
        print(f"over the baseline by more than {MARGIN_PERCENT} %: {', '.join(over)}")
        print("mend it, or say why it is worth it and renew: python benches/instructions.py --renew")
    return 1 if over or gone else 0


def main() -> int:
    """Counts, then compares or renews."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help="write the counts into the baseline")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not on PATH (Debian: apt-get install valgrind)")
        return 0
    print("building the program of the hot calls", file=sys.stderr, flush=True)
    program, made = build(), maker()
    kept = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {"made": {}, "counts": {}}
    counts: dict[str, int] = {}
    for name, now in count(program):
        counts[name] = now
        print(compare(name, now, kept["counts"].get(name))[0], flush=True)
    if options.renew:
        BASELINE.write_text(json.dumps({"made": made, "counts": counts}, indent=2) + "\n", encoding="utf-8")
        print(f"written: {BASELINE.relative_to(ROOT)}")
        return 0
    return judge(counts, kept["counts"], comparable=kept["made"] == made)


if __name__ == "__main__":
    sys.exit(main())
