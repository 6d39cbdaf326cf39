"""What a city checks of its arguments before anything is done: types, ranges, paths."""

from __future__ import annotations

import os
from collections.abc import Buffer, Iterable, Mapping
from itertools import islice
from pathlib import Path

from city_chain import records
from city_chain.adapters.transport.tcp_frames import place_of
from city_chain.algorithms.tes import kem
from city_chain.composer import Pipeline
from city_chain.composer.checks import shown
from city_chain.errors import InputError, StorageError
from city_chain.stages.s2_seal import Seal

__all__ = [
    "check_batch",
    "check_callback",
    "check_deadline",
    "check_delegates",
    "check_sending",
    "checked_addresses",
    "checked_id",
    "checked_path",
    "checked_payload",
    "checked_reader",
    "checked_receipt",
    "checked_seal",
]

_BATCH_MAX = 4096
_READERS_MAX = 64
_DEADLINE_S_MAX = 86_400
_DELEGATES_MAX = 128
_ADDRESS_CHARS_MAX = 256


def check_deadline(deadline_s: object) -> None:
    """Refuses what is no time to wait, in seconds.

    Example:
        >>> check_deadline(-1)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: a deadline of -1 s: above 0, and at most 86400, is needed
    """
    if not isinstance(deadline_s, int | float) or isinstance(deadline_s, bool):
        raise TypeError(f"a deadline must be a number of seconds, not {type(deadline_s).__name__}")
    if not 0 < deadline_s <= _DEADLINE_S_MAX:
        raise InputError(f"a deadline of {shown(deadline_s)} s: above 0, and at most {_DEADLINE_S_MAX}, is needed")


def check_batch(batch: object) -> None:
    """Refuses what is no number of transactions that may travel together.

    Example:
        >>> check_batch(0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: batch = 0: 1 to 4096 is allowed
    """
    if not isinstance(batch, int) or isinstance(batch, bool):
        raise TypeError(f"batch must be an int, not {type(batch).__name__}")
    if not 1 <= batch <= _BATCH_MAX:
        raise InputError(f"batch = {shown(batch)}: 1 to {_BATCH_MAX} is allowed")


def check_delegates(count: int) -> None:
    """Refuses what is no number of delegates.

    Example:
        >>> check_delegates(0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: 0 delegates: 1 to 128 is allowed
    """
    if not 1 <= count <= _DELEGATES_MAX or isinstance(count, bool):
        raise InputError(f"{shown(count)} delegates: 1 to {_DELEGATES_MAX} is allowed")


def check_callback(name: str, callback: object) -> None:
    """Refuses what is neither None nor callable, before it is needed.

    Example:
        >>> check_callback("on_outcome", 5)
        Traceback (most recent call last):
        ...
        TypeError: on_outcome must be callable or None, not int
    """
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable or None, not {type(callback).__name__}")


def checked_id(tx_id: object) -> bytes:
    """A transaction's id.

    Example:
        >>> checked_id(b"short")
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: a transaction id of 5 bytes, exactly 32 are needed
    """
    if not isinstance(tx_id, bytes):
        raise TypeError(f"a transaction id must be bytes, not {type(tx_id).__name__}")
    if len(tx_id) != 32:
        raise InputError(f"a transaction id of {len(tx_id)} bytes, exactly 32 are needed")
    return tx_id


def checked_payload(payload: object) -> Buffer | records.Transaction:
    """What can be sent: a transaction, or bytes in one piece.

    Example:
        >>> checked_payload(memoryview(b"abcd")[::2])
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: a payload must be bytes in one piece; this view skips some
    """
    if isinstance(payload, records.Transaction | bytes):
        return payload
    if not isinstance(payload, Buffer):
        raise TypeError(f"a payload must be bytes or a Transaction, not {type(payload).__name__}")
    try:
        with memoryview(payload) as view:
            unit, whole = view.format, view.c_contiguous
    except (TypeError, ValueError, BufferError) as error:
        raise InputError(f"a payload that cannot be read: {error}") from None
    if unit != "B":
        raise TypeError(
            f"a payload must be bytes, not {type(payload).__name__} of {unit!r}; take its memoryview as 'B'"
        )
    if not whole:
        raise InputError("a payload must be bytes in one piece; this view skips some")
    return payload


def checked_seal(seal: object) -> Seal | None:
    """To whom payloads are sealed: None, the city, or the public keys of readers.

    Example:
        >>> checked_seal("town")
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: seal = 'town': None, 'city' or an iterable of readers' public keys is needed
    """
    if seal is None or (isinstance(seal, str) and seal == "city"):
        return None if seal is None else "city"
    if isinstance(seal, str):
        raise InputError(f"seal = {shown(seal)}: None, 'city' or an iterable of readers' public keys is needed")
    if isinstance(seal, Buffer) or not isinstance(seal, Iterable):
        raise TypeError(f"seal must be None, 'city' or an iterable of readers' public keys, not {type(seal).__name__}")
    readers: list[bytes] = []
    for reader in islice(seal, _READERS_MAX + 1):
        if not isinstance(reader, bytes):
            raise TypeError(f"a reader's public key must be bytes, not {type(reader).__name__}")
        readers.append(reader)
    records.seal_to_readers(readers, [], network=bytes(32), sender=bytes(32))  # refuses keys that are none
    return tuple(readers)


