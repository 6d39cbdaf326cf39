//! A small network in virtual time: ordered links of 10 to 30 ms, crashes and partitions that close connections. Shared with
//! the scenarios of the mutants, which name what they use in the module above.

use super::*;

/// A millisecond.
pub const MS: u64 = 1000;
/// A second.
pub const SECOND: u64 = 1_000_000;

/// A key of the tests.
pub fn key(number: u64) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed)
}

/// A signed contact.
pub fn signed(number: u64, life: u64) -> Contact {
    Contact::new(&key(number), &[0; 32], &format!("10.0.0.1:{number}"), life).unwrap()
}

/// The id of a node without keys.
pub fn id(number: u64) -> PeerId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id
}

/// A contact without keys.
pub fn plain(number: u64) -> Contact {
    Contact::unsigned(id(number), "x", 1).unwrap()
}

/// A node without keys.
pub fn node(number: u64, config: &Config) -> Hvp {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Hvp::new(plain(number), seed, config.clone(), Trust::Unsigned).unwrap()
}

/// What a node says, decoded; other actions are left out.
pub fn said(actions: &[Action]) -> Vec<(PeerId, Control)> {
    let controls = actions.iter().filter_map(|action| match action {
        Action::Send { to, message } => wire::decode::<Message>(message).ok().map(|Message(said)| (*to, said)),
        _ => None,
    });
    controls.collect()
}

/// A control message's bytes.
pub fn bytes(said: Control) -> Vec<u8> {
    wire::encode(&Message(said)).unwrap()
}

/// Makes `peer` a neighbour of `node`: it asks and is taken in.
pub fn befriend(node: &mut Hvp, now: u64, contact: &Contact) {
    let ask = bytes(Control::Neighbor { priority: Priority::Low, contact: contact.clone() });
    node.handle(now, &contact.id, &ask).unwrap();
    assert!(node.active().contains(&contact.id));
    node.drain();
}

/// A broadcast as it comes over a link, not signed.
pub fn gossip(origin: u64, number: u64, payload: &[u8]) -> Gossip {
    Gossip {
        hops: 1,
        origin: id(origin),
        life: 1,
        number,
        signature: [0; 64],
        topic: Bytes::default(),
        payload: Bytes::new("payload", payload.to_vec()).unwrap(),
    }
}

/// What was delivered, by id: payload and hops.
pub type Got = BTreeMap<[u8; 32], (Vec<u8>, u8)>;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Message(usize, PeerId, Vec<u8>),
    Down(usize, PeerId),
}

/// The network; node `n` has the id of `n`.
pub struct Net {
    pub nodes: Vec<Hvp>,
    pub alive: Vec<bool>,
    pub side: Vec<u8>,
    pub now: u64,
    pub got: Vec<Got>,
    pub order: Vec<Vec<Vec<u8>>>,
    pub isolated: BTreeSet<usize>,
    pub sends: u64,
    pub bytes: u64,
    pub twice: usize,
    chance: u64,
    queue: BTreeMap<(u64, u64), Event>,
    last: BTreeMap<(usize, usize), u64>,
    count: u64,
}

impl Net {
    /// So many nodes, each joining over a random earlier one, 20 ms apart.
    pub fn new(nodes: u64, config: &Config) -> Self {
        let mut net = Self::empty(nodes, config, 1);
        for number in 0..nodes {
            let over: Vec<Contact> = if number == 0 { Vec::new() } else { vec![plain(net.below(number))] };
            net.nodes[number as usize].join(net.now, &over).unwrap();
            net.settle(number as usize);
            net.run(20 * MS);
        }
        net
    }

    /// So many nodes that have not joined yet.
    pub fn empty(nodes: u64, config: &Config, seed: u64) -> Self {
        Self {
            nodes: (0..nodes).map(|number| node(number, config)).collect(),
            alive: vec![true; nodes as usize],
            side: vec![0; nodes as usize],
            now: 0,
            got: vec![BTreeMap::new(); nodes as usize],
            order: vec![Vec::new(); nodes as usize],
            isolated: BTreeSet::new(),
            sends: 0,
            bytes: 0,
            twice: 0,
            chance: seed,
            queue: BTreeMap::new(),
            last: BTreeMap::new(),
            count: 0,
        }
    }

