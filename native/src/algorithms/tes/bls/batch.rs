//! Many signatures at once, each with the verdict that it has alone.
//!
//! With random coefficients zᵢ of 128 bits, Π e(zᵢ·Hᵢ, keyᵢ) · e(−Σ zᵢ·σᵢ, base) is 1 if every equation holds, and otherwise
//! not, but for a chance of 2⁻¹²⁸. Equations of one key, or of one message, share a pairing: a hundred shares of one
//! signature cost two.
//!
//! If it is not 1, the wrong ones are looked for (Law and Matt, "Finding invalid signatures in pairing-based batches", 2007).
//! The value of the right half is that of the whole by that of the left, so that halving costs only the left halves. And
//! with the coefficients zᵢ·i the value of a single wrong one is the former's i-th power, which names it after one more
//! evaluation: of many equations with few pairings that is tried first.

use std::collections::HashMap;

use rayon::prelude::*;

use super::keys::public_points;
use super::signature::{check, misfit, signature_point};
use super::{SIGNATURE_DST, SIGNATURE_LEN};
use crate::algorithms::tes::bls12381::{
    Fr, G1, G1Affine, G1Point, G2, G2Affine, G2Point, Gt, hash_to_g1, pairing_product,
};
use crate::algorithms::tes::group::{Group, Scalar};
use crate::crypto::hash::Hasher;
use crate::error::{Error, Result};

/// Equations that are combined at most; the powers of a value are searched through, so that it must be small.
const WINDOW: usize = 512;

/// Bits of a coefficient.
const COEFFICIENT_BITS: usize = 128;

/// Bits of a coefficient times a place in a window.
const TILTED_BITS: usize = COEFFICIENT_BITS + 10;

/// Below this many equations for each pairing, halving is cheaper than another evaluation.
const LOCATE_MIN: usize = 4;

const CONTEXT: &str = "city-chain v1 bls batch";

/// One signature to check.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The public key, typed bytes.
    pub public: &'a [u8],
    /// The message.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// That e(hash, key) = e(signature, base).
#[derive(Clone, Copy)]
pub(super) struct Claim {
    /// The message's point.
    pub hash: G1Affine,
    /// The key's point.
    pub key: G2Affine,
    /// The signature's point.
    pub signature: G1Affine,
    /// Claims with the same number have the same hash.
    pub message_id: usize,
    /// Claims with the same number have the same key.
    pub key_id: usize,
}

/// Checks many signatures; one verdict each, the same that [`verify`](super::verify) gives on its own.
///
/// # Errors
/// [`Error::Unavailable`] if the system has no randomness.
pub fn verify_many(items: &[Item<'_>]) -> Result<Vec<Result<()>>> {
    let (key_ids, keys) = distinct(items.iter().map(|item| item.public));
    let (message_ids, messages) = distinct(items.iter().map(|item| item.message));
    let keys = public_points(&keys);
    let hashes: Vec<G1Point> = messages.par_iter().map(|message| hash_to_g1(message, SIGNATURE_DST)).collect();
    let hashes = G1Point::to_affines(&hashes);
    let claims: Vec<Result<Claim>> = (0..items.len())
        .into_par_iter()
        .map(|at| {
            let (key_id, message_id) = (key_ids[at], message_ids[at]);
            let key = keys[key_id].clone()?;
            let signature = signature_point("the signature", items[at].signature)?;
            Ok(Claim { hash: hashes[message_id], key, signature, message_id, key_id })
        })
        .collect();
    settle(claims)
}

/// Each value's number, and the values that are different.
fn distinct<'a>(values: impl Iterator<Item = &'a [u8]>) -> (Vec<usize>, Vec<&'a [u8]>) {
    let (mut places, mut different) = (HashMap::new(), Vec::new());
    let ids = values.map(|value| {
        *places.entry(value).or_insert_with(|| {
            different.push(value);
            different.len() - 1
        })
    });
    (ids.collect(), different)
}

/// The verdicts on claims, of which some were none.
pub(super) fn settle(claims: Vec<Result<Claim>>) -> Result<Vec<Result<()>>> {
    let open: Vec<(usize, Claim)> =
        claims.iter().enumerate().filter_map(|(at, claim)| Some((at, *claim.as_ref().ok()?))).collect();
    let mut verdicts: Vec<Result<()>> = claims.into_iter().map(|claim| claim.map(drop)).collect();
    for window in open.chunks(WINDOW) {
        let (places, claims): (Vec<usize>, Vec<Claim>) = window.iter().copied().unzip();
        for at in wrong(&claims)? {
            verdicts[places[at]] = Err(misfit());
        }
    }
    Ok(verdicts)
}

/// The places of the claims that do not hold.
fn wrong(claims: &[Claim]) -> Result<Vec<usize>> {
    if let [Claim { hash, key, signature, .. }] = claims {
        return Ok(if check(*hash, *key, *signature) { Vec::new() } else { vec![0] });
    }
    let mut search =
        Search { claims, coefficients: coefficients(claims)?, budget: 3 * claims.len(), wrong: Vec::new() };
    let (value, _) = search.value(0, claims.len(), false);
    search.look(0, claims.len(), value);
    Ok(search.wrong)
}

/// What is searched, and what was found.
struct Search<'a> {
    claims: &'a [Claim],
    coefficients: Vec<Fr>,
    /// Pairings that may be spent before the rest is checked one by one, so that a hostile batch costs at most some three
    /// times what its signatures do alone.
    budget: usize,
    wrong: Vec<usize>,
}

