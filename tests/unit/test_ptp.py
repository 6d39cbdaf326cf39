"""What a PTP daemon answers, read by one that trusts nothing of it."""

from __future__ import annotations

import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain.adapters import ptp
from city_chain.adapters.ptp import PtpState, ptp_state
from city_chain.errors import DeadlineError, InputError, ProtocolError, UnavailableError

CURRENT = struct.pack(">Hqq", 1, -1259 << 16, 1889 << 16)
STATUS = struct.pack(">qqiiH12si8s", -1259, 7, 0, 0, 0, bytes(12), 1, b"\x01\x02\x03\xff\xfe\x04\x05\x06")


def said(request: bytes, data: bytes, *, tlv: int = 1) -> bytes:
    """The daemon's answer with these data."""
    message = bytearray(request + data)
    struct.pack_into(">H", message, 2, len(message))
    message[34:44] = request[20:30]  # addressed to who asked
    message[46] = 2
    struct.pack_into(">HH", message, 48, tlv, 2 + len(data))
    return bytes(message)


def good(request: bytes) -> list[bytes]:
    return [said(request, CURRENT if request[52:54] == b"\x20\x01" else STATUS)]


def asked(folder: Path, answers: Callable[[bytes], list[bytes]]) -> PtpState:
    """What is made of a daemon that answers so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(folder / "d"))
        daemon.settimeout(10)

        def serve() -> None:
            for _ in range(2):
                try:
                    request, where = daemon.recvfrom(2048)
                    for answer in answers(request):
                        daemon.sendto(answer, where)
                except OSError:
                    return

        thread = Thread(target=serve)
        thread.start()
        try:
            return ptp_state(folder / "d", timeout_s=0.3)
        finally:
            daemon.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_good_daemon(tmp_path: Path) -> None:
    assert asked(tmp_path, good) == PtpState(-1259, 1889, 1, True, b"\x01\x02\x03\xff\xfe\x04\x05\x06")


def test_answers_to_others_are_passed_over(tmp_path: Path) -> None:
    def answers(request: bytes) -> list[bytes]:
        right = good(request)[0]
        other, late = bytearray(right), bytearray(right)
        other[42] ^= 1
        late[31] ^= 1
        return [bytes(other), bytes(late), request, right]

    assert asked(tmp_path, answers).steps == 1


def test_a_daemon_that_is_silent_refuses_or_answers_otherwise(tmp_path: Path) -> None:
    with pytest.raises(DeadlineError, match=r"0\.3 s"):
        asked(tmp_path, lambda _: [])
    (tmp_path / "d").unlink()
    with pytest.raises(ProtocolError, match="refuses"):
        asked(tmp_path, lambda request: [said(request, b"\0" * 4, tlv=2)])
    (tmp_path / "d").unlink()
    with pytest.raises(ProtocolError, match="data set of 17 bytes"):
        asked(tmp_path, lambda request: [said(request, CURRENT[:-1]) if request[53] == 1 else said(request, STATUS)])


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nobody answers"):
        ptp_state(tmp_path / "absent")
    with pytest.raises(UnavailableError, match="nobody answers"):
        ptp_state("x" * 300)


def test_a_folder_whose_path_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(UnavailableError, match="too long"):
        ptp_state(tmp_path / "d")


@given(data=st.binary(max_size=200))
def test_hostile_bytes_are_refused_or_passed_over(data: bytes) -> None:
    try:
        found = ptp.answer(data, 0x2001, 7, 0)
    except ProtocolError:
        return
    assert found is None


@given(at=st.integers(0, 71), flip=st.integers(1, 255))
def test_every_flipped_byte_of_the_frame_is_noticed_or_means_nothing(at: int, flip: int) -> None:
    right = said(ptp.request(0x2001, 0, 7, 0), CURRENT)
    wrong = bytearray(right)
    wrong[at] ^= flip
    try:
        found = ptp.answer(bytes(wrong), 0x2001, 7, 0)
    except ProtocolError:
        return
    if at >= 54:
        assert found == bytes(wrong[54:])
    else:
        assert found in (None, CURRENT)


@pytest.mark.parametrize(("domain", "timeout_s"), [(-1, 1), (256, 1), (0, 0), (0, 61), (0, float("nan"))])
def test_arguments_out_of_range(domain: int, timeout_s: float) -> None:
    with pytest.raises(InputError):
        ptp_state(domain=domain, timeout_s=timeout_s)
