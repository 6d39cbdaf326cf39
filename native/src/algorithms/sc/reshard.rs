//! From one layout to the next: what leaves a shard at the boundary, and how it arrives.
//!
//! At its own boundary block each shard sorts its state by the next layout: versions and locks go to the shard that has the
//! key, tombstones and decisions to the shard that speaks for the one they are of. The old quorum signs the next layout and
//! the digests of all parts ([`Handover`]). What one shard gets of another is cut into parts of about [`PART_LEN`] bytes, so
//! that each fits into a block however much there is. A part is kept until it is taken over, and the next boundary waits
//! for all parts, so that nothing is lost, nothing arrives twice, and no more than one generation is ever kept.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{CERTIFICATE_LEN_MAX, Handover, HandoverCertificate};
use super::layout::Layout;
use super::manifest::{KEYS_LISTED_MAX, LISTED_MAX, Manifest};
use super::state::{Decision, KEYS_MAX, Keys, LAYOUTS_KEPT, OPEN_MAX, Open, State, TOMBSTONES_MAX, Tombstone};
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List, Record};

const CONTEXT_PART: &str = "city-chain v1 sc part";

/// The bytes of items after which another part begins. One item alone may be longer.
pub const PART_LEN: usize = 256 << 10;

/// The most parts that a shard gives at one boundary, with the digest of its own state: 1 GiB, as much as a state may have.
pub const PARTS_MAX: usize = 1 << 12;

/// The most parts that a shard takes over after one boundary.
pub(super) const IMPORTS_MAX: usize = 1 << 16;

/// What one shard gets of another's state, or as much of it as fits.
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
    /// Which of the parts from the one shard for the other it is, from 0.
    pub number: u16,
    /// How many of them there are.
    pub count: u16,
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

/// The most bytes of one item of a part: a decision, with its certificates.
const ITEM_LEN_MAX: usize = LISTED_MAX * CERTIFICATE_LEN_MAX + Manifest::LEN_MAX + 128 * KEYS_LISTED_MAX;

impl Record for Part {
    const TAG: [u8; 4] = *b"CCsp";
    const VERSION: u16 = 2;
    const NAME: &'static str = "shard part";
    const LEN_MAX: usize = PART_LEN + ITEM_LEN_MAX + 256;

    fn check(&self) -> Result<()> {
        if self.number >= self.count || usize::from(self.count) > PARTS_MAX {
            return Err(Error::input(format!("shard part: number {} of {}", self.number, self.count)));
        }
        if !self.versions.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(Error::input("shard part: the keys must be ascending and distinct"));
        }
        let manifests = self.open.iter().map(|open| &open.manifest);
        manifests.chain(self.decisions.iter().map(|decision| &decision.manifest)).try_for_each(Record::check)
    }
}

impl Part {
    /// The first part for a shard, with nothing in it.
    fn empty(state: &State, to: u16, epoch: u64) -> Self {
        Self {
            chain: *state.layout().chain(),
            from: state.shard,
            to,
            epoch,
            number: 0,
            count: 1,
            counter: state.counter,
            floor: state.floor,
            versions: List::default(),
            open: List::default(),
            tombstones: List::default(),
            decisions: List::default(),
        }
    }

    /// The shard that gets it, and its number.
    pub fn place(&self) -> (u16, u16) {
        (self.to, self.number)
    }

    /// Binds to everything in it.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too large.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_PART, &wire::encode(self)?))
    }
}

/// One thing that goes to another shard.
enum Item {
    Version((Digest, u64)),
    Open(Open),
    Tombstone((Digest, Tombstone)),
    Decision(Decision),
}

impl Item {
    fn len(&self) -> Result<usize> {
        let len = match self {
            Self::Version(version) => borsh::object_length(version),
            Self::Open(open) => borsh::object_length(open),
            Self::Tombstone(tombstone) => borsh::object_length(tombstone),
            Self::Decision(decision) => borsh::object_length(decision),
        };
        len.map_err(|error| Error::input(error.to_string()))
    }
}

/// What goes to one shard, in as many bundles as it needs parts.
#[derive(Default)]
struct Bundle {
    len: usize,
    versions: Vec<(Digest, u64)>,
    open: Vec<Open>,
    tombstones: Vec<(Digest, Tombstone)>,
    decisions: Vec<Decision>,
}

impl Bundle {
    fn add(&mut self, item: Item, len: usize) {
        self.len += len;
        match item {
            Item::Version(version) => self.versions.push(version),
            Item::Open(open) => self.open.push(open),
            Item::Tombstone(tombstone) => self.tombstones.push(tombstone),
            Item::Decision(decision) => self.decisions.push(decision),
        }
    }

    fn into_part(self, first: Part, number: usize, count: usize) -> Result<Part> {
        let small = |number: usize| {
            u16::try_from(number).map_err(|_| Error::input(format!("shard part: {number} parts, too many")))
        };
        Ok(Part {
            number: small(number)?,
            count: small(count)?,
            versions: List::new("shard part: keys", self.versions)?,
            open: List::new("shard part: open transactions", self.open)?,
            tombstones: List::new("shard part: tombstones", self.tombstones)?,
            decisions: List::new("shard part: decisions", self.decisions)?,
            ..first
        })
    }
}

