"""The file with which a node moves out of its city: what a process that is to run it must be given.

It holds the node's own master seed, from which nobody learns those of the city or of other nodes, what is public about
the city, and what the node has: its votes, its key shares, its last sequence, its fragments. Keep it as the secret it
is.

The encoding is a message ``node`` of these parts: a header (JSON), the seed, the first epoch, a message of handovers,
the city's certified keys or nothing, a message of candidate lists, a message of the node's rows (key, value, …), and
BLAKE2b-256 of all before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from city_chain import records
from city_chain.errors import CityChainError, InputError, StorageError
from city_chain.levels.settings import Settings
from city_chain.stages import messages

__all__ = ["NodeFile", "secret_beside", "write_secret"]

_VERSION = 1
_PARTS = 8


@dataclass(frozen=True, slots=True, repr=False)
class NodeFile:
    """What a node takes with it. `repr` shows no secret.

    Args:
        index: Which node of the city it is, from 0.
        seed: The node's own master seed, 32 bytes.
        settings: The city's.
        sender: Whose requests are let in: the city's public key.
        roll: All nodes of the city in their order, each with its failure domain.
        first: The first epoch.
        handovers: Those to later epochs.
        keys: The city's certified threshold keys; empty if there are none.
        lists: The candidate lists so far.
        rows: The node's own rows: what it must not forget, and its fragments.
        observes_until: The last epoch in which it votes for nothing, because it may have forgotten what it voted for;
            None if it brings its votes along.

    Example:
        See `City.move_out`.
    """

    index: int
    seed: bytes
    settings: Settings
    sender: bytes
    roll: Mapping[bytes, str]
    first: bytes
    handovers: Sequence[bytes]
    keys: bytes
    lists: Sequence[bytes]
    rows: Mapping[bytes, bytes]
    observes_until: int | None = None

    def __repr__(self) -> str:
        return f"NodeFile(index={self.index}, node={self.identity.id.hex()[:16]}, city={self.settings.name!r})"

    def spent(self, epoch: int) -> NodeFile:
        """The file without what must not be used twice: whoever is set up with it votes after that epoch only."""
        return replace(self, rows={}, observes_until=max(epoch, self.observes_until or 0))

    @property
    def identity(self) -> records.Identity:
        """The node's keys."""
        return records.Identity(self.seed)

    def to_bytes(self) -> bytes:
        """The encoding."""
        head = {
            "version": _VERSION,
            "index": self.index,
            "settings": asdict(self.settings),
            "sender": self.sender.hex(),
            "roll": [[node.hex(), domain] for node, domain in self.roll.items()],
            "observes_until": self.observes_until,
        }
        parts = [
            orjson.dumps(head),
            self.seed,
            self.first,
            messages.message("handovers", self.handovers),
            self.keys,
            messages.message("lists", self.lists),
            messages.message("rows", [part for row in self.rows.items() for part in row]),
        ]
        return messages.message("node", [*parts, _digest(parts)])

    @classmethod
    def from_bytes(cls, data: bytes) -> NodeFile:
        """Reads what `to_bytes` made.

        Raises:
            InputError: It is no such file, is of a newer version, or is damaged.
        """
        try:
            parts = messages.answer(data, "node", _PARTS)
            if _digest(parts[:-1]) != parts[-1] or len(parts[1]) != 32:
                raise InputError("its digest is another")
            head = orjson.loads(parts[0])
            if int(head["version"]) > _VERSION:
                raise InputError(f"it is of version {head['version']}: use a newer city-chain")
            rows = messages.answer(parts[6], "rows")
            return cls(
                index=int(head["index"]),
                seed=parts[1],
                settings=Settings(**head["settings"]),
                sender=bytes.fromhex(head["sender"]),
                roll={bytes.fromhex(node): str(domain) for node, domain in head["roll"]},
                first=parts[2],
                handovers=messages.answer(parts[3], "handovers"),
                keys=parts[4],
                lists=messages.answer(parts[5], "lists"),
                rows=dict(zip(rows[::2], rows[1::2], strict=True)),
                observes_until=None if head["observes_until"] is None else int(head["observes_until"]),
            )
        except (CityChainError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"this is no node file, or it is damaged: {error}") from error


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, whole and durable or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    secret_beside(path, data)()


def secret_beside(path: Path, data: bytes) -> Callable[[], None]:
    """Writes a secret, durably, beside where it is wanted.

    Args:
        path: Where it is wanted.
        data: What it is.

    Returns:
        Moves it there; raises a `StorageError` if that fails.

    Raises:
        StorageError: It cannot be written; nothing of it is left.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "secret"
        ...     publish = secret_beside(path, b"s")
        ...     before = path.exists()
        ...     publish()
        ...     before, path.exists()
        (False, True)
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")

    def publish() -> None:
        with _written(path, beside):
            beside.replace(path)
            if os.name == "posix":
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    with _written(path, beside):
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    return publish


@contextlib.contextmanager
def _written(path: Path, beside: Path) -> Iterator[None]:
    """Writing a file by way of another one, of which nothing is left where that fails."""
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def _digest(parts: Sequence[bytes]) -> bytes:
    found = hashlib.blake2b(digest_size=32)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()
