"""``city-chain demo``: real files over twenty nodes, damaged, restored, proven.

Four bad holders are the most that 6 of 10 survives: three nodes are stopped for good, every fragment of a fourth one
gets a flipped bit. One of the stopped is a delegate, for the four bear the loss of one. Nothing is simulated: the files
are read, the city is one SQLite file, the damage is in its rows, and the receipts are verified by a process of its own
that has only copies of them and of the trust anchor.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from city_chain.cli.console import Console, size, text
from city_chain.cli.demo.figures import Figures
from city_chain.cli.demo.files import Bundle, Item, find
from city_chain.cli.demo.proof import verify_apart
from city_chain.cli.health import summary
from city_chain.cli.place import Place
from city_chain.cli.reasons import brief, reason
from city_chain.cli.send import BURST_FILES_MAX
from city_chain.errors import CityChainError, InputError
from city_chain.levels import Health, NodeInfo, RepairReport
from city_chain.levels.bursts import bursts
from city_chain.levels.damage import Damage, flip_bits
from city_chain.records import Receipt

__all__ = ["Demo", "Plan", "run", "victims"]

_PATIENCE_S = 60.0
_PROBLEMS_SHOWN = 20
_STATES = ("before the damage", "after the damage", "after the repair")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the city of the demo is like and what is done to it.

    Args:
        nodes: How many nodes.
        validators: How many of them are delegates.
        k: Fragments that restore a file.
        n: Fragments there are of each.
        districts: Failure domains.
        stop: How many nodes are stopped; one more gets flipped bits.
    """

    nodes: int = 20
    validators: int = 4
    k: int = 6
    n: int = 10
    districts: int = 3
    stop: int = 3


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Args:
        sent: Transaction id → the file.
        sending_s: Seconds that sending took, without reading files and writing receipts.
        health: The health in each of the three states.
        stopped: The nodes stopped.
        corrupted: The node whose fragments were damaged.
        damage: How much of it was.
        right: Files that came back with every byte right.
        repair: What was made anew.
        verified: Receipts that a second process found right.
        problems: Everything that is not as it should be; none if all is right.
    """

    sent: dict[bytes, Item] = field(default_factory=dict)
    sending_s: float = 0.0
    health: list[Health] = field(default_factory=list)
    stopped: list[NodeInfo] = field(default_factory=list)
    corrupted: NodeInfo | None = None
    damage: Damage = field(default_factory=lambda: Damage(0, 0))
    right: int = 0
    repair: RepairReport = field(default_factory=lambda: RepairReport.of([]))
    verified: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files sent."""
        return sum(item.size for item in self.sent.values())

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return len(self.sent) / self.sending_s if self.sending_s else 0.0


def run(args: argparse.Namespace, console: Console) -> int:
    """Plays the demo; 0 only if every byte and every receipt was right."""
    plan = Plan(stop=args.stop)
    if not 0 <= plan.stop < plan.nodes:
        raise InputError(f"--stop {plan.stop}: 0 to {plan.nodes - 1} nodes can be stopped")
    for name in args.paths:
        Path(name).stat()  # what is named must be there
    bundle = Bundle(find(args.paths), asked=bool(args.paths))
    with _folder(args.keep, console) as folder, Demo(folder, plan, bundle, console, quiet=args.json) as demo:
        demo.play()
        outcome = demo.outcome
    if args.json:
        console.json(demo.as_json())
    else:
        console.say("\n" + demo.table())
        if args.keep:
            console.say(f"\nThe city is in {text(args.keep)}: city-chain --city {text(args.keep)} nodes")
    return 1 if outcome.problems else 0


