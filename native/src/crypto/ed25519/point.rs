//! Points of edwards25519 (RFC 8032, section 5.1), for checking signatures. **Variable time**: see [`super::field`].
//!
//! Extended coordinates and the complete formulas for a = −1 of Hisil, Wong, Carter and Dawson (2008), as RFC 8032,
//! section 5.1.4: they hold for all pairs of points of the curve, so that no case is special. Limb bounds are in the comments; T(ight) is
//! what a product gives, below 2⁵¹ + 2¹³.

use super::field::{D, D2, Fe, ROOT_OF_MINUS_ONE, invert_all, with_bmi2};

/// A point (X : Y : Z : T), x = X/Z, y = Y/Z, T = XY/Z; all four tight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    x: Fe,
    y: Fe,
    z: Fe,
    t: Fe,
}

/// A point ready to be added: (y + x, y − x, 2dxy), z = 1; limbs below 2⁵⁴.
#[derive(Debug, Clone, Copy)]
pub(super) struct Affine {
    plus: Fe,
    minus: Fe,
    t2d: Fe,
}

/// A point ready to be added, whatever its z: (Y + X, Y − X, 2dT, 2Z); limbs below 2⁵⁴.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached {
    plus: Fe,
    minus: Fe,
    t2d: Fe,
    z2: Fe,
}

/// A result before its last multiplications: ((X : Z), (Y : T)).
struct Completed {
    x: Fe,
    y: Fe,
    z: Fe,
    t: Fe,
}

/// A sum in the making, without T: what a chain of doublings needs.
#[derive(Clone, Copy)]
struct Projective {
    x: Fe,
    y: Fe,
    z: Fe,
}

impl Completed {
    #[inline(always)]
    fn projective(&self) -> Projective {
        Projective { x: self.x.mul(&self.t), y: self.y.mul(&self.z), z: self.z.mul(&self.t) }
    }

    #[inline(always)]
    fn extended(&self) -> Point {
        Point { x: self.x.mul(&self.t), y: self.y.mul(&self.z), z: self.z.mul(&self.t), t: self.x.mul(&self.y) }
    }
}

impl Projective {
    #[inline(always)]
    fn double(&self) -> Completed {
        let (xx, yy, zz) = (self.x.square(), self.y.square(), self.z.square());
        let sum = self.x.add(&self.y).square();
        let (plus, minus) = (yy.add(&xx), yy.sub(&xx)); // below 2⁵² + 2¹⁴ and 2⁵¹ + 2⁵³ + 2¹³
        // 2ZZ − (YY − XX) = 2ZZ + XX − YY, so that the subtrahend is tight.
        Completed { x: sum.sub(&plus), y: plus, z: minus, t: zz.add(&zz).add(&xx).sub(&yy) }
    }
}

impl Point {
    /// The neutral element.
    pub(super) const ZERO: Self = Self { x: Fe::ZERO, y: Fe::ONE, z: Fe::ONE, t: Fe::ZERO };

    /// Decodes the one encoding of a point; every other is refused (RFC 8032, section 5.1.3).
    pub(super) fn decode(bytes: &[u8; 32]) -> Option<Self> {
        let y = Fe::from_bytes(bytes);
        let mut canonical = y.to_bytes();
        let negative = bytes[31] & 0x80 != 0;
        canonical[31] |= bytes[31] & 0x80;
        if canonical != *bytes {
            return None;
        }
        let yy = y.square();
        let (u, v) = (yy.sub(&Fe::ONE), yy.mul(&D).add(&Fe::ONE));
        let vvv = v.square().mul(&v);
        let mut x = vvv.square().mul(&v).mul(&u).root_power().mul(&vvv).mul(&u);
        let check = x.square().mul(&v).to_bytes();
        if check != u.to_bytes() {
            if check != Fe::ZERO.sub(&yy).add(&Fe::ONE).to_bytes() {
                return None; // neither u nor −u: u/v is no square
            }
            x = x.mul(&ROOT_OF_MINUS_ONE);
        }
        if negative && x.is_zero() {
            return None; // 0 has no sign
        }
        if x.is_negative() != negative {
            x = x.neg().mul(&Fe::ONE);
        }
        Some(Self { x, y, z: Fe::ONE, t: x.mul(&y) })
    }

    /// 2·self.
    pub(super) fn double(&self) -> Self {
        Projective { x: self.x, y: self.y, z: self.z }.double().extended()
    }

    /// 2^`count`·self.
    pub(super) fn doubles(&self, count: usize) -> Self {
        (0..count).fold(*self, |point, _| point.double())
    }

    /// self + other, or self − other.
    #[inline(always)]
    fn mixed(&self, other: &Affine, negative: bool) -> Completed {
        let (plus, minus) = if negative { (&other.minus, &other.plus) } else { (&other.plus, &other.minus) };
        let pp = self.y.add(&self.x).mul(plus);
        let mm = self.y.sub(&self.x).mul(minus);
        let td = self.t.mul(&other.t2d);
        let zz = self.z.add(&self.z); // below 2⁵² + 2¹⁴
        let (more, less) = (zz.add(&td), zz.sub(&td)); // below 2⁵³ and 2⁵² + 2⁵³ + 2¹⁴
        let (z, t) = if negative { (less, more) } else { (more, less) };
        Completed { x: pp.sub(&mm), y: pp.add(&mm), z, t }
    }

    /// self + other, or self − other.
    #[inline(always)]
    pub(super) fn plus(&self, other: &Affine, negative: bool) -> Self {
        self.mixed(other, negative).extended()
    }

