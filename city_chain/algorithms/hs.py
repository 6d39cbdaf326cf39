"""HS: HotStuff BFT (two-chain, Jolteon), a total order of payloads among validators of which a third may be faulty.

Rounds follow each other. Each has a leader, who proposes a block with a payload; every validator votes once, and a
quorum of votes (all weight but a third) is a certificate, which the next leader carries on. Two certified blocks of
consecutive rounds, one the other's parent, commit the first. A round whose leader fails is given up after a time.
Whatever the network does, no two validators commit differently while less than a third of the weight is faulty; commits
go on whenever messages arrive within the round's time.

- `HotStuff`: one validator's machine, bytes in and effects out; it has no thread, clock or socket of its own.
- `aggregate_key`: what a validator shows so that quorum certificates are one signature, of 48 bytes, of all who signed;
  from `AGGREGATE_FROM` validators on that is worth it.
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
    "AGGREGATE_FROM",
    "AggregateKey",
    "CommitBlock",
    "Effect",
    "HotStuff",
    "aggregate_key",
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


AGGREGATE_FROM = _native.HOTSTUFF_AGGREGATE_FROM
"""The number of validators from which on aggregate keys are worth it over a link of 100 Mbit/s; `city-chain lab
aggregates` measures what they cost."""


class AggregateKey(NamedTuple):
    """What a validator shows so that its signatures can be summed with others'.

    Example:
        >>> [len(part) for part in aggregate_key(bytes(32))]
        [96, 48]
    """

    public: bytes
    """The public key, a point of G2 of BLS12-381, 96 bytes."""
    possession: bytes
    """The proof that its holder has the secret, 48 bytes. Without it a key made up from others' could sign for them."""


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


def aggregate_key(seed: Buffer) -> AggregateKey:
    """The key with which a validator signs its part of quorum certificates of one signature.

    The suite is `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_`. The secret is derived from the seed for this use alone,
    so that the seed may be the master seed that an `Identity` is made of.

    Args:
        seed: 32 secret bytes, which `HotStuff` gets as its `aggregate_seed`.

    Returns:
        The public key, and the proof of possession that the others check; for all validators' `aggregate_keys`.

    Raises:
        InputError: Another length.

    Source:
        draft-irtf-cfrg-bls-signature, sections 2.3 and 3.3; Ristenpart and Yilek, "The Power of Proofs-of-Possession"
        (Eurocrypt 2007).

    Example:
        >>> from city_chain.records import Identity
        >>> seed = bytes(32)
        >>> me, keys = Identity(seed), [aggregate_key(seed)]
        >>> machine = HotStuff(bytes(32), 0, [(me.id, 1)], me, bytes(32), aggregate_keys=keys, aggregate_seed=seed)
        >>> machine.start(0)
        >>> [effect.kind for effect in effects(machine)]
        ['round', 'deadline', 'need_payload']
        >>> proofs = []
        >>> for payload in (b"one", b"two", b"three"):
        ...     machine.propose(payload, 0)
        ...     persist, *_ = effects(machine)
        ...     machine.durable(persist.number)
        ...     proofs += [effect.extra for effect in effects(machine) if effect.kind == "commit"]
        >>> verify_commit(proofs[0], [(me.id, 1)], bytes(32), 0, keys) == payload_digest(b"one")
        True
    """
    return AggregateKey._make(_native.hs_aggregate_key(seed))


def verify_commit(
    proof: Buffer,
    validators: Iterable[tuple[Buffer, int]],
    chain_id: Buffer,
    epoch: int,
    aggregate_keys: Iterable[tuple[Buffer, Buffer]] | None = None,
) -> bytes:
    """Checks the proof that a payload is committed; needs nothing but the validators.

    Args:
        proof: The `extra` of a `commit` effect: 497 bytes for four validators where no round fails.
        validators: (public key, weight) each, in their order.
        chain_id: The chain, 32 bytes.
        epoch: The number of the validator set.
        aggregate_keys: The validators' aggregate keys, if they have any: certificates are of one form or the other.

    Returns:
        The digest of the committed payload, 32 bytes (`payload_digest`).

    Raises:
        InputError: The proof is not well-formed, or the validators are none.
        VerificationError: The proof is wrong, or an aggregate key or its proof of possession.

    Example:
        >>> verify_commit(b"", [(bytes(32), 1)], bytes(32), 0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: commit proof: 0 bytes are too few for the 6-byte envelope
    """
    return _native.hs_verify_commit(proof, validators, chain_id, epoch, aggregate_keys)


def verify_evidence(
    evidence: Buffer,
    validators: Iterable[tuple[Buffer, int]],
    chain_id: Buffer,
    epoch: int,
    aggregate_keys: Iterable[tuple[Buffer, Buffer]] | None = None,
) -> int:
    """Checks the evidence that a validator proposed, voted or gave up twice in one round, or voted with a wrong share.

    Args:
        evidence: The `data` of an `evidence` effect, less than 600 bytes.
        validators: (public key, weight) each, in their order.
        chain_id: The chain, 32 bytes.
        epoch: The number of the validator set.
        aggregate_keys: The validators' aggregate keys, if they have any; a wrong share is checked with them.

    Returns:
        The place of who is guilty.

    Raises:
        InputError: The evidence is not well-formed, or the validators are none.
        ProtocolError: It names a place that there is not.
        VerificationError: It proves nothing; or an aggregate key or its proof of possession is wrong.

    Example:
        >>> verify_evidence(b"", [(bytes(32), 1)], bytes(32), 0)
        Traceback (most recent call last):
        ...
        city_chain.errors.InputError: hotstuff evidence: 0 bytes are too few for the 6-byte envelope
    """
    return _native.hs_verify_evidence(evidence, validators, chain_id, epoch, aggregate_keys)


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
