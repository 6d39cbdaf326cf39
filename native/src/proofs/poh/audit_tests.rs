use std::collections::BTreeSet;

use proptest::prelude::*;

use super::audit::{BLOCKS_MAX, FRAGMENT_MAX, answer, blocks_of, challenge, verify};
use super::chance::{blocks_for, chance};
use crate::crypto::hash;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn the_root_of_our_tree_is_the_official_hash() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/blake3_test_vectors.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 35);
    for case in cases {
        let len = case["input_len"].as_u64().unwrap();
        let root: [u8; 32] = hex::decode(&case["hash"].as_str().unwrap()[..64]).unwrap().try_into().unwrap();
        let input = bytes(len as usize);
        let total = blocks_of(len);
        let sets = [vec![0], vec![total - 1], vec![total / 2], (0..total).collect(), (0..total).step_by(3).collect()];
        for blocks in sets {
            verify(&root, len, &blocks, &answer(&input, &blocks).unwrap()).unwrap();
        }
    }
}

#[test]
fn every_shape_of_tree_shows_every_block_and_no_other_bytes() {
    let mut lens: Vec<usize> =
        (0..=20).flat_map(|blocks| [blocks * 1024, blocks * 1024 + 1, blocks * 1024 + 1023]).collect();
    lens.extend([65_536, 65_537, 131_072 + 5]);
    for len in lens {
        let (input, size) = (bytes(len), len as u64);
        let root = hash::fragment(&input);
        for block in 0..blocks_of(size).min(21) {
            let shown = answer(&input, &[block]).unwrap();
            verify(&root, size, &[block], &shown).unwrap();
            let mut wrong = shown.clone();
            for at in (0..shown.len()).step_by(97) {
                wrong[at] ^= 1;
                assert!(verify(&root, size, &[block], &wrong).is_err(), "byte {at} of {len}");
                wrong[at] ^= 1;
            }
            assert!(verify(&root, size, &[block], &shown[..shown.len() - 1]).is_err());
            assert!(verify(&root, size, &[block], &[&shown[..], &[0]].concat()).is_err());
            if block + 1 < blocks_of(size) {
                assert!(verify(&root, size, &[block + 1], &shown).is_err());
            }
        }
    }
}

/// Whoever shows the last block proves the length: no other length goes with the same hash.
#[test]
fn the_last_block_proves_the_length() {
    for len in [0u64, 1, 1023, 1024, 1025, 2048, 3000, 5000, 8192, 9000] {
        let input = bytes(len as usize);
        let root = hash::fragment(&input);
        for claimed in 0..12_000 {
            let last = blocks_of(claimed) - 1;
            let Ok(shown) = answer(&input, &[last]) else { continue };
            assert_eq!(verify(&root, claimed, &[last], &shown).is_ok(), claimed == len, "{claimed} for {len}");
        }
    }
}

#[test]
fn questions_that_are_none_are_refused() {
    let input = bytes(5000);
    let root = hash::fragment(&input);
    for wrong in [&[][..], &[5], &[1, 1], &[2, 1], &[u64::MAX], &[0, 1, 2, 3, 4, 5]] {
        assert!(answer(&input, wrong).is_err());
        assert!(verify(&root, 5000, wrong, &[]).is_err());
    }
    assert!(challenge(&[0; 32], 5000, 0).is_err());
    assert!(challenge(&[0; 32], 5000, 6).is_err());
    assert!(challenge(&[0; 32], FRAGMENT_MAX + 1, 1).is_err());
    assert!(challenge(&[0; 32], FRAGMENT_MAX, BLOCKS_MAX + 1).is_err());
    assert_eq!(challenge(&[0; 32], FRAGMENT_MAX, BLOCKS_MAX).unwrap().len(), BLOCKS_MAX);
    assert!(verify(&root, u64::MAX, &[0], &[]).is_err());
    assert!(verify(&root, FRAGMENT_MAX, &[0], &[0; 100]).is_err());
    let mut shown = answer(&input, &[1]).unwrap();
    for at in 0..32 {
        let mut other = root;
        other[at] ^= 0x10;
        assert!(verify(&other, 5000, &[1], &shown).is_err());
    }
    shown[4] = 2;
    assert!(verify(&root, 5000, &[1], &shown).unwrap_err().to_string().contains("starts with"));
}

#[test]
fn every_block_is_drawn_equally_often() {
    let (total, count, rounds) = (37u64, 5usize, 20_000u32);
    let mut seen = vec![0u32; total as usize];
    for round in 0..rounds {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&round.to_le_bytes());
        let drawn = challenge(&seed, total * 1024 - 7, count).unwrap();
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), count);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        for block in drawn {
            seen[block as usize] += 1;
        }
    }
    let share = count as f64 / total as f64;
    let (mean, deviation) = (f64::from(rounds) * share, (f64::from(rounds) * share * (1.0 - share)).sqrt());
    for (block, times) in seen.iter().enumerate() {
        assert!((f64::from(*times) - mean).abs() < 5.0 * deviation, "block {block}: {times} times, {mean} expected");
    }
    assert_eq!(challenge(&[9; 32], total * 1024, 37).unwrap(), (0..37).collect::<Vec<_>>());
}

/// All ways to lose and to ask, counted one by one.
#[test]
fn chances_are_those_of_counting() {
    for total in 1..=7u32 {
        for lost in 0..=total {
            for asked in 1..=total {
                let gone = (1u32 << lost) - 1;
                let draws: Vec<u32> = (0..1u32 << total).filter(|draw| draw.count_ones() == asked).collect();
                let caught = draws.iter().filter(|draw| **draw & gone != 0).count();
                let exact = caught as f64 / draws.len() as f64;
                for audits in [1, 2, 5] {
                    let expected = 1.0 - (1.0 - exact).powi(audits as i32);
                    let found = chance(total.into(), lost.into(), asked as usize, audits).unwrap();
                    assert!((found - expected).abs() < 1e-12, "{total} {lost} {asked} {audits}: {found} {expected}");
                    assert_eq!(found == 1.0, lost > 0 && asked > total - lost);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_fewest_blocks_reach_the_chance_and_one_less_does_not(
        total in 1u64..1 << 30, lost in 1u64..1 << 30, wanted in 0.0001f64..1.0, audits in 1u32..100
    ) {
        let lost = lost.min(total);
        match blocks_for(total, lost, wanted, audits) {
            Ok(blocks) => {
                prop_assert!(chance(total, lost, blocks as usize, audits).unwrap() >= wanted);
                if blocks > 1 {
                    prop_assert!(chance(total, lost, blocks as usize - 1, audits).unwrap() < wanted);
                }
            }
            Err(_) => prop_assert!(chance(total, lost, total.min(4096) as usize, audits).unwrap() < wanted),
        }
    }
}

#[test]
fn chances_of_nothing_are_refused() {
    for (total, lost, asked, audits) in
        [(0, 0, 1, 1), (5, 6, 1, 1), (5, 1, 0, 1), (5, 1, 6, 1), (5, 1, 1, 0), (1 << 31, 1, 1, 1)]
    {
        assert!(chance(total, lost, asked, audits).is_err());
    }
    for wanted in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
        assert!(blocks_for(5, 1, wanted, 1).is_err());
    }
    assert!(blocks_for(5, 0, 0.5, 1).is_err());
    assert!(blocks_for(1 << 30, 1, 0.5, 1).unwrap_err().to_string().contains("more audits"));
    assert_eq!(blocks_for(1000, 10, 1.0, 1).unwrap(), 991);
}
