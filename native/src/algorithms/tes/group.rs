//! What sharing a key needs of a group of prime order.

use std::fmt::Debug;

use zeroize::Zeroize;

use crate::error::Result;

/// A number modulo the group's order. Arithmetic takes the same time whatever the values.
pub trait Scalar: Copy + PartialEq + Zeroize + Send + Sync + 'static {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// A small number.
    fn from_u64(value: u64) -> Self;

    /// 64 uniform bytes modulo the order: uniform up to 2⁻¹²⁸.
    fn from_wide(bytes: &[u8; 64]) -> Self;

    /// Reads 32 bytes, little-endian, which must be below the order.
    fn from_bytes(bytes: &[u8; 32]) -> Result<Self>;

    /// 32 bytes, little-endian.
    fn to_bytes(&self) -> [u8; 32];

    /// The sum.
    #[must_use]
    fn add(&self, other: &Self) -> Self;

    /// The difference.
    #[must_use]
    fn sub(&self, other: &Self) -> Self;

    /// The product.
    #[must_use]
    fn mul(&self, other: &Self) -> Self;

    /// The inverse; `None` of 0.
    fn invert(&self) -> Option<Self>;
}

/// A group of prime order with a base point.
pub trait Group: Send + Sync + 'static {
    /// Numbers modulo the order.
    type Scalar: Scalar;
    /// Elements.
    type Point: Copy + PartialEq + Debug + Send + Sync + 'static;
    /// Bytes of an encoded element.
    const POINT_LEN: usize;
    /// Its name, for messages and hashes.
    const NAME: &'static str;

    /// The neutral element.
    fn identity() -> Self::Point;

    /// `scalar` times the base point, in a time that does not depend on the scalar.
    fn mul_base(scalar: &Self::Scalar) -> Self::Point;

    /// `scalar` times `point`, in a time that does not depend on the scalar.
    fn mul(point: &Self::Point, scalar: &Self::Scalar) -> Self::Point;

    /// The sum.
    fn add(a: &Self::Point, b: &Self::Point) -> Self::Point;

    /// Σ scalarᵢ · pointᵢ, for public values: the time tells about them. Both slices are of one length.
    fn sum_of_products(scalars: &[Self::Scalar], points: &[Self::Point]) -> Self::Point;

    /// The one encoding, [`Group::POINT_LEN`] bytes.
    fn to_bytes(point: &Self::Point) -> Vec<u8>;

    /// Reads an element of the group; another length, another encoding, a point outside the group and the neutral element
    /// are refused with the reason.
    fn from_bytes(bytes: &[u8]) -> Result<Self::Point>;
}
