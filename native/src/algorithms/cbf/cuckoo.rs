//! The cuckoo filter.

use borsh::{BorshDeserialize, BorshSerialize};

use super::batch::{Counted, Each, Lookup, Packed, Pieces, Source, Window, each_window, verdicts, verdicts_of};
use super::kernel::{Kernel, Places, WINDOW, prefetch};
use super::{ENCODED_MAX, TABLE_MAX, check_width, checksum, xxh64};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, Record};

/// Fingerprints of a bucket.
pub const SLOTS: usize = 4;

/// The most copies of one key: all slots of its two buckets.
pub const COPIES_MAX: usize = 2 * SLOTS;

/// Fingerprints that may be moved for one insertion (the paper's number).
const MOVES_MAX: usize = 500;

/// Bytes of a bucket.
const BUCKET_LEN: usize = 8;

const BUCKETS_MAX: usize = TABLE_MAX / BUCKET_LEN;

/// The lowest bit of every slot.
const LANES: u64 = 0x0001_0001_0001_0001;

/// A filter that forgets: a multiset of keys, of each of which a 16-bit fingerprint is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuckoo {
    seed: u64,
    pub(super) capacity: u64,
    /// Four fingerprints each, the first in the lowest bits; 0 is a free slot.
    pub(super) buckets: Vec<u64>,
    len: u64,
    kernel: Kernel,
}

/// What insertions overwrote.
trait Undo {
    /// Notes that `bucket` held `before`.
    fn note(&mut self, bucket: usize, before: u64);
}

impl Undo for Vec<(usize, u64)> {
    fn note(&mut self, bucket: usize, before: u64) {
        self.push((bucket, before));
    }
}

/// For a batch so large that a copy of all buckets costs less.
impl Undo for () {
    fn note(&mut self, _: usize, _: u64) {}
}

/// A batch's keys from which on a table of `buckets` is copied before: a note is twice as large as a bucket.
fn copies_table(keys: usize, buckets: usize) -> bool {
    keys >= buckets / 2
}

#[derive(BorshSerialize, BorshDeserialize)]
struct CuckooRecord {
    seed: u64,
    capacity: u64,
    table: Bytes<TABLE_MAX>,
    checksum: u64,
}

impl CuckooRecord {
    fn expected_checksum(&self) -> u64 {
        checksum(&[self.seed, self.capacity], &self.table)
    }
}

impl Record for CuckooRecord {
    const TAG: [u8; 4] = *b"CCcf";
    const VERSION: u16 = 1;
    const NAME: &'static str = "cbf: a cuckoo filter";
    const LEN_MAX: usize = ENCODED_MAX;

    fn check(&self) -> Result<()> {
        let needed = buckets_for(self.capacity)?.saturating_mul(BUCKET_LEN);
        if self.table.len() != needed {
            return Err(Error::input(format!(
                "cbf: a cuckoo filter for {} keys has {needed} bytes of buckets and not {}",
                self.capacity,
                self.table.len()
            )));
        }
        if self.checksum != self.expected_checksum() {
            return Err(Error::input("cbf: a cuckoo filter: its checksum does not fit, its bytes are damaged"));
        }
        Ok(())
    }
}

/// Buckets for `capacity` keys: 15/16 full when it is reached (four slots a bucket hold 98 % before no way is found),
/// and some more, without which a handful of keys may crowd into the same two buckets.
fn buckets_for(capacity: u64) -> Result<usize> {
    let full = capacity.saturating_mul(16).div_ceil(15 * SLOTS as u64);
    // Even, so that a fingerprint never has the same bucket twice (see `Cuckoo::other`).
    let count = full.saturating_add(8).saturating_add(full & 1);
    if capacity == 0 || count > BUCKETS_MAX as u64 {
        let most = (BUCKETS_MAX as u64 - 8) * 15 * SLOTS as u64 / 16;
        return Err(Error::input(format!("cbf: a capacity of {capacity} keys; 1 to {most} is allowed")));
    }
    Ok(count as usize)
}

/// SplitMix64's finaliser.
#[inline(always)]
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The upper half of a 64-bit number onto 0..count, as `super::reduce` does.
#[inline(always)]
fn reduced(value: u64, count: u64) -> u64 {
    ((value >> 32) * count) >> 32
}

