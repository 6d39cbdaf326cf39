use proptest::prelude::*;

use super::*;

/// The definition of the module, node by node: every logarithm computed, every pair compared, all sorted.
mod plain {
    use super::*;

    pub struct Nodes {
        pub ids: Vec<Vec<u8>>,
        pub weights: Vec<u32>,
        pub domains: Vec<u32>,
    }

    fn hash64(context: &'static str, bytes: &[u8]) -> u64 {
        u64::from_le_bytes(blake3::derive_key(context, bytes)[..8].try_into().unwrap())
    }

    fn mix(mut value: u64) -> u64 {
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            value = (value ^ value >> 33).wrapping_mul(factor);
        }
        value ^ value >> 33
    }

    pub fn rank(nodes: &Nodes, key: &[u8], excluded: &[u32]) -> Vec<u32> {
        let key = hash64("city-chain v1 rvh key", key);
        let eligible = (0..nodes.ids.len()).filter(|at| nodes.weights[*at] > 0 && !excluded.contains(&(*at as u32)));
        let mut scored: Vec<(u64, u64, usize)> = eligible
            .map(|at| {
                let draw = mix(hash64("city-chain v1 rvh node", &nodes.ids[at]) ^ key);
                (cost::cost(draw), draw, at)
            })
            .collect();
        scored.sort_by(|a, b| {
            let (left, right) = (u128::from(nodes.weights[a.2]), u128::from(nodes.weights[b.2]));
            let scores = (u128::from(a.0) * right).cmp(&(u128::from(b.0) * left));
            scores.then(b.1.cmp(&a.1)).then_with(|| nodes.ids[a.2].cmp(&nodes.ids[b.2]))
        });
        let mut rounds: Vec<Vec<u32>> = vec![Vec::new(); nodes.ids.len()];
        let mut taken = std::collections::BTreeMap::new();
        for (_, _, at) in scored {
            let round = taken.entry(nodes.domains[at]).or_insert(0);
            rounds[*round].push(at as u32);
            *round += 1;
        }
        rounds.concat()
    }

    pub fn set(nodes: &Nodes) -> NodeSet {
        let names: Vec<Vec<u8>> = nodes.domains.iter().map(|domain| domain.to_be_bytes().to_vec()).collect();
        NodeSet::from_fixed(&refs(&nodes.ids), Some(&nodes.weights), Some(&refs(&names))).unwrap()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn ids(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| format!("node-{at}").into_bytes()).collect()
}

fn refs(ids: &[Vec<u8>]) -> Vec<&[u8]> {
    ids.iter().map(Vec::as_slice).collect()
}

fn names<'a>(set: &'a NodeSet, picked: &[u32]) -> Vec<&'a [u8]> {
    picked.iter().map(|at| set.id(*at).unwrap()).collect()
}

#[test]
fn the_cost_is_the_logarithm_and_never_rises() {
    use cost::{COST_BITS, cost};
    for draw in [0, 1, 2, 1 << 20, 1 << 40, 1 << 63, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
        let exact = 64.0 - ((draw as f64) + 1.0).log2();
        let ours = cost(draw) as f64 / (1u64 << COST_BITS) as f64;
        assert!((ours - exact).abs() < 1e-10, "{draw}: {ours} {exact}");
    }
    assert_eq!(cost(u64::MAX), 0);
    assert_eq!(cost(0), 64 << COST_BITS);
}

