//! Shards and coordinators as nodes: commits across shards under crashes, loss, expiry and resharding.
//!
//! A shard is one node that orders commands as they come and holds the keys of its whole committee: its replicas would all do
//! the same, and whether their consensus works is the other machines' business. A coordinator holds no keys, remembers
//! nothing over a crash, and is trusted by nobody.
//!
//! | message | from, to | what is done |
//! |---|---|---|
//! | command | coordinator → shard; a part: shard → shard | ordered at once |
//! | certificate | shard → all | coordinators learn it; shards act on what they have open |
//! | ask | coordinator → shard | the shard says again what it says |
//!
//! Transaction `i` is slot `i`: a shard decides it when it does it, lets it go, or refuses it. That no two shards decide a slot
//! in different ways is atomicity, and what the run checks by itself; [`Watch`] tells what is still locked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::node::{MakeNode, Node, Step, Turn};
use super::rng::Rng;
use crate::algorithms::sc::{
    Certificate, Command, Config, Coordinator, Event, HandoverCertificate, Input, Layout, Manifest, Output,
    Participant, Signature, Statement, Verdict,
};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Member};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

const CONTEXT_KEY: &str = "city-chain v1 simulation sc key";
const CONTEXT_NAME: &str = "city-chain v1 simulation sc name";
const CONTEXT_END: &str = "city-chain v1 simulation sc end";
const CHAIN: Digest = [9; 32];

/// How many of a committee sign: three of four.
const SIGNERS: u16 = 3;

/// What the shards of a run are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Shards of the first layout; their nodes come first.
    pub shards: u16,
    /// Coordinators; their nodes come last.
    pub coordinators: u16,
    /// Transactions, each of two or three shards. Several want the same keys.
    pub transactions: u16,
    /// Time between two blocks of a shard, µs.
    pub block: u64,
    /// The height at which the transactions expire.
    pub expiry: u64,
    /// The height after which each shard crosses the boundary to a layout with one shard more, whose node stands between the
    /// shards' and the coordinators'.
    pub boundary: Option<u64>,
    /// Whether coordinators ask one shard after the other, so that of rivals one always wins.
    pub in_order: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self { shards: 3, coordinators: 2, transactions: 8, block: 10_000, expiry: 60, boundary: None, in_order: true }
    }
}

/// What a run has left open: transactions with locks, and decisions that are not acknowledged, by shard.
pub type Watch = Arc<Mutex<BTreeMap<u16, (usize, usize)>>>;

struct Shared {
    workload: Workload,
    first: Layout,
    second: Layout,
    manifests: Vec<Manifest>,
    watch: Watch,
}

fn keys(shard: u16) -> Vec<SigningKey> {
    let seed = |at: u64| Hasher::new(CONTEXT_KEY).u64(u64::from(shard)).u64(at).finish();
    (0..4).map(|at| SigningKey::from_seed(&seed(at))).collect()
}

fn committees(shards: u16) -> Result<BTreeMap<u16, Committee>> {
    let member = |key: &SigningKey| Member { key: key.public(), weight: 1 };
    (0..shards).map(|shard| Ok((shard, Committee::new(keys(shard).iter().map(member).collect())?))).collect()
}

fn sign(shard: u16, message: &Digest) -> Vec<Signature> {
    let signers = (0..SIGNERS).zip(keys(shard));
    signers.map(|(position, key)| Signature { position, signature: key.sign(message) }).collect()
}

/// Makes the nodes: shards, the one that joins, coordinators.
pub struct Shards(Arc<Shared>);

