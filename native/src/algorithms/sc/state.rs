//! What the replicas of a shard have in common: versions, locks, tombstones, decisions.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::Handover;
use super::command::Certificates;
use super::layout::{Layout, SHARDS_MAX};
use super::manifest::{KEYS_LISTED_MAX, Manifest};
use super::reshard::{IMPORTS_MAX, PARTS_MAX, Part};
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List, Record};

/// The most keys whose versions are kept apart.
pub const KEYS_MAX: usize = 1 << 18;

/// The most transactions that are open, or decided and not acknowledged, at once.
pub const OPEN_MAX: usize = 1 << 12;

/// The most tombstones.
pub const TOMBSTONES_MAX: usize = 1 << 16;

/// Layouts that are remembered: certificates of older epochs are not understood any more.
pub const LAYOUTS_KEPT: usize = 8;

const CONTEXT_STATE: &str = "city-chain v1 sc state";

/// The keys of one transaction.
pub(super) type Keys = List<Digest, { 2 * KEYS_LISTED_MAX }>;

/// The limits of a shard, the same at all its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Config {
    /// The most transactions open, and the most decided and not acknowledged.
    pub open_max: u32,
    /// The most tombstones.
    pub tombstones_max: u32,
    /// The most keys whose versions are kept apart; the version of all others is that of the latest one let go.
    pub keys_max: u32,
    /// How far ahead an expiry may lie, heights.
    pub horizon: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { open_max: 256, tombstones_max: 4096, keys_max: 1 << 16, horizon: 10_000 }
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        for (what, value, max) in [
            ("open transactions", self.open_max, OPEN_MAX),
            ("tombstones", self.tombstones_max, TOMBSTONES_MAX),
            ("keys", self.keys_max, KEYS_MAX),
        ] {
            if value == 0 || value as usize > max {
                return Err(Error::input(format!("shard: a limit of {value} {what}, 1 to {max} are allowed")));
            }
        }
        Ok(())
    }
}

/// A transaction that has keys locked here.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Open {
    /// The transaction.
    pub manifest: Manifest,
    /// Its keys that are locked here.
    pub keys: Keys,
}

/// How a transaction ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum End {
    /// This shard has said Abort, or never said anything before another one did.
    Refused = 0,
    /// It was prepared, and let go.
    Aborted = 1,
    /// It was done.
    Committed = 2,
}

/// What is left of a transaction until its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tombstone {
    /// The listed shard that it speaks for.
    pub shard: u16,
    /// The transaction's expiry.
    pub expiry: u64,
    /// How it ended.
    pub end: End,
}

/// A commit that this shard has decided, kept until all others have let go of their locks; a tombstone is left of it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Decision {
    /// The transaction.
    pub manifest: Manifest,
    /// The Prepared of the other shards.
    pub certificates: Certificates,
    /// The keys of others for which nobody has said Released yet.
    pub waiting: Keys,
}

/// The state of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) shard: u16,
    pub(super) config: Config,
    pub(super) height: u64,
    pub(super) sequence: u64,
    /// The version that was given last.
    pub(super) counter: u64,
    /// The version of keys that are not kept apart.
    pub(super) floor: u64,
    /// The last layouts, the current one last.
    pub(super) layouts: Vec<Layout>,
    pub(super) versions: BTreeMap<Digest, u64>,
    pub(super) open: BTreeMap<Digest, Open>,
    pub(super) tombstones: BTreeMap<Digest, Tombstone>,
    pub(super) decisions: BTreeMap<Digest, Decision>,
    /// The shards whose parts have not arrived.
    pub(super) awaited: BTreeSet<u16>,
    /// The parts that have not been taken over, by the shard that gets them and their numbers.
    pub(super) exports: BTreeMap<(u16, u16), Part>,
    /// The digests of the parts that were taken over in this epoch, by the shard that gave them and their numbers.
    pub(super) imported: BTreeMap<(u16, u16), Digest>,
    /// What the old quorum is to sign.
    pub(super) handover: Option<Handover>,
    /// Which transaction has a key locked; follows from `open`.
    pub(super) locks: BTreeMap<Digest, Digest>,
    /// The keys by version; follows from `versions`.
    by_version: BTreeMap<u64, BTreeSet<Digest>>,
}

