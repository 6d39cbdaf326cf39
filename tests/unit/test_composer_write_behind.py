"""The write-behind queue: at least once, bounded, restartable, and nothing lost on any way out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.composer import Pipeline, Stage, Trace, WriteBehind
from city_chain.composer.tasks import Record, decode_bytes, encode_bytes, pack, unpack
from city_chain.errors import DeadlineError, InputError, StorageError, UnavailableError
from city_chain.ports import Storage

pytestmark = pytest.mark.unit

QUICK: dict[str, Any] = {"backoff_s": 0.001, "backoff_max_s": 0.002}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made: Storage = MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "queue.db")
    yield made
    made.close()


class Fragile:
    """A storage whose writes fail while `broken` is set."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.broken = False
        self.refused = threading.Event()

    @property
    def durable(self) -> bool:
        return self.inner.durable

    def _check(self) -> None:
        if self.broken:
            self.refused.set()
            raise StorageError("the disk is full")

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.inner.get_many(keys)

    def put_many(self, items: Mapping[bytes, bytes], *, delete: Iterable[bytes] = ()) -> None:
        self._check()
        self.inner.put_many(items, delete=delete)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        self._check()
        self.inner.delete_many(keys)

    def put_if(self, key: bytes, value: bytes, expected: bytes | None) -> bool:
        return self.inner.put_if(key, value, expected)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        return self.inner.scan(prefix, after=after, limit=limit)

    def close(self) -> None:
        self.inner.close()


class Gate:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self.seen: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.started.set()
        assert self.go.wait(20)
        self.seen.append(data)


def fails(times: int) -> tuple[Callable[[bytes], None], list[bytes]]:
    calls: list[bytes] = []

    def handler(data: bytes) -> None:
        calls.append(data)
        if len(calls) <= times:
            raise OSError(f"failure {len(calls)}")

    return handler, calls


def keys(storage: Storage, kind: bytes) -> list[bytes]:
    return [key for key, _ in storage.scan(b"write-behind/" + kind)]


# --- the good way ----------------------------------------------------------------------------------------------------


def test_tasks_run_in_order_and_leave_nothing_behind(storage: Storage) -> None:
    seen: list[tuple[bytes, ...]] = []
    with WriteBehind(storage, {"archive": lambda *data: seen.append(data)}) as queue:
        ids = [queue.put("archive", [str(number).encode(), b""]) for number in range(20)]
        queue.flush(timeout=30)
        assert seen == [(str(number).encode(), b"") for number in range(20)]
        assert ids == sorted(set(ids))
        assert (queue.pending, keys(storage, b"t"), queue.dead_letters()) == (0, [], [])
        assert queue.durable is storage.durable


def test_own_encodings_are_used() -> None:
    seen: list[object] = []
    with WriteBehind(
        MemoryStorage(),
        {"h": lambda number, text: seen.append((number, text))},
        encode=lambda arguments: repr(tuple(arguments)).encode(),
        decode=lambda payload: payload.decode().strip("()").split(", "),
    ) as queue:
        queue.put("h", [1, "a"])
        queue.flush(timeout=30)
    assert seen == [("1", "'a'")]


def test_a_handler_may_put_further_tasks() -> None:
    seen: list[bytes] = []

    def first(data: bytes) -> None:
        queue.put("second", [data + b"!"])

    with WriteBehind(MemoryStorage(), {"first": first, "second": seen.append}) as queue:
        queue.put("first", [b"x"])
        queue.flush(timeout=30)
    assert seen == [b"x!"]


# --- pipelines -------------------------------------------------------------------------------------------------------


def archiving(function: Callable[[bytes], object]) -> Pipeline:
    return Pipeline(
        "sending",
        [
            Stage("archive", function, inputs=("receipt",), output="archived", write_behind=True),
            Stage("commit", lambda data: b"receipt of " + data, inputs=("data",), output="receipt"),
        ],
        ("data",),
        ("receipt",),
    )


def test_write_behind_stages_are_queued_after_all_others() -> None:
    gate = Gate()
    pipeline = archiving(gate)
    with WriteBehind(MemoryStorage(), pipeline.stages[:1]) as queue:
        run = pipeline.run({"data": b"tx"}, write_behind=queue)
        assert run["receipt"] == b"receipt of tx"
        assert [(event.stage, event.outcome) for event in run.trace.events] == [("commit", "ok"), ("archive", "queued")]
        assert gate.started.wait(20)
        assert not gate.seen
        gate.go.set()
        bound = pipeline.with_write_behind(queue)
        bound.run({"data": b"2"}, on_stage=lambda event: None)
        queue.flush(timeout=30)
        assert gate.seen == [b"receipt of tx", b"receipt of 2"]
        assert bound.replace("commit", Stage("c", bytes, inputs=("data",), output="receipt")).run({"data": b"3"})
        queue.flush(timeout=30)
    assert gate.seen[2:] == [b"3"]


