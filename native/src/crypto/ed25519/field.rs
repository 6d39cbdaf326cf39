//! The field of 2²⁵⁵ − 19 elements, for checking signatures: five limbs of 51 bits.
//!
//! **Variable time.** Nothing secret may come here: keys, messages and signatures that are checked are public.
//!
//! Sums and differences are not reduced. A *tight* element is what [`Fe::mul`], [`Fe::square`] and [`Fe::from_bytes`]
//! give: limbs below 2⁵¹ + 2¹³. Everything that goes into a product must have limbs below 2⁵⁴; each function says what it
//! takes and gives, and debug builds check it.

/// An element, as limbs of 51 bits, least significant first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fe(pub(super) [u64; 5]);

const MASK: u64 = (1 << 51) - 1;

/// 4·p by limbs: more than any sum of two tight elements, limb by limb.
const FOUR_P: [u64; 5] = [(MASK - 18) * 4, MASK * 4, MASK * 4, MASK * 4, MASK * 4];

/// −121665/121666, the curve's d.
pub(super) const D: Fe =
    Fe([929_955_233_495_203, 466_365_720_129_213, 1_662_059_464_998_953, 2_033_849_074_728_123, 1_442_794_654_840_575]);

/// 2·d.
pub(super) const D2: Fe =
    Fe([1_859_910_466_990_425, 932_731_440_258_426, 1_072_319_116_312_658, 1_815_898_335_770_999, 633_789_495_995_903]);

/// A root of −1.
pub(super) const ROOT_OF_MINUS_ONE: Fe =
    Fe([1_718_705_420_411_056, 234_908_883_556_509, 2_233_514_472_574_048, 2_117_202_627_021_982, 765_476_049_583_133]);

