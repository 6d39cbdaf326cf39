"""What every storage keeps: the contract of `ports.Storage`, against each adapter and against a dict."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from city_chain.adapters.storage.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX, prefix_end
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError, StorageError
from city_chain.ports import Storage

pytestmark = pytest.mark.unit

Make = Callable[[Path], Storage]


def _inside(storage: Storage) -> Storage:
    """A namespace with neighbours on both sides, which must neither be seen nor touched."""
    storage.put_many({b"n": b"below", b"n\xfe\xff": b"below", b"n\xff/": b"no key of ours", b"o": b"above"})
    return NamespacedStorage(storage, b"n\xff")


ADAPTERS: dict[str, Make] = {
    "memory": lambda _folder: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "kv.db"),
    "namespaced-memory": lambda _folder: NamespacedStorage(MemoryStorage(), b"n\xff"),
    "namespaced-sqlite": lambda folder: NamespacedStorage(SqliteStorage(folder / "kv.db"), b"n\xff"),
}


@pytest.fixture(params=ADAPTERS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One open storage of each kind."""
    opened = ADAPTERS[request.param](tmp_path)
    yield opened
    opened.close()


def test_is_a_storage(storage: Storage) -> None:
    assert isinstance(storage, Storage)


def test_durable_says_what_outlives_the_process(tmp_path: Path) -> None:
    for name, make in ADAPTERS.items():
        folder = tmp_path / name
        folder.mkdir()
        opened = make(folder)
        assert opened.durable is name.endswith("sqlite"), name
        opened.close()


def test_reads_in_the_order_asked_for(storage: Storage) -> None:
    storage.put_many({b"b": b"2", b"a": b"1", b"e": b""})
    assert storage.get_many([b"b", b"x", b"a", b"b", b"e"]) == [b"2", None, b"1", b"2", b""]
    assert storage.get_many([]) == []


def test_overwrites_and_removes_at_once(storage: Storage) -> None:
    storage.put_many({b"a": b"1", b"b": b"2"})
    storage.put_many({b"a": b"new", b"c": b"3"}, delete=iter([b"b", b"absent"]))
    assert list(storage.scan(b"")) == [(b"a", b"new"), (b"c", b"3")]
    storage.put_many({b"a": b"kept"}, delete=[b"a"])
    assert storage.get_many([b"a"]) == [b"kept"]
    storage.delete_many(key for key in (b"a", b"c", b"absent"))
    assert list(storage.scan(b"")) == []
    storage.put_many({})
    storage.delete_many([])


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 1000])
def test_batches_of_any_size(storage: Storage, count: int) -> None:
    items = {f"k{number:05}".encode(): f"v{number}".encode() for number in range(count)}
    storage.put_many(items)
    assert storage.get_many(list(items)) == list(items.values())
    assert list(storage.scan(b"k")) == sorted(items.items())
    storage.put_many({b"other": b"x"}, delete=items)
    assert list(storage.scan(b"")) == [(b"other", b"x")]


def test_put_if(storage: Storage) -> None:
    assert not storage.put_if(b"k", b"1", b"0")
    assert storage.put_if(b"k", b"1", None)
    assert not storage.put_if(b"k", b"2", None)
    assert not storage.put_if(b"k", b"2", b"0")
    assert not storage.put_if(b"k", b"2", b"")
    assert storage.put_if(b"k", b"1", b"1")
    assert storage.put_if(b"k", b"", b"1")
    assert not storage.put_if(b"k", b"3", None)
    assert storage.put_if(b"k", b"3", b"")
    assert storage.get_many([b"k"]) == [b"3"]


