"""city-chain: durable, verifiable, Byzantine-fault-tolerant dispersal and commitment of transactions in your process.

The algorithms are usable alone, as `from city_chain import ec, rvh, vrf, cbf, tnh`. Submodules load when they are first
used, so importing the package alone takes a few milliseconds.
"""

from city_chain import errors

TYPE_CHECKING = False  # type checkers know the name; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from city_chain.algorithms import cbf, ec, rvh, tnh, vrf

__all__ = ["cbf", "ec", "errors", "rvh", "tnh", "vrf"]

# Public name -> the module that it is.
_LAZY = {name: f"city_chain.algorithms.{name}" for name in ("cbf", "ec", "rvh", "tnh", "vrf")}


def __getattr__(name: str) -> object:
    try:
        path = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module  # noqa: PLC0415 — only here is it needed

    module = import_module(path)
    globals()[name] = module
    return module


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
