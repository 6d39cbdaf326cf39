"""What a node says of its place, what its witnesses say, and who grades it: each alone, with hostile others."""

import json
from types import SimpleNamespace

import pytest

from city_chain import records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.levels import Places
from city_chain.levels.placing import Placing
from city_chain.node import grader as grading
from city_chain.node import witnessing
from city_chain.node.grader import Grader
from city_chain.node.placed import ECHOES_MAX, Placed
from city_chain.node.roster import near_of
from city_chain.node.witnessing import Witnessing, attest
from city_chain.ports import Response
from city_chain.proofs import dpos, pop
from city_chain.stages import messages
from city_chain.stages.r2_choose import r2_choose

UTRECHT = ("Utrecht", 520_907_000, 51_214_000)
ZEIST = ("Zeist", 520_900_000, 52_300_000)
SUBJECT, WITNESS, OTHER = (records.Identity(bytes([at]) * 32) for at in (1, 2, 3))
EPOCH = records.Epoch.first("Utrecht", bytes(32), dpos.ValidatorSet(0, [(SUBJECT.id, 1)]))


class Clock(SystemClock):
    """Stands still unless it is told."""

    ms = 1_000_000
    seconds = 0.0
    step_s = 0.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        self.seconds += self.step_s
        return self.seconds


def grader_with(clock: Clock, **changes) -> Grader:
    rules = {"needed": 1, "age_ms_max": 60_000, "witnesses": [(WITNESS.id, *UTRECHT)], **changes}
    return Grader(records.PlaceRules("Utrecht", **rules), EPOCH.network, 0, clock, OsEntropy())


def placed(identity: records.Identity, clock: Clock, place=UTRECHT) -> Placed:
    return Placed(identity, EPOCH, place, lambda: clock.ms << 16)


def shown(claim: records.PlaceClaim, rtt_us: int = 400) -> records.PlaceAttestation:
    return records.PlaceAttestation(claim, [records.PlaceTestimony(WITNESS, claim, rtt_us, claim.hlc)])


# --- nonces ----------------------------------------------------------------------------------------------------------


def test_a_nonce_is_good_for_one_claim_of_the_node_that_it_was_given_to():
    clock = Clock()
    grader, node = grader_with(clock), placed(SUBJECT, clock)
    good = shown(node.claim(grader.nonce(SUBJECT.id)))
    assert grader.accept(good) == 3
    assert grader.accept(good) == 3  # the same one again, as when a node logs in again
    other = shown(node.claim(good.claim.nonce), rtt_us=500)
    with pytest.raises(VerificationError, match="used before"):
        grader.accept(other)
    assert grader.accept(good) == 3
    taken = shown(placed(OTHER, clock).claim(grader.nonce(SUBJECT.id)))
    with pytest.raises(VerificationError, match="not given"):
        grader.accept(taken)
    with pytest.raises(VerificationError, match="not given"):
        grader_with(clock).accept(good)  # another verifier gave it


def test_a_nonce_that_was_replaced_by_another_is_good_no_more():
    clock = Clock()
    grader, node = grader_with(clock), placed(SUBJECT, clock)
    first, second = grader.nonce(SUBJECT.id), grader.nonce(SUBJECT.id)
    with pytest.raises(VerificationError, match="not given"):
        grader.accept(shown(node.claim(first)))
    assert grader.accept(shown(node.claim(second))) == 3


def test_what_is_forged_uses_no_nonce_up():
    clock = Clock()
    grader, node = grader_with(clock), placed(SUBJECT, clock)
    good = shown(node.claim(grader.nonce(SUBJECT.id)))
    data = bytearray(good.to_bytes())
    data[6 + 32 + 8] ^= 1  # a bit of the subject
    with pytest.raises((VerificationError, InputError)):
        grader.accept(records.PlaceAttestation.from_bytes(bytes(data)))
    elsewhere = Grader(grader.rules, bytes(32), 0, clock, OsEntropy())
    with pytest.raises(VerificationError, match="network"):
        elsewhere.accept(good)
    assert grader.accept(good) == 3


