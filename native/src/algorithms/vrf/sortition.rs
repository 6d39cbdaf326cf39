//! Sortition: how many of a holder's units of weight an output elects (Gilad et al., "Algorand", SOSP 2017, algorithm 1).
//!
//! Every unit is elected with probability p = expected / total, so that a holder's count is binomial and does not gain by
//! splitting its weight. The count is the quantile of the output: the smallest j with beta / 2⁵¹² < P(X ≤ j).
//!
//! Integers only, so that everybody gets the same count. A number of the walk is a mantissa of exactly 256 bits (its top
//! bit set) times a power of two; every operation rounds down. With w = weight, T = total, E = expected:
//!
//! 1. q = (T − E) / T; term = q^w, by squaring and multiplying from the top bit of w down; sum = 0; x = the first 256 bits
//!    of beta, big-endian.
//! 2. For j = 0, 1, …: sum += ⌊term · 2²⁵⁶⌋. If x < sum or j = w, the count is j.
//! 3. term' = ⌊mantissa · (w − j) · E · 2¹²⁸ / ((j + 1) · (T − E))⌋ · 2^(exponent − 128), its mantissa cut to 256 bits. If
//!    (w − j) · E ≤ (j + 1) · (T − E) (terms no longer grow) and the last ⌊term · 2²⁵⁶⌋ was 0, the count is j.
//!
//! Before: weight 0 gives 0, and E = T gives w. The power's relative error is below 2⁻¹⁸⁹, that of a step below 2⁻²⁵⁴, and
//! a count takes fewer than 2¹⁷ steps: of at most 2¹⁷ borders each is off by less than 2⁻¹⁸⁸, so that the count differs from
//! the exact quantile for fewer than one output in 2¹⁷⁰.

use crate::error::{Error, Result};

use super::OUTPUT_LEN;

/// The most units that may be expected to be elected in all: bounds the walk to under 80,000 steps (about 10 ms).
pub const EXPECTED_MAX: u64 = 1 << 16;

/// Limbs of a mantissa, lowest first.
const LIMBS: usize = 4;

/// Bits of a mantissa.
const PRECISION: i64 = 64 * LIMBS as i64;

/// mantissa · 2^exponent, the mantissa's top bit set.
#[derive(Clone, Copy)]
struct Number {
    mantissa: [u64; LIMBS],
    exponent: i64,
}

impl Number {
    const ONE: Self = Self { mantissa: [0, 0, 0, 1 << 63], exponent: 1 - PRECISION };

    /// limbs · 2^exponent, rounded down to 256 bits; `limbs` is not zero.
    fn of(limbs: &[u64; 2 * LIMBS], exponent: i64) -> Self {
        let top = limbs.iter().rposition(|limb| *limb != 0).unwrap_or(0);
        let shift = limbs[top].leading_zeros();
        let at = |index: i64| usize::try_from(index).ok().and_then(|index| limbs.get(index)).copied().unwrap_or(0);
        let top = top as i64;
        let mut mantissa = [0; LIMBS];
        for (limb, index) in mantissa.iter_mut().zip(top - (LIMBS as i64 - 1)..) {
            let below = if shift == 0 { 0 } else { at(index - 1) >> (64 - shift) };
            *limb = at(index) << shift | below;
        }
        Self { mantissa, exponent: exponent + 64 * (top - (LIMBS as i64 - 1)) - i64::from(shift) }
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = [0; 2 * LIMBS];
        for (at, a) in self.mantissa.iter().enumerate() {
            let mut carry = 0;
            for (to, b) in product[at..].iter_mut().zip(&other.mantissa) {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(*to) + carry;
                (*to, carry) = (sum as u64, sum >> 64);
            }
            product[at + LIMBS] = carry as u64;
        }
        Self::of(&product, self.exponent + other.exponent)
    }

    /// `self` to the power of `by`.
    fn power(&self, by: u64) -> Self {
        (0..u64::BITS - by.leading_zeros()).rev().fold(Self::ONE, |power, bit| {
            let square = power.times(&power);
            if by >> bit & 1 == 1 { square.times(self) } else { square }
        })
    }

    /// ⌊self · 2²⁵⁶⌋, of a number below 1.
    fn fraction(&self) -> [u64; LIMBS] {
        // Below 1 the exponent is at most −256, so that this shifts to the right.
        let Ok(shift) = usize::try_from(-PRECISION - self.exponent) else {
            return [u64::MAX; LIMBS];
        };
        let (limbs, bits) = (shift / 64, shift % 64);
        let mut out = [0; LIMBS];
        for (at, to) in out.iter_mut().enumerate() {
            let low = self.mantissa.get(at.saturating_add(limbs)).copied().unwrap_or(0);
            let high = self.mantissa.get(at.saturating_add(limbs).saturating_add(1)).copied().unwrap_or(0);
            *to = low >> bits | if bits == 0 { 0 } else { high << (64 - bits) };
        }
        out
    }

