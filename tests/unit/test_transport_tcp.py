"""TCP transport: connections kept and remade, deadlines, and strangers who do what they can."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from city_chain.adapters.clock import ManualClock, SystemClock
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.adapters.transport.tcp_frames import (
    FRAME_BYTES_MAX,
    HELLO,
    Answer,
    Asked,
    answers_frame,
    read_answers,
    read_requests,
    requests_frame,
)
from city_chain.errors import DeadlineError, InputError, ProtocolError, UnavailableError
from city_chain.ports import Request

pytestmark = pytest.mark.unit


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def echo(burst: Sequence[Request]) -> list[bytes]:
    return [b"echo " + request.body for request in burst]


def joined(buffers: Sequence[object]) -> bytes:
    return b"".join(bytes(memoryview(buffer)) for buffer in buffers)  # type: ignore[arg-type]


class Watched:
    """A handler that counts what reaches it."""

    def __init__(self) -> None:
        self.bursts: list[int] = []

    def handle(self, burst: Sequence[Request]) -> list[bytes]:
        self.bursts.append(len(burst))
        return echo(burst)


@pytest.fixture
def here() -> Iterator[TcpTransport]:
    with TcpTransport() as opened:
        yield opened


@pytest.fixture
def there() -> Iterator[TcpTransport]:
    with TcpTransport(patience_s=0.3, connections_max=8) as opened:
        yield opened


def place(address: str) -> tuple[str, int]:
    host, port = address.partition("/")[0].removeprefix("tcp:").rsplit(":", 1)
    return host, int(port)


@contextlib.contextmanager
def stranger(address: str, hello: bytes = HELLO) -> Iterator[socket.socket]:
    with socket.create_connection(place(address), timeout=10) as sock:
        sock.sendall(hello)
        yield sock


def is_ended(sock: socket.socket) -> bool:
    """Whether the other side ends the connection within the timeout."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


# --- connections -----------------------------------------------------------------------------------------------------


def test_a_connection_is_kept(here: TcpTransport, there: TcpTransport) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0/a")
    for number in range(50):
        assert here.request(address, b"%d" % number, soon()) == b"echo %d" % number
    assert len(there._door._peers) == 1


def test_names_of_one_port_are_told_apart(here: TcpTransport, there: TcpTransport) -> None:
    first = there.serve(lambda burst: [b"first"] * len(burst), "tcp:127.0.0.1:0/first")
    base = first.removesuffix("/first")
    there.serve(lambda burst: [b"second"] * len(burst), base + "/second")
    assert here.request(base + "/second", b"", soon()) == b"second"
    assert here.request(first, b"", soon()) == b"first"
    with pytest.raises(UnavailableError, match="nobody serves"):
        here.request(base, b"", soon())
    there.stop(first)
    assert here.request(base + "/second", b"", soon()) == b"second"


def test_a_host_has_many_names(here: TcpTransport, there: TcpTransport) -> None:
    port = place(there.serve(echo, "tcp:0.0.0.0:0/x"))[1]
    assert here.request(f"tcp:127.0.0.1:{port}/x", b"1", soon()) == b"echo 1"
    assert here.request(f"tcp:localhost:{port}/x", b"2", soon()) == b"echo 2"


def test_a_peer_that_restarts_is_found_again(here: TcpTransport) -> None:
    with TcpTransport() as there:
        address = there.serve(echo, "tcp:127.0.0.1:0")
        assert here.request(address, b"1", soon()) == b"echo 1"
    with pytest.raises(UnavailableError):
        here.request(address, b"2", soon())
    with TcpTransport() as there:
        there.serve(echo, address)
        assert here.request(address, b"3", soon()) == b"echo 3"


def test_a_port_is_freed_with_its_last_name(there: TcpTransport) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0/x")
    with TcpTransport() as other, pytest.raises(UnavailableError, match="cannot be served"):
        other.serve(echo, address)
    there.stop(address)
    with TcpTransport() as other:
        assert other.serve(echo, address) == address


def test_a_peer_that_dies_with_a_request_is_unavailable(here: TcpTransport) -> None:
    released, there = threading.Event(), TcpTransport()

    def hang(burst: Sequence[Request]) -> list[bytes]:
        released.wait(20)
        return echo(burst)

    gather = here.gather([Request(there.serve(hang, "tcp:127.0.0.1:0"), b"")], soon())
    threading.Timer(0.05, there.close).start()
    (response,) = gather.take(soon())
    released.set()
    assert isinstance(response.error, UnavailableError)


