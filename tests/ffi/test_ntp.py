"""The client of NTP and the comparison of clocks across the boundary."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_chain import tnh
from city_chain.errors import InputError, ProtocolError, UnavailableError

pytestmark = pytest.mark.ffi

NS = 1_000_000_000
SENT = 1_800_000_000 * NS
RECEIVED = SENT + 20_000_000
EPOCH_S = 2_208_988_800


def stamp(unix_ns: int) -> int:
    seconds, rest = divmod(unix_ns, NS)
    return (seconds + EPOCH_S << 32 | (rest << 32) // NS) % (1 << 64)


def answer(request: bytes, *, offset_ns: int = 0, first: int = 0x24, stratum: int = 1, name: bytes = b"GPS\0") -> bytes:
    """What a server 10 ms away says whose clock is `offset_ns` ahead."""
    there = stamp(SENT + 10_000_000 + offset_ns)
    head = struct.pack(">BBbbII4s", first, stratum, 0, -24, 0, 1 << 6, name)
    return head + struct.pack(">Q8sQQ", stamp(SENT), request[40:48], there, there)


def test_a_sample_says_offset_delay_and_uncertainty() -> None:
    client = tnh.NtpClient()
    sample = client.on_packet(answer(client.request(), offset_ns=3 * NS), SENT, RECEIVED)
    assert isinstance(sample, tnh.NtpSample)
    assert abs(sample.offset_ns - 3 * NS) <= 2
    assert sample.delay_ns == 20_000_000
    assert (sample.stratum, sample.leap, sample.reference, sample.received_ns) == (1, 0, b"GPS\0", RECEIVED)
    assert sample.dispersion_ns == 59 + 300, "2^-24 s, and 20 ms at 15 ppm"
    assert sample.uncertainty_ns(RECEIVED) == 10_000_000 + sample.root_dispersion_ns + 359
    assert sample.uncertainty_ns(RECEIVED + 100 * NS) == sample.uncertainty_ns(RECEIVED) + 1_500_000
    assert repr(sample).startswith("NtpSample(offset_ns=")
    assert not client.waits


def test_requests_differ_and_tell_no_time() -> None:
    client = tnh.NtpClient()
    requests = {client.request() for _ in range(100)}
    assert len(requests) == 100
    assert {request[1:40] for request in requests} == {bytes(39)}


def test_a_kiss_of_death_is_its_code() -> None:
    client = tnh.NtpClient()
    assert client.on_packet(answer(client.request(), first=0xE4, stratum=0, name=b"RATE"), SENT, RECEIVED) == "RATE"


@pytest.mark.parametrize("name", [b"INIT", b"STEP", bytes(4), b"\0\xff\nX"])
def test_a_server_without_time_is_refused_and_asks_for_nothing(name: bytes) -> None:
    client = tnh.NtpClient()
    request = client.request()
    with pytest.raises(ProtocolError, match="not synchronised"):
        client.on_packet(answer(request, first=0xE4, stratum=0, name=name), SENT, RECEIVED)
    assert client.waits
    client.on_packet(answer(request), SENT, RECEIVED)


@pytest.mark.parametrize("length", [0, 1, 47, 1025, 1 << 20])
def test_a_packet_of_another_length_is_refused(length: int) -> None:
    client = tnh.NtpClient()
    request = client.request()
    with pytest.raises(ProtocolError, match=f"{length} bytes"):
        client.on_packet(bytes(length), SENT, RECEIVED)
    assert client.waits
    client.on_packet(answer(request), SENT, RECEIVED)


@given(data=st.binary(max_size=200))
def test_hostile_packets_leave_the_request_outstanding(data: bytes) -> None:
    client = tnh.NtpClient()
    request = client.request()
    with pytest.raises(ProtocolError):
        client.on_packet(data, SENT, RECEIVED)
    assert isinstance(client.on_packet(answer(request), SENT, RECEIVED), tnh.NtpSample)


@pytest.mark.parametrize("nonce", [bytes(8), bytes(7), bytes(9), b""])
def test_a_nonce_that_is_none_is_refused(nonce: bytes) -> None:
    with pytest.raises(InputError):
        tnh.NtpClient().request(nonce)


def test_instants_out_of_order_are_refused() -> None:
    client = tnh.NtpClient()
    packet = answer(client.request())
    with pytest.raises(InputError, match="before it was sent"):
        client.on_packet(packet, RECEIVED, SENT)
    assert client.waits


def test_the_false_clock_is_named_and_without_a_majority_there_is_no_answer() -> None:
    found = tnh.intersect([(0, 10), (5 * NS, 10), (4, 10)])
    assert (found.right, found.wrong) == ([0, 2], [1])
    with pytest.raises(UnavailableError, match="no majority") as caught:
        tnh.intersect([(0, 10), (1, 10), (5 * NS, 10), (5 * NS, 10)])
    assert (caught.value.needed, caught.value.had) == (3, 2)
    with pytest.raises(UnavailableError):
        tnh.intersect([(0, 10), (1, 10)], total=4)


@pytest.mark.parametrize(("readings", "total"), [([], 0), ([(0, 0)] * 65, None), ([(0, 0)] * 2, 1), ([(0, 0)], 65)])
def test_too_few_or_too_many_clocks_are_refused(readings: list[tuple[int, int]], total: int | None) -> None:
    with pytest.raises(InputError):
        tnh.intersect(readings, total=total)