#[test]
fn placement_is_frozen() {
    let (few, many) = (ids(20), ids(1_000));
    let set = |ids: &[Vec<u8>], weights: &dyn Fn(u32) -> u32, domain: &dyn Fn(u32) -> u32| {
        let count = 0..ids.len() as u32;
        plain::set(&plain::Nodes {
            ids: ids.to_vec(),
            weights: count.clone().map(weights).collect(),
            domains: count.map(domain).collect(),
        })
    };
    let (rising, odd) = (|at| at * 10_000, |at: u32| 1 + (u64::from(at * at) * 7_919 % 400_009) as u32);
    let (one, three, uneven) = (|_| 0, |at| at % 3, |at| if at % 5 == 0 { 0 } else { at % 16 });
    let sets = std::collections::BTreeMap::from([
        ("plain", set(&few, &|_| WEIGHT_ONE, &one)),
        ("weighted", set(&few, &rising, &one)),
        ("spread", set(&few, &rising, &three)),
        ("masked", set(&few, &|_| WEIGHT_ONE, &one)),
        ("masked-weighted", set(&few, &rising, &one)),
        ("masked-spread", set(&few, &rising, &three)),
        ("wide", set(&many, &|_| WEIGHT_ONE, &one)),
        ("wide-weighted", set(&many, &odd, &one)),
        ("wide-spread", set(&many, &odd, &uneven)),
        ("wide-even-spread", set(&many, &|_| WEIGHT_ONE, &uneven)),
    ]);
    let text = include_str!("../../../tests/vectors/rvh_placement.txt");
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows.len(), 8 * sets.len());
    for row in rows {
        let mut words = row.splitn(3, ' ');
        let (name, key, places) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let excluded: &[u32] = if name.starts_with("masked") { &[3, 9, 17] } else { &[] };
        for kernel in Kernel::available() {
            let set = sets[name].clone().with_kernel(kernel);
            let picked = set.pick(key.as_bytes(), 10, excluded).unwrap();
            assert_eq!(format!("{picked:?}"), places, "{name} {key} {}", kernel.name());
            let many = set.pick_many(Keys::Listed(&[key.as_bytes(); 5]), 10, excluded).unwrap();
            assert_eq!(many[40..], picked);
        }
    }
}

#[test]
fn bad_input_is_refused() {
    let two: Vec<&[u8]> = vec![b"a", b"b"];
    assert!(NodeSet::from_fixed(&[], None, None).is_err());
    assert!(NodeSet::from_fixed(&[b"a", b"a"], None, None).unwrap_err().to_string().contains("twice"));
    assert!(NodeSet::from_fixed(&[b""], None, None).is_err());
    assert!(NodeSet::from_fixed(&[&[0; ID_MAX + 1]], None, None).is_err());
    assert!(NodeSet::from_fixed(&two, Some(&[1]), None).is_err());
    assert!(NodeSet::from_fixed(&two, None, Some(&[b"x"])).is_err());
    let set = NodeSet::from_fixed(&two, Some(&[0, 1]), None).unwrap();
    assert_eq!(set.pick(b"k", 1, &[]).unwrap(), [1], "weight 0 is never chosen");
    assert!(matches!(set.pick(b"k", 2, &[]), Err(Error::Unavailable { needed: 2, had: 1, .. })));
    assert!(matches!(set.pick_many(Keys::Listed(&[b"k"]), usize::MAX, &[]), Err(Error::Unavailable { had: 1, .. })));
    assert!(set.picks(PICKS_MAX, 1, &[]).is_ok() && set.picks(PICKS_MAX + 1, 1, &[]).is_err());
    assert_eq!(set.pick_many(Keys::Listed(&[]), 1, &[]).unwrap(), Vec::<u32>::new());
    assert!(set.rank(b"k", &[2]).is_err());
    assert!(matches!(set.pick_many(Keys::Packed(b"kk", 1), 2, &[]), Err(Error::Unavailable { needed: 2, had: 1, .. })));
    for weight in [f64::NAN, f64::INFINITY, -1.0, -0.1, 65536.0, 1e-9] {
        assert!(fixed_weight(weight).is_err(), "{weight}");
    }
    assert_eq!((fixed_weight(1.0).unwrap(), fixed_weight(0.0).unwrap()), (WEIGHT_ONE, 0));
}

