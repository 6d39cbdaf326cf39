//! The bodies of the fuzz targets, driven on stable Rust: golden vectors, those with bytes changed, and seeded noise.
//!
//! The environment variable `CITY_CHAIN_FUZZ_INPUTS` says how many inputs each target gets instead of the few that a debug
//! build has time for. Inputs are numbered; the number and the bytes of one that breaks a promise are printed.

use std::panic::RefUnwindSafe;

use rayon::prelude::*;

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

/// The variable that says how many inputs each target gets.
const VARIABLE: &str = "CITY_CHAIN_FUZZ_INPUTS";

fn inputs(usual: u64) -> u64 {
    let asked = std::env::var(VARIABLE).ok();
    asked.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text} is no number")))
}

/// Names the input while it is being tried, if it breaks a promise.
struct Trying<'a>(u64, &'a [u8]);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input {}: {}", self.0, hex::encode(self.1));
        }
    }
}

/// Every input is made from its number alone, so all cores share the work.
fn drive(target: fn(&[u8]), usual: u64, input: impl Fn(u64) -> Vec<u8> + Sync + RefUnwindSafe) {
    (0..inputs(usual)).into_par_iter().for_each(|number| {
        let bytes = input(number);
        let _trying = Trying(number, &bytes);
        target(&bytes);
    });
}

fn noise(target: fn(&[u8]), usual: u64, most: usize) {
    drive(target, usual, |number| Noise(number).bytes(most));
}

/// Of four inputs one is noise; one a valid message with bytes changed, now and then cut or lengthened; one has the type of
/// one message and the fields of another; one is the beginning of one and the end of another.
fn hostile(target: fn(&[u8]), usual: u64, most: usize, valid: &[Vec<u8>]) {
    drive(target, usual, |number| hostile_input(number, most, valid));
}

fn hostile_input(number: u64, most: usize, valid: &[Vec<u8>]) -> Vec<u8> {
    let mut noise = Noise(number);
    let of = |noise: &mut Noise| valid[noise.below(valid.len())].clone();
    match number % 4 {
        1 => changed(of(&mut noise), &mut noise),
        2 => {
            let (like, mut bytes) = (of(&mut noise), of(&mut noise));
            let head = TYPE_LEN.min(like.len()).min(bytes.len());
            bytes[..head].copy_from_slice(&like[..head]);
            bytes
        }
        3 => {
            let (mut bytes, end) = (of(&mut noise), of(&mut noise));
            bytes.truncate(noise.below(bytes.len() + 1));
            bytes.extend_from_slice(&end[noise.below(end.len() + 1)..]);
            bytes
        }
        _ => noise.bytes(most),
    }
}

/// The tag and the version of a record.
const TYPE_LEN: usize = 6;

fn changed(mut bytes: Vec<u8>, noise: &mut Noise) -> Vec<u8> {
    for _ in 0..=noise.below(3) {
        let at = noise.below(bytes.len());
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6)];
    }
    match noise.below(6) {
        0 => bytes.truncate(noise.below(bytes.len())),
        1 => bytes.extend(noise.bytes(8)),
        _ => {}
    }
    bytes
}

#[test]
fn inputs_of_every_kind_come_from_their_number() {
    let valid = [b"CCAA\x01\0first".to_vec(), b"CCBB\x01\0second one".to_vec()];
    let made: Vec<Vec<u8>> = (0..400).map(|number| hostile_input(number, 20, &valid)).collect();
    assert_eq!(made, (0..400).map(|number| hostile_input(number, 20, &valid)).collect::<Vec<_>>());
    let exchanged = b"CCAA\x01\0second one".to_vec();
    assert!(made.contains(&exchanged) && !made[0].starts_with(b"CC"));
    let spliced = |bytes: &Vec<u8>| bytes.starts_with(b"CCAA\x01\0fi") && bytes.ends_with(b"ond one");
    assert!(made.iter().any(spliced));
    let flipped = made.iter().filter(|bytes| bytes.len() == 11 && **bytes != valid[0]).count();
    assert!(flipped > 10, "{flipped}");
}

#[test]
fn records() {
    let valid: Vec<Vec<u8>> = golden::samples().into_iter().map(|(_, bytes)| bytes).collect();
    hostile(targets::records, 1000, 400, &valid);
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
fn ntp() {
    noise(targets::ntp, 20_000, 600);
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
fn sharding() {
    noise(targets::sharding, 2000, 60);
}

#[test]
fn hyparview() {
    noise(targets::hyparview, 2000, 300);
}

#[test]
fn places() {
    noise(targets::places, 4000, 120);
}

#[test]
fn threshold() {
    noise(targets::threshold, 600, 200);
}

#[test]
fn post_quantum() {
    noise(targets::post_quantum, 1200, 200);
}

#[test]
fn abba() {
    hostile(targets::abba, 20_000, 200, &targets::abba_samples());
}

#[test]
fn hotstuff() {
    hostile(targets::hotstuff, 4000, 400, &targets::hotstuff_samples());
}
