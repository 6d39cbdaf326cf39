"""The cities of a world that are open here."""

from __future__ import annotations

import threading

from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError
from city_chain.levels.city import City
from city_chain.levels.embedded import Parts
from city_chain.levels.opening import opened
from city_chain.levels.settings import Founding, Settings, found, load
from city_chain.levels.world_place import WorldPlace
from city_chain.levels.world_roll import Member
from city_chain.ports import Entropy, Storage

__all__ = ["Cities"]


class Cities:
    """Opens and closes the cities of one world. Safe to use from several threads.

    Args:
        place: Where they are kept.
    """

    def __init__(self, place: WorldPlace) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._open: dict[str, City] = {}
        self._down: dict[str, CityChainError | None] = {}

    def open(self, member: Member, *, create: bool, must: bool) -> bool:
        """Opens a city, if it is not open.

        Args:
            member: The city.
            create: Whether it is made if it is not there.
            must: Whether what is wrong with it is raised; it is down otherwise.

        Returns:
            Whether it is open now.

        Raises:
            StorageError: It cannot be opened.
        """
        with self._lock:
            if member.name in self._open:
                return True
            try:
                self._open[member.name] = self._opened(member, create=create)
            except StorageError as error:
                if must:
                    raise
                self._down[member.name] = error
                return False
            self._down.pop(member.name, None)
            return True

    def _opened(self, member: Member, *, create: bool) -> City:
        try:
            wanted = Settings(**member.settings)
        except (InputError, TypeError) as error:
            raise StorageError(f"the settings of city {member.name!r} are damaged: {error}") from error
        place = self._place

        def founding(storage: Storage, entropy: Entropy) -> Founding:
            there = load(storage)
            if there is None and not create:
                raise StorageError(f"city {member.name!r} of the world is gone from its storage")
            if there is not None and there.settings.name != member.name:
                raise StorageError(f"the storage of city {member.name!r} holds {there.settings.name!r}")
            return there or found(storage, wanted, entropy)

        storage = place.storage_of(member.name) if place.folder is None else None
        given = Parts(storage, None, None, place.clock, place.entropy)
        file = place.file_of(member.number)
        if file is not None and not create and not file.exists():
            raise StorageError(f"{file}, the file of city {member.name!r}, is gone; put it back, then World.start")
        return opened(file, given, founding, City, create=create)

    def get(self, name: str) -> City | None:
        """A city, if it is open."""
        with self._lock:
            return self._open.get(name)

    def running(self, name: str) -> City:
        """A city that is open.

        Raises:
            UnavailableError: It is not.
        """
        found = self.get(name)
        if found is None:
            why = self.why(name)
            raise UnavailableError(f"city {name!r} does not run" + (f": {why}" if why is not None else ""), 1, 0)
        return found

    def why(self, name: str) -> CityChainError | None:
        """Why a city could not be opened; None if it was closed on purpose."""
        return self._down.get(name)

    def stop(self, name: str) -> None:
        """Closes a city, if it is open."""
        with self._lock:
            if self.forget(name):
                self._down[name] = None

    def forget(self, name: str) -> bool:
        """Closes a city that is none of the world's any more; whether it was open."""
        with self._lock:
            city = self._open.pop(name, None)
        if city is not None:
            city.close()
        return city is not None

    def close(self) -> None:
        """Closes all cities."""
        with self._lock:
            for city in self._open.values():
                city.close()
