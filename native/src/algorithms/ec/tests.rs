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
        for kernel in [Kernel::of_process().unwrap(), Kernel::Scalar] {
            let codec = Codec::with_kernel(k, p, Some(Code::Rs16), kernel).unwrap();
            let encoded = codec.encode(&data).unwrap();
            assert_eq!(encoded.fragment_len(), size);
            assert_eq!(&hex::encode(Sha256::digest(encoded.parity()))[..16], prefix, "({k}, {p}) of {size}");
        }
    }
}

#[test]
fn the_code_follows_from_the_counts_alone() {
    for (k, p, code) in [
        (1, 0, Code::Gf8),
        (6, 4, Code::Gf8),
        (192, 64, Code::Gf8),
        (256, 0, Code::Gf8),
        (193, 64, Code::Rs16),
        (257, 0, Code::Rs16),
        (1, 65, Code::Rs16),
        (32_768, 32_768, Code::Rs16),
    ] {
        assert_eq!(code_for(k, p).unwrap(), code, "({k}, {p})");
        assert_eq!(Codec::new(k, p, Some(Code::Gf8)).is_ok(), code == Code::Gf8);
        assert!(Codec::new(k, p, Some(Code::Rs16)).is_ok());
    }
    for code in Code::ALL {
        assert_eq!((Code::from_id(code.id().into()).unwrap(), Code::from_name(code.name()).unwrap()), (code, code));
    }
    assert!(Code::from_id(0).is_err() && Code::from_id(3).is_err() && Code::from_id(257).is_err());
    assert!(Code::from_name("RS16").is_err() && code_for(0, 1).is_err());
    assert_eq!((Code::Rs16.fragment_len(100, 6).unwrap(), Code::Gf8.fragment_len(100, 6).unwrap()), (18, 17));
    assert_eq!((Code::Rs16.fragment_len(0, 6).unwrap(), Code::Gf8.fragment_len(0, 6).unwrap()), (2, 1));
}

#[test]
fn every_survivor_set_up_to_twelve_restores_and_one_less_does_not() {
    for (n, k, code) in (1..=12).flat_map(|n| (1..=n).flat_map(move |k| Code::ALL.map(|code| (n, k, code)))) {
        let data = input(k * 6 - 1);
        let codec = Codec::new(k, n - k, Some(code)).unwrap();
        let encoded = codec.encode(&data).unwrap();
        for mask in 0u32..1 << n {
            let survivors = all(&encoded).into_iter().filter(|(index, _)| mask >> index & 1 == 1).collect();
            let survivors = Fragments::new(survivors).unwrap();
            if survivors.len() == k {
                assert_eq!(codec.decode(&survivors, data.len() as u64).unwrap(), data, "({k}, {n}) {mask:b}");
            } else if survivors.len() == k - 1 {
                let Err(Error::Unavailable { needed, had, .. }) = codec.decode(&survivors, data.len() as u64) else {
                    panic!("({k}, {n}) {mask:b}")
                };
                assert_eq!((needed, had), (k as u64, k as u64 - 1));
            }
        }
    }
}

#[test]
fn data_fragments_are_views_of_the_input() {
    let data = input(100);
    for (code, size) in [(Code::Rs16, 18), (Code::Gf8, 17)] {
        let codec = Codec::new(6, 4, Some(code)).unwrap();
        let encoded = codec.encode(&data).unwrap();
        let shape = encoded.shape();
        assert_eq!((shape.code(), shape.fragment_len(), shape.whole(), shape.tail_len()), (code, size, 5, size));
        assert_eq!(encoded.fragment(0).unwrap().as_ptr(), data.as_ptr());
        assert_eq!(encoded.fragment(5).unwrap(), [&data[5 * size..], &vec![0; 6 * size - 100]].concat());
        assert_eq!(encoded.fragment(9).unwrap(), &encoded.parity()[3 * size..]);
        assert!(encoded.fragment(10).is_none());
    }
}

#[test]
fn hashes_made_beside_are_those_of_the_fragments() {
    // Around one step, where hashing goes block by block, and around the threads' threshold.
    for code in Code::ALL {
        for length in [0, 1, 4096, 150_000, 160_000, 6 * 425_984, 6 * 425_985, 9_000_001] {
            let data = input(length);
            let codec = Codec::new(6, 4, Some(code)).unwrap();
            let shape = codec.shape(length as u64).unwrap();
            let mut made = vec![std::mem::MaybeUninit::new(0xee); shape.made_len()];
            let hashes = codec.encode_into(&shape, &data, &mut made, true).unwrap();
            let encoded = codec.encode(&data).unwrap();
            let expected: Vec<[u8; 32]> =
                all(&encoded).values().map(|fragment| *blake3::hash(fragment).as_bytes()).collect();
            assert_eq!((&hashes, &encoded.hashes()), (&expected, &expected), "{code:?} {length}");
            assert!(codec.encode_into(&shape, &data, &mut made, false).unwrap().is_empty());
        }
    }
}

