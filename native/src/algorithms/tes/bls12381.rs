//! BLS12-381 as two groups and a pairing, over blst.
//!
//! Public keys are in [`G2`] (96 bytes), signatures in [`G1`] (48 bytes): the variant `min_sig`. Scalars are [`Fr`].
//! Hashing to G1 is RFC 9380's `BLS12381G1_XMD:SHA-256_SSWU_RO_`; encodings are the compressed ones that all libraries
//! share (ZCash's flag bits, big-endian coordinates).
//!
//! A [`G1Point`] or [`G2Point`] is always in the subgroup of prime order: the base points and hashes are, sums and multiples
//! of such are, and bytes are checked when they are read. blst's fast multiplication needs that. The neutral element can
//! be a value (a sum may be it), but it cannot be read from bytes.
//!
//! Scalars are multiplied in constant time by [`Group::mul`]; [`Group::sum_of_products`] and the pairing are for public
//! values. Files: `scalar` is Fr, `pairing` the target group; this file has the two curves.
//!
//! blst's safe types do what they can: its keys of `min_pk` are points of G1 and those of `min_sig` points of G2, with the
//! same methods.

mod pairing;
mod scalar;

use std::fmt;

use blst::{BLST_ERROR, MultiPoint};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::group::{Group, Scalar as _};
use crate::crypto::hash::hex;
use crate::error::{Error, Result};

pub use pairing::{Gt, pairing_product};
pub use scalar::Fr;

#[cfg(test)]
pub(super) use pairing::counted;

/// Bytes of an encoded point of G1.
pub const G1_LEN: usize = 48;

/// Bytes of an encoded point of G2.
pub const G2_LEN: usize = 96;

/// Bits of a scalar.
pub const SCALAR_BITS: usize = 255;

/// Terms from which on a sum of products is spread over threads.
const PARALLEL_MIN: usize = 32;

/// The flag bits of an encoding's first byte: compressed, and neutral element.
const COMPRESSED: u8 = 0x80;
const INFINITY: u8 = 0x40;

/// Why bytes are no point of a group.
fn refusal(group: &str, first: u8, error: BLST_ERROR) -> Error {
    let reason = match error {
        _ if first & COMPRESSED == 0 => format!("the first byte is {first:#04x}, which does not say compressed"),
        BLST_ERROR::BLST_PK_IS_INFINITY => "it is the neutral element".to_owned(),
        BLST_ERROR::BLST_POINT_NOT_ON_CURVE => "it is not on the curve".to_owned(),
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => "it is not in the subgroup of prime order".to_owned(),
        _ if first & INFINITY != 0 => "it says neutral element and holds other bits".to_owned(),
        _ => "a coordinate is not below the field's order".to_owned(),
    };
    Error::input(format!("{group}: {reason}; a point of the group, compressed, is needed"))
}

