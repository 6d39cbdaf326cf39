//! Shards in one process: every command is ordered at once, every statement is signed by the whole committee.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest};
use crate::error::Result;
use crate::primitives::committee::{Committee, Member};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;

mod commit;
mod committees;
mod drawn;
mod hostile;
mod refusals;
mod reshard;

pub(super) const CHAIN: Digest = [7; 32];

pub(super) fn keys(shard: u16) -> Vec<SigningKey> {
    (0..4).map(|at| SigningKey::from_seed(&hash::digest("city-chain v1 test key", &[shard as u8, at]))).collect()
}

pub(super) fn committee(shard: u16) -> Committee {
    Committee::new(keys(shard).iter().map(|key| Member { key: key.public(), weight: 1 }).collect()).unwrap()
}

pub(super) fn committees(shards: &[u16]) -> BTreeMap<u16, Committee> {
    shards.iter().map(|shard| (*shard, committee(*shard))).collect()
}

pub(super) fn layout(shards: &[u16]) -> Layout {
    Layout::new(CHAIN, 5, committees(shards)).unwrap()
}

/// The number-th key that a shard has.
pub(super) fn key_of(layout: &Layout, shard: u16, number: usize) -> Digest {
    let keys = (0u32..).map(|at| hash::digest("city-chain v1 test name", &at.to_le_bytes()));
    keys.filter(|key| layout.shard_of(key) == shard).nth(number).unwrap()
}

/// A statement signed by three of four.
pub(super) fn certify(layout: &Layout, statement: Statement) -> Certificate {
    let shard = layout.speaks_for(statement.shard);
    let signatures: Vec<Signature> = (0u16..3)
        .map(|position| Signature { position, signature: statement.sign(&keys(shard)[usize::from(position)]) })
        .collect();
    Certificate::collect(layout.committee(shard).unwrap(), statement, &signatures).unwrap()
}

pub(super) fn certify_handover(layout: &Layout, handover: Handover) -> HandoverCertificate {
    let message = handover.message().unwrap();
    let signatures: Vec<Signature> = (0u16..3)
        .map(|position| Signature { position, signature: keys(handover.shard)[usize::from(position)].sign(&message) })
        .collect();
    HandoverCertificate::collect(layout.committee(handover.shard).unwrap(), handover, &signatures).unwrap()
}

/// One shard and what it has said.
pub(super) struct Shard {
    pub(super) machine: Participant,
    pub(super) journal: Vec<Vec<u8>>,
    pub(super) said: Vec<Certificate>,
    pub(super) proposals: VecDeque<Command>,
    pub(super) done: Vec<(Digest, bool)>,
    pub(super) touched: BTreeSet<(Digest, Digest)>,
    pub(super) handed_over: Vec<HandoverCertificate>,
}

impl Shard {
    pub(super) fn new(machine: Participant) -> Self {
        let journal = vec![machine.snapshot().unwrap()];
        Self {
            machine,
            journal,
            said: Vec::new(),
            proposals: VecDeque::new(),
            done: Vec::new(),
            touched: BTreeSet::new(),
            handed_over: Vec::new(),
        }
    }

    /// Orders a command; what it makes the shard say is signed.
    pub(super) fn order(&mut self, command: &Command) -> Result<Vec<Certificate>> {
        let before = self.machine.snapshot().unwrap();
        let judged = self.machine.evaluate(command);
        let done = self.machine.on_local_commit(command);
        match &done {
            Err(_) => assert_eq!(self.machine.snapshot().unwrap(), before, "refused, and yet changed"),
            Ok(()) => assert!(judged.is_ok()),
        }
        assert_eq!(judged.is_err(), done.is_err(), "proposer and replica judge alike");
        done?;
        let said = self.settle();
        let spoken = judged.unwrap();
        assert!(spoken.is_none_or(|statement| said.iter().any(|certificate| certificate.statement == statement)));
        Ok(said)
    }

    pub(super) fn tick(&mut self, height: u64) {
        self.machine.tick_height(height).unwrap();
        self.settle();
    }

    /// Carries out the effects.
    pub(super) fn settle(&mut self) -> Vec<Certificate> {
        let from = self.said.len();
        loop {
            let effects = self.machine.drain();
            if effects.is_empty() {
                return self.said[from..].to_vec();
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => {
                        self.journal.push(record);
                        self.machine.durable(ticket).unwrap();
                    }
                    Effect::Output(event) => self.happen(event),
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Say(statement) => {
                let layouts = self.machine.layouts();
                let layout = layouts.iter().find(|layout| layout.epoch() == statement.epoch).unwrap();
                let certificate = certify(layout, statement);
                self.said.push(certificate);
            }
            Event::HandOver(handover) => {
                let [.., old, _] = self.machine.layouts() else { panic!("there was one before") };
                let certificate = certify_handover(old, handover);
                self.handed_over.push(certificate);
            }
            Event::Propose(command) => self.proposals.push_back(*command),
            Event::Commit { manifest, keys } => {
                let txid = manifest.txid().unwrap();
                for key in keys {
                    assert!(self.touched.insert((txid, key)), "a key is done twice");
                }
                if !self.done.contains(&(txid, true)) {
                    self.done.push((txid, true)); // keys may arrive one after the other
                }
            }
            Event::Abort { manifest } => self.done.push((manifest.txid().unwrap(), false)),
            Event::Epoch(_) => {}
        }
    }

    /// Loses everything but its journal.
    pub(super) fn crash(&mut self) {
        let before = self.machine.snapshot().unwrap();
        let fresh = Participant::new(self.machine.shard(), Config::default(), first_layout(&self.machine)).unwrap();
        self.machine = Participant::restore(fresh, &self.journal).unwrap();
        assert_eq!(self.machine.snapshot().unwrap(), before);
    }
}

fn first_layout(machine: &Participant) -> Layout {
    machine.layouts().iter().find(|layout| layout.has(machine.shard())).unwrap().clone()
}

/// Several shards.
pub(super) struct Shards {
    pub(super) layout: Layout,
    pub(super) shards: BTreeMap<u16, Shard>,
    pub(super) layouts: Vec<Layout>,
    /// Shards that make no block.
    pub(super) asleep: BTreeSet<u16>,
}

impl Shards {
    pub(super) fn new(numbers: &[u16]) -> Self {
        let layout = layout(numbers);
        let make =
            |shard: &u16| (*shard, Shard::new(Participant::new(*shard, Config::default(), layout.clone()).unwrap()));
        Self {
            shards: numbers.iter().map(make).collect(),
            layouts: vec![layout.clone()],
            layout,
            asleep: BTreeSet::new(),
        }
    }

