"""A city whose nodes have places: who holds what follows from grades, and nobody gets a grade that he does not earn."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from city_chain import City, records
from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.presence.memory import MemoryPresence
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import Fault, InProcessTransport
from city_chain.errors import InputError, StorageError, UnavailableError, VerificationError
from city_chain.levels import NodeHost, Places
from city_chain.levels.settings import Settings, found, load, node_identity
from city_chain.ports import PresenceEntry
from city_chain.proofs import dpos, pop

UTRECHT = ("Utrecht", 520_907_000, 51_214_000)
AUCKLAND = ("Auckland", -368_485_000, 1_747_633_000)
SLOW_US = 30_000_000
"""An echo that counts as near however busy the machine is."""


class Steady(SystemClock):
    """Every look at the monotonic clock is 5 µs after the one before: echoes take that long, whatever they take."""

    def __init__(self) -> None:
        self._at = time.monotonic() + 1000.0  # pipelines look at the system's own: no deadline is over before its time

    def monotonic(self) -> float:
        self._at += 0.000_005
        return self._at


def grades_of(city: City, receipt: records.Receipt) -> dict[int, int]:
    """The grade of each node by its index, where all nodes were chosen."""
    selection = receipt.manifest.selection
    found = dict(zip(selection.nodes, selection.grades, strict=True))
    return {info.index: found[info.id] for info in city.nodes() if info.id in found}


def places_of(nodes, witnesses=(0, 1, 2), **changes) -> Places:
    return Places("Utrecht", nodes, witnesses, **{"rtt_us_max": SLOW_US, **changes})


def small(places: Places | None, **parts) -> City:
    return City.local(nodes=5, validators=1, k=2, n=5, places=places, **parts)


def test_grades_stand_in_the_selection_and_the_receipt_and_anyone_checks_them():
    places = places_of(dict.fromkeys(range(4), UTRECHT))
    with small(places, clock=Steady()) as city:
        receipt = city.send(b"hello")
        assert city.receive(receipt.tx_id) == b"hello"
        assert grades_of(city, receipt) == {0: 3, 1: 3, 2: 3, 3: 3, 4: 0}
        again = records.Receipt.from_bytes(receipt.to_bytes())
        again.verify(city.trust)
        holders = dict(again.availability.holders)
        by_id = dict(zip(again.manifest.selection.nodes, again.manifest.selection.grades, strict=True))
        assert again.availability.grades == [(index, by_id[node]) for index, node in sorted(holders.items())]
        listed = city.candidates(again.manifest.selection.candidates_root)
        found = records.verify_selection(again.manifest.to_bytes(), listed.to_bytes(), again.epoch.to_bytes())
        assert [row[0] for row in found] == again.manifest.selection.nodes
        assert [row[4] for row in found] == again.manifest.selection.grades
        weights = {node: weight for node, _, weight, _, _ in found}
        assert Counter(weights.values()) == {131_072: 4, 16_384: 1}
        with pytest.raises(InputError, match="no candidate list"):
            city.candidates(bytes(32))


def test_every_flipped_bit_of_what_is_checked_is_found():
    with small(places_of(dict.fromkeys(range(4), UTRECHT))) as city:
        receipt = city.send(b"hello")
        listed = city.candidates(receipt.manifest.selection.candidates_root)
        parts = [receipt.manifest.to_bytes(), listed.to_bytes()]
        epoch = receipt.epoch.to_bytes()
        records.verify_selection(*parts, epoch)
        for at, part in enumerate(parts):
            for bit in range(0, len(part) * 8, 7):
                wrong = bytearray(part)
                wrong[bit // 8] ^= 1 << bit % 8
                with pytest.raises((VerificationError, InputError)):
                    records.verify_selection(*[*parts[:at], bytes(wrong), *parts[at + 1 :]], epoch)


def test_nodes_hold_in_proportion_to_grade_and_multiplier():
    now = SystemClock().now_ms()
    events = [("Zeist", 30_000, now - 1000, now + 10**9)]
    nodes = {0: UTRECHT, 1: UTRECHT, 2: UTRECHT, 3: UTRECHT, 4: ("Zeist", *UTRECHT[1:]), 5: AUCKLAND}
    places = places_of(nodes, home_bp=15_000, events=events)
    shape = {"nodes": 7, "validators": 1, "k": 1, "n": 1, "districts": 1}
    with City.local(places=places, clock=Steady(), **shape) as city:
        ids = {info.index: info.id for info in city.nodes()}
        listed = city.candidates(city.send(b"x").manifest.selection.candidates_root)
        weight = {node: given for (node, *_), given in zip(listed.items, listed.weights, strict=True)}
        # Four at home of grade 3, one at the event; one that cannot have answered in 5 µs, one that says nothing.
        once = 65_536
        expected = {0: 3 * once, 1: 3 * once, 2: 3 * once, 3: 3 * once, 4: 6 * once, 5: once // 2, 6: once // 4}
        assert {at: weight[ids[at]] for at in range(7)} == expected
        sender = records.Identity(b"\x07" * 32)
        epoch = records.Epoch.first("fixed", bytes(32), dpos.ValidatorSet(0, [(sender.id, 1)]))
        fixed = [(bytes([at]) * 32, part, "d") for at, part in expected.items()]
        drawn = 40_000
        draws = records.Draw(sender, epoch).select_many(
            records.Candidates(epoch.network, "fixed", fixed), sender.id, range(drawn), 1
        )
        counts = Counter(selection.nodes[0] for selection in draws)
        total = sum(part for _, part, _ in fixed)
        chi = sum((counts[node] - drawn * part / total) ** 2 / (drawn * part / total) for node, part, _ in fixed)
        assert chi < 22.46, counts  # the 0.999 quantile with six degrees of freedom


def test_a_place_on_the_other_side_of_the_world_is_contradicted_by_its_echo():
    with small(places_of({0: UTRECHT, 1: UTRECHT, 2: UTRECHT, 3: AUCKLAND}), clock=Steady()) as city:
        assert grades_of(city, city.send(b"x")) == {0: 3, 1: 3, 2: 3, 3: 1, 4: 0}


def test_an_echo_that_takes_long_lowers_the_grade(tmp_path):
    places = places_of(dict.fromkeys(range(5), UTRECHT), rtt_us_max=400_000)
    with small(places, path=tmp_path / "city.db") as city:
        far = city.nodes()[4].address
    transport = InProcessTransport()
    transport.set_fault(far, Fault(latency_ms=500))
    with small(None, path=tmp_path / "city.db", transport=transport) as city:
        grades = grades_of(city, city.send(b"x"))
        assert grades[4] == 2
        assert [grades[at] for at in range(4)] == [3, 3, 3, 3]


def test_nodes_under_the_least_grade_are_not_chosen():
    places = places_of(dict.fromkeys(range(4), UTRECHT), grade_min=2)
    with City.local(nodes=6, validators=1, k=2, n=4, places=places, clock=Steady()) as city:
        ids = {info.index: info.id for info in city.nodes()}
        for at in range(20):
            assert {ids[4], ids[5]}.isdisjoint(city.send(b"%d" % at).manifest.selection.nodes)
    places = places_of(dict.fromkeys(range(3), UTRECHT), grade_min=3, needed=3)
    city = City.local(nodes=6, validators=1, k=2, n=4, places=places, clock=Steady())
    with city, pytest.raises(UnavailableError, match="0 holders"):  # nobody has three witnesses
        city.send(b"x")


class Forging:
    """A city, and the keys of its nodes, with which records are made that they would not make."""

    def __init__(self, **changes) -> None:
        self.storage, self.presence = MemoryStorage(), MemoryPresence()
        self.city = small(
            places_of(dict.fromkeys(range(5), UTRECHT), **changes),
            storage=self.storage,
            presence=self.presence,
            clock=(clock := Steady()),
        )
        self.clock = clock
        (master,) = self.storage.get_many([b"cmaster"])
        self.nodes = [node_identity(master, at) for at in range(5)]

    def record(self, at: int) -> records.NodeRecord:
        page = self.presence.list(self.clock.monotonic(), "city")
        (entry,) = (entry for entry in page.entries if entry.node == self.nodes[at].id)
        return records.NodeRecord.from_bytes(entry.record)

    def log_in(self, at: int, place: records.PlaceAttestation | None) -> None:
        """Logs a node in anew, with a place of the forger's choice."""
        old = self.record(at)
        same = ("network", "region", "domain", "address", "roles", "weight", "stake", "hlc")
        terms = {name: getattr(old, name) for name in same}
        record = records.NodeRecord(self.nodes[at], **terms, sequence=old.sequence + 1, place=place)
        entry = PresenceEntry(record.node, "city", record.sequence, record.to_bytes())
        self.presence.register(self.clock.monotonic(), entry, ttl=3600.0)

    def claim(self, at: int, nonce: bytes, place=UTRECHT) -> records.PlaceClaim:
        municipality, lat_e7, lon_e7 = place
        return records.PlaceClaim(
            self.nodes[at],
            network=self.city.network,
            epoch=0,
            municipality=municipality,
            lat_e7=lat_e7,
            lon_e7=lon_e7,
            nonce=nonce,
            hlc=self.clock.now_ms() << 16,
        )

    def grades(self) -> dict[int, int]:
        return grades_of(self.city, self.city.send(b"x"))


