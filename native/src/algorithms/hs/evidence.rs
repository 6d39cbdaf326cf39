//! Evidence that a validator signed two things that exclude each other; it can be checked offline.

use borsh::{BorshDeserialize, BorshSerialize};

use super::message::{Header, SharedVote, Vote, timeout_message, verify_by};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::wire::Record;

/// What a timeout's signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTimeout {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The round that is given up.
    pub round: u64,
    /// The round of the highest quorum certificate.
    pub qc_round: u64,
    /// The validator's place.
    pub voter: u16,
    /// Its signature.
    pub signature: [u8; 64],
}

/// Two complete signed messages of one validator for one round, or a vote whose share is wrong.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two blocks proposed, each with its leader's signature.
    Proposals([(Header, [u8; 64]); 2]),
    /// Two votes.
    Votes([Vote; 2]),
    /// Two timeouts.
    Timeouts([SignedTimeout; 2]),
    /// Two votes with shares.
    SharedVotes([SharedVote; 2]),
    /// A vote with a share that is not the voter's: it would have spoiled a certificate.
    WrongShare(SharedVote),
}

impl Record for Evidence {
    const TAG: [u8; 4] = *b"CChe";
    const VERSION: u16 = 1;
    const NAME: &'static str = "hotstuff evidence";
    const LEN_MAX: usize = 1024;
}

/// (chain and epoch, round, place, what was signed, signature).
type Said = ((Digest, u64), u64, u16, Digest, [u8; 64]);

impl Evidence {
    /// That two votes were cast.
    pub(super) fn of_votes(votes: [Vote; 2]) -> Self {
        if votes.iter().all(|vote| vote.share.is_some()) {
            return Self::SharedVotes(votes.map(SharedVote));
        }
        Self::Votes(votes)
    }

    /// Checks all signatures, and that two exclude each other or that a share is wrong. Returns the place of who is guilty.
    ///
    /// # Errors
    /// [`Error::Verification`] if it proves nothing.
    pub fn verify(&self, committee: &Committee, chain: &Digest, epoch: u64) -> Result<u16> {
        if let Self::WrongShare(SharedVote(vote)) = self {
            return wrong_share(vote, committee, chain, epoch);
        }
        let pair = self.said();
        let [one, other] = &pair;
        if (one.0, one.1, one.2) != (other.0, other.1, other.2) || one.3 == other.3 {
            return Err(Error::verification("hotstuff evidence: the two do not exclude each other"));
        }
        if (&one.0.0, one.0.1) != (chain, epoch) {
            return Err(Error::verification("hotstuff evidence: of another chain or epoch"));
        }
        for (_, _, voter, message, signature) in &pair {
            verify_by(committee, Self::NAME, *voter, message, signature)?;
        }
        Ok(one.2)
    }

    /// What both say.
    fn said(&self) -> [Said; 2] {
        match self {
            Self::Proposals(pair) => pair.map(|(header, signature)| {
                ((header.chain, header.epoch), header.round, header.proposer, header.message(), signature)
            }),
            Self::Votes(pair) => pair.map(voted),
            Self::SharedVotes(pair) => pair.map(|shared| voted(shared.0)),
            Self::WrongShare(shared) => [voted(shared.0); 2],
            Self::Timeouts(pair) => pair.map(|said| {
                let message = timeout_message(&said.chain, said.epoch, said.round, said.qc_round);
                ((said.chain, said.epoch), said.round, said.voter, message, said.signature)
            }),
        }
    }
}

fn voted(vote: Vote) -> Said {
    ((vote.chain, vote.epoch), vote.round, vote.voter, vote.message(), vote.signature)
}

/// A vote that its voter signed together with a share that is not its own.
fn wrong_share(vote: &Vote, committee: &Committee, chain: &Digest, epoch: u64) -> Result<u16> {
    if (&vote.chain, vote.epoch) != (chain, epoch) {
        return Err(Error::verification("hotstuff evidence: of another chain or epoch"));
    }
    if committee.aggregates().is_none() {
        return Err(Error::verification("hotstuff evidence: of a share, but this committee has no aggregate keys"));
    }
    verify_by(committee, Evidence::NAME, vote.voter, &vote.message(), &vote.signature)?;
    if vote.has_right_share(committee) {
        return Err(Error::verification("hotstuff evidence: the share is right"));
    }
    Ok(vote.voter)
}
