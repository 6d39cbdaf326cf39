"""What a city tells about itself: health, repairs, nodes, recovery. Each shows itself as a table."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from city_chain import records
from city_chain.algorithms import ec
from city_chain.errors import CityChainError
from city_chain.ports import ClockStatus
from city_chain.stages.fetcher import Search
from city_chain.stages.model import Placement, Restored

__all__ = ["ClockHealth", "Health", "NodeInfo", "Recovery", "RepairReport", "TransactionHealth"]

_ROWS_SHOWN = 20


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned text.

    Example:
        >>> print(table(["a", "bc"], [[1, "x"], [22, "y"]]))
        a   bc
        1   x
        22  y
    """
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as an HTML table, for notebooks.

    Example:
        >>> html_table(["a"], [["<b>"]])
        '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


@dataclass(frozen=True, slots=True)
class TransactionHealth:
    """How much of one transaction is there.

    Args:
        tx_id: The transaction.
        k: Fragments that restore it.
        quorum: Fragments that it needs to be healthy.
        n: Fragments there should be.
        good: Fragments that were fetched and are right.
        bad: Index → what is wrong, of the others.
    """

    tx_id: bytes
    k: int
    quorum: int
    n: int
    good: int
    bad: dict[int, str]

    @classmethod
    def of(cls, placement: Placement, found: Search) -> TransactionHealth:
        """What a health check found."""
        manifest = placement.manifest
        unplaced = {i: "never acknowledged" for i in range(manifest.n) if i not in placement.holders}
        bad = dict(sorted({**unplaced, **found.bad}.items()))
        return cls(manifest.tx_id, manifest.k, manifest.quorum, manifest.n, len(found.fragments), bad)

    @property
    def state(self) -> str:
        """``whole`` (n of n), ``healthy`` (the quorum or more), ``degraded`` (k or more) or ``lost``."""
        if self.good >= self.n:
            return "whole"
        if self.good >= self.quorum:
            return "healthy"
        return "degraded" if self.good >= self.k else "lost"


@dataclass(frozen=True, slots=True)
class ClockHealth:
    """What a city's clock says of itself.

    Args:
        status: ``synchronised``; or ``unsynchronised`` or ``unknown``, and then nothing is sent.
        width_ms: Milliseconds from the earliest to the latest instant that it can be.
        reason: Why it gives no time; empty where it does.

    Example:
        >>> ClockHealth.of(("unknown", 10**9, "ntp: no majority")).reason
        'ntp: no majority'
    """

    status: ClockStatus
    width_ms: float
    reason: str

    @classmethod
    def of(cls, state: tuple[ClockStatus, int, str] | None) -> ClockHealth | None:
        """What `city_clock.state` found; None of a clock that says nothing of itself."""
        return None if state is None else cls(state[0], state[1] / 1e6, state[2])


