"""Deferred writes: seen at once, in order before all that follows, durable with the next synced commit."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from city_chain.adapters.storage import sqlite
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError, StorageError
from city_chain.ports import DeferringStorage, Storage

pytestmark = pytest.mark.unit

ADAPTERS: dict[str, Callable[[Path], DeferringStorage]] = {
    "memory": lambda _folder: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "kv.db"),
    "namespaced-memory": lambda _folder: NamespacedStorage(MemoryStorage(), b"n/"),
    "namespaced-sqlite": lambda folder: NamespacedStorage(SqliteStorage(folder / "kv.db"), b"n/"),
}


@pytest.fixture(params=ADAPTERS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeferringStorage]:
    opened = ADAPTERS[request.param](tmp_path)
    yield opened
    opened.close()


class Plain:
    """A storage that cannot defer."""

    durable = True

    def __init__(self) -> None:
        inner = MemoryStorage()
        self.put_many, self.delete_many, self.put_if = inner.put_many, inner.delete_many, inner.put_if
        self.get_many, self.scan, self.close = inner.get_many, inner.scan, inner.close


# --- the contract ----------------------------------------------------------------------------------------------------


def test_is_seen_at_once_and_in_order(storage: DeferringStorage) -> None:
    assert isinstance(storage, DeferringStorage)
    storage.put_many({b"a": b"1", b"b": b"2"})
    storage.defer_many({b"a": b"new", b"c": b"3"}, delete=iter([b"b", b"absent"]))
    assert list(storage.scan(b"")) == [(b"a", b"new"), (b"c", b"3")]
    storage.put_many({b"a": b"newest"})
    storage.defer_many({}, delete=[b"c"])
    storage.sync()
    storage.sync()
    assert list(storage.scan(b"")) == [(b"a", b"newest")]


def test_wrong_arguments_and_closed(storage: DeferringStorage) -> None:
    for wrong, error in (({b"": b"1"}, InputError), ({"a": b"1"}, TypeError), ({b"a": 1}, TypeError), (3, TypeError)):
        with pytest.raises(error):
            storage.defer_many(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        storage.defer_many({}, delete=["a"])  # type: ignore[list-item]
    assert list(storage.scan(b"")) == []
    storage.close()
    with pytest.raises(StorageError):
        storage.defer_many({b"a": b"1"})
    with pytest.raises(StorageError):
        storage.sync()


def test_a_storage_that_cannot_defer_writes_at_once() -> None:
    plain = Plain()
    assert isinstance(plain, Storage)
    assert not isinstance(plain, DeferringStorage)
    inside = NamespacedStorage(plain, b"n/")
    inside.defer_many({b"a": b"1", b"b": b"2"})
    inside.defer_many({}, delete=[b"b"])
    inside.sync()
    assert list(plain.scan(b"")) == [(b"n/a", b"1")]


# --- SQLite: what is synced ------------------------------------------------------------------------------------------


def synced(storage: SqliteStorage) -> bool:
    """Whether the last commit was made by a connection that syncs."""
    assert storage._writer is not None
    return bool(storage._writer.execute("PRAGMA synchronous").fetchone() == (2,))


def test_only_a_deferred_commit_is_not_synced(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        for round_ in range(3):  # again and again: a statement that was compiled before must act as well
            storage.defer_many({b"a": b"%d" % round_})
            assert not synced(storage)
            assert storage._writer is not None
            assert storage._writer.execute("PRAGMA synchronous").fetchone() == (1,), "NORMAL, which syncs checkpoints"
            storage.put_many({b"b": b"%d" % round_})
            assert synced(storage)
            storage.defer_many({b"a": b"x"})
            storage.delete_many([b"b"])
            assert synced(storage)
            storage.defer_many({b"a": b"y"})
            assert storage.put_if(b"a", b"z", b"y")
            assert synced(storage)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_kernel_sees_one_sync_for_a_synced_commit_and_none_for_a_deferred_one(tmp_path: Path) -> None:
    script = """
        import os, sys
        from city_chain.adapters.storage.sqlite import SqliteStorage

        def mark(what):
            try:
                os.stat("/mark-" + what)
            except FileNotFoundError:
                pass

        with SqliteStorage(sys.argv[1]) as storage:
            storage.put_many({b"first": b""})
            mark("deferred")
            for at in range(5):
                storage.defer_many({b"%d" % at: b"x" * 5000})
            mark("put")
            storage.put_many({b"last": b""})
            mark("defer-and-sync")
            storage.defer_many({b"more": b""})
            storage.sync()
            mark("nothing-to-sync")
            storage.sync()
            mark("end")
    """
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=fsync,fdatasync,stat,newfstatat,statx", sys.executable]
    traced = [*command, "-c", textwrap.dedent(script), str(tmp_path / "kv.db")]
    done = subprocess.run(traced, capture_output=True, text=True, timeout=60, check=False)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("may not trace here")
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    part = ""
    for line in log.read_text().splitlines():
        if "/mark-" in line:
            part = line.split("/mark-")[1].split('"')[0]
            counts[part] = 0
        elif part and "sync(" in line:
            counts[part] += 1
    del counts["end"]
    assert counts == {"deferred": 0, "put": 1, "defer-and-sync": 1, "nothing-to-sync": 0}


IDLE: dict[str, Callable[[SqliteStorage], object]] = {
    "a value that is there": lambda storage: storage.put_many({b"k": b"v"}),
    "a key that is absent": lambda storage: storage.delete_many([b"absent"]),
    "nothing": lambda storage: storage.put_many({}),
    "refused, another value": lambda storage: storage.put_if(b"k", b"w", b"x"),
    "refused, there already": lambda storage: storage.put_if(b"k", b"w", None),
    "the same for the same": lambda storage: storage.put_if(b"k", b"v", b"v"),
}


@pytest.mark.parametrize("call", IDLE.values(), ids=IDLE)
def test_a_synced_call_that_changes_nothing_syncs_what_was_deferred(
    call: Callable[[SqliteStorage], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(sqlite, "sync_log", calls.append)
    with SqliteStorage(tmp_path / "kv.db") as storage:
        storage.put_many({b"k": b"v"})
        call(storage)
        assert calls == [], "nothing was deferred"
        storage.defer_many({b"a": b"1"})
        logged = storage._log_bytes()
        call(storage)
        assert storage._log_bytes() == logged, "SQLite had nothing to log, hence nothing to sync"
        assert calls == [tmp_path / "kv.db"]
        storage.defer_many({b"a": b"2"})
        storage.defer_many({b"a": b"2"})
        storage.sync()
        assert len(calls) == 2
        assert dict(storage.scan(b"")) == {b"a": b"2", b"k": b"v"}


def test_a_sync_that_fails_where_nothing_was_changed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        storage.defer_many({b"a": b"1"})
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "sync_log", broken_sync)
            with pytest.raises(StorageError, match=r"syncing .* failed"):
                storage.delete_many([b"absent"])
        storage.sync()
        assert not storage._deferred


# --- SQLite: loss of power -------------------------------------------------------------------------------------------


def frames(log: bytes) -> list[tuple[int, bool]]:
    """(where it ends, whether it ends a commit) of every frame in a log of the current salt."""
    page = struct.unpack(">I", log[8:12])[0]
    salt = log[16:24]
    found = []
    for start in range(32, len(log) - 24 - page + 1, 24 + page):
        if log[start + 8 : start + 16] != salt:
            break
        found.append((start + 24 + page, log[start + 4 : start + 8] != bytes(4)))
    return found


def reopened(folder: Path, source: Path, log: bytes) -> dict[bytes, bytes]:
    """What a storage holds that finds this log."""
    folder.mkdir()
    shutil.copy(source, folder / "kv.db")
    (folder / "kv.db-wal").write_bytes(log)
    with SqliteStorage(folder / "kv.db") as storage:
        found = dict(storage.scan(b""))
    shutil.rmtree(folder)
    return found


def test_whatever_of_the_log_is_lost_a_prefix_of_the_writes_is_left(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        states: list[dict[bytes, bytes]] = [{}]
        for at in range(12):
            write = storage.put_many if at % 4 == 3 else storage.defer_many
            write({b"%d" % at: os.urandom(3000), b"same": b"%d" % at}, delete=[b"%d" % (at - 2)])
            states.append(dict(storage.scan(b"")))
        log = (tmp_path / "kv.db-wal").read_bytes()
        found = frames(log)
        assert found
        assert sum(ends for _, ends in found) >= 12
        cuts = [end + shift for end, _ in found for shift in (0, -1, -2000)]
        images = [log[:cut] for cut in cuts]
        # Pages reach the disk in any order: one may be missing, or torn, before others that are there.
        images += [log[: end - 4096] + bytes(4096) + log[end:] for end, _ in found]
        images += [log[: end - 9] + b"?" + log[end - 8 :] for end, _ in found]
        seen = [reopened(tmp_path / "other", tmp_path / "kv.db", image) for image in images]
    assert all(state in states for state in seen)
    assert [states.index(state) for state in seen[: 3 * len(found) : 3]] == sorted(
        states.index(state) for state in seen[: 3 * len(found) : 3]
    )
    assert {states.index(state) for state in seen} == set(range(13))


# --- SQLite: a disk that fails ---------------------------------------------------------------------------------------


def test_after_a_failed_sync_all_goes_into_the_file_before_anything_else_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that failed to take the log says so once; the next sync of it would succeed and prove nothing."""
    path = tmp_path / "kv.db"
    with SqliteStorage(path) as storage:
        storage.defer_many({b"a": b"deferred"})
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "sync_log", broken_sync)
            with pytest.raises(StorageError, match="check the disk"):
                storage.sync()
        assert storage.get_many([b"a"]) == [b"deferred"]
        storage.put_many({b"b": b"durable"})
        # The log holds the last write only: what was before it has been synced with the file.
        ends = [end for end, is_end in frames((tmp_path / "kv.db-wal").read_bytes()) if is_end]
        assert len(ends) == 1
        assert reopened(tmp_path / "other", path, b"") == {b"a": b"deferred"}


