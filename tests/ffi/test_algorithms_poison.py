"""Wrong types and absurd sizes into every public function of the algorithms: the documented error and nothing else.

A table names for every function a call that works. Each argument in turn is replaced by every poison; what comes back
must be a value or one of the documented errors. A panic would be a RuntimeError, an unchecked size a MemoryError or an
OverflowError, and all of them fail here.
"""

from __future__ import annotations

import array
import importlib
import inspect
import pkgutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from city_chain import algorithms, cbf, ec, rvh, tnh, vrf
from city_chain.algorithms import abba
from city_chain.errors import InputError, ProtocolError, StorageError, UnavailableError, VerificationError
from city_chain.records import Identity

pytestmark = pytest.mark.ffi

DOCUMENTED = (TypeError, InputError, VerificationError, UnavailableError, ProtocolError)


class Liar:
    """Has every conversion, and lies or raises in it."""

    def __len__(self) -> int:
        return 2**62

    def __index__(self) -> int:
        return 3

    def __float__(self) -> float:
        return 0.5

    def __bytes__(self) -> bytes:
        return b"x"


POISONS: list[object] = [
    None,
    True,
    -1,
    0,
    1,
    2**16,
    2**31,
    2**32,
    2**48,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    2**128,
    -(2**63),
    -(2**200),
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    1j,
    "text",
    "\ud800",
    b"",
    b"x",
    bytes(32),
    bytes(33),
    bytes(64),
    bytes(80),
    b"\xff" * 80,
    bytes(1 << 20),
    bytearray(b"abc"),
    memoryview(b"abcdef")[::2],
    memoryview(bytes(64)).cast("I"),
    array.array("d", [1.0]),
    [],
    [None],
    [b"a"],
    [b"a", "b"],
    [-1],
    [2**64],
    [0] * 100_000,
    [b"x"] * 100_000,
    (),
    {},
    {0: b""},
    {-1: b"a"},
    {2**64: b"a"},
    {"0": b"a"},
    {0: "a"},
    {0: None, 1: b"a"},
    dict.fromkeys(range(70_000), b"ab"),
    set(),
    range(10),
    object(),
    Liar(),
    int,
]

KEY = vrf.SecretKey(bytes(32))
PROOF = KEY.prove(b"alpha")
NODES = rvh.NodeSet([b"a", b"b", b"c"])
OTHER = rvh.NodeSet([b"a", b"b", b"d"])
FRAGMENTS = dict(enumerate(bytes(fragment) for fragment in ec.encode(b"payload", 2, 2).fragments))
CODEC = ec.Codec(2, 2)
BLOOM, CUCKOO = cbf.Bloom(100), cbf.Cuckoo(100)
CUCKOO.insert(b"here")
MEMBER = Identity(bytes(32))
PARTY = (bytes(32), 0, bytes(32), [(MEMBER.id, 1), (bytes([9]) * 32, 1), (bytes([8]) * 32, 1)], MEMBER)


def agreement() -> abba.Abba:
    return abba.Abba(*PARTY)


def common_subset() -> abba.Subset:
    return abba.Subset(*PARTY)


def decided_alone() -> tuple[abba.Subset, bytes]:
    """A subset of one party that has its outcome, and its certificate."""
    alone = abba.Subset(bytes(32), 0, bytes(32), [(MEMBER.id, 1)], MEMBER)
    alone.input(b"batch")
    while True:
        for kind, number, round_number, data in alone.drain():
            if kind == "persist":
                alone.durable(number)
            elif kind == "coin":
                alone.coin_result(number, round_number, True)
            elif kind == "output":
                alone.confirm(bytes(32))
            elif kind == "confirmed":
                return alone, data


CERTIFICATE = abba.Certificate.from_bytes(decided_alone()[1])