def test_the_memory_for_nonces_is_bounded(monkeypatch):
    monkeypatch.setattr(grading, "NONCES_MAX", 4)
    clock = Clock()
    grader = grader_with(clock)
    given = {at: grader.nonce(at.to_bytes(32, "big")) for at in range(100)}
    assert len(grader._given) == 4
    assert len(set(given.values())) == 100


def test_an_old_attestation_falls_to_grade_0_when_its_time_is_over():
    clock = Clock()
    grader, node = grader_with(clock), placed(SUBJECT, clock)
    good = shown(node.claim(grader.nonce(SUBJECT.id)))
    assert grader.accept(good) == 3
    ends = grader.changes_at_ms([good], clock.ms)
    clock.ms = ends - 1
    assert grader.accept(good) == 3
    clock.ms = ends
    assert grader.accept(good) == 0


def test_weights_change_when_an_event_begins_and_ends():
    clock = Clock()
    grader = grader_with(clock, events=[("Utrecht", 20_000, 2_000_000, 3_000_000)])
    assert [grader.changes_at_ms([], at) for at in (0, 2_000_000, 3_000_000)] == [2_000_000, 3_000_000, 1 << 63]


# --- a node's own side -----------------------------------------------------------------------------------------------


def test_a_node_echoes_its_newest_claim_only_and_not_for_ever():
    clock = Clock()
    node = placed(SUBJECT, clock)
    first, second = node.claim(bytes(32)).to_bytes(), node.claim(bytes([1]) * 32).to_bytes()
    with pytest.raises(ProtocolError, match="newest"):
        node.echo(first, WITNESS.id, bytes(32))
    for _ in range(ECHOES_MAX):
        records.PlaceClaim.from_bytes(second).verify_echo(
            WITNESS.id, bytes(32), node.echo(second, WITNESS.id, bytes(32))
        )
    with pytest.raises(ProtocolError, match="which is the most"):
        node.echo(second, WITNESS.id, bytes(32))
    with pytest.raises(InputError, match="32 bytes"):
        node.echo(second, WITNESS.id, b"short")


def test_a_node_without_a_place_claims_none_and_nobody_witnesses_himself():
    clock = Clock()
    with pytest.raises(ProtocolError, match="claims none"):
        placed(SUBJECT, clock, None).claim(bytes(32))
    node = placed(SUBJECT, clock)
    with pytest.raises(ProtocolError, match="his own"):
        node.check_claim(node.claim(bytes(32)))
    other = records.Epoch.first("x", bytes(32), dpos.ValidatorSet(0, [(OTHER.id, 1)]))
    foreign = Placed(OTHER, other, UTRECHT, lambda: 1).claim(bytes(32))
    with pytest.raises(ProtocolError, match="another network"):
        node.check_claim(foreign)


# --- witnesses -------------------------------------------------------------------------------------------------------


class Line:
    """A transport on which one node answers echoes, or something else."""

    def __init__(self, answer):
        self.answer = answer

    def request(self, address: str, body: bytes, deadline: float) -> bytes:
        return self.answer(messages.parse(body).parts)


def witnessed(line: Line | None, claim: records.PlaceClaim, clock: Clock) -> records.PlaceTestimony:
    node = SimpleNamespace(id=WITNESS.id, place=placed(WITNESS, clock))
    answers = [b""]
    message = records.Message("witness", [b"request", claim.to_bytes(), b"somewhere"])
    Witnessing(lambda items, _: items, line, clock).answers()["witness"]([(0, node, message)], answers)
    (testimony,) = messages.answer(answers[0], "witnessed", 1)
    return records.PlaceTestimony.from_bytes(testimony)


def test_a_witness_signs_the_time_of_a_right_echo_and_of_no_other():
    clock = Clock()
    clock.step_s = 0.000_123_4
    subject = placed(SUBJECT, clock)
    claim = subject.claim(bytes(32))

    def echo(parts):
        return messages.message("echoed", [subject.echo(*parts)])

    testimony = witnessed(Line(echo), claim, clock)
    assert (testimony.rtt_us, testimony.witness) == (124, WITNESS.id)
    testimony.verify()
    # A relay that answers for the subject, an echo of another challenge, something else: nothing is signed.
    wrong = [
        lambda parts: messages.message("echoed", [claim.echo(SUBJECT, OTHER.id, parts[2])]),
        lambda parts: messages.message("echoed", [claim.echo(SUBJECT, WITNESS.id, bytes(32))]),
        lambda _: messages.message("echoed", [bytes(64)]),
        lambda _: messages.message("echoed", [bytes(63)]),
        lambda _: messages.message("echoed", []),
        lambda _: messages.refused("no"),
        lambda _: b"?",
    ]
    for answer in wrong:
        with pytest.raises(ProtocolError, match="refused"):
            witnessed(Line(answer), claim, clock)
    with pytest.raises(ProtocolError, match="nobody can be asked"):
        witnessed(None, claim, clock)


