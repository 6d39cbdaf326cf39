use std::str::FromStr;

use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;

/// The rule over big integers, slow and independent: affine addition by the curve's definition (RFC 8032, section 5.1).
mod reference {
    use num_bigint::BigUint;
    use sha2::{Digest, Sha512};

    pub(super) struct Curve {
        p: BigUint,
        d: BigUint,
        l: BigUint,
        base: (BigUint, BigUint),
    }

    type Point = (BigUint, BigUint);

    impl Curve {
        pub(super) fn new() -> Self {
            let one = BigUint::from(1u8);
            let p = (&one << 255u32) - 19u8;
            let d = (&p - 121_665u32) * BigUint::from(121_666u32).modpow(&(&p - 2u8), &p) % &p;
            let l =
                (&one << 252u32) + super::BigUint::parse_bytes(b"27742317777372353535851937790883648493", 10).unwrap();
            let mut curve = Self { p, d, l, base: (BigUint::ZERO, BigUint::ZERO) };
            let y = BigUint::from(4u8) * BigUint::from(5u8).modpow(&(&curve.p - 2u8), &curve.p) % &curve.p;
            let mut bytes = y.to_bytes_le();
            bytes.resize(32, 0);
            curve.base = curve.decode(&bytes).unwrap();
            curve
        }

        fn add(&self, a: &Point, b: &Point) -> Point {
            let p = &self.p;
            let t = &self.d * &a.0 % p * &b.0 % p * &a.1 % p * &b.1 % p;
            let inverse = |v: BigUint| v.modpow(&(p - 2u8), p);
            let x = (&a.0 * &b.1 + &a.1 * &b.0) % p * inverse((1u8 + &t) % p) % p;
            let y = (&a.1 * &b.1 + &a.0 * &b.0) % p * inverse((1u8 + p - &t) % p) % p;
            (x, y)
        }

        fn mul(&self, k: &BigUint, point: &Point) -> Point {
            let mut sum = (BigUint::ZERO, BigUint::from(1u8));
            for bit in (0..k.bits()).rev() {
                sum = self.add(&sum, &sum);
                if k.bit(bit) {
                    sum = self.add(&sum, point);
                }
            }
            sum
        }

        fn decode(&self, bytes: &[u8]) -> Option<Point> {
            let p = &self.p;
            let sign = bytes[31] >> 7;
            let mut y = bytes.to_vec();
            y[31] &= 0x7f;
            let y = BigUint::from_bytes_le(&y);
            if y >= *p {
                return None;
            }
            let yy = &y * &y % p;
            let xx = (&yy + p - 1u8) * ((&self.d * &yy + 1u8) % p).modpow(&(p - 2u8), p) % p;
            let mut x = xx.modpow(&((p + 3u8) / 8u8), p);
            if &x * &x % p != xx {
                x = x * BigUint::from(2u8).modpow(&((p - 1u8) / 4u8), p) % p;
            }
            if &x * &x % p != xx || (x == BigUint::ZERO && sign == 1) {
                return None;
            }
            if x.bit(0) != (sign == 1) {
                x = p - x;
            }
            Some((x, y))
        }

        pub(super) fn accepts(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
            let eight = BigUint::from(8u8);
            let neutral = (BigUint::ZERO, BigUint::from(1u8));
            let s = BigUint::from_bytes_le(&signature[32..]);
            let (Some(a), Some(r)) = (self.decode(public), self.decode(&signature[..32])) else { return false };
            if s >= self.l || self.mul(&eight, &a) == neutral {
                return false;
            }
            let hash =
                Sha512::new().chain_update(&signature[..32]).chain_update(public).chain_update(message).finalize();
            let k = BigUint::from_bytes_le(&hash) % &self.l;
            self.mul(&(&eight * s), &self.base) == self.mul(&eight, &self.add(&r, &self.mul(&k, &a)))
        }
    }
}

fn order() -> BigUint {
    (BigUint::from(1u8) << 252u32) + BigUint::from_str("27742317777372353535851937790883648493").unwrap()
}

/// Canonical and non-canonical encodings of the points of small order, and a few that are no points at all.
fn odd_points() -> Vec<[u8; 32]> {
    let mut points: Vec<[u8; 32]> = curve25519_dalek::constants::EIGHT_TORSION.iter().map(|p| p.compress().0).collect();
    for low in [0xecu8, 0xed, 0xee, 0xff] {
        let mut point = FIELD_PRIME;
        point[0] = low;
        points.push(point);
    }
    for low in [0u8, 1, 2] {
        let mut point = [0; 32];
        point[0] = low;
        points.push(point);
    }
    for at in 0..points.len() {
        let mut signed = points[at];
        signed[31] ^= 0x80;
        points.push(signed);
    }
    points
}

type Case = ([u8; 32], Vec<u8>, [u8; 64]);

