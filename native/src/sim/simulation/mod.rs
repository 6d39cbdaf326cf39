//! The run: one queue of happenings, the nodes, and what goes wrong with them.

mod host;
mod queue;
mod steps;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use self::host::Host;
use self::queue::{Happening, Queued};
use super::check::{Agreement, Failure, Validity, Watch};
use super::faults::{Crash, Faults, Moment, Point};
use super::network::{Network, Scheduler};
use super::node::MakeNode;
use super::rng::Rng;
use super::trace::Trace;
use crate::error::{Error, Result};

/// The most nodes of a run.
pub const NODES_MAX: u16 = 4096;

/// How large a run may become before it counts as one that explodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Happenings.
    pub happenings: u64,
    /// Happenings that wait at once.
    pub queue: usize,
    /// Rows of the table that are kept; the run goes on without keeping more.
    pub rows: usize,
    /// Whether the digest of the trace is taken. It costs about as much as the rest of the simulator.
    pub digest: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { happenings: 10_000_000, queue: 1_000_000, rows: 200_000, digest: true }
    }
}

/// Why [`Simulation::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is left to happen.
    Idle,
    /// The time has come.
    Time,
    /// What was waited for has come true.
    Reached,
}

/// A run.
pub struct Simulation {
    seed: u64,
    network: Network,
    faults: Faults,
    limits: Limits,
    make: Box<dyn MakeNode>,
    scheduler: Option<Box<dyn Scheduler>>,
    hosts: Vec<Host>,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    now: u64,
    happenings: u64,
    messages: u64,
    held: BTreeMap<u64, (u16, u16, Vec<u8>)>,
    network_rng: Rng,
    disk_rng: Rng,
    scheduler_rng: Rng,
    trace: Trace,
    agreement: Agreement,
    replay: String,
    failure: Option<Failure>,
}

impl Simulation {
    /// A run of `nodes` nodes at time 0; nothing has happened yet.
    ///
    /// # Errors
    /// [`Error::Input`] if the network or the faults do not fit the number of nodes, or that is 0 or above [`NODES_MAX`].
    pub fn new(seed: u64, nodes: u16, network: Network, faults: Faults, make: impl MakeNode + 'static) -> Result<Self> {
        if nodes == 0 || nodes > NODES_MAX {
            return Err(Error::input(format!("simulation: {nodes} nodes, 1 to {NODES_MAX} are allowed")));
        }
        network.check(nodes)?;
        faults.check(nodes)?;
        let limits = Limits::default();
        let hosts = (0..nodes).map(|node| Host::new(node, make.is_honest(node), &faults)).collect();
        let mut simulation = Self {
            seed,
            network,
            faults,
            limits,
            make: Box::new(make),
            scheduler: None,
            hosts,
            queue: BinaryHeap::new(),
            queued: 0,
            now: 0,
            happenings: 0,
            messages: 0,
            held: BTreeMap::new(),
            network_rng: Rng::new(seed, "network", 0),
            disk_rng: Rng::new(seed, "disk", 0),
            scheduler_rng: Rng::new(seed, "scheduler", 0),
            trace: Trace::new(limits.rows, limits.digest),
            agreement: Agreement::default(),
            replay: format!("Simulation::new({seed}, ...)"),
            failure: None,
        };
        simulation.plan(nodes);
        Ok(simulation)
    }

    fn plan(&mut self, nodes: u16) {
        for node in 0..nodes {
            self.push(0, Happening::Start { node });
        }
        for crash in self.faults.crashes.clone() {
            if let Moment::At(at) = crash.when {
                let Crash { node, restart: down, wiped, .. } = crash;
                self.push(at, Happening::Crash { node, down, wiped, storm: false });
            }
        }
        let mut rng = Rng::new(self.seed, "faults", 0);
        for (at, node, down) in self.faults.storm_crashes(nodes, &mut rng) {
            self.push(at, Happening::Crash { node, down: Some(down), wiped: false, storm: true });
        }
    }

