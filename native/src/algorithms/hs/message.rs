//! What validators sign and send.
//!
//! Every signature is over a digest in a domain of its own that binds the chain and the epoch. All messages are
//! [`Record`]s: one encoding each, with limits.

use std::io::{Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

pub use super::certificate::{Qc, Signatures, Tc, TimeoutVote};
use super::keys::Keys;
use crate::crypto::bls::{self, SIGNATURE_LEN};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, Bytes, List, Record};

/// The most bytes a block may carry.
pub const PAYLOAD_MAX: usize = 1 << 20;

/// The most blocks in an answer to one who is behind.
pub const SYNC_BLOCKS: usize = 64;

/// The most bytes of a quorum certificate.
pub(super) const QC_MAX: usize = MEMBERS_MAX * 65 + 256;

/// The most bytes of a timeout certificate.
pub(super) const TC_MAX: usize = MEMBERS_MAX * 75 + QC_MAX;

/// The most bytes of a proposal.
pub(super) const PROPOSAL_MAX: usize = PAYLOAD_MAX + QC_MAX + TC_MAX + 1024;

/// Payload bytes in an answer, if there is more than one block in it.
pub(super) const SYNC_BYTES: usize = PAYLOAD_MAX;

const CONTEXT_BLOCK: &str = "city-chain v1 hotstuff block";
const CONTEXT_PAYLOAD: &str = "city-chain v1 hotstuff payload";
const CONTEXT_PROPOSAL: &str = "city-chain v1 hotstuff proposal";
const CONTEXT_VOTE: &str = "city-chain v1 hotstuff vote";
const CONTEXT_SHARED_VOTE: &str = "city-chain v1 hotstuff vote with a share";
const CONTEXT_TIMEOUT: &str = "city-chain v1 hotstuff timeout";

/// The digest of a payload, as blocks name it.
pub fn payload_digest(payload: &[u8]) -> Digest {
    hash::digest(CONTEXT_PAYLOAD, payload)
}

/// What is signed to vote for a block.
pub fn vote_message(chain: &Digest, epoch: u64, round: u64, block: &Digest) -> Digest {
    let epoch = if mutant!("hs.vote-epoch") { 0 } else { epoch };
    Hasher::new(CONTEXT_VOTE).fixed(chain).u64(epoch).u64(round).fixed(block).finish()
}

/// What is signed to give a round up.
pub fn timeout_message(chain: &Digest, epoch: u64, round: u64, qc_round: u64) -> Digest {
    Hasher::new(CONTEXT_TIMEOUT).fixed(chain).u64(epoch).u64(round).u64(qc_round).finish()
}

/// Checks a member's signature.
pub(super) fn verify_by(
    committee: &Committee,
    what: &str,
    place: u16,
    message: &Digest,
    signature: &[u8; 64],
) -> Result<()> {
    let Some(member) = committee.get(place) else {
        return Err(Error::protocol(format!("{what}: place {place} of a committee of {}", committee.count())));
    };
    remembered::verify(&member.key, message, signature)
        .map_err(|_| Error::verification(format!("{what}: the signature of place {place} is wrong")))
}

/// What a block's id covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The round that it was proposed in.
    pub round: u64,
    /// The block before it, which its quorum certificate certifies.
    pub parent: Digest,
    /// The round of that certificate.
    pub qc_round: u64,
    /// The digest of the timeout certificate, where the round before failed.
    pub tc: Option<Digest>,
    /// The digest of the payload.
    pub payload: Digest,
    /// The leader's place.
    pub proposer: u16,
}

impl Record for Header {
    const TAG: [u8; 4] = *b"CChh";
    const VERSION: u16 = 1;
    const NAME: &'static str = "block header";
    const LEN_MAX: usize = 256;
}

impl Header {
    /// The block's id.
    pub fn id(&self) -> Digest {
        let mut hasher = Hasher::new(CONTEXT_BLOCK);
        hasher.fixed(&self.chain).u64(self.epoch).u64(self.round).fixed(&self.parent).u64(self.qc_round);
        hasher.u64(u64::from(self.tc.is_some())).fixed(&self.tc.unwrap_or_default());
        hasher.fixed(&self.payload).u64(u64::from(self.proposer)).finish()
    }