def test_put_if_lets_one_thread_win(storage: Storage) -> None:
    rounds, threads = 50, 4
    storage.put_many({b"counter": (0).to_bytes(4, "big")})
    wins = [0] * threads

    def count(me: int) -> None:
        while wins[me] < rounds:
            present = storage.get_many([b"counter"])[0]
            assert present is not None
            following = (int.from_bytes(present, "big") + 1).to_bytes(4, "big")
            wins[me] += storage.put_if(b"counter", following, present)

    workers = [threading.Thread(target=count, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert storage.get_many([b"counter"]) == [(rounds * threads).to_bytes(4, "big")]


def test_batches_are_seen_whole_by_other_threads(storage: Storage) -> None:
    keys = [f"k{number}".encode() for number in range(100)]  # more than one statement in SQLite
    storage.put_many(dict.fromkeys(keys, b"0"))
    stop = threading.Event()
    torn: list[set[bytes | None]] = []

    def look() -> None:
        while not stop.is_set():
            seen = set(storage.get_many(keys))
            if len(seen) != 1:
                torn.append(seen)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(50):
        storage.put_many(dict.fromkeys(keys, str(number).encode()))
    stop.set()
    reader.join()
    assert torn == []


def test_scan_bounds(storage: Storage) -> None:
    keys = [b"a", b"a\x00", b"a\x00b", b"a\xfe", b"a\xff", b"a\xff\xff", b"a\xff\xff\x00", b"b", b"\xff", b"\xff\xff"]
    storage.put_many({key: key[::-1] for key in keys})
    for prefix in (b"", b"a", b"a\xff", b"a\xff\xff", b"\xff", b"\xff\xff", b"\xff\xff\xff", b"c", b"a\x00"):
        for after in (None, b"", b"a", b"a\xff", b"a\xff\xfe", b"b", b"\xff\xff", b"zz"):
            for limit in (None, 0, 1, 3, 100):
                expected = sorted((k, k[::-1]) for k in keys if k.startswith(prefix) and (after is None or k > after))
                got = list(storage.scan(prefix, after=after, limit=limit))
                assert got == expected[:limit], (prefix, after, limit)


def test_scan_goes_on_while_others_write(storage: Storage) -> None:
    items = {f"k{number:05}".encode(): bytes(8) for number in range(700)}
    storage.put_many(items)
    seen = []
    for key, _ in storage.scan(b"k"):
        seen.append(key)
        storage.put_many({b"a" + key: b"behind"}, delete=[key])
    assert seen == sorted(items)
    assert list(storage.scan(b"k")) == []
    assert len(list(storage.scan(b"ak"))) == 700


def test_scan_with_big_values(storage: Storage) -> None:
    items = {f"k{number}".encode(): bytes([number]) * 700_000 for number in range(7)}
    storage.put_many(items)
    assert dict(storage.scan(b"k")) == items
    assert dict(storage.scan(b"k", limit=3)) == dict(sorted(items.items())[:3])


def test_longest_keys_and_the_first_too_long(storage: Storage) -> None:
    longest = KEY_BYTES_MAX - (2 if isinstance(storage, NamespacedStorage) else 0)
    storage.put_many({b"\xff" * longest: b"v"})
    assert list(storage.scan(b"\xff" * longest)) == [(b"\xff" * longest, b"v")]
    with pytest.raises(InputError, match="1 to"):
        storage.put_many({b"k" * (longest + 1): b"v"})


WRONG_TYPES = [None, 1, 1.5, "text", bytearray(b"k"), memoryview(b"k"), [b"k"], object(), True]


@pytest.mark.parametrize("wrong", WRONG_TYPES, ids=lambda wrong: type(wrong).__name__)
def test_wrong_types(storage: Storage, wrong: object) -> None:
    storage.put_many({b"k": b"v"})
    calls: list[Callable[[], object]] = [
        lambda: storage.get_many([b"k", wrong]),  # type: ignore[list-item]
        lambda: storage.put_many({b"x": wrong}),  # type: ignore[dict-item]
        lambda: storage.put_many({b"x": b"1"}, delete=[wrong]),  # type: ignore[list-item]
        lambda: storage.delete_many([b"k", wrong]),  # type: ignore[list-item]
        lambda: storage.put_if(wrong, b"", None),  # type: ignore[arg-type]
        lambda: storage.put_if(b"x", wrong, None),  # type: ignore[arg-type]
        lambda: storage.scan(wrong),  # type: ignore[arg-type]
        lambda: storage.put_many(wrong),  # type: ignore[arg-type]
    ]
    if wrong is not None:
        calls += [
            lambda: storage.put_if(b"x", b"", wrong),  # type: ignore[arg-type]
            lambda: storage.scan(b"", after=wrong),  # type: ignore[arg-type]
        ]
    if wrong is not None and (wrong is True or not isinstance(wrong, int)):
        calls.append(lambda: storage.scan(b"", limit=wrong))  # type: ignore[arg-type]
    if not isinstance(wrong, list):
        calls.append(lambda: storage.get_many(wrong))  # type: ignore[arg-type]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert list(storage.scan(b"")) == [(b"k", b"v")]


def test_bytes_are_not_a_list_of_keys(storage: Storage) -> None:
    for call in (storage.get_many, storage.delete_many):
        with pytest.raises(TypeError):
            call(b"key")  # type: ignore[arg-type]


def test_wrong_values(storage: Storage) -> None:
    storage.put_many({b"k": b"v"})
    for key in (b"", b"k" * (KEY_BYTES_MAX + 1)):
        for call in (
            lambda key=key: storage.get_many([key]),
            lambda key=key: storage.put_many({b"x": b"1", key: b"v"}),
            lambda key=key: storage.put_many({b"x": b"1"}, delete=[key]),
            lambda key=key: storage.delete_many([b"k", key]),
            lambda key=key: storage.put_if(key, b"v", None),
        ):
            with pytest.raises(InputError):
                call()
    for limit in (-1, -(10**30)):
        with pytest.raises(InputError):
            storage.scan(b"", limit=limit)
    for name in ("prefix", "after"):
        with pytest.raises(InputError):
            storage.scan(**{"prefix": b"", name: b"k" * (KEY_BYTES_MAX + 1)})  # type: ignore[arg-type]
    assert list(storage.scan(b"", limit=10**30)) == [(b"k", b"v")]


def test_too_big_a_value() -> None:
    with MemoryStorage() as storage, pytest.raises(InputError, match=str(VALUE_BYTES_MAX)):
        storage.put_many({b"k": bytes(VALUE_BYTES_MAX + 1)})


def test_closed(storage: Storage) -> None:
    storage.put_many({b"a": b"1", b"b": b"2"})
    started = storage.scan(b"")
    storage.close()
    storage.close()
    for call in (
        lambda: storage.get_many([b"a"]),
        lambda: storage.put_many({b"a": b"1"}),
        lambda: storage.put_many({}),
        lambda: storage.delete_many([b"a"]),
        lambda: storage.put_if(b"a", b"1", None),
        lambda: storage.scan(b""),
        lambda: next(started),
    ):
        with pytest.raises(StorageError, match="closed"):
            call()


@pytest.mark.parametrize("inner", ["memory", "sqlite"])
def test_namespaces_do_not_see_each_other(inner: str, tmp_path: Path) -> None:
    whole = ADAPTERS[inner](tmp_path)
    part = _inside(whole)
    others = [pair for pair in whole.scan(b"") if not pair[0].startswith(b"n\xff")]
    assert list(part.scan(b"")) == [(b"/", b"no key of ours")]
    part.put_many({b"a": b"1"}, delete=[b"/"])
    assert part.put_if(b"b", b"2", None)
    assert list(part.scan(b"")) == [(b"a", b"1"), (b"b", b"2")]
    assert list(part.scan(b"", after=b"a")) == [(b"b", b"2")]
    assert list(whole.scan(b"n\xff")) == [(b"n\xffa", b"1"), (b"n\xffb", b"2")]
    part.delete_many([b"a", b"b"])
    assert list(whole.scan(b"")) == others
    part.close()
    assert list(whole.scan(b"")) == others
    whole.close()


def test_namespace_arguments() -> None:
    with MemoryStorage() as whole:
        for wrong in (None, "text", bytearray(b"n"), 3):
            with pytest.raises(TypeError):
                NamespacedStorage(whole, wrong)  # type: ignore[arg-type]
        for prefix in (b"", b"n" * 385):
            with pytest.raises(InputError):
                NamespacedStorage(whole, prefix)
        for storage in (None, {}, b"", object()):
            with pytest.raises(TypeError):
                NamespacedStorage(storage, b"n")  # type: ignore[arg-type]


def test_namespaces_nest() -> None:
    with MemoryStorage() as whole:
        inner = NamespacedStorage(NamespacedStorage(whole, b"a/"), b"b/")
        inner.put_many({b"k": b"v"})
        assert list(whole.scan(b"")) == [(b"a/b/k", b"v")]
        assert list(inner.scan(b"")) == [(b"k", b"v")]


def test_prefix_end() -> None:
    assert [prefix_end(prefix) for prefix in (b"", b"\xff\xff", b"a", b"a\xff\xff", b"\x00")] == [
        None,
        None,
        b"b",
        b"b",
        b"\x01",
    ]


def test_memory_keeps_order_through_many_changes() -> None:
    """Enough keys to reach each way in which the ordered list is brought up to date."""
    with MemoryStorage() as storage:
        model: dict[bytes, bytes] = {}
        for turn in range(6):
            fresh = {(number * 7919 % 10_007).to_bytes(3, "big"): bytes([turn]) for number in range(turn, 5000, 3)}
            gone = [key for number, key in enumerate(sorted(model)) if number % (turn + 2)]
            storage.put_many(fresh, delete=gone)
            model = {key: value for key, value in model.items() if key not in set(gone)} | fresh
            assert list(storage.scan(b"")) == sorted(model.items())
            for number in range(5):
                storage.put_many({b"one" + bytes([turn, number]): b"1"})
                model[b"one" + bytes([turn, number])] = b"1"
                assert list(storage.scan(b"one")) == sorted(p for p in model.items() if p[0].startswith(b"one"))
        storage.delete_many(model)
        assert list(storage.scan(b"")) == []


# --- against a dict --------------------------------------------------------------------------------------------------

KEYS = st.binary(min_size=1, max_size=3).map(lambda key: bytes(b"\x00\x01\xfe\xff"[byte % 4] for byte in key))
PREFIXES = st.one_of(st.just(b""), KEYS)
VALUES = st.one_of(st.just(b""), st.binary(max_size=8), st.integers(0, 255).map(lambda byte: bytes([byte]) * 5000))


class Model(RuleBasedStateMachine):
    """Any order of calls gives what a dict would give."""

    adapter = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.storage = ADAPTERS[self.adapter](Path(self.folder.name))
        self.model: dict[bytes, bytes] = {}

    @rule(items=st.dictionaries(KEYS, VALUES, max_size=5), delete=st.lists(KEYS, max_size=5))
    def put_many(self, items: dict[bytes, bytes], delete: list[bytes]) -> None:
        self.storage.put_many(items, delete=delete)
        for key in delete:
            self.model.pop(key, None)
        self.model |= items

    @rule(keys=st.lists(KEYS, max_size=5))
    def delete_many(self, keys: list[bytes]) -> None:
        self.storage.delete_many(keys)
        for key in keys:
            self.model.pop(key, None)

    @rule(key=KEYS, value=VALUES, expected=st.one_of(st.none(), VALUES), right=st.booleans())
    def put_if(self, key: bytes, value: bytes, expected: bytes | None, right: bool) -> None:
        expected = self.model.get(key) if right else expected
        done = self.storage.put_if(key, value, expected)
        assert done == (self.model.get(key) == expected)
        if done:
            self.model[key] = value

    @rule(keys=st.lists(KEYS, max_size=5))
    def get_many(self, keys: list[bytes]) -> None:
        assert self.storage.get_many(keys) == [self.model.get(key) for key in keys]

    @rule(prefix=PREFIXES, after=st.one_of(st.none(), PREFIXES), limit=st.one_of(st.none(), st.integers(0, 5)))
    def scan(self, prefix: bytes, after: bytes | None, limit: int | None) -> None:
        pairs = [p for p in sorted(self.model.items()) if p[0].startswith(prefix) and (after is None or p[0] > after)]
        assert list(self.storage.scan(prefix, after=after, limit=limit)) == pairs[:limit]

    @rule()
    def reopen(self) -> None:
        if self.adapter == "sqlite":
            self.storage.close()
            self.storage = ADAPTERS[self.adapter](Path(self.folder.name))

    @invariant()
    def same(self) -> None:
        assert list(self.storage.scan(b"")) == sorted(self.model.items())

    def teardown(self) -> None:
        self.storage.close()
        self.folder.cleanup()


def _model_test(name: str) -> type:
    machine = type(f"Model_{name}", (Model,), {"adapter": name})
    case: type = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=30, stateful_step_count=40, deadline=None
    )
    return case


TestModelMemory = _model_test("memory")
TestModelSqlite = _model_test("sqlite")
TestModelNamespacedMemory = _model_test("namespaced-memory")
TestModelNamespacedSqlite = _model_test("namespaced-sqlite")
