//! From one layout to the next: what leaves a shard at the boundary, and how it arrives.
//!
//! At its own boundary block each shard sorts its state by the next layout: versions and locks go to the shard that has the
//! key, tombstones and decisions to the shard that speaks for the one they are of. The old quorum signs the next layout and
//! the digests of all parts ([`Handover`]). A part is kept until it is taken over, and the next boundary waits for all
//! parts, so that nothing is lost, nothing arrives twice, and no more than one generation is ever kept.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{Handover, HandoverCertificate};
use super::layout::Layout;
use super::state::{Decision, KEYS_MAX, Keys, LAYOUTS_KEPT, OPEN_MAX, Open, State, TOMBSTONES_MAX, Tombstone};
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List, Record};

const CONTEXT_PART: &str = "city-chain v1 sc part";

/// What one shard gets of another's state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Part {
    /// The chain.
    pub chain: Digest,
    /// Whose it was.
    pub from: u16,
    /// Whose it is from now on.
    pub to: u16,
    /// The epoch that begins.
    pub epoch: u64,
    /// The last version that was given.
    pub counter: u64,
    /// The version of keys that are not named.
    pub floor: u64,
    /// Keys with their versions.
    pub versions: List<(Digest, u64), KEYS_MAX>,
    /// Transactions with the keys that are locked for them.
    pub open: List<Open, OPEN_MAX>,
    /// Tombstones.
    pub tombstones: List<(Digest, Tombstone), TOMBSTONES_MAX>,
    /// Decisions that not all have acknowledged: the outbox.
    pub decisions: List<Decision, OPEN_MAX>,
}

impl Record for Part {
    const TAG: [u8; 4] = *b"CCsp";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard part";
    const LEN_MAX: usize = 1 << 29;

    fn check(&self) -> Result<()> {
        if !self.versions.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(Error::input("shard part: the keys must be ascending and distinct"));
        }
        let manifests = self.open.iter().map(|open| &open.manifest);
        manifests.chain(self.decisions.iter().map(|decision| &decision.manifest)).try_for_each(Record::check)
    }
}

impl Part {
    fn empty(state: &State, to: u16, epoch: u64) -> Self {
        Self {
            chain: *state.layout().chain(),
            from: state.shard,
            to,
            epoch,
            counter: state.counter,
            floor: state.floor,
            versions: List::default(),
            open: List::default(),
            tombstones: List::default(),
            decisions: List::default(),
        }
    }

    /// Binds to everything in it.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too large.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_PART, &wire::encode(self)?))
    }
}

/// What goes to one shard, before it is wrapped.
#[derive(Default)]
struct Bundle {
    versions: Vec<(Digest, u64)>,
    open: Vec<Open>,
    tombstones: Vec<(Digest, Tombstone)>,
    decisions: Vec<Decision>,
}

/// The shards from which something can come to `shard` with `next`, and to which something can go.
pub(super) fn neighbours(shard: u16, previous: &Layout, next: &Layout) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (added, removed) = (next.added(previous), previous.added(next));
    let others = |layout: &Layout| layout.shards().filter(|other| *other != shard).collect::<BTreeSet<u16>>();
    let from = match (next.has(shard), added.contains(&shard)) {
        (false, _) => BTreeSet::new(),
        (true, true) => others(previous),
        (true, false) => removed.iter().copied().collect(),
    };
    let to = match (previous.has(shard), removed.contains(&shard)) {
        (false, _) => BTreeSet::new(),
        (true, true) => others(next),
        (true, false) => added.into_iter().collect(),
    };
    (from, to)
}

impl State {
    /// Whether the boundary to `next` can be crossed now.
    pub(super) fn check_boundary(&self, next: &Layout) -> Result<()> {
        next.check()?;
        next.check_after(self.layout())?;
        if !self.layout().has(self.shard) {
            return Err(Error::protocol(format!("shards: shard {} is gone", self.shard)));
        }
        if !self.awaited.is_empty() || !self.exports.is_empty() {
            return Err(Error::protocol(format!(
                "shards: the boundary waits for the parts of shards {:?} and for what shards {:?} have not taken over",
                self.awaited,
                self.exports.keys().collect::<Vec<_>>()
            )));
        }
        Ok(())
    }

    /// The state after the boundary block, and what the old quorum is to sign.
    pub(super) fn cross(&self, next: &Layout, application: Digest) -> Result<(Self, Handover)> {
        let mut after = self.clone();
        let (from, to) = neighbours(self.shard, self.layout(), next);
        let epoch = self.layout().epoch();
        after.layouts.push(next.clone());
        if after.layouts.len() > LAYOUTS_KEPT {
            after.layouts.remove(0);
        }
        let mut bundles: BTreeMap<u16, Bundle> = to.iter().map(|shard| (*shard, Bundle::default())).collect();
        after.give_keys(next, &mut bundles)?;
        after.give_words(next, &mut bundles);
        for (shard, bundle) in bundles {
            let part = Part {
                versions: List::new("shard part: keys", bundle.versions)?,
                open: List::new("shard part: open transactions", bundle.open)?,
                tombstones: List::new("shard part: tombstones", bundle.tombstones)?,
                decisions: List::new("shard part: decisions", bundle.decisions)?,
                ..Part::empty(self, shard, next.epoch())
            };
            after.exports.insert(shard, part);
        }
        after.awaited = from;
        after.imported.clear();
        after.sequence += 1;
        let mut parts: BTreeMap<u16, Digest> = BTreeMap::new();
        for part in after.exports.values() {
            parts.insert(part.to, part.digest()?);
        }
        parts.insert(self.shard, after.digest()?);
        let handover = Handover {
            chain: *next.chain(),
            epoch,
            shard: self.shard,
            next: next.digest()?,
            application,
            parts: List::new("handover: parts", parts.into_iter().collect())?,
        };
        after.handover = Some(handover.clone());
        Ok((after, handover))
    }