impl Shards {
    /// Nodes for a workload whose transactions follow from the seed.
    ///
    /// # Errors
    /// [`Error::Input`] if there are fewer than two shards or no coordinators.
    pub fn new(seed: u64, workload: Workload) -> Result<Self> {
        if workload.shards < 2 || workload.shards > 64 || workload.coordinators == 0 {
            return Err(Error::input("shards: 2 to 64 shards and a coordinator are needed"));
        }
        let first = Layout::new(CHAIN, 0, committees(workload.shards)?)?;
        let second = first.next(committees(workload.shards + 1)?)?;
        let manifests = manifests(seed, &workload, &first)?;
        Ok(Self(Arc::new(Shared { workload, first, second, manifests, watch: Watch::default() })))
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u16 {
        self.0.workload.shards + self.0.workload.coordinators + u16::from(self.0.workload.boundary.is_some())
    }

    /// What is still open, as of every shard's last turn.
    pub fn watch(&self) -> Watch {
        Arc::clone(&self.0.watch)
    }
}

fn manifests(seed: u64, workload: &Workload, layout: &Layout) -> Result<Vec<Manifest>> {
    let mut rng = Rng::new(seed, "transactions", 0);
    let mut names: BTreeMap<u16, Vec<Digest>> = BTreeMap::new();
    for at in 0u32..u32::from(workload.shards) * 64 {
        let key = hash::digest(CONTEXT_NAME, &at.to_le_bytes());
        names.entry(layout.shard_of(&key)).or_default().push(key);
    }
    let mut made = Vec::new();
    for number in 0..workload.transactions {
        let mut shards: Vec<u16> = names.keys().copied().collect();
        rng.shuffle(&mut shards);
        shards.truncate(2 + rng.below(2) as usize);
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for shard in shards {
            let Some(key) = names[&shard].get(rng.below(3) as usize).copied() else { continue };
            match rng.below(4) {
                0 => outputs.push(Output { shard, key }),
                _ => inputs.push(Input { shard, key, version: 0 }),
            }
        }
        let mut body = [0; 32];
        body[..2].copy_from_slice(&number.to_le_bytes());
        made.push(Manifest::new(CHAIN, 0, body, workload.expiry, inputs, outputs)?);
    }
    Ok(made)
}

impl MakeNode for Shards {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        let shared = Arc::clone(&self.0);
        let Workload { shards, boundary, .. } = shared.workload;
        let fresh = match me {
            _ if me < shards => Participant::new(me, Config::default(), shared.first.clone())?,
            _ if me == shards && boundary.is_some() => {
                Participant::join(me, Config::default(), shared.first.clone(), shared.second.clone())?
            }
            _ => return Ok(Box::new(Driver { shared, heard: BTreeMap::new() })),
        };
        let machine = Participant::restore(fresh, disk)?;
        Ok(Box::new(Shard { shared, machine, handover: None }))
    }

    fn decides(&self, me: u16) -> bool {
        me < self.nodes() - self.0.workload.coordinators
    }
}

/// A shard.
struct Shard {
    shared: Arc<Shared>,
    machine: Participant,
    handover: Option<HandoverCertificate>,
}

impl Shard {
    /// Carries out what the machine wants.
    fn settle(&mut self, turn: &mut Turn) {
        loop {
            let effects = self.machine.drain();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => turn.step(Step::Persist { ticket, record }),
                    Effect::Output(event) => self.happen(event, turn),
                }
            }
        }
        let open = (self.machine.open().count(), self.machine.decisions().count());
        if let Ok(mut watch) = self.shared.watch.lock() {
            watch.insert(turn.me(), open);
        }
    }

    fn happen(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Say(statement) => self.say(statement, turn),
            Event::Propose(command) => drop(self.machine.on_local_commit(&command)),
            Event::Commit { manifest, .. } => decide(&manifest.body, b"committed", turn),
            Event::Abort { manifest } => decide(&manifest.body, b"aborted", turn),
            Event::HandOver(_) => self.hand_over(),
            Event::Epoch(epoch) => turn.step(Step::Note { kind: "epoch", number: epoch, bytes: Vec::new() }),
        }
    }

    fn say(&mut self, statement: Statement, turn: &mut Turn) {
        let layouts = self.machine.layouts();
        let Some(layout) = layouts.iter().find(|layout| layout.epoch() == statement.epoch) else { return };
        let signatures = sign(layout.speaks_for(statement.shard), &statement.message());
        let made = layout.committee(statement.shard).and_then(|of| Certificate::collect(of, statement, &signatures));
        if let Ok(Ok(bytes)) = made.map(|certificate| wire::encode(&certificate)) {
            turn.broadcast(&bytes);
        }
        let about = self.shared.manifests.iter().find(|manifest| manifest.txid() == Ok(statement.txid));
        if let (Verdict::Abort, Some(manifest)) = (statement.verdict, about) {
            decide(&manifest.body, b"aborted", turn);
        }
    }

    fn hand_over(&mut self) {
        let Some(handover) = self.machine.handover().cloned() else { return };
        let signatures = handover.message().map(|message| sign(handover.shard, &message));
        let committee = self.shared.first.committee(handover.shard);
        if let (Ok(signatures), Ok(committee)) = (signatures, committee) {
            self.handover = HandoverCertificate::collect(committee, handover, &signatures).ok();
        }
    }

    /// Crosses the boundary when its height has come, and sends parts until they are taken over.
    fn reshard(&mut self, turn: &mut Turn) {
        let Some(boundary) = self.shared.workload.boundary else { return };
        if self.machine.height() > boundary && self.machine.layout().epoch() == 0 {
            let layout = self.shared.second.clone();
            let _ = self.machine.on_local_commit(&Command::Boundary { layout, application: [0; 32] });
        }
        if self.handover.is_none() {
            self.hand_over();
        }
        let Some(handover) = &self.handover else { return };
        for part in self.machine.exports() {
            let import = Command::Import { part: part.clone(), handover: handover.clone() };
            if let Ok(bytes) = wire::encode(&import) {
                turn.send(part.to, bytes);
            }
        }
    }

    /// What others need and only the decider still has.
    fn show_kept(&self, manifest: &Manifest, turn: &mut Turn) {
        let Ok(txid) = manifest.txid() else { return };
        for (_, decision) in self.machine.decisions().filter(|(id, _)| **id == txid) {
            for certificate in decision.certificates.iter() {
                if let Ok(bytes) = wire::encode(certificate) {
                    turn.broadcast(&bytes);
                }
            }
        }
    }
}

