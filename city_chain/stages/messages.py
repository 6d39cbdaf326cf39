"""What stages and nodes say to each other, over any transport.

Every body is one `records.Message`: a kind and some parts. The table says which parts a kind has, or which module that
answers it does: all kinds that there are stand here. A message is not signed: what must be believed inside it is a
signed record.

===============  ==============================================  ====================================================
kind             parts                                           answer
===============  ==============================================  ====================================================
``hold``         sealed session or nothing, request, sealed      ``held``: for each request an ack, a refusal, or
                 fragment, request, sealed fragment, …           ``session``: it is not known here, tell it again
``fetch``        one repair request                              ``fragments``: one for each item, empty if absent
``release``      one repair request                              ``done``
``inventory``    one repair request, for no items                ``filter``: the filter, or nothing yet: ask again
``countersign``  one repair request, the height of a batch or    ``countersigned``: the node's record, then a
                 nothing, the ack of each item                   countersignature or a refusal for each, batch last
``open``         one repair request, capsule, capsule, …         ``shares``: a decryption share or a refusal for each
``lead``         attempt, entries, batch, evidence…, reports…    ``proposal``: one proposal
``vote``         proposal, batch, evidence…                      ``vote``: one vote
``prepare``      height, attempt                                 ``report``: one report, or ``promised``: an attempt
``weigh``        attempt, reports…                               ``wanted``: a digest, or nothing
``body``         digest                                          ``body``: batch, evidence…
``announce``     height                                          ``tip``: height of the node's ledger
``append``       batch, certificate, evidence…                   ``tip``
``attest``       subject of a ruling, its digest                 ``attested``: the delegate's signature
``evidence``     nothing                                         ``evidence``: (epoch, evidence of double signing)…
``proven``       height                                          ``proven``: batch, certificate, evidence…
``offer``        batch, evidence…                                ``said``: see `city_chain.node.agreeing`
``agree``        what delegates' machines say to each other      ``said``
``place``        what witnesses say of where nodes are           ``placed``: see `city_chain.node.witnessing`
``witness``      likewise                                        ``witnessed``
``echo``         likewise                                        ``echoed``
``meet``         a city and its nodes in other processes         ``met``: see `city_chain.node.joining`
``lists``        likewise                                        ``done``
``keys``         likewise                                        ``done``
``epoch``        likewise                                        ``done``
``deal``         what makes and uses the city's threshold keys   ``dealing``: see `city_chain.node.keeping`
``deals``        likewise                                        ``faults``
``adopt``        likewise                                        ``adopted``
``handover``     likewise                                        ``handed``
``endorse``      likewise                                        ``share``
``token``        a token, and any other message                  what is answered to that message
``log_in``       lease in ms, node record (in a ``token``)       ``granted``: revision, lease in ms
``renew``        lease in ms (likewise)                          ``granted``: 0, lease in ms
``log_out``      sequence (likewise)                             ``done``
``greet``        nothing                                         ``challenge``: 32 bytes, see `city_chain.node.gossip`
``letter``       one letter                                      ``heard``: the letter that answers it, or ``later``, or
                                                                 ``challenge``: it is under an old one
any              what it cannot or will not do                   ``refused``: the reason
===============  ==============================================  ====================================================

Integers are 8 bytes, little-endian.

Example:
    >>> from city_chain.stages import messages
    >>> messages.parse(messages.refused("no room")).kind
    'refused'
"""

from __future__ import annotations

from collections.abc import Buffer, Sequence

from city_chain import records
from city_chain.errors import CityChainError, InputError, ProtocolError
from city_chain.proofs import poh

__all__ = [
    "BODY_BYTES_SOFT_MAX",
    "ack_or_reason",
    "answer",
    "countersignature_or_reason",
    "integer",
    "integer_of",
    "is_session_wanted",
    "message",
    "parse",
    "reason_of",
    "refused",
    "split",
]

BODY_BYTES_SOFT_MAX = 32 << 20
"""Bytes from which on a sender starts another message: far below the codec's cap, so that no answer outgrows it."""

_REASON_MAX = 500


def message(kind: str, parts: Sequence[Buffer] = ()) -> bytes:
    """The encoding of one message.

    Raises:
        InputError: A part or the whole is over the codec's limits.

    Example:
        >>> parse(message("announce", [integer(7)])).parts == [integer(7)]
        True
    """
    return records.encode_message(kind, parts)


def refused(reason: str | Exception) -> bytes:
    """A refusal with its reason, cut to a bounded length.

    Example:
        >>> parse(refused("busy")).parts
        [b'busy']
    """
    return message("refused", [str(reason)[:_REASON_MAX].encode(errors="replace")])


