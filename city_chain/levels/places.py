"""Where a city's nodes are, whose word is believed about it, and what it is worth: a city's settings of places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import orjson

from city_chain import records
from city_chain.composer.checks import shown
from city_chain.errors import InputError
from city_chain.proofs import pop

__all__ = ["MAP", "MAP_BYTES_MAX", "PLACES", "Places"]

PLACES = b"places"
"""Where a city keeps its places."""

MAP = b"map"
"""Where a city keeps its map."""

MAP_BYTES_MAX = 1 << 24
"""Most bytes of the map that a city goes by, in its canonical form."""

_NODES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a city's nodes, fixed when it is made.

    Every node claims its own place when the city is opened, and witnesses take the time of its echo: the grade of what
    it claims follows from what they sign (see `records.PlaceRules`). The places of witnesses are known beforehand: they
    are those given here. A node without a place counts with grade 0.

    Multipliers are in basis points: 10,000 is once.

    Args:
        home: The municipality that is near, 1 to 64 bytes of UTF-8.
        nodes: Index of a node → its municipality, latitude and longitude in 1e-7 degrees; with a map latitude and
            longitude are enough.
        witnesses: The indices of the nodes that are witnesses, at most 256.
        events: (municipality, multiplier, from, until) each, in UTC epoch milliseconds, at most 256. All that are on at
            a time multiply.
        home_bp: What is near counts so much more.
        grade_bp: What the grades 0, 1, 2 and 3 are worth; it must not fall.
        grade_min: Nodes under this grade are not chosen.
        needed: How many witnesses make grade 2, and how many near ones grade 3, 1 to 16.
        rtt_us_max: How long an echo may take for a witness to count as near, microseconds; 1,000 is 150 km.
        age_ms_max: How old claims may be, milliseconds; they are renewed when a quarter of it has passed.
        map: By which a point is in a municipality, at most 16 MiB; a claim that it does not agree with counts with
            grade 0. Without one the municipality is what the claim says.

    Raises:
        InputError: A value is out of range, a witness has no place, or the map says something else.
        TypeError: A value is of another type.

    Example:
        >>> from city_chain.levels import City, Places
        >>> utrecht = {index: ("Utrecht", 520_907_000, 51_214_000) for index in range(5)}
        >>> places = Places("Utrecht", utrecht, witnesses=[0, 1, 2])
        >>> with City.local(nodes=5, validators=1, k=2, n=4, places=places) as city:
        ...     city.send(b"hello").availability.grades
        [(0, 3), (1, 3), (2, 3), (3, 3)]
    """

    home: str
    nodes: Mapping[int, tuple[str, int, int] | tuple[int, int]] = field(default_factory=dict)
    witnesses: Sequence[int] = ()
    events: Sequence[tuple[str, int, int, int]] = ()
    home_bp: int = 10_000
    grade_bp: Sequence[int] = (2_500, 5_000, 10_000, 20_000)
    grade_min: int = 0
    needed: int = 2
    rtt_us_max: int = 1_000
    age_ms_max: int = 86_400_000
    map: pop.Places | None = field(default=None, compare=False)
    map_root: bytes | None = field(default=None, init=False)
    """What stands for the map, 32 bytes; None without one."""

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, Mapping):
            raise TypeError(f"nodes must be a mapping from indices to places, not {type(self.nodes).__name__}")
        for name in ("witnesses", "events", "grade_bp"):
            value = getattr(self, name)
            if isinstance(value, str | bytes) or not isinstance(value, Sequence):
                raise TypeError(f"{name} must be a sequence, not {type(value).__name__}")
        if self.map is not None:
            if not isinstance(self.map, pop.Places):
                raise TypeError(f"map must be a map of pop, not {type(self.map).__name__}")
            object.__setattr__(self, "map_root", self.map.root)
        nodes = dict(sorted((_index(index), _place(index, place, self.map)) for index, place in self.nodes.items()))
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "witnesses", tuple(sorted(map(_index, self.witnesses))))
        object.__setattr__(self, "events", tuple(map(tuple, self.events)))
        object.__setattr__(self, "grade_bp", tuple(self.grade_bp))
        strangers = [index for index in self.witnesses if index not in nodes]
        if strangers:
            raise InputError(f"witnesses {shown(strangers)} have no place")
        if isinstance(self.grade_min, int) and self.grade_min >= 2 and len(set(self.witnesses)) < self.needed:
            count = len(set(self.witnesses))
            raise InputError(
                f"grade_min = {self.grade_min}: no node can have that grade with {count} witnesses, "
                f"{self.needed} are needed"
            )
        self.rules(lambda index: index.to_bytes(32, "big"))
        for municipality, lat_e7, lon_e7 in nodes.values():  # whether there is such a place
            records.PlaceRules(self.home, witnesses=[(bytes(32), municipality, lat_e7, lon_e7)])
        self._check_map()

    def _check_map(self) -> None:
        """Whether the map has what is named, and is small enough to be kept."""
        if self.map is None:
            return
        for name in (self.home, *(event[0] for event in self.events)):
            if self.map.position(name) is None:
                raise InputError(f"map: there is no municipality {shown(name)} on it")
        if (size := len(self.map.to_bytes())) > MAP_BYTES_MAX:
            raise InputError(f"map: {size} bytes, at most {MAP_BYTES_MAX} are kept with a city")

    def rules(self, id_of: Callable[[int], bytes]) -> records.PlaceRules:
        """The rules by which places are graded.

        Args:
            id_of: The id of a node, by its index.

        Raises:
            InputError: A value is out of range.

        Example:
            >>> Places("Utrecht", needed=3).rules(lambda index: bytes(32)).needed
            3
        """
        if len(self.grade_bp) != 4:
            raise InputError(f"grade_bp: {len(self.grade_bp)} values, 4 are needed")
        first, second, third, fourth = self.grade_bp
        return records.PlaceRules(
            self.home,
            home_bp=self.home_bp,
            grade_bp=(first, second, third, fourth),
            grade_min=self.grade_min,
            needed=self.needed,
            rtt_us_max=self.rtt_us_max,
            age_ms_max=self.age_ms_max,
            witnesses=[(id_of(index), *self.nodes[index]) for index in self.witnesses],
            events=self.events,
        )

    def of(self, index: int) -> tuple[str, int, int] | None:
        """The municipality, latitude and longitude of a node; None if it has no place.

        Args:
            index: Which node.

        Example:
            >>> Places("Utrecht", {1: ("Zeist", 0, 0)}).of(1)
            ('Zeist', 0, 0)
        """
        place = self.nodes.get(index)
        return None if place is None else _place(index, place, self.map)

    def to_json(self) -> bytes:
        """As it is kept; the map itself is kept beside it (`rows`).

        Example:
            >>> Places.from_json(Places("Utrecht", {1: ("Zeist", 0, 0)}).to_json()).nodes
            {1: ('Zeist', 0, 0)}
        """
        kept: dict[str, object] = {name: getattr(self, name) for name in _names()}
        kept["nodes"] = [[index, *place] for index, place in self.nodes.items()]
        if self.map_root is None:
            del kept["map"]
        else:
            kept["map"] = self.map_root.hex()
        return orjson.dumps(kept)

    def rows(self) -> dict[bytes, bytes]:
        """What a city keeps of it, by key.

        Example:
            >>> list(Places("Utrecht").rows())
            [b'places']
        """
        return {PLACES: self.to_json(), **({} if self.map is None else {MAP: self.map.to_bytes()})}

    @classmethod
    def from_json(cls, data: bytes | str, map: pop.Places | None = None) -> Places:
        """Reads what `to_json` wrote, or somebody by hand.

        Args:
            data: A JSON object with the arguments of this class; ``nodes`` is a list of [index, municipality, latitude,
                longitude], or with a map of [index, latitude, longitude]; ``map`` is the map's root in hex.
            map: The map that goes with it.

        Raises:
            InputError: It is none, a value is out of range, or the map is another one.
        """
        try:
            kept = orjson.loads(data)
        except ValueError as error:
            raise InputError(f"places: no JSON: {error}") from error
        if not isinstance(kept, dict) or "home" not in kept:
            raise InputError("places: a JSON object with home, the municipality that is near, is needed")
        names = _names()
        if unknown := sorted(set(kept) - set(names)):
            raise InputError(f"places: there is no {shown(unknown[0])}, only {', '.join(names)}")
        try:
            root = kept.pop("map", None)
            if root is not None and root != (None if map is None else map.root.hex()):
                given = "there is none" if map is None else f"this one is {map.root.hex()}"
                raise InputError(f"the map {shown(root)} is needed; {given}")
            return cls(**{**kept, "nodes": _nodes(kept.get("nodes", []), map is not None), "map": map})
        except (TypeError, ValueError) as error:
            raise InputError(f"places: {error}") from error