@pytest.mark.parametrize("kind", ["silent", "full", "closed"])
def test_a_deadline_is_kept_whatever_the_peer_does(here: TcpTransport, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(8 if kind == "full" else 0)]
        for filler in fillers:  # nobody accepts: the backlog is full, and a connection is not made
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        if kind == "closed":
            listener.close()
        deadline = soon(0.3)
        (response,) = here.gather([Request(address, bytes(32 << 20))], deadline).take(deadline)
        late = time.monotonic() - deadline
        assert isinstance(response.error, UnavailableError if kind == "closed" else DeadlineError)
        assert late < 1  # a loaded machine is slow
        for filler in fillers:
            filler.close()


def test_one_that_does_not_take_harms_nobody_else(here: TcpTransport, there: TcpTransport) -> None:
    good = there.serve(echo, "tcp:127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bad = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        here.gather([Request(bad, bytes(64 << 20))], soon(5))
        started = time.monotonic()
        assert here.request(good, b"x", soon()) == b"echo x"
        assert time.monotonic() - started < 2


def test_other_clocks(there: TcpTransport) -> None:
    clock = ManualClock()
    address = there.serve(echo, "tcp:127.0.0.1:0")
    with TcpTransport(clock) as here:
        assert here.request(address, b"x", 60.0) == b"echo x"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            gather = here.gather([Request(f"tcp:127.0.0.1:{listener.getsockname()[1]}", b"")], clock.monotonic() + 5)
            threading.Timer(0.05, clock.advance, [6.0]).start()
            (response,) = gather.take(clock.monotonic() + 100)
            assert isinstance(response.error, DeadlineError)


def test_what_waits_for_one_handler_is_one_burst(here: TcpTransport, there: TcpTransport) -> None:
    watched, begun, release = Watched(), threading.Event(), threading.Event()

    def slow(burst: Sequence[Request]) -> list[bytes]:
        if burst[0].body == b"first":
            begun.set()
            release.wait(20)
        return watched.handle(burst)

    with TcpTransport(workers=1) as single:
        address = single.serve(slow, "tcp:127.0.0.1:0")
        first = here.gather([Request(address, b"first")], soon())
        assert begun.wait(20)
        rest = [here.gather([Request(address, b"%d" % number)], soon()) for number in range(5)]
        until = soon()
        while len(single._door._jobs) < 5 and time.monotonic() < until:
            time.sleep(0.005)
        release.set()
        assert [next(gather.take(soon())).body for gather in [first, *rest]] == [
            b"echo first",
            *(b"echo %d" % number for number in range(5)),
        ]
    assert watched.bursts == [1, 5]


def test_what_nobody_waits_for_any_more_is_not_handled(here: TcpTransport) -> None:
    watched, release = Watched(), threading.Event()

    def slow(burst: Sequence[Request]) -> list[bytes]:
        release.wait(20)
        return watched.handle(burst)

    with TcpTransport(workers=1) as single:
        address = single.serve(slow, "tcp:127.0.0.1:0")
        here.gather([Request(address, b"first")], soon())
        time.sleep(0.1)
        deadline = soon(0.1)
        list(here.gather([Request(address, b"late")], deadline).take(deadline))
        release.set()
        assert here.request(address, b"second", soon()) == b"echo second"
    assert watched.bursts == [1, 1]


# --- strangers -------------------------------------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\0" * 3,
    struct.pack("<I", 1),
    struct.pack("<I", 65_537) + bytes(70_000),
    struct.pack("<I", 2) + bytes(18),
    struct.pack("<IQIHI", 1, 1, 1, 9, 0),
    struct.pack("<IQIHI", 1, 1, 1, 0, 0xFFFFFFFF),
    struct.pack("<IQIHI", 1, 1, 1, 1, 0) + b"\xff",
    struct.pack("<IQIHI", 1, 1, 1, 0, 0) + b"more",
]


@pytest.mark.parametrize("frame", GARBAGE, ids=range(len(GARBAGE)))
def test_frames_that_make_no_sense_cost_their_connection(here: TcpTransport, there: TcpTransport, frame: bytes) -> None:
    watched = Watched()
    address = there.serve(watched.handle, "tcp:127.0.0.1:0")
    with stranger(address) as sock:
        sock.sendall(struct.pack("<I", len(frame)) + frame)
        assert is_ended(sock)
    assert watched.bursts == []
    with pytest.raises(ProtocolError):
        read_requests(bytearray(frame))
    assert here.request(address, b"x", soon()) == b"echo x"


