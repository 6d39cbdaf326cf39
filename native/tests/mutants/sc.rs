//! The mutants of sharding and the scenarios that kill them.

use std::collections::{BTreeMap, BTreeSet};

use city_chain_native::algorithms::sc::{
    Certificate, Certificates, Command, Config, Coordinator, Event, HandoverCertificate, Input, Layout, Manifest,
    Output, Participant, Signature, Statement, Verdict,
};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash::{self, Digest};
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::outbox::Effect;

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    ("sc.old_session", an_abort_of_an_earlier_attempt_is_replayed),
    ("sc.output_only", an_output_only_shard_is_passed_over),
    ("sc.version_kept", an_old_version_is_tried_again_after_an_abort),
    ("sc.unilateral_expiry", the_expiry_comes_before_the_commit),
    ("sc.tombstone_dropped", a_refused_output_is_asked_again),
    ("sc.locks_left", a_key_moves_while_it_is_locked),
    ("sc.foreign_certificate", the_vote_of_one_shard_is_shown_for_another),
    ("sc.decision_forgotten", the_decider_is_asked_after_the_expiry),
    ("sc.decider_early", the_decider_is_asked_before_the_others),
];

const CHAIN: Digest = [7; 32];

fn keys(shard: u16) -> [SigningKey; 4] {
    [0, 1, 2, 3].map(|at| SigningKey::from_seed(&hash::digest("city-chain v1 test key", &[shard as u8, at])))
}

fn committees(shards: &[u16]) -> BTreeMap<u16, Committee> {
    let members = |shard: u16| keys(shard).iter().map(|key| Member { key: key.public(), weight: 1 }).collect();
    shards.iter().map(|shard| (*shard, Committee::new(members(*shard)).unwrap())).collect()
}

fn sign(shard: u16, message: &Digest) -> Vec<Signature> {
    (0u16..)
        .zip(keys(shard))
        .take(3)
        .map(|(position, key)| Signature { position, signature: key.sign(message) })
        .collect()
}

/// Shards whose consensus orders at once and whose committees sign everything.
struct World {
    layout: Layout,
    layouts: Vec<Layout>,
    shards: BTreeMap<u16, Participant>,
    said: Vec<Certificate>,
    done: Vec<(u16, Digest, bool)>,
    handed_over: BTreeMap<u16, HandoverCertificate>,
}

impl World {
    fn new(numbers: &[u16]) -> Self {
        let layout = Layout::new(CHAIN, 5, committees(numbers)).unwrap();
        let make = |shard: &u16| (*shard, Participant::new(*shard, Config::default(), layout.clone()).unwrap());
        Self {
            shards: numbers.iter().map(make).collect(),
            layouts: vec![layout.clone()],
            layout,
            said: Vec::new(),
            done: Vec::new(),
            handed_over: BTreeMap::new(),
        }
    }

    fn at(&mut self, shard: u16) -> &mut Participant {
        self.shards.get_mut(&shard).unwrap()
    }

    /// The number-th key that a shard has.
    fn key(&self, shard: u16, number: usize) -> Digest {
        let keys = (0u32..).map(|at| hash::digest("city-chain v1 test name", &at.to_le_bytes()));
        keys.filter(|key| self.layout.shard_of(key) == shard).nth(number).unwrap()
    }

    fn manifest(&self, body: u8, inputs: &[(u16, usize)], outputs: &[(u16, usize)]) -> Manifest {
        let input = |&(shard, number): &(u16, usize)| {
            let key = self.key(shard, number);
            Input { shard, key, version: self.shards[&shard].version(&key) }
        };
        let output = |&(shard, number): &(u16, usize)| Output { shard, key: self.key(shard, number) };
        let (inputs, outputs) = (inputs.iter().map(input).collect(), outputs.iter().map(output).collect());
        Manifest::new(CHAIN, self.layout.since(), [body; 32], 10, inputs, outputs).unwrap()
    }

    fn order(&mut self, shard: u16, command: &Command) -> Result<Vec<Certificate>, String> {
        self.at(shard).on_local_commit(command).map_err(|error| error.to_string())?;
        Ok(self.settle(shard))
    }

