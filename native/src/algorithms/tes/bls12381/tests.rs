use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;

/// r, the order of the groups.
const ORDER: &str = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";

fn order() -> BigUint {
    BigUint::parse_bytes(ORDER.as_bytes(), 16).unwrap()
}

fn number(scalar: &Fr) -> BigUint {
    BigUint::from_bytes_le(&scalar.to_bytes())
}

fn scalar() -> impl Strategy<Value = Fr> {
    prop_oneof![
        8 => prop::array::uniform32(any::<u8>())
            .prop_map(|low| Fr::from_wide(std::array::from_fn::<_, 64, _>(|at| low[at % 32]).first_chunk().unwrap())),
        1 => any::<u64>().prop_map(Fr::from_u64),
        1 => Just(Fr::ZERO),
        1 => Just(Fr::ZERO.sub(&Fr::ONE)),
    ]
}

impl fmt::Debug for Fr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fr({})", number(self))
    }
}

proptest! {
    #[test]
    fn scalars_are_numbers_modulo_the_order(a in scalar(), b in scalar(), wide in prop::collection::vec(any::<u8>(), 64)) {
        let (x, y, r) = (number(&a), number(&b), order());
        prop_assert_eq!(number(&a.add(&b)), (&x + &y) % &r);
        prop_assert_eq!(number(&a.sub(&b)), (&x + &r - &y) % &r);
        prop_assert_eq!(number(&a.mul(&b)), &x * &y % &r);
        prop_assert_eq!(a.invert().map(|inverse| number(&inverse)), x.modinv(&r).filter(|_| !a.is_zero()));
        prop_assert_eq!(a == b, x == y);
        prop_assert_eq!(Fr::from_bytes(&a.to_bytes()).unwrap(), a);
        let wide: [u8; 64] = wide.try_into().unwrap();
        prop_assert_eq!(number(&Fr::from_wide(&wide)), BigUint::from_bytes_le(&wide) % r);
    }
}

#[test]
fn constants_and_small_numbers() {
    assert_eq!(number(&Fr::ZERO), BigUint::ZERO);
    assert_eq!(number(&Fr::ONE), BigUint::from(1u8));
    assert_eq!(number(&Fr::from_u64(u64::MAX)), BigUint::from(u64::MAX));
    assert_eq!(number(&Fr::from_u128(u128::MAX - 1)), BigUint::from(u128::MAX - 1));
    assert!(Fr::ZERO.invert().is_none());
    assert_eq!(number(&Fr::from_wide(&[255; 64])), ((BigUint::from(1u8) << 512) - 1u8) % order());
}

#[test]
fn scalars_that_are_not_reduced_are_refused() {
    let bytes = |number: BigUint| -> [u8; 32] { number.to_bytes_le().try_into().unwrap() };
    assert_eq!(Fr::from_bytes(&bytes(order() - 1u8)).unwrap(), Fr::ZERO.sub(&Fr::ONE));
    for number in [order(), order() + 1u8, (BigUint::from(1u8) << 256) - 1u8] {
        let message = Fr::from_bytes(&bytes(number)).err().unwrap().to_string();
        assert!(message.contains("not below the group's order"), "{message}");
    }
}

#[test]
fn scalars_are_wiped() {
    let mut scalar = Fr::from_u64(77);
    zeroize::Zeroize::zeroize(&mut scalar);
    assert!(scalar.is_zero());
}

/// `times` by doubling and adding, from the other operations.
fn slow<G: Group<Scalar = Fr>>(point: &G::Point, times: &Fr) -> G::Point {
    let bits = number(times);
    (0..bits.bits()).rev().fold(G::identity(), |sum, bit| {
        let twice = G::add(&sum, &sum);
        if bits.bit(bit) { G::add(&twice, point) } else { twice }
    })
}

fn laws<G: Group<Scalar = Fr>>(a: &Fr, b: &Fr) {
    let (p, q) = (G::mul_base(a), G::mul_base(b));
    assert_eq!(G::add(&p, &q), G::mul_base(&a.add(b)));
    assert_eq!(G::add(&p, &q), G::add(&q, &p));
    assert_eq!(G::mul(&p, b), G::mul_base(&a.mul(b)));
    assert_eq!(G::mul(&p, b), slow::<G>(&p, b));
    assert_eq!(G::add(&p, &G::identity()), p);
    let bytes = G::to_bytes(&p);
    assert_eq!(bytes.len(), G::POINT_LEN);
    if p == G::identity() {
        assert!(G::from_bytes(&bytes).is_err());
    } else {
        assert_eq!(G::from_bytes(&bytes).unwrap(), p);
    }
}