def _names() -> list[str]:
    return [each.name for each in fields(Places) if each.init]


def _nodes(rows: object, has_map: bool) -> dict[int, tuple[object, ...]]:
    """The nodes as JSON has them: [index, municipality, latitude, longitude] each; a map may say the municipality."""
    lengths = (3, 4) if has_map else (4,)
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) in lengths for row in rows):
        raise InputError("nodes must be a list of [index, municipality, latitude, longitude]")
    nodes: dict[int, tuple[object, ...]] = {}
    for index, *place in rows:
        if _index(index) in nodes:
            raise InputError(f"node {index} has two places")
        nodes[index] = tuple(place)
    return nodes


def _index(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"the index of a node must be an int, not {type(value).__name__}")
    if not 0 <= value < _NODES_MAX:
        raise InputError(f"node {shown(value)}: 0 to {_NODES_MAX - 1} are there")
    return value


def _place(index: int, value: object, places: pop.Places | None) -> tuple[str, int, int]:
    if places is not None and isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == 2:
        _check_point(index, *value)
        owner = places.locate_e7(value[1], value[0])
        if owner is None:
            raise InputError(f"node {index}: its point is in no municipality of the map")
        return owner, value[0], value[1]
    if not isinstance(value, Sequence) or len(value) != 3 or not isinstance(value[0], str):
        raise TypeError(f"node {index}: a place must be (municipality, latitude, longitude)")
    municipality, lat_e7, lon_e7 = value
    _check_point(index, lat_e7, lon_e7)
    if places is not None and (wrong := pop.misplaced(places, municipality, lat_e7, lon_e7)) is not None:
        raise InputError(f"node {index}: {wrong}")
    return municipality, lat_e7, lon_e7


def _check_point(index: int, lat_e7: object, lon_e7: object) -> None:
    for what, number, most in (("latitude", lat_e7, 900_000_000), ("longitude", lon_e7, 1_800_000_000)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"node {index}: {what} {shown(number)} must be an int in 1e-7 degrees: 52.1 is 521000000")
        if not -most <= number <= most:
            raise InputError(f"node {index}: {what} {number}: {-most} to {most} is allowed, in 1e-7 degrees")