@pytest.mark.parametrize("kind", ["place", "witness", "echo"])
def test_hostile_parts_are_refused_and_nothing_is_signed(kind):
    clock = Clock()
    node = SimpleNamespace(id=WITNESS.id, place=placed(WITNESS, clock))
    answer = Witnessing(lambda items, _: items, Line(lambda _: b""), clock).answers()[kind]
    for parts in ([], [b""], [b"", b"x"], [b"", b"x", b"y"], [b"x"] * 5, [bytes(32)] * 3, [b"", b"", b"a" * 5000]):
        answers = [b""]
        answer([(0, node, records.Message(kind, parts))], answers)
        assert messages.parse(answers[0]).kind == "refused", parts


# --- who asks them ---------------------------------------------------------------------------------------------------


class Town:
    """Nodes that answer at their names, and what each is made to say."""

    def __init__(self, identities, clock, says=None):
        self.places = {one.id: placed(one, clock) for one in identities}
        self.addresses = {one.id: one.id.hex() for one in identities}
        self.asked: list[tuple[str, bytes]] = []
        self._says = says or (lambda node, said, claim: said)

    def gather(self, requests, deadline):
        bodies = [Response(at, one.address, self._answer(one.address, one.body)) for at, one in enumerate(requests)]
        return SimpleNamespace(take=lambda _: iter(bodies))

    def _answer(self, address, body):
        message, node = messages.parse(body), bytes.fromhex(address)
        self.asked.append((message.kind, node))
        if message.kind == "place":
            claim = self.places[node].claim(message.parts[1])
            return messages.message("placed", [self._says(node, claim, None).to_bytes()])
        claim = records.PlaceClaim.from_bytes(message.parts[1])
        return messages.message("witnessed", [self._says(node, self.places[node].testify(claim, 9), claim).to_bytes()])


def attested(town: Town, grader: Grader, clock: Clock) -> dict[bytes, records.PlaceAttestation]:
    sender = SimpleNamespace(identity=OTHER, stamp=lambda: 1, clock=clock)
    return attest(town.addresses, grader, sender, town, 10.0)


def test_what_lying_nodes_and_witnesses_say_stands_in_no_attestation():
    clock = Clock()
    grader = grader_with(clock, witnesses=[(WITNESS.id, *UTRECHT), (OTHER.id, *UTRECHT)])
    stamp = clock.ms << 16
    foreign = placed(SUBJECT, clock).claim(b"\x05" * 32)

    def telling(lie):
        def says(node, said, claim):
            if claim is None:  # one shows the claim of another
                return foreign if node == OTHER.id else said
            return records.PlaceTestimony(*lie(claim), 9, stamp) if node == WITNESS.id else said

        return says

    found = attested(Town((SUBJECT, WITNESS, OTHER), clock, telling(lambda _: (WITNESS, foreign))), grader, clock)
    assert {node: [said.witness for said in shown.testimonies] for node, shown in found.items()} == {
        SUBJECT.id: [OTHER.id],
        WITNESS.id: [OTHER.id],
    }
    nobody = records.Identity(bytes([9]) * 32)  # is no witness
    found = attested(Town((SUBJECT, WITNESS), clock, telling(lambda claim: (nobody, claim))), grader, clock)
    assert [shown.testimonies for shown in found.values()] == [[], []]


