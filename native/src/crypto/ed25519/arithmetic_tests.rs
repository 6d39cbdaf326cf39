//! The field against big integers, the points against curve25519-dalek.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use num_bigint::BigUint;
use proptest::prelude::*;

use super::field::{self, D, D2, Fe, ROOT_OF_MINUS_ONE};
use super::multiply::{self, Table, base_less_key, digits, pippenger, straus};
use super::point::{Point, encode_all, sum, sum_plain};

fn prime() -> BigUint {
    (BigUint::from(1u8) << 255u32) - 19u8
}

/// The value of an element, whatever its limbs.
fn value(element: &Fe) -> BigUint {
    element.0.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << 51u32) + *limb) % prime()
}

fn number(bytes: &[u8; 32]) -> BigUint {
    BigUint::from_bytes_le(bytes)
}

/// Elements with limbs up to what a product takes, the corners first.
fn elements() -> impl Strategy<Value = Fe> {
    let most = (1u64 << 54) - 1;
    let limb = prop_oneof![
        Just(0),
        Just(1),
        Just(18),
        Just(19),
        Just((1 << 51) - 1),
        Just((1 << 51) - 19),
        Just(most),
        0..=most
    ];
    proptest::array::uniform5(limb).prop_map(Fe)
}

fn scalars() -> impl Strategy<Value = Scalar> {
    let edge = prop_oneof![Just(Scalar::ZERO), Just(Scalar::ONE), Just(-Scalar::ONE), Just(Scalar::from(u128::MAX))];
    prop_oneof![1 => edge, 1 => any::<u128>().prop_map(Scalar::from),
        4 => any::<[u8; 32]>().prop_map(Scalar::from_bytes_mod_order)]
}

/// Any point of the curve, small order and mixed order among them.
fn points() -> impl Strategy<Value = EdwardsPoint> {
    (scalars(), 0..8usize).prop_map(|(scalar, torsion)| EdwardsPoint::mul_base(&scalar) + EIGHT_TORSION[torsion])
}

fn ours(point: &EdwardsPoint) -> Point {
    Point::decode(&point.compress().0).unwrap()
}

#[test]
fn constants_are_what_they_are_called() {
    let p = prime();
    assert_eq!(value(&D) * 121_666u32 % &p, &p - 121_665u32);
    assert_eq!(value(&D2), value(&D) * 2u8 % &p);
    assert_eq!(value(&ROOT_OF_MINUS_ONE.square()), &p - 1u8);
    assert_eq!(Point::decode(&multiply::BASE).unwrap().encode(), ED25519_BASEPOINT_POINT.compress().0);
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    // Every y from p to 2²⁵⁵ − 1 and the two of x = 0 with a sign.
    for low in 0xedu8..=0xff {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (low, 0x7f);
        assert!(Point::decode(&bytes).is_none(), "{low:x}");
        bytes[31] = 0xff;
        assert!(Point::decode(&bytes).is_none(), "{low:x}, signed");
    }
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    assert!(Point::decode(&one).is_none());
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    assert!(Point::decode(&minus_one).is_none());
}

