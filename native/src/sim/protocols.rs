//! The protocols that a run can be asked for by name, with one workload for all of them.

use std::collections::BTreeMap;

use super::abba::{self, Agreements, Inputs, Subsets};
use super::dpos::{self, Delegates};
use super::hotstuff::{self, Validators};
use super::node::MakeNode;
use super::sc::{self, Shards};
use crate::algorithms::hs;
use crate::algorithms::tes::share::Scheme;
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

/// The names. `hotstuff-3` commits by chains of three; `hotstuff-list` and `hotstuff-aggregate` fix the form of certificates,
/// which `hotstuff` has by the number of validators; `abba-same` and `abba-split` are one agreement on one bit, whose
/// parties begin with the same one or with both; of the nodes of `sc` the last is the coordinator.
pub const NAMES: [&str; 9] =
    ["abba", "abba-same", "abba-split", "dpos", "hotstuff", "hotstuff-3", "hotstuff-aggregate", "hotstuff-list", "sc"];

/// Nodes of a protocol. Their keys are made from the seed, but for HotStuff's, which are the same in all runs.
///
/// # Errors
/// [`Error::Input`] if there is no such protocol, or the workload is not for it.
pub fn protocol(name: &str, seed: u64, nodes: u16, workload: &Workload) -> Result<Box<dyn MakeNode>> {
    let Workload { batch, slots, timeout } = *workload;
    let hotstuff = |commit_rule: u8, aggregates: Option<bool>| -> Result<Box<dyn MakeNode>> {
        let timeout_max_us = hs::Config::default().timeout_max_us.max(timeout);
        let machine = hs::Config { timeout_us: timeout, timeout_max_us, commit_rule, ..hs::Config::default() };
        let config = hotstuff::Config { batch, slots, machine, aggregates };
        Ok(Box::new(Validators::new(seed, nodes, config, BTreeMap::new())?))
    };
    let one = |inputs: Inputs| -> Result<Box<dyn MakeNode>> {
        Ok(Box::new(Agreements::new(seed, nodes, inputs, 0, Scheme::Bls, patience(timeout))?))
    };
    match name {
        "abba" => {
            let config = abba::Config { batch, slots, patience: patience(timeout), ..abba::Config::default() };
            Ok(Box::new(Subsets::new(seed, nodes, config)?))
        }
        "abba-same" => one(Inputs::Same(true)),
        "abba-split" => one(Inputs::Split),
        "dpos" => Ok(Box::new(Delegates::new(seed, nodes, dpos::Config { batch, slots, timeout })?)),
        "hotstuff" => hotstuff(2, None),
        "hotstuff-3" => hotstuff(3, None),
        "hotstuff-aggregate" => hotstuff(2, Some(true)),
        "hotstuff-list" => hotstuff(2, Some(false)),
        "sc" => Ok(Box::new(Shards::new(seed, shards(nodes, slots)?)?)),
        _ => Err(unknown(name)),
    }
}

/// How long parties without a leader wait before they say everything again.
fn patience(timeout: u64) -> u64 {
    timeout.saturating_mul(2).max(1)
}

fn shards(nodes: u16, slots: u64) -> Result<sc::Workload> {
    let many = |_| Error::input(format!("sc: {slots} transactions, at most {} are allowed", u16::MAX));
    let transactions = u16::try_from(slots).map_err(many)?;
    Ok(sc::Workload { shards: nodes.saturating_sub(1), coordinators: 1, transactions, ..sc::Workload::default() })
}

/// The seed of a node's signing key: for an adversary of one's own that holds a real key. HotStuff's do not depend on the
/// run's seed: see [`hotstuff::key`].
///
/// # Errors
/// [`Error::Input`] if there is no such protocol, or its nodes have no key of their own.
pub fn key(name: &str, seed: u64, node: u16) -> Result<Digest> {
    match name {
        "abba" | "abba-same" | "abba-split" => Ok(abba::key(seed, node)),
        "dpos" => Ok(dpos::key(seed, node)),
        "hotstuff" | "hotstuff-3" | "hotstuff-aggregate" | "hotstuff-list" => Ok(hotstuff::key(node)),
        "sc" => Err(Error::input("simulation: a node of sc has the keys of a whole committee")),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    Error::input(format!("simulation: there is no protocol {name:?}, only {}", NAMES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Faults, Network, Simulation};

    #[test]
    fn every_protocol_runs_by_its_name_and_twice_the_same() {
        for name in NAMES {
            let run = || {
                let made = protocol(name, 5, 4, &Workload { slots: 3, batch: 64, ..Workload::default() }).unwrap();
                let mut run = Simulation::new(5, 4, Network::default(), Faults::none(), made).unwrap();
                run.run(2_000_000).unwrap();
                (run.agreement().slots().clone(), run.trace().digest())
            };
            let (first, again) = (run(), run());
            assert_eq!(first.0.len(), if name.starts_with("abba-") { 1 } else { 3 }, "{name}");
            assert!(first == again, "{name}");
        }
        for name in NAMES {
            let made = protocol(name, 5, 4, &Workload { batch: 64, ..Workload::default() }).unwrap();
            let mut run = Simulation::new(5, 4, Network::default(), Faults::none(), made).unwrap();
            run.progress(1, 5_000_000).unwrap();
        }
        assert!(protocol("paxos", 5, 4, &Workload::default()).is_err() && key("paxos", 1, 1).is_err());
        assert!(key("sc", 1, 1).is_err() && key("hotstuff", 1, 1).is_ok() && key("abba", 1, 1) != key("abba", 1, 2));
    }
}
