//! HotStuff validators as nodes: the machine, a payload whenever it is this validator's turn, and the journal on the
//! simulated disk. Validators given an [`Attack`] hold their real keys and break the rules.
//!
//! What is decided is the block's id, in the slot of its height. Every commit is checked where it happens: it follows the
//! block that was committed before, its proof verifies for anybody who has the committee, and nobody honest is accused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::node::{MakeNode, Node, Turn};
use crate::algorithms::hs::message::payload_digest;
use crate::algorithms::hs::{self, CommitProof, Event, Evidence, HotStuff, Keys};
use crate::crypto::bls::{self, ShownKey};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Member};
use crate::primitives::machine::Machine;
use crate::primitives::wire;

mod attack;

pub use attack::{Attack, Recording};

#[cfg(test)]
mod tests;

/// The largest batch, bytes.
pub const BATCH_MAX: usize = hs::message::PAYLOAD_MAX;

/// The epoch of all runs.
pub const EPOCH: u64 = 7;

const CONTEXT_KEY: &str = "city-chain v1 simulation hotstuff key";
const CONTEXT_CHAIN: &str = "city-chain v1 simulation hotstuff chain";

/// Blocks that are committed after the last one that counts: the first to know of that is not the only one then.
const MORE: u64 = 2;

/// What every right payload begins with.
const MARK: &[u8; 8] = b"payload ";

/// The seed of a node's keys: the same in all runs, so that what is signed in one can be replayed in another.
pub fn key(node: u16) -> Digest {
    Hasher::new(CONTEXT_KEY).u64(u64::from(node)).finish()
}

/// The keys of some nodes, and the committee of them with weight 1 each; with aggregate keys or without.
///
/// # Errors
/// What [`Committee::new`] refuses.
pub(super) fn city(nodes: u16, aggregates: bool) -> Result<(Vec<Keys>, Committee)> {
    let signing: Vec<SigningKey> = (0..nodes).map(|node| SigningKey::from_seed(&key(node))).collect();
    let committee = Committee::new(signing.iter().map(|key| Member { key: key.public(), weight: 1 }).collect())?;
    if !aggregates {
        return Ok((signing.into_iter().map(Keys::from).collect(), committee));
    }
    let secrets = (0..nodes).map(|node| bls::SecretKey::of_master(&key(node))).collect::<Result<Vec<_>>>()?;
    let committee = committee.with_aggregates(&secrets.iter().map(ShownKey::of).collect::<Vec<_>>())?;
    Ok((signing.into_iter().zip(secrets).map(Keys::from).collect(), committee))
}

/// What validators do in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a payload, at least 32.
    pub batch: usize,
    /// They decide so many blocks, then wait for nothing; a few more are proposed, which bring the last ones to all.
    pub slots: u64,
    /// How the machine is set up.
    pub machine: hs::Config,
    /// Whether certificates are one signature; `None` where there are enough validators for that to be worth it.
    pub aggregates: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch: 64, slots: u64::MAX, machine: hs::Config::default(), aggregates: None }
    }
}

/// What the nodes of a run have in common: what all know, and what the run knows of all.
struct Shared {
    config: Config,
    keys: Vec<Keys>,
    committee: Committee,
    chain: Digest,
    genesis: Digest,
    /// The height of every block that somebody honest committed.
    heights: Mutex<BTreeMap<Digest, u64>>,
    /// Whose disk has held something: an empty one was lost.
    begun: Mutex<BTreeSet<u16>>,
    honest: BTreeSet<u16>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn key(&self, me: u16) -> Result<Keys> {
        let key = self.keys.get(usize::from(me)).cloned();
        key.ok_or_else(|| Error::input(format!("hotstuff: node {me} of {} validators", self.keys.len())))
    }

    fn machine(&self, me: u16, disk: &[Vec<u8>]) -> Result<HotStuff> {
        let (committee, config, key) = (self.committee.clone(), self.config.machine.clone(), self.key(me)?);
        let lost = disk.is_empty() && lock(&self.begun).contains(&me);
        if disk.is_empty() && !lost {
            return HotStuff::new(self.chain, EPOCH, committee, key, self.genesis, config);
        }
        HotStuff::restore(self.chain, EPOCH, committee, key, self.genesis, config, disk, lost)
    }

    /// What a leader proposes: another payload for each leader, round and parent.
    fn payload(&self, me: u16, round: u64, parent: &Digest) -> Vec<u8> {
        let mut payload = [&MARK[..], &round.to_le_bytes(), &me.to_le_bytes(), &parent[..14]].concat();
        payload.resize(self.config.batch, 0);
        payload
    }
}

/// Validators of weight 1 each, with keys made from their places.
pub struct Validators {
    shared: Arc<Shared>,
    attacks: BTreeMap<u16, Attack>,
}