def checked_reader(key: object) -> kem.SecretKey | None:
    """The key that a reader opens with.

    Example:
        >>> checked_reader(b"secret")
        Traceback (most recent call last):
        ...
        TypeError: key must be a kem.SecretKey or None, not bytes
    """
    if key is not None and not isinstance(key, kem.SecretKey):
        raise TypeError(f"key must be a kem.SecretKey or None, not {type(key).__name__}")
    return key


def checked_receipt(receipt: object) -> records.Receipt:
    """A receipt, whether it is right or not.

    Example:
        >>> checked_receipt(b"bytes")
        Traceback (most recent call last):
        ...
        TypeError: receipt must be a Receipt, not bytes
    """
    if not isinstance(receipt, records.Receipt):
        raise TypeError(f"receipt must be a Receipt, not {type(receipt).__name__}")
    return receipt


def checked_path(path: object) -> Path:
    """Where a city's file is or is to be: absolute.

    Raises:
        TypeError: It is no path of text.
        InputError: It names nothing.
        StorageError: Something else is there.

    Example:
        >>> checked_path("/")
        Traceback (most recent call last):
        ...
        city_chain.errors.StorageError: / is no file; name the city's file
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path of str, not {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or a path of str, not {type(path).__name__}")
    if not text or "\0" in text:
        raise InputError(f"path must name a file, not {shown(text)}")
    try:
        os.fsencode(text)
        # One name for one file: the lock of who owns a city lies beside it, under its name.
        where = Path(os.path.realpath(text))
        if where.exists() and not where.is_file():
            raise StorageError(f"{where} is no file; name the city's file")
        if where.exists() and where.stat().st_nlink > 1:
            raise StorageError(
                f"{where} has another name as well (a hard link), under which it could be opened twice; remove one"
            )
    except UnicodeEncodeError:
        raise InputError(f"path must be a name that the system can write, not {shown(text)}") from None
    except OSError as error:
        raise StorageError(f"{shown(text)} cannot be looked at: {error.strerror}") from None
    return where


def check_sending(pipeline: object, ours: Pipeline) -> None:
    """Refuses what cannot stand in for a city's own sending pipeline.

    Example:
        >>> from city_chain.pipelines import RECEIVING, SENDING
        >>> check_sending(SENDING, SENDING)
        >>> check_sending(RECEIVING, SENDING)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: pipeline 'receiving' takes wanted, ... and gives restored; a city gives ...
    """
    if not isinstance(pipeline, Pipeline):
        raise TypeError(f"a sending pipeline must be a Pipeline, not {type(pipeline).__name__}")
    if not set(pipeline.inputs) <= set(ours.inputs) or "outcomes" not in pipeline.outputs:
        raise InputError(
            f"pipeline {pipeline.name!r} takes {', '.join(pipeline.inputs)} and gives {', '.join(pipeline.outputs)}; "
            f"a city gives {', '.join(ours.inputs)} and needs outcomes"
        )


def checked_addresses(elsewhere: Mapping[int, str] | None) -> dict[int, str]:
    """Addresses of nodes by index; none where nothing is given.

    Raises:
        TypeError: It is no mapping of numbers to addresses.
        InputError: An address is too long, or not of the form tcp:HOST:PORT; port 0 is none that answers.

    Example:
        >>> checked_addresses({3: "tcp:127.0.0.1:7103"})
        {3: 'tcp:127.0.0.1:7103'}
    """
    if elsewhere is None:
        return {}
    if not isinstance(elsewhere, Mapping):
        raise TypeError(f"elsewhere must be a mapping of indexes to addresses, not {type(elsewhere).__name__}")
    for index, address in elsewhere.items():
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"elsewhere: an index must be an int, not {type(index).__name__}")
        if not isinstance(address, str):
            raise TypeError(f"elsewhere: an address must be a str, not {type(address).__name__}")
        if not 0 < len(address) <= _ADDRESS_CHARS_MAX:
            raise InputError(f"elsewhere: {shown(address)} is no address tcp:HOST:PORT")
        try:
            port = place_of(address).port
        except InputError as error:
            raise InputError(f"elsewhere: {error}") from None
        if port == 0:
            raise InputError(f"elsewhere: {shown(address)}: a port that answers is needed, 1 to 65535")
    return dict(elsewhere)
