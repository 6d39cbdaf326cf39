//! What befalls nodes: crashes at any step or time, restarts, wiped disks.

use super::rng::Rng;
use crate::error::{Error, Result};

/// What is counted towards a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Anything that the node does.
    Step,
    /// A record handed to the disk.
    Persist,
    /// A message handed to the network.
    Send,
    /// A record that has become durable. Before: it is on the disk, and the node never learns it.
    Durable,
}

/// When a node crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At that time, µs.
    At(u64),
    /// Just before the node's k-th of these, counted from 0 over the whole run.
    Before(Point, u64),
    /// Just after the node's k-th of these.
    After(Point, u64),
}

/// One crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// Who.
    pub node: u16,
    /// When.
    pub when: Moment,
    /// It comes back after that time, µs; `None`: never.
    pub restart: Option<u64>,
    /// Whether its disk is empty then.
    pub wiped: bool,
}

/// Crashes at random times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// From when, µs.
    pub begin: u64,
    /// Until when, µs: no crash is later. All nodes are up again `down` later.
    pub end: u64,
    /// Time between crashes, µs: drawn from 1 to twice as much.
    pub every: u64,
    /// How long a node stays down, µs: drawn from 1 to so much.
    pub down: u64,
    /// How many may be down at once; a crash that would be one more does not happen.
    pub at_once: u16,
}

/// All that befalls the nodes of a run.
///
/// Records that were not durable when their node crashed may still have reached the disk, in their order: how many did is
/// drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Crashes one by one.
    pub crashes: Vec<Crash>,
    /// Crashes by chance.
    pub storm: Option<Storm>,
}

impl Faults {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// One crash, after which the node comes back after `restart` µs with its disk as it was.
    pub fn crash(node: u16, when: Moment, restart: u64) -> Self {
        Self { crashes: vec![Crash { node, when, restart: Some(restart), wiped: false }], storm: None }
    }

    /// Checks that they fit `nodes` nodes.
    ///
    /// # Errors
    /// [`Error::Input`] if a node is none, or a storm can never end.
    pub fn check(&self, nodes: u16) -> Result<()> {
        if let Some(crash) = self.crashes.iter().find(|crash| crash.node >= nodes) {
            return Err(Error::input(format!("crash: of node {}, but there are {nodes}", crash.node)));
        }
        if let Some(Storm { begin, end, every, down, .. }) = self.storm
            && (begin > end || every == 0 || down == 0 || (end - begin) / every > 1_000_000)
        {
            return Err(Error::input(format!(
                "storm: from {begin} to {end} µs, every {every} µs, {down} µs down: times must be above 0 and crashes at \
                 most 1000000"
            )));
        }
        Ok(())
    }

    /// When the last crash by time is over, µs. Crashes at a step count as over at time 0.
    pub fn quiet_at(&self) -> u64 {
        let each = self.crashes.iter().map(|crash| match crash.when {
            Moment::At(at) => at.saturating_add(crash.restart.unwrap_or(0)),
            _ => 0,
        });
        let storm = self.storm.map_or(0, |storm| storm.end.saturating_add(storm.down));
        each.fold(storm, u64::max)
    }

    /// The crashes of the storm: when, who, and for how long.
    pub(super) fn storm_crashes(&self, nodes: u16, rng: &mut Rng) -> Vec<(u64, u16, u64)> {
        let Some(storm) = self.storm else { return Vec::new() };
        let (mut at, mut out) = (storm.begin, Vec::new());
        loop {
            at = at.saturating_add(1 + rng.below(storm.every.saturating_mul(2)));
            if at >= storm.end {
                return out;
            }
            out.push((at, rng.below(u64::from(nodes)) as u16, 1 + rng.below(storm.down)));
        }
    }
}