@contextlib.contextmanager
def _folder(keep: str | None, console: Console) -> Iterator[Path]:
    """Where the city is made: a folder to be kept, or one that is gone afterwards; if it is not, says where it is."""
    if keep is None:
        folder = tempfile.mkdtemp(prefix="city-chain-demo-")
        try:
            yield Path(folder)
        finally:
            try:
                shutil.rmtree(folder)
            except BaseException as error:  # one more Ctrl-C, for instance
                why = error.strerror if isinstance(error, OSError) else "interrupted"
                console.complain(f"the temporary folder {text(folder)} is left ({why}): remove it")
                if not isinstance(error, OSError):
                    raise
        return
    place = Place(keep)
    place.folder.mkdir(parents=True, exist_ok=True)
    yield place.folder


def victims(nodes: Sequence[NodeInfo], stop: int) -> tuple[list[int], int]:
    """Which nodes to stop and which to damage, by position: as many delegates as they bear to lose, then ordinary ones.

    Args:
        nodes: All nodes.
        stop: How many to stop.

    Example:
        >>> nodes = [NodeInfo(bytes([at]), "", "", at in (1, 2, 4, 5), True, True, 0) for at in range(8)]
        >>> victims(nodes, 3)
        ([1, 0, 3], 6)
    """
    delegates = [at for at, node in enumerate(nodes) if node.delegate]
    borne = (len(delegates) - 1) // 3
    ordinary = [at for at, node in enumerate(nodes) if not node.delegate]
    order = [*delegates[:borne][:stop], *ordinary, *delegates[borne:]]
    return order[:stop], order[stop]