    fn settle(&mut self, shard: u16) -> Vec<Certificate> {
        let from = self.said.len();
        loop {
            let effects = self.at(shard).drain();
            if effects.is_empty() {
                return self.said[from..].to_vec();
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, .. } => self.at(shard).durable(ticket).unwrap(),
                    Effect::Output(event) => self.happen(shard, event),
                }
            }
        }
    }

    fn happen(&mut self, shard: u16, event: Event) {
        match event {
            Event::Say(statement) => {
                let layout = self.layouts.iter().find(|layout| layout.epoch() == statement.epoch).unwrap();
                let signatures = sign(layout.speaks_for(statement.shard), &statement.message());
                let committee = layout.committee(statement.shard).unwrap();
                self.said.push(Certificate::collect(committee, statement, &signatures).unwrap());
            }
            Event::HandOver(handover) => {
                let signatures = sign(shard, &handover.message().unwrap());
                let committee = self.layout.committee(shard).unwrap();
                let certificate = HandoverCertificate::collect(committee, handover, &signatures).unwrap();
                self.handed_over.insert(shard, certificate);
            }
            Event::Commit { manifest, .. } => self.done.push((shard, manifest.txid().unwrap(), true)),
            Event::Abort { manifest } => self.done.push((shard, manifest.txid().unwrap(), false)),
            Event::Propose(_) | Event::Epoch(_) => {}
        }
    }

    fn prepare(&mut self, shard: u16, manifest: &Manifest, votes: &[Certificate]) -> Result<Vec<Certificate>, String> {
        let certificates = Certificates::new("certificates", votes.to_vec()).unwrap();
        self.order(shard, &Command::Prepare { manifest: manifest.clone(), certificates })
    }

    fn tick(&mut self, height: u64) {
        for shard in self.shards.keys().copied().collect::<Vec<_>>() {
            self.at(shard).tick_height(height).unwrap();
            self.settle(shard);
        }
    }

    fn drive(&mut self, manifest: &Manifest) {
        for _ in 0..8 {
            let all = Coordinator::from_certificates(manifest.clone(), self.said.clone(), &self.layouts).unwrap();
            for (shard, command) in all.next(&self.layout, false).unwrap() {
                let _ = self.order(shard, &command);
            }
        }
    }

    /// All shards of `shards` have done it.
    fn all_did(&self, manifest: &Manifest, shards: &[u16]) -> Result<(), String> {
        let txid = manifest.txid().unwrap();
        match shards.iter().find(|shard| !self.done.contains(&(**shard, txid, true))) {
            Some(shard) => Err(format!("shard {shard} has not done what others did")),
            None => Ok(()),
        }
    }

    /// Nobody does what another lets go or refuses, and nobody contradicts itself.
    fn check(&self) -> Result<(), String> {
        for (shard, txid, committed) in &self.done {
            if let Some((other, ..)) = self.done.iter().find(|(_, id, end)| id == txid && end != committed) {
                return Err(format!("shard {shard} and shard {other} end a transaction in different ways"));
            }
        }
        let mut words: BTreeSet<(Digest, u16, Verdict)> = BTreeSet::new();
        for Certificate { statement: Statement { txid, shard, verdict, .. }, .. } in &self.said {
            words.insert((*txid, *shard, *verdict));
        }
        for (txid, shard, verdict) in &words {
            if *verdict != Verdict::Abort {
                continue;
            }
            if words.contains(&(*txid, *shard, Verdict::Prepared)) {
                return Err(format!("shard {shard} says Prepared and Abort"));
            }
            if let Some((other, ..)) = self.done.iter().find(|(_, id, committed)| id == txid && *committed) {
                return Err(format!("shard {other} does what shard {shard} refuses"));
            }
        }
        Ok(())
    }
}

/// A transaction of shards 1 and 2 whose first attempt shard 2 refuses; then the second attempt, decided by shard 2.
fn an_abort_of_an_earlier_attempt_is_replayed() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let first = world.manifest(1, &[(1, 0), (2, 0)], &[]);
    let other = world.manifest(9, &[(2, 0), (3, 0)], &[]);
    world.prepare(2, &other, &[])?;
    world.prepare(1, &first, &[])?;
    let refused = world.prepare(2, &first, &[])?.remove(0);
    world.drive(&first);
    world.drive(&other);
    let again = world.manifest(1, &[(1, 0), (2, 0)], &[]);
    let votes = world.prepare(1, &again, &[])?;
    world.prepare(2, &again, &votes)?;
    let _ = world.order(1, &Command::Abort { manifest: again.clone(), certificate: refused });
    world.drive(&again);
    world.check()?;
    world.all_did(&again, &[1, 2])
}

/// Shard 1 has an output only, which another transaction has locked.
fn an_output_only_shard_is_passed_over() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let other = world.manifest(9, &[(1, 0), (3, 0)], &[]);
    world.prepare(1, &other, &[])?;
    let manifest = world.manifest(1, &[(2, 0), (3, 1)], &[(1, 0)]);
    world.prepare(1, &manifest, &[])?;
    let votes = world.prepare(2, &manifest, &[])?;
    let _ = world.prepare(3, &manifest, &votes);
    world.drive(&manifest);
    world.check()
}

fn an_old_version_is_tried_again_after_an_abort() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let blocker = world.manifest(9, &[(2, 0), (3, 0)], &[]);
    let first = world.manifest(1, &[(1, 0), (2, 0)], &[]);
    let stale = world.manifest(2, &[(1, 0), (3, 1)], &[]);
    world.prepare(2, &blocker, &[])?;
    world.prepare(1, &first, &[])?;
    world.prepare(2, &first, &[])?;
    world.drive(&first);
    world.check()?;
    match world.prepare(1, &stale, &[])?[0].statement.verdict {
        Verdict::Abort => Ok(()),
        verdict => Err(format!("{verdict:?} of a version that was let go")),
    }
}

