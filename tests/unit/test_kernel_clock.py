"""What the kernel says of its clock, and that nothing unsure is called good."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from city_chain.adapters import kernel_clock
from city_chain.adapters.kernel_clock import HardwareClock, KernelClock, KernelState, hardware_clocks, kernel_state
from city_chain.errors import InputError, UnavailableError
from city_chain.ports import Clock

GOOD = KernelState("synchronised", 2_000_000, 0, 0.0, 37)


def state(result: int, *, status: int, maxerror: int = 1500, offset: int = 7, tai: int = 0) -> KernelState:
    timex = kernel_clock._Timex(maxerror=maxerror, status=status, offset=offset, freq=-3 << 16, tai=tai)
    return kernel_clock._state(result, timex)


def test_the_kernel_is_asked_and_nothing_is_changed() -> None:
    first, second = kernel_state(), kernel_state()
    assert first.status == second.status
    assert first.tai_offset_s == second.tai_offset_s
    if sys.platform.startswith("linux"):
        assert ctypes.sizeof(kernel_clock._Timex) in (128, 208)
        assert first.status != "unknown"
        assert first.max_error_ns is not None
        assert first.max_error_ns >= 0


def test_only_a_kept_clock_without_a_fault_is_synchronised() -> None:
    assert state(0, status=0x2001) == KernelState("synchronised", 1_500_000, 7, -3.0, None)
    assert state(0, status=0x0001).offset_ns == 7_000, "microseconds, where the kernel counts in them"
    assert state(1, status=0x2001, tai=37).tai_offset_s == 37, "a leap second comes: synchronised all the same"
    assert state(1, status=0x2001).status == "synchronised"
    assert state(5, status=0x2001).status == "unsynchronised"
    assert state(0, status=0x2041).status == "unsynchronised"
    assert state(0, status=0x3001).status == "unsynchronised"


@pytest.mark.parametrize("status", ["unsynchronised", "unknown"])
def test_a_clock_that_nobody_keeps_gives_no_time(status: str) -> None:
    clock = KernelClock(state=lambda: GOOD._replace(status=status))  # type: ignore[arg-type]
    assert clock.interval().status == status
    with pytest.raises(UnavailableError, match=status):
        clock.now_ms()


def test_a_kept_clock_gives_its_time_within_its_error() -> None:
    clock = KernelClock(state=lambda: GOOD)
    assert isinstance(clock, Clock)
    before, interval, after = time.time_ns(), clock.interval(), time.time_ns()
    assert before - 2_000_000 <= interval.earliest_ns <= after - 2_000_000
    assert interval.width_ns == 4_000_000
    assert before // 1_000_000 <= clock.now_ms() <= time.time_ns() // 1_000_000
    assert clock.monotonic() <= clock.monotonic()


def test_a_kept_clock_that_is_far_off_is_not_good() -> None:
    clock = KernelClock(good_ms=3.0, state=lambda: GOOD)
    assert clock.interval().status == "unsynchronised"
    with pytest.raises(UnavailableError):
        clock.now_ms()


def test_where_nothing_is_known_the_interval_is_all_of_time() -> None:
    clock = KernelClock(state=lambda: KernelState("unknown", None, None, None, None))
    assert clock.interval() == (0, ((1 << 48) - 1) * 1_000_000, "unknown")


def test_another_system_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_clock.sys, "platform", "darwin")
    assert kernel_state() == KernelState("unknown", None, None, None, None)


def test_no_hardware_clock_is_an_empty_list_and_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    assert hardware_clocks(tmp_path) == []
    (tmp_path / "ptp0").write_bytes(b"")
    (tmp_path / "ptp10").mkdir()
    (tmp_path / "ptpx").write_bytes(b"")
    found = hardware_clocks(tmp_path)
    assert [Path(clock.device).name for clock in found] == ["ptp0", "ptp10"]
    assert all(clock.offset_ns is None and "cannot be read" in clock.reason for clock in found)
    assert isinstance(found[0], HardwareClock)


def test_the_quickest_sample_of_a_hardware_clock_counts() -> None:
    def times(*instants: tuple[int, int]) -> bytes:
        return b"".join(struct.pack("=qII", *instant, 0) for instant in instants)

    slow, quick = times((10, 0), (47, 0), (10, 900)), times((10, 1000), (47, 1100), (10, 1201))
    answer = struct.pack("=I12x", 2) + slow + quick
    assert kernel_clock.nearest(answer) == (37_000_000_000, 101)
    for wrong in (b"", struct.pack("=I12x", 0) + slow, struct.pack("=I12x", 26) + slow * 26, answer[:-1]):
        with pytest.raises(InputError):
            kernel_clock.nearest(wrong)


@pytest.mark.parametrize("offset_ns", [300_000_000, -300_000_000])
def test_what_is_still_to_be_corrected_is_part_of_the_error(offset_ns: int) -> None:
    """timesyncd tells the kernel an error of 0 and leaves the correction to it."""
    clock = KernelClock(good_ms=1_000, state=lambda: KernelState("synchronised", 0, offset_ns, 0.0, None))
    interval = clock.interval()
    assert interval.earliest_ns <= time.time_ns() - 299_000_000
    assert interval.latest_ns >= time.time_ns() + 299_000_000
    narrow = KernelClock(state=lambda: KernelState("synchronised", 0, offset_ns, 0.0, None))
    assert narrow.interval().status == "unsynchronised"


def test_a_sample_during_which_the_clock_was_set_back_is_no_sample() -> None:
    def times(*instants: tuple[int, int]) -> bytes:
        return b"".join(struct.pack("=qII", *instant, 0) for instant in instants)

    back, right = times((10, 0), (47, 0), (9, 0)), times((9, 0), (46, 5), (9, 10))
    assert kernel_clock.nearest(struct.pack("=I12x", 2) + back + right) == (37_000_000_000, 5)
    with pytest.raises(InputError, match="set back"):
        kernel_clock.nearest(struct.pack("=I12x", 1) + back)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ioctl numbers are Linux's")
def test_a_driver_that_answers_nonsense_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 — not on every system

    def nonsense(_: object, __: int, request: bytearray) -> int:
        request[:4] = struct.pack("=I", 26)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", nonsense)
    (tmp_path / "ptp0").write_bytes(b"")
    (clock,) = hardware_clocks(tmp_path)
    assert clock.offset_ns is None
    assert "26 samples" in clock.reason


@pytest.mark.parametrize("good_ms", [0, -1, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(good_ms: float) -> None:
    with pytest.raises(InputError):
        KernelClock(good_ms=good_ms)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adjtimex is Linux's")
def test_the_ioctl_has_the_number_of_the_system_s_own_header(tmp_path: Path) -> None:
    header = Path("/usr/include/linux/ptp_clock.h")
    if not header.exists():
        pytest.skip(f"{header} is not here: the headers of the kernel are not installed")
    source = tmp_path / "number.c"
    source.write_text('#include <linux/ptp_clock.h>\n#include <stdio.h>\nint main(void) { printf("%lu", '
                      "(unsigned long)PTP_SYS_OFFSET_EXTENDED); return 0; }\n", encoding="ascii")  # fmt: skip
    program = tmp_path / "number"
    subprocess.run(["cc", "-o", str(program), str(source)], check=True, timeout=60)
    printed = subprocess.run([str(program)], check=True, capture_output=True, timeout=10).stdout
    assert int(printed) == kernel_clock._PTP_SYS_OFFSET_EXTENDED
