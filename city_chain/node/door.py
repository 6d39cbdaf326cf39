"""The door where tokens are shown: whoever has none gets nothing that costs storage, a signature or a vote.

On one side, `WithToken` is a transport that shows a token with everything it sends. On the other, `Door` stands before
a handler: it checks the token first, and hands on what came with it. Both may be wrapped around any transport. The
token is readable to whoever reads the traffic: over networks that are not one's own, use a transport that encrypts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError, VerificationError
from city_chain.node.login import Lease, Login
from city_chain.ports import Auth, Gather, Grant, Handler, PresenceEntry, Request, Response, Transport
from city_chain.stages import messages

__all__ = ["Door", "WithToken", "log_in", "log_out", "renew"]

_TOKEN_BYTES_MAX = 8 << 10
_LOGIN_BYTES_MAX = 64 << 10
_LOGINS = ("log_in", "renew", "log_out")
_MS_MAX = 10**12


class WithToken:
    """A transport that shows a token with everything it sends to others. Keeps the contract of `ports.Transport`.

    What it serves itself it asks without a token.

    Args:
        transport: What carries it. `close` closes it, too.
        token: The token, or a function that gives the present one; it is called for every request or gather.

    Raises:
        TypeError: An argument has the wrong type.

    Example:
        See `examples/login.py`.
    """

    def __init__(self, transport: Transport, token: str | Callable[[], str]) -> None:
        if not isinstance(transport, Transport):
            raise TypeError(f"transport must be a ports.Transport, not {type(transport).__name__}")
        if not isinstance(token, str) and not callable(token):
            raise TypeError(f"token must be a str or a function, not {type(token).__name__}")
        self._inner = transport
        self._token = token
        self._own: set[str] = set()  # who asks himself shows nothing

    def request(self, address: str, body: bytes, deadline: float) -> bytes:
        """As `ports.Transport.request`."""
        return self._inner.request(address, self._shown([Request(address, body)])[0].body, deadline)

    def gather(self, requests: Sequence[Request], deadline: float) -> Gather:
        """As `ports.Transport.gather`."""
        return _Gather(self._inner.gather(self._shown(requests), deadline), self._shown)

    def serve(self, handler: Handler, address: str | None = None) -> str:
        """As `ports.Transport.serve`."""
        served = self._inner.serve(handler, address)
        self._own.add(served)
        return served

    def stop(self, address: str) -> None:
        """As `ports.Transport.stop`."""
        self._inner.stop(address)
        self._own.discard(address)

    def close(self) -> None:
        """As `ports.Transport.close`."""
        self._inner.close()

    def _shown(self, requests: Sequence[Request]) -> list[Request]:
        token = self._token if isinstance(self._token, str) else self._token()
        if not isinstance(token, str):
            raise TypeError(f"a token must be a str, not {type(token).__name__}")
        if not token.isascii() or len(token) > _TOKEN_BYTES_MAX:
            raise InputError(f"a token is ASCII and has at most {_TOKEN_BYTES_MAX} characters")
        shown: dict[int, bytes] = {}  # one body to many stays one object
        for request in requests:
            if id(request.body) not in shown and request.address not in self._own:
                shown[id(request.body)] = messages.message("token", [token.encode(), request.body])
        return [
            request if request.address in self._own else Request(request.address, shown[id(request.body)])
            for request in requests
        ]


class _Gather:
    """A gather that shows the token with what is sent later, too."""

    def __init__(self, inner: Gather, shown: Callable[[Sequence[Request]], list[Request]]) -> None:
        self._inner = inner
        self._shown = shown

    @property
    def pending(self) -> int:
        return self._inner.pending

    def send(self, requests: Sequence[Request]) -> int:
        return self._inner.send(self._shown(requests))

    def take(self, until: float) -> Iterator[Response]:
        return self._inner.take(until)


class Door:
    """Stands before a handler and lets in who shows a right token.

    Args:
        handler: Gets what was let in, without its token.
        auth: Checks tokens; a `Login` takes those only whose node is logged in, and answers logins, too.
        may: Called with what a right token says; raises for whom this handler does not serve. None: serves all.

    Raises:
        TypeError: An argument has the wrong type.

    Example:
        See `examples/login.py`.
    """

    def __init__(self, handler: Handler, auth: Auth | Login, may: Callable[[Grant], object] | None = None) -> None:
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        if not isinstance(auth, Login | Auth):
            raise TypeError(f"auth must be a ports.Auth or a Login, not {type(auth).__name__}")
        if may is not None and not callable(may):
            raise TypeError(f"may must be callable or None, not {type(may).__name__}")
        self._handler = handler
        self._auth = auth
        self._may = may

    def answer(self, requests: Sequence[Request]) -> list[bytes]:
        """Answers a burst (a `ports.Handler`): one answer each, in order. Never raises for what a request holds."""
        answers = [b""] * len(requests)
        inside: list[tuple[int, Request]] = []
        verdicts: dict[bytes, CityChainError | None] = {}  # of this burst's tokens
        for at, request in enumerate(requests):
            try:
                token, body = _opened(request.body)
                word = _login_word(body) if isinstance(self._auth, Login) else None
                if word is not None and isinstance(self._auth, Login):
                    answers[at] = _logged(self._auth, token, word)
                    verdicts.clear()
                    continue
                if token not in verdicts:
                    verdicts[token] = self._refusal(token)
                refusal = verdicts[token]
                if refusal is not None:
                    raise refusal
                inside.append((at, Request(request.address, body)))
            except CityChainError as error:
                answers[at] = messages.refused(messages.reason(error))
        if inside:
            given = self._handler([request for _, request in inside])
            for (at, _), answer in zip(inside, given, strict=True):
                answers[at] = answer
        return answers

    def _refusal(self, token: bytes) -> CityChainError | None:
        try:
            grant = self._auth.check(token)
            if isinstance(self._auth, Login):
                self._auth.authorise(token)
            if self._may is not None:
                self._may(grant)
        except CityChainError as error:
            return error
        return None


def log_in(transport: Transport, address: str, record: records.NodeRecord, *, ttl: float, deadline: float) -> Lease:
    """Logs a node in at a door.

    Args:
        transport: Shows the node's token (`WithToken`).
        address: Where the door is.
        record: The node's signed record.
        ttl: The lease asked for, seconds.
        deadline: When to give up, an instant of the transport's clock.

    Raises:
        ProtocolError: It was refused; the message says why.
        InputError: `ttl` is out of range.
        UnavailableError, DeadlineError: As `ports.Transport.request`.

    Example:
        See `examples/login.py`.
    """
    if not isinstance(record, records.NodeRecord):
        raise TypeError(f"record must be a records.NodeRecord, not {type(record).__name__}")
    body = messages.message("log_in", [messages.integer(_ms_of(ttl)), record.to_bytes()])
    return _granted(_checked(transport).request(address, body, deadline))


def renew(transport: Transport, address: str, *, ttl: float, deadline: float) -> float:
    """Extends a node's lease at a door; returns what was granted, seconds. Arguments and errors as `log_in`.

    Example:
        See `examples/login.py`.
    """
    body = messages.message("renew", [messages.integer(_ms_of(ttl))])
    return _granted(_checked(transport).request(address, body, deadline)).ttl_s


def log_out(transport: Transport, address: str, sequence: int, *, deadline: float) -> None:
    """Logs a node out at a door: its token is of no use any more. Arguments and errors as `log_in`.

    Args:
        transport: Shows the node's token (`WithToken`).
        address: Where the door is.
        sequence: At least that of the node's record.
        deadline: When to give up, an instant of the transport's clock.

    Example:
        See `examples/login.py`.
    """
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise TypeError(f"sequence must be an int, not {type(sequence).__name__}")
    if not 0 <= sequence < 1 << 64:
        raise InputError(f"sequence must be 0 to 2^64 - 1, not {sequence}")
    body = messages.message("log_out", [messages.integer(sequence)])
    messages.answer(_checked(transport).request(address, body, deadline), "done", 0)


def _checked(transport: Transport) -> Transport:
    if not isinstance(transport, Transport):
        raise TypeError(f"transport must be a ports.Transport, not {type(transport).__name__}")
    return transport


def _ms_of(ttl: float) -> int:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl must be a number of seconds, not {type(ttl).__name__}")
    if not 0.001 <= ttl <= _MS_MAX / 1000:
        raise InputError(f"ttl must be 0.001 to {_MS_MAX / 1000:g} seconds, not {ttl}")
    return int(ttl * 1000)


def _granted(answer: bytes) -> Lease:
    revision, ttl_ms = messages.answer(answer, "granted", 2)
    return Lease(messages.integer_of(revision), messages.integer_of(ttl_ms) / 1000)


def _opened(body: bytes) -> tuple[bytes, bytes]:
    """The token that came with a body, and the body."""
    message = messages.parse(body)
    if message.kind != "token":
        raise VerificationError("a token is needed here: nothing is done without")
    if len(message.parts) != 2:
        raise ProtocolError(f"token: {len(message.parts)} parts, exactly 2 are needed")
    return message.parts[0], message.parts[1]


def _login_word(body: bytes) -> records.Message | None:
    """What is asked of a login, if that is what a body is."""
    if len(body) > _LOGIN_BYTES_MAX:
        return None
    word = messages.parse(body)
    return word if word.kind in _LOGINS else None


def _logged(login: Login, token: bytes, word: records.Message) -> bytes:
    """Does what is asked of a login."""
    login.check(token)  # before anything else is read
    wanted = 2 if word.kind == "log_in" else 1
    if len(word.parts) != wanted:
        raise ProtocolError(f"{word.kind}: {len(word.parts)} parts, exactly {wanted} are needed")
    number = messages.integer_of(word.parts[0])
    if word.kind == "log_out":
        login.log_out(token, number)
        return messages.message("done")
    if not 0 < number <= _MS_MAX:
        raise ProtocolError(f"{word.kind}: a lease of {number} ms, 1 to {_MS_MAX} can be asked for")
    if word.kind == "renew":
        lease = Lease(0, login.renew(token, ttl=number / 1000))
    else:
        record = records.NodeRecord.from_bytes(word.parts[1])
        entry = PresenceEntry(record.node, record.region, record.sequence, word.parts[1])
        lease = login.log_in(token, entry, ttl=number / 1000)
    return messages.message("granted", [messages.integer(lease.revision), messages.integer(int(lease.ttl_s * 1000))])
