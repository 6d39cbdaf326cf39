use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

/// The page's input: byte i is (7i + 1) mod 256.
fn input(length: usize) -> Vec<u8> {
    (0..length).map(|i| (7 * i + 1) as u8).collect()
}

fn all<'a>(encoded: &'a Encoded<'_>) -> BTreeMap<usize, &'a [u8]> {
    (0..encoded.n()).map(|index| (index, encoded.fragment(index).unwrap())).collect()
}

#[test]
fn known_answers_of_rs16() {
    for (k, p, size, prefix) in [
        (4, 2, 64, "2431dd9983c64023"),
        (4, 2, 66, "c061e72cb83c207c"),
        (20, 10, 64, "9d9d63a9c58dd1cf"),
        (100, 100, 64, "0e7e06f7cd8a4e6b"),
    ] {
        let data = input(k * size);
        let encoded = encode(&data, k, p).unwrap();
        assert_eq!(encoded.fragment_len(), size);
        assert_eq!(&hex::encode(Sha256::digest(encoded.parity()))[..16], prefix, "({k}, {p}) of {size}");
    }
}

#[test]
fn every_survivor_set_up_to_twelve_restores_and_one_less_does_not() {
    for n in 1..=12usize {
        for k in 1..=n {
            let data = input(k * 6 - 1);
            let encoded = encode(&data, k, n - k).unwrap();
            for mask in 0u32..1 << n {
                let survivors: BTreeMap<usize, &[u8]> =
                    all(&encoded).into_iter().filter(|(index, _)| mask >> index & 1 == 1).collect();
                if survivors.len() == k {
                    assert_eq!(decode(&survivors, k, n - k, data.len() as u64).unwrap(), data, "({k}, {n}) {mask:b}");
                } else if survivors.len() == k - 1 {
                    let Err(Error::Unavailable { needed, had, .. }) = decode(&survivors, k, n - k, data.len() as u64)
                    else {
                        panic!("({k}, {n}) {mask:b}")
                    };
                    assert_eq!((needed, had), (k as u64, k as u64 - 1));
                }
            }
        }
    }
}

#[test]
fn data_fragments_are_views_of_the_input() {
    let data = input(100);
    let encoded = encode(&data, 6, 4).unwrap();
    assert_eq!((encoded.fragment_len(), encoded.shape().whole(), encoded.shape().tail_len()), (18, 5, 18));
    assert_eq!(encoded.fragment(0).unwrap().as_ptr(), data.as_ptr());
    assert_eq!(encoded.fragment(5).unwrap(), [&data[90..], &[0; 8]].concat());
    assert!(encoded.fragment(10).is_none());
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let data = input(10);
    assert!(encode(&data, 0, 1).is_err() && encode(&data, 32_769, 1).is_err() && encode(&data, 1, 32_769).is_err());
    let encoded = encode(&data, 2, 1).unwrap();
    let fragments = all(&encoded);
    for length in [0, 11 * 2, 1 << 40, u64::MAX] {
        assert!(decode(&fragments, 2, 1, length).is_err(), "{length}");
    }
    assert!(decode(&BTreeMap::from([(3, fragments[&0]), (0, fragments[&0])]), 2, 1, 10).is_err());
    assert!(decode(&BTreeMap::from([(1, &fragments[&1][1..]), (0, fragments[&0])]), 2, 1, 10).is_err());
    assert!(rebuild(&fragments, &[3], 2, 1, 10).is_err());
    // A few bytes that ask for terabytes.
    let message = encode(&vec![0; 8 << 20], 1, 32_768).unwrap_err().to_string();
    assert!(message.contains("of memory"), "{message}");
    assert!(decode(&BTreeMap::from([(1, vec![0; 8 << 20].as_slice())]), 1, 32_768, 8 << 20).is_err());
    assert!(Shape::new(LENGTH_MAX + 1, 10, 4).is_err());
    assert!(rebuild(&fragments, &[usize::MAX], usize::MAX, 1, 10).is_err());
}

#[test]
fn sizes_that_no_machine_holds_are_refused_before_anything_is_allocated() {
    let data = vec![0; 4 << 20];
    assert!(encode(&data, 1, COUNT_MAX).unwrap_err().to_string().contains("at most"), "128 GiB of parity");
    let fragments = BTreeMap::from([(1, data.as_slice())]);
    let made = rebuild(&fragments, &[0, 0, 0], 1, 1, data.len() as u64).unwrap();
    assert_eq!((made.len(), made[&0].len()), (1, data.len()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_k_restore_and_rebuild_equals_encode(
        data in proptest::collection::vec(any::<u8>(), 0..400), k in 1usize..24, p in 0usize..24, seed: u64
    ) {
        let encoded = encode(&data, k, p).unwrap();
        let mut order: Vec<usize> = (0..k + p).collect();
        order.sort_by_key(|index| (*index as u64 + 1).wrapping_mul(seed | 1));
        let survivors: BTreeMap<usize, &[u8]> =
            order[..k].iter().map(|index| (*index, encoded.fragment(*index).unwrap())).collect();
        prop_assert_eq!(decode(&survivors, k, p, data.len() as u64).unwrap(), data.clone());
        for (index, fragment) in rebuild(&survivors, &order[k..], k, p, data.len() as u64).unwrap() {
            prop_assert_eq!(fragment.as_slice(), encoded.fragment(index).unwrap());
        }
    }

    #[test]
    fn it_is_linear(a in proptest::collection::vec(any::<u8>(), 96), b in proptest::collection::vec(any::<u8>(), 96)) {
        let sum: Vec<u8> = a.iter().zip(&b).map(|(x, y)| x ^ y).collect();
        let [a, b, sum] = [&a, &b, &sum].map(|data| encode(data, 6, 4).unwrap().parity().to_vec());
        prop_assert_eq!(a.iter().zip(&b).map(|(x, y)| x ^ y).collect::<Vec<_>>(), sum);
    }

    #[test]
    fn a_flipped_bit_changes_the_hash(data in proptest::collection::vec(any::<u8>(), 1..200), at: usize) {
        let before = encode(&data, 3, 2).unwrap().hashes();
        let mut other = data.clone();
        other[at % data.len()] ^= 1;
        let after = encode(&other, 3, 2).unwrap().hashes();
        prop_assert!(before.iter().zip(&after).filter(|(x, y)| x != y).count() >= 3, "one data and all parity");
    }
}
