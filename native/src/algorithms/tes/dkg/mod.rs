//! Makes a key that nobody has (distributed key generation), and hands it on to other parties (resharing).
//!
//! Feldman's verifiable secret sharing (1987), dealt by everybody at once (Pedersen 1991): each dealer shares a random
//! secret, the key is the sum of what was shared, and no party ever sees it. Resharing after Desmedt and Jajodia (1997): each
//! old party shares its own share with the new ones, who put them together by Lagrange's formula; the public key stays. To
//! refresh shares is to reshare to the same parties.
//!
//! All of it is pure functions of deals and shares. Who sends what to whom, seals the shares on the way and settles on one
//! set of deals is the caller's business: **every party must finish with the same deals**.
//!
//! 1. Each dealer: [`deal`] gives a [`Deal`] for everybody and a [`SecretShare`] for each party, for its eyes only.
//! 2. Each party: [`verify_deals`] names the dealers whose deal or share is wrong.
//! 3. Each party, once the deals to count are settled: [`finalize`] gives its [`KeyShare`]; those who have no share themselves
//!    get the [`PublicKeys`] from the deals alone ([`public_keys`]).
//!
//! Resharing is the same with [`reshare_deal`], [`verify_reshare_deals`], [`finalize_reshare`] and [`reshared_public_keys`].
//! Its deals count only if their constant term is the dealer's old public share. [`any`] has the same functions for a scheme
//! that is known at run time only.
//!
//! # What a deal proves
//!
//! A deal has a Schnorr proof that its dealer knows the constant term. The proof is bound to scheme, context, dealer, number
//! of parties, threshold and all commitments, so that nobody can deal what cancels another's deal (a rogue key), or hand in
//! another's deal, or one made for another occasion, as its own.
//!
//! # What it does not give
//!
//! The key is not uniformly distributed. Who deals last sees the other deals, and by dealing or not dealing can choose among
//! a few keys, say for the parity of a hash of the public key (Gennaro, Jarecki, Krawczyk, Rabin 1999). It learns nothing
//! about the secret. This does no harm where security rests on the discrete logarithm of a key and not on its distribution:
//! for BLS signatures and ElGamal-like encryption Gurkan, Jovanovic, Maller, Meiklejohn, Stern and Tomescu show it (2021), and
//! for BLS with this very protocol Bacho and Loss (2022). The coin is a hash of x·P for a point P that is fixed after the key,
//! and rests on the same. It does harm to whoever takes the public key itself for random, as for a lottery: do not.
//!
//! The threshold must be above the number of parties that may be faulty, since as many as the threshold together have the
//! key; at least as many deals must count, so that one of them at least is an honest party's.

pub mod any;
mod check;
mod deals;
mod public;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::group::{Group, Scalar};
use super::polynomial::{PARTIES_MAX, lagrange_at_zero, weighted_sum};
use super::share::{Keys, PointOf, ScalarOf, SecretShare};
use crate::error::{Error, Result};

pub use check::{Verdicts, verify_deals, verify_public, verify_reshare_deals};
pub use deals::{Deal, Purpose, deal, reshare_deal};
pub use public::PublicKeys;

/// What the parties have agreed on before anybody deals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup<'a> {
    context: &'a [u8],
    threshold: u16,
    parties: u16,
}

impl<'a> Setup<'a> {
    /// A key for `parties` parties, with the indices 1 to `parties`, any `threshold` of whom do together what it can.
    /// `context` names the occasion (chain, epoch, attempt): deals of another do not count.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no parties or more than [`PARTIES_MAX`], or the threshold is 0 or above their number.
    pub fn new(context: &'a [u8], threshold: u16, parties: u16) -> Result<Self> {
        if parties == 0 || usize::from(parties) > PARTIES_MAX {
            return Err(Error::input(format!("dkg: {parties} parties, 1 to {PARTIES_MAX} are possible")));
        }
        if threshold == 0 || threshold > parties {
            return Err(Error::input(format!(
                "dkg: threshold {threshold}, for {parties} parties it is 1 to {parties}"
            )));
        }
        Ok(Self { context, threshold, parties })
    }

    /// How many parties do what the key can.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// How many parties there are.
    pub fn parties(&self) -> u16 {
        self.parties
    }

    /// Whether `index` is a party's.
    fn check_party(&self, index: u16) -> Result<()> {
        if index == 0 || index > self.parties {
            return Err(Error::input(format!("dkg: party {index}, they are 1 to {}", self.parties)));
        }
        Ok(())
    }
}

/// What a party has in the end: its share of the key, and what is public of it.
pub struct KeyShare<K: Keys> {
    /// The party's own share.
    pub secret: SecretShare,
    /// The group's key and what each party's work is checked against.
    pub public: PublicKeys<K>,
}

