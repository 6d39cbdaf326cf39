"""Wrong types, absurd sizes, damaged files and receipts: the documented error, and nothing is lost."""

from __future__ import annotations

import array
import dataclasses
import inspect
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from city_chain import City, Receipt, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError, VerificationError
from city_chain.levels import Settings

pytestmark = pytest.mark.e2e

SMALL: dict[str, Any] = {"nodes": 5, "validators": 4, "k": 2, "n": 4, "districts": 2}
HUGE = 10**5000  # longer than Python writes out

WRONG: list[Callable[[], object]] = [
    *(
        lambda value=value: value
        for value in (
            None, True, -1, 0, 1.5, float("nan"), float("inf"), HUGE, -HUGE, 2**64, "", "text", "\ud800", b"", b"x",
            b"\0" * 31, bytes(33), bytearray(32), memoryview(b"x" * 64)[::2], array.array("I", [1, 2]), [], [1], [None],
            {}, (), {1: 2}, object(), int, lambda *_: None, [b"x" * 32, "y"], 1j, range(3),
        )
    ),
    lambda: iter([b""]),
    lambda: iter([]),
    lambda: (b"x", 5),
]  # fmt: skip
"""Makers of what is wrong for nearly every argument. What an iterator gives is gone when it was looked at once."""

PARTS = ("places", "storage", "presence", "transport", "clock", "entropy")
SETTINGS = ("name", "nodes", "validators", "k", "n", "districts", "engine", "session")


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


def everything(city: City) -> dict[bytes, bytes]:
    city.settle()
    return dict(city._city.storage.scan(b""))


type Call = Callable[[City, Any], object]
type Right = Callable[[Any], bool]


def never(_: object) -> bool:
    """None of the values is right."""
    return False


def is_payload(value: object) -> bool:
    """Bytes in one piece."""
    return isinstance(value, bytes | bytearray)


def is_digest(value: object) -> bool:
    return is_payload(value) and len(value) == 32  # type: ignore[arg-type]


def is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 86_400


def is_name(value: object) -> bool:
    return value in ("", "text")


