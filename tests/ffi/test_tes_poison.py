"""Wrong types and absurd sizes into every public function of `tes`: the documented error and nothing else.

For every function a call that works. Each argument in turn is replaced by every poison; what comes back must be a value
or one of the documented errors. A panic would be a RuntimeError, an unchecked size a MemoryError or an OverflowError,
and all of them fail here.
"""

from __future__ import annotations

import array
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from city_chain.algorithms import tes
from city_chain.algorithms.tes import coin, dkg, kem, ml_dsa, tdh2
from city_chain.errors import InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

DOCUMENTED = (TypeError, InputError, VerificationError, UnavailableError)


class Liar:
    """Has every conversion, and lies in it."""

    def __len__(self) -> int:
        return 2**62

    def __index__(self) -> int:
        return 3

    def __bytes__(self) -> bytes:
        return b"x"


POISONS: list[object] = [
    None,
    True,
    -1,
    0,
    2**16,
    2**32,
    2**63,
    2**64,
    2**128,
    -(10**400),
    0.5,
    float("nan"),
    1j,
    "text",
    "\ud800",
    b"",
    b"x",
    bytes(32),
    b"\xff" * 33,
    b"bx" + bytes(34),
    b"tv" + bytes(34),
    b"cp" + bytes(32),
    b"bp\xc0" + bytes(95),
    b"xp" + bytes(1216),
    b"4p" + bytes(1312),
    bytes(2420),
    bytes(48),
    bytes(96),
    bytes(1 << 20),
    bytearray(b"abc"),
    memoryview(b"abcdef")[::2],
    memoryview(bytes(64)).cast("I"),
    array.array("d", [1.0]),
    [],
    [None],
    [b"a"],
    [b"a", "b"],
    [2**64],
    [b"x"] * 2000,
    [(0, b"")],
    [(1, b"x"), (1, b"x")],
    [(b"x", b"x", b"x")],
    (),
    {},
    {0: b""},
    {65536: b""},
    {1: b"a", "2": b"b"},
    set(),
    range(10),
    object(),
    Liar(),
    int,
]


