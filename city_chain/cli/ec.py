"""``city-chain ec encode|decode|verify|repair``: files of any size as fragment files, without any city.

A file's fragments are a set, and lie in a folder ``FILE.ec``; `city_chain.algorithms.ec.layout` tells how they look.
Each file is told of as soon as it is done; one that fails is reported on stderr, and the others are done all the same.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from city_chain.algorithms import ec
from city_chain.cli.console import Console, Progress, size, text
from city_chain.cli.ec_sets import FoundSet, find_sets, sources
from city_chain.cli.place import bounded
from city_chain.cli.reasons import why
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError

__all__ = ["run"]

_MB = 1_000_000
_ROOTS_BYTES_MAX = 256 << 20
_ROOT = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_DOING = {"decode": "restoring", "verify": "verifying", "repair": "repairing"}
_SHOWN = 6
"""How many problems of a set are told on its line."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Does what is asked with every file; 1 if anything failed or is not whole."""
    return _encode(args, console) if args.action == "encode" else _sets(args, console)


class _Progress:
    """How far it is, in megabytes over all files.

    Args:
        progress: Where it is shown.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._before = 0

    def of(self, length: int) -> Callable[[int], None]:
        """What the work on one more file of this length tells."""
        before = self._before
        self._before += length
        return lambda done: self._progress.to((before + done) // _MB)


# --- encode ----------------------------------------------------------------------------------------------------------


def _encode(args: argparse.Namespace, console: Console) -> int:
    _check_counts(args)
    output = None if args.output is None else Path(args.output)
    found, failed = sources(args.paths, output, console)
    total = sum(length for _, length, _ in found)
    taken: set[Path] = set()
    with console.progress("encoding, MB", total // _MB) as shown:
        progress = _Progress(shown)
        for path, length, folder in found:
            if console.gone:
                break
            try:
                if folder in taken:
                    raise StorageError(f"{text(folder)} was made for another file of this name")
                with nullcontext() if output is None else _there(folder.parent):
                    made = ec.encode_file(
                        path,
                        folder,
                        args.k,
                        args.n - args.k,
                        keep_original=args.parity_only,
                        force=args.force,
                        sync=not args.no_sync,
                        on_progress=progress.of(length),
                    )
            except (CityChainError, OSError) as error:
                failed += 1
                _complain(console, path, error)
                continue
            taken.add(folder)
            line = f"{made.root.hex()}  {text(path)}  {text(made.folder)}"
            _tell(args, console, _encoded(path, made, parity_only=args.parity_only), line)
    return 1 if failed or console.gone else 0


@contextmanager
def _there(folder: Path) -> Iterator[None]:
    """Makes a folder; if the block fails, what was made goes again."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):  # it was not made, or something else came to be in it
                one.rmdir()
        raise


def _check_counts(args: argparse.Namespace) -> None:
    """Checks k and n before any file is looked at."""
    if args.k < 1:
        raise InputError(f"-k {args.k}: it takes at least one fragment to restore a file")
    if args.n < args.k:
        raise InputError(f"-n {args.n}: all fragments are at least as many as those that restore a file, -k {args.k}")
    if args.n > 256:
        raise InputError(f"-n {args.n}: a file has at most 256 fragments")
    if args.parity_only and args.n == args.k:
        raise InputError(f"-n {args.n} with -k {args.k}: no parity fragment is left for --parity-only to make")
    ec.code_for(args.k, args.n - args.k)


def _encoded(path: Path, made: ec.EncodedFile, *, parity_only: bool) -> dict[str, Any]:
    return {
        "root": made.root.hex(),
        "file": text(path),
        "folder": text(made.folder),
        "bytes": made.length,
        "k": made.k,
        "n": made.n,
        "code": made.code,
        "parity_only": parity_only,
    }


# --- decode, verify, repair ------------------------------------------------------------------------------------------


