use std::collections::BTreeMap;

use proptest::prelude::*;

use super::batch::Packed;
use super::cuckoo::places;
use super::kernel::Kernel;
use super::*;

/// Different keys of 8 bytes each.
fn keys(from: u64, count: u64) -> Vec<[u8; 8]> {
    (from..from + count).map(u64::to_le_bytes).collect()
}

fn bloom_of<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Bloom {
    let mut filter = Bloom::new(100, 0.01, 7).unwrap();
    filter.insert_many(keys);
    filter
}

#[test]
fn known_answer_of_xxh64_and_of_the_block() {
    assert_eq!(hash(0, b"hello"), 0x26c7_827d_889f_6da3);
    assert_eq!(reduce(hash(0, b"hello"), 32), 4);
    let mut filter = Bloom::from_bitset(&[0; 1024], 4, 0.01, 0).unwrap();
    assert!(filter.insert(b"hello"));
    let mut expected = vec![0u8; 1024];
    for (word, bit) in [20, 9, 10, 7, 9, 31, 28, 27].into_iter().enumerate() {
        expected[4 * 32 + word * 4 + bit / 8] |= 1 << (bit % 8);
    }
    assert_eq!(filter.bitset(), expected);
}

#[test]
fn the_file_of_parquet_testing_is_rebuilt() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let file = std::fs::read(format!("{folder}/parquet_bloom_filter.xxhash.bin")).unwrap();
    // 16 bytes of Thrift header (numBytes 1024), then the bitset.
    let bitset = &file[16..];
    let words: [&[u8]; 4] = [b"hello", b"parquet", b"bloom", b"filter"];
    let mut filter = Bloom::from_bitset(&[0; 1024], 4, 0.01, 0).unwrap();
    assert_eq!(filter.insert_many(words), 4);
    assert_eq!(filter.bitset(), bitset);
    let read = Bloom::from_bitset(bitset, 4, 0.01, 0).unwrap();
    assert_eq!(read.contains_many(words), [0b1111]);
    assert_eq!(read, filter);
}

#[test]
fn bloom_keeps_its_promises_at_capacity_and_says_when_it_does_not() {
    for (capacity, fpr) in [(1, 0.01), (10, 0.001), (1000, 0.01), (20_000, 0.006), (20_000, 0.1)] {
        let mut filter = Bloom::new(capacity, fpr, 1).unwrap();
        assert!(filter.is_empty());
        assert_eq!((filter.len(), filter.load(), filter.estimated_fpr()), (0, 0.0, 0.0));
        let held = keys(0, capacity);
        filter.insert_many(held.iter().map(<[u8; 8]>::as_slice));
        assert!(held.iter().all(|key| filter.contains(key)), "no false negative, ever");
        assert!(!filter.saturated(), "({capacity}, {fpr}): {}", filter.len());
        assert!(filter.estimated_fpr() <= fpr, "({capacity}, {fpr}): {}", filter.estimated_fpr());
        assert!(filter.len().abs_diff(capacity) as f64 <= 1.0 + 2.0 * (capacity as f64).sqrt(), "{}", filter.len());
        for key in keys(1 << 40, 2 * capacity + 20) {
            filter.insert(&key);
        }
        assert!(filter.saturated() && filter.estimated_fpr() > 0.0);
    }
}

#[test]
fn false_positives_are_as_the_formulas_say() {
    let strangers = 400_000u64;
    let passed =
        |contains: &dyn Fn(&[u8]) -> bool| keys(1 << 50, strangers).iter().filter(|key| contains(*key)).count();
    let within = |rate: f64, count: usize| {
        let (mean, sigma) = (rate * strangers as f64, (rate * (1.0 - rate) * strangers as f64).sqrt());
        assert!((count as f64 - mean).abs() <= 5.0 * sigma, "{count} passed, {mean} ± {sigma} are due");
    };
    let mut bloom = Bloom::new(50_000, 0.01, 3).unwrap();
    bloom.insert_many(keys(0, 50_000).iter().map(<[u8; 8]>::as_slice));
    within(bloom.estimated_fpr(), passed(&|key| bloom.contains(key)));
    assert!(bloom.estimated_fpr() <= 0.01);
    let mut cuckoo = Cuckoo::new(200_000, 3).unwrap();
    cuckoo.insert_many(keys(0, 200_000).iter().map(<[u8; 8]>::as_slice)).unwrap();
    within(cuckoo.estimated_fpr(), passed(&|key| cuckoo.contains(key)));
}

