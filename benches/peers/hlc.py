"""Hybrid logical clocks: stamps, one by one and many at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise, repeat
from typing import Any

from city_chain.algorithms import tnh
from peers.harness import OURS, Contest, Entry, Peers, Target, often

TITLE = "Hybrid logical clock"
LEFT_OUT: dict[str, str] = {}

_CALLS = 10_000
_BATCH = 50_000


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """One stamp, then many."""
    zenoh, hlcpy = peers.find("zenoh", "eclipse-zenoh"), peers.find("hlcpy")
    clock, frozen = tnh.Hlc(), tnh.Hlc(60_000)
    now_ms = time.time_ns() // 1_000_000

    def given(_: object) -> None:
        stamp = frozen.now
        for _ in repeat(None, _CALLS):
            stamp(now_ms)

    def read(_: object) -> None:
        stamp, physical = clock.now, time.time_ns
        for _ in repeat(None, _CALLS):
            stamp(physical() // 1_000_000)

    entries = [
        Entry(f"{OURS}: now, clock read", read, _CALLS, note="reads the clock, as the peers do"),
        Entry(f"{OURS}: now", given, _CALLS, note="the time is given", target=Target(12e6, "rate"), is_beside=True),
    ]
    session: Any = None
    if zenoh is not None:
        session = _session(zenoh)
        entries.append(Entry("eclipse-zenoh: new_timestamp", often(session.new_timestamp, _CALLS), _CALLS))
    if hlcpy is not None:
        theirs = hlcpy.HLC.from_now()
        entries.append(Entry("hlcpy: sync", often(theirs.sync, 1000), 1000))

    def check() -> None:
        other = tnh.Hlc()
        stamps = [other.now(now_ms) for _ in range(100)]
        assert stamps == sorted(set(stamps))
        many = other.now_many(now_ms, 1000)
        assert len(many) == 1000
        assert many[0] > stamps[-1]
        packed = tnh.Hlc().now_packed(now_ms, 3)
        assert packed == b"".join(stamp.to_bytes(8, "big") for stamp in tnh.Hlc().now_many(now_ms, 3))
        if session is not None:
            found = [session.new_timestamp() for _ in range(100)]
            assert all(first < second for first, second in pairwise(found))

    def fresh() -> tnh.Hlc:
        return tnh.Hlc(60_000)

    why = "reading the clock in Python takes most of it; the stamp itself is the row below"
    yield Contest("one stamp", entries, check, why=why)
    batch = [
        Entry(
            f"{OURS}: now_packed",
            lambda made: made.now_packed(now_ms, _BATCH),
            _BATCH,
            fresh,
            note="as bytes",
            target=Target(300e6, "rate"),
        ),
        Entry(f"{OURS}: now_many", lambda made: list(made.now_many(now_ms, _BATCH)), _BATCH, fresh, note="as a list"),
        *[entry for entry in entries if not entry.is_ours],
    ]
    yield Contest(f"{_BATCH:,} stamps at once, for each", batch, check)
    if session is not None:
        session.close()


def _session(zenoh: Any) -> Any:
    """A session that talks to nobody."""
    config = zenoh.Config()
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "false")
    config.insert_json5("listen/endpoints", "[]")
    return zenoh.open(config)