    /// What its proposer signs.
    pub fn message(&self) -> Digest {
        hash::digest(CONTEXT_PROPOSAL, &self.id())
    }
}

/// A header with the payload.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What the id covers.
    pub header: Header,
    /// What is agreed on.
    pub payload: Bytes<PAYLOAD_MAX>,
}

/// A leader's proposal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The block.
    pub block: Block,
    /// Certifies the parent.
    pub qc: Qc,
    /// Why the round does not follow that certificate's.
    pub tc: Option<Tc>,
    /// The leader's signature over [`Header::message`].
    pub signature: [u8; 64],
}

impl Record for Proposal {
    const TAG: [u8; 4] = *b"CChb";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff proposal";
    const LEN_MAX: usize = PROPOSAL_MAX;

    fn check(&self) -> Result<()> {
        let header = &self.block.header;
        if header.round == u64::MAX {
            return Err(Error::protocol("hotstuff proposal: after its round there is none"));
        }
        if (header.parent, header.qc_round) != (self.qc.block, self.qc.round) {
            return Err(Error::protocol(format!(
                "hotstuff proposal: follows {} of round {}, and certifies {} of round {}",
                hex(&header.parent),
                header.qc_round,
                hex(&self.qc.block),
                self.qc.round
            )));
        }
        if header.payload != payload_digest(&self.block.payload) {
            return Err(Error::protocol("hotstuff proposal: the payload is not the one that the header names"));
        }
        if header.tc != self.tc.as_ref().map(Tc::digest).transpose()? {
            return Err(Error::protocol(
                "hotstuff proposal: the timeout certificate is not the one that the header names",
            ));
        }
        self.check_round()
    }
}

impl Proposal {
    /// Signs a proposal. Nothing here remembers what was signed before.
    pub fn new(key: &SigningKey, block: Block, qc: Qc, tc: Option<Tc>) -> Self {
        let signature = key.sign(&block.header.message());
        Self { block, qc, tc, signature }
    }

    /// The block's id.
    pub fn id(&self) -> Digest {
        self.block.header.id()
    }

    /// The round.
    pub fn round(&self) -> u64 {
        self.block.header.round
    }

    /// The round follows the quorum certificate's, or a timeout certificate's that allows this quorum certificate.
    fn check_round(&self) -> Result<()> {
        let round = self.block.header.round;
        match &self.tc {
            None if self.qc.round.checked_add(1) == Some(round) => Ok(()),
            None => Err(Error::protocol(format!(
                "hotstuff proposal: round {round} does not follow round {} of its certificate",
                self.qc.round
            ))),
            Some(tc) if tc.round.checked_add(1) != Some(round) || self.qc.round >= tc.round => Err(Error::protocol(
                format!("hotstuff proposal: round {round} does not follow the timeout of round {}", tc.round),
            )),
            Some(tc) if self.qc.round < tc.high_qc.round && !mutant!("hs.tc-rule") => Err(Error::protocol(format!(
                "hotstuff proposal: certificate of round {}, but round {} was reported certified",
                self.qc.round, tc.high_qc.round
            ))),
            Some(_) => Ok(()),
        }
    }
}

/// A validator's vote for a block, for the leader of the next round.
///
/// Where the committee has aggregate keys it comes with a share of the certificate's signature, and is sent as a
/// [`SharedVote`]: its own encoding is without the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The block's round.
    pub round: u64,
    /// The block's id.
    pub block: Digest,
    /// The voter's place.
    pub voter: u16,
    /// The voter's Ed25519 signature over [`Vote::message`].
    pub signature: [u8; 64],
    /// The voter's BLS signature over [`vote_message`].
    #[borsh(skip)]
    pub share: Option<[u8; SIGNATURE_LEN]>,
}

impl Record for Vote {
    const TAG: [u8; 4] = *b"CChv";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff vote";
    const LEN_MAX: usize = 256;

    fn check(&self) -> Result<()> {
        match self.share {
            None => Ok(()),
            Some(_) => Err(Error::input("hotstuff vote: with a share it is another record")),
        }
    }
}

impl Vote {
    /// Signs a vote for a committee without aggregate keys. Nothing here remembers what was signed before.
    pub fn new(key: &SigningKey, chain: Digest, epoch: u64, round: u64, block: Digest, voter: u16) -> Self {
        Self::with_share(key, (chain, epoch, round, block), voter, None)
    }

