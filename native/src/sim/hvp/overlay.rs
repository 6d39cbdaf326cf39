//! Many machines of one overlay, and the network between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attack::Attacker;
use super::graph::Graph;
use super::kind::{Kind, Sent};
use super::queue::{Happening, Queue};
use crate::algorithms::hvp::{Action, Config, Contact, Hvp, MessageId, PeerId, Trust};
use crate::error::{Error, Result};
use crate::sim::Rng;

/// The fewest and the most nodes of an overlay.
pub const NODES: std::ops::RangeInclusive<u32> = 2..=50_000;

/// How nodes find out that another has crashed or is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// A connection that is open closes at once: who has the other in its active view learns it unasked, after one hop.
    /// What a kernel does for a process that dies, and a keep-alive for a machine that does.
    ClosedConnections,
    /// Nobody learns it but who sends to it, one round trip later.
    FoundOnSend,
}

/// The network: each pair of nodes has a latency of its own, the same both ways and for ever, so that links are FIFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The least, µs.
    pub base_us: u64,
    /// What comes on top is below this, by chance of the pair, µs.
    pub spread_us: u64,
}

impl Default for Latency {
    /// 10 ms between all: hops are rounds, as in the papers' simulator.
    fn default() -> Self {
        Self { base_us: 10_000, spread_us: 0 }
    }
}

/// What runs in a place of the overlay.
#[derive(Clone)]
enum Seat {
    /// Has not come yet, or has crashed.
    Empty,
    Honest(Box<Hvp>),
    Attacker(Box<Attacker>),
}

/// How a broadcast went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When it was sent, µs.
    pub sent_at: u64,
    /// Nodes that have delivered it.
    pub reached: u32,
    /// The most hops to a node.
    pub last_hop: u8,
    /// When the last node so far delivered it, µs.
    pub last_at: u64,
}

/// An overlay in virtual time.
#[derive(Clone)]
pub struct Overlay {
    pub(super) seed: u64,
    pub(super) now: u64,
    pub(super) ids: Vec<PeerId>,
    config: Config,
    latency: Latency,
    detection: Detection,
    seats: Vec<Seat>,
    /// When each node is woken next; `u64::MAX` for never.
    wakes: Vec<u64>,
    queue: Queue,
    /// The side of each node while the network is cut.
    sides: Option<Vec<u8>>,
    told: BTreeMap<MessageId, Told>,
    sent: Sent,
    bytes: u64,
    refused: u64,
    first_refusal: Option<String>,
    isolated: u64,
}

impl Overlay {
    /// Places for `nodes` nodes, nobody there yet.
    ///
    /// # Errors
    /// [`Error::Input`] for numbers outside of [`NODES`].
    pub fn new(nodes: u32, seed: u64, config: Config, latency: Latency, detection: Detection) -> Result<Self> {
        if !NODES.contains(&nodes) {
            return Err(Error::input(format!(
                "overlay: {nodes} nodes, {} to {} are allowed",
                NODES.start(),
                NODES.end()
            )));
        }
        let mut rng = Rng::new(seed, "hvp: keys", 0);
        let id = |node: u32| {
            let mut id = PeerId::default();
            rng.fill(&mut id);
            id[28..].copy_from_slice(&node.to_le_bytes());
            id
        };
        Ok(Self {
            seed,
            now: 0,
            ids: (0..nodes).map(id).collect(),
            config,
            latency,
            detection,
            seats: vec![Seat::Empty; nodes as usize],
            wakes: vec![u64::MAX; nodes as usize],
            queue: Queue::default(),
            sides: None,
            told: BTreeMap::new(),
            sent: Sent::default(),
            bytes: 0,
            refused: 0,
            first_refusal: None,
            isolated: 0,
        })
    }

