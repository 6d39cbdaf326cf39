//! Whether deals and the shares that came with them are right.
//!
//! A share x of party j is right if x·B = Σ jᵏ·Cₖ (Feldman 1987). Indices are small, so Horner's rule costs a few additions
//! per commitment, far less than a sum of products. What is left of all deals, proofs of possession included, is checked at
//! once with random 128-bit factors; only if that fails is each looked at.

use std::collections::HashSet;

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::super::group::{Group, Scalar};
use super::super::polynomial::weighted_sum;
use super::super::share::{Keys, PointOf, ScalarOf, SecretShare};
use super::Setup;
use super::deals::{Deal, Purpose};
use super::public::PublicKeys;
use crate::crypto::hash::Hasher;
use crate::error::{Error, Result};

const CONTEXT_BATCH: &str = "city-chain v1 tes dkg batch";

/// For each deal, in order: whether it and its share are right, and if not, why; the message names the dealer.
pub type Verdicts = Vec<Result<()>>;

/// Whether each deal of a new key, and party `index`'s share of it, is right; `shares` are in the order of `deals`.
///
/// # Errors
/// [`Error::Input`] if there is not one share for each deal, a dealer stands twice, or `index` is no party's. What is wrong
/// with a deal or share stands in its verdict.
pub fn verify_deals<K: Keys>(
    setup: Setup<'_>,
    index: u16,
    deals: &[&Deal<K>],
    shares: &[&SecretShare],
) -> Result<Verdicts> {
    verify(setup, None, deals, Some((index, shares)))
}

/// Whether each deal that hands a key on, and new party `index`'s share of it, is right; `old` is what was public of the key
/// before, and `setup` is about the new parties.
///
/// # Errors
/// As [`verify_deals`].
pub fn verify_reshare_deals<K: Keys>(
    setup: Setup<'_>,
    old: &PublicKeys<K>,
    index: u16,
    deals: &[&Deal<K>],
    shares: &[&SecretShare],
) -> Result<Verdicts> {
    verify(setup, Some(old), deals, Some((index, shares)))
}

/// Whether each deal is right, as far as can be seen without a share of it; `old` is there where a key is handed on.
///
/// # Errors
/// [`Error::Input`] if a dealer stands twice. What is wrong with a deal stands in its verdict.
pub fn verify_public<K: Keys>(setup: Setup<'_>, old: Option<&PublicKeys<K>>, deals: &[&Deal<K>]) -> Result<Verdicts> {
    verify(setup, old, deals, None)
}

/// A share as a number, and what it times the base point must be.
struct Claim<K: Keys> {
    scalar: Zeroizing<ScalarOf<K>>,
    point: PointOf<K>,
}

/// What is left to check of one deal: its challenge, and the share that came with it.
struct Open<'a, K: Keys> {
    deal: &'a Deal<K>,
    challenge: ScalarOf<K>,
    claim: Option<Claim<K>>,
}

fn verify<K: Keys>(
    setup: Setup<'_>,
    old: Option<&PublicKeys<K>>,
    deals: &[&Deal<K>],
    own: Option<(u16, &[&SecretShare])>,
) -> Result<Verdicts> {
    if let Some((index, shares)) = own {
        setup.check_party(index)?;
        if shares.len() != deals.len() {
            return Err(Error::input(format!("dkg: {} shares for {} deals", shares.len(), deals.len())));
        }
    }
    let mut seen = HashSet::new();
    if let Some(twice) = deals.iter().find(|deal| !seen.insert(deal.dealer())) {
        return Err(Error::input(format!("dkg: dealer {} stands twice", twice.dealer())));
    }
    let open = |at: usize| {
        let deal = deals[at];
        check_form(setup, old, deal)?;
        let claim = own.map(|(index, shares)| claim(deal, index, shares[at])).transpose()?;
        Ok(Open { deal, challenge: deal.challenge(setup), claim })
    };
    let opened: Vec<Result<Open<'_, K>>> = (0..deals.len()).into_par_iter().map(open).collect();
    let good: Vec<&Open<'_, K>> = opened.iter().flatten().collect();
    let all_right = good.is_empty() || check_together(&good)?;
    let verdict = |open: Result<Open<'_, K>>| if all_right { open.map(drop) } else { check_alone(&open?) };
    Ok(opened.into_par_iter().map(verdict).collect())
}