fn sums<G: Group<Scalar = Fr>>(scalars: &[Fr]) {
    // Among the points: neutral ones and equal ones.
    let points: Vec<G::Point> = (0..scalars.len()).map(|at| G::mul_base(&Fr::from_u64((at as u64 / 2) % 7))).collect();
    let each = scalars.iter().zip(&points).fold(G::identity(), |sum, (x, p)| G::add(&sum, &G::mul(p, x)));
    assert_eq!(G::sum_of_products(scalars, &points), each);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_groups_keep_the_laws(a in scalar(), b in scalar()) {
        laws::<G1>(&a, &b);
        laws::<G2>(&a, &b);
    }

    #[test]
    fn sums_of_products(scalars in prop::collection::vec(scalar(), 0..80)) {
        sums::<G1>(&scalars);
        sums::<G2>(&scalars);
    }

    #[test]
    fn sums_of_short_products(short in prop::collection::vec(any::<u128>(), 0..70)) {
        let scalars: Vec<Fr> = short.iter().map(|short| Fr::from_u128(*short)).collect();
        let points: Vec<_> = (0..scalars.len()).map(|at| G2::mul_base(&Fr::from_u64(at as u64))).collect();
        let affine = G2Point::to_affines(&points);
        let sum = G2::sum_of_products(&scalars, &points);
        prop_assert_eq!(G2Affine::sum_of_products(&scalars, 128, &affine), sum);
        prop_assert_eq!(G2Affine::sum_of_products(&scalars, 133, &affine), sum);
    }

    #[test]
    fn the_pairing_is_bilinear(a in scalar(), b in scalar()) {
        let pair = |a: &Fr, b: &Fr| (G1::mul_base(a).to_affine(), G2::mul_base(b).to_affine());
        let base = pairing_product(&[pair(&Fr::ONE, &a.mul(&b))]);
        prop_assert_eq!(pairing_product(&[pair(&a, &b)]), base);
        prop_assert_eq!(pairing_product(&[pair(&b, &a)]), base);
        prop_assert_eq!(pairing_product(&[pair(&a, &b), pair(&Fr::ZERO.sub(&b), &a)]), Gt::one());
        prop_assert_eq!(base.div(&base), Gt::one());
        prop_assert_eq!(base.mul(&Gt::one()).div(&Gt::one()), base);
    }
}

#[test]
fn many_pairs_give_what_they_give_one_by_one() {
    for count in [0, 1, 2, 7, 8, 17, 40] {
        let pair = |at| (G1::mul_base(&Fr::from_u64(at % 5)).to_affine(), G2::mul_base(&Fr::from_u64(at)).to_affine());
        let pairs: Vec<_> = (0..count).map(pair).collect();
        let (product, loops, exponentiations) = counted(|| pairing_product(&pairs));
        let each = pairs.iter().fold(Gt::one(), |product, pair| product.mul(&pairing_product(&[*pair])));
        assert_eq!(product, each, "{count}");
        // Those with a neutral element are not computed.
        assert_eq!((loops as u64, exponentiations), (count - count.div_ceil(5), 1));
    }
}

#[test]
fn negation() {
    let point = G2::mul_base(&Fr::from_u64(9));
    assert!(G2::add(&point, &point.negate()).is_identity());
    assert!(G1::identity().negate().is_identity());
}

/// The generators as every library encodes them (draft-irtf-cfrg-pairing-friendly-curves, section 4.2.1).
#[test]
fn generators() {
    let g1 = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
    let g2 = "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e\
              024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8";
    assert_eq!(hex(&G1::to_bytes(&G1::mul_base(&Fr::ONE))), g1);
    assert_eq!(hex(&G2::to_bytes(&G2::mul_base(&Fr::ONE))), g2);
}

#[test]
fn rfc_9380_hash_to_g1() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let file = std::fs::read_to_string(format!("{folder}/rfc9380_bls12381g1_sha256_sswu_ro.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let dst = file["dst"].as_str().unwrap().as_bytes();
    let cases = file["vectors"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let point = hash_to_g1(case["msg"].as_str().unwrap().as_bytes(), dst);
        let x = &case["P"]["x"].as_str().unwrap()[2..];
        let y = &case["P"]["y"].as_str().unwrap()[2..];
        let uncompressed = point.to_affine().0.serialize();
        assert_eq!(hex(&uncompressed), format!("{x}{y}"));
    }
}

/// A point of the curve whose x is the least from `start` on that has one, mostly outside the subgroup.
fn on_curve<const N: usize>(start: u8, check: impl Fn(&[u8]) -> bool) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[0] = COMPRESSED;
    for x in start..=255 {
        bytes[N - 1] = x;
        if check(&bytes) {
            return bytes;
        }
    }
    panic!("no point")
}