/// Signatures that fit and do not, over every combination of odd A, odd R and odd S.
fn edge_cases() -> Vec<Case> {
    let seed = [42; 32];
    let key = SigningKey::from_seed(&seed);
    let message = b"edge".to_vec();
    let good = key.sign(&message);
    let mut cases: Vec<Case> = vec![
        (key.public(), message.clone(), good),
        (key.public(), b"other".to_vec(), good),
        (SigningKey::from_seed(&[1; 32]).public(), message.clone(), good),
    ];
    let scalars: Vec<[u8; 32]> = {
        let s = BigUint::from_bytes_le(&good[32..]);
        [s.clone(), &s + order(), order(), order() - 1u8, BigUint::ZERO, (BigUint::from(1u8) << 256u32) - 1u8]
            .iter()
            .map(|value| {
                let mut bytes = value.to_bytes_le();
                bytes.resize(32, 0);
                bytes.try_into().unwrap()
            })
            .collect()
    };
    for s in &scalars {
        cases.push((key.public(), message.clone(), [&good[..32], s].concat().try_into().unwrap()));
    }
    for odd in odd_points() {
        for s in &scalars {
            cases.push((odd, message.clone(), [&good[..32], s].concat().try_into().unwrap()));
            cases.push((key.public(), message.clone(), [&odd[..], s].concat().try_into().unwrap()));
            cases.push((odd, message.clone(), [&odd[..], s].concat().try_into().unwrap()));
        }
    }
    // Mixed order: torsion added to a good key and to a good R. The equation is made to hold up to the cofactor.
    let expanded: [u8; 64] = Sha512::digest(seed).into();
    let secret =
        Scalar::from_bytes_mod_order(curve25519_dalek::scalar::clamp_integer(expanded[..32].try_into().unwrap()));
    for torsion in curve25519_dalek::constants::EIGHT_TORSION {
        for other in curve25519_dalek::constants::EIGHT_TORSION {
            let nonce = Scalar::from(7u8);
            let a = (EdwardsPoint::mul_base(&secret) + torsion).compress().0;
            let r = (EdwardsPoint::mul_base(&nonce) + other).compress().0;
            let hash = Sha512::new().chain_update(r).chain_update(a).chain_update(&message).finalize();
            let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
            cases.push((a, message.clone(), [r, s.to_bytes()].concat().try_into().unwrap()));
            cases.push((a, b"wrong".to_vec(), [r, s.to_bytes()].concat().try_into().unwrap()));
            // Small-order R and A with S = 0 hold by themselves; the rule still refuses the key.
            cases.push((
                torsion.compress().0,
                message.clone(),
                [other.compress().0, [0; 32]].concat().try_into().unwrap(),
            ));
            // A nonce of zero leaves only torsion in R: allowed.
            let s = Scalar::ZERO;
            let _ = s;
            let r = other.compress().0;
            let hash = Sha512::new().chain_update(r).chain_update(a).chain_update(&message).finalize();
            let s = Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
            cases.push((a, message.clone(), [r, s.to_bytes()].concat().try_into().unwrap()));
        }
    }
    cases
}

fn items(cases: &[Case]) -> Vec<Item<'_>> {
    cases.iter().map(|(public, message, signature)| Item { public, message, signature }).collect()
}

#[test]
fn edge_cases_equal_the_reference_alone_and_in_batches() {
    let cases = edge_cases();
    let curve = reference::Curve::new();
    let expected: Vec<bool> = cases.iter().map(|(a, m, s)| curve.accepts(a, m, s)).collect();
    assert!(expected.iter().filter(|good| **good).count() > 100, "the set must have good ones too");
    assert!(expected.iter().filter(|good| !**good).count() > 100);
    for ((a, m, s), good) in cases.iter().zip(&expected) {
        assert_eq!(verify(a, m, s).is_ok(), *good, "{} {}", hex::encode(a), hex::encode(s));
    }
    let all = items(&cases);
    for width in [1, 2, 3, 4, 7, 64, 300, all.len()] {
        for (at, chunk) in all.chunks(width).enumerate() {
            let verdicts = verify_many(chunk).unwrap();
            assert_eq!(verdicts, expected[at * width..at * width + chunk.len()], "batches of {width}");
        }
    }
}

#[test]
fn a_key_with_a_table_and_one_without_are_judged_alike() {
    let cases = edge_cases();
    let mut seen = [0; 2];
    for item in items(&cases) {
        let Ok(equation) = prepare(&item) else { continue };
        let alone = verify(item.public, item.message, item.signature).is_ok();
        let table = multiply::Table::new(&equation.key.point);
        let with = multiply::base_less_key(equation.s.as_bytes(), equation.k.as_bytes(), &table);
        let without = multiply::straus(equation.s.as_bytes(), &[((-equation.k).to_bytes(), equation.key.point)]);
        for point in [with, without] {
            assert_eq!(equation.judge(&point, &point.encode()).is_ok(), alone);
        }
        seen[usize::from(alone)] += 1;
    }
    assert!(seen[0] > 50 && seen[1] > 50, "{seen:?}");
}