impl Search<'_> {
    /// The value of the claims from `from` to `to`, and the pairings that it took. Tilted: the coefficients are multiplied by
    /// 1, 2, 3, …
    fn value(&mut self, from: usize, to: usize, tilted: bool) -> (Gt, usize) {
        let claims = &self.claims[from..to];
        let coefficients: Vec<Fr> = if tilted {
            (1..).zip(&self.coefficients[from..to]).map(|(place, z)| z.mul(&Fr::from_u64(place))).collect()
        } else {
            self.coefficients[from..to].to_vec()
        };
        let bits = if tilted { TILTED_BITS } else { COEFFICIENT_BITS };
        let by_key = groups(claims, |claim| claim.key_id);
        let by_message = groups(claims, |claim| claim.message_id);
        let pick = |members: &[usize]| -> Vec<Fr> { members.iter().map(|at| coefficients[*at]).collect() };
        let mut pairs: Vec<(G1Affine, G2Affine)> = if by_key.len() <= by_message.len() {
            let sum = |members: &Vec<usize>| {
                let hashes: Vec<G1Affine> = members.iter().map(|at| claims[*at].hash).collect();
                weighted_hash(&pick(members), bits, &hashes)
            };
            let sums: Vec<G1Point> = by_key.par_iter().map(sum).collect();
            let keys = by_key.iter().map(|members| claims[members[0]].key);
            G1Point::to_affines(&sums).into_iter().zip(keys).collect()
        } else {
            let sum = |members: &Vec<usize>| {
                let keys: Vec<G2Affine> = members.iter().map(|at| claims[*at].key).collect();
                G2Affine::sum_of_products(&pick(members), bits, &keys)
            };
            let sums: Vec<G2Point> = by_message.par_iter().map(sum).collect();
            let hashes = by_message.iter().map(|members| claims[members[0]].hash);
            hashes.zip(G2Point::to_affines(&sums)).collect()
        };
        let signatures: Vec<G1Affine> = claims.iter().map(|claim| claim.signature).collect();
        let sum = G1Affine::sum_of_products(&coefficients, bits, &signatures);
        pairs.push((sum.negate().to_affine(), G2::base().to_affine()));
        self.budget = self.budget.saturating_sub(pairs.len());
        (pairing_product(&pairs), pairs.len())
    }

    /// Finds the wrong claims from `from` to `to`, whose value is `value`.
    fn look(&mut self, from: usize, to: usize, value: Gt) {
        if value == Gt::one() {
            return;
        }
        let count = to - from;
        if count == 1 {
            self.wrong.push(from);
            return;
        }
        if self.budget == 0 {
            let fails = |at: &usize| {
                let Claim { hash, key, signature, .. } = self.claims[*at];
                !check(hash, key, signature)
            };
            let found: Vec<usize> = (from..to).into_par_iter().filter(fails).collect();
            self.wrong.extend(found);
            return;
        }
        if count >= LOCATE_MIN * self.pairings(from, to)
            && let Some(at) = self.only_one(from, to, &value)
        {
            self.wrong.push(at);
            return;
        }
        let middle = from + count / 2;
        let (left, _) = self.value(from, middle, false);
        self.look(from, middle, left);
        self.look(middle, to, value.div(&left));
    }

    /// How many pairings an evaluation takes.
    fn pairings(&self, from: usize, to: usize) -> usize {
        let claims = &self.claims[from..to];
        groups(claims, |claim| claim.key_id).len().min(groups(claims, |claim| claim.message_id).len()) + 1
    }

    /// The wrong claim, if it is the only one.
    fn only_one(&mut self, from: usize, to: usize, value: &Gt) -> Option<usize> {
        let (tilted, _) = self.value(from, to, true);
        let mut power = *value;
        for at in from..to {
            if power == tilted {
                return Some(at);
            }
            power = power.mul(value);
        }
        None
    }
}

/// The places of the claims with each number.
fn groups(claims: &[Claim], id: impl Fn(&Claim) -> usize) -> Vec<Vec<usize>> {
    let ids: Vec<[u8; 8]> = claims.iter().map(|claim| id(claim).to_le_bytes()).collect();
    let (numbers, different) = distinct(ids.iter().map(<[u8; 8]>::as_slice));
    let mut groups = vec![Vec::new(); different.len()];
    numbers.into_iter().enumerate().for_each(|(at, number)| groups[number].push(at));
    groups
}

/// One product is made faster by halves of the scalar than by a sum of products.
fn weighted_hash(coefficients: &[Fr], bits: usize, hashes: &[G1Affine]) -> G1Point {
    match (coefficients, hashes) {
        ([coefficient], [hash]) => G1::mul(&hash.to_point(), coefficient),
        _ => G1Affine::sum_of_products(coefficients, bits, hashes),
    }
}

/// One coefficient each, from OS randomness and everything that is checked.
fn coefficients(claims: &[Claim]) -> Result<Vec<Fr>> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::unavailable(format!("randomness of the operating system ({error})"), 32, 0))?;
    let mut transcript = Hasher::new(CONTEXT);
    transcript.fixed(&entropy).u64(claims.len() as u64);
    for claim in claims {
        transcript.fixed(&claim.hash.to_bytes()).fixed(&claim.key.to_bytes()).fixed(&claim.signature.to_bytes());
    }
    let mut bytes = vec![0; claims.len() * COEFFICIENT_BITS / 8];
    transcript.fill(&mut bytes);
    // Never 0, which would leave an equation out.
    Ok(bytes.as_chunks().0.iter().map(|chunk| Fr::from_u128(u128::from_le_bytes(*chunk) | 1)).collect())
}

const _: () = assert!(WINDOW < 1 << (TILTED_BITS - COEFFICIENT_BITS) && SIGNATURE_LEN == 48);
