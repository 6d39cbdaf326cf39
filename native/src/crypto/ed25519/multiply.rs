//! Sums of multiples of points, for checking signatures. **Variable time**: see [`super::field`].
//!
//! - [`Table`]: odd multiples of 2^(16·i)·P for i = 0 … 15, so that k·P takes 16 doublings in place of 253. Worth making
//!   for a key that comes again and again, and for the base point.
//! - [`straus`]: one chain of doublings for all points.
//! - [`pippenger`]: buckets, for hundreds of points.

use std::sync::OnceLock;

use super::field::with_bmi2;
use super::point::{Addend, Affine, Cached, Point, Term, affine_all, sum};

/// A scalar, little-endian.
pub(super) type Scalar = [u8; 32];

/// How many starting points a table has, and the bits between them.
const SPLITS: usize = 16;
const SPLIT_BITS: usize = 256 / SPLITS;

/// Window of a key's table: 8 odd multiples each, 15 KiB in all.
const KEY_WINDOW: usize = 5;

/// Window of the base point's table: 64 odd multiples each, 120 KiB in all.
const BASE_WINDOW: usize = 8;

/// The base point's encoding: y = 4/5, x even (RFC 8032, section 5.1).
pub(super) const BASE: [u8; 32] = {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    bytes
};

/// Calls `each` with (position, digit) for the digits of the window form of `scalar`, below 2²⁵⁵: odd, below
/// 2^(`window` − 1) in absolute value, and scalar = Σ digit · 2^position.
pub(super) fn digits(scalar: &Scalar, window: usize, mut each: impl FnMut(usize, i32)) {
    let mut words = [0u64; 5];
    for (word, bytes) in words.iter_mut().zip(scalar.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let (mut at, mut carry) = (0, 0);
    while at < 256 {
        let (word, bit) = (at / 64, at % 64);
        let bits = words[word] >> bit | if bit == 0 { 0 } else { words[word + 1] << (64 - bit) };
        // With a carry the next bit that is 0 makes the digit odd, without one the next that is 1.
        let skip = if carry == 1 { bits.trailing_ones() } else { bits.trailing_zeros() } as usize;
        if skip > 0 {
            at += skip;
            continue;
        }
        let value = carry + (bits & ((1 << window) - 1));
        let value = i32::try_from(value).unwrap_or(0);
        if value < 1 << (window - 1) {
            carry = 0;
            each(at, value);
        } else {
            carry = 1;
            each(at, value - (1 << window));
        }
        at += window;
    }
}

/// Odd multiples of one point.
pub(super) struct Table {
    window: usize,
    points: Vec<Affine>,
}

/// The base point's table. Whoever is first makes it before it is put in place, so that nobody waits.
fn base_table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    if let Some(table) = TABLE.get() {
        return table;
    }
    let made = Table::with_window(&Point::decode(&BASE).unwrap_or(Point::ZERO), BASE_WINDOW);
    TABLE.get_or_init(move || made)
}

impl Table {
    /// The table of a key.
    pub(super) fn new(point: &Point) -> Self {
        Self::with_window(point, KEY_WINDOW)
    }

    fn with_window(point: &Point, window: usize) -> Self {
        let mut points = Vec::with_capacity(SPLITS << (window - 2));
        let mut start = *point;
        for at in 0..SPLITS {
            odd_multiples(&start, 1 << (window - 2), |multiple| points.push(*multiple));
            if at + 1 < SPLITS {
                start = start.doubles(SPLIT_BITS);
            }
        }
        Self { window, points: affine_all(&points) }
    }

    pub(super) fn terms<'a>(&'a self, scalar: &Scalar, negative: bool, terms: &mut Vec<Term<'a>>) {
        let row = 1 << (self.window - 2);
        digits(scalar, self.window, |at, digit| {
            let (split, level) = (at / SPLIT_BITS, at % SPLIT_BITS);
            let point = &self.points[split * row + (digit.unsigned_abs() >> 1) as usize];
            terms.push(Term { level, point: Addend::Affine(point), negative: negative ^ (digit < 0) });
        });
    }
}

/// P, 3P, 5P, … `count` of them.
fn odd_multiples(point: &Point, count: usize, mut each: impl FnMut(&Point)) {
    let twice = point.double().cached();
    let mut multiple = *point;
    each(&multiple);
    for _ in 1..count {
        multiple = multiple.plus_cached(&twice);
        each(&multiple);
    }
}