macro_rules! curve {
    (
        $group:ident, $point:ident, $affine:ident, $name:literal, $len:ident,
        $variant:ident, $raw:ident, $raw_affine:ident, $raw_affines:ident, $generator:ident, $multiply:ident
    ) => {
        #[doc = concat!("The group ", $name, ".")]
        #[derive(Debug, Clone, Copy)]
        pub struct $group;

        #[doc = concat!("An element of ", $name, ", in the coordinates that sums are made in.")]
        #[derive(Clone, Copy, PartialEq)]
        pub struct $point(blst::$raw);

        #[doc = concat!("An element of ", $name, ", in the coordinates that pairings and encodings are made of.")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $affine(blst::$variant::PublicKey);

        impl $point {
            /// Whether it is the neutral element.
            pub fn is_identity(&self) -> bool {
                *self == $group::identity()
            }

            /// The inverse element.
            #[must_use]
            pub fn negate(&self) -> Self {
                let mut none = blst::$variant::AggregatePublicKey::from($group::identity().0);
                none.sub_aggregate(&self.0.into());
                Self(none.into())
            }

            /// The same element, for pairings and encodings.
            pub fn to_affine(&self) -> $affine {
                $affine(blst::$variant::AggregatePublicKey::from(self.0).to_public_key())
            }

            /// [`Self::to_affine`] of many, which share one inversion.
            pub fn to_affines(points: &[Self]) -> Vec<$affine> {
                if points.is_empty() {
                    return Vec::new();
                }
                let raw: Vec<_> = points.iter().map(|point| point.0).collect();
                blst::$raw_affines::from(&raw).as_slice().iter().map(|point| $affine((*point).into())).collect()
            }
        }

        impl $affine {
            /// The same element, for sums.
            pub fn to_point(&self) -> $point {
                $point(blst::$variant::AggregatePublicKey::from_public_key(&self.0).into())
            }

            /// Whether it is the neutral element.
            pub fn is_identity(&self) -> bool {
                self.to_point().is_identity()
            }

            /// The compressed encoding.
            pub fn to_bytes(&self) -> [u8; $len] {
                self.0.to_bytes()
            }

            /// Reads a compressed point of the group that is not the neutral element.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
                let Some(first) = bytes.first().filter(|_| bytes.len() == $len) else {
                    let message = format!("{}: {} bytes, {} are needed", $name, bytes.len(), $len);
                    return Err(Error::input(message));
                };
                let refuse = |error| refusal($name, *first, error);
                let point = blst::$variant::PublicKey::uncompress(bytes).map_err(refuse)?;
                point.validate().map_err(refuse)?;
                Ok(Self(point))
            }

            /// Σ scalarᵢ · pointᵢ for public values, where the scalars are below 2^`bits`, at most 255. Both slices are of one
            /// length.
            pub fn sum_of_products(scalars: &[Fr], bits: usize, points: &[Self]) -> $point {
                let bytes = bits.div_ceil(8);
                let mut packed = Vec::with_capacity(scalars.len() * bytes);
                scalars.iter().for_each(|scalar| packed.extend_from_slice(&scalar.to_bytes()[..bytes]));
                let raw: Vec<_> = points.iter().map(|point| point.0.into()).collect();
                $group::sum(&packed, bits, &raw)
            }
        }

        impl $group {
            /// The base point.
            pub fn base() -> $point {
                // SAFETY: blst returns the address of a constant of its own, a valid point of this type.
                $point(unsafe { *blst::$generator() })
            }

            /// Σ scalarᵢ · pointᵢ over little-endian scalars of `bits` bits each, one after another.
            fn sum(scalars: &[u8], bits: usize, points: &[blst::$raw_affine]) -> $point {
                let add = |a: $point, b: $point| Self::add(&a, &b);
                let threads = rayon::current_num_threads();
                match points.len() {
                    0 => Self::identity(),
                    terms if terms < PARALLEL_MIN || threads == 1 => $point(points.mult(scalars, bits)),
                    terms => {
                        let piece = terms.div_ceil(threads).max(PARALLEL_MIN / 2);
                        let scalars = scalars.par_chunks(piece * bits.div_ceil(8));
                        let pieces = points.par_chunks(piece).zip(scalars);
                        pieces.map(|(points, scalars)| $point(points.mult(scalars, bits))).reduce(Self::identity, add)
                    }
                }
            }
        }

        impl Group for $group {
            type Scalar = Fr;
            type Point = $point;
            const POINT_LEN: usize = $len;
            const NAME: &'static str = $name;

            fn identity() -> $point {
                $point(blst::$raw::default())
            }

            fn mul_base(scalar: &Fr) -> $point {
                Self::mul(&Self::base(), scalar)
            }

            fn mul(point: &$point, scalar: &Fr) -> $point {
                let scalar = Zeroizing::new(scalar.to_bytes());
                let mut product = blst::$raw::default();
                // SAFETY: the first two are valid points in memory of their own; blst reads the 255 bits from 32 bytes, and
                // `scalar` has 32.
                unsafe { blst::$multiply(&mut product, &point.0, scalar.as_ptr(), SCALAR_BITS) };
                $point(product)
            }

            fn add(a: &$point, b: &$point) -> $point {
                let mut sum = blst::$variant::AggregatePublicKey::from(a.0);
                sum.add_aggregate(&b.0.into());
                $point(sum.into())
            }

            fn sum_of_products(scalars: &[Fr], points: &[$point]) -> $point {
                $affine::sum_of_products(scalars, SCALAR_BITS, &$point::to_affines(points))
            }

            fn to_bytes(point: &$point) -> Vec<u8> {
                point.to_affine().to_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Result<$point> {
                $affine::from_bytes(bytes).map(|point| point.to_point())
            }
        }

        impl fmt::Debug for $affine {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", $name, hex(&self.to_bytes()))
            }
        }

        impl fmt::Debug for $point {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_affine().fmt(f)
            }
        }
    };
}

