"""Sessions across the boundary: what one side seals the other opens, and everything else is refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import records
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.proofs import poh
from city_chain.records import Message

pytestmark = pytest.mark.ffi

SUITES = ["x-wing", "sntrup761-x25519"]
SEALED_LEN = {"x-wing": 2 + 1120 + 32, "sntrup761-x25519": 2 + 1071 + 32}


class Parties:
    """A sender, a node, and a session between them."""

    def __init__(self, city, suite: str = "x-wing") -> None:
        self.city = city
        self.manifest = city.manifest(city.transaction())
        self.node = city.nodes[self.manifest.selection.nodes[0]]
        self.opened = poh.OpenedSessions()
        self.session = self.fresh(suite)

    def fresh(self, suite: str = "x-wing", sender: bytes | None = None) -> poh.Session:
        sender = self.city.sender.id if sender is None else sender
        keys = [(self.node.id, self.node.kem_public(suite))]
        (session,) = poh.seal_sessions(self.city.epoch.network, sender, keys)
        assert isinstance(session, poh.Session)
        return session

    def request(
        self, session: poh.Session | None, sender: records.Identity | None = None, index: int = 0
    ) -> poh.HoldRequest:
        item = (self.manifest, self.city.hashes[index], self.node.id, index, bytes(32))
        sessions = [] if session is None else [session]
        (request,) = poh.request_many(
            sender or self.city.sender, [item], sessions, hlc=1, deadline_ms=2, hold_until_ms=3
        )
        return request

    def hold(self, *bodies: bytes) -> list[tuple[str, bytes | None]]:
        """What the node answers to each request of some messages, and the rows that it writes."""
        requests, fragments, offered = [], [], []
        for body in bodies:
            session, some, parts = records.read_holds(Message.from_bytes(body))
            requests += some
            fragments += parts
            offered += [session] * len(some)
        none = [None] * len(requests)
        ((answers, rows),) = records.hold_burst([(self.node, self.opened, 3, requests, fragments, offered, none, none)])
        return [(said(answer), row) for answer, row in zip(answers, rows, strict=True)]


def said(answer: bytes) -> str:
    try:
        poh.Ack.from_bytes(answer).verify()
    except InputError:
        found = Message.from_bytes(answer)
        return found.kind if found.kind == "session" else b"".join(found.parts).decode()
    return "ack"


@pytest.mark.parametrize("suite", SUITES)
def test_the_node_stores_what_the_sender_sealed(city, suite: str) -> None:
    parties = Parties(city, suite)
    session, request, fragment = parties.session, parties.request(parties.session), city.fragments[0]
    assert request.session == session.id
    assert (session.node, session.sender) == (parties.node.id, city.sender.id)
    assert len(session.sealed) == SEALED_LEN[suite]
    (told, untold) = records.hold_messages(
        [(session, True, [(request, fragment)]), (session, False, [(request, fragment)])]
    )
    assert Message.from_bytes(told).parts[0] == session.sealed
    assert Message.from_bytes(untold).parts[0] == b""
    assert len(Message.from_bytes(told).parts[2]) == len(fragment) + 32
    row = Message("held", [request.to_bytes(), fragment]).to_bytes()
    assert parties.hold(untold) == [("session", None)]
    assert len(parties.opened) == 0
    assert parties.hold(told) == [("ack", row)]
    assert len(parties.opened) == 1
    assert parties.hold(untold) == [("ack", row)]
    # In one burst, whichever comes first.
    parties.opened = poh.OpenedSessions()
    assert parties.hold(told, untold) == [("ack", row), ("ack", None)]


def test_requests_name_the_session_with_their_node(city) -> None:
    parties = Parties(city)
    times = {"hlc": 1, "deadline_ms": 2, "hold_until_ms": 3}
    asked = [(parties.manifest, city.hashes, bytes(32))]
    ((first, *others),) = records.request_holds(city.sender, asked, [parties.session], **times)
    assert first.session == parties.session.id
    assert {request.session for request in others} == {b""}
    assert poh.verify_requests([first, *others]) == [None] * 4
    assert poh.HoldRequest.from_bytes(first.to_bytes()) == first
    for wrong in (first.to_bytes().replace(first.session, bytes(32)), parties.request(None).to_bytes()[:-1]):
        with pytest.raises((VerificationError, InputError)):
            poh.HoldRequest.from_bytes(wrong).verify()


def test_a_session_that_is_not_the_nodes_own_is_refused(city) -> None:
    parties = Parties(city)
    fragment = city.fragments[0]
    stranger = records.Identity(b"\x09" * 32)
    other = Parties(city)
    other.node = city.nodes[parties.manifest.selection.nodes[1]]
    foreign = other.fresh()

    def told(sealed: bytes, request: poh.HoldRequest, sealed_fragment: bytes = bytes(33)) -> str:
        body = Message("hold", [sealed, request.to_bytes(), sealed_fragment]).to_bytes()
        ((answer, row),) = parties.hold(body)
        assert row is None
        return answer

    request = parties.request(parties.session)
    # Another sealed session than the one that the request names: a good one, another node's, bytes.
    assert "its id is" in told(parties.fresh().sealed, request)
    assert "was not sealed to node" in told(foreign.sealed, request)
    assert "its type is not known" in told(b"??", request)
    assert "bytes, one sealed by x-wing has" in told(parties.session.sealed[:-1], request)
    assert len(parties.opened) == 0
    # A right session, and a fragment that is not what was sealed.
    assert "not what was sealed for this request" in told(parties.session.sealed, request)
    (right,) = records.hold_messages([(parties.session, True, [(request, fragment)])])
    sealed = bytearray(Message.from_bytes(right).parts[2])
    sealed[0] ^= 1
    assert "not what was sealed for this request" in told(b"", request, bytes(sealed))
    assert "not what was sealed for this request" in told(b"", request, fragment)
    # A stranger who signs with its own key cannot use the session of another.
    item = (parties.manifest, city.hashes[0], parties.node.id, 0, bytes(32))
    (stolen,) = poh.request_many(stranger, [item], [parties.session], hlc=1, deadline_ms=2, hold_until_ms=3)
    for offered in (parties.session.sealed, b""):
        assert "the request is of sender" in told(offered, stolen)
    parties.opened = poh.OpenedSessions()
    assert "was not sealed to node" in told(parties.session.sealed, stolen)
    # A right fragment of another hash.
    (wrong,) = poh.request_many(
        city.sender,
        [(parties.manifest, bytes(32), parties.node.id, 0, bytes(32))],
        [parties.session],
        hlc=1,
        deadline_ms=2,
        hold_until_ms=3,
    )
    (body,) = records.hold_messages([(parties.session, True, [(wrong, fragment)])])
    assert "its hash is" in parties.hold(body)[0][0]


def test_one_bad_pair_takes_nothing_along(city) -> None:
    parties = Parties(city)
    stranger = records.Identity(b"\x09" * 32)
    request, fragment = parties.request(parties.session), city.fragments[0]
    item = (parties.manifest, city.hashes[0], parties.node.id, 0, bytes(32))
    (stolen,) = poh.request_many(stranger, [item], [parties.session], hlc=1, deadline_ms=2, hold_until_ms=3)
    spoilt = Message("hold", [b"rubbish", stolen.to_bytes(), fragment]).to_bytes()
    plain = parties.request(None)
    bodies = records.hold_messages([(parties.session, True, [(request, fragment)]), (None, False, [(plain, fragment)])])
    assert [answer for answer, _ in parties.hold(spoilt, *bodies)][1:] == ["ack", "ack"]


def test_what_is_refused_already_opens_no_session(city) -> None:
    parties = Parties(city)
    request = parties.request(parties.session)
    offered = [parties.session.sealed]
    asked = (parties.node, parties.opened, 3, [request], [bytes(40)], offered, [None], ["it is late"])
    ((answers, rows),) = records.hold_burst([asked])
    assert ([said(answer) for answer in answers], rows) == (["it is late"], [None])
    assert len(parties.opened) == 0


def test_nothing_that_names_a_session_goes_out_unsealed(city) -> None:
    parties = Parties(city)
    fragment = city.fragments[0]
    with pytest.raises(InputError, match="would go unsealed"):
        records.hold_messages([(None, True, [(parties.request(parties.session), fragment)])])
    for request in (parties.request(None), parties.request(parties.fresh())):
        with pytest.raises(VerificationError, match="session: its id is"):
            records.hold_messages([(parties.session, True, [(request, fragment)])])
    for wrong in ([(None, True)], [(parties.session, 1, [])], [("session", True, [])]):
        with pytest.raises((InputError, TypeError)):
            records.hold_messages(wrong)


def test_a_message_is_a_session_and_then_pairs(city) -> None:
    pair = [city.request(city.manifest(city.transaction()), 0, next(iter(city.nodes))).to_bytes(), b"f"]
    for parts in ([], [b""], pair, [b"", pair[0]], [b"", *pair, pair[0]]):
        with pytest.raises(ProtocolError, match="a session and then a request and a fragment each"):
            records.read_holds(Message("hold", parts))


def test_the_oldest_session_is_forgotten_and_told_again(city) -> None:
    parties = Parties(city)
    parties.opened = poh.OpenedSessions(2)
    fragment = city.fragments[0]
    sessions = [parties.fresh() for _ in range(3)]
    bodies = [records.hold_messages([(s, True, [(parties.request(s), fragment)])])[0] for s in sessions]
    untold = [records.hold_messages([(s, False, [(parties.request(s), fragment)])])[0] for s in sessions]
    for body in bodies:
        assert parties.hold(body)[0][0] == "ack"
    assert len(parties.opened) == 2
    assert [parties.hold(body)[0][0] for body in untold] == ["session", "ack", "ack"]
    for most in (0, -1, 2**20 + 1):
        with pytest.raises(InputError):
            poh.OpenedSessions(most)


def test_keys_that_are_none(city) -> None:
    parties = Parties(city)
    network, sender, node = city.epoch.network, city.sender.id, parties.node
    right = node.kem_public()
    wrong: Sequence[bytes] = [b"", b"xp", right[:-1], right + b"\0", b"np" + right[2:], node.ml_dsa_public, node.id]
    made = poh.seal_sessions(network, sender, [(node.id, key) for key in [*wrong, right]])
    assert all(isinstance(error, (InputError, VerificationError)) for error in made[:-1])
    assert isinstance(made[-1], poh.Session)
    assert poh.seal_sessions(network, sender, []) == []
    for arguments in ((network[:-1], sender, []), (network, b"", []), (network, sender, [(b"", right)])):
        with pytest.raises(InputError):
            poh.seal_sessions(*arguments)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_on_the_way_is_refused(city, data) -> None:
    parties = Parties(city)
    request = parties.request(parties.session)
    (right,) = records.hold_messages([(parties.session, True, [(request, city.fragments[0])])])
    parts = Message.from_bytes(right).parts
    which = data.draw(st.sampled_from([0, 2]))
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[at] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(changed)
    ((answer, row),) = parties.hold(Message("hold", parts).to_bytes())
    assert answer not in ("ack", "session")
    assert row is None