    pub(super) fn at(&mut self, shard: u16) -> &mut Shard {
        self.shards.get_mut(&shard).unwrap()
    }

    pub(super) fn tick(&mut self, height: u64) {
        self.shards.values_mut().for_each(|shard| shard.tick(height));
    }

    /// A transaction with one input of each of `inputs` and one output of each of `outputs`, at present versions.
    pub(super) fn manifest(&self, body: u8, inputs: &[(u16, usize)], outputs: &[(u16, usize)]) -> Manifest {
        let inputs = inputs.iter().map(|(shard, number)| {
            let key = key_of(&self.layout, *shard, *number);
            Input { shard: *shard, key, version: self.shards[shard].machine.version(&key) }
        });
        let outputs =
            outputs.iter().map(|(shard, number)| Output { shard: *shard, key: key_of(&self.layout, *shard, *number) });
        let layout = self.layout.since();
        Manifest::new(CHAIN, layout, [body; 32], 10, inputs.collect(), outputs.collect()).unwrap()
    }

    /// All that has been said about anything.
    pub(super) fn heard(&self) -> Vec<Certificate> {
        self.shards.values().flat_map(|shard| shard.said.iter().cloned()).collect()
    }

    pub(super) fn coordinator(&self, manifest: &Manifest) -> Coordinator {
        Coordinator::from_certificates(manifest.clone(), self.heard(), &self.layouts).unwrap()
    }

    /// Drives a transaction by new coordinators until nothing is left to do.
    pub(super) fn drive(&mut self, manifest: &Manifest, in_order: bool) -> Option<Outcome> {
        for _ in 0..20 {
            let coordinator = self.coordinator(manifest);
            let next = coordinator.next(&self.layout, in_order).unwrap();
            let mut moved = false;
            for (shard, command) in next {
                if self.asleep.contains(&shard) {
                    continue;
                }
                let before = (self.shards[&shard].machine.snapshot().unwrap(), self.shards[&shard].said.len());
                let _ = self.at(shard).order(&command);
                moved |= before != (self.shards[&shard].machine.snapshot().unwrap(), self.shards[&shard].said.len());
            }
            self.check();
            if !moved || coordinator.is_finished(&self.layout) {
                break;
            }
        }
        self.coordinator(manifest).outcome()
    }

    /// No shard does what another lets go, none does anything twice, and none contradicts itself.
    pub(super) fn check(&self) {
        let mut ends: BTreeMap<Digest, bool> = BTreeMap::new();
        for (number, shard) in &self.shards {
            let mut seen = BTreeSet::new();
            for (txid, committed) in &shard.done {
                assert!(seen.insert(*txid), "shard {number} ends a transaction twice");
                assert_eq!(*ends.entry(*txid).or_insert(*committed), *committed, "shard {number} ends it otherwise");
            }
        }
        let mut words: BTreeMap<(u16, Digest), BTreeSet<Verdict>> = BTreeMap::new();
        for Certificate { statement, .. } in self.heard() {
            words.entry((statement.shard, statement.txid)).or_default().insert(statement.verdict);
        }
        for ((shard, _), said) in words {
            let both = said.contains(&Verdict::Prepared) && said.contains(&Verdict::Abort);
            assert!(!both, "shard {shard} contradicts itself: {said:?}");
        }
    }

    /// Nothing is locked anywhere.
    pub(super) fn is_quiet(&self) -> bool {
        self.shards.values().all(|shard| shard.machine.open().count() == 0)
    }
}

#[test]
fn the_bytes_of_every_message_are_pinned() {
    let shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0)], &[(2, 0)]);
    let statement = Statement {
        chain: CHAIN,
        epoch: 5,
        shard: 1,
        txid: manifest.txid().unwrap(),
        session: manifest.session(),
        verdict: Verdict::Prepared,
    };
    let certificate = certify(&shards.layout, statement);
    let command = Command::Abort { manifest: manifest.clone(), certificate: certificate.clone() };
    let prints = [
        wire::encode(&manifest).unwrap(),
        wire::encode(&statement).unwrap(),
        wire::encode(&certificate).unwrap(),
        wire::encode(&command).unwrap(),
        wire::encode(&shards.layout).unwrap(),
        shards.shards[&1].machine.snapshot().unwrap(),
    ]
    .map(|bytes| format!("{} {}", bytes.len(), hash::hex(&hash::fragment(&bytes)[..8])));
    assert_eq!(prints, PINNED, "a change of bytes is a new version");
}

const PINNED: [&str; 6] = [
    "178 c45ed8d6b0f8870d",
    "113 3da19bec781730d6",
    "315 10832d909f27ffd3",
    "488 ec1857c9fca0ccc7",
    "390 46baef8be08ed960",
    "477 ee47281bdc3c3798",
];