    /// Sets how large the run may become. To be called before it begins: what was counted starts anew.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.trace = Trace::new(limits.rows, limits.digest);
        self.limits = limits;
        self
    }

    /// Lets an adversary rule the network.
    #[must_use]
    pub fn with_scheduler(mut self, scheduler: impl Scheduler + 'static) -> Self {
        self.scheduler = Some(Box::new(scheduler));
        self
    }

    /// Looks at every decision of an honest node.
    #[must_use]
    pub fn with_validity(mut self, validity: Validity) -> Self {
        self.agreement.set_validity(validity);
        self
    }

    /// The command that replays this run, seed included: failures print it.
    #[must_use]
    pub fn with_replay(mut self, command: impl Into<String>) -> Self {
        self.replay = command.into();
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u16 {
        self.hosts.len() as u16
    }

    /// Virtual time, µs.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many happenings there were.
    pub fn happenings(&self) -> u64 {
        self.happenings
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What honest nodes decided.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What is durable on a node's disk.
    pub fn disk(&self, node: u16) -> Option<&[Vec<u8>]> {
        self.hosts.get(usize::from(node)).map(|host| host.disk.as_slice())
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: u16) -> bool {
        self.hosts.get(usize::from(node)).is_some_and(|host| host.node.is_some())
    }

    /// Whether a node is honest; what others decide is not looked at.
    pub fn is_honest(&self, node: u16) -> bool {
        self.hosts.get(usize::from(node)).is_some_and(|host| host.honest)
    }

    /// The honest nodes that decide slots.
    pub fn deciders(&self) -> Vec<u16> {
        (0..self.nodes()).filter(|node| self.is_honest(*node) && self.make.decides(*node)).collect()
    }

    /// When the last fault that has a time is over, µs; `u64::MAX` if never.
    pub fn quiet_at(&self) -> u64 {
        self.network.quiet_at().max(self.faults.quiet_at())
    }

    /// A failure of this run, now.
    pub fn fail(&self, what: impl Into<String>) -> Failure {
        let (seed, at, happenings) = (self.seed, self.now, self.happenings);
        Failure { seed, at, happenings, what: what.into(), replay: self.replay.clone() }
    }

    /// Hands a message to the network as if `from` had sent it: an adversary outside of the nodes.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such node; the failure of the run if there is one.
    pub fn inject(&mut self, from: u16, to: u16, message: Vec<u8>) -> Result<()> {
        self.node_exists(from)?;
        self.node_exists(to)?;
        self.send(from, to, message);
        self.outcome(())
    }

    /// Crashes a node now; it comes back after `restart` µs, or not at all. A node that is down stays as it is.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such node.
    pub fn crash(&mut self, node: u16, restart: Option<u64>, wiped: bool) -> Result<()> {
        self.node_exists(node)?;
        self.take_down(node, restart, wiped);
        Ok(())
    }

    fn node_exists(&self, node: u16) -> Result<()> {
        if node >= self.nodes() {
            return Err(Error::input(format!("simulation: node {node}, but there are {}", self.nodes())));
        }
        Ok(())
    }

    /// Runs until nothing is left to happen or the next happening is later than `until`, µs (the time is `until` then).
    ///
    /// # Errors
    /// The run broke a rule or a limit; it goes no further.
    pub fn run(&mut self, until: u64) -> std::result::Result<Stop, Failure> {
        self.run_while(until, |_| true)
    }

    /// [`Simulation::run`] until `goes_on` says no; it is asked before each happening.
    ///
    /// # Errors
    /// As [`Simulation::run`].
    pub fn run_while(
        &mut self,
        until: u64,
        mut goes_on: impl FnMut(&Self) -> bool,
    ) -> std::result::Result<Stop, Failure> {
        self.failed()?;
        loop {
            if !goes_on(self) {
                return Ok(Stop::Reached);
            }
            match self.next_at() {
                None => return Ok(Stop::Idle),
                Some(at) if at > until => {
                    self.now = self.now.max(until);
                    return Ok(Stop::Time);
                }
                Some(_) => self.step()?,
            };
        }
    }

    /// When the next happening is, µs.
    pub fn next_at(&mut self) -> Option<u64> {
        self.release();
        self.queue.peek().map(|Reverse(next)| next.at)
    }

    /// Lets the next thing happen; `false` if there is none.
    ///
    /// # Errors
    /// As [`Simulation::run`].
    pub fn step(&mut self) -> std::result::Result<bool, Failure> {
        self.failed()?;
        self.release();
        let Some(Reverse(next)) = self.queue.pop() else { return Ok(false) };
        self.happenings += 1;
        if self.happenings > self.limits.happenings {
            self.broke(format!("more than {} happenings", self.limits.happenings));
        }
        self.now = self.now.max(next.at);
        self.happen(next.happening);
        self.outcome(true)
    }

    /// Runs until all honest nodes that decide have decided `more` slots more than they have when faults are over, and are up
    /// then.
    /// `bound`: the longest that may take, µs, after the later of now and [`Simulation::quiet_at`].
    ///
    /// # Errors
    /// Some do not get there, or the run broke a rule.
    pub fn progress(&mut self, more: usize, bound: u64) -> std::result::Result<(), Failure> {
        let from = self.now.max(self.quiet_at());
        if from == u64::MAX {
            return Err(self.fail("progress was asked for, but the network never becomes quiet"));
        }
        self.run(from)?;
        let mut watch = Watch::new(self.goals(more));
        self.run_while(from.saturating_add(bound), |run| !watch.reached(run))?;
        watch.check(self, bound)
    }

    /// How many slots each honest node that is up, or comes back, has decided when it has decided `more` than now.
    pub fn goals(&self, more: usize) -> Vec<(u16, usize)> {
        let deciders = self.deciders().into_iter().filter(|node| self.comes_back(*node));
        deciders.map(|node| (node, self.agreement.count(node).saturating_add(more))).collect()
    }

    /// Whether a node is up or is going to be.
    fn comes_back(&self, node: u16) -> bool {
        self.is_up(node)
            || self
                .queue
                .iter()
                .any(|Reverse(next)| matches!(next.happening, Happening::Start { node: it } if it == node))
    }

    fn failed(&self) -> std::result::Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn outcome<T, E: From<Failure>>(&self, value: T) -> std::result::Result<T, E> {
        self.failure.clone().map_or(Ok(value), |failure| Err(failure.into()))
    }

    fn broke(&mut self, what: String) {
        if self.failure.is_none() {
            self.failure = Some(self.fail(what));
        }
    }

    fn push(&mut self, at: u64, happening: Happening) {
        if self.queue.len() >= self.limits.queue {
            return self.broke(format!("more than {} happenings wait", self.limits.queue));
        }
        self.queue.push(Reverse(Queued { at, order: self.queued, happening }));
        self.queued += 1;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Deliver { number, from, to, message } => self.deliver(number, from, to, message),
            Happening::Wake { node, life, at } => self.wake(node, life, at),
            Happening::Written { node, life } => self.written(node, life),
            Happening::Crash { node, down, wiped, storm } => self.crash_planned(node, down, wiped, storm),
        }
    }

    fn start(&mut self, node: u16) {
        let host = &mut self.hosts[usize::from(node)];
        if host.node.is_some() {
            return;
        }
        let lives = host.life;
        match self.make.make(node, &host.disk) {
            Ok(made) => host.node = Some(made),
            Err(error) => return self.broke(format!("node {node} does not start: {error}")),
        }
        host.life += 1;
        host.written_at = self.now;
        let waiting = std::mem::take(&mut host.waiting);
        let kind = if lives == 0 { "start" } else { "restart" };
        self.trace.add(self.now, node, kind, None, lives, &[]);
        self.turn(node, |it, turn| it.start(turn));
        for (number, from, message) in waiting {
            self.push(self.now, Happening::Deliver { number, from, to: node, message });
        }
    }

    fn deliver(&mut self, number: u64, from: u16, to: u16, message: Vec<u8>) {
        let host = &mut self.hosts[usize::from(to)];
        if host.node.is_none() {
            if self.network.holds_for_down {
                if host.waiting.len() >= self.limits.queue {
                    return self.broke(format!("more than {} messages wait for node {to}", self.limits.queue));
                }
                host.waiting.push((number, from, message));
                return;
            }
            return self.lose("down", number, from, to, &message);
        }
        self.trace.add(self.now, to, "deliver", Some(from), number, &message);
        self.turn(to, |it, turn| it.receive(from, &message, turn));
    }

    fn wake(&mut self, node: u16, life: u64, at: u64) {
        let host = &mut self.hosts[usize::from(node)];
        if host.life != life || host.wake != Some(at) || host.node.is_none() {
            return;
        }
        host.wake = None;
        self.trace.add(self.now, node, "wake", None, at, &[]);
        self.turn(node, |it, turn| it.wake(turn));
    }

    fn written(&mut self, node: u16, life: u64) {
        let host = &mut self.hosts[usize::from(node)];
        if host.life != life || host.node.is_none() {
            return;
        }
        let Some((_, ticket, record)) = host.writing.pop_front() else { return };
        self.trace.add(self.now, node, "durable", None, ticket, &record);
        host.disk.push(record);
        if let Some(crash) = host.due(&[Point::Durable], false) {
            host.durables += 1;
            return self.take_down(node, crash.restart, crash.wiped);
        }
        host.durables += 1;
        let after = host.due(&[Point::Durable], true);
        self.turn(node, |it, turn| it.durable(ticket, turn));
        if let Some(crash) = after {
            self.take_down(node, crash.restart, crash.wiped);
        }
    }

    fn crash_planned(&mut self, node: u16, down: Option<u64>, wiped: bool, storm: bool) {
        let at_once = self.faults.storm.map_or(0, |storm| usize::from(storm.at_once));
        if storm && self.hosts.iter().filter(|host| host.node.is_none()).count() >= at_once {
            return;
        }
        self.take_down(node, down, wiped);
    }

    fn take_down(&mut self, node: u16, restart: Option<u64>, wiped: bool) {
        let host = &mut self.hosts[usize::from(node)];
        if host.node.take().is_none() {
            return;
        }
        host.wake = None;
        let kept = self.disk_rng.below(host.writing.len() as u64 + 1) as usize;
        host.disk.extend(host.writing.drain(..).take(kept).map(|(_, _, record)| record));
        if wiped {
            host.disk.clear();
        }
        let lives = host.life - 1;
        self.trace.add(self.now, node, "crash", None, lives, &[]);
        if let Some(after) = restart {
            self.push(self.now.saturating_add(after), Happening::Start { node });
        }
    }
}
