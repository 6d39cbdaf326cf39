"""What quorum certificates cost, as lists of Ed25519 signatures and as one BLS signature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from city_chain import _native
from city_chain.errors import InputError

__all__ = ["aggregates"]

_VALIDATORS = (4, 10, 20, 32, 48, 64, 100, 200)


def aggregates(
    validators: Iterable[int] = _VALIDATORS,
    repeats: int = 9,
    mbit: int = 100,
    *,
    on_progress: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:
    """Measures certificates of HotStuff in both forms, in one run.

    Every round is new, so nothing is checked from memory. Times are of one thread's CPU and the least of `repeats`.
    The quorum is n - f of n. To make is the leader's work: all votes are checked, and the certificate is put together;
    with aggregates their sum is checked once, and to check every share by itself instead is `aggregate_make_each_us`.
    To verify is what each of the others does with it. `..._block_us` is what a block waits for all that: a vote, the
    making, the leader's link sending n - 1 certificates one after another, and a verification. Where it is less with
    aggregates is the crossover: a list costs bytes, a sum costs computing, so it depends on the link.

    Args:
        validators: How many, for each row; 1 to 1,024.
        repeats: How often each is measured; 1 to 1,000.
        mbit: What the leader's link sends, Mbit/s; 1 to 1,000,000.
        on_progress: Called with the number of rows that are done.

    Returns:
        Rows of validators, signers; `list_bytes`, `aggregate_bytes` of a certificate; `list_vote_bytes`,
        `aggregate_vote_bytes`; and for both forms `..._vote_us`, `..._make_us`, `..._verify_us` and `..._block_us`,
        microseconds.

    Raises:
        InputError: A number out of range.

    Example:
        >>> row, = aggregates([10], repeats=1)
        >>> row["signers"], row["list_bytes"], row["aggregate_bytes"]
        (7, 504, 104)
    """
    if not 1 <= repeats <= 1000:
        raise InputError(f"aggregates: {repeats} repeats, 1 to 1,000 are allowed")
    if not 1 <= mbit <= 1_000_000:
        raise InputError(f"aggregates: a link of {mbit} Mbit/s, 1 to 1,000,000 are allowed")
    rows: list[dict[str, Any]] = []
    for count in validators:
        row: dict[str, Any] = {"validators": count}
        for form in ("list", "aggregate"):
            row |= _measured(_native.SimCertificates(count, form == "aggregate"), form, repeats)
            computing = row[f"{form}_vote_us"] + row[f"{form}_make_us"] + row[f"{form}_verify_us"]
            row[f"{form}_block_us"] = round(computing + (count - 1) * row[f"{form}_bytes"] * 8 / mbit, 1)
        rows.append(row)
        if on_progress is not None:
            on_progress(len(rows))
    return rows


def _measured(made: _native.SimCertificates, form: str, repeats: int) -> dict[str, Any]:
    calls: dict[str, Callable[[], object]] = {"vote": made.cast, "make": made.make}
    if form == "aggregate":
        calls["make_each"] = made.make_each
    calls["verify"] = lambda: made.verify(certificate)
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            made.next_round()
            certificate = made.encoded()
            begin = time.thread_time_ns()
            call()
            least[name] = min(least[name], (time.thread_time_ns() - begin) / 1000)
    sizes = {f"{form}_bytes": len(made.encoded()), f"{form}_vote_bytes": made.cast()}
    return {"signers": made.signers(), **sizes, **{f"{form}_{name}_us": round(us, 1) for name, us in least.items()}}
