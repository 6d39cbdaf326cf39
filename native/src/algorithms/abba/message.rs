//! What the parties tell each other.

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::Signatures;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::MEMBERS_MAX;
use crate::primitives::wire::{self, Bytes, List, Record};

/// The most bytes of a proposal.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// The most statements in one message.
pub const STATEMENTS_MAX: usize = 4096;

const CONTEXT_VOTE: &str = "city-chain v1 abba vote";
const CONTEXT_PAYLOAD: &str = "city-chain v1 abba payload";
const CONTEXT_INITIAL: &str = "city-chain v1 abba initial";
const CONTEXT_ECHO: &str = "city-chain v1 abba echo";
const CONTEXT_STATEMENTS: &str = "city-chain v1 abba statements";
const CONTEXT_REQUEST: &str = "city-chain v1 abba request";

/// What a party says in one agreement. A party says each kind once a round (`Echo1` once for each bit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Statement {
    /// E1: a bit that a party that is not faulty holds.
    Echo1 {
        /// The round, from 0.
        round: u32,
        /// The bit.
        bit: bool,
    },
    /// E2: the first bit with a quorum of E1.
    Echo2 {
        /// The round.
        round: u32,
        /// The bit.
        bit: bool,
    },
    /// E3: the bit with a quorum of E2, or ⊥ if both have a quorum of E1.
    Echo3 {
        /// The round.
        round: u32,
        /// The bit; `None` is ⊥.
        bit: Option<bool>,
    },
    /// The decision, in no round.
    Decide {
        /// The bit.
        bit: bool,
    },
}

impl Statement {
    /// The round it belongs to, if any.
    pub fn round(&self) -> Option<u32> {
        match *self {
            Self::Echo1 { round, .. } | Self::Echo2 { round, .. } | Self::Echo3 { round, .. } => Some(round),
            Self::Decide { .. } => None,
        }
    }
}

/// A signed statement: the message of [`super::Abba`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// The agreement ([`super::Instance::scope`]).
    pub scope: Digest,
    /// What is said.
    pub statement: Statement,
    /// The sender's signature.
    pub signature: [u8; 64],
}

impl Record for Vote {
    const TAG: [u8; 4] = *b"CCab";
    const VERSION: u16 = 1;
    const NAME: &'static str = "abba vote";
    const LEN_MAX: usize = 128;
}

impl Vote {
    /// Signs a statement. Nothing here remembers what was said before.
    pub fn new(key: &SigningKey, scope: Digest, statement: Statement) -> Result<Self> {
        let mut vote = Self { scope, statement, signature: [0; 64] };
        vote.signature = key.sign(&vote.message()?);
        Ok(vote)
    }

    /// What is signed.
    pub fn message(&self) -> Result<Digest> {
        let statement = borsh::to_vec(&self.statement).map_err(|error| Error::input(format!("abba vote: {error}")))?;
        Ok(Hasher::new(CONTEXT_VOTE).fixed(&self.scope).field(&statement).finish())
    }
}

/// A message of [`super::Subset`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Message {
    /// The agreement ([`super::Instance::scope`]).
    pub scope: Digest,
    /// What it says.
    pub body: Body,
}

/// What a message of [`super::Subset`] says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Body {
    /// The sender's proposal.
    Initial {
        /// The proposal.
        payload: Bytes<PAYLOAD_MAX>,
        /// The proposer's over [`initial_message`].
        signature: [u8; 64],
    },
    /// To a proposer: the sender has its proposal and has seen no other.
    Echo {
        /// Whose proposal.
        proposer: u16,
        /// Its digest ([`payload_digest`]).
        digest: Digest,
        /// The sender's over [`echo_message`].
        signature: [u8; 64],
    },
    /// A quorum has echoed the proposal: nobody can have another of that proposer.
    Final {
        /// Whose proposal.
        proposer: u16,
        /// Its digest.
        digest: Digest,
        /// The echoes.
        signatures: Signatures,
    },
    /// Statements in the agreements on the proposers' proposals.
    Statements {
        /// The proposer whose proposal it is about, and what is said.
        statements: List<(u16, Statement), STATEMENTS_MAX>,
        /// The sender's over all of them.
        signature: [u8; 64],
    },
    /// The sender needs proposals.
    Request {
        /// Whose.
        proposers: List<u16, MEMBERS_MAX>,
        /// The sender's.
        signature: [u8; 64],
    },
    /// The answer, one for each: a proposal and its echoes.
    Delivery {
        /// Whose.
        proposer: u16,
        /// The proposal.
        payload: Bytes<PAYLOAD_MAX>,
        /// The echoes.
        signatures: Signatures,
    },
    /// What the sender made of the outcome.
    Confirm {
        /// Its digest.
        digest: Digest,
        /// The sender's, for [`super::Certificate`].
        signature: [u8; 64],
    },
    /// What a quorum made of the outcome.
    Confirmed {
        /// Its digest.
        digest: Digest,
        /// Theirs.
        signatures: Signatures,
    },
}

