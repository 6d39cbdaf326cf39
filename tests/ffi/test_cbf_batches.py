"""Batches of keys in every form and on every kernel: the same filters, the same answers, nothing half done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from random import Random

import pytest

from city_chain import cbf
from city_chain.errors import InputError, UnavailableError

pytestmark = pytest.mark.ffi

GOLDEN = Path(__file__).parents[2] / "native" / "tests" / "vectors" / "cbf_filters.txt"
WIDTHS = (5, 8, 32, 36)
Filter = cbf.Bloom | cbf.Cuckoo


def large_keys(width: int) -> list[bytes]:
    """The keys of the golden file's large filters."""
    return [bytes(islice(cycle(at.to_bytes(8, "little")), width)) for at in range(50_000)]


def large_lines() -> list[str]:
    """What the golden file says of the large filters, made again from packed keys."""
    lines = []
    for width in WIDTHS:
        bloom, cuckoo = cbf.Bloom(50_000, 0.006, seed=width), cbf.Cuckoo(50_000, seed=width)
        packed = b"".join(large_keys(width))
        bloom.insert_many(packed, width=width)
        cuckoo.insert_many(packed, width=width)
        lines.append(f"large-{width} {bloom.to_bytes()[-8:].hex()} {cuckoo.to_bytes()[-8:].hex()}")
    return lines


def test_the_placement_of_many_keys_is_frozen() -> None:
    assert large_lines() == [line for line in GOLDEN.read_text().splitlines() if line.startswith("large-")]


def run_with(kernel: str, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, __file__],
        env=os.environ | {"CITY_CHAIN_CBF_KERNEL": kernel},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kernel", ["", "scalar", "avx2", "avx512"])
def test_every_kernel_makes_the_same_filters(kernel: str) -> None:
    made = run_with(kernel, "import runpy, sys; print(*runpy.run_path(sys.argv[1])['large_lines'](), sep='\\n')")
    if kernel.startswith("avx") and f'"{kernel}"; the kernels of this machine are' in made.stderr:
        pytest.skip(f"this processor has no {kernel}")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split("\n")[:-1] == [
        line for line in GOLDEN.read_text().splitlines() if line.startswith("large-")
    ]


@pytest.mark.parametrize("kernel", ["unknown", "AVX2", "neon"])
def test_an_unknown_kernel_is_an_error_at_the_first_filter_and_names_those_there_are(kernel: str) -> None:
    encodings = (cbf.Bloom(10).to_bytes(), cbf.Cuckoo(10).to_bytes())
    program = f"""
from city_chain import cbf
from city_chain.errors import InputError
for make in (
    lambda: cbf.Bloom(10), lambda: cbf.Cuckoo(10), lambda: cbf.Bloom.from_bitset(bytes(32), 10),
    lambda: cbf.Bloom.from_bytes({encodings[0]!r}), lambda: cbf.Cuckoo.from_bytes({encodings[1]!r}),
):
    try:
        make()
    except InputError as error:
        print(error)
"""
    done = run_with(kernel, program)
    said = done.stdout.splitlines()
    assert len(said) == 5, done.stderr
    assert len(set(said)) == 1
    assert said[0].startswith(f'cbf: CITY_CHAIN_CBF_KERNEL is "{kernel}"; the kernels of this machine are ')
    assert said[0].endswith("scalar")


