"""What a city is made of, as its storage keeps it: settings, secrets, the epoch.

=============  ====================================================================
key            value
=============  ====================================================================
``settings``   the settings (JSON)
``master``     32 secret bytes that all keys of the city come from
``epoch``      the first epoch
``places``     the settings of places (JSON); none where they do not count
``map``        the map by which a point is in a municipality; none where claims say it
``o`` number   the handover to a later epoch (see `keys`, also for ``k``, ``g``, ``z``)
``x`` node     present while the node is stopped
``a`` index    present when the node was moved out: where it answers, as far as known
``t`` …        evidence of double signing that nodes elsewhere told (see `misbehaviour`)
``w``          not a city's: what a process of nodes keeps begins with it (see `node_host`)
=============  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import orjson

from city_chain import records
from city_chain.composer.checks import shown
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels.places import MAP, MAP_BYTES_MAX, PLACES, Places
from city_chain.node import ENGINES
from city_chain.ports import Entropy, Storage
from city_chain.proofs import dpos, poh, pop

__all__ = [
    "DEFAULT_ENGINE",
    "NODES_MAX",
    "NODE_LABEL",
    "STAKE",
    "VERSION",
    "Founding",
    "Places",
    "Settings",
    "domain_of",
    "elsewhere_key",
    "follow",
    "found",
    "founder",
    "load",
    "load_or_found",
    "located",
    "node_identity",
    "sender_identity",
]

DEFAULT_ENGINE = "hotstuff"
"""The commit engine of a city that is made without naming one."""

VERSION = 2
"""The version of what is kept; one that is higher belongs to a newer city-chain. Without places it is 1."""

NODES_MAX = 1024
"""The most nodes of an embedded city."""

NODE_LABEL = b"node"
"""What a node's keys are derived for from the master seed."""

_DELEGATES_MAX = 128
_SUITES = ("x-wing", "sntrup761-x25519")
STAKE = 1
"""The stake of every node of an embedded city."""