@dataclass(frozen=True, slots=True)
class Health:
    """How much of every transaction is there.

    Args:
        transactions: What was found of each.
        errors: Transaction id → why nothing could be found out about it: its row in the ledger is damaged.
        clock: What the city's clock says of itself; None where it says nothing, like the system's.
    """

    transactions: Sequence[TransactionHealth]
    errors: dict[bytes, CityChainError] = field(default_factory=dict)
    clock: ClockHealth | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many transactions are in each state."""
        found = Counter(transaction.state for transaction in self.transactions)
        return {state: found[state] for state in ("whole", "healthy", "degraded", "lost")}

    @property
    def redundancy(self) -> float:
        """Good fragments of all that there should be, 0 to 1 (1 if there are no transactions)."""
        total = sum(transaction.n for transaction in self.transactions)
        return sum(transaction.good for transaction in self.transactions) / total if total else 1.0

    @property
    def worst(self) -> TransactionHealth | None:
        """The transaction with the fewest fragments to spare."""
        return min(self.transactions, key=lambda t: (t.good - t.k, t.tx_id), default=None)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a transaction, for a data frame."""
        return [
            {"tx_id": t.tx_id.hex(), "state": t.state, "good": t.good, "k": t.k, "quorum": t.quorum, "n": t.n}
            for t in self.transactions
        ]

    def _cells(self) -> tuple[list[str], list[list[object]]]:
        ranked = sorted(self.transactions, key=lambda t: (t.good - t.k, t.tx_id))[:_ROWS_SHOWN]
        return ["transaction", "state", "fragments", "what is wrong"], [
            [t.tx_id.hex(), t.state, f"{t.good}/{t.n}", ", ".join(f"{i}: {why}" for i, why in t.bad.items()) or "-"]
            for t in ranked
        ]

    def table(self) -> str:
        """The summary, and the transactions that are worst off."""
        columns, rows = self._cells()
        more = len(self.transactions) - len(rows)
        tail = f"\n… and {more} more" if more > 0 else ""
        return f"{self.summary()}\n{table(columns, rows)}{tail}" if rows else self.summary()

    def summary(self) -> str:
        """One line."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        unknown = f"; {len(self.errors)} more cannot be looked up" if self.errors else ""
        total = len(self.transactions)
        clock = f"; nothing is sent: {self.clock.reason}" if self.clock is not None and self.clock.reason else ""
        return f"{total} transactions: {counts or 'none'}; redundancy {self.redundancy:.1%}{unknown}{clock}"

    def _repr_html_(self) -> str:
        columns, rows = self._cells()
        return f"<p>{html.escape(self.summary())}</p>{html_table(columns, rows)}"

    def __str__(self) -> str:
        return self.table()


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did.

    Args:
        checked: Transactions that were looked at.
        repaired: Transactions of which fragments were placed anew, and committed.
        fragments: Fragments placed anew.
        size: Bytes of them.
        errors: Transaction id → why it could not be repaired whole.
    """

    checked: int
    repaired: int
    fragments: int
    size: int
    errors: dict[bytes, CityChainError]

    @classmethod
    def of(cls, results: Sequence[Restored]) -> RepairReport:
        """What a repair of these placements came to."""
        repaired = [(r.placement.manifest, r.repair.repair.moves) for r in results if r.repair is not None]
        return cls(
            checked=len(results),
            repaired=len(repaired),
            fragments=sum(len(moves) for _, moves in repaired),
            size=sum(len(moves) * _fragment_len(manifest) for manifest, moves in repaired),
            errors={r.placement.manifest.tx_id: r.error for r in results if r.error is not None},
        )

    def __add__(self, other: RepairReport) -> RepairReport:
        return RepairReport(
            self.checked + other.checked,
            self.repaired + other.repaired,
            self.fragments + other.fragments,
            self.size + other.size,
            {**self.errors, **other.errors},
        )

    def __str__(self) -> str:
        lines = [
            f"{self.checked} transactions checked, {self.repaired} repaired: "
            f"{self.fragments} fragments, {self.size} bytes placed anew"
        ]
        lines += [f"{tx_id.hex()}: {error}" for tx_id, error in list(self.errors.items())[:_ROWS_SHOWN]]
        if len(self.errors) > _ROWS_SHOWN:
            lines.append(f"… and {len(self.errors) - _ROWS_SHOWN} more could not be repaired")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node of a city.

    Args:
        id: Its public key.
        domain: Its failure domain.
        address: Where it answers.
        delegate: Whether it is elected to vote in this epoch.
        votes: Whether it does: not if its journal is damaged, it observes, or it has moved out and was not met.
        running: Whether it is up; of one that has moved out, whether it was met.
        fragments: How many fragments it holds.
        index: Its number in the city, from 0: by it `City.open` is told where it answers.
        elsewhere: Whether it has moved out.
        observes_until: It may have forgotten what it voted for: until this epoch is over it votes for nothing. None: no
            such thing is known.

    Example:
        >>> info = NodeInfo(bytes(32), "district 1", "tcp:127.0.0.1:7100", True, False, True, 0, 3, True, 1)
        >>> info.role, info.state
        ('holder, delegate', 'observes until epoch 1 is over')
    """

    id: bytes
    domain: str
    address: str
    delegate: bool
    votes: bool
    running: bool
    fragments: int
    index: int = 0
    elsewhere: bool = False
    observes_until: int | None = None

    @property
    def role(self) -> str:
        """What it is, in words."""
        return "holder, delegate" if self.delegate else "holder"

    @property
    def state(self) -> str:
        """How it is, in words."""
        if not self.running:
            return "moved out, not met" if self.elsewhere else "stopped"
        if self.observes_until is not None:
            return f"observes until epoch {self.observes_until} is over"
        if self.delegate and not self.votes:
            return "running, does not vote: its journal is damaged"
        return "running"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a city found unfinished, and what became of it.

    Args:
        finished: Receipts of sends that a crash had cut off and that are committed now.
        failed: Transaction id → why it was given up; nothing of it is committed.
        pending: Transaction id → why its end is still open; it stays journalled.
    """

    finished: Sequence[records.Receipt] = ()
    failed: dict[bytes, CityChainError] | None = None
    pending: dict[bytes, CityChainError] | None = None

    def __str__(self) -> str:
        return (
            f"{len(self.finished)} sends finished, {len(self.failed or {})} given up, {len(self.pending or {})} pending"
        )


def _fragment_len(manifest: records.Manifest) -> int:
    return ec.fragment_len(manifest.length, manifest.k, manifest.n - manifest.k, code=manifest.code)