def test_readers_refuse_every_cut_and_survive_every_flip() -> None:
    asked = [Asked(7, 1000, "tcp:127.0.0.1:1/a", b"body"), Asked(8, 0, "x", b"")]
    answers = [Answer(7, 0, b"body"), Answer(8, 2, b"")]
    requests, replies = joined(requests_frame(asked))[4:], joined(answers_frame(answers))[4:]
    assert read_requests(bytearray(requests)) == asked
    assert read_answers(bytearray(replies)) == answers
    dice = random.Random(7)
    for whole, read in ((requests, read_requests), (replies, read_answers)):
        for length in range(len(whole)):
            with pytest.raises(ProtocolError):
                read(bytearray(whole[:length]))
        for _ in range(2000):
            damaged = bytearray(whole)
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            with contextlib.suppress(ProtocolError):
                read(damaged)


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\n\r\n", b"CCt2", b"\0\0\0\0", b"CC"])
def test_who_does_not_speak_this_is_shown_out(here: TcpTransport, there: TcpTransport, hello: bytes) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0")
    with stranger(address, hello) as sock:
        assert is_ended(sock)
    assert here.request(address, b"x", soon()) == b"echo x"


def test_a_length_is_believed_as_far_as_bytes_come(here: TcpTransport, there: TcpTransport) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0")
    with stranger(address) as sock:
        sock.sendall(struct.pack("<I", FRAME_BYTES_MAX + 1))
        assert is_ended(sock)
    with stranger(address) as sock:  # as long as is allowed: nothing is set aside for it
        sock.sendall(struct.pack("<I", FRAME_BYTES_MAX) + b"x")
        assert here.request(address, b"x", soon()) == b"echo x"
        assert there._door._budget._left > (1 << 30) - (1 << 20)


def test_slow_ones_are_shown_out(here: TcpTransport, there: TcpTransport) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0")
    with stranger(address) as half, stranger(address, b"") as mute:
        half.sendall(struct.pack("<I", 100) + b"ten bytes.")
        assert here.request(address, b"x", soon()) == b"echo x"
        assert is_ended(half)
        assert is_ended(mute)
    assert here.request(address, b"y", soon()) == b"echo y"


def test_a_flood_of_connections_drives_out_itself(here: TcpTransport, there: TcpTransport) -> None:
    address = there.serve(echo, "tcp:127.0.0.1:0")
    assert here.request(address, b"before", soon()) == b"echo before"
    with contextlib.ExitStack() as open_ones:
        for number in range(100):
            open_ones.enter_context(stranger(address))
            if number % 10 == 0:
                assert here.request(address, b"%d" % number, soon()) == b"echo %d" % number
            assert len(there._door._peers) <= 8
        with TcpTransport() as newcomer:
            assert newcomer.request(address, b"me too", soon()) == b"echo me too"
    assert here.request(address, b"after", soon()) == b"echo after"


def test_one_that_asks_and_never_reads_is_bounded(here: TcpTransport, there: TcpTransport) -> None:
    handled = Watched()

    def large(burst: Sequence[Request]) -> list[bytes]:
        handled.handle(burst)
        return [bytes(1 << 20)] * len(burst)

    address = there.serve(large, "tcp:127.0.0.1:0/large")
    good = there.serve(echo, address.removesuffix("large") + "good")
    frame = joined(requests_frame([Asked(1, 60_000, address, b"")]))
    with stranger(address) as sock, contextlib.suppress(OSError):
        for _ in range(200):
            sock.sendall(frame)
        assert here.request(good, b"x", soon()) == b"echo x"
        sock.settimeout(10)
        while sock.recv(1 << 16):
            time.sleep(0.2)  # slower than patience has it
    assert sum(handled.bursts) < 200
    until = soon()
    while there._door._budget._left != 1 << 30 and time.monotonic() < until:
        time.sleep(0.01)
    assert there._door._budget._left == 1 << 30
    assert here.request(good, b"y", soon()) == b"echo y"


