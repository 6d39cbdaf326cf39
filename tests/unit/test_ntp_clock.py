"""The NTP clock against servers of the test's own making, over real sockets on loopback."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from city_chain import tnh
from city_chain.cli import doctor
from city_chain.errors import DeadlineError, InputError, UnavailableError
from city_chain.node.ntp_clock import NtpClock
from city_chain.ports import Clock

NS = 1_000_000_000
EPOCH_S = 2_208_988_800

type Answers = Callable[[bytes], list[bytes]]


def packet(
    request: bytes, *, offset_s: float = 0.0, first: int = 0x24, stratum: int = 1, name: bytes = b"TEST"
) -> bytes:
    """A good answer of a clock that is `offset_s` ahead of this machine's."""
    seconds, rest = divmod(time.time_ns() + round(offset_s * NS), NS)
    now = seconds + EPOCH_S << 32 | (rest << 32) // NS
    return struct.pack(">BBbbII4sQ8sQQ", first, stratum, 0, -24, 0, 6, name, now - 1, request[40:48], now, now)


def ahead(seconds: float) -> Answers:
    return lambda request: [packet(request, offset_s=seconds)]


def kisses(request: bytes) -> list[bytes]:
    return [packet(request, first=0xE4, stratum=0, name=b"DENY")]


def silent(_: bytes) -> list[bytes]:
    return []