def test_a_run_that_fails_queues_nothing() -> None:
    pipeline = archiving(print).replace("commit", Stage("c", lambda data: 1 // 0, inputs=("data",), output="receipt"))
    with WriteBehind(MemoryStorage(), pipeline.stages[:1], capacity=1) as queue:
        for _ in range(3):  # the room is given back every time
            with pytest.raises(ZeroDivisionError):
                pipeline.run({"data": b"tx"}, write_behind=queue)
        assert queue.pending == 0


def test_a_full_queue_refuses_a_run_before_anything_is_done() -> None:
    gate, done = Gate(), []
    pipeline = archiving(gate).replace(
        "commit", Stage("c", lambda data: done.append(data) or data, inputs=("data",), output="receipt")
    )
    with WriteBehind(MemoryStorage(), pipeline.stages[:1], capacity=1) as queue:
        pipeline.run({"data": b"1"}, write_behind=queue)
        with pytest.raises(UnavailableError) as caught:
            pipeline.run({"data": b"2"}, write_behind=queue)
        assert (caught.value.needed, caught.value.had) == (1, 0)
        with pytest.raises(UnavailableError):
            pipeline.run({"data": b"3"}, write_behind=queue, deadline=time.monotonic() + 0.02)
        assert done == [b"1"]
        threading.Timer(0.05, gate.go.set).start()
        pipeline.run({"data": b"4"}, write_behind=queue, deadline=time.monotonic() + 20)
        queue.flush(timeout=30)
    assert gate.seen == [b"1", b"4"]


def test_a_queue_that_does_not_fit_is_refused() -> None:
    pipeline = archiving(print)
    with pytest.raises(InputError, match=r"'archive'.* no queue"):
        pipeline.run({"data": b"tx"})
    with WriteBehind(MemoryStorage(), {"other": print}) as queue:
        with pytest.raises(InputError, match="no handler for stage 'archive'; it has: 'other'"):
            pipeline.run({"data": b"tx"}, write_behind=queue)
        with pytest.raises(InputError, match="no handler for stage 'archive'"):
            pipeline.with_write_behind(queue)
    with WriteBehind(MemoryStorage(), {"archive": len}) as queue, pytest.raises(InputError, match="another function"):
        pipeline.with_write_behind(queue)


def test_what_cannot_be_stored_says_where() -> None:
    pipeline = archiving(print).replace("commit", Stage("c", lambda data: 3, inputs=("data",), output="receipt"))
    trace = Trace()
    with WriteBehind(MemoryStorage(), pipeline.stages[:1]) as queue:
        with pytest.raises(InputError, match="argument 0 is a int") as caught:
            pipeline.run({"data": b"tx"}, write_behind=queue, trace=trace)
        assert queue.pending == 0
    assert "in stage 'archive' of pipeline 'sending'" in caught.value.__notes__
    assert [(event.stage, event.outcome) for event in trace.events] == [("c", "ok"), ("archive", "error")]


# --- retries and dead letters ----------------------------------------------------------------------------------------


def test_a_task_that_fails_is_tried_again_and_others_go_on(storage: Storage) -> None:
    handler, calls = fails(3)
    seen: list[bytes] = []
    with WriteBehind(storage, {"bad": handler, "good": seen.append}, retries=3, **QUICK) as queue:
        queue.put("bad", [b"b"])
        queue.put("good", [b"g"])
        queue.flush(timeout=30)
        assert (calls, seen, queue.dead_letters()) == ([b"b"] * 4, [b"g"], [])


def test_dead_letters_are_listed_replayed_and_discarded(storage: Storage) -> None:
    handler, calls = fails(10**9)
    with WriteBehind(storage, {"bad": handler}, retries=2, **QUICK) as queue:
        ids = [queue.put("bad", [bytes([number])]) for number in range(5)]
        queue.flush(timeout=30)
        assert len(calls) == 15
        letters = queue.dead_letters()
        assert sorted(letter.task for letter in letters) == ids
        assert {(letter.stage, letter.attempts) for letter in letters} == {("bad", 3)}
        assert all(letter.error.startswith("OSError: failure") for letter in letters)
        assert decode_bytes(letters[0].payload) == (b"\0",)
        assert [letter.task for letter in queue.dead_letters(limit=2, after=ids[1])] == ids[2:4]
        queue.discard(ids[0])
        with pytest.raises(InputError, match="no dead letter"):
            queue.discard(ids[0])
        with pytest.raises(InputError, match="no dead letter"):
            queue.replay(ids[0])
    seen: list[bytes] = []
    with WriteBehind(storage, {"bad": seen.append}, capacity=3) as queue:
        assert queue.replay(ids[1]) == 1
        queue.flush(timeout=30)
        assert queue.replay() == 3
        queue.flush(timeout=30)
        assert sorted(seen) == [b"\1", b"\2", b"\3", b"\4"]
        assert (queue.replay(), keys(storage, b"d"), keys(storage, b"t")) == (0, [], [])


def test_replaying_takes_what_there_is_room_for() -> None:
    storage = MemoryStorage()
    with WriteBehind(storage, {"bad": lambda data: 1 // 0}, retries=0) as queue:
        for _ in range(5):
            queue.put("bad", [b""])
        queue.flush(timeout=30)
    gate = Gate()
    with WriteBehind(storage, {"bad": gate}, capacity=2) as queue:
        assert queue.replay() == 2
        with pytest.raises(UnavailableError):
            queue.replay()
        gate.go.set()
        queue.flush(timeout=30)
        assert len(queue.dead_letters()) == 3


def test_tasks_that_can_never_work_are_dead_at_once(storage: Storage) -> None:
    prefix = b"write-behind/t"
    storage.put_many(
        {
            prefix + bytes(7) + b"\1": b"garbage",
            prefix + bytes(7) + b"\2": pack(Record("gone", 0, "", b"")),
            prefix + bytes(7) + b"\3": pack(Record("here", 0, "", b"\xff\xff")),
            prefix + bytes(7) + b"\4": pack(Record("here", 0, "", encode_bytes([b"fine"]))),
        }
    )
    seen: list[bytes] = []
    with WriteBehind(storage, {"here": seen.append}) as queue:
        assert queue.pending >= 0
        queue.flush(timeout=30)
        letters = queue.dead_letters()
        assert seen == [b"fine"]
        assert [(letter.task, letter.stage) for letter in letters] == [(1, ""), (2, "gone"), (3, "here")]
        assert letters[0].payload == b"garbage"
        assert "no handler 'gone'" in letters[1].error
        assert "cut short" in letters[2].error
        with pytest.raises(InputError, match="damaged"):
            queue.replay(1)
        assert queue.replay() == 2  # all but the damaged one, which stays where it is
        queue.flush(timeout=30)
        assert [letter.task for letter in queue.dead_letters()] == [1, 2, 3]
        queue.discard(1)


def test_no_letter_is_lost_when_there_are_too_many() -> None:
    handler, _ = fails(4)
    with WriteBehind(MemoryStorage(), {"bad": handler}, retries=0, dead_letters_max=1, **QUICK) as queue:
        queue.put("bad", [b"1"])
        queue.put("bad", [b"2"])
        queue.flush(timeout=30)
        assert len(queue.dead_letters()) == 1


def test_even_system_exit_does_not_end_the_worker() -> None:
    def leave(data: bytes) -> None:
        raise SystemExit(3)

    with WriteBehind(MemoryStorage(), {"leave": leave}, retries=0) as queue:
        queue.put("leave", [b""])
        queue.flush(timeout=30)
        assert queue.dead_letters()[0].error == "SystemExit: 3"


# --- bounds, flush, close --------------------------------------------------------------------------------------------


def test_back_pressure_raises_or_waits() -> None:
    gate = Gate()
    with WriteBehind(MemoryStorage(), {"h": gate}, capacity=2) as queue:
        queue.put("h", [b"1"])
        with queue.reserve(1) as room:
            with pytest.raises(UnavailableError, match="room for 0 tasks of 2; 1 needed"):
                queue.put("h", [b"x"])
            assert len(room.put_many([("h", [b"2"])])) == 1
            with pytest.raises(InputError, match="room for 0 tasks in this reservation"):
                room.put_many([("h", [b"3"])])
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            queue.put("h", [b"x"], deadline=started + 0.03)
        assert time.monotonic() - started >= 0.03
        threading.Timer(0.05, gate.go.set).start()
        queue.put("h", [b"3"], deadline=time.monotonic() + 20)
        queue.flush(timeout=30)
    assert gate.seen == [b"1", b"2", b"3"]


def test_a_handler_never_waits_for_the_room_it_makes_itself() -> None:
    refused: list[UnavailableError] = []

    def handler(data: bytes) -> None:
        try:
            queue.put("h", [b"more"], deadline=time.monotonic() + 60)
        except UnavailableError as error:
            refused.append(error)
        with pytest.raises(InputError, match="wait for itself"):
            queue.flush()

    with WriteBehind(MemoryStorage(), {"h": handler}, capacity=1) as queue:
        queue.put("h", [b""])
        queue.flush(timeout=30)
        assert (len(refused), queue.dead_letters()) == (1, [])


def test_flush_and_close_keep_their_time() -> None:
    gate = Gate()
    queue = WriteBehind(MemoryStorage(), {"h": gate})
    queue.put("h", [b"1"])
    with pytest.raises(DeadlineError, match="1 write-behind tasks are still pending"):
        queue.flush(timeout=0.02)
    assert gate.started.wait(20)
    with pytest.raises(DeadlineError, match="still running"):
        queue.close(timeout=0.02)
    gate.go.set()
    queue.close(timeout=30)
    queue.close()
    for call in (
        queue.flush,
        queue.dead_letters,
        queue.replay,
        lambda: queue.discard(0),
        lambda: queue.reserve(1),
        lambda: queue.put("h", [b""]),
    ):
        with pytest.raises(StorageError, match="closed"):
            call()
    assert "closed" in repr(queue)


def test_closing_wakes_those_who_wait() -> None:
    gate = Gate()
    queue = WriteBehind(MemoryStorage(), {"h": gate}, capacity=1)
    queue.put("h", [b"1"])
    errors: list[BaseException] = []

    def wait(call: Callable[[], object]) -> None:
        try:
            call()
        except StorageError as error:
            errors.append(error)

    calls: list[Callable[[], object]] = [queue.flush, lambda: queue.put("h", [b"2"], deadline=float("inf"))]
    waiters = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for waiter in waiters:
        waiter.start()
    time.sleep(0.05)
    gate.go.set()
    queue.close()
    for waiter in waiters:
        waiter.join(20)
        assert not waiter.is_alive()
    # The one may have seen the queue empty, the other have got room, before it closed.
    assert len(errors) <= 2


# --- restarts and failing storages -----------------------------------------------------------------------------------


def test_what_is_pending_is_resumed_by_the_next_queue(storage: Storage) -> None:
    gate = Gate()
    queue = WriteBehind(storage, {"h": gate})
    for number in range(5):
        queue.put("h", [bytes([number])])
    assert gate.started.wait(20)
    closing = threading.Thread(target=queue.close)
    closing.start()
    time.sleep(0.02)
    gate.go.set()
    closing.join(20)
    assert gate.seen == [b"\0"]
    seen: list[bytes] = []
    with WriteBehind(storage, {"h": seen.append}, capacity=1) as queue:
        queue.flush(timeout=30)
        assert seen == [b"\1", b"\2", b"\3", b"\4"]
        assert queue.put("h", [b"new"]) > 1 << 40
        queue.flush(timeout=30)


def test_attempts_are_counted_across_restarts(storage: Storage) -> None:
    handler, calls = fails(10**9)
    queue = WriteBehind(storage, {"bad": handler}, retries=3, backoff_s=60, backoff_max_s=60, draw=lambda: 1.0)
    queue.put("bad", [b"x"])
    while not calls or unpack(storage.get_many(keys(storage, b"t"))[0] or b"").attempts == 0:
        time.sleep(0.005)
    queue.close()
    with WriteBehind(storage, {"bad": handler}, retries=3, **QUICK) as queue:
        queue.flush(timeout=30)
        assert [letter.attempts for letter in queue.dead_letters()] == [4]
    assert len(calls) == 4


SCRIPT = """
import os, sys, time
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.composer import WriteBehind

def handler(data):
    with open(sys.argv[2], "ab") as file:
        file.write(data + b"\\n")
    if data == b"5":
        os._exit(9)

queue = WriteBehind(SqliteStorage(sys.argv[1]), {"h": handler})
with queue.reserve(20) as room:
    room.put_many([("h", [str(number).encode()]) for number in range(20)])
time.sleep(60)
"""


def test_a_process_that_dies_in_a_task_loses_none(tmp_path: Path) -> None:
    database, done = tmp_path / "queue.db", tmp_path / "done"
    (tmp_path / "script.py").write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    died = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(database), str(done)],
        env={**os.environ, "PYTHONPATH": root},
        timeout=60,
        check=False,
    )
    assert died.returncode == 9
    seen = done.read_bytes().split()
    assert seen == [b"0", b"1", b"2", b"3", b"4", b"5"]
    storage = SqliteStorage(database)
    with WriteBehind(storage, {"h": seen.append}) as queue:
        queue.flush(timeout=30)
    storage.close()
    assert seen == [*seen[:6], *(str(number).encode() for number in range(5, 20))]  # 5 twice: at least once


def test_a_storage_that_fails_loses_nothing() -> None:
    storage = Fragile(MemoryStorage())
    gate = Gate()
    with WriteBehind(storage, {"h": gate}, capacity=2, **QUICK) as queue:
        queue.put("h", [b"1"])
        assert gate.started.wait(20)
        storage.broken = True
        with pytest.raises(StorageError, match="disk is full"):
            queue.put("h", [b"2"])
        assert queue.pending == 1
        storage.refused.clear()
        gate.go.set()
        assert storage.refused.wait(20)  # the worker cannot remove what is done, and goes on trying
        assert queue.pending == 1
        storage.broken = False
        queue.flush(timeout=30)
        with queue.reserve(2):
            pass  # the room of the task that was not stored has come back
    assert gate.seen == [b"1"]
    assert isinstance(storage, Storage)


def test_closing_does_not_wait_for_a_storage_that_fails() -> None:
    storage = Fragile(MemoryStorage())
    seen: list[bytes] = []

    def handler(data: bytes) -> None:
        seen.append(data)
        storage.broken = True

    queue = WriteBehind(storage, {"h": handler}, backoff_s=60, backoff_max_s=60, draw=lambda: 1.0)
    queue.put("h", [b"1"])
    assert storage.refused.wait(20)
    queue.close(timeout=20)
    storage.broken = False
    with WriteBehind(storage, {"h": seen.append}) as queue:
        queue.flush(timeout=30)
    assert seen == [b"1", b"1"]


def test_two_queues_on_one_prefix_lose_nothing() -> None:
    storage = MemoryStorage()
    seen: list[bytes] = []
    with WriteBehind(storage, {"h": seen.append}) as one, WriteBehind(storage, {"h": seen.append}) as two:
        ids = {queue.put("h", [str(number).encode()]) for number in range(50) for queue in (one, two)}
        assert len(ids) == 100
        one.flush(timeout=30)
        two.flush(timeout=30)
    assert sorted(seen) == sorted([str(number).encode() for number in range(50)] * 2)


def test_prefixes_keep_queues_apart() -> None:
    storage = MemoryStorage()
    one: list[bytes] = []
    two: list[bytes] = []
    with (
        WriteBehind(storage, {"h": one.append}, prefix=b"one/") as first,
        WriteBehind(storage, {"h": two.append}, prefix=b"two/") as second,
    ):
        first.put("h", [b"1"])
        second.put("h", [b"2"])
        first.flush(timeout=30)
        second.flush(timeout=30)
    assert (one, two) == ([b"1"], [b"2"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"write-behind/g", b"x"),
        (b"write-behind/g", b"\xff" * 8),
        (b"write-behind/t", b""),
        (b"write-behind/d123", b""),
    ],
)
def test_what_is_no_queue_is_refused_at_opening(key: bytes, value: bytes) -> None:
    storage = MemoryStorage()
    storage.put_many({key: value})
    before = threading.active_count()
    with pytest.raises(StorageError):
        WriteBehind(storage, {})
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_queue_does_not_cross_a_fork() -> None:
    with WriteBehind(MemoryStorage(), {"h": print}) as queue:
        queue._process += 1  # what a child sees
        with pytest.raises(StorageError, match="another process"):
            queue.put("h", [b""])
        queue.close()  # leaves the parent's worker alone
        queue._process -= 1
        queue.flush(timeout=30)


# --- records ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_bytes_come_back_as_they_went(arguments: list[bytes]) -> None:
    payload = encode_bytes(arguments)
    assert decode_bytes(payload) == tuple(arguments)
    for cut in range(len(payload)):
        try:
            shorter = decode_bytes(payload[:cut])
        except InputError:
            continue
        assert shorter == tuple(arguments[: len(shorter)])


@given(st.binary(max_size=200))
def test_hostile_records_are_refused_or_read_back_alike(data: bytes) -> None:
    for function in (unpack, decode_bytes):
        try:
            value = function(data)
        except InputError:
            continue
        assert (pack(value) if isinstance(value, Record) else encode_bytes(value)) == data


@given(
    st.text(min_size=1, max_size=128).filter(str.isprintable),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=300),
    st.binary(max_size=100),
)
def test_records_come_back_as_they_went(name: str, attempts: int, error: str, payload: bytes) -> None:
    record = Record(name, attempts, error, payload)
    assert unpack(pack(record)) == record
