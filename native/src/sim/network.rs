//! The network and the disks of a run: how long things take, and what goes wrong with them.

use super::node::Step;
use super::rng::Rng;
use crate::error::{Error, Result};

/// How long a message is on its way, µs, before jitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latency {
    /// The same between any two.
    Same(u64),
    /// Row: from, column: to.
    Matrix(Vec<Vec<u64>>),
}

/// For some time, nodes of different groups do not reach each other; who is in no group is alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// From when, µs.
    pub begin: u64,
    /// Until when, µs.
    pub end: u64,
    /// Who still reaches whom.
    pub groups: Vec<Vec<u16>>,
    /// Whether what is sent across waits for the end (a reliable transport) or is lost.
    pub holds: bool,
}

impl Partition {
    fn group(&self, node: u16) -> Option<usize> {
        self.groups.iter().position(|group| group.contains(&node))
    }

    /// Whether it keeps a message sent at `now` from its receiver.
    pub fn cuts(&self, from: u16, to: u16, now: u64) -> bool {
        let within = self.group(from).is_some() && self.group(from) == self.group(to);
        from != to && !within && (self.begin..self.end).contains(&now)
    }
}

/// A node that takes longer, for some time, to send, to receive and to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// Which.
    pub node: u16,
    /// From when, µs.
    pub begin: u64,
    /// Until when, µs.
    pub end: u64,
    /// How much longer each takes, µs.
    pub extra: u64,
}

/// The network of a run and the disks of its nodes. Chances are in parts per million of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Between two nodes.
    pub latency: Latency,
    /// Up to so much is added, drawn for each message, µs. Messages overtake each other by it.
    pub jitter: u64,
    /// Never arrive.
    pub loss: u32,
    /// Arrive a second time.
    pub duplication: u32,
    /// Arrive up to [`Network::late`] later than the others.
    pub reordering: u32,
    /// How much later, at most, µs.
    pub late: u64,
    /// When loss, duplication and reordering end, µs; `None`: never.
    pub calm: Option<u64>,
    /// Times in which the network is cut in pieces.
    pub partitions: Vec<Partition>,
    /// Times in which nodes are slow.
    pub slow: Vec<Slow>,
    /// Whether what is sent to a node that is down waits for it (a transport with a queue of its own) or is lost.
    pub holds_for_down: bool,
    /// How long a disk takes for the records of one turn, µs.
    pub write: u64,
    /// Up to so much is added, drawn for each write, µs.
    pub write_jitter: u64,
}

impl Default for Network {
    /// A data centre: 500 µs ± 100, disks of 200 µs ± 100, nothing goes wrong.
    fn default() -> Self {
        Self {
            latency: Latency::Same(450),
            jitter: 100,
            loss: 0,
            duplication: 0,
            reordering: 0,
            late: 10_000,
            calm: None,
            partitions: Vec::new(),
            slow: Vec::new(),
            holds_for_down: false,
            write: 150,
            write_jitter: 100,
        }
    }
}

impl Network {
    /// Each hop takes exactly `latency` µs and a write nothing: for counting hops.
    pub fn exact(latency: u64) -> Self {
        Self { latency: Latency::Same(latency), jitter: 0, write: 0, write_jitter: 0, ..Self::default() }
    }

    /// A bad one: 1 to 20 ms, and of a hundred messages two get lost, five come twice and ten much later.
    pub fn hostile() -> Self {
        Self {
            latency: Latency::Same(1_000),
            jitter: 19_000,
            loss: 20_000,
            duplication: 50_000,
            reordering: 100_000,
            late: 200_000,
            ..Self::default()
        }
    }

    /// Checks that it fits `nodes` nodes.
    ///
    /// # Errors
    /// [`Error::Input`] if a matrix has another size, a node is none, or a time ends before it begins.
    pub fn check(&self, nodes: u16) -> Result<()> {
        if let Latency::Matrix(rows) = &self.latency
            && (rows.len() != usize::from(nodes) || rows.iter().any(|row| row.len() != usize::from(nodes)))
        {
            return Err(Error::input(format!("network: the latency matrix is not {nodes} by {nodes}")));
        }
        let chances = [("loss", self.loss), ("duplication", self.duplication), ("reordering", self.reordering)];
        if let Some((name, ppm)) = chances.iter().find(|(_, ppm)| *ppm > 1_000_000) {
            return Err(Error::input(format!("network: {name} is {ppm} parts per million, at most 1000000 are")));
        }
        for Partition { begin, end, groups, .. } in &self.partitions {
            span("partition", *begin, *end)?;
            for (at, group) in groups.iter().enumerate() {
                let twice = |node| groups[..at].iter().any(|other| other.contains(node));
                if let Some(node) = group.iter().find(|node| **node >= nodes || twice(node)) {
                    return Err(Error::input(format!("partition: node {node} is none, or in two groups")));
                }
            }
        }
        for Slow { node, begin, end, .. } in &self.slow {
            span("slow node", *begin, *end)?;
            if *node >= nodes {
                return Err(Error::input(format!("slow node: {node}, but there are {nodes}")));
            }
        }
        Ok(())
    }