class Demo:
    """The demo, step by step. A context manager.

    Args:
        folder: Where to make the city.
        plan: What it is like and what is done to it.
        bundle: The files.
        console: Where to show how far it is.
        quiet: Whether to say nothing on the way.

    Example:
        >>> plan = Plan(nodes=8, validators=1, k=2, n=6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Demo(Path(folder), plan, Bundle([Path(__file__)]), Console(), quiet=True) as demo:
        ...         demo.send()
        >>> demo.outcome.problems
        []
    """

    def __init__(self, folder: Path, plan: Plan, bundle: Bundle, console: Console, *, quiet: bool) -> None:
        self.outcome = Outcome()
        self.figures = Figures()
        self.place = Place(str(folder))
        self._plan = plan
        self._bundle = bundle
        self._console = console
        self._quiet = quiet
        self.city = self.place.create(
            name="demo",
            nodes=plan.nodes,
            validators=plan.validators,
            k=plan.k,
            n=plan.n,
            districts=plan.districts,
        )
        self.city.watch(self.figures.add)

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()

    def play(self) -> None:
        """All steps in their order."""
        plan = self._plan
        self._say(
            f"a city of {plan.nodes} nodes in {plan.districts} districts, {plan.validators} of them delegates, "
            f"who commit through {self.city.settings.engine!r}; "
            f"{plan.k} of {plan.n} fragments restore a file; one SQLite file in {text(self.place.folder)}"
        )
        for act in (
            self.send,
            self.settle,
            self.damage,
            self._check_damage,
            self.receive,
            self.repair,
            self._check_repair,
        ):
            if not self._goes_on(act):
                return
        self._goes_on(self.verify)

    def _goes_on(self, act: Callable[[], None]) -> bool:
        """Plays one act; whether another can follow. One that the machine does not allow (a full disk) is the last."""
        try:
            act()
        except (CityChainError, OSError) as error:
            self._problem(f"the demo ends here: {reason(error)}")
            return False
        return bool(self.outcome.sent)

    def send(self) -> None:
        """Sends every file and keeps its receipt."""
        self.place.keep_anchor(self.city.trust)
        done = 0
        with self._console.progress("sending", len(self._bundle)) as progress:
            for burst in self._bundle.bursts():
                began = time.perf_counter()
                outcomes = self.city.send_many([data for _, data in burst], batch=BURST_FILES_MAX)
                self.outcome.sending_s += time.perf_counter() - began
                for (item, _), outcome in zip(burst, outcomes, strict=True):
                    if isinstance(outcome, Receipt):
                        self.outcome.sent[outcome.tx_id] = item
                        self.place.keep(outcome)
                    else:
                        self._problem(f"{text(item.path)} was not sent: {brief(str(outcome))}")
                done += len(burst)
                progress.to(done)
        refused = self._bundle.refused
        for path, why in refused:
            self._problem(f"{text(path)} was left out: {why}")
        if not self.outcome.sent:
            self._problem(
                "nothing was sent" if self.outcome.problems else "nothing was sent: there is no file to be read"
            )
        self._say(
            f"sent {len(self.outcome.sent):,} files, {size(self.outcome.size)}, in {self.outcome.sending_s:.1f} s"
            + (f"; {len(refused):,} could not be sent, and were left out" if refused else "")
        )

    def settle(self) -> None:
        """Waits until every placement is whole."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            self.city.settle(_PATIENCE_S)
            found = self._health()
            if found.counts["whole"] == len(found.transactions) or time.monotonic() > until:
                break
            time.sleep(0.1)
        self.outcome.health.append(found)
        self._say(f"before the damage: {found.summary()}")
        if found.counts["whole"] != len(found.transactions):
            self._problem(f"not every placement became whole: {found.summary()}")

    def damage(self) -> None:
        """Stops nodes for good, and flips a bit in every fragment of another."""
        nodes = self.city.nodes()
        stop, corrupt = victims(nodes, self._plan.stop)
        for at in stop:
            self.city.stop_node(nodes[at].id)
        self.outcome.stopped = [nodes[at] for at in stop]
        self.outcome.corrupted = nodes[corrupt]
        self.outcome.damage = flip_bits(self.place.database, corrupt)
        self._say(
            f"stopped {len(stop)} nodes for good; flipped a bit in each of the {self.outcome.damage.fragments:,} "
            f"fragments that another holds ({size(self.outcome.damage.size)})"
        )

    def _check_damage(self) -> None:
        self.check(_STATES[1])

    def _check_repair(self) -> None:
        self.check(_STATES[2])

    def check(self, state: str) -> None:
        """Looks at the health; below the quorum is a problem once it is repaired."""
        found = self._health()
        self.outcome.health.append(found)
        self._say(f"{state}: {found.summary()}")
        if state == _STATES[2] and found.counts["whole"] != len(found.transactions):
            self._problem(f"not whole after the repair: {found.summary()}")

    def receive(self) -> None:
        """Receives everything and compares every byte with the file."""
        done = 0
        with self._console.progress("receiving", len(self.outcome.sent)) as progress:
            for ids in _parts(self.outcome.sent):
                for tx_id, outcome in zip(ids, self.city.receive_many(ids), strict=True):
                    item = self.outcome.sent[tx_id]
                    if isinstance(outcome, CityChainError):
                        self._problem(f"{text(item.path)} did not come back: {brief(str(outcome))}")
                    elif self._bundle.same(item, outcome.payload):
                        self.outcome.right += 1
                    else:
                        self._problem(f"{text(item.path)} came back with other bytes")
                done += len(ids)
                progress.to(done)
        self._say(f"received {self.outcome.right:,} of {len(self.outcome.sent):,} files with every byte right")

    def repair(self) -> None:
        """Makes what is absent or corrupt anew on healthy nodes."""
        with self._console.progress("repairing", len(self.outcome.sent)) as progress:
            self.outcome.repair = report = self.city.repair(on_progress=progress.to)
        for tx_id, error in report.errors.items():
            self._problem(f"{tx_id.hex()} could not be repaired: {brief(str(error))}")
        self._say(f"repaired {report.repaired:,} files: {report.fragments:,} fragments, {size(report.size)}")

    def verify(self) -> None:
        """Has a second process verify all receipts."""
        with self._console.progress("verifying", len(self.outcome.sent)) as progress:
            found = verify_apart(self.place, progress.to)
        for problem in found.problems:
            self._problem(problem)
        self.outcome.verified = len(found.right & self.outcome.sent.keys())
        if found.right != self.outcome.sent.keys():
            self._problem(
                f"a second process verified {self.outcome.verified} of {len(self.outcome.sent)} receipts, "
                f"and {len(found.right - self.outcome.sent.keys())} that were not sent"
            )
        engine = self.city.settings.engine
        if found.engines - {engine}:
            self._problem(f"certificates of {', '.join(sorted(found.engines))}, and the city commits by {engine}")
        self._say(
            f"verified {self.outcome.verified:,} receipts, with their quorum certificates of {engine!r}, in a second "
            f"process that has nothing but them"
        )

    # --- telling -----------------------------------------------------------------------------------------------------

    def table(self) -> str:
        """Everything in one table."""
        done = self.outcome
        facts = [
            ("files", f"{len(done.sent):,}"),
            ("bytes", f"{done.size:,}"),
            ("transactions/s", f"{done.rate:,.0f}, durable, in bursts of up to {BURST_FILES_MAX}"),
            ("commit engine", self.city.settings.engine),
        ]
        redundancy = [f"{found.redundancy:.1%} {state}" for found, state in zip(done.health, _STATES, strict=False)]
        verdict = [
            ("redundancy", ", ".join(redundancy) or "unknown"),
            ("bytes repaired", f"{done.repair.size:,} in {done.repair.fragments:,} fragments"),
            ("files right", f"{done.right:,} of {len(done.sent):,}"),
            ("receipts right", f"{done.verified:,} of {len(done.sent):,}, in a second process"),
        ]
        notes = [f"{text(path)}: {why}" for path, why in self._bundle.notes]
        verdict += [("note", note) for note in _shortened(notes)]
        verdict += [("wrong", problem) for problem in _shortened(done.problems)]
        all_right = "every byte and every receipt is right"
        if refused := len(self._bundle.refused):
            facts.insert(1, ("left out", f"{refused:,} that could not be sent"))
        problems = f"NOT right: {len(done.problems):,} problem{'s' if len(done.problems) > 1 else ''}"
        verdict.append(("verdict", problems if done.problems else all_right))
        return self.figures.table(facts, verdict)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        done = self.outcome
        return {
            "files": len(done.sent),
            "bytes": done.size,
            "seconds": round(done.sending_s, 6),
            "transactions_per_second": round(done.rate, 3),
            "stages": [times._asdict() for times in self.figures.stages()],
            "health": {
                state.replace(" ", "_"): summary(found) for found, state in zip(done.health, _STATES, strict=False)
            },
            "stopped": [node.id.hex() for node in done.stopped],
            "corrupted": None if done.corrupted is None else done.corrupted.id.hex(),
            "fragments_corrupted": done.damage.fragments,
            "files_right": done.right,
            "repaired": {
                "transactions": done.repair.repaired,
                "fragments": done.repair.fragments,
                "bytes": done.repair.size,
            },
            "engine": self.city.settings.engine,
            "receipts_right": done.verified,
            "notes": [{"file": text(path), "note": why} for path, why in self._bundle.notes],
            "left_out": [{"file": text(path), "why": why} for path, why in self._bundle.refused],
            "problems": done.problems,
            "right": not done.problems,
        }

    def _health(self) -> Health:
        with self._console.progress("checking every fragment", len(self.outcome.sent)) as progress:
            return self.city.health(on_progress=progress.to)

    def _problem(self, what: str) -> None:
        self.outcome.problems.append(what)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._console.say(line)


def _parts(sent: dict[bytes, Item]) -> Iterator[list[bytes]]:
    """Cuts the transactions into parts of at most 256 and about 32 MiB, so that memory stays bounded."""
    return bursts(((tx_id, item.size) for tx_id, item in sent.items()), 256)


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _PROBLEMS_SHOWN
    return [*lines[:_PROBLEMS_SHOWN], *([f"… and {more} more"] if more > 0 else [])]
