use num_bigint::BigUint;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use super::*;

const VECTORS: &str = "vrf_sortition.txt";

/// What the definition says, in plain integers.
fn defined(beta: &[u8; 64], weight: u64, total: u64, expected: u64) -> u64 {
    fn cut(mantissa: BigUint, exponent: i64) -> (BigUint, i64) {
        let shift = mantissa.bits() as i64 - 256;
        let cut = if shift > 0 { mantissa >> shift as usize } else { mantissa << -shift as usize };
        (cut, exponent + shift)
    }
    let rest = total - expected;
    if weight == 0 || rest == 0 {
        return weight;
    }
    let q = cut((BigUint::from(rest) << 256u32) / total, -256);
    let mut term = cut(BigUint::from(1u8), 0);
    for bit in (0..64 - weight.leading_zeros()).rev() {
        term = cut(&term.0 * &term.0, 2 * term.1);
        if weight >> bit & 1 == 1 {
            term = cut(&term.0 * &q.0, term.1 + q.1);
        }
    }
    let (x, mut sum, mut count) = (BigUint::from_bytes_be(&beta[..32]), BigUint::ZERO, 0);
    loop {
        let fraction = &term.0 >> (-256 - term.1) as usize;
        sum += &fraction;
        if x < sum || count == weight {
            return count;
        }
        let (up, down) = (BigUint::from(weight - count) * expected, BigUint::from(count + 1) * rest);
        if fraction == BigUint::ZERO && up <= down {
            return count;
        }
        term = cut(((&term.0 * up) << 128u32) / down, term.1 - 128);
        count += 1;
    }
}

/// The inputs of the published vectors, as their file describes them.
fn published() -> Vec<([u8; 64], u64, u64, u64)> {
    (0..128u64)
        .map(|at| {
            let hash = |parts: &[&[u8]]| {
                let mut hash = Sha512::new();
                parts.iter().for_each(|part| hash.update(part));
                <[u8; 64]>::from(hash.finalize())
            };
            let beta = hash(&[b"city-chain sortition", &at.to_le_bytes()]);
            let numbers = hash(&[&beta]);
            let number = |from: usize| u64::from_le_bytes(numbers[from..from + 8].try_into().unwrap());
            let total = (number(0) >> (at % 64)).max(1);
            let weight = (u128::from(number(8)) % (u128::from(total) + 1)) as u64;
            let most = [10, 100, 1_000, 65_536][at as usize % 4];
            let expected = number(16) % total.min(most) + 1;
            let beta = match at % 16 {
                0 => [0; 64],
                1 => [255; 64],
                _ => beta,
            };
            (beta, weight, total, expected)
        })
        .collect()
}

#[test]
fn published_vectors() {
    let mut text = String::from(
        "# Sortition: beta, weight, total, expected, count. The definition is in the documentation of the VRF.\n\
         # Line i (from 0): beta = SHA-512(\"city-chain sortition\", i as u64); r = SHA-512(beta), read as u64s r0, r1, r2; all\n\
         # integers little-endian. total = r0 >> (i mod 64), at least 1; weight = r1 mod (total + 1); expected = r2 mod\n\
         # min(total, m) + 1 with m = 10, 100, 1000, 65536 in turn. Where i mod 16 is 0, beta is all 00, where it is 1, all ff.\n",
    );
    for (beta, weight, total, expected) in published() {
        let count = sortition(&beta, weight, total, expected).unwrap();
        assert_eq!(count, defined(&beta, weight, total, expected));
        text += &format!("{} {weight} {total} {expected} {count}\n", hex::encode(beta));
    }
    let path = format!("{}/tests/vectors/{VECTORS}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("CITY_CHAIN_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn limits() {
    let beta = [0; 64];
    for (weight, total, expected) in
        [(11, 10, 1), (1, 10, 0), (1, 10, 11), (1, u64::MAX, EXPECTED_MAX + 1), (0, 0, 0), (0, 0, 1)]
    {
        assert!(matches!(sortition(&beta, weight, total, expected), Err(Error::Input(_))));
    }
    assert_eq!(sortition(&[255; 64], 0, 1, 1), Ok(0));
    assert_eq!(sortition(&beta, 1, 1, 1), Ok(1));
}

#[test]
fn the_longest_walks_are_short() {
    for (weight, total) in [(u64::MAX, u64::MAX), (EXPECTED_MAX + 1, EXPECTED_MAX + 1), (131_071, 131_071)] {
        let count = sortition(&[255; 64], weight, total, EXPECTED_MAX).unwrap();
        assert!(count < 80_000, "{count}");
    }
}

#[test]
fn limbs_are_as_numbers() {
    let value = Number::of(&[0, 0, 5, 0, 0, 0, 0, 0], -3);
    assert_eq!((value.mantissa, value.exponent), ([0, 0, 0, 5 << 61], -3 + 128 - 253));
    let one = Number::ONE.times(&Number::ONE);
    assert_eq!((one.mantissa, one.exponent), (Number::ONE.mantissa, Number::ONE.exponent));
}

proptest! {
    #[test]
    fn counts_are_as_defined(
        beta in prop_oneof![Just([0; 64]), Just([255; 64]), any::<[u8; 64]>()],
        total in 1..=u64::MAX, shift in 0..64u32, weight: u64, expected in 0..3_000u64,
    ) {
        let total = (total >> shift).max(1);
        let weight = if weight % 5 == 0 { total } else { weight % total };
        let expected = expected % total.min(3_000) + 1;
        prop_assert_eq!(sortition(&beta, weight, total, expected).unwrap(), defined(&beta, weight, total, expected));
    }

    #[test]
    fn a_greater_output_never_elects_less(a: [u8; 64], b: [u8; 64], total in 1..=u64::MAX, part: u64, expected in 1..500u64) {
        let expected = expected.min(total);
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let weight = part.min(total);
        let counts = [low, high].map(|beta| sortition(&beta, weight, total, expected).unwrap());
        prop_assert!(counts[0] <= counts[1]);
    }
}
