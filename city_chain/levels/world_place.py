"""Where a world lives: a folder with a file for every city and one of its own, or storages that are given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from city_chain.adapters.clock import SystemClock
from city_chain.adapters.entropy import OsEntropy
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.storage.sqlite_file import os_advice
from city_chain.errors import InputError, StorageError
from city_chain.levels.owner import Owner
from city_chain.node.city_clock import kept
from city_chain.ports import Clock, Entropy, Storage

__all__ = ["WorldPlace"]

_FILE = "world.db"


@dataclass(frozen=True, slots=True)
class WorldPlace:
    """Where a world lives, and its adapters.

    Args:
        folder: Its folder; None for memory, or for storages that are given.
        clock: Physical and monotonic time.
        entropy: Where secrets come from.
        given: Gives the storage of a city by its name, the world's own by ``""``; None for the folder, or for memory.
    """

    folder: Path | None
    clock: Clock
    entropy: Entropy
    given: Callable[[str], Storage] | None = None
    _memory: dict[str, MemoryStorage] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str] | None,
        given: Callable[[str], Storage] | None,
        clock: Clock | None,
        entropy: Entropy | None,
    ) -> WorldPlace:
        """The place that a caller names.

        Raises:
            InputError: A path and storages were given.
            TypeError: An adapter keeps no contract of `ports`.
            UnavailableError: The clock is not synchronised.
        """
        if path is not None and given is not None:
            raise InputError("a path and a storage were given; one of them is needed")
        for name, part, port in (("clock", clock, Clock), ("entropy", entropy, Entropy)):
            if part is not None and not isinstance(part, port):
                raise TypeError(f"{name} must keep the contract of ports.{port.__name__}, not {type(part).__name__}")
        if given is not None and not callable(given):
            raise TypeError(f"storage must be callable or None, not {type(given).__name__}")
        folder = None if path is None else _folder(path)
        return cls(folder, kept(clock or SystemClock()), entropy or OsEntropy(), given)

    def own(self, *, create: bool) -> tuple[Owner | None, Storage]:
        """The world's own storage, and the lock on its file.

        Raises:
            StorageError: There is no folder, it cannot be made, or another process has the world open.
        """
        if self.folder is None:
            return None, self.storage_of("")
        file = self.folder / _FILE
        if not create and not file.exists():
            raise StorageError(f"{file} does not exist; make a world with World.local")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.folder}, the folder of the world, cannot be made: {error.strerror}; {os_advice(error)}"
            ) from error
        owner = Owner(file)
        try:
            return owner, SqliteStorage(file, create=create)
        except BaseException:
            owner.close()
            raise

    def file_of(self, index: int) -> Path | None:
        """The file of the city with that number; None where it is not in a file."""
        return None if self.folder is None else self.folder / f"city-{index}.db"

    def storage_of(self, name: str) -> Storage:
        """The storage of a city that is not in a file; what is in memory outlives the city's closing."""
        if self.given is not None:
            return self.given(name)
        return NamespacedStorage(self._memory.setdefault(name, MemoryStorage()), b"m")


def _folder(path: object) -> Path:
    """The folder that a caller names."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a path must be str or os.PathLike, not {type(path).__name__}")
    named = os.fspath(path)
    if not isinstance(named, str) or not named or "\0" in named:
        raise InputError("a path must be text without NUL, and not empty")
    folder = Path(named)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is no folder; name the world's folder")
    return folder