impl Record for Message {
    const TAG: [u8; 4] = *b"CCsu";
    const VERSION: u16 = 1;
    const NAME: &'static str = "subset message";
    const LEN_MAX: usize = PAYLOAD_MAX + MEMBERS_MAX * 66 + 256;

    fn check(&self) -> Result<()> {
        match &self.body {
            Body::Final { signatures, .. } | Body::Delivery { signatures, .. } | Body::Confirmed { signatures, .. } => {
                signatures.check()
            }
            _ => Ok(()),
        }
    }
}

/// The digest of a proposal.
pub fn payload_digest(payload: &[u8]) -> Digest {
    hash::digest(CONTEXT_PAYLOAD, payload)
}

/// What a proposer signs.
pub fn initial_message(scope: &Digest, digest: &Digest) -> Digest {
    Hasher::new(CONTEXT_INITIAL).fixed(scope).fixed(digest).finish()
}

/// What a party signs that echoes a proposal.
pub fn echo_message(scope: &Digest, proposer: u16, digest: &Digest) -> Digest {
    Hasher::new(CONTEXT_ECHO).fixed(scope).u64(proposer.into()).fixed(digest).finish()
}

/// What a party signs that says `statements`.
pub fn statements_message(scope: &Digest, statements: &[(u16, Statement)]) -> Result<Digest> {
    let body = borsh::to_vec(statements).map_err(|error| Error::input(format!("subset message: {error}")))?;
    Ok(Hasher::new(CONTEXT_STATEMENTS).fixed(scope).field(&body).finish())
}

/// What a party signs that needs the proposals of `proposers`.
pub fn request_message(scope: &Digest, proposers: &[u16]) -> Digest {
    let body: Vec<u8> = proposers.iter().flat_map(|proposer| proposer.to_le_bytes()).collect();
    Hasher::new(CONTEXT_REQUEST).fixed(scope).field(&body).finish()
}

impl Message {
    /// A message of the agreement `scope`, encoded.
    pub fn encode(scope: Digest, body: Body) -> Result<Vec<u8>> {
        wire::encode(&Self { scope, body })
    }

    /// The proposal of the holder of `key`.
    pub fn initial(key: &SigningKey, scope: &Digest, payload: Vec<u8>) -> Result<Body> {
        let signature = key.sign(&initial_message(scope, &payload_digest(&payload)));
        Ok(Body::Initial { payload: Bytes::new("subset: payload", payload)?, signature })
    }

    /// An echo by the holder of `key`.
    pub fn echo(key: &SigningKey, scope: &Digest, proposer: u16, digest: Digest) -> Body {
        Body::Echo { proposer, digest, signature: key.sign(&echo_message(scope, proposer, &digest)) }
    }

    /// Statements of the holder of `key`.
    pub fn statements(key: &SigningKey, scope: &Digest, statements: Vec<(u16, Statement)>) -> Result<Body> {
        let signature = key.sign(&statements_message(scope, &statements)?);
        Ok(Body::Statements { statements: List::new("subset: statements", statements)?, signature })
    }

    /// A request of the holder of `key`.
    pub fn request(key: &SigningKey, scope: &Digest, proposers: Vec<u16>) -> Result<Body> {
        let signature = key.sign(&request_message(scope, &proposers));
        Ok(Body::Request { proposers: List::new("subset: proposers", proposers)?, signature })
    }
}
