//! A seeded network of nodes in virtual time: the same seed gives the same run, byte for byte.
//!
//! A discrete-event simulation. Every happening (a delivery, an alarm, a finished write, a crash, a restart) waits in one queue
//! ordered by virtual time and, within a microsecond, by the order in which it was queued; all chance comes from one `u64`
//! ([`Rng`], with a stream of its own for each purpose, so that a change of one leaves the others as they were). Nothing
//! reads a clock, and no map whose order is left to chance is walked.
//!
//! | part | what it is |
//! |---|---|
//! | [`node`] | what runs: [`Node`], its [`Turn`] and what it does in it |
//! | [`network`] | latencies, loss, duplicates, reordering, partitions, slow nodes, disks; [`Scheduler`] for an adversary's network |
//! | [`faults`] | crashes at any step or time, restarts, wiped disks |
//! | [`Simulation`] | the run itself: bounded in steps and in its queue |
//! | [`trace`] | the table of events, counters, and the digest that two runs are compared by |
//! | [`check`] | agreement across restarts, validity, progress; a [`Failure`] carries its seed and how to replay it |
//! | [`many`] | many seeds on all cores |
//! | [`protocols`] | nodes by the name of their protocol: [`abba`], [`dpos`], [`hotstuff`], [`sc`] |
//! | [`sc`] | shards and coordinators, with transactions across shards |
//! | [`twins`] | scenarios of HotStuff with validators that run twice |
//! | [`hvp`] | overlays of tens of thousands of nodes, in a network of their own |
//! | [`certificates`] | the work that certificates of HotStuff cost, in both forms |
//!
//! Nodes that a [`MakeNode`] does not call honest are adversaries: they may hold real keys, and no checker looks at what
//! they decide.

pub mod abba;
pub mod certificates;
pub mod check;
pub mod dpos;
pub mod faults;
pub mod hotstuff;
pub mod hvp;
pub mod many;
pub mod network;
pub mod node;
pub mod protocols;
mod rng;
pub mod sc;
mod simulation;
pub mod trace;
pub mod twins;

pub use check::Failure;
pub use faults::{Crash, Faults, Moment, Point, Storm};
pub use network::{Envelope, Fate, Latency, Network, Partition, Scheduler, Slow};
pub use node::{MakeNode, Node, Step, Turn};
pub use rng::Rng;
pub use simulation::{Limits, NODES_MAX, Simulation, Stop};
pub use trace::{Event, Trace};

#[cfg(test)]
mod tests;