@dataclass
class Case:
    """A call that works: the function, its arguments by position and by name."""

    function: Callable[..., object]
    args: tuple[object, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


def handled(call: Callable[..., object], *args: object) -> None:
    """A call that is refused at best: there is nobody to hear from."""
    try:
        call(*args)
    except (InputError, ProtocolError):
        if args and isinstance(args[0], int) and not isinstance(args[0], bool):
            return
        raise


NTP_SENT = 1_800_000_000 * 10**9
NTP_ANSWER = struct.pack(
    ">BBbbII4sQ8sQQ", 0x24, 1, 0, -24, 0, 6, b"TEST", 0, b"12345678", *[4_008_988_800 << 32 | 1 << 25] * 2
)


def asked() -> tnh.NtpClient:
    """A client that waits for an answer."""
    client = tnh.NtpClient()
    client.request(b"12345678")
    return client


NTP_SAMPLE = asked().on_packet(NTP_ANSWER, NTP_SENT, NTP_SENT + 20_000_000)
assert isinstance(NTP_SAMPLE, tnh.NtpSample)

CASES = [
    Case(ec.encode, (b"payload", 2, 2), {"fragment_hash": "blake3", "code": None}),
    Case(ec.decode, (FRAGMENTS, 2, 2, 7), {"code": "gf8"}),
    Case(ec.rebuild, (FRAGMENTS, [0, 3], 2, 2, 7), {"code": 2}),
    Case(ec.fragment_len, (7, 2, 2), {"code": None}),
    Case(ec.code_for, (2, 2)),
    Case(ec.Codec, (2, 2), {"code": "rs16"}),
    Case(CODEC.encode, (b"payload",), {"fragment_hash": None}),
    Case(CODEC.decode, (FRAGMENTS, 7)),
    Case(CODEC.rebuild, (FRAGMENTS, [0, 3], 7)),
    Case(CODEC.fragment_len, (7,)),
    Case(ec.encode(b"payload", 2, 2).__getitem__, (1,)),
    Case(
        ec.encode_file,
        ("file", "set", 2, 2),
        {
            "keep_original": False,
            "block_len": 64,
            "code": "gf8",
            "force": True,
            "sync": False,
            "on_progress": None,
        },
    ),
    *(
        Case(function, args, {"original": None, "expected_root": None, **more, "on_progress": None})
        for function, args, more in (
            (ec.decode_file, ("file.ec", "restored"), {"force": True, "sync": False}),
            (ec.inspect_file, ("file.ec",), {}),
            (ec.verify_file, ("file.ec",), {}),
            (ec.rebuild_file, ("file.ec", "place"), {"force": False, "sync": False}),
        )
    ),
    Case(rvh.NodeSet, ([b"a", b"b"], [1, 2], [b"x", b"y"])),
    Case(NODES.pick, (b"key", 2), {"exclude": [0]}),
    Case(NODES.pick_many, ([b"key"], 2)),
    Case(NODES.pick_many, (b"keykey", 2), {"width": 3, "exclude": [0]}),
    Case(NODES.rank, (b"key",), {"exclude": [0]}),
    Case(NODES.owner_changes, (OTHER, [b"key"], 2)),
    Case(NODES.owner_changes, (OTHER, b"keykey", 2), {"width": 3}),
    Case(NODES.id, (1,)),
    Case(NODES.position, (b"a",)),
    Case(vrf.SecretKey, (bytes(32),)),
    Case(KEY.prove, (b"alpha",), {"suite": "tai"}),
    Case(KEY.prove_batchable, (b"alpha",), {"suite": "tai"}),
    Case(vrf.verify, (KEY.public_key, b"alpha", PROOF), {"suite": "ell2"}),
    Case(vrf.verify_many, ([(KEY.public_key, b"alpha", PROOF)],), {"suite": "ell2"}),
    Case(lambda one: vrf.verify_many([one]), ((KEY.public_key, b"alpha", PROOF),)),
    Case(lambda public, alpha, proof: vrf.verify_many([(public, alpha, proof)]), (KEY.public_key, b"alpha", PROOF)),
    Case(vrf.proof_to_hash, (PROOF,), {"suite": "ell2"}),
    Case(vrf.to_batchable, (KEY.public_key, b"alpha", PROOF), {"suite": "ell2"}),
    Case(vrf.to_compact, (KEY.public_key, b"alpha", KEY.prove_batchable(b"alpha")), {"suite": "ell2"}),
    Case(vrf.sortition, (bytes(64), 3, 10, 2)),
    Case(vrf.alpha, (bytes(32), 1, 1, bytes(32))),
    Case(vrf.transaction_seed, (bytes(64), bytes(32), 1)),
    Case(cbf.Bloom, (100, 0.01), {"seed": 1}),
    Case(BLOOM.insert, (b"key",)),
    Case(BLOOM.contains, (b"key",)),
    Case(BLOOM.__contains__, (b"key",)),
    Case(BLOOM.insert_many, ([b"key"],)),
    Case(BLOOM.insert_many, (b"keykey",), {"width": 3}),
    Case(BLOOM.contains_many, ([b"key"],)),
    Case(BLOOM.contains_many, (b"keykey",), {"width": 3}),
    Case(BLOOM.union, (cbf.Bloom(100),)),
    Case(lambda other: BLOOM | other, (cbf.Bloom(100),)),
    Case(cbf.Bloom.from_bitset, (bytes(32), 3, 0.01), {"seed": 1}),
    Case(cbf.Bloom.from_bytes, (BLOOM.to_bytes(),)),
    Case(cbf.Cuckoo, (100,), {"seed": 1}),
    Case(lambda key: cbf.Cuckoo(3).insert(key), (b"key",)),
    Case(lambda keys: cbf.Cuckoo(30).insert_many(keys), ([b"key"],)),
    Case(lambda keys, width: cbf.Cuckoo(30).insert_many(keys, width=width), (b"keykey", 3)),
    Case(CUCKOO.contains, (b"key",)),
    Case(CUCKOO.__contains__, (b"key",)),
    Case(CUCKOO.contains_many, ([b"key"],)),
    Case(CUCKOO.contains_many, (b"keykey",), {"width": 3}),
    Case(lambda key: cbf.Cuckoo.from_bytes(CUCKOO.to_bytes()).remove(key), (b"here",)),
    Case(cbf.Cuckoo.from_bytes, (CUCKOO.to_bytes(),)),
    Case(abba.Abba, PARTY),
    Case(abba.Abba.restore, (*PARTY, [agreement().snapshot()])),
    Case(lambda bit: agreement().input(bit), (True,)),
    Case(lambda *args: handled(agreement().handle, *args), (1, b"message")),
    Case(lambda *args: handled(agreement().coin_result, *args), (0, True)),
    Case(lambda *args: handled(agreement().durable, *args), (1,)),
    Case(lambda *args: agreement().resend(*args)),
    Case(lambda *args: agreement().drain(*args)),
    Case(lambda *args: agreement().snapshot(*args)),
    Case(abba.Subset, PARTY),
    Case(abba.Subset.restore, (*PARTY, [common_subset().snapshot()])),
    Case(lambda payload: common_subset().input(payload), (b"batch",)),
    Case(lambda *args: handled(common_subset().handle, *args), (1, b"message")),
    Case(lambda *args: handled(common_subset().payload_result, *args), (1, True)),
    Case(lambda *args: handled(common_subset().coin_result, *args), (1, 0, True)),
    Case(decided_alone()[0].confirm, (bytes(32),)),
    Case(CERTIFICATE.verify, ([(MEMBER.id, 1)],)),
    Case(abba.Certificate.from_bytes, (CERTIFICATE.to_bytes(),)),
    Case(tnh.Hlc, (500, 0)),
    Case(lambda *args: tnh.Hlc().now(*args), (1,)),
    Case(lambda *args: tnh.Hlc().now_many(*args), (1, 2)),
    Case(lambda *args: tnh.Hlc().now_packed(*args), (1, 2)),
    Case(lambda *args: tnh.Hlc().update(*args), (1, 2)),
    Case(lambda *args: tnh.Hlc().upper_bound(*args), (1, 2)),
    Case(tnh.intersect, ([(0, 1)],), {"total": 1}),
    Case(lambda *args: tnh.NtpClient().request(*args), (b"12345678",)),
    Case(lambda *args: asked().on_packet(*args), (NTP_ANSWER, NTP_SENT, NTP_SENT + 20_000_000)),
    Case(NTP_SAMPLE.uncertainty_ns, (1,)),
    Case(tnh.pack, (1, 2)),
    Case(tnh.ms, (1,)),
    Case(tnh.counter, (1,)),
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file and its fragments in the current folder, which is nobody else's."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"payload" * 100)
    ec.encode_file("file", k=2, p=2, block_len=64)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_poison(case: Case) -> None:
    case.function(*case.args, **case.kwargs)
    for poison in POISONS:
        for at in range(len(case.args)):
            spoilt = (*case.args[:at], poison, *case.args[at + 1 :])
            check(case, spoilt, case.kwargs, poison)
        for name in case.kwargs:
            check(case, case.args, case.kwargs | {name: poison}, poison)
    with pytest.raises(TypeError):
        case.function(*case.args, *[None] * 5)
    with pytest.raises(TypeError):
        case.function(*case.args, **case.kwargs, nobody=1)


def check(case: Case, args: tuple[object, ...], kwargs: dict[str, Any], poison: object) -> None:
    try:
        case.function(*args, **kwargs)
    except DOCUMENTED as error:
        if not str(error):
            pytest.fail(f"{case.name}: {type(error).__name__} does not say what was wrong")
    except StorageError:
        assert "_file" in case.name, "only what works on files raises it"
    except IndexError:
        assert "getitem" in case.name, "only a sequence raises it"
    except Exception as error:
        pytest.fail(f"{case.name}: {str(poison)[:60]!r} raised {type(error).__name__}: {error}")


INTEGER_CALLS: list[Callable[[Any], object]] = [
    lambda wrong: ec.fragment_len(wrong, 2, 2),
    lambda wrong: ec.Codec(wrong, 2),
    lambda wrong: CODEC.decode(FRAGMENTS, wrong),
    lambda wrong: ec.encode(b"", wrong, 2),
    lambda wrong: ec.decode(FRAGMENTS, 2, 2, wrong),
    lambda wrong: tnh.pack(wrong, 0),
    tnh.Hlc,
    cbf.Cuckoo,
    lambda wrong: cbf.Bloom(10, seed=wrong),
    lambda wrong: NODES.pick(b"", wrong),
    lambda wrong: NODES.pick(b"", 1, exclude=[wrong]),
    lambda wrong: vrf.transaction_seed(bytes(64), bytes(32), wrong),
    lambda wrong: vrf.sortition(bytes(64), wrong, 2**64 - 1, 1),
    lambda wrong: vrf.sortition(bytes(64), 0, wrong, 1),
    lambda wrong: vrf.sortition(bytes(64), 0, 2**64 - 1, wrong),
]
BYTES_CALLS: list[Callable[[Any], object]] = [
    lambda wrong: ec.encode(wrong, 2, 2),
    lambda wrong: ec.decode({0: wrong}, 2, 2, 7),
    NODES.position,
    BLOOM.insert,
    vrf.SecretKey,
    KEY.prove_batchable,
    lambda wrong: vrf.verify_many([(wrong, b"", PROOF)]),
    lambda wrong: vrf.verify_many([(KEY.public_key, wrong, PROOF)]),
    lambda wrong: vrf.verify_many([(KEY.public_key, b"", wrong)]),
    cbf.Cuckoo.from_bytes,
]


@pytest.mark.parametrize("call", INTEGER_CALLS)
def test_integers(call: Callable[[Any], object]) -> None:
    for wrong in ("text", 1.5, None, True, [3], b"3"):
        with pytest.raises(TypeError):
            call(wrong)
    for value in (-1, 2**64, 10**400):
        with pytest.raises(InputError):
            call(value)


@pytest.mark.parametrize("call", BYTES_CALLS)
def test_bytes(call: Callable[[Any], object]) -> None:
    for wrong in (1, "text", None, [1], 1.5):
        with pytest.raises(TypeError):
            call(wrong)


def test_an_iterable_that_raises_or_never_ends_is_the_callers_own() -> None:
    def broken() -> Any:
        yield b"a"
        raise KeyError("mine")

    def triples() -> Any:
        yield KEY.public_key, b"alpha", PROOF
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        vrf.verify_many(triples())
    for call in (BLOOM.insert_many, CUCKOO.insert_many, rvh.NodeSet, lambda keys: NODES.pick_many(keys, 1)):
        with pytest.raises(KeyError, match="mine"):
            call(broken())
    assert len(CUCKOO) == 1
    with pytest.raises(InputError, match="more than 3 items"):
        NODES.pick(b"", 1, exclude=iter(lambda: 0, 1))
    with pytest.raises(InputError, match="more than 65536 items"):
        ec.rebuild(FRAGMENTS, iter(lambda: 0, 1), 2, 2, 7)


def test_the_table_names_every_public_callable() -> None:
    named = {case.name for case in CASES}
    text = inspect.getsource(inspect.getmodule(test_poison))  # type: ignore[arg-type]
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.iter_modules(algorithms.__path__, "city_chain.algorithms.")
    ]
    assert {ec, rvh, vrf, cbf, tnh} <= set(modules)
    for module in modules:
        if module.__name__.removeprefix("city_chain.algorithms.") in ("tes", "hs", "hvp", "sc"):
            continue  # they have tables of their own, in test_tes_poison.py, test_hs.py, test_hvp.py and test_sc.py
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                methods = [m for m, v in vars(thing).items() if not m.startswith("_") and callable(getattr(thing, m))]
                missing = [m for m in methods if f".{m}" not in text and m not in {"bitset", "to_bytes"}]
                assert not missing, (name, missing)
            else:
                assert name in named, name
