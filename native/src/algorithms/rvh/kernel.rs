//! The loops over nodes, for each set of instructions.
//!
//! All kernels are one source: the compiler makes vectors of it for AVX-512 (eight nodes at once), for AVX2 and for NEON,
//! and the one named `scalar` goes node by node. They give the same bits, which the tests check. The best that the machine
//! has is used, or the one that the environment variable `CITY_CHAIN_RVH_KERNEL` names.

use std::sync::OnceLock;

use super::digest::{self, Words};
use crate::error::Result;
use crate::primitives::kernel;

/// The environment variable that names the kernel to use.
const VARIABLE: &str = "CITY_CHAIN_RVH_KERNEL";

/// Nodes that are drawn for at once.
pub(super) const BLOCK: usize = 64;

/// Up to so many values are ordered by counting for each how many are above it.
pub(super) const COUNTED: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Scalar,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A set of instructions that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Set);

/// From which draw on a node is a hit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limits<'a> {
    /// One limit for all nodes.
    One(u64),
    /// Each node's own, as many as there are hashes.
    Each(&'a [u64]),
}

/// The nodes whose draws reach their limits, in the order of the nodes.
#[derive(Debug, Default)]
pub(super) struct Hits {
    pub draws: Vec<u64>,
    pub nodes: Vec<u32>,
}

impl Hits {
    #[inline(always)]
    fn push(&mut self, draw: u64, node: u32) {
        self.draws.push(draw);
        self.nodes.push(node);
    }
}

impl Kernel {
    /// The kernels that this machine can run, the slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut sets = vec![Set::Scalar];
        #[cfg(target_arch = "aarch64")]
        sets.push(Set::Neon);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt") {
            sets.push(Set::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
            {
                sets.push(Set::Avx512);
            }
        }
        sets.into_iter().map(Self).collect()
    }

    /// Its name: `scalar`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    /// What the environment names, or the best there is. The environment is read once.
    pub fn chosen() -> Result<Self> {
        static CHOSEN: OnceLock<Result<Kernel>> = OnceLock::new();
        let choose = || {
            let available: Vec<_> = Self::available().into_iter().rev().map(|kernel| (kernel.name(), kernel)).collect();
            kernel::from_environment("rvh", VARIABLE, &available)
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// Adds to `hits` those of the first `count` nodes whose draws under `key` reach their limits.
    #[inline]
    pub(super) fn scan(self, hashes: &[u64], count: usize, limits: Limits<'_>, key: u64, hits: &mut Hits) {
        match self.0 {
            Set::Scalar => scan_scalar(hashes, count, limits, key, hits),
            #[cfg(target_arch = "aarch64")]
            Set::Neon => scan_blocks(hashes, count, limits, key, hits),
            // SAFETY: this value is made only where these features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::scan_avx2(hashes, count, limits, key, hits) },
            // SAFETY: this value is made only where these features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::scan_avx512(hashes, count, limits, key, hits) },
        }
    }

    /// The places of the largest of `count` ≤ [`COUNTED`] values, largest first. False if two values are equal.
    ///
    /// `values` is padded with 0 to a multiple of 8.
    #[inline]
    pub(super) fn rank(self, values: &[[u64; 8]], count: usize, order: &mut [u8; COUNTED]) -> bool {
        match self.0 {
            Set::Scalar => rank(values, count, order),
            #[cfg(target_arch = "aarch64")]
            Set::Neon => rank(values, count, order),
            // SAFETY: this value is made only where these features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::rank_avx2(values, count, order) },
            // SAFETY: this value is made only where these features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::rank_avx512(values, count, order) },
        }
    }

    /// The first 8 bytes of the keyed one-block BLAKE3 of some messages.
    #[inline]
    pub(super) fn blocks(self, key: &Words, messages: &digest::Messages, hashes: &mut [u64; digest::LANES]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this value is made only where these features were detected.
            Set::Avx2 => unsafe { digest::x86::blocks_avx2(key, messages, hashes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this value is made only where these features were detected.
            Set::Avx512 => unsafe { digest::x86::blocks_avx512(key, messages, hashes) },
            _ => digest::blocks(key, messages, hashes),
        }
    }
}

/// MurmurHash3's 64-bit finaliser, a bijection.
#[inline(always)]
pub(super) fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// The inverse of the mix: the hash that draws so under the key 0.
#[cfg(test)]
pub(super) fn unmix(mut value: u64) -> u64 {
    let inverse = |odd: u64| (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))));
    for factor in [0xc4ce_b9fe_1a85_ec53, 0xff51_afd7_ed55_8ccd] {
        value = (value ^ value >> 33).wrapping_mul(inverse(factor));
    }
    value ^ value >> 33
}