def _sets(args: argparse.Namespace, console: Console) -> int:
    """Does one of the three with every set."""
    roots = None if args.roots is None else _roots(Path(args.roots))
    found, failed = find_sets(args.paths, console)
    if args.original is not None and len(found) != 1:
        raise InputError(f"--original {text(args.original)}: that is of one file, and there are {len(found)} sets")
    act = {"decode": _decode, "verify": _verify, "repair": _repair}[args.action]
    passes = 2 if args.action == "repair" else 1
    total = passes * sum(one.header.length for one in found)
    with console.progress(f"{_DOING[args.action]}, MB", total // _MB) as shown:
        progress = _Progress(shown)
        for one in found:
            if console.gone:
                break
            try:
                if roots is not None and one.header.root not in roots:
                    raise VerificationError(f"its root {one.header.root.hex()} is none of {text(args.roots)}")
                failed += not act(args, console, one, progress.of(passes * one.header.length))
            except (CityChainError, OSError) as error:
                failed += 1
                _complain(console, one.place, error)
    if roots is not None and (absent := len(roots - {one.header.root for one in found})):
        failed += 1
        console.complain(f"{absent} of {len(roots)} roots of {text(args.roots)} were not found in what was named")
    if args.action == "verify" and failed and len(found) > 1:
        console.complain(f"{failed} of {len(found)} sets are not whole")
    return 1 if failed or console.gone else 0


def _decode(args: argparse.Namespace, console: Console, one: FoundSet, tell: Callable[[int], None]) -> bool:
    target = one.beside if args.output is None else Path(args.output) / one.inside
    with _there(target):
        made = ec.decode_file(
            one.files,
            target,
            original=args.original,
            expected_root=one.header.root,
            force=args.force,
            sync=not args.no_sync,
            on_progress=tell,
        )
    anew = f", {made.made} blocks made anew" if made.made else ""
    facts = {"root": made.root.hex(), "file": text(made.path), "bytes": made.length, "made": made.made}
    _tell(args, console, facts, f"{made.root.hex()}  {text(made.path)}  {made.length} bytes{anew}")
    return True


def _verify(args: argparse.Namespace, console: Console, one: FoundSet, tell: Callable[[int], None]) -> bool:
    report = ec.inspect_file(one.files, original=args.original, expected_root=one.header.root, on_progress=tell)
    _report(args, console, one, report)
    return report.whole


def _repair(args: argparse.Namespace, console: Console, one: FoundSet, tell: Callable[[int], None]) -> bool:
    made = ec.rebuild_file(
        one.files,
        original=args.original,
        expected_root=one.header.root,
        force=args.force,
        sync=not args.no_sync,
        on_progress=tell,
    )
    facts = {
        "folder": text(one.place),
        "root": one.header.root.hex(),
        "file": text(os.fsdecode(one.header.name)),
        "made": {str(at): text(path) for at, path in made.items()},
    }
    what = "nothing to do" if not made else "made anew: " + ", ".join(text(path.name) for path in made.values())
    _tell(args, console, facts, f"{text(one.place)}: {what}")
    return True


def _report(args: argparse.Namespace, console: Console, one: FoundSet, report: ec.FileReport) -> None:
    """What is known of one set."""
    facts = {
        "folder": text(one.place),
        "ok": report.whole,
        "state": report.state,
        "root": report.root.hex(),
        "file": report.name,
        "bytes": report.length,
        "good": report.good,
        "k": report.k,
        "n": report.n,
        "least": report.least,
        "problems": report.problems,
    }
    line = f"{report.state}  {text(one.place)}: {report.good} of {report.n} fragments are good, {size(report.length)}"
    problems = report.problems
    if problems:
        line += f" ({'; '.join(problems[:_SHOWN])}{'; …' if len(problems) > _SHOWN else ''})"
    if report.lost is not None:
        line += f"; stripe {report.lost} of {report.stripes} has fewer than {report.k} right blocks"
    _tell(args, console, facts, line)


def _roots(path: Path) -> set[bytes]:
    """The roots that a file names: every word of 64 hex digits."""
    found = {bytes.fromhex(word.decode()) for word in _ROOT.findall(bounded(path, _ROOTS_BYTES_MAX))}
    if not found:
        raise InputError(f"{text(path)} names no root: lines as city-chain ec encode prints them are needed")
    return found


def _tell(args: argparse.Namespace, console: Console, facts: dict[str, Any], line: str) -> None:
    if args.json:
        console.json(facts)
    else:
        console.say(line)


def _complain(console: Console, path: Path, error: CityChainError | OSError) -> None:
    """A file failed: says why, with its name once."""
    name, reason = text(path), why(error)
    console.complain(reason if reason.startswith(name) else f"{name}: {reason}")
