"""PoP, Proof of Place: which municipality a point is in, and what it weighs there and then.

- `Places`: a map made of GeoJSON. A point has exactly one owner or none, the same one for everybody who has the same
  `Places.root`, on borders and corners too.
- `faults`: all that is wrong in a map, with the feature, polygon and ring that has it, as `Fault`.
- `misplaced`: what a map says against a municipality that is claimed for a point.
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

__all__ = ["Fault", "Multipliers", "Places", "faults", "misplaced"]


def misplaced(places: Places, municipality: str, lat_e7: int, lon_e7: int) -> str | None:
    """Whether a map gives a point to another municipality than the one that is said.

    Args:
        places: The map.
        municipality: Where the point is said to be.
        lat_e7: Latitude, units of 1e-7°, −900,000,000 to 900,000,000.
        lon_e7: Longitude, units of 1e-7°, −1,800,000,000 to 1,800,000,000.

    Returns:
        What the map says instead; None if it says the same.

    Raises:
        InputError: The point is not on the globe.
        TypeError: A value is of another type.

    Example:
        >>> from city_chain.proofs import pop
        >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
        >>> town = {"type": "Feature", "id": "town", "properties": None, "geometry": square}
        >>> import json
        >>> map = pop.Places.from_geojson(json.dumps({"type": "FeatureCollection", "features": [town]}).encode())
        >>> pop.misplaced(map, "town", 5_000_000, 5_000_000)
        >>> pop.misplaced(map, "west", 5_000_000, 5_000_000)
        "the map says 'town', not 'west'"
        >>> pop.misplaced(map, "west", 50_000_000, 0)
        "the map says nobody, not 'west'"
    """
    if not isinstance(places, Places):
        raise TypeError(f"places must be a map of pop, not {type(places).__name__}")
    if not isinstance(municipality, str):
        raise TypeError(f"municipality must be str, not {type(municipality).__name__}")
    owner = places.locate_e7(lon_e7, lat_e7)
    if owner == municipality:
        return None
    return f"the map says {'nobody' if owner is None else repr(owner)}, not {municipality!r}"