@dataclass
class Case:
    """A call that works: the function, its arguments by position and by name."""

    function: Callable[..., object]
    args: tuple[object, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


SETUP = dkg.Setup("tdh2", threshold=2, parties=3, context=b"epoch 1")
MADE = [dkg.deal(SETUP, dealer) for dealer in (1, 2, 3)]
DEALS = [published for published, _ in MADE]
KEPT = [shares[0] for _, shares in MADE]
SHARE, KEYS = dkg.finalize(SETUP, 1, DEALS, KEPT)
OTHER, _ = dkg.finalize(SETUP, 2, DEALS, [shares[1] for _, shares in MADE])
AGAIN = [dkg.reshare_deal(SETUP, share) for share in (SHARE, OTHER)]
HANDED, PARTS = [published for published, _ in AGAIN], [shares[0] for _, shares in AGAIN]
READER, WRITER = kem.SecretKey(bytes(32)), ml_dsa.SigningKey(bytes(32), parameters="ml-dsa-44")
SEALED, SIGNATURE = kem.encapsulate(READER.public_key)[0], WRITER.sign(b"message", context=b"test")
SEALED_TO_ALL = tdh2.encrypt(KEYS.group_key, b"label", b"plain")
CAPSULE = tdh2.capsule_of(SEALED_TO_ALL)
OPENING = [tdh2.decrypt_share(share, KEYS.group_key, b"label", CAPSULE) for share in (SHARE, OTHER)]
COIN_SHARE = dkg.SecretShare.from_bytes(b"cx" + SHARE.to_bytes()[2:])
COIN = coin.Coin(2, b"cp" + KEYS.group_key[2:], [b"cv" + share[2:] for share in KEYS.shares])
TOSSED = coin.Name(b"chain", 1, b"instance", 2)
SHOWN = [COIN.share(dkg.SecretShare.from_bytes(b"cx" + share.to_bytes()[2:]), TOSSED) for share in (SHARE, OTHER)]

CASES = [
    Case(dkg.Setup, ("tdh2",), {"threshold": 2, "parties": 3, "context": b"epoch 1"}),
    Case(dkg.SecretShare.from_bytes, (SHARE.to_bytes(),)),
    Case(dkg.Deal.from_bytes, (DEALS[0].to_bytes(),)),
    Case(dkg.PublicKeys, (2, KEYS.group_key, KEYS.shares)),
    Case(dkg.deal, (SETUP, 1)),
    Case(dkg.verify_deals, (SETUP, 1, DEALS, KEPT)),
    Case(dkg.finalize, (SETUP, 1, DEALS, KEPT)),
    Case(dkg.public_keys, (SETUP, DEALS)),
    Case(dkg.reshare_deal, (SETUP, SHARE)),
    Case(dkg.verify_reshare_deals, (SETUP, KEYS, 1, HANDED, PARTS)),
    Case(dkg.finalize_reshare, (SETUP, KEYS, 1, HANDED, PARTS)),
    Case(dkg.reshared_public_keys, (SETUP, KEYS, HANDED)),
    Case(tdh2.encrypt, (KEYS.group_key, b"label", b"plain")),
    Case(tdh2.capsule_of, (SEALED_TO_ALL,)),
    Case(tdh2.verify_capsule, (KEYS.group_key, b"label", CAPSULE)),
    Case(tdh2.verify_ciphertext, (KEYS.group_key, b"label", SEALED_TO_ALL)),
    Case(tdh2.decrypt_share, (SHARE, KEYS.group_key, b"label", CAPSULE)),
    Case(tdh2.share_index, (OPENING[0],)),
    Case(tdh2.verify_share, (KEYS.shares[0], b"label", CAPSULE, OPENING[0])),
    Case(tdh2.verify_shares, (KEYS.shares, b"label", CAPSULE, OPENING)),
    Case(tdh2.combine, (KEYS.group_key, 2, KEYS.shares, b"label", SEALED_TO_ALL, OPENING)),
    Case(coin.Name, (b"chain", 1, b"instance", 2)),
    Case(coin.Coin, (2, b"cp" + KEYS.group_key[2:], [b"cv" + share[2:] for share in KEYS.shares])),
    Case(COIN.share, (COIN_SHARE, TOSSED)),
    Case(COIN.verify_share, (TOSSED, SHOWN[0])),
    Case(COIN.verify_shares, (TOSSED, SHOWN)),
    Case(COIN.combine, (TOSSED, SHOWN)),
    Case(kem.SecretKey, (bytes(32),), {"suite": "x-wing"}),
    Case(kem.SecretKey.generate, ("x-wing",)),
    Case(kem.SecretKey.from_bytes, (READER.to_bytes(),)),
    Case(READER.decapsulate, (SEALED,)),
    Case(kem.PublicKey, (READER.public_key,)),
    Case(kem.PublicKey(READER.public_key).encapsulate),
    Case(kem.encapsulate, (READER.public_key,)),
    Case(kem.ciphertext_len, ("x-wing",)),
    Case(ml_dsa.SigningKey, (bytes(32),), {"parameters": "ml-dsa-44"}),
    Case(ml_dsa.SigningKey.generate, ("ml-dsa-44",)),
    Case(ml_dsa.SigningKey.from_bytes, (WRITER.to_bytes(),)),
    Case(WRITER.sign, (b"message",), {"context": b"test"}),
    Case(ml_dsa.PublicKey, (WRITER.public_key,)),
    Case(ml_dsa.PublicKey(WRITER.public_key).verify, (b"message", SIGNATURE), {"context": b"test"}),
    Case(ml_dsa.verify, (WRITER.public_key, b"message", SIGNATURE), {"context": b"test"}),
]
TABLED = {"coin", "dkg", "kem", "ml_dsa", "tdh2"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_poison(case: Case) -> None:
    case.function(*case.args, **case.kwargs)
    for poison in POISONS:
        for at in range(len(case.args)):
            check(case, (*case.args[:at], poison, *case.args[at + 1 :]), case.kwargs, poison)
        for name in case.kwargs:
            check(case, case.args, case.kwargs | {name: poison}, poison)
    with pytest.raises(TypeError):
        case.function(*case.args, *[None] * 7)
    with pytest.raises(TypeError):
        case.function(*case.args, **case.kwargs, nobody=1)


def check(case: Case, args: tuple[object, ...], kwargs: dict[str, Any], poison: object) -> None:
    try:
        case.function(*args, **kwargs)
    except DOCUMENTED as error:
        if not str(error):
            pytest.fail(f"{case.name}: {type(error).__name__} does not say what was wrong")
    except Exception as error:
        pytest.fail(f"{case.name}: {str(poison)[:60]!r} raised {type(error).__name__}: {error}")


def test_an_iterable_that_raises_or_never_ends_is_the_callers_own() -> None:
    def broken(item: object) -> Any:
        yield item
        raise KeyError("mine")

    calls: list[tuple[Callable[[Any], object], object]] = [
        (lambda some: dkg.public_keys(SETUP, some), DEALS[0]),
        (lambda some: dkg.verify_deals(SETUP, 1, DEALS, some), KEPT[0]),
        (lambda some: dkg.PublicKeys(2, KEYS.group_key, some), KEYS.shares[0]),
        (lambda some: tdh2.verify_shares(KEYS.shares, b"label", CAPSULE, some), OPENING[0]),
        (lambda some: tdh2.combine(KEYS.group_key, 2, some, b"label", SEALED_TO_ALL, OPENING), KEYS.shares[0]),
        (lambda some: COIN.combine(TOSSED, some), SHOWN[0]),
    ]
    for call, item in calls:
        with pytest.raises(KeyError, match="mine"):
            call(broken(item))
        with pytest.raises(InputError, match="more than 1024 items"):
            call(itertools.repeat(item))


def test_the_table_names_every_public_callable() -> None:
    named = {case.name for case in CASES}
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(tes.__path__, f"{tes.__name__}.")]
    known = [module for module in modules if module.__name__.rpartition(".")[2] in TABLED]
    assert len(known) == len(TABLED)
    for module in known:
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.isclass(thing):
                assert not callable(thing) or name in named, name
                continue
            public = [member for member in vars(thing) if not member.startswith("_") and member != "to_bytes"]
            methods = [member for member in public if callable(getattr(thing, member))]
            missing = [member for member in methods if f"{name}.{member}" not in named]
            assert not missing, (name, missing)
