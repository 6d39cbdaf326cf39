//! What a node does in a turn, carried out: messages into the network, records onto its disk, decisions to the checkers.

use super::super::faults::Point;
use super::super::network::{Carried, Envelope, Fate};
use super::super::node::{Node, Step, Turn};
use super::Simulation;
use super::host::points;
use super::queue::Happening;

impl Simulation {
    /// One turn of a node that is up, and all that it does in it, until it is done or crashes.
    pub(super) fn turn(&mut self, node: u16, act: impl FnOnce(&mut dyn Node, &mut Turn)) {
        let mut turn = Turn::new(node, self.nodes(), self.now);
        let Some(it) = self.hosts[usize::from(node)].node.as_mut() else { return };
        act(it.as_mut(), &mut turn);
        let (steps, failure) = turn.into_parts();
        let mut write_ends = None;
        for step in steps {
            let points = points(&step);
            if let Some(crash) = self.hosts[usize::from(node)].due(points, false) {
                return self.take_down(node, crash.restart, crash.wiped);
            }
            self.count(node, points);
            if let Some(scheduler) = self.scheduler.as_mut() {
                scheduler.saw(node, self.now, &step);
            }
            self.carry_out(node, step, &mut write_ends);
            if let Some(crash) = self.hosts[usize::from(node)].due(points, true) {
                return self.take_down(node, crash.restart, crash.wiped);
            }
        }
        if let Some(what) = failure {
            self.broke(format!("node {node}: {what}"));
        }
    }

    fn count(&mut self, node: u16, points: &[Point]) {
        let host = &mut self.hosts[usize::from(node)];
        host.steps += 1;
        host.sends += u64::from(points.contains(&Point::Send));
        host.persists += u64::from(points.contains(&Point::Persist));
    }

    fn carry_out(&mut self, node: u16, step: Step, write_ends: &mut Option<u64>) {
        match step {
            Step::Send { to, message } => self.send(node, to, message),
            Step::Persist { ticket, record } => self.persist(node, ticket, record, write_ends),
            Step::Wake { at } => self.set_wake(node, at),
            Step::Decide { slot, value } => {
                self.trace.add(self.now, node, "decide", None, slot, &value);
                if self.hosts[usize::from(node)].honest
                    && let Err(what) = self.agreement.decide(node, slot, &value, self.now)
                {
                    self.broke(what);
                }
            }
            Step::Note { kind, number, bytes } => {
                self.trace.count_note(node, kind);
                self.trace.add(self.now, node, kind, None, number, &bytes);
            }
        }
    }

    fn set_wake(&mut self, node: u16, at: u64) {
        let (at, host) = (at.max(self.now), &mut self.hosts[usize::from(node)]);
        let life = host.life;
        if host.wake.replace(at) != Some(at) {
            self.push(at, Happening::Wake { node, life, at });
        }
    }

    fn persist(&mut self, node: u16, ticket: u64, record: Vec<u8>, write_ends: &mut Option<u64>) {
        self.trace.count_persisted(node, &record);
        self.trace.add(self.now, node, "persist", None, ticket, &record);
        let host = &mut self.hosts[usize::from(node)];
        let at = *write_ends.get_or_insert_with(|| {
            let begins = host.written_at.max(self.now);
            begins.saturating_add(self.network.write_time(node, self.now, &mut self.disk_rng))
        });
        host.written_at = at;
        host.writing.push_back((at, ticket, record));
        let life = host.life;
        self.push(at, Happening::Written { node, life });
    }

    pub(super) fn send(&mut self, from: u16, to: u16, message: Vec<u8>) {
        let (number, now) = (self.messages, self.now);
        self.messages += 1;
        self.trace.count_sent(from, &message);
        self.trace.add(now, from, "send", Some(to), number, &message);
        if to >= self.nodes() {
            return self.lose("nobody", number, from, to, &message);
        }
        let carried = self.network.carry(from, to, now, &mut self.network_rng);
        let fate = self.scheduler.as_mut().map_or(Fate::Natural, |scheduler| {
            scheduler.fate(&Envelope { number, from, to, at: now, message: &message }, &mut self.scheduler_rng)
        });
        match (fate, carried) {
            (Fate::Lost, _) => self.lose("scheduler", number, from, to, &message),
            (Fate::After(delay), _) => self.arrive(delay, number, from, to, message),
            (Fate::Held, _) if self.held.len() >= self.limits.queue => {
                self.broke(format!("more than {} messages are held", self.limits.queue));
            }
            (Fate::Held, _) => drop(self.held.insert(number, (from, to, message))),
            (Fate::Natural, Carried { lost: Some(why), .. }) => self.lose(why, number, from, to, &message),
            (Fate::Natural, Carried { delay, again, .. }) => {
                if let Some(again) = again {
                    self.arrive(again, number, from, to, message.clone());
                }
                self.arrive(delay, number, from, to, message);
            }
        }
    }

    fn arrive(&mut self, delay: u64, number: u64, from: u16, to: u16, message: Vec<u8>) {
        self.push(self.now.saturating_add(delay), Happening::Deliver { number, from, to, message });
    }

    pub(super) fn lose(&mut self, why: &'static str, number: u64, from: u16, to: u16, message: &[u8]) {
        self.trace.count_lost();
        self.trace.add(self.now, from, why, Some(to), number, message);
    }

    /// Lets go what the scheduler holds and now releases.
    pub(super) fn release(&mut self) {
        let Some(scheduler) = self.scheduler.as_mut().filter(|_| !self.held.is_empty()) else { return };
        let numbers: Vec<u64> = self.held.keys().copied().collect();
        for number in scheduler.release(&numbers, self.queue.is_empty()) {
            if let Some((from, to, message)) = self.held.remove(&number) {
                self.arrive(0, number, from, to, message);
            }
        }
    }
}