/// base·B − k·A, with the table of A.
pub(super) fn base_less_key(base: &Scalar, k: &Scalar, key: &Table) -> Point {
    let mut terms = Vec::with_capacity(96);
    base_table().terms(base, false, &mut terms);
    key.terms(k, true, &mut terms);
    sum(SPLIT_BITS, &terms)
}

/// base·B + Σ scalar·point, by one chain of doublings for all points.
pub(super) fn straus(base: &Scalar, others: &[(Scalar, Point)]) -> Point {
    const ODD: usize = 1 << (KEY_WINDOW - 2);
    let mut tables: Vec<Cached> = Vec::with_capacity(others.len() * ODD);
    for (_, point) in others {
        odd_multiples(point, ODD, |multiple| tables.push(multiple.cached()));
    }
    let mut terms = Vec::with_capacity(32 + others.len() * 43);
    base_table().terms(base, false, &mut terms);
    for ((scalar, _), table) in others.iter().zip(tables.chunks_exact(ODD)) {
        digits(scalar, KEY_WINDOW, |level, digit| {
            let point = Addend::Cached(&table[(digit.unsigned_abs() >> 1) as usize]);
            terms.push(Term { level, point, negative: digit < 0 });
        });
    }
    let levels = terms.iter().map(|term| term.level + 1).max().unwrap_or(1);
    sum(levels, &terms)
}

/// base·B + Σ scalar·point, by buckets: for hundreds of points, whose z must be 1.
pub(super) fn pippenger(base: &Scalar, others: &[(Scalar, Point)]) -> Point {
    let window = match others.len() {
        0..300 => 6,
        300..900 => 7,
        900..4000 => 8,
        _ => 9,
    };
    let affine: Vec<Affine> = others.iter().map(|(_, point)| point.affine()).collect();
    let columns = 256usize.div_ceil(window);
    // Signed digits, −2^(window − 1) to 2^(window − 1), column by column.
    let mut table = vec![0i16; columns * others.len()];
    let mut highest = 0;
    for (at, (scalar, _)) in others.iter().enumerate() {
        let mut carry = 0;
        for column in 0..columns {
            let digit = bits(scalar, column * window, window) + carry;
            carry = i16::from(digit > 1 << (window - 1));
            let digit = digit - (carry << window);
            table[column * others.len() + at] = digit;
            if digit != 0 {
                highest = highest.max(column);
            }
        }
    }
    let mut whole = Point::ZERO;
    let mut buckets = vec![Point::ZERO; 1 << (window - 1)];
    for column in (0..=highest).rev() {
        if column < highest {
            whole = whole.doubles(window);
        }
        whole = whole.add(&column_sum(&table[column * others.len()..][..others.len()], &affine, &mut buckets));
    }
    let mut terms = Vec::with_capacity(32);
    base_table().terms(base, false, &mut terms);
    whole.add(&sum(SPLIT_BITS, &terms))
}

with_bmi2! {
    /// Σ digit·point: every point into the bucket of its digit, then every bucket as often as its number says.
    fn column_sum = column_sum_plain, column_sum_bmi2 (digits: &[i16], points: &[Affine], buckets: &mut [Point]) -> Point
}

#[inline(always)]
fn column_sum_plain(digits: &[i16], points: &[Affine], buckets: &mut [Point]) -> Point {
    buckets.fill(Point::ZERO);
    for (digit, point) in digits.iter().zip(points) {
        if *digit != 0 {
            let bucket = &mut buckets[usize::from(digit.unsigned_abs()) - 1];
            *bucket = bucket.plus(point, *digit < 0);
        }
    }
    let (mut running, mut total) = (Point::ZERO, Point::ZERO);
    for bucket in buckets.iter().rev() {
        running = running.add(bucket);
        total = total.add(&running);
    }
    total
}

/// `count` bits, at most 9, from bit `at` on.
fn bits(scalar: &Scalar, at: usize, count: usize) -> i16 {
    let byte = |at: usize| scalar.get(at).map_or(0, |byte| u32::from(*byte));
    let (low, shift) = (at / 8, at % 8);
    let word = byte(low) | byte(low + 1) << 8 | byte(low + 2) << 16;
    ((word >> shift) & ((1 << count) - 1)) as i16
}
