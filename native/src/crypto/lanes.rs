//! BLAKE3 of many short messages of one length side by side: up to 16 in the lanes of AVX-512.
//!
//! The fragments of a small payload have less than one chunk (1,024 bytes) each, and BLAKE3 finds nothing in such a message
//! to do in parallel. Messages of one length take the same steps, so one vector holds a word of each (BLAKE3 paper, section
//! 5.3, where the lanes are chunks of one message).

use super::hash::Digest;

/// The most bytes of a message: one chunk.
const CHUNK: usize = 1024;

/// The fewest messages for which the lanes are worth it.
const LANES_MIN: usize = 3;

/// The hashes of messages of one length, in order; `None` where this machine or the messages have no use for lanes.
pub(super) fn hash(messages: &[&[u8]]) -> Option<Vec<Digest>> {
    let len = messages.first()?.len();
    if messages.len() < LANES_MIN || len > CHUNK || messages.iter().any(|message| message.len() != len) {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw") {
        let mut digests = Vec::with_capacity(messages.len());
        for some in messages.chunks(x86::LANES) {
            // SAFETY: the features were detected; the messages, at most 16, all have `len` ≤ 1,024 bytes.
            digests.extend(unsafe { x86::hash(some, len) }.iter().take(some.len()));
        }
        return Some(digests);
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Digest;

    /// Messages at a time.
    pub(super) const LANES: usize = 16;

    const IV: [u32; 8] =
        [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

    const CHUNK_START: u32 = 1;
    const CHUNK_END: u32 = 2;
    const ROOT: u32 = 8;

    /// Which words of the message each round takes: the permutation of the specification, again and again.
    const SCHEDULE: [[usize; 16]; 7] = {
        const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
        let mut schedule = [[0; 16]; 7];
        let (mut round, mut word) = (0, 0);
        while word < 16 {
            schedule[0][word] = word;
            word += 1;
        }
        while round < 6 {
            word = 0;
            while word < 16 {
                schedule[round + 1][word] = schedule[round][PERMUTATION[word]];
                word += 1;
            }
            round += 1;
        }
        schedule
    };

    /// For a transposition step over `distance`: which lanes of a pair of rows go into the first and the second.
    const fn exchange(distance: i32) -> [[i32; LANES]; 2] {
        let mut lanes = [[0; LANES]; 2];
        let mut at = 0;
        while at < LANES as i32 {
            // 16 and above name lanes of the second row.
            lanes[0][at as usize] = if at & distance == 0 { at } else { 16 + (at ^ distance) };
            lanes[1][at as usize] = if at & distance == 0 { at ^ distance } else { 16 + at };
            at += 1;
        }
        lanes
    }

    /// Turns words of a row into a row of words: swaps ever smaller squares off the diagonal.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: &mut [__m512i; LANES]) {
        const STEPS: [[[i32; LANES]; 2]; 4] = [exchange(8), exchange(4), exchange(2), exchange(1)];
        for (step, distance) in STEPS.iter().zip([8, 4, 2, 1]) {
            // SAFETY: each has 16 words, and the loads need no alignment.
            let [first, second] = step.map(|lanes| unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) });
            for row in (0..LANES).filter(|row| row & distance == 0) {
                let (a, b) = (rows[row], rows[row | distance]);
                rows[row] = _mm512_permutex2var_epi32(a, first, b);
                rows[row | distance] = _mm512_permutex2var_epi32(a, second, b);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn mix(v: &mut [__m512i; 16], [a, b, c, d]: [usize; 4], x: __m512i, y: __m512i) {
        v[a] = _mm512_add_epi32(_mm512_add_epi32(v[a], v[b]), x);
        v[d] = _mm512_ror_epi32::<16>(_mm512_xor_si512(v[d], v[a]));
        v[c] = _mm512_add_epi32(v[c], v[d]);
        v[b] = _mm512_ror_epi32::<12>(_mm512_xor_si512(v[b], v[c]));
        v[a] = _mm512_add_epi32(_mm512_add_epi32(v[a], v[b]), y);
        v[d] = _mm512_ror_epi32::<8>(_mm512_xor_si512(v[d], v[a]));
        v[c] = _mm512_add_epi32(v[c], v[d]);
        v[b] = _mm512_ror_epi32::<7>(_mm512_xor_si512(v[b], v[c]));
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn round(v: &mut [__m512i; 16], m: &[__m512i; 16], s: &[usize; 16]) {
        mix(v, [0, 4, 8, 12], m[s[0]], m[s[1]]);
        mix(v, [1, 5, 9, 13], m[s[2]], m[s[3]]);
        mix(v, [2, 6, 10, 14], m[s[4]], m[s[5]]);
        mix(v, [3, 7, 11, 15], m[s[6]], m[s[7]]);
        mix(v, [0, 5, 10, 15], m[s[8]], m[s[9]]);
        mix(v, [1, 6, 11, 12], m[s[10]], m[s[11]]);
        mix(v, [2, 7, 8, 13], m[s[12]], m[s[13]]);
        mix(v, [3, 4, 9, 14], m[s[14]], m[s[15]]);
    }

    /// The hashes of at most 16 messages; lanes without one have no meaning.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512F and BW; there is at least one message, and all have `len` bytes, at most one chunk.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn hash(messages: &[&[u8]], len: usize) -> [Digest; LANES] {
        let word = |value: u32| _mm512_set1_epi32(value.cast_signed());
        let mut state = IV.map(word);
        let blocks = len.div_ceil(64).max(1);
        for block in 0..blocks {
            let count = (len - 64 * block).min(64);
            let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
            let mut m = [_mm512_setzero_si512(); LANES];
            for (row, message) in m.iter_mut().zip(messages) {
                // SAFETY: 64 · block + count ≤ len, to which the message may be read; bytes outside the mask are not.
                *row = unsafe { _mm512_maskz_loadu_epi8(mask, message.as_ptr().add(64 * block).cast()) };
            }
            transpose(&mut m);
            let mut flags = if block == 0 { CHUNK_START } else { 0 };
            if block + 1 == blocks {
                flags |= CHUNK_END | ROOT;
            }
            let [s0, s1, s2, s3, s4, s5, s6, s7] = state;
            let [i0, i1, i2, i3, ..] = IV.map(word);
            let (zero, length) = (_mm512_setzero_si512(), word(count as u32));
            let mut v = [s0, s1, s2, s3, s4, s5, s6, s7, i0, i1, i2, i3, zero, zero, length, word(flags)];
            round(&mut v, &m, &SCHEDULE[0]);
            round(&mut v, &m, &SCHEDULE[1]);
            round(&mut v, &m, &SCHEDULE[2]);
            round(&mut v, &m, &SCHEDULE[3]);
            round(&mut v, &m, &SCHEDULE[4]);
            round(&mut v, &m, &SCHEDULE[5]);
            round(&mut v, &m, &SCHEDULE[6]);
            for (at, word) in state.iter_mut().enumerate() {
                *word = _mm512_xor_si512(v[at], v[at + 8]);
            }
        }
        let mut rows = [_mm512_setzero_si512(); LANES];
        rows[..8].copy_from_slice(&state);
        transpose(&mut rows);
        rows.map(|row| {
            let mut digest = [0; 32];
            // SAFETY: the digest has 32 bytes, the lower half of the vector; the store needs no alignment.
            unsafe { _mm256_storeu_si256(digest.as_mut_ptr().cast(), _mm512_castsi512_si256(row)) };
            digest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_equals_blake3_at_every_length_and_count() {
        let input: Vec<u8> = (0..40 * CHUNK).map(|at| (at * at % 251) as u8).collect();
        for len in 0..=CHUNK {
            let count = [3, 10, 16, 17, 33][len % 5];
            let messages: Vec<&[u8]> = input.chunks_exact(CHUNK).take(count).map(|chunk| &chunk[..len]).collect();
            let Some(digests) = hash(&messages) else {
                assert!(!cfg!(target_arch = "x86_64") || !has_lanes());
                eprintln!("skipped: this processor has no AVX-512");
                return;
            };
            let expected: Vec<Digest> = messages.iter().map(|message| *blake3::hash(message).as_bytes()).collect();
            assert_eq!(digests, expected, "{count} of {len} bytes");
        }
    }

    fn has_lanes() -> bool {
        #[cfg(target_arch = "x86_64")]
        return std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    #[test]
    fn what_has_no_use_for_lanes_is_left_to_blake3() {
        let input = [7; CHUNK + 1];
        assert_eq!(hash(&[]), None);
        assert_eq!(hash(&[&input[..5]; 2]), None, "too few");
        assert_eq!(hash(&[&input[..]; 4]), None, "too long");
        assert_eq!(hash(&[&input[..5], &input[..5], &input[..6]]), None, "of two lengths");
    }
}
