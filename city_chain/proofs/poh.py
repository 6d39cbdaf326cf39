"""PoH, Proof of Hold: a node's signed word that it stores fragment i of a transaction, from now until then.

A sender asks with a `HoldRequest` that names the fragment by its BLAKE3 hash and carries a challenge the node could not
know before; the node stores the fragment and answers with an `Ack`, whose proof is keyed BLAKE3 of the bytes under the
challenge. One Ed25519 signature may serve many requests or acks: it is over a Merkle root, and each carries its path.

Later an audit asks for blocks of 1,024 bytes at random (`audit_challenge`), the node shows them with the way to the
hash (`audit_answer`), and the auditor, who has no byte of the fragment, checks them (`audit_verify`). `audit_chance`
says how likely that is to catch a node that dropped some blocks, and `audit_blocks_for` how many to ask for.

A `Session` between a sender and a node, made by `seal_sessions` with the node's KEM key, seals fragments on their way.

What it proves: the node had all of the bytes when it answered, and promised to keep them. What it does not: that it
still has them (ask again, or audit), or that two nodes keep two copies (they may share one disk).

`verify_acks` accepts exactly what `Ack.verify` accepts: signatures are judged by one rule, cofactored, alone and in
batches ("Taming the many EdDSAs", 2020). Keyed hashing: BLAKE3 paper, section 2.3.

The examples of the records here go on from the one at the top of `city_chain.records`.
"""

from city_chain._native import (
    Ack,
    HoldRequest,
    OpenedSessions,
    Session,
    audit_answer,
    audit_blocks,
    audit_blocks_for,
    audit_challenge,
    audit_chance,
    audit_verify,
    challenge,
    hash_fragment,
    hold_many,
    request_many,
    seal_sessions,
    verify_acks,
    verify_fragment,
    verify_requests,
    verify_signatures,
    write_quorum,
)

__all__ = [
    "Ack",
    "HoldRequest",
    "OpenedSessions",
    "Session",
    "audit_answer",
    "audit_blocks",
    "audit_blocks_for",
    "audit_challenge",
    "audit_chance",
    "audit_verify",
    "challenge",
    "hash_fragment",
    "hold_many",
    "request_many",
    "seal_sessions",
    "verify_acks",
    "verify_fragment",
    "verify_requests",
    "verify_signatures",
    "write_quorum",
]