def test_large_frames_find_no_room_and_small_ones_do(here: TcpTransport) -> None:
    release, begun = threading.Event(), threading.Event()

    def keep(burst: Sequence[Request]) -> list[bytes]:
        if burst[0].body:
            begun.set()
            release.wait(20)
        return [b"kept"] * len(burst)

    with TcpTransport(bytes_max=3 << 20) as small, TcpTransport() as second:
        address = small.serve(keep, "tcp:127.0.0.1:0")
        first = here.gather([Request(address, bytes(2 << 20))], soon())
        assert begun.wait(20)
        with pytest.raises(UnavailableError):
            second.request(address, bytes(2 << 20), soon())
        assert second.request(address, b"", soon()) == b"kept"
        release.set()
        assert next(first.take(soon())).body == b"kept"
        assert second.request(address, bytes(2 << 20), soon()) == b"kept"


def test_answers_to_nothing_are_ignored(here: TcpTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        size = len(joined(requests_frame([Asked(1, 1, address, b"x")])))

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(len(HELLO) + size, socket.MSG_WAITALL)
                sock.sendall(joined(answers_frame([Answer(99, 0, b"forged")])))
                sock.sendall(joined(answers_frame([Answer(1, 0, b"right"), Answer(1, 0, b"again")])))
                sock.recv(size, socket.MSG_WAITALL)
                sock.sendall(struct.pack("<I", 0xFFFFFFFF))
                sock.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        assert here.request(address, b"x", soon()) == b"right"
        with pytest.raises(UnavailableError, match="bytes"):
            here.request(address, b"y", soon())
        thread.join()


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["x", "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:-1", "tcp:127.0.0.1:65536", "tcp:a:b:1", "udp:127.0.0.1:1"]
)
def test_addresses_that_cannot_be_served(here: TcpTransport, address: str) -> None:
    with pytest.raises(InputError, match="tcp:HOST:PORT"):
        here.serve(echo, address)


def test_a_place_that_cannot_be_had(here: TcpTransport) -> None:
    with pytest.raises(UnavailableError, match="cannot be served"):
        here.serve(echo, "tcp:192.0.2.1:0")


def test_options() -> None:
    for name, wrong in (("workers", "1"), ("connections_max", True), ("bytes_max", 1.5), ("patience_s", "x")):
        with pytest.raises(TypeError, match=name):
            TcpTransport(**{name: wrong})  # type: ignore[arg-type]
    for name, value in (("workers", 0), ("connections_max", 5000), ("bytes_max", 1), ("patience_s", float("nan"))):
        with pytest.raises(InputError, match=name):
            TcpTransport(**{name: value})  # type: ignore[arg-type]
    for options in ({"direct": 1}, {"clock": time.monotonic}):
        with pytest.raises(TypeError):
            TcpTransport(**options)


@pytest.mark.skipif(not hasattr(os, "listdir") or not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_is_left_open() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(5):
        with TcpTransport() as here, TcpTransport() as there:
            address = there.serve(echo, "tcp:127.0.0.1:0")
            assert here.request(address, b"x", soon()) == b"echo x"
    assert count() <= before


def test_a_frame_of_several_handlers_gives_its_room_back_once() -> None:
    """Its answers stand in the queue once for each handler: who reads none of them and goes must not make more room."""
    gate = threading.Event()

    def slow(burst: Sequence[Request]) -> list[bytes]:
        gate.wait(20)
        return echo(burst)

    with TcpTransport() as opened:
        address = opened.serve(slow, "tcp:127.0.0.1:0/a")
        door = opened._door
        whole = door._budget._left
        asked = [Asked(number, 60_000, "x" * 200, b"") for number in range(3000)]
        asked.append(Asked(3000, 60_000, address, bytes(1 << 20)))
        for _ in range(3):
            gate.clear()
            with socket.create_connection(("127.0.0.1", int(address.split(":")[2].split("/")[0]))) as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stranger.sendall(HELLO)
                for buffer in requests_frame(asked) * 8:
                    stranger.sendall(buffer)
                until = soon()
                while not any(peer.outgoing for peer in list(door._peers)):
                    assert time.monotonic() < until
                    time.sleep(0.01)
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gate.set()
            until = soon()
            while door._peers or door._budget._left != whole:
                assert time.monotonic() < until, (door._budget._left - whole, len(door._peers))
                time.sleep(0.01)


@pytest.mark.parametrize("host", ["a..b", "x" * 200])
def test_a_host_that_is_no_name_is_told_at_once_and_no_thread_dies(host: str) -> None:
    with TcpTransport() as transport:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="is no host name"):
                transport.request(f"tcp:{host}:1", b"", SystemClock().monotonic() + 5.0)