/// The same rule in a batch of any size, whatever is known of the keys: unknown ones, some of each, all with a table.
#[test]
fn batches_of_new_and_known_keys_agree() {
    for (round, width) in [3u8, 4, 9, 40, 127, 128, 200].into_iter().enumerate() {
        let cases: Vec<Case> = (0..u16::from(width))
            .map(|at| {
                let key = SigningKey::from_seed(&[at as u8, width, 0x77].repeat(11)[..32].try_into().unwrap());
                let message = vec![at as u8; usize::from(at)];
                let mut signature = key.sign(&message);
                if at % 5 == round as u16 % 5 {
                    signature[usize::from(at) % 64] ^= 4;
                }
                (key.public(), message, signature)
            })
            .collect();
        let expected: Vec<bool> = (0..u16::from(width)).map(|at| at % 5 != round as u16 % 5).collect();
        for pass in 0..5 {
            assert_eq!(verify_many(&items(&cases)).unwrap(), expected, "{width} items, pass {pass}");
            // Half of the keys are used once more, so that some have a table before the others.
            for item in items(&cases).iter().step_by(2) {
                let _ = verify(item.public, item.message, item.signature);
            }
        }
    }
}

#[test]
fn official_cases_are_accepted_as_our_rule_says() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap()
    };
    let sets = read("ed25519_accept_sets.json");
    let wanted: Vec<u64> = find_set(&sets).expect("a set of 212");
    let file = read("ed25519vectors.json");
    let cases: Vec<(u64, Case)> = file
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let bytes = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
            let case_bytes = (
                bytes("key").try_into().unwrap(),
                case["msg"].as_str().unwrap().into(),
                bytes("sig").try_into().unwrap(),
            );
            (case["number"].as_u64().unwrap(), case_bytes)
        })
        .collect();
    assert_eq!(cases.len(), 914);
    let accepted: Vec<u64> =
        cases.iter().filter(|(_, (a, m, s))| verify(a, m, s).is_ok()).map(|(number, _)| *number).collect();
    assert_eq!(accepted.len(), 212);
    assert_eq!(accepted, wanted);
    let plain: Vec<Case> = cases.iter().map(|(_, case)| case.clone()).collect();
    for width in [5, 100, 914] {
        let verdicts: Vec<bool> = items(&plain).chunks(width).flat_map(|chunk| verify_many(chunk).unwrap()).collect();
        let numbers: Vec<u64> =
            cases.iter().zip(verdicts).filter(|(_, good)| *good).map(|((number, _), _)| *number).collect();
        assert_eq!(numbers, wanted, "batches of {width}");
    }
}

/// Two wrong signatures whose errors cancel: S + δ in one and S − δ in the other. A plain sum of the equations would hold;
/// only unpredictable coefficients tell.
#[test]
fn errors_that_cancel_are_refused_in_every_batch() {
    let delta = Scalar::from(12_345u64);
    let shifted = |signature: [u8; 64], by: Scalar| {
        let mut s = [0; 32];
        s.copy_from_slice(&signature[32..]);
        let moved = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).unwrap() + by;
        let mut wrong = signature;
        wrong[32..].copy_from_slice(moved.as_bytes());
        wrong
    };
    for width in [2usize, 4, 5, 16, PARALLEL_MIN, PARALLEL_MIN + 7] {
        let mut cases: Vec<Case> = (0..width)
            .map(|at| {
                let key = SigningKey::from_seed(&[at as u8; 32]);
                let message = at.to_le_bytes().to_vec();
                let signature = key.sign(&message);
                (key.public(), message, signature)
            })
            .collect();
        cases[0].2 = shifted(cases[0].2, delta);
        cases[1].2 = shifted(cases[1].2, -delta);
        let verdicts = verify_many(&items(&cases)).unwrap();
        assert!(!verdicts[0] && !verdicts[1], "batch of {width}");
        assert!(verdicts[2..].iter().all(|good| *good), "batch of {width}");
    }
}

/// The one list of 212 numbers in the file, wherever it is.
fn find_set(value: &serde_json::Value) -> Option<Vec<u64>> {
    match value {
        serde_json::Value::Array(list) if list.len() == 212 => list.iter().map(serde_json::Value::as_u64).collect(),
        serde_json::Value::Array(list) => list.iter().find_map(find_set),
        serde_json::Value::Object(map) => map.values().find_map(find_set),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn mixed_batches_give_each_the_verdict_it_has_alone(
        shapes in proptest::collection::vec((0u8..4, 0usize..512), 0..40)
    ) {
        let cases: Vec<(Case, bool)> = shapes
            .iter()
            .enumerate()
            .map(|(at, (owner, flip))| {
                let key = SigningKey::from_seed(&[*owner; 32]);
                let message = at.to_le_bytes().to_vec();
                let mut signature = key.sign(&message);
                let bad = at % 3 == 0;
                if bad {
                    signature[flip / 8] ^= 1 << (flip % 8);
                }
                ((key.public(), message, signature), !bad)
            })
            .collect();
        let plain: Vec<Case> = cases.iter().map(|(case, _)| case.clone()).collect();
        let expected: Vec<bool> = cases.iter().map(|(_, good)| *good).collect();
        prop_assert_eq!(verify_many(&items(&plain)).unwrap(), expected);
    }
}