def test_what_cannot_be_mended_is_not_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kv.db"
    with SqliteStorage(path, timeout_s=0.05) as storage:
        storage.put_many({b"a": b"0"})
        reader = sqlite3.connect(path, autocommit=True)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM kv").fetchone() == (1,)
        storage.defer_many({b"a": b"1"})
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "sync_log", broken_sync)
            with pytest.raises(StorageError):
                storage.sync()
        for write in (storage.put_many, storage.defer_many):
            with pytest.raises(StorageError, match="cannot be mended"):
                write({b"a": b"2"})
        with pytest.raises(StorageError, match="cannot be mended"):
            storage.sync()
        assert storage.get_many([b"a"]) == [b"1"]
        reader.close()
        storage.put_many({b"a": b"3"})
        assert storage.get_many([b"a"]) == [b"3"]


def test_a_failed_write_with_nothing_deferred_needs_no_mending(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        storage.put_many({b"a": b"0"})
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        storage._doubt(failed)
        assert not storage._doubtful
        storage.defer_many({b"a": b"1"})
        storage._doubt(sqlite3.OperationalError("some other error"))
        assert not storage._doubtful
        storage._doubt(failed)
        assert storage._doubtful
        storage.put_many({b"a": b"2"})
        assert not storage._doubtful


def test_what_a_killed_process_left_in_the_log_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        import os, sys
        from city_chain.adapters.storage.sqlite import SqliteStorage
        storage = SqliteStorage(sys.argv[1])
        storage.defer_many({b"a": b"1"})
        os._exit(9)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "kv.db")]
    assert subprocess.run(command, check=False, timeout=60).returncode == 9
    calls: list[Path] = []
    monkeypatch.setattr(sqlite, "sync_log", calls.append)
    with SqliteStorage(tmp_path / "kv.db") as storage:
        assert storage.get_many([b"a"]) == [b"1"]
        storage.sync()
        storage.sync()
    assert calls == [tmp_path / "kv.db"]
    with SqliteStorage(tmp_path / "kv.db", read_only=True) as storage:
        storage.sync()


def broken_sync(path: Path) -> None:
    raise OSError(5, f"Input/output error of {path}")
