//! Numbers modulo the order r of the groups.

use blst::{blst_fr, blst_scalar};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::algorithms::tes::group::Scalar;
use crate::error::{Error, Result};

/// A number modulo r, in Montgomery form. All arithmetic takes constant time. It has no `Debug`: it may be secret.
#[derive(Clone, Copy)]
pub struct Fr(blst_fr);

impl Fr {
    const fn of_limbs(limbs: [u64; 4]) -> Self {
        Self(blst_fr { l: limbs })
    }

    /// One of blst's operations on two numbers.
    fn with(
        &self,
        other: &Self,
        operation: unsafe extern "C" fn(*mut blst_fr, *const blst_fr, *const blst_fr),
    ) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: blst's operations on two numbers read two valid numbers and write a third, as the three are.
        unsafe { operation(&mut out.0, &self.0, &other.0) };
        out
    }

    /// Reads a number that blst has reduced.
    fn of_scalar(scalar: &blst_scalar) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: both are valid values in memory of their own.
        unsafe { blst::blst_fr_from_scalar(&mut out.0, scalar) };
        out
    }

    /// A number of 128 bits.
    pub fn from_u128(value: u128) -> Self {
        let mut wide = [0; 64];
        wide[..16].copy_from_slice(&value.to_le_bytes());
        Self::from_wide(&wide)
    }

    /// Whether it is 0, in constant time.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl Scalar for Fr {
    const ZERO: Self = Self::of_limbs([0; 4]);
    const ONE: Self =
        Self::of_limbs([0x0000_0001_ffff_fffe, 0x5884_b7fa_0003_4802, 0x998c_4fef_ecbc_4ff5, 0x1824_b159_acc5_056f]);

    fn from_u64(value: u64) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: blst reads four limbs, and the array has four.
        unsafe { blst::blst_fr_from_uint64(&mut out.0, [value, 0, 0, 0].as_ptr()) };
        out
    }

    fn from_wide(bytes: &[u8; 64]) -> Self {
        let mut reduced = blst_scalar::default();
        // SAFETY: blst reads as many bytes as it is told, which `bytes` has, and writes one valid scalar. What it returns
        // says whether that is 0, which is a scalar as any other here.
        unsafe { blst::blst_scalar_from_le_bytes(&mut reduced, bytes.as_ptr(), bytes.len()) };
        Self::of_scalar(&reduced)
    }

    fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        let scalar = blst_scalar { b: *bytes };
        // SAFETY: it is a valid scalar value to read.
        if !unsafe { blst::blst_scalar_fr_check(&scalar) } {
            return Err(Error::input("scalar of BLS12-381: it is not below the group's order"));
        }
        Ok(Self::of_scalar(&scalar))
    }

    fn to_bytes(&self) -> [u8; 32] {
        let mut scalar = blst_scalar::default();
        // SAFETY: both are valid values in memory of their own.
        unsafe { blst::blst_scalar_from_fr(&mut scalar, &self.0) };
        scalar.b
    }

    fn add(&self, other: &Self) -> Self {
        self.with(other, blst::blst_fr_add)
    }

    fn sub(&self, other: &Self) -> Self {
        self.with(other, blst::blst_fr_sub)
    }

    fn mul(&self, other: &Self) -> Self {
        self.with(other, blst::blst_fr_mul)
    }

    fn invert(&self) -> Option<Self> {
        let mut out = Self::ZERO;
        // SAFETY: both are valid values in memory of their own; of 0 blst makes 0.
        unsafe { blst::blst_fr_inverse(&mut out.0, &self.0) };
        (!self.is_zero()).then_some(out)
    }
}

impl PartialEq for Fr {
    fn eq(&self, other: &Self) -> bool {
        self.0.l.ct_eq(&other.0.l).into()
    }
}

impl Zeroize for Fr {
    fn zeroize(&mut self) {
        self.0.l.zeroize();
    }
}