/// At most 12 bits a key at 0.6 % (Bloom), at most 18 bits at 0.02 % (cuckoo): the sizes, and the strangers that pass.
#[test]
fn a_million_keys_are_within_the_targets() {
    let (held, strangers) = (keys(0, 1_000_000).concat(), keys(1 << 40, 4_000_000).concat());
    let passed = |verdicts: Vec<u8>| verdicts.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>() as f64;
    let (mut bloom, mut cuckoo) = (Bloom::new(1_000_000, 0.006, 0).unwrap(), Cuckoo::new(1_000_000, 0).unwrap());
    assert!(bloom.table_len() * 8 <= 12_000_000, "{}", bloom.table_len());
    assert!(cuckoo.table_len() * 8 <= 18_000_000, "{}", cuckoo.table_len());
    bloom.insert_packed(&held, 8).unwrap();
    cuckoo.insert_packed(&held, 8).unwrap();
    assert!(bloom.estimated_fpr() <= 0.006 && cuckoo.estimated_fpr() <= 0.0002);
    for (rate, verdicts) in [
        (bloom.estimated_fpr(), bloom.contains_packed(&strangers, 8).unwrap()),
        (cuckoo.estimated_fpr(), cuckoo.contains_packed(&strangers, 8).unwrap()),
    ] {
        let (mean, sigma) = (rate * 4e6, (rate * 4e6).sqrt());
        assert!((passed(verdicts) - mean).abs() <= 5.0 * sigma, "{mean} ± {sigma} were due");
    }
}

#[test]
fn a_filter_of_ones_holds_anything() {
    let full = Bloom::from_bitset(&[255; 64], 1, 0.01, 0).unwrap();
    assert!(full.contains(b"anything") && full.saturated());
    assert_eq!((full.len(), full.load(), full.estimated_fpr()), (u64::MAX, 1.0, 1.0));
    assert_eq!(Bloom::from_bytes(&full.to_bytes().unwrap()).unwrap(), full);
}

#[test]
fn cuckoo_takes_every_key_up_to_its_capacity_and_refuses_the_next() {
    for capacity in (1..120).chain([500, 3000, 40_000]) {
        for seed in 0..if capacity < 120 { 60 } else { 3 } {
            let mut filter = Cuckoo::new(capacity, seed).unwrap();
            let held = keys(seed << 32, capacity);
            for key in &held {
                filter.insert(key).unwrap_or_else(|error| panic!("capacity {capacity}, seed {seed}: {error}"));
            }
            assert!(held.iter().all(|key| filter.contains(key)));
            assert!(filter.saturated() && filter.len() == capacity);
            let before = filter.clone();
            assert!(matches!(filter.insert(b"one more"), Err(Error::Unavailable { needed: 1, had: 0, .. })));
            assert_eq!(filter, before);
        }
    }
}

#[test]
fn a_failed_insertion_rolls_back_whole() {
    // A filter that claims more than it can hold: the walk must fail, and leave every byte as it was.
    let mut filter = Cuckoo::new(40, 5).unwrap();
    filter.capacity = u64::MAX;
    let mut held = Vec::new();
    for key in keys(0, 10_000) {
        let before = filter.clone();
        match filter.insert(&key) {
            Ok(()) => held.push(key),
            Err(error) => {
                assert!(error.to_string().contains("moves"), "{error}");
                assert_eq!(filter, before);
                break;
            }
        }
    }
    assert!(filter.load() > 0.9, "{}", filter.load());
    assert!(held.iter().all(|key| filter.contains(key)));
    let before = filter.clone();
    let batch = keys(1 << 30, 100);
    let error = filter.insert_many(batch.iter().map(<[u8; 8]>::as_slice)).unwrap_err();
    assert!(error.to_string().contains("of the batch"), "{error}");
    assert_eq!(filter, before);
}