/// The bundles of each shard that something can go to.
struct Outgoing(BTreeMap<u16, Vec<Bundle>>);

impl Outgoing {
    fn to(shards: &BTreeSet<u16>) -> Self {
        Self(shards.iter().map(|shard| (*shard, vec![Bundle::default()])).collect())
    }

    fn add(&mut self, shard: u16, item: Item) -> Result<()> {
        let len = item.len()?;
        let bundles = self.0.entry(shard).or_default();
        match bundles.last_mut() {
            Some(last) if last.len + len <= PART_LEN => last.add(item, len),
            _ => {
                let mut next = Bundle::default();
                next.add(item, len);
                bundles.push(next);
            }
        }
        Ok(())
    }

    fn into_parts(self, state: &State, epoch: u64) -> Result<BTreeMap<(u16, u16), Part>> {
        let mut parts = BTreeMap::new();
        for (shard, bundles) in self.0 {
            let count = bundles.len();
            for (number, bundle) in bundles.into_iter().enumerate() {
                let part = bundle.into_part(Part::empty(state, shard, epoch), number, count)?;
                parts.insert(part.place(), part);
            }
        }
        Ok(parts)
    }
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
        let mut outgoing = Outgoing::to(&to);
        after.give_keys(next, &mut outgoing)?;
        after.give_words(next, &mut outgoing)?;
        after.exports = outgoing.into_parts(self, next.epoch())?;
        after.awaited = from;
        after.imported.clear();
        after.sequence += 1;
        let mut parts: BTreeMap<(u16, u16), Digest> = BTreeMap::from([((self.shard, 0), after.digest()?)]);
        for part in after.exports.values() {
            parts.insert(part.place(), part.digest()?);
        }
        let handover = Handover {
            chain: *next.chain(),
            epoch,
            shard: self.shard,
            next: next.digest()?,
            application,
            parts: List::new(
                "handover: parts",
                parts.into_iter().map(|((shard, number), digest)| (shard, number, digest)).collect(),
            )?,
        };
        after.handover = Some(handover.clone());
        Ok((after, handover))
    }

    /// Versions and locks go with the keys.
    fn give_keys(&mut self, next: &Layout, outgoing: &mut Outgoing) -> Result<()> {
        let moved: Vec<(Digest, u64)> = self
            .versions
            .iter()
            .filter(|(key, _)| next.shard_of(key) != self.shard)
            .map(|(key, version)| (*key, *version))
            .collect();
        for (key, version) in moved {
            self.forget(&key);
            outgoing.add(next.shard_of(&key), Item::Version((key, version)))?;
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
                    outgoing.add(shard, Item::Open(open))?;
                }
            }
        }
        Ok(())
    }

    /// Tombstones and decisions go to whoever speaks for the shard that they are of.
    fn give_words(&mut self, next: &Layout, outgoing: &mut Outgoing) -> Result<()> {
        for (txid, tombstone) in std::mem::take(&mut self.tombstones) {
            match next.speaks_for(tombstone.shard) {
                shard if shard == self.shard => drop(self.tombstones.insert(txid, tombstone)),
                shard => outgoing.add(shard, Item::Tombstone((txid, tombstone)))?,
            }
        }
        for (txid, decision) in std::mem::take(&mut self.decisions) {
            match next.speaks_for(decision.manifest.decider()) {
                shard if shard == self.shard => drop(self.decisions.insert(txid, decision)),
                shard => outgoing.add(shard, Item::Decision(decision))?,
            }
        }
        Ok(())
    }

    /// Whether a part is the one that this shard waits for.
    pub(super) fn check_import(&self, part: &Part, certificate: &HandoverCertificate) -> Result<()> {
        part.check()?;
        let (layout, handover) = (self.layout(), &certificate.handover);
        let [.., previous, _] = self.layouts.as_slice() else {
            return Err(Error::protocol("shards: there was no layout before"));
        };
        let about = (part.chain, part.to, part.epoch);
        let arrived = self.imported.contains_key(&(part.from, part.number));
        if about != (*layout.chain(), self.shard, layout.epoch()) || !self.awaited.contains(&part.from) || arrived {
            return Err(Error::protocol(format!(
                "shards: part {} of shard {} for shard {} in epoch {} is not waited for",
                part.number, part.from, part.to, part.epoch
            )));
        }
        if handover.shard != part.from
            || handover.next != layout.digest()?
            || handover.part(self.shard, part.number) != Some(part.digest()?)
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
        if self.imported.len() >= IMPORTS_MAX
            || self.open.len() + part.open.len() > 2 * OPEN_MAX
            || self.decisions.len() + part.decisions.len() > 2 * OPEN_MAX
            || self.tombstones.len() + part.tombstones.len() > 2 * TOMBSTONES_MAX
        {
            return Err(Error::protocol("shards: there is no room for the part"));
        }
        let locked = part.open.iter().map(|open| open.keys.len()).sum();
        self.check_versions_left(self.counter.max(part.counter), locked)
    }

    /// Takes a part over.
    pub(super) fn import(&mut self, part: Part) -> Result<()> {
        self.imported.insert((part.from, part.number), part.digest()?);
        if self.imported.range((part.from, 0)..=(part.from, u16::MAX)).count() >= usize::from(part.count) {
            self.awaited.remove(&part.from);
        }
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
