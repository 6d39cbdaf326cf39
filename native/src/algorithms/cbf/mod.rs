//! CBF: membership filters. "Which nodes may hold this fragment?" and "have I seen this id?" without asking.
//!
//! - [`Bloom`] only grows: the split-block Bloom filter exactly as Apache Parquet specifies it (`BloomFilter.md` of
//!   parquet-format; Putze, Sanders, Singler 2007), so one block of 32 bytes is touched a lookup and the bits are a
//!   published format;
//! - [`Cuckoo`] forgets: a cuckoo filter (Fan, Andersen, Kaminsky, Mitzenmacher 2014) of four 16-bit fingerprints a
//!   bucket. Deviation: the other bucket is `(h(fingerprint) − bucket) mod m`, an involution for any m, where the paper's
//!   exclusive-or needs a power of two.
//!
//! Neither ever denies a key that it holds. Keys are hashed by XXH64 under the filter's seed: fast, and no defence against
//! somebody who knows the seed and chooses keys that collide; give each filter that strangers feed a random seed.
//! Their encodings are records of the one codec, versioned, with a checksum against damage (not against forgery).

mod batch;
mod bloom;
mod cuckoo;
mod kernel;
mod xxh64;

use std::hash::Hasher as _;

use twox_hash::XxHash64;

pub use bloom::{BLOCK_LEN, Bloom, CAPACITY_MAX, FPR_MAX, FPR_MIN};
pub use cuckoo::{COPIES_MAX, Cuckoo, SLOTS};
pub use kernel::prefetch;

use crate::error::{Error, Result};

/// The most bytes of bits or buckets that a filter may have: 1 GiB.
pub const TABLE_MAX: usize = 1 << 30;

/// The most bytes of an encoded filter: its table and less than 64 bytes around it.
pub const ENCODED_MAX: usize = TABLE_MAX + 64;

/// Whether `keys` are whole keys of `width` bytes each.
fn check_width(keys: &[u8], width: usize) -> Result<()> {
    if width == 0 || !keys.len().is_multiple_of(width) {
        return Err(Error::input(format!(
            "cbf: {} bytes of keys of {width} bytes each; a multiple of the width, which is at least 1, is needed",
            keys.len()
        )));
    }
    Ok(())
}

/// The hash of a key for a filter with this seed: XXH64.
#[inline]
pub fn hash(seed: u64, key: &[u8]) -> u64 {
    xxh64::xxh64(seed, key)
}

/// Maps the upper half of a hash onto 0..count, as Parquet does (Lemire's multiply and shift).
#[inline(always)]
fn reduce(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
}

/// XXH64 (seed 0) of a filter's numbers (little-endian) and then its table.
fn checksum(numbers: &[u64], table: &[u8]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for number in numbers {
        hasher.write(&number.to_le_bytes());
    }
    hasher.write(table);
    hasher.finish()
}

#[cfg(test)]
mod tests;
