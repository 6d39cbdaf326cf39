//! The split-block Bloom filter of Apache Parquet.

use borsh::{BorshDeserialize, BorshSerialize};

use super::batch::{Each, Lookup, Packed, Pieces, Source, Window, each_window, verdicts, verdicts_of};
use super::kernel::{Kernel, prefetch};
use super::{ENCODED_MAX, TABLE_MAX, check_width, checksum, reduce, xxh64};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, Record};

/// Bytes of a block.
pub const BLOCK_LEN: usize = 32;

/// The most keys that a filter may be made for.
pub const CAPACITY_MAX: u64 = 1 << 32;

/// The lowest false-positive rate that may be asked for.
pub const FPR_MIN: f64 = 1e-9;

/// The highest false-positive rate that may be asked for.
pub const FPR_MAX: f64 = 0.5;

/// Words of a block, 32 bits each.
pub(super) const WORDS: usize = 8;

const BLOCKS_MAX: usize = TABLE_MAX / BLOCK_LEN;

/// Parquet's eight odd multipliers, one a word.
pub(super) const SALT: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A block, which never lies across two cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(super) struct Block(pub(super) [u32; WORDS]);

/// A filter that grows: every key sets one bit in each of the eight words of one block.
///
/// Everything it tells follows from its bits and its numbers, so the union of two filters is the filter of the union.
#[derive(Debug, Clone, PartialEq)]
pub struct Bloom {
    seed: u64,
    capacity: u64,
    fpr: f64,
    blocks: Vec<Block>,
    ones: u64,
    kernel: Kernel,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct BloomRecord {
    seed: u64,
    capacity: u64,
    fpr: f64,
    bitset: Bytes<TABLE_MAX>,
    checksum: u64,
}

impl BloomRecord {
    fn expected_checksum(&self) -> u64 {
        checksum(&[self.seed, self.capacity, self.fpr.to_bits()], &self.bitset)
    }
}

impl Record for BloomRecord {
    const TAG: [u8; 4] = *b"CCbl";
    const VERSION: u16 = 1;
    const NAME: &'static str = "cbf: a Bloom filter";
    const LEN_MAX: usize = ENCODED_MAX;

