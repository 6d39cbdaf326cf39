//! The pairing of G1 and G2, for public values.

use blst::{blst_fp12, blst_p1_affine, blst_p2_affine};
use rayon::prelude::*;

use super::{G1Affine, G2Affine};

/// Pairs that one loop takes together: they share its squarings.
const TOGETHER: usize = 16;

/// Pairs from which on they are spread over threads.
const PARALLEL_MIN: usize = 8;

/// An element of the target group of the pairing, of prime order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gt(blst_fp12);

impl Gt {
    /// The neutral element.
    pub fn one() -> Self {
        Self(blst_fp12::default())
    }

    /// The product.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        Self(self.0 * other.0)
    }

    /// The quotient.
    #[must_use]
    pub fn div(&self, other: &Self) -> Self {
        let mut inverse = other.0;
        // SAFETY: it is a valid element, changed in place. In this group the conjugate is the inverse.
        unsafe { blst::blst_fp12_conjugate(&mut inverse) };
        Self(self.0 * inverse)
    }
}

/// Π e(pᵢ, qᵢ) with one final exponentiation; a pair with a neutral element counts for nothing, as it should.
pub fn pairing_product(pairs: &[(G1Affine, G2Affine)]) -> Gt {
    let pairs = pairs.iter().filter(|(p, q)| !p.is_identity() && !q.is_identity());
    let (ps, qs): (Vec<blst_p1_affine>, Vec<blst_p2_affine>) =
        pairs.map(|(p, q)| (blst_p1_affine::from(p.0), blst_p2_affine::from(q.0))).unzip();
    #[cfg(test)]
    COUNTED.with(|counted| {
        let (loops, exponentiations) = counted.get();
        counted.set((loops + ps.len(), exponentiations + 1));
    });
    let threads = rayon::current_num_threads();
    let product = match ps.len() {
        0 => return Gt::one(),
        pairs if pairs < PARALLEL_MIN || threads == 1 => blst_fp12::miller_loop_n(&qs, &ps),
        pairs => {
            let piece = pairs.div_ceil(threads).min(TOGETHER);
            let pieces = qs.par_chunks(piece).zip(ps.par_chunks(piece));
            pieces.map(|(qs, ps)| blst_fp12::miller_loop_n(qs, ps)).reduce(blst_fp12::default, |a, b| a * b)
        }
    };
    Gt(product.final_exp())
}

#[cfg(test)]
thread_local! {
    static COUNTED: std::cell::Cell<(usize, usize)> = const { std::cell::Cell::new((0, 0)) };
}

/// What `f` gives, with the Miller loops and the final exponentiations that this thread asked for meanwhile.
#[cfg(test)]
pub(in crate::algorithms::tes) fn counted<T>(f: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = COUNTED.get();
    let value = f();
    let after = COUNTED.get();
    (value, after.0 - before.0, after.1 - before.1)
}
