//! What is public of a shared key: the group's key and each party's public share.

use std::fmt;

use rayon::prelude::*;

use super::super::group::{Group, Scalar};
use super::super::polynomial::Polynomial;
use super::super::share::{GroupKey, Keys, PointOf, PublicShare, ScalarOf};
use super::Setup;
use super::check::evaluate;
use crate::error::{Error, Result};

/// The group's key, the threshold, and what the work of each party is checked against, for the indices 1 to n.
#[derive(Clone)]
pub struct PublicKeys<K: Keys> {
    threshold: u16,
    group: GroupKey<K>,
    shares: Vec<PublicShare<K>>,
}

impl<K: Keys> PublicKeys<K> {
    /// The keys of a group that came from elsewhere. They must be of one key with this threshold: all on one polynomial
    /// (the test of Cascudo and David 2017).
    ///
    /// # Errors
    /// [`Error::Input`] if there are no shares or too many, the threshold is 0 or above their number, or they are not those of
    /// the parties 1, 2, 3, … in this order; [`Error::Verification`] if they are not of one key.
    pub fn new(threshold: u16, group: GroupKey<K>, shares: Vec<PublicShare<K>>) -> Result<Self> {
        let parties = u16::try_from(shares.len()).unwrap_or(u16::MAX);
        Setup::new(&[], threshold, parties)?;
        if let Some((share, index)) = shares.iter().zip(1..).find(|(share, index)| share.index() != *index) {
            let found = share.index();
            return Err(Error::input(format!("public shares: in place {index} stands that of party {found}")));
        }
        let keys = Self { threshold, group, shares };
        if !keys.are_of_one_key()? {
            let reason = format!("they are not of this group key with threshold {threshold}");
            return Err(Error::verification(format!("public shares: {reason}")));
        }
        Ok(keys)
    }

    /// The keys of the polynomial with these coefficients times the base point.
    pub(super) fn of_commitments(setup: Setup<'_>, commitments: &[PointOf<K>]) -> Result<Self> {
        let share = |index| PublicShare::new(index, evaluate::<K::Group>(commitments, index));
        let shares: Result<Vec<_>> = (1..=setup.parties).into_par_iter().map(share).collect();
        Ok(Self { threshold: setup.threshold, group: GroupKey::new(commitments[0])?, shares: shares? })
    }

    /// How many parties do what the key can.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// How many parties there are.
    pub fn parties(&self) -> u16 {
        self.shares.len() as u16
    }

    /// The group's key.
    pub fn group_key(&self) -> &GroupKey<K> {
        &self.group
    }

    /// All public shares, in the order of the indices.
    pub fn shares(&self) -> &[PublicShare<K>] {
        &self.shares
    }

    /// The public share of party `index`, if there is such a party.
    pub fn share(&self, index: u16) -> Option<&PublicShare<K>> {
        self.shares.get(usize::from(index).checked_sub(1)?)
    }

    /// Σ f(i) / Π_{j≠i} (i − j) · Vᵢ = 0 over the group's key (0) and all shares (1 to n), for a random f of n − t + 1 terms:
    /// such sums are 0 for every polynomial of t terms, and of anything else for one f in as many as the group has elements.
    fn are_of_one_key(&self) -> Result<bool> {
        let n = self.parties();
        let random = Polynomial::<K::Group>::random(n - self.threshold + 1)?;
        let mut factorials = vec![ScalarOf::<K>::ONE; usize::from(n) + 1];
        for i in 1..=usize::from(n) {
            factorials[i] = factorials[i - 1].mul(&ScalarOf::<K>::from_u64(i as u64));
        }
        // 1 / Π_{j≠i} (i − j) = ± 1 / (i! · (n − i)!); times n! it is a binomial, and a common factor changes nothing.
        let mut weights = Vec::with_capacity(factorials.len());
        for i in 0..=n {
            let below = factorials[usize::from(i)].mul(&factorials[usize::from(n - i)]);
            let inverse = below.invert().ok_or_else(|| Error::input("public shares: too many for the group"))?;
            let weight = inverse.mul(&random.evaluate(i));
            weights.push(if (n - i) % 2 == 1 { ScalarOf::<K>::ZERO.sub(&weight) } else { weight });
        }
        let points: Vec<_> =
            [*self.group.point()].into_iter().chain(self.shares.iter().map(|share| *share.point())).collect();
        Ok(K::Group::sum_of_products(&weights, &points) == K::Group::identity())
    }
}

impl<K: Keys> PartialEq for PublicKeys<K> {
    fn eq(&self, other: &Self) -> bool {
        self.threshold == other.threshold && self.group == other.group && self.shares == other.shares
    }
}

impl<K: Keys> fmt::Debug for PublicKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<PublicKeys {} of {} of {}>", self.threshold, self.parties(), K::SCHEME.name())
    }
}
