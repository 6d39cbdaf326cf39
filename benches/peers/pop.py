"""Proof of Place: which of many municipalities a point is in."""

from __future__ import annotations

import json
import math
import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import atlas

from city_chain.proofs import pop
from peers.harness import OURS, Contest, Entry, Peers, Target

TITLE = "Proof of Place"
LEFT_OUT: dict[str, str] = {}

POINTS = 1_000_000
ROUNDS = 5
NOBODY = 0xFFFFFFFF

_COLUMNS, _ROWS, _CORNERS = 41, 42, 95
"""A lattice of 1,722 municipalities with 380 corners each."""
_NEAR = 3e-7
"""Degrees from a border within which rounding to 1e-7° may change the answer."""

type Area = tuple[float, float, float, float]
type Rings = list[list[tuple[int, int]]]


def contests(peers: Peers, quick: bool) -> Iterator[Contest]:
    """A made map, then a real one."""
    made = _lattice()
    area = (5.0, 16.0, 45.0, 56.0)
    yield _contest("1,722 municipalities of 380 corners", made, area, peers, quick, POINTS // 10 if quick else POINTS)
    real = atlas.counties()
    if isinstance(real, str):
        peers.absent["us-atlas"] = real
        return
    check_counties(real)
    yield _contest("3,191 counties of us-atlas", real, (-125.0, -66.0, 24.0, 50.0), peers, quick, POINTS)


def _contest(what: str, text: bytes, area: Area, peers: Peers, quick: bool, checked: int) -> Contest:
    numpy, shapely, geopandas = (peers.find(name) for name in ("numpy", "shapely", "geopandas"))
    count = POINTS // 20 if quick else POINTS // 4
    degrees = scatter(area, count)
    places = pop.Places.from_geojson(text, leave_out="features")
    packed = degrees.tobytes()
    units = array("i", [round(value * 1e7) for value in degrees])
    target = Target(8e6, "rate")
    entries = [Entry(f"{OURS}: locate_many, f64", lambda _: places.locate_many(packed), count, target=target)]
    entries.append(Entry(f"{OURS}: locate_many, i32", lambda _: places.locate_many(units), count, target=target))
    if numpy is not None and shapely is not None:
        theirs = _Shapely(numpy, shapely, text, places, degrees)
        entries += theirs.entries(count)
        if geopandas is not None:
            entries.append(theirs.frames(geopandas, count))

    def check() -> None:
        check_bytes(places)
        if numpy is not None and shapely is not None:
            every = scatter(area, checked, seed=7)
            _Shapely(numpy, shapely, text, places, every).check()

    return Contest(f"{what}, points", entries, check, rounds=ROUNDS, why="see the algorithm's page")


def scatter(area: Area, count: int, seed: int = 1) -> array[float]:
    """Points of an area at random, longitude and latitude in turn."""
    west, east, south, north = area
    chance = random.Random(seed).random
    points = array("d", bytes(16 * count))
    for at in range(0, 2 * count, 2):
        points[at], points[at + 1] = west + chance() * (east - west), south + chance() * (north - south)
    return points


def _lattice() -> bytes:
    """A map whose borders are ragged and shared."""
    chance = random.Random(5)
    side = 11 / _ROWS

    def line(start: tuple[float, float], is_flat: bool) -> list[tuple[float, float]]:
        made = []
        for at in range(_CORNERS):
            along = at / _CORNERS
            off = 0.15 * side * math.sin(math.pi * along) * chance.uniform(-1, 1)
            step = (along * side, off) if is_flat else (off, along * side)
            made.append((round(start[0] + step[0], 7), round(start[1] + step[1], 7)))
        return made

    def corner(column: int, row: int) -> tuple[float, float]:
        return 5 + column * side, 45 + row * side

    flat = {(c, r): line(corner(c, r), True) for c in range(_COLUMNS) for r in range(_ROWS + 1)}
    upright = {(c, r): line(corner(c, r), False) for c in range(_COLUMNS + 1) for r in range(_ROWS)}
    ends = {key: line[0] for key, line in [*flat.items(), *upright.items()]}
    ends[_COLUMNS, _ROWS] = tuple(round(value, 7) for value in corner(_COLUMNS, _ROWS))

    def back(made: list[tuple[float, float]], end: tuple[float, float]) -> list[tuple[float, float]]:
        return [end, *reversed(made[1:])]

    features = []
    for column in range(_COLUMNS):
        for row in range(_ROWS):
            ring = [*flat[column, row], *upright[column + 1, row]]
            ring += back(flat[column, row + 1], ends[column + 1, row + 1])
            ring += back(upright[column, row], ends[column, row + 1])
            geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
            features.append(
                {"type": "Feature", "id": f"{column:02}-{row:02}", "properties": None, "geometry": geometry}
            )
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


class _Shapely:
    """The same map and points in shapely's objects, which are made before anything is timed."""

    def __init__(self, numpy: Any, shapely: Any, text: bytes, places: pop.Places, degrees: array[float]) -> None:
        self.numpy, self.shapely, self.places, self.degrees = numpy, shapely, places, degrees
        wanted = {feature["id"]: feature["geometry"] for feature in json.loads(text)["features"]}
        self.shapes = numpy.array([shapely.geometry.shape(wanted[name]) for name in places.names])
        self.x, self.y = numpy.frombuffer(degrees).reshape(-1, 2).T.copy()
        self.points = shapely.points(self.x, self.y)
        self.tree = shapely.STRtree(self.shapes)

    def entries(self, count: int) -> list[Entry]:
        """Three ways to ask."""
        self.shapely.prepare(self.shapes)
        return [
            Entry("shapely: STRtree.query(points, intersects)", lambda _: self._query(), count),
            Entry("shapely: STRtree, prepared, contains_xy", lambda _: self._prepared(), count),
            Entry("shapely: STRtree of the points, contains", lambda _: self._turned(), count, note="tree included"),
        ]

    def frames(self, geopandas: Any, count: int) -> Entry:
        """A spatial join."""
        shapes = geopandas.GeoDataFrame(geometry=self.shapes)
        points = geopandas.GeoDataFrame(geometry=self.points)
        return Entry(
            "geopandas: sjoin(within)",
            lambda _: geopandas.sjoin(points, shapes, how="left", predicate="within"),
            count,
        )

    def _query(self) -> Any:
        return self.tree.query(self.points, predicate="intersects")

    def _prepared(self) -> Any:
        points, shapes = self.tree.query(self.points)
        inside = self.shapely.contains_xy(self.shapes[shapes], self.x[points], self.y[points])
        return points[inside], shapes[inside]

    def _turned(self) -> Any:
        return self.shapely.STRtree(self.points).query(self.shapes, predicate="contains")

    def check(self) -> None:
        """Away from borders the answers are exactly shapely's."""
        numpy = self.numpy
        ours = numpy.frombuffer(self.places.locate_many(self.degrees), dtype=numpy.uint32)
        theirs = numpy.full(len(ours), NOBODY, dtype=numpy.uint32)
        points, shapes = self._query()
        numpy.minimum.at(theirs, points, shapes.astype(numpy.uint32))
        [differ] = numpy.nonzero(ours != theirs)
        for at in differ:
            found = [number for number in (ours[at], theirs[at]) if number != NOBODY]
            borders = [self.shapely.boundary(self.shapes[number]) for number in found]
            near = min(self.shapely.distance(border, self.points[at]) for border in borders)
            assert near < _NEAR, f"{self.points[at]}: {ours[at]} and not {theirs[at]}, {near} from a border"
        assert len(differ) < len(ours) // 10_000, f"{len(differ)} of {len(ours)} differ, all of them at a border"


def check_bytes(places: pop.Places) -> None:
    """A map is the same from its bytes."""
    again = pop.Places.from_bytes(places.to_bytes())
    assert (again.root, again.names) == (places.root, places.names)


def check_counties(text: bytes) -> None:
    """us-atlas: 22 rings of fewer than four points are refused by name; every shared border has exactly one owner."""
    faults = pop.faults(text)
    short = [fault for fault in faults if "fewer than four points" in fault.what]
    assert len(short) == 22
    assert all(fault.name and fault.ring is not None for fault in faults)
    collection = json.loads(text)
    assert len(collection["features"]) == 3231
    places = pop.Places.from_geojson(text, leave_out="features")
    assert len(places) == 3231 - len({fault.feature for fault in faults})
    collection["features"].reverse()
    turned = pop.Places.from_geojson(json.dumps(collection).encode(), leave_out="features")
    assert turned.root == places.root
    rings = {feature["id"]: list(_rings(feature["geometry"])) for feature in collection["features"]}
    check_borders(places, {name: rings[name] for name in places.names})


def _rings(geometry: dict[str, Any]) -> Iterator[list[tuple[int, int]]]:
    coordinates = geometry["coordinates"]
    for polygon in [coordinates] if geometry["type"] == "Polygon" else coordinates:
        for ring in polygon:
            yield [(round(lon * 1e7), round(lat * 1e7)) for lon, lat in ring]


def check_borders(places: pop.Places, rings: dict[str, Rings]) -> None:
    """Each corner around which all is owned, and each middle of a shared edge, belongs to one of those that meet there.

    And by exactly one of them: the rings of all are asked by an exact rule that is written down here once more.
    """
    owners: defaultdict[frozenset[tuple[int, int]], list[str]] = defaultdict(list)
    for name, of_name in rings.items():
        for ring in of_name:
            for start, end in pairwise(ring):
                if start != end:
                    owners[frozenset((start, end))].append(name)
    meeting: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    open_corners: set[tuple[int, int]] = set()
    asked: dict[tuple[int, int], set[str]] = {}
    for edge, names in owners.items():
        (ax, ay), (bx, by) = edge
        is_shared = len(set(names)) == len(names) == 2
        for corner in edge:
            meeting[corner] |= set(names)
            if not is_shared:
                open_corners.add(corner)
        if is_shared and (ax + bx) % 2 == (ay + by) % 2 == 0:
            asked[(ax + bx) // 2, (ay + by) // 2] = set(names)
    middles = len(asked)
    asked |= {corner: names for corner, names in meeting.items() if corner not in open_corners}
    assert min(middles, len(asked) - middles) > 1000
    packed = array("i", [value for point in asked for value in point])
    found = memoryview(places.locate_many(packed)).cast("I")
    claims: Counter[int] = Counter()
    for (point, names), number in zip(asked.items(), found, strict=True):
        assert number != NOBODY, f"{point} is nobody's"
        assert places.name(number) in names, f"{point} is {places.name(number)}'s, and lies between {names}"
        holding = [name for name in names if holds(rings[name], point)]
        claims[len(holding)] += 1
        assert holding == [places.name(number)], f"{point} is held by {holding}"
    assert set(claims) == {1}


def holds(rings: Rings, point: tuple[int, int]) -> bool:
    """Whether the spot just east and, far less, north of a point is in rings; Python's integers are exact."""
    x, y = point
    is_in = False
    for ring in rings:
        for (ax, ay), (bx, by) in pairwise(ring):
            if (ay > y) != (by > y):
                cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                is_in ^= cross <= 0 if by > y else cross >= 0
    return is_in