/// The state as it is written.
#[derive(BorshSerialize, BorshDeserialize)]
struct Written {
    shard: u16,
    config: Config,
    height: u64,
    sequence: u64,
    counter: u64,
    floor: u64,
    layouts: List<Layout, LAYOUTS_KEPT>,
    versions: List<(Digest, u64), KEYS_MAX>,
    open: List<(Digest, Open), { 2 * OPEN_MAX }>,
    tombstones: List<(Digest, Tombstone), { 2 * TOMBSTONES_MAX }>,
    decisions: List<(Digest, Decision), { 2 * OPEN_MAX }>,
    awaited: List<u16, SHARDS_MAX>,
    exports: List<Part, PARTS_MAX>,
    imported: List<((u16, u16), Digest), IMPORTS_MAX>,
    handover: Option<Handover>,
}

impl Record for Written {
    const TAG: [u8; 4] = *b"CCsw";
    const VERSION: u16 = 2;
    const NAME: &'static str = "shard state";
    const LEN_MAX: usize = 1 << 30;

    fn check(&self) -> Result<()> {
        self.config.check()?;
        let ascending = self.versions.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.open.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.tombstones.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.decisions.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.awaited.windows(2).all(|pair| pair[0] < pair[1])
            && self.exports.windows(2).all(|pair| pair[0].place() < pair[1].place())
            && self.imported.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.layouts.windows(2).all(|pair| pair[0].epoch() < pair[1].epoch());
        if !ascending || self.layouts.is_empty() {
            return Err(Error::input("shard state: something is missing, or not ascending"));
        }
        for (txid, manifest) in (self.open.iter().map(|(txid, open)| (txid, &open.manifest)))
            .chain(self.decisions.iter().map(|(txid, decision)| (txid, &decision.manifest)))
        {
            manifest.check()?;
            if *txid != manifest.txid()? {
                return Err(Error::input("shard state: a transaction stands under another id"));
            }
        }
        self.layouts.iter().try_for_each(Record::check)?;
        self.exports.iter().try_for_each(Record::check)
    }
}

impl State {
    pub(super) fn new(shard: u16, config: Config, layout: Layout) -> Result<Self> {
        config.check()?;
        Ok(Self {
            shard,
            config,
            height: 0,
            sequence: 0,
            counter: 0,
            floor: 0,
            layouts: vec![layout],
            versions: BTreeMap::new(),
            open: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            decisions: BTreeMap::new(),
            awaited: BTreeSet::new(),
            exports: BTreeMap::new(),
            imported: BTreeMap::new(),
            handover: None,
            locks: BTreeMap::new(),
            by_version: BTreeMap::new(),
        })
    }

    /// The current layout.
    pub(super) fn layout(&self) -> &Layout {
        &self.layouts[self.layouts.len() - 1] // there is always one
    }

    /// All layouts whose certificates are understood.
    pub(super) fn known(&self) -> Vec<&Layout> {
        self.layouts.iter().collect()
    }

    /// The version of a key.
    pub(super) fn version(&self, key: &Digest) -> u64 {
        self.versions.get(key).copied().unwrap_or(self.floor)
    }

    /// Sets a key's version; the oldest keys are not kept apart where there are too many.
    pub(super) fn set_version(&mut self, key: Digest, version: u64) {
        self.forget(&key);
        self.versions.insert(key, version);
        self.by_version.entry(version).or_default().insert(key);
        while self.versions.len() > self.config.keys_max as usize {
            let Some((&oldest, keys)) = self.by_version.first_key_value() else { return };
            let Some(&key) = keys.first() else { return };
            self.floor = self.floor.max(oldest);
            self.forget(&key);
        }
    }