/// Four copies fill the first bucket of a key; that others fill its second one is no reason to refuse a fifth.
#[test]
fn a_fifth_copy_moves_others_out_of_the_second_bucket() {
    let mut filter = Cuckoo::new(1000, 0).unwrap();
    let count = filter.table_len() as u64 / 8;
    let (fingerprint, _, second) = places(filter.hash(b"again"), count);
    for _ in 0..4 {
        filter.insert(b"again").unwrap();
    }
    let others: Vec<[u8; 8]> = (0u64..)
        .map(u64::to_le_bytes)
        .filter(|key| {
            let (other, first, _) = places(filter.hash(key), count);
            first == second && other != fingerprint
        })
        .take(4)
        .collect();
    for key in &others {
        filter.insert(key).unwrap();
    }
    for copies in 5..=6 {
        filter.insert(b"again").unwrap();
        assert_eq!(filter.len(), 4 + copies);
        assert!(filter.contains(b"again") && others.iter().all(|key| filter.contains(key)));
    }
}

#[test]
fn eight_copies_and_no_more() {
    let mut filter = Cuckoo::new(1000, 0).unwrap();
    for _ in 0..COPIES_MAX {
        filter.insert(b"again").unwrap();
    }
    let before = filter.clone();
    assert!(matches!(filter.insert(b"again"), Err(Error::Input(message)) if message.contains("8 copies")));
    assert!(filter.insert_many([b"other".as_slice(), b"again"]).is_err());
    assert_eq!(filter, before);
    for left in (0..COPIES_MAX as u64).rev() {
        filter.remove(b"again").unwrap();
        assert_eq!((filter.len(), filter.contains(b"again")), (left, left > 0));
    }
    assert!(matches!(filter.remove(b"again"), Err(Error::Input(_))));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for capacity in [0, CAPACITY_MAX + 1, u64::MAX] {
        assert!(Bloom::new(capacity, 0.01, 0).is_err() && Cuckoo::new(capacity, 0).is_err(), "{capacity}");
    }
    for fpr in [0.0, -0.01, 1.0, 0.51, 1e-10, f64::NAN, f64::INFINITY, -f64::INFINITY] {
        assert!(Bloom::new(10, fpr, 0).is_err(), "{fpr}");
    }
    assert!(Bloom::new(CAPACITY_MAX, 0.01, 0).unwrap_err().to_string().contains("need more"));
    for length in [0, 1, 31, 33] {
        assert!(Bloom::from_bitset(&vec![0; length], 1, 0.01, 0).is_err());
    }
    let (a, b) = (Bloom::new(10, 0.01, 0).unwrap(), Bloom::new(10, 0.01, 1).unwrap());
    assert!(a.union(&b).unwrap_err().to_string().contains("seed 1"));
    let (mut bloom, mut cuckoo) = (a, Cuckoo::new(10, 0).unwrap());
    for (keys, width) in [(b"abc".as_slice(), 2), (b"abc", 0), (b"", 0)] {
        assert!(bloom.insert_packed(keys, width).is_err() && cuckoo.insert_packed(keys, width).is_err());
        assert!(bloom.contains_packed(keys, width).is_err() && cuckoo.contains_packed(keys, width).is_err());
    }
    assert_eq!((bloom.insert_packed(b"", 4), cuckoo.insert_packed(b"", 4)), (Ok(0), Ok(())));
    assert_eq!((bloom.contains_packed(b"", 4), cuckoo.contains_packed(b"", 4)), (Ok(vec![]), Ok(vec![])));
    assert!(bloom.is_empty() && cuckoo.is_empty());
}

/// Once a key's two buckets could fall together, and a fifth copy found no room in an empty filter.
#[test]
fn every_key_has_two_buckets() {
    for capacity in [1, 2, 7, 100, 101, 102, 103] {
        let filter = Cuckoo::new(capacity, 0).unwrap();
        for bucket in 0..filter.buckets.len() {
            for fingerprint in 1..=u64::from(u16::MAX) {
                let other = filter.other(bucket, fingerprint);
                assert!(other != bucket && filter.other(other, fingerprint) == bucket);
            }
        }
    }
}

