//! Polynomials over a group's scalars: sharing and interpolation (Shamir 1979).
//!
//! The secret is the value at 0, the share of the party with index i the value at i. Index 0 is therefore never a party's,
//! and an index that stands twice is no second share: both are refused wherever indices come in.

use zeroize::Zeroizing;

use super::group::{Group, Scalar};
use crate::error::{Error, Result};

/// The most parties of one key.
pub const PARTIES_MAX: usize = 1024;

/// A secret polynomial. Zeroised on drop; has no `Debug` and no encoding.
pub struct Polynomial<G: Group>(Zeroizing<Vec<G::Scalar>>);

impl<G: Group> Polynomial<G> {
    /// A random polynomial that `terms` values determine, 1 to [`PARTIES_MAX`].
    ///
    /// # Errors
    /// [`Error::Input`] if `terms` is out of range, [`Error::Unavailable`] if the system has no randomness.
    pub fn random(terms: u16) -> Result<Self> {
        Self::with_constant(&*random_scalar()?, terms)
    }

    /// A polynomial that is random except for its value at 0.
    ///
    /// # Errors
    /// As [`Polynomial::random`].
    pub fn with_constant(constant: &G::Scalar, terms: u16) -> Result<Self> {
        if terms == 0 || usize::from(terms) > PARTIES_MAX {
            return Err(Error::input(format!("polynomial: {terms} terms, 1 to {PARTIES_MAX} are possible")));
        }
        // Of full length from the start: a vector that grows leaves copies behind.
        let mut terms = Zeroizing::new(vec![*constant; usize::from(terms)]);
        for term in terms.iter_mut().skip(1) {
            *term = *random_scalar()?;
        }
        Ok(Self(terms))
    }

    /// How many values determine it.
    pub fn terms(&self) -> usize {
        self.0.len()
    }

    /// The value at 0.
    pub fn constant(&self) -> &G::Scalar {
        &self.0[0]
    }

    /// The value at `index`, in a time that does not depend on the coefficients.
    pub fn evaluate(&self, index: u16) -> Zeroizing<G::Scalar> {
        let at = G::Scalar::from_u64(u64::from(index));
        let mut value = Zeroizing::new(G::Scalar::ZERO);
        for term in self.0.iter().rev() {
            *value = value.mul(&at).add(term);
        }
        value
    }

    /// Each coefficient times the base point: what the values can be checked against (Feldman 1987).
    pub fn commitments(&self) -> Vec<G::Point> {
        self.0.iter().map(G::mul_base).collect()
    }
}

/// A scalar that nobody can guess.
///
/// # Errors
/// [`Error::Unavailable`] if the system has no randomness.
pub fn random_scalar<S: Scalar>() -> Result<Zeroizing<S>> {
    let mut wide = Zeroizing::new([0; 64]);
    getrandom::fill(wide.as_mut())
        .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 64, 0))?;
    Ok(Zeroizing::new(S::from_wide(&wide)))
}

/// Whether these can be the indices of parties: none is 0, none stands twice, at most [`PARTIES_MAX`] of them.
///
/// # Errors
/// [`Error::Input`] with the index that is wrong.
pub fn check_indices(indices: &[u16]) -> Result<()> {
    if indices.len() > PARTIES_MAX {
        return Err(Error::input(format!("indices: {} of them, at most {PARTIES_MAX} are possible", indices.len())));
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    if sorted.first() == Some(&0) {
        return Err(Error::input("indices: 0 is the index of no party, they are 1 to 65535"));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::input(format!("indices: {} stands twice", pair[0]))),
        None => Ok(()),
    }
}

/// What the values at `indices` are multiplied with so that their sum is the value at 0, for a polynomial of at most as
/// many terms.
///
/// # Errors
/// [`Error::Input`] if an index is 0 or stands twice (it is named), there are none, or more than [`PARTIES_MAX`].
pub fn lagrange_at_zero<S: Scalar>(indices: &[u16]) -> Result<Vec<S>> {
    check_indices(indices)?;
    if indices.is_empty() {
        return Err(Error::input("indices: there are none, at least one is needed"));
    }
    // λᵢ = Π_{j≠i} j / (j − i) = Π j / (i · Π_{j≠i} (j − i)): one product for all, and one inversion.
    let below: Vec<S> = indices.iter().map(|&index| denominator(index, indices)).collect();
    let all: S = product_of_small(indices.iter().copied());
    let mut runs = Vec::with_capacity(below.len());
    let mut run = S::ONE;
    for factor in &below {
        runs.push(run);
        run = run.mul(factor);
    }
    // Never 0: the group's order is far above every index, so no factor is.
    let mut inverse = run.invert().ok_or_else(|| Error::input("indices: they do not determine a polynomial"))?;
    let mut weights = vec![S::ZERO; below.len()];
    for (at, weight) in weights.iter_mut().enumerate().rev() {
        *weight = all.mul(&inverse).mul(&runs[at]);
        inverse = inverse.mul(&below[at]);
    }
    Ok(weights)
}