def test_nobody_is_asked_to_witness_himself_and_those_of_the_municipality_come_first(monkeypatch):
    clock, near = Clock(), records.Identity(bytes([8]) * 32)
    far = [(one.id, "Zeist", *UTRECHT[1:]) for one in (WITNESS, OTHER)]
    grader = grader_with(clock, witnesses=[*far, (SUBJECT.id, *UTRECHT), (near.id, *UTRECHT)])
    town = Town((SUBJECT, WITNESS, OTHER, near), clock)
    monkeypatch.setattr(witnessing, "TESTIMONIES_MAX", 2)
    found = attested(town, grader, clock)
    by = {node: {said.witness for said in shown.testimonies} for node, shown in found.items()}
    assert by[WITNESS.id] == by[OTHER.id] == {SUBJECT.id, near.id}
    assert by[SUBJECT.id] == {near.id, min(WITNESS.id, OTHER.id)}
    assert by[near.id] == {SUBJECT.id, min(WITNESS.id, OTHER.id)}
    assert sum(kind == "witness" for kind, _ in town.asked) == 8, "nobody was asked in vain"


def test_a_claim_of_another_epoch_or_with_a_wrong_signature_is_not_witnessed():
    clock = Clock()
    claim = placed(SUBJECT, clock).claim(bytes(32))
    witness = placed(WITNESS, clock)
    witness.check_claim(claim)
    late = records.PlaceClaim(
        SUBJECT,
        network=EPOCH.network,
        epoch=1,
        municipality="Utrecht",
        lat_e7=0,
        lon_e7=0,
        nonce=bytes(32),
        hlc=clock.ms << 16,
    )
    with pytest.raises(ProtocolError, match="another network or epoch"):
        witness.check_claim(late)
    forged = bytearray(claim.to_bytes())
    forged[-1] ^= 1  # of the signature
    with pytest.raises(VerificationError):
        witness.check_claim(records.PlaceClaim.from_bytes(bytes(forged)))


# --- R2 --------------------------------------------------------------------------------------------------------------


def test_r2_prefers_the_near_among_equals_and_only_among_equals():
    nodes = [bytes([at]) * 32 for at in range(6)]
    manifest = SimpleNamespace(k=4, n=6, tx_id=bytes(32))
    receipt = SimpleNamespace(header=SimpleNamespace(height=1), availability=SimpleNamespace(fragment_hashes=[]))
    placement = SimpleNamespace(manifest=manifest, receipt=receipt, holders=dict(enumerate(nodes)))
    doubt = {nodes[1]: 1}
    vitals = SimpleNamespace(doubt=lambda node: doubt.get(node, 0))

    def ranked(near) -> list[int]:
        (search,) = r2_choose([placement], vitals, {}, SimpleNamespace(near=near))
        return [index for index, _ in search.holders]

    assert ranked(frozenset()) == [0, 2, 3, 4, 5, 1]
    # Near and whole comes first; parity after data, a doubtful holder last, however near they are.
    assert ranked({nodes[3], nodes[5], nodes[1]}) == [3, 0, 2, 5, 4, 1]


def test_near_are_those_that_witnesses_saw_at_home():
    clock = Clock()
    grader = grader_with(clock)
    nodes = [records.Identity(bytes([at]) * 32) for at in (5, 6, 7)]
    claims = [placed(node, clock).claim(bytes(32)) for node in nodes]
    zeist = placed(OTHER, clock, ("Zeist", 520_900_000, 52_300_000)).claim(bytes(32))
    entries = [
        (nodes[0].id, 1, "d", shown(claims[0])),
        (nodes[1].id, 1, "d", records.PlaceAttestation(claims[1], [])),
        (nodes[2].id, 1, "d", None),
        (OTHER.id, 1, "d", shown(zeist, rtt_us=2_000)),
    ]
    listed = records.Candidates(EPOCH.network, "Utrecht", entries, grader.placing())
    grades = {node: grade for (node, *_), (_, grade, _) in zip(listed.items, listed.standings, strict=True)}
    assert grades == {nodes[0].id: 3, nodes[1].id: 1, nodes[2].id: 0, OTHER.id: 2}
    assert near_of(listed) == {nodes[0].id}


# --- settings --------------------------------------------------------------------------------------------------------


