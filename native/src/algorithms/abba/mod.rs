//! ABBA: asynchronous binary Byzantine agreement, and a common subset above it.
//!
//! Abraham, Ben-David, Yandamuri, "Efficient and adaptively secure asynchronous binary agreement via binding crusader
//! agreement" (PODC 2022), with n ≥ 3f + 1 and no timing assumption. Each round is a crusader agreement that is *binding*
//! (once one party has its outcome, one bit can no longer be an outcome of anybody) followed by a strong common coin. The
//! coin is asked for as an event and told as an input: which coin it is, this module does not know.
//!
//! - [`Abba`]: one agreement on one bit.
//! - [`Subset`]: every party proposes bytes, and all parties get the same set of proposals, those of a quorum at least. Each
//!   proposal gets a quorum of echoes (a consistent broadcast), and one agreement decides whether it is in
//!   (Ben-Or, Kelmer, Rabin, PODC 1994, with certificates in place of reliable broadcasts).
//! - [`Certificate`]: what a quorum says came of it, for anybody to check offline.
//!
//! Where this differs from the paper: parties have weights; `DECIDE` belongs to no round; every message is signed, and bound
//! to chain, epoch, instance and committee; what came in is journalled before anything that rests on it goes out.

mod binary;
mod certificate;
mod journal;
mod machine;
mod message;
mod subset;

#[cfg(test)]
mod tests;

pub use binary::{ROUND_ALARM, ROUND_MAX, ROUNDS_AHEAD_MAX};
pub use certificate::{Certificate, Endorsement, Signatures, confirm};
pub use machine::{Abba, Event};
pub use message::{Body, Message, PAYLOAD_MAX, Statement, Vote, payload_digest};
pub use subset::{Subset, SubsetEvent};

use crate::crypto::hash::{Digest, Hasher};
use crate::primitives::committee::Committee;

const CONTEXT_SCOPE: &str = "city-chain v1 abba scope";

/// What the coins of the first rounds show where a driver does not toss them: 1, then 0. Where all are of one mind nobody has
/// to sign a share then. That a coin is known beforehand costs no agreement, which rests on no coin, and no more than these
/// rounds of time: from the round after them on every coin is tossed, and whatever the parties hold when a round of a tossed
/// coin begins, they decide in it with a chance of a half at least. A fixed coin of 1 in the first round is what Cachin,
/// Kursawe, Petzold, Shoup, "Secure and efficient asynchronous broadcast protocols" (CRYPTO 2001) bias their agreement with.
/// A schedule in which fixed coins come again and again would be another thing: it gives an adversary rounds for ever.
pub const FIRST_COINS: [bool; 2] = [true, false];

/// Which agreement it is. No two agreements of a committee may have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// The chain.
    pub chain: Digest,
    /// The epoch.
    pub epoch: u64,
    /// What is agreed on there, such as the digest of a height.
    pub name: Digest,
}

impl Instance {
    /// Binds to the instance and to the committee that agrees; every message carries it.
    pub fn scope(&self, committee: &Committee) -> Digest {
        Hasher::new(CONTEXT_SCOPE)
            .fixed(&self.chain)
            .u64(self.epoch)
            .fixed(&self.name)
            .fixed(&committee.digest())
            .finish()
    }
}
