//! Tests of the machine: a small network without time, and one file per kind of rule.

mod aggregates;
mod agreement;
mod bounds;
mod durable;
mod forged;
mod hostile;
mod rules;

use std::collections::VecDeque;

use super::message::{
    Block, Header, PAYLOAD_MAX, Proposal, Qc, SyncRequest, SyncResponse, Tc, Timeout, TimeoutVote, Vote,
    payload_digest, vote_message,
};
use super::*;
use crate::crypto::ed25519::SigningKey;
use crate::primitives::committee::Member;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire::{self, Bytes, List};

pub(super) const CHAIN: Digest = [0xc1; 32];
pub(super) const EPOCH: u64 = 5;
pub(super) const GENESIS: Digest = [0x6e; 32];

pub(super) fn key(place: u16) -> SigningKey {
    let mut seed = [0x5e; 32];
    seed[..2].copy_from_slice(&place.to_le_bytes());
    SigningKey::from_seed(&seed)
}

pub(super) fn committee(weights: &[u64]) -> Committee {
    let member = |(place, weight): (u16, &u64)| Member { key: key(place).public(), weight: *weight };
    Committee::new((0u16..).zip(weights).map(member).collect()).unwrap()
}

pub(super) fn machine(weights: &[u64], place: u16, config: &Config) -> HotStuff {
    HotStuff::new(CHAIN, EPOCH, committee(weights), key(place), GENESIS, config.clone()).unwrap()
}

/// A node: its machine, its disk, and what it has committed.
pub(super) struct Node {
    pub machine: HotStuff,
    pub disk: Vec<Vec<u8>>,
    pub commits: Vec<(Digest, Vec<u8>, CommitProof)>,
    pub evidence: Vec<Evidence>,
    pub rounds: Vec<u64>,
    pub up: bool,
}

/// All nodes, and messages on their way in the order in which they were sent.
pub(super) struct Net {
    pub committee: Committee,
    pub keys: fn(u16) -> Keys,
    pub config: Config,
    pub nodes: Vec<Node>,
    pub wire: VecDeque<(u16, u16, Vec<u8>)>,
    pub sent: Vec<(u16, u16, Vec<u8>)>,
    pub now: u64,
    /// Leaders propose while their round is not above it.
    pub propose_to: u64,
    /// Whether a message gets through.
    pub passes: fn(u16, u16, &[u8]) -> bool,
}

impl Net {
    pub fn new(weights: &[u64], config: Config) -> Self {
        Self::with(weights, config, committee(weights), |place| key(place).into())
    }

    pub fn with(weights: &[u64], config: Config, committee: Committee, keys: fn(u16) -> Keys) -> Self {
        let places = 0..u16::try_from(weights.len()).unwrap();
        let made = |place| HotStuff::new(CHAIN, EPOCH, committee.clone(), keys(place), GENESIS, config.clone());
        let node = |place| Node {
            machine: made(place).unwrap(),
            disk: Vec::new(),
            commits: Vec::new(),
            evidence: Vec::new(),
            rounds: Vec::new(),
            up: true,
        };
        let nodes = places.map(node).collect();
        let (wire, sent) = (VecDeque::new(), Vec::new());
        let mut net =
            Self { committee, keys, config, nodes, wire, sent, now: 0, propose_to: u64::MAX, passes: |_, _, _| true };
        for place in 0..net.nodes.len() {
            net.nodes[place].machine.start(0).unwrap();
        }
        net
    }

    /// Carries out what a node wants done.
    pub fn settle(&mut self, place: u16) {
        let (now, count) = (self.now, self.nodes.len() as u16);
        loop {
            let node = &mut self.nodes[usize::from(place)];
            let effects = node.machine.drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => {
                        node.disk.push(record);
                        node.machine.durable(ticket).unwrap();
                    }
                    Effect::Output(Action::Send { to, message }) => self.wire.push_back((place, to, message)),
                    Effect::Output(Action::Broadcast { message }) => {
                        let others = (0..count).filter(|to| *to != place);
                        self.wire.extend(others.map(|to| (place, to, message.clone())));
                    }
                    Effect::Output(Action::Deadline { .. }) => {}
                    Effect::Output(Action::Event(event)) => match event {
                        Event::NeedPayload { round, .. } if round <= self.propose_to => {
                            // Several may be asked for in one drain: only the last is still open.
                            let _ = node.machine.propose(format!("payload {round} of {place}").into_bytes(), now);
                        }
                        Event::NeedPayload { .. } => {}
                        Event::ValidatePayload { block, payload, .. } => {
                            node.machine.payload_result(block, payload != b"bad", now).unwrap();
                        }
                        Event::Commit { block, payload, proof } => node.commits.push((block, payload, proof)),
                        Event::Evidence(bytes) => node.evidence.push(wire::decode(&bytes).unwrap()),
                        Event::EnteredRound { round } => node.rounds.push(round),
                    },
                }
            }
        }
    }

    /// Delivers up to `count` messages.
    pub fn run(&mut self, count: usize) {
        for place in 0..self.nodes.len() as u16 {
            if self.nodes[usize::from(place)].up {
                self.settle(place);
            }
        }
        for _ in 0..count {
            let Some((from, to, message)) = self.wire.pop_front() else { return };
            self.sent.push((from, to, message.clone()));
            if !(self.passes)(from, to, &message) || !self.nodes[usize::from(to)].up {
                continue;
            }
            let _ = self.nodes[usize::from(to)].machine.handle(from, &message, self.now);
            self.settle(to);
        }
    }

    /// Lets time pass at all nodes.
    pub fn pass(&mut self, time: u64) {
        self.now += time;
        for place in 0..self.nodes.len() as u16 {
            if self.nodes[usize::from(place)].up {
                self.nodes[usize::from(place)].machine.tick(self.now).unwrap();
                self.settle(place);
            }
        }
    }

    /// A node begins again from its disk.
    pub fn restart(&mut self, place: u16) {
        let (committee, key) = (self.committee.clone(), (self.keys)(place));
        let node = &mut self.nodes[usize::from(place)];
        let config = self.config.clone();
        node.machine = HotStuff::restore(CHAIN, EPOCH, committee, key, GENESIS, config, &node.disk, false).unwrap();
        node.up = true;
        node.machine.start(self.now).unwrap();
        self.settle(place);
    }

    /// The commits of all agree as far as they go; returns the shortest.
    pub fn check(&self) -> usize {
        let ids = |node: &Node| -> Vec<Digest> {
            let mut ids: Vec<Digest> = node.commits.iter().map(|commit| commit.0).collect();
            ids.dedup();
            ids
        };
        let all: Vec<Vec<Digest>> = self.nodes.iter().map(ids).collect();
        let longest = all.iter().max_by_key(|ids| ids.len()).unwrap();
        for ids in &all {
            assert_eq!(ids[..], longest[..ids.len()], "a fork");
        }
        let committee = &self.committee;
        for (block, payload, proof) in self.nodes.iter().flat_map(|node| &node.commits) {
            assert_eq!(proof.verify(committee, &CHAIN, EPOCH).unwrap(), payload_digest(payload));
            assert_eq!(proof.header().unwrap().id(), *block);
        }
        all.iter().map(Vec::len).min().unwrap()
    }
}
