"""The sessions that a sender keeps with nodes: when they serve, when they are made anew, and what is remembered."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from city_chain import records
from city_chain.adapters.clock import ManualClock
from city_chain.proofs import poh
from city_chain.stages.sessions import AGE_MAX_S, Sessions

NETWORK, SENDER = bytes(32), b"\x01" * 32
NODES = [records.Identity.child(bytes(32), b"node", at) for at in range(4)]
KEYS = {node.id: node.kem_public() for node in NODES}
IDS = [node.id for node in NODES]


class Kept:
    """Sessions with a clock at hand."""

    def __init__(self, **limits: float) -> None:
        self.clock = ManualClock()
        self.sessions = Sessions(NETWORK, SENDER, self.clock, **limits)  # type: ignore[arg-type]

    def one(self, node: bytes = IDS[0], keys: dict[bytes, bytes] = KEYS) -> poh.Session:
        (session,) = self.sessions.with_nodes([node], keys)
        assert session.node == node
        return session


def test_a_session_serves_until_it_is_old_or_used_up_or_the_key_is_another() -> None:
    kept = Kept(age_max_s=10.0, uses_max=5)
    first = kept.one()
    assert [kept.one().id for _ in range(4)] == [first.id] * 4
    second = kept.one()
    assert second.id != first.id, "it had sealed five"
    kept.clock.advance(9.0)
    assert kept.one().id == second.id
    kept.clock.advance(1.0)
    third = kept.one()
    assert third.id != second.id
    other = {**KEYS, IDS[0]: NODES[0].kem_public("sntrup761-x25519")}
    fourth = kept.one(keys=other)
    assert fourth.id != third.id
    assert fourth.sealed[:2] == b"np"
    assert kept.one(keys=other).id == fourth.id
    # More at once than one session may seal are one use of a fresh one.
    assert len({session.id for session in kept.sessions.with_nodes([IDS[1]] * 9, KEYS)}) == 1


def test_sessions_are_made_at_once_for_those_that_lack_one() -> None:
    kept = Kept()
    first = kept.one()
    found = {session.node: session.id for session in kept.sessions.with_nodes([*IDS, IDS[0]], KEYS)}
    assert set(found) == set(IDS)
    assert found[IDS[0]] == first.id
    assert {session.node: session.id for session in kept.sessions.with_nodes(IDS, KEYS)} == found


def test_a_node_without_a_good_key_has_no_session_and_takes_nobody_along() -> None:
    kept = Kept()
    bad = KEYS[IDS[1]][:2] + b"\xff" * (len(KEYS[IDS[1]]) - 2)
    found = kept.sessions.with_nodes(IDS[:3], {IDS[0]: KEYS[IDS[0]], IDS[1]: bad})
    assert [session.node for session in found] == [IDS[0]]
    assert kept.sessions.why_none(IDS[1]).startswith(f"no session with node {IDS[1].hex()[:8]}: ")
    assert "shows no key" not in kept.sessions.why_none(IDS[1])
    assert kept.sessions.why_none(IDS[2]).endswith("it shows no key to seal to")
    assert kept.one(IDS[1]).node == IDS[1], "a good key mends it"
    # A node that shows no key any more is not sealed to under the old one.
    assert kept.sessions.with_nodes([IDS[1]], {}) == []


def test_a_session_that_was_replaced_stays_for_what_is_on_its_way() -> None:
    kept = Kept()
    old = kept.one()
    kept.sessions.are_known([old.id])
    kept.clock.advance(AGE_MAX_S)
    new = kept.one()
    assert new.id != old.id
    assert kept.sessions.get(old.id) == old
    assert kept.sessions.is_known(old.id)
    kept.clock.advance(AGE_MAX_S)
    kept.one(IDS[1])
    assert kept.sessions.get(old.id) is None
    assert not kept.sessions.is_known(old.id)
    assert kept.sessions.get(new.id) == new, "replaced only now"


def test_which_sessions_their_nodes_know() -> None:
    kept = Kept()
    session = kept.one()
    assert not kept.sessions.is_known(session.id)
    kept.sessions.are_known([session.id, bytes(32)])
    assert kept.sessions.is_known(session.id)
    assert not kept.sessions.is_known(bytes(32)), "nobody's"
    kept.sessions.are_forgotten([session.id, bytes(32)])
    assert not kept.sessions.is_known(session.id)


def test_threads_share_one_session_with_a_node() -> None:
    kept = Kept()
    found: list[bytes] = []

    def ask() -> None:
        found.extend(session.id for _ in range(20) for session in kept.sessions.with_nodes(IDS, KEYS))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(IDS)


def test_a_session_cannot_be_copied_out_of_the_process() -> None:
    kept = Kept()
    for secret in (kept.one(), poh.OpenedSessions()):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copied(secret)
    shown = repr(kept.one()) + str(kept.one()) + repr(kept.sessions)
    assert kept.one().id.hex()[:8] in shown
    assert len(shown) < 150
