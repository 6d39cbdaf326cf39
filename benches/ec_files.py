"""Files through `ec.encode_file` and its siblings, beside a plain copy of the file.

Run ``python benches/ec_files.py``; ``--mib`` is the size of the file, ``--folder`` where it lies (default: a temporary
folder; one on a file system in memory leaves the disk out of it). Every round does each thing once, in turn; the
figures are medians over the rounds, in megabytes of the original for each second. Nothing is synced.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from city_chain import ec

K, P = 6, 4


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder")
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        large = Path(folder, "large")
        with large.open("wb") as file:
            for _ in range(args.mib):
                file.write(os.urandom(1 << 20))
        for _ in range(args.rounds):
            one_round(large, times)
    copied = statistics.median(times["cp"])
    print(f"{args.mib} MiB, {K} + {P} fragments, {args.rounds} rounds\n\n| what | MB/s | times cp |\n|---|---|---|")
    for what, took in times.items():
        middle = statistics.median(took)
        print(f"| {what} | {(args.mib << 20) / middle / 1e6:,.0f} | {middle / copied:.2f} |")


def one_round(large: Path, times: dict[str, list[float]]) -> None:
    """Does everything once."""

    def timed[T](what: str, call: Callable[[], T]) -> T:
        began = perf_counter()
        done = call()
        times.setdefault(what, []).append(perf_counter() - began)
        return done

    copy = large.with_name("copy")
    timed("cp", lambda: shutil.copyfile(large, copy))
    copy.unlink()
    made = timed("encode", lambda: ec.encode_file(large, k=K, p=P, sync=False))
    assert timed("verify", lambda: ec.verify_file(made.folder)).whole
    for what, fragments in (("decode", made.files), (f"decode, {P} of {K} data fragments absent", made.files[P:])):
        timed(what, lambda fragments=fragments: ec.decode_file(fragments, copy, sync=False))  # type: ignore[misc]
        assert filecmp.cmp(large, copy, shallow=False)
        copy.unlink()
    for path in made.files[:P]:
        path.unlink()
    timed(f"repair {P} fragments", lambda: ec.rebuild_file(made.folder, sync=False))
    shutil.rmtree(made.folder)
    made = timed("encode, parity alone", lambda: ec.encode_file(large, k=K, p=P, keep_original=True, sync=False))
    timed("verify, parity alone", lambda: ec.verify_file(made.folder))
    shutil.rmtree(made.folder)


if __name__ == "__main__":
    main()