/// Party `index`'s share of the key that `deals` make, from its share of each; `shares` are in the order of `deals`. Checks
/// everything that [`verify_deals`] does: what has not been checked does not enter a key.
///
/// # Errors
/// [`Error::Verification`] if a deal or share is wrong, with the dealer; [`Error::Unavailable`] if there are fewer deals than
/// the threshold; [`Error::Input`] if a dealer stands twice, there is not one share for each deal, or `index` is no party's.
pub fn finalize<K: Keys>(
    setup: Setup<'_>,
    index: u16,
    deals: &[&Deal<K>],
    shares: &[&SecretShare],
) -> Result<KeyShare<K>> {
    enough(deals.len(), setup.threshold)?;
    first_wrong(verify_deals(setup, index, deals, shares)?)?;
    let public = PublicKeys::of_commitments(setup, &sums(deals))?;
    let scalars = scalars::<K>(shares)?;
    key_share(index, &*weighted_sum(&vec![ScalarOf::<K>::ONE; scalars.len()], &scalars), public)
}

/// What is public of the key that `deals` make, for those who have no share of it. Checks the deals, not the shares.
///
/// # Errors
/// As [`finalize`].
pub fn public_keys<K: Keys>(setup: Setup<'_>, deals: &[&Deal<K>]) -> Result<PublicKeys<K>> {
    enough(deals.len(), setup.threshold)?;
    first_wrong(check::verify_public(setup, None, deals)?)?;
    PublicKeys::of_commitments(setup, &sums(deals))
}

/// New party `index`'s share of the key that `deals` hand on, from its share of each; `old` is what was public of the key
/// before. Checks everything that [`verify_reshare_deals`] does.
///
/// # Errors
/// As [`finalize`]; there must be as many deals as the old threshold.
pub fn finalize_reshare<K: Keys>(
    setup: Setup<'_>,
    old: &PublicKeys<K>,
    index: u16,
    deals: &[&Deal<K>],
    shares: &[&SecretShare],
) -> Result<KeyShare<K>> {
    enough(deals.len(), old.threshold())?;
    first_wrong(verify_reshare_deals(setup, old, index, deals, shares)?)?;
    let weights = lagrange_at_zero(&dealers(deals))?;
    let public = handed_on(setup, deals, &weights)?;
    key_share(index, &*weighted_sum(&weights, &scalars::<K>(shares)?), public)
}

/// What is public of the key that `deals` hand on, for those who have no share of it. Checks the deals, not the shares.
///
/// # Errors
/// As [`finalize_reshare`].
pub fn reshared_public_keys<K: Keys>(
    setup: Setup<'_>,
    old: &PublicKeys<K>,
    deals: &[&Deal<K>],
) -> Result<PublicKeys<K>> {
    enough(deals.len(), old.threshold())?;
    first_wrong(check::verify_public(setup, Some(old), deals)?)?;
    handed_on(setup, deals, &lagrange_at_zero(&dealers(deals))?)
}

/// The public keys of the weighted sum of the dealers' polynomials. Its constant term is the old group key: [`PublicKeys`]
/// are always of one key, and each dealer's constant term is its old public share.
fn handed_on<K: Keys>(setup: Setup<'_>, deals: &[&Deal<K>], weights: &[ScalarOf<K>]) -> Result<PublicKeys<K>> {
    let term = |at: usize| {
        let points: Vec<PointOf<K>> = deals.iter().map(|deal| deal.commitments()[at]).collect();
        K::Group::sum_of_products(weights, &points)
    };
    let commitments: Vec<PointOf<K>> = (0..usize::from(setup.threshold)).into_par_iter().map(term).collect();
    PublicKeys::of_commitments(setup, &commitments)
}

/// The sum of the deals' commitments to each coefficient.
fn sums<K: Keys>(deals: &[&Deal<K>]) -> Vec<PointOf<K>> {
    let mut sums = deals[0].commitments().to_vec();
    for deal in &deals[1..] {
        sums.iter_mut().zip(deal.commitments()).for_each(|(sum, point)| *sum = K::Group::add(sum, point));
    }
    sums
}

fn key_share<K: Keys>(index: u16, scalar: &ScalarOf<K>, public: PublicKeys<K>) -> Result<KeyShare<K>> {
    Ok(KeyShare { secret: SecretShare::new::<K>(index, scalar)?, public })
}

fn scalars<K: Keys>(shares: &[&SecretShare]) -> Result<Vec<Zeroizing<ScalarOf<K>>>> {
    shares.iter().map(|share| share.scalar::<K>()).collect()
}

fn dealers<K: Keys>(deals: &[&Deal<K>]) -> Vec<u16> {
    deals.iter().map(|deal| deal.dealer()).collect()
}

fn enough(had: usize, needed: u16) -> Result<()> {
    if had < usize::from(needed) {
        return Err(Error::unavailable("dkg: deals that count", u64::from(needed), had as u64));
    }
    Ok(())
}

/// The first refusal among the verdicts, if there is any.
fn first_wrong(verdicts: Verdicts) -> Result<()> {
    verdicts.into_iter().collect()
}
