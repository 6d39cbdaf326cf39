"""PoP, Proof of Place: which municipality a point is in, and what it weighs there and then.

- `Places`: a map made of GeoJSON. A point has exactly one owner or none, the same one for everybody who has the same
  `Places.root`, on borders and corners too.
- `faults`: all that is wrong in a map, with the feature, polygon and ring that has it, as `Fault`.
- `Multipliers`: what municipalities weigh, and what events add to it while they last; integers in basis points.

Where a thing is, is what somebody says of it: a map answers for points, and not for whether a device is at one.

Example:
    >>> from city_chain.proofs import pop
    >>> text = '''{"type": "FeatureCollection", "features": [
    ...     {"type": "Feature", "id": "west", "properties": null, "geometry":
    ...         {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}},
    ...     {"type": "Feature", "id": "east", "properties": null, "geometry":
    ...         {"type": "Polygon", "coordinates": [[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]]}}]}'''
    >>> places = pop.Places.from_geojson(text.encode())
    >>> places.names, places.locate(0.5, 0.5), places.locate(1, 0.5), places.locate(2, 0.5)
    (('east', 'west'), 'west', 'east', None)
    >>> pop.Multipliers({"west": 20_000}).weight("west", 0)
    20000
"""

from city_chain._native import Fault, Multipliers, Places, faults

__all__ = ["Fault", "Multipliers", "Places", "faults"]