    /// Signs a vote with all keys of a validator. Nothing here remembers what was signed before.
    pub fn cast(keys: &Keys, chain: Digest, epoch: u64, round: u64, block: Digest, voter: u16) -> Self {
        let share = keys.aggregate.as_ref().map(|secret| secret.sign(&vote_message(&chain, epoch, round, &block)));
        Self::with_share(&keys.signing, (chain, epoch, round, block), voter, share)
    }

    /// Signs a vote with any share, right or wrong.
    pub fn with_share(
        key: &SigningKey,
        of: (Digest, u64, u64, Digest),
        voter: u16,
        share: Option<[u8; SIGNATURE_LEN]>,
    ) -> Self {
        let (chain, epoch, round, block) = of;
        let mut vote = Self { chain, epoch, round, block, voter, signature: [0; 64], share };
        vote.signature = key.sign(&vote.message());
        vote
    }

    /// What is signed with Ed25519: the vote, and its share, so that a wrong one is nobody's fault but the voter's.
    pub fn message(&self) -> Digest {
        let message = vote_message(&self.chain, self.epoch, self.round, &self.block);
        match &self.share {
            Some(share) if !mutant!("hs.share-bound") => {
                Hasher::new(CONTEXT_SHARED_VOTE).fixed(&message).fixed(share).finish()
            }
            _ => message,
        }
    }

    /// Checks the Ed25519 signature, not the share.
    pub fn verify(&self, committee: &Committee) -> Result<()> {
        verify_by(committee, Self::NAME, self.voter, &self.message(), &self.signature)
    }

    /// The share as a point; `None` if there is none, or it is no point of the group.
    pub fn share_point(&self) -> Option<bls::Signature> {
        self.share.as_ref().and_then(|share| bls::Signature::from_bytes(share).ok())
    }

    /// Whether the share is right. `false` too if there is none, or the committee has no aggregate keys.
    pub fn has_right_share(&self, committee: &Committee) -> bool {
        let key = committee.aggregates().and_then(|keys| keys.get(usize::from(self.voter)));
        let message = vote_message(&self.chain, self.epoch, self.round, &self.block);
        let fits = |key, share| bls::verify(key, &message, &share);
        key.zip(self.share_point()).is_some_and(|(key, share)| fits(key, share))
    }

    /// What is sent: the vote, or a [`SharedVote`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.share.is_some() { wire::encode(&SharedVote(*self)) } else { wire::encode(self) }
    }
}

/// A vote with its share: the vote's fields, then 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedVote(pub Vote);

impl Record for SharedVote {
    const TAG: [u8; 4] = *b"CChw";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff vote with a share";
    const LEN_MAX: usize = 256;
}

impl BorshSerialize for SharedVote {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        let none = || std::io::Error::new(std::io::ErrorKind::InvalidData, "there is no share");
        (self.0, self.0.share.ok_or_else(none)?).serialize(writer)
    }
}

impl BorshDeserialize for SharedVote {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let (vote, share) = <(Vote, [u8; SIGNATURE_LEN])>::deserialize_reader(reader)?;
        Ok(Self(Vote { share: Some(share), ..vote }))
    }
}

/// A validator gives a round up.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Timeout {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The round that is given up.
    pub round: u64,
    /// The highest quorum certificate that the validator knows.
    pub high_qc: Qc,
    /// Why the round does not follow that certificate's.
    pub tc: Option<Tc>,
    /// The validator's place.
    pub voter: u16,
    /// The validator's signature over [`timeout_message`], with the round of its certificate.
    pub signature: [u8; 64],
}

impl Record for Timeout {
    const TAG: [u8; 4] = *b"CCht";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff timeout";
    const LEN_MAX: usize = QC_MAX + TC_MAX + 256;

    fn check(&self) -> Result<()> {
        let before = self.tc.as_ref().map_or(self.high_qc.round, |tc| tc.round);
        if before.checked_add(1) != Some(self.round) || self.round == u64::MAX || self.high_qc.round >= self.round {
            return Err(Error::protocol(format!(
                "hotstuff timeout: of round {}, which does not follow round {before} of its certificate",
                self.round
            )));
        }
        Ok(())
    }
}

