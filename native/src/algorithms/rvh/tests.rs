use proptest::prelude::*;

use super::*;

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
    let ids = ids(20);
    let plain = NodeSet::from_fixed(&refs(&ids), None, None).unwrap();
    let weights: Vec<u32> = (0..20).map(|at| at * 10_000).collect();
    let weighted = NodeSet::from_fixed(&refs(&ids), Some(&weights), None).unwrap();
    let districts: Vec<&[u8]> = (0..20).map(|at| [b"a".as_slice(), b"b", b"c"][at % 3]).collect();
    let spread = NodeSet::from_fixed(&refs(&ids), Some(&weights), Some(&districts)).unwrap();
    let text = include_str!("../../../tests/vectors/rvh_placement.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    for key in 0u32..8 {
        for (name, set) in [("plain", &plain), ("weighted", &weighted), ("spread", &spread)] {
            let picked = set.pick(format!("key-{key}").as_bytes(), 10, &[]).unwrap();
            let line = format!("{name} key-{key} {picked:?}");
            assert_eq!(lines.next(), Some(line.as_str()));
        }
    }
    assert_eq!(lines.next(), None);
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
    assert!(matches!(set.pick_many(&[b"k"], usize::MAX), Err(Error::Unavailable { had: 1, .. })));
    assert!(set.picks(PICKS_MAX, 1).is_ok() && set.picks(PICKS_MAX + 1, 1).is_err());
    assert_eq!(set.pick_many(&[], 1).unwrap(), Vec::<u32>::new());
    assert!(set.rank(b"k", &[2]).is_err());
    assert!(matches!(set.pick_many(&[b"k".as_slice(); 2], 2), Err(Error::Unavailable { needed: 2, had: 1, .. })));
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
        prop_assert_eq!(&set.pick_many(&[&key, &key], n).unwrap()[n..], &picked[..]);
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
        prop_assert_eq!(plain.owner_changes(&plain, &[&key], n).unwrap(), Vec::<usize>::new());
    }

    #[test]
    fn the_cost_is_monotonic(a: u64, b: u64) {
        prop_assert!(cost(a.max(b)) <= cost(a.min(b)));
    }
}