    /// How many places there are.
    pub fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// Never: an overlay has places.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Virtual time, µs.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Messages by kind since the last [`Overlay::forget_counts`].
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Bytes of these messages.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many messages an honest node refused, and the first refusal.
    pub fn refused(&self) -> (u64, Option<&str>) {
        (self.refused, self.first_refusal.as_deref())
    }

    /// How often a node said that it is alone.
    pub fn isolated(&self) -> u64 {
        self.isolated
    }

    /// Counts from zero.
    pub fn forget_counts(&mut self) {
        self.sent = Sent::default();
        (self.bytes, self.refused, self.first_refusal, self.isolated) = (0, 0, None, 0);
    }

    /// The signed record of a node, as far as a simulator signs: machines here accept every one.
    ///
    /// # Errors
    /// None that can happen: the address is short.
    pub fn contact(&self, node: u32) -> Result<Contact> {
        Contact::unsigned(self.ids[node as usize], &format!("node-{node}"), 1)
    }

    /// The place of a peer.
    pub(super) fn place(&self, peer: &PeerId) -> Option<u32> {
        let [.., a, b, c, d] = *peer;
        let node = u32::from_le_bytes([a, b, c, d]);
        self.ids.get(node as usize).filter(|id| *id == peer).map(|_| node)
    }

    /// The machine of an honest node that is up.
    pub fn machine(&self, node: u32) -> Option<&Hvp> {
        match self.seats.get(node as usize) {
            Some(Seat::Honest(machine)) => Some(machine),
            _ => None,
        }
    }

    /// Honest nodes that are up.
    pub fn honest(&self) -> Vec<u32> {
        (0..self.len()).filter(|node| self.machine(*node).is_some()).collect()
    }

    /// An honest node comes, with the contacts of others.
    ///
    /// # Errors
    /// As the machine's.
    pub fn enter(&mut self, node: u32, contacts: &[u32]) -> Result<()> {
        let mut seed = [0; 32];
        Rng::new(self.seed, "hvp: machine", u64::from(node)).fill(&mut seed);
        let machine = Hvp::new(self.contact(node)?, seed, self.config.clone(), Trust::Unsigned)?;
        self.seats[node as usize] = Seat::Honest(Box::new(machine));
        self.join(node, contacts)
    }

    /// A node that is there joins by the contacts of others, again or for the first time.
    ///
    /// # Errors
    /// As the machine's.
    pub fn join(&mut self, node: u32, contacts: &[u32]) -> Result<()> {
        let contacts = contacts.iter().map(|other| self.contact(*other)).collect::<Result<Vec<_>>>()?;
        let now = self.now;
        let Seat::Honest(machine) = &mut self.seats[node as usize] else { return Ok(()) };
        machine.join(now, &contacts)?;
        self.carry_out(node);
        Ok(())
    }

    /// Puts an attacker into a place.
    pub(super) fn enter_attacker(&mut self, node: u32, attacker: Attacker) {
        self.seats[node as usize] = Seat::Attacker(Box::new(attacker));
        self.wake_at(node, self.now);
    }

    /// A node sends a message to all.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody is there; else as the machine's.
    pub fn broadcast(&mut self, node: u32, payload: &[u8]) -> Result<MessageId> {
        let now = self.now;
        let Seat::Honest(machine) = &mut self.seats[node as usize] else {
            return Err(Error::unavailable(format!("overlay: node {node} is down; nodes"), 1, 0));
        };
        let id = machine.broadcast(now, b"lab", payload)?;
        self.told.insert(id, Told { sent_at: now, reached: 1, last_hop: 0, last_at: now });
        self.carry_out(node);
        Ok(id)
    }

    /// How a broadcast has gone so far.
    pub fn told(&self, id: &MessageId) -> Option<Told> {
        self.told.get(id).copied()
    }

    /// A message from outside, or one that a test makes up, reaches a node now.
    ///
    /// # Errors
    /// What the machine says to it.
    pub fn inject(&mut self, from: u32, to: u32, bytes: &[u8]) -> Result<()> {
        let (now, sender) = (self.now, self.ids[from as usize]);
        let Seat::Honest(machine) = &mut self.seats[to as usize] else { return Ok(()) };
        let outcome = machine.handle(now, &sender, bytes);
        self.carry_out(to);
        outcome
    }