impl Timeout {
    /// Signs a timeout. Nothing here remembers what was signed before.
    pub fn new(key: &SigningKey, at: (Digest, u64, u64), high_qc: Qc, tc: Option<Tc>, voter: u16) -> Self {
        let (chain, epoch, round) = at;
        let signature = key.sign(&timeout_message(&chain, epoch, round, high_qc.round));
        Self { chain, epoch, round, high_qc, tc, voter, signature }
    }

    /// Checks the signature, not the certificates.
    pub fn verify_signature(&self, committee: &Committee) -> Result<()> {
        let message = timeout_message(&self.chain, self.epoch, self.round, self.high_qc.round);
        verify_by(committee, Self::NAME, self.voter, &message, &self.signature)
    }
}

/// A validator is behind: it asks for what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SyncRequest {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// Round and id of the last block that it committed.
    pub committed: (u64, Digest),
    /// Round and id of the highest certified block that it has with all before it.
    pub tip: (u64, Digest),
}

impl Record for SyncRequest {
    const TAG: [u8; 4] = *b"CChs";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff sync request";
    const LEN_MAX: usize = 256;
}

/// Certified blocks, oldest first, each the next one's parent, and the highest certificates; not signed, for all of it is
/// by itself.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SyncResponse {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The blocks.
    pub blocks: List<Proposal, SYNC_BLOCKS>,
    /// Certifies the last of them; without blocks, the highest that the sender has.
    pub qc: Qc,
    /// The highest timeout certificate of the sender, if it is of use.
    pub tc: Option<Tc>,
}

impl Record for SyncResponse {
    const TAG: [u8; 4] = *b"CCha";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff sync response";
    const LEN_MAX: usize = SYNC_BYTES + PROPOSAL_MAX + (SYNC_BLOCKS + 1) * (QC_MAX + TC_MAX + 1024);

    fn check(&self) -> Result<()> {
        for proposal in self.blocks.iter() {
            proposal.check()?;
        }
        let follows = |pair: &[Proposal]| pair[1].block.header.parent == pair[0].id();
        if !self.blocks.windows(2).all(follows) {
            return Err(Error::protocol("hotstuff sync response: the blocks do not follow each other"));
        }
        match self.blocks.last() {
            Some(last) if (last.round(), last.id()) != (self.qc.round, self.qc.block) => {
                Err(Error::protocol("hotstuff sync response: the certificate is not of the last block"))
            }
            _ => Ok(()),
        }
    }
}

/// Any message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Message {
    /// A leader's proposal.
    Proposal(Proposal),
    /// A vote, with a share or without.
    Vote(Vote),
    /// A round is given up.
    Timeout(Timeout),
    /// Somebody is behind.
    SyncRequest(SyncRequest),
    /// What it asked for.
    SyncResponse(SyncResponse),
}

impl Message {
    /// Decodes a message by its tag.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let tag = bytes.first_chunk::<4>().copied().unwrap_or_default();
        Ok(match tag {
            Proposal::TAG => Self::Proposal(wire::decode(bytes)?),
            Vote::TAG => Self::Vote(wire::decode(bytes)?),
            SharedVote::TAG => Self::Vote(wire::decode::<SharedVote>(bytes)?.0),
            Timeout::TAG => Self::Timeout(wire::decode(bytes)?),
            SyncRequest::TAG => Self::SyncRequest(wire::decode(bytes)?),
            SyncResponse::TAG => Self::SyncResponse(wire::decode(bytes)?),
            _ => {
                return Err(Error::input(format!(
                    "hotstuff message: starts with {:?}, which no message does",
                    String::from_utf8_lossy(&tag)
                )));
            }
        })
    }

    /// The chain and the epoch that it is of.
    pub fn domain(&self) -> (Digest, u64) {
        match self {
            Self::Proposal(message) => (message.block.header.chain, message.block.header.epoch),
            Self::Vote(message) => (message.chain, message.epoch),
            Self::Timeout(message) => (message.chain, message.epoch),
            Self::SyncRequest(message) => (message.chain, message.epoch),
            Self::SyncResponse(message) => (message.chain, message.epoch),
        }
    }
}
