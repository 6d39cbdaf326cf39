"""What every transport keeps: the contract of `ports.Transport`, over each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from city_chain.adapters.transport.gathering import BODY_BYTES_MAX
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.adapters.transport.tcp import TcpTransport
from city_chain.errors import (
    CityChainError,
    DeadlineError,
    InputError,
    ProtocolError,
    StorageError,
    UnavailableError,
    VerificationError,
)
from city_chain.ports import Gather, Handler, Request, Response, Transport

pytestmark = pytest.mark.unit


def soon(seconds: float = 20.0) -> float:
    """A deadline that a healthy answer never misses."""
    return time.monotonic() + seconds


def echo(burst: Sequence[Request]) -> list[bytes]:
    return [request.address.encode() + b":" + request.body for request in burst]


class Recorder:
    """An echo that remembers its bursts."""

    def __init__(self) -> None:
        self.bursts: list[list[Request]] = []

    def handle(self, burst: Sequence[Request]) -> list[bytes]:
        self.bursts.append(list(burst))
        return echo(burst)


@dataclass
class Wire:
    """A transport, and what it calls what these tests call ``a`` or ``x``."""

    transport: Transport
    prefix: str

    def at(self, name: str) -> str:
        return self.prefix + name

    def serve(self, handler: Handler, name: str) -> str:
        return self.transport.serve(handler, self.at(name))

    def request(self, name: str, body: bytes, deadline: float) -> bytes:
        return self.transport.request(self.at(name), body, deadline)

    def ask(self, requests: Sequence[tuple[str, bytes]], deadline: float) -> list[Response]:
        return list(
            self.transport.gather([Request(self.at(name), body) for name, body in requests], deadline).take(deadline)
        )


@pytest.fixture(params=["inprocess", "inprocess in threads", "tcp", "tcp direct"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    if request.param.startswith("inprocess"):
        with InProcessTransport(inline="threads" not in request.param) as opened:
            yield Wire(opened, "")
        return
    with TcpTransport(direct="direct" in request.param) as served:
        base = served.serve(lambda burst: [b""] * len(burst), "tcp:127.0.0.1:0")
        yield Wire(served, base + "/")
    until = soon(5)
    while (left := [thread for thread in threading.enumerate() if thread.name == "city-chain-tcp"]) and soon(0) < until:
        left[0].join(0.01)
    assert not left


# --- asking and answering --------------------------------------------------------------------------------------------


def test_is_a_transport(wire: Wire) -> None:
    assert isinstance(wire.transport, Transport)
    assert isinstance(wire.transport.gather([], soon()), Gather)


def test_request(wire: Wire) -> None:
    address = wire.serve(echo, "a")
    assert address == wire.at("a")
    assert wire.request("a", b"", soon()) == address.encode() + b":"
    assert wire.request("a", b"body", soon()) == address.encode() + b":body"


def test_new_addresses_are_new(wire: Wire) -> None:
    addresses = {wire.transport.serve(echo) for _ in range(5)}
    assert len(addresses) == 5
    for address in addresses:
        assert wire.transport.request(address, b"x", soon()) == address.encode() + b":x"


def test_requests_to_one_handler_are_one_burst(wire: Wire) -> None:
    one, other = Recorder(), Recorder()
    for number in range(6):  # each time another bound method, equal to the last
        wire.serve((one if number % 2 else other).handle, f"n{number}")
    requests = [Request(wire.at(f"n{number}"), bytes([number])) for number in (0, 1, 2, 3, 4, 5, 1)]
    gather = wire.transport.gather(requests, soon())
    assert gather.pending == 7
    responses = list(gather.take(soon()))
    assert one.bursts == [[requests[1], requests[3], requests[5], requests[6]]]
    assert other.bursts == [[requests[0], requests[2], requests[4]]]
    assert gather.pending == 0
    assert {(r.ticket, r.address, r.body) for r in responses} == {
        (ticket, request.address, request.address.encode() + b":" + request.body)
        for ticket, request in enumerate(requests)
    }
    assert all(response.error is None for response in responses)


def test_a_gather_can_be_added_to(wire: Wire) -> None:
    wire.serve(echo, "a")
    gather = wire.transport.gather([Request(wire.at("a"), b"0"), Request(wire.at("a"), b"1")], soon())
    first = next(gather.take(soon()))
    assert gather.send([Request(wire.at("a"), b"2"), Request(wire.at("nobody"), b"3")]) == 2
    assert gather.send([]) == 4
    rest = {response.ticket: response for response in gather.take(soon())}
    assert rest.keys() | {first.ticket} == {0, 1, 2, 3}
    assert isinstance(rest[3].error, UnavailableError)
    assert list(gather.take(soon())) == []


def test_handlers_that_cannot_be_hashed(wire: Wire) -> None:
    class Odd(Recorder):
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, burst: Sequence[Request]) -> list[bytes]:
            return self.handle(burst)

    odd = Odd()
    wire.serve(odd, "a")
    wire.serve(odd, "b")
    assert len(wire.ask([("a", b""), ("b", b"")], soon())) == 2
    assert len(odd.bursts) == 1


def test_a_handler_may_use_the_transport(wire: Wire) -> None:
    wire.serve(echo, "far")
    wire.serve(lambda burst: [wire.request("far", request.body, soon()) for request in burst], "near")
    assert wire.request("near", b"x", soon()) == wire.at("far").encode() + b":x"


def test_many_threads(wire: Wire) -> None:
    for number in range(4):
        wire.serve(echo, f"n{number}")
    wrong: list[object] = []

    def work(me: int) -> None:
        for turn in range(20):
            body = bytes([me, turn])
            for response in wire.ask([(f"n{number}", body) for number in range(4)], soon(30)):
                if response.body != response.address.encode() + b":" + body:
                    wrong.append(response)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- nobody there, or too late ---------------------------------------------------------------------------------------


def test_nobody_serves(wire: Wire) -> None:
    with pytest.raises(UnavailableError, match=r"nobody serves '.*x'"):
        wire.request("x", b"", soon())
    wire.serve(echo, "x")
    wire.transport.stop(wire.at("x"))
    wire.transport.stop(wire.at("x"))
    with pytest.raises(UnavailableError):
        wire.request("x", b"", soon())
    wire.serve(echo, "x")
    assert wire.request("x", b"", soon()) == wire.at("x").encode() + b":"


@pytest.mark.parametrize("address", ["x", "tcp:127.0.0.1", "tcp::1", "tcp:127.0.0.1:70000", "tcp:127.0.0.1:1/x", ":"])
def test_addresses_where_nobody_can_be(wire: Wire, address: str) -> None:
    with pytest.raises(UnavailableError, match="nobody serves"):
        wire.transport.request(address, b"", soon())


def test_an_address_is_served_once(wire: Wire) -> None:
    wire.serve(echo, "x")
    with pytest.raises(InputError, match="served already"):
        wire.serve(Recorder().handle, "x")
    assert wire.request("x", b"", soon()) == wire.at("x").encode() + b":"


@pytest.mark.parametrize("past", [0.0, -1.0, -1e12])
def test_a_deadline_in_the_past_sends_nothing(wire: Wire, past: float) -> None:
    recorder = Recorder()
    wire.serve(recorder.handle, "x")
    with pytest.raises(DeadlineError):
        wire.request("x", b"", past)
    (response,) = wire.transport.gather([Request(wire.at("x"), b"")], past).take(soon())
    assert isinstance(response.error, DeadlineError)
    assert recorder.bursts == []


def test_a_handler_that_hangs_costs_the_deadline_and_no_more(wire: Wire) -> None:
    if wire.transport.request(wire.transport.serve(lambda _: [b"%d" % threading.get_ident()]), b"", soon()) == (
        b"%d" % threading.get_ident()
    ):
        pytest.skip("answered in the caller's thread, which the handler may hold")
    release = threading.Event()

    def hang(burst: Sequence[Request]) -> list[bytes]:
        release.wait(60)
        return echo(burst)

    wire.serve(hang, "hangs")
    wire.serve(echo, "good")
    deadline = time.monotonic() + 0.5
    found = {response.address: response for response in wire.ask([("hangs", b""), ("good", b"")], deadline)}
    back = time.monotonic() - deadline
    release.set()
    assert found[wire.at("good")].body == wire.at("good").encode() + b":"
    assert isinstance(found[wire.at("hangs")].error, DeadlineError)
    assert 0 <= back < 2  # a loaded machine is slow


# --- handlers that misbehave -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (ValueError("odd"), ProtocolError),
        (VerificationError("bad"), ProtocolError),
        (SystemExit(3), ProtocolError),
        (StorageError("disk is full"), UnavailableError),
        (DeadlineError("late"), UnavailableError),
        (UnavailableError("few", 2, 1), UnavailableError),
    ],
)
def test_a_handler_that_raises(wire: Wire, raised: BaseException, seen: type[CityChainError]) -> None:
    def break_down(_: Sequence[Request]) -> list[bytes]:
        raise raised

    wire.serve(break_down, "bad")
    wire.serve(echo, "good")
    found = {response.address: response for response in wire.ask([("bad", b""), ("good", b"")], soon())}
    assert found[wire.at("good")].body == wire.at("good").encode() + b":"
    error = found[wire.at("bad")].error
    assert type(error) is seen
    assert repr(wire.at("bad")) in str(error)
    assert type(raised).__name__ in str(error)


@pytest.mark.parametrize(
    "result",
    [None, [], [b"a"], [b"a", b"b", b"c"], b"ab", bytearray(b"ab"), "ab", 2, iter([b"a", b"b"]), {b"a": 1, b"b": 2}],
    ids=["None", "none", "one", "three", "bytes", "bytearray", "str", "int", "iterator", "dict"],
)
def test_a_wrong_number_or_kind_of_answers(wire: Wire, result: object) -> None:
    wire.serve(lambda _: result, "x")  # type: ignore[arg-type, return-value]
    wire.serve(echo, "good")
    responses = wire.ask([("x", b""), ("good", b""), ("x", b"")], soon())
    errors = [response.error for response in responses if response.address == wire.at("x")]
    assert len(errors) == 2
    assert all(isinstance(error, ProtocolError) and repr(wire.at("x")) in str(error) for error in errors)
    good = [response.body for response in responses if response.address == wire.at("good")]
    assert good == [wire.at("good").encode() + b":"]


def test_one_answer_that_is_not_bytes_spoils_only_itself(wire: Wire) -> None:
    odd: list[object] = [b"fine", None, "text", bytearray(b"x"), bytes(BODY_BYTES_MAX + 1), b""]
    wire.serve(lambda _: odd, "x")  # type: ignore[arg-type, return-value]
    responses = sorted(wire.ask([("x", b"")] * len(odd), soon()))
    assert [response.body for response in responses] == [b"fine", None, None, None, None, b""]
    assert all((response.error is None) == (response.body is not None) for response in responses)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_close_ends_the_wait(wire: Wire) -> None:
    if wire.transport.request(wire.transport.serve(lambda _: [b"%d" % threading.get_ident()]), b"", soon()) == (
        b"%d" % threading.get_ident()
    ):
        pytest.skip("answered in the caller's thread, which the handler may hold")
    release = threading.Event()

    def hang(burst: Sequence[Request]) -> list[bytes]:
        release.wait(60)
        return echo(burst)

    wire.serve(hang, "x")
    gather = wire.transport.gather([Request(wire.at("x"), b"")], soon(60))
    threading.Timer(0.05, wire.transport.close).start()
    started = time.monotonic()
    (response,) = gather.take(soon(60))
    release.set()
    assert time.monotonic() - started < 30
    assert isinstance(response.error, UnavailableError)
    assert "closed" in str(response.error)
    time.sleep(0.1)  # the handler's thread, which was left behind


def test_after_close(wire: Wire) -> None:
    wire.serve(echo, "x")
    wire.transport.close()
    wire.transport.close()
    with pytest.raises(UnavailableError):
        wire.request("x", b"", soon())
    with pytest.raises(UnavailableError, match="closed"):
        wire.serve(echo, "y")
    wire.transport.stop(wire.at("x"))


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, "text", 1, bytearray(b"x"), memoryview(b"x"), [b"x"]])
def test_bodies_are_bytes(wire: Wire, body: object) -> None:
    recorder = Recorder()
    address = wire.serve(recorder.handle, "x")
    with pytest.raises(TypeError):
        wire.transport.request(address, body, soon())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        wire.transport.gather([Request(address, b"fine"), Request(address, body)], soon())  # type: ignore[arg-type]
    assert recorder.bursts == []


@pytest.mark.parametrize("requests", [None, 3, "ab", [("x", b"")], [None], Request("x", b"")])
def test_requests_are_requests(wire: Wire, requests: object) -> None:
    with pytest.raises(TypeError):
        wire.transport.gather(requests, soon())  # type: ignore[arg-type]


def test_sizes(wire: Wire) -> None:
    address = wire.serve(echo, "x")
    with pytest.raises(InputError, match="at most"):
        wire.transport.request(address, bytes(BODY_BYTES_MAX + 1), soon())
    with pytest.raises(InputError, match="65536"):
        wire.transport.gather([Request(address, b"")] * 65_537, soon())
    gather = wire.transport.gather([Request(address, b"")] * 65_535, soon())
    gather.send([Request(address, b"")])
    with pytest.raises(InputError, match="65537"):
        gather.send([Request(address, b"")])
    assert gather.pending == 65_536
    assert all(response.body == address.encode() + b":" for response in gather.take(soon(60)))


def test_a_large_body(wire: Wire) -> None:
    body = bytes(range(256)) * (40 << 12)
    wire.serve(lambda burst: [request.body[::-1] for request in burst], "x")
    responses = sorted(wire.ask([("x", body), ("x", b"small"), ("x", body)], soon(60)))
    assert [response.body for response in responses] == [body[::-1], b"llams", body[::-1]]


@pytest.mark.parametrize(
    ("address", "error"),
    [(None, TypeError), (b"x", TypeError), (1, TypeError), ("", InputError), ("x" * 257, InputError)],
)
def test_addresses(wire: Wire, address: object, error: type[Exception]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: wire.transport.request(address, b"", soon()),  # type: ignore[arg-type]
        lambda: wire.transport.stop(address),  # type: ignore[arg-type]
    ]
    if address is not None:
        calls.append(lambda: wire.transport.serve(echo, address))  # type: ignore[arg-type]
    for call in calls:
        with pytest.raises(error):
            call()


@pytest.mark.parametrize("instant", [None, "1", True, b"", [1]])
def test_instants_are_numbers(wire: Wire, instant: object) -> None:
    with pytest.raises(TypeError):
        wire.transport.gather([], instant)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        wire.transport.gather([], soon()).take(instant)  # type: ignore[arg-type]


@pytest.mark.parametrize("instant", [float("nan"), 1e13, 10**400, -(10**400)])
def test_instants_are_sensible(wire: Wire, instant: float) -> None:
    with pytest.raises(InputError):
        wire.transport.gather([], instant)
    with pytest.raises(InputError):
        wire.transport.gather([], soon()).take(instant)


@pytest.mark.parametrize("handler", [None, 3, "handler", b""])
def test_handlers_are_callable(wire: Wire, handler: object) -> None:
    with pytest.raises(TypeError):
        wire.transport.serve(handler)  # type: ignore[arg-type]