#[test]
fn shares_follow_the_weights() {
    let ids = ids(5);
    let weights: Vec<u32> = (1..=5).map(|w| w * WEIGHT_ONE).collect();
    let set = NodeSet::from_fixed(&refs(&ids), Some(&weights), None).unwrap();
    let mut counts = [0u32; 5];
    for key in 0u32..30_000 {
        counts[set.pick(&key.to_le_bytes(), 1, &[]).unwrap()[0] as usize] += 1;
    }
    for (at, count) in counts.into_iter().enumerate() {
        let share = (at + 1) as f64 / 15.0;
        let sigma = (30_000.0 * share * (1.0 - share)).sqrt();
        assert!((f64::from(count) - 30_000.0 * share).abs() < 5.0 * sigma, "{counts:?}");
    }
}

/// Every way through every kernel against the definition.
fn check(nodes: &plain::Nodes, random: &mut Random, keys: usize) {
    let base = plain::set(nodes);
    let sets: Vec<NodeSet> = Kernel::available().into_iter().map(|kernel| base.clone().with_kernel(kernel)).collect();
    let count = nodes.ids.len();
    let eligible = nodes.weights.iter().filter(|weight| **weight > 0).count();
    let width = random.below(70) + 1;
    let packed: Vec<u8> = (0..keys * width).map(|_| random.next() as u8).collect();
    let listed: Vec<&[u8]> = packed.chunks_exact(width).collect();
    let some: Vec<u32> = (0..random.below(count)).map(|_| random.below(count) as u32).collect();
    for excluded in [&[][..], &some] {
        let ranked: Vec<Vec<u32>> = listed.iter().map(|key| plain::rank(nodes, key, excluded)).collect();
        let left = ranked[0].len();
        for n in [0, 1, 2, 3, 10, random.below(left + 1), left.saturating_sub(1), left] {
            if n > left {
                assert!(base.pick(listed[0], n, excluded).is_err() && base.picks(1, n, excluded).is_err());
                continue;
            }
            let rows: Vec<u32> = ranked.iter().flat_map(|nodes| &nodes[..n]).copied().collect();
            for set in &sets {
                let name = set.kernel().name();
                let batch = set.pick_many(Keys::Packed(&packed, width), n, excluded).unwrap();
                assert_eq!(batch, rows, "{name}: {n} of {eligible} without {}", excluded.len());
                assert_eq!(set.pick_many(Keys::Listed(&listed), n, excluded).unwrap(), rows, "{name}");
                assert_eq!(set.pick(listed[0], n, excluded).unwrap(), rows[..n], "{name}");
            }
        }
        for set in &sets {
            assert_eq!(set.rank(listed[0], excluded).unwrap(), ranked[0]);
            for n in [0, 1, left / 2, left, left + 1] {
                assert_eq!(set.pick_up_to(listed[0], n, excluded).unwrap(), ranked[0][..n.min(left)]);
            }
        }
    }
}

#[test]
fn every_kernel_and_way_is_the_definition() {
    assert!(Kernel::available().len() > 1 || !cfg!(target_arch = "aarch64"));
    let mut random = Random(1);
    for count in [1, 2, 3, 9, 20, 64, 65, 129, 400] {
        for weights in 0..8 {
            for domains in [1, 3, 16, count / 2 + 1] {
                if count > 100 && random.below(3) > 0 {
                    continue;
                }
                let weight = |random: &mut Random, at: usize| match weights {
                    0 => WEIGHT_ONE,
                    1 => [1, 2, 3][at % 3] * WEIGHT_ONE,
                    2 => random.next() as u32 % 1_000_000 + 1,
                    3 => 1 << random.below(32),
                    4 => [0, 7][random.below(2)].max(u32::from(at == 0)),
                    5 => [1, u32::MAX][usize::from(at == count / 2)],
                    6 => [1, u32::MAX][usize::from(at != count / 2)],
                    _ => WEIGHT_ONE + at as u32,
                };
                let nodes = plain::Nodes {
                    ids: ids(count),
                    weights: (0..count).map(|at| weight(&mut random, at)).collect(),
                    // Of one size each, or one large and the others small.
                    domains: (0..count)
                        .map(|at| (at % domains * usize::from(at % 5 > 0 || weights % 2 == 0)) as u32)
                        .collect(),
                };
                check(&nodes, &mut random, 3);
            }
        }
    }
}