    /// From now on failures are detected in this way.
    pub fn detect(&mut self, detection: Detection) {
        self.detection = detection;
    }

    /// Nodes stop at once, and forget everything.
    pub fn crash(&mut self, nodes: &[u32]) {
        let mut gone = vec![false; self.ids.len()];
        for node in nodes {
            gone[*node as usize] = true;
            self.seats[*node as usize] = Seat::Empty;
            self.wakes[*node as usize] = u64::MAX;
        }
        self.notice(|_, peer| gone[peer as usize]);
    }

    /// Cuts the network: messages between nodes of different sides are lost.
    pub fn cut(&mut self, sides: Vec<u8>) {
        let cut = |one: u32, other: u32| sides[one as usize] != sides[other as usize];
        self.notice(cut);
        self.sides = Some(sides);
    }

    /// The network is whole again.
    pub fn heal(&mut self) {
        self.sides = None;
    }

    /// Tells those whose connections close, if connections tell.
    fn notice(&mut self, closes: impl Fn(u32, u32) -> bool) {
        if self.detection != Detection::ClosedConnections {
            return;
        }
        for node in self.honest() {
            let closed: Vec<u32> = self.active(node).into_iter().filter(|peer| closes(node, *peer)).collect();
            for peer in closed {
                self.queue.push(self.now + self.latency(node, peer), Happening::Failed { node, peer });
            }
        }
    }

    /// Whom an honest node has in its active view.
    pub fn active(&self, node: u32) -> Vec<u32> {
        let Some(machine) = self.machine(node) else { return Vec::new() };
        machine.active().iter().filter_map(|peer| self.place(peer)).collect()
    }

    /// Whom an honest node has in its passive view.
    pub fn passive(&self, node: u32) -> Vec<u32> {
        let Some(machine) = self.machine(node) else { return Vec::new() };
        machine.passive().iter().filter_map(|peer| self.place(peer)).collect()
    }

    /// The overlay of honest nodes that are up; nodes of the graph are numbered in the order of [`Overlay::honest`].
    pub fn graph(&self) -> Graph {
        let honest = self.honest();
        let mut number = vec![u32::MAX; self.ids.len()];
        honest.iter().enumerate().for_each(|(at, node)| number[*node as usize] = at as u32);
        let of = |node: &u32| {
            let peers = self.active(*node).into_iter().map(|peer| number[peer as usize]);
            peers.filter(|peer| *peer != u32::MAX).collect::<Vec<u32>>()
        };
        Graph::new(&honest.iter().map(of).collect::<Vec<_>>())
    }

