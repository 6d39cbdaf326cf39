//! Overlays of tens of thousands of HyParView and Plumtree machines in one process, in virtual time, from one seed.
//!
//! The machines are those that run in cities ([`crate::algorithms::hvp`]), with their real messages; only signatures are left
//! out. [`Overlay`] is the network between them, and says by a name how failures are detected ([`Detection`]): it makes all
//! the difference after a crash. [`Setup`] grows an overlay, and the experiments measure it or a copy of it.
//!
//! | experiment | what it measures |
//! |---|---|
//! | [`membership::steady`] | clustering, shortest paths, in-degrees, the cost of floods |
//! | [`membership::crashes`] | how many of those left a message reaches after a share of all has crashed |
//! | [`membership::eclipse`] | how many honest nodes see nobody but attackers |
//! | [`membership::rejoin`], [`membership::partition`] | whether one overlay returns, and when |
//! | [`hostile::fabricated`] | what a node holds whose neighbours announce what does not exist |
//! | [`trees::trees`] | redundancy, hops and control messages of broadcasts of one sender, and of many |
//! | [`trees::healings`] | broadcasts from a crash on, until all get them again |

mod attack;
pub mod graph;
pub mod hostile;
pub mod kind;
pub mod membership;
mod overlay;
mod queue;
mod setup;
pub mod trees;
mod watch;

pub use overlay::{Detection, Latency, NODES, Overlay, Told};
pub use setup::{CYCLES_MAX, Setup};
pub use watch::Watch;

#[cfg(test)]
mod tests;