def test_places_are_kept_as_they_are():
    places = Places("Utrecht", {3: UTRECHT, 1: ("Zeist", -1, 2)}, [3], [("Zeist", 12_000, 5, 9)], grade_min=1)
    assert Places.from_json(places.to_json()) == places
    assert list(places.nodes) == [1, 3]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"home": ""}, InputError),
        ({"nodes": {-1: UTRECHT}}, InputError),
        ({"nodes": {1024: UTRECHT}}, InputError),
        ({"nodes": {True: UTRECHT}}, TypeError),
        ({"nodes": {0: ("x", 900_000_001, 0)}}, InputError),
        ({"nodes": {0: "xyz"}}, TypeError),
        ({"nodes": [1]}, TypeError),
        ({"witnesses": [1]}, InputError),
        ({"witnesses": [0, 0], "nodes": {0: UTRECHT}}, InputError),
        ({"grade_bp": (1, 2, 3)}, InputError),
        ({"grade_bp": (3, 2, 3, 4)}, InputError),
        ({"grade_bp": 5}, TypeError),
        ({"grade_min": 4}, InputError),
        ({"needed": 0}, InputError),
        ({"needed": 17}, InputError),
        ({"events": [("x", 1, 5, 5)]}, InputError),
        ({"events": [("x", 1_000_001, 5, 6)]}, InputError),
        ({"home_bp": -1}, InputError),
        ({"rtt_us_max": 1 << 32}, InputError),
        ({"age_ms_max": "x"}, TypeError),
    ],
)
def test_places_out_of_range_are_refused(changes, error):
    with pytest.raises(error):
        Places(**{"home": "Utrecht", **changes})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"home": 1}', b'{"home": "x", "nodes": [1]}', b'{"home": "x", "y": 1}']
)
def test_places_that_are_no_json_of_places_are_refused(data):
    with pytest.raises(InputError, match="places"):
        Places.from_json(data)


def test_a_request_that_nobody_let_in_is_not_answered_here():
    clock = Clock()
    answers = [messages.refused("may not ask here")]
    node = SimpleNamespace(id=WITNESS.id, place=placed(WITNESS, clock))
    message = records.Message("place", [b"request", bytes(32)])
    Witnessing(lambda *_: [], None, clock).answers()["place"]([(0, node, message)], answers)
    assert messages.reason_of(answers[0]) == "may not ask here"


def test_nodes_are_asked_again_in_time_and_soon_if_one_did_not_answer():
    clock = Clock()
    grader = grader_with(clock, age_ms_max=400_000)
    node = SimpleNamespace(id=SUBJECT.id, address="a", place=placed(SUBJECT, clock))
    sender = SimpleNamespace(identity=OTHER, stamp=lambda: 1, clock=clock)

    class Wire:
        """Carries what one node answers."""

        def __init__(self, answers: bool) -> None:
            self.answers = answers

        def gather(self, requests, deadline):
            bodies = []
            for at, request in enumerate(requests):
                _, nonce = messages.parse(request.body).parts
                claim = node.place.claim(nonce).to_bytes() if self.answers else b"?"
                bodies.append(Response(at, "a", messages.message("placed", [claim])))
            return SimpleNamespace(take=lambda _: iter(bodies))

    for answers, wait_ms in ((True, 100_000), (False, 10_000)):
        placing = Placing(grader, Wire(answers), clock)
        assert placing.is_due()
        placing.ask([node], sender)
        assert (node.place.attestation is not None) == answers
        clock.ms += wait_ms - 1
        assert (placing.is_due(), placing.due_s) == (False, 0.001)
        clock.ms += 1
        assert placing.is_due()
    nowhere = Placing(None, Wire(answers=True), clock)
    nowhere.ask([node], sender)
    assert not nowhere.is_due()


# --- maps ------------------------------------------------------------------------------------------------------------


def map_of(**boxes) -> pop.Places:
    """Municipalities between a western and an eastern longitude, from 52.0 to 52.2 degrees north."""
    features = [
        {
            "type": "Feature",
            "id": name,
            "properties": {"name": name.upper()},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[west, 52], [east, 52], [east, 52.2], [west, 52.2], [west, 52]]],
            },
        }
        for name, (west, east) in boxes.items()
    ]
    return pop.Places.from_geojson(json.dumps({"type": "FeatureCollection", "features": features}).encode())


MAP = map_of(Utrecht=(5.0, 5.2), Zeist=(5.2, 5.4))


