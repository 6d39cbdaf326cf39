//! HotStuff BFT (two-chain, Jolteon): a total order of payloads among n ≥ 3f + 1 validators, under partial synchrony.
//!
//! Rounds follow each other. The leader of a round proposes a block on top of the highest quorum certificate that it knows;
//! every validator votes for it once and sends the vote to the leader of the next round, who makes a certificate of a
//! quorum of votes and carries it in its own block. A block whose direct child, of the very next round, is certified too is
//! committed, and with it all before it. Where a leader fails, validators time out; a quorum of timeouts is a timeout
//! certificate, with which the next leader goes on.
//!
//! Paper: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, "Jolteon and Ditto" (FC 2022), section 3; the same as
//! DiemBFT v4. Deviations:
//! - quorums count weight ([`crate::primitives::committee`]);
//! - where the committee has aggregate keys, a quorum certificate is one BLS signature: the sum of shares that come with the
//!   votes ([`AGGREGATE_FROM`] says from which number of validators on it is worth it);
//! - a block's id covers its timeout certificate's digest and its parent, not the bytes of the certificate of the parent: two
//!   certificates of one block are as good as each other;
//! - leaders go round by place, or by a list of the caller's ([`Config::leaders`]);
//! - [`Config::commit_rule`] 3 waits for three blocks of consecutive rounds: a baseline to compare with, safe all the same;
//! - a validator that is behind asks for certified blocks oldest first ([`message::SyncRequest`]), with bounded answers;
//! - a validator that lost its journal watches until the next epoch.
//!
//! | file | what |
//! |---|---|
//! | [`message`], [`certificate`], [`Keys`] | what is signed and sent; quorum and timeout certificates; with what |
//! | [`proof`], [`evidence`] | what others can check offline: commits, and who signed two things |
//! | `journal`, `tree` | what survives a crash; blocks not yet committed, and the last that were |
//! | `machine`, `vote`, `pace`, `sync` | the machine: its frame, blocks and votes, rounds and timeouts, catching up |

pub mod certificate;
pub mod evidence;
mod journal;
mod keys;
mod look;
mod machine;
pub mod message;
mod pace;
pub mod proof;
mod sync;
mod tree;
mod vote;

#[cfg(test)]
mod tests;

pub use evidence::Evidence;
pub use keys::Keys;
pub use machine::HotStuff;
pub use proof::CommitProof;

use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX};

/// The number of validators from which on aggregate keys are worth it where the leader's link sends 100 Mbit/s: a list costs
/// bytes, a sum costs computing. `city-chain lab aggregates` measures both.
pub const AGGREGATE_FROM: u16 = 33;

/// The least and the most time, µs, that a round may be given.
const TIMEOUT_RANGE: std::ops::RangeInclusive<u64> = 1..=86_400_000_000;

/// How a machine is set up; the same at all validators but for the times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a round may take, µs, before it is given up.
    pub timeout_us: u64,
    /// The most that a round is given after failures, µs.
    pub timeout_max_us: u64,
    /// How much longer the next round gets after a failed one, per cent of it: 150 is half as long again.
    pub backoff_percent: u32,
    /// How many certified blocks of consecutive rounds commit the first of them: 2, or 3.
    pub commit_rule: u8,
    /// How many committed blocks are kept for those that are behind.
    pub history: u16,
    /// Who leads: round r is led by the place `leaders[r % len]`; empty for all places in turn.
    pub leaders: Vec<u16>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout_us: 100_000,
            timeout_max_us: 10_000_000,
            backoff_percent: 150,
            commit_rule: 2,
            history: 256,
            leaders: Vec::new(),
        }
    }
}

impl Config {
    /// Checks the limits.
    fn check(&self, committee: &Committee) -> Result<()> {
        let times = [self.timeout_us, self.timeout_max_us];
        if times.iter().any(|time| !TIMEOUT_RANGE.contains(time)) || times[0] > times[1] {
            return Err(Error::input(format!(
                "hotstuff: timeouts of {} and at most {} µs; 1 µs to a day are allowed, the first not above the second",
                times[0], times[1]
            )));
        }
        if !(100..=1000).contains(&self.backoff_percent) {
            return Err(Error::input(format!(
                "hotstuff: a backoff of {} per cent, 100 to 1000 are allowed",
                self.backoff_percent
            )));
        }
        if !(2..=3).contains(&self.commit_rule) {
            return Err(Error::input(format!("hotstuff: commit rule {}, 2 and 3 are known", self.commit_rule)));
        }
        if self.leaders.len() > 4 * MEMBERS_MAX {
            return Err(Error::input(format!("hotstuff: {} leaders in the list", self.leaders.len())));
        }
        match self.leaders.iter().find(|place| committee.get(**place).is_none()) {
            Some(place) => Err(Error::input(format!("hotstuff: leader {place} is no place of the committee"))),
            None => Ok(()),
        }
    }

    /// Who leads `round`.
    fn leader(&self, committee: &Committee, round: u64) -> u16 {
        let count = if self.leaders.is_empty() { committee.count() } else { self.leaders.len() };
        let at = usize::try_from(round % count as u64).unwrap_or(0);
        self.leaders.get(at).copied().unwrap_or(u16::try_from(at).unwrap_or(0))
    }
}

/// What happens in the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This validator leads: [`HotStuff::propose`] is awaited, for as long as the round lasts.
    NeedPayload {
        /// The round.
        round: u64,
        /// The block that the proposal will follow.
        parent: Digest,
    },
    /// A leader proposed this: [`HotStuff::payload_result`] is awaited before it is voted for.
    ValidatePayload {
        /// The block's id.
        block: Digest,
        /// What it carries.
        payload: Vec<u8>,
        /// The block that it follows.
        parent: Digest,
    },
    /// A block is committed. They come one by one, oldest first, each once in the life of a machine; after a restart those
    /// since the last journal record come again.
    Commit {
        /// The block's id.
        block: Digest,
        /// What it carries.
        payload: Vec<u8>,
        /// Proves it to anybody.
        proof: CommitProof,
    },
    /// Somebody signed two things that exclude each other: an encoding of [`Evidence`].
    Evidence(Vec<u8>),
    /// A round has begun.
    EnteredRound {
        /// Which.
        round: u64,
    },
}