_HOSTED = "this is what a process of nodes keeps, and no city; city-chain validator opens it"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an embedded city, fixed when it is made.

    Args:
        name: The city's name, which is its region's: 1 to 64 bytes of UTF-8.
        nodes: How many nodes there are, 1 to 1024.
        validators: How many of them are elected delegates, 1 to 128.
        k: Fragments that restore a transaction.
        n: Fragments there are; k ≤ n ≤ 1024, and enough nodes for the write quorum.
        districts: Failure domains that the nodes are spread over.
        engine: The commit engine, ``"hotstuff"``, ``"abba"`` or ``"dpos"``.
        session: The KEM suite of the nodes' keys, to which senders seal: ``"x-wing"`` or ``"sntrup761-x25519"``.

    Raises:
        InputError: A value is out of range.
        TypeError: A value is of another type.
    """

    name: str = "city"
    nodes: int = 20
    validators: int = 4
    k: int = 6
    n: int = 10
    districts: int = 3
    engine: str = DEFAULT_ENGINE
    session: str = "x-wing"

    def __post_init__(self) -> None:
        for each in fields(self):
            value, kind = getattr(self, each.name), str if each.name in ("name", "engine", "session") else int
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{each.name} must be {kind.__name__}, not {type(value).__name__}")
        if not 1 <= len(self.name.encode(errors="replace")) <= 64 or not self.name.isprintable():
            raise InputError(f"name: {shown(self.name)}; 1 to 64 printable bytes are needed")
        for name, most in (("nodes", NODES_MAX), ("validators", _DELEGATES_MAX), ("districts", NODES_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"{name} = {shown(getattr(self, name))}: 1 to {most} is allowed")
        if self.validators > self.nodes:
            raise InputError(f"validators = {shown(self.validators)}: there are only {self.nodes} nodes")
        if not 1 <= self.k <= self.n <= NODES_MAX:
            raise InputError(f"k = {shown(self.k)}, n = {shown(self.n)}: 1 ≤ k ≤ n ≤ {NODES_MAX} is needed")
        quorum = poh.write_quorum(self.k, self.n)
        if self.nodes < quorum:
            raise InputError(
                f"nodes = {self.nodes}: ({self.k}, {self.n}) needs acks of {quorum} nodes for every transaction"
            )
        if self.engine not in ENGINES:
            raise InputError(f"engine = {shown(self.engine)}: this version has {', '.join(ENGINES)}")
        if self.session not in _SUITES:
            raise InputError(f"session = {shown(self.session)}: this version has {', '.join(_SUITES)}")


@dataclass(frozen=True, slots=True)
class Founding:
    """A city as its storage keeps it. `repr` shows no secret."""

    settings: Settings
    master: bytes
    epoch: records.Epoch
    stopped: frozenset[bytes]
    earlier: tuple[records.Epoch, ...] = ()
    begins: tuple[int, bytes] | None = None
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    places: Places | None = None

    def __repr__(self) -> str:
        return f"Founding({self.settings!r}, network={self.epoch.network.hex()[:16]}…)"


def domain_of(settings: Settings, index: int) -> str:
    """The failure domain of a city's node.

    Args:
        settings: The city's.
        index: Which node, from 0.

    Example:
        >>> domain_of(Settings(districts=3), 4)
        'district 2'
    """
    return f"district {index % settings.districts + 1}"


def elsewhere_key(index: int) -> bytes:
    """Where it is kept that a node was moved out.

    Example:
        >>> elsewhere_key(1).hex()
        '6100000001'
    """
    return b"a" + index.to_bytes(4, "big")


def node_identity(master: bytes, index: int) -> records.Identity:
    """The keys of a city's node.

    Args:
        master: The city's master seed, 32 bytes.
        index: Which node, from 0.
    """
    return records.Identity.child(master, NODE_LABEL, index)


def sender_identity(master: bytes) -> records.Identity:
    """The keys that a city sends with.

    Args:
        master: The city's master seed, 32 bytes.
    """
    return records.Identity.child(master, b"sender", 0)


def found(storage: Storage, settings: Settings, entropy: Entropy, places: Places | None = None) -> Founding:
    """Makes a new city in an empty storage: draws its secrets and elects its delegates.

    Raises:
        StorageError: There is a city already.
        InputError: A place is of a node that there is not.
    """
    _check_places(settings, places)
    master = entropy.bytes(32)
    stakes = [(node_identity(master, index).id, STAKE) for index in range(settings.nodes)]
    validators = dpos.elect(0, stakes, [], settings.validators)
    epoch = records.Epoch.first(settings.name, entropy.bytes(32), validators)
    version = 1 if places is None else VERSION
    row = orjson.dumps({"version": version, **asdict(settings), **_prints(master, epoch)})
    kept, hosted = storage.get_many([b"settings", b"w"])
    if kept is not None:
        raise StorageError("there is a city here already; open it instead")
    if hosted is not None:
        raise StorageError(_HOSTED)
    placed = {} if places is None else places.rows()
    storage.put_many({b"settings": row, b"master": master, b"epoch": epoch.to_bytes(), **placed})
    return Founding(settings, master, epoch, frozenset(), places=places)


def _check_places(settings: Settings, places: Places | None) -> None:
    if places is not None and not isinstance(places, Places):
        raise TypeError(f"places must be Places, not {type(places).__name__}")
    strangers = [] if places is None else [index for index in places.nodes if index >= settings.nodes]
    if strangers:
        raise InputError(f"places: nodes {shown(strangers)} of a city that has {settings.nodes}")


def _prints(master: bytes, epoch: records.Epoch) -> dict[str, str]:
    """Public things by which damage to the secrets or the epoch shows."""
    return {"sender": sender_identity(master).id.hex(), "epoch": epoch.root.hex()}


def load(storage: Storage) -> Founding | None:
    """Reads the city of a storage; None if there is none.

    Raises:
        StorageError: It is of a newer version, or damaged.
    """
    row, master, epoch, hosted, placed = storage.get_many([b"settings", b"master", b"epoch", b"w", PLACES])
    if row is None:
        if hosted is not None:
            raise StorageError(_HOSTED)
        return None
    try:
        kept = orjson.loads(row)
        version = int(kept.pop("version"))
        if version > VERSION:
            raise StorageError(
                f"the city is of version {version}; this city-chain knows up to {VERSION}: use a newer city-chain"
            )
        if master is None or epoch is None or len(master) != 32:
            raise StorageError("the city is damaged: its keys or its epoch are missing")
        stopped = frozenset(key[1:] for key, _ in storage.scan(b"x"))
        first = records.Epoch.from_bytes(epoch)
        for what, right in _prints(master, first).items():
            if kept.pop(what) != right:
                raise StorageError(f"the city is damaged: its {what} is not the one that it was made with")
        current, earlier, begins = follow(first, [row for _, row in storage.scan(b"o")])
        moved = {int.from_bytes(key[1:], "big"): row.decode() for key, row in storage.scan(b"a") if len(key) == 5}
        if (placed is not None) != (version > 1):
            raise StorageError("the city is damaged: its places are not those that it was made with")
        places = None if placed is None else _placed(storage, placed)
        return Founding(Settings(**kept), master, current, stopped, earlier, begins, moved, places)
    except (InputError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise StorageError(f"the city is damaged: {error}") from error


def _placed(storage: Storage, row: bytes) -> Places:
    """The places that are kept, with their map if they name one."""
    if "map" not in orjson.loads(row):
        return Places.from_json(row)
    (kept,) = storage.get_many([MAP])
    if kept is not None and len(kept) > MAP_BYTES_MAX:
        raise InputError(f"map: {len(kept)} bytes, at most {MAP_BYTES_MAX} are kept")
    return Places.from_json(row, None if kept is None else pop.Places.from_bytes(kept))


def founder(
    settings: Settings, places: Places | None, *, is_new: bool = False, keeps_engine: bool = False
) -> Callable[[Storage, Entropy], Founding]:
    """What founds a city with these settings, or reads the one that is there.

    Args:
        settings: What it is made with, or must have been made with.
        places: Where its nodes are; None where that does not count, and for a city that is there.
        is_new: Whether there must be none yet.
        keeps_engine: Whether a city that is there may have been made with another engine.

    Raises:
        InputError: A place is of a node that there is not.

    Example:
        >>> founder(Settings(nodes=4, validators=1, k=2, n=4), Places("Utrecht", {9: ("Utrecht", 0, 0)}))
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: places: nodes [9] of a city that has 4
    """
    _check_places(settings, places)
    if is_new:
        return lambda storage, entropy: found(storage, settings, entropy, places)
    return lambda storage, entropy: load_or_found(settings, keeps_engine, places, storage, entropy)


def load_or_found(
    settings: Settings, keeps_engine: bool, places: Places | None, storage: Storage, entropy: Entropy
) -> Founding:
    """The city of a storage; a new one if there is none.

    Args:
        settings: What it must have been made with, or is made with.
        keeps_engine: Whether a city that is there may have been made with another engine.
        places: Where its nodes are; None where that does not count, and for a city that is there.
        storage: Where it is, or will be.
        entropy: Where the secrets of a new one come from.

    Raises:
        InputError: The city that is there was made with other settings.
        StorageError: It is of a newer version, or damaged.
    """
    there = load(storage)
    if there is None:
        return found(storage, settings, entropy, places)
    wanted = replace(settings, engine=there.settings.engine) if keeps_engine else settings
    if there.settings != wanted:
        raise InputError(f"the city that is there has {there.settings}, not {wanted}; open it with City.open")
    if places is not None and there.places != places:
        raise InputError("the city that is there has other places; open it with City.open")
    return there


def located(storage: Storage, city: Founding, addresses: Mapping[int, str]) -> Founding:
    """The city with other addresses for some of the nodes that were moved out; they are kept.

    Args:
        storage: Where the city is kept.
        city: What it is.
        addresses: Where nodes answer, by index.

    Raises:
        InputError: A node was not moved out.
    """
    strangers = sorted(addresses.keys() - city.elsewhere.keys())
    if strangers:
        raise InputError(f"elsewhere: nodes {shown(strangers)} were not moved out of this city; see City.move_out")
    changed = {index: where for index, where in addresses.items() if city.elsewhere[index] != where}
    if changed:
        storage.put_many({elsewhere_key(index): where.encode() for index, where in changed.items()})
    return replace(city, elsewhere={**city.elsewhere, **changed})


def follow(
    first: records.Epoch, rows: Sequence[bytes]
) -> tuple[records.Epoch, tuple[records.Epoch, ...], tuple[int, bytes] | None]:
    """The epoch in force, those before it, and where it begins: by the chain of handovers, each certified.

    Args:
        first: The first epoch.
        rows: The handovers, in their order.

    Raises:
        StorageError: One is damaged or not certified.
    """
    epoch, earlier, begins = first, [], None
    for row in rows:
        try:
            handover = records.Handover.from_bytes(row)
            handover.verify(epoch)
        except CityChainError as error:
            raise StorageError(f"the city is damaged: the handover after epoch {epoch.number}: {error}") from error
        earlier.append(epoch)
        election = handover.election
        epoch, begins = election.next, (election.height, election.tip)
    return epoch, tuple(earlier), begins