@pytest.mark.parametrize("make", [lambda: cbf.Bloom(9_000, seed=3), lambda: cbf.Cuckoo(9_000, seed=3)])
@pytest.mark.parametrize("width", [1, 7, 8, 32, 33])
@pytest.mark.parametrize("count", [0, 1, 8, 63, 64, 65, 300, 8_999])
def test_lists_tuples_iterators_and_packed_keys_are_one(make: Callable[[], Filter], width: int, count: int) -> None:
    count = min(count, 8) if width == 1 else count  # no more than eight copies of a key
    random = Random(width)
    packed = random.randbytes(width * count)
    keys = [packed[at : at + width] for at in range(0, len(packed), width)]
    single, listed, tupled, lazy, views, wide = (make() for _ in range(6))
    for key in keys:
        single.insert(key)
    listed.insert_many(keys)
    tupled.insert_many(tuple(keys))
    lazy.insert_many(iter(keys))
    views.insert_many([memoryview(bytearray(key)) if at % 3 else key for at, key in enumerate(keys)])
    wide.insert_many(bytearray(packed), width=width)
    assert len({made.to_bytes() for made in (single, listed, tupled, lazy, views, wide)}) == 1
    asked = [key if at % 2 else random.randbytes(width) for at, key in enumerate(keys)]
    answers = single.contains_many(asked)
    assert answers == single.contains_many(b"".join(asked), width=width) == single.contains_many(iter(asked))
    assert [answers[at // 8] >> at % 8 & 1 for at in range(count)] == [int(key in single) for key in asked]
    assert int.from_bytes(answers, "little").bit_length() <= count
    assert len(answers) == -(-count // 8)


class Odd(bytes):
    """Bytes of another class."""


class Mutating:
    """Something with bytes that changes the list it lies in while it is read."""

    def __init__(self, act: Callable[[], object], data: bytes) -> None:
        self.act, self.data = act, data

    def __buffer__(self, flags: int) -> memoryview:
        self.act()
        return memoryview(self.data)


@pytest.mark.parametrize("make", [lambda: cbf.Bloom(1_000), lambda: cbf.Cuckoo(1_000)])
def test_a_list_that_changes_while_it_is_read_is_read_safely(make: Callable[[], Filter]) -> None:
    keys: list[object] = [b"%d" % at for at in range(100)]
    keys[10] = Odd(b"odd")
    keys[20] = Mutating(keys.clear, b"last")
    held = make()
    held.insert_many(keys)  # type: ignore[arg-type]
    assert keys == []
    assert len(held) == 21
    assert b"odd" in held
    assert b"last" in held
    assert b"19" in held
    assert b"21" not in held

    def grow() -> None:
        keys.extend(b"+%d" % at for at in range(300))

    keys[:] = [b"a", Mutating(grow, b"grown"), b"b"]
    held = make()
    held.insert_many(keys)  # type: ignore[arg-type]
    assert all(key in held for key in (b"a", b"grown", b"b", b"+0", b"+299"))


def test_a_wrong_item_is_named_and_nothing_is_inserted() -> None:
    for make in (lambda: cbf.Bloom(1_000), lambda: cbf.Cuckoo(1_000)):
        held = make()
        before = held.to_bytes()
        for at in (0, 1, 31, 32, 33, 99):
            for wrong in ("text", 7, None, [b"x"]):
                keys: list[object] = [b"%d" % number for number in range(100)]
                keys[at] = wrong
                with pytest.raises(TypeError, match=rf"keys\[{at}\]: bytes are needed"):
                    held.insert_many(keys)  # type: ignore[arg-type]
                with pytest.raises(TypeError, match=rf"keys\[{at}\]"):
                    held.contains_many(keys)  # type: ignore[arg-type]
        assert held.to_bytes() == before

    class Refuses:
        def __buffer__(self, flags: int) -> memoryview:
            raise ValueError("mine")

    with pytest.raises(TypeError, match=r"keys\[1\]"):
        cbf.Bloom(9).insert_many([b"a", Refuses()])


@pytest.mark.parametrize("width", [0, -1, 2, 2**63, 2**64])
def test_a_width_that_does_not_fit_is_refused(width: int) -> None:
    for held in (cbf.Bloom(10), cbf.Cuckoo(10)):
        before = held.to_bytes()
        with pytest.raises(InputError):
            held.insert_many(b"12345", width=width)
        with pytest.raises(InputError):
            held.contains_many(b"12345", width=width)
        assert held.to_bytes() == before
        assert held.contains_many(b"", width=9) == b""


@pytest.mark.parametrize("size", [3, 200, 2_900])
def test_a_failed_batch_of_any_size_leaves_no_trace(size: int) -> None:
    cuckoo = cbf.Cuckoo(4_000, seed=1)
    cuckoo.insert_many([b"%d" % at for at in range(1_000)])
    before = cuckoo.to_bytes()
    batch = [b"batch %d" % at for at in range(size)] + [b"again"] * 9
    with pytest.raises(InputError, match=rf"8 copies.*key {size + 8} of the batch"):
        cuckoo.insert_many(batch)
    assert cuckoo.to_bytes() == before
    with pytest.raises(UnavailableError) as caught:
        cuckoo.insert_many(b"x" * 3_001, width=1)
    assert (caught.value.needed, caught.value.had) == (3_001, 3_000)
    assert cuckoo.to_bytes() == before
    cuckoo.insert_many(batch[:-1])
    assert len(cuckoo) == 1_000 + size + 8


def test_a_million_keys_are_within_the_design() -> None:
    # At most 12 bits a key at 0.6 % (Bloom), 18 bits at 0.02 % (cuckoo); measured within 5 sigma of the formula.
    packed = b"".join(at.to_bytes(8, "little") for at in range(1_000_000))
    strangers = b"".join(at.to_bytes(8, "little") for at in range(2**40, 2**40 + 1_000_000))
    for held, bits, most in ((cbf.Bloom(1_000_000, 0.006), 12, 0.006), (cbf.Cuckoo(1_000_000), 18, 0.0002)):
        held.insert_many(packed, width=8)
        assert held.table_len * 8 <= bits * 1_000_000
        assert int.from_bytes(held.contains_many(packed, width=8), "little").bit_count() == 1_000_000
        rate = held.estimated_fpr
        passed = int.from_bytes(held.contains_many(strangers, width=8), "little").bit_count()
        assert rate <= most
        assert abs(passed - rate * 1e6) <= 5 * (rate * 1e6) ** 0.5