curve!(
    G1,
    G1Point,
    G1Affine,
    "G1 of BLS12-381",
    G1_LEN,
    min_pk,
    blst_p1,
    blst_p1_affine,
    p1_affines,
    blst_p1_generator,
    blst_p1_mult
);

curve!(
    G2,
    G2Point,
    G2Affine,
    "G2 of BLS12-381",
    G2_LEN,
    min_sig,
    blst_p2,
    blst_p2_affine,
    p2_affines,
    blst_p2_generator,
    blst_p2_mult
);

/// The point of G1 that a message hashes to under a domain separation tag (RFC 9380, `BLS12381G1_XMD:SHA-256_SSWU_RO_`), in
/// constant time for messages of one length.
pub fn hash_to_g1(message: &[u8], dst: &[u8]) -> G1Point {
    let mut point = blst::blst_p1::default();
    // SAFETY: `point` is a valid point to write to; each address comes with the length of its slice, and no augmentation
    // (null) with length 0.
    unsafe {
        let none = std::ptr::null();
        blst::blst_hash_to_g1(&mut point, message.as_ptr(), message.len(), dst.as_ptr(), dst.len(), none, 0);
    }
    G1Point(point)
}

/// A point of the curve of G1, canonically encoded and not the neutral element. Whether it is in the subgroup was not looked
/// at, which costs about as much as reading it: for points whose sum is checked for itself, as a signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G1OnCurve(blst::min_pk::PublicKey);

impl G1OnCurve {
    /// Reads a compressed point.
    ///
    /// # Errors
    /// [`Error::Input`] if it is none of the curve, or the neutral element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Some(first) = bytes.first().filter(|_| bytes.len() == G1_LEN) else {
            return Err(Error::input(format!("G1 of BLS12-381: {} bytes, {G1_LEN} are needed", bytes.len())));
        };
        let refuse = |error| refusal("G1 of BLS12-381", *first, error);
        let point = blst::min_pk::PublicKey::uncompress(bytes).map_err(refuse)?;
        if first & INFINITY != 0 {
            return Err(refuse(BLST_ERROR::BLST_PK_IS_INFINITY));
        }
        Ok(Self(point))
    }

    /// The same point, as an element of the group.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not in the subgroup.
    pub fn to_affine(&self) -> Result<G1Affine> {
        self.0.validate().map_err(|error| refusal("G1 of BLS12-381", COMPRESSED, error))?;
        Ok(G1Affine(self.0))
    }

    /// Σ scalarᵢ · pointᵢ for public values; `None` if it is not in the group, or neutral. Both slices are of one length.
    pub fn sum_of_products(scalars: &[Fr], points: &[Self]) -> Option<G1Affine> {
        let mut packed = Vec::with_capacity(scalars.len() * 32);
        scalars.iter().for_each(|scalar| packed.extend_from_slice(&scalar.to_bytes()));
        let raw: Vec<blst::blst_p1_affine> = points.iter().map(|point| point.0.into()).collect();
        // Pippenger's buckets add points of any order; only products by halves of the scalar need the subgroup.
        let sum = G1::sum(&packed, SCALAR_BITS, &raw).to_affine();
        sum.0.validate().is_ok().then_some(sum)
    }
}

#[cfg(test)]
mod tests;