    /// When the last of what goes wrong with it is over, µs; `u64::MAX` if never.
    pub fn quiet_at(&self) -> u64 {
        let chances = self.loss > 0 || self.duplication > 0 || self.reordering > 0;
        let noise = if chances { self.calm.unwrap_or(u64::MAX) } else { 0 };
        let ends = self.partitions.iter().map(|cut| cut.end).chain(self.slow.iter().map(|slow| slow.end));
        ends.fold(noise, u64::max)
    }

    fn extra(&self, node: u16, now: u64) -> u64 {
        let slow = self.slow.iter().filter(|slow| slow.node == node && (slow.begin..slow.end).contains(&now));
        slow.fold(0, |sum, slow| sum.saturating_add(slow.extra))
    }

    fn between(&self, from: u16, to: u16) -> u64 {
        match &self.latency {
            _ if from == to => 0,
            Latency::Same(latency) => *latency,
            Latency::Matrix(rows) => rows[usize::from(from)][usize::from(to)],
        }
    }

    /// How long a write that begins at `now` takes, µs.
    pub(super) fn write_time(&self, node: u16, now: u64, rng: &mut Rng) -> u64 {
        let jitter = if self.write_jitter == 0 { 0 } else { rng.below(self.write_jitter.saturating_add(1)) };
        self.write.saturating_add(jitter).saturating_add(self.extra(node, now))
    }

    /// What happens to a message of `from` for `to` that is sent at `now`: when its copies arrive, or why none does.
    pub(super) fn carry(&self, from: u16, to: u16, now: u64, rng: &mut Rng) -> Carried {
        let jitter = if self.jitter == 0 || from == to { 0 } else { rng.below(self.jitter.saturating_add(1)) };
        let slow = self.extra(from, now).saturating_add(if from == to { 0 } else { self.extra(to, now) });
        let mut delay = self.between(from, to).saturating_add(jitter).saturating_add(slow);
        let mut carried = Carried::default();
        if from != to && self.calm.is_none_or(|calm| now < calm) {
            if rng.chance(self.loss) {
                carried.lost = Some("loss");
                return carried;
            }
            if rng.chance(self.reordering) {
                delay = delay.saturating_add(rng.below(self.late.saturating_add(1)));
            }
            if rng.chance(self.duplication) {
                carried.again = Some(delay.saturating_add(1 + rng.below(self.late.saturating_add(1))));
            }
        }
        for cut in self.partitions.iter().filter(|cut| cut.cuts(from, to, now)) {
            if !cut.holds {
                return Carried { lost: Some("partition"), ..Carried::default() };
            }
            let wait = cut.end - now;
            delay = delay.max(wait.saturating_add(self.between(from, to)).saturating_add(jitter));
        }
        carried.again = carried.again.map(|again| again.max(delay));
        carried.delay = delay;
        carried
    }
}

fn span(what: &str, begin: u64, end: u64) -> Result<()> {
    if begin > end {
        return Err(Error::input(format!("{what}: it ends at {end} µs, before it begins at {begin} µs")));
    }
    Ok(())
}

/// What the network makes of one message.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub delay: u64,
    pub again: Option<u64>,
    pub lost: Option<&'static str>,
}

/// A message that a [`Scheduler`] looks at.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Counts the messages of a run from 0.
    pub number: u64,
    /// Who sent it.
    pub from: u16,
    /// Whom it is for.
    pub to: u16,
    /// When it was sent, µs.
    pub at: u64,
    /// The bytes.
    pub message: &'a [u8],
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What the network makes of it.
    Natural,
    /// It arrives after that time, µs, whatever the network would have made of it.
    After(u64),
    /// It never arrives.
    Lost,
    /// It waits for [`Scheduler::release`].
    Held,
}

/// An adversary who rules the network: looks at each message and chooses what becomes of it.
pub trait Scheduler: Send {
    /// What becomes of a message.
    fn fate(&mut self, envelope: &Envelope<'_>, rng: &mut Rng) -> Fate;

    /// A node (an honest one as well) did something: a scheduler that adapts to what it sees learns it here.
    fn saw(&mut self, _node: u16, _at: u64, _step: &Step) {}

    /// Numbers of held messages that arrive now. Called before each happening; `idle`: nothing else is left to happen.
    /// By default what is held arrives as late as possible: all of it, when nothing else can happen any more.
    fn release(&mut self, held: &[u64], idle: bool) -> Vec<u64> {
        if idle { held.to_vec() } else { Vec::new() }
    }
}