#[test]
fn encodings_are_frozen() {
    let mut bloom = Bloom::from_bitset(&[0; 32], 3, 0.25, 9).unwrap();
    bloom.insert(b"a");
    let mut cuckoo = Cuckoo::new(1, 9).unwrap();
    cuckoo.insert(b"a").unwrap();
    let text = include_str!("../../../tests/vectors/cbf_filters.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(format!("bloom {}", hex::encode(bloom.to_bytes().unwrap())), lines.next().unwrap());
    assert_eq!(format!("cuckoo {}", hex::encode(cuckoo.to_bytes().unwrap())), lines.next().unwrap());
    for width in [5, 8, 32, 36] {
        let key = |i: u64| i.to_le_bytes().into_iter().cycle().take(width).collect::<Vec<u8>>();
        let packed: Vec<u8> = (0..50_000).flat_map(key).collect();
        let mut bloom = Bloom::new(50_000, 0.006, width as u64).unwrap();
        let mut cuckoo = Cuckoo::new(50_000, width as u64).unwrap();
        bloom.insert_packed(&packed, width).unwrap();
        cuckoo.insert_packed(&packed, width).unwrap();
        let last = |bytes: Vec<u8>| hex::encode(&bytes[bytes.len() - 8..]);
        let line = format!("large-{width} {} {}", last(bloom.to_bytes().unwrap()), last(cuckoo.to_bytes().unwrap()));
        assert_eq!(line, lines.next().unwrap());
    }
    assert_eq!(lines.next(), None);
}

/// Enough keys for several threads, and a number that fills no byte, window or piece.
#[test]
fn many_threads_find_what_one_finds() {
    let packed: Vec<u8> = keys(0, 150_003).concat();
    let held = &packed[..8 * 70_001];
    let (mut bloom, mut cuckoo) = (Bloom::new(70_001, 0.01, 3).unwrap(), Cuckoo::new(70_001, 3).unwrap());
    assert!(bloom.insert_packed(held, 8).unwrap() > 69_000);
    cuckoo.insert_packed(held, 8).unwrap();
    let single = |contains: &dyn Fn(&[u8]) -> bool| {
        let mut bits = vec![0u8; 150_003usize.div_ceil(8)];
        for (at, key) in packed.chunks_exact(8).enumerate() {
            bits[at / 8] |= u8::from(contains(key)) << (at % 8);
        }
        bits
    };
    let hashes: Vec<u64> = packed.chunks_exact(8).map(|key| hash(3, key)).collect();
    let expected = single(&|key| bloom.contains(key));
    assert_eq!(bloom.contains_packed(&packed, 8).unwrap(), expected);
    assert_eq!(bloom.contains_hashes(&hashes), expected);
    let expected = single(&|key| cuckoo.contains(key));
    assert_eq!(cuckoo.contains_packed(&packed, 8).unwrap(), expected);
    assert_eq!(cuckoo.contains_hashes(&hashes), expected);
}

/// A small batch is undone from its notes, a large one from a copy of the table.
#[test]
fn batches_of_both_sizes_roll_back() {
    for size in [9, 400, 3000] {
        let mut filter = Cuckoo::new(4000, 1).unwrap();
        filter.insert_many(keys(0, 900).iter().map(<[u8; 8]>::as_slice)).unwrap();
        let before = filter.clone();
        let mut batch = keys(1 << 40, size);
        batch.splice(1..1, [[7; 8]; COPIES_MAX]);
        filter.insert_many(batch.iter().map(<[u8; 8]>::as_slice)).unwrap();
        assert_eq!(filter.len(), 900 + size + COPIES_MAX as u64);
        filter = before.clone();
        batch.push([7; 8]);
        let place = format!("key {} of the batch", batch.len() - 1);
        let error = filter.insert_many(batch.iter().map(<[u8; 8]>::as_slice)).unwrap_err();
        assert!(matches!(&error, Error::Input(message) if message.contains(&place)), "{error}");
        assert_eq!(filter, before);
    }
}

#[test]
fn damaged_and_hostile_encodings_are_refused() {
    let bloom = bloom_of([b"a".as_slice(), b"b"]).to_bytes().unwrap();
    let mut cuckoo = Cuckoo::new(10, 0).unwrap();
    cuckoo.insert(b"a").unwrap();
    let cuckoo = cuckoo.to_bytes().unwrap();
    for bytes in [&bloom, &cuckoo] {
        for end in 0..bytes.len() {
            assert!(Bloom::from_bytes(&bytes[..end]).is_err() && Cuckoo::from_bytes(&bytes[..end]).is_err());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Bloom::from_bytes(&longer).is_err() && Cuckoo::from_bytes(&longer).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(Bloom::from_bytes(&wrong).is_err() && Cuckoo::from_bytes(&wrong).is_err(), "bit {bit}");
        }
    }
    assert!(Bloom::from_bytes(&cuckoo).is_err() && Cuckoo::from_bytes(&bloom).is_err());
}

#[test]
fn a_cuckoo_filter_that_holds_more_than_its_capacity_is_refused() {
    let mut filter = Cuckoo::new(10, 0).unwrap();
    filter.buckets.fill(u64::MAX);
    let message = Cuckoo::from_bytes(&filter.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(message.contains("more than"), "{message}");
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8),
    Remove(u8),
}

proptest! {
    #[test]
    fn bloom_behaves(
        a in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
        b in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
    ) {
        let (left, right) = (bloom_of(a.iter().map(Vec::as_slice)), bloom_of(b.iter().map(Vec::as_slice)));
        let both = left.union(&right).unwrap();
        prop_assert_eq!(&both, &bloom_of(a.iter().chain(&b).map(Vec::as_slice)));
        let all: Vec<&[u8]> = a.iter().chain(&b).map(Vec::as_slice).collect();
        let verdicts = left.contains_many(all.iter().copied());
        prop_assert_eq!(verdicts.len(), all.len().div_ceil(8));
        for (at, key) in all.iter().enumerate() {
            prop_assert!(both.contains(key));
            prop_assert_eq!(verdicts[at / 8] >> (at % 8) & 1 == 1, left.contains(key));
            prop_assert!(at >= a.len() || left.contains(key));
        }
        prop_assert_eq!(&Bloom::from_bytes(&both.to_bytes().unwrap()).unwrap(), &both);
        prop_assert_eq!(&Bloom::from_bitset(&both.bitset(), 100, 0.01, 7).unwrap(), &both);
    }

    #[test]
    fn cuckoo_is_a_multiset_that_never_denies(
        seed: u64, steps in proptest::collection::vec(prop_oneof![any::<u8>().prop_map(Step::Insert), any::<u8>().prop_map(Step::Remove)], 0..300)
    ) {
        let mut filter = Cuckoo::new(100, seed).unwrap();
        let mut model: BTreeMap<u8, u64> = BTreeMap::new();
        for step in steps {
            let before = filter.clone();
            match step {
                Step::Insert(key) => match filter.insert(&[key]) {
                    Ok(()) => *model.entry(key).or_default() += 1,
                    Err(Error::Unavailable { .. }) => {
                        // Full, or other keys with the same two buckets have filled both.
                        prop_assert!(before.saturated() || model.values().sum::<u64>() >= COPIES_MAX as u64);
                        prop_assert_eq!(&filter, &before);
                    }
                    Err(_) => { prop_assert_eq!(model[&key], COPIES_MAX as u64); prop_assert_eq!(&filter, &before) }
                },
                Step::Remove(key) => {
                    let held = model.get(&key).copied().unwrap_or(0);
                    if held > 0 {
                        filter.remove(&[key]).unwrap();
                        model.insert(key, held - 1);
                    } else if !filter.contains(&[key]) {
                        prop_assert!(filter.remove(&[key]).is_err());
                        prop_assert_eq!(&filter, &before);
                    }
                }
            }
            prop_assert_eq!(filter.len(), model.values().sum::<u64>());
            prop_assert!(model.iter().all(|(key, held)| *held == 0 || filter.contains(&[*key])));
        }
        prop_assert_eq!(&Cuckoo::from_bytes(&filter.to_bytes().unwrap()).unwrap(), &filter);
    }

    #[test]
    fn batch_is_single_on_every_kernel(
        seed: u64, width in prop_oneof![1usize..40, Just(8), Just(32)], bytes in proptest::collection::vec(any::<u8>(), 0..9000)
    ) {
        let packed = &bytes[..bytes.len() / width * width];
        let keys: Vec<&[u8]> = packed.chunks_exact(width).collect();
        let mut one = Cuckoo::new(9000, seed).unwrap();
        let refused = keys.iter().any(|key| one.insert(key).is_err());
        let mut bloom = Bloom::new(9000, 0.02, seed).unwrap();
        let new = keys.iter().filter(|key| bloom.insert(key)).count();
        for kernel in Kernel::available() {
            let mut hashes = vec![0; keys.len()];
            kernel.hash_packed(seed, packed, width, &mut hashes);
            prop_assert!(keys.iter().zip(&hashes).all(|(key, hash)| XxHash64::oneshot(seed, key) == *hash));
            let source = Packed { seed, keys: packed, width };
            let mut many = Cuckoo::new(9000, seed).unwrap();
            prop_assert_eq!(many.insert_from(kernel, source).is_err(), refused);
            prop_assert!((refused && many.is_empty()) || (!refused && one == many));
            let mut many = Bloom::new(9000, 0.02, seed).unwrap();
            prop_assert_eq!(many.insert_from(kernel, source), new);
            prop_assert_eq!(&bloom, &many);
            let bit = |verdicts: &[u8], at: usize| verdicts[at / 8] >> (at % 8) & 1 == 1;
            // Half of the keys held, so that both answers occur.
            let mut half = (Bloom::new(9000, 0.02, seed).unwrap(), Cuckoo::new(9000, seed).unwrap());
            half.0.insert_hashes(&hashes[..keys.len() / 2]);
            let _ = half.1.insert_hashes(&hashes[..keys.len() / 2]);
            let verdicts = (half.0.contains_from(kernel, source), half.1.contains_from(kernel, source));
            prop_assert_eq!(verdicts.0.len(), keys.len().div_ceil(8));
            for (at, key) in keys.iter().enumerate() {
                let (bloom, cuckoo) = (half.0.contains(key), half.1.contains(key));
                prop_assert_eq!(bit(&verdicts.0, at), bloom);
                prop_assert_eq!(bit(&verdicts.1, at), cuckoo);
            }
        }
        prop_assert_eq!(bloom.contains_packed(packed, width).unwrap(), bloom.contains_many(keys.iter().copied()));
        prop_assert_eq!(one.contains_packed(packed, width).unwrap(), one.contains_many(keys.iter().copied()));
    }

    #[test]
    fn xxh64_is_that_of_twox_hash(seed: u64, key in proptest::collection::vec(any::<u8>(), 0..300)) {
        for end in 0..=key.len() {
            prop_assert_eq!(hash(seed, &key[..end]), XxHash64::oneshot(seed, &key[..end]));
        }
    }

    #[test]
    fn the_other_bucket_of_the_other_is_the_first(capacity in 1u64..5000, fingerprint in 1u64..65536, at: usize) {
        let filter = Cuckoo::new(capacity, 0).unwrap();
        let bucket = at % filter.buckets.len();
        let other = filter.other(bucket, fingerprint);
        prop_assert!(other < filter.buckets.len());
        prop_assert_eq!(filter.other(other, fingerprint), bucket);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(Bloom::from_bytes(&bytes).is_err() && Cuckoo::from_bytes(&bytes).is_err());
        let with_envelope = [b"CCbl\x01\x00".as_slice(), &bytes].concat();
        prop_assert!(Bloom::from_bytes(&with_envelope).is_err());
        let with_envelope = [b"CCcf\x01\x00".as_slice(), &bytes].concat();
        prop_assert!(Cuckoo::from_bytes(&with_envelope).is_err());
    }
}
