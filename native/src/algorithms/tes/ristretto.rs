//! ristretto255 as a group (RFC 9496), over `curve25519-dalek`.
//!
//! A group of prime order with one encoding for each element: no cofactor to clear, no two encodings that are equal.
//! Scalars are integers modulo ℓ = 2²⁵² + 27742317777372353535851937790883648493.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar as Number;
use curve25519_dalek::traits::{Identity, IsIdentity, VartimeMultiscalarMul};

use super::group::{Group, Scalar};
use crate::error::{Error, Result};

/// The group ristretto255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ristretto;

impl Scalar for Number {
    const ZERO: Self = Self::ZERO;
    const ONE: Self = Self::ONE;

    fn from_u64(value: u64) -> Self {
        Self::from(value)
    }

    fn from_wide(bytes: &[u8; 64]) -> Self {
        Self::from_bytes_mod_order_wide(bytes)
    }

    fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        let refused = || Error::input("scalar of ristretto255: it must be below the order of the group");
        Option::from(Self::from_canonical_bytes(*bytes)).ok_or_else(refused)
    }

    fn to_bytes(&self) -> [u8; 32] {
        *self.as_bytes()
    }

    fn add(&self, other: &Self) -> Self {
        self + other
    }

    fn sub(&self, other: &Self) -> Self {
        self - other
    }

    fn mul(&self, other: &Self) -> Self {
        self * other
    }

    fn invert(&self) -> Option<Self> {
        (*self != Self::ZERO).then(|| self.invert())
    }
}

impl Group for Ristretto {
    type Scalar = Number;
    type Point = RistrettoPoint;
    const POINT_LEN: usize = 32;
    const NAME: &'static str = "ristretto255";

    fn identity() -> RistrettoPoint {
        RistrettoPoint::identity()
    }

    fn mul_base(scalar: &Number) -> RistrettoPoint {
        RistrettoPoint::mul_base(scalar)
    }

    fn mul(point: &RistrettoPoint, scalar: &Number) -> RistrettoPoint {
        point * scalar
    }

    fn add(a: &RistrettoPoint, b: &RistrettoPoint) -> RistrettoPoint {
        a + b
    }

    fn sum_of_products(scalars: &[Number], points: &[RistrettoPoint]) -> RistrettoPoint {
        RistrettoPoint::vartime_multiscalar_mul(scalars, points)
    }

    fn to_bytes(point: &RistrettoPoint) -> Vec<u8> {
        point.compress().0.to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Result<RistrettoPoint> {
        let length = || Error::input(format!("point of ristretto255: {} bytes, exactly 32 are needed", bytes.len()));
        let encoded = CompressedRistretto::from_slice(bytes).map_err(|_| length())?;
        let point = encoded.decompress().ok_or_else(|| Error::input("point of ristretto255: it is not an encoding"))?;
        if point.is_identity() {
            return Err(Error::input("point of ristretto255: it is the neutral element"));
        }
        Ok(point)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha512};

    use super::*;

    fn bytes(text: &serde_json::Value) -> Vec<u8> {
        hex::decode(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn rfc_9496_file() {
        let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
            eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
            return;
        };
        let text = std::fs::read_to_string(format!("{folder}/rfc9496_ristretto255.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();

        // A.1: the multiples of the generator, by the product and by sums; the neutral element is never read.
        let multiples = file["multiples_of_generator"].as_array().unwrap();
        assert_eq!(multiples.len(), 16);
        let mut sum = Ristretto::identity();
        for (at, encoding) in multiples.iter().map(bytes).enumerate() {
            let scalar = <Number as Scalar>::from_u64(at as u64);
            assert_eq!(Ristretto::to_bytes(&Ristretto::mul_base(&scalar)), encoding, "{at}");
            assert_eq!(Ristretto::to_bytes(&sum), encoding, "{at}");
            match Ristretto::from_bytes(&encoding) {
                Ok(point) => assert!(at > 0 && point == sum, "{at}"),
                Err(error) => assert!(at == 0 && error.to_string().contains("neutral"), "{at}: {error}"),
            }
            sum = Ristretto::add(&sum, &Ristretto::mul_base(&Number::ONE));
        }

        // A.2: what is no encoding.
        let invalid = file["invalid_encodings"].as_array().unwrap();
        assert_eq!(invalid.len(), 29);
        for encoding in invalid.iter().map(bytes) {
            let message = Ristretto::from_bytes(&encoding).unwrap_err().to_string();
            assert!(message.contains("not an encoding"), "{message}");
        }

        // A.3: from uniform bytes.
        let derived = file["element_derivation"].as_array().unwrap();
        assert_eq!(derived.len(), 11);
        for case in derived {
            let uniform = bytes(&case["uniform_bytes"]);
            if let Some(label) = case["label"].as_str() {
                assert_eq!(Sha512::digest(label.as_bytes()).to_vec(), uniform);
            }
            let point = RistrettoPoint::from_uniform_bytes(&uniform.try_into().unwrap());
            assert_eq!(Ristretto::to_bytes(&point), bytes(&case["encoding"]));
            assert_eq!(Ristretto::from_bytes(&bytes(&case["encoding"])).unwrap(), point);
        }
    }

    #[test]
    fn what_is_no_point_or_scalar_is_refused() {
        for (bytes, word) in [
            (&[0; 32][..], "neutral"),
            (&[0; 31], "31 bytes"),
            (&[0; 33], "33 bytes"),
            (&[], "0 bytes"),
            (&[255; 32], "not an encoding"),
        ] {
            let message = Ristretto::from_bytes(bytes).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        let highest = (Number::ZERO - Number::ONE).to_bytes();
        assert!(<Number as Scalar>::from_bytes(&highest).is_ok());
        let mut order = highest;
        order[0] += 1;
        for number in [order, [255; 32]] {
            assert!(<Number as Scalar>::from_bytes(&number).unwrap_err().to_string().contains("below the order"));
        }
        assert_eq!(Scalar::invert(&Number::ZERO), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_group_over_a_field(a: [u8; 32], b: [u8; 64], small: u64) {
            let wide = [a, a].concat().try_into().unwrap();
            let (a, b) = (<Number as Scalar>::from_wide(&wide), <Number as Scalar>::from_wide(&b));
            let point = Ristretto::mul_base(&a);
            prop_assert_eq!(Ristretto::mul_base(&Scalar::add(&a, &b)), Ristretto::add(&point, &Ristretto::mul_base(&b)));
            prop_assert_eq!(Ristretto::mul(&point, &b), Ristretto::mul_base(&Scalar::mul(&a, &b)));
            prop_assert_eq!(Scalar::sub(&Scalar::add(&a, &b), &b), a);
            if let Some(inverse) = Scalar::invert(&b) {
                prop_assert_eq!(Scalar::mul(&b, &inverse), Number::ONE);
            }
            let small = <Number as Scalar>::from_u64(small);
            let products = Ristretto::add(&Ristretto::mul(&point, &small), &Ristretto::mul_base(&b));
            let base = Ristretto::mul_base(&Number::ONE);
            prop_assert_eq!(Ristretto::sum_of_products(&[small, b], &[point, base]), products);
            prop_assert_eq!(<Number as Scalar>::from_bytes(&Scalar::to_bytes(&a)).unwrap(), a);
            if a != Number::ZERO {
                prop_assert_eq!(Ristretto::from_bytes(&Ristretto::to_bytes(&point)).unwrap(), point);
            }
        }
    }
}