@pytest.fixture
def forging():
    made = Forging()
    yield made
    made.city.close()


def test_what_a_node_makes_up_about_its_place_earns_it_nothing(forging):
    assert forging.grades() == dict.fromkeys(range(5), 3)
    own = forging.record(4).place
    assert own is not None
    stamp = forging.clock.now_ms() << 16

    def said_of(claim, *by):
        return [records.PlaceTestimony(witness, claim, 100, stamp) for witness in by]

    # A claim over a nonce that nobody gave, with testimonies of friends who are no witnesses, or of the witnesses.
    fresh = forging.claim(4, b"\x09" * 32)
    friends = [records.Identity(bytes([at]) * 32) for at in (31, 32, 33)]
    # The nonce of before, used for another claim; others' testimonies on it.
    replayed = forging.claim(4, own.claim.nonce)
    moved = forging.claim(4, own.claim.nonce, AUCKLAND)
    cases = [
        records.PlaceAttestation(fresh, []),
        records.PlaceAttestation(fresh, said_of(fresh, *friends)),
        records.PlaceAttestation(fresh, said_of(fresh, *forging.nodes[:3])),
        records.PlaceAttestation(replayed, said_of(replayed, *forging.nodes[:3])),
        records.PlaceAttestation(moved, said_of(moved, *forging.nodes[:3])),
        None,
    ]
    for case in cases:
        forging.log_in(4, case)
        assert forging.grades() == {0: 3, 1: 3, 2: 3, 3: 3, 4: 0}
    forging.log_in(4, own)  # the right one may be shown again
    assert forging.grades() == dict.fromkeys(range(5), 3)


