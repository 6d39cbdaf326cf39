"""What SQLite storage does when files, disks, processes and machines misbehave."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.adapters.storage.sqlite_file import APPLICATION_ID, FORMAT_VERSION, PAGE_BYTES
from city_chain.errors import InputError, StorageError

pytestmark = pytest.mark.unit

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, modes or limits")


def run(script: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a Python program to its end."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, autocommit=True)


def filled(path: Path, rows: int = 200) -> dict[bytes, bytes]:
    """A closed file with some pages of pairs in it."""
    items = {f"k{number:04}".encode(): os.urandom(300) for number in range(rows)}
    with SqliteStorage(path) as storage:
        storage.put_many(items)
    return items


# --- opening ---------------------------------------------------------------------------------------------------------


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    items = filled(tmp_path / "kv.db")
    for read_only in (False, True):
        with SqliteStorage(str(tmp_path / "kv.db"), create=False, read_only=read_only) as storage:
            assert dict(storage.scan(b"")) == items
            assert storage.path == tmp_path / "kv.db"


def test_every_commit_is_synced_and_logged(tmp_path: Path) -> None:
    """The promise of `durable` rests on these."""
    with SqliteStorage(tmp_path / "kv.db") as storage:
        storage.put_many({b"k": b"v"})
        writer = storage._writer
        assert writer is not None
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert writer.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert writer.execute("PRAGMA user_version").fetchone() == (FORMAT_VERSION,)
        assert (tmp_path / "kv.db-wal").stat().st_size > PAGE_BYTES


@posix_only
def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with SqliteStorage(tmp_path / "kv.db") as storage:
            storage.put_many({b"key": b"secret"})
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"kv.db": 0o600, "kv.db-wal": 0o600, "kv.db-shm": 0o600}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (None, TypeError),
        (3, TypeError),
        (b"kv.db", TypeError),
        ("", InputError),
        ("a\0b", InputError),
        ("x" * 300, StorageError),
        ("no/such/folder/kv.db", StorageError),
        (".", StorageError),
        ("/dev/null", StorageError),
    ],
)
def test_wrong_paths(path: object, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        SqliteStorage(path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file:x?mode=memory", ":memory:", "a b%20c?d#e.db", "ñ漢.db"])
def test_odd_names_are_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SqliteStorage(name) as storage:
        storage.put_many({b"k": b"v"})
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_wrong_options(tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    for options in ({"create": 1}, {"read_only": None}, {"timeout_s": "5"}, {"timeout_s": True}, {"timeout_s": None}):
        with pytest.raises(TypeError):
            SqliteStorage(path, **options)
    for timeout_s in (-1, float("nan"), float("inf"), 1e9, 10**400):
        with pytest.raises(InputError):
            SqliteStorage(path, timeout_s=timeout_s)
    assert not path.exists()


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
@pytest.mark.parametrize("content", [None, b""])
def test_absent_or_empty_without_create(options: dict[str, bool], content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="create=True"):
        SqliteStorage(path, **options)
    assert path.exists() is (content is not None)


def test_an_empty_file_becomes_a_storage(tmp_path: Path) -> None:
    """A process that died between making the file and laying it out leaves such a one."""
    path = tmp_path / "kv.db"
    path.touch()
    with SqliteStorage(path) as storage:
        storage.put_many({b"k": b"v"})
    raw(tmp_path / "bare.db").execute("PRAGMA journal_mode=WAL").connection.close()
    with SqliteStorage(tmp_path / "bare.db") as storage:
        storage.put_many({b"k": b"v"})


@pytest.mark.parametrize("left", [None, b""])
def test_a_log_without_its_file_is_not_thrown_away(left: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    path.with_name("kv.db-wal").write_bytes(b"what was committed last")
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(StorageError, match="log"):
        SqliteStorage(path)
    assert path.with_name("kv.db-wal").read_bytes() == b"what was committed last"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (f"PRAGMA user_version={FORMAT_VERSION + 1}", "version 2"),
        ("PRAGMA user_version=0", "version 0"),
        ("PRAGMA application_id=0", "another program"),
        ("PRAGMA application_id=252006674", "another program"),
        ("DROP TABLE kv", "no such table"),
        ("ALTER TABLE kv RENAME COLUMN value TO other", "no such column"),
    ],
)
def test_foreign_newer_or_altered_files_stay_as_they_are(statement: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    filled(path)
    connection = raw(path)
    connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StorageError, match=says):
            SqliteStorage(path, read_only=read_only)
    assert path.read_bytes() == before


def test_another_programs_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = raw(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        SqliteStorage(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["theirs.db"]


@pytest.mark.parametrize(
    "content", [b"x", b"x" * 511, b"not a database" * 1000, b"SQLite format 3\0", b"SQLite format 3\0" * 256]
)
def test_what_is_no_database(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not a SQLite database"):
        SqliteStorage(path)
    assert path.read_bytes() == content


def test_truncated_at_every_page(tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    items = filled(path)
    whole = path.read_bytes()
    pages = len(whole) // PAGE_BYTES
    assert pages > 10
    for kept in range(1, pages):
        path.write_bytes(whole[: kept * PAGE_BYTES])
        with pytest.raises(StorageError, match=r"damaged|malformed"):
            SqliteStorage(path)
    path.write_bytes(whole)
    with SqliteStorage(path) as storage:
        assert dict(storage.scan(b"")) == items


def test_every_page_overwritten_is_noticed_when_read(tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    items = filled(path)
    whole = path.read_bytes()
    for page in range(len(whole) // PAGE_BYTES):
        start = page * PAGE_BYTES
        path.write_bytes(whole[:start] + b"\xa5" * PAGE_BYTES + whole[start + PAGE_BYTES :])
        with pytest.raises(StorageError, match=r"damaged|not a SQLite"), SqliteStorage(path) as storage:  # noqa: PT012
            list(storage.scan(b""))
            storage.get_many(list(items))


# --- permissions, disks, locks ---------------------------------------------------------------------------------------

UNPRIVILEGED = """
import os, sys
path, action, read_only = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import StorageError
if os.geteuid() == 0:
    import urllib.parse  # what is imported late may not be readable later
    os.setgid(65534)
    os.setuid(65534)
