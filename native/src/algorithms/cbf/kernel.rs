//! The loops that the processor can do several of at once: hashing packed keys, checking and filling blocks, and finding
//! the buckets of fingerprints.
//!
//! [`Kernel::chosen`] is the best that this machine offers, or the one that the environment variable
//! `CITY_CHAIN_CBF_KERNEL` (`scalar`, `avx2` or `avx512`) names; every kernel gives the same bits, which the tests check. All
//! of them work on a window of at most [`WINDOW`] hashes, whose places are fetched into the cache before they are needed.

use std::sync::OnceLock;

use super::bloom::{Block, bits};
use super::cuckoo::places;
use super::{reduce, xxh64};
use crate::error::Result;
use crate::primitives::kernel;

/// Keys that are on their way at a time: enough to hide the memory behind the table, and one verdict a bit of a `u64`.
pub(super) const WINDOW: usize = 64;

/// The environment variable that names the kernel to use.
const VARIABLE: &str = "CITY_CHAIN_CBF_KERNEL";

/// A set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kernel {
    /// What every processor of the platform has.
    Scalar,
    /// 256 bits: a block at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits: eight hashes at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Where the keys of a window go in a cuckoo filter: fingerprint, first and second bucket.
pub(super) type Places = [[u64; WINDOW]; 3];

