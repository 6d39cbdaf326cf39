//! What must hold in every run: agreement (across restarts too), validity, progress. A failure says how to replay it.

use std::collections::BTreeMap;
use std::fmt;

use super::simulation::Simulation;
use crate::crypto::hash::{Digest, hex};
use crate::error::Error;

/// A run that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// Virtual time, µs.
    pub at: u64,
    /// How many happenings there were.
    pub happenings: u64,
    /// What is wrong.
    pub what: String,
    /// The command (or code) that replays the run.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at, happenings, what, replay } = self;
        write!(f, "simulation: seed {seed}, at {at} µs, happening {happenings}: {what}; replay it: {replay}")
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::protocol(failure.to_string())
    }
}

/// Looks at what an honest node decides: node, slot, value. The error says what is wrong.
pub type Validity = Box<dyn FnMut(u16, u64, &Digest) -> std::result::Result<(), String> + Send>;

/// One decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub value: Digest,
    /// Who was the first.
    pub node: u16,
    /// When, µs.
    pub at: u64,
}

/// Compares what honest nodes decide, from the beginning of the run on: a restart makes nobody forget.
#[derive(Default)]
pub struct Agreement {
    slots: BTreeMap<u64, Decision>,
    of_node: BTreeMap<u16, BTreeMap<u64, u64>>,
    total: u64,
    validity: Option<Validity>,
}

impl Agreement {
    pub(super) fn set_validity(&mut self, validity: Validity) {
        self.validity = Some(validity);
    }

    /// An honest node decides.
    ///
    /// # Errors
    /// Another value was decided in the slot, or the value is not valid.
    pub fn decide(&mut self, node: u16, slot: u64, value: &Digest, at: u64) -> std::result::Result<(), String> {
        let first = *self.slots.entry(slot).or_insert(Decision { value: *value, node, at });
        if first.value != *value {
            return Err(format!(
                "node {node} decides {} in slot {slot}, where node {} decided {} at {} µs",
                hex(&value[..8]),
                first.node,
                hex(&first.value[..8]),
                first.at
            ));
        }
        self.of_node.entry(node).or_default().entry(slot).or_insert_with(|| {
            self.total += 1;
            at
        });
        self.validity.as_mut().map_or(Ok(()), |valid| valid(node, slot, value))
    }

    /// How many decisions there were, each slot of each node once: what changes when a node gets on.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What was decided, by slot.
    pub fn slots(&self) -> &BTreeMap<u64, Decision> {
        &self.slots
    }

    /// In which slots a node decided, and when for the first time, µs.
    pub fn of_node(&self, node: u16) -> Option<&BTreeMap<u64, u64>> {
        self.of_node.get(&node)
    }

    /// How many slots a node decided.
    pub fn count(&self, node: u16) -> usize {
        self.of_node.get(&node).map_or(0, BTreeMap::len)
    }
}

/// Watches nodes on their way to a number of decisions.
#[derive(Debug, Clone)]
pub struct Watch {
    goals: Vec<(u16, usize)>,
    total: Option<u64>,
    reached: bool,
}

impl Watch {
    /// Of each node, how many slots it is to decide.
    pub fn new(goals: Vec<(u16, usize)>) -> Self {
        Self { goals, total: None, reached: false }
    }

    /// Whether all are there. Cheap while nobody decides.
    pub fn reached(&mut self, run: &Simulation) -> bool {
        let total = Some(run.agreement().total());
        if self.total != total {
            self.total = total;
            self.reached = self.late(run).is_none();
        }
        self.reached
    }

    fn late(&self, run: &Simulation) -> Option<(u16, usize)> {
        self.goals.iter().find(|(node, goal)| run.agreement().count(*node) < *goal).copied()
    }

    /// Whether all are there, after they had `bound` µs.
    ///
    /// # Errors
    /// Names one that is not.
    pub fn check(&self, run: &Simulation, bound: u64) -> Result<(), Failure> {
        self.late(run).map_or(Ok(()), |(node, goal)| {
            let had = run.agreement().count(node);
            Err(run.fail(format!(
                "no progress: node {node} has decided {had} of {goal} slots in {bound} µs without faults"
            )))
        })
    }
}
