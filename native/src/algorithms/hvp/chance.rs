//! All chance of a node, from its seed: BLAKE3 in counter mode, so that nobody can tell the next number from those before.

use crate::crypto::hash::Hasher;

const CONTEXT: &str = "city-chain v1 hvp chance";

/// A stream of numbers.
#[derive(Clone)]
pub struct Chance {
    seed: [u8; 32],
    blocks: u64,
    block: [u8; 64],
    used: usize,
}

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, blocks: 0, block: [0; 64], used: 64 }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        if self.used + 8 > self.block.len() {
            Hasher::new(CONTEXT).fixed(&self.seed).u64(self.blocks).fill(&mut self.block);
            self.blocks += 1;
            self.used = 0;
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    /// A number below `bound`; 0 if that is 0. Its bias is below `bound` / 2⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Half of `period` to one and a half of it.
    pub fn around(&mut self, period: u64) -> u64 {
        period / 2 + ((u128::from(self.next()) * u128::from(period)) >> 64) as u64
    }

    /// Brings `count` items, or all, chosen at random, to the front.
    pub fn pick<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let from = at + self.below(items.len() - at);
            items.swap(at, from);
        }
    }
}