    /// Lets things happen until `until`, µs, which is then the time.
    pub fn run(&mut self, until: u64) {
        while self.queue.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Lets things happen until nothing is under way, alarms apart, at most for `most` µs; how long that took.
    pub fn settle(&mut self, most: u64) -> u64 {
        let begin = self.now;
        while self.queue.is_moving() && self.queue.next_at().is_some_and(|at| at <= begin.saturating_add(most)) {
            self.step();
        }
        self.now - begin
    }

    fn step(&mut self) {
        let Some((at, happening)) = self.queue.pop() else { return };
        self.now = at;
        match happening {
            Happening::Message { from, to, bytes } => self.arrive(from, to, &bytes),
            Happening::Failed { node, peer } => self.peer_down(node, peer),
            Happening::Closed { node, peer } => {
                let id = self.ids[peer as usize];
                if self.machine(node).is_some_and(|machine| machine.active().contains(&id)) {
                    self.peer_down(node, peer);
                }
            }
            Happening::Wake { node } if self.wakes[node as usize] == at => {
                self.wakes[node as usize] = u64::MAX;
                match &mut self.seats[node as usize] {
                    Seat::Honest(machine) => machine.tick(at),
                    Seat::Attacker(_) => return self.attack(node),
                    Seat::Empty => return,
                }
                self.carry_out(node);
            }
            Happening::Wake { .. } => {}
        }
    }

    fn peer_down(&mut self, node: u32, peer: u32) {
        let (now, id) = (self.now, self.ids[peer as usize]);
        if let Seat::Honest(machine) = &mut self.seats[node as usize] {
            machine.peer_down(now, &id);
            self.carry_out(node);
        }
    }

    fn is_cut(&self, one: u32, other: u32) -> bool {
        self.sides.as_ref().is_some_and(|sides| sides[one as usize] != sides[other as usize])
    }

    fn arrive(&mut self, from: u32, to: u32, bytes: &[u8]) {
        if self.is_cut(from, to) {
            return self.fail(from, to);
        }
        let (now, sender) = (self.now, self.ids[from as usize]);
        match &mut self.seats[to as usize] {
            Seat::Empty => self.fail(from, to),
            Seat::Attacker(_) => self.lie(to, from, bytes),
            Seat::Honest(machine) => {
                if let Err(error) = machine.handle(now, &sender, bytes) {
                    self.refused += 1;
                    self.first_refusal.get_or_insert_with(|| error.to_string());
                }
                self.carry_out(to);
            }
        }
    }

    /// Who sent learns, after the way back, that nobody is there.
    fn fail(&mut self, from: u32, to: u32) {
        self.queue.push(self.now + self.latency(from, to), Happening::Failed { node: from, peer: to });
    }

    fn latency(&self, one: u32, other: u32) -> u64 {
        let Latency { base_us, spread_us } = self.latency;
        if spread_us == 0 {
            return base_us;
        }
        let pair = (u64::from(one.min(other)) << 32 | u64::from(one.max(other))) ^ self.seed;
        base_us + mixed(pair) % spread_us
    }

    /// Sends a message.
    pub(super) fn send(&mut self, from: u32, to: u32, bytes: Arc<[u8]>) {
        self.sent.add(Kind::of(&bytes));
        self.bytes += bytes.len() as u64;
        self.queue.push(self.now + self.latency(from, to), Happening::Message { from, to, bytes });
    }

    /// Does what a machine asks for.
    fn carry_out(&mut self, node: u32) {
        let Seat::Honest(machine) = &mut self.seats[node as usize] else { return };
        let (actions, deadline) = (machine.drain(), machine.next_deadline());
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    if let Some(to) = self.place(&to) {
                        self.send(node, to, message);
                    }
                }
                Action::Deliver { id, hops, .. } => {
                    if let Some(told) = self.told.get_mut(&id) {
                        told.reached += 1;
                        told.last_hop = told.last_hop.max(hops);
                        told.last_at = self.now;
                    }
                }
                Action::Close { peer } => {
                    if let Some(peer) = self.place(&peer) {
                        let at = self.now + self.latency(node, peer);
                        self.queue.push(at, Happening::Closed { node: peer, peer: node });
                    }
                }
                Action::Isolated => self.isolated += 1,
                Action::Up { .. } | Action::Down { .. } => {}
            }
        }
        if let Some(deadline) = deadline {
            self.wake_at(node, deadline);
        }
    }

    /// Wakes a node then, if it is not woken before.
    pub(super) fn wake_at(&mut self, node: u32, at: u64) {
        let at = at.max(self.now);
        if at < self.wakes[node as usize] {
            self.wakes[node as usize] = at;
            self.queue.push(at, Happening::Wake { node });
        }
    }

    /// The attacker in a place, for a turn of its own.
    pub(super) fn attacker(&mut self, node: u32) -> Option<&mut Attacker> {
        match &mut self.seats[node as usize] {
            Seat::Attacker(attacker) => Some(attacker),
            _ => None,
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood, 2014): neighbouring numbers become unlike ones.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