def is_degree(value: object) -> bool:
    """In steps of 1e-7."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 900_000_000


def is_callback(value: object) -> bool:
    return value is None or callable(value)


def each(is_right: Right) -> Right:
    """An iterable of nothing but what is right; it may be empty."""
    return lambda value: isinstance(value, Iterable) and all(map(is_right, value))


def or_none(is_right: Right) -> Right:
    return lambda value: value is None or is_right(value)


CALLS: dict[str, tuple[Call, Right]] = {
    "transaction payload": (lambda city, value: city.transaction(value), is_payload),
    "transaction place": (lambda city, value: city.transaction(b"x", place=value), or_none(never)),
    "transaction touched": (lambda city, value: city.transaction(b"x", touched=value), or_none(each(is_payload))),
    "transaction seal": (lambda city, value: city.transaction(b"x", seal=value), or_none(never)),
    "transaction terms": (lambda city, value: city.transaction(b"x", terms=value), or_none(is_digest)),
    "send payload": (lambda city, value: city.send(value), is_payload),
    "send touched": (lambda city, value: city.send(b"x", touched=value), each(is_payload)),
    "send seal": (lambda city, value: city.send(b"x", seal=value), or_none(never)),
    "send deadline_s": (lambda city, value: city.send(b"x", deadline_s=value), is_time),
    "send_many payloads": (lambda city, value: city.send_many(value), each(is_payload)),
    "send_many seal": (lambda city, value: city.send_many([b"x"], seal=value), or_none(never)),
    "send_many batch": (lambda city, value: city.send_many([b"x"], batch=value), never),
    "send_many deadline_s": (lambda city, value: city.send_many([b"x"], deadline_s=value), is_time),
    "settle timeout_s": (lambda city, value: city.settle(value), is_time),
    "receive tx_id": (lambda city, value: city.receive(value), never),
    "receive key": (lambda city, value: city.receive(next(city.tx_ids()), key=value), or_none(never)),
    "receive deadline_s": (lambda city, value: city.receive(next(city.tx_ids()), deadline_s=value), is_time),
    "receive_many tx_ids": (lambda city, value: city.receive_many(value), each(never)),
    "receive_many deadline_s": (lambda city, value: city.receive_many(city.tx_ids(), deadline_s=value), is_time),
    "receive_payloads tx_ids": (lambda city, value: city.receive_payloads(value), each(never)),
    "receive_payloads key": (lambda city, value: city.receive_payloads(city.tx_ids(), key=value), or_none(never)),
    "receive_payloads deadline_s": (
        lambda city, value: city.receive_payloads(city.tx_ids(), deadline_s=value),
        is_time,
    ),
    "receipt tx_id": (lambda city, value: city.receipt(value), never),
    "candidates root": (lambda city, value: city.candidates(value), never),
    "countersign tx_id": (lambda city, value: city.countersign(value), never),
    "countersign deadline_s": (lambda city, value: city.countersign(next(city.tx_ids()), deadline_s=value), is_time),
    "compress receipt": (lambda city, value: city.compress(value), never),
    "health tx_ids": (lambda city, value: city.health(value), or_none(each(never))),
    "health deadline_s": (lambda city, value: city.health(deadline_s=value), is_time),
    "repair tx_ids": (lambda city, value: city.repair(value), or_none(each(never))),
    "repair deadline_s": (lambda city, value: city.repair(deadline_s=value), is_time),
    "stop_node node": (lambda city, value: city.stop_node(value), never),
    "start_node node": (lambda city, value: city.start_node(value), never),
    "move_out node": (lambda city, value: city.move_out(value, os.devnull), never),
    "move_out path": (lambda city, value: city.move_out(bytes(32), value), never),
    "elect validators": (lambda city, value: city.elect(value), never),
    "elect deadline_s": (lambda city, value: city.elect(4, deadline_s=value), is_time),
    "use sending": (lambda city, value: city.use(value), never),
    "watch on_stage": (lambda city, value: city.watch(value), is_callback),
    # Of what is callable only that it is taken is checked here.
    "send_many on_outcome": (lambda city, value: city.send_many([], on_outcome=value), is_callback),
    "health on_progress": (lambda city, value: city.health([], on_progress=value), is_callback),
    "repair on_progress": (lambda city, value: city.repair([], on_progress=value), is_callback),
}
"""For every argument of every public function of a city: a call with a value for it, and which values are right."""

DEEPER: dict[str, tuple[Call, Right]] = {
    "send_many of one": (lambda city, value: city.send_many([value]), is_payload),
    "transaction place's region": (lambda city, value: city.transaction(b"x", place=(value, 0, 0)), is_name),
    "transaction place's latitude": (lambda city, value: city.transaction(b"x", place=("a", value, 0)), is_degree),
    "transaction place's longitude": (lambda city, value: city.transaction(b"x", place=("a", 0, value)), is_degree),
    "transaction touched of one": (lambda city, value: city.transaction(b"x", touched=[value]), is_payload),
    "receive_many of one": (lambda city, value: city.receive_many([value]), never),
    "receive_payloads of one": (lambda city, value: city.receive_payloads([value]), never),
    "send seal of one": (lambda city, value: city.send(b"x", seal=[value]), never),
    "elect of one": (lambda city, value: city.elect([value]), never),
    "health of one": (lambda city, value: city.health([value]), never),
    "repair of one": (lambda city, value: city.repair([value]), never),
}

MAKERS = {"local", "create", "open"}
"""These make cities: `test_wrong_settings`, `test_wrong_parts` and `test_wrong_paths` are about their arguments."""


def test_the_calls_name_every_argument_of_every_public_function() -> None:
    public = {name: getattr(City, name) for name in vars(City) if not name.startswith("_")}
    functions = {name: thing for name, thing in public.items() if callable(thing)}
    arguments = {
        f"{name} {argument}"
        for name, function in functions.items()
        for argument in inspect.signature(function).parameters
        if name not in MAKERS and argument != "self"
    }
    assert functions.keys() >= MAKERS
    assert arguments == CALLS.keys()
    assert set(inspect.signature(City.local).parameters) == {"path", *SETTINGS, *PARTS}
    assert set(inspect.signature(City.create).parameters) == {"path", "settings"}
    assert set(inspect.signature(City.open).parameters) == {"path", "elsewhere", "transport"}
    assert {field.name for field in dataclasses.fields(Settings)} == set(SETTINGS)


@pytest.mark.parametrize("name", [*CALLS, *DEEPER])
def test_wrong_values_into_every_function_of_a_city(name: str) -> None:
    call, is_right = {**CALLS, **DEEPER}[name]
    accepted = set()
    with City.local(storage=Kept(), **SMALL) as city:
        receipt = city.send(b"kept")
        for at, make in enumerate(WRONG):
            right = is_right(make())
            before = None if right else everything(city)
            try:
                outcome = call(city, make())
            except (TypeError, CityChainError) as error:
                assert not right, (name, at, error)  # noqa: PT017
                assert 0 < len(str(error)) < 2000  # noqa: PT017
                assert everything(city) == before
                continue
            except Exception as error:
                pytest.fail(f"{name} = a {type(make()).__name__}: {type(error).__name__}: {error}")
            finally:
                city.watch(None)
            assert right, f"{name} = value {at}, a {type(make()).__name__}, was accepted: {outcome!r:.200}"
            if isinstance(outcome, list):
                assert not any(isinstance(piece, Exception) for piece in outcome), outcome
            accepted.add(at)
        assert len(accepted) < len(WRONG)
        assert city.receive(receipt.tx_id) == b"kept"
        assert city.receive(city.send(b"later").tx_id) == b"later"


def test_wrong_callbacks_are_refused_before_anything_is_sent() -> None:
    with City.local(storage=Kept(), **SMALL) as city:
        wrong: list[Any] = [5, "x", b"x", []]
        for value in wrong:
            with pytest.raises(TypeError):
                city.send_many([b"x"], on_outcome=value)
            with pytest.raises(TypeError):
                city.health(on_progress=value)
            with pytest.raises(TypeError):
                city.repair(on_progress=value)
            with pytest.raises(TypeError):
                city.watch(value)
        assert city.height == 0


def test_one_wrong_payload_among_many_sends_nothing() -> None:
    with City.local(storage=Kept(), **SMALL) as city:
        for wrong in ("text", 5, None, memoryview(b"x" * 64)[::2]):
            with pytest.raises((TypeError, InputError)):
                city.send_many([b"one", b"two", wrong, b"three"])  # type: ignore[list-item]
        released = memoryview(b"x")
        released.release()
        with pytest.raises((TypeError, InputError)):
            city.send_many([b"one", released])
        assert city.height == 0
        city.send(b"x")
        assert city._city.ledger.sender(city.sender).next_sequence == 1


def test_every_kind_of_buffer() -> None:
    with City.local(storage=Kept(), **SMALL) as city:
        for payload in (b"", bytearray(b"abc"), memoryview(b"abcd"), memoryview(array.array("I", [1, 2])).cast("B")):
            assert city.receive(city.send(payload).tx_id) == bytes(payload)
        with pytest.raises(TypeError, match="not array of 'I'"):
            city.send(array.array("I", [1, 2, 3]))
        big = os.urandom(5_000_000)
        assert city.receive(city.send(big).tx_id) == big


def test_too_large_a_payload_stops_no_other() -> None:
    with City.local(storage=Kept(), **SMALL) as city:
        large = bytes(64 * 1024 * 1024 + 1)
        first, second, third = city.send_many([b"a", large, b"b"])
        assert isinstance(second, InputError)
        assert isinstance(first, records.Receipt)
        assert isinstance(third, records.Receipt)
        with pytest.raises(InputError):
            city.transaction(large)
        city.send(b"c")
        assert city._city.ledger.sender(city.sender).next_sequence == 3


@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_settings(tmp_path: Path, name: str) -> None:
    path = tmp_path / "none.db"
    wrong = [*(make() for make in WRONG), "x" * 10**6, 10**9, 1025, "a\nb"]
    right = {"name": ("text", "a\nb"), "engine": (None,)}.get(name, ())
    for value in wrong:
        for place in ((), (path,)):
            make_city: Callable[..., City] = City.create if place else City.local
            try:
                make_city(*place, **{**SMALL, name: value}).close()
            except (TypeError, InputError) as error:
                assert 0 < len(str(error)) < 3000  # noqa: PT017
                continue
            except Exception as error:
                pytest.fail(f"{name} = a {type(value).__name__}: {type(error).__name__}: {error}")
            finally:
                path.unlink(missing_ok=True)
            assert value in right, f"{name} = a {type(value).__name__} was accepted"
    with pytest.raises(TypeError):
        City.create(path, unknown=1)
    assert sorted(found.name for found in tmp_path.iterdir() if found.stat().st_size) in ([], ["none.db-owner"])


def test_wrong_parts() -> None:
    for name in PARTS:
        for value in (5, "x", object(), int, {}):
            with pytest.raises((TypeError, InputError)):
                City.local(**{**SMALL, name: value})


def test_wrong_paths(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    paths: list[Any] = [
        "", "\0", "a\0b", ".", "..", "/", str(folder), "x" * 5000, "/nowhere/at/all/city.db", "\ud800", 5, b"x", None,
        [], object(), f"{tmp_path}/{'x' * 300}.db", "/dev/null", "/dev/null/city.db",
    ]  # fmt: skip
    for path in paths:
        for make in (City.open, City.create, City.local):
            if path is None and make == City.local:
                continue  # a city in memory
            try:
                make(path).close()
                pytest.fail(f"{path!r:.60} was accepted by {make}")
            except (TypeError, InputError, StorageError):
                pass
            except Exception as error:
                pytest.fail(f"{make.__name__}({path!r:.60}): {type(error).__name__}: {error}")
    assert list(folder.iterdir()) == []


def test_settings_that_are_not_those_of_the_city(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, **SMALL) as city:
        receipt = city.send(b"x")
    with pytest.raises(InputError, match=r"City\.open"):
        City.local(path, **{**SMALL, "nodes": 6})
    with pytest.raises(StorageError, match="already"):
        City.create(path, **SMALL)
    with City.open(path) as city:
        assert city.receive(receipt.tx_id) == b"x"


def test_transactions_of_others() -> None:
    with City.local(storage=Kept(), **SMALL) as city, City.local(storage=Kept(), **SMALL) as other:
        foreign = other.transaction(b"x")
        before = everything(city)
        with pytest.raises(InputError, match="this city sends for"):
            city.send(foreign)
        damaged = bytearray(city.transaction(b"signed").to_bytes())
        damaged[-1] ^= 1
        with pytest.raises((VerificationError, InputError)):
            city.send(records.Transaction.from_bytes(bytes(damaged)))
        mixed = city.send_many([b"a", foreign, b"b"])
        assert isinstance(mixed[1], InputError)
        assert isinstance(mixed[0], records.Receipt)
        assert isinstance(mixed[2], records.Receipt)
        assert before.keys() <= everything(city).keys()


# --- receipts --------------------------------------------------------------------------------------------------------


def test_any_flipped_bit_of_a_receipt_is_found() -> None:
    with City.local(storage=Kept(), nodes=5, validators=3, k=2, n=4) as city:
        encoding = city.send_many([b"x", b"y", b"z"])[1].to_bytes()  # type: ignore[union-attr]
        trust = city.trust
    Receipt.from_bytes(encoding).verify(trust)
    damaged = bytearray(encoding)
    for bit in range(8 * len(encoding)):
        damaged[bit // 8] ^= 1 << (bit % 8)
        try:
            Receipt.from_bytes(bytes(damaged)).verify(trust)
            pytest.fail(f"bit {bit % 8} of byte {bit // 8} of {len(encoding)} does not matter")
        except (InputError, VerificationError):
            pass
        damaged[bit // 8] ^= 1 << (bit % 8)
    for length in range(len(encoding)):
        with pytest.raises(InputError):
            Receipt.from_bytes(encoding[:length])
    with pytest.raises(InputError):
        Receipt.from_bytes(encoding + b"\0")


def test_a_receipt_of_another_network() -> None:
    with City.local(storage=Kept(), **SMALL) as city, City.local(storage=Kept(), **SMALL) as other:
        receipt = city.send(b"x")
        receipt.verify(city.trust)
        with pytest.raises(VerificationError):
            receipt.verify(other.trust)
        with pytest.raises(InputError):
            other.receive(receipt.tx_id)


# --- the file --------------------------------------------------------------------------------------------------------


def made(path: Path) -> list[Receipt]:
    with City.local(path, **SMALL) as city:
        outcomes = city.send_many([b"%d" % at for at in range(20)])
        city.settle()
    return [outcome for outcome in outcomes if isinstance(outcome, records.Receipt)]


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    made(path)
    connection = sqlite3.connect(path, autocommit=True)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={version + 1}")
    connection.close()
    before = path.read_bytes()
    for make in (City.open, lambda where: City.local(where, **SMALL), lambda where: City.create(where, **SMALL)):
        with pytest.raises(StorageError, match="newer"):
            make(path)
    assert path.read_bytes() == before
    connection = sqlite3.connect(path, autocommit=True)
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()

    with SqliteStorage(path) as storage:
        (row,) = storage.get_many([b"csettings"])
        assert row is not None
        newer = orjson.dumps({**orjson.loads(row), "version": 3, "new": "setting"})
        storage.put_many({b"csettings": newer})
        rows = dict(storage.scan(b""))
    for make in (City.open, lambda where: City.local(where, **SMALL)):
        with pytest.raises(StorageError, match="newer city-chain"):
            make(path)
    with SqliteStorage(path) as storage:
        assert dict(storage.scan(b"")) == rows
        storage.put_many({b"csettings": row})
    with City.open(path) as city:
        assert city.height > 0


def test_files_that_are_no_city(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    receipts = made(path)
    whole = path.read_bytes()
    cases = {
        "empty": b"",
        "garbage": os.urandom(10_000),
        "text": b"hello\n" * 1000,
        "short": whole[:50],
        "truncated": whole[: len(whole) // 2],
        "garbage in the middle": whole[:8192] + os.urandom(len(whole) - 16384) + whole[-8192:],
        "zeros after the first page": whole[:4096] + bytes(len(whole) - 4096),
    }
    for name, content in cases.items():
        broken = tmp_path / "broken.db"
        broken.write_bytes(content)
        try:
            with City.open(broken) as city:
                for receipt in receipts:
                    city.receive(receipt.tx_id)
            pytest.fail(f"{name}: all is there")
        except (StorageError, InputError, UnavailableError, VerificationError) as error:
            assert name != "empty" or isinstance(error, StorageError)  # noqa: PT017
        if name not in ("empty",):
            assert broken.read_bytes()[:50] == content[:50], name
        for file in tmp_path.glob("broken.db*"):
            file.unlink()
    assert path.read_bytes() == whole


def test_any_row_may_be_damaged() -> None:
    """Whatever a row holds, opening and using the city gives our own errors only, and no wrong bytes."""
    storage = Kept()
    with City.local(storage=storage, **SMALL) as city:
        payloads = {city.send(b"%d" % at * 10).tx_id: b"%d" % at * 10 for at in range(2)}
        city.settle()
        damaged = next(key for key, _ in storage.scan(b"h") if key[6:7] == b"f")
        rows = dict(storage.scan(b""))
        storage.put_many({damaged: rows[damaged][:-1]})
        city.repair()
    rows = dict(storage.scan(b""))
    trust = city.trust
    for key, value in rows.items():
        for wrong in (
            b"",
            value[:-1],
            value + b"\0",
            bytes(len(value)),
            b"\xff" * len(value),
            b"{}",
            b"[]",
            b'{"a":1}',
        ):
            trial = Kept()
            trial.put_many({**rows, key: wrong})
            try:
                with City.local(storage=trial, **SMALL) as city:
                    for tx_id, payload in payloads.items():
                        for call in (city.receive, city.receipt):
                            try:
                                got = call(tx_id)
                                if isinstance(got, bytes):
                                    assert got == payload
                                else:
                                    got.verify(trust)
                            except CityChainError:
                                pass
                    for use in (city.health, city.repair, lambda city=city: city.send(b"x", deadline_s=0.2)):
                        with suppress(CityChainError):
                            use()
            except CityChainError:
                pass
            except Exception as error:
                pytest.fail(f"{key[:12]!r} = {wrong[:12]!r}…: {type(error).__name__}: {error}")


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    with City.local(path, **SMALL) as city:
        storage = city._city.storage
        assert isinstance(storage, SqliteStorage)
        kept = [city.send(b"kept %d" % at) for at in range(3)]
        city.settle()
        assert storage._writer is not None
        (pages,) = storage._writer.execute("PRAGMA page_count").fetchone()
        for spare in (0, 1, 3, 6, 10, 20, 40):
            storage._writer.execute(f"PRAGMA max_page_count={pages + spare}")
            outcomes = city.send_many([os.urandom(9000) for _ in range(8)], batch=3, deadline_s=1)
            failed = [outcome for outcome in outcomes if isinstance(outcome, CityChainError)]
            assert failed
            assert all(isinstance(outcome, StorageError | UnavailableError) for outcome in failed), failed
            kept += [outcome for outcome in outcomes if isinstance(outcome, records.Receipt)]
            assert city.receive(kept[0].tx_id) == b"kept 0"
            city.settle()
        storage._writer.execute("PRAGMA max_page_count=1000000")
        kept.append(city.send(b"room again"))
        for receipt in kept:
            city.receive(receipt.tx_id)
    with City.open(path) as city:
        assert not city.recovery.pending, city.recovery
        for receipt in kept:
            assert city.receipt(receipt.tx_id) == receipt
            city.receive(receipt.tx_id)
        city.send(b"later")


READ_ONLY = """
import os, sys
from city_chain import City
from city_chain.errors import CityChainError, StorageError
if os.geteuid() == 0:  # modes bind everybody but root
    os.setgid(65534); os.setuid(65534)
for make in (City.open, lambda path: City.local(path, nodes=5, validators=4, k=2, n=4, districts=2)):
    try:
        with make(sys.argv[1]) as city:
            city.send(b"x", deadline_s=2)
        print("sent")
    except StorageError as error:
        print("StorageError", error)
"""


@pytest.mark.skipif(os.name != "posix", reason="modes of files and folders are POSIX's")
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555), (0o000, 0o777), (0o444, 0o555)])
def test_a_read_only_file(file_mode: int, folder_mode: int) -> None:
    with tempfile.TemporaryDirectory() as outer:  # the folders of tmp_path are private
        os.chmod(outer, 0o755)
        folder = Path(outer, "city")
        folder.mkdir()
        path = folder / "city.db"
        receipts = made(path)
        before = path.read_bytes()
        for file in folder.iterdir():
            file.chmod(file_mode)
        folder.chmod(folder_mode)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("StorageError") for line in lines), lines
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        assert path.read_bytes() == before
        with City.open(path) as city:
            assert [city.receipt(receipt.tx_id) for receipt in receipts] == receipts