/// Everything that needs no arithmetic.
fn check_form<K: Keys>(setup: Setup<'_>, old: Option<&PublicKeys<K>>, deal: &Deal<K>) -> Result<()> {
    let dealer = deal.dealer();
    let refused = |reason: String| Err(Error::verification(format!("deal of dealer {dealer}: {reason}")));
    let purpose = if old.is_some() { Purpose::Reshare } else { Purpose::New };
    if deal.purpose() != purpose {
        return refused(format!("it is {}, {} is needed", deal.purpose().words(), purpose.words()));
    }
    if deal.threshold() != setup.threshold {
        return refused(format!("threshold {}, it must be {}", deal.threshold(), setup.threshold));
    }
    let Some(old) = old else {
        return match setup.check_party(dealer) {
            Ok(()) => Ok(()),
            Err(_) => refused(format!("it is no party, they are 1 to {}", setup.parties)),
        };
    };
    match old.share(dealer) {
        None => refused(format!("it was no party of the key, they were 1 to {}", old.parties())),
        Some(share) if *share.point() != deal.commitments()[0] => {
            refused("its constant term is not the share that this dealer has of the key".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// The share that came with a deal, and what it has to be.
fn claim<K: Keys>(deal: &Deal<K>, index: u16, share: &SecretShare) -> Result<Claim<K>> {
    let dealer = deal.dealer();
    let refused = |reason: String| Error::verification(format!("share from dealer {dealer}: {reason}"));
    if share.index() != index {
        return Err(refused(format!("it is party {}'s, party {index}'s is needed", share.index())));
    }
    let scalar = share.scalar::<K>().map_err(|error| refused(error.to_string()))?;
    Ok(Claim { scalar, point: evaluate::<K::Group>(deal.commitments(), index) })
}

/// Σ jᵏ·Cₖ. For public values: the time tells about them.
pub(super) fn evaluate<G: Group>(commitments: &[G::Point], index: u16) -> G::Point {
    let step = |sum: G::Point, term: &G::Point| G::add(&times::<G>(&sum, index), term);
    match commitments.split_last() {
        Some((highest, rest)) => rest.iter().rev().fold(*highest, step),
        None => G::identity(),
    }
}

/// `factor` times `point`, by doubling and adding.
fn times<G: Group>(point: &G::Point, factor: u16) -> G::Point {
    let Some(highest) = factor.checked_ilog2() else { return G::identity() };
    let mut product = *point;
    for bit in (0..highest).rev() {
        product = G::add(&product, &product);
        if factor >> bit & 1 == 1 {
            product = G::add(&product, point);
        }
    }
    product
}

/// Σ ρ·(z·B − R − c·C₀) + σ·(x·B − P) = 0, with random ρ and σ for each deal.
fn check_together<K: Keys>(opened: &[&Open<'_, K>]) -> Result<bool> {
    let mut factors = factors::<K>(opened)?.into_iter();
    let mut factor = || factors.next().unwrap_or(ScalarOf::<K>::ONE); // there are two for each
    let mut base = ScalarOf::<K>::ZERO;
    let (mut scalars, mut points) = (Vec::new(), Vec::new());
    let (mut weights, mut values) = (Vec::new(), Vec::new());
    for open in opened {
        let (proof, share) = (factor(), factor());
        base = base.add(&proof.mul(open.deal.response()));
        scalars.extend([proof, proof.mul(&open.challenge)]);
        points.extend([*open.deal.announced(), open.deal.commitments()[0]]);
        if let Some(claim) = &open.claim {
            scalars.push(share);
            points.push(claim.point);
            weights.push(share);
            values.push(claim.scalar.clone());
        }
    }
    let base = Zeroizing::new(base.add(&weighted_sum(&weights, &values)));
    Ok(K::Group::mul_base(&base) == K::Group::sum_of_products(&scalars, &points))
}

/// Two 128-bit factors for each deal, of the system's randomness and everything that is checked and public.
fn factors<K: Keys>(opened: &[&Open<'_, K>]) -> Result<Vec<ScalarOf<K>>> {
    let mut entropy = Zeroizing::new([0; 32]);
    getrandom::fill(entropy.as_mut())
        .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 32, 0))?;
    let mut hasher = Hasher::new(CONTEXT_BATCH);
    hasher.fixed(entropy.as_slice());
    for open in opened {
        hasher.fixed(&open.challenge.to_bytes()).fixed(&open.deal.response().to_bytes());
    }
    let mut bytes = vec![0; opened.len() * 32];
    hasher.fill(&mut bytes);
    let factor = |half: &[u8]| {
        let mut number = [0; 32];
        number[..16].copy_from_slice(half);
        number[0] |= 1; // never 0, which would leave a deal out
        ScalarOf::<K>::from_bytes(&number)
    };
    bytes.chunks_exact(16).map(factor).collect()
}

fn check_alone<K: Keys>(open: &Open<'_, K>) -> Result<()> {
    let deal = open.deal;
    let base = K::Group::mul_base(&ScalarOf::<K>::ONE);
    let minus = ScalarOf::<K>::ZERO.sub(&open.challenge);
    let announced = K::Group::sum_of_products(&[*deal.response(), minus], &[base, deal.commitments()[0]]);
    if announced != *deal.announced() {
        let reason = "the proof that its dealer knows what it dealt is wrong, or made for another occasion";
        return Err(Error::verification(format!("deal of dealer {}: {reason}", deal.dealer())));
    }
    match &open.claim {
        Some(claim) if K::Group::mul_base(&claim.scalar) != claim.point => {
            Err(Error::verification(format!("share from dealer {}: it does not fit its deal", deal.dealer())))
        }
        _ => Ok(()),
    }
}