fn decide(body: &Digest, end: &[u8], turn: &mut Turn) {
    let slot = u64::from(u16::from_le_bytes([body[0], body[1]]));
    turn.step(Step::Decide { slot, value: hash::digest(CONTEXT_END, end) });
}

impl Node for Shard {
    fn start(&mut self, turn: &mut Turn) {
        let _ = self.machine.restate();
        self.settle(turn);
        turn.step(Step::Wake { at: turn.now() + self.shared.workload.block });
    }

    fn receive(&mut self, _from: u16, message: &[u8], turn: &mut Turn) {
        if let Ok(command) = wire::decode::<Command>(message) {
            let _ = self.machine.on_local_commit(&command);
            if let Command::Expire { manifest } = &command {
                self.show_kept(manifest, turn);
            }
        } else if let Ok(manifest) = wire::decode::<Manifest>(message) {
            let _ = self.machine.ask(&manifest);
        } else {
            let _ = self.machine.on_certificate(message);
        }
        self.settle(turn);
    }

    fn wake(&mut self, turn: &mut Turn) {
        let _ = self.machine.tick_height(self.machine.height() + 1);
        self.reshard(turn);
        self.settle(turn);
        turn.step(Step::Wake { at: turn.now() + self.shared.workload.block });
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        let _ = self.machine.durable(ticket);
        self.settle(turn);
    }
}

/// A coordinator: what it has heard, and nothing else.
struct Driver {
    shared: Arc<Shared>,
    heard: BTreeMap<Digest, Vec<Certificate>>,
}

impl Driver {
    /// Sends what is to be done next about every transaction that is not over.
    fn drive(&mut self, ask: bool, turn: &mut Turn) {
        let layouts = [&self.shared.first, &self.shared.second];
        let layout = match self.shared.workload.boundary {
            Some(_) => &self.shared.second,
            None => &self.shared.first,
        };
        for manifest in &self.shared.manifests {
            let Ok(txid) = manifest.txid() else { continue };
            let heard = self.heard.get(&txid).cloned().unwrap_or_default();
            let Ok(all) = Coordinator::from_certificates(manifest.clone(), heard, layouts) else { continue };
            let mut todo = all.next(layout, self.shared.workload.in_order).unwrap_or_default();
            if ask && !all.is_finished(layout) {
                todo.push(all.expire(layout));
                let bytes = wire::encode(manifest).unwrap_or_default();
                (0..self.shared.workload.shards + 1).for_each(|shard| turn.send(shard, bytes.clone()));
            }
            for (shard, command) in todo {
                if let Ok(bytes) = wire::encode(&command) {
                    turn.send(shard, bytes);
                }
            }
        }
    }
}

impl Node for Driver {
    fn start(&mut self, turn: &mut Turn) {
        self.drive(false, turn);
        turn.step(Step::Wake { at: turn.now() + 5 * self.shared.workload.block });
    }