/// The other bucket of a fingerprint in `bucket` of `count`; the other of the other is `bucket` again. The two add up to an
/// odd number modulo the even number of buckets, so they are never the same.
#[inline(always)]
fn other_of(bucket: u64, fingerprint: u64, count: u64) -> u64 {
    let sum = (reduced(mix(fingerprint), count) | 1) + count - bucket;
    if sum >= count { sum - count } else { sum }
}

/// The fingerprint of a hash (1 to 65535), its first bucket of `count`, and its second.
#[inline(always)]
pub(super) fn places(hash: u64, count: u64) -> (u64, u64, u64) {
    let (fingerprint, first) = ((hash & 0xffff).max(1), reduced(hash, count));
    (fingerprint, first, other_of(first, fingerprint, count))
}

/// The lowest slot of `bucket` that holds `fingerprint` (0: the lowest free slot).
fn find(bucket: u64, fingerprint: u64) -> Option<u32> {
    let different = bucket ^ (fingerprint * LANES);
    // The lowest lane of zeros is found exactly; a borrow can only spoil those above it.
    let zero = different.wrapping_sub(LANES) & !different & (LANES << 15);
    (zero != 0).then(|| zero.trailing_zeros() / 16)
}

/// Whether `bucket` holds `fingerprint`.
#[inline(always)]
fn has_lane(bucket: u64, fingerprint: u64) -> bool {
    let different = bucket ^ (fingerprint * LANES);
    different.wrapping_sub(LANES) & !different & (LANES << 15) != 0
}

fn slot(bucket: u64, at: u32) -> u64 {
    bucket >> (16 * at) & 0xffff
}

fn with_slot(bucket: u64, at: u32, fingerprint: u64) -> u64 {
    bucket & !(0xffff << (16 * at)) | fingerprint << (16 * at)
}

fn count_used(buckets: &[u64]) -> u64 {
    buckets.iter().flat_map(|bucket| (0..4).map(|at| u64::from(slot(*bucket, at) != 0))).sum()
}

impl Cuckoo {
    /// An empty filter for `capacity` keys, copies counted.
    pub fn new(capacity: u64, seed: u64) -> Result<Self> {
        Ok(Self { seed, capacity, buckets: vec![0; buckets_for(capacity)?], len: 0, kernel: Kernel::chosen()? })
    }

    /// The seed of the hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The keys it was made for.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of the buckets.
    pub fn table_len(&self) -> usize {
        self.buckets.len() * BUCKET_LEN
    }