    /// One more node, which joins over these contacts.
    pub fn add(&mut self, config: &Config, contacts: &[Contact]) {
        let at = self.nodes.len();
        self.nodes.push(node(at as u64, config));
        self.alive.push(true);
        self.side.push(0);
        self.got.push(BTreeMap::new());
        self.order.push(Vec::new());
        self.nodes[at].join(self.now, contacts).unwrap();
        self.settle(at);
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.chance >> 33) % bound
    }

    fn place(peer: &PeerId) -> usize {
        u64::from_le_bytes(peer[..8].try_into().unwrap()) as usize
    }

    fn apart(&self, one: usize, two: usize) -> bool {
        !self.alive[one] || !self.alive[two] || self.side[one] != self.side[two]
    }

    fn push(&mut self, from: usize, to: usize, event: Event) {
        let at = self.now + 10 * MS + self.below(20 * MS);
        let at = at.max(self.last.get(&(from, to)).copied().unwrap_or(0));
        self.last.insert((from, to), at);
        self.count += 1;
        self.queue.insert((at, self.count), event);
    }

    /// Carries out what a node wants done.
    pub fn settle(&mut self, at: usize) {
        for action in self.nodes[at].drain() {
            match action {
                Action::Send { to, message } => {
                    assert!(
                        self.nodes[at].contact(&to).is_some()
                            || self.nodes[Self::place(&to)].contact(&id(at as u64)).is_some()
                    );
                    self.sends += 1;
                    self.bytes += message.len() as u64;
                    let place = Self::place(&to);
                    let apart = self.apart(at, place);
                    let (target, event) = if apart {
                        (at, Event::Down(at, to))
                    } else {
                        (place, Event::Message(place, id(at as u64), message.to_vec()))
                    };
                    self.push(at, target, event);
                }
                Action::Deliver { id, payload, hops, .. } => {
                    self.order[at].push(payload.clone());
                    self.twice += usize::from(self.got[at].insert(id, (payload, hops)).is_some());
                }
                Action::Isolated => {
                    self.isolated.insert(at);
                }
                Action::Up { .. } | Action::Down { .. } | Action::Close { .. } => {}
            }
        }
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: u64) {
        let end = self.now + time;
        loop {
            let due = (0..self.nodes.len()).filter(|at| self.alive[*at]);
            let tick = due.filter_map(|at| self.nodes[at].next_deadline().map(|time| (time.max(self.now), at))).min();
            let event = self.queue.keys().next().map(|(time, _)| *time);
            match (tick, event) {
                (Some((time, at)), event) if time <= end && event.is_none_or(|other| time <= other) => {
                    self.now = time;
                    self.nodes[at].tick(time);
                    self.settle(at);
                }
                (_, Some(time)) if time <= end => {
                    let (_, event) = self.queue.pop_first().unwrap();
                    self.now = time;
                    self.carry(event);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Lets time pass until nothing is on its way and nobody waits for an answer; whether that came to be in the time.
    pub fn run_to_quiet(&mut self, time: u64) -> bool {
        let end = self.now + time;
        while self.now < end {
            self.run(100 * MS);
            let idle = |at: &usize| !self.alive[*at] || self.nodes[*at].stats().asked == 0;
            if self.queue.is_empty() && (0..self.nodes.len()).all(|at| idle(&at)) {
                return true;
            }
        }
        false
    }

    fn carry(&mut self, event: Event) {
        let at = match event {
            Event::Message(at, from, message) => {
                if self.apart(at, Self::place(&from)) {
                    return;
                }
                let _ = self.nodes[at].handle(self.now, &from, &message);
                at
            }
            Event::Down(at, peer) => {
                self.nodes[at].peer_down(self.now, &peer);
                at
            }
        };
        if self.alive[at] {
            self.settle(at);
        }
    }

    /// Connections that go between the living and the dead, or from side to side, close.
    pub fn close(&mut self) {
        for at in 0..self.nodes.len() {
            for peer in self.nodes[at].active() {
                if self.apart(at, Self::place(&peer)) {
                    self.push(at, at, Event::Down(at, peer));
                }
            }
        }
    }

    /// A node sends a broadcast.
    pub fn broadcast(&mut self, from: usize, payload: &[u8]) -> [u8; 32] {
        let id = self.nodes[from].broadcast(self.now, b"", payload).unwrap();
        self.settle(from);
        id
    }

    /// How many of the living, the origin aside, have a broadcast.
    pub fn reached(&self, id: &[u8; 32]) -> usize {
        (0..self.nodes.len()).filter(|at| self.alive[*at] && self.got[*at].contains_key(id)).count()
    }

    /// The parts that the links of the living make, the largest first.
    pub fn parts(&self) -> Vec<usize> {
        let mut left: BTreeSet<usize> = (0..self.nodes.len()).filter(|at| self.alive[*at]).collect();
        let mut parts = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut open, mut size) = (vec![first], 0);
            while let Some(at) = open.pop() {
                size += 1;
                for peer in self.nodes[at].active() {
                    if left.remove(&Self::place(&peer)) {
                        open.push(Self::place(&peer));
                    }
                }
            }
            parts.push(size);
        }
        parts.sort_by(|one, two| two.cmp(one));
        parts
    }

    /// What must hold of the views at any time.
    pub fn check(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let (active, passive, config) = (node.active(), node.passive(), node.config());
            assert!(active.len() <= config.active && passive.len() <= config.passive);
            let all: BTreeSet<PeerId> = active.iter().chain(&passive).copied().collect();
            assert_eq!(all.len(), active.len() + passive.len(), "a peer is in a view twice, or in both");
            assert!(!all.contains(&id(at as u64)), "a node knows itself");
        }
    }

    /// What must hold when nothing is on its way.
    pub fn check_symmetric(&self) {
        for at in (0..self.nodes.len()).filter(|at| self.alive[*at]) {
            for peer in self.nodes[at].active() {
                let other = Self::place(&peer);
                assert!(self.alive[other], "node {at} is linked to the dead {other}");
                assert!(
                    self.nodes[other].active().contains(&id(at as u64)),
                    "the link from {at} to {other} is one-sided"
                );
            }
        }
    }
}