#[test]
fn many_keys_find_too_few_and_too_many_hits() {
    // Over so many keys the hits fall short for some, so that the wider pass is taken too.
    let mut random = Random(2);
    for weights in [vec![WEIGHT_ONE; 300], (0..300).map(|at| WEIGHT_ONE + at * at).collect()] {
        for domains in [1, 3, 100] {
            let nodes = plain::Nodes {
                ids: ids(300),
                weights: weights.clone(),
                domains: (0..300).map(|at| at % domains).collect(),
            };
            check(&nodes, &mut random, 150);
        }
    }
}

#[test]
fn all_are_excluded_but_those_that_are_asked_for() {
    for weights in [vec![WEIGHT_ONE; 2_000], (1..=2_000).collect()] {
        for domains in [1, 4, 500] {
            let nodes = plain::Nodes {
                ids: ids(2_000),
                weights: weights.clone(),
                domains: (0..2_000).map(|at| at % domains).collect(),
            };
            let set = plain::set(&nodes);
            let excluded: Vec<u32> = (0..2_000).filter(|at| at % 667 != 13).collect();
            for key in [b"a", b"b", b"c"] {
                let ranked = plain::rank(&nodes, key, &excluded);
                assert_eq!(ranked.len(), 3);
                for n in 0..=3 {
                    assert_eq!(set.pick(key, n, &excluded).unwrap(), ranked[..n]);
                    assert_eq!(set.pick_up_to(key, n, &excluded).unwrap(), ranked[..n]);
                }
                assert!(matches!(set.pick(key, 4, &excluded), Err(Error::Unavailable { needed: 4, had: 3, .. })));
            }
        }
    }
}