#[test]
fn hostile_encodings_are_refused_with_the_reason() {
    let good = G1::to_bytes(&G1::mul_base(&Fr::from_u64(5)));
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let outside = on_curve::<G1_LEN>(1, |bytes| {
        G1Affine::from_bytes(bytes).is_err_and(|error| !error.to_string().contains("not on the curve"))
    });
    let mut field_order = ::hex::decode(
        "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf".to_owned()
            + "6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
    )
    .unwrap();
    field_order[0] |= COMPRESSED;
    let mut neutral = vec![0; G1_LEN];
    neutral[0] = COMPRESSED | INFINITY;
    let mut odd = neutral.clone();
    odd[20] = 1;
    let mut signed = neutral.clone();
    signed[0] |= 0x20;
    let off = (1..=255u8)
        .map(|x| {
            let mut bytes = vec![0; G1_LEN];
            bytes[0] = COMPRESSED;
            bytes[47] = x;
            bytes
        })
        .find(|bytes| G1Affine::from_bytes(bytes).is_err_and(|error| error.to_string().contains("not on the curve")));
    for (bytes, reason) in [
        (outside.to_vec(), "not in the subgroup"),
        (off.unwrap(), "not on the curve"),
        (field_order, "not below the field's order"),
        (vec![0xbf; G1_LEN], "not below the field's order"),
        (neutral, "it is the neutral element"),
        (odd, "says neutral element and holds other bits"),
        (signed, "says neutral element and holds other bits"),
        (changed(&|bytes| bytes[0] &= 0x7f), "does not say compressed"),
        (changed(&|bytes| bytes[0] |= INFINITY), "says neutral element and holds other bits"),
        (changed(&|bytes| bytes.truncate(47)), "47 bytes, 48 are needed"),
        (changed(&|bytes| bytes.push(0)), "49 bytes, 48 are needed"),
        (G1::mul_base(&Fr::ONE).to_affine().0.serialize().to_vec(), "96 bytes, 48 are needed"),
        (G2::to_bytes(&G2::mul_base(&Fr::ONE)), "96 bytes, 48 are needed"),
        (Vec::new(), "0 bytes, 48 are needed"),
    ] {
        let error = G1::from_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}: {}", hex(&bytes));
        let in_two_steps = G1OnCurve::from_bytes(&bytes).and_then(|point| point.to_affine());
        assert_eq!(in_two_steps.unwrap_err(), error);
    }
}

#[test]
fn sums_of_points_of_the_curve_are_in_the_group_or_nothing() {
    let scalars: Vec<Fr> = (3..8).map(Fr::from_u64).collect();
    let points: Vec<G1Point> = (5..10).map(|at| G1::mul_base(&Fr::from_u64(at))).collect();
    let mut encoded: Vec<Vec<u8>> = points.iter().map(G1::to_bytes).collect();
    let sum = |encoded: &[Vec<u8>]| {
        let points: Result<Vec<G1OnCurve>> = encoded.iter().map(|bytes| G1OnCurve::from_bytes(bytes)).collect();
        points.map(|points| G1OnCurve::sum_of_products(&scalars, &points))
    };
    assert_eq!(sum(&encoded).unwrap().unwrap().to_point(), G1::sum_of_products(&scalars, &points));
    encoded[2] = on_curve::<G1_LEN>(1, |bytes| {
        G1Affine::from_bytes(bytes).is_err_and(|error| error.to_string().contains("not in the subgroup"))
    })
    .to_vec();
    assert_eq!(sum(&encoded).unwrap(), None);
    let alone = G1OnCurve::from_bytes(&encoded[2]).unwrap().to_affine();
    assert_eq!(alone, G1Affine::from_bytes(&encoded[2]));
    assert!(alone.unwrap_err().to_string().contains("not in the subgroup"));
    assert_eq!(G1OnCurve::from_bytes(&encoded[0]).unwrap().to_affine().unwrap(), points[0].to_affine());
    let mut neutral = vec![0; G1_LEN];
    neutral[0] = COMPRESSED | INFINITY;
    for (bytes, reason) in [(neutral, "neutral element"), (vec![0xbf; 48], "not below"), (vec![0x80; 47], "47 bytes")] {
        encoded[2] = bytes;
        let message = sum(&encoded).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    let cancel = [Fr::ONE, Fr::ZERO.sub(&Fr::ONE)];
    let point = G1OnCurve::from_bytes(&encoded[0]).unwrap();
    assert_eq!(G1OnCurve::sum_of_products(&cancel, &[point, point]), None);
    assert_eq!(G1OnCurve::sum_of_products(&[], &[]), None);
}

#[test]
fn points_of_g2_outside_the_subgroup_are_refused() {
    let outside = on_curve::<G2_LEN>(1, |bytes| {
        G2Affine::from_bytes(bytes).is_err_and(|error| !error.to_string().contains("not on the curve"))
    });
    let message = G2::from_bytes(&outside).unwrap_err().to_string();
    assert!(message.contains("G2 of BLS12-381: it is not in the subgroup of prime order"), "{message}");
    let mut neutral = [0; G2_LEN];
    neutral[0] = COMPRESSED | INFINITY;
    assert!(G2::from_bytes(&neutral).unwrap_err().to_string().contains("neutral element"));
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), G1_LEN), first in 0x80..0xa0u8) {
        let mut bytes = bytes;
        bytes[0] = first;
        if let Ok(point) = G1Affine::from_bytes(&bytes) {
            prop_assert_eq!(point.to_bytes().to_vec(), bytes);
        }
    }
}