/// i · Π_{j≠i} (j − i).
fn denominator<S: Scalar>(index: u16, indices: &[u16]) -> S {
    let distances = indices.iter().filter(|&&other| other != index).map(|&other| other.abs_diff(index));
    let size: S = product_of_small(distances.chain([index]));
    let lower = indices.iter().filter(|&&other| other < index).count();
    if lower % 2 == 1 { S::ZERO.sub(&size) } else { size }
}

/// The product of 16-bit numbers; four of them are one factor.
fn product_of_small<S: Scalar>(numbers: impl Iterator<Item = u16>) -> S {
    let (mut product, mut factor, mut taken) = (S::ONE, 1u64, 0);
    for number in numbers {
        factor *= u64::from(number);
        taken += 1;
        if taken == 4 {
            product = product.mul(&S::from_u64(factor));
            (factor, taken) = (1, 0);
        }
    }
    product.mul(&S::from_u64(factor))
}

/// Σ weightᵢ · valueᵢ of secret values, in a time that does not depend on them. Both slices are of one length.
pub fn weighted_sum<S: Scalar>(weights: &[S], values: &[Zeroizing<S>]) -> Zeroizing<S> {
    let mut sum = Zeroizing::new(S::ZERO);
    for (weight, value) in weights.iter().zip(values) {
        let product = Zeroizing::new(weight.mul(value));
        *sum = sum.add(&product);
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::super::ristretto::Ristretto;
    use super::*;

    type Number = <Ristretto as Group>::Scalar;

    fn interpolated(polynomial: &Polynomial<Ristretto>, indices: &[u16]) -> Number {
        let values: Vec<_> = indices.iter().map(|&index| polynomial.evaluate(index)).collect();
        *weighted_sum(&lagrange_at_zero(indices).unwrap(), &values)
    }

    #[test]
    fn a_known_polynomial() {
        // 7 + 5x + 3x²: 15 at 1, 29 at 2, 49 at 3.
        let terms = [7u64, 5, 3].map(Number::from);
        let polynomial = Polynomial::<Ristretto>(Zeroizing::new(terms.to_vec()));
        for (index, value) in [(0, 7u64), (1, 15), (2, 29), (3, 49), (65535, 7 + 5 * 65535 + 3 * 65535 * 65535)] {
            assert_eq!(*polynomial.evaluate(index), Number::from(value));
        }
        assert_eq!(polynomial.commitments(), terms.map(|term| Ristretto::mul_base(&term)));
        let weights: Vec<Number> = lagrange_at_zero(&[1, 2, 3]).unwrap();
        assert_eq!(weights, [Number::from(3u64), -Number::from(3u64), Number::from(1u64)]);
        assert_eq!(lagrange_at_zero::<Number>(&[9]).unwrap(), [Number::ONE]);
    }

    #[test]
    fn wrong_indices_and_sizes_are_named() {
        let many: Vec<u16> = (1..=1025).collect();
        for (indices, word) in [
            (&[][..], "there are none"),
            (&[3, 0, 1], "0 is the index of no party"),
            (&[0], "0 is the index of no party"),
            (&[5, 7, 9, 7], "7 stands twice"),
            (&[65535, 65535], "65535 stands twice"),
            (&many, "1025 of them"),
        ] {
            let message = lagrange_at_zero::<Number>(indices).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        assert!(lagrange_at_zero::<Number>(&many[..1024]).is_ok());
        for terms in [0, 1025] {
            let message = Polynomial::<Ristretto>::random(terms).err().unwrap().to_string();
            assert!(message.contains(&format!("{terms} terms, 1 to 1024")), "{message}");
        }
    }

    #[test]
    fn two_polynomials_share_no_coefficient() {
        let polynomials = [Polynomial::<Ristretto>::random(4).unwrap(), Polynomial::random(4).unwrap()];
        let mut seen: Vec<_> = polynomials.iter().flat_map(|polynomial| polynomial.0.to_vec()).collect();
        seen.push(Number::ZERO);
        for (at, term) in seen.iter().enumerate() {
            assert!(!seen[..at].contains(term), "term {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_terms_values_give_the_value_at_zero(
            terms in 1u16..12,
            indices in subsequence((1u16..40).chain([1000, 32768, 65534, 65535]).collect::<Vec<_>>(), 12).prop_shuffle(),
        ) {
            let polynomial = Polynomial::<Ristretto>::random(terms).unwrap();
            for count in 1..=indices.len() {
                let found = interpolated(&polynomial, &indices[..count]);
                prop_assert_eq!(found == *polynomial.constant(), count >= usize::from(terms), "{} of {}", count, terms);
            }
        }

        #[test]
        fn the_weights_are_those_of_the_formula(
            indices in subsequence((1u16..60).chain(65000..65535).collect::<Vec<_>>(), 1..20).prop_shuffle(),
        ) {
            let weights: Vec<Number> = lagrange_at_zero(&indices).unwrap();
            for (weight, &i) in weights.iter().zip(&indices) {
                let factor = |&j: &u16| Number::from(j) * (Number::from(j) - Number::from(i)).invert();
                let expected: Number = indices.iter().filter(|&&j| j != i).map(factor).product();
                prop_assert_eq!(*weight, expected);
            }
        }
    }
}