@contextmanager
def served(*answers: Answers) -> Iterator[list[str]]:
    """One server on loopback for each; their addresses."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in answers]
    threads = []
    try:
        for sock, given in zip(sockets, answers, strict=True):
            sock.bind(("127.0.0.1", 0))
            threads.append(Thread(target=_serve, args=(sock, given)))
            threads[-1].start()
        yield [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    finally:
        for sock in sockets:
            sock.sendto(b"end", sock.getsockname())
        for thread in threads:
            thread.join()
        for sock in sockets:
            sock.close()


def _serve(sock: socket.socket, answers: Answers) -> None:
    while True:
        request, where = sock.recvfrom(2048)
        if request == b"end":
            return
        for answer in answers(request):
            sock.sendto(answer, where)


def test_three_that_agree_are_a_clock() -> None:
    with served(ahead(2.0), ahead(2.0), ahead(2.0)) as servers:
        clock = NtpClock(servers)
        assert isinstance(clock, Clock)
        interval = clock.poll()
    assert interval.status == "synchronised"
    ahead_ns = clock.now_ms() * 1_000_000 - time.time_ns()
    assert abs(ahead_ns - 2 * NS) < 0.5 * NS
    assert interval.earliest_ns < interval.latest_ns
    assert [server.verdict for server in clock.servers()] == ["right"] * 3


def test_a_false_one_is_named_and_left_out() -> None:
    with served(ahead(0), ahead(5), ahead(0), ahead(0)) as servers:
        clock = NtpClock(servers)
        clock.poll()
    assert [server.verdict for server in clock.servers()] == ["right", "false", "right", "right"]
    assert clock.servers()[1].name == servers[1]
    assert abs(clock.now_ms() - time.time_ns() // 1_000_000) < 1000


def test_two_against_two_is_no_majority_and_no_time() -> None:
    with served(ahead(0), ahead(0), ahead(5), ahead(5)) as servers:
        clock = NtpClock(servers)
        with pytest.raises(UnavailableError, match="no majority") as caught:
            clock.poll()
    assert (caught.value.needed, caught.value.had) == (3, 2)
    assert clock.interval().status == "unknown"
    with pytest.raises(UnavailableError, match="unknown"):
        clock.now_ms()
    with pytest.raises(UnavailableError):
        clock.commit_wait(0)
    assert {server.verdict for server in clock.servers()} == {"refused"}


def test_a_silent_majority_is_no_majority() -> None:
    with served(ahead(0), ahead(0), silent, silent) as servers:
        clock = NtpClock(servers, timeout_s=0.3)
        with pytest.raises(UnavailableError, match="no majority"):
            clock.poll()
    assert [server.verdict for server in clock.servers()][2:] == ["silent", "silent"]
    assert "0.3 s" in clock.servers()[2].reason


def test_forged_packets_before_the_true_one_change_nothing() -> None:
    def forged(request: bytes) -> list[bytes]:
        wrong = bytearray(packet(request, offset_s=60))
        wrong[30] ^= 1
        return [b"", b"x" * 2000, bytes(wrong), packet(request)]

    with served(forged) as servers:
        clock = NtpClock(servers)
        assert clock.poll().status == "synchronised"
    assert abs(clock.now_ms() - time.time_ns() // 1_000_000) < 1000


def test_who_asks_to_be_left_alone_is_not_asked_again() -> None:
    asked: list[bytes] = []

    def denies(request: bytes) -> list[bytes]:
        asked.append(request)
        return kisses(request)

    with served(denies, ahead(0), ahead(0)) as servers:
        clock = NtpClock(servers)
        for _ in range(3):
            assert clock.poll().status == "synchronised"
    assert len(asked) == 1
    assert (clock.servers()[0].verdict, clock.servers()[0].offset_ns) == ("left alone", None)
    assert "DENY" in clock.servers()[0].reason


def test_a_server_that_is_not_synchronised_is_refused_by_reason() -> None:
    with served(lambda request: [packet(request, first=0xE4)], ahead(0), ahead(0)) as servers:
        clock = NtpClock(servers, timeout_s=0.3)
        clock.poll()
    assert clock.servers()[0].verdict == "refused"
    assert "not synchronised" in clock.servers()[0].reason


def test_names_that_are_none_and_ports_where_nobody_is() -> None:
    with served(ahead(0), ahead(0), ahead(0)) as servers:
        gone = servers[0]
    with served(ahead(0), ahead(0), ahead(0)) as servers:
        clock = NtpClock([*servers, gone, "no-such-host.invalid"], timeout_s=0.5)
        assert clock.poll().status == "synchronised"
    verdicts = [server.verdict for server in clock.servers()]
    assert verdicts == ["right", "right", "right", "silent", "unresolved"]


def test_a_clock_that_is_too_wide_is_not_called_good() -> None:
    with served(ahead(0)) as servers:
        clock = NtpClock(servers, good_ms=0.001)
        assert clock.poll().status == "unsynchronised"
    with pytest.raises(UnavailableError, match="unsynchronised"):
        clock.now_ms()


def test_commit_wait_returns_only_when_the_instant_has_passed_for_certain() -> None:
    with served(ahead(0)) as servers:
        clock = NtpClock(servers)
        clock.poll()
    hlc = tnh.Hlc()
    stamp = hlc.now(clock.now_ms() + 30)
    clock.commit_wait(tnh.ms(stamp))
    assert clock.interval().earliest_ns > tnh.ms(stamp) * 1_000_000
    with pytest.raises(DeadlineError, match="left"):
        clock.commit_wait(clock.now_ms() + 60_000, timeout_s=0.05)


def test_a_thread_polls_until_close() -> None:
    with served(ahead(0)) as servers, NtpClock(servers) as clock:
        clock.start(every_s=1.0)
        until = time.monotonic() + 10
        while clock.interval().status != "synchronised" and time.monotonic() < until:
            time.sleep(0.01)
        assert clock.interval().status == "synchronised"
        with pytest.raises(InputError, match="already"):
            clock.start()


@pytest.mark.parametrize(
    "servers",
    [
        [],
        ["a"] * 2,
        [f"h{n}" for n in range(65)],
        [""],
        ["a:0"],
        ["a:65536"],
        ["a:x"],
        ["a b"],
        ["[::1]:x"],
        ["x" * 254],
    ],
)
def test_servers_that_are_none_are_refused(servers: list[str]) -> None:
    with pytest.raises(InputError):
        NtpClock(servers)


def test_a_server_that_is_named_twice_is_told_by_its_name() -> None:
    with pytest.raises(InputError, match=r"'localhost:7' is named twice"):
        NtpClock(["localhost:6", "localhost:7", "127.0.0.1:7", "localhost:7"])


@pytest.mark.parametrize("servers", ["host", [7], [None]])
def test_servers_of_another_type_are_refused(servers: list[str]) -> None:
    with pytest.raises(TypeError):
        NtpClock(servers)


@pytest.mark.parametrize(("timeout_s", "good_ms"), [(0, 1), (17, 1), (float("nan"), 1), (1, 0), (1, float("inf"))])
def test_numbers_out_of_range_are_refused(timeout_s: float, good_ms: float) -> None:
    with pytest.raises(InputError):
        NtpClock(["localhost"], timeout_s=timeout_s, good_ms=good_ms)


def test_a_name_that_cannot_be_looked_up_is_told_whatever_is_wrong_with_it() -> None:
    with served(ahead(0), ahead(0), ahead(0)) as servers:
        clock = NtpClock([*servers, "a" * 64 + ".example", "a..b"])
        assert clock.poll().status == "synchronised"
    assert [server.verdict for server in clock.servers()[3:]] == ["unresolved"] * 2
    assert all("looked up" in server.reason for server in clock.servers()[3:])


def test_a_name_that_is_slow_to_look_up_spoils_nobody_s_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    real, freed = socket.getaddrinfo, Event()

    def slow(host: str, *rest: object, **more: object) -> object:
        if host == "slow.example" and not more["flags"]:
            freed.wait(10)
            host = "127.0.0.1"
        return real(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with served(ahead(0), ahead(0), ahead(0), ahead(0)) as servers:
        slowly = servers[3].replace("127.0.0.1", "slow.example")
        clock = NtpClock([slowly, *servers[:3]], timeout_s=0.5)
        began = time.monotonic()
        interval = clock.poll()
        assert time.monotonic() - began < 5
        assert interval.status == "synchronised"
        assert interval.width_ns < 400_000_000, "as wide as the wait for the name"
        assert clock.servers()[0].verdict == "unresolved"
        freed.set()
        until = time.monotonic() + 10
        while clock.servers()[0].verdict != "right" and time.monotonic() < until:
            clock.poll()
        assert clock.servers()[0].verdict == "right", "the next poll has what the lookup found"


def test_one_server_under_two_names_has_one_voice() -> None:
    with served(ahead(5), ahead(0)) as servers:
        clock = NtpClock([servers[0], servers[0].replace("127.0.0.1", "127.1"), servers[1]])
        with pytest.raises(UnavailableError, match="no majority"):
            clock.poll()
    assert [server.verdict for server in clock.servers()] == ["refused", "repeated", "refused"]
    assert servers[0] in clock.servers()[1].reason


def test_a_server_that_has_no_time_yet_is_asked_again() -> None:
    """So chronyd and ntpd answer until they are synchronised: stratum 0 and no, or another, reason."""
    answers: list[Answers] = [
        lambda request: [packet(request, first=0xE4, stratum=0, name=bytes(4))],
        lambda request: [packet(request, first=0xE4, stratum=0, name=b"INIT")],
        ahead(0),
    ]

    def next_one(request: bytes) -> list[bytes]:
        return answers.pop(0)(request)

    with served(next_one) as servers:
        clock = NtpClock(servers, timeout_s=0.2)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                clock.poll()
            assert clock.servers()[0].verdict == "refused"
        assert clock.poll().status == "synchronised"


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME is Linux's")
def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept_ns, real = [0], time.clock_gettime_ns

    def boot_time(which: int) -> int:
        return real(which) + (slept_ns[0] if which == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime_ns", boot_time)
    with served(ahead(0)) as servers:
        clock = NtpClock(servers)
        clock.poll()
    before, width = clock.now_ms(), clock.interval().width_ns
    slept_ns[0] = 3_600 * NS
    assert 3_600_000 <= clock.now_ms() - before < 3_660_000
    assert clock.interval().width_ns >= width + 2 * 3_600 * 15_000 - 10, "an hour of drift both ways"
    slept_ns[0] = 86_400 * NS
    with pytest.raises(UnavailableError, match="unsynchronised"):
        clock.now_ms()


def test_a_system_without_sockets_is_told_and_the_thread_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> selectors.BaseSelector:
        raise OSError(24, "Too many open files")

    with served(ahead(0)) as servers, NtpClock(servers, timeout_s=0.2) as clock:
        with monkeypatch.context() as patched:
            patched.setattr(selectors, "DefaultSelector", none)
            with pytest.raises(UnavailableError, match="Too many open files"):
                clock.poll()
            clock.start(every_s=1.0)
            time.sleep(0.2)
        until = time.monotonic() + 10
        while clock.interval().status != "synchronised" and time.monotonic() < until:
            time.sleep(0.01)
        assert clock.interval().status == "synchronised"


def test_why_there_is_no_time_is_told() -> None:
    clock = NtpClock(["127.0.0.1:9", "127.0.0.2:9"], timeout_s=0.05)
    with pytest.raises(UnavailableError, match=r"unknown: 0 of 2 servers have answered; tnh: no majority") as caught:
        clock.now_ms()
    assert (caught.value.needed, caught.value.had) == (2, 0)


def test_it_may_be_started_and_stopped_by_several_at_once() -> None:
    with served(ahead(0)) as servers:
        clock = NtpClock(servers, timeout_s=0.05)

        def both() -> None:
            for _ in range(5):
                with contextlib.suppress(InputError):
                    clock.start(every_s=1.0)
                clock.close()

        threads = [Thread(target=both) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        clock.close()


def test_doctor_is_not_misled_by_a_server_that_is_silent() -> None:
    """The poll lasts as long as that server is waited for; this machine's clock is not off by that."""
    wrong: list[str] = []
    with served(ahead(0), ahead(0), ahead(0), silent) as servers:
        found = doctor._network_time(servers, wrong)
    assert wrong == []
    assert found["network_says"] == "synchronised"
    assert isinstance(found["network_offset_ms"], float)
    assert abs(found["network_offset_ms"]) < 400


def test_doctor_says_unknown_without_a_majority() -> None:
    wrong: list[str] = []
    with served(ahead(0), ahead(0), ahead(5), ahead(5)) as servers:
        found = doctor._network_time(servers, wrong)
    assert found["network_says"] is None
    assert "no majority" in wrong[0]


def test_a_system_without_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    clock = NtpClock(["no-such-host.invalid"], timeout_s=0.05)
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", none)
        with pytest.raises(UnavailableError, match="can't start new thread"):
            clock.poll()
    with pytest.raises(UnavailableError, match="no majority"):
        clock.poll()


def test_addresses_are_looked_up_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(ahead(0)) as servers:
        monkeypatch.setattr(Thread, "start", lambda _: pytest.fail("a thread for an address"))
        assert NtpClock(servers).poll().status == "synchronised"
