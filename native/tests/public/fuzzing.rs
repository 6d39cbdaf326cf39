//! The bodies of the fuzz targets, driven on stable Rust: golden vectors, those with bytes changed, and seeded noise.

use crate::golden;

#[path = "../../fuzz/src/targets.rs"]
pub mod targets;

/// SplitMix64 (Steele, Lea, Flood 2014): the same noise everywhere.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn noise(target: fn(&[u8]), inputs: u64, most: usize) {
    for seed in 0..inputs {
        target(&Noise(seed).bytes(most));
    }
}

#[test]
fn records() {
    noise(targets::records, 200, 400);
    let mut noise = Noise(1);
    for (name, bytes) in golden::samples() {
        targets::records(&bytes);
        for _ in 0..60 {
            let mut wrong = bytes.clone();
            for _ in 0..=noise.below(3) {
                let at = 6 + noise.below(wrong.len() - 6);
                wrong[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6)];
            }
            if noise.below(4) == 0 {
                wrong.truncate(noise.below(wrong.len()));
            }
            targets::records(&wrong);
        }
        assert!(!name.is_empty());
    }
}

#[test]
fn codec() {
    noise(targets::codec, 3000, 120);
}

#[test]
fn erasure() {
    noise(targets::erasure, 1500, 300);
}

#[test]
fn placement() {
    noise(targets::placement, 1500, 900);
}

#[test]
fn signatures() {
    noise(targets::signatures, 150, 200);
}

#[test]
fn draws() {
    noise(targets::draws, 150, 300);
}

#[test]
fn audits() {
    noise(targets::audits, 300, 300);
}

#[test]
fn bulk_signatures() {
    noise(targets::bulk_signatures, 150, 100);
}

#[test]
fn clock() {
    noise(targets::clock, 5000, 300);
}

#[test]
fn filters() {
    noise(targets::filters, 1000, 400);
}

#[test]
fn delegate() {
    noise(targets::delegate, 400, 500);
}

#[test]
fn threshold() {
    noise(targets::threshold, 600, 200);
}

#[test]
fn post_quantum() {
    noise(targets::post_quantum, 1200, 200);
}