    fn receive(&mut self, _from: u16, message: &[u8], _turn: &mut Turn) {
        let Ok(certificate) = wire::decode::<Certificate>(message) else { return };
        let known = self.heard.entry(certificate.statement.txid).or_default();
        if known.len() < 64 && !known.contains(&certificate) {
            known.push(certificate);
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        self.drive(true, turn);
        turn.step(Step::Wake { at: turn.now() + 5 * self.shared.workload.block });
    }

    fn durable(&mut self, _ticket: u64, _turn: &mut Turn) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Faults, Moment, Network, Point, Simulation, Storm};

    /// Runs, and sees that every transaction has ended everywhere.
    fn ends(seed: u64, workload: Workload, network: Network, faults: Faults, until: u64) -> BTreeMap<u64, Digest> {
        let shards = Shards::new(seed, workload).unwrap();
        let (nodes, watch) = (shards.nodes(), shards.watch());
        let mut run = Simulation::new(seed, nodes, network, faults, shards).unwrap();
        run.run(until).unwrap_or_else(|failure| panic!("{failure}"));
        let left = watch.lock().unwrap().clone();
        assert!(left.values().all(|open| *open == (0, 0)), "seed {seed}: {left:?}");
        run.agreement().slots().iter().map(|(slot, decision)| (*slot, decision.value)).collect()
    }

    fn committed(ends: &BTreeMap<u64, Digest>) -> usize {
        ends.values().filter(|value| **value == hash::digest(CONTEXT_END, b"committed")).count()
    }

    #[test]
    fn where_nothing_goes_wrong_one_of_the_rivals_wins() {
        let ends = ends(1, Workload::default(), Network::default(), Faults::none(), 2_000_000);
        assert_eq!(ends.len(), 8);
        assert!(committed(&ends) >= 1, "of rivals one wins");
    }

    #[test]
    fn coordinators_and_shards_crash_and_messages_are_lost() {
        for seed in 0..3 {
            let storm = Storm { begin: 0, end: 700_000, every: 20_000, down: 60_000, at_once: 2 };
            let faults = Faults { crashes: Vec::new(), storm: Some(storm) };
            let network = Network { calm: Some(800_000), ..Network::hostile() };
            let workload = Workload { in_order: seed % 2 == 0, ..Workload::default() };
            let ends = ends(seed, workload, network, faults, 3_000_000);
            assert_eq!(ends.len(), 8, "seed {seed}");
        }
    }

    #[test]
    fn a_shard_crashes_around_every_record() {
        for at in 0..6 {
            for when in [Moment::Before(Point::Persist, at), Moment::After(Point::Durable, at)] {
                let faults = Faults::crash(2, when, 50_000);
                ends(7, Workload { transactions: 4, ..Workload::default() }, Network::default(), faults, 1_500_000);
            }
        }
    }

    #[test]
    fn the_expiry_races_the_commit() {
        // The transactions expire while their votes are on the way.
        for seed in 0..2 {
            for expiry in 1..4 {
                let workload = Workload { expiry, transactions: 5, block: 3_000, ..Workload::default() };
                ends(seed, workload, Network { calm: Some(400_000), ..Network::hostile() }, Faults::none(), 2_000_000);
            }
        }
    }

    #[test]
    fn a_shard_comes_in_mid_transaction() {
        for seed in 0..4 {
            let in_order = seed % 2 == 0;
            let workload = Workload { boundary: Some(seed), in_order, transactions: 6, ..Workload::default() };
            ends(seed, workload, Network::default(), Faults::none(), 3_000_000);
        }
    }

    #[test]
    fn a_shard_stands_still_for_an_epoch() {
        // It is down while the others cross the boundary and the transactions expire.
        let faults = Faults::crash(1, Moment::At(30_000), 900_000);
        let workload = Workload { boundary: Some(5), transactions: 6, ..Workload::default() };
        ends(3, workload, Network::default(), faults, 4_000_000);
    }

    #[test]
    fn a_seed_replays_byte_for_byte() {
        let run = || {
            let shards = Shards::new(5, Workload::default()).unwrap();
            let mut run = Simulation::new(5, shards.nodes(), Network::hostile(), Faults::none(), shards).unwrap();
            run.run(300_000).unwrap();
            run.trace().digest()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn what_is_no_workload_is_refused() {
        assert!(Shards::new(0, Workload { shards: 1, ..Workload::default() }).is_err());
        assert!(Shards::new(0, Workload { coordinators: 0, ..Workload::default() }).is_err());
    }
}
