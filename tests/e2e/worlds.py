"""Small worlds for tests: cities in memory that outlive the worlds on them, and steps that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.levels.crossing import Step
from city_chain.levels.world import World
from city_chain.ports import Storage

SMALL: dict[str, Any] = {"nodes": 4, "validators": 4, "k": 2, "n": 4, "districts": 2}
NORTH, SOUTH, WEST = "north", "south", "west"
A, B, C = b"a", b"b", b"c"


class CutError(Exception):
    """What a test raises in the middle."""


class Ground:
    """Storages by name that outlive the worlds on them."""

    def __init__(self) -> None:
        self._kept: dict[str, MemoryStorage] = {}

    def __call__(self, name: str) -> Storage:
        return NamespacedStorage(self._kept.setdefault(name, MemoryStorage()), b"m")


def world_of(ground: Ground | None = None, names: tuple[str, ...] = (NORTH, SOUTH), **more: Any) -> World:
    """A small world."""
    return World.local(list(names), storage=ground or Ground(), **(SMALL | more))


def cut_at(count: int) -> Callable[[Step], None]:
    """Lets so many steps pass, and fails at the next."""
    left = [count]

    def cut(step: Step) -> None:
        if left[0] == 0:
            raise CutError(f"at {step}")
        left[0] -= 1

    return cut


def versions(world: World, touches: dict[str, list[bytes]]) -> dict[bytes, int]:
    """The versions of keys."""
    return {key: world.version(key, city=name) for name, keys in touches.items() for key in keys}


def is_free(world: World, touches: dict[str, list[bytes]]) -> bool:
    """Whether nobody has any of the keys locked."""
    return all(world.locked_by(key, city=name) is None for name, keys in touches.items() for key in keys)
