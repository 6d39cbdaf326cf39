//! All chance of a simulation, from one number.

use crate::crypto::hash::{Digest, Hasher};

const CONTEXT: &str = "city-chain v1 simulation stream";

/// A stream of numbers: xoshiro256** (Blackman and Vigna, 2018), started from a hash. Not for keys.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed` for one purpose; `index` tells apart streams of one purpose (nodes).
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let start: Digest = Hasher::new(CONTEXT).u64(seed).field(purpose.as_bytes()).u64(index).finish();
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(start.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self { state }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number below `bound` (0 if that is 0). Its bias is below 2⁻⁶⁴ × `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that happens `ppm` times in a million. Draws nothing if the answer is fixed.
    pub fn chance(&mut self, ppm: u32) -> bool {
        match ppm {
            0 => false,
            1_000_000.. => true,
            _ => self.below(1_000_000) < u64::from(ppm),
        }
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_index_and_repeat_by_themselves() {
        let first = |seed, purpose, index| Rng::new(seed, purpose, index).next_u64();
        assert_eq!(first(1, "a", 0), first(1, "a", 0));
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        assert!((0..4).all(|at| !all[..at].contains(&all[at])), "{all:?}");
    }

    #[test]
    fn the_numbers_are_xoshiro256_starstar() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let expected = [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240];
        assert_eq!([(); 4].map(|()| rng.next_u64()), expected);
    }

    #[test]
    fn bounds_and_chances_hold() {
        let mut rng = Rng::new(7, "test", 0);
        assert_eq!(rng.below(0), 0);
        let mut seen = [0u32; 6];
        (0..60_000).for_each(|_| seen[rng.below(6) as usize] += 1);
        assert!(seen.iter().all(|count| (9_400..10_600).contains(count)), "{seen:?}");
        let hits = (0..100_000).filter(|_| rng.chance(250_000)).count();
        assert!((24_200..25_800).contains(&hits), "{hits}");
        assert!(!rng.chance(0) && rng.chance(1_000_000));
        let mut items: Vec<u32> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut bytes = [0; 13];
        rng.fill(&mut bytes);
        assert_ne!(bytes[8..], [0; 5]);
    }
}