/// All are prepared and the decider commits; then the expiry passes at the others.
fn decided() -> Result<(World, Manifest), String> {
    let mut world = World::new(&[1, 2, 3]);
    let manifest = world.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let votes = [world.prepare(1, &manifest, &[])?, world.prepare(2, &manifest, &[])?].concat();
    world.prepare(3, &manifest, &votes)?;
    world.tick(11);
    Ok((world, manifest))
}

fn the_expiry_comes_before_the_commit() -> Result<(), String> {
    let (mut world, manifest) = decided()?;
    world.drive(&manifest);
    world.check()?;
    world.all_did(&manifest, &[1, 2, 3])
}

fn the_decider_is_asked_after_the_expiry() -> Result<(), String> {
    let (mut world, manifest) = decided()?;
    let word = world.order(3, &Command::Expire { manifest: manifest.clone() })?.remove(0);
    let _ = world.order(1, &Command::Abort { manifest: manifest.clone(), certificate: word });
    world.drive(&manifest);
    world.check()?;
    world.all_did(&manifest, &[1, 2, 3])
}

fn the_decider_is_asked_before_the_others() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let manifest = world.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let mut votes = world.prepare(3, &manifest, &[]).unwrap_or_default();
    votes.extend(world.prepare(1, &manifest, &[])?);
    votes.extend(world.prepare(2, &manifest, &[])?);
    world.tick(11);
    let ended = world.order(3, &Command::Expire { manifest: manifest.clone() })?.remove(0);
    let certificates = Certificates::new("certificates", votes).unwrap();
    let _ = world.order(1, &Command::Commit { manifest: manifest.clone(), certificates });
    let _ = world.order(2, &Command::Abort { manifest: manifest.clone(), certificate: ended });
    world.drive(&manifest);
    world.check()
}

/// Shard 1 refuses a transaction whose output another one has locked, and is asked again when the key is free.
fn a_refused_output_is_asked_again() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let holder = world.manifest(9, &[(2, 0)], &[(1, 0)]);
    world.prepare(1, &holder, &[])?;
    let manifest = world.manifest(1, &[(3, 0)], &[(1, 0)]);
    world.prepare(1, &manifest, &[])?;
    world.drive(&holder);
    world.prepare(1, &manifest, &[])?;
    world.check()
}

fn the_vote_of_one_shard_is_shown_for_another() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let other = world.manifest(9, &[(2, 0)], &[(3, 1)]);
    world.prepare(2, &other, &[])?;
    let manifest = world.manifest(1, &[(1, 0), (2, 0), (3, 0)], &[]);
    let vote = world.prepare(1, &manifest, &[])?.remove(0);
    world.prepare(2, &manifest, &[])?;
    let _ = world.prepare(3, &manifest, &[vote.clone(), vote]);
    world.drive(&manifest);
    world.check()
}

/// Shard 4 comes between the decision and the commit, and gets a key of shard 1 that is locked.
fn a_key_moves_while_it_is_locked() -> Result<(), String> {
    let mut world = World::new(&[1, 2, 3]);
    let next = world.layout.next(committees(&[1, 2, 3, 4])).unwrap();
    let moving = (0..).find(|at| next.shard_of(&world.key(1, *at)) == 4).unwrap();
    let key = world.key(1, moving);
    let manifest = world.manifest(1, &[(1, moving), (2, 0), (3, 0)], &[]);
    let votes = [world.prepare(1, &manifest, &[])?, world.prepare(2, &manifest, &[])?].concat();
    world.prepare(3, &manifest, &votes)?;
    let joined = Participant::join(4, Config::default(), world.layout.clone(), next.clone()).unwrap();
    world.shards.insert(4, joined);
    world.layouts.push(next.clone());
    for shard in [1, 2, 3] {
        world.order(shard, &Command::Boundary { layout: next.clone(), application: [0; 32] })?;
        let part = world.shards[&shard].exports().next().unwrap().clone();
        let handover = world.handed_over[&shard].clone();
        world.order(4, &Command::Import { part, handover })?;
    }
    world.layout = next;
    // Somebody else wants the key.
    let rival = Input { shard: 4, key, version: world.shards[&4].version(&key) };
    let rival = Manifest::new(CHAIN, 6, [8; 32], 10, vec![rival], vec![]).unwrap();
    let word = world.prepare(4, &rival, &[])?[0].statement.verdict;
    world.drive(&manifest);
    world.check()?;
    world.all_did(&manifest, &[2, 3, 4])?;
    if word == Verdict::Abort { Ok(()) } else { Err("a locked key was given to another transaction".into()) }
}