def test_an_attestation_of_another_node_is_no_place_of_one_s_own(forging):
    theirs = forging.record(3).place
    with pytest.raises(InputError, match="another node's"):
        forging.log_in(4, theirs)


def test_witnesses_who_collude_can_give_a_grade_and_that_is_said(forging):
    """What a grade cannot show: two witnesses that lie together, on a nonce that is right, are believed."""
    grader = forging.city._city._placing._grader
    claim = forging.claim(4, grader.nonce(forging.nodes[4].id), AUCKLAND)
    stamp = forging.clock.now_ms() << 16
    lies = [records.PlaceTestimony(witness, claim, SLOW_US, stamp) for witness in forging.nodes[:2]]
    forging.log_in(4, records.PlaceAttestation(claim, lies))
    assert forging.grades()[4] == 3


def test_places_stay_with_the_city_and_are_those_that_it_was_made_with(tmp_path):
    path, places = tmp_path / "city.db", places_of(dict.fromkeys(range(5), UTRECHT))
    with small(places, path=path) as city:
        first = city.send(b"one")
    with City.open(path) as city:
        second = city.send(b"two")
        assert second.availability.grades == [(at, 3) for at in range(len(second.availability.acks))]
        for receipt in (first, second):
            listed = city.candidates(receipt.manifest.selection.candidates_root)
            records.verify_selection(receipt.manifest.to_bytes(), listed.to_bytes(), receipt.epoch.to_bytes())
        city.elect(1)
        third = city.send(b"three")
        assert third.epoch.number == 1
        assert set(third.manifest.selection.grades) == {3}
    with pytest.raises(InputError, match="other places"):
        small(places_of({0: UTRECHT}, witnesses=()), path=path)
    with pytest.raises(InputError, match="nodes \\[7\\]"):
        small(places_of({7: UTRECHT}, witnesses=()))
    with pytest.raises(TypeError, match="Places"):
        small({"home": "x"})