try:
    with SqliteStorage(path, read_only=read_only) as storage:
        if action == "write":
            storage.put_many({b"k": b"v"})
        print(len(list(storage.scan(b""))))
except StorageError as error:
    print("StorageError", error)
"""


@posix_only
def test_permissions() -> None:
    cases = [
        ("read-only file", 0o444, 0o777, "write", False, "may not open"),
        ("unreadable file", 0o000, 0o777, "read", True, "may not open"),
        ("read-only folder", 0o666, 0o555, "write", False, "its folder"),
        ("reading in a read-only folder", 0o444, 0o555, "read", True, "its folder"),
        ("new in a read-only folder", None, 0o555, "write", False, "let this user make files"),
        ("reading a read-only file", 0o444, 0o777, "read", True, ""),
        ("writing", 0o666, 0o777, "write", False, ""),
    ]
    with tempfile.TemporaryDirectory() as outer:  # the folders of tmp_path are private
        os.chmod(outer, 0o755)
        for name, file_mode, folder_mode, action, read_only, says in cases:
            folder = Path(outer, name)
            folder.mkdir()
            path = folder / "kv.db"
            if file_mode is not None:
                filled(path, rows=3)
                before = path.read_bytes()
                path.chmod(file_mode)
            folder.chmod(folder_mode)
            done = run(UNPRIVILEGED, path, action, read_only)
            folder.chmod(0o755)
            assert done.stderr == "", name
            if not says:
                assert done.stdout.strip() == ("3" if action == "read" else "4"), (name, done.stdout)
                continue
            assert done.stdout.startswith("StorageError"), (name, done.stdout)
            assert says in done.stdout, (name, done.stdout)
            if file_mode is not None:
                path.chmod(0o644)
                assert path.read_bytes() == before


def test_read_only_refuses_every_write(tmp_path: Path) -> None:
    items = filled(tmp_path / "kv.db", rows=3)
    with SqliteStorage(tmp_path / "kv.db", read_only=True) as storage:
        for call in (
            lambda: storage.put_many({b"x": b"1"}),
            lambda: storage.delete_many([b"k0000"]),
            lambda: storage.put_if(b"x", b"1", None),
        ):
            with pytest.raises(StorageError, match="read_only"):
                call()
        assert dict(storage.scan(b"")) == items


def test_disk_full_at_each_page_of_a_small_write(tmp_path: Path) -> None:
    """However many pages are left, a write is done whole or not at all, and works again once there is room."""
    before = {f"k{number:02}".encode(): os.urandom(2000) for number in range(20)}
    update = {f"k{number:02}".encode(): os.urandom(9000) for number in range(5, 10)} | {b"new": os.urandom(30_000)}
    gone = [b"k01", b"k02"]
    after = {key: value for key, value in before.items() if key not in gone} | update
    refusals = []
    for spare in range(200):
        folder = tmp_path / str(spare)
        folder.mkdir()
        with SqliteStorage(folder / "kv.db") as storage:
            storage.put_many(before)
            assert storage._writer is not None
            pages = storage._writer.execute("PRAGMA page_count").fetchone()[0]
            storage._writer.execute(f"PRAGMA max_page_count={pages + spare}")
            try:
                storage.put_many(update, delete=gone)
            except StorageError as error:
                refusals.append(str(error))
            else:
                assert dict(storage.scan(b"")) == after
                break
            assert dict(storage.scan(b"")) == before
            storage._writer.execute("PRAGMA max_page_count=1000000")
            storage.put_many(update, delete=gone)
            assert dict(storage.scan(b"")) == after
    assert 5 < len(refusals) < 200
    assert all("disk is full" in refusal for refusal in refusals)


LIMITED = """
import resource, signal, sys
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import StorageError
path, most = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with SqliteStorage(path) as storage:
    storage.put_many({b"before": b"1"})
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        storage.put_many({b"a": bytes(9000), b"b": bytes(9000)}, delete=[b"before"])
        print("done")
    except StorageError as error:
        print("refused", error)
    print(len(list(storage.scan(b""))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    if len(list(storage.scan(b""))) == 1:
        storage.put_many({b"a": bytes(9000), b"b": bytes(9000)}, delete=[b"before"])
    print(sorted(key for key, _ in storage.scan(b"")))
"""


@posix_only
def test_the_log_fails_at_each_place_of_a_small_write(tmp_path: Path) -> None:
    """The system refuses to write beyond a certain byte of the log, for every page of it and places within."""
    outcomes = []
    for most in range(8_000, 60_000, 2_500):
        path = tmp_path / f"{most}.db"
        done = run(LIMITED, path, most)
        assert done.stderr == "", done.stderr
        outcome, count, keys = done.stdout.strip().splitlines()
        assert count == ("2" if outcome == "done" else "1"), done.stdout
        assert keys == "[b'a', b'b']"
        outcomes.append(outcome.split()[0])
        with SqliteStorage(path, create=False) as storage:
            assert [key for key, _ in storage.scan(b"")] == [b"a", b"b"]
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"done", "refused"}


def test_locked_by_another(tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    filled(path, rows=2)
    other = raw(path)
    with SqliteStorage(path, timeout_s=0.05) as storage:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for items in ({b"x": b"1"}, {str(number).encode(): b"" for number in range(100)}):
            with pytest.raises(StorageError, match="locked"):
                storage.put_many(items)
        with pytest.raises(StorageError, match="locked"):
            storage.put_if(b"x", b"1", None)
        assert time.monotonic() - started < 5
        assert len(list(storage.scan(b""))) == 2  # reading does not wait
        other.execute("ROLLBACK")
        storage.put_many({b"x": b"1"})
        assert storage.get_many([b"x"]) == [b"1"]
    other.close()


@posix_only
@pytest.mark.parametrize("replaced", [False, True])
def test_removed_or_replaced_while_open(replaced: bool, tmp_path: Path) -> None:
    path = tmp_path / "kv.db"
    with SqliteStorage(path) as storage:
        storage.put_many({b"k": b"v"})
        for file in list(tmp_path.iterdir()):
            file.unlink()
        if replaced:
            filled(path, rows=1)
        with pytest.raises(StorageError, match="removed or replaced"):
            storage.put_many({b"lost": b"?"})


@posix_only
def test_a_fork_may_not_use_it(tmp_path: Path) -> None:
    done = run(
        """
        import os, sys
        from city_chain.adapters.storage.sqlite import SqliteStorage
        from city_chain.errors import StorageError
        storage = SqliteStorage(sys.argv[1])
        storage.put_many({b"k": b"v"})
        child = os.fork()
        if child == 0:
            for call in (lambda: storage.get_many([b"k"]), lambda: storage.put_many({b"k": b"c"})):
                try:
                    call()
                    os._exit(1)
                except StorageError as error:
                    assert "fork" in str(error)
            storage.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        storage.put_many({b"k": b"parent"})
        print(storage.get_many([b"k"]))
        storage.close()
        """,
        tmp_path / "kv.db",
    )
    assert (done.stdout, done.stderr) == ("[b'parent']\n", "")


# --- several threads and processes -----------------------------------------------------------------------------------


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        storage.put_many({b"k": b"v"})
        with storage._write_lock:
            got: list[object] = []
            reader = threading.Thread(target=lambda: got.extend([storage.get_many([b"k"]), list(storage.scan(b""))]))
            reader.start()
            reader.join(10)
        assert got == [[b"v"], [(b"k", b"v")]]


def test_readers_and_writers_in_many_threads(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "kv.db") as storage:
        failures: list[BaseException] = []

        def work(me: int) -> None:
            try:
                for number in range(30):
                    storage.put_many({b"%d/%d" % (me, number): bytes(100)})
                    assert len(list(storage.scan(b"%d/" % me))) == number + 1
            except BaseException as error:  # noqa: BLE001, RUF100
                failures.append(error)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(list(storage.scan(b""))) == 600
        taken = [storage._take_reader() for _ in range(20)]  # as many threads reading at one moment would
        for reader in taken:
            storage._give_back(reader)
        assert len(storage._readers) == 16


COUNTER = """
import sys
from city_chain.adapters.storage.sqlite import SqliteStorage
with SqliteStorage(sys.argv[1], timeout_s=30) as storage:
    wins = 0
    while wins < 100:
        present = storage.get_many([b"counter"])[0]
        following = str(int(present or b"0") + 1).encode()
        wins += storage.put_if(b"counter", following, present)
"""


def test_put_if_between_processes(tmp_path: Path) -> None:
    """Both also make the file, at the same moment."""
    path = tmp_path / "kv.db"
    workers = [subprocess.Popen([sys.executable, "-c", COUNTER, str(path)]) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    with SqliteStorage(path, create=False) as storage:
        assert storage.get_many([b"counter"]) == [b"200"]


OPENER = """
import sys
from city_chain.adapters.storage.sqlite import SqliteStorage
SqliteStorage(sys.argv[1]).close()
"""


def test_processes_that_make_the_file_at_the_same_moment(tmp_path: Path) -> None:
    """SQLite gives up at once where two lay the same file out: whoever opens it tries again."""
    for at in range(12):
        command = [sys.executable, "-c", OPENER, str(tmp_path / f"{at}.db")]
        workers = [subprocess.Popen(command) for _ in range(4)]
        assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]


BATCHES = """
import sys
from city_chain.adapters.storage.sqlite import SqliteStorage
path, first = sys.argv[1], int(sys.argv[2])
storage = SqliteStorage(path)
batch = first
while True:
    items = {b"%08d/%d" % (batch, part): b"%d" % batch * 500 for part in range(batch % 90 + 1)}
    storage.put_many(items, delete=[b"last/%08d" % (batch - 1)])
    print(batch, flush=True)
    storage.put_many({b"last/%08d" % batch: b""})
    batch += 1
"""


@posix_only
def test_kill_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    """Every batch that was reported is there, and every batch that is there is whole."""
    path = tmp_path / "kv.db"
    dice = random.Random(4)
    reported: list[int] = []
    kills = 0
    while kills < 20 or len(reported) <= 100:
        kills += 1
        assert kills <= 400, f"only {len(reported)} batches"
        first = reported[-1] + 2 if reported else 0
        command = [sys.executable, "-c", BATCHES, str(path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            reported.append(int(worker.stdout.readline()))
            time.sleep(dice.random() * 0.15)
            worker.send_signal(signal.SIGKILL)
            reported += [int(line) for line in worker.stdout.read().split("\n") if line]
        assert worker.returncode == -signal.SIGKILL
        with SqliteStorage(path, create=False) as storage:
            found: dict[int, int] = {}
            for key, value in storage.scan(b"0"):
                batch = int(key[:8])
                assert value == b"%d" % batch * 500
                found[batch] = found.get(batch, 0) + 1
            assert set(reported) <= set(found)
            assert all(parts == batch % 90 + 1 for batch, parts in found.items())
            assert len(list(storage.scan(b"last/"))) <= 2 * kills


# --- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_stays_bounded(tmp_path: Path) -> None:
    log = tmp_path / "kv.db-wal"
    with SqliteStorage(tmp_path / "kv.db") as storage:
        largest = 0
        for number in range(3000):
            storage.put_many({b"k%d" % (number % 50): bytes([number % 256]) * 32_768})
            largest = max(largest, log.stat().st_size)
        assert (tmp_path / "kv.db").stat().st_size > 50 * 32_768  # a checkpoint has run
    assert largest < 80 << 20  # 3000 commits wrote more than 100 MB
    assert not log.exists()


def test_writers_do_the_checkpoint_when_no_thread_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with SqliteStorage(tmp_path / "kv.db") as storage:
        for number in range(1000):
            storage.put_many({b"k%d" % (number % 50): bytes(32_768)})
        assert (tmp_path / "kv.db-wal").stat().st_size < 24 << 20


def test_a_failed_checkpoint_loses_nothing(tmp_path: Path) -> None:
    """A reader of another program holds the log back; writing goes on, and the log shrinks after it is gone."""
    path = tmp_path / "kv.db"
    with SqliteStorage(path) as storage:
        storage.put_many({b"k": b"old"})
        other = raw(path)
        other.execute("BEGIN")
        assert other.execute("SELECT value FROM kv").fetchall() == [(b"old",)]
        for number in range(400):
            storage.put_many({b"k": bytes([number % 256]) * 32_768})
        assert other.execute("SELECT value FROM kv").fetchall() == [(b"old",)]
        other.execute("COMMIT")
        other.close()
        assert storage.get_many([b"k"]) == [bytes([399 % 256]) * 32_768]
        grown = (tmp_path / "kv.db-wal").stat().st_size
        for _ in range(3000):
            storage.put_many({b"k": bytes(32_768)})
        assert (tmp_path / "kv.db-wal").stat().st_size < grown + (80 << 20)


def test_dropped_without_close(tmp_path: Path) -> None:
    """The files are released all the same; a leaked connection would warn, and warnings are errors here."""

    def use() -> None:
        storage = SqliteStorage(tmp_path / "kv.db")
        storage.put_many({b"k": b"v"})
        assert storage.get_many([b"k"]) == [b"v"]

    use()
    assert not (tmp_path / "kv.db-wal").exists()


def test_close_while_others_work(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "kv.db")
    seen: list[BaseException] = []

    def work(call: Callable[[], object]) -> None:
        try:
            while True:
                call()
        except BaseException as error:  # noqa: BLE001, RUF100
            seen.append(error)

    calls = [
        lambda: storage.put_many({b"k": bytes(5000)}),
        lambda: storage.get_many([b"k"]),
        lambda: list(storage.scan(b"")),
        lambda: storage.put_if(b"x", b"1", b"2"),
    ]
    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    storage.close()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 4
    assert all(isinstance(error, StorageError) for error in seen), seen
