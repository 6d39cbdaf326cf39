"""HS: HotStuff BFT (two-chain, Jolteon), a total order of payloads among validators of which a third may be faulty.

Rounds follow each other. Each has a leader, who proposes a block with a payload; every validator votes once, and a
quorum of votes (all weight but a third) is a certificate, which the next leader carries on. Two certified blocks of
consecutive rounds, one the other's parent, commit the first. A round whose leader fails is given up after a time.
Whatever the network does, no two validators commit differently while less than a third of the weight is faulty; commits
go on whenever messages arrive within the round's time.

- `HotStuff`: one validator's machine, bytes in and effects out; it has no thread, clock or socket of its own.
- `effects`: what the machine wants done, with names.
- `verify_commit`, `commit_block`: the proof of a commit, for anybody who knows the validators.
- `verify_evidence`: that a validator signed two things that exclude each other.

Source: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, "Jolteon and Ditto" (FC 2022), section 3.
"""

from __future__ import annotations

from collections.abc import Buffer, Iterable
from typing import Literal, NamedTuple

from city_chain import _native
from city_chain._native import HotStuff

__all__ = [
    "CommitBlock",
    "Effect",
    "HotStuff",
    "commit_block",
    "effects",
    "payload_digest",
    "verify_commit",
    "verify_evidence",
]

type Kind = Literal[
    "persist", "send", "broadcast", "deadline", "need_payload", "validate", "commit", "evidence", "round"
]


class Effect(NamedTuple):
    """One thing that a machine wants done, or tells.

    ============== ==================================================================================================
    kind           what to do
    ============== ==================================================================================================
    persist        append `data` to the journal; when it is durable, call `durable(number)`
    send           send `data` to the place `number`
    broadcast      send `data` to all other places
    deadline       call `tick` at the time `number`, microseconds; replaces the one before
    need_payload   call `propose` once there is something to propose, in round `number`; `extra` is the parent's id
    validate       call `payload_result(block, ...)`; `data` is the payload, `extra` the parent's id
    commit         `data` is the next committed payload, `block` its block's id, `number` its round, `extra` its proof
    evidence       `data` proves that somebody is faulty (`verify_evidence`)
    round          round `number` has begun
    ============== ==================================================================================================

    Example:
        >>> Effect("round", 1, b"", b"", b"").number
        1
    """

    kind: Kind
    number: int
    data: bytes
    block: bytes
    extra: bytes


class CommitBlock(NamedTuple):
    """What a commit proof is about.

    Example:
        >>> CommitBlock(1, bytes(32), bytes(32)).round
        1
    """

    round: int
    """The block's round."""
    block: bytes
    """The block's id, 32 bytes."""
    next_genesis: bytes
    """If the block is an epoch's last, what the next epoch's machines get as their `genesis`, 32 bytes."""


def effects(machine: HotStuff) -> list[Effect]:
    """Takes what a machine wants done now, in the order in which it must be done.

    Args:
        machine: The machine.

    Returns:
        The effects; see `Effect`.

    Example:
        >>> from city_chain.records import Identity
        >>> me = Identity(bytes(32))
        >>> machine = HotStuff(bytes(32), 0, [(me.id, 1)], me, bytes(32), timeout_us=50_000)
        >>> machine.start(0)
        >>> [(effect.kind, effect.number) for effect in effects(machine)]
        [('round', 1), ('deadline', 50000), ('need_payload', 1)]
    """
    return [Effect._make(effect) for effect in machine.drain()]


def verify_commit(proof: Buffer, validators: Iterable[tuple[Buffer, int]], chain_id: Buffer, epoch: int) -> bytes:
    """Checks the proof that a payload is committed; needs nothing but the validators.

    Args:
        proof: The `extra` of a `commit` effect: 497 bytes for four validators where no round fails.
        validators: (public key, weight) each, in their order.
        chain_id: The chain, 32 bytes.
        epoch: The number of the validator set.

    Returns:
        The digest of the committed payload, 32 bytes (`payload_digest`).

    Raises:
        InputError: The proof is not well-formed, or the validators are none.
        VerificationError: The proof is wrong.

    Example:
        >>> verify_commit(b"", [(bytes(32), 1)], bytes(32), 0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: commit proof: 0 bytes are too few for the 6-byte envelope
    """
    return _native.hs_verify_commit(proof, validators, chain_id, epoch)


def verify_evidence(evidence: Buffer, validators: Iterable[tuple[Buffer, int]], chain_id: Buffer, epoch: int) -> int:
    """Checks the evidence that a validator proposed, voted or gave up twice in one round.

    Args:
        evidence: The `data` of an `evidence` effect, less than 600 bytes.
        validators: (public key, weight) each, in their order.
        chain_id: The chain, 32 bytes.
        epoch: The number of the validator set.

    Returns:
        The place of who is guilty.

    Raises:
        InputError: The evidence is not well-formed, or the validators are none.
        ProtocolError: It names a place that there is not.
        VerificationError: It proves nothing.

    Example:
        >>> verify_evidence(b"", [(bytes(32), 1)], bytes(32), 0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: hotstuff evidence: 0 bytes are too few for the 6-byte envelope
    """
    return _native.hs_verify_evidence(evidence, validators, chain_id, epoch)


def commit_block(proof: Buffer) -> CommitBlock:
    """What a commit proof is about; it is for `verify_commit` to check.

    Args:
        proof: The `extra` of a `commit` effect.

    Returns:
        Round and id of the block, and what a next epoch starts from.

    Raises:
        InputError: The proof is not well-formed.

    Example:
        >>> commit_block(b"")
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: commit proof: 0 bytes are too few for the 6-byte envelope
    """
    return CommitBlock._make(_native.hs_commit_block(proof))


def payload_digest(payload: Buffer) -> bytes:
    """The digest of a payload, as commit proofs name it.

    Args:
        payload: Any bytes.

    Returns:
        32 bytes.

    Example:
        >>> len(payload_digest(b"any bytes"))
        32
    """
    return _native.hs_payload_digest(payload)