def parse(body: bytes) -> records.Message:
    """Decodes what a remote party sent.

    Raises:
        ProtocolError: It is not the encoding of a message.

    Example:
        >>> parse(b"?")
        Traceback (most recent call last):
        ...
        city_chain.errors.ProtocolError: message: 1 bytes are too few for the 6-byte envelope
    """
    try:
        return records.Message.from_bytes(body)
    except InputError as error:
        raise ProtocolError(str(error)) from None


def answer(body: bytes, kind: str, count: int | None = None) -> list[bytes]:
    """The parts of an answer that must be of `kind` (and have `count` parts).

    Raises:
        ProtocolError: It is a refusal (its reason is the message), of another kind, or of another length.

    Example:
        >>> answer(message("tip", [integer(3)]), "tip", 1) == [integer(3)]
        True
    """
    found = parse(body)
    if found.kind == "refused":
        raise ProtocolError("refused: " + b"".join(found.parts)[:_REASON_MAX].decode(errors="replace"))
    if found.kind != kind or (count is not None and len(found.parts) != count):
        wanted = kind if count is None else f"{kind} with {count} parts"
        raise ProtocolError(f"an answer {found.kind!r} with {len(found.parts)} parts where {wanted} was due")
    return found.parts


def ack_or_reason(part: bytes) -> poh.Ack | str:
    """One part of a ``held`` answer: the ack, or why there is none.

    Example:
        >>> ack_or_reason(refused("no room"))
        'no room'
    """
    try:
        return poh.Ack.from_bytes(part)
    except InputError as error:
        reason = reason_of(part)
        return f"neither an ack nor a refusal: {error}" if reason is None else reason


def is_session_wanted(part: bytes) -> bool:
    """Whether one part of a ``held`` answer says that the node does not know the session and wants to be told it.

    Example:
        >>> is_session_wanted(message("session")), is_session_wanted(refused("no room"))
        (True, False)
    """
    try:
        return records.Message.from_bytes(part).kind == "session"
    except InputError:
        return False


def countersignature_or_reason(part: bytes) -> records.Countersignature | str:
    """One part of a ``countersigned`` answer: the countersignature, or why there is none.

    Example:
        >>> countersignature_or_reason(refused("no such batch"))
        'no such batch'
    """
    try:
        return records.Countersignature.from_bytes(part)
    except InputError as error:
        reason = reason_of(part)
        return f"neither a countersignature nor a refusal: {error}" if reason is None else reason


def reason_of(part: bytes) -> str | None:
    """The reason in a refusal that stands for one part of an answer; None if the part is no message.

    Example:
        >>> reason_of(refused("no room")), reason_of(b"something else")
        ('no room', None)
    """
    try:
        found = records.Message.from_bytes(part)
    except InputError:
        return None
    if found.kind == "session":
        return "the session is not known there"
    return b"".join(found.parts)[:_REASON_MAX].decode(errors="replace")


def integer(value: int) -> bytes:
    """An integer as a part.

    Example:
        >>> integer(258).hex()
        '0201000000000000'
    """
    return value.to_bytes(8, "little")


def integer_of(part: bytes) -> int:
    """The integer of a part.

    Raises:
        ProtocolError: It has not 8 bytes.

    Example:
        >>> integer_of(integer(2**63))
        9223372036854775808
    """
    if len(part) != 8:
        raise ProtocolError(f"an integer of {len(part)} bytes, 8 are needed")
    return int.from_bytes(part, "little")


def split[T](
    items: Sequence[tuple[int, T]], bytes_max: int = BODY_BYTES_SOFT_MAX, count_max: int = 8192
) -> list[list[T]]:
    """Cuts (bytes, item) pairs into runs of at most `bytes_max` bytes and `count_max` items, in order.

    A single item over `bytes_max` has a run of its own.

    Example:
        >>> split([(3, "a"), (3, "b"), (9, "c")], bytes_max=6)
        [['a', 'b'], ['c']]
    """
    runs: list[list[T]] = []
    size = bytes_max + 1
    for weight, item in items:
        if size + weight > bytes_max or len(runs[-1]) >= count_max:
            runs.append([])
            size = 0
        runs[-1].append(item)
        size += weight
    return runs


def reason(error: BaseException) -> str:
    """What to tell the other side of an error: our own errors in full, others by their kind only.

    Example:
        >>> reason(KeyError("secret"))
        'KeyError'
    """
    return str(error) if isinstance(error, CityChainError) else type(error).__name__