    /// Keeps a key's version apart no longer.
    pub(super) fn forget(&mut self, key: &Digest) {
        if let Some(version) = self.versions.remove(key)
            && let Some(keys) = self.by_version.get_mut(&version)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_version.remove(&version);
            }
        }
    }

    /// Checks that there are versions left for so many keys and all that are locked: none is ever given twice.
    pub(super) fn check_versions_left(&self, counter: u64, keys: usize) -> Result<()> {
        match counter.checked_add((self.locks.len() + keys) as u64) {
            Some(_) => Ok(()),
            None => Err(Error::protocol(format!("shards: there are no versions left after {counter}"))),
        }
    }

    /// Gives keys their next version; that there is one was checked when they were locked.
    pub(super) fn advance(&mut self, keys: &[Digest]) {
        for key in keys {
            self.counter = self.counter.saturating_add(1);
            self.set_version(*key, self.counter);
        }
    }

    /// Opens a transaction: its keys are locked.
    pub(super) fn lock(&mut self, txid: Digest, open: Open) {
        for key in open.keys.iter() {
            self.locks.insert(*key, txid);
        }
        self.open.insert(txid, open);
    }

    /// Closes a transaction: its keys are free, with new versions whatever its end was.
    pub(super) fn release(&mut self, txid: &Digest, end: End) -> Option<Open> {
        let open = self.open.remove(txid)?;
        for key in open.keys.iter() {
            self.locks.remove(key);
        }
        if !(mutant!("sc.version_kept") && end == End::Aborted) {
            self.advance(&open.keys);
        }
        let shard = open.manifest.shards.iter().copied().find(|shard| *shard == self.shard);
        self.bury(*txid, &open.manifest, shard.unwrap_or(self.shard), end);
        Some(open)
    }

    /// Keeps a commit that was decided here, until all others have let go of their locks: then its end alone.
    pub(super) fn keep(&mut self, txid: Digest, decision: Decision) {
        if decision.waiting.is_empty() {
            self.decisions.remove(&txid);
            self.bury(txid, &decision.manifest, decision.manifest.decider(), End::Committed);
        } else {
            self.decisions.insert(txid, decision);
        }
    }

    /// Whether this shard has decided to commit a transaction, and knows it still.
    pub(super) fn has_decided(&self, txid: &Digest, manifest: &Manifest) -> bool {
        let decided = |tombstone: &Tombstone| (tombstone.shard, tombstone.end) == (manifest.decider(), End::Committed);
        self.decisions.contains_key(txid) || self.tombstones.get(txid).is_some_and(decided)
    }

    /// Remembers how a transaction ended, until its expiry.
    pub(super) fn bury(&mut self, txid: Digest, manifest: &Manifest, shard: u16, end: End) {
        if manifest.expiry >= self.height && !mutant!("sc.tombstone_dropped") {
            self.tombstones.insert(txid, Tombstone { shard, expiry: manifest.expiry, end });
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        wire::encode(&Written {
            shard: self.shard,
            config: self.config,
            height: self.height,
            sequence: self.sequence,
            counter: self.counter,
            floor: self.floor,
            layouts: List::new("shard state: layouts", self.layouts.clone())?,
            versions: List::new("shard state: keys", pairs(&self.versions))?,
            open: List::new("shard state: open transactions", pairs(&self.open))?,
            tombstones: List::new("shard state: tombstones", pairs(&self.tombstones))?,
            decisions: List::new("shard state: decisions", pairs(&self.decisions))?,
            awaited: List::new("shard state: awaited", self.awaited.iter().copied().collect())?,
            exports: List::new("shard state: exports", self.exports.values().cloned().collect())?,
            imported: List::new("shard state: imported", self.imported.iter().map(|(k, v)| (*k, *v)).collect())?,
            handover: self.handover.clone(),
        })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let written: Written = wire::decode(bytes)?;
        let mut layouts = written.layouts.into_vec();
        let Some(current) = layouts.pop() else { return Err(Error::input("shard state: there is no layout")) };
        let mut state = Self::new(written.shard, written.config, current)?;
        layouts.push(state.layouts.remove(0));
        state.layouts = layouts;
        (state.height, state.sequence) = (written.height, written.sequence);
        (state.counter, state.floor) = (written.counter, written.floor);
        for (key, version) in written.versions.into_vec() {
            state.by_version.entry(version).or_default().insert(key);
            state.versions.insert(key, version);
        }
        for (txid, open) in written.open.into_vec() {
            if open.keys.iter().any(|key| state.locks.contains_key(key)) {
                return Err(Error::input("shard state: two transactions have one key locked"));
            }
            state.lock(txid, open);
        }
        if state.counter.checked_add(state.locks.len() as u64).is_none() {
            return Err(Error::input(format!("shard state: there are no versions left after {}", state.counter)));
        }
        state.tombstones = written.tombstones.into_vec().into_iter().collect();
        state.decisions = written.decisions.into_vec().into_iter().collect();
        state.awaited = written.awaited.iter().copied().collect();
        state.exports = written.exports.into_vec().into_iter().map(|part| (part.place(), part)).collect();
        state.imported = written.imported.into_vec().into_iter().collect();
        state.handover = written.handover;
        Ok(state)
    }

    /// Binds to everything but the handover, which binds to this.
    pub(super) fn digest(&self) -> Result<Digest> {
        let mut bare = self.clone();
        bare.handover = None;
        Ok(hash::digest(CONTEXT_STATE, &bare.to_bytes()?))
    }
}

fn pairs<T: Clone>(map: &BTreeMap<Digest, T>) -> Vec<(Digest, T)> {
    map.iter().map(|(key, value)| (*key, value.clone())).collect()
}