    /// The hash of a key under the filter's seed.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        xxh64::xxh64(self.seed, key)
    }

    /// The fingerprint of a key and its two buckets.
    #[inline]
    fn locate(&self, key: &[u8]) -> (u64, usize, usize) {
        let (fingerprint, first, second) = places(self.hash(key), self.buckets.len() as u64);
        (fingerprint, first as usize, second as usize)
    }

    /// The other bucket of a fingerprint in `bucket` (see [`other_of`]).
    #[inline]
    pub(super) fn other(&self, bucket: usize, fingerprint: u64) -> usize {
        other_of(bucket as u64, fingerprint, self.buckets.len() as u64) as usize
    }

    /// Adds one copy of a key. What is refused (no room, or [`COPIES_MAX`] copies of it there) changes nothing.
    pub fn insert(&mut self, key: &[u8]) -> Result<()> {
        self.check_room(1)?;
        let mut undo = Vec::new();
        self.place(self.locate(key), &mut undo).inspect_err(|_| self.roll_back(&undo, 0))
    }

    /// [`Cuckoo::insert`] for many keys: all of them, or none.
    pub fn insert_many<'a, I>(&mut self, keys: I) -> Result<()>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: ExactSizeIterator,
    {
        self.insert_from(self.kernel, Each(self.seed, keys.into_iter()))
    }

    /// [`Cuckoo::insert_many`] for keys of `width` bytes each, one after another.
    pub fn insert_packed(&mut self, keys: &[u8], width: usize) -> Result<()> {
        check_width(keys, width)?;
        self.insert_from(self.kernel, Packed { seed: self.seed, keys, width })
    }

    /// [`Cuckoo::insert_many`] for keys whose [`Cuckoo::hash`] is known.
    pub fn insert_hashes(&mut self, hashes: &[u64]) -> Result<()> {
        self.insert_from(self.kernel, hashes)
    }

    pub(super) fn insert_from(&mut self, kernel: Kernel, source: impl Counted) -> Result<()> {
        let (keys, len) = (source.left(), self.len);
        self.check_room(keys as u64)?;
        if copies_table(keys, self.buckets.len()) {
            let before = self.buckets.clone();
            self.place_all(kernel, source, &mut ()).inspect_err(|_| {
                self.buckets = before;
                self.len = len;
            })
        } else {
            let mut undo = Vec::with_capacity(keys);
            self.place_all(kernel, source, &mut undo).inspect_err(|_| self.roll_back(&undo, self.len - len))
        }
    }

    fn place_all(&mut self, kernel: Kernel, source: impl Source, undo: &mut impl Undo) -> Result<()> {
        let (table, buckets, before) = (self.buckets.as_ptr(), self.buckets.len(), self.len);
        let mut made: Places = [[0; WINDOW]; 3];
        let fetch = |window: &Window, count| fetch(kernel, table, buckets, window, count);
        each_window(kernel, source, fetch, |window, count| {
            kernel.cuckoo_places(window, buckets, &mut made);
            let [fingerprints, first, second] = &made;
            for at in 0..count {
                self.place((fingerprints[at], first[at] as usize, second[at] as usize), undo)?;
            }
            Ok(())
        })
        .map_err(|error| {
            let at = self.len - before;
            match error {
                Error::Unavailable { message, needed, had } => {
                    Error::Unavailable { message: format!("{message} (key {at} of the batch)"), needed, had }
                }
                other => Error::input(format!("{other} (key {at} of the batch)")),
            }
        })
    }

    fn check_room(&self, keys: u64) -> Result<()> {
        let free = self.capacity.saturating_sub(self.len);
        if keys > free {
            let what = format!("cbf: room in a cuckoo filter that holds {} of {} keys", self.len, self.capacity);
            return Err(Error::unavailable(what, keys, free));
        }
        Ok(())
    }

    fn roll_back(&mut self, undo: &[(usize, u64)], placed: u64) {
        for (bucket, before) in undo.iter().rev() {
            self.buckets[*bucket] = *before;
        }
        self.len -= placed;
    }

    #[inline(always)]
    fn write(&mut self, bucket: usize, at: u32, fingerprint: u64, undo: &mut impl Undo) {
        let before = self.buckets[bucket];
        undo.note(bucket, before);
        self.buckets[bucket] = with_slot(before, at, fingerprint);
    }

    /// Finds room for a key, moving others; on an error the caller undoes what was written.
    #[inline(always)]
    fn place(&mut self, key: (u64, usize, usize), undo: &mut impl Undo) -> Result<()> {
        let (fingerprint, first, second) = key;
        for bucket in [first, second] {
            if let Some(at) = find(self.buckets[bucket], 0) {
                self.write(bucket, at, fingerprint, undo);
                self.len += 1;
                return Ok(());
            }
        }
        self.make_room(key, undo)
    }

    fn make_room(&mut self, (mut fingerprint, first, second): (u64, usize, usize), undo: &mut impl Undo) -> Result<()> {
        if [first, second].iter().all(|bucket| self.buckets[*bucket] == fingerprint * LANES) {
            return Err(Error::input(format!(
                "cbf: a key of which the filter holds {COPIES_MAX} copies already; it can hold no more"
            )));
        }
        // Which one moves is drawn from the key, so that equal insertions make equal filters.
        let mut draw = mix(fingerprint << 32 ^ first as u64);
        let mut bucket = if draw & 4 == 0 { first } else { second };
        for _ in 0..MOVES_MAX {
            draw = mix(draw.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let at = (draw & 3) as u32;
            let moved = slot(self.buckets[bucket], at);
            self.write(bucket, at, fingerprint, undo);
            (fingerprint, bucket) = (moved, self.other(bucket, moved));
            if let Some(at) = find(self.buckets[bucket], 0) {
                self.write(bucket, at, fingerprint, undo);
                self.len += 1;
                return Ok(());
            }
        }
        let what = format!("cbf: a free slot for the key within {MOVES_MAX} moves ({} keys are held)", self.len);
        Err(Error::unavailable(what, 1, 0))
    }

    /// Whether the key may be there. False is certain.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        let (fingerprint, first, second) = self.locate(key);
        [first, second].iter().any(|bucket| find(self.buckets[*bucket], fingerprint).is_some())
    }

    /// [`Cuckoo::contains`] for many keys: one bit each, the first in the lowest bit of the first byte.
    pub fn contains_many<'a, I>(&self, keys: I) -> Vec<u8>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: ExactSizeIterator,
    {
        verdicts(self.kernel, self, Each(self.seed, keys.into_iter()))
    }

    /// [`Cuckoo::contains_many`] for keys of `width` bytes each, one after another.
    pub fn contains_packed(&self, keys: &[u8], width: usize) -> Result<Vec<u8>> {
        check_width(keys, width)?;
        Ok(self.contains_from(self.kernel, Packed { seed: self.seed, keys, width }))
    }

    /// [`Cuckoo::contains_many`] for keys whose [`Cuckoo::hash`] is known.
    pub fn contains_hashes(&self, hashes: &[u64]) -> Vec<u8> {
        self.contains_from(self.kernel, hashes)
    }

    pub(super) fn contains_from(&self, kernel: Kernel, source: impl Pieces) -> Vec<u8> {
        verdicts_of(kernel, self, source)
    }

    /// Takes one copy of a key away. **Only for keys that were inserted**: a stranger with the fingerprint of another key
    /// would take that one away, which the filter then denies. Refused if the fingerprint is not there.
    pub fn remove(&mut self, key: &[u8]) -> Result<()> {
        let (fingerprint, first, second) = self.locate(key);
        for bucket in [first, second] {
            if let Some(at) = find(self.buckets[bucket], fingerprint) {
                self.buckets[bucket] = with_slot(self.buckets[bucket], at, 0);
                self.len -= 1;
                return Ok(());
            }
        }
        Err(Error::input("cbf: a key that is not in the filter cannot be removed; only what was inserted can"))
    }

    /// How many keys it holds, copies counted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The share of slots that are used, 0 to 1.
    pub fn load(&self) -> f64 {
        self.len as f64 / (self.buckets.len() * SLOTS) as f64
    }

    /// The probability that a stranger passes now: it meets 8·load fingerprints, each its own by a chance of 2⁻¹⁶ (and a
    /// little more, since fingerprint 1 stands for 0 as well).
    pub fn estimated_fpr(&self) -> f64 {
        let one = 65_538.0 / (65_536.0 * 65_536.0);
        1.0 - (1.0_f64 - one).powf(COPIES_MAX as f64 * self.load())
    }

    /// Whether it is full: the next insertion is refused.
    pub fn saturated(&self) -> bool {
        self.len >= self.capacity
    }

    /// The encoding: a record of the one codec.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let table = self.buckets.iter().flat_map(|bucket| bucket.to_le_bytes()).collect();
        let table = Bytes::new("cbf: buckets", table)?;
        let mut record = CuckooRecord { seed: self.seed, capacity: self.capacity, table, checksum: 0 };
        record.checksum = record.expected_checksum();
        wire::encode(&record)
    }

    /// The filter of an encoding; hostile bytes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let record: CuckooRecord = wire::decode(bytes)?;
        let buckets: Vec<u64> =
            record.table.as_chunks::<BUCKET_LEN>().0.iter().map(|bucket| u64::from_le_bytes(*bucket)).collect();
        let len = count_used(&buckets);
        if len > record.capacity {
            return Err(Error::input(format!(
                "cbf: a cuckoo filter for {} keys that holds {len}: more than it was made for",
                record.capacity
            )));
        }
        Ok(Self { seed: record.seed, capacity: record.capacity, buckets, len, kernel: Kernel::chosen()? })
    }
}

/// Has both buckets of the first `count` hashes brought into the cache.
#[inline(always)]
fn fetch(kernel: Kernel, table: *const u64, buckets: usize, window: &Window, count: usize) {
    let mut made: Places = [[0; WINDOW]; 3];
    kernel.cuckoo_places(window, buckets, &mut made);
    for (first, second) in made[1].iter().zip(&made[2]).take(count) {
        prefetch(table.wrapping_add(*first as usize));
        prefetch(table.wrapping_add(*second as usize));
    }
}

impl Lookup for Cuckoo {
    fn fetch(&self, kernel: Kernel, window: &Window, count: usize) {
        fetch(kernel, self.buckets.as_ptr(), self.buckets.len(), window, count);
    }

    fn look(&self, kernel: Kernel, window: &Window, count: usize) -> u64 {
        let mut made: Places = [[0; WINDOW]; 3];
        kernel.cuckoo_places(window, self.buckets.len(), &mut made);
        let [fingerprints, first, second] = &made;
        (0..count).fold(0, |verdicts, at| {
            let held = |bucket: u64| has_lane(self.buckets[bucket as usize], fingerprints[at]);
            verdicts | u64::from(held(first[at]) | held(second[at])) << at
        })
    }
}
