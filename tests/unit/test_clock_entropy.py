"""Clocks and entropy."""

from __future__ import annotations

import threading
import time

import pytest

from city_chain.adapters.clock import ManualClock, SystemClock
from city_chain.adapters.entropy import OsEntropy, SeededEntropy
from city_chain.errors import InputError
from city_chain.ports import Clock, Entropy

pytestmark = pytest.mark.unit


def test_are_what_they_say() -> None:
    assert isinstance(SystemClock(), Clock)
    assert isinstance(ManualClock(), Clock)
    assert isinstance(OsEntropy(), Entropy)
    assert isinstance(SeededEntropy(), Entropy)


def test_the_system_clock_is_the_systems() -> None:
    clock = SystemClock()
    before = time.time_ns() // 1_000_000
    now = clock.now_ms()
    assert before <= now <= time.time_ns() // 1_000_000
    first = time.monotonic()
    assert first <= clock.monotonic() <= time.monotonic()


def test_a_manual_clock_stands_still_until_moved() -> None:
    clock = ManualClock(now_ms=10, monotonic=-5.0)
    assert [clock.now_ms(), clock.monotonic()] * 2 == [10, -5.0, 10, -5.0]
    clock.advance(0.25)
    assert (clock.now_ms(), clock.monotonic()) == (260, -4.75)
    clock.set_now_ms(3)
    assert (clock.now_ms(), clock.monotonic()) == (3, -4.75)
    clock.advance(1)
    clock.advance(0)
    assert (clock.now_ms(), clock.monotonic()) == (1003, -3.75)


def test_a_manual_clock_does_not_drift() -> None:
    clock = ManualClock()
    for _ in range(3000):
        clock.advance(0.001)
    assert clock.now_ms() == 3000


def test_a_manual_clock_in_many_threads() -> None:
    clock = ManualClock()

    def move() -> None:
        for _ in range(500):
            clock.advance(1.0)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (clock.now_ms(), clock.monotonic()) == (2_000_000, 2000.0)


@pytest.mark.parametrize("wrong", [None, "1", b"", True, [1]])
def test_wrong_types_of_times(wrong: object) -> None:
    clock = ManualClock(5)
    for call in (
        lambda: ManualClock(wrong),  # type: ignore[arg-type]
        lambda: ManualClock(monotonic=wrong),  # type: ignore[arg-type]
        lambda: clock.advance(wrong),  # type: ignore[arg-type]
        lambda: clock.set_now_ms(wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()
    assert (clock.now_ms(), clock.monotonic()) == (5, 0.0)


@pytest.mark.parametrize("value", [-1, 1 << 48, 10**400])
def test_wall_clocks_out_of_range(value: int) -> None:
    with pytest.raises(InputError):
        ManualClock(value)
    with pytest.raises(InputError):
        ManualClock().set_now_ms(value)


@pytest.mark.parametrize("value", [-0.1, -1, float("nan"), float("inf"), 1e10, 10**400])
def test_advances_out_of_range(value: float) -> None:
    clock = ManualClock()
    with pytest.raises(InputError):
        clock.advance(value)
    assert clock.monotonic() == 0.0


def test_system_entropy() -> None:
    entropy = OsEntropy()
    assert [len(entropy.bytes(count)) for count in (0, 1, 33, 100_000)] == [0, 1, 33, 100_000]
    assert len({entropy.bytes(16) for _ in range(100)}) == 100


def test_seeded_entropy_is_repeatable_and_never_repeats() -> None:
    def stream(seed: int | bytes) -> list[bytes]:
        entropy = SeededEntropy(seed)
        return [entropy.bytes(count) for count in (16, 16, 0, 7, 1000)]

    seeds: list[int | bytes] = [0, 1, 256, 2**64, b"", b"\x00", b"\x01", b"int:", b"text"]
    streams = [stream(seed) for seed in seeds]
    assert streams == [stream(seed) for seed in seeds]
    assert [[len(part) for part in parts] for parts in streams] == [[16, 16, 0, 7, 1000]] * len(seeds)
    assert len({part for parts in streams for part in parts[:2]}) == 2 * len(seeds)


def test_seeded_entropy_known_answer() -> None:
    """The stream is part of what a simulation repeats from its seed, so it must not change unseen."""
    assert SeededEntropy(7).bytes(8).hex() == "1acc83f6329c40ec"


def test_seeded_entropy_in_many_threads_gives_no_bytes_twice() -> None:
    entropy = SeededEntropy(1)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.extend(entropy.bytes(8) for _ in range(300))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1200


@pytest.mark.parametrize("entropy", [OsEntropy(), SeededEntropy()], ids=["os", "seeded"])
def test_wrong_counts(entropy: Entropy) -> None:
    for wrong in (None, 1.0, "1", b"", True):
        with pytest.raises(TypeError):
            entropy.bytes(wrong)  # type: ignore[arg-type]
    for count in (-1, (16 << 20) + 1, 10**30):
        with pytest.raises(InputError):
            entropy.bytes(count)


def test_wrong_seeds() -> None:
    for wrong in (None, 1.0, "seed", True, bytearray(b"seed")):
        with pytest.raises(TypeError):
            SeededEntropy(wrong)  # type: ignore[arg-type]
    for seed in (-1, 2 ** (8 * 1024), b"s" * 1025):
        with pytest.raises(InputError):
            SeededEntropy(seed)
    assert len({SeededEntropy(seed).bytes(8) for seed in (2 ** (8 * 1024) - 1, b"s" * 1024)}) == 2