/// Defines a function that runs `$plain`, compiled for BMI2 where the processor has it: MULX leaves the flags alone, which
/// makes long chains of products about a tenth faster. `$plain` and what it calls must be inlined.
macro_rules! with_bmi2 {
    ($(#[$doc:meta])* $seen:vis fn $name:ident = $plain:ident, $fast:ident ($($arg:ident: $type:ty),*) -> $out:ty) => {
        $(#[$doc])*
        $seen fn $name($($arg: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("bmi2") {
                // SAFETY: the processor has BMI2, which is all that the function asks for.
                return unsafe { $fast($($arg),*) };
            }
            $plain($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "bmi2")]
        fn $fast($($arg: $type),*) -> $out {
            $plain($($arg),*)
        }
    };
}

pub(super) use with_bmi2;

#[inline(always)]
fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// Carries five sums of products into a tight element.
///
/// The sums are those of limbs below 2⁵⁴, so each is below 2¹¹⁴·⁶: a carry fits 64 bits, and the last below 2⁵⁹·⁴, so that
/// 19 times it fits too.
#[inline(always)]
fn carry(c0: u128, mut c1: u128, mut c2: u128, mut c3: u128, mut c4: u128) -> Fe {
    c1 += u128::from((c0 >> 51) as u64);
    c2 += u128::from((c1 >> 51) as u64);
    c3 += u128::from((c2 >> 51) as u64);
    c4 += u128::from((c3 >> 51) as u64);
    let low = (c0 as u64 & MASK) + (c4 >> 51) as u64 * 19;
    Fe([low & MASK, (c1 as u64 & MASK) + (low >> 51), c2 as u64 & MASK, c3 as u64 & MASK, c4 as u64 & MASK])
}

impl Fe {
    /// 0.
    pub(super) const ZERO: Self = Self([0; 5]);
    /// 1.
    pub(super) const ONE: Self = Self([1, 0, 0, 0, 0]);

    /// The low 255 bits of `bytes`, little-endian. Tight.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self([
            word(0) & MASK,
            (word(6) >> 3) & MASK,
            (word(12) >> 6) & MASK,
            (word(19) >> 1) & MASK,
            (word(24) >> 12) & MASK,
        ])
    }

    /// The one encoding, little-endian, below p. Takes limbs below 2⁶³.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut l = self.0;
        let top = l[4] >> 51;
        l = [
            (l[0] & MASK) + top * 19,
            (l[1] & MASK) + (l[0] >> 51),
            (l[2] & MASK) + (l[1] >> 51),
            (l[3] & MASK) + (l[2] >> 51),
            (l[4] & MASK) + (l[3] >> 51),
        ];
        // Now below 2·p: 19 more reaches 2²⁵⁵ exactly if it is p or more.
        let mut q = (l[0] + 19) >> 51;
        for limb in &l[1..] {
            q = (limb + q) >> 51;
        }
        l[0] += 19 * q;
        for at in 0..4 {
            l[at + 1] += l[at] >> 51;
            l[at] &= MASK;
        }
        l[4] &= MASK;
        let words = [l[0] | l[1] << 51, l[1] >> 13 | l[2] << 38, l[2] >> 26 | l[3] << 25, l[3] >> 39 | l[4] << 12];
        let mut out = [0; 32];
        for (to, word) in out.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// The sum, not reduced.
    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    /// The difference, not reduced: `other` has limbs below 2⁵³ − 76, and 2⁵³ is added to each limb.
    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| {
            debug_assert!(other.0[at] <= FOUR_P[at], "a subtrahend of {}", other.0[at]);
            self.0[at] + FOUR_P[at] - other.0[at]
        }))
    }

    /// The product of two with limbs below 2⁵⁴. Tight.
    #[inline(always)]
    pub(super) fn mul(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        debug_assert!(a.iter().chain(b).all(|limb| *limb < 1 << 54), "{a:?} · {b:?}");
        let (b1, b2, b3, b4) = (b[1] * 19, b[2] * 19, b[3] * 19, b[4] * 19);
        carry(
            wide(a[0], b[0]) + wide(a[4], b1) + wide(a[3], b2) + wide(a[2], b3) + wide(a[1], b4),
            wide(a[1], b[0]) + wide(a[0], b[1]) + wide(a[4], b2) + wide(a[3], b3) + wide(a[2], b4),
            wide(a[2], b[0]) + wide(a[1], b[1]) + wide(a[0], b[2]) + wide(a[4], b3) + wide(a[3], b4),
            wide(a[3], b[0]) + wide(a[2], b[1]) + wide(a[1], b[2]) + wide(a[0], b[3]) + wide(a[4], b4),
            wide(a[4], b[0]) + wide(a[3], b[1]) + wide(a[2], b[2]) + wide(a[1], b[3]) + wide(a[0], b[4]),
        )
    }

    /// The square of one with limbs below 2⁵⁴. Tight.
    #[inline(always)]
    pub(super) fn square(&self) -> Self {
        let a = &self.0;
        debug_assert!(a.iter().all(|limb| *limb < 1 << 54), "{a:?}²");
        let (d0, d1, d2) = (a[0] * 2, a[1] * 2, a[2] * 2);
        let (a3, a4) = (a[3] * 19, a[4] * 19);
        carry(
            wide(a[0], a[0]) + wide(d1, a4) + wide(d2, a3),
            wide(a[3], a3) + wide(d0, a[1]) + wide(d2, a4),
            wide(a[1], a[1]) + wide(d0, a[2]) + wide(a[4] * 2, a3),
            wide(a[4], a4) + wide(d0, a[3]) + wide(d1, a[2]),
            wide(a[2], a[2]) + wide(d0, a[4]) + wide(d1, a[3]),
        )
    }

    /// Squared `count` times, at least once.
    #[inline(always)]
    fn squares(&self, count: usize) -> Self {
        let mut power = self.square();
        for _ in 1..count {
            power = power.square();
        }
        power
    }

    /// 1/self, or 0 of 0: the power p − 2 = 2²⁵⁵ − 21.
    pub(super) fn invert(&self) -> Self {
        let (ones, eleven) = ladder(self);
        ones.squares(5).mul(&eleven)
    }

    /// The power (p − 5)/8 = 2²⁵² − 3.
    pub(super) fn root_power(&self) -> Self {
        ladder(self).0.squares(2).mul(self)
    }

    /// Whether it is 0.
    pub(super) fn is_zero(&self) -> bool {
        self.to_bytes() == [0; 32]
    }

    /// Whether the one encoding is odd: the sign of an x.
    pub(super) fn is_negative(&self) -> bool {
        self.to_bytes()[0] & 1 == 1
    }

    /// −self. Takes limbs below 2⁵³ − 76.
    #[inline(always)]
    pub(super) fn neg(&self) -> Self {
        Self::ZERO.sub(self)
    }
}

with_bmi2! {
    /// The powers 2²⁵⁰ − 1 and 11, from which the exponents of inversion and root are made.
    pub(super) fn ladder = ladder_plain, ladder_bmi2 (base: &Fe) -> (Fe, Fe)
}

#[inline(always)]
pub(super) fn ladder_plain(base: &Fe) -> (Fe, Fe) {
    let two = base.square();
    let nine = two.squares(2).mul(base);
    let eleven = nine.mul(&two);
    let five_bits = eleven.square().mul(&nine);
    let ten = five_bits.squares(5).mul(&five_bits);
    let twenty = ten.squares(10).mul(&ten);
    let forty = twenty.squares(20).mul(&twenty);
    let fifty = forty.squares(10).mul(&ten);
    let hundred = fifty.squares(50).mul(&fifty);
    let two_hundred = hundred.squares(100).mul(&hundred);
    (two_hundred.squares(50).mul(&fifty), eleven)
}

/// Puts 1/z in the place of each z with one inversion in all. None of them may be 0; limbs are below 2⁵⁴.
pub(super) fn invert_all(values: &mut [Fe]) {
    let mut before = Vec::with_capacity(values.len());
    let mut product = Fe::ONE;
    for value in values.iter() {
        before.push(product);
        product = product.mul(value);
    }
    let mut rest = product.invert();
    for (value, before) in values.iter_mut().zip(before).rev() {
        let inverse = rest.mul(&before);
        rest = rest.mul(value);
        *value = inverse;
    }
}
