"""The write-behind queue: tasks that leave after a run, kept in a storage until they are done.

A task is stored before `put` returns and removed after its handler has returned, so a process that dies in between runs
it again when the queue is next opened: every task is run **at least once**, and handlers must bear a repetition. One
worker thread runs the tasks, the oldest first; one that fails waits (full jitter) while others go on, so order is not
promised. After the last retry it becomes a dead letter, which stays until it is replayed or discarded. As durable as
the storage: in memory, what is pending is lost with the process.

::

    put ──▶ pending ──▶ handler ──▶ done
               ▲           │ error
               │  retry    ▼
               ├─────── waiting
               │           │ retries used up, or it can never work (no handler, damaged)
               │ replay    ▼
               └─────── dead letter ──▶ discard
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self

from city_chain.composer.checks import check_count, check_instant, check_name, check_seconds, shown
from city_chain.composer.declaration import Stage
from city_chain.composer.reservation import Reservation
from city_chain.composer.retry import full_jitter
from city_chain.composer.tasks import (
    PAYLOAD_BYTES_MAX,
    DeadLetter,
    Handler,
    Record,
    check_handlers,
    decode_bytes,
    encode_bytes,
    pack,
    unpack,
)
from city_chain.composer.trace import describe
from city_chain.errors import DeadlineError, InputError, StorageError, UnavailableError
from city_chain.ports import Storage

__all__ = ["WriteBehind"]

CAPACITY_MAX = 1_000_000
"""Most pending tasks that a queue can be made to hold; one costs about 100 bytes of memory, its payload none."""

_PREFIX_BYTES_MAX = 256
_PAGE = 256
"""Dead letters moved in one write."""
_WAIT_S_MAX = 3600.0
"""Longest single wait on a lock; the platform's own limit is lower than infinity."""
_READ_FAILURES = 6
"""How hard a task that cannot be read backs off, as a count of failures."""
_GENERATION_MAX = (1 << 24) - 1
_COUNTER_BITS = 40
_log = logging.getLogger("city_chain.composer")


