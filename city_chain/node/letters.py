"""Letters over a transport that authenticates nobody: who said what to whom, each once and in order (`records.Letter`).

A receiver gives everybody the same challenge, random and its own, and takes only letters that name it, with numbers
that rise for each sender. Whoever records a letter can say it to nobody, and not again. Once too many senders are
remembered the receiver forgets them all and takes a new challenge, so that nothing old becomes good again; who is in
the middle of something asks for the new one. The answer to a letter is signed too: that an address answers shows
nothing, that answer shows who is there.

Example:
    >>> from city_chain.adapters.entropy import OsEntropy
    >>> from city_chain.records import Identity
    >>> north, south = Identity(bytes(32)), Identity(bytes(31) + b"1")
    >>> box = Letterbox(south, bytes(32), OsEntropy())
    >>> writer = Writer(north, bytes(32), south.id)
    >>> writer.challenge = box.challenge
    >>> letter = box.read(writer.write([b"hello"]))
    >>> box.take(letter)
    >>> letter.bodies, writer.is_answer(box.answer(letter))
    ([b'hello'], True)
    >>> box.take(letter)
    Traceback (most recent call last):
    ...
    city_chain.errors.ProtocolError: letter: number 1 of this sender was taken already
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from city_chain.errors import CityChainError, ProtocolError
from city_chain.ports import Entropy
from city_chain.records import Identity, Letter

__all__ = ["SENDERS_MAX", "Letterbox", "OldChallengeError", "Writer"]

SENDERS_MAX = 1024
"""How many senders are remembered under one challenge."""


class OldChallengeError(ProtocolError):
    """A letter names a challenge that is not the receiver's any more, or never was.

    Example:
        >>> raise OldChallengeError("letter: under another challenge")
        Traceback (most recent call last):
        ...
        city_chain.node.letters.OldChallengeError: letter: under another challenge
    """


class Letterbox:
    """Takes the letters to one identity. Safe to use from several threads.

    Args:
        identity: To whom they are.
        network: The network, 32 bytes.
        entropy: Where challenges come from.
        admits: Says of a sender's id whether anything of it is taken; None: everybody's is.
    """

    def __init__(
        self, identity: Identity, network: bytes, entropy: Entropy, admits: Callable[[bytes], bool] | None = None
    ) -> None:
        self._identity = identity
        self._network = network
        self._entropy = entropy
        self._admits = admits
        self._lock = threading.Lock()
        self._challenge = entropy.bytes(32)
        self._last: dict[bytes, int] = {}

    @property
    def challenge(self) -> bytes:
        """What letters must name now, 32 bytes; no secret."""
        return self._challenge

    def read(self, body: bytes) -> Letter:
        """A letter that is for this identity; its signature is for `take` to check.

        Raises:
            InputError: It is none.
            ProtocolError: It is of another network, to somebody else, an answer, or of a sender who is not admitted.
            OldChallengeError: It names another challenge.
        """
        letter = Letter.from_bytes(body)
        if letter.network != self._network:
            raise ProtocolError("letter: of another network")
        if letter.receiver != self._identity.id or letter.answer:
            raise ProtocolError("letter: it is to somebody else, or an answer")
        if self._admits is not None and not self._admits(letter.sender):
            raise ProtocolError(f"letter: {letter.sender.hex()[:16]} is not admitted here")
        if letter.challenge != self._challenge:
            raise OldChallengeError("letter: under another challenge")
        return letter

    def take(self, letter: Letter) -> None:
        """Checks that a letter is its sender's, and new; it is taken with that.

        Raises:
            VerificationError: The signature is wrong.
            ProtocolError: The number is not above the last one of this sender.
            OldChallengeError: The challenge has changed meanwhile.
        """
        letter.verify()
        with self._lock:
            if letter.challenge != self._challenge:
                raise OldChallengeError("letter: under another challenge")
            if letter.number <= self._last.get(letter.sender, 0):
                raise ProtocolError(f"letter: number {letter.number} of this sender was taken already")
            if letter.sender not in self._last and len(self._last) >= SENDERS_MAX:
                self._last.clear()
                self._challenge = self._entropy.bytes(32)
                raise OldChallengeError("letter: under another challenge")
            self._last[letter.sender] = letter.number

    def answer(self, letter: Letter) -> bytes:
        """The signed answer to a letter that was taken."""
        return Letter(
            self._identity,
            network=self._network,
            receiver=letter.sender,
            challenge=letter.challenge,
            number=letter.number,
            bodies=[],
            answer=True,
        ).to_bytes()


class Writer:
    """Writes the letters of one identity to one other. Used by one thread at a time.

    Args:
        identity: Whose letters.
        network: The network, 32 bytes.
        receiver: To whom, 32 bytes.
        numbers: Gives the numbers of letters: above all that the identity has ever used for this receiver. None: from 1
            on, for an identity that is new.
    """

    def __init__(
        self, identity: Identity, network: bytes, receiver: bytes, numbers: Iterator[int] | None = None
    ) -> None:
        self._identity = identity
        self._network = network
        self._receiver = receiver
        self._challenge = b""
        self._numbers = count(1) if numbers is None else numbers
        self._number = 0

    @property
    def challenge(self) -> bytes:
        """The receiver's challenge, as far as is known: empty or 32 bytes."""
        return self._challenge

    @challenge.setter
    def challenge(self, challenge: bytes) -> None:
        self._challenge = challenge

    def write(self, bodies: Sequence[bytes]) -> bytes:
        """The next letter.

        Raises:
            InputError: There is no challenge yet, or the bodies are too large.
        """
        self._number = next(self._numbers)
        return Letter(
            self._identity,
            network=self._network,
            receiver=self._receiver,
            challenge=self._challenge,
            number=self._number,
            bodies=bodies,
        ).to_bytes()

    def is_answer(self, body: bytes) -> bool:
        """Whether it is the receiver's answer to the last letter."""
        try:
            letter = Letter.from_bytes(body)
            named = (letter.network, letter.sender, letter.receiver, letter.challenge, letter.number, letter.answer)
            due = (self._network, self._receiver, self._identity.id, self._challenge, self._number, True)
            if named != due:
                return False
            letter.verify()
        except CityChainError:
            return False
        return True
