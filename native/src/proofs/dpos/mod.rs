//! DPoS: Delegated Proof of Stake. Electing delegates, drawing slot leaders, certifying by stake, and the voting machine.
//!
//! - [`elect`]: approval or sequential Phragmén over a stake snapshot; exact, independent of the input's order.
//! - [`leader`], [`leaders`]: the slot's leader, drawn by stake from the epoch's seed.
//! - [`collect`]: votes → [`Certificate`] at W − ⌊(W − 1)/3⌋ of the stake.
//! - [`Delegate`]: one delegate's sans-I/O voting machine.
//!
//! **What it promises.** One leader proposes, two thirds of the stake sign. A later leader of the same height must show a
//! quorum of reports and carry on with what the highest attempt among them accepted, as in Paxos. What a report says was
//! accepted carries the signature of the leader who proposed it, so that faulty voters cannot make it up. No two batches
//! are certified at one height while less than a third of the stake is faulty *and no leader of a later attempt signs a
//! proposal that the reports it was given do not ask for*. Why: let D be certified at attempt b. Every quorum of reports
//! for a later attempt holds one of an honest voter for D, who reports b or later; what is reported of a later attempt was
//! signed by its leader and so, by induction, is D; and if another batch is reported of b itself, its leader signed two
//! proposals, which the reports prove, and nobody votes.
//!
//! So a leader who signs two proposals in one attempt cannot fork the ledger, but can bring it to a halt at that height.
//! A leader of a later attempt who signs against its reports can, together with a lying voter, fork it; its signature is
//! the evidence. That is the weakest promise of the commit engines, and the price of a single round.

mod delegate;
mod election;
mod phragmen;
mod validators;
mod vote;

pub use delegate::{Accepted, Delegate, Proposal, Report, Saying, Weighed, choose, proposal_message};
pub use election::{Ballot, Method, elect};
pub use validators::{VALIDATORS_MAX, Validator, ValidatorSet, leader, leaders};
pub use vote::{Certificate, Collected, Signature, Slot, Vote, collect};

#[cfg(test)]
mod tests;
