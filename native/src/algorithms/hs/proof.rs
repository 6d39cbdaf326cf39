//! The proof that a block is committed, for anybody who knows the validators.

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{Domain, Qc};
use super::message::{Header, QC_MAX};
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::wire::{List, Record};

/// The most headers of a proof, and so the most blocks between the last commit and the next one.
pub const HEADERS_MAX: usize = 2048;

const CONTEXT_EPOCH: &str = "city-chain v1 hotstuff epoch";

/// A block is committed: the headers from it up to two of consecutive rounds, and the certificate of the last.
///
/// The certificate of the last block says that a quorum saw its parent certified, and is locked on it: nothing else can be
/// certified beside it any more.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitProof {
    /// From the committed block on, each the next one's parent.
    pub headers: List<Header, HEADERS_MAX>,
    /// Certifies the last of them.
    pub qc: Qc,
}

impl Record for CommitProof {
    const TAG: [u8; 4] = *b"CChc";
    const VERSION: u16 = 1;
    const NAME: &'static str = "commit proof";
    const LEN_MAX: usize = HEADERS_MAX * 192 + QC_MAX;
}

impl CommitProof {
    /// Checks it and returns the digest of the committed payload ([`super::message::payload_digest`]).
    ///
    /// # Errors
    /// [`Error::Verification`] with what is wrong.
    pub fn verify(&self, committee: &Committee, chain: &Digest, epoch: u64) -> Result<Digest> {
        let wrong = |what: &str| Err(Error::verification(format!("commit proof: {what}")));
        let [.., before, last] = &self.headers[..] else { return wrong("two headers at least are needed") };
        if self.headers.iter().any(|header| (&header.chain, header.epoch) != (chain, epoch)) {
            return wrong("a header is of another chain or epoch");
        }
        let follows = |pair: &[Header]| pair[1].parent == pair[0].id() && pair[1].qc_round == pair[0].round;
        if !self.headers.windows(2).all(follows) {
            return wrong("the headers do not follow each other");
        }
        if before.round.checked_add(1) != Some(last.round) {
            return wrong("the last two rounds are not consecutive");
        }
        if (self.qc.round, self.qc.block) != (last.round, last.id()) {
            return wrong("the certificate is not of the last header");
        }
        self.qc.verify(Domain { committee, chain, epoch, genesis: None })?;
        Ok(self.headers[0].payload)
    }

    /// The committed block's header, which [`CommitProof::verify`] has to let pass first.
    pub fn header(&self) -> Option<&Header> {
        self.headers.first()
    }

    /// If the block is an epoch's last, what the next epoch starts from in place of a block ([`super::HotStuff::new`]).
    pub fn next_genesis(&self) -> Option<Digest> {
        self.header().map(|header| hash::digest(CONTEXT_EPOCH, &header.id()))
    }
}
