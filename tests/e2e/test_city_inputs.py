"""Wrong types, absurd sizes, damaged files and receipts: the documented error, and nothing is lost."""

from __future__ import annotations

import array
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from city_chain import City, Receipt, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import CityChainError, InputError, StorageError, UnavailableError, VerificationError

pytestmark = pytest.mark.e2e

SMALL: dict[str, Any] = {"nodes": 5, "validators": 4, "k": 2, "n": 4, "districts": 2}
HUGE = 10**5000  # longer than Python writes out
ANY = object()

WRONG: list[object] = [
    None, True, -1, 0, 1.5, float("nan"), float("inf"), HUGE, -HUGE, 2**64, "", "text", "\ud800", b"", b"x", b"\0" * 31,
    bytes(33), bytearray(32), memoryview(b"x" * 64)[::2], array.array("I", [1, 2]), [], [1], [None], {}, (), {1: 2},
    object(), int, lambda: None, iter([b""]), [b"x" * 32, "y"], 1j, range(3),
]  # fmt: skip


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


def everything(city: City) -> dict[bytes, bytes]:
    city.settle()
    return dict(city._city.storage.scan(b""))


def wrong_calls(city: City, value: Any) -> list[tuple[str, Callable[[], object]]]:
    """Every public function with one argument that is wrong (or happens to be right)."""
    tx_id = next(city.tx_ids())
    return [
        ("send", lambda: city.send(value)),
        ("send deadline", lambda: city.send(b"x", deadline_s=value)),
        ("send_many", lambda: city.send_many(value)),
        ("send_many of one", lambda: city.send_many([value])),
        ("send_many batch", lambda: city.send_many([b"x"], batch=value)),
        ("send_many deadline", lambda: city.send_many([b"x"], deadline_s=value)),
        ("send_many on_outcome", lambda: city.send_many([b"x"], on_outcome=value)),
        ("transaction", lambda: city.transaction(value)),
        ("transaction place", lambda: city.transaction(b"x", place=value)),
        ("transaction place parts", lambda: city.transaction(b"x", place=("a", value, 0))),
        ("transaction touched", lambda: city.transaction(b"x", touched=value)),
        ("receive", lambda: city.receive(value)),
        ("receive deadline", lambda: city.receive(tx_id, deadline_s=value)),
        ("receive_many", lambda: city.receive_many(value)),
        ("receive_many of one", lambda: city.receive_many([value])),
        ("receipt", lambda: city.receipt(value)),
        ("health", lambda: city.health(value)),
        ("health of one", lambda: city.health([value])),
        ("health deadline", lambda: city.health(deadline_s=value)),
        ("health on_progress", lambda: city.health(on_progress=value)),
        ("repair", lambda: city.repair(value)),
        ("repair of one", lambda: city.repair([value])),
        ("repair deadline", lambda: city.repair(deadline_s=value)),
        ("repair on_progress", lambda: city.repair(on_progress=value)),
        ("settle", lambda: city.settle(value)),
        ("stop_node", lambda: city.stop_node(value)),
        ("start_node", lambda: city.start_node(value)),
        ("watch", lambda: city.watch(value)),
    ]


def test_wrong_values_into_every_function_of_a_city() -> None:
    with City.local(storage=Kept(), **SMALL) as city:
        receipt = city.send(b"kept")
        for value in WRONG:
            for name, call in wrong_calls(city, value):
                try:
                    outcome = call()
                    if isinstance(outcome, list):
                        for piece in outcome:
                            assert not isinstance(piece, Exception) or isinstance(piece, CityChainError), (name, piece)
                except (TypeError, CityChainError) as error:
                    assert len(str(error)) < 2000, name  # noqa: PT017
                except Exception as error:
                    pytest.fail(f"{name}({type(value).__name__}): {type(error).__name__}: {error}")
                finally:
                    city.watch(None)
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


def test_wrong_settings(tmp_path: Path) -> None:
    names = ["name", "nodes", "validators", "k", "n", "districts", "engine"]
    for name in names:
        for value in [*WRONG, "x" * 10**6, 10**9, 1025, "a\nb"]:
            for place in ((), (tmp_path / "none.db",)):
                make: Callable[..., City] = City.create if place else City.local
                try:
                    make(*place, **{**SMALL, name: value}).close()
                    (tmp_path / "none.db").unlink(missing_ok=True)
                except (TypeError, InputError) as error:
                    assert len(str(error)) < 3000, (name, len(str(error)))  # noqa: PT017
                except CityChainError:
                    raise
                except Exception as error:
                    pytest.fail(f"{name} = a {type(value).__name__}: {type(error).__name__}: {error}")
    with pytest.raises(TypeError):
        City.create(tmp_path / "none.db", unknown=1)
    assert sorted(path.name for path in tmp_path.iterdir() if path.stat().st_size) in ([], ["none.db-owner"])


def test_wrong_parts() -> None:
    for name in ("storage", "presence", "transport", "clock", "entropy"):
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
        newer = orjson.dumps({**orjson.loads(row), "version": 2, "new": "setting"})
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
os.setgid(65534); os.setuid(65534)
for make in (City.open, lambda path: City.local(path, nodes=5, validators=4, k=2, n=4, districts=2)):
    try:
        with make(sys.argv[1]) as city:
            city.send(b"x", deadline_s=2)
        print("sent")
    except StorageError as error:
        print("StorageError", error)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become another user")
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
        assert path.read_bytes() == before
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        with City.open(path) as city:
            assert [city.receipt(receipt.tx_id) for receipt in receipts] == receipts
