//! A node's place in the run: the node while it is up, its disk, and the crashes that are still to come.

use std::collections::VecDeque;

use super::super::faults::{Crash, Faults, Moment, Point};
use super::super::node::{Node, Step};

/// A node's place in the run: the node while it is up, and what outlives it.
pub(super) struct Host {
    pub node: Option<Box<dyn Node>>,
    pub honest: bool,
    /// How often it was started.
    pub life: u64,
    pub wake: Option<u64>,
    pub disk: Vec<Vec<u8>>,
    /// Handed to the disk and not durable: when it will be, ticket, record.
    pub writing: VecDeque<(u64, u64, Vec<u8>)>,
    pub written_at: u64,
    pub steps: u64,
    pub sends: u64,
    pub persists: u64,
    pub durables: u64,
    /// Crashes at a step that are still to come.
    pub crashes: Vec<Crash>,
    /// What waits for it while it is down.
    pub waiting: Vec<(u64, u16, Vec<u8>)>,
}

impl Host {
    /// A node that was not started yet.
    pub fn new(node: u16, honest: bool, faults: &Faults) -> Self {
        let own = |crash: &&Crash| crash.node == node && !matches!(crash.when, Moment::At(_));
        Self {
            node: None,
            honest,
            life: 0,
            wake: None,
            disk: Vec::new(),
            writing: VecDeque::new(),
            written_at: 0,
            steps: 0,
            sends: 0,
            persists: 0,
            durables: 0,
            crashes: faults.crashes.iter().filter(own).copied().collect(),
            waiting: Vec::new(),
        }
    }

    fn count(&self, point: Point) -> u64 {
        match point {
            Point::Step => self.steps,
            Point::Send => self.sends,
            Point::Persist => self.persists,
            Point::Durable => self.durables,
        }
    }

    /// The crash that is due before (or after) the step of these points that comes next (or was the last), taken out.
    pub fn due(&mut self, points: &[Point], after: bool) -> Option<Crash> {
        let at = self.crashes.iter().position(|crash| match crash.when {
            Moment::Before(point, k) => !after && points.contains(&point) && self.count(point) == k,
            Moment::After(point, k) => after && points.contains(&point) && self.count(point) == k.saturating_add(1),
            Moment::At(_) => false,
        })?;
        Some(self.crashes.swap_remove(at))
    }
}

pub(super) fn points(step: &Step) -> &'static [Point] {
    match step {
        Step::Send { .. } => &[Point::Step, Point::Send],
        Step::Persist { .. } => &[Point::Step, Point::Persist],
        _ => &[Point::Step],
    }
}