    /// The term after this one: times `up[0] · up[1]`, over `down[0] · down[1]`.
    fn next(&self, up: [u64; 2], down: [u64; 2]) -> Self {
        let mut limbs = [0; 2 * LIMBS];
        limbs[2..2 + LIMBS].copy_from_slice(&self.mantissa);
        match up[0].checked_mul(up[1]) {
            Some(up) => multiply(&mut limbs, up),
            None => up.into_iter().for_each(|up| multiply(&mut limbs, up)),
        }
        // ⌊⌊a/b⌋/c⌋ = ⌊a/(b·c)⌋
        match down[0].checked_mul(down[1]) {
            Some(down) => divide(&mut limbs, down),
            None => down.into_iter().for_each(|down| divide(&mut limbs, down)),
        }
        Self::of(&limbs, self.exponent - 128)
    }
}

fn multiply(limbs: &mut [u64], by: u64) {
    let mut carry = 0;
    for limb in limbs {
        let sum = u128::from(*limb) * u128::from(by) + carry;
        (*limb, carry) = (sum as u64, sum >> 64);
    }
}

fn divide(limbs: &mut [u64], by: u64) {
    let mut rest = 0;
    for limb in limbs.iter_mut().rev() {
        let value = rest << 64 | u128::from(*limb);
        (*limb, rest) = ((value / u128::from(by)) as u64, value % u128::from(by));
    }
}

/// Adds; says whether the sum went over 2²⁵⁶.
fn add(sum: &mut [u64; LIMBS], term: &[u64; LIMBS]) -> bool {
    let mut carry = false;
    for (to, from) in sum.iter_mut().zip(term) {
        let (value, first) = to.overflowing_add(*from);
        let (value, second) = value.overflowing_add(u64::from(carry));
        (*to, carry) = (value, first || second);
    }
    carry
}

/// The first 256 bits of an output as a number, lowest limb first.
fn leading(beta: &[u8; OUTPUT_LEN]) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    for (limb, bytes) in limbs.iter_mut().rev().zip(beta.chunks_exact(8)) {
        *limb = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    }
    limbs
}

/// How many of `weight` units the output `beta` elects, where `expected` of all `total` are elected on average.
///
/// The same everywhere, and never less for a greater `beta` (read as a big-endian number).
pub fn sortition(beta: &[u8; OUTPUT_LEN], weight: u64, total: u64, expected: u64) -> Result<u64> {
    if weight > total {
        return Err(Error::input(format!("sortition: weight {weight} is more than the total, {total}")));
    }
    let most = total.min(EXPECTED_MAX);
    if expected == 0 || expected > most {
        return Err(Error::input(format!(
            "sortition: expected {expected} of a total of {total}: 1 to {EXPECTED_MAX} are needed, and no more than the total"
        )));
    }
    let rest = total - expected;
    if weight == 0 || rest == 0 {
        return Ok(weight);
    }
    Ok(walk(&leading(beta), weight, total, expected))
}

/// About how many steps a count takes: the number of units that are elected on average.
pub fn sortition_steps(weight: u64, total: u64, expected: u64) -> u64 {
    let steps = u128::from(weight) * u128::from(expected.min(EXPECTED_MAX)) / u128::from(total.max(1));
    steps.min(u128::from(EXPECTED_MAX)) as u64
}

fn walk(x: &[u64; LIMBS], weight: u64, total: u64, expected: u64) -> u64 {
    let rest = total - expected;
    let mut missed = [0, 0, 0, 0, rest, 0, 0, 0];
    divide(&mut missed, total);
    let mut term = Number::of(&missed, -PRECISION).power(weight);
    let (mut sum, mut count) = ([0; LIMBS], 0);
    loop {
        let fraction = term.fraction();
        let full = add(&mut sum, &fraction);
        if full || count == weight || x.iter().rev().lt(sum.iter().rev()) {
            return count;
        }
        let (up, down) = ([weight - count, expected], [count + 1, rest]);
        let product = |pair: [u64; 2]| u128::from(pair[0]) * u128::from(pair[1]);
        if fraction == [0; LIMBS] && product(up) <= product(down) {
            return count;
        }
        term = term.next(up, down);
        count += 1;
    }
}

#[cfg(test)]
mod tests;