    /// self + other, or self − other.
    #[inline(always)]
    fn cached_sum(&self, other: &Cached, negative: bool) -> Completed {
        let (plus, minus) = if negative { (&other.minus, &other.plus) } else { (&other.plus, &other.minus) };
        let pp = self.y.add(&self.x).mul(plus);
        let mm = self.y.sub(&self.x).mul(minus);
        let td = self.t.mul(&other.t2d);
        let zz = self.z.mul(&other.z2);
        let (more, less) = (zz.add(&td), zz.sub(&td));
        let (z, t) = if negative { (less, more) } else { (more, less) };
        Completed { x: pp.sub(&mm), y: pp.add(&mm), z, t }
    }

    /// self and one term more.
    #[inline(always)]
    fn with(&self, term: &Term<'_>) -> Completed {
        match term.point {
            Addend::Affine(point) => self.mixed(point, term.negative),
            Addend::Cached(point) => self.cached_sum(point, term.negative),
        }
    }

    /// self + other.
    pub(super) fn plus_cached(&self, other: &Cached) -> Self {
        self.cached_sum(other, false).extended()
    }

    /// self + other.
    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        self.cached_sum(&other.cached(), false).extended()
    }

    /// self − other.
    pub(super) fn sub(&self, other: &Self) -> Self {
        self.cached_sum(&other.cached(), true).extended()
    }

    /// The point ready to be added.
    #[inline(always)]
    pub(super) fn cached(&self) -> Cached {
        Cached { plus: self.y.add(&self.x), minus: self.y.sub(&self.x), t2d: self.t.mul(&D2), z2: self.z.add(&self.z) }
    }

    /// The one encoding.
    pub(super) fn encode(&self) -> [u8; 32] {
        self.encode_with(&self.z.invert())
    }

    /// The one encoding, with 1/z at hand.
    fn encode_with(&self, inverse: &Fe) -> [u8; 32] {
        let mut bytes = self.y.mul(inverse).to_bytes();
        bytes[31] |= u8::from(self.x.mul(inverse).is_negative()) << 7;
        bytes
    }

    /// Whether 8·self is the neutral element.
    pub(super) fn is_small_order(&self) -> bool {
        let eight = self.doubles(3);
        eight.x.is_zero() && eight.y.to_bytes() == eight.z.to_bytes()
    }

    /// The point ready to be added; its z must be 1.
    pub(super) fn affine(&self) -> Affine {
        Affine { plus: self.y.add(&self.x), minus: self.y.sub(&self.x), t2d: self.t.mul(&D2) }
    }
}

/// The encodings of many points, with one inversion in all.
pub(super) fn encode_all(points: &[Point]) -> Vec<[u8; 32]> {
    let mut inverses: Vec<Fe> = points.iter().map(|point| point.z).collect();
    invert_all(&mut inverses);
    points.iter().zip(inverses).map(|(point, inverse)| point.encode_with(&inverse)).collect()
}

/// Many points ready to be added, with one inversion in all.
pub(super) fn affine_all(points: &[Point]) -> Vec<Affine> {
    let mut inverses: Vec<Fe> = points.iter().map(|point| point.z).collect();
    invert_all(&mut inverses);
    points
        .iter()
        .zip(inverses)
        .map(|(point, inverse)| {
            let (x, y) = (point.x.mul(&inverse), point.y.mul(&inverse));
            Point { x, y, z: Fe::ONE, t: x.mul(&y) }.affine()
        })
        .collect()
}

/// One addition of a sum.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    /// 2^level times this is added.
    pub(super) level: usize,
    /// What.
    pub(super) point: Addend<'a>,
    /// Whether it is taken away instead.
    pub(super) negative: bool,
}

/// A point ready to be added, with z = 1 or without.
#[derive(Clone, Copy)]
pub(super) enum Addend<'a> {
    /// With z = 1.
    Affine(&'a Affine),
    /// With any z.
    Cached(&'a Cached),
}

with_bmi2! {
    /// Σ 2^level · point over all terms, each below `levels`: one doubling a level, one addition a term.
    pub(super) fn sum = sum_plain, sum_bmi2 (levels: usize, terms: &[Term<'_>]) -> Point
}

#[inline(always)]
pub(super) fn sum_plain(levels: usize, terms: &[Term<'_>]) -> Point {
    // Sorted by level, highest first, by counting.
    let mut starts = vec![0usize; levels + 1];
    for term in terms {
        starts[levels - 1 - term.level + 1] += 1;
    }
    for at in 0..levels {
        starts[at + 1] += starts[at];
    }
    let mut order = vec![0u32; terms.len()];
    let mut free = starts.clone();
    for (at, term) in (0u32..).zip(terms) {
        let place = &mut free[levels - 1 - term.level];
        order[*place] = at;
        *place += 1;
    }
    let mut sum = Point::ZERO;
    for level in 0..levels {
        let todo = &order[starts[level]..starts[level + 1]];
        let doubled = Projective { x: sum.x, y: sum.y, z: sum.z }.double();
        let Some((last, rest)) = todo.split_last() else {
            // T is not needed for the next doubling, but at the end it is.
            let Projective { x, y, z } = doubled.projective();
            sum = if level + 1 == levels { doubled.extended() } else { Point { x, y, z, t: Fe::ZERO } };
            continue;
        };
        let mut whole = doubled.extended();
        for at in rest {
            whole = whole.with(&terms[*at as usize]).extended();
        }
        let completed = whole.with(&terms[*last as usize]);
        let Projective { x, y, z } = completed.projective();
        sum = if level + 1 == levels { completed.extended() } else { Point { x, y, z, t: Fe::ZERO } };
    }
    sum
}