    fn check(&self) -> Result<()> {
        check_numbers(self.capacity, self.fpr)?;
        check_bitset(&self.bitset)?;
        if self.checksum != self.expected_checksum() {
            return Err(Error::input("cbf: a Bloom filter: its checksum does not fit, its bytes are damaged"));
        }
        Ok(())
    }
}

fn check_numbers(capacity: u64, fpr: f64) -> Result<()> {
    if capacity == 0 || capacity > CAPACITY_MAX {
        return Err(Error::input(format!("cbf: a capacity of {capacity} keys; 1 to {CAPACITY_MAX} is allowed")));
    }
    if !(FPR_MIN..=FPR_MAX).contains(&fpr) {
        return Err(Error::input(format!(
            "cbf: a false-positive rate of {fpr}; {FPR_MIN:e} to {FPR_MAX} is allowed (0.01 is 1 %)"
        )));
    }
    Ok(())
}

fn check_bitset(bitset: &[u8]) -> Result<()> {
    if bitset.is_empty() || bitset.len() > TABLE_MAX || !bitset.len().is_multiple_of(BLOCK_LEN) {
        return Err(Error::input(format!(
            "cbf: a bitset of {} bytes; a multiple of {BLOCK_LEN} from {BLOCK_LEN} to {TABLE_MAX} is needed",
            bitset.len()
        )));
    }
    Ok(())
}

/// The false-positive rate of a split-block filter with `load` keys a block on average.
///
/// A block holds x keys with the probability of Poisson(load), and then answers yes to a stranger with the probability
/// (1 − (31/32)ˣ)⁸.
fn fpr_of(load: f64) -> f64 {
    if load > 640.0 {
        return 1.0; // (1 − e⁻²⁰)⁸ and more
    }
    let last = (load + 12.0 * load.sqrt() + 24.0) as u32;
    let (mut share, mut free, mut rate) = ((-load).exp(), 1.0, 0.0);
    for keys in 1..=last {
        share *= load / f64::from(keys);
        free *= 31.0 / 32.0;
        rate += share * (1.0_f64 - free).powi(WORDS as i32);
    }
    rate.min(1.0)
}

/// The keys above which a filter counts as saturated. Its fill strays by about a quarter of √capacity keys; room for
/// 2√capacity more keeps a filter that is exactly full from counting as such.
fn keys_limit(capacity: u64) -> f64 {
    capacity as f64 + 2.0 * (capacity as f64).sqrt()
}

/// The fewest blocks that hold `capacity` keys, and what chance may add, at `fpr`.
fn blocks_for(capacity: u64, fpr: f64) -> Result<usize> {
    let keys = keys_limit(capacity);
    let (mut low, mut high) = (1, BLOCKS_MAX);
    if fpr_of(keys / high as f64) > fpr {
        return Err(Error::input(format!(
            "cbf: {capacity} keys at a false-positive rate of {fpr} need more than the {TABLE_MAX} bytes allowed"
        )));
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if fpr_of(keys / middle as f64) <= fpr { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

/// The bit that a key sets in each word: the upper five bits of the lower half of its hash times the word's salt.
#[inline(always)]
pub(super) fn bits(hash: u64) -> [u32; WORDS] {
    SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

impl Bloom {
    /// An empty filter for `capacity` keys, of which strangers pass with a probability of at most `fpr`. With `seed` 0 its
    /// bits are Parquet's.
    pub fn new(capacity: u64, fpr: f64, seed: u64) -> Result<Self> {
        check_numbers(capacity, fpr)?;
        let (count, kernel) = (blocks_for(capacity, fpr)?, Kernel::chosen()?);
        Ok(Self { seed, capacity, fpr, blocks: vec![Block([0; WORDS]); count], ones: 0, kernel })
    }

    /// A filter of the bits that [`Bloom::bitset`] gave, or that another implementation of Parquet's filter wrote.
    pub fn from_bitset(bitset: &[u8], capacity: u64, fpr: f64, seed: u64) -> Result<Self> {
        check_numbers(capacity, fpr)?;
        check_bitset(bitset)?;
        let words = |block: &[u8; BLOCK_LEN]| {
            let words = block.as_chunks::<4>().0;
            Block(std::array::from_fn(|at| u32::from_le_bytes(words[at])))
        };
        let blocks: Vec<Block> = bitset.as_chunks::<BLOCK_LEN>().0.iter().map(words).collect();
        let ones = blocks.iter().flat_map(|block| block.0).map(|word| u64::from(word.count_ones())).sum();
        Ok(Self { seed, capacity, fpr, blocks, ones, kernel: Kernel::chosen()? })
    }

    /// The bits as Parquet stores them: the blocks' words, little-endian.
    pub fn bitset(&self) -> Vec<u8> {
        let mut bitset = Vec::with_capacity(self.table_len());
        for block in &self.blocks {
            for word in block.0 {
                bitset.extend_from_slice(&word.to_le_bytes());
            }
        }
        bitset
    }

    /// The seed of the hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The keys it was made for.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The false-positive rate it was made for.
    pub fn fpr(&self) -> f64 {
        self.fpr
    }

    /// Bytes of the bits.
    pub fn table_len(&self) -> usize {
        self.blocks.len() * BLOCK_LEN
    }

    /// The hash of a key under the filter's seed.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        xxh64::xxh64(self.seed, key)
    }

    /// Adds a key; true if the filter did not hold it before (so: false also for a stranger that passed).
    #[inline]
    pub fn insert(&mut self, key: &[u8]) -> bool {
        let (new, ones) = Kernel::Scalar.bloom_insert(&mut self.blocks, &[xxh64::xxh64(self.seed, key)]);
        self.ones += ones;
        new != 0
    }

    /// Whether the key may have been inserted. False is certain.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        Kernel::Scalar.bloom_contains(&self.blocks, &[self.hash(key)]) != 0
    }

    /// [`Bloom::insert`] for many keys; how many the filter did not hold before.
    pub fn insert_many<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) -> usize {
        self.insert_from(self.kernel, Each(self.seed, keys.into_iter()))
    }

    /// [`Bloom::insert_many`] for keys of `width` bytes each, one after another.
    pub fn insert_packed(&mut self, keys: &[u8], width: usize) -> Result<usize> {
        check_width(keys, width)?;
        Ok(self.insert_from(self.kernel, Packed { seed: self.seed, keys, width }))
    }

    /// [`Bloom::insert_many`] for keys whose [`Bloom::hash`] is known.
    pub fn insert_hashes(&mut self, hashes: &[u64]) -> usize {
        self.insert_from(self.kernel, hashes)
    }

    pub(super) fn insert_from(&mut self, kernel: Kernel, source: impl Source) -> usize {
        let (table, count) = (self.blocks.as_ptr(), self.blocks.len());
        let (mut keys, mut ones) = (0, 0);
        let blocks = &mut self.blocks;
        let fetch = |window: &Window, used: usize| {
            window[..used].iter().for_each(|hash| prefetch(table.wrapping_add(reduce(*hash, count))));
        };
        let done: std::result::Result<(), std::convert::Infallible> =
            each_window(kernel, source, fetch, |window, used| {
                let (new, set) = kernel.bloom_insert(blocks, &window[..used]);
                (keys, ones) = (keys + new, ones + set);
                Ok(())
            });
        let Ok(()) = done;
        self.ones += ones;
        keys
    }

    /// [`Bloom::contains`] for many keys: one bit each, the first in the lowest bit of the first byte.
    pub fn contains_many<'a, I>(&self, keys: I) -> Vec<u8>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: ExactSizeIterator,
    {
        verdicts(self.kernel, self, Each(self.seed, keys.into_iter()))
    }

    /// [`Bloom::contains_many`] for keys of `width` bytes each, one after another.
    pub fn contains_packed(&self, keys: &[u8], width: usize) -> Result<Vec<u8>> {
        check_width(keys, width)?;
        Ok(self.contains_from(self.kernel, Packed { seed: self.seed, keys, width }))
    }

    /// [`Bloom::contains_many`] for keys whose [`Bloom::hash`] is known.
    pub fn contains_hashes(&self, hashes: &[u64]) -> Vec<u8> {
        self.contains_from(self.kernel, hashes)
    }

    pub(super) fn contains_from(&self, kernel: Kernel, source: impl Pieces) -> Vec<u8> {
        verdicts_of(kernel, self, source)
    }

    /// About how many different keys it holds, from the bits that are set: after n keys a bit is still free with the
    /// probability e^(−n/(32·blocks)). A filter with every bit set may hold any number: then `u64::MAX`.
    pub fn len(&self) -> u64 {
        self.keys_estimate().round() as u64
    }

    fn keys_estimate(&self) -> f64 {
        // Negated: the logarithm of 1 is 0, and an estimate of −0 keys reads oddly.
        (-(1.0 - self.load()).ln() * 32.0 * self.blocks.len() as f64).abs()
    }

    /// Whether no key was ever inserted.
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// The share of bits that are set, 0 to 1.
    pub fn load(&self) -> f64 {
        self.ones as f64 / (self.table_len() * 8) as f64
    }

    /// The probability that a stranger passes now.
    pub fn estimated_fpr(&self) -> f64 {
        fpr_of(self.keys_estimate() / self.blocks.len() as f64)
    }

    /// Whether it holds more keys than it was made for (beyond chance, see [`Bloom::len`]), so that strangers may pass more
    /// often than was asked for.
    pub fn saturated(&self) -> bool {
        self.keys_estimate() > keys_limit(self.capacity)
    }

    /// The filter of the keys of both, which must have been made with the same numbers.
    pub fn union(&self, other: &Self) -> Result<Self> {
        let numbers = |filter: &Self| (filter.seed, filter.capacity, filter.fpr.to_bits(), filter.table_len());
        if numbers(self) != numbers(other) {
            let name = |filter: &Self| {
                format!(
                    "(capacity {}, fpr {}, seed {}, {} bytes)",
                    filter.capacity,
                    filter.fpr,
                    filter.seed,
                    filter.table_len()
                )
            };
            return Err(Error::input(format!(
                "cbf: a union of {} and {}: they must be equal",
                name(self),
                name(other)
            )));
        }
        let mut both = self.clone();
        both.ones = 0;
        for (block, other) in both.blocks.iter_mut().zip(&other.blocks) {
            for (word, other) in block.0.iter_mut().zip(other.0) {
                *word |= other;
                both.ones += u64::from(word.count_ones());
            }
        }
        Ok(both)
    }

    /// The encoding: a record of the one codec.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bitset = Bytes::new("cbf: bitset", self.bitset())?;
        let mut record = BloomRecord { seed: self.seed, capacity: self.capacity, fpr: self.fpr, bitset, checksum: 0 };
        record.checksum = record.expected_checksum();
        wire::encode(&record)
    }

    /// The filter of an encoding. Hostile bytes are refused; a filter whose every bit is set is not (it says yes to all).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let record: BloomRecord = wire::decode(bytes)?;
        Self::from_bitset(&record.bitset, record.capacity, record.fpr, record.seed)
    }
}

impl Lookup for Bloom {
    fn fetch(&self, _: Kernel, window: &Window, count: usize) {
        let table = self.blocks.as_ptr();
        window[..count].iter().for_each(|hash| prefetch(table.wrapping_add(reduce(*hash, self.blocks.len()))));
    }

    fn look(&self, kernel: Kernel, window: &Window, count: usize) -> u64 {
        kernel.bloom_contains(&self.blocks, &window[..count])
    }
}
