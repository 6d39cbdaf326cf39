"""PoP across the boundary: maps in, names out, buffers of all kinds, threads, errors."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.errors import InputError
from city_chain.proofs import pop

pytestmark = pytest.mark.ffi

NOBODY = 0xFFFFFFFF


def feature(name: object, *polygons: list[list[list[float]]], properties: object = None) -> dict[str, object]:
    geometry = {"type": "MultiPolygon", "coordinates": list(polygons)}
    return {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}


def collection(*features: dict[str, object]) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


TWO = collection(feature("west", [box(0, 0, 1, 1)]), feature("east", [box(1, 0, 2, 1)]))
PLACES = pop.Places.from_geojson(TWO)


def numbers(found: bytes) -> list[int]:
    return list(memoryview(found).cast("I"))


def e7(degrees: float) -> int:
    """Degrees as they are written, in units of 1e-7°."""
    return round(Fraction(repr(degrees)) * 10**7)


def test_a_map_names_itself():
    assert (len(PLACES), PLACES.names) == (2, ("east", "west"))
    assert [PLACES.name(PLACES.position(name)) for name in PLACES.names] == ["east", "west"]
    assert PLACES.position("north") is None
    assert PLACES.root.hex()[:8] in repr(PLACES)
    with pytest.raises(InputError, match="has 2 municipalities"):
        PLACES.name(2)


def test_the_root_is_of_the_borders_and_not_of_the_file():
    turned = [[1, 1], [1, 0], [0, 0], [0, 1], [1, 1]]
    same = collection(feature("east", [box(1, 0, 2, 1)]), feature("west", [turned], properties={"more": 1}))
    assert pop.Places.from_geojson(same).root == PLACES.root
    assert pop.Places.from_bytes(PLACES.to_bytes()).to_bytes() == PLACES.to_bytes()
    moved = collection(feature("west", [box(0, 0, 1, 1.0000001)]), feature("east", [box(1, 0, 2, 1)]))
    assert pop.Places.from_geojson(moved).root != PLACES.root


def test_every_border_has_one_owner():
    assert [PLACES.locate(*point) for point in ((0, 0), (0.5, 0.5), (1, 0), (1, 0.5), (1, 1), (2, 0.5), (0.5, 1))] == [
        "west",
        "west",
        "east",
        "east",
        None,
        None,
        None,
    ]
    assert PLACES.locate_e7(10_000_000, 5_000_000) == PLACES.locate(1.0, 0.5)


@pytest.mark.parametrize(
    ("lon", "lat"), [(180.1, 0), (0, -90.1), (float("nan"), 0), (0, float("inf")), (-1e308, 0), (0, 1e400)]
)
def test_what_is_not_on_the_globe_is_refused(lon, lat):
    with pytest.raises(InputError, match="not on the globe"):
        PLACES.locate(lon, lat)
    with pytest.raises(InputError, match=r"points\[1\]: not on the globe"):
        PLACES.locate_many(array("d", [0, 0, lon, lat]))


def test_buffers_of_all_kinds():
    degrees, units = array("d", [0.5, 0.5, 1.5, 0.5, 9, 9]), array("i", [5_000_000, 5_000_000])
    expected = [1, 0, NOBODY]
    assert numbers(PLACES.locate_many(degrees)) == expected
    assert numbers(PLACES.locate_many(degrees.tobytes())) == expected
    assert numbers(PLACES.locate_many(bytearray(degrees.tobytes()), unit="degrees")) == expected
    assert numbers(PLACES.locate_many(memoryview(degrees).cast("B"))) == expected
    assert numbers(PLACES.locate_many(memoryview(degrees).cast("B").cast("d", (3, 2)))) == expected
    assert numbers(PLACES.locate_many(units)) == numbers(PLACES.locate_many(units.tobytes(), unit="e7")) == [1]
    assert PLACES.locate_many(b"") == PLACES.locate_many(array("d")) == b""
    for wrong, words in (
        (b"x" * 15, "15 bytes"),
        (array("d", [1, 2, 3]), "24 bytes"),
        (memoryview(degrees)[::2], "gaps"),
    ):
        with pytest.raises(InputError, match=words):
            PLACES.locate_many(wrong)
    with pytest.raises(InputError, match="not in the unit"):
        PLACES.locate_many(degrees, unit="e7")
    with pytest.raises(InputError, match="unit"):
        PLACES.locate_many(b"", unit="miles")
    for wrong in (array("f", [1, 2]), array("Q", [1, 2]), [0.5, 0.5], "text"):
        with pytest.raises(TypeError, match="points"):
            PLACES.locate_many(wrong)


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), max_size=50))
def test_batches_and_single_calls_agree(points):
    found = numbers(PLACES.locate_many(array("d", [value for point in points for value in point])))
    names = [None if number == NOBODY else PLACES.name(number) for number in found]
    assert names == [PLACES.locate(*point) for point in points]


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 4000), min_size=2, max_size=8, unique=True),
    st.lists(st.integers(1, 4000), min_size=2, max_size=8, unique=True),
    st.randoms(use_true_random=False),
)
def test_a_grid_of_boxes_is_answered_by_comparison(columns, rows, chance):
    xs, ys = ([Fraction(value, 1000) for value in sorted(line)] for line in (columns, rows))
    cells = [(x, y) for x in range(len(xs) - 1) for y in range(len(ys) - 1)]
    made = [feature(f"{x}-{y}", [box(*map(float, (xs[x], ys[y], xs[x + 1], ys[y + 1])))]) for x, y in cells]
    chance.shuffle(made)
    places = pop.Places.from_geojson(collection(*made))
    probes = [(x + dx, y + dy) for x in xs for y in ys for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    for x, y in [(Fraction(x), Fraction(y)) for x, y in probes]:
        inside = [f"{a}-{b}" for a, b in cells if xs[a] <= x < xs[a + 1] and ys[b] <= y < ys[b + 1]]
        assert [places.locate(float(x), float(y))] == (inside or [None])


def test_faults_name_their_ring():
    data = collection(
        feature("good", [box(0, 0, 1, 1)]),
        feature("bad", [box(0, 0, 9, 9), [[1, 1], [4, 4], [4, 1], [1, 3], [1, 1]]]),
        feature("thin", [box(3, 3, 4, 4), [[3.5, 3.5], [3.6, 3.6], [3.5, 3.5], [3.5, 3.5]]]),
    )
    first, second = pop.faults(data)
    assert (first.feature, first.name, first.polygon, first.ring) == (1, "bad", 0, 1)
    assert "crosses itself" in first.what
    assert str(second).startswith('feature 2 ("thin"), polygon 0, ring 1: fewer than four points')
    assert repr(second) == f"<Fault: {second}>"
    with pytest.raises(InputError, match=r'feature 1 \("bad"\), polygon 0, ring 1: .* \(and 1 more fault'):
        pop.Places.from_geojson(data)
    assert pop.Places.from_geojson(data, leave_out="rings").names == ("good", "thin")
    assert pop.Places.from_geojson(data, leave_out="features").names == ("good",)
    with pytest.raises(InputError, match="none of"):
        pop.Places.from_geojson(data, leave_out="all")
    assert pop.faults(TWO) == []


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"1e999", b"null", b'"1"', b"[]", b"{}", b"181"])
def test_what_is_no_coordinate_names_its_ring(word):
    data = collection(feature("town", [[[0, 0], [777, 0], [1, 1], [0, 0]]])).replace(b"777", word)
    with pytest.raises(InputError, match=r'feature 0 \("town"\), polygon 0, ring 0'):
        pop.Places.from_geojson(data)


def test_names_come_from_a_property():
    data = collection(feature(1, [box(0, 0, 1, 1)], properties={"title": "Ö"}), feature(None, [box(2, 2, 3, 3)]))
    with pytest.raises(InputError, match="feature 1: no id"):
        pop.Places.from_geojson(data)
    with pytest.raises(InputError, match="no property"):
        pop.Places.from_geojson(data, name="title")
    assert pop.Places.from_geojson(data, name="title", leave_out="features").names == ("Ö",)
    assert pop.Places.from_geojson(data, leave_out="features").names == ("1",)


@given(st.binary(max_size=200))
def test_bytes_that_are_none_are_refused(noise):
    for make in (pop.Places.from_geojson, pop.Places.from_bytes, pop.Multipliers.from_bytes, pop.faults):
        with pytest.raises(InputError):
            make(noise)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_changed_bytes_are_another_map_or_none(place, change):
    data = bytearray(PLACES.to_bytes())
    data[place % len(data)] ^= change
    try:
        other = pop.Places.from_bytes(data)
    except InputError:
        return
    assert other.root != PLACES.root
    assert other.to_bytes() == data


def test_threads_share_a_map():
    chance = random.Random(1)
    points = array("d", [chance.uniform(-1, 3) for _ in range(80_000)])
    expected = PLACES.locate_many(points)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(PLACES.locate_many, [points] * 12)) == {expected}
    assert numbers(expected)[:1000] == numbers(PLACES.locate_many(points[:2000]))


@given(st.floats(-179.9999999, 179.9999999).filter(lambda x: abs((x * 1e7) % 1 - 0.5) > 1e-3))
def test_degrees_are_rounded_as_they_are_written(lon):
    places = pop.Places.from_geojson(
        collection(feature("east", [box(0, -1, 180, 1)]), feature("w", [box(-180, -1, 0, 1)]))
    )
    assert places.locate(lon, 0) == places.locate_e7(e7(lon), 0)
    packed = struct.pack("=ii", e7(lon), 0)
    assert places.locate_many(packed, unit="e7") == places.locate_many(array("d", [lon, 0]))


def test_multipliers():
    events = [("a", 15_000, 10, 20), (None, 20_000, 15, 30)]
    table = pop.Multipliers({"a": 30_000}, events)
    assert [table.weight("a", at) for at in (9, 10, 15, 20, 30)] == [30_000, 45_000, 90_000, 60_000, 30_000]
    assert table.weight("b", 15) == 20_000
    assert table.events == [events[1], events[0]]
    assert table.cities == {"a": 30_000}
    assert pop.Multipliers({"a": 30_000}, reversed(events)).root == table.root != pop.Multipliers().root
    assert pop.Multipliers.from_bytes(table.to_bytes()).events == table.events
    assert table.apply(5, "b", 15) == 10
    with pytest.raises(InputError, match="more than"):
        table.apply(2**63, "b", 15)
    with pytest.raises(InputError, match="at 5 ms"):
        pop.Multipliers(events=[("a", 10**6, 0, 9), (None, 10**6, 5, 9), (None, 10**6, 5, 8)])
    with pytest.raises(InputError, match="1000001"):
        pop.Multipliers({"a": 1_000_001})
    with pytest.raises(TypeError, match=r"events\[0\]"):
        pop.Multipliers(events=[("a", 1.5, 0, 1)])


@given(
    st.lists(
        st.tuples(st.none() | st.sampled_from("abc"), st.integers(0, 30_000), st.integers(0, 40), st.integers(41, 80)),
        max_size=8,
        unique=True,
    ),
    st.integers(0, 90),
)
def test_multipliers_are_products_in_their_order(events, at_ms):
    table = pop.Multipliers({"a": 12_345}, events)
    for name, own in (("a", 12_345), ("b", 10_000)):
        expected = own
        for where, bp, start, end in table.events:
            if where in (None, name) and start <= at_ms < end:
                expected = expected * bp // 10_000
        assert table.weight(name, at_ms) == expected


def test_the_command_line(tmp_path):
    good, bad = tmp_path / "good.geojson", tmp_path / "bad.geojson"
    good.write_bytes(TWO)
    bad.write_bytes(collection(feature("bad", [[[0, 0], [1, 0], [0, 0]]]), feature("good", [box(0, 0, 1, 1)])))

    def places(*args: object) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "city_chain.cli", "places", *map(str, args)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return ran.returncode, ran.stdout, ran.stderr

    assert places("check", good) == (0, f"2 municipalities, root {PLACES.root.hex()}\n", "")
    status, said, complaint = places("check", bad, "--json")
    assert (status, json.loads(said)["ring"], "1 fault" in complaint) == (1, 0, True)
    assert places("locate", good, "0.5", "0.5") == (0, "west\n", "")
    status, said, complaint = places("locate", good, "--", "-122.5", "47")
    assert (status, said, "in none of 2" in complaint) == (1, "", True)
    assert places("locate", bad, "0.5", "0.5")[0] == 1
    status, said, _ = places("locate", bad, "0.5", "0.5", "--leave-out", "rings", "--json")
    assert (status, json.loads(said)["municipality"]) == (0, "good")
    assert places("locate", good, "0.5")[0] == 2