def test_a_city_without_places_writes_what_it_always_wrote():
    with small(None) as city:
        receipt = city.send(b"x")
        assert receipt.manifest.selection.grades == []
        assert receipt.availability.grades == []
        listed = city.candidates(receipt.manifest.selection.candidates_root)
        assert (listed.standings, listed.rules, listed.graded_at_ms) == ([], None, None)
        for part in (receipt, receipt.manifest, receipt.manifest.selection, listed):
            assert part.to_bytes()[4:6] == b"\x01\x00"
        records.verify_selection(receipt.manifest.to_bytes(), listed.to_bytes(), receipt.epoch.to_bytes())


def test_repairs_and_countersignatures_go_on_with_places():
    places = places_of(dict.fromkeys(range(8), UTRECHT))
    with City.local(nodes=8, validators=1, k=2, n=4, places=places) as city:
        receipt = city.send(b"hello")
        city.settle()
        made = city.countersign(receipt.tx_id)
        assert made.to_bytes()[4:6] == b"\x02\x00"
        records.CountersignedReceipt.from_bytes(made.to_bytes()).verify(city.trust)
        city.stop_node(dict(receipt.availability.holders)[0])
        assert city.repair().errors == {}
        assert city.receive(receipt.tx_id) == b"hello"


def test_a_node_that_has_moved_out_takes_part_with_grade_0(tmp_path):
    path = tmp_path / "city.db"
    shape = {"nodes": 5, "validators": 4, "k": 2, "n": 5}
    with City.local(path, places=places_of(dict.fromkeys(range(5), UTRECHT)), **shape) as city:
        index = city.move_out(city.nodes()[4].id, tmp_path / "node")
    with NodeHost.open([tmp_path / "node"]) as host, City.open(path, elsewhere=host.addresses) as city:
        until = time.monotonic() + 60
        while not all(info.running for info in city.nodes()) and time.monotonic() < until:
            time.sleep(0.05)
        receipt = city.send(b"hello", deadline_s=60)
        assert grades_of(city, receipt) == {at: 0 if at == index else 3 for at in range(5)}
        assert city.receive(receipt.tx_id) == b"hello"
        receipt.verify(city.trust)


def map_of(border: float) -> pop.Places:
    """Utrecht to the west of a longitude, Zeist to the east of it."""
    features = [
        {
            "type": "Feature",
            "id": name,
            "properties": None,
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[west, 52], [east, 52], [east, 52.2], [west, 52.2], [west, 52]]],
            },
        }
        for name, west, east in (("Utrecht", 5.0, border), ("Zeist", border, 5.4))
    ]
    return pop.Places.from_geojson(json.dumps({"type": "FeatureCollection", "features": features}).encode())


ZEIST = ("Zeist", 520_900_000, 52_300_000)


def checked(city: City, receipt: records.Receipt, shown, places: pop.Places | None) -> list:
    listed = city.candidates(receipt.manifest.selection.candidates_root)
    parts = receipt.manifest.to_bytes(), listed.to_bytes(), receipt.epoch.to_bytes()
    return records.verify_selection(*parts, [each.to_bytes() for each in shown], places=places)


def test_a_node_whose_point_is_not_in_its_municipality_earns_no_grade():
    forging = Forging(map=map_of(5.2))
    with forging.city as city:
        grader = city._city._placing._grader
        stamp = forging.clock.now_ms() << 16
        for lie in (("Zeist", *UTRECHT[1:]), ("Utrecht", *ZEIST[1:]), ("Utrecht", 0, 0)):
            claim = forging.claim(4, grader.nonce(forging.nodes[4].id), lie)
            said = [records.PlaceTestimony(witness, claim, SLOW_US, stamp) for witness in forging.nodes[:3]]
            shown = records.PlaceAttestation(claim, said)
            forging.log_in(4, shown)
            receipt = city.send(b"x")
            assert grades_of(city, receipt) == {0: 3, 1: 3, 2: 3, 3: 3, 4: 0}
            others = [forging.record(at).place for at in range(4)]
            assert len(checked(city, receipt, [*others, shown], map_of(5.2))) == 5
            with pytest.raises(VerificationError, match="with grade 0 by evidence"):
                checked(city, receipt, [*others, shown], None)  # whoever has no map cannot see why