fn scan_scalar(hashes: &[u64], count: usize, limits: Limits<'_>, key: u64, hits: &mut Hits) {
    for (node, hash) in hashes[..count].iter().enumerate() {
        let draw = mix(hash ^ key);
        let limit = match limits {
            Limits::One(limit) => limit,
            Limits::Each(limits) => limits[node],
        };
        if draw >= limit {
            hits.push(draw, node as u32);
        }
    }
}

#[inline(always)]
fn scan_blocks(hashes: &[u64], count: usize, limits: Limits<'_>, key: u64, hits: &mut Hits) {
    let (blocks, rest) = hashes.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let blocks = blocks.iter().chain((!rest.is_empty()).then_some(&last));
    match limits {
        Limits::One(limit) => {
            for (at, block) in blocks.enumerate() {
                scan_block(block, &[limit; BLOCK], at * BLOCK, count, key, hits);
            }
        }
        Limits::Each(limits) => {
            let (limits, rest) = limits.as_chunks::<BLOCK>();
            let mut last = [0; BLOCK];
            last[..rest.len()].copy_from_slice(rest);
            for (at, (block, limits)) in blocks.zip(limits.iter().chain([&last])).enumerate() {
                scan_block(block, limits, at * BLOCK, count, key, hits);
            }
        }
    }
}

#[inline(always)]
fn scan_block(block: &[u64; BLOCK], limits: &[u64; BLOCK], start: usize, count: usize, key: u64, hits: &mut Hits) {
    let mut draws = [0; BLOCK];
    let mut bits = 0u64;
    for at in 0..BLOCK {
        draws[at] = mix(block[at] ^ key);
        bits |= u64::from(draws[at] >= limits[at]) << at;
    }
    if count - start < BLOCK {
        bits &= (1 << (count - start)) - 1;
    }
    while bits != 0 {
        let at = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        hits.push(draws[at], (start + at) as u32);
    }
}

#[inline(always)]
fn rank(values: &[[u64; 8]], count: usize, order: &mut [u8; COUNTED]) -> bool {
    let (mut seen, others) = (0u64, &values.as_flattened()[..count]);
    for (at, eight) in values.iter().enumerate() {
        let mut above = [0u64; 8];
        for other in others {
            for lane in 0..8 {
                above[lane] += u64::from(*other > eight[lane]);
            }
        }
        for (lane, place) in above.into_iter().enumerate().take(count - 8 * at) {
            seen |= 1 << (place % 64);
            order[place as usize % COUNTED] = (8 * at + lane) as u8;
        }
    }
    seen.count_ones() as usize == count
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    #[target_feature(enable = "avx2,bmi1,popcnt")]
    pub(super) fn scan_avx2(hashes: &[u64], count: usize, limits: Limits<'_>, key: u64, hits: &mut Hits) {
        scan_blocks(hashes, count, limits, key, hits);
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,bmi1,popcnt")]
    pub(super) fn scan_avx512(hashes: &[u64], count: usize, limits: Limits<'_>, key: u64, hits: &mut Hits) {
        scan_blocks(hashes, count, limits, key, hits);
    }

    #[target_feature(enable = "avx2,bmi1,popcnt")]
    pub(super) fn rank_avx2(values: &[[u64; 8]], count: usize, order: &mut [u8; COUNTED]) -> bool {
        super::rank(values, count, order)
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,bmi1,popcnt")]
    pub(super) fn rank_avx512(values: &[[u64; 8]], count: usize, order: &mut [u8; COUNTED]) -> bool {
        super::rank(values, count, order)
    }
}