proptest! {
    #[test]
    fn the_field_is_that_of_big_integers(a in elements(), b in elements(), tight in any::<[u8; 32]>()) {
        let p = prime();
        let tight = Fe::from_bytes(&tight);
        prop_assert_eq!(value(&a.mul(&b)), value(&a) * value(&b) % &p);
        prop_assert_eq!(value(&a.square()), value(&a) * value(&a) % &p);
        prop_assert_eq!(value(&a.add(&b)), (value(&a) + value(&b)) % &p);
        prop_assert_eq!(value(&a.sub(&tight)), (value(&a) + &p - value(&tight)) % &p);
        prop_assert_eq!(value(&tight.neg()), (&p - value(&tight)) % &p);
        prop_assert_eq!(number(&a.to_bytes()), value(&a));
        prop_assert_eq!(a.is_negative(), value(&a).bit(0));
        prop_assert_eq!(value(&a.invert()), value(&a).modpow(&(&p - 2u8), &p));
        prop_assert_eq!(value(&a.root_power()), value(&a).modpow(&((&p - 5u8) / 8u8), &p));
        for limb in a.mul(&b).0.iter().chain(&a.square().0) {
            prop_assert!(*limb < (1 << 51) + (1 << 13));
        }
        let mut several = [a.mul(&b), tight, a.square()];
        if several.iter().all(|element| !element.is_zero()) {
            let alone: Vec<BigUint> = several.iter().map(|element| value(&element.invert())).collect();
            field::invert_all(&mut several);
            prop_assert_eq!(several.iter().map(value).collect::<Vec<_>>(), alone);
        }
    }

    #[test]
    fn decoding_is_that_of_dalek_for_canonical_encodings(bytes in any::<[u8; 32]>()) {
        let theirs = super::decode_point(&bytes);
        prop_assert_eq!(Point::decode(&bytes).map(|point| point.encode()), theirs.map(|point| point.compress().0));
    }

    #[test]
    fn digits_make_the_scalar_again(scalar in scalars(), window in 2usize..=8) {
        let (mut sum, mut last) = (Scalar::ZERO, None);
        digits(scalar.as_bytes(), window, |at, digit| {
            assert!(digit % 2 != 0 && digit.unsigned_abs() < 1 << (window - 1));
            assert!(last.is_none_or(|last| at >= last + window));
            last = Some(at);
            let part = (0..at).fold(Scalar::from(u64::from(digit.unsigned_abs())), |part, _| part + part);
            sum += if digit < 0 { -part } else { part };
        });
        prop_assert_eq!(sum, scalar);
    }

    #[test]
    fn the_group_is_that_of_dalek(a in points(), b in points()) {
        let (mine, other) = (ours(&a), ours(&b));
        let encode = |point: EdwardsPoint| point.compress().0;
        prop_assert_eq!(mine.encode(), encode(a));
        prop_assert_eq!(mine.add(&other).encode(), encode(a + b));
        prop_assert_eq!(mine.sub(&other).encode(), encode(a - b));
        prop_assert_eq!(mine.plus(&other.affine(), false).encode(), encode(a + b));
        prop_assert_eq!(mine.plus(&other.affine(), true).encode(), encode(a - b));
        prop_assert_eq!(mine.double().encode(), encode(a + a));
        prop_assert_eq!(mine.doubles(16).encode(), encode(a * Scalar::from(65_536u32)));
        prop_assert_eq!(mine.is_small_order(), a.is_small_order());
        prop_assert_eq!(mine.sub(&mine).encode(), encode(a - a));
        prop_assert_eq!(encode_all(&[mine, other, mine.add(&other)]), [encode(a), encode(b), encode(a + b)]);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_way_to_multiply_gives_the_same(
        base in scalars(), terms in proptest::collection::vec((scalars(), points()), 0..8)
    ) {
        let others: Vec<(multiply::Scalar, Point)> =
            terms.iter().map(|(scalar, point)| (scalar.to_bytes(), ours(point))).collect();
        let expected = terms.iter().fold(EdwardsPoint::mul_base(&base), |sum, (k, point)| sum + point * k);
        prop_assert_eq!(straus(base.as_bytes(), &others).encode(), expected.compress().0);
        prop_assert_eq!(pippenger(base.as_bytes(), &others).encode(), expected.compress().0);
        for ((scalar, point), (k, ours)) in terms.iter().zip(&others) {
            let expected = EdwardsPoint::mul_base(&base) - point * scalar;
            prop_assert_eq!(base_less_key(base.as_bytes(), k, &Table::new(ours)).encode(), expected.compress().0);
        }
    }
}

/// The code for BMI2 and the code for any processor come from one source, and must say the same.
#[test]
fn every_processor_gives_the_same() {
    let scalar = Scalar::from_bytes_mod_order([0x5b; 32]);
    let table = Table::new(&ours(&(EdwardsPoint::mul_base(&scalar) + EIGHT_TORSION[3])));
    let mut terms = Vec::new();
    table.terms(scalar.as_bytes(), false, &mut terms);
    assert_eq!(sum(16, &terms).encode(), sum_plain(16, &terms).encode());
    let element = Fe::from_bytes(scalar.as_bytes());
    let (fast, plain) = (field::ladder(&element), field::ladder_plain(&element));
    assert_eq!((fast.0.to_bytes(), fast.1.to_bytes()), (plain.0.to_bytes(), plain.1.to_bytes()));
}

#[test]
fn buckets_of_every_width_sum_right() {
    let some: Vec<(Scalar, EdwardsPoint)> = (0..4200u64)
        .map(|at| {
            let scalar = Scalar::from(at + 1).invert();
            let point = EdwardsPoint::mul_base(&Scalar::from(at * at + 7)) + EIGHT_TORSION[at as usize % 8];
            (if at % 3 == 0 { scalar } else { Scalar::from(at as u128 * 0x1234_5678_9abc_def0_1234) }, point)
        })
        .collect();
    for count in [1, 299, 300, 901, 4200] {
        let others: Vec<_> = some[..count].iter().map(|(scalar, point)| (scalar.to_bytes(), ours(point))).collect();
        let expected = some[..count].iter().fold(ED25519_BASEPOINT_POINT, |sum, (k, point)| sum + point * k);
        assert_eq!(pippenger(Scalar::ONE.as_bytes(), &others).encode(), expected.compress().0, "{count} points");
    }
}
