//! The protocols that a run can be asked for by name, with one workload for all of them.

use std::collections::BTreeMap;

use super::abba::{self, Subsets};
use super::dpos::{self, Delegates};
use super::hotstuff::{self, Validators};
use super::node::MakeNode;
use crate::algorithms::hs;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};

/// What the nodes are to do, whatever their protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Bytes of each batch.
    pub batch: usize,
    /// How many slots are decided before the nodes fall silent.
    pub slots: u64,
    /// How long they wait for a leader, µs, where the protocol has one.
    pub timeout: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self { batch: 1024, slots: 20, timeout: 100_000 }
    }
}

/// The names. `hotstuff-3` commits by three blocks of consecutive rounds, for comparison.
pub const NAMES: [&str; 4] = ["abba", "dpos", "hotstuff", "hotstuff-3"];

/// Nodes of a protocol, with keys made from the seed.
///
/// # Errors
/// [`Error::Input`] if there is no such protocol, or the workload is not for it.
pub fn protocol(name: &str, seed: u64, nodes: u16, workload: &Workload) -> Result<Box<dyn MakeNode>> {
    let Workload { batch, slots, timeout } = *workload;
    match name {
        "abba" => Ok(Box::new(Subsets::new(seed, nodes, abba::Config { batch, slots, ..abba::Config::default() })?)),
        "dpos" => Ok(Box::new(Delegates::new(seed, nodes, dpos::Config { batch, slots, timeout })?)),
        "hotstuff" | "hotstuff-3" => {
            let commit_rule = if name == "hotstuff" { 2 } else { 3 };
            let timeout_max_us = hs::Config::default().timeout_max_us.max(timeout);
            let machine = hs::Config { timeout_us: timeout, timeout_max_us, commit_rule, ..hs::Config::default() };
            let config = hotstuff::Config { batch, slots, machine };
            Ok(Box::new(Validators::new(seed, nodes, config, BTreeMap::new())?))
        }
        _ => Err(unknown(name)),
    }
}

/// The seed of a node's signing key: for an adversary of one's own that holds a real key.
///
/// # Errors
/// [`Error::Input`] if there is no such protocol.
pub fn key(name: &str, seed: u64, node: u16) -> Result<Digest> {
    match name {
        "abba" => Ok(abba::key(seed, node)),
        "dpos" => Ok(dpos::key(seed, node)),
        "hotstuff" | "hotstuff-3" => Ok(hotstuff::key(node)),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    Error::input(format!("simulation: there is no protocol {name:?}, only {}", NAMES.join(", ")))
}