#[test]
fn draws_that_are_equal_or_near_are_ordered_by_the_definition() {
    // Hashes cannot be chosen through ids, so this works on a group of chosen hashes: all alike, one apart, at both ends.
    let mut random = Random(3);
    let near = |random: &mut Random, at: u64| match at % 4 {
        0 => u64::MAX - random.below(3) as u64,
        1 => random.below(3) as u64,
        2 => u64::MAX / 2 + random.below(1 << 20) as u64,
        _ => random.next() | 0xffff_fff0 << 32,
    };
    for round in 0..400 {
        let count = [3, 20, 64, 65, 300][round % 5];
        let draws: Vec<u64> = (0..count).map(|at| near(&mut random, at)).collect();
        let weights: Vec<u32> = draws.iter().map(|_| [1, 2, 3, WEIGHT_ONE, u32::MAX][random.below(5)]).collect();
        for weights in [vec![5; draws.len()], weights] {
            // The key 0 leaves a hash as it is, so that unmixing a draw gives its hash.
            let hashes: Vec<u64> = draws.iter().map(|draw| kernel::unmix(*draw)).collect();
            let group = group::Group::new(None, &hashes, &weights);
            let mut expected: Vec<usize> = (0..draws.len()).collect();
            expected.sort_by(|a, b| {
                let score = |at: usize, other: usize| u128::from(cost::cost(draws[at])) * u128::from(weights[other]);
                score(*a, *b).cmp(&score(*b, *a)).then(draws[*b].cmp(&draws[*a])).then(a.cmp(b))
            });
            for kernel in Kernel::available() {
                for want in [1, 5, draws.len()] {
                    let mut found = Found::default();
                    group.best(kernel, 0, want, (&Mask::default(), 0), &weights, &mut found);
                    let nodes: Vec<usize> = found.nodes.iter().map(|node| *node as usize).collect();
                    let want = want.min(draws.len());
                    assert!(nodes.len() >= want);
                    assert_eq!(nodes[..want], expected[..want], "{} {want} {count}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn keys_are_hashed_together_as_alone() {
    let bytes: Vec<u8> = (0..4_000u32).map(|at| (at * 7 + 3) as u8).collect();
    for kernel in Kernel::available() {
        for width in (1..140).chain([1_000]) {
            for count in [1, 2, 3, 16, 17, 33] {
                let keys: Vec<&[u8]> = bytes.chunks_exact(width).take(count).collect();
                let packed = Keys::Packed(&bytes[..keys.len() * width], width);
                let mixed: Vec<&[u8]> =
                    keys.iter().enumerate().map(|(at, key)| &key[..key.len() * (at % 5) / 4]).collect();
                for (keys, all) in [(keys.as_slice(), packed), (&mixed, Keys::Listed(&mixed))] {
                    let mut hashes = vec![0; keys.len()];
                    all.hash(kernel, 0, &mut hashes);
                    for (key, hash) in keys.iter().zip(hashes) {
                        let expected = blake3::derive_key("city-chain v1 rvh key", key);
                        assert_eq!(hash.to_le_bytes(), expected[..8], "{} of {} bytes", kernel.name(), key.len());
                        assert_eq!(digest::key(key), hash);
                    }
                }
            }
        }
    }
}

#[test]
fn the_estimate_is_as_near_as_it_says() {
    let check = |draw: u64| {
        let exact = cost::cost(draw) as f64 / (1u64 << cost::COST_BITS) as f64;
        let off = (cost::about(draw) - exact).abs();
        assert!(off <= cost::ERROR / 8.0, "{draw}: off by {off:e}");
    };
    for bit in 0..64 {
        for near in -300i64..300 {
            check((1u64 << bit).wrapping_add_signed(near));
        }
    }
    // Both ends and the middle of each row of the table, at several magnitudes.
    for row in 0..=256u64 {
        for near in -2i64..=2 {
            for shift in 0..50 {
                check(((256 + row) << 55 >> shift).wrapping_add_signed(near));
            }
        }
    }
    let mut random = Random(4);
    (0..20_000).for_each(|_| check(random.next() >> random.below(64)));
}

#[test]
fn owner_changes_are_those_of_the_rows() {
    let mut random = Random(5);
    let nodes = |random: &mut Random, first: usize| plain::Nodes {
        ids: ids(40)[first..].to_vec(),
        weights: (first..40).map(|at| [0, 1, 1, 1][random.below(4)] * (at as u32 + 1)).collect(),
        domains: (first..40).map(|at| at as u32 % 7).collect(),
    };
    for round in 0..30 {
        let (a, b) = (nodes(&mut random, round % 3), nodes(&mut random, round % 2));
        let packed: Vec<u8> = (0..300 * 5).map(|_| random.next() as u8).collect();
        let held = |nodes: &plain::Nodes, key: &[u8]| -> BTreeSet<Vec<u8>> {
            plain::rank(nodes, key, &[])[..4].iter().map(|at| nodes.ids[*at as usize].clone()).collect()
        };
        let differ = |key: &&[u8]| held(&a, key) != held(&b, key);
        let expected: Vec<usize> =
            packed.chunks_exact(5).enumerate().filter_map(|(at, key)| differ(&key).then_some(at)).collect();
        let changed = plain::set(&a).owner_changes(&plain::set(&b), Keys::Packed(&packed, 5), 4).unwrap();
        assert_eq!(changed, expected);
        assert!(plain::set(&a).owner_changes(&plain::set(&b), Keys::Packed(&packed, 5), 41).is_err());
    }
}

#[test]
fn threads_change_nothing() {
    let set = NodeSet::from_fixed(&refs(&ids(400)), None, None).unwrap();
    let packed: Vec<u8> = (0u32..20_000).flat_map(u32::to_le_bytes).collect();
    let keys = Keys::Packed(&packed, 4);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let alone = pool(1).install(|| set.pick_many(keys, 3, &[7])).unwrap();
    assert_eq!(pool(3).install(|| set.pick_many(keys, 3, &[7])).unwrap(), alone);
    let other = NodeSet::from_fixed(&refs(&ids(399)), None, None).unwrap();
    let moved = pool(1).install(|| set.owner_changes(&other, keys, 3)).unwrap();
    assert_eq!(pool(3).install(|| set.owner_changes(&other, keys, 3)).unwrap(), moved);
    assert!(set.pick_many_into(keys, 3, &[], &mut [[0; 4]; 5]).is_err());
}

proptest! {
    #[test]
    fn ranks_behave(count in 2usize..30, weights in proptest::collection::vec(1u32..400_000, 30), key: Vec<u8>, n in 1usize..30, gone in 0usize..30) {
        let (n, gone) = (n.min(count), gone % count);
        let ids = ids(count);
        let domains: Vec<Vec<u8>> = (0..count).map(|at| vec![(at % 4) as u8]).collect();
        let set = NodeSet::from_fixed(&refs(&ids), Some(&weights[..count]), Some(&refs(&domains))).unwrap();
        let full = set.rank(&key, &[]).unwrap();
        // A prefix, however many are asked for; batch = single.
        let picked = set.pick(&key, n, &[]).unwrap();
        prop_assert_eq!(&full[..n], &picked[..]);
        prop_assert_eq!(&set.pick_many(Keys::Listed(&[&key, &key]), n, &[]).unwrap()[n..], &picked[..]);
        // Domains are spread as evenly as they allow.
        let held = |d: usize| picked.iter().filter(|at| **at as usize % 4 == d).count();
        let size = |d: usize| (0..count).filter(|at| at % 4 == d).count();
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            prop_assert!(held(a) <= held(b) + 1 || held(b) == size(b), "{:?}", picked);
        }
        // The order of the nodes does not matter.
        let back: Vec<usize> = (0..count).rev().collect();
        let turned = NodeSet::from_fixed(
            &back.iter().map(|at| ids[*at].as_slice()).collect::<Vec<_>>(),
            Some(&back.iter().map(|at| weights[*at]).collect::<Vec<_>>()),
            Some(&back.iter().map(|at| domains[*at].as_slice()).collect::<Vec<_>>()),
        ).unwrap();
        prop_assert_eq!(names(&turned, &turned.rank(&key, &[]).unwrap()), names(&set, &full));
        // Without domains, leaving a node out moves nothing else; raising a weight moves it only forward.
        let plain = NodeSet::from_fixed(&refs(&ids), Some(&weights[..count]), None).unwrap();
        let ranked = plain.rank(&key, &[]).unwrap();
        let without = plain.rank(&key, &[gone as u32]).unwrap();
        prop_assert_eq!(ranked.iter().copied().filter(|at| *at != gone as u32).collect::<Vec<_>>(), without.clone());
        let mut raised = weights[..count].to_vec();
        raised[gone] = raised[gone].saturating_mul(2);
        let heavier = NodeSet::from_fixed(&refs(&ids), Some(&raised), None).unwrap();
        let moved = heavier.rank(&key, &[]).unwrap();
        prop_assert_eq!(moved.iter().copied().filter(|at| *at != gone as u32).collect::<Vec<_>>(), without);
        let place = |ranked: &[u32]| ranked.iter().position(|at| *at == gone as u32).unwrap();
        prop_assert!(place(&moved) <= place(&ranked));
        prop_assert_eq!(plain.owner_changes(&plain, Keys::Listed(&[&key]), n).unwrap(), Vec::<usize>::new());
    }

    #[test]
    fn the_cost_is_monotonic(a: u64, b: u64) {
        prop_assert!(cost::cost(a.max(b)) <= cost::cost(a.min(b)));
    }
}
