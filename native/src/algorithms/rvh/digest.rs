//! The 64-bit hashes of nodes and keys: the first 8 bytes (little-endian) of domain-separated BLAKE3.
//!
//! A key of at most 64 bytes is one block, so that its hash is one compression under the context's key (BLAKE3 paper,
//! sections 2.2 and 2.3). Many such keys are compressed together, one in each lane of the vectors; longer keys take the
//! ordinary way.

use std::sync::LazyLock;

use super::kernel::Kernel;
use crate::crypto::hash;

const CONTEXT_NODE: &str = "city-chain v1 rvh node";
const CONTEXT_KEY: &str = "city-chain v1 rvh key";

/// Keys that are hashed together.
pub(super) const LANES: usize = 16;

/// Bytes of a block.
const BLOCK: usize = 64;

/// Eight words: a key or a chaining value of BLAKE3.
pub(super) type Words = [u32; 8];

/// CHUNK_START, CHUNK_END, ROOT and DERIVE_KEY_MATERIAL: one block, which is all of the message.
const FLAGS: u32 = 1 | 2 | 8 | 64;

const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];

/// Which word of the message each quarter of each round takes.
const SCHEDULE: [[usize; 16]; 7] = {
    let permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut rounds = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; 7];
    let mut round = 1;
    while round < 7 {
        let mut at = 0;
        while at < 16 {
            rounds[round][at] = rounds[round - 1][permutation[at]];
            at += 1;
        }
        round += 1;
    }
    rounds
};

static KEY: LazyLock<Words> = LazyLock::new(|| {
    let key = blake3::hazmat::hash_derive_key_context(CONTEXT_KEY);
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
});

/// Messages of one block each, side by side: word by word, and their lengths.
pub(super) struct Messages {
    words: [[u32; LANES]; 16],
    lengths: [u32; LANES],
}

/// Many keys.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// One after another, each of so many bytes (at least 1; what is left at the end is no key).
    Packed(&'a [u8], usize),
    /// Each of its own length.
    Listed(&'a [&'a [u8]]),
}

impl<'a> Keys<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(bytes, width) => bytes.len().checked_div(*width).unwrap_or(0),
            Self::Listed(keys) => keys.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Packed(bytes, _) => bytes.len(),
            Self::Listed(keys) => keys.iter().map(|key| key.len()).sum(),
        }
    }

    #[inline(always)]
    fn get(&self, at: usize) -> &'a [u8] {
        match self {
            Self::Packed(bytes, width) => &bytes[at * width..(at + 1) * width],
            Self::Listed(keys) => keys[at],
        }
    }

    /// The hashes of the keys from `start` on, one for each place of `hashes`.
    pub(super) fn hash(&self, kernel: Kernel, start: usize, hashes: &mut [u64]) {
        let (mut messages, mut together) = (Messages { words: [[0; LANES]; 16], lengths: [0; LANES] }, [0; LANES]);
        for (group, hashes) in hashes.chunks_mut(LANES).enumerate() {
            let start = start + group * LANES;
            if hashes.len() <= 2 {
                for (lane, hash) in hashes.iter_mut().enumerate() {
                    *hash = key(self.get(start + lane));
                }
                continue;
            }
            messages.words = [[0; LANES]; 16];
            let mut long = false;
            for lane in 0..hashes.len() {
                let key = self.get(start + lane);
                long |= !messages.set(lane, key);
            }
            kernel.blocks(&KEY, &messages, &mut together);
            hashes.copy_from_slice(&together[..hashes.len()]);
            if long {
                for (lane, hash) in hashes.iter_mut().enumerate() {
                    if self.get(start + lane).len() > BLOCK {
                        *hash = key(self.get(start + lane));
                    }
                }
            }
        }
    }
}

impl Messages {
    /// Puts a message into a lane whose words are all 0; false if it is longer than a block.
    #[inline(always)]
    fn set(&mut self, lane: usize, message: &[u8]) -> bool {
        if message.len() > BLOCK {
            self.lengths[lane] = 0;
            return false;
        }
        self.lengths[lane] = message.len() as u32;
        let (words, rest) = message.as_chunks();
        for (at, word) in words.iter().enumerate() {
            self.words[at][lane] = u32::from_le_bytes(*word);
        }
        for (at, byte) in rest.iter().enumerate() {
            self.words[words.len()][lane] |= u32::from(*byte) << (8 * at);
        }
        true
    }
}

/// The hash of a node's id.
pub(super) fn node(id: &[u8]) -> u64 {
    first(&hash::digest(CONTEXT_NODE, id))
}

/// The hash of one key.
pub(super) fn key(key: &[u8]) -> u64 {
    if key.len() > BLOCK {
        return first(&hash::digest(CONTEXT_KEY, key));
    }
    let mut block = [0; BLOCK];
    block[..key.len()].copy_from_slice(key);
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let [low, high] = compress(&KEY, &words, key.len() as u32);
    u64::from(high) << 32 | u64::from(low)
}

