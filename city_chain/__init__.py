"""city-chain: durable, verifiable, Byzantine-fault-tolerant dispersal and commitment of transactions in your process.

A city disperses, commits, restores and proves transactions: `City.local(path="city.db")`. The algorithms are usable
alone, as `from city_chain import abba, cbf, ec, hs, hvp, rvh, sc, tes, tnh, vrf` and as `from city_chain.proofs
import dpos, poh, pop`. What is named here loads when it is first used, so importing the package alone takes a few
milliseconds.
"""

from city_chain import errors

TYPE_CHECKING = False  # type checkers know the name; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from city_chain.algorithms import abba, cbf, ec, hs, hvp, rvh, sc, tes, tnh, vrf
    from city_chain.levels import City, World
    from city_chain.records import Receipt, Transaction, Trust

__all__ = [
    "City",
    "Receipt",
    "Transaction",
    "Trust",
    "World",
    "__version__",
    "abba",
    "cbf",
    "ec",
    "errors",
    "hs",
    "hvp",
    "rvh",
    "sc",
    "tes",
    "tnh",
    "vrf",
]

__version__: str

# Public name -> the module that it is, or that it is in.
_ALONE = ("abba", "cbf", "ec", "hs", "hvp", "rvh", "sc", "tes", "tnh", "vrf")
_MODULES = {name: f"city_chain.algorithms.{name}" for name in _ALONE}
_MEMBERS = {
    "City": "city_chain.levels",
    "Receipt": "city_chain.records",
    "Transaction": "city_chain.records",
    "Trust": "city_chain.records",
    "World": "city_chain.levels",
    "__version__": "city_chain._native",
}


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 — needed only here

    if name in _MODULES:
        found: object = import_module(_MODULES[name])
    elif name in _MEMBERS:
        found = getattr(import_module(_MEMBERS[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_MEMBERS})