    /// Versions and locks go with the keys.
    fn give_keys(&mut self, next: &Layout, bundles: &mut BTreeMap<u16, Bundle>) -> Result<()> {
        let moved: Vec<(Digest, u64)> = self
            .versions
            .iter()
            .filter(|(key, _)| next.shard_of(key) != self.shard)
            .map(|(key, version)| (*key, *version))
            .collect();
        for (key, version) in moved {
            self.forget(&key);
            bundles.entry(next.shard_of(&key)).or_default().versions.push((key, version));
        }
        for (txid, open) in std::mem::take(&mut self.open) {
            let mut by_shard: BTreeMap<u16, Vec<Digest>> = BTreeMap::new();
            for key in open.keys.iter() {
                by_shard.entry(next.shard_of(key)).or_default().push(*key);
                self.locks.remove(key);
            }
            for (shard, keys) in by_shard {
                let open = Open { manifest: open.manifest.clone(), keys: List::new("shard part: keys", keys)? };
                if shard == self.shard {
                    self.lock(txid, open);
                } else if !mutant!("sc.locks_left") {
                    bundles.entry(shard).or_default().open.push(open);
                }
            }
        }
        Ok(())
    }

    /// Tombstones and decisions go to whoever speaks for the shard that they are of.
    fn give_words(&mut self, next: &Layout, bundles: &mut BTreeMap<u16, Bundle>) {
        for (txid, tombstone) in std::mem::take(&mut self.tombstones) {
            match next.speaks_for(tombstone.shard) {
                shard if shard == self.shard => drop(self.tombstones.insert(txid, tombstone)),
                shard => bundles.entry(shard).or_default().tombstones.push((txid, tombstone)),
            }
        }
        for (txid, decision) in std::mem::take(&mut self.decisions) {
            match next.speaks_for(decision.manifest.decider()) {
                shard if shard == self.shard => drop(self.decisions.insert(txid, decision)),
                shard => bundles.entry(shard).or_default().decisions.push(decision),
            }
        }
    }

    /// Whether a part is the one that this shard waits for.
    pub(super) fn check_import(&self, part: &Part, certificate: &HandoverCertificate) -> Result<()> {
        part.check()?;
        let (layout, handover) = (self.layout(), &certificate.handover);
        let [.., previous, _] = self.layouts.as_slice() else {
            return Err(Error::protocol("shards: there was no layout before"));
        };
        let about = (part.chain, part.to, part.epoch);
        if about != (*layout.chain(), self.shard, layout.epoch()) || !self.awaited.contains(&part.from) {
            return Err(Error::protocol(format!(
                "shards: the part of shard {} for shard {} in epoch {} is not waited for",
                part.from, part.to, part.epoch
            )));
        }
        if handover.shard != part.from
            || handover.next != layout.digest()?
            || handover.part(self.shard) != Some(part.digest()?)
        {
            return Err(Error::verification("shards: the part is not what the old quorum handed over"));
        }
        certificate.verify(previous)?;
        let misplaced = |key: &Digest| layout.shard_of(key) != self.shard;
        let locked = |key: &&Digest| misplaced(key) || self.locks.contains_key(*key);
        if part.versions.iter().any(|(key, _)| misplaced(key))
            || part.open.iter().flat_map(|open| open.keys.iter()).any(|key| locked(&key))
        {
            return Err(Error::protocol("shards: the part has keys that do not belong here, or are locked here"));
        }
        if self.open.len() + part.open.len() > 2 * OPEN_MAX
            || self.decisions.len() + part.decisions.len() > 2 * OPEN_MAX
            || self.tombstones.len() + part.tombstones.len() > 2 * TOMBSTONES_MAX
        {
            return Err(Error::protocol("shards: there is no room for the part"));
        }
        Ok(())
    }

    /// Takes a part over.
    pub(super) fn import(&mut self, part: Part) -> Result<()> {
        self.imported.insert(part.from, part.digest()?);
        self.awaited.remove(&part.from);
        self.counter = self.counter.max(part.counter);
        self.floor = self.floor.max(part.floor);
        for (key, version) in part.versions.into_vec() {
            self.set_version(key, version);
        }
        for open in part.open.into_vec() {
            let txid = open.manifest.txid()?;
            let mut keys = self.open.remove(&txid).map(|own| own.keys.into_vec()).unwrap_or_default();
            keys.extend(open.keys.iter());
            let keys: Keys = List::new("shard: keys", keys)?;
            self.tombstones.remove(&txid); // it is not over here
            self.lock(txid, Open { manifest: open.manifest, keys });
        }
        for (txid, tombstone) in part.tombstones.into_vec() {
            if !self.open.contains_key(&txid) && tombstone.expiry >= self.height {
                self.tombstones.insert(txid, tombstone);
            }
        }
        for decision in part.decisions.into_vec() {
            self.decisions.insert(decision.manifest.txid()?, decision);
        }
        Ok(())
    }
}