class WriteBehind:
    """A bounded, durable queue of tasks with one worker thread.

    One queue at a time should be open on a prefix: two would each run all tasks, though neither would lose one. Close
    the queue before its storage. It does not survive a fork: open it in the child.

    Args:
        storage: Where the tasks are kept.
        handlers: What runs them: the write-behind stages themselves, or a mapping from name to function.
        prefix: What the queue's keys begin with, 1 to 256 bytes.
        encode: Makes a task's arguments into bytes; bytes-like arguments only if not given.
        decode: Makes them arguments again.
        capacity: Most tasks pending at once, 1 to 1,000,000.
        retries: How often a task is tried again before it becomes a dead letter, 0 to 1,000.
        backoff_s: Longest first wait before it is tried again, seconds; each next one is twice as long.
        backoff_max_s: Longest wait ever, seconds.
        dead_letters_max: Most dead letters; beyond it a failing task goes on being tried, so that none is lost.
        draw: Gives an even draw from [0, 1) for the jitter.

    Raises:
        TypeError: An argument has the wrong type.
        InputError: An argument has a wrong value.
        StorageError: The storage failed, or what lies under the prefix is no queue.

    Example:
        >>> from city_chain.adapters.storage.memory import MemoryStorage
        >>> kept = []
        >>> with WriteBehind(MemoryStorage(), {"archive": kept.append}) as queue:
        ...     _ = queue.put("archive", [b"receipt"])
        ...     queue.flush(timeout=10)
        >>> kept
        [b'receipt']
    """

    def __init__(
        self,
        storage: Storage,
        handlers: Mapping[str, Handler] | Iterable[Stage],
        *,
        prefix: bytes = b"write-behind/",
        encode: Callable[[Sequence[Any]], bytes] = encode_bytes,
        decode: Callable[[bytes], Sequence[Any]] = decode_bytes,
        capacity: int = 10_000,
        retries: int = 8,
        backoff_s: float = 0.05,
        backoff_max_s: float = 30.0,
        dead_letters_max: int = 10_000,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not isinstance(storage, Storage):
            raise TypeError(f"storage must be a Storage, not {type(storage).__name__}")
        for function, what in ((encode, "encode"), (decode, "decode"), (draw, "draw")):
            if not callable(function):
                raise TypeError(f"{what} must be callable, not {type(function).__name__}")
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix must be bytes, not {type(prefix).__name__}")
        if not 1 <= len(prefix) <= _PREFIX_BYTES_MAX:
            raise InputError(f"prefix has {len(prefix)} bytes; it must have 1 to {_PREFIX_BYTES_MAX}")
        self._storage = storage
        self._handlers = check_handlers(handlers)
        self._prefix = prefix
        self._encode = encode
        self._decode = decode
        self._capacity = check_count(capacity, "capacity", 1, CAPACITY_MAX)
        self._retries = check_count(retries, "retries", 0, 1000)
        self._backoff_s = check_seconds(backoff_s, "backoff_s", above=True)
        self._backoff_max_s = check_seconds(backoff_max_s, "backoff_max_s", above=True)
        self._dead_max = check_count(dead_letters_max, "dead_letters_max", 0, CAPACITY_MAX)
        self._draw = draw
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._moving = threading.Lock()
        """Held by `replay` and `discard`, so that no dead letter is moved twice."""
        self._closing = False
        self._delayed: list[tuple[float, int]] = []
        """When (instant of `time.monotonic`) which task is tried again: a heap."""
        self._next = self._open_generation() << _COUNTER_BITS
        self._ready = deque(self._scan_ids(b"t"))
        self._pending = len(self._ready)
        self._reserved = 0
        self._dead = len(self._scan_ids(b"d"))
        self._worker = threading.Thread(target=self._work, name="write-behind", daemon=True)
        self._worker.start()

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def durable(self) -> bool:
        """Whether a stored task survives the loss of power: whether the storage does."""
        return self._storage.durable

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What runs the tasks, by name; read-only."""
        return MappingProxyType(self._handlers)

    @property
    def pending(self) -> int:
        """How many tasks are stored and not yet done (dead letters are not among them)."""
        return self._pending

    def check_stages(self, stages: Iterable[Stage]) -> None:
        """Checks that this queue would run the functions of `stages` under their names.

        Args:
            stages: Write-behind stages.

        Raises:
            TypeError: One is no `Stage`.
            InputError: A stage has no handler here, or another function.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> archive = Stage("archive", print, inputs=("receipt",), output="archived", write_behind=True)
            >>> with WriteBehind(MemoryStorage(), [archive]) as queue:
            ...     queue.check_stages([archive])
        """
        if isinstance(stages, Stage | str) or not isinstance(stages, Iterable):
            raise TypeError(f"stages must be a sequence of Stage, not {type(stages).__name__}")
        for stage in stages:
            if not isinstance(stage, Stage):
                raise TypeError(f"a stage must be a Stage, not {type(stage).__name__}")
            if stage.name not in self._handlers:
                known = ", ".join(repr(name) for name in list(self._handlers)[:16]) or "none"
                raise InputError(f"the write-behind queue has no handler for stage {stage.name!r}; it has: {known}")
            if self._handlers[stage.name] not in (stage.function, stage):
                raise InputError(
                    f"the write-behind queue's handler {stage.name!r} is another function than the stage's; make the "
                    "queue with the stages of the pipeline that uses it"
                )

    # --- putting in --------------------------------------------------------------------------------------------------

    def put(self, name: str, arguments: Sequence[Any], *, deadline: float | None = None) -> int:
        """Stores one task.

        Args:
            name: Which handler runs it.
            arguments: What the handler is called with.
            deadline: Instant of `time.monotonic` up to which to wait for room; None does not wait.

        Returns:
            The task's id.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: There is no such handler, or the arguments cannot be encoded.
            UnavailableError: There is no room.
            StorageError: The storage failed, or the queue is closed; nothing was stored.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {"archive": print}) as queue:
            ...     task = queue.put("archive", [b"text"])
            ...     queue.flush()
            b'text'
        """
        with self.reserve(1, deadline) as room:
            return room.put_many([(name, arguments)])[0]

    def reserve(self, count: int, deadline: float | None = None) -> Reservation:
        """Room for `count` tasks, taken before they exist. Use it in a `with`: what is left is given back.

        Args:
            count: How many, 1 to the capacity.
            deadline: Instant of `time.monotonic` up to which to wait; None does not wait.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: `count` is out of range.
            UnavailableError: There is no room; says how much was needed and had.
            StorageError: The queue is closed.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {"archive": print}, capacity=2) as queue:
            ...     with queue.reserve(2):
            ...         queue.reserve(1)
            Traceback (most recent call last):
            city_chain.errors.UnavailableError: the write-behind queue has room for 0 tasks of 2; 1 needed
        """
        check_count(count, "count", 1, self._capacity)
        until = -math.inf if deadline is None else check_instant(deadline, "deadline")
        with self._changed:
            while True:
                self._check_open()
                free = self._capacity - self._pending - self._reserved
                if free >= count:
                    self._reserved += count
                    return Reservation(count, self._store, self._give_back)
                left_s = until - time.monotonic()
                # The worker makes the room: if it waited here itself, it would wait for ever.
                if left_s <= 0 or threading.current_thread() is self._worker:
                    raise UnavailableError(
                        f"the write-behind queue has room for {max(free, 0)} tasks of {self._capacity}; {count} needed",
                        needed=count,
                        had=max(free, 0),
                    )
                self._changed.wait(min(left_s, _WAIT_S_MAX))

    def _give_back(self, count: int) -> None:
        """Takes back reserved room that was not used."""
        with self._changed:
            self._reserved -= count
            self._changed.notify_all()

    def _store(self, tasks: Sequence[tuple[str, Sequence[Any]]]) -> list[int]:
        """Stores tasks whose room is reserved, in one write, and hands the room over to them."""
        records = [pack(Record(*self._encoded(name, arguments))) for name, arguments in tasks]
        with self._changed:
            self._check_open()
            ids = list(range(self._next, self._next + len(records)))
            self._next += len(records)
        self._storage.put_many({self._key(b"t", task): record for task, record in zip(ids, records, strict=True)})
        with self._changed:
            self._ready.extend(ids)
            self._pending += len(ids)
            self._reserved -= len(ids)
            self._changed.notify_all()
        return ids

    def _encoded(self, name: str, arguments: Sequence[Any]) -> tuple[str, int, str, bytes]:
        check_name(name, "handler name")
        if name not in self._handlers:
            known = ", ".join(repr(handler) for handler in list(self._handlers)[:16]) or "none"
            raise InputError(f"the write-behind queue has no handler {name!r}; it has: {known}")
        if isinstance(arguments, str | bytes | bytearray | memoryview) or not isinstance(arguments, Sequence):
            raise TypeError(f"arguments of a task must be a sequence, not {type(arguments).__name__}")
        payload = self._encode(arguments)
        if not isinstance(payload, bytes):
            raise TypeError(f"encode must return bytes, not {type(payload).__name__}")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise InputError(f"a task of {name!r} has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX}")
        return name, 0, "", payload

    # --- waiting, dead letters, closing ------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Waits until nothing is pending: every task is done or a dead letter.

        Args:
            timeout: How long to wait, seconds; None waits as long as it takes.

        Raises:
            TypeError: `timeout` is no number.
            InputError: It is negative or not finite, or a handler called this, which would wait for itself.
            DeadlineError: Tasks were still pending; nothing is lost.
            StorageError: The queue is closed.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {}) as queue:
            ...     queue.flush()
        """
        until = math.inf if timeout is None else time.monotonic() + check_seconds(timeout, "timeout")
        if threading.current_thread() is self._worker:
            raise InputError("flush was called by a handler; it would wait for itself")
        with self._changed:
            while True:
                self._check_open()
                if not self._pending:
                    return
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise DeadlineError(f"{self._pending} write-behind tasks are still pending after {timeout} s")
                self._changed.wait(min(left_s, _WAIT_S_MAX))

    def dead_letters(self, *, limit: int = 1000, after: int = -1) -> list[DeadLetter]:
        """The tasks that were given up, the oldest first.

        Args:
            limit: At most how many, 1 to 1,000,000.
            after: Only those whose id is greater, for the next page.

        Raises:
            TypeError: An argument has the wrong type.
            InputError: An argument is out of range.
            StorageError: The storage failed, or the queue is closed.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {"archive": lambda data: 1 // 0}, retries=0) as queue:
            ...     _ = queue.put("archive", [b"receipt"])
            ...     queue.flush()
            ...     [(letter.stage, letter.attempts, letter.error) for letter in queue.dead_letters()]
            [('archive', 1, 'ZeroDivisionError: integer division or modulo by zero')]
        """
        check_count(limit, "limit", 1, CAPACITY_MAX)
        check_count(after, "after", -1, (1 << 64) - 1)
        self._check_open()
        start = None if after < 0 else self._key(b"d", after)
        letters: list[DeadLetter] = []
        for key, value in self._storage.scan(self._prefix + b"d", after=start, limit=limit):
            task = self._task_id(key)
            try:
                record = unpack(value)
            except InputError as error:
                record = Record("", 0, str(error), value)
            letters.append(DeadLetter(task, *record))
        return letters

    def replay(self, task: int | None = None) -> int:
        """Makes dead letters pending again, with all their retries, as far as there is room.

        Args:
            task: The id of one; None is all of them, the oldest first.

        Returns:
            How many.

        Raises:
            TypeError: `task` is not an int.
            InputError: There is no such dead letter, or it is damaged.
            UnavailableError: There is no room for a single one.
            StorageError: The storage failed, or the queue is closed.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {}) as queue:
            ...     queue.replay()
            0
        """
        with self._moving:
            if task is not None:
                record = self._dead_letter(task)
                if not record.stage:
                    raise InputError(f"dead letter {task} is damaged and cannot be replayed; discard it")
                self._revive({task: record})
                return 1
            moved, after = 0, -1
            while letters := self.dead_letters(limit=_PAGE, after=after):
                after = letters[-1].task
                whole = {letter.task: Record(*letter[1:]) for letter in letters if letter.stage}
                with self._changed:
                    free = self._capacity - self._pending - self._reserved
                fitting = dict(list(whole.items())[: max(free, 0 if moved else 1)])
                if fitting:
                    self._revive(fitting)
                moved += len(fitting)
                if len(fitting) < len(whole):
                    break
            return moved

    def discard(self, task: int) -> None:
        """Removes one dead letter for good.

        Args:
            task: Its id.

        Raises:
            TypeError: `task` is not an int.
            InputError: There is no such dead letter.
            StorageError: The storage failed, or the queue is closed.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> with WriteBehind(MemoryStorage(), {}) as queue:
            ...     queue.discard(1)
            Traceback (most recent call last):
            city_chain.errors.InputError: there is no dead letter 1
        """
        with self._moving:
            self._dead_letter(task)
            self._storage.delete_many([self._key(b"d", task)])
            with self._changed:
                self._dead -= 1

    def close(self, timeout: float | None = None) -> None:
        """Stops the worker after the task it is at. What is pending stays in the storage. Closing twice is allowed.

        Args:
            timeout: How long to wait for that task, seconds; None waits as long as it takes.

        Raises:
            TypeError: `timeout` is no number.
            InputError: It is negative or not finite.
            DeadlineError: The task is still running; the worker stops after it.

        Example:
            >>> from city_chain.adapters.storage.memory import MemoryStorage
            >>> WriteBehind(MemoryStorage(), {}).close()
        """
        wait_s = None if timeout is None else min(check_seconds(timeout, "timeout"), _WAIT_S_MAX)
        if os.getpid() != self._process:
            return  # the worker lives in the parent
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is self._worker:
            return
        self._worker.join(wait_s)
        if self._worker.is_alive():
            raise DeadlineError(f"a write-behind task is still running after {timeout} s; the queue closes after it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else f"{self._pending} pending, {self._dead} dead"
        return f"<WriteBehind of {', '.join(self._handlers) or 'nothing'}: {state}>"

    # --- the worker --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._take()) is not None:
            self._attempt(task)

    def _take(self) -> int | None:
        """The next task whose time has come; None when the queue closes."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                if self._delayed and self._delayed[0][0] <= now:
                    return heapq.heappop(self._delayed)[1]
                if self._ready:
                    return self._ready.popleft()
                wait_s = min(self._delayed[0][0] - now, _WAIT_S_MAX) if self._delayed else None
                self._changed.wait(wait_s)
        return None

    def _attempt(self, task: int) -> None:
        """Runs one task once and settles what came of it."""
        try:
            data = self._storage.get_many([self._key(b"t", task)])[0]
        except Exception as error:
            _log.warning("write-behind task %d cannot be read, will be tried again: %s", task, describe(error))
            self._delay(task, _READ_FAILURES)
            return
        if data is None:  # another queue on the same prefix has done it
            self._done(dead=0)
            return
        try:
            record = unpack(data)
        except InputError as error:
            self._bury(task, Record("", 0, str(error), data), data)
            return
        handler = self._handlers.get(record.stage)
        if handler is None:
            self._bury(task, record._replace(error=f"there is no handler {record.stage!r}"))
            return
        try:
            arguments = tuple(self._decode(record.payload))
        except Exception as error:
            self._bury(task, record._replace(error=f"cannot be decoded: {describe(error)}"))
            return
        try:
            handler(*arguments)
        except BaseException as error:  # even SystemExit must not end the worker
            self._failed(task, record._replace(attempts=record.attempts + 1, error=describe(error)))
        else:
            if self._persist({}, [self._key(b"t", task)]):
                self._done(dead=0)

    def _failed(self, task: int, record: Record) -> None:
        if record.attempts > self._retries:
            self._bury(task, record)
        elif self._persist({self._key(b"t", task): pack(record)}, ()):
            self._delay(task, record.attempts)

    def _bury(self, task: int, record: Record, raw: bytes | None = None) -> None:
        """Makes a task a dead letter, or, when there are too many, goes on trying it."""
        if self._dead >= self._dead_max:
            _log.warning("there are %d dead letters; write-behind task %d goes on being tried", self._dead, task)
            self._delay(task, 64)
            return
        _log.warning("write-behind task %d of %r is given up: %s", task, record.stage, record.error)
        value = pack(record) if raw is None else raw
        if self._persist({self._key(b"d", task): value}, [self._key(b"t", task)]):
            self._done(dead=1)

    def _persist(self, items: Mapping[bytes, bytes], delete: Sequence[bytes]) -> bool:
        """Writes until it is written; False if the queue was closed first, and the task runs again after opening."""
        failures = 0
        while True:
            try:
                self._storage.put_many(items, delete=delete)
            except Exception as error:
                failures += 1
                _log.warning("the write-behind queue's storage failed, will be tried again: %s", describe(error))
            else:
                return True
            with self._changed:
                wait_s = self._backoff(failures)
                if self._changed.wait_for(lambda: self._closing, wait_s):
                    return False

    def _backoff(self, failures: int) -> float:
        return full_jitter(failures, self._backoff_s, self._backoff_max_s, math.inf, self._draw)

    def _delay(self, task: int, failures: int) -> None:
        with self._changed:
            heapq.heappush(self._delayed, (time.monotonic() + self._backoff(failures), task))

    def _done(self, *, dead: int) -> None:
        with self._changed:
            self._pending -= 1
            self._dead += dead
            self._changed.notify_all()

    # --- the storage -------------------------------------------------------------------------------------------------

    def _key(self, kind: bytes, task: int) -> bytes:
        return self._prefix + kind + task.to_bytes(8, "big")

    def _task_id(self, key: bytes) -> int:
        tail = key[len(self._prefix) + 1 :]
        if len(tail) != 8:
            raise StorageError(
                f"key {shown(key)} is no task of a write-behind queue; give the queue a prefix of its own"
            )
        return int.from_bytes(tail, "big")

    def _scan_ids(self, kind: bytes) -> list[int]:
        return [self._task_id(key) for key, _ in self._storage.scan(self._prefix + kind)]

    def _open_generation(self) -> int:
        """Counts this opening, so that its ids differ from those of every other."""
        key = self._prefix + b"g"
        while True:
            present = self._storage.get_many([key])[0]
            if present is not None and len(present) != 8:
                raise StorageError(f"key {shown(key)} holds {len(present)} bytes; a queue's opening count has 8")
            generation = 1 + (0 if present is None else int.from_bytes(present, "big"))
            if generation > _GENERATION_MAX:
                raise StorageError(
                    f"the queue under {shown(self._prefix)} was opened {generation} times; that is too often"
                )
            if self._storage.put_if(key, generation.to_bytes(8, "big"), present):
                return generation

    def _dead_letter(self, task: int) -> Record:
        check_count(task, "task", 0, (1 << 64) - 1)
        self._check_open()
        data = self._storage.get_many([self._key(b"d", task)])[0]
        if data is None:
            raise InputError(f"there is no dead letter {task}")
        try:
            return unpack(data)
        except InputError as error:
            return Record("", 0, str(error), data)

    def _revive(self, records: Mapping[int, Record]) -> None:
        with self.reserve(len(records)) as room:
            self._storage.put_many(
                {
                    self._key(b"t", task): pack(record._replace(attempts=0, error=""))
                    for task, record in records.items()
                },
                delete=[self._key(b"d", task) for task in records],
            )
            room._hand_over(len(records))
            with self._changed:
                self._ready.extend(records)
                self._pending += len(records)
                self._reserved -= len(records)
                self._dead -= len(records)
                self._changed.notify_all()

    def _check_open(self) -> None:
        if os.getpid() != self._process:
            raise StorageError("the write-behind queue was opened by another process; open it in this one")
        if self._closing:
            raise StorageError("the write-behind queue is closed")