def test_a_node_that_the_map_does_not_agree_with_is_not_chosen():
    forging = Forging(map=map_of(5.2), grade_min=1)
    with forging.city as city:
        grader = city._city._placing._grader
        claim = forging.claim(4, grader.nonce(forging.nodes[4].id), ("Zeist", *UTRECHT[1:]))
        assert forging.nodes[4].id in city.send(b"x").manifest.selection.nodes
        forging.log_in(4, records.PlaceAttestation(claim, []))
        selection = city.send(b"y").manifest.selection
        assert forging.nodes[4].id not in selection.nodes
        assert len(selection.nodes) == 4


def test_a_city_without_a_map_is_found_out_by_who_has_one():
    forging = Forging()
    with forging.city as city:
        grader = city._city._placing._grader
        stamp = forging.clock.now_ms() << 16
        claim = forging.claim(4, grader.nonce(forging.nodes[4].id), ("Zeist", *UTRECHT[1:]))
        said = [records.PlaceTestimony(witness, claim, SLOW_US, stamp) for witness in forging.nodes[:3]]
        shown = records.PlaceAttestation(claim, said)
        forging.log_in(4, shown)
        receipt = city.send(b"x")
        assert grades_of(city, receipt)[4] == 3
        assert len(checked(city, receipt, [shown], None)) == 5
        with pytest.raises(VerificationError, match=r"in 'Zeist' with grade 3; the map says 'Utrecht', not 'Zeist'"):
            checked(city, receipt, [shown], map_of(5.2))
        only = pop.Places.from_geojson(
            b'{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "Utrecht", "properties": null, '
            b'"geometry": {"type": "Polygon", "coordinates": [[[5, 52], [6, 52], [6, 53], [5, 53], [5, 52]]]}}]}'
        )
        with pytest.raises(VerificationError, match=r"in 'Zeist' with grade 3; the map has no such municipality"):
            checked(city, receipt, [], only)
        with pytest.raises(TypeError, match="places must be a map"):
            checked(city, receipt, [], b"map")
    with small(None) as city, pytest.raises(InputError, match="says nothing of places"):
        checked(city, city.send(b"x"), [], map_of(5.2))


def test_the_map_stays_with_the_city(tmp_path):
    path, nodes = tmp_path / "city.db", {0: UTRECHT[1:], 1: UTRECHT, 2: ZEIST[1:], 3: ZEIST}
    places = places_of(nodes, map=map_of(5.2))
    with small(places, path=path) as city:
        city.send(b"one")
    with small(places_of(dict(places.nodes), map=map_of(5.2)), path=path) as city:
        city.send(b"two")
    with City.open(path) as city:
        receipt = city.send(b"three")
        listed = city.candidates(receipt.manifest.selection.candidates_root)
        names = {node: name for (node, *_), (name, _, _) in zip(listed.items, listed.standings, strict=True)}
        assert [names[info.id] for info in city.nodes()] == ["Utrecht", "Utrecht", "Zeist", "Zeist", ""]
        assert city._city._placing._grader._places.root == map_of(5.2).root
    for other in (map_of(5.21), None):
        with pytest.raises(InputError, match="other places"):
            small(places_of(dict(places.nodes), map=other), path=path)


def test_a_map_that_is_damaged_or_another_or_gone_is_noticed():
    storage = MemoryStorage()
    made = found(storage, Settings(nodes=4, validators=1, k=2, n=4), OsEntropy(), places_of({}, (), map=map_of(5.2)))
    assert load(storage) == made
    (kept,) = storage.get_many([b"map"])
    assert kept == map_of(5.2).to_bytes()
    for wrong in (map_of(5.21).to_bytes(), kept[:-1], b"", bytes((1 << 24) + 1)):
        storage.put_many({b"map": wrong})
        with pytest.raises(StorageError, match=r"the city is damaged: .*map"):
            load(storage)
    storage.delete_many([b"map"])
    with pytest.raises(StorageError, match=r"the city is damaged: .*there is none"):
        load(storage)
