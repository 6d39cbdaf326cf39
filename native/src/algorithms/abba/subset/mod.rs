//! The common subset: every party proposes, and all get the same proposals, those of a quorum at least.

mod machine;
mod state;

pub use machine::{Subset, SubsetEvent};
