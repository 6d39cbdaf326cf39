//! Weights in fixed point, and the logarithm: exact in integers, and about in floating point with a bound on its error.
//!
//! [`cost`] decides every placement. [`about`] only says which comparisons need it: it is within [`ERROR`] of the cost, it
//! adds and multiplies only (IEEE 754 gives the same bits everywhere), and where two scores are too near for it, the cost
//! itself is asked.

use crate::error::{Error, Result};

/// A weight of 1 in the fixed point of the weights: 16 bits before and 16 bits after the point.
pub const WEIGHT_ONE: u32 = 1 << 16;

/// Fractional bits of [`cost`].
pub(super) const COST_BITS: u32 = 48;

/// The most that [`about`] is off, in units of log₂: far above the rounding of its few operations on values below 2⁷.
pub(super) const ERROR: f64 = 1.0 / (1u64 << 42) as f64;

/// Bits of the mantissa that choose a row of [`TABLE`].
const TABLE_BITS: u32 = 7;

/// For every 1 + (at + ½)/128: its reciprocal and its log₂.
static TABLE: [(f64, f64); 1 << TABLE_BITS] = table();

/// A weight as fixed point, rounded to the nearest; refuses what is negative, not finite or too large.
pub fn fixed_weight(weight: f64) -> Result<u32> {
    let scaled = weight * f64::from(WEIGHT_ONE);
    if !scaled.is_finite() || scaled < 0.0 || scaled.round() > f64::from(u32::MAX) {
        return Err(Error::input(format!("rvh: a weight of {weight}; 0 to 65535 is allowed")));
    }
    let fixed = scaled.round() as u32;
    if fixed == 0 && weight > 0.0 {
        return Err(Error::input(format!("rvh: a weight of {weight} is below 1/65536; use 0 for never")));
    }
    Ok(fixed)
}

/// −log₂((draw + 1)/2⁶⁴) with [`COST_BITS`] fractional bits, by repeated squaring; never rises with `draw`.
pub(super) const fn cost(draw: u64) -> u64 {
    let value = draw as u128 + 1;
    let whole = value.ilog2();
    // 1 ≤ x < 2 with 63 fractional bits.
    let mut x = if whole <= 63 { value << (63 - whole) } else { value >> (whole - 63) };
    let mut log = whole as u64;
    let mut bit = 0;
    while bit < COST_BITS {
        x = (x * x) >> 63;
        log <<= 1;
        if x >> 64 != 0 {
            x >>= 1;
            log |= 1;
        }
        bit += 1;
    }
    (64 << COST_BITS) - log
}

const fn table() -> [(f64, f64); 1 << TABLE_BITS] {
    let mut rows = [(0.0, 0.0); 1 << TABLE_BITS];
    let mut at = 0;
    while at < rows.len() {
        // The middle of the row, with 8 fractional bits; `cost` tells its logarithm.
        let middle = 2 * at as u64 + 257;
        let log = 1.0 - cost((middle << 55) - 1) as f64 / (1u64 << COST_BITS) as f64;
        rows[at] = (256.0 / middle as f64, log);
        at += 1;
    }
    rows
}

/// [`cost`] in units of log₂, off by at most [`ERROR`].
#[inline(always)]
pub(super) fn about(draw: u64) -> f64 {
    let Some(value) = draw.checked_add(1) else { return 0.0 };
    let zeros = value.leading_zeros();
    // 1 ≤ x < 2; its first bits choose the row, and y is how far it is from the row's middle: |y| < 2⁻⁸.
    let x = value << zeros;
    let (reciprocal, log) = TABLE[(x >> (63 - TABLE_BITS)) as usize & (TABLE.len() - 1)];
    let y = (x >> 11) as f64 * (1.0 / (1u64 << 52) as f64) * reciprocal - 1.0;
    let series = y * (1.0 + y * (-1.0 / 2.0 + y * (1.0 / 3.0 + y * (-1.0 / 4.0 + y * (1.0 / 5.0)))));
    f64::from(zeros + 1) - log - series * std::f64::consts::LOG2_E
}