impl Validators {
    /// `nodes` validators of the chain that belongs to `seed`; those in `attacks` are not honest.
    ///
    /// # Errors
    /// [`Error::Input`] if there are too many, the payload is too small or too large, or what the machine refuses.
    pub fn new(seed: u64, nodes: u16, config: Config, attacks: BTreeMap<u16, Attack>) -> Result<Self> {
        if !(32..=BATCH_MAX).contains(&config.batch) {
            return Err(Error::input(format!(
                "hotstuff: payloads of {} bytes, 32 to {BATCH_MAX} are allowed",
                config.batch
            )));
        }
        let (keys, committee) = city(nodes, config.aggregates.unwrap_or(nodes >= hs::AGGREGATE_FROM))?;
        let chain = hash::digest(CONTEXT_CHAIN, &seed.to_le_bytes());
        let shared = Shared {
            config,
            keys,
            committee,
            chain,
            genesis: chain,
            heights: Mutex::new(BTreeMap::from([(chain, 0)])),
            begun: Mutex::new(BTreeSet::new()),
            honest: (0..nodes).filter(|node| !attacks.contains_key(node)).collect(),
        };
        shared.machine(0, &[])?;
        Ok(Self { shared: Arc::new(shared), attacks })
    }
}

impl MakeNode for Validators {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        match self.attacks.get(&me) {
            Some(attack) => attack::node(Arc::clone(&self.shared), me, attack.clone()),
            None => Ok(Box::new(Validator::new(Arc::clone(&self.shared), me, disk)?)),
        }
    }

    fn is_honest(&self, me: u16) -> bool {
        !self.attacks.contains_key(&me)
    }
}

/// One honest validator.
struct Validator {
    shared: Arc<Shared>,
    me: u16,
    machine: HotStuff,
    /// Id and height of the block that was committed last.
    last: (Digest, u64),
}

impl Validator {
    fn new(shared: Arc<Shared>, me: u16, disk: &[Vec<u8>]) -> Result<Self> {
        let machine = shared.machine(me, disk)?;
        let id = machine.committed().1;
        let height = lock(&shared.heights).get(&id).copied();
        let height = height.ok_or_else(|| Error::protocol("hotstuff: its journal names a commit that nobody made"))?;
        Ok(Self { shared, me, machine, last: (id, height) })
    }

    fn done(&self) -> bool {
        self.last.1 >= self.shared.config.slots
    }

    /// Carries out what the machine asks for, after a call that gave `outcome`.
    fn go_on(&mut self, outcome: Result<()>, turn: &mut Turn) {
        if let Err(error) = outcome {
            turn.note("refused", self.machine.round(), error.to_string().into_bytes());
        }
        let Self { shared, me, machine, last } = self;
        turn.carry_out(machine, |machine, turn, event| {
            if let Err(error) = Self::happened(shared, *me, machine, last, turn, event) {
                turn.fail(error.to_string());
            }
        });
    }

    fn happened(
        shared: &Shared,
        me: u16,
        machine: &mut HotStuff,
        last: &mut (Digest, u64),
        turn: &mut Turn,
        event: Event,
    ) -> Result<()> {
        let now = turn.now();
        match event {
            Event::NeedPayload { round, parent } => {
                let full = last.1 >= shared.config.slots.saturating_add(MORE);
                if !full && let Err(error) = machine.propose(shared.payload(me, round, &parent), now) {
                    turn.note("refused", round, error.to_string().into_bytes());
                }
                Ok(())
            }
            Event::ValidatePayload { block, payload, .. } => {
                machine.payload_result(block, payload.starts_with(MARK), now)
            }
            Event::Commit { block, payload, proof } => {
                *last = Self::committed(shared, *last, &block, &payload, &proof)?;
                if last.1 <= shared.config.slots {
                    turn.decide(last.1, block);
                }
                Ok(())
            }
            Event::Evidence(bytes) => {
                let evidence: Evidence = wire::decode(&bytes)?;
                let guilty = evidence.verify(&shared.committee, &shared.chain, EPOCH)?;
                if shared.honest.contains(&guilty) {
                    return Err(Error::protocol(format!("hotstuff: node {guilty} is honest and accused")));
                }
                turn.note("evidence", u64::from(guilty), bytes);
                Ok(())
            }
            Event::EnteredRound { round } => {
                turn.note("round", round, Vec::new());
                Ok(())
            }
        }
    }

    /// Checks a commit; returns the block and its height.
    fn committed(
        shared: &Shared,
        last: (Digest, u64),
        block: &Digest,
        payload: &[u8],
        proof: &CommitProof,
    ) -> Result<(Digest, u64)> {
        let wrong = |what: &str| Err(Error::protocol(format!("hotstuff commit: {what}")));
        let proven = proof.verify(&shared.committee, &shared.chain, EPOCH)?;
        let Some(header) = proof.header().filter(|header| header.id() == *block) else {
            return wrong("the proof is of another block");
        };
        if proven != payload_digest(payload) || !payload.starts_with(MARK) {
            return wrong("the payload is not the proven one, or none that may be");
        }
        if header.parent != last.0 {
            return wrong("the block does not follow the one committed before");
        }
        let height = last.1 + 1;
        let known = *lock(&shared.heights).entry(*block).or_insert(height);
        if known != height {
            return wrong("the block has two heights");
        }
        Ok((*block, height))
    }
}

impl Node for Validator {
    fn start(&mut self, turn: &mut Turn) {
        let outcome = self.machine.start(turn.now());
        self.go_on(outcome, turn);
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        let outcome = self.machine.handle(from, message, turn.now());
        self.go_on(outcome, turn);
    }

    fn wake(&mut self, turn: &mut Turn) {
        if !self.done() {
            let outcome = self.machine.tick(turn.now());
            self.go_on(outcome, turn);
        }
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        lock(&self.shared.begun).insert(self.me);
        let outcome = self.machine.durable(ticket);
        self.go_on(outcome, turn);
    }
}
