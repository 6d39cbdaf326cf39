//! DPoS: Delegated Proof of Stake. Electing delegates, drawing slot leaders, certifying by stake, and the voting machine.
//!
//! - [`elect`]: approval election over a stake snapshot; integers only, independent of the input's order.
//! - [`leader`]: the slot's leader, drawn by stake from the epoch's seed.
//! - [`collect`]: votes → [`Certificate`] at W − ⌊(W − 1)/3⌋ of the stake.
//! - [`Delegate`]: one delegate's sans-I/O voting machine.
//!
//! **What it promises.** One leader proposes, two thirds of the stake sign. A later leader of the same height must show a
//! quorum of reports and carry on with what the highest attempt among them accepted, as in Paxos, so that no two batches
//! are certified at one height while less than a third of the stake is faulty *and the leader of an attempt does not sign
//! two proposals*. A leader who does can, together with faulty voters, fork the ledger; it leaves two signed proposals as
//! evidence. That is the weakest promise of the commit engines, and the price of a single round.

mod delegate;
mod election;
mod validators;
mod vote;

pub use delegate::{Delegate, Proposal, Report, Saying, choose};
pub use election::{Ballot, elect};
pub use validators::{VALIDATORS_MAX, Validator, ValidatorSet, leader};
pub use vote::{Certificate, Collected, Slot, Vote, collect};

#[cfg(test)]
mod tests;
