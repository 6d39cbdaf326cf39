"""Letters: nobody says anything as another, to another, or again."""

from __future__ import annotations

import pytest

from city_chain.adapters.entropy import OsEntropy
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.node.letters import SENDERS_MAX, Letterbox, OldChallengeError, Writer
from city_chain.records import Identity, Letter

NETWORK = bytes(32)
NORTH, SOUTH, WEST = (Identity.child(bytes(32), b"member", at) for at in range(3))


def box(**more) -> Letterbox:
    return Letterbox(SOUTH, NETWORK, OsEntropy(), **more)


def written(to: Letterbox, bodies: list[bytes], writer: Writer | None = None) -> bytes:
    writer = writer or Writer(NORTH, NETWORK, SOUTH.id)
    writer.challenge = to.challenge
    return writer.write(bodies)


def test_a_letter_is_taken_once_and_in_order():
    there, writer = box(), Writer(NORTH, NETWORK, SOUTH.id)
    first, second = (written(there, [body], writer) for body in (b"one", b"two"))
    there.take(there.read(second))
    with pytest.raises(ProtocolError, match="number 1 of this sender was taken already"):
        there.take(there.read(first))
    with pytest.raises(ProtocolError, match="number 2"):
        there.take(there.read(second))
    there.take(there.read(written(there, [b"three"], writer)))


def test_a_letter_of_another_life_of_the_receiver_is_refused():
    old = written(box(), [b"hello"])
    with pytest.raises(OldChallengeError):
        box().read(old)


def test_a_letter_to_somebody_else_or_of_another_network_is_refused():
    there = box()
    for network, receiver, what in (
        (bytes([1]) * 32, SOUTH.id, "another network"),
        (NETWORK, WEST.id, "somebody else"),
    ):
        writer = Writer(NORTH, network, receiver)
        with pytest.raises(ProtocolError, match=what):
            there.read(written(there, [b"hello"], writer))
    answer = Letter(
        NORTH, network=NETWORK, receiver=SOUTH.id, challenge=there.challenge, number=1, bodies=[], answer=True
    )
    with pytest.raises(ProtocolError, match="an answer"):
        there.read(answer.to_bytes())


def test_nobody_speaks_as_another():
    there = box()
    mine = Letter.from_bytes(written(there, [b"hello"]))
    forged = bytearray(written(there, [b"hello"], Writer(WEST, NETWORK, SOUTH.id)))
    at = bytes(forged).index(WEST.id)
    forged[at : at + 32] = mine.sender
    with pytest.raises(VerificationError):
        there.take(there.read(bytes(forged)))
    there.take(mine)  # what was refused has used no number up


def test_every_changed_byte_is_refused():
    there = box()
    letter = written(there, [b"hello"])
    for at in range(len(letter)):
        changed = bytearray(letter)
        changed[at] ^= 1
        with pytest.raises((InputError, ProtocolError, VerificationError)):
            there.take(there.read(bytes(changed)))
    there.take(there.read(letter))


def test_who_is_not_admitted_is_refused_unread():
    there = box(admits=lambda sender: sender == NORTH.id)
    there.take(there.read(written(there, [])))
    with pytest.raises(ProtocolError, match="is not admitted here"):
        there.read(written(there, [], Writer(WEST, NETWORK, SOUTH.id)))


def test_too_many_senders_begin_anew_and_nothing_old_is_good():
    there = box()
    before, first = there.challenge, written(there, [b"old"])
    there.take(there.read(first))
    for at in range(SENDERS_MAX - 1):
        there.take(there.read(written(there, [], Writer(Identity.child(bytes(32), b"many", at), NETWORK, SOUTH.id))))
    with pytest.raises(OldChallengeError):
        there.take(there.read(written(there, [], Writer(WEST, NETWORK, SOUTH.id))))
    assert there.challenge != before
    with pytest.raises(OldChallengeError):
        there.read(first)
    there.take(there.read(written(there, [], Writer(WEST, NETWORK, SOUTH.id))))


def test_an_answer_is_of_the_receiver_to_the_last_letter():
    there, writer = box(), Writer(NORTH, NETWORK, SOUTH.id)
    letter = there.read(written(there, [b"hello"], writer))
    answer = there.answer(letter)
    assert writer.is_answer(answer)
    assert not writer.is_answer(b"?")
    assert not writer.is_answer(letter.to_bytes())
    impostor = Letterbox(WEST, NETWORK, OsEntropy())
    assert not writer.is_answer(impostor.answer(letter))
    changed = bytearray(answer)
    changed[-1] ^= 1
    assert not writer.is_answer(bytes(changed))
    writer.write([])
    assert not writer.is_answer(answer), "it is the answer to the letter before"


def test_without_a_challenge_nothing_is_written():
    with pytest.raises(InputError, match="challenge"):
        Writer(NORTH, NETWORK, SOUTH.id).write([])