def test_a_claim_that_the_map_does_not_agree_with_is_not_accepted_and_uses_no_nonce_up():
    clock = Clock()
    rules = grader_with(clock).rules
    grader = Grader(rules, EPOCH.network, 0, clock, OsEntropy(), MAP)
    nonce = grader.nonce(SUBJECT.id)
    cases = [
        (("Zeist", *UTRECHT[1:]), "the map says 'Utrecht', not 'Zeist'"),
        (("Utrecht", *ZEIST[1:]), "the map says 'Zeist', not 'Utrecht'"),
        (("Utrecht", 0, 0), "the map says nobody, not 'Utrecht'"),
        (("Narnia", *UTRECHT[1:]), "the map says 'Utrecht', not 'Narnia'"),
        (
            ("Utrecht", 520_907_000, 52_000_000),
            "the map says 'Zeist', not 'Utrecht'",
        ),  # on the border
    ]
    for place, said in cases:
        with pytest.raises(VerificationError, match=f"place claim: {said}"):
            grader.accept(shown(placed(SUBJECT, clock, place).claim(nonce)))
    assert grader.accept(shown(placed(SUBJECT, clock).claim(nonce))) == 3
    free = grader_with(clock)
    lie = placed(SUBJECT, clock, ("Zeist", *UTRECHT[1:])).claim(free.nonce(SUBJECT.id))
    assert free.accept(shown(lie)) == 3  # without a map the claim says it


def test_with_a_map_the_municipality_follows_from_the_point():
    places = Places("Utrecht", {0: UTRECHT[1:], 1: ZEIST, 2: ZEIST[1:]}, [2], map=MAP)
    assert places.nodes == {0: UTRECHT, 1: ZEIST, 2: ZEIST}
    assert places.map_root == MAP.root


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nodes": {4: ("Zeist", *UTRECHT[1:])}}, "node 4: the map says 'Utrecht', not 'Zeist'"),
        ({"nodes": {4: (0, 0)}}, "node 4: its point is in no municipality of the map"),
        ({"nodes": {4: (900_000_001, 0)}}, "node 4: latitude 900000001"),
        ({"home": "Narnia"}, "map: there is no municipality 'Narnia' on it"),
        ({"events": [("Narnia", 1, 5, 6)]}, "map: there is no municipality 'Narnia' on it"),
    ],
)
def test_places_that_their_map_does_not_agree_with_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        Places(**{"home": "Utrecht", "map": MAP, **changes})


def test_what_is_no_map_or_no_point_is_refused(monkeypatch):
    with pytest.raises(TypeError, match="map must be"):
        Places("Utrecht", map=b"map")
    with pytest.raises(TypeError, match="node 0: latitude"):
        Places("Utrecht", {0: (52.1, 5.1)}, map=MAP)
    with pytest.raises(TypeError, match="a place must be"):
        Places("Utrecht", {0: (520_907_000, 51_214_000)})
    monkeypatch.setattr("city_chain.levels.places.MAP_BYTES_MAX", 100)
    with pytest.raises(InputError, match="at most 100 are kept"):
        Places("Utrecht", map=MAP)


def test_places_with_a_map_are_read_with_that_map_only():
    places = Places("Utrecht", {0: UTRECHT[1:]}, map=MAP)
    again = Places.from_json(places.to_json(), pop.Places.from_bytes(places.rows()[b"map"]))
    assert again == places
    assert again != Places("Utrecht", {0: UTRECHT})
    assert again != Places("Utrecht", {0: UTRECHT}, map=map_of(Utrecht=(5.0, 5.2)))
    with pytest.raises(InputError, match=f"the map '{MAP.root.hex()[:12]}.* is needed; there is none"):
        Places.from_json(places.to_json())
    other = map_of(Utrecht=(5.0, 5.3), Zeist=(5.3, 5.4))
    with pytest.raises(InputError, match=f"is needed; this one is {other.root.hex()}"):
        Places.from_json(places.to_json(), other)
    short = json.dumps({"home": "Utrecht", "nodes": [[0, *UTRECHT[1:]]]})
    assert Places.from_json(short, MAP) == places
    with pytest.raises(InputError, match="a list of"):
        Places.from_json(short)