fn first(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// One message after another.
pub(super) fn blocks(key: &Words, messages: &Messages, hashes: &mut [u64; LANES]) {
    for (lane, hash) in hashes.iter_mut().enumerate() {
        let [low, high] = compress(key, &messages.words.map(|word| word[lane]), messages.lengths[lane]);
        *hash = u64::from(high) << 32 | u64::from(low);
    }
}

/// A word of every lane.
trait Lane: Copy {
    fn all(word: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self;
}

impl Lane for u32 {
    #[inline(always)]
    fn all(word: u32) -> Self {
        word
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        self.rotate_left(LEFT as u32)
    }
}

/// The compression function of BLAKE3 for a message of one block: the first two words of the output.
#[inline(always)]
fn compress<L: Lane>(key: &Words, message: &[L; 16], length: L) -> [L; 2] {
    let mut state = [L::all(0); 16];
    for at in 0..8 {
        state[at] = L::all(key[at]);
    }
    for at in 0..4 {
        state[8 + at] = L::all(IV[at]);
    }
    (state[14], state[15]) = (length, L::all(FLAGS));
    round::<L, 0>(&mut state, message);
    round::<L, 1>(&mut state, message);
    round::<L, 2>(&mut state, message);
    round::<L, 3>(&mut state, message);
    round::<L, 4>(&mut state, message);
    round::<L, 5>(&mut state, message);
    round::<L, 6>(&mut state, message);
    [state[0].xor(state[8]), state[1].xor(state[9])]
}

/// Columns, then diagonals.
#[inline(always)]
fn round<L: Lane, const AT: usize>(state: &mut [L; 16], message: &[L; 16]) {
    let word = |at: usize| message[SCHEDULE[AT][at]];
    quarter(state, [0, 4, 8, 12], [word(0), word(1)]);
    quarter(state, [1, 5, 9, 13], [word(2), word(3)]);
    quarter(state, [2, 6, 10, 14], [word(4), word(5)]);
    quarter(state, [3, 7, 11, 15], [word(6), word(7)]);
    quarter(state, [0, 5, 10, 15], [word(8), word(9)]);
    quarter(state, [1, 6, 11, 12], [word(10), word(11)]);
    quarter(state, [2, 7, 8, 13], [word(12), word(13)]);
    quarter(state, [3, 4, 9, 14], [word(14), word(15)]);
}

#[inline(always)]
fn quarter<L: Lane>(state: &mut [L; 16], [a, b, c, d]: [usize; 4], [x, y]: [L; 2]) {
    state[a] = state[a].add(state[b]).add(x);
    state[d] = state[d].xor(state[a]).rotate::<16, 16>();
    state[c] = state[c].add(state[d]);
    state[b] = state[b].xor(state[c]).rotate::<12, 20>();
    state[a] = state[a].add(state[b]).add(y);
    state[d] = state[d].xor(state[a]).rotate::<8, 24>();
    state[c] = state[c].add(state[d]);
    state[b] = state[b].xor(state[c]).rotate::<7, 25>();
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    macro_rules! lane {
        ($name:ident, $type:ty, $all:ident, $add:ident, $xor:ident, |$value:ident| $rotate:expr) => {
            /// Lives only inside the functions below that enable its instructions.
            #[derive(Clone, Copy)]
            struct $name($type);

            impl Lane for $name {
                #[inline(always)]
                fn all(word: u32) -> Self {
                    // SAFETY: only the functions below use this type, and they enable the instruction.
                    Self(unsafe { $all(word as i32) })
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: as above.
                    Self(unsafe { $add(self.0, other.0) })
                }

                #[inline(always)]
                fn xor(self, other: Self) -> Self {
                    // SAFETY: as above.
                    Self(unsafe { $xor(self.0, other.0) })
                }

                #[inline(always)]
                fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
                    let $value = self.0;
                    // SAFETY: as above.
                    Self(unsafe { $rotate })
                }
            }
        };
    }

    lane!(Eight, __m256i, _mm256_set1_epi32, _mm256_add_epi32, _mm256_xor_si256, |value| _mm256_or_si256(
        _mm256_srli_epi32::<RIGHT>(value),
        _mm256_slli_epi32::<LEFT>(value)
    ));
    lane!(Sixteen, __m512i, _mm512_set1_epi32, _mm512_add_epi32, _mm512_xor_si512, |value| _mm512_ror_epi32::<RIGHT>(
        value
    ));

    /// As the function `blocks` above, eight lanes at once.
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn blocks_avx2(key: &Words, messages: &Messages, hashes: &mut [u64; LANES]) {
        for half in 0..2 {
            let load = |words: &[u32; LANES]| {
                let words: &[u32; 8] = &words.as_chunks().0[half];
                // SAFETY: 32 bytes are there, and the load asks for no alignment.
                Eight(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
            };
            let mut words = [load(&messages.lengths); 16];
            for (word, lanes) in words.iter_mut().zip(&messages.words) {
                *word = load(lanes);
            }
            let [low, high] = compress(key, &words, load(&messages.lengths));
            let mut out = [[0u32; 8]; 2];
            // SAFETY: 32 bytes are there, and the store asks for no alignment.
            unsafe { _mm256_storeu_si256(out[0].as_mut_ptr().cast(), low.0) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(out[1].as_mut_ptr().cast(), high.0) };
            for lane in 0..8 {
                hashes[8 * half + lane] = u64::from(out[1][lane]) << 32 | u64::from(out[0][lane]);
            }
        }
    }

    /// As the function `blocks` above, sixteen lanes at once.
    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn blocks_avx512(key: &Words, messages: &Messages, hashes: &mut [u64; LANES]) {
        let load = |words: &[u32; LANES]| {
            // SAFETY: 64 bytes are there, and the load asks for no alignment.
            Sixteen(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
        };
        let mut words = [load(&messages.lengths); 16];
        for (word, lanes) in words.iter_mut().zip(&messages.words) {
            *word = load(lanes);
        }
        let [low, high] = compress(key, &words, load(&messages.lengths));
        let mut out = [[0u32; LANES]; 2];
        // SAFETY: 64 bytes are there, and the store asks for no alignment.
        unsafe { _mm512_storeu_si512(out[0].as_mut_ptr().cast(), low.0) };
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(out[1].as_mut_ptr().cast(), high.0) };
        for lane in 0..LANES {
            hashes[lane] = u64::from(out[1][lane]) << 32 | u64::from(out[0][lane]);
        }
    }
}