#[test]
fn a_codec_serves_many_sizes_and_threads() {
    for code in Code::ALL {
        let codec = Codec::new(5, 3, Some(code)).unwrap();
        codec.warm();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let codec = &codec;
                scope.spawn(move || {
                    for length in [7000, 3, 0, 100_000, 64].map(|length| length + thread) {
                        let data = input(length);
                        let encoded = codec.encode(&data).unwrap();
                        let kept = [0, 2, 5, 6, 7].map(|index| (index, encoded.fragment(index).unwrap()));
                        let kept = Fragments::new(kept.to_vec()).unwrap();
                        assert!(codec.decode(&kept, length as u64).unwrap() == data);
                        let rebuilt = codec.rebuild(&kept, &[1, 6], length as u64).unwrap();
                        assert_eq!(rebuilt, [1, 6].map(|index| encoded.fragment(index).unwrap().to_vec()));
                    }
                });
            }
        });
    }
}

#[test]
fn what_is_larger_than_a_block_of_columns() {
    let data = input(1_000_003);
    for code in Code::ALL {
        let codec = Codec::new(6, 4, Some(code)).unwrap();
        let encoded = codec.encode(&data).unwrap();
        for kept in [[0, 1, 2, 3, 4, 9], [1, 3, 5, 6, 7, 8], [4, 5, 6, 7, 8, 9]] {
            let kept = kept.map(|index| (index, encoded.fragment(index).unwrap())).to_vec();
            let kept = Fragments::new(kept).unwrap();
            assert!(codec.decode(&kept, 1_000_003).unwrap() == data, "{code:?}");
            let rebuilt = codec.rebuild(&kept, &[0, 5, 9], 1_000_003).unwrap();
            assert!(rebuilt == [0, 5, 9].map(|index| encoded.fragment(index).unwrap().to_vec()), "{code:?}");
        }
    }
}

#[test]
fn more_fragments_than_needed_and_in_any_order() {
    let data = input(1000);
    for code in Code::ALL {
        let codec = Codec::new(4, 4, Some(code)).unwrap();
        let encoded = codec.encode(&data).unwrap();
        let kept: Vec<(usize, &[u8])> =
            [7, 5, 0, 6, 4, 2].map(|index| (index, encoded.fragment(index).unwrap())).to_vec();
        assert_eq!(codec.decode(&Fragments::new(kept.clone()).unwrap(), 1000).unwrap(), data);
        let twice = [kept.clone(), vec![kept[1]]].concat();
        assert!(Fragments::new(twice).unwrap_err().to_string().contains("fragment 5 is there twice"));
        let rebuilt = codec.rebuild(&Fragments::new(kept).unwrap(), &[1, 2, 3, 7], 1000).unwrap();
        assert_eq!(rebuilt, [1, 2, 3, 7].map(|index| encoded.fragment(index).unwrap().to_vec()));
    }
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
    assert!(Code::ALL.into_iter().all(|code| Shape::new(LENGTH_MAX + 1, 10, 4, code).is_err()));
    assert!(Shape::new(LENGTH_MAX, 1, 64, Code::Gf8).is_err(), "a tebibyte of parity");
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
        for code in Code::ALL {
            let codec = Codec::new(6, 4, Some(code)).unwrap();
            let [a, b, sum] = [&a, &b, &sum].map(|data| codec.encode(data).unwrap().parity().to_vec());
            prop_assert_eq!(a.iter().zip(&b).map(|(x, y)| x ^ y).collect::<Vec<_>>(), sum);
        }
    }

    #[test]
    fn rs16_restores_the_same_with_and_without_simd(
        k in 1usize..60, p in 0usize..60, length in 0usize..3000, seed: u64
    ) {
        let data: Vec<u8> = (0..length).map(|at| (at as u64).wrapping_mul(seed | 1).to_be_bytes()[3]).collect();
        let codecs = [Kernel::of_process().unwrap(), Kernel::Scalar]
            .map(|kernel| Codec::with_kernel(k, p, Some(Code::Rs16), kernel).unwrap());
        let encoded = codecs[0].encode(&data).unwrap();
        let plain = codecs[1].encode(&data).unwrap();
        prop_assert_eq!(encoded.parity(), plain.parity());
        let mut order: Vec<usize> = (0..k + p).collect();
        order.sort_by_key(|index| (*index as u64 + 1).wrapping_mul(seed | 1).rotate_left(20));
        let kept = order[..k].iter().map(|index| (*index, encoded.fragment(*index).unwrap())).collect();
        let kept = Fragments::new(kept).unwrap();
        for codec in codecs {
            prop_assert!(codec.decode(&kept, length as u64).unwrap() == data);
        }
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