impl Kernel {
    /// The kernels that this machine can run, the slowest first.
    pub(super) fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut kernels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            kernels.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                kernels.push(Self::Avx512);
            }
        }
        kernels
    }

    /// Its name, as the environment variable takes it.
    fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// What the environment names, or the best there is. The environment is read once.
    pub(super) fn chosen() -> Result<Self> {
        static CHOSEN: OnceLock<Result<Kernel>> = OnceLock::new();
        let choose = || {
            let available: Vec<_> = Self::available().into_iter().rev().map(|kernel| (kernel.name(), kernel)).collect();
            kernel::from_environment("cbf", VARIABLE, &available)
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// The hashes of packed keys of `width` bytes, one for each place of `hashes`.
    pub(super) fn hash_packed(self, seed: u64, keys: &[u8], width: usize, hashes: &mut [u64]) {
        #[allow(unused_mut)]
        let (mut keys, mut hashes) = (keys, hashes);
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512 && width == xxh64::STRIPE {
            let (eights, key_tail) = keys.as_chunks::<{ 8 * xxh64::STRIPE }>();
            let (places, hash_tail) = hashes.as_chunks_mut::<8>();
            // SAFETY: `Avx512` is made only where AVX-512 F and DQ were detected.
            unsafe { x86::hash_eights(seed, eights, places) };
            (keys, hashes) = (key_tail, hash_tail);
        }
        for (hash, key) in hashes.iter_mut().zip(keys.chunks_exact(width)) {
            *hash = xxh64::xxh64(seed, key);
        }
    }

    /// Which of at most [`WINDOW`] hashes the blocks hold: one bit each.
    #[inline]
    pub(super) fn bloom_contains(self, blocks: &[Block], hashes: &[u64]) -> u64 {
        match self {
            Self::Scalar => bloom_contains(blocks, hashes),
            // SAFETY: both are made only where AVX2 was detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { x86::bloom_contains(blocks, hashes) },
        }
    }

    /// Sets the bits of all hashes; how many set any, and how many bits were set.
    #[inline]
    pub(super) fn bloom_insert(self, blocks: &mut [Block], hashes: &[u64]) -> (usize, u64) {
        match self {
            Self::Scalar => bloom_insert(blocks, hashes),
            // SAFETY: both are made only where AVX2 was detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { x86::bloom_insert(blocks, hashes) },
        }
    }

    /// Where at most [`WINDOW`] hashes go among `count` buckets.
    #[inline]
    pub(super) fn cuckoo_places(self, hashes: &[u64; WINDOW], count: usize, made: &mut Places) {
        match self {
            Self::Scalar => cuckoo_places(hashes, count, made),
            // SAFETY: made only where AVX2 was detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::cuckoo_places_avx2(hashes, count, made) },
            // SAFETY: made only where AVX-512 F and DQ were detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::cuckoo_places_avx512(hashes, count, made) },
        }
    }
}

/// Asks for the cache line of `place`, which need not lie in any object.
#[inline(always)]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[inline(always)]
fn bloom_contains(blocks: &[Block], hashes: &[u64]) -> u64 {
    hashes.iter().enumerate().fold(0, |verdicts, (at, hash)| {
        let block = &blocks[reduce(*hash, blocks.len())].0;
        let missing = block.iter().zip(bits(*hash)).fold(0, |missing, (word, bit)| missing | !word & bit);
        verdicts | u64::from(missing == 0) << at
    })
}

#[inline(always)]
fn bloom_insert(blocks: &mut [Block], hashes: &[u64]) -> (usize, u64) {
    let count = blocks.len();
    hashes.iter().fold((0, 0), |(keys, ones), hash| {
        let mut new = 0;
        for (word, bit) in blocks[reduce(*hash, count)].0.iter_mut().zip(bits(*hash)) {
            new += u64::from(*word & bit == 0);
            *word |= bit;
        }
        (keys + usize::from(new != 0), ones + new)
    })
}

#[inline(always)]
fn cuckoo_places(hashes: &[u64; WINDOW], count: usize, made: &mut Places) {
    let [fingerprints, first, second] = made;
    for at in 0..WINDOW {
        (fingerprints[at], first[at], second[at]) = places(hashes[at], count as u64);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::bloom::SALT;
    use super::xxh64::{P1, P2, P3, P4, STRIPE};
    use super::*;

    /// The bits of a hash, one in each of eight words.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(hash: u64) -> __m256i {
        let [a, b, c, d, e, f, g, h] = SALT.map(u32::cast_signed);
        let salted = _mm256_mullo_epi32(_mm256_set1_epi32(hash as i32), _mm256_setr_epi32(a, b, c, d, e, f, g, h));
        _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32::<27>(salted))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(block: &Block) -> __m256i {
        const { assert!(size_of::<Block>() == 32 && align_of::<Block>() == 32) };
        // SAFETY: a block is 32 bytes at an address that is a multiple of 32.
        unsafe { _mm256_load_si256(std::ptr::from_ref(block).cast()) }
    }

    /// As the function of this name above.
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn bloom_contains(blocks: &[Block], hashes: &[u64]) -> u64 {
        let mut verdicts = 0;
        for (at, hash) in hashes.iter().enumerate() {
            let block = load(&blocks[reduce(*hash, blocks.len())]);
            // testc: 1 if no bit of the mask is missing in the block.
            verdicts |= (_mm256_testc_si256(block, mask(*hash)) as u64) << at;
        }
        verdicts
    }

    /// As the function of this name above.
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn bloom_insert(blocks: &mut [Block], hashes: &[u64]) -> (usize, u64) {
        let (count, mut keys, mut ones) = (blocks.len(), 0, 0);
        for hash in hashes {
            let place = &mut blocks[reduce(*hash, count)];
            let (block, mask) = (load(place), mask(*hash));
            // A word that misses its bit is 0 under the mask.
            let missing = _mm256_cmpeq_epi32(_mm256_and_si256(block, mask), _mm256_setzero_si256());
            let new = _mm256_movemask_ps(_mm256_castsi256_ps(missing)).count_ones();
            keys += usize::from(new != 0);
            ones += u64::from(new);
            // SAFETY: as for `load`, and the place is borrowed mutably.
            unsafe { _mm256_store_si256(std::ptr::from_mut(place).cast(), _mm256_or_si256(block, mask)) };
        }
        (keys, ones)
    }

    /// As the function `cuckoo_places` above.
    #[target_feature(enable = "avx2")]
    pub(super) fn cuckoo_places_avx2(hashes: &[u64; WINDOW], count: usize, made: &mut Places) {
        super::cuckoo_places(hashes, count, made);
    }

    /// As the function `cuckoo_places` above.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn cuckoo_places_avx512(hashes: &[u64; WINDOW], count: usize, made: &mut Places) {
        super::cuckoo_places(hashes, count, made);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn round(lane: __m512i, input: __m512i) -> __m512i {
        let sum = _mm512_add_epi64(lane, _mm512_mullo_epi64(input, _mm512_set1_epi64(P2 as i64)));
        _mm512_mullo_epi64(_mm512_rol_epi64::<31>(sum), _mm512_set1_epi64(P1 as i64))
    }

    /// XXH64 of keys of one stripe each, eight at a time: one lane of eight keys in each register.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn hash_eights(seed: u64, keys: &[[u8; 8 * STRIPE]], hashes: &mut [[u64; 8]]) {
        let wide = |value: u64| _mm512_set1_epi64(value as i64);
        let start = xxh64::lanes(seed).map(wide);
        let (low, high) = (_mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13), _mm512_setr_epi64(2, 6, 10, 14, 3, 7, 11, 15));
        for (keys, hashes) in keys.iter().zip(hashes) {
            let at = |pair: usize| {
                let pair: &[u8; 2 * STRIPE] = &keys.as_chunks().0[pair];
                // SAFETY: 64 bytes are there, and the load asks for no alignment.
                unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) }
            };
            let (a, b, c, d) = (at(0), at(1), at(2), at(3));
            // Lanes 0 and 1 (then 2 and 3) of keys 0 to 3, and of keys 4 to 7; then their halves side by side.
            let (front, back) = (_mm512_permutex2var_epi64(a, low, b), _mm512_permutex2var_epi64(c, low, d));
            let lane0 = _mm512_shuffle_i64x2::<0b01_00_01_00>(front, back);
            let lane1 = _mm512_shuffle_i64x2::<0b11_10_11_10>(front, back);
            let (front, back) = (_mm512_permutex2var_epi64(a, high, b), _mm512_permutex2var_epi64(c, high, d));
            let lane2 = _mm512_shuffle_i64x2::<0b01_00_01_00>(front, back);
            let lane3 = _mm512_shuffle_i64x2::<0b11_10_11_10>(front, back);
            let lanes =
                [round(start[0], lane0), round(start[1], lane1), round(start[2], lane2), round(start[3], lane3)];
            let mut hash = _mm512_add_epi64(
                _mm512_add_epi64(_mm512_rol_epi64::<1>(lanes[0]), _mm512_rol_epi64::<7>(lanes[1])),
                _mm512_add_epi64(_mm512_rol_epi64::<12>(lanes[2]), _mm512_rol_epi64::<18>(lanes[3])),
            );
            for lane in lanes {
                hash = _mm512_xor_si512(hash, round(_mm512_setzero_si512(), lane));
                hash = _mm512_add_epi64(_mm512_mullo_epi64(hash, wide(P1)), wide(P4));
            }
            hash = _mm512_add_epi64(hash, wide(STRIPE as u64));
            hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, _mm512_srli_epi64::<33>(hash)), wide(P2));
            hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, _mm512_srli_epi64::<29>(hash)), wide(P3));
            hash = _mm512_xor_si512(hash, _mm512_srli_epi64::<32>(hash));
            // SAFETY: 64 bytes are there, and the store asks for no alignment.
            unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash) };
        }
    }
}
