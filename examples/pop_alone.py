"""Proof of Place alone: a map of two towns, who owns a border, which map it was, and what an event is worth."""

from array import array

from city_chain.errors import InputError
from city_chain.proofs import pop

MAP = b"""{"type": "FeatureCollection", "features": [
    {"type": "Feature", "id": "west", "properties": null, "geometry": {"type": "Polygon",
        "coordinates": [[[8.0, 47.0], [8.5, 47.0], [8.5, 47.5], [8.0, 47.5], [8.0, 47.0]]]}},
    {"type": "Feature", "id": "east", "properties": null, "geometry": {"type": "Polygon",
        "coordinates": [[[8.5, 47.0], [9.0, 47.0], [9.0, 47.5], [8.5, 47.5], [8.5, 47.0]]]}}
]}"""

places = pop.Places.from_geojson(MAP)
print(f"{len(places)} municipalities, map {places.root.hex()[:16]}")
print("in the west:", places.locate(8.2, 47.2), "- on the border:", places.locate(8.5, 47.2))

points = array("d", [8.2, 47.2, 8.7, 47.2, 8.5, 47.2, 1.0, 1.0])
numbers = memoryview(places.locate_many(points)).cast("I")
names = [places.name(number) if number < len(places) else None for number in numbers]
print("many at once:", names)
assert names == ["west", "east", "east", None]

again = pop.Places.from_bytes(places.to_bytes())
assert again.root == places.root

bowtie = MAP.replace(b"[8.5, 47.5], [8.0, 47.5], [8.0, 47.0]]]", b"[8.0, 47.5], [8.6, 47.5], [8.0, 47.0]]]", 1)
for fault in pop.faults(bowtie):
    print("refused:", fault)
try:
    pop.Places.from_geojson(bowtie)
except InputError:
    print("a map with a fault is refused whole, unless what is faulty may be left out")

fair = pop.Multipliers({"west": 12_000}, [("west", 15_000, 1_000, 2_000)])
print("weights before and during the fair:", fair.weight("west", 999), fair.weight("west", 1_000))
assert fair.apply(100, "west", 1_500) == 180
