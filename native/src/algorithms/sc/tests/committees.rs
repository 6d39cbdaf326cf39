use proptest::prelude::*;

use super::*;

fn nodes(count: usize) -> Vec<Digest> {
    (0..count as u64).map(|at| hash::digest("city-chain v1 test node", &at.to_le_bytes())).collect()
}

#[test]
fn committee_sizes_of_the_page() {
    let bound = 1e-6f64.log2();
    for (faulty, size) in [(100, 52), (200, 181), (250, 382)] {
        assert_eq!(committee_size(1000, faulty, bound).unwrap(), size);
        assert!(failure_log2(1000, faulty, size).unwrap() <= bound);
        assert!(failure_log2(1000, faulty, size - 1).unwrap() > bound);
        let refused = check_size(1000, faulty, size - 1, bound).unwrap_err().to_string();
        assert!(refused.contains(&format!("{size} members would do")), "{refused}");
        check_size(1000, faulty, size, bound).unwrap();
    }
    assert!(committee_size(100, 40, bound).unwrap_err().to_string().contains("not even all"));
}

#[test]
fn the_least_size_is_that_of_the_chances_one_by_one() {
    for (population, faulty) in [(1u64, 0u64), (4, 1), (30, 9), (97, 31), (200, 66), (200, 70), (200, 199)] {
        for bound in [-40.0, -19.93, -5.0, -1.0, -0.01, 0.0] {
            let slowly = (1..=population).find(|members| failure_log2(population, faulty, *members).unwrap() <= bound);
            assert_eq!(committee_size(population, faulty, bound).ok(), slowly, "{faulty} of {population}, 2^{bound}");
        }
    }
    assert!(committee_size(10, 1, f64::NAN).unwrap_err().to_string().contains("no number"));
}

/// One by one the chances of 2^18 sizes are 10^10 terms: minutes, and each population twice as large takes four times as
/// long.
#[test]
fn a_bound_that_no_committee_keeps_is_refused_soon() {
    for bound in [-1e6, -20.0] {
        let refused = committee_size(1 << 18, (1 << 18) / 3 + 1, bound).unwrap_err().to_string();
        assert!(refused.contains("not even all"), "{refused}");
    }
}

#[test]
fn chances_agree_with_exact_arithmetic() {
    // Pascal's triangle in integers.
    let choose = |of: u128, count: u128| (0..count).fold(1u128, |value, at| value * (of - at) / (at + 1));
    for (population, faulty) in [(1u128, 0u128), (1, 1), (4, 1), (7, 3), (30, 9), (60, 20)] {
        for members in 1..=population {
            let least = (members - 1) / 3 + 1;
            let bad: u128 = (least..=members.min(faulty))
                .filter(|bad| members - bad <= population - faulty)
                .map(|bad| choose(faulty, bad) * choose(population - faulty, members - bad))
                .sum();
            let exact = bad as f64 / choose(population, members) as f64;
            let found = failure_log2(population as u64, faulty as u64, members as u64).unwrap().exp2();
            assert!((found - exact).abs() <= 1e-12, "{members} of {population}, {faulty} faulty: {found}, {exact}");
        }
    }
    assert!(failure_log2(10, 11, 1).is_err() && failure_log2(10, 1, 0).is_err() && failure_log2(10, 1, 11).is_err());
    assert!(failure_log2(0, 0, 1).is_err());
}

#[test]
fn what_cannot_be_dealt_is_refused() {
    let nodes = nodes(3);
    let none = BTreeMap::new();
    assert!(assign(&[0; 32], &nodes, &none, 0, 0).is_err() && assign(&[0; 32], &nodes, &none, 4, 0).is_err());
    let twice = [nodes[0], nodes[1], nodes[0]];
    assert!(assign(&[0; 32], &twice, &none, 2, 0).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_full_deal_is_even_and_follows_the_seed_only() {
    let nodes = nodes(40);
    let mut times = vec![[0u32; 4]; 40];
    for seed in 0..200u64 {
        let seed = hash::digest("city-chain v1 test seed", &seed.to_le_bytes());
        let dealt = assign(&seed, &nodes, &BTreeMap::new(), 4, 40).unwrap();
        for shard in 0..4 {
            assert_eq!(dealt.iter().filter(|of| **of == shard).count(), 10);
        }
        let turned: Vec<Digest> = nodes.iter().rev().copied().collect();
        let mut again = assign(&seed, &turned, &BTreeMap::new(), 4, 40).unwrap();
        again.reverse();
        assert_eq!(dealt, again, "the order of the nodes does not matter");
        dealt.iter().enumerate().for_each(|(at, shard)| times[at][usize::from(*shard)] += 1);
    }
    // 50 on average, a standard deviation of about 6.
    assert!(times.iter().flatten().all(|count| (20..=80).contains(count)), "{times:?}");
}

proptest! {
    #[test]
    fn moves_are_capped_and_committees_are_even(
        seed: [u8; 32], count in 1usize..80, left in 0usize..80, shards in 1u16..9, before in 1u16..9, cap in 0usize..90
    ) {
        let nodes = nodes(count.max(usize::from(shards)));
        let previous: BTreeMap<Digest, u16> =
            nodes.iter().take(left).enumerate().map(|(at, node)| (*node, at as u16 * 7 % before)).collect();
        let dealt = assign(&seed, &nodes, &previous, shards, cap).unwrap();
        prop_assert!(dealt.iter().all(|shard| *shard < shards));
        let moved = nodes.iter().zip(&dealt)
            .filter(|(node, shard)| previous.get(*node).is_some_and(|was| *was < shards && was != *shard)).count();
        prop_assert!(moved <= cap || cap >= nodes.len());
        let mut counts = vec![0usize; usize::from(shards)];
        dealt.iter().for_each(|shard| counts[usize::from(*shard)] += 1);
        if cap >= nodes.len() {
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}

#[test]
fn keys_move_only_to_the_shard_that_is_added() {
    let four = layout(&[1, 2, 3, 4]);
    let five = four.next(committees(&[1, 2, 3, 4, 9])).unwrap();
    assert_eq!((five.epoch(), five.since()), (6, 6));
    let keys: Vec<Digest> = nodes(4000);
    let moved: Vec<&Digest> = keys.iter().filter(|key| four.shard_of(key) != five.shard_of(key)).collect();
    assert!(moved.iter().all(|key| five.shard_of(key) == 9));
    assert!((700..900).contains(&moved.len()), "a fifth of 4,000 is 800: {}", moved.len());
    let back = five.next(committees(&[1, 2, 3, 4])).unwrap();
    assert!(keys.iter().all(|key| back.shard_of(key) == four.shard_of(key)));
    assert!(four.next(committees(&[5, 6, 7])).unwrap_err().to_string().contains("at most 4"));
    let same = four.next(committees(&[1, 2, 3, 4])).unwrap();
    assert_eq!((same.epoch(), same.since()), (6, 5), "committees change, and keys stay");
}
